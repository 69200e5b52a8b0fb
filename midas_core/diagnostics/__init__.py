"""Is one of my modalities being ignored? What a model does with each of them, measured on any framework's arrays."""

from midas_core.diagnostics.calibration import Bin, calibration_error, reliability_bins
from midas_core.diagnostics.comparison import Comparison, compare
from midas_core.diagnostics.diagnostics import Diagnostics, diagnose
from midas_core.diagnostics.pairs import (
    MisalignedPairs,
    fused_shares,
    misaligned_accuracy,
    misaligned_interval,
    misaligned_pairs,
    unimodal_shares,
)
from midas_core.diagnostics.results import ClassScores, Diagnosis, ModalityScores
from midas_core.diagnostics.shapley import coalitions, shapley_values
from midas_core.diagnostics.verdict import Verdict, verdict

__all__ = [
    "Bin",
    "ClassScores",
    "Comparison",
    "Diagnosis",
    "Diagnostics",
    "MisalignedPairs",
    "ModalityScores",
    "Verdict",
    "calibration_error",
    "coalitions",
    "compare",
    "diagnose",
    "fused_shares",
    "misaligned_accuracy",
    "misaligned_interval",
    "misaligned_pairs",
    "reliability_bins",
    "shapley_values",
    "unimodal_shares",
    "verdict",
]

"""Is one of my modalities being ignored? Measurements of a trained model, on the arrays of any framework."""

from midas_core.diagnostics.calibration import Bin, calibration_error, reliability_bins
from midas_core.diagnostics.comparison import Comparison, compare
from midas_core.diagnostics.diagnosis import ClassScores, Diagnosis, ModalityScores
from midas_core.diagnostics.diagnostics import Diagnostics, diagnose
from midas_core.diagnostics.measure import coalitions, shapley_values
from midas_core.diagnostics.pairs import (
    MisalignedPairs,
    misaligned_accuracy,
    misaligned_interval,
    misaligned_pairs,
    unimodal_shares,
)
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
    "misaligned_accuracy",
    "misaligned_interval",
    "misaligned_pairs",
    "reliability_bins",
    "shapley_values",
    "unimodal_shares",
    "verdict",
]

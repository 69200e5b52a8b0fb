"""The methods that are compared, each short, from its paper, for comparison only."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy.methods.amco import Amco
from benchmarks.accuracy.methods.base import Method
from benchmarks.accuracy.methods.dropout import ModalityDropout
from benchmarks.accuracy.methods.joint import Joint, JointUnimodal
from benchmarks.accuracy.methods.late_fusion import LateFusion
from benchmarks.accuracy.methods.lfm import Lfm
from benchmarks.accuracy.methods.mcr import Mcr
from benchmarks.accuracy.methods.midas import Midas
from benchmarks.accuracy.methods.midas_combined import MidasDropout, MidasMixUp
from benchmarks.accuracy.methods.midas_confidence import (
    EvenLabels,
    OutOfFold,
    PreviousEpoch,
    RememberedConfidence,
    Smoothed,
    Temperature,
)
from benchmarks.accuracy.methods.midas_missing import AbsentPartners, Present
from benchmarks.accuracy.methods.mixup import InputMixUp, MixUp
from benchmarks.accuracy.methods.mmpareto import MmPareto
from benchmarks.accuracy.methods.ogm_ge import OgmGe
from benchmarks.accuracy.methods.opm import Opm
from benchmarks.accuracy.methods.powmix import PowMix
from benchmarks.accuracy.methods.smv import Smv

METHODS: Mapping[str, type[Method]] = {
    method.title: method
    for method in (
        Joint,
        JointUnimodal,
        LateFusion,
        OgmGe,
        MmPareto,
        Opm,
        Amco,
        Smv,
        Lfm,
        Mcr,
        ModalityDropout,
        MixUp,
        InputMixUp,
        PowMix,
        Midas,
        MidasMixUp,
        MidasDropout,
    )
}
"""By title, in the order of the tables."""

CONFIDENCES: Mapping[str, type[Method]] = {
    method.title: method
    for method in (EvenLabels, PreviousEpoch, RememberedConfidence, OutOfFold, Temperature, Smoothed)
}
"""MIDAS with other confidences, by title: run where they are asked for by name."""

MISSING: Mapping[str, type[Method]] = {method.title: method for method in (AbsentPartners, Present)}
"""MIDAS for samples that lack a modality, by title: run where they are asked for by name."""

KNOWN: Mapping[str, type[Method]] = {**METHODS, **CONFIDENCES, **MISSING}
"""All that can be asked for."""

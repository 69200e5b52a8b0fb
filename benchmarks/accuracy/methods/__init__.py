"""The methods that are compared, each short, from its paper, for comparison only."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy.methods.amco import Amco
from benchmarks.accuracy.methods.base import Method
from benchmarks.accuracy.methods.dropout import ModalityDropout
from benchmarks.accuracy.methods.joint import Joint, JointUnimodal
from benchmarks.accuracy.methods.lfm import Lfm
from benchmarks.accuracy.methods.mcr import Mcr
from benchmarks.accuracy.methods.midas import Midas
from benchmarks.accuracy.methods.midas_combined import MidasDropout, MidasMixUp
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

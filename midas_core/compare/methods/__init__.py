"""The methods that are compared, each short, from its paper, for comparison only; their choices: docs/neighbours.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from midas_core.compare.methods.amco import Amco
from midas_core.compare.methods.base import Method, alone
from midas_core.compare.methods.dropout import ModalityDropout
from midas_core.compare.methods.joint import FeatureDropout, Joint, JointUnimodal, LabelSmoothing, WeightDecay
from midas_core.compare.methods.late_fusion import LateFusion
from midas_core.compare.methods.lfm import Lfm
from midas_core.compare.methods.mcr import Mcr
from midas_core.compare.methods.midas import Midas, MidasEven, MidasEvenFinish, MidasFinish
from midas_core.compare.methods.midas_combined import MidasDropout, MidasMixUp
from midas_core.compare.methods.mixup import InputMixUp, MixUp
from midas_core.compare.methods.mmpareto import MmPareto
from midas_core.compare.methods.ogm_ge import OgmGe
from midas_core.compare.methods.opm import Opm
from midas_core.compare.methods.powmix import PowMix
from midas_core.compare.methods.remix import DataRemixing
from midas_core.compare.methods.smv import Smv

METHODS: Mapping[str, type[Method]] = {
    method.title: method
    for method in (
        LateFusion,
        Joint,
        LabelSmoothing,
        WeightDecay,
        FeatureDropout,
        JointUnimodal,
        ModalityDropout,
        Midas,
        MidasEven,
        MidasFinish,
        MidasEvenFinish,
        OgmGe,
        MmPareto,
        Opm,
        Amco,
        Smv,
        Lfm,
        Mcr,
        MixUp,
        InputMixUp,
        PowMix,
        DataRemixing,
        MidasMixUp,
        MidasDropout,
    )
}
"""By title, in the order of the tables."""

DEFAULT = (
    LateFusion.title,
    Joint.title,
    LabelSmoothing.title,
    JointUnimodal.title,
    ModalityDropout.title,
    Midas.title,
    MidasEvenFinish.title,
)
"""Compared where nothing is asked for, beside each modality alone."""

BEST = "best of joint and MIDAS"
"""For each run the one of the two with the better validation accuracy; trains nothing of its own."""


def find_method(title: str, modalities: Sequence[str]) -> type[Method]:
    """Return the method with a title; ``"... alone"`` trains one of the modalities."""
    for m, modality in enumerate(modalities):
        if title == f"{modality} alone":
            return alone(m, modality)
    return METHODS[title]

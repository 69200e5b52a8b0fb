"""Which way a step of PyTorch takes: chosen here, and nowhere else."""

from __future__ import annotations

import warnings
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from midas_core.kernels import eager

SMALL = 2**21
"""Logits, over the threads that PyTorch would use on them, up to which Numba's loops are ahead of PyTorch's calls."""

FEW_CLASSES = 128
"""Up to which `stacked_logits` serves a compiled step: beyond, copying the weights costs more than it saves."""


class Way(StrEnum):
    """How a step goes from features to its losses."""

    WARM_UP = "warm-up"
    """The unimodal losses alone, by the core."""
    LINEAR = "linear heads by hand"
    """`linear_step`."""
    LINEAR_NUMBA = "linear heads by hand, Numba"
    LOGITS = "loss by hand"
    """Heads by autograd, `logits_step` from there."""
    LOGITS_NUMBA = "loss by hand, Numba"
    STACKED = "core, stacked heads"
    """`stacked_logits`, and the core: compiled."""
    CORE = "core"
    """Heads by autograd, and the core."""

    @property
    def by_hand(self) -> bool:
        """Whether losses and gradients come from the kernels."""
        return self not in (Way.WARM_UP, Way.STACKED, Way.CORE)

    @property
    def kernel(self) -> ModuleType:
        """The module whose functions a step by hand calls."""
        found = small_kernel() if self in (Way.LINEAR_NUMBA, Way.LOGITS_NUMBA) else None
        return found or eager


def choose_way(
    *, warming_up: bool, linear: bool, by_hand: bool, num_modalities: int, batch: int, num_classes: int, device: Any
) -> Way:
    """Return the way that a step takes.

    Parameters
    ----------
    warming_up : bool
    linear : bool
        Whether all heads are linear and of one full precision.
    by_hand : bool
        Whether the kernels serve the options of this step.
    num_modalities, batch, num_classes : int
    device : torch.device
    """
    if warming_up:
        return Way.WARM_UP
    if torch.compiler.is_compiling():
        return Way.STACKED if linear and num_classes <= FEW_CLASSES else Way.CORE
    if not by_hand:
        return Way.CORE
    logits = (num_modalities + 3) * batch * num_classes
    small = device.type == "cpu" and logits * torch.get_num_threads() <= SMALL and small_kernel() is not None
    if linear:
        return Way.LINEAR_NUMBA if small else Way.LINEAR
    return Way.LOGITS_NUMBA if small else Way.LOGITS


@cache
def small_kernel() -> ModuleType | None:
    """Return the module `midas_core.kernels.small`, or None where Numba is not installed or does not work."""
    try:
        return import_module("midas_core.kernels.small")
    except ModuleNotFoundError:
        return None
    except Exception as error:
        warnings.warn(
            f"Numba is installed, but cannot be imported ({type(error).__name__}: {error}): "
            "small steps on the CPU take longer. pip install 'midas-multimodal[fast]' brings a release that fits.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

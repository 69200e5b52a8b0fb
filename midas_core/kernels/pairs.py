"""Pairs of a batch on the CPU, by NumPy or by compiled loops: arrays of (B,) there cost less than PyTorch's calls."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from midas_core import pairing as core
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.kernels.ways import small_kernel
from midas_core.pairing import Pairs
from midas_core.partners import split_draw


def draw_pairs(
    numbers: Tensor,
    labels: Tensor,
    num_modalities: int,
    *,
    num_classes: int,
    variant: str,
    permutation: Tensor | None = None,
    absent_share: float = 0.0,
) -> Pairs:
    """Return what `midas_core.draw_pairs` does.

    Parameters
    ----------
    numbers : Tensor, floating
        As many as `midas_core.partners.random_count` says.
    labels : Tensor, shape (B,), integer
    num_modalities, num_classes : int
    variant : {"paper", "official"}
    permutation : Tensor, shape (B,), integer, optional
        Takes the place of the drawn one.
    absent_share : float
        Share of the mixed samples that have no partner.

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        On the CPU, if a label or an entry of the permutation is out of range.
    """
    options: dict[str, Any] = {"variant": variant, "absent_share": absent_share}
    on_cpu = labels.device.type == "cpu" and not torch.compiler.is_compiling()
    if not on_cpu:
        drawn = split_draw(numbers, labels, num_modalities, absent_share > 0, backend=TORCH)
        return core.draw_pairs(drawn, labels, num_modalities, permutation=permutation, backend=TORCH, **options)
    y = labels.numpy()
    plain = permutation is None and num_modalities == 2 and variant == "paper" and absent_share == 0
    loops = small_kernel() if plain else None
    if loops is not None:
        found, wrong = loops.pairs_of_two(y, numbers.numpy(), num_classes)
    else:
        found, wrong = None, _first_outside(y, num_classes)
    # NumPy counts a negative index from the end, without a word.
    _refuse("labels", y, num_classes, wrong)
    if found is None:
        order = None if permutation is None else permutation.numpy()
        if order is not None:
            _refuse("permutation", order, len(y), _first_outside(order, len(y)))
        drawn = split_draw(numbers.numpy(), y, num_modalities, absent_share > 0, backend=NUMPY)
        found = core.draw_pairs(drawn, y, num_modalities, permutation=order, backend=NUMPY, **options)
    return Pairs(*[None if x is None else torch.from_numpy(x) for x in found])


def _first_outside(x: Any, count: int) -> int:
    outside = (x < 0) | (x >= count)
    return int(outside.argmax()) if outside.any() else -1


def _refuse(name: str, x: Any, count: int, first: int) -> None:
    if first >= 0:
        raise ValueError(f"{name}: expected whole numbers in 0 ... {count - 1}, got {x[first]} in sample {first}")

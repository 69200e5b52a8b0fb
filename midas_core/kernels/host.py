"""Steps on the small arrays of a batch. On the CPU they go through NumPy, or through compiled loops where these serve.

`midas_core.draw_pairs` is the specification, and takes over where something is out of the ordinary. Values may be
looked at here: they lie in the memory of the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midas_core.backends import Array, Backend
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.kernels.ways import small_kernel
from midas_core.misalignment import split_draw
from midas_core.pairs import Pairs, draw_pairs


def on_host(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments, backend=...)``, computed by NumPy where the tensors lie on the CPU.

    Parameters
    ----------
    function : callable
        Serves either backend.
    *arguments : Tensor, None, or tuples of them
        Not to be differentiated. The first is a tensor.

    Returns
    -------
    Tensor, or tuple of tensors
    """
    if arguments[0].device.type != "cpu" or torch.compiler.is_compiling():
        return function(*arguments, backend=TORCH)
    with np.errstate(all="ignore"):
        return to_torch(function(*map(_to_numpy, arguments), backend=NUMPY))


def _to_numpy(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().numpy()
    return tree if tree is None else _rebuild(tree, map(_to_numpy, tree))


def to_torch(tree: Any) -> Any:
    """Return NumPy arrays, or tuples of them, as tensors on the same memory."""
    if isinstance(tree, tuple):
        return _rebuild(tree, map(to_torch, tree))
    return tree if tree is None else torch.from_numpy(np.asarray(tree))


def _rebuild(tree: Any, items: Any) -> Any:
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


def pairs(
    labels: Array,
    numbers: Array,
    permutation: Array | None,
    *,
    num_classes: int,
    num_modalities: int,
    variant: str,
    backend: Backend,
) -> Pairs:
    """Return what `midas_core.draw_pairs` does.

    Parameters
    ----------
    labels : array, shape (B,), integer
    numbers : array, floating
        As many as `midas_core.misalignment.random_count` says.
    permutation : array, shape (B,), integer, or None
        Takes the place of the drawn one.
    num_classes, num_modalities : int
    variant : {"paper", "official"}
    backend : Backend

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        On the host, if a label or an entry of the permutation is out of range.
    """
    drawn = split_draw(numbers, labels, num_modalities, backend=backend)
    if backend is NUMPY:
        # NumPy counts a negative index from the end, without a word.
        _check_indices("labels", labels, num_classes)
        if permutation is not None:
            _check_indices("permutation", permutation, len(labels))
        elif num_modalities == 2 and variant == "paper" and (fast := small_kernel()):
            return Pairs(*fast.loops.pairs_of_two(labels, drawn.partners[0], num_classes))
    return draw_pairs(drawn, labels, num_modalities, variant=variant, permutation=permutation, backend=backend)


def _check_indices(name: str, x: Any, count: int) -> None:
    if fast := small_kernel():
        first = fast.loops.first_outside(x, count)
    else:
        outside = (x < 0) | (x >= count)
        first = int(outside.argmax()) if outside.any() else -1
    if first >= 0:
        raise ValueError(f"{name}: expected whole numbers in 0 ... {count - 1}, got {x[first]} in sample {first}")

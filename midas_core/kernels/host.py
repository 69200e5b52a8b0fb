"""Steps on small arrays, by hand in NumPy: there the calls of the core cost more than their numbers.

`midas_core.draw_sources` and `midas_core.weigh_pairs` are the specification, and take over where something is out of
the ordinary. Values may be looked at here: they lie in the memory of the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midas_core import objective
from midas_core.backends import Array, Backend
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.confidence import LOG_UNDERFLOW
from midas_core.misalignment import draw_sources, key_steps, pair_classes, pair_mask, split_draw
from midas_core.objective import PairWeights
from midas_core.weighting import MidasState


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
) -> tuple[Array, Array, Array]:
    """Return the source matrix, the class that each modality speaks for, and which mixed samples count.

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
    sources, classes : array, shape (M, V, B), integer
    mask : array, shape (V, B), bool

    Raises
    ------
    ValueError
        On the host, if a label or an entry of the permutation is out of range.
    """
    if backend is NUMPY:
        # NumPy counts a negative index from the end, without a word.
        _check_indices("labels", labels, num_classes)
        if permutation is not None:
            _check_indices("permutation", permutation, len(labels))
    if backend is NUMPY and num_modalities == 2 and variant == "paper" and permutation is None:
        return _pairs_of_two(labels, numbers, num_classes)
    drawn = split_draw(numbers, labels, num_classes, num_modalities, backend=backend)
    sources = draw_sources(drawn, labels, num_modalities, variant=variant, permutation=permutation, backend=backend)
    classes = pair_classes(labels, sources, backend=backend)
    mask = pair_mask(classes, backend=backend)
    return sources, classes, backend.xp.ones_like(mask) if variant == "official" else mask


def _check_indices(name: str, x: Any, count: int) -> None:
    if x.size and not (x.min() >= 0 and x.max() < count):
        first = int(((x < 0) | (x >= count)).argmax())
        raise ValueError(f"{name}: expected whole numbers in 0 ... {count - 1}, got {x[first]} in sample {first}")


def _pairs_of_two(labels: Any, numbers: Any, num_classes: int) -> tuple[Any, Any, Any]:
    batch, steps = len(labels), key_steps(num_classes)
    ranks = numbers[batch : batch + num_classes].argsort(kind="stable")
    _, order = NUMPY.sort(ranks[labels] * steps + (numbers[:batch] * (steps - 1)).astype(np.int64))
    largest = int(np.bincount(labels, minlength=1).max())
    spare = max(batch - 2 * largest, 0)
    amount = largest + min(int(numbers[-1] * numbers.dtype.type(spare + 1)), spare)
    amount = amount if amount < batch else amount - batch
    sources = np.empty((2, 2, batch), dtype=np.int64)
    sources[0, 0] = sources[1, 1] = np.arange(batch)
    sources[0, 1, order] = np.concatenate((order[amount:], order[:amount]))
    sources[1, 0] = sources[0, 1]
    classes = labels[sources]
    return sources, classes, classes[0] != classes[1]


def weigh_pairs(*given: Any, backend: Backend, **options: Any) -> PairWeights:
    """Return what `midas_core.weigh_pairs` does, of all of its arguments."""
    if backend is NUMPY and options["variant"] == "paper" and options["reduce"] is None:
        found = _weigh_pairs(*given, **{name: options[name] for name in ("eta", "alpha_update", "max_alpha")})
        if found is not None:
            return found
    return objective.weigh_pairs(*given, **options, backend=backend)


def _weigh_pairs(
    log_confidences: Any,
    mixed_log_confidences: Any,
    mask: Any,
    sources: Any,
    similarities: Any,
    state: MidasState,
    *,
    eta: float,
    alpha_update: str,
    max_alpha: float | None,
) -> PairWeights | None:
    """Return None where there is no pair, where all confidences underflow, or where something is not finite."""
    count = int(np.count_nonzero(mask))
    both = np.empty((2, *sources.shape), dtype=mixed_log_confidences.dtype)
    for own, source, out in zip(log_confidences, sources, both[0], strict=True):
        own.take(source, out=out, mode="clip")
    both[1] = mixed_log_confidences
    top = both.max(axis=1, keepdims=True)
    if count == 0 or not math.isfinite(both.sum()) or top.min() < LOG_UNDERFLOW:
        return None
    both -= top
    np.exp(both, out=both)
    both /= both.sum(axis=1, keepdims=True)
    means = (both * mask).reshape(2, len(sources), -1).sum(axis=2) / both.dtype.type(count)
    weak = int(means[0].argmin())
    gap = means[0, weak] - means[1, weak]
    alpha, step = state.alpha.tolist(), int(state.step)
    if step == 0:
        alpha = [max(alpha) if m == weak else 1.0 for m in range(len(alpha))]
    delta = float(gap) if alpha_update == "difference" else float(gap > 0) - float(gap < 0)
    moved = max(alpha[weak] + eta * delta, 1.0)
    if max_alpha is not None:
        moved = min(moved, max_alpha)
    after = np.array([moved if m == weak else 1.0 for m in range(len(alpha))], dtype=state.alpha.dtype)

    used = np.array(alpha, dtype=both.dtype)
    soft_weights = both[0] * used[:, None, None]
    soft_weights *= mask if similarities is None else np.where(mask, 1 + (similarities + 1) / 2, 0)
    return PairWeights(soft_weights, used, means[0], means[1], MidasState(after, np.asarray(step + 1)))

"""Steps on small arrays, by hand in NumPy: there the calls of the core cost more than their numbers.

`midas_core.different_class_permutation` and `midas_core.weigh_pairs` are the specification, and take over where
something is out of the ordinary. Values may be looked at here: they lie in the memory of the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from midas_core import misalignment, objective
from midas_core.backends import Array, Backend
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH
from midas_core.confidence import LOG_UNDERFLOW
from midas_core.objective import PairWeights
from midas_core.weighting import MidasState, Reduce


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
    return _to_torch(function(*map(_to_numpy, arguments), backend=NUMPY))


def _to_numpy(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().numpy()
    return tree if tree is None else _rebuild(tree, map(_to_numpy, tree))


def _to_torch(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return torch.from_numpy(tree)
    if isinstance(tree, tuple):
        return _rebuild(tree, map(_to_torch, tree))
    return tree if tree is None else torch.as_tensor(tree)


def _rebuild(tree: Any, items: Any) -> Any:
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


def different_class_permutation(
    labels: Array, sample_keys: Array, class_keys: Array, rotation: Array, *, backend: Backend
) -> Array:
    """Return what the function of the core does."""
    if backend is not NUMPY:
        return misalignment.different_class_permutation(labels, sample_keys, class_keys, rotation, backend=backend)
    batch, steps = len(labels), misalignment.key_steps(len(class_keys))
    ranks = class_keys.argsort(kind="stable")
    keys = ranks[labels] * steps + (sample_keys * (steps - 1)).astype(np.int64)
    _, order = NUMPY.sort(keys)
    largest = int(np.bincount(labels).max())
    spare = max(batch - 2 * largest, 0)
    amount = largest + min(int(rotation * rotation.dtype.type(spare + 1)), spare)
    if amount >= batch:
        amount -= batch
    permutation = np.empty_like(order)
    permutation[order] = np.concatenate((order[amount:], order[:amount]))
    return permutation


def weigh_pairs(
    log_confidences: Array,
    mixed_log_confidences: Array,
    mask: Array,
    sources: Array,
    similarities: Array | None,
    state: MidasState,
    *,
    eta: float,
    variant: str,
    alpha_update: str,
    max_alpha: float | None,
    reduce: Reduce | None,
    backend: Backend,
) -> PairWeights:
    """Return what the function of the core does."""
    found = None
    if backend is NUMPY and variant == "paper" and reduce is None:
        found = _weigh_pairs(
            log_confidences, mixed_log_confidences, mask, sources, similarities, state, eta, alpha_update, max_alpha
        )
    return found or objective.weigh_pairs(
        log_confidences,
        mixed_log_confidences,
        mask,
        sources,
        similarities,
        state,
        eta=eta,
        variant=variant,
        alpha_update=alpha_update,
        max_alpha=max_alpha,
        reduce=reduce,
        backend=backend,
    )


def _weigh_pairs(
    log_confidences: Any,
    mixed_log_confidences: Any,
    mask: Any,
    sources: Any,
    similarities: Any,
    state: MidasState,
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
    if count == 0 or not top.min() >= LOG_UNDERFLOW:
        return None
    both -= top
    np.exp(both, out=both)
    both /= both.sum(axis=1, keepdims=True)
    means = (both * mask).sum(axis=(2, 3)) / both.dtype.type(count)
    if not math.isfinite(means.sum()):
        return None

    weak = int(means[0].argmin())
    gap = means[0, weak] - means[1, weak]
    alpha, step = state.alpha.tolist(), int(state.step)
    if step == 0:
        alpha = [max(alpha) if m == weak else 1.0 for m in range(len(alpha))]
    moved = max(alpha[weak] + eta * float(np.sign(gap) if alpha_update == "sign" else gap), 1.0)
    after = np.ones_like(state.alpha)
    after[weak] = moved if max_alpha is None else min(moved, max_alpha)

    used = np.array(alpha, dtype=both.dtype)
    soft_weights = both[0] * used[:, None, None]
    soft_weights *= mask if similarities is None else np.where(mask, 1 + (similarities + 1) / 2, 0)
    return PairWeights(soft_weights, used, means[0], means[1], MidasState(after, np.asarray(step + 1)))

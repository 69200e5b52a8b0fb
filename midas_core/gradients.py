"""The closed-form gradient of the objective: how NumPy and CuPy users train, and a check on every autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.confidence import in_full_precision
from midas_core.misalignment import VIEWS, pair_classes
from midas_core.objective import check_batch
from midas_core.validation import check_choice
from midas_core.weighting import VARIANTS


class Gradients(NamedTuple):
    """The gradient of each sample's total in every set of logits.

    Attributes
    ----------
    fused : array, shape (B, C)
    unimodal : list of M arrays, shape (B, C)
    mixed : array, shape (V, B, C)
    """

    fused: Array
    unimodal: list[Array]
    mixed: Array


def midas_gradients(
    fused_logits: Array,
    unimodal_logits: Sequence[Array],
    mixed_logits: Array | None,
    labels: Array,
    sources: Array,
    soft_weights: Array,
    *,
    weight: float = 1.0,
    variant: str = "paper",
    backend: Backend | None = None,
) -> Gradients:
    """Return the closed-form gradient of each sample's total in every set of logits.

    d total_i / d z_i = softmax(z_i) - onehot(y_i), the same for each z^m, and for a mixed sample, w = ``soft_weights``,
    d total_i / d z~_i = weight / V * (sum_m w[m, i] softmax(z~_i) - sum_m w[m, i] onehot(Y[m, i])).

    Parameters
    ----------
    fused_logits, unimodal_logits, mixed_logits, labels, sources
        As for `midas_objective`. Without mixed logits (warm-up) only the unimodal part is left.
    soft_weights : array, shape (M, V, B)
        From `midas_objective`.
    weight : float
    variant : {"paper", "official"}

    Returns
    -------
    Gradients
        Of the sum over the batch; divide by B for the mean.

    Raises
    ------
    TypeError, ValueError
        As `midas_objective`.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
    >>> z, labels = np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([0, 1])
    >>> sources = source_matrix(np.array([1, 0]), 2)
    >>> midas_gradients(z, [z, z], np.stack([z, z]), labels, sources, np.zeros((2, 2, 2))).fused
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    """
    bk = backend or get_backend(fused_logits)
    xp = bk.xp
    check_choice("variant", variant, VARIANTS)
    check_batch(fused_logits, unimodal_logits, mixed_logits, labels, sources, bk)
    unimodal = [_error(z, labels, bk) for z in unimodal_logits]
    if variant == "official":
        unimodal = [g / len(unimodal) for g in unimodal]
    fused = _error(fused_logits, labels, bk)
    if mixed_logits is None:
        empty = xp.zeros_like(xp.stack([fused] * VIEWS))
        return Gradients(xp.zeros_like(fused), unimodal, empty)
    logits = in_full_precision(mixed_logits, backend=bk)
    classes = pair_classes(labels, sources, backend=bk)
    scale = weight / VIEWS
    mixed = xp.sum(soft_weights, axis=0)[..., None] * _softmax(logits, bk)
    for m in range(len(unimodal_logits)):
        mixed = mixed - soft_weights[m, ..., None] * _one_hot(classes[m, ...], logits, bk)
    return Gradients(fused, unimodal, scale * mixed)


def _softmax(logits: Array, bk: Backend) -> Array:
    return bk.xp.exp(logits - bk.logsumexp(logits)[..., None])


def _one_hot(classes: Array, like: Array, bk: Backend) -> Array:
    xp = bk.xp
    columns = bk.arange(like.shape[-1], like)
    return xp.astype(xp.astype(classes, bk.index_dtype(), copy=False)[..., None] == columns, like.dtype)


def _error(logits: Array, labels: Array, bk: Backend) -> Array:
    logits = in_full_precision(logits, backend=bk)
    return _softmax(logits, bk) - _one_hot(labels, logits, bk)

"""The closed-form gradient of the objective: how NumPy and CuPy users train, and a check on every autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.cross_entropy import Targets, as_targets, check_batch, label_weights, probabilities, target_rows
from midas_core.missing import complete_pairs, unimodal_scale, zero_missing
from midas_core.options import check_variant
from midas_core.pairing import Pairs, absent_of, source_matrix_of, take_rows
from midas_core.partners import VIEWS


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
    labels: Array | Targets,
    sources: Array | Pairs,
    soft_weights: Array,
    *,
    present: Array | None = None,
    weight: float = 1.0,
    variant: str = "paper",
    aligned_only: bool = False,
    backend: Backend | None = None,
) -> Gradients:
    """Return the closed-form gradient of each sample's total in every set of logits.

    d total_i / d z_i = softmax(z_i) - onehot(y_i), the same for each z^m, and for a mixed sample, w = ``soft_weights``,
    d total_i / d z~_i = weight / V * (sum_m w[m, i] softmax(z~_i) - sum_m w[m, i] onehot(Y[m, i])).
    A smoothed label replaces onehot; with several labels for a sample, sigmoid / C and label / C replace softmax and
    onehot.

    Parameters
    ----------
    fused_logits, unimodal_logits, mixed_logits, labels, sources : as for `midas_objective`
        Without mixed logits (warm-up) only the unimodal part is left.
    soft_weights : array, shape (M, V, B)
        From `midas_objective`.
    present : as for `midas_objective`
    weight : float
    variant : {"paper", "official"}
    aligned_only : bool
        Whether only the aligned part is left, as in the aligned finish.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

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
    sources, absent = source_matrix_of(sources), absent_of(sources)
    check_variant(variant, len(unimodal_logits), present, absent)
    check_batch(fused_logits, unimodal_logits, mixed_logits, labels, sources, present, bk)
    targets = as_targets(labels)
    rows = target_rows(targets, bk.in_full_precision(fused_logits), bk)
    weights = label_weights(targets, rows.dtype, bk)

    def error(logits: Array) -> Array:
        slopes = probabilities(logits, targets, bk) - rows
        return slopes if weights is None else slopes * weights[:, None]

    if present is not None:
        unimodal_logits = zero_missing(unimodal_logits, present, backend=bk)
    unimodal = [error(z) for z in unimodal_logits]
    if variant == "official":
        unimodal = [g / len(unimodal) for g in unimodal]
    if present is not None:
        scale = unimodal_scale(present, rows.dtype, bk)
        unimodal = [g * scale[m, :, None] for m, g in enumerate(unimodal)]
    fused = error(fused_logits)
    if aligned_only or mixed_logits is None:
        empty = xp.zeros_like(xp.stack([fused] * VIEWS))
        if aligned_only:
            return Gradients(fused, [xp.zeros_like(g) for g in unimodal], empty)
        return Gradients(xp.zeros_like(fused), unimodal, empty)
    if present is not None:
        whole = complete_pairs(present, sources, absent, backend=bk)
        mixed_logits = bk.where(whole[..., None], mixed_logits, 0.0)
    mixed = xp.sum(soft_weights, axis=0)[..., None] * probabilities(mixed_logits, targets, bk)
    for m in range(len(unimodal_logits)):
        mixed = mixed - soft_weights[m, ..., None] * take_rows(rows, sources[m, ...], bk)
    return Gradients(fused, unimodal, weight / VIEWS * mixed)

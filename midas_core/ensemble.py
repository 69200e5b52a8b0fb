"""Soft voting at prediction: the fused head together with the unimodal heads that MIDAS has trained anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence

from midas_core.backends import Array, Backend, get_backend
from midas_core.missing import zero_missing
from midas_core.validation import check_flag, check_fraction, check_logits, check_modalities


def ensemble_logits(
    fused_logits: Array,
    unimodal_logits: Sequence[Array],
    *,
    weight: float = 0.5,
    present: Array | None = None,
    multi_label: bool = False,
    backend: Backend | None = None,
) -> Array:
    """Return the logits of a soft vote: log((1 - weight) * softmax(z) + weight * mean_m softmax(z^m)).

    Parameters
    ----------
    fused_logits : array, shape (B, C), floating
        z, of the fused head.
    unimodal_logits : sequence of M arrays, shape (B, C), floating
        z^m, of the unimodal heads.
    weight : float
        Share of the unimodal heads, in [0, 1], the same for each. Choose it on validation data.
    present : array, shape (B, M), bool, optional
        Whether a sample has a modality: the mean is taken over those that it has. The fused head decides alone where
        it has none.
    multi_label : bool
        Whether each class has a probability of its own, sigmoid(z), instead of softmax(z).
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (B, C), float32 or float64
        Their softmax is the weighted mean of the probabilities; for ``multi_label`` their sigmoid is.

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape, the number of modalities or the weight does not fit.

    Notes
    -----
    Not a part of the paper. It costs the unimodal heads, no further pass through an encoder.

    Examples
    --------
    >>> import numpy as np
    >>> fused, audio, video = np.log([[0.6, 0.4]]), np.log([[0.1, 0.9]]), np.log([[0.3, 0.7]])
    >>> np.exp(ensemble_logits(fused, [audio, video], weight=0.5)).round(2).tolist()
    [[0.4, 0.6]]
    """
    bk = backend or get_backend(fused_logits)
    weight = check_fraction("weight", weight)
    check_flag("multi_label", multi_label)
    check_modalities("unimodal_logits", unimodal_logits)
    check_logits("fused_logits", fused_logits, (None, None), "(B, C)", bk)
    shape = fused_logits.shape
    for m, logits in enumerate(unimodal_logits):
        check_logits(f"unimodal_logits[{m}]", logits, shape, "(B, C)", bk)
    if present is not None:
        # Whatever the logits of a missing modality are.
        unimodal_logits = zero_missing(unimodal_logits, present, backend=bk)
    every = [bk.in_full_precision(z) for z in (fused_logits, *unimodal_logits)]
    shares = _log_shares(weight, len(unimodal_logits), present, every[0], bk)
    if not multi_label:
        return _mixture([bk.log_softmax(z) for z in every], shares, bk)
    log_p, log_not_p = [-bk.softplus(-z) for z in every], [-bk.softplus(z) for z in every]
    return _mixture(log_p, shares, bk) - _mixture(log_not_p, shares, bk)


def _log_shares(weight: float, count: int, present: Array | None, like: Array, bk: Backend) -> list[Array]:
    """Return the logarithm of what each head counts, shape (B, 1): the fused one, then the unimodal ones."""
    xp = bk.xp
    ones = xp.ones_like(like[:, :1])
    if present is None:
        return [ones * _log(1 - weight), *[ones * _log(weight / count)] * count]
    here = xp.astype(present, like.dtype)
    having = xp.sum(here, axis=-1, keepdims=True)
    fused = bk.where(having > 0, ones * _log(1 - weight), 0.0)
    own = ones * _log(weight) - xp.log(bk.at_least(having, 1.0))
    return [fused, *[bk.where(here[:, m : m + 1] > 0, own, -math.inf) for m in range(count)]]


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _mixture(log_probabilities: list[Array], log_shares: list[Array], bk: Backend) -> Array:
    parts = [x + share for x, share in zip(log_probabilities, log_shares, strict=True)]
    return bk.logsumexp(bk.xp.stack(parts, axis=-1))

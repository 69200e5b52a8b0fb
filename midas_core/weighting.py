"""Weights of the mixed samples: confidence shares and soft labels, alpha, and the constants of eq. 10 (eq. 2 to 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.options import ALPHA_UPDATES, VARIANTS
from midas_core.pairing import alone
from midas_core.similarity import hard_sample_weight
from midas_core.validation import check_choice, check_shape

LOG_UNDERFLOW = -745.13
"""Below it, exp() is 0 in double precision. One bound for every dtype, so that all backends agree."""

Reduce = Callable[[Array], Array]
"""From sums over the batch of one process to sums over all processes."""


def log_confidence(logits: Array, classes: Array, *, backend: Backend | None = None) -> Array:
    """Return the log-probability that a classifier gives to one class: log softmax(z)[class].

    Its exponential is the confidence c of eq. 2, its negative the cross-entropy of eq. 9.

    Parameters
    ----------
    logits : array, shape (..., C), floating
    classes : array, shape (...), integer; or (..., C), of 0 and 1
        For several labels: minus the mean binary cross-entropy, so that c is the geometric mean of the probabilities
        that the C labels have.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (...), float32 or float64

    Notes
    -----
    Through log-sum-exp, in float32 for half-precision logits. The gradient flows; eq. 2 stops it.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(np.exp(log_confidence(np.array([[0.0, 0.0]]), np.array([1])))[0]), 3)
    0.5
    """
    bk = backend or get_backend(logits)
    xp = bk.xp
    several = len(classes.shape) == len(logits.shape)
    check_shape("classes", classes, logits.shape if several else logits.shape[:-1], "logits.shape[:-1]")
    logits = bk.in_full_precision(logits)
    if several:
        return xp.mean(xp.astype(classes, logits.dtype, copy=False) * logits - bk.softplus(logits), axis=-1)
    index = xp.astype(classes, bk.index_dtype(), copy=False)[..., None]
    return bk.log_likelihood(logits, index)[..., 0]


def normalized_confidence(
    log_confidences: Array, absent: Array | None = None, *, backend: Backend | None = None
) -> Array:
    """Return the share of each modality in the confidence: c~[m] = c[m] / sum_l c[l] (eq. 2).

    Parameters
    ----------
    log_confidences : array, shape (M, ...), floating
        log c, from `log_confidence`.
    absent : array, shape (M, ...), bool, optional
        The modalities whose share is 0, whatever their c.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (M, ...)
        Sums to one over the first axis.

    Notes
    -----
    Computed as a softmax over the modalities, exact where c itself would lose its digits. Where every c[m] underflows
    to 0 in double precision, nothing tells the modalities apart, and each gets 1 / M.

    Examples
    --------
    >>> import numpy as np
    >>> normalized_confidence(np.log(np.array([0.9, 0.3]))).round(2)
    array([0.75, 0.25])
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    if absent is not None:
        log_confidences = bk.fill(log_confidences, absent, -math.inf)
    # NaN fails the comparison and stays NaN.
    top = xp.max(log_confidences, axis=0, keepdims=True)
    log_confidences = bk.fill(log_confidences, top < LOG_UNDERFLOW, 0.0)
    if absent is not None:
        log_confidences = bk.fill(log_confidences, absent, -math.inf)
    return bk.softmax(log_confidences)


def soft_labels(shares: Array, classes: Array, num_classes: int, *, backend: Backend | None = None) -> Array:
    """Return the soft labels of mixed samples: y~ = sum_m c~[m] * onehot(Y[m]) (eq. 3).

    Parameters
    ----------
    shares : array, shape (M, ...), floating
        c~, from `normalized_confidence`.
    classes : array, shape (M, ...), integer; or (M, ..., C), of 0 and 1
        Y.
    num_classes : int
        Number of classes, C.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (..., C)
        Sums to one over the last axis; for several labels each entry is in [0, 1].

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    For training with a custom loss: `midas_objective` needs no such matrix.

    Examples
    --------
    >>> import numpy as np
    >>> soft_labels(np.array([[0.75], [0.25]]), np.array([[2], [0]]), 3).tolist()
    [[0.25, 0.0, 0.75]]
    """
    bk = backend or get_backend(shares)
    xp = bk.xp
    if len(classes.shape) > len(shares.shape):
        check_shape("classes", classes, (*shares.shape, num_classes), "(*shares.shape, C)")
        return xp.sum(xp.astype(classes, shares.dtype, copy=False) * shares[..., None], axis=0)
    check_shape("classes", classes, shares.shape, "shares.shape")
    columns = bk.arange(num_classes, shares)
    is_class = xp.astype(classes, bk.index_dtype(), copy=False)[..., None] == columns
    return xp.sum(xp.astype(is_class, shares.dtype, copy=False) * shares[..., None], axis=0)


class MidasState(NamedTuple):
    """State that MIDAS carries from one step to the next.

    Attributes
    ----------
    alpha : array, shape (M,)
        The weight of each modality in the next step: 1, but for the weak one. Before the first step every entry
        holds the initial weight; the first step keeps it for the modality that is weak then.
    step : array, shape (), integer
        Updates of alpha so far.
    """

    alpha: Array
    step: Array


class Imbalance(NamedTuple):
    """The batch means that the weak-modality weight is made from."""

    strong: Array
    """False at the weak modality, shape (M,)."""
    gap: Array
    """Unimodal minus fused confidence, shape (M,), or () of the weak modality; there its sign is Delta (eq. 6)."""
    any_pair: Array
    """Whether the batch holds a misaligned sample at all, shape ()."""
    confidence: Array
    """Mean of c~ over the misaligned samples, shape (M,)."""
    fused_confidence: Array
    """Mean of q over them, shape (M,)."""


def imbalance(
    shares: Array,
    mask: Array,
    *,
    reduce: Reduce | None = None,
    backend: Backend | None = None,
) -> Imbalance:
    """Return the weak modality and how much the fused model undervalues it (eq. 5 and 6).

    m^ = argmin_m mean_i c~[m, i] and gap = mean_i c~[m, i] - mean_i q[m, i], of shares (M, 2, V, B), c~ and q.
    """
    bk = backend or get_backend(shares)
    xp = bk.xp
    sums = xp.sum(bk.fill(shares, ~mask, 0.0), axis=(2, 3))
    sums, count = _over_processes(sums, xp.sum(xp.astype(mask, shares.dtype)), reduce, bk)
    means = sums / bk.at_least(count, 1.0)
    confidence, fused_confidence = means[:, 0], means[:, 1]
    strong = _all_but_argmin(confidence, bk)
    return Imbalance(strong, confidence - fused_confidence, count > 0, confidence, fused_confidence)


def finite_pairs(mask: Array, log_confidences: Array, *, backend: Backend | None = None) -> Array:
    """Return which of the samples that count have finite log-confidences (..., V, B) alone, shape (V, B).

    A NaN or an infinity in one sample spoils the losses that it takes part in, never alpha.
    """
    bk = backend or get_backend(mask)
    others = tuple(range(len(log_confidences.shape) - 2))
    return mask & (bk.xp.sum(log_confidences, axis=others) > -math.inf)


def official_gap(
    log_confidences: Array,
    fused_log_confidences: Array,
    *,
    reduce: Reduce | None = None,
    backend: Backend | None = None,
) -> tuple[Array, Array]:
    """Return strong modality and gap as the authors' code has them, from log c (2, B) and log p~ (2, V, B).

    Ratios of means over what is finite, modality 0 over modality 1: unimodal, and fused averaged over the versions.
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    views = fused_log_confidences.shape[1]
    logs = xp.concat([log_confidences, xp.reshape(fused_log_confidences, (2 * views, -1))], axis=0)
    finite = xp.isfinite(logs)
    sums = xp.sum(bk.fill(xp.exp(logs), ~finite, 0.0), axis=-1)
    sums, counts = _over_processes(sums, xp.sum(xp.astype(finite, sums.dtype), axis=-1), reduce, bk)
    means = sums / bk.at_least(counts, 1.0)
    confidence, fused = means[:2], xp.reshape(means[2:], (2, -1))
    strong = _all_but_argmin(confidence, bk)
    gap = xp.mean(fused[0, ...] / fused[1, ...]) - confidence[0, ...] / confidence[1, ...]
    # A ratio has no value where a mean confidence is 0 or NaN: then nothing moves.
    gap = bk.fill(gap, ~xp.isfinite(gap), 0.0)
    return strong, xp.where(strong[0, ...], gap, -gap)


def current_alpha(state: MidasState, strong: Array, *, variant: str = "paper", backend: Backend | None = None) -> Array:
    """Return the weights (M,) that a step uses: those that the last one left (Algorithm 1).

    In the first step, and always in the authors' code, the one weight goes to whichever modality is weak now.
    """
    bk = backend or get_backend(state.alpha)
    xp = bk.xp
    check_choice("variant", variant, VARIANTS)
    if variant == "official":
        # All but one are 1 and none is less.
        return bk.where(strong, 1.0, xp.max(state.alpha))
    # Before the first step all are the initial weight.
    return bk.fill(state.alpha, strong & (state.step == 0), 1.0)


def next_state(
    state: MidasState,
    alpha: Array,
    balance: Imbalance,
    *,
    eta: float = 0.05,
    alpha_update: str = "sign",
    max_alpha: float | None = None,
    backend: Backend | None = None,
) -> MidasState:
    """Return the state after a step (eq. 7), unchanged where no sample is misaligned.

    alpha[m^] <- min(max_alpha, max(1, alpha[m^] + eta * sign(gap))), every other alpha <- 1.
    """
    bk = backend or get_backend(alpha)
    xp = bk.xp
    check_choice("alpha_update", alpha_update, ALPHA_UPDATES)
    gap = xp.astype(balance.gap, alpha.dtype, copy=False)
    delta = xp.sign(gap) if alpha_update == "sign" else gap
    moved = bk.at_least(alpha + eta * delta, 1.0)
    if max_alpha is not None:
        moved = bk.at_most(moved, float(max_alpha))
    moved = bk.fill(moved, balance.strong, 1.0)
    return MidasState(
        xp.where(balance.any_pair, moved, state.alpha),
        state.step + xp.astype(balance.any_pair, state.step.dtype),
    )


def _all_but_argmin(x: Array, bk: Backend) -> Array:
    index = bk.arange(x.shape[0], x)
    return index != bk.xp.astype(bk.xp.argmin(x, axis=0), bk.index_dtype(), copy=False)


def _over_processes(sums: Array, counts: Array, reduce: Reduce | None, bk: Backend) -> tuple[Array, Array]:
    """Return sums over the batch of one process as sums over all of them, in one go."""
    if reduce is None:
        return sums, counts
    xp = bk.xp
    # TensorFlow has no default for the axis.
    flat, size = xp.concat([xp.reshape(sums, (-1,)), xp.reshape(counts, (-1,))], axis=0), math.prod(sums.shape)
    everything = reduce(flat)
    return xp.reshape(everything[:size], sums.shape), xp.reshape(everything[size:], counts.shape)


class PairWeights(NamedTuple):
    """Soft weights (M, V, B) of eq. 10, the weights and mean shares (M,) of `MidasTerms`, and the next state."""

    soft_weights: Array
    alpha: Array
    confidence: Array
    fused_confidence: Array
    state: MidasState


def weigh_pairs(
    log_confidences: Array,
    mixed_log_confidences: Array,
    mask: Array,
    sources: Array,
    similarities: Array | None,
    state: MidasState,
    *,
    absent: Array | None = None,
    eta: float = 0.05,
    variant: str = "paper",
    alpha_update: str = "sign",
    max_alpha: float | None = None,
    reduce: Reduce | None = None,
    backend: Backend | None = None,
) -> PairWeights:
    """Return the constants of eq. 10, (1 + (s_i + 1) / 2) * alpha_m * c~[m, i], and the next alpha.

    From log c (M, B) at the class of each sample and log p~ (M, V, B) at the class of each modality. Mixed samples
    without a partner have no hard-sample weight, and leave alpha alone.
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    both = xp.stack([take_sources(log_confidences, sources, bk), mixed_log_confidences], axis=1)
    counted = finite_pairs(mask, both, backend=bk)
    without = None
    if absent is not None:
        without = alone(absent, backend=bk)
        counted = counted & ~without
    both = normalized_confidence(both, None if absent is None else absent[:, None, ...], backend=bk)
    balance = imbalance(both, counted, reduce=reduce, backend=bk)
    if variant == "official":
        strong, gap = official_gap(log_confidences, mixed_log_confidences, reduce=reduce, backend=bk)
        balance = balance._replace(strong=strong, gap=gap)
    alpha = current_alpha(state, balance.strong, variant=variant, backend=bk)
    state = next_state(
        state,
        alpha,
        balance,
        eta=eta,
        alpha_update=alpha_update,
        max_alpha=max_alpha,
        backend=bk,
    )
    shares = both[:, 0, ...]
    alpha = xp.astype(alpha, shares.dtype, copy=False)
    soft_weights = shares * xp.reshape(alpha, (-1, 1, 1))
    if similarities is not None:
        hard = hard_sample_weight(xp.astype(similarities, shares.dtype, copy=False))
        soft_weights = soft_weights * (hard if without is None else bk.fill(hard, without, 1.0))
    soft_weights = bk.fill(soft_weights, ~mask, 0.0)
    return PairWeights(soft_weights, alpha, balance.confidence, balance.fused_confidence, state)


def take_sources(x: Array, sources: Array, bk: Backend) -> Array:
    """Return x[m, S[m]] for each modality, shape (M, V, B)."""
    xp = bk.xp
    modalities, views = sources.shape[0], sources.shape[1]
    picked = xp.take_along_axis(x, xp.reshape(sources, (modalities, -1)), axis=-1)
    return xp.reshape(picked, (modalities, views, -1))

"""The two weights of a mixed sample: of its weak modality (section 3.4) and of its difficulty (section 3.5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.confidence import in_full_precision
from midas_core.validation import check_choice, check_modalities

VARIANTS = ("paper", "official")
ALPHA_UPDATES = ("sign", "difference")
SIMILARITIES = ("cosine", "l2", None)

Reduce = Callable[[Array], Array]
"""From sums over the batch of one process to sums over all processes."""


class MidasState(NamedTuple):
    """What MIDAS carries from one step to the next.

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
    """The batch means that the weak-modality weight is made from.

    Attributes
    ----------
    weak : array, shape (M,), bool
        True at the weak modality.
    gap : array, shape ()
        How much surer of the weak modality its own classifier is than the fused one; its sign is Delta (eq. 6).
    any_pair : array, shape (), bool
        Whether the batch holds a misaligned sample at all.
    confidence, fused_confidence : array, shape (M,)
        Means of c~ and of q over the misaligned samples.
    """

    weak: Array
    gap: Array
    any_pair: Array
    confidence: Array
    fused_confidence: Array


def imbalance(
    shares: Array,
    mask: Array,
    *,
    reduce: Reduce | None = None,
    backend: Backend | None = None,
) -> Imbalance:
    """Find the weak modality and how much the fused model undervalues it (eq. 5 and 6).

    m^ = argmin_m mean_i c~[m, i];  gap = mean_i c~[m^, i] - mean_i q[m^, i].

    Parameters
    ----------
    shares : array, shape (M, 2, V, B)
        c~ and q: normalised confidence of the unimodal classifiers, and of the fused one on the mixed samples.
    mask : array, shape (V, B), bool
        The samples that count; `finite_pairs` leaves out what is not finite.
    reduce : callable, optional
        Takes a vector of sums over the batch to sums over all processes, where a batch is spread over several.

    Returns
    -------
    Imbalance

    Examples
    --------
    >>> import numpy as np
    >>> found = imbalance(np.array([[[[.7]], [[.9]]], [[[.3]], [[.1]]]]), np.array([[True]]))
    >>> found.weak.tolist(), round(float(found.gap), 2)
    ([False, True], 0.2)
    """
    bk = backend or get_backend(shares)
    xp = bk.xp
    sums = xp.sum(bk.where(mask, shares, 0.0), axis=(2, 3))
    sums, count = _over_processes(sums, xp.sum(xp.astype(mask, shares.dtype)), reduce, bk)
    means = sums / bk.at_least(count, 1.0)
    confidence, fused_confidence = means[:, 0], means[:, 1]
    weak = _one_hot_argmin(confidence, bk)
    gap = _pick(confidence - fused_confidence, weak, bk)
    return Imbalance(weak, gap, count > 0, confidence, fused_confidence)


def finite_pairs(mask: Array, log_confidences: Array, *, backend: Backend | None = None) -> Array:
    """Return which of the samples that count have finite log-confidences alone.

    A NaN or an infinity in one sample spoils the losses that it takes part in, never alpha.

    Parameters
    ----------
    mask : array, shape (V, B), bool
        The samples that count.
    log_confidences : array, shape (..., V, B)
        Numbers up to 0, or NaN: a sum above minus infinity has then finite parts alone.

    Returns
    -------
    array, shape (V, B), bool

    Examples
    --------
    >>> import numpy as np
    >>> finite_pairs(np.array([[True, True, False]]), np.array([[[-1.0, -np.inf, -1.0]], [[-2.0, -2.0, -2.0]]]))
    array([[ True, False, False]])
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
    """Return the weak modality and the gap as the authors' code has them, for two modalities.

    The weak modality has the lower mean confidence on the aligned batch. Compared are ratios of means, modality 0 over
    modality 1: of the unimodal confidences, and of the fused ones, averaged over the two views.

    Parameters
    ----------
    log_confidences : array, shape (2, B)
        log c on the aligned batch.
    fused_log_confidences : array, shape (2, V, B)
        log p~ at the class of each modality.
    reduce : callable, optional
        As for `imbalance`.

    Returns
    -------
    weak : array, shape (2,), bool
    gap : array, shape ()

    Notes
    -----
    Each mean is taken over what is finite.

    Examples
    --------
    >>> import numpy as np
    >>> weak, gap = official_gap(np.log([[.8], [.4]]), np.log([[[.9]], [[.1]]]))
    >>> weak.tolist(), round(float(gap), 2)
    ([False, True], 7.0)
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    views = fused_log_confidences.shape[1]
    each = xp.concat([log_confidences, xp.reshape(fused_log_confidences, (2 * views, -1))], axis=0)
    finite = xp.isfinite(each)
    sums = xp.sum(bk.where(finite, xp.exp(each), 0.0), axis=-1)
    sums, counts = _over_processes(sums, xp.sum(xp.astype(finite, sums.dtype), axis=-1), reduce, bk)
    means = sums / bk.at_least(counts, 1.0)
    confidence, fused = means[:2], xp.reshape(means[2:], (2, -1))
    weak = _one_hot_argmin(confidence, bk)
    gap = xp.mean(fused[0, ...] / fused[1, ...]) - confidence[0, ...] / confidence[1, ...]
    return weak, xp.where(weak[0, ...], -gap, gap)


def current_alpha(state: MidasState, weak: Array, *, variant: str = "paper", backend: Backend | None = None) -> Array:
    """Return the weights that a step uses.

    Those that the last step left (Algorithm 1); in the first step, and always in the authors' code, the one weight
    goes to whichever modality is weak now.

    Parameters
    ----------
    state : MidasState
    weak : array, shape (M,), bool
    variant : {"paper", "official"}

    Returns
    -------
    array, shape (M,)

    Examples
    --------
    >>> import numpy as np
    >>> state = MidasState(np.array([1.0, 1.6]), np.array(3))
    >>> current_alpha(state, np.array([True, False])).tolist()
    [1.0, 1.6]
    >>> current_alpha(state, np.array([True, False]), variant="official").tolist()
    [1.6, 1.0]
    """
    bk = backend or get_backend(state.alpha)
    xp = bk.xp
    check_choice("variant", variant, VARIANTS)
    # All but one are 1 and none is less.
    moved = bk.where(weak, xp.max(state.alpha), 1.0)
    return moved if variant == "official" else xp.where(state.step == 0, moved, state.alpha)


def next_state(
    state: MidasState,
    alpha: Array,
    found: Imbalance,
    *,
    eta: float = 0.05,
    alpha_update: str = "sign",
    max_alpha: float | None = None,
    backend: Backend | None = None,
) -> MidasState:
    """Return the state after a step (eq. 7).

    alpha[m^] <- max(1, alpha[m^] + eta * sign(gap)), every other alpha <- 1.

    Parameters
    ----------
    state : MidasState
    alpha : array, shape (M,)
        What this step used, from `current_alpha`.
    found : Imbalance
    eta : float
        Step size.
    alpha_update : {"sign", "difference"}
        Whether the sign of the gap moves alpha, or the gap itself.
    max_alpha : float, optional
        A cap; the authors use 10 on Kinetics-Sounds.

    Returns
    -------
    MidasState
        Unchanged where the batch holds no misaligned sample.

    Examples
    --------
    >>> import numpy as np
    >>> found = imbalance(np.array([[[[.7]], [[.9]]], [[[.3]], [[.1]]]]), np.array([[True]]))
    >>> state = MidasState(np.ones(2), np.array(0))
    >>> next_state(state, state.alpha, found).alpha.tolist()
    [1.0, 1.05]
    """
    bk = backend or get_backend(alpha)
    xp = bk.xp
    check_choice("alpha_update", alpha_update, ALPHA_UPDATES)
    if alpha_update == "sign":
        # Not xp.sign: array-api-compat's cannot be traced by torch.compile.
        delta = xp.astype(found.gap > 0, alpha.dtype, copy=False) - xp.astype(found.gap < 0, alpha.dtype, copy=False)
    else:
        # The official ratio has no value where a mean confidence is 0 or NaN: then nothing moves.
        delta = bk.where(xp.isfinite(found.gap), xp.astype(found.gap, alpha.dtype, copy=False), 0.0)
    moved = bk.at_least(alpha + eta * delta, 1.0)
    if max_alpha is not None:
        moved = bk.at_most(moved, float(max_alpha))
    moved = bk.where(found.weak, moved, 1.0)
    return MidasState(
        xp.where(found.any_pair, moved, state.alpha),
        state.step + xp.astype(found.any_pair, state.step.dtype),
    )


def similarity(
    features: Sequence[Array],
    sources: Array,
    kind: str = "cosine",
    *,
    backend: Backend | None = None,
) -> Array:
    """Return how much each mixed sample looks like the aligned one, s in [-1, 1] (section 3.5).

    The mean, over the modalities that were replaced, of the similarity of the feature that came to the one that went.

    Parameters
    ----------
    features : sequence of M arrays, shapes (B, ...), floating
    sources : array, shape (M, V, B), integer
    kind : {"cosine", "l2"}
        cos(a, b), 0 where a vector is zero; or 1 - 2 |a - b| / (|a| + |b|), 1 where both are zero. The second stands
        for the L2 distance of the paper's Table 4, brought to the same range by our choice.

    Returns
    -------
    array, shape (V, B)

    Raises
    ------
    ValueError
        If the number of modalities does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
    >>> sources = source_matrix(np.array([1, 0]), 2)
    >>> features = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])]
    >>> similarity(features, sources).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    bk = backend or get_backend(sources)
    xp = bk.xp
    check_choice("similarity", kind, SIMILARITIES[:2])
    check_modalities("features", features, sources.shape[0])
    replaced = sources != bk.arange(bk.length(features[0]), sources)
    vectors = [_vectors(feature, bk) for feature in features]
    found = _cosines(vectors, sources, bk) if kind == "cosine" else _closenesses(vectors, sources, bk)
    total = xp.sum(bk.where(replaced, found, 0.0), axis=0)
    count = xp.sum(xp.astype(replaced, total.dtype), axis=0)
    # A sample that is its own partner is as similar as can be.
    return bk.where(count > 0, total, 1.0) / bk.at_least(count, 1.0)


def hard_sample_weight(similarities: Array) -> Array:
    """Return the weight of each mixed sample, 1 + (s + 1) / 2, in [1, 2] (eq. 8).

    Parameters
    ----------
    similarities : array, shape (...)
        s, from `similarity`.

    Returns
    -------
    array, shape (...)

    Examples
    --------
    >>> import numpy as np
    >>> hard_sample_weight(np.array([-1.0, 0.0, 1.0])).tolist()
    [1.0, 1.5, 2.0]
    """
    return 1 + (similarities + 1) / 2


def _one_hot_argmin(x: Array, bk: Backend) -> Array:
    index = bk.arange(x.shape[0], x)
    return index == bk.xp.astype(bk.xp.argmin(x, axis=0), bk.index_dtype(), copy=False)


def _over_processes(sums: Array, counts: Array, reduce: Reduce | None, bk: Backend) -> tuple[Array, Array]:
    """Return sums over the batch of one process as sums over all of them, in one go."""
    if reduce is None:
        return sums, counts
    xp = bk.xp
    everything, size = reduce(xp.concat([xp.reshape(sums, (-1,)), xp.reshape(counts, (-1,))])), math.prod(sums.shape)
    return xp.reshape(everything[:size], sums.shape), xp.reshape(everything[size:], counts.shape)


def _pick(x: Array, where: Array, bk: Backend) -> Array:
    return bk.xp.sum(bk.where(where, x, 0.0))


def _vectors(feature: Array, bk: Backend) -> Array:
    """Return a feature (B, ...) as constant vectors, shape (B, D)."""
    full = in_full_precision(bk.stop_gradient(feature), backend=bk)
    if len(full.shape) == 2:
        return full
    return bk.xp.reshape(full, (bk.length(full), math.prod(full.shape[1:])))


def _norm(x: Array, bk: Backend) -> Array:
    return bk.xp.sqrt(bk.xp.sum(x * x, axis=-1))


def _cosines(vectors: list[Array], sources: Array, bk: Backend) -> Array:
    """Return <a, b> / |a| / |b| of what went and what came, shape (M, V, B)."""
    xp, (modalities, views) = bk.xp, sources.shape[:2]
    products = [
        xp.sum(x * xp.take(x, sources[m, v, ...], axis=0), axis=-1) for m, x in enumerate(vectors) for v in range(views)
    ]
    norms = xp.stack([_norm(x, bk) for x in vectors])
    norms = bk.where(norms > 0, norms, 1.0)
    others = xp.take_along_axis(norms, xp.reshape(sources, (modalities, -1)), axis=-1)
    # Divided last: no unit vectors (B, D) are written and read again.
    shape = (modalities, views, -1)
    return xp.reshape(xp.stack(products), shape) / norms[:, None, :] / xp.reshape(others, shape)


def _closenesses(vectors: list[Array], sources: Array, bk: Backend) -> Array:
    """Return 1 - 2 |a - b| / (|a| + |b|) of what went and what came, shape (M, V, B)."""
    xp, (modalities, views), found = bk.xp, sources.shape[:2], []
    for m, x in enumerate(vectors):
        for v in range(views):
            other = xp.take(x, sources[m, v, ...], axis=0)
            total = _norm(x, bk) + _norm(other, bk)
            found.append(1 - 2 * _norm(x - other, bk) / bk.where(total > 0, total, 1.0))
    return xp.reshape(xp.stack(found), (modalities, views, -1))

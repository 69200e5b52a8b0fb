"""The two weights of a mixed sample: of its weak modality (section 3.4) and of its difficulty (section 3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.confidence import in_full_precision
from midas_core.validation import check_choice, check_modalities

VARIANTS = ("paper", "official")
ALPHA_UPDATES = ("sign", "difference")
SIMILARITIES = ("cosine", "l2", None)


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


def imbalance(shares: Array, fused_shares: Array, mask: Array, *, backend: Backend | None = None) -> Imbalance:
    """Find the weak modality and how much the fused model undervalues it (eq. 5 and 6).

    m^ = argmin_m mean_i c~[m, i];  gap = mean_i c~[m^, i] - mean_i q[m^, i].

    Parameters
    ----------
    shares : array, shape (M, V, B)
        c~: normalised confidence of the unimodal classifiers.
    fused_shares : array, shape (M, V, B)
        q: normalised confidence of the fused classifier, on the mixed samples.
    mask : array, shape (V, B), bool
        The samples that count.

    Returns
    -------
    Imbalance

    Examples
    --------
    >>> import numpy as np
    >>> found = imbalance(np.array([[[.7]], [[.3]]]), np.array([[[.9]], [[.1]]]), np.array([[True]]))
    >>> found.weak.tolist(), round(float(found.gap), 2)
    ([False, True], 0.2)
    """
    bk = backend or get_backend(shares)
    xp = bk.xp
    # A sample that is not finite spoils its own loss, never alpha.
    mask = mask & xp.isfinite(xp.sum(shares + fused_shares, axis=0))
    count = xp.sum(xp.astype(mask, shares.dtype))
    some = xp.maximum(count, xp.ones_like(count))

    def mean(x: Array) -> Array:
        return xp.sum(xp.where(mask, x, xp.zeros_like(x)), axis=(1, 2)) / some

    confidence, fused_confidence = mean(shares), mean(fused_shares)
    weak = _one_hot_argmin(confidence, bk)
    gap = _pick(confidence - fused_confidence, weak, bk)
    return Imbalance(weak, gap, count > 0, confidence, fused_confidence)


def official_gap(
    log_confidences: Array, fused_log_confidences: Array, *, backend: Backend | None = None
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

    Returns
    -------
    weak : array, shape (2,), bool
    gap : array, shape ()

    Examples
    --------
    >>> import numpy as np
    >>> weak, gap = official_gap(np.log([[.8], [.4]]), np.log([[[.9]], [[.1]]]))
    >>> weak.tolist(), round(float(gap), 2)
    ([False, True], 7.0)
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    confidence = xp.mean(xp.exp(log_confidences), axis=-1)
    fused = xp.mean(xp.exp(fused_log_confidences), axis=-1)
    weak = _one_hot_argmin(confidence, bk)
    gap = xp.mean(fused[0, ...] / fused[1, ...]) - confidence[0, ...] / confidence[1, ...]
    return weak, xp.where(weak[0, ...], -gap, gap)


def current_alpha(state: MidasState, weak: Array, *, variant: str = "paper", backend: Backend | None = None) -> Array:
    """Return the weights that a step uses.

    Those that the last step left (Algorithm 1); in the first step, and always in the authors' code, the one weight goes to
    whichever modality is weak now.

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
    moved = xp.where(weak, xp.max(state.alpha), xp.ones_like(state.alpha))
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
    >>> found = imbalance(np.array([[[.7]], [[.3]]]), np.array([[[.9]], [[.1]]]), np.array([[True]]))
    >>> state = MidasState(np.ones(2), np.array(0))
    >>> next_state(state, state.alpha, found).alpha.tolist()
    [1.0, 1.05]
    """
    bk = backend or get_backend(alpha)
    xp = bk.xp
    check_choice("alpha_update", alpha_update, ALPHA_UPDATES)
    delta = xp.astype(found.gap, alpha.dtype)
    if alpha_update == "sign":
        # Not xp.sign: array-api-compat's cannot be traced by torch.compile.
        delta = xp.astype(found.gap > 0, alpha.dtype) - xp.astype(found.gap < 0, alpha.dtype)
    ones = xp.ones_like(alpha)
    moved = xp.maximum(alpha + eta * delta, ones)
    if max_alpha is not None:
        moved = xp.minimum(moved, max_alpha * ones)
    moved = xp.where(found.weak, moved, ones)
    return MidasState(
        xp.where(found.any_pair, moved, state.alpha),
        state.step + xp.astype(found.any_pair, state.step.dtype),
    )


def similarity(
    features: Sequence[Array],
    mixed: Sequence[Array],
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
    mixed : sequence of M arrays, shapes (V, B, ...), floating
        From `midas_core.misalignment.mix`.
    sources : array, shape (M, V, B), integer
    kind : {"cosine", "l2"}
        cos(a, b), 0 where a vector is zero; or 1 - 2 |a - b| / (|a| + |b|), 1 where both are zero. The second stands for the L2
        distance of the paper's Table 4, brought to the same range by our choice.

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
    >>> from midas_core import mix, source_matrix
    >>> sources = source_matrix(np.array([1, 0]), 2)
    >>> features = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])]
    >>> similarity(features, mix(features, sources), sources).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    bk = backend or get_backend(sources)
    xp = bk.xp
    check_choice("similarity", kind, SIMILARITIES[:2])
    check_modalities("features", features, sources.shape[0])
    measure = _cosine if kind == "cosine" else _closeness
    replaced = sources != bk.arange(bk.length(features[0]), sources)
    found = []
    for old, new in zip(features, mixed, strict=True):
        old = in_full_precision(bk.stop_gradient(old), backend=bk)
        new = in_full_precision(bk.stop_gradient(new), backend=bk)
        width = 1
        for n in old.shape[1:]:
            width *= n
        flat = xp.reshape(old, (1, bk.length(old), width))
        found.append(measure(flat, xp.reshape(new, (*new.shape[:1], bk.length(old), width)), bk))
    each = xp.stack(found)
    total = xp.sum(xp.where(replaced, each, xp.zeros_like(each)), axis=0)
    count = xp.sum(xp.astype(replaced, each.dtype), axis=0)
    # A sample that is its own partner is as similar as can be.
    ones = xp.ones_like(count)
    return xp.where(count > 0, total, ones) / xp.maximum(count, ones)


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
    return index == bk.xp.astype(bk.xp.argmin(x, axis=0), bk.index_dtype())


def _pick(x: Array, where: Array, bk: Backend) -> Array:
    return bk.xp.sum(bk.xp.where(where, x, bk.xp.zeros_like(x)))


def _norm(x: Array, bk: Backend) -> Array:
    # Scaled by the largest entry: squares neither overflow nor vanish.
    xp = bk.xp
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)
    top = xp.where(top > 0, top, xp.ones_like(top))
    scaled = x / top
    return xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True)) * top


def _cosine(a: Array, b: Array, bk: Backend) -> Array:
    xp = bk.xp
    units = []
    for x in (a, b):
        norm = _norm(x, bk)
        units.append(x / xp.where(norm > 0, norm, xp.ones_like(norm)))
    return xp.sum(units[0] * units[1], axis=-1)


def _closeness(a: Array, b: Array, bk: Backend) -> Array:
    xp = bk.xp
    total = (_norm(a, bk) + _norm(b, bk))[..., 0]
    safe = xp.where(total > 0, total, xp.ones_like(total))
    return 1 - 2 * _norm(a - b, bk)[..., 0] / safe

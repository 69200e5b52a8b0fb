"""The weak-modality weight alpha, and the state that carries it from step to step (section 3.4, eq. 5 to 7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.options import ALPHA_UPDATES, VARIANTS
from midas_core.validation import check_choice

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
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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
    modality 1: of the unimodal confidences, and of the fused ones, averaged over the two mixed versions.

    Parameters
    ----------
    log_confidences : array, shape (2, B)
        log c on the aligned batch.
    fused_log_confidences : array, shape (2, V, B)
        log p~ at the class of each modality.
    reduce : callable, optional
        As for `imbalance`.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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


def _one_hot_argmin(x: Array, bk: Backend) -> Array:
    index = bk.arange(x.shape[0], x)
    return index == bk.xp.astype(bk.xp.argmin(x, axis=0), bk.index_dtype(), copy=False)


def _over_processes(sums: Array, counts: Array, reduce: Reduce | None, bk: Backend) -> tuple[Array, Array]:
    """Return sums over the batch of one process as sums over all of them, in one go."""
    if reduce is None:
        return sums, counts
    xp = bk.xp
    # TensorFlow has no default for the axis.
    flat, size = xp.concat([xp.reshape(sums, (-1,)), xp.reshape(counts, (-1,))], axis=0), math.prod(sums.shape)
    everything = reduce(flat)
    return xp.reshape(everything[:size], sums.shape), xp.reshape(everything[size:], counts.shape)


def _pick(x: Array, where: Array, bk: Backend) -> Array:
    return bk.xp.sum(bk.where(where, x, 0.0))

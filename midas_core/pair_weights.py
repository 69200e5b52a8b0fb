"""What the parts of a mixed sample weigh in the loss, and the alpha that follows from a step (eq. 10)."""

from __future__ import annotations

from typing import NamedTuple

from midas_core.absent import alone
from midas_core.alpha import MidasState, Reduce, current_alpha, finite_pairs, imbalance, next_state, official_gap
from midas_core.backends import Array, Backend, get_backend
from midas_core.confidence import normalized_confidence
from midas_core.similarity import hard_sample_weight


class PairWeights(NamedTuple):
    """What `weigh_pairs` returns.

    Attributes
    ----------
    soft_weights : array, shape (M, V, B)
        As in `midas_core.Objective`.
    alpha, confidence, fused_confidence : array, shape (M,)
        As in `midas_core.MidasTerms`.
    state : MidasState
        For the next step.
    """

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
    """Compute the constants of eq. 10: (1 + (s_i + 1) / 2) * alpha_m * c~[m, i], and the next alpha.

    Parameters
    ----------
    log_confidences : array, shape (M, B), floating
        log c of each unimodal classifier at the class of each sample.
    mixed_log_confidences : array, shape (M, V, B), floating
        log p~ at the class of each modality.
    mask : array, shape (V, B), bool
        The mixed samples that count.
    sources, similarities, state, eta, variant, alpha_update, max_alpha, reduce
        As for `midas_core.midas_objective`.
    absent : array, shape (M, V, B), bool, optional
        What mixed samples without a partner lack. They have no hard-sample weight, and leave alpha alone.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    PairWeights
        Nothing here is meant to be differentiated.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
    >>> sources, mask = source_matrix(np.array([1, 0]), 2), np.array([[True, True], [True, True]])
    >>> log_c, state = np.log([[0.9, 0.9], [0.3, 0.3]]), MidasState(np.ones(2), np.array(0))
    >>> weigh_pairs(log_c, np.zeros((2, 2, 2)), mask, sources, None, state).soft_weights[:, 0, 0].round(2)
    array([0.75, 0.25])
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
    found = imbalance(both, counted, reduce=reduce, backend=bk)
    if variant == "official":
        weak, gap = official_gap(log_confidences, mixed_log_confidences, reduce=reduce, backend=bk)
        found = found._replace(weak=weak, gap=gap)
    alpha = current_alpha(state, found.weak, variant=variant, backend=bk)
    state = next_state(
        state,
        alpha,
        found,
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
        soft_weights = soft_weights * (hard if without is None else bk.where(without, 1.0, hard))
    soft_weights = bk.where(mask, soft_weights, 0.0)
    return PairWeights(soft_weights, alpha, found.confidence, found.fused_confidence, state)


def take_sources(x: Array, sources: Array, bk: Backend) -> Array:
    """Return x[m, S[m]] for each modality, shape (M, V, B)."""
    xp = bk.xp
    modalities, views = sources.shape[0], sources.shape[1]
    picked = xp.take_along_axis(x, xp.reshape(sources, (modalities, -1)), axis=-1)
    return xp.reshape(picked, (modalities, views, -1))

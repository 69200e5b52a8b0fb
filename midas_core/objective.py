"""The objective of MIDAS, sample by sample (section 3.6, eq. 9 to 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.cross_entropy import (
    Targets,
    as_targets,
    check_batch,
    label_likelihoods,
    label_weights,
    part_likelihoods,
)
from midas_core.missing import complete_pairs, unimodal_scale
from midas_core.options import REDUCTIONS, check_variant
from midas_core.pairing import Pairs, absent_of, alone, as_pairs, source_matrix_of
from midas_core.partners import VIEWS
from midas_core.validation import check_choice, check_number, check_same_kind, check_shape, check_switch
from midas_core.weighting import (
    MidasState,
    Reduce,
    finite_pairs,
    imbalance,
    normalized_confidence,
    take_sources,
    weigh_pairs,
)


class MidasTerms(NamedTuple):
    """The terms of the loss. The core returns them for each sample, an adapter reduces them.

    Attributes
    ----------
    total : array, shape (B,)
        aligned + unimodal + weight * misaligned (eq. 11); the unimodal loss alone during warm-up, the aligned one alone
        in the aligned finish.
    aligned : array, shape (B,)
        Cross-entropy of the fused logits (eq. 9).
    unimodal : array, shape (M, B)
        Cross-entropy of each unimodal classifier (eq. 9). The total takes their sum,
        the authors' code their mean.
    misaligned : array, shape (B,)
        Weighted cross-entropy of the mixed samples (eq. 10), the mean over the two versions; 0 during warm-up, in the
        aligned finish, and where a batch offers no partner of another class.
    alpha : array, shape (M,)
        The weights that this step used (section 3.4).
    confidence : array, shape (M,)
        Mean share of each modality in the confidence of the unimodal classifiers (mean of c~, eq. 2).
    fused_confidence : array, shape (M,)
        Mean share of each modality in the confidence of the fused classifier (mean of q, eq. 5); NaN where nothing is
        mixed.
    """

    total: Array
    aligned: Array
    unimodal: Array
    misaligned: Array
    alpha: Array
    confidence: Array
    fused_confidence: Array


def reduce_terms(terms: MidasTerms, reduction: str, *, backend: Backend | None = None) -> MidasTerms:
    """Return the terms reduced over the batch.

    Parameters
    ----------
    terms : MidasTerms
        Of each sample.
    reduction : {"mean", "sum", "none"}
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    MidasTerms
        total, aligned and misaligned of shape (), unimodal of shape (M,); with "none" what was given. The mean of an
        empty batch is 0.

    Raises
    ------
    ValueError
        If the reduction is another.

    Examples
    --------
    >>> import numpy as np
    >>> ones = np.ones(2)
    >>> terms = MidasTerms(3 * ones, ones, np.ones((2, 2)), 0 * ones, ones, ones / 2, ones / 2)
    >>> float(reduce_terms(terms, "mean").total), float(reduce_terms(terms, "sum").total)
    (3.0, 6.0)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    bk = backend or get_backend(terms.total)
    names = ("total", "aligned", "unimodal", "misaligned")
    return terms._replace(**{name: reduce_batch(getattr(terms, name), reduction, bk) for name in names})


def reduce_batch(x: Array, reduction: str, bk: Backend) -> Array:
    """Return an array of each sample, shape (..., B), reduced over the batch."""
    xp = bk.xp
    if reduction == "none":
        return x
    if reduction == "sum":
        return xp.sum(x, axis=-1)
    if x.shape[-1]:
        return xp.mean(x, axis=-1)
    # Empty, as the share of a replica may be, or of a length unknown while tracing: the mean of nothing is 0.
    return xp.sum(x, axis=-1) / bk.at_least(xp.sum(xp.ones_like(x), axis=-1), 1.0)


def _check_step(state: MidasState, similarities: Array | None, batch: int | None, modalities: int) -> None:
    """Raise unless state and similarities fit."""
    for name in ("alpha", "step"):
        if not hasattr(getattr(state, name, None), "shape"):
            kind = type(getattr(state, name, state)).__name__
            raise TypeError(f"state: expected a MidasState of arrays, got {kind} as {name}; see init_state")
    check_shape("alpha of the state", state.alpha, (modalities,), "(M,)")
    if similarities is not None:
        check_shape("similarities", similarities, (VIEWS, batch), "(V, B)")


class Objective(NamedTuple):
    """Result of `midas_objective`.

    Attributes
    ----------
    terms : MidasTerms
    state : MidasState
        For the next step.
    soft_weights : array, shape (M, V, B)
        The constants of eq. 10: hard-sample weight * alpha[m] * c~[m, i], times the weight of sample S[m, i] where
        there are weights, 0 for what is masked. `midas_gradients` takes them.
    """

    terms: MidasTerms
    state: MidasState
    soft_weights: Array


def midas_objective(
    fused_logits: Array,
    unimodal_logits: Sequence[Array],
    mixed_logits: Array | None,
    labels: Array | Targets,
    sources: Array | Pairs,
    similarities: Array | None,
    state: MidasState,
    *,
    present: Array | None = None,
    weight: float = 1.0,
    eta: float = 0.05,
    variant: str = "paper",
    alpha_update: str = "sign",
    max_alpha: float | None = None,
    warmup: Array | None = None,
    aligned_only: bool | Array = False,
    reduce: Reduce | None = None,
    backend: Backend | None = None,
) -> Objective:
    """Compute the MIDAS objective of a batch.

    total_i = CE(z_i, y_i) + sum_m CE(z^m_i, y_i) + weight * L_mis,i (eq. 11), with
    L_mis,i = -(1 + (s_i + 1) / 2) * sum_m alpha_m c~[m, i] log p~_i[Y[m, i]] (eq. 10), averaged over the versions.

    Parameters
    ----------
    fused_logits : array, shape (B, C), floating
        Of the fused classifier on the aligned batch.
    unimodal_logits : sequence of M arrays, shape (B, C), floating
        Of each unimodal classifier.
    mixed_logits : array, shape (V, B, C), floating, or None
        Of the fused classifier on the mixed samples. None during warm-up: the total is then the unimodal loss alone,
        and the state stays.
    labels : array, shape (B,), integer; or `Targets`
        `Targets` add weights, label smoothing, multi-label targets.
    sources : array, shape (M, V, B), integer; or `Pairs`
        From `midas_core.source_matrix` or `midas_core.draw_pairs`; `Pairs` spare the search for classes and mask, and
        some of theirs may have no partner.
    similarities : array, shape (V, B), or None
        From `midas_core.similarity`; None leaves out the hard-sample weight.
    state : MidasState
    present : array, shape (B, M), bool, optional
        Whether a sample has a modality; the features of the others are zeros, see `zero_missing`. A mixed sample counts
        where every source has the modality that it supplies, and unimodal losses count where the modality is there:
        each is multiplied by B / (number of such samples), so that its mean is the mean over them.
    weight : float
        lambda. The paper takes 5 on Kinetics-Sounds and 1 elsewhere.
    eta : float
        Step size of alpha.
    variant : {"paper", "official"}
        "official" follows the authors' code for two modalities: same-class partners count, the mean of the unimodal
        losses, ratios of raw confidences for alpha.
    alpha_update : {"sign", "difference"}
    max_alpha : float, optional
    warmup : array, shape (), bool, optional
        Whether this is a step of the warm-up, for a traced step, which cannot choose by ``mixed_logits=None``. Where it
        holds, terms and state are what that gives, and no gradient reaches the fused logits, whatever they hold.
    aligned_only : bool; or array, shape (), bool
        Whether this is a step of the aligned finish, the mirror of the warm-up: the total is the aligned loss alone,
        ``mixed_logits`` may be None, the state stays. An array for a traced step, as ``warmup``. Not in the paper.
    reduce : callable, optional
        Where a batch is spread over several processes: takes a vector of sums over the batch to sums over all of them,
        so that all hold one alpha. Called once, for "official" twice.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    Objective
        Not reduced over the batch. A sample without a partner of another class has a misaligned loss of 0.

    Raises
    ------
    TypeError
        If a dtype does not fit.
    ValueError
        If a shape, the number of modalities or an option does not fit.

    Notes
    -----
    Soft weights, similarities and alpha are constants of the differentiation. Half-precision logits are taken to
    float32.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import mix, similarity, source_matrix
    >>> labels = np.array([0, 1])
    >>> audio, video = np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> sources = source_matrix(np.array([1, 0]), 2)
    >>> mixed = mix([audio, video], sources)
    >>> state = MidasState(np.ones(2), np.array(0))
    >>> terms, state, _ = midas_objective(
    ...     audio + video, [audio, video], mixed[0] + mixed[1], labels, sources,
    ...     similarity([audio, video], sources), state)
    >>> terms.total.round(3)
    array([1.639, 1.639])
    >>> state.alpha
    array([1.  , 1.05])
    """
    bk = backend or get_backend(fused_logits)
    check_variant(variant, len(unimodal_logits), present, absent_of(sources))
    check_batch(fused_logits, unimodal_logits, mixed_logits, labels, source_matrix_of(sources), present, bk)
    check_switch("warmup", warmup)
    if backend is None:
        beside = {"labels": as_targets(labels).labels, "sources": source_matrix_of(sources), "present": present}
        check_same_kind({**beside, "similarities": similarities}, bk)
    _check_step(state, similarities, fused_logits.shape[0], len(unimodal_logits))
    for name, value, minimum in (("weight", weight, 0), ("eta", eta, 0), ("max_alpha", max_alpha, 1)):
        # Traced, it is an array, and its value unknown.
        if isinstance(value, (bool, int, float, str)):
            check_number(name, value, minimum=minimum)
    rule: dict[str, Any] = {"eta": eta, "alpha_update": alpha_update, "max_alpha": max_alpha, "reduce": reduce}
    blocks = None if mixed_logits is None else [bk.xp.reshape(mixed_logits, (-1, fused_logits.shape[-1]))]
    return unchecked_objective(
        *(fused_logits, unimodal_logits, blocks, as_targets(labels), sources, similarities, state),
        present=present,
        weight=weight,
        variant=variant,
        warmup=warmup,
        aligned_only=aligned_only,
        backend=bk,
        **rule,
    )


def unchecked_objective(
    fused_logits: Array,
    unimodal_logits: Sequence[Array],
    mixed_logits: Sequence[Array] | None,
    targets: Targets,
    sources: Array | Pairs,
    similarities: Array | None,
    state: MidasState,
    *,
    present: Array | None = None,
    weight: float = 1.0,
    variant: str = "paper",
    warmup: Array | None = None,
    aligned_only: bool | Array = False,
    backend: Backend,
    **rule: Any,
) -> Objective:
    """See `midas_objective`, which checks its input; mixed logits in one block of V * B rows, or in V blocks of B.

    ``rule`` is how alpha moves, see `weigh_pairs`.
    """
    bk, xp = backend, backend.xp
    pairs = as_pairs(targets.labels, sources, variant, bk)
    sources, absent = pairs.sources, pairs.absent
    mask: Array = pairs.mask
    finish = None if isinstance(aligned_only, bool) else aligned_only
    if aligned_only is True:
        mixed_logits = None
    elif mixed_logits is not None and not (warmup is finish is None):
        fused_logits, unimodal_logits, mixed_logits = _cut_off(
            fused_logits, unimodal_logits, mixed_logits, warmup, finish, bk
        )
    if present is not None:
        whole = complete_pairs(present, sources, absent, backend=bk)
        mask = mask & whole
        # Whatever the logits of what is missing are: 0 * NaN is NaN, forward and backward.
        unimodal_logits = [bk.fill(z, ~present[:, m][:, None], 0.0) for m, z in enumerate(unimodal_logits)]
        if mixed_logits is not None:
            lacking = xp.reshape(~whole, (len(mixed_logits), -1, 1))
            mixed_logits = [bk.fill(block, lacking[k, ...], 0.0) for k, block in enumerate(mixed_logits)]

    own = label_likelihoods([*unimodal_logits, fused_logits], targets, bk)
    losses, constant = -own.loss, bk.stop_gradient(own.confidence)[:-1, ...]
    weights = label_weights(targets, losses.dtype, bk)
    if weights is not None:
        losses = losses * weights
    if present is not None:
        scaled = losses[:-1, ...] * unimodal_scale(present, losses.dtype, bk)
        losses = xp.concat([scaled, losses[-1:, ...]], axis=0)
    unimodal, aligned = losses[:-1, ...], losses[-1, ...]

    def unimodal_loss() -> Array:
        total = xp.sum(unimodal, axis=0)
        return total / len(unimodal_logits) if variant == "official" else total

    if mixed_logits is None:
        taken = take_sources(constant, sources, bk)
        shares = normalized_confidence(taken, backend=bk)
        mask = mask if absent is None else mask & ~alone(absent, backend=bk)
        balance = imbalance(xp.stack([shares, shares], axis=1), finite_pairs(mask, taken, backend=bk), backend=bk)
        alpha = xp.astype(state.alpha, aligned.dtype)
        zeros, nan = xp.zeros_like(aligned), balance.fused_confidence * float("nan")
        total = aligned if aligned_only is True else unimodal_loss()
        terms = MidasTerms(total, aligned, unimodal, zeros, alpha, balance.confidence, nan)
        return Objective(terms, state, xp.zeros_like(shares))

    mixed = part_likelihoods(mixed_logits, targets, pairs, bk)
    believed = bk.stop_gradient(mixed.confidence)
    soft_weights, *means, after = weigh_pairs(
        *(constant, believed, mask, sources, similarities, state), absent=absent, variant=variant, backend=bk, **rule
    )
    if weights is not None:
        of_sources = xp.take(weights, xp.reshape(sources, (-1,)), axis=0)
        soft_weights = soft_weights * xp.reshape(of_sources, (*sources.shape[:2], -1))
    # A masked sample costs nothing, whatever its logits: 0 * inf is NaN.
    products = bk.fill(soft_weights * mixed.loss, ~mask, 0.0)
    misaligned = xp.sum(products, axis=(0, 1)) / -VIEWS
    unmixed = aligned + unimodal_loss() if variant == "official" else xp.sum(losses, axis=0)
    terms = MidasTerms(unmixed + weight * misaligned, aligned, unimodal, misaligned, *means)
    outcome = Objective(terms, after, soft_weights)
    if warmup is not None:
        outcome = _unmixed(warmup, outcome, unimodal_loss(), state, bk)
    if finish is not None:
        outcome = _unmixed(finish, outcome, aligned, state, bk)
    return outcome


def _cut_off(
    fused: Array, unimodal: Sequence[Array], mixed: Sequence[Array], warmup: Any, aligned_only: Any, bk: Backend
) -> tuple[Array, Sequence[Array], Sequence[Array]]:
    """Return the logits as constants where the total of a traced step does not hold them, zeros for the mixed ones."""
    if warmup is not None:
        fused = bk.where(warmup, bk.stop_gradient(fused), fused)
    if aligned_only is not None:
        unimodal = [bk.where(aligned_only, bk.stop_gradient(z), z) for z in unimodal]
    for holds in (warmup, aligned_only):
        mixed = mixed if holds is None else [bk.where(holds, 0.0, z) for z in mixed]
    return fused, unimodal, mixed


def _unmixed(holds: Array, outcome: Objective, total: Array, state: MidasState, bk: Backend) -> Objective:
    """Return a step without mixed samples and with another total where ``holds``, else the outcome."""
    terms = outcome.terms
    chosen = terms._replace(
        total=bk.where(holds, total, terms.total),
        misaligned=bk.where(holds, 0.0, terms.misaligned),
        alpha=bk.where(holds, bk.xp.astype(state.alpha, terms.alpha.dtype, copy=False), terms.alpha),
        fused_confidence=bk.where(holds, float("nan"), terms.fused_confidence),
    )
    after = [bk.where(holds, old, new) for old, new in zip(state, outcome.state, strict=True)]
    return Objective(chosen, MidasState(*after), bk.where(holds, 0.0, outcome.soft_weights))

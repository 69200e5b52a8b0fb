"""One step of MIDAS as a function, for training loops without the adapters: JAX, NumPy, CuPy, PyTorch, TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from midas_core.augmentation import flatten_versions
from midas_core.backends import Array, Backend, get_backend, load_backend
from midas_core.cross_entropy import Targets, as_targets
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities, leaves, map_leaves
from midas_core.objective import MidasTerms, midas_objective, reduce_terms
from midas_core.options import HEAD_INPUTS, Similarity
from midas_core.pairing import draw_pairs, mix
from midas_core.partners import VIEWS, draw
from midas_core.similarity import similarity as similarity_of
from midas_core.validation import check_choice, check_number, check_same_kind
from midas_core.weighting import MidasState


def init_state(num_modalities: int, like: Array | None = None, *, initial_alpha: float = 1.0) -> MidasState:
    """Return the state before the first step.

    Parameters
    ----------
    num_modalities : int
        M.
    like : array, optional
        An array of the library and on the device that the state shall have; NumPy if omitted, which JAX takes too.
    initial_alpha : float
        Weight of whichever modality is weak in the first step.

    Returns
    -------
    MidasState
        alpha, shape (M,), and the number of steps, shape ().

    Raises
    ------
    TypeError, ValueError
        If a number does not fit.

    Examples
    --------
    >>> init_state(2).alpha
    array([1., 1.])
    """
    check_number("num_modalities", num_modalities, minimum=2, whole=True)
    check_number("initial_alpha", initial_alpha, minimum=1)
    if like is None:
        numpy = load_backend("numpy").xp
        return MidasState(numpy.full(num_modalities, float(initial_alpha)), numpy.asarray(0))
    bk = get_backend(like)
    places = bk.arange(num_modalities, like)
    ones = bk.xp.astype(bk.xp.ones_like(places), bk.xp.float32)
    return MidasState(ones * initial_alpha, places[0])


def midas_loss(
    features: Any,
    labels: Array | Targets,
    rng: Any,
    state: MidasState,
    *,
    head: Callable[..., Array],
    unimodal_heads: Any,
    present: Array | None = None,
    warmup: Array | bool | None = None,
    head_input: str = "concatenated",
    similarity: Similarity = "cosine",
    absent_share: float = 0.0,
    permutation: Array | None = None,
    variant: str = "paper",
    reduction: str = "mean",
    backend: Backend | None = None,
    **options: Any,
) -> tuple[Array, tuple[MidasState, MidasTerms]]:
    """Compute the MIDAS loss of a batch: L = L_align + L_uni + weight * L_mis (eq. 11).

    Pure: the state comes in and goes out, so that it runs under ``jax.jit``, ``jax.grad`` (``has_aux=True``), ``vmap``
    and ``scan``, under ``torch.compile`` and in ``tf.function``.

    Parameters
    ----------
    features : list or tuple, or dict by name, of M modalities
        From the encoders: arrays, shapes (B, D_m), or dicts or tuples of arrays, see `midas_core.mix`.
    labels : array, shape (B,), integer; or (B, C), of 0 and 1; or `Targets`
    rng : generator, key or seed
        Draws the partners, in the framework's own convention, see `midas_core.draw`; another one in every step.
    state : MidasState
        From `init_state` or the step before.
    head : callable
        The fused head, from features to (B, C) logits; it takes them as ``head_input`` says.
    unimodal_heads : list or tuple, or dict by name, of M callables
        Each from its modality to (B, C) logits.
    present : array, shape (B, M), bool, optional
        Whether a sample has a modality. Missing ones count as zeros, whatever they hold.
    warmup : bool, or array, shape (), bool, optional
        Whether this is a step of the warm-up: the loss is the unimodal one alone.
    head_input : {"concatenated", "separate"}
        Whether the head takes the features concatenated along axis 1, in their order, or in the structure of
        ``features``.
    similarity : {"cosine", "l2", None}, or callable
        Similarity of the hard-sample weight (eq. 8), see `midas_core.similarity`. None disables the weight.
    absent_share : float
        Share of the mixed samples that have no partner.
    permutation : array, shape (B,), integer, optional
        Takes the place of the drawn partners; ``rng`` then has no say with two modalities.
    variant : {"paper", "official"}
    reduction : {"mean", "sum", "none"}
        Over the batch.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.
    **options
        weight, eta, alpha_update, max_alpha, reduce: see `midas_core.midas_objective`.

    Returns
    -------
    loss : array, shape (); or (B,) with ``reduction="none"``
    (state, terms) : MidasState, MidasTerms
        State for the next step; terms reduced over the batch.

    Raises
    ------
    TypeError, ValueError
        If a structure, a shape, a dtype or an option does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features, labels = {"audio": rng.normal(size=(4, 3)), "video": rng.normal(size=(4, 2))}, np.array([0, 1, 1, 0])
    >>> audio, video = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    >>> loss, (state, terms) = midas_loss(
    ...     features, labels, rng, init_state(2), head=lambda z: z @ np.concatenate([audio, video]),
    ...     unimodal_heads={"audio": lambda x: x @ audio, "video": lambda x: x @ video})
    >>> loss.shape, state.alpha.max().item(), terms.unimodal.shape
    ((), 1.05, (2,))
    """
    targets = as_targets(labels)
    check_choice("head_input", head_input, HEAD_INPUTS)
    modalities = Modalities(features, "features")
    values, heads = modalities.unpack(features, "features"), modalities.unpack(unimodal_heads, "unimodal_heads")
    bk = backend or get_backend(leaves(values[0])[0])
    if backend is None:
        # Here, since the objective takes a backend that it is given at its word.
        check_same_kind({"labels": targets.labels, "present": present, "permutation": permutation}, bk)
    if present is not None:
        values = zero_missing(values, present, backend=bk)

    def fuse(parts: Sequence[Any]) -> Array:
        if head_input == "separate":
            return head(modalities.pack(parts, features))
        return head(bk.xp.concat(list(parts), axis=1))

    aligned = fuse(values)
    unimodal = [unimodal_head(x) for unimodal_head, x in zip(heads, values, strict=True)]
    numbers = draw(targets.labels, modalities.count, rng, absent=absent_share > 0, backend=bk)
    pairing: dict[str, Any] = {"variant": variant, "permutation": permutation, "absent_share": absent_share}
    pairs = draw_pairs(numbers, targets.labels, modalities.count, backend=bk, **pairing)
    mixed = similarities = None
    if warmup is not True:
        batch = bk.length(aligned)
        flatten = partial(flatten_versions, rows=VIEWS * batch, bk=bk)
        rows = [map_leaves(flatten, modality) for modality in mix(values, pairs, backend=bk)]
        mixed = bk.xp.reshape(fuse(rows), (VIEWS, batch, aligned.shape[-1]))
        if similarity is not None:
            similarities = similarity_of(values, pairs, similarity, backend=bk)
    logits = aligned, unimodal, mixed
    options |= {"variant": variant, "warmup": None if isinstance(warmup, bool) else warmup, "backend": bk}
    terms, state, _ = midas_objective(*logits, targets, pairs, similarities, state, present=present, **options)
    terms = reduce_terms(terms, reduction, backend=bk)
    return terms.total, (state, terms)

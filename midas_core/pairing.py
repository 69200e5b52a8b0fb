"""Pairs: who is mixed with whom, what the mixed samples lack, and which of them count (section 3.2, A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.modalities import MASK, map_leaves, mask_of
from midas_core.options import VARIANTS
from midas_core.partners import VIEWS, Draw, absent_modalities, draw_participants, plain_permutation
from midas_core.validation import (
    check_choice,
    check_fraction,
    check_integral,
    check_labels,
    check_modalities,
    check_number,
    check_shape,
)


class Pairs(NamedTuple):
    """Who is mixed with whom in a step, made once and handed on.

    Attributes
    ----------
    sources : array, shape (M, V, B), integer
        The source matrix: which sample supplies each modality.
    classes : array, shape (M, V, B), integer
        The class of each modality's source; for several labels what `label_ids` calls it.
    mask : array, shape (V, B), bool, or None
        The mixed samples that count; None where all do, with ``variant="official"``.
    absent : array, shape (M, V, B), bool, or None
        Absent modalities of mixed samples without a partner; the others come from sample i itself.
    """

    sources: Array
    classes: Array
    mask: Array | None
    absent: Array | None = None


def alone(absent: Array, *, backend: Backend | None = None) -> Array:
    """Return which mixed samples have no partner, shape (V, B), from what they lack, shape (M, V, B)."""
    bk = backend or get_backend(absent)
    return bk.xp.any(absent, axis=0)


def source_matrix(
    partners: Array,
    num_modalities: int,
    assignment: Array | None = None,
    *,
    backend: Backend | None = None,
) -> Array:
    """Return which sample supplies each modality of each mixed sample.

    The participants of mixed sample i are i and its M - 1 partners; mixed version v gives modality m the participant
    number (a[m, i] + v) mod M, a the assignment.

    Parameters
    ----------
    partners : array, shape (M - 1, B), integer; or (B,)
        From `draw_partners`; or a permutation pi, whose partners are pi(i), pi(pi(i)), ...
    num_modalities : int
        M.
    assignment : array, shape (M, B), integer, optional
        Column i is a permutation of 0 ... M - 1. Without one, a[m, i] = m; with M = 2 the two versions are then
        (identity, pi) and (pi, identity), and no other assignment adds anything.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (M, V, B), integer
        The source matrix S of the paper (A.2), one for each of V = 2 mixed versions.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> source_matrix(np.array([1, 2, 0]), 2).tolist()
    [[[0, 1, 2], [1, 2, 0]], [[1, 2, 0], [0, 1, 2]]]
    """
    bk = backend or get_backend(partners)
    xp = bk.xp
    check_number("num_modalities", num_modalities, minimum=2, whole=True)
    is_permutation = len(partners.shape) == 1
    expected, symbols = ((None,), "(B,)") if is_permutation else ((num_modalities - 1, None), "(M - 1, B)")
    check_shape("partners", partners, expected, symbols)
    partners = xp.astype(partners, bk.index_dtype(), copy=False)
    first = partners if is_permutation else partners[0, ...]
    participants = [bk.arange(bk.length(first), first), first]
    for k in range(1, num_modalities - 1):
        participants.append(xp.take(partners, participants[-1], axis=0) if is_permutation else partners[k, ...])
    if assignment is not None:
        check_shape("assignment", assignment, (num_modalities, first.shape[0]), "(M, B)")
    return _arrange(participants, assignment, bk)


def _arrange(participants: list[Array], assignment: Array | None, bk: Backend) -> Array:
    """Return the source matrix (M, V, B) of M participants (B,), by the modalities that they are assigned to."""
    xp, count = bk.xp, len(participants)
    if assignment is None:
        turns = [participants[(m + v) % count] for m in range(count) for v in range(VIEWS)]
        return xp.reshape(xp.stack(turns), (count, VIEWS, bk.length(turns[0])))
    table = xp.stack(participants, axis=-1)  # (B, M)
    # (B, M) columns, so that each row of the table is read along its last axis.
    chosen = xp.permute_dims(xp.astype(assignment, bk.index_dtype(), copy=False), (1, 0))
    versions = [xp.permute_dims(xp.take_along_axis(table, (chosen + v) % count, axis=-1), (1, 0)) for v in range(VIEWS)]
    return xp.stack(versions, axis=1)


def draw_sources(
    numbers: Draw,
    labels: Array,
    num_modalities: int,
    *,
    variant: str = "paper",
    permutation: Array | None = None,
    backend: Backend | None = None,
) -> Array:
    """Return the source matrix (M, V, B) of the random numbers of a step, as `draw_pairs` takes them."""
    bk = backend or get_backend(labels)
    check_choice("variant", variant, VARIANTS)
    assignment = None if numbers.modalities is None else bk.xp.argsort(numbers.modalities, axis=0)
    if permutation is None and variant == "paper":
        check_labels(labels, bk)
        check_shape("numbers", numbers.partners, (num_modalities - 1, labels.shape[0]), "(M - 1, B)")
        return _arrange(draw_participants(labels, numbers.partners, bk), assignment, bk)
    if permutation is not None:
        check_integral("permutation", permutation, bk)
        check_shape("permutation", permutation, labels.shape, "(B,)")
    else:
        permutation = plain_permutation(numbers.partners[0, ...], backend=bk)
    return source_matrix(permutation, num_modalities, assignment, backend=bk)


def draw_pairs(
    numbers: Draw,
    labels: Array,
    num_modalities: int,
    *,
    variant: str = "paper",
    permutation: Array | None = None,
    absent_share: float = 0.0,
    backend: Backend | None = None,
) -> Pairs:
    """Turn the random numbers of a step into its pairs.

    Parameters
    ----------
    numbers : Draw
        From `draw`.
    labels : array, shape (B,), integer; or (B, C), of 0 and 1, for several labels
        Samples with several labels are of different classes where their labels differ.
    num_modalities : int
        M.
    variant : {"paper", "official"}
        Partners of another class, or a plain permutation.
    permutation : array, shape (B,), integer, optional
        Takes the place of the drawn partners.
    absent_share : float
        Share of the mixed samples that have no partner, in [0, 1]: they keep some modalities of one sample, and have
        nothing in the place of the others. Above 0 it takes numbers of ``draw(..., absent=True)``.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    Pairs

    Raises
    ------
    TypeError, ValueError
        If dtype or shape of the permutation, or the share, does not fit.

    Notes
    -----
    A sample may lend itself several times or never: section 3.2 of the paper asks for a partner of another class and
    nothing more; the authors' code does not see to it.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import draw
    >>> labels = np.array([0, 1, 1, 0])
    >>> pairs = draw_pairs(draw(labels, 2, np.random.default_rng(0)), labels, 2)
    >>> pairs.sources.shape, pairs.mask.all().item()
    ((2, 2, 4), True)
    """
    bk = backend or get_backend(labels)
    ids = label_ids(labels, backend=bk) if len(labels.shape) == 2 else labels
    sources = draw_sources(numbers, ids, num_modalities, variant=variant, permutation=permutation, backend=bk)
    absent = None
    if check_fraction("absent_share", absent_share) > 0:
        if numbers.absent is None:
            raise ValueError("numbers: expected draw(..., absent=True) with absent_share > 0, got a draw without it")
        absent = absent_modalities(numbers.absent, num_modalities, absent_share, backend=bk)
    return make_pairs(ids, sources, absent=absent, variant=variant, backend=bk)


def make_pairs(
    labels: Array,
    sources: Array,
    *,
    absent: Array | None = None,
    variant: str = "paper",
    backend: Backend | None = None,
) -> Pairs:
    """Return a source matrix together with the classes of its parts and the mask of what counts.

    Parameters
    ----------
    labels : array, shape (B,), integer; or (B, C), of 0 and 1, for several labels
    sources : array, shape (M, V, B), integer
    absent : array, shape (M, V, B), bool, optional
        Absent modalities, not all of them: sample i then replaces every partner, and the mixed sample counts whatever
        its classes.
    variant : {"paper", "official"}
        Whether a mixed sample counts only where two classes or more take part, or always. "official" knows no absent
        partners.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    Pairs

    Examples
    --------
    >>> import numpy as np
    >>> make_pairs(np.array([7, 8, 8]), source_matrix(np.array([1, 0, 1]), 2)).mask.tolist()
    [[True, True, False], [True, True, False]]
    """
    bk = backend or get_backend(labels)
    check_choice("variant", variant, VARIANTS)
    ids = label_ids(labels, backend=bk) if len(labels.shape) == 2 else labels
    without = None
    if absent is not None:
        if variant == "official":
            raise ValueError("absent: expected None with variant 'official', which knows no absent partner, got a mask")
        check_shape("absent", absent, sources.shape, "(M, V, B)")
        without = alone(absent, backend=bk)
        samples = bk.xp.astype(bk.arange(bk.length(ids), sources), sources.dtype, copy=False)
        sources = bk.xp.where(without, samples, sources)
    classes = pair_classes(ids, sources, backend=bk)
    if variant == "official":
        return Pairs(sources, classes, None)
    mask = pair_mask(classes, backend=bk)
    return Pairs(sources, classes, mask if without is None else mask | without, absent)


def as_pairs(labels: Array, sources: Array | Pairs, variant: str, bk: Backend) -> Pairs:
    """Return a source matrix as `Pairs` with a mask; raise where pairs were drawn for another variant."""
    pairs = sources if isinstance(sources, Pairs) else make_pairs(labels, sources, variant=variant, backend=bk)
    drawn_for = "official" if pairs.mask is None else "paper"
    if drawn_for != variant:
        raise ValueError(f"sources: expected pairs drawn with variant={variant!r}, got some with {drawn_for!r}")
    return (
        pairs if pairs.mask is not None else pairs._replace(mask=bk.xp.ones_like(pair_mask(pairs.classes, backend=bk)))
    )


def source_matrix_of(sources: Array | Pairs) -> Array:
    """Return the source matrix of `Pairs`, or what is one."""
    return sources.sources if isinstance(sources, Pairs) else sources


def absent_of(sources: Array | Pairs) -> Array | None:
    """Return what the mixed samples lack, None where every one has a partner."""
    return sources.absent if isinstance(sources, Pairs) else None


def label_ids(labels: Array, *, backend: Backend | None = None) -> Array:
    """Return one whole number for each label vector (B, C), the last sample that has the same, shape (B,)."""
    bk = backend or get_backend(labels)
    xp = bk.xp
    check_shape("labels", labels, (None, None), "(B, C)")
    if labels.shape[0] == 0:
        # An empty axis has no largest entry.
        return xp.astype(labels[:, 0], bk.index_dtype())
    y = xp.astype(labels, xp.float32)
    size = xp.sum(y * y, axis=-1)
    # Squared distance; for 0 and 1 the number of classes in which two vectors differ, exact in float32.
    apart = size[:, None] + size[None, :] - 2 * xp.matmul(y, xp.permute_dims(y, (1, 0)))
    return xp.max(bk.where(apart < 0.5, bk.arange(bk.length(y), y)[None, :], 0), axis=-1)


def pair_classes(labels: Array, sources: Array, *, backend: Backend | None = None) -> Array:
    """Return the class of the source of each modality of each mixed sample, Y[m, i] = y[S[m, i]], shape (M, V, B)."""
    bk = backend or get_backend(labels)
    xp = bk.xp
    classes = xp.take(xp.astype(labels, bk.index_dtype(), copy=False), xp.reshape(sources, (-1,)), axis=0)
    return xp.reshape(classes, (sources.shape[0], VIEWS, bk.length(labels)))


def pair_mask(classes: Array, *, backend: Backend | None = None) -> Array:
    """Return which mixed samples are misaligned, shape (V, B): two classes or more take part."""
    bk = backend or get_backend(classes)
    return bk.xp.any(classes != classes[:1, ...], axis=0)


def mix(
    features: Sequence[Any], sources: Array | Pairs, *, absent: Array | None = None, backend: Backend | None = None
) -> list[Any]:
    """Gather the mixed samples, feature by feature or input by input.

    Parameters
    ----------
    features : sequence of M modalities
        Each an array, shape (B, ...), or a dict or tuple of such arrays, all of which are mixed alike. The padding
        mask of a sequence is the entry ``"mask"`` of a dict, shape (B, T), True for the tokens that are there.
    sources : array, shape (M, V, B), integer; or `Pairs`
        The source matrix. `Pairs` know what is absent.
    absent : array, shape (M, V, B), bool, optional
        Modalities that mixed samples lack: zeros take their place, in a masked sequence one zero token.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    list of M modalities
        In the structure of ``features``, arrays of shape (V, B, ...).

    Raises
    ------
    ValueError
        If the number of modalities does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> audio, video = np.array([[1], [2]]), np.array([[3], [4]])
    >>> [x[..., 0].tolist() for x in mix([audio, video], source_matrix(np.array([1, 0]), 2))]
    [[[1, 2], [2, 1]], [[4, 3], [3, 4]]]
    """
    if isinstance(sources, Pairs):
        sources, absent = sources.sources, sources.absent if absent is None else absent
    bk = backend or get_backend(sources)
    check_modalities("features", features, sources.shape[0])
    mixed = [map_leaves(partial(take_rows, sources=sources[m, ...], bk=bk), x) for m, x in enumerate(features)]
    if absent is None:
        return mixed
    return [clear_rows(x, absent[m, ...], bk) for m, x in enumerate(mixed)]


def clear_rows(modality: Any, where: Array, bk: Backend) -> Any:
    """Return the modality without the samples that a mask names: zeros, and in its padding mask one zero token."""
    cleared = map_leaves(lambda x: fill_rows(x, where, bk.xp.zeros_like(x), bk), modality)
    mask = mask_of(modality)
    if mask is None:
        return cleared
    # An empty mask would be a mean of nothing, and a softmax over nothing: NaN.
    xp = bk.xp
    one_token = xp.concat([xp.ones_like(mask[..., :1]), xp.zeros_like(mask[..., 1:])], axis=-1)
    return {**cleared, MASK: fill_rows(mask, where, one_token, bk)}


def fill_rows(x: Array, where: Array, value: Array, bk: Backend) -> Array:
    """Return ``x`` with another value for the samples that a mask names; its axes are the first of ``x``."""
    for _ in x.shape[len(where.shape) :]:
        where = where[..., None]
    return bk.xp.where(where, value, x)


def take_rows(x: Array, sources: Array, bk: Backend) -> Array:
    """Return what one modality of the mixed samples takes from ``x`` (B, ...): shape (V, B, ...)."""
    rows = bk.xp.take(x, bk.xp.reshape(sources, (-1,)), axis=0)
    return bk.xp.reshape(rows, (VIEWS, bk.length(x), *x.shape[1:]))

"""Who supplies which modality: partners, the source matrix, and the gather (section 3.2, A.2).

Random numbers come in as arguments, so that the same numbers give the same pairs on every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.options import VARIANTS
from midas_core.validation import (
    check_choice,
    check_integral,
    check_labels,
    check_modalities,
    check_number,
    check_shape,
)

VIEWS = 2
"""Mixed samples made from each sample of the batch."""


class Draw(NamedTuple):
    """The random numbers of one step, each uniform in [0, 1).

    Attributes
    ----------
    partners : array, shape (M - 1, B), floating
        Chooses the partners of each sample.
    modalities : array, shape (M, B), floating, or None
        Assigns the participants to the modalities, where M > 2.
    absent : array, shape (V, B), floating, or None
        Chooses the mixed samples without a partner, and what they keep.
    """

    partners: Array
    modalities: Array | None = None
    absent: Array | None = None


def draw(labels: Array, num_modalities: int, rng: Any, *, absent: bool = False, backend: Backend | None = None) -> Draw:
    """Draw the random numbers of one step, on the device of the labels.

    Parameters
    ----------
    labels : array, shape (B, ...)
        Only their number matters.
    num_modalities : int
        M.
    rng : generator, key or seed
        In the framework's own convention; see the backends.
    absent : bool
        Whether some mixed samples shall have no partner, which takes more numbers.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    Draw

    Examples
    --------
    >>> import numpy as np
    >>> numbers = draw(np.array([0, 1, 1]), 3, np.random.default_rng(0))
    >>> numbers.partners.shape, numbers.modalities.shape, numbers.absent
    ((2, 3), (3, 3), None)
    """
    bk = backend or get_backend(labels)
    count = random_count(bk.length(labels), num_modalities, absent)
    # One draw: a JAX key serves once.
    return split_draw(bk.uniform((count,), labels, rng), labels, num_modalities, absent, backend=bk)


def random_count(batch: Any, num_modalities: int, absent: bool = False) -> Any:
    """Return how many random numbers a step takes."""
    # Two modalities need no assignment, see `source_matrix`.
    each = num_modalities - 1 + (num_modalities if num_modalities > 2 else 0) + (VIEWS if absent else 0)
    return batch * each


def split_draw(numbers: Array, labels: Array, num_modalities: int, absent: bool = False, *, backend: Backend) -> Draw:
    """Return `random_count` numbers as a `Draw`."""
    batch, start, found = backend.length(labels), 0, []
    if num_modalities == 2 and not absent:
        return Draw(backend.xp.reshape(numbers, (1, batch)))
    for rows in (num_modalities - 1, num_modalities if num_modalities > 2 else 0, VIEWS if absent else 0):
        part = numbers[start * batch : (start + rows) * batch]
        found.append(backend.xp.reshape(part, (rows, batch)) if rows else None)
        start += rows
    return Draw(*found)


def plain_permutation(keys: Array, *, backend: Backend | None = None) -> Array:
    """Return a uniformly random permutation, as the authors' code draws it.

    Same-class partners and fixed points slip in.

    Parameters
    ----------
    keys : array, shape (B,), floating
        Random keys.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (B,), integer

    Examples
    --------
    >>> import numpy as np
    >>> plain_permutation(np.array([0.5, 0.1, 0.9]))
    array([1, 0, 2])
    """
    bk = backend or get_backend(keys)
    return bk.xp.argsort(keys)


def draw_partners(labels: Array, numbers: Array, *, backend: Backend | None = None) -> Array:
    """Return the partners of each sample, the first of another class.

    Each sample's partners are drawn by themselves: the first uniformly among the samples of other classes, the further
    ones uniformly among the samples that do not yet take part. In a batch of one class the first partner is any other
    sample, see `pair_mask`. Where there are fewer samples than participants, some take part twice.

    Parameters
    ----------
    labels : array, shape (B,), integer
    numbers : array, shape (M - 1, B), floating
        Uniform in [0, 1). A float32 holds 24 bits: up to about a million samples the draw is uniform within 6 %.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (M - 1, B), integer
        ``labels[partners[0, i]] != labels[i]`` for every i, as soon as there are two classes.

    Raises
    ------
    TypeError
        If the labels have no integer dtype.
    ValueError
        If a shape does not fit.

    Notes
    -----
    One sort, a loop over M alone, nothing read back from the device. A sample may lend itself several times or never:
    Section 3.2 of the paper asks for another class and nothing more. The authors' code does not see to it, see
    `plain_permutation`.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 0, 1, 2])
    >>> draw_partners(labels, np.array([[0.0, 0.9, 0.4, 0.4]]))
    array([[2, 3, 1, 1]])
    """
    bk = backend or get_backend(labels)
    xp = bk.xp
    check_labels(labels, bk)
    check_shape("numbers", numbers, (None, labels.shape[0]), "(M - 1, B)")
    batch = bk.length(labels)
    own = bk.arange(batch, labels)
    participants = [own, _of_another_class(labels, numbers[0, ...], own, bk)]
    if numbers.shape[0] == 1:
        return xp.stack(participants[1:])
    ranks = bk.arange(1 + numbers.shape[0], own)[:, None]
    drawn = _below(numbers[1:, ...], batch - ranks[2:, :], bk)
    for k in range(2, 1 + numbers.shape[0]):
        # Those that take part are left out: in ascending order, number j moves up what is not below it, less j.
        taken = xp.sort(xp.stack(participants), axis=0) - ranks[:k, :]
        found = drawn[k - 2, ...]
        participants.append(found + xp.sum(xp.astype(taken <= found, found.dtype), axis=0))
    # Beyond the last sample where all take part already.
    return bk.at_most(xp.stack(participants[1:]), batch - 1)


def _of_another_class(labels: Array, numbers: Array, own: Array, bk: Backend) -> Array:
    """Return a partner of another class for each sample, any other sample where there is none."""
    xp, batch = bk.xp, bk.length(labels)
    labels = xp.astype(labels, own.dtype, copy=False)
    order = xp.astype(xp.argsort(labels), own.dtype, copy=False)
    in_order = xp.take(labels, order, axis=0)
    # The class of a sample fills the places first ... first + size - 1: the draw leaves them out.
    first = xp.astype(xp.searchsorted(in_order, labels), own.dtype, copy=False)
    size = xp.astype(xp.searchsorted(in_order, labels, side="right"), own.dtype, copy=False) - first
    # In a batch of one class each sample leaves out itself.
    first, size = xp.where(size < batch, first, own), bk.where(size < batch, size, 1)
    place = _below(numbers, batch - size, bk)
    place = xp.where(place < first, place, place + size)
    return xp.take(order, bk.at_most(place, batch - 1), axis=0)


def _below(numbers: Array, counts: Array, bk: Backend) -> Array:
    """Return whole numbers from 0 to counts - 1, 0 where a count is none, from numbers in [0, 1)."""
    found = bk.xp.astype(numbers * bk.xp.astype(counts, numbers.dtype), counts.dtype)
    # The product of a number next to one may round up.
    return bk.at_least(bk.xp.minimum(found, counts - 1), 0)


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
        That of the arrays; their type tells where it is not given.

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
    given = len(partners.shape) == 1
    expected, symbols = ((None,), "(B,)") if given else ((num_modalities - 1, None), "(M - 1, B)")
    check_shape("partners", partners, expected, symbols)
    partners = xp.astype(partners, bk.index_dtype(), copy=False)
    first = partners if given else partners[0, ...]
    participants = [bk.arange(bk.length(first), first), first]
    for k in range(1, num_modalities - 1):
        participants.append(xp.take(partners, participants[-1], axis=0) if given else partners[k, ...])
    if assignment is None:
        turns = [participants[v:] + participants[:v] for v in range(VIEWS)]
        return xp.stack([xp.stack(turn) for turn in turns], axis=1)
    check_shape("assignment", assignment, (num_modalities, first.shape[0]), "(M, B)")
    table = xp.stack(participants, axis=-1)  # (B, M)
    # (B, M) columns, so that each row of the table is read along its last axis.
    chosen = xp.permute_dims(xp.astype(assignment, bk.index_dtype(), copy=False), (1, 0))
    versions = [
        xp.permute_dims(xp.take_along_axis(table, (chosen + v) % num_modalities, axis=-1), (1, 0)) for v in range(VIEWS)
    ]
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
    """Turn the random numbers of a step into its source matrix.

    Parameters
    ----------
    numbers : Draw
    labels : array, shape (B,), integer
    num_modalities : int
        M.
    variant : {"paper", "official"}
        Partners of another class, or a plain permutation.
    permutation : array, shape (B,), integer, optional
        Takes the place of the drawn partners.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (M, V, B), integer

    Raises
    ------
    TypeError, ValueError
        If dtype or shape of the permutation, or the variant, does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 1, 1, 0])
    >>> numbers = draw(labels, 3, np.random.default_rng(0))
    >>> draw_sources(numbers, labels, 3).shape
    (3, 2, 4)
    """
    bk = backend or get_backend(labels)
    check_choice("variant", variant, VARIANTS)
    if permutation is not None:
        check_integral("permutation", permutation, bk)
        check_shape("permutation", permutation, labels.shape, "(B,)")
        partners = permutation
    elif variant == "official":
        partners = plain_permutation(numbers.partners[0, ...], backend=bk)
    else:
        partners = draw_partners(labels, numbers.partners, backend=bk)
    assignment = None
    if numbers.modalities is not None:
        assignment = bk.xp.argsort(numbers.modalities, axis=0)
    return source_matrix(partners, num_modalities, assignment, backend=bk)


def mix(
    features: Sequence[Array], sources: Array, *, absent: Array | None = None, backend: Backend | None = None
) -> list[Array]:
    """Gather the mixed samples, feature by feature or input by input.

    Parameters
    ----------
    features : sequence of M arrays, shapes (B, ...)
    sources : array, shape (M, V, B), integer
        The source matrix.
    absent : array, shape (M, V, B), bool, optional
        What mixed samples lack, of `midas_core.Pairs`: zeros take its place.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    list of M arrays, shapes (V, B, ...)

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
    bk = backend or get_backend(sources)
    check_modalities("features", features, sources.shape[0])
    found = [take_rows(feature, sources[m, ...], bk) for m, feature in enumerate(features)]
    if absent is None:
        return found
    return [fill_rows(x, absent[m, ...], bk.xp.zeros_like(x), bk) for m, x in enumerate(found)]


def fill_rows(x: Array, where: Array, value: Array, bk: Backend) -> Array:
    """Return ``x`` with another value for the samples that a mask names; its axes are the first of ``x``."""
    for _ in x.shape[len(where.shape) :]:
        where = where[..., None]
    return bk.xp.where(where, value, x)


def take_rows(x: Array, sources: Array, bk: Backend) -> Array:
    """Return what one modality of the mixed samples takes from ``x`` (B, ...): shape (V, B, ...)."""
    rows = bk.xp.take(x, bk.xp.reshape(sources, (-1,)), axis=0)
    return bk.xp.reshape(rows, (VIEWS, bk.length(x), *x.shape[1:]))

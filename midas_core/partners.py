"""From random numbers to partners: another class, or none (section 3.2).

Random numbers come in as arguments, so that the same numbers give the same partners on every backend.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.validation import check_fraction, check_labels, check_number, check_shape

VIEWS = 2
"""Mixed samples made from each sample of the batch."""


class Draw(NamedTuple):
    """The random numbers of one step, uniform in [0, 1).

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
        Backend of the arrays; inferred if omitted.

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
    for_a_sample = num_modalities - 1 + (num_modalities if num_modalities > 2 else 0) + (VIEWS if absent else 0)
    return batch * for_a_sample


def split_draw(numbers: Array, labels: Array, num_modalities: int, absent: bool = False, *, backend: Backend) -> Draw:
    """Return `random_count` numbers as a `Draw`."""
    batch, start, fields = backend.length(labels), 0, []
    if num_modalities == 2 and not absent:
        return Draw(backend.xp.reshape(numbers, (1, batch)))
    for rows in (num_modalities - 1, num_modalities if num_modalities > 2 else 0, VIEWS if absent else 0):
        part = numbers[start * batch : (start + rows) * batch]
        fields.append(backend.xp.reshape(part, (rows, batch)) if rows else None)
        start += rows
    return Draw(*fields)


def plain_permutation(keys: Array, *, backend: Backend | None = None) -> Array:
    """Return a uniform permutation (B,), as the authors draw it: same-class partners and fixed points slip in."""
    bk = backend or get_backend(keys)
    return bk.xp.argsort(keys)


def draw_partners(labels: Array, numbers: Array, *, backend: Backend | None = None) -> Array:
    """Return the partners of each sample, shape (M - 1, B), the first of another class, from (M - 1, B) numbers.

    The first is uniform among the samples of other classes (any other sample in a batch of one class), further ones
    among those that do not yet take part; where there are too few, some take part twice.
    """
    bk = backend or get_backend(labels)
    check_labels(labels, bk)
    check_shape("numbers", numbers, (None, labels.shape[0]), "(M - 1, B)")
    return bk.xp.stack(draw_participants(labels, numbers, bk)[1:])


def draw_participants(labels: Array, numbers: Array, bk: Backend) -> list[Array]:
    """Return sample i itself and its M - 1 partners, shapes (B,), see `draw_partners`."""
    xp, batch = bk.xp, bk.length(labels)
    samples = bk.arange(batch, labels)
    participants = [samples, _of_another_class(labels, numbers[0, ...], samples, bk)]
    if numbers.shape[0] == 1:
        return participants
    ranks = bk.arange(1 + numbers.shape[0], samples)[:, None]
    drawn = bk.at_least(_below(numbers[1:, ...], batch - ranks[2:, :], bk), 0)
    for k in range(2, 1 + numbers.shape[0]):
        # Those that take part are left out: in ascending order, number j moves up what is not below it, less j.
        taken = xp.sort(xp.stack(participants), axis=0) - ranks[:k, :]
        rank = drawn[k - 2, ...]
        participants.append(rank + xp.sum(xp.astype(taken <= rank, rank.dtype), axis=0))
    # Beyond the last sample where all take part already.
    return [bk.at_most(x, batch - 1) for x in participants]


def _of_another_class(labels: Array, numbers: Array, samples: Array, bk: Backend) -> Array:
    """Return a partner of another class for each sample, any other sample where there is none."""
    xp, batch = bk.xp, bk.length(labels)
    labels = xp.astype(labels, samples.dtype, copy=False)
    order = xp.astype(xp.argsort(labels), samples.dtype, copy=False)
    in_order = xp.take(labels, order, axis=0)
    # The class of a sample fills the places first ... first + size - 1: the draw leaves them out.
    first = xp.astype(xp.searchsorted(in_order, labels), samples.dtype, copy=False)
    size = xp.astype(xp.searchsorted(in_order, labels, side="right"), samples.dtype, copy=False) - first
    # In a batch of one class each sample leaves out itself.
    only = size >= batch
    first, size = xp.where(only, samples, first), bk.fill(size, only, 1)
    place = _below(numbers, batch - size, bk)
    place = xp.where(place < first, place, place + size)
    # A batch of one has no place for a partner.
    return xp.take(order, bk.at_least(place, 0), axis=0)


def _below(numbers: Array, counts: Array, bk: Backend) -> Array:
    """Return whole numbers from 0 to counts - 1, negative ones where a count is none, from numbers in [0, 1)."""
    # A float32 holds 24 bits: up to about a million samples the draw is uniform within 6 %.
    whole = bk.xp.astype(numbers * bk.xp.astype(counts, numbers.dtype), counts.dtype)
    # The product of a number next to one may round up.
    return bk.xp.minimum(whole, counts - 1)


def absent_modalities(numbers: Array, num_modalities: int, share: float, *, backend: Backend | None = None) -> Array:
    """Return what a share of the mixed samples lacks, shape (M, V, B), from (V, B) numbers.

    Which modalities stay is uniform among the sets that are neither empty nor whole.
    """
    bk = backend or get_backend(numbers)
    xp = bk.xp
    share = check_fraction("absent_share", share)
    check_number("num_modalities", num_modalities, minimum=2, whole=True)
    # The bits of a whole number from 1 to 2^M - 2 say who stays.
    sets = 2**num_modalities - 2
    below_one = numbers / (share or 1.0)
    kept = 1 + bk.at_most(xp.astype(below_one * sets, bk.index_dtype()), sets - 1)
    return xp.stack([(numbers < share) & (kept // 2**m % 2 == 0) for m in range(num_modalities)])

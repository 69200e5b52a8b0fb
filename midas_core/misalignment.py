"""Who supplies which modality: permutations of the batch, the source matrix, and the gather (section 3.2, A.2).

Random numbers come in as arguments, so that the same numbers give the same pairs on every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.validation import check_integral, check_labels, check_modalities, check_number, check_shape

VIEWS = 2
"""Mixed samples made from each sample of the batch."""


class Draw(NamedTuple):
    """The random numbers of one step, each uniform in [0, 1).

    Attributes
    ----------
    samples : array, shape (B,), floating
        Orders the samples, within their class or as a whole.
    classes : array, shape (C,), floating
        Orders the classes.
    rotation : array, shape (), floating
        Chooses the amount of the rotation.
    modalities : array, shape (M, B), floating, or None
        Assigns the partners to the modalities, where M > 2.
    """

    samples: Array
    classes: Array
    rotation: Array
    modalities: Array | None = None


def draw(labels: Array, num_classes: int, num_modalities: int, rng: Any, *, backend: Backend | None = None) -> Draw:
    """Draw the random numbers of one step, on the device of the labels.

    Parameters
    ----------
    labels : array, shape (B,), integer
        Only their number matters.
    num_classes, num_modalities : int
        C and M.
    rng : generator, key or seed
        In the framework's own convention; see the backends.

    Returns
    -------
    Draw

    Examples
    --------
    >>> import numpy as np
    >>> [x.shape for x in draw(np.array([0, 1, 1]), 2, 3, np.random.default_rng(0))]
    [(3,), (2,), (), (3, 3)]
    """
    bk = backend or get_backend(labels)
    count = random_count(bk.length(labels), num_classes, num_modalities)
    # One draw: a JAX key serves once.
    return split_draw(bk.uniform((count,), labels, rng), labels, num_classes, num_modalities, backend=bk)


def random_count(batch: Any, num_classes: int, num_modalities: int) -> Any:
    """Return how many random numbers a step takes."""
    # Two modalities need no assignment, see `source_matrix`.
    return batch + num_classes + 1 + (num_modalities * batch if num_modalities > 2 else 0)


def split_draw(numbers: Array, labels: Array, num_classes: int, num_modalities: int, *, backend: Backend) -> Draw:
    """Return `random_count` numbers as a `Draw`."""
    xp, batch = backend.xp, backend.length(labels)
    first, last = batch + num_classes, batch + num_classes + 1
    # The number of classes stays known where that of the samples is not.
    classes = xp.reshape(numbers[batch:first], (num_classes,))
    modalities = xp.reshape(numbers[last:], (num_modalities, batch)) if num_modalities > 2 else None
    return Draw(numbers[:batch], classes, numbers[first], modalities)


def plain_permutation(keys: Array, *, backend: Backend | None = None) -> Array:
    """Return a uniformly random permutation, as the authors' code draws it.

    Same-class partners and fixed points slip in.

    Parameters
    ----------
    keys : array, shape (B,), floating
        Random keys.

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


def different_class_permutation(
    labels: Array,
    sample_keys: Array,
    class_keys: Array,
    rotation: Array,
    *,
    backend: Backend | None = None,
) -> Array:
    """Return a random permutation that pairs each sample with one of another class.

    The batch is put in the order (random class order, random order within the class) and that order
    is rotated by a random amount between k and B - k, k the size of the largest class. Such a permutation exists
    exactly when k <= B / 2. Beyond that the rotation is by k, which leaves the fewest same-class pairs, 2k - B; they
    are found by `pair_mask`, and weigh nothing.

    Parameters
    ----------
    labels : array, shape (B,), integer
        Classes in 0 ... C - 1.
    sample_keys : array, shape (B,), floating
        Uniform in [0, 1).
    class_keys : array, shape (C,), floating
        Uniform in [0, 1).
    rotation : array, shape (), floating
        Uniform in [0, 1).

    Returns
    -------
    array, shape (B,), integer
        ``labels[permutation[i]] != labels[i]`` for every i, wherever the batch allows it.

    Raises
    ------
    TypeError
        If the labels have no integer dtype.
    ValueError
        If a shape does not fit.

    Notes
    -----
    One sort, no loop in Python, nothing read back from the device. Section 3.2 of the paper asks for
    another class; the authors' code does not see to it (`plain_permutation`).

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 0, 1, 1])
    >>> pi = different_class_permutation(labels, np.array([.1, .2, .3, .4]), np.array([.5, .6]), np.array(.7))
    >>> labels[pi]
    array([1, 1, 0, 0])
    """
    bk = backend or get_backend(labels)
    xp = bk.xp
    check_labels(labels, bk)
    check_shape("sample_keys", sample_keys, labels.shape, "(B,)")
    check_shape("class_keys", class_keys, (None,), "(C,)")
    check_shape("rotation", rotation, (), "()")

    # The rank of each class in the random class order, then a sample's own key: one whole number of 31 bits.
    # (A random permutation is as good as its inverse.)
    steps = key_steps(class_keys.shape[0])
    ranks = xp.astype(xp.argsort(class_keys) * steps, xp.int32)
    within = xp.astype(sample_keys * (steps - 1), xp.int32)
    labels = xp.astype(labels, bk.index_dtype(), copy=False)
    order = bk.argsort(xp.take(ranks, labels, axis=0) + within)

    batch = bk.length(labels)
    largest = xp.astype(xp.max(bk.counts(labels, bk.length(class_keys))), order.dtype, copy=False)
    spare = bk.at_least(batch - 2 * largest, 0)
    extra = xp.astype(rotation * xp.astype(spare + 1, rotation.dtype), order.dtype)
    # A key next to one may round up to spare + 1.
    position = bk.arange(batch, order) + (largest + xp.minimum(extra, spare))
    position = xp.where(position < batch, position, position - batch)
    return bk.scatter(order, xp.take(order, position, axis=0))


def key_steps(num_classes: int | None) -> int:
    """Return how many places the order within a class distinguishes: what 31 bits leave, and a float32 fills."""
    # Of label vectors there are as many as samples, which may be unknown while tracing.
    return 2**15 if num_classes is None else int(2 ** min(24, 31 - (num_classes - 1).bit_length()))


def source_matrix(
    permutation: Array,
    num_modalities: int,
    assignment: Array | None = None,
    *,
    backend: Backend | None = None,
) -> Array:
    """Return which sample supplies each modality of each mixed sample.

    The samples that take part in mixed sample i are i and its M - 1 partners pi(i), pi(pi(i)), ...; view v
    gives modality m the participant number (a[m, i] + v) mod M, a the assignment.

    Parameters
    ----------
    permutation : array, shape (B,), integer
        pi.
    num_modalities : int
        M.
    assignment : array, shape (M, B), integer, optional
        Column i is a permutation of 0 ... M - 1. Without one, a[m, i] = m; with M = 2 the two views are then
        (identity, pi) and (pi, identity), and no other assignment adds anything.

    Returns
    -------
    array, shape (M, V, B), integer
        The source matrix S of the paper (A.2), one for each of V = 2 views.

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
    bk = backend or get_backend(permutation)
    xp = bk.xp
    check_number("num_modalities", num_modalities, minimum=2, whole=True)
    check_shape("permutation", permutation, (None,), "(B,)")
    permutation = xp.astype(permutation, bk.index_dtype(), copy=False)
    participants = [bk.arange(bk.length(permutation), permutation), permutation]
    while len(participants) < num_modalities:
        participants.append(xp.take(permutation, participants[-1], axis=0))
    if assignment is None:
        turns = [participants[v:] + participants[:v] for v in range(VIEWS)]
        return xp.stack([xp.stack(turn) for turn in turns], axis=1)
    check_shape("assignment", assignment, (num_modalities, permutation.shape[0]), "(M, B)")
    table = xp.stack(participants, axis=-1)  # (B, M)
    # (B, M) columns, so that each row of the table is read along its last axis.
    chosen = xp.permute_dims(xp.astype(assignment, bk.index_dtype(), copy=False), (1, 0))
    views = [
        xp.permute_dims(xp.take_along_axis(table, (chosen + v) % num_modalities, axis=-1), (1, 0)) for v in range(VIEWS)
    ]
    return xp.stack(views, axis=1)


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
        Takes the place of the drawn one.

    Returns
    -------
    array, shape (M, V, B), integer

    Raises
    ------
    TypeError, ValueError
        If dtype or shape of the permutation does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 1, 1, 0])
    >>> numbers = draw(labels, 2, 3, np.random.default_rng(0))
    >>> draw_sources(numbers, labels, 3).shape
    (3, 2, 4)
    """
    bk = backend or get_backend(labels)
    if permutation is not None:
        check_integral("permutation", permutation, bk)
        check_shape("permutation", permutation, labels.shape, "(B,)")
    if permutation is None and variant == "official":
        permutation = plain_permutation(numbers.samples, backend=bk)
    elif permutation is None:
        permutation = different_class_permutation(
            labels, numbers.samples, numbers.classes, numbers.rotation, backend=bk
        )
    assignment = None
    if numbers.modalities is not None:
        assignment = bk.xp.argsort(numbers.modalities, axis=0)
    return source_matrix(permutation, num_modalities, assignment, backend=bk)


def mix(features: Sequence[Array], sources: Array, *, backend: Backend | None = None) -> list[Array]:
    """Gather the mixed samples, feature by feature or input by input.

    Parameters
    ----------
    features : sequence of M arrays, shapes (B, ...)
    sources : array, shape (M, V, B), integer
        The source matrix.

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
    return [take_rows(feature, sources[m, ...], bk) for m, feature in enumerate(features)]


def take_rows(x: Array, sources: Array, bk: Backend) -> Array:
    """Return what one modality of the mixed samples takes from ``x`` (B, ...): shape (V, B, ...)."""
    rows = bk.xp.take(x, bk.xp.reshape(sources, (-1,)), axis=0)
    return bk.xp.reshape(rows, (VIEWS, bk.length(x), *x.shape[1:]))


def pair_classes(labels: Array, sources: Array, *, backend: Backend | None = None) -> Array:
    """Return the class that each modality of each mixed sample speaks for: Y[m, i] = y[S[m, i]].

    Parameters
    ----------
    labels : array, shape (B,), integer
    sources : array, shape (M, V, B), integer

    Returns
    -------
    array, shape (M, V, B), integer

    Examples
    --------
    >>> import numpy as np
    >>> pair_classes(np.array([7, 8]), source_matrix(np.array([1, 0]), 2)).tolist()
    [[[7, 8], [8, 7]], [[8, 7], [7, 8]]]
    """
    bk = backend or get_backend(labels)
    xp = bk.xp
    classes = xp.take(xp.astype(labels, bk.index_dtype(), copy=False), xp.reshape(sources, (-1,)), axis=0)
    return xp.reshape(classes, (sources.shape[0], VIEWS, bk.length(labels)))


def pair_mask(classes: Array, *, backend: Backend | None = None) -> Array:
    """Return which mixed samples are misaligned: those in which two classes or more take part.

    Parameters
    ----------
    classes : array, shape (M, V, B), integer
        From `pair_classes`.

    Returns
    -------
    array, shape (V, B), bool

    Examples
    --------
    >>> import numpy as np
    >>> pair_mask(np.array([[[1, 2]], [[1, 3]]])).tolist()
    [[False, True]]
    """
    bk = backend or get_backend(classes)
    return bk.xp.any(classes != classes[:1, ...], axis=0)

"""Pairs: who is mixed with whom, which classes the parts speak for, and which mixed samples count."""

from __future__ import annotations

from typing import NamedTuple

from midas_core.absent import absent_modalities, alone
from midas_core.backends import Array, Backend, get_backend
from midas_core.misalignment import VIEWS, Draw, draw_sources
from midas_core.options import VARIANTS
from midas_core.validation import check_choice, check_fraction, check_shape


class Pairs(NamedTuple):
    """Who is mixed with whom in a step, made once and handed on.

    Attributes
    ----------
    sources : array, shape (M, V, B), integer
        The source matrix: which sample supplies each modality.
    classes : array, shape (M, V, B), integer
        The class that each modality speaks for; for several labels what `label_ids` calls it.
    mask : array, shape (V, B), bool
        The mixed samples that count.
    absent : array, shape (M, V, B), bool, or None
        What a mixed sample without a partner lacks, see `midas_core.absent`; what it has is sample i's own.
    """

    sources: Array
    classes: Array
    mask: Array
    absent: Array | None = None


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
        What mixed samples lack, not everything: sample i then takes the place of every partner, and it counts whatever
        the classes.
    variant : {"paper", "official"}
        Whether a mixed sample counts only where two classes or more take part, or always. "official" knows no absent
        partners.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    Pairs

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
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
        own = bk.xp.astype(bk.arange(bk.length(ids), sources), sources.dtype, copy=False)
        sources = bk.xp.where(without, own, sources)
    classes = pair_classes(ids, sources, backend=bk)
    mask = pair_mask(classes, backend=bk)
    if variant == "official":
        mask = bk.xp.ones_like(mask)
    return Pairs(sources, classes, mask if without is None else mask | without, absent)


def as_pairs(labels: Array, sources: Array | Pairs, variant: str, bk: Backend) -> Pairs:
    """Return what is given as `Pairs`."""
    return sources if isinstance(sources, Pairs) else make_pairs(labels, sources, variant=variant, backend=bk)


def source_matrix_of(sources: Array | Pairs) -> Array:
    """Return the source matrix of what is given."""
    return sources.sources if isinstance(sources, Pairs) else sources


def absent_of(sources: Array | Pairs) -> Array | None:
    """Return what the mixed samples lack, None where every one has a partner."""
    return sources.absent if isinstance(sources, Pairs) else None


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
        Share of the mixed samples that have no partner, in [0, 1], see `midas_core.absent`. Above 0 it takes numbers
        of ``draw(..., absent=True)``.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    Pairs

    Raises
    ------
    TypeError, ValueError
        If dtype or shape of the permutation, or the share, does not fit.

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
            raise ValueError("numbers: expected those of draw(..., absent=True) with absent_share > 0, got others")
        absent = absent_modalities(numbers.absent, num_modalities, absent_share, backend=bk)
    return make_pairs(ids, sources, absent=absent, variant=variant, backend=bk)


def label_ids(labels: Array, *, backend: Backend | None = None) -> Array:
    """Return one whole number for each label vector: the same exactly where the vectors are the same.

    Multi-label samples are of different classes where their label vectors differ. These numbers take the place of
    class indices wherever only the difference of classes counts.

    Parameters
    ----------
    labels : array, shape (B, C), of 0 and 1
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (B,), integer
        In 0 ... B - 1: the last sample that has the same vector.

    Raises
    ------
    ValueError
        If the labels have another shape.

    Notes
    -----
    One matrix product, (B, C) by (C, B), and no shape that depends on values.

    Examples
    --------
    >>> import numpy as np
    >>> label_ids(np.array([[1, 0], [1, 1], [1, 0]]))
    array([2, 1, 2])
    """
    bk = backend or get_backend(labels)
    xp = bk.xp
    check_shape("labels", labels, (None, None), "(B, C)")
    y = xp.astype(labels, xp.float32)
    size = xp.sum(y * y, axis=-1)
    # Squared distance; for 0 and 1 the number of classes in which two vectors differ, exact in float32.
    apart = size[:, None] + size[None, :] - 2 * xp.matmul(y, xp.permute_dims(y, (1, 0)))
    return xp.max(bk.where(apart < 0.5, bk.arange(bk.length(y), y)[None, :], 0), axis=-1)


def pair_classes(labels: Array, sources: Array, *, backend: Backend | None = None) -> Array:
    """Return the class that each modality of each mixed sample speaks for: Y[m, i] = y[S[m, i]].

    Parameters
    ----------
    labels : array, shape (B,), integer
    sources : array, shape (M, V, B), integer
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (M, V, B), integer

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
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
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

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

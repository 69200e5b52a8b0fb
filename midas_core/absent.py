"""Absent partners: mixed samples that have some modalities of one sample, and nothing in the place of the others."""

from __future__ import annotations

from midas_core.backends import Array, Backend, get_backend
from midas_core.validation import check_fraction, check_number


def absent_modalities(numbers: Array, num_modalities: int, share: float, *, backend: Backend | None = None) -> Array:
    """Return what the mixed samples lack, in a share of them; the others lack nothing.

    Which modalities stay is uniform among the sets that are neither empty nor whole: of two modalities the one or the
    other.

    Parameters
    ----------
    numbers : array, shape (V, B), floating
        Uniform in [0, 1), from `midas_core.draw`.
    num_modalities : int
        M.
    share : float
        In [0, 1].
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (M, V, B), bool

    Raises
    ------
    TypeError, ValueError
        If the share or the number of modalities does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> absent_modalities(np.array([[0.1, 0.4, 0.6]]), 2, 0.5).astype(int).tolist()
    [[[0, 1, 0]], [[1, 0, 0]]]
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


def alone(absent: Array, *, backend: Backend | None = None) -> Array:
    """Return which mixed samples have no partner, shape (V, B), from what they lack, shape (M, V, B)."""
    bk = backend or get_backend(absent)
    return bk.xp.any(absent, axis=0)

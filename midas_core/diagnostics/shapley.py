"""What each modality contributes: exact Shapley values over all coalitions."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.diagnostics.arrays import Floats

MOST = 8
"""Modalities: their coalitions are 2^M."""

Coalition = tuple[bool, ...]


def coalitions(num_modalities: int) -> list[Coalition]:
    """Return every set of modalities that can be present, as M booleans; the empty one first, the full one last.

    Parameters
    ----------
    num_modalities : int
        M.

    Returns
    -------
    list of 2**M tuples of bool

    Examples
    --------
    >>> coalitions(2)
    [(False, False), (False, True), (True, False), (True, True)]
    """
    return list(product((False, True), repeat=num_modalities))


def shapley_values(values: NDArray[Any]) -> Floats:
    """Return the Shapley value of each modality.

    phi_m = sum over the coalitions S without m of s! (M - s - 1)! / M! * (v(S + m) - v(S)), s the size of S.

    They sum to the value of the full coalition less that of the empty one.

    Parameters
    ----------
    values : array, shape (2^M, ...)
        v of each coalition, in the order of `coalitions`.

    Returns
    -------
    array, shape (M, ...), float64

    Examples
    --------
    >>> shapley_values(np.array([0.1, 0.8, 0.3, 0.9])).round(2)  # nothing, the second, the first, both
    array([0.15, 0.65])
    """
    values = values.astype(np.float64)
    count = len(values).bit_length() - 1
    if len(values) != 2**count:
        raise ValueError(f"values: expected one for each of 2^M coalitions, got {len(values)}")
    sets = coalitions(count)
    index = {coalition: i for i, coalition in enumerate(sets)}
    found = np.zeros((count, *values.shape[1:]))
    for coalition in sets:
        size = sum(coalition)
        for m in range(count):
            if not coalition[m]:
                joined = (*coalition[:m], True, *coalition[m + 1 :])
                found[m] += (values[index[joined]] - values[index[coalition]]) / (count * comb(count - 1, size))
    return found

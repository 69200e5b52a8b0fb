"""Samples that lack a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.backends import Array, Backend, get_backend
from midas_core.modalities import leaves
from midas_core.pairing import clear_rows, take_rows
from midas_core.validation import check_modalities, check_shape


def zero_missing(features: Sequence[Any], present: Array, *, backend: Backend | None = None) -> list[Any]:
    """Put zeros in the place of missing features, whatever was there.

    Parameters
    ----------
    features : sequence of M modalities
        Each an array, shape (B, ...), or a dict or tuple of such arrays, see `midas_core.mix`. A sequence with a
        padding mask becomes one zero token.
    present : array, shape (B, M), bool
        Whether a sample has a modality.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    list of M modalities
        In the structure of ``features``. No gradient reaches what was replaced.

    Raises
    ------
    TypeError, ValueError
        If dtype, shape or the number of modalities does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> audio, video = np.array([[1.0], [np.nan]]), np.array([[3.0], [4.0]])
    >>> [x.tolist() for x in zero_missing([audio, video], np.array([[True, True], [False, True]]))]
    [[[1.0], [0.0]], [[3.0], [4.0]]]
    """
    bk = backend or get_backend(present)
    check_modalities("features", features)
    check_present(present, leaves(features[0])[0].shape[0], len(features), bk)
    return [clear_rows(x, ~present[:, m], bk) for m, x in enumerate(features)]


def complete_pairs(
    present: Array, sources: Array, absent: Array | None = None, *, backend: Backend | None = None
) -> Array:
    """Return which mixed samples are whole, shape (V, B): every source has the modality that it supplies."""
    bk = backend or get_backend(present)
    whole = None
    for m in range(sources.shape[0]):
        here = take_rows(present[:, m], sources[m, ...], bk)
        here = here if absent is None else here | absent[m, ...]
        whole = here if whole is None else whole & here
    return whole


def unimodal_scale(present: Array, dtype: object, bk: Backend) -> Array:
    """Return B / (number of samples with modality m), shape (M, B), 0 where it is missing."""
    xp = bk.xp
    here = xp.astype(xp.permute_dims(present, (1, 0)), dtype)
    batch = xp.sum(xp.ones_like(here), axis=-1, keepdims=True)
    return here * (batch / bk.at_least(xp.sum(here, axis=-1, keepdims=True), 1.0))


def check_present(present: Array, batch: int | None, modalities: int, bk: Backend) -> None:
    """Raise unless ``present`` is a mask of shape (B, M)."""
    if not bk.xp.isdtype(present.dtype, "bool"):
        raise TypeError(f"present: expected dtype bool, got {present.dtype}")
    check_shape("present", present, (batch, modalities), "(B, M)")

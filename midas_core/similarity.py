"""The hard-sample weight: how much a mixed sample looks like the aligned one (section 3.5, eq. 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from midas_core.backends import Array, Backend, get_backend
from midas_core.modalities import leaves, map_leaves, pool_tokens
from midas_core.options import SIMILARITIES
from midas_core.pairing import Pairs, source_matrix_of
from midas_core.validation import check_choice, check_modalities, check_shape, is_floating


def similarity(
    features: Sequence[Any],
    sources: Array | Pairs,
    kind: str | Callable[[Any], Array] = "cosine",
    *,
    backend: Backend | None = None,
) -> Array:
    """Return how much each mixed sample looks like the aligned one, s in [-1, 1] (section 3.5).

    The mean, over the modalities that were replaced, of the similarity of the feature that came to the one that went.

    Parameters
    ----------
    features : sequence of M modalities
        Each an array, shape (B, D); a sequence, shape (B, T, D), compared by the mean of its tokens, of those that are
        there if it is a dict with a ``"mask"``, see `midas_core.mix`; or an array of more axes, flattened.
    sources : array, shape (M, V, B), integer; or `Pairs`
        From `source_matrix` or `draw_pairs`.
    kind : {"cosine", "l2"}, or callable
        cos(a, b), 0 where a vector is zero; or ``1 - 2 |a - b| / (|a| + |b|)``, 1 where both are zero. The
        second stands for the L2 distance of the paper's Table 4, brought to the same range by our choice. NaN where a
        norm overflows: above 1.8e19 in float32. A callable takes a modality to the vectors, shape (B, D), whose cosine
        counts.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    array, shape (V, B)

    Raises
    ------
    ValueError
        If the number of modalities does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
    >>> sources = source_matrix(np.array([1, 0]), 2)
    >>> features = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])]
    >>> similarity(features, sources).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    sources = source_matrix_of(sources)
    bk = backend or get_backend(sources)
    xp = bk.xp
    if not callable(kind):
        check_choice("similarity", kind, SIMILARITIES[:2])
    check_modalities("features", features, sources.shape[0])
    vectors = [_vectors(modality, kind, bk) for modality in features]
    norms = _no_infinity(xp.stack([bk.norm(x) for x in vectors]), bk)
    alike = partial(_closenesses if kind == "l2" else _cosines, vectors, norms, bk=bk)
    samples = bk.arange(bk.length(vectors[0]), sources)
    kept = sources == samples
    if sources.shape[:2] == (2, 2):
        # Of two modalities the one is replaced in one version, the other in the other: one factor at most is not 1.
        came = xp.sum(sources, axis=1) - samples
        return xp.prod(bk.fill(alike(came)[:, None, :], kept, 1.0), axis=0)
    versions = xp.stack([alike(sources[:, v, ...]) for v in range(sources.shape[1])], axis=1)
    total = xp.sum(bk.fill(versions, kept, 0.0), axis=0)
    count = xp.sum(xp.astype(~kept, total.dtype), axis=0)
    # A sample that is its own partner is as similar as can be.
    return bk.fill(total, count == 0, 1.0) / bk.at_least(count, 1.0)


def hard_sample_weight(similarities: Array) -> Array:
    """Return the weight of each mixed sample, 1 + (s + 1) / 2, in [1, 2] (eq. 8)."""
    return 1.5 + similarities / 2


def _vectors(modality: Any, kind: str | Callable[[Any], Array], bk: Backend) -> Array:
    """Return a modality as constant vectors, shape (B, D)."""
    if not callable(kind):
        if len(getattr(modality, "shape", ())) == 2:
            return _constant(modality, bk)
        return pool_tokens(map_leaves(lambda x: _constant(x, bk), modality), bk)
    vectors = kind(modality)
    check_shape("output of similarity", vectors, (leaves(modality)[0].shape[0], None), "(B, D)")
    return _constant(vectors, bk)


def _constant(x: Array, bk: Backend) -> Array:
    return bk.in_full_precision(bk.stop_gradient(x)) if is_floating(x, bk) else x


def _no_infinity(norms: Array, bk: Backend) -> Array:
    # Whatever is divided by infinity is 0, which looks like a similarity.
    return bk.fill(norms, norms == math.inf, math.nan)


def _cosines(vectors: list[Array], norms: Array, sources: Array, bk: Backend) -> Array:
    """Return <a, b> / |a| / |b| of what went and what came, shape (M, B), from the samples that it came from."""
    xp = bk.xp
    products = [xp.sum(x * xp.take(x, sources[m, ...], axis=0), axis=-1) for m, x in enumerate(vectors)]
    norms = bk.fill(norms, norms == 0, 1.0)
    # Divided last: no unit vectors (B, D) are written and read again.
    return xp.stack(products) / norms / xp.take_along_axis(norms, sources, axis=-1)


def _closenesses(vectors: list[Array], norms: Array, sources: Array, bk: Backend) -> Array:
    """Return 1 - 2 |a - b| / (|a| + |b|) of what went and what came, shape (M, B)."""
    xp = bk.xp
    apart = xp.stack([bk.norm(x - xp.take(x, sources[m, ...], axis=0)) for m, x in enumerate(vectors)])
    total = norms + xp.take_along_axis(norms, sources, axis=-1)
    return 1 - 2 * _no_infinity(apart, bk) / bk.fill(total, total == 0, 1.0)

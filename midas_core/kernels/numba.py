"""Loops over the arrays of a small batch, compiled by Numba: all that knows it is here. The extra ``fast`` brings it.

Each function says what it stands for in the core, which is the specification. Arrays are NumPy's and contiguous; what
ends in an underscore writes into its arguments.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from midas_core.partners import VIEWS
from midas_core.weighting import LOG_UNDERFLOW

# Sums may be taken in any order, as vector instructions do; NaN and infinities mean what they always do.
OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}


class Compiled:
    """A function that Numba compiles in its first call, and keeps on disk where it can."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function
        try:
            self.function = numba.njit(cache=True, **OPTIONS)(function)
        except RuntimeError:
            # There is no folder to write to: compiled again in each process.
            self.function = numba.njit(**OPTIONS)(function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it. What fails is the cache, before the function itself runs: a damaged file, a full disk."""
        try:
            return self.function(*arguments)
        except Exception as error:
            uncached = numba.njit(**OPTIONS)(self.py_func)
            found = uncached(*arguments)
            self.function = uncached
            _warn_of_cache(error)
            return found


_warned = False


def _warn_of_cache(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"Numba's cache of compiled functions cannot be used ({type(error).__name__}: {error}): "
            "they are compiled again in each process. Empty or set NUMBA_CACHE_DIR.",
            RuntimeWarning,
            stacklevel=3,
        )


# Cached with the functions that call them.
_inner = numba.njit(**OPTIONS)


@Compiled
def pairs_of_two(labels: Any, numbers: Any, num_classes: int, sources: Any, classes: Any, mask: Any) -> int:
    """Write ``draw_pairs`` for two modalities; return where the first label lies that is no class, or -1."""
    batch = len(labels)
    for i in range(batch):
        if labels[i] < 0 or labels[i] >= num_classes:
            return i
    first = np.zeros(num_classes + 1, np.int64)
    for label in labels:
        first[label + 1] += 1
    for c in range(num_classes):
        first[c + 1] += first[c]
    order, used = np.empty(batch, np.int64), first.copy()
    for i in range(batch):
        order[used[labels[i]]] = i
        used[labels[i]] += 1

    for i in range(batch):
        start, end = first[labels[i]], first[labels[i] + 1]
        if end - start == batch:
            # One class: a sample leaves out itself.
            start, end = i, i + 1
        others = batch - (end - start)
        place = max(min(int(numbers[i] * numbers.dtype.type(others)), others - 1), 0)
        partner = order[min(place if place < start else place + end - start, batch - 1)]
        sources[0, 0, i] = sources[1, 1, i] = i
        sources[0, 1, i] = sources[1, 0, i] = partner
        classes[0, 0, i] = classes[1, 1, i] = labels[i]
        classes[0, 1, i] = classes[1, 0, i] = labels[partner]
        mask[0, i] = mask[1, i] = labels[i] != labels[partner]
    return -1


@Compiled
def cosines(features: Any, sources: Any, found: Any) -> None:
    """Write ``similarity`` of features, shapes (B, D_m), by the cosine: shape (V, B)."""
    batch = sources.shape[2]
    replaced = np.zeros(sources.shape[1:], np.int64)
    found[:] = 0
    norms = np.empty(batch, features[0].dtype)
    for m in range(len(features)):
        x = features[m]
        for i in range(batch):
            squares = x.dtype.type(0)
            for d in range(x.shape[1]):
                squares += x[i, d] * x[i, d]
            norms[i] = np.sqrt(squares) if squares < np.inf else np.nan
            norms[i] = norms[i] if squares != 0 else 1
        for v in range(VIEWS):
            for i in range(batch):
                j = sources[m, v, i]
                if j != i:
                    product = x.dtype.type(0)
                    for d in range(x.shape[1]):
                        product += x[i, d] * x[j, d]
                    found[v, i] += product / norms[i] / norms[j]
                    replaced[v, i] += 1
    for v in range(VIEWS):
        for i in range(batch):
            # A sample that is its own partner is as similar as can be.
            found[v, i] = found[v, i] / replaced[v, i] if replaced[v, i] > 0 else 1


@Compiled
def lowered_(
    own_rows: Any,
    fused_rows: Any,
    parts: Any,
    labels: Any,
    sources: Any,
    classes: Any,
    smooth: bool,
    own: Any,
    mixed: Any,
    means: Any,
) -> None:
    """Sum up the fused logits from partial products, and take the greatest logit off each row.

    Writes the entries at the label of each sample (M + 1, B), at the class of each modality (M, V, B), and the mean of
    each row (M + 1 + V, B).
    """
    count, batch, num_classes = own_rows.shape
    for k in range(len(means)):
        view = k - count - 1
        for i in range(batch):
            row = own_rows[k, i] if k < count else fused_rows[k - count, i]
            if k >= count:
                for m in range(len(parts)):
                    part = parts[m, i if view < 0 else sources[m, view, i]]
                    for c in range(num_classes):
                        row[c] = part[c] if m == 0 else row[c] + part[c]
            top = row[0]
            for c in range(1, num_classes):
                top = max(top, row[c])
            for c in range(num_classes):
                row[c] -= top
            means[k, i] = 0
            if smooth:
                total = own_rows.dtype.type(0)
                for c in range(num_classes):
                    total += row[c]
                means[k, i] = total / num_classes
            if view < 0:
                own[k, i] = row[labels[i]]
            else:
                for m in range(count):
                    mixed[m, view, i] = row[classes[m, view, i]]


@Compiled
def normalized_(own_rows: Any, fused_rows: Any, own: Any, mixed: Any, means: Any, scales: Any) -> None:
    """Take the logarithm of its sum off what was found of each row; write one over the sums (M + 1 + V, B)."""
    count = len(mixed)
    for k in range(len(scales)):
        view = k - count - 1
        for i in range(scales.shape[1]):
            row = own_rows[k, i] if k < count else fused_rows[k - count, i]
            total = scales.dtype.type(0)
            for c in range(len(row)):
                total += row[c]
            scales[k, i] = 1 / total
            log_total = np.log(total)
            means[k, i] -= log_total
            if view < 0:
                own[k, i] -= log_total
            else:
                for m in range(count):
                    mixed[m, view, i] -= log_total


@_inner
def weighed_(
    own_log: Any,
    mixed_log: Any,
    mask: Any,
    sources: Any,
    similarities: Any,
    alpha: Any,
    first: bool,
    eta: float,
    by_sign: bool,
    max_alpha: float,
    soft_weights: Any,
    after: Any,
    means: Any,
) -> bool:
    """Write ``weigh_pairs`` of the paper's variant: soft weights, next alpha, alpha, c~, q; say whether it moves."""
    count, views, batch = sources.shape
    shares, sums, pairs = np.empty((2, count)), np.zeros((2, count)), 0
    for v in range(views):
        for i in range(batch):
            both = 0.0
            for m in range(count):
                shares[0, m] = own_log[m, sources[m, v, i]]
                shares[1, m] = mixed_log[m, v, i]
                both += shares[0, m] + shares[1, m]
            # As in `finite_pairs`. Where sums may be taken in any order, isfinite(), x - x == 0, is always true.
            counts = mask[v, i] and both > -np.inf
            pairs += counts
            for k in range(2):
                top, total = shares[k, 0], 0.0
                for m in range(1, count):
                    # max() would lose a NaN.
                    if shares[k, m] > top or np.isnan(shares[k, m]):
                        top = shares[k, m]
                for m in range(count):
                    # Below that exp() gives zeros: the modalities share alike.
                    shares[k, m] = 1.0 if top < LOG_UNDERFLOW else np.exp(shares[k, m] - top)
                    total += shares[k, m]
                for m in range(count):
                    shares[k, m] /= total
                    if counts:
                        sums[k, m] += shares[k, m]
            for m in range(count):
                soft_weights[m, v, i] = shares[0, m]

    weak, highest, used = 0, alpha[0], means[0]
    for m in range(count):
        means[1, m], means[2, m] = sums[0, m] / max(pairs, 1), sums[1, m] / max(pairs, 1)
        weak = m if means[1, m] < means[1, weak] else weak
        highest = max(highest, alpha[m])
    gap = (sums[0, weak] - sums[1, weak]) / max(pairs, 1)
    for m in range(count):
        current = alpha[m] if not first else highest if m == weak else 1.0
        used[m], after[m] = current, alpha[m]
        if pairs > 0:
            moved = current + eta * (np.sign(gap) if by_sign else gap)
            after[m] = min(max(moved, 1.0), max_alpha) if m == weak else 1.0

    for v in range(views):
        for i in range(batch):
            hard = 1 + (similarities[v, i] + 1) / 2
            for m in range(count):
                soft_weights[m, v, i] = soft_weights[m, v, i] * used[m] * hard if mask[v, i] else 0
    return pairs > 0


@_inner
def _smoothed(log: float, mean: float, smoothing: float) -> float:
    return log if smoothing == 0 else (1 - smoothing) * log + smoothing * mean


@_inner
def losses_(
    own: Any,
    mixed: Any,
    means: Any,
    mask: Any,
    sources: Any,
    weights: Any,
    by_label: Any,
    pair_scale: float,
    smoothing: float,
    unimodal_factor: float,
    weight: float,
    soft_weights: Any,
    found: Any,
) -> None:
    """Write total, aligned, misaligned, and M unimodal losses; soft weights become what a pair counts."""
    count, views, batch = sources.shape
    losses = np.zeros(3 + count)
    for k in range(count + 1):
        place = 1 if k == count else 3 + k
        for i in range(batch):
            losses[place] -= weights[k, i] * _smoothed(own[k, i], means[k, i], smoothing)
    for v in range(views):
        for i in range(batch):
            for m in range(count):
                counts = soft_weights[m, v, i] * pair_scale
                if len(by_label) > 0:
                    counts *= by_label[sources[m, v, i]]
                soft_weights[m, v, i] = counts
                if mask[v, i]:
                    losses[2] -= counts * _smoothed(mixed[m, v, i], means[count + 1 + v, i], smoothing)
    losses[0] = losses[1] + losses[3:].sum() * unimodal_factor + losses[2] * weight
    found[:] = losses


losses_alone_ = Compiled(losses_.py_func)


@Compiled
def weighed_losses_(
    own: Any,
    mixed: Any,
    means: Any,
    mask: Any,
    sources: Any,
    similarities: Any,
    alpha: Any,
    first: bool,
    eta: float,
    by_sign: bool,
    max_alpha: float,
    weights: Any,
    by_label: Any,
    pair_scale: float,
    smoothing: float,
    unimodal_factor: float,
    weight: float,
    soft_weights: Any,
    after: Any,
    of_alpha: Any,
    found: Any,
) -> bool:
    """Weigh the pairs and the losses in one call; return whether alpha moved."""
    moved = weighed_(
        own,
        mixed,
        mask,
        sources,
        similarities,
        alpha,
        first,
        eta,
        by_sign,
        max_alpha,
        soft_weights,
        after,
        of_alpha,
    )
    losses_(
        own,
        mixed,
        means,
        mask,
        sources,
        weights,
        by_label,
        pair_scale,
        smoothing,
        unimodal_factor,
        weight,
        soft_weights,
        found,
    )
    return moved


@Compiled
def gradient_(
    own_rows: Any,
    fused_rows: Any,
    scales: Any,
    parts: Any,
    labels: Any,
    sources: Any,
    classes: Any,
    weights: Any,
    pair_weights: Any,
    by_head: Any,
    smoothing: float,
    sums: Any,
) -> None:
    """Turn exponentials into ``midas_gradients``, times what a loss counts; the fused ones go on to ``parts``."""
    count, batch, num_classes = own_rows.shape
    exact = own_rows.dtype.type
    kept = exact(1 - smoothing)
    parts[:] = 0
    for k in range(len(scales)):
        view = k - count - 1
        for i in range(batch):
            row = own_rows[k, i] if k < count else fused_rows[k - count, i]
            weight = exact(0)
            if view < 0:
                weight = weights[k, i] * by_head[k]
            else:
                for m in range(count):
                    weight += pair_weights[m, view, i] * by_head[count + 1]
            factor, even = weight * scales[k, i], weight * exact(smoothing / num_classes)
            for c in range(num_classes):
                row[c] = row[c] * factor - even
            if view < 0:
                row[labels[i]] -= weight * kept
            else:
                for m in range(count):
                    row[classes[m, view, i]] -= pair_weights[m, view, i] * by_head[count + 1] * kept
            total = sums[min(k, count)]
            for c in range(num_classes):
                total[c] += row[c]
            if k >= count:
                for m in range(len(parts)):
                    part = parts[m, i if view < 0 else sources[m, view, i]]
                    for c in range(num_classes):
                        part[c] += row[c]

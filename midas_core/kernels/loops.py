"""A step on small batches as loops over its arrays, compiled by Numba: there a call costs more than its numbers.

Each function says what it stands for in the core, which is the specification. Arrays are NumPy's and contiguous. What
is asked of a row of logits are its entries at the class that each modality speaks for. The rows are, in this order,
each sample under each unimodal classifier, the aligned samples under the fused one, the mixed samples under the fused
one, view by view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from midas_core.confidence import LOG_UNDERFLOW
from midas_core.misalignment import VIEWS

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    # Sums may be taken in any order, as vector instructions do; NaN and infinities mean what they always do.
    options = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # There is no folder to write to: compiled anew in each process.
        return numba.njit(**options)(function)


@_compiled
def first_outside(x: Any, count: int) -> int:
    """Return where the first entry lies that is not in 0 ... count - 1, or -1."""
    for i in range(len(x)):
        if x[i] < 0 or x[i] >= count:
            return i
    return -1


@_compiled
def pairs_of_two(labels: Any, numbers: Any, num_classes: int) -> Any:
    """Return ``draw_pairs`` for two modalities: sources, classes, mask."""
    batch = len(labels)
    first = np.zeros(num_classes + 1, np.int64)
    for label in labels:
        first[label + 1] += 1
    for c in range(num_classes):
        first[c + 1] += first[c]
    order, used = np.empty(batch, np.int64), first.copy()
    for i in range(batch):
        order[used[labels[i]]] = i
        used[labels[i]] += 1

    sources, classes = np.empty((2, VIEWS, batch), np.int64), np.empty((2, VIEWS, batch), np.int64)
    mask = np.empty((VIEWS, batch), np.bool_)
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
    return sources, classes, mask


@_compiled
def cosine_of_two(replaced: Any, partners: Any, out: Any) -> None:
    """Write ``similarity`` for the view of two modalities in which this one, shape (B, D), is replaced."""
    batch, width = replaced.shape
    norms = np.empty(batch, replaced.dtype)
    for i in range(batch):
        squares = replaced.dtype.type(0)
        for d in range(width):
            squares += replaced[i, d] * replaced[i, d]
        norms[i] = np.sqrt(squares) if squares > 0 else 1
    for i in range(batch):
        product = replaced.dtype.type(0)
        for d in range(width):
            product += replaced[i, d] * replaced[partners[i], d]
        out[i] = 1 if partners[i] == i else product / norms[i] / norms[partners[i]]


@_compiled
def lowered_(rows: Any, parts: Any, labels: Any, sources: Any, classes: Any) -> Any:
    """Sum up the fused logits from partial products, and take the greatest logit off each row.

    Returns the entries that are asked of the unimodal rows (M, B), and of the aligned and the mixed ones (M, 1 + V, B).
    """
    count, batch, num_classes = parts.shape
    own = np.empty((count, batch), rows.dtype)
    fused = np.empty((count, 1 + VIEWS, batch), rows.dtype)
    for k in range(len(rows)):
        view = k - count - 1
        for i in range(batch):
            row = rows[k, i]
            if k >= count:
                for m in range(count):
                    part = parts[m, i if view < 0 else sources[m, view, i]]
                    for c in range(num_classes):
                        row[c] = part[c] if m == 0 else row[c] + part[c]
            top = row[0]
            for c in range(1, num_classes):
                top = max(top, row[c])
            for c in range(num_classes):
                row[c] -= top
            if k < count:
                own[k, i] = row[labels[i]]
            else:
                for m in range(count):
                    fused[m, view + 1, i] = row[labels[i] if view < 0 else classes[m, view, i]]
    return own, fused


@_compiled
def normalized_(exponentials: Any, own: Any, fused: Any) -> Any:
    """Take the logarithm of the sum off the entries of each row; return one over the sums (M + 1 + V, B)."""
    count, batch = own.shape
    scales = np.empty(exponentials.shape[:2], exponentials.dtype)
    for k in range(len(scales)):
        for i in range(batch):
            row = exponentials[k, i]
            total = exponentials.dtype.type(0)
            for c in range(len(row)):
                total += row[c]
            scales[k, i] = 1 / total
            if k < count:
                own[k, i] -= np.log(total)
            else:
                for m in range(count):
                    fused[m, k - count, i] -= np.log(total)
    return scales


@_compiled
def weighed(
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
) -> Any:
    """Return ``weigh_pairs`` of the paper's variant: soft weights, alpha, both means, next alpha, number of pairs."""
    count, views, batch = sources.shape
    soft_weights, shares = np.empty(sources.shape, own_log.dtype), np.empty((2, count))
    sums, pairs = np.zeros((2, count)), 0
    for v in range(views):
        for i in range(batch):
            both = 0.0
            for m in range(count):
                shares[0, m] = own_log[m, sources[m, v, i]]
                shares[1, m] = mixed_log[m, v, i]
                both += shares[0, m] + shares[1, m]
            counts = mask[v, i] and np.isfinite(both)
            pairs += counts
            for k in range(2):
                top, total = shares[k, 0], 0.0
                for m in range(1, count):
                    top = max(top, shares[k, m])
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

    means, weak, highest = np.empty((2, count), own_log.dtype), 0, alpha[0]
    for m in range(count):
        means[0, m], means[1, m] = sums[0, m] / max(pairs, 1), sums[1, m] / max(pairs, 1)
        weak = m if means[0, m] < means[0, weak] else weak
        highest = max(highest, alpha[m])
    gap = (sums[0, weak] - sums[1, weak]) / max(pairs, 1)
    used, after = np.empty(count, own_log.dtype), np.empty(count, alpha.dtype)
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
    return soft_weights, used, means, after, pairs


@_compiled
def losses_of(
    own: Any, fused: Any, mask: Any, soft_weights: Any, scale: float, unimodal_scale: float, weight: float
) -> Any:
    """Return total, aligned, misaligned, and M unimodal losses, in one array."""
    count, batch = own.shape
    losses = np.zeros(3 + count)
    for i in range(batch):
        losses[1] -= fused[0, 0, i] * scale
        for m in range(count):
            losses[3 + m] -= own[m, i] * scale
            for v in range(VIEWS):
                if mask[v, i]:
                    losses[2] -= soft_weights[m, v, i] * fused[m, 1 + v, i] * (scale / VIEWS)
    losses[0] = losses[1] + losses[3:].sum() * (unimodal_scale / scale) + losses[2] * weight
    return losses.astype(own.dtype)


@_compiled
def errors_(
    rows: Any,
    scales: Any,
    parts: Any,
    labels: Any,
    sources: Any,
    classes: Any,
    soft_weights: Any,
    scale: float,
    unimodal_scale: float,
    pair_scale: float,
) -> Any:
    """Turn exponentials into ``midas_gradients``, times what a loss counts; the fused ones go on to ``parts``.

    Returns the sums of the errors over the batch: under each unimodal classifier and under the fused one, (M + 1, C).
    """
    count, batch, num_classes = parts.shape
    exact = rows.dtype.type
    sums = np.zeros((count + 1, num_classes), rows.dtype)
    parts[:] = 0
    for k in range(len(rows)):
        view, total = k - count - 1, sums[min(k, count)]
        for i in range(batch):
            row = rows[k, i]
            weight = unimodal_scale if k < count else scale
            if view >= 0:
                weight = soft_weights[:, view, i].sum() * pair_scale
            factor = exact(weight) * scales[k, i]
            for c in range(num_classes):
                row[c] *= factor
            if view < 0:
                row[labels[i]] -= exact(weight)
            else:
                for m in range(count):
                    row[classes[m, view, i]] -= exact(soft_weights[m, view, i] * pair_scale)
            for c in range(num_classes):
                total[c] += row[c]
            if k >= count:
                for m in range(count):
                    part = parts[m, i if view < 0 else sources[m, view, i]]
                    for c in range(num_classes):
                        part[c] += row[c]
    return sums

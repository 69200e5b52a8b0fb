"""Sections 3.2 to 3.5, equation by equation: pairs, confidences and soft labels, alpha, the hard-sample weight."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

VIEWS = 2

Row = list[float]
Table = list[Row]
Cube = list[Table]
Sources = list[list[list[int]]]
Label = Any  # A class, or for multi-label data a list of 0 and 1.


# Sums that may hold NaN and infinities.


def add_up(values: Iterable[float]) -> float:
    """Return the sum; NaN where infinities cancel."""
    values = list(values)
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        return sum(values)


def mean(values: Iterable[float]) -> float:
    """Return the mean, 0 for no values."""
    values = list(values)
    return add_up(values) / len(values) if values else 0.0


# Section 3.2: misaligned samples.


def below(number: float, count: int) -> int:
    """Return a whole number from 0 to count - 1, from a number in [0, 1)."""
    return min(int(number * count), count - 1)


def draw_partners(labels: list[int], numbers: Table) -> list[list[int]]:
    """Return partners[k][i]: the first from another class than sample i, the others from samples not yet taken."""
    everybody, partners = range(len(labels)), [[0] * len(labels) for _ in numbers]
    for i in everybody:
        others = [j for j in everybody if labels[j] != labels[i]]
        others.sort(key=lambda j: labels[j])
        left, taken = others or [j for j in everybody if j != i], [i]
        for row, of in zip(numbers, partners, strict=True):
            of[i] = left[below(row[i], len(left))] if left else len(labels) - 1
            taken.append(of[i])
            left = [j for j in everybody if j not in taken]
    return partners


def source_matrix(partners: list[list[int]], modalities: int, assignment: list[list[int]] | None = None) -> Sources:
    """Return sources[m][v][i]: the sample that supplies modality m of mixed sample i in version v."""
    batch = len(partners[0])
    sources = [[[0] * batch for _ in range(VIEWS)] for _ in range(modalities)]
    for i in range(batch):
        participants = [i, *(row[i] for row in partners)]
        for m in range(modalities):
            turn = m if assignment is None else assignment[m][i]
            for v in range(VIEWS):
                sources[m][v][i] = participants[(turn + v) % modalities]
    return sources


def absent_modalities(numbers: Table, modalities: int, share: float) -> list[list[list[bool]]]:
    """Return absent[m][v][i]: a mixed sample below the share keeps some of its modalities, not all."""
    sets = [kept for kept in product((True, False), repeat=modalities) if any(kept) and not all(kept)]
    # The first modality is the lowest digit of the number of a set.
    sets.sort(key=lambda kept: [*reversed(kept)])
    absent = [[[False] * len(row) for row in numbers] for _ in range(modalities)]
    for v, row in enumerate(numbers):
        for i, number in enumerate(row):
            if number < share:
                for m, kept in enumerate(sets[below(number / share, len(sets))]):
                    absent[m][v][i] = not kept
    return absent


# Section 3.3: confidences and soft labels.


def log_softmax(row: Row) -> Row:
    """Return log p; NaN where it is undefined."""
    if any(math.isnan(z) for z in row) or all(z == -math.inf for z in row):
        return [math.nan] * len(row)
    top = max(row)
    if top == math.inf:
        return [math.nan if z == top else -math.inf for z in row]
    return [z - top - math.log(math.fsum(math.exp(w - top) for w in row)) for z in row]


def softmax(row: Row) -> Row:
    """Return p."""
    return [math.exp(x) for x in log_softmax(row)]


def normalise(log_confidences: Row) -> Row:
    """Return c[m] / sum_l c[l]; 1 / M where every c is 0 in double precision."""
    if any(math.isnan(x) for x in log_confidences):
        return [math.nan] * len(log_confidences)
    if all(math.exp(x) == 0.0 for x in log_confidences):
        return [1.0 / len(log_confidences)] * len(log_confidences)
    # The same quotient, without underflow.
    top = max(log_confidences)
    parts = [math.exp(x - top) for x in log_confidences]
    return [x / math.fsum(parts) for x in parts]


def log_sigmoid(z: float) -> float:
    """Return log(1 / (1 + exp(-z)))."""
    return min(z, 0.0) - math.log1p(math.exp(-abs(z)))


def smoothed_target(label: Label, classes: int, smoothing: float) -> Row:
    """Return the target distribution of a label."""
    if isinstance(label, list):
        return [(1 - smoothing) * y + smoothing / 2 for y in label]
    return [(1 - smoothing) * (c == label) + smoothing / classes for c in range(classes)]


def cross_entropy(row: Row, label: Label, smoothing: float = 0.0, class_weights: Row | None = None) -> float:
    """Return the cross-entropy of a class; for multi-label data the mean binary cross-entropy."""
    target = smoothed_target(label, len(row), smoothing)
    if not isinstance(label, list):
        return -math.fsum(t * x for t, x in zip(target, log_softmax(row), strict=True) if t != 0)
    terms = [t * log_sigmoid(z) + (1 - t) * log_sigmoid(-z) for t, z in zip(target, row, strict=True)]
    return -mean(terms if class_weights is None else [a * x for a, x in zip(class_weights, terms, strict=True)])


def cross_entropy_slope(row: Row, label: Label, smoothing: float = 0.0, class_weights: Row | None = None) -> Row:
    """Return its derivative in every logit."""
    target = smoothed_target(label, len(row), smoothing)
    if not isinstance(label, list):
        return [q - t for q, t in zip(softmax(row), target, strict=True)]
    slopes = [(math.exp(log_sigmoid(z)) - t) / len(row) for t, z in zip(target, row, strict=True)]
    return slopes if class_weights is None else [a * x for a, x in zip(class_weights, slopes, strict=True)]


def soft_label(shares: Row, classes: list[int], num_classes: int) -> Row:
    """Return sum_m c~[m] onehot(Y[m])."""
    row = [0.0] * num_classes
    for share, c in zip(shares, classes, strict=True):
        row = [x + share * (k == c) for k, x in enumerate(row)]
    return row


# Section 3.4: the weak modality.


def update_alpha(alpha: Row, weak: int, gap: float, eta: float, kind: str, cap: float | None) -> Row:
    """Return max(1, alpha + eta * Delta) for the weak modality, 1 for the others (eq. 7)."""
    delta = gap if kind == "difference" else (gap > 0) - (gap < 0)
    moved = max(1.0, alpha[weak] + eta * delta)
    if cap is not None:
        moved = min(moved, cap)
    return [moved if m == weak else 1.0 for m in range(len(alpha))]


# Section 3.5: the hard-sample weight.


def length(x: Row) -> float:
    """Return |x|."""
    return math.sqrt(add_up(v * v for v in x))


def cosine(a: Row, b: Row) -> float:
    """Return the cosine, 0 where a vector is zero."""
    if length(a) == 0 or length(b) == 0:
        return 0.0 * length(a) * length(b)  # NaN where the other is not finite.
    return add_up(x * y for x, y in zip(a, b, strict=True)) / (length(a) * length(b))


def l2_closeness(a: Row, b: Row) -> float:
    """Return 1 - 2 |a - b| / (|a| + |b|), 1 where both are zero."""
    if length(a) + length(b) == 0:
        return 1.0
    return 1 - 2 * length([x - y for x, y in zip(a, b, strict=True)]) / (length(a) + length(b))


def pool_tokens(tokens: Table, there: list[bool] | None) -> Row:
    """Return the mean of the tokens of a sequence that are there; zeros where none is."""
    kept = [token for k, token in enumerate(tokens) if there is None or there[k]]
    return [mean(column) for column in zip(*kept, strict=True)] if kept else [0.0] * len(tokens[0])


def similarity(features: Cube, sources: Sources, kind: str) -> Table:
    """Return s[v][i], the mean over the replaced modalities; 1 if none was replaced."""
    measure = {"cosine": cosine, "l2": l2_closeness}[kind]
    modalities, batch = range(len(features)), range(len(features[0]))
    result = []
    for v in range(VIEWS):
        row = []
        for i in batch:
            new = [m for m in modalities if sources[m][v][i] != i]
            values = [measure(features[m][i], features[m][sources[m][v][i]]) for m in new]
            row.append(mean(values) if new else 1.0)
        result.append(row)
    return result


def hard_sample_weight(s: float) -> float:
    """Return 1 + (s + 1) / 2 (eq. 8)."""
    return 1 + (s + 1) / 2

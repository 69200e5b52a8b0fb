"""The method once more, in float64 and plain Python loops, written from its description.

It shares no code with midas_core, knows no array library, and is meant to be read beside the equations. Lists come in,
lists go out: logits[i][c], features[m][i] a flat list, sources[m][v][i].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

VIEWS = 2


# Section 3.2: misaligned samples.


def fewest_same_class(labels):
    """How many samples must keep a partner of their own class: 2k - B, k the size of the largest class."""
    largest = max(labels.count(c) for c in labels)
    return max(0, 2 * largest - len(labels))


def is_valid_pairing(labels, permutation):
    """A permutation that leaves the fewest same-class pairs possible."""
    if sorted(permutation) != list(range(len(labels))):
        return False
    same = sum(labels[i] == labels[permutation[i]] for i in range(len(labels)))
    return same == fewest_same_class(labels)


def source_matrix(permutation, modalities, assignment=None):
    sources = [[[None] * len(permutation) for _ in range(VIEWS)] for _ in range(modalities)]
    for i in range(len(permutation)):
        participants = [i]
        for _ in range(modalities - 1):
            participants.append(permutation[participants[-1]])
        for m in range(modalities):
            turn = m if assignment is None else assignment[m][i]
            for v in range(VIEWS):
                sources[m][v][i] = participants[(turn + v) % modalities]
    return sources


# Section 3.3: confidences and soft labels.


def log_softmax(row):
    top = max(row)
    return [z - top - math.log(math.fsum(math.exp(w - top) for w in row)) for z in row]


def softmax(row):
    return [math.exp(x) for x in log_softmax(row)]


def normalise(log_confidences):
    """c[m] / sum_l c[l]; 1 / M where every c is 0 in double precision."""
    if all(math.exp(x) == 0.0 for x in log_confidences):
        return [1.0 / len(log_confidences)] * len(log_confidences)
    # The same quotient, with the digits that a tiny c has lost.
    top = max(log_confidences)
    parts = [math.exp(x - top) for x in log_confidences]
    return [x / math.fsum(parts) for x in parts]


def soft_label(shares, classes, num_classes):
    row = [0.0] * num_classes
    for share, c in zip(shares, classes, strict=True):
        row[c] += share
    return row


# Section 3.4: the weak modality.


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values) if values else 0.0


def update_alpha(alpha, weak, gap, eta, kind, cap):
    delta = gap if kind == "difference" else (gap > 0) - (gap < 0)
    moved = max(1.0, alpha[weak] + eta * delta)
    if cap is not None:
        moved = min(moved, cap)
    return [moved if m == weak else 1.0 for m in range(len(alpha))]


# Section 3.5: the hard-sample weight.


def length(x):
    return math.sqrt(math.fsum(v * v for v in x))


def cosine(a, b):
    if length(a) == 0 or length(b) == 0:
        return 0.0
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / (length(a) * length(b))


def l2_closeness(a, b):
    if length(a) + length(b) == 0:
        return 1.0
    return 1 - 2 * length([x - y for x, y in zip(a, b, strict=True)]) / (length(a) + length(b))


def similarity(features, sources, kind):
    measure = {"cosine": cosine, "l2": l2_closeness}[kind]
    modalities, batch = range(len(features)), range(len(features[0]))
    result = []
    for v in range(VIEWS):
        row = []
        for i in batch:
            new = [m for m in modalities if sources[m][v][i] != i]
            each = [measure(features[m][i], features[m][sources[m][v][i]]) for m in new]
            row.append(mean(each) if new else 1.0)
        result.append(row)
    return result


def hard_sample_weight(s):
    return 1 + (s + 1) / 2


# Section 3.6: the objective.


@dataclass
class Decision:
    """What a step decides by comparing numbers: which modality is weak, and whether alpha goes up or down."""

    weak: int
    sign: int


@dataclass
class Step:
    """All that one step gives."""

    total: list
    aligned: list
    unimodal: list
    misaligned: list
    alpha: list
    confidence: list
    fused_confidence: list
    soft_weights: list
    next_alpha: list
    next_step: int
    decision: Decision
    weak_margins: list
    gap: float
    gap_scale: float


def misaligned_loss(mixed, classes, soft_weights, i):
    """The mean over the views of - sum_m w[m] log p~[Y[m]]."""
    total = 0.0
    for v in range(VIEWS):
        log_p = log_softmax(mixed[v][i])
        for m in range(len(classes)):
            if soft_weights[m][v][i] != 0:
                total -= soft_weights[m][v][i] * log_p[classes[m][v][i]]
    return total / VIEWS


def losses(fused, unimodal, mixed, labels, classes, soft_weights, weight, variant):
    """The total of each sample with the soft weights held constant; without mixed logits, that of the warm-up."""
    result = []
    for i, y in enumerate(labels):
        own = [-log_softmax(z[i])[y] for z in unimodal]
        total = math.fsum(own) / (len(own) if variant == "official" else 1)
        if mixed is not None:
            total -= log_softmax(fused[i])[y]
            total += weight * misaligned_loss(mixed, classes, soft_weights, i)
        result.append(total)
    return result


def step(problem, decision=None):
    """Run one step of a problem (see strategies.py), with the decisions made here or given."""
    p, modalities, batch = problem, range(len(problem.unimodal)), range(len(problem.labels))
    official, warmup = p.variant == "official", p.mixed is None
    sources = source_matrix(p.permutation, len(p.unimodal), p.assignment)
    classes = [[[p.labels[j] for j in view] for view in of] for of in sources]
    log_c = [[log_softmax(z[i])[y] for i, y in enumerate(p.labels)] for z in p.unimodal]
    places = [(v, i) for v in range(VIEWS) for i in batch]
    used = [(v, i) for v, i in places if official or len({classes[m][v][i] for m in modalities}) > 1]

    shares = {(v, i): normalise([log_c[m][sources[m][v][i]] for m in modalities]) for v, i in places}
    confidence = [mean(shares[x][m] for x in used) for m in modalities]
    weakness = [mean(map(math.exp, row)) for row in log_c] if official else confidence
    weak = weakness.index(min(weakness))

    gap, gap_scale, fused_confidence = 0.0, 1.0, [math.nan] * len(modalities)
    if not warmup:
        log_p = {(v, i): log_softmax(p.mixed[v][i]) for v, i in places}
        picked = {(v, i): [log_p[v, i][classes[m][v][i]] for m in modalities] for v, i in places}
        fused_shares = {x: normalise(picked[x]) for x in places}
        fused_confidence = [mean(fused_shares[x][m] for x in used) for m in modalities]
        chosen = weak if decision is None else decision.weak
        gap = confidence[chosen] - fused_confidence[chosen]
        if official:
            ratios = []
            for v in range(VIEWS):
                first, second = (mean(math.exp(picked[v, i][m]) for i in batch) for m in (0, 1))
                ratios.append(first / second)
            own = weakness[0] / weakness[1]
            gap = (mean(ratios) - own) * (-1 if chosen == 0 else 1)
            gap_scale = 1 + own + mean(ratios)
    if decision is None:
        decision = Decision(weak, (gap > 0) - (gap < 0))

    alpha = list(p.alpha)
    if not warmup and (official or p.step == 0):
        alpha = [max(p.alpha) if m == decision.weak else 1.0 for m in modalities]
    next_alpha, next_step = list(p.alpha), p.step
    if used and not warmup:
        moved_by = gap if p.alpha_update == "difference" else decision.sign
        next_alpha = update_alpha(alpha, decision.weak, moved_by, p.eta, p.alpha_update, p.max_alpha)
        next_step = p.step + 1

    soft_weights = [[[0.0] * len(batch) for _ in range(VIEWS)] for _ in modalities]
    if not warmup:
        similarities = None if p.similarity is None else similarity(p.features, sources, p.similarity)
        for v, i in used:
            hard = 1.0 if similarities is None else hard_sample_weight(similarities[v][i])
            for m in modalities:
                soft_weights[m][v][i] = hard * alpha[m] * shares[v, i][m]
    return Step(
        total=losses(p.fused, p.unimodal, p.mixed, p.labels, classes, soft_weights, p.weight, p.variant),
        aligned=[-log_softmax(z)[y] for z, y in zip(p.fused, p.labels, strict=True)],
        unimodal=[[-x for x in row] for row in log_c],
        misaligned=[0.0 if warmup else misaligned_loss(p.mixed, classes, soft_weights, i) for i in batch],
        alpha=alpha,
        confidence=confidence,
        fused_confidence=fused_confidence,
        soft_weights=soft_weights,
        next_alpha=next_alpha,
        next_step=next_step,
        decision=decision,
        weak_margins=[x - min(weakness) for x in weakness],
        gap=gap,
        gap_scale=gap_scale,
    )


def steps_within_rounding(problem, tolerance):
    """Return every outcome that a computation with this rounding error may reach.

    Where two modalities are equally weak, or the gap is zero, a rounding error decides; all else is the same.
    """
    exact = step(problem)
    outcomes = [exact]
    for weak, margin in enumerate(exact.weak_margins):
        if margin <= tolerance:
            here = step(problem, Decision(weak, 0))
            close = abs(here.gap) <= tolerance * here.gap_scale
            signs = (-1, 0, 1) if close else ((here.gap > 0) - (here.gap < 0),)
            outcomes += [step(problem, Decision(weak, sign)) for sign in signs]
    return outcomes


# Gradients of the sum of the totals.


def closed_form_gradients(problem, soft_weights):
    """Softmax minus target, row by row; returns those of fused, unimodal and mixed logits."""
    p = problem
    sources = source_matrix(p.permutation, len(p.unimodal), p.assignment)

    def error(row, target, factor):
        mass = math.fsum(target)
        return [factor * (mass * q - t) for q, t in zip(softmax(row), target, strict=True)]

    def one_hot(row, y):
        return [float(c == y) for c in range(len(row))]

    each = 1 / len(p.unimodal) if p.variant == "official" else 1.0
    unimodal = [[error(row, one_hot(row, y), each) for row, y in zip(z, p.labels, strict=True)] for z in p.unimodal]
    present = 0.0 if p.mixed is None else 1.0
    fused = [error(row, one_hot(row, y), present) for row, y in zip(p.fused, p.labels, strict=True)]
    mixed = []
    for v in range(VIEWS):
        view = []
        for i, row in enumerate(p.fused if p.mixed is None else p.mixed[v]):
            target = [0.0] * len(row)
            for m in range(len(p.unimodal)):
                target[p.labels[sources[m][v][i]]] += soft_weights[m][v][i]
            view.append(error(row, target, present * p.weight / VIEWS))
        mixed.append(view)
    return fused, unimodal, mixed


def finite_difference(function, table, width=1e-5):
    """Return d function() / d entry, for every entry of a nested list, by central differences."""
    if isinstance(table[0], list):
        return [finite_difference(function, row, width) for row in table]
    result = []
    for k, value in enumerate(table):
        table[k] = value + width
        above = function()
        table[k] = value - width
        result.append((above - function()) / (2 * width))
        table[k] = value
    return result

"""The method once more, in float64 and plain Python loops, written from its description.

It shares no code with the rest of midas_core, knows no array library, and is meant to be read beside the equations.
Lists come in, lists go out: logits[i][c], features[m][i] a flat list, sources[m][v][i]. A label is a class, or, where
a sample may have several, a list with 0 or 1 for each class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

VIEWS = 2

Row = list[float]
Table = list[Row]
Cube = list[Table]
Sources = list[list[list[int]]]
Label = Any  # An int, or a list with 0 or 1 for each class.


# Sums that may hold NaN and infinities.


def add_up(values: Iterable[float]) -> float:
    """Return the sum; NaN where infinities cancel."""
    values = list(values)
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        return sum(values)


def mean(values: Iterable[float]) -> float:
    """Return the mean, 0 of nothing."""
    values = list(values)
    return add_up(values) / len(values) if values else 0.0


# Section 3.2: misaligned samples.


def below(number: float, count: int) -> int:
    """Return a whole number from 0 to count - 1, from a number in [0, 1)."""
    return min(int(number * count), count - 1)


def draw_partners(labels: list[int], numbers: Table) -> list[list[int]]:
    """Return partners[k][i]: the first of another class than sample i, the others any that do not yet take part."""
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
    """Return sources[m][v][i]: who supplies modality m of mixed sample i in version v."""
    batch = len(partners[0])
    sources = [[[0] * batch for _ in range(VIEWS)] for _ in range(modalities)]
    for i in range(batch):
        participants = [i, *(row[i] for row in partners)]
        for m in range(modalities):
            turn = m if assignment is None else assignment[m][i]
            for v in range(VIEWS):
                sources[m][v][i] = participants[(turn + v) % modalities]
    return sources


# Section 3.3: confidences and soft labels.


def log_softmax(row: Row) -> Row:
    """Return log p; NaN where it has no value."""
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
    # The same quotient, with the digits that a tiny c has lost.
    top = max(log_confidences)
    parts = [math.exp(x - top) for x in log_confidences]
    return [x / math.fsum(parts) for x in parts]


def log_sigmoid(z: float) -> float:
    """Return log(1 / (1 + exp(-z)))."""
    return min(z, 0.0) - math.log1p(math.exp(-abs(z)))


def smoothed_target(label: Label, classes: int, smoothing: float) -> Row:
    """Return what a row of probabilities should be."""
    if isinstance(label, list):
        return [(1 - smoothing) * y + smoothing / 2 for y in label]
    return [(1 - smoothing) * (c == label) + smoothing / classes for c in range(classes)]


def cross_entropy(row: Row, label: Label, smoothing: float = 0.0, class_weights: Row | None = None) -> float:
    """Return that of one class out of several; of a list of labels, the mean of the binary ones."""
    target = smoothed_target(label, len(row), smoothing)
    if not isinstance(label, list):
        return -math.fsum(t * x for t, x in zip(target, log_softmax(row), strict=True) if t != 0)
    each = [t * log_sigmoid(z) + (1 - t) * log_sigmoid(-z) for t, z in zip(target, row, strict=True)]
    return -mean(each if class_weights is None else [a * x for a, x in zip(class_weights, each, strict=True)])


def cross_entropy_slope(row: Row, label: Label, smoothing: float = 0.0, class_weights: Row | None = None) -> Row:
    """Return its derivative in every logit."""
    target = smoothed_target(label, len(row), smoothing)
    if not isinstance(label, list):
        return [q - t for q, t in zip(softmax(row), target, strict=True)]
    each = [(math.exp(log_sigmoid(z)) - t) / len(row) for t, z in zip(target, row, strict=True)]
    return each if class_weights is None else [a * x for a, x in zip(class_weights, each, strict=True)]


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


def similarity(features: Cube, sources: Sources, kind: str) -> Table:
    """Return s[v][i], the mean over the modalities that were replaced; 1 where none was."""
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


def hard_sample_weight(s: float) -> float:
    """Return 1 + (s + 1) / 2 (eq. 8)."""
    return 1 + (s + 1) / 2


# Section 3.6: the objective.


@dataclass
class Decision:
    """What a step decides by comparing numbers: which modality is weak, and whether alpha goes up or down."""

    weak: int
    sign: int


@dataclass
class Step:
    """What one step gives, all of it."""

    total: Row
    aligned: Row
    unimodal: Table
    misaligned: Row
    alpha: Row
    confidence: Row
    fused_confidence: Row
    soft_weights: Cube
    next_alpha: Row
    next_step: int
    decision: Decision
    weak_margins: Row
    gap: float
    gap_scale: float


def options(p: Any) -> tuple[float, Row | None]:
    """Return how every cross-entropy in a loss takes a label; that of a confidence takes it as it is."""
    several = isinstance(p.labels[0], list)
    return p.label_smoothing or 0.0, p.class_weights if several else None


def label_weight(p: Any, j: int) -> float:
    """Return the weight of all that is said about sample j."""
    own: float = 1.0 if p.sample_weight is None else p.sample_weight[j]
    several = p.class_weights is None or isinstance(p.labels[j], list)
    return own if several else own * p.class_weights[p.labels[j]]


def has(p: Any, j: int, m: int) -> bool:
    """Return whether sample j has modality m."""
    return p.present is None or bool(p.present[j][m])


def unimodal_factor(p: Any, m: int, i: int) -> float:
    """Return the weight of a sample times B / (number of samples with modality m): a mean over B is one over those."""
    if not has(p, i, m):
        return 0.0
    return label_weight(p, i) * len(p.labels) / sum(has(p, j, m) for j in range(len(p.labels)))


def unimodal_loss(p: Any, m: int, i: int) -> float:
    """Return the weighted cross-entropy of a unimodal classifier, 0 where the modality is missing."""
    if not has(p, i, m):
        return 0.0
    return unimodal_factor(p, m, i) * cross_entropy(p.unimodal[m][i], p.labels[i], *options(p))


def misaligned_loss(p: Any, sources: Sources, soft_weights: Cube, i: int) -> float:
    """Return the mean over the views of the sum over m of w[m] * CE(z~, y[S[m]])."""
    total = 0.0
    for v in range(VIEWS):
        for m in range(len(sources)):
            if soft_weights[m][v][i] != 0:
                label = p.labels[sources[m][v][i]]
                total += soft_weights[m][v][i] * cross_entropy(p.mixed[v][i], label, *options(p))
    return total / VIEWS


def losses(problem: Any, soft_weights: Cube) -> Row:
    """Return the total of each sample, the soft weights held constant; without mixed logits, that of the warm-up."""
    p, result = problem, []
    sources = source_matrix(p.partners, len(p.unimodal), p.assignment)
    for i, y in enumerate(p.labels):
        own = [unimodal_loss(p, m, i) for m in range(len(p.unimodal))]
        total = add_up(own) / (len(own) if p.variant == "official" else 1)
        if p.mixed is not None:
            total += label_weight(p, i) * cross_entropy(p.fused[i], y, *options(p))
            total += p.weight * misaligned_loss(p, sources, soft_weights, i)
        result.append(total)
    return result


def mean_confidence(logs: Iterable[float]) -> float:
    """Return the mean of exp of those that are finite."""
    return mean(math.exp(x) for x in logs if math.isfinite(x))


def labels_of(problem: Any) -> list[list[list[Label]]]:
    """Return labels[m][v][i], that which each modality of each mixed sample speaks for."""
    sources = source_matrix(problem.partners, len(problem.unimodal), problem.assignment)
    return [[[problem.labels[j] for j in view] for view in of] for of in sources]


def mixed_soft_labels(problem: Any) -> Cube:
    """Return the soft label of each mixed sample (eq. 3), view by view; logits of what is missing count as zeros."""
    p, modalities = problem, range(len(problem.unimodal))
    sources, classes = source_matrix(p.partners, len(p.unimodal), p.assignment), labels_of(p)
    result = []
    for v in range(VIEWS):
        view = []
        for i in range(len(p.labels)):
            who = [sources[m][v][i] for m in modalities]
            rows = [p.unimodal[m][j] if has(p, j, m) else [0.0] * len(p.fused[0]) for m, j in enumerate(who)]
            own = [log_softmax(row)[p.labels[j]] for row, j in zip(rows, who, strict=True)]
            view.append(soft_label(normalise(own), [classes[m][v][i] for m in modalities], len(p.fused[0])))
        result.append(view)
    return result


def step(problem: Any, decision: Decision | None = None) -> Step:
    """Run one step of a problem, as ``Problem.lists`` gives it, with the decisions made here or given.

    What is not finite spoils its own loss; alpha and the mean confidences are made from the rest.
    """
    p, modalities, batch = problem, range(len(problem.unimodal)), range(len(problem.labels))
    official, warmup = p.variant == "official", p.mixed is None
    sources = source_matrix(p.partners, len(p.unimodal), p.assignment)
    classes = labels_of(problem)
    log_c = [[-cross_entropy(z[i], y) for i, y in enumerate(p.labels)] for z in p.unimodal]
    places = [(v, i) for v in range(VIEWS) for i in batch]
    used = [(v, i) for v, i in places if official or any(classes[m][v][i] != classes[0][v][i] for m in modalities)]
    used = [(v, i) for v, i in used if all(has(p, sources[m][v][i], m) for m in modalities)]

    own = {(v, i): [log_c[m][sources[m][v][i]] for m in modalities] for v, i in places}
    shares = {x: normalise(own[x]) for x in places}
    picked: dict[tuple[int, int], Row] = {}
    if not warmup:
        picked = {(v, i): [-cross_entropy(p.mixed[v][i], classes[m][v][i]) for m in modalities] for v, i in places}
    counted = [x for x in used if all(map(math.isfinite, own[x] + picked.get(x, [])))]
    confidence = [mean(shares[x][m] for x in counted) for m in modalities]
    weakness = [mean_confidence(row) for row in log_c] if official else confidence
    weak = weakness.index(min(weakness))

    gap, gap_scale, fused_confidence = 0.0, 1.0, [math.nan] * len(modalities)
    if not warmup:
        fused_shares = {x: normalise(picked[x]) for x in counted}
        fused_confidence = [mean(fused_shares[x][m] for x in counted) for m in modalities]
        chosen = weak if decision is None else decision.weak
        gap = confidence[chosen] - fused_confidence[chosen]
        if official:
            ratios = []
            for v in range(VIEWS):
                first, second = (mean_confidence(picked[v, i][m] for i in batch) for m in (0, 1))
                ratios.append(first / second if second else math.nan)
            ratio = weakness[0] / weakness[1] if weakness[1] else math.nan
            gap = (mean(ratios) - ratio) * (-1 if chosen == 0 else 1)
            gap_scale = 1 + ratio + mean(ratios)
    if decision is None:
        decision = Decision(weak, (gap > 0) - (gap < 0))

    alpha = list(p.alpha)
    if not warmup and (official or p.step == 0):
        alpha = [max(p.alpha) if m == decision.weak else 1.0 for m in modalities]
    next_alpha, next_step = list(p.alpha), p.step
    if counted and not warmup:
        moved_by = gap if p.alpha_update == "difference" else decision.sign
        # The official ratio has no value where a mean confidence is 0: then nothing moves.
        moved_by = moved_by if math.isfinite(moved_by) else 0.0
        next_alpha = update_alpha(alpha, decision.weak, moved_by, p.eta, p.alpha_update, p.max_alpha)
        next_step = p.step + 1

    soft_weights = [[[0.0] * len(batch) for _ in range(VIEWS)] for _ in modalities]
    if not warmup:
        features = [[x if has(p, i, m) else [0.0] * len(x) for i, x in enumerate(f)] for m, f in enumerate(p.features)]
        similarities = None if p.similarity is None else similarity(features, sources, p.similarity)
        for v, i in used:
            hard = 1.0 if similarities is None else hard_sample_weight(similarities[v][i])
            for m in modalities:
                of_label = label_weight(p, sources[m][v][i])
                soft_weights[m][v][i] = hard * alpha[m] * shares[v, i][m] * of_label
    return Step(
        total=losses(p, soft_weights),
        aligned=[label_weight(p, i) * cross_entropy(p.fused[i], y, *options(p)) for i, y in enumerate(p.labels)],
        unimodal=[[unimodal_loss(p, m, i) for i in batch] for m in modalities],
        misaligned=[0.0 if warmup else misaligned_loss(p, sources, soft_weights, i) for i in batch],
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


def steps_within_rounding(problem: Any, tolerance: float) -> Iterator[Step]:
    """Yield every outcome that a computation with this rounding error may reach, the exact one first.

    Where two modalities are equally weak, or the gap is zero, a rounding error decides; all else is the same.
    """
    exact = step(problem)
    yield exact
    for weak, margin in enumerate(exact.weak_margins):
        if margin <= tolerance:
            here = step(problem, Decision(weak, 0))
            close = abs(here.gap) <= tolerance * here.gap_scale
            for sign in (-1, 0, 1) if close else ((here.gap > 0) - (here.gap < 0),):
                yield step(problem, Decision(weak, sign))


# Gradients of the sum of the totals.


def closed_form_gradients(problem: Any, soft_weights: Cube) -> tuple[Table, Cube, Cube]:
    """Return those of fused, unimodal and mixed logits, row by row."""
    p, modalities, batch = problem, range(len(problem.unimodal)), range(len(problem.labels))
    sources = source_matrix(p.partners, len(p.unimodal), p.assignment)

    def slope(row: Row, parts: list[tuple[float, int]]) -> Row:
        """Return the sum of factor * slope over (factor, label of sample j)."""
        total = [0.0] * len(row)
        for factor, j in parts:
            if factor != 0:
                slopes = cross_entropy_slope(row, p.labels[j], *options(p))
                total = [a + factor * b for a, b in zip(total, slopes, strict=True)]
        return total

    each = 1 / len(p.unimodal) if p.variant == "official" else 1.0
    after = 0.0 if p.mixed is None else 1.0
    unimodal = [[slope(p.unimodal[m][i], [(each * unimodal_factor(p, m, i), i)]) for i in batch] for m in modalities]
    fused = [slope(p.fused[i], [(after * label_weight(p, i), i)]) for i in batch]
    mixed = []
    for v in range(VIEWS):
        rows = p.fused if p.mixed is None else p.mixed[v]
        scale = after * p.weight / VIEWS
        parts = [[(scale * soft_weights[m][v][i], sources[m][v][i]) for m in modalities] for i in batch]
        mixed.append([slope(rows[i], parts[i]) for i in batch])
    return fused, unimodal, mixed


def finite_difference(function: Callable[[], float], table: Any, width: float = 1e-5) -> Any:
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

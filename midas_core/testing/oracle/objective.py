"""Section 3.6: a step of the objective, its losses, and its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .equations import (
    VIEWS,
    Cube,
    Label,
    Row,
    Sources,
    Table,
    add_up,
    cross_entropy,
    cross_entropy_slope,
    hard_sample_weight,
    log_softmax,
    mean,
    normalise,
    pool_tokens,
    similarity,
    soft_label,
    source_matrix,
    update_alpha,
)


@dataclass
class Decision:
    """Decisions of a step: the weak modality, and whether alpha goes up or down."""

    weak: int
    sign: int


@dataclass
class Step:
    """Results of one step."""

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
    """Return label smoothing and class weights of the cross-entropies in a loss; confidences use neither."""
    several = isinstance(p.labels[0], list)
    return p.label_smoothing or 0.0, p.class_weights if several else None


def label_weight(p: Any, j: int) -> float:
    """Return the weight of every loss with the label of sample j."""
    weight: float = 1.0 if p.sample_weight is None else p.sample_weight[j]
    several = p.class_weights is None or isinstance(p.labels[j], list)
    return weight if several else weight * p.class_weights[p.labels[j]]


def has(p: Any, j: int, m: int) -> bool:
    """Return whether sample j has modality m."""
    return p.present is None or bool(p.present[j][m])


def lacks(p: Any, m: int, v: int, i: int) -> bool:
    """Return whether modality m of a mixed sample without a partner is absent."""
    return p.absent is not None and p.absent[m][v][i]


def is_alone(p: Any, v: int, i: int) -> bool:
    """Return whether a mixed sample has no partner."""
    return any(lacks(p, m, v, i) for m in range(len(p.unimodal)))


def sources_of(p: Any) -> Sources:
    """Return sources[m][v][i]; a mixed sample without a partner has sources i only."""
    sources = source_matrix(p.partners, len(p.unimodal), p.assignment)
    return [[[i if is_alone(p, v, i) else j for i, j in enumerate(of[v])] for v in range(VIEWS)] for of in sources]


def shares_of(p: Any, log_c: Row, v: int, i: int) -> Row:
    """Return the normalised confidences of a mixed sample, 0 for absent modalities."""
    here = [m for m in range(len(log_c)) if not lacks(p, m, v, i)]
    shares = dict(zip(here, normalise([log_c[m] for m in here]), strict=True))
    return [shares.get(m, 0.0) for m in range(len(log_c))]


def unimodal_factor(p: Any, m: int, i: int) -> float:
    """Return the sample weight times B / (number of samples with modality m)."""
    if not has(p, i, m):
        return 0.0
    return label_weight(p, i) * len(p.labels) / sum(has(p, j, m) for j in range(len(p.labels)))


def unimodal_loss(p: Any, m: int, i: int) -> float:
    """Return the weighted cross-entropy of a unimodal classifier, 0 where the modality is missing."""
    if not has(p, i, m):
        return 0.0
    return unimodal_factor(p, m, i) * cross_entropy(p.unimodal[m][i], p.labels[i], *options(p))


def misaligned_loss(p: Any, sources: Sources, soft_weights: Cube, i: int) -> float:
    """Return the mean over versions of sum_m w[m] * CE(mixed logits, label of the source of m)."""
    total = 0.0
    for v in range(VIEWS):
        for m in range(len(sources)):
            if soft_weights[m][v][i] != 0:
                label = p.labels[sources[m][v][i]]
                total += soft_weights[m][v][i] * cross_entropy(p.mixed[v][i], label, *options(p))
    return total / VIEWS


def losses(problem: Any, soft_weights: Cube) -> Row:
    """Return the total loss of each sample with constant soft weights; one loss alone before and after the mixing."""
    p, result = problem, []
    sources = sources_of(p)
    for i, y in enumerate(p.labels):
        terms = [unimodal_loss(p, m, i) for m in range(len(p.unimodal))]
        unimodal = add_up(terms) / (len(terms) if p.variant == "official" else 1)
        aligned = label_weight(p, i) * cross_entropy(p.fused[i], y, *options(p))
        if p.aligned_only:
            result.append(aligned)
        elif p.mixed is None:
            result.append(unimodal)
        else:
            result.append(unimodal + aligned + p.weight * misaligned_loss(p, sources, soft_weights, i))
    return result


def mean_confidence(logs: Iterable[float]) -> float:
    """Return the mean of exp(x) over finite x."""
    return mean(math.exp(x) for x in logs if math.isfinite(x))


def labels_of(problem: Any) -> list[list[list[Label]]]:
    """Return labels[m][v][i], the label of the source of modality m."""
    sources = sources_of(problem)
    return [[[problem.labels[j] for j in view] for view in of] for of in sources]


def mixed_soft_labels(problem: Any) -> Cube:
    """Return the soft label of every mixed sample (eq. 3); missing modalities have logits of zero."""
    p, modalities = problem, range(len(problem.unimodal))
    sources, classes = sources_of(p), labels_of(p)
    result = []
    for v in range(VIEWS):
        view = []
        for i in range(len(p.labels)):
            who = [sources[m][v][i] for m in modalities]
            rows = [p.unimodal[m][j] if has(p, j, m) else [0.0] * len(p.fused[0]) for m, j in enumerate(who)]
            log_c = [log_softmax(row)[p.labels[j]] for row, j in zip(rows, who, strict=True)]
            view.append(soft_label(shares_of(p, log_c, v, i), [classes[m][v][i] for m in modalities], len(p.fused[0])))
        result.append(view)
    return result


def vector(p: Any, m: int, i: int) -> Row:
    """Return the feature of modality m of sample i as it is compared: zeros where missing, of a sequence the mean."""
    feature = p.features[m][i]
    if isinstance(feature[0], list):
        feature = pool_tokens(feature, None if p.mask is None else p.mask[i])
    return feature if has(p, i, m) else [0.0] * len(feature)


def step(problem: Any, decision: Decision | None = None) -> Step:
    """Run one step of a problem in the form of ``Problem.lists``; ``decision`` overrides the computed one.

    Non-finite samples affect their own losses only; alpha and mean confidences use the others.
    """
    p, modalities, batch = problem, range(len(problem.unimodal)), range(len(problem.labels))
    official, warmup = p.variant == "official", p.mixed is None
    sources = sources_of(p)
    classes = labels_of(problem)
    log_c = [[-cross_entropy(z[i], y) for i, y in enumerate(p.labels)] for z in p.unimodal]
    places = [(v, i) for v in range(VIEWS) for i in batch]
    two_classes = [(v, i) for v, i in places if any(classes[m][v][i] != classes[0][v][i] for m in modalities)]
    used = [(v, i) for v, i in places if official or (v, i) in two_classes or is_alone(p, v, i)]
    used = [(v, i) for v, i in used if all(lacks(p, m, v, i) or has(p, sources[m][v][i], m) for m in modalities)]

    of_pair = {(v, i): [log_c[m][sources[m][v][i]] for m in modalities] for v, i in places}
    shares = {x: shares_of(p, of_pair[x], *x) for x in places}
    picked: dict[tuple[int, int], Row] = {}
    if not warmup:
        picked = {(v, i): [-cross_entropy(p.mixed[v][i], classes[m][v][i]) for m in modalities] for v, i in places}
    counted = [x for x in used if not is_alone(p, *x) and all(map(math.isfinite, of_pair[x] + picked.get(x, [])))]
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
        # The official ratio is undefined where a mean confidence is 0; alpha then stays.
        moved_by = moved_by if math.isfinite(moved_by) else 0.0
        next_alpha = update_alpha(alpha, decision.weak, moved_by, p.eta, p.alpha_update, p.max_alpha)
        next_step = p.step + 1

    soft_weights = [[[0.0] * len(batch) for _ in range(VIEWS)] for _ in modalities]
    if not warmup:
        features = [[vector(p, m, i) for i in batch] for m in modalities]
        similarities = None if p.similarity is None else similarity(features, sources, p.similarity)
        for v, i in used:
            hard = 1.0 if similarities is None or is_alone(p, v, i) else hard_sample_weight(similarities[v][i])
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
    """Yield the exact step, then every other outcome that rounding errors of this size can cause.

    They decide which of two equally weak modalities is weaker, and the sign of a gap of zero.
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
    """Return the gradients of fused, unimodal and mixed logits."""
    p, modalities, batch = problem, range(len(problem.unimodal)), range(len(problem.labels))
    sources = sources_of(p)

    def slope(row: Row, parts: list[tuple[float, int]]) -> Row:
        """Return the sum of factor * slope over (factor, label of sample j)."""
        total = [0.0] * len(row)
        for factor, j in parts:
            if factor != 0:
                slopes = cross_entropy_slope(row, p.labels[j], *options(p))
                total = [a + factor * b for a, b in zip(total, slopes, strict=True)]
        return total

    share = 1 / len(p.unimodal) if p.variant == "official" else 1.0
    share = 0.0 if p.aligned_only else share
    mixes = 0.0 if p.mixed is None else 1.0
    after = 1.0 if p.aligned_only else mixes
    unimodal = [[slope(p.unimodal[m][i], [(share * unimodal_factor(p, m, i), i)]) for i in batch] for m in modalities]
    fused = [slope(p.fused[i], [(after * label_weight(p, i), i)]) for i in batch]
    mixed = []
    for v in range(VIEWS):
        rows = p.fused if p.mixed is None else p.mixed[v]
        scale = mixes * p.weight / VIEWS
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

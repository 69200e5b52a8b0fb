"""A training step of `midas_core.adapters.torch.MidasLoss`, compared to the oracle."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np

import midas_core as mc
from midas_core.partners import draw_partners, plain_permutation
from midas_core.testing import oracle
from midas_core.testing.checks import compare, flat, match_any
from midas_core.testing.framework import Framework
from midas_core.testing.problems import Problem, problems

LOSSES = ("total", "aligned", "unimodal", "misaligned")
TERMS = (*LOSSES, "alpha", "confidence", "fused_confidence")
HEADS = ("linear", "linear", "function", "mlp")
HIDDEN = 5


@dataclass(frozen=True)
class CriterionCase:
    """A step of the criterion; of the problem count features, labels, options and state."""

    problem: Problem
    seed: int
    # One of HEADS. A linear layer, also the first one of an MLP, runs as partial products; a function runs as it is.
    head: str
    reduction: str
    # Whether the gradient is taken of the sum of the terms instead of the total.
    from_terms: bool = False

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print as `repr` does: Hypothesis would spell every field."""
        printer.text(repr(self))


def criterion_cases() -> st.SearchStrategy[CriterionCase]:
    """Draw a step of the criterion."""
    return st.builds(
        CriterionCase,
        problems(scales=(0.0, 0.3, 3.0, 50.0)),
        st.integers(0, 2**31 - 1),
        st.sampled_from(HEADS),
        st.sampled_from(("mean", "mean", "sum", "none")),
        st.booleans(),
    )


def check_criterion(framework: Framework, case: CriterionCase) -> float:
    """Compare terms, gradients of features and weights, and the next state to the oracle; return the largest error."""
    import torch

    p = case.problem
    heads = _heads(framework, case)
    criterion = _criterion(case, heads[1:]).to(framework.device)
    criterion.alpha.copy_(framework.array(p.alpha))
    criterion.step.fill_(p.step)
    labels = framework.array(p.labels)
    beside = {name: getattr(p, name) for name in ("sample_weight", "present")}
    beside = {name: None if x is None else framework.array(x) for name, x in beside.items()}
    features = [framework.array(x).requires_grad_() for x in _rows(p)]

    exact_heads = [copy.deepcopy(head).double() for head in heads]
    exact = [x.detach().double().requires_grad_() for x in features]
    reference, logits = reference_step(
        criterion,
        exact,
        labels,
        lambda rows: exact_heads[0](torch.cat(rows, dim=1)),
        framework.rng(case.seed),
        unimodal_heads=exact_heads[1:],
        dtype=p.dtype,
        **beside,
    )

    fused = heads[0]
    terms = criterion.terms(
        features,
        labels,
        head=(lambda x: fused(x)) if case.head == "function" else fused,
        generator=framework.rng(case.seed),
        **beside,
    )
    # In the warm-up the total alone has a gradient, zero, for the fused head.
    from_terms = case.from_terms and p.mixed is not None
    (_total_of(terms, p) if from_terms else terms.total).sum().backward()
    actual = {name: getattr(terms, name) for name in TERMS}
    actual |= {"next_alpha": criterion.alpha, "next_step": criterion.step}
    leaves = [*features, *(x for head in heads for x in head.parameters())]
    exact_leaves = [*exact, *(x for head in exact_heads for x in head.parameters())]
    options: dict[str, Any] = {
        "tolerance": reference.tolerance,
        "rounding": reference.tolerance,
        "reduction": case.reduction,
    }
    return compare_step(reference, logits, exact_leaves, actual, [x.grad for x in leaves], **options)


def compare_step(
    reference: Problem,
    logits: Sequence[Any],
    exact_leaves: Sequence[Any],
    actual: dict[str, Any],
    gradients: Sequence[Any],
    *,
    tolerance: float,
    rounding: float,
    reduction: str,
) -> float:
    """Compare terms and gradients of a step to the oracle, within ``rounding`` of its decisions; see `match_any`."""
    import torch

    plain, numpy = reference.lists(), mc.backends.load_backend("torch").to_numpy
    results = {name: numpy(x) for name, x in actual.items()}
    size = len(reference.labels) if reduction == "mean" else 1

    def check(step: oracle.Step) -> float:
        expected = reduced_terms(step, reduction) | {"next_alpha": step.next_alpha, "next_step": step.next_step}
        errors = [
            compare(f"{name} loss" if name in LOSSES else name, x, expected[name], tolerance)
            for name, x in results.items()
        ]
        closed = flat(oracle.closed_form_gradients(plain, step.soft_weights))
        slopes = [torch.as_tensor(x, dtype=z.dtype, device=z.device) for x, z in zip(closed, logits, strict=True)]
        options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
        exact = torch.autograd.grad(logits, exact_leaves, slopes, **options)
        for k, (x, slope) in enumerate(zip(gradients, exact, strict=True)):
            name = f"gradient {k} of features and weights"
            errors.append(compare(name, numpy(x), numpy(slope) / size, tolerance))
        return max(errors)

    return match_any(plain, rounding, check)


def reference_step(
    criterion: Any,
    features: Sequence[Any],
    labels: Any,
    head: Callable[[list[Any]], Any],
    rng: Any,
    *,
    sample_weight: Any = None,
    present: Any = None,
    unimodal_heads: Sequence[Any] | None = None,
    dtype: Any = np.float64,
) -> tuple[Problem, list[Any]]:
    """Return a step of the PyTorch criterion as a problem for the oracle, and its logits with their graph.

    Call it before the step itself, with an equal generator: it reads the state. Every head runs version by version.
    """
    import torch

    backend = mc.backends.load_backend("torch")
    count = len(features)
    ids = mc.pairing.label_ids(labels) if criterion.multi_label else labels
    numbers = mc.draw(ids, count, rng, absent=criterion.absent_share > 0)
    official = criterion.variant == "official"
    partners = (
        plain_permutation(numbers.partners[0, ...])[None] if official else draw_partners(ids, numbers.partners)
    ).tolist()
    assignment = None if numbers.modalities is None else numbers.modalities.argsort(dim=0).tolist()
    absent = None
    if numbers.absent is not None:
        absent = oracle.absent_modalities(numbers.absent.tolist(), count, criterion.absent_share)
    pairing = SimpleNamespace(unimodal=features, partners=partners, assignment=assignment, absent=absent)
    sources = torch.tensor(oracle.sources_of(pairing), device=labels.device)
    kept = torch.ones_like(sources) if absent is None else 1 - torch.tensor(absent, device=labels.device).long()

    known = list(features)
    if present is not None:
        known = [torch.where(present[:, m, None], f, 0) for m, f in enumerate(features)]
    fused = head(known)
    unimodal = [h(f) for h, f in zip(unimodal_heads or criterion.unimodal_heads, known, strict=True)]
    views = [[f[sources[m, v]] * kept[m, v][:, None] for m, f in enumerate(known)] for v in range(oracle.VIEWS)]
    mixed = torch.stack([head(view) for view in views])

    def array(x: Any) -> Any:
        # A copy: the criterion updates its buffers.
        return None if x is None else backend.to_numpy(x).copy()

    aligned_only = criterion.aligned_from is not None and bool(criterion.epoch >= criterion.aligned_from)
    mixes = not aligned_only and bool(criterion.epoch >= criterion.warmup_epochs)
    problem = Problem(
        labels=array(labels),
        features=[array(f) for f in known],
        fused=array(fused).astype(dtype),
        unimodal=[array(z).astype(dtype) for z in unimodal],
        mixed=array(mixed).astype(dtype) if mixes else None,
        aligned_only=aligned_only,
        partners=np.array(partners),
        assignment=None if assignment is None else np.array(assignment),
        absent=None if absent is None else np.array(absent),
        alpha=array(criterion.alpha),
        step=int(criterion.step),
        sample_weight=array(sample_weight),
        class_weights=array(criterion.class_weights),
        present=array(present),
        **{name: getattr(criterion, name) for name in OPTIONS},
    )
    return problem, [fused, *unimodal, mixed]


OPTIONS = (*("similarity", "weight", "eta", "variant", "alpha_update", "max_alpha", "label_smoothing", "absent_share"),)
"""Fields of `Problem` that are attributes of the criterion."""


def reduced_terms(step: oracle.Step, reduction: str) -> dict[str, np.ndarray]:
    """Return the terms of a step as the criterion returns them."""
    reduce: dict[str, Any] = {"mean": np.mean, "sum": np.sum, "none": lambda x, axis: x}
    values = {name: np.array(getattr(step, name)) for name in TERMS}
    return values | {name: reduce[reduction](values[name], axis=-1) for name in LOSSES}


def _rows(p: Problem) -> list[np.ndarray]:
    """Return the features as rows (B, D): linear heads take no sequences."""
    features = p.features if p.mask is None else [*p.features[:-1], np.where(p.mask[..., None], p.features[-1], 0)]
    return [x.reshape(len(x), -1) for x in features]


def _heads(framework: Framework, case: CriterionCase) -> list[Any]:
    """Return the fused and the unimodal heads, with logits about as large as the problem's."""
    import torch

    p, rng = case.problem, np.random.default_rng(case.seed)
    widths, classes = [x.shape[1] for x in _rows(p)], p.fused.shape[1]
    scale = float(np.abs(p.fused).max()) / 3

    def linear(width: int, outputs: int, size: float) -> Any:
        layer = torch.nn.Linear(width, outputs)
        weight, bias = size * rng.normal(size=(outputs, width)) / np.sqrt(width), rng.normal(size=outputs)
        layer.weight.data, layer.bias.data = (framework.array(x.astype(p.dtype)) for x in (weight, bias))
        return layer

    if case.head == "mlp":
        first, last = linear(sum(widths), HIDDEN, 1.0), linear(HIDDEN, classes, scale)
        fused = torch.nn.Sequential(first, torch.nn.Tanh(), last)
    else:
        fused = linear(sum(widths), classes, scale)
    return [fused, *(linear(width, classes, scale) for width in widths)]


def _criterion(case: CriterionCase, unimodal_heads: list[Any]) -> Any:
    from midas_core.adapters.torch import MidasLoss

    p = case.problem
    criterion = MidasLoss(
        num_classes=p.fused.shape[1],
        unimodal_heads=unimodal_heads,
        warmup_epochs=int(p.mixed is None and not p.aligned_only),
        aligned_from=0 if p.aligned_only else None,
        reduction=case.reduction,
        class_weights=None if p.class_weights is None else p.class_weights.tolist(),
        multi_label=p.labels.ndim == 2,
        **{name: getattr(p, name) for name in OPTIONS} | {"label_smoothing": p.label_smoothing or 0.0},
    )
    criterion.set_epoch(0)
    return criterion


def _total_of(terms: Any, p: Problem) -> Any:
    """Return the total of eq. 11, from its terms."""
    unimodal = terms.unimodal.sum(dim=0) / (len(p.unimodal) if p.variant == "official" else 1)
    return terms.aligned + unimodal + p.weight * terms.misaligned

"""A step of `midas_core.adapters.torch.MidasLoss` as users run it, compared to the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np

import midas_core as mc
from midas_core.partners import draw_partners, plain_permutation
from midas_core.testing import oracle
from midas_core.testing.checks import compare
from midas_core.testing.framework import Framework
from midas_core.testing.problems import Problem, problems

TERMS = ("total", "aligned", "unimodal", "misaligned", "alpha", "confidence", "fused_confidence")
HEADS = ("linear", "linear", "function")


@dataclass(frozen=True)
class CriterionCase:
    """A step of the criterion with linear heads.

    Attributes
    ----------
    problem : Problem
        Its features, labels, options and state; the logits are those of the heads.
    seed : int
        Of the weights of the heads, and of the pairs.
    head : {"linear", "function"}
        Whether the criterion sees that the fused head is linear, and may take partial products.
    reduction : {"mean", "sum", "none"}
    from_terms : bool
        Whether the total is put together from its terms, and differentiated through them.
    """

    problem: Problem
    seed: int
    head: str
    reduction: str
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
    """Compare terms, gradients in features and weights, and the next state to the oracle's.

    Returns
    -------
    float
        The largest error, 1 being what is allowed.
    """
    weights = _weights(case)
    problem = _with_logits(framework, case, weights)
    found = _run(framework, case, weights)
    tolerance, plain = problem.tolerance, problem.lists()
    failures = []
    for step in oracle.steps_within_rounding(plain, tolerance):
        expected = _expected(plain, step, problem.features, weights, case.reduction)
        try:
            return max(compare(name, found[name], x, tolerance) for name, x in expected.items())
        except AssertionError as failure:
            failures.append(failure)
    raise failures[0]


def _features(p: Problem) -> list[np.ndarray]:
    """Return one row for each sample: linear heads take no sequences."""
    features = p.features if p.mask is None else [*p.features[:-1], np.where(p.mask[..., None], p.features[-1], 0)]
    return [x.reshape(len(x), -1) for x in features]


def _weights(case: CriterionCase) -> list[np.ndarray]:
    """Return weight (C, D) and bias (C,) of the fused head, then of each unimodal one; the features are of size 1."""
    p, rng = case.problem, np.random.default_rng(case.seed)
    widths, classes = [x.shape[1] for x in _features(p)], p.fused.shape[1]
    # The logits of the problem are used for their size alone.
    scale = float(np.abs(p.fused).max()) / 3
    found = []
    for d in (sum(widths), *widths):
        found += [scale * rng.normal(size=(classes, d)) / np.sqrt(d), rng.normal(size=classes)]
    return [x.astype(p.dtype) for x in found]


def _with_logits(framework: Framework, case: CriterionCase, weights: list[np.ndarray]) -> Problem:
    """Return the problem with the pairs that the criterion draws, and with the logits of the heads."""
    p, count = case.problem, len(case.problem.unimodal)
    labels = framework.array(p.labels)
    ids = mc.pairing.label_ids(labels) if p.labels.ndim == 2 else labels
    numbers = mc.draw(ids, count, framework.rng(case.seed), absent=p.absent_share > 0)
    if p.variant == "official":
        partners = plain_permutation(numbers.partners[0, ...])[None]
    else:
        partners = draw_partners(ids, numbers.partners)
    assignment = None if numbers.modalities is None else np.argsort(framework.numpy(numbers.modalities), axis=0)
    partners = framework.numpy(partners)
    absent = None
    if numbers.absent is not None:
        drawn = framework.numpy(numbers.absent).tolist()
        absent = np.array(oracle.absent_modalities(drawn, count, p.absent_share))
    p = replace(p, features=_features(p), mask=None, partners=partners, assignment=assignment, absent=absent)
    sources = np.array(oracle.sources_of(p.lists()))
    left = np.ones(sources.shape) if absent is None else ~absent

    present = np.ones((len(p.labels), count), bool) if p.present is None else p.present
    known = [np.where(present[:, m, None], f, 0).astype(np.float64) for m, f in enumerate(_features(p))]
    mixed = [
        np.concatenate([f[s[v]] * here[v][:, None] for f, s, here in zip(known, sources, left, strict=True)], axis=1)
        for v in range(2)
    ]

    def logits(x: np.ndarray, k: int) -> np.ndarray:
        weight, bias = (w.astype(np.float64) for w in weights[2 * k : 2 * k + 2])
        return (x @ weight.T + bias).astype(p.dtype)

    return replace(
        p,
        features=known,
        fused=logits(np.concatenate(known, axis=1), 0),
        unimodal=[logits(f, m + 1) for m, f in enumerate(known)],
        mixed=None if p.mixed is None else logits(np.stack(mixed), 0),
    )


def _run(framework: Framework, case: CriterionCase, weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Run one training step, and return terms, gradients and state by name."""
    import torch

    from midas_core.adapters.torch import MidasLoss

    p, reduction = case.problem, case.reduction
    layers = []
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        layers.append(torch.nn.Linear(*reversed(weight.shape)))
        layers[-1].weight.data, layers[-1].bias.data = framework.array(weight), framework.array(bias)
    fused, *unimodal = layers
    criterion = MidasLoss(
        num_classes=p.fused.shape[1],
        unimodal_heads=unimodal,
        weight=p.weight,
        eta=p.eta,
        warmup_epochs=int(p.mixed is None),
        variant=p.variant,
        reduction=reduction,
        similarity=p.similarity,
        alpha_update=p.alpha_update,
        max_alpha=p.max_alpha,
        label_smoothing=p.label_smoothing or 0.0,
        class_weights=None if p.class_weights is None else p.class_weights.tolist(),
        multi_label=p.labels.ndim == 2,
        absent_share=p.absent_share,
    ).to(framework.device)
    criterion.set_epoch(0)
    criterion.alpha.copy_(framework.array(p.alpha))
    criterion.step.fill_(p.step)
    features = [framework.array(x).requires_grad_() for x in _features(p)]
    terms = criterion.terms(
        features,
        framework.array(p.labels),
        head=fused if case.head == "linear" else lambda x: fused(x),
        generator=framework.rng(case.seed),
        sample_weight=None if p.sample_weight is None else framework.array(p.sample_weight),
        present=None if p.present is None else framework.array(p.present),
    )
    # In the warm-up the total alone has a gradient, zero, for the fused head.
    from_terms = case.from_terms and p.mixed is not None
    (_put_together(terms, p) if from_terms else terms.total).sum().backward()
    found = {name: getattr(terms, name) for name in TERMS} | {
        "next_alpha": criterion.alpha,
        "next_step": criterion.step,
    }
    found |= {f"gradient of feature {m}": x.grad for m, x in enumerate(features)}
    for k, layer in enumerate(layers):
        found |= {f"gradient of weight {k}": layer.weight.grad, f"gradient of bias {k}": layer.bias.grad}
    return {name: framework.numpy(x) for name, x in found.items()}


def _put_together(terms: Any, p: Problem) -> Any:
    """Return the total of eq. 11 from its terms."""
    unimodal = terms.unimodal.sum(dim=0) / (len(p.unimodal) if p.variant == "official" else 1)
    return terms.aligned + unimodal + p.weight * terms.misaligned


def _expected(
    plain: Any, step: oracle.Step, features: list[np.ndarray], weights: list[np.ndarray], reduction: str
) -> dict[str, Any]:
    """Return what the oracle makes of the step; its gradients of logits are carried to features and weights."""
    batch = len(plain.labels)
    reductions: dict[str, Any] = {"mean": np.mean, "sum": np.sum, "none": lambda x, axis: x}
    found = {name: np.array(getattr(step, name)) for name in (*TERMS, "next_alpha", "next_step")}
    found |= {
        name: reductions[reduction](found[name], axis=-1) for name in ("total", "aligned", "unimodal", "misaligned")
    }
    sources = np.array(oracle.sources_of(plain))
    left = np.ones(sources.shape) if plain.absent is None else ~np.array(plain.absent)
    # (B, C), (M, B, C), (V, B, C)
    fused, unimodal, mixed = map(np.array, oracle.closed_form_gradients(plain, step.soft_weights))
    columns = np.split(weights[0].astype(np.float64), np.cumsum([f.shape[1] for f in features])[:-1], axis=1)
    of_columns = []
    for m, (f, column) in enumerate(zip(features, columns, strict=True)):
        # Each row of a feature is used by its own sample, and by each that it is mixed into.
        of_part = fused.copy()
        for v in range(2):
            np.add.at(of_part, sources[m, v], mixed[v] * left[m, v][:, None])
        here = [oracle.has(plain, i, m) for i in range(batch)]
        of_feature = of_part @ column + unimodal[m] @ weights[2 * m + 2].astype(np.float64)
        found[f"gradient of feature {m}"] = np.where(np.array(here)[:, None], of_feature, 0)
        found[f"gradient of weight {m + 1}"] = unimodal[m].T @ f
        found[f"gradient of bias {m + 1}"] = unimodal[m].sum(axis=0)
        of_columns.append(of_part.T @ f)
    found["gradient of weight 0"] = np.concatenate(of_columns, axis=1)
    found["gradient of bias 0"] = fused.sum(axis=0) + mixed.sum(axis=(0, 1))
    size = batch if reduction == "mean" else 1
    return {name: x / size if name.startswith("gradient") else x for name, x in found.items()}

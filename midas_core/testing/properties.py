"""Properties of every backend: cases to draw, and a check of one case."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np

import midas_core as mc
from midas_core.partners import draw_partners, plain_permutation
from midas_core.testing import oracle
from midas_core.testing.cases import EXTREMES, Pairing, extreme, in_half_precision, pairings, spoiled, touched
from midas_core.testing.checks import (
    check_autograd,
    check_finite_differences,
    compare,
    compare_to_oracle,
    require_that,
)
from midas_core.testing.criterion import CriterionCase, check_criterion, criterion_cases
from midas_core.testing.framework import Framework
from midas_core.testing.problems import Problem, make_problem, problems


class Inapplicable(Exception):  # noqa: N818
    """The property does not apply to a backend; the message says why."""


@dataclass(frozen=True)
class Property:
    """A statement that holds for every drawn case.

    Attributes
    ----------
    name, summary : str
    cases : callable
        From a `Framework` to a Hypothesis strategy, or raises `Inapplicable`.
    check : callable
        From a `Framework` and a case to the largest error in units of the allowed one, or raises ``AssertionError``.
    """

    name: str
    summary: str
    cases: Callable[[Framework], st.SearchStrategy[Any]]
    check: Callable[[Framework, Any], float]


LABELS = ("soft_labels", "soft_weights", "confidence", "fused_confidence")
LOSSES = ("total", "aligned", "unimodal", "misaligned")
ALPHA = ("alpha", "next_alpha", "next_step")


def _problems(framework: Framework, **options: Any) -> st.SearchStrategy[Problem]:
    return problems(framework.shapes, among=framework.structures, **options)


def _check_pairs(framework: Framework, case: Pairing) -> float:
    """Compare pairs, source matrix, gather, classes and mask."""
    bk, count = framework.backend, case.modalities
    labels, features = case.labels.tolist(), case.features
    with framework.scope(np.float32):
        numbers = mc.partners.Draw(*(None if x is None else framework.array(x) for x in case.numbers))
        classes = framework.array(case.labels)
        plain = framework.numpy(plain_permutation(numbers.partners[0, ...], backend=bk)).tolist()
        partners = framework.numpy(draw_partners(classes, numbers.partners, backend=bk))
        pairs = mc.draw_pairs(numbers, classes, count, absent_share=case.absent_share, backend=bk)
        rows = [framework.array(f) for f in features]
        mixed = [framework.numpy(x) for x in mc.mix(rows, pairs.sources, absent=pairs.absent, backend=bk)]
        sources, of_class, mask = (framework.numpy(x) for x in pairs[:3])
        absent = np.zeros(sources.shape, bool) if pairs.absent is None else framework.numpy(pairs.absent)
    require_that(sorted(plain) == list(range(len(labels))), f"plain_permutation: expected a permutation, got {plain}")
    compare("draw_partners", partners, oracle.draw_partners(labels, case.numbers.partners.tolist()), 1e-9)
    assignment = None if case.numbers.modalities is None else np.argsort(case.numbers.modalities, axis=0).tolist()
    drawn = None
    if case.numbers.absent is not None:
        drawn = oracle.absent_modalities(case.numbers.absent.tolist(), count, case.absent_share)
        compare("absent", absent, drawn, 1e-9)
    pairing = SimpleNamespace(partners=partners.tolist(), assignment=assignment, unimodal=features, absent=drawn)
    expected = oracle.sources_of(pairing)
    compare("sources", sources, expected, 1e-9)
    compare("classes", of_class, case.labels[np.array(expected)], 1e-9)
    several = np.array([[len({labels[s[v][i]] for s in expected}) > 1 for i in range(len(labels))] for v in range(2)])
    several |= absent.any(axis=0)
    require_that(np.array_equal(mask, several), f"mask: {mask.tolist()}, expected {several.tolist()}")
    for m, mixed_rows in enumerate(mixed):
        expected_rows = np.where(absent[m][..., None, None], 0, features[m][np.array(expected[m])])
        require_that(np.array_equal(mixed_rows, expected_rows), f"mix: rows of modality {m}")
    return 0.0


def _seeds(framework: Framework) -> st.SearchStrategy[int]:
    like = framework.array(np.zeros(1, np.float32))
    try:
        framework.backend.uniform((1,), like, framework.rng(0))
    except NotImplementedError as error:
        raise Inapplicable(str(error)) from error
    return st.integers(0, 2**31 - 2)


def _check_draws(framework: Framework, seed: int) -> float:
    with framework.scope(np.float32):
        labels = framework.array(np.array([0, 1, 1, 2, 2]))
        drawn = [
            mc.draw(labels, 3, framework.rng(s), absent=True, backend=framework.backend) for s in (seed, seed, seed + 1)
        ]
        first, again, other = ([framework.numpy(x) for x in numbers] for numbers in drawn)
        for x in drawn[0]:
            require_that(framework.owns(x) and framework.on_device(x), f"draw: {type(x)} on another device")
    require_that([x.shape for x in first] == [(2, 5), (3, 5), (2, 5)], "draw: shapes")
    require_that(all(x.dtype == np.float32 for x in first), "draw: expected float32")
    require_that(all(((x >= 0) & (x < 1)).all() for x in first), "draw: expected numbers in [0, 1)")
    require_that(all(map(np.array_equal, first, again)), "draw: one seed gave two draws")
    require_that(not all(map(np.array_equal, first, other)), "draw: two seeds gave one draw")
    return 0.0


def _against_oracle(*names: str) -> Callable[[Framework, Problem], float]:
    return lambda framework, p: compare_to_oracle(framework, p, set(names))[1]


def _if_autograd(framework: Framework) -> st.SearchStrategy[Problem]:
    if not framework.differentiates:
        raise Inapplicable(f"{framework.name} has no autograd")
    return _problems(framework)


def _criteria(framework: Framework) -> st.SearchStrategy[CriterionCase]:
    if framework.name != "torch":
        raise Inapplicable("MidasLoss is PyTorch's")
    return criterion_cases()


def _half(framework: Framework) -> st.SearchStrategy[Problem]:
    dtypes = [d for d in framework.half if d != "bfloat16" or find_spec("ml_dtypes")]
    if not dtypes:
        raise Inapplicable(f"{framework.name} has no half precision")
    if framework.structures is None:
        return st.builds(in_half_precision, problems(framework.shapes, dtypes=("float32",)), st.sampled_from(dtypes))
    # Each structure in one of them: it is compiled once.
    single = [structure for structure in framework.structures if structure.get("dtype") == "float32"]
    return st.one_of(
        *(
            st.builds(in_half_precision, problems(dtypes=("float32",), among=[structure]), st.just(dtype))
            for structure, dtype in zip(single, itertools.cycle(dtypes), strict=False)
        )
    )


def _check_half(framework: Framework, p: Problem) -> float:
    # The oracle sees the rounded numbers, and the tolerance is for float32.
    results, error = compare_to_oracle(framework, p)
    require_that(all(np.isfinite(results[name]).all() for name in ("total", "next_alpha")), "not finite")
    return error


def _extremes(framework: Framework) -> st.SearchStrategy[Problem]:
    similarities, dtypes = ("cosine", "l2"), ("float32", "float64")
    if framework.structures is None:
        sizes = st.tuples(st.integers(1, 8), st.integers(2, 3), st.integers(2, 4))
        shapes = sizes if framework.shapes is None else st.sampled_from(framework.shapes)
        structures = st.tuples(shapes, st.sampled_from(dtypes), st.sampled_from(similarities))
    else:
        few = [(6, 2, 4), (5, 3, 2)]
        structures = st.sampled_from(list(zip(few, dtypes, similarities, strict=True)))

    def make(seed: int, structure: Any, kind: str) -> Problem:
        size, dtype, similarity = structure
        return extreme(make_problem(seed, *size, dtype=dtype, similarity=similarity), kind)

    return st.builds(make, st.integers(0, 2**32 - 1), structures, st.sampled_from(EXTREMES))


def _check_extremes(framework: Framework, p: Problem) -> float:
    with np.errstate(all="ignore"):
        results, error = compare_to_oracle(framework, p)
    for name, x in results.items():
        require_that(np.isfinite(x).all(), f"{name} is not finite: {x}")
    return error


def _spoiled(framework: Framework) -> st.SearchStrategy[Problem]:
    values = st.sampled_from((float("nan"), float("inf"), -float("inf")))
    return st.builds(
        spoiled, _problems(framework, scales=(0.0, 0.3, 3.0)), st.integers(0, 99), st.integers(0, 99), values
    )


def _check_spoiled(framework: Framework, p: Problem) -> float:
    with np.errstate(all="ignore"):
        results, error = compare_to_oracle(framework, p, samples=~touched(p))
    for name in (*ALPHA, "confidence"):
        require_that(np.isfinite(results[name]).all(), f"{name} is not finite: {results[name]}")
    # The loss of the sample itself must show it. A logit of -inf says that a class is impossible, and may be right.
    invalid = ~(p.fused < np.inf).all(axis=-1)
    hidden = np.isfinite(results["aligned"]) & invalid
    require_that(not hidden.any(), f"a finite loss of logits that are not: {results['aligned']}")
    return error


PROPERTIES = {
    prop.name: prop
    for prop in (
        Property(
            "pairs",
            "different-class pairs, source matrix, gather, mask",
            lambda framework: pairings(framework.shapes),
            _check_pairs,
        ),
        Property("draws", "random numbers in [0, 1), the same for the same seed", _seeds, _check_draws),
        Property("soft labels", "soft labels, soft weights, mean confidences", _problems, _against_oracle(*LABELS)),
        Property("losses", "every term of the loss of every sample", _problems, _against_oracle(*LOSSES)),
        Property("alpha", "the weights of a step and of the next one", _problems, _against_oracle(*ALPHA)),
        Property("gradients", "the closed-form gradient", _problems, _against_oracle("gradient")),
        Property(
            "finite differences",
            "the closed-form gradient against the slope of the loss, in float64",
            partial(_problems, dtypes=("float64",)),
            check_finite_differences,
        ),
        Property(
            "autograd",
            "the framework's gradient against the closed form; none through constants",
            _if_autograd,
            check_autograd,
        ),
        Property("criterion", "a step of MidasLoss: terms, gradients, next alpha", _criteria, check_criterion),
        Property("half precision", "float16 and bfloat16 computed in float32", _half, _check_half),
        Property("extremes", "finite at logits of 6e4, zero features, one class", _extremes, _check_extremes),
        Property("not finite", "a NaN stays with its sample, and out of alpha", _spoiled, _check_spoiled),
    )
}
"""Properties by name, in the order in which they are tried."""

"""The agreement check: a backend and the core on one side, the oracle on the other.

Plain functions that raise AssertionError, so that test_sabotage.py can show that they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import midas_core as mc
from tests import oracle
from tests.frameworks import Framework
from tests.strategies import Problem


@dataclass
class Outcome:
    """What the core gave, in the framework's arrays."""

    sources: Any
    terms: mc.MidasTerms
    state: mc.MidasState
    soft_weights: Any


def run_core(bk: Any, p: Problem) -> Outcome:
    """Run one step; the arrays of the problem belong to the backend."""
    sources = mc.source_matrix(p.permutation, len(p.unimodal), p.assignment, backend=bk)
    similarities = None
    if p.similarity is not None:
        mixed = mc.mix(p.features, sources, backend=bk)
        similarities = mc.similarity(p.features, mixed, sources, p.similarity, backend=bk)
    terms, state, soft_weights = mc.midas_objective(
        p.fused,
        p.unimodal,
        p.mixed,
        p.labels,
        sources,
        similarities,
        mc.MidasState(p.alpha, p.step),
        weight=p.weight,
        eta=p.eta,
        variant=p.variant,
        alpha_update=p.alpha_update,
        max_alpha=p.max_alpha,
        backend=bk,
    )
    return Outcome(sources, terms, state, soft_weights)


def run_gradients(bk: Any, p: Problem, outcome: Outcome) -> mc.Gradients:
    """Return the closed-form gradients."""
    return mc.midas_gradients(
        p.fused,
        p.unimodal,
        p.mixed,
        p.labels,
        outcome.sources,
        outcome.soft_weights,
        weight=p.weight,
        variant=p.variant,
        backend=bk,
    )


def convert(framework: Framework, p: Problem) -> Problem:
    """Return the problem with the arrays of a framework."""

    def array(x: Any) -> Any:
        if isinstance(x, list):
            return [array(item) for item in x]
        return framework.array(x) if isinstance(x, np.ndarray) else x

    fields = {name: array(value) for name, value in vars(p).items()}
    fields["step"] = framework.array(np.array(p.step))
    return Problem(**fields)


def assert_close(name: str, found: Any, expected: Any, tolerance: float) -> None:
    """Compare, to ``tolerance`` of the largest entry or of 1."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{name}: shape {found.shape}, expected {expected.shape}"
    size = 1 + (np.max(np.abs(expected), where=np.isfinite(expected), initial=0) if expected.size else 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * float(size), err_msg=name)


def check_values(framework: Framework, p: Problem) -> None:
    """Everything that a step gives, and the closed-form gradients, against the oracle."""
    with framework.scope(p.dtype):
        own = convert(framework, p)
        outcome = run_core(framework.backend, own)
        gradients = run_gradients(framework.backend, own, outcome)
        _check_kind(framework, p, outcome, gradients)
        found = {name: framework.numpy(x) for name, x in outcome.terms._asdict().items()}
        found["soft_weights"] = framework.numpy(outcome.soft_weights)
        found["next_alpha"] = framework.numpy(outcome.state.alpha)
        found["next_step"] = framework.numpy(outcome.state.step)
        sources = framework.numpy(outcome.sources)
        found_gradients = [
            framework.numpy(gradients.fused),
            np.stack([framework.numpy(g) for g in gradients.unimodal]),
            framework.numpy(gradients.mixed),
        ]
    plain = p.lists()
    expected = oracle.source_matrix(plain.permutation, len(plain.unimodal), plain.assignment)
    np.testing.assert_array_equal(sources, expected)

    def compare(step: oracle.Step) -> None:
        for name, value in found.items():
            assert_close(name, value, getattr(step, name), p.tolerance)
        closed = oracle.closed_form_gradients(plain, step.soft_weights)
        for name, a, b in zip(mc.Gradients._fields, found_gradients, closed, strict=True):
            assert_close(f"gradient of {name}", a, b, p.tolerance)

    failures = []
    for step in oracle.steps_within_rounding(plain, p.tolerance):
        try:
            return compare(step)
        except AssertionError as failure:
            failures.append(failure)
    raise failures[0]


def check_autograd(framework: Framework, p: Problem) -> None:
    """The framework's own gradients against the closed form; nothing through what is constant."""
    with framework.scope(p.dtype):
        own = convert(framework, p)
        outcome = run_core(framework.backend, own)
        closed = run_gradients(framework.backend, own, outcome)
        logits = [own.fused, *own.unimodal, *([] if p.mixed is None else [own.mixed])]
        expected = [closed.fused, *closed.unimodal, *([] if p.mixed is None else [closed.mixed])]
        expected = [framework.numpy(g) for g in expected]
        arrays = [*logits, *own.features]
        sum_ = framework.backend.xp.sum

        def again(*values: Any) -> Outcome:
            values = list(values)
            fused, values = values[0], values[1:]
            unimodal, values = values[: len(p.unimodal)], values[len(p.unimodal) :]
            mixed = None if p.mixed is None else values.pop(0)
            return run_core(framework.backend, replace(own, fused=fused, unimodal=unimodal, mixed=mixed, features=values))

        def total(*values: Any) -> Any:
            return sum_(again(*values).terms.total)

        def constants(*values: Any) -> Any:
            out = again(*values)
            parts = [out.soft_weights, out.state.alpha, out.terms.alpha, out.terms.confidence]
            return sum(sum_(x) for x in parts + ([] if p.mixed is None else [out.terms.fused_confidence]))

        found = framework.gradients(total, arrays)
        still = framework.gradients(constants, arrays)
    for k, (a, b) in enumerate(zip(found, expected, strict=False)):
        assert_close(f"gradient {k} of the logits", a, b, p.tolerance)
    for m, a in enumerate(found[len(logits) :]):
        assert not np.any(a), f"a gradient reached feature {m} through the similarity"
    for k, a in enumerate(still):
        assert not np.any(a), f"a gradient reached input {k} through a confidence, a similarity or alpha"


def _check_kind(framework: Framework, p: Problem, outcome: Outcome, gradients: mc.Gradients) -> None:
    floating = [*outcome.terms, outcome.state.alpha, outcome.soft_weights, gradients.fused, gradients.mixed]
    for x in (*floating, outcome.sources, outcome.state.step):
        assert mc.get_backend(x) is framework.backend, f"{type(x)} is no array of {framework}"
    for x in floating:
        assert p.dtype.name in str(x.dtype), f"dtype {x.dtype}, expected {p.dtype}"

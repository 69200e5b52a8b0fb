"""The agreement check: a backend and the core on one side, the oracle on the other.

Plain functions that raise AssertionError, so that test_sabotage.py can show that they do.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import midas_core as mc
from midas_core.testing import oracle
from midas_core.testing.frameworks import Framework
from midas_core.testing.problems import Problem

ARRAYS = ("labels", "features", "fused", "unimodal", "mixed", "permutation", "assignment", "alpha", "step")
ARRAYS += ("sample_weight", "class_weights", "present")


class Outcome(NamedTuple):
    """What the core gave, in the framework's arrays."""

    sources: Any
    terms: mc.MidasTerms
    state: mc.MidasState
    soft_weights: Any
    gradients: mc.Gradients


def arrays_of(framework: Framework, p: Problem) -> dict[str, Any]:
    """Return the arrays of a problem as those of a framework."""

    def array(x: Any) -> Any:
        if isinstance(x, list):
            return [array(item) for item in x]
        return None if x is None else framework.array(x)

    return {name: array(getattr(p, name)) for name in ARRAYS}


def run_core(bk: Any, p: Problem, arrays: dict[str, Any]) -> Outcome:
    """Run one step of a problem, on the arrays given."""
    x = SimpleNamespace(**arrays)
    sources = mc.source_matrix(x.permutation, len(x.unimodal), x.assignment, backend=bk)
    features = x.features if x.present is None else mc.zero_missing(x.features, x.present, backend=bk)
    similarities = None
    if p.similarity is not None:
        similarities = mc.similarity(features, sources, p.similarity, backend=bk)
    options = (x.sample_weight, x.class_weights, p.label_smoothing)
    labels = x.labels
    if len(labels.shape) == 2 or any(option is not None for option in options):
        labels = mc.Targets(labels, *options)
    logits = (x.fused, x.unimodal, x.mixed, labels, sources)
    outcome = mc.midas_objective(
        *logits,
        similarities,
        mc.MidasState(x.alpha, x.step),
        present=x.present,
        weight=p.weight,
        eta=p.eta,
        variant=p.variant,
        alpha_update=p.alpha_update,
        max_alpha=p.max_alpha,
        backend=bk,
    )
    closed = mc.midas_gradients(
        *logits, outcome.soft_weights, present=x.present, weight=p.weight, variant=p.variant, backend=bk
    )
    return Outcome(sources, *outcome, closed)


def assert_close(name: str, found: Any, expected: Any, tolerance: float) -> None:
    """Compare, to ``tolerance`` of the largest entry or of 1."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{name}: shape {found.shape}, expected {expected.shape}"
    size = 1 + (np.max(np.abs(expected), where=np.isfinite(expected), initial=0) if expected.size else 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * float(size), err_msg=name)


def results_of(framework: Framework, p: Problem) -> dict[str, np.ndarray]:
    """Run the core on a framework and return all that it gives, by name, in NumPy."""
    with framework.scope(p.dtype):
        outcome = framework.call(partial(run_core, framework.backend, p), arrays_of(framework, p))
        _check_kind(framework, p, outcome)
        results = outcome.terms._asdict() | {"sources": outcome.sources, "soft_weights": outcome.soft_weights}
        results |= {"next_alpha": outcome.state.alpha, "next_step": outcome.state.step}
        results |= {f"gradient {k}": g for k, g in enumerate(flat(outcome.gradients))}
        return {name: framework.numpy(x) for name, x in results.items()}


def check_values(framework: Framework, p: Problem) -> dict[str, np.ndarray]:
    """Everything that a step gives, and the closed-form gradients, against the oracle; returns it."""
    found = results_of(framework, p)
    plain = p.lists()

    def compare(step: oracle.Step) -> None:
        expected = vars(step) | {
            "sources": oracle.source_matrix(plain.permutation, len(plain.unimodal), plain.assignment)
        }
        closed = flat(oracle.closed_form_gradients(plain, step.soft_weights))
        expected |= {f"gradient {k}": g for k, g in enumerate(closed)}
        for name, value in found.items():
            assert_close(name, value, expected[name], p.tolerance)

    failures = []
    for step in oracle.steps_within_rounding(plain, p.tolerance):
        try:
            compare(step)
            return found
        except AssertionError as failure:
            failures.append(failure)
    raise failures[0]


def check_autograd(framework: Framework, p: Problem) -> None:
    """The framework's own gradients against the closed form; none through what is constant."""
    count, warmup = len(p.unimodal), p.mixed is None
    with framework.scope(p.dtype):
        given = arrays_of(framework, p)
        logits = [given["fused"], *given["unimodal"], *([] if warmup else [given["mixed"]])]

        def scalars(*values: Any) -> tuple[list[Any], list[Any]]:
            fused, *rest = values
            arrays = given | {"fused": fused, "unimodal": rest[:count], "features": rest[-count:]}
            if not warmup:
                arrays["mixed"] = rest[count]
            out = run_core(framework.backend, p, arrays)
            constants = [out.soft_weights, out.state.alpha, out.terms.alpha, out.terms.confidence]
            if not warmup:
                constants.append(out.terms.fused_confidence)
            sum_ = framework.backend.xp.sum
            return [sum_(out.terms.total), sum(sum_(x) for x in constants)], flat(out.gradients)

        (found, still), closed = framework.gradients(scalars, [*logits, *given["features"]])
    for k in range(len(logits)):
        assert_close(f"gradient of logits {k}", found[k], closed[k], p.tolerance)
    for m, slope in enumerate(found[len(logits) :]):
        assert not np.any(slope), f"a gradient reached feature {m} through the similarity"
    for k, slope in enumerate(still):
        assert not np.any(slope), f"a gradient reached input {k} through a confidence, a similarity or alpha"


def flat(gradients: Any) -> list[Any]:
    """Return the gradients of fused, unimodal and mixed logits in one list."""
    fused, unimodal, mixed = gradients
    return [fused, *unimodal, mixed]


def _check_kind(framework: Framework, p: Problem, outcome: Outcome) -> None:
    dtype = "float64" if p.dtype == np.float64 else "float32"
    floating = [*outcome.terms, outcome.state.alpha, outcome.soft_weights, *flat(outcome.gradients)]
    for x in (*floating, outcome.sources, outcome.state.step):
        assert mc.get_backend(x) is framework.backend, f"{type(x)} is no array of {framework}"
    for x in floating:
        assert dtype in str(x.dtype), f"dtype {x.dtype}, expected {dtype}"

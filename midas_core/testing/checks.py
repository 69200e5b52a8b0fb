"""Run one step of a problem on a framework, and compare it to the oracle.

The checks raise ``AssertionError`` themselves: ``python -O`` would drop an ``assert``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import midas_core as mc
from midas_core.testing import oracle
from midas_core.testing.framework import Framework
from midas_core.testing.problems import Problem, with_mask

ARRAYS = (
    *("labels", "features", "fused", "unimodal", "mixed", "partners", "assignment", "alpha", "step"),
    *("sample_weight", "class_weights", "present", "absent", "mask"),
)

PER_SAMPLE = {"total", "aligned", "unimodal", "misaligned", "soft_weights", "soft_labels", "gradient"}

Results = dict[str, np.ndarray]


class Outcome(NamedTuple):
    """Results of the core, as arrays of the framework."""

    sources: Any
    soft_labels: Any
    terms: mc.MidasTerms
    state: mc.MidasState
    soft_weights: Any
    gradients: mc.Gradients


def require_that(condition: Any, message: str) -> None:
    """Raise ``AssertionError`` with a message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def arrays_of(framework: Framework, p: Problem) -> dict[str, Any]:
    """Return the arrays of a problem, copied to a framework."""

    def array(x: Any) -> Any:
        if isinstance(x, list):
            return [array(item) for item in x]
        return None if x is None else framework.array(x)

    return {name: array(getattr(p, name)) for name in ARRAYS}


def run_core(bk: Any, p: Problem, arrays: dict[str, Any]) -> Outcome:
    """Run one step of a problem on its arrays."""
    x = SimpleNamespace(**arrays)
    sources = mc.source_matrix(x.partners, len(x.unimodal), x.assignment, backend=bk)
    pairs = sources
    if x.absent is not None:
        pairs = mc.make_pairs(x.labels, sources, absent=x.absent, backend=bk)
        sources = pairs.sources
    features = with_mask(x.features, x.mask)
    if x.present is not None:
        features = mc.zero_missing(features, x.present, backend=bk)
    similarities = None
    if p.similarity is not None:
        similarities = mc.similarity(features, sources, p.similarity, backend=bk)
    options = (x.sample_weight, x.class_weights, p.label_smoothing)
    labels = x.labels
    if len(labels.shape) == 2 or any(option is not None for option in options):
        labels = mc.Targets(labels, *options)
    logits = (x.fused, x.unimodal, x.mixed, labels, pairs)
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
        aligned_only=p.aligned_only,
        backend=bk,
    )
    kind: dict[str, Any] = {"weight": p.weight, "variant": p.variant, "aligned_only": p.aligned_only}
    closed = mc.midas_gradients(*logits, outcome.soft_weights, present=x.present, **kind, backend=bk)
    return Outcome(sources, _soft_labels(bk, x, sources), *outcome, closed)


def _soft_labels(bk: Any, x: Any, sources: Any) -> Any:
    """Return None for multi-label problems: `midas_core.soft_labels` takes classes."""
    if len(x.labels.shape) == 2:
        return None
    classes = mc.pairing.pair_classes(x.labels, sources, backend=bk)
    unimodal = x.unimodal if x.present is None else mc.zero_missing(x.unimodal, x.present, backend=bk)
    logits = mc.mix(unimodal, sources, backend=bk)
    log_c = [mc.log_confidence(z, classes[m, ...], backend=bk) for m, z in enumerate(logits)]
    shares = mc.normalized_confidence(bk.xp.stack(log_c), x.absent, backend=bk)
    return mc.soft_labels(shares, classes, x.fused.shape[-1], backend=bk)


def compare(name: str, actual: Any, expected: Any, tolerance: float) -> float:
    """Return the largest error in units of ``tolerance`` * (1 + the largest entry); raise beyond 1 or at other NaN."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    require_that(actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}")
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(actual), finite):
        raise AssertionError(f"{name}: finite in other places than expected\ngot      {actual}\nexpected {expected}")
    size = 1 + float(np.max(np.abs(expected), where=finite, initial=0))
    errors = np.abs(np.where(finite, actual, 0) - np.where(finite, expected, 0))
    error = float(np.max(errors, initial=0)) / (tolerance * size)
    # The message is costly.
    if not error <= 1:
        raise AssertionError(f"{name}: {error:.3g} times the allowed error\ngot      {actual}\nexpected {expected}")
    return error


def match_any(plain: SimpleNamespace, tolerance: float, check: Callable[[oracle.Step], float]) -> float:
    """Return the error of the first outcome of the oracle, among those within rounding, that passes a check."""
    failures = []
    for step in oracle.steps_within_rounding(plain, tolerance):
        try:
            return check(step)
        except AssertionError as failure:
            failures.append(failure)
    raise failures[0]


def results_of(framework: Framework, p: Problem) -> Results:
    """Run the core on a framework; return its results by name, as NumPy arrays."""
    memory = framework.memory
    if memory is not None and p.recipe in memory:
        return memory[p.recipe]
    with framework.scope(p.dtype):
        outcome = framework.call(partial(run_core, framework.backend, p), arrays_of(framework, p), key=p.options)
        _check_kind(framework, p, outcome)
        arrays = outcome.terms._asdict() | {"sources": outcome.sources, "soft_weights": outcome.soft_weights}
        arrays |= {"next_alpha": outcome.state.alpha, "next_step": outcome.state.step}
        if outcome.soft_labels is not None:
            arrays["soft_labels"] = outcome.soft_labels
        arrays |= {f"gradient {k}": g for k, g in enumerate(flat(outcome.gradients))}
        results = {name: framework.numpy(x) for name, x in arrays.items()}
    if memory is not None:
        memory[p.recipe] = results
    return results


def compare_to_oracle(
    framework: Framework, p: Problem, names: set[str] | None = None, samples: np.ndarray | None = None
) -> tuple[Results, float]:
    """Return the results of a step, and the largest error of ``names`` and ``samples`` in units of the allowed one."""
    results = results_of(framework, p)
    plain = p.lists()
    selected = [name for name in results if names is None or name.partition(" ")[0] in names]

    def check(step: oracle.Step) -> float:
        expected = _expected(plain, step)
        pairs = {name: (_rows(name, results[name], samples), _rows(name, expected[name], samples)) for name in selected}
        return max(compare(name, *pair, p.tolerance) for name, pair in pairs.items())

    return results, match_any(plain, p.tolerance, check)


def check_values(framework: Framework, p: Problem) -> Results:
    """Compare all results of a step to the oracle.

    Parameters
    ----------
    framework : Framework
    p : Problem

    Returns
    -------
    dict
        Results of the step by name, as NumPy arrays.

    Raises
    ------
    AssertionError
        If a result differs by more than rounding.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> list(check_values(load_framework("numpy"), make_problem(0)))[:4]
    ['total', 'aligned', 'unimodal', 'misaligned']
    """
    return compare_to_oracle(framework, p)[0]


def check_autograd(framework: Framework, p: Problem) -> float:
    """Compare the framework's gradients to the closed form; none may flow through confidences, similarities and alpha.

    Parameters
    ----------
    framework, p : as for `check_values`

    Returns
    -------
    float
        Largest error, in units of the allowed error.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> check_autograd(load_framework("torch"), make_problem(0)) < 1
    True
    """
    count, warmup = len(p.unimodal), p.mixed is None
    with framework.scope(p.dtype):
        arrays = arrays_of(framework, p)
        logits = [arrays["fused"], *arrays["unimodal"], *([] if warmup else [arrays["mixed"]])]

        def scalars(*values: Any) -> tuple[list[Any], list[Any]]:
            fused, *rest, others = values
            inputs = others | {"fused": fused, "unimodal": rest[:count], "features": rest[-count:]}
            if not warmup:
                inputs["mixed"] = rest[count]
            out = run_core(framework.backend, p, inputs)
            constants = [out.soft_weights, out.state.alpha, out.terms.alpha, out.terms.confidence]
            if not warmup:
                constants.append(out.terms.fused_confidence)
            sum_ = framework.backend.xp.sum
            return [sum_(out.terms.total), sum(sum_(x) for x in constants)], flat(out.gradients)

        (slopes, of_constants), closed = framework.gradients(
            scalars, [*logits, *arrays["features"]], arrays, key=(p.options, count, warmup)
        )
    error = max(compare(f"gradient of logits {k}", slopes[k], closed[k], p.tolerance) for k in range(len(logits)))
    for m, slope in enumerate(slopes[len(logits) :]):
        require_that(not np.any(slope), f"a gradient reached feature {m} through the similarity")
    for k, slope in enumerate(of_constants):
        message = f"a gradient reached input {k} through a confidence, a similarity or alpha"
        require_that(not np.any(slope), message)
    return error


def check_finite_differences(framework: Framework, p: Problem, width: float = 1e-3) -> float:
    """Compare the slope of the oracle's loss along one direction to the closed-form gradient; in float64.

    Parameters
    ----------
    framework, p : as for `check_values`
    width : float
        Width of the difference.

    Returns
    -------
    float
        Largest error, in units of the allowed error.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> check_finite_differences(load_framework("numpy"), make_problem(0)) < 1
    True
    """
    results = results_of(framework, p)
    tables = [p.fused, *p.unimodal, *([] if p.mixed is None else [p.mixed])]
    rng = np.random.default_rng(0)
    directions = [rng.uniform(-1, 1, table.shape) for table in tables]
    plain = p.lists()
    weights = results["soft_weights"].tolist()

    def total(distance: float) -> float:
        moved = [(z + distance * u).tolist() for z, u in zip(tables, directions, strict=True)]
        plain.fused, plain.unimodal = moved[0], moved[1 : 1 + len(p.unimodal)]
        plain.mixed = None if p.mixed is None else moved[-1]
        return math.fsum(oracle.losses(plain, weights))

    # Central differences of the fourth order.
    slope = (8 * (total(width) - total(-width)) - (total(2 * width) - total(-2 * width))) / (12 * width)
    parts = [float(np.sum(results[f"gradient {k}"] * u)) for k, u in enumerate(directions)]
    # The rounding of the loss is divided by the width.
    rounding = 16 * float(np.finfo("float64").eps) * (1 + abs(total(0.0))) / width
    return compare("slope", sum(parts), slope, 1e-8 + p.tolerance + rounding)


def flat(gradients: Any) -> list[Any]:
    """Return the gradients of fused, unimodal and mixed logits in one list."""
    fused, unimodal, mixed = gradients
    return [fused, *unimodal, mixed]


def _rows(name: str, x: Any, samples: np.ndarray | None) -> Any:
    kind = name.partition(" ")[0]
    if samples is None or kind not in PER_SAMPLE:
        return x
    axis = np.ndim(x) - (2 if kind in ("gradient", "soft_labels") else 1)
    return np.compress(samples, x, axis=axis)


def _expected(plain: Any, step: oracle.Step) -> dict[str, Any]:
    sources = oracle.sources_of(plain)
    closed = flat(oracle.closed_form_gradients(plain, step.soft_weights))
    named: dict[str, Any] = {"sources": sources}
    if not isinstance(plain.labels[0], list):
        named["soft_labels"] = oracle.mixed_soft_labels(plain)
    return vars(step) | named | {f"gradient {k}": g for k, g in enumerate(closed)}


def _check_kind(framework: Framework, p: Problem, outcome: Outcome) -> None:
    dtype = "float64" if p.dtype == np.float64 else "float32"
    floating = [*outcome.terms, outcome.state.alpha, outcome.soft_weights, *flat(outcome.gradients)]
    if outcome.soft_labels is not None:
        floating.append(outcome.soft_labels)
    for x in (*floating, outcome.sources, outcome.state.step):
        require_that(framework.owns(x), f"expected an array of {framework}, got {type(x)}")
        require_that(framework.on_device(x), f"expected an array on {framework.device}")
    for x in floating:
        require_that(dtype in str(x.dtype), f"dtype {x.dtype}, expected {dtype}")

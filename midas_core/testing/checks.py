"""One step of a problem, run by the core on a framework, and compared to the oracle.

The checks raise AssertionError by hand: an ``assert`` would go under ``python -O``.
"""

from __future__ import annotations

import math
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
    """What the core gave, in the framework's arrays."""

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
    """Return the arrays of a problem as those of a framework."""

    def array(x: Any) -> Any:
        if isinstance(x, list):
            return [array(item) for item in x]
        return None if x is None else framework.array(x)

    return {name: array(getattr(p, name)) for name in ARRAYS}


def run_core(bk: Any, p: Problem, arrays: dict[str, Any]) -> Outcome:
    """Run one step of a problem, on the arrays given."""
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
        backend=bk,
    )
    closed = mc.midas_gradients(
        *logits, outcome.soft_weights, present=x.present, weight=p.weight, variant=p.variant, backend=bk
    )
    return Outcome(sources, _soft_labels(bk, x, sources), *outcome, closed)


def _soft_labels(bk: Any, x: Any, sources: Any) -> Any:
    """Return None where a sample may have several labels: `midas_core.soft_labels` takes classes."""
    if len(x.labels.shape) == 2:
        return None
    classes = mc.pairing.pair_classes(x.labels, sources, backend=bk)
    unimodal = x.unimodal if x.present is None else mc.zero_missing(x.unimodal, x.present, backend=bk)
    logits = mc.mix(unimodal, sources, backend=bk)
    log_c = [mc.log_confidence(z, classes[m, ...], backend=bk) for m, z in enumerate(logits)]
    shares = mc.normalized_confidence(bk.xp.stack(log_c), x.absent, backend=bk)
    return mc.soft_labels(shares, classes, x.fused.shape[-1], backend=bk)


def compare(name: str, found: Any, expected: Any, tolerance: float) -> float:
    """Compare, to ``tolerance`` of the largest entry or of 1; what is not finite has to be so on both sides.

    Parameters
    ----------
    name : str
        For the message.
    found, expected : array_like
    tolerance : float

    Returns
    -------
    float
        The largest error, 1 being what is allowed.

    Raises
    ------
    AssertionError
        If they differ.
    """
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    require_that(found.shape == expected.shape, f"{name}: shape {found.shape}, expected {expected.shape}")
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(found), finite):
        raise AssertionError(f"{name}: finite in other places than expected\nfound    {found}\nexpected {expected}")
    size = 1 + float(np.max(np.abs(expected), where=finite, initial=0))
    errors = np.abs(np.where(finite, found, 0) - np.where(finite, expected, 0))
    error = float(np.max(errors, initial=0)) / (tolerance * size)
    # The message is costly.
    if not error <= 1:
        raise AssertionError(f"{name}: {error:.3g} times the allowed error\nfound    {found}\nexpected {expected}")
    return error


def results_of(framework: Framework, p: Problem) -> Results:
    """Run the core on a framework and return all that it gives, by name, in NumPy."""
    memory = framework.memory
    if memory is not None and p.recipe in memory:
        return memory[p.recipe]
    with framework.scope(p.dtype):
        outcome = framework.call(partial(run_core, framework.backend, p), arrays_of(framework, p), key=p.options)
        _check_kind(framework, p, outcome)
        given = outcome.terms._asdict() | {"sources": outcome.sources, "soft_weights": outcome.soft_weights}
        given |= {"next_alpha": outcome.state.alpha, "next_step": outcome.state.step}
        if outcome.soft_labels is not None:
            given["soft_labels"] = outcome.soft_labels
        given |= {f"gradient {k}": g for k, g in enumerate(flat(outcome.gradients))}
        results = {name: framework.numpy(x) for name, x in given.items()}
    if memory is not None:
        memory[p.recipe] = results
    return results


def compare_to_oracle(
    framework: Framework, p: Problem, names: set[str] | None = None, samples: np.ndarray | None = None
) -> tuple[Results, float]:
    """Compare what a step gives, or what is named of it, to the oracle; where it is one for each sample, for some.

    Parameters
    ----------
    framework : Framework
    p : Problem
    names : set of str, optional
        Fields of `oracle.Step`, "sources", "soft_labels", "gradient".
    samples : array, shape (B,), bool, optional

    Returns
    -------
    results : dict
        All that the step gives.
    error : float
        The largest error, 1 being what is allowed.
    """
    found = results_of(framework, p)
    plain = p.lists()
    chosen = [name for name in found if names is None or name.partition(" ")[0] in names]
    failures = []
    for step in oracle.steps_within_rounding(plain, p.tolerance):
        expected = _expected(plain, step)
        try:
            errors = [
                compare(name, _some(name, found[name], samples), _some(name, expected[name], samples), p.tolerance)
                for name in chosen
            ]
            return found, max(errors)
        except AssertionError as failure:
            failures.append(failure)
    raise failures[0]


def check_values(framework: Framework, p: Problem) -> Results:
    """Compare everything that a step gives to the oracle.

    Parameters
    ----------
    framework : Framework
        From `load_framework`.
    p : Problem
        From `make_problem`.

    Returns
    -------
    dict
        What the step gives, as NumPy arrays by name.

    Raises
    ------
    AssertionError
        If something differs by more than rounding.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> list(check_values(load_framework("numpy"), make_problem(0)))[:4]
    ['total', 'aligned', 'unimodal', 'misaligned']
    """
    return compare_to_oracle(framework, p)[0]


def check_autograd(framework: Framework, p: Problem) -> float:
    """Compare the framework's own gradients to the closed form; nothing may flow through what is constant.

    Parameters
    ----------
    framework : Framework
        From `load_framework`.
    p : Problem
        From `make_problem`.

    Returns
    -------
    float
        The largest error, 1 being what is allowed.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> check_autograd(load_framework("torch"), make_problem(0)) < 1
    True
    """
    count, warmup = len(p.unimodal), p.mixed is None
    with framework.scope(p.dtype):
        given = arrays_of(framework, p)
        logits = [given["fused"], *given["unimodal"], *([] if warmup else [given["mixed"]])]

        def scalars(*values: Any) -> tuple[list[Any], list[Any]]:
            fused, *rest, given = values
            arrays = given | {"fused": fused, "unimodal": rest[:count], "features": rest[-count:]}
            if not warmup:
                arrays["mixed"] = rest[count]
            out = run_core(framework.backend, p, arrays)
            constants = [out.soft_weights, out.state.alpha, out.terms.alpha, out.terms.confidence]
            if not warmup:
                constants.append(out.terms.fused_confidence)
            sum_ = framework.backend.xp.sum
            return [sum_(out.terms.total), sum(sum_(x) for x in constants)], flat(out.gradients)

        (found, still), closed = framework.gradients(
            scalars, [*logits, *given["features"]], given, key=(p.options, count, warmup)
        )
    error = max(compare(f"gradient of logits {k}", found[k], closed[k], p.tolerance) for k in range(len(logits)))
    for m, slope in enumerate(found[len(logits) :]):
        require_that(not np.any(slope), f"a gradient reached feature {m} through the similarity")
    for k, slope in enumerate(still):
        message = f"a gradient reached input {k} through a confidence, a similarity or alpha"
        require_that(not np.any(slope), message)
    return error


def check_finite_differences(framework: Framework, p: Problem, width: float = 1e-3) -> float:
    """Compare the slope of the oracle's loss along one direction to the closed-form gradient; in float64.

    Parameters
    ----------
    framework : Framework
        From `load_framework`.
    p : Problem
        From `make_problem`.
    width : float
        Of the difference.

    Returns
    -------
    float
        The largest error, 1 being what is allowed.

    Examples
    --------
    >>> from midas_core.testing import load_framework, make_problem
    >>> check_finite_differences(load_framework("numpy"), make_problem(0)) < 1
    True
    """
    found = results_of(framework, p)
    tables = [p.fused, *p.unimodal, *([] if p.mixed is None else [p.mixed])]
    rng = np.random.default_rng(0)
    directions = [rng.uniform(-1, 1, table.shape) for table in tables]
    plain = p.lists()
    weights = found["soft_weights"].tolist()

    def total(distance: float) -> float:
        moved = [(z + distance * u).tolist() for z, u in zip(tables, directions, strict=True)]
        plain.fused, plain.unimodal = moved[0], moved[1 : 1 + len(p.unimodal)]
        plain.mixed = None if p.mixed is None else moved[-1]
        return math.fsum(oracle.losses(plain, weights))

    # Central differences of the fourth order.
    slope = (8 * (total(width) - total(-width)) - (total(2 * width) - total(-2 * width))) / (12 * width)
    parts = [float(np.sum(found[f"gradient {k}"] * u)) for k, u in enumerate(directions)]
    # The rounding of the loss is divided by the width.
    rounding = 16 * float(np.finfo("float64").eps) * (1 + abs(total(0.0))) / width
    return compare("slope", sum(parts), slope, 1e-8 + p.tolerance + rounding)


def flat(gradients: Any) -> list[Any]:
    """Return the gradients of fused, unimodal and mixed logits in one list."""
    fused, unimodal, mixed = gradients
    return [fused, *unimodal, mixed]


def _some(name: str, x: Any, samples: np.ndarray | None) -> Any:
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
        require_that(framework.owns(x), f"{type(x)} is no array of {framework}")
        require_that(framework.on_device(x), f"an array is on another device than {framework.device_name}")
    for x in floating:
        require_that(dtype in str(x.dtype), f"dtype {x.dtype}, expected {dtype}")

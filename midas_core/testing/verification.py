"""Run properties on a backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from midas_core.backends import Backend
from midas_core.testing.framework import Framework, load_framework
from midas_core.testing.properties import PROPERTIES, Inapplicable, Property
from midas_core.validation import check_flag, check_number

PHASES = [Phase.generate, Phase.shrink]


@dataclass(frozen=True)
class PropertyResult:
    """Result of one property on one backend.

    Attributes
    ----------
    backend, device, property : str
    agrees : bool or None
        None if the property was not tried.
    error : float or None
        Largest error, in units of the allowed error.
    examples : int
        Number of cases tried.
    seconds : float
    message : str
        Reason why it was not tried, or the failure.
    """

    backend: str
    device: str
    property: str
    agrees: bool | None
    error: float | None
    examples: int
    seconds: float
    message: str = ""


def verify_backend(
    backend: str | Backend | Framework,
    *,
    properties: Iterable[str] | None = None,
    examples: int = 100,
    seed: int = 0,
    thorough: bool = False,
) -> Iterator[PropertyResult]:
    """Try every property on a backend.

    Parameters
    ----------
    backend : str, Backend or Framework
        Name of one of the library's backends, a backend of your own, or either on a device.
    properties : iterable of str, optional
        Names from ``PROPERTIES``; all by default.
    examples, seed : int
        Cases for each property; equal seeds try equal cases.
    thorough : bool
        If True, JAX, which compiles, gets any combination of options; else a few combinations, each compiled once.

    Yields
    ------
    PropertyResult
        In the order of ``properties``, each as soon as it is known.

    Raises
    ------
    ImportError
        If the framework is not installed.
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> [result.agrees for result in verify_backend("numpy", properties=["pairs"], examples=10)]
    [True]
    """
    check_number("examples", examples, minimum=1, whole=True)
    check_number("seed", seed, minimum=0, whole=True)
    names = list(PROPERTIES if properties is None else properties)
    unknown = [name for name in names if name not in PROPERTIES]
    if unknown:
        raise ValueError(f"properties: expected some of {list(PROPERTIES)}, got {unknown[0]!r}")
    framework = load_framework(backend) if isinstance(backend, str) else backend
    if isinstance(framework, Backend):
        framework = Framework(framework)
    framework.compiled = framework.backend.compiles and not check_flag("thorough", thorough)
    framework.memory = {}
    try:
        for name in names:
            yield _verify(framework, PROPERTIES[name], examples, seed)
    finally:
        framework.memory = None


def check_backend(
    backend: str | Backend | Framework,
    *,
    properties: Iterable[str] | None = None,
    examples: int = 100,
    seed: int = 0,
    thorough: bool = False,
) -> None:
    """Raise unless every property holds on a backend: one line of a test suite.

    Parameters
    ----------
    backend, properties, examples, seed, thorough : as for `verify_backend`

    Raises
    ------
    AssertionError
        If a property fails; the message names it, the smallest case and the error.

    Examples
    --------
    >>> check_backend("numpy", examples=5)
    """
    results = list(verify_backend(backend, properties=properties, examples=examples, seed=seed, thorough=thorough))
    failed = [result for result in results if result.agrees is False]
    if failed:
        raise AssertionError("\n\n".join(f"{x.backend}: {x.property}: {x.message}" for x in failed))
    if not any(result.agrees for result in results):
        raise AssertionError(f"{backend}: no property could be tried")


def try_examples(check: Callable[[Any], object], cases: Any, examples: int, number: int) -> None:
    """Call a check on drawn cases, the same for the same seed, until one fails; then on smaller ones."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        phases=PHASES,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check_all(case: Any) -> None:
        check(case)

    check_all()


def _verify(framework: Framework, prop: Property, examples: int, number: int) -> PropertyResult:
    start, worst, tried = time.perf_counter(), 0.0, 0
    labels = (framework.name, framework.device, prop.name)
    try:
        cases = prop.cases(framework)
    except Inapplicable as reason:
        return PropertyResult(*labels, None, None, 0, 0.0, str(reason))

    def check(case: Any) -> None:
        nonlocal tried, worst
        tried += 1
        worst = max(worst, prop.check(framework, case))

    try:
        try_examples(check, cases, examples, number)
    except Exception as error:  # A backend may break in any way.
        notes = "\n".join(getattr(error, "__notes__", []))
        message = f"{type(error).__name__}: {error}\n{notes}"
        return PropertyResult(*labels, False, None, tried, time.perf_counter() - start, message)
    return PropertyResult(*labels, True, worst, tried, time.perf_counter() - start)

"""Run the properties on a backend."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from midas_core.testing.framework import Framework
from midas_core.testing.frameworks import Jax, load_framework
from midas_core.testing.properties import PROPERTIES, NotTried, Property
from midas_core.validation import check_flag, check_number

PHASES = [Phase.generate, Phase.shrink]


@dataclass(frozen=True)
class PropertyResult:
    """What became of one property on one backend.

    Attributes
    ----------
    backend, device, property : str
    agrees : bool, or None
        None where it was not tried.
    error : float, or None
        The largest error seen, 1 being what is allowed.
    examples : int
        How many were tried.
    seconds : float
    message : str
        Why it was not tried, or what failed.
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
    backend: str | Framework,
    *,
    properties: Iterable[str] | None = None,
    examples: int = 100,
    seed: int = 0,
    thorough: bool = False,
) -> Iterator[PropertyResult]:
    """Try every property on a backend.

    Parameters
    ----------
    backend : str or Framework
        The name of one of this library's backends, or a way into another one.
    properties : iterable of str, optional
        Names of ``PROPERTIES``; all of them by default.
    examples : int
        How many cases of each property.
    seed : int
        The same seed tries the same cases.
    thorough : bool
        Whether JAX, which compiles, meets options of every kind; else a few combinations, each compiled once.

    Yields
    ------
    PropertyResult
        As soon as it is known.

    Raises
    ------
    ImportError
        If the framework is not installed.
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> [v.agrees for v in verify_backend("numpy", properties=["pairs"], examples=10)]
    [True]
    """
    check_number("examples", examples, minimum=1, whole=True)
    check_number("seed", seed, minimum=0, whole=True)
    framework = load_framework(backend) if isinstance(backend, str) else backend
    if isinstance(framework, Jax):
        framework.compiled = not check_flag("thorough", thorough)
    chosen = list(PROPERTIES if properties is None else properties)
    unknown = [name for name in chosen if name not in PROPERTIES]
    if unknown:
        raise ValueError(f"properties: expected some of {list(PROPERTIES)}, got {unknown[0]!r}")
    framework.memory = {}
    try:
        for name in chosen:
            yield _try(framework, PROPERTIES[name], examples, seed)
    finally:
        framework.memory = None


def check_backend(
    backend: str | Framework,
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
        If one does not; the message says which, with the smallest case found, and how far off it is.

    Examples
    --------
    >>> check_backend("numpy", examples=5)
    """
    results = list(verify_backend(backend, properties=properties, examples=examples, seed=seed, thorough=thorough))
    failed = [v for v in results if v.agrees is False]
    if failed:
        raise AssertionError("\n\n".join(f"{v.backend}: {v.property}: {v.message}" for v in failed))
    if not any(v.agrees for v in results):
        raise AssertionError(f"{backend}: no property could be tried")


def _try(framework: Framework, prop: Property, examples: int, number: int) -> PropertyResult:
    start, tried, worst = time.perf_counter(), 0, 0.0
    own = (framework.name, framework.device_name, prop.name)
    try:
        cases = prop.cases(framework)
    except NotTried as reason:
        return PropertyResult(*own, None, None, 0, 0.0, str(reason))

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
    def every(case: Any) -> None:
        nonlocal tried, worst
        tried += 1
        worst = max(worst, prop.check(framework, case))

    try:
        every()
    except Exception as error:  # A backend may break in any way: each is a verdict.
        notes = "\n".join(getattr(error, "__notes__", []))
        message = f"{type(error).__name__}: {error}\n{notes}"
        return PropertyResult(*own, False, None, tried, time.perf_counter() - start, message)
    return PropertyResult(*own, True, worst, tried, time.perf_counter() - start)

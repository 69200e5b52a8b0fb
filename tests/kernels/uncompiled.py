"""A pytest plugin, ``-p tests.kernels.uncompiled``: Numba's loops as plain Python, so that mutants compile nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    if function is None:
        return _njit
    function.py_func = function  # type: ignore[attr-defined]
    return function


def pytest_load_initial_conftests() -> None:
    """Only as a plugin: an import alone, as by the collection of doctests, must change nothing."""
    import numba

    numba.njit = _njit

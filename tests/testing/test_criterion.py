"""The property "criterion" can fail: whichever function of the kernels is broken, it finds a wrong step."""

from __future__ import annotations

import ast
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase

torch = pytest.importorskip("torch")

from midas_core import kernels  # noqa: E402
from midas_core.testing import check_backend, verify_backend  # noqa: E402

WHY_NOT = {
    "choose_way": "every way gives the same",
    "small_kernel": "returns a module",
    "numba_kernels": "returns a module",
    "_block_rows": "blocks of any size give the same",
    "_first_outside": "says which label is wrong",
    "first_outside": "says which label is wrong",
    "_refuse": "says which label is wrong",
    "differentiable_gradient": "second derivatives alone: tests/kernels/test_step.py",
    "_warn_of_cache": "a warning",
    "stacked_logits": "compiled steps alone: tests/kernels/test_linear.py",
}


def functions():
    """Return module and name of every function of the kernels; what Numba inlines is broken with what calls it."""
    found = []
    for each in pkgutil.iter_modules(kernels.__path__):
        source = (Path(kernels.__path__[0]) / f"{each.name}.py").read_text()
        nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        found += [(each.name, x.name) for x in nodes if "_inner" not in map(ast.unparse, x.decorator_list)]
    return found


def spoiled(x):
    """Return numbers that are a little off, arrays of whole numbers and flags rolled by one."""
    if isinstance(x, tuple | list):
        items = [spoiled(item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if isinstance(x, torch.Tensor):
        return 1.01 * x + 0.01 if x.is_floating_point() else x.roll(1) if x.ndim else x
    if isinstance(x, np.ndarray):
        return x.dtype.type(1.01) * x + x.dtype.type(0.01) if x.dtype.kind == "f" else np.roll(x, 1) if x.ndim else x
    return 1.01 * x + 0.01 if isinstance(x, float) else x


def arrays(x):
    """Yield the arrays in nested tuples and lists."""
    if isinstance(x, tuple | list):
        for item in x:
            yield from arrays(item)
    elif isinstance(x, torch.Tensor | np.ndarray):
        yield x


def breaking(function):
    """Return the function with its result spoiled, and what it writes in place."""

    def broken(*arguments, **named):
        given = [x.detach() if isinstance(x, torch.Tensor) else x for x in arrays([*arguments, *named.values()])]
        before = [x.clone() if isinstance(x, torch.Tensor) else x.copy() for x in given]
        result = function(*arguments, **named)
        for x, old in zip(given, before, strict=True):
            if x.shape == old.shape and not np.array_equal(x, old, equal_nan=True):
                x[...] = spoiled(x)
        return spoiled(result)

    return broken


def replace_everywhere(monkeypatch, own, other):
    for module in [m for name, m in sys.modules.items() if name.startswith("midas_core")]:
        for name, value in list(vars(module).items()):
            if value is own:
                monkeypatch.setattr(module, name, other)


def test_nothing_is_found_where_nothing_is_broken():
    check_backend("torch", properties=["criterion"], examples=60, seed=1)


@pytest.mark.parametrize(("module", "name"), functions())
def test_a_broken_kernel_is_noticed(monkeypatch, module, name):
    if name in WHY_NOT:
        pytest.skip(WHY_NOT[name])
    if module == "numba":
        pytest.importorskip("numba")
    function = getattr(import_module(f"midas_core.kernels.{module}"), name)
    replace_everywhere(monkeypatch, function, breaking(function))
    # Hypothesis need not look for the smallest case.
    monkeypatch.setattr("midas_core.testing.backends.PHASES", [Phase.generate])
    result = next(verify_backend("torch", properties=["criterion"], examples=100))
    assert result.agrees is False

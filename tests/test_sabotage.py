"""The agreement check can fail: whatever is broken in a backend or in the core, it says so.

Each sabotage breaks one thing. The very checks of test_agreement.py run on it, over the same problems, and must raise.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, given, settings

import midas_core as mc
from midas_core.testing.checks import check_autograd, check_values
from midas_core.testing.frameworks import Framework
from midas_core.testing.problems import FEW_SHAPES, problems
from tests.frameworks import get_framework

# No shrinking, and the first failure is enough.
BRIEF = settings(max_examples=40, phases=[Phase.generate], report_multiple_bugs=False)


def run_check(check, framework):
    @BRIEF
    @given(p=problems(FEW_SHAPES))
    def every_problem(p):
        check(framework, p)

    every_problem()


def with_backend(framework: Framework, **methods) -> Framework:
    """Return the framework with some methods of its backend replaced."""
    own = framework.backend
    broken = type("Broken", (type(own),), {name: staticmethod(f) for name, f in methods.items()})(own.name, own.xp)
    framework.backend = broken
    return framework


def with_namespace(framework: Framework, **functions) -> Framework:
    """Return the framework with some functions of its namespace replaced."""
    own = framework.backend
    xp = SimpleNamespace(**{name: getattr(own.xp, name) for name in dir(own.xp) if not name.startswith("__")})
    vars(xp).update(functions)
    framework.backend = type(own)(own.name, xp)
    return framework


def replace_in_core(monkeypatch, name, function):
    """Replace a function in every module of the core that holds it."""
    own = getattr(mc, name)
    for module in [m for key, m in sys.modules.items() if key.startswith("midas_core")]:
        if vars(module).get(name) is own:
            monkeypatch.setattr(module, name, function)
    return own


def test_a_copy_that_is_not_broken_passes():
    run_check(check_values, with_namespace(with_backend(get_framework("numpy"))))


def _take_next(x, indices, *, axis=0):
    return np.take(x, (indices + 1) % x.shape[axis], axis=axis)


def _take_along_next(x, indices, *, axis):
    return np.take_along_axis(x, (indices + 1) % x.shape[axis], axis=axis)


BACKENDS = {
    "logsumexp a little off": lambda f: with_backend(f, logsumexp=lambda x: np.log(np.sum(np.exp(x), -1)) + 1e-4),
    "logsumexp in half precision": lambda f: with_backend(f, logsumexp=_half_logsumexp),
    "take of the neighbour": lambda f: with_namespace(f, take=_take_next),
    "take_along_axis of the neighbour": lambda f: with_namespace(f, take_along_axis=_take_along_next),
    "the strong modality for the weak": lambda f: with_namespace(f, argmin=np.argmax),
    "sums a little large": lambda f: with_namespace(f, sum=lambda x, **k: np.sum(x, **k) * 1.001),
}


def _half_logsumexp(x):
    return np.logaddexp.reduce(x.astype("float16"), axis=-1).astype(x.dtype)


@pytest.mark.parametrize("name", BACKENDS)
def test_broken_backend(name):
    with pytest.raises(AssertionError):
        run_check(check_values, BACKENDS[name](get_framework("numpy")))


CORE = {
    "half of the hard-sample weight": ("hard_sample_weight", lambda own: lambda s: own(s) / 2),
    "no mask": ("pair_mask", lambda own: lambda classes, **k: np.ones_like(own(classes, **k))),
    "shares of one half": ("normalized_confidence", lambda own: lambda x, **k: np.full_like(x, 1 / len(x))),
    "confidence of the wrong class": (
        "log_confidence",
        lambda own: lambda z, y, **k: own(z, (y + 1) % z.shape[-1], **k),
    ),
    "similarity with the sign turned": ("similarity", lambda own: lambda *a, **k: -own(*a, **k)),
    "alpha the wrong way": ("next_state", lambda own: lambda *a, **k: own(*a, **(k | {"eta": -k["eta"]}))),
    "missing modalities count": ("complete_pairs", lambda own: lambda *a, **k: np.ones_like(own(*a, **k))),
    "what is missing stays": ("zero_missing", lambda own: lambda features, present, **k: features),
    "all label vectors alike": ("label_ids", lambda own: lambda labels, **k: np.zeros_like(own(labels, **k))),
    "alpha on the old modality": ("current_alpha", lambda own: lambda state, weak, **k: state.alpha),
    "the views exchanged": ("source_matrix", lambda own: lambda *a, **k: own(*a, **k)[:, ::-1]),
    "gradients scaled": (
        "midas_gradients",
        lambda own: lambda *a, **k: own(*a, **k)._replace(fused=own(*a, **k).fused * 1.001),
    ),
}


@pytest.mark.parametrize("name", CORE)
def test_broken_core(name, monkeypatch):
    function, breaking = CORE[name]
    own = getattr(mc, function)
    replace_in_core(monkeypatch, function, breaking(own))
    with np.errstate(all="ignore"), pytest.raises(AssertionError):
        run_check(check_values, get_framework("numpy"))


def test_missing_stop_gradient():
    run_check(check_autograd, get_framework("torch"))
    with pytest.raises(AssertionError):
        run_check(check_autograd, with_backend(get_framework("torch"), stop_gradient=lambda x: x))


def test_stopped_gradient():
    backend = {"logsumexp": lambda x: x.detach().logsumexp(dim=-1)}
    run_check(check_values, with_backend(get_framework("torch"), **backend))
    with pytest.raises(AssertionError):
        run_check(check_autograd, with_backend(get_framework("torch"), **backend))

"""The properties can fail: whatever is broken in a backend or in the core, each property that it breaks says so.

Each mutant changes one thing, and names the properties that it breaks. They are tried by the very checks of
`midas_core.testing` and `midas verify`, on as many cases as it takes, and must raise.
"""

import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, given, settings

import midas_core as mc
from midas_core.testing import PROPERTIES, Framework, check_backend, verify_backend
from tests.frameworks import get_framework

# No shrinking, and the first failure is enough.
BRIEF = settings(phases=[Phase.generate], report_multiple_bugs=False)


def run_property(name, framework, examples=300):
    @settings(BRIEF, max_examples=examples)
    @given(case=PROPERTIES[name].cases(framework))
    def every_case(case):
        PROPERTIES[name].check(framework, case)

    with np.errstate(all="ignore"):
        every_case()


def holds(name, framework):
    try:
        run_property(name, framework)
    except (AssertionError, IndexError):
        return False
    return True


def must_break(framework, names):
    missed = [name for name in names if holds(name, framework)]
    assert not missed, f"not noticed by {missed}"


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


def replace_in_core(monkeypatch, module, name, breaking):
    """Replace a function in every module of the core that holds it."""
    own = getattr(sys.modules[f"midas_core.{module}"], name)
    for each in [m for key, m in sys.modules.items() if key.startswith("midas_core")]:
        if vars(each).get(name) is own:
            monkeypatch.setattr(each, name, partial(breaking, own))


# The criterion is tried where it is, on PyTorch (test_criterion.py).
@pytest.mark.parametrize("name", [name for name in PROPERTIES if name not in ("autograd", "criterion")])
def test_a_copy_that_is_not_broken_passes(name):
    run_property(name, with_namespace(with_backend(get_framework("numpy"))), examples=30)


def _take_next(x, indices, *, axis=0):
    return np.take(x, (indices + 1) % x.shape[axis], axis=axis)


def _take_along_next(x, indices, *, axis):
    return np.take_along_axis(x, (indices + 1) % x.shape[axis], axis=axis)


def _large_sum(x, **options):
    total = np.sum(x, **options)
    return total * 1.001 if np.issubdtype(total.dtype, np.floating) else total


def _half_logsumexp(x):
    return np.logaddexp.reduce(x.astype("float16"), axis=-1).astype(x.dtype)


def _naive_logsumexp(x):
    return np.log(np.sum(np.exp(x), axis=-1))


def _uniform(draw):
    def uniform(shape, like, rng):
        return np.asarray(draw(rng, shape), dtype=np.float32)

    return {"uniform": uniform}


def _first(x, *, axis=None, keepdims=False):
    if axis is None:
        return x.reshape(-1)[0]
    first = np.take(x, 0, axis=axis)
    return np.expand_dims(first, axis) if keepdims else first


BACKENDS = {
    "logsumexp a little off": (
        with_backend,
        {"logsumexp": lambda x: np.logaddexp.reduce(x, axis=-1) + 1e-4},
        "losses, gradients, finite differences, extremes, half precision",
    ),
    "logsumexp in half precision": (
        with_backend,
        {"logsumexp": _half_logsumexp},
        "soft labels, losses, gradients, extremes",
    ),
    "logsumexp that overflows": (with_backend, {"logsumexp": _naive_logsumexp}, "extremes, losses"),
    "logsumexp of the absolute": (
        with_backend,
        {"logsumexp": lambda x: np.logaddexp.reduce(np.abs(x), axis=-1)},
        "losses, gradients, not finite, half precision",
    ),
    "take of the neighbour": (with_namespace, {"take": _take_next}, "pairs, soft labels"),
    "take_along_axis of the neighbour": (
        with_namespace,
        {"take_along_axis": _take_along_next},
        "soft labels, losses, gradients",
    ),
    "the strong modality for the weak": (with_namespace, {"argmin": np.argmax}, "alpha"),
    "sums a little large": (with_namespace, {"sum": _large_sum}, "losses, soft labels, half precision"),
    "no floor under alpha": (with_backend, {"at_least": lambda x, low: x}, "alpha"),
    "no cap on alpha": (with_backend, {"at_most": lambda x, high: x}, "alpha"),
    "everything is finite": (with_namespace, {"isfinite": lambda x: np.ones(np.shape(x), dtype=bool)}, "not finite"),
    "nothing is finite": (
        with_namespace,
        {"isfinite": lambda x: np.zeros(np.shape(x), dtype=bool)},
        "alpha, not finite",
    ),
    "a maximum of the first entry": (with_namespace, {"max": _first}, "soft labels, extremes"),
    "roots doubled": (with_namespace, {"sqrt": lambda x: 2 * np.sqrt(x)}, "soft labels, losses"),
    "a draw of one number": (with_backend, _uniform(lambda rng, shape: np.full(shape, 0.5)), "draws"),
    "a draw that knows no seed": (
        with_backend,
        _uniform(lambda rng, shape: np.random.default_rng().random(shape)),
        "draws",
    ),
    "a draw beyond one": (with_backend, _uniform(lambda rng, shape: 2 * rng.random(shape)), "draws"),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_broken_backend(name):
    replace, functions, properties = BACKENDS[name]
    for each in properties.split(", "):
        must_break(replace(get_framework("numpy"), **functions), [each])


# Functions of the core: each gets the right one, and its arguments.
CORE = {
    "similarity.hard_sample_weight": {
        "half of the hard-sample weight": (lambda own, s: own(s) / 2, "soft labels, losses"),
        "a hard-sample weight of 1 + s": (lambda own, s: 1 + s, "soft labels"),
    },
    "pairing.pair_mask": {
        "no mask": (lambda own, classes, **k: np.ones_like(own(classes, **k)), "pairs, soft labels, losses, alpha"),
    },
    "weighting.normalized_confidence": {
        "shares of one half": (lambda own, x, *a, **k: np.full_like(x, 1 / len(x)), "soft labels, losses"),
        "shares of the squares": (lambda own, x, *a, **k: own(2 * x, *a, **k), "soft labels, losses, half precision"),
        "what is absent has a share": (lambda own, x, absent=None, **k: own(x, **k), "soft labels, losses, gradients"),
    },
    "weighting.log_confidence": {
        "confidence of the wrong class": (lambda own, z, y, **k: own(z, (y + 1) % z.shape[-1], **k), "soft labels"),
    },
    "cross_entropy._join": {
        "likelihood of the wrong sign": (
            lambda own, *a: type(own(*a))(*(-x for x in own(*a))),
            "losses, soft labels, extremes",
        ),
    },
    "weighting.soft_labels": {
        "soft labels of the first modality": (lambda own, s, c, n, **k: own(s[:1], c[:1], n, **k), "soft labels"),
    },
    "similarity.similarity": {
        "similarity with the sign turned": (lambda own, *a, **k: -own(*a, **k), "soft labels, extremes"),
        "the distance for the cosine": (lambda own, f, s, kind, **k: own(f, s, "l2", **k), "soft labels"),
    },
    "weighting.next_state": {
        "alpha the wrong way": (lambda own, *a, **k: own(*a, **(k | {"eta": -k["eta"]})), "alpha"),
        "alpha in larger steps": (lambda own, *a, **k: own(*a, **(k | {"eta": 1.01 * k["eta"]})), "alpha"),
        "the difference for the sign": (lambda own, *a, **k: own(*a, **(k | {"alpha_update": "difference"})), "alpha"),
        "a step that is not counted": (
            lambda own, state, *a, **k: own(state, *a, **k)._replace(step=state.step),
            "alpha",
        ),
    },
    "weighting.current_alpha": {
        "alpha on the old modality": (lambda own, state, strong, **k: state.alpha, "alpha, soft labels"),
    },
    "weighting.imbalance": {
        "alpha made of what is masked too": (
            lambda own, s, mask, **k: own(s, np.ones_like(mask), **k),
            "alpha, soft labels",
        ),
    },
    "weighting.finite_pairs": {
        "alpha made of what is not finite": (lambda own, mask, *a, **k: mask, "not finite"),
    },
    "weighting.official_gap": {
        "the official gap turned": (lambda own, *a, **k: (own(*a, **k)[0], -own(*a, **k)[1]), "alpha"),
    },
    "pairing._arrange": {
        "the views exchanged": (lambda own, *a, **k: own(*a, **k)[:, ::-1], "pairs"),
        "one view twice": (lambda own, *a, **k: own(*a, **k)[:, [0, 0]], "pairs, soft labels"),
    },
    "partners.draw_partners": {
        "partners of the same class": (lambda own, y, u, **k: np.argsort(u, axis=-1), "pairs"),
        "nobody has a partner": (lambda own, y, u, **k: np.zeros_like(own(y, u, **k)) + np.arange(len(y)), "pairs"),
    },
    "partners.plain_permutation": {
        "a partner for several": (lambda own, x, **k: np.zeros(len(x), dtype=int), "pairs"),
    },
    "pairing.mix": {
        "the modalities mixed up": (lambda own, f, s, **k: own(f, s[::-1], **k), "pairs"),
    },
    "partners.absent_modalities": {
        "nobody is without a partner": (lambda own, u, m, share, **k: np.zeros_like(own(u, m, share, **k)), "pairs"),
        "a partner too often absent": (lambda own, u, m, share, **k: own(u, m, min(1, 1.1 * share), **k), "pairs"),
        "the other modality stays": (lambda own, u, m, share, **k: own(u, m, share, **k)[::-1], "pairs"),
    },
    "pairing.alone": {
        "no mixed sample is alone": (
            lambda own, absent, **k: np.zeros_like(own(absent, **k)),
            "pairs, soft labels, losses, alpha, gradients",
        ),
    },
    "pairing.fill_rows": {
        "what is absent is a zero no more": (lambda own, x, where, value, bk: x, "pairs"),
    },
    "missing.complete_pairs": {
        "absent modalities are missed": (
            lambda own, present, sources, absent=None, **k: own(present, sources, **k),
            "soft labels, losses, gradients",
        ),
    },
    "missing.unimodal_scale": {
        "missing modalities count": (lambda own, p, dtype, bk: np.ones(p.T.shape, dtype), "losses"),
    },
    "gradients.midas_gradients": {
        "fused gradients scaled": (
            lambda own, *a, **k: _scaled(own(*a, **k), "fused"),
            "gradients, finite differences, half precision",
        ),
        "mixed gradients scaled": (
            lambda own, *a, **k: _scaled(own(*a, **k), "mixed"),
            "gradients, finite differences",
        ),
    },
}
MUTANTS = [pytest.param(place, *CORE[place][name], id=name) for place in CORE for name in CORE[place]]


def _scaled(gradients, name):
    return gradients._replace(**{name: getattr(gradients, name) * 1.001})


@pytest.mark.parametrize(("place", "breaking", "properties"), MUTANTS)
def test_broken_core(place, breaking, properties, monkeypatch):
    replace_in_core(monkeypatch, *place.split("."), breaking)
    must_break(get_framework("numpy"), properties.split(", "))


AUTOGRAD = {
    "no stopped gradient": {"stop_gradient": lambda x: x},
    "a stopped gradient too many": {"log_softmax": lambda x: x.detach().log_softmax(dim=-1)},
    "a gradient of one half": {"log_softmax": lambda x: (x.log_softmax(dim=-1) + x.detach().log_softmax(dim=-1)) / 2},
}


@pytest.mark.parametrize("name", AUTOGRAD)
def test_broken_autograd(name):
    run_property("autograd", get_framework("torch"), examples=30)
    broken = with_backend(get_framework("torch"), **AUTOGRAD[name])
    run_property("losses", broken, examples=30)
    must_break(broken, ["autograd"])


def test_one_line_of_a_test_suite_says_what_is_wrong_and_how_to_make_it_again():
    broken = with_namespace(get_framework("numpy"), argmin=np.argmax)
    with pytest.raises(AssertionError, match=r"(?s)numpy: alpha: .*times the allowed error.*make_problem\("):
        check_backend(broken, properties=["alpha"], examples=30)
    results = [next(verify_backend(broken, properties=["alpha"], examples=30, seed=3)) for _ in range(2)]
    assert results[0].message == results[1].message, "the same seed finds the same case"
    assert results[0].agrees is False


def test_half_precision_that_stays_half(monkeypatch):
    monkeypatch.setattr("midas_core.backends.base.Backend.in_full_precision", lambda backend, x: x)
    must_break(get_framework("numpy"), ["half precision"])


def test_a_backend_of_nothing_is_no_success():
    class Bare(Framework):
        half = ()

    bare = Bare(mc.backends.Backend("bare", np))
    with pytest.raises(AssertionError, match="no property could be tried"):
        check_backend(bare, properties=["draws", "autograd"])

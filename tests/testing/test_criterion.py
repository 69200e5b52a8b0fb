"""The property "criterion" can fail: it finds every function of pairing, weights and heads that is broken."""

import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import Phase

torch = pytest.importorskip("torch")

from midas_core.testing import check_backend, verify_backend  # noqa: E402

BROKEN = {
    "adapters.torch.heads": ("additive_logits", "_columns_of", "_sums_of_parts", "fused_logits", "unimodal_logits"),
    "partners": ("absent_modalities",),
    "pairing": ("source_matrix", "pair_classes", "pair_mask", "take_rows"),
    "weighting": ("normalized_confidence", "imbalance", "finite_pairs", "official_gap", "current_alpha", "next_state"),
    "similarity": ("similarity", "hard_sample_weight"),
    "missing": ("complete_pairs", "unimodal_scale"),
    "cross_entropy": ("label_likelihoods", "part_likelihoods", "label_weights"),
}


def spoiled(x):
    """Return numbers that are a little off, flags inverted, other arrays rolled by one."""
    if isinstance(x, tuple | list):
        items = [spoiled(item) for item in x]
        return type(x)(*items) if hasattr(x, "_fields") else type(x)(items)
    if isinstance(x, torch.Tensor):
        return 1.01 * x + 0.01 if x.is_floating_point() else torch.from_numpy(spoiled(x.numpy()))
    if isinstance(x, np.ndarray):
        if x.dtype.kind == "f":
            return x.dtype.type(1.01) * x + x.dtype.type(0.01)
        return ~x if x.dtype.kind == "b" else np.asarray(np.roll(x, 1))
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
    check_backend("torch", properties=["criterion"], examples=200, seed=1)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in BROKEN.items() for name in names])
def test_a_broken_function_is_noticed(monkeypatch, module, name):
    function = getattr(import_module(f"midas_core.{module}"), name)
    replace_everywhere(monkeypatch, function, breaking(function))
    # Hypothesis need not look for the smallest case.
    monkeypatch.setattr("midas_core.testing.verification.PHASES", [Phase.generate])
    result = next(verify_backend("torch", properties=["criterion"], examples=100))
    assert result.agrees is False

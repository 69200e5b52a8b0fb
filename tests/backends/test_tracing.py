"""Compiled steps: torch.compile, jax.jit and tf.function give what eager execution gives, for any batch size."""

from functools import partial

import numpy as np
import pytest

import midas_core as mc
from tests.frameworks import get_framework

BATCHES = (7, 1, 12)
CLASSES = 4


def step(bk, modalities, variant, arrays):
    """Do all that a training step does, from random numbers to gradients, with linear heads."""
    labels, features = arrays["labels"], arrays["features"]
    sources = mc.pairing.draw_sources(
        mc.partners.Draw(**arrays["numbers"]), labels, modalities, variant=variant, backend=bk
    )
    mixed = mc.mix(features, sources, backend=bk)
    fused = sum(f @ w for f, w in zip(features, arrays["fusion"], strict=True))
    mixed_logits = sum(f @ w for f, w in zip(mixed, arrays["fusion"], strict=True))
    unimodal = [f @ w for f, w in zip(features, arrays["heads"], strict=True)]
    similarities = mc.similarity(features, sources, backend=bk)
    options = {"variant": variant, "backend": bk}
    if "rows" in arrays:
        labels = mc.Targets(arrays["rows"], arrays["sample_weight"], arrays["class_weights"], label_smoothing=0.1)
        options["present"] = arrays["present"]
    logits = (fused, unimodal, mixed_logits, labels, sources)
    out = mc.midas_objective(*logits, similarities, mc.MidasState(arrays["alpha"], arrays["step"]), **options)
    closed = mc.midas_gradients(*logits, out.soft_weights, **options)
    return [sources, *out.terms, *out.state, out.soft_weights, closed.fused, *closed.unimodal, closed.mixed]


def inputs(batch, modalities, array):
    """Draw the inputs in float32; those of three modalities have several labels, weights, and lack modalities."""
    rng = np.random.default_rng(batch)
    labels = rng.integers(0, CLASSES, batch)
    numbers = mc.draw(labels, modalities, rng)

    def normal(*shape):
        return array(rng.normal(size=shape).astype(np.float32))

    several = {
        "rows": array(rng.integers(0, 2, (batch, CLASSES))),
        "sample_weight": array(rng.random(batch).astype(np.float32)),
        "class_weights": array(np.arange(1, CLASSES + 1, dtype=np.float32)),
        "present": array(rng.random((batch, modalities)) < 0.7),
    }
    return {
        **(several if modalities == 3 else {}),
        "labels": array(labels),
        "features": [normal(batch, 5) for _ in range(modalities)],
        "fusion": [normal(5, CLASSES) for _ in range(modalities)],
        "heads": [normal(5, CLASSES) for _ in range(modalities)],
        "alpha": array(np.full(modalities, 1.5, np.float32)),
        "step": array(np.array(0)),
        "numbers": {name: array(x) for name, x in numbers._asdict().items() if x is not None},
    }


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-5, atol=2e-6)


def expected_of(batch, modalities, variant):
    return step(mc.backends.load_backend("numpy"), modalities, variant, inputs(batch, modalities, np.asarray))


def test_jax_eagerly():
    framework = get_framework("jax")
    found = step(framework.backend, 2, "paper", inputs(7, 2, framework.array))
    assert_same(found, expected_of(7, 2, "paper"))


def test_jax_vmap_and_scan_carry_the_state():
    framework = get_framework("jax")
    import jax

    arrays = inputs(7, 2, framework.array)

    def body(state, rng):
        numbers = mc.draw(arrays["labels"], 2, rng)._asdict()
        numbers.pop("modalities")
        now = arrays | {"alpha": state.alpha, "step": state.step, "numbers": numbers}
        results = step(framework.backend, 2, "paper", now)
        state = mc.MidasState(results[8], results[9])
        return state, results[1].sum()

    first = mc.MidasState(arrays["alpha"], arrays["step"])
    state, totals = jax.lax.scan(body, first, jax.random.split(jax.random.key(0), 4))
    assert int(state.step) == 4
    # A fresh key every step is a fresh draw, although the step was compiled once.
    assert len(set(totals.tolist())) > 1


@pytest.mark.parametrize(
    ("jit_compile", "modalities", "variant"),
    [(False, 2, "official"), (False, 3, "paper"), (True, 3, "paper")],
)
def test_tf_function_with_unknown_batch_size(jit_compile, modalities, variant):
    framework = get_framework("tensorflow")
    import tensorflow as tf

    batch = BATCHES[0]
    arrays = inputs(batch, modalities, framework.array)

    def spec(x):
        return tf.TensorSpec([None if n == batch else n for n in x.shape], x.dtype)

    traces = []

    def traced(given):
        traces.append(given)
        return step(framework.backend, modalities, variant, given)

    signature = [tf.nest.map_structure(spec, arrays)]
    compiled = tf.function(traced, input_signature=signature, jit_compile=jit_compile)
    for batch in BATCHES:
        found = compiled(inputs(batch, modalities, framework.array))
        assert_same(found, expected_of(batch, modalities, variant))
    assert len(traces) == 1


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_tf_function_differentiates(jit_compile):
    framework = get_framework("tensorflow")
    import tensorflow as tf

    arrays = inputs(7, 2, framework.array)

    def gradient(fusion):
        with tf.GradientTape() as tape:
            tape.watch(fusion)
            total = tf.reduce_sum(step(framework.backend, 2, "paper", arrays | {"fusion": fusion})[1])
        return tape.gradient(total, fusion)

    found = tf.function(gradient, jit_compile=jit_compile)(arrays["fusion"])
    assert_same(found, gradient(arrays["fusion"]))


def test_torch_compile_of_the_core(compiler):
    import torch

    backend = mc.backends.load_backend("torch")
    compiled = compiler(partial(step, backend, 3, "paper"), fullgraph=True, backend="aot_eager")
    for batch in BATCHES:
        with torch.no_grad():
            found = compiled(inputs(batch, 3, torch.tensor))
        assert_same(found, expected_of(batch, 3, "paper"))

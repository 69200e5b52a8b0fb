"""The loss alone: the numbers of the PyTorch criterion, its options, its state."""

from __future__ import annotations

import keras
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_core.adapters import torch as torch_adapter
from midas_core.adapters.keras import MidasLoss
from tests.keras.loops import BACKEND, array, loss_and_gradients

DIMS = (4, 2)
# Few: JAX compiles every one anew.
SIZES = ((1, 2), (5, 3), (6, 4))


@st.composite
def options(draw):
    return {
        "weight": draw(st.sampled_from((0.0, 1.0, 5.0))),
        "eta": draw(st.sampled_from((0.05, 0.3))),
        "variant": draw(st.sampled_from(("paper", "official"))),
        "reduction": draw(st.sampled_from(("mean", "sum"))),
        "similarity": draw(st.sampled_from(("cosine", "l2", None))),
        "alpha_update": draw(st.sampled_from(("sign", "difference"))),
        "max_alpha": draw(st.sampled_from((None, 1.5))),
        "initial_alpha": draw(st.sampled_from((1.0, 1.5))),
        "warmup_epochs": draw(st.sampled_from((0, 0, 2))),
    }


def make_both(chosen, classes, rng):
    """The criterion of Keras and that of PyTorch, with the same weights."""
    ours = MidasLoss(num_classes=classes, feature_dims=DIMS, **chosen)
    theirs = torch_adapter.MidasLoss(num_classes=classes, feature_dims=DIMS, **chosen).double()
    theirs.set_epoch(0)
    head = keras.layers.Dense(classes)
    head.build((None, sum(DIMS)))
    their_head = torch.nn.Linear(sum(DIMS), classes).double()
    layers = [(head, their_head), *zip(ours.unimodal_heads, theirs.unimodal_heads, strict=True)]
    for layer, module in layers:
        kernel, bias = (rng.normal(size=v.shape).astype("float32") for v in layer.get_weights())
        layer.set_weights([kernel, bias])
        with torch.no_grad():
            module.weight.copy_(torch.tensor(kernel.T))
            module.bias.copy_(torch.tensor(bias))
    return ours, head, theirs, their_head


@settings(max_examples=12 if BACKEND == "jax" else 30)
@given(st.data())
def test_agrees_with_the_pytorch_criterion(data):
    batch, classes = data.draw(st.sampled_from(SIZES))
    chosen = data.draw(options())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ours, head, theirs, their_head = make_both(chosen, classes, rng)
    features = [rng.normal(size=(batch, d)).astype("float32") for d in DIMS]
    labels, permutation = rng.integers(classes, size=batch), rng.permutation(batch)

    loss, gradients = loss_and_gradients(ours, head, features, labels, permutation=permutation)
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in features]
    expected = theirs(leaves, torch.tensor(labels), head=their_head, permutation=torch.tensor(permutation))
    parameters = [p for module in (their_head, *theirs.unimodal_heads) for p in (module.weight, module.bias)]
    wanted = torch.autograd.grad(expected, [*leaves, *parameters], allow_unused=True)

    np.testing.assert_allclose(loss, float(expected), rtol=2e-5)
    np.testing.assert_allclose(array(ours.alpha), theirs.alpha.numpy(), rtol=1e-5)
    assert int(ours.step) == int(theirs.step)
    for mine, other, leaf in zip(gradients, wanted, [*leaves, *parameters], strict=True):
        other = torch.zeros_like(leaf) if other is None else other
        other = (
            other.numpy() if mine.shape == tuple(other.shape) and leaf.is_leaf and leaf in leaves else other.numpy().T
        )
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5)

"""The loss alone: the numbers of the PyTorch criterion, its options, its state."""

from functools import partial

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_core.adapters import torch as torch_adapter
from midas_core.adapters.keras import MidasLoss
from tests.adapters.keras.loops import BACKEND, array, loss_and_gradients, value

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
        "label_smoothing": draw(st.sampled_from((0.0, 0.1))),
        "multi_label": draw(st.booleans()),
    }


def make_both(chosen, classes, rng):
    """The criterion of Keras and that of PyTorch, with the same weights."""
    ours = MidasLoss(num_classes=classes, feature_dims=DIMS, **chosen)
    theirs = torch_adapter.MidasLoss(num_classes=classes, feature_dims=DIMS, **chosen).double()
    ours.set_epoch(0)
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


@settings(max_examples=5 if BACKEND == "jax" else 30)
@given(st.data())
def test_agrees_with_the_pytorch_criterion(data):
    batch, classes = data.draw(st.sampled_from(SIZES))
    chosen = data.draw(options())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ours, head, theirs, their_head = make_both(chosen, classes, rng)
    features = [rng.normal(size=(batch, d)).astype("float32") for d in DIMS]
    labels, permutation = rng.integers(classes, size=batch), rng.permutation(batch)
    if chosen["multi_label"]:
        labels = rng.integers(2, size=(batch, classes))
    more = {}
    if data.draw(st.booleans()):
        more["sample_weight"] = rng.random(batch).astype("float32")
        if chosen["variant"] == "paper":
            more["present"] = rng.random((batch, 2)) < 0.7

    loss, gradients = loss_and_gradients(ours, head, features, labels, permutation=permutation, **more)
    more = {name: torch.tensor(x) for name, x in more.items()}
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in features]
    expected = theirs(leaves, torch.tensor(labels), head=their_head, permutation=torch.tensor(permutation), **more)
    parameters = [p for module in (their_head, *theirs.unimodal_heads) for p in (module.weight, module.bias)]
    wanted = torch.autograd.grad(expected, [*leaves, *parameters], allow_unused=True)

    np.testing.assert_allclose(loss, expected.item(), rtol=2e-5)
    np.testing.assert_allclose(array(ours.alpha), theirs.alpha.numpy(), rtol=1e-5)
    assert int(ours.step) == int(theirs.step)
    # A kernel of Keras is the transpose of a weight of PyTorch.
    flip = [np.asarray] * len(leaves) + [np.transpose] * len(parameters)
    for mine, other, leaf, turn in zip(gradients, wanted, [*leaves, *parameters], flip, strict=True):
        other = np.zeros(leaf.shape) if other is None else other.numpy()
        np.testing.assert_allclose(mine, turn(other), rtol=2e-4, atol=2e-5)


FEATURES = {"audio": np.eye(6, 4, dtype="float32"), "video": np.ones((6, 2), "float32")}
LABELS = np.arange(6) % 3


def make_criterion(**more):
    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 2}, **{"seed": 1, **more})
    return criterion, keras.layers.Dense(3)


def test_a_head_of_any_kind_gives_the_same_numbers():
    """A Dense layer goes through partial products, a Sequential and a function do not."""
    losses = []
    dense = keras.layers.Dense(3)
    dense.build((None, 6))
    for head in (dense, keras.Sequential([dense]), lambda x: dense(x)):
        criterion, _ = make_criterion()
        for h in criterion.unimodal_heads:
            h.set_weights([np.ones(v.shape) * np.arange(3) for v in h.get_weights()])
        losses.append(value(partial(criterion, FEATURES, LABELS, head=head)))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


@pytest.mark.once
def test_a_head_may_take_the_features_by_name():
    class Head(keras.layers.Layer):
        def call(self, features):
            return features["audio"][:, :3] + keras.ops.sum(features["video"], axis=1, keepdims=True)

    criterion, _ = make_criterion(head_input="separate")
    assert np.isfinite(array(criterion(FEATURES, LABELS, head=Head())))


@pytest.mark.once
def test_labels_may_be_a_column_or_one_hot():
    losses = []
    for labels in (
        LABELS,
        LABELS[:, None],
        np.eye(3)[LABELS],
        np.eye(3, dtype="int32")[LABELS],
        LABELS.astype("uint8"),
    ):
        keras.utils.set_random_seed(0)
        criterion, head = make_criterion()
        losses.append(array(criterion(FEATURES, labels, head=head)).item())
    assert len(set(losses)) == 1


def test_weights_go_with_the_labels():
    by_class = [0.5, 2.0, 1.0]
    criterion, head = make_criterion()
    head.build((None, 6))
    same, _ = make_criterion(class_weights=by_class)
    same.set_weights(criterion.get_weights())
    weights = np.array(by_class, "float32")[LABELS]
    run = {"head": head, "training": False}
    expected = value(lambda: criterion.terms(FEATURES, LABELS, weights, **run))
    keras.tree.map_structure(
        partial(np.testing.assert_allclose, rtol=1e-6), value(lambda: same.terms(FEATURES, LABELS, **run)), expected
    )
    plain = value(lambda: criterion.terms(FEATURES, LABELS, **run))
    np.testing.assert_array_equal(plain.confidence, expected.confidence)
    assert plain.total != expected.total


def test_nothing_moves_without_training():
    criterion, head = make_criterion()
    losses = {array(criterion(FEATURES, LABELS, head=head, training=False)).item() for _ in range(3)}
    assert len(losses) == 1
    assert int(criterion.step) == 0
    criterion(FEATURES, LABELS, head=head)
    assert int(criterion.step) == 1


def test_each_step_draws_anew_and_a_seed_repeats_it():
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        criterion, head = make_criterion(seed=9)
        runs.append([array(criterion(FEATURES, LABELS, head=head)).item() for _ in range(4)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


def test_no_nan_comes_back_from_a_head_that_warm_up_does_not_look_at():
    criterion, head = make_criterion(warmup_epochs=1)
    criterion.set_epoch(0)
    head.build((None, 6))
    head.set_weights([np.full((6, 3), 3e38), np.zeros(3)])
    assert not np.isfinite(array(head(np.ones((1, 6))))).all()
    loss, gradients = loss_and_gradients(criterion, head, FEATURES, LABELS)
    assert np.isfinite(loss)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_give_a_full_precision_loss(dtype):
    criterion, head = make_criterion()
    features = {name: keras.ops.cast(x, dtype) for name, x in FEATURES.items()}
    loss = criterion(features, LABELS, head=lambda x: keras.ops.cast(head(x), dtype))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert np.isfinite(array(loss))
    assert keras.backend.standardize_dtype(criterion.alpha.dtype) == "float32"


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 by default")
def test_float64_keeps_its_digits():
    features = {name: x.astype("float64") for name, x in FEATURES.items()}
    criterion, _ = make_criterion(dtype="float64", initial_alpha=1.1)
    head = keras.layers.Dense(3, dtype="float64")
    loss = criterion(features, LABELS, head=head)
    assert keras.backend.standardize_dtype(loss.dtype) == "float64"
    assert array(criterion.alpha).dtype == np.float64
    assert set(array(criterion.alpha).round(12)) <= {1.0, 1.05, 1.1, 1.15}


@pytest.mark.once
def test_the_weights_of_the_loss_are_its_heads_and_its_state():
    criterion, _ = make_criterion()
    assert [tuple(v.shape) for v in criterion.trainable_variables] == [(4, 3), (3,), (2, 3), (3,)]
    assert {v.name for v in criterion.non_trainable_weights} == {"alpha", "step", "epoch"}


@pytest.mark.once
def test_heads_of_the_user_are_taken():
    heads = {"audio": keras.layers.Dense(3), "video": keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)])}
    criterion = MidasLoss(num_classes=3, unimodal_heads=heads)
    assert np.isfinite(array(criterion(FEATURES, LABELS, head=keras.layers.Dense(3))))
    again = MidasLoss.from_config(criterion.get_config())
    assert [type(h) for h in again.unimodal_heads] == [keras.layers.Dense, keras.Sequential]
    assert again.modalities.names == ("audio", "video")


@pytest.mark.once
@pytest.mark.parametrize("more", [{}, {"num_classes": 3, "feature_dims": {"audio": 4, "video": 2}}])
def test_a_loss_survives_serialisation(more):
    loss = MidasLoss(weight=5.0, warmup_epochs=3, similarity=None, max_alpha=10.0, seed=4, name="midas", **more)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert again.options == loss.options
    assert again.name == "midas"

"""Bad input: at construction or at compile, with the argument, what was expected and what came."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss, MidasModel, Misalign
from tests.adapters.keras.loops import CLASSES, compiled, make_data, make_model
from tests.test_options import WRONG_OPTIONS

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("kind", "message"), WRONG_OPTIONS)
def test_options_of_the_loss(kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        MidasLoss(**WRONG_OPTIONS[kind, message])


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"num_classes": 1}, ValueError, "num_classes: expected a whole number >= 2, got 1"),
        ({"feature_dims": (4, 2)}, ValueError, "num_classes: expected a whole number"),
        ({"num_classes": 3, "feature_dims": (4,)}, ValueError, "feature_dims: expected two or more"),
        ({"num_classes": 3, "feature_dims": (4, 0)}, ValueError, "feature_dims of modality 1: expected"),
        ({"num_classes": 3, "feature_dims": (4, 2), "unimodal_heads": []}, ValueError, "got both"),
        ({"num_classes": 3, "unimodal_heads": [keras.layers.Dense(3), len]}, TypeError, "expected a Keras layer"),
        ({"num_classes": 3, "feature_dims": (1, 2, 3), "variant": "official"}, ValueError, "2 modalities only, got 3"),
        ({"num_classes": 3, "feature_dims": (4, 2), "class_weights": [1.0]}, ValueError, "expected 3 numbers"),
    ],
)
def test_parts_of_the_loss(parts, error, message):
    with pytest.raises(error, match=message):
        MidasLoss(**parts)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"encoders": keras.layers.Dense(4)}, TypeError, "encoders: expected a list or dict of layers"),
        ({"encoders": [keras.layers.Dense(4)]}, ValueError, "encoders: expected two or more modalities, got 1"),
        ({"encoders": [keras.layers.Dense(4), "audio"]}, TypeError, "encoders of modality 1: expected a Keras layer"),
        ({"num_classes": 1}, ValueError, "num_classes: expected"),
        ({"head": len}, TypeError, "head: expected a Keras layer or model"),
        ({"head": keras.layers.Dense(4)}, ValueError, "head: expected 3 logits, as many as num_classes, got 4"),
        ({"head_input": "separate"}, ValueError, "head_input: expected 'concatenated' with the default head"),
        ({"unimodal_heads": {"a": keras.layers.Dense(3)}}, TypeError, "unimodal_heads: expected a list or tuple"),
        ({"unimodal_heads": [keras.layers.Dense(3)]}, ValueError, "unimodal_heads: expected 2 modalities, got 1"),
        ({"unimodal_heads": [keras.layers.Dense(3), keras.layers.Dense(2)]}, ValueError, "modality 1: expected 3 log"),
    ],
)
def test_parts_of_the_model(arguments, error, message):
    parts = {"encoders": [keras.layers.Dense(4), keras.layers.Dense(4)], "num_classes": 3, **arguments}
    with pytest.raises(error, match=message):
        MidasModel(**parts)


def test_a_head_of_unknown_width_is_seen_when_it_is_built():
    model = MidasModel(
        [keras.layers.Dense(4), keras.layers.Dense(4)], 3, head=keras.Sequential([keras.layers.Dense(5)])
    )
    with pytest.raises(ValueError, match=r"output of the head: expected shape \(B, C\) = \(\?, 3\), got"):
        model.build([(None, 2), (None, 2)])


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (None, TypeError, "loss: expected a MidasLoss or a JointLoss, got None"),
        ("sparse_categorical_crossentropy", TypeError, "loss: expected a MidasLoss or a JointLoss, got 'sparse_cat"),
        (keras.losses.SparseCategoricalCrossentropy(), TypeError, "got SparseCategoricalCrossentropy"),
        ({"num_classes": 4}, ValueError, "expected num_classes=3 as in the model, got 4"),
        ({"num_classes": 3, "feature_dims": (5, 5)}, ValueError, "expected no feature_dims and no unimodal_heads"),
        ({"reduction": "none"}, ValueError, "expected reduction 'mean' or 'sum'"),
        ({"head_input": "separate"}, ValueError, "expected head_input='concatenated' as in the model"),
    ],
)
def test_loss_at_compile(loss, error, message):
    loss = MidasLoss(**loss) if isinstance(loss, dict) else loss
    with pytest.raises(error, match=message):
        make_model().compile("sgd", loss=loss)


def test_what_the_model_and_keras_have_beside_the_loss():
    with pytest.raises(ValueError, match="defined for 2 modalities only, got 3"):
        MidasModel([keras.layers.Dense(4) for _ in range(3)], 3).compile("sgd", loss=MidasLoss(variant="official"))
    with pytest.raises(ValueError, match="loss_weights: expected None"):
        make_model().compile("sgd", loss=MidasLoss(), loss_weights=[1.0])


@pytest.mark.parametrize("built", [False, True])
def test_inputs_that_do_not_match(built):
    x, y = make_data(8)
    model = compiled(make_model(built=built))
    with pytest.raises(ValueError, match=r"inputs: expected the modalities \['audio', 'video'\], got \['audio'\]"):
        model.fit({"audio": x["audio"]}, y, verbose=0)
    model = compiled(make_model(built=built, names=False))
    with pytest.raises(ValueError, match="inputs: expected 2 modalities, got 3"):
        model.fit([x["audio"], x["video"], x["video"]], y, verbose=0)


FIFTH = np.arange(8) == 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: y + 0.5, ValueError, r"labels: expected class indices in 0 \.\.\. 2, got \d\.5 in row 0"),
        (lambda y: np.where(FIFTH, 3, y), ValueError, r"labels: expected class indices in 0 \.\.\. 2, got 3 in row 5"),
        (lambda y: np.where(FIFTH, -1, y), ValueError, "got -1 in row 5"),
        (lambda y: np.where(FIFTH, np.nan, y), ValueError, "got nan in row 5"),
        (lambda y: np.eye(3)[y] + np.eye(3)[y - 1], ValueError, r"one-hot rows .*, got \[[01].*\] in row 0"),
        (lambda y: np.zeros((8, 3)), ValueError, "expected one-hot rows"),
        (lambda y: np.full((8, 3), 0.3), ValueError, r"labels: expected one-hot rows .*multi_label=True.*in row 0"),
        (lambda y: np.eye(4)[y], ValueError, r"labels: expected shape \(B, C\) = \(\?, 3\), got"),
        (lambda y: None, ValueError, "y: expected labels, got None"),
    ],
)
def test_labels_that_do_not_match(change, error, message):
    x, y = make_data(8)
    with pytest.raises(error, match=message):
        compiled(metrics=None).fit(x, change(y), verbose=0)


@pytest.mark.parametrize("labels", [[0, 1, -1], [[1, 0, 0], [1, 1, 0], [0, 0, 1]]])
def test_labels_that_no_loop_and_no_augmentation_takes(labels):
    """JAX trains with a label of -1, and of a soft row each framework takes the largest entry, without a word."""
    labels, features = np.asarray(labels), [np.ones((3, 4), "float32"), np.ones((3, 2), "float32")]
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=(4, 2))
    message = "^labels: expected (class indices in 0|one-hot rows)"
    for call in (criterion, criterion.terms):
        with pytest.raises(ValueError, match=message):
            call(features, labels, head=keras.layers.Dense(CLASSES))
    with pytest.raises(ValueError, match=message):
        Misalign(num_classes=CLASSES)({"features": features, "labels": labels})


def test_a_loss_without_heads_stands_for_no_loop():
    with pytest.raises(ValueError, match="MidasLoss: expected num_classes"):
        MidasLoss()([np.ones((2, 2))] * 2, np.array([0, 1]), head=len)
    with pytest.raises(ValueError, match=r"see model\.alpha"):
        _ = MidasLoss().alpha


GOOD = [np.ones((2, 4)), np.ones((2, 2))]


@pytest.mark.parametrize(
    ("features", "labels", "more", "error", "message"),
    [
        ([np.ones((2, 4))], [0, 1], {}, ValueError, "features: expected 2 modalities, got 1"),
        ({"a": np.ones((2, 4)), "b": np.ones((2, 2))}, [0, 1], {}, TypeError, "features: expected a list or tuple"),
        ([np.ones((2, 5)), np.ones((2, 2))], [0, 1], {}, ValueError, r"features of modality 0: .* got \(2, 5\)"),
        ([np.ones((2, 4)), np.ones((3, 2))], [0, 1], {}, ValueError, r"features of modality 1: .* got \(3, 2\)"),
        ([np.ones((2, 4)), np.ones((2, 2), int)], [0, 1], {}, TypeError, "expected a real floating dtype"),
        (GOOD, [0.5, 1], {}, ValueError, r"labels: .*, got 0\.5 in row 0"),
        (GOOD, [0, 1], {"head": None}, TypeError, "head: expected a callable"),
        (GOOD, [0, 1], {"head": keras.layers.Dense(5)}, ValueError, "output of the head"),
        (GOOD, [0, 1], {"permutation": np.arange(3)}, ValueError, "permutation: expected"),
    ],
)
def test_a_batch_that_does_not_fit(features, labels, more, error, message):
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=(4, 2))
    with pytest.raises(error, match=message):
        criterion(features, np.asarray(labels), **{"head": keras.layers.Dense(CLASSES), **more})


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([np.ones((2, 4))], ValueError, "inputs: expected a dict with the modalities and 'labels', got list"),
        ({"audio": np.ones((2, 4))}, ValueError, r"got \['audio'\]"),
        ({"audio": np.ones((2, 4)), "labels": np.array([0, 1])}, ValueError, "two or more modalities, got 1"),
        ({"features": [np.ones((2, 4)), np.ones((3, 4))], "labels": [0, 1]}, ValueError, "modality 1: expected"),
    ],
)
def test_an_augmentation_that_does_not_fit(inputs, error, message):
    with pytest.raises(error, match=message):
        Misalign(num_classes=2)(inputs)


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ("sys.modules['keras'] = None", "Keras is not installed: pip install 'midas-multimodal"),
        ("sys.modules['jax'] = None; os.environ['KERAS_BACKEND'] = 'jax'", "Keras found no jax, which its"),
    ],
)
def test_what_is_missing_is_named(setup, message):
    code = f"import os, sys; {setup}\nimport midas_core.adapters.keras"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert f"ImportError: {message}" in found.stderr

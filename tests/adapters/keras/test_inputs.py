"""What people have: labels in NumPy and from CSV files, masks of numbers, NaN where something is missing."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss
from midas_core.adapters.keras.inputs import check_label_values
from tests.adapters.keras.loops import CLASSES, array, compiled, make_data, make_model


def test_tensors_on_the_cpu_are_looked_at():
    """While a step is traced nothing is; what the CPU holds is looked at."""
    with pytest.raises(ValueError, match=r"labels: expected class indices in 0 \.\.\. 2, got 5 in row 0"):
        check_label_values(keras.ops.convert_to_tensor([5]), 3)
    assert check_label_values(None, 3) is None


@pytest.mark.once
@pytest.mark.parametrize("way", ["fit", "validation", "evaluate", "train_on_batch", "test_on_batch"])
def test_every_way_in_looks_at_the_labels(way):
    x, y = make_data(8)
    more = {"verbose": 0} if way in ("fit", "evaluate") else {}
    if way == "validation":
        way, more = "fit", {"validation_data": (x, y + 1), "verbose": 0}
    else:
        y = y + 1
    with pytest.raises(ValueError, match=r"labels: expected class indices in 0 \.\.\. 2, got 3"):
        getattr(compiled(), way)(x, y, **more)


@pytest.mark.once
def test_floats_of_a_csv_file_columns_and_one_hot_rows_are_class_indices():
    x, y = make_data(12)
    models = [compiled() for _ in range(4)]
    for model in models[1:]:
        model.set_weights(models[0].get_weights())
    losses = [
        model.fit(x, labels, shuffle=False, validation_data=(x, labels), verbose=0).history
        for model, labels in zip(models, (y, y.astype("float64"), y[:, None] * 1.0, np.eye(CLASSES)[y]), strict=True)
    ]
    for name, values in losses[0].items():
        assert [history[name] for history in losses[1:]] == [pytest.approx(values, rel=1e-5)] * 3


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
def test_a_mask_may_be_numbers(dtype):
    x, _ = make_data(8)
    model, mask = make_model(), np.arange(16).reshape(8, 2) % 3 > 0
    expected = model.predict({**x, "present": mask}, verbose=0)
    np.testing.assert_array_equal(model.predict({**x, "present": mask.astype(dtype)}, verbose=0), expected)
    by_name = {name: mask[:, m].astype(dtype) for m, name in enumerate(x)}
    np.testing.assert_array_equal(model.predict({**x, "present": by_name}, verbose=0), expected)


def test_what_is_missing_may_be_nan():
    """0 * NaN is NaN: zeros in the features alone leave NaN in the gradient of the encoders."""
    x, y = make_data(12)
    mask = np.arange(24).reshape(12, 2) % 3 > 0
    weights = []
    for garbage in (0.0, np.nan):
        keras.utils.set_random_seed(0)
        given = {name: np.where(mask[:, m, None], x[name], garbage) for m, name in enumerate(x)}
        model = compiled()
        model.train_on_batch({**given, "present": mask}, y)
        weights.append([array(v) for v in model.trainable_variables])
    assert all(np.isfinite(w).all() for w in weights[1])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.once
def test_further_keys_are_left_alone():
    x, y = make_data(12)
    more = {**x, "id": np.arange(12)}
    model = compiled()
    np.testing.assert_array_equal(model.predict(more, verbose=0), model.predict(x, verbose=0))
    model.fit(more, y, verbose=0)
    compiled(make_model(built=False)).fit(more, y, verbose=0)


@pytest.mark.once
def test_numbers_of_numpy_are_numbers():
    import json

    model = make_model()
    loss = MidasLoss(weight=np.float32(2), warmup_epochs=np.int64(1), seed=np.int64(3), eta=np.float64(0.1))
    model.compile("sgd", loss=loss)
    json.dumps(model.get_compile_config()["loss"])
    for dims in ({"a": np.int64(4), "b": np.int32(2)}, [np.int64(4), 2]):
        alone = MidasLoss(num_classes=np.int64(3), feature_dims=dims)
        json.dumps(alone.get_config())
        assert MidasLoss.from_config(alone.get_config()).get_config() == alone.get_config()
    several = type(model)([keras.layers.Dense(2)] * 2, np.arange(3).max() + 1)
    json.dumps(several.get_config())


def test_token_ids_are_no_features_but_where_nothing_looks_at_them():
    """Early fusion, docs/fusion.md: the heads are whole models."""
    tokens, labels = [np.arange(12).reshape(6, 2) % 5, np.arange(12).reshape(6, 2) % 3], np.arange(6) % CLASSES
    embedding = keras.layers.Embedding(5, 4)

    def run(x):
        return keras.ops.mean(embedding(x), axis=1)

    heads = [
        keras.Sequential([keras.layers.Embedding(5, 4), keras.layers.Flatten(), keras.layers.Dense(3)]) for _ in "ab"
    ]
    options = {"num_classes": CLASSES, "unimodal_heads": heads}
    raw = MidasLoss(**options, similarity=None, head_input="separate", seed=0)
    dense = keras.layers.Dense(CLASSES)
    dense.build((None, 4))
    if keras.backend.backend() == "jax":
        for head in heads:
            head(tokens[0])
    loss = raw(tokens, labels, head=lambda x: dense(run(x[0]) + run(x[1])))
    assert np.isfinite(array(loss))
    with pytest.raises(TypeError, match="features of modality 0: expected a real floating dtype"):
        MidasLoss(**options, head_input="separate")(tokens, labels, head=dense)

"""Labels that are wrong: seen on the host, and inside tensors, where a step only counts."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import JointLoss, MidasLoss, Misalign
from tests.adapters.keras.loops import BACKEND, CLASSES, array, compiled, make_data, make_model, value


def batches(x, y, size=8):
    """A generator: Keras makes tensors of it that only a step sees."""
    for start in range(0, len(y), size):
        yield {name: v[start : start + size] for name, v in x.items()}, y[start : start + size]


WRONG = {
    "from one": lambda y: y + 1,
    "minus one": lambda y: np.where(np.arange(len(y)) == 3, -1, y),
    "soft rows": lambda y: np.eye(CLASSES)[y] * 0.9 + 0.1 / CLASSES,
}


@pytest.mark.parametrize("name", WRONG if BACKEND == "torch" else ["minus one", "soft rows"])
def test_the_first_batch_of_a_generator(name):
    x, y = make_data(16)
    y[:8] = np.arange(8) % CLASSES
    expected = r"labels: expected class indices in 0 \.\.\. 2 or one-hot rows, got others for \d samples in the first"
    with pytest.raises(ValueError, match=expected):
        compiled(run_eagerly=False).fit(batches(x, WRONG[name](y)), shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=f"{expected} batch of the evaluation"):
        compiled(run_eagerly=False).evaluate(batches(x, WRONG[name](y)), verbose=0)


def test_a_later_batch_is_told_at_the_end_of_the_epoch():
    x, y = make_data(16)
    y[12] = -1
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    with pytest.raises(ValueError, match="got others for 1 samples in the epoch"):
        compiled().fit(batches(x, y), steps_per_epoch=2, shuffle=False, verbose=0, callbacks=[Watch()])
    assert seen == [0, 1]


@pytest.mark.parametrize("loss", [MidasLoss(seed=0), JointLoss(), MidasLoss(multi_label=True)])
def test_one_wrong_label_makes_the_loss_nan(loss):
    """Of a traced step too, and never an index out of range."""
    x, y = make_data(8)
    rows = np.eye(CLASSES)[y]
    several = loss.options.multi_label
    model = compiled(loss=loss)
    for change, finite in ((False, True), (True, False)):
        labels = rows.copy() if several else y.copy()
        if change:
            labels[2] = [0, -1, 1] if several else CLASSES
        given = keras.ops.convert_to_tensor(labels)
        found = value(lambda given=given: model.compute_loss(x, given, model(x), training=False))
        assert np.isfinite(found) == finite


@pytest.mark.once
def test_a_loop_looks_at_the_first_batch_and_later_ones_are_nan():
    features = [np.eye(6, 4, dtype="float32"), np.ones((6, 2), "float32")]
    wrong = keras.ops.convert_to_tensor(np.arange(6) % 3 + 1)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=(4, 2))
    head = keras.layers.Dense(CLASSES)
    with pytest.raises(ValueError, match=r"labels: expected class indices in 0 \.\.\. 2, got 3 in row 2"):
        criterion(features, wrong, head=head)
    criterion(features, np.arange(6) % 3, head=head)
    assert np.isnan(array(criterion(features, wrong, head=head)))
    assert np.isfinite(array(criterion(features, np.arange(6) % 3, head=head, training=False)))


def test_soft_labels_of_a_wrong_label_are_nan():
    layer = Misalign(num_classes=CLASSES, seed=0)
    x, y = make_data(6)
    y[:] = [0, 1, 2, 0, 1, 7]

    def run(training):
        return value(lambda: layer.call({**x, "labels": keras.ops.convert_to_tensor(y)}, training=training)["labels"])

    assert np.isnan(run(False)).any(axis=1).tolist() == [False] * 5 + [True]
    mixed = np.isnan(run(True)).any(axis=1)
    assert 2 <= mixed.sum() < 12


@pytest.mark.once
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", "dog", "dog"], r"labels: expected class indices in 0 \.\.\. 2, got 'cat'; classes, labels = np"),
        (np.array(["a", "b", "c"], dtype=object), "got 'a'; classes, labels"),
    ],
)
def test_text_is_no_label(labels, message):
    x, _ = make_data(3)
    with pytest.raises(TypeError, match=message):
        compiled().fit(x, labels, verbose=0)


@pytest.mark.once
def test_a_list_is_an_array_of_labels():
    x, y = make_data(6)
    compiled().fit(x, y.tolist(), validation_data=(x, y.tolist()), verbose=0)
    with pytest.raises(ValueError, match=r"labels: expected class indices in 0 \.\.\. 2, got 3 in row"):
        compiled().fit(x, [3] * 6, verbose=0)


@pytest.mark.once
def test_class_weight_knows_one_class_for_a_sample():
    x, y = make_data(6)
    model = compiled(make_model(), loss=MidasLoss(multi_label=True), metrics=None)
    with pytest.raises(ValueError, match="class_weight: expected None with multi_label=True"):
        model.fit(x, np.eye(CLASSES)[y], class_weight={0: 2.0, 1: 1.0, 2: 1.0}, verbose=0)
    with pytest.raises(ValueError, match=r"labels: expected rows of 0 and 1, got \[0, 2, 0\] in row 0"):
        model.fit(x, [[0, 2, 0]] * 6, verbose=0)

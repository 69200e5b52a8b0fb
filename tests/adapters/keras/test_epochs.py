"""Who counts the epochs of the warm-up, and the callbacks that do not go with it."""

import warnings

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasLoss
from tests.adapters.keras.loops import CLASSES, compiled, make_data

callbacks = keras.callbacks


def make_loop(**more):
    criterion = MidasLoss(num_classes=3, feature_dims=[2, 2], warmup_epochs=2, **more)
    return criterion, ([np.eye(4, 2, dtype="float32")] * 2, np.arange(4) % 3), keras.layers.Dense(3)


@pytest.mark.once
def test_a_loop_that_counts_nothing_is_told_once():
    criterion, batch, head = make_loop()
    with pytest.warns(
        UserWarning, match=r"warmup_epochs=2, but set_epoch was never called.*criterion\.set_epoch\(epoch\)"
    ):
        criterion(*batch, head=head)
    criterion(*batch, head=head)


@pytest.mark.once
def test_a_loop_that_counts_is_told_nothing():
    criterion, batch, head = make_loop()
    criterion(*batch, head=head, training=False)
    criterion.set_epoch(0)
    criterion(*batch, head=head)
    no_warmup, *_ = make_loop(seed=1)
    no_warmup.options = MidasLoss().options
    no_warmup(*batch, head=head)


@pytest.mark.once
def test_batches_by_hand_count_too():
    x, y = make_data(8)
    model = compiled(loss=MidasLoss(warmup_epochs=2))
    with pytest.warns(UserWarning, match=r"Call model\.set_epoch\(epoch\)"):
        model.train_on_batch(x, y)
    model = compiled(loss=MidasLoss(warmup_epochs=2))
    model.fit(x, y, verbose=0)
    model.train_on_batch(x, y)


def told(*given, loss=None, fits=1):
    x, y = make_data(8)
    model = compiled(loss=loss or MidasLoss(warmup_epochs=4))
    for _ in range(fits):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=list(given))
    return [str(w.message) for w in found if "warm-up" in str(w.message)]


@pytest.mark.once
@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (lambda _: callbacks.EarlyStopping(patience=2), "EarlyStopping can end .* pass start_from_epoch=4"),
        (lambda _: callbacks.EarlyStopping("loss", patience=9), "EarlyStopping can end .* start_from_epoch=4"),
        (lambda p: callbacks.ModelCheckpoint(p, "loss", save_best_only=True), "ModelCheckpoint .*monitor='val_loss'"),
        (lambda _: callbacks.ReduceLROnPlateau("loss"), "ReduceLROnPlateau .*monitor='val_loss'"),
    ],
)
def test_callbacks_that_choose_within_the_warm_up(callback, message, tmp_path):
    (found,) = told(callback(tmp_path / "best.keras"))
    import re

    assert re.search(message, found)
    assert not told(callback(tmp_path / "best.keras"), loss=MidasLoss())


@pytest.mark.once
@pytest.mark.parametrize(
    "callback",
    [
        lambda _: callbacks.EarlyStopping("val_accuracy", patience=4),
        lambda _: callbacks.EarlyStopping("loss", start_from_epoch=4),
        lambda p: callbacks.ModelCheckpoint(p, save_best_only=True),
        lambda p: callbacks.ModelCheckpoint(p, "loss"),
        lambda _: callbacks.ReduceLROnPlateau(),
    ],
)
def test_callbacks_that_go_with_it(callback, tmp_path):
    assert not told(callback(tmp_path / "best.keras"))


@pytest.mark.once
def test_a_warm_up_that_is_over_needs_no_warning():
    assert told(callbacks.EarlyStopping("loss", patience=9), loss=MidasLoss(warmup_epochs=1))
    assert not told(callbacks.EarlyStopping("loss", patience=9), loss=MidasLoss(warmup_epochs=1), fits=2)


@pytest.mark.once
def test_the_default_checkpoint_keeps_a_trained_model(tmp_path):
    """The loss of an evaluation is the full one in every epoch; that of the training jumps when warm-up ends."""
    x, y = make_data(60)
    best = callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    model = compiled(loss=MidasLoss(warmup_epochs=3, seed=0), optimizer=keras.optimizers.Adam(0.02))
    history = model.fit(x, y, epochs=10, batch_size=20, validation_data=(x, y), verbose=0, callbacks=[best]).history
    assert history["loss"][3] > history["loss"][2]
    assert np.argmin(history["val_loss"]) > 3
    kept = keras.models.load_model(tmp_path / "best.keras")
    found = (kept.predict(x, verbose=0).argmax(axis=1) == y).mean()
    assert found == pytest.approx(max(history["val_accuracy"]), abs=0.1)
    assert found > 2 / CLASSES


def test_the_epoch_is_counted_before_the_others_save():
    x, y = make_data(8)
    seen = []

    class Watch(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(("begin", self.model.midas_state.get_epoch()))

        def on_epoch_end(self, epoch, logs=None):
            seen.append(("end", self.model.midas_state.get_epoch()))

    model = compiled()
    model.fit(x, y, initial_epoch=2, epochs=4, verbose=0, callbacks=[Watch()])
    assert seen == [("begin", 2), ("end", 3), ("begin", 3), ("end", 4)]
    seen.clear()
    whole = callbacks.CallbackList([Watch()], model=model, epochs=5)
    model.fit(x, y, initial_epoch=4, epochs=5, verbose=0, callbacks=whole)
    assert seen == [("begin", 4), ("end", 5)]

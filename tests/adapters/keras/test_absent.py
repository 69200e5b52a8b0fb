"""A step gives the numbers of the core for every kind of head; absent partners in `fit`, saved and loaded."""

import keras
import numpy as np
import pytest

import midas_core as mc
from midas_core.adapters.keras import MidasLoss, Misalign
from tests.adapters.keras.loops import array, compiled, make_data, value

WIDTHS = (4, 5, 3)
LABELS = np.arange(9) % 3


@pytest.mark.parametrize(
    ("count", "hidden", "masked", "share"),
    [(3, False, False, 0.0), (2, False, False, 0.5), (3, False, True, 0.5), (3, True, False, 0.5)],
)
def test_a_step_gives_what_the_core_gives(count, hidden, masked, share):
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(9, width)).astype("float32") for width in WIDTHS[:count]]
    numbers = mc.draw(LABELS, count, rng, absent=share > 0)
    present = rng.random((9, count)) < 0.7 if masked else None
    criterion = MidasLoss(num_classes=3, feature_dims=WIDTHS[:count], initial_alpha=1.3, absent_share=share)
    criterion.state.draw = lambda *_: type(numbers)(
        *(None if x is None else keras.ops.cast(x, "float32") for x in numbers)
    )
    bias = keras.initializers.RandomNormal()
    # A bias: it stays where the first modality is absent.
    last = keras.layers.Dense(3, bias_initializer=bias)
    head = keras.Sequential([keras.layers.Dense(4, activation="tanh"), last]) if hidden else last
    head.build((None, sum(WIDTHS[:count])))

    def run(layer, x):
        return array(layer(x.astype("float32"))).astype("float64")

    given = features if present is None else mc.zero_missing(features, present)
    pairs = mc.draw_pairs(numbers, LABELS, count, absent_share=share)
    mixed = [x.reshape(18, -1) for x in mc.mix(given, pairs.sources, absent=pairs.absent)]
    expected = mc.midas_objective(
        run(head, np.concatenate(given, axis=1)),
        [run(h, x) for h, x in zip(criterion.unimodal_heads, given, strict=True)],
        run(head, np.concatenate(mixed, axis=1)).reshape(2, 9, 3),
        LABELS,
        pairs,
        mc.similarity(given, pairs.sources),
        mc.MidasState(np.full(count, 1.3), np.array(0)),
        present=present,
    )
    found = value(lambda: criterion.terms(features, LABELS, head=head, present=present))
    np.testing.assert_allclose(found.misaligned, expected.terms.misaligned.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.total, expected.terms.total.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.alpha, expected.terms.alpha, rtol=1e-5)


def test_fit_counts_and_saves_it(tmp_path):
    x, y = make_data(12)
    model = compiled(loss=MidasLoss(absent_share=0.5, warmup_epochs=1, seed=0))
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.options.absent_share == 0.5
    for each in (model, again):
        each.reset_metrics()
    np.testing.assert_allclose(again.train_on_batch(x, y), model.train_on_batch(x, y), rtol=1e-6)


@pytest.mark.once
def test_the_augmentation_takes_the_option():
    layer = Misalign(num_classes=3, absent_share=1.0, seed=0)
    batch = {"audio": np.ones((9, 4), "float32"), "video": np.ones((9, 5), "float32"), "labels": LABELS}
    mixed = layer({**batch, "present": np.ones((9, 2), bool), "sample_weight": np.full(9, 2.0)}, training=True)
    left = np.stack([array(mixed[name]).any(axis=1) for name in ("audio", "video")], axis=1)
    assert (left.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(array(mixed["present"]), left)
    np.testing.assert_array_equal(array(mixed["labels"]).argmax(axis=1), np.tile(LABELS, 2))
    np.testing.assert_array_equal(array(mixed["sample_weight"]), 2)
    assert Misalign.from_config(layer.get_config()).absent_share == 1.0

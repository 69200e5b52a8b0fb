"""Masks of token sequences go wherever the features go: padding never counts."""

import keras
import numpy as np
import pytest

from midas_core.adapters.keras import MidasCallback, MidasLoss, MidasModel, Misalign
from midas_core.adapters.keras.masks import mask_of, with_mask
from midas_core.diagnostics import diagnose
from tests.adapters.keras.loops import BACKEND, CLASSES, array, compiled, value

RNG = np.random.default_rng(0)
LABELS = np.arange(9) % CLASSES
TOKENS = RNG.integers(1, 7, size=(9, 4))
TOKENS[::2, 2:] = 0
AUDIO = RNG.normal(size=(9, 4, 3)).astype("float32")


def padded(more):
    return {"text": np.pad(TOKENS, ((0, 0), (0, more))), "audio": AUDIO}


class Pooled(keras.layers.Layer):
    """A head of one sequence, or of several by name: the mean of each over what is no padding."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True
        self.pool, self.dense = keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(CLASSES)

    def call(self, features):
        pooled = [self.pool(x) for x in keras.tree.flatten(features)]
        return self.dense(keras.ops.concatenate(pooled, axis=1))

    def compute_mask(self, features, previous=None):
        return None


class Attending(keras.layers.Layer):
    """Cross-attention of one modality to the other; `MultiHeadAttention` takes the masks off what it reads."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True
        self.attention, self.pooled = keras.layers.MultiHeadAttention(1, 3), Pooled()

    def call(self, features):
        text, audio = features["text"], features["audio"]
        mask = mask_of(text)
        heard = with_mask(self.attention(text, audio), mask)
        return self.pooled({"text": heard, "audio": self.attention(audio, with_mask(text, mask))})

    def compute_mask(self, features, previous=None):
        return None


def make_model(kind):
    text = keras.layers.Embedding(7, 3, mask_zero=True)
    encoders = {"text": text, "audio": keras.layers.Dense(3)}
    heads = {name: Pooled() for name in encoders}
    head = Attending() if kind == "attention" else Pooled()
    kind = "separate" if kind == "attention" else kind
    return MidasModel(encoders, CLASSES, head=head, head_input=kind, unimodal_heads=heads)


# JAX compiles attention for half a minute; the diagnosis below runs it on every backend.
@pytest.mark.parametrize("kind", ["attention", "concatenated"] if BACKEND == "torch" else ["concatenated"])
@pytest.mark.parametrize("similarity", ["cosine", "l2"] if BACKEND == "torch" else ["cosine"])
def test_padding_changes_nothing(kind, similarity):
    """Neither more of it, nor what stands in it: a vote of all heads, every term of the loss, a training step."""
    numbers = []
    for columns, garbage in ((0, 0.0), (3, 9.0)):
        keras.utils.set_random_seed(1)
        model = compiled(make_model(kind), loss=MidasLoss(seed=2, absent_share=0.5, similarity=similarity))
        model.ensemble_weight = 0.5
        x = {**padded(columns), "present": np.arange(18).reshape(9, 2) % 5 != 0}
        predictions = model.predict(x, verbose=0)
        table = array(model.encoders[0].embeddings).copy()
        table[0] = garbage
        model.encoders[0].embeddings.assign(table)
        logs = model.train_on_batch(x, LABELS, return_dict=True)
        trained = [array(v) for v in model.trainable_variables[1:]]
        numbers.append([predictions, *logs.values(), *trained])
    for mine, expected in zip(*numbers, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.once
def test_a_diagnosis_reads_the_masks(tmp_path):
    """Padding that a head would see changes its predictions: the accuracy diagnosed is that of `evaluate`."""
    model = compiled(make_model("attention"), optimizer=keras.optimizers.Adam(0.02), run_eagerly=False)
    data = padded(6), LABELS
    model.fit(*data, epochs=29, verbose=0)
    callback = MidasCallback(tmp_path, validation_data=data)
    model.fit(*data, verbose=0, callbacks=[callback])
    accuracy = model.evaluate(*data, verbose=0, return_dict=True)["accuracy"]
    assert accuracy > 0.7
    assert callback.diagnose(data, quick=True).accuracy == pytest.approx(accuracy)


def test_a_diagnosis_of_bare_tensors_reads_the_masks():
    """On JAX too, where a mask is no attribute: padding, and garbage in it, changes nothing."""
    results = []
    for columns, garbage in ((0, 0.0), (6, 9.0)):
        keras.utils.set_random_seed(1)
        model = make_model("attention")
        model(padded(columns))
        table = array(model.encoders[0].embeddings).copy()
        table[0] = garbage
        model.encoders[0].embeddings.assign(table)
        features = dict(zip(("text", "audio"), model.encode(padded(columns)), strict=True))

        def head(features, model=model):
            return model.fused_head()(list(features.values()))

        diagnosis = diagnose(head, features, LABELS, num_classes=CLASSES, head_input="separate", probe=False)
        results.append(diagnosis.metrics())
    assert results[1] == pytest.approx(results[0], rel=1e-4)


@keras.saving.register_keras_serializable()
def first_token(modality):
    return modality["feature"][:, 0] if isinstance(modality, dict) else modality[:, 0]


@pytest.mark.once
def test_a_similarity_of_ones_own_is_saved(tmp_path):
    model = compiled(make_model("separate"), loss=MidasLoss(seed=2, similarity=first_token))
    expected = model.test_on_batch(padded(0), LABELS)
    assert expected != compiled(model, loss=MidasLoss(seed=2)).test_on_batch(padded(0), LABELS)
    loss = MidasLoss(similarity=first_token)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.similarity is first_token


def test_padding_changes_nothing_in_the_augmentation():
    means = []
    for more in (0, 5):
        embedding = keras.layers.Embedding(7, 3, mask_zero=True, embeddings_initializer="ones")
        embedding.build()
        embedding.embeddings.assign(np.arange(21).reshape(7, 3))

        x = padded(more)

        def run(embedding=embedding, x=x):
            layer = Misalign(num_classes=CLASSES, seed=3)
            out = layer({"text": embedding(x["text"]), "audio": x["audio"], "labels": LABELS}, training=True)
            return keras.layers.GlobalAveragePooling1D()(out["text"])

        means.append(value(run))
    np.testing.assert_allclose(means[1], means[0], rtol=1e-5)


def test_a_feature_of_two_axes_has_no_mask():
    assert mask_of(keras.ops.ones((2, 3))) is None
    embedded = keras.layers.Embedding(7, 3, mask_zero=True)(TOKENS)
    np.testing.assert_array_equal(array(mask_of(embedded)), TOKENS != 0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="other backends know every shape")
def test_batches_of_unknown_length():
    import tensorflow as tf

    x = padded(0)
    data = tf.data.Dataset.from_tensor_slices((x, LABELS)).padded_batch(4)
    model = compiled(make_model("separate"), run_eagerly=False)
    assert np.isfinite(model.fit(data, shuffle=False, verbose=0).history["loss"]).all()

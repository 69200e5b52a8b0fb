"""
Keras: a loop by hand
=====================

MidasLoss in a loop written by hand, on whichever backend Keras runs.
"""

import keras
import numpy as np

from midas_core.adapters.keras import MidasLoss

rng = np.random.default_rng(0)
labels = rng.integers(3, size=120)
audio = (rng.normal(size=(120, 8)) + labels[:, None]).astype("float32")
video = (rng.normal(size=(120, 6)) - labels[:, None]).astype("float32")

audio_encoder, video_encoder = keras.layers.Dense(16, activation="relu"), keras.layers.Dense(16, activation="relu")
head = keras.layers.Dense(3)
criterion = MidasLoss(num_classes=3, feature_dims={"audio": 16, "video": 16}, warmup_epochs=1)

layers = [audio_encoder, video_encoder, head, criterion]
for layer, width in zip(layers, (8, 6, 32), strict=False):
    layer.build((None, width))
variables = [v for layer in layers for v in layer.trainable_variables]
optimizer = keras.optimizers.Adam(0.01)
optimizer.build(variables)


def compute_loss(audio, video, labels):
    features = {"audio": audio_encoder(audio), "video": video_encoder(video)}
    return criterion(features, labels, head=head)


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    @tf.function
    def step(*batch):
        with tf.GradientTape() as tape:
            loss = compute_loss(*batch)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

elif keras.backend.backend() == "jax":
    import jax

    # What changes goes in and comes out: Keras's stateless scope stands in for the variables.
    state = [v for layer in layers for v in layer.non_trainable_variables]

    def stateless_loss(values, state_values, batch):
        mapping = [*zip(variables, values, strict=True), *zip(state, state_values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = compute_loss(*batch)
        return loss, [scope.get_current_value(v) for v in state]

    gradient = jax.jit(jax.value_and_grad(stateless_loss, has_aux=True))

    def step(*batch):
        (loss, new), grads = gradient([v.value for v in variables], [v.value for v in state], batch)
        for v, value in zip(state, new, strict=True):
            v.assign(value)
        optimizer.apply(grads, variables)
        return loss

else:

    def step(*batch):
        loss = compute_loss(*batch)
        loss.backward()
        grads = [v.value.grad for v in variables]
        optimizer.apply([g.clone() for g in grads], variables)
        for g in grads:
            g.zero_()
        return loss.detach()


for epoch in range(4):
    criterion.set_epoch(epoch)
    for rows in np.array_split(rng.permutation(120), 4):
        loss = step(audio[rows], video[rows], labels[rows])
    print(f"epoch {epoch}: loss {float(loss):.3f}, alpha {keras.ops.convert_to_numpy(criterion.alpha.value).round(2)}")

"""
Keras
=====

Joint training and MIDAS in Keras, on whichever backend ``KERAS_BACKEND`` names. Two modalities: the left half of each
digit, wide and noisy, and the clean right one.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

from midas_core.adapters.keras import JointLoss, MidasLoss, MidasModel

images, labels = load_digits().images / 16, load_digits().target
noise = np.random.default_rng(0).normal(size=(len(images), 24, 12))
left = (np.kron(images[:, :, :4], np.ones((1, 3, 3))) + noise).reshape(-1, 288)
right = images[:, :, 4:].reshape(-1, 32)
x = {"left": left, "right": right}
train, test = slice(300), slice(700, None)


def select(rows):
    return {name: v[rows] for name, v in x.items()}, labels[rows]


accuracies = {}
for name, loss in (("joint training", JointLoss()), ("MIDAS", MidasLoss(warmup_epochs=5))):
    keras.utils.set_random_seed(0)
    model = MidasModel({side: keras.layers.Dense(64, activation="relu") for side in x}, num_classes=10)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    model.fit(*select(train), epochs=60, batch_size=50, verbose=0)
    _, accuracies[name] = model.evaluate(*select(test), verbose=0)
    print(f"{name}: test accuracy {100 * accuracies[name]:.1f} %")

model.save("digits.keras")

"""MIDAS in Keras: the left and the right half of each digit as two modalities."""

import keras
from sklearn.datasets import load_digits

from midas_core.adapters.keras import MidasLoss, MidasModel

images, labels = load_digits().images / 16, load_digits().target
x = {"left": images[:, :, :4].reshape(-1, 32), "right": images[:, :, 4:].reshape(-1, 32)}

model = MidasModel({name: keras.layers.Dense(64, activation="relu") for name in x}, num_classes=10)
model.compile(optimizer="adam", loss=MidasLoss(warmup_epochs=2), metrics=["accuracy"])
model.fit(x, labels, epochs=10, validation_split=0.2)
model.save("digits.keras")

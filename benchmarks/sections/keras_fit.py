"""``fit`` with `MidasModel` on each Keras backend, beside the same model trained with joint and unimodal losses."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.child import times_in_child
from benchmarks.problem import Size
from benchmarks.results import Result
from benchmarks.settings import QUICK_SIZES, Settings
from benchmarks.timing import Effort, Times, interleave

SIZES = (Size(64, 6, 512), Size(256, 1000, 512))
BACKENDS = {"tensorflow": ("TensorFlow", 1.1), "jax": ("JAX", 1.1), "torch": ("PyTorch", 1.2)}
"""With the targets."""
BATCHES = {64: 50, 256: 8, 16: 2}
"""In an epoch, by their size."""
EFFORT = Effort(block=0.0, budget=12.0, fewest=7, most=51)
BASE = "joint + unimodal"


def measure(settings: Settings) -> list[Result]:
    """Time epochs on the backends that are installed, each in a process of its own."""
    sizes = QUICK_SIZES if settings.quick else SIZES
    found = []
    for backend, (title, target) in BACKENDS.items():
        if find_spec(backend) is None:
            settings.warn(f"keras: {title} is not installed")
            continue
        settings.report(f"Keras on {title}")
        place = {"KERAS_BACKEND": backend}
        function = "benchmarks.sections.keras_fit:take_times"
        every = times_in_child(function, sizes, settings.effort_of(EFFORT), environment=place)
        for name, how in (("MidasModel", title), ("MidasModel, warm-up over", title)):
            for size, times in zip(sizes, every, strict=True):
                found.append(Result.of_ratio(times, name, BASE, str(size), target, how))
    return found


def take_times(size: Size, effort: Effort) -> Times:
    """Time ``fit`` for an epoch, encoders of one layer and Adam included, under the backend of this process."""
    import keras  # type: ignore[import-untyped]

    from midas_core.adapters.keras import MidasLoss

    batch, classes, width, modalities = size
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    samples = batch * BATCHES[batch]
    x = [rng.normal(size=(samples, width)).astype("float32") for _ in range(modalities)]
    y = rng.integers(classes, size=samples)

    def fit(model: Any) -> Any:
        return lambda: model.fit(x, y, batch_size=batch, verbose=0)

    plain, warm = _midas(keras, size, MidasLoss(seed=0)), _midas(keras, size, MidasLoss(seed=0, warmup_epochs=1))
    # The first epoch of all is the warm-up.
    epochs = {"MidasModel": fit(plain), "MidasModel, warm-up over": fit(warm)}
    base = _joint_unimodal(keras, size)
    epochs[BASE] = lambda: base.fit(x, [y] * (1 + modalities), batch_size=batch, verbose=0)
    return interleave(epochs, effort)


def _midas(keras: Any, size: Size, loss: Any) -> Any:
    from midas_core.adapters.keras import MidasModel

    encoders = [keras.layers.Dense(size.width, activation="relu") for _ in range(size.modalities)]
    model = MidasModel(encoders, size.classes)
    model.compile(optimizer="adam", loss=loss)
    return model


def _joint_unimodal(keras: Any, size: Size) -> Any:
    """Return the same layers as a functional model with a loss at each head."""
    inputs = [keras.Input((size.width,)) for _ in range(size.modalities)]
    features = [keras.layers.Dense(size.width, activation="relu")(x) for x in inputs]
    fused = keras.layers.Dense(size.classes)(keras.layers.Concatenate()(features))
    unimodal = [keras.layers.Dense(size.classes)(feature) for feature in features]
    model = keras.Model(inputs, [fused, *unimodal])
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=[entropy] * (1 + size.modalities))
    return model

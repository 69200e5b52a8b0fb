"""The methods of the demo as Keras models, trained by ``fit`` on whichever Keras backend is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from midas_core.adapters.keras import MidasLoss, MidasModel
from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.baselines import drop_modalities
from midas_core.data import Task
from midas_core.demo.methods import Method
from midas_core.demo.training import Hyperparameters, Measure, MethodRun, restrict, spacing


@keras.saving.register_keras_serializable(package="midas_core")
class ModalityDropout(keras.layers.Layer):  # type: ignore[misc]
    """Set one modality of a sample to zero, any of them with the same chance.

    Parameters
    ----------
    probability : float
        That a sample loses a modality.
    """

    def __init__(self, probability: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probability = probability
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, features: list[Any], training: bool = False) -> list[Any]:
        """Return the features, some of them zero in training."""
        if not training:
            return features
        return drop_modalities(features, self.probability, self.seed_generator)


class KerasNetwork:
    """Encoders and head of a Keras model, as the measurements of the demo call them: on PyTorch tensors.

    Parameters
    ----------
    encoders : sequence of M layers
    head : layer
    unimodal_heads : sequence of M layers, optional
    """

    def __init__(self, encoders: Sequence[Any], head: Any, unimodal_heads: Sequence[Any] | None = None) -> None:
        self.encoders = [_on_tensors(encoder) for encoder in encoders]
        self.head = _on_tensors(head)
        self.unimodal_heads = None if unimodal_heads is None else [_on_tensors(each) for each in unimodal_heads]
        self.feature_dims = [encoder.output_shape[-1] for encoder in encoders]

    def encode(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the feature of each modality, shapes (B, D_m)."""
        return [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]


def train(
    task: Task,
    method: Method,
    seed: int,
    hyperparameters: Hyperparameters,
    *,
    report: Callable[[int], None] = lambda epochs: None,
) -> tuple[KerasNetwork, MethodRun]:
    """Train one method with one seed by ``fit``; arguments and results as `midas_core.demo.training.train`."""
    keras.utils.set_random_seed(seed)
    training, validation = restrict(task.training, method.only), restrict(task.validation, method.only)
    model, network = _build([x.shape[1] for x in training.inputs], task.num_classes, method, hyperparameters)
    run = MethodRun(method.key, seed, hyperparameters, seconds=0.0)
    criterion = SimpleNamespace(unimodal_heads=network.unimodal_heads)
    measure = Measure(network, criterion, training, validation, task.num_classes)
    follow = _Follow(run, measure, criterion, hyperparameters.epochs, report)
    outputs = 1 if isinstance(model, MidasModel) else len(model.outputs)
    model.fit(
        list(training.inputs) if len(training.inputs) > 1 else training.inputs[0],
        training.labels if outputs == 1 else [training.labels] * outputs,
        epochs=hyperparameters.epochs,
        batch_size=hyperparameters.batch_size,
        callbacks=[follow],
        verbose=0,
    )
    model.set_weights(follow.best)
    return network, run


class _Follow(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures now and then, and keeps the weights with the best validation accuracy; of equal ones the last."""

    def __init__(
        self, run: MethodRun, measure: Measure, criterion: Any, epochs: int, report: Callable[[int], None]
    ) -> None:
        super().__init__()
        self.run, self.measure, self.criterion, self.report = run, measure, criterion, report
        self.epochs, self.every = epochs, spacing(epochs)
        self.since, self.start = 0, time.process_time()
        self.best: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure."""
        done = epoch + 1
        if done % self.every and done < self.epochs:
            return
        self.run.seconds += time.process_time() - self.start
        if hasattr(self.model, "alpha"):
            self.criterion.alpha = torch.from_numpy(keras.ops.convert_to_numpy(self.model.alpha))
        point = self.measure(done, float((logs or {})["loss"]))
        self.run.history.append(point)
        if point.validation_accuracy >= self.run.validation_accuracy:
            self.run.validation_accuracy, self.run.best_epoch = point.validation_accuracy, done
            self.best = self.model.get_weights()
        self.report(done - self.since)
        self.since, self.start = done, time.process_time()


def _build(
    widths: Sequence[int], num_classes: int, method: Method, hyperparameters: Hyperparameters
) -> tuple[Any, KerasNetwork]:
    layers = keras.layers
    encoders = [
        keras.Sequential(
            [keras.Input((width,)), layers.Dense(128, activation="relu"), layers.Dense(64, activation="relu")]
        )
        for width in widths
    ]
    head = layers.Dense(num_classes)
    optimizer = keras.optimizers.Adam(hyperparameters.learning_rate)
    strength = hyperparameters.strength
    if method.key == "MIDAS":
        model = MidasModel(encoders, num_classes, head=head)
        model.compile(optimizer, loss=MidasLoss(weight=strength))
        model.build([(None, width) for width in widths])
        return model, KerasNetwork(encoders, head, model.unimodal_heads)

    inputs = [keras.Input((width,)) for width in widths]
    features = [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]
    unimodal_heads = None
    kept, outputs, weights = features, [], [1.0]
    if method.key == "joint + dropout":
        kept = ModalityDropout(strength)(features)
    if method.key == "joint + unimodal":
        unimodal_heads = [layers.Dense(num_classes) for _ in widths]
        outputs = [each(feature) for each, feature in zip(unimodal_heads, features, strict=True)]
        weights += [strength] * len(widths)
    fused = head(layers.Concatenate()(kept) if len(kept) > 1 else kept[0])
    model = keras.Model(inputs, [fused, *outputs] if outputs else fused)
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=True) for _ in weights]
    model.compile(optimizer, loss=losses if outputs else losses[0], loss_weights=weights if outputs else None)
    return model, KerasNetwork(encoders, head, unimodal_heads)


def _on_tensors(layer: Any) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        return torch.from_numpy(keras.ops.convert_to_numpy(layer(x.numpy(), training=False)).copy())

    return call

"""The terms of the loss in the logs of a training, and a note about metrics."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.backends import Array
from midas_core.objective import MidasTerms
from midas_core.runs.names import metric_names

ops = keras.ops


class TermLogs(keras.metrics.Metric):  # type: ignore[misc]
    """The means of the terms over an epoch, and the latest alpha, under names such as ``alpha_audio``."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(name="midas_terms", dtype="float32")
        _, *self.names = metric_names(names)
        self.shown = False
        # Of alpha the last one counts.
        self._keep = [0.0 if name.startswith("alpha_") else 1.0 for name in self.names]
        self.sums = self.add_variable((len(self.names),), "zeros", dtype=self.dtype, name="sums")
        self.weights = self.add_variable((len(self.names),), "zeros", dtype=self.dtype, name="weights")
        self.wrong_labels = self.add_variable((), "zeros", dtype=self.dtype, name="wrong_labels")

    def update_state(self, terms: MidasTerms, right: Array) -> None:
        """Add the reduced terms of a step, and which of its labels, shape (B,), are in the range of the classes."""
        terms = MidasTerms(*(ops.cast(ops.stop_gradient(x), self.dtype) for x in terms))
        batch = ops.cast(ops.shape(right)[0], self.dtype)
        self.wrong_labels.assign_add(batch - ops.sum(ops.cast(right, self.dtype)))
        # The shares sum to one, or to zero where the batch offers no pair: such a batch says nothing.
        shares, fused_shares = batch * ops.sum(terms.confidence), batch * ops.sum(terms.fused_confidence)
        ones = ops.ones_like(terms.alpha)
        losses = [ops.stack([terms.aligned, terms.misaligned]), terms.unimodal]
        values = [*losses, terms.alpha, terms.confidence, terms.fused_confidence]
        counts = [batch * ops.ones_like(x) for x in values[:3]]
        weight = ops.concatenate([*counts, shares * ones, fused_shares * ones])
        keep = ops.convert_to_tensor(self._keep, dtype=self.dtype)
        self.sums.assign(self.sums * keep + ops.concatenate(values) * weight)
        self.weights.assign(self.weights * keep + weight)

    def result(self) -> dict[str, Array]:
        """Return the mean of each number since the last reset, where Keras is to show them."""
        if not self.shown:
            return {}
        # NaN for shares where no batch offered a pair.
        means = ops.where(self.weights > 0, ops.divide_no_nan(self.sums, self.weights), float("nan"))
        return {name: means[i] for i, name in enumerate(self.names)}

    def read(self) -> dict[str, float]:
        """Return the means as numbers, of what was seen."""
        sums, weights = (ops.convert_to_numpy(x) for x in (self.sums, self.weights))
        return {name: float(x / n) for name, x, n in zip(self.names, sums, weights, strict=True) if n > 0}

    def load_own_variables(self, store: Any) -> None:
        """Start anew: Keras resets the logs of every epoch, and files of older versions hold others."""


ROW_METRICS = tuple(
    getattr(keras.metrics, name)
    for name in ("AUC", "Precision", "Recall", "FBetaScore", "PrecisionAtRecall", "RecallAtPrecision")
)
"""Metrics that take labels as rows, and say so in the words of a framework."""


@contextmanager
def note_about_rows(labels: Any, num_classes: int) -> Iterator[None]:
    """Add to an error of one of these metrics that it takes labels as rows."""
    try:
        yield
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        inside = any(isinstance(frame.f_locals.get("self"), ROW_METRICS) for frame in frames)
        if inside and len(getattr(labels, "shape", ())) < 2:
            error.add_note(
                f"metrics: predictions have shape (B, {num_classes}); metrics such as AUC and Precision take labels of "
                "that shape: give one-hot rows (keras.utils.to_categorical) in place of class indices"
            )
        raise


def metrics_of_one_output(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``compile`` with the metrics of the one output there is, whatever a dict calls it."""
    for name in ("metrics", "weighted_metrics"):
        metrics = options.get(name)
        if isinstance(metrics, Mapping) and len(metrics) == 1:
            (one,) = metrics.values()
            options[name] = one if one is None or isinstance(one, (list, tuple)) else [one]
    return options

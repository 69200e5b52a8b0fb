"""What training with MIDAS writes to the logs, and who counts its epochs."""

from __future__ import annotations

from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.backends import Array
from midas_core.objective import MidasTerms

ops = keras.ops
Mean = keras.metrics.Mean


class Latest(Mean):  # type: ignore[misc, valid-type]
    """The last value instead of the mean of all."""

    def update_state(self, values: Array, sample_weight: Array | None = None) -> None:
        """Forget what was there."""
        self.reset_state()
        super().update_state(values, sample_weight)


class TermLogs:
    """A metric for each number of a step, under names such as ``alpha_audio``.

    Parameters
    ----------
    names : sequence of str
        Of the modalities.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.aligned = Mean(name="aligned_loss")
        self.misaligned = Mean(name="misaligned_loss")
        self.unimodal = [Mean(name=f"unimodal_loss_{name}") for name in names]
        self.alpha = [Latest(name=f"alpha_{name}") for name in names]
        self.confidence = [Mean(name=f"confidence_{name}") for name in names]
        self.fused_confidence = [Mean(name=f"fused_confidence_{name}") for name in names]

    @property
    def metrics(self) -> list[Any]:
        """Every metric, in the order of the logs."""
        rest = (self.unimodal, self.alpha, self.confidence, self.fused_confidence)
        return [self.aligned, self.misaligned, *(metric for group in rest for metric in group)]

    def update(self, terms: MidasTerms, batch: Array) -> None:
        """Take in the reduced terms of a step of ``batch`` samples."""
        terms = MidasTerms(*(ops.stop_gradient(x) for x in terms))
        self.aligned.update_state(terms.aligned, batch)
        self.misaligned.update_state(terms.misaligned, batch)
        # The shares sum to one, or to zero where the batch offers no pair: such a batch says nothing.
        shares = batch * ops.sum(terms.confidence)
        fused_shares = batch * ops.sum(terms.fused_confidence)
        for m in range(len(self.alpha)):
            self.unimodal[m].update_state(terms.unimodal[m], batch)
            self.alpha[m].update_state(terms.alpha[m])
            self.confidence[m].update_state(terms.confidence[m], shares)
            self.fused_confidence[m].update_state(terms.fused_confidence[m], fused_shares)


class EpochCounter(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts the epochs that a model has been trained for, for its warm-up.

    The count is a weight of the model, so that it goes on over several calls of ``fit`` and after loading. An
    ``initial_epoch`` beyond it moves it forward.
    """

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Catch up with ``initial_epoch``."""
        state = self.model.midas_state
        state.set_epoch(max(epoch, state.get_epoch()))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count before the other callbacks save."""
        state = self.model.midas_state
        state.set_epoch(state.get_epoch() + 1)

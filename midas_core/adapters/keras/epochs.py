"""Who counts the epochs of a training, and which callbacks do not go with a warm-up."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras

JUMPS = ("loss", "misaligned_loss")
"""Logs of the training that are smaller during the warm-up. In evaluation the loss is the full one in every epoch."""


class RunsFirst(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that ``MidasModel.fit`` puts before the others, which then see what it counts and adds to the logs."""


class EpochCounter(RunsFirst):
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


def warn_about_warmup(found: Sequence[Any], epochs: int) -> None:
    """Warn of callbacks that can end the training, or choose an epoch, within the next ``epochs`` of warm-up."""
    for callback in found if epochs > 0 else ():
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        jumps = monitor in JUMPS
        if isinstance(callback, keras.callbacks.EarlyStopping):
            ends = callback.start_from_epoch + callback.patience < epochs
            if callback.start_from_epoch < epochs and (jumps or ends):
                _warn(f"{name} can end the training or choose its weights in", epochs, f"start_from_epoch={epochs}")
        elif isinstance(callback, keras.callbacks.ModelCheckpoint):
            if callback.save_best_only and jumps:
                _warn(f"{name} with monitor={monitor!r} keeps a model of", epochs, f"monitor='val_{monitor}'")
        elif isinstance(callback, keras.callbacks.ReduceLROnPlateau) and jumps:
            _warn(f"{name} takes for the best value of {monitor!r} one of", epochs, f"monitor='val_{monitor}'")


def _warn(what: str, epochs: int, way_out: str) -> None:
    warnings.warn(
        f"{what} the {epochs} epochs of warm-up, in which the training loss lacks terms and the fused head learns "
        f"nothing: pass {way_out}",
        stacklevel=4,
    )

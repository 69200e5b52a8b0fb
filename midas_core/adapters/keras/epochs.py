"""Callbacks of `MidasModel.fit`: epochs are counted, labels watched, callbacks that misfit a warm-up named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.heads import try_heads
from midas_core.adapters.warn import warn_user

JUMPS = ("loss", "misaligned_loss")
"""Logs of the training that are smaller during the warm-up. In evaluation the loss is the full one in every epoch."""


class RunsFirst(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that ``MidasModel.fit`` puts before the others, which then see what it counts and adds to the logs."""


class LabelWatch(RunsFirst):
    """Says that labels inside tensors are wrong, after the first batch and after the last one."""

    # A step cannot raise for a value, so it counts. To read the count waits for the device.
    _first = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Try the heads where they have weights."""
        self._first = True
        try_heads(self.model)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the first batch."""
        self.check_first_batch("the first batch of the evaluation")

    def on_test_end(self, logs: Any = None) -> None:
        """Check the labels of the evaluation."""
        self.check_labels("the evaluation")

    def check_first_batch(self, where: str) -> None:
        """Check heads and labels after the first batch of a phase."""
        if self._first:
            self._first = False
            try_heads(self.model)
            self.check_labels(where)

    def check_labels(self, where: str) -> None:
        """Raise ``ValueError`` where the steps have counted wrong labels."""
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        count = int(keras.ops.convert_to_numpy(self.model.terms.wrong_labels))
        if count:
            expected = f"class indices in 0 ... {self.model.num_classes - 1} or one-hot rows"
            if self.model.loss.options.multi_label:
                expected = "rows of 0 and 1"
            raise ValueError(f"labels: expected {expected}, got others for {count} samples in {where}")


class EpochCounter(LabelWatch):
    """Counts the epochs of a model, over several calls of ``fit`` and after loading; ``initial_epoch`` moves it on."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Try the heads where they have weights."""
        self._first = True
        try_heads(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Set the epoch, at least to ``initial_epoch``."""
        state = self.model.midas_state
        state.set_epoch(max(epoch, state.get_epoch()))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Make the step anew where another callback has set an option of the loss."""
        renew_step(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the first batch."""
        self.check_first_batch("the first batch")

    def on_test_begin(self, logs: Any = None) -> None:
        """Check the labels of the epoch before the evaluation resets their count."""
        self.check_labels("the epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count before the other callbacks save."""
        self.check_labels("the epoch")
        state = self.model.midas_state
        state.set_epoch(state.get_epoch() + 1)


def renew_step(model: Any) -> None:
    """Make the step of a compiled model anew where an option of its loss has been set since it was made."""
    before = model.compiled_options
    if not model.compiled or before == model.loss.options:
        return
    model.loss.check_fits(model, model.ensemble_weight)
    model.compiled_options = options = model.loss.options
    model.midas_state.start(options.initial_alpha, options.seed if options.seed != before.seed else None)
    if model.test_function is not None:
        model.make_test_function(force=True)
    if model.train_function is not None:
        model.make_train_function(force=True)


def with_epoch_counter(callbacks: Any, model: Any) -> Any:
    """Return the callbacks of a ``fit`` with a counter of epochs, those that run first in front; warn of misfits."""
    whole = isinstance(callbacks, keras.callbacks.CallbackList)
    items = callbacks.callbacks if whole else keras.tree.flatten(callbacks or [])
    if model.compiled:
        warn_about_warmup(items, model.loss.options.warmup_epochs - model.midas_state.get_epoch())
    model.midas_state.epoch_known = True
    counter = [] if any(isinstance(item, EpochCounter) for item in items) else [EpochCounter()]
    # A stable sort: the others stay in their order.
    ordered = sorted([*counter, *items], key=lambda item: not isinstance(item, RunsFirst))
    if not whole:
        return ordered
    ordered[0].set_model(model)
    callbacks.callbacks[:] = ordered
    return callbacks


def warn_about_warmup(callbacks: Sequence[Any], epochs: int) -> None:
    """Warn of callbacks that can end the training, or choose an epoch, within the next ``epochs`` of warm-up."""
    for callback in callbacks if epochs > 0 else ():
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
    warn_user(
        f"{what} the {epochs} epochs of warm-up, in which the training loss lacks terms and the fused head learns "
        f"nothing: pass {way_out}"
    )

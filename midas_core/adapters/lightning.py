"""MIDAS in Lightning: a callback that counts the epochs, logs, and leaves a run folder for ``midas report``."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from types import ModuleType
from typing import Any


def import_lightning() -> ModuleType:
    """Import Lightning, by either of its names, or say what to install."""
    # The one that the user has imported is the one that will train.
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):
        if name in sys.modules or find_spec(name.partition(".")[0]) is not None:
            return import_module(name)
    raise ImportError("Lightning is not installed: pip install 'midas-multimodal[lightning]'")


lightning = import_lightning()

from midas_core.adapters.torch.callback import FollowingCallback
from midas_core.adapters.torch.follower import VALIDATION_LOSSES

__all__ = ["MidasCallback"]

ALWAYS = (*VALIDATION_LOSSES, "accuracy", "macro_f1", "calibration_error")
"""Measured at each validation, also where no diagnosis is due."""


class MidasCallback(FollowingCallback, lightning.Callback):  # type: ignore[misc, name-defined]
    """Counts the epochs of a criterion, logs its terms, and writes a run folder with the diagnosis of the model.

    Calls ``criterion.set_epoch``, writes loss terms, alpha and confidences into the run folder and into Lightning's own
    logger (``midas/alpha_audio`` ...), and diagnoses the model on the data that ``validation_step`` gives to the
    criterion. Callbacks may monitor ``midas/val_loss``, the whole objective in every epoch, and
    ``midas/val_accuracy``. The state of MIDAS travels in Lightning's checkpoints without any help.

    Parameters
    ----------
    folder : path
        The run folder.
    criterion : nn.Module, optional
        None finds the only `MidasLoss` in the LightningModule as training begins. Another loss that is called as
        ``criterion(features, labels, head=head)`` serves as a baseline.
    aligned_share : float, optional
        Share of the planned epochs, the last ones (0.25, say), of the aligned loss alone: sets ``aligned_from``.
    **run
        ``every``: diagnose after every so many validations, quickly, without probes; in full in the end. ``prefix``: in
        front of the names in Lightning's logger, after ``midas/``, where a model has several criteria with a callback
        each. ``name``, ``class_names``, ``config``, ``tensorboard``: as for `midas_core.runs.RunLogger`. ``resume``:
        whether to go on with a run that is in the folder; None does where ``fit`` is given a ``ckpt_path``, or the
        Trainer trains further. ``diagnostics``: a dict of options of `midas_core.diagnostics.Diagnostics`.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or, as training begins, there is not one criterion, a run in the folder already, or a
        callback monitors what is not measured at each validation.
    RuntimeError
        If an epoch ends and the criterion was not called.

    Notes
    -----
    A criterion outside of the LightningModule gets its mode. ``trainer.validate(model, ckpt_path="best")`` after
    ``fit`` replaces the diagnosis of the last epoch by the best checkpoint's; ``trainer.test`` adds one of the test
    data. Of several processes the first writes the folder, from what it has seen. ``fast_dev_run`` writes nothing.
    Where the last steps have no validation after them, the last quick diagnosis stays.
    """

    not_trained = (
        "training_step has to call it with features, labels and head=, and the module that is trained has to hold it: "
        "leave criterion= out where it is copied or wrapped."
    )
    not_evaluated = "validation_step has to call it too."

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Stop following the criterion."""
        self._let_go()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Find the criterion."""
        self._check_callbacks(trainer.callbacks)
        self._follow(pl_module)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the run folder."""
        resumed = trainer.ckpt_path is not None or trainer.global_step > 0
        self._begin(
            pl_module,
            trainer.global_step,
            epochs=planned_epochs(trainer),
            following=trainer.is_global_zero,
            writes=self._may_write(trainer),
            resumed=resumed,
        )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Count the epoch."""
        self._follower.set_mode()
        self._follower.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Train again, after a validation within the epoch."""
        self._follower.set_mode()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means of the terms."""
        self._end_epoch(trainer.global_step)
        means = self._follower.take_means()
        self._log(means, trainer.current_epoch, trainer.global_step)
        pl_module.log_dict(self._named(means), sync_dist=True)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Follow the validation, except the sanity check."""
        self._look(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model: quickly while it trains, else in full."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            self._end_final_evaluation("validation")
            return
        metrics = self._end_evaluation(trainer.current_epoch, trainer.global_step)
        # Every process has to know what a checkpoint may be chosen by.
        metrics = trainer.strategy.broadcast(metrics)
        pl_module.log_dict(self._named(metrics, "val_"), sync_dist=True)

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Follow the test."""
        self._look(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model on the test data."""
        self._end_final_evaluation("test")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model in full, and close the run folder."""
        self._end_training(trainer.global_step)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the run unfinished."""
        self._recorder.abandon()

    def _look(self, trainer: Any, pl_module: Any) -> None:
        if self._current is None:
            self._writes = self._may_write(trainer)
            self._follow(pl_module)
        self._follower.set_mode()
        self._follower.following = trainer.is_global_zero and not trainer.sanity_checking

    def _may_write(self, trainer: Any) -> bool:
        return trainer.is_global_zero and not trainer.fast_dev_run

    def _named(self, metrics: dict[str, float], prefix: str = "") -> dict[str, float]:
        return {f"midas/{self._recorder.prefix}{prefix}{key}": x for key, x in metrics.items()}

    def _check_callbacks(self, callbacks: list[Any]) -> None:
        """Raise where another callback writes under the same names, or waits for what is not measured each time."""
        prefix, every = self._recorder.prefix, self._recorder.every
        for callback in callbacks:
            if isinstance(callback, MidasCallback) and callback is not self and callback._recorder.prefix == prefix:
                raise ValueError(f"prefix: expected another one for each MidasCallback, got {prefix!r} twice")
            monitor = str(getattr(callback, "monitor", ""))
            known = self._named(dict.fromkeys(ALWAYS, 0.0), "val_")
            if every > 1 and monitor.startswith(f"midas/{prefix}val_") and monitor not in known:
                raise ValueError(
                    f"every: expected 1 where {type(callback).__name__} monitors {monitor!r}, which a diagnosis "
                    f"measures, got {every}"
                )


def planned_epochs(trainer: Any) -> int | None:
    """Return how many epochs ``fit`` will have trained in the end; None where nothing tells."""
    limits = [trainer.max_epochs] if (trainer.max_epochs or -1) >= 0 else []
    if trainer.max_steps >= 0 and isfinite(trainer.num_training_batches):
        steps = -(-trainer.num_training_batches // trainer.accumulate_grad_batches)  # rounded up
        limits.append(-(-trainer.max_steps // steps))
    return min(limits, default=None)

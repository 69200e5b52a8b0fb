"""MIDAS in Lightning: a callback that counts the epochs, logs, and leaves a run folder for ``midas report``."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def import_lightning() -> ModuleType:
    """Import Lightning, by either of its names, or say what to install.

    Raises
    ------
    ImportError
        If neither is installed.
    """
    # The one that the user has imported is the one that will train.
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):
        if name in sys.modules or find_spec(name.partition(".")[0]) is not None:
            return import_module(name)
    raise ImportError("Lightning is not installed: pip install 'midas-multimodal[lightning]'")


lightning = import_lightning()

from midas_core.adapters.torch.follower import FollowingCallback
from midas_core.diagnostics import Diagnostics

__all__ = ["MidasCallback"]


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
        None finds the only `MidasLoss` in the LightningModule. Another loss that is called as ``criterion(features,
        labels, head=head)`` serves as a baseline.
    every : int
        Diagnose after every so many validations: quickly, without probes; in full in the end.
    name, class_names, config, tensorboard : as for `midas_core.runs.RunLogger`
        As for `midas_core.runs.RunLogger`.
    resume : bool, optional
        Whether to go on with a run that is in the folder. None does where ``fit`` is given a ``ckpt_path``, or called
        again.
    diagnostics : dict, optional
        Options of `midas_core.diagnostics.Diagnostics`: ``keep``, ``absent`` ...

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or, as ``fit`` begins, there is not one criterion or a run in the folder already.

    Notes
    -----
    ``trainer.validate(model, ckpt_path="best")`` after ``fit`` puts the diagnosis of the best checkpoint in the place
    of that of the last epoch; ``trainer.test`` adds one of the test data. On several processes the folder is written
    by the first, from what it has seen. ``fast_dev_run`` writes nothing. Where the last steps have no validation after
    them, the last quick diagnosis stays.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the criterion."""
        self._follow(pl_module)
        self._last = None

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let go of the criterion."""
        self._let_go()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the run folder."""
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Count the epoch."""
        self._known.set_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the means of the terms."""
        means = self._known.take_means()
        self._begin(trainer)
        self._recorder.log(means, epoch=trainer.current_epoch, step=trainer.global_step)
        pl_module.log_dict({f"midas/{key}": x for key, x in means.items()}, sync_dist=True)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look at the validation data, but not at the batches of the sanity check."""
        self._known.following = trainer.is_global_zero and not trainer.sanity_checking

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model: quickly while it trains, else in full."""
        diagnostics, found = self._known.take_diagnostics(), self._known.take_validation_losses()
        if trainer.sanity_checking:
            return
        if trainer.state.fn != "fit":
            if diagnostics is not None:
                self._keep(trainer, diagnostics, "validation", quick=False)
            return
        due = not trainer.fast_dev_run and self._recorder.due()
        if diagnostics is not None:  # the first process
            self._last = trainer.global_step, diagnostics
            if due:
                found |= self._keep(trainer, diagnostics, "validation", quick=True)
        if found:
            self._begin(trainer)
            self._recorder.log(found, epoch=trainer.current_epoch, step=trainer.global_step, prefix="val_")
        # Every process has to know what a checkpoint may be chosen by.
        found = trainer.strategy.broadcast(found)
        pl_module.log_dict({f"midas/val_{key}": x for key, x in found.items()}, sync_dist=True)

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Look at the test data."""
        self._known.following = trainer.is_global_zero

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model on the test data."""
        diagnostics, _ = self._known.take_diagnostics(), self._known.take_validation_losses()
        if diagnostics is not None:
            self._keep(trainer, diagnostics, "test", quick=False)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Diagnose the model in full, and close the run folder."""
        if self._last is not None:
            step, diagnostics = self._last
            # After further steps the head would no longer fit the features that it is measured on.
            if step == trainer.global_step:
                self._keep(trainer, diagnostics, "validation", quick=False)
        self._recorder.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the run unfinished."""
        self._recorder.abandon()

    def _begin(self, trainer: Any) -> None:
        names = self._known.names
        if names is not None and trainer.is_global_zero and not trainer.fast_dev_run:
            self._recorder.begin(names, self._known.config, resumed=trainer.ckpt_path is not None)

    def _keep(self, trainer: Any, diagnostics: Diagnostics, split: str, *, quick: bool) -> dict[str, float]:
        found = diagnostics.compute(quick=quick)
        if not trainer.fast_dev_run:
            self._recorder.keep(found, split, found.names, self._known.config)
        return found.metrics()

"""A run folder, and a criterion to follow: common to the callbacks of Lightning and of Hugging Face."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from midas_core.adapters.recorder import Recorder
from midas_core.adapters.torch.follower import Follower
from midas_core.diagnostics import Diagnostics


class FollowingCallback:
    """A run folder, and a criterion to follow: common to the callbacks of Lightning and of Hugging Face."""

    not_trained = not_evaluated = ""
    """Likely causes of a training, or an evaluation, without a call of the criterion."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        criterion: nn.Module | None = None,
        aligned_share: float | None = None,
        **run: Any,
    ) -> None:
        super().__init__()
        self._recorder = Recorder(folder, aligned_share=aligned_share, **run)
        self._criterion = criterion
        self._current: Follower | None = None
        self._last: tuple[int, Diagnostics] | None = None
        self._writes = self._resumed = False
        self._step = self._steps_seen = 0

    @property
    def _follower(self) -> Follower:
        assert self._current is not None
        return self._current

    def _follow(self, model: nn.Module) -> None:
        self._let_go()
        self._current = Follower(model, self._criterion, self._recorder.new_diagnostics)

    def _let_go(self) -> None:
        if self._current is not None:
            self._current.remove()
        self._current = None

    def _begin(
        self, model: nn.Module, step: int, *, epochs: int | None, following: bool, writes: bool, resumed: bool
    ) -> None:
        """Find the criterion and open the run folder, as training begins."""
        self._follow(model)
        self._recorder.set_aligned_from(self._follower.criterion, epochs)
        self._last, self._step, self._steps_seen = None, step, 0
        self._follower.following = following
        self._writes, self._resumed = writes, resumed
        self._open()

    def _open(self) -> None:
        """Open the run folder as soon as the names of the modalities are known."""
        if self._writes and self._follower.names is not None:
            self._recorder.begin(self._follower.names, self._follower.config, resumed=self._resumed)

    def _log(self, metrics: Mapping[str, float], epoch: int, step: int, prefix: str = "") -> None:
        if metrics:
            self._open()
            self._recorder.log(metrics, epoch=epoch, step=step, prefix=prefix)

    def _end_epoch(self, step: int) -> None:
        """Raise ``RuntimeError`` where the optimizer has made steps without a call of the criterion."""
        if step > self._step and self._follower.steps == self._steps_seen:
            self._recorder.abandon()
            raise RuntimeError(
                f"criterion: expected calls of {type(self._follower.criterion).__name__} in {step - self._step} steps "
                f"of training, got none. {self.not_trained}"
            )
        self._step, self._steps_seen = step, self._follower.steps
        self._follower.end_epoch()

    def _end_evaluation(self, epoch: int, step: int) -> dict[str, float]:
        """Log an evaluation during training, with a quick diagnosis where it is due; return what may be monitored."""
        diagnostics, metrics = self._follower.take_diagnostics(), self._follower.take_validation_losses()
        self._warn_unless(metrics)
        due = self._writes and self._recorder.due()
        if diagnostics is not None:
            self._last = step, diagnostics
            metrics |= self._diagnose(diagnostics, "validation", quick=True) if due else diagnostics.scores()
        self._log(metrics, epoch, step, "val_")
        return metrics

    def _end_final_evaluation(self, split: str) -> None:
        """Diagnose the model in full, on what an evaluation outside of training has shown."""
        diagnostics, losses = self._follower.take_diagnostics(), self._follower.take_validation_losses()
        if split == "validation":
            self._warn_unless(losses)
        if diagnostics is not None:
            self._diagnose(diagnostics, split, quick=False)

    def _warn_unless(self, losses: Mapping[str, float]) -> None:
        if not losses and self._follower.following:
            name = type(self._follower.criterion).__name__
            warnings.warn(
                f"the evaluation did not call {name}: there is no validation loss and no diagnosis. "
                f"{self.not_evaluated}",
                stacklevel=2,
            )

    def _end_training(self, step: int) -> None:
        """Diagnose the model in full, and close the run folder."""
        # After further steps, or with another checkpoint, the head no longer fits the features of the evaluation.
        if self._last is not None and self._last[0] == step:
            self._diagnose(self._last[1], "validation", quick=False)
        self._recorder.finish()

    def _diagnose(self, diagnostics: Diagnostics, split: str, *, quick: bool) -> dict[str, float]:
        diagnosis = diagnostics.compute(quick=quick)
        if self._writes:
            self._recorder.keep(diagnosis, split, diagnosis.names, self._follower.config)
        return diagnosis.metrics()

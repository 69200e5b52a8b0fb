"""MIDAS in the Trainer of Hugging Face: a callback that counts the epochs, logs, and leaves a run folder."""

from __future__ import annotations

from typing import Any

from midas_core.backends import require

transformers = require("transformers", "Transformers", "transformers")
require("torch", "PyTorch", "transformers")


from midas_core.adapters.torch.follower import FollowingCallback
from midas_core.diagnostics import Diagnosis, Diagnostics

__all__ = ["MidasCallback"]


class MidasCallback(FollowingCallback, transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    """Counts the epochs of a criterion, logs its terms, and writes a run folder with the diagnosis of the model.

    For a model whose ``forward`` takes labels and calls a `MidasLoss`, also in evaluation. Calls
    ``criterion.set_epoch``, writes loss terms, alpha and confidences into the run folder and into the Trainer's own
    log, and diagnoses the model on the evaluation data. The state of MIDAS travels in the Trainer's checkpoints without
    any help.

    Parameters
    ----------
    folder : path
        The run folder. Not ``output_dir``: the Trainer's checkpoints go there.
    criterion : nn.Module, optional
        None finds the only `MidasLoss` in the model. Another loss that is called as ``criterion(features, labels,
        head=head)`` serves as a baseline.
    every : int
        Diagnose after every so many evaluations: quickly, without probes; in full in the end.
    name, class_names, config, tensorboard : as for `midas_core.runs.RunLogger`
        As for `midas_core.runs.RunLogger`.
    resume : bool, optional
        Whether to go on with a run that is in the folder. None does where ``train`` resumes from a checkpoint, or is
        called again.
    diagnostics : dict, optional
        Options of `midas_core.diagnostics.Diagnostics`: ``keep``, ``absent`` ...

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or there is not one criterion, or, as training begins, a run in the folder already.

    Notes
    -----
    ``trainer.evaluate()`` after training diagnoses the model in full, ``trainer.predict(dataset)`` on test data. With
    ``load_best_model_at_end`` call the first of them: until then the folder holds the quick diagnosis of the last
    model. On several processes the folder is written by the first, from what it has seen.

    A report to others (``report_to``) has gone before this callback is called: TensorBoard has the terms in the run
    folder, and ``trainer.state.log_history`` has them all.
    """

    _means: dict[str, float]
    _epoch = 0
    _training = _resumed = False

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Find the criterion."""
        self._follow(model)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Open the run folder."""
        if self._follower is None:  # added to a Trainer that was there
            self.on_init_end(args, state, control, model)
        self._training, self._last, self._means = True, None, {}
        self._resumed = state.global_step > 0
        self._known.take_means()
        self._begin(state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the epoch."""
        # A fraction where training resumes in the middle of one.
        self._epoch = int((state.epoch or 0) + 1e-6)
        self._known.set_epoch(self._epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the means of the terms."""
        self._take_means(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the means of the terms to what the Trainer logs."""
        if not self._training or logs is None or "loss" not in logs:
            return
        self._take_means(state)
        more = {key: x for key, x in self._means.items() if key not in logs}
        logs.update(more)
        if state.log_history:
            state.log_history[-1].update(more)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Diagnose the model on the evaluation data: quickly while it trains, else in full."""
        diagnostics, found = self._take_evaluation()
        if not state.is_world_process_zero:
            return
        if not self._training:
            if diagnostics is not None:
                self._keep(diagnostics, "validation", quick=False)
            return
        due = self._recorder.due()
        if diagnostics is not None:
            self._last = state.global_step, diagnostics
            if due:
                found |= self._keep(diagnostics, "validation", quick=True).metrics()
        if found:
            self._begin(state)
            self._recorder.log(found, epoch=self._epoch, step=state.global_step, prefix="val_")

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Diagnose the model on the test data."""
        diagnostics, _ = self._take_evaluation()
        if diagnostics is not None and state.is_world_process_zero:
            self._keep(diagnostics, "test", quick=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Diagnose the model in full, and close the run folder."""
        if self._last is not None:
            step, diagnostics = self._last
            # After further steps, or with another checkpoint, the head no longer fits the features of the evaluation.
            if step == state.global_step and not args.load_best_model_at_end:
                self._keep(diagnostics, "validation", quick=False)
        self._training = False
        self._recorder.finish()

    def _begin(self, state: Any) -> None:
        names = self._known.names
        if names is not None and state.is_world_process_zero:
            self._recorder.begin(names, self._known.config, resumed=self._resumed)

    def _take_evaluation(self) -> tuple[Diagnostics | None, dict[str, float]]:
        if self._follower is None:
            return None, {}
        return self._follower.take_diagnostics(), self._follower.take_validation_losses()

    def _take_means(self, state: Any) -> None:
        means = self._known.take_means()
        if means:
            self._begin(state)
            self._recorder.log(means, epoch=self._epoch, step=state.global_step)
            self._means = means

    def _keep(self, diagnostics: Diagnostics, split: str, *, quick: bool) -> Diagnosis:
        found = diagnostics.compute(quick=quick)
        self._recorder.keep(found, split, found.names, self._known.config)
        return found

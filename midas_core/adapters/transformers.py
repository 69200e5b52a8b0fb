"""MIDAS in the Trainer of Hugging Face: a callback that counts the epochs, logs, and leaves a run folder."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from midas_core.backends import require

transformers = require("transformers", "Transformers", "transformers")
require("torch", "PyTorch", "transformers")


from midas_core.adapters.recorder import Recorder
from midas_core.adapters.torch.callback import FollowingCallback

__all__ = ["MidasCallback"]


class MidasCallback(FollowingCallback, transformers.TrainerCallback):  # type: ignore[misc, name-defined]
    """Counts the epochs of a criterion, logs its terms, and writes a run folder with the diagnosis of the model.

    For a model whose ``forward`` takes labels and calls a `MidasLoss`, also in evaluation, or a Trainer whose
    ``compute_loss`` calls one. Calls ``criterion.set_epoch``, writes loss terms, alpha and confidences into the run
    folder and into the Trainer's own log, and diagnoses the model on the evaluation data. The state of a criterion in
    the model travels in the Trainer's checkpoints without any help.

    Parameters
    ----------
    folder : path
        The run folder. Not ``output_dir``: the Trainer's checkpoints go there. Each trial of a hyperparameter search
        has a folder within it, ``trial-1``, ``trial-2`` ...
    criterion, aligned_share : optional
        As for `midas_core.adapters.lightning.MidasCallback`.
    **run
        As there: ``every`` counts evaluations, ``prefix`` stands in front of the names in the Trainer's log, and
        ``resume=None`` goes on with a run where ``train`` resumes from a checkpoint.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or, as training begins, there is not one criterion or a run in the folder already.
    RuntimeError
        If an epoch ends and the criterion was not called.

    Notes
    -----
    A criterion outside of the model gets the model's mode. ``trainer.evaluate()`` after training diagnoses the model in
    full, ``trainer.predict(dataset)`` on test data. With ``load_best_model_at_end`` call the first of them: until then
    the folder holds the quick diagnosis of the last model. Of several processes the first writes the folder, from what
    it has seen.

    A report to others (``report_to``) has gone before this callback is called: TensorBoard has the terms in the run
    folder, and ``trainer.state.log_history`` has them all.
    """

    not_trained = (
        "Likely causes: label_smoothing_factor or compute_loss_func keep the labels from the model's forward (give "
        "label_smoothing to the criterion instead); forward gets no labels (label_names); or the callback follows "
        "another criterion than the one that is trained (leave criterion= out)."
    )
    not_evaluated = "It needs labels in eval_dataset, and forward has to call the criterion in evaluation too."

    _means: dict[str, float]
    _epoch = _trials = 0
    _training = False
    _search: Recorder | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Follow what is there, for an evaluation before training."""
        self._recorder.claim(vars(state))
        self._writes = state.is_world_process_zero
        with suppress(ValueError):
            self._follow(model)
            self._follower.following = self._writes

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Find the criterion of the model that is trained, and open the run folder."""
        if state.is_hyper_param_search:
            self._trials += 1
            self._search = self._search or self._recorder
            self._recorder = self._search.in_folder(f"trial-{self._trials}", state.trial_params or {})
        self._recorder.claim(vars(state))
        # A training that was interrupted, or whose batches were too large, begins again.
        self._recorder.abandon()
        self._training, self._means = True, {}
        main, step = state.is_world_process_zero, state.global_step
        self._begin(model, step, epochs=state.num_train_epochs, following=main, writes=main, resumed=step > 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the epoch."""
        # A fraction where training resumes in the middle of one.
        self._epoch = int((state.epoch or 0) + 1e-6)
        self._follower.set_epoch(self._epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the means of the terms."""
        self._end_epoch(state.global_step)
        self._take_means(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add the means of the terms to what the Trainer logs."""
        if not self._training or logs is None or "loss" not in logs:
            return
        self._take_means(state)
        prefix = self._recorder.prefix
        named = {prefix + key: x for key, x in self._means.items() if prefix + key != "loss"}
        if clash := sorted(set(named) & set(logs)):
            raise ValueError(
                f"prefix: expected another one for each MidasCallback, got {prefix!r}: {clash[0]} is taken"
            )
        logs.update(named)
        if state.log_history:
            state.log_history[-1].update(named)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Diagnose the model on the evaluation data: quickly while it trains, else in full."""
        if not state.is_world_process_zero or self._current is None:
            return
        if self._training:
            self._end_evaluation(self._epoch, state.global_step)
        else:
            self._end_final_evaluation("validation")

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Diagnose the model on the test data."""
        if state.is_world_process_zero and self._current is not None:
            self._end_final_evaluation("test")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Diagnose the model in full, and close the run folder."""
        self._end_epoch(state.global_step)
        self._training = False
        if args.load_best_model_at_end:
            self._last = None
        self._end_training(state.global_step)

    def _take_means(self, state: Any) -> None:
        means = self._follower.take_means()
        if means:
            self._log(means, self._epoch, state.global_step)
            self._means = means

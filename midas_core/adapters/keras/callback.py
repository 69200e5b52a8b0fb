"""A callback of ``fit`` that leaves a run folder for ``midas report``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.inputs import presence, read_labels, split_present
from midas_core.adapters.keras.model import MidasModel
from midas_core.adapters.recorder import OPTIONS, Recorder
from midas_core.diagnostics import Diagnosis
from midas_core.validation import check_number

ops = keras.ops


class MidasCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a run folder with the logs of ``fit`` and the diagnosis of a `MidasModel`.

    Parameters
    ----------
    folder : path
        The run folder.
    validation_data : tuple of inputs and labels, or iterable of such batches, optional
        What the model is diagnosed on: arrays, a ``tf.data.Dataset``, a ``PyDataset``, a ``DataLoader``. Keras shows a
        callback nothing of what ``fit`` validates on. Without it only the logs are written.
    every : int
        Diagnose after every so many epochs: quickly, without probes; in full in the end.
    batch_size : int
        For arrays.
    name, class_names, config, tensorboard
        As for `midas_core.runs.RunLogger`.
    resume : bool, optional
        Whether to go on with a run that is in the folder. None does where the model has been trained before.
    diagnostics : dict, optional
        Options of `midas_core.diagnostics.Diagnostics`: ``keep``, ``absent`` ...

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or, as training begins, there is a run in the folder already.

    Notes
    -----
    Epochs are those of the model, all calls of ``fit`` together. Models with several labels for each sample are not
    diagnosed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        validation_data: Any = None,
        every: int = 1,
        batch_size: int = 256,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        tensorboard: bool | None = None,
        resume: bool | None = None,
        diagnostics: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_number("batch_size", batch_size, minimum=1, whole=True)
        self._recorder = Recorder(
            folder,
            every=every,
            name=name,
            class_names=class_names,
            config=config,
            tensorboard=tensorboard,
            resume=resume,
            diagnostics=diagnostics,
        )
        self._data = validation_data
        self._batch_size = batch_size
        self._epoch = 0

    def set_model(self, model: Any) -> None:
        """Take the model, which has to be a `MidasModel`."""
        if not isinstance(model, MidasModel):
            raise TypeError(f"MidasCallback: expected to be given to fit of a MidasModel, got {type(model).__name__}")
        super().set_model(model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Open the run folder, once every other callback has restored what it restores."""
        self._epoch = self.model.midas_state.get_epoch()
        self._recorder.begin(self.model._names(), self._config, resumed=self._epoch > 0)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the logs, and a diagnosis where it is due."""
        at: dict[str, Any] = {"epoch": self._epoch, "step": int(ops.convert_to_numpy(self.model.optimizer.iterations))}
        logs = {key: float(x) for key, x in (logs or {}).items()}
        self._recorder.log({key: x for key, x in logs.items() if not key.startswith("val_")}, **at)
        validation = {key: x for key, x in logs.items() if key.startswith("val_")}
        if self._diagnosable() and self._recorder.due():
            found = self.diagnose(self._data, split="validation", quick=True).metrics()
            validation |= {f"val_{key}": x for key, x in found.items()}
        self._recorder.log(validation, **at)

    def on_train_end(self, logs: Any = None) -> None:
        """Diagnose the model in full, and close the run folder."""
        if self._diagnosable():
            self.diagnose(self._data, split="validation")
        self._recorder.finish()

    def diagnose(self, data: Any, *, split: str = "test", quick: bool = False) -> Diagnosis:
        """Diagnose the model of the last ``fit``, and keep what was found in the run folder.

        Parameters
        ----------
        data : tuple of inputs and labels, or iterable of such batches
        split : str
            What to call it.
        quick : bool
            Without probes and with one partner for each sample.

        Returns
        -------
        Diagnosis
        """
        model = self.model
        names = model._names()
        head = model._fused(training=False)
        diagnostics = self._recorder.new_diagnostics(
            head,
            num_classes=model.num_classes,
            modalities=names,
            criterion=model.loss,
            unimodal_heads=[lambda x, each=each: each(x, training=False) for each in model.unimodal_heads],
            head_input="separate",
        )
        for inputs, labels in _batches(data, self._batch_size):
            classes = ops.convert_to_numpy(read_labels(labels, model.num_classes))
            _, present = split_present(inputs, model.modalities)
            if present is not None:
                present = ops.convert_to_numpy(presence(present, len(classes), model.modalities))
            diagnostics.update(model.encode(inputs), classes, present=present)
        found = diagnostics.compute(quick=quick)
        self._recorder.keep(found, split, names, self._config)
        return found

    def _diagnosable(self) -> bool:
        return self._data is not None and not self.model.loss.options.multi_label

    @property
    def _config(self) -> dict[str, Any]:
        options = self.model.loss.options.as_dict()
        return {"method": "MIDAS", **{key: options[key] for key in OPTIONS}}


def _batches(data: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and labels."""
    if isinstance(data, tuple):
        inputs, labels = data[:2]
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            yield keras.tree.map_structure(lambda x, rows=rows: x[rows], inputs), labels[rows]
        return
    # A PyDataset has a length and no end.
    batches = (data[i] for i in range(len(data))) if isinstance(data, keras.utils.PyDataset) else iter(data)
    for batch in batches:
        yield batch[0], batch[1]

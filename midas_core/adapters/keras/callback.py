"""A callback of ``fit`` that leaves a run folder for ``midas report``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.baselines import JointLoss
from midas_core.adapters.keras.epochs import RunsFirst
from midas_core.adapters.keras.forward_pass import run_encoders
from midas_core.adapters.keras.functional import split_functional
from midas_core.adapters.keras.inputs import check_label_values, presence, read_labels, split_present
from midas_core.adapters.keras.masks import join_masks, split_masks
from midas_core.adapters.keras.model import MidasModel
from midas_core.adapters.recorder import Recorder
from midas_core.diagnostics import Diagnosis
from midas_core.modalities import Modalities
from midas_core.validation import check_number

ops = keras.ops


class MidasCallback(RunsFirst):
    """Writes a run folder with the logs of ``fit`` and the diagnosis of a `MidasModel`, or of a plain Keras model.

    The numbers of a diagnosis also go into the logs, as ``val_misaligned_accuracy`` and so on: a ``ModelCheckpoint``
    may monitor it. ``MidasModel.fit`` runs this callback before the others; with a plain model put it first. Epochs
    count over all calls of ``fit`` together. Multi-label models are not diagnosed.

    Parameters
    ----------
    folder : path
        The run folder.
    validation_data : tuple of inputs and labels, or iterable of such batches, optional
        Data of the diagnosis: arrays, a ``tf.data.Dataset``, a ``PyDataset``, a ``DataLoader``; Keras shows a callback
        nothing of what ``fit`` validates on. Without it only the logs are written.
    batch_size : int
        For arrays.
    features : list, or dict by modality name, optional
        Features of a plain functional model that is to be compared with MIDAS, as `MidasModel.from_functional` takes
        them. Without them a plain model is not diagnosed.
    aligned_share : float, optional
        Share of the planned epochs, the last ones (0.25, say), of the aligned loss alone: sets ``aligned_from``.
    **run
        ``every``: diagnose after every so many epochs, quickly, without probes; in full in the end. ``prefix``: in
        front of the names in Keras's logs, after ``val_``, where a model has several of these callbacks. ``name``,
        ``class_names``, ``config``, ``tensorboard``: as for `midas_core.runs.RunLogger`. ``resume``: whether to go on
        with a run that is in the folder; None does where the model has been trained before. ``diagnostics``: a dict of
        options of `midas_core.diagnostics.Diagnostics`.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit, or, as training begins, there is a run in the folder already.
    RuntimeError
        If an epoch of a `MidasModel` ends and its loss was not called.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        validation_data: Any = None,
        batch_size: int = 256,
        features: Any = None,
        aligned_share: float | None = None,
        **run: Any,
    ) -> None:
        super().__init__()
        self._recorder = Recorder(folder, aligned_share=aligned_share, **run)
        self._batch_size = check_number("batch_size", batch_size, minimum=1, whole=True)
        if isinstance(validation_data, Iterator):
            raise TypeError(
                "validation_data: expected what can be read in every epoch (a tuple, a list, a Dataset), got the "
                f"{type(validation_data).__name__} of one pass"
            )
        self._data = validation_data
        self._features = features
        self._parts: _Parts | None = None
        self._epoch = self._next_epoch = self._step = 0
        self._begins = False
        self._terms: dict[str, float] = {}
        self._validation_terms: dict[str, float] = {}

    def set_model(self, model: Any) -> None:
        """Set the model, and its parts for a diagnosis."""
        if model is not self._model:
            self._next_epoch = 0
        super().set_model(model)
        if isinstance(model, MidasModel):
            encode = partial(run_encoders, model, training=False)
            names, heads = model.modalities.shown_names, model.unimodal_heads
            self._parts = _Parts(names, lambda inputs: encode(inputs)[0], model.fused_head(), heads)
        elif self._features is not None:
            self._parts = _parts_of_functional(model, self._features)

    def on_train_begin(self, logs: Any = None) -> None:
        """Warn where nothing will be diagnosed."""
        self._begins = True
        if logs is not None:  # shared by all callbacks
            self._recorder.claim(logs)
        if self._data is not None and not self._diagnosable():
            way_out = "pass features=" if self._parts is None else "it is multi-label"
            warnings.warn(f"validation_data: the model is not diagnosed on it: {way_out}", stacklevel=2)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Open the run folder, once every other callback has restored what it restores."""
        known = self.model.midas_state.get_epoch() if isinstance(self.model, MidasModel) else self._next_epoch
        self._epoch = max(epoch, known)
        self._step = self._steps()
        if self._begins:
            self._begins = False
            criterion = self.model.loss if isinstance(self.model, MidasModel) else self.model
            self._recorder.set_aligned_from(criterion, self._epoch + self.params["epochs"] - epoch)
        self._recorder.begin(self._names, self._config, resumed=self._epoch > 0)
        self._terms = self._validation_terms = {}

    def on_test_begin(self, logs: Any = None) -> None:
        """Read the terms of the training before the evaluation forgets them."""
        self._terms = self._read_terms()

    def on_test_end(self, logs: Any = None) -> None:
        """Read the terms of the evaluation."""
        self._validation_terms = {f"val_{key}": x for key, x in self._read_terms().items()}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the logs, and a diagnosis where it is due."""
        at: dict[str, Any] = {"epoch": self._epoch, "step": self._steps()}
        self._next_epoch = self._epoch + 1
        logs = {} if logs is None else logs
        shown = {key: float(x) for key, x in logs.items()}
        terms = self._terms or self._read_terms()
        if isinstance(self.model, MidasModel) and not terms and at["step"] > self._step:
            self._recorder.abandon()
            raise RuntimeError(
                f"loss: expected calls of {type(self.model.loss).__name__} in {at['step'] - self._step} steps, got "
                "none. A train_step or compute_loss of your own has to call MidasModel's."
            )
        # Terms first: what Keras's logs have too stays as it is there.
        train = {**terms, **{k: x for k, x in shown.items() if not k.startswith("val_")}}
        validation = {**self._validation_terms, **{k: x for k, x in shown.items() if k.startswith("val_")}}
        self._recorder.log(train, **at)
        if self._diagnosable() and self._recorder.due():
            measured = self.diagnose(self._data, split="validation", quick=True).metrics()
            validation |= {f"val_{key}": x for key, x in measured.items()}
            named = {f"val_{self._recorder.prefix}{key}": float(x) for key, x in measured.items()}
            logs.update({key: x for key, x in named.items() if key not in logs})
        self._recorder.log(validation, **at)

    def on_train_end(self, logs: Any = None) -> None:
        """Diagnose the model in full, and close the run folder."""
        if self._diagnosable():
            self.diagnose(self._data, split="validation")
        self._recorder.finish()

    def diagnose(self, data: Any, *, split: str = "test", quick: bool = False) -> Diagnosis:
        """Diagnose the model of the last ``fit``, and keep the result in the run folder.

        Parameters
        ----------
        data : tuple of inputs and labels, or iterable of such batches
        split : str
            Name of the data in the run folder.
        quick : bool
            Without probes and with one partner for each sample.
        """
        parts = self._parts
        if parts is None:
            raise ValueError("features: expected the features of a plain model, to diagnose it, got None")
        diagnostics = self._recorder.new_diagnostics(
            parts.head,
            num_classes=self._num_classes,
            modalities=parts.names,
            criterion=self.model.loss if isinstance(self.model, MidasModel) else "joint",
            unimodal_heads=parts.unimodal_heads
            and [lambda x, head=head: head(join_masks([x])[0], training=False) for head in parts.unimodal_heads],
            head_input="separate",
        )
        modalities = Modalities(dict.fromkeys(parts.names), "modalities")
        for inputs, labels in _batches(data, self._batch_size):
            labels = check_label_values(ops.convert_to_numpy(labels), self._num_classes)
            classes = ops.convert_to_numpy(read_labels(labels, self._num_classes).values)
            _, present = split_present(inputs, modalities)
            if present is not None:
                present = ops.convert_to_numpy(presence(present, len(classes), modalities))
            diagnostics.update(parts.encode(inputs), classes, present=present)
        diagnosis = diagnostics.compute(quick=quick)
        self._recorder.keep(diagnosis, split, parts.names, self._config)
        return diagnosis

    def _diagnosable(self) -> bool:
        several = isinstance(self.model, MidasModel) and self.model.loss.options.multi_label
        return self._data is not None and self._parts is not None and not several

    def _steps(self) -> int:
        return int(ops.convert_to_numpy(self.model.optimizer.iterations))

    def _read_terms(self) -> dict[str, float]:
        return self.model.terms.read() if isinstance(self.model, MidasModel) else {}

    @property
    def _names(self) -> tuple[str, ...]:
        if self._parts is not None:
            return self._parts.names
        return tuple(x.name for x in getattr(self.model, "inputs", None) or ()) or (self.model.name,)

    @property
    def _num_classes(self) -> int:
        model = self.model
        return int(model.num_classes if isinstance(model, MidasModel) else model.output_shape[-1])

    @property
    def _config(self) -> dict[str, Any]:
        if not isinstance(self.model, MidasModel):
            return {"method": "joint"}
        loss = self.model.loss
        if isinstance(loss, JointLoss):
            return {"method": loss.method, "unimodal_weight": loss.unimodal_weight, "dropout": loss.dropout}
        return {"method": "MIDAS", **loss.options.as_dict()}


class _Parts(NamedTuple):
    """Parts of a model that a diagnosis runs: names of the modalities, from inputs to features, and the heads."""

    names: tuple[str, ...]
    encode: Callable[[Any], list[Any]]
    head: Callable[[Any], Any]
    unimodal_heads: Any


def _parts_of_functional(model: Any, features: Any) -> _Parts:
    backbone, head, _ = split_functional(model, features, None)
    modalities = Modalities(features, "features")

    def encode(inputs: Any) -> list[Any]:
        return split_masks(modalities.unpack(backbone(inputs, training=False), "features"))

    def run(features: Any) -> Any:
        return head(modalities.pack(join_masks(features), backbone.output), training=False)

    return _Parts(modalities.shown_names, encode, run, None)


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

"""A callback of ``fit`` that leaves a run folder for ``midas report``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import keras
from midas_core.adapters.keras.baselines import JointLoss
from midas_core.adapters.keras.epochs import RunsFirst
from midas_core.adapters.keras.functional import split_functional
from midas_core.adapters.keras.inputs import presence, read_labels, split_present
from midas_core.adapters.keras.model import MidasModel
from midas_core.adapters.recorder import Recorder
from midas_core.diagnostics import Diagnosis
from midas_core.modalities import Modalities
from midas_core.validation import check_number

ops = keras.ops


class MidasCallback(RunsFirst):
    """Writes a run folder with the logs of ``fit`` and the diagnosis of a `MidasModel`, or of a plain Keras model.

    What a diagnosis measures also goes into the logs, as ``val_misaligned_accuracy`` and so on: a ``ModelCheckpoint``
    may monitor it. ``MidasModel.fit`` runs this callback before the others; with a plain model put it first.

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
    name, class_names, config, tensorboard : as for `midas_core.runs.RunLogger`
        As for `midas_core.runs.RunLogger`.
    features : list, or dict by modality name, optional
        For a plain functional model, which is to be compared with MIDAS: its features, as
        `MidasModel.from_functional` takes them. Without them a plain model is not diagnosed.
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
        features: Any = None,
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
        self._features = features
        self._parts: _Parts | None = None
        self._epoch = 0
        self._terms: dict[str, float] = {}
        self._validation_terms: dict[str, float] = {}

    def set_model(self, model: Any) -> None:
        """Take the model, and for a diagnosis its parts."""
        super().set_model(model)
        if isinstance(model, MidasModel):
            self._parts = _Parts(model.modalities.shown_names, model.encode, model._fused(False), model.unimodal_heads)
        elif self._features is not None:
            self._parts = _parts_of_functional(model, self._features)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Open the run folder, once every other callback has restored what it restores."""
        self._epoch = self.model.midas_state.get_epoch() if isinstance(self.model, MidasModel) else epoch
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
        at: dict[str, Any] = {"epoch": self._epoch, "step": int(ops.convert_to_numpy(self.model.optimizer.iterations))}
        logs = {} if logs is None else logs
        found = {key: float(x) for key, x in logs.items()}
        # Terms first: what Keras's logs have too stays as it is there.
        train = {**(self._terms or self._read_terms()), **{k: x for k, x in found.items() if not k.startswith("val_")}}
        validation = {**self._validation_terms, **{k: x for k, x in found.items() if k.startswith("val_")}}
        self._recorder.log(train, **at)
        if self._diagnosable() and self._recorder.due():
            measured = self.diagnose(self._data, split="validation", quick=True).metrics()
            logs.update({f"val_{key}": float(x) for key, x in measured.items() if f"val_{key}" not in logs})
            validation |= {f"val_{key}": x for key, x in measured.items()}
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
        parts = self._parts
        if parts is None:
            raise ValueError("features: expected the features of a plain model, to diagnose it, got None")
        diagnostics = self._recorder.new_diagnostics(
            parts.head,
            num_classes=self._num_classes,
            modalities=parts.names,
            # A diagnosis tells by its criterion whether a model was trained with MIDAS.
            criterion=self.model.loss if self._config["method"] == "MIDAS" else self._config["method"],
            unimodal_heads=parts.unimodal_heads and [lambda x, h=h: h(x, training=False) for h in parts.unimodal_heads],
            head_input="separate",
        )
        modalities = Modalities(dict.fromkeys(parts.names), "modalities")
        for inputs, labels in _batches(data, self._batch_size):
            classes = ops.convert_to_numpy(read_labels(labels, self._num_classes))
            _, present = split_present(inputs, modalities)
            if present is not None:
                present = ops.convert_to_numpy(presence(present, len(classes), modalities))
            diagnostics.update(parts.encode(inputs), classes, present=present)
        found = diagnostics.compute(quick=quick)
        self._recorder.keep(found, split, parts.names, self._config)
        return found

    def _diagnosable(self) -> bool:
        several = isinstance(self.model, MidasModel) and self.model.loss.options.multi_label
        return self._data is not None and self._parts is not None and not several

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
    """What a diagnosis runs: names of the modalities, from inputs to features, and the heads."""

    names: tuple[str, ...]
    encode: Callable[[Any], list[Any]]
    head: Callable[[Any], Any]
    unimodal_heads: Any


def _parts_of_functional(model: Any, features: Any) -> _Parts:
    backbone, head, _ = split_functional(model, features, None)
    modalities = Modalities(features, "features")

    def encode(inputs: Any) -> list[Any]:
        return modalities.unpack(backbone(inputs, training=False), "features")

    def run(given: Any) -> Any:
        return head(modalities.pack(list(given), backbone.output), training=False)

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

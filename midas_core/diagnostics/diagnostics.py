"""Collects a split batch by batch, and diagnoses how a model uses its modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, require
from midas_core.diagnostics.calibration import calibration_error, mean, reliability_bins
from midas_core.diagnostics.diagnosis import Diagnosis
from midas_core.diagnostics.inputs import Inputs, Pool
from midas_core.diagnostics.measure import BACKEND, Kept, class_scores, late_fusion, modality_scores, probe_all
from midas_core.diagnostics.model import Model, predictions
from midas_core.modalities import Modalities
from midas_core.options import MidasOptions
from midas_core.pairing import clear_rows
from midas_core.validation import check_choice, check_number

ABSENT = ("zero", "mean", "shuffle")
HEAD_INPUTS = ("concatenated", "separate")


class Diagnostics:
    """Measures, batch by batch, how a classifier uses its modalities.

    Every sample seen counts for accuracy, F1 and calibration. What needs the model again, on misaligned samples and
    with modalities absent, is measured in `compute` on at most ``keep`` samples: a uniform draw of those seen, held on
    the host. The draw depends on the order of the samples, not on how they are batched.

    Parameters
    ----------
    head : callable
        The fused head, or a whole model, from the features (or inputs) to logits, shape (B, C), of any supported
        framework. Probabilities (a Keras model that ends in softmax, ``predict_proba``) are recognised in the first
        batch and diagnosed by their logarithms, with a warning. A PyTorch module is called in evaluation mode; switch
        the modules inside of a function yourself.
    num_classes : int
        C.
    modalities : sequence of M names, optional
        In the order in which ``head`` takes them. By default the names of the criterion or of the unimodal heads, or
        the keys where `update` gets dicts, or "0", "1" ...
    class_names : sequence of C names, optional
    criterion : MidasLoss, optional
        The criterion that trained the model: its unimodal heads are measured, its order of the modalities holds, and
        the verdict knows of MIDAS. Another loss is allowed.
    unimodal_heads : sequence, or dict by modality name, of M callables, optional
        From one feature to logits, shape (B, C). By default the criterion's, if it has any.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in the structure in which `update` gets them.
    absent : {"zero", "mean", "shuffle"}
        Replacement of an absent modality: zeros (of a masked sequence one token of zeros), the mean over the kept
        samples, or the feature of another sample.
    keep : int
        Samples to keep.
    rounds : int
        Partners for each kept sample; each gives two misaligned samples.
    probe : bool
        Whether to train a linear probe on the features of each modality, which takes the longest: on the samples of
        `update_training`, or else in three folds of the kept ones.
    batch_size : int
        Samples in one call of the model in `compute`.
    seed : int

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.
    ImportError
        If scikit-learn is not installed.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> audio, video = np.eye(3)[labels], np.eye(3)[labels]
    >>> def head(features):  # listens to the first modality only
    ...     return 5 * features[:, :3]
    >>> diagnostics = Diagnostics(head, num_classes=3, modalities=["audio", "video"])
    >>> for part in np.array_split(np.arange(60), 4):
    ...     diagnostics.update([audio[part], video[part]], labels[part])
    >>> diagnosis = diagnostics.compute()
    >>> diagnosis.accuracy, [round(scores.shapley, 2) for scores in diagnosis.modalities]
    (1.0, [0.67, 0.0])
    """

    def __init__(
        self,
        head: Callable[..., Array],
        *,
        num_classes: int,
        modalities: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        criterion: Any = None,
        unimodal_heads: Sequence[Callable[..., Array]] | Mapping[str, Callable[..., Array]] | None = None,
        head_input: str = "concatenated",
        absent: str = "zero",
        keep: int = 5000,
        rounds: int = 4,
        probe: bool = True,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        require("sklearn", "scikit-learn", "report")
        if not callable(head):
            raise TypeError(f"head: expected a callable, got {type(head).__name__}")
        check_number("num_classes", num_classes, minimum=2, whole=True)
        check_number("keep", keep, minimum=1, whole=True)
        check_number("rounds", rounds, minimum=1, whole=True)
        check_number("batch_size", batch_size, minimum=1, whole=True)
        check_number("seed", seed, minimum=0, whole=True)
        check_choice("head_input", head_input, HEAD_INPUTS)
        check_choice("absent", absent, ABSENT)
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(f"class_names: expected {num_classes} names, got {len(class_names)}")
        self.num_classes = num_classes
        self.class_names = [str(c) for c in (range(num_classes) if class_names is None else class_names)]
        options = getattr(criterion, "options", None)
        self._midas = None if criterion is None else type(options) is MidasOptions
        if getattr(options, "multi_label", False):
            raise ValueError("criterion: expected one class for each sample; multi-label training is not diagnosed")
        if unimodal_heads is None:
            unimodal_heads = getattr(criterion, "unimodal_heads", None)
        self._head, self._unimodal_heads = head, unimodal_heads
        if modalities is None:
            modalities = _names_of(criterion, unimodal_heads)
        if modalities is not None and len(set(map(str, modalities))) < len(modalities):
            raise ValueError(f"modalities: expected different names, got {list(modalities)}")
        structure = None if modalities is None else Modalities(dict.fromkeys(map(str, modalities)), "modalities")
        self._inputs = Inputs(structure, num_classes, concatenated=head_input == "concatenated")
        self._absent, self._rounds, self._probe = absent, rounds, probe
        self._batch_size, self._seed = batch_size, seed
        self._model: Model | None = None
        self._pool, self._training = Pool(keep, seed), Pool(keep, seed)
        self._seen: list[_Batch] = []

    def update(self, features: Any, labels: Array, *, present: Any = None) -> None:
        """Add a batch; raise ``TypeError`` or ``ValueError`` if structure, shapes or values do not fit.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M arrays, shapes (B, ...)
            With ``head_input="separate"`` a modality may be a dict or tuple of arrays with equal first axes, such as
            tokens and their ``"mask"`` (True for what is there), which may be of another length in each batch.
        labels : array, shape (B,), integer
            Class indices.
        present : array, shape (B, M), or like ``features``, of bool, optional
            Which modalities the samples have. Zeros take the place of missing ones, whatever they hold. Incomplete
            samples count for accuracy, F1 and calibration alone.
        """
        truth, host = self._inputs.check(features, labels)
        complete: NDArray[np.bool_] = np.ones(len(truth), dtype=bool)
        if present is not None:
            there = self._inputs.check_present(present, len(truth))
            complete = np.asarray(there.all(axis=1))
            host = [clear_rows(x, ~there[:, m], BACKEND) for m, x in enumerate(host)]
        if not len(truth):
            return
        if self._model is None:
            self._model = self._make_model(features)
        logs = self._model.log_probabilities(host)
        indices = np.arange(len(truth)) + sum(len(batch.labels) for batch in self._seen)
        self._seen.append(_Batch(truth, predictions(logs), np.exp(logs.max(axis=1))))
        self._pool.add([x[complete] for x in (indices, truth, *self._inputs.flatten(host))])

    def update_training(self, features: Any, labels: Array) -> None:
        """Add a batch of training samples, features and labels as in `update`, for the probes alone to learn from.

        Without any, the probes are cross-validated on the kept samples, which is optimistic where these differ from the
        training samples: other speakers, another camera.
        """
        truth, host = self._inputs.check(features, labels)
        self._training.add([truth, *self._inputs.flatten(host)])

    def scores(self) -> dict[str, float]:
        """Return accuracy, macro-F1 and calibration error of the samples seen, without another call of the model."""
        seen = self._all_seen()
        bins = reliability_bins(seen.top, seen.labels == seen.predicted)
        return {
            "accuracy": mean(seen.labels == seen.predicted),
            "macro_f1": _macro_f1(seen.labels, seen.predicted),
            "calibration_error": calibration_error(bins),
        }

    def compute(self, *, quick: bool = False) -> Diagnosis:
        """Return the diagnosis; `update` may go on after. ``ValueError`` if no sample was seen.

        Parameters
        ----------
        quick : bool
            Without probes and with one partner for each kept sample: for following a model over training.
        """
        seen, scores = self._all_seen(), self.scores()
        if not self._pool.seen:
            raise ValueError("compute: expected samples that have every modality, but update has seen none")
        assert self._model is not None
        assert self._inputs.structure is not None
        indices, labels, *flat = self._pool.samples()
        rounds = 1 if quick else self._rounds
        kept = Kept(self._model, labels, self._inputs.rebuild(flat), self.num_classes, self._absent, rounds, self._seed)
        names = self._inputs.structure.shown_names
        training = None
        if self._training.seen:
            known, *flat = self._training.samples()
            training = known, self._inputs.rebuild(flat)
        probed = self._probe and not quick
        probes = probe_all(kept, self.num_classes, training) if probed else [None] * len(names)
        late_accuracy, late_recall = late_fusion(probes, labels)
        batch_f1 = [_macro_f1(batch.labels, batch.predicted) for batch in self._seen]
        return Diagnosis(
            samples=len(seen.labels),
            **scores,
            batch_f1=float(np.average(batch_f1, weights=[len(batch.labels) for batch in self._seen])),
            reliability=reliability_bins(seen.top, seen.labels == seen.predicted),
            kept=len(labels),
            pairs=kept.pairs.sources.shape[1],
            misaligned_accuracy=kept.misaligned_accuracy,
            misaligned_interval=kept.misaligned_interval,
            misaligned_chance=kept.misaligned_chance,
            chance=float(np.bincount(labels).max() / len(labels)),
            empty_accuracy=mean(kept.correct[0]),
            absent=self._absent,
            probe=None if all(x is None for x in probes) else "cross-validation" if training is None else "training",
            modalities=modality_scores(kept, names, probes),
            classes=class_scores(kept, self.class_names),
            midas=self._midas,
            late_fusion_accuracy=late_accuracy,
            late_fusion_recall=late_recall,
            sample_shapley=kept.sample_shapley.T,
            sample_indices=indices,
        )

    def _all_seen(self) -> _Batch:
        if not self._seen:
            raise ValueError("compute: expected samples, but update has seen none")
        return _Batch(*(np.concatenate(parts) for parts in zip(*self._seen, strict=True)))

    def _make_model(self, features: Any) -> Model:
        assert self._inputs.structure is not None
        heads = self._unimodal_heads
        if heads is not None:
            if hasattr(heads, "items") and not isinstance(heads, Mapping):
                heads = dict(heads.items())  # a torch.nn.ModuleDict
            elif not isinstance(heads, Mapping):
                heads = list(heads)
            heads = self._inputs.structure.unpack(heads, "unimodal_heads")
        return Model(self._head, heads, self.num_classes, self._inputs, features, self._batch_size)


class _Batch(NamedTuple):
    """Labels, predicted classes and top probabilities, shape (B,) each."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    top: NDArray[np.float64]


def _names_of(criterion: Any, unimodal_heads: Any) -> Sequence[str] | None:
    """Return the names of the modalities in the order in which a head takes them, if known."""
    known = getattr(criterion, "modalities", None)
    if isinstance(known, Modalities):
        return known.names
    return list(unimodal_heads.keys()) if hasattr(unimodal_heads, "keys") else None


def _macro_f1(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return the mean F1 of the classes that occur, in labels or predictions; -1 is no prediction."""
    # scikit-learn's takes most of the time of a quick diagnosis.
    size = int(max(truth.max(), predicted.max())) + 1
    hits = np.bincount(truth[truth == predicted], minlength=size)
    total = np.bincount(truth, minlength=size) + np.bincount(predicted[predicted >= 0], minlength=size)
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def diagnose(
    head: Callable[..., Array],
    features: Any,
    labels: Array,
    *,
    present: Any = None,
    training: tuple[Any, Array] | None = None,
    num_classes: int,
    **options: Any,
) -> Diagnosis:
    """Return the diagnosis of a model on arrays that fit in memory: one `Diagnostics.update`, then ``compute``.

    Parameters
    ----------
    head, features, labels, present : as for `Diagnostics` and `Diagnostics.update`
    training : features and labels, optional
        Training data, which the probes learn from.
    num_classes : int
        C.
    **options
        The other arguments of `Diagnostics`.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> labels = np.arange(60) % 3
    >>> features = {"audio": np.eye(3)[labels], "video": np.eye(3)[labels]}
    >>> diagnosis = diagnose(lambda x: 9 * x[:, :3], features, labels, num_classes=3)  # heeds the audio alone
    >>> diagnosis.accuracy, diagnosis.modalities[1].followed
    (1.0, 0.0)
    """
    diagnostics = Diagnostics(head, num_classes=num_classes, **options)
    diagnostics.update(features, labels, present=present)
    if training is not None:
        diagnostics.update_training(*training)
    return diagnostics.compute()

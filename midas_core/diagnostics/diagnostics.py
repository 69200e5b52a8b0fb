"""Diagnostics batch by batch: how a model uses its modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend, require
from midas_core.diagnostics.arrays import predictions
from midas_core.diagnostics.calibration import calibration_error, reliability_bins
from midas_core.diagnostics.evaluate import Model
from midas_core.diagnostics.measures import Kept, class_scores, modality_scores, probe_all
from midas_core.diagnostics.pairs import mean
from midas_core.diagnostics.probe import late_fusion_accuracy
from midas_core.diagnostics.reservoir import Part, Pool
from midas_core.diagnostics.results import Diagnosis
from midas_core.diagnostics.shapley import MOST
from midas_core.modalities import Modalities
from midas_core.options import MidasOptions
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
        framework. A PyTorch module is called in evaluation mode; for a function around one that is yours to do.
    num_classes : int
        Number of classes, C.
    modalities : sequence of M names, optional
        Their order is the one in which ``head`` takes them. Without them: the names of the criterion or of the
        unimodal heads, or the keys where `update` gets dicts, or "0", "1" ...
    class_names : sequence of C names, optional
    criterion : MidasLoss, optional
        What trained the model: its unimodal heads are measured, its order of the modalities holds, and the verdict
        knows of MIDAS. Another loss may be given too.
    unimodal_heads : sequence, or dict by modality name, of M callables, optional
        From one feature to logits, shape (B, C). Those of the criterion, where it has some.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in the structure in which they were given.
    absent : {"zero", "mean", "shuffle"}
        What takes the place of an absent modality: zeros, the mean over the kept samples, or that of another sample.
    keep : int
        Samples to keep.
    rounds : int
        Partners for each kept sample; each gives two misaligned samples.
    probe : bool
        Whether to train a linear probe on the features of each modality, which takes the longest. It learns from what
        `update_training` is given, or else from the kept samples, in three folds.
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
    >>> found = diagnostics.compute()
    >>> found.accuracy, [round(each.shapley, 2) for each in found.modalities]
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
        self._midas = None if criterion is None else isinstance(options, MidasOptions)
        if getattr(options, "multi_label", False):
            raise ValueError("criterion: expected one class for each sample; several labels are not diagnosed")
        if unimodal_heads is None:
            unimodal_heads = getattr(criterion, "unimodal_heads", None)
        self._head, self._unimodal_heads = head, unimodal_heads
        if modalities is None:
            modalities = _names_of(criterion, unimodal_heads)
        self._head_input, self._absent, self._rounds, self._probe = head_input, absent, rounds, probe
        self._batch_size, self._seed = batch_size, seed
        self._names = None if modalities is None else dict.fromkeys(map(str, modalities))
        if modalities is not None and len(self._names or ()) < len(modalities):
            raise ValueError(f"modalities: expected different names, got {list(modalities)}")
        self._structure = None if self._names is None else Modalities(self._names, "modalities")
        self._model: Model | None = None
        self._shapes: list[tuple[int, ...]] | None = None
        self._pool = Pool(keep, seed)
        self._training = Pool(keep, seed)
        self._seen = 0
        self._labels: list[NDArray[np.int64]] = []
        self._predicted: list[NDArray[np.int64]] = []
        self._sure: list[NDArray[np.float64]] = []
        self._batch_f1: list[tuple[int, float]] = []

    def update(self, features: Any, labels: Array, *, present: Any = None) -> None:
        """Take in a batch.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M arrays, shapes (B, ...)
            Features, or inputs where ``head`` is a whole model.
        labels : array, shape (B,), integer
        present : array, shape (B, M), bool; or like ``features``, of arrays, shape (B,), bool; optional
            Which modalities each sample has. What is missing counts as zero for the accuracy, F1 and calibration; the
            rest is measured on the samples that have every modality.

        Raises
        ------
        TypeError, ValueError
            If structure, shapes or values do not fit.
        """
        truth, *host = self._check(features, labels)
        complete: NDArray[np.bool_] = np.ones(len(truth), dtype=bool)
        if present is not None:
            there = self._check_present(present, len(truth))
            complete = np.asarray(there.all(axis=1))
            host = [
                np.where(there[:, m].reshape(-1, *[1] * (x.ndim - 1)), x, np.zeros((), x.dtype))
                for m, x in enumerate(host)
            ]
        if not len(truth):
            return
        if self._model is None:
            self._model = self._make_model(features)
        known = self._model.log_probabilities(host)
        predicted = predictions(known)
        self._labels.append(truth)
        self._predicted.append(predicted)
        self._sure.append(np.exp(known.max(axis=1)))
        self._batch_f1.append((len(truth), _macro_f1(truth, predicted)))
        indices = np.arange(self._seen, self._seen + len(truth))
        self._seen += len(truth)
        self._pool.add(tuple(x[complete] for x in (indices, truth, *host)))

    def update_training(self, features: Any, labels: Array) -> None:
        """Take in a batch of training samples, which the probes learn from; they count for nothing else.

        Without any, the probes are cross-validated on the kept samples, which is optimistic where these differ from the
        training samples: other speakers, another camera.

        Parameters
        ----------
        features, labels : as in `update`
            Of training data.
        """
        self._training.add(self._check(features, labels))

    def compute(self, *, quick: bool = False) -> Diagnosis:
        """Return what was found; `update` may go on after.

        Parameters
        ----------
        quick : bool
            Without probes and with one partner for each kept sample: for following a model over training.

        Raises
        ------
        ValueError
            If no sample was seen.
        """
        if self._model is None or self._structure is None:
            raise ValueError("compute: expected samples, but update has seen none")
        truth, predicted, sure = (np.concatenate(x) for x in (self._labels, self._predicted, self._sure))
        bins = reliability_bins(sure, truth == predicted)
        if not self._pool.seen:
            raise ValueError("compute: expected samples that have every modality, but update has seen none")
        indices, labels, *features = self._pool.samples()
        rounds = 1 if quick else self._rounds
        kept = Kept(self._model, labels, features, self.num_classes, self._absent, rounds, self._seed)
        names = [str(x) for x in (self._structure.names or range(self._structure.count))]
        training = self._training.samples() if self._training.seen else None
        probed = self._probe and not quick
        probes = probe_all(kept, self.num_classes, training) if probed else [None] * len(names)
        scores = modality_scores(kept, names, probes)
        return Diagnosis(
            samples=len(truth),
            accuracy=mean(truth == predicted),
            macro_f1=_macro_f1(truth, predicted),
            batch_f1=float(np.average([x for _, x in self._batch_f1], weights=[n for n, _ in self._batch_f1])),
            calibration_error=calibration_error(bins),
            reliability=bins,
            kept=len(labels),
            pairs=kept.pairs.sources.shape[1],
            misaligned_accuracy=kept.misaligned_accuracy,
            misaligned_interval=kept.misaligned_interval,
            misaligned_chance=kept.misaligned_chance,
            chance=float(np.bincount(labels).max() / len(labels)),
            empty_accuracy=mean(kept.correct[0]),
            absent=self._absent,
            probe=None if all(x is None for x in probes) else "cross-validation" if training is None else "training",
            modalities=scores,
            classes=class_scores(kept, self.class_names),
            midas=self._midas,
            late_fusion_accuracy=late_fusion_accuracy(probes, labels),
            sample_shapley=kept.sample_shapley.T,
            sample_indices=indices,
        )

    def _make_model(self, features: Any) -> Model:
        assert self._structure is not None
        heads = self._unimodal_heads
        if heads is not None:
            if hasattr(heads, "items") and not isinstance(heads, Mapping):
                heads = dict(heads.items())  # a torch.nn.ModuleDict
            elif not isinstance(heads, Mapping):
                heads = list(heads)
            heads = self._structure.unpack(heads, "unimodal_heads")
        concatenated = self._head_input == "concatenated"
        return Model(self._head, heads, self.num_classes, concatenated, self._structure, features, self._batch_size)

    def _check(self, features: Any, labels: Array) -> Part:
        """Return labels and features on the host."""
        if self._structure is None:
            self._structure = Modalities(features, "features")
        given = self._structure.unpack(features, "features")
        if len(given) > MOST:
            raise ValueError(f"features: expected at most {MOST} modalities, whose coalitions can be counted")
        host, truth = [_to_numpy(x) for x in given], _to_numpy(labels)
        if truth.ndim == 2:
            raise ValueError(
                f"labels: expected class indices of shape (B,), got {truth.shape}; several labels for each sample are "
                "not diagnosed, and one-hot rows have to be argmaxed first"
            )
        if not np.issubdtype(truth.dtype, np.integer) or truth.ndim != 1:
            raise ValueError(
                f"labels: expected class indices of shape (B,) and an integer dtype, got {truth.shape}, {truth.dtype}"
            )
        if truth.size and not 0 <= truth.min() <= truth.max() < self.num_classes:
            raise ValueError(f"labels: expected 0 ... {self.num_classes - 1}, got {truth.min()} ... {truth.max()}")
        for m, x in enumerate(host):
            title = self._structure.title(m)
            if x.shape[:1] != truth.shape:
                raise ValueError(f"features of {title}: expected {len(truth)} samples, got shape {x.shape}")
            if self._head_input == "concatenated" and x.ndim != 2:
                raise ValueError(
                    f"features of {title}: expected shape (B, D), got {x.shape}; "
                    "a model that takes them apart needs head_input='separate'"
                )
        shapes = [x.shape[1:] for x in host]
        if self._shapes is None:
            self._shapes = shapes
        for m, (x, known) in enumerate(zip(host, self._shapes, strict=True)):
            if x.shape[1:] != known:
                title = self._structure.title(m)
                raise ValueError(
                    f"features of {title}: expected (B, {str(known)[1:-1].rstrip(',')}) as before, got {x.shape}"
                )
        return (truth.astype(np.int64), *host)

    def _check_present(self, present: Any, count: int) -> NDArray[np.bool_]:
        """Return which modalities the samples have, shape (B, M)."""
        assert self._structure is not None
        if hasattr(present, "shape"):
            there = _to_numpy(present)
        else:
            there = np.stack([_to_numpy(x) for x in self._structure.unpack(present, "present")], axis=-1)
        if there.dtype != np.bool_ or there.shape != (count, self._structure.count):
            raise ValueError(
                f"present: expected shape (B, M) = ({count}, {self._structure.count}) and bool, "
                f"got {there.shape}, {there.dtype}"
            )
        return there


def _names_of(criterion: Any, unimodal_heads: Any) -> Sequence[str] | None:
    """Return the names of the modalities in the order in which a head takes them, where that is known."""
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


def _to_numpy(x: Array) -> NDArray[Any]:
    return get_backend(x).to_numpy(x)


def diagnose(
    head: Callable[..., Array],
    features: Any,
    labels: Array,
    *,
    present: Any = None,
    training: tuple[Any, Array] | None = None,
    **options: Any,
) -> Diagnosis:
    """Return the diagnosis of a model on arrays that fit in memory: one `Diagnostics.update`, then ``compute``.

    Parameters
    ----------
    head : callable
    features : list, tuple, or dict by modality name, of M arrays, shapes (N, ...)
    labels : array, shape (N,), integer
    present : array, or like ``features``, of bool, optional
        As for `Diagnostics.update`.
    training : features and labels, optional
        For the probes to learn from.
    **options
        Those of `Diagnostics`.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> labels = np.arange(60) % 3
    >>> features = {"audio": np.eye(3)[labels], "video": np.eye(3)[labels]}
    >>> found = diagnose(lambda x: 9 * x[:, :3], features, labels, num_classes=3)  # heeds the audio alone
    >>> found.accuracy, found.modalities[1].followed
    (1.0, 0.0)
    """
    diagnostics = Diagnostics(head, **options)
    diagnostics.update(features, labels, present=present)
    if training is not None:
        diagnostics.update_training(*training)
    return diagnostics.compute()

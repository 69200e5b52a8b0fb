"""The augmentation alone, as a Keras layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.inputs import PRESENT, presence, read_labels
from midas_core.adapters.keras.state import RandomLayer
from midas_core.backends import Array
from midas_core.confidence import log_confidence, normalized_confidence, soft_labels
from midas_core.misalignment import VIEWS, mix
from midas_core.missing import complete_pairs, zero_missing
from midas_core.modalities import Modalities
from midas_core.options import SIMILARITIES, VARIANTS
from midas_core.pairs import draw_pairs
from midas_core.similarity import hard_sample_weight, similarity
from midas_core.validation import check_choice, check_flag, check_floating, check_number, check_shape

ops = keras.ops
tree = keras.tree

FEATURES, LABELS, SAMPLE_WEIGHT = "features", "labels", "sample_weight"


@keras.saving.register_keras_serializable(package="midas_core")
class Misalign(RandomLayer):
    """Swap modalities between samples of different classes (section 3.2) and label the result softly (eq. 3).

    A dictionary comes in and a dictionary of the same structure goes out, with N = 2 B samples in training, view after
    view, and N = B at inference:

    - ``"labels"``: class indices, (B,) or (B, 1), or one-hot rows, (B, C); out come soft labels, (N, C), one-hot at
      inference;
    - the modalities, (B, ...): every other key, or a list, tuple or dict under ``"features"``; out come (N, ...);
    - ``"sample_weight"``, (B,), if you give it; out comes (N,): what you gave, times the hard-sample weight, 0 where no
      partner of another class was found or a source lacks the modality that it supplies. Without it such a sample
      stays, with the label of its one class;
    - ``"present"``, (B, M), bool, if you give it, or a dict of (B,): whether a sample has a modality; what is missing
      comes out as zeros. Out comes (N, M).

    Parameters
    ----------
    num_classes : int
        C.
    variant : {"paper", "official"}
        Partners of another class, or a plain permutation.
    similarity : {"cosine", "l2", None}
        Of the hard-sample weight (eq. 8), for features. For raw inputs take None.
    multi_label : bool
        Whether the labels are rows of 0 and 1, (B, C), any number of them 1.
    seed : int, optional
        Of the layer's random stream; without one, ``keras.utils.set_random_seed`` decides.
    **kwargs
        ``name`` and ``dtype``, as for any layer.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Notes
    -----
    On TensorFlow it also runs in ``tf.data``: ``dataset.map(lambda x, y: layer({"features": x, "labels": y}))``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Misalign(num_classes=3, seed=0)
    >>> batch = {"audio": np.ones((4, 8), "float32"), "video": np.ones((4, 5), "float32"), "labels": np.arange(4) % 3}
    >>> mixed = layer(batch, training=True)
    >>> {name: tuple(x.shape) for name, x in mixed.items()}
    {'audio': (8, 8), 'video': (8, 5), 'labels': (8, 3)}
    """

    def __init__(
        self,
        *,
        num_classes: int,
        variant: str = "paper",
        similarity: str | None = "cosine",
        multi_label: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, autocast=False, **kwargs)
        check_number("num_classes", num_classes, minimum=2, whole=True)
        check_choice("variant", variant, VARIANTS)
        check_choice("similarity", similarity, SIMILARITIES)
        check_flag("multi_label", multi_label)
        self.num_classes = num_classes
        self.variant = variant
        self.similarity = similarity
        self.multi_label = multi_label
        self.built = True

    def call(self, inputs: Any, unimodal_logits: Any = None, training: bool = True) -> Any:
        """Mix a batch.

        Parameters
        ----------
        inputs : dict
            See the class.
        unimodal_logits : like the modalities, of tensors, shape (B, C), optional
            How sure each unimodal classifier is decides the soft labels (eq. 2). Without them each modality has the
            same share.
        training : bool
            Without it nothing is mixed.

        Returns
        -------
        dict

        Raises
        ------
        TypeError, ValueError
            If structure, names, shapes or dtypes do not fit.
        """
        features = _features(inputs)
        modalities = Modalities(features, FEATURES)
        labels = read_labels(inputs[LABELS], self.num_classes, self.multi_label)
        given = [ops.convert_to_tensor(x) for x in modalities.unpack(features, FEATURES)]
        for m, x in enumerate(given):
            name = f"features of {modalities.title(m)}"
            check_shape(name, x, (labels.shape[0], *x.shape[1:]), "(B, ...)")
            if training and self.similarity is not None and SAMPLE_WEIGHT in inputs:
                check_floating(f"{name}, for similarity={self.similarity!r}", x, BACKEND)
        present = None
        if PRESENT in inputs:
            present = presence(inputs[PRESENT], labels.shape[0], modalities)
            given = zero_missing(given, present, backend=BACKEND)
        if not training:
            ones = ops.ones_like(labels if len(labels.shape) == 1 else labels[:, 0], dtype="float32")
            rows = soft_labels(ones[None], labels[None], self.num_classes, backend=BACKEND)
            same = dict(inputs) if present is None else _packed(inputs, modalities, given, features)
            return {**same, LABELS: rows}

        numbers = self.draw(labels, modalities.count, training)
        pairs = draw_pairs(numbers, labels, modalities.count, variant=self.variant, backend=BACKEND)
        sources, classes, mask = pairs
        log_c = self._log_confidences(modalities, given, labels, unimodal_logits, sources, present)
        whose = classes
        if self.multi_label:
            whose = ops.stack(mix([labels] * modalities.count, sources, backend=BACKEND))
        soft = soft_labels(normalized_confidence(log_c, backend=BACKEND), whose, self.num_classes, backend=BACKEND)
        flat = [ops.reshape(x, (-1, *x.shape[2:])) for x in mix(given, sources, backend=BACKEND)]
        out = _packed(inputs, modalities, flat, features)
        out[LABELS] = ops.reshape(soft, (-1, self.num_classes))
        if SAMPLE_WEIGHT in inputs:
            weights = self._weights(given, sources, mask, present)
            own = ops.cast(ops.reshape(ops.convert_to_tensor(inputs[SAMPLE_WEIGHT]), (1, -1)), weights.dtype)
            out[SAMPLE_WEIGHT] = ops.reshape(own * weights, (-1,))
        if present is not None:
            parts = [present[:, m] for m in range(modalities.count)]
            out[PRESENT] = ops.reshape(ops.stack(mix(parts, sources, backend=BACKEND), axis=-1), (-1, len(parts)))
        return out

    def compute_output_shape(self, input_shape: Any, training: bool = True) -> Any:
        """Return the shapes that come out, from a dictionary of those that go in."""

        def doubled(shape: Any) -> tuple[int | None, ...]:
            batch = shape[0]
            return (batch if batch is None or not training else VIEWS * batch, *shape[1:])

        shapes = tree.map_shape_structure(doubled, dict(input_shape))
        shapes[LABELS] = (shapes[LABELS][0], self.num_classes)
        return shapes

    def compute_output_spec(self, inputs: Any, unimodal_logits: Any = None, training: bool = True) -> Any:
        """Return symbols of what comes out; whether the batch grows is open until the layer runs."""

        def unknown(x: Any) -> Any:
            return keras.KerasTensor((None, *x.shape[1:]), dtype=x.dtype)

        _features(inputs)
        labels = keras.KerasTensor((None, self.num_classes), dtype="float32")
        return {**tree.map_structure(unknown, dict(inputs)), LABELS: labels}

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make the layer again."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "variant": self.variant,
            "similarity": self.similarity,
            "multi_label": self.multi_label,
            "seed": self.seed,
        }

    def _log_confidences(
        self,
        modalities: Modalities,
        given: list[Array],
        labels: Array,
        unimodal_logits: Any,
        sources: Array,
        present: Array | None,
    ) -> Array:
        """Return log c at the sample that supplies each modality, shape (M, V, B)."""
        if unimodal_logits is None:
            return ops.zeros_like(sources, dtype="float32")
        logits = [ops.convert_to_tensor(z) for z in modalities.unpack(unimodal_logits, "unimodal_logits")]
        for m, z in enumerate(logits):
            check_shape(f"unimodal_logits of {modalities.title(m)}", z, (labels.shape[0], self.num_classes), "(B, C)")
        if present is not None:
            logits = zero_missing(logits, present, backend=BACKEND)
        log_c = [log_confidence(ops.stop_gradient(z), labels, backend=BACKEND) for z in logits]
        return ops.stack([ops.take(c, sources[m], axis=0) for m, c in enumerate(log_c)])

    def _weights(self, given: list[Array], sources: Array, mask: Array, present: Array | None) -> Array:
        """Return the weight of each mixed sample, shape (V, B)."""
        weights = ops.ones_like(mask, dtype="float32")
        if self.similarity is not None:
            found = similarity(given, sources, self.similarity, backend=BACKEND)
            weights = ops.cast(hard_sample_weight(found), "float32")
        if present is not None:
            mask = mask & complete_pairs(present, sources, backend=BACKEND)
        return ops.where(mask, weights, ops.zeros_like(weights))


def _features(inputs: Any) -> Any:
    """Return the modalities of a batch, as they are given."""
    if not isinstance(inputs, Mapping) or LABELS not in inputs:
        got = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise ValueError(f"inputs: expected a dict with the modalities and {LABELS!r}, got {got}")
    if FEATURES in inputs:
        return inputs[FEATURES]
    return {name: x for name, x in inputs.items() if name not in (LABELS, SAMPLE_WEIGHT, PRESENT)}


def _packed(inputs: Any, modalities: Modalities, given: list[Array], features: Any) -> dict[str, Any]:
    """Return the batch with other modalities in it, in the structure in which they came."""
    packed = modalities.pack(given, features)
    return {**inputs, **({FEATURES: packed} if FEATURES in inputs else packed)}

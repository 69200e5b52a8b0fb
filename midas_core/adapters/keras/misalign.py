"""The augmentation alone, as a Keras layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.inputs import PRESENT, Labels, check_label_values, presence, read_labels
from midas_core.adapters.keras.masks import join_masks, split_masks
from midas_core.adapters.keras.state import RandomLayer
from midas_core.augmentation import misalign
from midas_core.backends import Array
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities
from midas_core.options import SIMILARITIES, VARIANTS, check_absent_share
from midas_core.pairing import draw_pairs, mix
from midas_core.partners import VIEWS
from midas_core.validation import check_choice, check_flag, check_floating, check_number, check_shape
from midas_core.weighting import soft_labels

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
    - ``"present"``, (B, M), bool, or a dict of (B,), if you give it: whether a sample has a modality; what is missing
      comes out as zeros. Out comes (N, M), also for absent partners.

    Parameters
    ----------
    num_classes : int
        C.
    variant : {"paper", "official"}
        Partners of another class, or a plain permutation.
    similarity : {"cosine", "l2", None}
        Of the hard-sample weight (eq. 8), for features. For raw inputs take None.
    multi_label, absent_share, seed : bool, float, and int, optional
        As for `MidasLoss`.
    **kwargs
        ``name`` and ``dtype``, as for any layer.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Notes
    -----
    Without the ``unimodal_logits`` of a call each modality has the share 1 / M of a soft label, whatever its classifier
    knows. On TensorFlow it also runs in ``tf.data``: ``dataset.map(lambda x, y: layer({"features": x, "labels": y}))``.

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
        absent_share: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, autocast=False, **kwargs)
        self.num_classes = check_number("num_classes", num_classes, minimum=2, whole=True)
        check_choice("variant", variant, VARIANTS)
        check_choice("similarity", similarity, SIMILARITIES)
        self.variant = variant
        self.similarity = similarity
        self.multi_label = check_flag("multi_label", multi_label)
        self.absent_share = check_absent_share(absent_share, variant)
        self.supports_masking = True
        self.built = True

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Check labels on the host, and refuse tensors of another framework than Keras's."""
        if BACKEND.name != "tensorflow" and any(_is_symbol_of_tensorflow(x) for x in tree.flatten(inputs)):
            raise TypeError(
                f"inputs: expected tensors of {BACKEND.name}, the backend of Keras, got a symbolic tensor of "
                "TensorFlow; in tf.data.Dataset.map Misalign runs with KERAS_BACKEND=tensorflow alone: mix the batches "
                "that the dataset yields, or that a PyDataset makes"
            )
        if isinstance(inputs, Mapping) and LABELS in inputs:
            seen = check_label_values(inputs[LABELS], self.num_classes, self.multi_label)
            inputs = {**inputs, LABELS: seen}
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: Any, unimodal_logits: Any = None, training: bool = True) -> Any:
        """Mix a batch; raise ``TypeError`` or ``ValueError`` if structure, names, shapes or dtypes do not fit.

        Parameters
        ----------
        inputs : dict
            See the class.
        unimodal_logits : like the modalities, of tensors, shape (B, C), optional
            The confidence of each unimodal classifier decides the soft labels (eq. 2), instead of the share 1 / M each.
        training : bool
            Without it nothing is mixed.
        """
        structure = _features(inputs)
        modalities = Modalities(structure, FEATURES)
        labels = read_labels(inputs[LABELS], self.num_classes, self.multi_label)
        batch = labels.values.shape[0]
        values = [ops.convert_to_tensor(x) for x in modalities.unpack(structure, FEATURES)]
        for m, x in enumerate(values):
            name = f"features of {modalities.title(m)}"
            check_shape(name, x, (batch, *x.shape[1:]), "(B, ...)")
            if training and self.similarity is not None and SAMPLE_WEIGHT in inputs:
                check_floating(f"{name}, for similarity={self.similarity!r}", x, BACKEND)
        present = presence(inputs[PRESENT], batch, modalities) if PRESENT in inputs else None
        features = split_masks(values)
        if not training:
            return self._unmixed(inputs, modalities, features, labels, present)

        numbers = self.draw(labels.values, modalities.count, training, self.absent_share > 0)
        rule: dict[str, Any] = {"variant": self.variant, "absent_share": self.absent_share}
        pairs = draw_pairs(numbers, labels.values, modalities.count, **rule, backend=BACKEND)
        if unimodal_logits is not None:
            logits = modalities.unpack(unimodal_logits, "unimodal_logits")
            unimodal_logits = [ops.convert_to_tensor(z) for z in logits]
        mixed = misalign(
            features,
            labels.values,
            pairs,
            self.num_classes,
            unimodal_logits=unimodal_logits,
            present=present,
            similarity=self.similarity if SAMPLE_WEIGHT in inputs else None,
            variant=self.variant,
            backend=BACKEND,
        )
        out = _packed(inputs, modalities, mixed.features)
        sources = [labels.right] * modalities.count
        right = ops.all(ops.stack(mix(sources, pairs.sources, backend=BACKEND)), axis=0)
        out[LABELS] = _nan_where_wrong(mixed.soft_labels, ops.reshape(right, (-1,)))
        if SAMPLE_WEIGHT in inputs:
            weights = ops.cast(ops.reshape(ops.convert_to_tensor(inputs[SAMPLE_WEIGHT]), (-1,)), mixed.weights.dtype)
            out[SAMPLE_WEIGHT] = ops.concatenate([weights] * VIEWS) * mixed.weights
        if present is not None:
            parts = [present[:, m] for m in range(modalities.count)]
            taken = mix(parts, pairs.sources, absent=pairs.absent, backend=BACKEND)
            out[PRESENT] = ops.reshape(ops.stack(taken, axis=-1), (-1, len(parts)))
        return out

    def _unmixed(
        self, inputs: Any, modalities: Modalities, features: list[Any], labels: Labels, present: Array | None
    ) -> dict[str, Any]:
        """Return the batch as it came, with one-hot labels and zeros for what is missing."""
        values = labels.values
        ones = ops.ones_like(values if len(values.shape) == 1 else values[:, 0], dtype="float32")
        one_hot = soft_labels(ones[None], values[None], self.num_classes, backend=BACKEND)
        out = dict(inputs)
        if present is not None:
            out = _packed(inputs, modalities, zero_missing(features, present, backend=BACKEND))
        return {**out, LABELS: _nan_where_wrong(one_hot, labels.right)}

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
            "absent_share": self.absent_share,
            "seed": self.seed,
        }


def _features(inputs: Any) -> Any:
    """Return the modalities of a batch, in their structure."""
    if not isinstance(inputs, Mapping) or LABELS not in inputs:
        got = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise ValueError(f"inputs: expected a dict with the modalities and {LABELS!r}, got {got}")
    if FEATURES in inputs:
        return inputs[FEATURES]
    return {name: x for name, x in inputs.items() if name not in (LABELS, SAMPLE_WEIGHT, PRESENT)}


def _packed(inputs: Any, modalities: Modalities, features: list[Any]) -> dict[str, Any]:
    """Return the batch with other modalities in it, in the structure in which they came."""
    packed = modalities.pack(join_masks(features), _features(inputs))
    return {**inputs, **({FEATURES: packed} if FEATURES in inputs else packed)}


def _nan_where_wrong(rows: Array, right: Array) -> Array:
    return ops.where(right[:, None], rows, float("nan"))


def _is_symbol_of_tensorflow(x: Any) -> bool:
    return type(x).__module__.startswith("tensorflow.") and not hasattr(x, "numpy")

"""Labels, and which modalities a sample has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from midas_core.adapters.keras.backend import BACKEND, host_values, keras
from midas_core.backends import Array
from midas_core.missing import check_present
from midas_core.modalities import Modalities
from midas_core.validation import check_labels, check_shape

ops = keras.ops

PRESENT = "present"
"""Key of the mask among the inputs of a model whose modalities have names."""


class Labels(NamedTuple):
    """Labels of a batch, inside the range of the classes, and which of them came so."""

    values: Array
    right: Array

    def nan_where_wrong(self, x: Array) -> Array:
        """Return ``x``, one number for each sample, with NaN where the label is wrong, and in its gradient."""
        return x * ops.where(self.right, ops.ones_like(x), float("nan"))


def read_labels(labels: Any, num_classes: int, multi_label: bool = False) -> Labels:
    """Return labels of shape (B,) from class indices, (B,) or (B, 1), or one-hot rows, (B, C); or multi-label rows."""
    labels = ops.convert_to_tensor(labels)
    several = len(labels.shape) == 2 and labels.shape[1] != 1
    if multi_label or several:
        check_shape("labels", labels, (None, num_classes), "(B, C)")
        ones, zeros = labels == 1, labels == 0
        right = ops.all(ops.logical_or(ones, zeros), axis=-1)
        if multi_label:
            return Labels(labels, right)
        one = ops.sum(ops.cast(ones, "int32"), axis=-1) == 1
        return Labels(ops.argmax(labels, axis=-1), ops.logical_and(right, one))
    if len(labels.shape) == 2:
        labels = ops.squeeze(labels, axis=1)
    check_labels(labels, BACKEND)
    right = ops.logical_and(labels >= 0, labels < num_classes)
    return Labels(ops.where(right, labels, ops.zeros_like(labels)), right)


def check_label_values(labels: Any, num_classes: int, multi_label: bool = False) -> Any:
    """Check labels that are on the host, which a step never does; floating class indices come back as integers."""
    values = _on_host(labels)
    if values is None or not values.size:
        return labels
    if values.dtype.kind in "OSU":
        raise TypeError(
            f"labels: expected class indices in 0 ... {num_classes - 1}, got {str(values.reshape(-1)[0])!r}; "
            "classes, labels = np.unique(labels, return_inverse=True) makes them"
        )
    labels = values if isinstance(labels, (list, tuple)) else labels
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 2):
        return labels
    if values.ndim == 2 and values.shape[1] != 1:
        sums = values.sum(axis=1)
        wrong = ~np.isin(values, (0, 1)).all(axis=1) | ((sums != 1) & (not multi_label))
        if wrong.any():
            rows = "rows of 0 and 1" if multi_label else "one-hot rows (rows of several labels: multi_label=True)"
            raise ValueError(f"labels: expected {rows}, got {_shown(values, wrong)}")
        return labels
    wrong = ~((values >= 0) & (values < num_classes) & (values == np.floor(values)))
    if wrong.any():
        raise ValueError(f"labels: expected class indices in 0 ... {num_classes - 1}, got {_shown(values, wrong)}")
    return values.astype("int32") if values.dtype.kind == "f" else labels


def presence(present: Any, batch: int | None, modalities: Modalities) -> Array:
    """Return the mask of what is present, shape (B, M), from one tensor or from one of shape (B,) for each modality."""
    if isinstance(present, (Mapping, list, tuple)):
        parts = [ops.convert_to_tensor(x) for x in modalities.unpack(present, PRESENT)]
        for m, part in enumerate(parts):
            check_shape(f"present of {modalities.title(m)}", part, (batch,), "(B,)")
        present = ops.stack(parts, axis=1)
    # Numbers too: tf.distribute hands on no inputs of dtype bool.
    present = ops.cast(ops.convert_to_tensor(present), "bool")
    check_present(present, batch, modalities.count, BACKEND)
    return present


def split_present(inputs: Any, modalities: Modalities) -> tuple[Any, Any]:
    """Return the inputs of the encoders, and the mask or None."""
    if not isinstance(inputs, Mapping) or PRESENT not in inputs or PRESENT in (modalities.names or ()):
        return inputs, None
    return {name: x for name, x in inputs.items() if name != PRESENT}, inputs[PRESENT]


def check_class_weight(model: Any, class_weight: Any) -> None:
    """Raise ``ValueError`` where samples have several classes: Keras weighs a row by its largest entry."""
    if class_weight is not None and model.compiled and model.loss.options.multi_label:
        raise ValueError(
            f"class_weight: expected None with multi_label=True, got {class_weight}; "
            "MidasLoss(class_weights=[...]) weighs each class"
        )


def signature_of(inputs: Any) -> Any:
    """Return the shapes and dtypes of inputs, for batches of any size."""
    return keras.tree.map_structure(
        lambda x: keras.InputSpec(shape=(None, *x.shape[1:]), dtype=keras.backend.standardize_dtype(x.dtype)), inputs
    )


def zero_missing_inputs(inputs: Sequence[Any], present: Array) -> list[Any]:
    """Put zeros in the place of missing inputs with a floating dtype: a NaN would come back in the gradient."""

    def zero(x: Any, m: int) -> Any:
        x = ops.convert_to_tensor(x)
        # Whole numbers, such as token ids, stay: no NaN is among them, and not every encoder takes a row of zeros.
        if not keras.backend.is_float_dtype(x.dtype):
            return x
        here = ops.reshape(present[:, m], (-1, *[1 for _ in x.shape[1:]]))
        return ops.where(here, x, ops.zeros_like(x))

    return [keras.tree.map_structure(lambda x, m=m: zero(x, m), item) for m, item in enumerate(inputs)]


def _on_host(labels: Any) -> np.ndarray | None:
    """Return what the host holds as an array: of NumPy or pandas, a list, or a tensor on the CPU."""
    if isinstance(labels, np.ndarray):
        return labels
    if isinstance(labels, (list, tuple)) or type(labels).__module__.startswith("pandas."):
        return np.asarray(labels)
    return host_values(labels) if ops.is_tensor(labels) else None


def _shown(values: np.ndarray, wrong: np.ndarray) -> str:
    first = int(np.argmax(wrong.reshape(len(values), -1).any(axis=1)))
    return f"{values[first].tolist()} in row {first}"

"""What a step is given beside the features: labels, and which modalities a sample has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.backends import Array
from midas_core.missing import check_present
from midas_core.modalities import Modalities
from midas_core.validation import check_labels, check_shape

ops = keras.ops

PRESENT = "present"
"""Key of the mask among the inputs of a model whose modalities have names."""


def read_labels(labels: Any, num_classes: int, multi_label: bool = False) -> Array:
    """Return labels of shape (B,) from class indices, (B,) or (B, 1), or one-hot rows, (B, C); or multi-label rows."""
    labels = ops.convert_to_tensor(labels)
    if multi_label:
        check_shape("labels", labels, (None, num_classes), "(B, C)")
        return labels
    if len(labels.shape) == 2:
        if labels.shape[1] == 1:
            labels = ops.squeeze(labels, axis=1)
        else:
            check_shape("labels", labels, (None, num_classes), "(B, C)")
            labels = ops.argmax(labels, axis=-1)
    check_labels(labels, BACKEND)
    return labels


def check_label_values(labels: Any, num_classes: int, multi_label: bool = False) -> Any:
    """Look at labels that are on the host, once: a step never does, and each framework makes something else of them.

    Class indices that are whole numbers in a floating dtype, as a CSV file gives them, come back as integers.

    Raises
    ------
    ValueError
        If a class index is outside 0 ... C - 1 or no whole number, or a row is neither one-hot nor, with
        ``multi_label``, made of 0 and 1.
    """
    found = _on_host(labels)
    if found is None or found.dtype.kind not in "biuf" or found.ndim not in (1, 2) or not found.size:
        return labels
    if found.ndim == 2 and found.shape[1] != 1:
        sums = found.sum(axis=1)
        wrong = ~np.isin(found, (0, 1)).all(axis=1) | ((sums != 1) & (not multi_label))
        if wrong.any():
            rows = "rows of 0 and 1" if multi_label else "one-hot rows (rows of several labels: multi_label=True)"
            raise ValueError(f"labels: expected {rows}, got {_shown(found, wrong)}")
        return labels
    wrong = ~((found >= 0) & (found < num_classes) & (found == np.floor(found)))
    if wrong.any():
        raise ValueError(f"labels: expected class indices in 0 ... {num_classes - 1}, got {_shown(found, wrong)}")
    return found.astype("int32") if found.dtype.kind == "f" else labels


def presence(given: Any, batch: int | None, modalities: Modalities) -> Array:
    """Return the mask of what is present, shape (B, M), from one tensor or from one of shape (B,) for each modality.

    Numbers count as True where they are not 0: ``tf.distribute`` hands on no inputs of dtype bool.

    Raises
    ------
    TypeError, ValueError
        If structure or shapes do not fit.
    """
    if isinstance(given, (Mapping, list, tuple)):
        parts = [ops.convert_to_tensor(x) for x in modalities.unpack(given, PRESENT)]
        for m, part in enumerate(parts):
            check_shape(f"present of {modalities.title(m)}", part, (batch,), "(B,)")
        given = ops.stack(parts, axis=1)
    given = ops.cast(ops.convert_to_tensor(given), "bool")
    check_present(given, batch, modalities.count, BACKEND)
    return given


def split_present(inputs: Any, modalities: Modalities) -> tuple[Any, Any]:
    """Return the inputs of the encoders, and the mask or None."""
    if not isinstance(inputs, Mapping) or PRESENT not in inputs or PRESENT in (modalities.names or ()):
        return inputs, None
    return {name: x for name, x in inputs.items() if name != PRESENT}, inputs[PRESENT]


def zero_missing_inputs(inputs: Sequence[Any], present: Array) -> list[Any]:
    """Put zeros in the place of missing inputs with a floating dtype: a NaN would come back in the gradient.

    Whole numbers, such as token ids, stay: no NaN is among them, and not every encoder takes a row of zeros.
    """

    def zero(x: Any, m: int) -> Any:
        x = ops.convert_to_tensor(x)
        if not keras.backend.is_float_dtype(x.dtype):
            return x
        here = ops.reshape(present[:, m], (-1, *[1 for _ in x.shape[1:]]))
        return ops.where(here, x, ops.zeros_like(x))

    return [keras.tree.map_structure(lambda x, m=m: zero(x, m), given) for m, given in enumerate(inputs)]


def _on_host(labels: Any) -> np.ndarray | None:
    """Return an array of NumPy or pandas, or a list, as an array; None for what a framework holds."""
    if isinstance(labels, np.ndarray):
        return labels
    if isinstance(labels, (list, tuple)) or type(labels).__module__.startswith("pandas."):
        return np.asarray(labels)
    return None


def _shown(found: np.ndarray, wrong: np.ndarray) -> str:
    first = int(np.argmax(wrong.reshape(len(found), -1).any(axis=1)))
    return f"{found[first].tolist()} in row {first}"

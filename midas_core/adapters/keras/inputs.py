"""What a step is given beside the features: labels, and which modalities a sample has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def presence(given: Any, batch: int | None, modalities: Modalities) -> Array:
    """Return the mask of what is present, shape (B, M), from one tensor or from one of shape (B,) for each modality.

    Raises
    ------
    TypeError, ValueError
        If structure, dtypes or shapes do not fit.
    """
    if isinstance(given, (Mapping, list, tuple)):
        parts = [ops.convert_to_tensor(x) for x in modalities.unpack(given, PRESENT)]
        for m, part in enumerate(parts):
            check_shape(f"present of {modalities.title(m)}", part, (batch,), "(B,)")
        given = ops.stack(parts, axis=1)
    given = ops.convert_to_tensor(given)
    check_present(given, batch, modalities.count, BACKEND)
    return given


def split_present(inputs: Any, modalities: Modalities) -> tuple[Any, Any]:
    """Return the inputs of the encoders, and the mask or None."""
    if not isinstance(inputs, Mapping) or PRESENT not in inputs or PRESENT in (modalities.names or ()):
        return inputs, None
    return {name: x for name, x in inputs.items() if name != PRESENT}, inputs[PRESENT]

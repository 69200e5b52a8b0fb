"""Masks of sequences, from ``Embedding(mask_zero=True)`` say: which tokens of a feature are no padding.

In a traced step on JAX they are no attributes of tensors: layers read and attach them everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.backends import Array
from midas_core.modalities import MASK

ops = keras.ops

FEATURE = "feature"
"""Key of a feature beside its mask."""


# No underscore: TensorFlow takes no scope with a name of that kind.
class ReadMask(keras.layers.Layer):  # type: ignore[misc]
    """Keras gives a mask to whoever asks for it in a call."""

    def __init__(self) -> None:
        super().__init__(autocast=False)
        self.supports_masking = True
        self.built = True

    def call(self, x: Array, mask: Array | None = None) -> Array | None:
        """Return the mask."""
        return mask

    def compute_mask(self, x: Array, previous: Any) -> None:
        """Return that a mask has no mask."""
        return None


class AttachMask(keras.layers.Layer):  # type: ignore[misc]
    """Keras attaches to an output what ``compute_mask`` returns."""

    def __init__(self) -> None:
        super().__init__(autocast=False)
        self.supports_masking = True
        self.built = True

    def call(self, pair: Sequence[Array]) -> Array:
        """Return the feature of a pair of feature and mask."""
        return pair[0]

    def compute_mask(self, pair: Sequence[Array], previous: Any) -> Array:
        """Return the mask of a pair of feature and mask."""
        return pair[1]


def mask_of(feature: Array) -> Array | None:
    """Return the mask of a feature, shape (B, T), or None. A feature of two axes has no tokens to mask."""
    # Where a model is built, shapes are all that counts.
    return None if len(feature.shape) < 3 or isinstance(feature, keras.KerasTensor) else ReadMask()(feature)


def with_mask(feature: Array, mask: Array | None) -> Array:
    """Return a feature to which a mask is attached."""
    return feature if mask is None else AttachMask()([feature, mask])


def split_masks(features: Sequence[Array]) -> list[Any]:
    """Return modalities as the core takes them: a feature, or a dict of a feature and its mask."""
    # Read as the features are made, attached anew for each reader: MultiHeadAttention takes off the mask that it reads.
    masks = [None if isinstance(x, dict) else mask_of(x) for x in features]
    return [
        x if mask is None else {FEATURE: x, MASK: ops.cast(mask, "bool")}
        for x, mask in zip(features, masks, strict=True)
    ]


def join_masks(modalities: Sequence[Any]) -> list[Array]:
    """Return features with their masks attached."""
    return [with_mask(x[FEATURE], x[MASK]) if isinstance(x, dict) else x for x in modalities]


def concatenate(modalities: Sequence[Any]) -> Array:
    """Concatenate along axis 1, and so the masks of sequences; a sequence without one has no padding."""
    features = [x[FEATURE] if isinstance(x, dict) else x for x in modalities]
    whole = ops.concatenate(features, axis=1)
    if not any(isinstance(x, dict) for x in modalities):
        return whole
    masks = [x[MASK] if isinstance(x, dict) else ops.ones(ops.shape(x)[:2], "bool") for x in modalities]
    return with_mask(whole, ops.concatenate(masks, axis=1))

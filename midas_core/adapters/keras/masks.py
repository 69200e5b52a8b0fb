"""Masks of sequences, such as those of ``Embedding(mask_zero=True)``: which steps of a feature are no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.backends import Array

ops = keras.ops


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
    """Return the mask of a feature, shape (B, T), or None. A feature of two axes has no steps to mask."""
    return None if len(feature.shape) < 3 else ReadMask()(feature)


def with_mask(feature: Array, mask: Array | None) -> Array:
    """Return a feature to which a mask is attached."""
    return feature if mask is None else AttachMask()([feature, mask])


def with_masks_of(features: Sequence[Array], changed: Sequence[Array]) -> list[Array]:
    """Return features that were computed sample by sample from others, with the masks of those."""
    return [with_mask(x, mask_of(feature)) for feature, x in zip(features, changed, strict=True)]


def mixed_masks(features: Sequence[Array], mixed: Sequence[Array], sources: Array) -> list[Array]:
    """Return mixed features (V B, T, ...), each with the mask of the samples that it comes from."""
    found = []
    for m, (feature, x) in enumerate(zip(features, mixed, strict=True)):
        mask = mask_of(feature)
        if mask is not None:
            x = with_mask(x, ops.take(mask, ops.reshape(sources[m], (-1,)), axis=0))
        found.append(x)
    return found

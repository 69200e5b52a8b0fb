"""Masks that Keras attaches to tensors: on JAX they are no attributes, and layers read and attach them everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.backends.base import Array, require

keras: Any = require("keras", "Keras", "keras")


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

"""Masks of sequences, from ``Embedding(mask_zero=True)`` say: which tokens of a feature are no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core.adapters.keras.backend import keras
from midas_core.backends import Array
from midas_core.backends.keras_masks import mask_of, with_mask
from midas_core.modalities import MASK

ops = keras.ops

FEATURE = "feature"
"""Key of a feature beside its mask."""


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

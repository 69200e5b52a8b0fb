"""Modalities as people hold them: a list, a tuple, or a dict by name; and what one modality may be made of.

A modality is an array, or a dict or tuple of arrays with equal first axes, such as tokens and their mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from midas_core.backends import Array, Backend
from midas_core.validation import is_floating

MASK = "mask"
"""Key of a modality's padding mask, shape (B, T), bool: True for the tokens that are there."""


class Modalities:
    """How many modalities there are, in what order, and what they are called; ``argument`` is named in errors."""

    def __init__(self, structure: Any, argument: str) -> None:
        self.names = tuple(structure) if isinstance(structure, Mapping) else None
        if self.names is None and not _is_sequence(structure):
            raise TypeError(
                f"{argument}: expected a list, a tuple or a dict by modality name, got {type(structure).__name__}"
            )
        self.count = len(structure)
        if self.count < 2:
            raise ValueError(f"{argument}: expected two or more modalities, got {self.count}")

    @property
    def shown_names(self) -> tuple[str, ...]:
        """Names of the modalities in logs and pages: their own, or 0, 1, ..."""
        return tuple(map(str, self.names or range(self.count)))

    def title(self, m: int) -> str:
        """Return what to call modality ``m`` in an error."""
        return f"modality {m if self.names is None else self.names[m]!r}"

    def unpack(self, structure: Any, argument: str) -> list[Any]:
        """Return the items of ``structure`` in order, or raise if its kind, the names or the number do not fit."""
        if isinstance(structure, Mapping):
            if self.names is None:
                if all(isinstance(name, int) for name in structure):
                    raise TypeError(f"{argument}: expected names as keys, got {list(structure)}")
                raise TypeError(
                    f"{argument}: expected a list or tuple of {self.count} modalities, because the "
                    f"modalities were given without names, got a dict with {sorted(structure)}"
                )
            if set(structure) != set(self.names):
                raise ValueError(f"{argument}: expected the modalities {list(self.names)}, got {list(structure)}")
            return [structure[name] for name in self.names]
        if not _is_sequence(structure):
            raise TypeError(
                f"{argument}: expected a list, a tuple or a dict by modality name, got {type(structure).__name__}"
            )
        if len(structure) != self.count:
            raise ValueError(f"{argument}: expected {self.count} modalities, got {len(structure)}")
        return list(structure)

    def pack(self, items: Sequence[Any], like: Any = None) -> Any:
        """Return ``items`` in the structure of ``like``, with its type, names and order, or by name where there are."""
        if like is None and self.names is not None:
            return dict(zip(self.names, items, strict=True))
        if isinstance(like, Mapping):
            names = self.names or tuple(like)
            by_name = dict(zip(names, items, strict=True))
            return {name: by_name[name] for name in like}
        if isinstance(like, tuple):
            # A NamedTuple takes its fields one by one.
            return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
        return list(items)


def leaves(modality: Any) -> list[Array]:
    """Return the arrays that a modality is made of."""
    if isinstance(modality, Mapping):
        return list(modality.values())
    return list(modality) if isinstance(modality, tuple) else [modality]


def rebuild(modality: Any, arrays: Sequence[Array]) -> Any:
    """Return arrays in the structure of a modality: alone, in a dict of the same keys, or in a tuple."""
    if isinstance(modality, Mapping):
        return dict(zip(modality, arrays, strict=True))
    if isinstance(modality, tuple):
        return type(modality)(*arrays) if hasattr(modality, "_fields") else tuple(arrays)
    return arrays[0]


def map_leaves(function: Callable[[Array], Array], modality: Any) -> Any:
    """Return the modality with ``function`` applied to each of its arrays."""
    return rebuild(modality, [function(x) for x in leaves(modality)])


def mask_of(modality: Any) -> Array | None:
    """Return the padding mask of a modality, None where it has none."""
    return modality.get(MASK) if isinstance(modality, Mapping) else None


def feature_of(modality: Any, backend: Backend) -> Array:
    """Return the feature of a modality: its first floating array that is not the mask."""
    arrays = leaves(
        {key: x for key, x in modality.items() if key != MASK} if isinstance(modality, Mapping) else modality
    )
    floating = [x for x in arrays if is_floating(x, backend)]
    return floating[0] if floating else arrays[0]


def pool_tokens(modality: Any, backend: Backend) -> Array:
    """Return one vector for each sample, shape (B, D): of a sequence the mean of the tokens that are there."""
    xp, feature, mask = backend.xp, feature_of(modality, backend), mask_of(modality)
    if len(feature.shape) == 2:
        return feature
    if len(feature.shape) > 3:
        return xp.reshape(feature, (backend.length(feature), math.prod(feature.shape[1:])))
    if mask is None:
        return xp.mean(feature, axis=1)
    there = xp.astype(mask, feature.dtype)
    # Not a product: padding may hold anything, and 0 * NaN is NaN.
    total = xp.sum(backend.where(mask[..., None], feature, 0.0), axis=1)
    return total / backend.at_least(xp.sum(there, axis=1), 1.0)[:, None]


def _is_sequence(structure: Any) -> bool:
    # An array has a length too, but its rows are samples.
    return isinstance(structure, Sequence) and not isinstance(structure, (str, bytes))

"""Batches on the host: checked, taken apart into arrays, and a draw of them kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends import Array, get_backend
from midas_core.modalities import MASK, Modalities, leaves, map_leaves, mask_of, rebuild

MOST = 8
"""Modalities at most: their coalitions are 2^M."""


class Inputs:
    """Checks features and labels, and brings them to the host: all batches have the structure of the first."""

    def __init__(self, structure: Modalities | None, num_classes: int, *, concatenated: bool) -> None:
        self.structure, self.concatenated = structure, concatenated
        self._num_classes = num_classes
        self._first: list[Any] = []

    def check(self, features: Any, labels: Array) -> tuple[NDArray[np.int64], list[Any]]:
        """Return labels and modalities on the host."""
        if self.structure is None:
            self.structure = Modalities(features, "features")
        modalities = self.structure.unpack(features, "features")
        if len(modalities) > MOST:
            raise ValueError(f"features: expected at most {MOST} modalities, whose coalitions can be counted")
        truth = self._check_labels(_to_numpy(labels))
        for m, x in enumerate(modalities):
            if hasattr(x, "last_hidden_state"):
                raise TypeError(
                    f"features of {self.structure.title(m)}: expected an array, or a dict or tuple of arrays, got "
                    f"{type(x).__name__}; take one of its tensors, such as last_hidden_state, and its mask"
                )
        host = [map_leaves(_to_numpy, with_keras_mask(x)) for x in modalities]
        known = self._first or [map_leaves(lambda x: x[:0], x) for x in host]
        for m, (x, first) in enumerate(zip(host, known, strict=True)):
            title = f"features of {self.structure.title(m)}"
            for array in leaves(x):
                if array.shape[:1] != truth.shape:
                    raise ValueError(f"{title}: expected {len(truth)} samples, got shape {array.shape}")
            if self.concatenated and (not isinstance(x, np.ndarray) or x.ndim != 2):
                shown = x.shape if isinstance(x, np.ndarray) else f"{len(leaves(x))} arrays"
                raise ValueError(
                    f"{title}: expected shape (B, D), got {shown}; a model that takes them apart needs "
                    "head_input='separate'"
                )
            if (expected := _form(first)) != (form := _form(x)):
                raise ValueError(f"{title}: expected {expected} as before, got {form}")
        self._first = known
        return truth, host

    def _check_labels(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        if labels.ndim == 2:
            raise ValueError(
                f"labels: expected class indices of shape (B,), got {labels.shape}; multi-label rows are not "
                "diagnosed, and one-hot rows have to be argmaxed first"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
            raise ValueError(
                f"labels: expected class indices of shape (B,) and an integer dtype, got {labels.shape}, {labels.dtype}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < self._num_classes:
            raise ValueError(f"labels: expected 0 ... {self._num_classes - 1}, got {labels.min()} ... {labels.max()}")
        return labels.astype(np.int64)

    def check_present(self, present: Any, count: int) -> NDArray[np.bool_]:
        """Return which modalities the samples have, shape (B, M)."""
        assert self.structure is not None
        if hasattr(present, "shape"):
            there = _to_numpy(present)
        else:
            there = np.stack([_to_numpy(x) for x in self.structure.unpack(present, "present")], axis=-1)
        if there.dtype != np.bool_ or there.shape != (count, self.structure.count):
            raise ValueError(
                f"present: expected shape (B, M) = ({count}, {self.structure.count}) and bool, "
                f"got {there.shape}, {there.dtype}"
            )
        return there

    def flatten(self, modalities: Sequence[Any]) -> list[NDArray[Any]]:
        """Return the arrays of all modalities."""
        return [x for modality in modalities for x in leaves(modality)]

    def rebuild(self, arrays: Sequence[NDArray[Any]]) -> list[Any]:
        """Return the modalities that the arrays make."""
        rest = iter(arrays)
        return [map_leaves(lambda _: next(rest), modality) for modality in self._first]


def with_keras_mask(modality: Any) -> Any:
    """Return a Keras tensor that has a mask on it as a dict of both, anything else as it is."""
    mask = getattr(modality, "_keras_mask", None)
    return modality if mask is None else {"features": modality, MASK: mask}


def _form(modality: Any) -> str:
    """Return the structure of a modality and its shapes; masked tokens may be of another number in each batch."""
    mask = mask_of(modality)
    shapes = []
    for x in leaves(modality):
        sizes = list(map(str, x.shape[1:]))
        if mask is not None and x.shape[1:2] == mask.shape[1:2]:
            sizes[0] = "T"
        shapes.append(f"({', '.join(['B', *sizes])})")
    return str(rebuild(modality, shapes)).replace("'(", "(").replace(")'", ")")


class Pool:
    """Keeps a uniform draw of the samples seen, the same however they were batched: those with the smallest keys."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._rng = np.random.default_rng(seed)
        self._parts: list[list[NDArray[Any]]] = []
        self._stored = 0

    def add(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Offer the samples of a batch, arrays of shapes (B, ...)."""
        count = len(arrays[0])
        # Copies: the caller may fill the same memory with the next batch.
        self._parts.append([self._rng.random(count), *(x.copy() for x in arrays)])
        self.seen += count
        self._stored += count
        if self._stored > 2 * self.size:
            self._shrink()

    def samples(self) -> list[NDArray[Any]]:
        """Return the arrays of the kept samples, in the order in which they were seen."""
        self._shrink()
        return self._parts[0][1:]

    def _shrink(self) -> None:
        parts = [_concatenate(arrays) for arrays in zip(*self._parts, strict=True)]
        if len(parts[0]) > self.size:
            kept = np.sort(np.argpartition(parts[0], self.size)[: self.size])
            parts = [x[kept] for x in parts]
        self._parts, self._stored = [parts], len(parts[0])


def _concatenate(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays joined along axis 0, shorter ones padded with zeros along axis 1."""
    longest = max((x.shape[1] for x in arrays if x.ndim > 1), default=0)
    padded = [
        np.pad(x, [(0, 0), (0, longest - x.shape[1])] + [(0, 0)] * (x.ndim - 2)) if x.ndim > 1 else x for x in arrays
    ]
    return np.concatenate(padded)


def _to_numpy(x: Array) -> NDArray[Any]:
    return get_backend(x).to_numpy(x)

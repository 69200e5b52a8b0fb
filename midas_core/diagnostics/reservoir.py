"""The samples that are kept: a uniform draw of those seen, the same however they were batched."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = tuple[NDArray[Any], ...]


class Pool:
    """Keeps the samples with the smallest of random keys, one key for each sample seen.

    Parameters
    ----------
    size : int
        At most so many are kept.
    seed : int
        Of the keys.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seen = 0
        self._rng = np.random.default_rng(seed)
        self._parts: list[Part] = []
        self._stored = 0

    def add(self, arrays: Part) -> None:
        """Offer the samples of a batch, arrays of shapes (B, ...)."""
        count = len(arrays[0])
        # Copies: the caller may fill the same memory with the next batch.
        self._parts.append((self._rng.random(count), *(x.copy() for x in arrays)))
        self.seen += count
        self._stored += count
        if self._stored > 2 * self.size:
            self._shrink()

    def samples(self) -> Part:
        """Return the arrays of the kept samples, in the order in which they were seen."""
        self._shrink()
        return self._parts[0][1:]

    def _shrink(self) -> None:
        parts = [np.concatenate(each) for each in zip(*self._parts, strict=True)]
        if len(parts[0]) > self.size:
            kept = np.sort(np.argpartition(parts[0], self.size)[: self.size])
            parts = [x[kept] for x in parts]
        self._parts, self._stored = [tuple(parts)], len(parts[0])

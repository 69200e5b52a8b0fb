"""NumPy: the reference."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from midas_core.backends.base import Array, Backend


class NumpyBackend(Backend):
    """NumPy arrays; ``rng`` is a ``numpy.random.Generator``, a seed or None."""

    def device(self, x: Array) -> Any:
        """Return the one device that NumPy has."""
        return "cpu"

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from ``numpy.random.default_rng(rng)``."""
        return np.random.default_rng(rng).random(shape, dtype=np.float32)


BACKEND = NumpyBackend("numpy", xp)

"""NumPy: the reference."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy as xp
import numpy as np
from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend


class NumpyBackend(Backend):
    """NumPy arrays; ``rng`` is a ``numpy.random.Generator``, a seed or None."""

    half_dtypes = ("float16", "bfloat16")

    def device(self, x: Array) -> Any:
        """Return NumPy's only device."""
        return "cpu"

    def where(self, condition: Array, x: Array | float, y: Array | float) -> Array:
        """Give a scalar the dtype of the other side: of the bfloat16 of ml_dtypes and a float NumPy makes float64."""
        # By type: np.float64 is a float too.
        if type(x) in (int, float):
            x = y.dtype.type(x)  # type: ignore[union-attr]
        elif type(y) in (int, float):
            y = x.dtype.type(y)  # type: ignore[union-attr]
        return np.where(condition, x, y)

    def from_numpy(self, values: NDArray[Any], like: Array) -> Array:
        """Cast."""
        return values.astype(like.dtype, copy=False)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from ``numpy.random.default_rng(rng)``."""
        return np.random.default_rng(rng).random(shape, dtype=np.float32)


BACKEND = NumpyBackend("numpy", xp)

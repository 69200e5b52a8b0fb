"""CuPy. Imports without a GPU; its arrays need one."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

cupy = require("cupy", "CuPy", "cupy-cuda12x", "cupy-cuda13x")
xp = require("array_api_compat.cupy", "array-api-compat", "cupy-cuda12x", "cupy-cuda13x")


class CupyBackend(Backend):  # pragma: no cover - needs a GPU
    """CuPy arrays; ``rng`` is a ``cupy.random.Generator``, a seed or None."""

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Copy to the host."""
        return super().to_numpy(cupy.asnumpy(x))

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw on the current device."""
        return cupy.random.default_rng(rng).random(shape, dtype=cupy.float32)


BACKEND = CupyBackend("cupy", xp)

"""CuPy. Imports without a GPU; its arrays need one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

cupy = require("cupy", "CuPy", "cupy-cuda12x", "cupy-cuda13x")
xp = require("array_api_compat.cupy", "array-api-compat", "cupy-cuda12x", "cupy-cuda13x")


class CupyBackend(Backend):  # pragma: no cover - needs a GPU
    """CuPy arrays; ``rng`` is a ``cupy.random.Generator``, a seed or None."""

    half_dtypes = ("float16",)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Copy to the host."""
        return super().to_numpy(cupy.asnumpy(x))

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw on the current device."""
        return cupy.random.default_rng(rng).random(shape, dtype=cupy.float32)

    def devices(self) -> list[str]:
        """Return every GPU; raise ``ImportError`` if there is none."""
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError:
            count = 0
        if count == 0:
            raise ImportError("CuPy finds no GPU here")
        return [f"cuda:{k}" for k in range(count)]

    def is_on(self, x: Array, device: str) -> bool:
        """Compare the devices."""
        return f"cuda:{x.device.id}" == device

    def scope(self, device: str, dtype: Any) -> AbstractContextManager[Any]:
        """Make the device the current one."""
        place: AbstractContextManager[Any] = cupy.cuda.Device(int(device.partition(":")[2]))
        return place

    def random_source(self, seed: int, device: str) -> Any:
        """Return a generator."""
        return cupy.random.default_rng(seed)


BACKEND = CupyBackend("cupy", xp)

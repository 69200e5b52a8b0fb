"""array-api-strict, which holds the core to the standard in tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

xp = require("array_api_strict", "array-api-strict", "test")


class StrictBackend(Backend):
    """Strict arrays; ``rng`` as for NumPy."""

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw with NumPy and wrap, on the device of ``like``."""
        return xp.asarray(np.random.default_rng(rng).random(shape, dtype=np.float32), device=like.device)

    def devices(self) -> list[str]:
        """Return the default device and a second one, which exposes arrays made on the wrong device."""
        return ["CPU_DEVICE", "device1"]

    def place(self, values: NDArray[Any], device: str) -> Array:
        """Copy to the device."""
        return xp.asarray(values, device=xp.Device(device))

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Move to the CPU first."""
        return np.asarray(x.to_device(xp.Device("CPU_DEVICE")))

    def is_on(self, x: Array, device: str) -> bool:
        """Compare the devices."""
        return bool(x.device == xp.Device(device))


BACKEND = StrictBackend("array_api_strict", xp)

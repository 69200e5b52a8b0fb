"""array-api-strict: holds the core to the standard, in the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from midas_core.backends.base import Array, Backend, require

xp = require("array_api_strict", "array-api-strict", "test")


class StrictBackend(Backend):
    """Strict arrays; ``rng`` as for NumPy."""

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw with NumPy and wrap, on the device of ``like``."""
        return xp.asarray(np.random.default_rng(rng).random(shape, dtype=np.float32), device=like.device)


BACKEND = StrictBackend("array_api_strict", xp)

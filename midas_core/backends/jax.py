"""JAX, eagerly and under ``jit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

jax = require("jax", "JAX", "jax")


def _device(name: str) -> Any:
    """Return the device of a name such as ``"cpu:0"``."""
    kind, _, number = name.partition(":")
    return jax.devices(kind)[int(number or 0)]


class JaxBackend(Backend):
    """JAX arrays and tracers; ``rng`` is a ``jax.random`` key."""

    half_dtypes = ("float16", "bfloat16")
    compiles = True

    def index_dtype(self) -> Any:
        """Return int64 where x64 is on, else int32."""
        return jax.numpy.int64 if jax.config.jax_enable_x64 else jax.numpy.int32

    def device(self, x: Array) -> Any:
        """Leave the placement to JAX: a tracer has no device."""
        return None

    stop_gradient = staticmethod(jax.lax.stop_gradient)
    logsumexp = staticmethod(partial(jax.nn.logsumexp, axis=-1))
    log_softmax = staticmethod(partial(jax.nn.log_softmax, axis=-1))
    softmax = staticmethod(partial(jax.nn.softmax, axis=0))

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from a key, which is required as everywhere in JAX."""
        if rng is None:
            raise TypeError("rng: expected a jax.random key, got None")
        return jax.random.uniform(rng, shape, dtype=jax.numpy.float32)

    def devices(self) -> list[str]:
        """Return the first CPU, and every other device that JAX shows."""
        return ["cpu:0", *(f"{d.platform}:{d.id}" for d in jax.devices() if d.platform != "cpu")]

    def place(self, values: NDArray[Any], device: str) -> Array:
        """Copy to the device; without x64 int64 is cut here, since JAX warns when it cuts."""
        if values.dtype == np.int64 and not jax.config.jax_enable_x64:
            values = values.astype(np.int32)
        return jax.device_put(values, _device(device))

    def is_on(self, x: Array, device: str) -> bool:
        """Compare the devices."""
        return bool(x.devices() == {_device(device)})

    @contextmanager
    def scope(self, device: str, dtype: Any) -> Iterator[None]:
        """Make the device the default, and turn 64-bit numbers on or off."""
        # An older JAX has it elsewhere.
        namespace: Any = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
        with jax.default_device(_device(device)), namespace.enable_x64(np.dtype(dtype) == np.float64):
            yield

    def random_source(self, seed: int, device: str) -> Any:
        """Return a key."""
        return jax.random.key(seed)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Use ``jax.jit``."""
        return jax.jit(function)  # type: ignore[no-any-return]

    def gradients(self, function: Callable[..., Any], arrays: Sequence[Array], *constants: Any) -> Any:
        """Use ``jax.vjp``."""
        scalars, pull, others = jax.vjp(lambda *x: function(*x, *constants), *arrays, has_aux=True)
        picks = jax.numpy.eye(len(scalars), dtype=scalars[0].dtype)
        return [pull([x.astype(s.dtype) for x, s in zip(row, scalars, strict=True)]) for row in picks], others


BACKEND = JaxBackend("jax", jax.numpy)

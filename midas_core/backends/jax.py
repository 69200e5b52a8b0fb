"""JAX, eagerly and under ``jit``."""

from __future__ import annotations

from typing import Any

from midas_core.backends.base import Array, Backend, require

jax = require("jax", "JAX", "jax")


class JaxBackend(Backend):
    """JAX arrays and tracers; ``rng`` is a ``jax.random`` key."""

    def index_dtype(self) -> Any:
        """Return int64 where x64 is on, else int32."""
        return jax.numpy.int64 if jax.config.jax_enable_x64 else jax.numpy.int32

    def device(self, x: Array) -> Any:
        """Leave the placement to JAX: a tracer has no device."""
        return None

    def stop_gradient(self, x: Array) -> Array:
        """Stop the gradient."""
        return jax.lax.stop_gradient(x)

    def logsumexp(self, x: Array) -> Array:
        """Use JAX's own."""
        return jax.nn.logsumexp(x, axis=-1)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from a key; a key must be given, as everywhere in JAX."""
        if rng is None:
            raise TypeError("rng: expected a jax.random key, got None")
        return jax.random.uniform(rng, shape, dtype=jax.numpy.float32)


BACKEND = JaxBackend("jax", jax.numpy)

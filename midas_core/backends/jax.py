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

    def sort(self, keys: Array) -> tuple[Array, Array]:
        """Sort keys and positions together."""
        order = jax.numpy.arange(keys.shape[0], dtype=self.index_dtype())
        in_order, order = jax.lax.sort((keys, order), is_stable=True, num_keys=1)
        return in_order, order

    def scatter(self, permutation: Array, values: Array) -> Array:
        """Scatter, each place once."""
        return jax.numpy.zeros_like(values).at[permutation].set(values, unique_indices=True)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from a key; a key must be given, as everywhere in JAX."""
        if rng is None:
            raise TypeError("rng: expected a jax.random key, got None")
        return jax.random.uniform(rng, shape, dtype=jax.numpy.float32)


BACKEND = JaxBackend("jax", jax.numpy)

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

    def argsort(self, keys: Array) -> Array:
        """Sort keys and positions together; many of them on a CPU by parts, see `_argsort_by_parts`."""
        if keys.shape[0] < 4096:
            return jax.numpy.argsort(keys).astype(self.index_dtype())
        order = jax.lax.platform_dependent(keys, cpu=_argsort_by_parts, default=jax.numpy.argsort)
        return order.astype(self.index_dtype())

    def counts(self, indices: Array, size: Any) -> Array:
        """Scatter."""
        return jax.numpy.zeros(size, dtype=indices.dtype).at[indices].add(1)

    def scatter(self, permutation: Array, values: Array) -> Array:
        """Scatter, each place once."""
        return jax.numpy.zeros_like(values).at[permutation].set(values, unique_indices=True)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw from a key; a key must be given, as everywhere in JAX."""
        if rng is None:
            raise TypeError("rng: expected a jax.random key, got None")
        return jax.random.uniform(rng, shape, dtype=jax.numpy.float32)


def _argsort_by_parts(keys: Array) -> Array:
    """Return the stable order of whole numbers from 0 to 2**31 - 1, as a radix sort finds it.

    On a CPU XLA sorts one array of whole numbers several times as fast as two arrays together: so each pass packs a
    part of the key and the position into 32 bits.
    """
    jnp = jax.numpy
    positions = jnp.arange(len(keys), dtype=jnp.uint32)
    bits = (len(keys) - 1).bit_length()
    order = positions
    for low in range(0, 31, 32 - bits):
        part = (keys.astype(jnp.uint32)[order] >> low) << bits
        order = order[jnp.sort(part | positions) & (2**bits - 1)]
    return order.astype(int)


BACKEND = JaxBackend("jax", jax.numpy)

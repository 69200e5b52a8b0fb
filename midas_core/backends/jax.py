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
        """Sort keys and positions together; many of them on a CPU digit by digit, see `_argsort_by_digits`."""
        if keys.shape[0] < 4096:
            return jax.numpy.argsort(keys).astype(self.index_dtype())
        order = jax.lax.platform_dependent(keys, cpu=_argsort_by_digits, default=jax.numpy.argsort)
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


def _argsort_by_digits(keys: Array) -> Array:
    """Return the stable order of whole numbers from 0 to 2**31 - 1: a radix sort, by counting.

    On a CPU the sorts of XLA take several times as long, its scatters next to nothing. The array is cut into lanes that
    count for themselves: one step of the loop places an entry of every lane.
    """
    jnp, lax = jax.numpy, jax.lax
    bits, within, count = 11, {"mode": "promise_in_bounds"}, len(keys)
    steps = 2 ** ((count - 1).bit_length() // 2 + 4)
    lanes = -(-count // steps)
    lane = jnp.arange(lanes, dtype=jnp.int32)
    # Entry t of lane p lies at (t, p): a step reads and writes a row. What fills up comes last, and stays there.
    order = (lane * steps + jnp.arange(steps, dtype=jnp.int32)[:, None]).reshape(-1)
    keys = jnp.pad(keys.astype(jnp.int32), (0, steps * lanes - count), constant_values=2**31 - 1)

    def place(free: Array, cell: Array) -> tuple[Array, Array]:
        found = free.at[cell].get(**within)
        return free.at[cell].set(found + 1, unique_indices=True, **within), found

    for low in range(0, 31, bits):
        digits = (keys.at[order].get(**within) >> low) & (2**bits - 1)
        # All of a digit before the next one, lane after lane.
        cells = digits.reshape(steps, lanes) * lanes + lane
        counts = jnp.zeros(lanes * 2**bits, jnp.int32).at[cells.reshape(-1)].add(1, **within)
        places = lax.scan(place, jnp.cumsum(counts) - counts, cells)[1].reshape(-1)
        # The last pass puts them in order, the others into their lanes.
        there = places if low + bits >= 31 else places % steps * lanes + places // steps
        order = jnp.zeros_like(order).at[there].set(order, unique_indices=True, **within)
    return order[:count]


BACKEND = JaxBackend("jax", jax.numpy)

"""TensorFlow, which has no Array API namespace: the names that the core uses, over ``tf.*``.

A test compares the list with the source of the core. Should array-api-compat gain TensorFlow, ``Namespace`` goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

tf = require("tensorflow", "TensorFlow", "tensorflow")


class Namespace:
    """The Array API functions that the core uses."""

    float32 = tf.float32
    float64 = tf.float64
    int64 = tf.int64

    exp = staticmethod(tf.exp)
    isfinite = staticmethod(tf.math.is_finite)
    log = staticmethod(tf.math.log)
    matmul = staticmethod(tf.matmul)
    maximum = staticmethod(tf.maximum)
    minimum = staticmethod(tf.minimum)
    ones_like = staticmethod(tf.ones_like)
    permute_dims = staticmethod(tf.transpose)
    sign = staticmethod(tf.sign)
    sqrt = staticmethod(tf.sqrt)
    where = staticmethod(tf.where)
    zeros_like = staticmethod(tf.zeros_like)
    reshape = staticmethod(tf.reshape)
    concat = staticmethod(tf.concat)
    any = staticmethod(tf.reduce_any)
    argmin = staticmethod(partial(tf.argmin, output_type=tf.int64))
    max = staticmethod(tf.reduce_max)
    mean = staticmethod(tf.reduce_mean)
    prod = staticmethod(tf.reduce_prod)
    searchsorted = staticmethod(partial(tf.searchsorted, out_type=tf.int64))
    sort = staticmethod(tf.sort)
    stack = staticmethod(tf.stack)
    sum = staticmethod(tf.reduce_sum)
    take = staticmethod(tf.gather)

    @staticmethod
    def astype(x: Array, dtype: Any, *, copy: bool = True) -> Array:
        return tf.cast(x, dtype)

    @staticmethod
    def arange(stop: Any, *, dtype: Any = tf.int64, device: Any = None) -> Array:
        return tf.range(stop, dtype=dtype)

    @staticmethod
    def argsort(x: Array, *, axis: int = -1) -> Array:
        return tf.cast(tf.argsort(x, axis=axis, stable=True), tf.int64)

    @staticmethod
    def isdtype(dtype: Any, kind: str) -> bool:
        kinds = {"integral": dtype.is_integer, "real floating": dtype.is_floating, "bool": dtype.is_bool}
        return bool(kinds[kind])

    @staticmethod
    def take_along_axis(x: Array, indices: Array, *, axis: int) -> Array:
        if axis != -1:
            raise NotImplementedError("take_along_axis over the last axis only")
        return tf.gather(x, indices, axis=-1, batch_dims=len(x.shape) - 1)


class TensorflowBackend(Backend):
    """Eager and symbolic tensors; ``rng`` is a ``tf.random.Generator``, a (2,) stateless seed, or None."""

    half_dtypes = ("float16", "bfloat16")

    def device(self, x: Array) -> Any:
        """Leave the placement to TensorFlow."""
        return None

    stop_gradient = staticmethod(tf.stop_gradient)
    logsumexp = staticmethod(partial(tf.reduce_logsumexp, axis=-1))
    log_softmax = staticmethod(partial(tf.nn.log_softmax, axis=-1))
    softmax = staticmethod(partial(tf.nn.softmax, axis=0))
    softplus = staticmethod(tf.nn.softplus)

    def where(self, condition: Array, x: Array | float, y: Array | float) -> Array:
        """Give a scalar the dtype of the other side: while tracing, ``tf.where`` makes float32 of it."""
        other: Array = y
        return tf.where(condition, x if tf.is_tensor(x) else tf.constant(x, other.dtype), y)

    def length(self, x: Array) -> Any:
        """Return the length of the first axis; a tensor where it is unknown while tracing."""
        return x.shape[0] if x.shape[0] is not None else tf.shape(x, out_type=tf.int64)[0]

    def from_numpy(self, values: NDArray[Any], like: Array) -> Array:
        """Convert and cast: NumPy has no bfloat16."""
        return tf.cast(tf.convert_to_tensor(np.ascontiguousarray(values)), like.dtype)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw statefully (a generator, or the global one) or statelessly (a seed of two integers)."""
        if rng is None:
            return tf.random.uniform(shape)
        if isinstance(rng, tf.random.Generator):
            return rng.uniform(shape)
        return tf.random.stateless_uniform(shape, seed=rng)

    def devices(self) -> list[str]:
        """Return every CPU and GPU that TensorFlow shows."""
        shown = [d for d in tf.config.list_logical_devices() if d.device_type in ("CPU", "GPU")]
        return [d.name.removeprefix("/device:") for d in shown]

    def place(self, values: NDArray[Any], device: str) -> Array:
        """Copy to the device."""
        with tf.device(device):
            return tf.constant(values)

    def is_on(self, x: Array, device: str) -> bool:
        """Compare the devices, except for integers, which TensorFlow keeps on the CPU at will."""
        return not x.dtype.is_floating or x.device.endswith(device)

    def scope(self, device: str, dtype: Any) -> AbstractContextManager[Any]:
        """Make the device the default."""
        place: AbstractContextManager[Any] = tf.device(device)
        return place

    def random_source(self, seed: int, device: str) -> Any:
        """Return a generator."""
        return tf.random.Generator.from_seed(seed)

    def gradients(self, function: Callable[..., Any], arrays: Sequence[Array], *constants: Any) -> Any:
        """Use ``tf.GradientTape``."""
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(arrays)
            scalars, others = function(*arrays, *constants)
        zero = tf.UnconnectedGradients.ZERO
        slopes = [tape.gradient(x, arrays, unconnected_gradients=zero) for x in scalars]
        return [[tf.convert_to_tensor(g) for g in row] for row in slopes], others


BACKEND = TensorflowBackend("tensorflow", Namespace)

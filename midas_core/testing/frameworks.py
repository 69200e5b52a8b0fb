"""The frameworks under test: NumPy in, NumPy out, and gradients where there are some."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from midas_core import load_backend

NAMES = ("numpy", "array_api_strict", "torch", "jax", "tensorflow")
AUTOGRAD = ("torch", "jax", "tensorflow")


class Framework:
    """A framework's backend, and the way into it and out of it."""

    name = "numpy"

    def __init__(self) -> None:
        self.backend = load_backend(self.name)

    def __repr__(self) -> str:
        return self.name

    def scope(self, dtype: Any) -> AbstractContextManager:
        """Return the context in which arrays of this dtype exist."""
        return nullcontext()

    def array(self, x: Any) -> Any:
        return np.asarray(x)

    def numpy(self, x: Any) -> np.ndarray:
        return np.asarray(x)

    def call(self, function: Any, *arguments: Any) -> Any:
        """Call a function, compiled where compiling it once is quicker."""
        return function(*arguments)

    def gradients(self, function: Any, arrays: list[Any]) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        """Differentiate ``function(*arrays) -> (scalars, others)``.

        Returns the gradient of each scalar in each array, 0 where nothing flows, and the other arrays.
        """
        raise NotImplementedError


class Strict(Framework):
    name = "array_api_strict"

    def array(self, x: Any) -> Any:
        return self.backend.xp.asarray(np.asarray(x))


class Torch(Framework):
    name = "torch"

    def array(self, x: Any) -> Any:
        import torch

        x = np.asarray(x)
        if x.dtype.name == "bfloat16":
            return torch.tensor(x.astype("float32")).bfloat16()
        return torch.tensor(x)

    def numpy(self, x: Any) -> np.ndarray:
        x = x.detach().cpu()
        return (x.float() if x.dtype.itemsize == 2 and x.is_floating_point() else x).numpy()

    def gradients(self, function: Any, arrays: list[Any]) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        import torch

        arrays = [x.detach().requires_grad_() for x in arrays]
        found = []
        scalars, others = function(*arrays)
        for value in scalars:
            if not value.requires_grad:
                found.append([np.zeros(x.shape) for x in arrays])
                continue
            slopes = torch.autograd.grad(value, arrays, retain_graph=True, allow_unused=True, materialize_grads=True)
            found.append([self.numpy(g) for g in slopes])
        return found, [self.numpy(x) for x in others]


class Jax(Framework):
    name = "jax"

    def scope(self, dtype: Any) -> AbstractContextManager:
        import jax

        return jax.enable_x64(np.dtype(dtype) == np.float64)

    def array(self, x: Any) -> Any:
        import jax

        x = np.asarray(x)
        # JAX warns when it cuts 64-bit numbers; here it is meant.
        if x.dtype == np.int64 and not jax.config.jax_enable_x64:
            x = x.astype(np.int32)
        return jax.numpy.asarray(x)

    def call(self, function: Any, *arguments: Any) -> Any:
        import jax

        # Eagerly JAX compiles every operation on its own, ten times as long as the whole.
        return jax.jit(function)(*arguments)

    def gradients(self, function: Any, arrays: list[Any]) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        import jax

        def slopes(*values: Any) -> Any:
            scalars, pull, others = jax.vjp(function, *values, has_aux=True)
            picks = jax.numpy.eye(len(scalars), dtype=scalars[0].dtype)
            found = [pull([x.astype(s.dtype) for x, s in zip(row, scalars, strict=True)]) for row in picks]
            return found, others

        found, others = jax.jit(slopes)(*arrays)
        return [[np.asarray(g) for g in row] for row in found], [np.asarray(x) for x in others]


class Tensorflow(Framework):
    name = "tensorflow"

    def array(self, x: Any) -> Any:
        import tensorflow as tf

        return tf.constant(np.asarray(x))

    def gradients(self, function: Any, arrays: list[Any]) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(arrays)
            scalars, others = function(*arrays)
        found = [tape.gradient(x, arrays, unconnected_gradients=tf.UnconnectedGradients.ZERO) for x in scalars]
        return [[np.asarray(tf.convert_to_tensor(g)) for g in row] for row in found], [np.asarray(x) for x in others]


class Cupy(Framework):
    """Needs a GPU."""

    name = "cupy"

    def array(self, x: Any) -> Any:
        return self.backend.xp.asarray(np.asarray(x))

    def numpy(self, x: Any) -> np.ndarray:
        import cupy

        return cupy.asnumpy(x)


KINDS = {kind.name: kind for kind in (Framework, Strict, Torch, Jax, Tensorflow, Cupy)}

"""The interface of a backend, with defaults that hold for any Array API namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any
"""An array of any supported framework."""


class Backend:
    """An Array API namespace and the operations that the standard lacks.

    The second half, from ``half_dtypes`` on, is used by tests and ``midas verify`` only. As it stands it serves a
    namespace whose ``asarray`` takes NumPy arrays, and whose arrays ``numpy.asarray`` takes.

    Parameters
    ----------
    name : str
        Name of the framework.
    xp : module
        Its Array API namespace (2024.12 or newer).

    Attributes
    ----------
    half_dtypes : tuple of str
        Half-precision dtypes of the framework.
    compiles : bool
        Whether every new shape costs a compilation, so that tests keep to a few.
    """

    half_dtypes: tuple[str, ...] = ()
    compiles = False

    def __init__(self, name: str, xp: Any) -> None:
        self.name = name
        self.xp = xp

    def __repr__(self) -> str:
        return f"Backend({self.name!r})"

    def index_dtype(self) -> Any:
        """Return the dtype of indices."""
        return self.xp.int64

    def device(self, x: Array) -> Any:
        """Return the device of ``x`` as creation functions take it; None means the default."""
        return x.device

    def stop_gradient(self, x: Array) -> Array:
        """Return ``x`` as a constant of the differentiation."""
        return x

    def in_full_precision(self, x: Array) -> Array:
        """Return ``x`` in float32, unless it is float32 or float64 already."""
        xp = self.xp
        return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32, copy=False)

    def logsumexp(self, x: Array) -> Array:
        """Return log(sum(exp(x))) over the last axis; finite wherever ``x`` is."""
        xp = self.xp
        top = xp.max(x, axis=-1, keepdims=True)
        # A row of -inf alone would give inf - inf.
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        return xp.log(xp.sum(xp.exp(x - top), axis=-1)) + top[..., 0]

    def log_softmax(self, x: Array) -> Array:
        """Return log(softmax(x)) over the last axis."""
        return x - self.logsumexp(x)[..., None]

    def log_likelihood(self, x: Array, index: Array) -> Array:
        """Return log(softmax(x)) at indices of the last axis, without an array of all of them."""
        return self.xp.take_along_axis(x, index, axis=-1) - self.logsumexp(x)[..., None]

    def softmax(self, x: Array) -> Array:
        """Return exp(x) / sum(exp(x)) over the first axis; some ``x`` may be -inf, not all."""
        xp = self.xp
        powers = xp.exp(x - xp.max(x, axis=0, keepdims=True))
        return powers / xp.sum(powers, axis=0, keepdims=True)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x))."""
        return self.xp.logaddexp(x, self.xp.zeros_like(x))

    def norm(self, x: Array) -> Array:
        """Return the Euclidean norm over the last axis; infinite where a square overflows."""
        return self.xp.sqrt(self.xp.sum(x * x, axis=-1))

    def fill(self, x: Array, where: Array, value: float) -> Array:
        """Return ``x`` with a scalar where a mask holds; their shapes broadcast."""
        return self.where(where, value, x)

    def where(self, condition: Array, x: Array | float, y: Array | float) -> Array:
        """Return ``x`` where the condition holds, else ``y``; one of them may be a scalar."""
        return self.xp.where(condition, x, y)

    def at_least(self, x: Array, low: float) -> Array:
        """Return the larger of ``x`` and a scalar; NaN stays."""
        return self.xp.maximum(x, low)

    def at_most(self, x: Array, high: float) -> Array:
        """Return the smaller of ``x`` and a scalar; NaN stays."""
        return self.xp.minimum(x, high)

    def length(self, x: Array) -> Any:
        """Return the length of the first axis, static or, while tracing, perhaps an array."""
        return x.shape[0]

    def arange(self, stop: Any, like: Array) -> Array:
        """Return the indices 0 ... stop - 1 on the device of ``like``; ``stop`` is static or from ``length``."""
        return self.xp.arange(stop, dtype=self.index_dtype(), device=self.device(like))

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Return ``x`` as a NumPy array on the host, without gradients; half precision as float32."""
        values = np.asarray(x)
        return values.astype(np.float32) if values.dtype.name in ("bfloat16", "float16") else values

    def from_numpy(self, values: NDArray[Any], like: Array) -> Array:
        """Return a NumPy array as one of the framework, with the dtype and on the device of ``like``."""
        return self.xp.asarray(np.ascontiguousarray(values), dtype=like.dtype, device=self.device(like))

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw float32 numbers in [0, 1) on the device of ``like``.

        ``rng`` follows the framework: a generator, a key or a seed.
        """
        raise NotImplementedError(f"the {self.name} backend draws no random numbers")

    def devices(self) -> list[str]:
        """Return the names of the devices, the default one first."""
        return ["cpu"]

    def place(self, values: NDArray[Any], device: str) -> Array:
        """Copy a NumPy array to a device."""
        return self.xp.asarray(values)

    def is_on(self, x: Array, device: str) -> bool:
        """Return whether ``x`` lies on a device."""
        return True

    def scope(self, device: str, dtype: Any) -> AbstractContextManager[Any]:
        """Return the context in which arrays of a dtype exist and a device is the default."""
        return nullcontext()

    def random_source(self, seed: int, device: str) -> Any:
        """Return a source of random numbers for ``uniform``."""
        return np.random.default_rng(seed)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, compiled where ``compiles`` is true."""
        return function

    def gradients(self, function: Callable[..., Any], arrays: Sequence[Array], *constants: Any) -> Any:
        """Differentiate ``function(*arrays, *constants) -> (scalars, others)`` in the arrays.

        Returns the gradient of each scalar in each array, 0 where nothing flows, and ``others``.
        """
        raise NotImplementedError(f"the {self.name} backend has no autograd")


def require(module: str, package: str, *extras: str) -> Any:
    """Import a module, or say which extras of this distribution install its package."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # A module that fails to import one of its dependencies is a different error.
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        ways = " or ".join(f"pip install 'midas-multimodal[{extra}]'" for extra in extras)
        raise ImportError(f"{package} is not installed: {ways}") from error

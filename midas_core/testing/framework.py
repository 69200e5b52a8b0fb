"""A backend on a device, as the checks use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from midas_core.backends import Backend, load_backend
from midas_core.testing.problems import COMPILED_SHAPES, FEW_STRUCTURES

Gradients = tuple[list[list[np.ndarray]], list[np.ndarray]]


class Framework:
    """A backend on one of its devices.

    Parameters
    ----------
    backend : Backend
        One of the library's, or yours: a `midas_core.backends.Backend`, or a subclass with the methods that differ.
    device : str, optional
        One of ``backend.devices()``; the first by default.

    Attributes
    ----------
    name, device : str
    half : tuple of str
        Half-precision dtypes of the backend.
    compiled : bool
        Whether steps are compiled as a whole, once for each of a few structures. If False, JAX compiles operation by
        operation, which allows any options but only a few shapes.
    memory : dict or None
        Results of the core by recipe of the problem, so that several properties share them.

    Examples
    --------
    >>> from midas_core.backends import load_backend
    >>> Framework(load_backend("numpy"))
    numpy
    """

    memory: dict[str, dict[str, np.ndarray]] | None = None

    def __init__(self, backend: Backend, device: str | None = None) -> None:
        self.backend = backend
        self.name = backend.name
        self.device = backend.devices()[0] if device is None else device
        self.half = backend.half_dtypes
        self.compiled = backend.compiles
        self._functions: dict[Any, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return self.name

    @property
    def shapes(self) -> Sequence[tuple[int, int, int]] | None:
        """Return the shapes (B, M, C) of problems to draw; None allows any."""
        return COMPILED_SHAPES if self.backend.compiles else None

    @property
    def structures(self) -> Sequence[dict[str, Any]] | None:
        """Return the arguments of `make_problem` to draw from; None allows any."""
        return FEW_STRUCTURES if self.compiled else None

    @property
    def differentiates(self) -> bool:
        """Return whether the backend has autograd."""
        return type(self.backend).gradients is not Backend.gradients

    def scope(self, dtype: Any) -> AbstractContextManager[Any]:
        """Return the context in which arrays of a dtype exist on the device."""
        return self.backend.scope(self.device, dtype)

    def array(self, x: Any) -> Any:
        """Copy a NumPy array to the device."""
        return self.backend.place(np.asarray(x), self.device)

    def numpy(self, x: Any) -> np.ndarray:
        """Copy to the host; half precision as float32."""
        return self.backend.to_numpy(x)

    def owns(self, x: Any) -> bool:
        """Return whether ``x`` is an array of the framework."""
        return _root(x) == _root(self.array(np.zeros(1, np.float32)))

    def on_device(self, x: Any) -> bool:
        """Return whether ``x`` lies on the device."""
        return self.backend.is_on(x, self.device)

    def rng(self, seed: int) -> Any:
        """Return a source of random numbers for the backend's ``uniform``."""
        return self.backend.random_source(seed, self.device)

    def call(self, function: Callable[..., Any], *arguments: Any, key: Any = None) -> Any:
        """Call a function, compiled if the framework compiles; calls with equal keys share one compilation."""
        if not self.compiled:
            return function(*arguments)
        if key is None:
            return self.backend.compiled(function)(*arguments)
        return self._functions.setdefault(key, self.backend.compiled(function))(*arguments)

    def gradients(self, function: Callable[..., Any], arrays: list[Any], *constants: Any, key: Any = None) -> Gradients:
        """Differentiate, as `midas_core.backends.Backend.gradients`, and return NumPy arrays; ``key`` as for `call`."""
        slopes, others = self.call(
            partial(self.backend.gradients, function), arrays, *constants, key=key and ("gradients", key)
        )
        return [[self.numpy(g) for g in row] for row in slopes], [self.numpy(x) for x in others]


def load_framework(name: str, device: str | None = None) -> Framework:
    """Return one of the library's backends on a device.

    Parameters
    ----------
    name : str
        As for `midas_core.backends.load_backend`, with its errors.
    device : str, optional
        One of the backend's ``devices()``; the first by default.

    Returns
    -------
    Framework

    Examples
    --------
    >>> load_framework("numpy")
    numpy
    """
    return Framework(load_backend(name), device)


def _root(x: Any) -> str:
    """Return the root module of an array's type: one for arrays and, in NumPy, for scalars."""
    return type(x).__module__.partition(".")[0]

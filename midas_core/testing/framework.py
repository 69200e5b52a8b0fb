"""A framework as the checks see it: the way into it, out of it, and to its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from midas_core.backends import Backend

Gradients = tuple[list[list[np.ndarray]], list[np.ndarray]]


class Framework:
    """A backend and how NumPy arrays come into it and out of it.

    As it stands it serves a namespace whose ``asarray`` takes NumPy arrays and whose arrays ``numpy.asarray`` takes;
    override what differs.

    Parameters
    ----------
    backend : Backend
        What is to be checked.
    device : optional
        Where its arrays are to lie; None for the default.

    Attributes
    ----------
    name : str
    device_name : str
        For people to read.
    shapes : sequence of (B, M, C), or None
        The shapes of the problems that it is tried on, where every new one costs a compilation; None for any.
    structures : sequence of dict, or None
        The same for shapes, dtypes and options together, as arguments of `make_problem`.
    half : tuple of str
        The half-precision dtypes that it has.
    memory : dict, or None
        What steps of the core gave, by the recipe of the problem, so that several properties need it once.
    """

    shapes: Sequence[tuple[int, int, int]] | None = None
    structures: Sequence[dict[str, Any]] | None = None
    half: tuple[str, ...] = ()
    memory: dict[str, dict[str, np.ndarray]] | None = None

    def __init__(self, backend: Backend, device: Any = None) -> None:
        self.backend = backend
        self.name = backend.name
        self.device = device

    def __repr__(self) -> str:
        return self.name

    @property
    def device_name(self) -> str:
        """Return the name of the device."""
        return "default" if self.device is None else str(self.device)

    def scope(self, dtype: Any) -> AbstractContextManager[Any]:
        """Return the context in which arrays of this dtype exist."""
        return nullcontext()

    def array(self, x: Any) -> Any:
        """Return a NumPy array as one of the framework's."""
        return self.backend.xp.asarray(np.asarray(x))

    def numpy(self, x: Any) -> np.ndarray:
        """Return an array of the framework as a NumPy array; half precision as float32."""
        return self.backend.to_numpy(x)

    def owns(self, x: Any) -> bool:
        """Return whether ``x`` is an array of this framework."""
        return isinstance(x, type(self.array(np.zeros(1, np.float32))))

    def on_device(self, x: Any) -> bool:
        """Return whether ``x`` lies where it should."""
        return True

    def call(self, function: Callable[..., Any], *arguments: Any, key: Any = None) -> Any:
        """Call a function, compiled where that is quicker; of equal keys the first one serves for all."""
        return function(*arguments)

    def rng(self, seed: int) -> Any:
        """Return a source of random numbers as the backend's ``uniform`` takes it."""
        return np.random.default_rng(seed)

    @property
    def differentiates(self) -> bool:
        """Return whether there are gradients."""
        return type(self).gradients is not Framework.gradients

    def gradients(self, function: Callable[..., Any], arrays: list[Any], *constants: Any, key: Any = None) -> Gradients:
        """Differentiate ``function(*arrays, *constants) -> (scalars, others)`` in the arrays; ``key`` as for `call`.

        Returns the gradient of each scalar in each array, 0 where nothing flows, and the other arrays.
        """
        raise NotImplementedError(f"{self.name} has no autograd")

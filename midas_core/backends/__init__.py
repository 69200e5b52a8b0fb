"""Backends: an Array API namespace and the few operations that the standard lacks.

The type of an array selects its backend, without importing any framework.
"""

from __future__ import annotations

from importlib import import_module

from midas_core.backends.base import Array, Backend, require

__all__ = ["Array", "Backend", "get_backend", "load_backend", "require"]

# Root module of an array's type -> module of this package that serves it.
_MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "cupy": "cupy",
    "tensorflow": "tensorflow",
    "array_api_strict": "strict",
}
_loaded: dict[str, Backend] = {}
_by_type: dict[type, Backend] = {}


def load_backend(name: str) -> Backend:
    """Return the backend called ``name``, importing its framework.

    Parameters
    ----------
    name : str
        ``"numpy"``, ``"torch"``, ``"jax"``, ``"tensorflow"``, ``"cupy"`` or ``"array_api_strict"``.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If the framework is not installed; the message says what to install.

    Examples
    --------
    >>> load_backend("numpy").name
    'numpy'
    """
    if name not in _MODULES:
        known = sorted(set(_MODULES) - {"jaxlib"})
        raise ValueError(f"backend: expected one of {known}, got {name!r}")
    if name not in _loaded:
        _loaded[name] = import_module(f"midas_core.backends.{_MODULES[name]}").BACKEND
    return _loaded[name]


def get_backend(x: Array) -> Backend:
    """Return the backend of an array of any supported framework; raise ``TypeError`` for anything else.

    Examples
    --------
    >>> import numpy as np
    >>> get_backend(np.zeros(3)).name
    'numpy'
    """
    kind = type(x)
    backend = _by_type.get(kind)
    if backend is None:
        # A subclass (torch.nn.Parameter, a Keras variable's value ...) is served by its base's framework.
        roots = [base.__module__.partition(".")[0] for base in kind.__mro__]
        name = next((root for root in roots if root in _MODULES), None)
        if name is None:
            raise TypeError(
                "expected an array of NumPy, PyTorch, JAX, CuPy, TensorFlow or array-api-strict, "
                f"got {kind.__module__}.{kind.__qualname__}"
            )
        backend = _by_type[kind] = load_backend(name)
    return backend

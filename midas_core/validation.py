"""Checks of shapes, dtypes and options. Values inside arrays are looked at on the host alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from midas_core.backends import Array, Backend, get_backend


def shape_text(x: Array) -> str:
    """Return the shape of an array as Python writes it, ``?`` for what is unknown while tracing."""
    return _text(x.shape)


def _text(shape: Sequence[int | None]) -> str:
    sizes = ["?" if n is None else str(n) for n in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {list(choices)}, got {value!r}")


def check_number(name: str, value: Any, *, minimum: float, whole: bool = False) -> Any:
    """Return ``value`` as a Python number, or raise unless it is a finite number of at least ``minimum``."""
    fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not fits or not minimum <= value < float("inf"):
        kind = "whole" if whole else "finite"
        raise (ValueError if fits else TypeError)(f"{name}: expected a {kind} number >= {minimum:g}, got {value!r}")
    return _plain(value)


def check_fraction(name: str, value: Any) -> Any:
    """Return ``value`` as a Python number, or raise unless it is in [0, 1]."""
    fits = isinstance(value, Real) and not isinstance(value, bool)
    if not fits or not 0 <= value <= 1:
        raise (ValueError if fits else TypeError)(f"{name}: expected a number in [0, 1], got {value!r}")
    return _plain(value)


def check_flag(name: str, value: Any) -> bool:
    """Return ``value``, or raise ``TypeError`` unless it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    # The compiler of PyTorch knows the type of a number that it takes for a variable, and not what attributes it has.
    return value if type(value) in (int, float) else value.item() if hasattr(value, "item") else value


def is_floating(x: Array, backend: Backend) -> bool:
    """Return whether ``x`` has a real floating dtype."""
    xp = backend.xp
    # NumPy refuses to say what kind of dtype the bfloat16 of ml_dtypes is.
    return x.dtype in (xp.float32, xp.float64) or "bfloat16" in str(x.dtype) or xp.isdtype(x.dtype, "real floating")


def is_integral(x: Array, backend: Backend) -> bool:
    """Return whether ``x`` has an integer dtype."""
    # To look it up in a list of kinds takes longer.
    return bool(x.dtype == backend.xp.int64 or backend.xp.isdtype(x.dtype, "integral"))


def check_floating(name: str, x: Array, backend: Backend) -> None:
    """Raise ``TypeError`` unless ``x`` has a real floating dtype."""
    if not is_floating(x, backend):
        raise TypeError(f"{name}: expected a real floating dtype, got {x.dtype}")


def check_integral(name: str, x: Array, backend: Backend) -> None:
    """Raise ``TypeError`` unless ``x`` has an integer dtype."""
    if not is_integral(x, backend):
        raise TypeError(f"{name}: expected an integer dtype, got {x.dtype}")


def check_labels(labels: Array, backend: Backend) -> None:
    """Raise unless ``labels`` is a vector of whole numbers."""
    if not is_integral(labels, backend):
        raise TypeError(f"labels: expected class indices of an integer dtype, got {labels.dtype}")
    if len(labels.shape) != 1:
        raise ValueError(f"labels: expected shape (B,), got {shape_text(labels)}")


def check_range(name: str, indices: Any, count: int) -> None:
    """Raise ``ValueError`` unless indices on the host are in 0 ... count - 1."""
    outside = (indices < 0) | (indices >= count)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"{name}: expected whole numbers in 0 ... {count - 1}, got {indices[first]} in sample {first}")


def check_same_kind(arrays: Mapping[str, Any], backend: Backend) -> None:
    """Raise ``TypeError`` unless every array, by the name of its argument, is of the framework of the backend."""
    for name, x in arrays.items():
        kind = None if x is None else get_backend(x)
        if kind is not None and kind is not backend:
            raise TypeError(f"{name}: expected an array of {backend.name} like the logits, got one of {kind.name}")


def check_switch(name: str, value: Any) -> None:
    """Raise unless ``value`` is None, True, False or, for a traced step, an array of shape ()."""
    if value is None or isinstance(value, bool):
        return
    if getattr(value, "shape", None) is None or len(value.shape):
        got = f"shape {shape_text(value)}" if hasattr(value, "shape") else repr(value)
        raise ValueError(f"{name}: expected True, False or an array of shape (), got {got}")


def check_shape(name: str, x: Array, expected: Sequence[int | None], symbols: str) -> None:
    """Raise ``ValueError`` unless the shape fits ``expected``.

    None in ``expected`` fits anything, and so does an axis that is unknown while tracing.
    """
    shape = x.shape
    if shape == expected:
        return
    fits = len(shape) == len(expected)
    for want, have in zip(expected, shape, strict=False):
        fits = fits and (want is None or have is None or want == have)
    if not fits:
        raise ValueError(f"{name}: expected shape {symbols} = {_text(expected)}, got {shape_text(x)}")


def check_logits(name: str, x: Array, expected: Sequence[int | None], symbols: str, backend: Backend) -> None:
    """Raise unless ``x`` has the shape and a real floating dtype."""
    check_shape(name, x, expected, symbols)
    check_floating(name, x, backend)


def check_modalities(name: str, items: Sequence[Any], expected: int | None = None) -> None:
    """Raise ``ValueError`` unless there is one item for each of two or more modalities."""
    if expected is not None and len(items) != expected:
        raise ValueError(f"{name}: expected {expected} modalities, got {len(items)}")
    if len(items) < 2:
        raise ValueError(f"{name}: expected two or more modalities, got {len(items)}")


def are_probabilities(rows: Any) -> bool:
    """Return whether rows of NumPy, shape (B, C), are probabilities: non-negative, and each sums to 1."""
    if rows.ndim != 2 or not len(rows) or rows.shape[1] < 2:
        return False
    tolerance = 1e-5 if rows.dtype.itemsize > 2 else 1e-2
    values = rows.astype("float64")
    if not (values >= 0).all():
        return False
    # A table of ones and zeros is no softmax.
    return bool((abs(values.sum(axis=1) - 1) <= tolerance).all() and (values.max(axis=1) < 1).any())

"""Run core functions on small CPU tensors through NumPy: the same memory, a fraction of the overhead of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND as TORCH


def on_host(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments, backend=...)``, computed by NumPy where the tensors lie on the CPU.

    Parameters
    ----------
    function : callable
        A function of the core, which serves either backend.
    *arguments : Tensor, None, or tuples of them
        Not to be differentiated.

    Returns
    -------
    Tensor, or tuple of tensors
    """
    first = next(x for x in _leaves(arguments) if x is not None)
    if first.device.type != "cpu" or torch.compiler.is_compiling():
        return function(*arguments, backend=TORCH)
    return _map(torch.as_tensor, function(*_map(Tensor.numpy, arguments), backend=NUMPY))


def _leaves(tree: Any) -> Any:
    for x in tree:
        if isinstance(x, tuple):
            yield from _leaves(x)
        else:
            yield x


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if tree is None:
        return None
    if not isinstance(tree, tuple):
        return function(tree)
    mapped = [_map(function, x) for x in tree]
    return type(tree)(*mapped) if hasattr(tree, "_fields") else tuple(mapped)

"""PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.backends.base import Array, Backend, require

torch = require("torch", "PyTorch", "torch")
compat = require("array_api_compat.torch", "array-api-compat", "torch")


def _astype(x: Array, dtype: Any, *, copy: bool = True) -> Array:
    return x.to(dtype, copy=copy) if copy or x.dtype != dtype else x


def _take(x: Array, indices: Array, *, axis: int) -> Array:
    return torch.index_select(x, axis, indices)


def _take_along_axis(x: Array, indices: Array, *, axis: int) -> Array:
    return torch.gather(x, axis, indices)


def _vecdot(x: Array, y: Array) -> Array:
    # Under autocast torch.linalg.vecdot takes float32 to half precision, where a squared norm overflows.
    return torch.sum(x * y, dim=-1)


def under_autocast(x: Array) -> bool:
    """Return whether autocast is on for the device of a tensor; on the meta device there is none."""
    kind = x.device.type
    return bool(torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind))


def _matmul(x: Array, y: Array) -> Array:
    if not under_autocast(x):
        return torch.matmul(x, y)
    # It would round counts.
    with torch.autocast(x.device.type, enabled=False):
        return torch.matmul(x, y)


# Frequent calls, without the argument handling of array-api-compat, which costs as much as the work.
# PyTorch takes axis and keepdims as dim and keepdim.
_direct = {
    "any": torch.any,
    "argmin": torch.argmin,
    "astype": _astype,
    "concat": torch.concat,
    "max": torch.amax,
    "mean": torch.mean,
    "permute_dims": torch.permute,
    "prod": torch.prod,
    "reshape": torch.reshape,
    "sign": torch.sign,
    "sum": torch.sum,
    "take": _take,
    "take_along_axis": _take_along_axis,
    "where": torch.where,
}
_exact = {"vecdot": _vecdot, "matmul": _matmul}
xp = SimpleNamespace(**{**{name: getattr(compat, name) for name in dir(compat)}, **_direct, **_exact})


class TorchBackend(Backend):
    """PyTorch tensors; ``rng`` is a ``torch.Generator`` on the tensors' device, or None for the global one."""

    half_dtypes = ("float16", "bfloat16")

    # Calls of C without a frame of Python around them.

    stop_gradient = staticmethod(torch.detach)
    logsumexp = staticmethod(partial(torch.logsumexp, dim=-1))
    log_softmax = staticmethod(partial(torch.log_softmax, dim=-1))
    softmax = staticmethod(partial(torch.softmax, dim=0))
    norm = staticmethod(partial(torch.linalg.vector_norm, dim=-1))
    fill = staticmethod(torch.masked_fill)
    # array-api-compat makes a tensor of a scalar first, by a call that torch.compile does not trace.
    where = staticmethod(torch.where)

    def log_likelihood(self, x: Array, index: Array) -> Array:
        """Pick from log_softmax: one kernel, and one array fewer in the backward pass."""
        return self.xp.take_along_axis(self.log_softmax(x), index, axis=-1)

    def softplus(self, x: Array) -> Array:
        """Use the fused kernel; from 40 on the rest is below the precision of float64."""
        return torch.nn.functional.softplus(x, threshold=40)

    def at_least(self, x: Array, low: float) -> Array:
        """Clamp."""
        return torch.clamp(x, min=low)

    def at_most(self, x: Array, high: float) -> Array:
        """Clamp."""
        return torch.clamp(x, max=high)

    def arange(self, stop: Any, like: Array) -> Array:
        """Count on the device of ``like``."""
        return torch.arange(stop, device=like.device)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        """Detach, copy to the host; NumPy has no bfloat16."""
        x = x.detach().cpu()
        return np.asarray((x.float() if x.is_floating_point() and x.dtype.itemsize < 4 else x).numpy())

    def from_numpy(self, values: NDArray[Any], like: Array) -> Array:
        """Copy to the device of ``like``."""
        return torch.as_tensor(np.ascontiguousarray(values), device=like.device).to(like.dtype)

    def uniform(self, shape: tuple[Any, ...], like: Array, rng: Any) -> Array:
        """Draw on the device of ``like``, without a copy from the host."""
        # Spelled apart: torch.compile traces no draw with a generator, not even None, for an unknown batch size.
        if rng is None:
            return torch.rand(shape, device=like.device, dtype=torch.float32)
        return torch.rand(shape, generator=rng, device=like.device, dtype=torch.float32)

    def devices(self) -> list[str]:
        """Return the CPU and every CUDA device."""
        return ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]

    def place(self, values: NDArray[Any], device: str) -> Array:
        """Copy to the device; PyTorch takes no bfloat16 of ml_dtypes."""
        if values.dtype.name == "bfloat16":
            return torch.tensor(values.astype("float32"), device=device).bfloat16()
        return torch.tensor(values, device=device)

    def is_on(self, x: Array, device: str) -> bool:
        """Compare the devices."""
        return str(x.device) == device

    def random_source(self, seed: int, device: str) -> Any:
        """Return a generator on the device."""
        return torch.Generator(device).manual_seed(seed)

    def gradients(self, function: Callable[..., Any], arrays: Sequence[Array], *constants: Any) -> Any:
        """Use ``torch.autograd.grad``."""
        arrays = [x.detach().requires_grad_() for x in arrays]
        scalars, others = function(*arrays, *constants)
        slopes = []
        for value in scalars:
            if value.requires_grad:
                options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
                slopes.append(torch.autograd.grad(value, arrays, **options))
            else:
                slopes.append([torch.zeros_like(x) for x in arrays])
        return slopes, others


BACKEND = TorchBackend("torch", xp)

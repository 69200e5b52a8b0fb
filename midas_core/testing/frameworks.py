"""The frameworks that this library has a backend for, as the checks see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import numpy as np

from midas_core.backends import load_backend
from midas_core.testing.framework import Framework, Gradients
from midas_core.testing.problems import FEW_STRUCTURES

NAMES = ("numpy", "array_api_strict", "torch", "jax", "tensorflow")
"""Those that need no GPU."""
AUTOGRAD = ("torch", "jax", "tensorflow")


class Numpy(Framework):
    """NumPy."""

    half = ("float16", "bfloat16")

    def __init__(self, device: Any = None) -> None:
        super().__init__(load_backend("numpy"), device or "cpu")

    @staticmethod
    def devices() -> list[str]:
        """Return the one that there is."""
        return ["cpu"]

    def array(self, x: Any) -> Any:
        """Return what is given."""
        return np.asarray(x)

    def owns(self, x: Any) -> bool:
        """Return whether it is an array, or the scalar that NumPy makes of one without axes."""
        return isinstance(x, np.ndarray | np.generic)


class Strict(Framework):
    """array-api-strict; its second device is there to be mistaken."""

    def __init__(self, device: Any = None) -> None:
        super().__init__(load_backend("array_api_strict"), device or "CPU_DEVICE")

    @staticmethod
    def devices() -> list[str]:
        """Return its default device and another one."""
        return ["CPU_DEVICE", "device1"]

    def array(self, x: Any) -> Any:
        """Place on the device."""
        xp = self.backend.xp
        return xp.asarray(np.asarray(x), device=xp.Device(self.device))

    def numpy(self, x: Any) -> np.ndarray:
        """Move to the CPU first."""
        return np.asarray(x.to_device(self.backend.xp.Device("CPU_DEVICE")))

    def on_device(self, x: Any) -> bool:
        """Compare the devices."""
        return bool(x.device == self.backend.xp.Device(self.device))


class Torch(Framework):
    """PyTorch."""

    half = ("float16", "bfloat16")

    def __init__(self, device: Any = None) -> None:
        super().__init__(load_backend("torch"), device or "cpu")

    @staticmethod
    def devices() -> list[str]:
        """Return the CPU and every GPU that CUDA shows."""
        import torch

        return ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]

    def array(self, x: Any) -> Any:
        """Copy to the device."""
        import torch

        x = np.asarray(x)
        if x.dtype.name == "bfloat16":
            return torch.tensor(x.astype("float32"), device=self.device).bfloat16()
        return torch.tensor(x, device=self.device)

    def on_device(self, x: Any) -> bool:
        """Compare the devices."""
        return str(x.device) == str(self.device)

    def rng(self, seed: int) -> Any:
        """Return a generator on the device."""
        import torch

        return torch.Generator(self.device).manual_seed(seed)

    def gradients(self, function: Callable[..., Any], arrays: list[Any], *constants: Any, key: Any = None) -> Gradients:
        """Use ``torch.autograd.grad``."""
        import torch

        arrays = [x.detach().requires_grad_() for x in arrays]
        found = []
        scalars, others = function(*arrays, *constants)
        for value in scalars:
            if not value.requires_grad:
                found.append([np.zeros(x.shape) for x in arrays])
                continue
            slopes = torch.autograd.grad(value, arrays, retain_graph=True, allow_unused=True, materialize_grads=True)
            found.append([self.numpy(g) for g in slopes])
        return found, [self.numpy(x) for x in others]


class Jax(Framework):
    """JAX.

    Parameters
    ----------
    device : str, optional
        As in ``"cpu:0"``.
    compiled : bool
        Whether a problem is compiled as a whole, once for each of a few structures; or runs operation by operation,
        each compiled once for each shape, with options of any kind.
    """

    shapes = ((1, 2, 2), (5, 3, 2), (6, 2, 4))
    half = ("float16", "bfloat16")

    def __init__(self, device: Any = None, *, compiled: bool = True) -> None:
        super().__init__(load_backend("jax"), device or "cpu:0")
        import jax

        kind, _, number = self.device.partition(":")
        self.place = jax.devices(kind)[int(number or 0)]
        self.compiled = compiled
        self.known: dict[Any, Any] = {}

    @property
    def structures(self) -> Sequence[dict[str, Any]] | None:  # type: ignore[override]
        """Return those of the problems that are compiled."""
        return FEW_STRUCTURES if self.compiled else None

    @staticmethod
    def devices() -> list[str]:
        """Return the first CPU, and every other device that JAX shows."""
        import jax

        shown = [f"{d.platform}:{d.id}" for d in jax.devices() if d.platform != "cpu"]
        return ["cpu:0", *shown]

    def scope(self, dtype: Any) -> AbstractContextManager[Any]:
        """Turn 64-bit numbers on or off, and make the device the default."""
        import jax

        enable: Any = getattr(jax, "enable_x64", None)
        if enable is None:  # An older JAX has it elsewhere.
            enable = import_module("jax.experimental").enable_x64
        return _Both(jax.default_device(self.place), enable(np.dtype(dtype) == np.float64))

    def array(self, x: Any) -> Any:
        """Copy to the device."""
        import jax

        x = np.asarray(x)
        # JAX warns when it cuts 64-bit numbers; here it is meant.
        if x.dtype == np.int64 and not jax.config.jax_enable_x64:
            x = x.astype(np.int32)
        return jax.device_put(x, self.place)

    def on_device(self, x: Any) -> bool:
        """Compare the devices."""
        return bool(x.devices() == {self.place})

    def call(self, function: Callable[..., Any], *arguments: Any, key: Any = None) -> Any:
        """Compile once for each key, or not at all."""
        import jax

        if not self.compiled:
            return function(*arguments)
        if key is None:
            return jax.jit(function)(*arguments)
        return self.known.setdefault(key, jax.jit(function))(*arguments)

    def rng(self, seed: int) -> Any:
        """Return a key."""
        import jax

        return jax.random.key(seed)

    def gradients(self, function: Callable[..., Any], arrays: list[Any], *constants: Any, key: Any = None) -> Gradients:
        """Use ``jax.vjp``."""
        import jax

        def slopes(values: list[Any], *constants: Any) -> Any:
            scalars, pull, others = jax.vjp(lambda *x: function(*x, *constants), *values, has_aux=True)
            picks = jax.numpy.eye(len(scalars), dtype=scalars[0].dtype)
            found = [pull([x.astype(s.dtype) for x, s in zip(row, scalars, strict=True)]) for row in picks]
            return found, others

        found, others = self.call(slopes, arrays, *constants, key=None if key is None else ("gradients", key))
        return [[np.asarray(g) for g in row] for row in found], [np.asarray(x) for x in others]


class Tensorflow(Framework):
    """TensorFlow."""

    half = ("float16", "bfloat16")

    def __init__(self, device: Any = None) -> None:
        super().__init__(load_backend("tensorflow"), device or "CPU:0")

    @staticmethod
    def devices() -> list[str]:
        """Return every CPU and GPU that TensorFlow shows."""
        import tensorflow as tf

        return [
            d.name.removeprefix("/device:") for d in tf.config.list_logical_devices() if d.device_type in ("CPU", "GPU")
        ]

    def scope(self, dtype: Any) -> AbstractContextManager[Any]:
        """Make the device the default."""
        import tensorflow as tf

        place: AbstractContextManager[Any] = tf.device(self.device)
        return place

    def array(self, x: Any) -> Any:
        """Copy to the device."""
        import tensorflow as tf

        with tf.device(self.device):
            return tf.constant(np.asarray(x))

    def on_device(self, x: Any) -> bool:
        """Compare the devices, but for whole numbers, which TensorFlow keeps on the CPU at will."""
        return not x.dtype.is_floating or x.device.endswith(self.device)

    def rng(self, seed: int) -> Any:
        """Return a generator."""
        import tensorflow as tf

        return tf.random.Generator.from_seed(seed)

    def gradients(self, function: Callable[..., Any], arrays: list[Any], *constants: Any, key: Any = None) -> Gradients:
        """Use ``tf.GradientTape``."""
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(arrays)
            scalars, others = function(*arrays, *constants)
        found = [tape.gradient(x, arrays, unconnected_gradients=tf.UnconnectedGradients.ZERO) for x in scalars]
        return [[np.asarray(tf.convert_to_tensor(g)) for g in row] for row in found], [np.asarray(x) for x in others]


class Cupy(Framework):  # pragma: no cover - needs a GPU
    """CuPy; needs a GPU."""

    half = ("float16",)

    def __init__(self, device: Any = None) -> None:
        super().__init__(load_backend("cupy"), device or "cuda:0")

    @staticmethod
    def devices() -> list[str]:
        """Return every GPU.

        Raises
        ------
        ImportError
            If there is none.
        """
        import cupy

        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError:
            count = 0
        if count == 0:
            raise ImportError("CuPy finds no GPU here")
        return [f"cuda:{k}" for k in range(count)]

    def scope(self, dtype: Any) -> AbstractContextManager[Any]:
        """Make the device the current one."""
        import cupy

        place: AbstractContextManager[Any] = cupy.cuda.Device(int(self.device.partition(":")[2]))
        return place

    def on_device(self, x: Any) -> bool:
        """Compare the devices."""
        return f"cuda:{x.device.id}" == str(self.device)

    def rng(self, seed: int) -> Any:
        """Return a generator."""
        import cupy

        return cupy.random.default_rng(seed)


class _Both(AbstractContextManager[Any]):
    def __init__(self, outer: Any, inner: Any) -> None:
        self.contexts = (outer, inner)

    def __enter__(self) -> None:
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *error: object) -> None:
        for context in reversed(self.contexts):
            context.__exit__(*error)


KINDS: dict[str, Any] = {
    "numpy": Numpy,
    "array_api_strict": Strict,
    "torch": Torch,
    "jax": Jax,
    "tensorflow": Tensorflow,
    "cupy": Cupy,
}


def load_framework(name: str, device: str | None = None) -> Framework:
    """Return a framework that this library has a backend for.

    Parameters
    ----------
    name : str
        As for `midas_core.backends.load_backend`.
    device : str, optional
        One of ``KINDS[name].devices()``.

    Returns
    -------
    Framework

    Raises
    ------
    ValueError
        If there is none of that name.
    ImportError
        If it is not installed, or the GPU that it needs is not there.

    Examples
    --------
    >>> load_framework("numpy")
    numpy
    """
    if name not in KINDS:
        raise ValueError(f"backend: expected one of {list(KINDS)}, got {name!r}")
    framework: Framework = KINDS[name](device)
    return framework

"""A device that pretends to be a GPU: it refuses what would make the host wait for one.

PyTorch takes a device that is written in Python (``PrivateUse1``). Its tensors keep their values in the memory of the
host, so that these can be compared; every operation on them passes through `_run`. The device cannot be taken back:
import this module in a process of its own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"
WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount"}
"""Operations whose result, or its size, the host must know."""


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)


class RefusedError(RuntimeError):
    """What no step may do on a GPU."""


class PretendTensor(torch.Tensor):
    """A tensor of the device; ``raw`` is where it really lies."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw):
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), raw.stride(), raw.storage_offset(), dtype=raw.dtype, device=DEVICE
        )
        made.raw = raw
        return made

    def __repr__(self):
        return f"{NAME}({self.raw})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {}, [])


class Pretending(TorchDispatchMode):
    """Where the device exists. ``launches`` counts the operations on it that compute or copy something."""

    def __init__(self):
        super().__init__()
        self.launches: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {}, self.launches)


def _run(operation: Any, args: Any, kwargs: dict[str, Any], launches: list[str]) -> Any:
    name = operation._schema.name.removeprefix("aten::")
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    own = [x for x in leaves if isinstance(x, PretendTensor)]
    device = kwargs.get("device")
    here = device is not None and torch.device(device).type == NAME
    if not own and not here:
        return operation(*args, **kwargs)
    _refuse(name, leaves, own, here, device, args)
    if not any(r.alias_info and not r.alias_info.is_write for r in operation._schema.returns):
        launches.append(name)
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = operation(*_bare(args), **{key: _bare(value) for key, value in kwargs.items()})
    # What an operation changes in place comes back as the very tensor.
    known = {id(x.raw): x for x in own}

    def wrapped(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return known[id(x)] if id(x) in known else PretendTensor(x)

    return tree_map(wrapped, found)


def _refuse(name: str, leaves: list[Tensor], own: list[Tensor], here: bool, device: Any, args: Any) -> None:
    if name in WAITS:
        raise RefusedError(f"{name} waits for the device")
    if name in ("index", "index_put", "index_put_") and any(
        x.dtype == torch.bool for x in tree_leaves(args[1]) if x is not None
    ):
        raise RefusedError(f"{name} by a mask waits for the device")
    if name == "_to_copy" and device is not None and (not own or not here):
        raise RefusedError("copy between the host and the device")
    if name == "copy_" and len(own) < 2:
        raise RefusedError("copy between the host and the device")
    # A number may be anywhere: it goes along with the launch.
    if any(x.ndim > 0 for x in leaves if not isinstance(x, PretendTensor)):
        raise RefusedError(f"{name} on tensors of two devices")


def _bare(tree: Any) -> Any:
    return tree_map(lambda x: x.raw if isinstance(x, PretendTensor) else x, tree)


def to_device(tree: Any) -> Any:
    """Copy to the device, which no step may do."""
    return tree_map(lambda x: PretendTensor(x.detach().clone()) if isinstance(x, Tensor) else x, tree)


def to_host(x: Tensor) -> Tensor:
    """Copy back."""
    return x.detach().raw

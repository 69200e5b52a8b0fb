"""Several ranks: one alpha for all of them, and checks that they agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def in_distributed_run() -> bool:
    """Return whether this process is one of several ranks."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def waits_for_others() -> bool:
    """Return whether every other of several ranks takes part in this step, so that a sum over them can complete."""
    if torch.compiler.is_compiling():
        return True
    # Under Join, ranks that have run out of data take part in the wrapper's collectives only. The wrapper broadcasts
    # the buffers, alpha among them, from a rank that still has data.
    wrapper = DistributedDataParallel._get_active_ddp_module()
    return wrapper is None or not wrapper._join_config.enable


def is_sharded(x: Tensor) -> bool:
    """Return whether each rank holds a part of a tensor."""
    # A DTensor; to import its class takes seconds, and it is there where such a tensor is.
    return hasattr(x, "device_mesh")


def check_whole(name: str, module: Any) -> None:
    """Raise ``ValueError`` where the parameters of a module are sharded, and no hook of its own gathers them."""
    if not isinstance(module, nn.Module) or not any(map(is_sharded, module.parameters())):
        return
    from torch.distributed.fsdp import FSDPModule

    if not any(isinstance(part, FSDPModule) for part in module.modules()):
        raise ValueError(
            f"{name}: expected whole parameters, got parts of them (fully_shard): call the criterion in the forward of "
            "the wrapped module; to call terms() of a criterion that is wrapped itself, first "
            "torch.distributed.fsdp.register_fsdp_forward_method(criterion, 'terms')"
        )


_last: list[Tensor] = []


def sum_over_ranks(sums: Any) -> Any:
    """Add up a small tensor, or a NumPy array on the host, over all ranks, in place."""
    tensor = torch.as_tensor(sums)
    distributed.all_reduce(tensor)
    # If a thread of the process group were the last to let go of it, that thread would wait for the interpreter, which
    # waits for the thread when the group is destroyed: with gloo a run could hang at its very end.
    _last[:] = [tensor]
    return sums


def norms(parameters: Iterable[Tensor]) -> Tensor:
    """Return the norm of each of P parameters, shape (P,), float64."""
    # Sums would not do: a cross-entropy leaves the sum of a linear head as it is.
    return torch.stack([torch.linalg.vector_norm(p.detach(), dtype=torch.float64) for p in parameters])


def differ_between_ranks(numbers: Tensor) -> bool:
    """Return whether numbers >= 0 differ between the ranks by more than rounding. Waits for all of them."""
    both = torch.stack([numbers, -numbers])
    distributed.all_reduce(both, op=distributed.ReduceOp.MAX)
    _last.append(both)
    most, least = both[0], -both[1]
    return bool((most - least > 1e-6 * most).any())

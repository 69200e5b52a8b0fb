"""One alpha for all ranks of a distributed run."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def in_distributed_run() -> bool:
    """Return whether this process is one of several ranks."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


_last: list[torch.Tensor] = []


def sum_over_ranks(sums: Any) -> Any:
    """Add up a small tensor, or a NumPy array on the host, over all ranks, in place."""
    own = torch.as_tensor(sums)
    distributed.all_reduce(own)
    # If a thread of the process group were the last to let go of it, that thread would wait for the interpreter, which
    # waits for the thread when the group is destroyed: with gloo a run could hang at its very end.
    _last[:] = [own]
    return sums

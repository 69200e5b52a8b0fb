"""One alpha for all ranks of a distributed run."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def in_distributed_run() -> bool:
    """Return whether this process is one of several ranks."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_ranks(sums: Any) -> Any:
    """Add up a small tensor, or a NumPy array on the host, over all ranks, in place."""
    distributed.all_reduce(torch.as_tensor(sums))
    return sums

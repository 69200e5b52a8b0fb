"""Random pairs from a counter: the same on any device, eager or compiled, in every copy of a module."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import get_worker_info

from midas_core.adapters.torch.values import may_look
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND
from midas_core.options import MAX_SEED
from midas_core.pairing import Pairs
from midas_core.pairing import draw_pairs as draw_by_numbers
from midas_core.partners import random_count, split_draw
from midas_core.validation import check_range

MASK = 0xFFFFFFFF
MIXERS = (0x21F0AAAD, 0x2C1B3C6D, 0x31848BAB)
SEED_FACTOR, DRAW_FACTOR = 0x2545F491, 0x1E3779B1
"""Odd and below 2^30: an int64 holds their products with 32 bits, and the sum of two, on every device."""
AT_ONCE = 4096
"""How many numbers of several draws the host makes at once: NumPy takes hardly longer than for a single draw."""


def draw_pairs(
    labels: Tensor,
    num_classes: int,
    num_modalities: int,
    stream: Tensor,
    *,
    moves: bool,
    variant: str = "paper",
    permutation: Tensor | None = None,
    generator: Any = None,
    absent_share: float = 0.0,
) -> Pairs:
    """Draw who is mixed with whom, on the device of the labels.

    Raises
    ------
    TypeError
        If ``generator`` is none of PyTorch.
    ValueError
        On the CPU, if a label or an entry of the permutation is out of range.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator: expected a torch.Generator, got {type(generator).__name__}")
    absent = absent_share > 0
    count = random_count(labels.shape[0], num_modalities, absent)
    if generator is None:
        numbers = uniform(count, stream, labels.device, moves=moves)
    else:
        numbers = BACKEND.uniform((count,), labels, generator)
    options: dict[str, Any] = {"variant": variant, "absent_share": absent_share}
    if not all(x is None or may_look(x) for x in (labels, numbers, permutation)):
        draw = split_draw(numbers, labels, num_modalities, absent, backend=BACKEND)
        return draw_by_numbers(draw, labels, num_modalities, permutation=permutation, backend=BACKEND, **options)
    # Arrays of (B,) on the CPU: NumPy's calls cost less than PyTorch's, but it counts a negative index from the end.
    y, order = labels.numpy(), None if permutation is None else permutation.numpy()
    check_range("labels", y, num_classes)
    if order is not None:
        check_range("permutation", order, len(y))
    draw = split_draw(numbers.numpy(), y, num_modalities, absent, backend=NUMPY)
    pairs = draw_by_numbers(draw, y, num_modalities, permutation=order, backend=NUMPY, **options)
    return Pairs(*[None if x is None else torch.from_numpy(x) for x in pairs])


def uniform(count: int, stream: Tensor, device: torch.device, *, moves: bool) -> Tensor:
    """Return numbers in [0, 1), shape (count,), float32, on ``device``: a hash of seed, draw and index.

    Parameters
    ----------
    count : int
    stream : Tensor, shape (2,), int64
        Seed, and draws so far.
    device : torch.device
    moves : bool
        Whether the next call draws others; where not, every call draws the same.
    """
    seed: Any
    draw: Any
    if may_look(stream):
        on_host = stream.numpy()
        on_host[1] += moves
        seed, draw = on_host.tolist()
    else:
        if moves:
            with torch.no_grad():
                stream[1].add_(1)
        seed, draw = stream.unbind()
    # Draw 0 belongs to the evaluation.
    seed, draw = seed + place if (place := _place()) else seed, draw if moves else 0
    if isinstance(seed, Tensor):
        return _numbers_of(_hash(torch.arange(count, device=stream.device), *_keys(seed, draw))).to(device)
    if device.type == "cpu":
        draws = max(1, AT_ONCE // max(1, count))
        return torch.from_numpy(_host_numbers(seed, draw // draws * draws, draws, count)[draw % draws])
    if is_recorded(device):
        raise RuntimeError(f"a captured step would draw the same pairs for ever: move the module to {device}")
    return _numbers_of(_hash(torch.arange(count, device=device), *_keys(seed, draw)))


def _keys(seed: Any, draw: Any) -> tuple[Any, Any]:
    """Return the keys of a draw: whole numbers, or tensors of shape ()."""
    return draw + seed * SEED_FACTOR, seed + draw * DRAW_FACTOR


def _numbers_of(bits: Tensor) -> Tensor:
    """Return 32 bits as a number in [0, 1)."""
    return (bits >> 8).to(torch.float32) * 2.0**-24


def is_recorded(device: torch.device) -> bool:
    """Return whether a step is traced or captured now: a Python branch on a value would be frozen into it."""
    if torch.compiler.is_compiling():
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _place() -> int:
    """Return what a worker of a ``DataLoader``, or a rank, adds to the seed: each has a copy of the stream."""
    place = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    if not torch.compiler.is_compiling() and (worker := get_worker_info()) is not None:
        # It differs between workers and between epochs.
        place += worker.seed
    return place * 0x3C6EF372 & MAX_SEED


def _hash(x: Tensor, first: Any, second: Any) -> Tensor:
    """Return 32 bits for each index, in an int64. The keys are whole numbers, or tensors of shape ()."""
    for key, factor in zip((first, second, first), MIXERS, strict=True):
        x = (x * factor + key) & MASK
        x = x ^ (x >> 16)
    return x


@lru_cache(maxsize=32)
def _host_numbers(seed: int, first: int, draws: int, count: int) -> NDArray[np.float32]:
    """Return the numbers of some draws in a row, shape (draws, count), as `_hash` makes them; uint32 needs no mask."""
    keys = [[key & MASK for key in _keys(seed, draw)] for draw in range(first, first + draws)]
    one, other = np.array(keys, dtype=np.uint32).T[..., None]
    x = np.arange(count, dtype=np.uint32)
    for key, factor in zip((one, other, one), MIXERS, strict=True):
        x = x * np.uint32(factor) + key
        x = x ^ (x >> np.uint32(16))
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)

"""Modules whose buffers stay what they are in half precision, on the meta device and under a loader; with a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from midas_core.adapters.torch.random import draw_pairs, is_recorded
from midas_core.options import MAX_SEED, check_seed
from midas_core.pairing import Pairs
from midas_core.validation import shape_text


class StatefulModule(nn.Module):
    """A module with a random stream, in the buffer ``stream``: the seed, and the number of draws so far."""

    stream: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        seed = check_seed(seed)
        # Drawn from PyTorch's global generator, on the CPU: for a model that is built on the meta device too.
        first = int(torch.randint(MAX_SEED + 1, (), device="cpu")) if seed is None else seed
        self._stream_start = (first, 0)
        self._loading = False
        # The checkpoint has it as `_extra_state`: a tensor of constant size, of the model's state no buffer more.
        self.register_buffer("stream", torch.empty(2, dtype=torch.int64), persistent=False)
        self._fill("stream")

    def reset_parameters(self) -> None:
        """Give the buffers the values that they have before the first step; modules inside have their own method."""
        for name in self._buffers:
            self._fill(name)

    def _fill(self, name: str) -> None:
        """Give a buffer its first value."""
        if name == "stream" and not self.stream.is_meta:
            with torch.no_grad():
                self.stream.copy_(torch.tensor(self._stream_start, device="cpu"))

    @property
    def seed(self) -> int:
        """The seed of the stream; one that is set begins it anew."""
        return int(self.stream[0])

    @seed.setter
    def seed(self, seed: int) -> None:
        first = check_seed(seed)
        if first is None:
            raise TypeError("seed: expected a whole number >= 0, got None")
        self._stream_start = (first, 0)
        self._fill("stream")

    def _draw_pairs(self, labels: Tensor, num_classes: int, num_modalities: int, *, moves: bool, **rule: Any) -> Pairs:
        """Draw pairs from the stream; refuse to in a backward pass, where they would be other ones."""
        if moves and not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0:
            raise RuntimeError(
                f"{type(self).__name__}: expected a call in the forward pass, got one in the backward pass, where "
                "torch.utils.checkpoint computes it again, with other pairs; leave it outside of what is checkpointed"
            )
        return draw_pairs(labels, num_classes, num_modalities, self.stream, moves=moves, **rule)

    def get_extra_state(self) -> Tensor:
        """Return the seed and the number of draws, as ``state_dict`` stores them, shape (2,), int64."""
        # safetensors, torch.distributed.checkpoint and averages of a model's state take tensors alone.
        return torch.tensor(self._stream_start if self.stream.is_meta else self.stream.tolist(), device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the stream; from an average of states, in floats, at the nearest whole numbers."""
        numbers = read_whole_numbers(state, 2)
        self._stream_start = (min(numbers[0], MAX_SEED), numbers[1])
        self._fill("stream")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # .half() is meant for parameters: alpha moves in steps of eta and keeps its digits, where the device has them.
        exact = {name: x for name, x in self._buffers.items() if x is not None and x.dtype == torch.float64}
        self._buffers.update({name: x.float() for name, x in exact.items()})
        was_meta = self.stream.is_meta
        super()._apply(fn, recurse)
        device = self.stream.device
        for name, x in exact.items():
            if device.type == "mps":
                self._buffers[name] = x.to(device, torch.float32) if not x.is_meta else fn(x.float())
                continue
            moved = fn(x)
            self._buffers[name] = moved if moved.dtype == x.dtype else x.to(device)
        if was_meta and not self.stream.is_meta:
            # to_empty() leaves memory as it is.
            self.reset_parameters()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a buffer that leaves the meta device is filled, unless a checkpoint has filled it."""
        before = self.__dict__.get("_buffers", {}).get(name)
        super().__setattr__(name, value)
        if before is None or not before.is_meta or not isinstance(value, Tensor) or value.is_meta:
            return
        # transformers puts memory as it is in the place of what a checkpoint lacks, and flags what it has loaded.
        if not (self._loading or getattr(value, "_is_hf_initialized", False)):
            with torch.no_grad():
                self._fill(name)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        self._loading = True
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
        self._loading = False
        if not local_metadata.get("assign_to_params_buffers", False):
            return
        # Assigned, the other buffers have left the meta device.
        device = next((x.device for x in self._buffers.values() if x is not None and not x.is_meta), "cpu")
        for name in self._non_persistent_buffers_set:
            buffer = self._buffers[name]
            if buffer is not None and buffer.is_meta:
                self._buffers[name] = torch.empty_like(buffer, device=device)
                self._fill(name)


DIGESTS = 0x10000
"""A float32 holds a whole number below it, also as an average of many."""


def digest_of(names: Sequence[Any] | None) -> int:
    """Return a number from 1 to `DIGESTS` - 1 for names in an order, 0 for none."""
    if names is None:
        return 0
    digest = blake2b(repr(tuple(map(str, names))).encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "little") % (DIGESTS - 1)


def check_digest(state: Tensor, names: Sequence[Any] | None) -> None:
    """Raise ``ValueError`` where a saved state is of modalities with other names, or in another order."""
    saved, current = round(float(state[2])) if len(state) > 2 else 0, digest_of(names)
    # Older states, and a criterion without names, say nothing; half precision does not hold the number.
    if 0 in (saved, current) or saved == current or state.dtype.itemsize < 4:
        return
    assert names is not None
    orders = [list(order) for order in itertools.permutations(names) if digest_of(order) == saved]
    got = f"the order {orders[0]}" if orders else "other names"
    raise ValueError(f"state: expected the modalities {list(names)}, got {got}; give feature_dims in that order")


def read_whole_numbers(state: Any, count: int) -> list[int]:
    """Return the numbers of a saved state, or raise ``ValueError`` unless they are ``count`` or more, each >= 0."""
    fits = isinstance(state, Tensor) and state.ndim == 1 and len(state) >= count and state.dtype != torch.uint8
    numbers = state.tolist() if fits else [-1]
    # An average of several states comes in floats.
    if not all(0 <= x < float("inf") for x in numbers):
        got = f"{state.dtype} of shape {shape_text(state)}" if isinstance(state, Tensor) else type(state).__name__
        raise ValueError(
            f"_extra_state: expected {count} whole numbers >= 0, seed and number of draws first, got "
            f"{numbers if fits else got}"
        )
    return [round(x) for x in numbers]


class LastRead:
    """The value of a buffer, read from an accelerator only where the buffer has changed. A copy has read nothing."""

    _seen: Tensor | None = None
    _version = _value = 0

    def look(self, buffer: Tensor) -> int | Tensor:
        """Return the value, of a recorded step the buffer itself."""
        # torch.func stacks the buffers of several criteria in one.
        if is_recorded(buffer.device) or is_functorch_wrapped_tensor(buffer):
            return buffer
        # On the CPU a look is free, and another process may write to the same memory.
        return int(buffer) if buffer.is_cpu else self.read(buffer)

    def read(self, buffer: Tensor) -> int:
        """Return the value; wait for the device only where it may be another than the last one."""
        seen = self._seen
        if seen is None or buffer.data_ptr() != seen.data_ptr() or buffer._version != self._version:
            self.keep(buffer, int(buffer))
        return self._value

    def keep(self, buffer: Tensor, value: int) -> None:
        """Remember the value that a buffer has just been given."""
        self._value = value
        # An inference tensor does not count its changes.
        if not buffer.is_inference():
            # Holds the memory too: no other buffer can get its address.
            self._seen, self._version = buffer.detach(), buffer._version

    def __reduce__(self) -> tuple[type[LastRead], tuple[()]]:
        return LastRead, ()

"""Random draws that a checkpoint remembers."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from midas_core.adapters.torch.values import check_range, may_look
from midas_core.backends.numpy import BACKEND as NUMPY
from midas_core.backends.torch import BACKEND
from midas_core.options import check_seed
from midas_core.pairing import Pairs, draw_pairs
from midas_core.partners import random_count, split_draw
from midas_core.validation import shape_text


class RandomModule(nn.Module):
    """A module with a random stream of its own, which ``state_dict`` carries.

    The stream is a seed and the number of draws so far; each draw has a generator that is seeded by both. In ``eval()``
    the stream does not move: every call draws the same numbers. In a worker of a ``DataLoader``, which gets a copy, the
    worker's own seed goes in too: it differs between workers and between epochs.

    Parameters
    ----------
    seed : int, optional
        Without one it is drawn from PyTorch's global generator, so that ``torch.manual_seed`` decides it.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        seed = check_seed(seed)
        # Drawn on the CPU, for a model that is built on the meta device too.
        self._seed = int(torch.randint(2**31, (), device="cpu")) if seed is None else seed
        self._draws = 0

    def draw_pairs(
        self,
        labels: Tensor,
        num_classes: int,
        num_modalities: int,
        *,
        variant: str,
        permutation: Tensor | None = None,
        generator: Any = None,
        absent_share: float = 0.0,
    ) -> Pairs:
        """Draw who is mixed with whom, on the device of the labels.

        Raises
        ------
        RuntimeError
            In a backward pass: nothing would tell that it has to draw what it drew before.
        ValueError
            On the CPU, if a label or an entry of the permutation is out of range.
        """
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"generator: expected a torch.Generator, got {type(generator).__name__}")
        if self._moves and not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0:
            raise RuntimeError(
                f"{type(self).__name__}: expected a call in the forward pass, got one in the backward pass, where "
                "torch.utils.checkpoint computes it again, with other pairs; leave it outside of what is checkpointed"
            )
        # torch.compile traces no generator, and a CUDA graph knows the global one alone.
        if generator is None and not is_recorded(labels.device):
            generator = self._next_generator(labels.device)

        absent = absent_share > 0
        numbers = BACKEND.uniform((random_count(labels.shape[0], num_modalities, absent),), labels, generator)
        options: dict[str, Any] = {"variant": variant, "absent_share": absent_share}
        if not all(x is None or may_look(x) for x in (labels, numbers, permutation)):
            draw = split_draw(numbers, labels, num_modalities, absent, backend=BACKEND)
            return draw_pairs(draw, labels, num_modalities, permutation=permutation, backend=BACKEND, **options)
        # For arrays of (B,) NumPy's calls cost less than PyTorch's. It would count a negative index from the end.
        check_range("labels", labels, num_classes)
        order = None
        if permutation is not None:
            check_range("permutation", permutation, labels.shape[0])
            order = permutation.numpy()
        y = labels.numpy()
        draw = split_draw(numbers.numpy(), y, num_modalities, absent, backend=NUMPY)
        pairs = draw_pairs(draw, y, num_modalities, permutation=order, backend=NUMPY, **options)
        return Pairs(*[None if x is None else torch.from_numpy(x) for x in pairs])

    @property
    def _moves(self) -> bool:
        """Whether a call moves what the module remembers."""
        return self.training

    def _next_generator(self, device: torch.device) -> torch.Generator:
        worker = get_worker_info()
        place = (self._seed, self._draws if self.training else "evaluation", None if worker is None else worker.seed)
        self._draws += self._moves
        digest = blake2b(repr(place).encode(), digest_size=8).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))

    def get_extra_state(self) -> Tensor:
        """Return the seed and the number of draws, as ``state_dict`` stores them, shape (2,), int64.

        A tensor of constant size: safetensors, ``torch.distributed.checkpoint`` and averages of a model's state take
        nothing else.
        """
        return torch.tensor([self._seed, self._draws], device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where the stream stood.

        Raises
        ------
        ValueError
            If the state is no such tensor.
        """
        fits = isinstance(state, Tensor) and state.shape == (2,) and state.dtype == torch.int64
        if not fits or min(numbers := state.tolist()) < 0:
            got = f"{state.dtype} of shape {shape_text(state)}" if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(
                "_extra_state: expected seed and number of draws, two whole numbers >= 0 in an int64 tensor of shape "
                f"(2,), got {numbers if fits else got}"
            )
        self._seed, self._draws = numbers


def is_recorded(device: torch.device) -> bool:
    """Return whether a step is traced or captured now: a Python branch on a value would be frozen into it."""
    if torch.compiler.is_compiling():
        return True
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()

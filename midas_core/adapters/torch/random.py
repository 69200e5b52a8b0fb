"""Random draws that a checkpoint remembers."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from midas_core.backends.torch import BACKEND
from midas_core.kernels.host import on_host, pairs
from midas_core.misalignment import random_count
from midas_core.options import check_seed


class Pairs(NamedTuple):
    """Who is mixed with whom.

    Attributes
    ----------
    sources : Tensor, shape (M, V, B), int64
        The source matrix.
    classes : Tensor, shape (M, V, B), int64
        The class that each modality speaks for.
    mask : Tensor, shape (V, B), bool
        The mixed samples that count.
    """

    sources: Tensor
    classes: Tensor
    mask: Tensor


class RandomModule(nn.Module):
    """A module with a random stream of its own, which ``state_dict`` carries.

    In ``eval()`` the stream does not move: every call draws the same numbers.

    Parameters
    ----------
    seed : int, optional
        Without one it is drawn from PyTorch's global generator, so that ``torch.manual_seed`` decides it.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        seed = check_seed(seed)
        # Drawn on the CPU, for a model that is built on the meta device too.
        self._seed = int(torch.randint(2**62, (), device="cpu")) if seed is None else seed
        self._stream: torch.Generator | None = None

    def draw_pairs(
        self,
        labels: Tensor,
        num_classes: int,
        num_modalities: int,
        *,
        variant: str,
        permutation: Tensor | None = None,
        generator: Any = None,
    ) -> Pairs:
        """Draw who is mixed with whom, on the device of the labels."""
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"generator: expected a torch.Generator, got {type(generator).__name__}")
        # torch.compile traces no generator: there the global one serves.
        if generator is None and not torch.compiler.is_compiling():
            generator = self._generator(labels.device)

        with torch.no_grad():
            count = random_count(labels.shape[0], num_classes, num_modalities)
            numbers = BACKEND.uniform((count,), labels, generator)
            pair = partial(pairs, num_classes=num_classes, num_modalities=num_modalities, variant=variant)
            return Pairs(*on_host(pair, labels, numbers, permutation))

    def _generator(self, device: torch.device) -> torch.Generator:
        if not self.training:
            return torch.Generator(device).manual_seed(self._seed)
        if self._stream is None or self._stream.device != device:
            self._stream = torch.Generator(device).manual_seed(self._seed)
        return self._stream

    def get_extra_state(self) -> Tensor:
        """Return the seed and where the stream stands, as ``state_dict`` stores them: bytes, shape (L,), uint8.

        A tensor, because safetensors, and with it the Trainer of Hugging Face, stores nothing else.
        """
        stream = self._stream
        known = {"seed": self._seed, "device": None if stream is None else str(stream.device)}
        packed = torch.frombuffer(bytearray(json.dumps(known).encode() + b"\n"), dtype=torch.uint8)
        return packed if stream is None else torch.cat([packed, stream.get_state()])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where the stream stood. On another kind of device it starts anew from its seed."""
        head, _, stream = state.cpu().numpy().tobytes().partition(b"\n")
        known = json.loads(head)
        self._seed = known["seed"]
        self._stream = None
        if known["device"] is not None and _present(known["device"]):
            self._stream = torch.Generator(known["device"])
            self._stream.set_state(torch.frombuffer(bytearray(stream), dtype=torch.uint8))


def _present(device: str) -> bool:
    kind = torch.device(device).type
    return kind == "cpu" or (kind == "cuda" and torch.cuda.is_available())

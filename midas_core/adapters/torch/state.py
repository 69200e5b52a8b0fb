"""What MIDAS remembers between the steps, as buffers of a module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from midas_core.adapters.torch.hooks import Watched
from midas_core.adapters.torch.random import RandomModule
from midas_core.validation import check_number


class StatefulModule(Watched, RandomModule):
    """A module with alpha, step and epoch, which ``state_dict`` carries, as it does the random stream.

    Attributes
    ----------
    alpha : Tensor, shape (M,), float64
    step : Tensor, shape (), int64
        Updates of alpha so far.
    epoch : Tensor, shape (), int64
        As given to `set_epoch`.
    """

    alpha: Tensor
    step: Tensor
    epoch: Tensor

    def register_state(self, num_modalities: int, initial_alpha: float, warmup_epochs: int) -> None:
        """Make the buffers, in the constructor."""
        self.initial_alpha = initial_alpha
        self.warmup_epochs = warmup_epochs
        alpha = torch.full((num_modalities,), float(initial_alpha), dtype=torch.float64)
        self.register_buffer("alpha", alpha)
        self.register_buffer("step", torch.tensor(0))
        self.register_buffer("epoch", torch.tensor(0))
        # A Python value beside the buffer: reading the buffer in a step would wait for the device.
        self._warming_up = warmup_epochs > 0
        self._epoch_known = False
        self.register_load_state_dict_post_hook(_read_epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, from 0; the loss is the unimodal one while ``epoch < warmup_epochs``.

        Raises
        ------
        TypeError, ValueError
            If ``epoch`` is not a whole number >= 0.
        """
        check_number("epoch", epoch, minimum=0, whole=True)
        self.epoch.fill_(epoch)
        self._epoch_known = True
        self._warming_up = epoch < self.warmup_epochs

    def _warn_without_epoch(self) -> None:
        if self._warming_up and self.training and not self._epoch_known:
            self._epoch_known = True
            warnings.warn(
                f"warmup_epochs={self.warmup_epochs}, but set_epoch was never called: the loss stays the unimodal one. "
                "Call criterion.set_epoch(epoch) at the start of every epoch.",
                stacklevel=6,
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # .half() is meant for parameters: alpha moves in steps of eta and keeps its digits, where the device has them.
        exact = {name: x for name, x in self._buffers.items() if x is not None and x.dtype == torch.float64}
        self._buffers.update({name: x.float() for name, x in exact.items()})
        super()._apply(fn, recurse)
        device = self.alpha.device
        for name, x in exact.items():
            if device.type == "mps":
                self._buffers[name] = x.to(device, torch.float32)
                continue
            moved = fn(x)
            self._buffers[name] = moved if moved.dtype == x.dtype else x.to(device)
        return self


def _read_epoch(module: StatefulModule, incompatible: Any) -> None:
    module._epoch_known = True
    module._warming_up = int(module.epoch) < module.warmup_epochs

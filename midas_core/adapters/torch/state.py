"""What MIDAS remembers between the steps, as buffers of a module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.hooks import Watched
from midas_core.adapters.torch.random import RandomModule, is_recorded
from midas_core.options import MidasOptions
from midas_core.validation import check_number

BUFFERS = ("alpha", "step", "epoch", "class_weights")


class StatefulModule(Watched, RandomModule):
    """A module with alpha, step and epoch, which ``state_dict`` carries, as it does the random stream.

    Attributes
    ----------
    options : MidasOptions
    alpha : Tensor, shape (M,), float64
    step : Tensor, shape (), int64
        Updates of alpha so far.
    epoch : Tensor, shape (), int64
        As given to `set_epoch`.
    class_weights : Tensor, shape (C,), float64, or None
    """

    options: MidasOptions
    alpha: Tensor
    step: Tensor
    epoch: Tensor
    class_weights: Tensor | None

    def register_state(self, num_modalities: int) -> None:
        """Make the buffers, in the constructor."""
        weights = self.options.class_weights
        self._loading = False
        self.register_buffer("alpha", torch.empty(num_modalities, dtype=torch.float64))
        self.register_buffer("step", torch.empty((), dtype=torch.int64))
        self.register_buffer("epoch", torch.empty((), dtype=torch.int64))
        # An option as the others: the checkpoint leaves it to the constructor.
        by_class = None if weights is None else torch.empty(len(weights), dtype=torch.float64)
        self.register_buffer("class_weights", by_class, persistent=False)
        self._last_epoch = LastRead()
        self._epoch_known = False
        self.register_load_state_dict_post_hook(_know_epoch)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Give the buffers the values that they have before the first step.

        The unimodal heads are modules of their own, with a ``reset_parameters`` of their own.
        """
        for name in BUFFERS:
            self._reset(name)

    def _reset(self, name: str) -> None:
        buffer = self._buffers[name]
        if name == "alpha":
            # Through nn.init: transformers makes these calls spare what a checkpoint has filled.
            nn.init.constant_(self.alpha, self.options.initial_alpha)
        elif name == "class_weights":
            if buffer is not None and not buffer.is_meta:
                buffer.copy_(torch.tensor(self.options.class_weights, dtype=buffer.dtype, device="cpu"))
        else:
            nn.init.zeros_(getattr(self, name))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, from 0; the loss is the unimodal one while ``epoch < warmup_epochs``.

        Raises
        ------
        TypeError, ValueError
            If ``epoch`` is not a whole number >= 0.
        """
        epoch = check_number("epoch", epoch, minimum=0, whole=True)
        if self.epoch.is_inference():
            self.epoch = self.epoch.clone()
        self.epoch.fill_(epoch)
        self._last_epoch.keep(self.epoch, epoch)
        self._epoch_known = True

    def _warming_up(self) -> bool | Tensor:
        """Return whether the loss is the unimodal one alone; in a step that is recorded a tensor, shape (), bool.

        In evaluation it never is, so that the losses of all epochs can be compared.
        """
        warmup_epochs = self.options.warmup_epochs
        if warmup_epochs == 0 or not self.training:
            return False
        if is_recorded(self.epoch.device):
            return self.epoch < warmup_epochs
        return self._epoch_now() < warmup_epochs

    def _epoch_now(self) -> int:
        # On the CPU a look is free, and another process may write to the same memory.
        return int(self.epoch) if self.epoch.device.type == "cpu" else self._last_epoch.read(self.epoch)

    @property
    def _moves(self) -> bool:
        # Without gradients nothing is learned: a validation in train mode, or the first pass of a checkpointed block.
        return self.training and torch.is_grad_enabled()

    @torch.compiler.assume_constant_result
    def _warn_without_epoch(self, stacklevel: int) -> bool:
        """Warn once where nobody says which epoch it is. In a traced step this runs while it is traced."""
        if self._epoch_known or not self.training or self.options.warmup_epochs == 0:
            return True
        self._epoch_known = True
        if self._epoch_now() == 0:
            warnings.warn(
                f"warmup_epochs={self.options.warmup_epochs}, but set_epoch was never called: the loss stays the "
                "unimodal one. Call criterion.set_epoch(epoch) at the start of every epoch.",
                stacklevel=stacklevel,
            )
        return True

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # .half() is meant for parameters: alpha moves in steps of eta and keeps its digits, where the device has them.
        exact = {name: x for name, x in self._buffers.items() if x is not None and x.dtype == torch.float64}
        self._buffers.update({name: x.float() for name, x in exact.items()})
        was_meta = self.alpha.is_meta
        super()._apply(fn, recurse)
        device = self.alpha.device
        for name, x in exact.items():
            if device.type == "mps":
                self._buffers[name] = x.to(device, torch.float32) if not x.is_meta else fn(x.float())
                continue
            moved = fn(x)
            self._buffers[name] = moved if moved.dtype == x.dtype else x.to(device)
        if was_meta and not self.alpha.is_meta:
            # to_empty() leaves memory as it is.
            self.reset_parameters()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a buffer that leaves the meta device is initialised, unless a checkpoint filled it."""
        if name not in BUFFERS:
            super().__setattr__(name, value)
            return
        before = self._buffers.get(name) if "_buffers" in self.__dict__ else None
        super().__setattr__(name, value)
        if before is None or not before.is_meta or not isinstance(value, Tensor) or value.is_meta:
            return
        # transformers puts memory as it is in the place of what a checkpoint lacks, and flags what it has loaded.
        if not (self._loading or getattr(value, "_is_hf_initialized", False)):
            with torch.no_grad():
                self._reset(name)

    def _load_from_state_dict(self, *args: Any) -> None:
        self._loading = True
        super()._load_from_state_dict(*args)
        self._loading = False


class LastRead:
    """The value of a buffer, read from an accelerator only where the buffer has changed. A copy has read nothing."""

    _seen: Tensor | None = None
    _version = _value = 0

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


def _know_epoch(module: StatefulModule, incompatible: Any) -> None:
    module._epoch_known = True

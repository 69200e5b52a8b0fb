"""Follows a criterion through training and evaluation: the means of its terms, and the diagnosis of the model."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.loss import MidasLoss
from midas_core.adapters.torch.step import Step
from midas_core.diagnostics import Diagnostics
from midas_core.modalities import Modalities, map_leaves
from midas_core.objective import MidasTerms
from midas_core.runs import term_metrics

VALIDATION_LOSSES = ("loss", "aligned_loss")
LOSSES = ("total", "aligned", "misaligned", "unimodal")
MEANS = (*LOSSES, "confidence", "fused_confidence")


class Follower:
    """Follows one criterion, a `MidasLoss` or a baseline called in the same way; ``make`` makes the `Diagnostics`."""

    def __init__(self, model: nn.Module, criterion: nn.Module | None, make: Callable[..., Diagnostics]) -> None:
        self.criterion: Any = find_criterion(model, criterion)
        self._model, self._make = model, make
        self._means, self._validation = TermMeans(), TermMeans()
        self._structure = getattr(self.criterion, "modalities", None)
        self._diagnostics: Diagnostics | None = None
        self._diagnosable: bool | None = None
        self.following = True
        """Whether evaluation is looked at."""
        self.steps = 0
        """Training steps seen."""
        hook = _Hook(self)
        if isinstance(self.criterion, MidasLoss):
            self._handles = [self.criterion.register_terms_hook(hook)]
        else:
            self._handles = [self.criterion.register_forward_hook(hook.forward, with_kwargs=True)]
        # Outside of the model it gets the model's mode.
        self._outside = all(module is not self.criterion for module in model.modules())
        if self._outside:
            self._handles += [x.register_forward_pre_hook(hook.set_mode) for x in (model, self.criterion)]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the modalities; None where the first step has yet to tell."""
        structure = self._structure
        return None if structure is None else tuple(map(str, structure.names or range(structure.count)))

    @property
    def config(self) -> dict[str, Any]:
        """Configuration of the criterion, for a run folder."""
        if not isinstance(self.criterion, MidasLoss):
            return {"method": type(self.criterion).__name__}
        return {"method": "MIDAS", **self.criterion.options.as_dict()}

    def set_epoch(self, epoch: int) -> None:
        """Tell the criterion, where it wants to know."""
        if hasattr(self.criterion, "set_epoch"):
            self.criterion.set_epoch(epoch)

    def end_epoch(self) -> None:
        """Let the criterion check what the epoch has changed."""
        if isinstance(self.criterion, MidasLoss):
            self.criterion._head_check.end_epoch(self.criterion.unimodal_heads)

    def take_means(self) -> dict[str, float]:
        """Return the means over the training steps since the last call, by the names of the run folder."""
        return self._means.take(self.names or ())

    def take_validation_losses(self) -> dict[str, float]:
        """Return the means of the whole objective over the evaluation since the last call, to be monitored."""
        means = self._validation.take(self.names or ())
        return {name: means[name] for name in VALIDATION_LOSSES if name in means}

    def take_diagnostics(self) -> Diagnostics | None:
        """Return what the evaluation since the last call has shown; None where the criterion was not called."""
        diagnostics, self._diagnostics = self._diagnostics, None
        return diagnostics

    def remove(self) -> None:
        """Stop following."""
        for handle in self._handles:
            handle.remove()

    def set_mode(self) -> None:
        """Give the criterion the mode of the model, where ``model.eval()`` does not reach it."""
        if self._outside and self.criterion.training != self._model.training:
            self.criterion.train(self._model.training)

    def see(self, step: Step) -> None:
        """Take in a step."""
        if self._structure is None:
            # In the order of the criterion: a dict may have another.
            known = getattr(step.criterion, "modalities", None)
            self._structure = known if isinstance(known, Modalities) else Modalities(step.features, "features")
        if step.training:
            self.steps += 1
            self._means.add(step.terms, step.labels.shape[0])
        elif self.following:
            self._validation.add(step.terms, step.labels.shape[0])
            if self._can_diagnose(step):
                if self._diagnostics is None:
                    self._diagnostics = self._new_diagnostics(step)
                self._diagnostics.update(self._in_precision(step), step.labels, present=step.present)

    def _can_diagnose(self, step: Step) -> bool:
        if self._diagnosable is None:
            reason = ""
            if getattr(step.criterion, "multi_label", False):
                reason = "samples have several labels"
            elif _is_sharded(self._model):
                reason = "the model is sharded, and its heads work in its own forward alone (load it in one process)"
            self._diagnosable = not reason
            if reason:
                warnings.warn(f"nothing is diagnosed, the validation loss is logged alone: {reason}", stacklevel=2)
        return self._diagnosable

    def _in_precision(self, step: Step) -> Any:
        """Return the features in the dtype of the heads: these are called again outside of autocast."""
        modules = [x for x in (step.criterion, step.head) if isinstance(x, nn.Module)]
        dtype = next((x.dtype for module in modules for x in module.parameters() if x.is_floating_point()), None)
        assert self._structure is not None

        def cast(x: Tensor) -> Tensor:
            return x.to(dtype) if x.is_floating_point() else x

        features = [map_leaves(cast, modality) for modality in self._structure.unpack(step.features, "features")]
        return self._structure.pack(features, step.features)

    def _new_diagnostics(self, step: Step) -> Diagnostics:
        criterion = step.criterion
        features = list(step.features.values() if isinstance(step.features, Mapping) else step.features)
        flat = all(isinstance(x, Tensor) and x.ndim == 2 for x in features)
        head_input = getattr(criterion, "head_input", "concatenated" if flat else "separate")
        num_classes = getattr(criterion, "num_classes", None)
        if num_classes is None:
            with torch.no_grad():
                num_classes = step.head(
                    step.features if head_input == "separate" else torch.cat(features, dim=1)
                ).shape[-1]
        options = {"num_classes": num_classes, "modalities": self.names, "head_input": head_input}
        return self._make(step.head, criterion=criterion, **options)


def find_criterion(model: nn.Module, criterion: nn.Module | None = None) -> nn.Module:
    """Return the criterion that is trained: ``criterion``, the one in its wrapper, or the model's only `MidasLoss`."""
    holder = model if criterion is None else criterion
    # Of a frozen one and its copies (PEFT's modules_to_save) the copy that is trained counts.
    known = {name: module for name, module in holder.named_modules() if isinstance(module, MidasLoss)}
    if criterion is not None and not known:
        return criterion
    trained = [module for module in known.values() if any(p.requires_grad for p in module.parameters())]
    if len(known) > 1 and len(trained) == 1:
        return trained[0]
    if len(known) != 1:
        which = f" ({', '.join(known)})" if known else ""
        raise ValueError(
            f"criterion: expected one MidasLoss in {type(holder).__name__}, found {len(known)}{which}; pass criterion="
        )
    return next(iter(known.values()))


def _is_sharded(model: nn.Module) -> bool:
    if "torch.distributed.fsdp" not in sys.modules:
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return any(isinstance(module, (FSDPModule, FullyShardedDataParallel)) for module in model.modules())


class TermMeans:
    """Means of the terms over steps, without waiting for the device in any of them."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._count = 0
        self._alpha: Tensor | None = None

    def add(self, terms: MidasTerms, batch: int) -> None:
        """Take in the terms of a step of ``batch`` samples; of another loss the total alone."""
        values = [getattr(terms, name) for name in (MEANS if terms.alpha is not None else MEANS[:1])]
        if terms.total.ndim:  # not reduced
            values = [x.mean(dim=-1) if name in LOSSES else x for name, x in zip(MEANS, values, strict=False)]
        # One row of numbers: a step should cost no more than a few operations.
        row = torch.cat([x.detach().reshape(-1) for x in values])
        self._sums = row * batch if self._sums is None else self._sums.add_(row, alpha=batch)
        self._count += batch
        self._alpha = terms.alpha

    def take(self, modalities: Sequence[str]) -> dict[str, float]:
        """Return the means and reset them; nothing where there was no step."""
        sums, count, alpha = self._sums, self._count, self._alpha
        self._sums, self._count, self._alpha = None, 0, None
        if sums is None:
            return {}
        sums = sums.cpu()
        if alpha is None:
            return {"loss": float(sums[0]) / count}
        size = len(modalities)
        total, aligned, misaligned, unimodal, *shares = sums.split([1, 1, 1, size, size, size])
        # The shares of a batch sum to one, or to zero where it offers no pair: such a batch says nothing.
        confidence, fused_confidence = (x / (x.sum() or 1) for x in shares)
        losses = (total[0] / count, aligned[0] / count, unimodal / count, misaligned[0] / count)
        return term_metrics(MidasTerms(*losses, alpha, confidence, fused_confidence), modalities)


class _Hook:
    """Called by the criterion; in a copy, or one that is unpickled, it does nothing."""

    def __init__(self, follower: Follower | None = None) -> None:
        self.follower = follower

    def __call__(self, step: Step) -> None:
        if self.follower is not None:
            self.follower.see(step)

    def set_mode(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Give the criterion its mode, before the forward of the model and its own."""
        if self.follower is not None:
            self.follower.set_mode()

    def forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Tensor) -> None:
        """Make a step of the call of another criterion."""
        if self.follower is None:
            return
        arguments = {**dict(zip(("features", "labels", "head"), args, strict=False)), **kwargs}
        missing = [name for name in ("features", "labels", "head") if name not in arguments]
        if missing:
            raise TypeError(
                f"criterion: expected {type(module).__name__} to be called as criterion(features, labels, head=head), "
                f"but {', '.join(missing)} is missing"
            )
        terms = MidasTerms(loss, *[None] * (len(MidasTerms._fields) - 1))
        learns = module.training and torch.is_grad_enabled()
        self(Step(module, arguments["features"], arguments["labels"], arguments["head"], terms, training=learns))

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()

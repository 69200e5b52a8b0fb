"""Follows a criterion through training and evaluation: the means of its terms, and the diagnosis of the model."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.adapters.recorder import Recorder
from midas_core.adapters.torch.hooks import Step
from midas_core.adapters.torch.loss import MidasLoss
from midas_core.diagnostics import Diagnostics
from midas_core.modalities import Modalities
from midas_core.objective import MidasTerms
from midas_core.runs import term_metrics

VALIDATION_LOSSES = ("loss", "aligned_loss")
LOSSES = ("total", "aligned", "misaligned", "unimodal")
MEANS = (*LOSSES, "confidence", "fused_confidence")


class Follower:
    """Follows one criterion.

    A `MidasLoss` tells of its steps itself. Any other module that is called as ``criterion(features, labels,
    head=head)`` and returns a loss is followed too, so that a baseline leaves the same run folder.

    Parameters
    ----------
    model : nn.Module
        Holds the criterion.
    criterion : nn.Module, optional
        Which it is; None finds the only `MidasLoss` in ``model``.
    make : callable
        Makes the `Diagnostics`, of a head and options.

    Raises
    ------
    ValueError
        If there is not exactly one `MidasLoss`.
    """

    def __init__(self, model: nn.Module, criterion: nn.Module | None, make: Callable[..., Diagnostics]) -> None:
        self.criterion: Any = find_criterion(model) if criterion is None else criterion
        self._model, self._make = model, make
        self._means, self._validation = TermMeans(), TermMeans()
        self._structure = getattr(self.criterion, "modalities", None)
        self._diagnostics: Diagnostics | None = None
        self._sharded: bool | None = None
        self.following = True
        """Whether evaluation is looked at."""
        hook = _Hook(self)
        if isinstance(self.criterion, MidasLoss):
            self._handle = self.criterion.register_terms_hook(hook)
        else:
            self._handle = self.criterion.register_forward_hook(hook.forward, with_kwargs=True)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the modalities; None where the first step has yet to tell."""
        structure = self._structure
        return None if structure is None else tuple(map(str, structure.names or range(structure.count)))

    @property
    def config(self) -> dict[str, Any]:
        """What a run folder should remember of the criterion."""
        if not isinstance(self.criterion, MidasLoss):
            return {"method": type(self.criterion).__name__}
        return {"method": "MIDAS", **self.criterion.options.as_dict()}

    def set_epoch(self, epoch: int) -> None:
        """Tell the criterion, where it wants to know."""
        if hasattr(self.criterion, "set_epoch"):
            self.criterion.set_epoch(epoch)

    def take_means(self) -> dict[str, float]:
        """Return the means over the training steps since the last call, by the names of the run folder."""
        return self._means.take(self.names or ())

    def take_validation_losses(self) -> dict[str, float]:
        """Return the means of the losses over the evaluation since the last call: what a callback may monitor.

        They are those of the whole objective, also during warm-up.
        """
        means = self._validation.take(self.names or ())
        return {name: means[name] for name in VALIDATION_LOSSES if name in means}

    def take_diagnostics(self) -> Diagnostics | None:
        """Return what the evaluation since the last call has shown; None where the criterion was not called."""
        found, self._diagnostics = self._diagnostics, None
        return found

    def remove(self) -> None:
        """Stop following."""
        self._handle.remove()

    def see(self, step: Step) -> None:
        """Take in a step."""
        if self._structure is None:
            # In the order of the criterion: that of a dict may be another.
            known = getattr(step.criterion, "modalities", None)
            self._structure = known if isinstance(known, Modalities) else Modalities(step.features, "features")
        if step.criterion.training:
            self._means.add(step.terms, step.labels.shape[0])
        elif self.following:
            self._validation.add(step.terms, step.labels.shape[0])
            if self._can_diagnose(step):
                if self._diagnostics is None:
                    self._diagnostics = self._new_diagnostics(step)
                self._diagnostics.update(self._in_precision(step), step.labels, present=step.present)

    def _can_diagnose(self, step: Step) -> bool:
        if getattr(step.criterion, "multi_label", False):
            return False
        if self._sharded is None:
            self._sharded = _is_sharded(self._model)
            if self._sharded:
                warnings.warn(
                    "the model is sharded, and its heads work in its own forward alone: nothing is diagnosed. Load the "
                    "checkpoint in one process for a diagnosis.",
                    stacklevel=2,
                )
        return not self._sharded

    def _in_precision(self, step: Step) -> Any:
        """Return the features in the dtype of the heads: these are called again outside of autocast."""
        heads = [each for each in (step.criterion, step.head) if isinstance(each, nn.Module)]
        dtype = next((x.dtype for each in heads for x in each.parameters() if x.is_floating_point()), None)
        assert self._structure is not None
        given = self._structure.unpack(step.features, "features")
        return self._structure.pack([x.to(dtype) if x.is_floating_point() else x for x in given], step.features)

    def _new_diagnostics(self, step: Step) -> Diagnostics:
        criterion = step.criterion
        options: dict[str, Any] = {"head_input": getattr(criterion, "head_input", "concatenated")}
        number = getattr(criterion, "num_classes", None)
        if number is None:
            with torch.no_grad():
                given = list(step.features.values()) if isinstance(step.features, Mapping) else list(step.features)
                number = step.head(torch.cat(given, dim=1)).shape[-1]
        return self._make(step.head, num_classes=number, modalities=self.names, criterion=criterion, **options)


class FollowingCallback:
    """What the callbacks of Lightning and of Hugging Face have in common: a run folder, and a criterion to follow."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        criterion: nn.Module | None = None,
        every: int = 1,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        tensorboard: bool | None = None,
        resume: bool | None = None,
        diagnostics: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._recorder = Recorder(
            folder,
            every=every,
            name=name,
            class_names=class_names,
            config=config,
            tensorboard=tensorboard,
            resume=resume,
            diagnostics=diagnostics,
        )
        self._criterion = criterion
        self._follower: Follower | None = None
        self._last: tuple[int, Diagnostics] | None = None

    def _follow(self, model: nn.Module) -> None:
        self._let_go()
        self._follower = Follower(model, self._criterion, self._recorder.new_diagnostics)

    def _let_go(self) -> None:
        if self._follower is not None:
            self._follower.remove()

    @property
    def _known(self) -> Follower:
        assert self._follower is not None
        return self._follower


def find_criterion(model: nn.Module) -> nn.Module:
    """Return the only `MidasLoss` among the modules of a model.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    found = [each for each in model.modules() if isinstance(each, MidasLoss)]
    if len(found) != 1:
        raise ValueError(
            f"criterion: expected one MidasLoss in {type(model).__name__}, found {len(found)}; pass criterion="
        )
    return found[0]


def _is_sharded(model: nn.Module) -> bool:
    if "torch.distributed.fsdp" not in sys.modules:
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return any(isinstance(each, (FSDPModule, FullyShardedDataParallel)) for each in model.modules())


class TermMeans:
    """Means of the terms over steps, without waiting for the device in any of them."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._count = 0
        self._alpha: Tensor | None = None

    def add(self, terms: MidasTerms, batch: int) -> None:
        """Take in the terms of a step of ``batch`` samples; of another loss the total alone."""
        given = [getattr(terms, name) for name in (MEANS if terms.alpha is not None else MEANS[:1])]
        if terms.total.ndim:  # not reduced
            given = [x.mean(dim=-1) if name in LOSSES else x for name, x in zip(MEANS, given, strict=False)]
        # One row of numbers: a step should cost no more than a few operations.
        row = torch.cat([x.detach().reshape(-1) for x in given])
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
        each = len(modalities)
        total, aligned, misaligned, unimodal, *shares = sums.split([1, 1, 1, each, each, each])
        # The shares of a batch sum to one, or to zero where it offers no pair: such a batch says nothing.
        confidence, fused_confidence = (x / (x.sum() or 1) for x in shares)
        losses = (total[0] / count, aligned[0] / count, unimodal / count, misaligned[0] / count)
        return term_metrics(MidasTerms(*losses, alpha, confidence, fused_confidence), modalities)


class _Hook:
    """What the criterion calls; a copy of the criterion, or one that is unpickled, calls a hook that does nothing."""

    def __init__(self, follower: Follower | None = None) -> None:
        self.follower = follower

    def __call__(self, step: Step) -> None:
        if self.follower is not None:
            self.follower.see(step)

    def forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], loss: Tensor) -> None:
        """Make a step of the call of another criterion."""
        if self.follower is None:
            return
        given = {**dict(zip(("features", "labels", "head"), args, strict=False)), **kwargs}
        missing = [name for name in ("features", "labels", "head") if name not in given]
        if missing:
            raise TypeError(
                f"criterion: expected {type(module).__name__} to be called as criterion(features, labels, head=head), "
                f"but {', '.join(missing)} is missing"
            )
        terms = MidasTerms(loss, *[None] * (len(MidasTerms._fields) - 1))
        self(Step(module, given["features"], given["labels"], given["head"], terms))

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()

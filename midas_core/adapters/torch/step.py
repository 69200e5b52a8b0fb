"""One step of the criterion: its validated inputs, and the way from there to the terms of each sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.fusion import run_head
from midas_core.adapters.torch.heads import Beginning, HeadLogits, check_additive, head_logits, unimodal_logits
from midas_core.adapters.torch.inputs import (
    check_beside,
    check_features,
    check_head,
    check_sample_weight,
    check_widths,
    presence,
    read_labels,
)
from midas_core.adapters.torch.values import check_values
from midas_core.backends.torch import BACKEND
from midas_core.cross_entropy import Targets, as_targets
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities
from midas_core.objective import MidasTerms, unchecked_objective
from midas_core.options import MidasOptions, check_missing_allowed
from midas_core.pairing import Pairs, label_ids
from midas_core.similarity import similarity
from midas_core.validation import check_shape
from midas_core.weighting import MidasState, Reduce


class Step(NamedTuple):
    """One call of a criterion, as its hooks see it.

    Attributes
    ----------
    criterion : nn.Module
    features : list, tuple or dict of M tensors, as given
    labels : Tensor, shape (B,)
    head : callable
    terms : MidasTerms
        Reduced as the criterion reduces them.
    present : Tensor, shape (B, M), bool, or None
        Which modalities each sample has; None where all have all.
    training : bool
        Whether the step learned: in training mode, and with gradients.
    logits : Tensor, shape (B, C), or None
        Of the fused head on the aligned samples.
    """

    criterion: Any
    features: Any
    labels: Tensor
    head: Callable[..., Tensor]
    terms: MidasTerms
    present: Tensor | None = None
    training: bool = True
    logits: Tensor | None = None


class StepInputs(NamedTuple):
    """Validated inputs of one step; ``like`` is the structure in which the features came."""

    # In the order of the modalities, zeros for what is missing.
    features: list[Tensor]
    like: Any
    # By which partners differ, shape (B,), below num_classes; of samples with several labels what `label_ids` gives.
    classes: Tensor
    num_classes: int
    targets: Tensor | Targets
    present: Tensor | None


class Phase(NamedTuple):
    """Phase of a step: whether it moves the state, and whether the loss is the unimodal or the aligned one alone."""

    learns: bool
    # Tensors, shape (), where the step is recorded.
    warmup: bool | Tensor
    aligned_only: bool | Tensor

    @property
    def mixes(self) -> bool:
        """Whether there are mixed samples, or may be."""
        return self.warmup is not True and self.aligned_only is not True


def phase_of(epoch: int | Tensor, options: MidasOptions) -> Phase:
    """Return what a step of an epoch does that learns."""
    warmup = epoch < options.warmup_epochs if options.warmup_epochs else False
    return Phase(True, warmup, False if options.aligned_from is None else epoch >= options.aligned_from)


class Heads(NamedTuple):
    """The heads of a step, and what they take."""

    fused: Callable[..., Tensor]
    unimodal: nn.ModuleList
    modalities: Modalities
    num_classes: int
    head_input: str
    beginning: Beginning | None
    """Of the fused one, where it takes concatenated features."""

    def run_fused(self, like: Any, features: list[Tensor]) -> Tensor:
        """Return the fused logits."""
        return run_head(self.fused, features, like, self.modalities, self.head_input, self.num_classes)

    def run_unimodal(self, features: list[Tensor]) -> list[Tensor]:
        """Return the unimodal logits."""
        return unimodal_logits(self.unimodal, features, self.modalities, self.num_classes)

    def check(self, features: list[Tensor]) -> None:
        """Raise unless linear heads have the width and the dtype of the features."""
        check_widths(self.unimodal, features, self.modalities)
        if self.head_input == "concatenated":
            check_head(self.fused, features, self.modalities)
        if self.beginning is not None:
            check_additive(self.beginning, features, self.num_classes)


def read_inputs(
    features: Any,
    labels: Any,
    sample_weight: Any,
    present: Any,
    permutation: Any,
    modalities: Modalities,
    num_classes: int,
    options: MidasOptions,
    class_weights: Tensor | None,
    check: bool,
) -> StepInputs:
    """Return the inputs of a step, or raise unless they fit. ``check`` looks at the values on any device."""
    items = modalities.unpack(features, "features")
    labels = read_labels(labels, num_classes, options.multi_label, check)
    kind: dict[str, Any] = {"raw": options.accepts_raw_inputs, "head_input": options.head_input}
    check_features(items, labels, "labels", modalities, **kind)
    targets: Tensor | Targets = labels
    classes, number = labels, num_classes
    # By the buffer, not the option: a compiled step would depend on its numbers.
    has_target_options = options.multi_label or options.label_smoothing > 0 or class_weights is not None
    if has_target_options or sample_weight is not None or present is not None:
        check_sample_weight(sample_weight, labels)
        targets = Targets(labels, sample_weight, class_weights, options.label_smoothing or None)
        if present is not None:
            check_missing_allowed(options.variant)
            present = presence(present, labels, modalities)
            items = zero_missing(items, present, backend=BACKEND)
        if options.multi_label:
            classes, number = label_ids(labels, backend=BACKEND), labels.shape[0]
    if permutation is not None:
        check_beside(permutation, "permutation", classes)
        check_shape("permutation", permutation, classes.shape, "(B,)")
    if check:
        beside = {"permutation": permutation, "sample_weight": sample_weight}
        check_values(items, labels, modalities, num_classes, similarity=options.similarity, **beside)
    return StepInputs(items, features, classes, number, targets, present)


def run_step(
    heads: Heads,
    inputs: StepInputs,
    pairs: Pairs,
    state: MidasState,
    options: MidasOptions,
    phase: Phase,
    reduce: Reduce | None,
) -> tuple[HeadLogits, MidasTerms, MidasState]:
    """Return the logits, the terms of each sample, and the next state."""
    mixes = phase.mixes
    logits = mixed_logits(heads, inputs, pairs) if mixes else aligned_logits(heads, inputs)
    similarities = None
    if mixes and options.similarity is not None:
        similarities = similarity(inputs.features, pairs.sources, options.similarity, backend=BACKEND)
    terms, state, _ = unchecked_objective(
        logits.aligned,
        logits.unimodal,
        logits.mixed,
        as_targets(inputs.targets),
        pairs,
        similarities,
        state,
        present=inputs.present,
        weight=options.weight,
        warmup=phase.warmup if isinstance(phase.warmup, Tensor) else None,
        aligned_only=phase.aligned_only,
        reduce=reduce if mixes else None,
        backend=BACKEND,
        **options.alpha_rule,
    )
    if not mixes:
        # Unused parameters get a gradient of zero: a distributed wrapper waits for every
        # parameter.
        silent = logits.unimodal if phase.aligned_only is True else [logits.aligned]
        zeros = [(0.0 * torch.nan_to_num(z, posinf=0.0, neginf=0.0)).sum(dim=-1) for z in silent]
        terms = terms._replace(total=sum(zeros, start=terms.total))
    return logits, terms, state


def aligned_logits(heads: Heads, inputs: StepInputs) -> HeadLogits:
    """Run every head on the aligned samples."""
    return HeadLogits(heads.run_unimodal(inputs.features), heads.run_fused(inputs.like, inputs.features), None)


def mixed_logits(heads: Heads, inputs: StepInputs, pairs: Pairs) -> HeadLogits:
    """Run every head, the fused one on the mixed samples too, by the cheapest way that it allows."""
    return head_logits(
        heads.fused,
        heads.beginning,
        heads.unimodal,
        inputs.features,
        pairs,
        run=partial(heads.run_fused, inputs.like),
        modalities=heads.modalities,
        num_classes=heads.num_classes,
    )

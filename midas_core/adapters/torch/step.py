"""A step of the criterion: what it is given, checked, and the way from there to its terms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.distributed import sum_over_ranks, waits_for_others
from midas_core.adapters.torch.heads import (
    FEW_CLASSES,
    Linear,
    additive_logits,
    additive_parameters,
    by_kind,
    fused_logits,
    fusible_heads,
    may_stack,
    stacked_logits,
    unimodal_logits,
)
from midas_core.adapters.torch.inputs import (
    check_batch,
    check_beside,
    check_head,
    check_logits,
    check_sample_weight,
    check_widths,
    presence,
)
from midas_core.adapters.torch.state import StatefulModule
from midas_core.adapters.torch.values import check_values
from midas_core.backends.torch import BACKEND
from midas_core.cross_entropy import Targets
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities
from midas_core.objective import MidasTerms, midas_objective
from midas_core.pairing import Pairs, label_ids
from midas_core.similarity import similarity
from midas_core.validation import check_shape
from midas_core.weighting import MidasState


class Given(NamedTuple):
    """What a step is given, checked.

    Attributes
    ----------
    features : list of M tensors, shapes (B, ...)
        In the order of the modalities, zeros for what is missing.
    like : list, tuple or dict
        The structure in which they came.
    classes : Tensor, shape (B,), int64
        By which partners differ: of samples with several labels what `label_ids` calls them.
    num_classes : int
        They are below it.
    targets : Tensor, shape (B,), int64; or Targets
    present : Tensor, shape (B, M), bool, or None
    """

    features: list[Tensor]
    like: Any
    classes: Tensor
    num_classes: int
    targets: Tensor | Targets
    present: Tensor | None


class SteppingModule(StatefulModule):
    """A criterion's step. The criterion itself has the options and the heads."""

    modalities: Modalities
    num_classes: int
    unimodal_heads: nn.ModuleList
    check: bool

    @property
    def _raw(self) -> bool:
        """Whether only the user's own modules look at the features: they may be raw inputs, such as token ids."""
        return self.options.similarity is None and self.options.head_input == "separate"

    @property
    def _looks(self) -> bool:
        """Whether to look at the values."""
        return self.check and not torch.compiler.is_compiling()

    @property
    def _asks_more(self) -> bool:
        """Whether the cross-entropy is another than the plain one."""
        options = self.options
        return options.multi_label or options.label_smoothing > 0 or options.class_weights is not None

    def _read(self, features: Any, labels: Any, sample_weight: Any, present: Any, permutation: Any) -> Given:
        """Check what a step is given."""
        given = self.modalities.unpack(features, "features")
        options = (self.options.multi_label, self._raw, self.check)
        labels = check_batch(given, labels, self.modalities, self.num_classes, *options)
        targets: Tensor | Targets = labels
        classes, num_classes = labels, self.num_classes
        if self._asks_more or sample_weight is not None or present is not None:
            check_sample_weight(sample_weight, labels)
            targets = Targets(labels, sample_weight, self.class_weights, self.options.label_smoothing or None)
            if present is not None:
                present = presence(present, labels, self.modalities)
                given = zero_missing(given, present, backend=BACKEND)
            if self.options.multi_label:
                classes, num_classes = label_ids(labels, backend=BACKEND), labels.shape[0]
        if permutation is not None:
            check_beside(permutation, "permutation", classes)
            check_shape("permutation", permutation, classes.shape, "(B,)")
        if self._looks:
            kind, beside = self.options.similarity, {"permutation": permutation, "sample_weight": sample_weight}
            check_values(given, labels, self.modalities, self.num_classes, similarity=kind, **beside)
        return Given(given, features, classes, num_classes, targets, present)

    def _check_heads(self, head: Any, given: Given) -> None:
        """Raise unless linear heads have the width and the dtype of the features."""
        check_widths(self.unimodal_heads, given.features, self.modalities)
        if self.options.head_input == "concatenated":
            check_head(head, given.features, self.modalities)

    def _compute(
        self, head: Callable[..., Tensor], given: Given, pairs: Pairs, warming_up: bool | Tensor
    ) -> tuple[MidasTerms, MidasState]:
        """Return the terms of each sample, and the next state."""
        if warming_up is True:
            return self._warm_up(head, given, pairs)
        own_logits, aligned, mixed = self._logits(head, given, pairs)
        similarities = None
        if self.options.similarity is not None:
            similarities = similarity(given.features, pairs.sources, self.options.similarity, backend=BACKEND)
        terms, state, _ = midas_objective(
            aligned,
            own_logits,
            mixed,
            given.targets,
            pairs,
            similarities,
            MidasState(self.alpha, self.step),
            present=given.present,
            weight=self.options.weight,
            warmup=warming_up if isinstance(warming_up, Tensor) else None,
            # Ranks may evaluate different numbers of batches: only training waits for the others.
            reduce=sum_over_ranks if self._moves and waits_for_others() else None,
            backend=BACKEND,
            **self.options.alpha_rule,
        )
        return terms, state

    def _logits(self, head: Callable[..., Tensor], given: Given, pairs: Pairs) -> tuple[list[Tensor], Tensor, Tensor]:
        """Run every head; return the unimodal logits, and those of the fused one: aligned (B, C), mixed (V, B, C)."""
        additive = additive_parameters(head) if self.options.head_input == "concatenated" else None
        if additive is not None:
            width = sum(x.shape[1] for x in given.features)
            check_shape("weight of the head", additive.weight, (self.num_classes, width), "(C, D)")
            linear = self._stackable(additive, given)
            if linear is not None:
                return stacked_logits(additive, linear, given.features, pairs.sources, pairs.absent)
        own_logits = unimodal_logits(self.unimodal_heads, given.features, self.modalities, self.num_classes)
        if additive is not None:
            return own_logits, *additive_logits(additive, given.features, pairs.sources, pairs.absent)
        run = partial(self._run_head, head, given.like)
        fused = fused_logits(run, given.features, pairs.sources, pairs.absent, stack=may_stack(head))
        return own_logits, *by_kind(fused, len(given.classes))

    def _stackable(self, additive: Linear, given: Given) -> list[Linear] | None:
        """Return the unimodal heads where one product of each feature shall serve both of its heads."""
        if not torch.compiler.is_compiling() or self.num_classes > FEW_CLASSES:
            return None
        return fusible_heads(additive, self.unimodal_heads, given.features, self.modalities, self.num_classes)

    def _warm_up(self, head: Callable[..., Tensor], given: Given, pairs: Pairs) -> tuple[MidasTerms, MidasState]:
        own_logits = unimodal_logits(self.unimodal_heads, given.features, self.modalities, self.num_classes)
        fused = self._run_head(head, given.like, given.features)
        terms, state, _ = midas_objective(
            fused,
            own_logits,
            None,
            given.targets,
            pairs,
            None,
            MidasState(self.alpha, self.step),
            present=given.present,
            variant=self.options.variant,
            backend=BACKEND,
        )
        # The head takes part with a gradient of zero: a distributed wrapper waits for every parameter.
        silent = (0.0 * torch.nan_to_num(fused, posinf=0.0, neginf=0.0)).sum(dim=-1)
        return terms._replace(total=terms.total + silent), state

    def _run_head(self, head: Callable[..., Tensor], like: Any, given: list[Tensor]) -> Tensor:
        if self.options.head_input == "concatenated":
            logits = head(torch.cat(given, dim=1))
        else:
            logits = head(self.modalities.pack(given, like))
        check_logits("head", logits, given[0].shape[0], self.num_classes)
        return logits

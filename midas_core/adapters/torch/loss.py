"""The MIDAS objective as a criterion of PyTorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils.hooks import RemovableHandle

from midas_core.adapters.torch.distributed import check_whole, in_distributed_run, sum_over_ranks, waits_for_others
from midas_core.adapters.torch.fusion import read_features, run_head
from midas_core.adapters.torch.head_check import HeadCheck
from midas_core.adapters.torch.heads import additive_beginning, unimodal_logits
from midas_core.adapters.torch.inputs import check_attribute, check_callable, check_widths, make_heads
from midas_core.adapters.torch.random import is_recorded
from midas_core.adapters.torch.state import LastRead, StatefulModule, check_digest, digest_of
from midas_core.adapters.torch.step import Heads, Phase, Step, phase_of, read_inputs, run_step
from midas_core.adapters.torch.values import check_not_probabilities, check_terms, may_look
from midas_core.adapters.warn import warn_user
from midas_core.backends.torch import BACKEND
from midas_core.ensemble import ensemble_logits
from midas_core.objective import reduce_terms
from midas_core.options import MidasOptions, Option, Similarity
from midas_core.validation import check_number
from midas_core.weighting import MidasState


class MidasLoss(StatefulModule):
    """The MIDAS objective as a criterion: L = L_align + L_uni + weight * L_mis (eq. 11).

    Takes the features of the encoders, makes misaligned samples of them, and runs the fused head on the aligned and
    the misaligned ones. An ``nn.Module``: give ``criterion.parameters()`` to the optimizer (the unimodal heads are in
    it), move it with ``.to()``, save it with ``state_dict()``.

    Parameters
    ----------
    num_classes : int
        C.
    feature_dims : sequence of int, or dict of int by modality name, optional
        Feature widths D_m, for linear unimodal heads that the criterion makes; this or ``unimodal_heads``.
    unimodal_heads : sequence of modules, or dict of modules by modality name, optional
        Your heads instead, each from a feature to (B, C) logits.
    weight : float
        lambda of eq. 11. The paper finds its best value between 1 and 10, by data set.
    eta : float
        Step size of the weak-modality weight (eq. 7).
    warmup_epochs : int
        Epochs of the unimodal loss alone. `set_epoch` counts them.
    aligned_from : int, optional
        First epoch of the aligned loss alone, at least ``warmup_epochs``. Ours, not the paper's.
    variant : {"paper", "official"}
        "official" follows the authors' code; two modalities only.
    reduction : {"mean", "sum", "none"}
        Over the batch.
    similarity : {"cosine", "l2", None}, or callable
        Similarity of the hard-sample weight (eq. 8). None disables it.
    alpha_update : {"sign", "difference"}
        Whether the sign of the gap moves alpha (eq. 6) or the gap itself.
    max_alpha : float, optional
        A cap for alpha.
    initial_alpha : float
        Weight of the weak modality in the first step.
    label_smoothing : float
        eps: every cross-entropy takes (1 - eps) * label + eps / C; no confidence does.
    class_weights : sequence of C floats, or Tensor, shape (C,), optional
        Factors of every cross-entropy, by class of the label; with ``multi_label`` of the binary one of each class.
    multi_label : bool
        Whether labels are rows of 0 and 1, (B, C); the loss is then the mean of C binary cross-entropies.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in their structure.
    absent_share : float
        Share of mixed samples without a partner: some modalities of one sample, zeros for the others, its own label.
    check : bool
        Whether each step looks at the values too, and names the sample and the modality where one is not finite, or no
        label. Every step then waits for the device; under ``torch.compile`` nothing is looked at.
    seed : int, optional
        Of the random stream. Without one, ``torch.manual_seed`` decides.

    Attributes
    ----------
    alpha : Tensor, shape (M,), float64
        Alpha of the next step. Before the first step every entry is ``initial_alpha``; that step keeps it for the
        weak modality and sets the others to 1.
    step, epoch : Tensor, shape (), int64
        Updates of alpha so far; the epoch as given to `set_epoch`.
    unimodal_heads : nn.ModuleList
        In the order of the modalities; ``unimodal_heads["audio"]`` asks by name.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Notes
    -----
    Every option is an attribute too, and may be set between two steps: a schedule of ``weight`` or ``class_weights`` is
    an assignment. Features are concatenated in the order of ``feature_dims``; `fuse` does it for prediction.

    Soft weights, similarities and alpha are detached. A step in ``eval()`` or without gradients is an evaluation: no
    state moves, every call draws the same pairs, and the loss is the whole objective in every epoch. A seed draws the
    same pairs on every device, eager or compiled.

    On several ranks make the criterion a part of the module that is wrapped, so that the gradients of the unimodal
    heads are averaged. All ranks share one alpha.

    A head that begins with a linear layer on the concatenated features (``nn.Linear``, a ``nn.Sequential``, or a module
    with ``additive = True`` and ``weight`` and ``bias`` as in ``nn.Linear``) costs no further matrix product there. Any
    other module sees aligned and misaligned samples stacked, once; one that holds batch normalisation, whose running
    statistics see the aligned ones alone, and any plain function, one after the other.

    Examples
    --------
    >>> import torch
    >>> criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 5}, seed=0)
    >>> features = {"audio": torch.randn(8, 4), "video": torch.randn(8, 5)}
    >>> loss = criterion(features, torch.arange(8) % 3, head=torch.nn.Linear(9, 3))
    >>> loss.shape
    torch.Size([])
    >>> criterion.step
    tensor(1)
    """

    weight, eta, warmup_epochs, aligned_from = Option(), Option(), Option(), Option()
    variant, reduction, similarity, alpha_update = Option(), Option(), Option(), Option()
    max_alpha, initial_alpha, label_smoothing, multi_label = Option(), Option(), Option(), Option()
    head_input, absent_share = Option(), Option()

    alpha: Tensor
    step: Tensor
    epoch: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dims: Sequence[int] | Mapping[str, int] | None = None,
        unimodal_heads: Sequence[nn.Module] | Mapping[str, nn.Module] | None = None,
        weight: float = 1.0,
        eta: float = 0.05,
        warmup_epochs: int = 0,
        aligned_from: int | None = None,
        variant: str = "paper",
        reduction: str = "mean",
        similarity: Similarity = "cosine",
        alpha_update: str = "sign",
        max_alpha: float | None = None,
        initial_alpha: float = 1.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | Tensor | None = None,
        multi_label: bool = False,
        head_input: str = "concatenated",
        absent_share: float = 0.0,
        check: bool = False,
        seed: int | None = None,
    ) -> None:
        options = MidasOptions.among(locals())
        super().__init__(options.seed)
        self.options = options
        self.num_classes = check_number("num_classes", num_classes, minimum=2, whole=True)
        self.check = check
        self.modalities, self.unimodal_heads = make_heads(self.num_classes, feature_dims, unimodal_heads)
        options.check_fits(self.modalities.count, self.num_classes)
        self.register_buffer("alpha", torch.empty(self.modalities.count, dtype=torch.float64))
        self.register_buffer("step", torch.empty((), dtype=torch.int64))
        self.register_buffer("epoch", torch.empty((), dtype=torch.int64))
        # An option as the others: the checkpoint leaves it to the constructor.
        by_class = None if options.class_weights is None else torch.empty(self.num_classes, dtype=torch.float64)
        self.register_buffer("class_weights", by_class, persistent=False)
        self.reset_parameters()
        self._last_epoch = LastRead()
        self._epoch_known = False
        self.register_load_state_dict_post_hook(_know_epoch)
        self._looked_at: set[bool] = set()
        self._terms_hooks: OrderedDict[int, Callable[[Step], None]] = OrderedDict()
        self._head_check = HeadCheck(made=unimodal_heads is None)

    def extra_repr(self) -> str:
        """Return the options that differ between uses."""
        options = self.options
        return (
            f"num_classes={self.num_classes}, weight={options.weight}, eta={options.eta}, "
            f"warmup_epochs={options.warmup_epochs}, variant={options.variant!r}"
        )

    def forward(
        self,
        features: Any,
        labels: Tensor,
        *,
        head: Callable[..., Tensor],
        permutation: Tensor | None = None,
        generator: torch.Generator | None = None,
        sample_weight: Tensor | None = None,
        present: Any = None,
    ) -> Tensor:
        """Return the loss, and move the state in training mode; raise where an input does not fit.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M modalities
            From the encoders: tensors, shapes (B, D_m); with ``head_input="separate"`` also dicts or tuples of tensors
            with equal first axes, such as tokens and their ``"mask"``.
        labels : Tensor, shape (B,), integer; or (B, C), one row for each sample
            Rows are one-hot, of an integer dtype; or with ``multi_label`` of 0 and 1. Soft labels are refused by their
            floating dtype; the values of rows are checked on the CPU, elsewhere with ``check=True``.
        head : callable
            The fused head, from the features to (B, C) logits.
        permutation : Tensor, shape (B,), integer, optional
            Who is paired with whom, instead of a draw.
        generator : torch.Generator, optional
            Draws the pairs, instead of the criterion's own stream.
        sample_weight : Tensor, shape (B,), optional
            Multiplies every cross-entropy at the label of a sample, also where it is a part of a mixed one. Numbers
            >= 0; ``check=True`` refuses others.
        present : Tensor, shape (B, M), bool; or like ``features``, of tensors, shape (B,), bool; optional
            Whether a sample has a modality. Features that are missing count as zeros, whatever they hold.

        Returns
        -------
        Tensor
            A scalar, or shape (B,) with ``reduction="none"``.
        """
        beside = {"generator": generator, "sample_weight": sample_weight, "present": present}
        return self.terms(features, labels, head=head, permutation=permutation, **beside).total

    def terms(
        self,
        features: Any,
        labels: Tensor,
        *,
        head: Callable[..., Tensor],
        permutation: Tensor | None = None,
        generator: torch.Generator | None = None,
        sample_weight: Tensor | None = None,
        present: Any = None,
        return_logits: bool = False,
    ) -> Any:
        """Return every term of the loss, and move the state in training mode; raise where an input does not fit.

        Parameters
        ----------
        features, labels, head, permutation, generator, sample_weight, present : see `forward`
        return_logits : bool
            Whether to return the fused logits of the aligned samples too, which cost no second run of the head.

        Returns
        -------
        MidasTerms, or (MidasTerms, Tensor of shape (B, C))
            Reduced over the batch as ``reduction`` says: total, aligned and misaligned are scalars, unimodal has shape
            (M,). alpha (M,) is what this step used, confidence and fused_confidence (M,) the means of c~ and q.
        """
        options, modalities, unimodal_heads = self.options, self.modalities, self.unimodal_heads
        self._warn_without_epoch()
        check_callable(head)
        several_ranks = in_distributed_run()
        if several_ranks:
            check_whole("unimodal_heads", unimodal_heads)
            check_whole("head", head)
        phase, checks_values = self._phase(), self.check and not torch.compiler.is_compiling()
        inputs = read_inputs(
            *(features, labels, sample_weight, present, permutation),
            *(modalities, self.num_classes, options, self.class_weights, checks_values),
        )
        rule: dict[str, Any] = {"variant": options.variant, "absent_share": options.absent_share}
        rule |= {"moves": phase.learns, "permutation": permutation, "generator": generator}
        pairs = self._draw_pairs(inputs.classes, inputs.num_classes, modalities.count, **rule)
        beginning = additive_beginning(head) if options.head_input == "concatenated" else None
        heads = Heads(head, unimodal_heads, modalities, self.num_classes, options.head_input, beginning)
        heads.check(inputs.features)
        # Ranks may evaluate different numbers of batches: only training waits for the others.
        reduce = sum_over_ranks if several_ranks and phase.learns and waits_for_others() else None
        alpha, step = self.alpha, self.step
        logits, terms, state = run_step(heads, inputs, pairs, MidasState(alpha, step), options, phase, reduce)
        # In the first step of training, and of evaluation, in which to look costs nothing.
        first = may_look(logits.aligned) and phase.learns not in self._looked_at
        if not options.multi_label and (checks_values or first):
            check_not_probabilities(logits.unimodal, logits.aligned, modalities)
            self._looked_at.add(phase.learns)
        if checks_values:
            check_terms(terms, modalities)
        terms = reduce_terms(terms, options.reduction, backend=BACKEND)
        if phase.learns and phase.mixes:
            with torch.no_grad():
                alpha.copy_(state.alpha)
                step.copy_(state.step)
        if not is_recorded(labels.device):
            if phase.learns:
                self._head_check.see(unimodal_heads, head, common=phase.mixes and reduce is not None)
            else:
                self._head_check.end_epoch(unimodal_heads)
        if self._terms_hooks:
            shown = modalities.pack(inputs.features, features)
            self._tell(Step(self, shown, inputs.classes, head, terms, inputs.present, phase.learns, logits.aligned))
        return (terms, logits.aligned) if return_logits else terms

    def fuse(self, features: Any, *, head: Callable[..., Tensor], present: Any = None) -> Tensor:
        """Return the fused logits, shape (B, C), for prediction; see `midas_core.adapters.torch.fuse`.

        Features are concatenated in the order of ``feature_dims``, whatever the order in which they come. Nothing is
        drawn and no state moves.
        """
        items, _ = self._features(features, present)
        return run_head(head, items, features, self.modalities, self.options.head_input, self.num_classes)

    def ensemble_logits(
        self, features: Any, *, head: Callable[..., Tensor], weight: float = 0.5, present: Any = None
    ) -> Tensor:
        """Return the logits of a soft vote of the fused head and the unimodal heads, for prediction.

        Features, head and present as for `terms`; ``weight``, the share of the unimodal heads, and the result as for
        `midas_core.ensemble_logits`. Nothing is drawn and no state moves.
        """
        items, present = self._features(features, present)
        unimodal = unimodal_logits(self.unimodal_heads, items, self.modalities, self.num_classes)
        fused = run_head(head, items, features, self.modalities, self.options.head_input, self.num_classes)
        options = {"present": present, "multi_label": self.options.multi_label, "backend": BACKEND}
        return ensemble_logits(fused, unimodal, weight=weight, **options)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, a whole number from 0: the warm-up and the aligned finish go by it."""
        epoch = check_number("epoch", epoch, minimum=0, whole=True)
        if self.epoch.is_inference():
            self.epoch = self.epoch.clone()
        self.epoch.fill_(epoch)
        self._last_epoch.keep(self.epoch, epoch)
        self._epoch_known = True
        self._head_check.end_epoch(self.unimodal_heads)

    def register_terms_hook(self, hook: Callable[[Step], None]) -> RemovableHandle:
        """Have a function of a `Step` called after every step, also in evaluation, until ``remove()`` of the handle.

        It detaches what it keeps. Under ``torch.compile`` the graph ends there; ``fullgraph=True`` allows no hooks.
        """
        handle = RemovableHandle(self._terms_hooks)
        self._terms_hooks[handle.id] = hook
        return handle

    @torch.compiler.disable
    def _tell(self, step: Step) -> None:
        for hook in list(self._terms_hooks.values()):
            hook(step)

    def _features(self, features: Any, present: Any) -> tuple[list[Tensor], Tensor | None]:
        """Return checked features without labels, and the mask of what is present."""
        kind = self.options.accepts_raw_inputs, self.options.head_input
        items, present = read_features(features, self.modalities, *kind, present)
        check_widths(self.unimodal_heads, items, self.modalities)
        return items, present

    def _phase(self) -> Phase:
        """Return what this step does; without gradients nothing is learned, whatever the mode says."""
        learns = self.training and torch.is_grad_enabled()
        if not learns or not self.options.counts_epochs:
            return Phase(learns, False, False)
        return phase_of(self._last_epoch.look(self.epoch), self.options)

    @torch.compiler.assume_constant_result
    def _warn_without_epoch(self) -> bool:
        """Warn once where nobody says which epoch it is. In a traced step this runs while it is traced."""
        if not self._epoch_known and self.training and torch.is_grad_enabled() and self.options.counts_epochs:
            self._epoch_known = True
            if is_functorch_wrapped_tensor(self.epoch) or int(self.epoch) == 0:
                warn_user(self.options.epoch_warning("criterion"))
        return True

    def get_extra_state(self) -> Tensor:
        """Return the seed, the number of draws, and a digest of the names, as ``state_dict`` stores them: int64."""
        return torch.cat([super().get_extra_state(), torch.tensor([digest_of(self.modalities.names)], device="cpu")])

    def set_extra_state(self, state: Tensor) -> None:
        """Go on where the stream stood; raise ``ValueError`` where the names of the modalities are others."""
        super().set_extra_state(state)
        check_digest(state, self.modalities.names)

    def _fill(self, name: str) -> None:
        if name == "alpha":
            # Through nn.init: transformers makes these calls spare what a checkpoint has filled.
            nn.init.constant_(self.alpha, self.options.initial_alpha)
        elif name in ("step", "epoch"):
            nn.init.zeros_(getattr(self, name))
        elif name == "class_weights":
            weights = self.class_weights
            if weights is not None and not weights.is_meta:
                weights.copy_(torch.tensor(self.options.class_weights, dtype=weights.dtype, device="cpu"))
        else:
            super()._fill(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, checked; an option counts from the next step on."""
        super().__setattr__(name, check_attribute(self, name, value))


def _know_epoch(module: MidasLoss, incompatible: Any) -> None:
    module._epoch_known = True

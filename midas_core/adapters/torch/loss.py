"""The MIDAS objective as a criterion of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.adapters.torch.distributed import check_whole, in_distributed_run, waits_for_others
from midas_core.adapters.torch.head_check import HeadCheck
from midas_core.adapters.torch.heads import unimodal_logits
from midas_core.adapters.torch.hooks import Step
from midas_core.adapters.torch.inputs import check_callable, check_features, check_widths, make_heads, presence
from midas_core.adapters.torch.random import is_recorded
from midas_core.adapters.torch.step import SteppingModule
from midas_core.adapters.torch.values import check_terms
from midas_core.backends.torch import BACKEND
from midas_core.ensemble import ensemble_logits
from midas_core.missing import zero_missing
from midas_core.objective import MidasTerms, reduce_terms
from midas_core.options import MidasOptions, shows_options
from midas_core.validation import check_flag, check_number, check_shape


@shows_options
class MidasLoss(SteppingModule):
    """The MIDAS objective as a criterion: L = L_align + L_uni + weight * L_mis (eq. 11).

    Takes the features of the encoders, makes misaligned samples of them, and runs the fused head on the aligned and
    the misaligned ones. An ``nn.Module``: give ``criterion.parameters()`` to the optimizer (the unimodal heads are in
    it), move it with ``.to()``, save it with ``state_dict()``.

    Parameters
    ----------
    num_classes : int
        Number of classes, C.
    feature_dims : sequence of int, or dict of int by modality name, optional
        Feature widths D_m, for linear unimodal heads that the criterion owns.
    unimodal_heads : sequence of modules, or dict of modules by modality name, optional
        The user's own heads instead, each from a feature to (B, C) logits.
    weight : float
        lambda of eq. 11.
    eta : float
        Step size of the weak-modality weight (eq. 7).
    warmup_epochs : int
        Epochs in which the loss is the unimodal one alone; `set_epoch` counts them.
    variant : {"paper", "official"}
        "official" follows the authors' code; two modalities only.
    reduction : {"mean", "sum", "none"}
        Over the batch.
    similarity : {"cosine", "l2", None}
        Of the hard-sample weight (eq. 8); None leaves the weight out.
    alpha_update : {"sign", "difference"}
        Whether the sign of the gap moves alpha (eq. 6) or the gap itself.
    max_alpha : float, optional
        A cap for alpha.
    initial_alpha : float
        The weight of whichever modality is weak in the first step.
    label_smoothing : float
        eps: every cross-entropy takes (1 - eps) * label + eps / C; no confidence does.
    class_weights : sequence of C floats, or Tensor, shape (C,), optional
        Every cross-entropy at the label of a sample is multiplied by the weight of its class; with ``multi_label``
        the binary cross-entropy of each class.
    multi_label : bool
        Whether the labels are rows of 0 and 1, (B, C), any number of them 1, with the mean of C binary cross-entropies.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in the structure in which they were given.
    absent_share : float
        Share of the mixed samples that have no partner: some modalities of one sample, zeros for the others, under its
        own label.
    check : bool
        Whether each step looks at the values too, and names the sample and the modality where one is not finite, or no
        label. Every step then waits for the device; under ``torch.compile`` nothing is looked at.
    seed : int, optional
        Of the random stream; without one, ``torch.manual_seed`` decides.

    Attributes
    ----------
    alpha : Tensor, shape (M,), float64
        What the next step will use. Before the first step every entry is ``initial_alpha``; that step keeps it for the
        weak modality and sets the others to 1.
    step : Tensor, shape (), int64
        Updates of alpha so far.
    epoch : Tensor, shape (), int64
        As given to `set_epoch`.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Notes
    -----
    Soft weights, similarities and alpha are detached. In ``eval()`` nothing of the state moves, every call draws the
    same pairs, and the loss is the whole objective during the warm-up too: losses of all epochs can be compared. In
    training under ``no_grad`` nothing moves either. Under ``torch.compile`` the pairs are drawn from PyTorch's global
    generator.

    On several ranks make the criterion a part of the module that is wrapped, so that the gradients of the unimodal
    heads are averaged. All ranks share one alpha.

    A head that is linear on the concatenated features (``nn.Linear``, a ``nn.Sequential`` of nothing else, or a module
    with ``additive = True`` and ``weight`` and ``bias`` as in ``nn.Linear``) costs no further matrix product for the
    misaligned samples. Any other module sees the aligned and the misaligned samples stacked, once; one that holds batch
    normalisation, and any plain function, sees them one after the other.

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

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dims: Sequence[int] | Mapping[str, int] | None = None,
        unimodal_heads: Sequence[nn.Module] | Mapping[str, nn.Module] | None = None,
        weight: float = 1.0,
        eta: float = 0.05,
        warmup_epochs: int = 0,
        variant: str = "paper",
        reduction: str = "mean",
        similarity: str | None = "cosine",
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
        options = MidasOptions(
            weight=weight,
            eta=eta,
            warmup_epochs=warmup_epochs,
            variant=variant,
            reduction=reduction,
            similarity=similarity,
            alpha_update=alpha_update,
            max_alpha=max_alpha,
            initial_alpha=initial_alpha,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            multi_label=multi_label,
            head_input=head_input,
            absent_share=absent_share,
            seed=seed,
        )
        super().__init__(options.seed)
        self.options = options
        self.num_classes = check_number("num_classes", num_classes, minimum=2, whole=True)
        self.check = check_flag("check", check)
        self.modalities, self.unimodal_heads = make_heads(self.num_classes, feature_dims, unimodal_heads)
        options.check_fits(self.modalities.count, self.num_classes)
        self.register_state(self.modalities.count)
        self._head_check = HeadCheck(made=unimodal_heads is None)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, from 0; the loss is the unimodal one while ``epoch < warmup_epochs``.

        Raises
        ------
        TypeError, ValueError
            If ``epoch`` is not a whole number >= 0.
        """
        super().set_epoch(epoch)
        self._head_check.end_epoch(self.unimodal_heads)

    def extra_repr(self) -> str:
        """Return the options that differ between uses."""
        return (
            f"num_classes={self.num_classes}, weight={self.options.weight}, eta={self.options.eta}, "
            f"warmup_epochs={self.options.warmup_epochs}, variant={self.options.variant!r}"
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
        """Return the loss: a scalar, or (B,) with ``reduction="none"``. The arguments are those of `terms`."""
        return self.terms(
            features,
            labels,
            head=head,
            permutation=permutation,
            generator=generator,
            sample_weight=sample_weight,
            present=present,
        ).total

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
    ) -> MidasTerms:
        """Return every term of the loss, and move the state in training mode.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M tensors, shapes (B, D_m)
            From the encoders.
        labels : Tensor, shape (B,), integer; or (B, C), one row for each sample
            Rows are one-hot, of an integer dtype; or with ``multi_label`` of 0 and 1. Soft labels are refused by their
            floating dtype; that rows hold a single 1 is checked on the CPU, elsewhere with ``check=True``.
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
        MidasTerms
            Reduced over the batch as ``reduction`` says: total, aligned and misaligned are scalars, unimodal has shape
            (M,). alpha (M,) is what this step used, confidence and fused_confidence (M,) the means of c~ and q.

        Raises
        ------
        TypeError, ValueError
            If structure, names, shapes or dtypes do not fit.
        """
        self._warn_without_epoch(stacklevel=6)
        check_callable(head)
        if in_distributed_run():
            check_whole("unimodal_heads", self.unimodal_heads)
            check_whole("head", head)
        given = self._read(features, labels, sample_weight, present, permutation)
        pairs = self.draw_pairs(
            given.classes,
            given.num_classes,
            self.modalities.count,
            variant=self.options.variant,
            permutation=permutation,
            generator=generator,
            absent_share=self.options.absent_share,
        )
        self._check_heads(head, given)
        # True, False, or a tensor where the step is recorded.
        warming_up = self._warming_up()
        terms, state = self._compute(head, given, pairs, warming_up)
        if self._looks:
            check_terms(terms, self.modalities)
        terms = reduce_terms(terms, self.options.reduction, backend=BACKEND)
        if self._moves and warming_up is not True:
            with torch.no_grad():
                self.alpha.copy_(state.alpha)
                self.step.copy_(state.step)
        if self._moves and not is_recorded(given.classes.device):
            common = warming_up is not True and waits_for_others()
            self._head_check.see(self.unimodal_heads, head, common=common)
        elif not self.training and not is_recorded(given.classes.device):
            self._head_check.end_epoch(self.unimodal_heads)
        if self._terms_hooks:
            shown = self.modalities.pack(given.features, features)
            self._tell(Step(self, shown, given.classes, head, terms, given.present))
        return terms

    def ensemble_logits(
        self, features: Any, *, head: Callable[..., Tensor], weight: float = 0.5, present: Any = None
    ) -> Tensor:
        """Return the logits of a soft vote of the fused head and the unimodal heads, for prediction.

        Their softmax is (1 - weight) * softmax(z) + weight * mean_m softmax(z^m); with ``multi_label`` their sigmoid is
        the same mean of sigmoids. Nothing is drawn and no state moves.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M tensors, shapes (B, D_m)
            From the encoders.
        head : callable
            The fused head, from the features to (B, C) logits.
        weight : float
            Share of the unimodal heads, in [0, 1]. Choose it on validation data.
        present : Tensor, shape (B, M), bool; or like ``features``, of tensors, shape (B,), bool; optional
            Whether a sample has a modality: only the unimodal heads of those that it has take part.

        Returns
        -------
        Tensor, shape (B, C), float32 or float64

        Raises
        ------
        TypeError, ValueError
            If structure, names, shapes, dtypes or the weight do not fit.

        Examples
        --------
        >>> import torch
        >>> criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 5})
        >>> features = {"audio": torch.randn(8, 4), "video": torch.randn(8, 5)}
        >>> with torch.no_grad():
        ...     criterion.ensemble_logits(features, head=torch.nn.Linear(9, 3)).shape
        torch.Size([8, 3])
        """
        check_callable(head)
        given = self.modalities.unpack(features, "features")
        first, whose = given[0], f"features of {self.modalities.title(0)}"
        if isinstance(first, Tensor):
            check_shape(whose, first, (None, *first.shape[1:]), "(B, D)")
        check_features(given, first, whose, self.modalities, self._raw)
        if present is not None:
            present = presence(present, first, self.modalities, whose)
            given = zero_missing(given, present, backend=BACKEND)
        check_widths(self.unimodal_heads, given, self.modalities)
        own = unimodal_logits(self.unimodal_heads, given, self.modalities, self.num_classes)
        fused = self._run_head(head, features, given)
        options = {"present": present, "multi_label": self.options.multi_label, "backend": BACKEND}
        return ensemble_logits(fused, own, weight=weight, **options)

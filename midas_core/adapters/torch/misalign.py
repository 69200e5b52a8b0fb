"""The augmentation alone, for a training loop with a loss of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas_core.adapters.torch.inputs import check_beside, check_modality, presence, read_labels
from midas_core.adapters.torch.state import StatefulModule
from midas_core.augmentation import misalign, share_dtype
from midas_core.backends.torch import BACKEND
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities, feature_of
from midas_core.options import VARIANTS, Similarity, check_absent_share, check_similarity
from midas_core.pairing import label_ids
from midas_core.validation import check_choice, check_flag, check_number, check_shape
from midas_core.weighting import soft_labels


class Misaligned(NamedTuple):
    """Result of `Misalign`. N = 2 B in training, all first versions before all second ones; N = B in ``eval()``.

    Attributes
    ----------
    features : as given, of tensors, shapes (N, ...)
    soft_labels : Tensor, shape (N, C)
        Rows sum to one; with ``multi_label`` each entry is in [0, 1].
    weights : Tensor, shape (N,)
        For the loss of each sample: the hard-sample weight, 1 without a partner, 0 where no partner of another class
        was found or a source lacks the modality that it supplies.
    """

    features: Any
    soft_labels: Tensor
    weights: Tensor


class Misalign(StatefulModule):
    """Swap modalities between samples of different classes (section 3.2) and label the result softly (eq. 3).

    Works on features or on raw inputs, for two modalities or more, in whatever list, tuple or dict they come. In
    ``eval()`` it is the identity, with one-hot labels and weights of 1.

    Parameters
    ----------
    num_classes : int
        C.
    variant : {"paper", "official"}
        Partners of another class, or a plain permutation.
    similarity : {"cosine", "l2", None}, or callable
        Of the hard-sample weight (eq. 8), for features. For raw inputs take None: the weights are then 1 or 0.
    multi_label, absent_share, seed : bool, float, and int, optional
        As for `MidasLoss`.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit.

    Examples
    --------
    >>> import torch
    >>> layer = Misalign(num_classes=2, seed=0)
    >>> features, labels, weights = layer([torch.randn(4, 3), torch.randn(4, 5)], torch.tensor([0, 1, 0, 1]))
    >>> [x.shape[0] for x in features], labels.shape, weights.shape
    ([8, 8], torch.Size([8, 2]), torch.Size([8]))
    """

    def __init__(
        self,
        *,
        num_classes: int,
        variant: str = "paper",
        similarity: Similarity = "cosine",
        multi_label: bool = False,
        absent_share: float = 0.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        check_number("num_classes", num_classes, minimum=2, whole=True)
        check_choice("variant", variant, VARIANTS)
        check_similarity(similarity)
        check_flag("multi_label", multi_label)
        self.num_classes = num_classes
        self.variant = variant
        self.similarity = similarity
        self.multi_label = multi_label
        self.absent_share = check_absent_share(absent_share, variant)

    def forward(
        self,
        features: Any,
        labels: Tensor,
        *,
        unimodal_logits: Any = None,
        present: Any = None,
        permutation: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Misaligned:
        """Mix a batch; raise ``TypeError`` or ``ValueError`` if structure, names, shapes or dtypes do not fit.

        Parameters
        ----------
        features : list, tuple, or dict by modality name, of M tensors, shapes (B, ...)
            Features or raw inputs.
        labels : Tensor, shape (B,), integer; or (B, C), one-hot of an integer dtype, with ``multi_label`` of 0 and 1
        unimodal_logits : like ``features``, of tensors, shape (B, C), optional
            How sure each unimodal classifier is decides the soft labels (eq. 2). Without them each modality has the
            share 1 / M, sure or not: that is mixing alone, not yet MIDAS.
        present : Tensor, shape (B, M), bool; or like ``features``, of tensors, shape (B,), bool; optional
            Whether a sample has a modality. What is missing comes out as zeros.
        permutation : Tensor, shape (B,), integer, optional
            Who is paired with whom, instead of a draw.
        generator : torch.Generator, optional
            Draws the pairs, instead of the layer's own stream.
        """
        modalities = Modalities(features, "features")
        items = modalities.unpack(features, "features")
        labels = read_labels(labels, self.num_classes, self.multi_label, look=False)
        for m, x in enumerate(items):
            name = f"features of {modalities.title(m)}"
            check_modality(name, x, labels, "labels")
            feature = feature_of(x, BACKEND)
            if self.training and self.similarity is not None and not feature.is_floating_point():
                raise TypeError(
                    f"{name}: expected a floating dtype for similarity={self.similarity!r}, got {feature.dtype}; "
                    "for raw inputs pass similarity=None"
                )
        if permutation is not None:
            check_beside(permutation, "permutation", labels)
            check_shape("permutation", permutation, labels.shape[:1], "(B,)")
        if present is not None:
            present = presence(present, labels, modalities)
            if not self.training:
                features = modalities.pack(zero_missing(items, present, backend=BACKEND), features)
        logits = None if unimodal_logits is None else modalities.unpack(unimodal_logits, "unimodal_logits")
        for m, z in enumerate(logits or []):
            name = f"unimodal_logits of {modalities.title(m)}"
            check_beside(z, name, labels)
            check_shape(name, z, (labels.shape[0], self.num_classes), "(B, C)")
        if not self.training:
            whole = torch.ones(labels.shape[:1], dtype=share_dtype(logits or items, BACKEND), device=labels.device)
            return Misaligned(
                features, soft_labels(whole[None], labels[None], self.num_classes, backend=BACKEND), whole
            )

        pairs = self._draw_pairs(
            label_ids(labels, backend=BACKEND) if self.multi_label else labels,
            len(labels) if self.multi_label else self.num_classes,
            modalities.count,
            moves=True,
            variant=self.variant,
            permutation=permutation,
            generator=generator,
            absent_share=self.absent_share,
        )
        mixed = misalign(
            items,
            labels,
            pairs,
            self.num_classes,
            unimodal_logits=logits,
            present=present,
            similarity=self.similarity,
            variant=self.variant,
            backend=BACKEND,
        )
        return Misaligned(modalities.pack(mixed.features, features), mixed.soft_labels, mixed.weights)

"""MIDAS as one writes it down from the paper, for two modalities: the baseline of the benchmarks.

Each view runs the head again, labels become one-hot and soft-label matrices, and the losses follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class TextbookMidas(nn.Module):
    """The objective of the paper (eq. 11) for two modalities, with linear unimodal heads.

    Parameters
    ----------
    num_classes : int
        C.
    feature_dims : sequence of two int
        Feature widths D_m.
    weight : float
        lambda of eq. 11.
    eta : float
        Step size of the weak-modality weight.
    similarity : {"cosine", None}
        Of the hard-sample weight.

    Attributes
    ----------
    alpha : Tensor, shape (2,)
        Starts at one.
    """

    alpha: Tensor

    def __init__(
        self,
        num_classes: int,
        feature_dims: Sequence[int],
        *,
        weight: float = 1.0,
        eta: float = 0.05,
        similarity: str | None = "cosine",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = weight
        self.eta = eta
        self.similarity = similarity
        self.unimodal_heads = nn.ModuleList(nn.Linear(width, num_classes) for width in feature_dims)
        self.register_buffer("alpha", torch.ones(2))

    def forward(
        self,
        features: Sequence[Tensor],
        labels: Tensor,
        head: Callable[[Tensor], Tensor],
        permutation: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch and move alpha.

        Parameters
        ----------
        features : two tensors, shapes (B, D_m)
        labels : Tensor, shape (B,), integer
        head : callable
            The fused head, from the concatenated features to (B, C) logits.
        permutation : Tensor, shape (B,), optional
            Who is paired with whom; a plain random permutation otherwise. Pairs of one class weigh nothing.

        Returns
        -------
        Tensor, shape ()
        """
        first, second = features
        if permutation is None:
            permutation = torch.randperm(len(labels), device=labels.device)
        mask = (labels != labels[permutation]).to(first.dtype)
        one_hot = functional.one_hot(labels, self.num_classes).to(first.dtype)

        # Eq. 9: aligned and unimodal losses.
        loss = functional.cross_entropy(head(torch.cat([first, second], dim=1)), labels)
        unimodal_logits = [head(feature) for head, feature in zip(self.unimodal_heads, features, strict=True)]
        for logits in unimodal_logits:
            loss = loss + functional.cross_entropy(logits, labels)

        # Eq. 2: the confidence of each unimodal classifier in the true class.
        with torch.no_grad():
            confidences = [(logits.softmax(dim=1) * one_hot).sum(dim=1) for logits in unimodal_logits]

        views = (
            (first, second[permutation], one_hot, one_hot[permutation], confidences[0], confidences[1][permutation]),
            (first[permutation], second, one_hot[permutation], one_hot, confidences[0][permutation], confidences[1]),
        )
        replaced = ((second, second[permutation]), (first, first[permutation]))
        all_shares, all_fused_shares = [], []
        for v, (left, right, left_class, right_class, left_confidence, right_confidence) in enumerate(views):
            logits = head(torch.cat([left, right], dim=1))
            with torch.no_grad():
                total = left_confidence + right_confidence
                shares = torch.stack([left_confidence / total, right_confidence / total])
                # Eq. 3, with the weak-modality weight of eq. 10.
                weighted = shares * self.alpha[:, None]
                soft_labels = weighted[0][:, None] * left_class + weighted[1][:, None] * right_class
                # Eq. 5: what the fused classifier believes.
                probabilities = logits.softmax(dim=1)
                believed = [(probabilities * own).sum(dim=1) for own in (left_class, right_class)]
                fused_shares = torch.stack([b / (believed[0] + believed[1]) for b in believed])
                # Eq. 8: similar samples are hard ones.
                hard = mask
                if self.similarity == "cosine":
                    hard = mask * (1 + (functional.cosine_similarity(*replaced[v]) + 1) / 2)
            all_shares.append(shares)
            all_fused_shares.append(fused_shares)
            losses = functional.cross_entropy(logits, soft_labels, reduction="none")
            loss = loss + self.weight * (hard * losses).mean() / 2

        self._update_alpha(torch.stack(all_shares), torch.stack(all_fused_shares), mask)
        return loss

    @torch.no_grad()
    def _update_alpha(self, shares: Tensor, fused_shares: Tensor, mask: Tensor) -> None:
        """Eq. 6 and 7, from arrays of shape (V, 2, B)."""
        count = 2 * mask.sum().clamp(min=1)
        mean = (shares * mask).sum(dim=(0, 2)) / count
        fused_mean = (fused_shares * mask).sum(dim=(0, 2)) / count
        weak = mean.argmin()
        moved = self.alpha[weak] + self.eta * torch.sign(mean[weak] - fused_mean[weak])
        alpha = torch.ones_like(self.alpha)
        alpha[weak] = torch.clamp(moved, min=1)
        self.alpha.copy_(alpha)

"""Small encoders and a linear fused head: the model that every method of the demo trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """One encoder for each modality and a linear head on the concatenated features.

    Parameters
    ----------
    widths : sequence of int
        Of the views, one for each modality.
    num_classes : int
        Number of classes, C.
    hidden, features : int
        Widths of the hidden layer and of the feature of each encoder.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, *, hidden: int = 128, features: int = 64) -> None:
        super().__init__()
        self.feature_dims = [features] * len(widths)
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, features), nn.ReLU())
            for width in widths
        )
        self.head = nn.Linear(sum(self.feature_dims), num_classes)
        # Those of the criterion, after training: no parameters of this module.
        self.unimodal_heads: tuple[nn.Module, ...] | None = None

    def encode(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the feature of each modality, shapes (B, D_m)."""
        return [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]


class LateFusion:
    """The average of the probabilities of networks that were trained on one modality each.

    Parameters
    ----------
    networks : sequence of M `Network`
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = list(networks)
        self.feature_dims = [network.feature_dims[0] for network in networks]

    def encode(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the feature of each modality, shapes (B, D_m)."""
        return [network.encode([view])[0] for network, view in zip(self._networks, views, strict=True)]

    def head(self, features: Tensor) -> Tensor:
        """Return the logarithm of the averaged probabilities, shape (B, C)."""
        parts = features.split(self.feature_dims, dim=1)
        probabilities = [network.head(part).softmax(dim=1) for network, part in zip(self._networks, parts, strict=True)]
        return torch.stack(probabilities).mean(dim=0).log()


Model = Network | LateFusion
"""What can be evaluated: it encodes modalities and has a head on the concatenated features."""

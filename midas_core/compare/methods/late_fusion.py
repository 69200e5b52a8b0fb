"""Late fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.stack import Batch, Model


class LateFusion(Method):
    """Each modality trained by itself, sum_m CE(z^m, y), and the mean of their probabilities at prediction.

    No encoder hears of another. The fused head is not trained.
    """

    title = "late fusion"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        unimodal = model.unimodal(model.features(batch.inputs))
        return torch.stack([cross_entropy(logits, batch.labels) for logits in unimodal]).sum(dim=0)

    def logits(self, model: Model, features: Sequence[Tensor]) -> Tensor:
        logs = torch.stack([logits.log_softmax(dim=-1) for logits in model.unimodal(features)])
        return logs.logsumexp(dim=0) - torch.log(torch.tensor(float(len(features))))

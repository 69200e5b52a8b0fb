"""Modality dropout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from midas_core.compare.methods.base import Method, cross_entropy
from midas_core.compare.stack import Batch, Model, Random


def drop_one_modality(features: Sequence[Tensor], probability: Tensor, random: Random) -> list[Tensor]:
    """Return the features with one modality of some samples at zero."""
    # Below 1: the modality floor(M * u / p) is lost. Above: none is.
    numbers = random.uniform(features[0].shape[1]) / probability[:, None]
    lost = (numbers * len(features)).floor()
    return [x * (lost != m)[..., None] for m, x in enumerate(features)]


class ModalityDropout(Method):
    """The cross-entropy of the fused head, some samples without one of their modalities.

    After ModDrop (Neverova et al., TPAMI 2016). Chosen here: a sample loses one modality at most, any of them with the
    same chance, and its feature becomes zero.
    """

    title = "modality dropout"
    strengths = (0.25, 0.5, 0.75)
    strength_name = "probability"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        features = model.features(batch.inputs)
        kept = drop_one_modality(features, self.strength, self.random)
        return cross_entropy(model.fuse(kept), batch.labels)

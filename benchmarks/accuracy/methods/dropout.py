"""Modality dropout."""

from __future__ import annotations

from torch import Tensor

from benchmarks.accuracy.methods.base import Batch, Method, Model, cross_entropy


class ModalityDropout(Method):
    """The cross-entropy of the fused head, some samples without one of their modalities.

    After ModDrop (Neverova et al., TPAMI 2016). Chosen here: a sample loses one modality at most, any of them with the
    same chance, and its feature becomes zero.
    """

    title = "modality dropout"
    strengths = (0.25, 0.5, 0.75)
    strength_name = "probability"

    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return CE(z, y) of what is left."""
        features = model.features(batch.inputs)
        # Below 1: the modality floor(M * u / p) is lost. Above: none is.
        numbers = self.random.uniform(batch.labels.shape[1]) / self.strength[:, None]
        lost = (numbers * len(features)).floor()
        kept = [x * (lost != m)[..., None] for m, x in enumerate(features)]
        return cross_entropy(model.fuse(kept), batch.labels)

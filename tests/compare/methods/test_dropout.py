import pytest
import torch

from midas_core.compare.methods.dropout import drop_one_modality
from midas_core.compare.stack import Random


def test_a_sample_loses_one_modality_at_most_and_as_often_as_it_should():
    features = [torch.ones(2, 5000, 3), torch.ones(2, 5000, 2), torch.ones(2, 5000, 1)]
    kept = drop_one_modality(features, torch.tensor([0.3, 0.9]), Random([0, 0]))
    lost = torch.stack([x.abs().sum(dim=-1) == 0 for x in kept])
    assert lost.sum(dim=0).max() == 1
    for k, probability in enumerate((0.3, 0.9)):
        shares = lost[:, k].float().mean(dim=-1)
        assert shares.tolist() == pytest.approx([probability / 3] * 3, abs=0.02)

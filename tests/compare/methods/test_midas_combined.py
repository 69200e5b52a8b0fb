import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.dropout import drop_one_modality
from midas_core.compare.methods.midas import Midas
from midas_core.compare.methods.midas_combined import MidasDropout, MidasMixUp
from midas_core.compare.methods.mixup import mixup_loss
from tests.compare.methods.stacks import batch, make


@pytest.mark.parametrize("method", [MidasMixUp, MidasDropout])
def test_the_rest_is_that_of_midas(method):
    model, combined = make(method, [0, 1], [1.0, 5.0])
    other, midas = make(Midas, [0, 1], [1.0, 5.0])
    given = batch([0, 1])
    found = combined.loss(model, given)
    total = midas.loss(other, given)
    # What MIDAS drew came first: the generators stand where the other term begins.
    features = other.features(given.inputs)
    if method is MidasMixUp:
        aligned = mixup_loss(other, features, given.labels, torch.ones(2), midas.random)
    else:
        aligned = cross_entropy(
            other.fuse(drop_one_modality(features, torch.full((2,), 0.5), midas.random)), given.labels
        )
    plain = cross_entropy(other.fuse(features), given.labels)
    torch.testing.assert_close(found, total - plain + aligned)
    assert not torch.allclose(found, total)
    torch.testing.assert_close(combined.state.alpha, midas.state.alpha)

import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.powmix import Mixture, PowMix, draw_mixture, mixing_factors
from midas_core.compare.stack import Random
from tests.compare.methods.stacks import batch, make


def test_factors_by_hand():
    # Means: 1 and 0 (cut off) of the first sample, 1 and 3 of the second: activities (1, 0) and (1/4, 3/4).
    features = [torch.tensor([[[1.0, 1.0], [0.0, 2.0]]]), torch.tensor([[[-4.0, 1.0], [3.0, 3.0]]])]
    drawn = torch.tensor([[[[1.0, 2.0]], [[4.0, 2.0]]]])
    found = mixing_factors(features, Mixture(drawn, torch.tensor([[[True, True]]])))
    # 1 * 1 to 2 * 1/4, and 4 * 0 to 2 * 3/4.
    assert found.flatten().tolist() == pytest.approx([2 / 3, 1 / 3, 0.0, 1.0], abs=1e-4)
    alone = mixing_factors(features, Mixture(drawn, torch.tensor([[[True, False]]])))
    assert alone.flatten().tolist() == pytest.approx([1.0, 0.0, 1.0, 0.0])


def test_every_mixture_takes_two_samples_or_more_and_some_leave_some_out():
    mixture = draw_mixture(Random([0, 1, 0]), 2, 6)
    assert mixture.factors.shape == (3, 2, 6, 6)
    taken = mixture.kept.sum(dim=-1)
    assert (taken >= 2).all()
    assert (taken < 6).any()
    assert torch.equal(mixture.factors[0], mixture.factors[2])
    assert not torch.equal(mixture.factors[0, 0], mixture.factors[0, 1]), "each modality has factors of its own"


def test_the_loss_by_hand():
    model, method = make(PowMix, [0], [0.5])
    other = make(PowMix, [0], [0.5])[1]
    given = batch([0])
    features = model.features(given.inputs)
    factors = mixing_factors(features, draw_mixture(other.random, 2, 12))[0]
    logits = model.fuse([(factors[m] @ x[0])[None] for m, x in enumerate(features)])[0]
    total = 0.0
    for n in range(12):
        label = torch.zeros(4)
        for m in range(2):
            for i in range(12):
                label[given.labels[0, i]] += factors[m, n, i] / 2
        assert label.sum().item() == pytest.approx(1)
        total = total - (label * logits[n].log_softmax(dim=0)).sum() / 12
    expected = cross_entropy(model.fuse(features), given.labels) + 0.5 * total
    torch.testing.assert_close(method.loss(model, given), expected)

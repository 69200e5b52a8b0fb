import pytest
import torch

from midas_core.compare.methods.amco import Amco, dependence, mask_feature, mask_share
from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.dominance import parted_logits
from tests.compare.methods.stacks import batch, make


def test_dependence_by_hand():
    # exp: (1, 3) and (2, 2) of 8; then (6, 1) and (1, 2) of 10.
    first = torch.tensor([[[1.0, 3.0], [6.0, 1.0]]]).log()
    second = torch.tensor([[[2.0, 2.0], [1.0, 2.0]]]).log()
    torch.testing.assert_close(dependence([first, second]), torch.tensor([[0.6], [0.4]]))


def test_the_mask_grows_to_the_whole():
    assert [mask_share(epoch) for epoch in (0, 1, 2, 3, 50)] == pytest.approx([0, 0.5, 0.75**0.5, 1, 1])


def test_masking_by_hand():
    feature = torch.ones(2, 2, 4)
    ranks = torch.tensor([[3, 0, 2, 1], [0, 1, 2, 3]])
    found = mask_feature(feature, torch.tensor([True, False]), ranks, 0.5)
    assert found[0].tolist() == [[2.0, 0.0, 2.0, 0.0]] * 2
    assert torch.equal(found[1], feature[1])
    assert mask_feature(feature, torch.tensor([True, True]), ranks, 1.0).abs().sum() == 0
    most = mask_feature(torch.ones(1, 1, 100), torch.tensor([True]), torch.arange(100)[None], 0.99)
    assert most.max() == 10


def test_the_loss_by_hand_once_the_mask_is_whole():
    model, method = make(Amco, [0], [0.5])
    given = batch([0], epoch=3)
    features = model.features(given.inputs)
    parts = parted_logits(model, features)
    lead = int(dependence(parts).argmax())
    features[lead] = torch.zeros_like(features[lead])
    expected = cross_entropy(model.fuse(features), given.labels) + sum(cross_entropy(x, given.labels) for x in parts)
    torch.testing.assert_close(method.loss(model, given), expected)


def test_below_sigma_nothing_is_masked():
    model, method = make(Amco, [0], [0.999])
    given = batch([0], epoch=3)
    features = model.features(given.inputs)
    parts = parted_logits(model, features)
    expected = cross_entropy(model.fuse(features), given.labels) + sum(cross_entropy(x, given.labels) for x in parts)
    torch.testing.assert_close(method.loss(model, given), expected)

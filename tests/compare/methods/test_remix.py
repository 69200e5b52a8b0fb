import math

import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.remix import DataRemixing, certainty
from tests.compare.methods.stacks import Whole, batch, make


def test_certainty_is_the_divergence_from_the_uniform_distribution_less_a_constant():
    p = torch.tensor([0.7, 0.2, 0.1])
    divergence = (p * (p * 3).log()).sum()
    torch.testing.assert_close(certainty(p.log()), divergence - math.log(3))


def test_a_sample_is_trained_with_the_modality_that_is_least_sure_of_it():
    model, method = make(DataRemixing, [0], [2.0])
    given = batch([0])
    order = method.order(model, Whole(given), given.epoch, torch.randperm(12)[None])
    features = model.features(given.inputs)
    heads = [z[0].softmax(dim=-1) for z in model.unimodal(features)]
    entropy = torch.stack([-(p * p.log()).sum(dim=-1) for p in heads])
    chosen = entropy.argmax(dim=0)
    assert 0 < chosen.sum() < 12
    assert chosen[order[0]].tolist() == sorted(chosen.tolist()), "batches hold one modality each"
    assert sorted(order[0].tolist()) == list(range(12))
    kept = [x * (chosen == m)[None, :, None] for m, x in enumerate(features)]
    own = torch.stack([model.unimodal(features)[m][:, i] for i, m in enumerate(chosen)], dim=1)
    expected = cross_entropy(model.fuse(kept), given.labels) + 2 * cross_entropy(own, given.labels)
    torch.testing.assert_close(method.loss(model, given), expected)


def test_the_warm_up_trains_all_of_it():
    model, method = make(DataRemixing, [0], [2.0])
    given = batch([0], epoch=0)
    order = torch.randperm(12)[None]
    assert torch.equal(method.order(model, Whole(given), 0, order), order)
    features = model.features(given.inputs)
    heads = sum(cross_entropy(z, given.labels) for z in model.unimodal(features))
    torch.testing.assert_close(method.loss(model, given), cross_entropy(model.fuse(features), given.labels) + heads / 2)

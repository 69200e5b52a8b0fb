import numpy as np
import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.mixup import InputMixUp, MixUp, beta_quantile, interpolate, mixed_cross_entropy
from tests.compare.methods.stacks import batch, make


def test_interpolate_by_hand():
    x = torch.tensor([[[1.0, 0.0], [3.0, 2.0]], [[4.0, 4.0], [0.0, 8.0]]])
    found = interpolate(x, torch.tensor([[1, 0], [0, 1]]), torch.tensor([0.75, 0.5]))
    assert found.tolist() == [[[1.5, 0.5], [2.5, 1.5]], [[4.0, 4.0], [0.0, 8.0]]]


def test_the_loss_is_that_of_the_mixed_label():
    logits = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 1.0]]])
    found = mixed_cross_entropy(logits, torch.tensor([[2, 0]]), torch.tensor([[1, 0]]), torch.tensor([0.8]))
    label = torch.tensor([[[0.2, 0.0, 0.8], [0.8, 0.0, 0.2]]])
    torch.testing.assert_close(found, -(label * logits.log_softmax(dim=-1)).sum(dim=-1).mean(dim=1))


def test_beta_of_one_is_uniform_and_a_small_one_lies_at_the_ends():
    numbers = torch.linspace(0.01, 0.99, 99)
    torch.testing.assert_close(beta_quantile(torch.ones(99), numbers), numbers)
    ends = beta_quantile(torch.full((99,), 0.1), numbers)
    assert ((ends < 0.05) | (ends > 0.95)).float().mean() > 0.7
    # The variance of Beta(a, a) is 1 / (4 * (2 * a + 1)).
    spread = beta_quantile(torch.full((2000,), 2.0), torch.as_tensor((np.arange(2000) + 0.5) / 2000)).var()
    assert spread == pytest.approx(1 / 20, rel=0.01)


def test_all_modalities_have_one_partner_and_one_lambda():
    model, method = make(MixUp, [0], [1.0])
    given = batch([0])
    seen = []
    model.fuse = lambda features: seen.append(features) or torch.zeros(1, 12, 4)
    features = model.features(given.inputs)
    method.loss(model, given)
    shares = []
    for x, mixed in zip(features, seen[0], strict=True):
        # Of all pairs, the partner that explains the mixed feature best, and its lambda.
        apart = x[0][:, None] - x[0][None]
        moved = mixed[0][:, None] - x[0][None]
        share = (apart * moved).sum(dim=-1) / apart.square().sum(dim=-1).clamp_min(1e-9)
        error = (moved - share[..., None] * apart).square().sum(dim=-1) + 1e9 * torch.eye(12)
        error = torch.where((share >= -1e-4) & (share <= 1 + 1e-4), error, 1e9)
        shares.append((error.argmin(dim=1), share.gather(1, error.argmin(dim=1)[:, None])[:, 0]))
    changed = [(mixed[0] - x[0]).abs().sum(dim=-1) > 1e-5 for x, mixed in zip(features, seen[0], strict=True)]
    both = changed[0] & changed[1]
    assert both.sum() >= 8
    assert torch.equal(shares[0][0][both], shares[1][0][both])
    torch.testing.assert_close(shares[0][1][both], shares[1][1][both], rtol=1e-3, atol=1e-3)


def test_input_mixup_mixes_inputs():
    model, method = make(InputMixUp, [0], [1.0])
    given = batch([0])
    seen = []
    encode = model.features
    model.features = lambda inputs: seen.append(inputs) or encode(inputs)
    loss = method.loss(model, given)
    assert torch.isfinite(loss).all()
    assert not torch.equal(seen[0][0], given.inputs[0])
    # A convex combination with a permutation of the batch keeps the mean.
    torch.testing.assert_close(seen[0][0].mean(dim=1), given.inputs[0].mean(dim=1))


def test_a_permutation_that_moves_nothing_leaves_the_loss_alone():
    model, method = make(MixUp, [0], [1.0])
    given = batch([0])
    method.random.permutation = lambda size: torch.arange(size)[None]
    torch.testing.assert_close(
        method.loss(model, given), cross_entropy(model.fuse(model.features(given.inputs)), given.labels)
    )

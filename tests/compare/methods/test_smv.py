import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.smv import WARMUP_EPOCHS, Smv, shapley_values
from tests.compare.methods.stacks import batch, make


def logits(*rows):
    return torch.tensor([rows])


def test_two_modalities_by_hand():
    # Classes 0 and 1, all labels 0. Right: first alone and both; second alone only; nobody; everybody; both only with
    # the bias of class 0.
    first = logits([2.0, 0.0], [0.0, 3.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.2])
    second = logits([0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.0])
    found = shapley_values([first, second], torch.zeros(1, 1, 2), torch.zeros(1, 5, dtype=torch.int64))
    # (v(1) + v(12) - v(2)) / 2 with v(12) = 2.
    assert found[0, 0].tolist() == [1.5, -0.5, 0.0, 1.0, 0.5]
    assert found[1, 0].tolist() == [0.5, 0.5, 0.0, 1.0, 1.5]


def test_the_values_share_out_the_worth_of_all_and_know_no_order():
    generator = torch.Generator().manual_seed(0)
    parts = list(torch.randn(3, 2, 40, 4, generator=generator))
    bias, labels = torch.randn(2, 1, 4, generator=generator), torch.randint(4, (2, 40), generator=generator)
    found = shapley_values(parts, bias, labels)
    right = (sum(parts) + bias).argmax(dim=-1) == labels
    torch.testing.assert_close(found.sum(dim=0), 3 * right.float())
    torch.testing.assert_close(shapley_values(parts[::-1], bias, labels), found.flip(0))


def test_the_loss_is_the_mean_over_the_repeated_samples():
    model, method = make(Smv, [0], [2.0])
    given = batch([0])
    features = model.features(given.inputs)
    parts = model.contributions(features)
    values = shapley_values(parts, model.head.bias, given.labels)[:, 0]
    sums, count = cross_entropy(model.fuse(features), given.labels) * 12, 12
    for i in range(12):
        for m in range(2):
            again = round(2 * max(0.0, 1 - values[m, i].item()))
            alone = [x if j == m else torch.zeros_like(x) for j, x in enumerate(features)]
            one = model.fuse(alone)[:, i : i + 1]
            sums, count = sums + again * cross_entropy(one, given.labels[:, i : i + 1]), count + again
    assert count > 12
    torch.testing.assert_close(method.loss(model, given), sums / count)


@pytest.mark.parametrize("strength", [1.0, 4.0])
def test_the_first_epochs_are_joint_training(strength):
    model, method = make(Smv, [0], [strength])
    given = batch([0], epoch=WARMUP_EPOCHS - 1)
    plain = cross_entropy(model.fuse(model.features(given.inputs)), given.labels)
    torch.testing.assert_close(method.loss(model, given), plain)

import math

import pytest
import torch

from midas_core.compare.methods.contrastive import matching_loss, supervised_contrastive_loss


def test_matching_by_hand():
    # Similarities (1, 0) and (0, 1) over temperature 1 / log 3: each sample finds its own with 3 / (3 + 1).
    left = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]])
    right = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    assert matching_loss([left, right], 1 / math.log(3)).item() == pytest.approx(-math.log(0.75))
    swapped = matching_loss([left, right.flip(1)], 1 / math.log(3))
    assert swapped.item() == pytest.approx(-math.log(0.25))


def test_matching_of_three_is_the_mean_of_the_pairs():
    a, b, c = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    pairs = [matching_loss(pair, 0.5) for pair in ([a, b], [a, c], [b, c])]
    torch.testing.assert_close(matching_loss([a, b, c], 0.5), torch.stack(pairs).mean(dim=0))


def supervised_by_loops(features, labels, temperature):
    units = [x / x.norm() for modality in features for x in modality]
    classes = [y for _ in features for y in labels.tolist()]
    losses = []
    for i, x in enumerate(units):
        others = [j for j in range(len(units)) if j != i]
        whole = sum(math.exp(float(x @ units[j]) / temperature) for j in others)
        positive = [j for j in others if classes[j] == classes[i]]
        shares = [math.log(math.exp(float(x @ units[j]) / temperature) / whole) for j in positive]
        losses.append(-sum(shares) / len(shares))
    return sum(losses) / len(losses)


def test_the_supervised_loss_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 3, 6, 4, generator=generator)
    labels = torch.randint(3, (3, 6), generator=generator)
    found = supervised_contrastive_loss(list(features), labels, 0.5)
    assert found.tolist() == pytest.approx([supervised_by_loops(features[:, k], labels[k], 0.5) for k in range(3)])


def test_features_of_zeros_have_gradients():
    features = [torch.zeros(1, 3, 2, requires_grad=True) for _ in range(2)]
    loss = supervised_contrastive_loss(features, torch.tensor([[0, 1, 1]]), 0.5) + matching_loss(features, 0.1)
    loss.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in features)


def test_unlike_widths_are_refused():
    with pytest.raises(ValueError, match=r"features: expected one width for all modalities, got \[2, 3\]"):
        matching_loss([torch.ones(1, 4, 2), torch.ones(1, 4, 3)], 0.1)

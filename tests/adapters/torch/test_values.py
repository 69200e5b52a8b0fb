"""``check=True``: a value that MIDAS cannot take is told by sample and modality, and the state does not move."""

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss

DIMS = {"audio": 3, "video": 5}
NAN, INF = float("nan"), float("inf")


def batch():
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(6, width, generator=generator) for name, width in DIMS.items()}
    return features, torch.tensor([0, 1, 2, 0, 1, 2])


def spoil(x, place, value):
    x[place] = value


CASES = [
    (
        lambda f, y: spoil(f["audio"], (2, 1), NAN),
        "features of modality 'audio': .*finite values, got nan in sample 2$",
    ),
    (lambda f, y: spoil(f["video"], 4, -INF), "features of modality 'video': .*finite values, got -inf in sample 4$"),
    (lambda f, y: spoil(f["video"], slice(1, 4), INF), "got inf in sample 1, and 2 more of 6"),
    (lambda f, y: spoil(y, 3, 7), r"labels: expected classes in 0 \.\.\. 2, got 7 in sample 3"),
    (lambda f, y: spoil(y, 0, -1), r"labels: expected classes in 0 \.\.\. 2, got -1 in sample 0"),
]


@pytest.mark.parametrize(("spoiling", "message"), CASES, ids=[c[1] for c in CASES])
@pytest.mark.parametrize("warmup_epochs", [0, 1])
def test_values_of_a_batch(spoiling, message, warmup_epochs):
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True, warmup_epochs=warmup_epochs, seed=0)
    criterion.set_epoch(0)
    features, labels = batch()
    spoiling(features, labels)
    with pytest.raises(ValueError, match=message):
        criterion(features, labels, head=nn.Linear(8, 3))
    assert criterion.step == 0


def test_other_arguments():
    features, labels = batch()
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True)
    with pytest.raises(ValueError, match=r"permutation: expected each of 0 \.\.\. 5 once, got \[0, 0, 1, 2, 3, 4\]"):
        criterion(features, labels, head=nn.Linear(8, 3), permutation=torch.tensor([0, 0, 1, 2, 3, 4]))
    weights = torch.tensor([1.0, 1, -2, 1, 1, 1])
    with pytest.raises(ValueError, match=r"sample_weight: expected finite weights >= 0, got -2\.0 in sample 2"):
        criterion(features, labels, head=nn.Linear(8, 3), sample_weight=weights)
    several = MidasLoss(num_classes=3, feature_dims=DIMS, check=True, multi_label=True)
    rows = torch.eye(3)[labels]
    rows[1, 1] = 0.5
    with pytest.raises(
        ValueError, match=r"labels: expected 0 or 1 for each class, got \[0\.0, 0\.5, 0\.0\] in sample 1"
    ):
        several(features, rows, head=nn.Linear(8, 3))


def test_features_whose_norm_overflows():
    features, labels = batch()
    features["video"][4] = 1e20
    for similarity in ("cosine", "l2"):
        criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True, similarity=similarity)
        with pytest.raises(
            ValueError, match=r"modality 'video': expected a norm that torch\.float32 can hold, got inf in sample 4$"
        ):
            criterion(features, labels, head=nn.Linear(8, 3))
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True, similarity=None)
    assert criterion(features, labels, head=nn.Linear(8, 3)).isfinite()


def test_what_is_missing_may_hold_anything():
    features, labels = batch()
    features["audio"][2] = NAN
    present = torch.ones(6, 2, dtype=torch.bool)
    present[2, 0] = False
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True)
    assert criterion(features, labels, head=nn.Linear(8, 3), present=present).isfinite()


def test_heads_that_give_what_is_not_finite():
    features, labels = batch()
    criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=True, seed=0)
    head = nn.Linear(8, 3)
    nn.init.constant_(criterion.unimodal_heads[1].bias, NAN)
    with pytest.raises(
        ValueError, match=r"loss of the unimodal head of modality 'video': .*got nan in sample 0, and 5"
    ):
        criterion(features, labels, head=head)
    nn.init.zeros_(criterion.unimodal_heads[1].bias)
    nn.init.constant_(head.bias, NAN)
    with pytest.raises(ValueError, match="loss of the head: expected finite values, got nan in sample 0"):
        criterion(features, labels, head=head)
    assert criterion.step == 0
    assert (criterion.alpha == 1).all()


def test_a_clean_batch_gives_what_it_gives_without_the_check():
    features, labels = batch()
    head = nn.Linear(8, 3)
    losses = []
    for check in (False, True):
        torch.manual_seed(0)
        criterion = MidasLoss(num_classes=3, feature_dims=DIMS, check=check, seed=0)
        losses.append(criterion(features, labels, head=head))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("value", [NAN, INF])
def test_what_is_not_finite_reaches_only_the_losses_that_involve_its_sample_and_never_alpha(value):
    features, labels = batch()
    clean = {name: x.clone() for name, x in features.items()}
    features["video"][2] = value
    permutation = torch.tensor([1, 2, 0, 4, 5, 3])
    linear, alphas = nn.Linear(8, 3), []
    for head in (linear, lambda x: linear(x), nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3))):
        found = []
        for given in (features, clean):
            torch.manual_seed(0)
            criterion = MidasLoss(num_classes=3, feature_dims=DIMS, reduction="none", seed=0)
            criterion.step.fill_(1)
            found.append(criterion(given, labels, head=head, permutation=permutation))
            assert criterion.alpha.isfinite().all()
            alphas.append(criterion.alpha.clone())
        # Sample 2 and those whose partner it is: 1, by the permutation.
        involved = torch.tensor([False, True, True, False, False, False])
        assert not found[0][involved].isfinite().any()
        torch.testing.assert_close(found[0][~involved], found[1][~involved])
    torch.testing.assert_close(alphas[0], alphas[2])

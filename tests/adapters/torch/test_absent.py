"""Absent partners in PyTorch, beside what the oracle says of them (test_loss): compiled, alone, not finite."""

import copy

import pytest
import torch
from torch import nn

import midas_core as mc
from midas_core.adapters.torch import MidasLoss, Misalign

WIDTHS = (4, 5, 3)
LABELS = torch.arange(9) % 3


def make(count=2, dtype=torch.float32, **options):
    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=3, feature_dims=WIDTHS[:count], seed=1, absent_share=0.5, **options).to(dtype)
    features = [torch.randn(9, width, dtype=dtype) for width in WIDTHS[:count]]
    return criterion, features, nn.Linear(sum(WIDTHS[:count]), 3, dtype=dtype)


def seeded():
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("head", [nn.Linear(9, 3), nn.Sequential(nn.Linear(9, 3), nn.ReLU(), nn.Linear(3, 3))])
def test_a_compiled_step_gives_the_same_loss(head):
    criterion, features, _ = make()
    # After a criterion with another share, the compiler takes the number for a variable.
    other = MidasLoss(num_classes=3, feature_dims=WIDTHS[:2], absent_share=0.7)
    torch.compile(other, backend="aot_eager", fullgraph=True)(features, LABELS, head=head)
    compiled = torch.compile(copy.deepcopy(criterion), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(features, LABELS, head=head), criterion(features, LABELS, head=head))


def test_a_batch_of_one_trains_on_its_modalities():
    criterion, features, head = make()
    criterion.absent_share = 1.0
    terms = criterion.terms([x[:1] for x in features], LABELS[:1], head=head)
    assert terms.misaligned > 0
    criterion.absent_share = 0.0
    assert criterion.terms([x[:1] for x in features], LABELS[:1], head=head).misaligned == 0


def test_the_warm_up_draws_and_leaves_them_out():
    criterion, features, head = make(warmup_epochs=1)
    criterion.set_epoch(0)
    terms = criterion.terms(features, LABELS, head=head)
    assert terms.misaligned == 0
    torch.testing.assert_close(terms.total, terms.unimodal.sum())
    criterion.set_epoch(1)
    assert criterion.terms(features, LABELS, head=head).misaligned > 0


def test_what_is_not_finite_in_an_absent_modality_stays_out():
    criterion, features, head = make()
    criterion.absent_share = 1.0
    pairs = mc.draw_pairs(mc.draw(LABELS, 2, seeded(), absent=True), LABELS, 2, absent_share=1.0)
    terms = {}
    for name, value in (("finite", 1.0), ("spoiled", float("nan"))):
        given = [x.clone() for x in features]
        given[0][0] = value
        criterion.reduction = "none"
        terms[name] = criterion.terms(given, LABELS, head=head, generator=seeded()).misaligned
    clean = ~(~pairs.absent[0, :, :] & (torch.arange(9) == 0)).any(dim=0)
    torch.testing.assert_close(terms["finite"][clean], terms["spoiled"][clean])


def test_the_augmentation_takes_the_option():
    layer = Misalign(num_classes=3, absent_share=1.0, seed=0)
    mixed = layer([torch.ones(9, 4), torch.ones(9, 5)], LABELS)
    left = torch.stack([x.any(dim=1) for x in mixed.features])
    assert (left.sum(dim=0) == 1).all()
    assert torch.equal(mixed.soft_labels.argmax(dim=1), torch.cat([LABELS, LABELS]))
    assert (mixed.weights == 1).all()
    with pytest.raises(ValueError, match="absent_share: expected 0 with variant 'official'"):
        Misalign(num_classes=3, absent_share=0.5, variant="official")

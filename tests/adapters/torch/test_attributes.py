"""Attributes that look settable: each is checked and works, or says what to do instead."""

import pickle

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss
from tests.adapters.torch.test_loss import CLASSES, batch, heads, make

WEIGHTS = [0.5, 1.0, 2.0, 4.0]
FEATURES, LABELS = batch()
HEAD = heads(8)["two layers"]

SETTABLE = {
    "weight": 3.0,
    "eta": 0.5,
    "warmup_epochs": 2,
    "aligned_from": 0,
    "variant": "official",
    "reduction": "sum",
    "similarity": None,
    "alpha_update": "difference",
    "max_alpha": 1.01,
    "label_smoothing": 0.3,
    "class_weights": WEIGHTS,
    "absent_share": 0.5,
    "seed": 9,
}


def losses(criterion):
    """Return the losses of two steps: how alpha moves shows in the second."""
    criterion._epoch_known = True
    criterion.alpha.fill_(2)
    criterion.step.fill_(1)
    return [criterion(FEATURES, LABELS, head=HEAD).item() for _ in range(2)]


@pytest.mark.parametrize("name", SETTABLE)
def test_what_is_set_later_counts_as_what_is_given(name):
    value = SETTABLE[name]
    given, later, plain = make(**{"seed": 0, name: value}), make(), make()
    given.unimodal_heads = plain.unimodal_heads
    later.unimodal_heads = plain.unimodal_heads
    setattr(later, name, value)
    assert losses(later) == losses(given) != losses(plain)


def test_class_weights_can_be_set_changed_and_left_out():
    criterion, plain = make(), make()
    criterion.class_weights = torch.tensor(WEIGHTS)
    assert criterion.class_weights.tolist() == WEIGHTS
    assert criterion.options.class_weights == tuple(WEIGHTS)
    assert losses(pickle.loads(pickle.dumps(criterion))) == losses(make(class_weights=WEIGHTS))
    criterion.class_weights = None
    assert losses(criterion) == losses(plain)
    assert "class_weights" not in criterion.state_dict()


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("class_weights", [1.0, 2.0], ValueError, "class_weights: expected 4 numbers, one for each class, got 2"),
        ("class_weights", [1, 1, 1, -1.0], ValueError, r"class_weights\[3\]: expected a finite number >= 0, got -1"),
        ("class_weights", 2.0, TypeError, "class_weights: expected a sequence of numbers"),
        ("check", "yes", TypeError, "check: expected True or False, got 'yes'"),
        ("seed", -1, ValueError, "seed: expected a whole number >= 0, got -1"),
        ("epoch", 3, TypeError, r"epoch: expected a call of set_epoch\(3\), got an assignment"),
        ("alpha", torch.ones(3), ValueError, r"alpha: expected shape as before = \(2,\), got \(3,\)"),
        ("num_classes", 5, AttributeError, "num_classes: fixed by the unimodal heads; make another MidasLoss"),
        ("modalities", None, AttributeError, "modalities: fixed by the unimodal heads; make another MidasLoss"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(name, value, kind, message):
    criterion, plain = make(), make()
    with pytest.raises(kind, match=message):
        setattr(criterion, name, value)
    assert losses(criterion) == losses(plain)


def test_unimodal_heads_by_name():
    criterion = MidasLoss(num_classes=CLASSES, feature_dims={"audio": 3, "keys": 5})
    assert criterion.unimodal_heads["keys"] is criterion.unimodal_heads[1]
    assert [x.in_features for x in criterion.unimodal_heads] == [3, 5]
    assert "unimodal_heads.1.weight" in criterion.state_dict()
    with pytest.raises(KeyError, match=r"unimodal_heads: expected one of \['audio', 'keys'\], got 'text'"):
        criterion.unimodal_heads["text"]
    copy = pickle.loads(pickle.dumps(criterion))
    assert copy.unimodal_heads["audio"].in_features == 3
    rest = criterion.unimodal_heads[1:]
    assert isinstance(rest, nn.ModuleList)
    with pytest.raises(KeyError):
        make().unimodal_heads["audio"]

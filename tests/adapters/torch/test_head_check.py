"""One warning where the unimodal heads stay at their first values: forgotten by the optimizer, or frozen."""

import copy
import pickle
import warnings

import pytest
import torch

from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.torch.head_check import LEARNT_BY
from tests.adapters.torch.test_loss import batch, heads, make


def train(
    holds_heads,
    *,
    steps=2 * LEARNT_BY,
    backward=True,
    in_training=True,
    every=1,
    lr=1e-3,
    call=lambda head: head,
    **options,
):
    """Return the warnings of a training whose optimizer holds the unimodal heads or not, the criterion, the head."""
    features, labels = batch()
    criterion, head = make(**options).train(in_training), heads(8)["linear"]
    held = [*head.parameters(), *(criterion.parameters() if holds_heads else [])]
    optimizer = torch.optim.SGD(held, lr=lr)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        criterion.set_epoch(0)
        for step in range(steps):
            loss = criterion(features, labels, head=call(head))
            if backward:
                loss.backward()
            if step % every == every - 1:
                optimizer.step()
                optimizer.zero_grad()
    return caught, criterion, head


def test_one_warning_where_no_optimizer_holds_the_heads():
    (warning,), *_ = train(holds_heads=False)
    assert "have not changed in 20 steps of the optimizer: give criterion.parameters() to it" in str(warning.message)
    assert warning.filename == __file__


HEARD = {
    "warm-up": {"warmup_epochs": 1},
    "bound method": {"call": lambda head: head.forward},
    "closure": {"call": lambda head: lambda x: head(x)},
    "gradients added up": {"every": 3, "steps": 3 * LEARNT_BY + 1},
}


@pytest.mark.parametrize("name", HEARD)
def test_it_is_heard_in_the_warm_up_and_of_other_callables(name):
    (warning,), *_ = train(holds_heads=False, **HEARD[name])
    assert "in 20 steps" in str(warning.message)


@pytest.mark.parametrize("end", ["set_epoch", "evaluation"])
@pytest.mark.parametrize("holds_heads", [True, False])
def test_a_short_epoch_is_enough(end, holds_heads):
    caught, criterion, head = train(holds_heads, steps=1)
    assert caught == []
    features, labels = batch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in (1, 2):
            if end == "set_epoch":
                criterion.set_epoch(epoch)
            else:
                criterion.eval()(features, labels, head=head)
    assert ["in one step of the optimizer" in str(x.message) for x in caught] == [True] * (not holds_heads)


QUIET = {
    "held": {"holds_heads": True},
    "128 micro-batches": {"holds_heads": True, "every": 128, "steps": 200},
    "no step of the optimizer": {"holds_heads": True, "every": 128, "steps": 100},
    "a rate of 0": {"holds_heads": True, "steps": 2, "lr": 0.0},
    "nothing learned": {"holds_heads": False, "backward": False},
    "evaluation": {"holds_heads": False, "backward": False, "in_training": False},
    "unknown head": {"holds_heads": False, "call": lambda head: lambda x, known=[head]: known[0](x)},
}


@pytest.mark.parametrize("name", QUIET)
def test_nothing_is_said_where_they_learn_or_nothing_does(name):
    caught, criterion, _head = train(**QUIET[name])
    criterion.set_epoch(1)
    assert caught == []


def test_heads_that_the_criterion_made_are_not_frozen_in_silence():
    features, labels = batch()
    made = make().requires_grad_(False)
    own = MidasLoss(num_classes=made.num_classes, unimodal_heads=list(made.unimodal_heads))
    head = heads(8)["linear"]
    own(features, labels, head=head)  # the user's: trained before, maybe
    with pytest.warns(UserWarning, match=r"stay at their first values.*modules_to_save"):
        made(features, labels, head=head)
    made(features, labels, head=head)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_looks_afresh(copied):
    _, criterion, _ = train(holds_heads=True, steps=1)
    twin = copied(criterion)
    assert (twin._head_check._steps, twin._head_check._first, twin._head_check.made) == (0, None, True)


def test_the_norms_change_where_the_sums_do_not():
    # The gradient of a cross-entropy sums to zero over the classes.
    features, labels = batch()
    criterion = make()
    criterion(features, labels, head=heads(8)["linear"]).backward()
    for parameter in criterion.parameters():
        assert abs(parameter.grad.sum()) < 1e-12 < parameter.grad.abs().max()

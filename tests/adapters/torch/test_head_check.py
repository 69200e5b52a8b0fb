"""A warning, once, where no optimizer holds the unimodal heads."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from midas_core.adapters.torch.head_check import LEARNT_BY  # noqa: E402
from tests.adapters.torch.test_loss import batch, heads, make  # noqa: E402


def train(holds_heads, *, backward=True, in_training=True, every=1):
    """Return what is said in a training whose optimizer holds the unimodal heads, or does not."""
    features, labels = batch()
    criterion, head = make().train(in_training), heads(8)["linear"]
    held = [*head.parameters(), *(criterion.parameters() if holds_heads else [])]
    optimizer = torch.optim.SGD(held, lr=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(2 * LEARNT_BY):
            loss = criterion(features, labels, head=head)
            if backward:
                loss.backward()
            if step % every == every - 1:
                optimizer.step()
                optimizer.zero_grad()
    return caught


def test_one_warning_where_no_optimizer_holds_the_heads():
    (warning,) = train(holds_heads=False)
    assert "have not changed in 100 steps: give criterion.parameters() to the optimizer" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize(
    "options",
    [
        {"holds_heads": True},
        {"holds_heads": True, "every": LEARNT_BY // 2},
        {"holds_heads": False, "backward": False},
        {"holds_heads": False, "backward": False, "in_training": False},
    ],
    ids=["held", "gradients added up", "nothing learned", "evaluation"],
)
def test_nothing_is_said_where_they_learn_or_nothing_does(options):
    assert train(**options) == []


def test_the_norms_change_where_the_sums_do_not():
    # The gradient of a cross-entropy sums to zero over the classes.
    features, labels = batch()
    criterion = make()
    criterion(features, labels, head=heads(8)["linear"]).backward()
    for parameter in criterion.parameters():
        assert abs(parameter.grad.sum()) < 1e-12 < parameter.grad.abs().max()

"""How often a fused head is run, and on what."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from midas_core.adapters.torch.heads import may_stack  # noqa: E402
from tests.adapters.torch.test_loss import CLASSES, batch, make  # noqa: E402


def rows_of_calls(head, wrap=lambda head: head):
    """Return how many rows each call of a head is given in one step, for a batch of B."""
    calls = []
    head.double().register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    features, labels = batch()
    make()(features, labels, head=wrap(head)).backward()
    return [n / len(labels) for n in calls]


def test_a_module_sees_all_rows_at_once():
    assert rows_of_calls(nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, CLASSES))) == [3]


def test_a_module_with_batch_normalisation_sees_the_aligned_rows_alone():
    inner = nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.BatchNorm1d(4)), nn.Linear(4, CLASSES))
    assert rows_of_calls(inner) == [1, 2]


def test_a_function_sees_the_aligned_rows_alone():
    assert rows_of_calls(nn.Linear(8, CLASSES), lambda head: lambda x: head(x)) == [1, 2]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (nn.Linear(2, 2), True),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout()), True),
        (nn.BatchNorm1d(2), False),
        (nn.Sequential(nn.Sequential(nn.SyncBatchNorm(2))), False),
        (lambda x: x, False),
    ],
    ids=["linear", "dropout", "batch normalisation", "inside", "function"],
)
def test_which_heads_may_take_mixed_samples_along(head, expected):
    assert may_stack(head) is expected

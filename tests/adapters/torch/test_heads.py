"""How often a fused head is run, and on what."""

import copy

import pytest
import torch
from torch import nn

from midas_core.adapters.torch.heads import may_stack
from tests.adapters.torch.test_loss import CLASSES, batch, make


def rows_of_calls(head, wrap=lambda head: head):
    """Return how many rows each call of a head is given in one step, for a batch of B."""
    calls = []
    head.double().register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    features, labels = batch()
    make()(features, labels, head=wrap(head)).backward()
    return [n / len(labels) for n in calls]


class Halved(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x) / 2


DEEP = nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.LayerNorm(4), nn.Dropout()), nn.Linear(4, CLASSES))
NORMALISED = nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.BatchNorm1d(4)), nn.Linear(4, CLASSES))


def test_a_module_sees_all_rows_at_once_and_any_other_head_the_aligned_ones_alone():
    assert rows_of_calls(DEEP) == [3]
    assert rows_of_calls(NORMALISED) == [1, 2]
    assert rows_of_calls(nn.Linear(8, CLASSES), lambda head: lambda x: head(x)) == [1, 2]
    # On a CPU it takes no step.
    assert not may_stack(nn.Sequential(nn.Sequential(nn.SyncBatchNorm(2))))


@pytest.mark.parametrize("first", [nn.Linear, Halved], ids=["partial products", "opaque"])
def test_running_statistics_are_those_of_the_aligned_rows(first):
    head = nn.Sequential(first(8, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES)).double()
    expected = copy.deepcopy(head)
    features, labels = batch()
    make()(features, labels, head=head).backward()
    expected(torch.cat(features, dim=1))
    for x, other in zip(head.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(x, other)
    assert head[1].track_running_stats


def replaced_forward(module, calls):
    forward = module.forward
    module.forward = lambda x: (calls.append("replaced"), forward(x))[1]


HOOKS = [f"register_{kind}_hook" for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre")]


@pytest.mark.parametrize("hook", [replaced_forward, *HOOKS])
@pytest.mark.parametrize("place", ["linear", "sequential", "inside"])
def test_a_head_with_a_hook_is_run_and_the_hook_is_called(hook, place):
    linear = nn.Linear(8, CLASSES).double()
    head, calls = linear if place == "linear" else nn.Sequential(linear), []
    module = head if place == "sequential" else linear
    if hook in HOOKS:
        getattr(module, hook)(lambda *_: calls.append(hook))
    else:
        hook(module, calls)
    features, labels = batch()
    make()([x.requires_grad_() for x in features], labels, head=head).backward()
    assert calls


def test_a_unimodal_head_with_a_hook_is_run_and_the_hook_is_called():
    criterion, calls = make(), []
    criterion.unimodal_heads[1].register_forward_hook(lambda *_: calls.append("forward"))
    criterion(*batch(), head=nn.Linear(8, CLASSES).double())
    assert calls == ["forward"]

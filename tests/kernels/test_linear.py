"""One product of a feature with two weights gives the logits of two products, and their gradients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close

from midas_core.kernels.linear import stacked_logits
from midas_core.kernels.plan import Linear


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.integers(1, 7),
    st.integers(2, 5),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 2**31 - 1),
)
def test_equals_the_heads_called_one_by_one(widths, batch, classes, biases, seed):
    torch.manual_seed(seed)
    head = nn.Linear(sum(widths), classes, bias=biases[0], dtype=torch.float64)
    own = [nn.Linear(width, classes, bias=biases[1], dtype=torch.float64) for width in widths]
    features = [torch.randn(batch, width, dtype=torch.float64, requires_grad=True) for width in widths]
    # Any suppliers, as they come with several modalities.
    sources = torch.randint(batch, (len(widths), 2, batch))

    mixed = [feature[rows] for feature, rows in zip(features, sources, strict=True)]
    unimodal = [each(feature) for each, feature in zip(own, features, strict=True)]
    expected = [*unimodal, head(torch.cat(features, dim=1)), head(torch.cat(mixed, dim=2))]
    found_unimodal, *found = stacked_logits(*_parameters(head, own), features, sources)
    found = [*found_unimodal, *found]
    assert_close(found, expected)

    leaves = [*features, *head.parameters(), *(x for each in own for x in each.parameters())]
    slopes = [torch.randn_like(x) for x in expected]
    assert_close(torch.autograd.grad(found, leaves, slopes), torch.autograd.grad(expected, leaves, slopes))


def _parameters(head, own):
    heads = [Linear(each.weight, each.bias) for each in (head, *own)]
    return heads[0], heads[1:]

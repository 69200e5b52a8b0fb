"""Fused heads of one's own, for PyTorch: whatever way a head is run, the oracle says the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

from midas_core.backends import require
from midas_core.testing import oracle
from midas_core.testing.checks import compare
from midas_core.testing.problems import Problem

TOLERANCE = 1e-9


def check_head(
    head: Any,
    *,
    num_classes: int,
    feature_dims: Sequence[int] | Mapping[str, int],
    head_input: str = "concatenated",
    examples: int = 30,
    seed: int = 0,
) -> None:
    """Raise unless a fused head for `midas_core.adapters.torch.MidasLoss` treats every sample on its own.

    The criterion may run a head on aligned and misaligned samples stacked, or, where it calls itself additive, from
    its weights alone. Both have to give what the head gives version by version, and the oracle makes of that: the loss,
    and its gradients in the features and in the parameters.

    Parameters
    ----------
    head : nn.Module or callable
        Taken as it is in ``eval()``, and in float64.
    num_classes : int
    feature_dims : sequence of int, or dict of int by modality name
    head_input : {"concatenated", "separate"}
        As for ``MidasLoss``.
    examples, seed : int
        As for `check_backend`.

    Raises
    ------
    AssertionError
        If something differs.

    Examples
    --------
    >>> import torch
    >>> check_head(torch.nn.Linear(7, 3), num_classes=3, feature_dims=(3, 4), examples=5)
    """
    torch = require("torch", "PyTorch", "torch")
    if isinstance(head, torch.nn.Module):
        head = copy.deepcopy(head).double().eval()

    @_seeded(seed, examples)
    @given(number=st.integers(0, 2**31 - 1), batch=st.integers(1, 9))
    def every(number: int, batch: int) -> None:
        _check_batch(torch, head, num_classes, feature_dims, head_input, number, batch)

    every()


def _seeded(number: int, examples: int) -> Callable[[Any], Any]:
    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda function: seed(number)(limits(function))


def _check_batch(
    torch: Any, head: Any, num_classes: int, feature_dims: Any, head_input: str, number: int, batch: int
) -> None:
    from midas_core.adapters.torch import MidasLoss

    torch.manual_seed(number)
    criterion = MidasLoss(
        num_classes=num_classes, feature_dims=feature_dims, head_input=head_input, seed=number
    ).double()
    widths = list(feature_dims.values() if isinstance(feature_dims, Mapping) else feature_dims)
    labels = torch.randint(0, num_classes, (batch,))
    permutation = torch.randperm(batch)
    given_ = [torch.randn(batch, width, dtype=torch.float64, requires_grad=True) for width in widths]
    parameters = list(head.parameters()) if isinstance(head, torch.nn.Module) else []

    def features(rows: Sequence[Any]) -> Any:
        return dict(zip(feature_dims, rows, strict=True)) if isinstance(feature_dims, Mapping) else list(rows)

    def logits(rows: Sequence[Any]) -> Any:
        return head(torch.cat(list(rows), dim=1) if head_input == "concatenated" else features(rows))

    def run(function: Any) -> tuple[Any, list[Any]]:
        own = copy.deepcopy(criterion)
        terms = own.terms(features(given_), labels, head=function, permutation=permutation)
        slopes = torch.autograd.grad(terms.total, [*given_, *parameters], allow_unused=True, materialize_grads=True)
        return terms, slopes

    found, slopes = run(head)
    # A plain function is run version by version.
    expected, own_slopes = run(lambda *x: head(*x))
    for k, (a, b) in enumerate(zip(slopes, own_slopes, strict=True)):
        compare(f"gradient {k}, of features and parameters", a, b.detach(), TOLERANCE)
    for name in ("total", "aligned", "misaligned"):
        a, b = (getattr(terms, name).detach() for terms in (found, expected))
        compare(f"{name} loss, stacked or additive against version by version", a, b, TOLERANCE)

    with torch.no_grad():
        if len(widths) > 2:
            return  # Who supplies what is the criterion's own draw.
        views = [[given_[0], given_[1][permutation]], [given_[0][permutation], given_[1]]]
        problem = Problem(
            labels=labels.numpy(),
            features=[x.numpy() for x in given_],
            fused=logits(given_).numpy(),
            unimodal=[each(x).numpy() for each, x in zip(criterion.unimodal_heads, given_, strict=True)],
            mixed=np.stack([logits(view).numpy() for view in views]),
            partners=permutation.numpy()[None],
            assignment=None,
            alpha=np.ones(2),
            step=0,
        )
    totals = [float(np.mean(step.total)) for step in oracle.steps_within_rounding(problem.lists(), 1e-12)]
    total = float(found.total.detach())
    nearest = min(totals, key=lambda x: abs(x - total))
    compare("total loss, against the oracle", total, nearest, TOLERANCE)

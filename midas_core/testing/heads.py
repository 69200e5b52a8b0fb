"""Check of a custom fused head for PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis.strategies as st

from midas_core.backends import require
from midas_core.testing.criterion import LOSSES, compare_step, reference_step
from midas_core.testing.verification import try_examples

TOLERANCE, ROUNDING = 1e-9, 1e-12


def check_head(
    head: Any,
    *,
    num_classes: int,
    feature_dims: Sequence[int] | Mapping[str, int],
    head_input: str = "concatenated",
    examples: int = 30,
    seed: int = 0,
) -> None:
    """Raise unless a fused head for `midas_core.adapters.torch.MidasLoss` treats every sample independently.

    The criterion may run a head on aligned and misaligned samples stacked, and runs an additive head as partial
    products. Loss and gradients must match the oracle, for which the head runs version by version.

    Parameters
    ----------
    head : nn.Module or callable
        Checked in ``eval()`` mode and in float64.
    num_classes, feature_dims, head_input : as for ``MidasLoss``
    examples, seed : as for `check_backend`

    Raises
    ------
    AssertionError
        If a loss or a gradient differs.

    Examples
    --------
    >>> import torch
    >>> check_head(torch.nn.Linear(7, 3), num_classes=3, feature_dims=(3, 4), examples=5)
    """
    torch = require("torch", "PyTorch", "torch")
    from midas_core.adapters.torch import MidasLoss

    if isinstance(head, torch.nn.Module):
        head = copy.deepcopy(head).double().eval()

    widths = list(feature_dims.values() if isinstance(feature_dims, Mapping) else feature_dims)
    parameters = list(head.parameters()) if isinstance(head, torch.nn.Module) else []

    def named(rows: Sequence[Any]) -> Any:
        return dict(zip(feature_dims, rows, strict=True)) if isinstance(feature_dims, Mapping) else list(rows)

    def logits(rows: Sequence[Any]) -> Any:
        return head(torch.cat(list(rows), dim=1) if head_input == "concatenated" else named(rows))

    def check(case: tuple[int, int]) -> float:
        number, batch = case
        torch.manual_seed(number)
        criterion = MidasLoss(num_classes=num_classes, feature_dims=feature_dims, head_input=head_input).double()
        labels = torch.randint(0, num_classes, (batch,))
        features = [torch.randn(batch, width, dtype=torch.float64, requires_grad=True) for width in widths]
        problem, exact_logits = reference_step(
            criterion, features, labels, logits, torch.Generator().manual_seed(number)
        )
        leaves = [*features, *parameters]
        terms = criterion.terms(named(features), labels, head=head, generator=torch.Generator().manual_seed(number))
        slopes = torch.autograd.grad(terms.total, leaves, allow_unused=True, materialize_grads=True)
        losses = {name: getattr(terms, name) for name in LOSSES}
        options: dict[str, Any] = {"tolerance": TOLERANCE, "rounding": ROUNDING, "reduction": "mean"}
        return compare_step(problem, exact_logits, leaves, losses, slopes, **options)

    try_examples(check, st.tuples(st.integers(0, 2**31 - 1), st.integers(1, 9)), examples, seed)

"""Checks of values, for ``check=True``. Each of them waits for the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from midas_core.backends.torch import BACKEND
from midas_core.modalities import Modalities, feature_of, leaves, mask_of, pool_tokens
from midas_core.objective import MidasTerms
from midas_core.options import Similarity
from midas_core.validation import are_probabilities


def may_look(x: Tensor) -> bool:
    """Return whether to look at the values of a tensor costs nothing: on the CPU, in a step that is not traced."""
    if torch.compiler.is_compiling() or type(x) is not Tensor or not x.is_cpu:
        return False
    return not is_functorch_wrapped_tensor(x)


def check_values(
    features: Sequence[Any],
    labels: Tensor,
    modalities: Modalities,
    num_classes: int,
    *,
    similarity: Similarity = None,
    permutation: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> None:
    """Raise ``ValueError`` that names the sample, and its modality, unless every value is one that MIDAS can take."""
    if labels.ndim == 1:
        wrong = (labels < 0) | (labels >= num_classes)
        _refuse(f"labels: expected classes in 0 ... {num_classes - 1}", wrong, labels)
    else:
        check_zeros_and_ones(labels)
    for m, modality in enumerate(features):
        name, mask = f"features of {modalities.title(m)}", mask_of(modality)
        for x in leaves(modality):
            if x.is_floating_point():
                # Padding may hold anything.
                if mask is not None and x.shape[:2] == mask.shape:
                    x = x.masked_fill(~mask[..., None], 0.0)
                _refuse_infinite(name, x)
        # A norm overflows long before the feature does.
        if isinstance(similarity, str) and feature_of(modality, BACKEND).is_floating_point():
            full = BACKEND.in_full_precision(pool_tokens(modality, BACKEND).detach())
            norms = torch.linalg.vector_norm(full, dim=1)
            _refuse(f"{name}: expected a norm that {full.dtype} can hold", ~norms.isfinite(), norms)
    if sample_weight is not None:
        weights = sample_weight.double()
        _refuse("sample_weight: expected finite weights >= 0", ~(weights.isfinite() & (weights >= 0)), weights)
    if permutation is not None:
        order = torch.arange(len(permutation), device=permutation.device)
        if not torch.equal(permutation.sort().values, order):
            raise ValueError(f"permutation: expected each of 0 ... {len(order) - 1} once, got {permutation.tolist()}")


def check_zeros_and_ones(rows: Tensor) -> None:
    """Raise ``ValueError`` unless each row (B, C) holds 0 and 1 alone."""
    _refuse("labels: expected 0 or 1 for each class", ((rows != 0) & (rows != 1)).any(dim=1), rows)


def check_not_probabilities(unimodal: Sequence[Tensor], fused: Tensor, modalities: Modalities) -> None:
    """Raise ``ValueError`` where a head returns probabilities, (B, C), in the place of logits."""
    names = [f"output of the unimodal head of {modalities.title(m)}" for m in range(modalities.count)]
    for name, logits in zip([*names, "output of the head"], [*unimodal, fused], strict=True):
        rows = logits.detach().cpu()
        if are_probabilities((rows.half() if rows.dtype.itemsize < 4 else rows).numpy()):
            raise ValueError(
                f"{name}: expected logits, got probabilities (every row >= 0 with sum 1): leave the softmax out"
            )


def check_one_hot(rows: Tensor) -> None:
    """Raise ``ValueError`` unless each row (B, C), integer, holds one 1 and zeros."""
    wrong = (rows.sum(dim=1) != 1) | (rows != 0).sum(dim=1).ne(1)
    _refuse("labels: expected one-hot rows (with any number of ones: multi_label=True)", wrong, rows)


def check_terms(terms: MidasTerms, modalities: Modalities) -> None:
    """Raise ``ValueError`` unless the terms of every sample are finite, where all that came in was."""
    for m in range(modalities.count):
        _refuse_infinite(f"loss of the unimodal head of {modalities.title(m)}", terms.unimodal[m])
    _refuse_infinite("loss of the head", terms.aligned)
    _refuse_infinite("loss of the head on misaligned samples", terms.misaligned)


def _refuse_infinite(name: str, x: Tensor) -> None:
    _refuse(f"{name}: expected finite values", ~x.isfinite().reshape(len(x), math.prod(x.shape[1:])).all(dim=1), x)


def _refuse(expected: str, wrong: Tensor, x: Tensor) -> None:
    count = int(wrong.sum())
    if count == 0:
        return
    first = int(wrong.nonzero()[0, 0])
    row: Any = x[first].detach().reshape(-1)
    bad = row[~row.isfinite()]
    value = bad[0].item() if len(bad) else row.tolist() if len(row) > 1 else row[0].item()
    others = "" if count == 1 else f", and {count - 1} more of {len(wrong)}"
    raise ValueError(f"{expected}, got {value} in sample {first}{others}")

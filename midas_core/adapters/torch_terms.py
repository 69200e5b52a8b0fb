"""From the terms of each sample to what a criterion returns."""

from __future__ import annotations

import torch

from midas_core.objective import MidasTerms


def reduce_terms(terms: MidasTerms, reduction: str) -> MidasTerms:
    """Reduce over the batch, by "mean", "sum" or "none"."""
    if reduction == "none":
        return terms
    reduce = torch.mean if reduction == "mean" else torch.sum
    return terms._replace(
        total=reduce(terms.total),
        aligned=reduce(terms.aligned),
        unimodal=reduce(terms.unimodal, dim=-1),
        misaligned=reduce(terms.misaligned),
    )

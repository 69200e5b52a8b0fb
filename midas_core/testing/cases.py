"""Cases beside plain problems: pairings, half precision, extreme values, non-finite values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np

from midas_core.partners import Draw
from midas_core.testing import oracle
from midas_core.testing.problems import Drawn, Problem

EXTREMES = ("large logits", "equal logits", "masked class", "no features", "small features", "large features")


@dataclass(frozen=True, repr=False)
class Pairing(Drawn):
    """Inputs of drawing pairs: labels (B,), M features (B, ...) and random numbers."""

    labels: np.ndarray
    modalities: int
    features: list[np.ndarray]
    numbers: Draw
    absent_share: float = 0.0
    recipe: str = field(default="", compare=False)


def make_pairing(
    seed: int,
    batch: int,
    modalities: int,
    classes: int,
    *,
    dtype: str = "int64",
    ties: bool = False,
    absent_share: float = 0.0,
) -> Pairing:
    """Make labels of a dtype, features and random numbers from a seed; with ``ties`` many numbers are equal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, batch).astype(dtype)
    # Few bits: products with counts are exact, so that no rounding decides who is drawn.
    steps = 8 if ties else 4096
    partners = (rng.integers(0, steps, (modalities - 1, batch)) / steps).astype(np.float32)
    assigned = rng.random((modalities, batch), dtype=np.float32) if modalities > 2 else None
    features = [rng.normal(size=(batch, 2, m + 1)).astype(np.float32) for m in range(modalities)]
    absent = (rng.integers(0, steps, (2, batch)) / steps).astype(np.float32) if absent_share else None
    options = f"dtype={dtype!r}, ties={ties}, absent_share={absent_share}"
    recipe = f"make_pairing({seed}, {batch}, {modalities}, {classes}, {options})"
    return Pairing(labels, modalities, features, Draw(partners, assigned, absent), absent_share, recipe)


def pairings(shapes: Sequence[tuple[int, int, int]] | None = None) -> st.SearchStrategy[Pairing]:
    """Draw a pairing, of any shape (B, M, C) or of one of ``shapes``."""
    if shapes is None:
        sizes: Any = st.tuples(st.integers(1, 40), st.integers(2, 4), st.integers(1, 7))
    else:
        sizes = st.sampled_from(shapes)
    return st.builds(
        lambda seed, size, dtype, ties, share: make_pairing(seed, *size, dtype=dtype, ties=ties, absent_share=share),
        st.integers(0, 2**32 - 1),
        sizes,
        st.sampled_from(("int64", "int32", "uint8")),
        st.booleans(),
        # Quotients by these are exact.
        st.sampled_from((0.0, 0.5, 1.0)),
    )


def in_half_precision(p: Problem, dtype: str) -> Problem:
    """Return a problem with logits and features in float16 or bfloat16."""
    if dtype == "bfloat16":
        import ml_dtypes

        kind = np.dtype(ml_dtypes.bfloat16)
    else:
        kind = np.dtype(dtype)
    changed = _with_logits(p, lambda z: z.astype(kind), f"in_half_precision({p}, {dtype!r})")
    return replace(changed, features=[f.astype(kind) for f in p.features])


def extreme(p: Problem, kind: str) -> Problem:
    """Return a problem of the paper's variant with extreme values of one of the ``EXTREMES``."""
    recipe = f"extreme({p}, {kind!r})"
    last = p.fused.shape[-1] - 1
    if kind == "large logits":  # near the largest number of float16
        return _with_logits(p, lambda z: np.where(z > 0, 6e4, -6e4).astype(p.dtype), recipe)
    if kind == "equal logits":
        return _with_logits(p, np.zeros_like, recipe)
    if kind == "masked class":  # one that does not occur
        changed = _with_logits(p, lambda z: np.where(np.arange(last + 1) == last, -np.inf, z).astype(p.dtype), recipe)
        return replace(changed, labels=p.labels % last)
    size = {"no features": 0.0, "small features": 1e-15, "large features": 1e15}[kind]
    return replace(p, features=[(f * size).astype(p.dtype) for f in p.features], recipe=recipe)


def spoiled(p: Problem, sample: int, modality: int, value: float) -> Problem:
    """Return a problem with a non-finite feature, and non-finite logits wherever its sample takes part."""
    sample, modality = sample % len(p.labels), modality % len(p.unimodal)
    sources = oracle.sources_of(p.lists())

    def with_value(x: np.ndarray) -> np.ndarray:
        changed = x.copy()
        changed[sample].flat[0] = value
        return changed

    mixed = None if p.mixed is None else p.mixed.copy()
    if mixed is not None:
        mixed[np.array(sources[modality]) == sample, -1] = value
    return replace(
        p,
        features=[with_value(f) if m == modality else f for m, f in enumerate(p.features)],
        fused=with_value(p.fused),
        unimodal=[with_value(z) if m == modality else z for m, z in enumerate(p.unimodal)],
        mixed=mixed,
        recipe=f"spoiled({p}, {sample}, {modality}, float('{value}'))",
    )


def touched(p: Problem) -> np.ndarray:
    """Return the mask (B,) of samples that are not finite or have a partner that is not."""
    arrays = [p.fused, *p.unimodal, *p.features]
    bad = ~np.logical_and.reduce([np.isfinite(x.reshape(len(x), -1)).all(axis=1) for x in arrays])
    sources = oracle.sources_of(p.lists())
    return np.asarray(bad | bad[np.array(sources)].any(axis=(0, 1)))


def _with_logits(p: Problem, change: Callable[[np.ndarray], np.ndarray], recipe: str) -> Problem:
    return replace(
        p,
        fused=change(p.fused),
        unimodal=[change(z) for z in p.unimodal],
        mixed=None if p.mixed is None else change(p.mixed),
        recipe=recipe,
    )

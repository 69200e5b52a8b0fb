"""Problems: all inputs of one step, drawn once, in NumPy.

Hypothesis draws the structure (sizes, scales, options) and a seed; the numbers come from the seed. What shrinks is then
what matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st

from midas_core import different_class_permutation, draw
from midas_core.testing.oracle import source_matrix

# JAX compiles every operation anew for every shape, so that few are used: (B, M, C).
FEW_SHAPES = ((1, 2, 2), (2, 2, 3), (5, 3, 2), (6, 2, 4), (7, 4, 3))
SCALES = (0.0, 0.3, 3.0, 50.0, 1e4)


@dataclass(frozen=True)
class Problem:
    """The inputs of one step; `mixed` is None during warm-up, `assignment` where the modalities keep their order."""

    labels: np.ndarray
    features: list[np.ndarray]
    fused: np.ndarray
    unimodal: list[np.ndarray]
    mixed: np.ndarray | None
    permutation: np.ndarray
    assignment: np.ndarray | None
    alpha: np.ndarray
    step: int
    similarity: str | None = "cosine"
    weight: float = 1.0
    eta: float = 0.05
    variant: str = "paper"
    alpha_update: str = "sign"
    max_alpha: float | None = None
    sample_weight: np.ndarray | None = None
    class_weights: np.ndarray | None = None
    label_smoothing: float | None = None
    present: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        return self.fused.dtype

    @property
    def tolerance(self) -> float:
        """Of one number of size 1: a log-probability is a difference of logits, and carries their rounding."""
        logits = [self.fused, *self.unimodal, *([] if self.mixed is None else [self.mixed])]
        largest = max(float(np.abs(z[~np.isnan(z)]).max(initial=0)) for z in logits)
        return 16 * float(np.finfo(self.dtype).eps) * (1 + largest)

    def lists(self) -> SimpleNamespace:
        """Return the same as plain Python numbers, for the oracle; features as rows."""

        def plain(x):
            if isinstance(x, list):
                return [plain(np.reshape(f, (len(f), -1))) for f in x]
            return x.tolist() if isinstance(x, np.ndarray) else x

        return SimpleNamespace(**{name: plain(value) for name, value in vars(self).items()})


def make_problem(
    seed: int,
    batch: int = 6,
    modalities: int = 2,
    classes: int = 4,
    *,
    scale: float = 3.0,
    dtype: str = "float64",
    label_kind: str = "any",
    zero_features: bool = False,
    warmup: bool = False,
    first_step: bool = False,
    alpha: float = 1.5,
    drawn_pairs: bool = True,
    assigned: bool = True,
    multi_label: bool = False,
    sample_weight: bool = False,
    class_weights: bool = False,
    missing: float = 0.0,
    **options,
) -> Problem:
    """Make a problem from a seed and its structure."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, batch)
    if multi_label:
        labels = rng.integers(0, 2, (batch, classes))
    if label_kind == "one class":
        labels[:] = labels[0]
    elif label_kind == "one large class":
        labels[: batch // 2 + 1] = labels[0]

    def logits(*shape):
        return (rng.normal(size=shape) * scale).astype(dtype)

    # The last modality has features of two axes, as sequences have.
    shapes = [(batch, 3 + m) for m in range(modalities - 1)] + [(batch, 2, 3)]
    features = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    if zero_features:
        features = [
            x * (rng.random(batch) < 0.5).reshape((batch,) + (1,) * (x.ndim - 1)).astype(dtype) for x in features
        ]
    ids = np.unique(labels, axis=0, return_inverse=True)[1] if multi_label else labels
    numbers = draw(ids, batch if multi_label else classes, modalities, rng)
    permutation = rng.permutation(batch)
    if drawn_pairs:
        permutation = different_class_permutation(ids, numbers.samples, numbers.classes, numbers.rotation)
    assignment = None
    if modalities > 2 and assigned:
        assignment = np.argsort(rng.random((modalities, batch)), axis=0)
    start = np.full(modalities, alpha, dtype)
    if not first_step:
        start[np.arange(modalities) != rng.integers(modalities)] = 1
    fused = logits(batch, classes)
    unimodal = [logits(batch, classes) for _ in range(modalities)]
    mixed = None if warmup else logits(2, batch, classes)
    options["sample_weight"] = (3 * rng.random(batch)).astype(dtype) if sample_weight else None
    options["class_weights"] = (3 * rng.random(classes)).astype(dtype) if class_weights else None
    if missing:
        present = options["present"] = rng.random((batch, modalities)) >= missing
        # What is missing may hold anything.
        for m in range(modalities):
            features[m][~present[:, m]] = np.nan
            unimodal[m][~present[:, m]] = np.nan
        if mixed is not None:
            for m, sources in enumerate(source_matrix(permutation.tolist(), modalities, assignment)):
                mixed[~present[np.array(sources), m]] = np.nan
    return Problem(
        labels=labels,
        features=features,
        fused=fused,
        unimodal=unimodal,
        mixed=mixed,
        permutation=permutation,
        assignment=assignment,
        alpha=start,
        step=0 if first_step else 3,
        **options,
    )


@st.composite
def problems(draw, shapes=None, dtypes=("float64", "float32")) -> Problem:
    """Draw a problem, of any shape or of one of the given ones."""
    if shapes is None:
        shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 4), st.integers(2, 6)))
    else:
        shape = draw(st.sampled_from(shapes))
    official = shape[1] == 2 and draw(st.booleans())
    kind = draw(st.sampled_from(("plain", "real", "multi-label")))
    real = kind != "plain"
    # The official ratio of mean confidences has no value once they underflow; see test_edge_cases.py.
    scales = SCALES[:3] if official else SCALES
    return make_problem(
        draw(st.integers(0, 2**32 - 1)),
        *shape,
        scale=draw(st.sampled_from(scales)),
        dtype=draw(st.sampled_from(dtypes)),
        label_kind=draw(st.sampled_from(("any", "any", "one class", "one large class"))),
        zero_features=draw(st.booleans()),
        warmup=draw(st.sampled_from((False, False, False, True))),
        first_step=draw(st.booleans()),
        alpha=draw(st.sampled_from((1.0, 1.05, 1.5, 4.0))),
        drawn_pairs=draw(st.booleans()),
        assigned=draw(st.booleans()),
        similarity=draw(st.sampled_from(("cosine", "l2", None))),
        weight=draw(st.sampled_from((0.0, 1.0, 5.0))),
        eta=draw(st.sampled_from((0.05, 0.5))),
        variant="official" if official else "paper",
        alpha_update=draw(st.sampled_from(("sign", "difference"))),
        max_alpha=draw(st.sampled_from((None, 1.2, 10.0))),
        multi_label=kind == "multi-label",
        sample_weight=real and draw(st.booleans()),
        class_weights=real and draw(st.booleans()),
        label_smoothing=draw(st.sampled_from((None, 0.1, 0.5))) if real else None,
        missing=draw(st.sampled_from((0.0, 0.3, 0.6))) if real and not official else 0.0,
    )

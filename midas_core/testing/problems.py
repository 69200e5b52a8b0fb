"""Problems: the inputs of one step, in NumPy.

Hypothesis draws the structure (sizes, scales, options) and a seed; the numbers come from the seed. Shrinking then acts
on the structure, and one call reproduces a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import numpy as np

from midas_core.testing import oracle

# (B, M, C). JAX compiles every operation again for every shape.
COMPILED_SHAPES = ((1, 2, 2), (5, 3, 2), (6, 2, 4))
FEW_SHAPES = (*COMPILED_SHAPES, (2, 2, 3), (7, 4, 3))
FEW_STRUCTURES: tuple[dict[str, Any], ...] = (
    {"batch": 6, "modalities": 2, "classes": 4, "dtype": "float32"},
    {"batch": 6, "modalities": 2, "classes": 4, "dtype": "float32", "warmup": True},
    {"batch": 5, "modalities": 3, "classes": 2, "similarity": "l2", "weight": 5.0, "max_alpha": 1.2},
    {"batch": 6, "modalities": 2, "classes": 4, "variant": "official", "eta": 0.5, "max_alpha": 10.0},
    {
        **{"batch": 6, "modalities": 2, "classes": 4, "variant": "official", "dtype": "float32", "similarity": None},
        **{"alpha_update": "difference", "weight": 0.0},
    },
    {"batch": 1, "modalities": 2, "classes": 2, "assigned": False, "alpha_update": "difference"},
    {
        **{"batch": 5, "modalities": 3, "classes": 2, "dtype": "float32", "alpha_update": "difference", "eta": 0.5},
        **{"sample_weight": True, "class_weights": True, "label_smoothing": 0.1, "missing": 0.3},
    },
    {
        **{"batch": 6, "modalities": 2, "classes": 4, "multi_label": True, "sample_weight": True},
        **{"class_weights": True, "label_smoothing": 0.5, "missing": 0.6, "similarity": None},
    },
    {
        **{"batch": 6, "modalities": 2, "classes": 4, "dtype": "float32", "multi_label": True, "similarity": "l2"},
        **{"absent_share": 0.5, "missing": 0.3},
    },
    {"batch": 5, "modalities": 3, "classes": 2, "absent_share": 0.5, "label_smoothing": 0.1},
)
"""Arguments of `make_problem` for compiled steps: few, with every option among them."""
SCALES = (0.0, 0.3, 3.0, 50.0, 1e4)


class Drawn:
    """A drawn case, shown as the call that makes it: Hypothesis would spell every field."""

    recipe: str

    def __repr__(self) -> str:
        return self.recipe

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(self.recipe)


@dataclass(frozen=True, repr=False)
class Problem(Drawn):
    """Inputs of one step.

    Attributes
    ----------
    labels : array, shape (B,) or (B, C), integer
    features : list of M arrays, shapes (B, D_m), the last one (B, T, D)
    mask : array, shape (B, T), bool, or None
        The tokens of the last modality that are there; the others hold NaN.
    fused : array, shape (B, C)
    unimodal : list of M arrays, shape (B, C)
    alpha : array, shape (M,)
    step : int
        Number of alpha updates so far.
    similarity, weight, eta, variant, alpha_update, max_alpha, aligned_only : as for `midas_core.midas_objective`
    sample_weight, class_weights, label_smoothing : as for `midas_core.Targets`
    present : array, shape (B, M), bool, or None
    absent_share : float
        As for `midas_core.draw_pairs`.
    absent : array, shape (M, V, B), bool, or None
        Modalities that mixed samples without a partner lack.
    mixed : array, shape (V, B, C), or None
        None during warm-up and in the aligned finish.
    partners : array, shape (M - 1, B)
    assignment : array, shape (M, B), or None
        Order of the modalities; None keeps it.
    recipe : str
        Call that makes it.
    """

    labels: np.ndarray
    features: list[np.ndarray]
    fused: np.ndarray
    unimodal: list[np.ndarray]
    mixed: np.ndarray | None
    partners: np.ndarray
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
    absent_share: float = 0.0
    absent: np.ndarray | None = None
    mask: np.ndarray | None = None
    aligned_only: bool = False
    recipe: str = field(default="", compare=False)

    @property
    def options(self) -> tuple[Any, ...]:
        """Return the static options, on which a compiled step depends."""
        return (
            *(self.similarity, self.weight, self.eta, self.variant, self.alpha_update, self.max_alpha),
            *(self.label_smoothing, self.aligned_only),
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the logits."""
        return self.fused.dtype

    @property
    def tolerance(self) -> float:
        """Return the relative tolerance: 16 roundings times (1 + the largest logit).

        A log-probability is a difference of logits and carries their rounding.
        """
        tables = [self.fused, *self.unimodal, *([] if self.mixed is None else [self.mixed])]
        logits = [z.astype(np.float64) for z in tables]
        largest = max(float(np.max(np.abs(z), where=np.isfinite(z), initial=0)) for z in logits)
        return 16 * float(np.finfo("float64" if self.dtype == np.float64 else "float32").eps) * (1 + largest)

    def lists(self) -> SimpleNamespace:
        """Return the problem as nested lists of Python numbers, for the oracle."""

        def plain(x: Any) -> Any:
            if isinstance(x, list):
                return [plain(item) for item in x]
            return x.tolist() if isinstance(x, np.ndarray) else x

        return SimpleNamespace(**{name: plain(value) for name, value in vars(self).items()})


def with_mask(features: list[Any], mask: Any) -> list[Any]:
    """Return features as the core takes them: the last one as a dict with its mask, where it has one."""
    return features if mask is None else [*features[:-1], {"tokens": features[-1], "mask": mask}]


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
    aligned_only: bool = False,
    first_step: bool = False,
    alpha: float = 1.5,
    drawn_pairs: bool = True,
    assigned: bool = True,
    multi_label: bool = False,
    sample_weight: bool = False,
    class_weights: bool = False,
    missing: float = 0.0,
    absent_share: float = 0.0,
    padded: bool = False,
    **options: Any,
) -> Problem:
    """Make a problem from a seed and its structure.

    Parameters
    ----------
    seed : int
        Seed of all numbers.
    batch, modalities, classes : int
        B, M and C.
    scale : float
        Standard deviation of the logits.
    dtype : {"float64", "float32"}
    label_kind : {"any", "one class", "one large class"}
        "one large class" fills more than half of the batch.
    zero_features : bool
        Whether half of the features are zero vectors.
    warmup, aligned_only, first_step : bool
        Whether the step belongs to the warm-up or to the aligned finish, or is the first one.
    alpha : float
        Alpha before the step.
    drawn_pairs : bool
        Whether partners belong to another class where possible; else they are a plain permutation.
    assigned : bool
        Whether partners are assigned to the modalities at random.
    multi_label, sample_weight, class_weights : bool
        Whether there are multi-label rows, and weights.
    missing, absent_share : float
        Shares of modalities that are missing, and hold NaN, and of mixed samples without a partner.
    padded : bool
        Whether the last modality has a padding mask.
    **options
        similarity, weight, eta, variant, alpha_update, max_alpha, label_smoothing: as for `midas_core.midas_objective`
        and `midas_core.Targets`.

    Returns
    -------
    Problem

    Examples
    --------
    >>> make_problem(0, 4, 2, 3, scale=50.0)
    make_problem(0, 4, 2, 3, scale=50.0)
    """
    recipe = _recipe(locals())
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, batch)
    if multi_label:
        labels = rng.integers(0, 2, (batch, classes))
    if label_kind == "one class":
        labels[:] = labels[0]
    elif label_kind == "one large class":
        labels[: batch // 2 + 1] = labels[0]

    def logits(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(dtype)

    # The last modality is a sequence of two tokens.
    shapes = [(batch, 3 + m) for m in range(modalities - 1)] + [(batch, 2, 3)]
    features = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    if zero_features:
        features = [
            x * (rng.random(batch) < 0.5).reshape((batch,) + (1,) * (x.ndim - 1)).astype(dtype) for x in features
        ]
    partners = rng.permutation(batch)[None]
    while len(partners) < modalities - 1:
        partners = np.concatenate([partners, partners[:1, partners[-1]]])
    if drawn_pairs:
        numbers = rng.random((modalities - 1, batch)).tolist()
        partners = np.array(oracle.draw_partners(labels.tolist(), numbers))
    assignment = None
    if modalities > 2 and assigned:
        assignment = np.argsort(rng.random((modalities, batch)), axis=0)
    start = np.full(modalities, alpha, dtype)
    if not first_step:
        start[np.arange(modalities) != rng.integers(modalities)] = 1
    fused = logits(batch, classes)
    unimodal = [logits(batch, classes) for _ in range(modalities)]
    mixed = None if warmup or aligned_only else logits(2, batch, classes)
    options["sample_weight"] = (3 * rng.random(batch)).astype(dtype) if sample_weight else None
    options["class_weights"] = (3 * rng.random(classes)).astype(dtype) if class_weights else None
    if missing:
        present = options["present"] = rng.random((batch, modalities)) >= missing
        # Missing modalities may hold anything.
        for m in range(modalities):
            features[m][~present[:, m]] = np.nan
            unimodal[m][~present[:, m]] = np.nan
    if absent_share:
        numbers = rng.random((oracle.VIEWS, batch)).tolist()
        options["absent"] = np.array(oracle.absent_modalities(numbers, modalities, absent_share))
    if padded:
        options["mask"] = rng.random(shapes[-1][:2]) < 0.6
        features[-1][~options["mask"]] = np.nan
    problem = Problem(
        labels=labels,
        features=features,
        fused=fused,
        unimodal=unimodal,
        mixed=mixed,
        partners=partners,
        assignment=assignment,
        alpha=start,
        step=0 if first_step else 3,
        absent_share=absent_share,
        aligned_only=aligned_only,
        recipe=recipe,
        **options,
    )
    if problem.present is not None and mixed is not None:
        for m, sources in enumerate(oracle.sources_of(problem.lists())):
            incomplete = ~problem.present[np.array(sources), m]
            mixed[incomplete if problem.absent is None else incomplete & ~problem.absent[m]] = np.nan
    return problem


def _recipe(arguments: dict[str, Any]) -> str:
    """Spell the call of `make_problem`, without default arguments."""
    defaults: dict[str, Any] = make_problem.__kwdefaults__ or {}
    positional = [repr(arguments[name]) for name in ("seed", "batch", "modalities", "classes")]
    named = {k: v for k, v in arguments.items() if k in defaults and v != defaults[k]} | arguments["options"]
    return f"make_problem({', '.join([*positional, *(f'{k}={v!r}' for k, v in named.items())])})"


@st.composite
def structures(
    draw: st.DrawFn,
    shapes: Sequence[tuple[int, int, int]] | None = None,
    dtypes: Sequence[str] = ("float64", "float32"),
    real: bool = True,
) -> dict[str, Any]:
    """Draw the arguments of `make_problem` that decide shapes, dtypes and options; parameters as for `problems`."""
    if shapes is None:
        batch, modalities, classes = draw(st.tuples(st.integers(1, 12), st.integers(2, 4), st.integers(2, 6)))
    else:
        batch, modalities, classes = draw(st.sampled_from(shapes))
    official = modalities == 2 and draw(st.booleans())
    kind = draw(st.sampled_from(("plain", "real", "multi-label") if real else ("plain",)))
    real = kind != "plain"
    phase = draw(st.sampled_from(("mixed", "mixed", "mixed", "mixed", "warm-up", "finish")))
    return {
        "batch": batch,
        "modalities": modalities,
        "classes": classes,
        "dtype": draw(st.sampled_from(dtypes)),
        "warmup": phase == "warm-up",
        "aligned_only": phase == "finish",
        "assigned": draw(st.booleans()),
        "similarity": draw(st.sampled_from(("cosine", "l2", None))),
        "weight": draw(st.sampled_from((0.0, 1.0, 5.0))),
        "eta": draw(st.sampled_from((0.05, 0.5))),
        "variant": "official" if official else "paper",
        "alpha_update": draw(st.sampled_from(("sign", "difference"))),
        "max_alpha": draw(st.sampled_from((None, 1.2, 10.0))),
        "multi_label": kind == "multi-label",
        "sample_weight": real and draw(st.booleans()),
        "class_weights": real and draw(st.booleans()),
        "label_smoothing": draw(st.sampled_from((None, 0.1, 0.5))) if real else None,
        "missing": draw(st.sampled_from((0.0, 0.3, 0.6))) if real and not official else 0.0,
        "absent_share": draw(st.sampled_from((0.0, 0.0, 0.0, 0.5))) if real and not official else 0.0,
        "padded": draw(st.booleans()),
    }


@st.composite
def problems(
    draw: st.DrawFn,
    shapes: Sequence[tuple[int, int, int]] | None = None,
    dtypes: Sequence[str] = ("float64", "float32"),
    scales: Sequence[float] = SCALES,
    real: bool = True,
    among: Sequence[dict[str, Any]] | None = None,
) -> Problem:
    """Draw a problem, of any shape (B, M, C) or of one of ``shapes``.

    Parameters
    ----------
    shapes : sequence of (B, M, C), optional
    dtypes : sequence of str
    scales : sequence of float
        Standard deviations of the logits.
    real : bool
        Whether some have weights, label smoothing, multi-label targets, missing modalities.
    among : sequence of dict, optional
        Structures to draw from instead of ``shapes`` and ``real``.

    Returns
    -------
    SearchStrategy of Problem
    """
    if among is None:
        structure = draw(structures(shapes, dtypes, real))
    else:
        structure = draw(st.sampled_from([s for s in among if s.get("dtype", "float64") in dtypes]))
    # The official ratio of mean confidences is undefined once they underflow.
    official = structure.get("variant") == "official"
    return make_problem(
        draw(st.integers(0, 2**32 - 1)),
        scale=draw(st.sampled_from([scale for scale in scales if not official or scale <= 3])),
        label_kind=draw(st.sampled_from(("any", "any", "one class", "one large class"))),
        zero_features=draw(st.booleans()),
        first_step=draw(st.booleans()),
        alpha=draw(st.sampled_from((1.0, 1.05, 1.5, 4.0))),
        drawn_pairs=draw(st.booleans()),
        **structure,
    )

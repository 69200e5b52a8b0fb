"""One step of MIDAS on Keras tensors: draw, mix, call the core, keep the state, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from midas_core.adapters.keras_backend import BACKEND, keras
from midas_core.adapters.keras_heads import FusedHead, HeadRun
from midas_core.adapters.keras_state import StateLayer, check_seed
from midas_core.adapters.options import check_class_weights, check_options
from midas_core.adapters.structure import Modalities
from midas_core.backends import Array
from midas_core.misalignment import draw_sources
from midas_core.objective import MidasTerms, midas_objective
from midas_core.targets import Targets, label_ids
from midas_core.validation import check_floating, check_shape
from midas_core.weighting import MidasState, similarity

ops = keras.ops


@dataclass(frozen=True)
class Options:
    """The options of `MidasLoss` that a step reads."""

    weight: float
    eta: float
    warmup_epochs: int
    variant: str
    reduction: str
    similarity: str | None
    alpha_update: str
    max_alpha: float | None
    initial_alpha: float
    label_smoothing: float
    class_weights: tuple[float, ...] | None
    multi_label: bool
    seed: int | None

    def __post_init__(self) -> None:
        options = self.as_dict()
        del options["class_weights"], options["seed"]
        check_options(**options)
        check_seed(self.seed)

    def check_modalities(self, count: int) -> None:
        """Raise ``ValueError`` if the variant does not fit the number of modalities."""
        if self.variant == "official" and count != 2:
            raise ValueError(f"variant: 'official' is defined for 2 modalities only, got {count}")

    def check_classes(self, num_classes: int) -> None:
        """Raise unless there is a weight for each class, if any."""
        if self.class_weights is not None:
            check_class_weights(self.class_weights, num_classes)

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name."""
        return asdict(self)


def step_terms(
    options: Options,
    state: StateLayer,
    features: Sequence[Array],
    labels: Array,
    unimodal_logits: Sequence[Array],
    head: FusedHead,
    run: HeadRun,
    *,
    num_classes: int,
    training: bool,
    permutation: Array | None = None,
    sample_weight: Array | None = None,
    present: Array | None = None,
) -> MidasTerms:
    """Return the terms for each sample; in training, move the state. ``run`` is what ``head`` made of ``features``."""
    count = len(features)
    targets = make_targets(options, labels, sample_weight, run.logits)
    # Label vectors are told apart by numbers, as many as there are samples.
    ids = label_ids(labels, backend=BACKEND) if options.multi_label else labels
    kinds = BACKEND.length(labels) if options.multi_label else num_classes
    numbers = state.draw(ids, kinds, count, training)
    sources = draw_sources(numbers, ids, count, variant=options.variant, permutation=permutation, backend=BACKEND)
    mixed_logits = head.mixed(features, run.products, sources)
    similarities = None
    if options.similarity is not None:
        similarities = similarity(features, sources, options.similarity, backend=BACKEND)

    before = state.read()

    def objective(fused: Array, mixed_logits: Array | None) -> tuple[MidasTerms, MidasState]:
        found = midas_objective(
            fused,
            unimodal_logits,
            mixed_logits,
            targets,
            sources,
            similarities,
            before,
            present=present,
            weight=options.weight,
            eta=options.eta,
            variant=options.variant,
            alpha_update=options.alpha_update,
            max_alpha=options.max_alpha,
            backend=BACKEND,
        )
        return found.terms, found.state

    if options.warmup_epochs == 0:
        terms, after = objective(run.logits, mixed_logits)
    else:
        # The epoch is a variable: a Python branch would be frozen into a traced step. The logits that are not
        # looked at are zeros, so that whatever they hold, no NaN comes back through them.
        warm = ops.less(ops.convert_to_tensor(state.epoch), options.warmup_epochs)
        quiet = [ops.where(warm, ops.zeros_like(z), z) for z in (run.logits, mixed_logits)]
        choices = zip(_flat(objective(run.logits, None)), _flat(objective(*quiet)), strict=True)
        chosen = [ops.where(warm, a, b) for a, b in choices]
        terms, after = MidasTerms(*chosen[:-2]), MidasState(*chosen[-2:])
    if training:
        state.write(after)
    return terms


def _flat(found: tuple[MidasTerms, MidasState]) -> list[Array]:
    return [*found[0], *found[1]]


def make_targets(options: Options, labels: Array, sample_weight: Array | None, like: Array) -> Array | Targets:
    """Return what the logits are compared with: the labels alone where nothing else is asked for."""
    weights = options.class_weights
    if sample_weight is None and weights is None and not options.label_smoothing and not options.multi_label:
        return labels
    dtype = "float64" if keras.backend.standardize_dtype(like.dtype) == "float64" else "float32"
    if sample_weight is not None:
        sample_weight = ops.cast(ops.reshape(ops.convert_to_tensor(sample_weight), (-1,)), dtype)
    if weights is not None:
        weights = ops.convert_to_tensor(weights, dtype=dtype)
    return Targets(labels, sample_weight, weights, options.label_smoothing or None)


def reduce_terms(terms: MidasTerms, reduction: str) -> MidasTerms:
    """Reduce over the batch."""
    if reduction == "none":
        return terms
    over = ops.mean if reduction == "mean" else ops.sum
    per_sample = {name: getattr(terms, name) for name in ("total", "aligned", "unimodal", "misaligned")}
    return terms._replace(**{name: over(x, axis=-1) for name, x in per_sample.items()})


def check_features(features: Sequence[Any], labels: Array, modalities: Modalities) -> list[Array]:
    """Return the features as tensors, or raise where one does not fit."""
    given = []
    for m, feature in enumerate(features):
        name = f"features of {modalities.title(m)}"
        feature = ops.convert_to_tensor(feature)
        check_floating(name, feature, BACKEND)
        if len(feature.shape) < 2:
            raise ValueError(f"{name}: expected shape (B, D), got {tuple(feature.shape)}")
        check_shape(name, feature, (labels.shape[0], *feature.shape[1:]), "(B, D)")
        given.append(feature)
    return given

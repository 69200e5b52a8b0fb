"""One step of MIDAS on Keras tensors: draw, mix, call the core, keep the state, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from midas_core.adapters.keras_backend import BACKEND, keras
from midas_core.adapters.keras_heads import FusedHead, HeadRun
from midas_core.adapters.keras_state import StateLayer, check_seed
from midas_core.adapters.structure import Modalities
from midas_core.backends import Array
from midas_core.misalignment import draw_sources
from midas_core.objective import MidasTerms, midas_objective
from midas_core.validation import check_choice, check_floating, check_labels, check_number, check_shape
from midas_core.weighting import ALPHA_UPDATES, SIMILARITIES, VARIANTS, MidasState, similarity

ops = keras.ops

REDUCTIONS = ("mean", "sum", "none")


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
    seed: int | None

    def __post_init__(self) -> None:
        check_number("weight", self.weight, minimum=0)
        check_number("eta", self.eta, minimum=0)
        check_number("warmup_epochs", self.warmup_epochs, minimum=0, whole=True)
        check_number("initial_alpha", self.initial_alpha, minimum=1)
        if self.max_alpha is not None:
            check_number("max_alpha", self.max_alpha, minimum=1)
        check_choice("variant", self.variant, VARIANTS)
        check_choice("reduction", self.reduction, REDUCTIONS)
        check_choice("similarity", self.similarity, SIMILARITIES)
        check_choice("alpha_update", self.alpha_update, ALPHA_UPDATES)
        check_seed(self.seed)

    def check_modalities(self, count: int) -> None:
        """Raise ``ValueError`` if the variant does not fit the number of modalities."""
        if self.variant == "official" and count != 2:
            raise ValueError(f"variant: 'official' is defined for 2 modalities only, got {count}")

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
) -> MidasTerms:
    """Return the terms for each sample; in training, move the state. ``run`` is what ``head`` made of ``features``."""
    count = len(features)
    numbers = state.draw(labels, num_classes, count, training)
    sources = draw_sources(numbers, labels, count, variant=options.variant, permutation=permutation, backend=BACKEND)
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
            labels,
            sources,
            similarities,
            before,
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


def reduce_terms(terms: MidasTerms, reduction: str, sample_weight: Array | None = None) -> MidasTerms:
    """Weigh the samples and reduce over the batch."""
    per_sample = {name: getattr(terms, name) for name in ("total", "aligned", "unimodal", "misaligned")}
    if sample_weight is not None:
        dtype = terms.total.dtype
        weights = ops.cast(ops.reshape(ops.convert_to_tensor(sample_weight), (-1,)), dtype)
        per_sample = {name: x * weights for name, x in per_sample.items()}
    if reduction != "none":
        over = ops.mean if reduction == "mean" else ops.sum
        per_sample = {name: over(x, axis=-1) for name, x in per_sample.items()}
    return terms._replace(**per_sample)


def class_indices(labels: Any, num_classes: int) -> Array:
    """Return labels of shape (B,) from class indices, (B,) or (B, 1), or from one-hot rows, (B, C)."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2:
        if labels.shape[1] == 1:
            labels = ops.squeeze(labels, axis=1)
        else:
            check_shape("labels", labels, (None, num_classes), "(B, C)")
            labels = ops.argmax(labels, axis=-1)
    check_labels(labels, BACKEND)
    return labels


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

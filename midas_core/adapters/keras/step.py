"""One step of MIDAS on Keras tensors: draw, mix, call the core, keep the state, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.adapters.keras.backend import BACKEND, keras
from midas_core.adapters.keras.heads import FusedHead, HeadRun
from midas_core.adapters.keras.inputs import Labels
from midas_core.adapters.keras.masks import FEATURE
from midas_core.adapters.keras.state import StateLayer
from midas_core.backends import Array
from midas_core.cross_entropy import Targets
from midas_core.modalities import Modalities
from midas_core.objective import MidasTerms, midas_objective
from midas_core.options import MidasOptions
from midas_core.pairing import draw_pairs
from midas_core.similarity import similarity
from midas_core.validation import check_floating, check_shape

ops = keras.ops


class Pass(NamedTuple):
    """Results of a forward pass of a model or a loop; unimodal logits where a loss follows or they have a vote."""

    model: Any
    features: list[Any]
    present: Array | None
    head: FusedHead
    head_run: HeadRun
    unimodal_logits: list[Array] | None
    predictions: Array


def step_terms(
    options: MidasOptions,
    state: StateLayer,
    forward: Pass,
    labels: Labels,
    *,
    training: bool,
    permutation: Array | None = None,
    sample_weight: Array | None = None,
    mixed: bool = True,
) -> MidasTerms:
    """Return the terms of each sample after a forward pass; where samples are ``mixed`` in training, move the state."""
    features, run = forward.features, forward.head_run
    count = len(features)
    targets = make_targets(options, labels.values, sample_weight, run.logits)
    share = options.absent_share
    numbers = state.draw(labels.values, count, training, share > 0)
    rule: dict[str, Any] = {"variant": options.variant, "permutation": permutation, "absent_share": share}
    pairs = draw_pairs(numbers, labels.values, count, **rule, backend=BACKEND)
    mixed_logits = forward.head.mixed(features, run.products, pairs) if mixed else None
    similarities = None
    if mixed and options.similarity is not None:
        similarities = similarity(features, pairs, options.similarity, backend=BACKEND)

    # The epoch is a variable: a Python branch would be frozen into a traced step. In evaluation the loss is the full
    # one, so that epochs can be compared.
    phase: dict[str, Array] = {}
    if mixed and training:
        epoch = ops.convert_to_tensor(state.epoch)
        if options.warmup_epochs:
            phase["warmup"] = epoch < options.warmup_epochs
        if options.aligned_from is not None:
            phase["aligned_only"] = epoch >= options.aligned_from
    objective = midas_objective(
        run.logits,
        forward.unimodal_logits or [],
        mixed_logits,
        targets,
        pairs,
        similarities,
        state.read(),
        present=forward.present,
        weight=options.weight,
        **phase,
        **options.alpha_rule,
        backend=BACKEND,
    )
    if mixed and training:
        state.write(objective.state)
    return objective.terms._replace(total=labels.nan_where_wrong(objective.terms.total))


def make_targets(options: MidasOptions, labels: Array, sample_weight: Array | None, like: Array) -> Array | Targets:
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


def check_features(features: Sequence[Any], labels: Array, modalities: Modalities, raw: bool = False) -> None:
    """Raise where a feature does not fit the labels; ``raw`` ones may be of any dtype and shape."""
    for m, modality in enumerate(features):
        name = f"features of {modalities.title(m)}"
        feature = modality[FEATURE] if isinstance(modality, dict) else modality
        if not raw:
            check_floating(name, feature, BACKEND)
        if len(feature.shape) < (1 if raw else 2):
            raise ValueError(f"{name}: expected shape (B, D), got {tuple(feature.shape)}")
        check_shape(name, feature, (labels.shape[0], *feature.shape[1:]), "(B, D)")


def check_compiled(options: MidasOptions, model: Any, vote: float) -> None:
    """Raise ``ValueError`` unless a `MidasModel`, with a vote of that weight, goes with the options."""
    if options.reduction == "none":
        raise ValueError("loss: expected reduction 'mean' or 'sum' for compile, got 'none'")
    options.check_fits(model.modalities.count, model.num_classes)
    several, probabilities = options.multi_label, model.probabilities
    fitting = "sigmoid" if several else "softmax"
    if probabilities not in (False, fitting):
        expected = f"expected {fitting!r} or False with multi_label={several}"
        raise ValueError(f"probabilities of the model: {expected}, got {probabilities!r}")
    if several and vote > 0 and probabilities != "sigmoid":
        raise ValueError(
            "ensemble_weight: expected 0, or probabilities='sigmoid' in the model, with multi_label=True, got "
            f"{vote:g} with probabilities={probabilities!r}"
        )

"""The options of `MidasLoss` that both adapters check alike."""

from __future__ import annotations

from typing import Any

from midas_core.validation import check_choice, check_fraction, check_number
from midas_core.weighting import ALPHA_UPDATES, SIMILARITIES, VARIANTS

HEAD_INPUTS = ("concatenated", "separate")
REDUCTIONS = ("mean", "sum", "none")


def check_options(
    *,
    weight: Any,
    eta: Any,
    warmup_epochs: Any,
    variant: Any,
    reduction: Any,
    similarity: Any,
    alpha_update: Any,
    max_alpha: Any,
    initial_alpha: Any,
    label_smoothing: Any,
    multi_label: Any,
) -> None:
    """Raise ``TypeError`` or ``ValueError`` if an option does not fit."""
    check_number("weight", weight, minimum=0)
    check_number("eta", eta, minimum=0)
    check_number("warmup_epochs", warmup_epochs, minimum=0, whole=True)
    check_number("initial_alpha", initial_alpha, minimum=1)
    if max_alpha is not None:
        check_number("max_alpha", max_alpha, minimum=1)
    check_choice("variant", variant, VARIANTS)
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("similarity", similarity, SIMILARITIES)
    check_choice("alpha_update", alpha_update, ALPHA_UPDATES)
    check_fraction("label_smoothing", label_smoothing)
    if not isinstance(multi_label, bool):
        raise TypeError(f"multi_label: expected True or False, got {multi_label!r}")


def read_class_weights(given: Any) -> tuple[float, ...]:
    """Return the weights as numbers, or raise unless they are finite and >= 0."""
    values = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"class_weights: expected a sequence of numbers, one each, got {type(given).__name__}")
    for c, value in enumerate(values):
        check_number(f"class_weights[{c}]", value, minimum=0)
    return tuple(float(value) for value in values)


def check_class_weights(values: tuple[float, ...], num_classes: int) -> None:
    """Raise ``ValueError`` unless there is a weight for each class."""
    if len(values) != num_classes:
        raise ValueError(f"class_weights: expected {num_classes} numbers, one for each class, got {len(values)}")

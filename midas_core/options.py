"""The options of `MidasLoss`: each one, its default and its check, once for both adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from midas_core.validation import check_choice, check_flag, check_fraction, check_number

VARIANTS = ("paper", "official")
ALPHA_UPDATES = ("sign", "difference")
SIMILARITIES = ("cosine", "l2", None)
REDUCTIONS = ("mean", "sum", "none")
HEAD_INPUTS = ("concatenated", "separate")

Similarity = str | Callable[[Any], Any] | None
"""Measure of the hard-sample weight; a callable takes a modality to vectors, shape (B, D)."""

MAX_SEED = 2**31 - 1
"""Bound of the seeds that every framework takes."""


@dataclass(frozen=True, kw_only=True)
class MidasOptions:
    """The options of `MidasLoss`, which documents them, checked. Numbers of NumPy become Python's."""

    weight: float = 1.0
    eta: float = 0.05
    warmup_epochs: int = 0
    aligned_from: int | None = None
    variant: str = "paper"
    reduction: str = "mean"
    similarity: Similarity = "cosine"
    alpha_update: str = "sign"
    max_alpha: float | None = None
    initial_alpha: float = 1.0
    label_smoothing: float = 0.0
    class_weights: Any = None
    multi_label: bool = False
    head_input: str = "concatenated"
    absent_share: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        read = {
            "weight": check_number("weight", self.weight, minimum=0),
            "eta": check_number("eta", self.eta, minimum=0),
            "warmup_epochs": check_number("warmup_epochs", self.warmup_epochs, minimum=0, whole=True),
            "aligned_from": check_aligned_from(self.aligned_from, self.warmup_epochs),
            "initial_alpha": check_number("initial_alpha", self.initial_alpha, minimum=1),
            "label_smoothing": check_fraction("label_smoothing", self.label_smoothing),
            "multi_label": check_flag("multi_label", self.multi_label),
            "absent_share": check_absent_share(self.absent_share, self.variant),
            "seed": check_seed(self.seed),
        }
        check_choice("variant", self.variant, VARIANTS)
        check_choice("reduction", self.reduction, REDUCTIONS)
        check_similarity(self.similarity)
        check_choice("alpha_update", self.alpha_update, ALPHA_UPDATES)
        check_choice("head_input", self.head_input, HEAD_INPUTS)
        if self.max_alpha is not None:
            read["max_alpha"] = check_number("max_alpha", self.max_alpha, minimum=1)
            if read["max_alpha"] < read["initial_alpha"]:
                raise ValueError(
                    f"max_alpha: expected a number >= initial_alpha = {self.initial_alpha:g}, got {self.max_alpha!r}"
                )
        if self.class_weights is not None:
            read["class_weights"] = read_class_weights(self.class_weights)
        for name, value in read.items():
            object.__setattr__(self, name, value)

    @classmethod
    def among(cls, arguments: Mapping[str, Any]) -> Self:
        """Return the options that are among the arguments of a constructor."""
        return cls(**{option.name: arguments[option.name] for option in fields(cls) if option.name in arguments})

    def check_fits(self, num_modalities: int, num_classes: int) -> None:
        """Raise ``ValueError`` unless the options fit M modalities and C classes."""
        check_variant(self.variant, num_modalities)
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise ValueError(
                f"class_weights: expected {num_classes} numbers, one for each class, got {len(self.class_weights)}"
            )

    @property
    def alpha_rule(self) -> dict[str, Any]:
        """How alpha moves, as `midas_core.weighting.weigh_pairs` takes it."""
        return {
            "eta": self.eta,
            "variant": self.variant,
            "alpha_update": self.alpha_update,
            "max_alpha": self.max_alpha,
        }

    @property
    def accepts_raw_inputs(self) -> bool:
        """Whether only the user's own modules look at the features: they may be raw inputs, such as token ids."""
        return self.similarity is None and self.head_input == "separate"

    @property
    def counts_epochs(self) -> bool:
        """Whether the loss goes by the epoch."""
        return self.warmup_epochs > 0 or self.aligned_from is not None

    def epoch_warning(self, owner: str) -> str:
        """Return the warning of a training that goes by the epoch, in which ``set_epoch`` was never called."""
        name, result = "warmup_epochs", "the loss stays the unimodal one"
        if self.warmup_epochs == 0:
            name, result = "aligned_from", "the loss never becomes the aligned one"
        return (
            f"{name}={getattr(self, name)}, but set_epoch was never called: {result}. "
            f"Call {owner}.set_epoch(epoch) at the start of every epoch."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name."""
        return asdict(self)


class Option:
    """An option as an attribute of a criterion with ``options``; setting it checks it as the constructor does."""

    def __set_name__(self, holder: type, name: str) -> None:
        self.name = name
        self.__doc__ = f"Option ``{name}``."

    def __get__(self, holder: Any, kind: type | None = None) -> Any:
        return self if holder is None else getattr(holder.options, self.name)

    def __set__(self, holder: Any, value: Any) -> None:
        options = replace(holder.options, **{self.name: value})
        if getattr(holder, "modalities", None) is not None:
            options.check_fits(holder.modalities.count, holder.num_classes)
        holder.options = options


def check_aligned_from(epoch: Any, warmup_epochs: int) -> int | None:
    """Return the epoch as a Python number, or raise unless it is None or a whole number after the warm-up."""
    if epoch is None:
        return None
    start: int = check_number("aligned_from", epoch, minimum=0, whole=True)
    if start < warmup_epochs:
        raise ValueError(f"aligned_from: expected a whole number >= warmup_epochs = {warmup_epochs}, got {epoch!r}")
    return start


def check_similarity(similarity: Any) -> None:
    """Raise ``ValueError`` unless the similarity is one of the choices, or callable."""
    if not callable(similarity):
        check_choice("similarity", similarity, SIMILARITIES)


def check_variant(variant: str, modalities: int, present: Any = None, absent: Any = None) -> None:
    """Raise ``ValueError`` unless the variant is a choice, and defined for what a step holds."""
    check_choice("variant", variant, VARIANTS)
    if variant == "official":
        if modalities != 2:
            raise ValueError(f"variant: 'official' is defined for 2 modalities only, got {modalities}")
        if absent is not None:
            raise ValueError("sources: expected no absent partner with variant 'official', got some")
    if present is not None:
        check_missing_allowed(variant)


def check_missing_allowed(variant: str) -> None:
    """Raise ``ValueError`` if the variant knows no missing modality."""
    if variant == "official":
        raise ValueError("present: expected None with variant 'official', which knows no missing modality, got a mask")


def check_absent_share(share: Any, variant: str) -> float:
    """Return the share as a Python number, or raise unless it is one in [0, 1] that the variant takes."""
    fraction: float = check_fraction("absent_share", share)
    if fraction and variant == "official":
        raise ValueError(f"absent_share: expected 0 with variant 'official', got {share!r}")
    return fraction


def check_seed(seed: Any) -> int | None:
    """Return the seed as a Python number, or raise unless it is None or a whole number that every framework takes."""
    if seed is None:
        return None
    number = int(check_number("seed", seed, minimum=0, whole=True))
    if number > MAX_SEED:
        raise ValueError(f"seed: expected a whole number < 2**31, got {seed!r}")
    return number


def read_class_weights(weights: Any) -> tuple[float, ...]:
    """Return the weights as numbers, or raise unless they are finite and >= 0."""
    values = weights.tolist() if hasattr(weights, "tolist") else weights
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"class_weights: expected a sequence of numbers, one each, got {type(weights).__name__}")
    return tuple(float(check_number(f"class_weights[{c}]", value, minimum=0)) for c, value in enumerate(values))

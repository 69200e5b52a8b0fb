"""What a criterion is given: unimodal heads at construction, features and labels in a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from midas_core.backends.torch import BACKEND, under_autocast
from midas_core.missing import check_present
from midas_core.modalities import Modalities
from midas_core.validation import check_floating, check_labels, check_number, check_shape


def make_heads(num_classes: int, feature_dims: Any, unimodal_heads: Any) -> tuple[Modalities, nn.ModuleList]:
    """Return the modalities and their unimodal heads: linear ones of the given widths, or the user's.

    Raises
    ------
    TypeError, ValueError
        Unless exactly one of the two is given, for two or more modalities.
    """
    if (feature_dims is None) == (unimodal_heads is None):
        raise ValueError(
            "feature_dims, unimodal_heads: expected exactly one of them, "
            f"got {'neither' if feature_dims is None else 'both'}"
        )
    if unimodal_heads is None:
        modalities = Modalities(feature_dims, "feature_dims")
        widths = modalities.unpack(feature_dims, "feature_dims")
        for m, width in enumerate(widths):
            name = f"feature_dims of {modalities.title(m)}"
            check_number(name, width, minimum=1, whole=True)
        return modalities, nn.ModuleList(nn.Linear(width, num_classes) for width in widths)
    if isinstance(unimodal_heads, nn.ModuleDict):
        unimodal_heads = dict(unimodal_heads.items())
    if isinstance(unimodal_heads, nn.ModuleList):
        unimodal_heads = list(unimodal_heads)
    modalities = Modalities(unimodal_heads, "unimodal_heads")
    heads = modalities.unpack(unimodal_heads, "unimodal_heads")
    for m, head in enumerate(heads):
        if not isinstance(head, nn.Module):
            raise TypeError(
                f"unimodal_heads of {modalities.title(m)}: expected an nn.Module, got {type(head).__name__}"
            )
    return modalities, nn.ModuleList(heads)


def check_batch(
    features: list[Any],
    labels: Any,
    modalities: Modalities,
    num_classes: int,
    multi_label: bool = False,
    raw: bool = False,
) -> Tensor:
    """Return the labels as class indices, or as they are where each sample has several.

    ``raw`` features may have any dtype, as token ids do.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or devices do not fit.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels: expected a tensor, got {type(labels).__name__}")
    if multi_label:
        check_shape("labels", labels, (None, num_classes), "(B, C)")
    elif labels.ndim == 2:
        check_shape("labels", labels, (None, num_classes), "(B, C), one-hot")
        labels = labels.argmax(dim=1)
    if not multi_label:
        check_labels(labels, BACKEND)
    if labels.shape[0] == 0:
        raise ValueError(f"labels: expected one sample or more, got shape {tuple(labels.shape)}")
    for m, feature in enumerate(features):
        name = f"features of {modalities.title(m)}"
        if not isinstance(feature, Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(feature).__name__}")
        if not raw:
            check_floating(name, feature, BACKEND)
        if feature.ndim < 2 or feature.shape[0] != labels.shape[0]:
            expected = f"shape (B, D) with B = {labels.shape[0]} as in labels"
            raise ValueError(f"{name}: expected {expected}, got {tuple(feature.shape)}")
        if feature.device != labels.device:
            raise ValueError(f"{name}: expected the device of labels, {labels.device}, got {feature.device}")
    return labels if multi_label else labels.to(torch.int64)


def check_widths(heads: Iterable[nn.Module], features: list[Tensor], modalities: Modalities) -> None:
    """Raise unless the linear unimodal heads take features of these widths and dtypes."""
    # Before the fused head's: where a feature is wrong, both are.
    for m, (head, feature) in enumerate(zip(heads, features, strict=True)):
        # A lazy one has no width before its first call.
        if isinstance(head, nn.Linear) and head.in_features > 0:
            expected = (feature.shape[0], head.in_features)
            name = f"features of {modalities.title(m)}"
            check_shape(name, feature, expected, "(B, D)")
            if feature.dtype != head.weight.dtype and not under_autocast(feature):
                raise TypeError(f"{name}: expected the dtype of its head, {head.weight.dtype}, got {feature.dtype}")


def check_sample_weight(sample_weight: Any, labels: Tensor) -> None:
    """Raise unless there is a weight for each sample, or None."""
    if sample_weight is None:
        return
    check_beside(sample_weight, "sample_weight", labels)
    check_shape("sample_weight", sample_weight, labels.shape[:1], "(B,)")


def presence(given: Any, labels: Tensor, modalities: Modalities) -> Tensor:
    """Return the mask of what is present, shape (B, M), from one tensor or from one of shape (B,) for each modality.

    Raises
    ------
    TypeError, ValueError
        If structure, dtypes, shapes or devices do not fit.
    """
    if not isinstance(given, Tensor):
        parts = modalities.unpack(given, "present")
        for m, part in enumerate(parts):
            name = f"present of {modalities.title(m)}"
            check_beside(part, name, labels)
            check_shape(name, part, labels.shape[:1], "(B,)")
        given = torch.stack(parts, dim=1)
    check_beside(given, "present", labels)
    check_present(given, labels.shape[0], modalities.count, BACKEND)
    return given


def check_beside(given: Any, name: str, labels: Tensor) -> None:
    """Raise unless ``given`` is a tensor on the device of the labels."""
    if not isinstance(given, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(given).__name__}")
    if given.device != labels.device:
        raise ValueError(f"{name}: expected the device of labels, {labels.device}, got {given.device}")


def check_logits(name: str, logits: Any, batch: int, num_classes: int) -> None:
    """Raise unless a head returned logits of shape (B, C)."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name}: expected to return a tensor, got {type(logits).__name__}")
    check_shape(f"output of the {name}", logits, (batch, num_classes), "(B, C)")

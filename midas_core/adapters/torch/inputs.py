"""Inputs of a criterion: unimodal heads at construction, features and labels in a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from midas_core.adapters.torch.values import check_one_hot, check_zeros_and_ones, may_look
from midas_core.backends.torch import BACKEND, under_autocast
from midas_core.missing import check_present
from midas_core.modalities import MASK, Modalities, feature_of, leaves, mask_of
from midas_core.validation import check_flag, check_floating, check_labels, check_number, check_shape, shape_text


class UnimodalHeads(nn.ModuleList):
    """The unimodal heads in the order of the modalities, which their names ask for too."""

    names: tuple[Any, ...] = ()

    def __getitem__(self, key: Any) -> Any:
        """Return the head of an index, or of a name."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self.names:
            raise KeyError(f"unimodal_heads: expected one of {list(self.names)}, got {key!r}")
        return super().__getitem__(self.names.index(key))


def make_heads(num_classes: int, feature_dims: Any, unimodal_heads: Any) -> tuple[Modalities, UnimodalHeads]:
    """Return the modalities and their unimodal heads: linear ones of the given widths, or the user's."""
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
        return modalities, _named(modalities, [nn.Linear(width, num_classes) for width in widths])
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
    return modalities, _named(modalities, heads)


def _named(modalities: Modalities, heads: list[nn.Module]) -> UnimodalHeads:
    named = UnimodalHeads(heads)
    named.names = modalities.names or ()
    return named


def check_attribute(criterion: Any, name: str, value: Any) -> Any:
    """Return what an attribute of a criterion becomes, or raise where it cannot be set to this value."""
    before = criterion.__dict__.get("_buffers", {}).get(name)
    if name == "check":
        return check_flag("check", value)
    if name in ("num_classes", "modalities") and name in criterion.__dict__:
        raise AttributeError(f"{name}: fixed by the unimodal heads; make another MidasLoss")
    if name == "epoch" and not isinstance(value, Tensor):
        raise TypeError(f"epoch: expected a call of set_epoch({value!r}), got an assignment")
    if name == "class_weights" and name in criterion._buffers and not (before is not None and before.is_meta):
        options = replace(criterion.options, class_weights=value)
        options.check_fits(criterion.modalities.count, criterion.num_classes)
        criterion.options, weights, alpha = options, options.class_weights, criterion.alpha
        return None if weights is None else torch.tensor(weights, dtype=alpha.dtype, device=alpha.device)
    if before is not None and isinstance(value, Tensor):
        check_shape(name, value, before.shape, "as before")
    return value


def read_labels(labels: Any, num_classes: int, multi_label: bool, look: bool) -> Tensor:
    """Return class indices (B,), int64; with ``multi_label`` rows (B, C). ``look`` waits for the values of rows."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels: expected a tensor, got {type(labels).__name__}")
    if multi_label:
        check_shape("labels", labels, (None, num_classes), "(B, C)")
        if look or may_look(labels):
            check_zeros_and_ones(labels)
        return labels
    if labels.ndim == 2:
        labels = _classes_of_rows(labels, num_classes, look)
    check_labels(labels, BACKEND)
    return labels.to(torch.int64)


def check_features(
    features: list[Any],
    like: Tensor,
    whose: str,
    modalities: Modalities,
    *,
    raw: bool = False,
    head_input: str = "concatenated",
) -> None:
    """Raise unless the features have as many samples as ``like``, which ``whose`` names, and are on its device."""
    for m, feature in enumerate(features):
        if _is_plain(feature) and feature.shape[0] == like.shape[0] and feature.device == like.device:
            continue
        name = f"features of {modalities.title(m)}"
        check_modality(name, feature, like, whose)
        if head_input == "concatenated" and not isinstance(feature, Tensor):
            raise TypeError(
                f"{name}: expected a tensor with head_input='concatenated', got {type(feature).__name__}; pass "
                "head_input='separate', a head that takes the modalities as they are, and unimodal_heads"
            )
        array = feature_of(feature, BACKEND)
        if not raw:
            check_floating(name, array, BACKEND)
        if array.ndim < 2:
            expected = f"shape (B, D) with B = {like.shape[0]} as in {whose}"
            raise ValueError(f"{name}: expected {expected}, got {tuple(array.shape)}")


def _is_plain(feature: Any) -> bool:
    """Whether a feature is what most are: one dense tensor (B, D, ...) in full precision."""
    if not isinstance(feature, Tensor) or feature.is_nested or feature.layout != torch.strided:
        return False
    return feature.ndim > 1 and feature.dtype in (torch.float32, torch.float64)


def check_modality(name: str, modality: Any, like: Tensor, whose: str) -> None:
    """Raise unless a modality is a dense tensor, or several, with the samples and on the device of ``like``."""
    entries = {name: modality}
    if _is_structure(modality):
        keys = modality if isinstance(modality, Mapping) else range(len(modality))
        entries = {f"{name}, entry {key!r}": x for key, x in zip(keys, leaves(modality), strict=True)}
        if not entries:
            raise ValueError(f"{name}: expected a tensor, or a dict or tuple of tensors, got an empty one")
    for entry, x in entries.items():
        check_dense(entry, x)
        if x.ndim < 1 or x.shape[0] != like.shape[0]:
            symbols = "(B, D)" if x is modality else "(B, ...)"
            expected = f"shape {symbols} with B = {like.shape[0]} as in {whose}"
            raise ValueError(f"{entry}: expected {expected}, got {tuple(x.shape)}")
        if x.device != like.device:
            raise ValueError(f"{entry}: expected the device of {whose}, {like.device}, got {x.device}")
    mask = mask_of(modality)
    if mask is not None:
        entry, tokens = f"{name}, entry {MASK!r}", feature_of(modality, BACKEND).shape[:2]
        if mask.dtype != torch.bool:
            raise TypeError(f"{entry}: expected dtype bool, True for what is there, got {mask.dtype}; pass mask.bool()")
        check_shape(entry, mask, tokens, "(B, T)")


def _is_structure(modality: Any) -> bool:
    """Whether a modality holds several tensors; an output of a model is to be picked apart by the user."""
    if isinstance(modality, PackedSequence) or hasattr(modality, "last_hidden_state") or hasattr(modality, "logits"):
        return False
    return isinstance(modality, (Mapping, tuple))


def _classes_of_rows(rows: Tensor, num_classes: int, look: bool) -> Tensor:
    if rows.shape[1] == 1:
        raise ValueError(f"labels: expected shape (B,), got {shape_text(rows)}; pass labels.squeeze(1)")
    check_shape("labels", rows, (None, num_classes), "(B, C), one-hot")
    if rows.is_floating_point():
        raise TypeError(
            f"labels: expected class indices (B,) or one-hot rows (B, C) of an integer dtype, got {rows.dtype}; soft "
            "labels are not supported: labels.argmax(dim=1) takes one class of each row, multi_label=True takes rows "
            "of 0 and 1"
        )
    rows = rows.to(torch.int64)
    if look or may_look(rows):
        check_one_hot(rows)
    return rows.argmax(dim=1)


def check_dense(name: str, x: Any) -> None:
    """Raise ``TypeError`` unless a feature is a dense tensor; say what to pass."""
    if x is None:
        raise TypeError(
            f"{name}: expected a tensor, got None; for samples that lack a modality pass zeros, and present="
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}{_way_out(x)}")
    if x.is_nested:
        raise TypeError(
            f"{name}: expected a dense tensor, got a nested one; make one row of each sample, such as its mean over "
            "the sequence, or pass torch.nested.to_padded_tensor(x, 0.0)"
        )
    if x.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {x.layout}; pass x.to_dense()")


def _way_out(output: Any) -> str:
    """Say where the tensor may be, in what an encoder returned."""
    if hasattr(output, "last_hidden_state"):
        return "; take one of its tensors, such as pooler_output or last_hidden_state.mean(dim=1)"
    if hasattr(output, "logits"):
        return "; take its logits"
    if isinstance(output, PackedSequence):
        return "; pass the tensor of torch.nn.utils.rnn.pad_packed_sequence(x) with a mask, or one row of each sample"
    return "; take one of its tensors" if isinstance(output, (tuple, Mapping)) else ""


def _one_row(feature: Tensor, width: int) -> str:
    """Say how to make one row for each sample of a feature of more axes."""
    if feature.ndim < 3:
        return ""
    flat = feature.shape[1:].numel() == width
    return "; pass x.flatten(1)" if flat else "; make one row of each sample, such as x.mean(dim=1) of a sequence"


def check_widths(heads: Iterable[nn.Module], features: list[Any], modalities: Modalities) -> None:
    """Raise unless the unimodal heads that begin with a linear layer take features of these widths and dtypes."""
    # Before the fused head's: where a feature is wrong, both are.
    for m, (head, feature) in enumerate(zip(heads, features, strict=True)):
        first = _first_linear(head)
        if first is None:
            continue
        if not isinstance(feature, Tensor):
            if type(first) is not nn.Linear:
                continue
            raise TypeError(
                f"features of {modalities.title(m)}: expected a tensor for its linear head, got "
                f"{type(feature).__name__}; pass unimodal_heads= that take it as it is"
            )
        if head is first and (feature.ndim != 2 or feature.shape[1] != first.in_features):
            name = f"features of {modalities.title(m)}"
            expected = f"expected shape (B, D) = ({feature.shape[0]}, {first.in_features}), got {shape_text(feature)}"
            raise ValueError(f"{name}: {expected}{_one_row(feature, first.in_features)}")
        _check_dtype(feature, first, modalities, m, "its head")


def check_callable(head: Any) -> None:
    """Raise ``TypeError`` unless a fused head can be called."""
    if not callable(head):
        raise TypeError(f"head: expected a callable, got {type(head).__name__}")


def check_head(head: Any, features: list[Tensor], modalities: Modalities) -> None:
    """Raise ``TypeError`` unless a fused head that begins with a linear layer has the dtype of the features."""
    first = _first_linear(head)
    if first is not None:
        for m, x in enumerate(features):
            _check_dtype(x, first, modalities, m, "the head")


def _first_linear(head: Any) -> nn.Linear | None:
    """Return the linear layer that a head begins with; a lazy one has no width before its first call."""
    first = head[0] if isinstance(head, nn.Sequential) and len(head) else head
    return first if isinstance(first, nn.Linear) and first.in_features > 0 else None


def _check_dtype(x: Tensor, head: nn.Linear, modalities: Modalities, m: int, whose: str) -> None:
    """Raise ``TypeError`` unless a linear head has the dtype of its input, or autocast converts it."""
    weight: Any = getattr(head, "weight", None)
    # A hook may change the one or the other.
    if not isinstance(weight, Tensor) or weight.dtype == x.dtype or getattr(head, "_forward_pre_hooks", None):
        return
    name = f"features of {modalities.title(m)}"
    if not under_autocast(x) and x.is_floating_point():
        half = x.dtype in (torch.float16, torch.bfloat16)
        way_out = (
            "call the criterion under the same autocast, or pass x.float()" if half else f"pass x.to({weight.dtype})"
        )
        raise TypeError(f"{name}: expected the dtype of {whose}, {weight.dtype}, got {x.dtype}; {way_out}")


def check_sample_weight(sample_weight: Any, labels: Tensor) -> None:
    """Raise unless there is a weight for each sample, or None."""
    if sample_weight is None:
        return
    check_beside(sample_weight, "sample_weight", labels)
    check_shape("sample_weight", sample_weight, labels.shape[:1], "(B,)")


def presence(present: Any, like: Tensor, modalities: Modalities, whose: str = "labels") -> Tensor:
    """Return the mask of what is present, shape (B, M), beside the samples of ``like``, which ``whose`` names."""
    if not isinstance(present, Tensor):
        parts = modalities.unpack(present, "present")
        for m, part in enumerate(parts):
            name = f"present of {modalities.title(m)}"
            check_beside(part, name, like, whose)
            check_shape(name, part, like.shape[:1], "(B,)")
        present = torch.stack(parts, dim=1)
    check_beside(present, "present", like, whose)
    check_present(present, like.shape[0], modalities.count, BACKEND)
    return present


def check_beside(tensor: Any, name: str, like: Tensor, whose: str = "labels") -> None:
    """Raise unless ``tensor`` is one on the device of ``like``, which ``whose`` names."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if tensor.device != like.device:
        raise ValueError(f"{name}: expected the device of {whose}, {like.device}, got {tensor.device}")


def check_logits(name: str, logits: Any, batch: int, num_classes: int | None) -> None:
    """Raise unless a head returned logits of shape (B, C)."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name}: expected to return a tensor, got {type(logits).__name__}{_way_out(logits)}")
    check_shape(f"output of the {name}", logits, (batch, num_classes), "(B, C)")
    check_floating(f"output of the {name}", logits, BACKEND)

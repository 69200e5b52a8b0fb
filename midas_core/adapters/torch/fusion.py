"""From the features of a batch to its fused logits, in the order in which the head was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from midas_core.adapters.torch.inputs import check_callable, check_features, check_logits, presence
from midas_core.backends.torch import BACKEND
from midas_core.missing import zero_missing
from midas_core.modalities import Modalities, leaves
from midas_core.options import HEAD_INPUTS
from midas_core.validation import check_choice, check_shape


def fuse(
    head: Callable[..., Tensor],
    features: Any,
    *,
    names: Sequence[str] | None,
    present: Any = None,
    head_input: str = "concatenated",
) -> Tensor:
    """Return the fused logits of a batch, for prediction without a criterion.

    The features are concatenated in the order of ``names``, whatever the order of the dict in which they come: the
    order of ``feature_dims`` (or ``unimodal_heads``) is the one in which `MidasLoss` trained the head.

    Parameters
    ----------
    head : callable
        The fused head, from the features to (B, C) logits.
    features : list, tuple, or dict by modality name, of M tensors, shapes (B, D_m)
        From the encoders.
    names : sequence of M str, or None
        The modalities in the order of the training; None for features without names, in a list or a tuple.
    present : Tensor, shape (B, M), bool; or like ``features``, of tensors, shape (B,), bool; optional
        Whether a sample has a modality. Features that are missing count as zeros, whatever they hold.
    head_input : {"concatenated", "separate"}
        Whether ``head`` takes the features concatenated along axis 1, or in the structure in which they were given.

    Returns
    -------
    Tensor, shape (B, C)

    Raises
    ------
    TypeError, ValueError
        If structure, names, shapes, dtypes or devices do not fit.

    Examples
    --------
    >>> import torch
    >>> head, audio, video = torch.nn.Linear(9, 3), torch.randn(8, 4), torch.randn(8, 5)
    >>> fused = fuse(head, {"video": video, "audio": audio}, names=["audio", "video"])
    >>> bool((fused == head(torch.cat([audio, video], dim=1))).all())
    True
    """
    check_choice("head_input", head_input, HEAD_INPUTS)
    modalities = _modalities(names, features)
    items, _ = read_features(features, modalities, head_input == "separate", head_input, present)
    return run_head(head, items, features, modalities, head_input)


def read_features(
    features: Any, modalities: Modalities, raw: bool, head_input: str, present: Any
) -> tuple[list[Any], Tensor | None]:
    """Return features without labels, zeros for what is missing, and the mask of what is present, (B, M) or None."""
    items = modalities.unpack(features, "features")
    whose = f"features of {modalities.title(0)}"
    first = next((x for x in leaves(items[0]) if isinstance(x, Tensor)), items[0])
    if isinstance(first, Tensor) and first.ndim < 1:
        check_shape(whose, first, (None, None), "(B, D)")
    check_features(items, first, whose, modalities, raw=raw, head_input=head_input)
    if present is None:
        return items, None
    present = presence(present, first, modalities, whose)
    return zero_missing(items, present, backend=BACKEND), present


def run_head(
    head: Callable[..., Tensor],
    features: list[Tensor],
    like: Any,
    modalities: Modalities,
    head_input: str,
    num_classes: int | None = None,
) -> Tensor:
    """Run the fused head on features in the order of the modalities; raise unless it returns logits (B, C)."""
    check_callable(head)
    logits = head(torch.cat(features, dim=1) if head_input == "concatenated" else modalities.pack(features, like))
    check_logits("head", logits, leaves(features[0])[0].shape[0], num_classes)
    return logits


def _modalities(names: Any, features: Any) -> Modalities:
    """Return the modalities in the order of their names."""
    if names is None:
        if isinstance(features, Mapping):
            raise ValueError(
                "names: expected the modalities in the order in which the head was trained (as in feature_dims), "
                f"because features come by name, got None with features {list(features)}"
            )
        return Modalities(features, "features")
    if isinstance(names, str) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"names: expected different modality names, got {names!r}")
    return Modalities(dict.fromkeys(names), "names")

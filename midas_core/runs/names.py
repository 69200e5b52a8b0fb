"""Names of the metrics: the same in every log, as the Keras adapter writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from midas_core.files import as_python
from midas_core.objective import MidasTerms

PER_MODALITY = ("unimodal_loss", "alpha", "confidence", "fused_confidence")
_TERMS = {
    "total": "loss",
    "aligned": "aligned_loss",
    "unimodal": "unimodal_loss",
    "misaligned": "misaligned_loss",
    "alpha": "alpha",
    "confidence": "confidence",
    "fused_confidence": "fused_confidence",
}


def metric_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics of a training step.

    Parameters
    ----------
    modalities : sequence of M names

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> metric_names(["audio", "video"])[:4]
    ('loss', 'aligned_loss', 'misaligned_loss', 'unimodal_loss_audio')
    """
    names = ["loss", "aligned_loss", "misaligned_loss"]
    return (*names, *(f"{key}_{name}" for key in PER_MODALITY for name in modalities))


def term_metrics(terms: MidasTerms, modalities: Sequence[str], *, prefix: str = "") -> dict[str, float]:
    """Return the reduced terms of a step as plain numbers by name.

    Parameters
    ----------
    terms : MidasTerms
        Reduced over the batch, as the adapters return them: scalars and vectors of M; else ``ValueError``.
    modalities : sequence of M names
    prefix : str
        In front of every name: ``"val_"`` for validation data.

    Returns
    -------
    dict of float
        By the names of `metric_names`, without the confidences where the batch offers no pair.

    Examples
    --------
    >>> import numpy as np
    >>> two = np.array([1.0, 1.5])
    >>> metrics = term_metrics(MidasTerms(3.0, 1.0, two, 0.5, two, two, two), ["audio", "video"])
    >>> metrics["loss"], metrics["alpha_video"]
    (3.0, 1.5)
    """
    flat = flatten({_TERMS[key]: x for key, x in terms._asdict().items() if key in _TERMS}, modalities)
    for key in ("confidence", "fused_confidence"):
        shares = [name for name in (f"{key}_{modality}" for modality in modalities) if name in flat]
        # Shares sum to one. Where a batch offers no pair there are none, and they are given as zeros.
        if not any(flat[name] for name in shares):
            flat = {name: value for name, value in flat.items() if name not in shares}
    order = [name for name in metric_names(modalities) if name in flat]
    return {prefix + name: flat[name] for name in order}


def flatten(metrics: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, float]:
    """Return plain floats by name; a vector of M and a dict by modality become one entry for each modality."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names of type str, got {name!r}")
        if value is None:
            continue
        if isinstance(value, Mapping):
            if set(value) != set(modalities):
                raise ValueError(f"{name}: expected one value for each of {list(modalities)}, got {list(value)}")
            value = [value[modality] for modality in modalities]
        value = as_python(value)
        if not isinstance(value, list | tuple):
            flat[name] = _number(name, value)
            continue
        if len(value) != len(modalities):
            raise ValueError(f"{name}: expected {len(modalities)} values, one for each modality, got {len(value)}")
        flat |= {f"{name}_{m}": _number(name, as_python(x)) for m, x in zip(modalities, value, strict=True)}
    return flat


def _number(name: str, value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{name}: expected a number or one for each modality, got {type(value).__name__} {value!r}")

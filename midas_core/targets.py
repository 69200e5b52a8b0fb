"""What logits are compared with: labels, weights, label smoothing, and how they have to fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend
from midas_core.misalignment import VIEWS
from midas_core.missing import check_present
from midas_core.validation import (
    check_fraction,
    check_labels,
    check_logits,
    check_modalities,
    check_shape,
)


class Targets(NamedTuple):
    """Labels, and how every cross-entropy takes them; for `midas_objective` and `midas_gradients` in place of labels.

    Attributes
    ----------
    labels : array, shape (B,), integer; or (B, C), of 0 and 1
        One class for each sample; or any number of them (multi-label), which makes every cross-entropy the mean of C
        binary ones.
    sample_weight : array, shape (B,), optional
        Multiplies each term -log p(label of a sample), also where that sample is a part of a mixed one.
    class_weights : array, shape (C,), optional
        Multiplies likewise by the class of the sample; for (B, C) labels the binary cross-entropy of each class.
    label_smoothing : float, optional
        eps: the loss takes (1 - eps) * label + eps / C, for (B, C) labels (1 - eps) * label + eps / 2.

    Notes
    -----
    The weights are constants of the differentiation. They do not enter the mean over the batch, nor, as the smoothing,
    any confidence.

    Examples
    --------
    >>> import numpy as np
    >>> Targets(np.array([0, 1]), label_smoothing=0.1).label_smoothing
    0.1
    """

    labels: Array
    sample_weight: Array | None = None
    class_weights: Array | None = None
    label_smoothing: float | None = None

    @property
    def plain(self) -> bool:
        """Whether the loss takes the very confidences."""
        return self.label_smoothing is None and (self.class_weights is None or not self.multi_label)

    @property
    def multi_label(self) -> bool:
        """Whether each sample has a vector of labels."""
        return len(self.labels.shape) == 2


def as_targets(labels: Array | Targets) -> Targets:
    """Return what is given as `Targets`."""
    return labels if isinstance(labels, Targets) else Targets(labels)


def check_batch(
    fused_logits: Array,
    unimodal_logits: Sequence[Array],
    mixed_logits: Array | None,
    labels: Array | Targets,
    sources: Array,
    present: Array | None,
    bk: Backend,
) -> None:
    """Raise unless structure, shapes and dtypes of a batch fit together."""
    check_modalities("unimodal_logits", unimodal_logits)
    targets = as_targets(labels)
    multi_label = targets.multi_label
    # An array of two axes is more likely one-hot than multi-label: that one has to say so.
    if not (multi_label and isinstance(labels, Targets)):
        check_labels(targets.labels, bk)
    batch = targets.labels.shape[0]
    check_logits("fused_logits", fused_logits, (batch, None), "(B, C)", bk)
    classes = fused_logits.shape[1]
    for m, logits in enumerate(unimodal_logits):
        check_logits(f"unimodal_logits[{m}]", logits, (batch, classes), "(B, C)", bk)
    check_shape("sources", sources, (len(unimodal_logits), VIEWS, batch), "(M, V, B)")
    if mixed_logits is not None:
        check_logits("mixed_logits", mixed_logits, (VIEWS, batch, classes), "(V, B, C)", bk)
    if multi_label:
        check_shape("labels", targets.labels, (batch, classes), "(B, C)")
    check_options(targets, batch, classes)
    if present is not None:
        check_present(present, batch, len(unimodal_logits), bk)


def check_options(targets: Targets, batch: int | None, classes: int | None) -> None:
    """Raise unless weights and smoothing fit."""
    if targets.sample_weight is not None:
        check_shape("sample_weight", targets.sample_weight, (batch,), "(B,)")
    if targets.class_weights is not None:
        check_shape("class_weights", targets.class_weights, (classes,), "(C,)")
    # Traced, it is an array, and its value unknown.
    if isinstance(targets.label_smoothing, (bool, int, float, str)):
        check_fraction("label_smoothing", targets.label_smoothing)

"""The cross-entropy at the label of a sample, in all its options (eq. 9), and the targets that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend
from midas_core.missing import check_present
from midas_core.pairing import take_rows
from midas_core.partners import VIEWS
from midas_core.validation import check_fraction, check_labels, check_logits, check_modalities, check_range, check_shape
from midas_core.weighting import log_confidence


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
    elif bk.name == "numpy":
        # NumPy counts a negative index from the end, without a word.
        check_range("labels", targets.labels, classes)
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


def log_likelihoods(
    logits: Array, targets: Targets, bk: Backend, parts: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Return log c and what the loss takes the negative of, one and the same where no option asks for more.

    Both (B,) for logits (B, C); (M, V, B), for the label of each part, for logits (V, B, C) of mixed samples with
    ``parts``, the source matrix and classes of their `Pairs`.
    """
    xp = bk.xp
    smoothing, weights = targets.label_smoothing, targets.class_weights
    if targets.multi_label:
        logits = bk.in_full_precision(logits)
        labels = xp.astype(targets.labels, logits.dtype, copy=False)
        sources = None if parts is None else parts[0]
        log_c = _log_bernoulli(logits, labels, None, sources, bk)
        if targets.plain:
            return log_c, log_c
        return log_c, _log_bernoulli(logits, _smooth(labels, smoothing, 2), weights, sources, bk)
    if parts is None:
        log_c = log_confidence(logits, targets.labels, backend=bk)
    else:
        logits = bk.in_full_precision(logits)
        index = xp.permute_dims(parts[1], (1, 2, 0))
        picked = xp.take_along_axis(logits, index, axis=-1)
        log_c = xp.permute_dims(picked - bk.logsumexp(logits)[..., None], (2, 0, 1))
    if smoothing is None:
        return log_c, log_c
    logits = bk.in_full_precision(logits)
    even = xp.mean(logits, axis=-1) - bk.logsumexp(logits)
    return log_c, (1 - smoothing) * log_c + smoothing * even


def label_weights(targets: Targets, dtype: object, bk: Backend) -> Array | None:
    """Return the weight of what is said about each sample, shape (B,); None for 1."""
    xp = bk.xp
    found = None
    if targets.sample_weight is not None:
        found = bk.stop_gradient(xp.astype(targets.sample_weight, dtype, copy=False))
    if targets.class_weights is not None and not targets.multi_label:
        by_class = bk.stop_gradient(xp.astype(targets.class_weights, dtype, copy=False))
        own = xp.take(by_class, xp.astype(targets.labels, bk.index_dtype(), copy=False), axis=0)
        found = own if found is None else found * own
    return found


def probabilities(logits: Array, targets: Targets, bk: Backend) -> Array:
    """Return the derivative of the normaliser: softmax; for (B, C) labels sigmoid / C, weighted by class."""
    xp = bk.xp
    logits = bk.in_full_precision(logits)
    if not targets.multi_label:
        return xp.exp(logits - bk.logsumexp(logits)[..., None])
    return _by_class(xp.exp(logits - xp.logaddexp(logits, xp.zeros_like(logits))), targets.class_weights, bk)


def target_rows(targets: Targets, like: Array, bk: Backend) -> Array:
    """Return what `probabilities` should become, shape (B, C): smoothed one-hot rows or label vectors."""
    xp = bk.xp
    if targets.multi_label:
        labels = _smooth(xp.astype(targets.labels, like.dtype, copy=False), targets.label_smoothing, 2)
        return _by_class(labels, targets.class_weights, bk)
    labels = xp.astype(targets.labels, bk.index_dtype(), copy=False)
    one_hot = xp.astype(labels[..., None] == bk.arange(like.shape[-1], like), like.dtype)
    return _smooth(one_hot, targets.label_smoothing, like.shape[-1])


def _smooth(rows: Array, smoothing: float | None, count: int) -> Array:
    return rows if smoothing is None else (1 - smoothing) * rows + smoothing / count


def _by_class(rows: Array, weights: Array | None, bk: Backend) -> Array:
    """Return rows / C, weighted by class: the factors of a mean over the classes."""
    if weights is not None:
        rows = rows * bk.stop_gradient(bk.xp.astype(weights, rows.dtype, copy=False))
    return rows / rows.shape[-1]


def _log_bernoulli(logits: Array, labels: Array, weights: Array | None, sources: Array | None, bk: Backend) -> Array:
    """Return minus the mean binary cross-entropy: mean_c a_c (y_c z_c - log(1 + exp(z_c)))."""
    xp = bk.xp
    each = _by_class(xp.ones_like(logits), weights, bk)
    normaliser = xp.sum(each * xp.logaddexp(logits, xp.zeros_like(logits)), axis=-1)
    if sources is None:
        return xp.sum(each * labels * logits, axis=-1) - normaliser
    weighted = each * logits
    parts = [take_rows(labels, sources[m, ...], bk) for m in range(sources.shape[0])]
    return xp.stack([xp.sum(rows * weighted, axis=-1) for rows in parts]) - normaliser

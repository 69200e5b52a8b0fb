"""The cross-entropy at the label of a sample, in all its options (eq. 9), and the targets that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from midas_core.backends import Array, Backend
from midas_core.missing import check_present
from midas_core.pairing import Pairs
from midas_core.partners import VIEWS
from midas_core.validation import check_fraction, check_labels, check_logits, check_modalities, check_range, check_shape


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
    """Return labels as `Targets`."""
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


class LogLikelihoods(NamedTuple):
    """Logarithms of the confidences at a label, and what the loss takes the negative of: the same without options."""

    confidence: Array
    loss: Array


def label_likelihoods(logits: Sequence[Array], targets: Targets, bk: Backend) -> LogLikelihoods:
    """Return the log-likelihoods (K, B) of the label of each sample by K sets of logits (B, C)."""
    xp = bk.xp
    if targets.multi_label:
        parts = [_bernoulli(z, [targets.labels], targets, bk) for z in logits]
        return _join(parts, lambda x: xp.concat(x, axis=0))
    index = xp.astype(targets.labels, bk.index_dtype(), copy=False)[:, None]
    return _join([_categorical(z, index, targets, bk) for z in logits], lambda x: xp.stack(x)[..., 0])


def part_likelihoods(blocks: Sequence[Array], targets: Targets, pairs: Pairs, bk: Backend) -> LogLikelihoods:
    """Return the log-likelihoods (M, V, B) of the label of each part of the mixed samples, from one or V blocks."""
    xp, (modalities, views) = bk.xp, pairs.sources.shape[:2]
    if targets.multi_label:
        labels = xp.astype(targets.labels, bk.in_full_precision(blocks[0]).dtype, copy=False)
        sources = xp.reshape(pairs.sources, (modalities, len(blocks), -1))
        parts = [
            _bernoulli(z, [xp.take(labels, sources[m, k, ...], axis=0) for m in range(modalities)], targets, bk)
            for k, z in enumerate(blocks)
        ]
        return _join(parts, lambda x: xp.reshape(xp.stack(x, axis=1), (modalities, views, -1)))
    index = xp.permute_dims(pairs.classes, (1, 2, 0))
    if len(blocks) == views:
        parts = [_categorical(z, index[v, ...], targets, bk) for v, z in enumerate(blocks)]
        return _join(parts, lambda x: xp.permute_dims(xp.stack(x), (2, 0, 1)))
    parts = [_categorical(blocks[0], xp.reshape(index, (-1, modalities)), targets, bk)]
    return _join(parts, lambda x: xp.permute_dims(xp.reshape(x[0], (views, -1, modalities)), (2, 0, 1)))


def _join(parts: Sequence[LogLikelihoods], join: Callable[[list[Array]], Array]) -> LogLikelihoods:
    """Return log-likelihoods joined; without options there is one array to join."""
    confidence = join([part.confidence for part in parts])
    plain = parts[0].confidence is parts[0].loss
    return LogLikelihoods(confidence, confidence if plain else join([part.loss for part in parts]))


def _categorical(logits: Array, index: Array, targets: Targets, bk: Backend) -> LogLikelihoods:
    """Return log softmax(z)[class] of K classes for each row, shapes (B, C) and (B, K)."""
    logits, smoothing = bk.in_full_precision(logits), targets.label_smoothing
    if smoothing is None:
        picked = bk.log_likelihood(logits, index)
        return LogLikelihoods(picked, picked)
    log_p = bk.log_softmax(logits)
    picked = bk.xp.take_along_axis(log_p, index, axis=-1)
    even = bk.xp.mean(log_p, axis=-1)[..., None]
    return LogLikelihoods(picked, (1 - smoothing) * picked + smoothing * even)


def _bernoulli(logits: Array, rows: Sequence[Array], targets: Targets, bk: Backend) -> LogLikelihoods:
    """Return mean_c a_c (y_c z_c - log(1 + exp(z_c))), a class weights, for K rows of labels, shape (K, B)."""
    xp, logits = bk.xp, bk.in_full_precision(logits)
    rows = [xp.astype(y, logits.dtype, copy=False) for y in rows]

    def likelihood(z: Array, rows: Sequence[Array], weights: Array | None) -> Array:
        normaliser = xp.sum(_by_class(bk.softplus(z), weights, bk), axis=-1)
        return xp.stack([xp.sum(_by_class(y, weights, bk) * z, axis=-1) for y in rows]) - normaliser

    if targets.plain:
        plain = likelihood(logits, rows, None)
        return LogLikelihoods(plain, plain)
    smoothed = [_smooth(y, targets.label_smoothing, 2) for y in rows]
    confidence = likelihood(bk.stop_gradient(logits), rows, None)
    return LogLikelihoods(confidence, likelihood(logits, smoothed, targets.class_weights))


def label_weights(targets: Targets, dtype: object, bk: Backend) -> Array | None:
    """Return the weight of the cross-entropies at the label of each sample, shape (B,); None for 1."""
    xp = bk.xp
    weights = None
    if targets.sample_weight is not None:
        weights = bk.stop_gradient(xp.astype(targets.sample_weight, dtype, copy=False))
    if targets.class_weights is not None and not targets.multi_label:
        class_weights = bk.stop_gradient(xp.astype(targets.class_weights, dtype, copy=False))
        by_label = xp.take(class_weights, xp.astype(targets.labels, bk.index_dtype(), copy=False), axis=0)
        weights = by_label if weights is None else weights * by_label
    return weights


def probabilities(logits: Array, targets: Targets, bk: Backend) -> Array:
    """Return the derivative of the normaliser: softmax; for (B, C) labels sigmoid / C, weighted by class."""
    xp = bk.xp
    logits = bk.in_full_precision(logits)
    if not targets.multi_label:
        return xp.exp(bk.log_softmax(logits))
    return _by_class(xp.exp(-bk.softplus(-logits)), targets.class_weights, bk)


def target_rows(targets: Targets, like: Array, bk: Backend) -> Array:
    """Return the targets of `probabilities`, shape (B, C): smoothed one-hot rows or label vectors."""
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

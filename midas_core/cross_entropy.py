"""The cross-entropy at the label of a sample, in all its options (eq. 9)."""

from __future__ import annotations

from midas_core.backends import Array, Backend
from midas_core.confidence import in_full_precision, log_confidence
from midas_core.misalignment import take_rows
from midas_core.targets import Targets


def log_likelihoods(
    logits: Array, targets: Targets, bk: Backend, parts: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Return log c and what the loss takes the negative of, smoothed and weighted by class where labels are vectors.

    Parameters
    ----------
    logits : array, shape (B, C); of mixed samples, shape (V, B, C)
    targets : Targets
    bk : Backend
    parts : pair of arrays, shape (M, V, B), integer
        Source matrix and classes of the `Pairs`, for mixed samples.

    Returns
    -------
    log_c, log_q : array, shape (B,); of mixed samples, for the label of each part, shape (M, V, B)
        One and the same where no option asks for anything else.
    """
    xp = bk.xp
    smoothing, weights = targets.label_smoothing, targets.class_weights
    if targets.multi_label:
        logits = in_full_precision(logits, backend=bk)
        labels = xp.astype(targets.labels, logits.dtype, copy=False)
        sources = None if parts is None else parts[0]
        log_c = _log_bernoulli(logits, labels, None, sources, bk)
        if targets.plain:
            return log_c, log_c
        return log_c, _log_bernoulli(logits, _smooth(labels, smoothing, 2), weights, sources, bk)
    if parts is None:
        log_c = log_confidence(logits, targets.labels, backend=bk)
    else:
        logits = in_full_precision(logits, backend=bk)
        index = xp.permute_dims(parts[1], (1, 2, 0))
        picked = xp.take_along_axis(logits, index, axis=-1)
        log_c = xp.permute_dims(picked - bk.logsumexp(logits)[..., None], (2, 0, 1))
    if smoothing is None:
        return log_c, log_c
    logits = in_full_precision(logits, backend=bk)
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
    logits = in_full_precision(logits, backend=bk)
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

"""How sure a classifier is of each part of a mixed sample, and the soft labels made from it (eq. 2 and 3)."""

from __future__ import annotations

from midas_core.backends import Array, Backend, get_backend
from midas_core.validation import check_shape

LOG_UNDERFLOW = -745.13
"""Below it, exp() is 0 in double precision. One bound for every dtype, so that all backends agree."""


def in_full_precision(x: Array, *, backend: Backend) -> Array:
    """Return ``x`` in float32, unless it is float32 or float64 already."""
    xp = backend.xp
    return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32, copy=False)


def log_confidence(logits: Array, classes: Array, *, backend: Backend | None = None) -> Array:
    """Return the log-probability that a classifier gives to one class: log softmax(z)[class].

    Its exponential is the confidence c of eq. 2, its negative the cross-entropy of eq. 9.

    Parameters
    ----------
    logits : array, shape (..., C), floating
    classes : array, shape (...), integer; or (..., C), of 0 and 1
        For several labels: minus the mean binary cross-entropy, so that c is the geometric mean of the probabilities
        that the C labels have.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (...), float32 or float64

    Notes
    -----
    Through log-sum-exp, in float32 for half-precision logits. The gradient flows; eq. 2 stops it.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(np.exp(log_confidence(np.array([[0.0, 0.0]]), np.array([1])))[0]), 3)
    0.5
    """
    bk = backend or get_backend(logits)
    xp = bk.xp
    several = len(classes.shape) == len(logits.shape)
    check_shape("classes", classes, logits.shape if several else logits.shape[:-1], "logits.shape[:-1]")
    logits = in_full_precision(logits, backend=bk)
    if several:
        scores = xp.astype(classes, logits.dtype, copy=False) * logits
        return xp.mean(scores - xp.logaddexp(logits, xp.zeros_like(logits)), axis=-1)
    index = xp.astype(classes, bk.index_dtype(), copy=False)[..., None]
    picked = xp.take_along_axis(logits, index, axis=-1)[..., 0]
    return picked - bk.logsumexp(logits)


def normalized_confidence(
    log_confidences: Array, absent: Array | None = None, *, backend: Backend | None = None
) -> Array:
    """Return the share of each modality in the confidence: c~[m] = c[m] / sum_l c[l] (eq. 2).

    Parameters
    ----------
    log_confidences : array, shape (M, ...), floating
        log c, from `log_confidence`.
    absent : array, shape (M, ...), bool, optional
        The modalities whose share is 0, whatever their c.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (M, ...)
        Sums to one over the first axis.

    Notes
    -----
    Computed as a softmax over the modalities, exact where c itself would lose its digits. Where every c[m] underflows
    to 0 in double precision, nothing tells the modalities apart, and each gets 1 / M.

    Examples
    --------
    >>> import numpy as np
    >>> normalized_confidence(np.log(np.array([0.9, 0.3]))).round(2)
    array([0.75, 0.25])
    """
    bk = backend or get_backend(log_confidences)
    xp = bk.xp
    if absent is not None:
        # So low that it is no maximum; finite, as a difference of infinities is NaN.
        log_confidences = bk.where(absent, 4 * LOG_UNDERFLOW, log_confidences)
    top = xp.max(log_confidences, axis=0, keepdims=True)
    # NaN fails the comparison and stays NaN.
    shares = xp.exp(bk.where(top < LOG_UNDERFLOW, 0.0, log_confidences - top))
    if absent is not None:
        shares = bk.where(absent, 0.0, shares)
    return shares / xp.sum(shares, axis=0, keepdims=True)


def soft_labels(shares: Array, classes: Array, num_classes: int, *, backend: Backend | None = None) -> Array:
    """Return the soft labels of mixed samples: y~ = sum_m c~[m] * onehot(Y[m]) (eq. 3).

    Parameters
    ----------
    shares : array, shape (M, ...), floating
        c~, from `normalized_confidence`.
    classes : array, shape (M, ...), integer; or (M, ..., C), of 0 and 1
        Y.
    num_classes : int
        Number of classes, C.
    backend : Backend, optional
        That of the arrays; their type tells where it is not given.

    Returns
    -------
    array, shape (..., C)
        Sums to one over the last axis; for several labels each entry is in [0, 1].

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    For training with a loss of one's own: `midas_objective` needs no such matrix.

    Examples
    --------
    >>> import numpy as np
    >>> soft_labels(np.array([[0.75], [0.25]]), np.array([[2], [0]]), 3).tolist()
    [[0.25, 0.0, 0.75]]
    """
    bk = backend or get_backend(shares)
    xp = bk.xp
    if len(classes.shape) > len(shares.shape):
        check_shape("classes", classes, (*shares.shape, num_classes), "(*shares.shape, C)")
        return xp.sum(xp.astype(classes, shares.dtype, copy=False) * shares[..., None], axis=0)
    check_shape("classes", classes, shares.shape, "shares.shape")
    columns = bk.arange(num_classes, shares)
    is_class = xp.astype(classes, bk.index_dtype(), copy=False)[..., None] == columns
    return xp.sum(xp.astype(is_class, shares.dtype, copy=False) * shares[..., None], axis=0)

"""The augmentation alone, for a custom loss: mixed samples, their soft labels and their weights (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from midas_core.backends import Array, Backend, get_backend
from midas_core.missing import complete_pairs, zero_missing
from midas_core.modalities import leaves, map_leaves
from midas_core.options import VARIANTS, Similarity, check_similarity
from midas_core.pairing import Pairs, alone, as_pairs, mix, source_matrix_of, take_rows
from midas_core.partners import VIEWS
from midas_core.similarity import hard_sample_weight
from midas_core.similarity import similarity as measure
from midas_core.validation import check_choice, check_labels, check_modalities, check_range, check_shape
from midas_core.weighting import log_confidence, normalized_confidence, soft_labels


class MixedBatch(NamedTuple):
    """The mixed samples of a batch, N = V B of them, version after version.

    Attributes
    ----------
    features : list of M modalities
        In the structure of the batch, arrays of shape (N, ...).
    soft_labels : array, shape (N, C)
        Rows sum to one; for several labels each entry is in [0, 1].
    weights : array, shape (N,)
        For the loss of each sample: the hard-sample weight (eq. 8), 1 without a partner, 0 where no partner of another
        class was found or a source lacks the modality that it supplies.
    """

    features: list[Any]
    soft_labels: Array
    weights: Array


def misalign(
    features: Sequence[Any],
    labels: Array,
    sources: Array | Pairs,
    num_classes: int,
    *,
    unimodal_logits: Sequence[Array] | None = None,
    present: Array | None = None,
    similarity: Similarity = "cosine",
    variant: str = "paper",
    backend: Backend | None = None,
) -> MixedBatch:
    """Mix a batch and label the result softly: y~_i = sum_m c~[m, i] * onehot(Y[m, i]) (eq. 3).

    Parameters
    ----------
    features : sequence of M modalities
        Features or raw inputs: arrays, shapes (B, ...), or dicts or tuples of such arrays, see `midas_core.mix`.
    labels : array, shape (B,), integer; or (B, C), of 0 and 1, for several labels
    sources : array, shape (M, V, B), integer; or `Pairs`
        From `source_matrix` or `draw_pairs`. A mixed sample without a partner comes out with zeros for what is absent,
        under its own label.
    num_classes : int
        Number of classes, C.
    unimodal_logits : sequence of M arrays, shape (B, C), optional
        How sure each unimodal classifier is decides the soft labels (eq. 2). Without them each modality has the share
        1 / M.
    present : array, shape (B, M), bool, optional
        Whether a sample has a modality. What is missing comes out as zeros.
    similarity : {"cosine", "l2", None}, or callable
        Of the hard-sample weight; None leaves it out, as raw inputs need it.
    variant : {"paper", "official"}
        Whether a sample whose partner is of the same class weighs nothing; `Pairs` know it already.
    backend : Backend, optional
        Backend of the arrays; inferred if omitted.

    Returns
    -------
    MixedBatch

    Raises
    ------
    TypeError, ValueError
        If a dtype, a shape, the number of modalities or an option does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from midas_core import source_matrix
    >>> audio, video = np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])
    >>> mixed = misalign([audio, video], np.array([0, 1]), source_matrix(np.array([1, 0]), 2), 2, similarity=None)
    >>> mixed.features[1][:, 0].tolist(), mixed.soft_labels[0].tolist(), mixed.weights.tolist()
    ([4.0, 3.0, 3.0, 4.0], [0.5, 0.5], [1.0, 1.0, 1.0, 1.0])
    """
    bk = backend or get_backend(labels)
    xp = bk.xp
    check_similarity(similarity)
    check_choice("variant", variant, VARIANTS)
    check_modalities("features", features, source_matrix_of(sources).shape[0])
    several = len(labels.shape) == 2
    if several:
        check_shape("labels", labels, (None, num_classes), "(B, C)")
    else:
        check_labels(labels, bk)
        if bk.name == "numpy":
            check_range("labels", labels, num_classes)
    if present is not None:
        features = zero_missing(features, present, backend=bk)
    count = len(features)

    sources, classes, mask, absent = as_pairs(labels, sources, variant, bk)
    whose = classes
    if several:
        whose = xp.stack([take_rows(labels, sources[m, ...], bk) for m in range(count)])
    if unimodal_logits is None:
        log_c = xp.zeros_like(xp.astype(classes, share_dtype(features, bk)))
    else:
        check_modalities("unimodal_logits", unimodal_logits, count)
        for m, logits in enumerate(unimodal_logits):
            check_shape(f"unimodal_logits[{m}]", logits, (labels.shape[0], num_classes), "(B, C)")
        if present is not None:
            unimodal_logits = zero_missing(unimodal_logits, present, backend=bk)
        own = [log_confidence(bk.stop_gradient(z), labels, backend=bk) for z in unimodal_logits]
        log_c = xp.stack([take_rows(c, sources[m, ...], bk) for m, c in enumerate(own)])
    shares = normalized_confidence(log_c, absent, backend=bk)
    soft = soft_labels(shares, whose, num_classes, backend=bk)

    weights = xp.ones_like(shares[0, ...])
    if similarity is not None:
        closeness = measure(features, sources, similarity, backend=bk)
        weights = xp.astype(hard_sample_weight(closeness), weights.dtype, copy=False)
        weights = weights if absent is None else bk.where(alone(absent, backend=bk), 1.0, weights)
    if present is not None:
        mask = mask & complete_pairs(present, sources, absent, backend=bk)
    weights = bk.where(mask, weights, 0.0)
    mixed, rows = mix(features, sources, absent=absent, backend=bk), VIEWS * bk.length(labels)
    flat = [map_leaves(lambda x: flatten_versions(x, rows, bk), modality) for modality in mixed]
    return MixedBatch(flat, xp.reshape(soft, (-1, num_classes)), xp.reshape(weights, (-1,)))


def flatten_versions(x: Array, rows: Any, bk: Backend) -> Array:
    """Return an array of mixed samples, shape (V, B, ...), as one batch of V * B ``rows``."""
    # No -1: of an array without elements it says nothing.
    return bk.xp.reshape(x, (rows, *x.shape[2:]))


def share_dtype(modalities: Sequence[Any], backend: Backend) -> Any:
    """Return the dtype in which the shares of the modalities are kept beside these arrays: float32 at least."""
    xp = backend.xp
    return xp.float64 if any(x.dtype == xp.float64 for modality in modalities for x in leaves(modality)) else xp.float32

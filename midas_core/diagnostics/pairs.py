"""Misaligned samples of a whole split, and measures on them (section 4 and figures 1 and 3 to 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from midas_core.diagnostics.calibration import mean
from midas_core.pairing import draw_pairs
from midas_core.partners import VIEWS, draw
from midas_core.validation import check_number
from midas_core.weighting import normalized_confidence

Ints = NDArray[np.int64]

Z95 = 1.959964
"""Standard errors in an interval of 95 %."""


class MisalignedPairs(NamedTuple):
    """Misaligned samples of a split: P = rounds * V * N of them, in this order.

    Attributes
    ----------
    sources : array, shape (M, P), int64
        Which sample supplies each modality.
    classes : array, shape (M, P), int64
        Class of each modality; not all equal in any column.
    base : array, shape (P,), int64
        The sample whose partners take part.
    """

    sources: Ints
    classes: Ints
    base: Ints


def misaligned_pairs(labels: NDArray[Any], num_modalities: int, *, rounds: int = 8, seed: int = 0) -> MisalignedPairs:
    """Draw partners of another class for each sample, as in training, in both mixed versions, ``rounds`` times.

    Parameters
    ----------
    labels : array, shape (N,), integer
    num_modalities : int
        M.
    rounds : int
    seed : int
        Equal seeds draw equal pairs, so that every model sees the same.

    Returns
    -------
    MisalignedPairs
        P = 2 * rounds * N, or none where all samples are of one class.

    Examples
    --------
    >>> misaligned_pairs(np.array([0, 1]), 2, rounds=1).sources.tolist()
    [[0, 1, 1, 0], [1, 0, 0, 1]]
    """
    check_number("rounds", rounds, minimum=1, whole=True)
    rng = np.random.default_rng(seed)
    if len(labels) == 0 or (labels == labels[0]).all():
        nothing = np.zeros((num_modalities, 0), np.int64)
        return MisalignedPairs(nothing, nothing, nothing[0])
    drawn = [draw_pairs(draw(labels, num_modalities, rng), labels, num_modalities) for _ in range(rounds)]
    sources = np.concatenate([x.sources.reshape(num_modalities, -1) for x in drawn], axis=1)
    return MisalignedPairs(sources, labels[sources].astype(np.int64), np.tile(np.arange(len(labels)), VIEWS * rounds))


def in_top(logits: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether all the classes, shape (M, P), are among the top M predictions of logits, shape (P, C)."""
    # The highest M times, of equal ones the first: a full sort would take most of the time with many classes.
    left = np.nan_to_num(logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    named = np.zeros(classes.shape, dtype=bool)
    rows = np.arange(len(left))
    for _ in range(min(len(classes), left.shape[1])):
        highest = left.argmax(axis=1)
        named |= classes == highest
        left[rows, highest] = -np.inf
    return np.asarray(named.all(axis=0))


def misaligned_accuracy(logits: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the share of misaligned samples whose true classes are all among the top M predictions.

    Parameters
    ----------
    logits : array, shape (P, C), floating
    classes : array, shape (M, P), integer

    Returns
    -------
    float
        NaN without samples.

    Examples
    --------
    >>> logits = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> misaligned_accuracy(logits, np.array([[1, 0], [0, 2]]))
    0.5
    """
    return mean(in_top(logits, classes))


def misaligned_interval(hits: NDArray[Any], pairs: MisalignedPairs, samples: int) -> tuple[float, float]:
    """Return the interval of 95 % of the misaligned accuracy, for other samples of the same kind.

    Pairs that share a sample are not independent: the standard error adds up the products of the deviations of all such
    pairs (the dyadic cluster-robust variance of Aronow, Samii and Assenova, 2015), and the interval is Wilson's for as
    many independent trials as have that standard error.

    Parameters
    ----------
    hits : array, shape (P,), bool
        Whether a pair counts as right.
    pairs : MisalignedPairs
    samples : int
        N.

    Returns
    -------
    low, high : float
        NaN without samples.

    Examples
    --------
    >>> pairs = misaligned_pairs(np.arange(40) % 4, 2, rounds=1)
    >>> low, high = misaligned_interval(pairs.classes[0] > 0, pairs, 40)
    >>> low < 0.75 < high
    True
    """
    if not hits.size:
        return float("nan"), float("nan")
    rate = mean(hits)
    trials = samples / len(pairs.sources)
    if 0 < rate < 1:
        trials = rate * (1 - rate) / _squared_error(hits - rate, pairs, samples)
    square = Z95**2 / trials
    middle, half = rate + square / 2, math.sqrt(square * (rate * (1 - rate) + square / 4))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def _squared_error(deviations: NDArray[Any], pairs: MisalignedPairs, samples: int) -> float:
    """Return the squared standard error of the mean over pairs that share samples."""
    modalities, count = pairs.sources.shape
    # The mixed versions of one draw have the same participants: they count as one.
    by_draw = deviations.reshape(-1, VIEWS, samples).sum(axis=1).ravel()
    participants = pairs.sources.reshape(modalities, -1, VIEWS, samples)[:, :, 0].reshape(modalities, -1)
    by_sample = np.sum([np.bincount(who, weights=by_draw, minlength=samples) for who in participants], axis=0)
    # A draw shares all its participants with itself, and counts once.
    total = float((by_sample**2).sum() - (modalities - 1) * (by_draw**2).sum())
    independent = float((deviations**2).sum())
    # The mean that is taken off comes from the same samples.
    scale: float = samples / (count**2 * max(samples - modalities, 1))
    return max(total, independent) * scale


def misaligned_chance(labels: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the misaligned accuracy of a model that always names the M most frequent classes; NaN without samples."""
    frequent = np.argsort(-np.bincount(labels), kind="stable")[: len(classes)]
    return mean(np.asarray(np.isin(classes, frequent).all(axis=0)))


def unimodal_shares(log_probabilities: Sequence[NDArray[Any]], sources: Ints) -> list[float]:
    """Return the mean normalised confidence of the unimodal heads on misaligned samples (mean of c~, eq. 2).

    Parameters
    ----------
    log_probabilities : sequence of M arrays, shape (N,)
        Of each unimodal head, at the true class.
    sources : array, shape (M, P), integer

    Returns
    -------
    list of M floats
        They sum to 1.

    Examples
    --------
    >>> logs = [np.log([0.9, 0.1]), np.log([0.5, 0.3])]
    >>> [round(x, 2) for x in unimodal_shares(logs, np.array([[0], [1]]))]
    [0.75, 0.25]
    """
    return shares(np.stack([x[rows] for x, rows in zip(log_probabilities, sources, strict=True)]))


def shares(log_confidences: NDArray[Any]) -> list[float]:
    """Return the mean over the samples of the normalised confidences, from their logarithms of shape (M, P)."""
    if not log_confidences.shape[1]:
        return [float("nan")] * len(log_confidences)
    return [float(x) for x in normalized_confidence(log_confidences.astype(np.float64)).mean(axis=1)]


def cosine(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cosine of each row of one matrix with that row of the other, 0 where one is zero."""
    a, b = (x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float64) for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.where(norms > 0, (a * b).sum(axis=1), 0.0) / np.where(norms > 0, norms, 1.0))

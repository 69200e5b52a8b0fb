"""The algorithm of the core once more, in JAX's own functions; see `benchmarks.native_torch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from midas_core import MidasState, MidasTerms, Objective
from midas_core.backends import Array, require

jax = require("jax", "JAX", "jax")
jnp: Any = jax.numpy
lax: Any = jax.lax

LOG_UNDERFLOW = -745.13


def native_step(
    features: Sequence[Array],
    fused: Array,
    unimodal: Sequence[Array],
    mixed: Array,
    labels: Array,
    permutation: Array,
    alpha: Array,
    step: Array,
    weight: float = 1.0,
    eta: float = 0.05,
) -> Objective:
    """Return all that `midas_core.midas_objective` does.

    Parameters
    ----------
    features : sequence of M arrays, shapes (B, D_m)
    fused : array, shape (B, C)
    unimodal : sequence of M arrays, shape (B, C)
    mixed : array, shape (V, B, C)
    labels, permutation : array, shape (B,), int32
    alpha : array, shape (M,)
    step : array, shape ()
    weight, eta : float

    Returns
    -------
    Objective
    """
    batch, modalities = len(labels), len(unimodal)
    sources = _source_matrix(permutation, modalities)
    similarities = _similarity(features, sources)

    fused_log = _log_confidence(fused, labels)
    log_c = jnp.stack([_log_confidence(z, labels) for z in unimodal])
    classes = labels[sources]
    mask = jnp.any(classes != classes[:1], axis=0)
    picked = jnp.take_along_axis(mixed, classes.transpose(1, 2, 0), axis=-1)
    mixed_log = (picked - jax.nn.logsumexp(mixed, axis=-1)[..., None]).transpose(2, 0, 1)

    constant = lax.stop_gradient(log_c)
    taken = jnp.take_along_axis(constant, sources.reshape(modalities, -1), axis=-1)
    shares = _normalize(taken.reshape(modalities, 2, batch))
    fused_shares = _normalize(lax.stop_gradient(mixed_log))
    counts = mask & jnp.isfinite(jnp.sum(shares + fused_shares, axis=0))
    count = jnp.sum(counts.astype(shares.dtype))
    both = jnp.where(counts, jnp.stack([shares, fused_shares]), 0.0)
    confidence, fused_confidence = jnp.sum(both, axis=(2, 3)) / jnp.maximum(count, 1.0)
    weak = jnp.arange(modalities) == jnp.argmin(confidence)
    gap = jnp.sum(jnp.where(weak, confidence - fused_confidence, 0.0))

    current = jnp.where(step == 0, jnp.where(weak, alpha, 1.0), alpha)
    moved = jnp.where(weak, jnp.maximum(current + eta * jnp.sign(gap), 1.0), 1.0)
    next_alpha = jnp.where(count > 0, moved, alpha)
    next_step = step + (count > 0).astype(step.dtype)

    soft_weights = shares * current.astype(shares.dtype)[:, None, None] * (1 + (similarities + 1) / 2)
    soft_weights = jnp.where(mask, soft_weights, 0.0)
    misaligned = -jnp.sum(jnp.where(mask, soft_weights * mixed_log, 0.0), axis=(0, 1)) / 2
    aligned, own = -fused_log, -log_c
    total = aligned + jnp.sum(own, axis=0) + weight * misaligned
    terms = MidasTerms(total, aligned, own, misaligned, current, confidence, fused_confidence)
    return Objective(terms, MidasState(next_alpha, next_step), soft_weights)


def _source_matrix(permutation: Array, modalities: int) -> Array:
    participants = [jnp.arange(len(permutation)), permutation]
    while len(participants) < modalities:
        participants.append(permutation[participants[-1]])
    turns = [participants[v:] + participants[:v] for v in range(2)]
    return jnp.stack([jnp.stack(turn) for turn in turns], axis=1)


def _similarity(features: Sequence[Array], sources: Array) -> Array:
    replaced = sources != jnp.arange(len(features[0]))
    constants = [lax.stop_gradient(x) for x in features]
    products = [
        jnp.stack([jnp.sum(x * x[row], axis=-1) for row in rows]) for x, rows in zip(constants, sources, strict=True)
    ]
    norms = jnp.stack([jnp.sqrt(jnp.sum(x * x, axis=-1)) for x in constants])
    norms = jnp.where(norms > 0, norms, 1.0)
    others = jnp.take_along_axis(norms, sources.reshape(len(features), -1), axis=-1).reshape(sources.shape)
    found = jnp.stack(products) / norms[:, None] / others
    total = jnp.sum(jnp.where(replaced, found, 0.0), axis=0)
    count = jnp.sum(replaced.astype(total.dtype), axis=0)
    return jnp.where(count > 0, total, 1.0) / jnp.maximum(count, 1.0)


def _log_confidence(logits: Array, labels: Array) -> Array:
    picked = jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)


def _normalize(log_confidences: Array) -> Array:
    top = jnp.max(log_confidences, axis=0, keepdims=True)
    shares = jnp.exp(jnp.where(top < LOG_UNDERFLOW, 0.0, log_confidences - top))
    return shares / jnp.sum(shares, axis=0, keepdims=True)

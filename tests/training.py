"""Training of linear encoders and heads without autograd, by the closed-form gradients."""

from __future__ import annotations

import numpy as np

import midas_core as mc
from midas_core.testing.framework import Framework


def losses_of_training(framework: Framework, steps: int = 90, rate: float = 0.5) -> list[float]:
    """Train linear heads on two modalities by gradient descent; return the mean total of every step."""
    bk, rng = framework.backend, np.random.default_rng(0)
    batch, classes, widths = 24, 3, (4, 5)
    labels = np.arange(batch) % classes
    features = [rng.normal(size=(classes, d))[labels] + 0.3 * rng.normal(size=(batch, d)) for d in widths]
    labels, features = framework.array(labels), [framework.array(f) for f in features]
    fusion, heads = ([framework.array(np.zeros((d, classes))) for d in widths] for _ in range(2))
    state = mc.MidasState(framework.array(np.ones(2)), framework.array(np.array(0)))
    losses = []
    for step in range(steps):
        sources = mc.pairing.draw_sources(mc.draw(labels, 2, step), labels, 2)
        mixed = mc.mix(features, sources)
        fused = sum(f @ w for f, w in zip(features, fusion, strict=True))
        unimodal = [f @ w for f, w in zip(features, heads, strict=True)]
        mixed_logits = sum(x @ w for x, w in zip(mixed, fusion, strict=True))
        logits = (fused, unimodal, mixed_logits, labels, sources)
        terms, state, soft_weights = mc.midas_objective(*logits, mc.similarity(features, sources), state)
        losses.append(float(bk.xp.mean(terms.total)))
        slopes = mc.midas_gradients(*logits, soft_weights)
        for m, f in enumerate(features):
            of_fusion = f.T @ slopes.fused + sum(mixed[m][v, ...].T @ slopes.mixed[v, ...] for v in range(2))
            fusion[m] = fusion[m] - rate / batch * of_fusion
            heads[m] = heads[m] - rate / batch * (f.T @ slopes.unimodal[m])
    return losses

"""
NumPy alone
===========

Linear encoders trained in NumPy alone, by the closed-form gradient of the objective.
"""

import numpy as np

import midas_core as mc

B, M, C, D = 60, 2, 3, 8
rng = np.random.default_rng(0)
labels = rng.integers(0, C, B)
features = [rng.normal(size=(C, D))[labels] + rng.normal(size=(B, D)) for _ in range(M)]
heads = [np.zeros((D, C)) for _ in range(M)]  # unimodal heads
fused = [np.zeros((D, C)) for _ in range(M)]  # the fused head, one block for each modality
state = mc.init_state(M)

for step in range(101):
    pairs = mc.draw_pairs(mc.draw(labels, M, rng), labels, M)
    mixed = mc.mix(features, pairs)
    logits = (
        sum(f @ w for f, w in zip(features, fused, strict=True)),
        [f @ w for f, w in zip(features, heads, strict=True)],
        sum(f @ w for f, w in zip(mixed, fused, strict=True)),
    )
    similarities = mc.similarity(features, pairs)
    terms, state, weights = mc.midas_objective(*logits, labels, pairs, similarities, state)
    gradient = mc.midas_gradients(*logits, labels, pairs, weights)
    for m in range(M):
        heads[m] -= 0.1 / B * features[m].T @ gradient.unimodal[m]
        fused[m] -= 0.1 / B * (features[m].T @ gradient.fused + np.einsum("vbd,vbc->dc", mixed[m], gradient.mixed))
    if step % 20 == 0:
        print(f"step {step:3d}  loss {terms.total.mean():.3f}  alpha {state.alpha.round(2)}")

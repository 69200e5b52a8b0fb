"""What the PyTorch criterion should give, from the oracle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

import midas_core as mc
from midas_core.testing import oracle


def plain(x):
    return x.detach().double().tolist()


def expected_step(criterion, features, labels, run, seed, sample_weight=None, present=None):
    """Return the oracle's step for a criterion whose pairs come from ``torch.Generator().manual_seed(seed)``.

    ``run`` is the fused head on a list of features. The criterion is asked before its own step.
    """
    count = len(features)
    ids = mc.pairing.label_ids(labels) if criterion.multi_label else labels
    numbers = mc.draw(ids, count, torch.Generator().manual_seed(seed), absent=criterion.absent_share > 0)
    if criterion.variant == "official":
        partners = mc.partners.plain_permutation(numbers.partners[0])[None]
    else:
        partners = mc.partners.draw_partners(ids, numbers.partners)
    if present is not None:
        features = mc.zero_missing(features, present)
    assignment = None if numbers.modalities is None else numbers.modalities.argsort(dim=0).tolist()
    absent = None
    if numbers.absent is not None:
        absent = oracle.absent_modalities(numbers.absent.tolist(), count, criterion.absent_share)
    pairing = {"partners": partners.tolist(), "assignment": assignment, "absent": absent}
    sources = np.array(oracle.sources_of(SimpleNamespace(unimodal=features, **pairing)))
    left = torch.ones(sources.shape) if absent is None else 1 - torch.tensor(absent, dtype=torch.float32)

    def mixed_features(v):
        return [
            f[torch.tensor(s[v])] * left[m, v][:, None] for m, (f, s) in enumerate(zip(features, sources, strict=True))
        ]

    with torch.no_grad():
        mixed = [run(mixed_features(v)) for v in range(2)]
        problem = SimpleNamespace(
            labels=labels.tolist(),
            features=[plain(f.flatten(1)) for f in features],
            fused=plain(run(features)),
            unimodal=[plain(head(f)) for head, f in zip(criterion.unimodal_heads, features, strict=True)],
            mixed=None if criterion.epoch < criterion.warmup_epochs else [plain(z) for z in mixed],
            alpha=criterion.alpha.tolist(),
            step=int(criterion.step),
            similarity=criterion.similarity,
            weight=criterion.weight,
            eta=criterion.eta,
            variant=criterion.variant,
            alpha_update=criterion.alpha_update,
            max_alpha=criterion.max_alpha,
            sample_weight=None if sample_weight is None else plain(sample_weight),
            class_weights=None if criterion.class_weights is None else plain(criterion.class_weights),
            label_smoothing=criterion.label_smoothing,
            present=None if present is None else present.tolist(),
            **pairing,
        )
    return oracle.step(problem)


def assert_terms(terms, step, reduction="mean", tolerance=1e-10):
    """Compare what the criterion returned with the oracle's step."""
    reduce = {"mean": lambda x: np.mean(x, axis=-1), "sum": lambda x: np.sum(x, axis=-1), "none": np.asarray}[reduction]
    for name in ("total", "aligned", "unimodal", "misaligned"):
        found = getattr(terms, name).detach().numpy()
        np.testing.assert_allclose(found, reduce(getattr(step, name)), rtol=tolerance, atol=tolerance, err_msg=name)
    for name in ("alpha", "confidence", "fused_confidence"):
        found = getattr(terms, name).numpy()
        np.testing.assert_allclose(found, getattr(step, name), rtol=tolerance, atol=tolerance, err_msg=name)

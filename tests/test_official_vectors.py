"""``variant="official"`` is the authors' code: numbers that it produced (tests/data), matched to 1e-9 in float64."""

import json
from pathlib import Path

import numpy as np
import pytest

import midas_core as mc

CASES = json.loads((Path(__file__).parent / "official" / "vectors.json").read_text())["cases"]
TOLERANCE = {"rtol": 0, "atol": 1e-9}


def step(bk, case, arrays):
    """Run the authors' model on the core: linear heads on features."""
    first, second, weights, labels, permutation, alpha, count = arrays
    features, (fusion, bias, heads, biases) = [first, second], weights
    sources = mc.source_matrix(permutation, 2, backend=bk)
    mixed = mc.mix(features, sources, backend=bk)
    fused, mixed_logits = (sum(x @ w for x, w in zip(f, fusion, strict=True)) + bias for f in (features, mixed))
    unimodal = [f @ w + b for f, w, b in zip(features, heads, biases, strict=True)]
    similarities = mc.similarity(features, sources, backend=bk)
    logits = (fused, unimodal, mixed_logits, labels, sources)
    state = mc.MidasState(alpha, count)
    terms, state, soft_weights = mc.midas_objective(*logits, similarities, state, variant="official", backend=bk)
    closed = mc.midas_gradients(*logits, soft_weights, variant="official", backend=bk)
    return terms, state, closed, sources


def as_arrays(case, array):
    """Return the arguments of `step`; the fused head is cut into one matrix for each modality."""
    widths = [len(f[0]) for f in case["features"]]
    fusion = np.split(np.array(case["fusion_weight"]).T, [widths[0]])
    weights = (
        [array(w) for w in fusion],
        array(np.array(case["fusion_bias"])),
        [array(np.array(w).T) for w in case["unimodal_weight"]],
        [array(np.array(b)) for b in case["unimodal_bias"]],
    )
    features = [array(np.array(f)) for f in case["features"]]
    labels, permutation = (array(np.array(case[name])) for name in ("labels", "permutation"))
    # The step differs from zero: the official alpha is a scalar at any time.
    return [*features, weights, labels, permutation, array(np.full(2, case["alpha_in"])), array(np.array(5))]


def gradients_from_logits(case, closed, sources):
    """Carry the closed-form gradients of the logits back to the features and the fused head."""
    features, batch = [np.array(f) for f in case["features"]], case["B"]
    fusion = np.split(np.array(case["fusion_weight"]), [features[0].shape[1]], axis=1)
    of_features, of_fusion = [], []
    for m, f in enumerate(features):
        gradient = closed.fused @ fusion[m] + closed.unimodal[m] @ np.array(case["unimodal_weight"][m])
        of_weight = closed.fused.T @ f
        for v in range(2):
            np.add.at(gradient, sources[m, v], closed.mixed[v] @ fusion[m])
            of_weight += closed.mixed[v].T @ f[sources[m, v]]
        of_features.append(gradient / batch)
        of_fusion.append(of_weight / batch)
    return of_features, np.concatenate(of_fusion, axis=1)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_core(framework, case):
    with framework.scope("float64"):
        arguments = as_arrays(case, framework.array)
        terms, state, closed, sources = framework.call(lambda *x: step(framework.backend, case, x), *arguments)
        terms = mc.MidasTerms(*(framework.numpy(x) for x in terms))
        alpha = framework.numpy(state.alpha)
        closed = mc.Gradients(
            framework.numpy(closed.fused),
            [framework.numpy(g) for g in closed.unimodal],
            framework.numpy(closed.mixed),
        )
        sources = framework.numpy(sources)
    np.testing.assert_allclose(terms.total.mean(), case["total_loss"], **TOLERANCE)
    np.testing.assert_allclose(terms.aligned.mean(), case["aligned_loss"], **TOLERANCE)
    np.testing.assert_allclose(terms.unimodal.mean(axis=1), case["unimodal_losses"], **TOLERANCE)
    np.testing.assert_allclose(terms.misaligned.mean(), case["misaligned_loss"], **TOLERANCE)
    np.testing.assert_allclose(alpha.max(), case["alpha_out"], **TOLERANCE)
    of_features, of_fusion = gradients_from_logits(case, closed, sources)
    for found, expected in zip(of_features, case["grad_features"], strict=True):
        np.testing.assert_allclose(found, expected, **TOLERANCE)
    np.testing.assert_allclose(of_fusion, case["grad_fusion_weight"], **TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_autograd(autograd, case):
    with autograd.scope("float64"):
        first, second, (fusion, *weights), *rest = as_arrays(case, autograd.array)

        def total(f0, f1, w0, w1):
            terms, *_ = step(autograd.backend, case, [f0, f1, ([w0, w1], *weights), *rest])
            return [autograd.backend.xp.mean(terms.total)], []

        ((f0, f1, w0, w1),), _ = autograd.gradients(total, [first, second, *fusion])
    for found, expected in zip((f0, f1), case["grad_features"], strict=True):
        np.testing.assert_allclose(found, expected, **TOLERANCE)
    np.testing.assert_allclose(np.concatenate([w0, w1]).T, case["grad_fusion_weight"], **TOLERANCE)


@pytest.mark.parametrize("additive", [True, False], ids=["linear head", "any head"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_torch_criterion(case, additive):
    torch = pytest.importorskip("torch")
    from midas_core.adapters.torch import MidasLoss

    def double(x):
        return torch.tensor(x, dtype=torch.float64)

    def linear(weight, bias):
        layer = torch.nn.Linear(len(weight[0]), len(weight)).double()
        layer.weight.data, layer.bias.data = double(weight), double(bias)
        return layer

    heads = [linear(w, b) for w, b in zip(case["unimodal_weight"], case["unimodal_bias"], strict=True)]
    head = linear(case["fusion_weight"], case["fusion_bias"])
    features = [double(f).requires_grad_() for f in case["features"]]
    criterion = MidasLoss(
        num_classes=case["C"], unimodal_heads=heads, variant="official", initial_alpha=case["alpha_in"]
    )
    terms = criterion.terms(
        features,
        torch.tensor(case["labels"]),
        head=head if additive else lambda x: head(x),
        permutation=torch.tensor(case["permutation"]),
    )
    terms.total.backward()
    np.testing.assert_allclose(terms.total.item(), case["total_loss"], **TOLERANCE)
    np.testing.assert_allclose(terms.aligned.item(), case["aligned_loss"], **TOLERANCE)
    np.testing.assert_allclose(terms.unimodal.detach(), case["unimodal_losses"], **TOLERANCE)
    np.testing.assert_allclose(terms.misaligned.item(), case["misaligned_loss"], **TOLERANCE)
    np.testing.assert_allclose(criterion.alpha.max(), case["alpha_out"], **TOLERANCE)
    for feature, expected in zip(features, case["grad_features"], strict=True):
        np.testing.assert_allclose(feature.grad, expected, **TOLERANCE)
    np.testing.assert_allclose(head.weight.grad, case["grad_fusion_weight"], **TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed{case['seed']}")
def test_ratio_of_the_confidences(case):
    log_c = [
        mc.log_confidence(np.array(f) @ np.array(w).T + np.array(b), np.array(case["labels"]))
        for f, w, b in zip(case["features"], case["unimodal_weight"], case["unimodal_bias"], strict=True)
    ]
    first, second = (np.exp(x).mean() for x in log_c)
    np.testing.assert_allclose(first / second, case["uni_ratio"], **TOLERANCE)

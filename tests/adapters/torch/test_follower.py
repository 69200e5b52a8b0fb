"""Means of the terms over the steps of an epoch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from midas_core.adapters.torch import MidasTerms  # noqa: E402
from midas_core.adapters.torch.follower import TermMeans  # noqa: E402

NAMES = ("audio", "video")


def terms(loss, confidence, alpha=1.0):
    one = torch.tensor(loss)
    shares = torch.tensor(confidence)
    return MidasTerms(one, one / 2, torch.stack([one, 2 * one]), one / 4, torch.tensor([1.0, alpha]), shares, shares)


def test_means_count_samples_and_alpha_is_the_last():
    means = TermMeans()
    means.add(terms(1.0, [0.2, 0.8]), 30)
    means.add(terms(4.0, [0.5, 0.5], alpha=1.5), 10)
    found = means.take(NAMES)
    assert found["loss"] == pytest.approx(1.75)
    assert found["aligned_loss"] == pytest.approx(0.875)
    assert found["misaligned_loss"] == pytest.approx(0.4375)
    assert found["unimodal_loss_video"] == pytest.approx(3.5)
    assert (found["alpha_audio"], found["alpha_video"]) == (1.0, 1.5)
    assert found["confidence_audio"] == pytest.approx((30 * 0.2 + 10 * 0.5) / 40)
    assert means.take(NAMES) == {}, "each step is told once"


def test_a_batch_without_a_pair_says_nothing_of_the_shares():
    means = TermMeans()
    means.add(terms(1.0, [0.2, 0.8]), 30)
    means.add(terms(1.0, [0.0, 0.0]), 10)
    found = means.take(NAMES)
    for kind in ("confidence", "fused_confidence"):
        assert [found[f"{kind}_{name}"] for name in NAMES] == pytest.approx([0.2, 0.8])
    means.add(terms(1.0, [0.0, 0.0]), 10)
    found = means.take(NAMES)
    assert found["loss"] == 1
    assert not [name for name in found if "confidence" in name]


def test_losses_that_are_not_reduced_and_losses_of_another_criterion():
    means = TermMeans()
    each = torch.arange(4.0)
    means.add(
        terms(0.0, [0.5, 0.5])._replace(total=each, aligned=each, unimodal=torch.stack([each, each]), misaligned=each),
        4,
    )
    assert means.take(NAMES)["unimodal_loss_audio"] == 1.5
    means.add(MidasTerms(torch.tensor(2.0), *[None] * 6), 4)
    assert means.take(NAMES) == {"loss": 2.0}

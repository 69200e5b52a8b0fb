"""Means of the terms over the steps of an epoch."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss, MidasTerms, follower
from midas_core.adapters.torch.follower import Follower, TermMeans, find_criterion
from midas_core.diagnostics import Diagnostics

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


FEATURES, LABELS = [torch.ones(4, 2), torch.zeros(4, 3)], torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize("reason", ["the model is sharded", "samples have several labels", None])
def test_what_is_not_diagnosed_is_said_once(monkeypatch, recwarn, reason):
    monkeypatch.setattr(follower, "_is_sharded", lambda model: reason == "the model is sharded")
    several = reason == "samples have several labels"
    criterion = MidasLoss(num_classes=2, feature_dims=(2, 3), multi_label=several, seed=0)
    head = nn.Linear(5, 2)
    found = Follower(nn.ModuleList([criterion, head]).eval(), None, Diagnostics)
    for _ in range(2):
        criterion(FEATURES, torch.eye(2, dtype=torch.long)[LABELS] if several else LABELS, head=head)
    assert [str(x.message).partition(": ")[2].startswith(str(reason)) for x in recwarn] == [True] * (reason is not None)
    assert (found.take_diagnostics() is None) == (reason is not None)
    assert set(found.take_validation_losses()) == {"loss", "aligned_loss"}


class Saved(nn.Module):
    """Frozen, and a copy that is trained: the shape of PEFT's modules_to_save."""

    def __init__(self, module):
        super().__init__()
        self.original_module, self.copies = module.requires_grad_(False), nn.ModuleDict({"default": deepcopy(module)})
        self.copies.requires_grad_(True)


class Wrapper(nn.Module):
    """One that calls what it holds, such as DistributedDataParallel or a compiled module."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


def test_the_criterion_that_is_trained_is_found_in_what_wraps_it():
    criterion = MidasLoss(num_classes=2, feature_dims=(2, 3))
    assert find_criterion(nn.ModuleList([nn.Linear(2, 2), Wrapper(criterion)])) is criterion
    assert find_criterion(nn.Linear(2, 2), Wrapper(criterion)) is criterion
    assert find_criterion(nn.Linear(2, 2), torch.compile(criterion, backend="eager")) is criterion
    saved = Saved(criterion)
    for given in (None, saved):
        assert find_criterion(nn.ModuleList([saved]), given) is saved.copies["default"]
    joint = Joint()
    assert find_criterion(nn.ModuleList([saved]), joint) is joint
    with pytest.raises(ValueError, match=r"expected one MidasLoss in ModuleDict, found 2 \(emotion, topic\); pass"):
        find_criterion(
            nn.ModuleDict({name: MidasLoss(num_classes=2, feature_dims=(2, 3)) for name in ("emotion", "topic")})
        )


@pytest.mark.parametrize("call", ["criterion", "terms"])
def test_a_criterion_outside_of_the_model_gets_its_mode(call):
    criterion, head = MidasLoss(num_classes=2, feature_dims=(2, 3), seed=0), nn.Linear(5, 2)
    follower = Follower(head, criterion, Diagnostics)

    def step():
        head(torch.cat(FEATURES, dim=1))
        getattr(criterion, "forward" if call == "terms" else "__call__")(FEATURES, LABELS, head=head)

    step()
    head.eval()
    for _ in range(2):
        step()
    assert not criterion.training
    assert (follower.steps, criterion.step.item()) == (1, 1)
    assert set(follower.take_validation_losses()) == {"loss", "aligned_loss"}
    twin = deepcopy(head)
    head.train()
    twin(torch.cat(FEATURES, dim=1))
    assert not criterion.training, "the hook of a copy does nothing"
    follower.remove()
    step()
    assert not criterion.training


class Joint(nn.Module):
    def forward(self, features, labels, head):
        return nn.functional.cross_entropy(head(torch.cat(features, dim=1)), labels)


def test_another_criterion_is_followed_by_its_call():
    criterion, head = Joint(), nn.Linear(5, 2)
    found = Follower(criterion, criterion, Diagnostics)
    assert (found.names, found.config) == (None, {"method": "Joint"})
    losses = [criterion(FEATURES, LABELS, head), criterion(FEATURES, LABELS, head=head)]
    assert found.take_means() == {"loss": pytest.approx(losses[0].item())}
    assert found.names == ("0", "1")
    criterion.eval()(features=FEATURES, labels=LABELS, head=head)
    assert found.take_validation_losses() == {"loss": pytest.approx(losses[0].item())}
    assert found.take_diagnostics().compute().accuracy == 0.5
    found.remove()
    criterion.train()(FEATURES, LABELS, head)
    assert found.take_means() == {}


@pytest.mark.parametrize("make", [Joint, lambda: MidasLoss(num_classes=2, feature_dims=(2, 3), seed=0)])
def test_a_step_without_gradients_is_evaluation(make):
    criterion, head = make(), nn.Linear(5, 2)
    follower = Follower(criterion, criterion, Diagnostics)
    with torch.no_grad():
        criterion(FEATURES, LABELS, head=head)
    assert (follower.steps, follower.take_means()) == (0, {})
    assert follower.take_validation_losses()["loss"] > 0


class Tokens(nn.Module):
    """A head on the tokens that are there."""

    def __init__(self, modalities):
        super().__init__()
        self.linear, self.modalities = nn.Linear(3 * modalities, 2), modalities

    def forward(self, features):
        features = [features] if self.modalities == 1 else list(features.values())
        pooled = [(x["tokens"] * x["mask"][..., None]).sum(dim=1) for x in features]
        return self.linear(torch.cat(pooled, dim=1))


@pytest.mark.parametrize("midas", [True, False])
def test_tokens_with_a_mask_are_followed_and_diagnosed(midas):
    class Plain(nn.Module):
        def forward(self, features, labels, head):
            return nn.functional.cross_entropy(head(features), labels)

    heads = {name: Tokens(1) for name in NAMES}
    criterion = MidasLoss(num_classes=2, unimodal_heads=heads, head_input="separate", seed=0) if midas else Plain()
    head = Tokens(2)
    follower = Follower(criterion, criterion, Diagnostics)
    for length in (4, 6):
        mask = torch.arange(length) < torch.arange(1, 5)[:, None]
        features = {name: {"tokens": torch.randn(4, length, 3), "mask": mask} for name in NAMES}
        criterion.train()(features, LABELS, head=head)
        criterion.eval()(features, LABELS, head=head)
    assert follower.names == NAMES
    assert follower.take_means()["loss"] > 0
    assert follower.take_diagnostics().compute(quick=True).samples == 8


def test_a_criterion_that_is_called_otherwise_is_refused():
    class Other(nn.Module):
        def forward(self, logits, labels):
            return nn.functional.cross_entropy(logits, labels)

    criterion = Other()
    Follower(criterion, criterion, Diagnostics)
    with pytest.raises(TypeError, match=r"expected Other to be called as criterion.*but head is missing"):
        criterion(torch.ones(4, 2), LABELS)

"""Fused logits for prediction: in the order of the training, with a criterion or without."""

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss, fuse

NAMES, HEAD = ["audio", "video"], nn.Linear(8, 3)
AUDIO, VIDEO = torch.randn(6, 4), torch.randn(6, 4)
EXPECTED = HEAD(torch.cat([AUDIO, VIDEO], dim=1))
FEATURES = {"video": VIDEO, "audio": AUDIO}


def test_the_order_is_that_of_the_training_whatever_the_dict():
    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 4})
    for found in (
        fuse(HEAD, FEATURES, names=NAMES),
        fuse(HEAD, [AUDIO, VIDEO], names=NAMES),
        fuse(HEAD, (AUDIO, VIDEO), names=None),
        criterion.fuse(FEATURES, head=HEAD),
        criterion.fuse([AUDIO, VIDEO], head=HEAD),
        criterion.terms(FEATURES, torch.arange(6) % 3, head=HEAD, return_logits=True)[1],
    ):
        torch.testing.assert_close(found, EXPECTED)
    assert criterion.terms(FEATURES, torch.arange(6) % 3, head=HEAD).aligned.ndim == 0


def test_a_model_that_is_loaded_without_the_criterion_predicts_alike():
    trained = nn.ModuleDict(
        {"head": HEAD, "criterion": MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 4})}
    )
    bare = nn.ModuleDict({"head": nn.Linear(8, 3)})
    state = {name: x for name, x in trained.state_dict().items() if not name.startswith("criterion.")}
    bare.load_state_dict(state)
    torch.testing.assert_close(fuse(bare["head"], FEATURES, names=NAMES), EXPECTED)


@pytest.mark.parametrize(
    "mask", [torch.tensor([[True, False]] * 6), {"video": torch.zeros(6).bool(), "audio": torch.ones(6).bool()}]
)
def test_what_is_missing_counts_as_zeros(mask):
    criterion = MidasLoss(num_classes=3, feature_dims={"audio": 4, "video": 4})
    spoiled = {"audio": AUDIO, "video": torch.full_like(VIDEO, torch.nan)}
    expected = HEAD(torch.cat([AUDIO, torch.zeros_like(VIDEO)], dim=1))
    torch.testing.assert_close(fuse(HEAD, spoiled, names=NAMES, present=mask), expected)
    torch.testing.assert_close(criterion.fuse(spoiled, head=HEAD, present=mask), expected)


def test_a_head_that_takes_the_structure_gets_it_as_it_came():
    def head(features):
        assert list(features) == ["video", "audio"]
        return features["audio"][:, :3] + features["video"][:, :3]

    found = fuse(head, FEATURES, names=NAMES, head_input="separate")
    torch.testing.assert_close(found, AUDIO[:, :3] + VIDEO[:, :3])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"names": None}, ValueError, r"names: expected .*in the order in which the head was trained .*got None with"),
        ({"names": ["audio", "audio"]}, ValueError, "names: expected different modality names"),
        ({"names": "audio"}, ValueError, "names: expected different modality names, got 'audio'"),
        ({"names": ["audio", "text"]}, ValueError, r"features: expected the modalities \['audio', 'text'\]"),
        ({"head": 3}, TypeError, "head: expected a callable, got int"),
        ({"head": lambda x: x[:3]}, ValueError, r"output of the head: expected shape \(B, C\)"),
        ({"head_input": "list"}, ValueError, "head_input: expected one of"),
        ({"features": {"audio": AUDIO, "video": VIDEO[:3]}}, ValueError, "features of modality 'video'"),
        ({"features": {"audio": AUDIO[:, 0], "video": VIDEO}}, ValueError, "features of modality 'audio'"),
    ],
)
def test_bad_input_is_named(arguments, kind, message):
    arguments = {"head": HEAD, "features": FEATURES, "names": NAMES} | arguments
    with pytest.raises(kind, match=message):
        fuse(arguments.pop("head"), arguments.pop("features"), **arguments)

"""The vote of a criterion: that of the core, on the logits of its heads."""

import pytest
import torch
from torch import nn

import midas_core as mc
from midas_core.adapters.torch import MidasLoss

WIDTHS = {"audio": 4, "video": 5, "text": 3}


def make(count=2, classes=3, batch=7, **options):
    """Return a criterion, features and a head."""
    torch.manual_seed(0)
    widths = dict(list(WIDTHS.items())[:count])
    criterion = MidasLoss(num_classes=classes, feature_dims=widths, seed=1, **options)
    features = {name: torch.randn(batch, width) for name, width in widths.items()}
    return criterion, features, nn.Linear(sum(widths.values()), classes)


def by_core(criterion, features, head, present=None, **more):
    """Return the vote of the core on the logits of each head."""
    given = list(features.values())
    if present is not None:
        given = [x * here[:, None] for x, here in zip(given, present.t(), strict=True)]
    unimodal = [h(x) for h, x in zip(criterion.unimodal_heads, given, strict=True)]
    multi_label = criterion.options.multi_label
    return mc.ensemble_logits(head(torch.cat(given, dim=1)), unimodal, present=present, multi_label=multi_label, **more)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight": 0.3}], ids=str)
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_vote_is_that_of_the_core(count, masked, options, multi_label):
    criterion, features, head = make(count, multi_label=multi_label)
    present = torch.rand(7, count) < 0.5 if masked else None
    found = criterion.ensemble_logits(features, head=head, present=present, **options)
    torch.testing.assert_close(found, by_core(criterion, features, head, present, **options))


def test_nothing_moves_and_what_is_missing_may_hold_anything():
    criterion, features, head = make()
    before = {name: x.clone() for name, x in criterion.state_dict().items()}
    present = {"audio": torch.arange(7) > 2, "video": torch.arange(7) < 5}
    spoiled = {name: x.masked_fill(~present[name][:, None], float("nan")) for name, x in features.items()}
    expected = criterion.ensemble_logits(features, head=head, present=present)
    assert torch.equal(criterion.ensemble_logits(spoiled, head=head, present=present), expected)
    for name, x in criterion.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_the_head_may_take_features_apart():
    criterion, features, head = make(head_input="separate")
    joined = lambda x: head(torch.cat([x["audio"], x["video"]], dim=1))  # noqa: E731
    plain, _, _ = make()
    expected = plain.ensemble_logits(features, head=head)
    assert torch.equal(criterion.ensemble_logits(features, head=joined), expected)


class Voter(nn.Module):
    """A classifier as it is deployed."""

    def __init__(self, count):
        super().__init__()
        self.criterion, _, self.head = make(count)

    def forward(self, features, present=None):
        return self.criterion.ensemble_logits(features, head=self.head, weight=0.4, present=present)


@pytest.mark.parametrize("count", [2, 3])
def test_the_vote_compiles_and_exports(count):
    model, (_, features, _) = Voter(count).eval(), make(count)
    present = torch.rand(7, count) < 0.6
    with torch.no_grad():
        expected = model(features, present)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(features, present), expected)
        batch = torch.export.Dim("batch")
        dims = {"features": {name: {0: batch} for name in features}, "present": {0: batch}}
        exported = torch.export.export(model, (features, present), dynamic_shapes=dims, strict=False).module()
        torch.testing.assert_close(exported(features, present), expected)
        longer = {name: torch.cat([x, x]) for name, x in features.items()}
        torch.testing.assert_close(exported(longer, torch.cat([present, present]))[7:], expected)


def test_half_precision_is_voted_on_in_full():
    criterion, features, head = make()
    halves = {name: x.bfloat16() for name, x in features.items()}
    found = criterion.bfloat16().ensemble_logits(halves, head=head.bfloat16())
    assert found.dtype == torch.float32


VIDEO = torch.ones(7, 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight": 1.5}, ValueError, "weight: expected a number"),
        ({"head": None}, TypeError, "head: expected a callable, got NoneType"),
        ({"features": {"audio": [1.0], "video": VIDEO}}, TypeError, "'audio': expected a tensor, got list"),
        ({"features": {"audio": torch.ones(7, 4)}}, ValueError, "features: expected"),
        ({"features": {"audio": torch.ones(()), "video": VIDEO}}, ValueError, "of modality 'audio': expected shape"),
        ({"features": {"audio": torch.ones(6, 4), "video": VIDEO}}, ValueError, "'video': expected .* with B = 6 as"),
        ({"present": torch.ones(7, 2)}, TypeError, "present: expected dtype bool"),
        ({"present": torch.ones(7, 3, dtype=torch.bool)}, ValueError, "present: expected shape"),
    ],
)
def test_what_does_not_fit_is_named(change, error, message):
    criterion, features, head = make()
    given = {"features": features, "head": head} | change
    with pytest.raises(error, match=message):
        criterion.ensemble_logits(given.pop("features"), **given)

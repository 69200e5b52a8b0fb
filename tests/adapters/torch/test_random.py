"""The random stream: small, of constant size, other draws in every worker and epoch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils.data import DataLoader, default_collate  # noqa: E402

import midas_core as mc  # noqa: E402
from midas_core.adapters.torch import MidasLoss, Misalign  # noqa: E402

LABELS = torch.arange(12) % 3


def criterion(seed=7):
    return MidasLoss(num_classes=3, feature_dims=(4, 5), seed=seed)


def step(module):
    features = [torch.ones(12, 4), torch.ones(12, 5)]
    module.terms(features, LABELS, head=torch.nn.Linear(9, 3))
    return module


def drawn(module):
    """Return who lent the second modality in the next step."""
    return module.draw_pairs(LABELS, 3, 2, variant="paper")[0].tolist()


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from((2, 3)), st.booleans())
def test_pairs_drawn_on_the_host_are_those_of_the_core(seed, batch, classes, modalities, absent):
    labels = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))
    share = 0.4 if absent else 0.0
    numbers = mc.draw(labels, modalities, torch.Generator().manual_seed(seed), absent=absent)
    expected = mc.draw_pairs(numbers, labels, modalities, absent_share=share)
    stream = {"generator": torch.Generator().manual_seed(seed), "absent_share": share}
    pairs = criterion().draw_pairs(labels, classes, modalities, variant="paper", **stream)
    for one, other in zip(pairs, expected, strict=True):
        assert (one is other is None) or torch.equal(one, other)


def test_the_saved_stream_has_a_constant_size():
    before = criterion().state_dict()["_extra_state"]
    after = step(step(criterion())).state_dict()["_extra_state"]
    assert (before.shape, before.dtype) == (after.shape, after.dtype) == ((2,), torch.int64)
    assert [before.tolist(), after.tolist()] == [[7, 0], [7, 2]]


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_a_checkpoint_that_is_loaded_in_place(tmp_path):
    # torch.distributed.checkpoint fills the tensors of a state_dict that the new model gives it, by their shapes.
    from torch.distributed import checkpoint

    original, other = step(step(criterion())), criterion(seed=8)
    checkpoint.save(original.state_dict(), checkpoint_id=tmp_path, no_dist=True)
    state = other.state_dict()
    checkpoint.load(state, checkpoint_id=tmp_path, no_dist=True)
    other.load_state_dict(state)
    assert drawn(other) == drawn(original)
    assert torch.equal(other.alpha, original.alpha)


def test_an_average_of_a_state_entry_by_entry():
    # As timm keeps it: entries of the same shape, averaged where they are floating, else copied.
    original, average = step(step(criterion())), criterion(seed=8)
    for mine, theirs in zip(average.state_dict().values(), original.state_dict().values(), strict=True):
        mine.lerp_(theirs, 0.1) if mine.is_floating_point() else mine.copy_(theirs)
    assert average.step == 2


@pytest.mark.parametrize(
    ("state", "got"),
    [
        (torch.zeros(28, dtype=torch.uint8), r"torch\.uint8 of shape \(28,\)"),
        (torch.zeros(2), r"torch\.float32 of shape \(2,\)"),
        (torch.tensor([3, -1]), r"\[3, -1\]"),
        ({"seed": 3}, "dict"),
    ],
)
def test_a_damaged_state_is_refused(state, got):
    module = criterion()
    with pytest.raises(ValueError, match=rf"_extra_state: expected seed and number of draws, .*\(2,\), got {got}"):
        module.load_state_dict({**module.state_dict(), "_extra_state": state})


def test_evaluation_draws_the_same_and_moves_nothing():
    module = criterion().eval()
    first = drawn(module)
    assert drawn(module) == first
    assert drawn(module.train()) == drawn(criterion())
    # Nor does the place of the training's stream matter: the losses of two epochs are of the same pairs.
    assert drawn(step(module).eval()) == first


class Collate:
    def __init__(self):
        self.layer = Misalign(num_classes=3, seed=0, similarity=None)

    def __call__(self, samples):
        left, right, labels = default_collate(samples)
        return self.layer([left, right], labels).features[1]


def epochs(seed, persistent):
    torch.manual_seed(seed)
    places = torch.arange(24)
    samples = list(zip(places, places, places % 3, strict=True))
    loader = DataLoader(
        samples, batch_size=12, num_workers=2, collate_fn=Collate(), persistent_workers=persistent, shuffle=False
    )
    return [[batch.tolist() for batch in loader] for _ in range(2)]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where it is imported
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_draw_other_pairs_in_every_epoch(persistent):
    first, second = epochs(0, persistent)
    assert first != second
    # Nor do two workers draw alike: the batches differ by 12, the pairs by more.
    assert [x + 12 for x in first[0]] != first[1]
    assert epochs(0, persistent) == [first, second], "torch.manual_seed decides"
    assert epochs(1, persistent) != [first, second]

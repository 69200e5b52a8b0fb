"""The random stream: uniform, the same on every way, of constant size, other draws in every worker and epoch."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader, default_collate

import midas_core as mc
from midas_core.adapters.torch import MidasLoss, Misalign, random
from midas_core.adapters.torch.random import draw_pairs, uniform

LABELS = torch.arange(12) % 3
CPU = torch.device("cpu")
HEAD = nn.Linear(9, 3)


def criterion(seed=7):
    return MidasLoss(num_classes=3, feature_dims=(4, 5), seed=seed)


def step(module):
    module.terms([torch.ones(12, 4), torch.ones(12, 5)], LABELS, head=HEAD)
    return module


def drawn(module):
    """Return who lends the second modality in the next step."""
    return draw_pairs(LABELS, 3, 2, module.stream.clone(), moves=module.training).sources.tolist()


def numbers(seed, draw, count=4096):
    return uniform(count, torch.tensor([seed, draw]), CPU, moves=True).numpy()


def uniformity(samples):
    """Return how likely p-values as uneven as these are where the numbers are uniform: of (N,) or of pairs (N, 2)."""
    p_values = []
    for x in samples:
        columns, bins = (x, 16) if x.ndim == 2 else (x[:, None], 64)
        counts, _ = np.histogramdd(columns, bins=bins, range=[(0, 1)] * columns.shape[1])
        p_values.append(stats.chisquare(counts.ravel()).pvalue)
    return stats.kstest(p_values, "uniform").pvalue


SEEDS = (0, 1, 2, 3, 12, 2**16, 2**31 - 2)
KINDS = {
    "numbers of a draw": lambda s, d: numbers(s, d),
    "one index over draws": lambda s, d: np.array([numbers(s, 1000 * d + k, 3)[2] for k in range(1024)]),
    "one index over seeds": lambda s, d: np.array([numbers(s // 2 + k, d, 3)[2] for k in range(1024)]),
    "next draws": lambda s, d: np.stack([numbers(s, d), numbers(s, d + 1)], axis=1),
    "next seeds": lambda s, d: np.stack([numbers(s, d), numbers(s + 1, d)], axis=1),
    "seed and draw exchanged": lambda s, d: np.stack([numbers(s, d + s + 1), numbers(d + s + 1, s)], axis=1),
} | {
    f"lag {lag}": lambda s, d, lag=lag: np.stack([numbers(s, d)[:-lag], numbers(s, d)[lag:]], axis=1)
    for lag in (1, 2, 16, 256)
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_uniform(kind):
    few = 3 if kind.startswith("one") else 8
    assert uniformity([KINDS[kind](s, d) for s in SEEDS for d in range(few)]) > 1e-3


def test_the_measure_of_uniformity_sees_what_is_not():
    weyl = [(np.arange(4096) * 0.618 + s) % 1 for s in range(20)]
    assert uniformity(weyl) < 1e-6
    assert uniformity([np.stack([x, (x + 0.1) % 1], axis=1) for x in weyl]) < 1e-6


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**40), st.integers(0, 99), st.booleans())
def test_every_way_to_the_numbers_gives_the_same(seed, draws, count, moves):
    ways = []
    for look in (random.may_look, lambda x: False):
        stream = torch.tensor([seed, draws])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(random, "may_look", look)
            ways.append((uniform(count, stream, CPU, moves=moves), stream))
        assert stream.tolist() == [seed, draws + moves]
    torch.testing.assert_close(ways[0], ways[1], rtol=0, atol=0)
    found = ways[0][0]
    assert found.dtype == torch.float32
    assert ((found >= 0) & (found < 1)).all()


def test_stacked_streams_give_the_numbers_of_each():
    streams = torch.tensor([[3, 0], [3, 5], [4, 0]])
    found = torch.func.vmap(partial(uniform, 8, device=CPU, moves=True))(streams)
    for row, (seed, draws) in zip(found, [(3, 0), (3, 5), (4, 0)], strict=True):
        assert torch.equal(row, uniform(8, torch.tensor([seed, draws]), CPU, moves=True))


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from((2, 3)), st.booleans())
def test_pairs_drawn_on_the_host_are_those_of_the_core(seed, batch, classes, modalities, absent):
    labels = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))
    share = 0.4 if absent else 0.0
    expected = mc.draw_pairs(
        mc.draw(labels, modalities, torch.Generator().manual_seed(seed), absent=absent),
        *(labels, modalities),
        absent_share=share,
    )
    generator = torch.Generator().manual_seed(seed)
    pairs = draw_pairs(
        labels, classes, modalities, criterion().stream, moves=True, generator=generator, absent_share=share
    )
    for one, other in zip(pairs, expected, strict=True):
        assert (one is other is None) or torch.equal(one, other)


def test_the_saved_stream_has_a_constant_size():
    before = criterion().state_dict()["_extra_state"]
    after = step(step(criterion())).state_dict()["_extra_state"]
    assert (before.shape, before.dtype) == (after.shape, after.dtype) == ((3,), torch.int64)
    assert [before.tolist(), after.tolist()] == [[7, 0, 0], [7, 2, 0]]


def test_a_seed_that_is_set_begins_the_stream_anew():
    module = step(criterion(seed=3))
    module.seed = 7
    assert module.seed == 7
    assert drawn(module) == drawn(criterion(seed=7))
    with pytest.raises(ValueError, match="seed: expected a whole number >= 0, got -1"):
        module.seed = -1


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.3, 0.4), (0.1,) * 10])
def test_a_soup_of_states_loads(weights, dtype):
    # As model soups and SWA by hand make it: every entry, whatever its dtype.
    dims, seeds = {"audio": 4, "video": 5}, (7, 2**31 - 1)
    states = [
        step(MidasLoss(num_classes=3, feature_dims=dims, seed=seeds[k % 2])).state_dict() for k in range(len(weights))
    ]
    soup = {name: sum(w * s[name].to(dtype) for w, s in zip(weights, states, strict=True)) for name in states[0]}
    model = MidasLoss(num_classes=3, feature_dims=dims)
    model.load_state_dict(soup)
    assert model.step == pytest.approx(1, abs=1)
    assert 0 <= model.seed <= 2**31 - 1
    step(model)


def test_swa_averages_buffers_too():
    model = nn.ModuleList([step(criterion())])
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    for _ in range(2):
        average.update_parameters(model)
    assert average.module[0].seed == 7
    step(average.module[0])


@pytest.mark.parametrize(
    ("state", "got"),
    [
        (torch.zeros(28, dtype=torch.uint8), r"torch\.uint8 of shape \(28,\)"),
        (torch.zeros(1), r"torch\.float32 of shape \(1,\)"),
        (torch.tensor([3, -1]), r"\[3, -1\]"),
        (torch.tensor([torch.nan, 1]), r"\[nan, 1\.0\]"),
        ({"seed": 3}, "dict"),
    ],
)
def test_a_damaged_state_is_refused(state, got):
    module = criterion()
    with pytest.raises(ValueError, match=rf"_extra_state: expected .* whole numbers >= 0, .*, got {got}"):
        module.load_state_dict({**module.state_dict(), "_extra_state": state})


NAMED = {"audio": 4, "video": 5}


def test_names_in_another_order_are_refused():
    saved = MidasLoss(num_classes=3, feature_dims=NAMED).state_dict()
    message = r"state: expected the modalities \['video', 'audio'\], got the order \['audio', 'video'\]"
    with pytest.raises((ValueError, RuntimeError), match=message):
        MidasLoss(num_classes=3, feature_dims={"video": 4, "audio": 5}).load_state_dict(saved)
    with pytest.raises((ValueError, RuntimeError), match="got other names"):
        MidasLoss(num_classes=3, feature_dims={"audio": 4, "text": 5}).load_state_dict(saved)
    MidasLoss(num_classes=3, feature_dims=NAMED).load_state_dict(saved)
    # Without names, and in states from before they were kept, nothing is known.
    MidasLoss(num_classes=3, feature_dims=(4, 5)).load_state_dict(saved)
    old = {**saved, "_extra_state": saved["_extra_state"][:2]}
    MidasLoss(num_classes=3, feature_dims={"video": 4, "audio": 5}).load_state_dict(old)


def test_evaluation_draws_the_same_and_moves_nothing():
    module = criterion().eval()
    first = drawn(module)
    assert drawn(module) == first
    assert drawn(module.train()) == drawn(criterion())
    # Nor does the place of the training's stream matter: the losses of two epochs are of the same pairs.
    assert drawn(step(module).eval()) == first


def test_a_replica_of_data_parallel_moves_the_stream_of_the_module():
    # nn.DataParallel gives the replica of the first device the buffers themselves, the others copies.
    module, other = criterion(), step(criterion())
    for copied in (False, True):
        replica = module._replicate_for_data_parallel()
        replica._buffers = {name: x if x is None or not copied else x.clone() for name, x in module._buffers.items()}
        replica.unimodal_heads = module.unimodal_heads
        step(replica)
    assert torch.equal(module.stream, other.stream)
    assert torch.equal(module.alpha, other.alpha)


def test_ranks_draw_other_numbers(monkeypatch):
    first = numbers(3, 0)
    monkeypatch.setattr(random.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(random.distributed, "get_rank", lambda: 0)
    assert np.array_equal(numbers(3, 0), first)
    monkeypatch.setattr(random.distributed, "get_rank", lambda: 1)
    assert not np.array_equal(numbers(3, 0), first)


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

import pytest
import torch

from benchmarks.accuracy.methods import METHODS, MISSING
from benchmarks.accuracy.methods.midas_missing import AbsentPartners, Present
from midas_core import mix
from tests.benchmarks.accuracy.methods.stacks import batch, make, step

SEEDS = (3, 1)


def test_half_of_the_mixed_samples_have_one_modality_alone():
    model, made = make(AbsentPartners, SEEDS, (1.0, 2.0))
    features = model.features(batch(SEEDS).inputs)
    drawn = [made.draw(batch(SEEDS).labels) for _ in range(40)]
    absent = torch.stack([pairs.absent for pairs in drawn])  # (40, K, M, V, B)
    assert 0.4 < absent.any(dim=2).float().mean() < 0.6
    assert not absent.all(dim=2).any()
    pairs = drawn[0]
    mixed = torch.stack([mix([x[1] for x in features], pairs.sources[1], absent=pairs.absent[1])[m] for m in range(2)])
    assert not mixed[pairs.absent[1]].any()
    torch.testing.assert_close(
        made._mixed_logits(model, features, pairs)[1],
        model.select(1).fuse([x.flatten(0, 1)[None] for x in mixed])[0].unflatten(0, mixed.shape[1:3]),
    )


def test_without_anything_lost_present_is_midas():
    class Whole(Present):
        probability = 1e-9

    model, made = make(Whole, SEEDS, (1.0, 2.0))
    others, midas = make(METHODS["MIDAS"], SEEDS, (1.0, 2.0))
    given = batch(SEEDS)
    midas.random.uniform(given.labels.shape[1])
    torch.testing.assert_close(step(model, made, given), step(others, midas, given))


def test_what_is_lost_has_no_unimodal_loss():
    class Poor(Present):
        probability = 1.0

    model, made = make(Poor, SEEDS, (1.0, 2.0))
    step(model, made, batch(SEEDS))
    here = torch.stack(made.present, dim=-1)
    assert (here.sum(dim=-1) == 1).all()


@pytest.mark.parametrize("title", MISSING)
def test_a_stack_is_its_models(title):
    given = batch(SEEDS)
    model, made = make(MISSING[title], SEEDS, (1.0, 2.0))
    together = step(model, made, given)
    for k, (seed, strength) in enumerate(zip(SEEDS, (1.0, 2.0), strict=True)):
        alone = type(given)([x[k : k + 1] for x in given.inputs], given.labels[k : k + 1], given.index[k : k + 1], 9)
        torch.testing.assert_close(step(*make(MISSING[title], [seed], [strength]), alone)[0], together[k])

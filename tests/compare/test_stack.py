from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from midas_core.compare.methods import METHODS
from midas_core.compare.stack import Model, Random, StackedLinear, StackedOptimizer, StackedSplit
from midas_core.compare.training import Recipe, Setting, train
from midas_core.data import Split, Task


def small_task(seed):
    rng = np.random.default_rng(seed)

    def split(size):
        labels = rng.integers(3, size=size)
        inputs = tuple((np.eye(3)[labels] + rng.normal(size=(size, 3))).astype(np.float32) for _ in range(2))
        return Split(inputs, labels)

    return Task(("a", "b"), 3, split(40), split(30), split(30))


def test_models_of_one_seed_draw_the_same_and_of_another_seed_something_else():
    drawn = Random([4, 5, 4]).uniform(3)
    assert drawn[0].tolist() == drawn[2].tolist() != drawn[1].tolist()
    assert Random([4], stream=1).uniform(3)[0].tolist() != drawn[0].tolist()
    assert sorted(Random([4]).permutation(5)[0].tolist()) == [0, 1, 2, 3, 4]


def test_a_stacked_layer_is_a_row_of_linear_layers():
    stacked, x = StackedLinear(4, 3, Random([0, 1])), torch.randn(2, 5, 4)
    for k in range(2):
        linear = nn.Linear(4, 3)
        linear.load_state_dict({"weight": stacked.weight[k].T, "bias": stacked.bias[k, 0]})
        torch.testing.assert_close(stacked(x)[k], linear(x[k]))
    assert stacked.weight.abs().max() <= 0.5


def test_contributions_and_bias_make_the_fused_logits():
    model = Model([3, 4], 5, Random([0, 1]))
    features = model.features([torch.randn(2, 6, 3), torch.randn(2, 6, 4)])
    torch.testing.assert_close(sum(model.contributions(features)) + model.head.bias, model.fuse(features))


def test_a_selected_model_predicts_what_it_predicts_in_the_stack():
    model, inputs = Model([3, 3], 4, Random([0, 1, 2])), [torch.randn(3, 5, 3) for _ in range(2)]
    alone = model.select(1)
    found = alone.fuse(alone.features([x[1:2] for x in inputs]))
    torch.testing.assert_close(found[0], model.fuse(model.features(inputs))[1])
    assert alone.count == 1


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_an_optimizer_with_a_learning_rate_for_each_model_is_one_for_each(name):
    rates, start = [1e-3, 1e-2], torch.randn(2, 3, 4)
    stacked = nn.Parameter(start.clone())
    mine = StackedOptimizer([stacked], rates, name)
    alone = [nn.Parameter(x.clone()) for x in start]
    make = torch.optim.Adam if name == "adam" else partial(torch.optim.SGD, momentum=0.9)
    others = [make([p], lr=rate) for p, rate in zip(alone, rates, strict=True)]
    for step in range(5):
        (stacked**2 * (step + 1)).sum().backward()
        mine.step()
        for p, other in zip(alone, others, strict=True):
            other.zero_grad()
            (p**2 * (step + 1)).sum().backward()
            other.step()
    torch.testing.assert_close(stacked, torch.stack(list(alone)))


def test_every_model_gets_the_samples_of_its_seed():
    splits = [small_task(seed).training for seed in (0, 1)]
    batch = StackedSplit(splits, [1, 0, 1]).take(torch.tensor([[2, 3], [4, 5], [6, 7]]), 9)
    assert batch.labels.tolist() == [
        splits[1].labels[2:4].tolist(),
        *[splits[s].labels[i : i + 2].tolist() for s, i in ((0, 4), (1, 6))],
    ]
    np.testing.assert_array_equal(batch.inputs[1][2], splits[1].inputs[1][6:8])
    assert batch.epoch == 9


def test_splits_of_different_sizes_are_gone_through_whole():
    random, sizes = Random([0, 1, 0]), [5, 12]
    order = random.epoch(sizes)
    assert order.shape == (3, 12)
    assert torch.equal(order[0], order[2])
    assert sorted(order[1].tolist()) == list(range(12))
    assert sorted(order[0][:5].tolist()) == sorted(order[0][5:10].tolist()) == list(range(5))
    splits = [small_task(0).training, small_task(1).validation]
    stacked = StackedSplit(splits, [1, 0, 1])
    right = stacked.accuracy(lambda inputs: inputs[0])
    for k, split in enumerate((splits[1], splits[0], splits[1])):
        assert right[k] == pytest.approx((split.inputs[0].argmax(1) == split.labels).mean())


def test_seeds_with_the_same_samples_share_them_in_memory():
    split, other = small_task(0).training, small_task(1).training
    stacked = StackedSplit([split, split, other, split], [0, 1, 3, 2])
    assert stacked._inputs[0].shape == (80, 3)
    batch = stacked.take(torch.tensor([[1, 2]] * 4))
    for k, expected in enumerate((split, split, split, other)):
        np.testing.assert_array_equal(batch.inputs[0][k], expected.inputs[0][1:3])
    assert StackedSplit([split, split], [0, 1])._inputs[0].data_ptr() == split.inputs[0].ctypes.data, "no copy at all"


@pytest.mark.parametrize("name", ["joint", "MIDAS", "Data Remixing"])
def test_a_stack_trains_as_its_models_do_alone(name):
    tasks = {seed: small_task(seed) for seed in (0, 1)}
    settings, recipe = [Setting(0, 1e-2, 1.0), Setting(1, 1e-2, 2.0), Setting(0, 1e-3, 2.0)], Recipe(4, 16)
    together = train(tasks, METHODS[name], settings, recipe)
    for k, setting in enumerate(settings):
        alone = train(tasks, METHODS[name], [setting], recipe)
        for mine, theirs in ((alone.best, together.best), (alone.last, together.last)):
            for p, q in zip(mine.parameters(), theirs.select(k).parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        assert alone.best_epoch[0] == together.best_epoch[k]


def test_the_best_model_is_the_last_of_the_best():
    run = train({0: small_task(0)}, METHODS["joint"], [Setting(0, 3e-2, 1.0)], Recipe(12, 16))
    accuracy = [point[0] for point in run.validation_accuracy]
    last = max(i for i, value in enumerate(accuracy) if value == max(accuracy))
    assert run.best_epoch == [run.epochs[last]]
    assert run.epochs == list(range(1, 13))

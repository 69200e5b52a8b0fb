import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.accuracy.methods import METHODS
from benchmarks.accuracy.methods.base import Batch, Model, Random, Setup, Single, StackedLinear, dense_model
from benchmarks.accuracy.stack import StackedAdam, StackedSplit
from benchmarks.accuracy.training import Setting, train
from midas_core import MidasState, Pairs, midas_objective, mix, similarity
from midas_core.data import Split, Task


def small_task(seed):
    rng = np.random.default_rng(seed)

    def split(size):
        labels = rng.integers(3, size=size)
        views = tuple((np.eye(3)[labels] + rng.normal(size=(size, 3))).astype(np.float32) for _ in range(2))
        return Split(views, labels)

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
    model = dense_model([3, 4], 5, Random([0, 1]))
    features = model.features([torch.randn(2, 6, 3), torch.randn(2, 6, 4)])
    torch.testing.assert_close(sum(model.contributions(features)) + model.head.bias, model.fuse(features))


def test_a_real_encoder_is_a_stack_of_one():
    encoder = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten())
    model = Model([Single(encoder)], [8], 3, Random([0]))
    x = torch.randn(1, 5, 2, 4)
    torch.testing.assert_close(model.features([x])[0][0], encoder(x[0]))
    model.fuse(model.features([x])).sum().backward()
    rows = model.rows(encoder[0].weight.grad)
    assert rows.shape == (1, 24)
    rows.zero_()
    assert not encoder[0].weight.grad.any(), "a view: what is changed there is changed in the gradient"
    assert model.select(0).fuse([torch.ones(1, 2, 8)]).shape == (1, 2, 3)


def test_a_selected_model_predicts_what_it_predicts_in_the_stack():
    model, inputs = dense_model([3, 3], 4, Random([0, 1, 2])), [torch.randn(3, 5, 3) for _ in range(2)]
    alone = model.select(1)
    found = alone.fuse(alone.features([x[1:2] for x in inputs]))
    torch.testing.assert_close(found[0], model.fuse(model.features(inputs))[1])
    assert alone.count == 1


def test_adam_with_a_learning_rate_for_each_model_is_adam():
    rates, start = [1e-3, 1e-2], torch.randn(2, 3, 4)
    stacked = nn.Parameter(start.clone())
    mine = StackedAdam([stacked], rates)
    alone = [nn.Parameter(x.clone()) for x in start]
    others = [torch.optim.Adam([p], lr=rate) for p, rate in zip(alone, rates, strict=True)]
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


def test_midas_is_the_core_one_model_at_a_time():
    model, strength = dense_model([3, 3], 4, Random([0, 1])), torch.tensor([1.0, 5.0])
    method = METHODS["MIDAS"](Setup(4, model.feature_dims, strength, Random([0, 1], stream=1), 1))
    again = METHODS["MIDAS"](Setup(4, model.feature_dims, strength, Random([0, 1], stream=1), 1))
    inputs, labels = [torch.randn(2, 8, 3) for _ in range(2)], torch.arange(8).expand(2, -1) % 4
    found = method.loss(model, Batch(inputs, labels, labels, 0))
    pairs = again.draw(labels)
    for k in range(2):
        alone, own = model.select(k), Pairs(*(x[k] for x in pairs if x is not None))
        features = alone.features([x[k : k + 1] for x in inputs])
        parts = [x[0] for x in features]
        mixed = torch.stack([alone.fuse([x[None, v] for x in mix(parts, own.sources)])[0] for v in range(2)])
        terms, state, _ = midas_objective(
            alone.fuse(features)[0],
            [x[0] for x in alone.unimodal(features)],
            mixed,
            labels[k],
            own,
            similarity(parts, own.sources),
            MidasState(torch.ones(2), torch.tensor(0)),
            weight=strength[k].item(),
        )
        torch.testing.assert_close(found[k], terms.total.mean())
        torch.testing.assert_close(method.state.alpha[k], state.alpha)


def test_midas_warms_up():
    model = dense_model([3, 3], 4, Random([0]))
    setup = Setup(4, model.feature_dims, torch.ones(1), Random([0]), 2)
    method = METHODS["MIDAS"](setup, warmup_epochs=1)
    inputs, labels = [torch.randn(1, 8, 3) for _ in range(2)], torch.arange(8)[None] % 4
    losses = nn.functional.cross_entropy
    expected = sum(losses(z[0], labels[0]) for z in model.unimodal(model.features(inputs)))
    torch.testing.assert_close(method.loss(model, Batch(inputs, labels, labels, 0))[0], expected)
    assert method.loss(model, Batch(inputs, labels, labels, 1))[0] > expected


@pytest.mark.parametrize("name", ["joint", "MIDAS"])
def test_a_stack_trains_as_its_models_do_alone(name):
    tasks = {seed: small_task(seed) for seed in (0, 1)}
    settings = [Setting(0, 1e-2, 1.0), Setting(1, 1e-2, 2.0), Setting(0, 1e-3, 2.0)]
    together = train(tasks, METHODS[name], settings, epochs=4, batch_size=16)
    for k, setting in enumerate(settings):
        alone = train(tasks, METHODS[name], [setting], epochs=4, batch_size=16)
        for kind, model in alone.models.items():
            for mine, theirs in zip(model.parameters(), together.models[kind].select(k).parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
        assert alone.best_epoch[0] == together.best_epoch[k]


def test_the_best_model_is_the_last_of_the_best():
    run = train({0: small_task(0)}, METHODS["joint"], [Setting(0, 3e-2, 1.0)], epochs=12, batch_size=16)
    accuracy = [point[0] for point in run.validation_accuracy]
    last = max(i for i, each in enumerate(accuracy) if each == max(accuracy))
    assert run.best_epoch == [run.epochs[last]]
    assert run.epochs == list(range(1, 13))

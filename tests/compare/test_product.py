"""A stack of one trains as the product does."""

import numpy as np
import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss
from midas_core.backends.torch import BACKEND
from midas_core.compare.methods import METHODS
from midas_core.compare.stack import Random, StackedSplit
from midas_core.compare.training import Model, Setup, StackedOptimizer
from midas_core.data import Split

STEPS, RATE, WEIGHT = 20, 3e-3, 2.0


def linear(stacked):
    layer = nn.Linear(*stacked.weight.shape[1:])
    layer.load_state_dict({"weight": stacked.weight[0].T, "bias": stacked.bias[0, 0]})
    return layer


def plain(module):
    """The layers of a stack of one, as anybody writes them."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*[x if isinstance(x, nn.ReLU) else linear(x) for x in module])
    return linear(module)


@pytest.mark.parametrize("title", ["MIDAS", "MIDAS (eta 0)", "MIDAS + finish", "MIDAS (eta 0) + finish"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_twenty_steps_of_a_stack_of_one_are_those_of_the_product(title, modalities, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=24)
    inputs = tuple(
        (np.eye(4)[labels] @ rng.normal(size=(4, 5)) + rng.normal(size=(24, 5))).astype("f") for _ in range(modalities)
    )
    training, epochs = StackedSplit([Split(inputs, labels)], [0]), STEPS // 2
    model = Model([5] * modalities, 4, Random([0]))
    method = METHODS[title](Setup(4, model.feature_dims, torch.tensor([WEIGHT]), Random([0], stream=1), epochs))
    mine = StackedOptimizer([*model.parameters()], [RATE])

    encoders, head = [plain(x) for x in model.encoders], plain(model.head)
    criterion = MidasLoss(
        num_classes=4, unimodal_heads=[plain(x) for x in model.unimodal_heads], weight=WEIGHT, **method.product_options
    )
    parameters = [p for module in (*encoders, head, criterion) for p in module.parameters()]
    adam = torch.optim.Adam(parameters, lr=RATE)
    numbers = Random([0], stream=1)
    monkeypatch.setattr(type(BACKEND), "uniform", lambda self, shape, like, generator=None: numbers.uniform(*shape)[0])

    for step in range(STEPS):
        epoch = step * epochs // STEPS
        batch = training.take(torch.from_numpy(rng.permutation(24)[None, :12]), epoch)
        loss = method.loss(model, batch)
        loss.sum().backward()
        mine.step()
        criterion.set_epoch(epoch)
        adam.zero_grad()
        features = [encode(x[0]) for encode, x in zip(encoders, batch.inputs, strict=True)]
        expected = criterion(features, batch.labels[0], head=head, generator=torch.Generator())
        expected.backward()
        adam.step()
        torch.testing.assert_close(loss[0], expected, rtol=1e-6, atol=1e-6)
    product = nn.ModuleList([*encoders, head, *criterion.unimodal_heads])
    stacked = [*model.encoders, model.head, *model.unimodal_heads]
    for layer, module in zip(product, stacked, strict=True):
        for p, q in zip(layer.parameters(), plain(module).parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(method.state.alpha[0].double(), criterion.alpha.double(), rtol=1e-6, atol=1e-6)

"""Every method gives K models side by side what it gives each by itself, and trains them."""

import pytest
import torch

from midas_core.compare.methods import METHODS
from tests.compare.methods.stacks import batch, make, step

SEEDS = (3, 1, 2)


@pytest.mark.parametrize("widths", [(5, 3), (5, 3, 4)], ids=["two", "three"])
@pytest.mark.parametrize("title", METHODS)
def test_a_stack_is_its_models(title, widths):
    strengths = (METHODS[title].strengths or (1.0, 1.0, 1.0))[:3]
    model, method = make(METHODS[title], SEEDS, strengths, widths=widths)
    singles = [make(METHODS[title], [s], [x], widths=widths) for s, x in zip(SEEDS, strengths, strict=True)]
    trained = [[*m.parameters(), *each.parameters()] for m, each in [(model, method), *singles]]
    optimizers = [torch.optim.SGD(parameters, lr=0.1) for parameters in trained]

    for epoch in (0, 9, 9):
        losses = step(model, method, batch(SEEDS, epoch=epoch, widths=widths))
        alone = [
            step(*single, batch([s], epoch=epoch, widths=widths)) for single, s in zip(singles, SEEDS, strict=True)
        ]
        torch.testing.assert_close(losses, torch.cat(alone))
        for optimizer in optimizers:
            optimizer.step()
    for k, single in enumerate(trained[1:]):
        for ours, its in zip(trained[0], single, strict=True):
            torch.testing.assert_close(ours[k : k + 1], its)


@pytest.mark.parametrize("title", METHODS)
def test_a_method_learns_its_batch(title):
    method = METHODS[title]
    strength = method.strengths[1] if method.strengths else 1.0
    model, method = make(method, [0], [strength])
    warmup, given = batch([0], epoch=0), batch([0])
    optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], lr=0.05)
    for i in range(80):
        step(model, method, warmup if i < 60 else given)
        optimizer.step()
    with torch.no_grad():
        logits = method.logits(model, model.features(given.inputs))
    assert (logits.argmax(dim=-1) == given.labels).float().mean() > 0.9


@pytest.mark.parametrize("title", METHODS)
def test_a_grid_has_no_or_three_values(title):
    method = METHODS[title]
    assert len(method.strengths) in (0, 3)
    assert bool(method.strength_name) == bool(method.strengths)

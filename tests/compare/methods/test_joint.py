import pytest
import torch
from torch import nn

from midas_core.compare.methods import METHODS
from tests.compare.methods.stacks import batch, make, step


def test_label_smoothing_is_that_of_pytorch():
    strengths = [0.0, 0.1, 0.3]
    model, method = make(METHODS["joint + label smoothing"], [0, 1, 2], strengths)
    given = batch([0, 1, 2])
    logits = model.fuse(model.features(given.inputs))
    expected = [
        nn.functional.cross_entropy(logits[k], given.labels[k], label_smoothing=e) for k, e in enumerate(strengths)
    ]
    torch.testing.assert_close(method.loss(model, given), torch.stack(expected))


def test_weight_decay_is_that_of_adam():
    model, method = make(METHODS["joint + weight decay"], [0], [0.01])
    other, joint = make(METHODS["joint"], [0], [1.0])
    mine = torch.optim.Adam(model.parameters(), lr=0.01)
    theirs = torch.optim.Adam(other.parameters(), lr=0.01, weight_decay=0.01)
    for _ in range(3):
        step(model, method, batch([0]))
        mine.step()
        step(other, joint, batch([0]))
        theirs.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("title", [title for title, method in METHODS.items() if 0 in method.strengths])
def test_a_strength_of_zero_is_joint_training(title):
    model, method = make(METHODS[title], [0], [0.0])
    other, joint = make(METHODS["joint"], [0], [1.0])
    torch.testing.assert_close(step(model, method, batch([0])), step(other, joint, batch([0])))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad)

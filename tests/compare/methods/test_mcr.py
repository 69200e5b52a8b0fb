import math

import pytest
import torch

from midas_core.compare.methods.mcr import Mcr, competition, jensen_shannon
from tests.compare.methods.stacks import batch, make, step


def test_the_divergence_by_hand():
    # (1/4, 3/4) and (1/2, 1/2) of (3/8, 5/8), then two certain and opposite ones, then two equal ones.
    left = torch.tensor([[[1.0, 3.0]], [[1.0, 1e-30]], [[1.0, 2.0]]]).log()
    right = torch.tensor([[[1.0, 1.0]], [[1e-30, 1.0]], [[3.0, 6.0]]]).log()
    log = math.log
    first = 0.25 * log(0.25 / 0.375) + 0.75 * log(0.75 / 0.625) + 0.5 * log(0.5 / 0.375) + 0.5 * log(0.5 / 0.625)
    assert jensen_shannon(left, right).tolist() == pytest.approx([first / 2, log(2), 0.0], abs=1e-6)


def test_the_game_by_hand():
    parts = list(torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0)))
    for part in parts:
        part.requires_grad_()
    bias, partners = torch.randn(1, 1, 3), torch.tensor([[[1, 2, 3, 0]]])
    value = competition(parts, bias, partners)
    # Without gradients, what a player wins the other loses.
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    value.sum().backward()

    def influence(first, second, shifted):
        moved = [first, second]
        moved[shifted] = moved[shifted][:, [1, 2, 3, 0]]
        return jensen_shannon(sum(moved) + bias, first + second + bias).sum()

    a, b = (x.detach().clone().requires_grad_() for x in parts)
    game = -influence(a, b.detach(), 0) + influence(a, b.detach(), 1)
    torch.testing.assert_close(parts[0].grad, torch.autograd.grad(game, a)[0])
    game = -influence(a.detach(), b, 1) + influence(a.detach(), b, 0)
    torch.testing.assert_close(parts[1].grad, torch.autograd.grad(game, b)[0])


def test_a_step_of_a_player_raises_its_influence():
    parts = list(torch.randn(2, 1, 8, 3, generator=torch.Generator().manual_seed(0)))
    first = parts[0].clone().requires_grad_()
    partners = torch.tensor([[[3, 4, 5, 6, 7, 0, 1, 2]]])
    competition([first, parts[1]], torch.zeros(1, 1, 3), partners).sum().backward()

    def lead(x):
        both = x + parts[1]
        permuted = [
            jensen_shannon(x[:, partners[0, 0]] + parts[1], both),
            jensen_shannon(x + parts[1][:, partners[0, 0]], both),
        ]
        return (permuted[0] - permuted[1]).item()

    assert lead(first.detach() - 0.1 * first.grad) > lead(parts[0])


def test_the_decoder_is_trained_and_the_prediction_does_not_learn_to_be_decoded():
    model, method = make(Mcr, [0], [0.0])
    step(model, method, batch([0]))
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    other, silent = make(Mcr, [0], [0.0])
    with torch.no_grad():
        for parameter in silent.parameters():
            parameter.zero_()
    step(other, silent, batch([0]))
    torch.testing.assert_close(model.head.weight.grad, other.head.weight.grad)

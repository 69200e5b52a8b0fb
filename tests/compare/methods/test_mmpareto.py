import pytest
import torch

from midas_core.compare.methods.base import cross_entropy
from midas_core.compare.methods.joint import JointUnimodal
from midas_core.compare.methods.mmpareto import MmPareto, combine_gradients
from tests.compare.methods.stacks import batch, make, step


def test_without_conflict_it_is_the_sum():
    fused, unimodal = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[1.0, 3.0], [0.0, 1.0]])
    found = combine_gradients(fused, unimodal, torch.tensor([1.0, 1.5]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 3.0], [1.5, 4.5]]))


def test_a_conflict_by_hand():
    # The point of least norm between (1, 0) and (-1, 2): (1, 0) + t (-2, 2), t = 1/4, so (1/2, 1/2). Twice that is
    # (1, 1), of norm sqrt 2; the sum (0, 2) has norm 2.
    found = combine_gradients(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 2.0]]), torch.tensor([1.5]))
    torch.testing.assert_close(found, torch.full((1, 2), 1.5 * 2**0.5))


def test_the_direction_serves_both_and_is_no_shorter_than_the_sum():
    generator = torch.Generator().manual_seed(0)
    fused, unimodal = torch.randn(2, 500, 6, generator=generator)
    found = combine_gradients(fused, unimodal, torch.ones(500))
    conflict = (fused * unimodal).sum(dim=1) < 0
    assert conflict.any()
    assert ((found * fused).sum(dim=1)[conflict] > -1e-4).all()
    assert ((found * unimodal).sum(dim=1)[conflict] > -1e-4).all()
    assert (found.norm(dim=1) >= (fused + unimodal).norm(dim=1) - 1e-4).all()


@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_opposite_or_absent_gradients_give_numbers(scale):
    fused = torch.tensor([[1.0, 2.0]])
    assert torch.isfinite(combine_gradients(fused, -scale * fused, torch.ones(1))).all()


def test_heads_have_their_plain_gradients_and_encoders_the_combined_ones():
    model, method = make(MmPareto, [0], [1.5])
    plain, other = make(JointUnimodal, [0], [1.0])
    given = batch([0])
    step(plain, other, given)
    step(model, method, given)
    torch.testing.assert_close(model.head.weight.grad, plain.head.weight.grad)
    for ours, theirs in zip(model.unimodal_heads, plain.unimodal_heads, strict=True):
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)

    features = plain.features(given.inputs)
    fused = cross_entropy(plain.fuse(features), given.labels).sum()
    for m, encoder in enumerate(plain.encoders):
        own = cross_entropy(plain.unimodal(features)[m], given.labels).sum()
        both = [torch.autograd.grad(x, list(encoder.parameters()), retain_graph=True) for x in (fused, own)]
        flat = [torch.cat([g.flatten() for g in each])[None] for each in both]
        expected = combine_gradients(*flat, torch.tensor([1.5]))
        found = torch.cat([p.grad.flatten() for p in model.encoders[m].parameters()])[None]
        torch.testing.assert_close(found, expected)

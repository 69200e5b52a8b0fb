import torch

from midas_core.compare.methods.late_fusion import LateFusion
from tests.compare.methods.stacks import batch, make, step


def test_it_predicts_the_mean_of_the_probabilities():
    model, made = make(LateFusion, [0, 1], [1.0, 1.0])
    features = model.features(batch([0, 1]).inputs)
    mean = torch.stack([z.softmax(-1) for z in model.unimodal(features)]).mean(0)
    torch.testing.assert_close(made.logits(model, features).exp(), mean)


def test_the_fused_head_is_left_alone():
    model, made = make(LateFusion, [0], [1.0])
    step(model, made, batch([0]))
    assert model.head.weight.grad is None
    assert all(head.weight.grad is not None for head in model.unimodal_heads)

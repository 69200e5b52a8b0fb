import math

import pytest
import torch

from midas_core.compare.methods.joint import Joint
from midas_core.compare.methods.ogm_ge import OgmGe, gradient_coefficients
from tests.compare.methods.stacks import batch, make, step


def test_coefficients_by_hand():
    found = gradient_coefficients(torch.tensor([[2.0, 0.5], [0.5, 2.0]]), torch.tensor([0.1, 1.0]))
    assert found.T.tolist() == [
        [pytest.approx(1 - math.tanh(0.2)), 1.0],
        [1.0, pytest.approx(1 - math.tanh(2.0))],
    ]


def gradients(model):
    return [[p.grad.clone() for p in encoder.parameters()] for encoder in model.encoders]


def test_the_leading_encoder_alone_is_held_back():
    model, method = make(OgmGe, [0], [1.0])
    joint, plain = make(Joint, [0], [1.0])
    with torch.no_grad():
        for each in (model, joint):
            each.head.weight[:, :4] *= 5  # The first modality says more of the classes.
    step(joint, plain, batch([0]))
    expected = gradients(joint)
    method.random.normal = lambda count: torch.zeros(1, count)
    step(model, method, batch([0]))
    lead = int(method.coefficients[:, 0].argmin())
    assert method.coefficients[lead, 0] < 1
    assert method.coefficients[1 - lead, 0] == 1
    for m, (ours, theirs) in enumerate(zip(gradients(model), expected, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other * method.coefficients[m, 0])
    torch.testing.assert_close(model.head.weight.grad, joint.head.weight.grad)


def test_the_noise_is_as_wide_as_the_gradient():
    model, method = make(OgmGe, [0], [0.3])
    joint, plain = make(Joint, [0], [0.3])
    step(joint, plain, batch([0]))
    step(model, method, batch([0]))
    ratios = []
    for m, (ours, theirs) in enumerate(zip(gradients(model), gradients(joint), strict=True)):
        noise = ours[0] - method.coefficients[m, 0] * theirs[0]
        ratios.append((noise.std() / theirs[0].std()).item())
    assert ratios == pytest.approx([1.0, 1.0], rel=0.5)

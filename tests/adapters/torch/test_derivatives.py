"""Derivatives as others take them: for several losses at once, batched, second ones, and over stacked models."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.func import functional_call, grad, stack_module_state, vmap  # noqa: E402
from torch.testing import assert_close  # noqa: E402

from midas_core.adapters.torch import MidasLoss  # noqa: E402

HEADS = {
    "linear": lambda: nn.Linear(7, 3),
    "MLP": lambda: nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3)),
    "opaque": lambda: nn.Sequential(nn.Tanh(), nn.Linear(7, 3)),
}
PERMUTATION = torch.tensor([1, 2, 3, 4, 5, 0])


class Model(nn.Module):
    """A criterion and its head, as they are trained."""

    def __init__(self, kind="linear", **options):
        super().__init__()
        self.criterion = MidasLoss(num_classes=3, feature_dims=[3, 4], seed=0, **options)
        self.head = HEADS[kind]()
        self.double()

    def forward(self, features, labels, **given):
        return self.criterion(features, labels, head=self.head, **given)

    def terms(self, features, labels, **given):
        terms = self.criterion.terms(features, labels, head=self.head, **given)
        return [terms.aligned, *terms.unimodal, terms.misaligned]


def batch():
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(6, width, dtype=torch.float64, generator=generator) for width in (3, 4)]
    return features, torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_one_gradient_of_each_term_as_multi_task_optimisers_take_it(kind):
    # TorchJD, PCGrad and others: one backward pass through one graph, a row of slopes for each loss, vmapped.
    torch.manual_seed(0)
    model, (features, labels) = Model(kind), batch()
    terms = torch.stack(model.terms(features, labels, permutation=PERMUTATION))
    leaves = list(model.parameters())
    rows = torch.autograd.grad(
        terms, leaves, torch.eye(len(terms), dtype=terms.dtype), retain_graph=True, is_grads_batched=True
    )
    for k, term in enumerate(terms):
        expected = torch.autograd.grad(term, leaves, retain_graph=True, materialize_grads=True)
        for row, slope in zip(rows, expected, strict=True):
            assert_close(row[k], slope)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_a_second_derivative_is_that_of_finite_differences(kind):
    torch.manual_seed(0)
    model, (features, labels) = Model(kind).eval(), batch()

    def slope(x):
        # Soft weights are constants of the differentiation: the pairs are left out.
        terms = model.terms([x, features[1]], labels, permutation=PERMUTATION)
        return torch.autograd.grad(sum(terms[:-1]), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(slope, features[0].requires_grad_())


@pytest.mark.parametrize("kind", ["linear", "MLP"])
def test_models_in_a_stack_step_as_they_do_alone(kind):
    torch.manual_seed(0)
    models, (features, labels) = [Model(kind) for _ in range(3)], batch()
    parameters, buffers = stack_module_state(models)

    def loss(parameters, buffers):
        arguments = {"permutation": PERMUTATION}
        state = dict(buffers)
        total = functional_call(models[0], (parameters, state), (features, labels), arguments)
        return total, state

    slopes, states = vmap(grad(loss, has_aux=True))(parameters, buffers)
    for k, model in enumerate(models):
        model.zero_grad()
        model(features, labels, permutation=PERMUTATION).backward()
        for name, x in model.named_parameters():
            assert_close(slopes[name][k], x.grad)
        assert_close(states["criterion.alpha"][k], model.criterion.alpha)
        assert states["criterion.step"][k] == 1

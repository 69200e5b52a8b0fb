"""Derivatives as others take them: for several losses at once, batched, second ones, and over stacked models."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.testing import assert_close

from midas_core.adapters.torch import MidasLoss

HEADS = {
    "linear": lambda: nn.Linear(7, 3),
    "MLP": lambda: nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3)),
    "opaque": lambda: nn.Sequential(nn.Tanh(), nn.Linear(7, 3)),
}
PERMUTATION = torch.tensor([1, 2, 3, 4, 5, 0])


class Model(nn.Module):
    """A criterion and its head, as they are trained."""

    def __init__(self, kind="linear", seed=0, **options):
        super().__init__()
        self.criterion = MidasLoss(num_classes=3, feature_dims=[3, 4], seed=seed, **options)
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
def test_first_and_second_derivatives_are_those_of_finite_differences(kind):
    torch.manual_seed(0)
    model, (features, labels) = Model(kind).eval(), batch()

    def loss(*features):
        # Soft weights are constants of the differentiation: the pairs are left out.
        return sum(model.terms(list(features), labels, permutation=PERMUTATION)[:-1])

    leaves = [x.requires_grad_() for x in features]
    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)


@pytest.mark.parametrize("options", [{}, {"warmup_epochs": 1, "aligned_from": 2}], ids=str)
@pytest.mark.parametrize("kind", ["linear", "MLP"])
def test_models_in_a_stack_train_as_they_do_alone(kind, options):
    # Parameters, buffers and streams of three models, each in an epoch of its own.
    torch.manual_seed(0)
    models, (features, labels) = [Model(kind, seed=k, **options) for k in range(3)], batch()
    for epoch, model in enumerate(models):
        model.criterion.set_epoch(epoch)
    parameters, buffers = stack_module_state(models)

    def loss(*state):
        return functional_call(models[0], state, (features, labels))

    for _ in range(2):
        slopes, losses = vmap(grad_and_value(loss))(parameters, buffers)
        for k, model in enumerate(models):
            expected = model(features, labels)
            assert_close(losses[k], expected)
            names, leaves = zip(*model.named_parameters(), strict=True)
            assert_close([slopes[name][k] for name in names], list(torch.autograd.grad(expected, leaves)))
    for name, x in buffers.items():
        assert_close(x, torch.stack([model.get_buffer(name) for model in models]))

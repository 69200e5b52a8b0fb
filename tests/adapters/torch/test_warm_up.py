"""Warm-up and aligned finish follow the epoch buffer, however it came by its value; evaluation knows neither."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss
from tests.adapters.torch.test_loss import CLASSES, batch, heads, make

HEAD = heads(8)["linear"]


def over(epoch=2):
    """Return a criterion whose warm-up is over."""
    criterion = make(warmup_epochs=2)
    criterion.set_epoch(epoch)
    return criterion


def is_warming_up(criterion):
    features, labels = batch()
    return criterion.terms(features, labels, head=HEAD).misaligned.item() == 0


def by_copying(target, source):
    with torch.no_grad():
        for mine, theirs in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            mine.copy_(theirs)


def by_assigning(target, source):
    target.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)


def by_swapping(target, source):
    for name, buffer in target.named_buffers():
        torch.utils.swap_tensors(buffer, source.get_buffer(name).clone())


def by_setting(target, source):
    for name, buffer in source.named_buffers():
        setattr(target, name, buffer.clone())


def by_averaging(target, source):
    model = nn.ModuleList([target])
    average = torch.optim.swa_utils.AveragedModel(model)
    target.load_state_dict(source.state_dict())
    average.update_parameters(model)
    return average.module[0]


def on_meta(_, source):
    with torch.device("meta"):
        target = MidasLoss(num_classes=CLASSES, feature_dims=(3, 5), warmup_epochs=2, class_weights=[1] * CLASSES)
    target.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)
    assert torch.equal(target.stream, source.stream)
    return target.to("cpu")


def by_sharing(target, source):
    target.share_memory()
    assert all(x.is_shared() for x in target.buffers())
    # What another process writes leaves no trace in this one.
    target.epoch.data.copy_(source.epoch)


def by_deepcopy(_, source):
    return copy.deepcopy(source)


WAYS = [by_copying, by_assigning, by_swapping, by_setting, by_averaging, on_meta, by_sharing, by_deepcopy]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_copy_has_the_loss_of_its_epoch(way):
    for epoch in (2, 1):
        target = over(epoch=0)
        assert is_warming_up(target)
        assert is_warming_up(way(target, over(epoch)) or target) == (epoch < 2)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loaded_epoch_is_known(epoch):
    # A warning would be an error here.
    loaded = make(warmup_epochs=2)
    loaded.load_state_dict(over(epoch).state_dict())
    assert is_warming_up(loaded)
    copied = make(warmup_epochs=2)
    copied.epoch.fill_(1)
    assert is_warming_up(copied)


def test_a_criterion_made_in_inference_mode_can_be_told_its_epoch():
    with torch.inference_mode():
        criterion = MidasLoss(num_classes=CLASSES, feature_dims=(3, 5), warmup_epochs=2)
    for epoch in (0, 2):
        criterion.set_epoch(epoch)
        assert (criterion._phase().warmup, criterion.epoch) == (epoch == 0, epoch)


@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_evaluation_has_the_whole_objective_in_every_epoch(kind):
    features, labels = batch()
    losses = []
    for epoch in (0, 1, 5):
        criterion = make(warmup_epochs=2, aligned_from=4).eval()
        criterion.set_epoch(epoch)
        terms = criterion.terms(features, labels, head=heads(8)[kind])
        torch.testing.assert_close(terms.total, terms.aligned + terms.unimodal.sum() + terms.misaligned)
        assert terms.misaligned > 0
        losses.append(terms.total.item())
    assert losses[1:] == losses[:1] * 2


@contextmanager
def evaluating(criterion):
    criterion.eval()
    yield
    criterion.train()


@pytest.mark.parametrize("kind", ["linear", "two layers"])
@pytest.mark.parametrize("guard", [evaluating, lambda _: torch.no_grad(), lambda _: torch.inference_mode()])
@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_an_evaluation_or_a_step_without_gradients_moves_nothing_in_any_epoch(kind, guard, epoch):
    # A criterion outside of the model never hears of model.eval().
    features, labels = batch()
    head = heads(8)[kind]
    criterion, other = (make(warmup_epochs=2, aligned_from=4) for _ in range(2))
    for each in (criterion, other):
        each.set_epoch(epoch)
    for _ in range(2):
        expected = copy.deepcopy(criterion).eval()(features, labels, head=head)
        before = copy.deepcopy(criterion.state_dict())
        with guard(criterion):
            assert criterion(features, labels, head=head) == criterion(features, labels, head=head) == expected
        assert all(torch.equal(x, before[name]) for name, x in criterion.state_dict().items())
        # As if there had been no evaluation in between.
        assert criterion(features, labels, head=head) == other(features, labels, head=head)


def test_a_hook_is_told_whether_the_step_learned():
    features, labels = batch()
    criterion, steps = make(), []
    criterion.register_terms_hook(steps.append)
    criterion(features, labels, head=HEAD)
    with torch.no_grad():
        criterion(features, labels, head=HEAD)
    criterion.eval()(features, labels, head=HEAD)
    assert [step.training for step in steps] == [True, False, False]
    torch.testing.assert_close(steps[1].logits, HEAD(torch.cat(features, dim=1)))


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_a_traced_step_follows_the_buffer_without_another_trace(kind, variant):
    features, labels = batch()
    features = [x.requires_grad_() for x in features]
    head = heads(8)[kind]
    permutation = torch.arange(9).roll(2)
    traces = []

    def backend(graph, inputs):
        traces.append(graph)
        return graph.forward

    torch._dynamo.reset()
    eager, traced = (make(warmup_epochs=2, aligned_from=4, variant=variant, initial_alpha=1.5) for _ in range(2))

    def run(criterion):
        return criterion.terms(features, labels, head=head, permutation=permutation)

    compiled = torch.compile(run, backend=backend, fullgraph=True)
    for epoch in range(6):
        for criterion in (eager, traced):
            criterion.set_epoch(epoch)
        expected, found = run(eager), compiled(traced)
        torch.testing.assert_close(tuple(found), tuple(expected), equal_nan=True)
        leaves = [*features, *head.parameters()]
        slopes = [
            torch.autograd.grad(terms.total, [*leaves, *criterion.parameters()])
            for terms, criterion in ((found, traced), (expected, eager))
        ]
        torch.testing.assert_close(*slopes)
        torch.testing.assert_close(traced.alpha, eager.alpha)
        assert torch.equal(traced.step, eager.step)
    assert len(traces) == 1


@pytest.mark.parametrize("kind", ["linear", "two layers", "function"])
def test_the_aligned_finish_is_the_aligned_loss_alone(kind):
    features, labels = batch()
    head = heads(8)[kind]
    criterion = make(warmup_epochs=1, aligned_from=3, initial_alpha=1.5)
    criterion.set_epoch(2)
    criterion(features, labels, head=head)
    alpha = criterion.alpha.clone()
    criterion.set_epoch(3)
    features = [f.requires_grad_() for f in features]
    terms = criterion.terms(features, labels, head=head)
    torch.testing.assert_close(terms.total, nn.functional.cross_entropy(head(torch.cat(features, dim=1)), labels))
    torch.testing.assert_close(terms.total, terms.aligned)
    assert terms.misaligned == 0
    assert terms.fused_confidence.isnan().all()
    assert (criterion.step, criterion.alpha.tolist(), terms.alpha.tolist()) == (1, alpha.tolist(), alpha.tolist())
    terms.total.backward()
    # A distributed wrapper waits for the gradient of every parameter.
    assert all((x.grad == 0).all() for x in criterion.parameters())
    assert all(f.grad.any() for f in features)


@pytest.mark.parametrize("kind", ["linear", "two layers"])
def test_the_warm_up_is_the_unimodal_loss_alone(kind):
    features, labels = batch()
    head = heads(8)[kind]
    criterion = make(warmup_epochs=2, initial_alpha=1.5)
    for epoch in (0, 1):
        criterion.set_epoch(epoch)
        terms = criterion.terms([f.requires_grad_() for f in features], labels, head=head)
        torch.testing.assert_close(terms.total, terms.unimodal.sum())
        assert terms.misaligned == 0
        assert terms.fused_confidence.isnan().all()
        assert (criterion.step, criterion.alpha.tolist()) == (0, [1.5, 1.5])
        terms.total.backward()
        assert all((x.grad == 0).all() for x in head.parameters())
        assert all(x.grad.any() for x in criterion.parameters())


def compiled(criterion):
    torch._dynamo.reset()
    return torch.compile(criterion, backend="eager", fullgraph=True)


@pytest.mark.parametrize("way", [lambda criterion: criterion, compiled], ids=["eager", "compiled"])
def test_the_fused_head_may_overflow_in_the_warm_up(way):
    features, labels = batch()
    criterion = over(epoch=0)
    loss = way(criterion)([x.requires_grad_() for x in features], labels, head=lambda x: x[:, :CLASSES] * float("inf"))
    assert loss.isfinite()
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(loss, list(criterion.parameters())))


@pytest.mark.parametrize("way", [lambda criterion: criterion, compiled], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("options", "said"),
    [({"warmup_epochs": 2}, "warmup_epochs=2, but"), ({"aligned_from": 2}, "aligned_from=2, .*never becomes")],
)
def test_a_forgotten_set_epoch_is_warned_of_once(way, options, said):
    features, labels = batch()
    run = way(make(**options))
    with pytest.warns(UserWarning, match=f"{said}.*set_epoch") as caught:
        run(features, labels, head=HEAD)
    # The warning points at the user's own line; where it is traced there is none.
    assert way is compiled or caught[0].filename == __file__
    # Warnings are errors here: there is no second one, and none without warm-up.
    run(features, labels, head=HEAD)
    make()(features, labels, head=HEAD)

"""Warm-up and aligned finish follow the epoch buffer, however it came by its value; evaluation knows neither."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from midas_core.adapters.torch import MidasLoss  # noqa: E402
from midas_core.adapters.torch.state import LastRead  # noqa: E402
from tests.adapters.torch.test_loss import CLASSES, batch, heads, make  # noqa: E402

HEAD = heads(8)["linear"]


def over(epoch=2):
    """Return a criterion whose warm-up is over."""
    criterion = make(warmup_epochs=2)
    criterion.set_epoch(epoch)
    return criterion


def is_warming_up(criterion):
    features, labels = batch()
    return criterion.terms(features, labels, head=HEAD).misaligned.item() == 0


def by_copying(source):
    target = over(epoch=0)
    assert is_warming_up(target)
    with torch.no_grad():
        for mine, theirs in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            mine.copy_(theirs)
    return target


def by_assigning(source):
    target = over(epoch=0)
    assert is_warming_up(target)
    target.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)
    return target


def by_swapping(source):
    target = over(epoch=0)
    assert is_warming_up(target)
    for name, buffer in target.named_buffers():
        torch.utils.swap_tensors(buffer, source.get_buffer(name).clone())
    return target


def by_setting(source):
    target = over(epoch=0)
    assert is_warming_up(target)
    for name, buffer in source.named_buffers():
        setattr(target, name, buffer.clone())
    return target


def by_averaging(source):
    model = nn.ModuleList([over(epoch=0)])
    average = torch.optim.swa_utils.AveragedModel(model)
    model[0].load_state_dict(source.state_dict())
    average.update_parameters(model)
    return average.module[0]


def on_meta(source):
    with torch.device("meta"):
        target = MidasLoss(num_classes=CLASSES, feature_dims=(3, 5), warmup_epochs=2, class_weights=[1] * CLASSES)
    target.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)
    assert torch.equal(target.stream, source.stream)
    return target.to("cpu")


def by_sharing(source):
    target = over(epoch=0).share_memory()
    assert is_warming_up(target)
    # What another process writes leaves no trace in this one.
    target.epoch.data.copy_(source.epoch)
    return target


WAYS = [by_copying, by_assigning, by_swapping, by_setting, by_averaging, on_meta, by_sharing]


@pytest.mark.parametrize("way", [*WAYS, copy.deepcopy], ids=lambda way: way.__name__)
def test_every_copy_has_the_loss_of_its_epoch(way):
    assert not is_warming_up(way(over()))
    assert is_warming_up(way(over(epoch=1)))


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loaded_epoch_is_known(epoch):
    # A warning would be an error here.
    loaded = make(warmup_epochs=2)
    loaded.load_state_dict(over(epoch).state_dict())
    assert is_warming_up(loaded)
    copied = make(warmup_epochs=2)
    copied.epoch.fill_(1)
    assert is_warming_up(copied)


def test_a_buffer_is_read_again_only_where_it_changed():
    class Counted(LastRead):
        reads = 0

        def keep(self, buffer, value):
            self.reads += 1
            super().keep(buffer, value)

    last, buffer = Counted(), torch.tensor(3)
    assert [last.read(buffer) for _ in range(3)] == [3, 3, 3]
    assert last.reads == 1
    buffer.fill_(4)
    assert last.read(buffer) == 4
    torch.utils.swap_tensors(buffer, torch.tensor(5).fill_(5))
    assert buffer._version == 1, "the version alone would not tell"
    assert last.read(buffer) == 5
    last.keep(buffer.fill_(6), 6)
    assert (last.read(buffer), last.reads) == (6, 4)
    twin, later = copy.deepcopy((last, buffer)), buffer.fill_(7)
    assert twin[0].read(twin[1]) == 6
    assert last.read(later) == 7
    with torch.inference_mode():
        buffer = torch.tensor(8)
    assert last.read(buffer) == 8


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


@pytest.mark.parametrize("kind", ["linear", "two layers"])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_a_step_without_gradients_is_an_evaluation_in_any_epoch(kind, guard, epoch):
    # A criterion outside of the model never hears of model.eval().
    features, labels = batch()
    head = heads(8)[kind]
    criterion, other = (make(warmup_epochs=2, aligned_from=4) for _ in range(2))
    for each in (criterion, other):
        each.set_epoch(epoch)
    for _ in range(2):
        expected = copy.deepcopy(criterion).eval()(features, labels, head=head)
        before = copy.deepcopy(criterion.state_dict())
        with guard():
            assert criterion(features, labels, head=head) == expected
        assert all(torch.equal(x, before[name]) for name, x in criterion.state_dict().items())
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


def test_validation_losses_of_a_plain_loop_can_be_compared_over_the_warm_up():
    features, labels = batch()
    criterion, losses = make(warmup_epochs=2, aligned_from=4), []
    for epoch in range(6):
        criterion.set_epoch(epoch)
        with torch.no_grad():
            losses.append(criterion(features, labels, head=HEAD).item())
    assert losses == losses[:1] * 6


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


def test_a_fused_head_that_overflows_in_the_warm_up_of_a_traced_step():
    features, labels = batch()
    features = [x.requires_grad_() for x in features]
    criterion = over(epoch=0)

    def head(x):
        return x[:, :CLASSES] * float("inf")

    torch._dynamo.reset()
    loss = torch.compile(criterion, backend="eager", fullgraph=True)(features, labels, head=head)
    assert torch.isfinite(loss)
    for slope in torch.autograd.grad(loss, list(criterion.parameters())):
        assert torch.isfinite(slope).all()


def test_a_forgotten_set_epoch_warns_while_the_step_is_traced_and_breaks_no_graph():
    features, labels = batch()
    torch._dynamo.reset()
    compiled = torch.compile(make(aligned_from=2), backend="eager", fullgraph=True)
    with pytest.warns(UserWarning, match="aligned_from=2, but set_epoch was never called: the loss never becomes"):
        assert torch.isfinite(compiled(features, labels, head=HEAD))
    # Once.
    compiled(features, labels, head=HEAD)


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


def test_the_aligned_finish_can_be_set_on_the_way():
    features, labels = batch()
    criterion = make(warmup_epochs=1)
    criterion.set_epoch(3)
    assert criterion.terms(features, labels, head=HEAD).misaligned > 0
    criterion.aligned_from = 3
    assert criterion.terms(features, labels, head=HEAD).misaligned == 0
    with pytest.raises(ValueError, match="aligned_from: expected a whole number >= warmup_epochs = 1, got 0"):
        criterion.aligned_from = 0
    criterion.aligned_from = None
    assert criterion.terms(features, labels, head=HEAD).misaligned > 0


def test_without_eta_there_is_no_weak_modality_weight():
    criterion = make(eta=0)
    for seed in range(5):
        features, labels = batch(seed=seed)
        criterion(features, labels, head=HEAD)
    assert (criterion.step, criterion.alpha.tolist()) == (5, [1, 1])

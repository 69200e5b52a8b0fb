"""What the PyTorch criterion carries: alpha, step, epoch, the random stream; and when it moves."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from midas_core import similarity
from midas_core.adapters.torch import MidasLoss, Misalign
from midas_core.backends.torch import BACKEND
from midas_core.pairing import label_ids
from tests.adapters.torch.test_loss import CLASSES, WIDTHS, batch, heads, make


def saved_and_loaded(state):
    """Send a state through a file, as a checkpoint goes, with nothing but tensors and plain values in it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def run(criterion, head, steps, start=0):
    losses = []
    for seed in range(start, start + steps):
        features, labels = batch(seed=seed)
        losses.append(criterion(features, labels, head=head).item())
    return losses


@pytest.mark.parametrize("modalities", [2, 3])
def test_a_resumed_run_is_the_run_without_a_break(modalities):
    def losses_of(criterion, optimizer, head, epochs):
        losses = []
        for epoch in epochs:
            criterion.set_epoch(epoch)
            features, labels = batch(modalities, seed=epoch)
            loss = criterion(features, labels, head=head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def start():
        criterion = make(modalities, warmup_epochs=1)
        head = nn.Linear(sum(WIDTHS[:modalities]), CLASSES).double()
        optimizer = torch.optim.SGD([*head.parameters(), *criterion.parameters()], lr=0.1, momentum=0.9)
        return criterion, optimizer, head

    whole = start()
    expected = losses_of(*whole, range(8))
    first = start()
    found = losses_of(*first, range(4))
    checkpoint = saved_and_loaded([part.state_dict() for part in first])
    torch.manual_seed(12345)
    second = start()
    second[0].seed = 4321  # another stream, were it not for the checkpoint
    for part, state in zip(second, checkpoint, strict=True):
        part.load_state_dict(state)
    found += losses_of(*second, range(4, 8))
    assert found == expected
    assert torch.equal(second[0].alpha, whole[0].alpha)
    assert torch.equal(second[0].step, whole[0].step)


def test_a_checkpoint_before_the_first_step_continues_too():
    head = heads(8)["linear"]
    criterion, other = make(), make()
    other.seed = 99
    # safetensors, and with it the Trainer of Hugging Face, stores nothing but tensors.
    assert all(isinstance(x, torch.Tensor) for x in criterion.state_dict().values())
    other.load_state_dict(saved_and_loaded(criterion.state_dict()))
    assert run(other, head, 3) == run(criterion, head, 3)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("used", [False, True])
def test_copies_go_on_alike(way, used):
    head = heads(8)["linear"]
    for original in (make(), make(warmup_epochs=2)):
        original.set_epoch(1)
        if used:
            run(original, head, 2)
        twin = copy.deepcopy(original) if way == "deepcopy" else pickle.loads(pickle.dumps(original))
        for epoch in (1, 2):
            original.set_epoch(epoch)
            twin.set_epoch(epoch)
            assert run(twin, head, 2, start=2) == run(original, head, 2, start=2)
        assert torch.equal(twin.alpha, original.alpha)


WEIGHTS = [1.0, 2.0, 3.0, 0.5]
INITIAL = {"stream": [5, 0], "alpha": [1.5, 1.5], "step": 0, "epoch": 0, "class_weights": WEIGHTS}


def on_meta():
    with torch.device("meta"):
        return MidasLoss(num_classes=CLASSES, feature_dims=WIDTHS[:2], initial_alpha=1.5, class_weights=WEIGHTS, seed=5)


def spoiled(x, **options):
    """Return what `torch.empty_like` may: any numbers."""
    return torch.full_like(x, -77, **options)


def test_state_after_to_empty(monkeypatch):
    monkeypatch.setattr(torch, "empty_like", spoiled)
    criterion = on_meta().to_empty(device="cpu")
    assert {name: x.tolist() for name, x in criterion.named_buffers()} == INITIAL
    assert {x.dtype for x in (criterion.alpha, criterion.class_weights)} == {torch.float64}
    # Its weights are for a checkpoint, or reset_parameters() of each module, to fill.
    assert (criterion.unimodal_heads[0].weight == -77).all()
    original = make()
    run(original, heads(8)["linear"], 3)
    criterion = criterion.double()
    criterion.class_weights = None
    criterion.load_state_dict(original.state_dict())
    assert torch.equal(criterion.alpha, original.alpha)
    assert run(criterion, heads(8)["linear"], 2) == run(original, heads(8)["linear"], 2)


def test_reset_parameters_gives_the_state_before_the_first_step():
    criterion = make(seed=5, initial_alpha=1.5, class_weights=WEIGHTS)
    criterion.set_epoch(3)
    run(criterion, heads(8)["linear"], 2)
    before = copy.deepcopy(criterion.unimodal_heads.state_dict())
    for buffer in criterion.buffers():
        buffer.mul_(3)
    criterion.reset_parameters()
    assert {name: x.tolist() for name, x in criterion.named_buffers()} == INITIAL
    assert all(torch.equal(x, before[name]) for name, x in criterion.unimodal_heads.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_alpha_keeps_its_digits_in_any_precision(dtype):
    criterion = make().to(dtype)
    assert criterion.alpha.dtype == torch.float64
    assert next(criterion.parameters()).dtype == dtype
    head = nn.Linear(8, CLASSES).to(dtype)
    exact = make(seed=0)
    for seed in range(3):
        features, labels = batch(seed=seed)
        loss = criterion([f.to(dtype) for f in features], labels, head=head)
        assert torch.isfinite(loss)
        exact(features, labels, head=copy.deepcopy(head).double())
    # Steps of 0.05 that bfloat16 could not hold.
    alpha = criterion.alpha.max().item()
    assert alpha == pytest.approx(1 + 0.05 * round((alpha - 1) / 0.05), abs=1e-15)
    assert criterion.half().alpha.dtype == torch.float64
    assert criterion.double().alpha.dtype == torch.float64


@pytest.mark.parametrize("kind", ["linear", "two layers"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_loss_in_single(dtype, kind):
    features, labels = batch()
    head = heads(8)[kind].to(dtype)
    criterion = make().to(dtype)
    half = [f.to(dtype).requires_grad_() for f in features]
    terms = criterion.terms(half, labels, head=head, generator=torch.Generator().manual_seed(0))
    assert {x.dtype for x in terms[:4]} == {torch.float32}
    terms.total.backward()
    assert all(f.grad.dtype == dtype and torch.isfinite(f.grad).all() for f in half)
    # The same rounded numbers, computed in double precision.
    exact = make()
    exact.load_state_dict(criterion.state_dict())
    full = [f.detach().double() for f in half]
    expected = exact(full, labels, head=copy.deepcopy(head).double(), generator=torch.Generator().manual_seed(0))
    assert terms.total.item() == pytest.approx(expected.item(), rel=0.03)


def test_autocast_leaves_the_weights_alone():
    # Norms that float16 does not hold, and counts that bfloat16 does not.
    features = (torch.full((4, 512), 20.0), torch.full((4, 512), -20.0))
    sources = BACKEND.xp.asarray([[[0, 1, 2, 3], [1, 2, 3, 0]], [[1, 2, 3, 0], [0, 1, 2, 3]]])
    with torch.autocast("cpu", dtype=torch.float16):
        found = similarity(features, sources, "cosine")
    torch.testing.assert_close(found, torch.ones(2, 4))
    rows = torch.ones(2, 257)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert label_ids(rows).tolist() == [1, 1]


def test_state_dict_of_the_layer_alone():
    features, labels = batch()
    layer, other = Misalign(num_classes=CLASSES, seed=0), Misalign(num_classes=CLASSES, seed=9)
    layer(features, labels)
    other.load_state_dict(saved_and_loaded(layer.state_dict()))
    for a, b in zip(layer(features, labels).features, other(features, labels).features, strict=True):
        assert torch.equal(a, b)


def test_repr_names_what_differs():
    text = repr(MidasLoss(num_classes=4, feature_dims=[2, 3], weight=5, variant="official", warmup_epochs=2))
    for part in ("num_classes=4", "weight=5", "warmup_epochs=2", "variant='official'"):
        assert part in text


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of Dynamo, where a graph ends
@pytest.mark.parametrize("compiled", [False, True])
def test_a_hook_sees_every_step(compiled):
    criterion = MidasLoss(num_classes=CLASSES, feature_dims={"a": 4, "b": 5}, seed=7)
    labels = torch.arange(12) % CLASSES
    features, head = {"b": torch.randn(12, 5), "a": torch.randn(12, 4)}, torch.nn.Linear(9, CLASSES)
    steps = []
    handle = criterion.register_terms_hook(steps.append)
    call = torch.compile(criterion, backend="eager") if compiled else criterion
    loss = call(features, labels, head=head)
    (step,) = steps
    assert step.criterion is criterion
    assert step.head is head
    assert step.features.keys() == features.keys()
    assert step.terms.total == loss
    handle.remove()
    call(features, labels, head=head)
    assert len(steps) == 1

"""What the PyTorch criterion carries: alpha, step, epoch, the random stream; and when it moves."""

from __future__ import annotations

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from midas_core import similarity  # noqa: E402
from midas_core.adapters.torch import MidasLoss, Misalign  # noqa: E402
from midas_core.backends.torch import BACKEND  # noqa: E402
from midas_core.pairing import label_ids  # noqa: E402
from tests.adapters.torch.test_loss import CLASSES, WIDTHS, batch, heads, make  # noqa: E402


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


def test_buffers():
    criterion = make(initial_alpha=1.5, warmup_epochs=3)
    buffers = dict(criterion.named_buffers())
    assert set(buffers) == {"alpha", "step", "epoch", "stream"}
    assert criterion.alpha.tolist() == [1.5, 1.5]
    assert criterion.alpha.dtype == torch.float64
    criterion.set_epoch(2)
    assert criterion.epoch == 2
    assert {"alpha", "step", "epoch"} <= set(criterion.state_dict())


def test_initial_alpha_goes_to_the_weak_modality_of_the_first_step():
    features, labels = batch()
    terms = make(initial_alpha=2.5).terms(features, labels, head=heads(8)["linear"])
    assert sorted(terms.alpha.tolist()) == [1.0, 2.5]
    assert terms.alpha.argmax() == terms.confidence.argmin()


def test_evaluation_moves_neither_state_nor_stream():
    head = heads(8)["linear"]
    criterion, other = make(), make()
    run(criterion, head, 2)
    run(other, head, 2)
    before = copy.deepcopy(criterion.state_dict())
    criterion.eval()
    evaluated = [run(criterion, head, 1, start=7) for _ in range(3)]
    assert evaluated[1:] == evaluated[:1] * 2
    after = criterion.state_dict()
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, after[name])
    criterion.train()
    # As if there had been no evaluation in between.
    assert run(criterion, head, 3, start=2) == run(other, head, 3, start=2)


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
    other.load_state_dict(saved_and_loaded(criterion.state_dict()))
    assert run(other, head, 3) == run(criterion, head, 3)


def test_warm_up_is_the_unimodal_loss_alone():
    features, labels = batch()
    head = heads(8)["two layers"]
    criterion = make(warmup_epochs=2, initial_alpha=1.5)
    for epoch in (0, 1):
        criterion.set_epoch(epoch)
        features = [f.requires_grad_() for f in features]
        terms = criterion.terms(features, labels, head=head)
        torch.testing.assert_close(terms.total, terms.unimodal.sum())
        assert terms.misaligned == 0
        assert torch.isnan(terms.fused_confidence).all()
        assert criterion.step == 0
        assert criterion.alpha.tolist() == [1.5, 1.5]
        terms.total.backward()
        # A distributed wrapper waits for the gradient of every parameter.
        for parameter in head.parameters():
            assert (parameter.grad == 0).all()
        for parameter in criterion.parameters():
            assert parameter.grad.any()
    criterion.set_epoch(2)
    terms = criterion.terms(features, labels, head=head)
    assert terms.total > terms.unimodal.sum()
    assert criterion.step == 1


def test_the_fused_head_may_overflow_during_warm_up():
    features, labels = batch()
    criterion = make(warmup_epochs=1)
    criterion.set_epoch(0)
    terms = criterion.terms(features, labels, head=lambda x: x[:, :CLASSES] * float("inf"))
    assert torch.isfinite(terms.total)


def test_a_forgotten_set_epoch_is_warned_of_once():
    features, labels = batch()
    head = heads(8)["linear"]
    criterion = make(warmup_epochs=2)
    with pytest.warns(UserWarning, match="warmup_epochs=2, but set_epoch was never called") as caught:
        criterion(features, labels, head=head)
    # The warning points at the user's own line.
    assert caught[0].filename == __file__
    # Warnings are errors here: there is no second one, and none without warm-up.
    criterion(features, labels, head=head)
    make(warmup_epochs=0)(features, labels, head=head)


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


def test_built_on_the_meta_device_and_filled_from_a_checkpoint():
    with torch.device("meta"):
        criterion = MidasLoss(num_classes=CLASSES, feature_dims=WIDTHS[:2])
    original = make()
    run(original, heads(8)["linear"], 3)
    criterion = criterion.to_empty(device="cpu").double()
    criterion.load_state_dict(original.state_dict())
    assert torch.equal(criterion.alpha, original.alpha)
    assert run(criterion, heads(8)["linear"], 2) == run(original, heads(8)["linear"], 2)


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


def test_processes_share_all_of_the_state():
    criterion = make().share_memory()
    assert all(x.is_shared() for x in criterion.buffers())


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


def test_distributed_wrapper_of_one_process(tmp_path):
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        head = nn.parallel.DistributedDataParallel(nn.Linear(8, CLASSES).double())
        criterion = make(warmup_epochs=1)
        for epoch in range(3):
            criterion.set_epoch(epoch)
            features, labels = batch(seed=epoch)
            criterion(features, labels, head=head).backward()
            assert all(p.grad is not None for p in head.parameters())
    finally:
        dist.destroy_process_group()


def test_the_state_is_tensors_alone(tmp_path):
    # safetensors, and with it the Trainer of Hugging Face, stores nothing else.
    criterion = MidasLoss(num_classes=CLASSES, feature_dims=(4, 5), seed=7)
    for _ in range(2):
        saved = criterion.state_dict()
        assert all(isinstance(x, torch.Tensor) for x in saved.values())
        other = MidasLoss(num_classes=CLASSES, feature_dims=(4, 5), seed=8)
        other.load_state_dict(saved)
        labels = torch.arange(12) % CLASSES
        features, head = [torch.randn(12, 4), torch.randn(12, 5)], torch.nn.Linear(9, CLASSES)
        assert other(features, labels, head=head) == criterion(features, labels, head=head)


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

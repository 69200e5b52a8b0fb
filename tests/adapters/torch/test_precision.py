"""Mixed precision in PyTorch: the loss stays within stated bounds of float32, and nothing overflows.

The bounds, for features and logits of size 1 to 10: the loss to 0.3 % under bfloat16 and to 0.05 % under float16; to
1e-6 where only the logits are rounded and both sides get the rounded ones.
"""

import copy

import pytest
import torch
from torch import nn

from midas_core.adapters.torch import MidasLoss

BOUNDS = {torch.bfloat16: 0.003, torch.float16: 0.0005}
DIMS, CLASSES, BATCH = (12, 7), 5, 24
HEADS = {
    "linear": lambda: nn.Linear(sum(DIMS), CLASSES),
    "two layers": lambda: nn.Sequential(nn.Linear(sum(DIMS), 16), nn.ReLU(), nn.Linear(16, CLASSES)),
}


def make_batch(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    return [scale * torch.randn(BATCH, d, generator=generator) for d in DIMS], labels


def make_model(kind, **options):
    torch.manual_seed(0)
    return HEADS[kind](), MidasLoss(num_classes=CLASSES, feature_dims=DIMS, seed=0, **options)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_autocast_stays_near_float32(dtype, kind, variant):
    head, criterion = make_model(kind, variant=variant)
    for seed in range(10):
        features, labels = make_batch(seed, scale=1 + seed / 3)
        permutation = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
        exact = copy.deepcopy(criterion)(features, labels, head=head, permutation=permutation)
        with torch.autocast("cpu", dtype=dtype):
            rounded = copy.deepcopy(criterion)(features, labels, head=head, permutation=permutation)
        assert rounded.dtype == torch.float32
        assert abs(rounded - exact) <= BOUNDS[dtype] * exact


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("kind", HEADS)
def test_training_with_a_gradient_scaler(dtype, kind):
    losses = []
    for enabled in (False, True):
        head, criterion = make_model(kind)
        parameters = [*head.parameters(), *criterion.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.2)
        scaler = torch.amp.GradScaler("cpu", enabled=enabled)
        features, labels = make_batch(0)
        for _ in range(30):
            with torch.autocast("cpu", dtype=dtype, enabled=enabled):
                loss = criterion(features, labels, head=head)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
        assert all(p.isfinite().all() for p in parameters)
        assert criterion.step == 30
    assert losses[59] < losses[30]
    assert losses[59] == pytest.approx(losses[29], rel=10 * BOUNDS[dtype])


@pytest.mark.parametrize("dtype", [*BOUNDS, torch.float32], ids=str)
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_no_overflow_at_logits_of_6e4(dtype, variant):
    # The head gives the features as they are: logits next to the largest number of float16.
    criterion = MidasLoss(
        num_classes=CLASSES,
        unimodal_heads=[nn.Identity(), nn.Identity()],
        head_input="separate",
        variant=variant,
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    signs = [torch.randint(0, 2, (BATCH, CLASSES), generator=generator) * 2 - 1 for _ in DIMS]
    features = [(6e4 * s).to(dtype).requires_grad_() for s in signs]
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    terms = criterion.terms(features, labels, head=lambda f: torch.maximum(*f))
    for term in (terms.total, terms.aligned, terms.unimodal, terms.misaligned, criterion.alpha):
        assert term.isfinite().all()
    terms.total.backward()
    assert all(f.grad.isfinite().all() for f in features)

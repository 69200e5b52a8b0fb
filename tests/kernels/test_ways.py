"""Which way a step takes."""

from __future__ import annotations

from contextlib import nullcontext
from unittest import mock

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.testing import assert_close

from midas_core.kernels import ways
from midas_core.kernels.ways import FEW_CLASSES, Way, choose_way
from tests.kernels.problems import LINEAR, LOGITS, by_the_core, make_problem


def forward_hook(module, calls):
    module.register_forward_hook(lambda *_: calls.append("forward"))


def pre_hook(module, calls):
    module.register_forward_pre_hook(lambda *_: calls.append("pre"))


def backward_hook(module, calls):
    module.register_full_backward_hook(lambda *_: calls.append("backward"))


def backward_pre_hook(module, calls):
    module.register_full_backward_pre_hook(lambda *_: calls.append("backward pre"))


def replaced_forward(module, calls):
    forward = module.forward
    module.forward = lambda x: (calls.append("replaced"), forward(x))[1]


@pytest.mark.parametrize(
    "hook",
    [
        replaced_forward,
        forward_hook,
        pre_hook,
        backward_hook,
        backward_pre_hook,
    ],
)
@pytest.mark.parametrize("place", ["linear", "sequential", "inside"])
def test_a_head_with_a_hook_is_run_and_the_hook_is_called(hook, place):
    p = make_problem()
    head = p.linear if place == "linear" else nn.Sequential(p.linear)
    calls = []
    hook(p.linear if place != "sequential" else head, calls)
    features = [x.requires_grad_() for x in p.features]
    p.criteria[0](features, p.labels, head=head).backward()
    assert p.criteria[0]._way in LOGITS
    assert calls


def test_a_unimodal_head_with_a_hook_is_run_and_the_hook_is_called():
    p = make_problem()
    calls = []
    forward_hook(p.criteria[0].unimodal_heads[1], calls)
    p.criteria[0](p.features, p.labels, head=p.linear)
    assert p.criteria[0]._way in LOGITS
    assert calls == ["forward"]


class Halved(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Halved(7, 4),
        lambda: nn.Sequential(nn.Linear(7, 4), nn.ReLU()),
        lambda: nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 4)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(7, 4)),
        lambda: nn.Sequential(nn.BatchNorm1d(7), nn.Linear(7, 4)),
    ],
    ids=["subclass", "more than one layer", "two layers", "parametrized", "batch normalisation"],
)
def test_any_other_head_is_run(make):
    p = make_problem()
    head = make().double()
    p.criteria[0](p.features, p.labels, head=head).backward()
    assert p.criteria[0]._way in LOGITS
    assert all(x.grad is not None for x in head.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    p = make_problem()
    for x in (p.linear, p.criteria[0]):
        x.to(dtype)
    features = [x.to(dtype).requires_grad_() for x in p.features]
    found = []
    for core in (False, True):
        with by_the_core() if core else nullcontext():
            loss = p.criteria[0].eval()(features, p.labels, head=p.linear)
        found.append([loss, *torch.autograd.grad(loss, [*features, p.linear.weight])])
        assert p.criteria[0]._way in ((Way.CORE,) if core else LOGITS)
    for one, other in zip(*found, strict=True):
        assert_close(one, other, rtol=4 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_autocast():
    p = make_problem(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = p.criteria[0](p.features, p.labels, head=p.linear)
    assert p.criteria[0]._way in LOGITS
    assert loss.dtype == torch.float32
    loss.backward()
    assert p.linear.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({}, LINEAR),
        ({"label_smoothing": 0.1, "class_weights": [1, 2, 3, 4]}, LINEAR),
        ({"reduction": "none"}, (Way.CORE,)),
        ({"check": True}, (Way.CORE,)),
        ({"warmup_epochs": 1}, (Way.WARM_UP,)),
    ],
)
def test_the_repr_names_the_way_of_the_last_step(options, way):
    p = make_problem(**options)
    criterion = p.criteria[0]
    criterion.set_epoch(0)
    assert "way" not in criterion.extra_repr()
    criterion(p.features, p.labels, head=p.linear)
    assert criterion._way in way
    assert criterion.extra_repr().endswith(f", way='{criterion._way}'")


def test_numba_serves_small_batches_alone():
    p = make_problem()
    p.criteria[0](p.features, p.labels, head=p.linear)
    assert p.criteria[0]._way is (Way.LINEAR if ways.small_kernel() is None else Way.LINEAR_NUMBA)
    with mock.patch.object(ways, "SMALL", 0):
        p.criteria[0](p.features, p.labels, head=p.linear)
    assert p.criteria[0]._way is Way.LINEAR


@pytest.mark.parametrize(("batch", "way"), [(2**11, Way.LINEAR_NUMBA), (2**11 + 1, Way.LINEAR)])
def test_what_counts_as_small(batch, way):
    # 5 unimodal and 3 fused logits for each of 128 classes: 2**21.
    size = {"num_modalities": 5, "batch": batch, "num_classes": 2**7, "device": torch.device("cpu")}
    with (
        mock.patch.object(ways, "small_kernel", return_value=ways.eager),
        mock.patch.object(torch, "get_num_threads", return_value=1),
    ):
        assert choose_way(warming_up=False, linear=True, by_hand=True, **size) is way


def test_numba_that_cannot_be_imported_is_said_and_done_without():
    ways.small_kernel.cache_clear()
    with (
        mock.patch.object(ways, "import_module", side_effect=OSError("libllvmlite.so")),
        pytest.warns(RuntimeWarning, match=r"libllvmlite.*\[fast\]"),
    ):
        assert ways.small_kernel() is None
    ways.small_kernel.cache_clear()


@pytest.mark.parametrize(
    ("classes", "linear", "way"),
    [(FEW_CLASSES, True, Way.STACKED), (FEW_CLASSES + 1, True, Way.CORE), (4, False, Way.CORE)],
)
def test_a_compiled_step(classes, linear, way):
    size = {"num_modalities": 2, "batch": 4, "num_classes": classes, "device": torch.device("cpu")}
    with mock.patch.object(torch.compiler, "is_compiling", return_value=True):
        assert choose_way(warming_up=False, linear=linear, by_hand=True, **size) is way

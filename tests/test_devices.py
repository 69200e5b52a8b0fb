"""A step on a device that the host cannot look into. No GPU is needed: PyTorch's meta device, a device that pretends to
be one (`tests.pretend_device`), and what JAX hands to XLA stand in for it.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.backends.test_tracing import inputs, step
from tests.frameworks import get_framework

pytest.importorskip("torch")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import midas_core as mc
from benchmarks.problem import Problem, Size
from benchmarks.steps import midas_loss, training_step
from benchmarks.usages import USAGES
from midas_core.adapters.torch.heads import additive_logits, additive_parameters
from midas_core.backends import load_backend
from midas_core.cross_entropy import Targets
from midas_core.objective import unchecked_objective

SIZE = Size(16, 5, 8)


def size_of(usage):
    return SIZE._replace(modalities=usage.modalities)


@pytest.mark.parametrize("name", list(USAGES))
def test_a_step_needs_no_values(name):
    problem = Problem(size_of(USAGES[name]), "meta", usage=USAGES[name])
    for _ in range(2):
        training_step(problem, midas_loss(problem))()
    assert all(x.grad.device.type == "meta" for x in problem.leaves)
    assert problem.criterion.alpha.device.type == "meta"


@cache
def pretended():
    from torch.utils import backend_registration

    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch takes no device written in Python")
    # The device is there for the rest of a process.
    command = [sys.executable, "-W", "ignore", "-m", "tests.devices_worker"]
    root = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=root, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


FORBIDDEN = ("item", "mask", "nonzero", "copy to the host", "copy to the device", "two devices")


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_pretended_device_refuses_what_waits(name):
    assert "RefusedError" in pretended()[name]["error"]


# Counted with PyTorch 2.13, and some room for other versions. The joint and unimodal losses take 30.
LAUNCHES = {
    "plain": 195,
    "official": 214,
    "no similarity": 170,
    "warm-up": 130,
    "six modalities": 395,
    "all options": 375,
}
MOST = 275


@pytest.mark.parametrize("name", [*USAGES, "half precision", "weighed terms", "evaluation", "Misalign"])
def test_a_step_waits_for_no_gpu_and_gives_what_the_host_gives(name):
    found = pretended()[name]
    assert "error" not in found, found["error"]
    assert 0 < found["operations"] <= LAUNCHES.get(name, MOST)


# Counted with PyTorch 2.13: all that is dispatched, views too. The joint and unimodal losses take 19 and 46.
FORWARD, BACKWARD = 162, 90


class Counter(TorchDispatchMode):
    """Counts the operations of PyTorch."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 1
        return operation(*args, **(kwargs or {}))


def test_the_core_takes_few_operations():
    torch.manual_seed(0)
    labels, features = torch.arange(64) % 5, [torch.randn(64, 8, requires_grad=True) for _ in range(2)]
    head, unimodal_heads = torch.nn.Linear(16, 5), [torch.nn.Linear(8, 5) for _ in features]
    state = mc.MidasState(torch.ones(2), torch.tensor(0))
    with Counter() as forward:
        pairs = mc.draw_pairs(mc.draw(labels, 2, torch.Generator().manual_seed(0)), labels, 2)
        unimodal = [unimodal_head(x) for unimodal_head, x in zip(unimodal_heads, features, strict=True)]
        logits = additive_logits(additive_parameters(head), features, pairs)
        alike = mc.similarity(features, pairs)
        arguments = (unimodal, logits[1], Targets(labels), pairs, alike, state)
        terms, *_ = unchecked_objective(logits[0], *arguments, backend=load_backend("torch"))
        loss = mc.reduce_terms(terms, "mean").total
    with Counter() as backward:
        loss.backward()
    assert 100 < forward.count <= FORWARD
    assert 60 < backward.count <= BACKWARD


def test_what_xla_gets_of_a_step_in_jax_calls_nothing_on_the_host():
    framework = get_framework("jax")
    import jax

    backend = framework.backend

    def loss(features, arrays, key):
        numbers = mc.draw(arrays["labels"], 3, key)._asdict()
        found = step(backend, 3, "paper", {**arrays, "features": features, "numbers": numbers})
        return found[1].sum(), found

    arrays = inputs(7, 3, framework.array)
    features = arrays.pop("features")
    lowered = jax.jit(jax.grad(loss, has_aux=True)).lower(features, arrays, jax.random.key(0))
    text = lowered.as_text() + lowered.compile().as_text()
    assert "sort" in text
    for word in ("callback", "infeed", "outfeed", "SendToHost", "RecvFromHost", "host_compute"):
        assert word not in text


def test_labels_of_another_device_are_named():
    problem = Problem(SIZE, "meta")
    problem.labels = torch.zeros(SIZE.batch, dtype=torch.int64)
    with pytest.raises(ValueError, match="features of modality 0: expected the device of labels, cpu, got meta"):
        midas_loss(problem)()

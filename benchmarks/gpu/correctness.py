"""Part 1: the same pairs, losses and gradients as on the CPU, no waiting, and steps that a CUDA graph captures."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.place import Place
from benchmarks.gpu.record import Record, require
from benchmarks.problem import Problem, Size
from benchmarks.steps import midas_loss, training_step
from benchmarks.usages import USAGES, Usage

SIZE, DRY_SIZE = Size(256, 101, 512), Size(12, 5, 8)
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float32, TF32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}
"""Largest error of a loss, or of a gradient over its largest entry."""
BACKENDS = ("torch", "cupy", "jax", "tensorflow")
TF32 = ("jax", "tensorflow")
"""Those that round the factors of a product in float32 to TF32 unless they are told not to."""


def run(record: Record, place: Place) -> None:
    """Check everything."""
    size = DRY_SIZE if place.dry else SIZE
    for name, usage in USAGES.items():
        record.take(f"no waiting: {name}", waits, place, size, usage)
    for name, usage in USAGES.items():
        record.take(f"CUDA graph: {name}", captured, place, size, usage)
    for name, usage in USAGES.items():
        for kind in TOLERANCES if name == "plain" or not place.dry else ("float32",):
            record.take(f"values: {name}, {kind}", compare, place, size, usage, kind)
    record.take("torch.compile, reduce-overhead", compiled, place, size)
    record.take("tests marked gpu", gpu_tests, place)
    for backend in ("numpy",) if place.dry else BACKENDS:
        record.take(f"midas verify: {backend}", verify, place, backend)
    for backend in () if place.dry else TF32:
        record.take(f"midas verify: {backend}, TF32", verify, place, backend, True)


def waits(place: Place, size: Size, usage: Usage) -> str:
    """Raise if forward and backward make the host wait."""
    problem = Problem(_of(size, usage), place.device, usage=usage)
    step = training_step(problem, midas_loss(problem))
    step()
    require(not place.waits(step), "a step waits for the device")
    return "never"


def captured(place: Place, size: Size, usage: Usage) -> dict[str, Any]:
    """Replay a captured step: alpha moves, and the pairs are others, in every replay."""
    moving, still = (_replay(place, size, usage, eta) for eta in (0.05, 1e-9))
    warm = bool(usage.options.get("warmup_epochs"))
    first = moving["steps"][0]
    require(moving["steps"] == [first + (0 if warm else k) for k in range(len(moving["steps"]))], moving)
    if not warm:
        # Where another modality becomes the weak one it begins at 1.
        require(len({str(alpha) for alpha in moving["alpha"]}) > 1, moving)
        require(len(set(still["losses"])) > 1, still)
    return moving


def _replay(place: Place, size: Size, usage: Usage, eta: float) -> dict[str, Any]:
    # Where alpha begins is far from the floor.
    problem = Problem(
        _of(size, usage),
        place.device,
        usage=replace(usage, options={**usage.options, "eta": eta, "initial_alpha": 3.0}),
    )
    loss = midas_loss(problem)
    last: list[Tensor] = []

    def step() -> None:
        problem.zero_grad()
        last[:] = [loss()]
        last[0].backward()

    replay = place.graph(step)
    found: dict[str, Any] = {"losses": [], "alpha": [], "steps": []}
    for _ in range(6):
        replay()
        found["losses"].append(last[0].item())
        found["alpha"].append(problem.criterion.alpha.tolist())
        found["steps"].append(problem.criterion.step.item())
    return found


def compare(place: Place, size: Size, usage: Usage, kind: str) -> dict[str, float]:
    """Compare loss and gradients with those of float64 on the CPU, from the same numbers and the same pairs."""
    dtype = getattr(torch, kind.partition(",")[0])
    problem = Problem(_of(size, usage), usage=usage)
    problem.beside["permutation"] = torch.randperm(size.batch, generator=torch.Generator().manual_seed(0))
    there = _moved(problem, place.device, dtype)
    # What rounds the inputs is no error of the step.
    exact = _moved(there, "cpu", torch.float64)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if "TF32" in kind else "highest")
    try:
        found, expected = _step(there), _step(exact)
    finally:
        torch.set_float32_matmul_precision(before)
    errors = {name: _error(x, expected[name]) for name, x in found.items()}
    largest = max(errors.values())
    require(largest <= TOLERANCES[kind], f"{errors}, allowed {TOLERANCES[kind]}")
    return {"allowed": TOLERANCES[kind], **errors}


def _step(problem: Problem) -> dict[str, Tensor]:
    beside: dict[str, Any] = problem.beside
    terms = problem.criterion.terms(problem.features, problem.labels, head=problem.head, **beside)
    if problem.size.modalities > 2:
        # The assignment of partners to modalities is drawn, by the device's own generator: those terms differ.
        losses = {"aligned": terms.aligned.mean(), "unimodal": terms.unimodal.sum()}
        total = terms.aligned.mean() + terms.unimodal.sum()
    else:
        losses, total = {"total": terms.total.mean()}, terms.total.mean()
    slopes = torch.autograd.grad(total, problem.leaves, allow_unused=True, materialize_grads=True)
    return {**losses, **{f"gradient {k}": x for k, x in enumerate(slopes)}}


def _moved(problem: Problem, device: str, dtype: torch.dtype) -> Problem:
    moved = copy.deepcopy(problem)
    moved.device, moved.dtype = device, dtype
    moved.features = [x.detach().to(device, dtype).requires_grad_() for x in problem.features]
    moved.labels = problem.labels.to(device)
    moved.head.to(device, dtype)
    moved.criterion.to(device, dtype)
    moved.beside = {k: x.to(device, dtype if x.is_floating_point() else x.dtype) for k, x in problem.beside.items()}
    return moved


def _error(found: Tensor, expected: Tensor) -> float:
    off = (found.detach().double().cpu() - expected.detach()).abs().max()
    return float(off / expected.detach().abs().max().clamp(min=1e-12))


def compiled(place: Place, size: Size) -> dict[str, Any]:
    """Train compiled with CUDA graphs: alpha moves in every step."""
    from torch._dynamo.utils import counters

    problem = Problem(size, place.device)
    problem.criterion.alpha.fill_(3.0)
    problem.criterion.step.fill_(1)
    how: dict[str, Any] = {"backend": "aot_eager"} if place.dry else {"mode": "reduce-overhead"}
    step = training_step(problem, torch.compile(midas_loss(problem), fullgraph=True, **how))
    alphas = []
    for _ in range(6):
        torch.compiler.cudagraph_mark_step_begin()
        step()
        alphas.append(problem.criterion.alpha.tolist())
    require(len({str(alpha) for alpha in alphas}) > 1, alphas)
    # What is not captured runs without a graph, silently.
    return {"alpha": alphas, "graphs skipped": counters["inductor"]["cudagraph_skips"]}


def gpu_tests(place: Place) -> str:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    return _run(command + (["--collect-only", "tests/backends"] if place.dry else ["tests"])).splitlines()[-1]


def verify(place: Place, backend: str, tf32: bool = False) -> dict[str, Any]:
    """Run ``midas verify`` on the GPU; with TF32 to see what it does, not to be held to it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        midas = [sys.executable, "-c", "from midas_core.cli.main import main; main()"]
        command = [*midas, "verify", "--backend", backend, "--json", str(path)]
        more = ["--device", "cpu", "--property", "pairs", "--examples", "1"] if place.dry else ["--device", "gpu"]
        off = {} if tf32 else {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
        _run(command + more, off, allowed=(0, 1) if tf32 else (0,))
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _run(command: list[str], environment: Mapping[str, str] | None = None, allowed: Sequence[int] = (0,)) -> str:
    root = Path(__file__).parents[2]
    environment = {**os.environ, **(environment or {})}
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    require(ran.returncode in allowed, ran.stdout[-4000:] + ran.stderr[-2000:])
    return ran.stdout


def _of(size: Size, usage: Usage) -> Size:
    return size._replace(modalities=usage.modalities)

"""The benchmark compares what is equal, and its command runs. No time is asserted."""

import json
import os
import sys
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from click.testing import CliRunner
from torch.testing import assert_close

from benchmarks import native_torch, steps
from benchmarks.__main__ import bench
from benchmarks.child import times_in_child
from benchmarks.problem import Problem, Size
from benchmarks.registry import SECTIONS
from benchmarks.results import Result
from benchmarks.sections import core, gpu, imports, keras_fit, memory, scaling, step
from benchmarks.settings import CPU_SIZES, CUDA_SIZES, Settings
from benchmarks.textbook import TextbookMidas
from benchmarks.timing import Effort, Times, interleave, processors, threads
from benchmarks.usages import USAGES

SIZE = Size(10, 4, 5)


# The textbook.


def gradients(problem, loss):
    return torch.autograd.grad(loss, problem.leaves)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"weight": 5.0, "eta": 0.5}, {"similarity": None}])
def test_the_textbook_equals_the_criterion(seed, options):
    p = Problem(SIZE, dtype=torch.float64, seed=seed)
    for name, value in options.items():
        setattr(p.criterion, name, value)
    textbook = TextbookMidas(SIZE.classes, [SIZE.width] * 2, **options).double()
    textbook.unimodal_heads = p.criterion.unimodal_heads
    generator = torch.Generator().manual_seed(seed)
    for _ in range(4):
        # A plain permutation: pairs of one class and fixed points are among them.
        permutation = torch.randperm(SIZE.batch, generator=generator)
        found = textbook(p.features, p.labels, p.head, permutation)
        expected = p.criterion(p.features, p.labels, head=p.head, permutation=permutation)
        assert_close(found, expected, rtol=1e-12, atol=0)
        for one, other in zip(gradients(p, found), gradients(p, expected), strict=True):
            assert_close(one, other, rtol=1e-10, atol=1e-13)
        assert_close(textbook.alpha, p.criterion.alpha)


def test_the_steps_share_their_heads_and_leave_gradients_everywhere():
    p = Problem(SIZE)
    for loss in (steps.midas_loss(p), steps.joint_unimodal_loss(p), steps.textbook_loss(p)):
        run = steps.training_step(p, loss)
        run()
        first = [x.grad for x in p.leaves]
        assert all(x.abs().sum() > 0 for x in first)
        run()
        assert all(x.grad is not y for x, y in zip(p.leaves, first, strict=True))


# The official variant averages the unimodal losses; a head with a hidden layer runs on more rows, for their time alone.
COMPARABLE = [name for name, usage in USAGES.items() if not usage.hidden and name not in ("official", "per sample")]


@pytest.mark.parametrize("name", COMPARABLE)
def test_the_joint_and_unimodal_losses_are_those_of_the_criterion(name):
    usage = USAGES[name]
    p = Problem(SIZE._replace(modalities=usage.modalities), dtype=torch.float64, usage=usage)
    terms = p.criterion.terms(p.features, p.labels, head=p.head, **p.beside)
    expected = terms.aligned + terms.unimodal.sum()
    assert_close(steps.joint_unimodal_loss(p)(), expected)


@pytest.mark.parametrize("name", list(USAGES))
def test_every_way_can_be_measured(name):
    usage = USAGES[name]
    p = Problem(SIZE._replace(modalities=usage.modalities), usage=usage)
    for loss in (steps.midas_loss(p), steps.joint_unimodal_loss(p)):
        steps.training_step(p, loss)()
        assert all(x.grad.isfinite().all() for x in p.leaves)


# The algorithm of the core by hand.


def arrays(tree):
    if isinstance(tree, (tuple, list)):
        return [x for branch in tree for x in arrays(branch)]
    return [tree.detach() if torch.is_tensor(tree) else tree]


def assert_same(found, expected):
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("count", [0, 3])
def test_the_native_step_in_pytorch_equals_the_core(modalities, count):
    size = Size(12, 4, 5, modalities)
    x = {k: core.map_arrays(torch.from_numpy, v) for k, v in core.inputs(size).items()} | {"step": torch.tensor(count)}
    assert_same(native_torch.native_step(*x.values()), core.core_step("torch")(*x.values()))
    assert_same(core.torch_step(native_torch.native_step, size)(), core.torch_step(core.core_step("torch"), size)())


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_native_step_in_jax_equals_the_core(modalities):
    jax = pytest.importorskip("jax")
    from benchmarks.native_jax import native_step

    size = Size(12, 4, 5, modalities)
    x = {k: core.map_arrays(jax.numpy.asarray, v) for k, v in core.inputs(size).items()}
    assert_same(native_step(*x.values()), core.core_step("jax")(*x.values()))
    assert_same(core.jax_step(native_step, size)(), core.jax_step(core.core_step("jax"), size)())


def test_closed_form_and_autograd_measure_the_same_gradient():
    fused, unimodal, mixed = gpu.closed_form_step("numpy", SIZE)()
    found = [fused, *unimodal, mixed]
    for one, other in zip(found, core.torch_step(core.core_step("torch"), SIZE)(), strict=True):
        # The core gives the gradient of the sum, the step that of the mean.
        np.testing.assert_allclose(one / SIZE.batch, other, rtol=1e-5, atol=1e-7)


# What measures.


def test_contestants_take_turns():
    calls = []
    contestants = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    times = interleave(contestants, Effort(block=0.0, budget=0.0, fewest=3, most=3))
    assert {name: len(found) for name, found in times.seconds.items()} == {"a": 3, "b": 3}
    assert calls[-6:] == ["a", "b", "b", "a", "a", "b"]


def test_a_block_is_as_long_as_it_should_be_after_a_slow_start(monkeypatch):
    clock, begun = [0.0], []

    def contestant():
        begun.append(clock[0])
        clock[0] += 0.01 if len(begun) < 4 else 0.001

    monkeypatch.setattr("benchmarks.timing.timer", lambda: clock[0])
    interleave({"own": contestant}, Effort(block=0.1, budget=0.0, fewest=1, most=1))
    assert len(begun) > 200
    assert clock[0] - begun[-100] == pytest.approx(0.1)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to a processor")
def test_processors_come_back():
    before = os.sched_getaffinity(0)
    with processors(1):
        assert len(os.sched_getaffinity(0)) == 1
    with processors(len(before) + 1):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_a_ratio_is_one_of_medians():
    ratio = Times({"a": [2.0, 4.0, 60.0], "b": [1.0, 1.0, 2.0]}).ratio("a", "b")
    assert ratio == (4.0, 3.0, 17.0)


def test_threads_come_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_peak_memory_of_known_arrays():
    def function():
        first = torch.ones(1000, dtype=torch.float64)
        del first
        second, third = torch.ones(500, dtype=torch.float64), torch.ones(1500, dtype=torch.float64)
        return second + third[:500]

    assert memory.peak_cpu_bytes(function) == 8 * (500 + 1500 + 500)


def test_exponent_of_a_power_law():
    assert scaling.slope([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1)
    curve = scaling.Curve("B", "", [1, 2, 4], [[3.0, 12.0, 48.0]] * 2)
    assert curve.exponent() == pytest.approx((2, 2, 2))


def test_every_size_of_the_table_has_its_targets():
    assert set(step.TARGETS) == {("cpu", size) for size in CPU_SIZES} | {("cuda", size) for size in CUDA_SIZES}
    settings = Settings("cuda", False, None)
    assert settings.sizes == CUDA_SIZES


def test_a_result_says_whether_it_meets_its_target():
    assert Result("", "", 1.0).met is None
    assert Result("", "", 1.05, target=1.05).met is True
    assert Result("", "", 1.051, target=1.05).met is False


# The command.


@pytest.fixture(autouse=True)
def _environment():
    """Take back what the command sets for the frameworks."""
    with mock.patch.dict(os.environ):
        yield


def run(*arguments, cwd=None):
    return CliRunner().invoke(bench, [*map(str, arguments)], catch_exceptions=False)


def test_quick_run_prints_tables_and_writes_json_and_the_figure(tmp_path):
    pytest.importorskip("matplotlib")
    names = ["step", "core", "memory", "scaling", "import"]
    only = [x for name in names for x in ("--only", name)]
    outcome = run("--quick", *only, "--json", tmp_path / "deep" / "found.json", "--output", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert "MIDAS / textbook" in outcome.output
    assert "proves nothing" in outcome.output
    assert (tmp_path / "scaling.png").stat().st_size > 0
    content = json.loads((tmp_path / "deep" / "found.json").read_text())
    assert list(content["sections"]) == names
    assert content["options"] == {"device": "cpu", "threads": 1, "quick": True, "sections": names}
    assert {"processor", "cores"} <= set(content["machine"])
    assert content["versions"]["torch"] == torch.__version__
    assert content["left_out"] == []
    for rows in content["sections"].values():
        assert rows
        for row in rows:
            assert np.isfinite(row["value"])
            assert row["what"]
            assert row["target"] is None
            assert all(seconds > 0 for seconds in row["seconds"].values())


def test_keras_is_measured_in_a_process_of_its_own(monkeypatch, tmp_path):
    pytest.importorskip("keras")
    # One backend shows that it works, in the tests' time.
    monkeypatch.setattr(keras_fit, "BACKENDS", {"torch": ("PyTorch", 1.2), "nothing": ("Nothing", 1.0)})
    outcome = run("--quick", "--only", "keras", "--json", tmp_path / "found.json")
    assert outcome.exit_code == 0, outcome.output
    assert "Left out: keras: Nothing is not installed" in outcome.output
    rows = json.loads((tmp_path / "found.json").read_text())["sections"]["keras"]
    assert [row["what"] for row in rows] == [
        "MidasModel / (joint + unimodal), PyTorch",
        "MidasModel, warm-up over / (joint + unimodal), PyTorch",
    ]


def test_a_child_that_fails_says_why():
    with pytest.raises(RuntimeError, match="No module named 'nowhere'"):
        times_in_child("nowhere:nothing", [SIZE], Effort(0.0, 0.0, 1, 1))


def test_a_busy_machine_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.results.load", lambda: 3.5)
    monkeypatch.setattr(imports, "ROUNDS", 1)
    outcome = run("--only", "import", "--json", tmp_path / "found.json")
    assert "This machine is busy (load 3.5)" in outcome.output
    assert json.loads((tmp_path / "found.json").read_text())["machine"]["load"] == 3.5


@pytest.mark.parametrize(
    ("name", "package"),
    [("compile", "torch"), ("core-jax", "jax"), ("options", "torch"), ("epoch", "transformers")],
)
def test_quick_run_of_a_section(name, package, tmp_path):
    pytest.importorskip(package)
    outcome = run("--quick", "--only", name, "--json", tmp_path / "found.json")
    assert outcome.exit_code == 0, outcome.output
    rows = json.loads((tmp_path / "found.json").read_text())["sections"][name]
    assert all(row["value"] > 0 and row["low"] <= row["high"] for row in rows)


def test_what_is_not_installed_is_left_out_unless_it_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("benchmarks.run.SECTIONS", {name: SECTIONS[name] for name in ("import", "epoch")}, raising=True)
    outcome = run("--quick", "--json", tmp_path / "found.json")
    assert outcome.exit_code == 0
    assert "Left out: epoch: Transformers is not installed: pip install 'midas-multimodal[bench]'" in outcome.output
    content = json.loads((tmp_path / "found.json").read_text())
    assert list(content["sections"]) == ["import"]
    assert len(content["left_out"]) == 1

    outcome = run("--quick", "--only", "epoch")
    assert outcome.exit_code == 2
    assert "pip install 'midas-multimodal[bench]'" in outcome.output


@pytest.mark.parametrize("module", ["torch", "rich"])
def test_without_what_it_needs_it_says_what_to_install(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    outcome = run("--quick")
    assert outcome.exit_code == 2
    assert "is not installed: pip install 'midas-multimodal[bench]'" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "gpu"], "--only gpu needs --device cuda"),
        (["--device", "cuda", "--only", "import"], "--only import needs --device cpu"),
        (["--only", "nothing"], "'nothing' is not one of"),
        (["--threads", "0"], "0 is not in the range"),
    ],
)
def test_wrong_options_exit_with_two(arguments, message):
    outcome = run(*arguments)
    assert outcome.exit_code == 2
    assert message in outcome.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    outcome = run("--device", "cuda")
    assert outcome.exit_code == 2
    assert "no CUDA device" in outcome.output


def test_a_file_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = run("--quick", "--only", "import", "--json", tmp_path / "file" / "found.json")
    assert outcome.exit_code == 2
    assert "Error:" in outcome.output

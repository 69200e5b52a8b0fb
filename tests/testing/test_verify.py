"""midas verify: what it prints, writes, and ends with; and the one line for the backends of others."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from midas_core.backends import Backend, _loaded
from midas_core.testing import PROPERTIES, check_backend, check_head, make_problem, verify_backend
from midas_core.testing.problems import FEW_STRUCTURES
from tests.cli.commands import run
from tests.frameworks import NAMES, get_framework


def test_table_and_json(tmp_path):
    path = tmp_path / "results.json"
    result = run("verify", "--backend", "numpy", "--examples", 5, "--json", path)
    assert result.exit_code == 0, result.output
    for name in PROPERTIES:
        assert name in result.output
    content = json.loads(path.read_text())
    assert content["examples"] == 5
    assert content["packages"]["numpy"] == np.__version__
    assert content["thorough"] is False
    results = {each["property"]: each for each in content["results"]}
    assert list(results) == list(PROPERTIES)
    assert results["losses"]["agrees"] is True
    assert results["losses"]["error"] < 1
    assert results["losses"]["examples"] >= 5
    assert results["autograd"]["agrees"] is None
    assert results["autograd"]["message"] == "numpy has no autograd"
    assert re.search(r"numpy on cpu: \d+ s", result.output)


def test_a_narrow_terminal_shows_every_column_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    output = run("verify", "--backend", "numpy", "--examples", 1).output
    assert "…" not in output
    assert max(map(len, output.splitlines())) <= 60
    for words in (
        "numpy on cpu",
        "property",
        "agrees",
        "examples",
        "seconds",
        "finite differences",
        "yes",
        "not tried",
    ):
        assert words in output
    assert "autograd: numpy has no autograd" in " ".join(output.split())


def test_what_disagrees_ends_with_status_one_and_the_command_that_shows_it_again(monkeypatch):
    monkeypatch.setattr("midas_core.testing.oracle.objective.hard_sample_weight", lambda s: 2.0)
    result = run("verify", "--backend", "numpy", "--property", "losses", "--examples", 20, "--seed", 7)
    assert result.exit_code == 1
    assert "NO" in result.output
    assert "times the allowed error" in result.output
    again = re.search(r"again: midas (.*)", result.output)[1]
    assert again == "verify --backend numpy --device cpu --property 'losses' --examples 20 --seed 7"
    problem = re.search(r"(make_problem\((?:.|\n)*?\)),\n", result.output)[1].replace("\n", "")
    assert isinstance(eval(problem, {"make_problem": make_problem}).labels, np.ndarray)


def test_a_missing_backend_is_told_and_is_an_error_only_where_it_was_asked_for(monkeypatch):
    class WithoutGpu(Backend):
        def devices(self):
            raise ImportError("CuPy finds no GPU here")

    monkeypatch.setitem(_loaded, "cupy", WithoutGpu("cupy", np))
    monkeypatch.setattr("midas_core.cli.verify.BACKENDS", ("numpy", "cupy"))
    result = run("verify", "--property", "pairs", "--examples", 2)
    assert result.exit_code == 0, result.output
    assert "not tried" in result.output
    assert "CuPy finds no GPU" in result.output
    result = run("verify", "--backend", "cupy")
    assert result.exit_code == 2
    assert result.output == "Error: CuPy finds no GPU here\n"


def test_the_package_of_properties_without_hypothesis_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import midas_core.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: Hypothesis is not installed: pip install 'midas-multimodal[verify]'" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_backend(name):
    # JAX compiles each structure; test_agreement.py tries the rest, and `midas verify` gives 100 to each.
    few = name == "jax"
    properties = ("pairs", "draws", "half precision", "not finite") if few else None
    check_backend(get_framework(name), examples=3 if few else 12, properties=properties, seed=1)


def test_compiled_once_for_each_structure():
    framework = get_framework("jax")
    traces = []

    def step(x):
        traces.append(x)
        return x + 1

    def product(x, y):
        traces.append(x)
        return [x * y], []

    for number in (1.0, 2.0):
        assert framework.numpy(framework.call(step, framework.array(number), key="step")) == number + 1
        (slopes,), _ = framework.gradients(product, [framework.array(number)], framework.array(2.0), key="step")
        assert slopes[0] == 2
    assert len(traces) == 2


def test_thorough_draws_any_structure_for_jax():
    framework = get_framework("jax")
    for thorough in (False, True):
        list(verify_backend(framework, properties=["draws"], examples=1, thorough=thorough))
        assert (framework.structures is None) == thorough
    with pytest.raises(TypeError, match="thorough: expected True or False"):
        list(verify_backend(framework, thorough=1))


def test_the_few_structures_hold_every_option():
    found = [make_problem(0, **each) for each in FEW_STRUCTURES]
    values = {
        "similarity": {"cosine", "l2", None},
        "variant": {"paper", "official"},
        "alpha_update": {"sign", "difference"},
        "weight": {0.0, 1.0, 5.0},
        "eta": {0.05, 0.5},
        "max_alpha": {None, 1.2, 10.0},
        "label_smoothing": {None, 0.1, 0.5},
    }
    for name, expected in values.items():
        assert {getattr(p, name) for p in found} == expected, name
    for name in ("mixed", "assignment", "sample_weight", "class_weights", "present"):
        assert {getattr(p, name) is None for p in found} == {True, False}, name
    assert {p.labels.ndim for p in found} == {1, 2}
    assert {p.dtype.name for p in found} == {"float32", "float64"}


def test_the_backend_of_somebody_else():
    import array_api_strict

    check_backend(Backend("mine", array_api_strict), examples=10)


def test_heads():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Additive(nn.Linear):
        additive = True

    class Nearly(Additive):
        def forward(self, x):
            return super().forward(x) * 1.001

    class Coupled(nn.Linear):
        def forward(self, x):
            return super().forward(x / x.norm())

    size = {"num_classes": 3, "feature_dims": (3, 4), "examples": 10}
    deep = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3))
    for head in (nn.Linear(7, 3), Additive(7, 3), deep):
        check_head(head, **size)
    for broken in (Nearly(7, 3), Coupled(7, 3)):
        with pytest.raises(AssertionError, match=r"loss|gradient"):
            check_head(broken, **size)
    named = {"num_classes": 3, "feature_dims": {"a": 3, "b": 4, "c": 2}, "head_input": "separate", "examples": 5}
    last = nn.Linear(2, 3).double()
    check_head(lambda x: last(x["c"]).tanh(), **named)

"""midas verify: what it prints, writes, and ends with; and the one line for the backends of others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from midas_core import Backend
from midas_core.cli.main import main
from midas_core.testing import PROPERTIES, Framework, check_backend, check_head, make_problem, oracle
from midas_core.testing.frameworks import KINDS, NAMES
from tests.frameworks import get_framework

DOCS = Path(__file__).parents[2] / "docs" / "verify.md"


def run(*arguments):
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_table_and_json(tmp_path):
    path = tmp_path / "verdicts.json"
    result = run("--backend", "numpy", "--examples", 5, "--json", path)
    assert result.exit_code == 0, result.output
    for name in PROPERTIES:
        assert name in result.output
    content = json.loads(path.read_text())
    assert content["examples"] == 5
    assert content["packages"]["numpy"] == np.__version__
    verdicts = {v["property"]: v for v in content["verdicts"]}
    assert list(verdicts) == list(PROPERTIES)
    assert verdicts["losses"]["agrees"] is True
    assert verdicts["losses"]["error"] < 1
    assert verdicts["losses"]["examples"] >= 5
    assert verdicts["autograd"]["agrees"] is None
    assert verdicts["autograd"]["message"] == "numpy has no autograd"


def test_what_disagrees_ends_with_status_one_and_the_command_that_shows_it_again(monkeypatch):
    monkeypatch.setattr("midas_core.testing.oracle.hard_sample_weight", lambda s: 2.0)
    result = run("--backend", "numpy", "--property", "losses", "--examples", 20, "--seed", 7)
    assert result.exit_code == 1
    assert "NO" in result.output
    assert "times the allowed error" in result.output
    again = re.search(r"again: midas (.*)", result.output)[1]
    assert again == "verify --backend numpy --device cpu --property 'losses' --examples 20 --seed 7"
    problem = re.search(r"(make_problem\((?:.|\n)*?\)),\n", result.output)[1].replace("\n", "")
    assert isinstance(eval(problem, {"make_problem": make_problem}).labels, np.ndarray)


def test_a_missing_backend_is_told_and_is_an_error_only_where_it_was_asked_for(monkeypatch):
    def missing():
        raise ImportError("CuPy finds no GPU here")

    monkeypatch.setattr("midas_core.load_backend", lambda name: None)
    monkeypatch.setattr(KINDS["cupy"], "devices", staticmethod(missing))
    monkeypatch.setattr("midas_core.cli.verify.BACKENDS", ("numpy", "cupy"))
    result = run("--property", "pairs", "--examples", 2)
    assert result.exit_code == 0, result.output
    assert "not tried" in result.output
    assert "CuPy finds no GPU" in result.output
    result = run("--backend", "cupy")
    assert result.exit_code == 2
    assert result.output == "Error: CuPy finds no GPU here\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "mxnet"], "mxnet"),
        (["--property", "speed"], "--property: expected one of pairs, draws"),
        (["--examples", 0], "--examples"),
        (["--seed", -1], "--seed"),
        (["--backend", "numpy", "--device", "gpu"], "numpy finds no gpu here"),
    ],
)
def test_wrong_calls(arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("module", "package"), [("hypothesis", "Hypothesis"), ("rich", "Rich")])
def test_missing_package_says_what_to_install(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    result = run("--backend", "numpy")
    assert result.exit_code == 2
    assert f"{package} is not installed: pip install 'midas-multimodal[verify]'" in result.output


def test_the_package_of_properties_without_hypothesis_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import midas_core.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: Hypothesis is not installed: pip install 'midas-multimodal[verify]'" in done.stderr


def test_the_oracle_imports_nothing_of_the_library():
    code = f"""
import sys, importlib.util
spec = importlib.util.spec_from_file_location("oracle", {oracle.__file__!r})
sys.modules["oracle"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print([m for m in sys.modules if m.partition(".")[0] in ("midas_core", "numpy")])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_backend(name):
    # JAX compiles each example; test_agreement.py tries the rest, and `midas verify` gives 200 to each.
    few = name == "jax"
    properties = ("pairs", "draws", "half precision", "not finite") if few else None
    check_backend(get_framework(name), examples=3 if few else 12, properties=properties, seed=1)


def test_the_backend_of_somebody_else():
    import array_api_strict

    check_backend(Framework(Backend("mine", array_api_strict)), examples=10)


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
        with pytest.raises(AssertionError, match=r"view by view|gradient"):
            check_head(broken, **size)
    named = {"num_classes": 3, "feature_dims": {"a": 3, "b": 4, "c": 2}, "head_input": "separate", "examples": 5}
    last = nn.Linear(2, 3).double()
    check_head(lambda x: last(x["c"]).tanh(), **named)


def test_the_code_of_the_docs():
    for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL):
        names: dict = {}
        exec(code, names)
        for name, function in list(names.items()):
            if name.startswith("test_"):
                function()

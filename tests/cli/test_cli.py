"""The command line: what it says, and how it ends when something is wrong."""

import subprocess
import sys

import pytest

from midas_core import __version__
from midas_core.runs import RunLogger
from tests.cli.commands import fails, run


def test_version():
    assert run("--version").output == f"midas, version {__version__}\n"


def test_help_names_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    for command in ("compare", "demo", "report", "verify"):
        assert f"\n  {command} " in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from midas_core.cli.main import main; main(['compare', '--help'], standalone_mode=False); "
        "print({'torch', 'sklearn', 'matplotlib', 'rich', 'joblib', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.endswith("set()\n")


PACKAGES = {
    "torch": "PyTorch",
    "sklearn": "scikit-learn",
    "rich": "Rich",
    "matplotlib": "Matplotlib",
    "jinja2": "Jinja2",
    "statsmodels": "statsmodels",
    "hypothesis": "Hypothesis",
}
ALL_BUT_ONE = [name for name in PACKAGES if name != "hypothesis"]
NEEDS = [
    (("demo",), "compare", ALL_BUT_ONE),
    (("compare", "features.npz"), "compare", ALL_BUT_ONE),
    (("report", "nowhere"), "report", ["jinja2", "matplotlib", "sklearn"]),
    (("verify", "--backend", "numpy"), "verify", ["hypothesis", "rich"]),
]


@pytest.mark.parametrize(
    ("command", "extra", "module"),
    [(command, extra, module) for command, extra, modules in NEEDS for module in modules],
)
def test_missing_package_says_what_to_install(monkeypatch, command, extra, module):
    monkeypatch.setitem(sys.modules, module, None)
    fails(*command, said=[f"{PACKAGES[module]} is not installed: pip install 'midas-multimodal[{extra}]'"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report"], "Missing argument 'RUN [RUN ...]'"),
        (["report", "nowhere"], "expected a run folder with run.json"),
        (["verify", "--backend", "mxnet"], "mxnet"),
        (["verify", "--property", "speed"], "--property: expected one of pairs, draws"),
        (["verify", "--examples", "0"], "--examples"),
        (["verify", "--seed", "-1"], "--seed"),
        (["verify", "--backend", "numpy", "--device", "gpu"], "numpy finds no gpu here"),
    ],
)
def test_wrong_calls(arguments, said):
    fails(*arguments, said=[said])


@pytest.mark.parametrize(
    "arguments", [["verify", "--backend", "numpy", "--examples", "1", "--json"], ["report", "run", "-o"]]
)
def test_a_closed_pipe_ends_quietly_and_loses_nothing(tmp_path, arguments):
    RunLogger(tmp_path / "run", modalities=["audio", "video"]).close()
    code = "from midas_core.cli.main import main; main(prog_name='midas')"
    command = [sys.executable, "-c", code, *arguments, "file"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert (tmp_path / "file").stat().st_size > 100

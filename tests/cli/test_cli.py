"""The command line: what it says, and how it ends when something is wrong."""

import subprocess
import sys

import pytest

from midas_core import __version__
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


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("torch", "PyTorch"),
        ("sklearn", "scikit-learn"),
        ("rich", "Rich"),
        ("matplotlib", "Matplotlib"),
        ("jinja2", "Jinja2"),
        ("statsmodels", "statsmodels"),
    ],
)
@pytest.mark.parametrize("command", [("demo",), ("compare", "features.npz")])
def test_missing_package_says_what_to_install(monkeypatch, command, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    fails(*command, said=[f"{package} is not installed: pip install 'midas-multimodal[compare]'"])

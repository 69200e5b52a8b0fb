"""The command line: what it says, and how it ends when something is wrong."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from midas_core import __version__
from midas_core.cli.main import main
from midas_core.demo.tasks import GROUPS, TASKS
from tests.adapters.recordings import write_recordings


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def fails(*arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    for words in said:
        assert words in result.output
    return result


def test_version():
    assert run("--version").output == f"midas, version {__version__}\n"


def test_help_names_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert "demo" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from midas_core.cli.main import main; main(['demo', '--help'], standalone_mode=False); "
        "print({'torch', 'sklearn', 'matplotlib', 'rich', 'librosa', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.endswith("set()\n")


def test_unknown_task_names_the_known_ones():
    fails("demo", "--data", "cats", said=["cats", *TASKS, *GROUPS])


@pytest.mark.parametrize("option", ["--seeds", "--epochs", "--workers"])
def test_numbers_below_one(option):
    fails("demo", option, 0, said=[option])


def test_audio_without_a_folder():
    fails("demo", "--data", "av-digits", said=["--root FOLDER", "recordings/{digit}_{speaker}_{index}.wav"])


def test_missing_folder(tmp_path):
    missing = tmp_path / "nowhere"
    fails(
        "demo", "--data", "av-digits", "--root", missing, "--output", tmp_path / "out", said=["looked for", "found no"]
    )


def test_damaged_recording(tmp_path):
    root = write_recordings(tmp_path)
    (root / "recordings" / "0_ada_0.wav").write_bytes(b"not a sound")
    arguments = ("demo", "--data", "av-clean", "--root", root, "--output", tmp_path / "out")
    fails(*arguments, said=["0_ada_0.wav", "expected a readable wav file"])


def test_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    fails("demo", "--quick", "--output", tmp_path / "file" / "folder", said=["file"])


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("torch", "PyTorch"),
        ("sklearn", "scikit-learn"),
        ("rich", "Rich"),
        ("matplotlib", "Matplotlib"),
        ("jinja2", "Jinja2"),
    ],
)
def test_missing_package_says_what_to_install(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    fails("demo", "--quick", said=[f"{package} is not installed: pip install 'midas-multimodal[demo]'"])


def test_missing_librosa_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "librosa", None)
    said = ["librosa is not installed: pip install 'midas-multimodal[audio]'"]
    fails("demo", "--data", "av-digits", "--root", tmp_path, said=said)

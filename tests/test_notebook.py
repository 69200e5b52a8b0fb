"""The notebook of the quickstart is its script, and runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def test_it_is_made_from_the_script(tmp_path):
    make = pytest.importorskip("sphinx_gallery.notebook").python_to_jupyter_cli
    make([shutil.copy(NOTEBOOK.with_suffix(".py"), tmp_path)])
    assert json.loads((tmp_path / NOTEBOOK.name).read_text()) == json.loads(NOTEBOOK.read_text())


def test_it_runs(tmp_path):
    pytest.importorskip("ipykernel")
    path = shutil.copy(NOTEBOOK, tmp_path)
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    cells = json.loads(Path(path).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert "largely ignores right" in printed
    joint, alone, midas = map(
        float, re.search(r"joint training (.*) %, right half alone (.*) %, MIDAS (.*) %", printed).groups()
    )
    assert midas > alone > joint
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2

"""The code in the documentation runs, each page from top to bottom in one folder."""

import functools
import inspect
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    found = {"__name__": page}
    exec(compile("\n".join(blocks), page, "exec"), found)
    return found


def test_diagnostics(tmp_path, monkeypatch, capsys):
    found = run("diagnostics.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "The model largely ignores audio" in printed
    assert "MIDAS repairs the use of audio" in printed
    assert found["found"].names == ("audio", "image")
    assert (tmp_path / "use.svg").exists()


def test_getting_started(tmp_path, monkeypatch, capsys):
    run("getting-started.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    percent = {name: float(number) for name, number in re.findall(r"^([\w ]+): ([\d.]+) %$", printed, re.MULTILINE)}
    assert percent["MIDAS"] > percent["joint training"]
    # Without the criterion a model predicts what it did.
    assert percent["restored"] == percent["MIDAS"]


def test_pytorch(tmp_path, monkeypatch):
    # The same graph, without a C++ compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    found = run("pytorch.md", tmp_path, monkeypatch)
    assert found["terms"].total.isfinite()
    assert len(found["mixed"].weights) == 64


def test_pytorch_names_every_option():
    from midas_core.adapters.torch import MidasLoss

    text = (DOCS / "pytorch.md").read_text(encoding="utf-8")
    options = re.findall(r"^\| `(\w+)` \|", text.partition("## Options")[2].partition("##")[0], re.MULTILINE)
    assert options == list(inspect.signature(MidasLoss).parameters)


def test_readme(capsys):
    # The block about Keras runs in tests/adapters/keras.
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    own = [block for block in blocks if "import keras" not in block]
    assert len(own) == len(blocks) - 1 == 2
    torch.manual_seed(0)
    exec(compile("\n".join(own), "README.md", "exec"), {})
    assert float(re.search(r"test accuracy ([\d.]+) %", capsys.readouterr().out)[1]) > 65


def test_report(tmp_path, monkeypatch, capsys):
    run("report.md", tmp_path, monkeypatch)
    page = (tmp_path / "runs" / "report.html").read_text(encoding="utf-8")
    assert "MIDAS" in page
    assert "Alpha over training" in page
    assert "Confidence over training" in page


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target


def test_training_shows_the_examples():
    # The block about Keras runs in tests/adapters/keras.
    examples = [path.read_text(encoding="utf-8") for path in (DOCS.parent / "examples").glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "training.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    missing = [block for block in blocks if not any(block in text for text in examples)]
    assert [block for block in missing if "adapters.keras" not in block] == []

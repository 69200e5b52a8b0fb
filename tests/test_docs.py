"""The code in the documentation runs, each page from top to bottom in one folder; its links lead somewhere."""

import functools
import inspect
import re

import pytest
import torch

from tests.pages import PAGES, ROOT, blocks_of, run_page

# All of it is Keras, which takes one backend per process: tests/adapters/keras runs it on each.
KERAS = ROOT / "docs" / "keras.md"


# The Trainer asks for it where there is no GPU too.
@pytest.mark.filterwarnings("ignore:.*pin_memory")
@pytest.mark.parametrize("page", [x for x in PAGES if blocks_of(x) and x != KERAS], ids=lambda page: page.stem)
def test_the_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The same graph, without a C++ compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch.manual_seed(0)
    run_page(page)


def test_pytorch_names_every_option():
    from midas_core.adapters.torch import MidasLoss

    text = (ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8")
    options = re.findall(r"^\| `(\w+)` \|", text.partition("## Options")[2].partition("##")[0], re.MULTILINE)
    assert options == list(inspect.signature(MidasLoss).parameters)


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target

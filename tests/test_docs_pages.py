"""The code on the pages about real data and early fusion runs; that for Keras in tests/adapters/keras."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(("page", "count"), [("real-data", 7), ("early-fusion", 1)])
def test_the_code_on_the_page(page, count):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == count
    found: dict = {}
    for block in blocks:
        if "import keras" not in block:
            exec(compile(block, page, "exec"), found)
    assert found["loss"].isfinite()

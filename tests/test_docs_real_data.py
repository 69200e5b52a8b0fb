"""The code on the page about real data runs; that for Keras in tests/keras."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
PAGE = Path(__file__).parent.parent / "docs" / "real-data.md"


def test_the_code_on_the_page():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    found: dict = {}
    for block in blocks:
        if "import keras" not in block:
            exec(compile(block, str(PAGE), "exec"), found)
    assert found["loss"].isfinite()
    assert found["logits"][0].shape == (16, 3)

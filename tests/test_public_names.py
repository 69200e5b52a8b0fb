"""What is public is listed in the API reference, and what is listed there is public."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
SECTION = re.compile(r"^\.\. currentmodule:: (\S+)$(.*?)^```$", re.MULTILINE | re.DOTALL)
LISTED = {module: re.findall(r"^   (\w+)$", body, re.MULTILINE) for module, body in SECTION.findall(PAGE.read_text())}


def import_public(name):
    if name.startswith("midas_core.adapters.keras"):
        pytest.importorskip("keras")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("module", LISTED)
def test_the_page_lists_what_a_module_offers(module):
    found = import_public(module)
    # A name that several modules offer stands under the core alone.
    core = importlib.import_module("midas_core")
    own = [
        name
        for name in found.__all__
        if found is core or getattr(core, name, None) is not getattr(found, name) or name not in core.__all__
    ]
    assert LISTED[module] == own


@pytest.mark.parametrize("module", LISTED)
def test_every_public_name_has_a_docstring_of_its_own(module):
    found = import_public(module)
    for name in LISTED[module]:
        item = getattr(found, name)
        if callable(item):
            assert item.__doc__, f"{module}.{name}"
            assert item.__doc__.partition("\n")[0].rstrip().endswith((".", "?")), (
                f"{module}.{name}: {item.__doc__[:60]}"
            )


def test_every_package_with_public_names_is_listed():
    package = Path(__file__).parents[1] / "midas_core"
    offering = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if re.search(r"^__all__ = ", path.read_text(), re.MULTILINE)
    }
    # The data sets of the demo, and what makes a backend: for those who work on the library.
    assert set(LISTED) == offering - {"midas_core.data", "midas_core.backends"}

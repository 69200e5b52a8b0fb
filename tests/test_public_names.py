"""What is public is listed in the API reference, and what is listed there is public."""

import dataclasses
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
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


CHECKS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]["checks"])


def fields_of(item):
    """Return the fields of a named tuple or a dataclass, which its section Attributes documents."""
    if dataclasses.is_dataclass(item):
        return {field.name for field in dataclasses.fields(item)}
    return set(getattr(item, "_fields", ()))


def own_methods(item):
    """Yield the public methods of a class that no framework prescribes."""
    foreign = [base for base in item.__mro__[1:] if not base.__module__.startswith("midas_core")]
    for name, member in vars(item).items():
        prescribed = any(hasattr(base, name) for base in foreign)
        if inspect.isroutine(member) and not name.startswith("_") and not prescribed:
            yield name


@pytest.mark.parametrize("module", LISTED)
def test_docstrings_have_the_form_of_numpydoc(module):
    validate = pytest.importorskip("numpydoc.validate").validate
    import_public(module)
    found = []
    for name in LISTED[module]:
        item = getattr(importlib.import_module(module), name)
        if not callable(item):
            continue
        methods = [f"{name}.{method}" for method in own_methods(item)] if inspect.isclass(item) else []
        for path in (name, *methods):
            # A method of one line is told by its first line; a class shows its methods at work.
            checks = CHECKS - (
                {"EX01", "PR01", "RT01"} if path in methods else {"EX01"} if inspect.isclass(item) else set()
            )
            documented = validate(f"{module}.{path}")
            for code, message in documented["errors"]:
                if code == "PR01" and path == name and fields_of(item):
                    missing = [f for f in fields_of(item) if not re.search(rf"\b{f}\b.* : ", item.__doc__)]
                    message = f"fields {missing} not documented"
                    if not missing:
                        continue
                if code in checks:
                    found.append(f"{module}.{path}: {code} {message}")
    assert not found, "\n".join(found)


def test_every_package_with_public_names_is_listed():
    package = Path(__file__).parents[1] / "midas_core"
    offering = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
        if re.search(r"^__all__ = ", path.read_text(), re.MULTILINE)
    }
    # The data sets of the demo, what makes a backend, the oracle: for those who work on the library.
    assert set(LISTED) == offering - {"midas_core.data", "midas_core.backends", "midas_core.testing.oracle"}

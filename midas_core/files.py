"""JSON files that any reader takes, plain data to and from dataclasses, and the versions of packages."""

from __future__ import annotations

import json
import math
import os
import platform
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

from midas_core.backends import get_backend
from midas_core.text import printable

LARGEST = 1e300
"""The largest number that is read: beyond it figures and means overflow."""


def finite(value: Any) -> Any:
    """Return ``value`` with None in the place of NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write JSON as a whole or not at all, making its folder where it is missing; what is not finite becomes null."""
    text = json.dumps(finite(content), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    # A lone surrogate, as in a file name of other bytes, is left escaped.
    write_whole(path, text.encode("utf-8", "backslashreplace"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: readers find the old one or the new one; ``OSError`` if neither."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_other_than_files(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Raise ``OSError`` unless a file can be written at ``path``, before the work that is to fill it."""
    _refuse_other_than_files(path)
    # Nothing is left behind: where its folder is missing, the nearest one that is there has to take files.
    folder = next(parent for parent in Path(os.path.abspath(path)).parents if parent.exists())
    beside = folder / f".{path.name}.{os.getpid()}"
    try:
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise OSError(f"{path}: expected a place where a file can be written, got {error.strerror}") from error


def read_text(path: Path, most: int) -> str:
    """Return the text of a file, or raise ``OSError`` unless it is one, of at most ``most`` bytes."""
    if not path.is_file():  # a pipe would wait for ever
        raise OSError("expected a file")
    if path.stat().st_size > most:
        raise OSError(f"expected at most {most:,} bytes, got {path.stat().st_size:,}")
    # A write that was cut off may end inside a character.
    return path.read_text(encoding="utf-8", errors="replace")


def parse_json(text: str) -> Any:
    """Return what a JSON text holds, or raise ``ValueError`` if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_other_than_files(path: Path) -> None:
    if path.is_symlink():  # it would lead elsewhere
        raise OSError(f"{path}: expected a file, got a symbolic link")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: expected a file, got {'a folder' if path.is_dir() else 'something else'}")


def package_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def as_python(value: Any) -> Any:
    """Return an array of any framework as (lists of) Python numbers, anything else as it is."""
    if not hasattr(value, "__array__"):
        return value
    try:
        return get_backend(value).to_numpy(value).tolist()
    except TypeError:  # a variable of Keras
        return value.__array__().tolist()


def as_mapping(value: Any) -> Mapping[Any, Any] | None:
    """Return the entries of a mapping, a namespace, a dataclass or an object with ``to_dict``; None for others."""
    if isinstance(value, Mapping | type):
        return value if isinstance(value, Mapping) else None
    if callable(to_dict := getattr(value, "to_dict", None)):
        entries = to_dict()
        return entries if isinstance(entries, Mapping) else None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return vars(value) if isinstance(value, Namespace | SimpleNamespace) else None


def plain(value: Any) -> Any:
    """Return ``value`` as JSON holds it: numbers, text, lists and dicts; anything else as text."""
    value = as_python(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if (entries := as_mapping(value)) is not None:
        return {str(key): plain(entry) for key, entry in entries.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple | set) else str(value)


def read_dataclass(kind: Any, content: Any, *, largest: float = LARGEST) -> Any:
    """Return the dataclass ``kind`` that a JSON object describes, the inverse of `plain`, or raise ``ValueError``."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{kind.__name__}: expected an object, got {str(content)[:80]}")
    types, values = get_type_hints(kind), {}
    for field in fields(kind):
        # Fields with a default may be missing; those that take no part in comparisons are not read.
        if field.compare and field.name in content:
            values[field.name] = _read(types[field.name], content[field.name], field.name, largest)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name}: expected a value, but it is missing")
    return kind(**values)


def _read(kind: Any, value: Any, name: str, largest: float) -> Any:
    """Return a value of a JSON file as the annotation of its field says."""
    options = get_args(kind)
    if NoneType in options:
        return None if value is None else _read(options[0], value, name, largest)
    if is_dataclass(kind):
        return read_dataclass(kind, value, largest=largest)
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
        if len(kinds) == len(value):
            return tuple(_read(inner, item, name, largest) for inner, item in zip(kinds, value, strict=True))
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and (value is None or numeric):
        # null stands for NaN where a number has to be.
        number = math.nan if value is None else math.inf if abs(value) >= LARGEST else float(value)
        if not abs(number) > largest:
            return number
    elif kind is int and numeric and 0 <= value <= 2**53:
        return int(value)
    elif kind is bool and isinstance(value, bool):
        return value
    elif kind is str and isinstance(value, str):
        return printable(value)
    expected = {int: "a count", float: f"a number up to {largest:g}"}.get(kind, getattr(kind, "__name__", str(kind)))
    raise ValueError(f"{name}: expected {expected}, got {str(value)[:80]}")

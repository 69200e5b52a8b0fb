"""JSON files that any reader takes, and the versions of what took part."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def finite(value: Any) -> Any:
    """Return ``value`` with None in the place of NaN and infinity, which JSON does not have.

    Examples
    --------
    >>> finite({"loss": float("nan"), "shares": (0.5, float("inf"))})
    {'loss': None, 'shares': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file as a whole or not at all, making its folder where it is missing.

    Parameters
    ----------
    path : Path
    content : dict or list
        Numbers, text, lists and dicts; what is not finite becomes null.
    """
    text = json.dumps(finite(content), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    # A lone surrogate, as in a file name of other bytes, is left escaped.
    write_whole(path, text.encode("utf-8", "backslashreplace"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: readers find the old one or the new one.

    Raises
    ------
    OSError
        If it cannot be written, or something other than a file is there: a folder, a pipe, a symbolic link, which would
        lead elsewhere.
    """
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
    """Raise ``OSError`` unless a file can be written at ``path``, before the work that is to fill it.

    Nothing is left behind: where its folder is missing, the nearest one that is there has to take files.
    """
    _refuse_other_than_files(path)
    folder = next(each for each in path.absolute().parents if each.exists())
    beside = folder / f".{path.name}.{os.getpid()}"
    beside.touch()
    beside.unlink()


def read_text(path: Path, most: int) -> str:
    """Return the text of a file.

    Raises
    ------
    OSError
        If it is no file (a pipe would wait for ever), or has more than ``most`` bytes.
    """
    if not path.is_file():
        raise OSError("expected a file")
    if path.stat().st_size > most:
        raise OSError(f"expected at most {most:,} bytes, got {path.stat().st_size:,}")
    # A write that was cut off may end inside a character.
    return path.read_text(encoding="utf-8", errors="replace")


def parse_json(text: str) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        If it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_other_than_files(path: Path) -> None:
    if path.is_symlink():
        raise OSError(f"{path}: expected a file, got a symbolic link")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: expected a file, got {'a folder' if path.is_dir() else 'something else'}")


def package_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed.

    Examples
    --------
    >>> list(package_versions("numpy", "no-such-package"))
    ['python', 'numpy']
    """
    found = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found

"""The folder of a comparison: one file for each finished stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from midas_core.files import parse_json, read_text, write_json

FORMAT = 2
LARGEST = 64 * 2**20
"""Bytes of a file that is read."""


class StoreError(ValueError):
    """A folder holds runs that this comparison cannot go on with. They are left as they are."""


class Store:
    """Keeps finished stacks, so that a comparison that was killed goes on where it was.

    ``path`` None keeps them in memory; ``made_by`` are the data and options that all stacks of a folder share. Raises
    `StoreError` where the folder holds something else, ``OSError`` where it cannot be written.
    """

    def __init__(self, path: Path | None, made_by: Mapping[str, Any]) -> None:
        self.path, self.made_by = path, {"format": FORMAT, **made_by}
        self._kept: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        about = path / "comparison.json"
        if about.exists():
            _compare(self.made_by, _read(about), about.name)
        elif path.exists() and any(path.iterdir()):
            _refuse("an empty folder or one of a comparison", f"no {about.name} among its files")
        else:
            write_json(about, self.made_by)

    def __contains__(self, name: str) -> bool:
        return name in self._kept or (self.path is not None and self._file(name).exists())

    def read(self, name: str, made_by: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a finished stack, None where it is still to do.

        Raises `StoreError` where it was finished with other settings, or cannot be read.
        """
        if name not in self._kept and name in self:
            content = _read(self._file(name))
            _compare(made_by, content.get("cell", {}), self._file(name))
            self._kept[name] = content
        return self._kept.get(name)

    def write(self, name: str, made_by: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Keep a finished stack, as a whole or not at all."""
        self._kept[name] = {"cell": dict(made_by), **content}
        if self.path is not None:
            write_json(self._file(name), self._kept[name])

    def _file(self, name: str) -> Path:
        assert self.path is not None
        return self.path / "cells" / f"{name}.json"


def _compare(made_by: Mapping[str, Any], before: Mapping[str, Any], place: Any) -> None:
    for name, expected in made_by.items():
        if before.get(name) != expected:
            _refuse(f"{name} {expected}", f"{before.get(name)} in {place}")


def _refuse(expected: str, got: str) -> NoReturn:
    raise StoreError(f"output: expected {expected}, got {got}; its runs are kept, choose another folder")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(file, LARGEST))
        if not isinstance(content, dict):
            raise ValueError(type(content).__name__)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"output: expected a finished run in {file}, got {error}; delete it to train it again"
        ) from error
    return content

"""The folder of a comparison: one file for each finished stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midas_core.files import parse_json, read_text, write_json

FORMAT = 1
LARGEST = 64 * 2**20
"""Bytes of a file that is read."""


class StoreError(ValueError):
    """A folder holds runs that this comparison cannot go on with. They are left as they are."""


class Store:
    """Keeps finished stacks, so that a comparison that was killed goes on where it was.

    Parameters
    ----------
    path : Path or None
        None keeps them in memory.
    made_by : dict of numbers and text
        Data and options that all stacks of the folder share.

    Raises
    ------
    StoreError
        If the folder holds something else.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path | None, made_by: Mapping[str, Any]) -> None:
        self.path, self.made_by = path, {"format": FORMAT, **made_by}
        self._kept: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        about = path / "comparison.json"
        if about.exists():
            before = _read(about)
            for name, expected in self.made_by.items():
                if before.get(name) != expected:
                    self._refuse(f"{name} {expected}", f"{before.get(name)} in {about.name}")
        elif path.exists() and any(path.iterdir()):
            self._refuse("an empty folder or one of a comparison", f"no {about.name} among its files")
        else:
            write_json(about, self.made_by)

    def __contains__(self, name: str) -> bool:
        return name in self._kept or (self.path is not None and (self.path / "cells" / f"{name}.json").exists())

    def read(self, name: str, made_by: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a finished stack, None where it is still to do.

        Raises
        ------
        StoreError
            If it is finished with other settings, or cannot be read.
        """
        if name in self._kept or self.path is None:
            return self._kept.get(name)
        file = self.path / "cells" / f"{name}.json"
        if not file.exists():
            return None
        content = _read(file)
        before = content.get("cell", {})
        for key, expected in made_by.items():
            if before.get(key) != expected:
                self._refuse(f"{key} {expected}", f"{before.get(key)} in {file}")
        self._kept[name] = content
        return content

    def write(self, name: str, made_by: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Keep a finished stack, as a whole or not at all."""
        self._kept[name] = {"cell": dict(made_by), **content}
        if self.path is not None:
            write_json(self.path / "cells" / f"{name}.json", self._kept[name])

    def _refuse(self, expected: str, got: str) -> None:
        raise StoreError(f"output: expected {expected}, got {got}; its runs are kept, choose another folder")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(file, LARGEST))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"output: expected a finished run in {file}, got {error}; delete it to train it again"
        ) from error
    if not isinstance(content, dict):
        raise StoreError(
            f"output: expected a finished run in {file}, got {type(content).__name__}; delete it to train it again"
        )
    return content

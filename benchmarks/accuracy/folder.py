"""The folder of a comparison: one file for each finished cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from midas_core.files import parse_json, read_text, write_json

FORMAT = 1
MOST = 64 * 2**20
"""Bytes of a file that is read."""


class Cell(Protocol):
    """What is finished as a whole or not at all."""

    @property
    def file_name(self) -> str:
        """Where the folder keeps it."""

    def as_dict(self) -> dict[str, Any]:
        """Return numbers, text and lists: what a kept cell must agree with."""


class RunFolderError(ValueError):
    """The folder holds runs that this call cannot go on with. They are left as they are."""


class RunFolder:
    """Keeps what is finished, so that a comparison that was killed goes on where it was.

    Parameters
    ----------
    path : Path
    made_by : dict of numbers and text
        What has to be the same for all runs of the folder: versions, options.

    Raises
    ------
    RunFolderError
        If the folder was made by something else.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path, self.made_by = path, {"format": FORMAT, **made_by}
        about = path / "comparison.json"
        if about.exists():
            found = _read(about)
            for name, expected in self.made_by.items():
                if found.get(name) != expected:
                    self._refuse(f"{name} {expected}", f"{found.get(name)} in {about.name}")
        elif path.exists() and any(path.iterdir()):
            self._refuse("an empty folder or one of python -m benchmarks.accuracy", f"no {about.name} among its files")
        else:
            write_json(about, self.made_by)

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """Return a finished cell, None where it is still to do.

        Raises
        ------
        RunFolderError
            If it is finished with other settings, or cannot be read.
        """
        file = self.path / "cells" / cell.file_name
        if not file.exists():
            return None
        found = _read(file)
        for name, expected in cell.as_dict().items():
            if found.get("cell", {}).get(name) != expected:
                self._refuse(f"{name} {expected}", f"{found.get('cell', {}).get(name)} in {file}")
        return found

    def write(self, cell: Cell, content: Mapping[str, Any]) -> None:
        """Keep a finished cell, as a whole or not at all."""
        write_json(self.path / "cells" / cell.file_name, {"cell": cell.as_dict(), **content})

    def _refuse(self, expected: str, found: str) -> None:
        raise RunFolderError(
            f"{self.path}: expected {expected}, found {found}; its runs are kept, choose another --output"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(file, MOST))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{file}: expected a finished run, got {error}; delete it to train it over again"
        ) from error
    if not isinstance(content, dict):
        raise RunFolderError(
            f"{file}: expected a finished run, got {type(content).__name__}; delete it to train it again"
        )
    return content

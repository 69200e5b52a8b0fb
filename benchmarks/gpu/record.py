"""Results that are saved as they come: what a lent GPU has shown is kept, whatever comes after."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midas_core.files import write_json


class Record:
    """The results of one part, in a JSON file that is written after each of them.

    What the file already holds, without an error, is not done again.

    Parameters
    ----------
    path : Path
    seconds : float
        No result is begun after so many.
    report : callable
        Told one line about each result.

    Attributes
    ----------
    results : dict
        By name: ``{"seconds": float, "found": ...}``, or ``"error"`` in place of ``"found"``.
    """

    def __init__(self, path: Path, seconds: float, report: Callable[[str], None]) -> None:
        self.path = path
        self.end = time.monotonic() + seconds
        self.report = report
        self.results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def take(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function and keep what it returns, or how it failed."""
        if "found" in self.results.get(name, {}):
            return
        if time.monotonic() > self.end:
            self._keep(name, {"error": "left out: out of time"})
            return
        start = time.monotonic()
        try:
            found: dict[str, Any] = {"found": function(*arguments)}
        except Exception:  # Any of them costs this result, and no other.
            found = {"error": traceback.format_exc()}
        self._keep(name, {"seconds": round(time.monotonic() - start, 2), **found})

    def _keep(self, name: str, result: dict[str, Any]) -> None:
        self.results[name] = result
        write_json(self.path, self.results)
        last = str(result.get("found", result.get("error"))).strip().splitlines()
        self.report(f"{'FAILED ' if 'error' in result else ''}{name}: {last[-1] if last else ''}")

    @property
    def failed(self) -> list[str]:
        """The names of what failed."""
        return [name for name, result in self.results.items() if "error" in result]


def require(holds: bool, found: Any) -> None:
    """Raise ``RuntimeError`` that shows what was found, unless it holds."""
    if not holds:
        raise RuntimeError(str(found))

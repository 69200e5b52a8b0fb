"""How long the import takes, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import midas_core
from benchmarks.results import Result
from benchmarks.settings import Settings
from benchmarks.timing import Times

TARGET = 1.3
ROUNDS, QUICK_ROUNDS = 41, 2


def measure(settings: Settings) -> list[Result]:
    """Time ``import midas_core`` and ``import numpy``, in turn."""
    settings.report("import")
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    seconds: dict[str, list[float]] = {"import midas_core": [], "import numpy": []}
    for statement in seconds:
        # The first import writes byte code.
        import_seconds(statement)
    for _ in range(rounds):
        for statement, found in seconds.items():
            found.append(import_seconds(statement))
    return [Result.of_ratio(Times(seconds), "import midas_core", "import numpy", "-", TARGET)]


def import_seconds(statement: str) -> float:
    """Return the seconds that a fresh interpreter takes for an import statement."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    parent = str(Path(midas_core.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (parent, os.environ.get("PYTHONPATH"))))
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return float(finished.stdout)

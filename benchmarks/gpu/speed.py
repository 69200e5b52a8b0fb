"""Part 2: what a step costs on the GPU, section by section."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.place import Place
from benchmarks.gpu.record import Record
from benchmarks.registry import SECTIONS
from benchmarks.results import PACKAGES
from benchmarks.settings import Settings
from benchmarks.timing import SHORT
from midas_core.backends import require
from midas_core.files import package_versions

ORDER = ("step", "graph", "gpu", "memory", "mixing", "compile", "options", "cupy", "jax")
"""What matters most comes first."""


def run(record: Record, place: Place) -> None:
    """Measure every section that is made for a GPU."""
    record.take("versions", package_versions, *PACKAGES)
    for name in ORDER:
        record.take(name, measured, name, place, record.path.parent)


def measured(name: str, place: Place, output: Path) -> list[dict[str, Any]]:
    """Return the rows of a section."""
    section = SECTIONS[name]
    if not place.dry:
        for need in section.needs:
            require(*need)
    settings = Settings(place.device, place.dry, output, full=SHORT)
    module = import_module(f"benchmarks.sections.{section.module}")
    return [asdict(row) | {"met": row.met} for row in getattr(module, section.function)(settings)]

"""Part 2: the cost of a step on the GPU, section by section and size by size."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu.place import Place
from benchmarks.gpu.record import Record
from benchmarks.problem import Size
from benchmarks.registry import SECTIONS
from benchmarks.results import PACKAGES
from benchmarks.settings import CUDA_SIZES, QUICK_SIZES, Settings
from benchmarks.timing import SHORT
from midas_core.backends import require
from midas_core.files import package_versions

ORDER = ("step", "graph", "gpu", "compile", "cupy", "jax", "mixing")
"""Sections measured size by size, the most important first."""

WHOLE = ("memory", "training", "options")
"""Sections with sizes of their own."""


def run(record: Record, place: Place) -> None:
    """Measure every section that is made for a GPU."""
    record.take("versions", package_versions, *PACKAGES)
    sizes = QUICK_SIZES if place.dry else CUDA_SIZES
    for name in ORDER:
        for size in sizes:
            record.take(f"{name} {size}", measured, name, place, record.path.parent, size)
    for name in WHOLE:
        record.take(name, measured, name, place, record.path.parent)


def measured(name: str, place: Place, output: Path, size: Size | None = None) -> list[dict[str, Any]]:
    """Return the rows of a section, at one size or at all of its own."""
    section = SECTIONS[name]
    if not place.dry:
        for need in section.needs:
            require(*need)
    settings = Settings(place.device, place.dry, output, full=SHORT, only_size=size)
    module = import_module(f"benchmarks.sections.{section.module}")
    return [asdict(row) | {"met": row.met} for row in getattr(module, section.function)(settings)]

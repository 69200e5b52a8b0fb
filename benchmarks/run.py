"""Runs the sections one after the other and prints what they find."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.registry import SECTIONS
from benchmarks.results import Result, as_json, machine
from benchmarks.settings import Settings
from benchmarks.table import section_table
from benchmarks.timing import processors, threads
from midas_core.backends import require

BUSY = 0.7
"""Load above which times are not to be trusted."""


def run_bench(
    names: Sequence[str], *, device: str, thread_count: int, quick: bool, output: Path, console: Console
) -> dict[str, Any]:
    """Measure and print.

    Parameters
    ----------
    names : sequence of str
        Of sections. Without any: all those of the device, except the ones whose packages are missing.
    device : {"cpu", "cuda"}
    thread_count : int
        Of PyTorch.
    quick : bool
    output : Path
        Folder for figures.
    console : Console

    Returns
    -------
    dict
        All results, for a JSON file.

    Raises
    ------
    ImportError
        If a named section needs what is not installed.
    """
    left_out: list[str] = []

    def warn(text: str) -> None:
        left_out.append(text)
        console.print(f"Left out: {text}", style="yellow", markup=False, highlight=False)

    # The load before it starts: afterwards this run is part of it.
    place = machine(device)
    if not quick and (place["load"] or 0) > BUSY:
        text = f"This machine is busy (load {place['load']}): expect noise, and larger ratios for small steps."
        console.print(text, style="yellow", highlight=False)
    chosen = _installed(names) if names else _available(device, warn)
    found: dict[str, list[Result]] = {}
    # With a GPU the backward pass has a thread of its own. A quick run measures nothing.
    bound = processors(thread_count) if device == "cpu" and not quick else nullcontext()
    with console.status("") as status, threads(thread_count), bound:

        def report(text: str) -> None:
            status.update(f"Measuring: {text}")

        settings = Settings(device, quick, output, report, warn)
        for name in chosen:
            section = SECTIONS[name]
            module = import_module(f"benchmarks.sections.{section.module}")
            rows: list[Result] = getattr(module, section.function)(settings)
            # Nobody is held to what tiny sizes give.
            found[name] = [replace(row, target=None) for row in rows] if quick else rows
            console.print(section_table(section.title, found[name]))
            console.print()
    results = [result for rows in found.values() for result in rows if result.met is not None]
    missed = sum(not result.met for result in results)
    summary = f"{len(results) - missed} of {len(results)} targets met."
    console.print("A quick run shows that it runs, and proves nothing." if quick else summary, highlight=False)
    options = {"device": device, "threads": thread_count, "quick": quick, "sections": chosen}
    content: dict[str, Any] = as_json(found, left_out, options, place)
    return content


def _installed(names: Sequence[str]) -> list[str]:
    for name in names:
        for need in SECTIONS[name].needs:
            require(*need)
    # In the order of the table, each once.
    return [name for name in SECTIONS if name in names]


def _available(device: str, warn: Any) -> list[str]:
    available = []
    for name, section in SECTIONS.items():
        if device not in section.devices:
            continue
        try:
            _installed([name])
        except ImportError as error:
            warn(f"{name}: {error}")
            continue
        available.append(name)
    return available

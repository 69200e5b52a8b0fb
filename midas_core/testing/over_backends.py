"""Try the properties on backends and devices, and show what came out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

import midas_core
from midas_core.runs.files import package_versions, write_json
from midas_core.testing import Verdict, load_framework, verify_backend
from midas_core.testing.frameworks import KINDS

COLUMNS = ("backend", "device", "property", "agrees", "largest error", "examples", "seconds")
PACKAGES = ("numpy", "array-api-compat", "array-api-strict", "torch", "jax", "tensorflow", "tensorflow-cpu", "cupy")


def run_verify(
    backends: Sequence[str],
    *,
    device: str | None,
    properties: Sequence[str],
    examples: int,
    seed: int,
    strict: bool,
    console: Console,
) -> list[Verdict]:
    """Try the properties on every device of every backend; print a table for each, and what failed.

    Parameters
    ----------
    backends, properties : sequence of str
    device : {"cpu", "gpu", None}
    examples, seed : int
    strict : bool
        Whether a missing backend is an error.
    console : rich.console.Console

    Returns
    -------
    list of Verdict

    Raises
    ------
    ImportError
        If a backend or its device is missing, and ``strict``.
    """
    verdicts: list[Verdict] = []
    for backend in backends:
        try:
            places = [name for name in _devices(backend) if device in (None, kind_of(name))]
            if not places:
                raise ImportError(f"{backend} finds no {device} here")
        except ImportError as error:
            if strict:
                raise
            verdicts.append(Verdict(backend, "", "", None, None, 0, 0.0, str(error)))
            console.print(table_of(verdicts[-1:]))
            continue
        for place in places:
            framework = load_framework(backend, place)
            with console.status(f"{backend} on {place}"):
                found = list(verify_backend(framework, properties=properties, examples=examples, seed=seed))
            console.print(table_of(found))
            verdicts += found
    for failed in (v for v in verdicts if v.agrees is False):
        console.print(f"\n{failed.backend} on {failed.device}: {failed.property}", style="bold red")
        # A message may hold brackets that are no markup.
        console.print(failed.message, markup=False, highlight=False)
        console.print(f"again: {command_of(failed, examples, seed)}", markup=False, highlight=False)
    return verdicts


def kind_of(device: str) -> str:
    """Return whether a device is a "gpu" or, as the rest, a "cpu"."""
    return "gpu" if device.lower().startswith(("cuda", "gpu", "rocm", "metal", "mps")) else "cpu"


def command_of(verdict: Verdict, examples: int, seed: int) -> str:
    """Return the command that tries a property once more."""
    return (
        f"midas verify --backend {verdict.backend} --device {kind_of(verdict.device)} "
        f"--property '{verdict.property}' --examples {examples} --seed {seed}"
    )


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """Return a row for each verdict."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        # Fixed widths, so that the tables of all backends stand in line.
        width = {"backend": 16, "device": 10, "property": 18}.get(column)
        right = column in ("largest error", "examples", "seconds")
        table.add_column(column, justify="right" if right else "left", min_width=width, no_wrap=width is not None)
    table.add_column("")
    for v in verdicts:
        agrees = {True: "yes", False: "NO", None: "not tried"}[v.agrees]
        numbers = ("", "", "") if v.agrees is None else (_number(v.error), str(v.examples), f"{v.seconds:.1f}")
        style = {True: "green", False: "bold red", None: "dim"}[v.agrees]
        table.add_row(
            v.backend, v.device, v.property, agrees, *numbers, v.message if v.agrees is None else "", style=style
        )
    return table


def write_verdicts(verdicts: Sequence[Verdict], path: Path, *, examples: int, seed: int) -> None:
    """Write the verdicts, and with what they were found."""
    content = {
        "midas_core": midas_core.__version__,
        "platform": platform.platform(),
        "packages": package_versions(*PACKAGES),
        "examples": examples,
        "seed": seed,
        "verdicts": [asdict(v) for v in verdicts],
    }
    write_json(path, content)


def _devices(backend: str) -> list[str]:
    # Whether it is installed is found out first: its own import error says what to install.
    midas_core.load_backend(backend)
    found: list[str] = KINDS[backend].devices()
    return found


def _number(error: float | None) -> str:
    if error is None:
        return ""
    return "exact" if error == 0 else f"{error:.3f}"

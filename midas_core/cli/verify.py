"""The command ``midas verify``. Heavy modules are imported when it runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midas_core.cli._common import Failure, failing, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from midas_core.testing import Framework, PropertyResult

BACKENDS = ("numpy", "array_api_strict", "torch", "jax", "tensorflow", "cupy")
DEVICES = ("cpu", "gpu")
TEXTS = {"property": 18, "agrees": 9}
"""Columns of text and their widths: fixed, so that the tables of all backends stand in line."""
NUMBERS = {"largest error": 7, "examples": 8, "seconds": 7}
AGREES = {True: ("yes", "green"), False: ("NO", "bold red"), None: ("not tried", "dim")}
PACKAGES = ("numpy", "array-api-compat", "array-api-strict", "torch", "jax", "tensorflow", "tensorflow-cpu", "cupy")
QUICK, THOROUGH = 100, 200


@click.command()
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="Backend to check; repeatable.  [default: all that are installed]",
)
@click.option("--device", type=click.Choice(DEVICES), help="Kind of device.  [default: all that are available]")
@click.option(
    "--property", "properties", multiple=True, metavar="NAME", help="Property to check; repeatable.  [default: all]"
)
@click.option(
    "--thorough", is_flag=True, help="More examples, and any combination of options on JAX: about ten minutes."
)
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    help=f"Cases for each property.  [default: {QUICK}, {THOROUGH} with --thorough]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds draw equal cases.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the results to this file."
)
@click.pass_context
def verify(
    context: click.Context,
    backends: tuple[str, ...],
    device: str | None,
    properties: tuple[str, ...],
    thorough: bool,
    examples: int | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Check every backend against a reference implementation.

    Every backend gets the same random problems. The reference is the method in plain Python and shares no code with the
    library. Takes about two minutes; exits with 0 if all agree, 1 if not, 2 if the call was wrong.

    Example: midas verify --backend torch --device gpu
    """
    from midas_core.backends import require

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow reports oneDNN at every start otherwise.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with failing(ImportError):
        require("hypothesis", "Hypothesis", "verify")
        require("rich", "Rich", "verify")

    from midas_core.files import check_writable
    from midas_core.testing import PROPERTIES, PropertyResult, verify_backend

    unknown = [name for name in properties if name not in PROPERTIES]
    if unknown:
        raise click.UsageError(f"--property: expected one of {', '.join(PROPERTIES)}, got {unknown[0]!r}")
    options: dict[str, Any] = {
        "thorough": thorough,
        "examples": examples or (THOROUGH if thorough else QUICK),
        "seed": seed,
    }
    results: list[PropertyResult] = []
    with failing(ImportError, OSError):
        if json_file is not None:
            check_writable(json_file)
        console = make_console()
        try:
            for name in backends or BACKENDS:
                try:
                    frameworks = _frameworks_of(name, device)
                except ImportError as error:
                    if backends:
                        raise
                    results.append(PropertyResult(name, "", "", None, None, 0, 0.0, str(error)))
                    console.print(f"{name}: not tried, {error}\n", markup=False, highlight=False)
                    continue
                for framework in frameworks:
                    with console.status(f"{framework.name} on {framework.device}"):
                        rows = list(verify_backend(framework, properties=properties or PROPERTIES, **options))
                    results += rows
                    _print_results(rows, console)
        finally:
            # Also if the pipe of the output is closed.
            if json_file is not None and results:
                _write_results(results, json_file, options)
        for result in results:
            if result.agrees is False:
                _print_failure(result, console, options)
    if all(result.agrees is None for result in results):
        raise Failure("nothing could be tried")
    context.exit(1 if any(result.agrees is False for result in results) else 0)


def _frameworks_of(name: str, device: str | None) -> list[Framework]:
    """Return a backend on each of its devices of one kind; raise ``ImportError`` where there is none."""
    from midas_core.backends import load_backend
    from midas_core.testing import Framework

    backend = load_backend(name)
    devices = [x for x in backend.devices() if device in (None, _kind_of(x))]
    if not devices:
        raise ImportError(f"{name} finds no {device} here")
    return [Framework(backend, x) for x in devices]


def _kind_of(device: str) -> str:
    """Return "gpu" or "cpu", the kind of a device."""
    return "gpu" if device.lower().startswith(("cuda", "gpu", "rocm", "metal", "mps")) else "cpu"


def _print_results(results: Sequence[PropertyResult], console: Console) -> None:
    """Print a table of the results on one device, and why some properties were not tried."""
    from rich.table import Table

    place = f"{results[0].backend} on {results[0].device}"
    table = Table(box=None, pad_edge=False, title=place, title_justify="left", title_style="bold")
    for name, width in TEXTS.items():
        table.add_column(name, min_width=width, no_wrap=True)
    for name, width in NUMBERS.items():
        table.add_column(name, min_width=width, justify="right")
    for row in results:
        agrees, style = AGREES[row.agrees]
        numbers = [] if row.agrees is None else [_error_text(row.error), str(row.examples), f"{row.seconds:.1f}"]
        table.add_row(row.property, agrees, *numbers, style=style)
    console.print(table)
    for row in results:
        if row.agrees is None:
            console.print(f"{row.property}: {row.message}", style="dim", markup=False, highlight=False)
    console.print(f"{place}: {sum(row.seconds for row in results):.0f} s\n", highlight=False)


def _print_failure(result: PropertyResult, console: Console, options: dict[str, Any]) -> None:
    """Print the smallest case of a property that failed, and the command that repeats it."""
    console.print(f"\n{result.backend} on {result.device}: {result.property}", style="bold red")
    command = (
        f"midas verify --backend {result.backend} --device {_kind_of(result.device)} "
        f"--property '{result.property}' --examples {options['examples']} --seed {options['seed']}"
        f"{' --thorough' if options['thorough'] else ''}"
    )
    # Brackets in a message are not markup.
    console.print(f"{result.message}\nagain: {command}", markup=False, highlight=False)


def _write_results(results: Sequence[PropertyResult], path: Path, options: dict[str, Any]) -> None:
    """Write the results, with options and versions."""
    import midas_core
    from midas_core.files import package_versions, write_json

    content = {
        "midas_core": midas_core.__version__,
        "platform": platform.platform(),
        "packages": package_versions(*PACKAGES),
        **options,
        "results": [asdict(result) for result in results],
    }
    write_json(path, content)


def _error_text(error: float | None) -> str:
    if error is None:
        return ""
    return "exact" if error == 0 else f"{error:.3f}"

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
    from rich.table import Table

    from midas_core.testing import PropertyResult

BACKENDS = ("numpy", "array_api_strict", "torch", "jax", "tensorflow", "cupy")
DEVICES = ("cpu", "gpu")
COLUMNS = ("backend", "device", "property", "agrees", "largest error", "examples", "seconds")
WIDTHS = {"backend": 16, "device": 10, "property": 18, "agrees": 9, "largest error": 7, "examples": 8, "seconds": 7}
NARROW = 90
"""Terminal width below which backend and device go into the title of the table."""
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
    from midas_core.testing import PROPERTIES

    unknown = [name for name in properties if name not in PROPERTIES]
    if unknown:
        raise click.UsageError(f"--property: expected one of {', '.join(PROPERTIES)}, got {unknown[0]!r}")
    options: dict[str, Any] = {
        "thorough": thorough,
        "examples": examples or (THOROUGH if thorough else QUICK),
        "seed": seed,
    }
    with failing(ImportError, OSError):
        if json_file is not None:
            check_writable(json_file)
        results: list[PropertyResult] = []
        try:
            _try_backends(
                results,
                backends or BACKENDS,
                device,
                properties or tuple(PROPERTIES),
                options,
                strict=bool(backends),
                console=make_console(),
            )
        finally:
            # Also if the pipe of the output is closed.
            if json_file is not None and results:
                _write_results(results, json_file, options)
    if all(result.agrees is None for result in results):
        raise Failure("nothing could be tried")
    context.exit(1 if any(result.agrees is False for result in results) else 0)


def _try_backends(
    results: list[PropertyResult],
    backends: Sequence[str],
    device: str | None,
    properties: Sequence[str],
    options: dict[str, Any],
    *,
    strict: bool,
    console: Console,
) -> None:
    """Try the properties on every device of every backend, append to ``results``, and print tables and failures.

    ``strict`` makes a missing backend an error.
    """
    from midas_core.backends import load_backend
    from midas_core.testing import Framework, PropertyResult, verify_backend

    for backend in backends:
        try:
            loaded = load_backend(backend)
            devices = [name for name in loaded.devices() if device in (None, _kind_of(name))]
            if not devices:
                raise ImportError(f"{backend} finds no {device} here")
        except ImportError as error:
            if strict:
                raise
            results.append(PropertyResult(backend, "", "", None, None, 0, 0.0, str(error)))
            console.print(_table_of(results[-1:], console.width))
            continue
        for name in devices:
            with console.status(f"{backend} on {name}"):
                rows = list(verify_backend(Framework(loaded, name), properties=properties, **options))
            results += rows
            console.print(_table_of(rows, console.width))
            console.print(f"{backend} on {name}: {sum(row.seconds for row in rows):.0f} s\n", highlight=False)
    for failed in (result for result in results if result.agrees is False):
        console.print(f"\n{failed.backend} on {failed.device}: {failed.property}", style="bold red")
        # Brackets in a message are not markup.
        console.print(failed.message, markup=False, highlight=False)
        console.print(f"again: {_command_of(failed, options)}", markup=False, highlight=False)


def _kind_of(device: str) -> str:
    """Return "gpu" or "cpu", the kind of a device."""
    return "gpu" if device.lower().startswith(("cuda", "gpu", "rocm", "metal", "mps")) else "cpu"


def _command_of(result: PropertyResult, options: dict[str, Any]) -> str:
    """Return the command that repeats a property."""
    return (
        f"midas verify --backend {result.backend} --device {_kind_of(result.device)} "
        f"--property '{result.property}' --examples {options['examples']} --seed {options['seed']}"
        f"{' --thorough' if options['thorough'] else ''}"
    )


def _table_of(results: Sequence[PropertyResult], width: int) -> Table:
    """Return a table of the results on one device, with backend and device in the title of a narrow one."""
    from rich.table import Table
    from rich.text import Text

    where = ("backend", "device")
    narrow = width < NARROW
    title = " on ".join(filter(None, (results[0].backend, results[0].device)))
    table = Table(box=None, pad_edge=False, title=title if narrow else None, title_justify="left", title_style="bold")
    for column in COLUMNS[len(where) :] if narrow else COLUMNS:
        # Fixed widths, so that the tables of all backends stand in line.
        least = WIDTHS.get(column)
        right = column in ("largest error", "examples", "seconds")
        table.add_column(column, justify="right" if right else "left", min_width=least, no_wrap=not right)
    if not narrow:
        table.add_column("")
    for row in results:
        agrees = {True: "yes", False: "NO", None: "not tried"}[row.agrees]
        numbers = [_number(row.error), str(row.examples), f"{row.seconds:.1f}", ""]
        cells = ["", "", "", row.message] if row.agrees is None else numbers
        cells = cells[:3] if narrow else cells
        style = {True: "green", False: "bold red", None: "dim"}[row.agrees]
        place = [] if narrow else [row.backend, row.device]
        table.add_row(*place, row.property, agrees, *cells, style=style)
    if narrow:
        table.caption = Text("\n".join(f"{x.property or x.backend}: {x.message}" for x in results if x.agrees is None))
        table.caption_justify = "left"
    return table


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


def _number(error: float | None) -> str:
    if error is None:
        return ""
    return "exact" if error == 0 else f"{error:.3f}"

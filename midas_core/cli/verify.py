"""The command ``midas verify``. What is heavy is imported when it runs."""

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
"""Columns of a terminal, below which the table goes without backend and device."""
PACKAGES = ("numpy", "array-api-compat", "array-api-strict", "torch", "jax", "tensorflow", "tensorflow-cpu", "cupy")
QUICK, THOROUGH = 100, 200


@click.command()
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="Try this one; may be given again.  [default: all that are installed]",
)
@click.option("--device", type=click.Choice(DEVICES), help="Try these devices alone.  [default: all that are found]")
@click.option(
    "--property", "properties", multiple=True, metavar="NAME", help="Try this one; may be given again.  [default: all]"
)
@click.option("--thorough", is_flag=True, help="More examples, and options of every kind on JAX too: some ten minutes.")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    help=f"Of each property.  [default: {QUICK}, {THOROUGH} with --thorough]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed tries the same examples."
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every number here too."
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
    """Try on every backend what has to hold on all of them.

    Random problems, drawn once and given to each backend; the judge is the method written once more in plain Python.
    Ends with status 0 if all that was tried agrees, 1 if something does not, 2 if the call was wrong.
    """
    from midas_core.backends import require

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Else TensorFlow says so at every start. Nothing here is anything that oneDNN computes.
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
                # What is asked for by name has to be there.
                strict=bool(backends),
                console=make_console(),
            )
        finally:
            # Also where the reader of the tables has gone away.
            if json_file is not None and results:
                _write_results(results, json_file, options)
    if all(each.agrees is None for each in results):
        raise Failure("nothing could be tried")
    context.exit(0 if all(each.agrees is not False for each in results) else 1)


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
    """Try the properties on every device of every backend; print a table for each, and what failed.

    ``results`` is filled as they come, before they are printed.

    ``strict`` says whether a missing backend is an error.
    """
    from midas_core.testing import PropertyResult, load_framework, verify_backend

    for backend in backends:
        try:
            places = [name for name in _devices(backend) if device in (None, _kind_of(name))]
            if not places:
                raise ImportError(f"{backend} finds no {device} here")
        except ImportError as error:
            if strict:
                raise
            results.append(PropertyResult(backend, "", "", None, None, 0, 0.0, str(error)))
            console.print(_table_of(results[-1:], console.width))
            continue
        for place in places:
            framework = load_framework(backend, place)
            with console.status(f"{backend} on {place}"):
                found = list(verify_backend(framework, properties=properties, **options))
            results += found
            console.print(_table_of(found, console.width))
            console.print(f"{backend} on {place}: {sum(each.seconds for each in found):.0f} s\n", highlight=False)
    for failed in (each for each in results if each.agrees is False):
        console.print(f"\n{failed.backend} on {failed.device}: {failed.property}", style="bold red")
        # A message may hold brackets that are no markup.
        console.print(failed.message, markup=False, highlight=False)
        console.print(f"again: {_command_of(failed, options)}", markup=False, highlight=False)


def _kind_of(device: str) -> str:
    """Return whether a device is a "gpu" or, as the rest, a "cpu"."""
    return "gpu" if device.lower().startswith(("cuda", "gpu", "rocm", "metal", "mps")) else "cpu"


def _command_of(result: PropertyResult, options: dict[str, Any]) -> str:
    """Return the command that tries a property once more."""
    return (
        f"midas verify --backend {result.backend} --device {_kind_of(result.device)} "
        f"--property '{result.property}' --examples {options['examples']} --seed {options['seed']}"
        f"{' --thorough' if options['thorough'] else ''}"
    )


def _table_of(results: Sequence[PropertyResult], width: int) -> Table:
    """Return a row for each result of one device; where it is narrow, backend and device stand above."""
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
    for each in results:
        agrees = {True: "yes", False: "NO", None: "not tried"}[each.agrees]
        numbers = [_number(each.error), str(each.examples), f"{each.seconds:.1f}", ""]
        cells = ["", "", "", each.message] if each.agrees is None else numbers
        cells = cells[:3] if narrow else cells
        style = {True: "green", False: "bold red", None: "dim"}[each.agrees]
        place = [] if narrow else [each.backend, each.device]
        table.add_row(*place, each.property, agrees, *cells, style=style)
    if narrow:
        # There is no room for a column of them.
        table.caption = Text("\n".join(f"{x.property or x.backend}: {x.message}" for x in results if x.agrees is None))
        table.caption_justify = "left"
    return table


def _write_results(results: Sequence[PropertyResult], path: Path, options: dict[str, Any]) -> None:
    """Write the results, and with what they were found."""
    import midas_core
    from midas_core.files import package_versions, write_json

    content = {
        "midas_core": midas_core.__version__,
        "platform": platform.platform(),
        "packages": package_versions(*PACKAGES),
        **options,
        "results": [asdict(each) for each in results],
    }
    write_json(path, content)


def _devices(backend: str) -> list[str]:
    import midas_core
    from midas_core.testing.frameworks import KINDS

    # Whether it is installed is found out first: its own import error says what to install.
    midas_core.backends.load_backend(backend)
    found: list[str] = KINDS[backend].devices()
    return found


def _number(error: float | None) -> str:
    if error is None:
        return ""
    return "exact" if error == 0 else f"{error:.3f}"

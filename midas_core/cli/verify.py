"""The command ``midas verify``. What is heavy is imported when it runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from midas_core.cli._common import Failure, failing, make_console

BACKENDS = ("numpy", "array_api_strict", "torch", "jax", "tensorflow", "cupy")
DEVICES = ("cpu", "gpu")


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
@click.option("--examples", type=click.IntRange(min=1), default=200, show_default=True, help="Of each property.")
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
    examples: int,
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

    from midas_core.runs.files import check_writable
    from midas_core.testing import PROPERTIES
    from midas_core.testing.over_backends import run_verify, write_verdicts

    unknown = [name for name in properties if name not in PROPERTIES]
    if unknown:
        raise click.UsageError(f"--property: expected one of {', '.join(PROPERTIES)}, got {unknown[0]!r}")
    console = make_console()
    with failing(ImportError, OSError):
        if json_file is not None:
            check_writable(json_file)
        verdicts = run_verify(
            backends or BACKENDS,
            device=device,
            properties=properties or tuple(PROPERTIES),
            examples=examples,
            seed=seed,
            # What is asked for by name has to be there.
            strict=bool(backends),
            console=console,
        )
        if json_file is not None:
            write_verdicts(verdicts, json_file, examples=examples, seed=seed)
    if not any(v.agrees is not None for v in verdicts):
        raise Failure("nothing could be tried")
    context.exit(0 if all(v.agrees is not False for v in verdicts) else 1)

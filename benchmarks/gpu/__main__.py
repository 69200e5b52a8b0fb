"""``python -m benchmarks.gpu``: all that has to be seen on a GPU, within 15 minutes of a lent one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from midas_core.cli._common import Failure

MINUTES = {1: 4.0, 2: 5.0, 3: 3.0}
"""After which a part begins nothing more; three minutes stay for the start of the machine and transfers."""


@click.command()
@click.option(
    "--part",
    type=click.IntRange(1, 3),
    required=True,
    help="1 correctness (4 minutes), 2 speed (5 minutes), 3 training (3 minutes).",
)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the results."
)
@click.option("--minutes", type=float, help="Nothing is begun after so many.  [default: those of the part]")
@click.option("--dry-run", is_flag=True, help="Everything in little on the CPU: shows that it runs.")
@click.pass_context
def gpu(context: click.Context, part: int, output: Path, minutes: float | None, dry_run: bool) -> None:
    """Run a part and save its results as they come, in part-1.json and so on.

    Called again it goes on: what is there is not done again. Ends with status 1 if something failed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # JAX would take three quarters of the memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    import torch

    from benchmarks.gpu import correctness, speed, training
    from benchmarks.gpu.place import Place
    from benchmarks.gpu.record import Record

    if not dry_run and not torch.cuda.is_available():
        raise Failure("PyTorch finds no CUDA device here; --dry-run shows that everything runs")
    place = Place(dry=dry_run)
    record = Record(
        output / f"part-{part}{'-dry' * dry_run}.json", 60 * (MINUTES[part] if minutes is None else minutes), click.echo
    )
    record.take("machine", place.describe)
    if part == 1:
        correctness.run(record, place)
    elif part == 2:
        speed.run(record, place)
    else:
        training.run(record, place)
    click.echo(f"{len(record.results) - len(record.failed)} done, {len(record.failed)} failed: {record.path}")
    context.exit(1 if record.failed else 0)


if __name__ == "__main__":
    gpu(prog_name="python -m benchmarks.gpu")

"""``python -m benchmarks``: what a step costs. What is heavy is imported when it runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchmarks.registry import SECTIONS
from midas_core.cli._common import Failure, make_console


@click.command()
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What to measure on."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads on the CPU.")
@click.option(
    "--only",
    type=click.Choice(list(SECTIONS)),
    multiple=True,
    help="Measure this section alone; may be given again.  [default: all that fit the device]",
)
@click.option("--quick", is_flag=True, help="Tiny sizes, two rounds: shows that it runs, proves nothing.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every number here too."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/bench"),
    show_default=True,
    help="Folder for the figure.",
)
def bench(device: str, threads: int, only: tuple[str, ...], quick: bool, json_file: Path | None, output: Path) -> None:
    """Measure what MIDAS costs, side by side with what it is compared to.

    Times are taken in turn, in one run, on random data. A ratio is one of medians; the quartiles are those of the
    single rounds.
    """
    from midas_core.backends import require

    misplaced = [name for name in only if device not in SECTIONS[name].devices]
    if misplaced:
        other = SECTIONS[misplaced[0]].devices[0]
        raise click.UsageError(f"--only {misplaced[0]} needs --device {other}")
    _quieten(threads)
    try:
        for module, package in (("torch", "PyTorch"), ("rich", "Rich")):
            require(module, package, "bench")
    except ImportError as error:
        raise Failure(str(error)) from error

    import torch

    from benchmarks.run import run_bench
    from midas_core.files import check_writable, write_json

    if device == "cuda" and not torch.cuda.is_available():
        raise Failure("--device cuda: PyTorch finds no CUDA device here")
    console = make_console(140)
    try:
        if json_file is not None:
            check_writable(json_file)
        content = run_bench(only, device=device, thread_count=threads, quick=quick, output=output, console=console)
        if json_file is not None:
            write_json(json_file, content)
    except (ImportError, OSError) as error:
        raise Failure(str(error)) from error


def _quieten(threads: int) -> None:
    """Set what the frameworks read when they are imported: their threads, and that they log nothing."""
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Else it says so at every start. No section of TensorFlow has anything for oneDNN to do.
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "KINETO_LOG_LEVEL": "99",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")

"""``python -m benchmarks.paper``: one of the paper's experiments, on a folder of the user."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.paper.cache import Cache, describe, prepare
from benchmarks.paper.experiments import EXPERIMENTS
from benchmarks.paper.listing import Listing
from benchmarks.paper.splits import split
from midas_core import __version__
from midas_core.cli._common import failing, make_console
from midas_core.data import DataError
from midas_core.files import check_writable, package_versions, parse_json, read_text, write_json

MOST = 2**24
"""Bytes of the file of a finished run."""
FOLDER = click.Path(file_okay=False, path_type=Path)


def option(name: str, kind: Any, default: Any, text: str, *more: str) -> Any:
    """Return an option that shows its default, where it has one."""
    return click.option(name, *more, type=kind, default=default, show_default=default is not None, help=text)


@click.command()
@click.argument("data", type=click.Choice(list(EXPERIMENTS)))
@click.argument("root", type=FOLDER)
@option("--methods", str, "joint,MIDAS", "Names with commas between.")
@option("--seeds", click.IntRange(min=1), 1, "How many.")
@option("--epochs", click.IntRange(min=0), None, "Instead of the paper's; learning rate and warm-up follow.")
@option("--split", click.Choice(["paper", "leak-free"]), "paper", "Of samples, or of actors, scenes, images.", "kind")
@option("--damaged", click.Choice(["refuse", "skip"]), "refuse", "About samples whose files cannot be read.")
@option("--cache", FOLDER, Path("runs/cache"), "Folder of decoded files.")
@option("--encoders", click.Choice(["paper", "tiny"]), "paper", "Tiny ones try a folder out.")
@option("--workers", click.IntRange(min=0), 4, "Processes that load the data, for each that trains.")
@option("--output", FOLDER, Path("runs/paper"), "Folder of checkpoints and results. Goes on with what is in it.")
@option(
    "--features",
    click.Path(dir_okay=False, path_type=Path),
    None,
    "File for the features of the encoders (last method, seed 0), for midas compare.",
)
@click.pass_context
def paper(
    context: click.Context, /, data: str, root: Path, methods: str, features: Path | None, output: Path, **options: Any
) -> None:
    """Train on a data set of the paper, with its encoders and settings, by MidasLoss in a plain loop.

    DATA is the name of the data set, ROOT its folder. Several GPUs: the same under torchrun or accelerate launch.
    """
    with failing(ImportError):
        from benchmarks.paper.training import METHODS
    chosen = [name.strip() for name in methods.split(",")]
    for name in chosen:
        if name not in METHODS:
            raise click.UsageError(f"--methods: expected one of {', '.join(METHODS)}, got {name!r}")
    try:
        with failing(DataError, ImportError, OSError):
            if features is not None:
                check_writable(features)
            _run(data, root, chosen, features, output, **options)
    except KeyboardInterrupt:
        click.echo(f"Stopped. The same command goes on with what is finished in {output}.", err=True)
        context.exit(130)


def _run(
    data: str,
    root: Path,
    methods: list[str],
    features: Path | None,
    output: Path,
    *,
    seeds: int,
    epochs: int | None,
    kind: str,
    damaged: str,
    cache: Path,
    encoders: str,
    workers: int,
) -> None:
    """Decode the files, train every method with every seed, write and print the results."""
    from rich.progress import Progress
    from rich.table import Table

    from benchmarks.paper.encoders import SIZES, shrink
    from benchmarks.paper.training import Plan, Training, make_accelerator, write_features

    accelerator, kept, experiment = make_accelerator(), Cache(cache), EXPERIMENTS[data]
    decoders, main = shrink(experiment.decoders, SIZES[encoders]), accelerator.is_main_process
    console, runs = make_console(stderr=True), []
    console.quiet = not main
    made_by = {"midas_core": __version__, "data": data, "split": kind, "encoders": encoders}
    with accelerator.main_process_first():
        _check_folder(output, made_by)
        listing = experiment.read(root)
        with Progress(console=console) as progress:
            bar = progress.add_task("decoding", total=None)
            listing = prepare(
                listing,
                decoders,
                kept,
                damaged=damaged,
                jobs=max(1, workers),
                report=lambda done, total: progress.update(bar, completed=done, total=total),
            )
    _tell(console, listing, experiment.classes)
    plans = [
        (Plan.of(experiment, method, seed, epochs, encoders, splits), splits)
        for seed in range(seeds)
        for splits in [split(listing, kind, seed)]
        for method in methods
    ]
    with Progress(console=console) as progress:
        bar = progress.add_task("", total=sum(plan.epochs for plan, _ in plans))
        for plan, splits in plans:
            progress.update(bar, description=f"{data}, {plan.method}, seed {plan.seed}")
            training = Training(splits, decoders, len(listing.classes), kept, plan, make_accelerator(), workers)
            result = training.run(output / f"{plan.method}-{plan.seed}", lambda: progress.advance(bar))
            runs.append({**asdict(plan), **result})
            if features is not None and plan.seed == 0 and plan.method == methods[-1]:
                write_features(features, training, list(decoders), listing.classes, splits)
    if not main:
        return
    versions = package_versions("torch", "transformers", "accelerate", "av")
    problems = [problem._asdict() for problem in listing.problems]
    write_json(
        output / "results.json",
        {**made_by, "versions": versions, "classes": listing.classes, "problems": problems, "runs": runs},
    )
    table = Table("method", "seed", "accuracy", "macro-F1", title=f"{experiment.title}, test data")
    for run in runs:
        table.add_row(run["method"], str(run["seed"]), f"{100 * run['accuracy']:.1f}", f"{100 * run['macro_f1']:.1f}")
    make_console().print(table)


def _check_folder(output: Path, made_by: dict[str, Any]) -> None:
    """Refuse a folder of other runs; mark a new one."""
    about = output / "paper.json"
    if not about.exists():
        write_json(about, made_by)
    try:
        before = parse_json(read_text(about, MOST))
    except ValueError as error:
        raise DataError(f"{about}: expected the settings of a run, got {error}") from error
    if before != made_by:
        raise DataError(f"{output}: expected runs of {made_by}, got {before}; choose another --output")


def _tell(console: Any, listing: Listing, classes: int) -> None:
    """Print what the user should know of the data."""
    if listing.problems:
        console.print(f"Skipped, {len(listing.problems)} problems: {describe(listing.problems)}", markup=False)
    if listing.note:
        console.print(listing.note, markup=False)
    if len(listing.classes) != classes:
        console.print(f"{len(listing.classes)} classes; the paper has {classes}", markup=False)


if __name__ == "__main__":
    paper(prog_name="python -m benchmarks.paper")

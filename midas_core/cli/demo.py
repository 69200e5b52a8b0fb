"""The command ``midas demo``. What is heavy is imported when it runs."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from importlib import import_module
from pathlib import Path

import click

from midas_core.cli._common import Failure, failing, make_console

DATA = (
    "digits",
    "av-digits",
    "limits",
    "halves",
    "wide-left",
    "two-sensors",
    "scaled-sensors",
    "noisy-views",
    "breast-cancer",
    "av-clean",
    "av-noisy",
)


TASKS = """\b
What --data can name, groups and their tasks:
digits      halves: the left and the right half of a digit
            wide-left: the left half wide, noisy and easily memorised
limits      breast-cancer: three groups of features, nothing imbalanced
            noisy-views: two views with the same noise
            two-sensors: a coarse clean and a fine noisy sensor
            scaled-sensors: the same, the noisy one scaled down by hand
av-digits   av-clean: spoken and written digits, 500 pairs
            av-noisy: the same with noisy images, 2000 pairs
"""


@click.command(epilog=TASKS)
@click.option(
    "--data",
    type=click.Choice(DATA),
    default="digits",
    show_default=True,
    metavar="NAME",
    help="What to train on: a group of tasks or one task, see below.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of the spoken digits, with recordings/{digit}_{speaker}_{index}.wav in it, for av-digits.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds.  [default: 5]")
@click.option("--epochs", type=click.IntRange(min=1), help="The same for every method.  [default: the task's own]")
@click.option("--quick", is_flag=True, help="2 seeds, 6 epochs: shows that it runs, proves nothing.")
@click.option("--tune", is_flag=True, help="Search learning rates and strengths on validation data instead.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for figures, numbers, run folders and reports.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write every number here too."
)
@click.option(
    "--framework",
    type=click.Choice(["torch", "keras"]),
    default="torch",
    show_default=True,
    help="What trains; keras on the backend that KERAS_BACKEND names, with the settings tuned for torch.",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes that train.")
@click.option("--resume", is_flag=True, help="Take over what an earlier call has finished in the output folder.")
@click.pass_context
def demo(
    context: click.Context,
    data: str,
    root: Path | None,
    seeds: int | None,
    epochs: int | None,
    quick: bool,
    tune: bool,
    output: Path,
    json_file: Path | None,
    framework: str,
    workers: int,
    resume: bool,
) -> None:
    """Train the usual ways and MIDAS on real data, and compare.

    Each modality alone, late fusion, joint training, with unimodal losses, with modality dropout, and MIDAS, all with
    the same encoders, epochs and batches. Nothing is downloaded.
    """
    from midas_core.backends import require

    with failing(ImportError):
        for module, package in (
            ("torch", "PyTorch"),
            ("sklearn", "scikit-learn"),
            ("matplotlib", "Matplotlib"),
            ("jinja2", "Jinja2"),
            ("rich", "Rich"),
        ):
            require(module, package, "demo")
        if data.startswith("av-"):
            require("librosa", "librosa", "audio")
            require("soundfile", "soundfile", "audio")
        if framework == "keras":
            import_module("midas_core.adapters.keras")
    if tune and (resume or framework != "torch"):
        raise click.UsageError("--tune goes with --framework torch and without --resume")
    if data.startswith("av-") and root is None:
        raise click.UsageError(
            f"--data {data} needs --root FOLDER, with recordings/{{digit}}_{{speaker}}_{{index}}.wav in it"
        )

    from midas_core.data import DataError
    from midas_core.demo.demo import DemoOptions, InterruptedDemoError, run_demo, run_tuning
    from midas_core.demo.settings import DEFAULT_SEEDS, QUICK_EPOCHS, QUICK_SEEDS
    from midas_core.demo.tasks import GROUPS

    options = DemoOptions(
        data=GROUPS.get(data, (data,)),
        root=root,
        seeds=seeds or (QUICK_SEEDS if quick else DEFAULT_SEEDS),
        epochs=epochs or (QUICK_EPOCHS if quick else None),
        workers=1 if quick else workers,
        output=output,
        json=json_file,
        framework=framework,
        resume=resume,
    )
    try:
        with failing(DataError, OSError):
            # The progress goes where no pipe takes it.
            (run_tuning if tune else run_demo)(options, make_console(), make_console(stderr=True))
    except InterruptedDemoError as stopped:
        click.echo(str(stopped), err=True)
        context.exit(130)
    except BrokenExecutor as error:
        raise Failure(
            "a worker process died, maybe for want of memory: try --workers 1 --resume, which keeps what is finished"
        ) from error

"""The command ``midas compare``. What is heavy is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from midas_core.cli._common import make_console
from midas_core.cli._comparison import FOLDER, JOBS, JSON, comparing, duration, following, show, tell

EPILOG = """\b
Example:
  python -c "import numpy as np; np.savez('features.npz', audio=audio, text=text, labels=labels)"
  midas compare features.npz

How long it takes is said before it starts: on two cores two to three minutes for 5,000 samples with two modalities of
512 numbers. What is finished is kept: after Ctrl-C or a crash the same command goes on.
"""


@click.command(epilog=EPILOG)
@click.argument("features", required=False, type=click.Path(path_type=Path))
@click.option(
    "--labels", type=click.Path(path_type=Path), help="A .npy file, or a text file with one label on each line."
)
@click.option(
    "--methods",
    default="default",
    show_default=True,
    metavar="default|all|A,B,...",
    help="Each modality alone and joint training always take part.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of each method that are reported.  [default: 8 or 10]")
@click.option(
    "--output",
    type=FOLDER,
    help="Folder for results.json, figure, report and what is finished.  [default: runs/compare/NAME]",
)
@JSON
@JOBS
@click.option(
    "--missing",
    type=click.Choice(["refuse", "zero", "drop"]),
    default="refuse",
    show_default=True,
    help="NaN and infinite features: refuse them, count them as the mean of their column, or drop the samples.",
)
@click.option("--suite", is_flag=True, help="Run the tasks of the documentation instead, which takes hours.")
@click.option(
    "--root",
    type=FOLDER,
    help="For --suite: folder with natural/*.npz and fsdd/recordings.  [default: only tasks that need no file]",
)
@click.pass_context
def compare(
    context: click.Context,
    /,
    features: Path | None,
    labels: Path | None,
    missing: Any,
    suite: bool,
    root: Path | None,
    output: Path | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Find out which method helps on your data, and whether a modality is ignored.

    FEATURES is a .npz file with an array (N, D) or (N, T, D) for each modality and labels (N,); a folder of .npy files
    of these names; or a .csv file with columns such as audio_0, audio_1, text_0, labels. Optional: groups (N,), such as
    people, who are never split, and fold (N,): 0 for training, 1 for validation, 2 for the test.
    """
    if (features is None) != suite:
        raise click.UsageError("expected FEATURES or --suite" + (", got both" if suite else ""))
    if root is not None and not suite:
        raise click.UsageError("--root is for --suite")
    output = output or Path("runs/compare") / ("suite" if features is None else features.stem)
    with comparing(context, output, json_file):
        if features is None:
            _run_suite(root, output, options)
        else:
            _run(features, labels, missing, output, options)


def _run(path: Path, labels: Path | None, missing: Any, output: Path, options: dict[str, Any]) -> None:
    """Read the features, compare the methods on them, and show the results."""
    from midas_core.compare.comparison import compare_methods, make_plan, open_store
    from midas_core.compare.reading import read_features
    from midas_core.compare.search import estimate_seconds

    err = make_console(stderr=True)
    with err.status("Reading the features"):
        features = read_features(path, labels, missing)
        plan = make_plan(features, options["methods"], options["seeds"])
    splits = plan.source.splits
    tested = "fold 2" if features.fold is not None else f"{splits} parts in turn" if splits > 1 else "one fifth"
    tell(err, [f"{features}; tested on {tested}"])
    with err.status("Estimating the time"):
        seconds = estimate_seconds(plan, open_store(features, output), options["jobs"])
    expected = f"about {duration(seconds)}" if seconds else f"finished before, in {output}"
    tell(err, [f"{len(plan.methods)} methods, {plan.seeds} runs of each: {expected}"])
    with following(err) as follow:
        result = compare_methods(features, output=output, progress=follow, **options)
    show(result, output, make_console())


def _run_suite(root: Path | None, output: Path, options: dict[str, Any]) -> None:
    """Run the tasks of the documentation, and print the answer to each."""
    from midas_core.compare.result import MethodComparison
    from midas_core.compare.suite import run_suite

    out = make_console()
    with following(make_console(stderr=True)) as follow:
        results = run_suite(output, root, progress=follow, **options)
    for name, content in results.items():
        result = MethodComparison(content)
        tell(out, ["", f"{name}: {content['title']}", result.sentences()[0]])
        out.print(result.table(), highlight=False)

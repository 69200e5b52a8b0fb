"""The command ``midas compare``. What is heavy is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midas_core.cli._common import make_console
from midas_core.cli._comparison import (
    CORES,
    check_outputs,
    duration,
    ending_early,
    following,
    require_all,
    show,
    tell,
)

if TYPE_CHECKING:
    from rich.console import Console

    from midas_core.compare.reading import FeatureSet

EPILOG = """\b
Example:
  python -c "import numpy as np; np.savez('features.npz', audio=audio, text=text, labels=labels)"
  midas compare features.npz

How long it takes is said before it starts: on two cores about five minutes for 5,000 samples with two modalities of
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
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for results.json, figure, report and what is finished.  [default: runs/compare/NAME]",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write results.json here too."
)
@click.option("--jobs", type=click.IntRange(min=1), default=CORES, help="Processes that train.  [default: all cores]")
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
    type=click.Path(file_okay=False, path_type=Path),
    help="For --suite: folder with natural/*.npz and fsdd/recordings.  [default: only tasks that need no file]",
)
@click.pass_context
def compare(
    context: click.Context,
    /,
    features: Path | None,
    labels: Path | None,
    missing: str,
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
    require_all()
    output = output or Path("runs/compare") / ("suite" if features is None else features.stem)
    with ending_early(context, output):
        check_outputs(output, json_file)
        out, err = make_console(), make_console(stderr=True)
        if features is None:
            _run_suite(root, output, json_file, out, err, **options)
        else:
            _run(features, labels, missing, output, json_file, out, err, **options)


def _run(
    path: Path,
    labels: Path | None,
    missing: Any,
    output: Path,
    json_file: Path | None,
    out: Console,
    err: Console,
    *,
    methods: str,
    seeds: int | None,
    jobs: int,
) -> None:
    """Read the features, compare the methods on them, show and keep the results."""
    from midas_core.compare.comparison import compare_methods, make_plan, open_store
    from midas_core.compare.reading import read_features
    from midas_core.compare.search import estimate_seconds
    from midas_core.files import write_whole

    with err.status("Reading the features"):
        features = read_features(path, labels, missing)
        plan = make_plan(features, methods, seeds)
    tell(err, [_about(features, plan.source.splits)])
    with err.status("Estimating the time"):
        seconds = estimate_seconds(plan, open_store(features, output), jobs)
    expected = f"about {duration(seconds)}" if seconds else f"finished before, in {output}"
    tell(err, [f"{len(plan.methods)} methods, {plan.seeds} runs of each: {expected}"])
    with following(err) as follow:
        result = compare_methods(features, methods=methods, seeds=seeds, output=output, jobs=jobs, progress=follow)
    if json_file is not None:
        write_whole(json_file, result.to_json().encode())
    show(result, output, out)
    tell(out, [f"Every number: {output / 'results.json'}"])


def _about(features: FeatureSet, splits: int) -> str:
    """Return the size of the data, and which samples are tested."""
    widths = ", ".join(f"{name} {x.shape[1]}" for name, x in features.inputs.items())
    tested = "fold 2" if features.fold is not None else f"{splits} different fifths" if splits > 1 else "one fifth"
    groups = "" if features.groups is None else f", {len(set(features.groups.tolist()))} groups"
    return (
        f"{len(features):,} samples{groups}, {len(features.class_names)} classes; features: {widths}; "
        f"tested on {tested} of the samples"
    )


def _run_suite(
    root: Path | None,
    output: Path,
    json_file: Path | None,
    out: Console,
    err: Console,
    *,
    methods: str,
    seeds: int | None,
    jobs: int,
) -> None:
    """Run the tasks of the documentation, print what each says, and keep the results."""
    from midas_core.compare.result import MethodComparison
    from midas_core.compare.suite import run_suite
    from midas_core.compare.tables import kept
    from midas_core.files import write_json

    with following(err) as follow:
        results = run_suite(output, root, methods=methods, seeds=seeds, jobs=jobs, progress=follow)
    for file in [output / "results.json", *([] if json_file is None else [json_file])]:
        write_json(file, kept(results))
    for name, content in results.items():
        result = MethodComparison(content)
        tell(out, ["", f"{name}: {content['title']}", result.sentences()[0]])
        out.print(result.table(), highlight=False)
    tell(out, [f"Every number: {output / 'results.json'}"])

"""``python -m benchmarks.robustness``: whether the comparison holds with other heads, optimizers and lengths.

Four tasks on which no choice of a method was made, four methods; everything else as in ``midas compare --suite``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import click

from benchmarks.suite_tables import Rows, SuiteResults
from midas_core.cli._common import make_console
from midas_core.cli._comparison import following
from midas_core.compare import suite
from midas_core.compare.result import BASELINE
from midas_core.compare.stack import Network
from midas_core.compare.statistics import estimate
from midas_core.compare.training import Recipe
from midas_core.files import write_whole

TASKS = ("utd-skeleton-inertial", "halves", "breast-cancer", "spoken-digits")
METHODS = ("joint", "joint + label smoothing", "MIDAS", "MIDAS (eta 0) + finish")
SEEDS = 8
FINISH = METHODS[-1]
VARIANTS = ("deeper head", "SGD", "3 times the epochs")


def vary(recipe: Recipe, variant: str) -> Recipe:
    """Return a recipe with one thing changed."""
    if variant == "deeper head":
        return replace(recipe, network=Network(head=64))
    if variant == "SGD":
        return replace(recipe, optimizer="sgd", learning_rates=(5e-3, 2e-1))
    return replace(recipe, epochs=3 * recipe.epochs)


def variant_rows(results: SuiteResults) -> Rows:
    """Return the accuracy of joint training, and what the other methods add to it: a row for each variant and task."""
    pairs = [*((title, BASELINE) for title in METHODS[1:]), (FINISH, "MIDAS")]
    table = [["variant", "task", BASELINE, *(f"{title} - {other}" for title, other in pairs)]]
    for variant in VARIANTS:
        tasks = {name: task for name, task in results.tasks().items() if name.endswith(f", {variant}")}
        for name, task in tasks.items():
            gains = [task.difference(*pair).signed for pair in pairs]
            table.append([variant, name.removesuffix(f", {variant}"), str(task.accuracies[BASELINE]), *gains])
        means = [estimate([task.difference(*pair).mean for task in tasks.values()]).signed for pair in pairs]
        table.append([variant, "mean", f"{fmean(task.mean(BASELINE) for task in tasks.values()):.1f}", *means])
    return table


@click.command()
@click.option(
    "--root", type=click.Path(exists=True, path_type=Path), required=True, help="As for midas compare --suite."
)
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/robustness"), show_default=True)
@click.option(
    "--json", "file", type=click.Path(path_type=Path), default=Path("benchmarks/robustness.json"), show_default=True
)
def main(root: Path, output: Path, file: Path) -> None:
    """Train what OUTPUT lacks, and write the results."""
    varied = {
        f"{name}, {variant}": replace(suite.TASKS[name], recipe=vary(suite.TASKS[name].recipe, variant))
        for variant in VARIANTS
        for name in TASKS
    }
    suite.TASKS = varied
    with following(make_console(stderr=True)) as follow:
        suite.run_suite(output, root, methods=METHODS, seeds=SEEDS, progress=follow)
    write_whole(file, (output / "results.json").read_bytes())


if __name__ == "__main__":
    main()

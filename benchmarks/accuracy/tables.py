"""The tables of a comparison: as Markdown for the docs, and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from rich.table import Table

from benchmarks.accuracy.ranks import Ranks, rank
from midas_core.demo.summary import Spread

Results = Mapping[str, Any]
Rows = list[list[str]]
"""The first row holds the headings."""

MINUS = ("MIDAS", "joint")
"""The methods that the others are compared with, seed by seed."""


def values(task: Mapping[str, Any], method: str, read: Callable[[dict[str, Any]], Any]) -> list[float]:
    """Return a measure of every run of a method on a task."""
    return [read(run) for run in task["methods"][method]["runs"]]


def methods_of(content: Results) -> list[str]:
    """Return the methods that ran on every task, in the order of the results."""
    tasks = list(content["comparison"].values())
    return [name for name in tasks[0]["methods"] if all(name in task["methods"] for task in tasks)]


def best_accuracy(run: dict[str, Any]) -> float:
    """Return the test accuracy at early stopping, in percent."""
    return 100 * float(run["best"]["accuracy"])


def end_accuracy(run: dict[str, Any]) -> float:
    """Return the test accuracy at the end of training, in percent."""
    return 100 * float(run["end"]["accuracy"])


def ranks_of(content: Results, read: Callable[[dict[str, Any]], float] = best_accuracy) -> Ranks:
    """Return the average ranks of the methods that ran on every task."""
    tasks = content["comparison"].values()
    return rank({name: [fmean(values(task, name, read)) for task in tasks] for name in methods_of(content)})


def accuracy_table(content: Results, read: Callable[[dict[str, Any]], float] = best_accuracy) -> Rows:
    """Return mean and spread of the accuracy on each task, the mean over the tasks and the average rank."""
    tasks, ranks = content["comparison"], ranks_of(content, read)
    rows = [["method", *tasks, "mean", "average rank"]]
    for name in methods_of(content):
        spreads = [Spread.of(values(task, name, read)) for task in tasks.values()]
        cells = [f"{each.mean:.1f} ± {each.sd:.1f}" for each in spreads]
        rows.append([name, *cells, f"{fmean(each.mean for each in spreads):.1f}", f"{ranks.mean[name]:.1f}"])
    return rows


def paired(task: Mapping[str, Any], method: str, other: str, read: Callable[[dict[str, Any]], float]) -> Spread:
    """Return the difference of two methods seed by seed."""
    pairs = zip(values(task, method, read), values(task, other, read), strict=True)
    return Spread.of([a - b for a, b in pairs])


def difference_table(content: Results, other: str, read: Callable[[dict[str, Any]], float] = best_accuracy) -> Rows:
    """Return each method less another, paired by seed, with 95 % intervals, and how many tasks it wins and loses."""
    tasks = content["comparison"]
    rows = [["method", *tasks, "mean over tasks", "better : worse"]]
    for name in methods_of(content):
        if name == other:
            continue
        found = [paired(task, name, other, read) for task in tasks.values()]
        overall = Spread.of([each.mean for each in found])
        intervals = [each.interval() for each in found]
        won, lost = sum(low > 0 for low, _ in intervals), sum(high < 0 for _, high in intervals)
        cells = [_half_width(each) for each in found]
        rows.append([name, *cells, _half_width(overall), f"{won} : {lost}"])
    return rows


def measure_table(content: Results) -> Rows:
    """Return every measure, its mean over the seeds and the tasks."""
    rows = [
        [
            "method",
            "accuracy",
            "at the end",
            "macro-F1",
            "misaligned",
            "best modality alone",
            "worst modality alone",
            "calibration error",
            "cross-entropy",
            "last quarter",
            "seconds",
        ]
    ]
    tasks = list(content["comparison"].values())
    columns: list[tuple[Callable[[dict[str, Any]], float | None], str]] = [
        (best_accuracy, ".1f"),
        (end_accuracy, ".1f"),
        (lambda run: 100 * run["best"]["macro-F1"], ".1f"),
        (lambda run: _percent(run["best"]["misaligned accuracy"]), ".1f"),
        (lambda run: 100 * max(run["best"]["alone"].values()), ".1f"),
        (lambda run: 100 * min(run["best"]["alone"].values()), ".1f"),
        (lambda run: 100 * run["best"]["calibration error"], ".1f"),
        (lambda run: run["best"]["cross-entropy"], ".3f"),
        (lambda run: _percent(run["last_quarter"]), "+.2f"),
        (lambda run: run["seconds"], ".2f"),
    ]
    for name in methods_of(content):
        cells = []
        for read, form in columns:
            known = [[x for x in values(task, name, read) if x is not None] for task in tasks]
            cells.append(f"{fmean(fmean(each) for each in known if each):{form}}" if any(known) else "-")
        rows.append([name, *cells])
    return rows


def vote_table(content: Results) -> Rows:
    """Return what the vote of fused and unimodal heads gains over the fused head, paired by seed, over the tasks."""
    tasks = content["comparison"].values()
    rows = [
        [
            "method",
            "accuracy, weight 0.5",
            "better : worse",
            "accuracy, chosen weight",
            "calibration error, weight 0.5",
            "cross-entropy, weight 0.5",
        ]
    ]
    for name in methods_of(content):
        if any("vote" not in run for task in tasks for run in task["methods"][name]["runs"]):
            continue
        gains = [Spread.of(values(task, name, lambda run: _gain(run, "half", "accuracy"))) for task in tasks]
        won, lost = sum(g.interval()[0] > 0 for g in gains), sum(g.interval()[1] < 0 for g in gains)
        others = [
            Spread.of([fmean(values(task, name, lambda run, w=which, q=what: _gain(run, w, q))) for task in tasks])  # type: ignore[misc]
            for which, what in (("chosen", "accuracy"), ("half", "calibration error"), ("half", "cross-entropy"))
        ]
        rows.append(
            [
                name,
                _half_width(Spread.of([g.mean for g in gains]), 2),
                f"{won} : {lost}",
                *[_half_width(each, 2) for each in others],
            ]
        )
    return rows


def vote_by_task(content: Results, method: str = "MIDAS") -> Rows:
    """Return what the vote gains on each task, with 95 % intervals."""
    rows = [["task", "accuracy, weight 0.5", "accuracy, chosen weight", "calibration error, weight 0.5"]]
    for title, task in content["comparison"].items():
        cells = [
            _half_width(Spread.of(values(task, method, lambda run, w=which, q=what: _gain(run, w, q))), 2)  # type: ignore[misc]
            for which, what in (("half", "accuracy"), ("chosen", "accuracy"), ("half", "calibration error"))
        ]
        rows.append([title, *cells])
    return rows


def alone_table(content: Results) -> Rows:
    """Return the accuracy with each modality alone on each task; in brackets that of the vote, if there are heads."""
    tasks = content["comparison"]
    rows = [["method", *(f"{name}: {', '.join(task['modalities'])}" for name, task in tasks.items())]]
    for method in methods_of(content):
        cells = []
        for task in tasks.values():
            found = []
            for m in task["modalities"]:
                mean = fmean(values(task, method, lambda run, m=m: 100 * run["best"]["alone"][m]))  # type: ignore[misc]
                votes = [run["vote"]["alone"][m] for run in task["methods"][method]["runs"] if "vote" in run]
                found.append(f"{mean:.1f}" + (f" ({100 * fmean(votes):.1f})" if votes else ""))
            cells.append(", ".join(found))
        rows.append([method, *cells])
    return rows


def short_table(content: Results) -> Rows:
    """Return the comparison in a few columns, the best average rank first."""
    tasks, ranks = content["comparison"], ranks_of(content)
    rows = [["method", "mean accuracy", "less MIDAS", "worst task, less MIDAS", "average rank"]]
    for name, place in ranks.mean.items():
        means = [fmean(values(task, name, best_accuracy)) for task in tasks.values()]
        less = [paired(task, name, "MIDAS", best_accuracy).mean for task in tasks.values()]
        cells = ["", ""] if name == "MIDAS" else [_half_width(Spread.of(less)), f"{min(less):+.1f}"]
        rows.append([name, f"{fmean(means):.1f}", *cells, f"{place:.1f}"])
    return rows


def settings_table(content: Results) -> Rows:
    """Return learning rate and strength that the tuning chose, by method and task."""
    tasks = content["comparison"]
    rows = [["method", *tasks]]
    for name in methods_of(content):
        cells = []
        for task in tasks.values():
            found = task["methods"][name]
            strength = found["strength"]
            more = "" if strength is None else f", {next(iter(strength.values())):g}"
            cells.append(f"{found['learning_rate']:g}{more}")
        rows.append([name, *cells])
    return rows


def task_table(content: Results) -> Rows:
    """Return what the tasks are."""
    rows = [["task", "what it is", "modalities", "classes", "training, validation, test", "epochs", "batch"]]
    for name, task in content["comparison"].items():
        sizes = ", ".join(str(task["sizes"][split]) for split in ("training", "validation", "test"))
        many = (str(len(task["modalities"])), str(task["classes"]), sizes, str(task["epochs"]), str(task["batch_size"]))
        rows.append([name, task["title"], *many])
    return rows


def render(content: Results) -> dict[str, str]:
    """Return the tables as Markdown, by the name of their place in the docs."""
    found = {
        "tasks": markdown(task_table(content)),
        "accuracy": markdown(accuracy_table(content)),
        "accuracy at the end": markdown(accuracy_table(content, end_accuracy)),
        "measures": markdown(measure_table(content)),
        "alone": markdown(alone_table(content)),
        "vote": markdown(vote_table(content)),
        "settings": markdown(settings_table(content)),
        "ranks": _ranks_in_words(ranks_of(content)),
        "made with": _made_with(content),
    }
    if "MIDAS" in methods_of(content):
        found["comparison"] = markdown(short_table(content))
        found["vote by task"] = markdown(vote_by_task(content))
    for other in (name for name in MINUS if name in methods_of(content)):
        found[f"minus {other}"] = markdown(difference_table(content, other))
    return found


def printed(content: Results) -> list[Table]:
    """Return the tables of the terminal."""
    return [
        _rich("Test accuracy in percent, mean ± standard deviation over the seeds", accuracy_table(content)),
        _rich("Means over the tasks", measure_table(content)),
    ]


def markdown(rows: Rows) -> str:
    """Return a table as Markdown."""
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def _rich(title: str, rows: Rows) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(rows[0]):
        table.add_column(column, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row, style="bold" if row[0] == "MIDAS" else None)
    return table


def _half_width(found: Spread, digits: int = 1) -> str:
    """Return a mean and half the width of its 95 % interval."""
    if len(found.values) < 2:
        return f"{found.mean:+.{digits}f}"
    return f"{found.mean:+.{digits}f} ± {found.interval()[1] - found.mean:.{digits}f}"


def _gain(run: dict[str, Any], which: str, what: str) -> float:
    factor = 1 if what == "cross-entropy" else 100
    return float(factor * (run["vote"][which][what] - run["best"][what]))


def _percent(share: float | None) -> float | None:
    return None if share is None or math.isnan(share) else 100 * share


def _ranks_in_words(ranks: Ranks) -> str:
    order = ", ".join(f"{name} {each:.1f}" for name, each in ranks.mean.items())
    return (
        f"Average rank by accuracy: {order}. Two methods differ at the 5 % level where their ranks are "
        f"{ranks.critical_difference:.1f} or more apart (Nemenyi); Friedman's test that all are alike: "
        f"p = {ranks.p_value:.1g}."
    )


def _made_with(content: Results) -> str:
    machine, options = content["machine"], content["options"]
    low, high = options["learning_rates"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return (
        f"{options['seeds']} reporting seeds, {options['tuning_seeds']} tuning seeds, {options['settings']} settings "
        f"of each method (learning rates from {low:g} to {high:g}), epochs times {options['epoch_factor']:g}. "
        f"On {machine['processor']}, {machine['cores']} cores. With {versions}."
    )

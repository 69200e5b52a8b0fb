"""The tables of the demo."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from midas_core.demo.methods import FUSED
from midas_core.demo.summary import Spread, best_alone, difference

Summary = dict[str, dict[str, Spread]]

HINTS = (
    "Mean ± standard deviation over the seeds, on test data, in percent. "
    "misaligned: share of samples made of two classes whose top two predictions are these. "
    "only: accuracy with the features of the other modalities set to zero. "
    "last quarter: mean validation accuracy in the last quarter of training, minus that in the quarter before. "
    "seconds: processor time of training."
)


def results_table(title: str, summary: Summary) -> Table:
    """Return the table of a task: a row for each method, mean and spread in each column."""
    columns = [c for c in summary[FUSED[0].key] if c not in ("last quarter", "seconds")]
    columns += ["last quarter", "seconds"]
    table = Table(title=title, title_justify="left", title_style="bold", caption=HINTS, caption_justify="left")
    table.add_column("method", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    titles = {method.key: method.title for method in FUSED}
    for method, row in summary.items():
        cells = [_cell(row.get(column), column) for column in columns]
        style = "bold" if method == "MIDAS" else None
        table.add_row(titles.get(method, method), *cells, style=style)
    return table


def difference_table(summary: Summary, modalities: Sequence[str]) -> Table:
    """Return the paired differences of MIDAS to the other methods."""
    table = Table(title="MIDAS minus ..., paired by seed, in points", title_justify="left", title_style="bold")
    table.add_column("method", no_wrap=True)
    columns = [c for c in ("accuracy", "misaligned") if c in summary["MIDAS"]]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
        table.add_column("better", justify="right", no_wrap=True)
    others = [*(method.key for method in FUSED if method.key != "MIDAS"), best_alone(summary, modalities)]
    for other in others:
        cells: list[str] = []
        for column in columns:
            found = difference(summary, "MIDAS", other, column)
            cells += ["", "", ""] if found is None else _difference_cells(found)
        name = other if other.startswith("joint") else f"{other} (best modality)"
        table.add_row(name, *cells)
    return table


def _cell(value: Spread | None, column: str) -> str:
    if value is None:
        return "-"
    sign = "+" if column == "last quarter" else ""
    spread = f" ± {value.sd:.1f}" if len(value.values) > 1 else ""
    return f"{value.mean:{sign}.1f}{spread}"


def _difference_cells(found: Spread) -> list[str]:
    better = f"{sum(x > 0 for x in found.values)} of {len(found.values)}"
    if len(found.values) < 2:
        return [f"{found.mean:+.1f}", "", better]
    low, high = found.interval()
    return [f"{found.mean:+.1f} ± {found.sd:.1f}", f"{low:+.1f} to {high:+.1f}", better]

"""The tables of the demo, cut into as many as a narrow terminal needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from midas_core.demo.methods import FUSED
from midas_core.demo.summary import Spread, best_alone, difference

Summary = dict[str, dict[str, Spread]]
Cells = dict[str, list[str]]
"""The cells of a column, one for each row, by the title of the column."""

HINTS = (
    "Mean ± standard deviation over the seeds, on test data, in percent. "
    "misaligned: share of samples made of two classes whose top two predictions are these. "
    "only: accuracy with the features of the other modalities set to zero. "
    "last quarter: mean validation accuracy in the last quarter of training, minus that in the quarter before. "
    "seconds: processor time of training."
)


def results_tables(title: str, summary: Summary, width: int, *, ascii_only: bool = False) -> list[Table]:
    """Return the results of a task: a row for each method, mean and spread in each column.

    Parameters
    ----------
    title : str
    summary : dict
    width : int
        Of the terminal, in characters: where the columns do not fit, they go into several tables.
    ascii_only : bool
        Whether the terminal has no "±": columns are as wide as what it shows.

    Returns
    -------
    list of Table
    """
    columns = [c for c in summary[FUSED[0].key] if c not in ("last quarter", "seconds")]
    columns += ["last quarter", "seconds"]
    titles = {method.key: method.title for method in FUSED}
    cells = {column: [_cell(row.get(column), column) for row in summary.values()] for column in columns}
    names = [titles.get(method, method) for method in summary]
    return _tables(title, names, [{column: found} for column, found in cells.items()], width, ascii_only)


def difference_tables(
    summary: Summary, modalities: Sequence[str], width: int, *, ascii_only: bool = False
) -> list[Table]:
    """Return the paired differences of MIDAS to the other methods; arguments as for `results_tables`."""
    others = [*(method.key for method in FUSED if method.key != "MIDAS"), best_alone(summary, modalities)]
    names = [other if other.startswith("joint") else f"{other} (best)" for other in others]
    groups = []
    for column in (c for c in ("accuracy", "misaligned") if c in summary["MIDAS"]):
        rows = [_difference_cells(difference(summary, "MIDAS", other, column)) for other in others]
        heads = (column, "95 % interval", "better")
        groups.append({head: [row[i] for row in rows] for i, head in enumerate(heads)})
    return _tables("MIDAS minus ..., paired by seed, in points", names, groups, width, ascii_only)


def _tables(title: str, names: Sequence[str], groups: Sequence[Cells], width: int, ascii_only: bool) -> list[Table]:
    """Return tables of the groups of columns, as many of them in each as fit; MIDAS in bold."""
    if ascii_only:
        groups = [
            {column: [x.replace("±", "+-") for x in cells] for column, cells in group.items()} for group in groups
        ]
    found = []
    for several in _fitting(names, groups, width):
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("method")
        for group in several:
            for column in group:
                table.add_column(column, justify="right", min_width=max(map(len, group[column])))
        for i, name in enumerate(names):
            cells = [group[column][i] for group in several for column in group]
            table.add_row(name, *cells, style="bold" if name == "MIDAS" else None)
        found.append(table)
    return found


def _fitting(names: Sequence[str], groups: Sequence[Cells], width: int) -> Iterator[list[Cells]]:
    """Yield groups of columns, together no wider than ``width``; one group at least."""
    # A cell takes two spaces and a line; a heading may go over several lines, but breaks no word.
    first = 4 + max(map(len, [*names, "method"]))
    several: list[Cells] = []
    used = first
    for group in groups:
        words = [[*cells, *column.split()] for column, cells in group.items()]
        wide = sum(3 + max(map(len, each)) for each in words)
        if several and used + wide > width:
            yield several
            several, used = [], first
        several.append(group)
        used += wide
    if several:
        yield several


def _cell(value: Spread | None, column: str) -> str:
    if value is None:
        return "-"
    sign = "+" if column == "last quarter" else ""
    spread = f" ± {value.sd:.1f}" if len(value.values) > 1 else ""
    return f"{value.mean:{sign}.1f}{spread}"


def _difference_cells(found: Spread | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    better = f"{sum(x > 0 for x in found.values)} of {len(found.values)}"
    if len(found.values) < 2:
        return [f"{found.mean:+.1f}", "", better]
    low, high = found.interval()
    return [f"{found.mean:+.1f} ± {found.sd:.1f}", f"{low:+.1f} to {high:+.1f}", better]

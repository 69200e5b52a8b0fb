"""Results as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.results import Result

COLUMNS = ("what", "size", "measured", "quartiles", "target", "", "milliseconds")


def section_table(title: str, results: Sequence[Result]) -> Table:
    """Return a table with a row for each result."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for k, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if k < 2 or not column else "right", no_wrap=k > 1)
    for result in results:
        style = {True: "green", False: "red", None: None}[result.met]
        table.add_row(*cells(result), style=style)
    return table


def cells(result: Result) -> tuple[str, ...]:
    """Return the text of a row."""
    quartiles = "" if result.low is None else f"{result.low:.3f} ... {result.high:.3f}"
    target = "" if result.target is None else f"<= {result.target:g}"
    mark = {True: "met", False: "missed", None: ""}[result.met]
    times = " / ".join(f"{1e3 * seconds:.3g}" for seconds in result.seconds.values())
    unit = f" {result.unit}" if result.unit else ""
    return result.what, result.size, f"{result.value:.3f}{unit}", quartiles, target, mark, times

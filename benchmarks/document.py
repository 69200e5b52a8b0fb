"""Write the tables of recorded results into a document.

    python -m benchmarks.document benchmarks/results-cpu.json docs/speed.md   # of python -m benchmarks --json
    python -m benchmarks.document runs/demo/results.json docs/demo.md         # of midas demo
    python -m benchmarks.document runs/accuracy/results.json docs/comparison.md   # of python -m benchmarks.accuracy

The tables go between the lines ``<!-- NAME -->`` and ``<!-- end -->``, NAME that of the results file, of a task, or of
a table of the comparison, see ``benchmarks/accuracy/tables.py``; those of results-long.json are called "NAME long".
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.registry import SECTIONS
from benchmarks.results import Result
from benchmarks.table import COLUMNS, cells
from midas_core.demo.summary import Spread


def render(content: dict[str, Any]) -> str:
    """Return the results as Markdown: the machine, the versions, a table for each section."""
    machine, versions, options = content["machine"], content["versions"], content["options"]
    place = ", ".join(filter(None, (machine["processor"], f"{machine['cores']} cores", machine.get("gpu"))))
    lines = [
        f"Measured on: {place} ({machine['system']}), {options['threads']} thread(s), {options['device']}. "
        f"Load of the machine when it began: {machine['load']}.",
        "With " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
    ]
    for name, rows in content["sections"].items():
        lines += [f"### {SECTIONS[name].title} (`{name}`)", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
        for row in rows:
            row.pop("met", None)
            lines.append(_line(cells(Result(**row))))
        lines.append("")
    return "\n".join(lines)


def render_task(task: dict[str, Any]) -> str:
    """Return what a demo has found in one task as Markdown: a row for each method, and the differences of MIDAS."""
    summary = task["summary"]
    columns = [c for c in summary["joint"] if c not in ("last quarter", "seconds")] + ["last quarter", "seconds"]
    sizes = task["sizes"]
    lines = [
        f"{sizes['training']} samples to train on, {sizes['validation']} to validate, {sizes['test']} to test.",
        "",
        _line(["method", *columns]),
        _line(["---"] * (1 + len(columns))),
    ]
    for method, row in summary.items():
        found = [(c, row.get(c)) for c in columns]
        signs = ("+" if c == "last quarter" else "" for c in columns)
        shown = (
            f"{x['mean']:{sign}.1f} ± {x['sd']:.1f}" if x else "-" for (_, x), sign in zip(found, signs, strict=True)
        )
        lines.append(_line([method, *shown]))
    values = {method: [r["test"]["accuracy"] for r in task["runs"] if r["method"] == method] for method in summary}
    differences = []
    for method, others in values.items():
        if method != "MIDAS":
            each = Spread.of([100 * (one - other) for one, other in zip(values["MIDAS"], others, strict=True)])
            low, high = each.interval()
            differences.append(f"{method} {each.mean:+.1f} ({low:+.1f} to {high:+.1f})")
    lines += [
        "",
        "MIDAS minus each other method, accuracy, paired by seed, with the 95 % interval of the mean: "
        + ", ".join(differences)
        + ".",
        "",
    ]
    return "\n".join(lines)


def insert(text: str, name: str, tables: str) -> str:
    """Return the document with the tables in their place."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no line <!-- {name} --> with a line <!-- end --> after it")
    return pattern.sub(lambda match: f"{match[1]}\n{tables}\n{match[2]}", text)


def insert_comparison(text: str, path: Path) -> str:
    """Return the document with those tables of a file of ``python -m benchmarks.accuracy`` that it has a place for."""
    from benchmarks.accuracy.tables import render as render_comparison

    content = json.loads(path.read_text(encoding="utf-8"))
    which = path.stem.partition("-")[2]
    for table_name, table in render_comparison(content).items():
        name = f"{table_name} {which}".rstrip()
        if f"<!-- {name} -->" in text:
            text = insert(text, name, table + "\n")
    return text


def _line(entries: Any) -> str:
    return "| " + " | ".join(entries) + " |"


if __name__ == "__main__":
    results, document = map(Path, sys.argv[1:])
    content = json.loads(results.read_text(encoding="utf-8"))
    text = document.read_text(encoding="utf-8")
    if "tasks" in content:
        for task in content["tasks"]:
            text = insert(text, task["name"], render_task(task))
    elif "comparison" in content:
        text = insert_comparison(text, results)
        if results.stem == "results" and (document.parent / "figures").is_dir():
            from benchmarks.accuracy.figures import write_figures

            write_figures(content, document.parent / "figures")
    else:
        text = insert(text, results.name, render(content))
    document.write_text(text, encoding="utf-8")

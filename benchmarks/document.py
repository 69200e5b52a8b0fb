"""Write the tables of recorded results into a document.

    python -m benchmarks.document benchmarks/results-cpu.json docs/speed.md   # of python -m benchmarks --json
    python -m benchmarks.document benchmarks/comparison.json docs/comparison.md   # of midas compare --suite
    python -m benchmarks.document benchmarks/robustness.json docs/comparison.md   # of python -m benchmarks.robustness

The tables go between the lines ``<!-- NAME -->`` and ``<!-- end -->``. NAME is the name of the results file, or of a
table of the comparison, see ``benchmarks/suite_tables.py``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.registry import SECTIONS
from benchmarks.results import Result
from benchmarks.robustness import variant_rows
from benchmarks.suite_figures import write_figures
from benchmarks.suite_tables import SuiteResults, markdown
from benchmarks.table import COLUMNS, cells

ROBUSTNESS = "robustness.json"


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


def insert(text: str, name: str, tables: str) -> str:
    """Return the document with the tables in their place."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no line <!-- {name} --> with a line <!-- end --> after it")
    return pattern.sub(lambda match: f"{match[1]}\n{tables}\n{match[2]}", text)


def insert_comparison(text: str, content: dict[str, Any]) -> str:
    """Return the document with those tables of the comparison that it has a place for."""
    for name, table in SuiteResults(content).render().items():
        if f"<!-- {name} -->" in text:
            text = insert(text, name, table + "\n")
    return text


def _line(entries: Any) -> str:
    return "| " + " | ".join(entries) + " |"


if __name__ == "__main__":
    results, document = map(Path, sys.argv[1:])
    content = json.loads(results.read_text(encoding="utf-8"))
    text = document.read_text(encoding="utf-8")
    if results.name == ROBUSTNESS:
        text = insert(text, ROBUSTNESS, markdown(variant_rows(SuiteResults(content))) + "\n")
    elif "tasks" in content:
        text = insert_comparison(text, content)
        if (document.parent / "figures").is_dir():
            write_figures(SuiteResults(content), document.parent / "figures")
    else:
        text = insert(text, results.name, render(content))
    document.write_text(text, encoding="utf-8")

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
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.registry import SECTIONS
from benchmarks.results import Result
from benchmarks.robustness import variant_rows
from benchmarks.suite_figures import write_figures
from benchmarks.suite_tables import SuiteResults, markdown
from benchmarks.table import COLUMNS, cells

COMPARISON, ROBUSTNESS = "comparison.json", "robustness.json"


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


@lru_cache
def render_comparison(file: Path) -> dict[str, str]:
    """Return the tables of the comparison by the name of their place."""
    return SuiteResults(json.loads(file.read_text(encoding="utf-8"))).render()


def fill(text: str, file: Path) -> str:
    """Return the document with the tables of a results file, those of the comparison where it has a place for them."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if file.name == ROBUSTNESS:
        return insert(text, ROBUSTNESS, markdown(variant_rows(SuiteResults(content))) + "\n")
    if file.name != COMPARISON:
        return insert(text, file.name, render(content))
    for name, table in render_comparison(file).items():
        if f"<!-- {name} -->" in text:
            text = insert(text, name, table + "\n")
    return text


def _line(entries: Any) -> str:
    return "| " + " | ".join(entries) + " |"


if __name__ == "__main__":
    results, document = map(Path, sys.argv[1:])
    document.write_text(fill(document.read_text(encoding="utf-8"), results), encoding="utf-8")
    if results.name == COMPARISON and (document.parent / "figures").is_dir():
        write_figures(SuiteResults(json.loads(results.read_text(encoding="utf-8"))), document.parent / "figures")

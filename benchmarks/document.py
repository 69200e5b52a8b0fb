"""Write the tables of recorded results into a document: python benchmarks/document.py results.json docs/speed.md.

The tables go between the lines ``<!-- NAME -->`` and ``<!-- end -->``, NAME that of the results file.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from midas_core.benchmarks.registry import SECTIONS
from midas_core.benchmarks.results import Result
from midas_core.benchmarks.table import COLUMNS, cells


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


def _line(entries: Any) -> str:
    return "| " + " | ".join(entries) + " |"


if __name__ == "__main__":
    results, document = map(Path, sys.argv[1:])
    tables = render(json.loads(results.read_text(encoding="utf-8")))
    document.write_text(insert(document.read_text(encoding="utf-8"), results.name, tables), encoding="utf-8")

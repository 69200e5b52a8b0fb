"""The comparison of ``midas demo``: two built-in tasks, with the settings that a search wrote to a file.

python -m midas_core.compare.demo searches them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from midas_core.compare.comparison import known_methods
from midas_core.compare.result import MethodComparison
from midas_core.compare.search import MADE_BY, Plan, Progress, run_plans
from midas_core.compare.store import Store
from midas_core.compare.suite import TASKS
from midas_core.files import parse_json, read_text, write_json

NAMES = ("halves", "wide-left")
SETTINGS = Path(__file__).with_name("demo.json")
"""By task and method: learning rate and strength."""
LARGEST = 2**16
"""Bytes of that file."""


def demo_plan(name: str, seeds: int, *, fixed: bool = True) -> Plan:
    """Return the plan of a task, with the settings of the file or with none."""
    task = TASKS[name]
    source = task.open(Path())
    settings = parse_json(read_text(SETTINGS, LARGEST))[name] if fixed else {}
    return Plan(name, source, known_methods("default", source.make(0).modalities), task.recipe, seeds, settings)


def run_demo(
    output: Path, *, seeds: int = 5, jobs: int = 1, progress: Progress | None = None
) -> dict[str, MethodComparison]:
    """Train what the folder lacks, write its ``results.json``, and return the results by task."""
    plans = [demo_plan(name, seeds) for name in NAMES]
    contents = run_plans(plans, Store(output, MADE_BY), jobs=jobs, progress=progress)
    write_json(output / "results.json", contents)
    return {name: MethodComparison(content) for name, content in contents.items()}


def search(jobs: int = 2) -> None:
    """Choose the settings on validation data, and write them to the file."""
    contents = run_plans([demo_plan(name, 1, fixed=False) for name in NAMES], Store(None, MADE_BY), jobs=jobs)
    results = {name: MethodComparison(content) for name, content in contents.items()}
    lines = [
        f' "{name}": {{\n'
        + ",\n".join(f"  {json.dumps(title)}: {list(result.setting(title))}" for title in result.content["methods"])
        + "\n }"
        for name, result in results.items()
    ]
    SETTINGS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    search()

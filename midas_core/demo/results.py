"""What a demo has found, and the file it goes to."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from midas_core import __version__
from midas_core.demo.summary import summarize
from midas_core.demo.training import Run


@dataclass(frozen=True)
class TaskResults:
    """The runs of one task.

    Attributes
    ----------
    name, title : str
    modalities : tuple of M names
    num_classes : int
    sizes : dict
        Samples by split.
    runs : list of Run
        Every method and seed.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    num_classes: int
    sizes: dict[str, int]
    runs: list[Run]


def as_json(results: list[TaskResults], options: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, with the options and versions that led to it."""
    tasks = []
    for task in results:
        runs = []
        for run in task.runs:
            assert run.test is not None
            content = {**asdict(replace(run, diagnosis=None)), "test": run.test._asdict()}
            del content["diagnosis"]  # in the run folder
            runs.append(content)
        summary = {
            method: {column: {"mean": spread.mean, "sd": spread.sd} for column, spread in row.items()}
            for method, row in summarize(task.runs, task.modalities).items()
        }
        about = {each.name: getattr(task, each.name) for each in fields(task)}
        tasks.append({**about, "runs": runs, "summary": summary})
    return {"options": options, "versions": versions(), "tasks": tasks}


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    found = {name: version(name) for name in ("torch", "numpy", "scikit-learn")}
    return {"midas_core": __version__, "python": platform.python_version(), **found}


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    # JSON has no NaN: a training that diverged says null.
    if isinstance(value, dict):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

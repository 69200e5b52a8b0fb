"""What a demo has found, and the file it goes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from midas_core import __version__
from midas_core.demo.summary import summarize
from midas_core.demo.training import Run
from midas_core.runs.files import package_versions


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
    return {"midas_core": __version__, **package_versions("torch", "keras", "numpy", "scikit-learn")}

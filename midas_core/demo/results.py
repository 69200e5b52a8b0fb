"""What a demo has found, and the files it goes to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midas_core import __version__
from midas_core.demo.summary import summarize
from midas_core.demo.training import MethodRun
from midas_core.files import package_versions, write_json


@dataclass
class TaskResults:
    """The runs of one task.

    Attributes
    ----------
    name, title : str
    modalities : tuple of M names
    num_classes : int
    sizes : dict
        Samples by split.
    runs : list of MethodRun
        Every method and seed.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    num_classes: int
    sizes: dict[str, int]
    runs: list[MethodRun] = field(default_factory=list)

    def to_dict(self, *, diagnoses: bool = False) -> dict[str, Any]:
        """Return everything that was measured; the diagnoses, which the run folders hold, where they are asked for."""
        runs = [run.to_dict() for run in self.runs]
        if not diagnoses:
            for run in runs:
                del run["diagnosis"]
        tested = [run for run in self.runs if run.test is not None]
        summary = {
            method: {column: {"mean": spread.mean, "sd": spread.sd} for column, spread in row.items()}
            for method, row in summarize(tested, self.modalities).items()
        }
        about = {"name": self.name, "title": self.title, "modalities": self.modalities}
        return {**about, "num_classes": self.num_classes, "sizes": self.sizes, "runs": runs, "summary": summary}


def as_json(results: Sequence[TaskResults], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, with the options and versions that led to it."""
    return {"options": dict(options), "versions": versions(), "tasks": [task.to_dict() for task in results]}


def versions() -> dict[str, str]:
    """Return the versions of what took part."""
    return {"midas_core": __version__, **package_versions("torch", "keras", "numpy", "scikit-learn")}


class Kept:
    """The runs of a task that are finished, in a file: what ``--resume`` goes on with.

    Parameters
    ----------
    file : Path
    made_by : dict
        What has to be the same for the runs to count: framework, version, folder of the recordings.
    """

    def __init__(self, file: Path, made_by: Mapping[str, Any]) -> None:
        self.file, self.made_by = file, dict(made_by)

    def read(self) -> list[MethodRun]:
        """Return the runs that an earlier call has finished; none where there is no file of the same kind."""
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            if content["made_by"] != self.made_by:
                return []
            return [MethodRun.from_dict(run) for run in content["runs"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    def write(self, task: TaskResults) -> None:
        """Write the file as a whole."""
        write_json(self.file, {"made_by": self.made_by, **task.to_dict(diagnoses=True)})

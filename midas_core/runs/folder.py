"""The files of a run folder, and how they are read back.

run.json          modalities, classes, configuration, versions
metrics.jsonl     one JSON object for each epoch or step, appended as training goes
diagnostics.json  the diagnoses, by split
tensorboard/      the same metrics for TensorBoard, where it is installed
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midas_core.files import LARGEST, parse_json, read_text
from midas_core.text import printable

FORMAT, VERSION = "midas-run", 1
INFO, METRICS, DIAGNOSTICS, TENSORBOARD = "run.json", "metrics.jsonl", "diagnostics.json", "tensorboard"
MOST_BYTES, MOST_MODALITIES, MOST_PROBLEMS = 2**27, 64, 20
"""Limits of one file, of one run, and of the problems told of one file."""
DEPTH, MOST_RUNS, MOST_FOLDERS = 3, 500, 2000
"""Limits of a search for run folders."""

RESUMED = "resumed"
"""The key of the line that says that training went on from a checkpoint."""

POSITION = ("epoch", "step")
Row = dict[str, float | None]


class RunError(ValueError):
    """A folder holds no run that can be read. The message says what was expected and what came."""


@dataclass(frozen=True)
class Run:
    """A run folder, read.

    Attributes
    ----------
    path : Path
    name : str
    modalities : tuple of M names
    class_names : tuple of C names, or None
    config : dict
        Method, learning rate and other settings of the writer.
    versions : dict of str
    created, finished : str
        Times in UTC; finished is None for a run that was cut off or still goes on.
    metrics : tuple of dict
        One for each line, without those that a resumed run has done again. None is a value that was not finite.
    diagnostics : dict of dict
        Diagnoses by split: ``{"test": {...}}``. Empty before the end.
    problems : tuple of str
        Lines and files that could not be read and were left out, and a run that finished without a line of metrics.
    """

    path: Path
    name: str
    modalities: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    finished: str | None = None
    metrics: tuple[Row, ...] = ()
    diagnostics: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Return the epochs, or where there are none the steps, at which a metric was logged, and its mean at each.

        Two lists of float, empty where it never was.
        """
        rows = [row for row in self.metrics if name in row]
        key = "epoch" if any(row.get("epoch") is not None for row in rows) else "step"
        values: dict[float, list[float | None]] = {}
        for row in rows:
            position = row.get(key)
            if position is not None:
                values.setdefault(position, []).append(row[name])
        means = {position: mean for position, x in values.items() if (mean := _mean(x)) is not None}
        return list(means), list(means.values())


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run folder, also one that is still written to or was cut off.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Run
        Its ``problems`` name the files and lines that could not be read.

    Raises
    ------
    RunError
        If there is no run in the folder, or one of a later format.

    Examples
    --------
    >>> import tempfile
    >>> from midas_core.runs import RunLogger
    >>> folder = tempfile.mkdtemp()
    >>> with RunLogger(folder, modalities=["audio", "video"]) as log:
    ...     log.log(epoch=0, loss=1.5)
    >>> read_run(folder).series("loss")
    ([0], [1.5])
    """
    path = Path(folder)
    info = _read_info(path)
    problems: list[str] = []
    metrics = read_metrics(path / METRICS, problems)
    diagnostics: dict[str, dict[str, Any]] = {}
    if (path / DIAGNOSTICS).exists():
        try:
            splits = parse_json(read_text(path / DIAGNOSTICS, MOST_BYTES))
        except (ValueError, OSError) as error:
            problems.append(f"{DIAGNOSTICS} could not be read: {error}")
        else:
            if isinstance(splits, dict) and all(isinstance(x, dict) for x in splits.values()):
                diagnostics = splits
            else:
                problems.append(f"{DIAGNOSTICS}: expected an object for each split, left out")
    names = info.get("class_names")
    config, about = info.get("config") or {}, info.get("versions") or {}
    for key, value, kind in (("class_names", names, list), ("config", config, dict), ("versions", about, dict)):
        if value is not None and not isinstance(value, kind):
            problems.append(f"{key} in {INFO} could not be read: expected a {kind.__name__}, left out")
    if info.get("finished") is not None and not metrics and not problems:
        problems.append(f"the run finished without a line of metrics: nothing was logged to {METRICS}")
    return Run(
        path,
        printable(str(info.get("name") or path.resolve().name)),
        tuple(printable(str(x)) for x in info["modalities"]),
        tuple(printable(str(x)) for x in names) if isinstance(names, list) else None,
        config if isinstance(config, dict) else {},
        about if isinstance(about, dict) else {},
        printable(str(info.get("created") or "")),
        None if info.get("finished") is None else printable(str(info["finished"])),
        tuple(metrics),
        diagnostics,
        tuple(problems),
    )


def find_runs(folder: str | os.PathLike[str]) -> list[Path]:
    """Return a run folder itself, or the run folders up to three levels within a folder, by name."""
    path = Path(folder)
    if (path / INFO).exists() or not path.is_dir():
        return [path]  # the reader says what is wrong with it
    runs: list[Path] = []
    for count, (place, folders, files) in enumerate(os.walk(path)):
        if count >= MOST_FOLDERS:
            raise RunError(f"{path}: expected run folders, but there are more than {MOST_FOLDERS} folders in it")
        here = Path(place)
        if INFO in files:
            runs.append(here)
        deep = len(here.relative_to(path).parts) >= DEPTH
        # No run lies in another; hidden folders belong to tools.
        folders[:] = [] if deep or INFO in files else sorted(x for x in folders if not x.startswith("."))
    if not runs:
        raise RunError(f"{path}: expected a run folder with {INFO} in it, or a folder of such folders, found none")
    if len(runs) > MOST_RUNS:
        raise RunError(f"{path}: expected at most {MOST_RUNS} runs, got {len(runs)}: name those to compare")
    return runs


def clear_run(folder: str | os.PathLike[str]) -> None:
    """Remove the files of a run from a folder, and nothing else, so that another run can begin there."""
    for name in (INFO, METRICS, DIAGNOSTICS, "metrics.csv"):  # a table that earlier releases wrote
        (Path(folder) / name).unlink(missing_ok=True)
    for events in (Path(folder) / TENSORBOARD).glob("events.out.tfevents.*"):
        events.unlink(missing_ok=True)


def _read_info(path: Path) -> dict[str, Any]:
    file = path / INFO
    if not file.is_file():
        reason = "no such folder" if not path.exists() else "it is not there"
        raise RunError(f"{path}: expected a run folder with {INFO} in it, but {reason}")
    try:
        info = parse_json(read_text(file, MOST_BYTES))
    except (ValueError, OSError) as error:
        raise RunError(f"{file}: expected a JSON file, got: {error}") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise RunError(f"{file}: expected an object of format {FORMAT!r}, got {str(info)[:80]}")
    version = info.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise RunError(
            f"{file}: written in version {str(version)[:20]} of the format, this release reads up to {VERSION}"
        )
    modalities = info.get("modalities")
    if not isinstance(modalities, list) or not 0 < len(modalities) <= MOST_MODALITIES:
        raise RunError(f"{file}: expected the names of 1 to {MOST_MODALITIES} modalities, got {str(modalities)[:80]}")
    return info


def read_metrics(file: Path, problems: list[str]) -> list[Row]:
    """Return the lines of a file of metrics; what cannot be read is told in ``problems``."""
    if not file.exists():
        return []
    rows: list[Row] = []
    damaged: list[str] = []
    resumed = False
    try:
        lines = read_text(file, MOST_BYTES).split("\n")
    except OSError as error:
        problems.append(f"{file.name} could not be read: {error}")
        return []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError:
            what = "is cut off" if number == len(lines) else "is damaged"
            damaged.append(f"line {number} of {file.name} {what}: skipped")
            continue
        if RESUMED in row:
            resumed = True
            continue
        row = {key: _value(value) for key, value in row.items()}
        if resumed:
            _forget(rows, row)
            resumed = False
        rows.append(row)
    problems += damaged[:MOST_PROBLEMS]
    if len(damaged) > MOST_PROBLEMS:
        problems.append(f"and {len(damaged) - MOST_PROBLEMS} more lines of {file.name}")
    return rows


def _value(value: Any) -> float | None:
    """Return a number that a figure can hold, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST else None  # NaN is not


def _forget(rows: list[Row], row: Row) -> None:
    """Remove what was written after the point from which training went on with ``row``."""
    keep = len(rows)
    for i in reversed(range(len(rows))):
        before = _before(rows[i], row)
        if before:
            break
        if before is not None:
            keep = i
    del rows[keep:]


def _before(earlier: Row, row: Row) -> bool | None:
    """Return whether a line stands for an earlier point of the training; None where they share no position."""
    if earlier.get("epoch") is not None and row.get("epoch") is not None:
        if earlier["epoch"] != row["epoch"]:
            return bool(earlier["epoch"] < row["epoch"])  # type: ignore[operator]
        # Of the same epoch, which is done again unless the steps tell more.
        if earlier.get("step") is None or row.get("step") is None:
            return False
    if earlier.get("step") is None or row.get("step") is None:
        return None
    return bool(earlier["step"] < row["step"])  # type: ignore[operator]


def _mean(values: list[float | None]) -> float | None:
    # One value that is not finite spoils the mean, as it would have as a NaN.
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None

"""The listing that a reader makes of a folder: samples with their sources, and the files that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from midas_core.data.base import DataError, some_names

__all__ = ["DataError", "FlowFolders", "Listing", "Problem", "Sample", "Source", "files_in", "make_listing"]


class FlowFolders(NamedTuple):
    """The optical flow of one clip, as grey images of its two components."""

    u: Path
    v: Path


Source = Path | FlowFolders | str | NDArray[Any]
"""Source of one modality of a sample: a file, the folders of a flow, a text, features of shape (T, D)."""


@dataclass(frozen=True)
class Sample:
    """One sample; what is of one ``group`` has more in common than its class: the actor, the scene, the image."""

    name: str
    label: int
    sources: tuple[Source, ...]
    group: str


class Problem(NamedTuple):
    """Something of a data set that cannot be used: what it is, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class Listing:
    """Samples of a folder, and what cannot be used of it."""

    classes: tuple[str, ...]
    samples: list[Sample]
    problems: list[Problem] = field(default_factory=list)
    note: str = ""


def make_listing(
    root: Path, layout: str, classes: Sequence[str], candidates: Iterable[Sample | Problem], note: str = ""
) -> Listing:
    """Return the listing, samples whose files are missing among its problems."""
    if len(classes) < 2:
        raise DataError(f"looked for {root / layout}: expected two or more class folders, found {len(classes)}")
    samples: list[Sample] = []
    problems: list[Problem] = []
    for candidate in candidates:
        problem = candidate if isinstance(candidate, Problem) else _missing(candidate)
        if problem is not None:
            problems.append(problem)
        elif isinstance(candidate, Sample):
            samples.append(candidate)
    counts = Counter(sample.label for sample in samples)
    empty = [name for label, name in enumerate(classes) if not counts[label]]
    if empty:
        why = f"; {len(problems)} cannot be used, first {problems[0]}" if problems else ""
        raise DataError(
            f"looked for {root / layout}: expected samples of all {len(classes)} classes, found {len(samples)}, none "
            f"of {some_names(empty)}{why}"
        )
    return Listing(tuple(classes), samples, problems, note)


def files_in(root: Path, folder: str, layout: str) -> list[Path]:
    """Return what is in a folder, sorted."""
    looked = f"looked for {root / layout}"
    if not root.is_dir():
        raise DataError(f"{looked}: found no folder {root}")
    if not (root / folder).is_dir():
        raise DataError(
            f"{looked}: found no folder {folder}, but {some_names(sorted(path.name for path in root.iterdir()))}"
        )
    paths = sorted(path for path in (root / folder).iterdir() if not path.name.startswith("."))
    if not paths:
        raise DataError(f"{looked}: found nothing in {folder}")
    return paths


def read_lines(root: Path, file: str, layout: str) -> list[str]:
    """Return the lines of a text file of a data set."""
    path = root / file
    files_in(root, str(Path(file).parent), layout)
    try:
        # Not splitlines: texts from the web hold other characters that it takes for ends of lines.
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError as error:
        near = some_names(sorted(other.name for other in path.parent.iterdir()))
        raise DataError(f"looked for {path}: {error.strerror}; the folder holds {near}") from error


def _missing(sample: Sample) -> Problem | None:
    for source in sample.sources:
        if isinstance(source, Path) and not source.is_file():
            return Problem(str(source), "missing")
        if isinstance(source, FlowFolders):
            for folder in source:
                if not folder.is_dir():
                    return Problem(str(folder), "missing")
    return None

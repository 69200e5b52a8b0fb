"""Run folders within a folder."""

from __future__ import annotations

import os
from pathlib import Path

from midas_core.runs.folder import INFO, RunError

DEPTH, MOST_RUNS, MOST_FOLDERS = 3, 40, 2000


def find_runs(folder: str | os.PathLike[str]) -> list[Path]:
    """Return a run folder itself, or the run folders within a folder, by name.

    Parameters
    ----------
    folder : path
        It is searched three levels deep. Links to folders are not followed.

    Returns
    -------
    list of Path

    Raises
    ------
    RunError
        If there is none, or more than 40.
    """
    path = Path(folder)
    if (path / INFO).exists() or not path.is_dir():
        return [path]  # what is wrong with it the reader says
    found: list[Path] = []
    for looked, (place, folders, files) in enumerate(os.walk(path)):
        if looked >= MOST_FOLDERS:
            raise RunError(f"{path}: expected run folders, but there are more than {MOST_FOLDERS} folders in it")
        here = Path(place)
        if INFO in files:
            found.append(here)
        deep = len(here.relative_to(path).parts) >= DEPTH
        # No run lies in another; hidden folders belong to tools.
        folders[:] = [] if deep or INFO in files else sorted(x for x in folders if not x.startswith("."))
    if not found:
        raise RunError(f"{path}: expected a run folder with {INFO} in it, or a folder of such folders, found none")
    if len(found) > MOST_RUNS:
        raise RunError(f"{path}: expected at most {MOST_RUNS} runs, found {len(found)}: name those to compare")
    return found

"""Run folders as one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas_core import __version__
from midas_core.backends import require
from midas_core.files import check_writable, write_whole
from midas_core.runs import Run, read_run
from midas_core.runs.folder import find_runs

if TYPE_CHECKING:
    from midas_core.report.content import RunContent

PathLike = str | os.PathLike[str]


def render_report(runs: Sequence[Run | PathLike], *, title: str | None = None, baseline: str | None = None) -> str:
    """Return the report of one run, or of several beside each other, as HTML.

    Parameters
    ----------
    runs : sequence of Run or path
        Run folders, or folders of run folders. Runs of one method that differ in ``config["seed"]`` become one.
    title : str, optional
    baseline : str, optional
        The name of the run that the others are compared to. By default joint training, or the only run that MIDAS did
        not train, or else the first that was named.

    Returns
    -------
    str
        A page without any external resource and without scripts.

    Raises
    ------
    midas_core.runs.RunError
        If a folder holds no run, no run has the name of the baseline, or a folder of runs leaves the baseline open.
    ValueError
        If there are no runs.

    Examples
    --------
    >>> import tempfile
    >>> from midas_core.runs import RunLogger
    >>> folder = tempfile.mkdtemp()
    >>> with RunLogger(folder, modalities=["audio", "video"], name="joint") as log:
    ...     log.log(epoch=0, loss=1.5)
    >>> render_report([folder]).lower().startswith("<!doctype html>")
    True
    """
    return _page(_contents(runs, baseline), title)


def headlines(runs: Sequence[Run | PathLike], *, baseline: str | None = None) -> list[str]:
    """Return the answer for each run in one line: its name, and the verdict or what changed since the baseline.

    Parameters
    ----------
    runs, baseline : as for `render_report`

    Returns
    -------
    list of str

    Examples
    --------
    >>> import tempfile
    >>> from midas_core.runs import RunLogger
    >>> folder = tempfile.mkdtemp()
    >>> with RunLogger(folder, modalities=["audio", "video"], name="joint") as log:
    ...     log.log(epoch=0, loss=1.5)
    >>> [line.partition(":")[0] for line in headlines([folder])]
    ['joint']
    """
    return _lines(_contents(runs, baseline))


def write_report(
    runs: Sequence[Run | PathLike], path: PathLike, *, title: str | None = None, baseline: str | None = None
) -> Path:
    """Write the report of one run or several into a file.

    Parameters
    ----------
    runs : as for `render_report`
    path : path
        The file. ``OSError`` if it cannot be written, before anything is drawn.
    title, baseline : as for `render_report`

    Returns
    -------
    Path

    Examples
    --------
    >>> import tempfile
    >>> from midas_core.runs import RunLogger
    >>> folder = tempfile.mkdtemp()
    >>> with RunLogger(folder, modalities=["audio", "video"], name="joint") as log:
    ...     log.log(epoch=0, loss=1.5)
    >>> write_report([folder], f"{folder}/report.html").name
    'report.html'
    """
    return report_with_headlines(runs, path, title=title, baseline=baseline)[0]


def report_with_headlines(
    runs: Sequence[Run | PathLike], path: PathLike, *, title: str | None = None, baseline: str | None = None
) -> tuple[Path, list[str]]:
    """Write the report, and return the file and the headlines; see `write_report` and `headlines`."""
    file = Path(path)
    check_writable(file)
    contents = _contents(runs, baseline)
    write_whole(file, _page(contents, title).encode("utf-8", "replace"))
    return file, _lines(contents)


def _contents(runs: Sequence[Run | PathLike], baseline: str | None) -> list[RunContent]:
    require("matplotlib", "Matplotlib", "report")
    from midas_core.report.content import gather

    if not runs:
        raise ValueError("runs: expected at least one run")
    loaded: list[Run] = []
    searched = False
    for run in runs:
        if isinstance(run, Run):
            loaded.append(run)
            continue
        folders = find_runs(run)
        searched = searched or folders != [Path(run)]
        loaded += [read_run(folder) for folder in folders]
    # Of runs that were searched for, none is the first.
    return gather(loaded, baseline=baseline, ask=searched)


def _lines(contents: Sequence[RunContent]) -> list[str]:
    return [f"{content.name}: {content.headline}" for content in contents]


def _page(contents: Sequence[RunContent], title: str | None) -> str:
    jinja2 = require("jinja2", "Jinja2", "report")
    from midas_core.diagnostics.verdict import listed
    from midas_core.report.content import number, shown
    from midas_core.report.sections import sections

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("midas_core.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    diagnosed = [c for c in contents if c.diagnosis]
    page: Any = environment.get_template("page.html.jinja").render(
        title=title or f"Modality report: {listed([c.name for c in contents])}"[:160],
        contents=contents,
        shown=shown(contents),
        diagnosed=diagnosed,
        uneven=any(c.diagnosis.measured.unit == "recall" for c in diagnosed if c.diagnosis),
        modalities=list(dict.fromkeys(name for c in diagnosed if c.diagnosis for name in c.diagnosis.names)),
        sections=sections(shown(contents)),
        version=__version__,
    )
    return str(page)

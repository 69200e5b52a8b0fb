"""One self-contained HTML page of run folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midas_core import __version__
from midas_core.backends import require
from midas_core.runs import Run, read_run

PathLike = str | os.PathLike[str]


def render_report(runs: Sequence[Run | PathLike], *, title: str | None = None) -> str:
    """Return the report of one run, or of several beside each other, as HTML.

    Parameters
    ----------
    runs : sequence of Run or path
        The others are compared to the first.
    title : str, optional

    Returns
    -------
    str
        A page without any external resource and without scripts.

    Raises
    ------
    midas_core.runs.RunError
        If a folder holds no run.
    ValueError
        If there are no runs.
    """
    jinja2 = require("jinja2", "Jinja2", "report")
    require("matplotlib", "Matplotlib", "report")
    from midas_core.diagnostics.wording import listed
    from midas_core.report.content import gather, number, sections

    if not runs:
        raise ValueError("runs: expected at least one run")
    contents = gather([run if isinstance(run, Run) else read_run(run) for run in runs])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("midas_core.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    names = list(dict.fromkeys(name for c in contents for name in (c.diagnosis.names if c.diagnosis else ())))
    page: Any = environment.get_template("page.html.jinja").render(
        title=title or f"Modality report: {listed([c.name for c in contents])}"[:160],
        contents=contents,
        diagnosed=[c for c in contents if c.diagnosis],
        modalities=names,
        sections=sections(contents),
        version=__version__,
    )
    return str(page)


def headlines(runs: Sequence[Run | PathLike]) -> list[str]:
    """Return the answer for each run in one line: its name, and the verdict or what changed since the first run.

    Parameters
    ----------
    runs : sequence of Run or path

    Returns
    -------
    list of str
    """
    require("matplotlib", "Matplotlib", "report")
    from midas_core.report.content import gather

    return [
        f"{content.name}: {content.headline}"
        for content in gather([run if isinstance(run, Run) else read_run(run) for run in runs])
    ]


def write_report(runs: Sequence[Run | PathLike], path: PathLike, *, title: str | None = None) -> Path:
    """Write the report of one run or several into a file; see `render_report`.

    Returns
    -------
    Path
        The file.
    """
    page = render_report(runs, title=title)
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file

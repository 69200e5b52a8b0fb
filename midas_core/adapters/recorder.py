"""The run folder of a training that a framework drives: what the callbacks have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from midas_core.diagnostics import Diagnosis, Diagnostics
from midas_core.runs import RunLogger
from midas_core.runs.folder import INFO
from midas_core.runs.logger import add_diagnostics
from midas_core.validation import check_number


class Recorder:
    """Opens a run folder when training begins, and writes metrics and diagnoses into it.

    Parameters
    ----------
    folder : path
    every : int
        Write a diagnosis after every so many evaluations.
    name, class_names, config, tensorboard : as for `midas_core.runs.RunLogger`
        As for `midas_core.runs.RunLogger`.
    resume : bool, optional
        As for `RunLogger`; None goes on with a run where the framework resumes.
    diagnostics : dict, optional
        Options of `midas_core.diagnostics.Diagnostics`: ``keep``, ``absent`` ...
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        resume: bool | None = None,
        tensorboard: bool | None = None,
        diagnostics: Mapping[str, Any] | None = None,
    ) -> None:
        check_number("every", every, minimum=1, whole=True)
        self.folder = Path(folder)
        self.every = every
        self._given: dict[str, Any] = {"name": name, "class_names": class_names, "tensorboard": tensorboard}
        self._config = dict(config or {})
        self._resume = resume
        self._options = {"class_names": class_names, **(diagnostics or {})}
        self._log: RunLogger | None = None
        self._opened = False
        self._evaluations = 0

    def begin(self, modalities: Sequence[str], known: Mapping[str, Any], *, resumed: bool = False) -> None:
        """Open the folder, unless it is open.

        Parameters
        ----------
        modalities : sequence of M names
        known : dict
            What the callback knows of the configuration; the user's entries go first.
        resumed : bool
            Whether training goes on from a checkpoint.
        """
        if self._log is not None:
            return
        resume = self._resume if self._resume is not None and not self._opened else resumed or self._opened
        config = {**known, **self._config}
        self._log = RunLogger(self.folder, modalities=modalities, config=config, resume=resume, **self._given)
        self._opened = True

    def log(self, metrics: Mapping[str, Any], *, epoch: int, step: int | None = None, prefix: str = "") -> None:
        """Append a line, where the folder is open."""
        if self._log is not None and metrics:
            self._log.log(metrics, epoch=epoch, step=step, prefix=prefix)

    def new_diagnostics(self, head: Any, **options: Any) -> Diagnostics:
        """Return diagnostics with the user's options."""
        return Diagnostics(head, **{**options, **self._options})

    def due(self) -> bool:
        """Count an evaluation, and return whether a diagnosis is due after it."""
        self._evaluations += 1
        return self._evaluations % self.every == 0

    def keep(self, found: Diagnosis, split: str, modalities: Sequence[str], known: Mapping[str, Any]) -> None:
        """Write a diagnosis, also where there was no training in this process."""
        if self._log is None and not (self.folder / INFO).exists():
            self.begin(modalities, known)
            self.finish()
        add_diagnostics(self.folder, found, split=split)

    def finish(self) -> None:
        """Say that the run has come to its end."""
        if self._log is not None:
            self._log.close()
        self._log = None

    def abandon(self) -> None:
        """Close the files of a run that an error ended; it stays unfinished."""
        if self._log is not None:
            self._log.__exit__(RuntimeError, None, None)
        self._log = None

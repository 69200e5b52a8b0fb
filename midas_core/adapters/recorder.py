"""The run folder of a training that a framework drives: what the callbacks have in common."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from midas_core.adapters.warn import warn_user
from midas_core.diagnostics import Diagnosis, Diagnostics
from midas_core.runs import RunLogger
from midas_core.runs.folder import INFO
from midas_core.runs.logger import add_diagnostics, settings_of
from midas_core.validation import check_fraction, check_number


class Recorder:
    """Opens a run folder when training begins, and writes metrics and diagnoses into it; options are the callbacks'."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        aligned_share: float | None = None,
        every: int = 1,
        prefix: str = "",
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        config: Any = None,
        resume: bool | None = None,
        tensorboard: bool | None = None,
        diagnostics: Mapping[str, Any] | None = None,
    ) -> None:
        if aligned_share is not None:
            check_fraction("aligned_share", aligned_share)
        check_number("every", every, minimum=1, whole=True)
        if not isinstance(prefix, str):
            raise TypeError(f"prefix: expected text, got {type(prefix).__name__} {prefix!r}")
        self.folder = Path(folder)
        self._aligned_share, self.every, self.prefix = aligned_share, every, prefix
        self._options: dict[str, Any] = {"name": name, "class_names": class_names, "tensorboard": tensorboard}
        self._config = settings_of(config)
        self._resume = resume
        self._diagnostics = {"class_names": class_names, **(diagnostics or {})}
        self._log: RunLogger | None = None
        self._opened = self._finished = False
        self._evaluations = 0

    def in_folder(self, name: str, config: Mapping[str, Any]) -> Recorder:
        """Return a recorder of one training among several: a folder within this one, more to remember."""
        other = copy.copy(self)
        other.folder, other._config = self.folder.joinpath(name), {**self._config, **config}
        other._log, other._opened, other._finished, other._evaluations = None, False, False, 0
        return other

    def claim(self, shared: MutableMapping[str, Any]) -> None:
        """Raise where another callback has the prefix; ``shared`` is seen by all callbacks of one training."""
        taken = shared.setdefault("_midas_prefixes", set())
        if self.prefix in taken:
            raise ValueError(f"prefix: expected another one for each MidasCallback, got {self.prefix!r} twice")
        taken.add(self.prefix)

    def set_aligned_from(self, criterion: Any, epochs: int | None) -> None:
        """Give the last share of the planned epochs the aligned loss alone; None where nobody knows how many."""
        share = self._aligned_share
        if share is None:
            return
        if not hasattr(criterion, "aligned_from"):
            name = type(criterion).__name__
            raise ValueError(f"aligned_share: expected None with {name}, which is not MIDAS, got {share}")
        if epochs is None:
            raise ValueError(f"aligned_share: expected None where the number of epochs is not planned, got {share}")
        start = epochs - round(share * epochs)
        if share and start == epochs:
            warn_user(f"aligned_share={share} of {epochs} planned epochs is less than one: none is aligned")
        criterion.aligned_from = max(start, criterion.warmup_epochs)

    def begin(self, modalities: Sequence[str], known: Mapping[str, Any], *, resumed: bool = False) -> None:
        """Open the folder, unless it is open; entries of the user take precedence."""
        if self._log is not None:
            return
        if self._finished and not resumed:
            raise ValueError(
                f"folder: {self.folder} holds the last training of this callback, and another one begins: give each "
                "(a fold, a seed) a callback and a folder of its own"
            )
        # A training that an error ended is done again.
        resume = True if self._opened else resumed if self._resume is None else self._resume
        self._open(modalities, known, resume)

    def _open(self, modalities: Sequence[str], known: Mapping[str, Any], resume: bool) -> None:
        config = {**known, **self._config}
        self._log = RunLogger(self.folder, modalities=modalities, config=config, resume=resume, **self._options)
        self._opened = True

    def log(self, metrics: Mapping[str, Any], *, epoch: int, step: int | None = None, prefix: str = "") -> None:
        """Append a line, where the folder is open."""
        if self._log is not None and metrics:
            self._log.log(metrics, epoch=epoch, step=step, prefix=prefix)

    def new_diagnostics(self, head: Any, **options: Any) -> Diagnostics:
        """Return diagnostics with the user's options."""
        return Diagnostics(head, **{**options, **self._diagnostics})

    def due(self) -> bool:
        """Count an evaluation, and return whether a diagnosis is due after it."""
        self._evaluations += 1
        return self._evaluations % self.every == 0

    def keep(self, diagnosis: Diagnosis, split: str, modalities: Sequence[str], known: Mapping[str, Any]) -> None:
        """Write a diagnosis, also where there was no training in this process."""
        if self._log is None and not (self.folder / INFO).exists():
            self._open(modalities, known, False)
            self._close()
        add_diagnostics(self.folder, diagnosis, split=split)

    def finish(self) -> None:
        """Say that the run has come to its end."""
        self._finished = self._finished or self._log is not None
        self._close()

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log = None

    def abandon(self) -> None:
        """Close the files of a run that an error ended; it stays unfinished."""
        if self._log is not None:
            self._log.__exit__(RuntimeError, None, None)
        self._log = None

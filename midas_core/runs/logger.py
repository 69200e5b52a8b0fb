"""Writes a run folder from a plain training loop."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from midas_core.files import finite, package_versions, write_json
from midas_core.objective import MidasTerms
from midas_core.runs.folder import (
    DIAGNOSTICS,
    FORMAT,
    INFO,
    METRICS,
    POSITION,
    RESUMED,
    TABLE,
    TENSORBOARD,
    VERSION,
    RunError,
    clear_run,
    read_metrics,
    read_run,
)
from midas_core.runs.names import as_python, flatten, term_metrics
from midas_core.runs.tensorboard import open_tensorboard
from midas_core.text import printable
from midas_core.validation import check_flag, check_number

PACKAGES = ("midas-multimodal", "numpy", "torch", "jax", "tensorflow", "keras", "scikit-learn")


class RunLogger:
    """Writes the metrics of a training run into a folder that ``midas report`` reads.

    Every line is flushed as it is written: a run that is killed keeps what it had. In training on several processes
    give a logger to one of them.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    modalities : sequence of M names
    name : str, optional
        What to call the run; the name of the folder without one.
    class_names : sequence of C names, optional
    config : dict, optional
        What to remember of the run: method, learning rate, weight ... Anything that JSON holds; the rest as text.
    resume : bool
        Whether to append to a run that is in the folder already. Where there is none, a new one begins.
    overwrite : bool
        Whether to remove a run that is in the folder already and begin another; files that are no part of it stay.
    tensorboard : bool, optional
        Whether to write for TensorBoard too, through ``torch.utils.tensorboard``. None does where PyTorch is imported
        and TensorBoard installed.

    Raises
    ------
    ValueError
        If the folder holds a run and neither ``resume`` nor ``overwrite`` is True, or both are; with ``resume``, a run
        of other modalities.
    ImportError
        If ``tensorboard=True`` and it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with RunLogger(folder, modalities=["audio", "video"]) as log:
    ...     for epoch in range(3):
    ...         log.log(epoch=epoch, loss=1.0 / (epoch + 1), alpha=[1.0, 1.05])
    >>> from midas_core.runs import read_run
    >>> read_run(folder).metrics[-1]
    {'epoch': 2, 'loss': 0.3333333333333333, 'alpha_audio': 1.0, 'alpha_video': 1.05}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        modalities: Sequence[str],
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        tensorboard: bool | None = None,
    ) -> None:
        check_flag("resume", resume)
        check_flag("overwrite", overwrite)
        if resume and overwrite:
            raise ValueError("overwrite: expected False with resume=True, which goes on with the run, got True")
        self.folder = Path(folder)
        self.modalities = _names("modalities", modalities)
        self._info: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "name": name or self.folder.resolve().name,
            "created": _now(),
            "finished": None,
            "modalities": list(self.modalities),
            "class_names": None if class_names is None else list(_names("class_names", class_names)),
            "config": _plain(config or {}),
            "versions": package_versions(*PACKAGES),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            clear_run(self.folder)
        resumed = (self.folder / INFO).exists()
        if resumed:
            self._check_resume(resume)
        self._tensorboard = open_tensorboard(self.folder / TENSORBOARD, tensorboard)
        write_json(self.folder / INFO, self._info)
        self._lines: IO[str] | None = (self.folder / METRICS).open("a", encoding="utf-8")
        self._columns: list[str] = []
        if resumed:
            self._begin_again()

    def log(
        self,
        metrics: Mapping[str, Any] | MidasTerms | None = None,
        *,
        epoch: int | None = None,
        step: int | None = None,
        prefix: str = "",
        **more: Any,
    ) -> None:
        """Append one line.

        Parameters
        ----------
        metrics : dict or MidasTerms, optional
            Numbers, scalar arrays, and for each modality one: vectors of M, or dicts by modality name. They become
            ``alpha_audio``, ``alpha_video`` and so on. Terms get the names of `metric_names`.
        epoch, step : int, optional
            Where training is, from 0. At least one of them. Several lines may have the same epoch.
        prefix : str
            In front of every name: ``"val_"`` for validation data.
        **more
            Further metrics.

        Raises
        ------
        TypeError, ValueError
            If a value is no number, or neither ``epoch`` nor ``step`` is given.
        """
        if self._lines is None:
            raise ValueError("log: the logger is closed")
        row: dict[str, Any] = {}
        for key, value in (("epoch", epoch), ("step", step)):
            if value is not None:
                check_number(key, value, minimum=0, whole=True)
                row[key] = value
        if not row:
            raise ValueError("log: expected an epoch or a step, got neither")
        if isinstance(metrics, MidasTerms):
            found = term_metrics(metrics, self.modalities, prefix=prefix)
        else:
            found = {prefix + key: x for key, x in flatten(metrics or {}, self.modalities).items()}
        found |= {prefix + key: x for key, x in flatten(more, self.modalities).items()}
        if clash := set(found) & set(POSITION):
            raise ValueError(f"metrics: {sorted(clash)} are arguments of log, not metrics")
        row |= finite(found)
        self._append(row)
        self._tabulate(row)
        if self._tensorboard is not None:
            at = step if step is not None else epoch
            for key, x in found.items():
                self._tensorboard.add_scalar(_tag(key, self.modalities), x, at)

    def log_diagnostics(self, found: Any, *, split: str = "validation") -> None:
        """Keep what was measured in the end, in ``diagnostics.json``.

        Parameters
        ----------
        found : object with ``to_dict``, or dict
            Such as what `midas_core.diagnostics` returns.
        split : str
            What it was measured on.
        """
        add_diagnostics(self.folder, found, split=split)

    def close(self) -> None:
        """Say that the run is finished; nothing can be logged after."""
        if self._lines is None:
            return
        self._release()
        self._info["finished"] = _now()
        write_json(self.folder / INFO, self._info)

    def __enter__(self) -> RunLogger:
        """Return the logger."""
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close; a run that an error ended stays unfinished."""
        if kind is None:
            self.close()
        else:
            self._release()

    def _release(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _check_resume(self, resume: bool) -> None:
        if not resume:
            raise ValueError(
                f"folder: {self.folder} holds a run already; pass resume=True to go on with it, overwrite=True to "
                "replace it, or another folder"
            )
        try:
            known = read_run(self.folder)
        except RunError as error:
            raise ValueError(f"folder: cannot resume: {error}") from None
        if known.modalities != self.modalities:
            raise ValueError(
                f"modalities: the run in {self.folder} has {list(known.modalities)}, got {list(self.modalities)}"
            )
        self._info["created"] = known.created or self._info["created"]
        self._info["config"] = {**known.config, **self._info["config"]}
        if self._info["class_names"] is None and known.class_names is not None:
            self._info["class_names"] = list(known.class_names)

    def _begin_again(self) -> None:
        file = self.folder / METRICS
        with file.open("rb") as lines:
            lines.seek(0, os.SEEK_END)
            if lines.tell():
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":
                    # The last line was cut off: end it, so that it takes no other with it.
                    assert self._lines is not None
                    self._lines.write("\n")
        self._append({RESUMED: _now()})

    def _append(self, row: Mapping[str, Any]) -> None:
        assert self._lines is not None
        self._lines.write(json.dumps(row, allow_nan=False) + "\n")
        self._lines.flush()

    def _tabulate(self, row: Mapping[str, Any]) -> None:
        if set(row) <= set(self._columns):
            with (self.folder / TABLE).open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns).writerow(row)
            return
        # Another column changes the header: the table is written again, which happens once or twice.
        rows = read_metrics(self.folder / METRICS, [])
        self._columns = list(dict.fromkeys([*POSITION, *(key for each in rows for key in each)]))
        with (self.folder / TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def add_diagnostics(folder: str | os.PathLike[str], found: Any, *, split: str) -> None:
    """Keep what was measured in the folder of a run, also of one that is finished; see `RunLogger.log_diagnostics`."""
    content = found.to_dict() if hasattr(found, "to_dict") else found
    if not isinstance(content, Mapping):
        raise TypeError(f"diagnostics: expected a dict or an object with to_dict(), got {type(content).__name__}")
    known = read_run(folder).diagnostics
    write_json(Path(folder) / DIAGNOSTICS, {**known, split: _plain(content)})


def _names(argument: str, given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"{argument}: expected a sequence of names, got {given!r}")
    names = tuple(map(str, given))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{argument}: expected different names, got {list(names)}")
    if any(printable(name) != name for name in names):
        raise ValueError(f"{argument}: expected names of at most 200 printable characters, got {list(names)!a}")
    return names


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(value: Any) -> Any:
    """Return what JSON holds: numbers, text, lists and dicts; anything else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    number = as_python(value)
    return str(value) if number is value else _plain(number)


def _tag(name: str, modalities: Sequence[str]) -> str:
    # TensorBoard puts what shares a prefix into one section.
    for modality in modalities:
        if name.endswith(f"_{modality}"):
            return f"{name.removesuffix(f'_{modality}')}/{modality}"
    return name

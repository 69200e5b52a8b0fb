"""Writes a run folder from a plain training loop."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from midas_core.files import as_mapping, finite, package_versions, plain, write_json
from midas_core.objective import MidasTerms
from midas_core.runs.folder import (
    DIAGNOSTICS,
    FORMAT,
    INFO,
    METRICS,
    POSITION,
    RESUMED,
    TENSORBOARD,
    VERSION,
    RunError,
    clear_run,
    read_run,
)
from midas_core.runs.names import flatten, term_metrics
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
        Made if it is missing.
    modalities : sequence of M names
    name : str, optional
        Name of the run; the folder's by default.
    class_names : sequence of C names, optional
    config : dict, dataclass, argparse.Namespace or object with ``to_dict``, optional
        Settings of the run: method, seed, learning rate, weight ... Values that JSON does not hold are kept as text.
    resume : bool
        Whether to append to a run that is in the folder already. An empty folder begins a new one.
    overwrite : bool
        Whether to remove a run that is in the folder already and begin another; files that are no part of it stay.
    tensorboard : bool, optional
        Whether to write for TensorBoard too, through ``torch.utils.tensorboard``. By default if PyTorch is imported
        and TensorBoard installed.

    Raises
    ------
    TypeError, ValueError
        If ``config`` has no entries, or the folder holds a run and not one of ``resume`` and ``overwrite`` is True;
        with ``resume``, a run of other modalities.
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
        config: Any = None,
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
            "config": settings_of(config),
            "versions": package_versions(*PACKAGES),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            clear_run(self.folder)
        resumed = (self.folder / INFO).exists()
        if resumed:
            self._check_resume(resume)
        self._tensorboard = _open_tensorboard(self.folder / TENSORBOARD, tensorboard)
        write_json(self.folder / INFO, self._info)
        self._lines: IO[str] | None = (self.folder / METRICS).open("a", encoding="utf-8")
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
        """Append one line; ``TypeError`` or ``ValueError`` if a value is not a number, or epoch and step are missing.

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
        """
        if self._lines is None:
            raise ValueError("log: the logger is closed")
        row: dict[str, Any] = {}
        for key, value in (("epoch", epoch), ("step", step)):
            if value is not None:
                row[key] = check_number(key, value, minimum=0, whole=True)
        if not row:
            raise ValueError("log: expected an epoch or a step, got neither")
        if isinstance(metrics, MidasTerms):
            values = term_metrics(metrics, self.modalities, prefix=prefix)
        else:
            values = {prefix + key: x for key, x in flatten(metrics or {}, self.modalities).items()}
        values |= {prefix + key: x for key, x in flatten(more, self.modalities).items()}
        if clash := set(values) & set(POSITION):
            raise ValueError(f"metrics: {sorted(clash)} are arguments of log, not metrics")
        self._append(row | finite(values))
        if self._tensorboard is not None:
            for key, x in values.items():
                self._tensorboard.add_scalar(_tag(key, self.modalities), x, row.get("step", row.get("epoch")))

    def log_diagnostics(self, diagnosis: Any, *, split: str = "validation") -> None:
        """Write a diagnosis of a split (a `Diagnosis`, another object with ``to_dict``, or a dict) into the folder."""
        add_diagnostics(self.folder, diagnosis, split=split)

    def close(self) -> None:
        """Mark the run as finished; nothing can be logged after."""
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
        lines = (self.folder / METRICS).read_bytes()
        if lines and not lines.endswith(b"\n"):
            # The last line was cut off: end it, so that it takes no other with it.
            assert self._lines is not None
            self._lines.write("\n")
        self._append({RESUMED: _now()})

    def _append(self, row: Mapping[str, Any]) -> None:
        assert self._lines is not None
        self._lines.write(json.dumps(row, allow_nan=False) + "\n")
        self._lines.flush()


def add_diagnostics(folder: str | os.PathLike[str], diagnosis: Any, *, split: str) -> None:
    """Write a diagnosis into the folder of a run, also of a finished one; see `RunLogger.log_diagnostics`."""
    content = as_mapping(diagnosis)
    if content is None:
        raise TypeError(f"diagnostics: expected a dict or an object with to_dict(), got {type(diagnosis).__name__}")
    write_json(Path(folder) / DIAGNOSTICS, {**read_run(folder).diagnostics, split: plain(content)})


def settings_of(config: Any) -> dict[str, Any]:
    """Return the configuration of a run as JSON holds it."""
    entries = {} if config is None else as_mapping(config)
    if entries is None:
        raise TypeError(
            "config: expected a dict, a dataclass, a Namespace or an object with to_dict(), "
            f"got {type(config).__name__} {str(config)[:80]!r}"
        )
    settings: dict[str, Any] = plain(entries)
    return settings


def _names(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{argument}: expected a sequence of names, got {names!r}")
    names = tuple(map(str, names))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{argument}: expected different names, got {list(names)}")
    if any(printable(name) != name for name in names):
        raise ValueError(f"{argument}: expected names of at most 200 printable characters, got {list(names)!a}")
    return names


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _tag(name: str, modalities: Sequence[str]) -> str:
    # TensorBoard puts what shares a prefix into one section.
    for modality in modalities:
        if name.endswith(f"_{modality}"):
            return f"{name.removesuffix(f'_{modality}')}/{modality}"
    return name


def _open_tensorboard(folder: Path, wanted: bool | None) -> Any:
    """Return a ``SummaryWriter``, or None; ``wanted=None`` takes it if it is there."""
    if wanted is False:
        return None
    if wanted is None and ("torch" not in sys.modules or find_spec("tensorboard") is None):
        return None
    try:
        with warnings.catch_warnings():
            # TensorBoard imports what NumPy and protobuf have deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if wanted is None:
            return None
        raise ImportError("tensorboard=True needs PyTorch and TensorBoard: pip install torch tensorboard") from error
    return SummaryWriter(str(folder))

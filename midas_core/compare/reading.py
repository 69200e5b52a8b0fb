"""Features, labels, groups and folds of the user: read from files or taken from arrays, and checked."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from midas_core.data.base import DataError, Floats, Labels, some_names

RESERVED = ("labels", "groups", "fold")
"""Names that no modality may have."""
FORMATS = "a .npz file, a folder of .npy files or a .csv file"
COPIES = 5
"""Of the data, that are in memory at once while models train."""
SHARE = 0.8
"""Of the memory of the machine, that a comparison may take."""

Missing = Literal["refuse", "zero", "drop"]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Checked features of two modalities or more, labels, groups and folds; sentences that the user has to know.

    A missing value is NaN, and counts as the mean of its column.
    """

    inputs: dict[str, Floats]  # by modality, (N, D_m)
    labels: Labels  # (N,), 0 ... C - 1
    class_names: tuple[str, ...]
    groups: Labels | None = None  # (N,)
    fold: Labels | None = None  # (N,), 0 for training, 1 for validation, 2 for the test
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        widths = ", ".join(f"{name} {x.shape[1]}" for name, x in self.inputs.items())
        groups = "" if self.groups is None else f", {len(np.unique(self.groups))} groups"
        return f"{len(self):,} samples{groups}, {len(self.class_names)} classes; features: {widths}"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(self.inputs)

    @cached_property
    def digest(self) -> str:
        """A number, as text, that other data do not have."""
        digest = hashlib.blake2b(digest_size=16)
        arrays = {**self.inputs, "labels": self.labels, "groups": self.groups, "fold": self.fold}
        for name, x in arrays.items():
            digest.update(f"{name} {None if x is None else x.shape}".encode())
            if x is not None:
                digest.update(np.ascontiguousarray(x).data)
        return digest.hexdigest()

    def select(self, samples: NDArray[Any]) -> FeatureSet:
        """Return the samples that an index or a mask names."""
        inputs = {name: x[samples] for name, x in self.inputs.items()}
        groups, fold = (None if x is None else x[samples] for x in (self.groups, self.fold))
        return replace(self, inputs=inputs, labels=self.labels[samples], groups=groups, fold=fold)


def read_features(path: str | Path, labels: str | Path | None = None, missing: Missing = "refuse") -> FeatureSet:
    """Read features from a .npz file, a folder of .npy files or a .csv file, as `make_features` takes them.

    In a .csv file the modality of a column stands before the first dot, or without a dot before the last underscore.
    ``labels`` is a .npy file or a text file with one label on each line, where ``path`` holds none.

    Examples
    --------
    >>> import tempfile
    >>> rng, path = np.random.default_rng(0), Path(tempfile.mkdtemp(), "features.npz")
    >>> np.savez(path, audio=rng.normal(size=(60, 8)), text=rng.normal(size=(60, 4)), labels=["yes", "no"] * 30)
    >>> features = read_features(path)
    >>> features.modalities, features.class_names, len(features)
    (('audio', 'text'), ('no', 'yes'), 60)
    """
    path = Path(path)
    arrays = _read_arrays(path)
    if labels is not None:
        if "labels" in arrays:
            raise DataError(f"labels: expected them in one place, got them in {path} and in {labels}")
        arrays["labels"] = _read_labels(Path(labels))
    if "labels" not in arrays:
        raise DataError(f"{path}: expected an array named labels, or --labels FILE, got {some_names(sorted(arrays))}")
    reserved = [arrays.pop(name, None) for name in RESERVED]
    with _readable(path):
        return make_features(arrays, *reserved, missing=missing)


def make_features(
    inputs: Mapping[str, ArrayLike],
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    *,
    missing: Missing = "refuse",
) -> FeatureSet:
    """Check features and labels, and return them as a `FeatureSet`; see `compare_methods` for the arguments.

    Raises ``DataError`` with one sentence that says what is wrong with which array.

    Examples
    --------
    >>> features = make_features({"audio": [[1.0], [2.0]], "text": [[[0, 2], [2, 2]]] * 2}, ["no", "yes"])
    >>> features.inputs["text"].tolist(), features.labels.tolist()
    ([[1.0, 2.0], [1.0, 2.0]], [0, 1])
    >>> features.notes
    ('text: averaged over its second axis, of length 2',)
    """
    if len(inputs) < 2:
        raise DataError(f"modalities: expected two or more, got {some_names(list(inputs))}")
    if missing not in (expected := ("refuse", "zero", "drop")):
        raise DataError(f"missing: expected one of {', '.join(expected)}, got {missing!r}")
    notes: list[str] = []
    features = {name: _as_features(name, x, notes) for name, x in inputs.items()}
    class_names, classes = _as_categories("labels", labels)
    group_numbers = None if groups is None else _as_categories("groups", groups)[1]
    folds = None if fold is None else _as_fold(fold)
    _check_lengths({**features, "labels": classes, "groups": group_numbers, "fold": folds})
    result = FeatureSet(features, classes, class_names, group_numbers, folds, tuple(notes))
    result = _without_missing(result, missing)
    if len(class_names) < 2:
        raise DataError(f"labels: expected two classes or more, got one, {some_names(class_names)}")
    copies = [
        f"{a} and {b} are the same numbers: neither can add anything to the other"
        for (a, x), (b, y) in combinations(result.inputs.items(), 2)
        if x.shape == y.shape and np.array_equal(x, y, equal_nan=True)
    ]
    return replace(result, notes=(*result.notes, *copies))


def _read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file or a folder by name."""
    with _readable(path):
        if not path.exists():
            raise DataError(f"{path}: expected {FORMATS}, got no such file")
        if path.is_dir():
            files = sorted(path.glob("*.npy"))
            if not files:
                raise DataError(f"{path}: expected {FORMATS}, got a folder without .npy files")
            _check_memory(path, sum(file.stat().st_size for file in files))
            return {file.stem: _load(file) for file in files}
        if path.suffix == ".csv":
            _check_memory(path, path.stat().st_size)
            return _read_csv(path)
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path}: expected {FORMATS}, got something else or a damaged file")
        with zipfile.ZipFile(path) as archive:
            _check_memory(path, sum(info.file_size for info in archive.infolist()))
        with np.load(path, allow_pickle=False) as content:
            return dict(content)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a ``DataError``; pickled objects, which run any code, too."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise _too_large(path, "more than there is") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, csv.Error, ValueError) as error:
        if "pickle" in str(error).lower():
            reason = "expected arrays of numbers or text, got pickled objects, which are not read: save plain arrays"
        else:
            reason = f"expected a readable file, got {_first_line(error)}"
        raise DataError(f"{path}: {reason}") from error


def _load(path: Path) -> Any:
    with _readable(path):
        return np.load(path, allow_pickle=False)


def _first_line(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]


def _read_csv(path: Path) -> dict[str, Any]:
    """Return the columns by modality, and the reserved ones by name."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        columns: dict[str, list[int]] = {}
        for i, name in enumerate(header):
            modality = name if name in RESERVED else re.split(r"\.|_(?!.*_)", name, maxsplit=1)[0]
            if name not in RESERVED and (modality == name or not modality):
                raise DataError(f"{path}: expected columns such as audio_0 or audio.energy, got {name!r}")
            columns.setdefault(modality, []).append(i)
        texts: dict[str, list[str]] = {name: [] for name in columns if name in RESERVED}
        numbers: dict[str, list[Floats]] = {name: [] for name in columns if name not in RESERVED}
        for line, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}: expected {len(header)} values in line {line}, got {len(row)}")
            for name, taken in texts.items():
                taken.append(row[columns[name][0]].strip())
            for name, values in numbers.items():
                try:
                    values.append(np.array([row[i].strip() or "nan" for i in columns[name]], dtype=np.float32))
                except ValueError as error:
                    raise DataError(f"{name}: expected numbers, got text in line {line} of {path}") from error
    arrays: dict[str, Any] = {name: np.array(values).reshape(len(values), -1) for name, values in numbers.items()}
    return {**arrays, **{name: _whole_numbers(values) for name, values in texts.items()}}


def _read_labels(path: Path) -> Any:
    """Return labels from a .npy file, or from a text file with one on each line."""
    if path.suffix == ".npy":
        return _load(path)
    with _readable(path):
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        return _whole_numbers([line for line in lines if line])


def _whole_numbers(texts: list[str]) -> NDArray[Any]:
    """Return whole numbers where all of the texts are some, so that 10 comes after 9."""
    whole = texts and all(re.fullmatch(r"[+-]?\d{1,18}(\.0*)?", text) for text in texts)
    return np.array([int(float(text)) for text in texts]) if whole else np.array(texts)


def _as_features(name: str, values: ArrayLike, notes: list[str]) -> Floats:
    """Return an array (N, D) of float32; what is not finite becomes NaN."""
    x = _as_array(name, values)
    if x.dtype.kind not in "fiub":
        text = "text: encode it first, as embeddings or counts"
        raise DataError(f"{name}: expected real numbers, got {text if x.dtype.kind in 'US' else f'dtype {x.dtype}'}")
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise DataError(
            f"{name}: expected features (N, D) or (N, T, D), got shape {x.shape}"
            + (f"; the other names are {', '.join(RESERVED)}" if x.ndim == 1 else "")
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if x.ndim == 3:
            notes.append(f"{name}: averaged over its second axis, of length {x.shape[1]}")
            x = x.mean(axis=1, dtype=np.float32)
        x = np.array(x, dtype=np.float32)
    x[~np.isfinite(x)] = np.nan
    return x


def _as_categories(name: str, values: ArrayLike) -> tuple[tuple[str, ...], Labels]:
    """Return the names of the categories, in their order, and the number of each sample's."""
    x = _as_array(name, values)
    x = x[:, 0] if x.ndim == 2 and x.shape[1] == 1 else x
    if x.ndim != 1:
        raise DataError(f"{name}: expected one for each sample, (N,), got shape {x.shape}")
    if x.dtype.kind == "O" and all(isinstance(value, str) for value in x):
        x = x.astype(str)
    if x.dtype.kind == "S":
        x = np.char.decode(x, "utf-8", "replace")
    if x.dtype.kind == "f":
        odd = x[~(np.isfinite(x) & (x == np.round(x)))]
        if len(odd):
            raise DataError(f"{name}: expected whole numbers or text, got {odd[0]}")
        x = x.astype(np.int64)
    if x.dtype.kind not in "iubU":
        raise DataError(f"{name}: expected whole numbers or text, got dtype {x.dtype}")
    if x.dtype.kind == "U" and "" in x:
        raise DataError(f"{name}: expected one for each sample, got none for {(x == '').sum()} of {len(x)}")
    categories, numbers = np.unique(x, return_inverse=True)
    return tuple(str(category) for category in categories), numbers.astype(np.int64)


def _as_fold(values: ArrayLike) -> Labels:
    names, numbers = _as_categories("fold", values)
    if not {"0", "2"} <= set(names) <= {"0", "1", "2"}:
        raise DataError(f"fold: expected 0 (training), 1 (validation, optional) and 2 (test), got {some_names(names)}")
    return np.array(names, dtype=np.int64)[numbers]


def _as_array(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: expected an array, got {_first_line(error)}") from error


def _check_lengths(arrays: Mapping[str, NDArray[Any] | None]) -> None:
    lengths = {name: len(x) for name, x in arrays.items() if x is not None}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"samples: expected as many in every array, got {shown}")


def _without_missing(features: FeatureSet, missing: Missing) -> FeatureSet:
    """Refuse, keep or drop the samples with features that are not finite."""
    lacking = {name: np.isnan(x).any(axis=1) for name, x in features.inputs.items()}
    if not (named := [name for name, rows in lacking.items() if rows.any()]):
        return features
    said = ", ".join(f"{lacking[name].sum()} of {len(features)} samples of {name}" for name in named)
    if missing == "refuse":
        raise DataError(
            f"features: expected finite numbers, got NaN or infinite ones in {said}; "
            "--missing zero counts them as the mean of their column, --missing drop leaves the samples out"
        )
    if missing == "zero":
        note = f"NaN and infinite features, in {said}, count as the mean of their column"
        return replace(features, notes=(*features.notes, note))
    kept = ~np.any(list(lacking.values()), axis=0)
    note = f"{(~kept).sum()} of {len(features)} samples left out for NaN or infinite features, in {said}"
    chosen = features.select(kept)
    # A class without samples left does not count.
    present, labels = np.unique(chosen.labels, return_inverse=True)
    names = tuple(features.class_names[i] for i in present)
    return replace(chosen, labels=labels, class_names=names, notes=(*features.notes, note))


def _check_memory(path: Path, size: int) -> None:
    """Refuse what would not fit, before it is read."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        # Windows does not tell. There a MemoryError does.
        return
    if size * COPIES > SHARE * memory:
        raise _too_large(path, f"{size * COPIES / 2**30:.1f} GiB of {memory / 2**30:.1f} GiB")


def _too_large(path: Path, got: str) -> DataError:
    return DataError(
        f"{path}: expected data that fit into memory {COPIES} times, got {got}: "
        "take fewer samples, or fewer columns, as of sklearn.decomposition.PCA"
    )

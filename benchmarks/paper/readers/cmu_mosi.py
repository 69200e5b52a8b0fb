"""CMU-MOSI: opinions in video, as features of text, sound and face (Zadeh et al., 2016).

The pickle of MultiBench (Liang et al., 2021), ``mosi_raw.pkl``: for each of train, valid and test the arrays ``text``
(N, 50, 300), ``audio`` (N, 50, 74), ``vision`` (N, 50, 35), ``labels`` (N, 1, 1) from -3 to 3 and ``id``.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.listing import DataError, Listing, Problem, Sample, files_in, make_listing
from midas_core.data.base import some_names

FILE = "mosi_raw.pkl"
SPLITS = ("train", "valid", "test")
MODALITIES = ("text", "audio", "vision")
CLASSES = ("not positive", "positive")

_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays and refuses everything else: a pickle can run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"expected arrays alone, got {module}.{name}")
        return super().find_class(module, name)


def read(root: Path) -> Listing:
    """List the utterances; above 0 is positive. The group is the video that they were cut from."""
    path = root / FILE
    if not path.is_file():
        inside = some_names([path.name for path in files_in(root, ".", FILE)])
        raise DataError(f"looked for {path}: found no such file, but {inside}")
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise DataError(f"{path}: expected a pickle of arrays, got {error or 'a file that is cut off'}") from error
    return make_listing(root, FILE, CLASSES, _samples(path, content))


def _samples(path: Path, content: Any) -> Iterator[Sample | Problem]:
    for split in SPLITS:
        arrays = _arrays(path, content, split)
        for place, label in enumerate(arrays["labels"].reshape(len(arrays["labels"]), -1)[:, 0].astype(float)):
            name = _name(arrays["id"][place], f"{split}/{place}")
            if not np.isfinite(label):
                yield Problem(name, f"expected a label from -3 to 3, got {label}")
                continue
            # Utterances are numbered within a video: id_3 or id[3] or id$_$3.
            video = name.replace("[", "_").replace("$", "_").rsplit("_", 1)[0].rstrip("_")
            sources = tuple(np.asarray(arrays[key][place], dtype=np.float32) for key in MODALITIES)
            yield Sample(f"{split} {place}, {name}", int(label > 0), sources, video)


def _arrays(path: Path, content: Any, split: str) -> dict[str, Any]:
    expected = f"{path}: expected a dict of {', '.join(SPLITS)}, each with {', '.join((*MODALITIES, 'labels', 'id'))}"
    arrays = content.get(split) if isinstance(content, dict) else None
    if not isinstance(arrays, dict):
        keys = some_names(sorted(map(str, content))) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{expected}; got {keys}")
    missing = [key for key in (*MODALITIES, "labels", "id") if key not in arrays]
    if missing:
        raise DataError(f"{expected}; {split} has no {some_names(missing)}")
    counts = {key: len(arrays[key]) for key in (*MODALITIES, "labels", "id")}
    if len(set(counts.values())) > 1:
        raise DataError(f"{path}: expected as many of each in {split}, got {counts}")
    return {**arrays, "labels": np.asarray(arrays["labels"])}


def _name(identity: Any, otherwise: str) -> str:
    first = np.asarray(identity).reshape(-1)
    if not len(first):
        return otherwise
    return first[0].decode(errors="replace") if isinstance(first[0], bytes) else str(first[0])

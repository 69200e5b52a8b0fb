"""Natural data sets, from the layouts in which they are published to a .npz file of ``midas compare``.

python -m benchmarks.natural wisdm wisdm-dataset wisdm.npz
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from midas_core.cli._common import failing
from midas_core.data.base import DataError, some_names
from midas_core.files import check_writable

Arrays = dict[str, NDArray[Any]]

SENSORS = ("accel_phone", "gyro_phone", "accel_watch", "gyro_watch")
FEATURES = 91
"""Of a WISDM window; before them stands the activity, after them the person."""
HIP, SKELETON_STEPS, INERTIAL_STEPS, BLOCK = 3, 16, 48, 8
"""UTD-MHAD: the joint that the skeleton is relative to, steps in time, side of a block of the depth motion map."""
SUBJECTS = (1, 3, 5, 7)
"""Who trains and validates in the paper of UTD-MHAD; the others test."""
CATEGORIES = (
    *("art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare"),
)
"""Of the Wikipedia articles, in the order of the file."""


def wisdm(root: Path) -> Arrays:
    """Read WISDM (Weiss, 2019): ``arff_files/{phone,watch}/{accel,gyro}/data_{person}_{sensor}_{device}.arff``.

    Nothing says which windows of the four sensors were recorded at once: windows of one person and activity are
    put together in the order of the files, as many as the sensor with the fewest has.
    """
    layout = "arff_files/phone/accel/data_*_accel_phone.arff"
    features: dict[str, list[NDArray[Any]]] = {sensor: [] for sensor in SENSORS}
    labels, groups = [], []
    for path in _files(root, layout):
        person = path.name.split("_")[1]
        windows = {sensor: _windows(root, sensor, person) for sensor in SENSORS}
        for activity in sorted(set.intersection(*map(set, windows.values()))):
            count = min(len(windows[sensor][activity]) for sensor in SENSORS)
            for sensor in SENSORS:
                features[sensor].append(windows[sensor][activity][:count])
            labels += [activity] * count
            groups += [int(person)] * count
    stacked = {sensor: np.concatenate(rows).astype(np.float32) for sensor, rows in features.items() if rows}
    return {**stacked, "labels": np.array(labels), "groups": np.array(groups)}


def utd_mhad(root: Path) -> Arrays:
    """Read UTD-MHAD (Chen and others, 2015): ``{Skeleton,Inertial,Depth}/a1_s1_t1_{skeleton,inertial,depth}.mat``.

    Skeleton and inertial signals at evenly spaced times, the skeleton relative to the hip; the depth motion map is the
    mean absolute difference of successive frames, over blocks of 8 x 8 pixels.
    """
    arrays: dict[str, list[Any]] = {name: [] for name in ("skeleton", "inertial", "depth", "labels", "groups")}
    for path in _files(root, "Skeleton/a*_s*_t*_skeleton.mat"):
        action, subject, _ = map(int, re.findall(r"\d+", path.name))
        skeleton = _load(path)["d_skel"]
        inertial = _load(_beside(path, "Inertial"))["d_iner"]
        depth = _load(_beside(path, "Depth"))["d_depth"].astype(np.float32)
        arrays["skeleton"].append(
            _resample((skeleton - skeleton[HIP]).reshape(-1, skeleton.shape[2]).T, SKELETON_STEPS)
        )
        arrays["inertial"].append(_resample(inertial, INERTIAL_STEPS))
        motion = np.abs(np.diff(depth, axis=2)).mean(axis=2)
        blocks = motion.reshape(motion.shape[0] // BLOCK, BLOCK, motion.shape[1] // BLOCK, BLOCK)
        arrays["depth"].append(blocks.mean(axis=(1, 3)).ravel())
        arrays["labels"].append(action)
        arrays["groups"].append(subject)
    stacked = {name: np.stack(rows) for name, rows in arrays.items()}
    return {**stacked, "fold": np.where(np.isin(stacked["groups"], SUBJECTS), 0, 2)}


def wikipedia(root: Path) -> Arrays:
    """Read the Wikipedia articles (Rasiwasia and others, 2010): ``wiki_data.mat`` with I, T and L of _tr and _te."""
    (path,) = _files(root, "wiki_data.mat")
    content = _load(path)
    parts = {name: [content[f"{name}_{part}"] for part in ("tr", "te")] for name in "ITL"}
    labels = np.concatenate(parts["L"]).argmax(axis=1)
    return {
        "image": np.concatenate(parts["I"]).astype(np.float32),
        "text": np.concatenate(parts["T"]).astype(np.float32),
        "labels": np.array(CATEGORIES)[labels],
        "fold": np.repeat([0, 2], [len(x) for x in parts["L"]]),
    }


READERS: Mapping[str, Callable[[Path], Arrays]] = {"wisdm": wisdm, "utd-mhad": utd_mhad, "wikipedia": wikipedia}


@click.command()
@click.argument("data", type=click.Choice(list(READERS)))
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def convert(data: str, root: Path, output: Path) -> None:
    """Write the data set in the folder ROOT as OUTPUT, a .npz file of midas compare."""
    with failing(DataError, OSError):
        check_writable(output)
        try:
            arrays = READERS[data](root)
        except (KeyError, ValueError, IndexError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{root}: expected {data} as it is published, got {type(error).__name__}: {error}"
            ) from error
        output.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(output, **arrays)  # type: ignore[arg-type]
    click.echo(f"{output}: " + ", ".join(f"{name} {x.shape}" for name, x in arrays.items()))


def _files(root: Path, pattern: str) -> list[Path]:
    """Return the files of a layout in the order of their numbers."""
    paths = sorted(root.glob(pattern), key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    if not paths:
        inside = some_names(sorted(path.name for path in root.iterdir())) if root.is_dir() else "no such folder"
        raise DataError(f"{root}: expected {pattern}, got {inside}")
    return paths


def _windows(root: Path, sensor: str, person: str) -> dict[str, NDArray[np.float64]]:
    """Return the features of the windows, (N, 91), by activity; none where the file is missing."""
    from scipy.io import arff

    kind, device = sensor.split("_")
    path = root / "arff_files" / device / kind / f"data_{person}_{sensor}.arff"
    if not path.exists():
        return {}
    rows, _ = arff.loadarff(str(path))
    names = rows.dtype.names
    values = np.stack([rows[name].astype(np.float64) for name in names[1 : 1 + FEATURES]], axis=1)
    activities = np.array([activity.decode().strip() for activity in rows[names[0]]])
    return {activity: values[activities == activity] for activity in np.unique(activities)}


def _beside(path: Path, folder: str) -> Path:
    """Return the file of another modality."""
    return path.parent.parent / folder / path.name.replace("_skeleton", f"_{folder.lower()}")


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .mat file of any version."""
    from scipy.io import loadmat

    try:
        return {name: x for name, x in loadmat(path).items() if not name.startswith("_")}
    except NotImplementedError:
        return dict(_load_hdf5(path))


def _load_hdf5(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of a .mat file of version 7.3, which is HDF5 with the axes turned round."""
    import h5py

    with h5py.File(path) as file:
        for name, x in file.items():
            if isinstance(x, h5py.Dataset):
                yield name, np.asarray(x).T


def _resample(x: NDArray[Any], steps: int) -> NDArray[np.float32]:
    """Return a signal (T, D) at evenly spaced times, flattened."""
    times = np.linspace(0, len(x) - 1, steps)
    return np.stack([np.interp(times, np.arange(len(x)), column) for column in x.T], axis=1).astype(np.float32).ravel()


if __name__ == "__main__":
    convert(prog_name="python -m benchmarks.natural")

"""Converters of natural data sets, on small files in the layouts in which they are published."""

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from benchmarks.natural import CATEGORIES, convert
from midas_core.compare.reading import read_features

RNG = np.random.default_rng(0)


def write_arff(path, activities, first):
    """Write the windows of a person; the first feature counts them, the others are random or missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = ['@attribute "ACTIVITY" { A,B,S }', *(f'@attribute "X{k}" numeric' for k in range(91))]
    attributes.append('@attribute "class" { 1600,1601,1602 }')
    rows = [
        ",".join([activity, str(first + k), *map(str, RNG.normal(size=90).round(3)), "1600"])
        for k, activity in enumerate(activities)
    ]
    path.write_text("\n".join(["@relation person", *attributes, "@data", *rows]) + "\n")


def write_wisdm(root):
    for person in (1600, 1601):
        for sensor, activities in (
            ("accel_phone", "AABBB"),
            ("gyro_phone", "ABBS"),
            ("accel_watch", "BBAA"),
            ("gyro_watch", "AABB"),
        ):
            kind, device = sensor.split("_")
            write_arff(root / "arff_files" / device / kind / f"data_{person}_{sensor}.arff", activities, person)
    # Somebody without a watch.
    write_arff(root / "arff_files/phone/accel/data_1602_accel_phone.arff", "AB", 0)


def write_utd_mhad(root):
    times = np.arange(31)
    for folder in ("Skeleton", "Inertial", "Depth"):
        (root / folder).mkdir(parents=True)
    for action in (1, 10, 2):
        for subject in range(1, 5):
            name = f"a{action}_s{subject}_t1"
            skeleton = np.ones((20, 3, 31)) * subject
            skeleton[0] += times
            savemat(root / f"Skeleton/{name}_skeleton.mat", {"d_skel": skeleton})
            savemat(root / f"Inertial/{name}_inertial.mat", {"d_iner": np.outer(np.arange(95), np.ones(6))})
            depth = np.zeros((240, 320, 4))
            depth[:8, :8, 1::2] = action
            savemat(root / f"Depth/{name}_depth.mat", {"d_depth": depth})


def wikipedia_arrays():
    labels = {part: np.arange(count) % 10 for part, count in (("tr", 20), ("te", 10))}
    return {
        f"{name}_{part}": np.eye(10)[y] if name == "L" else RNG.normal(size=(len(y), width))
        for part, y in labels.items()
        for name, width in (("I", 128), ("T", 10), ("L", 10))
    }


def call(data, root, output):
    return CliRunner().invoke(convert, [data, str(root), str(output)])


def converted(data, root, tmp_path):
    result = call(data, root, tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    return read_features(tmp_path / "out.npz")


def test_windows_of_a_person_and_an_activity_are_put_together_in_the_order_of_the_files(tmp_path):
    write_wisdm(tmp_path / "set")
    features = converted("wisdm", tmp_path / "set", tmp_path)
    assert features.modalities == ("accel_phone", "gyro_phone", "accel_watch", "gyro_watch")
    assert all(x.shape == (6, 91) for x in features.inputs.values())
    # One window of A, two of B: what the sensor with the fewest has. S is of one sensor alone.
    assert [features.class_names[i] for i in features.labels] == ["A", "B", "B"] * 2
    assert features.groups.tolist() == [0, 0, 0, 1, 1, 1]
    numbers = [[int(x[k, 0]) for x in features.inputs.values()] for k in range(3)]
    assert numbers == [[1600, 1600, 1602, 1600], [1602, 1601, 1600, 1602], [1603, 1602, 1601, 1603]]


def test_skeleton_inertial_and_depth_of_actions(tmp_path):
    write_utd_mhad(tmp_path / "set")
    features = converted("utd-mhad", tmp_path / "set", tmp_path)
    assert {name: x.shape for name, x in features.inputs.items()} == {
        "skeleton": (12, 960),
        "inertial": (12, 288),
        "depth": (12, 1200),
    }
    assert [features.class_names[i] for i in features.labels] == ["1"] * 4 + ["2"] * 4 + ["10"] * 4
    assert features.fold.tolist() == [0, 2] * 6
    assert features.groups.tolist() == [0, 1, 2, 3] * 3
    # The head moves by one unit a frame, the rest stays with the hip: 16 times of 31 frames are two apart.
    np.testing.assert_array_equal(features.inputs["skeleton"][5].reshape(16, 20, 3)[:, 0, 0], np.arange(0, 32, 2))
    assert not features.inputs["skeleton"][5].reshape(16, 20, 3)[:, 1:].any()
    np.testing.assert_array_equal(features.inputs["inertial"][0].reshape(48, 6)[:, 3], np.arange(0, 96, 2))
    motion = features.inputs["depth"].reshape(12, 30, 40)
    np.testing.assert_array_equal(motion[:, 0, 0], np.repeat([1, 2, 10], 4))
    assert not motion[:, 1:].any()


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_image_and_text_of_articles(tmp_path, version):
    content, path = wikipedia_arrays(), tmp_path / "set/wiki_data.mat"
    path.parent.mkdir()
    if version == "5":
        savemat(path, content)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, x in content.items():
                file[name] = x.T
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    features = converted("wikipedia", path.parent, tmp_path)
    np.testing.assert_array_equal(features.inputs["image"][:20], content["I_tr"].astype(np.float32))
    np.testing.assert_array_equal(features.inputs["text"][20:], content["T_te"].astype(np.float32))
    assert features.class_names == CATEGORIES
    assert features.labels.tolist() == [*range(10)] * 3
    assert features.fold.tolist() == [0] * 20 + [2] * 10


@pytest.mark.parametrize("data", ["wisdm", "utd-mhad", "wikipedia"])
def test_another_layout_is_one_sentence(tmp_path, data):
    for root, said in ((tmp_path / "nowhere", "got no such folder"), (tmp_path, "got notes.txt")):
        (tmp_path / "notes.txt").touch()
        result = call(data, root, tmp_path / "out.npz")
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    savemat(tmp_path / "wiki_data.mat", {"I_tr": np.ones(3)})
    result = call("wikipedia", tmp_path, tmp_path / "out.npz")
    assert result.exit_code == 2
    assert "expected wikipedia as it is published, got KeyError" in " ".join(result.output.split())
    assert not (tmp_path / "out.npz").exists()

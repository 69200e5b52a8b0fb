"""Features of the user: what is read from which file, and one sentence about what cannot be."""

import csv

import numpy as np
import pytest

from midas_core.compare import reading
from midas_core.compare.reading import make_features, read_features
from midas_core.data import DataError

RNG = np.random.default_rng(0)
AUDIO, TEXT = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
LABELS = np.array(["no", "yes"] * 20)
ARRAYS = {"audio": AUDIO, "text": TEXT, "labels": LABELS}


def saved(tmp_path, **arrays):
    path = tmp_path / "features.npz"
    np.savez(path, **{name: x for name, x in (ARRAYS | arrays).items() if x is not None})
    return path


def write_folder(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for name, x in ARRAYS.items():
        np.save(folder / f"{name}.npy", x)
    return folder


def write_csv(tmp_path, *, header=("audio.mean", "audio.pitch", "labels", "audio.3", "text_0", "text_1"), change=None):
    path = tmp_path / "features.csv"
    rows = [list(map(str, (*a[:2], label, a[2], *t))) for a, label, t in zip(AUDIO, LABELS, TEXT, strict=True)]
    if change:
        change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("write", [saved, write_folder, write_csv])
def test_the_same_from_every_format(tmp_path, write):
    features = read_features(write(tmp_path))
    assert features.modalities == ("audio", "text")
    assert features.class_names == ("no", "yes")
    assert features.labels.tolist() == [0, 1] * 20
    np.testing.assert_array_equal(features.inputs["audio"], AUDIO.astype(np.float32))
    np.testing.assert_array_equal(features.inputs["text"], TEXT.astype(np.float32))
    assert features.notes == ()
    assert features.digest == make_features({"audio": AUDIO, "text": TEXT}, LABELS).digest


@pytest.mark.parametrize("name", ["labels.npy", "labels.txt"])
def test_labels_of_a_file_apart(tmp_path, name):
    path = tmp_path / name
    values = np.arange(40) % 11
    np.save(path, values) if name.endswith(".npy") else path.write_text("\n".join(map(str, values)) + "\n")
    features = read_features(saved(tmp_path, labels=None), path)
    # As numbers: 10 is the last, not the second.
    assert features.class_names == tuple(map(str, range(11)))
    assert features.labels.tolist() == values.tolist()
    with pytest.raises(DataError, match=r"^labels: expected them in one place"):
        read_features(saved(tmp_path), path)


def test_groups_and_folds_of_numbers_or_text(tmp_path):
    fold = np.repeat([0.0, 2.0, 1.0, 0.0], 10)
    features = read_features(saved(tmp_path, groups=np.repeat(["b", "a"], 20), fold=fold))
    assert features.groups.tolist() == [1] * 20 + [0] * 20
    assert features.fold.tolist() == fold.tolist()
    assert features.select(np.arange(15) + 5).fold.tolist() == fold[5:20].tolist()


def test_what_varies_over_time_is_averaged_and_says_so():
    x = RNG.normal(size=(40, 7, 5)).astype(np.float16)
    features = make_features({"audio": x, "text": TEXT}, LABELS)
    np.testing.assert_allclose(features.inputs["audio"], x.astype(np.float64).mean(axis=1), rtol=1e-5, atol=1e-6)
    assert features.notes == ("audio: averaged over its second axis, of length 7",)


def test_a_copy_is_named():
    assert "audio and text are the same numbers" in make_features({"audio": AUDIO, "text": AUDIO}, LABELS).notes[0]


def test_missing_values():
    holes = AUDIO.copy()
    holes[[3, 5], 1] = np.nan, np.inf
    given = {"audio": holes, "text": TEXT}
    with pytest.raises(DataError, match=r"^features: expected finite numbers, got .* in 2 of 40 samples of audio; "):
        make_features(given, LABELS)
    kept = make_features(given, LABELS, missing="drop")
    assert len(kept) == 38
    np.testing.assert_array_equal(kept.inputs["text"], np.delete(TEXT, [3, 5], axis=0).astype(np.float32))
    zero = make_features(given, LABELS, missing="zero")
    assert np.argwhere(np.isnan(zero.inputs["audio"])).tolist() == [[3, 1], [5, 1]]
    for features in (kept, zero):
        assert "2 of 40 samples of audio" in features.notes[0]
    # A class that is dropped as a whole is no class.
    gone = make_features(given, np.where(np.isin(np.arange(40), [3, 5]), "gone", LABELS), missing="drop")
    assert gone.class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": None}, r"features.npz: expected an array named labels, or --labels FILE, got audio, text"),
        ({"labels": LABELS[:39]}, "samples: expected as many in every array, got audio 40, text 40, labels 39"),
        ({"groups": np.zeros(3)}, "samples: expected as many .* groups 3"),
        ({"labels": np.zeros(40)}, "labels: expected two classes or more, got one, 0"),
        ({"labels": RNG.normal(size=40)}, "labels: expected whole numbers or text, got "),
        ({"labels": np.eye(40)}, r"labels: expected one for each sample, \(N,\), got shape \(40, 40\)"),
        (
            {"labels": np.where(LABELS == "no", "", LABELS)},
            "labels: expected one for each .* none for 20 of 40",
        ),
        ({"text": None}, "modalities: expected two or more, got audio"),
        ({"text": LABELS[:, None]}, "text: expected real numbers, got text: encode it first"),
        ({"text": np.ones((40, 2), complex)}, "text: expected real numbers, got dtype complex128"),
        ({"text": np.ones(40)}, r"text: expected features \(N, D\) .*, got shape \(40,\); the other names are labels"),
        ({"text": np.ones((40, 0))}, r"text: expected features .*, got shape \(40, 0\)"),
        ({"text": np.array([{}] * 40)}, "features.npz: expected arrays of numbers or text, got pickled objects"),
        ({"fold": np.zeros(40)}, r"fold: expected 0 \(training\), .* got 0$"),
        ({"fold": np.arange(40) % 4}, "fold: expected 0 .* got 0, 1, 2 and 1 more"),
    ],
)
def test_one_sentence_about_bad_arrays(tmp_path, change, said):
    with pytest.raises(DataError, match=said) as caught:
        read_features(saved(tmp_path, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nowhere.npz", None, "got no such file"),
        ("features.npz", b"PK\x03\x04 and no more", "got something else or a damaged file"),
        ("features.txt", b"1 2 3", "got something else or a damaged file"),
        ("empty", "folder", "a folder without .npy files"),
        ("features.csv", b"", "expected an array named labels, or --labels FILE, got nothing"),
        ("features.csv", b"age,labels\n1,2\n", "expected columns such as audio_0 or audio.energy, got 'age'"),
        ("features.csv", b"a_0,b_0,labels\n1,2\n", "expected 3 values in line 2, got 2"),
        ("features.csv", b"a_0,b_0,labels\n1,two,0\n", "b: expected numbers, got text in line 2"),
        ("features.csv", b"\xff\xfe\x00", "expected a readable file"),
    ],
)
def test_one_sentence_about_bad_files(tmp_path, name, content, said):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_features(path)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file(tmp_path):
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[200:600] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"features.npz: expected"):
        read_features(path)


def test_an_empty_value_of_a_csv_is_missing(tmp_path):
    path = write_csv(tmp_path, change=lambda rows: rows[4].__setitem__(0, ""))
    with pytest.raises(DataError, match="1 of 40 samples of audio"):
        read_features(path)
    assert len(read_features(path, missing="drop")) == 39


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = saved(tmp_path)
    monkeypatch.setattr(reading.os, "sysconf", lambda name: 2000 if name == "SC_PHYS_PAGES" else 4)
    monkeypatch.setattr(reading.np, "load", None)
    with pytest.raises(DataError, match=r"expected data that fit into memory 5 times, got .* take fewer samples"):
        read_features(path)

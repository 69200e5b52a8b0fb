"""Spoken and written digits, on a small folder of made-up recordings in the layout of the real one."""

import shutil

import numpy as np
import pytest

from midas_core.data import DataError
from midas_core.data.av_digits import BANDS, FRAMES, av_digits, log_mel, read_recordings, split_speakers
from tests.adapters.recordings import SPEAKERS, TAKES, write_recordings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="module")
def recordings(folder):
    return read_recordings(folder)


@pytest.fixture
def damaged(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "damaged")


def test_reads_every_recording(recordings):
    count = 10 * len(SPEAKERS) * TAKES
    assert recordings.features.shape == (count, BANDS * FRAMES)
    assert recordings.features.dtype == np.float32
    assert set(recordings.speakers) == set(SPEAKERS)
    assert np.bincount(recordings.digits).tolist() == [count // 10] * 10
    assert recordings.names[0] == f"0_{SPEAKERS[0]}_0.wav"


def test_log_mel_does_not_depend_on_loudness_or_length():
    time = np.arange(4000) / 8000
    tone = np.sin(2 * np.pi * 700 * time).astype(np.float32)
    assert log_mel(tone).shape == log_mel(tone[:100]).shape == (BANDS, FRAMES)
    np.testing.assert_allclose(log_mel(tone), log_mel(0.01 * tone), atol=1e-3)
    assert log_mel(tone).max() <= 0


@pytest.mark.parametrize("seed", range(5))
def test_splits_share_no_speaker_no_recording_and_no_image(recordings, seed):
    task = av_digits(recordings, seed, pairs=60)
    splits = (task.training, task.validation, task.test)
    for kind in ("speaker", "recording", "image"):
        used = [set(split.origin[kind]) for split in splits]
        assert not used[0] & used[1]
        assert not used[0] & used[2]
        assert not used[1] & used[2]


def test_test_pairs_are_the_same_for_every_seed(recordings):
    first, second = av_digits(recordings, 0).test, av_digits(recordings, 1).test
    for kind in first.origin:
        np.testing.assert_array_equal(first.origin[kind], second.origin[kind])


def test_pairs_are_of_one_class(recordings):
    task = av_digits(recordings, 0, pairs=60)
    for split in (task.training, task.validation, task.test):
        spoken = np.array([int(name[0]) for name in split.origin["recording"]])
        np.testing.assert_array_equal(spoken, split.labels)


def test_split_speakers_takes_turns_in_validation():
    names = ["d", "a", "c", "b", "e"]
    assert split_speakers(names, 0) == (["b", "c"], ["a"], ["d", "e"])
    assert split_speakers(names, 4) == (["a", "c"], ["b"], ["d", "e"])


def delete(pattern):
    return lambda folder: [path.unlink() for path in (folder / "recordings").glob(pattern)]


def write(content):
    return lambda folder: (folder / f"recordings/3_{SPEAKERS[0]}_0.wav").write_bytes(content)


def cut_off(folder):
    path = folder / f"recordings/3_{SPEAKERS[0]}_0.wav"
    path.write_bytes(path.read_bytes()[:44])


@pytest.mark.parametrize(
    ("damage", "root", "said"),
    [
        (None, "nowhere", r"root: expected .*{digit}_{speaker}_{index}.wav, got no folder"),
        (lambda folder: shutil.rmtree(folder / "recordings"), ".", "got no folder recordings, but nothing"),
        (None, "recordings", "got no folder recordings, but .*; give the folder that holds recordings"),
        (delete("*"), ".", "got no such file, but nothing"),
        (delete(f"*_{SPEAKERS[0]}_*.wav"), ".", "root: expected .* with 4 speakers or more .*, got 3"),
        (delete(f"7_{SPEAKERS[1]}_*.wav"), ".", rf"root: expected .* got none of \[7\] by {SPEAKERS[1]}"),
        *((write(content), ".", "_0.wav: expected a readable wav file") for content in (b"", b"no sound", b"RIFF\0\0")),
        (cut_off, ".", "_0.wav: expected "),
    ],
)
def test_what_is_missing_or_damaged_is_named(damaged, damage, root, said):
    if damage:
        damage(damaged)
    with pytest.raises(DataError, match=said):
        read_recordings(damaged / root)


def test_other_sampling_rate(damaged):
    soundfile = pytest.importorskip("soundfile")
    path = damaged / "recordings" / f"3_{SPEAKERS[0]}_0.wav"
    soundfile.write(path, np.ones((100, 2)) * 0.1, 16000)
    with pytest.raises(DataError, match=f"{path.name}: expected one channel at 8000 Hz, got 2 at 16000 Hz"):
        read_recordings(damaged)

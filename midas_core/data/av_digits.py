"""Spoken and written digits: recordings of the Free Spoken Digit Dataset paired with images of the same class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_core.data.base import DataError, Floats, Labels, Split, Task, some_names, split_indices, standardize
from midas_core.data.digits import load_images

RATE = 8000
"""Samples in a second of sound."""
WINDOW, HOP = 256, 64
"""Samples in a frame of the spectrogram, and from one to the next."""
BANDS, FRAMES = 24, 24
"""Mel bands, and frames that every recording is stretched to: speakers differ in pace."""
FLOOR = 40.0
"""Decibels below the loudest point of a recording at which it counts as silent: speakers differ in loudness."""
CLASSES = 10
TEST_SPEAKERS = 2
IMAGES = (997, 300, 500)
"""Images for training, validation and test."""

_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
_LAYOUT = "recordings/{digit}_{speaker}_{index}.wav"


@dataclass(frozen=True)
class Recordings:
    """Spoken digits: log-mel spectrograms (N, D), digits, speakers and file names (N,)."""

    features: Floats
    digits: Labels
    speakers: NDArray[Any]
    names: NDArray[Any]


def read_recordings(root: Path) -> Recordings:
    """Read a folder in the layout of the Free Spoken Digit Dataset, in the order of the file names.

    Raises ``DataError`` where the folder or recordings are missing, or a file cannot be read.
    """
    files = _find(root)
    digits = np.array([int(match[1]) for _, match in files], dtype=np.int64)
    speakers = np.array([match[2] for _, match in files])
    _check_speakers(root, digits, speakers)
    features = np.stack([log_mel(_read(path)).reshape(-1) for path, _ in files])
    return Recordings(features, digits, speakers, np.array([path.name for path, _ in files]))


def log_mel(sound: Floats) -> Floats:
    """Return the log-mel spectrogram of a sound at 8 kHz, (BANDS, FRAMES), in decibels below the loudest point."""
    import librosa

    # Less than a frame: followed by silence.
    sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    power = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS)
    decibels = librosa.power_to_db(power, ref=np.max, top_db=FLOOR)
    place = np.linspace(0, decibels.shape[1] - 1, FRAMES)
    before = np.minimum(place.astype(np.int64), decibels.shape[1] - 2)
    share = place - before
    stretched: Floats = decibels[:, before] * (1 - share) + decibels[:, before + 1] * share
    return stretched.astype(np.float32)


def split_speakers(speakers: Sequence[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """Return the speakers of training, validation (one, by the seed) and test (the last two by name)."""
    rest, test = sorted(speakers)[:-TEST_SPEAKERS], sorted(speakers)[-TEST_SPEAKERS:]
    validation = rest[seed % len(rest)]
    return [speaker for speaker in rest if speaker != validation], [validation], test


def av_digits(recordings: Recordings, seed: int, *, pairs: int = 500) -> Task:
    """Return recordings paired with images of the same digit; nothing occurs in two of the three splits.

    ``seed`` chooses the validation speaker, the training and validation images and the pairs; the test pairs are always
    the same. Recordings and images come more than once where they are too few for ``pairs``.
    """
    images, image_labels = load_images()
    speakers = split_speakers(np.unique(recordings.speakers).tolist(), seed)
    splits = []
    for number, (chosen, names) in enumerate(zip(split_indices(image_labels, IMAGES, seed), speakers, strict=True)):
        rng = np.random.default_rng([number, 0 if number == 2 else seed])
        heard = np.flatnonzero(np.isin(recordings.speakers, names))
        sound, image = _pair(heard, recordings.digits, chosen, image_labels, pairs if number == 0 else len(heard), rng)
        seen = images[image].reshape(len(image), -1)
        origin = {"speaker": recordings.speakers[sound], "recording": recordings.names[sound], "image": image}
        splits.append(Split((recordings.features[sound], seen), image_labels[image], origin))
    return Task(("audio", "image"), CLASSES, *standardize(*splits))


def _pair(
    sounds: NDArray[np.int64],
    sound_labels: Labels,
    images: NDArray[np.int64],
    image_labels: Labels,
    count: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pairs = []
    for digit in range(CLASSES):
        size = count // CLASSES
        sides = (sounds[sound_labels[sounds] == digit], images[image_labels[images] == digit])
        pairs.append([np.resize(rng.permutation(side), size) for side in sides])
    sound, image = np.concatenate(pairs, axis=1)
    return sound, image


def _find(root: Path) -> list[tuple[Path, re.Match[str]]]:
    folder = root / "recordings"
    expected = f"root: expected {root / _LAYOUT}"
    if not folder.is_dir():
        if not root.is_dir():
            raise DataError(f"{expected}, got no folder {root}")
        inside = sorted(path.name for path in root.iterdir())
        hint = "; give the folder that holds recordings" if any(map(_NAME.fullmatch, inside)) else ""
        raise DataError(f"{expected}, got no folder recordings, but {some_names(inside)}{hint}")
    names = sorted(path.name for path in folder.iterdir())
    files = [(folder / name, match) for name in names if (match := _NAME.fullmatch(name))]
    if not files:
        raise DataError(f"{expected}, got no such file, but {some_names(names)}")
    return files


def _read(path: Path) -> Floats:
    import soundfile

    try:
        sound, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path}: expected a readable wav file, got {error}") from error
    if rate != RATE or sound.ndim != 1:
        channels = 1 if sound.ndim == 1 else sound.shape[1]
        raise DataError(f"{path}: expected one channel at {RATE} Hz, got {channels} at {rate} Hz")
    if not sound.any():
        raise DataError(f"{path}: expected sound, got silence of length {len(sound)}")
    return sound  # type: ignore[no-any-return]


def _check_speakers(root: Path, digits: Labels, speakers: NDArray[Any]) -> None:
    names = np.unique(speakers).tolist()
    expected = f"root: expected {root / _LAYOUT}"
    if len(names) < TEST_SPEAKERS + 2:
        raise DataError(
            f"{expected} with {TEST_SPEAKERS + 2} speakers or more ({TEST_SPEAKERS} for the test, one for validation), "
            f"got {len(names)}, {some_names(names)}"
        )
    for name in names:
        missing = sorted(set(range(CLASSES)) - set(digits[speakers == name].tolist()))
        if missing:
            raise DataError(f"{expected} of every digit by every speaker, got none of {missing} by {name}")

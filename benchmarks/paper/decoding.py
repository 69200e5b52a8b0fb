"""From a file to an array, one class for each kind of modality.

Whatever is seen or heard becomes a clip of shape (T, C, H, W), T images of C channels: frames of a video, a photo
(T = 1), the two components of the flow, a spectrogram (T = C = 1). A decoder is its settings: equal ones make equal
arrays of a file, which the cache relies on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.listing import DataError, FlowFolders
from midas_core.data.base import some_names

Clip = NDArray[Any]

FLOOR = 1e-7
"""Added to magnitudes before the logarithm is taken."""


class DamagedError(ValueError):
    """A file cannot be used. The message says what was expected and what was found."""


class Decoder(Protocol):
    """From the files of a source to an array."""

    def files(self, source: Any) -> list[Path]:
        """Return the files that the array is made of."""

    def decode(self, source: Any) -> Clip:
        """Return the array, or raise `DamagedError`."""


class OneFile:
    """A decoder whose source is the path of a file."""

    def files(self, source: Path) -> list[Path]:
        """Return the file."""
        return [source]


@dataclass(frozen=True)
class Frames(OneFile):
    """Colour frames of a video, evenly spaced, each the middle of its share of the time."""

    count: int
    size: int

    def decode(self, source: Path) -> Clip:
        """Return the frames, uint8, shape (T, 3, size, size)."""
        with _opened(source) as container:
            stream = _stream(source, container, "video")
            images = [_square(frame.to_image(), self.size) for frame in _spaced(container, stream, self.count)]
        return np.stack([_channels(image) for image in images])


@dataclass(frozen=True)
class Flow:
    """The optical flow of a video, evenly spaced, from the images of its two components."""

    count: int
    size: int

    def files(self, source: FlowFolders) -> list[Path]:
        """Return the T images of u, then of v."""
        return [path for folder in source for path in self._chosen(folder)]

    def decode(self, source: FlowFolders) -> Clip:
        """Return the flow, uint8, shape (T, 2, size, size); 128 is no motion."""
        components = [
            np.stack([_channels(_read_image(path, "L", self.size)) for path in self._chosen(folder)])
            for folder in source
        ]
        return np.concatenate(components, axis=1)

    def _chosen(self, folder: Path) -> list[Path]:
        frames = sorted(folder.glob("frame*.jpg"))
        if not frames:
            raise DamagedError("expected frame000001.jpg and on, found none")
        return [frames[int((k + 0.5) * len(frames) / self.count)] for k in range(self.count)]


@dataclass(frozen=True)
class Photo(OneFile):
    """A photo."""

    size: int

    def decode(self, source: Path) -> Clip:
        """Return the photo, uint8, shape (1, 3, size, size)."""
        return _channels(_read_image(source, "RGB", self.size))[None]


@dataclass(frozen=True)
class Spectrogram(OneFile):
    """Logarithm of the magnitudes of the short-time Fourier transform of a sound, scaled to mean 0 and spread 1."""

    seconds: float
    rate: int
    window: int
    hop: int

    def decode(self, source: Path) -> Clip:
        """Return the spectrogram, float32, shape (1, 1, window // 2 + 1, frames)."""
        from scipy.signal import stft

        sound = _read_sound(source, self.rate)
        if not np.abs(sound).max(initial=0.0) > 0:
            raise DamagedError(f"expected sound, got silence of {len(sound) / self.rate:.2f} s")
        sound = np.resize(sound, round(self.seconds * self.rate))
        spectrum = stft(sound, nperseg=self.window, noverlap=self.window - self.hop, padded=False)[2]
        levels = np.log(np.abs(spectrum) + FLOOR)
        scaled: Clip = ((levels - levels.mean()) / (levels.std() + 1e-9)).astype(np.float32)
        return scaled[None, None]


@dataclass(frozen=True)
class Text:
    """A text, as it is: the tokenizer comes when the batch is put together."""

    length: int


@dataclass(frozen=True)
class Features:
    """Features over time that come with the data set; what is not finite, as in the sound of CMU-MOSI, becomes 0."""

    width: int


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    import av

    try:
        with av.open(str(source)) as container:
            yield container
    except av.error.DecoderNotFoundError as error:
        raise DataError(f"{source}: expected a codec that PyAV has, got one that it lacks ({error})") from error
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DamagedError(
            f"expected video or sound that FFmpeg reads, got {getattr(error, 'strerror', error)}"
        ) from error


def _stream(source: Path, container: Any, kind: str) -> Any:
    streams = [stream for stream in container.streams if stream.type == kind]
    if not streams:
        raise DamagedError(
            f"expected a stream of {kind}, found {some_names([stream.type for stream in container.streams])}"
        )
    if streams[0].codec_context is None:
        raise DataError(f"{source}: expected a codec for its {kind} in PyAV, found none")
    return streams[0]


def _spaced(container: Any, stream: Any, count: int) -> list[Any]:
    """Return ``count`` frames, the k-th the first at or after (k + 1/2) / count of the duration."""
    length = _seconds(container, stream)
    if length is None:
        frames = list(container.decode(stream))
        if not frames:
            raise DamagedError("expected frames, got none")
        return [frames[int((k + 0.5) * len(frames) / count)] for k in range(count)]
    wanted = [(k + 0.5) * length / count for k in range(count)]
    chosen: list[Any] = []
    start = now = None
    for frame in container.decode(stream):
        start = frame.time if start is None else start
        now = frame.time - start
        while len(chosen) < count and now >= wanted[len(chosen)]:
            chosen.append(frame)
        if len(chosen) == count:
            return chosen
    interval = float(1 / stream.average_rate) if stream.average_rate else 0.0
    if now is None or now + interval < wanted[-1]:
        raise DamagedError(f"expected {length:.2f} s of video, got {0.0 if now is None else now + interval:.2f} s")
    return chosen + [frame] * (count - len(chosen))


def _seconds(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _read_sound(source: Path, rate: int) -> NDArray[np.float32]:
    import av

    with _opened(source) as container:
        stream = _stream(source, container, "audio")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts = [
            part.to_ndarray().reshape(-1)
            for frame in (*container.decode(stream), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, dtype=np.float32)


def _read_image(source: Path, mode: str, size: int) -> Any:
    from PIL import Image

    try:
        with Image.open(source) as image:
            return _square(image.convert(mode), size)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DamagedError(f"expected a readable image, got {error}") from error


def _square(image: Any, size: int) -> Any:
    from PIL import ImageOps

    return ImageOps.fit(image, (size, size))


def _channels(image: Any) -> Clip:
    """Return (C, H, W) of an image."""
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)

"""Decoded files, kept: each is decoded once for all epochs, methods and seeds."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.datasets.base import DataError
from benchmarks.accuracy.datasets.decoding import Clip, DamagedError, Decoder
from midas_core.files import write_whole

VERSION = 1
"""Part of every key: higher with every change of what a decoder makes of a file."""


class Cache:
    """A folder of arrays, found by the settings of the decoder and by place, size and time of the files.

    A file that was changed is decoded again; an array that cannot be read is made again. Several processes may share a
    folder.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, decoder: Decoder, source: Any) -> Clip:
        """Return the array, decoded where it is not there yet.

        Raises
        ------
        DamagedError
            If the file is missing or cannot be decoded.
        DataError
            If the array cannot be written, as on a full disk, or a codec is missing.
        """
        path = self.path(decoder, source)
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            clip = decoder.decode(source)
        content = io.BytesIO()
        np.save(content, clip, allow_pickle=False)
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            raise DataError(
                f"{self.folder}: expected to keep {len(content.getvalue()):,} bytes of a decoded file, got "
                f"{error.strerror or error}; --cache names another folder"
            ) from error
        return clip

    def keep(self, decoder: Decoder, source: Any) -> None:
        """Decode what is not there yet; what is there is not read. Raises as `get` does."""
        if not self.path(decoder, source).is_file():
            self.get(decoder, source)

    def path(self, decoder: Decoder, source: Any) -> Path:
        """Return where the array is, or will be."""
        try:
            stamps = [(str(path.resolve()), *_stamp(path)) for path in decoder.files(source)]
        except OSError as error:
            raise DamagedError(f"expected a file, got {error.strerror}") from error
        key = hashlib.sha256(repr((VERSION, decoder, stamps)).encode()).hexdigest()
        return self.folder / key[:2] / f"{key[2:]}.npy"


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns

"""Decoded files, kept: one pass decodes everything and names what is damaged, and training reads arrays alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.decoding import Clip, DamagedError, Decoder, Features, Text
from benchmarks.paper.listing import DataError, FlowFolders, Listing, Problem, Sample
from midas_core.files import write_whole

VERSION = 2
"""Part of every key: higher with every change of what a decoder makes of a file."""
NAMED = 3
"""Problems that a message names; the rest it counts."""


class Cache:
    """A folder of arrays, by the settings of the decoder and by place, size and time of the files.

    A file that was changed is decoded again, and so is one whose array cannot be read. Several processes may share a
    folder, which is made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, decoder: Decoder, source: Any) -> Clip:
        """Return the array, decoded where it is not there yet."""
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
                f"{self.folder}: expected room for {len(content.getvalue()):,} bytes of a decoded file, got "
                f"{error.strerror or error}; --cache names another folder"
            ) from error
        return clip

    def damage(self, decoder: Decoder, source: Any) -> str | None:
        """Decode what is not there yet, and return why it cannot be; what is there is not read."""
        try:
            if not self.path(decoder, source).is_file():
                self.get(decoder, source)
        except DamagedError as error:
            return str(error)
        return None

    def path(self, decoder: Decoder, source: Any) -> Path:
        """Return where the array is, or will be."""
        try:
            stats = [(str(path.resolve()), path.stat()) for path in decoder.files(source)]
        except OSError as error:
            raise DamagedError(f"expected a file, got {error.strerror}") from error
        stamps = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        key = hashlib.sha256(repr((VERSION, decoder, stamps)).encode()).hexdigest()
        return self.folder / key[:2] / f"{key[2:]}.npy"


def prepare(
    listing: Listing,
    decoders: Mapping[str, Any],
    cache: Cache,
    *,
    damaged: str = "refuse",
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Listing:
    """Decode every file once, and return the listing without the samples that cannot be used."""
    work = list(
        dict.fromkeys(
            (decoder, source)
            for sample in listing.samples
            for decoder, source in zip(decoders.values(), sample.sources, strict=True)
            if isinstance(source, Path | FlowFolders)
        )
    )
    damages: dict[Any, str | None] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for key, reason in zip(work, pool.map(lambda key: cache.damage(*key), work), strict=True):
                damages[key] = reason
                report(len(damages), len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    problems = [_problems(sample, decoders, damages) for sample in listing.samples]
    samples = [sample for sample, of_sample in zip(listing.samples, problems, strict=True) if not of_sample]
    named = list(dict.fromkeys([*listing.problems, *(problem for of_sample in problems for problem in of_sample)]))
    if named and damaged == "refuse":
        raise DataError(
            f"samples: expected {len(listing.samples) + len(listing.problems)} that can be read, got {len(named)} "
            f"problems: {describe(named)}; --damaged skip goes on without them"
        )
    return Listing(listing.classes, samples, named, listing.note)


def describe(problems: list[Problem]) -> str:
    """Return the first problems, and how many more there are."""
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return "; ".join(map(str, problems[:NAMED])) + more


def _problems(sample: Sample, decoders: Mapping[str, Any], damages: Mapping[Any, str | None]) -> list[Problem]:
    problems = []
    for (modality, decoder), source in zip(decoders.items(), sample.sources, strict=True):
        if isinstance(decoder, Features):
            shape = np.shape(source)  # type: ignore[arg-type]
            if len(shape) != 2 or shape[1] != decoder.width:
                reason = f"expected features of shape (T, {decoder.width}), got {shape}"
                problems.append(Problem(f"{sample.name}, {modality}", reason))
        elif not isinstance(decoder, Text) and (damage := damages[decoder, source]):
            problems.append(Problem(str(source.u if isinstance(source, FlowFolders) else source), damage))
    return problems

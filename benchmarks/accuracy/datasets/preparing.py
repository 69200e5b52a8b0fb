"""One pass over a data set before training: everything is decoded, and what is damaged is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.datasets.base import DataError, FlowFolders, Listing, Problem, Sample
from benchmarks.accuracy.datasets.cache import Cache
from benchmarks.accuracy.datasets.decoding import DamagedError, Features, Text

NAMED = 3
"""Problems that a message names; the rest it counts."""


def prepare(
    listing: Listing,
    decoders: Mapping[str, Any],
    cache: Cache,
    *,
    damaged: str = "refuse",
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Listing:
    """Decode every file once, and return the listing without the samples that cannot be used.

    Parameters
    ----------
    listing : Listing
    decoders : dict of M decoders, by modality name
        In the order of the sources.
    cache : Cache
    damaged : {"refuse", "skip"}
        Whether a damaged or missing file ends it all, or is left out, with the others of its sample.
    jobs : int
        Threads.
    report : callable
        Told how many files are done, and of how many.

    Returns
    -------
    Listing
        Its problems are the missing and the damaged files.

    Raises
    ------
    DataError
        If files are damaged or missing and are to be refused; if the cache cannot be written.
    """
    work: dict[Any, None] = {}
    for sample in listing.samples:
        for decoder, source in zip(decoders.values(), sample.sources, strict=True):
            if isinstance(source, (Path, FlowFolders)):
                work[decoder, source] = None
    found: dict[Any, str | None] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done, (key, reason) in enumerate(pool.map(lambda key: (key, _reason(cache, *key)), work), start=1):
                found[key] = reason
                report(done, len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    samples, problems = [], list(listing.problems)
    for sample in listing.samples:
        new = _problems(sample, decoders, found)
        problems += new
        if not new:
            samples.append(sample)
    problems = list(dict.fromkeys(problems))
    if problems and damaged == "refuse":
        raise DataError(
            f"expected {len(listing.samples) + len(listing.problems)} samples that can be read, found {len(problems)} "
            f"problems: {describe(problems)}; --damaged skip goes on without them"
        )
    return Listing(listing.classes, samples, problems, listing.note)


def describe(problems: list[Problem]) -> str:
    """Return the first problems, and how many more there are."""
    named = "; ".join(map(str, problems[:NAMED]))
    return named + (f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else "")


def _reason(cache: Cache, decoder: Any, source: Any) -> str | None:
    try:
        cache.keep(decoder, source)
    except DamagedError as error:
        return str(error)
    return None


def _problems(sample: Sample, decoders: Mapping[str, Any], found: Mapping[Any, str | None]) -> list[Problem]:
    problems = []
    for (modality, decoder), source in zip(decoders.items(), sample.sources, strict=True):
        if isinstance(decoder, Text):
            continue
        if isinstance(decoder, Features):
            shape = np.shape(source)  # type: ignore[arg-type]
            if len(shape) != 2 or shape[1] != decoder.width:
                reason = f"expected features of shape (T, {decoder.width}), got {shape}"
                problems.append(Problem(f"{sample.name}, {modality}", reason))
        elif damage := found[decoder, source]:
            place = source.u if isinstance(source, FlowFolders) else source
            problems.append(Problem(str(place), damage))
    return problems

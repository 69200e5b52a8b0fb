"""Times taken side by side: one short block of each contestant in turn, round after round.

What disturbs the machine then disturbs all of them, and a ratio stands where a time would not.
"""

from __future__ import annotations

import os
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.benchmark import timer

Contestant = Callable[[], object]


class Ratio(NamedTuple):
    """How two contestants compare.

    Attributes
    ----------
    value : float
        The ratio of the medians over the rounds.
    low, high : float
        Quartiles of the ratios of the single rounds.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Times:
    """Seconds per call, by contestant and round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median of a contestant, in seconds."""
        return float(np.median(self.seconds[name]))

    def ratio(self, name: str, base: str) -> Ratio:
        """Return the time of ``name`` over that of ``base``."""
        low, high = np.quantile(np.divide(self.seconds[name], self.seconds[base]), [0.25, 0.75])
        return Ratio(self.median(name) / self.median(base), float(low), float(high))


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    block : float
        Seconds that a block of one contestant takes at least.
    budget : float
        Seconds for all blocks together, about.
    fewest, most : int
        Bounds of the number of rounds.
    """

    block: float
    budget: float
    fewest: int
    most: int


FULL = Effort(block=0.01, budget=10.0, fewest=15, most=301)
SHORT = Effort(block=0.01, budget=5.0, fewest=15, most=151)
QUICK = Effort(block=0.0, budget=0.0, fewest=2, most=2)


def clock_of(device: str) -> Callable[[], float]:
    """Return the clock for steps of PyTorch: on one thread of a CPU its own seconds, whatever else the machine does."""
    # The clock of torch.utils.benchmark waits for the device.
    return time.thread_time if device == "cpu" and torch.get_num_threads() == 1 else timer


def interleave(contestants: Mapping[str, Contestant], effort: Effort, clock: Callable[[], float] = timer) -> Times:
    """Time the contestants in turn.

    Parameters
    ----------
    contestants : dict of callables by name
        Called without arguments. Work on a CUDA device is waited for.
    effort : Effort
    clock : callable
        Returns seconds.

    Returns
    -------
    Times
    """
    # timeit keeps the garbage collector out.
    timers = {name: timeit.Timer(contestant, timer=clock) for name, contestant in contestants.items()}
    calls, seconds = {}, 0.0
    for name, timing in timers.items():
        # The first calls compile and fill caches.
        timing.timeit(2)
        number, once = 1, timing.timeit(1)
        # These are slow as yet, and would make for a block so short that it stays cold.
        for _ in range(2):
            number = max(1, round(effort.block / max(once, 1e-9)))
            once = timing.timeit(number) / number if number > 1 else once
        calls[name] = number
        seconds += number * once
    rounds = int(np.clip(effort.budget / seconds, effort.fewest, effort.most))
    found: dict[str, list[float]] = {name: [] for name in timers}
    order = list(timers)
    for _ in range(rounds):
        for name in order:
            found[name].append(timers[name].timeit(calls[name]) / calls[name])
        # Nobody always follows the same neighbour.
        order = order[1:] + order[:1]
    return Times(found)


@contextmanager
def processors(number: int) -> Iterator[None]:
    """Keep this process, and the threads that it starts meanwhile, to this many of its processors.

    XLA offers no other bound on its threads. A system that knows no such bound, or has fewer, is left as it is.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-number:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def keep_freed_memory() -> None:
    """Make the allocator of glibc keep what is freed, up to 62 MiB; to other allocators it makes no difference.

    It gives back what exceeds twice the largest block freed so far. Whether an array then comes with page faults is
    chance: noise of 20 % between two programs that hold the same arrays.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let PyTorch use this many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

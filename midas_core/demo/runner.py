"""Runs training jobs in worker processes, or in this one."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from midas_core.data import Task
from midas_core.demo.evaluation import Scores, diagnose_model, score_aligned
from midas_core.demo.methods import FUSED, LATE_FUSION, alone
from midas_core.demo.models import LateFusion
from midas_core.demo.training import Hyperparameters, MethodRun, restrict, train

REPORTED = ("joint", "MIDAS")
"""The methods that get a run folder."""

Report = Callable[[int, int], None]
"""Told the index of a job and how many epochs it has done since the last time."""

Finished = Callable[[int, Any], None]
"""Told the index of a job that is done, and what came of it."""


@dataclass(frozen=True)
class Job:
    """What one worker does in one go.

    Attributes
    ----------
    name : str
        Of the task.
    task : Task
    seed : int
    methods : dict of Hyperparameters by method key
        Where these are all the modalities alone, late fusion comes with them.
    test : bool
        Whether to measure on the test data in the end.
    framework : {"torch", "keras"}
        What trains.
    diagnose : bool
        Whether to look closely at the methods that are reported.
    """

    name: str
    task: Task
    seed: int
    methods: dict[str, Hyperparameters]
    test: bool = True
    framework: str = "torch"
    diagnose: bool = False

    def find(self, runs: Sequence[MethodRun]) -> list[MethodRun] | None:
        """Return those of ``runs`` that this job would do over again, None where one is missing."""
        known = {run.method: run for run in runs if run.seed == self.seed}
        wanted: dict[str, Hyperparameters | None] = dict(self.methods)
        if self.test and list(self.methods) == [method.key for method in alone(self.task.modalities)]:
            wanted[LATE_FUSION] = None
        found = [known.get(key) for key in wanted]
        for run, (key, hyperparameters) in zip(found, wanted.items(), strict=True):
            if run is None or run.hyperparameters != hyperparameters or (self.test and run.test is None):
                return None
            if self.diagnose and key in REPORTED and run.diagnosis is None:
                return None
        return [run for run in found if run is not None]


def execute(job: Job, report: Callable[[int], None]) -> list[MethodRun]:
    """Train the methods of a job, one after the other.

    Parameters
    ----------
    job : Job
    report : callable
        Told, now and then, how many epochs have been done.

    Returns
    -------
    list of MethodRun
    """
    task = job.task
    known = {method.key: method for method in (*alone(task.modalities), *FUSED)}
    train_one: Any = train
    if job.framework == "keras":
        from midas_core.demo.keras_training import train as train_one
    networks, runs = [], []
    for key, hyperparameters in job.methods.items():
        method = known[key]
        network, run = train_one(task, method, job.seed, hyperparameters, report=report)
        if job.test and method.only is None:
            look_closely = job.diagnose and key in REPORTED
            found = diagnose_model(network, task, probe=look_closely)
            run.test, run.diagnosis = Scores.of(found), found if look_closely else None
        elif job.test:
            run.test = score_aligned(network, restrict(task.test, method.only))
        networks.append(network)
        runs.append(run)
    if job.test and list(job.methods) == [method.key for method in alone(task.modalities)]:
        late = MethodRun(LATE_FUSION, job.seed, None, seconds=sum(run.seconds for run in runs))
        model = LateFusion(networks)
        late.validation_accuracy = score_aligned(model, task.validation).accuracy
        late.test = Scores.of(diagnose_model(model, task))
        runs.append(late)
    return runs


def run_jobs(
    jobs: Sequence[Any],
    workers: int,
    report: Report,
    finished: Finished,
    work: Callable[[Any, Callable[[int], None]], Any] | None = None,
) -> None:
    """Run jobs, ``workers`` at a time, each on one thread.

    Parameters
    ----------
    jobs : sequence of `Job`, or of what ``work`` takes
    workers : int
        1 runs them in this process.
    report : callable
        Called in this process.
    finished : callable
        Called in this process as soon as a job is done.
    work : callable, optional
        A function of a module, from a job and what it tells its epochs to what came of it. `execute` without one.
    """
    work = work or execute
    if workers == 1 or len(jobs) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for index, job in enumerate(jobs):
                finished(index, work(job, lambda epochs, index=index: report(index, epochs)))  # type: ignore[misc]
        finally:
            torch.set_num_threads(threads)
        return

    # A fresh interpreter for each worker: PyTorch does not survive a fork in all cases.
    context = get_context("spawn")
    progress, stop = context.Queue(), context.Event()
    with ProcessPoolExecutor(workers, context, _start, (progress, stop)) as pool:
        try:
            with _deaf_to_interrupts():
                futures = {pool.submit(_work, work, index, job): index for index, job in enumerate(jobs)}
            _follow(futures, progress, report, finished)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _follow(futures: Mapping[Future[Any], int], progress: Any, report: Report, finished: Finished) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2)
        for future in sorted(done, key=lambda each: futures[each]):
            finished(futures[future], future.result())
        while True:
            try:
                report(*progress.get_nowait())
            except queue.Empty:
                break


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which reaches all of them: this one has the last word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _StoppedError(Exception):
    """The parent wants no more."""


_progress: Any = None
_stop: Any = None


def _start(progress: Any, stop: Any) -> None:
    global _progress, _stop
    _progress, _stop = progress, stop
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent was killed would wait for jobs for ever.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(work: Callable[[Any, Callable[[int], None]], Any], index: int, job: Any) -> Any:
    def report(epochs: int) -> None:
        if _stop.is_set():
            raise _StoppedError
        _progress.put((index, epochs))

    return work(job, report)

"""Runs training jobs in worker processes, or in this one."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from midas_core.data import Task
from midas_core.demo.evaluation import diagnosis, score
from midas_core.demo.methods import FUSED, LATE_FUSION, alone
from midas_core.demo.models import LateFusion
from midas_core.demo.training import Hyperparameters, Run, restrict, train

REPORTED = ("joint", "MIDAS")
"""The methods that get a run folder."""

Report = Callable[[int, int], None]
"""Told the index of a job and how many epochs it has done since the last time."""


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


def execute(job: Job, report: Callable[[int], None]) -> list[Run]:
    """Train the methods of a job, one after the other.

    Parameters
    ----------
    job : Job
    report : callable
        Told, now and then, how many epochs have been done.

    Returns
    -------
    list of Run
    """
    task = job.task
    known = {method.key: method for method in (*alone(task.modalities), *FUSED)}
    train_one: Any = train
    if job.framework == "keras":
        from midas_core.demo.keras_training import train as train_one
    networks, runs = [], []
    for key, hyperparameters in job.methods.items():
        network, run = train_one(task, known[key], job.seed, hyperparameters, report=report)
        if job.test:
            run.test = score(network, restrict(task.test, known[key].only), task.num_classes)
        if job.diagnose and key in REPORTED:
            run.diagnosis = diagnosis(network, task)
        networks.append(network)
        runs.append(run)
    if job.test and list(job.methods) == [method.key for method in alone(task.modalities)]:
        late = Run(LATE_FUSION, job.seed, None, seconds=sum(run.seconds for run in runs))
        model = LateFusion(networks)
        late.validation_accuracy = score(model, task.validation, task.num_classes).accuracy
        late.test = score(model, task.test, task.num_classes)
        runs.append(late)
    return runs


def run_jobs(jobs: Sequence[Job], workers: int, report: Report) -> list[list[Run]]:
    """Run jobs, ``workers`` at a time, each on one thread.

    Parameters
    ----------
    jobs : sequence of Job
    workers : int
        1 runs them in this process.
    report : callable
        Called in this process.

    Returns
    -------
    list of list of Run
        In the order of the jobs.
    """
    if workers == 1 or len(jobs) == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [
                execute(job, lambda epochs, index=index: report(index, epochs))  # type: ignore[misc]
                for index, job in enumerate(jobs)
            ]
        finally:
            torch.set_num_threads(threads)

    # A fresh interpreter for each worker: PyTorch does not survive a fork in all cases.
    context = get_context("spawn")
    progress = context.Queue()
    with ProcessPoolExecutor(workers, context, _start, (progress,)) as pool:
        try:
            futures = [pool.submit(_work, index, job) for index, job in enumerate(jobs)]
            _follow(futures, progress, report)
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _follow(futures: Sequence[Future[list[Run]]], progress: Any, report: Report) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2)
        for future in done:
            future.result()
        while True:
            try:
                report(*progress.get_nowait())
            except queue.Empty:
                break


_progress: Any = None


def _start(progress: Any) -> None:
    global _progress
    _progress = progress
    torch.set_num_threads(1)
    # Ctrl-C reaches every process; the parent has the last word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker whose parent was killed would wait for jobs for ever.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(index: int, job: Job) -> list[Run]:
    return execute(job, lambda epochs: _progress.put((index, epochs)))

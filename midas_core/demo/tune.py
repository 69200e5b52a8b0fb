"""The search for learning rates and strengths on validation data, with the same grid for every method."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from midas_core.demo.methods import FUSED, Method, alone
from midas_core.demo.progress import follow_jobs
from midas_core.demo.runner import Job
from midas_core.demo.settings import LEARNING_RATES, TUNING_SEED
from midas_core.demo.tasks import Make
from midas_core.demo.training import Hyperparameters, MethodRun


class Trial(NamedTuple):
    """One setting of one method.

    Attributes
    ----------
    method : str
    learning_rate, strength : float
    validation_accuracy : list of float
        Of the chosen checkpoint, for each seed.
    """

    method: str
    learning_rate: float
    strength: float
    validation_accuracy: list[float]


def tune(
    name: str,
    make: Make,
    *,
    seeds: int,
    epochs: int,
    batch_size: int,
    workers: int,
    console: Console,
) -> list[Trial]:
    """Try every learning rate and every strength of every method on the validation data of some seeds.

    Returns
    -------
    list of Trial
        In the order of the methods.
    """
    tasks = {seed: make(seed) for seed in range(TUNING_SEED, TUNING_SEED + seeds)}
    methods = [*alone(tasks[TUNING_SEED].modalities), *FUSED]
    grid = [
        (method.key, learning_rate, strength, seed)
        for method in methods
        for strength in (method.strengths or (1.0,))
        for learning_rate in LEARNING_RATES
        for seed in tasks
    ]
    jobs = [
        Job(name, tasks[seed], seed, {key: Hyperparameters(rate, strength, epochs, batch_size)}, test=False)
        for key, rate, strength, seed in grid
    ]
    found = dict.fromkeys(grid, 0.0)

    def finished(index: int, runs: Sequence[MethodRun]) -> None:
        found[grid[index]] = runs[0].validation_accuracy

    follow_jobs(jobs, workers, console, finished)
    trials: dict[tuple[str, float, float], list[float]] = {}
    for (*setting, _), value in found.items():
        trials.setdefault((*setting,), []).append(value)  # type: ignore[arg-type]
    return [Trial(*setting, values) for setting, values in trials.items()]


def best(trials: Sequence[Trial]) -> dict[str, tuple[float, float]]:
    """Return the learning rate and strength with the best mean validation accuracy, by method."""
    # Of equal ones the first.
    found: dict[str, Trial] = {}
    for trial in trials:
        known = found.get(trial.method)
        if known is None or fmean(trial.validation_accuracy) > fmean(known.validation_accuracy):
            found[trial.method] = trial
    return {key: (trial.learning_rate, trial.strength) for key, trial in found.items()}


def tuning_table(title: str, trials: Sequence[Trial], methods: Sequence[Method]) -> Table:
    """Return the mean validation accuracy of every setting, the best of each method in bold."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("strength")
    for rate in LEARNING_RATES:
        table.add_column(f"{rate:g}", justify="right")
    chosen = best(trials)
    means = {trial[:3]: fmean(trial.validation_accuracy) for trial in trials}
    for method in methods:
        for strength in method.strengths or (1.0,):
            cells = []
            for rate in LEARNING_RATES:
                text = f"{100 * means[method.key, rate, strength]:.1f}"
                cells.append(f"[bold]{text}[/]" if chosen[method.key] == (rate, strength) else text)
            label = f"{method.strength_name} {strength:g}" if method.strengths else ""
            table.add_row(method.key, label, *cells)
    return table

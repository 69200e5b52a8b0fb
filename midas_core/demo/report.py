"""The end of the demo: a run folder for joint training and for MIDAS, and the page that compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from midas_core.demo.results import TaskResults
from midas_core.demo.runner import REPORTED
from midas_core.demo.training import MethodRun
from midas_core.report.page import report_with_headlines
from midas_core.runs import RunLogger


def report_task(result: TaskResults, folder: Path, framework: str) -> tuple[Path, list[str]]:
    """Write the run folders of a task, those of its first seed, and their report.

    Parameters
    ----------
    result : TaskResults
        With a diagnosis in the runs that are reported.
    folder : Path
        Of the task.
    framework : str
        What trained.

    Returns
    -------
    page : Path
    headlines : list of str
        The answer for each run.
    """
    seed = min(run.seed for run in result.runs)
    first = {run.method: run for run in result.runs if run.seed == seed}
    alone = {name: first[f"{name} alone"] for name in result.modalities}
    reference = {name: run.test.accuracy for name, run in alone.items() if run.test is not None}
    folders = []
    for method in REPORTED:
        target = folder / method.lower()
        _write(first[method], result, target, framework, reference)
        folders.append(target)
    seeds = len({run.seed for run in result.runs})
    title = f"{result.name}: {result.title} (seed {seed}, one of {seeds})" if seeds > 1 else None
    title = title or f"{result.name}: {result.title} (one seed)"
    return report_with_headlines(folders, folder / "report.html", title=title, baseline="joint")


def _write(run: MethodRun, result: TaskResults, folder: Path, framework: str, reference: dict[str, float]) -> None:
    config = {
        "method": run.method,
        "data": f"{result.name}: {result.title}",
        "framework": framework,
        "seed": run.seed,
        **({} if run.hyperparameters is None else vars(run.hyperparameters)),
        **{f"{split} samples": size for split, size in result.sizes.items()},
        "best epoch": run.best_epoch,
    }
    options: dict[str, Any] = {"config": config, "tensorboard": False, "overwrite": True}
    with RunLogger(folder, modalities=result.modalities, name=run.method, **options) as log:
        for point in run.history:
            log.log(epoch=point.epoch, loss=point.loss, accuracy=point.training_accuracy, alpha=point.alpha)
            log.log(
                epoch=point.epoch,
                prefix="val_",
                accuracy=point.validation_accuracy,
                misaligned_accuracy=point.misaligned_accuracy,
                confidence=point.unimodal_confidence,
                fused_confidence=point.fused_confidence,
            )
        if run.diagnosis is not None:
            log.log_diagnostics(run.diagnosis.with_reference(reference), split="test")

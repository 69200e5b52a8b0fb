"""The runs of a comparison as folders that ``midas report`` reads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from midas_core.diagnostics import Diagnosis
from midas_core.runs import RunLogger

if TYPE_CHECKING:
    from midas_core.compare.result import MethodComparison


def write_runs(comparison: MethodComparison, folder: Path) -> None:
    """Write a run folder for each run of each method that fuses all modalities.

    The scores of models of one modality are what each could give: the report says which of them is ignored.
    """
    methods = comparison.content["methods"]
    alone = {name: methods.get(f"{name} alone") for name in comparison.modalities}
    reference = {
        score: {name: fmean(run["test"][score] for run in runs) for name, runs in alone.items()}
        for score in ("accuracy", "recall")
        if all(alone.values())
    }
    for title, runs in methods.items():
        for run in runs:
            if "diagnosis" not in run["test"]:
                continue
            seed, rate, strength = run["setting"]
            place = folder / "-".join([*re.findall(r"[\w+]+", title), str(seed)])
            config = {"method": title, "seed": seed, "learning_rate": rate, "strength": strength}
            with RunLogger(
                place, modalities=comparison.modalities, name=title, config=config, tensorboard=False
            ) as log:
                history = run["history"]
                for epoch, accuracy, loss in zip(*history.values(), strict=True):
                    log.log(epoch=epoch, val_accuracy=accuracy, loss=loss)
                diagnosis = Diagnosis.from_dict(run["test"]["diagnosis"])
                if reference:
                    diagnosis = diagnosis.with_reference(**reference)
                log.log_diagnostics(replace(diagnosis, midas=title.startswith("MIDAS")), split="test")

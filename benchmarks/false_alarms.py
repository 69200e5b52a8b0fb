"""``python -m benchmarks.false_alarms``: how often a comparison calls a difference more than noise that is none.

Seven methods are joint training by construction: they differ in the order of their batches alone. Every comparison is
on other data, half of them with several splits, half with folds. One takes about two seconds of one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from torch import Tensor

from midas_core.compare import methods
from midas_core.compare.comparison import compare_methods
from midas_core.compare.methods.joint import Joint
from midas_core.compare.stack import Model, Random, StackedSplit

COPIES = 7


def copy_of_joint(number: int) -> type[Joint]:
    """Return joint training under another name, and with its batches in another order."""

    class Copy(Joint):
        """Joint training."""

        title = f"copy {number}"

        def order(self, model: Model, training: StackedSplit, epoch: int, order: Tensor) -> Tensor:
            """Shuffle once more."""
            again = Random(self.random.seeds, stream=100 + 1000 * number + epoch).permutation(order.shape[1])
            return order.gather(1, again)

    return Copy


def compare_copies(seed: int, folds: bool) -> tuple[str, ...]:
    """Return the copies that a comparison on drawn data calls ahead of joint training beyond noise."""
    rng = np.random.default_rng([seed, folds])
    labels = rng.integers(3, size=300)
    features = {
        name: np.eye(3)[labels] @ rng.normal(0, 0.8, (3, 6)) + rng.normal(size=(300, 6)) for name in ("audio", "text")
    }
    fold: Any = np.repeat([0, 1, 2], 100)[rng.permutation(300)] if folds else None
    copies = [f"copy {number}" for number in range(COPIES)]
    return compare_methods(features, labels, fold=fold, methods=copies, epochs=8).ahead


@click.command()
@click.option("--runs", type=click.IntRange(min=2), default=200, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/false-alarms.txt"), show_default=True)
def main(runs: int, output: Path) -> None:
    """Count the false alarms of comparisons between equal methods.

    OUTPUT has a line for every finished comparison, empty where there was no alarm; after a kill the count goes on.
    """
    methods.METHODS.update({f"copy {i}": copy_of_joint(i) for i in range(COPIES)})  # type: ignore[attr-defined]
    output.parent.mkdir(parents=True, exist_ok=True)
    alarms = output.read_text(encoding="utf-8").splitlines()[:runs] if output.exists() else []
    with output.open("a", encoding="utf-8", buffering=1) as file:
        for seed in range(len(alarms), runs):
            alarms.append(", ".join(compare_copies(seed, folds=seed % 2 == 1)))
            file.write(alarms[-1] + "\n")
            click.echo(f"{seed + 1} comparisons, {sum(map(bool, alarms))} false alarms")
    splits, folds = (sum(map(bool, alarms[kind::2])) for kind in (0, 1))
    click.echo(f"False alarms of {len(alarms)} comparisons: {splits} with several splits, {folds} with folds")


if __name__ == "__main__":
    main()

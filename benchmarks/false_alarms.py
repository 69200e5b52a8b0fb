"""``python -m benchmarks.false_alarms``: how often a comparison calls a difference more than noise that is none.

Seven methods are joint training by construction: they differ in the order of their batches alone. Every comparison is
on other data, half of them with several splits, half with folds.
"""

from __future__ import annotations

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
    """Return which copies a comparison on drawn data calls ahead."""
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
def main(runs: int) -> None:
    """Count the false alarms of comparisons between equal methods."""
    methods.METHODS.update({f"copy {i}": copy_of_joint(i) for i in range(COPIES)})  # type: ignore[attr-defined]
    alarms = {False: 0, True: 0}
    for seed in range(runs):
        folds = seed % 2 == 1
        alarms[folds] += bool(compare_copies(seed, folds))
        click.echo(
            f"{seed + 1} comparisons: {alarms[False]} false alarms with several splits, {alarms[True]} with folds"
        )


if __name__ == "__main__":
    main()

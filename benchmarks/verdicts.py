"""What the verdict on joint training is held to: many small tasks, trained jointly and with MIDAS.

``python -m benchmarks.verdicts tests/diagnostics/verdicts.json`` writes the measurements that the tests of the verdict
read. Every task is made of class means and noise; encoders, head and training are those of ``midas demo``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import rounded
from midas_core import __version__
from midas_core.data import Split, Task
from midas_core.demo.evaluation import diagnose_model
from midas_core.demo.methods import FUSED
from midas_core.demo.training import Hyperparameters, train
from midas_core.diagnostics import Diagnosis
from midas_core.files import package_versions, write_json

WEIGHTS = (1.0, 5.0)
"""Of MIDAS: the one with the better validation accuracy counts, as the advice of the verdict says."""
STEPS, BATCH = 900, 64
VALIDATION, TEST = 600, 2000
LATENT = 8


@dataclass(frozen=True)
class Sensor:
    """What one modality measures.

    Attributes
    ----------
    signal : float
        Spread of the class means, the noise being 1.
    noise : int
        Further columns of nothing but noise.
    scale : float
        Of everything, which sets how fast an encoder learns.
    clusters : int
        Prototypes of each class: with several, no linear classifier will do.
    sees : str
        "class", or a part of it: "half" (class // 2) or "parity" (class % 2).
    """

    signal: float
    noise: int = 0
    scale: float = 1.0
    clusters: int = 1
    sees: str = "class"


@dataclass(frozen=True)
class Toy:
    """A task: classes, training samples, what each modality sees, and how much of the noise they share."""

    sensors: tuple[Sensor, ...]
    classes: int = 6
    samples: int = 600
    shared: float = 0.0


CHOSEN_ON = {
    "equal": Toy((Sensor(1.0), Sensor(1.0))),
    "equal, easy": Toy((Sensor(2.0), Sensor(2.0))),
    "equal, hard": Toy((Sensor(0.5), Sensor(0.5))),
    "equal, few samples": Toy((Sensor(1.0), Sensor(1.0)), samples=120),
    "equal, many samples": Toy((Sensor(0.8), Sensor(0.8)), samples=2000),
    "equal, two classes": Toy((Sensor(0.5), Sensor(0.5)), classes=2),
    "equal, ten classes": Toy((Sensor(0.9), Sensor(0.9)), classes=10),
    "three equal": Toy((Sensor(0.8), Sensor(0.8), Sensor(0.8))),
    "shared noise": Toy((Sensor(1.0), Sensor(1.0)), shared=0.8),
    "clusters": Toy((Sensor(1.5, clusters=3), Sensor(1.5, clusters=3))),
    "strong and weak": Toy((Sensor(1.4), Sensor(0.6))),
    "strong and very weak": Toy((Sensor(1.4), Sensor(0.3))),
    "strong and nothing": Toy((Sensor(1.2), Sensor(0.0))),
    "halves of the label": Toy((Sensor(1.5, sees="half"), Sensor(1.5, sees="parity"))),
    "half of the label and a weak whole": Toy((Sensor(1.5, sees="half"), Sensor(0.6))),
    "wide and narrow": Toy((Sensor(1.0, noise=200), Sensor(1.0)), samples=300),
    "wide and strong": Toy((Sensor(1.0, noise=200), Sensor(1.6)), samples=300),
    "very wide and narrow": Toy((Sensor(1.0, noise=500), Sensor(1.0)), samples=200),
    "both wide": Toy((Sensor(1.2, noise=200), Sensor(1.2, noise=200)), samples=300),
    "three, one wide": Toy((Sensor(0.9, noise=300), Sensor(0.9), Sensor(0.9)), samples=300),
    "one scaled down": Toy((Sensor(1.0), Sensor(1.0, scale=0.1))),
    "strong one scaled down": Toy((Sensor(0.7), Sensor(1.4, scale=0.05))),
    "wide, the strong one scaled down": Toy((Sensor(0.7, noise=200), Sensor(1.4, scale=0.1)), samples=300),
    "wide, the strong one a little scaled down": Toy((Sensor(0.7, noise=200), Sensor(1.4, scale=0.3)), samples=300),
    "very wide and strong": Toy((Sensor(0.7, noise=500), Sensor(1.6)), samples=200),
    "very wide, the other scaled down": Toy((Sensor(1.0, noise=500), Sensor(1.2, scale=0.2)), samples=300),
    "simple and clusters": Toy((Sensor(0.8), Sensor(2.0, clusters=4))),
}

HELD_OUT = {
    "equal, four classes": Toy((Sensor(0.7), Sensor(0.7)), classes=4),
    "four equal": Toy((Sensor(0.7), Sensor(0.7), Sensor(0.7), Sensor(0.7))),
    "twelve classes, few samples": Toy((Sensor(1.3), Sensor(1.3)), classes=12, samples=240),
    "shared noise, strong and weak": Toy((Sensor(1.3), Sensor(0.6)), shared=0.6),
    "two classes, strong and weak": Toy((Sensor(0.8), Sensor(0.3)), classes=2),
    "clusters and weak": Toy((Sensor(1.6, clusters=3), Sensor(0.5))),
    "half of the label and a strong whole": Toy((Sensor(1.5, sees="half"), Sensor(1.2))),
    "three, one nothing": Toy((Sensor(1.0), Sensor(0.8), Sensor(0.0))),
    "wide and strong, eight classes": Toy((Sensor(1.0, noise=300), Sensor(1.4)), classes=8, samples=400),
    "wide and strong, many samples": Toy((Sensor(1.0, noise=300), Sensor(1.4)), samples=1500),
    "three, one wide, one scaled down": Toy((Sensor(0.8, noise=300), Sensor(1.0, scale=0.2), Sensor(0.8)), samples=300),
    "three, two wide": Toy((Sensor(0.8, noise=300), Sensor(0.8, noise=300), Sensor(1.4)), samples=300),
    "two classes, wide and scaled down": Toy((Sensor(0.5, noise=300), Sensor(0.9, scale=0.2)), classes=2, samples=200),
    "clusters and wide": Toy((Sensor(2.0, clusters=3), Sensor(0.8, noise=300)), samples=400),
}
"""Not looked at when the rules of the verdict and their thresholds were chosen on the others."""
TOYS = CHOSEN_ON | HELD_OUT


def make(toy: Toy, seed: int) -> Task:
    """Draw a task: the class means, and three splits."""
    rng = np.random.default_rng(seed)
    means = [sensor.signal * rng.normal(size=(toy.classes, sensor.clusters, LATENT)) for sensor in toy.sensors]

    def split(size: int) -> Split:
        labels = rng.integers(toy.classes, size=size)
        shared = rng.normal(size=(size, LATENT))
        found = [
            _columns(sensor, mean, labels, shared, toy.shared, rng)
            for sensor, mean in zip(toy.sensors, means, strict=True)
        ]
        return Split(tuple(found), labels)

    return Task(tuple("abcd"[: len(toy.sensors)]), toy.classes, split(toy.samples), split(VALIDATION), split(TEST))


def _columns(
    sensor: Sensor,
    means: NDArray[Any],
    labels: NDArray[Any],
    shared: NDArray[Any],
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    seen = {"class": labels, "half": labels // 2, "parity": labels % 2}[sensor.sees]
    place = rng.integers(sensor.clusters, size=len(labels))
    noise = share * shared + (1 - share**2) ** 0.5 * rng.normal(size=shared.shape)
    more = rng.normal(size=(len(labels), sensor.noise))
    return (sensor.scale * np.concatenate([means[seen, place] + noise, more], axis=1)).astype(np.float32)


def measure(toy: Toy, seed: int) -> dict[str, Any]:
    """Train jointly and with MIDAS; return what is known before, on validation data, and what came, on test data."""
    task = make(toy, seed)
    epochs = max(10, round(STEPS / -(-toy.samples // BATCH)))
    methods = {method.key: method for method in FUSED}

    def trained(key: str, strength: float) -> tuple[Any, float]:
        network, run = train(task, methods[key], seed, Hyperparameters(3e-3, strength, epochs, BATCH), points=20)
        return network, run.validation_accuracy

    joint, _ = trained("joint", 1.0)
    midas, _ = max((trained("MIDAS", weight) for weight in WEIGHTS), key=lambda found: found[1])
    return {
        "validation": {
            "joint": _slim(diagnose_model(joint, task, split="validation", probe=True)),
            "MIDAS": _slim(diagnose_model(midas, task, split="validation", probe=True)),
        },
        "test": {"joint": _scores(diagnose_model(joint, task)), "MIDAS": _scores(diagnose_model(midas, task))},
    }


def _slim(found: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis without what takes the room: classes, bins, histograms; four digits are enough."""
    modalities = tuple(replace(each, similarity=()) for each in found.modalities)
    content: dict[str, Any] = replace(found, reliability=(), classes=(), modalities=modalities).to_dict()
    return rounded(content, 4)


def _scores(found: Diagnosis) -> dict[str, Any]:
    metrics = found.metrics()
    return {key: round(x, 4) for key, x in metrics.items() if "confidence" not in key and "shapley" not in key}


def rows(names: tuple[str, ...], seeds: int) -> Iterator[dict[str, Any]]:
    """Yield the measurements of each task and seed."""
    for name in names:
        for seed in range(seeds):
            start = time.perf_counter()
            found = measure(TOYS[name], seed)
            before, after = (found["test"][key] for key in ("joint", "MIDAS"))
            click.echo(
                f"{name} {seed}: joint {before['accuracy']:.3f}, MIDAS {after['accuracy']:.3f} "
                f"({time.perf_counter() - start:.0f} s)",
                err=True,
            )
            yield {"task": name, "held_out": name in HELD_OUT, "seed": seed, **found}


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--task", "names", type=click.Choice(list(TOYS)), multiple=True, help="[default: all]")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True)
def verdicts(file: Path, names: tuple[str, ...], seeds: int) -> None:
    """Train every small task jointly and with MIDAS, and write both diagnoses into FILE."""
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    versions = {"midas_core": __version__, **package_versions("torch", "numpy", "scikit-learn")}
    for row in rows(names or tuple(TOYS), seeds):
        found.append(row)
        write_json(file, {"versions": versions, "weights": WEIGHTS, "rows": found})


if __name__ == "__main__":
    verdicts(prog_name="python -m benchmarks.verdicts")

"""Epochs, batch size, and what ``midas demo --tune`` found on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""The grid of ``--tune``, the same for every method."""

DEFAULT_SEEDS = 5
TUNING_SEED = 1000
"""The first seed of ``--tune``: other seeds than those that are reported."""

QUICK_EPOCHS, QUICK_SEEDS = 6, 2


@dataclass(frozen=True)
class Settings:
    """How a task is trained.

    Attributes
    ----------
    epochs, batch_size : int
        The same for every method.
    tuned : dict of (learning rate, strength) by method
        What is not in it trains with `DEFAULT`.
    """

    epochs: int = 300
    batch_size: int = 64
    tuned: Mapping[str, tuple[float, float]] = field(default_factory=dict)


DEFAULT = (1e-3, 1.0)

SETTINGS: Mapping[str, Settings] = {
    "halves": Settings(
        tuned={
            "left alone": (0.01, 1.0),
            "right alone": (0.003, 1.0),
            "joint": (0.003, 1.0),
            "joint + unimodal": (0.003, 1.0),
            "joint + dropout": (0.01, 0.25),
            "MIDAS": (0.003, 1.0),
        },
    ),
    "wide-left": Settings(
        tuned={
            "left alone": (0.001, 1.0),
            "right alone": (0.03, 1.0),
            "joint": (0.003, 1.0),
            "joint + unimodal": (0.003, 2.0),
            "joint + dropout": (0.003, 0.5),
            "MIDAS": (0.003, 5.0),
        },
    ),
    "two-sensors": Settings(
        tuned={
            "coarse alone": (0.001, 1.0),
            "noisy alone": (0.0003, 1.0),
            "joint": (0.001, 1.0),
            "joint + unimodal": (0.001, 2.0),
            "joint + dropout": (0.003, 0.5),
            "MIDAS": (0.01, 5.0),
        },
    ),
    "scaled-sensors": Settings(
        epochs=200,
        tuned={
            "coarse alone": (0.003, 1.0),
            "noisy alone": (0.001, 1.0),
            "joint": (0.001, 1.0),
            "joint + unimodal": (0.003, 2.0),
            "joint + dropout": (0.003, 0.5),
            "MIDAS": (0.01, 5.0),
        },
    ),
    "noisy-views": Settings(
        epochs=100,
        tuned={
            "first alone": (0.001, 1.0),
            "second alone": (0.003, 1.0),
            "joint": (0.001, 1.0),
            "joint + unimodal": (0.001, 2.0),
            "joint + dropout": (0.001, 0.75),
            "MIDAS": (0.003, 5.0),
        },
    ),
    "breast-cancer": Settings(
        epochs=100,
        tuned={
            "mean alone": (0.03, 1.0),
            "error alone": (0.03, 1.0),
            "worst alone": (0.03, 1.0),
            "joint": (0.03, 1.0),
            "joint + unimodal": (0.01, 0.5),
            "joint + dropout": (0.03, 0.25),
            "MIDAS": (0.03, 1.0),
        },
    ),
    "av-clean": Settings(
        epochs=120,
        tuned={
            "audio alone": (0.003, 1.0),
            "image alone": (0.003, 1.0),
            "joint": (0.03, 1.0),
            "joint + unimodal": (0.03, 2.0),
            "joint + dropout": (0.01, 0.25),
            "MIDAS": (0.003, 2.0),
        },
    ),
    "av-noisy": Settings(
        epochs=100,
        batch_size=128,
        tuned={
            "audio alone": (0.01, 1.0),
            "image alone": (0.0003, 1.0),
            "joint": (0.03, 1.0),
            "joint + unimodal": (0.01, 2.0),
            "joint + dropout": (0.003, 0.75),
            "MIDAS": (0.0003, 5.0),
        },
    ),
}

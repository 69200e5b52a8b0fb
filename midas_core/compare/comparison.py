"""Which method helps on given features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from midas_core import __version__
from midas_core.compare.methods import BEST, DEFAULT, METHODS
from midas_core.compare.reading import FeatureSet, make_features
from midas_core.compare.result import BASELINE, MethodComparison
from midas_core.compare.search import MADE_BY, Plan, Progress, Source, run_plans
from midas_core.compare.splitting import check_splits, count_splits, make_task
from midas_core.compare.store import Store
from midas_core.compare.training import Recipe
from midas_core.data import DataError, Task
from midas_core.files import package_versions, write_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

STEPS = 1000
"""Steps of the optimizer that the epochs are chosen for."""
EPOCHS = (12, 150)
"""The fewest and the most."""


def compare_methods(
    features: FeatureSet | Mapping[str, ArrayLike],
    labels: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    fold: ArrayLike | None = None,
    missing: str = "refuse",
    methods: str | Sequence[str] = "default",
    seeds: int | None = None,
    output: str | Path | None = None,
    jobs: int = 1,
    settings: Mapping[str, tuple[float, float]] | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> MethodComparison:
    """Train every method on the same features, splits and settings to choose from, and say which one helps.

    Settings are chosen on validation data with other seeds than those that are reported; test data are looked at once.
    Small dense encoders are trained on the features: the answer is about what the features hold.

    Parameters
    ----------
    features : dict of M arrays, shapes (N, D_m) or (N, T, D_m), by modality; or FeatureSet
        An array with three axes is averaged over T.
    labels : array, shape (N,)
        Numbers or text.
    groups : array, shape (N,), optional
        Samples of one group, such as a person, are never on two sides of a split.
    fold : array, shape (N,), optional
        0 for training, 1 for validation, 2 for the test. Without a 1 some of 0 validate; without it, samples are split
        at random, 60 : 20 : 20, several times where they are few.
    missing : {"refuse", "zero", "drop"}
        Treatment of samples with NaN or infinite features.
    methods : {"default", "all"} or sequence of str
        Titles. Each modality alone and joint training are always among them.
    seeds : int, optional
        Runs that are reported. 8, or two for each of several splits, if omitted.
    output : path, optional
        Folder of what is finished. The same call goes on with what is in it, and trains nothing twice.
    jobs : int
        Stacks of models that are trained at the same time, by joblib: ``joblib.parallel_config`` says where.
    settings : dict of (learning rate, strength) by method, optional
        Takes the place of the search for these methods.
    epochs : int, optional
        As many as give about 1,000 steps if omitted.
    progress : callable, optional
        ``progress(done, total, what)``, called first when the work is known, then whenever something is finished.

    Returns
    -------
    MethodComparison

    Raises
    ------
    midas_core.data.DataError
        If data or options do not fit; nothing is trained or written.
    midas_core.compare.store.StoreError
        If ``output`` holds runs of other data or options.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(3, size=90)
    >>> features = {"audio": np.eye(3)[labels] + rng.normal(size=(90, 3)), "text": rng.normal(size=(90, 4))}
    >>> result = compare_methods(features, labels, methods=["MIDAS"], seeds=5, epochs=2)
    >>> list(result.accuracies)
    ['audio alone', 'text alone', 'joint', 'MIDAS']
    """
    if not isinstance(features, FeatureSet):
        if labels is None:
            raise DataError("labels: expected an array (N,), got None")
        features = make_features(features, labels, groups, fold, missing=missing)  # type: ignore[arg-type]
    plan = make_plan(features, methods, seeds, settings, epochs)
    if not isinstance(jobs, int) or jobs == 0:
        raise DataError(f"jobs: expected a whole number other than 0, got {jobs}")
    folder = None if output is None else Path(output)
    store = open_store(features, folder)

    content = {
        **run_plans([plan], store, jobs=jobs, progress=progress)[plan.task],
        "notes": [*features.notes, *_constant(plan.first)],
        "versions": {"midas_core": __version__, **package_versions("torch", "numpy", "scikit-learn")},
    }
    result = MethodComparison(content)
    if folder is not None:
        write_whole(folder / "results.json", result.to_json().encode())
    return result


def open_store(features: FeatureSet, folder: Path | None) -> Store:
    """Return the finished stacks of a folder; raise ``StoreError`` where they are of other data or options."""
    return Store(folder, {**MADE_BY, "data": features.digest})


def make_plan(
    features: FeatureSet,
    methods: str | Sequence[str] = "default",
    seeds: int | None = None,
    settings: Mapping[str, tuple[float, float]] | None = None,
    epochs: int | None = None,
) -> Plan:
    """Return what `compare_methods` would train; raise ``DataError`` where it cannot."""
    _check_options(seeds, epochs, settings or {})
    titles = known_methods(methods, features.modalities)
    check_splits(features)
    source = Source(partial(make_task, features), count_splits(features))
    runs = seeds or max(8, 2 * source.splits)
    steps = -(-len(source.make(0).training) // Recipe(1).batch_size)
    recipe = Recipe(epochs or min(max(round(STEPS / steps), EPOCHS[0]), EPOCHS[1]))
    return Plan("data", source, titles, recipe, runs, settings or {})


def known_methods(methods: str | Sequence[str], modalities: Sequence[str]) -> tuple[str, ...]:
    """Return titles in the order of the tables, every modality alone and joint training among them."""
    if isinstance(methods, str):
        methods = {"default": DEFAULT, "all": (*METHODS, BEST)}.get(methods, methods.split(","))
    names = [name.strip() for name in methods]
    known = (*METHODS, BEST)
    for name in names:
        if name not in known:
            raise DataError(f"methods: expected default, all, or some of {', '.join(known)}; got {name!r}")
    wanted = {*names, BASELINE, *(("MIDAS",) if BEST in names else ())}
    return (*(f"{m} alone" for m in modalities), *(name for name in known if name in wanted))


def _check_options(seeds: int | None, epochs: int | None, settings: Mapping[str, tuple[float, float]]) -> None:
    for name, value in (("seeds", seeds), ("epochs", epochs)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise DataError(f"{name}: expected a whole number >= 1, got {value}")
    for title, setting in settings.items():
        if len(setting) != 2 or not all(isinstance(x, int | float) for x in setting):
            raise DataError(f"settings: expected learning rate and strength of {title}, got {setting}")


def _constant(task: Task) -> list[str]:
    widths = {name: x.shape[1] for name, x in zip(task.modalities, task.training.inputs, strict=True)}
    return [
        f"{name}: {len(columns)} of {widths[name]} columns do not vary in training and count as zero"
        for name, columns in task.constant_columns.items()
    ]

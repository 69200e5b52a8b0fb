"""The run folders of a comparison: the report reads them, and says which modality is ignored."""

from types import SimpleNamespace

import numpy as np

from midas_core.compare.comparison import compare_methods
from midas_core.compare.runs import write_runs
from midas_core.diagnostics import diagnose
from midas_core.report import headlines
from midas_core.runs import read_run


def test_models_of_one_modality_say_what_it_could_give(tmp_path):
    labels = np.arange(200) % 4
    views = {name: np.eye(4)[labels] for name in ("audio", "image")}
    options = {"num_classes": 4, "probe": False, "rounds": 1}
    heads = {"joint": lambda x: 5 * x[:, 4:], "MIDAS": lambda x: 5 * (x[:, :4] + x[:, 4:])}
    alone = [{"test": {"accuracy": accuracy, "recall": accuracy / 2}} for accuracy in (0.7, 0.9)]
    methods = {f"{name} alone": alone for name in views}
    for title, head in heads.items():
        found = diagnose(head, views, labels, **options).to_dict()
        history = {"epoch": [0, 1], "validation accuracy": [0.5, 0.75], "loss": [1.0, 0.5]}
        methods[title] = [
            {"setting": (seed, 0.01, 1.0), "history": history, "test": {"accuracy": 1.0, "diagnosis": found}}
            for seed in (0, 1)
        ]
    write_runs(SimpleNamespace(content={"methods": methods}, modalities=tuple(views)), tmp_path)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["MIDAS-0", "MIDAS-1", "joint-0", "joint-1"]
    run = read_run(tmp_path / "joint-1")
    assert run.series("val_accuracy") == ([0, 1], [0.5, 0.75])
    assert [x["reference_accuracy"] for x in run.diagnostics["test"]["modalities"]] == [0.8, 0.8]
    assert [x["reference_recall"] for x in run.diagnostics["test"]["modalities"]] == [0.4, 0.4]
    joint, midas = headlines([tmp_path])
    assert joint.startswith("joint (2 seeds): The model largely ignores audio (by itself 25 %, within reach 80 %)")
    assert midas.startswith("MIDAS (2 seeds): MIDAS repairs the use of audio")


def test_uneven_classes_are_judged_by_the_mean_recall_of_each_modality():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], [270, 30])
    features = {name: rng.normal(size=(300, 3)) for name in ("audio", "text")}
    settings = {title: (0.01, 1.0) for title in ("audio alone", "text alone", "joint")}
    result = compare_methods(features, labels, methods=["joint"], epochs=1, seeds=2, settings=settings)
    for run in result.content["methods"]["audio alone"]:
        assert run["test"]["accuracy"] > 0.7
        assert abs(run["test"]["recall"] - 0.5) < 0.2

"""The run folders of a comparison: the report reads them, and says which modality is ignored."""

from types import SimpleNamespace

import numpy as np

from midas_core.compare.runs import write_runs
from midas_core.diagnostics import diagnose
from midas_core.report import headlines
from midas_core.runs import read_run


def test_models_of_one_modality_say_what_it_could_give(tmp_path):
    labels = np.arange(200) % 4
    views = {name: np.eye(4)[labels] for name in ("audio", "image")}
    options = {"num_classes": 4, "probe": False, "rounds": 1}
    heads = {"joint": lambda x: 5 * x[:, 4:], "MIDAS": lambda x: 5 * (x[:, :4] + x[:, 4:])}
    methods = {f"{name} alone": [{"test": {"accuracy": accuracy}} for accuracy in (0.7, 0.9)] for name in views}
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
    joint, midas = headlines([tmp_path])
    assert joint.startswith("joint (2 seeds): The model largely ignores audio (by itself 25 %, within reach 80 %)")
    assert midas.startswith("MIDAS (2 seeds): MIDAS repairs the use of audio")

"""The demo from end to end, and its parts."""

import json

import pytest
import torch
from click.testing import CliRunner

from midas_core.adapters.torch import MidasLoss
from midas_core.cli.demo import TASKS as HELP
from midas_core.cli.main import main
from midas_core.data.digits import halves
from midas_core.demo.methods import FUSED, ModalityDropout, UnimodalLosses, alone
from midas_core.demo.settings import DEFAULT_SEEDS, LEARNING_RATES, SETTINGS
from midas_core.demo.summary import Spread, last_quarter
from midas_core.demo.tasks import GROUPS, TASKS
from midas_core.demo.training import Hyperparameters, Point, train
from midas_core.demo.tune import Trial, best
from midas_core.diagnostics import Diagnosis
from midas_core.runs import read_run
from tests.adapters.recordings import write_recordings

QUICK = Hyperparameters(learning_rate=1e-3, strength=1.0, epochs=2, batch_size=64)
METHODS = ["late fusion", *(method.key for method in FUSED)]


def invoke(*arguments):
    result = CliRunner().invoke(main, ["demo", "--quick", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Run the default demo and return its folder, its numbers and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    output = invoke("--output", folder / "out", "--json", folder / "all.json")
    return folder, json.loads((folder / "all.json").read_text()), output


def test_demo_prints_a_row_for_every_method(digits):
    _, _, output = digits
    for words in ("left alone", "late fusion", "joint + modality dropout", "MIDAS minus", "misaligned", "seconds"):
        assert words in output


def test_demo_draws_a_figure_for_every_task(digits):
    folder, _, _ = digits
    for name in GROUPS["digits"]:
        picture = (folder / "out" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000


def test_demo_reports_on_joint_training_and_midas(digits):
    folder, content, output = digits
    for task in content["tasks"]:
        runs = [read_run(folder / "out" / task["name"] / method) for method in ("joint", "midas")]
        for run in runs:
            assert run.modalities == tuple(task["modalities"])
            assert run.config["seed"] == 0
            assert len(run.metrics) == 2 * 6
            found = Diagnosis.from_dict(run.diagnostics["test"])
            (same,) = [r for r in task["runs"] if r["seed"] == 0 and r["method"] == run.name]
            assert found.accuracy == pytest.approx(same["test"]["accuracy"])
            assert found.misaligned_accuracy == pytest.approx(same["test"]["misaligned_accuracy"])
            assert [m.accuracy_alone for m in found.modalities] == pytest.approx(same["test"]["accuracy_alone"])
            assert all(m.reference_accuracy is not None for m in found.modalities)
        assert runs[1].series("alpha_left")[0] == [1, 2, 3, 4, 5, 6]
        page = folder / "out" / task["name"] / "report.html"
        assert str(page) in output.replace("\n", "")
        assert "joint: The model" in output
        assert len(page.read_bytes()) < 1_000_000


def test_json_holds_every_number_of_every_seed(digits):
    folder, content, _ = digits
    assert json.loads((folder / "out" / "results.json").read_text()) == content
    assert content["options"]["seeds"] == 2
    assert "torch" in content["versions"]
    assert [task["name"] for task in content["tasks"]] == list(GROUPS["digits"])
    for task in content["tasks"]:
        methods = [f"{name} alone" for name in task["modalities"]] + METHODS
        assert {(run["method"], run["seed"]) for run in task["runs"]} == {
            (method, seed) for method in methods for seed in (0, 1)
        }
        for run in task["runs"]:
            assert 0 <= run["test"]["accuracy"] <= 1
            assert 0 <= run["test"]["macro_f1"] <= 1
            if run["method"] in METHODS:
                assert 0 <= run["test"]["misaligned_accuracy"] <= 1
                assert len(run["test"]["accuracy_alone"]) == 2
        for run in task["runs"]:
            if run["method"] == "MIDAS":
                point = run["history"][-1]
                assert point["epoch"] == run["hyperparameters"]["epochs"] == 6
                assert len(point["alpha"]) == 2
                assert sum(point["unimodal_confidence"]) == pytest.approx(1)
                assert sum(point["fused_confidence"]) == pytest.approx(1)


def test_every_method_trains_for_the_same_epochs(digits):
    _, content, _ = digits
    for task in content["tasks"]:
        settings = [run["hyperparameters"] for run in task["runs"] if run["hyperparameters"]]
        assert len({(s["epochs"], s["batch_size"]) for s in settings}) == 1


def test_two_classes_report_no_misaligned_accuracy(tmp_path):
    output = invoke("--data", "breast-cancer", "--output", tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    (task,) = content["tasks"]
    assert all(run["test"]["misaligned_accuracy"] is None for run in task["runs"])
    assert "worst only" in output


def test_audio_and_images(tmp_path):
    root = write_recordings(tmp_path)
    invoke("--data", "av-clean", "--root", root, "--seeds", 1, "--output", tmp_path / "out")
    (task,) = json.loads((tmp_path / "out" / "results.json").read_text())["tasks"]
    assert task["modalities"] == ["audio", "image"]
    assert task["sizes"]["training"] == 500


def test_worker_processes_find_the_same_as_one_process(tmp_path):
    arguments = ["demo", "--data", "halves", "--seeds", "1", "--epochs", "2"]
    found = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        result = CliRunner().invoke(main, [*arguments, "--workers", workers, "--output", str(folder)])
        assert result.exit_code == 0, result.output
        (task,) = json.loads((folder / "results.json").read_text())["tasks"]
        found.append([(run["method"], run["test"]) for run in task["runs"]])
    assert found[0] == found[1]


def test_tuning_tries_the_same_grid_for_every_method(tmp_path):
    file = tmp_path / "tuning.json"
    invoke("--tune", "--data", "halves", "--seeds", 1, "--epochs", 1, "--json", file)
    (task,) = json.loads(file.read_text())["tasks"]
    for method in (*alone(("left", "right")), *FUSED):
        mine = [trial for trial in task["trials"] if trial["method"] == method.key]
        assert {t["learning_rate"] for t in mine} == set(LEARNING_RATES)
        assert len(mine) == len(LEARNING_RATES) * (len(method.strengths) or 1)
        rate, _ = task["best"][method.key]
        assert rate in LEARNING_RATES


def test_methods_with_a_strength_are_tuned_on_the_same_budget():
    assert {len(method.strengths) for method in FUSED if method.strengths} == {3}


def test_settings_are_on_the_grid():
    assert set(SETTINGS) == set(TASKS)
    strengths = {method.key: method.strengths or (1.0,) for method in FUSED}
    for settings in SETTINGS.values():
        for key, (rate, strength) in settings.tuned.items():
            assert rate in LEARNING_RATES
            assert strength in strengths.get(key, (1.0,))
    assert DEFAULT_SEEDS >= 5


def test_help_names_every_task():
    for name in TASKS:
        assert f"{name}:" in HELP
    assert {task for group in GROUPS.values() for task in group} == set(TASKS)


def test_training_is_repeatable_and_keeps_the_best_checkpoint():
    task, (method,) = halves(0), [m for m in FUSED if m.key == "MIDAS"]
    (network, run), (again, _) = train(task, method, 0, QUICK), train(task, method, 0, QUICK)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert run.validation_accuracy == max(point.validation_accuracy for point in run.history)
    assert run.best_epoch in {point.epoch for point in run.history}


def test_every_method_starts_from_the_same_encoders():
    torch.manual_seed(0)
    starts = []
    for method in FUSED:
        frozen = Hyperparameters(learning_rate=0.0, strength=1.0, epochs=1, batch_size=400)
        starts.append(train(halves(0), method, 3, frozen)[0])
    for other in starts[1:]:
        for a, b in zip(starts[0].parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_midas_of_the_demo_is_the_library():
    (method,) = [m for m in FUSED if m.key == "MIDAS"]
    assert isinstance(method.criterion((4, 4), 3, 2.0), MidasLoss)


def test_modality_dropout_zeroes_one_modality_at_most():
    torch.manual_seed(0)
    seen = []

    def head(features):
        seen.append(features)
        return torch.zeros(len(features), 3)

    features = [torch.ones(4000, 1), torch.ones(4000, 1)]
    ModalityDropout(probability=0.5)(features, torch.zeros(4000, dtype=torch.int64), head=head)
    kept = seen[0].sum(dim=1)
    assert set(kept.tolist()) == {1.0, 2.0}
    assert (kept == 1).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert seen[0].mean(dim=0).tolist() == pytest.approx([0.75, 0.75], abs=0.05)


def test_unimodal_losses_add_up():
    torch.manual_seed(0)
    features, labels = [torch.randn(5, 4), torch.randn(5, 4)], torch.arange(5) % 3
    head, loss = torch.nn.Linear(8, 3), UnimodalLosses((4, 4), 3, weight=2.0)
    entropy = torch.nn.functional.cross_entropy
    each = [entropy(h(x), labels) for h, x in zip(loss.unimodal_heads, features, strict=True)]
    expected = entropy(head(torch.cat(features, dim=1)), labels) + 2 * sum(each)
    torch.testing.assert_close(loss(features, labels, head=head), expected)


def test_spread_and_interval():
    spread = Spread.of([1.0, 2.0, 3.0])
    assert (spread.mean, spread.sd) == (2.0, 1.0)
    assert spread.interval() == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)
    assert Spread.of([1.0]).sd == 0


def test_last_quarter():
    values = [0.0, 0.0, 0.5, 0.5, 0.6, 0.6, 0.7, 0.9]
    history = [Point(i, 0.0, 1.0, value) for i, value in enumerate(values)]
    assert last_quarter(history) == pytest.approx(0.8 - 0.6)


def test_best_trial():
    trials = [
        Trial("joint", 0.1, 1.0, [0.5, 0.7]),
        Trial("joint", 0.2, 1.0, [0.8, 0.6]),
        Trial("MIDAS", 0.1, 2.0, [0.1, 0.1]),
    ]
    assert best(trials) == {"joint": (0.2, 1.0), "MIDAS": (0.1, 2.0)}


def test_one_seed_and_one_epoch(tmp_path):
    output = invoke("--data", "halves", "--seeds", 1, "--epochs", 1, "--output", tmp_path)
    assert "±" not in output.split("Mean ±")[0]

"""The demo from end to end, and its parts."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from midas_core.adapters.torch import MidasLoss
from midas_core.cli.demo import TASKS as HELP
from midas_core.cli.main import main
from midas_core.data.digits import halves
from midas_core.demo import runner
from midas_core.demo.methods import FUSED, ModalityDropout, UnimodalLosses, alone
from midas_core.demo.settings import DEFAULT_SEEDS, LEARNING_RATES, SETTINGS
from midas_core.demo.summary import Spread, last_quarter
from midas_core.demo.table import difference_tables, results_tables
from midas_core.demo.tasks import GROUPS, TASKS
from midas_core.demo.training import Hyperparameters, MethodRun, Point, train
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


def columns(tables):
    return [column.header for table in tables for column in table.columns]


def test_narrow_terminals_show_every_column_whole():
    from rich.console import Console

    spread = Spread.of([88.25, 91.75])
    summary = {
        key: dict.fromkeys(["accuracy", "macro-F1", "misaligned", "left only", "last quarter", "seconds"], spread)
        for key in ("left alone", "late fusion", *(method.key for method in FUSED))
    }
    for width in (60, 80, 200):
        console = Console(width=width, file=io.StringIO())
        for table in (*results_tables("title", summary, width), *difference_tables(summary, ["left"], width)):
            console.print(table)
        text = console.file.getvalue()
        assert "…" not in text
        assert len(re.findall(r"(?:│|\s)\+?90.0 ± 2.5", text)) == 6 * 6
        for words in ("misaligned", "joint + modality dropout", "interval", "0 of 2"):
            assert words in text
    assert len(results_tables("title", summary, 200)) == len(difference_tables(summary, ["left"], 200)) == 1
    wide, narrow = (columns(results_tables("title", summary, width)) for width in (200, 60))
    assert [c for c in narrow if c != "method"] == wide[1:]


def test_jobs_are_kept_as_they_end_and_resumed(tmp_path, monkeypatch):
    arguments = ["demo", "--quick", "--data", "halves", "--seeds", "1", "--epochs", "1", "--output", str(tmp_path)]
    executed, execute = [], runner.execute

    def until_midas(job, report):
        executed.append(list(job.methods))
        if "MIDAS" in job.methods and len(executed) < 6:
            raise KeyboardInterrupt
        return execute(job, report)

    monkeypatch.setattr(runner, "execute", until_midas)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 130
    assert "4 of 5 jobs of halves are in" in result.output
    assert "--resume" in result.output
    assert len(json.loads((tmp_path / "halves" / "finished.json").read_text())["runs"]) == 6
    result = CliRunner().invoke(main, [*arguments, "--resume"])
    assert result.exit_code == 0, result.output
    assert executed[5:] == [["MIDAS"]]
    (task,) = json.loads((tmp_path / "results.json").read_text())["tasks"]
    assert [run["method"] for run in task["runs"]] == ["left alone", "right alone", *METHODS]
    again = CliRunner().invoke(main, [*arguments, "--resume"])
    assert len(executed) == 6
    assert again.stdout == result.stdout
    # With other settings they are trained again.
    CliRunner().invoke(main, [*arguments, "--resume", "--epochs", "2"])
    assert len(executed) == 11


def test_a_closed_pipe_ends_quietly_after_everything_is_written(tmp_path):
    code = "from midas_core.cli.main import main; main(prog_name='midas')"
    arguments = ["demo", "--quick", "--data", "halves", "--seeds", "1", "--epochs", "1", "--output", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    said = process.stderr.read()
    process.wait()
    assert "Traceback" not in said
    assert "Error" not in said
    for name in ("results.json", "halves.png", "halves/report.html", "halves/midas/diagnostics.json"):
        assert (tmp_path / name).exists(), name
    process.stderr.close()


def test_interrupted_workers_say_nothing(tmp_path):
    # What a shell starts in the background ignores interrupts, and so does all below it; at a terminal they are heard.
    code = """if __name__ == "__main__":
    import signal
    from midas_core.cli.main import main
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="midas")
"""
    (tmp_path / "run.py").write_text(code)
    arguments = ["--data", "halves", "--seeds", "3", "--workers", "2", "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (tmp_path / "out" / "halves" / "finished.json").exists():
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "--resume goes on" in said
    assert json.loads((tmp_path / "out" / "halves" / "finished.json").read_text())["runs"]


@pytest.mark.parametrize("option", ["--output", "--json"])
def test_what_cannot_be_written_fails_before_the_work(tmp_path, monkeypatch, option):
    monkeypatch.setattr(runner, "execute", lambda *arguments: pytest.fail("it began to train"))
    target = tmp_path / ("halves.png" if option == "--output" else "folder")
    target.mkdir()
    value = tmp_path if option == "--output" else target
    result = CliRunner().invoke(main, ["demo", "--quick", "--data", "halves", option, str(value)])
    assert result.exit_code == 2
    assert target.name in result.output


def test_a_terminal_without_unicode(tmp_path):
    code = "from midas_core.cli.main import main; main(prog_name='midas')"
    arguments = ["demo", "--quick", "--data", "halves", "--seeds", "2", "--epochs", "1", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert b"+-" in result.stdout
    assert b"?" not in result.stdout
    for table in re.findall(r"(?:^[|+].*\n)+", result.stdout.decode(), re.MULTILINE):
        assert len({len(line) for line in table.splitlines()}) == 1, table


def test_a_run_comes_back_from_its_dict():
    task, (method,) = halves(0), [m for m in FUSED if m.key == "MIDAS"]
    (run,) = runner.execute(runner.Job("halves", task, 0, {method.key: QUICK}, diagnose=True), lambda epochs: None)
    content = json.loads(json.dumps(run.to_dict()))
    again = MethodRun.from_dict(content)
    assert again.to_dict()["history"] == run.to_dict()["history"]
    assert (again.test, again.hyperparameters) == (run.test, run.hyperparameters)
    assert again.diagnosis.modalities == run.diagnosis.modalities
    with pytest.raises(KeyError):
        MethodRun.from_dict({})

"""The script for a lent GPU: every line of it runs, in little, on the CPU. No value or time is judged."""

import json
import os
from unittest import mock

import pytest

pytest.importorskip("torch")

import torch
from click.testing import CliRunner

from benchmarks.gpu import training
from benchmarks.gpu.__main__ import gpu
from benchmarks.gpu.place import Place
from benchmarks.gpu.record import Record
from benchmarks.gpu.speed import ORDER
from benchmarks.registry import SECTIONS


def run(part, folder, *more):
    arguments = ["--part", str(part), "--output", str(folder), "--dry-run", *more]
    with mock.patch.dict(os.environ):
        return CliRunner().invoke(gpu, arguments, catch_exceptions=False)


# The import of PyTorch's own compiler alone raises one.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("part", [1, 2, 3])
def test_dry_run(part, tmp_path, monkeypatch):
    for package in ("transformers", "jax", "hypothesis", "sklearn"):
        pytest.importorskip(package)
    # The tests of compiled steps trace; here it would take most of the time.
    monkeypatch.setattr(training, "_compiler", lambda place: lambda function: function)
    outcome = run(part, tmp_path)
    found = json.loads((tmp_path / f"part-{part}-dry.json").read_text())
    assert [x["error"] for x in found.values() if "error" in x] == []
    assert outcome.exit_code == 0
    assert len(found) > 5
    again = run(part, tmp_path)
    assert again.output.count("\n") == 1, "what is done is not done again"


def test_every_section_that_only_a_gpu_has_is_in_its_script():
    assert {name for name, section in SECTIONS.items() if section.devices == ("cuda",)} <= set(ORDER)


def test_a_failure_costs_one_result_and_is_tried_again(tmp_path):
    lines = []
    path = tmp_path / "found.json"
    record = Record(path, 60, lines.append)
    record.take("wrong", lambda: 1 / 0)
    record.take("right", lambda: {"x": 1})
    assert record.failed == ["wrong"]
    assert "ZeroDivisionError" in lines[0]
    assert json.loads(path.read_text())["right"]["found"] == {"x": 1}

    again = Record(path, 60, lines.append)
    again.take("right", lambda: pytest.fail("done already"))
    again.take("wrong", lambda: 2)
    assert again.failed == []


def test_nothing_is_begun_out_of_time(tmp_path):
    record = Record(tmp_path / "found.json", -1, lambda line: None)
    record.take("late", lambda: pytest.fail("out of time"))
    assert "out of time" in record.results["late"]["error"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    outcome = CliRunner().invoke(gpu, ["--part", "1", "--output", str(tmp_path)])
    assert outcome.exit_code == 2
    assert "no CUDA device" in outcome.output


def test_waiting_is_told_and_the_mode_comes_back(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    place = Place(dry=False)

    def fail(text):
        raise RuntimeError(text)

    assert not place.waits(lambda: None)
    assert place.waits(lambda: fail("called a synchronizing CUDA operation"))
    with pytest.raises(RuntimeError, match="memory"):
        place.waits(lambda: fail("out of memory"))
    assert modes == ["error", "default"] * 3

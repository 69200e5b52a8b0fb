"""Run folders within a folder."""

import pytest

from midas_core.runs import RunLogger
from midas_core.runs import folder as module
from midas_core.runs.folder import RunError, find_runs


def make_run(folder):
    RunLogger(folder, modalities=["audio"]).close()
    return folder


def test_three_levels_by_name_and_none_within_another(tmp_path):
    deep = make_run(tmp_path / "c" / "1" / "2")
    second, first = make_run(tmp_path / "b"), make_run(tmp_path / "a" / "1")
    for hidden in (tmp_path / ".tool", tmp_path / "b" / "checkpoints", tmp_path / "c" / "1" / "3" / "4"):
        make_run(hidden)
    assert find_runs(tmp_path) == [first, second, deep]


def test_a_run_itself_and_what_the_reader_will_refuse(tmp_path):
    assert find_runs(make_run(tmp_path / "run")) == [tmp_path / "run"]
    assert find_runs(tmp_path / "nothing") == [tmp_path / "nothing"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"expected a run folder with run.json in it, or a folder of such .* found none"):
        find_runs(tmp_path / "empty")


def test_folders_that_are_large_end_with_a_message(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / f"run{i}") for i in range(5)]
    monkeypatch.setattr(module, "MOST_RUNS", 5)
    # The folder itself is looked at too.
    monkeypatch.setattr(module, "MOST_FOLDERS", 6)
    assert find_runs(tmp_path) == runs
    monkeypatch.setattr(module, "MOST_RUNS", 4)
    with pytest.raises(RunError, match="at most 4 runs, got 5: name those to compare"):
        find_runs(tmp_path)
    monkeypatch.setattr(module, "MOST_FOLDERS", 5)
    with pytest.raises(RunError, match="more than 5 folders"):
        find_runs(tmp_path)

import math

import pytest

from benchmarks.accuracy.figures import FIGURES, write_figures
from benchmarks.accuracy.ranks import Ranks, rank
from benchmarks.accuracy.tables import (
    accuracy_table,
    alone_table,
    difference_table,
    markdown,
    measure_table,
    printed,
    render,
    settings_table,
    short_table,
    vote_by_task,
    vote_table,
)


def made_run(seed, accuracy, vote=None):
    scores = {"accuracy": accuracy, "calibration error": 0.1, "cross-entropy": 0.5}
    more = {"macro-F1": accuracy, "misaligned accuracy": None, "alone": {"a": 0.6, "b": 0.4}}
    run = {"setting": [seed, 0.01, 2.0], "last_quarter": 0.001, "seconds": 1.5}
    run |= {"best": {**scores, **more}, "end": {**scores, **more, "accuracy": accuracy - 0.01}}
    if vote is not None:
        run["vote"] = {"half": {**scores, "accuracy": vote}, "chosen": {**scores, "accuracy": vote, "weight": 0.2}}
        run["vote"]["alone"] = {"a": 0.7, "b": 0.5}
    return run


def made_results():
    """Two tasks, three seeds: MIDAS gains 2 points on the first, with a spread, and loses 1 on the second."""
    accuracies = {
        "first": {"joint": (0.80, 0.81, 0.82), "OPM": (0.70, 0.71, 0.72), "MIDAS": (0.82, 0.84, 0.83)},
        "second": {"joint": (0.91, 0.91, 0.91), "OPM": (0.95, 0.95, 0.95), "MIDAS": (0.90, 0.90, 0.90)},
    }
    tasks = {}
    for name, methods in accuracies.items():
        about = {"title": f"the {name}", "modalities": ["a", "b"], "classes": 3, "epochs": 9, "batch_size": 64}
        sizes = {"training": 10, "validation": 20, "test": 30}
        found = {
            method: {
                "learning_rate": 0.01,
                "strength": {"weight": 2.0} if method == "MIDAS" else None,
                "runs": [made_run(i, x, x + 0.01 if method == "MIDAS" else None) for i, x in enumerate(values)],
            }
            for method, values in methods.items()
        }
        tasks[name] = {**about, "sizes": sizes, "methods": found}
    options = {"seeds": 3, "tuning_seeds": 2, "settings": 9, "learning_rates": [5e-4, 2e-2], "epoch_factor": 1.0}
    machine = {"processor": "a processor", "cores": 2, "system": "Linux", "load": 0.1}
    return {"options": options, "versions": {"torch": "2"}, "machine": machine, "comparison": tasks}


def test_accuracies_have_means_spreads_and_ranks():
    rows = accuracy_table(made_results())
    assert rows[0] == ["method", "first", "second", "mean", "average rank"]
    assert rows[1:] == [
        ["joint", "81.0 ± 1.0", "91.0 ± 0.0", "86.0", "2.0"],
        ["OPM", "71.0 ± 1.0", "95.0 ± 0.0", "83.0", "2.0"],
        ["MIDAS", "83.0 ± 1.0", "90.0 ± 0.0", "86.5", "2.0"],
    ]


def test_differences_are_paired_by_seed():
    rows = difference_table(made_results(), "joint")
    # 2, 3 and 1 points: a mean of 2, a standard deviation of 1, t(0.975, 2) = 4.303, so 2 -+ 4.303 / sqrt(3).
    assert rows[2][:3] == ["MIDAS", "+2.0 ± 2.5", "-1.0 ± 0.0"]
    # Of the means over the tasks, 2 and -1: 0.5 -+ 12.706 * 2.121 / sqrt(2).
    assert rows[2][3:] == ["+0.5 ± 19.1", "0 : 1"]
    assert [row[0] for row in rows] == ["method", "OPM", "MIDAS"]


def test_the_short_table_says_how_far_each_is_from_midas_at_worst():
    rows = {row[0]: row[1:] for row in short_table(made_results())[1:]}
    assert rows["MIDAS"] == ["86.5", "", "", "2.0"]
    # Less MIDAS -12 on the first task, +5 on the second: -3.5 -+ 12.706 * 12.02 / sqrt(2).
    assert rows["OPM"] == ["83.0", "-3.5 ± 108.0", "-12.0", "2.0"]


def test_measures_leave_out_what_a_task_does_not_have():
    rows = measure_table(made_results())
    by_name = dict(zip(rows[0], rows[3], strict=True))
    assert by_name["accuracy"] == "86.5"
    assert by_name["at the end"] == "85.5"
    assert by_name["misaligned"] == "-"
    assert (by_name["best modality alone"], by_name["worst modality alone"]) == ("60.0", "40.0")
    assert (by_name["calibration error"], by_name["last quarter"], by_name["seconds"]) == ("10.0", "+0.10", "1.50")


def test_the_vote_is_measured_where_there_are_heads():
    rows = vote_table(made_results())
    assert [row[0] for row in rows[1:]] == ["MIDAS"]
    assert rows[1][1:4] == ["+1.00 ± 0.00", "2 : 0", "+1.00 ± 0.00"]
    assert vote_by_task(made_results())[2][:2] == ["second", "+1.00 ± 0.00"]


def test_each_modality_alone_with_and_without_the_vote():
    assert alone_table(made_results())[0] == ["method", "first: a, b", "second: a, b"]
    assert alone_table(made_results())[1:] == [
        ["joint", "60.0, 40.0", "60.0, 40.0"],
        ["OPM", "60.0, 40.0", "60.0, 40.0"],
        ["MIDAS", "60.0 (70.0), 40.0 (50.0)", "60.0 (70.0), 40.0 (50.0)"],
    ]


def test_settings_are_shown_with_the_strength_of_those_that_have_one():
    assert settings_table(made_results())[1:] == [
        ["joint", "0.01", "0.01"],
        ["OPM", "0.01", "0.01"],
        ["MIDAS", "0.01, 2", "0.01, 2"],
    ]


def test_what_ran_on_some_tasks_only_is_left_out():
    content = made_results()
    del content["comparison"]["second"]["methods"]["OPM"]
    assert [row[0] for row in accuracy_table(content)] == ["method", "joint", "MIDAS"]


def test_everything_is_rendered(tmp_path):
    content = made_results()
    found = render(content)
    assert found["accuracy"].splitlines()[1] == "| --- | --- | --- | --- | --- |"
    assert found["minus MIDAS"].startswith("| method | first |")
    assert "3 reporting seeds, 2 tuning seeds, 9 settings" in found["made with"]
    assert len(printed(content)) == 2
    write_figures(content, tmp_path)
    assert all((tmp_path / name).stat().st_size > 5000 for name in FIGURES)


def test_markdown():
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_ranks_of_a_known_table():
    # Demsar (2006): the critical value of four methods is 2.569, which is divided by the square root of 2 already.
    values = {name: [i + 0.1 * task for task in range(14)] for i, name in enumerate("dcba")}
    found = rank(values)
    assert list(found.mean) == ["a", "b", "c", "d"]
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 84), abs=1e-3)
    assert found.p_value < 1e-6


def test_ties_share_a_rank():
    assert rank({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [0.0, 2.0]}).mean == {"a": 2.0, "b": 2.0, "c": 2.0}


def test_groups_are_the_largest_that_do_not_differ():
    ranks = Ranks({"a": 1.0, "b": 1.5, "c": 2.4, "d": 5.0}, 1.0, 0.01)
    assert ranks.groups() == [["a", "b"], ["b", "c"]]


def test_one_task_has_no_critical_difference():
    assert math.isnan(rank({"a": [1.0], "b": [2.0]}).critical_difference)

"""The tables of the docs, from results whose numbers are known."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.robustness import METHODS, VARIANTS, variant_rows
from benchmarks.suite_figures import rank, write_figures
from benchmarks.suite_tables import SHORT, SuiteResults
from midas_core.compare.suite import compact

MEANS = {
    "text alone": (50, 60, 40),
    "joint": (60, 70, 80),
    "joint + label smoothing": (63, 71, 81),
    "MIDAS": (57, 75, 90),
    "MIDAS (eta 0)": (60.5, 75, 88),
    "MIDAS (eta 0) + finish": (61, 76, 89),
    "modality dropout": (59, 69, 79),
    "best of joint and MIDAS": (60, 75, 90),
    "late fusion": (58, 66, 70),
}
TASKS = {"wiki": True, "wisdm": True, "digits": False}


def run(seed, accuracy):
    test = {
        "accuracy": accuracy,
        "macro-F1": accuracy - 0.01,
        "calibration error": 0.1,
        "misaligned accuracy": 0.3,
        "alone": {"text": 0.4},
        "without": {"text": 0.2},
        "vote": accuracy + 0.02,
        "diagnosis": {"large": "thing"},
    }
    return {
        "setting": [seed, 0.01, 1.0],
        "validation_accuracy": accuracy + 0.05,
        "last": accuracy - 0.03,
        "seconds": 2.0,
        "test": test,
    }


def content():
    noise = [-0.01, 0.0, 0.01, 0.0]
    return {
        task: {
            "title": "what it is",
            "natural": natural,
            "modalities": ["text"],
            "classes": 10,
            "chance": 0.1,
            "sizes": {"training": 1600, "validation": 20, "test": 30},
            "splits": 1,
            "recipe": {"epochs": 7, "batch_size": 64},
            "methods": {
                title: [run(seed, means[place] / 100 + (z if title == "joint" else 0)) for seed, z in enumerate(noise)]
                for title, means in MEANS.items()
            },
        }
        for place, (task, natural) in enumerate(TASKS.items())
    }


@pytest.fixture
def results():
    about = {"machine": {"processor": "a", "cores": 2}, "versions": {"numpy": "1"}}
    return SuiteResults({**about, "tasks": compact(content())})


def test_what_is_kept_is_short():
    task = compact(content())["wiki"]
    assert task["methods"]["joint"]["accuracy"] == [0.59, 0.6, 0.61, 0.6]
    assert task["methods"]["joint"]["alone"] == {"text": [0.4] * 4}
    assert "diagnosis" not in str(task)
    assert task["title"] == "what it is"


def test_accuracy_and_differences(results):
    rows = {row[0]: row for row in results.accuracy_rows(True)}
    assert list(rows)[:3] == ["method", "best modality alone", "joint"]
    assert rows["best modality alone"][1:4] == ["50.0 ± 0.0 (text)", "60.0 ± 0.0 (text)", "55.0"]
    assert rows["MIDAS"][1:] == ["57.0 ± 0.0", "75.0 ± 0.0", "66.0", "5.5"]
    less = {row[0]: row for row in results.difference_rows("joint", True)}
    half = 3.182 * np.std([-1, 0, 1, 0], ddof=1) / 2
    assert less["MIDAS"][1] == f"-3.0 ± {half:.1f}"
    assert less["MIDAS"][-1] == "1 : 1", "ahead on one, behind on the other"
    assert "joint" not in less
    assert {row[0] for row in results.difference_rows("MIDAS", True)} == {"Δ vs. MIDAS", *MEANS} - {
        "MIDAS",
        "text alone",
    }


def test_natural_and_constructed_tasks_are_averaged_apart(results):
    assert results.over_tasks("MIDAS", natural=True).mean == pytest.approx(1.0)
    assert results.over_tasks("MIDAS", natural=False).mean == pytest.approx(10.0)
    assert next(iter(results.ranks(False).mean)) == "MIDAS"


def test_the_short_table_begins_with_the_task_where_midas_loses(results):
    head, *rows = results.short_rows()
    assert head[:4] == ["Δ vs. joint", "wiki", "natural tasks, mean", "ahead : behind"]
    assert [row[0] for row in rows] == [title for title in SHORT if title in MEANS and title != "joint"]
    midas = next(row for row in rows if row[0] == "MIDAS")
    assert midas[1][:4] == "-3.0"
    assert (midas[2][:4], midas[3], midas[4]) == ("+1.0", "1 : 1", "5.5")
    assert (midas[5], midas[6], midas[7]) == ("+10.0", "1 : 0", "1.5")
    assert "over 2 natural and 1 constructed tasks" in results.short_legend()


def test_a_method_that_lacks_a_task_is_left_out():
    without = content()
    del without["digits"]["methods"]["late fusion"]
    results = SuiteResults({"tasks": compact(without)})
    assert "late fusion" not in results.methods()
    assert "late fusion" in results.methods(natural=True)
    assert "late fusion" not in [row[0] for row in results.accuracy_rows(False)]


def test_every_table_is_rendered(results):
    tables = results.render()
    for name in ("accuracy", "versus joint", "versus MIDAS", "measures", "alone", "ranks"):
        assert {f"{name} natural", f"{name} constructed"} <= set(tables)
    assert tables["tasks"].splitlines()[2] == "| wiki | what it is | 10 | 1,600, 20, 30 | 4 | 1 | 7 |"
    assert "Differences below" in tables["ranks natural"]
    assert "| MIDAS | +2.0 ± 0.0 | +2.0 |" in tables["vote"]


def test_the_claims_have_the_numbers_of_the_results(results):
    label_smoothing, *rest = results.claims().splitlines()
    assert "+2.0 ± 12.7 on average" in label_smoothing
    assert "MIDAS +1.0 ± 50.8 on average, ahead on 1 and behind on 1 of 2" in label_smoothing
    assert any("wiki: joint + label smoothing +3.0" in line for line in rest), "the task where MIDAS loses"
    assert any("joint 65.0 and 62.0, joint + label smoothing 67.0 and 64.0" in line for line in rest)


def test_the_variants_have_a_row_for_each_task_and_a_mean():
    tasks = {f"{task}, {variant}": x for variant in VARIANTS for task, x in content().items()}
    head, *rows = variant_rows(SuiteResults({"tasks": compact(tasks)}))
    assert head == ["variant", "task", "joint", *(f"{x} - joint" for x in METHODS[1:]), f"{METHODS[-1]} - MIDAS"]
    assert [row[:2] for row in rows[:4]] == [["deeper head", name] for name in (*TASKS, "mean")]
    assert len(rows) == 12
    assert [cell[:4] for cell in rows[0][2:]] == ["60.0", "+3.0", "-3.0", "+1.0", "+4.0"]
    assert [cell[:4] for cell in rows[3][2:]] == ["70.0", "+1.7", "+4.0", "+5.3", "+1.3"]


def test_the_figures_are_drawn(results, tmp_path):
    pytest.importorskip("scikit_posthocs")
    write_figures(results, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"comparison-natural.png", "comparison-constructed.png", "comparison-ranks-natural.png"}


def test_the_critical_difference_is_that_of_demsar():
    # Table 5 of Demsar (2006): q at the 5 % level for 4 methods is 2.569; there with 14 tasks.
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=14).tolist() for name in "abcd"}
    ranks = rank(values)
    assert ranks.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert ranks.p_value == pytest.approx(stats.friedmanchisquare(*values.values()).pvalue)
    assert list(ranks.mean.values()) == sorted(ranks.mean.values())
    assert sum(ranks.mean.values()) == pytest.approx(10)


def test_ties_share_a_rank_and_few_tasks_say_nothing():
    ranks = rank({"a": [0.5], "b": [0.5], "c": [0.1]})
    assert ranks.mean == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert math.isnan(ranks.critical_difference)
    assert math.isnan(ranks.p_value)

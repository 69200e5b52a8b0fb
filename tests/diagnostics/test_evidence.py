"""The verdict is held to small tasks that were trained jointly and with MIDAS (``python -m benchmarks.verdicts``)."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from midas_core.diagnostics import Diagnosis, compare, verdict
from midas_core.diagnostics.judgement import CALIBRATION, WORST_FIRST
from midas_core.diagnostics.wording import PRICE

FILE = Path(__file__).with_name("verdicts.json")


def rows(*, held_out):
    """Yield task, verdict on joint training (on validation data), and the scores of both on test data."""
    for row in json.loads(FILE.read_text())["rows"]:
        if row["held_out"] != held_out:
            continue
        before = Diagnosis.from_dict(row["validation"]["joint"])
        yield row["task"], verdict(before), row["test"]["joint"], row["test"]["MIDAS"]


def gains_by_outlook(*, held_out):
    """Return what the accuracy has gained on test data, in points, by the outlook."""
    found = {"likely": [], "open": [], "unlikely": []}
    for _, said, joint, midas in rows(held_out=held_out):
        found[said.accuracy].append(100 * (midas["accuracy"] - joint["accuracy"]))
    return found


@pytest.fixture(params=[False, True], ids=["chosen on", "held out"])
def held_out(request):
    """Whether the tasks are those that the rules of the verdict had not seen."""
    return request.param


@pytest.fixture
def gains(held_out):
    return gains_by_outlook(held_out=held_out)


def test_there_are_enough_tasks(gains, held_out):
    assert sum(map(len, gains.values())) == (28 if held_out else 54)
    assert len(gains["unlikely"]) >= (15 if held_out else 30)
    assert len(gains["likely"]) >= (5 if held_out else 8)


def test_where_the_accuracy_is_likely_to_rise_it_rises(gains):
    assert min(gains["likely"]) > 0
    assert sum(gain > 2 for gain in gains["likely"]) >= 0.75 * len(gains["likely"])


def test_where_it_is_not_likely_it_hardly_does(gains):
    assert max(gains["unlikely"]) < 3
    assert fmean(gains["unlikely"]) < 0
    assert sum(gain > 1 for gain in gains["unlikely"]) < 0.2 * len(gains["unlikely"])


def test_where_it_is_open_it_is(gains):
    assert fmean(gains["unlikely"]) < fmean(gains["open"]) < fmean(gains["likely"])


def test_most_models_are_not_told_to_expect_more_accuracy(gains):
    # The tasks are sound data for the most part.
    risen = sum(gain > 2 for each in gains.values() for gain in each)
    assert len(gains["likely"]) <= risen


def won_alone(*, held_out):
    """Return what each modality has gained by itself, in points: those that were badly used, and the others."""
    won = {"badly": [], "used": []}
    for _, said, joint, midas in rows(held_out=held_out):
        for name, use in said.uses.items():
            gain = 100 * (midas[f"accuracy_alone_{name}"] - joint[f"accuracy_alone_{name}"])
            won["badly" if use in WORST_FIRST else "used"].append(gain)
    return won


def dearer(*, held_out):
    """Return for each model whether MIDAS has cost calibration."""
    errors = [(joint["calibration_error"], midas["calibration_error"]) for *_, joint, midas in rows(held_out=held_out)]
    return [after - before >= CALIBRATION for before, after in errors]


def test_what_is_badly_used_is_used_after_midas(held_out):
    won = won_alone(held_out=held_out)
    assert sum(gain >= 5 for gain in won["badly"]) >= 0.75 * len(won["badly"])
    assert fmean(won["badly"]) >= 10
    assert fmean(won["used"]) <= 6


def test_the_price_is_the_one_that_is_told(held_out):
    assert "less calibrated" in PRICE
    found = dearer(held_out=held_out)
    assert sum(found) >= 0.6 * len(found)


def test_the_comparison_tells_it():
    for row in json.loads(FILE.read_text())["rows"]:
        before, after = (Diagnosis.from_dict(row["validation"][key]) for key in ("joint", "MIDAS"))
        found = compare(before, after)
        lost = after.calibration_error - before.calibration_error >= CALIBRATION
        assert any("calibration error" in cost for cost in found.costs) == lost
        assert all(cost in found.headline for cost in found.costs)


def test_the_documentation_tells_these_numbers():
    text = (Path(__file__).parents[2] / "docs" / "diagnostics.md").read_text()
    table = [
        "| tasks | `accuracy` | models | change of the accuracy, lowest to highest | mean |",
        "| --- | --- | --- | --- | --- |",
    ]
    sentences = []
    for name, held_out in (("chosen on", False), ("held out", True)):
        for outlook, each in gains_by_outlook(held_out=held_out).items():
            numbers = f"{min(each):+.1f} to {max(each):+.1f} | {fmean(each):+.1f}"
            table.append(f"| {name} | {outlook} | {len(each)} | {numbers} |")
        won, costs = won_alone(held_out=held_out)["badly"], dearer(held_out=held_out)
        sentences += [
            "",
            f"{name.capitalize()}: of {len(won)} modalities that were badly used, {sum(x >= 5 for x in won)} gained "
            f"five points or more by themselves, {fmean(won):.0f} on average. The calibration error rose by two "
            f"points or more in {sum(costs)} of {len(costs)} models.",
        ]
    wanted = "\n".join(table + sentences)
    assert wanted in text, f"expected in docs/diagnostics.md:\n{wanted}"

"""The sentences of a comparison are true of its numbers."""

import numpy as np
import pytest

from midas_core.compare.result import MethodComparison


def comparison(splits=1, chance=0.1, seeds=8, **accuracies):
    """A result whose runs have these test accuracies (mean, spread), and what is asked for beside."""
    rng = np.random.default_rng(0)
    methods = {}
    titles = {
        "audio": "audio alone",
        "text": "text alone",
        "smoothing": "joint + label smoothing",
        "eta": "MIDAS (eta 0)",
    }
    for name, (mean, spread, *more) in accuracies.items():
        beside = more[0] if more else {}
        noise = rng.normal(size=8)
        runs = []
        for seed, z in enumerate(((noise - noise.mean()) / noise.std())[:seeds]):
            accuracy = (mean + spread * z) / 100
            test = {
                "accuracy": accuracy,
                "macro-F1": accuracy,
                "calibration error": 0.1,
                "misaligned accuracy": 0.3,
                "alone": {"audio": beside.get("alone_audio", 0.5), "text": beside.get("alone_text", 0.5)},
                "without": {"audio": beside.get("without_audio", 0.2), "text": beside.get("without_text", 0.2)},
            }
            runs.append(
                {
                    "setting": [seed, 0.01, 1.0 if name != "smoothing" else 0.1],
                    "validation_accuracy": beside.get("validation", accuracy),
                    "seconds": 1.0,
                    "test": test,
                }
            )
        methods[titles.get(name, name)] = runs
    return MethodComparison(
        {
            "modalities": ["audio", "text"],
            "classes": 3,
            "splits": splits,
            "chance": chance,
            "methods": methods,
            "notes": ["a note"],
        }
    )


ALONE = {"audio": (50, 1), "text": (55, 1)}


def test_a_method_that_is_ahead_is_named_with_its_call():
    result = comparison(**ALONE, joint=(64.9, 0.5), MIDAS=(69.0, 0.5))
    assert result.best == "MIDAS"
    assert result.sentences()[0] == (
        "MIDAS 69.0 ± 0.4, joint 64.9 ± 0.4: +4.1 ± 0.7, beyond noise. Take MidasLoss(weight=1)."
    )
    assert result.sentences()[-1] == "a note"


def test_the_simpler_of_two_that_are_as_good_is_taken():
    result = comparison(**ALONE, joint=(64.9, 0.5), MIDAS=(69.0, 0.8), smoothing=(68.8, 0.8))
    assert result.best == "joint + label smoothing"
    assert "Take torch.nn.CrossEntropyLoss(label_smoothing=0.1). MIDAS (+4.1" in result.sentences()[0]
    assert "is no better beyond noise, and less simple" in result.sentences()[0]
    assert comparison(**ALONE, joint=(64.9, 0.5), MIDAS=(72.0, 0.8), smoothing=(68.8, 0.8)).best == "MIDAS"


def test_a_modality_that_is_better_alone():
    result = comparison(audio=(50, 1), text=(70, 1), joint=(64.9, 0.5), MIDAS=(67, 0.5))
    assert result.best == "text alone"
    assert result.sentences()[0] == (
        "text alone 70.0 ± 0.9, joint 64.9 ± 0.4: +5.1 ± 0.7, beyond noise, and no method is ahead of it. "
        "Leave audio out."
    )
    assert comparison(audio=(50, 1), text=(70, 1), joint=(64.9, 0.5), MIDAS=(72, 0.5)).best == "MIDAS"


def test_without_a_method_ahead_joint_training_stays():
    result = comparison(**ALONE, joint=(64.9, 2), MIDAS=(65.5, 2))
    assert result.best == "joint"
    assert result.ahead == ()
    assert result.sentences()[0].startswith("No method is ahead of joint training (64.9 ± 1.8) beyond noise: keep it.")
    assert comparison(**ALONE, joint=(64.9, 0.5), MIDAS=(60, 0.5)).best == "joint"


def test_one_run_does_not_tell_a_difference_from_noise():
    result = comparison(seeds=1, **{name: (mean, 0) for name, mean in (("audio", 50), ("text", 55), ("joint", 65))})
    assert result.sentences() == [
        "Joint training: 65.0.",
        "One run of each method does not tell a difference from noise: take more with --seeds.",
        "a note",
    ]


def test_data_without_signal():
    result = comparison(chance=0.33, audio=(33, 3), text=(32, 3), joint=(34, 3), MIDAS=(33.5, 3))
    # 2 * 0.33 / 1.33 for the largest of three classes, nothing for the others.
    assert result.sentences() == [
        "No method is above 33.0, the share of the largest class, beyond noise: in accuracy these models find nothing "
        "that tells the classes apart. The best macro-F1 is 34.0 (joint); always saying the largest class reaches "
        "16.5.",
        "a note",
    ]


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        (
            {"without_text": 0.647, "alone_text": 0.1},
            "Joint training ignores text: without it, accuracy changes by -0.2 ± 0.4 points; a model of text alone",
        ),
        (
            {"alone_text": 0.3},
            "Joint training uses text in part: from it alone the joint model gets 30.0 % right, a model",
        ),
    ],
)
def test_a_modality_that_is_ignored_or_used_in_part(beside, said):
    sentences = comparison(**ALONE, joint=(64.9, 0.5, beside), MIDAS=(65, 0.5)).sentences()
    assert [s for s in sentences if s.startswith(said)]
    assert not any(
        word in s for s in comparison(**ALONE, joint=(64.9, 0.5)).sentences() for word in ("ignores", "in part")
    )


def test_uneven_classes_are_told():
    said = "The largest class makes up 97.0 % of the test samples"
    assert [s for s in comparison(chance=0.97, **ALONE, joint=(98, 0.5)).sentences() if s.startswith(said)]


def test_a_single_modality_that_is_no_worse():
    sentences = comparison(audio=(50, 1), text=(65.1, 3), joint=(64.9, 0.5)).sentences()
    assert "A model of text alone reaches 65.1 ± 2.7, no less than joint training." in sentences


def test_validation_and_test_that_disagree():
    result = comparison(
        **ALONE,
        joint=(64.9, 0.5, {"validation": 0.8}),
        MIDAS=(69, 0.5, {"validation": 0.7}),
        **{"MIDAS + finish": (60, 0.5, {"validation": 0.9})},
    )
    text = " ".join(result.sentences())
    assert "Validation and test disagree: MIDAS + finish is the best on validation data" in text
    assert "Joint training reaches 80.0 on validation data and 64.9 on test data" in text


def test_splits_widen_the_intervals():
    one, five = (comparison(splits, **ALONE, joint=(64.9, 0.5), MIDAS=(69.0, 0.5)) for splits in (1, 5))
    ratio = five.differences["MIDAS"].half_width / one.differences["MIDAS"].half_width
    assert ratio == pytest.approx(((1 / 8 + 0.25) / (1 / 8)) ** 0.5)


def test_the_table_and_the_figure_have_every_method():
    result = comparison(**ALONE, joint=(64.9, 0.5), MIDAS=(69.0, 0.5))
    assert [row[0] for row in result.rows()] == ["method", "MIDAS", "joint", "text alone", "audio alone"]
    assert result.rows()[1][2] == "+4.1 ± 0.7 *"
    labels = [label.get_text() for label in result.plot().axes[0].get_yticklabels()]
    assert labels == ["audio alone", "text alone", "joint", "MIDAS"]
    assert result.table().row_count == 4

"""The verdict says what the numbers say, and no more than they can carry."""

import json
from dataclasses import replace

import pytest

from midas_core.diagnostics import ClassScores, Diagnosis, ModalityScores, compare, verdict


def diagnosis(alone, available, *, accuracy=0.9, kept=2000, shapley=None, misaligned=0.7, classes=10):
    names = ("audio", "image", "text")[: len(alone)]
    shapley = shapley or [accuracy / len(alone)] * len(alone)
    modalities = tuple(
        ModalityScores(name, a, accuracy, s, probe_accuracy=p, followed=0.4)
        for name, a, p, s in zip(names, alone, available, shapley, strict=True)
    )
    return Diagnosis(
        samples=kept,
        accuracy=accuracy,
        macro_f1=accuracy,
        batch_f1=accuracy,
        calibration_error=0.0,
        reliability=(),
        kept=kept,
        pairs=8 * kept,
        misaligned_accuracy=misaligned,
        chance=1 / classes,
        empty_accuracy=1 / classes,
        absent="zero",
        probe="training",
        modalities=modalities,
        classes=(ClassScores("a", kept, accuracy, tuple(alone), tuple(shapley)),),
    )


def test_an_ignored_modality():
    found = verdict(diagnosis([0.33, 0.86], [0.79, 0.95], accuracy=0.95, shapley=[0.16, 0.69], misaligned=0.2))
    assert (found.status, found.dominant, found.midas, found.accuracy) == ("ignored", "image", "likely", "open")
    assert found.uses == {"audio": "ignored", "image": "used"}
    assert found.headline == (
        "The model largely ignores audio: by itself audio takes it to 33 %, where 79 % are within reach. "
        "Most of the decision rests on image."
    )
    text = str(found)
    for words in ("image 81 %", "46 points lost", "weight=2", "warmup_epochs", "20 % of 16000 samples"):
        assert words in text
    json.dumps(found.to_dict())


def test_an_underused_modality():
    harmed = verdict(diagnosis([0.6, 0.6], [0.89, 0.65], accuracy=0.74))
    assert (harmed.status, harmed.midas, harmed.accuracy) == ("underused", "likely", "likely")
    assert "combining the modalities costs accuracy" in str(harmed)
    open_ = verdict(diagnosis([0.72, 0.75], [0.85, 0.8], accuracy=0.96))
    assert (open_.status, open_.midas, open_.accuracy) == ("underused", "likely", "open")
    assert "use audio; whether the accuracy rises with it is open" in str(open_)


def test_nothing_to_repair():
    found = verdict(diagnosis([0.8, 0.85, 0.82], [0.82, 0.85, 0.84]))
    assert (found.status, found.dominant, found.midas) == ("balanced", None, "unlikely")
    assert found.headline == "The model ignores no modality."
    blind = verdict(diagnosis([0.8, 0.85], [0.82, 0.85], misaligned=0.3))
    assert (blind.status, blind.midas) == ("balanced", "perhaps")


def test_a_model_below_its_best_modality():
    found = verdict(diagnosis([0.2, 0.7], [0.22, 0.75], accuracy=0.65))
    assert (found.status, found.midas, found.accuracy) == ("balanced", "perhaps", "likely")
    assert "Yet it stays below what image could do by itself" in found.headline
    assert "twice the weight" in str(
        verdict(diagnosis([0.2, 0.7], [0.22, 0.75], accuracy=0.65), trained_with_midas=True)
    )


def test_a_modality_that_carries_nothing_is_not_ignored():
    found = verdict(diagnosis([0.1, 0.85], [0.12, 0.85], shapley=[0.0, 0.8]))
    assert found.uses["audio"] == "uninformative"
    assert found.status == "balanced"
    assert found.dominant == "image"
    assert "too little to be used comes from audio" in found.headline


def overruled(misaligned):
    found = diagnosis([0.8, 0.85], [0.8, 0.85], misaligned=misaligned)
    audio, image = found.modalities
    return replace(found, modalities=(replace(audio, followed=0.02), replace(image, followed=0.9)))


def test_an_overruled_modality():
    # Alone it does all it can, but its voice is too low: with the other zeroed out that does not show.
    found = verdict(overruled(0.25))
    assert found.uses == {"audio": "overruled", "image": "used"}
    assert (found.status, found.dominant, found.midas) == ("underused", "image", "likely")
    assert "The model lets image overrule audio" in found.headline
    # Named second, it is heard.
    assert verdict(overruled(0.7)).uses["audio"] == "used"
    for after, status in ((0.7, "repaired"), (0.35, "partly"), (0.26, "no")):
        assert compare(overruled(0.25), overruled(after)).status == status


def test_few_samples_say_nothing():
    found = verdict(diagnosis([0.3, 0.9], [0.8, 0.9], kept=60))
    assert (found.status, found.midas) == ("unclear", "unclear")
    assert "60 samples are too few" in found.headline
    # 300 are enough, and their noise is told.
    some = verdict(diagnosis([0.3, 0.9], [0.8, 0.9], kept=300))
    assert some.status == "ignored"
    assert "two standard errors are up to 6 %" in str(some)


def test_a_difference_within_noise_does_not_count():
    assert verdict(diagnosis([0.45, 0.9], [0.56, 0.9], kept=110)).uses["audio"] == "used"
    assert verdict(diagnosis([0.45, 0.9], [0.56, 0.9], kept=5000)).uses["audio"] == "underused"


def test_without_a_measure_of_what_is_there():
    found = verdict(diagnosis([0.3, 0.9], [None, None]))
    assert found.status == "unclear"
    assert "with_reference" in found.advice[0]
    told = verdict(diagnosis([0.3, 0.9], [None, None]).with_reference({"audio": 0.8, "image": 0.9}))
    assert told.status == "ignored"
    assert "a model trained on it alone in 80 %" in str(told)


def test_after_midas_the_advice_is_another():
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9], misaligned=0.3)
    assert verdict(balanced, trained_with_midas=True).advice == (
        "MIDAS has done what it can: leave weight and warm-up as they are.",
    )
    assert verdict(balanced, trained_with_midas=True).midas == "unlikely"
    assert "twice the weight" in str(verdict(diagnosis([0.3, 0.9], [0.8, 0.9]), trained_with_midas=True))


def test_numbers_that_are_not_finite():
    nan = float("nan")
    found = verdict(diagnosis([nan, nan], [0.8, 0.9], accuracy=nan, shapley=[nan, nan]))
    assert found.status == "unclear"
    assert "nan" not in str(found)
    broken = diagnosis([nan, 0.9], [0.8, 0.9], accuracy=nan)
    assert "nan" not in str(compare(broken, broken).to_dict())


@pytest.mark.parametrize(
    ("alone", "accuracy", "status"),
    [([0.78, 0.9], 0.95, "repaired"), ([0.5, 0.9], 0.9, "partly"), ([0.34, 0.9], 0.9, "no"), ([0.2, 0.9], 0.9, "no")],
)
def test_did_it_repair(alone, accuracy, status):
    before = diagnosis([0.3, 0.9], [0.8, 0.9], misaligned=0.2)
    found = compare(before, diagnosis(alone, [0.8, 0.9], accuracy=accuracy), names=("joint", "MIDAS"))
    assert (found.status, found.weak) == (status, "audio")
    assert found.headline.startswith("MIDAS")
    assert "Misaligned accuracy: 20 % to 70 % (+50.0 points" in found.findings[1]


def test_a_repair_that_costs_accuracy_says_so():
    before = diagnosis([0.3, 0.9], [0.8, 0.9])
    found = compare(before, diagnosis([0.8, 0.8], [0.8, 0.9], accuracy=0.8))
    assert "It costs accuracy: -10.0 points." in found.headline


def test_nothing_to_compare():
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9])
    assert compare(balanced, balanced).status == "nothing to repair"
    assert "within noise" in compare(balanced, balanced).findings[0]
    few = diagnosis([0.3, 0.9], [0.8, 0.9], kept=50)
    assert compare(few, few).status == "unclear"
    renamed = replace(balanced, modalities=tuple(replace(x, name=x.name + "2") for x in balanced.modalities))
    with pytest.raises(ValueError, match="expected the modalities"):
        compare(balanced, renamed)

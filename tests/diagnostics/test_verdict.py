"""The verdict says what the numbers say, and no more than they can carry."""

import json
import math
from dataclasses import replace

import pytest

from midas_core.diagnostics import ClassScores, Diagnosis, ModalityScores, compare, verdict
from midas_core.diagnostics.verdict import beyond_noise, two_errors


def diagnosis(
    alone, available, *, accuracy=0.9, kept=2000, shapley=None, misaligned=0.7, classes=10, late=None, calibration=0.0
):
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
        calibration_error=calibration,
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
        late_fusion_accuracy=late,
    )


def test_an_ignored_modality():
    found = verdict(diagnosis([0.33, 0.86], [0.79, 0.95], accuracy=0.95, shapley=[0.16, 0.69], misaligned=0.2))
    assert (found.status, found.dominant, found.repair) == ("ignored", "image", "likely")
    assert found.uses == {"audio": "ignored", "image": "used"}
    assert found.headline == (
        "The model largely ignores audio (by itself 33 %, within reach 79 %). Most of the decision rests on image."
    )
    text = str(found)
    for words in (
        "image 81 %",
        "46 points lost",
        "weight=2",
        "warmup_epochs",
        "20 % of 16000 samples",
        "midas compare",
    ):
        assert words in text
    assert json.loads(json.dumps(found.to_dict()))["repair"] == "likely"


def test_the_headline_names_every_modality_that_is_badly_used():
    found = verdict(diagnosis([0.3, 0.6, 0.85], [0.8, 0.75, 0.87]))
    assert "largely ignores audio (by itself 30 %, within reach 80 %) and does not use image to the full" in str(found)
    assert "text" not in found.headline
    worst_first = verdict(diagnosis([0.6, 0.3, 0.4], [0.75, 0.8, 0.95]))
    assert worst_first.headline.index("image") < worst_first.headline.index("audio")
    assert worst_first.headline.index("text") < worst_first.headline.index("image")


def test_an_underused_modality():
    harmed = verdict(diagnosis([0.6, 0.6], [0.89, 0.65], accuracy=0.74))
    assert (harmed.status, harmed.repair) == ("underused", "likely")
    assert "combining the modalities costs accuracy" in str(harmed)
    assert "MidasLoss(weight=1)" in str(harmed)
    # What the accuracy will do is measured, not guessed.
    assert "This verdict does not predict accuracy" in str(harmed)
    assert not hasattr(harmed, "accuracy")


def test_nothing_to_repair():
    found = verdict(diagnosis([0.8, 0.85, 0.82], [0.82, 0.85, 0.84]))
    assert (found.status, found.dominant, found.repair) == ("balanced", None, "unlikely")
    assert found.headline == "The model ignores no modality."
    blind = verdict(diagnosis([0.8, 0.85], [0.82, 0.85], misaligned=0.3))
    assert (blind.status, blind.repair) == ("balanced", "unlikely")
    assert "little for MIDAS to repair" in str(blind)


def test_a_model_below_its_best_modality():
    weak = diagnosis([0.2, 0.7], [0.22, 0.75], accuracy=0.65)
    found = verdict(weak)
    assert (found.status, found.repair) == ("balanced", "unlikely")
    assert "Yet it stays below what image could do by itself" in found.headline
    assert "leave weight and warm-up" in str(verdict(weak, trained_with_midas=True))
    late = verdict(diagnosis([0.6, 0.6], [0.62, 0.6], accuracy=0.65, late=0.8))
    assert "Yet it stays below what its features could do" in late.headline


@pytest.mark.parametrize(("accuracy", "kept", "at_chance"), [(0.11, 2000, True), (0.16, 150, True), (0.2, 2000, False)])
def test_a_model_at_chance_gets_that_answer_and_no_other(accuracy, kept, at_chance):
    untrained = diagnosis([0.1, 0.1], [0.8, 0.9], accuracy=accuracy, kept=kept)
    found = verdict(untrained)
    assert (found.status == "at chance") == at_chance
    if at_chance:
        assert found.headline.startswith(f"The fused model is at chance: it is right in {100 * accuracy:.0f} %")
        assert (found.findings, found.advice, found.dominant) == ((), (), None)
        assert set(found.uses.values()) == {"unknown"}
        assert found.repair == "unclear"
        assert "MIDAS" not in str(found)
        for pair in ((untrained, diagnosis([0.8, 0.9], [0.8, 0.9])), (diagnosis([0.3, 0.9], [0.8, 0.9]), untrained)):
            assert compare(*pair).status == "unclear"
            assert "is at chance" in compare(*pair).headline


def test_a_rare_class_that_is_known_is_not_chance():
    # Of 1000 samples 900 are of one class: a model may be right no more often, and yet know the others.
    model = replace(diagnosis([0.5, 0.5], [0.6, 0.6], accuracy=0.9, kept=1000), chance=0.9)
    for recalls, status in (((0.9, 0.9), False), ((1.0, 0.0), True), ((0.52, 0.52), True)):
        classes = tuple(
            ClassScores(name, count, recall, (0.5, 0.5), (0.1, 0.1))
            for name, count, recall in zip("ab", (900, 100), recalls, strict=True)
        )
        assert (verdict(replace(model, classes=classes)).status == "at chance") == status


def test_logits_that_are_not_finite_get_no_advice():
    nan = float("nan")
    found = verdict(diagnosis([0.1, 0.1], [0.8, 0.9], accuracy=0.0, calibration=nan))
    assert (found.status, found.repair) == ("unclear", "unclear")
    assert "not finite" in found.headline
    assert (found.findings, found.advice) == ((), ())


def test_the_diagnosis_knows_whether_midas_trained():
    ignored = diagnosis([0.3, 0.9], [0.8, 0.9])
    assert "Start with MidasLoss" in str(verdict(ignored))
    assert "Start with MidasLoss" in str(verdict(replace(ignored, midas=False)))
    assert "twice the weight" in str(verdict(replace(ignored, midas=True)))
    assert "Start with MidasLoss" in str(verdict(replace(ignored, midas=True), trained_with_midas=False))


def test_a_modality_that_carries_nothing_is_not_ignored():
    found = verdict(diagnosis([0.1, 0.85], [0.12, 0.85], shapley=[0.0, 0.8]))
    assert found.uses["audio"] == "uninformative"
    assert found.status == "balanced"
    assert found.dominant == "image"
    assert "audio carries too little by itself to be used" in found.headline


def overruled(misaligned):
    found = diagnosis([0.8, 0.85], [0.8, 0.85], misaligned=misaligned)
    audio, image = found.modalities
    return replace(found, modalities=(replace(audio, followed=0.02), replace(image, followed=0.9)))


def test_an_overruled_modality():
    # Alone it does all it can, but its voice is too low: with the other zeroed out that does not show.
    found = verdict(overruled(0.25))
    assert found.uses == {"audio": "overruled", "image": "used"}
    assert (found.status, found.dominant, found.repair) == ("underused", "image", "likely")
    assert "The model lets image overrule audio" in found.headline
    # Named second, it is heard.
    assert verdict(overruled(0.7)).uses["audio"] == "used"
    for after, status in ((0.7, "repaired"), (0.35, "partly"), (0.26, "no")):
        assert compare(overruled(0.25), overruled(after)).status == status


def test_few_samples_say_nothing():
    found = verdict(diagnosis([0.3, 0.9], [0.8, 0.9], kept=60))
    assert (found.status, found.repair) == ("unclear", "unclear")
    assert "60 samples are too few" in found.headline
    # 300 are enough, and their noise is told.
    some = verdict(diagnosis([0.3, 0.9], [0.8, 0.9], kept=300))
    assert some.status == "ignored"
    assert "two standard errors are up to 6 %" in str(some)


@pytest.mark.parametrize(("alone", "said"), [(0.79, ": 1 point lost"), (0.78, ": 2 points lost")])
def test_points_are_counted(alone, said):
    found = verdict(diagnosis([alone, 0.9], [0.8, 0.9]))
    assert said in str(found)


def test_a_difference_within_noise_does_not_count():
    assert verdict(diagnosis([0.45, 0.9], [0.56, 0.9], kept=110)).uses["audio"] == "used"
    assert verdict(diagnosis([0.45, 0.9], [0.56, 0.9], kept=5000)).uses["audio"] == "underused"


def test_without_a_measure_of_what_is_there():
    found = verdict(diagnosis([0.3, 0.9], [None, None]))
    assert found.status == "unclear"
    assert "with_reference" in found.advice[0]
    told = verdict(diagnosis([0.3, 0.9], [None, None]).with_reference({"audio": 0.8, "image": 0.9}))
    assert told.status == "ignored"
    assert "a model trained on it alone reaches 80 %" in str(told)


def test_after_midas_the_advice_is_another():
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9], misaligned=0.3)
    assert verdict(balanced, trained_with_midas=True).advice == (
        "MIDAS has done what it can: leave weight and warm-up as they are.",
    )
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
    [
        ([0.78, 0.9], 0.95, "repaired"),
        ([0.64, 0.9], 0.9, "repaired"),  # 0.34 of 0.5 are more than two thirds
        ([0.63, 0.9], 0.9, "partly"),
        ([0.47, 0.9], 0.9, "partly"),
        ([0.46, 0.9], 0.9, "no"),
        ([0.2, 0.9], 0.9, "no"),
    ],
)
def test_did_it_repair(alone, accuracy, status):
    before = diagnosis([0.3, 0.9], [0.8, 0.9], misaligned=0.2)
    found = compare(before, diagnosis(alone, [0.8, 0.9], accuracy=accuracy), names=("joint", "MIDAS"))
    assert (found.status, found.repairs) == (status, {"audio": status})
    assert found.headline.startswith("MIDAS")
    assert found.findings[1] == "Misaligned accuracy: 20 % to 70 % (+50.0 points ± 2.7)."


def test_a_repair_within_noise_is_none():
    few, many = (diagnosis([0.3, 0.9], [0.45, 0.9], kept=kept) for kept in (300, 5000))
    assert compare(few, diagnosis([0.37, 0.9], [0.45, 0.9], kept=300)).repairs == {"audio": "no"}
    assert compare(many, diagnosis([0.42, 0.9], [0.45, 0.9], kept=5000)).repairs == {"audio": "repaired"}


@pytest.mark.parametrize(
    ("alone", "available", "status"),
    [
        (0.5, 0.6, "partly"),  # of what was within reach before: 0.2 of 0.5
        (0.65, 0.95, "partly"),  # of what is within reach now: 0.35 of 0.65
        (0.65, 0.8, "repaired"),
        (0.9, 0.8, "repaired"),
    ],
)
def test_what_is_within_reach_is_the_best_of_both(alone, available, status):
    before = diagnosis([0.3, 0.9], [0.8, 0.9])
    assert compare(before, diagnosis([alone, 0.9], [available, 0.9])).status == status


def test_what_is_missing_is_not_compared():
    before, after = diagnosis([0.3, 0.9], [0.8, 0.9]), diagnosis([0.8, 0.9], [0.8, 0.9])
    for pair in (
        (replace(before, misaligned_accuracy=None), after),
        (before, replace(after, misaligned_accuracy=None)),
    ):
        found = compare(*pair)
        assert found.status == "repaired"
        assert not any("Misaligned" in finding for finding in found.findings)
    nan = float("nan")
    for pair in ((before, replace(after, calibration_error=nan)), (replace(before, calibration_error=nan), after)):
        assert "nan" not in str(compare(*pair).to_dict())
    odd = replace(after, modalities=(replace(after.modalities[0], accuracy_alone=nan), after.modalities[1]))
    assert "nan" not in str(compare(before, odd).to_dict())


def test_few_samples_compare_nothing():
    before, after = (diagnosis([alone, 0.9], [0.9, 0.9], kept=100) for alone in (0.1, 0.9))
    assert compare(before, after).status == "repaired"
    assert compare(before, replace(after, kept=99)).status == "unclear"
    assert compare(replace(before, kept=99), after).status == "unclear"
    assert "is at chance" in compare(before, replace(after, accuracy=0.1)).headline
    unknown = diagnosis([0.3, 0.9], [None, None])
    assert compare(unknown, after).status == "unclear"


def test_every_modality_is_compared():
    before = diagnosis([0.3, 0.5, 0.85], [0.8, 0.8, 0.87])
    found = compare(before, diagnosis([0.75, 0.5, 0.85], [0.8, 0.8, 0.87]), names=("joint", "MIDAS"))
    assert (found.status, found.repairs) == ("partly", {"audio": "repaired", "image": "no"})
    assert "MIDAS repairs the use of audio" in found.headline
    assert "and does not repair the use of image (by itself 50 % to 50 %, of 80 % within reach)" in found.headline
    both = compare(before, diagnosis([0.75, 0.75, 0.85], [0.8, 0.8, 0.87]))
    assert (both.status, set(both.repairs)) == ("repaired", {"audio", "image"})


def test_the_price_stands_in_the_headline():
    before = diagnosis([0.3, 0.9], [0.8, 0.9], calibration=0.01)
    dear = diagnosis([0.8, 0.76], [0.8, 0.9], accuracy=0.8, misaligned=0.5, calibration=0.06)
    found = compare(before, dear)
    assert found.costs == (
        "aligned accuracy -10.0 points",
        "misaligned accuracy -20.0 points",
        "with image alone -14.0 points",
        "calibration error +5.0 points",
    )
    assert "It costs: aligned accuracy -10.0 points" in found.headline
    assert "Better" not in found.headline
    # What lies within noise is no price.
    cheap = compare(before, diagnosis([0.8, 0.885], [0.8, 0.9], accuracy=0.89, misaligned=0.69, calibration=0.029))
    assert cheap.costs == ()
    assert "Accuracy unchanged (-1.0 ± 1.9 points)." in cheap.headline
    assert "costs" not in cheap.headline
    better = compare(before, diagnosis([0.8, 0.9], [0.8, 0.9], accuracy=0.95))
    assert "Better: aligned accuracy +5.0 points." in better.headline
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9])
    assert "It costs: aligned accuracy -10.0 points" in compare(balanced, replace(balanced, accuracy=0.8)).headline


def test_nothing_to_compare():
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9])
    assert compare(balanced, balanced).status == "nothing to repair"
    assert "within noise" in compare(balanced, balanced).findings[0]
    few = diagnosis([0.3, 0.9], [0.8, 0.9], kept=50)
    assert compare(few, few).status == "unclear"
    renamed = replace(balanced, modalities=tuple(replace(x, name=x.name + "2") for x in balanced.modalities))
    with pytest.raises(ValueError, match="expected the modalities"):
        compare(balanced, renamed)


NOISE = 2 * (0.25 / 400) ** 0.5
"""Two standard errors of a half of 400 samples."""


def test_the_noise_of_a_share():
    assert two_errors(0.5, 400) == pytest.approx(NOISE)
    assert two_errors(0.2, 100) == pytest.approx(0.08)
    assert two_errors(0.0, 10) == 0
    assert two_errors(0.5, 0) == float("inf")
    assert two_errors(1.2, 10) == 0  # rounding
    apart = math.hypot(two_errors(0.5, 400), two_errors(0.57, 400))
    assert apart == pytest.approx(0.0704, abs=1e-4)
    assert not beyond_noise(0.5, 0.57, 400)
    assert not beyond_noise(1.0, 1.0, 400)
    assert beyond_noise(0.5, 0.572, 400)
    assert beyond_noise(0.572, 0.5, 400)


@pytest.mark.parametrize(
    ("alone", "available", "use"),
    [
        (0.701, 0.8, "used"),  # UNUSED: ten points
        (0.699, 0.8, "underused"),
        (0.46, 0.8, "underused"),  # IGNORED: half of the 0.7 above chance
        (0.44, 0.8, "ignored"),
        (0.1, 0.149, "uninformative"),  # INFORMATIVE: five points above chance
        (0.0, 0.151, "ignored"),
    ],
)
def test_the_thresholds_of_use(alone, available, use):
    assert verdict(diagnosis([alone, 0.9], [available, 0.9], kept=10**6)).uses["audio"] == use


@pytest.mark.parametrize(("share", "dominant"), [(0.749, None), (0.751, "image")])
def test_the_threshold_of_dominance(share, dominant):
    found = diagnosis([0.8, 0.9], [0.8, 0.9], shapley=[1 - share, share])
    assert verdict(found).dominant == dominant


@pytest.mark.parametrize(
    ("misaligned", "followed", "available", "use"),
    [
        (0.44, 0.09, 0.8, "overruled"),
        (0.46, 0.09, 0.8, "used"),  # BLIND: half of 0.9
        (0.44, 0.11, 0.8, "used"),  # OVERRULED: a tenth of the conflicts of two
        (0.44, 0.09, 0.68, "overruled"),  # COMPARABLE: three quarters of 0.9
        (0.44, 0.09, 0.67, "used"),
    ],
)
def test_the_thresholds_of_being_overruled(misaligned, followed, available, use):
    found = diagnosis([available, 0.9], [available, 0.9], misaligned=misaligned)
    audio, image = found.modalities
    found = replace(found, modalities=(replace(audio, followed=followed), replace(image, followed=1 - followed)))
    assert verdict(found).uses["audio"] == use


@pytest.mark.parametrize(
    ("recall", "count", "at_chance"),
    [
        (0.58, 50, True),  # eight points above a half, within noise: two standard errors of the mean are 9.9
        (0.62, 50, False),
        (0.53, 5000, True),  # beyond noise, and yet next to nothing
        (0.56, 5000, False),
    ],
)
def test_the_noise_of_the_mean_recall(recall, count, at_chance):
    classes = tuple(ClassScores(name, count, recall, (0.5, 0.5), (0.1, 0.1)) for name in "ab")
    model = replace(diagnosis([0.5, 0.5], [0.6, 0.6], accuracy=0.9, kept=1000), chance=0.9, classes=classes)
    assert (verdict(model).status == "at chance") == at_chance


@pytest.mark.parametrize(("rise", "costs"), [(0.0199, 0), (0.0201, 1)])
def test_the_threshold_of_calibration(rise, costs):
    balanced = diagnosis([0.8, 0.9], [0.8, 0.9])
    assert len(compare(balanced, replace(balanced, calibration_error=rise)).costs) == costs


@pytest.mark.parametrize(
    ("followed", "use"), [((0.09, 0.36), "used"), ((0.03, 0.42), "overruled"), ((0.0, 0.0), "used")]
)
def test_conflicts_that_nobody_wins_do_not_count(followed, use):
    found = diagnosis([0.8, 0.9], [0.8, 0.9], misaligned=0.2)
    modalities = tuple(replace(x, followed=share) for x, share in zip(found.modalities, followed, strict=True))
    assert verdict(replace(found, modalities=modalities)).uses["audio"] == use


@pytest.mark.parametrize(("kept", "status"), [(99, "unclear"), (100, "ignored")])
def test_the_threshold_of_few(kept, status):
    assert verdict(diagnosis([0.1, 0.9], [0.9, 0.9], kept=kept)).status == status


@pytest.mark.parametrize(("rare", "status"), [(3, "unclear"), (9, "unclear"), (11, "ignored")])
def test_few_samples_of_a_class_say_nothing(rare, status):
    scores = [ClassScores(name, count, 1.0, (0.5, 1.0), (0.1, 0.4)) for name, count in (("a", 2000), ("b", rare))]
    model = replace(diagnosis([0.99, 1.0], [1.0, 1.0], accuracy=1.0), chance=0.99, classes=tuple(scores))
    model = replace(model, modalities=tuple(replace(x, probe_recall=1.0) for x in model.modalities))
    found = verdict(model)
    assert found.status == status
    assert (f"{rare} samples of a class are too few" in found.headline) == (status == "unclear")
    assert compare(model, model).status == ("unclear" if status == "unclear" else "no")

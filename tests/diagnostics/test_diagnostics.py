"""Diagnostics against plain loops, however the samples are batched and whatever library holds them."""

import itertools
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from midas_core.adapters.torch import MidasLoss
from midas_core.adapters.torch.follower import Follower
from midas_core.backends import get_backend
from midas_core.diagnostics import (
    Diagnosis,
    Diagnostics,
    compare,
    diagnose,
    misaligned_accuracy,
    misaligned_pairs,
    reliability_bins,
    shapley_values,
    unimodal_shares,
    verdict,
)
from midas_core.diagnostics.inputs import Pool
from midas_core.diagnostics.measure import late_fusion, probe_probabilities, rates_of
from midas_core.modalities import pool_tokens

CLASSES = 4
WIDTHS = (5, 3, 4)


def problem(modalities=2, size=41, seed=0):
    """Return features, labels, and the weights of linear heads that know something."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=size)
    features, weights = [], []
    for m in range(modalities):
        weight = rng.normal(size=(WIDTHS[m], CLASSES))
        features.append(rng.normal(size=(size, WIDTHS[m])) + 0.8 * weight.T[labels])
        weights.append(weight)
    return features, labels, weights


def linear(weights):
    """Return a fused head for features concatenated, in NumPy."""
    return lambda x: x @ np.concatenate(weights)


def softmax(row):
    top = max(row)
    exps = [math.exp(x - top) for x in row]
    return [x / sum(exps) for x in exps]


def fused(weights, rows):
    """Return the logits of one sample, by loops."""
    return [
        sum(sum(x * w[c] for x, w in zip(row, weight, strict=True)) for row, weight in zip(rows, weights, strict=True))
        for c in range(CLASSES)
    ]


def argmax(row):
    return max(range(len(row)), key=lambda c: row[c])


@pytest.mark.parametrize("modalities", [2, 3])
def test_against_plain_loops(modalities):
    features, labels, weights = problem(modalities)
    heads = [lambda x, w=w: x @ w for w in weights]
    found = diagnose(linear(weights), features, labels, num_classes=CLASSES, unimodal_heads=heads, rounds=3)

    size = len(labels)
    probabilities = [softmax(fused(weights, [x[i] for x in features])) for i in range(size)]
    predicted = [argmax(p) for p in probabilities]
    assert found.samples == found.kept == size
    assert found.accuracy == pytest.approx(sum(a == b for a, b in zip(predicted, labels, strict=True)) / size)
    f1 = []
    for c in range(CLASSES):
        hits = sum(p == c and y == c for p, y in zip(predicted, labels, strict=True))
        f1.append(2 * hits / (predicted.count(c) + list(labels).count(c)))
    assert found.macro_f1 == found.batch_f1 == pytest.approx(sum(f1) / CLASSES)

    error = 0.0
    for low in range(10):
        mine = [i for i in range(size) if low / 10 < max(probabilities[i]) <= (low + 1) / 10]
        if mine:
            sure = sum(max(probabilities[i]) for i in mine)
            error += abs(sum(predicted[i] == labels[i] for i in mine) - sure) / size
    assert found.calibration_error == pytest.approx(error)

    # Shapley values by the definition over orders, for each sample.
    def right(present, i):
        rows = [x[i] if m in present else np.zeros_like(x[i]) for m, x in enumerate(features)]
        return float(argmax(fused(weights, rows)) == labels[i])

    orders = list(itertools.permutations(range(modalities)))
    for i in range(size):
        for m in range(modalities):
            gains = []
            for order in orders:
                before = set(order[: order.index(m)])
                gains.append(right(before | {m}, i) - right(before, i))
            assert found.sample_shapley[i, m] == pytest.approx(sum(gains) / len(orders))
    everyone = set(range(modalities))
    for m, scores in enumerate(found.modalities):
        assert scores.accuracy_alone == pytest.approx(sum(right({m}, i) for i in range(size)) / size)
        assert scores.accuracy_without == pytest.approx(sum(right(everyone - {m}, i) for i in range(size)) / size)
        assert scores.shapley == pytest.approx(found.sample_shapley[:, m].mean())
        alone = [argmax([sum(features[m][i] * heads[m].__defaults__[0][:, c]) for c in range(4)]) for i in range(size)]
        assert scores.unimodal_accuracy == pytest.approx(np.mean(alone == labels))
    assert sum(x.shapley for x in found.modalities) == pytest.approx(found.accuracy - found.empty_accuracy)
    for c, scores in enumerate(found.classes):
        mine = [i for i in range(size) if labels[i] == c]
        assert scores.count == len(mine)
        assert scores.recall == pytest.approx(sum(right(everyone, i) for i in mine) / len(mine))
        assert scores.recall_alone[0] == pytest.approx(sum(right({0}, i) for i in mine) / len(mine))
        assert scores.shapley[1] == pytest.approx(sum(found.sample_shapley[i, 1] for i in mine) / len(mine))


@pytest.mark.parametrize("modalities", [2, 3])
def test_misaligned_samples_against_plain_loops(modalities):
    features, labels, weights = problem(modalities, seed=1)
    heads = [lambda x, w=w: x @ w for w in weights]
    found = diagnose(linear(weights), features, labels, num_classes=CLASSES, unimodal_heads=heads, rounds=3)
    pairs = misaligned_pairs(labels, modalities, rounds=3)
    columns = pairs.sources.T.tolist()
    assert found.pairs == len(columns)

    hits, sure, followed, shares, own, cosines = 0, [], [], [], [], [[] for _ in range(modalities)]
    for column, base in zip(columns, pairs.base.tolist(), strict=True):
        classes = [int(labels[i]) for i in column]
        assert len(set(classes)) > 1
        logits = fused(weights, [x[i] for x, i in zip(features, column, strict=True)])
        order = sorted(range(CLASSES), key=lambda c: -logits[c])
        hits += set(classes) <= set(order[:modalities])
        p = softmax(logits)
        sure.append([p[c] for c in classes])
        followed.append([order[0] == c for c in classes])
        shares.append([p[c] / sum(p[k] for k in classes) for c in classes])
        c_m = [softmax(list(features[m][i] @ weights[m]))[labels[i]] for m, i in enumerate(column)]
        own.append([x / sum(c_m) for x in c_m])
        for m, i in enumerate(column):
            if i != base:
                a, b = features[m][i], features[m][base]
                cosines[m].append(sum(a * b) / math.sqrt(sum(a * a) * sum(b * b)))
    if modalities == 3:
        assert found.misaligned_accuracy == pytest.approx(hits / len(columns))
    for m, scores in enumerate(found.modalities):
        assert scores.pair_confidence == pytest.approx(np.mean(sure, axis=0)[m])
        assert scores.followed == pytest.approx(np.mean(followed, axis=0)[m])
        assert scores.fused_confidence == pytest.approx(np.mean(shares, axis=0)[m])
        assert scores.confidence == pytest.approx(np.mean(own, axis=0)[m])
        assert scores.similarity_mean == pytest.approx(np.mean(cosines[m]))
        assert sum(scores.similarity) == len(cosines[m])


@pytest.mark.parametrize("modalities", [2, 3])
def test_pairs_are_misaligned_and_come_in_every_direction(modalities):
    labels = np.arange(12) % 4
    pairs = misaligned_pairs(labels, modalities, rounds=5)
    assert pairs.sources.shape == pairs.classes.shape == (modalities, 2 * 5 * 12)
    assert (pairs.classes != pairs.classes[0]).any(axis=0).all()
    np.testing.assert_array_equal(labels[pairs.sources], pairs.classes)
    columns = {tuple(column) for column in pairs.sources.T.tolist()}
    if modalities == 2:
        assert {(b, a) for a, b in columns} == columns


def test_pairs_are_the_same_for_everyone():
    labels = np.arange(9) % 3
    np.testing.assert_array_equal(misaligned_pairs(labels, 2).sources, misaligned_pairs(labels, 2).sources)


def test_every_sample_finds_partners_as_soon_as_there_are_two_classes():
    pairs = misaligned_pairs(np.array([0, 0, 0, 1]), 2, rounds=1)
    assert pairs.sources.shape[1] == 8
    assert (pairs.classes[0] != pairs.classes[1]).all()
    assert misaligned_pairs(np.zeros(4, int), 2).sources.shape == (2, 0)


def test_misaligned_accuracy_counts_any_order():
    logits = np.array([[3.0, 2.0, 1.0, 0.0]] * 3)
    assert misaligned_accuracy(logits, np.array([[0, 1, 0], [1, 0, 2]])) == pytest.approx(2 / 3)
    # Of three modalities the top three count.
    classes = np.array([[0, 0, 0], [1, 1, 3], [2, 1, 3]])
    assert misaligned_accuracy(logits, classes) == pytest.approx(2 / 3)


def test_normalised_confidences():
    # The paper's example: 0.9 and 0.3 give 0.75 and 0.25.
    logs = [np.log([0.9, 0.1]), np.log([0.5, 0.3])]
    assert unimodal_shares(logs, np.array([[0], [1]])) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("options", [{}, {"keep": 17}, {"absent": "shuffle"}, {"absent": "mean"}])
def test_batches_do_not_matter(options):
    features, labels, weights = problem(3, size=60)
    found = []
    for size in (1, 7, 60):
        diagnostics = Diagnostics(linear(weights), num_classes=CLASSES, probe=False, **options)
        for start in range(0, 60, size):
            part = slice(start, start + size)
            diagnostics.update([x[part] for x in features], labels[part])
        result = diagnostics.compute().to_dict()
        assert result["kept"] == options.get("keep", 60)
        result.pop("batch_f1")
        found.append(list(numbers(result)))
    # A matrix product rounds by the number of its rows.
    assert found[0] == pytest.approx(found[2], rel=1e-12, nan_ok=True)
    assert found[1] == pytest.approx(found[2], rel=1e-12, nan_ok=True)


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for x in value:
            yield from numbers(x)
    elif isinstance(value, int | float):
        yield value


def test_f1_of_the_batches_is_their_weighted_mean():
    diagnostics = Diagnostics(lambda x: x[:, :2], num_classes=2, probe=False)
    view = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    diagnostics.update([view[:2], view[:2]], np.array([0, 1]))
    diagnostics.update([view[2:], view[2:]], np.array([1]))  # wrong: both classes occur, both have an F1 of 0
    found = diagnostics.compute()
    assert found.batch_f1 == pytest.approx((2 * 1.0 + 1 * 0.0) / 3)
    assert found.macro_f1 == pytest.approx(2 / 3)


def test_chance_is_the_share_of_the_most_frequent_class():
    labels = np.array([2] * 6 + [0] * 3 + [1])
    found = diagnose(lambda x: x[:, :3], [np.eye(3)[labels]] * 2, labels, num_classes=3, probe=False)
    assert found.chance == 0.6


def test_absent_modalities():
    labels = np.arange(40) % 4
    ones = np.eye(4)[labels]
    head = linear([np.eye(4), np.zeros((4, 4))])
    for absent, empty in (("zero", 0.25), ("mean", 0.25)):
        found = diagnose(head, [ones, ones], labels, num_classes=4, absent=absent, probe=False)
        assert found.empty_accuracy == empty
        assert [x.accuracy_alone for x in found.modalities] == [1.0, 0.25]
        assert [x.shapley for x in found.modalities] == [0.75, 0.0]
    shuffled = diagnose(head, [ones, ones], labels, num_classes=4, absent="shuffle", probe=False)
    assert shuffled.modalities[0].accuracy_alone == 1.0
    assert shuffled.modalities[0].accuracy_without < 0.6


def test_two_classes_and_a_batch_of_one():
    found = diagnose(lambda x: x[:, :2], [np.eye(2)[:1], np.eye(2)[:1]], np.array([0]), num_classes=2)
    assert (found.samples, found.pairs, found.accuracy) == (1, 0, 1.0)
    assert found.misaligned_accuracy is None
    assert found.modalities[0].followed is None
    assert found.modalities[0].probe_accuracy is None
    assert math.isnan(found.classes[1].recall)


def test_torch_modules_in_half_precision_and_evaluation_mode():
    features, labels, _ = problem()
    head = torch.nn.Sequential(torch.nn.Linear(8, CLASSES), torch.nn.Dropout()).bfloat16()
    given = [torch.from_numpy(x).bfloat16().requires_grad_() for x in features]
    heads = torch.nn.ModuleDict({"a": torch.nn.Linear(5, CLASSES), "b": torch.nn.Linear(3, CLASSES)}).bfloat16()
    found = diagnose(
        head, dict(zip("ab", given, strict=True)), torch.from_numpy(labels), num_classes=4, unimodal_heads=heads
    )
    assert head.training
    assert head[1].training
    head.eval()
    assert found.accuracy == pytest.approx((head(torch.cat(given, 1)).argmax(1).numpy() == labels).mean())
    assert found.modalities[1].unimodal_accuracy is not None


def test_a_model_that_diverged_predicts_nothing():
    features, labels, _ = problem()
    heads = [lambda x: np.full((len(x), CLASSES), np.nan)] * 2
    found = diagnose(heads[0], features, labels, num_classes=CLASSES, unimodal_heads=heads)
    assert found.accuracy == found.macro_f1 == found.empty_accuracy == found.misaligned_accuracy == 0
    assert [each.followed for each in found.modalities] == [0, 0]
    assert [each.unimodal_accuracy for each in found.modalities] == [0, 0]
    assert math.isnan(found.modalities[0].pair_confidence)
    assert Diagnosis.from_dict(found.to_dict()).modalities[0].name == "0"


def test_the_pool_is_a_uniform_draw():
    counts = np.zeros(30)
    for seed in range(400):
        pool = Pool(10, seed)
        for part in np.array_split(np.arange(30), 4):
            pool.add((part,))
        (kept,) = pool.samples()
        assert len(kept) == 10
        counts[kept] += 1
    assert abs(counts / 400 - 1 / 3).max() < 0.1


def test_shapley_values_share_out_the_gain():
    assert shapley_values(np.array([0.1, 0.8, 0.3, 0.9])) == pytest.approx([0.15, 0.65])
    with pytest.raises(ValueError, match="one for each of 2"):
        shapley_values(np.zeros(3))


def test_bins_hold_every_sample_once():
    bins = reliability_bins(np.array([0.0, 0.1, 0.11, 1.0]), np.array([True, False, True, True]))
    assert [b.count for b in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert bins[0].accuracy == 0.5


def probe_accuracy(features, labels, training=None, **options):
    found = probe_probabilities(features, labels, 4, training, **options)
    return None if found is None else rates_of(found, labels)[0]


def test_late_fusion_averages_the_probes():
    labels = np.array([0, 1, 2])
    sure, doubtful = np.eye(3), np.full((3, 3), 1 / 3)
    wrong = np.array([[0.0, 0.6, 0.4], [0.0, 0.6, 0.4], [0.0, 0.6, 0.4]])
    assert late_fusion([sure, doubtful], labels)[0] == 1.0
    assert late_fusion([doubtful, wrong], labels)[0] == pytest.approx(1 / 3)
    assert late_fusion([sure, wrong], labels)[0] == 1.0
    assert late_fusion([sure, None], labels)[0] is None
    # What took no part counts for nothing.
    hole = np.where(np.arange(3)[:, None] == 0, np.nan, sure)
    assert late_fusion([hole, wrong], labels)[0] == 1.0
    assert rates_of(np.full((3, 3), np.nan), labels) == (None, None)


def test_the_probe_finds_what_a_feature_knows():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    noise = rng.normal(size=(300, 8))
    assert probe_accuracy(noise, labels) < 0.45
    assert probe_accuracy(noise + 2 * rng.normal(size=(3, 8))[labels], labels, samples=150) > 0.9
    assert probe_accuracy(noise, np.zeros(300, int)) is None


def test_the_probe_of_a_seed_learns_from_the_same_samples():
    rng = np.random.default_rng(0)
    labels, features = np.arange(90) % 3, rng.normal(size=(90, 4))
    one, two, other = (probe_probabilities(features, labels, 3, samples=40, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (np.isnan(one) != np.isnan(other)).any()


def test_the_probe_learns_from_training_samples_where_there_are_any():
    features, labels, weights = problem(size=120)
    options = {"num_classes": CLASSES, "rounds": 1}
    half = ([x[:60] for x in features], labels[:60])
    rest = ([x[60:] for x in features], labels[60:])
    found = diagnose(linear(weights), *rest, training=half, **options)
    assert found.probe == "training"
    assert found.modalities[0].probe_accuracy == probe_accuracy(rest[0][0], rest[1], (half[0][0], half[1]))
    assert diagnose(linear(weights), *rest, **options).probe == "cross-validation"


def test_to_dict_and_back():
    features, labels, weights = problem(3)
    found = diagnose(linear(weights), features, labels, num_classes=CLASSES, class_names=list("wxyz"))
    found = found.with_reference([0.5, 0.6, 0.7])
    content = found.to_dict()
    assert Diagnosis.from_dict(content) == found
    assert "sample_shapley" not in content
    assert [x["name"] for x in content["classes"]] == list("wxyz")
    for change, said in (
        ({"modalities": None}, "expected the result of Diagnosis.to_dict, got another: modalities"),
        ({"samples": -7}, "samples: expected a count, got -7"),
        ({"modalities": [], "classes": []}, "expected values for 0 modalities"),
        ({"modalities": content["modalities"][:2]}, r"expected values for 2 modalities, got \[3\]"),
    ):
        with pytest.raises(ValueError, match=said):
            Diagnosis.from_dict({**content, **change})
    for accuracy in ({"a": 1.0}, [0.5, 0.6], [0.5, 0.6, 0.7, 0.8]):
        with pytest.raises(ValueError, match=r"accuracy: expected one for each of \['0', '1', '2'\], got"):
            found.with_reference(accuracy)


def test_frames(monkeypatch):
    features, labels, weights = problem()
    found = diagnose(linear(weights), features, labels, num_classes=CLASSES, probe=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas is not installed"):
        found.to_frame()
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: rows))
    assert [row["name"] for row in found.to_frame()] == ["0", "1"]
    assert found.to_frame("classes")[2]["recall_alone_1"] == found.classes[2].recall_alone[1]
    assert len(found.to_frame("reliability")) == 10
    with pytest.raises(ValueError, match="table: expected"):
        found.to_frame("all")


LEAST = {"num_classes": 2, "keep": 1, "rounds": 1, "batch_size": 1, "seed": 0}


@pytest.mark.parametrize(
    ("options", "features", "labels", "said"),
    [
        *(
            ({name: least - 1}, None, None, f"^{name}: expected a whole number >= {least}")
            for name, least in LEAST.items()
        ),
        ({"absent": "one"}, None, None, "absent: expected one of"),
        ({"class_names": ["a"]}, None, None, "class_names: expected 3 names"),
        ({"modalities": ["a", "a"]}, None, None, "modalities: expected different names"),
        ({}, [np.zeros((2, 3))], [0, 1], "expected two or more modalities"),
        ({}, [np.zeros((2, 3)), np.zeros((3, 3))], [0, 1], "modality 1: expected 2 samples"),
        ({}, [np.zeros((2, 3)), np.zeros((2, 3, 1))], [0, 1], "head_input='separate'"),
        ({}, [np.zeros((2, 3))] * 2, [0, 3], "labels: expected 0 ... 2, got 0 ... 3"),
        ({}, [np.zeros((2, 3))] * 2, [0.0, 1.0], "labels: expected class indices"),
        ({"modalities": ["a", "b"]}, {"a": np.zeros((2, 3)), "c": np.zeros((2, 3))}, [0, 1], "expected the modalities"),
        ({"num_classes": 4}, [np.zeros((2, 3))] * 2, [0, 1], r"head: expected logits of shape \(B, C\) = \(2, 4\)"),
    ],
)
def test_bad_input(options, features, labels, said):
    with pytest.raises(ValueError, match=said):  # noqa: PT012
        diagnostics = Diagnostics(lambda x: x[:, :3], **{"num_classes": 3, **options})
        diagnostics.update(features, np.array(labels))


class Held:
    """A head as PyTorch has it, whose parameters are parts (DTensor), or whose modules gather them (unshard)."""

    def __init__(self, parameter, module):
        self.parameters, self.modules = lambda: [parameter], lambda: [module]

    def __call__(self, x):
        return [x]  # no logits


@pytest.mark.parametrize(
    ("parameter", "module", "said"),
    [
        ({"device_mesh": 1}, {}, "head: expected whole parameters, got parts of them"),
        ({"device_mesh": 1}, {"unshard": 1}, "head: expected logits .*, got list"),
        ({}, {}, "head: expected logits .*, got list"),
    ],
)
def test_heads_that_give_no_logits(parameter, module, said):
    head = Held(SimpleNamespace(**parameter), SimpleNamespace(training=False, **module))
    diagnostics = Diagnostics(head, num_classes=3)
    with pytest.raises(ValueError, match=said):
        diagnostics.update([np.zeros((2, 3))] * 2, np.array([0, 1]))


def test_missing_modalities():
    features, labels, weights = problem(size=60)
    options = {"num_classes": CLASSES, "probe": False}
    present = np.random.default_rng(3).random((60, 2)) < 0.7
    complete = present.all(axis=1)
    holes = [np.where(present[:, [m]], x, np.nan) for m, x in enumerate(features)]
    diagnostics = Diagnostics(linear(weights), **options)
    for rows in (slice(0, 1), slice(1, 25), slice(25, 60)):
        diagnostics.update([x[rows] for x in holes], labels[rows], present=list(present[rows].T))
    found = diagnostics.compute()
    expected = diagnose(linear(weights), [x[complete] for x in features], labels[complete], **options)
    assert (found.samples, found.kept) == (60, complete.sum())
    np.testing.assert_array_equal(found.sample_indices, np.flatnonzero(complete))
    np.testing.assert_array_equal(found.sample_shapley, expected.sample_shapley)
    assert found.misaligned_accuracy == expected.misaligned_accuracy
    filled = np.concatenate([np.nan_to_num(x) for x in holes], axis=1) @ np.concatenate(weights)
    assert found.accuracy == pytest.approx((filled.argmax(axis=1) == labels).mean())
    with pytest.raises(ValueError, match="present: expected shape"):
        diagnostics.update(holes, labels, present=present[:, :1])
    with pytest.raises(ValueError, match="samples that have every modality"):
        diagnose(linear(weights), holes, labels, present=np.zeros((60, 2), bool), **options)


@pytest.mark.parametrize("how", ["criterion", "unimodal_heads", "modalities"])
def test_the_order_of_a_dict_does_not_matter(how):
    features, labels, weights = problem(size=60)
    criterion = MidasLoss(num_classes=CLASSES, feature_dims={"a": 5, "b": 3}, seed=0)
    heads = torch.nn.ModuleDict({"a": torch.nn.Linear(5, CLASSES), "b": torch.nn.Linear(3, CLASSES)})
    given = {"criterion": criterion, "unimodal_heads": heads, "modalities": ["a", "b"]}[how]
    a, b = (torch.from_numpy(x).float() for x in features)
    head = torch.nn.Linear(8, CLASSES)
    head.weight.data = torch.from_numpy(np.concatenate(weights).T.copy()).float()
    options = {"num_classes": CLASSES, "probe": False, how: given}
    found = [diagnose(head, x, torch.from_numpy(labels), **options) for x in ({"a": a, "b": b}, {"b": b, "a": a})]
    assert found[0].modalities == found[1].modalities
    assert found[0].names == ("a", "b")
    expected = (torch.cat([a, b], 1) @ head.weight.T + head.bias).argmax(1).numpy() == labels
    assert found[0].accuracy == pytest.approx(expected.mean())
    assert found[0].midas is (True if how == "criterion" else None)


def test_a_followed_criterion_tells_order_method_and_what_is_missing():
    torch.manual_seed(0)
    criterion = MidasLoss(num_classes=3, feature_dims={"a": 4, "b": 5}, seed=0).eval()
    follower, head = Follower(criterion, None, Diagnostics), torch.nn.Linear(9, 3)
    a, b, labels = torch.randn(40, 4), torch.randn(40, 5), torch.arange(40) % 3
    present = torch.tensor([[True, True]] * 30 + [[True, False]] * 10)
    criterion({"b": b, "a": a}, labels, head=head, present=present)
    found = follower.take_diagnostics().compute(quick=True)
    assert (found.names, found.midas, found.samples, found.kept) == (("a", "b"), True, 40, 30)
    fused = head(torch.cat([a, b * present[:, 1:]], 1))
    assert found.accuracy == pytest.approx((fused.argmax(1) == labels).double().mean().item())


def test_several_labels_are_refused():
    with pytest.raises(ValueError, match="multi-label rows are not diagnosed"):
        diagnose(lambda x: x[:, :3], [np.zeros((2, 3))] * 2, np.eye(3, dtype=np.int64)[:2], num_classes=3)
    criterion = MidasLoss(num_classes=3, feature_dims=(4, 5), multi_label=True)
    with pytest.raises(ValueError, match="criterion: expected one class for each sample"):
        Diagnostics(lambda x: x, num_classes=3, criterion=criterion)


def test_every_batch_has_the_same_width():
    diagnostics = Diagnostics(lambda x: x[:, :3], num_classes=3)
    diagnostics.update([np.zeros((2, 3)), np.zeros((2, 4))], np.array([0, 1]))
    with pytest.raises(ValueError, match=r"modality 1: expected \(B, 4\) as before, got \(B, 5\)"):
        diagnostics.update([np.zeros((2, 3)), np.zeros((2, 5))], np.array([0, 1]))


def test_a_refused_batch_leaves_no_trace():
    diagnostics = Diagnostics(lambda x: x[:, :3], num_classes=3, probe=False)
    with pytest.raises(ValueError, match="modality 1: expected 2 samples"):
        diagnostics.update([np.zeros((2, 3)), np.zeros((3, 5))], np.array([0, 1]))
    diagnostics.update([np.eye(3), np.zeros((3, 4))], np.arange(3))
    assert diagnostics.scores()["accuracy"] == 1.0


def test_nothing_seen():
    with pytest.raises(ValueError, match="update has seen none"):
        Diagnostics(lambda x: x, num_classes=3).compute()


def test_scores_of_what_was_seen_need_no_further_call():
    features, labels, weights = problem(size=60)
    calls = []
    diagnostics = Diagnostics(lambda x: calls.append(len(x)) or linear(weights)(x), num_classes=CLASSES, probe=False)
    diagnostics.update(features, labels)
    scores = diagnostics.scores()
    assert calls == [60]
    metrics = diagnostics.compute().metrics()
    assert scores == {key: metrics[key] for key in scores}
    assert set(scores) == {"accuracy", "macro_f1", "calibration_error"}


def uneven(shares, size=1000, seed=0):
    """Return two features that each know the class, and labels of which few are of the last classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shares)), np.round(np.array(shares) * size).astype(int))
    return [np.eye(len(shares))[labels] + 0.05 * rng.normal(size=(len(labels), len(shares))) for _ in range(2)], labels


@pytest.mark.parametrize("shares", [(0.95, 0.05), (0.97, 0.03), (0.9, 0.05, 0.05)])
def test_a_modality_is_ignored_under_uneven_classes_too(shares):
    features, labels = uneven(shares)
    classes = len(shares)
    found = diagnose(lambda x: 8 * x[:, classes:], features, labels, num_classes=classes, modalities=["a", "b"])
    assert found.modalities[0].accuracy_alone == pytest.approx(shares[0])  # less than ten points below what is there
    said = verdict(found)
    assert said.uses == {"a": "ignored", "b": "used"}
    assert f"(mean recall by itself {100 / classes:.0f} %, within reach 100 %)" in said.headline
    assert f"the most frequent makes {100 * shares[0]:.0f} %" in str(said)
    assert f"{round(1000 * shares[-1])} of them of the rarest class" in str(said)
    assert Diagnosis.from_dict(found.to_dict()) == found
    # A model of both is told to use both, and to have repaired the first.
    both = diagnose(
        lambda x: 8 * (x[:, :classes] + x[:, classes:]), features, labels, num_classes=classes, modalities=["a", "b"]
    )
    assert verdict(both).status == "balanced"
    assert compare(found, both).repairs == {"a": "repaired"}
    # A diagnosis of an earlier release knows no recall: it is judged by accuracies, as it was.
    old = found.to_dict()
    for scores in old["modalities"]:
        del scores["probe_recall"]
    assert Diagnosis.from_dict(old).measured.unit == "accuracy"


def test_recall_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=300, p=[0.6, 0.2, 0.1, 0.1])
    a, b = (np.eye(4)[labels] + rng.normal(size=(300, 4)) for _ in range(2))
    heads = [lambda x: 2 * x, lambda x: x - x[:, ::-1]]
    found = diagnose(lambda x: x[:, :4] + x[:, 4:], [a, b], labels, num_classes=4, unimodal_heads=heads)
    assert found.measured.unit == "recall"
    assert found.measured.fused == pytest.approx(balanced_accuracy_score(labels, (a + b).argmax(1)))
    assert found.measured.alone["1"] == pytest.approx(balanced_accuracy_score(labels, b.argmax(1)))
    unimodal, probed = heads[1](b), probe_probabilities(a, labels, 4)
    assert found.modalities[1].unimodal_recall == pytest.approx(balanced_accuracy_score(labels, unimodal.argmax(1)))
    assert found.modalities[0].probe_recall == pytest.approx(balanced_accuracy_score(labels, probed.argmax(1)))
    assert sum(found.measured.shapley.values()) == pytest.approx(
        found.measured.fused - balanced_accuracy_score(labels, np.zeros(300))
    )


def sequences(rng, labels, longest, extra=0, fill=0.0):
    """Return tokens, of which a mean knows the class, with a mask; ``extra`` tokens of padding hold ``fill``."""
    lengths = rng.integers(1, longest + 1, size=len(labels))
    mask = np.arange(longest + extra) < lengths[:, None]
    tokens = np.eye(CLASSES)[labels][:, None] + 0.3 * rng.normal(size=(len(labels), longest + extra, CLASSES))
    return {"tokens": np.where(mask[..., None], tokens, fill), "mask": mask}


def attend(tokens, mask):
    return np.where(mask[..., None], tokens, 0).sum(axis=1) / mask.sum(axis=1, keepdims=True)


def masked_head(features):
    return 3 * attend(**features["text"]) + features["image"]


@pytest.mark.parametrize("absent", ["zero", "shuffle"])
def test_padding_changes_no_number(absent):
    labels = np.arange(80) % CLASSES
    image = np.eye(CLASSES)[labels] + 0.4 * np.random.default_rng(1).normal(size=(80, CLASSES))
    plain = sequences(np.random.default_rng(2), labels, 6)
    # The same tokens: five more columns, and something else in the padding.
    padded = {
        "tokens": np.concatenate([plain["tokens"], np.full((80, 5, CLASSES), 7.0)], axis=1),
        "mask": np.concatenate([plain["mask"], np.zeros((80, 5), bool)], axis=1),
    }
    padded["tokens"][~padded["mask"]] = 9.0
    heads = {"text": lambda x: attend(**x), "image": lambda x: x}
    options = {"num_classes": CLASSES, "head_input": "separate", "unimodal_heads": heads, "absent": absent}
    expected, found = (
        diagnose(masked_head, {"text": text, "image": image}, labels, **options) for text in (plain, padded)
    )
    assert list(numbers(found.to_dict())) == pytest.approx(list(numbers(expected.to_dict())), nan_ok=True)
    right = (masked_head({"text": plain, "image": image}).argmax(1) == labels).mean()
    assert found.accuracy == right
    assert found.modalities[0].probe_accuracy > 0.9
    # Batches of unlike length.
    diagnostics = Diagnostics(masked_head, **options)
    for rows, width in ((slice(0, 30), 8), (slice(30, 80), 11)):
        part = {key: x[rows, :width] for key, x in padded.items()}
        diagnostics.update({"text": part, "image": image[rows]}, labels[rows])
    again = diagnostics.compute()
    assert again.modalities == expected.modalities
    with pytest.raises(
        ValueError,
        match=r"'text': expected {'tokens': \(B, T, 4\), .* as before, got {'tokens': \(B, T, 3\)",
    ):
        diagnostics.update({"text": {**padded, "tokens": padded["tokens"][..., :3]}, "image": image}, labels)


def test_masks_reach_the_head_in_every_framework(framework):
    labels = np.arange(40) % CLASSES
    text = sequences(np.random.default_rng(0), labels, 5, fill=9.0)
    image = np.eye(CLASSES)[labels] + 0.4 * np.random.default_rng(1).normal(size=(40, CLASSES))
    options = {"num_classes": CLASSES, "head_input": "separate", "probe": False}
    expected = diagnose(masked_head, {"text": text, "image": image}, labels, **options)
    with framework.scope(np.float64):
        given = {"text": {key: framework.array(x) for key, x in text.items()}, "image": framework.array(image)}

        def head(features):
            assert type(features["text"]["mask"]) is type(given["text"]["mask"])
            return 3 * pool_tokens(features["text"], get_backend(features["image"])) + features["image"]

        found = diagnose(head, given, framework.array(labels), **options)
    assert found.names == ("text", "image")
    np.testing.assert_array_equal(found.sample_shapley, expected.sample_shapley)
    assert found.sample_shapley.dtype == np.float64
    assert list(numbers(found.to_dict())) == pytest.approx(list(numbers(expected.to_dict())), nan_ok=True)


def test_an_absent_sequence_is_one_token_of_zeros():
    seen = []

    def head(features):
        seen.append(features["text"])
        return masked_head(features)

    labels = np.arange(8) % CLASSES
    text, image = sequences(np.random.default_rng(0), labels, 5), np.eye(CLASSES)[labels]
    present = {"text": labels != 1, "image": np.ones(8, bool)}
    diagnose(head, {"text": text, "image": image}, labels, num_classes=CLASSES, head_input="separate", present=present)
    np.testing.assert_array_equal(seen[0]["mask"][labels == 1], np.arange(5)[None].repeat(2, 0) == 0)
    assert not seen[0]["tokens"][labels == 1].any()
    np.testing.assert_array_equal(seen[0]["mask"][labels != 1], text["mask"][labels != 1])


def test_modalities_of_several_arrays_need_a_head_that_takes_them():
    labels = np.arange(8) % CLASSES
    text, image = sequences(np.random.default_rng(0), labels, 5), np.eye(CLASSES)[labels]
    with pytest.raises(ValueError, match=r"modality 'text': expected shape .* got 2 arrays; .*head_input='separate'"):
        diagnose(masked_head, {"text": text, "image": image}, labels, num_classes=CLASSES)
    with pytest.raises(TypeError, match="absent: 'mean' needs floating features without a mask"):
        diagnose(
            masked_head,
            {"text": text, "image": image},
            labels,
            num_classes=CLASSES,
            head_input="separate",
            absent="mean",
        )


def test_outputs_of_a_model_are_refused_with_the_way_out():
    class BaseModelOutput(dict):
        last_hidden_state = np.zeros((4, 3, 2))

    features = [BaseModelOutput(last_hidden_state=np.zeros((4, 3, 2))), np.zeros((4, 3))]
    with pytest.raises(TypeError, match=r"modality 0: expected an array, .* got BaseModelOutput; take one of its"):
        diagnose(lambda x: x[:, :3], features, np.arange(4) % 3, num_classes=3)

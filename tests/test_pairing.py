"""Pairs: classes of the parts, what counts, label vectors as classes, and absent partners."""

from collections import Counter

import numpy as np
import pytest

import midas_core as mc
from midas_core.missing import complete_pairs
from midas_core.pairing import (
    as_pairs,
    draw_pairs,
    label_ids,
    make_pairs,
    pair_classes,
    source_matrix,
    source_matrix_of,
)
from midas_core.partners import absent_modalities, draw
from midas_core.weighting import normalized_confidence
from tests.frameworks import get_framework

LABELS = np.array([0, 2, 2, 1, 0])
PERMUTATION = np.array([1, 2, 3, 4, 0])
NUMPY = get_framework("numpy").backend


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
def test_label_vectors_are_classes_of_their_own(framework, kind):
    rows = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
    ids = framework.numpy(label_ids(framework.array(rows.astype(kind))))
    np.testing.assert_array_equal(ids, [2, 1, 2, 3])
    sources = source_matrix(np.array([2, 0, 3, 1]), 2)
    found = make_pairs(framework.array(rows.astype(kind)), framework.array(sources))
    np.testing.assert_array_equal(framework.numpy(found.mask), [[False, True, True, True]] * 2)
    np.testing.assert_array_equal(framework.numpy(found.classes), ids[sources])


def test_vectors_that_differ_in_one_class_of_many():
    rows = np.zeros((3, 2000), dtype=int)
    rows[1, 7] = rows[2, 8] = 1
    assert label_ids(rows).tolist() == [0, 1, 2]
    assert label_ids(rows[[1, 1, 0]] | rows[[2, 2, 2]]).tolist() == [1, 1, 2]


def test_draws_for_label_vectors():
    rows = np.eye(3, dtype=int)[LABELS]
    numbers = draw(rows, 2, 0)
    found = draw_pairs(numbers, rows, 2)
    assert found.mask.all()
    assert (rows[found.sources[0]] != rows[found.sources[1]]).any(axis=-1).all()
    np.testing.assert_array_equal(found.classes, label_ids(rows)[found.sources])


def test_what_is_given_is_taken():
    sources = source_matrix(PERMUTATION, 2)
    pairs = make_pairs(LABELS, sources)
    assert as_pairs(LABELS, pairs, "paper", NUMPY) is pairs
    assert source_matrix_of(pairs) is pairs.sources
    assert source_matrix_of(sources) is sources
    assert as_pairs(LABELS, sources, "official", NUMPY).mask.all()
    np.testing.assert_array_equal(as_pairs(LABELS, sources, "paper", NUMPY).mask, pairs.mask)


def test_classes_of_any_integer_dtype_are_indices(framework):
    sources = framework.array(source_matrix(PERMUTATION, 2))
    for dtype in ("int32", "uint8"):
        found = pair_classes(framework.array(LABELS.astype(dtype)), sources)
        assert found.dtype == sources.dtype
    with pytest.raises(ValueError, match="labels") as error:
        label_ids(LABELS)
    assert str(error.value) == "labels: expected shape (B, C) = (?, ?), got (5,)"


FOUR = np.array([0, 1, 2, 1])
CYCLE = mc.source_matrix(np.array([1, 2, 3, 0]), 2)
STATE = mc.MidasState(np.array([1.0, 1.4]), np.array(3))


def step(pairs, logits=None, similarities=None, state=STATE, **options):
    """Return a step on fixed logits."""
    rng = np.random.default_rng(0)
    fused, *own = rng.normal(size=(1 + len(pairs.sources), 4, 3))
    mixed = rng.normal(size=(2, 4, 3)) if logits is None else logits
    return mc.midas_objective(fused, own, mixed, FOUR, pairs, similarities, state, **options)


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_who_stays_is_uniform(modalities):
    share = 0.4
    numbers = (np.arange(2 * 30_000).reshape(2, -1) + 0.5) / 60_000
    absent = absent_modalities(numbers, modalities, share)
    without = absent.any(axis=0)
    assert without.mean() == pytest.approx(share, abs=1e-4)
    kept = Counter(map(tuple, (~absent[:, without]).T.tolist()))
    assert len(kept) == 2**modalities - 2, "every set but none and all"
    assert max(kept.values()) - min(kept.values()) <= 2


def test_the_ends_of_the_share():
    numbers = np.random.default_rng(0).random((2, 50)).astype(np.float32)
    assert not absent_modalities(numbers, 3, 0.0).any()
    assert absent_modalities(numbers, 3, 1.0).any(axis=0).all()
    # The product of a number next to one may round up.
    assert absent_modalities(np.array([[np.nextafter(np.float32(1), np.float32(0))]]), 3, 1.0).sum() == 1


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_of_one_class_has_mixed_samples_then(batch):
    labels = np.zeros(batch, int)
    numbers = mc.draw(labels, 2, np.random.default_rng(0), absent=True)
    pairs = mc.draw_pairs(numbers, labels, 2, absent_share=1.0)
    assert pairs.mask.all()
    assert not mc.draw_pairs(numbers, labels, 2).mask.any()


def test_the_loss_is_alpha_times_the_cross_entropy_at_the_own_label():
    absent = np.zeros((2, 2, 4), bool)
    absent[0, 0] = absent[1, 1] = True  # The second modality stays, then the first.
    pairs = mc.make_pairs(FOUR, CYCLE, absent=absent)
    mixed = np.random.default_rng(1).normal(size=(2, 4, 3))
    found = step(pairs, mixed, similarities=np.full((2, 4), 0.3))
    each = [-mc.log_confidence(z, FOUR) for z in mixed]
    np.testing.assert_allclose(found.terms.misaligned, (1.4 * each[0] + each[1]) / 2)
    np.testing.assert_array_equal(found.soft_weights[:, 0, 0], [0, 1.4])


def test_several_that_stay_share_by_their_confidence():
    sources = mc.source_matrix(np.array([1, 2, 3, 0]), 3)
    absent = np.zeros((3, 2, 4), bool)
    absent[1] = True
    found = step(mc.make_pairs(FOUR, sources, absent=absent), state=mc.MidasState(np.ones(3), np.array(3)))
    own = np.random.default_rng(0).normal(size=(4, 4, 3))[1:]
    c = np.exp([mc.log_confidence(z, FOUR) for z in own])
    np.testing.assert_allclose(found.soft_weights[:, 0], [c[0] / (c[0] + c[2]), 0 * c[1], c[2] / (c[0] + c[2])])


def test_where_all_are_without_a_partner_alpha_stays():
    absent = np.zeros((2, 2, 4), bool)
    absent[0] = True
    found = step(mc.make_pairs(FOUR, CYCLE, absent=absent))
    np.testing.assert_array_equal(found.state.alpha, STATE.alpha)
    assert found.state.step == STATE.step
    assert (found.terms.misaligned > 0).all()


def test_a_missing_modality_spoils_only_what_would_have_it():
    present = np.array([[True, False]])
    absent = np.array([[[True], [False]], [[False], [True]]])
    sources = np.zeros((2, 2, 1), int)
    assert complete_pairs(present, sources, absent).tolist() == [[False], [True]]


def test_shares_of_what_is_there_hold_at_every_size():
    for dtype in (np.float32, np.float64):
        log_c = np.array([[0.0], [-700.0], [-701.0], [np.nan]], dtype)
        shares = normalized_confidence(log_c, np.array([[True], [False], [False], [True]]))
        np.testing.assert_allclose(shares[:, 0], [0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], rtol=1e-5)
        lowest = normalized_confidence(np.full((3, 1), -1e4, dtype), np.array([[True], [False], [False]]))
        np.testing.assert_array_equal(lowest[:, 0], [0, 0.5, 0.5])


def test_the_augmentation_alone():
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(4, 3)), rng.normal(size=(4, 2))]
    absent = np.zeros((2, 2, 4), bool)
    absent[1, 0] = True
    mixed = mc.misalign(features, FOUR, mc.make_pairs(FOUR, CYCLE, absent=absent), 3)
    np.testing.assert_array_equal(mixed.features[0][:4], features[0])
    np.testing.assert_array_equal(mixed.features[1][:4], 0)
    np.testing.assert_array_equal(mixed.soft_labels[:4], np.eye(3)[FOUR])
    np.testing.assert_array_equal(mixed.weights[:4], 1)
    plain = mc.misalign(features, FOUR, CYCLE, 3)
    np.testing.assert_array_equal(mixed.weights[4:], plain.weights[4:])


def test_what_does_not_fit_is_named():
    absent = np.zeros((2, 2, 4), bool)
    with pytest.raises(ValueError, match="absent: expected None with variant 'official'"):
        mc.make_pairs(FOUR, CYCLE, absent=absent, variant="official")
    with pytest.raises(ValueError, match="sources: expected no absent partner with variant 'official'"):
        step(mc.make_pairs(FOUR, CYCLE, absent=absent), variant="official")
    with pytest.raises(ValueError, match=r"absent: expected shape \(M, V, B\)"):
        mc.make_pairs(FOUR, CYCLE, absent=absent[:1])
    numbers = mc.draw(FOUR, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"numbers: expected draw\(..., absent=True\)"):
        mc.draw_pairs(numbers, FOUR, 2, absent_share=0.5)
    with pytest.raises(ValueError, match=r"absent_share: expected a number in \[0, 1\], got 2"):
        mc.draw_pairs(numbers, FOUR, 2, absent_share=2)


def test_without_the_option_nothing_more_is_drawn():
    for modalities in (2, 3):
        plain, more = (mc.draw(FOUR, modalities, np.random.default_rng(0), absent=on) for on in (False, True))
        assert plain.absent is None
        np.testing.assert_array_equal(plain.partners, more.partners)
        assert more.absent.shape == (2, 4)
        assert mc.draw_pairs(more, FOUR, modalities).absent is None


def test_all_arrays_of_a_modality_are_mixed_alike(framework):
    tokens = np.arange(12.0).reshape(3, 2, 2)
    mask = np.array([[True, False], [True, True], [False, True]])
    sources = mc.source_matrix(np.array([1, 2, 0]), 2)
    absent = np.zeros((2, 2, 3), bool)
    absent[1, 0, 0] = True
    present = np.array([[True, True], [False, True], [True, False]])
    with framework.scope("float64"):
        array, numpy = framework.array, framework.numpy
        modalities = [{"tokens": array(tokens), "mask": array(mask)}, (array(tokens), array(np.arange(3)))]
        words, (pictures, lengths) = mc.mix(modalities, array(sources))
        np.testing.assert_array_equal(numpy(words["tokens"]), tokens[sources[0]])
        np.testing.assert_array_equal(numpy(words["mask"]), mask[sources[0]])
        np.testing.assert_array_equal(numpy(pictures), tokens[sources[1]])
        np.testing.assert_array_equal(numpy(lengths), sources[1])

        labels = array(np.arange(3))
        pairs = mc.make_pairs(labels, array(sources), absent=array(absent[::-1].copy()))
        words, _ = mc.mix(modalities, pairs)
        # No empty mask: a mean over nothing is NaN.
        assert numpy(words["tokens"])[0, 0].tolist() == [[0, 0], [0, 0]]
        assert numpy(words["mask"])[0, 0].tolist() == [True, False]
        words, (pictures, lengths) = mc.zero_missing(modalities, array(present))
        assert numpy(words["mask"]).tolist() == [[True, False], [True, False], [False, True]]
        assert numpy(words["tokens"])[1].tolist() == [[0, 0], [0, 0]]
        assert numpy(pictures)[2].tolist() == [[0, 0], [0, 0]]
        assert numpy(lengths).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("drawn", "used"), [("paper", "official"), ("official", "paper")])
def test_pairs_of_another_variant_are_refused(drawn, used):
    labels, logits = np.array([0, 1]), np.eye(2)
    pairs = mc.make_pairs(labels, mc.source_matrix(np.array([1, 0]), 2), variant=drawn)
    message = f"sources: expected pairs drawn with variant='{used}', got some with '{drawn}'"
    with pytest.raises(ValueError, match=message):
        mc.midas_objective(
            *(logits, [logits, logits], np.stack([logits, logits]), labels, pairs, None, mc.init_state(2)),
            variant=used,
        )

"""The hard-sample weight (eq. 8)."""

from dataclasses import replace

import numpy as np
import pytest

import midas_core as mc
from midas_core.testing.checks import check_values
from midas_core.testing.problems import make_problem


def test_a_scale_of_the_features_does_not_change_the_similarity():
    p = make_problem(0)
    sources = mc.source_matrix(p.partners, 2)
    for kind in ("cosine", "l2"):
        one = mc.similarity(p.features, sources, kind)
        for scale in (1e-150, 1e150):
            scaled = mc.similarity([f * scale for f in p.features], sources, kind)
            np.testing.assert_allclose(scaled, one, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_very_small_and_very_large_features(framework, dtype, size):
    p = make_problem(0, 5, 2, 3, dtype=dtype)
    p = replace(p, features=[(f * size).astype(dtype) for f in p.features])
    check_values(framework, p)


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_a_norm_that_overflows_gives_nan_and_spoils_no_other_sample(framework, kind):
    # 1e20 has no square in float32; divided by an infinite norm it would be 0, which looks like a similarity.
    features = [np.array([[1e20, 0.0], [3.0, 4.0], [4.0, 3.0], [0.0, 2.0]], "float32")] * 2
    sources = mc.source_matrix(np.array([1, 0, 3, 2]), 2)
    with framework.scope("float32"), np.errstate(over="ignore", invalid="ignore"):
        found = framework.numpy(mc.similarity([framework.array(x) for x in features], framework.array(sources), kind))
    expected = mc.similarity([x[2:].astype("float64") for x in features], mc.source_matrix(np.array([1, 0]), 2), kind)
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_allclose(found[:, 2:], expected, rtol=1e-6)


def test_by_hand(framework):
    # Two features, of three axes beside the batch and of one; the third sample keeps its second part.
    images = np.array([[3.0, 4.0], [4.0, 3.0], [0.0, 2.0]]).reshape(3, 1, 2, 1)
    features = [images, np.array([[1.0], [-2.0], [5.0]])]
    sources = np.array([[[1, 2, 0], [0, 1, 2]], [[0, 1, 2], [2, 0, 2]]])
    expected = {
        "cosine": [[24 / 25, 3 / 5, 4 / 5], [1, -1, 1]],
        "l2": [
            [1 - 2 * np.sqrt(2) / 10, 1 - 2 * np.sqrt(17) / 7, 1 - 2 * np.sqrt(13) / 7],
            [1 - 2 * 4 / 6, 1 - 2 * 3 / 3, 1],
        ],
    }
    with framework.scope("float64"):
        given_ = [framework.array(f) for f in features], framework.array(sources)
        for kind, values in expected.items():
            found = framework.numpy(mc.similarity(*given_, kind, backend=framework.backend))
            np.testing.assert_allclose(found, values, rtol=1e-12)
        default = framework.numpy(mc.similarity(*given_))
        np.testing.assert_allclose(default, expected["cosine"], rtol=1e-12)


def test_the_mean_over_the_replaced_modalities_alone():
    features = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0], [1.0]]), np.array([[1.0], [-1.0]])]
    sources = np.array([[[1, 1]], [[1, 1]], [[0, 0]]])
    # Of sample 0: cosines 0 and 1; of sample 1: only the last modality was replaced, cosine -1.
    np.testing.assert_allclose(mc.similarity(features, sources), [[0.5, -1]])


TOKENS = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 3.0], [9.0, 9.0]], [[9.0, 9.0], [9.0, 9.0]]])
MASK = np.array([[True, True], [True, False], [False, False]])
SWAP = np.array([[[1, 0, 2]], [[0, 1, 2]]])


def test_sequences_are_compared_by_the_mean_of_their_tokens(framework):
    other = np.ones((3, 1))
    with framework.scope("float64"):
        tokens, mask, constant, sources = map(framework.array, (TOKENS, MASK, other, SWAP))
        whole = framework.numpy(mc.similarity([tokens, constant], sources))
        masked = framework.numpy(mc.similarity([{"tokens": tokens, "mask": mask}, constant], sources))
        first = framework.numpy(
            mc.similarity([(tokens, mask), constant], sources, lambda x: x[0][:, 0, :] if isinstance(x, tuple) else x)
        )
    np.testing.assert_allclose(whole, [[(4.5 + 6) * 0.5 / np.hypot(4.5, 6) / np.hypot(0.5, 0.5)] * 2 + [1]])
    np.testing.assert_allclose(masked, [[np.sqrt(0.5)] * 2 + [1]])
    np.testing.assert_allclose(first, [[0, 0, 1]], atol=1e-12)


def test_a_callable_has_to_return_vectors():
    with pytest.raises(ValueError, match=r"output of similarity: expected shape \(B, D\) = \(3, \?\), got \(3, 2, 2\)"):
        mc.similarity([TOKENS, np.ones((3, 1))], SWAP, lambda x: TOKENS)

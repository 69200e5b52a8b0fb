"""Pairs on the host are those of the core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import midas_core as mc
from midas_core.backends import load_backend
from midas_core.kernels import host
from midas_core.misalignment import random_count, split_draw


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from((2, 3)))
def test_the_pairs_are_those_of_the_core(seed, batch, classes, modalities):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=batch)
    numbers = rng.random(random_count(batch, modalities), dtype=np.float32)
    backend = load_backend("numpy")
    options = {"num_classes": classes, "num_modalities": modalities, "variant": "paper", "backend": backend}
    found = host.pairs(labels, numbers, None, **options)
    expected = mc.draw_pairs(split_draw(numbers, labels, modalities, backend=backend), labels, modalities)
    for own, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, same)

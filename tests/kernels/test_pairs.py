"""Pairs on the CPU are those of the core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

import midas_core as mc
from midas_core.backends.numpy import BACKEND
from midas_core.kernels.pairs import draw_pairs
from midas_core.partners import random_count, split_draw
from tests.kernels.problems import size

__all__ = ["size"]


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from((2, 3)))
def test_the_pairs_are_those_of_the_core(seed, batch, classes, modalities):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=batch)
    numbers = rng.random(random_count(batch, modalities), dtype=np.float32)
    given = (torch.from_numpy(numbers), torch.from_numpy(labels), modalities)
    found = draw_pairs(*given, num_classes=classes, variant="paper")
    expected = mc.draw_pairs(split_draw(numbers, labels, modalities, backend=BACKEND), labels, modalities)
    for own, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, same)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_a_label_that_is_no_class_is_named(label, modalities):
    labels = torch.tensor([0, 1, 2, label, 1])
    with pytest.raises(ValueError, match=rf"labels: expected whole numbers in 0 \.\.\. 2, got {label} in sample 3"):
        draw_pairs(torch.rand(random_count(5, modalities)), labels, modalities, num_classes=3, variant="paper")


def test_an_entry_of_the_permutation_that_is_no_sample_is_named():
    labels, order = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])
    with pytest.raises(ValueError, match=r"permutation: expected whole numbers in 0 \.\.\. 2, got 3 in sample 2"):
        draw_pairs(torch.rand(3), labels, 2, num_classes=3, variant="paper", permutation=order)

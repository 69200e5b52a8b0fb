"""Two modalities of each handwritten digit of scikit-learn's ``load_digits``: nothing to download.

Everywhere ``seed`` chooses the training and validation images and the noise; the test images are always the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midas_core.data.base import Floats, Labels, Split, Task, split_indices, standardize

VALIDATION, TEST = 400, 600


def load_images() -> tuple[Floats, Labels]:
    """Return the 1,797 images, shape (N, 8, 8), values in 0 ... 1, and their labels, shape (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


def halves(seed: int, *, training: int = 400) -> Task:
    """Return the left and the right half of each image: two modalities of much the same worth."""
    return _two_modalities(seed, training, ("left", "right"), lambda x, rng: (x[:, :, :4], x[:, :, 4:]))


def wide_left(seed: int, *, training: int = 300) -> Task:
    """Return the right half, clean, and the left half, wide and easily memorised: it drowns the right one.

    The left half is enlarged to 24 x 12 with noise of standard deviation 1 on pixels in 0 ... 1: 288 noisy numbers
    tell every training image apart, so that joint training fits them and has little left to learn from the 32 clean
    ones.
    """

    def observe(images: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return _enlarge_and_disturb(images[:, :, :4], rng), images[:, :, 4:]

    return _two_modalities(seed, training, ("left", "right"), observe)


def two_sensors(seed: int, *, training: int = 300) -> Task:
    """Return two sensors that look at each image: a coarse clean one, and a fine noisy one that is easily memorised.

    The first gives a 4 x 4 grid of block means, the second the image at 24 x 24 with noise of standard deviation 1
    on pixels in 0 ... 1. Each modality has one mean and one scale. The 576 noisy numbers drown the 16 clean ones in
    joint training.
    """

    def sense(images: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)), _enlarge_and_disturb(images, rng)

    return _two_modalities(seed, training, ("coarse", "noisy"), sense)


def _enlarge_and_disturb(images: Floats, rng: np.random.Generator) -> Floats:
    large = np.kron(images, np.ones((1, 3, 3)))
    return (large + rng.normal(0, 1, large.shape)).astype(np.float32)


def _two_modalities(
    seed: int,
    training: int,
    modalities: tuple[str, str],
    observe: Callable[[Floats, np.random.Generator], tuple[Floats, Floats]],
) -> Task:
    images, labels = load_images()
    splits = []
    for number, chosen in enumerate(split_indices(labels, (training, VALIDATION, TEST), seed)):
        # The noise of the test images does not depend on the seed either.
        rng = np.random.default_rng([number, 0 if number == 2 else seed])
        inputs = tuple(x.reshape(len(chosen), -1) for x in observe(images[chosen], rng))
        splits.append(Split(inputs, labels[chosen], {"image": chosen}))
    return Task(modalities, 10, *standardize(*splits))

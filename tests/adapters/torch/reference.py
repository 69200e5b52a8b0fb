"""Results that the oracle expects of the PyTorch criterion."""

from __future__ import annotations

import numpy as np
import torch

from midas_core.testing import oracle
from midas_core.testing.criterion import TERMS, reduced_terms, reference_step


def expected_step(criterion, features, labels, head, seed, **beside):
    """Return the oracle's step of a criterion that draws from ``torch.Generator().manual_seed(seed)``.

    ``head`` is a function of the list of features. Call it before the criterion's own step.
    """
    generator = torch.Generator().manual_seed(seed)
    return oracle.step(reference_step(criterion, features, labels, head, generator, **beside)[0].lists())


def assert_terms(terms, step, reduction="mean", tolerance=1e-10):
    """Compare the terms of the criterion to the oracle's step."""
    expected = reduced_terms(step, reduction)
    for name in TERMS:
        actual = getattr(terms, name).detach().numpy()
        np.testing.assert_allclose(actual, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)

"""The oracle's closed-form gradient is the slope of its own loss."""

import numpy as np
import pytest

from midas_core.testing import oracle
from midas_core.testing.problems import make_problem

REAL = {"sample_weight": True, "class_weights": True, "label_smoothing": 0.2}


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("phase", [{}, {"warmup": True}, {"aligned_only": True}], ids=str)
@pytest.mark.parametrize("options", [{}, REAL, REAL | {"multi_label": True}], ids=["plain", "real", "multi-label"])
def test_closed_form_gradient_is_the_finite_difference(variant, phase, options):
    p = make_problem(1, batch=5, classes=3, scale=1.0, variant=variant, weight=2.0, **phase, **options).lists()
    step = oracle.step(p)

    def total():
        return sum(oracle.losses(p, step.soft_weights))

    assert total() == pytest.approx(sum(step.total))
    fused, unimodal, mixed = oracle.closed_form_gradients(p, step.soft_weights)
    pairs = [(p.fused, fused), *zip(p.unimodal, unimodal, strict=True)]
    pairs += [] if phase else [(p.mixed, mixed)]
    for table, closed in pairs:
        np.testing.assert_allclose(closed, oracle.finite_difference(total, table), atol=1e-8)


def test_the_papers_example():
    shares = oracle.normalise([np.log(0.9), np.log(0.3)])
    assert shares == pytest.approx([0.75, 0.25])
    assert oracle.soft_label(shares, [2, 0], 3) == pytest.approx([0.25, 0, 0.75])


def test_partners_come_from_the_other_classes_in_their_order_and_then_from_the_rest():
    labels = [2, 0, 1, 0]
    assert oracle.draw_partners(labels, [[0.0, 0.4, 0.9, 0.99]]) == [[1, 2, 0, 0]]
    assert oracle.draw_partners(labels, [[0.0] * 4, [0.0, 0.5, 0.5, 0.99]]) == [[1, 2, 1, 2], [2, 3, 3, 1]]
    # One class: anybody else; with too few samples the last one takes part again.
    assert oracle.draw_partners([5, 5, 5], [[0.0, 0.5, 0.9]]) == [[1, 2, 1]]
    assert oracle.draw_partners([5], [[0.5], [0.5]]) == [[0], [0]]

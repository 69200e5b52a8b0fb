"""The method once more, in float64 and plain Python loops, written from its description.

It shares no code with the rest of midas_core, knows no array library, and is meant to be read beside the equations.
Lists come in, lists go out: logits[i][c], features[m][i] a flat list, sources[m][v][i]. A label is a class, or, where
a sample may have several, a list with 0 or 1 for each class.
"""

from .equations import (
    VIEWS,
    absent_modalities,
    cross_entropy,
    draw_partners,
    hard_sample_weight,
    log_softmax,
    normalise,
    similarity,
    smoothed_target,
    soft_label,
    source_matrix,
)
from .objective import (
    Decision,
    Step,
    closed_form_gradients,
    finite_difference,
    has,
    losses,
    mixed_soft_labels,
    sources_of,
    step,
    steps_within_rounding,
)

__all__ = [
    "VIEWS",
    "Decision",
    "Step",
    "absent_modalities",
    "closed_form_gradients",
    "cross_entropy",
    "draw_partners",
    "finite_difference",
    "hard_sample_weight",
    "has",
    "log_softmax",
    "losses",
    "mixed_soft_labels",
    "normalise",
    "similarity",
    "smoothed_target",
    "soft_label",
    "source_matrix",
    "sources_of",
    "step",
    "steps_within_rounding",
]

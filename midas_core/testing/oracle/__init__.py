"""Reference implementation of the method in plain Python loops, written from the paper.

It shares no code with the rest of midas_core and uses no array library; read it beside the equations. Inputs and
outputs are lists: logits[i][c], features[m][i] a flat list, sources[m][v][i]. A label is a class, or for multi-label
data a list with 0 or 1 for each class.
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

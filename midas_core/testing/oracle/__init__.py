"""The method once more, in float64 and plain Python loops, written from its description.

It shares no code with the rest of midas_core, knows no array library, and is meant to be read beside the equations.
Lists come in, lists go out: logits[i][c], features[m][i] a flat list, sources[m][v][i]. A label is a class, or, where
a sample may have several, a list with 0 or 1 for each class.
"""

from .equations import (
    VIEWS as VIEWS,
    cross_entropy as cross_entropy,
    draw_partners as draw_partners,
    hard_sample_weight as hard_sample_weight,
    log_softmax as log_softmax,
    normalise as normalise,
    similarity as similarity,
    smoothed_target as smoothed_target,
    soft_label as soft_label,
    source_matrix as source_matrix,
)
from .objective import (
    Decision as Decision,
    Step as Step,
    closed_form_gradients as closed_form_gradients,
    finite_difference as finite_difference,
    has as has,
    losses as losses,
    mixed_soft_labels as mixed_soft_labels,
    step as step,
    steps_within_rounding as steps_within_rounding,
)

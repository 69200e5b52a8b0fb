"""The method once more, in float64 and plain Python loops, written from its description.

It shares no code with the rest of midas_core, knows no array library, and is meant to be read beside the equations.
Lists come in, lists go out: logits[i][c], features[m][i] a flat list, sources[m][v][i]. A label is a class, or, where
a sample may have several, a list with 0 or 1 for each class.
"""

from .equations import (
    VIEWS as VIEWS,
)
from .equations import (
    cross_entropy as cross_entropy,
)
from .equations import (
    draw_partners as draw_partners,
)
from .equations import (
    hard_sample_weight as hard_sample_weight,
)
from .equations import (
    log_softmax as log_softmax,
)
from .equations import (
    normalise as normalise,
)
from .equations import (
    similarity as similarity,
)
from .equations import (
    smoothed_target as smoothed_target,
)
from .equations import (
    soft_label as soft_label,
)
from .equations import (
    source_matrix as source_matrix,
)
from .objective import (
    Decision as Decision,
)
from .objective import (
    Step as Step,
)
from .objective import (
    closed_form_gradients as closed_form_gradients,
)
from .objective import (
    finite_difference as finite_difference,
)
from .objective import (
    has as has,
)
from .objective import (
    losses as losses,
)
from .objective import (
    mixed_soft_labels as mixed_soft_labels,
)
from .objective import (
    step as step,
)
from .objective import (
    steps_within_rounding as steps_within_rounding,
)

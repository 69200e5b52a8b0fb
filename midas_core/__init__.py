"""MIDAS for imbalanced multimodal learning: the math, on any array library.

The functions here are pure and take arrays of NumPy, PyTorch, JAX, CuPy or TensorFlow. For training, see
``midas_core.adapters.torch``.
"""

from midas_core.augmentation import MixedBatch, misalign
from midas_core.cross_entropy import Targets
from midas_core.ensemble import ensemble_logits
from midas_core.functional import init_state, midas_loss
from midas_core.gradients import Gradients, midas_gradients
from midas_core.missing import zero_missing
from midas_core.objective import MidasTerms, Objective, midas_objective, reduce_terms
from midas_core.pairing import Pairs, draw_pairs, make_pairs, mix, source_matrix
from midas_core.partners import draw
from midas_core.similarity import similarity
from midas_core.weighting import MidasState, log_confidence, normalized_confidence, soft_labels

__version__ = "0.1.0"

__all__ = [
    "Gradients",
    "MidasState",
    "MidasTerms",
    "MixedBatch",
    "Objective",
    "Pairs",
    "Targets",
    "draw",
    "draw_pairs",
    "ensemble_logits",
    "init_state",
    "log_confidence",
    "make_pairs",
    "midas_gradients",
    "midas_loss",
    "midas_objective",
    "misalign",
    "mix",
    "normalized_confidence",
    "reduce_terms",
    "similarity",
    "soft_labels",
    "source_matrix",
    "zero_missing",
]

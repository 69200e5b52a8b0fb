"""MIDAS for imbalanced multimodal learning: the math, on any array library.

The functions here are pure and take arrays of NumPy, PyTorch, JAX, CuPy or TensorFlow. For training, see
``midas_core.adapters.torch``.
"""

from midas_core.backends import Backend, get_backend, load_backend
from midas_core.confidence import log_confidence, normalized_confidence, soft_labels
from midas_core.misalignment import (
    Draw,
    different_class_permutation,
    draw,
    draw_sources,
    mix,
    pair_classes,
    pair_mask,
    plain_permutation,
    source_matrix,
)
from midas_core.objective import Gradients, MidasTerms, Objective, midas_gradients, midas_objective
from midas_core.weighting import (
    Imbalance,
    MidasState,
    current_alpha,
    hard_sample_weight,
    imbalance,
    next_state,
    official_gap,
    similarity,
)

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Draw",
    "Gradients",
    "Imbalance",
    "MidasState",
    "MidasTerms",
    "Objective",
    "current_alpha",
    "different_class_permutation",
    "draw",
    "draw_sources",
    "get_backend",
    "midas_gradients",
    "hard_sample_weight",
    "imbalance",
    "load_backend",
    "log_confidence",
    "mix",
    "next_state",
    "normalized_confidence",
    "midas_objective",
    "official_gap",
    "pair_classes",
    "pair_mask",
    "plain_permutation",
    "similarity",
    "soft_labels",
    "source_matrix",
]

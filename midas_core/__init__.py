"""MIDAS for imbalanced multimodal learning: the math, on any array library.

The functions here are pure and take arrays of NumPy, PyTorch, JAX, CuPy or TensorFlow. For training, see
``midas_core.adapters.torch``.
"""

from midas_core.alpha import Imbalance, MidasState, current_alpha, imbalance, next_state, official_gap
from midas_core.augmentation import MixedBatch, misalign
from midas_core.backends import Backend, get_backend, load_backend
from midas_core.confidence import log_confidence, normalized_confidence, soft_labels
from midas_core.ensemble import ensemble_logits
from midas_core.gradients import Gradients, midas_gradients
from midas_core.misalignment import Draw, draw, draw_partners, draw_sources, mix, plain_permutation, source_matrix
from midas_core.missing import complete_pairs, zero_missing
from midas_core.objective import MidasTerms, Objective, PairWeights, midas_objective, reduce_terms, weigh_pairs
from midas_core.pairs import Pairs, draw_pairs, label_ids, make_pairs, pair_classes, pair_mask
from midas_core.similarity import hard_sample_weight, similarity
from midas_core.targets import Targets

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "Draw",
    "Gradients",
    "Imbalance",
    "MidasState",
    "MidasTerms",
    "MixedBatch",
    "Objective",
    "PairWeights",
    "Pairs",
    "Targets",
    "complete_pairs",
    "current_alpha",
    "draw",
    "draw_pairs",
    "draw_partners",
    "draw_sources",
    "ensemble_logits",
    "get_backend",
    "hard_sample_weight",
    "imbalance",
    "label_ids",
    "load_backend",
    "log_confidence",
    "make_pairs",
    "midas_gradients",
    "midas_objective",
    "misalign",
    "mix",
    "next_state",
    "normalized_confidence",
    "official_gap",
    "pair_classes",
    "pair_mask",
    "plain_permutation",
    "reduce_terms",
    "similarity",
    "soft_labels",
    "source_matrix",
    "weigh_pairs",
    "zero_missing",
]

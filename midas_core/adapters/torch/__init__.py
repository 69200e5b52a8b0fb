"""MIDAS for PyTorch: a criterion that replaces the cross-entropy of a training loop, and the augmentation alone."""

from midas_core.backends import require

require("torch", "PyTorch", "torch")

from midas_core.adapters.torch.fusion import fuse
from midas_core.adapters.torch.loss import MidasLoss
from midas_core.adapters.torch.misalign import Misalign, Misaligned
from midas_core.objective import MidasTerms

__all__ = ["MidasLoss", "MidasTerms", "Misalign", "Misaligned", "fuse"]

"""MIDAS for Keras 3: a model that ``fit`` trains, its loss, the augmentation alone, and a callback for a run folder.

Runs on every Keras backend that trains: TensorFlow, JAX, PyTorch.
"""

from midas_core.adapters.keras.baselines import JointLoss
from midas_core.adapters.keras.callback import MidasCallback
from midas_core.adapters.keras.loss import MidasLoss
from midas_core.adapters.keras.misalign import Misalign
from midas_core.adapters.keras.model import MidasModel

__all__ = ["JointLoss", "MidasCallback", "MidasLoss", "MidasModel", "Misalign"]

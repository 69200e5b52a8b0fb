"""TensorBoard, where it is installed."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def open_tensorboard(folder: Path, wanted: bool | None) -> Any:
    """Return a ``SummaryWriter``, or None.

    Parameters
    ----------
    folder : Path
    wanted : bool or None
        None takes it where PyTorch is imported already and TensorBoard installed.

    Raises
    ------
    ImportError
        If it is wanted and not installed.
    """
    if wanted is False:
        return None
    if wanted is None and ("torch" not in sys.modules or find_spec("tensorboard") is None):
        return None
    try:
        with warnings.catch_warnings():
            # TensorBoard imports what NumPy and protobuf have deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if wanted is None:
            return None
        raise ImportError("tensorboard=True needs PyTorch and TensorBoard: pip install torch tensorboard") from error
    return SummaryWriter(str(folder))

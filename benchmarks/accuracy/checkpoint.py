"""Where a long training stands, kept after every epoch."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


class Checkpoint:
    """One file of tensors, numbers and text, written as a whole or not at all.

    Parameters
    ----------
    path : Path
    about : dict
        What is trained: a checkpoint of something else is not read.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, None where there is none that can be read."""
        try:
            # Tensors, numbers and text alone: no code runs.
            found = torch.load(self.path, map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
            return None
        if not isinstance(found, dict) or found.get("about") != self.about:
            return None
        state: dict[str, Any] = found["state"]
        return state

    def write(self, state: Mapping[str, Any]) -> None:
        """Keep a state in the place of the one before.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            torch.save({"about": self.about, "state": dict(state)}, beside)
            os.replace(beside, self.path)
        except RuntimeError as error:
            # What PyTorch says of a full disk.
            raise OSError(f"{self.path}: expected to keep a checkpoint, got {error}") from error
        finally:
            beside.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the file: the training is finished."""
        self.path.unlink(missing_ok=True)

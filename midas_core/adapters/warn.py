"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings

_PACKAGES = ("midas_core", "torch", "keras", "tensorflow", "jax")


def warn_user(message: str) -> None:
    """Warn from the first frame outside of this library and the frameworks."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)

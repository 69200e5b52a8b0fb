"""A framework for a test: skipped where it is missing, or failed where it has to be there."""

import os

import pytest

from midas_core.testing.framework import Framework, load_framework

NAMES = ("numpy", "array_api_strict", "torch", "jax", "tensorflow")
"""Backends that need no GPU."""
AUTOGRAD = ("torch", "jax", "tensorflow")


def get_framework(name: str) -> Framework:
    """Return a framework; a missing one skips the test, or fails it where MIDAS_REQUIRED_BACKENDS names it."""
    try:
        return load_framework(name)
    except ImportError as error:
        if name in os.environ.get("MIDAS_REQUIRED_BACKENDS", "").split(","):
            pytest.fail(f"backend {name} is required here and missing: {error}")
        pytest.skip(str(error))

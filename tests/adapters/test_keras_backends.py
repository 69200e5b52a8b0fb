"""Keras takes one backend per process, so ``tests/adapters/keras`` runs once for each, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif("KERAS_BACKEND" in os.environ, reason="already inside such a process")
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_suite(backend):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", Path(__file__).parent / "keras"]
    result = subprocess.run(
        command, env={**environment, "KERAS_BACKEND": backend}, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr[-2_000:]
    # Exit status 0 with everything skipped would show nothing.
    assert " passed" in result.stdout, result.stdout

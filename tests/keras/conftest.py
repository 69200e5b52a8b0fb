"""Keras takes one backend per process: these tests run where ``KERAS_BACKEND`` names it, and nowhere else."""

from __future__ import annotations

import os

BACKEND = os.environ.get("KERAS_BACKEND")
if BACKEND is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Before JAX starts: two devices for the data-parallel test.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    import keras
    import pytest

    @pytest.fixture(autouse=True)
    def _fresh():
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)

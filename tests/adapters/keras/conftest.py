"""Keras takes one backend per process: these tests run where ``KERAS_BACKEND`` names it, and nowhere else."""

import os
import tempfile

BACKEND = os.environ.get("KERAS_BACKEND")
if BACKEND is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Before JAX starts: two devices for the data-parallel test, and quick compilation of what runs but a few times.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    # Many tests compile the same small step: once is enough.
    cache = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    import keras
    import pytest

    # Keras's variables know an older __array__ than NumPy asks for.
    KNOWN = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"

    # PyTorch is the quickest: nothing is traced.
    ONCE = "torch"

    def pytest_collection_modifyitems(config, items):
        for item in items:
            item.add_marker(pytest.mark.filterwarnings(KNOWN), append=False)
        elsewhere = [item for item in items if BACKEND != ONCE and item.get_closest_marker("once")]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]

    @pytest.fixture(autouse=True)
    def _seeded():
        keras.utils.set_random_seed(0)

"""What all tests share: quiet frameworks, fixed examples, the frameworks as fixtures."""

import os
import warnings
from collections.abc import Callable, Iterator

# Before any framework is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Quick compilation by JAX and TensorFlow of what runs but a few times.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# The width of the terminal that runs the tests.
os.environ.pop("COLUMNS", None)

import pytest
from hypothesis import HealthCheck, Phase, settings

from midas_core.testing.framework import Framework
from tests.frameworks import AUTOGRAD, NAMES, get_framework

# What these make is there for the rest of a process: collecting doctests would import them into all tests.
collect_ignore = ["devices_worker.py", "pretend_device.py"]

# No deadline: the first call of a shape compiles. The same examples in every run: a red build can be repeated.
settings.register_profile(
    "midas",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
# Other examples in every run, for .ci/search: --hypothesis-profile=search. A failure prints what repeats it.
settings.register_profile("search", settings.get_profile("midas"), derandomize=False, print_blob=True)
# For mutmut: the first failure will do.
settings.register_profile("mutants", settings.get_profile("midas"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("midas")


@pytest.fixture(scope="session", params=NAMES)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Every framework that runs on a CPU."""
    return get_framework(request.param)


@pytest.fixture(scope="session", params=AUTOGRAD)
def autograd(request: pytest.FixtureRequest) -> Framework:
    """Every framework that differentiates."""
    return get_framework(request.param)


@pytest.fixture
def compiler() -> Iterator[Callable[..., object]]:
    """The compiler of PyTorch, imported ahead: its import alone raises a warning of PyTorch about PyTorch."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        import torch._inductor.compile_fx
    torch._dynamo.reset()
    yield torch.compile
    torch._dynamo.reset()

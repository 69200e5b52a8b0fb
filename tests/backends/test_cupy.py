"""CuPy: the math, where there is a GPU."""

import pytest

from midas_core.testing.checks import check_values
from midas_core.testing.problems import make_problem
from tests.frameworks import get_framework

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cupy_framework():
    framework = get_framework("cupy")
    import cupy

    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        devices = 0
    if devices == 0:
        pytest.skip("CuPy computes on a GPU only, and there is none here")
    return framework


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("similarity", ["cosine", "l2", None])
def test_values(cupy_framework, dtype, modalities, similarity):
    for seed in range(5):
        check_values(cupy_framework, make_problem(seed, 7, modalities, 3, dtype=dtype, similarity=similarity))

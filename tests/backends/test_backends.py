"""Backends: who serves an array, what the core asks of a namespace, and what is imported when."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest

import midas_core as mc
from midas_core.backends import require
from midas_core.backends.base import Backend
from midas_core.testing.checks import arrays_of, run_core
from midas_core.testing.problems import FEW_STRUCTURES, make_problem
from tests.frameworks import NAMES, get_framework

PACKAGE = Path(mc.__file__).parent
CORE = sorted(set(PACKAGE.glob("*.py")) - {PACKAGE / "cli.py"})
BASE = PACKAGE / "backends" / "base.py"
FRAMEWORKS = ("torch", "jax", "tensorflow", "keras", "cupy", "array_api_strict")


def names_of_namespace(tree: ast.AST) -> set[str]:
    """Return every name used as ``xp.<name>`` or ``<anything>.xp.<name>``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            if (isinstance(owner, ast.Name) and owner.id == "xp") or (
                isinstance(owner, ast.Attribute) and owner.attr == "xp"
            ):
                found.add(node.attr)
    return found


def names_in_core() -> set[str]:
    return set().union(*(names_of_namespace(ast.parse(path.read_text())) for path in CORE))


def names_in_base(without: type | None = None) -> set[str]:
    """Return the names that the default methods use, but for those that a backend replaces."""
    tree = ast.parse(BASE.read_text())
    methods = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    kept = [node for node in methods if without is None or node.name not in vars(without)]
    return set().union(*(names_of_namespace(node) for node in kept))


def python(code: str) -> str:
    """Run Python in a process of its own, warnings as errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_core_uses_a_namespace():
    assert {"take", "argsort", "sum"} <= names_in_core()
    assert "maximum" in names_in_base()


def test_tensorflow_holds_exactly_the_names_that_are_used():
    get_framework("tensorflow")
    from midas_core.backends import tensorflow

    held = {name for name in vars(tensorflow.Namespace) if not name.startswith("_")}
    used = names_in_core() | names_in_base(without=tensorflow.TensorflowBackend)
    assert held == used, f"missing: {sorted(used - held)}; not used: {sorted(held - used)}"


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_cupy_takes_every_call_of_the_core_with_its_arguments():
    pytest.importorskip("cupy")
    # Reads signatures alone: what the core calls on NumPy, in every option, must bind to CuPy's functions.
    calls = {}

    def spy(name):
        function = getattr(numpy_xp, name)

        def called(*args, **kwargs):
            calls[name, len(args), *sorted(kwargs)] = (args, kwargs)
            return function(*args, **kwargs)

        return called if callable(function) and not isinstance(function, type) else function

    backend = Backend("numpy", SimpleNamespace(**{name: spy(name) for name in dir(numpy_xp) if name[0] != "_"}))
    backend.device = lambda x: "cpu"
    backend.where = get_framework("numpy").backend.where
    for structure in FEW_STRUCTURES:
        p = make_problem(3, **structure)
        run_core(backend, p, arrays_of(get_framework("numpy"), p))
        ids = mc.pairing.label_ids(p.labels, backend=backend) if p.labels.ndim == 2 else p.labels
        count = len(p.unimodal)
        for variant in ("paper", "official") if count == 2 else ("paper",):
            numbers = mc.draw(ids, count, np.random.default_rng(0), absent=True, backend=get_framework("numpy").backend)
            share = 0.0 if variant == "official" else 0.3
            mc.draw_pairs(numbers, ids, count, variant=variant, absent_share=share, backend=backend)
        for several in (False, True):
            mc.ensemble_logits(p.fused, p.unimodal, multi_label=several, backend=backend)
    assert {"argsort", "searchsorted", "take_along_axis", "logaddexp"} <= {name for name, *_ in calls}
    # Imports without a GPU.
    xp = mc.backends.load_backend("cupy").xp
    for (name, *_), (args, kwargs) in calls.items():
        function = getattr(xp, name)
        try:
            signature = inspect.signature(function)
        except ValueError:
            # A ufunc takes one or two arrays by position.
            assert not kwargs, name
            assert len(args) == function.nin, name
        else:
            signature.bind(*args, **kwargs)


def test_using_one_framework_loads_no_other():
    code = f"""
import sys, numpy as np, midas_core as mc
mc.partners.plain_permutation(np.zeros(3)); mc.backends.get_backend(np.zeros(1))
print([m for m in {FRAMEWORKS!r} if m in sys.modules])"""
    assert python(code) == "[]"


EXTRAS = {
    "torch": "PyTorch is not installed: pip install 'midas-multimodal[torch]'",
    "jax": "JAX is not installed: pip install 'midas-multimodal[jax]'",
    "tensorflow": "TensorFlow is not installed: pip install 'midas-multimodal[tensorflow]'",
    "cupy": "CuPy is not installed: pip install 'midas-multimodal[cupy-cuda12x]' or pip install "
    "'midas-multimodal[cupy-cuda13x]'",
    "array_api_strict": "array-api-strict is not installed: pip install 'midas-multimodal[test]'",
}


def test_a_missing_framework_says_what_to_install():
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({list(EXTRAS)}))
import midas_core
load = midas_core.backends.load_backend
for call, name in [*((load, name) for name in {list(EXTRAS)}), (importlib.import_module, "midas_core.adapters.torch")]:
    try:
        call(name)
    except ImportError as error:
        print(error)"""
    assert python(code).splitlines() == [*EXTRAS.values(), EXTRAS["torch"]]


def test_a_framework_that_is_there_but_broken_is_another_error(tmp_path, monkeypatch):
    (tmp_path / "broken_framework.py").write_text("import a_part_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_part_that_is_missing"):
        require("broken_framework", "Broken", "broken")


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"backend: expected one of \['array_api_strict', 'cupy', .*got 'mxnet'"):
        mc.backends.load_backend("mxnet")


@pytest.mark.parametrize("thing", [[1.0], 1.0, "array", None])
def test_what_is_no_array_has_no_backend(thing):
    with pytest.raises(TypeError, match="expected an array of NumPy, PyTorch, JAX, CuPy, TensorFlow"):
        mc.backends.get_backend(thing)


def test_dispatch_by_type(framework):
    assert mc.backends.get_backend(framework.array(np.zeros(2, np.float32))) is framework.backend
    assert mc.backends.load_backend(framework.name) is framework.backend
    assert framework.name in repr(framework.backend)


def test_dispatch_of_a_subclass():
    class Mine(np.ndarray):
        pass

    assert mc.backends.get_backend(np.zeros(2).view(Mine)).name == "numpy"
    torch = pytest.importorskip("torch")
    assert mc.backends.get_backend(torch.nn.Parameter(torch.zeros(2))).name == "torch"


def test_dispatch_of_what_is_traced():
    jax = pytest.importorskip("jax")
    tf = pytest.importorskip("tensorflow")
    seen = []
    jax.jit(lambda x: seen.append(mc.backends.get_backend(x).name) or x)(jax.numpy.zeros(2))
    tf.function(lambda x: seen.append(mc.backends.get_backend(x).name) or x)(tf.zeros(2))
    seen.append(mc.backends.get_backend(tf.Variable([1.0])).name)
    assert seen == ["jax", "tensorflow", "tensorflow"]


def test_conventions_of_the_frameworks():
    np.testing.assert_array_equal(*(get_framework("numpy").backend.uniform((3,), None, 7) for _ in range(2)))
    with pytest.raises(TypeError, match=r"rng: expected a jax\.random key, got None"):
        get_framework("jax").backend.uniform((3,), None, None)
    tf = pytest.importorskip("tensorflow")
    stateless = [get_framework("tensorflow").backend.uniform((3,), None, (1, 2)).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*stateless)
    drawn = []
    for _ in range(2):
        tf.random.set_seed(3)
        drawn.append(get_framework("tensorflow").backend.uniform((3,), None, None).numpy())
    np.testing.assert_array_equal(*drawn)
    torch = pytest.importorskip("torch")
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(get_framework("torch").backend.uniform((3,), torch.zeros(1), None))
    np.testing.assert_array_equal(*drawn)


def test_a_backend_without_random_numbers_says_so():
    with pytest.raises(NotImplementedError, match="the bare backend draws no random numbers"):
        Backend("bare", np).uniform((2,), np.zeros(1), None)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_logsumexp_agrees(name):
    framework = get_framework(name)
    rows = np.array([[1.0, 2.0, 3.0], [1e4, -1e4, 0.0], [-np.inf, 0.0, -np.inf], [-np.inf] * 3], np.float32)
    expected = [np.log(np.exp([1.0, 2.0, 3.0]).sum()), 1e4, 0, -np.inf]
    with np.errstate(divide="ignore"):
        found = framework.numpy(framework.backend.logsumexp(framework.array(rows)))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        if name != "tensorflow":
            default = Backend.logsumexp(framework.backend, framework.array(rows))
            np.testing.assert_allclose(framework.numpy(default), expected, rtol=1e-6)


def test_a_missing_backend_skips_or_fails_as_the_environment_says(monkeypatch):
    def missing(self):
        raise ImportError("not here")

    monkeypatch.setattr("midas_core.backends.jax.JaxBackend.devices", missing)
    monkeypatch.setenv("MIDAS_REQUIRED_BACKENDS", "numpy")
    with pytest.raises(pytest.skip.Exception):
        get_framework("jax")
    monkeypatch.setenv("MIDAS_REQUIRED_BACKENDS", "numpy,jax")
    with pytest.raises(pytest.fail.Exception, match="required"):
        get_framework("jax")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_to_the_host_and_back(framework, dtype):
    values = np.array([[0, 1], [2, 3], [4, 0]]).astype(dtype)
    with framework.scope(np.float64):
        x = framework.array(values)
        found = framework.backend.to_numpy(x)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, values)
        back = framework.backend.from_numpy(values[::2].astype(np.float64), x)
        assert mc.backends.get_backend(back) is framework.backend
        assert back.dtype == x.dtype
        np.testing.assert_array_equal(framework.numpy(back), values[::2])


def test_half_precision_comes_to_the_host_as_float32():
    import torch

    x = torch.tensor([0.5, 1.5], dtype=torch.bfloat16, requires_grad=True)
    backend = mc.backends.get_backend(x)
    assert backend.to_numpy(x).dtype == np.float32
    assert backend.from_numpy(np.ones(2), x).dtype == torch.bfloat16
    half = np.ones(2, np.float16)
    assert mc.backends.get_backend(half).to_numpy(half).dtype == np.float32

"""Run by .ci/run in an environment that holds the package and nothing else: what a bare install must do."""

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np

import midas_core

root = Path(midas_core.__file__).parent
assert "site-packages" in str(root), f"not the installed package: {root}"
assert (root / "py.typed").exists()
assert midas_core.__version__ == importlib.metadata.version("midas-multimodal")

frameworks = {"torch", "jax", "tensorflow", "keras", "cupy", "sklearn", "matplotlib"} & set(sys.modules)
assert not frameworks, f"import midas_core loaded {frameworks}"

sources = midas_core.source_matrix(np.array([1, 0]), 2)
assert sources.shape == (2, 2, 2)

message = None
try:
    importlib.import_module("midas_core.adapters.torch")
except ImportError as error:
    message = str(error)
assert message == "PyTorch is not installed: pip install 'midas-multimodal[torch]'", message

command = Path(sys.executable).with_name("midas")
result = subprocess.run([command, "--version"], capture_output=True, text=True)
assert midas_core.__version__ in result.stdout, result

for arguments, extra in (
    (["demo"], "compare"),
    (["compare", "a.npz"], "compare"),
    (["report", "."], "report"),
    (["verify"], "verify"),
):
    result = subprocess.run([command, *arguments], capture_output=True, text=True)
    assert result.returncode == 2, result
    assert f"pip install 'midas-multimodal[{extra}]'" in result.stderr, result
    assert "Traceback" not in result.stderr, result

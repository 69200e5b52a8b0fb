"""What can be told from the source alone: where there is no math, no framework, no pickle."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import midas_core

PACKAGE = Path(midas_core.__file__).parent
ADAPTERS = sorted((PACKAGE / "adapters").glob("*.py"))
CORE = sorted(set(PACKAGE.glob("*.py")) - {PACKAGE / "cli.py"})

# What makes a loss, a probability, a distance or a decision: in no adapter, for no reason.
NEVER = {
    *("exp", "log1p", "expm1", "softmax", "log_softmax", "logsumexp", "reduce_logsumexp", "sigmoid", "log_sigmoid"),
    *("softplus", "cross_entropy", "nll_loss", "binary_crossentropy", "sparse_categorical_crossentropy", "kl_div"),
    *("sqrt", "rsqrt", "square", "norm", "normalize", "cosine_similarity", "var", "std", "sign", "argmin", "cumsum"),
    *("einsum", "tensordot", "scatter_add", "index_add", "segment_sum"),
}
# The logarithm shares its name with what writes a log.
LOG_OF = {"torch", "ops", "xp", "np", "math", "keras"}
# Reductions, selections and products of arrays: only where it says why.
SOMETIMES = {
    *("sum", "mean", "amax", "amin", "where", "clamp", "clip", "matmul", "mm", "bmm", "addmm", "dot", "argmax", "sort"),
    *("nan_to_num", "topk", "argsort", "prod"),
}
ALLOWED = {
    "keras_heads.py FusedHead._products": "partial products of an additive head: the user's own layer, run in parts",
    "keras_inputs.py read_labels": "one-hot labels to classes",
    "keras_logs.py TermLogs.update": "averages for the log",
    "keras_misalign.py Misalign.call": "the user's sample weights times those of the core",
    "keras_misalign.py Misalign.compute_output_shape.doubled": "a shape",
    "keras_misalign.py Misalign._weights": "the mask of the core applied to its weights",
    "keras_model.py MidasModel.compute_loss": "reduction over replicas",
    "keras_state.py check_seed": "the bounds of a seed",
    "keras_state.py _read": "a copy of a variable",
    "keras_terms.py step_terms": "warm-up or not, in a traced step",
    "recording.py Recorder.keep": "a path",
    "torch.py MidasLoss._warmup_terms": "a gradient of zero for the head, which a distributed wrapper waits for",
    "torch_follow.py TermMeans.add": "averages for the log",
    "torch_follow.py TermMeans.take": "averages for the log",
    "torch_follow.py _Hook.forward": "a list of None",
    "torch_inputs.py check_batch": "one-hot labels to classes",
    "torch_misalign.py Misalign.forward": "the mask of the core applied to its weights",
    "torch_random.py RandomModule.__init__": "the bounds of a seed",
    "torch_values.py check_values": "looks at the values",
    "torch_values.py _refuse": "looks at the values",
}


def walk(node: ast.AST, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.AST]]:
    """Yield every node with the qualified name of the function that it is in."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        path = (*path, node.name)
    yield ".".join(path), node
    for child in ast.iter_child_nodes(node):
        yield from walk(child, path)


def is_call_of(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names


def test_adapters_hold_no_math():
    used, found = set(), []
    for path in ADAPTERS:
        for function, node in walk(ast.parse(path.read_text())):
            place = f"{path.name} {function}"
            is_log = is_call_of(node, {"log"}) and getattr(node.func.value, "id", "") in LOG_OF
            if is_call_of(node, NEVER) or is_log:
                found.append(f"{place}: {ast.unparse(node)}")
            product = isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(
                node.op, (ast.Mult, ast.Div, ast.Pow, ast.MatMult)
            )
            if product or is_call_of(node, SOMETIMES):
                used.add(place)
                if place not in ALLOWED:
                    found.append(f"{place}: {ast.unparse(node)}")
    assert not found, "\n".join(found)
    assert used == set(ALLOWED), f"allowed for nothing: {sorted(set(ALLOWED) - used)}"


def imports(path: Path) -> set[str]:
    found = set()
    for _, node in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_core_imports_no_framework_and_no_adapter():
    apart = ("adapters", "kernels", "demo", "data", "diagnostics", "benchmarks", "testing", "report", "runs", "verify")
    for path in CORE:
        for module in imports(path):
            root, _, rest = module.partition(".")
            assert root == "midas_core" or root in sys.stdlib_module_names, f"{path.name} imports {module}"
            assert rest.partition(".")[0] not in apart, f"{path.name} knows {module}"


def test_a_backend_knows_no_method():
    for path in (PACKAGE / "backends").glob("*.py"):
        own = [module for module in imports(path) if module.startswith("midas_core")]
        assert all(module.startswith("midas_core.backends") for module in own), f"{path.name} imports {own}"


def test_the_oracle_is_independent():
    known = imports(PACKAGE / "testing" / "oracle.py")
    assert all(module.partition(".")[0] in sys.stdlib_module_names for module in known), known


def test_nothing_that_is_read_can_run_code():
    for path in PACKAGE.rglob("*.py"):
        known = imports(path)
        assert not known & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, path
        for function, node in walk(ast.parse(path.read_text())):
            place = f"{path.name} {function}"
            if not is_call_of(node, {"load", "read_pickle"}):
                continue
            owner, options = ast.unparse(node.func.value), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if owner == "torch":
                assert options.get("weights_only") == "True", f"{place}: {ast.unparse(node)}"
            if owner in ("np", "numpy"):
                assert options.get("allow_pickle") == "False", f"{place}: {ast.unparse(node)}"


def test_the_oldest_versions_that_are_tested_are_those_that_are_stated():
    root = PACKAGE.parent
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (root / "constraints-oldest.txt").read_text(), re.MULTILINE))
    stated = dict(re.findall(r'"([\w-]+)>=([\d.]+)', (root / "pyproject.toml").read_text()))
    of_a_dependency = {"jaxlib", "ml_dtypes"}
    for name, pin in pins.items():
        if name not in of_a_dependency:
            # The last fix of the oldest minor version will do.
            assert f"{pin}.".startswith(f"{stated[name]}."), name

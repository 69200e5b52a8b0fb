"""What can be told from the source alone: where there is no math, no framework, no pickle."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import midas_core

PACKAGE = Path(midas_core.__file__).parent
ADAPTERS = sorted((PACKAGE / "adapters").rglob("*.py"))

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
    "keras/heads.py kept_statistics": "a copy of a variable",
    "keras/inputs.py Labels.nan_where_wrong": "labels that are refused make the loss NaN",
    "keras/misalign.py _nan_where_wrong": "labels that are refused make the loss NaN",
    "keras/model.py MidasModel.compute_loss": "reduction over replicas",
    "torch/heads.py _sums_of_parts.rows": "where the partial products of a modality lie",
    "torch/heads.py fused_logits": "a number of rows",
    "torch/heads.py head_logits": "a number of rows",
    "keras/heads.py FusedHead._products": "partial products of an additive head: the user's own layer, run in parts",
    "keras/inputs.py read_labels": "one-hot labels to classes",
    "keras/baselines.py JointLoss.method": "a name",
    "keras/baselines.py JointLoss.total": "the weight of the unimodal losses",
    "keras/baselines.py drop_modalities": "which modality a sample loses, and zeros in its place",
    "keras/inputs.py _shown": "looks at the values",
    "keras/inputs.py check_label_values": "looks at the values",
    "keras/inputs.py zero_missing_inputs.zero": "zeros in the place of what is missing",
    "keras/logs.py TermLogs.result": "averages for the log",
    "keras/logs.py TermLogs.read": "averages for the log",
    "keras/logs.py TermLogs.update_state": "averages for the log",
    "keras/misalign.py Misalign.call": "the user's sample weights times those of the core",
    "keras/misalign.py Misalign.compute_output_shape.doubled": "a shape",
    "keras/state.py _read": "a copy of a variable",
    "recorder.py Recorder.keep": "a path",
    "recorder.py Recorder.set_aligned_from": "a share of the epochs",
    "torch/random.py _hash": "the bits of a counter",
    "torch/random.py _host_numbers": "the bits of a counter, and numbers in [0, 1) of them",
    "torch/random.py _keys": "the bits of a counter",
    "torch/random.py _numbers_of": "bits to numbers in [0, 1)",
    "torch/random.py _place": "the bits of a counter",
    "torch/random.py uniform": "the place of a draw among those that are made at once",
    "torch/step.py run_step": "a gradient of zero for what the total leaves out, which a distributed wrapper waits for",
    "torch/distributed.py differ_between_ranks": "a bound for what is rounding",
    "torch/follower.py TermMeans.add": "averages for the log",
    "torch/follower.py TermMeans.take": "averages for the log",
    "torch/follower.py _Hook.forward": "a list of None",
    "torch/inputs.py _classes_of_rows": "one-hot labels to classes",
    "torch/values.py check_one_hot": "looks at the values",
    "torch/values.py check_values": "looks at the values",
    "torch/values.py _refuse": "looks at the values",
    "torch/values.py _refuse_infinite": "a shape",
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
            place = f"{path.relative_to(PACKAGE / 'adapters')} {function}"
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


# Each folder imports itself and what stands before it; "" is the core.
LAYERS = (
    *("backends", "", "runs", "diagnostics", "adapters", "report", "testing", "data", "compare", "demo", "cli"),
    "benchmarks",
)


def folder_of(module: str) -> str:
    """Return the folder of a module of the library, "" for the core."""
    folder = module.split(".")[1] if "." in module else ""
    return folder if (PACKAGE / folder).is_dir() else ""


def test_no_import_runs_upward():
    found = []
    for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "benchmarks").rglob("*.py")]:
        parts = path.relative_to(PACKAGE.parent).parts
        own = "benchmarks" if parts[0] == "benchmarks" else parts[1] if len(parts) > 2 else ""
        for module in imports(path):
            root = module.partition(".")[0]
            if root in ("midas_core", "benchmarks"):
                other = "benchmarks" if root == "benchmarks" else folder_of(module)
                if LAYERS.index(other) > LAYERS.index(own):
                    found.append(f"{path.relative_to(PACKAGE.parent)} imports {module}")
            elif own == "" and root not in sys.stdlib_module_names:
                found.append(f"the core knows a framework: {path.name} imports {module}")
    assert not found, "\n".join(found)


def test_every_folder_has_its_layer():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(LAYERS)


def test_the_oracle_is_independent():
    for path in (PACKAGE / "testing" / "oracle").glob("*.py"):
        known = imports(path) - {"equations", "objective"}
        assert all(module.partition(".")[0] in sys.stdlib_module_names for module in known), known


def test_nothing_that_is_read_can_run_code():
    for path in PACKAGE.rglob("*.py"):
        known = imports(path)
        assert not known & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}, path
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
    of_a_dependency = {"jaxlib", "ml_dtypes", "pyparsing"}
    # The build for a CPU is small enough for CI in one version alone.
    in_one_version = {"torch"}
    for name, pin in pins.items():
        if name not in of_a_dependency | in_one_version:
            # The last fix of the oldest minor version will do.
            assert f"{pin}.".startswith(f"{stated[name]}."), name

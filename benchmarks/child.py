"""Measures in a process of its own, under another Keras backend.

The process is told what to do as JSON on its standard input, and answers with JSON on its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.problem import Size
from benchmarks.timing import Effort, Times


def times_in_child(
    function: str,
    sizes: Sequence[Size],
    effort: Effort,
    *,
    environment: Mapping[str, str] | None = None,
) -> list[Times]:
    """Return the times of the contestants at each size.

    Parameters
    ----------
    function : str
        ``"module:name"`` of a function from a `Size` and an `Effort` to `Times`.
    sizes : sequence of Size
    effort : Effort
    environment : dict of str, optional
        Set before anything is imported.

    Raises
    ------
    RuntimeError
        If the process fails, with what it wrote.
    """
    request = {
        "function": function,
        "sizes": sizes,
        "effort": asdict(effort),
        "threads": torch.get_num_threads(),
    }
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.child"],
        input=json.dumps(request),
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise RuntimeError(f"{function}: {ran.stderr[-4000:]}")
    return [Times(seconds) for seconds in json.loads(ran.stdout)]


def main() -> None:
    """Answer the request."""
    request: Any = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    # Frameworks write where they like.
    with redirect_stdout(sys.stderr):
        module, _, name = request["function"].partition(":")
        function = getattr(import_module(module), name)
        effort = Effort(**request["effort"])
        found = [function(Size(*size), effort).seconds for size in request["sizes"]]
    print(json.dumps(found))


if __name__ == "__main__":
    main()

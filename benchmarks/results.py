"""What a benchmark has found."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import Times
from midas_core import __version__
from midas_core.files import package_versions

PACKAGES = ("numpy", "array-api-compat", "torch", "jax", "tensorflow", "tensorflow-cpu", "cupy-cuda12x", "transformers")


@dataclass(frozen=True)
class Result:
    """One number of a table, and what it should be.

    Attributes
    ----------
    what : str
    size : str
        Of the problem.
    value : float
    low, high : float, optional
        Quartiles over the rounds.
    target : float, optional
        The value should not be above.
    unit : str
        Empty for a ratio.
    seconds : dict of float by contestant
        Medians behind a ratio.
    """

    what: str
    size: str
    value: float
    low: float | None = None
    high: float | None = None
    target: float | None = None
    unit: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        return None if self.target is None else self.value <= self.target

    @classmethod
    def of_ratio(
        cls, times: Times, name: str, base: str, size: str, target: float | None = None, how: str = ""
    ) -> Result:
        """Return the time of ``name`` over that of ``base``."""
        what = f"{name} / ({base})" if "+" in base else f"{name} / {base}"
        seconds = {contestant: times.median(contestant) for contestant in (name, base)}
        return cls(f"{what}, {how}" if how else what, size, *times.ratio(name, base), target, seconds=seconds)


def as_json(
    sections: Mapping[str, list[Result]], left_out: Sequence[str], options: Mapping[str, Any], machine: Any
) -> Any:
    """Return all results with the options, the machine and the versions that led to them."""
    rows = {name: [asdict(result) | {"met": result.met} for result in found] for name, found in sections.items()}
    return {
        "options": dict(options),
        "machine": machine,
        "versions": {"midas_core": __version__, **package_versions(*PACKAGES)},
        "left_out": list(left_out),
        "sections": rows,
    }


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on."""
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": load(),
    }
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def load() -> float | None:
    """Return how many processes wanted to run over the last minute, on average; None where nobody counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    # The standard library knows the architecture alone.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def rounded(value: Any, digits: int) -> Any:
    """Return JSON content with its floats rounded, so that a kept file has no more of them than say anything."""
    if isinstance(value, dict):
        return {key: rounded(x, digits) for key, x in value.items()}
    if isinstance(value, list):
        return [rounded(x, digits) for x in value]
    return round(value, digits) if isinstance(value, float) else value

"""What a section is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.problem import Size
from benchmarks.timing import FULL, QUICK, Effort

CPU_SIZES = (Size(64, 6, 512), Size(64, 101, 512), Size(256, 1000, 512), Size(1024, 400, 512))
CUDA_SIZES = (
    Size(64, 6, 512),
    Size(256, 1000, 512),
    Size(1024, 400, 512),
    Size(4096, 1000, 1024),
    Size(8192, 21841, 1024),
)
QUICK_SIZES = (Size(16, 6, 8),)


def _nothing(text: str) -> None:
    pass


@dataclass(frozen=True)
class Settings:
    """The options of a run.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    quick : bool
        Tiny sizes and two rounds: shows that it runs, proves nothing.
    output : Path
        Folder for figures.
    report : callable
        Told what is being measured.
    warn : callable
        Told what is left out.
    full : Effort
        How long to time, unless the run is quick.
    only_size : Size, optional
        The one size to measure.
    """

    device: str
    quick: bool
    output: Path
    report: Callable[[str], None] = _nothing
    warn: Callable[[str], None] = _nothing
    full: Effort = FULL
    only_size: Size | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of the step table."""
        if self.only_size is not None:
            return (self.only_size,)
        if self.quick:
            return QUICK_SIZES
        return CUDA_SIZES if self.device == "cuda" else CPU_SIZES

    @property
    def effort(self) -> Effort:
        """How long to time."""
        return self.effort_of(self.full)

    def effort_of(self, effort: Effort) -> Effort:
        """Return the effort, or the least where the run is quick."""
        return QUICK if self.quick else effort

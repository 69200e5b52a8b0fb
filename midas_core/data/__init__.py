"""The data sets that the demo and the benchmarks read."""

from midas_core.data.base import DataError, Split, Task

__all__ = ["DataError", "Split", "Task"]

"""One harness for every comparison: which method helps on which data."""

from midas_core.compare.comparison import compare_methods
from midas_core.compare.result import MethodComparison

__all__ = ["MethodComparison", "compare_methods"]

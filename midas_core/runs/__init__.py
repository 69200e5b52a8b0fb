"""The run folder: what a training run writes as it goes and `midas report` reads."""

from midas_core.runs.folder import Run, RunError, read_run
from midas_core.runs.logger import RunLogger
from midas_core.runs.names import metric_names, term_metrics

__all__ = ["Run", "RunError", "RunLogger", "metric_names", "read_run", "term_metrics"]

"""The page that says of one run or several whether a modality is ignored, and what MIDAS changed."""

from midas_core.report.page import headlines, render_report, write_report

__all__ = ["headlines", "render_report", "write_report"]

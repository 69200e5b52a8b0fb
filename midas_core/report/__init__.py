"""The page that says of one run or several whether a modality is ignored, and what MIDAS changed."""

from midas_core.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]

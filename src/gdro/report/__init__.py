"""Figures and a self-contained page from a run's own log."""

from gdro.report.load import ReportError
from gdro.report.page import write_report

__all__ = ["ReportError", "write_report"]

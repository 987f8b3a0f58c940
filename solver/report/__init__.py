"""report.html: a run as one self-contained page."""

from solver.report.page import write_report

__all__ = ["write_report"]

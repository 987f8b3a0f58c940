"""report.html: a run as one page that needs no network."""

from solver.report.page import write_report

__all__ = ["write_report"]

"""The report of a run: ``nas report``."""

from .page import Report, write_report

__all__ = ["Report", "write_report"]

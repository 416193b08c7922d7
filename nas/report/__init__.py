"""The report of a run: ``nas report``."""

from .page import write_report

__all__ = ["write_report"]

"""Words that messages share."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """``1 step``, ``12 steps``; for nouns with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

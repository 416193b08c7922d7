"""Words that messages share."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """``1 step``, ``12 steps``; for nouns with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def colour_of(channels: int) -> str:
    """What images of so many channels are."""
    return "grey" if channels == 1 else "colour"

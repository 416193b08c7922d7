"""Evolutionary search over predicted objectives."""

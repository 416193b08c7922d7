"""Measurements, shared by the workers of a search."""

"""Tests of the room that finds out what a model can shrink by."""

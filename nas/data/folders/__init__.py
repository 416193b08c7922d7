"""Folders of images: which are splits, which are classes, and what else lies there."""

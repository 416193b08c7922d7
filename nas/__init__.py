"""Supernet training, search, quantization and export. The commands' functions are in :mod:`nas.workflow`."""

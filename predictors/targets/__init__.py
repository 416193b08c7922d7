"""Devices: a TOML file each, and what reads and checks it."""

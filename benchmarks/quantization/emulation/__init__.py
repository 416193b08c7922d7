"""Exported files on a Cortex-A72's instruction set, emulated by QEMU: what ``benchmarks/quantization/emulate.py`` is
made of."""

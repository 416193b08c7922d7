"""What the processor of this machine does to integers."""

from __future__ import annotations

import platform
from pathlib import Path

SATURATES = platform.machine() == "x86_64" and "vnni" not in Path("/proc/cpuinfo").read_text()
"""Without VNNI, onnxruntime adds pairs of products of unsigned and signed bytes in 16 bits, which saturate."""

"""Records are written byte for byte as they were read, and as the first layout of this project wrote them."""

from __future__ import annotations

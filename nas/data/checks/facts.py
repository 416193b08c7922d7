"""What is known of every image of a set: a row of a table each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FACTS = np.dtype(
    [
        ("mode", "U8"), ("width", "i4"), ("height", "i4"), ("low", "f8"), ("high", "f8"), ("values", "i4"),
        ("channels", "u1"), ("hidden", "?"), ("pixels", "u8"), ("file", "u8"), ("sums", "f8", 3), ("squares", "f8", 3),
        ("decoded", "?"),
    ]
)  # fmt: skip
"""Of an image: Pillow's mode, and the size; least and largest value; how many values, of the channel with most, 1 for a
constant image; channels once decoded; whether an alpha channel varies that is dropped; hashes of the decoded pixels and
of the file; sums of pixels in [0, 1] and of their squares, a number a channel, NaN where not known; whether it was
decoded, or its header read only."""
Facts = NDArray[np.void]


def is_deep(mode: str) -> bool:
    """Whether images of a mode have more than 8 bits a value."""
    return mode.startswith("I") or mode == "F"

"""Named search spaces. A new preset is one line in one of the files here."""

from __future__ import annotations

from ..errors import unknown_name
from ..space import SearchSpace
from . import mobilenetv3

PRESETS: dict[str, SearchSpace] = {space.name: space for space in mobilenetv3.SPACES}


def get_space(name: str) -> SearchSpace:
    """The preset of that name.

    Raises:
        UsageError: unknown; the message offers the nearest name.
    """
    if name not in PRESETS:
        raise unknown_name("search space", name, PRESETS)
    return PRESETS[name]

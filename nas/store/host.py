"""Which machine this is, and whether a process of it is alive."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def here() -> str:
    """Name of the machine as process numbers see it: two containers, or one host before and after a restart, differ."""
    parts = [socket.gethostname()]
    if os.name == "posix" and Path("/proc/self/ns/pid").exists():
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        parts += [started, os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs; True where that cannot be known."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")  # zombie: ended, not yet reaped

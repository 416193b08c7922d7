"""A folder whose files appear under their final name only when all of them are complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """An empty folder to write in; its files take their places in ``out`` where the block ends without an error.

    Where there is no folder ``out``, the new one gets its name at once. Otherwise its files replace those of the same
    names one after the other; the others stay.

    Raises:
        OSError: as the file system says.
    """
    home = out.resolve()
    stage = home / UNFINISHED if home.is_dir() else home.parent / f".{home.name}{UNFINISHED}"
    folder = stage / home.name  # one level deeper than exports, so that nobody lists it as one
    shutil.rmtree(stage, ignore_errors=True)  # of a process that was killed
    try:
        folder.mkdir(parents=True)
        yield folder
        if home.is_dir():
            for path in folder.iterdir():
                os.replace(path, home / path.name)
        else:
            os.rename(folder, home)
    finally:
        shutil.rmtree(stage, ignore_errors=True)

"""What ``nas data check`` costs beside a plain loop that decodes the same files with Pillow.

    python -m benchmarks.data.check [--set small photos growth] [--times 3] [--images N]

``small``: 100,000 JPEG files of 32 x 32 pixels; ``photos``: 60 of 4000 x 3000; ``growth``: 10,000 and 40,000 of 64 x 64
PNG, for the memory that an image takes. The sets are written into a temporary folder first. Both are processes of
their own and take turns; figures are medians: time and resident memory at the peak, less those of the same over 40
images, which is the start. The loop is one thread that opens and loads every file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

LOOP = """
import sys
from pathlib import Path
from PIL import Image
for path in Path(sys.argv[1]).rglob("*.*"):
    with Image.open(path) as image:
        image.load()
"""
CHECK = "import sys; sys.argv[0] = 'nas'; import cli; cli.main()"
SETS = {"small": [(100_000, 32, 32, "jpg")], "photos": [(60, 4000, 3000, "jpg")],
        "growth": [(10_000, 64, 64, "png"), (40_000, 64, 64, "png")]}  # fmt: skip
CLASSES = 10


@dataclass(frozen=True)
class Spent:
    """Wall-clock and processor seconds of a process, and its resident memory at the peak in MB."""

    seconds: float
    cpu: float
    peak: float


def write_set(folder: Path, count: int, width: int, height: int, ending: str) -> Path:
    """Smooth pictures with a little noise, another each, in ten classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).resize((width, height))
        pixels = np.asarray(coarse, dtype=np.int16) + rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
        path = folder / f"class{number % CLASSES}" / f"{number:06d}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return folder


def spend(words: list[str]) -> Spent:
    """Run Python with these arguments to its end; exits where it fails."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status:
        raise SystemExit(f"{words[-1]}: ended with {os.waitstatus_to_exitcode(status)}")
    return Spent(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(runs: list[Spent]) -> Spent:
    """Of times and of memory."""
    return Spent(*(statistics.median(getattr(run, name) for run in runs) for name in ("seconds", "cpu", "peak")))


def main() -> None:
    """Write the sets, run both on each in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=[*SETS], help="which sets")
    parser.add_argument("--times", type=int, default=3, help="runs of each")
    parser.add_argument("--images", type=int, help="of a set, instead of its own number")
    given = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        few = str(write_set(Path(folder) / "few", 40, 32, 32, "png"))
        idle = {way: median([spend(words(way, few)) for _ in range(given.times)]) for way in ("loop", "check")}
        for name in given.set:
            for count, width, height, ending in SETS[name]:
                count = given.images or count
                place = write_set(Path(folder) / f"{name}{count}", count, width, height, ending)
                runs: dict[str, list[Spent]] = {"loop": [], "check": []}
                for _ in range(given.times):
                    for way, own in runs.items():
                        own.append(spend(words(way, str(place))))
                console.print(describe(f"{name}, {count:,}", runs, idle))
                shutil.rmtree(place)


def describe(title: str, runs: dict[str, list[Spent]], idle: dict[str, Spent]) -> str:
    """What both took beyond their start, and the ratios."""
    loop, check = (median(runs[way]) for way in ("loop", "check"))
    wall, cpu, peak = ({way: getattr(each, name) - getattr(idle[way], name) for way, each in
                        (("loop", loop), ("check", check))} for name in ("seconds", "cpu", "peak"))  # fmt: skip
    return (
        f"{title}: loop {wall['loop']:.1f} s, check {wall['check']:.1f} s, ratio {wall['check'] / wall['loop']:.2f}; "
        f"processor {cpu['loop']:.1f} and {cpu['check']:.1f} s, ratio {cpu['check'] / cpu['loop']:.2f}; "
        f"memory {peak['loop']:.0f} and {peak['check']:.0f} MB"
    )


def words(way: str, place: str) -> list[str]:
    """Arguments of Python for the ``loop`` or the ``check`` of a folder."""
    return ["-c", LOOP, place] if way == "loop" else ["-c", CHECK, "data", "check", place]


if __name__ == "__main__":
    main()

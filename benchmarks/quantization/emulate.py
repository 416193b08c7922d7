"""Exported files on a Cortex-A72's instruction set: do they give the same bits, and what does an inference execute.

    python -m benchmarks.quantization.emulate setup [--root DIR]   # once; Debian 12, 340 MB, a minute
    python -m benchmarks.quantization.emulate FILE... [--setup DIR] [--images N] [--data RUN]

Each file (.onnx in onnxruntime, .pte in ExecuTorch) runs on this machine and under ``qemu-aarch64 -cpu cortex-a72``
with the same versions of the runtimes. Every bit of every output is compared; the exit code is 1 where a quantized file
differs. Two QEMU plugins (``emulation/instructions.c``, ``emulation/caches.c``) count what one inference executes and
how often it misses a model of the core's caches. Counts are a deterministic estimate of work, not a time.

Needs Debian 12's packages qemu-user, g++-aarch64-linux-gnu, gcc and libc6-dev, to set up also mmdebstrap; missing ones
are named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.quantization.emulation.board import DEFAULT_FOLDER, Board, make_board, open_board
from benchmarks.quantization.emulation.compare import compare
from benchmarks.quantization.emulation.counts import MISSES, Summary, summarise
from benchmarks.quantization.emulation.inference import File, Floats, open_file
from nas.export.manifest import MANIFEST
from nas.workflows.estimate import estimate_model
from search_spaces.errors import UserError

TARGET = "cortex-a72"
PROCESSES = 2  # in which counts are taken, to see that they repeat
HEADER = (
    "| file | M instructions | vector multiply-adds, M | L1I, L1D, L2 misses, thousands | spread | s under emulation |"
)


def image_sets(file: File, n: int, run: Path | None) -> dict[str, Floats]:
    """Name -> images ``[n, C, H, W]``: random ones, and the first of a run's test split."""
    random = np.random.default_rng(0).standard_normal((n, *file.shape), dtype=np.float32)
    if run is None:
        return {"random": random}
    from nas.data.batches import eval_batches
    from nas.store.run import open_run
    from nas.workflows.trained import open_trained

    images, _ = next(eval_batches(open_trained(open_run(run)).dataset, "test", file.shape[1], n, n))
    return {"random": random, "test split": images.numpy()}


def predicted(file: File) -> str:
    """Latency that the target's file predicts, with how far to trust it."""
    if not (file.path.parent / MANIFEST).is_file():
        return f"predicted latency: unknown, since no {MANIFEST} lies beside the file"
    facts = estimate_model(str(file.path.parent), TARGET)
    return f"predicted latency on {TARGET}: {facts.latency_ms:.3g} ms, {facts.latency_source}"


def row(file: File, counted: Summary, seconds: float) -> str:
    """One of the table."""
    median = counted.median
    cells = (
        file.path.name,
        f"{median['instructions'] / 1e6:.2f}",
        f"{median['float_mla'] / 1e6:.2f} float, {median['int_mla'] / 1e6:.2f} integer",
        " / ".join(f"{median[name] / 1e3:.1f}" for name in MISSES),
        " / ".join(f"{counted.spread[name]:.1e}" for name in ("instructions", "l2_misses")),
        f"{seconds:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def study(board: Board, file: File, sets: dict[str, Floats], repeats: int) -> tuple[bool, str]:
    """Run one file, print what it showed; whether its outputs are as they must be, and its row of the table."""
    print(f"\n{file.path} ({file.policy or 'unknown precision'})")
    there, seconds = file.there(board, np.concatenate(list(sets.values())))
    as_it_must, start = True, 0
    for name, images in sets.items():
        found = compare(file.here(images), there[start : start + len(images)])
        as_it_must &= found.identical or not file.integer
        start += len(images)
        print(f"  {name} images: {found}", flush=True)
    image = next(reversed(sets.values()))[0]
    if file.onnx:
        on_host, emulated = file.classified(board, image)
        print(f"  the script for devices: {emulated}{'' if on_host == emulated else f'; here: {on_host}'}", flush=True)
    processes = [file.counts(board, image, repeats) for _ in range(PROCESSES)]
    counted = summarise([counts for _, warm in processes for counts in warm])
    classes = ", ".join(f"{name} {n / 1e6:.3f}" for name, n in counted.median.items() if name not in MISSES)
    print(f"  millions in one inference, median of {counted.repeats}: {classes}")
    print(f"  with cold caches: {', '.join(f'{name} {processes[0][0][name]:,}' for name in MISSES)}")
    print(f"  {predicted(file)}", flush=True)
    return as_it_must, row(file, counted, seconds)


def main() -> int:
    """Exit code: 0 every quantized file gave the same bits; 1 one did not, or an error; 2 usage."""
    import torch

    torch.set_num_threads(1)
    if sys.argv[1:2] == ["setup"]:
        parser = argparse.ArgumentParser(prog="emulate setup", description="Make the folder that files run in.")
        parser.add_argument("--root", type=Path, default=DEFAULT_FOLDER, help="folder (default: %(default)s)")
        board = make_board(parser.parse_args(sys.argv[2:]).root, lambda step: print(step, flush=True))
        print(f"made: {board.folder}\nnext: python -m benchmarks.quantization.emulate FILE... --setup {board.folder}")
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="exported .onnx or .pte")
    parser.add_argument("--setup", type=Path, default=DEFAULT_FOLDER, help="folder of `setup` (default: %(default)s)")
    parser.add_argument("--images", type=int, default=64, help="of each kind (default: %(default)s)")
    parser.add_argument("--data", type=Path, metavar="RUN", help="a run, whose first test images are used too")
    parser.add_argument("--repeats", type=int, default=3, help="inferences counted in a process (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.images < 1 or arguments.repeats < 1:
        parser.error("--images and --repeats are 1 or more")
    files = [open_file(path) for path in arguments.files]
    board = open_board(arguments.setup.absolute())
    found = [study(board, f, image_sets(f, arguments.images, arguments.data), arguments.repeats) for f in files]
    print(f"\n{HEADER}\n|---|---|---|---|---|---|", *(line for _, line in found), sep="\n")
    print("\nCounts are a deterministic estimate on a model of the core. Spread: of instructions / of L2 misses.")
    wrong = [file.path.name for file, (right, _) in zip(files, found, strict=True) if not right]
    if wrong:
        print(f"error: quantized, yet other outputs than here: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

"""Does a GPU train as the CPU does, and how fast: ``python -m benchmarks.training.gpu``; at most ten minutes.

Six lines, each with its figure: losses against the CPU's from the same start; a training that is stopped and resumed
against one that is not; images a second through the supernet and of the same network as a plain timm model, in fp32 and
bf16; memory against the forecast; two processes against one, where there are two GPUs. Ends with 1 where a line fails.

``--device cpu --small`` runs every line but those of a GPU in a few seconds.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Evaluated, Event
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.depthwise import speed_up
from nas.supernet.supernet import Supernet
from nas.training.amp import Amp
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.rehearsal.forecast import forecast
from nas.training.rehearsal.rehearsal import Rehearsal, aside
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.architecture import Interface

LOSS_TOLERANCE = 1e-3
"""Relative difference of losses of the first steps: other kernels add up in another order."""
RESUMED_TOLERANCE = 0.05
"""Of weights after a resumed training, where kernels of the device are not deterministic; a CPU has to give 0."""
MEMORY_SLACK = 1.5
"""How far the memory that was used may lie above the forecast."""


@dataclass(frozen=True)
class Line:
    """One check: its figure in words, and whether it holds; None: there is nothing to hold."""

    name: str
    figure: str
    holds: bool | None = None


@dataclass(frozen=True)
class Scale:
    """How much is done: ``steps`` whose losses are compared, ``epochs`` of a training, and the network to time."""

    steps: int
    epochs: float
    space: str
    batch: int
    repeats: int


SMALL = Scale(3, 0.02, "mbv3-tiny", 8, 2)
FULL = Scale(10, 2, "mbv3-large", 128, 20)


def compare_losses(device: str, scale: Scale, dataset: Dataset) -> Line:
    """Losses of the first steps on the device against the CPU's, from the same weights and images."""
    config = TrainConfig(space="mbv3-tiny", strategy="sandwich", epochs=scale.epochs)
    found: list[list[float]] = []
    for place in ("cpu", device):
        with aside():
            rehearsal = Rehearsal(config, dataset, Resources(device=place, workers=0))
            found.append([rehearsal.step(i, batch) for i, batch in enumerate(rehearsal.batches(scale.steps))])
    worst = max(abs(a - b) / abs(a) for a, b in zip(*found, strict=True))
    return Line(
        "losses against the CPU's", f"differ by {worst:.1e} at most over {scale.steps} steps", worst < LOSS_TOLERANCE
    )


def resume(device: str, scale: Scale, dataset: Dataset, folder: Path) -> Line:
    """A training that is stopped half way and continued, against one that is not."""
    config = TrainConfig(space="mbv3-tiny", strategy="random", epochs=scale.epochs)
    resources = Resources(device=device, workers=0, evaluations=2)

    def stop(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step < (event.steps or 0):
            signal.raise_signal(signal.SIGINT)

    straight, stopped = Run(folder / "straight"), Run(folder / "stopped")
    train_supernet(straight, config, resources, dataset=dataset)
    try:
        train_supernet(stopped, config, resources, stop, dataset=dataset)
    except Interrupted:
        train_supernet(stopped, config, resources, dataset=dataset)
    else:
        return Line("stopped and resumed", "was not stopped: too few steps", False)
    ours, theirs = (load_tensors(run.supernet)[0] for run in (stopped, straight))
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    limit = RESUMED_TOLERANCE if torch.device(device).type == "cuda" else 0.0
    same = "the same bits" if worst == 0 else f"weights differ by {worst:.1e} at most"
    return Line("stopped and resumed", same, worst <= limit)


def time_steps(device: str, scale: Scale) -> Iterator[Line]:
    """Images a second of training steps of the largest network, through the supernet and as a plain timm model."""
    space = get_space(scale.space)
    net = Supernet(space, Interface(3, 100)).to(device)
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    plain = net.extract(space.largest).to(device).to(memory_format=torch.channels_last).train()
    speed_up(plain)
    side = space.largest.resolution
    x = torch.randn(scale.batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 100, (scale.batch,), device=device)
    for kind in ("off", "bf16"):
        amp = Amp(kind, device)
        works: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
            "supernet": (net.model, lambda: net(x, space.largest)),
            "alone": (plain, lambda: plain(x)),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(scale.repeats + 1):
            for name, (model, forward) in works.items():
                times[name].append(_time(device, model, forward, y, amp))
        speeds = {name: scale.batch / statistics.median(spent[1:]) for name, spent in times.items()}
        ratio = speeds["supernet"] / speeds["alone"]
        yield Line(
            f"images/s, {'fp32' if kind == 'off' else kind}",
            f"{speeds['supernet']:,.0f} through the supernet, {speeds['alone']:,.0f} alone ({ratio:.2f}); "
            f"largest of {scale.space}, {side} px, batch {scale.batch}, channels last",
        )


def _time(device: str, model: nn.Module, forward: Callable[[], Tensor], labels: Tensor, amp: Amp) -> float:
    _wait(device)
    began = time.perf_counter()
    with amp.autocast():
        output = forward()
    F.cross_entropy(output.float(), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3)
                parameter.grad = None
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def compare_memory(device: str, scale: Scale, dataset: Dataset) -> Line:
    """Memory that steps of a training took at most, against the forecast of tensors."""
    if torch.device(device).type != "cuda":
        return Line("memory against the forecast", "not measured: it is counted on CUDA only")
    config = TrainConfig(space="mbv3-small", strategy="sandwich", epochs=scale.epochs)
    resources = Resources(device=device, workers=0)
    expected = forecast(config, dataset, resources).bytes
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with aside():
        rehearsal = Rehearsal(config, dataset, resources)
        for i, batch in enumerate(rehearsal.batches(scale.steps)):
            rehearsal.step(i, batch)
    used = torch.cuda.max_memory_allocated()
    figure = f"{used / 1e6:,.0f} MB used, {expected / 1e6:,.0f} MB forecast ({used / expected:.2f})"
    return Line("memory against the forecast", figure, used <= MEMORY_SLACK * expected)


def compare_processes(scale: Scale, folder: Path) -> Line:
    """Two processes, a GPU each, against one: accuracies of the watched subnets at the end."""
    if torch.cuda.device_count() < 2:
        return Line("two processes", f"not run: {torch.cuda.device_count()} GPUs here")
    ends = []
    for count in (1, 2):
        out = folder / f"{count}"
        words = ["train-supernet", "--space", "mbv3-tiny", "--epochs", str(scale.epochs), "--nproc", str(count)]
        subprocess.run(
            [sys.executable, "-m", "cli", *words, "--device", "cuda", "--out", str(out), "--quiet"], check=True
        )
        evaluated = [line for line in (out / "metrics.jsonl").read_text().splitlines() if "largest" in line]
        ends.append(evaluated[-1])
    return Line("two processes", f"one: {ends[0]}; two: {ends[1]}")


def run_checks(device: str, scale: Scale, folder: Path) -> Iterator[Line]:
    """All lines, in order."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    dataset = open_dataset("embedded")
    yield compare_losses(device, scale, dataset)
    yield resume(device, scale, dataset, folder)
    yield from time_steps(device, scale)
    yield compare_memory(device, scale, dataset)
    yield compare_processes(scale, folder)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a few steps of the smallest space")
    given = parser.parse_args(argv)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here; --device cpu --small tries the checks themselves", file=sys.stderr)
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for line in run_checks(given.device, SMALL if given.small else FULL, Path(folder)):
            mark = "" if line.holds is None else "ok   " if line.holds else "FAIL "
            print(f"{mark}{line.name}: {line.figure}", flush=True)
            failed += line.holds is False
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

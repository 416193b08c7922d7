"""Latencies of this machine: one core, ONNX Runtime, networks of the presets and published ones with random weights."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from _networks import Measured, network

from nas.export.onnx import export_onnx, load_onnx
from nas.quantize import quantize
from predictors.costs import Floats, op_features
from search_spaces import PRESETS
from search_spaces.ops import trace

if TYPE_CHECKING:
    from torch import nn

DESCRIPTION = "one x86-64 core (AVX-512 VNNI)"
PER_PRESET = 8
PUBLISHED = (
    ("mobilenet_v1", 0.25, 128), ("mobilenet_v1", 0.5, 160), ("mobilenet_v1", 0.75, 192), ("mobilenet_v2", 0.35, 96),
    ("mobilenet_v2", 0.5, 224), ("mobilenet_v2", 0.75, 160), ("mobilenet_v2", 1.0, 192),
    ("mobilenet_v3_small", 1.0, 160),
)  # fmt: skip
ROUNDS, WARM_UP, SECONDS = 6, 2, 0.12


@dataclass(frozen=True)
class _Case:
    name: str
    family: str
    model: nn.Module
    in_chans: int
    resolution: int


def runtime() -> str:
    """As the target file names it."""
    import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}, 1 thread, int8 with uint8 activations"


def cases(seed: int = 0) -> Iterator[_Case]:
    """Random architectures of every preset, all resolutions in turn, and published networks."""
    for space in PRESETS.values():
        vectors = space.sample(np.random.default_rng(seed), PER_PRESET)
        column = space.index["resolution"]
        vectors[:, column] = np.arange(PER_PRESET) % space.cardinality[column]
        for architecture in map(space.decode, vectors):
            model = space.build(architecture, num_classes=1000 if architecture.resolution > 64 else 10, in_chans=3)
            name = f"{space.name} {architecture.id}"
            yield _Case(name, space.name, model.eval(), 3, architecture.resolution)
    for family, width, resolution in PUBLISHED:
        yield _Case(f"{family} {width:g} {resolution}", family[:12], network(family, width), 3, resolution)


def _features(case: _Case) -> Floats:
    model = copy.deepcopy(case.model).to("meta")
    return op_features(trace(model, case.in_chans, case.resolution), sum(p.numel() for p in model.parameters()))


def _export_fp32(case: _Case, path: Path) -> None:
    import torch

    image = torch.zeros(1, case.in_chans, case.resolution, case.resolution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is ten times as quick, and announced as such
        torch.onnx.export(case.model, (image,), path, dynamo=False)


def _export_int8(case: _Case, path: Path) -> None:
    """Ranges of random images: the integers differ from a trained network's, their number does not."""
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, case.in_chans, case.resolution, case.resolution, generator=generator)
    export_onnx(quantize(case.model, images), path, {}, uint8=True)


EXPORT = {"fp32": _export_fp32, "int8": _export_int8}


def _time(session: Any, case: _Case) -> list[float]:
    """Milliseconds of runs for ``SECONDS`` after a warm-up, by this thread's clock, which stops while others run."""
    (argument,) = session.get_inputs()
    shape = (1, case.in_chans, case.resolution, case.resolution)
    feed = {argument.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    for _ in range(WARM_UP):
        session.run(None, feed)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        start = time.thread_time()
        session.run(None, feed)
        times.append((time.thread_time() - start) * 1e3)
    return times


def measure() -> dict[str, Measured]:
    """By precision: every network's median in the quietest of ``ROUNDS`` rounds, which visit all networks in turn.

    A core shares its caches and often its arithmetic units with others, so a busy moment slows every run of a network.
    """
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    chosen = list(cases())
    features = np.stack([_features(case) for case in chosen])
    results = {}
    for precision, export in EXPORT.items():
        sessions = []
        with TemporaryDirectory() as folder:
            for case in chosen:
                path = Path(folder) / "network.onnx"
                export(case, path)
                sessions.append(load_onnx(path, threads=1).session)
        rounds = [
            [np.median(_time(session, case)) for session, case in zip(sessions, chosen, strict=True)]
            for _ in range(ROUNDS)
        ]
        ms = np.min(rounds, axis=0)
        results[precision] = Measured([c.name for c in chosen], [c.family for c in chosen], features, ms)
    return results

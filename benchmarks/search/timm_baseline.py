"""Subnets of a searched front against timm's own small networks, as int8 files on this machine.

    python -m benchmarks.search.timm_baseline RUN [--models NAME ...] [--out DIR]

The networks of timm train on the run's data set with its recipe, for as many steps as its supernet, from random
weights, and are calibrated and quantized the same way. Every network becomes an int8 ONNX file for this machine, whose
accuracy on the test split and whose latency (one thread, processor time, files interleaved) are measured. Members of
the front come from the run's search for ``host`` (``nas search --target host``); their files are of the shared weights.

Trained networks are kept in ``--out``, so that a stopped command continues. Writes ``baseline.svg`` there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.support.cells import train_model
from nas.candidates.candidate import Candidate
from nas.candidates.ship import ship
from nas.data.batches import calibration_images
from nas.export.folder import run_file
from nas.export.manifest import open_model
from nas.quantization.quantize import QuantizedModel, quantize
from nas.report.draw.chart import chart, x_scale, y_scale
from nas.report.draw.marks import Key, point
from nas.report.draw.markup import svg_file, tag
from nas.report.draw.palette import COLOURS
from nas.runtimes.runtime import Exported
from nas.runtimes.table import write_model
from nas.runtimes.timing import latencies_ms
from nas.store.files import write_json
from nas.store.run import Run
from nas.training.config import TrainConfig, total_steps
from nas.workflows.resolve import read_search
from nas.workflows.trained import Trained, open_trained
from predictors.targets.target import load_target
from search_spaces.builders.timm_compat import timm

MODELS = ("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv2_035", "mobilenetv2_050", "lcnet_035")
HOST = load_target("host")
ROUNDS = 200


def of_front(trained: Trained) -> dict[str, tuple[QuantizedModel, int]]:
    """Quantized members of the front for this machine, by id, with the side of their images."""
    found = {}
    for member in read_search(trained.run, "host").front:
        candidate = Candidate(member.architecture, member.precision)
        shipped = ship(trained.net, trained.dataset, candidate, trained.calibration)
        assert isinstance(shipped.run, QuantizedModel), "search in int8"
        found[member.id] = (shipped.run, candidate.architecture.resolution)
    return found


def of_timm(trained: Trained, name: str, folder: Path) -> tuple[QuantizedModel, int]:
    """A network of timm, trained like the supernet and quantized like a subnet."""
    config, info = TrainConfig(**trained.run.read().config), trained.dataset.info
    steps, side = total_steps(config, info.counts["train"]), trained.space.largest.resolution
    torch.manual_seed(config.seed)
    model = timm.create_model(name, num_classes=len(info.classes), in_chans=info.in_chans)
    path = folder / f"{name}-{steps}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        model, _, spent = train_model(model, side, config, steps)
        torch.save(model.state_dict(), path)
        write_json(path.with_suffix(".json"), {"seconds": spent, "steps": steps})
    return quantize(model.eval(), calibration_images(trained.dataset, side), rules=trained.rules), side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-baseline"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    trained = open_trained(Run(given.run))
    networks = of_front(trained) | {name: of_timm(trained, name, given.out) for name in given.models}
    channels = trained.dataset.info.in_chans
    files: dict[str, tuple[Exported, int]] = {}
    for name, (network, side) in networks.items():
        path = given.out / f"{name}.onnx"
        write_model("onnx", network, (channels, side, side), path, {}, HOST.model)
        files[name] = (open_model(path), side)
    milliseconds = latencies_ms({n: (file, (channels, side, side)) for n, (file, side) in files.items()}, ROUNDS)
    rows = []
    for name, (model, side) in files.items():
        found = run_file(model, trained.dataset, "test", side)
        size = sum(layer.weight.numel() for layer in networks[name][0].layers.values())
        rows.append({"name": name, "accuracy": found.value, "interval": found.interval(), "ms": milliseconds[name],
                     "weights": size, "timm": name in given.models})  # fmt: skip
    rows.sort(key=lambda row: row["ms"])
    print("| network | test, % | latency, ms | weights |\n|---|---|---|---|")
    for row in rows:
        name = row["name"] if row["timm"] else f"**{row['name']}**"
        print(f"| {name} | {100 * row['accuracy']:.2f} | {row['ms']:.4f} | {row['weights']:,} |")
    write_json(given.out / "baseline.json", rows)
    (given.out / "baseline.svg").write_bytes(plot(rows))


def plot(rows: list[dict[str, Any]]) -> bytes:
    """Accuracy against latency as an SVG."""
    x, y = x_scale([row["ms"] for row in rows]), y_scale([100 * v for row in rows for v in row["interval"]])
    keys, marks = [Key("subnets", COLOURS[0], "circle"), Key("timm", COLOURS[1], "square")], []
    for row in rows:
        a, b = x(row["ms"]), y(100 * row["accuracy"])
        low, high = (y(100 * v) for v in row["interval"])
        key = keys[int(row["timm"])]
        marks.append(tag("line", x1=a, x2=a, y1=low, y2=high, stroke=key.colour, stroke_opacity="0.4", stroke_width=2))
        marks.append(point(key.shape, a, b, key.colour, tip=row["name"]))
    names = ("latency of the int8 file, ms", "accuracy, %")
    return svg_file(chart("Subnets and timm's networks on this machine", "baseline.svg", x, y, names, marks, keys))


if __name__ == "__main__":
    main()

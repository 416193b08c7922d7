"""Exported files in their runtimes, against the simulator and against float files.

    python -m benchmarks.quantization.exports run runs/demo  # the members of a run's last front
    python -m benchmarks.quantization.exports model mobilenetv3_large_100  # latency alone: a timm model, random weights

Every network becomes four files: ONNX and ExecuTorch, quantized and float. All run on one thread of this machine.

Accuracy is that of the same test images in each. Logits of a quantized network are integers times a real unit for each
class; *equal* is the share of those integers that the runtime and the simulator have in common, *LSB* the mean
difference, in steps of an int8 grid over the range of all logits. Latency is the median processor time of one image,
the four files taking turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.candidates.candidate import Candidate
from nas.candidates.ship import ship
from nas.data.batches import eval_batches
from nas.quantization.operators import source_of
from nas.quantization.quantize import QuantizedModel, quantize
from nas.runtimes.runtime import Exported
from nas.runtimes.table import get_runtime, write_model
from nas.runtimes.timing import latencies_ms
from nas.store.run import Run
from nas.workflows.resolve import read_search
from nas.workflows.trained import open_trained, same_weights
from search_spaces.builders.timm_compat import timm
from search_spaces.policy import INT8

Floats = NDArray[np.floating]
_SIDE = 224


@dataclass(frozen=True)
class Files:
    """Opened files of one network, by ``onnx`` and ``pte``."""

    quantized: Mapping[str, Exported]
    float32: Mapping[str, Exported]


def write(quantized: QuantizedModel, model: nn.Module, folder: Path) -> Files:
    """Export and open; 45 seconds a file for ExecuTorch."""
    shape, opened = quantized.image_shape, {}
    networks: dict[str, QuantizedModel | nn.Module] = {"int8": quantized, "fp32": model}
    for name, network in networks.items():
        onnx, pte = folder / f"{name}.onnx", folder / f"{name}.pte"
        write_model("onnx", network, shape, onnx, {}, "onnx-uint8")
        write_model("executorch", network, shape, pte, {}, None)
        opened[name] = {"onnx": get_runtime("onnx").open(onnx), "pte": get_runtime("executorch").open(pte)}
    return Files(opened["int8"], opened["fp32"])


def units(quantized: QuantizedModel) -> Floats:
    """Real value of 1 in each logit: of the last layer's accumulators, or of the grid of the last result."""
    node = source_of(quantized.graph.graph.output_node())
    if node.name in quantized.activations:
        return np.array(quantized.activations[node.name].scale)
    if node.name not in quantized.layers:
        raise SystemExit("the logits of this network are floats: its last layer is not quantized")
    scale = quantized.activations[source_of(node).name].scale
    return (quantized.layers[node.name].weight_scale.double() * scale).numpy()


def agreement(found: Floats, simulated: Floats, unit: Floats) -> tuple[float, float]:
    """Share of equal integers, and the mean difference in LSB."""
    equal = np.rint(found / unit) == np.rint(simulated / unit)
    lsb = (simulated.max() - simulated.min()) / 255
    return float(equal.mean()), float(np.abs(found - simulated).mean() / lsb)


def show_latencies(files: Files, image_shape: tuple[int, int, int], runs: int) -> None:
    models = {f"{name} int8": model for name, model in files.quantized.items()}
    models |= {f"{name} fp32": model for name, model in files.float32.items()}
    found = latencies_ms({name: (model, image_shape) for name, model in models.items()}, runs)
    for name in ("onnx", "pte"):
        quantized, real = found[f"{name} int8"], found[f"{name} fp32"]
        print(f"  {name:<4} fp32 {real:7.3f} ms, int8 {quantized:7.3f} ms, ratio {real / quantized:.2f}", flush=True)


def on_run(arguments: argparse.Namespace) -> None:
    run = Run(arguments.folder)
    result = read_search(run, arguments.target)
    trained = open_trained(run, result.settings.calibration_images)
    same_weights(trained, result)
    front = result.front
    count = min(arguments.members or len(front), len(front))
    for member in (front[i] for i in np.linspace(0, len(front) - 1, count).round().astype(int)):
        candidate = Candidate(member.architecture, member.precision)
        if not candidate.policy.quantized:
            candidate = replace(candidate, precision=INT8)
        resolution = candidate.architecture.resolution
        shipped = ship(trained.net, trained.dataset, candidate, trained.calibration)
        assert isinstance(shipped.run, QuantizedModel)
        batches = list(islice(eval_batches(trained.dataset, "test", resolution, 100), arguments.images // 100))
        images, labels = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
        with tempfile.TemporaryDirectory() as folder:
            files = write(shipped.run, shipped.model, Path(folder))
        simulated = shipped.run(images).numpy()
        with torch.inference_mode():
            real = shipped.model(images).numpy()
        table = (
            f"table {100 * member['test']['value']:.2f} % on all, " if candidate.precision == member.precision else ""
        )
        print(f"{candidate.id}: {len(labels)} test images; {table}fp32 {share(real, labels):.2f} %, "
              f"simulator {share(simulated, labels):.2f} %")  # fmt: skip
        for name, model in files.quantized.items():
            found = model(images)
            equal, lsb = agreement(found, simulated, units(shipped.run))
            print(f"  {name:<4} accuracy {share(found, labels):.2f} %, equal {100 * equal:.2f} %, {lsb:.5f} LSB")
        show_latencies(files, shipped.run.image_shape, arguments.runs)


def share(logits: Floats, labels: Tensor) -> float:
    """Correct answers in per cent."""
    return 100 * float((logits.argmax(1) == labels.numpy()).mean())


def on_model(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    model = timm.create_model(arguments.name, num_classes=arguments.classes).eval()
    images = torch.randn(8, 3, arguments.side, arguments.side)
    quantized = quantize(model, images)
    with tempfile.TemporaryDirectory() as folder:
        files = write(quantized, model, Path(folder))
    print(f"{arguments.name} at {arguments.side} px, {arguments.classes} classes")
    show_latencies(files, quantized.image_shape, arguments.runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="images of a latency")
    commands = parser.add_subparsers(required=True)
    of_run = commands.add_parser("run")
    of_run.add_argument("folder", type=Path)
    of_run.add_argument("--target", help="whose front; the last search's")
    of_run.add_argument("--images", type=int, default=1000, help="of the test split, in hundreds")
    of_run.add_argument("--members", type=int, help="of the front, evenly over it; all")
    of_run.set_defaults(call=on_run)
    of_model = commands.add_parser("model")
    of_model.add_argument("name")
    of_model.add_argument("--side", type=int, default=_SIDE)
    of_model.add_argument("--classes", type=int, default=1000)
    of_model.set_defaults(call=on_model)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.call(arguments)


if __name__ == "__main__":
    main()

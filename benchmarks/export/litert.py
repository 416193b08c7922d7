"""LiteRT files against the simulator and against other runtimes: equal logits, bytes, processor time.

    python -m benchmarks.export.litert [--networks mobilenetv2_100,...] [--size 224] [--images 8]

Networks of timm, or the largest ones of presets, with random weights, whose batch norm and grids are those of images of
noise. "Equal" is the share of logits that are the simulator's to the bit, "apart" the largest difference as a share of
the logits' range; float files are compared with PyTorch. Times are medians of one thread's processor time of one image;
the files of a network take turns. Runtimes that are not installed are left out. Without VNNI, onnxruntime's sums of
unsigned integers saturate: its int8 logits then mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from nas.candidates.calibrate import calibrate
from nas.quantization.quantize import quantize
from nas.runtimes.table import RUNTIMES, file_name, get_runtime, write_model
from nas.runtimes.timing import latencies_ms
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.presets import PRESETS

if TYPE_CHECKING:
    from nas.runtimes.runtime import Exported, ImageShape

NETWORKS = "mobilenetv2_100,mobilenetv3_large_100,mobilenetv4_conv_small,efficientnet_lite0,resnet18"
_HERE = "onnx-uint8"  # what onnxruntime is fast with on x86


def network(name: str, images: torch.Tensor) -> nn.Module:
    """A network of timm, or the largest one of a preset, in eval mode, whose batch norm knows the images."""
    torch.manual_seed(0)
    model: nn.Module
    if name in PRESETS:
        space = get_space(name)
        model = space.build(space.largest, Interface(3, 1000)).eval()
    else:
        model = timm.create_model(name).eval()
    calibrate(model, images)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--size", type=int, default=224, help="of images, in pixels")
    parser.add_argument("--images", type=int, default=8)
    given = parser.parse_args()
    forms = [name for name, entry in RUNTIMES.items() if all(map(importlib.util.find_spec, entry.packages))]
    shape: ImageShape = (3, given.size, given.size)
    images = torch.randn(given.images, *shape, generator=torch.Generator().manual_seed(0))
    table = Table("network", "file", "equal, %", "apart, %", "bytes", "ms")
    for name in given.networks.split(","):
        model = network(name, images)
        quantized = quantize(model, images)
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            wanted = {"int8": quantized(images).numpy(), "fp32": model(images).numpy()}
            opened: dict[str, tuple[Exported, ImageShape]] = {}
            rows = []
            for form in forms:
                for precision, written in (("int8", quantized), ("fp32", model)):
                    path = Path(folder, f"{form}-{file_name(form, precision)}")
                    write_model(form, written, shape, path, {}, _HERE)
                    label = f"{form} {precision}"
                    exported = get_runtime(form).open(path)
                    opened[label] = exported, shape
                    far = np.abs(exported(images) - wanted[precision])
                    equal, apart = 100 * (far == 0).mean(), 100 * far.max() / np.ptp(wanted[precision])
                    rows.append((label, f"{equal:.2f}", f"{apart:.3g}", f"{path.stat().st_size:,}"))
                    if exported.remark:
                        print(f"{name}, {label}: {exported.remark}")
            times = latencies_ms(opened)
            for label, *figures in rows:
                table.add_row(name, label, *figures, f"{times[label]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

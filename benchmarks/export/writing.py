"""How long ONNX files take to write: from the captured graph, and by PyTorch's exporter.

    python -m benchmarks.export.writing [--space mbv3-tiny] [--size 32]

Processor time of one file of the smallest and the largest subnet, int8 and float, after one that isn't counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table

from nas.candidates.calibrate import calibrate
from nas.quantization.decomposed import decompose
from nas.quantization.quantize import quantize
from nas.runtimes.onnx_export import by_torch, export_model
from nas.runtimes.table import dialect_for
from search_spaces import get_space
from search_spaces.architecture import Interface

if TYPE_CHECKING:
    from nas.runtimes.runtime import Network


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mbv3-tiny")
    parser.add_argument("--size", type=int, default=32, help="of images, in pixels")
    chosen = parser.parse_args()
    space, shape, dialect = get_space(chosen.space), (3, chosen.size, chosen.size), dialect_for("onnx", None)
    table = Table("network", "precision", "from the graph, s", "by PyTorch, s")
    warm = True
    for name, architecture in (("smallest", space.smallest), ("largest", space.largest)):
        model = space.build(architecture, Interface(3, 10)).eval()
        images = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
        calibrate(model, images)
        quantized = quantize(model, images)
        for precision, form, plain in (("int8", quantized, decompose(quantized, dialect)), ("fp32", model, model)):

            def own(form: Network = form) -> object:
                return export_model(form, shape, dialect)

            def torchs(plain: torch.nn.Module = plain) -> object:
                with torch.no_grad():
                    return by_torch(plain, shape, None)

            if warm:
                own(), torchs()
                warm = False
            table.add_row(name, precision, f"{seconds(own):.2f}", f"{seconds(torchs):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

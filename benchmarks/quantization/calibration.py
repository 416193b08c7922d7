"""Time and accuracy of batch-norm calibration. One command: ``python -m benchmarks.quantization.calibration``.

The largest subnet of a space (by default MobileNetV3-Large) is calibrated on the same random images in several ways,
in turn, and the quickest round counts; a plain pass in eval mode stands beside them, the least there could be. Errors
are those against one batch of all images: of a mean in standard deviations, of a variance relative. The weights are
random, and so are the norms' (0.5 to 1.5), so that layers differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.candidates.calibrate import calibrate
from nas.store.results import CALIBRATION_IMAGES
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface

Statistics = dict[str, Tensor]


@torch.no_grad()
def plain(model: nn.Module, images: Tensor) -> None:
    """As torch has it: batches of 64 as they lie in memory, the mean of the batches' statistics."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in images.split(64):
        model(batch)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()


def bf16(model: nn.Module, images: Tensor) -> None:
    """As it is, in a smaller type."""
    with torch.autocast("cpu", torch.bfloat16):
        calibrate(model, images)


@torch.no_grad()
def passed(model: nn.Module, images: Tensor) -> None:
    """Calibrates nothing."""
    for batch in images.split(32):
        model(batch.contiguous(memory_format=torch.channels_last))


WAYS: dict[str, Callable[[nn.Module, Tensor], None]] = {
    "plain": plain,
    "calibrate": calibrate,
    "calibrate, batches of 128": lambda model, images: calibrate(model, images, 128),
    "calibrate, batches of 64": lambda model, images: calibrate(model, images, 64),
    "calibrate, bf16": bf16,
    "eval pass": passed,
}


def statistics(model: nn.Module) -> Statistics:
    """Running means and variances by name."""
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


def errors(found: Statistics, exact: Statistics) -> tuple[Tensor, Tensor]:
    """Of all means, in standard deviations, and of all variances, relative; one number a channel."""
    means, variances = [], []
    for name, variance in exact.items():
        if name.endswith("running_var"):
            mean = name.replace("running_var", "running_mean")
            means.append((found[mean] - exact[mean]).abs() / variance.sqrt().clamp(min=1e-12))
            variances.append((found[name] - variance).abs() / variance.clamp(min=1e-12))
    return torch.cat(means), torch.cat(variances)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="timm:mobilenetv3_large_100")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--images", type=int, default=CALIBRATION_IMAGES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    space = get_space(arguments.space)
    model = Supernet(space, Interface(3, 1000)).extract(space.largest)
    for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    images = torch.randn(arguments.images, 3, arguments.resolution, arguments.resolution)
    calibrate(model, images, len(images))
    exact = statistics(model)
    best = dict.fromkeys(WAYS, (float("inf"), float("inf")))
    found: dict[str, Statistics] = {}
    for _ in range(arguments.rounds):
        for name, way in WAYS.items():
            wall, processor = time.perf_counter(), time.process_time()
            way(model, images)
            times = time.perf_counter() - wall, time.process_time() - processor
            best[name] = min(best[name][0], times[0]), min(best[name][1], times[1])
            found[name] = statistics(model)
    for name, (wall, processor) in best.items():
        mean, variance = errors(found[name], exact)
        print(
            f"{name:<26} {wall:6.2f} s, {processor:6.2f} s processor; error of means {mean.median():.4f} "
            f"(worst {mean.max():.3f}), of variances {variance.median():.4f} (worst {variance.max():.3f})"
        )


if __name__ == "__main__":
    main()

"""Times of training steps, in processor time of one thread.

python -m benchmarks.training.speed overhead     # through the supernet against the same networks alone
python -m benchmarks.training.speed sandwich     # a sandwich step against the ofa package's; depthwise gradients
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.support.results import add_out, write_results
from nas.supernet import depthwise
from nas.supernet.depthwise import speed_up
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training.step import StepInput, run_passes
from nas.training.strategies.base import Pass
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture, Interface

OFA_SPACE, OFA_BLOCKS, OFA_STAGES = "ofa-mbv3-w1.0", 4, 5
# space -> images of a step, and what share of the subnets is taken of it
STEPPED = {
    "mbv3-tiny": (64, 1),
    "mbv3-large": (32, 5),
    "timm:regnety_002:resolution=64": (32, 5),
    "timm:ghostnet_100:resolution=64": (32, 5),
    "timm:resnet18:resolution=64": (16, 5),
    "timm:vit_tiny_patch16_224:resolution=128": (16, 5),
    "timm:swin_tiny_patch4_window7_224:resolution=112": (8, 5),
    "timm:densenet121:resolution=64": (16, 5),
}
_PAIRS = 5
# What the package's networks import but do not use; its last release names one that torch no longer has.
_UNUSED = ("gdown", "yaml", "tqdm", "torchprofile", "torch._six", "horovod", "matplotlib", "sklearn", "torchvision")


def step_ratio(space: SearchSpace, batch: int, subnets: int, seed: int, seen: int = 200) -> dict[str, float]:
    """Time of steps through the supernet and of the same subnets as plain models, their ratio, and its quartiles over
    pairs of steps.

    Both have the faster depthwise gradient. Every subnet is stepped through once in each form before it is timed, so
    that neither pays for first allocations; skeletons are assembled anew, from parts seen before, as in training. What
    the first skeleton of a subnet takes after so many others were ``seen`` is told apart.
    """
    rng = np.random.default_rng(seed)
    net = Supernet(space, Interface(3, 10)).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for vector in space.sample(rng, seen):
        net.skeleton(space.decode(vector))
    shared, alone, unseen = 0.0, 0.0, 0.0
    ratios: list[float] = []
    for vector in space.sample(rng, subnets):
        architecture = space.decode(vector)
        plain = net.extract(architecture).to(memory_format=torch.channels_last).train()
        speed_up(plain)
        side = architecture.resolution
        x = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        y = torch.randint(0, 10, (batch,))
        began = time.thread_time()
        net.skeleton(architecture)
        unseen += time.thread_time() - began
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(_PAIRS + 1):
            net.eval().train()  # forgets its skeletons: an unseen architecture each time
            times[0].append(_step(net.model, lambda a=architecture, x=x: net(x, a), y))  # type: ignore[misc]
            times[1].append(_step(plain, lambda m=plain, x=x: m(x), y))  # type: ignore[misc]
        shared += statistics.median(times[0][1:])
        alone += statistics.median(times[1][1:])
        ratios += [ours / theirs for ours, theirs in zip(times[0][1:], times[1][1:], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    milli = 1e3 / subnets
    found = {"supernet_ms": milli * shared, "standalone_ms": milli * alone, "ratio": shared / alone}
    return found | {"low": low, "high": high, "unseen_ms": milli * unseen}


def _step(model: nn.Module, forward: Callable[[], Tensor], labels: Tensor) -> float:
    began = time.thread_time()
    F.cross_entropy(forward(), labels).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-3)
                parameter.grad = None
    return time.thread_time() - began


def gradient_times(batch: int, repeats: int) -> Iterator[dict[str, Any]]:
    """torch's weight gradient of depthwise convolutions against ours, ms, for shapes that networks have."""
    for kernel in (5, 7):
        for channels, side, stride in ((96, 64, 2), (144, 32, 1), (240, 16, 1), (480, 8, 1), (672, 8, 2), (960, 4, 1)):
            x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
            weight = torch.randn(channels, 1, kernel, kernel)
            strides, padding = (stride, stride), (kernel // 2, kernel // 2)
            grad = torch.randn_like(F.conv2d(x, weight, None, strides, padding, 1, channels))

            def theirs(x=x, w=weight, g=grad, s=strides, p=padding) -> Any:  # type: ignore[no-untyped-def]
                only = (False, True, False)
                return torch.ops.aten.convolution_backward(g, x, w, None, s, p, (1, 1), False, (0, 0), len(w), only)

            def ours(x=x, g=grad, k=kernel, s=strides, p=padding) -> Tensor:  # type: ignore[no-untyped-def]
                return depthwise.weight_gradient(x, g, (k, k), s, p)

            found = _interleaved({"torch_ms": theirs, "ours_ms": ours}, repeats)
            row = {"kernel": kernel, "channels": channels, "side": side, "stride": stride, **found}
            yield row | {"ratio": found["ours_ms"] / found["torch_ms"]}


def _interleaved(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median processor time of each work, ms; one round before is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            began = time.thread_time()
            work()
            times[name].append(1e3 * (time.thread_time() - began))
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def sandwich_times(resolution: int, batch: int, repeats: int, seed: int) -> dict[str, Any]:
    """Median ms of a sandwich step of Once-for-All's space: the package's, ours, and ours with torch's own gradient.

    The largest network learns from labels, the smallest and two random ones from its logits; then one SGD step. All
    three see the same images and architectures, in turn. Without the package its time is None, with the reason.
    """
    space = get_space(OFA_SPACE)
    package, reason = _ofa_network()
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    nets = {name: Supernet(space, Interface(3, 1000), seed) for name in ("ours", "torch_gradient")}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for name, net in nets.items():
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizers[name] = _sgd(net.model)
    if package is not None:
        optimizers["ofa"] = _sgd(package)
    images, labels = torch.randn(batch, 3, resolution, resolution), torch.randint(0, 1000, (batch,))
    times: dict[str, list[float]] = {name: [] for name in optimizers}
    smallest, largest = (_at(a, resolution) for a in (space.smallest, space.largest))
    for _ in range(repeats + 1):
        chosen = [largest, *(_at(space.decode(v), resolution) for v in space.sample(rng, 2)), smallest]
        for name, optimizer in optimizers.items():
            began = time.thread_time()
            if name == "ofa":
                assert package is not None
                _their_passes(package, chosen, images, labels)
            else:
                passes = [Pass(a, "student" if i else "teacher") for i, a in enumerate(chosen)]
                with _torch_gradient(name == "torch_gradient"):
                    run_passes(nets[name], passes, StepInput(images, labels), get_task(), Loss())
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            times[name].append(1e3 * (time.thread_time() - began))
    found: dict[str, Any] = {f"{name}_ms": statistics.median(spent[1:]) for name, spent in times.items()}
    if package is None:
        return found | {"ofa_ms": None, "skipped": reason}
    return found | {"ratio": found["ours_ms"] / found["ofa_ms"]}


def _at(architecture: Architecture, resolution: int) -> Architecture:
    return replace(architecture, genes=tuple({**dict(architecture.genes), "resolution": resolution}.items()))


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=3e-5)


@contextmanager
def _torch_gradient(wanted: bool) -> Iterator[None]:
    """Parts of skeletons that are built inside keep torch's own gradient."""
    kept = depthwise.FASTER_HERE
    depthwise.FASTER_HERE = kept and not wanted
    try:
        yield
    finally:
        depthwise.FASTER_HERE = kept


def _their_passes(net: Any, chosen: list[Architecture], images: Tensor, labels: Tensor) -> None:
    net.train()
    teacher: Tensor | None = None
    for architecture in chosen:
        genes = dict(architecture.genes)
        blocks = [f"s{s}.b{b}" for s in range(1, OFA_STAGES + 1) for b in range(OFA_BLOCKS)]
        net.set_active_subnet(
            ks=[int(genes.get(f"{block}.kernel", 7)) for block in blocks],
            e=[int(genes.get(f"{block}.expand", 6)) for block in blocks],
            d=[int(genes[f"s{s}.depth"]) for s in range(1, OFA_STAGES + 1)],
        )
        logits = net(images)
        if teacher is None:
            F.cross_entropy(logits, labels).backward()
            teacher = logits.detach()
        else:
            F.cross_entropy(logits, teacher.softmax(dim=1)).backward()


def _ofa_network() -> tuple[Any, str]:
    """The package's supernet, or None and why."""
    if importlib.util.find_spec("ofa") is None:
        return None, "the ofa package is not there: pip install --no-deps ofa"
    for name in _UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            stand_in = types.ModuleType(name)
            stand_in.__getattr__ = lambda _name: None  # type: ignore[method-assign]
            sys.modules[name] = stand_in
    try:
        networks = importlib.import_module("ofa.imagenet_classification.elastic_nn.networks")
    except ImportError as error:
        return None, f"the ofa package cannot be imported: {error}"
    return networks.OFAMobileNetV3(
        dropout_rate=0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    ), ""


def overhead(given: argparse.Namespace) -> dict[str, Any]:
    found = {}
    print(f"{'':<40}{'batch':>6}{'supernet, ms':>14}{'alone, ms':>11}{'ratio':>7}  {'quartiles':<14}{'unseen, ms':>10}")
    for name in given.spaces:
        batch, share = STEPPED.get(name, (given.batch_size, 5))
        row = found[name] = step_ratio(get_space(name), batch, max(3, given.subnets // share), given.seed, given.seen)
        print(f"{name:<40}{batch:>6}{row['supernet_ms']:>14.1f}{row['standalone_ms']:>11.1f}{row['ratio']:>7.3f}  "
              f"{row['low']:.3f} to {row['high']:.3f}{row['unseen_ms']:>10.1f}", flush=True)  # fmt: skip
    return found


def sandwich(given: argparse.Namespace) -> dict[str, Any]:
    rows = []
    print("weight gradient of depthwise convolutions, ms")
    for row in gradient_times(given.batch_size, given.repeats):
        rows.append(row)
        print(f"kernel {row['kernel']}, {row['channels']:>4} channels, side {row['side']:>2}, stride {row['stride']}: "
              f"{row['torch_ms']:6.1f} torch, {row['ours_ms']:6.1f} ours, ratio {row['ratio']:.2f}",
              flush=True)  # fmt: skip
    steps = sandwich_times(given.resolution, given.batch_size, given.repeats, given.seed)
    print(f"sandwich step of ofa-mbv3-w1.0, {given.resolution} px, batch {given.batch_size}")
    print(f"ours: {steps['ours_ms']:,.0f} ms; with torch's depthwise gradient: {steps['torch_gradient_ms']:,.0f} ms")
    if steps["ofa_ms"] is None:
        print(f"the ofa package: skipped, {steps['skipped']}")
    else:
        print(f"the ofa package: {steps['ofa_ms']:,.0f} ms; ours is {steps['ratio']:.3f} of it")
    return {"gradients": rows, "sandwich": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="name")
    one = commands.add_parser("overhead")
    one.add_argument("--subnets", type=int, default=30, help="of mbv3-tiny; a fifth of them of the others")
    one.add_argument("--seen", type=int, default=200, help="architectures whose skeletons are assembled before")
    one.add_argument("--spaces", nargs="+", default=list(STEPPED))
    one.add_argument("--batch-size", type=int, default=16, help="of other spaces than those of the default")
    two = commands.add_parser("sandwich")
    two.add_argument("--resolution", type=int, default=128)
    two.add_argument("--batch-size", type=int, default=32)
    two.add_argument("--repeats", type=int, default=5)
    for each in (one, two):
        each.add_argument("--seed", type=int, default=0)
        add_out(each)
    given = parser.parse_args()
    torch.set_num_threads(1)
    write_results(given.name, given, {"overhead": overhead, "sandwich": sandwich}[given.name](given))


if __name__ == "__main__":
    main()

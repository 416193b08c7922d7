"""Which networks of transformers and torchvision become elastic, of any task: tries each of a list, in small sizes.

    python -m benchmarks.spaces.other_models
    python -m benchmarks.spaces.other_models --only transformers.Bert torchvision.swin_t

For each: the largest network is the model to the bit; a random one, on parts of the model's tensors, gives what it
gives rebuilt from its recipe; and the model gives the same with all that was called exchangeable in another order.
"""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

import argparse
import time
import traceback
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.builders.rebuild import rebuild
from search_spaces.genes import GeneSpace
from search_spaces.tracing.copies import all_tensors
from search_spaces.tracing.costs.amounts import read_operators
from search_spaces.tracing.derive import derive_anywhere
from search_spaces.tracing.dimensions.layouts import kept
from search_spaces.tracing.elastic import ElasticModel, Values
from search_spaces.tracing.inputs import Inputs
from search_spaces.tracing.labels import tensors_in
from search_spaces.tracing.recipe import write_recipe

from .other_networks import NAMES, Network, network

BATCH = 2


@dataclass(frozen=True)
class Figures:
    """What was found of a network.

    Attributes:
        least: multiply-accumulates of the smallest network, as a share of the largest's.
        equal: the largest network is the model, to the bit.
        rebuilt: difference between a random network and its rebuilt form, as a share of the largest output.
        permuted: difference that another order makes, as such a share, in double precision.
        seconds: of processor time, of deriving.
    """

    name: str
    widths: int
    depths: int
    least: float
    equal: bool
    rebuilt: float
    permuted: float
    seconds: float


def check(name: str) -> Figures:
    """Figures of one of :data:`benchmarks.spaces.other_networks.NAMES`."""
    wanted = network(name)
    began = time.process_time()
    elastic = derive_anywhere(wanted.build, _inputs(wanted))
    seconds = time.process_time() - began
    model = _filled(wanted)
    given = _inputs(wanted, BATCH)
    with torch.no_grad():
        whole = _run(model, given)
        equal = all(map(torch.equal, _run(_lend(elastic, model, {}), given), whole))
        space = GeneSpace("random", elastic.genes)
        (vector,) = space.sample(np.random.default_rng(0), 1)
        values = dict(space.decode(vector).genes)
        again = wanted.build().eval()
        source = all_tensors(model)
        state = {cut.name: cut.take(source[cut.name]).clone() for cut in elastic.cuts(values)}
        small = rebuild(again, write_recipe(elastic.recipe(values)), state)
        rebuilt = _difference(_run(_lend(elastic, model, values), given), _run(small, given))
        permuted = _permuted(elastic, model.double(), given)
    macs, _ = read_operators(elastic).evaluate({g: np.array([n, _last(elastic, g)]) for g, n in _smallest(elastic)})
    depths, widths = len(elastic.depths), len(elastic.widths)
    return Figures(name, widths, depths, float(macs[0] / macs[1]), equal, rebuilt, permuted, seconds)


def _smallest(elastic: ElasticModel) -> list[tuple[str, int]]:
    return [(gene, int(choice)) for gene, choice in elastic.smallest().items()]


def _last(elastic: ElasticModel, name: str) -> int:
    return next(int(gene.choices[-1]) for gene in elastic.genes if gene.name == name)


def _inputs(wanted: Network, batch: int = 1) -> Inputs:
    """Inputs of the network; random ones where there are several."""
    generator = torch.Generator().manual_seed(0)

    def values(x: Tensor) -> Tensor:
        shape = (batch, *x.shape[1:])
        if batch == 1:
            return x
        if x.any():  # a mask
            return x.expand(shape)
        if x.dtype == torch.long:
            return torch.randint(3, 100, shape, generator=generator)
        return torch.randn(shape, generator=generator)

    image = () if wanted.image is None else (values(wanted.image),)
    return Inputs(image, {name: values(x) for name, x in wanted.inputs.items()})


def _filled(wanted: Network) -> nn.Module:
    """The model in eval mode, with norms and biases that aren't 0 and 1, and no classifier of zeros."""
    torch.manual_seed(0)
    model = wanted.build().eval()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and (tensor.ndim == 1 or not tensor.any()):
            noise = torch.rand(tensor.shape)
            tensor.copy_(noise + 0.5 if name.endswith(("running_var", "weight")) else 0.5 * (noise - 0.5))
    return model


def _run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    return [each for each in tensors_in(model(*inputs.positional, **inputs.named)) if each.is_floating_point()]


def _difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    pairs = list(zip(ours, theirs, strict=True))
    return max(float((one - other).abs().max()) for one, other in pairs) / max(float(x.abs().max()) for x in theirs)


def _lend(elastic: ElasticModel, model: nn.Module, values: Values) -> nn.Module:
    """The network of a choice on parts of the model's tensors."""
    skeleton, source = elastic.build(values), all_tensors(model)
    parts = {cut.name: cut.take(source[cut.name]) for cut in elastic.cuts(values)}
    for path, module in skeleton.named_modules():
        for table in (module._parameters, module._buffers):
            for key in table:
                if (part := parts.get(f"{path}.{key}".lstrip("."))) is not None:
                    table[key] = part
    return skeleton.eval()


def _permuted(elastic: ElasticModel, model: nn.Module, given: Inputs) -> float:
    """What changes where the things of all axes are in another order, in all tensors."""

    def double(x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    inputs = Inputs(tuple(map(double, given.positional)), {name: double(x) for name, x in given.named.items()})
    before = _run(model, inputs)
    rng, axes = np.random.default_rng(0), elastic.trace.axes
    orders = {n: rng.permutation(axis.size) for n, axis in axes.items() if not axis.ordered and not axis.kernel}
    source = all_tensors(model)
    for name, layouts in elastic.trace.tensors.items():
        for d, layout in enumerate(layouts):
            source[name].copy_(source[name].index_select(d, torch.from_numpy(kept(layout, {}, orders))))
    return _difference(_run(model, inputs), before)


def row(found: Figures) -> str:
    """A line of the table."""
    largest = "equal" if found.equal else "NOT equal"
    genes = f"{found.widths} | {found.depths} | {100 * found.least:.0f} %"
    return f"| {found.name} | {genes} | {largest} | {found.rebuilt:.0e} | {found.permuted:.0e} | {found.seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=NAMES, help="some of the names")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | widths | depths | MACs at least | largest | rebuilt | another order | derived, s of processor |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.only:
        try:
            print(row(check(name)), flush=True)
        except Exception as error:  # of one network; the others are tried
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).splitlines()[:1]
            print(f"| {name} | failed: {type(error).__name__}: {text} ({place.filename}:{place.lineno}) |", flush=True)


if __name__ == "__main__":
    main()

"""Which timm models become a supernet: walks ``timm.list_models()`` and tries every name.

    python -m benchmarks.spaces.timm_models --jobs 2 --out results/timm_models.json --list docs/timm-models.md
    python -m benchmarks.spaces.timm_models --classes    # one name of each class: that of the fewest parameters

For a name to count, the space ``timm:NAME`` must give a supernet whose largest subnet is the plain model (equal output
for equal weights), whose smallest runs, and whose random one equals its extraction. Models above ``--limit`` million
parameters are checked by shape only: every tensor of five random subnets is a slice of the supernet's.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.supernet.borrow import named_shapes, plan
from nas.supernet.supernet import Supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.errors import UserError

CLASSES = 10


def check(name: str, limit: float) -> dict[str, Any]:
    """Result of one name: ``status`` (ran, shapes, unsupported or failed), ``why``, class, parameters, subnets."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began = time.monotonic()
    found: dict[str, Any] = {"name": name}
    try:
        space = get_space(f"timm:{name}")
        found |= {"family": type(space.family).__name__, "subnets": space.size, "genes": len(space.genes)}
        found["parameters"] = sum(
            p.numel() for p in space.build(space.largest, Interface(3, CLASSES), "meta").parameters()
        )
        if found["parameters"] > limit * 1e6:
            _check_shapes(space)
            found["status"] = "shapes"
        else:
            _check_outputs(space)
            found["status"] = "ran"
    except UserError as error:
        found |= {"status": "unsupported", "why": str(error)}
    except Exception as error:
        found |= {"status": "failed", "why": f"{type(error).__name__}: {error}".splitlines()[0]}
    return found | {"seconds": round(time.monotonic() - began, 1)}


def _random(space: SearchSpace, number: int) -> list[Architecture]:
    return [space.decode(v) for v in space.sample(np.random.default_rng(0), number)]


def _check_shapes(space: SearchSpace) -> None:
    largest = dict(space.build(space.largest, Interface(3, CLASSES), "meta").state_dict())
    plain = timm.create_model(space.timm_name, num_classes=CLASSES, device="meta").state_dict()
    assert {n: t.shape for n, t in largest.items()} == {n: t.shape for n, t in plain.items()}
    for architecture in (space.smallest, *_random(space, 5)):
        shapes = named_shapes(space.build(architecture, Interface(3, CLASSES), "meta"))
        plan(largest, shapes, space.family.packed, space.family.pieces(architecture, Interface(3, CLASSES)))


@torch.no_grad()
def _check_outputs(space: SearchSpace) -> None:
    net = Supernet(space, Interface(3, CLASSES)).eval()
    plain = timm.create_model(space.timm_name, num_classes=CLASSES).eval()
    plain.load_state_dict(net.model.state_dict())
    own = plain.pretrained_cfg["input_size"][-1]
    x = torch.randn(1, 3, own, own)
    assert torch.equal(net(x, space.largest), plain(x)), "the largest subnet is not the model"
    assert torch.isfinite(_run(net, space.smallest)).all(), "the smallest subnet does not give finite logits"
    for architecture in _random(space, 1):
        extracted = net.extract(architecture)
        side = architecture.resolution
        x = torch.randn(1, 3, side, side)
        assert torch.equal(net(x, architecture), extracted(x)), "a subnet is not its extraction"


def _run(net: Supernet, architecture: Architecture) -> torch.Tensor:
    logits: torch.Tensor = net(torch.randn(1, 3, architecture.resolution, architecture.resolution), architecture)
    return logits


def markdown(results: list[dict[str, Any]]) -> str:
    """The list for the documentation."""
    works = [r for r in results if r["status"] in ("ran", "shapes")]
    rest = Counter(_reason(r["why"]) for r in results if r["status"] == "unsupported")
    lines = [
        "# timm models that become a supernet",
        "",
        f"With timm {timm.__version__}, `--space timm:NAME` works for {len(works)} of {len(results)} model names. "
        "Every other name gives an error that says why. Made by `benchmarks/spaces/timm_models.py`, which checks that "
        "the largest subnet is the plain model, that the smallest runs, and that a random one equals its extraction. "
        "Models marked * are large and were checked by the shapes of their tensors only.",
        "",
    ]
    for family in sorted({r["family"] for r in works}):
        mine = [r for r in works if r["family"] == family]
        names = ", ".join(r["name"] + ("*" if r["status"] == "shapes" else "") for r in mine)
        lines += [f"## {family.removesuffix('Family')} ({len(mine)})", "", names, ""]
    lines += ["## Not supported", "", "| names | why |", "|---|---|"]
    lines += [f"| {count} | {reason} |" for reason, count in rest.most_common()]
    return "\n".join(lines) + "\n"


def _reason(text: str) -> str:
    return text.split("not supported because ", 1)[-1]


def smallest_of_each_class(names: list[str]) -> list[str]:
    """The name of the fewest parameters of every class."""
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        with NoInit():
            model = timm.create_model(name, device="meta")
        size = sum(parameter.numel() for parameter in model.parameters())
        kind = type(model).__name__
        found[kind] = min(found.get(kind, (size, name)), (size, name))
    return sorted(name for _, name in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="timm's wildcard, like 'resnet*'")
    parser.add_argument("--limit", type=float, default=100, help="millions of parameters that are still run")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--list", type=Path, help="Markdown")
    parser.add_argument("--classes", action="store_true", help="one name of each class alone")
    arguments = parser.parse_args()
    names = timm.list_models(arguments.filter)
    if arguments.classes:
        names = smallest_of_each_class(names)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(check, names, [arguments.limit] * len(names), chunksize=4))
    for result in results:
        if result["status"] == "failed":
            print(f"FAILED {result['name']}: {result['why']}")
    print(dict(Counter(r["status"] for r in results)), f"{sum(r['seconds'] for r in results):.0f} s")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1))
    if arguments.list:
        arguments.list.write_text(markdown(results))


if __name__ == "__main__":
    main()

"""A bundle: the files of chosen networks, a runner that times them on any device, and what it needs to be understood.

The folder needs nothing of this project where it is run; ``manifest.json`` says which network each file is, so that
its results become a target here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from nas.runtimes.runtime import pip_arguments
from nas.runtimes.table import PROFILED, check_packages, get_runtime
from nas.store.bundles import BundleFile, BundleManifest, BundleNetwork, Plan
from nas.store.files import atomic_write, write_json
from nas.store.hints import hint
from nas.store.seeds import stream
from nas.store.versions import libraries
from predictors.costs.network import operator_rows
from predictors.costs.tables import CostTables
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.genes import Floats
from search_spaces.policy import FLOAT
from search_spaces.schema import Json, read_content, to_json

from . import runner as profile_runner
from .choose import choose
from .runner import COMPRESSED, MANIFEST

FIT, CHECK = "fit", "check"
LEAST_FIT, LEAST_CHECK = 8, 4
RUNNER, README = "run.py", "README.md"

Report = Callable[[int, int, str], None]


def operators_of(network: BundleNetwork) -> Floats:
    """Operators of a network, ``[ops, features]``."""
    from search_spaces.operators.trace import trace

    part, architecture = network.part, network.architecture
    model = get_space(part.space).build(architecture, part.interface, "meta")
    return operator_rows(trace(model.eval(), part.in_chans, architecture.resolution))


def check_plan(plan: Plan) -> None:
    """Raises UsageError for a plan that no target can come of."""
    among = "" if len(plan.parts) == 1 else f" ({', '.join(part.space for part in plan.parts)})"
    if plan.fit < LEAST_FIT * len(plan.parts):
        raise UsageError(
            f"`networks` {plan.fit}: a fit needs {LEAST_FIT} or more of each space{among}; 20 to 40 are usual"
        )
    if plan.check < LEAST_CHECK * len(plan.parts):
        raise UsageError(f"`held_out` {plan.check}: {LEAST_CHECK} or more of each space{among} judge the fit")


def members(plan: Plan) -> list[BundleNetwork]:
    """The networks of a plan, without files yet; the same plan gives the same ones."""
    networks: list[BundleNetwork] = []
    for i, part in enumerate(plan.parts):
        space = get_space(part.space)
        tables = CostTables(space, part.interface)
        share = [total // len(plan.parts) + (i < total % len(plan.parts)) for total in (plan.fit, plan.check)]
        chosen = [space.decode(v) for v in choose(tables, share[0], plan.precisions[-1], plan.seed)]
        others = _random(space, plan.seed, set(chosen), share[1])
        for use, architecture in [*((FIT, a) for a in chosen), *((CHECK, a) for a in others)]:
            image = (part.in_chans, architecture.resolution, architecture.resolution)
            networks.append(BundleNetwork(f"n{len(networks):03d}", use, part, image, architecture, {}))
    return networks


def _random(space: SearchSpace, seed: int, taken: set[Architecture], n: int) -> list[Architecture]:
    """``n`` different random networks, none of them taken; fewer where there are no more."""
    drawn = space.sample(stream(seed, "profile.check"), 50 * n)
    return [a for a in dict.fromkeys(map(space.decode, drawn)) if a not in taken][:n]


def write_bundle(folder: Path, plan: Plan, report: Report) -> BundleManifest:
    """Write a bundle, or continue to write one; returns its manifest, which is written last. Raises UsageError: the
    plan cannot be fitted; UserError: the folder holds something else, or a package is missing."""
    check_plan(plan)
    dialect_name(plan)
    check_packages([runtime_of(plan)])
    wanted = {"format": profile_runner.FORMAT, "plan": to_json(plan), "versions": libraries()}
    if (folder / MANIFEST).exists():
        content = _read_content(folder)
        if {k: content.get(k) for k in wanted} != wanted:
            raise UserError(
                f"{folder} holds a bundle of other settings or versions; remove it, or choose another folder"
            )
        return read_content(content, BundleManifest, folder / MANIFEST)
    if folder.exists() and not all(_ours(p.name) for p in folder.iterdir()):
        raise UserError(f"{folder} is not empty and holds no bundle; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    networks = list(_networks(folder, plan, report))
    reference = min(networks, key=lambda n: sum((folder / f.file).stat().st_size for f in n.files.values()))
    content = {**wanted, "threads": plan.threads, "networks": to_json(networks),
               "reference": f"{reference.name}.{min(reference.files)}"}  # fmt: skip
    atomic_write(folder / RUNNER, Path(profile_runner.__file__).read_bytes())
    atomic_write(folder / README, _readme(plan, len(networks)).encode())
    write_json(folder / MANIFEST, {"bundle": _id(content), **content})
    return read_manifest(folder)


def _ours(name: str) -> bool:
    """May this be of a bundle that was not finished?"""
    ends = tuple(get_runtime(each).suffix for each in PROFILED)
    return name in (RUNNER, README) or name.removesuffix(COMPRESSED).endswith(ends) or name.startswith(".")


def runtime_of(plan: Plan) -> str:
    """The name of the runtime that a plan measures in. Raises UsageError: devices are not measured in that one."""
    name = plan.runtime or PROFILED[0]
    if name not in PROFILED:
        raise unknown_name("runtime", name, PROFILED)
    return name


def dialect_name(plan: Plan) -> str:
    """What a target's ``model`` says of the files of a plan. Raises UsageError: its runtime has no form of unsigned
    activations."""
    name = runtime_of(plan)
    dialects = get_runtime(name).dialects
    found = next((each for each, dialect in dialects.items() if dialect.unsigned == plan.unsigned), None)
    if found is None:
        raise UsageError(f"`unsigned`: files of {name} have signed activations only; leave it out")
    return found


def _networks(folder: Path, plan: Plan, report: Report) -> Iterator[BundleNetwork]:
    """Write the files of every network; entries of the manifest."""
    from nas.quantization.graph import capture
    from nas.quantization.quantize import outline

    runtime = get_runtime(runtime_of(plan))
    dialect = runtime.dialects[dialect_name(plan)]
    chosen = members(plan)
    for k, member in enumerate(chosen):
        model = get_space(member.part.space).build(member.architecture, member.part.interface).eval()
        files = {}
        flat = model if plan.precisions == (FLOAT,) else capture(model, member.input)
        quantized = None if flat is model else outline(flat, member.input)
        for precision in plan.precisions:
            network = flat if precision == FLOAT or quantized is None else quantized
            data = runtime.timing_file(network, member.input, dialect)
            assert data is not None, "the runner's own runtimes can be measured"
            name = f"{member.name}.{precision}{runtime.suffix}"
            if plan.runtime is not None:  # weights are there in full, but constant
                name, data = name + COMPRESSED, gzip.compress(data, mtime=0)
            atomic_write(folder / name, data)
            files[precision] = BundleFile(name, hashlib.sha256(data).hexdigest())
        yield replace(member, files=files)
        report(k + 1, len(chosen), member.name)


def _id(content: Json) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> BundleManifest:
    """The manifest of a bundle. Raises UserError: missing, damaged or changed."""
    return read_content(_read_content(folder), BundleManifest, folder / MANIFEST)


def _read_content(folder: Path) -> dict[str, Json]:
    """What the file of a manifest holds, if its id is that of its content. Raises UserError."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Json] = json.loads(path.read_text(encoding="utf-8"))
        content = {k: v for k, v in manifest.items() if k != "bundle"}
        if manifest["bundle"] != _id(content):
            raise ValueError("its id is not that of its content")
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a bundle (no {MANIFEST}); write one: {hint('profile', bundle=folder)}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}; write the bundle again") from None
    return manifest


def _readme(plan: Plan, networks: int) -> str:
    spaces = ", ".join(part.space for part in plan.parts)
    back = hint("profile", **{"import": "results.json"}, bundle="THIS_FOLDER", name="my-board")
    code = get_runtime(runtime_of(plan)).device_code()
    assert code is not None, "the runner's own runtimes run on devices"
    return f"""# Latency bundle

{networks} networks of {spaces} ({", ".join(plan.precisions)}). On the device, with Python 3.9 or later:

    pip install numpy {pip_arguments(code.needs)}
    python3 {RUNNER}

After an interruption, the second command continues where it stopped. Take `results.json` back to where the bundle was
written:

    {back}

Leave the device alone while it runs, and cool it as it will be cooled in use. `python3 {RUNNER} --help` lists what can
be set, for example the number of threads (default {plan.threads}). Weights are constants: latency depends on shapes,
not on values.
"""

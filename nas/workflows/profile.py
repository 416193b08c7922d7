"""``nas profile``: latencies measured here, or on somebody's board through a bundle, become a target file."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nas.events import Advanced, Listener, Warned
from nas.profiling.bundle import MEASURED, Part, Plan, check_plan, read_manifest, write_bundle
from nas.profiling.fit import Fitted, read_results, target_of
from nas.profiling.runner import MANIFEST, SETTLED, Trouble, measure
from nas.store.files import atomic_write
from nas.store.run import Run, latest
from predictors.targets.target import Target, to_toml
from search_spaces import get_space
from search_spaces.errors import UsageError, UserError, unknown_name

DEFAULT_SPACES = (Part("mbv3-tiny", 10, 3), Part("mbv3-large", 1000, 3))
"""Where there is no run: small and large networks."""

_SECONDS_A_NETWORK = 3.0  # at a precision, on a core of a server; for --dry-run
_X86 = ("x86_64", "amd64", "i386", "i686")


@dataclass(frozen=True)
class Request:
    """The flags of ``nas profile``, see its help; None: not given."""

    device: str = "host"
    bundle: Path | None = None
    results: Path | None = None
    space: str | None = None
    run: Run | None = None
    networks: int = 24
    held_out: int = 12
    precision: str = "both"
    threads: int = 1
    uint8: bool = False
    classes: int | None = None
    in_chans: int | None = None
    name: str | None = None
    out: Path | None = None
    seed: int = 0


def profile_command(request: Request, report: Listener, dry_run: bool = False) -> dict[str, Any]:
    """Do what the flags ask for; what is printed, with the command to type ``next``.

    Raises:
        UsageError: flags that contradict each other or cannot be met.
        UserError: see the functions below.
    """
    if request.device != "host":
        raise UsageError(f"nas profile {request.device}: measures 'host'; for other devices give --bundle DIR")
    name = request.name or (request.out.stem if request.out else "host" if request.results is None else "board")
    out = request.out or Path(f"{name}.toml")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name):
        raise UsageError(f"--name {name!r}: letters, digits, '.', '-' and '_' only; files are named after it")
    if out.suffix != ".toml":
        raise UsageError(f"--out {out}: a target file ends in .toml")
    if request.results is not None:
        if dry_run:
            raise UsageError("--dry-run: an import measures nothing; leave one of them out")
        return import_results(request.results, request.bundle, out, name, report)
    if request.uint8 and request.bundle is None:
        raise UsageError("--uint8 is for --bundle; this machine's own form is known")
    precisions = MEASURED if request.precision == "both" else (request.precision,)
    if request.precision not in ("both", *MEASURED):
        raise unknown_name("precision", request.precision, ("both", *MEASURED))
    parts = parts_of(request.space, request.run, request.classes, request.in_chans)
    uint8 = request.uint8 if request.bundle is not None else platform.machine().lower() in _X86
    plan = Plan(parts, request.networks, request.held_out, precisions, uint8, request.threads, request.seed)
    if dry_run:
        return {"summary": summary(plan), "networks": plan.fit + plan.check, "next": command(request)}
    if request.bundle is not None:
        return bundle(request.bundle, plan, report)
    return profile_host(plan, out, name, report)


def command(request: Request) -> str:
    """What to type for a request that measures."""
    words = ["nas profile"]
    for field in fields(request):
        value = getattr(request, field.name)
        if value != field.default:
            flag = f"--{field.name.replace('_', '-')}"
            value = value.path if isinstance(value, Run) else value
            words.append(flag if value is True else f"{flag} {shlex.quote(str(value))}")
    return " ".join(words)


def parts_of(space: str | None, run: Run | None, classes: int | None, in_chans: int | None) -> tuple[Part, ...]:
    """Whose networks to measure: of a space, of a run, of the last run, or of two presets.

    Raises:
        UsageError: classes or channels for no space in particular.
        UserError: the run is damaged.
    """
    if space is not None:
        get_space(space)  # one that there is not shall not wait for the measurements
        small = space == DEFAULT_SPACES[0].space
        return (Part(space, classes or (10 if small else 1000), in_chans or 3),)
    if run is None:
        try:
            run = latest()
        except UserError:
            if classes is not None or in_chans is not None:
                raise UsageError("--classes and --in-chans: of which space? give --space") from None
            return DEFAULT_SPACES
    record = run.read()
    return (Part(record.space, classes or record.data.num_classes, in_chans or record.data.in_chans),)


def summary(plan: Plan) -> str:
    """What a profile would measure."""
    check_plan(plan)
    networks = plan.fit + plan.check
    minutes = networks * len(plan.precisions) * _SECONDS_A_NETWORK / 60
    return (
        f"would measure {networks} subnets ({plan.fit} to fit, {plan.check} held out) of "
        f"{' and '.join(p.space for p in plan.parts)} in {', '.join(plan.precisions)}, {plan.threads} "
        f"thread{'s' if plan.threads > 1 else ''}; about {minutes:.0f} minutes"
    )


def profile_host(plan: Plan, out: Path, name: str, report: Listener) -> dict[str, Any]:
    """Measure this machine and write its target file; the same call again goes on where it was stopped.

    Networks and measurements stay in a folder beside the file, ``<out without .toml>.profile``.

    Raises:
        UsageError, UserError: see :func:`write_bundle`; or measurements of another machine or runtime are in the way.
    """
    folder = out.with_suffix(".profile")
    manifest = write_bundle(folder, plan, _counting("writing networks", report))
    try:
        clock = "thread" if plan.threads == 1 else "wall"  # a thread's clock misses what other threads do
        measure(folder, plan.threads, clock, _counting("measuring", report))
    except Trouble as error:
        raise UserError(str(error)) from None
    return _write(manifest, folder / "results.json", out, name, report)


def bundle(folder: Path, plan: Plan, report: Listener) -> dict[str, Any]:
    """Write a bundle for another device."""
    manifest = write_bundle(folder, plan, _counting("writing networks", report))
    size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    networks = len(manifest["networks"])
    text = (
        f"wrote {folder}: {networks} networks, {size / 1e6:.1f} MB; copy it to the device, run python3 run.py there, "
        f"and bring results.json back"
    )
    return {"summary": text, "bundle": str(folder), "id": manifest["bundle"], "networks": networks, "bytes": size,
            "next": f"nas profile --import results.json --bundle {folder}"}  # fmt: skip


def import_results(results: Path, folder: Path | None, out: Path, name: str, report: Listener) -> dict[str, Any]:
    """Write the target file of results that came back from a device.

    Args:
        folder: the bundle; None: the folder that the results lie in.

    Raises:
        UsageError: where the bundle is, is not said.
        UserError: the results are of another bundle, damaged, or too few.
    """
    if folder is None:
        folder = results.parent
        if not (folder / MANIFEST).exists():
            raise UsageError(f"{results} does not lie in its bundle; give the bundle's folder with --bundle")
    return _write(read_manifest(folder), results, out, name, report)


def _write(manifest: dict[str, Any], path: Path, out: Path, name: str, report: Listener) -> dict[str, Any]:
    results = read_results(path, manifest)
    target, fitted = target_of(manifest, results, name, lambda line: report(Warned(f"left out: {line}")))
    for precision, result in fitted.items():
        for note in result.notes:
            report(Warned(f"{precision}: {note}"))
    comment = (
        f"Written by nas profile. Valid for this device and runtime, best for networks like those measured.\n"
        f"{target.description}; {target.runtime}; torch {manifest['versions']['torch']}, "
        f"timm {manifest['versions']['timm']}"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, to_toml(target, comment).encode())
    return facts(target, fitted, results, out)


def facts(target: Target, fitted: dict[str, Fitted], results: dict[str, Any], out: Path) -> dict[str, Any]:
    """What is printed of a finished profile."""
    return {
        "target": str(out),
        "name": target.name,
        "description": target.description,
        "runtime": target.runtime,
        "precisions": {
            precision: {
                "label": target.label(precision),
                **asdict(result.report),
                "fitted": result.networks,
                "operators_corrected": len(result.table.ms) if result.table else 0,
            }
            for precision, result in fitted.items()
        },
        "unsteady": sum(n["state"] != SETTLED for n in results["networks"].values()),
        "reference": results["reference"],
        "next": f"nas search --target {out}",
    }


def _counting(what: str, report: Listener) -> Callable[[int, int, str], None]:
    return lambda done, total, note: report(Advanced(what, done, total, note))

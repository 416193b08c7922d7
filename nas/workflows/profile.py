"""``nas profile``: latencies measured here, or on somebody's board through a bundle, become a target file."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

from nas.events import Advanced, Listener, Warned
from nas.profiling.bundle import check_plan, dialect_name, read_manifest, write_bundle
from nas.profiling.fit import Fitted, target_of
from nas.profiling.results import Reference, read_results
from nas.profiling.runner import MANIFEST, SETTLED, Trouble, measure
from nas.runtimes.table import PROFILED
from nas.store.bundles import MEASURED, BundleManifest, Part, Plan
from nas.store.files import atomic_write
from nas.store.hints import hint
from nas.store.run import Run, latest
from nas.store.settings import SEED, Setting, check_settings
from predictors.latency.fit import FitReport
from predictors.targets.target import Target, to_toml
from search_spaces import get_space
from search_spaces.errors import UsageError, UserError
from search_spaces.schema import key_of

DEFAULT_SPACES = (Part("mbv3-tiny", 10, 3), Part("mbv3-large", 1000, 3))
"""Where there is no run: small and large networks."""

BOTH = "both"
_SECONDS_A_NETWORK = 3.0  # at a precision, on a core of a server
_X86 = ("x86_64", "amd64", "i386", "i686")


@dataclass(frozen=True)
class Request:
    """What ``nas profile`` is asked for; None: not given.

    Attributes:
        device: this machine, which is ``host``.
        bundle: folder to write for another device, or that was written for it.
        results: file of what that device measured.
        pairs: table of networks and milliseconds that are known already.
        run: whose networks to measure where no space is given.
    """

    device: str = "host"
    bundle: Path | None = None
    results: Path | None = None
    pairs: Path | None = None
    space: Annotated[str | None, Setting("Search space whose subnets are measured. Default: the run's.")] = None
    run: Run | None = None
    networks: Annotated[int, Setting("Chosen subnets that the latency model is fitted to.")] = 24
    held_out: Annotated[int, Setting("Further random subnets that the fit is judged by.")] = 12
    precision: Annotated[str, Setting("Precision to measure: fp32, int8 or both.", choices=(BOTH, *MEASURED))] = BOTH
    threads: Annotated[int, Setting("Threads of one inference.", at_least=1)] = 1
    runtime: Annotated[str, Setting("Runtime to measure in, whose files the target will have.", choices=PROFILED)] = (
        PROFILED[0]
    )
    unsigned: Annotated[bool, Setting("Write the bundle for an x86 device (uint8 activations), not for ARM.")] = field(
        default=False, metadata={"key": "uint8"}
    )
    classes: Annotated[int | None, Setting("Number of classes. Default: the run's.", at_least=1)] = None
    in_chans: Annotated[int | None, Setting("Number of image channels. Default: the run's.", at_least=1)] = None
    name: Annotated[str | None, Setting("Name of the target. Default: that of the target file.")] = None
    out: Path | None = None
    seed: Annotated[int, SEED] = 0


@dataclass(frozen=True)
class ProfilePlan:
    """What a profile would measure, and the command that does."""

    summary: str
    networks: int
    next: str


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle for another device; its results must name its ``id``, and ``next`` imports them."""

    summary: str
    bundle: str
    id: str
    networks: int
    bytes: int
    next: str


@dataclass(frozen=True)
class ProfiledPrecision:
    """How well one precision's latencies are predicted; ``label``: how far to trust them, in words; ``measured``: of
    which networks."""

    label: str
    measured: str
    report: FitReport
    fitted: int
    operators_corrected: int

    def to_json(self) -> object:
        """As ``--json`` prints it."""
        counts = {"fitted": self.fitted, "operators_corrected": self.operators_corrected}
        return {"label": self.label, "measured": self.measured, **vars(self.report), **counts}


@dataclass(frozen=True)
class Profile:
    """A finished profile, which wrote the file ``target``; ``unsteady``: networks whose times did not settle;
    ``reference``: of the short network that ran beside all others; None: nothing was measured here."""

    target: str
    name: str
    description: str
    runtime: str
    precisions: Mapping[str, ProfiledPrecision]
    unsteady: int
    reference: Reference | None
    next: str


def profile_command(request: Request, report: Listener, dry_run: bool = False) -> ProfilePlan | WrittenBundle | Profile:
    """Do what a request asks for. Raises UsageError: a request that contradicts itself or cannot be met; UserError: see
    the functions below."""
    check_settings(request)
    if request.device != "host":
        raise UsageError(f"nas profile {request.device}: measures 'host'; for other devices give a `bundle`")
    name = request.name or (
        request.out.stem if request.out else "host" if request.results is None and request.pairs is None else "board"
    )
    out = request.out or Path(f"{name}.toml")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", name):
        raise UsageError(
            f"`name` is {name!r}; files are named after it, so it may have letters, digits, '.', '-' and '_' only"
        )
    if out.suffix != ".toml":
        raise UsageError(f"`out` is {out}; a target file ends in .toml")
    if request.pairs is not None:
        takes = ("device", "pairs", "precision", "name", "out", "seed")
        others = [field for field in fields(request) if field.name not in takes]
        given = (key_of(field) for field in others if getattr(request, field.name) != field.default)
        if wrong := next(given, "dry_run" if dry_run else None):
            raise UsageError(f"`pairs`: a table of known latencies, nothing is measured; leave out `{wrong}`")
        return profile_pairs(request.pairs, request.precision, out, name, request.seed, report)
    if request.results is not None:
        if dry_run:
            raise UsageError("`dry_run`: an import measures nothing; leave one of them out")
        return import_results(request.results, request.bundle, out, name, report)
    if request.unsigned and request.bundle is None:
        raise UsageError("`unsigned` is for a `bundle`; this machine's own form is known")
    precisions = MEASURED if request.precision == BOTH else (request.precision,)
    parts = parts_of(request.space, request.run, request.classes, request.in_chans)
    default = request.runtime == PROFILED[0]
    here = default and platform.machine().lower() in _X86
    plan = Plan(
        parts, request.networks, request.held_out, precisions, request.unsigned if request.bundle is not None else here,
        request.threads, request.seed, None if default else request.runtime,
    )  # fmt: skip
    dialect_name(plan)
    if dry_run:
        return ProfilePlan(summary(plan), plan.fit + plan.check, command(request))
    if request.bundle is not None:
        return bundle(request.bundle, plan, report)
    return profile_host(plan, out, name, report)


def command(request: Request) -> str:
    """What to type for a request that measures."""
    values = [(key_of(field), getattr(request, field.name), field.default) for field in fields(request)]
    return hint("profile", **{n: v.path if isinstance(v, Run) else v for n, v, default in values if v != default})


def parts_of(space: str | None, run: Run | None, classes: int | None, in_chans: int | None) -> tuple[Part, ...]:
    """Whose networks to measure: of a space, of a run, of the last run, or of two presets. Raises UsageError: classes
    or channels for no space in particular; UserError: the run is damaged."""
    if space is not None:
        get_space(space)  # an unknown one must fail before the measurements
        small = space == DEFAULT_SPACES[0].space
        return (Part(space, classes or (10 if small else 1000), in_chans or 3),)
    if run is None:
        try:
            run = latest()
        except UserError:
            if classes is not None or in_chans is not None:
                raise UsageError("`classes` and `in_chans` are those of a space; give `space` too") from None
            return DEFAULT_SPACES
    record = run.read()
    return (Part(record.settings.space, classes or record.data.num_classes, in_chans or record.data.in_chans),)


def summary(plan: Plan) -> str:
    check_plan(plan)
    networks = plan.fit + plan.check
    minutes = networks * len(plan.precisions) * _SECONDS_A_NETWORK / 60
    return (
        f"would measure {networks} subnets ({plan.fit} to fit, {plan.check} held out) of "
        f"{' and '.join(p.space for p in plan.parts)} in {', '.join(plan.precisions)}, {plan.threads} "
        f"thread{'s' if plan.threads > 1 else ''}; about {minutes:.0f} minutes"
    )


def profile_host(plan: Plan, out: Path, name: str, report: Listener) -> Profile:
    """Measure this machine and write its target file; the same call again continues where it was stopped.

    Networks and measurements stay in a folder beside the file, ``<out without .toml>.profile``. Raises UsageError,
    UserError: see :func:`write_bundle`; or measurements of another machine or runtime are in the way.
    """
    folder = out.with_suffix(".profile")
    manifest = write_bundle(folder, plan, _counting("writing networks", report))
    try:
        clock = "thread" if plan.threads == 1 else "wall"  # a thread's clock misses what other threads do
        measure(folder, plan.threads, clock, _counting("measuring", report))
    except Trouble as error:
        raise UserError(str(error)) from None
    return _import(manifest, folder / "results.json", out, name, report)


def bundle(folder: Path, plan: Plan, report: Listener) -> WrittenBundle:
    manifest = write_bundle(folder, plan, _counting("writing networks", report))
    size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    networks = len(manifest.networks)
    text = (
        f"wrote {folder}: {networks} networks, {size / 1e6:.1f} MB; copy it to the device, run python3 run.py there, "
        f"and bring results.json back"
    )
    following = hint("profile", **{"import": "results.json"}, bundle=folder)
    return WrittenBundle(text, str(folder), manifest.bundle, networks, size, following)


def import_results(results: Path, folder: Path | None, out: Path, name: str, report: Listener) -> Profile:
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
            raise UsageError(f"{results} does not lie in its bundle; give the bundle's folder as `bundle`")
    return _import(read_manifest(folder), results, out, name, report)


def profile_pairs(table: Path, precision: str, out: Path, name: str, seed: int, report: Listener) -> Profile:
    """Write the target file of latencies that are known already. Raises UserError: see :func:`fit_table`."""
    from .profile_pairs import fit_table

    counting = _counting("looking at networks", report)
    target, fitted = fit_table(table, None if precision == BOTH else precision, name, seed, counting)
    about = f"The table {table.name} tells neither device nor runtime: say them below, and `threads` and `model`."
    return _write(target, fitted, about, out)


def _import(manifest: BundleManifest, path: Path, out: Path, name: str, report: Listener) -> Profile:
    results = read_results(path, manifest)
    target, fitted = target_of(manifest, results, name, lambda line: report(Warned(f"left out: {line}")))
    for precision, result in fitted.items():
        for note in result.notes:
            report(Warned(f"{precision}: {note}"))
    versions = f"torch {manifest.versions.torch}, timm {manifest.versions.timm}"
    profile = _write(target, fitted, f"{target.description}; {target.runtime}; {versions}", out)
    unsteady = sum(timing.state != SETTLED for timing in results.networks.values())
    return replace(profile, unsteady=unsteady, reference=results.reference)


def _write(target: Target, fitted: Mapping[str, Fitted], about: str, out: Path) -> Profile:
    """Write the file of a target, with a comment."""
    comment = (
        f"Written by nas profile. Valid for this device and runtime, best for networks like those measured.\n{about}"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, to_toml(target, comment).encode())
    return Profile(
        target=str(out),
        name=target.name,
        description=target.description,
        runtime=target.runtime,
        precisions={
            precision: ProfiledPrecision(
                target.label(precision),
                target.measured[precision].summary,
                result.report,
                result.networks,
                len(result.constants[1].ms) if result.constants[1] else 0,
            )
            for precision, result in fitted.items()
        },
        unsteady=0,
        reference=None,
        next=hint("search", target=out),
    )


def _counting(what: str, report: Listener) -> Callable[[int, int, str], None]:
    return lambda done, total, note: report(Advanced(what, done, total, note))

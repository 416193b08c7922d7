"""``results.json``: what the runner of a bundle measured on a device, checked before anything is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from nas.store.bundles import BundleManifest
from search_spaces.errors import UserError
from search_spaces.schema import Check, Range, SchemaError, convert, shown

from .runner import FORMAT

_LARGEST_FILE = 32_000_000


def _line_problem(value: str) -> str:
    return "" if 0 < len(value) <= 200 and value.isprintable() else f"{shown(value)} is not a line of text"


Positive = Annotated[float, Range(above=0, below=1e12)]
Line = Annotated[str, Check(_line_problem)]


@dataclass(frozen=True)
class Machine:
    """What identifies a device: its processor, and the runtime with its version."""

    cpu: Line
    runtime: Line


@dataclass(frozen=True)
class Sensors:
    """Clock of every core in MHz, and temperatures in degrees Celsius, where the system tells."""

    mhz: tuple[Positive, ...]
    celsius: tuple[Positive, ...]


@dataclass(frozen=True)
class Reference:
    """Milliseconds of the short network that ran beside all others: in most visits, and at either end."""

    usual_ms: Positive
    quickest_ms: Positive
    slowest_ms: Positive


@dataclass(frozen=True)
class Timing:
    """Latency of a network in milliseconds, and how its visits agreed, see :func:`nas.profiling.runner.settle`."""

    ms: Positive
    state: Literal["settled", "unsettled", "drifted"]


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        clock: ``thread``: processor time of one thread; ``wall``: time that passed.
        before, after: what the sensors said when the measurement began and ended.
        reference: of the short network.
        networks: file of a network, ``<network>.<precision>`` -> its latency.
    """

    clock: Literal["wall", "thread"]
    threads: Annotated[int, Range(at_least=1, at_most=1024)]
    units: Literal["ms"]
    machine: Machine
    before: Sensors
    after: Sensors
    reference: Reference
    networks: Mapping[str, Timing]


@dataclass(frozen=True)
class _Header:
    format: Literal[1]
    bundle: str


def read_results(path: Path, manifest: BundleManifest) -> Results:
    """The content of a results file, checked against the bundle it should be of. Raises UserError: not readable, of
    another bundle, or with values that cannot be; one line that names the first."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path} has {path.stat().st_size / 1e6:.0f} MB; results have less than one")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the results.json of a bundle's runner") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a results file: {str(error)[:100]}") from None
    try:
        header = convert(content, _Header)
    except SchemaError as error:
        raise UserError(f"{path} is not a results file of a bundle's runner (format {FORMAT}): {error}") from None
    if header.bundle != manifest.bundle:
        raise UserError(
            f"{path}: measured with bundle {shown(header.bundle)}, this one is {manifest.bundle}; "
            "give its folder with `bundle`"
        )
    try:
        results = convert(content, Results)
    except SchemaError as error:
        raise UserError(f"{path}: {error}; measure again, or copy the file again") from None
    if not results.networks:
        raise UserError(f"{path}: no networks were measured; run the bundle")
    files = {f"{network.name}.{precision}" for network in manifest.networks for precision in network.files}
    if strange := results.networks.keys() - files:
        raise UserError(f"{path}: network {shown(min(strange))} is not in the bundle")
    return results

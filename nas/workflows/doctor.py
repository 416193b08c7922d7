"""What this machine has, what is missing and how to fix it. Works with whatever is broken: that is its purpose."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.runtimes.table import DEFAULT, RUNTIMES
from nas.store.hints import hint
from nas.store.versions import NAS, installed
from search_spaces.errors import first_line, install_hint

REQUIRED = {
    "torch": "2.9", "timm": "1.0.20", "optuna": "4.5", "pymoo": "0.6.1.5", "moocore": "0.1.8", "numpy": "1.26",
    "scipy": "1.11", "safetensors": "0.4.5", "filelock": "3.15", "rich": "13.7", "typer": "0.15", "pillow": "10.1",
    "xxhash": "3.4",
}  # fmt: skip
"""Distributions without which nothing works, and their lowest versions."""
EXTRAS: dict[str, Mapping[str, str]] = {
    **{entry.extra: entry.packages for entry in RUNTIMES.values()},
    "predictors": {"scikit-learn": "1.4"},
    "transformers": {"transformers": "5"},
    "storage": {"psycopg": "3.1", "pymysql": "1.1"},
    "datasets": {"datasets": "4"},
    "webdataset": {"webdataset": "0.2.86"},
    "tensorboard": {"tensorboard": "2.15"},
    "wandb": {"wandb": "0.17"},
}
"""Optional distributions by the extra that installs them."""
_MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "timm": "search_spaces.builders.timm_compat"}
"""What to import of a distribution; timm imports torchvision, which may need a workaround."""
_USES = {
    **{entry.extra: hint("export", format=name) for name, entry in RUNTIMES.items()},
    "predictors": f"{hint('search', predictor='boosting')} or mlp",
    "storage": f"{hint('search', storage='postgresql://')} or mysql://",
    "datasets": hint("train-supernet", data="hfds/NAME"),
    "webdataset": hint("train-supernet", data="wds/FOLDER"),
    "tensorboard": hint("train-supernet", log="tensorboard"),
    "wandb": hint("train-supernet", log="wandb"),
    "transformers": hint("train-supernet", space="hf:vit"),
}  # fmt: skip

_GB = 1e9
_LITTLE_DISK, _LITTLE_MEMORY, _LITTLE_SHARED = 2 * _GB, 2 * _GB, 0.25 * _GB
_TORCHVISION = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``ok``; ``absent``, which is fine until it is needed; ``warning``; ``problem``, which stops commands.
        fix: what to do; empty: nothing.
    """

    name: str
    state: str
    text: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at everything; a look that fails is a finding too."""
    found: list[Finding] = []
    heard = io.StringIO()  # broken packages print to both while they are imported
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for look in (_system, _required, _torchvision, _processors, _gpu, _extras, _memory, _disk):
            try:
                found.extend(look())
            except Exception as error:
                text = f"could not be looked at: {type(error).__name__}: {first_line(error)}"
                fix = f"fix what the message names, or reinstall {install_hint(f'.[{RUNTIMES[DEFAULT].extra}]')}"
                found.append(Finding(look.__name__.strip("_"), "problem", text, fix))
    return found


def _system() -> Iterator[Finding]:
    python = platform.python_version()
    fix = "" if sys.version_info >= (3, 11) else "install Python 3.11 or later"
    yield Finding("python", "problem" if fix else "ok", f"{python}, {platform.python_implementation()}", fix)
    yield Finding("system", "ok", platform.platform())
    yield Finding("nas", "ok", installed(NAS) or "not installed: runs from its source folder")


def _required() -> Iterator[Finding]:
    for name, lowest in REQUIRED.items():
        yield _package(name, lowest, "problem", install_hint(f"{name}>={lowest}"))


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        fix = f"{install_hint(f'.[{extra}]')}  # for: {_USES[extra]}"
        for name, lowest in packages.items():
            yield _package(name, lowest, "absent", fix)


def _package(name: str, lowest: str, missing: str, fix: str) -> Finding:
    """Whether a distribution is there, new enough, and can be imported. ``missing``: the state of one that is not
    there."""
    version = installed(name)
    if version is None:
        return Finding(name, missing, "not installed", fix)
    if _numbers(version) < _numbers(lowest):
        return Finding(name, "problem" if missing == "problem" else "warning", f"{version} is below {lowest}", fix)
    try:
        importlib.import_module(_MODULES.get(name, name))
    except Exception as error:
        reason = first_line(error)
        text = f"{version} cannot be imported: {type(error).__name__}: {reason}"
        again = _TORCHVISION if "torchvision" in reason else f"pip install --force-reinstall '{name}=={version}'"
        return Finding(name, "problem" if missing == "problem" else "warning", text, again)
    return Finding(name, "ok", version)


def _torchvision() -> Iterator[Finding]:
    """A torchvision that was built for another torch has lost its operators; timm imports it."""
    version = installed("torchvision")
    if version is None:
        yield Finding("torchvision", "problem", "not installed; timm needs it", _TORCHVISION)
        return
    compat = sys.modules.get("search_spaces.builders.timm_compat")
    if compat is None:
        yield Finding("torchvision", "warning", f"{version}; not looked at, since timm could not be imported")
    elif compat.DECLARED:
        text = f"{version} was built for another torch and lacks its operators; nas works around it, timm alone fails"
        yield Finding("torchvision", "warning", text, _TORCHVISION)
    else:
        yield Finding("torchvision", "ok", version)


def _processors() -> Iterator[Finding]:
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processor", "ok", f"{model or platform.processor() or platform.machine()}, {usable} usable cores")
    quota = (_lines("/sys/fs/cgroup/cpu.max") or ["max"])[0].split()
    if quota[0] != "max" and float(quota[0]) / float(quota[1]) < usable - 0.5:
        share = float(quota[0]) / float(quota[1])
        fix = f"export OMP_NUM_THREADS={max(1, int(share))}: more threads than that wait for each other"
        yield Finding("processor share", "warning", f"this container may use {share:g} of {usable} cores", fix)
    torch = importlib.import_module("torch")
    chosen = os.environ.get("OMP_NUM_THREADS", "not set")
    yield Finding("threads", "ok", f"torch uses {torch.get_num_threads()}; OMP_NUM_THREADS {chosen}")


def _gpu() -> Iterator[Finding]:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory
            yield Finding(
                f"GPU {i}", "ok", f"{torch.cuda.get_device_name(i)}, {memory / _GB:.1f} GB, CUDA {torch.version.cuda}"
            )
    elif Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        fix = "install the driver, and a torch for CUDA: pip install torch torchvision"
        yield Finding("GPU", "warning", f"there is one, but torch {torch.__version__} sees none", fix)
    else:
        yield Finding("GPU", "absent", "none; training runs on the processor")


def _memory() -> Iterator[Finding]:
    facts = {line.split(":")[0]: line.split()[1] for line in _lines("/proc/meminfo") if ":" in line}
    if "MemAvailable" not in facts:
        yield Finding("memory", "ok", "the system does not say how much is free")
    else:
        free = int(facts["MemAvailable"]) * 1024
        for name in ("memory.max", "memory.current"):
            if (_lines(f"/sys/fs/cgroup/{name}") or ["max"])[0] == "max":
                break
        else:
            limit, used = (int(_lines(f"/sys/fs/cgroup/memory.{part}")[0]) for part in ("max", "current"))
            free = min(free, limit - used)
        fix = "" if free >= _LITTLE_MEMORY else "close other programs, or train with smaller batches"
        yield Finding("memory", "warning" if fix else "ok", f"{free / _GB:.1f} GB free", fix)
    if Path("/dev/shm").is_dir():
        free = shutil.disk_usage("/dev/shm").free
        without = hint("train-supernet", workers=0)
        fix = "" if free >= _LITTLE_SHARED else f"docker run --shm-size 2g; or {without}, which needs none"
        text = f"{free / _GB:.2f} GB free; the processes that load images pass them through it"
        yield Finding("shared memory", "warning" if fix else "ok", text, fix)


def _disk() -> Iterator[Finding]:
    from predictors.costs.cache import cache_folder

    places = {"this folder": Path(), "temporary files": Path(tempfile.gettempdir()), "cache": cache_folder()}
    for name, path in places.items():
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            fix = "choose another with NAS_CACHE" if name == "cache" else "work in a folder that you may write to"
            yield Finding(name, "warning" if name == "cache" else "problem", "cannot be written", fix)
        elif free < _LITTLE_DISK:
            yield Finding(name, "warning", f"{free / _GB:.1f} GB of disk free", "make room: a run takes up to some GB")
        else:
            yield Finding(name, "ok", f"{free / _GB:.0f} GB of disk free")


def _numbers(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` as (2, 13, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match.group().split("."))) if match else ()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def as_text(found: list[Finding]) -> str:
    """All findings as plain lines that survive pasting into a bug report."""
    marks = {"ok": "ok", "absent": "-", "warning": "WARNING", "problem": "PROBLEM"}
    lines = []
    for each in found:
        lines.append(f"{marks[each.state]:<8}{each.name:<18}{each.text}")
        if each.fix:
            lines.append(f"{'':<26}fix: {each.fix}")
    return "\n".join(lines)

"""A folder with what a guest needs: a Debian root file system, wheels, a Raspberry Pi 4's CPU description; made once.

The host's packages are Debian 12's: QEMU 7.2 (its plugins' interface is the one of ``plugin.h``), and a cross compiler
whose C library is the guest's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nas.store.files import write_json
from search_spaces.errors import UserError, install_hint

HERE = Path(__file__).parent
DEFAULT_FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nas-emulation"
SUITE, GUEST_PYTHON = "bookworm", "3.11"
GUEST_PACKAGES = ("python3", "libgomp1", "libstdc++6")
WHEELS = ("numpy", "pillow", "onnxruntime", "executorch")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
SETUP = "setup.json"  # written last: a folder that has it is complete

QEMU, CROSS, NATIVE = "qemu-aarch64", "aarch64-linux-gnu-g++", "gcc"
PROGRAMS = {QEMU: "qemu-user", CROSS: "g++-aarch64-linux-gnu", NATIVE: "gcc libc6-dev", "setarch": "util-linux"}
MAKING = {"mmdebstrap": "mmdebstrap"}
"""Program -> Debian's packages that have it; those of ``MAKING`` for the setup alone."""

_CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.1
"""
_CPU = "sys/devices/system/cpu"
CPU_FILES = {
    "proc/cpuinfo": _CPUINFO,
    **{f"{_CPU}/{name}": "0\n" for name in ("possible", "present", "online", "kernel_max")},
    f"{_CPU}/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
    f"{_CPU}/cpu0/cpufreq/cpuinfo_min_freq": "600000\n",
    f"{_CPU}/cpu0/topology/physical_package_id": "0\n",
    f"{_CPU}/cpu0/topology/core_id": "0\n",
    **{f"{_CPU}/cpu0/topology/{name}_list": "0\n" for name in ("core_siblings", "cluster_cpus", "thread_siblings")},
    f"{_CPU}/cpu0/regs/identification/midr_el1": "0x00000000410fd083\n",
}
"""What a Raspberry Pi 4 says of its CPU, with one core, so that runtimes start no threads. Without these files a guest
reads the host's: XNNPACK then takes other kernels than on the board, and onnxruntime stops."""


@dataclass(frozen=True)
class Board:
    """A complete folder.

    Attributes:
        folder: holds ``root`` (file system), ``site`` (wheels) and ``bin`` (what is compiled here).
    """

    folder: Path

    def command(self, program: Sequence[str | Path], plugins: Mapping[str, Path] | None = None) -> list[str]:
        """Words that run an aarch64 program on a Cortex-A72's instruction set, at the same addresses every time.

        Args:
            program: path and arguments.
            plugins: name of a plugin -> file that its counts are appended to.
        """
        root, site = self.folder / "root", self.folder / "site"
        libraries = f"{root}/usr/lib/aarch64-linux-gnu:{site}/executorch/lib"
        variables = {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(site), "PYTHONHASHSEED": "0"}
        words = ["setarch", "-R", QEMU, "-cpu", "cortex-a72", "-L", str(root)]
        for name, value in variables.items():
            words += ["-E", f"{name}={value}"]
        for name, out in (plugins or {}).items():
            words += ["-plugin", f"{self.plugin(name)},out={out}"]
        return words + [str(word) for word in program]

    @property
    def python(self) -> Path:
        return self.folder / "root" / "usr" / "bin" / f"python{GUEST_PYTHON}"

    def plugin(self, name: str) -> Path:
        """A QEMU plugin, compiled for this machine."""
        sources = [HERE / f"{name}.c", *sorted(HERE.glob("*.h"))]
        return self._compiled(
            sources,
            [
                NATIVE,
                "-std=gnu11",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror=implicit-function-declaration",
                "-shared",
                "-fPIC",
            ],
        )

    def run_pte(self) -> Path:
        """The runner of .pte files, compiled for the guest against the wheel's headers and libraries."""
        package = self.folder / "site" / "executorch"
        include = package / "include"
        names = ("executorch", "executorch_threadpool", "executorch_kernels_optimized", "executorch_kernels_quantized",
                 "executorch_backend_xnnpack")  # fmt: skip
        return self._compiled(
            [HERE / "run_pte.cpp"],
            [CROSS, "-std=c++17", "-O2", "-DC10_USING_CUSTOM_GENERATED_MACROS", f"-I{include}",
             f"-I{include}/executorch/runtime/core/portable_type/c10", f"-L{package}/lib"],
            ["-Wl,--no-as-needed", *(f"-l{name}" for name in names)],  # operators and XNNPACK register themselves
        )  # fmt: skip

    def _compiled(self, sources: Sequence[Path], compiler: Sequence[str], libraries: Sequence[str] = ()) -> Path:
        """The first source, compiled, anew where any of it has changed."""
        text = b"".join(source.read_bytes() for source in sources) + repr((compiler, libraries)).encode()
        out = self.folder / "bin" / f"{sources[0].stem}-{hashlib.sha256(text).hexdigest()[:12]}"
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            partial = out.with_suffix(f".{os.getpid()}")
            call([*compiler, "-o", str(partial), str(sources[0]), *libraries], f"compiling {sources[0].name}")
            partial.replace(out)
        return out


def open_board(folder: Path) -> Board:
    """A folder made by :func:`make_board`.

    Raises:
        UserError: something is missing; the message says how to get it.
    """
    need(PROGRAMS)
    if not (folder / SETUP).is_file():
        raise UserError(
            f"no complete setup in {folder}; make one: python -m benchmarks.quantization.emulate setup --root {folder}"
        )
    there, here = json.loads((folder / SETUP).read_text())["wheels"], versions()
    if other := [f"{name} {there.get(name)}, here {here[name]}" for name in here if there.get(name) != here[name]]:
        raise UserError(
            f"{folder} has {'; '.join(other)}: outputs can be compared for the same versions alone; "
            "make another: python -m benchmarks.quantization.emulate setup --root DIR"
        )
    return Board(folder)


def make_board(folder: Path, report: Callable[[str], None]) -> Board:
    """Download and put together what a guest needs: 340 MB, about a minute.

    Args:
        folder: new, or one that another version or a setup that was stopped left behind.
        report: told of each step.

    Raises:
        UserError: a program is missing, or a step failed.
    """
    need(PROGRAMS | MAKING)
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "root").exists():
        raise UserError(f"{folder} holds other things; give an empty folder")
    for name in ("root", "site"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / SETUP).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)

    report(f"Debian's {', '.join(GUEST_PACKAGES)} for arm64")
    packages = f"--include={','.join(GUEST_PACKAGES)}"
    root = folder / "root"
    call(["mmdebstrap", "--variant=extract", "--architectures=arm64", packages, SUITE, str(root)], "mmdebstrap")
    for path, text in CPU_FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    wheels = versions()
    pinned = [f"{name}=={version}" for name, version in wheels.items()]
    report(f"aarch64 wheels: {', '.join(pinned)}")
    tag = f"cp{GUEST_PYTHON.replace('.', '')}"
    guest = ["--python-version", GUEST_PYTHON, "--implementation", "cp", "--abi", tag, "--only-binary=:all:"]
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site"), *guest]
    call([*words, *(word for name in PLATFORMS for word in ("--platform", name)), *pinned], "pip")

    board = Board(folder)
    report("compiling the runner and the plugins")
    board.run_pte()
    for name in ("instructions", "caches"):
        board.plugin(name)
    write_json(folder / SETUP, {"suite": SUITE, "wheels": wheels})
    return board


def versions() -> dict[str, str]:
    """Versions of the runtimes on this machine, which the guest must have too.

    Raises:
        UserError: one is not installed.
    """
    found = {}
    for name in WHEELS:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            raise UserError(f"comparing needs '{name}' here too; {install_hint('.[onnx,executorch]')}") from None
    return found


def need(programs: Mapping[str, str]) -> None:
    """Raises UserError where a program is not installed: which, and Debian's packages."""
    if missing := [name for name in programs if shutil.which(name) is None]:
        packages = " ".join(dict.fromkeys(programs[name] for name in missing))
        raise UserError(f"not installed: {', '.join(missing)}; on Debian 12: apt-get install {packages}")


def call(words: Sequence[str], what: str) -> str:
    """Standard output of a program. Raises UserError with the last lines it printed where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise UserError(f"{what} failed ({done.returncode}): {' | '.join(said[-3:])}")
    return done.stdout

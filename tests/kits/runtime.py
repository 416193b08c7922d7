"""What every runtime must do, see :mod:`nas.runtimes.runtime`.

A new runtime's test hands its name and a folder to :class:`RuntimeKit`, and needs little else.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nas.data.preparation import prepare
from nas.export.device_script import device_script
from nas.export.manifest import open_model
from nas.quantization.dialect import Dialect
from nas.quantization.quantize import QuantizedModel, outline, quantize
from nas.runtimes.runtime import NEEDS, Exported, Runtime
from nas.runtimes.table import RUNTIMES, by_suffix, get_runtime
from nas.tasks.task import get_task
from search_spaces.errors import UserError
from tests.support.processors import SATURATES
from tests.support.scripts import saved

ROOT = Path(__file__).parents[2]
SHAPE = (1, 10, 10)
CLASSES = [*"abcdé"]
TEXTS = {
    "classes": json.dumps(CLASSES),
    "input": json.dumps({"input_size": SHAPE, "mean": [0.5], "std": [0.2], "crop_pct": 1, "interpolation": "bicubic"}),
    "empty": "",
}


def network() -> nn.Module:
    """Strides, depthwise, hard sigmoid and hard swish, a residual connection; weights of a usual size."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
            self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x + self.block(x) * self.gate(x)
            return self.head(x.mean((2, 3), keepdim=True).flatten(1))

    return Net().eval()


@cache
def images() -> Tensor:
    """64 images of :func:`network`."""
    return torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(1))


@cache
def quantized() -> QuantizedModel:
    """The network in int8."""
    return quantize(network(), images())


@dataclass(frozen=True)
class RuntimeKit:
    """A runtime to check.

    Attributes:
        name: key in ``RUNTIMES``.
        folder: an empty folder for its files.
    """

    name: str
    folder: Path

    @property
    def runtime(self) -> Runtime:
        """The runtime."""
        return get_runtime(self.name)

    @property
    def first_dialect(self) -> Dialect:
        """How it writes for targets that name no dialect."""
        return next(iter(self.runtime.dialects.values()))

    def file(self, name: str) -> Path:
        """A file of the runtime."""
        return self.folder / f"{name}{self.runtime.suffix}"

    def check(self) -> None:
        """All that follows; needs the runtime's packages, and Pillow."""
        self.is_one_line_of_the_table()
        self.is_listed_without_frameworks()
        for model, dialect in self.runtime.dialects.items():
            if not (dialect.unsigned and SATURATES):
                self.computes_what_the_simulator_computes(model)
        self.computes_what_the_float_network_computes()
        self.names_missing_packages()
        self.refuses_damaged_files()
        self.has_a_script_that_says_the_same()
        self.can_be_timed_or_says_that_it_cannot()

    def is_one_line_of_the_table(self) -> None:
        """Its suffix, its dialects and its extra are its own."""
        entry, project = RUNTIMES[self.name], tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert self.runtime.suffix.startswith(".")
        assert by_suffix(self.runtime.suffix) == self.name
        assert self.runtime.dialects
        assert all(model.split("-")[0] == self.name for model in self.runtime.dialects)
        extra = project["optional-dependencies"][entry.extra]
        assert {f"{package}>={version}" for package, version in entry.packages.items()} <= set(extra)

    def is_listed_without_frameworks(self) -> None:
        """Looking at it imports neither torch nor its own packages."""
        heavy = ["torch", "timm", *RUNTIMES[self.name].packages]
        code = (
            f"import sys; from nas.runtimes.table import get_runtime; get_runtime({self.name!r}).device_code()\n"
            f"print(*[name for name in {heavy!r} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert not done.stdout.split()

    def computes_what_the_simulator_computes(self, model: str) -> None:
        """The quantized file holds the simulator's integers; a half-way sum here and there may be rounded apart."""
        exported = self._write(quantized(), "int8", model)
        executed, simulated = exported(images()), quantized()(images()).numpy()
        assert np.isclose(executed, simulated, atol=1e-5).all(1).mean() >= 0.98
        with torch.no_grad():
            assert not np.allclose(executed, network()(images()), atol=1e-4)
        np.testing.assert_array_equal(exported(images()[:3].numpy()), executed[:3])

    def computes_what_the_float_network_computes(self) -> None:
        """The float file is the network itself."""
        exported = self._write(network(), "fp32", next(iter(self.runtime.dialects)))
        with torch.no_grad():
            np.testing.assert_allclose(exported(images()), network()(images()), atol=1e-5)

    def names_missing_packages(self) -> None:
        """Without one of its packages, writing or opening says which one, and how to install it."""
        entry = RUNTIMES[self.name]
        for package in entry.packages:
            with pytest.MonkeyPatch.context() as patch:
                for module in [name for name in sys.modules if name.split(".")[0] == package]:
                    patch.delitem(sys.modules, module)
                patch.setitem(sys.modules, package, None)
                refused = []
                for attempt in (lambda: self._write(network(), "other", ""), lambda: self.runtime.open(self.file("m"))):
                    try:
                        attempt()
                    except UserError as error:
                        refused.append(str(error))
                named = [text for text in refused if re.search(rf"'{package}['.]", text)]
                assert any(f"'.[{entry.extra}]'" in text for text in named), refused

    def refuses_damaged_files(self) -> None:
        """A file that isn't one, half of one and a missing one are errors of one line that name the file."""
        whole = self.file("int8").read_bytes()
        for name, content in (("half", whole[: len(whole) // 2]), ("text", b"not a network"), ("empty", b"")):
            self.file(name).write_bytes(content)
            with pytest.raises(UserError, match=f"{name}{self.runtime.suffix}"):
                open_model(self.file(name))  # of fragile runtimes no file without a hash is opened
        with pytest.raises(UserError, match="no file"):
            self.runtime.open(self.file("missing"))
        with pytest.raises(UserError, match="cannot write"):
            self.runtime.write(
                network(), SHAPE, self.folder / "no" / "m", TEXTS, next(iter(self.runtime.dialects.values()))
            )

    def has_a_script_that_says_the_same(self) -> None:
        """The script for devices, on a photo, against the file as it is opened here."""
        if (code := self.runtime.device_code()) is None:
            return
        photo = np.random.default_rng(0).integers(256, size=(12, 15), dtype=np.uint8)
        Image.fromarray(photo).save(self.folder / "photo.png")
        opened = self.runtime.open(self.file("int8"))
        script = self.folder / "script.py"
        script.write_text(device_script(self.name, code, get_task(), json.loads(opened.metadata[NEEDS])))
        said, inputs, outputs = saved(script, self.folder, self.file("int8"), self.folder / "photo.png")
        np.testing.assert_array_equal(inputs[0], prepare(self.folder / "photo.png", json.loads(TEXTS["input"])))
        np.testing.assert_array_equal(outputs, opened(inputs))
        assert said.code == 0
        assert said.out.startswith(CLASSES[outputs[0].argmax()])

    def can_be_timed_or_says_that_it_cannot(self) -> None:
        """A file for timing is opened like any other, and its outputs are numbers of the same shape."""
        for model, dialect in self.runtime.dialects.items():
            for form in (network(), outline(network(), SHAPE)):
                content = self.runtime.timing_file(form, SHAPE, dialect)
                if content is None:
                    return
                path = self.file(f"timing-{model}")
                path.write_bytes(content)
                outputs = self.runtime.open(path)(images()[:1])
                assert outputs.shape == (1, len(CLASSES))
                assert np.isfinite(outputs).all()

    def _write(self, form: QuantizedModel | nn.Module, name: str, model: str) -> Exported:
        """A file that is written quietly in the place of another one, opened."""
        dialect = self.runtime.dialects.get(model, self.first_dialect)
        before = {path.name for path in self.folder.iterdir()}
        self.file(name).write_bytes(b"old")
        self.runtime.write(form, SHAPE, self.file(name), TEXTS, dialect)
        assert {path.name for path in self.folder.iterdir()} == before | {self.file(name).name}
        exported = self.runtime.open(self.file(name))
        assert exported.metadata.items() >= TEXTS.items()
        needs = json.loads(exported.metadata[NEEDS])
        assert needs.keys() == code.needs.keys() if (code := self.runtime.device_code()) else needs
        return exported


def is_installed(name: str) -> bool:
    """Whether all packages of a runtime are."""
    return all(importlib.util.find_spec(package) is not None for package in RUNTIMES[name].packages)

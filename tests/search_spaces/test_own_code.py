"""Spaces around a model of one's own: what may be imported, what the name of a space holds, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from nas.cli.code import allow_typed_code
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders import typed_code
from search_spaces.errors import UsageError, UserError
from search_spaces.families.named import spell_out

ENDS = Interface(1, 4)
SOURCE = """
import sys
from pathlib import Path
import torch
from torch import nn

Path(__file__).with_suffix(".ran").touch()

class Net(nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 32, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(32, 64, 3, padding=1)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.head(self.mix(self.stem(x).relu()).relu().mean((2, 3)))

def build(num_classes, in_chans):
    return Net(num_classes, in_chans)

build.resolution = 32

def wrong(num_classes, in_chans):
    return 3

def failing(num_classes, in_chans):
    raise RuntimeError("no such net")

class Noisy(Net):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))

class First(Net):
    def forward(self, x):
        return super().forward(x[:1])

class Beside(Net):
    def forward(self, x):
        return super().forward(x - x.mean(0) if bool((x.abs() < 1e9).all()) else x)

class Named(Net):
    def forward(self, x):
        return {"logits": super().forward(x)}

class TwoInTraining(Net):
    def forward(self, x):
        return (super().forward(x), x) if self.training else super().forward(x)

class LossInTraining(Net):
    def forward(self, x):
        return super().forward(x).mean() if self.training else super().forward(x)

class Probable(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Hidden(Net):
    def forward(self, x):
        return nn.functional.hardsigmoid(super().forward(x)[:, :, None]).squeeze(2)

class Looking(Net):
    def forward(self, x):
        return super().forward(x + 1 if x.mean() > 0.5 else x)

class Spatial(Net):
    def forward(self, x):
        return self.stem(x)

class Rigid(Net):
    def __init__(self, num_classes, in_chans):
        super().__init__(num_classes, in_chans)
        self.stem, self.mix = nn.Identity(), nn.Identity()
        self.head = nn.Linear(32, num_classes)

    def forward(self, x):
        return self.head(x.mean((1, 2)))

def lazy(num_classes, in_chans):
    return nn.Sequential(nn.LazyConv2d(32, 3), nn.Flatten(), nn.LazyLinear(num_classes))

noisy, first, beside, named, two, loss, probable, hidden, looking, spatial, rigid = (
    Noisy, First, Beside, Named, TwoInTraining, LossInTraining, Probable, Hidden, Looking, Spatial, Rigid
)
for each in (noisy, first, beside, named, two, loss, probable, hidden, looking, spatial, rigid):
    each.resolution = 32
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Name of a module that lies in the current folder, and of which nobody has typed a function."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NAS_ALLOWED_CODE", "")
    return name


def test_only_what_was_typed_is_imported(module: str, tmp_path: Path) -> None:
    for word in (f"code:{module}.build", f"code:{module}.build@0123456789ab:width=0.5"):
        with pytest.raises(UserError, match="importing it runs its code"):
            get_space(spell_out(word))
    assert not list(tmp_path.glob("*.ran"))
    assert allow_typed_code(["search", "--run", "x", "--code", f"{module}.build"]) == ["search", "--run", "x"]
    get_space(f"code:{module}.build")
    assert list(tmp_path.glob("*.ran"))


@pytest.mark.parametrize("word", ["train-supernet --space code:{}", "train-supernet --space=code:{}", "spaces code:{}"])
def test_a_space_that_was_typed_is_allowed(module: str, word: str) -> None:
    arguments = word.format(f"{module}.build:width=0.5").split()
    assert allow_typed_code(arguments) == arguments
    assert typed_code.is_allowed(f"{module}.build")


def test_a_name_says_when_the_source_has_changed(module: str, tmp_path: Path) -> None:
    typed_code.allow(f"{module}.build")
    name = spell_out(f"code:{module}.build:width=0.5")
    assert name.startswith(f"code:{module}.build@")
    assert name.endswith(":width=0.5")
    assert spell_out(name) == name
    space = get_space(name)
    assert space.genes[0].choices == (32,)
    assert {gene.name: gene.choices for gene in space.genes[1:]} == {"stem.width": (16, 32), "mix.width": (32, 64)}
    assert space.build(space.smallest, Interface(1, 4))(torch.zeros(1, 1, 32, 32)).shape == (1, 4)
    (tmp_path / f"{module}.py").write_text(SOURCE + "\n")
    with pytest.raises(UserError, match="has changed"):
        get_space(f"{name}:resolution=64")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wrong", "it has to give a torch.nn.Module"), ("failing", "no such net"), ("absent", "cannot be imported"),
        ("noisy", "its answer depends on chance also where nothing is trained: randn_like in the model itself"),
        ("first", "it has one answer for two images"), ("beside", "its answer to an image depends on those beside it"),
        ("named", "it gives a dict; let it give one tensor"), ("two", "it gives a tuple in training;"),
        ("loss", r"one value for each class in training: \[\] for 2 images"),
        ("probable", "it gives probabilities: it ends with softmax"),
        ("hidden", "it gives probabilities: it ends with hardsigmoid"),
        ("looking", "its code looks at the values of tensors, and its costs are read off a run without"),
        ("spatial", r"one value for each class: \[2, 32, 16, 16\] for 2 images, 10 classes"),
        ("rigid", "nothing of it can be smaller$"), ("lazy", "has layers whose sizes are not known until it runs"),
    ],
)  # fmt: skip
def test_what_builds_no_classifier_is_refused(module: str, function: str, message: str) -> None:
    typed_code.allow(f"{module}.{function}")
    with pytest.raises(UserError, match=message):
        get_space(f"code:{module}.{function}")


def test_rates_of_dropping_and_choices_are_refused_in_the_words_that_were_typed(module: str) -> None:
    typed_code.allow(f"{module}.build")
    with pytest.raises(UsageError, match=rf"`dropout`: code:{module}.build has no such setting"):
        get_space(f"code:{module}.build").family.build(
            get_space(f"code:{module}.build").largest, ENDS, "meta", (0.1, 0.0)
        )
    with pytest.raises(UsageError, match=rf"'width=0' in 'code:{module}.build:width=0'"):
        get_space(spell_out(f"code:{module}.build:width=0"))


@pytest.mark.parametrize("name", ["build", "os;x", "a..b", "a.b()", "", "../a.b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="isn't the name of a function"):
        typed_code.allow(name)


def test_a_function_without_python_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_ALLOWED_CODE", "")
    typed_code.allow("math.prod")
    with pytest.raises(UserError, match="prod of math isn't written in a Python file"):
        spell_out("code:math.prod")


def test_the_current_folder_hides_no_module_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the module that was typed is looked for there first."""
    (tmp_path / "own_first.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("NAS_ALLOWED_CODE", "")
    typed_code.allow("own_first.build")
    spell_out("code:own_first.build")
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "meant"), [
        ("net.py", "code:net.build"), ("pkg/net.py", "code:pkg.net.build"), ("pkg.net.make", "code:pkg.net.make"),
        ("resnet18", "timm:resnet18"), ("resnet18.a1_in1k:width=0.5", "timm:resnet18.a1_in1k:width=0.5"),
    ],
)  # fmt: skip
def test_a_model_without_the_word_before_it_is_named_as_it_is_typed(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown search space '{name}'.* {meant}$"):
        get_space(name)
    for other in (".py", "..", "ofa-mbv3-w1.5"):
        with pytest.raises(UsageError) as caught:
            get_space(other)
        assert not any(word in str(caught.value) for word in ("code:", "timm:"))

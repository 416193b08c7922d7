"""Spaces around models of transformers and torchvision: what they are, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders import hf_model
from search_spaces.builders.hf_model import hf_network
from search_spaces.builders.timm_model import TimmSpec, build_foreign
from search_spaces.builders.torchvision_model import torchvision_network
from search_spaces.errors import UsageError, UserError
from search_spaces.families.named import spell_out
from search_spaces.space import SearchSpace
from tests.support.long_forms import LONG

SETTINGS = {
    "model_type": "convnextv2", "hidden_sizes": [16, 32, 48, 64], "depths": [1, 2, 1, 1], "image_size": 64,
    "torch_dtype": "float16", "id2label": {"0": "a"}, "architectures": ["X"],
}  # fmt: skip


def described(space: SearchSpace, interface: Interface) -> None:
    """Its smallest network is what its description builds."""
    network = space.build(space.smallest, interface, "meta")
    spec = json.loads(json.dumps(space.family.describe(space.smallest, interface)))
    again = build_foreign(TimmSpec.from_json(spec), "a file", "meta")
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes
    side = space.smallest.resolution
    assert again.eval()(torch.empty(2, interface.in_chans, side, side, device="meta")).shape == (2, interface.outputs)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:squeezenet1_1:width=0.5:resolution=64",
        pytest.param("torchvision:vit_b_32:width=0.5:resolution=64", marks=LONG),
        pytest.param("torchvision:googlenet:width=0.5:resolution=64", marks=LONG),
        pytest.param("torchvision:inception_v3:width=0.5:resolution=128,160", marks=LONG),
    ],
)
def test_a_model_of_torchvision(name: str) -> None:
    space = get_space(spell_out(name))
    assert space.name == name
    assert len(space.genes) > 1
    described(space, Interface(1, 4))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet1", "unknown classifier of torchvision 'resnet1'"),
        ("torchvision:fcn_resnet50", "unknown classifier of torchvision"),
        ("torchvision:squeezenet1_1:width=0", "fractions lie above 0"),
        pytest.param("torchvision:vit_b_32:resolution=64,96", "cannot take images of 64 px", marks=LONG),
    ],
)
def test_unusable_names_of_torchvision(name: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        get_space(name)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


@pytest.mark.parametrize("options", [{"weights": "DEFAULT"}, {"progress": True}])
def test_torchvision_loads_no_weights(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no classifier"):
        torchvision_network("squeezenet1_1", options, 3, 3)


def test_transformers_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package 'transformers'; .*\.\[transformers\]"):
        get_space("hf:nothing")


@LONG
def test_a_folder_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that shape the network, and a hash of them in the name."""
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    Path("net").mkdir()
    Path("net/config.json").write_text(json.dumps(SETTINGS))
    name = spell_out("hf:net:width=0.5")
    assert name.startswith("hf:net@")
    assert spell_out(name) == name
    space = get_space(name)
    assert space.smallest.resolution == 64
    described(space, Interface(1, 4))
    assert next(iter(space.build(space.largest, Interface(1, 4)).parameters())).dtype == torch.float32
    Path("net/config.json").write_text(json.dumps(SETTINGS | {"depths": [1, 1, 1, 1]}))
    with pytest.raises(UserError, match="has changed since"):
        get_space(f"{name}:resolution=32")


@pytest.mark.parametrize("name", ["hf:vit:width=0.5:resolution=64", "hf:convnextv2:width=0.5", "hf:resnet:width=0.5"])
@LONG
def test_a_model_type_of_transformers(name: str) -> None:
    pytest.importorskip("transformers")
    described(get_space(name), Interface(3, 4))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("hf:bert", UsageError, "unknown image classifier of transformers 'bert'"),
        ("hf:vitt", UsageError, "did you mean 'vit'"),
        ("hf:google/vit-base-patch16-224", UserError, "models are not fetched"),
    ],
)
@LONG
def test_unusable_names_of_transformers(name: str, error: type[UserError], message: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(error) as raised:
        get_space(name)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": {"AutoModel": "evil.py"}}, {"_attn_implementation": "someone/kernels"}, {"backbone": "resnet50"},
        {"attn_implementation": "someone/kernels"}, {"quantization_config": {"a": 1}}, {"num_hidden_layers": 10**9},
        {"nested": {"use_pretrained_backbone": True}}, {"depths": [1] * 10**4},
    ],
)  # fmt: skip
def test_settings_that_load_or_are_huge_are_refused(settings: dict[str, Any]) -> None:
    """Before transformers is imported."""
    with pytest.raises(ValueError, match=r"can load code|beyond any size|not those of a model"):
        hf_network("vit", settings, 10, 3)


@LONG
def test_a_file_that_holds_no_settings(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    for text in ("[]", "{}", "nothing", '{"model_type": 3}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="holds no settings"):
            get_space(f"hf:{tmp_path}")

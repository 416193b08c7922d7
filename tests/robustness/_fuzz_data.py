"""Parsers of images, data sets and what is typed."""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.data.opening import open_dataset
from search_spaces.errors import UserError
from tests.robustness._fuzz_mutate import NAMES, array_file, json_file, raw, tar_file, words
from tests.robustness._fuzz_registry import Case, Seeds, parser

# images and data sets


def _pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {}
    colour = Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (24, 20)).astype(np.uint16))
    ways: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("jpg", colour, {}), ("png", colour, {}), ("png", deep, {}), ("gif", colour.convert("P"), {}),
        ("bmp", colour, {}), ("webp", colour, {}), ("tiff", colour, {"compression": "tiff_lzw"}), ("tiff", deep, {}),
        ("ppm", colour, {}), ("jpg", colour.convert("CMYK"), {}), ("png", colour.convert("LA"), {}),
        ("jpg", colour, {"progressive": True}),
    )  # fmt: skip
    for i, (form, image, options) in enumerate(ways):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(buffer, {"jpg": "jpeg"}.get(form, form), exif=exif, **options)
        found[f"{i}.{form}"] = buffer.getvalue()
    return found


@parser("image")
def _image(seeds: Seeds, folder: Path) -> Case:
    from nas.data.checks.look import look_at_all
    from nas.data.decode import FileImages

    pictures = list(_pictures().items())

    def case(rng: random.Random) -> None:
        name, valid = rng.choice(pictures)
        content = raw(valid, rng, folder)
        if rng.random() < 0.5:
            content = raw(content, rng, folder)
        (folder / name).write_bytes(content)
        images = FileImages((name,), folder)
        bad = look_at_all(images).bad
        images.image(0)
        assert not bad, f"left out, though it can be decoded: {bad}"

    return case


@parser("data folder")
def _folder(seeds: Seeds, folder: Path) -> Case:
    pictures = list(_pictures().items())
    place = folder / "photos"

    def case(rng: random.Random) -> None:
        shutil.rmtree(place, ignore_errors=True)
        for label in (
            "apple",
            "pear",
            rng.choice(("plum", "train", "val", "test/x", ".x", "a\nb", "\udcff", "é" * 60)),
        ):
            own = place / label
            own.mkdir(parents=True, exist_ok=True)
            for i in range(rng.choice((0, 3, 6, 6))):
                name, valid = rng.choice(pictures)
                content = raw(valid, rng, folder) if rng.random() < 0.2 else valid
                (own / f"{i}-{rng.choice(('x', 'a b', chr(10), chr(0xDCFF)))}-{name}").write_bytes(content)
            if rng.random() < 0.3:
                with suppress(FileExistsError):
                    (own / rng.choice(("loop", "x.jpg"))).symlink_to(
                        rng.choice((place, folder, Path("/dev/zero"), own / "gone"))
                    )
        if rng.random() < 0.1:
            os.mkfifo(place / "apple" / "pipe.jpg")
        open_dataset(str(place))

    return case


def _members(prefix: str = "photos/") -> dict[str, bytes]:
    pictures = list(_pictures().values())
    return {f"{prefix}{label}/{i}.jpg": pictures[(i * 5) % 2 * 11] for label in ("apple", "pear") for i in range(6)}


@parser("tar of images")
def _tar(seeds: Seeds, folder: Path) -> Case:
    valid, path = _members(), folder / "x.tar"

    def case(rng: random.Random) -> None:
        path.write_bytes(tar_file(valid, rng, folder))
        open_dataset(str(path))

    return case


@parser("webdataset shards")
def _wds(seeds: Seeds, folder: Path) -> Case:
    picture = _pictures()["0.jpg"]
    valid: dict[str, bytes] = {}
    for i in range(12):
        valid |= {f"{i:03d}.jpg": picture, f"{i:03d}.cls": str(i % 2).encode()}
    place = folder / "shards"
    place.mkdir()
    info = {"splits": {"train": {"num_samples": 12, "filenames": ["train-0.tar"], "shard_lengths": [12]}}}

    def case(rng: random.Random) -> None:
        own = {k: raw(v, rng, folder) if rng.random() < 0.05 else v for k, v in valid.items()}
        (place / "train-0.tar").write_bytes(
            tar_file(own, rng, folder) if rng.random() < 0.8 else tar_file(valid, rng, folder)
        )
        (place / "_info.json").unlink(missing_ok=True)
        if rng.random() < 0.4:
            (place / "_info.json").write_bytes(json_file(info, rng, folder))
        open_dataset(f"wds/{place}")

    return case


@parser("cost tables")
def _tables(seeds: Seeds, folder: Path) -> Case:
    from predictors.costs.cache import load_tables

    path = folder / "x.npz"
    arrays = {"segment0": np.random.default_rng(0).random((4, 3)), "segment1": np.zeros((2, 3))}

    def case(rng: random.Random) -> None:
        path.write_bytes(array_file(arrays, rng, folder))
        load_tables(path, [(None, 3), (None, 3)])

    return case


# what is typed


@parser("precision policy")
def _policy(seeds: Seeds, folder: Path) -> Case:
    from search_spaces import get_space
    from search_spaces.policy import check_stages, parse_menu, parse_policy

    paths = [s.path for s in get_space("mbv3-tiny").segments]

    def case(rng: random.Random) -> None:
        text = words("int8,blocks.1=w4a8,blocks.3=fp32", rng, ("fp32", "w2a8", "blocks.1", "mixed"))
        with suppress(UserError):
            parse_menu(text)
        policy = parse_policy(text)
        assert parse_policy(str(policy)) == policy
        check_stages(policy, paths, "x")

    return case


@parser("space name")
def _space(seeds: Seeds, folder: Path) -> Case:
    from search_spaces import get_space

    known = ("timm:resnet10t", "timm:mobilenetv2_050:width=0.5,1:resolution=96,128", "mbv3-tiny", "ofa-mbv3-w1.0")

    def case(rng: random.Random) -> None:
        get_space(words(rng.choice(known), rng, ("timm:", "width=", "depth=0.5", "resolution=1", ":kernel=3,5", "inf")))

    return case


@parser("architecture")
def _architecture(seeds: Seeds, folder: Path) -> Case:
    from nas.workflows.resolve import parse_architecture
    from search_spaces import get_space

    space, path = get_space("mbv3-tiny"), folder / "x.json"
    valid = space.largest.to_dict()

    def case(rng: random.Random) -> None:
        content = json_file(valid if rng.random() < 0.8 else {"architecture": valid}, rng, folder)
        path.write_bytes(content)
        text = content.decode("utf-8", "surrogateescape") if rng.random() < 0.5 else str(path)
        found = parse_architecture(text)
        space.encode(found)

    return case


@parser("objectives, bounds, formats, names")
def _typed(seeds: Seeds, folder: Path) -> Case:
    from nas.journal.storage import check_url, without_password
    from nas.runtimes.table import parse_formats
    from nas.search.baselines import parse_baselines
    from nas.search.bounds import Bounds
    from nas.search.objectives import parse_objectives
    from nas.training.loggers import parse_loggers
    from predictors.targets.target import load_target

    host = load_target("host")
    ways: tuple[tuple[Callable[[str], Any], str], ...] = (
        (parse_objectives, "accuracy,latency,latency:host,size"), (lambda t: Bounds.parse([t]), "host=20.5"),
        (lambda t: Bounds.parse(size=t), "100kB"),
        (lambda t: parse_formats(t, host), "onnx,executorch"), (parse_baselines, "random,uniform,nsga2"),
        (parse_loggers, "tensorboard,wandb"), (load_target, "cortex-a72"), (host.menu, "fp32,int8"),
        (check_url, "postgresql://user:secret@host:5432/name?sslmode=require"), (check_url, "sqlite:///file.db"),
        (without_password, "--storage=mysql://u:p@h/n"),
    )  # fmt: skip

    def case(rng: random.Random) -> None:
        read, valid = rng.choice(ways)
        read(words(valid, rng, ("accuracy", "latency:", "none", "://", "@", "[::1]", "%zz")))

    return case


@parser("names in an archive")
def _names(seeds: Seeds, folder: Path) -> Case:
    """Names in an archive of images become classes and paths."""
    from nas.data.folders.arrange import arrange
    from nas.data.folders.formats import IMAGE
    from nas.data.folders.tree import tree_of

    def case(rng: random.Random) -> None:
        names = [f"{rng.choice(('train', 'val', 'x', 'test'))}/{c}/{i}.jpg" for c in "ab" for i in range(3)]
        for _ in range(rng.choice((1, 2, 5))):
            names.insert(rng.randrange(len(names) + 1), rng.choice(NAMES))
        arrange(tree_of((name, IMAGE) for name in names), "x")

    return case

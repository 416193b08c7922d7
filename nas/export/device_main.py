"""What the script beside an exported file does: it tells what photos show, on a device without this project.

Scripts contain the text of this file, which runs on Python 3.9, numpy and Pillow.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.preparation import prepare

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Opening = Callable[[str], tuple[Network, Mapping[str, str]]]
Answer = Callable[[NDArray[np.float32], Sequence[str]], tuple[str, str]]


SAVE = "--save"


def main(
    words: Sequence[str], about: str, needs: Mapping[str, str], open_network: Opening, answer: Answer
) -> int:  # fmt: skip
    """Do what :func:`classify` does; where nobody reads on, as of ``| head``, end without a word."""
    try:
        code = classify(words, about, needs, open_network, answer)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        return 1


def classify(
    words: Sequence[str], about: str, needs: Mapping[str, str], open_network: Opening, answer: Answer
) -> int:  # fmt: skip
    """Print what a network says of each image; of those in a folder that has a class's name, also how many are right.

    Returns:
        The exit code: 1 where an image was skipped.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the exported file")
    parser.add_argument("images", type=Path, nargs="+", help="images, and folders of them")
    parser.add_argument(SAVE, type=Path, metavar="FILE.npz", help="also write the network's inputs and outputs")
    given = parser.parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that a terminal cannot show must not end this
    check_packages(needs)
    network, stored = open_model(given.model, open_network)
    expected, classes = json.loads(stored["input"]), json.loads(stored["classes"])
    names = {same_form(name): name for name in classes}
    inputs, outputs, skipped, right, known = [], [], 0, 0, 0
    found = list(find_images(given.images))
    if not found:
        raise SystemExit(f"no images in {', '.join(map(str, given.images))}")
    for path, folders in found:
        try:
            if path.exists() and not path.is_file():
                raise OSError("a pipe or a device")  # which would wait for somebody who writes to it
            pixels = prepare(path, expected)[None]
        except Exception as error:  # Pillow raises nearly anything on damaged files
            print(f"skipped {path}: {reason(error)}", file=sys.stderr)
            skipped += 1
            continue
        output = network(pixels)[0]
        said, remark = answer(output, classes)
        print(said, remark, path, sep="  ")
        labels = [names[same_form(folder)] for folder in folders if same_form(folder) in names]
        known += bool(labels)
        right += labels[:1] == [said]
        if given.save:
            inputs.append(pixels[0])
            outputs.append(output)
    if known:
        print(f"accuracy {100 * right / known:.2f} %: {right} of the {known} images in folders named as classes")
    if given.save and inputs:
        np.savez(given.save, inputs=np.stack(inputs), outputs=np.stack(outputs))
    if skipped:
        print(f"{skipped} files were skipped", file=sys.stderr)
    return 1 if skipped else 0


def check_packages(needs: Mapping[str, str]) -> None:
    """End where a package is missing, or older than the file needs."""
    for name, lowest in needs.items():
        wanted = f"{name}>={lowest}" if lowest else name
        try:
            found = getattr(import_module(name), "__version__", "") or metadata.version(name)
        except ImportError as error:
            raise SystemExit(f"needs the package {name} ({error}): pip install '{wanted}'") from None
        if lowest and numbers(found) < numbers(lowest):
            raise SystemExit(f"needs {name} {lowest} or later; this is {found}: pip install '{wanted}'")


def numbers(version: str) -> list[int]:
    """The first two parts of a version."""
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


def open_model(path: Path, open_network: Opening) -> tuple[Network, Mapping[str, str]]:
    """The network of an exported file, and what is stored with it; ends where there is none."""
    if not path.is_file():
        raise SystemExit(f"no file '{path}'")
    try:
        network, stored = open_network(str(path))
    except Exception as error:  # every runtime has its own kinds
        raise SystemExit(f"cannot open '{path}': {reason(error)}") from None
    if "input" not in stored or "classes" not in stored:
        raise SystemExit(f"'{path}' says nothing of its images: it is no file that nas exported")
    return network, stored


def find_images(places: Sequence[Path]) -> Iterator[tuple[Path, Sequence[str]]]:
    """Files, each with the names of the folders between it and a given one. Hidden ones are left out."""
    for place in places:
        if not place.is_dir():
            yield place, ()
            continue
        seen = set()
        for folder, inner, files in os.walk(place, followlinks=True):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            if os.path.realpath(folder) in seen:  # a link to a folder above
                inner.clear()
                continue
            seen.add(os.path.realpath(folder))
            for name in sorted(files):
                if not name.startswith("."):
                    yield Path(folder, name), Path(folder).relative_to(place).parts


def same_form(name: str) -> str:
    """A name in Unicode's composed form: systems of files differ in theirs."""
    return unicodedata.normalize("NFC", name)


def reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if type(error).__name__ == "UnidentifiedImageError":
        return "no image that Pillow reads"
    return (str(error).strip() or type(error).__name__).splitlines()[0]

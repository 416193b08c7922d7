"""torchvision's data sets by timm's names: ``torch/cifar10``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import ConcatDataset

from nas.data.dataset import Ints
from nas.data.preparation import to_grey_or_rgb
from search_spaces.errors import UserError

from .source import Contents, Request
from .stream import class_names, create, number_splits


class TorchSets:
    """``torch/NAME``; nothing is downloaded."""

    def open(self, name: str, request: Request) -> Contents:
        """Its ``train``, and its held-out part as the test split."""
        full = f"torch/{name.partition('/')[2]}"
        parts = {
            split: create(full, request.root, its) for split, its in {"train": "train", "test": "validation"}.items()
        }
        labels = {split: _labels(name, part) for split, part in parts.items()}
        return number_splits(name, TorchImages(ConcatDataset(parts.values())), labels, class_names(parts["train"]))


@dataclass(frozen=True)
class TorchImages:
    """torchvision's data sets, end to end."""

    parts: ConcatDataset[Any]

    def __len__(self) -> int:
        return len(self.parts)

    def image(self, index: int) -> Image.Image:
        return to_grey_or_rgb(self.parts[index][0])

    def name(self, index: int) -> str:
        return str(index)


def _labels(source: str, part: Any) -> Ints:
    """Labels without decoding images where the data set offers them."""
    values: Any = next((getattr(part, a) for a in ("targets", "labels", "_labels") if hasattr(part, a)), None)
    if values is None:
        values = [part[i][1] for i in range(len(part))]
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"'{source}' has labels of shape {labels.shape}; the rule is one class number per image")
    return labels.astype(np.int64)

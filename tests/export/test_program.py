"""Programs: networks that torch alone runs, equal to the bit, or a reason why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas.export.program import PROGRAM, write_program
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from tests.support.long_forms import long_form

SPACES = long_form(
    ["timm:test_byobnet:width=0.5:resolution=32"],
    [
        "timm:ghostnet_050:width=0.5:resolution=64",
        "timm:regnety_002:width=0.5:resolution=64",
        "timm:levit_128s:width=0.5:resolution=224",
        "timm:crossvit_tiny_240:width=0.5:resolution=240",
        "timm:test_convnext:width=0.5:resolution=64:family=any",
        "timm:sequencer2d_s:width=0.5:resolution=224",
    ],
)


@pytest.mark.parametrize("name", SPACES)
def test_a_program_computes_what_the_network_does(name: str, tmp_path: Path) -> None:
    space = get_space(name)
    network = Supernet(space, Interface(3, 7)).extract(space.smallest).eval()
    side = int(space.genes[0].choices[-1])
    written = write_program(network, (3, side, side), tmp_path / PROGRAM)
    assert written.problem == ""
    loaded = torch.export.load(tmp_path / PROGRAM).module()
    images = torch.randn(5 if written.any_batch else 1, 3, side, side)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


class OneImage(nn.Module):
    """Its batch is written into its code."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 3, 16).mean(2)


class Looking(nn.Module):
    """What it does depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.mean() > 0 else x.amax((2, 3))


class Chance(nn.Module):
    """It gives another output each time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.rand(3)


def test_one_image_at_a_time(tmp_path: Path) -> None:
    written = write_program(OneImage(), (3, 4, 4), tmp_path / PROGRAM)
    assert not written.problem
    assert not written.any_batch


@pytest.mark.parametrize("network", [Looking(), Chance()])
def test_what_cannot_be_written_says_why_in_a_line(network: nn.Module, tmp_path: Path) -> None:
    written = write_program(network, (3, 4, 4), tmp_path / PROGRAM)
    assert written.problem
    assert "\n" not in written.problem
    assert not (tmp_path / PROGRAM).exists()

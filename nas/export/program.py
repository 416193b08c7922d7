"""A network as a program: one file that torch alone loads and runs, without the classes of its model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.quantization.graph import without_stack_traces
from nas.runtimes.runtime import ImageShape
from search_spaces.errors import UserError, first_line
from search_spaces.tracing.copies import copy_tree

PROGRAM = "model.pt2"
_SEED = 0
_BATCHES = (1, 3)  # that a program has to take; the one that it is recorded with is neither


@dataclass(frozen=True)
class Program:
    """What came of writing a program.

    Attributes:
        problem: why there is none, in a line; empty: there is one.
        any_batch: it takes batches of any size; else one image at a time.
    """

    problem: str = ""
    any_batch: bool = True


def write_program(model: nn.Module, image_shape: ImageShape, file: Path) -> Program:
    """Write what ``torch.export`` makes of a network, for batches of any size, or where that is impossible for one
    image; then load and run it: it computes what the network does, to the bit.

    Args:
        model: in eval mode, on the CPU.
        image_shape: channels, height, width.
    """
    problem = ""
    for batches in (_BATCHES, _BATCHES[:1]):
        try:
            _write(model, image_shape, file, batches)
            return Program(any_batch=batches == _BATCHES)
        except Exception as error:  # whatever torch.export raises on the code of any model
            problem = problem or first_line(error)
    file.unlink(missing_ok=True)
    return Program(problem)


def _write(model: nn.Module, image_shape: ImageShape, file: Path, batches: Sequence[int]) -> None:
    """Raises UserError where the file computes something else than the network."""
    several = len(batches) > 1
    example = torch.zeros(2 if several else 1, *image_shape)
    free = ({0: torch.export.Dim.DYNAMIC},) if several else None
    own = copy_tree(model)  # what its code keeps while it is looked at has no values
    with torch.no_grad(), without_stack_traces(), warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(own, (example,), dynamic_shapes=free), file)
        loaded = torch.export.load(file).module()
        generator = torch.Generator().manual_seed(_SEED)
        for batch in batches:
            images = torch.randn(batch, *image_shape, generator=generator)
            wanted: Tensor = model(images)
            if not torch.equal(loaded(images), wanted):
                raise UserError("what torch.export writes computes something else than the network")

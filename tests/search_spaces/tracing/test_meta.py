"""Results without storage, against those that torch works out by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from search_spaces.tracing.meta import Quick

IMAGE = torch.empty(2, 6, 8, 8, device="meta")
LAST = IMAGE.contiguous(memory_format=torch.channels_last)
ROWS = torch.empty(4, 6, device="meta")


@pytest.mark.parametrize(
    "run",
    [
        lambda x: F.conv2d(x, torch.empty(3, 6, 3, 3, device="meta"), stride=2),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
        lambda x: x.flatten(1).softmax(-1),
        lambda x: x.max(dim=1),
        lambda x: torch.cat([x, x], dim=1),
        lambda x: (x[:, :3].sigmoid_() + x[:, 3:]).tanh_(),
        lambda x: x.long() + 1,
        lambda x: x.long() + 1.0,
        lambda x: x.add_(x[:, :, :1]),
        lambda x: x.transpose(1, 2)[:, ::2].relu(),
        lambda x: torch.split(x + x.double(), 2, dim=1),
    ],
)
@pytest.mark.parametrize("image", [IMAGE, LAST])
def test_shapes_strides_and_types_are_those_of_torch(run: Callable[[Tensor], Tensor], image: Tensor) -> None:
    plain = run(image.clone())
    for _ in range(2):  # the second time from memory
        with Quick():
            found = run(image.clone())
        pairs = [(found, plain)] if isinstance(plain, Tensor) else list(zip(found, plain, strict=True))
        for ours, theirs in pairs:
            assert (ours.shape, ours.stride(), ours.dtype) == (theirs.shape, theirs.stride(), theirs.dtype)


def test_what_does_not_fit_is_an_error_both_times() -> None:
    for _ in range(2):
        with Quick(), pytest.raises(RuntimeError):
            ROWS.clone().add_(torch.empty(3, 4, 6, device="meta"))
        with Quick(), pytest.raises(RuntimeError):
            torch.mm(ROWS, ROWS)


def test_values_are_computed_where_there_are_some() -> None:
    for _ in range(2):
        with Quick():
            assert torch.equal(torch.ones(3).cumsum(0), torch.tensor([1.0, 2.0, 3.0]))

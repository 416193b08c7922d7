"""Cuts of pieces along any dimension, against plain indexing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nas.supernet.borrow import Cut, plan
from search_spaces.space import Pieces

PIECES: tuple[Pieces, ...] = (
    (((0, 3),), None, None),
    (None, ((1, 2), (5, 1)), None),
    (((0, 2), (4, 1)), ((3, 1), (5, 2)), ((1, 2),)),
    (((0, 2), (4, 1)), ((0, 1), (3, 1)), ((0, 1), (2, 1))),
)


def index_of(pieces: Pieces, shape: torch.Size) -> tuple[np.ndarray, ...]:
    sides = [((0, side),) if each is None else each for each, side in zip(pieces, shape, strict=True)]
    return np.ix_(*(np.concatenate([np.arange(first, first + count) for first, count in each]) for each in sides))


def cut_of(whole: Tensor, pieces: Pieces) -> Cut:
    small = whole.detach().numpy()[index_of(pieces, whole.shape)]
    return plan({"w": whole}, [("w", torch.Size(small.shape))], None, {"w": pieces})[0]


@pytest.mark.parametrize("pieces", PIECES)
def test_pieces_are_taken_and_gradients_go_back(pieces: Pieces) -> None:
    whole = torch.randn(6, 8, 4, requires_grad=True)
    index = index_of(pieces, whole.shape)
    cut = cut_of(whole, pieces)
    taken = cut.take({"w": whole})
    assert torch.equal(taken, torch.from_numpy(whole.detach().numpy()[index]))
    taken.sum().backward()
    expected = np.zeros(whole.shape, dtype=np.float32)
    expected[index] = 1
    assert torch.equal(whole.grad, torch.from_numpy(expected))


def test_what_is_kept_of_a_pass_without_gradients_serves_one_with_them() -> None:
    whole = torch.randn(8, requires_grad=True)
    (cut,) = plan({"w": whole}, [("w", torch.Size((3,)))], None, {"w": (((0, 2), (5, 1)),)})
    with torch.inference_mode():
        cut.take({"w": whole})
    cut.take({"w": whole}).sum().backward()
    assert whole.grad.tolist() == [1, 1, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("pieces", PIECES)
def test_what_was_put_together_is_put_back(pieces: Pieces) -> None:
    whole = torch.zeros(6, 8, 4)
    cut = cut_of(whole, pieces)
    taken = torch.randn(cut.take({"w": whole}).shape)
    if cut.copies:
        cut.put_back({"w": whole}, taken)
    else:
        cut.take({"w": whole}).copy_(taken)
    expected = np.zeros(whole.shape, dtype=np.float32)
    expected[index_of(pieces, whole.shape)] = taken.numpy()
    assert torch.equal(whole, torch.from_numpy(expected))


@pytest.mark.parametrize("pieces", PIECES)
def test_rows_are_taken_alike(pieces: Pieces) -> None:
    whole, rows = torch.randn(6, 8, 4), torch.arange(6.0)[:, None]
    expected = rows.numpy()[index_of(pieces, whole.shape)[0].ravel()]
    assert torch.equal(cut_of(whole, pieces).take_first(rows), torch.from_numpy(expected))


def test_a_shape_that_is_not_what_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="is not what is taken of"):
        plan({"w": torch.zeros(4, 4)}, [("w", torch.Size((2, 4)))], None, {"w": (((0, 3),), None)})

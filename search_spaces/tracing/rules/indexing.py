"""Slices, selections and look-ups."""

from __future__ import annotations

import torch

from search_spaces.tracing.dimensions.axes import fix, fixed, is_fixed, split, unify
from search_spaces.tracing.labels import Call

from .rule import UnknownError, pieces, rule


@rule("select")
def select(call: Call) -> None:
    dims = call.of("self")
    d = call["dim"] % len(dims)
    call.fix([dims[d]], "selected from by number")
    call.put([*dims[:d], *dims[d + 1 :]])


@rule("slice")
def slice_(call: Call) -> None:
    """Notes the pieces before the slice and in it, for the bounds that the code gives."""
    dims, whole = call.of("self"), call["self"].shape
    d = (call["dim"] or 0) % len(dims)
    size, step, start = call.result.shape[d], call["step"] or 1, call["start"] or 0
    seen = call.labels.pieces
    if size == whole[d]:
        seen.append((None, dims[d]))
    elif step == 1:
        start += whole[d] if start < 0 else 0
        before, here, _ = pieces(call, dims[d], [start, size, whole[d] - start - size], "sliced at a fixed place")
        seen.append((before if start else None, here))
        dims[d] = here
    elif whole[d] == size * step and (halves := split(dims[d], step)) is not None:
        fix(halves[1], call.reason("step of a slice"))
        seen.append((None, None))
        dims[d] = halves[0]
    else:
        call.fix([dims[d]], "sliced in steps")
        seen.append((None, None))
        dims[d] = fixed(size)
    call.put(dims)


@rule("slice_scatter", "select_scatter")
def scatter_slice(call: Call) -> None:
    call.fix([*call.of("self"), *call.of("src")], "written to in part")
    call.put(call.of("self"))


@rule("embedding")
def embedding(call: Call) -> None:
    rows, width = call.of("weight")
    call.fix([rows], "rows of an embedding")
    call.put([*call.of("indices"), width])


@rule("index", "_unsafe_index")
def index(call: Call) -> None:
    """Dimensions that tensors index stay; they move to the front unless they stand beside each other."""
    dims, indices = call.of("self"), call["indices"]
    where = [d for d, each in enumerate(indices) if each is not None]
    call.fix([dims[d] for d in where], "indexed by numbers")
    if any(indices[d].dtype in (torch.bool, torch.uint8) for d in where):
        raise UnknownError
    for d in where:
        call.fix(call.labels.of(indices[d]), "numbers of an index")
    shape = torch.broadcast_shapes(*(indices[d].shape for d in where))
    rest = [dim for d, dim in enumerate(dims) if d not in where]
    first = where[0] if where == list(range(where[0], where[-1] + 1)) else 0
    call.put([*rest[:first], *map(fixed, shape), *rest[first:]])


@rule("index_select")
def index_select(call: Call) -> None:
    dims = call.of("self")
    d = call["dim"] % len(dims)
    call.fix([dims[d]], "indexed by numbers")
    dims[d] = fixed(call.result.shape[d])
    call.put(dims)


@rule("gather")
def gather(call: Call) -> None:
    dims, index = call.of("self"), call.of("index")
    d = call["dim"] % len(dims)
    call.fix([dims[d], index[d]], "gathered")
    for i, (one, other) in enumerate(zip(dims, index, strict=True)):
        if i != d and not (is_fixed(one) and is_fixed(other)):
            unify(one, other, call.reason("gathered"))
    call.put(index)

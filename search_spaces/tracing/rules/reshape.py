"""Operators that lay the same elements out in another shape, or put tensors together and apart."""

from __future__ import annotations

from search_spaces.tracing.dimensions.axes import (
    Dim,
    Prod,
    factors_of,
    fix,
    fixed,
    is_fixed,
    join,
    nest,
    size_of,
    split,
    unify,
)
from search_spaces.tracing.labels import Call

from .rule import UnknownError, pieces, rule


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "view_copy", "_reshape_copy")
def reshape(call: Call) -> None:
    """Factors of all dimensions in a row are dealt out to the new ones, and divided where these need it."""
    dims = call.of("self")
    factors = factors_of(Prod(tuple(dims))) if dims else []
    shape = list(call.result.shape)
    if 0 in shape:
        call.put(fixed(size) for size in shape)
        return
    found: list[Dim] = []
    for size in shape:
        taken = _take(factors, size)
        if taken is None:
            call.fix(dims, f"reshaped to {'x'.join(map(str, shape))}")
            found = [fixed(each) for each in shape]
            break
        found.append(taken)
    call.put(found)


def _take(factors: list[Dim], size: int) -> Dim | None:
    """A dimension of that size from the front of ``factors``; None: they don't divide there."""
    taken: list[Dim] = []
    while size > 1:
        if not factors:
            return None
        first = factors.pop(0)
        here = size_of(first)
        if size % here == 0:
            taken.append(first)
            size //= here
            continue
        halves = split(first, here // size) if here % size == 0 else None
        if halves is None:
            return None
        taken.append(halves[0])
        factors.insert(0, halves[1])
        size = 1
    return nest(taken)


@rule("permute")
def permute(call: Call) -> None:
    dims = call.of("self")
    call.put(dims[d] for d in call["dims"])


@rule("t", "numpy_T", "adjoint", "mT")
def t(call: Call) -> None:
    dims = call.of("self")
    call.put([*dims[:-2], *dims[-2:][::-1]])


@rule("transpose", "swapaxes")
def transpose(call: Call) -> None:
    dims = call.of("self")
    a, b = call["dim0"], call["dim1"]
    dims[a], dims[b] = dims[b], dims[a]
    call.put(dims)


@rule("unsqueeze")
def unsqueeze(call: Call) -> None:
    dims, d = call.of("self"), call["dim"]
    dims.insert(d if d >= 0 else d + len(dims) + 1, fixed(1))
    call.put(dims)


@rule("squeeze")
def squeeze(call: Call) -> None:
    dims, shape = call.of("self"), call["self"].shape
    where = call["dim"]
    where = range(len(dims)) if where is None else where if isinstance(where, list | tuple) else [where]
    gone = {d % len(dims) for d in where} if dims else set()
    call.put(dim for d, dim in enumerate(dims) if not (d in gone and shape[d] == 1))


@rule("expand")
def expand(call: Call) -> None:
    """Repeats are given; what is already there stays."""
    dims, shape, result = call.of("self"), call["self"].shape, call.result.shape
    lead = len(result) - len(dims)
    call.put(dims[d - lead] if d >= lead and shape[d - lead] == size else fixed(size) for d, size in enumerate(result))


@rule("repeat")
def repeat(call: Call) -> None:
    dims, result = call.of("self"), call.result.shape
    lead = len(result) - len(dims)
    call.put(
        nest([fixed(times), dims[d - lead]]) if d >= lead else fixed(times) for d, times in enumerate(call["repeats"])
    )


@rule("cat", "concatenate")
def cat(call: Call) -> None:
    tensors = [x for x in call["tensors"] if x.dim() == call.result.dim()]
    d = (call["dim"] or 0) % call.result.dim()
    dims = list(call.labels.of(tensors[0]))
    for tensor in tensors[1:]:
        for i, other in enumerate(call.labels.of(tensor)):
            if i != d:
                unify(dims[i], other, call.reason("joined tensors"))
    dims[d] = join(call.labels.of(x)[d] for x in tensors if x.shape[d])
    call.put(dims)


@rule("stack")
def stack(call: Call) -> None:
    tensors, d = call["tensors"], (call["dim"] or 0) % call.result.dim()
    dims = list(call.labels.of(tensors[0]))
    for tensor in tensors[1:]:
        for one, other in zip(dims, call.labels.of(tensor), strict=True):
            unify(one, other, call.reason("stacked tensors"))
    dims.insert(d, fixed(len(tensors)))
    call.put(dims)


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "tensor_split")
def split_tensor(call: Call) -> None:
    d = (call["dim"] or 0) % call["self"].dim()
    dims = call.of("self")
    found = pieces(call, dims[d], [result.shape[d] for result in call.results], "split at a fixed place")
    for number, piece in enumerate(found):
        call.put([*dims[:d], piece, *dims[d + 1 :]], number)


@rule("unbind")
def unbind(call: Call) -> None:
    d = (call["dim"] or 0) % call["self"].dim()
    dims = call.of("self")
    call.fix([dims[d]], "unbound one by one")
    for number in range(len(call.results)):
        call.put([*dims[:d], *dims[d + 1 :]], number)


@rule("as_strided")
def as_strided(call: Call) -> None:
    x = call["self"]
    if tuple(call["size"]) != tuple(x.shape) or tuple(call["stride"]) != tuple(x.stride()):
        raise UnknownError
    call.put(call.of("self"))


@rule("unfold")
def unfold(call: Call) -> None:
    """Windows over a dimension."""
    dims = call.of("self")
    d = call["dimension"] % len(dims)
    call.fix([dims[d]], "windows over it")
    dims[d] = fixed(call.result.shape[d])
    call.put([*dims, fixed(call["size"])])


@rule("roll")
def roll(call: Call) -> None:
    dims = call.of("self")
    for d in call["dims"] or range(len(dims)):
        _in_order(call, dims[d], "rolled")
    call.put(dims)


@rule("flip")
def flip(call: Call) -> None:
    dims = call.of("self")
    for d in call["dims"]:
        _in_order(call, dims[d], "flipped")
    call.put(dims)


def _in_order(call: Call, dim: Dim, why: str) -> None:
    if not is_fixed(dim):
        call.fix([dim], why)


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> None:
    """Channels times r x r become channels and pixels."""
    dims, r = call.of("self"), call["upscale_factor"]
    halves = split(dims[-3], r * r)
    if halves is None:
        raise UnknownError
    call.fix([halves[1], *dims[-2:]], "pixel shuffle")
    call.put([*dims[:-3], halves[0], *map(fixed, call.result.shape[-2:])])


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> None:
    dims, r = call.of("self"), call["downscale_factor"]
    call.fix(dims[-2:], "pixel unshuffle")
    call.put([*dims[:-3], nest([dims[-3], fixed(r * r)]), *map(fixed, call.result.shape[-2:])])


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> None:
    dims = call.of("self")
    halves = split(dims[1], call["self"].shape[1] // call["groups"])
    if halves is None:
        raise UnknownError
    fix(halves[0], call.reason("shuffled groups"))
    dims[1] = nest([halves[1], halves[0]])
    call.put(dims)

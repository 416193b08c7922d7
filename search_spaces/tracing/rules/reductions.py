"""Sums, means and maxima over dimensions, and choices of the largest."""

from __future__ import annotations

from search_spaces.tracing.dimensions.axes import fixed
from search_spaces.tracing.labels import Call

from .rule import rule


@rule(
    "mean", "sum", "amax", "amin", "max", "min", "var", "var_mean", "std", "std_mean", "linalg_vector_norm", "prod",
    "argmax", "argmin", "logsumexp", "norm", "any", "all", "nansum", "count_nonzero", "median",
)  # fmt: skip
def reduce(call: Call) -> None:
    dims = call.labels.of(call.tensors[0])
    where = call["dim"]
    where = [where] if isinstance(where, int) else where or range(len(dims))
    gone = {d % len(dims) for d in where} if dims else set()
    kept = [fixed(1) if d in gone else dim for d, dim in enumerate(dims) if call["keepdim"] or d not in gone]
    for number, result in enumerate(call.results):
        if result.dim() == len(kept):
            call.put(kept, number)


@rule("topk", "sort", "kthvalue")
def choose(call: Call) -> None:
    dims = call.of("self")
    if dims:
        d = (-1 if call["dim"] is None else call["dim"]) % len(dims)
        call.fix([dims[d]], "chosen by value")
        dims[d] = fixed(call.result.shape[d])
    for number in range(len(call.results)):
        call.put(dims, number)

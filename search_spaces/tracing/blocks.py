"""Blocks that a network can do without: runs of siblings around which the signal passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from .trace import CallRow, Trace


@dataclass(frozen=True)
class Run:
    """Neighbouring children of a module, of one class, of which the last ones may go.

    Attributes:
        owner: path of the module.
        blocks: paths of the children, in the order in which they run.
        least: how many stay at least.
        delete: a block that goes is taken out of its owner; otherwise ``nn.Identity`` takes its place.
    """

    owner: str
    blocks: tuple[str, ...]
    least: int
    delete: bool

    def gone(self, kept: int) -> tuple[str, ...]:
        """Blocks that go where the first ``kept`` stay."""
        return self.blocks[kept:]

    def turned(self) -> Run:
        """The same, with blocks going in the other way."""
        return replace(self, delete=not self.delete)


def find_runs(model: nn.Module, trace: Trace) -> list[Run]:
    """The runs of a model, none inside another.

    A block may go if it was called once, gave back the dimensions that it was given, has products inside, and its
    input reaches its output without any: that is, if it is residual. A sequence is not one block, its members are.
    """
    calls: dict[str, list[CallRow]] = {}
    for call in trace.calls:
        calls.setdefault(call.path, []).append(call)
    found: list[Run] = []
    for path, module in model.named_modules():
        if any(f"{path}.".startswith(f"{block}.") for run in found for block in run.blocks):
            continue
        for blocks in _neighbours(path, module, calls, trace):
            if (run := _make_run(path, module, blocks, calls)) is not None:
                found.append(run)
    return found


def _neighbours(
    path: str, module: nn.Module, calls: dict[str, list[CallRow]], trace: Trace
) -> Iterator[list[tuple[str, nn.Module]]]:
    """Children beside each other that may go, of one class."""
    run: list[tuple[str, nn.Module]] = []
    for name, child in module._modules.items():
        here = f"{path}.{name}".lstrip(".")
        removable = not isinstance(child, nn.Sequential | None) and _may_go(calls.get(here, []), trace)
        if run and (not removable or type(child) is not type(run[-1][1])):
            yield run
            run = []
        if removable and child is not None:
            run.append((here, child))
    if run:
        yield run


def _may_go(calls: Sequence[CallRow], trace: Trace) -> bool:
    if len(calls) != 1:
        return False
    call = calls[0]
    return (
        call.passes
        and call.inputs is not None
        and call.inputs == call.outputs
        and any(operator.macs is not None for operator in trace.operators[call.first : call.last])
    )


def _make_run(
    path: str, module: nn.Module, blocks: Sequence[tuple[str, nn.Module]], calls: dict[str, list[CallRow]]
) -> Run | None:
    """A run; None where taking blocks away would leave nothing, or the block has no sibling of its class."""
    paths = [block for block, _ in blocks]
    order = [calls[block][0].first for block in paths]
    names = [f"{path}.{name}".lstrip(".") for name in module._modules]
    siblings = sum(type(child) is type(blocks[0][1]) for child in module._modules.values())
    least = int(names[0] == paths[0])
    if order != sorted(order) or len(paths) <= least or siblings < 2:
        return None
    return Run(path, tuple(paths), least, delete=names[-1] == paths[-1])

"""Which runtimes can open an ONNX file: its opset and format are the lowest that its operators need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OPSET = 18
"""What every file is written in first: those with packed weights go on to higher ones. Others need no more."""
OLDEST = "1.16"
"""The oldest onnxruntime that files are tried with."""
SINCE = {19: OLDEST, 20: "1.17", 21: "1.18", 22: "1.21", 23: "1.22", 24: "1.23", 25: "1.24"}
"""Opset -> the first onnxruntime that has it, from https://onnxruntime.ai/docs/reference/compatibility.html."""


def lower_version(model: Any) -> None:
    """State the lowest opset, and the lowest version of the file format, that say the same of an ``onnx.ModelProto``.

    An operator means what the last change of it up to the model's opset says, so any opset from that change on will do.
    """
    from onnx import helper

    nodes = list(_nodes(model.graph))
    stated = {opset.domain: opset.version for opset in model.opset_import}
    needed = dict.fromkeys(("", *(node.domain for node in nodes)), 1)
    for node in nodes:
        needed[node.domain] = max(needed[node.domain], _since(node, stated[node.domain]))
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in needed.items())
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)


def oldest_runtime(model: Any) -> str:
    """The first onnxruntime that opens a model, as far as is known: none older than :data:`OLDEST` is tried."""
    opset = max(each.version for each in model.opset_import if not each.domain)
    return next(version for known, version in SINCE.items() if known >= opset)


def _since(node: Any, opset: int) -> int:
    from onnx import defs

    return int(defs.get_schema(node.op_type, max_inclusive_version=opset, domain=node.domain).since_version)


def _nodes(graph: Any) -> Iterator[Any]:
    """All nodes, those inside of others too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)

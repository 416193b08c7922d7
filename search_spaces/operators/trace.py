"""Reading the operators that a network executes off the model itself.

The model runs once on the ``meta`` device, under a mode that sees every operator PyTorch dispatches and notes it.
Below that level there are few operators (a linear layer, an einsum and attention all end in matrix products), so any
timm model can be read. What is returned is the deployed network, see ``deploy``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .deploy import deploy
from .operator import Op

if TYPE_CHECKING:
    from torch import Tensor, nn


def trace(model: nn.Module, in_chans: int, resolution: int) -> list[Op]:
    """Operators of a model, in eval mode and on ``meta``, on a square image, in execution order. Raises ValueError,
    RuntimeError or AssertionError where the network cannot take such an image."""
    import torch

    return trace_on(model, torch.empty(1, in_chans, resolution, resolution, device="meta"))


def trace_on(model: nn.Module, image: Tensor) -> list[Op]:
    """As :func:`trace`, on an input ``[1, ...]`` of any shape on the ``meta`` device."""
    import torch

    from .tracer import Tracer

    tracer = Tracer(image)
    with torch.no_grad(), module_paths(model, tracer.path), tracer:
        model(image)
    return deploy(tracer.notes, tracer.elements)


@contextmanager
def module_paths(model: nn.Module, path: list[str]) -> Iterator[None]:
    """Keep the last entry of ``path`` equal to the dotted name of the module that is running."""
    handles = []

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        path.pop()

    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
            path.append(name)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

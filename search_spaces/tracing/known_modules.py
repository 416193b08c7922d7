"""What is known of torch's own modules before a model runs: structure that is hidden in C++, and filters that may be
smaller."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from .dimensions.axes import Axis, Prod, fixed
from .dimensions.origins import Attribute
from .labels import Labels

SMALLEST_KERNEL = 3


def declare(model: nn.Module, labels: Labels) -> None:
    """Say what dimensions of some tensors are."""
    for path, module in model.named_modules():
        if isinstance(module, nn.RNNBase):
            _declare_recurrent(path, module, labels)
        elif is_elastic_filter(module):
            _declare_filter(path, module, labels)


def _declare_recurrent(path: str, module: nn.RNNBase, labels: Labels) -> None:
    """Weights of all gates lie below each other: ``[gates x hidden, in]``. Attributes are compared with sizes."""
    hidden = Axis(module.hidden_size, f"{path}.hidden_size")
    labels.attributes[Attribute(path, "hidden_size")] = hidden
    given = Axis(module.input_size, f"{path}.input_size")
    labels.attributes[Attribute(path, "input_size")] = given
    gates = int(module._parameters["weight_hh_l0"].shape[0]) // module.hidden_size  # type: ignore[union-attr]
    if module.proj_size:
        hidden.reason = "projected"
    for name, tensor in module._parameters.items():
        if tensor is None:
            continue
        dims = [Axis(size, f"{path}.{name}:{d}") for d, size in enumerate(tensor.shape)]
        if not name.startswith("weight_hr"):
            dims[0].known_as = Prod((fixed(gates), hidden)) if gates > 1 else hidden
        if name.startswith("weight_hh") and not module.proj_size:
            dims[1].known_as = hidden
        if name.startswith("weight_ih_l0"):
            dims[1].known_as = given
        labels.declare(f"{path}.{name}".lstrip("."), tensor, dims)


def is_elastic_filter(module: nn.Module) -> bool:
    """Whether a module is a depthwise convolution that computes the same positions with the centre of its filter:
    of an odd side with half of it as zeros around the image."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or module.groups == 1 or module.groups != module.in_channels:
        return False
    side = module.kernel_size[0]
    return (
        side > SMALLEST_KERNEL
        and side % 2 == 1
        and set(module.kernel_size) == {side}
        and module.padding_mode == "zeros"
        and isinstance(module.padding, tuple)
        and set(module.padding) == {side // 2}
        and set(module.dilation) == {1}
    )


def _declare_filter(path: str, module: nn.Module, labels: Labels) -> None:
    tensor = module._parameters["weight"]
    if tensor is None:
        return
    side = Axis(tensor.shape[-1], f"{path}.kernel")
    side.kernel = True
    name = f"{path}.weight".lstrip(".")
    channels = [Axis(size, f"{name}:{d}") for d, size in enumerate(tensor.shape[:2])]
    labels.declare(name, tensor, [*channels, *[side] * (tensor.dim() - 2)])


def filters_of(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Convolutions whose filter may be smaller, and how many sides it has."""
    for path, module in model.named_modules():
        if is_elastic_filter(module):
            yield path, 1 if isinstance(module, nn.Conv1d) else 2

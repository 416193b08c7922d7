"""From a model of any kind to what it can shrink by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from search_spaces.errors import UserError, first_line

from .blocks import find_runs
from .checks import prove
from .choices import Shares
from .copies import tensor_names
from .elastic import ElasticModel
from .inputs import Inputs
from .trace import trace

Found = TypeVar("Found")


def derive(model: nn.Module, inputs: Inputs, shares: Shares | None = None) -> ElasticModel:
    """What a model can shrink by, proved by running the smallest network and some random ones.

    Args:
        model: in eval mode; it stays as it is. It is run where its tensors are: on ``meta`` nothing is computed.
        inputs: on the same device, of batch 1.
        shares: which sizes there are; None: the usual ones.

    Raises:
        UserError: no smaller network runs as foretold.
        Exception: whatever the model's code raises on these inputs.
    """
    traced = trace(model, inputs)
    elastic = ElasticModel(model, inputs, traced, shares or Shares(), tuple(find_runs(model, traced)))
    return prove(elastic)


def derive_anywhere(build: Callable[[], nn.Module], inputs: Inputs, shares: Shares | None = None) -> ElasticModel:
    """:func:`derive` of the model that ``build`` makes, as :func:`look_anywhere`."""

    def build_on(device: str) -> nn.Module:
        with torch.device(device):
            return build()

    return look_anywhere(build_on, inputs, lambda model, given: derive(model, given, shares))


def look_anywhere(
    build: Callable[[str], nn.Module], inputs: Inputs, look: Callable[[nn.Module, Inputs], Found]
) -> Found:
    """What ``look`` finds out by running the model that ``build`` makes on a device: ``meta`` where that is possible,
    the CPU where the model's code looks at values, or keeps tensors that are neither parameters nor buffers.

    Raises UserError where it runs on neither, or ``look`` does.
    """
    try:
        model = build("meta").eval()
        if not _has_loose_tensors(model):
            return look(model, inputs.to("meta"))
    except UserError:
        raise
    except Exception:  # code that meets a tensor without values raises anything
        pass
    try:
        return look(build("cpu").eval(), inputs.to("cpu"))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the model does not run on these inputs: {first_line(error)}") from error


def derive_examples(model: nn.Module, example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> ElasticModel:
    """What a model of one's own can shrink by: its genes, and the network, the index plan and the recipe of any choice.

    Args:
        model: it is put into eval mode while it is looked at, and run on these inputs, without gradients.
        example_inputs: a tensor, or the arguments by place or by name, as the model is called; of batch 1.

    Raises:
        UserError: no smaller network runs as foretold.
        Exception: whatever the model's code raises on these inputs.
    """
    if isinstance(example_inputs, Tensor):
        inputs = Inputs((example_inputs,))
    elif isinstance(example_inputs, Mapping):
        inputs = Inputs((), example_inputs)
    else:
        inputs = Inputs(tuple(example_inputs))
    training = [module for module in model.modules() if module.training]
    try:
        return derive(model.eval(), inputs)
    finally:
        for module in training:
            module.training = True


def _has_loose_tensors(model: nn.Module) -> bool:
    known = tensor_names(model)
    return any(
        isinstance(value, Tensor) and id(value) not in known
        for module in model.modules()
        for value in vars(module).values()
    )

"""What the commands ask of a model besides that it can shrink: it is a classifier, and its costs can be read."""

# mypy: allow-untyped-calls

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from search_spaces.errors import UserError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    from search_spaces.tracing.elastic import ElasticModel

_RANDOM = (
    "bernoulli", "multinomial", "native_dropout", "normal", "rand", "rand_like", "randint", "randn", "randn_like",
    "randperm", "rrelu_with_noise", "uniform",
)  # fmt: skip
"""Operators that draw numbers."""
_SQUASHED = ("_softmax", "hardsigmoid", "sigmoid")
"""What makes probabilities of logits."""
_MOVES = (
    "_unsafe_view", "alias", "clone", "detach", "expand", "flatten", "permute", "reshape", "select", "slice", "squeeze",
    "t", "transpose", "unsqueeze", "view",
)  # fmt: skip
"""Operators that leave values as they are."""


def check_classifier(elastic: ElasticModel, outputs: int) -> None:
    """Raises UserError where a model doesn't give one value for each of the classes, its answer depends on chance or on
    what lies beside an image, or its code looks at values.

    Without values, answers that depend on other images are seen only where two images have one.
    """
    import torch

    from search_spaces.tracing.copies import copy_tree
    from search_spaces.tracing.meta import Quick

    if drawn := [row for row in elastic.trace.operators if row.name in _RANDOM]:
        raise UserError(
            f"its answer depends on chance also where nothing is trained: {drawn[0].name} in "
            f"{drawn[0].path or 'the model itself'}"
        )
    (image,) = elastic.inputs.positional
    two = torch.empty(2, *image.shape[1:], device=image.device)
    if not two.is_meta:
        two.uniform_(generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Quick():
        try:
            both = copy_tree(elastic.model)(two)
        except Exception as error:  # whatever the model's code raises
            raise UserError(f"it does not run on two images at once: {first_line(error)}") from None
        _check_answer(both, outputs, "")
        if not two.is_meta and not torch.allclose(copy_tree(elastic.model)(two[1:])[0], both[1], 1e-3, 1e-3):
            raise UserError("its answer to an image depends on those beside it")
    last = next(row for row in reversed(elastic.trace.operators) if row.name not in _MOVES)
    if last.name in _SQUASHED:
        raise UserError(
            f"it gives probabilities: it ends with {last.name.lstrip('_')}, which the loss has in it; leave that out"
        )
    _check_training(elastic, two, outputs)
    _check_costs(elastic)


def _check_answer(answer: Any, outputs: int, when: str) -> None:
    """Raises UserError where the answer to two images is something else than a value for each class."""
    from torch import Tensor

    if not isinstance(answer, Tensor):
        raise UserError(f"it gives a {type(answer).__name__}{when}; let it give one tensor, a value for each class")
    if answer.ndim and answer.shape[0] != 2 and tuple(answer.shape[1:]) == (outputs,):
        raise UserError(f"it has one answer for two images{when}")
    if tuple(answer.shape) != (2, outputs):
        raise UserError(
            f"it does not give one value for each class{when}: {list(answer.shape)} for 2 images, {outputs} classes"
        )


def _check_training(elastic: ElasticModel, images: Tensor, outputs: int) -> None:
    """Raises UserError where the model gives something else in training. Code that cannot be run like this, as what
    draws a number and looks at it cannot without values, passes."""
    import torch

    from search_spaces.tracing.copies import copy_tree
    from search_spaces.tracing.meta import Quick

    with torch.no_grad(), torch.random.fork_rng(devices=[]), Quick():
        try:
            model = copy_tree(elastic.model) if images.is_meta else copy.deepcopy(elastic.model)  # statistics stay
            answer = model.train()(images)
        except Exception:  # whatever the model's code raises
            return
    _check_answer(answer, outputs, " in training")


def _check_costs(elastic: ElasticModel) -> None:
    """Raises UserError where the model's code looks at values: its costs are read off a run without them."""
    import torch

    from search_spaces.operators.trace import trace_on
    from search_spaces.tracing.copies import copy_tree

    (image,) = elastic.inputs.positional
    if image.is_meta:
        return  # it has run so
    try:
        trace_on(copy_tree(elastic.model), torch.empty(image.shape, device="meta"))
    except Exception as error:  # whatever the model's code raises
        raise UserError(
            f"its code looks at the values of tensors, and its costs are read off a run without: {first_line(error)}"
        ) from None

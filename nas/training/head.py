"""A classifier fitted to what given weights already see, before anything else is trained.

Weights from elsewhere come with features and without a classifier for these classes. A classifier of zeros sends
gradients through the features that say little, and spoils them before it has learned anything; fitted alone first, it
keeps them (Kumar et al., arXiv:2202.10054, who call it linear probing before fine-tuning).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.data.batches import eval_batches
from nas.data.dataset import Dataset
from nas.events import Listener, Noted
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import Task

from .step import resize, statistics_kept

IMAGES = 4096
"""Training images that a classifier is fitted to, at most."""
BATCH = 64
DECAYS = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties on the squared weights of standardised features; images that were held out decide between them."""
HELD_OUT = 5
"""One image of so many."""
_ITERATIONS = 100


def fit_head(net: Supernet, dataset: Dataset, smoothing: float, report: Listener) -> bool:
    """Fit a classifier that is 0 to the features of the largest network, in place; False: there is nothing to fit.

    It is the minimum of a convex loss, so nothing is drawn at random: the same weights and images give the same one.

    Args:
        smoothing: of labels, as the training that follows has it.
    """
    head = fresh_head(net.model)
    if head is None:
        return False
    features, labels = _features(net, head, dataset)
    features, labels = features.double(), labels.to(features.device)
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    weight, bias = _best((features - mean) / scale, labels, head.out_features, dataset.task, smoothing)
    weight = weight / scale
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias - weight @ mean)
    report(Noted(f"a new classifier is fitted to what the given network sees in {len(labels):,} images"))
    return True


def fresh_head(model: nn.Module) -> nn.Linear | None:
    """The classifier that timm declares of a model, where it is one linear layer and 0; else None."""
    name = getattr(model, "pretrained_cfg", {}).get("classifier")
    head = model.get_submodule(name) if isinstance(name, str) else None
    return head if isinstance(head, nn.Linear) and not head.weight.any() else None


@torch.no_grad()
def _features(net: Supernet, head: nn.Linear, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """What reaches the classifier, ``[n, features]``, and labels ``[n]``; normalised by batch, as in training."""
    largest, device = net.space.largest, next(net.parameters()).device
    found: list[Tensor] = []
    labels: list[Tensor] = []
    with statistics_kept(net), _watched(head, found):
        net.train()
        for images, own in eval_batches(dataset, "train", largest.resolution, BATCH, IMAGES):
            if len(images) > 1:  # batch norm needs two
                net.model(resize(images.to(device), largest.resolution))
                labels.append(own)
    return torch.cat(found), torch.cat(labels)


@contextmanager
def _watched(head: nn.Linear, found: list[Tensor]) -> Iterator[None]:
    """Collect the inputs of a layer."""
    handle = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float()))
    try:
        yield
    finally:
        handle.remove()


def _best(features: Tensor, labels: Tensor, outputs: int, task: Task, smoothing: float) -> tuple[Tensor, Tensor]:
    """Weights ``[outputs, features]`` and bias, with the penalty that suits images best which were held out."""
    held = torch.arange(len(labels), device=labels.device) % HELD_OUT == 0
    losses = []
    for decay in DECAYS:
        weight, bias = _fit(features[~held], labels[~held], outputs, task, smoothing, decay)
        losses.append(task.loss(features[held] @ weight.T + bias, labels[held], None, Loss()).item())
    return _fit(features, labels, outputs, task, smoothing, DECAYS[losses.index(min(losses))])


def _fit(
    features: Tensor, labels: Tensor, outputs: int, task: Task, smoothing: float, decay: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The linear layer of least loss, by quasi-Newton steps from 0."""
    weight = torch.zeros(outputs, features.shape[1], dtype=features.dtype, device=features.device, requires_grad=True)
    bias = torch.zeros(outputs, dtype=features.dtype, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = task.loss(features @ weight.T + bias, labels, None, Loss(smoothing))
        value = value + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()

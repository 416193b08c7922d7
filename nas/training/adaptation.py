"""From the adapted whole to its subnets: what happens between the two parts of strategy teacher-first.

The adapted network is kept as a file of the run and becomes the fixed teacher; its channels are put in the order of
what the loss would lose without them. All of it follows from the weights of that step, so a run that was stopped here
does it again with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from nas.data.batches import eval_batches
from nas.data.dataset import Dataset
from nas.events import Listener, Noted
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.ordering import loss_importance, order_channels
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.training.processes.world import World

from .config import TrainConfig
from .step import resize, statistics_kept
from .weights import measure_filters, save_weights

_IMAGES = 1024
"""Training images whose losses say how much a channel matters."""
_BATCH = 64


def hand_over(
    net: Supernet, average: dict[str, Tensor], run: Run, config: TrainConfig, dataset: Dataset, world: World,
    steps: int, report: Listener,
) -> None:  # fmt: skip
    """Keep the adapted network after so many ``steps`` as ``adapted.safetensors``, and order its channels.

    Process 0 does it; the others get its weights.

    Args:
        net: holds the network; in place.
        average: of its weights, which then are the adapted ones; in place; may be empty.
    """
    if average:
        net.model.load_state_dict(average)
    if world.main:
        save_weights(run.adapted, net.model.state_dict(), config, dataset, steps)
        order_by_loss(net, dataset)
        report(Noted(f"the whole network is adapted ({run.adapted}); from step {steps} on it teaches its subnets"))
    world.wait()
    world.start_alike(net.model, steps)
    average.update((name, tensor.detach().clone()) for name, tensor in net.model.state_dict().items() if average)


def adapted_filters(run: Run) -> float:
    """What decides the rate of the subnets, from the file, so that a run that was stopped has the same."""
    return measure_filters(load_tensors(run.adapted)[0])


def order_by_loss(net: Supernet, dataset: Dataset) -> None:
    """Put the channels of a trained network in the order of what the loss would lose without them, in place."""
    groups = net.space.family.channel_groups(net.model)
    with statistics_kept(net):
        importance = loss_importance(net.model, groups, _losses(net, dataset))
    order_channels(net.model, groups, importance)


def _losses(net: Supernet, dataset: Dataset) -> Iterator[Tensor]:
    """Losses of the largest network on batches of training images, normalised as subnets will be: by the batch."""
    net.train()
    largest, device = net.space.largest, next(net.parameters()).device
    for images, labels in eval_batches(dataset, "train", largest.resolution, _BATCH, _IMAGES):
        output = net(resize(images.to(device), largest.resolution), largest).float()
        yield dataset.task.loss(output, labels.to(device), None, Loss())

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
from nas.supernet.ordering import groups_of, loss_importance, order_channels
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import Task
from nas.training.processes.world import World

from .config import TrainConfig
from .step import resize, statistics_kept
from .weights import measure_filters, save_weights

_IMAGES = 1024
"""Training images whose losses say how much a channel matters."""
BATCH = 64


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
        save_weights(run.adapted, net.model.state_dict(), config, dataset, steps, shared=False)
        order_by_loss(net, dataset, -(-config.batch_size // config.accumulate))
        then = "it teaches its subnets" if config.teacher is None else "its subnets are trained"
        report(Noted(f"the whole network is adapted ({run.adapted}); from step {steps} on {then}"))
    world.wait()
    world.start_alike(net.model, steps)
    average.update((name, tensor.detach().clone()) for name, tensor in net.model.state_dict().items() if average)


def adapted_filters(run: Run) -> float:
    """What decides the rate of the subnets, from the file, so that a run that was stopped has the same."""
    return measure_filters(load_tensors(run.adapted)[0])


def order_by_loss(net: Supernet, dataset: Dataset, most: int = BATCH) -> None:
    """Put the channels of a trained network in the order of what the loss would lose without them, in place; ``most``:
    images that there is memory for at once."""
    groups = groups_of(net)
    with statistics_kept(net):
        importance = loss_importance(net.model, groups, _losses(net, dataset, most))
    order_channels(net.model, groups, importance)


def _losses(net: Supernet, dataset: Dataset, most: int) -> Iterator[Iterator[Tensor]]:
    """Losses of the largest network on batches of training images, normalised as subnets will be: by the batch. A
    batch's comes in parts of at most about ``most`` images, one in memory at a time."""
    net.train()
    for images, labels in eval_batches(dataset, "train", net.space.largest.resolution, BATCH, _IMAGES):
        if len(images) > 1:  # batch norm needs two
            yield _parts(net, dataset.task, images, labels, min(-(-len(images) // most), len(images) // 2))


def _parts(net: Supernet, task: Task, images: Tensor, labels: Tensor, count: int) -> Iterator[Tensor]:
    """The shares that so many parts of a batch have in its loss."""
    largest, device = net.space.largest, next(net.parameters()).device
    for part, own in zip(images.tensor_split(count), labels.tensor_split(count), strict=True):
        output = net(resize(part.to(device), largest.resolution), largest).float()
        yield task.loss(output, own.to(device), None, Loss()) * (len(part) / len(images))

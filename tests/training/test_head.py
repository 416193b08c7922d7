"""A new classifier is fitted first: it is the minimum that it claims to be, and nothing else of the network changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.batches import eval_batches
from nas.data.dataset import Dataset
from nas.data.opening import open_dataset
from nas.events import Noted, ignore
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.training.head import BATCH, DECAYS, fit_head, fresh_head
from tests.support.cli_runs import write_photos
from tests.support.small_runs import RESOURCES, TINY, are_equal, short_config, train_run, weights_of

SMOOTHING = 0.1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(str(write_photos(tmp_path_factory.mktemp("head") / "photos", count=40)), 0)


@pytest.fixture
def net(dataset: Dataset) -> Supernet:
    """A network whose classifier is 0."""
    net = Supernet(TINY, dataset.interface)
    nn.init.zeros_(head_of(net).weight)
    nn.init.zeros_(head_of(net).bias)
    return net


def head_of(net: Supernet) -> nn.Linear:
    found = net.model.get_submodule("classifier")
    assert isinstance(found, nn.Linear)
    return found


def features_of(net: Supernet, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """What timm itself hands to the classifier, with the statistics of the batch."""
    model = net.model.train()
    batches = list(eval_batches(dataset, "train", TINY.largest.resolution, BATCH))
    with torch.no_grad():
        found = [model.forward_head(model.forward_features(images), pre_logits=True) for images, _ in batches]  # type: ignore[operator]
    return torch.cat(found).double(), torch.cat([labels for _, labels in batches])


def test_it_is_the_least_loss_of_one_of_the_penalties(net: Supernet, dataset: Dataset) -> None:
    """The gradient of a convex loss is 0 at its minimum alone; here with respect to standardised features."""
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    assert fit_head(net, dataset, SMOOTHING, ignore)
    changed = {name for name, tensor in net.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    features, labels = features_of(net, dataset)
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    weight = (head_of(net).weight.detach().double() * scale).requires_grad_()
    bias = (head_of(net).bias.detach().double() + head_of(net).weight.detach().double() @ mean).requires_grad_()
    loss = F.cross_entropy((features - mean) / scale @ weight.T + bias, labels, label_smoothing=SMOOTHING)
    to_weight, to_bias = torch.autograd.grad(loss, (weight, bias))
    assert to_bias.abs().max() < 1e-3
    left = [float((to_weight + decay * weight.detach()).abs().max()) for decay in DECAYS]
    assert min(left) < 1e-3 < float(to_weight.abs().max())


def test_a_classifier_that_knows_something_stays(net: Supernet, dataset: Dataset) -> None:
    with torch.no_grad():
        head_of(net).weight[0, 0] = 1.0
    before = head_of(net).weight.clone()
    assert fresh_head(net.model) is None
    assert not fit_head(net, dataset, SMOOTHING, ignore)
    assert torch.equal(head_of(net).weight, before)


def test_the_same_images_give_the_same_classifier(net: Supernet, dataset: Dataset) -> None:
    fit_head(net, dataset, SMOOTHING, ignore)
    first = head_of(net).weight.clone()
    nn.init.zeros_(head_of(net).weight)
    torch.rand(7)
    fit_head(net, dataset, SMOOTHING, ignore)
    assert torch.equal(head_of(net).weight, first)


def test_a_run_from_given_weights_begins_with_it(tmp_path: Path) -> None:
    """Weights of a network of three classes for two; a run from random weights has nothing to fit."""
    photos = write_photos(tmp_path / "photos", count=20)
    dataset = open_dataset(str(photos), 0)
    source = Supernet(TINY, replace(dataset.interface, outputs=dataset.interface.outputs + 1), seed=3)
    torch.save(source.model.state_dict(), tmp_path / "given.pth")
    given = short_config(photos, init=str(tmp_path / "given.pth"))
    runs = [Run(tmp_path / name) for name in ("one", "two")]
    told = [train_run(run, given, replace(RESOURCES, evaluations=1)) for run in runs]
    said = [
        [event.text for event in events if isinstance(event, Noted) and "classifier" in event.text] for events in told
    ]
    assert len(said[0]) == 1
    assert f"{np.unique(dataset.train).size:,} images" in said[0][0]
    assert are_equal(*(weights_of(run) for run in runs))
    scratch = train_run(Run(tmp_path / "scratch"), short_config(photos))
    assert not [event for event in scratch if isinstance(event, Noted) and "classifier" in event.text]

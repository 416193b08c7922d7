"""The weights of a trained supernet: written, read, and looked at while they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from nas.candidates.calibrate import calibrate
from nas.data.batches import calibration_images, eval_batches
from nas.data.dataset import Dataset, interface_of
from nas.quantization.grids import is_clip
from nas.store.files import NewerFormat, load_tensors, save_tensors
from nas.store.records import RunRecord
from nas.store.run import Run
from nas.store.seeds import stream
from nas.supernet.supernet import Supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.errors import UserError
from search_spaces.schema import convert, problems

from .config import TrainConfig, shares_weights
from .quantized import learned_precisions

_ANEW = "restore it, or train again with another `out`"
EVALUATED = 1000
"""Images of an evaluation during training."""


def save_trained(
    run: Run, net: Supernet, average: dict[str, Tensor], config: TrainConfig, dataset: Dataset, steps: int
) -> None:
    """Write ``supernet.safetensors``, the last thing a training does."""
    save_weights(run.supernet, average or net.model.state_dict(), config, dataset, steps, shares_weights(config, steps))


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], config: TrainConfig, dataset: Dataset, steps: int, shared: bool = True
) -> None:  # fmt: skip
    """Write tensors of a supernet, with what they were trained on and for how long; ``shared``: subnets were trained,
    so that every channel has its place."""
    about = {"config": asdict(config), "data": dataset.info.to_json(), "steps": steps}
    save_tensors(path, tensors, about if shared else {**about, "shared": False})


def measure_filters(weights: Mapping[str, Tensor]) -> float:
    """Typical squared norm of a filter: the mean of a layer, the median of all layers; depthwise ones have other
    sizes and do not count."""
    means = sorted(
        float(tensor.float().flatten(1).square().sum(1).mean())
        for tensor in weights.values()
        if tensor.ndim > 1 and tensor.shape[1] > 1 and tensor.is_floating_point()
    )
    return means[len(means) // 2]


def load_supernet(run: Run, device: str = "cpu", adapted: bool = False) -> Supernet:
    """The trained supernet of a run, or with ``adapted`` the whole network as it was before its subnets were trained.
    Raises UserError where it is not trained so far, damaged, or too new."""
    record, file = run.read(), run.adapted if adapted else run.supernet
    if not file.exists():
        if adapted:
            raise UserError(f"{file} is missing; {_ANEW}")
        raise UserError(f"{run.path} is not trained to the end; continue it: {run.resume_hint}")
    try:
        tensors, _ = load_tensors(file)
    except NewerFormat:
        raise
    except UserError as error:
        if adapted:
            raise UserError(f"{error}; {_ANEW}") from None
        raise UserError(f"{error}; write it again: {run.resume_hint}") from None
    config = parse_config(record, run.config)
    learned = () if adapted else learned_precisions(config)  # grids are learned after it was adapted
    tensors = {name: tensor for name, tensor in tensors.items() if learned or not is_clip(name)}
    net = Supernet(get_space(config.space), interface_of(record.data), learned=learned)
    try:
        net.model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{file} does not hold the weights of {config.space}: {reason}") from None
    return net.to(device).eval()


def config_of(run: Run) -> TrainConfig:
    """What a run was trained with; settings that it does not know have their defaults: older runs know fewer."""
    return parse_config(run.read(), run.config)


def parse_config(record: RunRecord, path: Path) -> TrainConfig:
    """The settings of a ``run.json`` that was read from ``path``. Raises UserError where it is damaged or too new."""
    if wrong := next(problems(record.config, TrainConfig, "config", closed=True), ""):
        raise UserError(f"{path} is damaged or of another version of nas: {wrong}; restore or remove it")
    return convert(record.config, TrainConfig)


def pick_watched(space: SearchSpace, seed: int) -> dict[str, Architecture]:
    """The ends of a space, and a random subnet of it that the seed draws."""
    (random,) = space.sample(stream(seed, "train.watched"), 1)
    return {"smallest": space.smallest, "random": space.decode(random), "largest": space.largest}


def evaluate_watched(
    net: Supernet, average: dict[str, Tensor], dataset: Dataset, watched: Mapping[str, Architecture]
) -> dict[str, float]:
    """Accuracy of the calibrated ``watched`` subnets on part of the search split, in fp32."""
    trained = net.model.state_dict()
    kept = {name: tensor.clone() for name, tensor in trained.items()} if average else {}
    if average:
        net.model.load_state_dict(average)
    found = {}
    for name, architecture in watched.items():
        device = next(net.parameters()).device
        subnet = net.extract(architecture).to(device)
        calibrate(subnet, calibration_images(dataset, architecture.resolution).to(device))
        batches = eval_batches(dataset, "search", architecture.resolution, 256, EVALUATED)
        found[name] = round(dataset.task.score(subnet, batches, device).value, 4)
    if kept:
        net.model.load_state_dict(kept)
    return found

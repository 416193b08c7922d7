"""What a person would do instead of searching: take the whole network, fine-tuned, on smaller images.

Strategy teacher-first keeps the whole as it was adapted before its subnets were trained. For every smaller resolution
of the space it is tuned briefly on images of that side, as a run of its own, which resumes as any training does. A
search measures the results as it measures its candidates, so that a front stands beside them.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from nas.candidates.calibrate import Calibration
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure
from nas.data.dataset import Dataset
from nas.events import Listener, Noted, Warned
from nas.search.costs import CandidateCosts
from nas.search.outcome import make_member
from nas.store.results import Member
from nas.store.run import Run, file_hash
from nas.supernet.supernet import Supernet
from nas.training.builders import settled_augment
from nas.training.config import PHASE, Resources, TrainConfig, peak_lr, shares_weights
from nas.training.loop import Curriculum
from nas.training.strategies.fixed import Fixed
from nas.training.strategies.table import TEACHER_FIRST
from nas.training.weights import load_supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.errors import UserError
from search_spaces.policy import INT8

from .single import drop_states, is_trained, train_single
from .trained import Trained

EPOCHS = 2.0
"""Of each resolution: the network knows the images already, and learns to see them smaller."""
RATE = 0.5
"""Peak learning rate, as a share of that which adapted the whole."""


def whole_networks(space: SearchSpace) -> tuple[Architecture, ...]:
    """The largest network at every resolution of a space, from the smallest."""
    genes = dict(space.largest.genes)
    (sides,) = (gene.choices for gene in space.genes if gene.name == "resolution")
    made = (Architecture(space.name, tuple((genes | {"resolution": side}).items())) for side in sorted(sides))
    return tuple(space.decode(space.encode(one)) for one in made)


def extra_epochs(config: TrainConfig, steps: int) -> float:
    """Epochs of the whole network on its largest images that tuning it at the smaller ones takes about as long as,
    after a training of so many steps."""
    if config.strategy != TEACHER_FIRST or not shares_weights(config, steps):
        return 0.0
    *smaller, largest = (one.resolution for one in whole_networks(get_space(config.space)))
    return EPOCHS * sum((side / largest) ** 2 for side in smaller)


def tune_whole(run: Run, config: TrainConfig, dataset: Dataset, resources: Resources, report: Listener) -> None:
    """Tune the adapted network of a trained run at every smaller resolution of its space; nothing where there is none.
    In this process alone, whatever number of them trained the run.

    Args:
        run: locked by the caller, and trained.

    Raises:
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    if config.strategy != TEACHER_FIRST or not run.adapted.exists():
        return
    *smaller, _ = whole_networks(get_space(config.space))
    if smaller:
        sides = ", ".join(str(one.resolution) for one in smaller)
        report(Noted(f"for comparison, the adapted whole is tuned at {sides} px: {EPOCHS:g} epochs each"))
    weights = file_hash(run.adapted)
    for architecture in smaller:
        sub = run.whole(architecture.resolution)
        if sub.exists and sub.read().finetuned_from != weights:
            shutil.rmtree(sub.path)  # of weights that were trained anew since
        settings = replace(
            config, strategy="fixed", epochs=EPOCHS, lr=RATE * peak_lr(config), lr_auto=False, base_batch=0, ema=0.0,
            pretrained=False, init=str(run.adapted.resolve()), teacher=None, teacher_weight=None,
            quantization_aware="", quantization_phase=PHASE, quantization_noise=0.0,
            augment=settled_augment(config, dataset.info),
        )  # fmt: skip
        if not is_trained(sub):
            fixed = Curriculum(Fixed(get_space(config.space), architecture), {}, architecture.resolution)
            train_single(sub, settings, dataset, weights, replace(resources, evaluations=0), report, fixed)
        drop_states(sub)


def measure_whole(trained: Trained, costs: CandidateCosts, report: Listener) -> tuple[Member, ...]:
    """The whole network at each resolution as it would be shipped, calibrated and in the precision of a search; from
    the smallest. Empty where it was not kept; what cannot be read is left out with a warning."""
    run, members = trained.run, []
    if not run.adapted.exists():
        return ()
    menu = costs.candidates.menu
    precision = INT8 if INT8 in menu else menu[0]
    for architecture in whole_networks(trained.space):
        side, largest = architecture.resolution, architecture == trained.space.largest
        net = _net_of(run if largest else run.whole(side), largest)
        if net is None:
            file = run.adapted if largest else run.whole(side).supernet
            report(Warned(f"{file} is missing or cannot be read; the whole network at {side} px is not compared"))
            continue
        candidate = Candidate(architecture, precision)
        calibration = Calibration(trained.calibration_images, trained.rules)
        report(Noted(f"measuring the whole network at {side} px, for comparison"))
        scores = [measure(net, trained.dataset, candidate, split, calibration) for split in ("search", "test")]
        members.append(make_member(costs, candidate, scores[0], scores[1]))
    return tuple(members)


def _net_of(run: Run, adapted: bool) -> Supernet | None:
    """The weights of a run, trained to its end, or its ``adapted`` ones; None: they cannot be read."""
    try:
        return load_supernet(run, adapted=adapted) if adapted or is_trained(run) else None
    except UserError:
        return None

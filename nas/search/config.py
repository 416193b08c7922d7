"""What decides a search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nas.candidates.calibrate import CALIBRATION_IMAGES
from nas.search.evolution.evolve import check_algorithm
from predictors.accuracy.choice import AUTO, check_kind
from predictors.targets.target import Target, load_target
from search_spaces.errors import UsageError

from .baselines import parse_baselines
from .loop import BATCH
from .objectives import DEFAULT, LATENCY_ON, Bounds, other_targets, parse_objectives


@dataclass(frozen=True)
class SearchConfig:
    """What decides a search's plan.

    Attributes:
        target: what candidates are scored for.
        precision: what their policies are made of, as in :func:`search_spaces.policy.parse_menu`; empty: the target's.
        measurements: how many subnets this search may measure, its random baseline not counted.
        bounds: constraints.
        objectives: what the front is of, as in :func:`nas.search.objectives.parse_objectives`.
        compare: baselines to measure beside it, as in :func:`nas.search.baselines.parse_baselines`.
        seed: of everything random.
        calibration_images: what a candidate is calibrated on before it is measured.
        algorithm: that searches the predictions, of ``evolve.ALGORITHMS``.
        predictor: of ``accuracy_choice.KINDS``, or ``auto``.
        batch: candidates chosen at once.
        seconds: no new batch is begun after this long; None: no limit.
        patience: stop once this many measurements let the hypervolume grow by less than a thousandth; 0: never.
        prior: measurements in the journal when the search first began (set by :func:`search`).
    """

    target: str
    precision: str = ""
    measurements: int = 40
    bounds: Bounds = field(default_factory=Bounds)
    seed: int = 0
    calibration_images: int = CALIBRATION_IMAGES
    algorithm: str = "archive"
    predictor: str = AUTO
    batch: int = BATCH
    seconds: float | None = None
    patience: int = 0
    objectives: str = DEFAULT
    compare: str = "random"
    prior: int = 0


def parse_targets(text: str) -> list[str]:
    """Names or files of targets, separated by commas; a later one that is wrong shall not wait for a search to end.

    Raises:
        UsageError: an unknown target, or one twice.
        UserError: a target file that is none.
    """
    found = [load_target(name.strip()).name for name in text.split(",")]
    if len(set(found)) < len(found):
        raise UsageError(f"--target {text} names one of them twice; give each once")
    return [name.strip() for name in text.split(",")]


def check_config(config: SearchConfig) -> None:
    """Refuse what no search can do. Raises UsageError."""
    if config.measurements < 4:
        raise UsageError(f"--measurements {config.measurements} is too few; a search needs at least 4")
    if config.seconds is not None and not config.seconds > 0:  # not a number neither
        raise UsageError(f"--time {config.seconds:g} leaves no time to measure; give seconds above 0")
    if config.batch < 1:
        raise UsageError(f"--batch {config.batch} measures nothing; give at least 1")
    if config.patience < 0:
        raise UsageError(f"--patience {config.patience} is negative; give 0 for no early stop, or measurements to wait")
    check_algorithm(config.algorithm)
    check_kind(config.predictor)
    parse_objectives(config.objectives)
    parse_baselines(config.compare)


def with_others(config: SearchConfig) -> tuple[SearchConfig, tuple[Target, ...]]:
    """The further devices of a search, and its configuration with their own names in place of their files'.

    Raises:
        UserError, UsageError: an unknown device, one that lacks the precision, or the search's own once more.
    """
    named = parse_objectives(config.objectives)
    given = other_targets(named, config.bounds)
    others = {name: load_target(name) for name in given}
    for target in others.values():
        if target.name == config.target:
            raise UsageError(
                f"{target.name} is this search's own target: its latency is the objective 'latency', its limit "
                "--max-latency"
            )
        target.menu(config.precision)
    objectives = ["accuracy", *(_renamed(name, others) for name in named)]
    bounds = replace(config.bounds, elsewhere={others[n].name: ms for n, ms in config.bounds.elsewhere.items()})
    devices = {target.name: target for target in others.values()}
    return replace(config, objectives=",".join(objectives), bounds=bounds), tuple(devices.values())


def _renamed(objective: str, others: dict[str, Target]) -> str:
    given = objective.removeprefix(LATENCY_ON)
    return LATENCY_ON + others[given].name if objective.startswith(LATENCY_ON) else objective

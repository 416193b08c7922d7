"""What decides a search. No framework is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from nas.store.results import CALIBRATION, CALIBRATION_IMAGES
from nas.store.settings import SEED, Setting, check_settings
from predictors.accuracy.predictor import PREDICTORS
from predictors.targets.target import Target, load_target
from search_spaces.errors import UsageError

from .bounds import Bounds, other_targets
from .objectives import DEFAULT, LATENCY_ON, parse_objectives

BATCH = 6
AUTO = "auto"
ALGORITHMS = ("archive", "nsga2")
ALGORITHM = Setting(
    "Evolution that searches the predictions: archive; or pymoo's nsga2, for comparison.", choices=ALGORITHMS
)
PREDICTOR = Setting(
    "Accuracy predictor: gp, boosting or mlp; auto: chosen by cross-validation on the measurements.",
    choices=(AUTO, *PREDICTORS),
)


@dataclass(frozen=True)
class SearchConfig:
    """What decides a search.

    Attributes:
        target: device that candidates are scored for: a name or a target file.
        precision: precisions of its policies, as in :func:`search_spaces.policy.parse_menu`.
        objectives: what the front is of, as in :func:`nas.search.objectives.parse_objectives`.
        compare: baselines to measure beside it, as in :func:`nas.search.baselines.parse_baselines`.
        prior: measurements in the journal when the search first began (set by the search itself).
    """

    target: str
    precision: Annotated[
        str,
        Setting("Precision; several (fp32,int8,w4a8) or mixed: each stage then has its own. Default: the target's."),
    ] = ""
    measurements: Annotated[
        int, Setting("Subnets to measure per target, without those of the baselines.", at_least=4)
    ] = 40
    bounds: Bounds = field(default_factory=Bounds)
    seed: Annotated[int, SEED] = 0
    calibration_images: Annotated[int, CALIBRATION] = CALIBRATION_IMAGES
    algorithm: Annotated[str, ALGORITHM] = "archive"
    predictor: Annotated[str, PREDICTOR] = AUTO
    batch: Annotated[
        int, Setting("Candidates chosen and measured before the predictor is fitted again.", at_least=1)
    ] = BATCH
    seconds: Annotated[
        float | None, Setting("Seconds after which no further batch starts.", above=0, unit="seconds")
    ] = None
    patience: Annotated[
        int,
        Setting("Stop once this many measurements in a row gain less than 0.1 % hypervolume; 0: never.", at_least=0),
    ] = 0
    objectives: Annotated[
        str, Setting("What the front weighs: two to four of accuracy, latency, latency:TARGET, size, macs, memory.")
    ] = DEFAULT
    compare: Annotated[str, Setting("Baselines to run with as many measurements: random, uniform, nsga2, or none.")] = (
        "random"
    )
    prior: int = 0


def parse_targets(text: str) -> list[str]:
    """Names or files of targets, separated by commas. All are opened, so that before the first search begins UsageError
    refuses one that is unknown or there twice, and UserError a damaged file."""
    names = [name.strip() for name in text.split(",")]
    if len({load_target(name).name for name in names}) < len(names):
        raise UsageError(f"`target` is {text}, which names one of them twice; give each once")
    return names


def check_config(config: SearchConfig) -> None:
    """Refuse what no search can do. Raises UsageError."""
    from .baselines import parse_baselines

    check_settings(config)
    parse_objectives(config.objectives)
    parse_baselines(config.compare)


def with_others(config: SearchConfig) -> tuple[SearchConfig, tuple[Target, ...]]:
    """The further devices of a search, and its configuration with their own names in place of their files'. Raises
    UserError or UsageError where one is unknown, lacks the precision, or is the search's own once more."""
    named = parse_objectives(config.objectives)
    given = other_targets(named, config.bounds)
    others = {name: load_target(name) for name in given}
    for target in others.values():
        if target.name == config.target:
            raise UsageError(
                f"{target.name} is this search's own target: its latency is the objective 'latency', its limit "
                "`max_latency`"
            )
        target.menu(config.precision)
    names = {LATENCY_ON + name: LATENCY_ON + target.name for name, target in others.items()}
    objectives = ["accuracy", *(names.get(name, name) for name in named)]
    bounds = replace(config.bounds, elsewhere={others[n].name: ms for n, ms in config.bounds.elsewhere.items()})
    devices = {target.name: target for target in others.values()}
    return replace(config, objectives=",".join(objectives), bounds=bounds), tuple(devices.values())

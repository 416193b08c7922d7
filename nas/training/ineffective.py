"""Settings that a strategy makes nothing of: who gives them believes that they do something."""

from __future__ import annotations

from .config import TrainConfig
from .loop import generator
from .strategies import AUTO, Pass, Setting, choose, get_strategy

_PROBES = 32


def sampled_passes(name: str, known: Setting) -> list[Pass]:
    """Passes of steps spread over a run by the strategy of that name; phases of a strategy differ."""
    strategy = get_strategy(name, known)
    steps = sorted({known.steps * i // _PROBES for i in range(_PROBES)})
    return [one for step in steps for one in strategy.passes(step, generator(0, step), lambda _: 0.0)]


def has_students(name: str, known: Setting) -> bool:
    """Whether subnets learn from another one of their step, so that the loss for them matters."""
    return any(one.role == "student" for one in sampled_passes(name, known))


def without_effect(config: TrainConfig, known: Setting) -> list[str]:
    """One line for each setting that the run's strategy makes nothing, or next to nothing, of."""
    dropped = {"--dropout": config.dropout, "--drop-path": config.drop_path}
    drops = [flag for flag, rate in dropped.items() if rate]
    if not drops and config.distill == TrainConfig.distill:
        return []
    name = choose(known)[0] if config.strategy == AUTO else config.strategy
    passes, found = sampled_passes(name, known), []
    if config.distill != TrainConfig.distill and all(one.role != "student" for one in passes):
        found.append(f"--distill {config.distill} has no effect: with strategy {name} no subnet learns from another")
    if drops and all(one.architecture != known.space.largest for one in passes):
        found.append(
            f"{' and '.join(drops)}: the largest subnet alone is trained so, and strategy {name} hardly ever draws it"
        )
    return found

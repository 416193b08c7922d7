"""Settings that the chosen strategy ignores, so that the user can be warned."""

from __future__ import annotations

from nas.store.seeds import stream

from .config import TrainConfig
from .strategies.auto import choose
from .strategies.base import Pass, RunFacts
from .strategies.table import AUTO, get_strategy

_PROBES = 32


def sample_passes(name: str, facts: RunFacts) -> list[Pass]:
    """Passes of steps spread over a run by the strategy of that name; phases of a strategy differ."""
    strategy = get_strategy(name, facts)
    steps = sorted({facts.steps * i // _PROBES for i in range(_PROBES)})
    return [each for s in steps for each in strategy.passes(s, stream(0, "train.subnets", s), lambda _: 0.0)]


def ignored_settings(config: TrainConfig, facts: RunFacts) -> list[str]:
    """One line for each setting that has no effect, or next to none, with the run's strategy."""
    rates = {"`dropout`": config.dropout, "`drop_path`": config.drop_path}
    dropping = [name for name, rate in rates.items() if rate]
    if not dropping and config.distill == TrainConfig.distill:
        return []
    name = choose(facts)[0] if config.strategy == AUTO else config.strategy
    passes, lines = sample_passes(name, facts), []
    if config.distill != TrainConfig.distill and all(each.role != "student" for each in passes):
        lines.append(f"`distill` {config.distill} has no effect: with strategy {name} no subnet learns from another")
    if dropping and all(each.architecture != facts.space.largest for each in passes):
        lines.append(
            f"{' and '.join(dropping)}: only the largest subnet is trained so, and strategy {name} hardly ever draws it"
        )
    return lines

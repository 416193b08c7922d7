"""A learning rate from a short range test (Smith, arXiv:1506.01186), and scaling with the batch size.

The test trains a throw-away copy of the supernet with the run's own strategy and batches while the rate grows
exponentially. The loss falls, flattens, and rises where training becomes unstable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.data.dataset import Dataset
from nas.events import Listener, Noted, Warned, ignore
from nas.store.run import Run
from nas.training.config import Resources, TrainConfig, peak_lr
from nas.training.head import fit_head
from search_spaces.errors import UsageError, UserError

from .rehearsal import Rehearsal, aside

LOWEST, HIGHEST = 1e-5, 10.0
MOST_STEPS, LEAST_STEPS = 100, 60
SHARE = 0.1
"""Of a run's steps that the test may take."""
SMOOTHING = 0.8
DIVERGED = 1.5
"""The test ends where the smoothed loss is this many times its lowest."""
BELOW = 3.0
"""The rate taken is the one of the lowest smoothed loss divided by this: what a few steps bear is too much for many."""


def settle_lr(
    run: Run, config: TrainConfig, dataset: Dataset, resources: Resources, steps: int, report: Listener
) -> TrainConfig:
    """The configuration with the learning rate that a run of ``steps`` steps trains with, found once for a run.

    ``run.json`` keeps a rate that was found as ``lr``, and a resumed run takes it from there.
    """
    if not config.lr_auto:
        return scale_lr(config)
    record = run.read()
    lr = record.lr
    if lr is None:
        count = range_steps(steps)
        if count:
            lr = find_lr(config, dataset, resources, count)
            report(Noted(f"learning rate {lr:g}, found in {count} steps on a copy of the supernet"))
        else:
            lr = peak_lr(config)
            report(Warned(
                f"{steps} steps are too few to find a learning rate (a test takes {LEAST_STEPS} steps and "
                f"{SHARE:.0%} of a run at most); taking {lr:g}. Give more `epochs`, or `lr`"
            ))  # fmt: skip
        run.write(replace(record, lr=lr))
    return replace(config, lr=lr, lr_auto=False)


def range_steps(steps: int) -> int:
    """Steps of the range test before a run of ``steps`` steps; 0: the run is too short for one."""
    count = min(MOST_STEPS, int(SHARE * steps))
    return count if count >= LEAST_STEPS else 0


def find_lr(config: TrainConfig, dataset: Dataset, resources: Resources, count: int) -> float:
    """The rate of a range test of ``count`` steps, a function of the configuration and the data. Raises UserError:
    the loss is not finite even at the lowest rate."""
    rates: list[float] = []
    losses: list[float] = []
    with aside():
        rehearsal = Rehearsal(config, dataset, resources)
        fit_head(rehearsal.net, dataset, config.label_smoothing, ignore)
        for step, batch in enumerate(rehearsal.batches(count)):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (count - 1))
            for group in rehearsal.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
            rates.append(rate)
            losses.append(rehearsal.step(step, batch))
            if not math.isfinite(losses[0]):
                raise UserError("the loss is not finite at any learning rate; look at the first weights and the data")
            means = smooth(losses)
            if not means[-1] <= DIVERGED * min(means):  # not a number: diverged
                break
    return pick(rates, losses)


def pick(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate of the lowest smoothed loss, divided by :data:`BELOW` and rounded to two digits."""
    values = np.array(smooth(losses))
    return float(f"{rates[int(np.nanargmin(values))] / BELOW:.1e}")


def smooth(losses: Sequence[float], decay: float = SMOOTHING) -> list[float]:
    """Exponential moving average, corrected for its start: subnets differ from step to step, and so do their losses."""
    mean, out = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = decay * mean + (1 - decay) * (loss if math.isfinite(loss) else math.nan)
        out.append(mean / (1 - decay**count))
    return out


def scale_lr(config: TrainConfig) -> TrainConfig:
    """The configuration with ``lr`` scaled from ``base_batch`` images per step to ``batch_size`` (Goyal et al.,
    arXiv:1706.02677), and nothing left to scale."""
    if not config.base_batch:
        return config
    return replace(config, lr=peak_lr(config) * config.batch_size / config.base_batch, base_batch=0)


def parse_lr(text: str) -> float | None:
    """A learning rate as typed; None for ``auto``. Raises UsageError where it is neither."""
    if text.strip().lower() == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"`lr` {text}: a number, or auto for a short test that finds one") from None

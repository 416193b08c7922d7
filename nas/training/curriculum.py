"""What a run trains: a whole space, or one network of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.store.seeds import stream
from search_spaces.architecture import Architecture
from search_spaces.policy import Policy
from search_spaces.space import SearchSpace

from .strategies.base import Strategy


@dataclass(frozen=True)
class Curriculum:
    """What the training loop must know beside its settings.

    Attributes:
        strategy: chooses the passes of a step.
        watched: subnets that are evaluated on the way, by their name in the metrics.
        resolution: side of the images of a batch in pixels; passes at a smaller one shrink them.
        policy: of quantized passes; None: drawn, see :mod:`nas.training.quantized`.
    """

    strategy: Strategy
    watched: Mapping[str, Architecture]
    resolution: int
    policy: Policy | None = None


def pick_watched(space: SearchSpace, seed: int) -> dict[str, Architecture]:
    """The ends of a space, and a random subnet of it that the seed draws."""
    (random,) = space.sample(stream(seed, "train.watched"), 1)
    return {"smallest": space.smallest, "random": space.decode(random), "largest": space.largest}

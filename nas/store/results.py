"""``search-<target>.json``: the result of a search, with the members of its front."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from search_spaces.schema import NOT_NULL, Also, Amount, Count, Made, Range, Share, convert, to_json

from .records import ArchitectureField, Versions
from .settings import Setting

CALIBRATION = Setting("Images that a subnet is calibrated on.", at_least=2)
CALIBRATION_IMAGES = 256
"""What candidates are calibrated on where nothing is said."""

Rows = tuple[tuple[float, ...], ...]
"""Measured candidates, a row each: accuracy, then the costs that are objectives."""


@dataclass(frozen=True)
class AccuracyRecord:
    """An accuracy with the ends of its 95 % interval, shares of one: ``correct`` answers of so many images."""

    value: Share
    low: Share
    high: Share
    correct: Count
    images: Count


@dataclass(frozen=True)
class Prediction:
    """What the predictor says of an accuracy: mean and standard deviation, shares of one."""

    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class Member:
    """A member of a front: a measured candidate.

    Attributes:
        id: name in tables and folders.
        precision: policy, written as in :mod:`search_spaces.policy`.
        accuracy, test: on the search split and on the test split.
        predicted_accuracy: of the predictor that knows all measurements; None: not asked.
        latency_elsewhere_ms: on further targets, by name; None: there was no search.
        macs: multiply-accumulates of one image.
        size_bytes: of the weights in their precision.
        peak_activation_bytes: at the worst moment.
        latency_outside: what the target's latencies were fitted to, where the network lies outside of it; None: inside,
            or not known.
    """

    id: str
    architecture: ArchitectureField
    precision: str
    accuracy: AccuracyRecord
    test: AccuracyRecord
    predicted_accuracy: Prediction | None = None
    latency_ms: Amount
    latency_elsewhere_ms: Mapping[str, float] | None = None
    macs: Count
    params: Count
    size_bytes: Amount
    peak_activation_bytes: Amount
    latency_outside: Annotated[tuple[str, ...] | None, NOT_NULL] = None


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How well guesses rank candidates.

    Attributes:
        candidates: how many; None: all that were measured.
        tau: Kendall's tau; None where it isn't defined.
        tau_best: the same among the best 30 % by truth.
        rmse: root of the mean squared difference, shares of one; None: guesses that aren't accuracies.
    """

    candidates: Count | None = None
    tau: float | None
    tau_best: float | None
    rmse: float | None = None


@dataclass(frozen=True)
class Foresight:
    """What was predicted of candidates before they were measured.

    Attributes:
        candidates: how many.
        tau: Kendall's tau of predictions and measurements; None where it isn't defined.
        rmse, bias: root mean square and mean of prediction less measurement, shares of one; None: no candidates.
        pairs: prediction and measurement of each.
    """

    candidates: Count
    tau: float | None = None
    rmse: float | None = None
    bias: float | None = None
    pairs: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        figures = {"tau": self.tau, "rmse": self.rmse, "bias": self.bias} if self.candidates else {}
        return {"candidates": self.candidates, **figures, "pairs": to_json(self.pairs)}


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How far to trust the accuracy predictor.

    Attributes:
        choice: which predictor it is and why, in words.
        candidates: measurements that it knows.
        leave_one_out: its answers on candidates left out one by one.
        random: its answers on random candidates that it has never seen; None: there are none.
        log_macs, random_log_macs: what the logarithm of the MACs alone says of those.
        beforehand, front_beforehand: of all candidates of this search and of the members of its front, before they were
            measured.
    """

    choice: str
    candidates: Count
    leave_one_out: Ranking
    log_macs: Ranking
    random: Ranking | None = None
    random_log_macs: Ranking | None = None
    beforehand: Foresight
    front_beforehand: Foresight


@dataclass(frozen=True)
class Baseline:
    """What a search is compared with.

    Attributes:
        hypervolume: of its front, relative to the reference.
        hypervolumes: after some numbers of measurements; empty, as is ``measured``, in results of earlier versions.
    """

    measurements: Count
    hypervolume: float
    hypervolumes: Mapping[str, float] = field(default_factory=dict)
    measured: Rows = ()


@dataclass(frozen=True)
class Extreme:
    """The smallest or the largest network: its accuracy on the search split, and its costs that are objectives."""

    accuracy: AccuracyRecord
    costs: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As the file has it: the costs beside the accuracy."""
        return {"accuracy": to_json(self.accuracy), **self.costs}


def _extreme(value: Any) -> Extreme:
    accuracy = convert(value, _Accuracy).accuracy
    return Extreme(accuracy, convert({k: v for k, v in value.items() if k != "accuracy"}, dict[str, float]))


@dataclass(frozen=True)
class _Accuracy:
    accuracy: AccuracyRecord


@dataclass(frozen=True)
class SearchTarget:
    """The device of a search, and what its latencies are worth, in words."""

    name: str
    latency: str


@dataclass(frozen=True)
class Measurements:
    """How many measurements a search made, and how many it knew from before."""

    new: Count
    prior: Count


@dataclass(frozen=True)
class Memory:
    """Memory of a device in bytes, and the rules that activations are counted by; all None: no limits."""

    ram_bytes: Count | None = None
    flash_bytes: Count | None = None
    memory_rules: str | None = None


@dataclass(frozen=True)
class _Config:
    target: str
    precision: str = ""
    calibration_images: Annotated[int, Range(at_least=1, at_most=2**31)] = CALIBRATION_IMAGES


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """All that a search found.

    Attributes:
        config: settings of the search, :class:`nas.search.config.SearchConfig` as a table.
        complete: always true; a search that was stopped leaves no result.
        others: what latencies on further devices are worth, by their name.
        front: from the lowest first cost.
        reference: worst corner of the hypervolume, by objective.
        hypervolume: of the front, as a share of the box up to the reference.
        measured: all candidates within the bounds.
        extremes: the smallest and the largest network, where they were measured.
        stopped: why the search ended.
        hypervolumes: after some numbers of measurements.
        gain_over_random: mean accuracy of the front over random subnets of equal cost; None: not known.
        seconds: time of each stage; None in the file, which is equal for equal searches.
        weights: hash of the supernet's weights that were measured.
        whole: the whole network as it was fine-tuned before its subnets were trained, at each resolution of the space,
            from the smallest; None where it was not kept.
    """

    config: Annotated[dict[str, Any], Also(_Config)]
    complete: bool
    target: SearchTarget
    others: Mapping[str, str]
    objectives: tuple[str, ...]
    front: tuple[Member, ...]
    measurements: Measurements
    reference: Mapping[str, float]
    hypervolume: float
    measured: Rows = ()
    baselines: Mapping[str, Baseline]
    extremes: Mapping[str, Annotated[Extreme, Made(_extreme)]]
    stopped: str
    hypervolumes: Mapping[str, float]
    gain_over_random: float | None
    predictor: Fidelity
    seconds: Mapping[str, float] | None = None
    weights: str = ""
    memory: Memory = Memory()
    whole: Annotated[tuple[Member, ...] | None, NOT_NULL] = None
    versions: Annotated[Versions | None, NOT_NULL] = None

    def best_within(self, latency_ms: float) -> Member | None:
        """The most accurate member of the front, on the search split, of at most that latency; None: there is none."""
        within = [member for member in self.front if member.latency_ms <= latency_ms]
        return max(within, key=lambda member: member.accuracy.value, default=None)

    @property
    def settings(self) -> _Config:
        """The settings that other commands need."""
        return convert(self.config, _Config)

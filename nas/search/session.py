"""One search's own view of the journal: what it may use, what it measured, in its own order."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np

from nas.candidates.candidate import Candidate
from nas.events import Listener, Measured
from nas.journal.journal import SEARCH, Journal
from nas.tasks.task import Score
from predictors.targets.target import Target, to_toml
from search_spaces.genes import Floats, Vectors
from search_spaces.schema import Count

from .baselines import parse_baselines
from .config import SearchConfig
from .costs import CandidateCosts
from .loop import Loop
from .objectives import parse_objectives

Measure = Callable[[Candidate, str], Score]


@dataclass(frozen=True)
class Turn:
    """What the workers of a search do next: why it ends here (empty: it continues), or the candidates to measure, as
    indices of their genes' choices."""

    stopped: str
    batch: tuple[tuple[Count, ...], ...]


def _of_search(target: Target) -> Target:
    """A target without what changes no cost: what was measured, and in which format the simulator's integers ship. Only
    ``onnx-uint8`` stays, which records of earlier searches have."""
    return replace(target, measured={}, model=target.model if target.model == "onnx-uint8" else None)


class Session:
    """The measurements one search has made so far, in its own order."""

    def __init__(
        self, costs: CandidateCosts, config: SearchConfig, journal: Journal, measure: Measure, report: Listener
    ) -> None:  # fmt: skip
        self.costs, self.journal, self.measure_one, self.report = costs, journal, measure, report
        self.space = costs.space
        self.objectives = parse_objectives(config.objectives)
        self.baselines = parse_baselines(config.compare)
        # another target file of the same name: another search
        plain = [_of_search(target) for target in (costs.target, *costs.others)]
        files = [hashlib.sha256(to_toml(target).encode()).hexdigest() for target in plain]
        self.settings = json.dumps(asdict(replace(config, prior=0)) | {"target_files": files})
        self.config = config = replace(config, prior=journal.begin(self.settings))
        self.known = {c: a for c, a in journal.items()[: config.prior] if c in costs.candidates}
        self.new: list[Candidate] = []
        self.stages: dict[str, float] = {}

    def measured(self, within_bounds: bool = False) -> tuple[Vectors, Floats]:
        """Vectors and accuracies of all measurements this search may use, or of the feasible ones among them.

        Measurements from before may lie outside the bounds: they teach the predictor, but none may stand on the front
        or dominate one that does.
        """
        vectors, accuracy = self.scored(list(self.known))
        if not within_bounds:
            return vectors, accuracy
        feasible = self.costs.violation(self.costs.of(vectors), self.config.bounds) <= 0
        return vectors[feasible], accuracy[feasible]

    def scored(self, candidates: Sequence[Candidate]) -> tuple[Vectors, Floats]:
        """Vectors and accuracies of measured candidates."""
        return self.costs.candidates.vectors(candidates), np.array([self.accuracy(c).value for c in candidates])

    def chosen(self, vectors: Vectors) -> Floats:
        """The costs that are objectives, ``[n, k]``."""
        return self.costs.of(vectors)[:, self.costs.indices(self.objectives)]

    def points(self, vectors: Vectors, accuracy: Floats) -> Floats:
        """Objectives to minimise: error, then costs, ``[n, 1 + k]``."""
        return np.column_stack([1 - accuracy, self.chosen(vectors)])

    def agree(self, stopped: str, batch: Vectors) -> tuple[str, Vectors]:
        """Why the search ends here (empty: it continues) and the next batch, the same for all workers of this search,
        though their clocks and their arithmetic may differ a little."""
        proposal = Turn(stopped, tuple(map(tuple, batch.tolist())))
        agreed = self.journal.agree(self.settings, f"batch {len(self.new)}", proposal, Turn, self._problem_of)
        return agreed.stopped, self._vectors(agreed.batch)

    def _problem_of(self, turn: Turn) -> str:
        """What is wrong with a proposal of :meth:`agree`; one without anything new would be proposed for ever."""
        places = len(self.space.genes)
        if any(len(row) != places for row in turn.batch):
            return f"a candidate of a batch has not the {places} genes of {self.space.name}"
        if any(index >= count for row in turn.batch for index, count in zip(row, self.space.cardinality, strict=True)):
            return f"a candidate of a batch is not of {self.space.name}"
        fresh = set(self.candidates(self._vectors(turn.batch))) - self.known.keys()
        return "" if turn.stopped or fresh else "a batch holds nothing that is not measured yet"

    def _vectors(self, rows: Sequence[Sequence[int]]) -> Vectors:
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.space.genes))

    def measure(
        self, vectors: Vectors, origin: str, total: int, spare: Vectors | None = None, done: int = 0
    ) -> list[Candidate]:  # fmt: skip
        """Measure candidates, together with all workers of this search; in the journal one by one.

        Args:
            spare: candidates to measure while others measure the last of ``vectors``.
            done: measurements of this origin before these, for the report.
        """
        candidates, there = self.candidates(vectors), done

        def tell(_: Candidate, found: Score) -> None:
            nonlocal there
            there += 1
            self.report(Measured(origin, there, total, found.value))

        with self.stage(origin, candidates):
            more = [] if spare is None else self.candidates(spare)
            self.journal.measure_all(candidates, lambda c: self.measure_one(c, SEARCH), origin, more, tell=tell)
        return candidates

    def candidates(self, vectors: Vectors) -> list[Candidate]:
        return self.costs.candidates.candidates(vectors)

    @contextmanager
    def stage(self, name: str, measured: Sequence[Candidate] = (), split: str = SEARCH) -> Iterator[None]:
        """Count the seconds of a stage: of its measurements, whoever made them, or else those that pass here."""
        began = time.monotonic()
        yield
        spent = self.journal.seconds(measured, split) if measured else time.monotonic() - began
        self.stages[name] = self.stages.get(name, 0.0) + spent

    def adopt(self, candidates: Sequence[Candidate]) -> None:
        self.new += [c for c in candidates if c not in self.known]
        self.known |= {c: self.accuracy(c) for c in candidates}

    def accuracy(self, candidate: Candidate) -> Score:
        found = self.journal.get(candidate)
        assert found is not None
        return found

    def tell(self, loop: Loop) -> None:
        """Let a loop know of all measurements that it does not know yet."""
        known = list(self.known.items())[len(loop.accuracy) :]
        if known:
            vectors = self.costs.candidates.vectors([c for c, _ in known])
            noise = float(np.mean([a.standard_error for a in self.known.values()]))
            loop.tell(vectors, np.array([a.value for _, a in known]), noise)

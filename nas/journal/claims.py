"""Claims: who works on which candidate, so that no two workers measure the same one.

A claim is a running trial in a study of its own. The storage numbers trials one after the other, so of two claims on
one candidate the lower number wins, and a worker that reads the claims after making its own knows whether it holds the
candidate. While it measures, a thread of the worker changes the claim every few seconds. Clocks of machines are not
compared: a claim that a worker has not seen change for :data:`STALE_SECONDS`, by its own clock, is ended, and the
candidate is free again. On the same machine, a worker whose process has ended is noticed at once.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated

import optuna
from optuna.trial import TrialState

from nas.store.host import here, is_alive
from search_spaces.errors import UserError
from search_spaces.schema import Count, Range, SchemaError, convert, to_json

from .storage import Storage

STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Timing:
    """Seconds between two signs of life, and without one until a claim is stale."""

    beat: float = 10.0
    stale: float = STALE_SECONDS


@dataclass(frozen=True)
class Claim:
    """What a journal says of a claim: the candidate with its split, who measures it on which machine (see
    :func:`nas.store.host.here`) in which process, and how many signs of life there were."""

    candidate: str
    worker: str
    host: str
    process: Annotated[int, Range(at_least=1, at_most=2**31 - 1)]
    beat: Count


class Claims:
    """The claims of all workers, in a study that holds nothing else, and this worker's own."""

    def __init__(
        self, storage: Storage, study: int, timing: Timing | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.worker = uuid.uuid4().hex
        self._storage, self._study, self._timing, self._clock = storage, study, timing or Timing(), clock
        self._seen: dict[int, tuple[int, float]] = {}  # by number of a claim: its beat, and since when
        self._looked = clock()
        self._lock = threading.Lock()

    def live(self) -> dict[str, str]:
        """Worker of every candidate that is being worked on; stale claims are ended, and left out, as are damaged
        ones."""
        with self._lock:
            now = self._clock()
            if now - self._looked > self._timing.stale / 2:
                self._seen = {}  # nothing was read for a while: the storage was down, or this process suspended
            self._looked = now
            holders: dict[str, str] = {}
            seen: dict[int, tuple[int, float]] = {}
            for trial in self._storage.trials(self._study, (TrialState.RUNNING,)):
                try:
                    claim = convert(trial.user_attrs, Claim, f"claim {trial.number}")
                except SchemaError as error:
                    self._storage.leave_out(self._study, {trial.number: str(error)})
                    continue
                beat, since = self._seen.get(trial.number, (-1, now))
                seen[trial.number] = (claim.beat, since if beat == claim.beat else now)
                if self._is_lost(claim, now - seen[trial.number][1]):
                    self._storage.finish(self._storage.trial_id(self._study, trial.number), TrialState.FAIL)
                else:
                    holders.setdefault(claim.candidate, claim.worker)
            self._seen = seen
            return holders

    def _is_lost(self, claim: Claim, silent: float) -> bool:
        if claim.worker == self.worker:
            return False
        return silent >= self._timing.stale or (claim.host == here() and not is_alive(claim.process))

    @contextmanager
    def on(self, candidate: str) -> Iterator[bool]:
        """Claim a candidate for as long as the block lasts; gives whether this worker holds it.

        What the block does must be recorded when it ends: the claim is then over, and others may look.
        """
        facts = to_json(Claim(candidate, self.worker, here(), os.getpid(), 0))
        claim = self._storage.create(self._study, optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=facts))
        if self.live().get(candidate) != self.worker:
            self._storage.finish(claim, TrialState.PRUNED)
            yield False
            return
        began, over = time.monotonic(), threading.Event()
        beating = threading.Thread(target=self._beat, args=(claim, over), daemon=True)
        beating.start()
        try:
            yield True
        except BaseException:
            self._storage.finish(claim, TrialState.FAIL, wait=False)  # don't wait when interrupted
            raise
        else:
            self._storage.finish(claim, TrialState.COMPLETE, round(time.monotonic() - began, 3))
        finally:
            over.set()
            beating.join()

    def _beat(self, claim: int, over: threading.Event) -> None:
        count = 0
        while not over.wait(self._timing.beat):
            count += 1
            with suppress(OSError, UserError):  # the next one may get through; the worker itself says what is wrong
                self._storage.attribute(claim, "beat", count)

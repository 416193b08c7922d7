"""``tuned.json``: candidates of a run that were fine-tuned with their front, and the weights that each ships with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from search_spaces.schema import Count

from .exports import FinetuneOrigin
from .files import read_record
from .results import AccuracyRecord, SearchResult
from .run import Run

Kept = Literal["finetuned", "supernet"]


@dataclass(frozen=True, kw_only=True)
class TunedMember:
    """A candidate that was fine-tuned.

    Attributes:
        id: of the candidate.
        folder: of the training, in ``finetune/``.
        weights: hash of the weights that it ended with.
        before, after: accuracy on the search split with the supernet's weights, and with these.
        calibration_images: that accuracies were measured with; None: in a file of an earlier version, which has one
            number for all.
        steps: of the training, which may have been shared with others.
        kept: which of both are shipped.
        test: accuracy on the test split with the weights that are kept.
    """

    id: str
    folder: str
    weights: str
    origin: FinetuneOrigin
    steps: Count
    before: AccuracyRecord
    after: AccuracyRecord
    kept: Kept
    test: AccuracyRecord
    calibration_images: Count | None = None


@dataclass(frozen=True, kw_only=True)
class TunedFront:
    """Fine-tuned candidates of one supernet. Those of other weights are other networks, and so is what ships of a
    candidate that was calibrated otherwise.

    Attributes:
        weights: hash of the supernet's weights.
        calibration_images: of all members, in a file of an earlier version.
    """

    weights: str
    members: tuple[TunedMember, ...]
    calibration_images: Count | None = None

    def with_member(self, new: TunedMember) -> TunedFront:
        """With one more training. Of two of one candidate, calibrated alike, the later stays, unless it is worse on the
        search split than chance has it: weights that don't ship after some that do, or below the 95 % interval of the
        earlier ones. The best of several trainings there need not be the best elsewhere."""
        members = {(member.id, member.calibration_images): member for member in self._settled}
        known = members.get((new.id, new.calibration_images))
        if known is None or not _is_worse(new, known):
            members[new.id, new.calibration_images] = new
        return TunedFront(weights=self.weights, members=tuple(members.values()))

    @property
    def _settled(self) -> tuple[TunedMember, ...]:
        """The members, each with the number of its calibration images."""
        return tuple(
            replace(member, calibration_images=member.calibration_images or self.calibration_images)
            for member in self.members
        )

    def of(self, result: SearchResult) -> dict[str, TunedMember]:
        """Those on the front of a search, calibrated as it did, by id."""
        if self.weights != result.weights:
            return {}
        ids, images = {member.id for member in result.front}, result.settings.calibration_images
        return {m.id: m for m in self._settled if m.id in ids and m.calibration_images == images}

    def kept_of(self, result: SearchResult) -> dict[str, TunedMember]:
        """Members of a search's front, by id, whose fine-tuned weights are shipped."""
        return {name: member for name, member in self.of(result).items() if member.kept == "finetuned"}


def read_tuned(run: Run, result: SearchResult) -> TunedFront:
    """What was fine-tuned of the supernet that a search measured; nothing where the run's file is of other weights.
    Raises UserError: the file is damaged."""
    nothing = TunedFront(weights=result.weights, members=())
    found = read_record(run.tuned, TunedFront) if run.tuned.exists() else nothing
    return found if found.weights == result.weights else nothing


def _is_worse(new: TunedMember, known: TunedMember) -> bool:
    """Whether what another training made of a candidate is worse, by more than chance, than what is known."""
    if known.kept == "supernet" or known.folder == new.folder:
        return False
    return new.kept == "supernet" or new.after.value < known.after.low


def with_tuned(result: SearchResult, kept: Mapping[str, TunedMember]) -> SearchResult:
    """A search's result with the accuracies of fine-tuned weights on its front, as its members are shipped."""
    front = (
        replace(member, accuracy=kept[member.id].after, test=kept[member.id].test) if member.id in kept else member
        for member in result.front
    )
    return replace(result, front=tuple(front))

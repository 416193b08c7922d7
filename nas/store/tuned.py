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
        kept: which of both are shipped: the more accurate, the supernet's where they are level.
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


@dataclass(frozen=True, kw_only=True)
class TunedFront:
    """Fine-tuned candidates of one supernet; those of other weights, or calibrated otherwise, are other networks.

    Attributes:
        weights: hash of the supernet's weights.
        calibration_images: that accuracies were measured with.
    """

    weights: str
    calibration_images: Count
    members: tuple[TunedMember, ...] = ()

    def with_member(self, new: TunedMember) -> TunedFront:
        """With one more training; of two of one candidate the better on the search split stays, the earlier where they
        are level, unless the later took its folder."""
        members = {member.id: member for member in self.members}
        known = members.get(new.id)
        if known is None or new.folder == known.folder or new.after.value > known.after.value:
            members[new.id] = new
        return replace(self, members=tuple(members.values()))

    def kept_of(self, result: SearchResult) -> dict[str, TunedMember]:
        """Members of a search's front, by id, whose fine-tuned weights are better than those that it measured."""
        if (self.weights, self.calibration_images) != (result.weights, result.settings.calibration_images):
            return {}
        ids = {member.id for member in result.front}
        return {member.id: member for member in self.members if member.id in ids and member.kept == "finetuned"}


def read_tuned(run: Run, result: SearchResult) -> TunedFront:
    """What was fine-tuned of the supernet that a search measured; nothing where the run's file is of other weights, or
    calibrated otherwise. Raises UserError: the file is damaged."""
    nothing = TunedFront(weights=result.weights, calibration_images=result.settings.calibration_images)
    found = read_record(run.tuned, TunedFront) if run.tuned.exists() else nothing
    return found if replace(found, members=()) == nothing else nothing


def with_tuned(result: SearchResult, kept: Mapping[str, TunedMember]) -> SearchResult:
    """A search's result with the accuracies of fine-tuned weights on its front, as its members are shipped."""
    front = (
        replace(member, accuracy=kept[member.id].after, test=kept[member.id].test) if member.id in kept else member
        for member in result.front
    )
    return replace(result, front=tuple(front))

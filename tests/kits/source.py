"""What every source of images must do, see :mod:`nas.data.sources.source`.

A new source's test writes a small data set, hands its name to :class:`SourceKit`, and needs little else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from nas.data.batches import eval_batches, train_batches
from nas.data.opening import open_dataset
from nas.data.sources.source import SOURCES, Contents, Request, open_source
from nas.store.records import SPLITS
from search_spaces.errors import UserError


@dataclass(frozen=True)
class SourceKit:
    """A small data set of a source, and what is known of it.

    Attributes:
        kind: key in ``SOURCES``.
        name: the data set, as a user names it.
        classes: names of its classes, by label.
        counts: images by split that the source gives, and by class within it.
        root: where its files are, for names that aren't paths.
        damage: makes one training image unreadable; None: all images lie in arrays.
    """

    kind: str
    name: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    root: str | None = None
    damage: Callable[[], None] | None = None

    def open(self, thorough: bool = False) -> Contents:
        """The contents of the data set."""
        return open_source(self.name, Request(self.root, thorough))

    def check(self) -> None:
        """All that follows; the damage comes last."""
        self.is_found_by_its_name()
        self.has_labels_and_splits()
        self.is_the_same_each_time()
        self.can_be_trained_on()
        self.is_missed_where_it_is_not()
        self.leaves_out_what_it_cannot_read()

    def is_found_by_its_name(self) -> None:
        """No source before it in the table takes the name."""
        assert next(kind for kind, entry in SOURCES.items() if entry.accepts(self.name)) == self.kind

    def has_labels_and_splits(self) -> None:
        """A label per image, and disjoint splits; images are grey or RGB and have names of their own."""
        contents = self.open()
        count = len(contents.images)
        assert contents.classes == self.classes
        assert contents.labels.shape == (count,)
        assert contents.labels.dtype == np.int64
        numbers = np.concatenate(list(contents.given.values()))
        assert sorted(numbers) == list(range(count))
        assert set(contents.given) <= set(SPLITS)
        found = {
            split: tuple(np.bincount(contents.labels[own], minlength=len(self.classes)))
            for split, own in contents.given.items()
        }
        assert found == self.counts
        assert {contents.images.image(i).mode for i in range(count)} <= {"L", "RGB"}
        assert len({contents.images.name(i) for i in range(count)}) == count
        assert (contents.warnings, contents.corrupt) == ((), ())

    def is_the_same_each_time(self) -> None:
        """Opening it again, thoroughly or not, gives the same images in the same order."""
        first = self.open()
        for thorough in (False, True):
            again = self.open(thorough)
            np.testing.assert_array_equal(first.labels, again.labels)
            for i in range(len(first.images)):
                assert first.images.name(i) == again.images.name(i)
                np.testing.assert_array_equal(first.images.image(i), again.images.image(i))

    def can_be_trained_on(self) -> None:
        """The missing splits are drawn; batches are the same in this process and in a worker."""
        dataset = open_dataset(self.name, 0, self.root)
        assert all(dataset.info.counts[split] for split in SPLITS)
        assert sorted(np.concatenate(list(dataset.splits.values()))) == list(range(len(dataset.images)))
        images, labels = next(eval_batches(dataset, "search", 24, 4))
        assert images.shape == (len(labels), dataset.info.in_chans, 24, 24)
        here, there = (next(train_batches(dataset, 4, 0, 0, 1, 24, "light", workers)) for workers in (0, 1))
        assert here[0].equal(there[0])
        assert here[1].equal(there[1])
        assert open_dataset(self.name, 0, self.root).info == dataset.info

    def is_missed_where_it_is_not(self) -> None:
        """A name without files is an error for a person, not one of a library."""
        if "/" in SOURCES[self.kind].form:
            with pytest.raises(UserError, match="nowhere"):
                open_source(f"{self.kind}/nowhere", Request(self.root))

    def leaves_out_what_it_cannot_read(self) -> None:
        """An unreadable image is left out and named; the others stay."""
        if self.damage is None:
            return
        before = self.open()
        self.damage()
        after = self.open(thorough=True)
        assert len(after.images) == len(before.images) - 1
        assert len(after.corrupt) == 1
        assert any("1 corrupt" in warning for warning in after.warnings)

"""Which split a name means, however it is spelled: ``train``, ``Train_Images``, ``seg_test``, ``holdout``."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRAIN, SEARCH, TEST, HELD = "train", "search", "test", "held"
"""A split that is held out is the test split, or where there is one already, the search split."""

_WORDS = {
    "train": TRAIN, "training": TRAIN, "trn": TRAIN,
    "val": SEARCH, "valid": SEARCH, "validate": SEARCH, "validation": SEARCH, "search": SEARCH, "dev": SEARCH,
    "devel": SEARCH, "development": SEARCH,
    "test": TEST, "testing": TEST, "tst": TEST,
    "eval": HELD, "evaluation": HELD, "holdout": HELD, "heldout": HELD,
}  # fmt: skip
_THINGS = "sets?|data|daten|images?|imgs?|photos?|pics?|pictures?|bilder|samples?|splits?|dir|folder"
_JOINED = re.compile(rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})s?({_THINGS})")
"""Words that are written as one with what a folder holds: ``trainset``, ``testdata``."""
_BORDERS = re.compile(r"[\W_\d]+|(?<=[a-z])(?=[A-Z])")


EARLIER = frozenset({"train", "training", "val", "valid", "validation", "search", "test"})
"""All names that earlier versions knew, in lower case."""


def words_of(name: str) -> list[str]:
    """What each word of a name means that means a split; words end at punctuation, digits and capitals."""
    text = re.sub(r"(?i)(hold|held)[\W_]*out", r"\1out", name)
    return [role for word in _BORDERS.split(text) if (role := _role_of_word(word.lower())) is not None]


def role_of(name: str) -> str | None:
    """The split that a name means: ``train``, ``search``, ``test`` or ``held``; None: it means none, or several."""
    roles = set(words_of(name))
    return roles.pop() if len(roles) == 1 else None


def _role_of_word(word: str) -> str | None:
    joined = _JOINED.fullmatch(word)
    return _WORDS.get(joined.group(1) if joined else word)


def roles_of(names: Iterable[str]) -> dict[str, str]:
    """The split of each name that means one, ``held`` decided: ``test`` where no other name means it."""
    found = {name: role for name in names if (role := role_of(name)) is not None}
    held = SEARCH if TEST in found.values() else TEST
    return {name: held if role == HELD else role for name, role in found.items()}


def split_names(names: Iterable[str], earlier: bool = False) -> dict[str, str]:
    """The name of each split among those that a data set lists, in their order; of two for one split the shorter.

    ``{"train": "train", "test": "test"}`` of ``train``, ``test_full``, ``unsupervised`` and ``test``.

    Args:
        earlier: whether only names count that earlier versions knew.
    """
    roles = roles_of(name for name in names if not earlier or name.lower() in EARLIER)
    chosen = {role: min((n for n in roles if roles[n] == role), key=len) for role in roles.values()}
    return {role: name for name, role in roles.items() if chosen[role] == name}

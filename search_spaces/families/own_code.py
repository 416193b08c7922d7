"""Spaces around a model of a user's own: ``code:mypkg.module.build``, or with choices after it, ``:width=0.5``.

A new space's name also holds a hash of the source, ``code:mypkg.module.build@1a2b3c4d5e6f:width=0.5``.
"""

from __future__ import annotations

from functools import lru_cache

from search_spaces.builders.hashed_names import split_hash
from search_spaces.builders.own_code import OwnModel, check_source
from search_spaces.builders.typed_code import PREFIX
from search_spaces.space import SearchSpace

from ._deriving import derive_sided
from .named import parse_choices


@lru_cache(maxsize=16)
def own_space(name: str) -> SearchSpace:
    """The space of a name that begins with ``code:``. Raises UserError where the function may not be imported, its
    source has changed, or its model cannot be made elastic."""
    function, digest, choices, typed = split_hash(name, PREFIX)
    options = parse_choices(choices, typed)
    if digest:
        check_source(function, digest)
    return SearchSpace(name, derive_sided(OwnModel(function), options), f"around {function}")

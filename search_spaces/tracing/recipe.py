"""What makes a smaller network of a model, as data: numbers to set, and modules to take out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from search_spaces.schema import Check, Json, Made, Range, to_json

from .dimensions.origins import Attribute

LARGEST = 65536
"""No size of a network is larger."""
_MOST = 20000  # entries of a recipe
_LONGEST = 300  # characters of a path
_DEEPEST = 4  # places of a number in lists of lists


@dataclass(frozen=True)
class Setting:
    """A number of a module, and what it is in the smaller network."""

    attribute: Attribute
    number: int | float

    def to_json(self) -> Json:
        """``[[module, attribute, place, ...], number]``."""
        where: list[Json] = [self.attribute.path, self.attribute.name, *self.attribute.place]
        return [where, self.number]


def _read_setting(value: object) -> Setting:
    """From ``[[module, attribute, place, ...], number]``. Raises ValueError where it isn't one."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], list):
        raise ValueError("it is not [[module, attribute, place, ...], number]")
    where, number = value
    path, name, *place = [*where, "", ""] if len(where) < 2 else where
    if not isinstance(path, str) or not isinstance(name, str) or len(path) > _LONGEST or len(name) > _LONGEST:
        raise ValueError("it does not name a module and an attribute")
    if not name.isidentifier() or name.startswith("__"):
        raise ValueError("it does not name an attribute that can be set")
    if len(place) > _DEEPEST or not all(type(each) is int and 0 <= each < LARGEST for each in place):
        raise ValueError("its place in a list is not a whole number")
    if type(number) not in (int, float) or not 0 <= number <= LARGEST:
        raise ValueError(f"it does not set a number from 0 to {LARGEST}")
    return Setting(Attribute(path, name, tuple(place)), number)


def _path_problem(path: str) -> str:
    return "" if 0 < len(path) <= _LONGEST else f"a path of {len(path)} characters"


def _length_problem(entries: Collection[object]) -> str:
    return "" if len(entries) <= _MOST else f"{len(entries)} entries are more than any network needs"


Settings = Annotated[tuple[Annotated[Setting, Made(_read_setting)], ...], Check(_length_problem)]
Shape = Annotated[tuple[Annotated[int, Range(at_least=1, at_most=LARGEST)], ...], Check(_length_problem)]
Shapes = Annotated[Mapping[str, Shape], Check(_length_problem)]
Paths = Annotated[tuple[Annotated[str, Check(_path_problem)], ...], Check(_length_problem)]


@dataclass(frozen=True)
class Recipe:
    """What makes a smaller network of a model.

    Attributes:
        set: numbers in modules.
        delete: paths of modules that are taken out.
        identity: paths of modules that ``nn.Identity`` takes the place of.
        shapes: of the tensors that are smaller, by name.
    """

    set: Settings = ()
    delete: Paths = ()
    identity: Paths = ()
    shapes: Shapes = field(default_factory=dict)


def write_recipe(recipe: Recipe) -> Mapping[str, Json]:
    """As a file holds it, and as :func:`search_spaces.builders.rebuild.rebuild` takes it."""
    content: Mapping[str, Json] = to_json(recipe)
    return content

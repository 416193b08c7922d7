"""A model of a user's own: a function of a module that builds it.

Importing a module runs it. So only a function whose name somebody typed, on the command line or in Python, is imported
(:mod:`.typed_code`); a name that stands in a run, a folder or a journal alone never is. The name of a space holds the
start of a hash of the module's source, so that a run says when the code that made it has changed.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, first_line
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

from .base_model import describe_base, on_device, refuse_drop
from .hashed_names import add_hash, check_hash, hash_file
from .typed_code import PREFIX, is_allowed

if TYPE_CHECKING:
    from torch import nn


def spell_out_own(word: str) -> str:
    """The name of a space that a user means: with the hash of the source, where the function is allowed."""
    return add_hash(word, PREFIX, lambda function: _hash(_function(function)) if is_allowed(function) else None)


@dataclass(frozen=True)
class OwnModel:
    """A model that a function builds.

    Attributes:
        function: ``mypkg.module.build``, which takes ``num_classes`` and ``in_chans``.
    """

    function: str

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.function}"

    @property
    def side(self) -> int:
        """Pixels of the side of an image that it is made for: the function's attribute ``resolution``, or 224."""
        return int(getattr(_function(self.function), "resolution", 224))

    def at(self, side: int) -> OwnModel:
        """Its code takes images as they come."""
        return self

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        """The model, freshly initialised; on ``meta`` without storage or initialisation. Raises UsageError where it is
        to drop something, and UserError where the function fails or gives something else."""
        from torch import nn

        refuse_drop(drop, self.name)
        function = _function(self.function)
        with on_device(device):
            try:
                model = function(num_classes=interface.outputs, in_chans=interface.in_chans)
            except Exception as error:  # whatever the user's code raises
                raise UserError(f"{self.function} fails: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(model, nn.Module):
            raise UserError(f"{self.function} gives {type(model).__name__}; it has to give a torch.nn.Module")
        if any(nn.parameter.is_lazy(each) for each in (*model.parameters(), *model.buffers())):
            raise UserError(
                f"{self.function} gives a model that has layers whose sizes are not known until it runs (Lazy...); "
                "run it there once, or give their sizes"
            )
        return model

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """What an exported folder says of it, without the recipe of a smaller network."""
        return describe_base(self.name, interface, {})


def check_source(name: str, digest: str) -> None:
    """Raises UserError where the source of a function's module is another than when the name was made."""
    check_hash(f"the source of {name}", digest, _hash(_function(name)))


@lru_cache(maxsize=16)
def _function(name: str) -> Callable[..., Any]:
    """The function of an allowed name. Raises UserError where nobody typed the name, or it cannot be imported."""
    if not is_allowed(name):
        raise UserError(
            f"{name} builds this network, and importing it runs its code; if you trust it, give `code` {name}"
        )
    module, _, function = name.rpartition(".")
    with _beside_user():
        try:
            found = getattr(importlib.import_module(module), function)
        except Exception as error:  # whatever the module raises
            raise UserError(f"{name} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    if not callable(found):
        raise UserError(f"{name} is not a function")
    builder: Callable[..., Any] = found
    return builder


@contextmanager
def _beside_user() -> Iterator[None]:
    """Find modules in the current folder first; afterwards last, so that none of its files stands for another module
    that is imported later."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.path.append(here)


def _hash(function: Callable[..., Any]) -> str:
    """The start of a hash of the source of a function's module. Raises UserError: it has none, as what is written in C
    has not."""
    module = inspect.getmodule(function)
    try:
        file = None if module is None else inspect.getsourcefile(module)
    except TypeError:
        file = None
    if file is None:
        where = "" if module is None else f" of {module.__name__}"
        raise UserError(
            f"{getattr(function, '__name__', function)}{where} isn't written in a Python file; give a function that is"
        )
    return hash_file(file)

"""Supernet training, search, quantization and export: what the commands do, for Python.

The names below are all of the interface; ``docs/python.md`` walks through them. They are loaded when first used, so
``import nas`` costs next to nothing.

Train and open: :func:`train_supernet` with a :class:`TrainConfig` and an :class:`Engine`; :func:`open_run`,
:func:`list_runs`; :func:`open_trained` for the supernet and its data. Search: :func:`search_run` with a
:class:`SearchConfig` and :class:`Bounds`; :func:`read_search`, :func:`pick_member` for its front. Use what was found:
:func:`ship_member`, :func:`evaluate_model`, :func:`estimate_model`, :func:`export_model`. Look around:
:func:`open_dataset`, :func:`summarise_data`, :func:`get_space`, :func:`load_target`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.candidates.candidate import Candidate
    from nas.data.opening import open_dataset
    from nas.data.summary import summarise as summarise_data
    from nas.search.config import SearchConfig
    from nas.search.objectives import Bounds
    from nas.store.run import Run, open_run
    from nas.store.status import list_runs
    from nas.training.config import Resources as Engine
    from nas.training.config import TrainConfig
    from nas.workflows.estimate import estimate_model
    from nas.workflows.evaluate import evaluate_model
    from nas.workflows.export import export_model, ship_member
    from nas.workflows.resolve import pick_member, read_search
    from nas.workflows.search import search_run
    from nas.workflows.train import train_supernet
    from nas.workflows.trained import open_trained
    from predictors.targets.target import Target, load_target
    from search_spaces import SearchSpace, get_space
    from search_spaces.architecture import Architecture
    from search_spaces.errors import UserError

__all__ = [
    "Architecture",
    "Bounds",
    "Candidate",
    "Engine",
    "Run",
    "SearchConfig",
    "SearchSpace",
    "Target",
    "TrainConfig",
    "UserError",
    "estimate_model",
    "evaluate_model",
    "export_model",
    "get_space",
    "list_runs",
    "load_target",
    "open_dataset",
    "open_run",
    "open_trained",
    "pick_member",
    "read_search",
    "search_run",
    "ship_member",
    "summarise_data",
    "train_supernet",
]

_WHERE = {
    "search_spaces": {"SearchSpace": "SearchSpace", "get_space": "get_space"},
    "search_spaces.architecture": {"Architecture": "Architecture"},
    "search_spaces.errors": {"UserError": "UserError"},
    "predictors.targets.target": {"Target": "Target", "load_target": "load_target"},
    "nas.candidates.candidate": {"Candidate": "Candidate"},
    "nas.data.opening": {"open_dataset": "open_dataset"},
    "nas.data.summary": {"summarise_data": "summarise"},
    "nas.search.objectives": {"Bounds": "Bounds"},
    "nas.store.run": {"Run": "Run", "open_run": "open_run"},
    "nas.store.status": {"list_runs": "list_runs"},
    "nas.search.config": {"SearchConfig": "SearchConfig"},
    "nas.training.config": {"Engine": "Resources", "TrainConfig": "TrainConfig"},
    "nas.workflows.estimate": {"estimate_model": "estimate_model"},
    "nas.workflows.evaluate": {"evaluate_model": "evaluate_model"},
    "nas.workflows.export": {"export_model": "export_model", "ship_member": "ship_member"},
    "nas.workflows.resolve": {"pick_member": "pick_member", "read_search": "read_search"},
    "nas.workflows.search": {"search_run": "search_run"},
    "nas.workflows.train": {"train_supernet": "train_supernet"},
    "nas.workflows.trained": {"open_trained": "open_trained"},
}  # fmt: skip
"""Module -> public names, and what they are called there. None is the name of a module of this package: Python would
put the module in its place."""
_NAMES = {public: (module, own) for module, names in _WHERE.items() for public, own in names.items()}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _NAMES:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    module, own = _NAMES[name]
    found = globals()[name] = getattr(import_module(module), own)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Supernet training, search, quantization and export: what the commands do, for Python.

The names in ``__init__.pyi`` are all of the interface; ``docs/python.md`` walks through them. They are loaded when
first used, so ``import nas`` costs next to nothing.

Train and open: :func:`train_supernet` with a :class:`TrainConfig` and an :class:`Engine`; :func:`open_run`,
:func:`list_runs`; :func:`open_trained` for the supernet and its data. Search: :func:`search_run` with a
:class:`SearchConfig` and :class:`Bounds`; :func:`read_search`, :func:`pick_member` for its front. Use what was found:
:func:`ship_member`, :func:`evaluate_model`, :func:`estimate_model`, :func:`export_model`. Look around:
:func:`open_dataset`, :func:`summarise_data`, :func:`get_space`, :func:`load_target`.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_PUBLIC = {
    alias.asname: (node.module, alias.name)
    for node in _STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
"""Public name -> its module and its name there. None may be the name of a module of this package: Python would put the
module in its place."""
__all__ = sorted(name for name in _PUBLIC if name)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    module, original = _PUBLIC[name]
    value = globals()[name] = getattr(import_module(str(module)), original)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

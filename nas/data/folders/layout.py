"""Which folders are splits and which are classes: told by what they hold, and by the words in their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.data.dataset import listed
from nas.data.sources.source import AS_EARLIER, AUTO, CLASSES, SPLITS
from search_spaces.errors import UserError

from .split_names import EARLIER, TRAIN, role_of, roles_of
from .tree import Tree, folded, same_form

LAYOUT = "a data folder holds one sub-folder of images per class, or train/ (and val/, test/) with such sub-folders"

_WRAPPER = re.compile(r"(?i)(all|unknown|unlabell?ed|data|files|images?|imgs?|photos?|pictures?|jpe?gs?)[\W_\d]*")
"""Names of folders that no class has."""

ByClass = dict[str, list[Tree]]
"""Folders of each class, by its name."""


@dataclass(frozen=True)
class Reading:
    """How a tree is read.

    Attributes:
        splits: folders of each class, by split; ``train`` always.
        at: the folder of each split.
        aside: folders with images that are neither, in no split.
        top: the folder that these lie in, below folders that hold nothing else.
    """

    splits: dict[str, ByClass]
    at: dict[str, Tree]
    top: Tree
    aside: list[Tree] = field(default_factory=list)


def read_layout(tree: Tree, where: str, layout: str = AUTO) -> Reading:
    """Tell splits from classes.

    - Folders whose sub-folders are the same are splits, if their names say which; so are folders of classes whose
      sub-folders are splits.
    - A folder with a split's name is a class where it holds images directly, beside other classes.

    Args:
        where: the name of the tree in messages.
        layout: what the user says: ``classes``, ``splits`` or ``auto``; or ``earlier``.

    Raises:
        UserError: it can be read in two ways, or the splits make no sense.
    """
    top = _without_wrappers(tree)
    if layout == AS_EARLIER:
        return _read_as_earlier(top, where)
    known = _class_names(top)
    children = {name: _inside(child, known) for name, child in top.holding().items()}
    flat = {name for name, child in children.items() if not _has_classes(child, known)}
    if layout != CLASSES and (inverted := _splits_inside(top, children)):
        return inverted
    as_splits = layout == SPLITS or (layout == AUTO and _are_splits(children, flat, where))
    if not as_splits:
        return Reading({"train": _by_class(top)}, {"train": top}, top)
    roles = _distinct(roles_of(children), where)
    if TRAIN not in roles:
        names = listed([f"{name}/" for name in children]) or "no folders"
        raise UserError(f"'{where}' has {names} but no train/; {LAYOUT}")
    unlabelled = {name for name in flat if children[name].files and name != roles[TRAIN]}
    usable = {role: name for role, name in roles.items() if name not in unlabelled}
    order = sorted(usable, key=lambda role: usable[role])
    at = {role: children[usable[role]] for role in order}
    aside = [top.folders[name] for name in children if name not in usable.values()]
    return Reading({role: _by_class(tree) for role, tree in at.items()}, at, top, aside)


def _read_as_earlier(top: Tree, where: str) -> Reading:
    named = {name: child for name, child in sorted(top.folders.items()) if name.lower() in EARLIER and child.folders}
    roles = _distinct(roles_of(named), where)
    if TRAIN not in roles:
        return Reading({"train": _by_class(top)}, {"train": top}, top)
    at = {role: named[name] for role, name in roles.items()}
    aside = [child for name, child in top.holding().items() if name not in roles.values()]
    return Reading({role: _by_class(tree) for role, tree in at.items()}, at, top, aside)


def _without_wrappers(tree: Tree) -> Tree:
    """Below folders that hold one folder of images, unless that one is a class, for an empty folder may be another, or
    a split without training images."""
    while not tree.files and len(holding := tree.holding()) == 1:
        ((name, only),) = holding.items()
        is_class = only.files or not only.holding() or any(child.is_empty() for child in tree.folders.values())
        if is_class or role_of(name) not in (TRAIN, None):
            break
        tree = only
    return tree


def _class_names(top: Tree) -> set[str]:
    """Names of folders that lie in at least one of the top's folders beside others: classes, if those are splits."""
    names: set[str] = set()
    for child in top.holding().values():
        inner = _inside(child, set())
        if _has_classes(inner, set()):
            names |= _names(inner)
    return names


def _inside(child: Tree, known: set[str]) -> Tree:
    """Below folders that hold one folder and nothing else, unless that one is a class by its name."""
    while not child.files and len(holding := child.holding()) == 1:
        ((name, only),) = holding.items()
        is_class = folded(name) in known or (only.files and not _WRAPPER.fullmatch(name) and not role_of(name))
        if is_class and len(only.holding()) < 2:
            break
        child = only
    return child


def _has_classes(tree: Tree, known: set[str]) -> bool:
    """Whether the images lie in several sub-folders, or in a known one, rather than beside them."""
    names = _names(tree)
    return (len(names) > 1 or bool(names & known)) and 2 * len(tree.files) <= tree.count()


def _names(tree: Tree) -> set[str]:
    return {folded(name) for name in tree.holding()}


def _distinct(roles: Mapping[str, str], where: str) -> dict[str, str]:
    """Name by split. Raises UserError: two are for the same."""
    out: dict[str, str] = {}
    for name, role in roles.items():
        if role in out:
            raise UserError(f"'{where}' has both {out[role]}/ and {name}/ for the {role} split; keep one")
        out[role] = name
    return out


def _are_splits(children: Mapping[str, Tree], flat: set[str], where: str) -> bool:
    """Whether the folders are splits. Raises UserError where they may be either."""
    roles = roles_of(children)
    nested = [name for name in children if name not in flat]
    if not nested:
        if len(children) > 1 and len(roles) == len(children) and len(set(roles.values())) > 1:
            raise UserError(
                f"'{where}' has {listed([f'{name}/' for name in children])} with images but without class folders: "
                f"these look like splits, whose images have no labels; sort the images of each into a folder a class, "
                f"or give `layout` classes if these are the classes"
            )
        return False
    inner = {name: _names(children[name]) for name in nested}
    shared = [name for name in nested if any(inner[name] & inner[other] for other in nested if other != name)]
    named = [name for name in nested if name in roles]
    if not named:
        if not flat and len(nested) > 1 and len(set.intersection(*inner.values())) > 1:
            raise _undecided(children, nested, where)
        return False
    if TRAIN not in {roles[name] for name in named}:
        if len(named) == len(children):
            return True
        if set(named) & set(shared):
            raise _undecided(children, nested, where)
        return False
    alike = all(name in shared for name in named) and len(shared) > 1
    if alike or len(roles) == len(children):
        return True
    raise _undecided(children, nested, where)


def _undecided(children: Mapping[str, Tree], nested: list[str], where: str) -> UserError:
    inner = [same_form(name) for name in children[nested[0]].holding()]
    return UserError(
        f"'{where}' can be read in two ways: {listed([*children])} are classes, or they are splits of the classes "
        f"{listed(inner)}; give `layout` classes, or splits (then a name says train, val or test)"
    )


def _splits_inside(top: Tree, children: Mapping[str, Tree]) -> Reading | None:
    """The reading of folders of classes that hold a folder a split each: ``cat/train/``, ``dog/train/``."""
    if len(children) < 2 or any(role_of(name) for name in children):
        return None
    roles = {name: roles_of(child.holding()) for name, child in children.items()}
    found = {role for own in roles.values() for role in own.values()}
    complete = all(
        len(roles[name]) == len(child.holding()) > 0 and not child.files and TRAIN in roles[name].values()
        for name, child in children.items()
    )
    if not complete or len(found) < 2:
        return None
    splits: dict[str, ByClass] = {}
    for name, child in children.items():
        for inner, tree in child.holding().items():
            splits.setdefault(roles[name][inner], {}).setdefault(same_form(name), []).append(tree)
    order = sorted(splits)
    return Reading({split: splits[split] for split in order}, dict.fromkeys(order, top), top)


def _by_class(root: Tree) -> ByClass:
    """The folders of each class, by sorted name; names that differ in their Unicode form only are one."""
    out: ByClass = {}
    for name, child in sorted(root.folders.items()):
        out.setdefault(same_form(name), []).append(child)
    return out

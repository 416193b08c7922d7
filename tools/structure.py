"""Count the structure of a checkout: folders, imports, circles, untyped records, repeated descriptions, lines.

    python tools/structure.py                    the checkout that this script lies in
    python tools/structure.py --compare OLD      two columns: OLD before, --root after

It reads the Python files of nas/, predictors/, search_spaces/ and cli.py; it leaves out tests and benchmarks.

FILES. A file belongs to the folder that it lies directly in; ``__init__.py`` counts in "files" and lines only. Lines of
code leave out blank lines, comments and docstrings.

IMPORTS. An arrow is a pair (file, imported file), counted once; imports inside functions and under TYPE_CHECKING count.
"By text only": a file's dotted name stands in a text, as in lazy tables, without an import beside it. A unit is a
sub-folder (nas/export); files directly in nas/, predictors/ or search_spaces/ that share the text before the first
``_`` are one unit if they are three or more, and each a unit otherwise. "In one room": both units in nas/, predictors/
or search_spaces/. A circle: two or more that reach each other by arrows. A back arrow goes up in the order cli, nas,
predictors, search_spaces. A private file (``_x.py``) is borrowed by a file of another folder that imports it.

RECORDS. Occurrences of ``dict[str, Any]`` in annotations of parameters and results of all functions, inside other types
too. "By another name": through an alias, a NewType or a subclass. "Other spellings": Dict, Mapping, MutableMapping,
defaultdict, ``object`` for ``Any``, a bare ``dict``. Public: no part of the function's dotted name begins with a single
``_``. Fields are annotations in class bodies.

LOOK-UPS. ``x["name"]``, read, written or deleted, and ``x.get("name")``. "In the text": what a search of the source for
``["name"]`` finds, in lower case and double quotes.

DESCRIPTIONS. A file describes a runtime if one of its texts holds the name, suffix or library of one, if it imports
such a library, or if a parameter or field is called ``uint8`` or ``executorch``; the runtime's own file (onnx.py)
doesn't count. A file describes the objectives if one statement or signature names latency, size, macs and memory, and a
unit. A place lists the training settings if a class has 10 of the fields of TrainConfig, a signature 10 parameters, a
call half of them as keywords, or a literal 5 of their names.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOMS = ("cli", "nas", "predictors", "search_spaces")
STORE = "nas/store/"
MANY_FILES, MANY_LINES = 20, 500
MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "defaultdict"}
RUNTIMES = {"onnx", "onnx-uint8", "executorch", "litert", "tflite"}
LIBRARIES = {"onnx", "onnxruntime", "onnxscript", "executorch", "ai_edge_litert", "litert_torch"}
RUNTIME_WORDS = RUNTIMES | LIBRARIES | {".onnx", ".pte", ".tflite"}
RUNTIME_FLAGS = {"uint8", "executorch"}
OBJECTIVES = (
    {"latency", "latency_ms", "max_latency"}, {"size", "size_bytes", "max_size"}, {"macs", "max_macs"},
    {"memory", "memory_bytes", "max_memory", "peak_activation_bytes"},
)  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[str, str]
"""A path and a name in it."""


@dataclass(frozen=True)
class Figure:
    """A number, the items that it counts, and whether they are listed without ``--details``."""

    title: str
    value: float
    items: list[str] = field(default_factory=list)
    shown: bool = False


@dataclass(frozen=True)
class Source:
    """A file: path in the checkout, text, syntax tree, strings that stand alone (``docstrings``), other ``texts``."""

    path: str
    text: str
    tree: ast.Module
    nodes: list[ast.AST]
    docstrings: set[ast.AST]
    texts: list[str]
    folder: str
    stem: str
    lines: int


def read_text(node: ast.AST | None) -> str | None:
    """The value of a string constant, or None."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def parse_type(node: ast.AST | None) -> ast.AST | None:
    """A type, which may be written as a text, or None."""
    try:
        return node if (text := read_text(node)) is None else ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None


def read_source(root: Path, path: Path) -> Source:
    """Read and parse a file."""
    text, name = path.read_text(encoding="utf-8"), PurePosixPath(path.relative_to(root).as_posix())
    nodes = list(ast.walk(tree := ast.parse(text, str(name))))
    alone: set[ast.AST] = {n.value for n in nodes if isinstance(n, ast.Expr) and read_text(n.value) is not None}
    texts = [value for n in nodes if n not in alone and (value := read_text(n)) is not None]
    return Source(str(name), text, tree, nodes, alone, texts, str(name.parent), name.stem, len(text.splitlines()))


class Checkout:
    """The files of a checkout, by path, and who imports whom.

    Attributes:
        modules: paths by dotted name.
        arrows: pairs of paths; True where one of the imports stands outside functions.
        names: module and name that each imported name stands for.
        aliases: the types that names stand for.
    """

    def __init__(self, root: Path) -> None:
        paths = [root / "cli.py", *(p for room in ROOMS for p in sorted((root / room).rglob("*.py")))]
        self.files = {s.path: s for s in (read_source(root, p) for p in paths if p.is_file())}
        self.modules = {p.removesuffix(".py").removesuffix("/__init__").replace("/", "."): p for p in self.files}
        self.arrows: dict[tuple[str, str], bool] = {}
        self.names: dict[Place, Place] = {}
        self.aliases = {(p, name): value for p, s in self.files.items() for name, value in list_aliases(s.tree)}
        for path, source in self.files.items():
            functions = [(f.body[0].lineno, f.end_lineno or 0) for f in source.nodes if isinstance(f, Function)]
            for node in (n for n in source.nodes if isinstance(n, ast.Import | ast.ImportFrom)):
                top = not any(first <= node.lineno <= last for first, last in functions)
                for module, name, local in list_imported(path, node):
                    inner = f"{module}.{name}"
                    self.names[path, local] = (inner, "") if inner in self.modules else (module, name)
                    other = self.modules.get(inner) or self.modules.get(module)
                    if other and other != path:
                        self.arrows[path, other] = self.arrows.get((path, other), False) or top

    def find(self, path: str, node: ast.AST) -> Place:
        """File and name where a name was defined, as far as imports lead; ``("", "Any")`` outside the checkout."""
        name = node.id if isinstance(node, ast.Name) else ""
        if isinstance(node, ast.Attribute):
            module = self.names.get((path, ast.unparse(node.value)), ("", ""))[0]
            path, name = self.modules.get(module, ""), node.attr
        seen: set[Place] = set()
        while (path, name) in self.names and (path, name) not in seen:
            seen.add((path, name))
            module, name = self.names[path, name]
            path = self.modules.get(module, "")
        return path, name

    def name(self, path: str, node: ast.AST) -> str:
        """The last part of what a name stands for: ``Any`` for ``t.Any``, or for an alias of it."""
        seen: set[Place] = set()
        while (place := self.find(path, node)) in self.aliases and place not in seen:
            seen.add(place)
            path, node = place[0], self.aliases[place]
        return place[1]

    def count_records(self, path: str, node: ast.AST | None, seen: frozenset[Place] = frozenset()) -> Counter[str]:
        """Untyped records in a type: ``written`` out, ``named`` by an alias, in ``other`` spellings."""
        count: Counter[str] = Counter()
        node = parse_type(node)
        outer = self.name(path, node.value) if isinstance(node, ast.Subscript) else ""
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and outer == "Annotated":
            return self.count_records(path, node.slice.elts[0], seen)
        if node is None or outer == "Literal":
            return count
        if (place := self.find(path, node)) in self.aliases:
            inner = Counter() if place in seen else self.count_records(place[0], self.aliases[place], seen | {place})
            return Counter(named=inner["written"] + inner["named"], other=inner["other"])
        parts = ast.iter_child_nodes(node)
        if isinstance(node, ast.Subscript) and outer in MAPPINGS:
            parts = iter([node.slice])
            names = [self.name(path, n) for n in node.slice.elts] if isinstance(node.slice, ast.Tuple) else []
            if names in (["str", "Any"], ["str", "object"]):
                count["written" if ast.unparse(node) == "dict[str, Any]" else "other"] += 1
        elif isinstance(node, ast.Name) and place[1] in ("dict", "Dict"):
            count["other"] += 1
        return sum((self.count_records(path, part, seen) for part in parts), count)


def list_imported(path: str, node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Dotted module, name in it and local name of everything that a statement imports."""
    if isinstance(node, ast.Import):
        yield from ((a.name, "", a.asname or a.name) for a in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = path.split("/")[:-1]
        start = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        yield from ((module, a.name, a.asname or a.name) for a in node.names)


def list_aliases(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names of a module that may stand for a type, with what they stand for."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [b for b in node.bases if isinstance(b, ast.Subscript) and ast.unparse(b.value) in MAPPINGS]
            yield from ((node.name, base) for base in bases)
        value, target = getattr(node, "value", None), (getattr(node, "targets", None) or [None])[0]
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).endswith("TypeAlias"):
            target = node.target
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("NewType"):
            value = value.args[-1]
        types = ast.Subscript | ast.BinOp | ast.Name | ast.Attribute | ast.Constant
        if isinstance(target, ast.Name) and isinstance(value, types):
            yield target.id, value


def list_functions(node: ast.AST, above: str = "") -> Iterator[tuple[str, Function]]:
    """Every function below a node, with its dotted name."""
    for child in ast.iter_child_nodes(node):
        name = f"{above}.{child.name}".lstrip(".") if isinstance(child, Function | ast.ClassDef) else above
        if isinstance(child, Function):
            yield name, child
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from list_functions(child, name)


def list_parameters(function: Function) -> list[ast.arg]:
    """Its parameters of every kind."""
    return [node for node in ast.iter_child_nodes(function.args) if isinstance(node, ast.arg)]


def list_fields(node: ast.AST) -> list[ast.AnnAssign]:
    """Annotated fields of a class; none of anything else."""
    return [n for n in node.body if isinstance(n, ast.AnnAssign)] if isinstance(node, ast.ClassDef) else []


def list_named(checkout: Checkout) -> list[str]:
    """Pairs of files of which one names the other in a text, and doesn't import it."""
    pairs = set()
    for path, source in checkout.files.items():
        for text in (text.partition(":")[0] for text in source.texts if "." in text):
            dotted = source.folder.replace("/", ".") + text if text.startswith(".") else text
            other = checkout.modules.get(dotted, path)
            if other != path and (path, other) not in checkout.arrows:
                pairs.add(f"{path} -> {other}")
    return sorted(pairs)


def find_units(files: Mapping[str, Source]) -> dict[str, str]:
    """The unit of each file: its sub-folder, the files that share its prefix, or the file alone."""
    group = {p: f"{s.folder}/{s.stem.partition('_')[0]}" for p, s in files.items() if not s.stem.startswith("_")}
    sizes = Counter(group.values())
    single = {p: f"{group[p]}*" if p in group and sizes[group[p]] >= 3 else p for p in files}
    return {p: s.folder if "/" in s.folder else single[p] for p, s in files.items()}


def find_circles(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Groups of two or more that reach each other, in alphabetical order."""
    graph: dict[str, set[str]] = {}
    for a, b in pairs:
        graph.setdefault(a, set()).add(b)
    reached: dict[str, set[str]] = {}
    for start in graph:
        waiting, reached[start] = [start], set()
        while waiting:
            new = graph.get(waiting.pop(), set()) - reached[start]
            reached[start] |= new
            waiting += new
    circles = ([b for b in sorted(others) if a in reached.get(b, ())] for a, others in reached.items())
    return sorted({" <-> ".join(circle) for circle in circles if len(circle) > 1})


def count_imports(checkout: Checkout) -> Iterator[Figure]:
    """Count arrows, circles, back arrows and borrowed private files."""
    files, unit, named = checkout.files, find_units(checkout.files), list_named(checkout)
    arrows, folder = sorted(checkout.arrows), {p: s.folder for p, s in files.items()}
    room = {path: path.removesuffix(".py").split("/")[0] for path in files}
    between = sorted({(unit[a], unit[b]) for a, b in arrows if unit[a] != unit[b]})
    crossing = [(a, b) for a, b in arrows if folder[a] != folder[b]]
    folders = sorted({(folder[a], folder[b]) for a, b in crossing})
    top = {(unit[a], unit[b]) for a, b in arrows if checkout.arrows[a, b] and room[a] == room[b] and unit[a] != unit[b]}
    back = [f"{a} -> {b}" for a, b in arrows if ROOMS.index(room[a]) > ROOMS.index(room[b])]
    private = [f"{a} -> {b}" for a, b in crossing if re.match(r"_(?!_)", files[b].stem)]
    yield Figure("units", len(set(unit.values())))
    yield Figure("arrows between units", len(between), [f"{a} -> {b}" for a, b in between])
    yield Figure("  in one room, outside functions", len(top))
    yield Figure("arrows between folders", len(folders), [f"{a} -> {b}" for a, b in folders])
    yield Figure("arrows between files", len(arrows))
    yield Figure("  of different folders", len(crossing))
    yield Figure("by text only", len(named), named)
    for what, pairs in (("files", arrows), ("units", between), ("folders", folders)):
        yield Figure(f"circles of {what}", len(circles := find_circles(pairs)), circles, what == "files")
    yield Figure("back arrows", len(back), back, True)
    yield Figure("private files borrowed", len(private), private, True)


def count_records(checkout: Checkout) -> Iterator[Figure]:
    """Count untyped records in signatures, fields and aliases."""
    outside, inside, fields, public = Counter[str](), 0, 0, 0
    items = []
    for path, source in checkout.files.items():
        for name, function in list_functions(source.tree):
            types = [*(a.annotation for a in list_parameters(function)), function.returns]
            records = sum((checkout.count_records(path, t) for t in types), Counter[str]())
            if path.startswith(STORE):
                inside += records.total()
            elif records.total():
                outside += records
                public += 0 if re.search(r"(^|\.)_(?!_)", name) else records.total()
                items.append(f"{path}:{function.lineno} {name} {records.total()}")
        annotations = [f.annotation for node in source.nodes for f in list_fields(node)]
        fields += sum(checkout.count_records(path, a).total() for a in annotations)
    named = checkout.aliases.items()
    aliases = [f"{p} {name}" for (p, name), value in named if checkout.count_records(p, value).total()]
    lines = [line for source in checkout.files.values() for line in source.text.splitlines()]
    yield Figure(f"in signatures outside {STORE}", outside.total(), items)
    yield Figure("  written dict[str, Any]", outside["written"])
    yield Figure("  by another name", outside["named"])
    yield Figure("  other spellings", outside["other"])
    yield Figure("  of public functions", public)
    yield Figure(f"in signatures in {STORE}", inside)
    yield Figure("in fields of classes", fields)
    yield Figure("aliases that hold one", len(aliases), aliases)
    yield Figure("lines of text with dict[str, Any]", sum("dict[str, Any]" in line for line in lines))


def count_lookups(checkout: Checkout) -> Iterator[Figure]:
    """Count look-ups in nas/ by a key that is written out."""
    keys: Counter[tuple[str, bool]] = Counter()
    files = [source for path, source in checkout.files.items() if path.startswith("nas/")]
    for source in files:
        stored = source.path.startswith(STORE)
        for node in source.nodes:
            if isinstance(node, ast.Subscript) and read_text(node.slice) is not None:
                keys["[]", stored] += not ast.unparse(node.value).endswith("Literal")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                keys["get", stored] += bool(node.args) and read_text(node.args[0]) is not None
    yield Figure(f'["name"] in nas/ outside {STORE}', keys["[]", False])
    yield Figure(f'.get("name") in nas/ outside {STORE}', keys["get", False])
    yield Figure(f"both in {STORE}", keys["[]", True] + keys["get", True])
    yield Figure('in the text of nas/: ["name"]', sum(len(re.findall(r'\["[a-z_]*"\]', s.text)) for s in files))


def describes_runtime(source: Source) -> bool:
    """Whether a file names a runtime, its suffix, its library or a flag of it."""
    words = {word.rstrip(".") for text in source.texts for word in re.split(r"[^\w.-]+", text)}
    libraries = {module.partition(".")[0] for n in source.nodes for module, _, _ in list_imported("", n)}
    flags = {n.arg for n in source.nodes if isinstance(n, ast.arg)}
    flags |= {ast.unparse(f.target) for n in source.nodes for f in list_fields(n)}
    own = source.stem.lstrip("_").partition("_")[0] in RUNTIMES
    return not own and bool(words & RUNTIME_WORDS or libraries & LIBRARIES or flags & RUNTIME_FLAGS)


def describes_objectives(source: Source) -> bool:
    """Whether one statement or signature names all objectives and a unit."""
    likely = all(any(word in source.text for word in words) for words in OBJECTIVES)
    for statement in source.nodes if likely else ():
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return | ast.arguments):
            inside = [n for n in ast.walk(statement) if n not in source.docstrings]
            texts = [read_text(n) or getattr(n, "arg", None) or "" for n in inside]
            names = {str(text).replace("-", "_") for text in texts}
            unit = {1e3, 1e6, 1e-3, 1e-6} & {n.value for n in inside if isinstance(n, ast.Constant)}
            if all(names & words for words in OBJECTIVES) and (unit or re.search(r"\b(ms|kB|MB|MMACs)\b", str(texts))):
                return True
    return False


def list_settings(checkout: Checkout) -> list[str]:
    """Places that list many of the settings of a training run."""
    nodes = [(path, node) for path, source in checkout.files.items() for node in source.nodes]
    settings = {
        ast.unparse(f.target) for _, n in nodes if getattr(n, "name", "") == "TrainConfig" for f in list_fields(n)
    }
    places = []
    for path, node in nodes:
        names: list[str | None] = [ast.unparse(f.target) for f in list_fields(node)]
        least = 10
        if isinstance(node, Function):
            names = [a.arg for a in list_parameters(node)]
        elif isinstance(node, ast.Call):
            names, least = [k.arg for k in node.keywords], max(1, len(settings) // 2)
        elif isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
            names, least = [read_text(n) for n in (node.keys if isinstance(node, ast.Dict) else node.elts)], 5
        if (count := len({n.replace("-", "_") for n in names if n} & settings)) >= least:
            places.append(f"{path}:{getattr(node, 'lineno', 0)} {type(node).__name__}, {count} of {len(settings)}")
    return places


def count_descriptions(checkout: Checkout) -> Iterator[Figure]:
    """Count places that describe a runtime, the objectives or the training settings, in all and outside their room."""
    files = checkout.files
    for title, home, places in (
        ("files that describe a runtime", "nas/runtimes/", [p for p in files if describes_runtime(files[p])]),
        ("files that describe the objectives", "nas/search/objectives.py",
         [p for p in files if describes_objectives(files[p])]),
        ("places that list the training settings", "nas/training/config.py", list_settings(checkout)),
    ):  # fmt: skip
        yield Figure(title, len(places), places, True)
        yield Figure(f"  outside {home}", sum(not place.startswith(home) for place in places))


def count_code(source: Source) -> int:
    """Lines that hold more than comments and strings that stand alone."""
    apart = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    alone = {(n.lineno, n.col_offset) for n in source.docstrings if isinstance(n, ast.Constant)}
    tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
    ranges = [range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in apart and t.start not in alone]
    return len({line for lines in ranges for line in lines})


def count_files(checkout: Checkout) -> Iterator[Figure]:
    """Count files, folders and lines."""
    files = checkout.files
    widths = Counter(s.folder for s in files.values() if s.stem != "__init__")
    widest = min(widths, key=lambda folder: (-widths[folder], folder), default=".")
    wide = [f"{folder} {n}" for folder, n in sorted(widths.items()) if n > MANY_FILES]
    lines = sorted(s.lines for s in files.values())
    long = [f"{p} {s.lines}" for p, s in files.items() if s.lines > MANY_LINES]
    yield Figure("files in the widest folder", widths[widest], [widest], True)
    yield Figure(f"folders with more than {MANY_FILES} files", len(wide), wide, True)
    yield Figure("files", len(files))
    yield Figure("lines", sum(lines))
    yield Figure("  of code", sum(count_code(s) for s in files.values()))
    yield Figure("lines of a file: median", statistics.median(lines))
    yield Figure("  90th percentile", lines[-(-9 * len(lines) // 10) - 1])
    yield Figure("  longest", lines[-1], [p for p, s in files.items() if s.lines == lines[-1]], True)
    yield Figure(f"files with more than {MANY_LINES} lines", len(long), long, True)


PARTS: dict[str, Callable[[Checkout], Iterator[Figure]]] = {
    "FILES": count_files,
    "IMPORTS": count_imports,
    "RECORDS": count_records,
    "LOOK-UPS": count_lookups,
    "DESCRIPTIONS": count_descriptions,
}
Count = dict[str, list[Figure]]


def count(root: Path) -> Count:
    """All figures of a checkout, by part. SystemExit: no files are there, or one cannot be parsed."""
    try:
        checkout = Checkout(root)
    except SyntaxError as error:
        raise SystemExit(f"{root}: {error}") from None
    if not checkout.files:
        raise SystemExit(f"{root} holds no Python files in {', '.join(ROOMS[1:])}, and no cli.py")
    return {part: list(figures(checkout)) for part, figures in PARTS.items()}


def print_table(columns: Mapping[str, Count], details: bool) -> None:
    """One line per figure, then what some of them count; with ``details``, what each of them counts."""
    first, last = next(iter(columns.values())), list(columns.values())[-1]
    width = 2 + max(len(figure.title) for figures in first.values() for figure in figures)
    print(" " * (width + 2), *(f"{title:>8}" for title in columns))
    for part, figures in first.items():
        print(part)
        for row, figure in enumerate(figures):
            print(f"  {figure.title:{width}}", *(f"{column[part][row].value:8g}" for column in columns.values()))
    for figure in (figure for figures in last.values() for figure in figures):
        if figure.items and (figure.shown or details):
            print(f"\n{figure.title.strip()}{', after' if len(columns) > 1 else ''}:", *figure.items, sep="\n  ")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--root", type=Path, default=here, help="the checkout; default: the one of this script")
    parser.add_argument("--compare", type=Path, metavar="OTHER", help="a checkout before; --root is the one after")
    parser.add_argument("--details", action="store_true", help="list everything that is counted")
    parser.add_argument("--json", action="store_true", help="figures and lists for a program")
    given = parser.parse_args()
    roots = {"before": given.compare, "after": given.root} if given.compare else {"count": given.root}
    columns = {title: count(root) for title, root in roots.items()}
    if given.json:
        print(json.dumps({title: {part: {f.title.strip(): {"value": f.value, "items": f.items} for f in figures}
              for part, figures in column.items()} for title, column in columns.items()}, indent=1))  # fmt: skip
    else:
        print_table(columns, given.details)


if __name__ == "__main__":
    main()

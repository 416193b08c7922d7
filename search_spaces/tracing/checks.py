"""Running smaller networks as foretold: the operators of the model with the shapes that its layouts say, and no others.

What does not run so is kept from shrinking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search_spaces.errors import UserError, first_line

from .blocks import Run
from .choices import WidthGene
from .dimensions.layouts import axes_of, measure, shape_of
from .dimensions.origins import evaluate
from .elastic import ElasticModel, Values
from .recorder import Shapes, run_shapes
from .skeletons import make_skeleton
from .trace import OperatorRow

_VIEWS = frozenset({
    "clone", "view", "_unsafe_view", "_reshape_alias", "alias", "expand", "detach", "contiguous", "as_strided", "copy",
    "_to_copy", "squeeze", "unsqueeze", "permute", "transpose", "t", "slice", "lift_fresh", "zeros", "ones", "empty",
    "full", "arange", "new_zeros", "new_ones", "new_full", "new_empty", "rand", "randn", "scalar_tensor",
})  # fmt: skip
"""Operators that lay out or make tensors: whether a reshape copies depends on sizes."""
_RANDOM, _TRIES = 3, 8  # random networks that have to run, and how many are tried
_SEED = 11
_MOST_SUSPECTS = 60  # genes that are tried one by one


@dataclass(frozen=True)
class Problem:
    """What was not as foretold, and the module that was running."""

    reason: str
    path: str


def foretold(elastic: ElasticModel, values: Values) -> Problem | None:
    """Run the network of a choice; None: it runs as foretold."""
    selection = elastic.select(values)
    trace, widths = elastic.trace, selection.widths
    for equation in trace.equations:
        if not selection.has(equation.path):
            continue
        wanted = measure(equation.layout, widths)
        try:
            got = evaluate(
                equation.number,
                lambda attribute, value: (
                    measure(trace.attributes[attribute], widths) if attribute in trace.attributes else value
                ),
                lambda dim: measure(trace.layout(dim), widths),
            )
        except ZeroDivisionError:
            got = -1
        if got != wanted:
            return Problem(f"a size would be {got} in place of {wanted}", equation.path)
    model, _ = make_skeleton(elastic.model, trace, selection)
    shapes = Shapes()
    try:
        run_shapes(model, elastic.inputs, shapes)
    except Exception as error:  # whatever the model's code raises
        return Problem(first_line(error), shapes.path[-1])
    rows = [row for row in trace.operators if selection.has(row.path)]
    return _compare(rows, shapes, widths)


def _compare(rows: Sequence[OperatorRow], shapes: Shapes, widths: Mapping[int, int]) -> Problem | None:
    expected = [row for row in rows if row.name not in _VIEWS]
    seen = [note for note in shapes.notes if note[0] not in _VIEWS]
    for row, (name, path, got) in zip(expected, seen, strict=False):
        wanted = [shape_of(layouts, widths) for layouts in row.shapes]
        if row.name != name or wanted != got:
            return Problem(f"{name} gives {got} where {row.name} should give {wanted}", path)
    if len(expected) != len(seen):
        return Problem(f"{len(seen)} operators run in place of {len(expected)}", "")
    return None


def prove(elastic: ElasticModel) -> ElasticModel:
    """Keep what does not run as foretold from shrinking, until the smallest network and some random ones do.

    Raises UserError where nothing helps.
    """
    elastic = _prove_depths(elastic)
    elastic = _prove_smallest(elastic)
    rng, passed = np.random.default_rng(_SEED), 0
    for _ in range(_TRIES):
        if not elastic.genes or passed == _RANDOM:
            break
        values = {gene.name: gene.choices[int(rng.integers(len(gene.choices)))] for gene in elastic.genes}
        problem = foretold(elastic, values)
        if problem is None:
            passed += 1
        else:
            elastic = _keep(elastic, _suspects(elastic, problem), problem)
    if (problem := foretold(elastic, elastic.smallest())) is not None:
        elastic = replace(elastic, runs=(), notes=(*elastic.notes, f"no depth genes: {problem.reason}"))
        if (problem := foretold(elastic, elastic.smallest())) is not None:
            raise UserError(f"no smaller network runs: {problem.reason} in {problem.path or 'the model'}")
    return elastic


def _prove_depths(elastic: ElasticModel) -> ElasticModel:
    """Runs whose blocks cannot go in the way that was thought may do so in the other."""
    shortest = {each.gene.name: each.gene.choices[0] for each in elastic.depths}
    if not shortest or foretold(elastic, shortest) is None:
        return elastic
    for run in elastic.runs:
        for other in (run, run.turned(), None):
            changed = _with_run(elastic, run, other)
            one = {each.gene.name: each.gene.choices[0] for each in changed.depths if each.run == other}
            problem = foretold(changed, one)
            if problem is None:
                elastic = changed
                break
        if other is None:
            elastic = replace(elastic, notes=(*elastic.notes, f"blocks of {run.owner or 'the model'} have to stay"))
    return elastic


def _with_run(elastic: ElasticModel, run: Run, other: Run | None) -> ElasticModel:
    runs = tuple(other if each == run else each for each in elastic.runs)
    return replace(elastic, runs=tuple(each for each in runs if each is not None))


def _prove_smallest(elastic: ElasticModel) -> ElasticModel:
    while elastic.widths:
        smallest = {each.gene.name: each.gene.choices[0] for each in elastic.widths}
        problem = foretold(elastic, smallest)
        if problem is None:
            break
        suspects = _suspects(elastic, problem)
        guilty = []
        if len(suspects) <= _MOST_SUSPECTS:
            guilty = [each for each in suspects if foretold(elastic, {each.gene.name: each.gene.choices[0]})]
        elastic = _keep(elastic, guilty or suspects, problem)
    return elastic


def _suspects(elastic: ElasticModel, problem: Problem) -> list[WidthGene]:
    """Genes of what is near the place where something was not as foretold; all, where nothing is near."""
    trace, near = elastic.trace, set[int]()
    for row in trace.operators:
        if row.path == problem.path:
            near.update(axis for layouts in row.shapes for layout in layouts for axis in axes_of(layout))
    for equation in trace.equations:
        if equation.path == problem.path:
            near.update(axes_of(equation.layout))
    for name, layouts in trace.tensors.items():
        if name.rpartition(".")[0] == problem.path:
            near.update(axis for layout in layouts for axis in axes_of(layout))
    return [each for each in elastic.widths if near.intersection(each.axes)] or list(elastic.widths)


def _keep(elastic: ElasticModel, genes: Iterable[WidthGene], problem: Problem) -> ElasticModel:
    return elastic.freeze({axis: (problem.reason, problem.path) for each in genes for axis in each.axes})

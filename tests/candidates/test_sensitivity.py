"""One gene down, everything else whole: against all architectures of a space."""

from __future__ import annotations

import pytest

from nas.candidates.sensitivity import take_down
from search_spaces import get_space


@pytest.mark.parametrize(
    "name",
    [
        "timm:resnet10t:resolution=32,64,96:width=0.5,0.75",
        "timm:test_efficientnet:resolution=32:expand=0.5",
        "timm:resnet14t:resolution=64:width=1:expand=0.5,0.75",
    ],
)
def test_every_smaller_choice_is_there_once(name: str) -> None:
    """Exactly the architectures in which one gene differs from the largest, of those that are there."""
    space = get_space(name)
    assert space.size < 100_000
    largest = dict(space.largest.genes)
    expected = {}
    for architecture in space.enumerate():
        changed = [(gene, choice) for gene, choice in architecture.genes if largest[gene] != choice]
        if len(changed) == 1:
            expected[changed[0]] = architecture
    found = list(take_down(space))
    assert {(step.gene, step.choice): step.architecture for step in found} == expected
    assert len(found) == len(expected) == sum(len(gene.choices) - 1 for gene in space.genes)
    assert all(step.largest == largest[step.gene] for step in found)

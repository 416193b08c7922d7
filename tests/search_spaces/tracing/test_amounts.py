"""Amounts of populations, against counting each network by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.tracing.costs.amounts import read_operators
from search_spaces.tracing.derive import derive
from search_spaces.tracing.elastic import ElasticModel, Values
from search_spaces.tracing.inputs import Inputs
from search_spaces.tracing.recorder import plain_attention
from tests.support.elastic_models import LONG, SHORT, meta_of
from tests.support.long_forms import long_form


def counted(elastic: ElasticModel, values: Values, inputs: Inputs) -> tuple[int, int]:
    """What PyTorch counts on the network of a choice."""
    model = elastic.build(values)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain_attention():
        model(*inputs.positional)
    return counter.get_total_flops() // 2, sum(p.numel() for p in model.parameters())


FEW = ("functional", "super_resolution", "packed_attention", "dense", "test_vit")


@pytest.mark.parametrize("name", long_form(FEW, [*(name for name in SHORT if name not in FEW), *LONG]))
def test_amounts_are_those_of_the_networks(name: str) -> None:
    model, inputs = meta_of(name)
    elastic = derive(model, inputs)
    amounts = read_operators(elastic)
    rng = np.random.default_rng(0)
    population = {gene.name: rng.choice(np.array(gene.choices), 4) for gene in elastic.genes}
    macs, parameters = amounts.evaluate(population)
    for i in range(4):
        values = {name: int(choices[i]) for name, choices in population.items()}
        assert counted(elastic, values, inputs) == (macs[i], parameters[i])
    everything = amounts.evaluate({})
    assert counted(elastic, {}, inputs) == (everything[0][0], everything[1][0])


def test_amounts_on_another_image() -> None:
    model, inputs = meta_of("regnety_002")
    elastic = derive(model, inputs)
    smaller = Inputs((torch.empty(1, 3, 96, 96, device="meta"),))
    values = elastic.smallest()
    population = {name: np.array([choice]) for name, choice in values.items()}
    macs, _ = read_operators(elastic, smaller).evaluate(population)
    assert counted(elastic, values, smaller)[0] == macs[0]

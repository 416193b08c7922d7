"""Presets against what was published about their spaces."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.costs.network import COLUMN, architecture_features, costs_of, total_macs
from predictors.costs.tables import CostTables
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from tests.support.long_forms import long_form
from tests.support.shared_data import shared_file

ONCE_FOR_ALL = shared_file("tabular/ofa_mbv3_w10_imagenet_dynast.csv")


@pytest.mark.skipif(not ONCE_FOR_ALL.exists(), reason="the table of measured Once-for-All subnets is not here")
@pytest.mark.parametrize("every", long_form([200], [1]))
def test_macs_and_parameters_of_every_measured_subnet(every: int) -> None:
    """By the space's tables; of a few, by themselves: the tables take many times longer to make."""
    space = get_space("ofa-mbv3-w1.0")
    from benchmarks.search.problems import ofa_architecture
    from benchmarks.support.data import read_table

    rows = read_table(ONCE_FOR_ALL)
    assert len(rows) == 1005
    rows = rows[::every]
    architectures, interface = [ofa_architecture(space, row) for row in rows], Interface(3, 1000)
    if every == 1:
        features = CostTables(space, interface).features(space.encode_many(architectures))
    else:
        features = np.stack([architecture_features(space, each, interface) for each in architectures])
    np.testing.assert_array_equal(total_macs(features), [float(row["macs"]) for row in rows])
    np.testing.assert_array_equal(features[:, COLUMN["params"]], [float(row["params"]) for row in rows])


@pytest.mark.parametrize(
    ("name", "resolutions", "smallest", "largest"),
    [
        ("ofa-mbv3-w1.0", (224, 224), 121, 566),
        ("ofa-mbv3-w1.2", (224, 224), 193, 843),
        ("ofa-proxyless", (224, 224), 266, 1005),
        # 203 and 1939 published, with the convolutions on shortcuts that timm's blocks do not have
        ("attentivenas", (192, 288), 203 - 4.9, 1939 - 15.7),
    ],
)
def test_macs_of_the_extremes(name: str, resolutions: tuple[int, int], smallest: float, largest: float) -> None:
    """In millions, as measured on the published code."""
    space = get_space(name)
    for architecture, side, expected in zip(
        (space.smallest, space.largest), resolutions, (smallest, largest), strict=True
    ):
        values = dict(architecture.genes) | {"resolution": side}
        architecture = Architecture(name, tuple(values.items()))
        found = architecture_features(space, architecture, Interface(3, 1000))
        assert abs(costs_of(found, "fp32").macs / 1e6 - expected) < 0.6

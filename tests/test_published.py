"""Presets against what was published about their spaces."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared_file

from predictors.costs import COLUMN, CostTables, architecture_features, costs_of, total_macs
from search_spaces import Architecture, SearchSpace, get_space

ONCE_FOR_ALL = shared_file("tabular/ofa_mbv3_w10_imagenet_dynast.csv")


def _architecture(space: SearchSpace, row: dict[str, str]) -> Architecture:
    """Once-for-All counts four blocks a stage, present or not."""
    kernels, expands, depths = ([int(v) for v in row[key].split("-")] for key in ("ks", "e", "d"))
    values = {"resolution": int(row["resolution"])}
    for stage, depth in enumerate(depths):
        values[f"s{stage + 1}.depth"] = depth
        for block in range(depth):
            values[f"s{stage + 1}.b{block}.kernel"] = kernels[4 * stage + block]
            values[f"s{stage + 1}.b{block}.expand"] = expands[4 * stage + block]
    return Architecture(space.name, tuple((g.name, values[g.name]) for g in space.genes if g.name in values))


@pytest.mark.skipif(not ONCE_FOR_ALL.exists(), reason="the table of measured Once-for-All subnets is not here")
def test_macs_and_parameters_of_every_measured_subnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    space = get_space("ofa-mbv3-w1.0")
    with open(ONCE_FOR_ALL) as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 1005
    features = CostTables(space, 1000, 3).features(space.encode_many([_architecture(space, row) for row in rows]))
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
        found = architecture_features(space, Architecture(name, tuple(values.items())), 1000, 3)
        assert abs(costs_of(found, "fp32").macs / 1e6 - expected) < 0.6

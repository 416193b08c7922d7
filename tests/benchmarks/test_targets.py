"""The networks of published tables that targets are fitted to, against published counts; the fits' arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency.validation import Data
from predictors.costs.network import COLUMN, op_features, total_macs
from predictors.latency.additive import AdditiveLatency
from predictors.latency.records import COEFFICIENTS, Coefficients


# Millions of multiply-accumulates and of parameters that NAS-Bench-201 publishes (they count no norm as MACs).
@pytest.mark.parametrize(("code", "mmacs", "mparams"), [("333333", 220.12, 1.531), ("111111", 7.78, 0.073)])
def test_nasbench201_networks_have_their_published_size(code: str, mmacs: float, mparams: float) -> None:
    from benchmarks.latency.nasbench201 import features

    row = features(code)
    assert total_macs(row) / 1e6 == pytest.approx(mmacs, abs=0.01)
    assert row[COLUMN["params"]] / 1e6 == pytest.approx(mparams, abs=0.001)


@pytest.mark.parametrize("code", ["433444", "302112", "030303"])
def test_five_cells_follow_from_two(code: str) -> None:
    from benchmarks.latency.nasbench201 import features, network, operators

    whole = op_features(operators(code), sum(p.numel() for p in network(code).parameters()))
    np.testing.assert_allclose(features(code), whole)


def test_dead_edges_by_hand() -> None:
    from benchmarks.latency.nasbench201 import code_of, connected, dead_edges

    assert code_of("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|") == "301420"
    assert dead_edges("301420") == [(1, 2)]  # leads to a node that leads nowhere
    assert dead_edges("000333") == [(1, 3), (2, 3)]  # come from nodes that nothing reaches
    assert dead_edges("333333") == []
    assert not connected("330000")
    assert connected("000100")
    with pytest.raises(ValueError, match="6 edges"):
        code_of("33")
    with pytest.raises(ValueError, match="unknown"):
        code_of("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|")


# Million multiply-accumulates of MLPerf Tiny's reference networks (Banbury et al., 2021), rounded as they are quoted.
@pytest.mark.parametrize(("name", "mmacs"), [("ad", 0.264), ("ic", 12.5), ("kws", 2.66), ("vww", 7.49)])
def test_mlperf_tiny_networks_have_their_published_size(name: str, mmacs: float) -> None:
    from benchmarks.latency.published import TINY, features

    assert total_macs(features(*TINY[name])) / 1e6 == pytest.approx(mmacs, rel=0.005)


def test_one_factor_and_tied_constants_are_recovered() -> None:
    from benchmarks.latency.published import TINY, features
    from benchmarks.latency.targets import SIMPLE, factor_of, simple

    rows = np.stack([features(*network) for network in TINY.values()])
    constants = dict.fromkeys(COEFFICIENTS, 0.0)
    for value, group in zip((4.0, 80.0, 3.0), SIMPLE, strict=True):
        constants |= {name: value * times for name, times in group.items()}
    truth = Coefficients(**constants)
    ms = AdditiveLatency({"int8": truth}).predict(rows, "int8")
    found = simple(rows, ms, "int8")
    np.testing.assert_allclose(AdditiveLatency({"int8": found}).predict(rows, "int8"), ms, rtol=1e-9)
    assert found.depthwise_ms_per_mmac == pytest.approx(8.0)
    assert factor_of(truth, Data(rows, 3 * ms, "int8", tuple(TINY))) == pytest.approx(3.0)

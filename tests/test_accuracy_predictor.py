"""The Gaussian process against dense linear algebra, finite differences and held-out data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import kendalltau, multivariate_normal

from predictors import accuracy as module
from predictors.accuracy import fit, gene_features, physics_features
from predictors.costs import CostTables, total_macs
from search_spaces import get_space

SPACE = get_space("mbv3-tiny")


@pytest.fixture(scope="module")
def tables() -> CostTables:
    return CostTables(SPACE, 10, 1)


def _problem(tables: CostTables, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """A made-up accuracy: saturating in MACs, with effects of single genes and a little noise."""
    rng = np.random.default_rng(seed)
    vectors = SPACE.sample(rng, n)
    features = tables.features(vectors)
    genes = gene_features(SPACE, vectors)
    effect = np.random.default_rng(0).standard_normal(genes.shape[1])
    truth = 0.8 + 0.03 * np.log(total_macs(features) / 1e6) + 0.01 * genes @ effect
    return genes, physics_features(features), truth + 0.002 * rng.standard_normal(n), truth


def test_prediction_equals_dense_formulas(tables: CostTables) -> None:
    genes, physics, accuracy, _ = _problem(tables, 20, 0)
    gp = fit(genes, physics, accuracy)
    s1, s2, s3, l1, l2, noise = np.exp(2 * gp.theta)

    def kernel(g: np.ndarray, p: np.ndarray, h: np.ndarray, q: np.ndarray) -> np.ndarray:
        out = np.zeros((len(g), len(h)))
        for i in range(len(g)):
            for j in range(len(h)):
                squared = ((g[i] - h[j]) ** 2).sum() / l1 + ((p[i] - q[j]) ** 2).sum() / l2
                out[i, j] = s1 * g[i] @ h[j] + s2 * p[i] @ q[j] + s3 * np.exp(-squared / 2)
        return out

    new_genes, new_physics, *_ = _problem(tables, 5, 1)
    p, q = ((x - physics.mean(0)) / physics.std(0) for x in (physics, new_physics))
    inverse = np.linalg.inv(kernel(genes, p, genes, p) + (noise + 1e-8) * np.eye(20))
    cross = kernel(new_genes, q, genes, p)
    y = (accuracy - accuracy.mean()) / accuracy.std()
    mean, std = gp.predict(new_genes, new_physics)
    np.testing.assert_allclose(mean, accuracy.mean() + accuracy.std() * cross @ inverse @ y, atol=1e-8)
    variance = np.diag(kernel(new_genes, q, new_genes, q) - cross @ inverse @ cross.T)
    np.testing.assert_allclose(std, accuracy.std() * np.sqrt(np.maximum(variance, 1e-12)), rtol=1e-4, atol=1e-7)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_objective_and_gradient(tables: CostTables, seed: int) -> None:
    genes, physics, accuracy, _ = _problem(tables, 12, seed)
    p = (physics - physics.mean(0)) / physics.std(0)
    y = (accuracy - accuracy.mean()) / accuracy.std()
    parts = module._Parts.of(genes, p)
    theta = np.random.default_rng(seed).uniform(-1, 0.5, 6)
    value, gradient = module._objective(theta, parts, y)
    z = (theta - module._PRIOR_MEAN) / module._PRIOR_SD
    density = multivariate_normal(np.zeros(12), parts.covariance(theta)[0]).logpdf(y)
    assert value - 0.5 * z @ z + density == pytest.approx(6 * np.log(2 * np.pi) * -1, abs=1e-6)
    error = check_grad(lambda t: module._objective(t, parts, y)[0], lambda t: module._objective(t, parts, y)[1], theta)
    assert error < 1e-4 * (1 + np.abs(gradient).max())


def test_leave_one_out_is_leaving_one_out(tables: CostTables) -> None:
    genes, physics, accuracy, _ = _problem(tables, 15, 3)
    gp = fit(genes, physics, accuracy)
    covariance = gp.factor @ gp.factor.T
    y = (accuracy - gp.mean) / gp.std
    for i, predicted in enumerate(gp.leave_one_out()):
        rest = np.delete(np.arange(15), i)
        by_hand = covariance[i, rest] @ np.linalg.solve(covariance[np.ix_(rest, rest)], y[rest])
        assert predicted == pytest.approx(gp.mean + gp.std * by_hand, abs=1e-8)


def test_ranks_unseen_candidates_better_than_macs(tables: CostTables) -> None:
    genes, physics, accuracy, _ = _problem(tables, 40, 4)
    new_genes, new_physics, _, truth = _problem(tables, 300, 5)
    mean, std = fit(genes, physics, accuracy).predict(new_genes, new_physics)
    assert kendalltau(mean, truth).statistic > kendalltau(new_physics[:, 0], truth).statistic + 0.1
    assert 0.5 < np.mean(np.abs(mean - truth) < std) < 0.95


def test_genes_of_absent_blocks_are_masked() -> None:
    vectors = SPACE.sample(np.random.default_rng(0), 100)
    features = gene_features(SPACE, vectors)
    assert (features[~SPACE.active(vectors)] == 0).all()


def test_too_few_measurements() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fit(np.zeros((1, 3)), np.zeros((1, 2)), np.zeros(1))


def test_equal_accuracies_are_no_division_by_zero(tables: CostTables) -> None:
    genes, physics, accuracy, _ = _problem(tables, 6, 0)
    mean, std = fit(genes, physics, np.full_like(accuracy, 0.5)).predict(genes, physics)
    np.testing.assert_allclose(mean, 0.5, atol=1e-6)
    assert np.isfinite(std).all()

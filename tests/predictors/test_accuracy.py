"""Accuracy predictors against dense linear algebra, finite differences, scikit-learn and held-out data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import kendalltau, multivariate_normal

from predictors.accuracy import gp as module
from predictors.accuracy.ensembles import BoostedTrees, MLPEnsemble, folds
from predictors.accuracy.features import Features, gene_features, physics_features, space_features, unwarp, warp
from predictors.accuracy.gp import fit_gp
from predictors.accuracy.predictor import PREDICTORS, predictor_class
from predictors.accuracy.selection import WORTH_ASKING, choose
from predictors.costs.network import COLUMN, total_macs
from search_spaces.errors import UsageError
from tests.kits.predictor import CHECKS, SPACE, Check, measured, tables


def _dense(gp: module.GroupGP, a: Features, b: Features) -> np.ndarray:
    """The kernel by its definition, one pair at a time."""
    s1, s2, s3, l1, l2, _ = np.exp(2 * gp.theta)
    p, q = ((f.physics - gp.physics_mean) / gp.physics_std for f in (a, b))
    out = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            squared = ((a.genes[i] - b.genes[j]) ** 2).sum() / l1 + ((p[i] - q[j]) ** 2).sum() / l2
            out[i, j] = s1 * a.genes[i] @ b.genes[j] + s2 * p[i] @ q[j] + s3 * np.exp(-squared / 2)
    return out


def test_prediction_equals_dense_formulas() -> None:
    known, accuracy, _ = measured(20, 0)
    new, *_ = measured(5, 1)
    gp = fit_gp(known, accuracy)
    noise = np.exp(2 * gp.theta[5])
    inverse = np.linalg.inv(_dense(gp, known, known) + (noise + 1e-8) * np.eye(20))
    cross = _dense(gp, new, known)
    learned = -np.log(1 - accuracy)
    expected = learned.mean() + cross @ inverse @ (learned - learned.mean())
    mean, std = gp.predict(new)
    np.testing.assert_allclose(-np.log(1 - mean), expected, atol=1e-7)
    np.testing.assert_allclose(gp.mean_of(new), mean, atol=1e-9)
    posterior = _dense(gp, new, new) - cross @ inverse @ cross.T
    slope = (1 - mean) * gp.scale * learned.std()
    np.testing.assert_allclose(std, slope * np.sqrt(np.diag(posterior) + noise), rtol=1e-4)
    np.testing.assert_allclose(gp.covariance(new, 2), slope * slope[2] * posterior[:, 2], rtol=1e-3, atol=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_objective_and_gradient(seed: int) -> None:
    known, accuracy, _ = measured(12, seed)
    p = (known.physics - known.physics.mean(0)) / np.maximum(known.physics.std(0), 0.1)
    y = (accuracy - accuracy.mean()) / accuracy.std()
    parts = module.KernelParts.of(known.genes, p)
    theta = np.random.default_rng(seed).uniform(-1, 0.5, 6)
    value, gradient = module.negative_log_posterior(theta, parts, y)
    z = (theta - module.PRIOR_MEAN) / module.PRIOR_SD
    density = multivariate_normal(np.zeros(12), parts.covariance(theta)).logpdf(y)
    assert value - 0.5 * z @ z + density == pytest.approx(6 * np.log(2 * np.pi) * -1, abs=1e-6)

    def at(point: np.ndarray) -> tuple[float, np.ndarray]:
        return module.negative_log_posterior(point, parts, y)

    error = check_grad(lambda t: at(t)[0], lambda t: at(t)[1], theta)
    assert error < 1e-4 * (1 + np.abs(gradient).max())


def test_leaving_out_is_leaving_out() -> None:
    known, accuracy, _ = measured(15, 3)
    gp = fit_gp(known, accuracy)
    covariance = gp.factor @ gp.factor.T
    y = (-np.log(1 - accuracy) - gp.mean) / gp.std

    def without(rows: np.ndarray) -> np.ndarray:
        rest = np.setdiff1d(np.arange(15), rows)
        by_hand = covariance[np.ix_(rows, rest)] @ np.linalg.solve(covariance[np.ix_(rest, rest)], y[rest])
        return unwarp(gp.mean + gp.std * by_hand)

    for i, predicted in enumerate(gp.leave_one_out()):
        assert predicted == pytest.approx(without(np.array([i]))[0], abs=1e-8)
    fold = np.array([1, 4, 9])
    np.testing.assert_allclose(gp.leave_fold_out(fold), without(fold), atol=1e-8)


def test_stated_deviations_cover_two_thirds() -> None:
    """Over many small fits, on measured values that the fits have not seen."""
    shares = []
    for seed in range(12):
        known, accuracy, _ = measured(25, seed)
        new, seen, _ = measured(200, 100 + seed)
        mean, std = fit_gp(known, accuracy).predict(new)
        shares.append(np.mean(np.abs(mean - seen) < std))
    assert 0.6 < np.mean(shares) < 0.76


def test_one_network_that_learned_nothing_spoils_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest network guesses; beside it, the same fit without the fence."""
    known, accuracy, _ = measured(40, 6)
    new, _, truth = measured(300, 7)
    smallest = space_features(SPACE, tables(), SPACE.extremes()[:1])
    both = Features(*(np.concatenate([getattr(known, n), getattr(smallest, n)]) for n in ("genes", "physics")))

    def tau(features: Features, values: np.ndarray) -> float:
        return float(kendalltau(fit_gp(features, values).mean_of(new), truth).statistic)

    fenced = tau(both, np.append(accuracy, 0.1))
    assert fenced > tau(known, accuracy) - 0.25
    monkeypatch.setattr("predictors.accuracy.features.FENCE", 1e9)
    assert fenced > tau(both, np.append(accuracy, 0.1)) + 0.15


def test_what_is_learned_is_the_log_error() -> None:
    accuracy = np.linspace(0.5, 0.9, 9)
    np.testing.assert_allclose(warp(accuracy), -np.log(1 - accuracy))
    np.testing.assert_allclose(unwarp(warp(accuracy)), accuracy)
    fenced = warp(np.append(accuracy, 0.0))
    learned = -np.log(1 - np.append(accuracy, 0.0))
    low, high = np.quantile(learned, [0.25, 0.75])
    assert fenced[-1] == pytest.approx(max(low - 2 * (high - low), learned[-1]))
    assert np.isfinite(warp(np.array([1.0, 0.9]))).all()


def test_members_predict_as_scikit_learn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numpy forms of trees and networks against the library's own predictions of the members it fitted."""
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.neural_network import MLPRegressor

    known, accuracy, _ = measured(40, 8)
    new, *_ = measured(50, 9)
    for cls, kind in ((GradientBoostingRegressor, BoostedTrees), (MLPRegressor, MLPEnsemble)):
        fitted = []
        original = cls.fit
        with monkeypatch.context() as patch:
            patch.setattr(cls, "fit", lambda self, x, y, o=original, f=fitted: f.append(self) or o(self, x, y))
            ensemble = kind.fit(known, accuracy, 0.0, seed=1)
        x = (new.columns() - ensemble.x_mean) / ensemble.x_std
        outputs = ensemble.members(x)
        assert len(fitted) == len(outputs)
        for model, output in zip(fitted, outputs, strict=True):
            np.testing.assert_allclose(output, model.predict(x), atol=1e-9)


def test_held_out_predictions_are_by_members_that_have_not_seen_them() -> None:
    known, accuracy, _ = measured(40, 10)
    before = MLPEnsemble.fit(known, accuracy, 0.0, seed=2)
    fold = folds(40, 2)[3]
    changed = accuracy.copy()
    changed[fold] -= 0.001  # too little to move the fence or the unit by much
    after = MLPEnsemble.fit(known, changed, 0.0, seed=2)
    np.testing.assert_allclose(after.leave_one_out()[fold], before.leave_one_out()[fold], atol=2e-4)
    assert np.abs(after.predict(known[fold])[0] - before.predict(known[fold])[0]).max() > 2e-4


def test_the_process_stays_unless_clearly_beaten() -> None:
    known, accuracy, _ = measured(WORTH_ASKING, 12)
    choice = choose(fit_gp(known, accuracy), known, accuracy)
    assert choice.kind == "gp"
    assert set(choice.rmse) == {"gp", "boosting", "mlp"}
    assert f"on {WORTH_ASKING} measurements" in choice.describe()
    few = choose(fit_gp(known[:20], accuracy[:20]), known[:20], accuracy[:20])
    assert (few.kind, few.rmse) == ("gp", {})


def test_another_is_taken_where_it_is_clearly_better() -> None:
    """Two steps among ten features: trees cut there, a smooth function cannot."""
    rng = np.random.default_rng(0)
    features = Features(rng.uniform(-1, 1, (300, 8)), rng.uniform(-1, 1, (300, 2)))
    steps = (features.genes[:, 0] > 0.13).astype(float) + (features.genes[:, 1] > -0.21)
    accuracy = 0.8 + 0.05 * steps + 0.001 * rng.standard_normal(300)
    choice = choose(fit_gp(features, accuracy), features, accuracy)
    assert choice.kind == "boosting"
    assert choice.rmse["boosting"] < 0.9 * choice.rmse["gp"]


def test_unknown_kind() -> None:
    with pytest.raises(UsageError, match="did you mean 'boosting'"):
        predictor_class("bosting")


def test_physics_are_exact() -> None:
    vectors = SPACE.sample(np.random.default_rng(0), 30)
    features, physics = tables().features(vectors), physics_features(SPACE, tables(), vectors)
    np.testing.assert_allclose(np.exp(physics[:, 0]), total_macs(features))
    np.testing.assert_allclose(np.exp(physics[:, 1]), features[:, COLUMN["params"]])
    assert physics.shape[1] == 2 + 3  # three stages of elastic depth


def test_genes_of_absent_blocks_are_masked() -> None:
    vectors = SPACE.sample(np.random.default_rng(0), 100)
    active = SPACE.active(vectors)
    assert (gene_features(SPACE, vectors)[:, : len(SPACE.genes)][~active] == 0).all()
    other = np.where(active, vectors, SPACE.cardinality - 1)
    np.testing.assert_array_equal(gene_features(SPACE, vectors), gene_features(SPACE, other))


@pytest.mark.parametrize("kind", PREDICTORS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_kit(check: Check, kind: str) -> None:
    check(kind)

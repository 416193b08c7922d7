"""Accuracy of a candidate with uncertainty, from a few measurements.

A Gaussian process whose kernel has three parts: linear in the genes, linear in the physics (log MACs, log
parameters), and a squared exponential over both:

    k(a, b) = s1^2 <g_a, g_b> + s2^2 <p_a, p_b> + s3^2 exp(-|g_a - g_b|^2 / 2 l1^2 - |p_a - p_b|^2 / 2 l2^2)

plus noise: six hyper-parameters, by maximum marginal likelihood with weak log-normal priors and analytic gradients
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4). Genes of absent blocks are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from search_spaces.space import SearchSpace, Vectors

from .costs import COLUMN, total_macs

Floats = NDArray[np.float64]

# log of: s1, s2, s3, l1, l2, noise
_PRIOR_MEAN = np.log([0.7, 0.7, 0.4, 1.0, 1.0, 0.2])
_PRIOR_SD = np.array([1.0, 1.0, 1.0, 0.7, 0.7, 1.0])


def gene_features(space: SearchSpace, vectors: Vectors) -> Floats:
    """Genes ``[n, genes]`` on [-1, 1], absent ones 0, scaled so that a typical squared norm is 1."""
    span = np.maximum(space.cardinality - 1, 1)
    scaled = np.where(space.active(vectors), 2.0 * vectors / span - 1.0, 0.0)
    features: Floats = scaled / np.sqrt(max(len(space.genes), 1) / 2.0)
    return features


def physics_features(features: Floats) -> Floats:
    """Log MACs and log parameters ``[n, 2]`` of cost feature rows."""
    return np.log(np.stack([total_macs(features), features[:, COLUMN["params"]]], axis=1))


@dataclass(frozen=True)
class GroupGP:
    """A fitted predictor; see :func:`fit`. Plain arrays, so that it can be saved as such."""

    theta: Floats
    genes: Floats
    physics: Floats
    physics_mean: Floats
    physics_std: Floats
    mean: float
    std: float
    factor: Floats
    weights: Floats

    def predict(self, genes: Floats, physics: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the accuracy (noise not included), each of shape ``[n]``.

        Args:
            genes: from :func:`gene_features`.
            physics: from :func:`physics_features`.
        """
        scaled = (physics - self.physics_mean) / self.physics_std
        cross = _kernel(self.theta, genes, scaled, self.genes, self.physics)
        mean = cross @ self.weights
        solved = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        s1, s2, s3 = np.exp(2 * self.theta[:3])
        prior = s1 * (genes**2).sum(1) + s2 * (scaled**2).sum(1) + s3
        variance = np.maximum(prior - np.einsum("ij,ij->j", solved, solved), 1e-12)
        return self.mean + self.std * mean, self.std * np.sqrt(variance)

    def leave_one_out(self) -> Floats:
        """Predictions of each measured candidate from all others (closed form), shape ``[n]``."""
        inverse = cho_solve((self.factor, True), np.eye(len(self.weights)))
        observed = self.factor @ (self.factor.T @ self.weights)
        return self.mean + self.std * (observed - self.weights / np.diag(inverse))


def fit(genes: Floats, physics: Floats, accuracy: Floats, noise_std: float = 0.0) -> GroupGP:
    """Fit to ``n >= 2`` measurements.

    Args:
        genes: ``[n, genes]`` from :func:`gene_features`.
        physics: ``[n, 2]`` from :func:`physics_features`.
        accuracy: measured, ``[n]``.
        noise_std: known standard error of one measurement, a lower bound of the noise.
    """
    if len(accuracy) < 2:
        raise ValueError(f"an accuracy predictor needs at least 2 measurements, not {len(accuracy)}")
    mean, std = float(accuracy.mean()), float(max(accuracy.std(), 1e-9))
    y = (accuracy - mean) / std
    physics_mean, physics_std = physics.mean(0), np.maximum(physics.std(0), 1e-9)
    p = (physics - physics_mean) / physics_std
    floor = np.log(np.clip(noise_std / std, 1e-3, 3.0))
    parts = _Parts.of(genes, p)
    bounds = [(-6.0, 3.0)] * 3 + [(-3.0, 4.0)] * 2 + [(floor, max(floor, 1.0))]
    start = np.clip(_PRIOR_MEAN, [b[0] for b in bounds], [b[1] for b in bounds])
    theta = minimize(_objective, start, args=(parts, y), jac=True, method="L-BFGS-B", bounds=bounds).x
    covariance = parts.covariance(theta)[0]
    factor = cholesky(covariance, lower=True)
    weights = cho_solve((factor, True), y)
    return GroupGP(theta, genes, p, physics_mean, physics_std, mean, std, factor, weights)


@dataclass(frozen=True)
class _Parts:
    """Inner products and squared distances, computed once a fit."""

    gg: Floats
    pp: Floats
    dg: Floats
    dp: Floats

    @staticmethod
    def of(genes: Floats, physics: Floats) -> _Parts:
        return _Parts(genes @ genes.T, physics @ physics.T, _squared(genes, genes), _squared(physics, physics))

    def covariance(self, theta: Floats) -> tuple[Floats, list[Floats]]:
        """Covariance with noise, and its derivatives by each log hyper-parameter."""
        s1, s2, s3, _, _, noise = np.exp(2 * theta)
        l1, l2 = np.exp(2 * theta[3:5])
        eye = np.eye(len(self.gg))
        rbf = s3 * np.exp(-0.5 * (self.dg / l1 + self.dp / l2))
        grads = [2 * s1 * self.gg, 2 * s2 * self.pp, 2 * rbf, rbf * self.dg / l1, rbf * self.dp / l2, 2 * noise * eye]
        return s1 * self.gg + s2 * self.pp + rbf + (noise + 1e-8) * eye, grads


def _objective(theta: Floats, parts: _Parts, y: Floats) -> tuple[float, Floats]:
    """Negative log posterior of the hyper-parameters, and its gradient."""
    covariance, grads = parts.covariance(theta)
    try:
        factor = cholesky(covariance, lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve((factor, True), y)
    inverse = cho_solve((factor, True), np.eye(len(y)))
    value = 0.5 * y @ alpha + np.log(np.diag(factor)).sum()
    outer = np.outer(alpha, alpha) - inverse
    gradient = np.array([-0.5 * np.einsum("ij,ij->", outer, g) for g in grads])
    z = (theta - _PRIOR_MEAN) / _PRIOR_SD
    return float(value + 0.5 * z @ z), gradient + z / _PRIOR_SD


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared distances ``[len(a), len(b)]``."""
    squared: Floats = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0.0)
    return squared


def _kernel(theta: Floats, g1: Floats, p1: Floats, g2: Floats, p2: Floats) -> Floats:
    s1, s2, s3 = np.exp(2 * theta[:3])
    l1, l2 = np.exp(2 * theta[3:5])
    distance = _squared(g1, g2) / l1 + _squared(p1, p2) / l2
    kernel: Floats = s1 * (g1 @ g2.T) + s2 * (p1 @ p2.T) + s3 * np.exp(-0.5 * distance)
    return kernel

"""The group Gaussian process: the default accuracy predictor.

Its kernel has three parts: linear in the genes, linear in the physics, and a squared exponential over both:

    k(a, b) = s1^2 <g_a, g_b> + s2^2 <p_a, p_b> + s3^2 exp(-|g_a - g_b|^2 / 2 l1^2 - |p_a - p_b|^2 / 2 l2^2)

plus noise: six hyper-parameters, by maximum marginal likelihood with weak log-normal priors and analytic gradients
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4). What is learned is the logarithm
of the error, standardised; physics are standardised too, and depths divided by the square root of their number, so that
they count as one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack
from scipy.optimize import minimize

from search_spaces.genes import Floats

from .features import Features, unwarp, warp

PRIOR_MEAN = np.log([0.7, 0.7, 0.4, 1.0, 1.0, 0.2])
PRIOR_SD = np.array([1.0, 1.0, 1.0, 0.7, 0.7, 1.0])
"""Of the log hyper-parameters: s1, s2, s3, l1, l2, noise."""

_FREEDOM = 3.0
"""How many free numbers the six hyper-parameters count as, held by their priors."""

_DOUBT = 8.0
"""How many measurements' worth the belief weighs that the process states its deviation rightly."""


@dataclass(frozen=True)
class GroupGP:
    """A fitted Gaussian process; see :func:`fit_gp`.

    Attributes:
        theta: log of s1, s2, s3, l1, l2 and the noise's deviation.
        genes, physics: of the measured candidates, physics standardised.
        physics_mean, physics_std: mean and deviation that physics are standardised by.
        mean, std: of what is learned (see ``warp``).
        weights: inverse covariance times what is learned, standardised, ``[n]``.
        factor: lower Cholesky factor of the covariance with noise, ``[n, n]``.
        misfit: variance of the fitted noise beyond the known error of a measurement.
        scale: factor of the stated deviation, so that it covers the leave-one-out errors.
    """

    kind: ClassVar[str] = "gp"
    least: ClassVar[int] = 2

    theta: Floats
    genes: Floats
    physics: Floats
    physics_mean: Floats
    physics_std: Floats
    mean: float
    std: float
    factor: Floats
    weights: Floats
    misfit: float
    scale: float

    @classmethod
    def fit(cls, features: Features, accuracy: Floats, noise_std: float, seed: int) -> GroupGP:
        """By :func:`fit_gp`; nothing is random."""
        return fit_gp(features, accuracy, noise_std)

    def predict(self, features: Features) -> tuple[Floats, Floats]:
        """The deviation holds what the kernel cannot explain, but not the known error of a measurement."""
        cross = self._cross(features)
        solved = cross @ self._whiten
        variance = np.maximum(self._prior(features) - np.einsum("ij,ij->i", solved, solved), 1e-12) + self.misfit
        mean = unwarp(self.mean + self.std * (cross @ self.weights))
        return mean, (1 - mean) * self.scale * self.std * np.sqrt(variance)

    def mean_of(self, features: Features) -> Floats:
        """The mean alone, in a fraction of the time: one product, one exponential and two sums."""
        straight, bent, rows, scale = self._collapsed
        seen = np.empty((len(features), straight.size + 2))
        seen[:, :-2] = np.hstack([features.genes, features.physics - self.physics_mean])
        line = seen[:, :-2] @ straight
        seen[:, :-2] *= scale
        seen[:, -2] = np.einsum("ij,ij->i", seen[:, :-2], seen[:, :-2])
        seen[:, -1] = 1.0
        near = seen @ rows
        np.exp(near, out=near)
        return unwarp(self.mean + self.std * (line + near @ bent))

    @cached_property
    def _collapsed(self) -> tuple[Floats, Floats, Floats, Floats]:
        """For the mean: the linear parts' slope; the weights of the exponentials; the matrix ``[g + p + 2, n]`` that
        turns (scaled features, their squared norm, 1) into exponents; and that scale."""
        s1, s2, s3, l1, l2 = np.exp(self.theta[:5])
        slope = np.append(s1**2 * (self.weights @ self.genes), s2**2 * (self.weights @ self.physics) / self.physics_std)
        known = np.hstack([self.genes / l1, self.physics / l2])
        squares = np.einsum("ij,ij->i", known, known)
        rows = np.vstack([known.T, np.full(len(known), -0.5), -0.5 * squares])
        scale = np.append(np.full(self.genes.shape[1], 1 / l1), 1 / (l2 * self.physics_std))
        return slope, s3**2 * self.weights, rows, scale

    def covariance(self, features: Features, pick: int) -> Floats:
        one = features[[pick]]
        cross, other = self._cross(features), self._cross(one)
        p, q = self._standardise(features), self._standardise(one)
        prior = _kernel(self.theta, features.genes, p, one.genes, q)[:, 0]
        shared: Floats = prior - (cross @ self._whiten) @ (other @ self._whiten)[0]
        slope = 1 - self.mean_of(features)
        shared *= slope * slope[pick] * (self.scale * self.std) ** 2
        return shared

    def leave_one_out(self) -> Floats:
        """Predictions of each measured candidate from all others (closed form), shape ``[n]``."""
        inverse = np.diag(cho_solve((self.factor, True), np.eye(len(self.weights))))
        observed = self.factor @ (self.factor.T @ self.weights)
        left_out: Floats = observed - self.weights / inverse
        return unwarp(self.mean + self.std * left_out)

    def leave_fold_out(self, fold: NDArray[np.int64]) -> Floats:
        """Predictions of the measured candidates of rows ``fold`` from all others (closed form), shape ``[len(fold)]``.

        With the hyper-parameters of the whole fit, six numbers that a fifth of the data hardly moves.
        """
        inverse = cho_solve((self.factor, True), np.eye(len(self.weights)))[np.ix_(fold, fold)]
        observed = (self.factor @ (self.factor.T @ self.weights))[fold]
        return unwarp(self.mean + self.std * (observed - np.linalg.solve(inverse, self.weights[fold])))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @cached_property
    def _whiten(self) -> Floats:
        """Inverse of the factor, transposed: a product is faster than solving for thousands of candidates."""
        inverse: Floats = lapack.dtrtri(self.factor, lower=1)[0].T
        return np.ascontiguousarray(inverse)

    def _standardise(self, features: Features) -> Floats:
        return (features.physics - self.physics_mean) / self.physics_std

    def _cross(self, features: Features) -> Floats:
        return _kernel(self.theta, features.genes, self._standardise(features), self.genes, self.physics)

    def _prior(self, features: Features) -> Floats:
        s1, s2, s3 = np.exp(2 * self.theta[:3])
        g, p = features.genes, self._standardise(features)
        prior: Floats = s1 * np.einsum("ij,ij->i", g, g) + s2 * np.einsum("ij,ij->i", p, p) + s3
        return prior


def fit_gp(
    features: Features, accuracy: Floats, noise_std: float = 0.0, start: Floats | None = None, steps: int = 60
) -> GroupGP:
    """Fit to ``n >= 2`` measurements; raises ValueError where there are fewer.

    Args:
        noise_std: known standard error of one measurement, a lower bound of the noise.
        start: hyper-parameters to start from (an earlier fit's ``theta``), which saves most of the time.
        steps: of the optimiser, at most; 0 keeps ``start``.
    """
    if len(accuracy) < 2:
        raise ValueError(f"an accuracy predictor needs at least 2 measurements, not {len(accuracy)}")
    learned = warp(accuracy)
    mean, std = float(learned.mean()), float(max(learned.std(), 1e-9))
    y = (learned - mean) / std
    noise_std = noise_std * np.exp(mean)  # of the logarithm of a typical error
    physics_mean, physics_std = features.physics.mean(0), features.physics.std(0)
    physics_std = np.where(physics_std < 1e-9, 1.0, physics_std)
    physics_std[2:] *= np.sqrt(max(len(physics_std) - 2, 1))
    p = (features.physics - physics_mean) / physics_std
    floor = np.log(np.clip(noise_std / std, 1e-3, 3.0))
    parts = KernelParts.of(features.genes, p)
    bounds = [(-6.0, 3.0)] * 3 + [(-3.0, 4.0)] * 2 + [(floor, max(floor, 1.0))]
    first = np.clip(PRIOR_MEAN if start is None else start, [b[0] for b in bounds], [b[1] for b in bounds])
    theta = first
    if steps:
        options = {"maxiter": steps, "ftol": 1e-6}
        given = {"jac": True, "bounds": bounds, "options": options}
        theta = minimize(negative_log_posterior, first, (parts, y), "L-BFGS-B", **given).x
    factor = cholesky(parts.covariance(theta), lower=True)
    weights = cho_solve((factor, True), y)
    inverse = np.diag(cho_solve((factor, True), np.eye(len(y))))
    standard = np.abs(weights) / np.sqrt(inverse)  # leave-one-out errors in their stated deviations
    misfit = max(float(np.exp(2 * theta[5])) - (noise_std / std) ** 2, 0.0)
    scale = _spread(standard)
    return GroupGP(theta, features.genes, p, physics_mean, physics_std, mean, std, factor, weights, misfit, scale)


def _spread(standard: Floats) -> float:
    """What deviations must be multiplied by to cover 68 % of errors ``[n]`` given in deviations; cautious for few.

    The hyper-parameters have seen what is left out, so the errors are too small by the freedom that they take.
    """
    n = len(standard)
    share = np.quantile(standard, 0.683) * np.sqrt(n / max(n - _FREEDOM, 1.0))
    return float((n * share + _DOUBT) / (n + _DOUBT))


@dataclass(frozen=True)
class KernelParts:
    """Inner products and squared distances of the features, computed once per fit."""

    gg: Floats
    pp: Floats
    dg: Floats
    dp: Floats

    @staticmethod
    def of(genes: Floats, physics: Floats) -> KernelParts:
        return KernelParts(genes @ genes.T, physics @ physics.T, _squared(genes, genes), _squared(physics, physics))

    def rbf(self, theta: Floats) -> Floats:
        s3, l1, l2 = np.exp(2 * theta[2:5])
        rbf: Floats = s3 * np.exp(self.dg * (-0.5 / l1) + self.dp * (-0.5 / l2))
        return rbf

    def covariance(self, theta: Floats, rbf: Floats | None = None) -> Floats:
        """Covariance with noise."""
        s1, s2, _, _, _, noise = np.exp(2 * theta)
        covariance: Floats = s1 * self.gg + s2 * self.pp + (self.rbf(theta) if rbf is None else rbf)
        covariance.flat[:: len(covariance) + 1] += noise + 1e-8
        return covariance

    def gradient(self, theta: Floats, rbf: Floats, outer: Floats) -> Floats:
        """Sums of ``outer`` times the derivative of the covariance by each log hyper-parameter, ``[6]``."""
        s1, s2, _, l1, l2, noise = np.exp(2 * theta)
        scaled = outer * rbf
        lengths = np.vdot(scaled, self.dg) / l1, np.vdot(scaled, self.dp) / l2
        linear = 2 * s1 * np.vdot(outer, self.gg), 2 * s2 * np.vdot(outer, self.pp)
        return np.array([*linear, 2 * scaled.sum(), *lengths, 2 * noise * np.trace(outer)])


def negative_log_posterior(theta: Floats, parts: KernelParts, y: Floats) -> tuple[float, Floats]:
    """Negative log posterior of the hyper-parameters, and its gradient."""
    rbf = parts.rbf(theta)
    try:
        factor = cholesky(parts.covariance(theta, rbf), lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve((factor, True), y, check_finite=False)
    half = lapack.dpotri(factor, lower=1)[0]  # the lower half of the inverse; the factor's upper half is zero
    inverse = half + half.T
    inverse.flat[:: len(y) + 1] *= 0.5
    value = 0.5 * y @ alpha + np.log(np.diag(factor)).sum()
    gradient = -0.5 * parts.gradient(theta, rbf, np.outer(alpha, alpha) - inverse)
    z = (theta - PRIOR_MEAN) / PRIOR_SD
    return float(value + 0.5 * z @ z), gradient + z / PRIOR_SD


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared distances ``[len(a), len(b)]``."""
    product = a @ b.T
    product *= -2.0
    product += np.einsum("ij,ij->i", a, a)[:, None]
    product += np.einsum("ij,ij->i", b, b)
    np.maximum(product, 0.0, out=product)
    return product


def _kernel(theta: Floats, g1: Floats, p1: Floats, g2: Floats, p2: Floats) -> Floats:
    """Covariance ``[len(g1), len(g2)]`` without noise, in two products."""
    s1, s2, s3, l1, l2 = np.exp(theta[:5])
    kernel = _squared(np.hstack([g1 / l1, p1 / l2]), np.hstack([g2 / l1, p2 / l2]))
    kernel *= -0.5
    np.exp(kernel, out=kernel)
    kernel *= s3**2
    kernel += np.hstack([g1 * s1**2, p1 * s2**2]) @ np.hstack([g2, p2]).T
    return kernel

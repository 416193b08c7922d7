"""Interpolation that fades to nothing far from what it has seen: a Gaussian process with mean 0.

.. math:: g(x) = k(x)^\\top (K + \\lambda I)^{-1} v, \\quad k_i(x) = \\exp(-|x - x_i|^2 / 2\\ell^2)

(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 2.2.) Latency models multiply by the
exponential of it.
"""

from __future__ import annotations

import numpy as np

from search_spaces.genes import Floats


def kernel(a: Floats, b: Floats, width: float) -> Floats:
    """Similarities ``[n, m]`` of points ``[n, d]`` and ``[m, d]``, at most 1."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    similar: Floats = np.exp(-np.maximum(squares, 0) / (2 * width**2))
    return similar


def solve(points: Floats, values: Floats, width: float, noise: float) -> Floats:
    """Weights ``[n]`` so that ``kernel(x, points, width) @ weights`` interpolates ``values [n]``, whose noise has that
    variance (above 0) in units of their own."""
    covariance = kernel(points, points, width) + noise * np.eye(len(points))
    return np.asarray(np.linalg.solve(covariance, values), dtype=np.float64)

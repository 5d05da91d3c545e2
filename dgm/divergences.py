"""Divergences between two distributions: sums over tables, closed forms for Gaussians, estimates from samples.

A table is an array of probabilities whose last axis runs over the states; leading axes are many tables at once.  A
density becomes one on a fine grid, times the spacing.  All logarithms are natural.  Taught in the lecture
`divergences`, which holds the twins.  Imports no framework.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "chi_squared",
    "jensen_shannon",
    "kl",
    "kl_normal",
    "kl_terms",
    "mean_and_error",
    "squared_hellinger",
    "total_variation",
    "wasserstein_1d",
]


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) = sum p log(p / q) in nats, infinite where q = 0 < p; states with p = 0 add nothing (eq-div-kl)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0).sum(-1)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Mean of both KL to the mixture (p + q) / 2, in nats, at most log 2; its square root is a distance, it is none."""
    mixture = (p + q) / 2
    return (kl(p, mixture) + kl(q, mixture)) / 2


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """sum |p - q| / 2, from 0 to 1: the largest difference of the probabilities of one event."""
    return np.abs(p - q).sum(-1) / 2


def squared_hellinger(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """sum (sqrt p - sqrt q)^2 / 2 = 1 - sum sqrt(p q) for normalised tables, from 0 to 1."""
    return ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1) / 2


def chi_squared(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """sum (p - q)^2 / q, infinite where q = 0 < p."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == q, 0, (p - q) ** 2 / q).sum(-1)


def wasserstein_1d(p: np.ndarray, q: np.ndarray, spacing: float = 1.0) -> np.ndarray:
    """W_1 = sum |F - G| spacing of tables on evenly spaced points, F and G their cumulative sums; a length."""
    return np.abs(np.cumsum(p - q, axis=-1)).sum(-1) * spacing


def kl_normal(mean_p: np.ndarray, std_p: np.ndarray, mean_q: np.ndarray, std_q: np.ndarray) -> np.ndarray:
    """KL(N(mean_p, std_p^2) || N(mean_q, std_q^2)) in nats for each entry.

    Sum over independent components for a diagonal covariance.
    """
    ratio = std_p / std_q
    return ((mean_p - mean_q) ** 2 / std_q**2 + ratio**2 - 1) / 2 - np.log(ratio)


def kl_terms(log_p: np.ndarray, log_q: np.ndarray) -> dict[str, np.ndarray]:
    """Three estimates of KL(p || q) for each sample of p, with r = q / p (eq-div-estimates; Schulman 2020).

    `k1` = -log r is unbiased, `k2` = (log r)^2 / 2 is biased, `k3` = r - 1 - log r is unbiased and never negative.

    Args:
        log_p: log p(x) of samples x from p, of any shape.
        log_q: log q(x) of the same samples, of the same shape.
    """
    log_r = log_q - log_p
    return {"k1": -log_r, "k2": log_r**2 / 2, "k3": np.expm1(log_r) - log_r}


def mean_and_error(terms: np.ndarray) -> tuple[float, float]:
    """Mean of independent terms and its standard error.

    Raises:
        ValueError: fewer than two terms.
    """
    if terms.size < 2:
        raise ValueError(f"terms: expected at least two for a standard error, got {terms.size}")
    return float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(terms.size))

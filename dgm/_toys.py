"""Two-dimensional distributions with a known density; `dgm.data` offers them.  No framework."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GaussianMixture:
    """p(x) = sum_k weights_k N(x; means_k, std^2 I): a target that can be sampled and evaluated exactly.

    Attributes:
        means: of shape (num_modes, dim).
        std: standard deviation of every mode, in every direction.
        weights: of shape (num_modes,), positive, summing to 1.
    """

    means: np.ndarray
    std: float
    weights: np.ndarray

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.weights.shape != (len(self.means),):
            raise ValueError(
                f"means, weights: expected shapes (num_modes, dim) and (num_modes,), got {self.means.shape} and "
                f"{self.weights.shape}"
            )
        if not self.std > 0:
            raise ValueError(f"std: expected a positive number, got {self.std}")
        if not (np.all(self.weights > 0) and math.isclose(self.weights.sum(), 1)):
            raise ValueError(f"weights: expected positive numbers that sum to 1, got {self.weights}")

    def sample(self, num_samples: int, *, rng: np.random.Generator) -> np.ndarray:
        """Independent draws, float64 of shape (num_samples, dim)."""
        modes = rng.choice(len(self.means), num_samples, p=self.weights)
        return self.means[modes] + self.std * rng.standard_normal((num_samples, self.means.shape[1]))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats, for x of shape (..., dim); shape (...,).

        Raises:
            ValueError: the last axis of `x` has not the dimension of the means.
        """
        x = np.asarray(x, dtype=np.float64)
        dim = self.means.shape[1]
        if x.shape[-1:] != (dim,):
            raise ValueError(f"x: expected shape (..., {dim}), got {x.shape}")
        squared = ((x[..., None, :] - self.means) ** 2).sum(-1)
        terms = np.log(self.weights) - squared / (2 * self.std**2)
        return np.logaddexp.reduce(terms, axis=-1) - dim / 2 * math.log(2 * math.pi * self.std**2)


def ring_of_gaussians(num_modes: int = 8, *, radius: float = 2.0, std: float = 0.3) -> GaussianMixture:
    """Equal Gaussians on a circle, the first at angle 0: easy to draw, hard for a sampler that has to change modes.

    Raises:
        ValueError: fewer than one mode, or a `std` that is not positive.
    """
    if num_modes < 1:
        raise ValueError(f"num_modes: expected at least 1, got {num_modes}")
    angles = 2 * np.pi * np.arange(num_modes) / num_modes
    means = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixture(means, std, np.full(num_modes, 1 / num_modes))


def grid_of_gaussians(num_per_side: int = 5, *, spacing: float = 2.0, std: float = 0.05) -> GaussianMixture:
    """Equal Gaussians on a square grid around the origin, row by row: many modes with much empty space between them.

    Raises:
        ValueError: fewer than one mode on a side, or a `std` that is not positive.
    """
    if num_per_side < 1:
        raise ValueError(f"num_per_side: expected at least 1, got {num_per_side}")
    side = spacing * (np.arange(num_per_side) - (num_per_side - 1) / 2)
    means = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return GaussianMixture(means, std, np.full(len(means), 1 / len(means)))

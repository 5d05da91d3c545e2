"""A mixture of Gaussians with everything about it exact: the reference of the lectures on scores and diffusion.

Imports torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["GaussianMixture"]


class GaussianMixture:
    """p(x) = sum_k weights_k N(x; means_k, stds_k^2 I).

    Blurred or shrunk it stays a mixture, so that the score at every noise level, the posterior mean E[x_0 | x_t] and
    the likelihood are all closed forms.

    Args:
        weights: positive, summing to 1, shape (num_components,).
        means: shape (num_components, dim).
        stds: positive, shape (num_components,), or one number for all.

    Raises:
        ValueError: shapes that do not fit, or weights that are not a distribution.
    """

    def __init__(self, weights: Tensor, means: Tensor, stds: Tensor | float) -> None:
        stds = torch.as_tensor(stds, dtype=means.dtype, device=means.device).expand(len(means))
        if means.dim() != 2 or weights.shape != means.shape[:1]:
            raise ValueError(
                "expected weights (num_components,) and means (num_components, dim), "
                f"got {tuple(weights.shape)} and {tuple(means.shape)}"
            )
        # The tolerance is for float32 weights, whose sum is exact to about 1e-7.
        if bool((weights <= 0).any()) or abs(weights.sum().item() - 1) > 1e-5:
            raise ValueError(f"weights: expected positive numbers that sum to 1, got {weights.tolist()}")
        if bool((stds <= 0).any()):
            raise ValueError(f"stds: expected positive numbers, got {stds.tolist()}")
        self.weights, self.means, self.stds = weights, means, stds

    def diffused(self, scale: float, std: float) -> GaussianMixture:
        """The law of scale x + std xi, xi ~ N(0, I): q(x_t) for scale^2 = alpha-bar_t and std^2 = 1 - alpha-bar_t."""
        return GaussianMixture(self.weights, scale * self.means, (scale**2 * self.stds**2 + std**2).sqrt())

    def _joint(self, x: Tensor) -> Tensor:
        """log weights_k + log N(x; means_k, stds_k^2 I), shape (num_examples, num_components)."""
        dim = self.means.shape[1]
        # Differences, not |x|^2 - 2 x.m + |m|^2: the latter loses digits far from the origin.
        squared = (x[:, None] - self.means).square().sum(dim=2)
        return self.weights.log() - 0.5 * squared / self.stds**2 - dim * (self.stds.log() + 0.5 * math.log(2 * math.pi))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (num_examples,), of x with shape (num_examples, dim)."""
        return torch.logsumexp(self._joint(x), dim=1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x), shape (num_examples, num_components)."""
        return torch.softmax(self._joint(x), dim=1)

    def score(self, x: Tensor) -> Tensor:
        """grad log p(x) = sum_k p(k | x) (means_k - x) / stds_k^2, of the shape of x."""
        pulls = self.responsibilities(x) / self.stds**2
        return pulls @ self.means - pulls.sum(dim=1, keepdim=True) * x

    def denoised(self, x: Tensor, scale: float, std: float) -> Tensor:
        """E[x_0 | scale x_0 + std xi = x] for x_0 from this mixture: the best prediction of the data, by Tweedie.

        That is (x + std^2 grad log p_t(x)) / scale, with p_t the law of `diffused`.
        """
        return (x + std**2 * self.diffused(scale, std).score(x)) / scale

    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent samples, shape (num_samples, dim)."""
        device = self.means.device
        k = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        noise = torch.randn(
            num_samples, self.means.shape[1], generator=generator, device=device, dtype=self.means.dtype
        )
        return self.means[k] + self.stds[k, None] * noise

"""Mixtures of Gaussians and of Bernoulli variables, and EM, in PyTorch.  Taught in the lecture `kde_gmm`, the twins.

A mixture has `log_joint(x)` and the class method `fit(x, r)`, the M-step; all else follows from these two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["MixtureOfBernoullis", "MixtureOfGaussians", "elbo", "em", "log_prob", "responsibilities"]


class Mixture(Protocol):
    """p(x) = sum_k p(x, z = k): what EM needs of it."""

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z = k) in nats, shape (num_examples, num_components)."""
        ...

    @classmethod
    def fit(cls, x: Tensor, r: Tensor, **prior: Any) -> Any:
        """The mixture that maximises sum_nk r_nk log p(x_n, k), with a prior where one is given."""
        ...


def log_prob(mixture: Mixture, x: Tensor) -> Tensor:
    """log p(x) = log sum_k p(x, z = k) in nats, shape (num_examples,)."""
    return torch.logsumexp(mixture.log_joint(x), 1)


def responsibilities(mixture: Mixture, x: Tensor) -> Tensor:
    """p(z = k | x), shape (num_examples, num_components); rows sum to 1 (eq-kde-responsibilities)."""
    return torch.softmax(mixture.log_joint(x), 1)


def elbo(mixture: Mixture, x: Tensor, q: Tensor) -> Tensor:
    """sum_k q_k log(p(x, k) / q_k) in nats, to be maximised, shape (num_examples,).

    At most log p(x), and equal where the rows of `q` are the responsibilities (Neal and Hinton 1998; eq-kde-elbo).

    Args:
        mixture: the model.
        x: shape (num_examples, dim).
        q: distributions over components, shape (num_examples, num_components), rows sum to 1; zeros are allowed.
    """
    return (q * mixture.log_joint(x) - torch.xlogy(q, q)).sum(1)


def em(mixture: Mixture, x: Tensor, **prior: Any) -> Iterator[Any]:
    """Expectation-maximisation: yields the mixture after 1, 2, 3, ... steps, without end.

    The log-likelihood, plus the log prior where `prior` names one, never falls (Dempster, Laird and Rubin 1977).

    Args:
        mixture: where to start.
        x: shape (num_examples, dim).
        prior: keywords of the mixture's own `fit`.
    """
    while True:
        r = responsibilities(mixture, x)  # E-step
        mixture = mixture.fit(x, r, **prior)  # M-step
        yield mixture


class MixtureOfGaussians:
    """p(x) = sum_k weights_k N(x; means_k, covariances_k), with full covariances (eq-kde-mixture).

    Attributes:
        weights: positive, summing to 1, shape (num_components,).
        means: shape (num_components, dim).
        covariances: symmetric and positive definite, shape (num_components, dim, dim).
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances

    def log_joint(self, x: Tensor) -> Tensor:
        """log weights_k + log N(x; means_k, covariances_k), shape (num_examples, num_components)."""
        terms = []
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            factor = torch.linalg.cholesky(covariance)
            white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
            log_det = 2 * factor.diagonal().log().sum()
            squared = white.square().sum(0) + len(mean) * math.log(2 * math.pi)
            terms.append(weight.log() - (squared + log_det) / 2)
        return torch.stack(terms, 1)

    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent samples, shape (num_samples, dim)."""
        picked = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        means, factors = self.means[picked], torch.linalg.cholesky(self.covariances)
        noise = torch.randn(means.shape, generator=generator, device=means.device, dtype=means.dtype)
        return means + (factors[picked] @ noise[:, :, None])[:, :, 0]

    @classmethod
    def fit(
        cls, x: Tensor, r: Tensor, *, pseudo_count: float = 0.0, pseudo_variance: float = 0.0
    ) -> MixtureOfGaussians:
        """The M-step: weighted means and covariances, these with pseudo-observations (eq-kde-m-step, eq-kde-map).

        Args:
            x: shape (num_examples, dim).
            r: weights of each example in each component, shape (num_examples, num_components), rows sum to 1; no
                component may be empty.
            pseudo_count: how many pseudo-observations each covariance gets; with 0 this is maximum likelihood, which
                may be singular.
            pseudo_variance: their variance in each direction, in the squared unit of the data.
        """
        counts = r.sum(0)  # n_k
        means = r.T @ x / counts[:, None]
        prior = pseudo_count * pseudo_variance * torch.eye(x.shape[1]).to(x)
        covariances = []
        for weight, count, mean in zip(r.T, counts, means, strict=True):
            centred = x - mean
            scatter = (weight[:, None] * centred).T @ centred
            covariances.append((scatter + prior) / (count + pseudo_count))
        return cls(counts / len(x), means, torch.stack(covariances))


class MixtureOfBernoullis:
    """p(x) = sum_k weights_k prod_i probs_ki^x_i (1 - probs_ki)^(1 - x_i) for x in {0, 1}^dim (eq-kde-bernoulli).

    Attributes:
        weights: positive, summing to 1, shape (num_components,).
        probs: between 0 and 1, neither of them, shape (num_components, dim).
    """

    def __init__(self, weights: Tensor, probs: Tensor) -> None:
        self.weights, self.probs = weights, probs

    def log_joint(self, x: Tensor) -> Tensor:
        """log weights_k + log p(x | k) in nats, shape (num_examples, num_components)."""
        logits = torch.logit(self.probs)
        return self.weights.log() + x @ logits.T - softplus(logits).sum(1)

    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent samples of zeros and ones, shape (num_samples, dim)."""
        picked = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        return torch.bernoulli(self.probs[picked], generator=generator)

    @classmethod
    def fit(cls, x: Tensor, r: Tensor, *, pseudo_count: float = 0.5) -> MixtureOfBernoullis:
        """The M-step: weighted means with `pseudo_count` for "on" and as much for "off" (eq-kde-bernoulli).

        Args:
            x: zeros and ones, shape (num_examples, dim).
            r: weights of each example in each component, shape (num_examples, num_components), rows sum to 1.
            pseudo_count: of each value of each pixel; with 0 a pixel may become impossible and log p infinite.
        """
        counts = r.sum(0)  # n_k
        probs = (r.T @ x + pseudo_count) / (counts[:, None] + 2 * pseudo_count)
        return cls(counts / len(x), probs)

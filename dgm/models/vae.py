"""Variational autoencoder in PyTorch.  Taught in the lecture `vae_pytorch`, which holds the twins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, kl_divergence

__all__ = ["PRIOR", "VAE", "GaussianHead", "bernoulli_head", "mlp", "train"]


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these sizes with an activation between any two, and none at the end."""
    layers = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), activation()]
    return nn.Sequential(*layers[:-1])


PRIOR = Normal(0.0, 1.0)


class VAE(nn.Module):
    """p(x, z) = N(z; 0, I) p(x | z) and q(z | x) = N(z; mu(x), diag sigma(x)^2).

    Kingma and Welling 2014; eq-vp-elbo, eq-vp-weights.

    Args:
        encoder: maps x of shape (num_images, num_pixels) to means and log standard deviations, side by side, shape
            (num_images, 2 latent_dim).
        decoder: maps codes of shape (..., latent_dim) to numbers without bounds.
        head: makes a distribution of x from what the decoder gives.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def posterior(self, x: Tensor) -> Normal:
        """q(z | x), batch shape (num_images, latent_dim)."""
        mean, log_std = self.encoder(x).chunk(2, dim=-1)
        return Normal(mean, log_std.exp(), validate_args=False)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z), for each pixel."""
        return self.head(self.decoder(z))

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction term, with one sample of z, and KL(q || prior), in nats, one number per image each."""
        q = self.posterior(x)
        reconstruction = self.likelihood(q.rsample()).log_prob(x).sum(-1)
        return reconstruction, kl_divergence(q, PRIOR).sum(-1)

    def elbo(self, x: Tensor, *, beta: float = 1.0) -> Tensor:
        """Reconstruction minus beta KL, in nats, one number per image, to be maximised; the ELBO at beta = 1."""
        reconstruction, kl = self.terms(x)
        return reconstruction - beta * kl

    def log_weights(self, x: Tensor, num_samples: int) -> Tensor:
        """log p(x, z_s) - log q(z_s | x) with z_s from q, in nats, shape (num_samples, num_images)."""
        q = self.posterior(x)
        z = q.rsample((num_samples,))
        log_joint = self.likelihood(z).log_prob(x).sum(-1) + PRIOR.log_prob(z).sum(-1)
        return log_joint - q.log_prob(z).sum(-1)


class GaussianHead(nn.Module):
    """N(mean, std^2 I), with one standard deviation for all pixels, which may be learned."""

    def __init__(self, std: float, *, learn: bool = False) -> None:
        super().__init__()
        log_std = torch.full((), math.log(std))
        self.log_std = nn.Parameter(log_std, requires_grad=learn)

    def forward(self, mean: Tensor) -> Normal:
        """The distribution around `mean`."""
        return Normal(mean, self.log_std.exp().expand_as(mean), validate_args=False)


def bernoulli_head(logits: Tensor) -> Bernoulli:
    """Independent pixels; `log_prob` of grey values in [0, 1] is minus the binary cross-entropy."""
    return Bernoulli(logits=logits, validate_args=False)


def train(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    num_images: int,
    epochs: int,
    *,
    rate: float = 1e-3,
    batch_size: int = 128,
    decay: bool = False,
    optimiser: torch.optim.Optimizer | None = None,
    done: int = 0,
) -> Iterator[float]:
    """Adam on `loss`; yields its mean over each epoch.

    Args:
        model: whose parameters are trained, those that want a gradient.
        loss: maps row numbers, an integer tensor on the device of the model, to one number per row.
        num_images: rows are a new permutation of 0 ... num_images - 1 in each epoch.
        epochs: how many.
        rate: learning rate.
        batch_size: rows for a step; the last step of an epoch may have fewer.
        decay: let the rate fall to zero along a cosine.
        optimiser: default a new Adam; one that is passed in can be kept in a checkpoint.
        done: epochs that an interrupted training has made.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    optimiser = optimiser or torch.optim.Adam(parameters, fused=True)
    num_batches = math.ceil(num_images / batch_size)
    for epoch in range(done, epochs):
        total = torch.zeros((), device=device)
        order = torch.randperm(num_images, device=device)
        for batch, rows in enumerate(order.split(batch_size)):
            part = (epoch + batch / num_batches) / epochs
            lowered = (1 + math.cos(math.pi * part)) / 2 if decay else 1
            optimiser.param_groups[0]["lr"] = rate * lowered
            value = loss(rows).mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            total += value.detach() * len(rows)
        yield (total / num_images).item()

"""The GAN of fully connected networks, in PyTorch.  Taught in the lecture `gan_mnist`, which holds the twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = [
    "adams",
    "discriminator_loss",
    "generator_loss",
    "make_discriminator",
    "make_generator",
    "sample_codes",
    "step",
    "step_by_hand",
    "train",
]


def make_generator(latent_dim: int, hidden_dim: int, *, num_hidden: int = 1) -> nn.Sequential:
    """Codes (num_codes, latent_dim) to images (num_codes, 784) in [-1, 1]; leaky ReLU between the layers."""
    layers = []
    sizes = [latent_dim, *num_hidden * [hidden_dim]]
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 784), nn.Tanh())


def make_discriminator(hidden_dim: int, *, num_hidden: int = 1) -> nn.Sequential:
    """Images (num_images, 784) to logits of being real, (num_images,); a dropout of its own after each hidden layer."""
    layers = []
    sizes = [784, *num_hidden * [hidden_dim]]
    for num_inputs, num_outputs in pairwise(sizes):
        linear = nn.Linear(num_inputs, num_outputs, bias=False)
        layers += [linear, nn.LeakyReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1), nn.Flatten(0))


def sample_codes(
    num_codes: int, latent_dim: int, *, kind: str = "uniform", device: str | torch.device = "cpu"
) -> Tensor:
    """Codes of shape (num_codes, latent_dim): `uniform` in [-1, 1], or `normal`, N(0, I).

    Raises:
        ValueError: another kind.
    """
    if kind == "uniform":
        return 2 * torch.rand(num_codes, latent_dim, device=device) - 1
    if kind == "normal":
        return torch.randn(num_codes, latent_dim, device=device)
    raise ValueError(f"kind: expected 'uniform' or 'normal', got {kind!r}")


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))) in nats, to be minimised, one number per pair (eq-gm-d-loss)."""
    return F.softplus(-real_logits) + F.softplus(fake_logits)


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log D(G(z)) in nats, the non-saturating loss, to be minimised, one number per fake (eq-gm-g-loss)."""
    return F.softplus(-fake_logits)


def step(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: torch.optim.Optimizer,
    d_optimiser: torch.optim.Optimizer,
    x: Tensor,
    z: Tensor,
) -> Tensor:
    """One step of the discriminator, then one of the generator (Goodfellow et al. 2014, algorithm 1, with k = 1).

    Args:
        generator: gives images from codes.
        discriminator: gives logits, shape (num_images,).
        g_optimiser: of the generator's parameters.
        d_optimiser: of the discriminator's.
        x: real images, shape (batch_size, ...).
        z: codes, the first batch_size for the step of the discriminator, as many for that of the generator.

    Returns:
        Loss of the generator, loss of the discriminator, mean D(x), mean D(G(z)); the last two before D's step.
    """
    z_for_d, z_for_g = z.split(len(x))

    discriminator.requires_grad_(True)
    with torch.no_grad():
        fakes = generator(z_for_d)
    real, fake = discriminator(torch.cat([x, fakes])).split(len(x))
    d_loss = discriminator_loss(real, fake).mean()
    d_optimiser.zero_grad()
    d_loss.backward()
    d_optimiser.step()

    discriminator.requires_grad_(False)
    g_loss = generator_loss(discriminator(generator(z_for_g))).mean()
    g_optimiser.zero_grad()
    g_loss.backward()
    g_optimiser.step()
    probs = torch.stack([real.sigmoid().mean(), fake.sigmoid().mean()])
    return torch.cat([torch.stack([g_loss, d_loss]), probs]).detach()


@torch.no_grad()
def step_by_hand(
    generator: nn.Module,
    discriminator: nn.Module,
    g_optimiser: torch.optim.Optimizer,
    d_optimiser: torch.optim.Optimizer,
    x: Tensor,
    z: Tensor,
) -> Tensor:
    """What `step` does, with the gradients written out, for networks with one hidden layer each; a quarter faster.

    Arguments and result as of `step`; the networks are those of `make_generator` and `make_discriminator`.

    Taught in the lecture `gan_mnist`, eq-gm-backprop.
    """
    (A1, a1, A2, a2), (B, b, b0) = generator.parameters(), discriminator.parameters()
    z_for_d, z_for_g = z.split(len(x))

    def judge(images):
        u = images @ B.T
        slopes = torch.where(u > 0, 1.0, 0.01)
        if discriminator.training:
            slopes *= torch.randint(2, u.shape, dtype=u.dtype, device=u.device).mul_(2)
        hidden = u * slopes
        return hidden, b * slopes, torch.addmm(b0, hidden, b.T)

    images = torch.cat([x, generator(z_for_d)])
    hidden, to_u, logits = judge(images)
    real, fake = logits.split(len(x))
    d_loss = discriminator_loss(real, fake).mean()
    probs = torch.stack([real.sigmoid(), fake.sigmoid()])
    errors = torch.cat([probs[0] - 1, probs[1]]).div_(len(x))
    B.grad, b.grad = to_u.mul_(errors).T @ images, errors.T @ hidden
    b0.grad = errors.sum(0)
    d_optimiser.step()

    u = torch.addmm(a1, z_for_g, A1.T)
    slopes = torch.where(u > 0, 1.0, 0.01)
    hidden = u * slopes
    fakes = torch.addmm(a2, hidden, A2.T).tanh_()
    _, to_u, logits = judge(fakes)
    errors = logits.sigmoid().sub_(1).div_(len(x))
    pull = (to_u.mul_(errors) @ B).mul_(1 - fakes.square())
    back = (pull @ A2).mul_(slopes)
    A2.grad, a2.grad = pull.T @ hidden, pull.sum(0)
    A1.grad, a1.grad = back.T @ z_for_g, back.sum(0)
    g_optimiser.step()
    losses = torch.stack([generator_loss(logits).mean(), d_loss])
    return torch.cat([losses, probs.mean((1, 2))])


def adams(*networks: nn.Module) -> list[torch.optim.Optimizer]:
    """Adam for each network, at its usual rate of 1e-3."""
    return [torch.optim.Adam(network.parameters(), lr=1e-3, fused=True) for network in networks]


def train(
    generator: nn.Module,
    discriminator: nn.Module,
    images: Tensor,
    epochs: int,
    *,
    codes: Callable[[int], Tensor],
    batch_size: int = 64,
    average: AveragedModel | None = None,
    one_step: Callable[..., Tensor] = step,
    optimisers: list[torch.optim.Optimizer] | None = None,
) -> Iterator[list[float]]:
    """Train both networks; after each epoch yields the means of what `step` returns.

    Args:
        generator: and
        discriminator: on the device of the images.
        images: resident on the device; each epoch takes a new permutation and drops an incomplete last batch.
        epochs: passes through the images.
        codes: gives that many codes.
        batch_size: of real images, and of fakes for each network.
        average: of the generator, updated after each step; it takes no part in the training.
        one_step: `step`, or `step_by_hand`.
        optimisers: of the generator and of the discriminator; new ones of `adams` without them.
    """
    optimisers = optimisers or adams(generator, discriminator)
    num_batches = len(images) // batch_size
    for _ in range(epochs):
        order = torch.randperm(len(images), device=images.device)
        batches = order[: num_batches * batch_size].view(num_batches, batch_size)
        total = torch.zeros(4, device=images.device)
        for rows in batches:
            z = codes(2 * batch_size)
            total += one_step(generator, discriminator, *optimisers, images[rows], z)
            if average is not None:
                average.update_parameters(generator)
        discriminator.requires_grad_(True)
        yield (total / num_batches).tolist()

"""Energies of points in the plane and of images, in PyTorch.  Taught in the lecture `energy_models`, with the twins.

In the plane every integral is a sum over a grid, so that log Z and divergences are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from dgm.data import GaussianMixture
from dgm.samplers import langevin, score_of

__all__ = [
    "ImageEnergy",
    "PlaneEnergy",
    "contrast",
    "fold",
    "follow",
    "grid",
    "kl_from",
    "let_fall",
    "log_partition",
    "network",
    "train",
]


def network(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes, inputs first, with SiLU between them: smooth, and at most linear far out."""
    layers: list[nn.Module] = []
    for num_in, num_out in pairwise(sizes):
        layers += [nn.Linear(num_in, num_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class PlaneEnergy(nn.Module):
    """E(x) = f(x / unit) + |x|^2 / (2 width^2) in nats, with f a network of two hidden layers (eq-em-confined).

    The network grows at most linearly, the parabola wins in every direction, and exp(-E) has a finite integral.

    Args:
        hidden_dim: units of each hidden layer.
        unit: length of the finest detail; the network sees x in this unit.
        width: standard deviation of the Gaussian that the parabola alone would be.

    Attributes:
        scale: nats for one unit of the energy in training, see `ImageEnergy`.
        wrap: nothing to bring back here: the plane has no walls.
    """

    scale = 1.0
    wrap = staticmethod(lambda x: x)

    def __init__(self, hidden_dim: int = 64, *, unit: float = 0.25, width: float = 2.0) -> None:
        super().__init__()
        self.unit, self.width = unit, width
        self.f = network(2, hidden_dim, hidden_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Energies in nats, shape (num_points,), of points of shape (num_points, 2)."""
        parabola = x.square().sum(1) / (2 * self.width**2)
        return self.f(x / self.unit).squeeze(1) + parabola


def contrast(energy: nn.Module, x_data: Tensor, x_model: Tensor, penalty: float = 0.0) -> tuple[Tensor, float, float]:
    """The number whose gradient trains an energy, <E>_data - <E>_model + penalty (<E^2>_data + <E^2>_model).

    Its value means nothing; its gradient, samples held fixed and without the penalty, is minus that of the mean
    log-likelihood (eq-em-contrast).  Du and Mordatch 2019.

    Args:
        energy: in nats, with an attribute `scale`, the unit in which losses and penalties are counted.
        x_data: data, one a row.
        x_model: samples of the model, one a row.
        penalty: strength, alpha.

    Returns:
        That number, and both mean energies in nats.
    """
    e_data, e_model = energy(x_data), energy(x_model)
    loss = (e_data.mean() - e_model.mean()) / energy.scale
    size = (e_data.square().mean() + e_model.square().mean()) / energy.scale**2
    return loss + penalty * size, e_data.mean().item(), e_model.mean().item()


def train(
    energy: nn.Module,
    x: Tensor,
    start: Callable[[int], Tensor],
    *,
    num_steps: int,
    chain_length: int,
    step_size: float,
    learning_rate: float,
    batch_size: int,
    num_kept: int,
    penalty: float = 0.0,
    noise: float = 0.0,
    restart: float = 0.05,
    max_norm: float = math.inf,
    optimiser: torch.optim.Optimizer | None = None,
    buffer: Tensor | None = None,
    done: int = 0,
) -> Iterator[tuple[Tensor, float, float]]:
    """Training by short Langevin chains from a replay buffer (Du and Mordatch 2019); changes `energy` and the buffer.

    Args:
        energy: in nats, with attributes `scale` and `wrap`, see `ImageEnergy`.
        x: data, one a row.
        start: draws so many points where new chains start.
        num_steps: of the whole training; the learning rate falls linearly to zero.
        chain_length: Langevin steps for one training step.
        step_size: their eta.
        learning_rate: of Adam without momentum, at the start.
        batch_size: data, and chains, for one training step.
        num_kept: particles in the buffer.
        penalty: see `contrast`.
        noise: standard deviation of Gaussian noise on the data.
        restart: share of the chains that start anew.
        max_norm: at which the gradient is clipped.
        optimiser: default Adam without momentum; one that is passed in can be kept in a checkpoint.
        buffer: particles to start from, default `start(num_kept)`.
        done: steps that an interrupted training has made.

    Yields:
        The buffer and the mean energies of data and samples, in nats, after each step.
    """
    optimiser = optimiser or torch.optim.Adam(energy.parameters(), betas=(0.0, 0.999))
    score, buffer = score_of(energy), start(num_kept) if buffer is None else buffer
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        x_data = x[torch.randint(len(x), (batch_size,), device=x.device)]
        x_data = x_data + noise * torch.randn_like(x_data)
        kept = torch.randint(num_kept, (batch_size,), device=x.device)
        anew = torch.rand(batch_size, 1, device=x.device) < restart
        first = torch.where(anew, start(batch_size), buffer[kept])
        chain = langevin(first, score, step_size)
        x_model = energy.wrap(next(islice(chain, chain_length - 1, None)))
        buffer[kept] = x_model
        loss, e_data, e_model = contrast(energy, x_data, x_model, penalty)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(energy.parameters(), max_norm)
        optimiser.step()
        yield buffer, e_data, e_model


def grid(half_width: float = 5.0) -> tuple[Tensor, float]:
    """201 x 201 points on the square of that half width, shape (40_401, 2), and the area that belongs to each."""
    side = torch.linspace(-half_width, half_width, 201)
    return torch.cartesian_prod(side, side), (half_width / 100) ** 2


@torch.no_grad()
def log_partition(energy: Callable[[Tensor], Tensor], half_width: float = 5.0) -> float:
    """log Z, the logarithm of the integral of exp(-E), in nats, as a sum over `grid`."""
    points, area = grid(half_width)
    return torch.logsumexp(-energy(points).double(), 0).item() + math.log(area)


@torch.no_grad()
def kl_from(target: GaussianMixture, energy: Callable[[Tensor], Tensor]) -> float:
    """KL(target || exp(-E) / Z) in nats, as a sum over `grid`, with the energy's own log Z."""
    points, area = grid()
    log_p = torch.from_numpy(target.log_prob(points.numpy()))
    log_model = -energy(points).double() - log_partition(energy)
    return (log_p.exp() * (log_p - log_model)).sum().item() * area


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int, memory: int) -> None:
    """Keep the parameters of `average` the mean of those of `model`: plain at first, with exponential weights later.

    Args:
        average: moved by the share 1 / min(step, memory) of the way.
        model: in training.
        step: of the training, from 1.
        memory: steps that the average remembers.
    """
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 / min(step, memory))


def let_fall(optimiser: torch.optim.Optimizer, rate: float, step: int, num_steps: int) -> None:
    """Set the learning rate of a step, from 1: `rate` at first, falling linearly, and zero after the last one."""
    for group in optimiser.param_groups:
        group["lr"] = rate * (1 - (step - 1) / num_steps)


def fold(x: Tensor) -> Tensor:
    """1 - |1 - (x mod 2)|: reflects every number into [0, 1]; what lies there stays (eq-em-fold)."""
    return 1 - (1 - torch.remainder(x, 2)).abs()


class ImageEnergy(nn.Module):
    """E(x) = scale * f(fold(x)) in nats, with f a network of two hidden layers, for images of shape (num_images, 784).

    On the cube [0, 1]^784 the energy is bounded, so that exp(-E) has a finite integral; outside it is that of the
    mirror image, so that Langevin steps in free space are steps between reflecting walls.  Du and Mordatch 2019 use
    such energies with a convolutional network.

    Attributes:
        scale: nats for one unit of the network.
        wrap: brings points back into the cube.
    """

    scale = 500.0
    wrap = staticmethod(fold)

    def __init__(self) -> None:
        super().__init__()
        self.f = network(784, 512, 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Energies in nats, shape (num_images,)."""
        return self.scale * self.f(fold(x)).squeeze(1)

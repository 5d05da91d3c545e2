"""Energy of images, in PyTorch.  Taught in the lecture `energy_models`, which holds the twins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ImageEnergy", "fold"]


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
        self.f = nn.Sequential(
            nn.Linear(784, 512),
            nn.SiLU(),
            nn.Linear(512, 256),
            nn.SiLU(),
            nn.Linear(256, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Energies in nats, shape (num_images,)."""
        return self.scale * self.f(fold(x)).squeeze(1)

"""Many small networks side by side, in PyTorch.  Taught in the lecture `jensen_shannon`, which holds the twin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MLPs"]


class MLPs(nn.Module):
    """Independent networks of one shape: a product of matrices for each layer does the work of all of them.

    A loss that is summed over the networks gives each of them its own gradient.

    Args:
        num_networks: how many.
        sizes: of the layers, inputs first.
        slope: of the leaky ReLU between the layers for negative arguments; 0 is a ReLU.
    """

    def __init__(self, num_networks: int, sizes: Sequence[int], *, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        pairs = list(pairwise(sizes))
        # He's variance for layers before an activation; the last layer is linear.
        gains = [2.0 / (1 + slope**2)] * (len(pairs) - 1) + [1.0]
        self.W = nn.ParameterList(
            (gain / n_in) ** 0.5 * torch.randn(num_networks, n_in, n_out)
            for gain, (n_in, n_out) in zip(gains, pairs, strict=True)
        )
        self.b = nn.ParameterList(torch.zeros(num_networks, 1, n) for n in sizes[1:])

    def features(self, h: Tensor) -> Tensor:
        """Values of the last hidden layer, shape (num_networks, batch_size, sizes[-2])."""
        for W, b in zip(self.W[:-1], self.b[:-1], strict=True):
            h = F.leaky_relu(torch.baddbmm(b, h, W), self.slope)
        return h

    def forward(self, h: Tensor) -> Tensor:
        """Inputs (num_networks, batch_size, sizes[0]) to outputs (num_networks, batch_size, sizes[-1])."""
        return torch.baddbmm(self.b[-1], self.features(h), self.W[-1])

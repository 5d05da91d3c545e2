"""Normalising flows, in PyTorch.  Taught in the lecture `flows`, which holds the twins.

A layer is called with data and returns noise: `z, log_det = layer(x)` with log_det = log |det dz/dx|, one number per
row, in nats; `layer.inverse(z)` returns x and log |det dx/dz|.  A flow is a chain of layers, and is called like one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgm.models.autoregressive import MaskedLinear, made_masks

__all__ = ["MAF", "Coupling", "Flow", "MAFLayer", "Planar", "RealNVP", "Whitening", "fit"]


class Whitening(nn.Module):
    """z = L^-1 (x - mean) with covariance L L^T: with z ~ N(0, I), x is one Gaussian.

    L is triangular, so that this is also the autoregressive layer whose conditional means are linear and whose
    conditional variances are constant.

    Args:
        mean: shape (dim,).
        covariance: positive definite, shape (dim, dim).
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("L", torch.linalg.cholesky(covariance))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to noise: z of shape (num_examples, dim), and the same log |det dz/dx| for each example."""
        z = torch.linalg.solve_triangular(self.L, (x - self.mean).T, upper=False).T
        return z, -self.L.diagonal().log().sum().expand(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to data, and log |det dx/dz|."""
        x = self.mean + z @ self.L.T
        return x, self.L.diagonal().log().sum().expand(len(z))


class Planar(nn.Module):
    """z = x + u tanh(w . x + b), with u moved along w so that w . u > -1: otherwise the map folds.

    log |det dz/dx| = log |1 + w . u (1 - tanh^2)| by the matrix determinant lemma.  Rezende and Mohamed 2015, eq. 10
    and appendix A.1.

    Args:
        dim: of the data.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.u, self.w = nn.Parameter(torch.randn(dim)), nn.Parameter(torch.randn(dim))
        self.b = nn.Parameter(torch.randn(()))

    def direction(self) -> Tensor:
        """The u that the map uses, shape (dim,): w . u = softplus(w . u as it was) - 1 > -1."""
        product = self.w @ self.u
        return self.u + (F.softplus(product) - 1 - product) * self.w / (self.w @ self.w)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to noise, shape (num_examples, dim), and log |det dz/dx|, shape (num_examples,)."""
        u = self.direction()
        bend = torch.tanh(x @ self.w + self.b)
        return x + bend[:, None] * u, (1 + self.w @ u * (1 - bend**2)).abs().log()

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to data: w . x solves an equation in one variable, which is halved into an interval."""
        u = self.direction()
        slope, goal = self.w @ u, z @ self.w
        low, high = goal - slope.abs(), goal + slope.abs()
        for _ in range(100):
            middle = (low + high) / 2
            too_low = middle + slope * torch.tanh(middle + self.b) < goal
            low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
        x = z - torch.tanh(low + self.b)[:, None] * u
        return x, -self(x)[1]


class Coupling(nn.Module):
    """z = x exp(s) + t, where s and t depend on the components of x that the mask keeps, and are zero there.

    Dinh, Sohl-Dickstein and Bengio 2017, eqs. 4 to 9.  With `bound=0` there is no stretch, and the layer is that of
    NICE (Dinh, Krueger and Bengio 2015).  A new layer is the identity.

    Args:
        mask: 1 for the components that are kept, 0 for those that change, shape (dim,).
        hidden_dim: units in each of the two hidden layers.
        bound: the logarithm of the stretch lies between -bound and bound.
        scale: the network sees the data times this number; a large one lets it vary fast.
    """

    def __init__(self, mask: Tensor, hidden_dim: int = 64, *, bound: float = 3.0, scale: float = 1.0) -> None:
        super().__init__()
        dim = len(mask)
        self.register_buffer("mask", mask)
        self.bound, self.scale = bound, scale
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 2 * dim),
        )
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def stretch_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, of the shape of x; x and z have the same kept components, so that either will do."""
        s, t = self.net(self.scale * self.mask * x).chunk(2, dim=1)
        s = self.bound * torch.tanh(s / self.bound) if self.bound else 0 * s
        free = 1 - self.mask
        return free * s, free * t

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to noise, shape (num_examples, dim), and log |det dz/dx|, shape (num_examples,)."""
        s, t = self.stretch_and_shift(x)
        return x * s.exp() + t, s.sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to data, and log |det dx/dz|."""
        s, t = self.stretch_and_shift(z)
        return (z - t) * (-s).exp(), -s.sum(1)


class Flow(nn.Module):
    """A chain of layers between data and N(0, I): log p(x) = log N(z; 0, I) + sum of log_det (eq-flows-chain).

    Args:
        dim: of the data.
        layers: from the data to the noise.
    """

    def __init__(self, dim: int, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.dim, self.layers = dim, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to noise, of the shape of x, and log |det dz/dx|, shape (num_examples,)."""
        total = 0.0
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to data, and log |det dx/dz|."""
        total = 0.0
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z)
            total = total + log_det
        return z, total

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (num_examples,), of x with shape (num_examples, dim)."""
        z, log_det = self(x)
        return -0.5 * (z**2 + math.log(2 * math.pi)).sum(1) + log_det

    def sample(self, num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Independent samples, shape (num_samples, dim); a gradient in the parameters passes through."""
        like = next(self.parameters())
        z = torch.randn(num_samples, self.dim, generator=generator, device=like.device, dtype=like.dtype)
        return self.inverse(z)[0]


class RealNVP(Flow):
    """Couplings that take turns: each changes the components that the one before has kept.

    Args:
        dim: of the data.
        num_layers: number of couplings.
        hidden_dim, bound, scale: of each of them, see `Coupling`.
    """

    def __init__(
        self, dim: int, *, num_layers: int = 8, hidden_dim: int = 64, bound: float = 3.0, scale: float = 1.0
    ) -> None:
        masks = [(torch.arange(dim) + k) % 2.0 for k in range(num_layers)]
        super().__init__(dim, (Coupling(mask, hidden_dim, bound=bound, scale=scale) for mask in masks))


class MAFLayer(nn.Module):
    """z_i = (x_i - m_i) exp(-s_i), where m_i and s_i depend on the components before x_i only (eq-flows-maf).

    Papamakarios, Pavlakou and Murray 2017, eqs. 3 to 5; the masks are those of MADE (Germain et al. 2015) with one
    hidden layer.  A new layer is the identity.

    Args:
        dim: of the data.
        hidden_dim: units of the hidden layer.
        reverse: whether the last component comes first.
    """

    def __init__(self, dim: int, hidden_dim: int, *, reverse: bool = False) -> None:
        super().__init__()
        place = torch.arange(dim).flip(0) if reverse else torch.arange(dim)
        last_seen = torch.arange(hidden_dim) * (dim - 1) // hidden_dim
        sees, tells = made_masks([place, last_seen])
        self.register_buffer("place", place)
        self.net = nn.Sequential(MaskedLinear(sees), nn.ReLU(), MaskedLinear(tells.repeat(2, 1)))
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to noise, shape (num_examples, dim), and log |det dz/dx|, shape (num_examples,), in one pass."""
        m, s = self.net(x).chunk(2, dim=1)
        return (x - m) * (-s).exp(), -s.sum(1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Noise to data, and log |det dx/dz|: a pass for each component, and one more."""
        x = torch.zeros_like(z)
        for turn in range(z.shape[1]):
            m, s = self.net(x).chunk(2, dim=1)
            x = torch.where(self.place == turn, m + z * s.exp(), x)
        return x, self.net(x).chunk(2, dim=1)[1].sum(1)


class MAF(Flow):
    """Masked autoregressive flow: the order of the components is reversed from layer to layer.

    Args:
        dim: of the data.
        num_layers: number of autoregressive layers.
        hidden_dim: units of the hidden layer in each.
    """

    def __init__(self, dim: int, *, num_layers: int = 5, hidden_dim: int = 128) -> None:
        super().__init__(dim, (MAFLayer(dim, hidden_dim, reverse=k % 2 == 1) for k in range(num_layers)))


def fit(
    flow: nn.Module,
    batch: Callable[[], Tensor],
    num_steps: int,
    *,
    rate: float,
    optimiser: torch.optim.Optimizer | None = None,
    done: int = 0,
) -> Iterator[tuple[int, float]]:
    """Maximum likelihood by Adam at a falling rate; yields the step, from 1, and the mean log p of its batch.

    Args:
        flow: anything with `log_prob`.
        batch: called once a step, returns data of shape (batch_size, dim).
        num_steps: of the whole training.
        rate: learning rate at the start.
        optimiser: default a new Adam; one that is passed in can be kept in a checkpoint.
        done: steps that an interrupted training has made.
    """
    optimiser = optimiser or torch.optim.Adam(flow.parameters(), fused=True)
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / num_steps)
        loss = -flow.log_prob(batch()).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        yield step + 1, -loss.item()

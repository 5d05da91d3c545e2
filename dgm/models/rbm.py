"""Restricted Boltzmann machine with binary units, in PyTorch.  Taught in the lecture `rbm`, which holds the twins."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = [
    "RBM",
    "all_states",
    "centre",
    "exact_log_partition",
    "gibbs",
    "log_prob",
    "phase_gradient",
    "sample_bernoulli",
    "train",
]


class RBM(nn.Module):
    """E(v, h) = -b.v - c.h - v.W.h with v in {0, 1}^num_visible and h in {0, 1}^num_hidden.

    The probability of a configuration is exp(-E) / Z (Fischer and Igel 2014; eq-rbm-energy).  Parameters: `W` of
    shape (num_visible, num_hidden), `b` (num_visible,), `c` (num_hidden,).
    """

    def __init__(self, num_visible: int, num_hidden: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.W = nn.Parameter(std * torch.randn(num_visible, num_hidden))
        self.b = nn.Parameter(torch.zeros(num_visible))
        self.c = nn.Parameter(torch.zeros(num_hidden))

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """E(v, h) in nats, shape (...,), for v (..., num_visible) and h (..., num_hidden)."""
        return -(v @ self.b) - (h @ self.c) - ((v @ self.W) * h).sum(-1)

    def hidden_logits(self, v: Tensor) -> Tensor:
        """c + v W: p(h_j = 1 | v) is its sigmoid; shape (..., num_hidden)."""
        return self.c + v @ self.W

    def visible_logits(self, h: Tensor) -> Tensor:
        """b + h W^T: p(v_i = 1 | h) is its sigmoid; shape (..., num_visible)."""
        return self.b + h @ self.W.T

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log sum_h exp(-E(v, h)) = -b.v - sum_j softplus(c_j + (v W)_j), in nats; shape (...,)."""
        return -(v @ self.b) - softplus(self.hidden_logits(v)).sum(-1)


def sample_bernoulli(logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Zeros and ones of the shape of `logits`; each is 1 with probability sigmoid(logit)."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
    return (uniform < torch.sigmoid(logits)).to(logits.dtype)


@torch.no_grad()
def gibbs(rbm: RBM, v: Tensor, *, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """Block Gibbs sampling: yields v after 1, 2, 3, ... sweeps h ~ p(h | v), v ~ p(v | h), without end.

    The sampler reads the parameters at every sweep: a chain that is kept while they change is that of PCD.
    """
    while True:
        h = sample_bernoulli(rbm.hidden_logits(v), generator=generator)
        v = sample_bernoulli(rbm.visible_logits(h), generator=generator)
        yield v


@torch.no_grad()
def phase_gradient(rbm: RBM, v: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sum_n weights_n grad(-F(v_n)) in W, b and c, for states v (num_states, num_visible), weights (num_states,).

    With weights +1/N on data and -1/M on samples of the model this estimates the gradient of the mean log-likelihood:
    the positive minus the negative phase; adding it goes uphill (eq-rbm-gradient, eq-rbm-derivatives).
    """
    weighted_h = weights[:, None] * torch.sigmoid(rbm.hidden_logits(v))
    return v.T @ weighted_h, weights @ v, weighted_h.sum(0)


def centre(
    gradient: tuple[Tensor, Tensor, Tensor], v_offset: Tensor, h_offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The centred gradient, from the plain one: offsets mu of shape (num_visible,), lambda of shape (num_hidden,).

    It is the gradient in the parameters of E = -b.(v - mu) - c.(h - lambda) - (v - mu).W(h - lambda), brought back to
    those of the plain energy (Melchior, Fischer and Wiskott 2016; eq-rbm-centred).
    """
    grad_W, grad_b, grad_c = gradient
    grad_W = torch.addr(grad_W, v_offset, grad_c, alpha=-1)  # minus v_offset grad_c^T
    grad_W = torch.addr(grad_W, grad_b, h_offset, alpha=-1)
    return grad_W, grad_b - grad_W @ h_offset, grad_c - v_offset @ grad_W


def train(
    rbm: RBM,
    x: Tensor,
    *,
    epochs: int,
    batch_size: int = 100,
    learning_rate: float = 0.1,
    final_learning_rate: float = 0.0,
    k: int = 1,
    persistent: bool = True,
    centred: bool = True,
    particles: Tensor | None = None,
    done: int = 0,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Stochastic gradient ascent by PCD-k, or CD-k where not `persistent`: yields (epoch, v_data, v_model) after each.

    `x` of shape (num_examples, num_visible) lies on the device as one tensor; the rate falls linearly from
    `learning_rate` to `final_learning_rate`.  The visible offset is the data mean, the hidden one is taken anew each
    epoch (Tieleman 2008; Melchior, Fischer and Wiskott 2016).  The chains start at `particles`, by default at data.
    A training that was interrupted after `done` epochs goes on with the particles it had.
    """
    num_batches = math.ceil(len(x) / batch_size)
    rates = torch.linspace(learning_rate, final_learning_rate, epochs * num_batches + 1)
    rates = iter(rates[done * num_batches :].tolist())
    if particles is None:
        particles = x[torch.randperm(len(x), device=x.device)[:batch_size]]
    chain = gibbs(rbm, particles)
    v_offset, h_offset = x.mean(0), torch.full_like(rbm.c, 0.5)
    for epoch in range(done + 1, epochs + 1):
        if epoch > 1:
            h_offset = torch.sigmoid(rbm.hidden_logits(x[:1000])).mean(0).detach()
        for rows in torch.randperm(len(x), device=x.device).split(batch_size):
            v_data = x[rows]
            if not persistent:
                chain = gibbs(rbm, v_data)
            for _ in range(k):
                v_model = next(chain)
            weights = x.new_full((len(v_data) + len(v_model),), -1 / len(v_model))
            weights[: len(v_data)] = 1 / len(v_data)
            gradient = phase_gradient(rbm, torch.cat([v_data, v_model]), weights)
            if centred:
                gradient = centre(gradient, v_offset, h_offset)
            rate = next(rates)
            with torch.no_grad():
                for parameter, uphill in zip(rbm.parameters(), gradient, strict=True):
                    parameter.add_(uphill, alpha=rate)
        yield epoch, v_data, v_model


def all_states(num_units: int, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64) -> Tensor:
    """All 2^num_units binary vectors, shape (2^num_units, num_units); row r holds the bits of r, lowest first."""
    rows = torch.arange(2**num_units, device=device)
    return (rows[:, None] >> torch.arange(num_units, device=device) & 1).to(dtype)


@torch.no_grad()
def exact_log_partition(rbm: RBM) -> float:
    """log Z in nats: the sum over the 2^num_hidden hidden states is done one by one, that over v in closed form.

    log Z = log sum_h exp(c.h + sum_i softplus(b_i + (h W^T)_i)); float64 terms, at most 20 hidden units in practice.
    """
    terms = []
    for h in all_states(len(rbm.c), device=rbm.W.device, dtype=rbm.W.dtype).split(512):
        terms.append(h @ rbm.c + softplus(rbm.visible_logits(h)).sum(-1))
    return torch.logsumexp(torch.cat(terms).cpu().double(), 0).item()


def log_prob(rbm: RBM, v: Tensor, log_partition: float) -> Tensor:
    """log p(v) = -F(v) - log Z in nats, one per example, shape (num_examples,).

    Raises:
        ValueError: `v` is no matrix of zeros and ones with a column for each visible unit, or log Z is not finite.
    """
    check_binary("v", v, len(rbm.b))
    if not math.isfinite(log_partition):
        raise ValueError(f"log_partition: expected a finite number, got {log_partition}")
    with torch.no_grad():
        return -rbm.free_energy(v) - log_partition


def check_binary(what: str, v: Tensor, num_units: int) -> None:
    """Raise `ValueError` unless `v` is a floating-point matrix of zeros and ones, shape (any, num_units)."""
    if v.ndim != 2 or v.shape[1] != num_units or not len(v):
        raise ValueError(f"{what}: expected shape (num_examples, {num_units}), got {tuple(v.shape)}")
    if not v.is_floating_point():
        raise ValueError(f"{what}: expected floating point, got {v.dtype}")
    if not bool(((v == 0) | (v == 1)).all()):
        raise ValueError(f"{what}: expected zeros and ones, got values in [{v.min():g}, {v.max():g}]")

"""Samplers: generators that yield states, without end; who uses one decides when to stop.  Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

__all__ = ["langevin", "score_of"]


def score_of(energy: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The score -grad_x E(x) of p(x) = exp(-E(x)) / Z, by automatic differentiation; Z has no part in it.

    Args:
        energy: maps x of shape (num_examples, ...) to energies in nats, shape (num_examples,); the energy of one row
            must not depend on the other rows.

    Returns:
        A function from x to the score, of the shape of x, without a graph.  Taught in the lecture `langevin`
        (eq-lan-two-gradients).
    """

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        return -gradient

    return score


@torch.no_grad()
def langevin(
    x: Tensor, score: Callable[[Tensor], Tensor], step_size: float, *, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Unadjusted Langevin algorithm: yields x <- x + eta score(x) + sqrt(2 eta) xi, xi ~ N(0, I), without end.

    Its stationary law is p up to an error of order eta: of N(0, 1) it samples N(0, 1 / (1 - eta / 2)).

    Args:
        x: where the particles start, shape (num_particles, ...).
        score: grad log p in x, or an unbiased estimate of it, of the shape of x.
        step_size: eta > 0, in the square of the unit of x.
        generator: of the noise, on the device of x.

    Taught in the lecture `langevin` (eq-lan-ula); Roberts and Tweedie 1996.
    """
    while True:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = x + step_size * score(x) + math.sqrt(2 * step_size) * noise
        yield x

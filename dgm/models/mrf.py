"""A Markov random field of spins that knows how pictures are damaged, in PyTorch.  Used by the lecture `energy_models`.

E(y | x) = -beta sum over neighbours y_i y_j - h sum x_i y_i (eq-em-mrf), for pictures y and x of spins of -1 and 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["field", "gibbs_spins", "iterated_modes"]


def field(y: Tensor, x: Tensor, beta: float, h: float) -> Tensor:
    """m_i = beta (sum of the neighbours of y_i) + h x_i: given all others, y_i = 1 has the odds exp(2 m_i).

    Args:
        y: pictures of spins, shape (num_images, height, width); beyond their edges there is nothing.
        x: what was seen, of the shape of y, or one picture for all.
        beta: coupling of neighbours.
        h: weight of what was seen, log((1 - e) / e) / 2 for pixels that are flipped with probability e.
    """
    padded = F.pad(y, (1, 1, 1, 1))
    rows = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1]
    columns = padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    return beta * (rows + columns) + h * x


def _checkerboard(y: Tensor) -> tuple[Tensor, Tensor]:
    """Both colours: no two squares of one are neighbours, so that they can be updated at once."""
    rows, columns = (torch.arange(n, device=y.device) for n in y.shape[1:])
    white = (rows[:, None] + columns) % 2 == 0
    return white, ~white


def iterated_modes(y: Tensor, x: Tensor, beta: float, h: float) -> Iterator[Tensor]:
    """Yields y after each sweep; each spin takes its more likely value, and stays where both are equally likely.

    The energy never rises.  Besag 1986.
    """
    while True:
        for squares in _checkerboard(y):
            m = field(y, x, beta, h)
            y = torch.where(squares & (m != 0), m.sign(), y)
        yield y


def gibbs_spins(y: Tensor, x: Tensor, beta: float, h: float) -> Iterator[Tensor]:
    """Yields y after each sweep of Gibbs sampling from exp(-E)."""
    while True:
        for squares in _checkerboard(y):
            on = torch.rand_like(y) < torch.sigmoid(2 * field(y, x, beta, h))
            y = torch.where(squares, 2.0 * on - 1, y)
        yield y

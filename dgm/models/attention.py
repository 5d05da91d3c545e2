"""Causal attention and the block of a transformer, in PyTorch.  Taught in the lecture `sequences`, with the twins."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Attention", "Block", "attention", "position_waves"]

Past = tuple[Tensor, Tensor]  # keys and values, each of shape (batch, num_heads, num_places, width / num_heads)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """softmax_j(q_i . k_j / sqrt(d) + M_ij) v_j, with M_ij = 0 where `mask` is true and minus infinity elsewhere.

    Vaswani et al. 2017, equation 1; eq-seq-attention.

    Args:
        q: queries, shape (..., num_queries, d).
        k: keys, shape (..., num_places, d).
        v: values, shape (..., num_places, d_v).
        mask: booleans, shape (num_queries, num_places) or what broadcasts to it; true where a query may look.  A query
            that may look nowhere gives NaN.

    Returns:
        The weighted means of the values, shape (..., num_queries, d_v), and the weights, (..., num_queries,
        num_places), whose rows sum to 1.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1)
    return weights @ v, weights


class Attention(nn.Module):
    """Attention of the places of a sequence to one another, with several heads side by side.

    The weights of the last call stay in `weights`, shape (batch, num_heads, new, places), without a graph.

    Args:
        width: numbers in the vector of a place, a multiple of `num_heads`.
        num_heads: each head has its own queries, keys and values of width / num_heads numbers.
        causal: whether a place sees itself and what stands before it only; else it sees all places.
    """

    def __init__(self, width: int, num_heads: int = 1, *, causal: bool = True) -> None:
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, h: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """New places h, shape (batch, new, width), that follow those whose keys and values are `past`.

        Returns:
            One vector for each new place, (batch, new, width), and the keys and values of all places so far.
        """
        batch, new, width = h.shape
        parts = self.qkv(h).view(batch, new, 3, self.num_heads, -1)
        # Each of shape (batch, heads, places, width / heads).
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        place = torch.arange(k.shape[2], device=h.device)
        mask = place <= place[-new:, None]
        if not self.causal:
            mask = torch.ones_like(mask)
        y, weights = attention(q, k, v, mask)
        self.weights = weights.detach()  # for pictures
        return self.out(y.transpose(1, 2).reshape(batch, new, width)), (k, v)


class Block(nn.Module):
    """h + Attention(norm(h)), then h + MLP(norm(h)): one block of a transformer, norms first (Xiong et al. 2020).

    Args: as of `Attention`; the hidden layer of the small network has 4 width units.
    """

    def __init__(self, width: int, num_heads: int = 1, *, causal: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, causal=causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """(batch, new, width) to the same shape, and keys and values as of `Attention.forward`."""
        moved, past = self.attention(self.norm1(h), past)
        h = h + moved
        return h + self.mlp(self.norm2(h)), past


def position_waves(length: int, width: int) -> Tensor:
    """Cosines, then sines, of the place 0 ... length - 1 at width / 2 frequencies, shape (length, width).

    The frequencies go from 3 radians a place down to 1 / length, evenly spaced on a logarithmic scale.  A shift by k
    places rotates each pair of cosine and sine by k times its frequency.

    Args:
        length: number of places.
        width: even.
    """
    frequencies = torch.logspace(math.log10(3), -math.log10(length), width // 2)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)

"""Derivatives of vector fields, in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["divergence"]


def divergence(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """sum_i d score_i / d x_i, the trace of the Jacobian at each row of x: one backward pass for each dimension.

    Args:
        score: a field, from (num_examples, dim) to the same shape; one row must not depend on the other rows.
        x: where, shape (num_examples, dim).

    Returns:
        Shape (num_examples,), with a graph to the parameters of the field.  Taught in the lecture `score_matching`
        (eq-sm-implicit).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        s = score(x)
        total = 0.0
        for i in range(x.shape[1]):
            (row,) = torch.autograd.grad(s[:, i].sum(), x, create_graph=True)
            total = total + row[:, i]
    return total

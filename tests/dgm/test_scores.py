"""Derivatives of vector fields against full Jacobians."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from dgm.scores import divergence  # noqa: E402


def test_divergence_is_the_trace_of_the_jacobian():
    matrix = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 3, dtype=torch.float64)

    def field(x):
        return torch.tanh(x @ matrix.T)

    expected = torch.stack([torch.trace(torch.func.jacrev(field)(row)) for row in x])
    torch.testing.assert_close(divergence(field, x), expected)
    (gradient,) = torch.autograd.grad(divergence(field, x).sum(), matrix)
    (reference,) = torch.autograd.grad(expected.sum(), matrix)
    torch.testing.assert_close(gradient, reference)

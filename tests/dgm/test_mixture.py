"""The mixture of Gaussians against torch.distributions, automatic differentiation and quadrature."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from dgm.models.mixture import GaussianMixture  # noqa: E402


@pytest.fixture
def mixture():
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.0], [0.0, -2.0]], dtype=torch.float64)
    return GaussianMixture(weights, means, torch.tensor([0.3, 0.7, 0.5], dtype=torch.float64))


def _library(mixture):
    parts = torch.distributions.MultivariateNormal(
        mixture.means, mixture.stds[:, None, None] ** 2 * torch.eye(2, dtype=torch.float64)
    )
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weights), parts)


def test_log_prob_and_score(mixture):
    x = (3 * torch.randn(50, 2, dtype=torch.float64)).requires_grad_(True)
    log_prob = _library(mixture).log_prob(x)
    torch.testing.assert_close(mixture.log_prob(x), log_prob, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    torch.testing.assert_close(mixture.score(x), gradient, rtol=1e-10, atol=1e-10)


def test_denoised_is_the_posterior_mean(mixture):
    # Riemann sum over a grid that holds all the mass: exact to rounding for smooth functions that vanish at its edge.
    side = torch.linspace(-8, 8, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    x, scale, std = torch.tensor([[0.4, -0.3], [1.0, 1.0]], dtype=torch.float64), 0.6, 0.8
    for row in x:
        weight = (mixture.log_prob(grid) - 0.5 * (row - scale * grid).square().sum(1) / std**2).exp()
        expected = (weight[:, None] * grid).sum(0) / weight.sum()
        torch.testing.assert_close(mixture.denoised(row[None], scale, std)[0], expected, rtol=1e-10, atol=1e-10)


def test_diffused_is_the_law_of_noised_samples(mixture):
    generator = torch.Generator().manual_seed(0)
    x = 0.6 * mixture.sample(40_000, generator=generator)
    x = x + 0.8 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    expected = mixture.diffused(0.6, 0.8)
    mean = (expected.weights[:, None] * expected.means).sum(0)
    assert ((x.mean(0) - mean).abs() < 5 * x.std(0) / 200).all()
    log_prob = expected.log_prob(x)  # its mean is minus the entropy for the right law only
    other = expected.log_prob(expected.sample(40_000, generator=generator))
    assert abs(log_prob.mean() - other.mean()) < 5 * (log_prob.var() / 40_000 + other.var() / 40_000).sqrt()


@pytest.mark.parametrize(
    ("weights", "means", "stds", "message"),
    [
        ([0.5, 0.4], [[0.0], [1.0]], 1.0, "sum to 1"),
        ([1.0], [[0.0], [1.0]], 1.0, "num_components"),
        ([0.5, 0.5], [[0.0], [1.0]], 0.0, "positive"),
    ],
)
def test_bad_input(weights, means, stds, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(torch.tensor(weights), torch.tensor(means), stds)

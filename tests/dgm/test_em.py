"""Mixtures and EM against scikit-learn, torch.distributions and automatic differentiation."""

from __future__ import annotations

import warnings
from itertools import islice

import pytest
import torch
from sklearn.mixture import GaussianMixture as LibraryMixture

from dgm.models import em


@pytest.fixture
def gaussians():
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    covariances = factors @ factors.mT + 0.2 * torch.eye(2, dtype=torch.float64)
    means = 3 * torch.randn(3, 2, generator=generator, dtype=torch.float64)
    return em.MixtureOfGaussians(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, covariances)


@pytest.fixture
def bernoullis():
    generator = torch.Generator().manual_seed(1)
    probs = 0.05 + 0.9 * torch.rand(3, 8, generator=generator, dtype=torch.float64)
    return em.MixtureOfBernoullis(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), probs)


def draws(mixture, count=500):
    return mixture.sample(count, generator=torch.Generator().manual_seed(2))


def library_of(mixture):
    """The same mixture in torch.distributions."""
    if isinstance(mixture, em.MixtureOfGaussians):
        parts = torch.distributions.MultivariateNormal(mixture.means, mixture.covariances)
    else:
        parts = torch.distributions.Independent(torch.distributions.Bernoulli(probs=mixture.probs), 1)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weights), parts)


@pytest.mark.parametrize("name", ["gaussians", "bernoullis"])
def test_log_prob_and_responsibilities(name, request):
    mixture = request.getfixturevalue(name)
    x = draws(mixture)
    library = library_of(mixture)
    torch.testing.assert_close(em.log_prob(mixture, x), library.log_prob(x), rtol=1e-12, atol=1e-12)
    joint = library.component_distribution.log_prob(x[:, None]) + mixture.weights.log()
    expected = (joint - library.log_prob(x)[:, None]).exp()
    torch.testing.assert_close(em.responsibilities(mixture, x), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["gaussians", "bernoullis"])
def test_samples_have_the_moments_of_the_mixture(name, request):
    mixture = request.getfixturevalue(name)
    x, other = draws(mixture, 40_000), library_of(mixture)
    error = x.std(0) / 200
    assert ((x.mean(0) - other.mean).abs() < 5 * error).all()
    squares = (x - other.mean).square()
    assert ((squares.mean(0) - other.variance).abs() < 5 * squares.std(0) / 200).all()


@pytest.mark.parametrize("name", ["gaussians", "bernoullis"])
def test_the_elbo_is_a_bound_that_the_posterior_closes(name, request):
    mixture = request.getfixturevalue(name)
    x = draws(mixture)
    r, log_p = em.responsibilities(mixture, x), em.log_prob(mixture, x)
    torch.testing.assert_close(em.elbo(mixture, x, r), log_p, rtol=0, atol=1e-12)
    certain = torch.nn.functional.one_hot(r.argmin(1), 3).double()  # zeros are allowed
    assert (em.elbo(mixture, x, certain) < log_p).all()


def test_ten_steps_are_those_of_scikit_learn(gaussians):
    x = draws(gaussians)
    begin = em.MixtureOfGaussians(torch.full((3,), 1 / 3, dtype=x.dtype), x[:3], torch.eye(2).double().expand(3, 2, 2))
    library = LibraryMixture(
        3,
        reg_covar=0.0,
        max_iter=10,
        tol=0.0,
        weights_init=begin.weights,
        means_init=begin.means,
        precisions_init=begin.covariances,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge
        library.fit(x)
    ours = next(islice(em.em(begin, x), 9, None))
    for mine, theirs in (
        (ours.weights, library.weights_),
        (ours.means, library.means_),
        (ours.covariances, library.covariances_),
    ):
        torch.testing.assert_close(mine, torch.as_tensor(theirs), rtol=1e-9, atol=1e-9)


def test_one_component_is_the_mean_and_the_covariance(gaussians):
    x = draws(gaussians)
    fitted = em.MixtureOfGaussians.fit(x, torch.ones(len(x), 1, dtype=x.dtype))
    torch.testing.assert_close(fitted.means[0], x.mean(0))
    torch.testing.assert_close(fitted.covariances[0], torch.cov(x.T, correction=0))


def test_pseudo_observations_count_as_observations():
    """Four points at distance 1 from the mean and two pseudo-observations of variance 0.1 in one dimension."""
    x = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]], dtype=torch.float64)
    fitted = em.MixtureOfGaussians.fit(x, torch.ones(4, 1, dtype=torch.float64), pseudo_count=2.0, pseudo_variance=0.1)
    torch.testing.assert_close(fitted.covariances.item(), (4 + 2 * 0.1) / 6)
    coins = em.MixtureOfBernoullis.fit((x + 1) / 2, torch.ones(4, 1, dtype=torch.float64), pseudo_count=1.0)
    torch.testing.assert_close(coins.probs.item(), (2 + 1) / (4 + 2))


def test_the_m_step_is_a_maximum(bernoullis):
    x = draws(bernoullis)
    r = em.responsibilities(bernoullis, x)
    fitted = bernoullis.fit(x, r, pseudo_count=0.0)
    probs = fitted.probs.clone().requires_grad_()
    value = em.elbo(em.MixtureOfBernoullis(fitted.weights, probs), x, r).sum()
    torch.testing.assert_close(torch.autograd.grad(value, probs)[0], torch.zeros_like(probs), rtol=0, atol=1e-9)
    torch.testing.assert_close(fitted.weights, r.mean(0))

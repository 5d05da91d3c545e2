import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as LibraryMixture

from dgm import checks
from dgm.data import GaussianMixture, ring_of_gaussians


@pytest.fixture
def mixture():
    return GaussianMixture(np.array([[0.0, 1.0], [2.0, -1.0], [-1.0, 0.5]]), 0.4, np.array([0.5, 0.2, 0.3]))


def test_log_prob_against_scikit_learn(mixture):
    library = LibraryMixture(3, covariance_type="spherical")
    library.weights_, library.means_ = mixture.weights, mixture.means
    library.covariances_ = np.full(3, mixture.std**2)
    library.precisions_cholesky_ = np.full(3, 1 / mixture.std)
    x = np.random.default_rng(0).normal(size=(50, 2))
    checks.close("log p", mixture.log_prob(x), library.score_samples(x), atol=1e-12)


def test_log_prob_keeps_leading_axes(mixture):
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    checks.close("log p", mixture.log_prob(x)[1], mixture.log_prob(x[1]), atol=1e-15)


def test_samples_have_the_moments_of_the_mixture(mixture):
    x = mixture.sample(200_000, rng=np.random.default_rng(0))
    mean = mixture.weights @ mixture.means
    second = (mixture.weights[:, None, None] * mixture.means[:, :, None] * mixture.means[:, None]).sum(0)
    checks.unbiased("mean", x, mean)
    checks.unbiased("second moments", x[:, :, None] * x[:, None], second + 0.16 * np.eye(2))


def test_ring():
    ring = ring_of_gaussians(6, radius=3.0, std=0.1)
    checks.close("distance from the centre", np.linalg.norm(ring.means, axis=1), np.full(6, 3.0), atol=1e-14)
    checks.close("first mode", ring.means[0], [3.0, 0.0], atol=1e-15)
    neighbours = np.linalg.norm(ring.means - np.roll(ring.means, 1, axis=0), axis=1)
    checks.close("distance of neighbours: that of a hexagon", neighbours, np.full(6, 3.0), atol=1e-14)
    side = np.linspace(-4, 4, 401)
    grid = np.stack(np.meshgrid(side, side), -1)
    checks.close("integral", np.exp(ring.log_prob(grid)).sum() * 0.02**2, 1.0, atol=1e-9)


@pytest.mark.parametrize(
    ("means", "std", "weights", "message"),
    [
        (np.zeros(3), 1.0, np.array([1.0]), r"expected shapes .* got \(3,\) and \(1,\)"),
        (np.zeros((2, 2)), 1.0, np.array([1.0]), r"got \(2, 2\) and \(1,\)"),
        (np.zeros((1, 2)), 0.0, np.array([1.0]), "std: expected a positive number, got 0.0"),
        (np.zeros((2, 2)), 1.0, np.array([0.5, 0.6]), r"sum to 1, got \[0.5 0.6\]"),
        (np.zeros((2, 2)), 1.0, np.array([1.5, -0.5]), "weights: expected positive"),
    ],
)
def test_refuses(means, std, weights, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(means, std, weights)


def test_refuses_points_of_another_dimension(mixture):
    with pytest.raises(ValueError, match=r"expected shape \(\.\.\., 2\), got \(5, 3\)"):
        mixture.log_prob(np.zeros((5, 3)))


def test_refuses_a_ring_without_modes():
    with pytest.raises(ValueError, match="num_modes: expected at least 1, got 0"):
        ring_of_gaussians(0)

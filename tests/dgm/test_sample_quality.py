"""Scores of samples against libraries and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.neighbors import KernelDensity

from dgm import checks
from dgm import sample_quality as quality
from dgm.data import grid_of_gaussians, ring_of_gaussians

# Sums of some thousand terms of size 1 in double precision.
ATOL = 1e-11


@pytest.fixture
def x():
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def y():
    return 0.5 + 1.3 * torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_eight_bit_clips_and_rounds():
    grey = torch.tensor([-0.3, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.7])
    checks.close("levels", quality.as_eight_bit(grey) * 255, [0, 0, 0, 1, 255, 255], atol=1e-4)


def test_distances_and_kernel_against_scikit_learn(x, y):
    checks.close("squared", quality.squared_distances(x, y), euclidean_distances(x, y, squared=True), atol=ATOL)
    checks.close("k", quality.gaussian_kernel(x, y, 1.7), rbf_kernel(x, y, gamma=1 / (2 * 1.7**2)), atol=ATOL)


def test_distance_of_equal_rows_is_not_negative(x):
    assert (quality.squared_distances(1e6 + x, 1e6 + x) >= 0).all()


def test_median_distance_leaves_out_the_diagonal():
    corners = torch.tensor([[0.0, 0], [0, 1], [0, 3]], dtype=torch.float64)
    checks.close("median of 1, 2, 3", quality.median_distance(corners), 2.0)


def test_mmd_is_the_double_sum(x, y):
    def k(a, b):
        return math.exp(-((a - b) ** 2).sum().item() / (2 * 1.7**2))

    within = [np.mean([k(a[i], a[j]) for i in range(len(a)) for j in range(len(a)) if i != j]) for a in (x, y)]
    across = np.mean([k(a, b) for a in x for b in y])
    checks.close("MMD^2", quality.mmd2_unbiased(x, y, 1.7), sum(within) - 2 * across, atol=ATOL)


def test_permutation_test_divides_as_it_says(x, y):
    observed, p_value, error = quality.permutation_test(x, y + 2, 1.7, 99)
    checks.close("MMD^2", observed, quality.mmd2_unbiased(x, y + 2, 1.7), atol=ATOL)
    checks.close("p-value of sets that differ", p_value, 0.01)
    assert 0 < error < observed


def test_p_values_are_uniform_where_nothing_differs():
    torch.manual_seed(0)
    pairs = torch.randn(500, 2, 15, 2, dtype=torch.float64)
    p = torch.tensor([quality.permutation_test(a, b[:10], 1.0, 19)[1] for a, b in pairs])
    for level in (0.1, 0.5, 0.9):
        checks.unbiased(f"p <= {level}", (p <= level + 1e-9).double(), level)


def test_parzen_against_scikit_learn(x, y):
    library = KernelDensity(bandwidth=0.6).fit(x.numpy()).score_samples(y.numpy())
    checks.close("log density", quality.parzen_log_prob(y, x, 0.6, chunk=7), library, atol=ATOL)


def test_frechet_distance_against_scipy(x, y):
    root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    library = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    checks.close("distance", quality.frechet_distance(x, y), library, atol=1e-9)


def test_frechet_distance_of_stretched_and_moved_points(x):
    moved = 3 * (x - x.mean(0)) + x.mean(0) + torch.tensor([0.0, 2.0, 0.0, 0.0])
    checks.close("distance", quality.frechet_distance(x, moved), 4 + 4 * x.var(0).sum().item(), rtol=1e-10)


def test_frechet_distance_of_features_that_are_all_zero():
    dead = torch.zeros(10, 3)
    checks.close("distance", quality.frechet_distance(dead, dead + 1), 3.0, atol=1e-12)


def test_modes_and_quality_of_the_truth():
    for toy, num_modes in ((ring_of_gaussians(8, radius=1.0, std=0.01), 8), (grid_of_gaussians(), 25)):
        samples = torch.tensor(toy.sample(100_000, rng=np.random.default_rng(0)))
        modes, share = quality.modes_and_quality(samples, torch.tensor(toy.means), toy.std)
        checks.close("modes", modes, num_modes)
        truth = 1 - math.exp(-9 / 2)
        checks.unbiased("quality", share, truth, math.sqrt(truth * (1 - truth) / len(samples)))


def test_modes_and_quality_of_a_collapsed_model():
    means = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    samples = torch.tensor([[0.1, 0.0], [0.0, 0.29], [2.5, 0.0], [0.0, 0.31]])
    assert quality.modes_and_quality(samples, means, 0.1) == (1, 0.5)


def test_two_sample_accuracy():
    generator = torch.Generator().manual_seed(0)
    real, other, darker = (torch.rand(400, 784, generator=generator) * top for top in (1, 1, 0.5))
    share, error = quality.two_sample_accuracy(real, other)
    assert abs(share - 0.5) < 5 * error
    share, error = quality.two_sample_accuracy(real, darker)
    assert share > 0.5 + 5 * error

"""Divergences of tables and Gaussians against scipy and torch, and the estimates from samples against exact moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.spatial.distance import jensenshannon

from dgm import checks, divergences

P, Q = np.random.default_rng(0).dirichlet(np.ones(7), size=(2, 50))
ALL = ("kl", "jensen_shannon", "total_variation", "squared_hellinger", "chi_squared", "wasserstein_1d")


def test_kl_and_jensen_shannon():
    checks.close("KL", divergences.kl(P, Q), stats.entropy(P, Q, axis=1), atol=1e-13)
    checks.close("JS", divergences.jensen_shannon(P, Q), jensenshannon(P, Q, axis=1) ** 2, atol=1e-13)


def test_kl_in_torch():
    torch = pytest.importorskip("torch")
    library = torch.nn.functional.kl_div(torch.tensor(Q).log(), torch.tensor(P), reduction="none").sum(1)
    checks.close("KL", divergences.kl(P, Q), library, atol=1e-13)


def test_the_others():
    checks.close("total variation", divergences.total_variation(P, Q), np.maximum(P - Q, 0).sum(1), atol=1e-15)
    checks.close("Hellinger", divergences.squared_hellinger(P, Q), 1 - np.sqrt(P * Q).sum(1), atol=1e-14)
    chi = [stats.chisquare(p, q).statistic for p, q in zip(P, Q, strict=True)]
    checks.close("chi squared", divergences.chi_squared(P, Q), chi, rtol=1e-13)
    places = 0.3 * np.arange(7)
    library = [stats.wasserstein_distance(places, places, p, q) for p, q in zip(P, Q, strict=True)]
    checks.close("W1", divergences.wasserstein_1d(P, Q, 0.3), library, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_zero_for_equal_and_only_for_equal(name):
    measure = getattr(divergences, name)
    table = np.array([0.5, 0.5, 0.0])
    checks.close("of a table with an empty state and itself", measure(table, table), 0.0)
    checks.at_least("of different tables", measure(P, Q), 1e-3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kl", np.inf),
        ("jensen_shannon", np.log(2)),
        ("total_variation", 1.0),
        ("squared_hellinger", 1.0),
        ("chi_squared", np.inf),
        ("wasserstein_1d", 2.0),
    ],
)
def test_disjoint_supports(name, expected):
    found = getattr(divergences, name)(np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    checks.close(name, found, expected, rtol=1e-15)


def test_kl_of_gaussians():
    p, q = stats.norm(0.4, 1.3), stats.norm(-0.5, 0.8)
    exact = divergences.kl_normal(0.4, 1.3, -0.5, 0.8)
    by_quadrature, _ = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -20, 20, epsabs=1e-12)
    checks.close("by quadrature", exact, by_quadrature, atol=1e-10)
    torch = pytest.importorskip("torch")
    normal = torch.distributions.Normal
    means, stds = torch.randn(2, 6, dtype=torch.float64), torch.rand(2, 6, dtype=torch.float64) + 0.5
    library = torch.distributions.kl_divergence(normal(means[0], stds[0]), normal(means[1], stds[1]))
    ours = divergences.kl_normal(*(part.numpy() for pair in zip(means, stds, strict=True) for part in pair))
    checks.close("torch's", ours, library, rtol=1e-13)


def test_estimates_from_samples():
    p, q = stats.norm(0, 1), stats.norm(0.5, 1.2)
    x = p.rvs(100_000, random_state=1)
    terms = divergences.kl_terms(p.logpdf(x), q.logpdf(x))
    exact = float(divergences.kl_normal(0.0, 1.0, 0.5, 1.2))
    for name in ("k1", "k3"):
        mean, error = divergences.mean_and_error(terms[name])
        checks.unbiased(name, mean, exact, error)
    second, _ = integrate.quad(lambda t: p.pdf(t) * (q.logpdf(t) - p.logpdf(t)) ** 2 / 2, -15, 15)
    checks.unbiased("k2, against its own mean", terms["k2"], second)
    checks.at_least("k3", terms["k3"], 0)


def test_k3_of_nearly_equal_distributions_keeps_its_digits():
    """r - 1 - log r is about (log r)^2 / 2, far below the rounding of r itself."""
    terms = divergences.kl_terms(np.zeros(1), np.array([1e-7]))
    checks.close("k3", terms["k3"], terms["k2"], rtol=0.05)


def test_an_error_needs_two_terms():
    with pytest.raises(ValueError, match="at least two"):
        divergences.mean_and_error(np.ones(1))

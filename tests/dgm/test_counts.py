"""Tables of counts against sums over all states, scipy's spanning tree and scikit-learn's mutual information."""

from __future__ import annotations

from graphlib import CycleError
from itertools import product

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree as scipy_tree
from scipy.stats import dirichlet_multinomial, multinomial
from sklearn.metrics import mutual_info_score
from sklearn.naive_bayes import BernoulliNB

from dgm import checks
from dgm.models.counts import CountTable, maximum_spanning_tree, mutual_information, neighbours

NETWORKS = {
    "independent": [()] * 5,
    "chain": [(), (0,), (1,), (2,), (3,)],
    "backwards": [(1,), (2, 4), (3,), (4,), ()],
    "all earlier": [tuple(range(i)) for i in range(5)],
}
STATES = np.array(list(product((0, 1), repeat=5)), dtype=np.uint8)


@pytest.fixture
def x():
    """300 images of five dependent pixels."""
    rng = np.random.default_rng(0)
    first = rng.random((300, 5)) < (0.2, 0.5, 0.7, 0.4, 0.5)
    first[:, 1] ^= first[:, 0]
    first[:, 4] |= first[:, 2] & first[:, 3]
    return first.astype(np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pseudo_count", [0.5, 1.0])
def test_probabilities_add_up_to_one_and_are_those_of_the_counts(x, name, pseudo_count):
    table = CountTable(x, NETWORKS[name], pseudo_count=pseudo_count)
    checks.normalised(name, table.log_prob(STATES), atol=1e-12)
    by_hand = np.zeros(len(STATES))
    for i, parents in enumerate(NETWORKS[name]):
        for row, state in enumerate(STATES):
            like = (x[:, parents] == state[list(parents)]).all(1)
            both = np.count_nonzero(x[like, i] == state[i]) + pseudo_count
            by_hand[row] += np.log(both / (np.count_nonzero(like) + 2 * pseudo_count))
    checks.close("log p", table.log_prob(STATES), by_hand, atol=1e-12)
    assert table.num_parameters() == sum(2 ** len(given) for given in NETWORKS[name])


def test_independent_pixels_are_those_of_a_library(x):
    library = BernoulliNB(alpha=0.5, fit_prior=False).fit(x, np.zeros(len(x)))
    log_on = np.array([table[0, 1] for table in CountTable(x, NETWORKS["independent"]).log_probs])
    checks.close("log of the means", log_on, library.feature_log_prob_[0], atol=1e-12)


def test_the_full_table_is_the_empirical_distribution(x):
    table = CountTable(x, NETWORKS["all earlier"], pseudo_count=0)
    came, counts = np.unique(x, axis=0, return_counts=True)
    checks.close("log p", table.log_prob(came), np.log(counts / len(x)), atol=1e-12)


def test_without_a_pseudo_count_what_never_came_is_impossible_and_its_contexts_are_coins():
    table = CountTable(np.zeros((3, 2), dtype=np.uint8), [(), (0,)], pseudo_count=0)
    log_p = table.log_prob(np.array([[0, 0], [0, 1], [1, 0]]))
    checks.close("log p", log_p, [0.0, -np.inf, -np.inf])
    checks.close("the context that never came", table.log_probs[1][1], np.log([0.5, 0.5]), atol=1e-15)


@pytest.mark.parametrize("name", NETWORKS)
def test_samples(x, name):
    table = CountTable(x, NETWORKS[name])
    drawn = table.sample(40_000, rng=np.random.default_rng(1))
    assert drawn.dtype == np.uint8
    expected = np.exp(table.log_prob(STATES))
    observed = np.bincount(drawn @ 2 ** np.arange(5)[::-1], minlength=32) / len(drawn)
    often = expected * len(drawn) > 25  # rarer states have no Gaussian error
    errors = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(observed - expected)[often] <= 5 * errors[often]).all()


def test_equal_seeds_give_equal_numbers_to_equal_pixels(x):
    """So that networks can be compared image by image."""
    one, other = (
        CountTable(x, NETWORKS[name]).sample(50, rng=np.random.default_rng(2)) for name in ("chain", "independent")
    )
    assert (one[:, 0] == other[:, 0]).all()


def test_a_cycle_is_refused(x):
    with pytest.raises(CycleError):
        CountTable(x[:, :2], [(1,), (0,)]).sample(1, rng=np.random.default_rng(0))


def test_the_order_of_examples_is_a_library_s(x):
    """The likelihood of counts: that of the multinomial, less the number of orders."""
    counts = CountTable(x, [()] * 5).counts[0][0]
    mean = counts / counts.sum()
    ours = CountTable(x[:, :1], [()], pseudo_count=0).log_prob(x[:, :1]).sum()
    orders = multinomial(len(x), mean).logpmf(counts) - ours
    sequential = sum(CountTable(x[:n, :1], [()]).log_prob(x[n : n + 1, :1])[0] for n in range(len(x)))
    library = dirichlet_multinomial([0.5, 0.5], len(x)).logpmf(counts)
    checks.close(
        "sequential estimates = the Dirichlet-multinomial, less the orders", sequential, library - orders, rtol=1e-11
    )


def test_neighbours():
    parents = neighbours([(0, -1), (-1, 0), (-1, 1)], height=2, width=3)
    assert parents == [(), (0,), (1,), (0, 1), (3, 1, 2), (4, 2)]
    assert sum(map(len, neighbours([(0, -1)]))) == 28 * 27


def test_mutual_information(x):
    ours = mutual_information(x)
    library = [[mutual_info_score(x[:, i], x[:, j]) for j in range(5)] for i in range(5)]
    checks.close("I(x_i; x_j), and H(x_i) on the diagonal", ours, library, atol=1e-12)


@pytest.mark.parametrize("root", [0, 3])
def test_the_tree(root):
    rng = np.random.default_rng(3)
    weights = rng.random((8, 8))
    weights += weights.T
    parents = maximum_spanning_tree(weights, root=root)
    assert parents[root] == ()
    assert [len(given) for i, given in enumerate(parents) if i != root] == [1] * 7
    total = sum(weights[i, given[0]] for i, given in enumerate(parents) if given)
    library = -scipy_tree(-np.triu(weights, 1)).sum()  # negative weights: its minimum is our maximum
    checks.close("sum of the weights", total, library, rtol=1e-14)

import math
from itertools import islice

import pytest
import torch

from dgm import checks
from dgm.samplers import langevin, score_of


def quartic(x):
    return (x**4).sum(1) / 4 - x[:, 0] * x[:, 1]


def quartic_score(x):
    return -(x**3) + x.flip(1)


def test_score_by_hand():
    x = torch.randn(20, 2, dtype=torch.float64)
    checks.close("score", score_of(quartic)(x), quartic_score(x), atol=1e-14)


def test_score_leaves_no_graph_and_no_gradients():
    network = torch.nn.Linear(2, 1)
    x = torch.randn(5, 2, requires_grad=True)
    score = score_of(lambda x: network(x).squeeze(1))(x)
    assert not score.requires_grad
    assert network.weight.grad is None
    assert x.grad is None


def test_score_inside_no_grad():
    with torch.no_grad():
        score = score_of(quartic)(torch.ones(1, 2))
    checks.close("score at (1, 1)", score, [[0.0, 0.0]], atol=1e-7)


def test_one_step_is_the_formula():
    x = torch.randn(7, 2, dtype=torch.float64)
    step = next(langevin(x, quartic_score, 0.03, generator=torch.Generator().manual_seed(5)))
    noise = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    checks.close("one step", step, x + 0.03 * quartic_score(x) + math.sqrt(0.06) * noise, atol=1e-15)


def test_it_yields_states_of_one_chain_and_changes_no_input():
    start = torch.zeros(3, 2)
    states = list(islice(langevin(start, quartic_score, 0.1), 4))
    assert [tuple(state.shape) for state in states] == [(3, 2)] * 4
    assert len({state.data_ptr() for state in states}) == 4
    assert (start == 0).all()
    assert not any(state.requires_grad for state in states)


@pytest.mark.parametrize("eta", [0.1, 0.8])
def test_stationary_variance(eta):
    start = 3 * torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chain = langevin(start, lambda x: -x, eta, generator=torch.Generator().manual_seed(1))
    x = next(islice(chain, round(30 / eta), None))
    checks.unbiased("variance", x.square(), 1 / (1 - eta / 2))

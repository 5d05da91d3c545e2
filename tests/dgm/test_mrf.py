import math
from itertools import islice

import pytest
import torch

from dgm import checks
from dgm.models.mrf import field, gibbs_spins, iterated_modes

BETA, H = 0.7, 0.4
BITS = torch.arange(512)[:, None] >> torch.arange(9) & 1
STATES = (2.0 * BITS - 1).reshape(-1, 3, 3)  # all pictures of 3 x 3 pixels


@pytest.fixture
def seen():
    torch.manual_seed(0)
    return 2.0 * (torch.rand(1, 3, 3) < 0.5) - 1


def energy(y, x):
    """Pair by pair."""
    places = [(i, j) for i in range(3) for j in range(3)]
    pairs = [(a, b) for a in places for b in places if a < b and abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1]
    assert len(pairs) == 12
    bonds = sum(y[:, i, j] * y[:, k, m] for (i, j), (k, m) in pairs)
    return -BETA * bonds - H * (x * y).sum((1, 2))


def test_odds_of_each_pixel_given_all_others(seen):
    log_p = torch.log_softmax(-energy(STATES, seen), 0)
    m = field(STATES, seen, BETA, H).reshape(512, 9)
    for pixel in range(9):
        flipped = torch.arange(512) ^ (1 << pixel)
        log_odds = (log_p - log_p[flipped]) * (2 * BITS[:, pixel] - 1)
        checks.close(f"pixel {pixel}", 2 * m[:, pixel], log_odds, atol=2e-5)


def test_gibbs_sampling_has_the_right_means(seen):
    spins = next(islice(gibbs_spins(torch.ones(20_000, 3, 3), seen, BETA, H), 60, None))
    exact = (torch.softmax(-energy(STATES, seen), 0)[:, None, None] * STATES).sum(0)
    checks.unbiased("means of nine spins", spins, exact)


def test_modes_never_raise_the_energy_and_end(seen):
    chain = iterated_modes(STATES, seen, BETA, H)
    first, last = next(chain), next(islice(chain, 9, None))
    checks.at_most("rise", energy(first, seen) - energy(STATES, seen), 1e-5)
    checks.at_most("somewhere it falls", (energy(first, seen) - energy(STATES, seen)).min(), -1.0)
    assert torch.equal(next(iterated_modes(last, seen, BETA, H)), last)


def test_equal_odds_leave_a_pixel_as_it_is():
    y = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
    checks.close("no field at all", next(iterated_modes(y, y, 0.0, 0.0)), y)
    alone = torch.ones(1, 1, 1)  # one pixel without neighbours: Bayes' rule with even odds
    by_bayes = torch.sigmoid(2 * field(alone, alone, 9.0, math.log(9) / 2)).item()
    checks.close("seen on, flipped once in ten", by_bayes, 0.9, atol=1e-6)

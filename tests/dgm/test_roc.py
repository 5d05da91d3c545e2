import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dgm import checks
from dgm.roc import roc_area


def test_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=80).round(1), (rng.normal(size=80) + 0.5).round(1)  # with ties
    pairs = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    area, _ = roc_area(low, high)
    checks.close("against all pairs", area, pairs, atol=1e-12)
    by_library = roc_auc_score(np.r_[np.zeros(80), np.ones(80)], np.r_[low, high])
    checks.close("against scikit-learn", area, by_library, atol=1e-12)
    checks.close("the other way round", roc_area(high, low)[0], 1 - area, atol=1e-12)


def test_tensors():
    low, high = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.25, 0.35, 0.45, 0.55])
    checks.close("13 of 16 pairs in order", roc_area(low, high)[0], 13 / 16)


def test_separated_and_equal():
    low = np.arange(5.0)
    assert roc_area(low, low + 9) == (1.0, 0.0)
    assert roc_area(low + 9, low) == (0.0, 0.0)
    assert roc_area(np.ones(4), np.ones(4)) == (0.5, 0.0)


@pytest.mark.parametrize("copies", [False, True])
def test_the_error_is_that_of_repeated_draws(copies):
    """Exponential values, one kind four times as large: the area is 4/5; as copies they depend on each other."""
    rng, size = np.random.default_rng(1), 200
    found = []
    for _ in range(1_000):
        low = rng.exponential(size=size)
        found.append(roc_area(low, 4 * (low if copies else rng.exponential(size=size))))
    area, error = np.array(found).T
    # A copy beside its own original, one pair of `size`, is always in order.
    bias = 0.2 / size if copies else 0.0
    checks.unbiased("area", area - bias, 0.8)
    ratio = (area - area.mean()) ** 2 / np.mean(error**2)
    # The claimed variance errs by some 1 / size of itself.
    checks.unbiased("squared error over the claimed one", ratio.mean(), 1.0, ratio.std() / 1_000**0.5 + 1 / size)


@pytest.mark.parametrize(("low", "high"), [([1.0], [2.0]), ([1, 2, 3], [1, 2]), (np.ones((2, 2)), np.ones((2, 2)))])
def test_refused(low, high):
    with pytest.raises(ValueError, match="two vectors of one length"):
        roc_area(low, high)

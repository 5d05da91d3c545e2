import math

import numpy as np
import pytest
import torch

from dgm import checks, metrics
from dgm.models.rbm import RBM

# Float64: at most 2,000 additions of terms below 5, each rounded to 1.1e-16 of its size.
ATOL = 2000 * 5 * 1.1e-16
NUM_CHAINS = 40_000
BASE = torch.tensor([0.5, -1.0, 0.0, 1.0], dtype=torch.float64)
LOG_BASE_PARTITION = 3 * math.log(2) + math.log(np.prod(1 + np.exp(BASE.numpy())))  # with 3 hidden units


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def log_weights(rbm, exact, direction, *, num_betas, num_chains=NUM_CHAINS):
    """Logarithms of AIS weights from exact samples of where the path starts."""
    betas = torch.linspace(0, 1, num_betas, dtype=torch.float64)
    if direction == "forward":
        start = torch.bernoulli(torch.sigmoid(BASE).expand(num_chains, -1), generator=generator(1))
    else:
        start, betas = model_samples(exact, num_chains), betas.flip(0)
    return metrics.ais_log_weights(rbm, start, BASE, betas, generator=generator(2))


def model_samples(exact, num_samples):
    rows = torch.multinomial(torch.tensor(exact.pv), num_samples, replacement=True, generator=generator(1))
    return torch.tensor(exact.v)[rows]


@pytest.mark.parametrize("num_betas", [2, 3, 6])
def test_ais_forward_is_unbiased(machine, num_betas):
    """With weights so large that sampling h one temperature too late moves the mean by 10 standard errors or more."""
    rbm, exact = machine(4, 3, std=1.5, seed=3)
    w = torch.exp(log_weights(rbm, exact, "forward", num_betas=num_betas))
    checks.unbiased("Z / Z0", w, math.exp(exact.log_partition - LOG_BASE_PARTITION))


@pytest.mark.parametrize("num_betas", [2, 3, 6])
def test_ais_reverse_is_unbiased(machine, num_betas):
    rbm, exact = machine(4, 3, std=1.5, seed=3)
    w = torch.exp(log_weights(rbm, exact, "reverse", num_betas=num_betas))
    checks.unbiased("Z0 / Z", w, math.exp(LOG_BASE_PARTITION - exact.log_partition))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_one_step_is_importance_sampling(machine, direction):
    """Its weight is the ratio of the two unnormalised probabilities of the start."""
    rbm, exact = machine(4, 3)
    betas = torch.tensor([0.0, 1.0] if direction == "forward" else [1.0, 0.0])
    log_w = metrics.ais_log_weights(rbm, torch.tensor(exact.v), BASE, betas)
    log_ratio = np.log(np.exp(-exact.energy).sum(1)) - (exact.v @ BASE.numpy() + 3 * math.log(2))
    checks.close("log w", log_w, log_ratio if direction == "forward" else -log_ratio, atol=ATOL)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_errs_on_the_side_that_jensen_says(machine, direction):
    """From two chains at a time: the mean of log Z-hat is too small forward and too large in reverse."""
    rbm, exact = machine(4, 3)
    pairs = log_weights(rbm, exact, direction, num_betas=3).reshape(-1, 2)
    estimates = LOG_BASE_PARTITION + (torch.logsumexp(pairs, 1) - math.log(2)) * (1 if direction == "forward" else -1)
    error = estimates.std() / math.sqrt(len(estimates))
    bias = estimates.mean() - exact.log_partition
    assert (bias < -5 * error) if direction == "forward" else (bias > 5 * error)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_ais_log_partition(machine, direction):
    rbm, exact = machine(4, 3)
    samples = None if direction == "forward" else model_samples(exact, 1000)
    found = metrics.ais_log_partition(
        rbm, BASE, num_chains=1000, num_betas=100, model_samples=samples, generator=generator()
    )
    checks.unbiased("log Z", found.value, exact.log_partition, found.standard_error)
    assert found.standard_error < 0.01
    assert 900 < found.effective_sample_size <= 1000
    again = metrics.ais_log_partition(
        rbm, BASE, num_chains=1000, num_betas=100, model_samples=samples, generator=generator()
    )
    assert again == found


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_standard_error_is_the_spread_of_repetitions(machine, direction):
    """The spread of n Gaussian estimates is known to one part in sqrt(2 (n - 1))."""
    rbm, exact = machine(4, 3, std=0.5)
    rng, runs = generator(), []
    for start in model_samples(exact, 200 * 100).split(100):
        samples = None if direction == "forward" else start
        runs.append(
            metrics.ais_log_partition(rbm, BASE, num_chains=100, num_betas=5, model_samples=samples, generator=rng)
        )
    spread = np.std([run.value for run in runs], ddof=1)
    claimed = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
    assert abs(spread / claimed - 1) <= 5 / math.sqrt(2 * (len(runs) - 1))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_exact_without_weights(machine, direction):
    """With W = 0 and the machine's own biases as the base no state matters: every chain gives log Z."""
    rbm, exact = machine(4, 3)
    torch.nn.init.zeros_(rbm.W)
    log_partition = math.log(np.prod(1 + np.exp(rbm.b.detach().numpy())) * np.prod(1 + np.exp(rbm.c.detach().numpy())))
    samples = None if direction == "forward" else model_samples(exact, 10)
    found = metrics.ais_log_partition(rbm, rbm.b, num_chains=10, num_betas=7, model_samples=samples)
    checks.close("log Z", found.value, log_partition, atol=ATOL)
    checks.close("effective sample size", found.effective_sample_size, 10, atol=ATOL)
    checks.at_most("standard error", found.standard_error, ATOL)


@pytest.mark.parametrize("sign", [1, -1])
def test_log_partition_from_weights(machine, sign):
    rbm, _ = machine(4, 3)
    w = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    value, standard_error, size = metrics.log_partition_from_weights(rbm, BASE, w.log(), sign)
    checks.close("log Z", value, LOG_BASE_PARTITION + sign * math.log(3), atol=ATOL)
    checks.close("standard error", standard_error, np.std([1, 2, 6], ddof=1) / math.sqrt(3) / 3, atol=ATOL)
    checks.close("effective sample size", size, 81 / 41, atol=ATOL)
    _, error, size = metrics.log_partition_from_weights(rbm, BASE, torch.full((2,), 1e3).double(), sign)
    checks.close("two equal weights, of which exp is no float64", [error, size], [0, 2], atol=ATOL)


def test_log_mean_exp():
    log_w = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    checks.close("log mean w", metrics.log_mean_exp(log_w), np.log(np.mean(np.exp([0, 1, 2]))), atol=ATOL)
    for shift in (-2000, 2000):  # exp of it is no float64
        checks.close("log mean w", metrics.log_mean_exp(log_w + shift) - shift, metrics.log_mean_exp(log_w), atol=1e-12)


def test_float32_machine(machine):
    """As the lectures use it; the weights are added in float64."""
    rbm, exact = machine(4, 3)
    log_w = log_weights(rbm, exact, "forward", num_betas=3, num_chains=10)
    assert log_w.dtype == torch.float64
    found = metrics.ais_log_partition(rbm.float(), BASE.float(), num_chains=2000, num_betas=50, generator=generator())
    checks.unbiased("log Z", found.value, exact.log_partition, found.standard_error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_bias": torch.zeros(3)}, r"base_bias: expected \(4,\) finite numbers, got \(3,\)"),
        ({"base_bias": torch.full((4,), math.nan)}, "base_bias: expected .* finite numbers"),
        ({"base_bias": torch.tensor([0, 0, 0, math.inf])}, "base_bias: expected .* finite numbers"),
        ({"num_chains": 1}, "num_chains: expected at least 2, got 1"),
        ({"num_betas": 1}, "num_betas: expected at least 2, got 1"),
        ({"model_samples": torch.zeros(5, 3)}, r"model_samples: expected shape \(num_examples, 4\), got \(5, 3\)"),
        ({"model_samples": torch.full((5, 4), 0.5)}, "model_samples: expected zeros and ones"),
        ({"model_samples": torch.zeros(5, 4, dtype=torch.int64)}, "model_samples: expected floating point"),
        ({"model_samples": torch.zeros(1, 4)}, "num_chains: expected at least 2, got 1"),
    ],
)
def test_ais_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.ais_log_partition(
            RBM(4, 3), **({"base_bias": torch.zeros(4), "num_chains": 5, "num_betas": 5} | arguments)
        )

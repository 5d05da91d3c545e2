import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.neural_network import BernoulliRBM

from dgm import checks
from dgm.models import rbm as module
from dgm.models.rbm import RBM

# Float64: at most 2,000 additions of terms below 5, each rounded to 1.1e-16 of its size.
ATOL = 2000 * 5 * 1.1e-16
SIZES = [(4, 3), (3, 5), (1, 1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frequencies(states, samples):
    """How often each row of `states` stands in `samples`."""
    place = 2.0 ** np.arange(states.shape[1])
    index = {number: i for i, number in enumerate(states @ place)}
    rows = [index[number] for number in np.asarray(samples) @ place]
    return np.bincount(rows, minlength=len(states)) / len(samples)


def within_five_standard_errors(observed, probs, num_samples):
    assert (probs * num_samples >= 25).all()  # or a Gaussian's five standard errors would say little
    return (np.abs(observed - probs) <= 5 * np.sqrt(probs * (1 - probs) / num_samples)).all()


@pytest.mark.parametrize("size", SIZES)
def test_energies(machine, size):
    rbm, exact = machine(*size)
    v, h = torch.tensor(exact.v), torch.tensor(exact.h)
    with torch.no_grad():
        checks.close("E", rbm.energy(v[:, None], h), exact.energy, atol=ATOL)
        checks.close("F", rbm.free_energy(v), -np.log(np.exp(-exact.energy).sum(1)), atol=ATOL)


@pytest.mark.parametrize("size", SIZES)
def test_conditionals_by_bayes(machine, size):
    rbm, exact = machine(*size)
    with torch.no_grad():
        h_probs = torch.sigmoid(rbm.hidden_logits(torch.tensor(exact.v)))
        v_probs = torch.sigmoid(rbm.visible_logits(torch.tensor(exact.h)))
    checks.close("p(h | v)", h_probs, exact.joint @ exact.h / exact.joint.sum(1, keepdims=True), atol=ATOL)
    checks.close("p(v | h)", v_probs, exact.joint.T @ exact.v / exact.joint.T.sum(1, keepdims=True), atol=ATOL)


@pytest.mark.parametrize("size", SIZES)
def test_log_partition_and_log_prob(machine, size):
    rbm, exact = machine(*size)
    log_partition = module.exact_log_partition(rbm)
    checks.close("log Z, over h", log_partition, exact.log_partition, atol=ATOL)
    v = module.all_states(size[0])
    with torch.no_grad():
        checks.close("log Z, over v", torch.logsumexp(-rbm.free_energy(v), 0), exact.log_partition, atol=ATOL)
    checks.normalised("p(v)", module.log_prob(rbm, v, log_partition), atol=ATOL)
    checks.close("log p", module.log_prob(rbm, torch.tensor(exact.v), log_partition), np.log(exact.pv), atol=ATOL)


def test_log_partition_of_many_hidden_units(machine):
    """13 of them: 8,192 states, more than are added in one go; and far more than float64 holds without logarithms."""
    rbm, _ = machine(2, 13)
    with torch.no_grad():
        over_v = torch.logsumexp(-rbm.free_energy(module.all_states(2)), 0)
        checks.close("log Z", module.exact_log_partition(rbm), over_v, rtol=8192 * 1.1e-16)
        rbm.c.add_(1000)
        over_v = torch.logsumexp(-rbm.free_energy(module.all_states(2)), 0)
    checks.close("log Z", module.exact_log_partition(rbm), over_v, rtol=8192 * 1.1e-16)
    assert over_v > 10_000


def test_without_weights_units_are_independent(machine):
    """Then torch.distributions knows log p(v)."""
    rbm, exact = machine(4, 3)
    torch.nn.init.zeros_(rbm.W)
    v = torch.tensor(exact.v)
    theirs = torch.distributions.Bernoulli(logits=rbm.b.detach()).log_prob(v).sum(-1)
    checks.close("log p", module.log_prob(rbm, v, module.exact_log_partition(rbm)), theirs, atol=ATOL)


def test_new_machine():
    rbm = RBM(200, 100, std=0.05)
    assert {name: tuple(p.shape) for name, p in rbm.named_parameters()} == {"W": (200, 100), "b": (200,), "c": (100,)}
    assert not rbm.b.any()
    assert not rbm.c.any()
    torch.manual_seed(0)
    W = RBM(200, 100, std=0.05).W.detach().double()
    checks.unbiased("mean square of the weights", W.flatten() ** 2, 0.05**2)
    checks.unbiased("mean of the weights", W.flatten(), 0.0)


def test_all_states():
    states = module.all_states(3)
    assert states.dtype == torch.float64
    assert states[4].tolist() == [0, 0, 1]
    assert (states @ torch.tensor([1.0, 2, 4], dtype=torch.float64)).tolist() == list(range(8))
    assert module.all_states(2, dtype=torch.float32).dtype == torch.float32
    assert module.all_states(1).tolist() == [[0], [1]]


def test_phase_gradient(machine):
    """On data and all states it is the gradient of the exact mean log-likelihood; on any weights that of -F."""
    rbm, exact = machine(4, 3)
    data = torch.tensor(exact.v[[1, 7, 7, 12, 15]])
    states = torch.tensor(exact.v)
    log_p = -rbm.free_energy(data) - torch.logsumexp(-rbm.free_energy(states), 0)
    by_autograd = torch.autograd.grad(log_p.mean(), [rbm.W, rbm.b, rbm.c])
    weights = torch.cat([torch.full((5,), 1 / 5, dtype=torch.float64), -torch.tensor(exact.pv)])
    ours = module.phase_gradient(rbm, torch.cat([data, states]), weights)
    for name, gradient, expected in zip("Wbc", ours, by_autograd, strict=True):
        checks.close(f"gradient in {name}", gradient, expected, atol=ATOL)
    weights = torch.randn(len(states), generator=generator(), dtype=torch.float64)
    by_autograd = torch.autograd.grad(-(weights * rbm.free_energy(states)).sum(), [rbm.W, rbm.b, rbm.c])
    for name, gradient, expected in zip("Wbc", module.phase_gradient(rbm, states, weights), by_autograd, strict=True):
        checks.close(f"gradient in {name}", gradient, expected, atol=ATOL)


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_centred_gradient(machine, offset):
    """Autograd in the parameters of E = -(v - mu).b - (h - lambda).c - (v - mu) W (h - lambda), brought back.

    With b_plain = b - W lambda and c_plain = c - W^T mu both energies differ by a constant.
    """
    rbm, exact = machine(4, 3)
    v, h = torch.tensor(exact.v), torch.tensor(exact.h)
    mu = offset * torch.arange(1.0, 5, dtype=torch.float64)
    lam = offset * torch.tensor([0.5, 2, -1], dtype=torch.float64)
    W = rbm.W.detach().clone().requires_grad_()
    b = (rbm.b + rbm.W @ lam).detach().requires_grad_()
    c = (rbm.c + mu @ rbm.W).detach().requires_grad_()
    energy = -((v - mu) @ b)[:, None] - (h - lam) @ c - (v - mu) @ W @ (h - lam).T
    constant = (energy - torch.tensor(exact.energy)).detach()
    checks.close("the same machine", constant, constant.mean().expand(constant.shape), atol=ATOL)
    weights = torch.randn(len(v), generator=generator(), dtype=torch.float64)
    weights -= weights.mean()
    in_W, in_b, in_c = torch.autograd.grad((weights * torch.logsumexp(-energy, 1)).sum(), [W, b, c])
    ours = module.centre(module.phase_gradient(rbm, v, weights), mu, lam)
    for name, gradient, expected in zip("Wbc", ours, (in_W, in_b - in_W @ lam, in_c - mu @ in_W), strict=True):
        checks.close(f"centred gradient in {name}", gradient, expected, atol=ATOL)


def test_sample_bernoulli():
    logits = torch.tensor([-math.inf, -2, 0, 1, math.inf], dtype=torch.float64)
    num_samples = 20_000
    samples = module.sample_bernoulli(logits.expand(num_samples, -1), generator=generator())
    assert samples.dtype == logits.dtype
    assert set(samples.unique().tolist()) == {0, 1}
    theirs = torch.distributions.Bernoulli(logits=logits[1:4])
    error = theirs.stddev / math.sqrt(num_samples)
    assert ((samples.mean(0)[1:4] - theirs.mean).abs() <= 5 * error).all()
    assert samples.mean(0)[[0, 4]].tolist() == [0, 1]
    assert samples.equal(module.sample_bernoulli(logits.expand(num_samples, -1), generator=generator()))


def test_gibbs_sweep_has_the_exact_transition_probabilities(machine):
    """p(v' | v) = sum_h p(h | v) p(v' | h), from one start; then two sweeps, its square.

    With weights so large that means of h in place of samples move a frequency by 40 standard errors.
    """
    rbm, exact = machine(4, 3, std=1.5, seed=2)
    h_given_v = exact.joint / exact.joint.sum(1, keepdims=True)
    v_given_h = (exact.joint / exact.joint.sum(0)).T
    transition = h_given_v @ v_given_h
    num_samples, start = 40_000, 9
    chain = module.gibbs(rbm, torch.tensor(exact.v[start]).expand(num_samples, -1), generator=generator())
    for probs in (transition[start], (transition @ transition)[start]):
        assert within_five_standard_errors(frequencies(exact.v, next(chain)), probs, num_samples)


def test_gibbs_leaves_the_distribution_invariant(machine):
    rbm, exact = machine(4, 3, std=1.5, seed=2)
    num_samples = 40_000
    rows = torch.multinomial(torch.tensor(exact.pv), num_samples, replacement=True, generator=generator())
    chain = module.gibbs(rbm, torch.tensor(exact.v)[rows], generator=generator(1))
    for v in itertools.islice(chain, 3):
        assert within_five_standard_errors(frequencies(exact.v, v), exact.pv, num_samples)


def test_gibbs_reads_the_parameters_at_every_sweep(machine):
    """And keeps no graph."""
    rbm, exact = machine(4, 3)
    chain = module.gibbs(rbm, torch.tensor(exact.v))
    assert not next(chain).requires_grad
    with torch.no_grad():
        rbm.b.fill_(math.inf)
    assert next(chain).all()


def test_scikit_learn_agrees(machine):
    rbm, exact = machine(4, 3, std=0.5)
    theirs = BernoulliRBM(n_components=3)
    theirs.components_ = rbm.W.detach().numpy().T
    theirs.intercept_hidden_, theirs.intercept_visible_ = rbm.c.detach().numpy(), rbm.b.detach().numpy()
    theirs.random_state_ = np.random.RandomState(0)
    v = torch.tensor(exact.v)
    with torch.no_grad():
        checks.close("free energy", rbm.free_energy(v), theirs._free_energy(exact.v), atol=ATOL)
        checks.close("mean hidden", torch.sigmoid(rbm.hidden_logits(v)), theirs._mean_hiddens(exact.v), atol=ATOL)
    num_samples = 20_000
    ours = frequencies(exact.v, next(module.gibbs(rbm, v[3].expand(num_samples, -1), generator=generator())))
    other = frequencies(exact.v, theirs.gibbs(np.tile(exact.v[3], (num_samples, 1))))
    probs = (ours + other) / 2
    assert (np.abs(ours - other) <= 5 * np.sqrt(2 * probs * (1 - probs) / num_samples)).all()


@pytest.mark.parametrize("centred", [True, False])
def test_training_step(machine, centred):
    """With one batch an epoch, each step is the rate times the gradient on the states that are handed out."""
    rbm, exact = machine(4, 3)
    x = torch.tensor(exact.v[[1, 7, 12, 15]])
    training = module.train(
        rbm, x, epochs=2, batch_size=4, learning_rate=0.5, final_learning_rate=0.25, persistent=False, centred=centred
    )
    h_offset = torch.full((3,), 0.5, dtype=torch.float64)
    for rate in (0.5, 0.375):  # half of the way to the final one
        before = RBM(4, 3).double()
        before.load_state_dict(rbm.state_dict())
        _, v_data, v_model = next(training)
        weights = torch.tensor([1 / 4] * 4 + [-1 / 4] * 4, dtype=torch.float64)
        gradient = module.phase_gradient(before, torch.cat([v_data, v_model]), weights)
        if centred:
            gradient = module.centre(gradient, x.mean(0), h_offset)
        for (name, old), new, uphill in zip(before.named_parameters(), rbm.parameters(), gradient, strict=True):
            checks.close(f"step in {name}", new - old, rate * uphill, atol=ATOL)
        h_offset = torch.sigmoid(rbm.hidden_logits(x)).mean(0).detach()
    assert next(training, None) is None


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("persistent", [True, False])
def test_where_training_starts_its_chains(persistent, k, machine, monkeypatch):
    """CD-k starts one at each batch and runs it k sweeps; PCD-k keeps one."""
    rbm, exact = machine(4, 3)
    starts, sweeps = [], []

    def gibbs(rbm, v):
        starts.append(v)
        while True:
            sweeps.append(len(starts))
            yield v

    monkeypatch.setattr(module, "gibbs", gibbs)
    x = torch.tensor(exact.v)
    batches = module.train(rbm, x, epochs=3, batch_size=10, learning_rate=0.1, k=k, persistent=persistent)
    for number, (epoch, v_data, v_model) in enumerate(batches, start=1):
        assert epoch == number
        assert v_data.shape == (6, 4)  # the last batch is what is left
        assert v_model.shape == ((10, 4) if persistent else (6, 4))
        assert v_model.equal(starts[0] if persistent else v_data)
    assert sweeps == [1 if persistent else 1 + i // k for i in range(6 * k)]


@pytest.mark.parametrize("persistent", [True, False])
def test_a_training_goes_on_where_it_was(persistent):
    """Three epochs at once, and two of them in a second call that knows the particles: the same to the last digit."""
    settings = {"epochs": 3, "batch_size": 10, "learning_rate": 0.3, "persistent": persistent}
    x = (torch.rand(24, 4, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    results = []
    for stop in (3, 1):
        torch.manual_seed(2)
        rbm = RBM(4, 2, std=0.1).double()
        for report in module.train(rbm, x, particles=x[:10], **settings):
            if report[0] == stop:
                break
        particles = report[2].clone()
        for _ in module.train(rbm, x, particles=particles, done=stop, **settings):
            pass
        results.append(torch.cat([parameter.flatten() for parameter in rbm.parameters()]))
    assert results[0].equal(results[1])


def test_training_learns_two_patterns():
    """log p = -log 2 at best; -2 log 2 knows which pixels are equal, but not that the pairs exclude each other."""
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 0, 1, 1], [1, 1, 0, 0]], dtype=torch.float64).repeat(50, 1)
    rbm = RBM(4, 2, std=0.1).double()
    for _ in module.train(rbm, x, epochs=100, batch_size=30, learning_rate=0.2):
        pass
    log_p = module.log_prob(rbm, x, module.exact_log_partition(rbm)).mean()
    checks.ordered("log p", {"pairs": -2 * math.log(2), "trained": log_p, "best": -math.log(2)})


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (torch.zeros(4), r"v: expected shape \(num_examples, 4\), got \(4,\)"),
        (torch.zeros(2, 3), r"v: expected shape \(num_examples, 4\), got \(2, 3\)"),
        (torch.zeros(0, 4), r"got \(0, 4\)"),
        (torch.zeros(2, 4, dtype=torch.int64), "v: expected floating point, got torch.int64"),
        (torch.full((2, 4), 0.5), r"v: expected zeros and ones, got values in \[0.5, 0.5\]"),
        (torch.full((2, 4), math.nan), "v: expected zeros and ones, got values in .nan"),
    ],
)
def test_log_prob_refuses(v, message):
    with pytest.raises(ValueError, match=message):
        module.log_prob(RBM(4, 3), v, 1.0)


@pytest.mark.parametrize("log_partition", [math.nan, math.inf])
def test_log_prob_refuses_a_log_partition(log_partition):
    with pytest.raises(ValueError, match="log_partition: expected a finite number, got"):
        module.log_prob(RBM(4, 3), torch.zeros(2, 4), log_partition)

"""The VAE of `dgm.models.vae` against linear-Gaussian models, whose likelihood is a multivariate normal."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from dgm import checks
from dgm.metrics import iwae_bound
from dgm.models.vae import VAE, GaussianHead, bernoulli_head, mlp, train

# Sums of a few hundred terms below 100 in double precision.
ATOL = 1e-10


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def linear_model(num_pixels=5, *, std=0.6):
    """A VAE with one latent unit whose encoder is the exact posterior, and p(x)."""
    w, b = torch.randn(num_pixels, 1).double(), torch.randn(num_pixels).double()
    precision = 1 + (w.T @ w).item() / std**2
    vae = VAE(nn.Linear(num_pixels, 2), nn.Linear(1, num_pixels), GaussianHead(std)).double()
    with torch.no_grad():
        vae.head.log_std.fill_(math.log(std))
        vae.decoder.weight.copy_(w)
        vae.decoder.bias.copy_(b)
        to_mean = w.T / (std**2 * precision)
        vae.encoder.weight.copy_(torch.cat([to_mean, 0 * to_mean]))
        vae.encoder.bias.copy_(
            torch.stack([-(to_mean @ b)[0], torch.tensor(-0.5 * math.log(precision), dtype=torch.float64)])
        )
    p = MultivariateNormal(b, w @ w.T + std**2 * torch.eye(num_pixels).double())
    return vae.requires_grad_(False), p


def test_weights_at_the_posterior_are_the_likelihood():
    vae, p = linear_model()
    x = torch.randn(7, 5).double()
    checks.close("log w", vae.log_weights(x, 11), p.log_prob(x).expand(11, -1), atol=ATOL)


def test_elbo_is_below_by_the_kl():
    """Means off by 0.3 and variances by a factor e: KL to the posterior in closed form."""
    vae, p = linear_model()
    variance = vae.posterior(torch.zeros(1, 5).double()).variance.item()
    vae.encoder.bias += torch.tensor([0.3, 0.5]).double()
    gap = 0.3**2 / (2 * variance) + (math.e - 2) / 2
    x = torch.randn(3, 5).double()
    draws = torch.stack([vae.elbo(x) for _ in range(4_000)])
    checks.unbiased("ELBO", draws, p.log_prob(x) - gap)


def test_beta_weighs_the_kl_alone():
    vae, _ = linear_model()
    x = torch.randn(3, 5).double()
    values = []
    for beta in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        values.append(vae.elbo(x, beta=beta))
    kl = vae.terms(x)[1]
    checks.close("beta = 1", values[0] - values[1], kl, atol=ATOL)
    checks.close("beta = 3", values[0] - values[2], 3 * kl, atol=ATOL)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_bound_is_the_log_of_the_mean_weight(num_samples):
    log_w = torch.randn(num_samples, 6).double()
    checks.close("bound", iwae_bound(log_w), log_w.exp().mean(0).log(), atol=ATOL)


def test_bound_does_not_overflow():
    log_w = torch.tensor([[2_000.0, -3_000.0], [2_000.0, -3_000.0]])
    checks.close("bound", iwae_bound(log_w), torch.tensor([2_000.0, -3_000.0]))


def test_bernoulli_head_takes_grey_values():
    logits, x = torch.randn(4, 9), torch.rand(4, 9)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    checks.close("cross-entropy", -bernoulli_head(logits).log_prob(x), expected, rtol=1e-5, atol=1e-6)


def test_learned_variance_is_the_squared_error():
    """With a decoder that is fixed at zero, the best variance is the mean square of the data."""
    x = 0.3 * torch.randn(2_000, 8)
    vae = VAE(nn.Linear(8, 2), nn.Linear(1, 8), GaussianHead(1.0, learn=True))
    vae.decoder.requires_grad_(False)
    for parameter in vae.decoder.parameters():
        parameter.zero_()
    for _ in train(vae, lambda rows: -vae.elbo(x[rows]), len(x), 40, rate=1e-2, decay=True):
        pass
    checks.close("variance", vae.head.log_std.exp() ** 2, x.square().mean(), rtol=0.02)


def test_training_visits_each_row_once_an_epoch():
    model, seen = nn.Linear(1, 1), []

    def loss(rows):
        seen.append(rows)
        return model(rows[:, None].float())[:, 0]

    means = list(train(model, loss, 10, 3, rate=0.0, batch_size=4))
    assert [len(rows) for rows in seen] == [4, 4, 2] * 3
    epochs = torch.cat(seen).reshape(3, 10)
    assert (epochs.sort(1).values == torch.arange(10)).all()
    assert not (epochs == epochs[0]).all(), "every epoch has its own order"
    expected = model(torch.arange(10.0)[:, None]).mean().item()
    checks.close("mean loss of an epoch", means, [expected] * 3, rtol=1e-5)


@pytest.mark.parametrize("decay", [True, False])
def test_a_training_goes_on_where_it_was(decay):
    """Three epochs at once, and two of them in a second call with the same Adam: the same to the last digit."""
    x, results = torch.randn(10, 3, generator=torch.Generator().manual_seed(1)), []
    for stop in (3, 1):
        torch.manual_seed(2)
        model = nn.Linear(3, 1)
        optimiser = torch.optim.Adam(model.parameters())
        settings = {"rate": 0.1, "batch_size": 4, "decay": decay, "optimiser": optimiser}

        def loss(rows, model=model):
            return (model(x[rows])[:, 0] - 1).square()

        first = train(model, loss, len(x), 3, **settings)
        for _ in range(stop):
            next(first)
        list(train(model, loss, len(x), 3, done=stop, **settings))
        results.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert results[0].equal(results[1])


def test_the_rate_falls_along_the_cosine_of_torch():
    model, rates = nn.Linear(1, 1), []
    optimiser = torch.optim.Adam(model.parameters(), lr=0.3)
    schedule, expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9), []
    for _ in range(9):
        expected.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    watched = torch.optim.Adam(model.parameters())

    def loss(rows):
        rates.append(watched.param_groups[0]["lr"])
        return model(rows[:, None].float())[:, 0]

    list(train(model, loss, 10, 3, rate=0.3, batch_size=4, decay=True, optimiser=watched))
    checks.close("rates", rates, expected, rtol=1e-6)


def test_mlp_has_no_activation_at_the_end():
    layers = mlp(3, 4, 5, activation=nn.Tanh)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.Tanh, nn.Linear]
    assert layers[2].out_features == 5

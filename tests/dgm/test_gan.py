"""The GAN of `dgm.models.gan`."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

from dgm import checks
from dgm.models import gan


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def networks():
    """Float64, without dropout."""
    return [n.double().eval() for n in (gan.make_generator(3, 6), gan.make_discriminator(5))]


def test_losses_are_cross_entropies():
    real, fake = torch.randn(2, 9).double()
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(9).double(), torch.zeros(9).double()
    expected = bce(real, ones, reduction="none") + bce(fake, zeros, reduction="none")
    checks.close("discriminator", gan.discriminator_loss(real, fake), expected, atol=1e-12)
    checks.close("generator", gan.generator_loss(fake), bce(fake, ones, reduction="none"), atol=1e-12)


def test_step_is_the_algorithm():
    """Against two separate updates, written with labels; the discriminator goes first."""
    (g, d), x, z = networks(), torch.rand(4, 784).double(), torch.rand(8, 3).double()
    ours = copy.deepcopy(g), copy.deepcopy(d)
    gan.step(*ours, *(torch.optim.SGD(n.parameters(), lr=0.5) for n in ours), x, z)
    for network, loss in (
        (d, lambda: -(F.logsigmoid(d(x)) + F.logsigmoid(-d(g(z[:4])))).mean()),
        (g, lambda: -F.logsigmoid(d(g(z[4:]))).mean()),
    ):
        gradients = torch.autograd.grad(loss(), list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient
    for name, mine, theirs in zip("GD", ours, (g, d), strict=True):
        vectors = [parameters_to_vector(n.parameters()) for n in (mine, theirs)]
        checks.close(name, *vectors, atol=1e-12)


def test_step_reports_probabilities_before_it():
    g, d = networks()
    x, z = torch.rand(4, 784).double(), torch.rand(8, 3).double()
    expected = [d(x).sigmoid().mean(), d(g(z[:4])).sigmoid().mean()]
    optimisers = [torch.optim.SGD(n.parameters(), lr=0.5) for n in (g, d)]
    checks.close("D", gan.step(g, d, *optimisers, x, z)[2:], torch.stack(expected), atol=1e-12)


def test_training_visits_each_image_once_an_epoch_and_leaves_d_trainable():
    seen = []

    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            seen.append(x[: len(x) // 2, 0].detach())
            return self.weight * x[:, 0]

    images = torch.arange(10.0)[:, None].expand(-1, 784)
    d = Recorder()
    (report,) = gan.train(gan.make_generator(3, 4), d, images, 1, codes=lambda n: torch.rand(n, 3), batch_size=5)
    real = torch.cat(seen[::2])  # every second call is that of the generator's step
    checks.close("rows", real.sort().values, torch.arange(10.0))
    assert d.weight.requires_grad
    assert all(math.isfinite(value) for value in report)


def test_every_hidden_layer_has_its_dropout():
    assert sum(isinstance(layer, nn.Dropout) for layer in gan.make_discriminator(5, num_hidden=3)) == 3


def test_codes():
    uniform, normal = (gan.sample_codes(50_000, 2, kind=kind).double() for kind in ("uniform", "normal"))
    assert uniform.abs().max() <= 1
    checks.unbiased("second moments, uniform", uniform**2, [1 / 3, 1 / 3])
    checks.unbiased("second moments, normal", normal**2, [1.0, 1.0])
    with pytest.raises(ValueError, match="expected 'uniform' or 'normal', got 'cauchy'"):
        gan.sample_codes(3, 2, kind="cauchy")

import math

import pytest
import torch
from torch import nn

from dgm import checks
from dgm.data import ring_of_gaussians
from dgm.models.energy import (
    ImageEnergy,
    PlaneEnergy,
    contrast,
    fold,
    follow,
    grid,
    kl_from,
    let_fall,
    log_partition,
    network,
    train,
)

ATOL = 5 * 7 * 6e-8  # the points are rounded to single precision: 6e-8 of at most 7, where an energy has a slope of 5


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def parabola(variance, shift=0.0):
    return lambda x: (x - shift).double().square().sum(1) / (2 * variance)


def test_plane_energy_is_a_network_and_a_parabola():
    energy = PlaneEnergy(8, unit=0.5, width=3.0).double()
    x = 10 * torch.randn(40, 2, dtype=torch.float64)
    by_hand = energy.f(x / 0.5)[:, 0] + (x[:, 0] ** 2 + x[:, 1] ** 2) / 18
    checks.close("energy", energy(x), by_hand, rtol=1e-12)
    assert energy(x).shape == (40,)
    assert energy.wrap(x) is x
    assert energy.scale == 1


def test_plane_energy_as_the_lecture_has_it():
    energy = PlaneEnergy()
    assert (energy.unit, energy.width) == (0.25, 2.0)
    assert [layer.weight.shape for layer in energy.f[::2]] == [(64, 2), (64, 64), (1, 64)]
    assert sum(parameter.numel() for parameter in energy.parameters()) == 4_417
    assert all(isinstance(layer, nn.SiLU) for layer in energy.f[1::2])


def test_network_is_linear_layers_with_units_between():
    layers = network(3, 5, 2)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.SiLU, nn.Linear]
    assert [tuple(layer.weight.shape) for layer in layers[::2]] == [(5, 3), (2, 5)]


def test_grid():
    points, area = grid(3.0)
    assert points.shape == (40_401, 2)
    checks.close("corners", [points[0].tolist(), points[-1].tolist()], [[-3, -3], [3, 3]])
    checks.close("distance of neighbours", points[1, 1] - points[0, 1], 0.03, atol=1e-6)
    checks.close("area of a point", area, 0.03**2, rtol=1e-12)


@pytest.mark.parametrize("half_width", [5.0, 7.0])
def test_log_partition_of_gaussians(half_width):
    for variance in (0.25, 0.5):
        found = log_partition(parabola(variance), half_width)
        checks.close(f"variance {variance}", found, math.log(2 * math.pi * variance), atol=ATOL)


def test_divergence_from_the_ring():
    ring = ring_of_gaussians(8, radius=2.0, std=0.3)
    points, area = grid()
    log_p = torch.from_numpy(ring.log_prob(points.numpy()))
    entropy = -(log_p.exp() * log_p).sum().item() * area
    cross = math.log(2 * math.pi) + (2.0**2 + 2 * 0.3**2) / 2  # -<log N(x; 0, I)>
    # Beyond the grid, at five standard deviations, lies 1e-6 of the Gaussian.
    checks.close("KL from the ring to N(0, I)", kl_from(ring, parabola(1.0)), cross - entropy, atol=2e-6)
    itself = kl_from(ring, lambda x: 3.0 - torch.from_numpy(ring.log_prob(x.numpy())))
    checks.close("KL to itself, whatever its constant", itself, 0.0, atol=ATOL)


@pytest.mark.parametrize(("step", "memory"), [(4, 9), (9, 4)])
def test_follow_goes_a_share_of_the_way(step, memory):
    slow, fast = nn.Linear(3, 2), nn.Linear(3, 2)
    wanted = [0.75 * a + 0.25 * b for a, b in zip(slow.parameters(), fast.parameters(), strict=True)]
    kept = [b.clone() for b in fast.parameters()]
    follow(slow, fast, step, memory)
    for found, value in zip(slow.parameters(), wanted, strict=True):
        checks.close("a quarter of the way", found, value, atol=1e-6)
    for found, value in zip(fast.parameters(), kept, strict=True):
        checks.close("the other stays", found, value)


class Linear(nn.Module):
    """E(x) = theta mean(x); with squared, of the squares."""

    def __init__(self, theta, *, squared=False, scale=1.0):
        super().__init__()
        self.theta, self.squared, self.scale = nn.Parameter(torch.tensor(theta)), squared, scale

    def forward(self, x):
        return self.theta * (x**2 if self.squared else x).mean(1)

    def wrap(self, x):
        return x


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_contrast_by_hand(scale):
    energy = Linear(2.0, scale=scale)
    e_data, e_model = torch.tensor([2.0, 4.0]), torch.tensor([6.0, -2.0, 8.0])
    loss, *means = contrast(energy, e_data[:, None] / 2, e_model[:, None] / 2, 0.1)
    wanted = (3 - 4) / scale + 0.1 * (10 + 104 / 3) / scale**2
    checks.close("contrast", loss, wanted, rtol=1e-6)
    checks.close("mean energies, in nats", means, [3.0, 4.0], rtol=1e-6)
    plain, *_ = contrast(energy, e_data[:, None], e_model[:, None])
    checks.close("no penalty unless asked for", plain, -2 / scale, rtol=1e-6)


def nowhere(num):
    return torch.zeros(num, 100_000)


ONE = {"num_steps": 4, "chain_length": 3, "batch_size": 1, "num_kept": 1}  # particle, with many coordinates
STILL = ONE | {"step_size": 1e-20, "restart": 0.0}


@pytest.mark.parametrize(("restart", "steps_made"), [(0.0, 12), (1.0, 3)])
def test_chains_go_on_where_they_stopped_or_start_anew(restart, steps_made):
    """With an energy of zero a particle only diffuses: its variance counts the Langevin steps that it has made."""
    settings = ONE | {"step_size": 0.1, "learning_rate": 0.0, "restart": restart}
    *_, (particles, _, _) = train(Linear(0.0), nowhere(1), nowhere, **settings)
    checks.unbiased("variance", particles[0].square(), 0.2 * steps_made)


def test_one_chain_in_twenty_starts_anew():
    settings = STILL | {"batch_size": 20_000, "learning_rate": 0.0, "buffer": torch.ones(1, 1)}
    del settings["restart"]  # the default
    _, _, e_model = next(train(Linear(1.0), torch.zeros(1, 1), lambda num: torch.zeros(num, 1), **settings))
    checks.unbiased("share of old particles", e_model, 0.95, (0.05 * 0.95 / 20_000) ** 0.5)


def test_particles_are_wrapped_and_kept():
    energy = Linear(0.0)
    energy.wrap = lambda x: x.clamp(0, 1)
    settings = ONE | {"step_size": 0.1, "learning_rate": 0.0, "buffer": nowhere(1)}
    *_, (particles, _, _) = train(energy, nowhere(1), nowhere, **settings)
    assert particles is settings["buffer"]
    assert particles.min() == 0
    assert 0.5 < particles.max() <= 1


def test_the_parameter_goes_down_the_contrast_at_a_falling_rate():
    """E is linear in theta, data are ones, samples are zeros: the gradient is one, and Adam moves by the rate."""
    energy = Linear(0.0)
    list(train(energy, nowhere(1) + 1, nowhere, learning_rate=0.1, **STILL))
    checks.close("theta", energy.theta, -0.1 * (1 + 0.75 + 0.5 + 0.25), rtol=1e-5)
    late = Linear(0.0)
    list(train(late, nowhere(1) + 1, nowhere, learning_rate=0.1, done=2, **STILL))
    checks.close("theta, the last two steps", late.theta, -0.1 * (0.5 + 0.25), rtol=1e-5)


def test_adam_has_no_momentum():
    """After a step down and one up of equal gradients Adam without momentum is back; with it, it is not."""
    energy, x = Linear(0.0), nowhere(1) + 1
    for _ in train(energy, x, nowhere, learning_rate=1e-3, **STILL | {"num_steps": 1_000_000}):
        x.neg_()
        if x[0, 0] > 0:  # after an even number of steps
            break
    checks.close("there and back", energy.theta, 0.0, atol=1e-6)


def test_noise_on_the_data_and_the_clipped_gradient():
    settings = STILL | {"learning_rate": 0.0, "noise": 0.5}
    energy = Linear(1.0, squared=True)
    _, e_data, _ = next(train(energy, nowhere(1), nowhere, **settings))
    checks.unbiased("mean square of noisy data", e_data, 0.25, 0.25 * (2 / 1e5) ** 0.5)
    for max_norm in (0.1, 10.0):
        energy = Linear(1.0)
        next(train(energy, nowhere(1) + 1, nowhere, max_norm=max_norm, **STILL, learning_rate=0.0))
        checks.close("gradient", energy.theta.grad, min(1.0, max_norm), rtol=1e-4)
    energy = Linear(1.0)
    next(train(energy, nowhere(1) + 1, nowhere, penalty=3.0, **STILL, learning_rate=0.0))
    checks.close("gradient with a penalty: 1 + 3 * 2 theta", energy.theta.grad, 7.0, rtol=1e-5)


def test_the_average_is_the_plain_mean_at_first():
    average, model, seen = nn.Linear(1, 1), nn.Linear(1, 1), []
    for step in range(1, 6):
        nn.init.normal_(model.weight)
        seen.append(model.weight.item())
        follow(average, model, step, 100)
    checks.close("mean", average.weight.item(), sum(seen) / 5, atol=1e-6)


def test_the_rate_falls():
    optimiser = torch.optim.Adam(nn.Linear(1, 1).parameters())
    rates = []
    for step in range(1, 5):
        let_fall(optimiser, 0.2, step, 4)
        rates.append(optimiser.param_groups[0]["lr"])
    checks.close("rates", rates, [0.2, 0.15, 0.1, 0.05], rtol=1e-12)


def test_fold_is_a_mirror_at_both_walls():
    x = torch.linspace(-7, 7, 2_801, dtype=torch.float64)
    folded = fold(x)
    assert folded.min() >= 0
    assert folded.max() <= 1
    inside = (x >= 0) & (x <= 1)
    checks.close("inside", folded[inside], x[inside], atol=1e-15)
    checks.close("mirror at 0", fold(-x), folded, atol=1e-12)
    checks.close("mirror at 1", fold(2 - x), folded, atol=1e-12)


def test_image_energy_sees_folded_images_alone():
    energy = ImageEnergy().double()
    x = torch.rand(4, 784, dtype=torch.float64)
    checks.close("mirror image", energy(-x), energy(x), atol=1e-9)
    checks.close("unit", energy(x), energy.scale * energy.f(x).squeeze(1), atol=1e-9)
    assert energy(x).shape == (4,)


def test_image_energy_as_the_lecture_has_it():
    energy = ImageEnergy()
    assert energy.scale == 500
    assert [layer.weight.shape for layer in energy.f[::2]] == [(512, 784), (256, 512), (1, 256)]
    assert energy.wrap is fold

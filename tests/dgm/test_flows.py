import math

import numpy as np
import pytest
import torch
from torch import nn

from dgm import checks
from dgm.data import ring_of_gaussians
from dgm.models.flows import MAF, Coupling, Flow, MAFLayer, Planar, RealNVP, Whitening, fit

DIM = 5
# Float64: some thousand operations on numbers below 100, each rounded to 1.1e-16 of its size.
ATOL = 5_000 * 100 * 1.1e-16


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def shaken(layer, std):
    """A layer in double precision with random parameters: a new one is too tame."""
    layer = layer.double().requires_grad_(False)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=std)
    return layer


def whitening():
    root = torch.randn(DIM, DIM).double()
    return Whitening(torch.randn(DIM).double(), root @ root.T + torch.eye(DIM).double())


MASK = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
LAYERS = {
    "whitening": whitening,
    "planar": lambda: shaken(Planar(DIM), 0.7),
    "coupling": lambda: shaken(Coupling(MASK, 20), 0.3),
    "additive coupling": lambda: shaken(Coupling(MASK, 20, bound=0.0), 0.3),
    "RealNVP": lambda: shaken(RealNVP(DIM, num_layers=4, hidden_dim=20), 0.2),
    "MAF layer": lambda: shaken(MAFLayer(DIM, 12), 0.3),
    "reversed MAF layer": lambda: shaken(MAFLayer(DIM, 12, reverse=True), 0.3),
    "MAF": lambda: shaken(MAF(DIM, num_layers=3, hidden_dim=12), 0.2),
    "chain": lambda: Flow(DIM, [whitening(), shaken(Planar(DIM), 0.7), shaken(MAFLayer(DIM, 12), 0.3)]),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]()


def jacobians(layer, x):
    return torch.stack([torch.autograd.functional.jacobian(lambda row: layer(row[None])[0][0], row) for row in x])


def test_log_determinant_inverse_and_shapes(layer):
    x = torch.randn(30, DIM).double()
    z, log_det = layer(x)
    back, log_det_back = layer.inverse(z)
    assert z.shape == x.shape
    assert log_det.shape == log_det_back.shape == (30,)
    exact = torch.linalg.slogdet(jacobians(layer, x)).logabsdet
    checks.close("log det", log_det, exact, atol=ATOL)
    checks.close("log det of the inverse", log_det_back, -exact, atol=ATOL)
    checks.close("there and back", back, x, atol=ATOL)


def test_a_row_does_not_depend_on_the_others(layer):
    x = torch.randn(6, DIM).double()
    for together, alone in zip(layer(x), layer(x[2:3]), strict=True):
        checks.close("row 2", together[2:3], alone, atol=ATOL)
    for together, alone in zip(layer.inverse(x), layer.inverse(x[2:3]), strict=True):
        checks.close("row 2, back", together[2:3], alone, atol=ATOL)


def test_whitening_is_the_multivariate_normal():
    layer, x = whitening(), torch.randn(20, DIM).double()
    exact = torch.distributions.MultivariateNormal(layer.mean, scale_tril=layer.L).log_prob(x)
    checks.close("log p", Flow(DIM, [layer]).log_prob(x), exact, atol=ATOL)


@pytest.mark.parametrize("name", ["coupling", "MAF layer"])
def test_affine_layers_are_those_of_torch(name):
    """The same map as a chain of torch.distributions' affine transforms, a component after the other."""
    layer, x = LAYERS[name](), torch.randn(20, DIM).double()
    z, log_det = layer(x)
    total = torch.zeros(20).double()
    if name == "coupling":
        s, t = layer.stretch_and_shift(x)
        transform = torch.distributions.AffineTransform(t, s.exp())
    else:
        m, s = layer.net(x).chunk(2, dim=1)
        transform = torch.distributions.AffineTransform(m, s.exp()).inv
    checks.close("z", transform(x), z, atol=ATOL)
    total = transform.log_abs_det_jacobian(x, z).sum(1)
    checks.close("log det", total, log_det, atol=ATOL)


@pytest.mark.parametrize("name", ["planar", "coupling", "MAF layer"])
def test_integral_over_the_plane(name):
    layer = {
        "planar": lambda: shaken(Planar(2), 0.7),
        "coupling": lambda: shaken(Coupling(torch.tensor([0.0, 1.0]), 20), 0.3),
        "MAF layer": lambda: shaken(MAFLayer(2, 10), 0.3),
    }[name]()
    side = torch.linspace(-14, 14, 561).double()
    log_q = Flow(2, [layer]).log_prob(torch.cartesian_prod(side, side))
    # Trapezoids: a ReLU has kinks, where the error is about step^2.
    checks.close("integral", log_q.exp().sum() * 0.05**2, 1.0, atol=0.05**2)


def test_planar_layers_never_fold():
    for seed in range(50):
        torch.manual_seed(seed)
        layer = shaken(Planar(3), 1.5)
        assert layer.w @ layer.direction() > -1
        product = layer.w @ layer.u
        checks.close("w . u", layer.w @ layer.direction(), math.log1p(math.exp(product)) - 1, atol=1e-9)


def test_masks():
    for reverse in (False, True):
        J = jacobians(shaken(MAFLayer(DIM, 12, reverse=reverse), 0.3), torch.randn(20, DIM).double())
        J = J.flip(1, 2) if reverse else J
        checks.close("later components", J.triu(1), torch.zeros_like(J))
        assert (J.abs().amax(0)[torch.ones(DIM, DIM).tril() > 0] > 1e-6).all()


def test_a_new_maf_is_the_identity():
    x = torch.randn(4, DIM)
    z, log_det = MAF(DIM)(x)
    checks.close("z", z, x)
    checks.close("log det", log_det, torch.zeros(4))


def test_couplings_take_turns_and_bound_the_stretch():
    flow = RealNVP(4, num_layers=3, bound=0.5)
    assert [layer.mask.tolist() for layer in flow.layers] == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    layer = shaken(flow.layers[0], 5.0)
    s, t = layer.stretch_and_shift(torch.randn(50, 4).double())
    assert s.abs().max() <= 0.5
    checks.close("kept", (s.abs() + t.abs())[:, layer.mask > 0], torch.zeros(50, 2))


def test_samples_have_the_density():
    flow = shaken(RealNVP(2, num_layers=2, hidden_dim=20), 0.2)
    x = flow.sample(40_000, generator=torch.Generator().manual_seed(1))
    again = flow.sample(40_000, generator=torch.Generator().manual_seed(1))
    checks.close("the generator decides", again, x)
    side = torch.linspace(-14, 14, 561).double()
    plane = torch.cartesian_prod(side, side)
    q = flow.log_prob(plane).exp() * 0.05**2
    checks.unbiased("mean and mean square", torch.cat([x, x**2], 1), q @ torch.cat([plane, plane**2], 1))


def test_a_gradient_passes_through_samples():
    flow = RealNVP(2, num_layers=2)
    flow.sample(8).sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_fit_raises_the_likelihood_and_goes_on_where_it_was():
    ring = torch.from_numpy(ring_of_gaussians().sample(2_000, rng=np.random.default_rng(0))).float()
    flow = RealNVP(2, num_layers=4)
    optimiser = torch.optim.Adam(flow.parameters())
    first = list(fit(flow, lambda: ring, 20, rate=5e-3, optimiser=optimiser))
    assert [step for step, _ in first] == list(range(1, 21))
    assert first[-1][1] > first[0][1] + 0.1
    rest = list(fit(flow, lambda: ring, 30, rate=5e-3, optimiser=optimiser, done=25))
    assert [step for step, _ in rest] == [26, 27, 28, 29, 30]
    assert optimiser.param_groups[0]["lr"] == pytest.approx(5e-3 / 30)

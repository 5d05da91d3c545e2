"""Autoregressive models against enumeration, torch.distributions, automatic differentiation and plain loops."""

import math

import pytest
import torch

from dgm import checks
from dgm.models import autoregressive as module
from dgm.models.autoregressive import FVSBN, MADE, NADE, MaskedConv2d, MaskedLinear, PixelCNN, log_prob, made_masks
from dgm.models.rbm import all_states

# Float64: some hundred additions of terms below 10, each rounded to 1.1e-16 of its size.
ATOL = 1000 * 10 * 1.1e-16


def strong(model):
    """The model in double precision with large weights: small ones hide mistakes."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.requires_grad_(False)


def of_nine(name):
    """A model of nine pixels, and its order."""
    raster = torch.arange(9)
    other = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
    return {
        "fvsbn": lambda: (strong(FVSBN(torch.full((9,), 0.3, dtype=torch.float64))), raster),
        "nade": lambda: (strong(NADE(9, 5)), raster),
        "made": lambda: (strong(MADE(raster, [16])), raster),
        "made, other order": lambda: (strong(MADE(other, [12, 20])), other),
        "made, few units": lambda: (strong(MADE(other, [3])), other),
        "pixelcnn": lambda: (strong(PixelCNN(3, 2)), raster),
    }[name]()


NAMES = ["fvsbn", "nade", "made", "made, other order", "made, few units", "pixelcnn"]


@pytest.mark.parametrize("name", NAMES)
def test_density(name):
    """It is torch's Bernoulli with the logits, sums to 1, and has the shape of the examples."""
    model, _ = of_nine(name)
    states = all_states(9)
    theirs = torch.distributions.Bernoulli(logits=model(states)).log_prob(states).sum(1)
    checks.close("log p", log_prob(model, states), theirs, atol=100 * ATOL)
    checks.normalised("p", log_prob(model, states), atol=1e-12)
    checks.close("one example", log_prob(model, states[77]), theirs[77], atol=100 * ATOL)


@pytest.mark.parametrize("name", NAMES)
def test_each_logit_depends_on_all_pixels_before_and_no_other(name):
    model, order = of_nine(name)
    jacobians = [torch.autograd.functional.jacobian(model, x) for x in all_states(9)[::19]]
    matrix = torch.stack(jacobians).abs().amax(0)[order][:, order]
    assert (matrix.triu() == 0).all()
    assert (matrix[torch.ones(9, 9).tril(-1).bool()] > 0).all()


def test_fvsbn_starts_as_independent_pixels():
    mean = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    theirs = torch.distributions.Bernoulli(probs=mean).log_prob(all_states(3)).sum(1)
    checks.close("log p", log_prob(FVSBN(mean), all_states(3)), theirs, atol=ATOL)


def test_fvsbn_is_scikit_learns_logistic_regression():
    """Given weights of one pixel, its conditional is theirs."""
    linear = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(1)
    x = torch.bernoulli(torch.full((500, 4), 0.4, dtype=torch.float64))
    theirs = linear.LogisticRegression().fit(x[:, :3].numpy(), x[:, 3].numpy())
    model = FVSBN(torch.full((4,), 0.25, dtype=torch.float64)).requires_grad_(False)
    model.W[3, :3] = torch.from_numpy(theirs.coef_[0])
    model.b[3] = theirs.intercept_[0] + model.W[3, :3].sum() * 0.25
    expected = theirs.predict_proba(x[:, :3].numpy())[:, 1]
    checks.close("p of the last pixel", torch.sigmoid(model(x)[:, 3]), expected, atol=ATOL)


def test_nade_by_hand():
    model, x = strong(NADE(9, 5)), all_states(9)[[3, 100, 400]]
    for i in range(9):
        hidden = torch.sigmoid(model.c + x[:, :i] @ model.W[:, :i].T)
        checks.close(f"logit {i}", model(x)[:, i], model.b[i] + hidden @ model.V[i], atol=ATOL)


def test_number_of_parameters():
    assert sum(p.numel() for p in NADE(784, 500).parameters()) == 785_284
    assert int(made_masks([torch.arange(1, 785)])[0].sum()) + 784 == 307_720


def test_masks_by_loops():
    degrees = [torch.tensor([3, 1, 2]), torch.tensor([1, 2, 2, 1]), torch.tensor([2, 1])]
    first, second, last = made_masks(degrees)
    for mask, to, start, strict in (
        (first, degrees[1], degrees[0], 0),
        (second, degrees[2], degrees[1], 0),
        (last, degrees[0], degrees[2], 1),
    ):
        assert mask.tolist() == [[bool(a >= b + strict) for b in start] for a in to]


def test_degrees_are_spread_evenly_and_all_inputs_are_connected():
    made = MADE(torch.randperm(50), [98, 49])
    first, second, last = (layer.mask for layer in made.layers)
    assert first.sum(1).long().bincount()[1:].tolist() == [2] * 49
    paths = (last @ second @ first)[made.order][:, made.order]
    assert (paths.triu() == 0).all()
    assert (paths[torch.ones(50, 50).tril(-1).bool()] > 0).all()


def test_masked_linear():
    layer = MaskedLinear(torch.tensor([[True, False], [True, True], [False, False]]))
    x = torch.randn(5, 2)
    expected = x @ (layer.weight * layer.mask).T + layer.bias
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (5, 3)


@pytest.mark.parametrize(
    ("centre", "kept"), [(False, [1, 1, 1, 1, 0, 0, 0, 0, 0]), (True, [1, 1, 1, 1, 1, 0, 0, 0, 0])]
)
def test_masked_convolution(centre, kept):
    layer = MaskedConv2d(2, 3, 3, centre=centre).double()
    assert layer.mask.flatten().tolist() == kept
    x = torch.randn(4, 2, 5, 6, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for row, column in ((0, 0), (2, 3), (4, 5)):
        window = padded[:, :, row : row + 3, column : column + 3] * layer.mask
        expected = torch.einsum("nchw,ochw->no", window, layer.weight) + layer.bias
        checks.close("one pixel", layer(x)[:, :, row, column], expected, atol=ATOL)


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    """Frequencies of the last three pixels in the order, five standard errors; the others are given."""
    model, order = of_nine(name)
    states = all_states(9)
    probs = log_prob(model, states).exp()
    fits = (states[:, order[:6]] == states[341, order[:6]]).all(1)
    exact = probs[fits] / probs[fits].sum()
    num_samples = 20_000
    uniform = torch.rand(num_samples, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    *steps, x = module.sample(model, states[[341]].repeat(num_samples, 1), order[6:], uniform)
    assert len(steps) == 2
    assert (x[:, order[:6]] == states[341, order[:6]]).all()
    place = 2.0 ** torch.arange(9, dtype=torch.float64)
    found = torch.bincount((x @ place).long(), minlength=512)[fits] / num_samples
    often = exact * num_samples > 25
    error = (exact * (1 - exact) / num_samples).sqrt()
    assert ((found - exact).abs() <= 5 * error)[often].all()


def test_cached_sampling_is_sampling():
    made = strong(MADE(torch.randperm(40, generator=torch.Generator().manual_seed(3)), [30]))
    uniform = torch.rand(200, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    *_, x = module.sample(made, torch.zeros_like(uniform), made.order, uniform)
    assert torch.equal(module.sample_cached(made, uniform), x)
    assert 0 < x.mean() < 1


def test_where_uniform_numbers_end():
    """A pixel with probability one half is ink for the lower half of the numbers."""
    model = FVSBN(torch.full((2,), 0.5, dtype=torch.float64))
    uniform = torch.tensor([[0.4999, 0.5001]], dtype=torch.float64)
    *_, x = module.sample(model, torch.zeros(1, 2, dtype=torch.float64), torch.arange(2), uniform)
    assert x.tolist() == [[1, 0]]
    assert math.isclose(log_prob(model, x).item(), 2 * math.log(0.5))

import torch
from torch import nn

from dgm import checks
from dgm.models.mlps import MLPs


def test_each_network_is_its_own():
    torch.manual_seed(0)
    many = MLPs(3, (2, 5, 4, 1), slope=0.2).double()
    x = torch.randn(3, 7, 2).double()
    for k in range(3):
        one = nn.Sequential(*(layer for n in ((2, 5), (5, 4), (4, 1)) for layer in (nn.Linear(*n), nn.LeakyReLU(0.2))))
        for layer, W, b in zip(one[::2], many.W, many.b, strict=True):
            layer.weight.data, layer.bias.data = W[k].T.detach(), b[k, 0].detach()
        checks.close("hidden", many.features(x)[k], one[:4](x[k]), atol=1e-12)
        checks.close("output", many(x)[k], one[:5](x[k]), atol=1e-12)


def test_gradients_do_not_mix():
    many = MLPs(2, (2, 3, 1))
    many(torch.randn(2, 4, 2))[0].sum().backward()
    assert all(parameter.grad[1].abs().max() == 0 for parameter in many.parameters())


def test_outputs_keep_the_size_of_the_inputs():
    torch.manual_seed(0)
    out = MLPs(400, (64, 64, 64, 1))(torch.randn(400, 50, 64)).double()
    checks.unbiased("mean square of the output", out.square().mean((1, 2)), 1.0)

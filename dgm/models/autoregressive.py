"""Autoregressive models of binary vectors, in PyTorch.  Taught in the lecture `autoregressive`, which holds the twins.

Each model maps x of shape (..., num_inputs) to logits of the same shape; logit i is that of p(x_i = 1 | the pixels that
come before i), so that `log_prob` is exact and normalised for every value of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import logsigmoid

__all__ = [
    "FVSBN",
    "MADE",
    "NADE",
    "MaskedConv2d",
    "MaskedLinear",
    "PixelCNN",
    "log_prob",
    "made_masks",
    "sample",
    "sample_cached",
]


def log_prob(model: nn.Module, x: Tensor) -> Tensor:
    """log p(x) = sum_i log sigma((2 x_i - 1) l_i) with the logits l of the model, in nats, one number an example.

    Written with `softplus` it would err by 2e-9 a pixel for logits above 20, where torch replaces it by its argument.

    Args:
        model: maps x to one logit a pixel, which depends on earlier pixels only.
        x: zeros and ones, shape (..., num_inputs).

    Equation eq-ar-log-prob.
    """
    return logsigmoid((2 * x - 1) * model(x)).sum(-1)


class FVSBN(nn.Module):
    """logit_i = b_i + sum_{j < i} W_ij (x_j - mean_j): one logistic regression a pixel, on all pixels before it.

    The fully visible sigmoid belief network (Neal 1992; Frey, Hinton and Dayan 1996; eq-ar-fvsbn).  Of `W`, shape
    (num_inputs, num_inputs), only the part below the diagonal counts.  Weights start at zero, biases at the logits of
    the means: as independent pixels.

    Args:
        mean: means of the pixels of the data, inside (0, 1), shape (num_inputs,).
    """

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.W = nn.Parameter(mean.new_zeros(len(mean), len(mean)))
        self.b = nn.Parameter(torch.logit(mean))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (..., num_inputs)."""
        return self.b + (x - self.mean) @ self.W.tril(-1).T


class NADE(nn.Module):
    """logit_i = b_i + V_i . sigma(c + sum_{j < i} W_:j x_j): hidden units that share their weights between pixels.

    The neural autoregressive distribution estimator (Larochelle and Murray 2011; eq-ar-nade).  The sum in the bracket
    is carried from pixel to pixel, so that all logits take O(num_inputs num_hidden) operations.
    """

    def __init__(self, num_inputs: int, num_hidden: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.W = nn.Parameter(std * torch.randn(num_hidden, num_inputs))
        self.V = nn.Parameter(std * torch.randn(num_inputs, num_hidden))
        self.b = nn.Parameter(torch.zeros(num_inputs))
        self.c = nn.Parameter(torch.zeros(num_hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (..., num_inputs), by the recursion."""
        a, logits = self.c.expand(*x.shape[:-1], -1), []
        for i in range(x.shape[-1]):
            logits.append(self.b[i] + torch.sigmoid(a) @ self.V[i])
            a = a + x[..., i, None] * self.W[:, i]
        return torch.stack(logits, -1)


def made_masks(degrees: Sequence[Tensor]) -> list[Tensor]:
    """Which weights of a network may differ from zero, so that output i depends on inputs of lower degree only.

    Args:
        degrees: one tensor of whole numbers a layer.  The first holds the positions 1 ... num_inputs of the inputs in
            the order, which are those of the outputs, too; the others belong to hidden units, and say up to which
            position a unit may see.

    Returns:
        One mask for each layer of weights, of shape (to, from), true where a weight is allowed: a hidden unit sees
        units of at most its own degree, an output units of a degree below its own (Germain et al. 2015, eqs. 8 and 9;
        eq-ar-masks).
    """
    masks = [later[:, None] >= earlier for earlier, later in pairwise(degrees)]
    return [*masks, degrees[0][:, None] > degrees[-1]]


class MaskedLinear(nn.Linear):
    """A linear layer whose weights are zero where `mask`, of shape (num_outputs, num_inputs), is false."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x (mask * weight)^T + bias."""
        return functional.linear(x, self.mask * self.weight, self.bias)


class MADE(nn.Module):
    """A network with masks, all of whose logits come from one pass (Germain et al. 2015).

    Beside the hidden layers of ReLUs there are direct connections from inputs to outputs, which alone are an `FVSBN`.
    The degrees of hidden units are spread evenly over 1 ... num_inputs - 1, so that with enough units no allowed
    dependence is lost.

    Args:
        order: the pixels in the order in which they are drawn, a permutation of 0 ... num_inputs - 1.
        hidden_sizes: units of each hidden layer, the first layer first.
    """

    def __init__(self, order: Tensor, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        num_inputs = len(order)
        position = torch.empty_like(order)
        position[order] = torch.arange(1, num_inputs + 1)
        degrees = [position]
        for size in hidden_sizes:
            degrees.append(1 + torch.arange(size) * (num_inputs - 1) // size)
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in made_masks(degrees))
        self.direct = MaskedLinear(position[:, None] > position)
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (..., num_inputs), in the places of the pixels, whatever the order."""
        h = x
        for layer in self.layers[:-1]:
            h = torch.relu(layer(h))
        return self.layers[-1](h) + self.direct(x)


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees the rows above, the pixels on the left, and the centre only if `centre` says so.

    Type A, without the centre, is for the first layer, whose input is the image; type B, with it, for all later ones
    (van den Oord et al. 2016, section 3.4).  `size` is odd, and the output has the size of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, size: int, *, centre: bool) -> None:
        super().__init__(in_channels, out_channels, size, padding=size // 2)
        mask = torch.zeros(size, size)
        mask[: size // 2] = 1
        mask[size // 2, : size // 2 + centre] = 1
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., out_channels, height, width)."""
        weight = self.mask * self.weight
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """Masked convolutions over a square image in raster order, with residual connections in the hidden layers.

    Args:
        channels: of every hidden layer.
        num_layers: hidden layers of 3 x 3, type B, after the first of 7 x 7, type A.
    """

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.first = MaskedConv2d(1, channels, 7, centre=False)
        self.hidden = nn.ModuleList(MaskedConv2d(channels, channels, 3, centre=True) for _ in range(num_layers))
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (num_examples, side * side), for images in rows of the same shape."""
        side = math.isqrt(x.shape[-1])
        h = self.first(x.reshape(-1, 1, side, side))
        for layer in self.hidden:
            h = h + layer(torch.relu(h))
        return self.last(torch.relu(h)).reshape(x.shape)


@torch.no_grad()
def sample(model: nn.Module, x: Tensor, order: Tensor, uniform: Tensor) -> Iterator[Tensor]:
    """Fill in the pixels of `order`, one after the other, each with one pass of the network; yields x after each.

    Args:
        model: maps x to logits.
        x: images, changed in place, shape (num_samples, num_inputs): zeros, or pixels that are known.
        order: the pixels to draw, in the order of the model.  Those that are known must come before them there.
        uniform: numbers in [0, 1) of the shape of x; pixel i is 1 where its number is below p(x_i = 1 | before).
    """
    for i in order.tolist():
        logits = model(x)[:, i]
        x[:, i] = (uniform[:, i] < torch.sigmoid(logits)).to(x.dtype)
        yield x


@torch.no_grad()
def sample_cached(made: MADE, uniform: Tensor) -> Tensor:
    """What `sample` draws from a `MADE` with one hidden layer, without a pass of the network for each pixel.

    The input of the hidden units is kept, and each new pixel adds its column of weights to it, as in `NADE`: the cost
    of an image is about that of one pass.

    Args:
        made: with one hidden layer.
        uniform: as of `sample`, shape (num_samples, num_inputs).
    """
    first, last = made.layers
    W, V, D = (layer.mask * layer.weight for layer in (first, last, made.direct))
    x, a = torch.zeros_like(uniform), first.bias.expand(len(uniform), -1)
    for i in made.order.tolist():
        logits = last.bias[i] + torch.relu(a) @ V[i] + made.direct.bias[i] + x @ D[i]
        x[:, i] = (uniform[:, i] < torch.sigmoid(logits)).to(x.dtype)
        a = a + x[:, i, None] * W[:, i]
    return x

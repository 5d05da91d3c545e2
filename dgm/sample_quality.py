"""How good samples are without a likelihood, in PyTorch; each docstring names the lecture that teaches it.

Images are rows of pixels, all in the same range, rounded to 8 bits first: a comparison of sets in different ranges, or
of a set that can be told by its rounding, says nothing about the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgm.models.gan import discriminator_loss, make_discriminator

__all__ = [
    "as_eight_bit",
    "frechet_distance",
    "gaussian_kernel",
    "median_distance",
    "mmd2_unbiased",
    "modes_and_quality",
    "parzen_log_prob",
    "permutation_test",
    "squared_distances",
    "two_sample_accuracy",
]


def as_eight_bit(images: Tensor) -> Tensor:
    """Grey values clipped to [0, 1] and rounded to the nearest of 256 levels, as stored images are.

    Taught in the lecture `gan_mnist`.
    """
    return (images.clamp(0, 1) * 255).round() / 255


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, shape (num_x, num_y), never negative; errs by rounding of |x|^2, not of the distance.

    Taught in the lecture `gan_mnist`.
    """
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return squares.clamp(min=0)


def median_distance(x: Tensor) -> float:
    """Median of |x_i - x_j| over the pairs of different rows: the usual width of a kernel.

    Taught in the lecture `gan_mnist`; Gretton et al. 2012, section 8.
    """
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    return squared_distances(x, x)[rows, columns].median().sqrt().item()


def gaussian_kernel(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    """k(x_i, y_j) = exp(-|x_i - y_j|^2 / (2 bandwidth^2)), shape (num_x, num_y).

    Taught in the lecture `gan_mnist`.
    """
    return torch.exp(-squared_distances(x, y) / (2 * bandwidth**2))


def mmd2_unbiased(x: Tensor, y: Tensor, bandwidth: float) -> float:
    """Unbiased estimate of MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y); often negative for p = q.

    Args:
        x: of shape (n, dim), n at least 2; float64, or rounding hides small values.
        y: of shape (m, dim), m at least 2.
        bandwidth: of the Gaussian kernel.

    Taught in the lecture `gan_mnist`, eq-gm-mmd-unbiased; Gretton et al. 2012, eq. 3.
    """
    within = 0
    for a in (x, y):
        k = gaussian_kernel(a, a, bandwidth)
        within += (k.sum() - k.trace()) / (len(a) * (len(a) - 1))
    return (within - 2 * gaussian_kernel(x, y, bandwidth).mean()).item()


def permutation_test(
    x: Tensor, y: Tensor, bandwidth: float, num_permutations: int, *, generator: torch.Generator | None = None
) -> tuple[float, float, float]:
    """MMD^2 of `mmd2_unbiased`, its p-value, and its standard error under p = q, from shuffles of the two samples.

    The p-value is (1 + number of shuffles that give at least as much) / (1 + num_permutations): under p = q it is at
    most alpha with a probability of at most alpha.

    Args: as of `mmd2_unbiased`, and
        num_permutations: at least 2.
        generator: of random numbers, on the device of `x`.

    Taught in the lecture `gan_mnist`.
    """
    pooled, n, m = torch.cat([x, y]), len(x), len(y)
    k = gaussian_kernel(pooled, pooled, bandwidth).fill_diagonal_(0)
    first = torch.zeros(num_permutations + 1, n + m, dtype=k.dtype, device=k.device)
    first[0, :n] = 1
    for row in first[1:]:
        chosen = torch.randperm(n + m, generator=generator, device=k.device)[:n]
        row[chosen] = 1
    to_first = first @ k
    xx = (to_first * first).sum(1)
    xy = to_first.sum(1) - xx
    yy = k.sum() - xx - 2 * xy
    values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    observed, null = values[0], values[1:]
    p_value = (1 + (null >= observed).sum().item()) / (1 + num_permutations)
    return observed.item(), p_value, null.std().item()


def parzen_log_prob(x: Tensor, samples: Tensor, std: float, *, chunk: int = 500) -> Tensor:
    """log (1/n) sum_j N(x; samples_j, std^2 I) in nats, shape (num_x,): the density of windows, not of the model.

    Args:
        x: where, shape (num_x, dim).
        samples: centres of the windows, shape (n, dim).
        std: width of a window, in every direction.
        chunk: rows of `x` at a time.

    Taught in the lecture `gan_mnist`, eq-gm-parzen.
    """
    constant = math.log(len(samples)) + x.shape[1] / 2 * math.log(2 * math.pi * std**2)
    exponents = (-squared_distances(part, samples) / (2 * std**2) for part in x.split(chunk))
    return torch.cat([torch.logsumexp(e, 1) for e in exponents]) - constant


def two_sample_accuracy(
    x: Tensor, y: Tensor, *, epochs: int = 10, batch_size: int = 64, seed: int = 0
) -> tuple[float, float]:
    """Share of held-out images that a fresh discriminator tells right, x from y, and its standard error.

    On average at most (1 + TV(p, q)) / 2, so that more than 1/2 proves a difference.  It trains on the first half of
    the images and is judged on the second.

    Args:
        x: images in [0, 1], shape (num_images, 784).
        y: others; of two sets of different size the rest of the larger one is left out.
        epochs: of training.
        batch_size: images of each kind in a step.
        seed: of torch's global generator, which is set.

    Taught in the lecture `gan_mnist`, eq-gm-c2st; Lopez-Paz and Oquab 2017.
    """
    torch.manual_seed(seed)
    judge = make_discriminator(100).to(x.device)
    optimiser = torch.optim.Adam(judge.parameters(), lr=1e-3, fused=True)
    half = min(len(x), len(y)) // 2
    x, y = 2 * x[: 2 * half] - 1, 2 * y[: 2 * half] - 1
    for _ in range(epochs):
        for rows in torch.randperm(half, device=x.device).split(batch_size):
            pair = judge(torch.cat([x[rows], y[rows]]))
            loss = discriminator_loss(*pair.split(len(rows))).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    judge.eval()
    with torch.no_grad():
        right = torch.cat([judge(x[half:]) > 0, judge(y[half:]) < 0])
    share = right.cpu().double().mean().item()
    return share, math.sqrt(share * (1 - share) / len(right))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a^(1/2) C_b C_a^(1/2))^(1/2)): between Gaussians with these moments.

    Squared, as in the literature.  Of two finite samples of one distribution it is positive: compare it with that.

    Args:
        a: features, shape (num_a, num_features); more rows than features, or the covariance is singular.
        b: features, shape (num_b, num_features).

    Taught in the lecture `gan_mnist`, eq-gm-frechet; Heusel et al. 2017.
    """
    a, b = a.cpu().double(), b.cpu().double()
    values, vectors = torch.linalg.eigh(a.T.cov())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    inner = torch.linalg.eigvalsh(root @ b.T.cov() @ root).clamp(min=0)
    traces = a.var(0).sum() + b.var(0).sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * inner.sqrt().sum()).item()


def modes_and_quality(samples: Tensor, means: Tensor, std: float) -> tuple[int, float]:
    """How many modes were found, and which share of the samples lies within 3 standard deviations of any mode.

    A mode is found when at least one sample lies within 3 standard deviations of its mean.  Samples of the mixture
    itself have quality 1 - exp(-9/2) = 0.989 in two dimensions, not 1.

    Args:
        samples: of shape (num_samples, dim).
        means: of the modes, shape (num_modes, dim).
        std: of every mode, in every direction.

    Taught in the lecture `jensen_shannon`; Srivastava et al. 2017, section 5.
    """
    distance, nearest = torch.cdist(samples, means).min(-1)
    near = distance <= 3 * std
    return len(nearest[near].unique()), near.cpu().double().mean().item()

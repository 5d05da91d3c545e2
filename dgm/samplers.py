"""Samplers: generators that yield states; plotting, counting and stopping are left to who uses one.  Imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dgm.models import diffusion

__all__ = ["annealed_langevin", "ddim", "ddpm", "langevin", "score_of"]


def score_of(energy: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The score -grad_x E(x) of p(x) = exp(-E(x)) / Z, by automatic differentiation; Z has no part in it.

    Args:
        energy: maps x of shape (num_examples, ...) to energies in nats, shape (num_examples,); the energy of one row
            must not depend on the other rows.

    Returns:
        A function from x to the score, of the shape of x, without a graph.  Taught in the lecture `langevin`
        (eq-lan-two-gradients).
    """

    def score(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        return -gradient

    return score


@torch.no_grad()
def langevin(
    x: Tensor, score: Callable[[Tensor], Tensor], step_size: float, *, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Unadjusted Langevin algorithm: yields x <- x + eta score(x) + sqrt(2 eta) xi, xi ~ N(0, I), without end.

    Its stationary law is p up to an error of order eta: of N(0, 1) it samples N(0, 1 / (1 - eta / 2)).

    Args:
        x: where the particles start, shape (num_particles, ...).
        score: grad log p in x, or an unbiased estimate of it, of the shape of x.
        step_size: eta > 0, in the square of the unit of x.
        generator: of the noise, on the device of x.

    Taught in the lecture `langevin` (eq-lan-ula); Roberts and Tweedie 1996.
    """
    while True:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = x + step_size * score(x) + math.sqrt(2 * step_size) * noise
        yield x


@torch.no_grad()
def ddpm(
    x: Tensor,
    denoiser: Callable[[Tensor, int], Tensor],
    alphas_cumprod: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Ancestral sampling: yields x_{t-1} ~ N(mean, variance) of q(x_{t-1} | x_t, denoiser(x_t, t)), t = T ... 1.

    The last step has variance 0 and adds no noise.

    Args:
        x: x_T ~ N(0, I), shape (num_samples, ...).
        denoiser: the prediction E[x_0 | x_t] from x_t and t, of the shape of x.
        alphas_cumprod: alpha-bar_0 ... alpha-bar_T.
        generator: of the noise, on the device of x.

    Yields:
        T states; the last is the sample.  Taught in the lecture `diffusion_mnist`; Ho, Jain and Abbeel 2020,
        algorithm 2 with the smaller of its two variances.
    """
    for t in range(len(alphas_cumprod) - 1, 0, -1):
        mean, variance = diffusion.q_posterior(denoiser(x, t), x, t, alphas_cumprod)
        xi = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = mean + variance.sqrt() * xi
        yield x


@torch.no_grad()
def ddim(
    x: Tensor,
    denoiser: Callable[[Tensor, int], Tensor],
    alphas_cumprod: Tensor,
    steps: Sequence[int],
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """DDIM: yields x_s = sqrt(alpha-bar_s) x0 + sqrt(1 - alpha-bar_s - sigma^2) noise + sigma xi, with s below t.

    Here x0 = denoiser(x_t, t), noise is the one that leads from x0 to x_t, and
    sigma^2 = eta^2 (1 - alpha-bar_s) / (1 - alpha-bar_t) (1 - alpha-bar_t / alpha-bar_s).  eta = 0 draws no random
    numbers; eta = 1 with all the steps is `ddpm`.

    Args:
        x: x_T ~ N(0, I), shape (num_samples, ...).
        denoiser: the prediction E[x_0 | x_t] from x_t and t, of the shape of x.
        alphas_cumprod: alpha-bar_0 ... alpha-bar_T.
        steps: the steps at which the denoiser is asked, falling, the last of them at least 1; a step to 0 follows it.
        eta: how much of the noise of ancestral sampling is added, from 0 to 1.
        generator: of the noise, on the device of x; unused if eta is 0.

    Yields:
        One state for each step; the last is the sample.  Taught in the lecture `diffusion_mnist`; Song, Meng and
        Ermon 2021, eq. 12 and 16.
    """
    for t, s in zip(steps, [*steps[1:], 0], strict=True):
        x0 = denoiser(x, t)
        kept_t, kept_s = alphas_cumprod[t].to(x), alphas_cumprod[s].to(x)
        variance = eta**2 * (1 - kept_s) / (1 - kept_t) * (1 - kept_t / kept_s)
        noise = diffusion.noise_of(x, x0, t, alphas_cumprod)
        x = kept_s.sqrt() * x0 + (1 - kept_s - variance).clamp(min=0).sqrt() * noise
        if eta > 0:
            xi = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            x = x + variance.sqrt() * xi
        yield x


@torch.no_grad()
def annealed_langevin(
    x: Tensor,
    score: Callable[[Tensor, float], Tensor],
    stds: Sequence[float],
    *,
    step_size: float,
    num_steps: int,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Langevin steps at noise scales sigma that fall: eta = step_size (sigma / sigma_last)^2, `num_steps` at each.

    Args:
        x: where the particles start, shape (num_particles, ...).
        score: grad log p_sigma in x, from x and sigma, of the shape of x; p_sigma is p blurred by N(0, sigma^2 I).
        stds: sigma_1 > ... > sigma_L > 0.
        step_size: eta at the last scale, in the convention x + eta score + sqrt(2 eta) xi of `langevin`; Song and
            Ermon write epsilon = 2 eta.
        num_steps: of Langevin at each scale.
        generator: of the noise, on the device of x.

    Yields:
        The state at the end of each scale.  Taught in the lecture `score_matching`; Song and Ermon 2019, algorithm 1.
    """
    for std in stds:
        chain = langevin(x, lambda x, std=std: score(x, std), step_size * (std / stds[-1]) ** 2, generator=generator)
        for _ in range(num_steps):
            x = next(chain)
        yield x

"""The mathematics of Gaussian diffusion: schedules, the forward process, its posterior, three parameterisations.

Steps are counted as in the literature, from t = 1, the least noise, to T, the most; t = 0 is the data.  The tables have
T + 1 entries, so that `alphas_cumprod[t]` is alpha-bar_t of the equations and `alphas_cumprod[0]` is 1.  (The library
diffusers counts from 0: its step t is our t + 1.)  Networks stand elsewhere; nothing here owns one.

Taught in the lecture `diffusion_derivation`, which holds the twins.  Imports torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "alphas_cumprod_of",
    "at_step",
    "cosine_betas",
    "linear_betas",
    "noise_of",
    "q_posterior",
    "q_sample",
    "v_of",
    "x0_from_noise",
    "x0_from_v",
]


def linear_betas(num_steps: int) -> Tensor:
    """beta_1 ... beta_T, evenly spaced; from 1e-4 to 0.02 at T = 1000, times 1000 / T for another T.

    Returns:
        Variances of the noise that each step adds, shape (num_steps,), float64.

    Raises:
        ValueError: 20 steps or fewer, for which beta_T would reach 1.

    Ho, Jain and Abbeel 2020, section 4.
    """
    if num_steps <= 20:
        raise ValueError(f"num_steps: expected more than 20, so that beta_T < 1, got {num_steps}")
    scale = 1000 / num_steps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=torch.float64)


def cosine_betas(num_steps: int, *, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """beta_t = 1 - f(t) / f(t - 1), at most `largest`, with f(t) = cos^2(pi/2 (t/T + offset) / (1 + offset)).

    Returns:
        Variances of the noise that each step adds, shape (num_steps,), float64.

    Nichol and Dhariwal 2021, eq. 17.
    """
    t = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    f = torch.cos(0.5 * math.pi * (t + offset) / (1 + offset)) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


def alphas_cumprod_of(betas: Tensor) -> Tensor:
    """alpha-bar_t = prod_{s <= t} (1 - beta_s) for t = 0 ... T, with alpha-bar_0 = 1.

    Args:
        betas: beta_1 ... beta_T, shape (num_steps,).

    Returns:
        Shape (num_steps + 1,).
    """
    return torch.cat([torch.ones_like(betas[:1]), torch.cumprod(1 - betas, dim=0)])


def at_step(table: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """`table[t]`, of the type and in the place of `like`, shaped to multiply it; t is one step, or one for each row."""
    values = table.to(like)[t]
    return values.reshape(-1, *[1] * (like.dim() - 1)) if values.dim() else values


def q_sample(x0: Tensor, t: Tensor | int, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t = sqrt(alpha-bar_t) x_0 + sqrt(1 - alpha-bar_t) noise: a sample of q(x_t | x_0) if noise ~ N(0, I).

    Args:
        x0: data, shape (num_examples, ...).
        t: 0 ... T, one number or shape (num_examples,).
        noise: of the shape of x0.
        alphas_cumprod: alpha-bar_0 ... alpha-bar_T.

    Ho, Jain and Abbeel 2020, eq. 4.
    """
    kept = at_step(alphas_cumprod, t, x0)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def q_posterior(x0: Tensor, xt: Tensor, t: Tensor | int, alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_{t-1} | x_t, x_0), which is Gaussian with one variance for all pixels.

    With alpha_t = alpha-bar_t / alpha-bar_{t-1} and beta_t = 1 - alpha_t,

        mean = (sqrt(alpha_t) (1 - alpha-bar_{t-1}) x_t + sqrt(alpha-bar_{t-1}) beta_t x_0) / (1 - alpha-bar_t),
        variance = beta_t (1 - alpha-bar_{t-1}) / (1 - alpha-bar_t),

    which is 0 at t = 1.  Put a prediction in the place of x_0 and this is the reverse step of the model.

    Args:
        x0: data or a prediction of them, shape (num_examples, ...).
        xt: the noised data, of the shape of x0.
        t: 1 ... T, one number or shape (num_examples,).
        alphas_cumprod: alpha-bar_0 ... alpha-bar_T.

    Ho, Jain and Abbeel 2020, eq. 6 and 7.
    """
    kept, kept_before = at_step(alphas_cumprod, t, x0), at_step(alphas_cumprod, t - 1, x0)
    alpha = kept / kept_before
    beta = 1 - alpha
    mean = (alpha.sqrt() * (1 - kept_before) * xt + kept_before.sqrt() * beta * x0) / (1 - kept)
    return mean, beta * (1 - kept_before) / (1 - kept)


def x0_from_noise(xt: Tensor, noise: Tensor, t: Tensor | int, alphas_cumprod: Tensor) -> Tensor:
    """x_0 = (x_t - sqrt(1 - alpha-bar_t) noise) / sqrt(alpha-bar_t); near t = T it divides by a small number."""
    kept = at_step(alphas_cumprod, t, xt)
    return (xt - (1 - kept).sqrt() * noise) / kept.sqrt()


def noise_of(xt: Tensor, x0: Tensor, t: Tensor | int, alphas_cumprod: Tensor) -> Tensor:
    """noise = (x_t - sqrt(alpha-bar_t) x_0) / sqrt(1 - alpha-bar_t), for t >= 1.

    The score of q(x_t | x_0) is -noise / sqrt(1 - alpha-bar_t); with x_0 = E[x_0 | x_t] it is the score of q(x_t).
    """
    kept = at_step(alphas_cumprod, t, xt)
    return (xt - kept.sqrt() * x0) / (1 - kept).sqrt()


def v_of(x0: Tensor, noise: Tensor, t: Tensor | int, alphas_cumprod: Tensor) -> Tensor:
    """v = sqrt(alpha-bar_t) noise - sqrt(1 - alpha-bar_t) x_0.  Salimans and Ho 2022, appendix D."""
    kept = at_step(alphas_cumprod, t, x0)
    return kept.sqrt() * noise - (1 - kept).sqrt() * x0


def x0_from_v(xt: Tensor, v: Tensor, t: Tensor | int, alphas_cumprod: Tensor) -> Tensor:
    """x_0 = sqrt(alpha-bar_t) x_t - sqrt(1 - alpha-bar_t) v, which divides by nothing."""
    kept = at_step(alphas_cumprod, t, xt)
    return kept.sqrt() * xt - (1 - kept).sqrt() * v

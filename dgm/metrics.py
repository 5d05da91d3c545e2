"""Estimates of likelihoods that need care, in PyTorch; each docstring names the lecture that teaches it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dgm.models.rbm import RBM, check_binary, sample_bernoulli

__all__ = [
    "LogPartition",
    "ais_log_partition",
    "ais_log_weights",
    "iwae_bound",
    "log_mean_exp",
    "log_partition_from_weights",
]


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z, in nats.

    Attributes:
        value: the estimate.
        standard_error: of the estimate, by the delta method; too small when the weights are heavy-tailed.
        effective_sample_size: how many equal weights would be as good: (sum w)^2 / sum w^2.
    """

    value: float
    standard_error: float
    effective_sample_size: float


@torch.no_grad()
def ais_log_weights(
    rbm: RBM, v: Tensor, base_bias: Tensor, betas: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Logarithms of the importance weights of annealed chains, float64 and on the CPU, shape (num_chains,).

    The path is f_beta(v) = exp((1 - beta) b0.v + beta b.v) prod_j (1 + exp(beta (c_j + (v W)_j))): independent pixels
    with biases b0 at beta = 0, the machine at beta = 1.  Each step adds log f_new(v) - log f_old(v), then moves v by
    one Gibbs sweep that leaves f_new invariant.  With betas from 0 to 1 and v from the base, E[w] = Z / Z0; with betas
    from 1 to 0 and v from the machine, E[w] = Z0 / Z (Salakhutdinov and Murray 2008;
    eq-rbm-path).
    """
    log_w = torch.zeros(len(v), dtype=torch.float64)
    shift = rbm.b - base_bias
    logits = rbm.hidden_logits(v)
    for old, new in pairwise(betas.tolist()):
        steps = softplus(new * logits) - softplus(old * logits)
        log_w += ((new - old) * (v @ shift) + steps.sum(-1)).cpu()
        h = sample_bernoulli(new * logits, generator=generator)
        v = sample_bernoulli(base_bias + new * (shift + h @ rbm.W.T), generator=generator)
        logits = rbm.hidden_logits(v)
    return log_w


def log_mean_exp(log_w: Tensor) -> float:
    """log of the mean of exp(log_w), without overflow."""
    return torch.logsumexp(log_w, 0).item() - math.log(len(log_w))


def iwae_bound(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k w_k: the importance-weighted bound, in nats, one number per example.

    Its mean over the samples is at most log p(x), does not decrease with K, and is the ELBO at K = 1.

    Args:
        log_w: log p(x, z_k) - log q(z_k | x) with z_k from q, shape (K, num_examples).

    Taught in the lecture `elbo`; Burda, Grosse and Salakhutdinov 2016, eq. 8.
    """
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


def log_partition_from_weights(rbm: RBM, base_bias: Tensor, log_w: Tensor, sign: int) -> tuple[float, float, float]:
    """log Z, its standard error and the effective sample size, from AIS weights; sign is 1 forward, -1 reverse.

    log Z = log Z0 + sign log mean w, with log Z0 = sum_i softplus(b0_i) + num_hidden log 2.
    """
    log_base = softplus(base_bias.cpu().double()).sum().item()
    log_base += len(rbm.c) * math.log(2)
    w = torch.exp(log_w - log_w.max())
    standard_error = (w.std() / w.mean() / math.sqrt(len(w))).item()
    effective_sample_size = (w.sum() ** 2 / (w**2).sum()).item()
    log_z = log_base + sign * log_mean_exp(log_w)
    return log_z, standard_error, effective_sample_size


def ais_log_partition(
    rbm: RBM,
    base_bias: Tensor,
    *,
    num_chains: int,
    num_betas: int,
    model_samples: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> LogPartition:
    """log Z of an RBM by annealed importance sampling, or by its reverse from `model_samples`.

    Forward, E[Z-hat] = Z, so that log Z-hat is too small on average and the log-likelihood too large.  Reverse, from
    exact samples of the machine, it errs the other way; from samples of a chain it is an estimate, no bound.

    Args:
        rbm: the machine.
        base_bias: logits of the pixel means of the data, shape (num_visible,): where the path starts.
        num_chains: independent chains; ignored with `model_samples`, where each sample starts one.
        num_betas: temperatures, evenly spaced, ends included.
        model_samples: zeros and ones of shape (num_chains, num_visible): run the path backwards from these.
        generator: of random numbers, on the machine's device.

    Raises:
        ValueError: wrong shapes, values that are not finite, fewer than two chains or temperatures.
    """
    if base_bias.shape != rbm.b.shape or not bool(torch.isfinite(base_bias).all()):
        raise ValueError(f"base_bias: expected {tuple(rbm.b.shape)} finite numbers, got {tuple(base_bias.shape)}")
    if model_samples is not None:
        check_binary("model_samples", model_samples, len(rbm.b))
        num_chains = len(model_samples)
    for what, number in (("num_chains", num_chains), ("num_betas", num_betas)):
        if number < 2:
            raise ValueError(f"{what}: expected at least 2, got {number}")
    betas = torch.linspace(0, 1, num_betas, dtype=torch.float64)
    if model_samples is None:
        start = sample_bernoulli(base_bias.detach().expand(num_chains, -1), generator=generator)
        log_w, sign = ais_log_weights(rbm, start, base_bias, betas, generator=generator), 1
    else:
        log_w, sign = ais_log_weights(rbm, model_samples, base_bias, betas.flip(0), generator=generator), -1
    return LogPartition(*log_partition_from_weights(rbm, base_bias, log_w, sign))

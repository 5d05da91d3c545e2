# ---
# jupyter:
#   jupytext:
#     cell_markers: r"""
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
r"""
# Stochastic differential equations, the probability-flow ODE, and the map of all models

At the end of this lecture you will be able to

1. take the limit of small steps of a diffusion model, and check with the Fokker-Planck equation that an equation of motion has the marginals you claim;
2. run the noise backwards in time, with any amount of fresh noise or with none, and say how fast the error of a sampler falls with the number of network calls;
3. compute the exact log-likelihood of a model that is given by a score, and say what a wrong score costs in nats;
4. show that a perfect score of the training images gives the training images back;
5. train a flow-matching model, and say which of its advantages come from straight paths and which do not;
6. place every family of this book on one map, with its own numbers.

- **You need** [score matching](score_matching.ipynb), [the derivation of diffusion models](diffusion_derivation.ipynb), and the Fokker-Planck equation of [the Langevin lecture](langevin.ipynb).
- **Sources:** three papers of one year, on SDEs {cite:p}`songsde2021`, on the bound {cite:p}`songml2021` and on DDIM {cite:p}`song2021ddim`; {cite:t}`lipman2023` for flow matching, {cite:t}`anderson1982` for the reversal of time, {cite:t}`chen2018` for the likelihood.
"""

# %% tags=["bootstrap", "remove-cell"]
# In Colab this installs the helper package of the book; elsewhere it does nothing.
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("dgm") is None:
    source = "dgm @ git+https://github.com/OWNER/REPO@main"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

# %% tags=["imports"]
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import dgm
from dgm import checks, plotting, samplers
from dgm.checkpoints import resumed
from dgm.models.diffusion import alphas_cumprod_of, linear_betas
from dgm.models.mixture import GaussianMixture
from dgm.scores import divergence

import matplotlib.pyplot as plt
import scipy.integrate
import torch
from torch import nn

# The first forward derivative makes PyTorch call a function that it has itself
# deprecated; there is nothing in this lecture to change about it.
warnings.filterwarnings(
    "ignore", message="`torch.jit.script` is deprecated", category=FutureWarning
)

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_samples": (20_000, 20_000, 200_000),  # whose law is compared
    "sde_steps": (120, 1_000, 4_000),
    "num_images": (1_000, 20_000, 60_000),  # to be memorised
    "training_steps": (20, 2_500, 20_000),  # of each network in the plane
    "num_points": (1_000, 4_000, 4_000),  # of each generated cloud
    "num_test": (100, 2_000, 20_000),  # points whose likelihood is computed
}

# %%
run = dgm.start("score_sde", parameters=PARAMETERS, data="mnist")
P = run.parameters
# Exact statements are checked in double precision; only networks and images are not.
torch.set_default_dtype(torch.float64)

# %% [markdown]
r"""
## The problem in one picture

A diffusion model destroys data in $T$ small steps and learns to undo each of them.
What is left of it when $T$ grows and each step shrinks: is there a limit, and does it depend on $T$?

We follow single points of a mixture of two Gaussians on a line.
Its density at every noise level is again a mixture, and `GaussianMixture` knows it exactly, with its score and its posterior means: every claim of this lecture is first made about densities that have nothing to learn.
{numref}`fig-ss-problem` has the same points in 50 steps and in 1,000: the single paths differ, the density behind them does not.
"""

# %%
mixture = GaussianMixture(
    torch.tensor([0.3, 0.7]), torch.tensor([[-1.5], [1.0]]), torch.tensor([0.3, 0.5])
)


def chain(x, betas):
    """The forward steps of a diffusion model; yields x_1, x_2, ..., x_T."""
    for beta in betas:
        x = (1 - beta).sqrt() * x + beta.sqrt() * torch.randn_like(x)
        yield x


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Six points of a mixture under the same total noise, in 50 steps (left) and in 1,000 steps (right), over the exact density at each time (darker is denser; each column is scaled to its maximum). Time 0 is the data. Each point has one colour, the same in both panels: two start in the mode of weight 0.3, four in that of weight 0.7.", "name": "fig-ss-problem"}, "image": {"alt": "Two panels with time to the right and x upwards. On the left of each panel two dark bands, the two modes, which bend to the middle and merge into one broad band. Six jagged lines start in the dark bands, two in the lower and four in the upper one; on the left panel they have few long pieces, on the right they look like rough random paths, and the density behind is the same."}}
height = torch.linspace(-3.2, 3.2, 161)


def heat_map(ax, scale_and_std, times=101):
    """Density of the diffused mixture, each time scaled to its maximum."""
    columns = []
    for t in torch.linspace(0, 1, times):
        law = mixture.diffused(*scale_and_std(t))
        density = law.log_prob(height[:, None]).exp()
        columns.append(density / density.max())
    ax.imshow(
        torch.stack(columns, 1),
        extent=(0, 1, -3.2, 3.2),
        origin="lower",
        aspect="auto",
        cmap="Blues",
        interpolation="bilinear",
        vmax=1.6,
    )
    ax.grid(False)
    ax.set(xlabel="time t", ylim=(-3.2, 3.2))


def kept_at(t):
    """Scale and standard deviation of the noise after the share t of 1,000 steps."""
    kept = alphas_cumprod_of(linear_betas(1_000))[int(1_000 * t)]
    return kept.sqrt(), (1 - kept).sqrt()


fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.3), sharey=True)
torch.manual_seed(run.seed + 1)
start = torch.tensor([-1.7, -1.3, 0.4, 0.8, 1.2, 1.6])[:, None]
for ax, T in zip(axes, (50, 1_000), strict=True):
    heat_map(ax, kept_at)
    path = torch.stack([start, *chain(start, linear_betas(T))])[:, :, 0]
    ax.set_prop_cycle(color=("black", *plotting.COLOURS[1:]))
    ax.plot(torch.linspace(0, 1, T + 1), path, linewidth=1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
_ = axes[0].set(ylabel="x")

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $t \in [0, 1]$ | `t` | time; $t = 0$ is the data, and step $k$ of $T$ is $t = k / T$ |
| $f(t)\, x$, $g(t)$ | `rate`, `g2` $= g^2$ | drift and strength of the noise of the forward equation |
| $a(t)$, $b(t)$ | `scale`, `std` | $x_t = a(t)\, x_0 + b(t)\, \epsilon$ |
| $p_t$, $s(x, t)$ | `law`, `score` | density at time $t$, its score $\nabla_x \log p_t$ |
| $\epsilon$ | `noise` | standard normal, of the shape of $x$ |
| $B(t)$ | `beta_integral` | $\int_0^t \beta$, for the drift $f = -\beta / 2$ |
| $F(x, t)$, $\tilde F$ | `drift` | any drift, per unit of $t$; per unit of $\tau = 1 - t$ |
| $\mathrm{d}w$, $\mathrm{d}\bar w$ | | independent Gaussian kicks of variance $\mathrm{d}t$: $\sqrt{\mathrm{d}t}\, \epsilon$ with a standard normal $\epsilon$, in code `noise` |
| $\lambda$ | `lam` | fresh noise on the way back, in units of $g$ (the derivation uses the letter for the log-SNR) |
| $u(x, t)$ | `velocity` | velocity of a flow, $\mathrm{d}x = u\, \mathrm{d}t$ |
| $\hat x_0(x, t)$ | `denoised` | $\mathbb{E}[x_0 \mid x_t = x]$ |
| $\hat\epsilon(x, t)$ | `noise_of_law` | $\mathbb{E}[\epsilon \mid x_t = x] = -b\, s$ |
| $y$, $r$ | `y`, `ratio` | $x / a$ and $b / a$ |
| $s_\theta$, $p_\theta$ | | score of a model, and the density that it leads to |
| $\kappa$ | `kappa` | factor of a score that is wrong on purpose |
| $m_t$, $v_t$ | `data_moments` | mean and variance of $p_t$ for Gaussian data |

The lectures on the derivation and on MNIST count steps $t = 1 \dots T$; here $t$ is a share of the way, and what they call $\bar\alpha_t$ is $a(t)^2$.

Some letters have a second meaning, each in its own section.
$q$ is the level of a quantile, later another density, and $q(x_{t-1} \mid x_t, x_0)$ the posterior of a chain.
$\eta$ is the step size of Langevin's method, and in DDIM the amount of fresh noise.
$v$ is a variance, a random direction in an estimator, and once any field; $v_0$ is $v_t$ at $t = 0$.
$F(p \,\Vert\, q)$, with two densities, is the Fisher divergence.
$\pi$ is the number, and in the bounds the density $N(0, I)$ from which a model starts.
$\tau$ is $1 - t$, and for the circle of flow matching the time in which its angle grows evenly.
"""

# %% [markdown]
r"""
## The limit of small steps

**If a step of length $\mathrm{d}t$ destroys a share $\beta(t)\, \mathrm{d}t$ of the signal's variance, the chain becomes a stochastic differential equation, the same for every large $T$.**
One step of the chain is

$$
x_k = \sqrt{1 - \beta_k}\; x_{k-1} + \sqrt{\beta_k}\; \epsilon .
$$

Put $\beta_k = \beta(t)\, \mathrm{d}t$ with $\mathrm{d}t = 1 / T$ into it, and expand the root:

$$
\begin{aligned}
x_k - x_{k-1} ={} & \bigl(\sqrt{1 - \beta\, \mathrm{d}t} - 1\bigr)\, x_{k-1} + \sqrt{\beta\, \mathrm{d}t}\; \epsilon \\
={} & -\tfrac{1}{2} \beta(t)\, x_{k-1}\, \mathrm{d}t + \sqrt{\beta(t)}\, \sqrt{\mathrm{d}t}\; \epsilon \\
& + O(\mathrm{d}t^2) .
\end{aligned}
$$ (eq-ss-small-step)

$\sqrt{\mathrm{d}t}\, \epsilon$ is a kick of variance $\mathrm{d}t$.
The half comes from the root, and it is what keeps the variance: the drift takes half the share off the scale, which is $\beta\, \mathrm{d}t$ of the variance, and the noise puts $\beta\, \mathrm{d}t$ back: a variance of 1 stays 1.
This is the *variance-preserving* equation, VP {cite:p}`songsde2021`.
The other classic, in which the data stay as they are and noise is added on top, is *variance-exploding*, VE:

$$
\begin{aligned}
\text{both:} \quad & \mathrm{d}x = f(t)\, x\, \mathrm{d}t + g(t)\, \mathrm{d}w, \\
\text{VP:} \quad & f = -\tfrac{1}{2} \beta(t), \quad g^2 = \beta(t), \\
\text{VE:} \quad & f = 0, \quad g^2 = \frac{\mathrm{d}\sigma^2(t)}{\mathrm{d}t} .
\end{aligned}
$$ (eq-ss-sde)

A linear drift and Gaussian kicks keep a Gaussian Gaussian, so that the law of $x_t$ for a known $x_0$ is its mean $a(t)\, x_0$ and its variance $b(t)^2$.
Over $\mathrm{d}t$ the mean grows by the rate $f$ and the variance by $2 f$, and the kicks add $g^2$:

$$
\dot a = f\, a, \qquad
\frac{\mathrm{d} b^2}{\mathrm{d}t} = 2 f\, b^2 + g^2 .
$$ (eq-ss-moments)

With $B(t) = \int_0^t \beta$ the solutions are $a = e^{-B/2}$, $b^2 = 1 - e^{-B}$ for VP, and $a = 1$, $b^2 = \sigma^2(t) - \sigma^2(0)$ for VE.
We take $\beta$ from 0.1 to 20, the values of DDPM times its 1,000 steps, and a geometric $\sigma$ as in [annealed Langevin sampling](score_matching.ipynb).
"""


# %%
@dataclass
class LinearSDE:
    """dx = rate(t) x dt + g(t) dw; x_t = scale(t) x_0 + std(t) noise."""

    rate: Callable
    g2: Callable
    scale: Callable
    std: Callable


# %%
FIRST, LAST = 0.1, 20.0  # beta at the two ends


def beta(t, largest=LAST):
    return FIRST + (largest - FIRST) * t


def beta_integral(t, largest=LAST):
    return FIRST * t + (largest - FIRST) * t**2 / 2


def sigma(t, smallest=0.01, largest=50.0):
    return smallest * (largest / smallest) ** t


def vp_to(largest):
    return LinearSDE(
        rate=lambda t: -beta(t, largest) / 2,
        g2=lambda t: beta(t, largest),
        scale=lambda t: torch.exp(-beta_integral(t, largest) / 2),
        std=lambda t: (-torch.expm1(-beta_integral(t, largest))).sqrt(),
    )


vp = vp_to(LAST)
ve = LinearSDE(
    rate=torch.zeros_like,
    g2=lambda t: 2 * math.log(sigma(1.0) / sigma(0.0)) * sigma(t) ** 2,
    scale=torch.ones_like,
    std=lambda t: (sigma(t) ** 2 - sigma(0.0) ** 2).sqrt(),
)

# %% [markdown]
r"""
The check of the kernels differentiates their closed forms and compares with {eq}`eq-ss-moments`: exact at any time.
The check of the limit runs the discrete chain's own tables, `linear_betas` and `alphas_cumprod_of` of [the derivation](diffusion_derivation.ipynb): the distance to the limit must halve when $T$ doubles.
The next order is smaller by a factor of about $\beta_\text{max} / T$, which is the tolerance.
The first order itself is known: $\log(1 - \beta_k) = -\beta_k - \frac{1}{2} \beta_k^2 - \dots$, summed over $k$.
"""


# %%
def time_derivative(function, t):
    return torch.func.jvp(function, (t,), (torch.ones_like(t),))[1]


some_times = torch.linspace(0.05, 0.95, 19)


def distance_to_limit(T):
    """Largest difference of alpha-bar and a^2 on a grid of times, and of one root."""
    k = (some_times * T).round().long()
    kept = alphas_cumprod_of(linear_betas(T))[k]
    # linear_betas spaces beta_1 ... beta_T evenly, so that beta_k stands for the
    # interval that ends at k/T.
    return (kept - vp.scale(k / T) ** 2).abs().max()


def first_order(t):
    """T log(alpha-bar / a^2) for large T: from the spacing, and from the logarithm."""
    squares = (beta(t) ** 3 - FIRST**3) / (3 * (LAST - FIRST))  # integral of beta^2
    return (LAST - FIRST) * t * (1 - t) / 2 - squares / 2


def one_step(dt, t=0.7):
    """(drift, variance of the noise) / dt of one step of the chain, for x = 1."""
    small = beta(t) * dt
    return torch.stack([(1 - small).sqrt() - 1, small]) / dt


# %% tags=["check"]
for name, sde in (("VP", vp), ("VE", ve)):
    checks.close(
        f"{name}: a' = f a",
        time_derivative(sde.scale, some_times),
        sde.rate(some_times) * sde.scale(some_times),
        rtol=1e-12,
    )
    variance_rate = time_derivative(lambda t, sde=sde: sde.std(t) ** 2, some_times)
    growth = 2 * sde.rate(some_times) * sde.std(some_times) ** 2
    checks.close(
        f"{name}: (b^2)' = 2 f b^2 + g^2",
        variance_rate,
        growth + sde.g2(some_times),
        rtol=1e-11,
    )
checks.close(
    "noise at the start", [vp.std(0 * some_times[0]), ve.std(0 * some_times[0])], [0, 0]
)

# %% tags=["check"]
t = torch.tensor(0.7)
limit = torch.stack([vp.rate(t), vp.g2(t)])
# The expansion errs by beta^2 dt / 8 in the drift and not at all in the noise.
dt = torch.tensor(1e-6)
checks.close(
    "one step of the chain over dt: drift -beta/2 and noise beta",
    one_step(dt),
    limit,
    atol=(beta(0.7) ** 2 * dt / 4).item(),
)
for T in (4_000, 8_000):
    checks.close(
        f"{T:,} to {2 * T:,} steps: error falls by 2",
        distance_to_limit(T) / distance_to_limit(2 * T),
        2.0,
        rtol=LAST / T,
    )
k = (some_times * 8_000).round()
kept = alphas_cumprod_of(linear_betas(8_000))[k.long()]
# What is left out is at most the sum of T beta_k^3.
checks.close(
    "8,000 steps: T log(alpha-bar / a^2), against its first order",
    8_000 * torch.log(kept / vp.scale(k / 8_000) ** 2),
    first_order(k / 8_000),
    atol=LAST**3 / 8_000,
)

# %% [markdown]
r"""
So nothing of the model depends on $T$, as soon as $T$ is large: $T$ is a choice of the sampler.
"""

# %% [markdown]
r"""
## How the density moves

**The density follows the Fokker-Planck equation, and an equation of motion has the marginals $p_t$ exactly if $p_t$ solves it.**
For a drift $F(x, t)$ and noise of strength $g(t)$ [the Langevin lecture](langevin.ipynb) derives it by following the mean of a test function, for the drift $\nabla \log p$ and a noise of variance $2\, \mathrm{d}t$, {eq}`eq-lan-fokker-planck`; with a general drift and noise the same two integrations by parts give

$$
\partial_t p_t = -\nabla \cdot (F\, p_t) + \tfrac{1}{2} g^2\, \nabla^2 p_t .
$$ (eq-ss-fokker-planck)

Now use $\nabla p_t = p_t\, \nabla \log p_t = p_t\, s$ to write the second term as a divergence too:

$$
\begin{aligned}
\partial_t p_t &= -\nabla \cdot (u\, p_t), \\
u(x, t) &= F(x, t) - \tfrac{1}{2} g^2(t)\, s(x, t) .
\end{aligned}
$$ (eq-ss-continuity)

This is the equation of a fluid that flows with velocity $u$, with no noise in it at all.
*As far as the marginals go, noise is a velocity*, $-\frac{1}{2} g^2 s$, from dense to thin.

We check {eq}`eq-ss-fokker-planck` on a mixture in the plane.
Time derivative and divergence are taken by automatic differentiation, the latter as in [score matching](score_matching.ipynb), so that the residual must vanish to rounding, and a drift without the half must not.
"""


# %%
def law_of(data, sde):
    """t -> the law of x_t for x_0 from `data`."""
    return lambda t: data.diffused(sde.scale(t), sde.std(t))


def residual(law, drift, noise2, x, t):
    """dp/dt + div(drift p - noise2 grad p / 2), over the largest p."""

    def density(t):
        return law(t).log_prob(x).exp()

    def current(x):
        p = law(t).log_prob(x).exp()[:, None]
        return (drift(x, t) - 0.5 * noise2(t) * law(t).score(x)) * p

    return (time_derivative(density, t) + divergence(current, x)) / density(t).max()


def forward_drift(sde, x, t):
    return sde.rate(t) * x


plane = GaussianMixture(
    torch.tensor([0.2, 0.3, 0.5]),
    torch.tensor([[-1.2, 0.4], [0.8, 1.5], [0.5, -1.0]]),
    torch.tensor([0.3, 0.5, 0.4]),
)
points = 1.5 * torch.randn(200, 2)

# %% tags=["check"]
for name, sde in (("VP", vp), ("VE", ve)):
    law = law_of(plane, sde)
    for t in torch.tensor([0.1, 0.4, 0.9]):
        drift = partial(forward_drift, sde)
        left = residual(law, drift, sde.g2, points, t)
        # Terms of size g^2 / std^2 cancel, up to rounding.
        checks.close(f"{name}, t = {t:.1f}: residual", left, 0 * left, atol=1e-10)
law, t = law_of(plane, vp), torch.tensor(0.2)
without_half = residual(law, lambda x, t: -beta(t) * x, vp.g2, points, t)
checks.at_least("drift without the half: residual", without_half.abs().max(), 1.0)
moved = torch.tensor([[0.7, -0.3]])
by_hand = (law(t).log_prob(moved + 1e-5) - law(t).log_prob(moved - 1e-5)) / 2e-5
checks.close(
    "the score is the slope of log p", law(t).score(moved).sum(), by_hand[0], atol=1e-8
)

# %% [markdown]
r"""
## Backwards, with any amount of noise

**Because noise is a velocity for the marginals, one family of densities belongs to many equations of motion, and every one of them can be run backwards.**
We look for a motion from $t = 1$ to $t = 0$ with fresh kicks of strength $\lambda g$.
Let $\tau = 1 - t$ be the time that runs on this way, and $\tilde F$ the drift per unit of $\tau$.
Its Fokker-Planck equation must run the densities backwards, $\partial_\tau p = -\partial_t p$; with {eq}`eq-ss-continuity` for both of them,

$$
\begin{aligned}
\tilde F - \tfrac{1}{2} \lambda^2 g^2 s &= -\bigl(f x - \tfrac{1}{2} g^2 s\bigr) \\
\Rightarrow \quad \tilde F &= -f x + \tfrac{1}{2} (1 + \lambda^2)\, g^2 s .
\end{aligned}
$$

This is one solution: a field whose current $F p_t$ has no divergence can be added, and is left out.
Such fields exist: $A s$ with an antisymmetric matrix $A$ only stirs along the lines of equal density, {eq}`eq-sm-solenoidal`.
As an equation with a negative $\mathrm{d}t$, with kicks $\mathrm{d}\bar w$ of variance $|\mathrm{d}t|$, this is

$$
\begin{aligned}
\mathrm{d}x ={} & \bigl[ f(t)\, x - \tfrac{1}{2} (1 + \lambda^2)\, g^2(t)\, s(x, t) \bigr]\, \mathrm{d}t \\
& + \lambda\, g(t)\, \mathrm{d}\bar w .
\end{aligned}
$$ (eq-ss-reverse)

- $\lambda = 1$ is the *reverse SDE*, $f x - g^2 s$ with noise $g$: {cite:t}`anderson1982` shows that its paths, and not only its marginals, are those of the forward equation read backwards.
- $\lambda = 0$ is the *probability-flow ODE*, $f x - \frac{1}{2} g^2 s$ without noise: each point at $t = 1$ belongs to one point at $t = 0$.

Here $s$ appears with the sign that leads to the data: a step back, $\mathrm{d}t < 0$, moves *along* the score.
"""


# %%
def backward_drift(sde, score, lam):
    """The bracket of the equation above; steps along it have a negative dt."""
    return lambda x, t: sde.rate(t) * x - 0.5 * (1 + lam**2) * sde.g2(t) * score(x, t)


def score_of_law(law):
    return lambda x, t: law(t).score(x)


# %% [markdown]
r"""
In the direction of $t$ the kicks of a backward motion count negatively: its density obeys {eq}`eq-ss-fokker-planck` with $-\lambda^2 g^2$ in the place of $g^2$.
With that sign the same `residual` tests the whole family.
"""


# %%
def backward_noise(sde, lam):
    return lambda t: -(lam**2) * sde.g2(t)


# %% tags=["check"]
law = law_of(plane, vp)
for lam in (0.0, 0.5, 1.0, 2.0):
    for t in torch.tensor([0.1, 0.6]):
        drift = backward_drift(vp, score_of_law(law), lam)
        left = residual(law, drift, backward_noise(vp, lam), points, t)
        checks.close(
            f"lambda = {lam}, t = {t:.1f}: residual", left, 0 * left, atol=1e-10
        )
t = torch.tensor(0.1)
wrong = {
    "the ODE with g^2 s, without its half": (1.0, 0.0),
    "the reverse SDE with g^2 s / 2": (0.0, 1.0),
}
for name, (lam_of_drift, lam_of_noise) in wrong.items():
    drift = backward_drift(vp, score_of_law(law), lam_of_drift)
    left = residual(law, drift, backward_noise(vp, lam_of_noise), points, t)
    checks.at_least(f"{name}: residual", left.abs().max(), 1.0)

# %% [markdown]
r"""
## Samplers

**A sampler is an integrator of {eq}`eq-ss-reverse`.**
With noise we take the steps of Euler and Maruyama, the drift times $\mathrm{d}t$ and a kick of variance $\lambda^2 g^2 |\mathrm{d}t|$; without noise, any method for ordinary differential equations: Heun's, which averages the velocity at both ends of the step and costs two calls, and the classical one of Runge and Kutta, with four.
All are generators over a list of times, which may rise or fall.
"""


# %%
@torch.no_grad()
def euler_maruyama(x, drift, noise_std, times, *, generator=None):
    for t, s in pairwise(times):
        noise = torch.randn(
            x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        x = x + (s - t) * drift(x, t) + noise_std(t) * (s - t).abs().sqrt() * noise
        yield x


# %%
@torch.no_grad()
def euler(x, velocity, times):
    for t, s in pairwise(times):
        x = x + (s - t) * velocity(x, t)
        yield x


# %%
@torch.no_grad()
def heun(x, velocity, times):
    for t, s in pairwise(times):
        first = velocity(x, t)
        x = x + (s - t) * (first + velocity(x + (s - t) * first, s)) / 2
        yield x


# %%
@torch.no_grad()
def runge_kutta(x, velocity, times):
    for t, s in pairwise(times):
        h, middle = s - t, (s + t) / 2
        k1 = velocity(x, t)
        k2 = velocity(x + h / 2 * k1, middle)
        k3 = velocity(x + h / 2 * k2, middle)
        k4 = velocity(x + h * k3, s)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        yield x


def last(states):
    """The last state that a sampler yields."""
    for state in states:  # noqa: B007
        pass
    return state


# %% [markdown]
r"""
Two exact tests.
On a line the paths of an ODE cannot cross, so that the $q$-quantile of $p_1$ must end at the $q$-quantile of the data: no sample is needed, and the largest error in $q$ *is* the Kolmogorov-Smirnov distance of the sampler's law.
And SciPy's integrator, which chooses its own steps, must end at the same points.
"""


# %%
def cdf(law, x):
    """P(X <= x) of a mixture on a line."""
    z = (x - law.means[:, 0]) / law.stds
    return (law.weights * torch.special.ndtr(z)).sum(1)


def quantile(law, q):
    """By bisection."""
    low, high = torch.full_like(q, -20.0), torch.full_like(q, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = cdf(law, middle[:, None]) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return middle[:, None]


line_law = law_of(mixture, vp)
line_score = score_of_law(line_law)
flow = backward_drift(vp, line_score, 0.0)  # velocity of the probability-flow ODE
BACK = torch.linspace(1, 0, 201)
q = torch.linspace(0.005, 0.995, 199)
at_one = quantile(line_law(torch.tensor(1.0)), q)


def ks_of_ode(method, velocity, times, start=at_one):
    """Kolmogorov-Smirnov distance of the end points, up to the spacing of q."""
    return (cdf(mixture, last(method(start, velocity, times))) - q).abs().max()


orders = {
    method: [ks_of_ode(method, flow, torch.linspace(1, 0, n + 1)) for n in (200, 400)]
    for method in (euler, heun, runge_kutta)
}

# %% tags=["check"]
checks.at_most(
    "Runge-Kutta, 400 steps: error of the quantiles", orders[runge_kutta][1], 1e-6
)
for method, order in ((euler, 1), (heun, 2), (runge_kutta, 4)):
    coarse, fine = orders[method]
    # The next order is smaller by a factor of the order of beta dt = 20 / 200.
    checks.close(
        f"{method.__name__}: order of the error",
        torch.log2(coarse / fine),
        float(order),
        atol=0.1 * order,
    )
by_scipy = scipy.integrate.solve_ivp(
    lambda t, x: flow(torch.tensor(x)[:, None], torch.tensor(t))[:, 0].numpy(),
    (1.0, 0.0),
    at_one[::20, 0].numpy(),
    rtol=1e-9,
    atol=1e-9,
)
checks.close(
    "end points, against SciPy",
    last(runge_kutta(at_one, flow, torch.linspace(1, 0, 401)))[::20, 0],
    by_scipy.y[:, -1],
    atol=1e-5,
)

# %% [markdown]
r"""
With noise there is no such map, and we compare samples.
The law of the Kolmogorov-Smirnov distance of $n$ independent draws is known: it exceeds $d$ with a probability of at most $2 e^{-2 n d^2}$ (the inequality of Dvoretzky, Kiefer and Wolfowitz, with Massart's constant), which sets the bound: exact draws exceed it as rarely as a normal variable is five standard deviations off.
The chains start from the exact $p_1$.
"""


# %%
def ks_distance(x):
    """Largest difference of the empirical distribution and that of the mixture."""
    exact = cdf(mixture, x.sort(0).values)
    step = torch.arange(len(x) + 1) / len(x)
    return torch.maximum((step[1:] - exact).max(), (exact - step[:-1]).max()).item()


def sample_back(lam, num_steps, start=None, sde=vp):
    """Draws of the mixture by the reverse equation."""
    law = law_of(mixture, sde)
    if start is None:
        start = law(torch.tensor(1.0)).sample(P.num_samples)
    drift = backward_drift(sde, score_of_law(law), lam)
    times = torch.linspace(1, 0, num_steps + 1)
    return last(euler_maruyama(start, drift, lambda t: lam * sde.g2(t).sqrt(), times))


ks_bound = (math.log(2 / math.erfc(5 / 2**0.5)) / (2 * P.num_samples)) ** 0.5
ks = {lam: ks_distance(sample_back(lam, P.sde_steps)) for lam in (0.0, 0.5, 1.0)}

# %% tags=["check"]
checks.at_most(
    "KS distance of exact draws", ks_distance(mixture.sample(P.num_samples)), ks_bound
)
for lam, distance in ks.items():
    checks.at_most(f"KS distance, lambda = {lam}", distance, ks_bound)
shifted = mixture.sample(P.num_samples) + 0.1
checks.at_least(
    "KS distance of draws that are moved by 0.1", ks_distance(shifted), ks_bound
)
once = last(
    euler_maruyama(
        torch.full((50_000, 1), 0.4),
        backward_drift(vp, line_score, 1.0),
        lambda t: vp.g2(t).sqrt(),
        torch.tensor([0.5, 0.4]),  # beta differs by a fifth: t must not be s
    )
)
ahead = 0.4 - 0.1 * backward_drift(vp, line_score, 1.0)(
    torch.tensor([[0.4]]), torch.tensor(0.5)
)
checks.unbiased("one step: mean", once, ahead[0])
checks.unbiased(
    "one step: variance g^2 |dt|",
    (once - ahead).square(),
    0.1 * vp.g2(torch.tensor([0.5])),
)
few_steps = torch.linspace(1, 0, 21)
silent = euler_maruyama(at_one, flow, torch.zeros_like, few_steps)
both = zip(silent, euler(at_one, flow, few_steps), strict=True)
checks.close(
    "without noise: every state is that of Euler",
    torch.stack([a - b for a, b in both]),
    torch.zeros(20, *at_one.shape),
    atol=1e-14,
)

# %%
_ = run.record(
    "ks_reverse_sde",
    ks[1.0],
    unit="1",
    protocol=f"Kolmogorov-Smirnov distance of {P.num_samples:,} samples, reverse SDE, "
    f"exact score, {P.sde_steps:,} Euler-Maruyama steps, exact start",
)

# %% [markdown]
r"""
Move the slider: the paths differ, their densities do not.
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve paths from t = 1 (right) to the data at t = 0 (left), from the same twelve starts, over the exact density. At lambda = 0 they are smooth and never cross; at lambda = 1 they have the law of the forward paths read backwards.", "name": "fig-ss-slider"}}
def lambda_frame(lam):
    fig, ax = plt.subplots(figsize=(5.2, 3.4), dpi=80)
    heat_map(ax, lambda t: (vp.scale(t), vp.std(t)), times=81)
    start = quantile(line_law(torch.tensor(1.0)), torch.linspace(0.06, 0.94, 12))
    drift = backward_drift(vp, line_score, lam)
    generator = torch.Generator().manual_seed(run.seed)
    times = torch.linspace(1, 0, 401)
    states = euler_maruyama(
        start, drift, lambda t: lam * vp.g2(t).sqrt(), times, generator=generator
    )
    path = torch.stack([start, *states])[:, :, 0]
    ax.plot(times, path, color=plotting.COLOURS[1], linewidth=0.9)
    ax.set(ylabel="x")
    return fig


LAMS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
LAMS = LAMS if run.profile != "smoke" else LAMS[::5]
plotting.slider(
    [f"lambda = {lam:g}" for lam in LAMS],
    map(lambda_frame, LAMS),
    alt="A density over time with two bands that merge to the right. For lambda = 0, "
    "twelve smooth lines fan from right to left into the two bands without crossing. "
    "With growing lambda the lines become rougher and cross, and still end in the "
    "bands.",
)

# %% [markdown]
r"""
The marginals cannot tell the members of the family apart; the joint law of two times can.
For data $N(0.5, 0.6^2)$ all is linear: forwards $\mathrm{Cov}(x_0, x_t) = a\, v_0$, backwards $v_t\, e^{-\int_0^t k}$, where $k$ is the slope of the bracket in {eq}`eq-ss-reverse`.
"""


# %%
gaussian = GaussianMixture(torch.ones(1), torch.tensor([[0.5]]), 0.6)


def covariance_backwards(lam, times):
    """Cov(x_0, x_t) along the backward equation; `times` rise from 0 to t."""
    law = law_of(gaussian, vp)
    drift = backward_drift(vp, score_of_law(law), lam)
    ends = torch.tensor([[0.0], [1.0]])
    slopes = [(drift(ends, t)[1] - drift(ends, t)[0]).item() for t in times]
    exponent = scipy.integrate.simpson(slopes, x=times)
    return law(times[-1]).stds[0] ** 2 * math.exp(-exponent)


first_half = torch.linspace(0, 0.5, 401)
forwards = vp.scale(first_half[-1]) * 0.36
covariances = {lam: covariance_backwards(lam, first_half) for lam in (0.0, 0.5, 1.0)}

# %% tags=["check"]
checks.close("lambda = 1: covariance", covariances[1.0], forwards, rtol=1e-6)
for lam in (0.0, 0.5):
    checks.at_least(
        f"lambda = {lam}: covariance over that of the forward paths",
        covariances[lam] / forwards,
        1.1,
    )

# %% [markdown]
r"""
```{margin}
**A common mistake:** the claim that diffusion models sample exactly.
The reverse equation is exact for the exact score and the exact $p_1$, in the limit of small steps: three conditions, and each has its own error.
```

### Where the chain starts

In practice nobody can draw from $p_1$; one starts from $N(0, I)$, and the schedule must be long enough for the difference not to matter.
On a line the ODE maps quantiles to quantiles, so that it carries the mistake at the start *unchanged* to the data: the Kolmogorov-Smirnov distance of $N(0, 1)$ from $p_1$ is that of the samples from the data.
Noise on the way forgives some of it.
With $\beta$ from 0.1 to 3 in place of 20, nearly half of the signal's scale is left at $t = 1$.
"""


# %%
def start_error(sde):
    """KS distance of N(0, 1) from p_1, and that of the ODE's samples from the data."""
    law = law_of(mixture, sde)
    normal = torch.special.ndtri(q)[:, None]
    velocity = backward_drift(sde, score_of_law(law), 0.0)
    before = (cdf(law(torch.tensor(1.0)), normal) - q).abs().max()
    return before, ks_of_ode(runge_kutta, velocity, BACK, start=normal)


short = vp_to(3.0)
before, after = start_error(short)
start_normal = torch.randn(P.num_samples, 1)
short_sde = ks_distance(sample_back(1.0, P.sde_steps, start_normal, short))
print(f"signal left: {short.scale(torch.tensor(1.0)):.3f} of the scale")
print(f"KS distance: start {before:.4f}, ODE {after:.4f}, reverse SDE {short_sde:.4f}")

# %% tags=["check"]
checks.close(
    "the ODE carries the error of the start unchanged", after, before, atol=1e-5
)
checks.at_least("too short a schedule, ODE: KS distance", after, ks_bound)
checks.at_most("the usual schedule: KS distance", start_error(vp)[1], 0.005)
checks.at_most("the reverse SDE forgives: its distance", short_sde + ks_bound, before)

# %% [markdown]
r"""
### Predictor and corrector

At every time we know the score of $p_t$, and [Langevin steps](langevin.ipynb) at fixed $t$ leave $p_t$ as it is, up to an error of the order of the step, and pull every other density towards it.
So a step backwards (the predictor) may be followed by a few Langevin steps (the corrector) {cite:p}`songsde2021`.
Langevin's step must follow the width of the density, as in annealed Langevin sampling: here $\eta$ is a tenth of the variance of the narrowest mode of $p_t$.

The ODE as the predictor shows the corrector's work undisturbed: by itself it would carry the wrong start of the short schedule to the end.
"""


# %%
@torch.no_grad()
def predictor_corrector(x, sde, law, times, num_corrections, rate=0.1):
    """Heun steps of the probability-flow ODE, with Langevin steps after each."""
    score = score_of_law(law)
    velocity = backward_drift(sde, score, 0.0)
    for t, s in pairwise(times):
        x = last(heun(x, velocity, torch.stack([t, s])))
        step_size = rate * law(s).stds.min().item() ** 2
        correct = samplers.langevin(x, lambda x, s=s: score(x, s), step_size)
        for _ in range(num_corrections):
            x = next(correct)
        yield x


sixty = torch.linspace(1, 0, 61)
corrected = {
    n: ks_distance(
        last(predictor_corrector(start_normal, short, law_of(mixture, short), sixty, n))
    )
    for n in (0, 1, 4)
}
for n, distance in corrected.items():
    print(f"corrections after each of 60 steps: {n}, KS distance {distance:.4f}")

# %% tags=["check"]
# Estimates, each within the bound of its own expectation.
checks.close("no corrections: KS distance", corrected[0], before.item(), atol=ks_bound)
for n in (1, 4):
    checks.at_most(
        f"corrections after each step: {n}, KS distance",
        corrected[n],
        before.item() - ks_bound,
    )
thin = GaussianMixture(torch.ones(1), torch.tensor([[0.5]]), 0.1)
settled = last(
    predictor_corrector(
        torch.randn(20_000, 1), vp, law_of(thin, vp), torch.tensor([0.5, 0.0]), 150
    )
)
# Langevin's variance is v / (1 - step / 2v), and the step is a tenth of v.
checks.unbiased(
    "150 corrections: variance", (settled[:, 0] - 0.5).square(), 0.01 / (1 - 0.05)
)

# %% [markdown]
r"""
## DDIM is the ODE

**The deterministic sampler of DDIM is Euler's method for the probability-flow ODE, in variables in which the linear part of the flow is gone.**
Divide the signal's scale out, $y = x / a$, and measure time by the ratio of noise to signal, $r = b / a$.
Inserting {eq}`eq-ss-moments` gives $\dot r = g^2 / (2 a b)$, and with the noise that is predicted, $\hat\epsilon = -b\, s$,

$$
\begin{aligned}
\dot y &= \frac{\dot x}{a} - \frac{\dot a}{a}\, y = -\frac{g^2 s}{2 a} \\
&= \frac{g^2}{2 a b}\, \hat\epsilon = \dot r\, \hat\epsilon, \\
\frac{\mathrm{d} y}{\mathrm{d} r} &= \hat\epsilon(x, t) .
\end{aligned}
$$ (eq-ss-ddim)

An Euler step in $r$ is $x' / a' = x / a + (r' - r)\, \hat\epsilon$; multiplied by $a'$ it is $a'\, \hat x_0 + b'\, \hat\epsilon$ with $\hat x_0 = (x - b\, \hat\epsilon) / a$: the DDIM step.
{cite:t}`song2021ddim` found it from chains that are not Markov, and write it in their section 4.3 as a step of Euler in this very variable.
$f$ and $g$ are gone from {eq}`eq-ss-ddim`: the schedule only says where the steps are.
With fresh noise DDIM has an $\eta$ in the place of our $\lambda$: its kicks have the variance $\eta^2 \frac{b'^2}{b^2} (1 - \frac{a^2}{a'^2})$, which is $\eta^2 g^2 |\mathrm{d}t|$ for a small step, so that $\eta$ and $\lambda$ become the same number.
"""


# %%
@torch.no_grad()
def ddim_as_euler(x, predicted_noise, sde, times):
    """Euler steps in r = b / a of y = x / a; the last may end at r = 0."""
    for t, s in pairwise(times):
        a, b = sde.scale(t), sde.std(t)
        noise = predicted_noise(x, t)
        y = x / a + (sde.std(s) / sde.scale(s) - b / a) * noise
        x = sde.scale(s) * y
        yield x


def noise_of_law(law, sde=vp):
    """E[noise | x_t = x] = -b s(x, t)."""
    return lambda x, t: -sde.std(t) * law(t).score(x)


def by_library(num_steps):
    """The sampler of the lecture on MNIST, with the exact denoiser and our schedule."""
    times = torch.linspace(0, 1, num_steps + 1)
    kept = vp.scale(times) ** 2

    def denoiser(x, k):
        return mixture.denoised(x, kept[k].sqrt(), (1 - kept[k]).sqrt())

    return last(samplers.ddim(at_one, denoiser, kept, range(num_steps, 0, -1)))


def by_euler(num_steps):
    return last(
        ddim_as_euler(
            at_one, noise_of_law(line_law), vp, torch.linspace(1, 0, num_steps + 1)
        )
    )


ddim_errors = {
    n: (cdf(mixture, by_euler(n)) - q).abs().max()
    for n in (5, 10, 20, 50, 100, 400, 800)
}

# %% tags=["check"]
for n in (5, 50):
    checks.close(
        f"{n} steps: DDIM and Euler in r", by_library(n), by_euler(n), atol=1e-11
    )
short_step = torch.tensor([0.0, 0.5 - 1e-4, 0.5])
noisy = samplers.ddim(
    torch.full((20_000, 1), 0.4),
    lambda x, k: mixture.denoised(x, vp.scale(short_step[k]), vp.std(short_step[k])),
    vp.scale(short_step) ** 2,
    (2, 1),
    eta=0.5,
)
# The next order is beta dt = 0.001 of it; the standard error is ten times that.
checks.close(
    "DDIM with eta = 0.5, short step: variance is that of lambda = 0.5",
    next(noisy).var() / (0.25 * vp.g2(short_step[2]) * 1e-4),
    1.0,
    atol=5 * (2 / 20_000) ** 0.5 + 0.001,
)
checks.ordered(
    "100 calls: error of Euler in t and of DDIM",
    {
        "Euler": ks_of_ode(euler, flow, torch.linspace(1, 0, 101)),
        "DDIM": ddim_errors[100],
    },
)
checks.close(
    "DDIM: error over that with twice the steps",
    ddim_errors[400] / ddim_errors[800],
    2.0,
    rtol=0.05,
)

# %% [markdown]
r"""
Which variables are the right ones depends on the data.
For data $N(0, 1)$ the velocity of the VP flow is zero, $f x - \frac{1}{2} g^2 s = 0$: Euler in $t$ is exact with one step, and DDIM is not.
For data at a single point $\hat\epsilon$ is constant along each path: DDIM is exact with one step, and Euler in $t$ is not.
Images should be nearer to the second case, since a digit fixes most of its pixels; that is an expectation, and we do not check it.
"""


# %%
def gaussian_ends(mean, std, num_steps):
    """Errors of the end points for N(mean, std^2): Euler in t, and DDIM."""
    data = GaussianMixture(torch.ones(1), torch.tensor([[mean]]), std)
    law = law_of(data, vp)
    times = torch.linspace(1, 0, num_steps + 1)
    exact = quantile(data, q)
    start = quantile(law(torch.tensor(1.0)), q)
    velocity = backward_drift(vp, score_of_law(law), 0.0)
    by_euler = last(euler(start, velocity, times)) - exact
    by_ddim = last(ddim_as_euler(start, noise_of_law(law), vp, times)) - exact
    return by_euler.abs().max().item(), by_ddim.abs().max().item()


wide, narrow = gaussian_ends(0.0, 1.0, 5), gaussian_ends(1.0, 0.01, 5)
print(f"N(0, 1), 5 steps: Euler in t {wide[0]:.1e}, DDIM {wide[1]:.2f}")
print(f"N(1, 0.01^2), 5 steps: Euler in t {narrow[0]:.2f}, DDIM {narrow[1]:.4f}")

# %% tags=["check"]
checks.at_most("N(0, 1): error of Euler in t", wide[0], 1e-12)
checks.at_least("N(0, 1): error of DDIM", wide[1], 0.1)
# The cloud is 0.01 wide: what DDIM can lose of its points within three widths is that.
checks.at_most("N(1, 0.01^2): error of DDIM", narrow[1], 0.03)
checks.at_least("N(1, 0.01^2): error of Euler in t", narrow[0], 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Kolmogorov-Smirnov distance between what a sampler draws and the data, with the exact score, against the number of evaluations of the score. The deterministic methods are computed without samples. The reverse SDE is measured with samples and ends in their noise (dashed: the level that exact draws exceed half of the time).", "name": "fig-ss-orders"}, "image": {"alt": "Error against number of calls on logarithmic axes. Euler and DDIM fall as one over the number of calls, Euler lower. Heun falls twice as steeply, Runge-Kutta four times. The reverse SDE falls at first and levels off near the dashed line."}}
fig, ax = plt.subplots(figsize=(7, 3.8))
for method, calls in ((euler, 1), (heun, 2), (runge_kutta, 4)):
    ns = [n // calls for n in (12, 20, 40, 80, 160, 320, 640)]
    errors = [ks_of_ode(method, flow, torch.linspace(1, 0, n + 1)) for n in ns]
    name = {"euler": "Euler", "heun": "Heun", "runge_kutta": "Runge-Kutta"}
    ax.loglog([calls * n for n in ns], errors, "o-", ms=4, label=name[method.__name__])
ax.loglog(ddim_errors.keys(), ddim_errors.values(), "s-", ms=4, label="DDIM")
ns = (12, 20, 40, 80, 160)
stochastic = [ks_distance(sample_back(1.0, n)) for n in ns]
ax.loglog(ns, stochastic, "^-", ms=4, label="reverse SDE")
plotting.reference_line(ax, 0.83 / P.num_samples**0.5, "exact draws", side="left")
ax.set(xlabel="evaluations of the score", ylabel="KS distance")
_ = ax.legend(loc="lower left")

# %% [markdown]
r"""
The order of a method pays at many calls.
This mixture has a variance of the order of 1, so that Euler in $t$ does well; solvers made for images combine a higher order with the variables of {eq}`eq-ss-ddim`.
{numref}`fig-ss-film` is a film of the plane on the way.
"""

# %%
ring = dgm.data.ring_of_gaussians(8, radius=2.0, std=0.3)
ring = GaussianMixture(
    torch.full((8,), 1 / 8), torch.as_tensor(ring.means).double(), ring.std
)
ring_law = law_of(ring, vp)
ring_score = score_of_law(ring_law)

# %%
THERE = torch.linspace(0, 1, 201) ** 1.5
generator = torch.Generator().manual_seed(run.seed)


def noising(x):
    return euler_maruyama(
        x,
        lambda x, t: vp.rate(t) * x,
        lambda t: vp.g2(t).sqrt(),
        THERE,
        generator=generator,
    )


def denoising(x, lam):
    drift = backward_drift(vp, ring_score, lam)
    return euler_maruyama(
        x, drift, lambda t: lam * vp.g2(t).sqrt(), THERE.flip(0), generator=generator
    )


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "400 points of eight Gaussians are noised (the same in both panels) and led back with the exact score. The colour is the angle at which a point stands at t = 1. On the way back the ODE keeps neighbours together and the colours in order; the reverse SDE mixes them.", "name": "fig-ss-film"}}
def film_frame(sde_points, ode_points, colours):
    fig, axes = plt.subplots(1, 2, figsize=(5.6, 2.9), dpi=80)
    for ax, cloud in zip(axes, (sde_points, ode_points), strict=True):
        ax.scatter(*cloud.T, c=colours, cmap="hsv", s=5)
        ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), aspect="equal", xticks=[], yticks=[])
    axes[0].set(xlabel="reverse SDE")
    axes[1].set(xlabel="probability-flow ODE")
    return fig


start = ring.sample(400, generator=generator)
forward = [start, *noising(start)]
colours = torch.atan2(forward[-1][:, 1], forward[-1][:, 0])
backward = [denoising(forward[-1], lam) for lam in (1.0, 0.0)]
backward = list(zip(*backward, strict=True))
shown = (0, 8, 16, 26, 38, 52, 70, 92, 120, 160, 200)
shown = shown if run.profile != "smoke" else shown[::5]
pairs = [(forward[k], forward[k]) for k in shown]
pairs += [backward[200 - k - 1] for k in shown[-2::-1]]
there = [f"t = {THERE[k]:.2f}" for k in shown]
plotting.film(
    (film_frame(*pair, colours) for pair in pairs),
    labels=[f"{label}, forwards" for label in there]
    + [f"{label}, backwards" for label in there[-2::-1]],
    alt="Two panels. A ring of eight clouds of mixed colours dissolves into one round "
    "cloud, coloured around the circle. Then eight clouds form again: on the left with "
    "all colours mixed in each cloud, on the right with the colours in order around "
    "the ring.",
)

# %% [markdown]
r"""
## The exact likelihood

```{margin}
**In the sources.** Oslo, 30 April and 7 May, *Diffusion models*, the fourth feature.
```

**Along a flow the log-density of a moving point changes by minus the divergence of the velocity, so that an ODE gives not a bound but the log-likelihood itself.**
Follow a point that moves with $\dot x = u(x, t)$.
Its density changes because time passes and because it moves; with {eq}`eq-ss-continuity`,

$$
\begin{aligned}
\frac{\mathrm{d}}{\mathrm{d}t} \log p_t(x_t) &= \frac{\partial_t p_t + u \cdot \nabla p_t}{p_t} \\
&= \frac{-\nabla \cdot (u\, p_t) + u \cdot \nabla p_t}{p_t} = -\nabla \cdot u .
\end{aligned}
$$ (eq-ss-instantaneous)

This is the *instantaneous change of variables* of {cite:t}`chen2018`: a normalising flow of infinitely many layers.
From the data to the noise,

$$
\log p_0(x_0) = \log p_1(x_1) + \int_0^1 \nabla \cdot u(x_t, t)\, \mathrm{d}t .
$$ (eq-ss-likelihood)

```{margin}
**A common mistake:** the claim that the likelihood of a diffusion model is cheaply evaluated.
Of the chain one gets the density of a whole path, and a [bound](diffusion_derivation.ipynb) on that of the data; the exact number is that of the ODE, and it costs an integration with a divergence at every step.
```

The point and its integral are integrated as one state.
"""


# %%
def log_prob_by_ode(x, velocity, times, log_prob_at_end, divergence_of=divergence):
    """log p_1 at the end plus the integral of div u; `times` rise from the data."""

    def augmented(state, t):
        x = state[:, :-1]
        rate = divergence_of(lambda x: velocity(x, t), x)
        return torch.cat([velocity(x, t), rate[:, None]], 1)

    state = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
    state = last(runge_kutta(state, augmented, times))
    return log_prob_at_end(state[:, :-1]) + state[:, -1]


# %% [markdown]
r"""
First the exact score, where every point has an answer to compare with: the Gaussian $N(0.5, 0.6^2)$, whose log-density at $x = 1.4$ is $-1.53311$, and the mixture in the plane.
At the end stands the exact $p_1$.
What a model does in practice, $N(0, I)$ in its place, adds a difference that can be read off at the end point; it is a property of the schedule, not of the integration.
"""

# %%
UP = torch.linspace(0, 1, 201)


def standard_normal_log_prob(x):
    return -0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def flow_of(data, sde=vp):
    return backward_drift(sde, score_of_law(law_of(data, sde)), 0.0)


def ode_error(data, x):
    """log p by the ODE minus log p, with the exact p_1 and with N(0, I) at the end."""
    at_end = law_of(data, vp)(torch.tensor(1.0)).log_prob
    return [
        log_prob_by_ode(x, flow_of(data), UP, end) - data.log_prob(x)
        for end in (at_end, standard_normal_log_prob)
    ]


x_line = torch.cat([torch.tensor([[1.4]]), gaussian.sample(30)])
x_plane = plane.sample(60)
exact_end, normal_end = {}, {}
for name, data, x in (("gaussian", gaussian, x_line), ("mixture", plane, x_plane)):
    exact_end[name], normal_end[name] = ode_error(data, x)

# %% tags=["check"]
checks.close("N(0.5, 0.36) at 1.4", gaussian.log_prob(x_line)[0], -1.53311, atol=5e-6)
checks.close(
    "the same, by the ODE",
    exact_end["gaussian"][0] + gaussian.log_prob(x_line)[0],
    -1.53311,
    atol=1e-5,
)
for name in exact_end:
    checks.at_most(f"{name}: error of log p by the ODE", exact_end[name].abs(), 1e-5)
    checks.at_least(
        f"{name}: with N(0, I) at the end", normal_end[name].abs().max(), 1e-4
    )
    checks.at_most(f"{name}: with N(0, I) at the end", normal_end[name].abs(), 0.05)

# %%
errors = {name: error.abs().max() for name, error in exact_end.items()}
protocol = (
    "largest of |log p by the ODE - log p|, VP, exact score, float64, exact p_1, "
    "200 Runge-Kutta steps"
)
for name, error in errors.items():
    _ = run.record(
        f"ode_log_likelihood_error_{name}",
        error,
        unit="nats",
        protocol=f"{protocol}; {len(exact_end[name])} points of the {name}",
    )
_ = run.record(
    "ode_log_likelihood_error",
    max(errors.values()),
    unit="nats",
    protocol=f"{protocol}; Gaussian on a line and mixture in the plane",
)

# %% [markdown]
r"""
A wrong score gives another density, but a density: the ODE moves points one to one, and no mass is lost.
We spoil the score on purpose and add the probabilities up.
"""


# %%
def spoiled_score(x, t):
    return 1.1 * line_score(x, t) + 0.1 * torch.sin(x)


fine = torch.linspace(-9, 9, 1_501)[:, None]
spoiled = log_prob_by_ode(
    fine,
    backward_drift(vp, spoiled_score, 0.0),
    torch.linspace(0, 1, 121),
    standard_normal_log_prob,
)

# %% tags=["check"]
spacing = (fine[1] - fine[0]).log().item()
# The sum over a grid is exact for a smooth density, up to the error of the integrator.
checks.normalised(
    "a spoiled score: its density on the line", spoiled + spacing, atol=1e-5
)
checks.at_least(
    "and it is another density: largest difference",
    (spoiled.exp() - mixture.log_prob(fine).exp()).abs().max(),
    0.05,
)

# %% [markdown]
r"""
### A divergence for many dimensions

The divergence costs one backward pass for each dimension.
Hutchinson's estimator {cite:p}`hutchinson1990` needs one in all: it is $v^\top J v$ with the Jacobian $J$ of the field and a random $v$ with $\mathbb{E}[v v^\top] = I$, whose mean is the trace of $J$, as in sliced score matching, {eq}`eq-sm-trace`.
Its variance is twice the sum of the squared elements of the symmetric part of $J$, for random signs without the diagonal, {eq}`eq-sm-trace-variance`.
The Jacobian of our velocity is symmetric, since that of a score is: all of it counts, but for the diagonal.
With one $v$ for a whole path the log-likelihood stays unbiased, because $v$ has no say in where the path goes; its exponential does not, and is too large on average, by Jensen's inequality.
"""


# %%
def hutchinson(v):
    """An estimate of the divergence for each row of x, with its row of v."""

    def estimate(field, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (pull,) = torch.autograd.grad((field(x) * v).sum(), x)
        return (pull * v).sum(1)

    return estimate


def signs(*shape):
    return torch.randint(0, 2, shape).double() * 2 - 1


NUM_PROBES = 20_000
where, t = torch.tensor([[0.3, 0.5]]), torch.tensor(0.1)
many = where.expand(NUM_PROBES, 2)
plane_flow = flow_of(plane)
J = torch.func.jacrev(lambda x: plane_flow(x[None], t)[0])(where[0])
estimates = hutchinson(signs(NUM_PROBES, 2))(lambda x: plane_flow(x, t), many)
# In the plane v and -v give the same: these two are all the signs there are.
every_sign = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
by_probes = log_prob_by_ode(
    where.expand(2, 2),
    plane_flow,
    torch.linspace(0, 1, 101),
    law_of(plane, vp)(torch.tensor(1.0)).log_prob,
    hutchinson(every_sign),
)

# %% tags=["check"]
checks.close(
    "divergence, against the trace of J",
    divergence(lambda x: plane_flow(x, t), where)[0],
    J.trace(),
    atol=1e-10,
)
checks.close("J is symmetric", J, J.T, atol=1e-10)
checks.unbiased("random signs: mean", estimates, J.trace())
error = by_probes - plane.log_prob(where)
checks.close("log-likelihood, mean over all signs", error.mean(), 0.0, atol=1e-5)
checks.at_least("each of the two alone: error", error.abs().min(), 1e-3)
checks.at_least("its exponential: mean error", (error.exp() - 1).mean(), 1e-5)

# %% [markdown]
r"""
## What a wrong score costs

**The likelihood of the reverse SDE is bounded by a score-matching loss with the weight $g^2$.**
A model has a score $s_\theta$ that is not that of the data.
Compare the two reverse equations, the true one and the model's, over one step of length $\mathrm{d}t$: they are Gaussians of the same variance $g^2 \mathrm{d}t$ whose means differ by $g^2 (s - s_\theta)\, \mathrm{d}t$, so that their relative entropy is

$$
\frac{\bigl| g^2 (s - s_\theta)\, \mathrm{d}t \bigr|^2}{2 g^2\, \mathrm{d}t} = \tfrac{1}{2} g^2\, |s - s_\theta|^2\, \mathrm{d}t .
$$

The chain rule adds the steps up to the relative entropy of whole paths; the end point is one part of the path, and its relative entropy cannot be larger {cite:p}`songml2021`:

$$
\begin{aligned}
\mathrm{KL}(p \,\Vert\, p_\theta) \le{} & \tfrac{1}{2} \int_0^1 g^2(t)\, \mathbb{E}_{p_t} |s - s_\theta|^2\, \mathrm{d}t \\
& + \mathrm{KL}(p_1 \,\Vert\, \pi) ,
\end{aligned}
$$ (eq-ss-bound)

with $\pi = N(0, I)$, where the model starts.
The [usual loss](diffusion_derivation.ipynb) weighs $|s - s_\theta|^2$ with $b^2$, which makes it a loss on the noise; with $g^2$ it is the ELBO.

The unknown $s$ can be traded for a divergence.
With the entropy $H$, $\mathrm{KL}(p \Vert p_\theta)$ is $-H(p_0)$ minus the mean of $\log p_\theta$, so that by {eq}`eq-ss-bound` this mean is at least $-H(p_0) - \mathrm{KL}(p_1 \Vert \pi)$ minus the integral, and

$$
-\mathrm{KL}(p_1 \,\Vert\, \pi) = H(p_1) + \mathbb{E} \log \pi(x_1) .
$$

Along a flow the entropy grows by the mean divergence of the velocity; with {eq}`eq-ss-continuity` and integration by parts,

$$
\begin{aligned}
H(p_1) - H(p_0) &= \int_0^1 \mathbb{E}\bigl[ \nabla \cdot (f x) - \tfrac{1}{2} g^2\, \nabla \cdot s \bigr] \mathrm{d}t \\
&= \int_0^1 \bigl( \nabla \cdot (f x) + \tfrac{1}{2} g^2\, \mathbb{E} |s|^2 \bigr) \mathrm{d}t , \\
\mathbb{E}[s \cdot s_\theta] &= \int \nabla p_t \cdot s_\theta\, \mathrm{d}x = -\mathbb{E}[\nabla \cdot s_\theta] .
\end{aligned}
$$ (eq-ss-entropy)

The second line cancels $\mathbb{E} |s|^2$ from the square, the third replaces its cross term, and what is left are means over $x_t$ with no $s$ in them.
It also holds for every single $x_0$: it is the ELBO of a path whose hidden part is drawn by the forward process from $x_0$, and that process only changes the law in the means,

$$
\begin{aligned}
\log p_\theta(x_0) \ge{} & \mathbb{E}[\log \pi(x_1)] + \int_0^1 \nabla \cdot (f x)\, \mathrm{d}t \\
& - \tfrac{1}{2} \int_0^1 g^2\, \mathbb{E}\bigl[ |s_\theta|^2 + 2\, \nabla \cdot s_\theta \bigr] \mathrm{d}t ,
\end{aligned}
$$ (eq-ss-elbo)

with $x_t \sim N(a\, x_0,\, b^2 I)$ in the means: implicit score matching at every noise level.

The integral of {eq}`eq-ss-bound` is that of the derivation, {eq}`eq-dd-continuous`: there, half the squared error of the prediction of $x_0$ is added up over the signal-to-noise ratio.
That error also has a part that no prediction can remove, the spread of $x_0$ given $x_t$; in {eq}`eq-ss-bound` it is missing.
The scores differ by $a / b^2$ times the difference of the predictions of $x_0$, and $\mathrm{SNR} = a^2 / b^2$, so that

$$
g^2\, |s - s_\theta|^2 = -\frac{\mathrm{d}\, \mathrm{SNR}}{\mathrm{d}t}\, |\hat x_0 - \hat x_{0, \theta}|^2 .
$$ (eq-ss-snr)

On Gaussians everything is a closed form or an ODE for a mean and a variance.
The data are $N(0.5, 0.6^2)$, and the model's score is $\kappa$ times the true one: $s_\theta = -\kappa\, (x - m_t) / v_t$.
"""


# %%
def data_moments(t):
    """Mean and variance of p_t."""
    return 0.5 * vp.scale(t), 0.36 * vp.scale(t) ** 2 + vp.std(t) ** 2


def kl_gaussians(m, v, m_model, v_model):
    return 0.5 * (torch.log(v_model / v) + (v + (m - m_model) ** 2) / v_model - 1)


def model_moments(lam, kappa, num_steps=200):
    """Mean and variance at t = 0 of the backward equation, started from N(0, 1)."""

    def rates(state, t):
        m, v = data_moments(t)
        pull = 0.5 * (1 + lam**2) * vp.g2(t) * kappa / v  # F = f x + pull (x - m)
        slope = vp.rate(t) + pull
        mean_rate = slope * state[0] - pull * m
        return torch.stack([mean_rate, 2 * slope * state[1] - lam**2 * vp.g2(t)])

    start = torch.tensor([0.0, 1.0])
    return last(runge_kutta(start, rates, torch.linspace(1, 0, num_steps + 1)))


def integral(values, t):
    """Over time, by Simpson's rule."""
    return torch.as_tensor(scipy.integrate.simpson(values, x=t))


GRID = torch.linspace(0, 1, 4_001)
ONE = torch.tensor(1.0)


def kl_bound(kappa):
    _, v = data_moments(GRID)
    mismatch = (kappa - 1) ** 2 / v  # E |s - s_theta|^2
    zero, one = torch.tensor([0.0, 1.0])
    return integral(vp.g2(GRID) * mismatch, GRID) / 2 + kl_gaussians(
        *data_moments(ONE), zero, one
    )


# %% [markdown]
r"""
The ELBO of one point needs $\mathbb{E}[s_\theta^2]$ with $x_t \sim N(a x_0, b^2)$, and $\nabla \cdot s_\theta = -\kappa / v_t$.
Over the data, $\mathbb{E}[\log p - \text{ELBO}]$ must be the right side of {eq}`eq-ss-bound`: that is the whole claim "ELBO = weighted score matching" in one number.
"""


# %%
def elbo(x, kappa):
    """The bound on log p_theta for each x of shape (n,)."""
    m, v = data_moments(GRID)
    mean = vp.scale(GRID) * x[:, None]
    square = kappa**2 * ((mean - m) ** 2 + vp.std(GRID) ** 2) / v**2
    matching = integral(vp.g2(GRID) * (square - 2 * kappa / v), GRID)
    end = -0.5 * ((vp.scale(ONE) * x) ** 2 + vp.std(ONE) ** 2 + math.log(2 * math.pi))
    return end + integral(vp.rate(GRID), GRID) - matching / 2


m, v = data_moments(torch.tensor(0.0))
# Gauss-Hermite: exact for the mean of a square under N(0.5, 0.36) with three points.
nodes = torch.tensor([-(3**0.5), 0.0, 3**0.5]) * v.sqrt() + m
node_weights = torch.tensor([1.0, 4.0, 1.0]) / 6
costs = {}
for kappa in (0.7, 0.9, 1.0, 1.1, 1.4):
    kl = {lam: kl_gaussians(m, v, *model_moments(lam, kappa)) for lam in (1.0, 0.0)}
    costs[kappa] = {"SDE": kl[1.0], "ODE": kl[0.0], "bound": kl_bound(kappa)}
    row = ", ".join(f"{name} {value:.5f}" for name, value in costs[kappa].items())
    print(f"kappa {kappa}: {row} nats")

# %% tags=["check"]
entropy = 0.5 * torch.log(2 * math.pi * math.e * v)
for kappa, cost in costs.items():
    checks.ordered(
        f"kappa = {kappa}: KL and its bound",
        {"KL": cost["SDE"], "bound": cost["bound"]},
        slack=1e-9,
    )
    gap = -entropy - node_weights @ elbo(nodes, kappa)
    checks.close(
        "mean of log p - ELBO, against the bound", gap, cost["bound"], atol=1e-8
    )
    moments = model_moments(1.0, kappa)
    log_p = -0.5 * (
        (nodes - moments[0]) ** 2 / moments[1] + torch.log(2 * math.pi * moments[1])
    )
    checks.at_least("log p - ELBO at three points", log_p - elbo(nodes, kappa), -1e-9)
    if kappa != 1:
        checks.at_least(
            f"kappa = {kappa}: the ODE's KL over the bound",
            cost["ODE"] / cost["bound"],
            1.0,
        )
checks.at_most(
    "right score: KL, from the start alone",
    costs[1.0]["SDE"],
    kl_gaussians(*data_moments(ONE), *torch.tensor([0.0, 1.0])).item(),
)
ratio = costs[1.4]["ODE"] / costs[1.4]["SDE"]
checks.at_least("kappa = 1.4: the ODE's KL over the SDE's", ratio, 2.0)

# %% tags=["check"]
variance = data_moments(GRID)[1]
checks.close(
    "entropy of p_1 minus that of the data",
    0.5 * torch.log(variance[-1] / variance[0]),
    integral(vp.rate(GRID) + vp.g2(GRID) / (2 * variance), GRID),
    rtol=1e-9,
)
for name, sde in (("VP", vp), ("VE", ve)):
    a, b = sde.scale(some_times), sde.std(some_times)
    slope = time_derivative(
        lambda t, sde=sde: (sde.scale(t) / sde.std(t)) ** 2, some_times
    )
    checks.close(
        f"{name}: g^2 |score difference|^2 = -SNR' |x_0 difference|^2",
        sde.g2(some_times) * (a / b**2) ** 2,
        -slope,
        rtol=1e-10,
    )

# %% [markdown]
r"""
Two lessons.
With a wrong score the SDE and the ODE are *two* models with two likelihoods.
The bound is one on the SDE; the number of {eq}`eq-ss-likelihood` is that of the ODE, which is further from the data, and here above the bound for every wrong $\kappa$: the SDE forgets its past mistakes, the ODE carries them along.

When is {eq}`eq-ss-bound` an equality?
When the model's paths differ from the true ones by nothing but the end: take for $s_\theta$ the exact score of *another* density $q$ under the same diffusion, and start from $q_1$.
Then $p_\theta = q$, and given $x_0$ the paths of both are the same, so that nothing is lost in the chain rule.
The Fisher divergence $F(p \,\Vert\, q)$ is half the mean over $p$ of the squared difference of the scores, {eq}`eq-sm-fisher`; with it, a relative entropy becomes an integral, as in [the Langevin lecture](langevin.ipynb):

$$
\begin{aligned}
\mathrm{KL}(p_0 \,\Vert\, q_0) ={} & \int_0^1 g^2(t)\, F(p_t \,\Vert\, q_t)\, \mathrm{d}t \\
& + \mathrm{KL}(p_1 \,\Vert\, q_1) .
\end{aligned}
$$ (eq-ss-fisher)
"""


# %%
def other_moments(t):
    """Another Gaussian, N(-0.2, 0.9^2), under the same diffusion."""
    return -0.2 * vp.scale(t), 0.81 * vp.scale(t) ** 2 + vp.std(t) ** 2


(m_p, v_p), (m_q, v_q) = data_moments(GRID), other_moments(GRID)
# s - s_theta is linear in x: its slope and its value at the mean of p_t.
slope, at_mean = 1 / v_q - 1 / v_p, (m_p - m_q) / v_q
fisher = 0.5 * (slope**2 * v_p + at_mean**2)
kl_at = [kl_gaussians(*data_moments(t), *other_moments(t)) for t in (0 * ONE, ONE)]

# %% tags=["check"]
checks.close(
    "KL at 0, against KL at 1 and the integral",
    kl_at[0],
    kl_at[1] + integral(vp.g2(GRID) * fisher, GRID),
    rtol=1e-8,
)

# %% [markdown]
r"""
## The perfect score memorises

**A training set is a distribution too, a sum of spikes; the score that minimises the training loss is *its* score, and the sampler then returns the training set.**
Noised to the level $\sigma$, the $n$ images become a mixture of $n$ Gaussians, a kernel density estimate, with the denoiser

$$
\begin{aligned}
\hat x_0(x, \sigma) &= \sum_{i=1}^n w_i(x)\, x_i, \\
w(x) &= \operatorname{softmax}_i \Bigl( -\frac{|x - x_i|^2}{2 \sigma^2} \Bigr) .
\end{aligned}
$$ (eq-ss-empirical)

A network with enough room that minimised denoising score matching on the training images would end exactly there.
No training is needed to see what it would do: here it is on MNIST, with the DDIM steps of {eq}`eq-ss-ddim`.
On the VE path, where $a = 1$, they read

$$
x' = \hat x_0 + \frac{\sigma'}{\sigma}\, (x - \hat x_0) .
$$
"""


# %%
def empirical_denoiser(x, data, std):
    """The mean of the training examples, weighted by how well they explain x."""
    logits = (x @ data.T - 0.5 * data.square().sum(1)) / std**2  # |x|^2 cancels
    return torch.softmax(logits, 1) @ data


def denoise_down(x, data, stds):
    """Probability-flow ODE of the noised training set; yields x and the denoiser."""
    for std, smaller in pairwise(stds):
        denoised = empirical_denoiser(x, data, std)
        x = denoised + (smaller / std) * (x - denoised)
        yield x, denoised


images = torch.from_numpy(run.data.vectors("train")[: P.num_images])
images = images.float().to(run.device)
stds = torch.logspace(math.log10(50.0), -2, 100).tolist()
start = stds[0] * torch.randn(
    12, 784, generator=run.generator(), device=run.device, dtype=torch.float32
)
way = list(denoise_down(start, images, stds))
recalled = way[-1][0]
to_training = torch.cdist(recalled, images).min(1)
# The second neighbour of a training image: the first is itself.
between = torch.cdist(images[:300], images).topk(2, largest=False).values[:, 1]

# %% tags=["check"]
fifty = plane.sample(50)
as_mixture = GaussianMixture(torch.full((50,), 1 / 50), fifty, 0.3)
checks.close(
    "denoiser, against the mixture's score",
    empirical_denoiser(points, fifty, 0.3),
    points + 0.09 * as_mixture.score(points),
    atol=1e-12,
)
# A draw of the mixture is an image plus noise of 0.01 in 784 pixels, whose length is
# 0.28 with a standard deviation of 0.01 / sqrt(2); single precision adds 1e-6.
checks.close(
    "distance to the nearest training image",
    to_training.values,
    torch.full((12,), 0.01 * 784**0.5),
    atol=5 * 0.01 / 2**0.5,
)
apart = between.mean() / to_training.values.mean()
checks.at_least("distance of training images over that of the samples", apart, 5)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("the same on MNIST", apart, 10)

# %%
_ = run.record(
    "memorised_distance",
    to_training.values.mean(),
    unit="1",
    protocol=f"12 samples of the exact score of {len(images):,} noised training "
    "images, down to noise 0.01: mean Euclidean distance to the nearest training "
    "image, pixels in [0, 1]",
)
_ = run.record(
    "neighbour_distance",
    between.mean(),
    unit="1",
    standard_error=between.std() / len(between) ** 0.5,
    protocol="mean Euclidean distance of 300 training images to the nearest other of "
    f"{len(images):,}",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve samples with the perfect score of the training set. Top: the denoiser's opinion on the way, at noise 3. Middle: the samples. Bottom: the training image nearest to each of them.", "name": "fig-ss-memory"}, "image": {"alt": "Three rows of twelve digits. The top row is partly blurred, partly sharp; the middle and the bottom row are clean and the same, digit by digit."}}
half_way = min(range(99), key=lambda k: abs(stds[k] - 3.0))
rows = torch.cat([way[half_way][1], recalled, images[to_training.indices]])
fig, ax = plt.subplots(figsize=(7.4, 2.1))
_ = plotting.image_grid(rows.cpu().clamp(0, 1), columns=12, ax=ax)

# %% [markdown]
r"""
The end points are training images plus the noise of the last level: the distance is $0.01 \sqrt{784} = 0.28$, while neighbours among the training images are ten times further apart and more.
So what makes a diffusion model *generate* is the failure to reach the minimum of its training loss: the network is smooth, it is trained for a finite time, and it cannot follow the spikes.
"""

# %% [markdown]
r"""
To see that, and for the rest of the lecture, we train networks: eight Gaussians in the plane, the target of [the lecture on energies](energy_models.ipynb), so that the numbers can be compared.
A small network sees $x$ and $t$; what it is asked to predict is the noise, and the loss is that of [denoising score matching](score_matching.ipynb) with weights $b^2$.
"""


# %%
class Network(nn.Module):
    """(x, t) -> a vector of the size of x; t enters with its first three waves."""

    def __init__(self, dim=2, hidden_dim=128):
        super().__init__()
        sizes = [dim + 7, hidden_dim, hidden_dim, hidden_dim, dim]
        layers = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes)]
        between = [module for layer in layers for module in (layer, nn.SiLU())]
        self.layers = nn.Sequential(*between[:-1])

    def forward(self, x, t):
        t = t.expand(len(x), 1)
        waves = math.pi * t * torch.arange(1, 4, dtype=x.dtype)
        return self.layers(torch.cat([x, t, waves.cos(), waves.sin()], 1))


# %%
def fit(name, task, draw, num_steps, seed, batch_size=512):
    """Network and losses; `task(x0, noise, t)` returns x_t and what to predict."""
    torch.manual_seed(run.seed + seed)
    network = Network().float()
    optimiser = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=4e-3, total_steps=num_steps
    )
    losses = []
    parts = dict(net=network, adam=optimiser, schedule=schedule, losses=losses)
    for _ in resumed(run.checkpoints(name), f"network, {name}", num_steps, parts):
        x0, t = draw(batch_size), torch.rand(batch_size, 1).float()
        xt, target = task(x0, torch.randn_like(x0), t)
        loss = (network(xt, t) - target).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return network.requires_grad_(False), torch.tensor(losses)


EARLY = 1e-3  # below this time the score is too steep to be learned


def noise_task(x0, noise, t):
    t = EARLY + (1 - EARLY) * t
    return vp.scale(t) * x0 + vp.std(t) * noise, noise


few = ring.sample(60).float()  # a training set that a network could learn by heart


def draw_few(n):
    return few[torch.randint(len(few), (n,))]


# Stopped early in every profile: more steps would bring it nearer to the spikes.
few_steps = min(P.training_steps, 2_500)
small_set_network, _ = fit("60 points", noise_task, draw_few, few_steps, seed=1)

# %% [markdown]
r"""
Three denoisers of the same sixty training points: the perfect one of {eq}`eq-ss-empirical`, the network, and the truth that neither has seen, that of the eight Gaussians.
We compare their squared errors at a noise of $b / a = 0.2$, on the training points and on fresh points.
On the training points nothing can beat the perfect denoiser: it is the posterior mean.
On fresh points the network, stopped after 2,500 steps, must beat it, if its failure to reach the minimum is what makes it generate.
"""

# %%
ratio = torch.tensor(0.2)
# b^2 / a^2 = e^B - 1, and B is a quadratic in t.
B = torch.log1p(ratio**2)
when = ((FIRST**2 + 2 * (LAST - FIRST) * B).sqrt() - FIRST) / (LAST - FIRST)
denoisers = {
    "perfect": lambda x: empirical_denoiser(x, few.double(), ratio),
    "network": lambda x: (
        x
        - ratio * small_set_network((vp.scale(when) * x).float(), when.float()).double()
    ),
    "truth": lambda x: ring.denoised(x, 1.0, ratio.item()),
}
on_training = few.double().repeat(200, 1)
on_fresh = ring.sample(12_000)
spread = ratio * torch.randn(12_000, 2)
loss_of = {
    name: [(denoiser(x + spread) - x).square().sum(1) for x in (on_training, on_fresh)]
    for name, denoiser in denoisers.items()
}
for name, (training, fresh) in loss_of.items():
    print(f"{name:8s} training {training.mean():.4f}, fresh {fresh.mean():.4f}")

# %% tags=["check"]
checks.close("noise over signal", vp.std(when) / vp.scale(when), ratio, rtol=1e-12)
for name in ("truth", "network"):
    if name == "network" and run.profile == "smoke":
        continue  # not trained
    excess = loss_of[name][0] - loss_of["perfect"][0]
    checks.at_least(
        f"training points: loss of the {name} above the perfect one, over its s.e.",
        excess.mean() / (excess.std() / len(excess) ** 0.5),
        5,
    )

for name in ("truth", "network"):
    if name == "network" and run.profile == "smoke":
        continue  # not trained
    excess = loss_of["perfect"][1] - loss_of[name][1]
    checks.at_least(
        f"fresh points: loss of the perfect one above the {name}, over its s.e.",
        excess.mean() / (excess.std() / len(excess) ** 0.5),
        5,
    )

# %%
begin = torch.randn(1_000, 2)
memorised = last(
    denoise_down(50.0 * begin, few.double(), torch.logspace(math.log10(50.0), -2, 100))
)[0]


def flow_of_noise(network):
    """Velocity of the probability-flow ODE of a network that predicts the noise."""

    def velocity(x, t):
        noise = network(x, t)
        return vp.rate(t) * x + 0.5 * vp.g2(t) / vp.std(t) * noise

    return velocity


def late(num_steps):
    """Times from 1 down to EARLY, closer where the flow is fast."""
    return EARLY + (1 - EARLY) * torch.linspace(1, 0, num_steps + 1) ** 2


generated = last(
    heun(begin.float(), flow_of_noise(small_set_network), late(50).float())
)
nearest = {
    name: torch.cdist(x.double(), few.double()).min(1).values
    for name, x in (
        ("perfect", memorised),
        ("network", generated),
        ("truth", ring.sample(1_000)),
    )
}


# %%
unseen = ring.sample(1_000)
covered = {  # how far fresh points are from the nearest sample
    name: torch.cdist(unseen, x.double()).min(1).values.mean()
    for name, x in (
        ("truth", ring.sample(1_000)),
        ("network", generated),
        ("perfect", memorised),
    )
}

# %% tags=["check"]
checks.at_most(
    "perfect score: largest distance to a training point", nearest["perfect"], 0.06
)
if run.profile != "smoke":
    checks.at_least(
        "network: median distance to a training point",
        nearest["network"].median(),
        0.03,
    )
    checks.ordered("fresh points: mean distance to the nearest sample", covered)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A thousand points (dots) and the sixty training points (crosses). Left: samples of the probability-flow ODE with the perfect score of the training set (VE path, DDIM steps). Middle: samples of the ODE with a network trained on it (VP path, Heun steps). Right: no sampler, fresh draws of the truth.", "name": "fig-ss-few"}, "image": {"alt": "Three panels with sixty crosses in eight groups. On the left every dot lies on the middle of a cross. In the middle the dots fill clouds around the crosses, of unequal shapes, some stretched and joined to the next. On the right dots form eight round clouds."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7), sharey=True)
clouds = {"perfect": memorised, "network": generated, "truth": ring.sample(1_000)}
for ax, (name, x) in zip(axes, clouds.items(), strict=True):
    ax.plot(*few.T, "x", ms=6, color=plotting.COLOURS[1], markeredgewidth=1)
    ax.plot(*x.T, ".", ms=3, alpha=0.6, color=plotting.COLOURS[0])
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xlabel=name)

# %% [markdown]
r"""
In {numref}`fig-ss-few` the perfect score has sixty places to end, and nothing in between.
The network fills the gaps between the crosses, and so it generates.
But its clouds have unequal shapes, some are stretched and joined to the next, where the truth has eight round ones: a network that does not memorise is not yet right.
"""

# %% [markdown]
r"""
## Flow matching

**If all that is needed in the end is a velocity, one can learn the velocity itself, by least squares, for any path from data to noise.**
Choose how signal and noise are mixed, $x_t = a(t)\, x_0 + b(t)\, \epsilon$, as before; each pair $(x_0, \epsilon)$ moves with the velocity $\dot a\, x_0 + \dot b\, \epsilon$.
*Flow matching* {cite:p}`lipman2023,liu2023,albergo2023` regresses a network on it:

$$
\min_\theta\; \mathbb{E}\, \bigl| u_\theta(x_t, t) - (\dot a\, x_0 + \dot b\, \epsilon) \bigr|^2 .
$$ (eq-ss-flow-matching)

Many pairs pass through one point $x$ at time $t$, and least squares learns their mean, as in denoising score matching:

$$
\begin{aligned}
u(x, t) &= \mathbb{E}[\dot a\, x_0 + \dot b\, \epsilon \mid x_t = x] \\
&= \dot a\, \hat x_0 + \dot b\, \frac{x - a\, \hat x_0}{b} \\
&= \frac{\dot a}{a}\, x - \Bigl( b\, \dot b - \frac{\dot a}{a}\, b^2 \Bigr) s(x, t) ,
\end{aligned}
$$ (eq-ss-velocity)

where $\hat x_0 = (x + b^2 s) / a$ was used.
By {eq}`eq-ss-moments`, $\dot a / a = f$ and $2 b \dot b - 2 f b^2 = g^2$: this is $f x - \frac{1}{2} g^2 s$, the probability-flow ODE.
**For Gaussian noise flow matching and diffusion are the same model**; what differs is the path, and which of $\hat x_0$, $\hat\epsilon$, $s$, $u$ the network is asked for.

The popular path is the straight one, $a = 1 - t$, $b = t$.
(Many papers let $t$ run the other way, with the noise at 0: their $t$ is our $1 - t$.)
Beside it we put the circle $a = \cos \frac{\pi t}{2}$, $b = \sin \frac{\pi t}{2}$, a variance-preserving path with the cosine schedule.
Both have $a = 0$ at $t = 1$, where nothing of the data is left.
As equations with a drift they break down there, since $f = \dot a / a$ and $g^2$ grow without bound; the velocity, in the first line of {eq}`eq-ss-velocity`, stays finite.
So the cells below take the exact velocity at $t = 1 - 10^{-6}$ in the place of 1.
"""

# %%
straight = LinearSDE(
    rate=lambda t: -1 / (1 - t),
    g2=lambda t: 2 * t / (1 - t),
    scale=lambda t: 1 - t,
    std=lambda t: t,
)
circle = LinearSDE(
    rate=lambda t: -math.pi / 2 * torch.tan(math.pi / 2 * t),
    g2=lambda t: math.pi * torch.tan(math.pi / 2 * t),
    scale=lambda t: torch.cos(math.pi / 2 * t),
    std=lambda t: torch.sin(math.pi / 2 * t),
)
PATHS = {"VP": vp, "circle": circle, "straight": straight}


def mean_velocity(data, path, x, t):
    """E[a' x_0 + b' noise | x_t = x], from the exact posterior mean of x_0."""
    denoised = data.denoised(x, path.scale(t), path.std(t))
    noise = (x - path.scale(t) * denoised) / path.std(t)
    return (
        time_derivative(path.scale, t) * denoised + time_derivative(path.std, t) * noise
    )


# %% tags=["check"]
for name, path in PATHS.items():
    for t in torch.tensor([0.15, 0.7]):
        u = mean_velocity(plane, path, points, t)
        checks.close(
            f"{name}, t = {t:.2f}: u is f x - g^2 s / 2",
            u,
            flow_of(plane, path)(points, t),
            atol=1e-10,
        )
        left = residual(
            law_of(plane, path),
            partial(mean_velocity, plane, path),
            torch.zeros_like,
            points,
            t,
        )
        checks.close(f"{name}, t = {t:.2f}: residual", left, 0 * left, atol=1e-10)

# Least squares learns the mean: for any field v, |v - target|^2 splits in two.
t, x0, noise = torch.tensor(0.4), plane.sample(40_000), torch.randn(40_000, 2)
xt, target = 0.6 * x0 + 0.4 * noise, noise - x0
u, v = mean_velocity(plane, straight, xt, t), torch.sin(2 * xt)
cross = ((v - u) * (u - target)).sum(1)
checks.unbiased("cross term of the regression", cross, 0.0)
almost_one = torch.tensor(1 - 1e-6)
one_step = points - almost_one * mean_velocity(plane, straight, points, almost_one)
mean_of_data = plane.weights @ plane.means
checks.close(
    "straight: one Euler step from the noise ends at the mean of the data",
    one_step,
    mean_of_data.expand(200, 2),
    atol=1e-4,
)

# %% tags=["check"]
# What is left out is of the order of 1e-6 times |x| and the variance of the data.
for name, data in (("plane", plane), ("ring", ring)):
    u = mean_velocity(data, circle, points, almost_one)
    shift = -math.pi / 2 * (data.weights @ data.means)
    checks.close(
        f"circle, {name}: the velocity at pure noise is one for all x",
        u,
        shift.expand(200, 2),
        atol=1e-4,
    )
untouched = points - almost_one * mean_velocity(ring, circle, points, almost_one)
checks.close(
    "circle, ring: one Euler step leaves the noise as it is",
    untouched,
    points,
    atol=1e-4,
)
one, a = torch.tensor(1.0), vp.scale(torch.tensor(1.0))
# -beta/2 (x + s), where s is that of Gaussians with means a m and variances between
# 1 - a^2 and 1.
farthest = a * plane.means.norm(dim=1).max() + a**2 * points.norm(dim=1).max()
checks.at_most(
    "VP: |velocity| at pure noise",
    mean_velocity(plane, vp, points, one).norm(dim=1),
    (beta(1.0) / 2 * farthest / (1 - a**2)).item(),
)

# %% [markdown]
r"""
The last checks are a warning: the velocity at pure noise knows of the data nothing but the *mean*.
At $t = 1$ the point says nothing about $x_0$, so that $\hat x_0 = \mathbb{E}[x_0]$ and $u = \dot a\, \mathbb{E}[x_0] + \dot b\, x$.

- On the straight path this is $x - \mathbb{E}[x_0]$: one Euler step ends at the mean, from every $x$.
- On the circle $\dot b = 0$, and $u = -\frac{\pi}{2} \mathbb{E}[x_0]$ has no $x$ in it: one step shifts all the noise together, and where the mean is zero it leaves $N(0, I)$ untouched.
- On the VP path $N(0, I)$ is almost at rest: $u$ is nearly zero, for every $x$.

The straight lines are those of the pairs; the paths of the flow bend, because they may not cross.

Three networks of one size and one budget: noise on the VP path (the diffusion model), velocity on the circle, velocity on the straight line.
For each we compute the likelihood by {eq}`eq-ss-likelihood` and, since the truth is known, the mean of $\log p - \log p_\theta$ over fresh points: the relative entropy, which is the negative log-likelihood minus the entropy of the data.
The flow of the diffusion model is followed from $t = 0.001$ on, where it was trained; its density is that at this time, not at 0.
"""


# %%
def velocity_task(path):
    """x_t and the velocity of its pair."""

    def task(x0, noise, t):
        velocity = (
            time_derivative(path.scale, t) * x0 + time_derivative(path.std, t) * noise
        )
        return path.scale(t) * x0 + path.std(t) * noise, velocity

    return task


def draw_ring(n):
    return ring.sample(n).float()


# %% tags=["check"]
x0, noise, t = plane.sample(5), torch.randn(5, 2), torch.full((5, 1), 0.3)
xt, target = noise_task(x0, noise, (t - EARLY) / (1 - EARLY))
checks.close(
    "input of the noise task", xt, vp.scale(t) * x0 + vp.std(t) * noise, atol=1e-14
)
checks.close("target of the noise task", target, noise)
xt, target = velocity_task(straight)(x0, noise, t)
checks.close("straight path: input", xt, x0 + 0.3 * (noise - x0), atol=1e-14)
checks.close("straight path: target", target, noise - x0, atol=1e-14)
t = torch.tensor(0.3)
checks.close(
    "flow of the exact noise",
    flow_of_noise(noise_of_law(law_of(plane, vp)))(points, t),
    plane_flow(points, t),
    atol=1e-11,
)

# %%
diffusion, _ = fit("VP", noise_task, draw_ring, P.training_steps, seed=2)
matched, losses = {}, {}
for name in ("circle", "straight"):
    task = velocity_task(PATHS[name])
    matched[name], losses[name] = fit(name, task, draw_ring, P.training_steps, seed=3)
flows = {"VP": flow_of_noise(diffusion), **matched}
TEST = ring.sample(P.num_test)


def relative_entropy(name, x, num_steps=40, flow=None):
    """log p - log p_theta at the points x, in nats."""
    times = torch.linspace(0, 1, num_steps + 1)
    if name == "VP":
        times = late(num_steps).flip(0)
    log_prob = log_prob_by_ode(
        x.float(), flow or flows[name], times.float(), standard_normal_log_prob
    )
    return ring.log_prob(x) - log_prob.double()


excess = {name: relative_entropy(name, TEST) for name in flows}
SOME = TEST[: P.num_test // 4]
finer = {name: relative_entropy(name, SOME, 80) for name in flows}

# %% [markdown]
r"""
The smallest possible loss of {eq}`eq-ss-flow-matching` is known: it is that of the exact velocity, the variance of the targets that meet in one point.
What a network has above it is its own error, $\mathbb{E} |u_\theta - u|^2$.
In {numref}`fig-ss-training` the loss comes down to this floor within the noise of its batches: nearly all that is left of the loss is not an error.
"""


# %%
def velocity_losses(network, path, num_times=50, num_points=400):
    """Loss of the exact velocity and of the network at the same draws."""
    rows = []
    for t in (torch.arange(num_times) + 0.5) / num_times:
        x0, noise = ring.sample(num_points), torch.randn(num_points, 2)
        xt, target = velocity_task(path)(x0, noise, t)
        learned = network(xt.float(), t.float()).double()
        exact = mean_velocity(ring, path, xt, t)
        rows.append(torch.stack([exact - target, learned - target, learned - exact]))
    return torch.cat(rows, 1).square().sum(2)


floors = {}
for name in matched:
    exact, learned, error = velocity_losses(matched[name], PATHS[name])
    floors[name] = exact.mean()
    # The cross term of the two has the mean zero.
    checks.unbiased(
        f"{name}: loss minus floor, against the error", learned - exact - error, 0.0
    )
    print(f"{name}: floor {exact.mean():.3f}, error of the network {error.mean():.4f}")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss of the velocity network on the straight path while it trains, in squared units of the plane: each step (thin) and the mean of the last fifty (thick). Dashed: the loss of the exact velocity.", "name": "fig-ss-training"}, "image": {"alt": "A noisy thin curve and a thick one through it, against the training step. The thick one falls steeply at first, then slowly, and stays close above a dashed horizontal line."}}
fig, ax = plt.subplots(figsize=(7, 3.2))
curve = losses["straight"]
ax.plot(curve, color=plotting.COLOURS[0], linewidth=0.5, alpha=0.4)
width = min(50, len(curve) // 2)
smooth = curve.unfold(0, width, 1).mean(1)
ax.plot(torch.arange(width, len(curve) + 1), smooth, color=plotting.COLOURS[0])
plotting.reference_line(ax, floors["straight"].item(), "", side="left")
ax.annotate(
    "exact velocity",
    (0.005, floors["straight"].item()),
    (0, -14),
    xycoords=("axes fraction", "data"),
    textcoords="offset points",
)
_ = ax.set(xlabel="training step", ylabel="loss")

# %%
_ = run.record(
    "ring_entropy",
    -ring.log_prob(TEST).mean(),
    unit="nats",
    standard_error=ring.log_prob(TEST).std() / P.num_test**0.5,
    protocol="eight Gaussians at radius 2 with sd 0.3: mean of -log p over "
    f"{P.num_test:,} points",
)
RECORDED = {
    "VP": "score",
    "circle": "flow_matching_circle",
    "straight": "flow_matching",
}
for name, short_name in RECORDED.items():
    _ = run.record(
        f"{short_name}_kl_to_target",
        excess[name].mean(),
        unit="nats",
        standard_error=excess[name].std() / P.num_test**0.5,
        protocol=f"KL(target || model) from {P.num_test:,} points of eight Gaussians, "
        f"likelihood by the ODE, {name} path"
        f"{', density at t = 0.001' if name == 'VP' else ''}, "
        f"{P.training_steps:,} steps of 512 points",
    )

# %% tags=["check"]
for name, curve in losses.items():
    # Every batch is fresh, so that no network has a smaller mean than the floor.
    half = curve[len(curve) // 2 :]
    checks.at_least(
        f"{name}: second half of the training, loss above the floor in standard errors",
        (half.mean() - floors[name]) / (half.std() / len(half) ** 0.5),
        -5,
    )
for name in flows:
    standard_error = excess[name].std() / P.num_test**0.5
    change = (finer[name] - excess[name][: len(SOME)]).mean().abs()
    checks.at_most(
        f"{name}: KL with 80 steps against 40, over its standard error",
        change / standard_error,
        1.0,
    )
    checks.at_least(
        f"{name}: KL over its standard error", excess[name].mean() / standard_error, -5
    )
if run.profile != "smoke":  # guards, far above what a training gives
    checks.at_most("straight: KL to the target", excess["straight"].mean(), 0.2)
    checks.at_most("circle: KL to the target", excess["circle"].mean(), 0.2)
    checks.at_most("diffusion: KL to the target", excess["VP"].mean(), 0.5)

# %% [markdown]
r"""
Of the three the noise network is the furthest from the target.
Where does it lose?
We put the exact noise in the place of the network's on one side of $t = 0.2$, and compute the likelihood again.
"""


# %%
exact_noise = noise_of_law(ring_law)
SPLIT = torch.tensor(0.2)


def spliced(below, above):
    """Velocity with one prediction of the noise before t = 0.2, another after it."""
    return flow_of_noise(lambda x, t: (below if t < SPLIT else above)(x, t).float())


def exact_in_double(x, t):
    return exact_noise(x.double(), t.double())


repaired = {
    "below": relative_entropy("VP", SOME, flow=spliced(exact_in_double, diffusion)),
    "above": relative_entropy("VP", SOME, flow=spliced(diffusion, exact_in_double)),
}
print(f"network alone: KL {excess['VP'][: len(SOME)].mean():.3f} nats")
for side, kl in repaired.items():
    run.record(
        f"score_kl_exact_noise_{side}",
        kl.mean(),
        unit="nats",
        standard_error=kl.std() / len(SOME) ** 0.5,
        protocol=f"as score_kl_to_target from {len(SOME):,} points, with the exact noise "
        f"{side} t = {SPLIT:.1f}",
    )
ratio = vp.std(SPLIT) / vp.scale(SPLIT)
shares = {  # of the time, in which b / a grows from 0 to this ratio
    "VP": SPLIT,
    "circle": torch.atan(ratio) * 2 / math.pi,
    "straight": ratio / (1 + ratio),
}

# %% tags=["check"]
checks.close("b / a at t = 0.2", ratio, 0.72, atol=0.005)
checks.close("its share of the circle", shares["circle"], 0.40, atol=0.005)
checks.close("its share of the straight path", shares["straight"], 0.42, atol=0.005)
for name in ("circle", "straight"):
    there = PATHS[name].std(shares[name]) / PATHS[name].scale(shares[name])
    checks.close(f"{name}: b / a at that share", there, ratio, rtol=1e-12)
if run.profile != "smoke":
    alone = excess["VP"][: len(SOME)].mean()
    for side, kl in repaired.items():
        checks.at_most(f"KL with the exact noise {side} t = 0.2", kl.mean(), alone)
if run.profile == "quick":  # a long training leaves as little below as above
    checks.at_most("most is gone", repaired["below"].mean(), alone / 2)
    checks.at_least("most stays", repaired["above"].mean(), alone / 2)

# %% [markdown]
r"""
With the exact noise below $t = 0.2$ most of the loss is gone; with the exact noise above it, most stays.
So after this short training the network errs where the eight clouds are still apart, at $b / a$ up to 0.72.
The linear schedule gives this range a fifth of the time, the circle 0.40 and the straight path 0.42: the noise network sees half as many training draws there, and its field must change twice as fast with $t$.
Whether that is the whole reason we do not check.
(It need not be so after a longer one: the page of [results](../book/results.md) has the same numbers for the profile `full`, with eight times as many steps.)
These are numbers of the ODE; the SDE of the same network is another model, with another likelihood.
"""

# %% [markdown]
r"""
How good are samples from few calls?
The measure is the sliced Wasserstein distance: the mean distance of sorted projections, over 64 directions.
The diffusion model samples with DDIM, the other two with plain Euler steps.
Beside it stands how crooked the paths are: length over the distance of their ends, 1 for a straight line.
"""


# %%
def sliced_wasserstein(x, y, num_directions=64):
    angle = torch.arange(num_directions) * math.pi / num_directions
    directions = torch.stack([angle.cos(), angle.sin()])
    projected = [(cloud.double() @ directions).sort(0).values for cloud in (x, y)]
    return (projected[0] - projected[1]).abs().mean().item()


def generate(name, num_steps, begin):
    """All states from noise to data, with one call for each step."""
    if name != "VP":
        return list(
            euler(begin, flows[name], torch.linspace(1, 0, num_steps + 1).float())
        )
    times = (EARLY + (1 - EARLY) * torch.linspace(1, 0, num_steps + 1)).float()
    return list(ddim_as_euler(begin, diffusion, vp, times))


def crookedness(path):
    """Length of the way over the distance of its ends, averaged."""
    path = torch.stack(list(path))
    length = (path[1:] - path[:-1]).norm(dim=2).sum(0)
    return (length.sum() / (path[-1] - path[0]).norm(dim=1).sum()).item()


begin, fresh = torch.randn(P.num_points, 2).float(), ring.sample(P.num_points)
CALLS = (1, 2, 5, 10, 20, 50)
quality = {
    name: [sliced_wasserstein(generate(name, n, begin)[-1], fresh) for n in CALLS]
    for name in flows
}
floor = sliced_wasserstein(ring.sample(P.num_points), fresh)
idle = sliced_wasserstein(begin, fresh)
collapsed = sliced_wasserstein(torch.zeros_like(begin), fresh)
bends = {name: crookedness(generate(name, 100, begin[:1_000])) for name in flows}

# %%
print("calls   " + "".join(f"{n:6d}" for n in CALLS) + "  bend")
for name, row in quality.items():
    print(f"{name:8s}" + "".join(f"{d:6.2f}" for d in row) + f"{bends[name]:6.2f}")
print("bend: length of the paths over the distance of their ends")
print(
    f"noise left as it is {idle:.3f}, all at the mean {collapsed:.3f}, data {floor:.3f}"
)

# %% tags=["check"]
checks.close(
    "sliced Wasserstein distance of a cloud and its shift by (1, 0)",
    sliced_wasserstein(fresh, fresh + torch.tensor([1.0, 0.0])),
    2 / math.pi,
    rtol=1e-3,
)
checks.close(
    "of a cloud and the same cloud in another order",
    sliced_wasserstein(fresh, fresh[torch.randperm(len(fresh))]),
    0.0,
    atol=1e-12,
)
turn = torch.linspace(0, math.pi, 1_001)
half_circle = torch.stack([turn.cos(), turn.sin()], 1)[:, None]
checks.close(
    "crookedness of a half circle", crookedness(half_circle), math.pi / 2, rtol=1e-5
)
checks.at_least("crookedness", list(bends.values()), 1 - 1e-6)
if run.profile != "smoke":
    for name in ("circle", "straight"):
        checks.ordered(
            f"5 calls, {name} and VP: distance",
            {name: quality[name][2], "VP": quality["VP"][2]},
        )


# %% [markdown]
r"""
The column of one call says nothing about the data, only what one step does, as above: the straight path has collapsed to the mean, the circle has left the noise nearly as it is.
The diffusion model with DDIM is a third case, and a curious one: in {numref}`fig-ss-flow` two calls give worse samples than one.
One DDIM step from pure noise ends at $\hat x_0 = (x - b\, \hat\epsilon) / a$.
With the exact score that is a narrow cloud at the mean; but the error of a network is multiplied by $b / a$, here 152, and this scatters the cloud again, how widely is a matter of chance.
So the one call is no sample of anything, and how near to the data it comes says nothing; untouched noise, below the table, may come as near.
With two calls the first step ends where $b / a$ is smaller, and the network stays nearer to the exact score, which has not yet spread its points at two calls.
"""


# %%
def network_noise(x, t):
    return diffusion(x.float(), t.float()).double()


noises = {"exact score": exact_noise, "network": network_noise}
wide = begin.double()
single, double = torch.tensor([1.0, EARLY]), torch.tensor([1.0, (1 + EARLY) / 2, EARLY])
first = {
    who: last(ddim_as_euler(wide, noise, vp, single)) for who, noise in noises.items()
}
for who, noise in noises.items():
    ends = (first[who], last(ddim_as_euler(wide, noise, vp, double)))
    distances = [sliced_wasserstein(end, fresh) for end in ends]
    print(f"DDIM, {who}: one call {distances[0]:.3f}, two calls {distances[1]:.3f}")
    print(f"   standard deviation after one call: {first[who].std():.3f}")

# %% tags=["check"]
one, early = single
factor = vp.std(one) / vp.scale(one)
# B(1) = (0.1 + 20) / 2, and b^2 / a^2 = e^B - 1.
checks.close("b / a at pure noise", factor, math.expm1(10.05) ** 0.5, rtol=1e-9)
checks.close("rounded", factor, 152.0, atol=0.5)
error = network_noise(wide, one) - exact_noise(wide, one)
step = vp.scale(early) * (factor - vp.std(early) / vp.scale(early))
checks.close(
    "one call, network minus exact: the error of the noise, times that",
    first["network"] - first["exact score"],
    -step * error,
    atol=1e-9,
)
# Linear in a: the data have the variance v = 4 / 2 + 0.09 per coordinate. The next
# order is smaller by the square of a |x| times the radius, about (0.0066 * 3 * 2)^2.
v, a, b = 2.09, vp.scale(one), vp.std(one)
share = vp.scale(early) * a * v + vp.std(early) * b
checks.close(
    "one call, exact score: width over that of the noise",
    first["exact score"].std() / wide.std(),
    share / (v * a**2 + b**2),
    rtol=0.01,
)

# %% [markdown]
r"""
The circle is the straighter of the two velocity models, and not because of what the networks missed: the exact velocities say the same.
On the straight path the cloud first contracts, since $(1 - t)^2 v + t^2$ has its minimum $v / (1 + v) < 1$ on the way, at $t = v / (1 + v)$, and then widens again; on the circle $v \cos^2 + \sin^2$ goes from 1 to $v$ without a detour.
The paths of the diffusion model are about as straight as those on the circle, so that straightness is not what it lacks at five calls.
Two other things differ: where the five times lie, and the variables of the steps, DDIM's or Euler's in $t$.
We change one at a time, with the exact score of the VP path and with the trained noise network; the times of the circle are those at which $b / a = \tan \frac{\pi \tau}{2}$ with evenly spaced $\tau$.
"""


# %%
def exact_states(path, num_steps, begin):
    """Euler steps with the exact velocity of the eight Gaussians."""
    times = torch.linspace(1, 0, num_steps + 1).clamp(max=1 - 1e-6)
    return list(euler(begin, partial(mean_velocity, ring, path), times))


def times_of_the_circle(num_steps):
    """Times of the VP path, from 1 to EARLY, evenly spaced in arctan(b / a)."""
    ends = torch.tensor([1.0, EARLY])
    ends = torch.atan2(vp.std(ends), vp.scale(ends))
    ratio = torch.linspace(ends[0], ends[1], num_steps + 1).tan()
    root = (FIRST**2 + 2 * (LAST - FIRST) * torch.log1p(ratio**2)).sqrt()
    return (root - FIRST) / (LAST - FIRST)


evenly = EARLY + (1 - EARLY) * torch.linspace(1, 0, 6)
grids = {"even in t": evenly, "circle": times_of_the_circle(5)}
vp_quality = {who: {} for who in noises}
for who, noise in noises.items():
    for grid, times in grids.items():
        ends = {
            "DDIM": ddim_as_euler(wide, noise, vp, times),
            "Euler": euler(wide, flow_of_noise(noise), times),
        }
        for method, states in ends.items():
            distance = sliced_wasserstein(last(states), fresh)
            vp_quality[who][f"{method}, {grid}"] = distance
print("VP, 5 calls         exact score  network")
for key, distance in vp_quality["exact score"].items():
    other = vp_quality["network"][key]
    print(f"{key:18s}{distance:13.3f}{other:9.3f}")

# %%
exact_bends, exact_quality = {}, {}
for name in ("circle", "straight"):
    starts = begin[:1_000].double()
    exact_bends[name] = crookedness(exact_states(PATHS[name], 100, starts))
    end = exact_states(PATHS[name], 5, begin.double())[-1]
    exact_quality[name] = sliced_wasserstein(end, fresh)
    print(
        f"{name}: length / distance {exact_bends[name]:.2f}, "
        f"5 calls {exact_quality[name]:.3f}"
    )


# %%
def five_calls(begin):
    """Ends of five calls: the VP flow, exact score, in two ways; and the circle."""
    return {
        "VP, circle's times": last(euler(begin, flow_of(ring), grids["circle"])),
        "VP, even in t": last(euler(begin, flow_of(ring), evenly)),
        "circle": exact_states(circle, 5, begin)[-1],
    }


sets = []  # each with its own noise and its own data, the same for all three
for _ in range(32):
    data = ring.sample(P.num_points // 2)
    ends = five_calls(torch.randn(P.num_points // 2, 2))
    sets.append({name: sliced_wasserstein(end, data) for name, end in ends.items()})


def behind_the_circle(name):
    """Mean of the paired differences of the distances, in standard errors."""
    difference = torch.tensor([row[name] - row["circle"] for row in sets])
    return difference.mean() / (difference.std() / len(sets) ** 0.5)


# %% tags=["check"]
checks.ordered(
    "length over distance, exact velocity",
    {name: exact_bends[name] for name in ("circle", "straight")},
)
checks.ordered("5 calls, exact velocity: distance to fresh data", exact_quality)
on_circle = times_of_the_circle(5)
angles = torch.atan2(vp.std(on_circle), vp.scale(on_circle))
checks.close(
    "times of the circle: steps of the angle, over their mean",
    angles.diff() / angles.diff().mean(),
    torch.ones(5),
    atol=1e-6,
)
for better, worse in (
    ("DDIM, circle", "DDIM, even in t"),
    ("Euler, even in t", "DDIM, circle"),
    ("Euler, circle", "Euler, even in t"),
):
    checks.ordered(
        "VP, exact score, 5 calls: distance",
        {name: vp_quality["exact score"][name] for name in (better, worse)},
    )
checks.at_most(
    "VP, exact score, Euler at the circle's times, behind the circle, over its s.e.",
    behind_the_circle("VP, circle's times"),
    5,
)
checks.at_least(
    "VP, exact score, Euler at even times, behind the circle, over its s.e.",
    behind_the_circle("VP, even in t"),
    5,
)
if run.profile != "smoke":
    for grid in grids:
        keys = [f"{method}, {grid}" for method in ("Euler", "DDIM")]
        checks.ordered(
            "VP, network, 5 calls: distance",
            {key: vp_quality["network"][key] for key in keys},
        )

# %% tags=["check"]
exact_bends["VP"] = crookedness(
    list(euler(begin[:1_000].double(), flow_of(ring), late(100)))
)
checks.ordered(
    "length over distance, exact score",
    {name: exact_bends[name] for name in ("VP", "straight")},
)

# %% tags=["check"]
v = (ring.means.square().mean() + 0.3**2).item()  # of one coordinate
grid = torch.linspace(0, 1, 10_001)
smallest = ((1 - grid) ** 2 * v + grid**2).min(0)
checks.close("smallest variance on the way", smallest.values, v / (1 + v), rtol=1e-7)
checks.close("and its time", grid[smallest.indices], v / (1 + v), atol=1e-4)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: distance of the samples from fresh data against the number of network calls; dashed, two sets of data. Right: twenty paths of the flow that was trained on straight pairs, in the colour that it has on the left, from noise (grey dots) to data (black dots); the grey rings are the eight Gaussians, at two standard deviations.", "name": "fig-ss-flow"}, "image": {"alt": "Left, three curves on logarithmic axes; that of the diffusion model rises from one call to two and falls from there on; at five calls that of the circle is lowest and that of the diffusion model highest; at fifty calls the two of velocities come near a dashed line. Right, twenty curves that run to eight rings around the middle: most start further in and run outwards, nearly straight; some that start near the rings run inwards first and turn back in a hairpin."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.4), width_ratios=(1.3, 1))
labels = {
    "VP": "diffusion, DDIM",
    "circle": "velocity, circle",
    "straight": "velocity, straight",
}
for name, row in quality.items():
    left.loglog(CALLS, row, "o-", ms=4, label=labels[name])
plotting.reference_line(left, floor, "data", side="left")
left.set(xlabel="network calls", ylabel="sliced Wasserstein distance")
left.legend()
paths = torch.stack([begin, *generate("straight", 100, begin)])[:, :20]
for centre in ring.means:
    right.add_patch(plt.Circle(centre, 0.6, color="0.6", fill=False))
right.plot(paths[..., 0], paths[..., 1], color=plotting.COLOURS[2], linewidth=1)
right.plot(*paths[0].T, "o", ms=4, color="0.5")
right.plot(*paths[-1].T, "o", ms=5, color="black")
_ = right.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")

# %% [markdown]
r"""
The two velocity models beat the noise model at five calls, and the better of the two is the one whose pairs go along a circle ({numref}`fig-ss-flow`).
So the gain here does not come from the straight line: straight *pairs* do not make straight *paths*.

Where does it come from?
With the exact score the variables of the step count most: Euler's steps at even times are better than DDIM's at any of our times.
The circle's times come second, and with both the diffusion model's own flow is no further from the data than the circle: the differences are paired, and the same test sees the even times fall behind.
With the *trained* noise network Euler's steps bring the most too; compare its best number with that of the circle's network in the first table; what lies between the two is a matter of the training, where learning the velocity on another path may well be the gain.
Euler's steps do well because this target has a variance near 1, see the section on DDIM; for data near a single point DDIM's are exact.
For other data the order of the paths may change; pairing noise and data better straightens them for any data {cite:p}`tong2024,liu2023`, see {ref}`ex-ss-pairing`.
"""

# %% [markdown]
r"""
## The map of all families

```{margin}
**In the sources.** CS236 notes, *TL;DR*.
```

Every family answers the same question, *how do I get a distribution from samples?*, and pays at another place.

| family | density | latent | calls for a sample | trained by |
|---|---|---|---|---|
| [counts](divergences.ipynb), [kernels](kde_gmm.ipynb) | exact | none | one look-up for each dimension; one | counting; keeping the data |
| [mixture](kde_gmm.ipynb) | exact | one of $K$ | one | EM |
| [autoregressive](autoregressive.ipynb) | exact | none | one for each dimension | likelihood |
| [Boltzmann machine](boltzmann_machines.ipynb), [RBM](rbm.ipynb) | up to $Z$ | binary | many sweeps | two phases |
| [energy model](energy_models.ipynb) | up to $Z$ | none | many Langevin steps | two phases, NCE |
| [normalising flow](flows.ipynb) | exact | same size | one | likelihood |
| [VAE](vae_pytorch.ipynb) | lower bound | small | one | ELBO |
| [GAN](gan_mnist.ipynb) | none | small | one | a game |
| [score model](score_matching.ipynb) | up to a constant | none | many Langevin steps | score matching |
| [diffusion, SDE](diffusion_mnist.ipynb) | lower bound | a path | 100 to 1,000 | denoising |
| diffusion, ODE | exact, by integration | same size | 10 to 100 | denoising |
| flow matching | exact, by integration | same size | 5 to 50 | velocity of pairs |

```{margin}
**A common mistake:** the statement that a score determines its density.
It does on a connected support; between islands it says nothing about their weights, see [score matching](score_matching.ipynb).
And a network's output is a score only if its Jacobian is symmetric.
```

The calls are orders of magnitude in common use, not laws.
Energy and score models have the density without its constant, one as the function, the other as its gradient; autoregressive models and normalising flows have it by construction, and diffusion is the family in which one network gives two models: the SDE with a bound, the ODE with an exact density.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The families by what they know about the density (upwards) and by the usual number of network calls for one sample. Filled: with latent variables, those of the table. The colour repeats the height. An autoregressive model of MNIST needs 784 calls.", "name": "fig-ss-map"}, "image": {"alt": "A chart with four levels: none, up to a constant, bound, exact. GAN stands at one call and none; VAE at one call and bound; normalising flow at one call and exact; flow matching and the diffusion ODE at ten to fifty calls and exact; autoregressive at 784 calls and exact; diffusion SDE at some hundred calls and bound; energy model, RBM and score model at many calls and up to a constant."}}
MAP = (  # name, calls, what is known of the density, latent code, shift of the label
    ("GAN", 1, 0, True, 10),
    ("VAE", 1, 2, True, 10),
    ("normalising flow", 1, 3, True, 10),
    ("flow matching", 12, 3, True, 10),
    ("diffusion, ODE", 40, 3, True, -20),
    ("diffusion, SDE", 400, 2, True, 10),
    ("autoregressive", 784, 3, False, 10),
    ("energy model", 60, 1, False, 10),
    ("RBM", 1_000, 1, True, 10),
    ("score model", 500, 1, False, -20),
)
fig, ax = plt.subplots(figsize=(7, 3.6))
for name, calls, level, latent, shift in MAP:
    colour = plotting.COLOURS[level]
    face = colour if latent else "white"
    ax.plot(calls, level, "o", ms=10, color=colour, markerfacecolor=face, mew=2)
    ax.annotate(
        name,
        (calls, level),
        (0, shift),
        textcoords="offset points",
        ha="center",
        fontsize=10,
    )
ax.set(
    xscale="log",
    xlim=(0.3, 4_000),
    ylim=(-0.6, 3.6),
    xlabel="network calls for one sample",
)
ax.set_yticks(range(4), ["none", "up to a constant", "bound", "exact"])
_ = ax.set_ylabel("density")

# %% [markdown]
r"""
The numbers of this book stand side by side on the [results page](../book/results.md), a row for each family.
They are numbers of different tasks: compare only rows with the same task.
"""

# %% [markdown]
r"""
In the plane a density can be added up on a grid, and a family that needs its constant is in no difficulty.
With the dimension neither $Z$ nor a good noise distribution for NCE can be had any more, while the least-squares losses of denoising and of flow matching stay as they are.

### Where the map goes on

**Discrete diffusion.**
Text has no $x + \mathrm{d}x$.
{cite:t}`austin2021` replace the Gaussian kernel by a transition matrix over symbols, uniform or "absorbing" (a symbol becomes a mask and stays one); the posterior $q(x_{t-1} \mid x_t, x_0)$ and the bound carry over, as in the [binary chain](diffusion_derivation.ipynb) of 2015.
In continuous time the chain of jumps has a reverse too, with ratios $p_t(y) / p_t(x)$ in the place of the score.

**Consistency models.**
The probability-flow ODE is a map from noise to data that costs an integration.
{cite:t}`songconsistency2023` train one network $h(x, t)$ to give the end of the path through $(x, t)$ at once, by asking that $h$ be the same at neighbouring points of one path and that $h(x, 0) = x$: one call for a sample, at the price of a harder training.
It is no contradiction to our warning above: a *velocity* at pure noise knows at most the mean, on every path; a *map* knows the end.
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} From a kernel to its equation
:label: ex-ss-kernel
```
Somebody gives you only the mixing, $x_t = a(t)\, x_0 + b(t)\, \epsilon$.
Write `equation_of(scale, std, t)`, which returns $f(t)$ and $g^2(t)$ of an SDE with this kernel, for functions `scale`, `std` and a tensor of times; `time_derivative(function, t)` is at hand.
For which pairs of functions is there no such SDE?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def equation_of(scale, std, t):
    return None


# %% tags=["check"]
def check_kernel(answer):
    if answer(vp.scale, vp.std, some_times) is None:
        return print("not yet")
    for name, sde in {**PATHS, "VE": ve}.items():
        f, g2 = answer(sde.scale, sde.std, some_times)
        checks.close(f"{name}: f", f, sde.rate(some_times), atol=1e-10)
        checks.close(f"{name}: g^2", g2, sde.g2(some_times), rtol=1e-9, atol=1e-10)
    return print("right")


check_kernel(equation_of)

# %% [markdown]
r"""
````{solution-start} ex-ss-kernel
:class: dropdown
````
"""


# %% tags=["solution"]
def equation_of(scale, std, t):
    f = time_derivative(scale, t) / scale(t)
    variance_rate = time_derivative(lambda t: std(t) ** 2, t)
    return f, variance_rate - 2 * f * std(t) ** 2


check_kernel(equation_of)

# %% [markdown]
r"""
These are the two lines of {eq}`eq-ss-moments`, solved for $f$ and $g^2$.
$g^2$ must not be negative: $g^2 = a^2\, \mathrm{d}(b^2 / a^2) / \mathrm{d}t$, so that the ratio of noise to signal must never fall.
And $a$ must not vanish: where $a = 0$, as on the circle and the straight path at $t = 1$, $f = \dot a / a$ does not exist.
The discrete chain is the case $a^2 = \prod (1 - \beta_k)$; with $1 - \beta\, \mathrm{d}t$ for each factor it gives VP.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} The likelihood of a Gaussian, by hand
:label: ex-ss-gaussian
```
For data $N(m, v)$ the velocity of the probability-flow ODE is linear in $x$, and no automatic differentiation is needed.
Write `gaussian_log_prob(x, m, v, num_steps)`, for one number `x`: follow the point from $t = 0$ to $t = 1$ with Euler steps at the middle of each interval ($x \leftarrow x + h\, u(x, t + h/2)$ is good enough), add up $h\, \nabla \cdot u$, and finish with the exact $p_1$.
The functions `vp.rate`, `vp.g2`, `vp.scale`, `vp.std` take tensors.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def gaussian_log_prob(x, m, v, num_steps):
    return None


# %% tags=["check"]
def check_gaussian(answer):
    if answer(1.4, 0.5, 0.36, 10) is None:
        return print("not yet")
    errors = [
        abs(float(answer(1.4, 0.5, 0.36, n)) + 1.533112909) for n in (1_000, 2_000)
    ]
    checks.at_most("N(0.5, 0.36) at 1.4, 2,000 steps: error", errors[1], 5e-3)
    if errors[1] > 1e-8:  # a better method has nothing but rounding left
        checks.at_least(
            "1,000 over 2,000 steps: ratio of the errors", errors[0] / errors[1], 1.8
        )
    narrow_one = -0.5 * math.log(2 * math.pi * 0.04) - 0.5 * 0.3**2 / 0.04
    checks.close(
        "N(-1, 0.04) at -0.7",
        float(answer(-0.7, -1.0, 0.04, 4_000)),
        narrow_one,
        atol=2e-2,
    )
    return print("right")


check_gaussian(gaussian_log_prob)

# %% [markdown]
r"""
````{solution-start} ex-ss-gaussian
:class: dropdown
````
"""


# %% tags=["solution"]
def gaussian_log_prob(x, m, v, num_steps):
    def moments(t):
        return m * vp.scale(t), v * vp.scale(t) ** 2 + vp.std(t) ** 2

    total, h = 0.0, 1 / num_steps
    for k in range(num_steps):
        t = torch.tensor((k + 0.5) * h)
        mean, variance = moments(t)
        slope = vp.g2(t) / (2 * variance)  # of -g^2 s / 2
        total = total + h * (vp.rate(t) + slope)
        x = x + h * (vp.rate(t) * x + slope * (x - mean))
    mean, variance = moments(torch.tensor(1.0))
    at_end = -0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance)
    return at_end + total


check_gaussian(gaussian_log_prob)

# %% [markdown]
r"""
The divergence is $f + g^2 / (2 v_t)$, the same for every $x$: the flow stretches the whole line by one factor, and $\log p_0$ is $\log p_1$ at the stretched point plus the logarithm of that factor.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Two training points
:label: ex-ss-two-points
```
The training set is $\{-1, +1\}$ on a line.
Write `denoise_two(x, std)`, the perfect denoiser of {eq}`eq-ss-empirical`, without a softmax.
Where do the paths of the probability-flow ODE end, and at which noise is a path's choice made?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def denoise_two(x, std):
    return None


# %% tags=["check"]
def check_two_points(answer):
    x = torch.linspace(-3, 3, 101)[:, None]
    if answer(x, 0.5) is None:
        return print("not yet")
    pair = torch.tensor([[-1.0], [1.0]])
    for std in (0.1, 0.5, 3.0):
        checks.close(
            f"noise {std}", answer(x, std), empirical_denoiser(x, pair, std), atol=1e-12
        )
    x, levels = (
        20 * torch.linspace(-2, 2, 40)[:, None],
        torch.logspace(math.log10(20), -3, 200),
    )
    for std, smaller in pairwise(levels):
        denoised = answer(x, std)
        x = denoised + (smaller / std) * (x - denoised)
    checks.close("where the paths end: |x|", x.abs(), torch.ones(40, 1), atol=0.01)
    return print("right")


check_two_points(denoise_two)

# %% [markdown]
r"""
````{solution-start} ex-ss-two-points
:class: dropdown
````
"""


# %% tags=["solution"]
def denoise_two(x, std):
    return torch.tanh(x / std**2)


check_two_points(denoise_two)

# %% [markdown]
r"""
$w_\pm \propto e^{\pm x / \sigma^2}$, so that $\hat x_0 = \tanh(x / \sigma^2)$, and every path ends at a training point.
Near $x = 0$ the velocity in $\sigma$ is

$$
\frac{x - \hat x_0}{\sigma} \approx \frac{x}{\sigma} \Bigl( 1 - \frac{1}{\sigma^2} \Bigr) :
$$

above $\sigma = 1$, half the distance of the points, the middle attracts; below it the middle repels.
Since $\hat x_0$ has the sign of $x$, no path of the ODE crosses 0: where it ends is settled by the sign of its start. With fresh noise, $\lambda > 0$, paths do cross, and commit themselves below $\sigma = 1$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Better pairs
:label: ex-ss-pairing
```
On a line, with data $N(m, v)$ and the straight path, pair the noise with the data in their order: $x_0 = m + \sqrt{v}\, \epsilon$ (optimal transport).
Write `paired_velocity(x, t, m, v)`, the velocity at $x$ of the flow that this pairing defines.
The check takes one single Euler step from the noise.
What is the velocity for independent pairs at $t = 1$, and where does its single step end?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def paired_velocity(x, t, m, v):
    return None


# %% tags=["check"]
def check_pairing(answer):
    x = torch.linspace(-2, 2, 21)
    if answer(x, torch.tensor(1.0), 0.5, 0.36) is None:
        return print("not yet")
    one_step = x - answer(x, torch.tensor(1.0), 0.5, 0.36)
    checks.close("one step: quantiles of the data", one_step, 0.5 + 0.6 * x, atol=1e-12)
    t = torch.tensor(0.3)
    on_the_way = 0.7 * (0.5 + 0.6 * x) + 0.3 * x
    checks.close(
        "the velocity of a pair never changes",
        answer(on_the_way, t, 0.5, 0.36),
        x - (0.5 + 0.6 * x),
        atol=1e-12,
    )
    return print("right")


check_pairing(paired_velocity)

# %% [markdown]
r"""
````{solution-start} ex-ss-pairing
:class: dropdown
````
"""


# %% tags=["solution"]
def paired_velocity(x, t, m, v):
    # x = (1 - t) (m + sqrt(v) noise) + t noise, solved for the noise
    noise = (x - (1 - t) * m) / ((1 - t) * v**0.5 + t)
    return noise - (m + v**0.5 * noise)


check_pairing(paired_velocity)

# %% [markdown]
r"""
Each point of the way belongs to one pair, so that nothing is averaged and the paths are straight: one step is exact.
Independent pairs give $u(x, 1) = x - m$, and one step ends at the mean for every $x$.
In many dimensions the best pairing is found approximately, within each mini-batch {cite:p}`tong2024`, or by training again on the pairs that a first flow connects {cite:p}`liu2023`.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. The limit of small steps is {eq}`eq-ss-sde`; its kernels solve {eq}`eq-ss-moments`, its densities {eq}`eq-ss-fokker-planck`, to the last digits.
2. The way back is the family {eq}`eq-ss-reverse`; {numref}`fig-ss-orders` has the price of each sampler, and DDIM is one of them, {eq}`eq-ss-ddim`.
3. The exact log-likelihood is {eq}`eq-ss-likelihood`; {eq}`eq-ss-bound` is what a wrong score can cost the SDE, and not the ODE.
4. The minimiser of the training loss is {eq}`eq-ss-empirical`, and it returns the training set ({numref}`fig-ss-memory`).
5. Flow matching, {eq}`eq-ss-flow-matching`, learns the velocity of the same ODE, {eq}`eq-ss-velocity`; in our comparison the gain does not come from straight pairs ({numref}`fig-ss-flow`).
6. The map is {numref}`fig-ss-map`, with the numbers of this build below it.

There is no published number to compare with: the papers on this subject report CIFAR-10 and larger images, not the plane and not MNIST.
To multiply the densities of two models one adds their scores; but a sampler needs the score of the *noised product*, and that is the sum of the *noised scores* only at $t = 0$, see [the derivation](diffusion_derivation.ipynb).

**Reading:** the paper on SDEs {cite:p}`songsde2021` for everything up to the likelihood; {cite:t}`karras2022` for the design of samplers, {cite:t}`kingma2021` for the bound in continuous time; {cite:t}`lipman2023`, {cite:t}`liu2023` and {cite:t}`albergo2023`, who found flow matching at the same time.
"""

# %%
run.finish()

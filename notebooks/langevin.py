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
# Langevin sampling

At the end of this lecture you will be able to

1. turn a proposal into a sampler with the right stationary law, by the rule of Metropolis and Hastings, and prove it on a table;
2. draw from a density that is known up to a factor by following its gradient with noise, and say, for a Gaussian in closed form, how wrong the result is for a given step size;
3. remove that error with an accept step;
4. sample the posterior of a Bayesian regression from mini-batches, and predict the excess variance that they cause;
5. measure a chain: how many independent draws it is worth, and what each of them cost;
6. keep two gradients apart: the one that moves a sample and the one that teaches a model.

- **You need** Gaussian integrals, gradients, a little about Markov chains; [Boltzmann machines](boltzmann_machines.ipynb) for the two phases.
- **Sources:** {cite:t}`metropolis1953`, {cite:t}`hastings1970`, {cite:t}`roberts1996`, {cite:t}`welling2011`; {cite:t}`haenggi1990` for the physics of crossing a barrier.
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
from itertools import islice, pairwise

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import torch

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_chains": (20_000, 200_000, 1_000_000),  # independent, for each variance
    "num_particles": (5_000, 20_000, 100_000),  # in the landscape
    "chain_length": (4_000, 10_000, 40_000),  # where effective samples are counted
    "sgld_chains": (5_000, 50_000, 400_000),
    "num_passages": (1_000, 4_000, 20_000),  # first crossings of a barrier
}

# %%
run = dgm.start("langevin", parameters=PARAMETERS)
P = run.parameters
# States of one to ten numbers, in double precision: nothing here would fill a GPU.
torch.set_default_dtype(torch.float64)

# %% [markdown]
r"""
## The problem in one picture

```{margin}
**In the sources.** CS236 notes, *Generating samples*: points that follow the score, without noise and with it.
```

We know a density up to a factor, $p(x) = f(x) / Z$ with an unknown $Z$, and want points that follow it.
The example of this lecture is a landscape with three wells, in the language of physics: an energy $E(x) = -\log f(x)$ in units of $k_B T$.
"""

# %%
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
CENTRES = torch.tensor([[-1.6, -0.9], [1.6, -0.9], [0.0, 1.7]])
WIDTH = 0.6


def energy(x):
    """Of points (num_points, 2): three Gaussian wells; log Z is left out on purpose."""
    squared = (x[:, None] - CENTRES).square().sum(-1)
    return -torch.logsumexp(WEIGHTS.log() - squared / (2 * WIDTH**2), 1)


def which_well(x):
    """0, 1 or 2: the nearest centre."""
    return torch.cdist(x, CENTRES).argmin(1)


# %% [markdown]
r"""
**The *score*, the gradient of the log-density in $x$, says where to go, and $Z$ has no part in it:**

$$
s(x) = \nabla_x \log p(x) = -\nabla_x E(x) - \underbrace{\nabla_x \log Z}_{0} .
$$ (eq-lan-score)

Automatic differentiation gives it for any energy.
The sum over the rows is a trick: the energy of one row does not depend on the others, so that the gradient of the sum has in each row the gradient of that row.
"""


# %% tags=["twin:dgm.samplers.score_of"]
def score_of(energy):
    def score(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        return -gradient

    return score


score = score_of(energy)

# %% tags=["check"]
points = 2 * torch.randn(50, 2)
share = torch.softmax(  # of each well in the density at each point
    WEIGHTS.log() - torch.cdist(points, CENTRES).square() / (2 * WIDTH**2), 1
)
checks.close(
    "score by autograd, against the mean pull of the wells",
    score(points),
    (share @ CENTRES - points) / WIDTH**2,
    atol=1e-12,
)
checks.close(
    "score of 17 f(x), against that of f(x)",
    score_of(lambda x: energy(x) - math.log(17))(points),
    score(points),
    atol=1e-14,
)

# %% [markdown]
r"""
Following the score uphill in $p$, which is downhill in $E$, leads to the maximum in whose basin a point lies, and stops there.
That is optimisation: all points of a basin end at one spot ({numref}`fig-lan-problem`, left).
A sample is a cloud (right).
"""

# %%
x = 7 * torch.rand(600, 2) - 3.5
for _ in range(2_000):
    x = x + 0.01 * score(x)
climbed = x

component = torch.multinomial(WEIGHTS, 600, replacement=True)
wanted = CENTRES[component] + WIDTH * torch.randn(600, 2)

# %% tags=["check"]
checks.at_most("gradient at the end of the climb", score(climbed).abs(), 1e-6)
tops = torch.stack([climbed[which_well(climbed) == k].mean(0) for k in range(3)])
checks.at_most(
    "largest distance from the common spot of their well",
    (climbed - tops[which_well(climbed)]).norm(dim=1),
    1e-6,
)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: 600 points after following the score; all of them sit on three spots. Right: 600 points that follow the density. Shades and lines: energy, low where it is dark, one unit of $k_B T$ between lines. The wells weigh 50 % (lower left), 30 % and 20 % (top); between them stands a hill.", "name": "fig-lan-problem"}, "image": {"alt": "Two panels with the same contour lines around three wells. On the left three single dots, one in each well. On the right three clouds of dots that fill the wells, the cloud at the lower left being the densest."}}
def contours(ax):
    """Lines of equal energy, one unit apart."""
    across, up = torch.linspace(-4.2, 4.2, 120), torch.linspace(-3.6, 4.2, 120)
    heights = energy(torch.cartesian_prod(across, up)).reshape(120, 120).T
    levels = heights.min() + torch.arange(0, 8)
    ax.contourf(across, up, heights, levels, cmap="Blues_r", alpha=0.6)
    ax.contour(across, up, heights, levels, colors="grey", linewidths=0.6)
    ax.set(aspect="equal")
    ax.set_axis_off()


fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.7), sharey=True)
for ax, cloud, size in zip(axes, (climbed, wanted), (11, 4), strict=True):
    contours(ax)
    ax.plot(*cloud.T, ".", color=plotting.COLOURS[1], markersize=size)

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $f(x)$, $E(x) = -\log f(x)$ | `energy` | density without its factor, energy in units of $k_B T$ |
| $s(x)$ | `score` | $\nabla_x \log p(x)$ |
| $q(y \mid x)$ | `move` | proposal: from $x$ to $y$ |
| $K(x \to y)$ | `K` | kernel: probability, or density, to be at $y$ after one step from $x$ |
| $\eta$ | `step_size`, `eta` | step size of Langevin |
| $\xi$ | `noise` | independent standard normal numbers |
| $v_k$ | `variance_after` | variance after $k$ steps |
| $\rho_k$, $\tau$ | `tau` | correlation $k$ steps apart, integrated autocorrelation time in steps |
| $N$, $n$ | `N`, `n` | number of data, size of a mini-batch |
| $\lambda$, $\Lambda$, $V$ | `precision` | precision of a posterior, its matrix, variance of a gradient's noise |
"""

# %% [markdown]
r"""
## Propose, compare, accept

```{margin}
**In the sources.** CS236 notes, *Energy based models*: random perturbations, kept or not.
```

**Accepted with the right probability, the moves of any proposal leave $p$ as it is.**
Propose $y$ from $q(y \mid x)$, go there with the probability

$$
A(x \to y) = \min\left(1, \frac{f(y)\, q(x \mid y)}{f(x)\, q(y \mid x)}\right)
$$ (eq-lan-acceptance)

and stay at $x$ otherwise: {cite:t}`metropolis1953` for a $q$ that is symmetric, {cite:t}`hastings1970` with the factor for proposals that prefer a direction.
Only a ratio of $f$ enters, so that $Z$ drops out.

Why it works is one line.
For $x \ne y$ the flow of probability from $x$ to $y$ is

$$
\begin{aligned}
f(x)\, K(x \to y) &= f(x)\, q(y \mid x)\, A(x \to y) \\
&= \min\bigl(f(x)\, q(y \mid x),\; f(y)\, q(x \mid y)\bigr),
\end{aligned}
$$ (eq-lan-detailed-balance)

which is symmetric in $x$ and $y$.
What flows there flows back: this is *detailed balance*, and summed over $x$ it says that $p$ is stationary.
From any start the chain then comes to $p$ if its moves can lead everywhere and it does not go round in a fixed period; staying at $x$ now and then is enough against the second.
"""


# %%
def metropolis_kernel(f, q):
    """K[i, j] of states 0, 1, ...: f of shape (n,), proposals q of shape (n, n)."""
    K = torch.minimum(q, (f * q.T) / f[:, None])  # q A, see the equation above
    K.fill_diagonal_(0)
    return K + torch.diag(1 - K.sum(1))


def stationary(K):
    """The distribution that K leaves as it is: any row of a high power of K."""
    for _ in range(40):
        K = K @ K
        K = K / K.sum(1, keepdim=True)  # rounding would add up
    return K.mean(0)


f = torch.tensor([1.0, 4.0, 2.0, 8.0, 3.0])
p_five = f / f.sum()
q = torch.softmax(torch.randn(5, 5), 1)  # a proposal with preferences
K = metropolis_kernel(f, q)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "worse moves are accepted now and then, to explore".
How often is no matter of taste: a probability that does not balance the flows samples another density.
```

With five states this is a table, and both claims can be read off it.
The table also shows what happens when worse moves are accepted with some fixed probability instead.
"""

# %% tags=["check"]
flow = p_five[:, None] * K
checks.close("flow there and flow back", flow, flow.T, atol=1e-16)
checks.close("p is stationary", p_five @ K, p_five, atol=1e-15)
checks.close("K for 17 f, against K", metropolis_kernel(17 * f, q), K, atol=1e-15)
uniform = torch.full((5, 5), 0.2)
by_taste = 0.2 * torch.where(f > f[:, None], 1.0, 0.1)
by_taste = by_taste + torch.diag(1 - by_taste.sum(1))
by_rule = metropolis_kernel(f, uniform)
checks.close("uniform proposal, the rule", stationary(by_rule), p_five, atol=1e-12)
distance = 0.5 * (stationary(by_taste) - p_five).abs().sum()
checks.at_least("worse moves with probability 0.1: distance to p", distance, 0.1)

# %% [markdown]
r"""
The same rule for points in space, many chains side by side.
A move returns the proposals $y$ and $\log q(x \mid y) - \log q(y \mid x)$; the simplest one is a step in a random direction, for which this difference is zero.
The chain is a Python generator: it hands out one state after the other, and who uses it decides when to stop.
"""


# %%
@torch.no_grad()
def metropolis(x, energy, move):
    """Yields states (num_chains, dim), and which of the last proposals were accepted."""
    while True:
        y, log_q_ratio = move(x)
        log_acceptance = energy(x) - energy(y) + log_q_ratio
        accepted = torch.rand(len(x)).log() < log_acceptance
        x = torch.where(accepted[:, None], y, x)
        yield x, accepted


def random_walk(scale):
    return lambda x: (x + scale * torch.randn_like(x), torch.zeros(len(x)))


# %% [markdown]
r"""
## Langevin: downhill with noise

**A particle in a thick fluid slides down the energy and is kicked by the molecules; at the right strength of the kicks its distribution becomes $e^{-E}/Z$.**
Its equation of motion, in units where friction and temperature are one, is the *overdamped Langevin equation*

$$
\mathrm{d}x = \nabla \log p(x)\, \mathrm{d}t + \sqrt{2}\, \mathrm{d}w ,
$$ (eq-lan-sde)

where $\mathrm{d}w$ stands for independent Gaussian kicks of variance $\mathrm{d}t$ in each direction.
What one particle does is random; how the density $p_t$ of many of them changes is not.
The mean of any smooth function $g$ changes by its slope along the drift, and by its curvature because of the kicks, whose variance is $2\, \mathrm{d}t$:

$$
\frac{\mathrm{d}}{\mathrm{d}t} \int g\, p_t\, \mathrm{d}x
= \int \bigl( \nabla g \cdot \nabla \log p + \nabla^2 g \bigr)\, p_t\, \mathrm{d}x .
$$ (eq-lan-generator)

Integration by parts moves the derivatives from $g$ to $p_t$, and since $g$ is arbitrary this is an equation for $p_t$, the *Fokker-Planck equation*:

$$
\begin{aligned}
\partial_t p_t &= -\nabla \cdot (p_t \nabla \log p) + \nabla^2 p_t \\
&= \nabla \cdot \Bigl( p_t \nabla \log \frac{p_t}{p} \Bigr) .
\end{aligned}
$$ (eq-lan-fokker-planck)

The second line uses $\nabla p_t = p_t \nabla \log p_t$.
Two things can be read off it.
For $p_t = p$ nothing changes, because the bracket is zero: $p$ is stationary, and with any other factor than $\sqrt{2}$ it would not be.
And for every other density the Kullback-Leibler divergence falls; a second term, $\int \partial_t p_t = 0$, drops out, and one integration by parts gives

$$
\begin{aligned}
&\frac{\mathrm{d}}{\mathrm{d}t}\, \mathrm{KL}(p_t \,\|\, p)
= \int \partial_t p_t\, \log \frac{p_t}{p}\, \mathrm{d}x \\
&\quad = -\int p_t\, \Bigl| \nabla \log \frac{p_t}{p} \Bigr|^2 \mathrm{d}x .
\end{aligned}
$$ (eq-lan-kl-rate)

We check all of this on a line, where integrals are sums over a fine grid: first with a Gaussian in a parabola, whose mean must relax as $\dot m = -m$ and whose variance as $\dot v = 2 (1 - v)$, then with a Gaussian in a double well.
"""

# %%
line = torch.linspace(-9, 9, 9_001)
dx = (line[1] - line[0]).item()


def log_normal(x, mean, variance):
    return -((x - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


def log_double_well(x):
    """0.8 N(-1.5, 0.6^2) + 0.2 N(1.5, 0.6^2), normalised."""
    left, right = log_normal(x, -1.5, 0.36), log_normal(x, 1.5, 0.36)
    return torch.logaddexp(left + math.log(0.8), right + math.log(0.2))


def derivative(values):
    """By central differences, with an error of the order dx^2."""
    return torch.gradient(values, spacing=dx)[0]


def fokker_planck(p_t, log_p):
    """Time derivative of the density p_t on the line: drift and diffusion."""
    return -derivative(p_t * derivative(log_p)) + derivative(derivative(p_t))


# %% tags=["check"]
m, v = 1.0, 0.5
p_t = torch.exp(log_normal(line, m, v))
rate = fokker_planck(p_t, log_normal(line, 0.0, 1.0))
mean_rate = (line * rate).sum() * dx
variance_rate = (line**2 * rate).sum() * dx - 2 * m * mean_rate
checks.close("parabola: rate of the mean, -m", mean_rate, -m, atol=1e-9)
checks.close("parabola: rate of the variance", variance_rate, 2 * (1 - v), atol=1e-9)
# Second-order differences with dx = 0.002 err by dx^2 times fourth derivatives of up to
# 1e2 here.
log_p = log_double_well(line)
checks.at_most(
    "double well: rate of p itself", fokker_planck(log_p.exp(), log_p).abs(), 1e-3
)
log_ratio = p_t.log() - log_p
kl_rate = (fokker_planck(p_t, log_p) * log_ratio).sum() * dx
fisher = (p_t * derivative(log_ratio) ** 2).sum() * dx
checks.close("double well: rate of the KL divergence", kl_rate, -fisher, rtol=1e-4)

# %% [markdown]
r"""
## The unadjusted Langevin algorithm

```{margin}
**In the sources.** Oslo, 16 April, *More on the SGLD*; CS236 notes, *Energy based models* and *Generating samples*.
```

**A step of length $\eta$ in time is a step along the score and a random kick of variance $2 \eta$:**

$$
\begin{aligned}
x_{k+1} &= x_k + \eta\, \nabla \log p(x_k) + \sqrt{2 \eta}\; \xi_k, \\
\xi_k &\sim N(0, I) .
\end{aligned}
$$ (eq-lan-ula)

"Unadjusted" says that no verdict follows: every step is taken.
"""


# %% tags=["twin:dgm.samplers.langevin"]
@torch.no_grad()
def langevin(x, score, step_size, *, generator=None):
    while True:
        noise = torch.randn(
            x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        x = x + step_size * score(x) + math.sqrt(2 * step_size) * noise
        yield x


def after(steps, chain):
    """The state of a chain after so many steps."""
    return next(islice(chain, steps - 1, None))


# %% tags=["check"]
where = torch.tensor([0.3, -0.8])
once = after(1, langevin(where.expand(100_000, 2), score, 0.1))
expected = where + 0.1 * score(where[None])[0]
checks.unbiased("one step: the mean has moved by eta s(x)", once, expected)
checks.unbiased(
    "one step: variance 2 eta, coordinates independent",
    (once - expected)[:, :, None] * (once - expected)[:, None],
    0.2 * torch.eye(2),
)

# %% [markdown]
r"""
Now the wells.
All particles start at one point, in the smallest well.
Watch two times in {numref}`fig-lan-film`.
Within about one unit the cloud fills its well; the shares of the wells need more than ten times as long to settle.
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "500 particles of the unadjusted Langevin algorithm with step size 0.01, and the share of each well, which weigh 50 %, 30 % and 20 %. The time between pictures grows from 0.05 to 2.6 units.", "name": "fig-lan-film"}}
def frame(x):
    """One picture of the film: particles, and the share of each well."""
    fig, ax = plt.subplots(figsize=(4.6, 4.6), dpi=80)
    contours(ax)
    ax.plot(*x.T, ".", color=plotting.COLOURS[1], markersize=5)
    for k, centre in enumerate(CENTRES):
        ax.annotate(
            f"{(which_well(x) == k).double().mean():.0%}",
            centre + torch.tensor([0.0, 1.35]),
            ha="center",
            bbox=dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1),
        )
    return fig


def film_steps():
    """Yields the particles after 0, 5, 10, ... 3,000 steps."""
    chain = langevin(CENTRES[2].expand(500, 2), score, 0.01)
    yield CENTRES[2].expand(500, 2)
    for before, now in pairwise(FILM_STEPS):
        yield after(now - before, chain)


FILM_STEPS = (0, 5, 10, 20, 40, 70, *range(100, 400, 75), *range(400, 3_001, 260))
plotting.film(
    (frame(x) for x in film_steps()),
    labels=[f"time {step / 100:.2f}" for step in FILM_STEPS],
    alt="500 points start as one point in the upper well of a landscape with three "
    "wells. They spread in that well within a few frames. Over the following frames "
    "more and more of them appear in the two lower wells, until about half are at the "
    "lower left, three in ten at the lower right and two in ten above.",
    width=460,
)

# %%
reach = torch.linspace(-6, 6, 601)
plane = torch.cartesian_prod(reach, reach)
mass = torch.softmax(-energy(plane), 0)  # of each grid point
shares = torch.stack([mass[which_well(plane) == k].sum() for k in range(3)])


def counted(x):
    """One row for each particle, with a 1 in the column of its well."""
    return torch.nn.functional.one_hot(which_well(x), 3).double()


chain = langevin(CENTRES[2].expand(P.num_particles, 2), score, 0.02)
early, late = after(50, chain), after(1_450, chain)

# %% tags=["check"]
own_well = early[which_well(early) == 2]
checks.at_least(
    "time 1: share that is still in the first well", len(own_well) / len(early), 0.8
)
ratio = own_well[:, 0].var() / WIDTH**2
checks.close(
    "time 1: variance across that well, over its final value", ratio, 1, atol=0.3
)
# The law itself is off by a share of about eta / 2 WIDTH^2 = 0.028.
checks.close(
    "time 30: shares of the wells",
    counted(late).mean(0),
    shares,
    atol=0.028 + 5 * 0.5 / len(late) ** 0.5,
)

# %% [markdown]
r"""
## What the step size does to the answer

**For a finite step the stationary law is not $p$, and for a Gaussian we know exactly what it is.**
Take $p = N(0, 1)$, whose score is $-x$, and a rule with drift $a \eta$ and noise variance $c\, \eta$.
One step turns the variance $v$ into $(1 - a \eta)^2\, v + c\, \eta$, so that the stationary variance is

$$
v_\infty = \frac{c\, \eta}{1 - (1 - a \eta)^2} .
$$ (eq-lan-stationary-variance)

Three rules are found in books and programs:

| rule | $a$ | $c$ | $v_\infty$ | at small $\eta$ |
|---|---|---|---|---|
| $x + \eta s + \sqrt{2 \eta}\, \xi$ | 1 | 2 | $1 / (1 - \eta/2)$ | 1 |
| $x + \tfrac{\eta}{2} s + \sqrt{\eta}\, \xi$ | 1/2 | 1 | $1 / (1 - \eta/4)$ | 1 |
| $x + \eta s + \sqrt{\eta}\, \xi$ | 1 | 1 | $1 / (2 - \eta)$ | **1/2** |

```{margin}
**A common mistake:** the third rule; it stands in lecture notes.
Do not test it on a Gaussian with $\eta = 1$: there it gives the variance 1 by accident.
```

All of them need $|1 - a \eta| < 1$, or they diverge.
The first two are the same rule with another name for the step, right up to an error of order $\eta$.
The third has half the noise, and for this density it is right at a single step size ({numref}`fig-lan-rules`).
"""

# %%
RULES = {  # drift a, noise c, and the stationary variance in closed form
    "drift 1, noise 2": (1.0, 2.0, lambda eta: 1 / (1 - eta / 2)),
    "drift 1/2, noise 1": (0.5, 1.0, lambda eta: 1 / (1 - eta / 4)),
    "drift 1, noise 1": (1.0, 1.0, lambda eta: 1 / (2 - eta)),
}
ETAS = (0.1, 0.5, 1.0, 1.5)


def variance_after(steps, eta, a, c, v=1.0):
    """The recursion, step by step."""
    for _ in range(steps):
        v = (1 - a * eta) ** 2 * v + c * eta
    return v


def simulate(eta, a, c, steps=150):
    """Independent chains, one number from each, long after they forgot their start."""
    x = torch.randn(P.num_chains)
    for _ in range(steps):
        x = x - a * eta * x + math.sqrt(c * eta) * torch.randn_like(x)
    return x


measured = {
    name: {eta: simulate(eta, a, c) for eta in ETAS}
    for name, (a, c, _) in RULES.items()
}

# %% tags=["check"]
for name, (a, c, closed_form) in RULES.items():
    exact = torch.tensor([closed_form(eta) for eta in ETAS])
    by_recursion = [variance_after(2_000, eta, a, c) for eta in ETAS]
    simulated = torch.stack(list(measured[name].values()), 1)
    checks.close(f"{name}: recursion", by_recursion, exact, rtol=1e-12)
    checks.unbiased(f"{name}: simulation", simulated.square(), exact)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Variance of what three rules sample when the target has variance 1. Lines: closed form. Points: simulation; its error is smaller than a point.", "name": "fig-lan-rules"}, "image": {"alt": "Variance against step size from 0 to 1.6. Two curves start at one and rise, one of them twice as fast. The third starts at one half and crosses the line at one where the step size is one. Points lie on all three curves."}}
fig, ax = plt.subplots()
eta_axis = torch.linspace(0.01, 1.6, 100)
for (name, (_, _, closed_form)), colour in zip(
    RULES.items(), plotting.COLOURS, strict=False
):
    ax.plot(eta_axis, closed_form(eta_axis), color=colour, label=name)
    variances = [measured[name][eta].square().mean() for eta in ETAS]
    ax.plot(ETAS, variances, "o", color=colour)
plotting.reference_line(ax, 1.0, "target")
plotting.reference_line(ax, 0.5, "one half")
ax.set(xlabel=r"step size $\eta$", ylabel="variance", ylim=(0, 4.4))
_ = ax.legend(loc="upper left")

# %% [markdown]
r"""
We record how far the variance that `langevin` gives is from $1/(1 - \eta/2)$, in standard errors.
Half the chains start far too narrow and half far too wide, so that a chain that does not move would be seen.
"""


# %%
def two_starts():
    """Half of the chains at 0, half of them five times too wide."""
    return torch.cat(
        [torch.zeros(P.num_chains // 2), 5 * torch.randn(P.num_chains // 2)]
    )


def in_standard_errors(squares, expected):
    """|mean - expected| over the standard error of the mean, for independent squares."""
    return (squares.mean() - expected).abs() / (squares.std() / len(squares) ** 0.5)


ETA = 0.5
x = after(60, langevin(two_starts(), lambda x: -x, ETA))
ula_error = run.record(
    "ula_variance_error_in_standard_errors",
    in_standard_errors(x.square(), 1 / (1 - ETA / 2)),
    unit="standard errors",
    protocol=f"|variance - 1 / (1 - eta/2)| of {P.num_chains:,} independent chains of 60 "
    f"unadjusted Langevin steps with eta = {ETA} on N(0, 1), half from 0, half from N(0, 25)",
)
# %% tags=["check"]
checks.at_most("ULA: error of the variance in standard errors", ula_error, 5)
bias = 1 / (1 - ETA / 2) - 1
error = x.square().std() / len(x) ** 0.5
checks.at_least("the bias itself, in standard errors", bias / error, 10)

# %% [markdown]
r"""
## Half the noise is half the temperature

**The rule with half the noise samples $p^2$, whatever $p$ is.**
With $\eta' = \eta / 2$ it reads $x + \eta'\, \nabla \log p^2 + \sqrt{2 \eta'}\, \xi$: the correct rule for the density $p(x)^2 / Z'$, that is, for the temperature one half.
A Gaussian only becomes narrower.
A density with two wells shows the damage: as long as the wells are equally wide and hardly overlap, squaring turns the weights 4 : 1 into 16 : 1 ({numref}`fig-lan-squared`).

On a line we need no simulation.
One step is a matrix of transition probabilities between grid points, and its stationary law is the exact answer, step-size error included.
"""

# %%
grid = torch.linspace(-5, 5, 501)


def step_kernel(score, eta, a, c):
    """K[i, j] of the rule with drift a and noise c, between the points of the grid."""
    mean = grid + a * eta * score(grid)
    return torch.softmax(-((grid - mean[:, None]) ** 2) / (2 * c * eta), 1)


def normalised(log_f):
    return torch.softmax(log_f, 0)


def distance(p, q):
    """Total variation distance of two distributions on the grid."""
    return 0.5 * (p - q).abs().sum().item()


def double_well_score(x):
    return score_of(lambda x: -log_double_well(x))(x)


p_well = normalised(log_double_well(grid))
p_squared = normalised(2 * log_double_well(grid))
half_noise = {
    eta: stationary(step_kernel(double_well_score, eta, 1.0, 1.0))
    for eta in (0.02, 0.01)
}
right_noise = {
    eta: stationary(step_kernel(double_well_score, eta, 1.0, 2.0))
    for eta in (0.02, 0.01)
}

# %% tags=["check"]
for name, laws, target in (
    ("noise 1 samples p^2", half_noise, p_squared),
    ("noise 2 samples p", right_noise, p_well),
):
    errors = {eta: distance(law, target) for eta, law in laws.items()}
    checks.at_most(f"{name}: distance at step size 0.01", errors[0.01], 0.02)
    # An error of order eta is halved with eta, up to the next order, some per cent.
    checks.close(
        f"{name}: error at 0.02 over error at 0.01",
        errors[0.02] / errors[0.01],
        2,
        rtol=0.1,
    )
checks.at_least("noise 1: distance to p", distance(half_noise[0.01], p_well), 0.1)
heavy = grid < 0
checks.close(
    "weight of the left well in p^2, but for the overlap",
    p_squared[heavy].sum(),
    16 / 17,
    rtol=1e-3,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact stationary laws of the two rules at step size 0.01 (lines) on a density with two wells of weights 0.8 and 0.2, and the densities that they sample (dots).", "name": "fig-lan-squared"}, "image": {"alt": "Two peaked curves over x. One has a tall left and a clearly visible right peak. The other is narrower and taller on the left and almost absent on the right. Dots of p lie on the first, dots of p squared on the second."}}
fig, ax = plt.subplots()
spacing = (grid[1] - grid[0]).item()
for name, law, target, symbol, colour in (
    ("noise 2", right_noise[0.01], p_well, "p", plotting.COLOURS[0]),
    ("noise 1", half_noise[0.01], p_squared, "$p^2$, normalised", plotting.COLOURS[1]),
):
    ax.plot(grid, law / spacing, color=colour, label=name)
    ax.plot(
        grid[::8], target[::8] / spacing, "o", color=colour, markersize=4, label=symbol
    )
ax.set(xlabel="x", ylabel="density", xlim=(-4, 4))
_ = ax.legend()

# %% [markdown]
r"""
## Smaller steps, and more of them

```{margin}
**In the sources.** CS236 notes, *Generating samples*: step size to zero, number of steps to infinity.
```

**The chain comes to $p$ only if two limits are taken at once: $\eta \to 0$, and $k\, \eta \to \infty$ for $k$ steps.**
From the point $x_0$ the law after $k$ steps on $N(0, 1)$ is a Gaussian with

$$
m_k = (1 - \eta)^k\, x_0,
\qquad
v_k = \frac{1 - (1 - \eta)^{2k}}{1 - \eta/2} .
$$ (eq-lan-variance-after)

What the start has left behind is in $m_k$ and in the numerator, the error of the step is the denominator.
The distance to the target is $\mathrm{KL} = \frac{1}{2} (v_k + m_k^2 - 1 - \log v_k)$.
With a fixed number of steps one error is traded for the other ({numref}`fig-lan-budget`).
"""


# %%
START = 2.0


def law_after(k, eta):
    """Mean and variance after k steps from START."""
    return START * (1 - eta) ** k, (1 - (1 - eta) ** (2 * k)) / (1 - eta / 2)


def kl_to_target(mean, variance):
    """KL(N(mean, variance) || N(0, 1)) in nats."""
    return 0.5 * (variance + mean**2 - 1 - torch.log(torch.as_tensor(variance)))


# %% tags=["check"]
for k, eta in ((7, 0.3), (50, 0.02)):
    mean, variance = law_after(k, eta)
    checks.close(
        f"{k} steps of {eta}: variance",
        variance,
        variance_after(k, eta, 1, 2, v=0.0),
        rtol=1e-12,
    )
    ends = torch.full((P.num_chains,), START)
    checks.unbiased(
        f"{k} steps of {eta}: mean", after(k, langevin(ends, lambda x: -x, eta)), mean
    )
    log_q = log_normal(line, mean, variance)
    checks.close(
        f"{k} steps of {eta}: KL, against an integral",
        kl_to_target(mean, variance),
        (log_q.exp() * (log_q - log_normal(line, 0.0, 1.0))).sum() * dx,
        atol=1e-9,
    )
k = 10**6
checks.at_most(
    "KL, a million steps of 1/sqrt(k)", kl_to_target(*law_after(k, k**-0.5)), 1e-6
)
checks.at_least("KL, a million steps of 1/k^2", kl_to_target(*law_after(k, k**-2.0)), 1)
checks.close(
    "KL, a million steps of 0.2: that of the variance 1/0.9",
    kl_to_target(*law_after(k, 0.2)),
    kl_to_target(0.0, 1 / 0.9),
    rtol=1e-12,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "KL divergence from the target after k steps from the point 2, exact, against the step size. On the left the chain has not arrived, on the right the steps are too coarse.", "name": "fig-lan-budget"}, "image": {"alt": "Three valleys on logarithmic axes, for ten, a hundred and a thousand steps. Each falls from left to a minimum and rises again along a common line; the more steps, the further left and the lower the minimum."}}
fig, ax = plt.subplots()
eta_axis = torch.logspace(-4, -0.05, 400)
for k in (10, 100, 1_000):
    ax.loglog(eta_axis, kl_to_target(*law_after(k, eta_axis)), label=f"k = {k:,}")
ax.set(xlabel=r"step size $\eta$", ylabel="KL (nats)", ylim=(1e-6, 10))
_ = ax.legend(loc="lower left")

# %% [markdown]
r"""
## An accept step makes it exact

**A Langevin step is a proposal; with the rule of Metropolis and Hastings its stationary law is $p$ at every step size.**
This is MALA, the Metropolis-adjusted Langevin algorithm {cite:p}`roberts1996`.
The proposal prefers the uphill direction, so that the factor of Hastings is needed:

$$
\log q(y \mid x) = -\frac{\lVert y - x - \eta\, s(x) \rVert^2}{4 \eta} + \text{const} .
$$ (eq-lan-mala)
"""


# %%
def mala(score, step_size):
    def log_q(y, x):
        drift = step_size * score(x)
        return -(y - x - drift).square().sum(1) / (4 * step_size)

    def move(x):
        y = after(1, langevin(x, score, step_size))
        return y, log_q(x, y) - log_q(y, x)

    return move


# %% [markdown]
r"""
For $N(0, 1)$ the squares can be collected: the ratio in {eq}`eq-lan-acceptance` becomes $e^{-\eta (y^2 - x^2) / 4}$.
So most proposals are accepted as long as $\eta$ is small, and the mean acceptance is a double integral over $x$ and the noise.
"""


# %%
def acceptance_by_quadrature(eta):
    """Mean of min(1, exp(-eta (y^2 - x^2) / 4)) over x ~ N(0, 1) and the proposal."""
    u = torch.linspace(-8, 8, 1_601)
    weight = normalised(-(u**2) / 2)
    y = (1 - eta) * u[:, None] + math.sqrt(2 * eta) * u
    return weight @ torch.exp(-eta * (y**2 - u[:, None] ** 2) / 4).clamp(max=1) @ weight


def parabola(x):
    return x.square().sum(1) / 2


def parabola_score(x):
    return -x


# %% tags=["check"]
for eta in (0.1, 0.5, 1.0):
    move, x = mala(parabola_score, eta), torch.randn(1_000, 1)
    y, log_q_ratio = move(x)
    checks.close(
        f"step {eta}: logarithm of the ratio, against the collected squares",
        parabola(x) - parabola(y) + log_q_ratio,
        -eta * (y**2 - x**2)[:, 0] / 4,
        atol=1e-12,
    )
    chain = metropolis(torch.randn(P.num_chains, 1), parabola, move)
    x, accepted = next(chain)
    checks.unbiased(
        f"step {eta}: share of accepted proposals",
        accepted.double(),
        acceptance_by_quadrature(eta),
    )

# %%
x, _ = after(40, metropolis(two_starts()[:, None], parabola, mala(parabola_score, ETA)))
mala_error = run.record(
    "mala_variance_error_in_standard_errors",
    in_standard_errors(x.square(), 1.0),
    unit="standard errors",
    protocol=f"|variance - 1| of {P.num_chains:,} independent chains of 40 steps of MALA "
    f"with eta = {ETA} on N(0, 1), half from 0, half from N(0, 25)",
)
# %% tags=["check"]
checks.at_most("MALA: error of the variance in standard errors", mala_error, 5)

# %% [markdown]
r"""
On the grid the same holds to the last digit: the Langevin step is the proposal table, `metropolis_kernel` makes it exact.
In the landscape of the first picture the shares of the wells must be the weights, up to the little of each well that lies nearer to another centre.
"""

# %% tags=["check"]
K = metropolis_kernel(p_well, step_kernel(double_well_score, 0.5, 1.0, 2.0))
checks.close("MALA on the grid: p is stationary", p_well @ K, p_well, atol=1e-15)
without = stationary(step_kernel(double_well_score, 0.5, 1.0, 2.0))
checks.at_least("without the verdict: distance to p", distance(without, p_well), 0.1)

x, _ = after(
    400, metropolis(4 * torch.randn(P.num_particles, 2), energy, mala(score, 0.15))
)
checks.unbiased("shares of the three wells", counted(x), shares)
checks.unbiased(
    "second moments of the cloud",
    x[:, :, None] * x[:, None],
    torch.einsum("n,ni,nj->ij", mass, plane, plane),
)

# %% [markdown]
r"""
Exactness has a price: the chain stands still when a proposal is rejected, and the best step size is a compromise.
In many dimensions the best acceptance is about 0.23 for a random walk {cite:p}`roberts1997` and about 0.57 for MALA {cite:p}`roberts1998`.
"""

# %% [markdown]
r"""
## What a chain is worth

**Successive states are alike, so that $S$ of them are worth fewer independent draws.**
With $\rho_k$, the correlation of states $k$ steps apart, the variance of a mean over a long chain is larger by the *integrated autocorrelation time*

$$
\tau = 1 + 2 \sum_{k \ge 1} \rho_k,
\qquad
S_\text{eff} = \frac{S}{\tau} ,
$$ (eq-lan-ess)

and $S_\text{eff}$ is the *effective sample size*.
The sum can't be taken to the end, because there the estimates of $\rho_k$ are noise around zero.
It is cut where the window is five times as long as the $\tau$ found so far {cite:p}`sokal1997`; an exponential decay has then fallen to $e^{-10}$.
"""


# %%
def autocorrelation_time(chains, mean):
    """tau in steps, of stationary chains (num_steps, num_chains), pooled over chains."""
    num_steps = len(chains)
    centred = chains - mean
    spectrum = torch.fft.rfft(centred, n=2 * num_steps, dim=0).abs().square()
    covariance = torch.fft.irfft(spectrum, dim=0)[:num_steps].mean(1)
    covariance = covariance / torch.arange(num_steps, 0, -1)  # pairs k steps apart
    tau = 2 * torch.cumsum(covariance / covariance[0], 0) - 1
    long_enough = torch.arange(num_steps) >= 5 * tau
    if not long_enough.any():
        raise ValueError(f"chains of {num_steps} steps are too short for their tau")
    return tau[long_enough][0].item()


# %% [markdown]
r"""
For Langevin steps on $N(0, \sigma^2)$ we know the answer: $\rho_k = (1 - \eta / \sigma^2)^k$, a geometric series, so that $\tau = (2 - \eta/\sigma^2) / (\eta / \sigma^2)$.
"""

# %% tags=["check"]
white = torch.randn(41, 3)
short = white[1:] + white[:-1]
by_loops = [
    sum((short[i] * short[i + k]).mean() for i in range(40 - k)) / (40 - k)
    for k in range(40)
]
tau = 1.0
for k in range(1, 40):
    tau += 2 * by_loops[k] / by_loops[0]
    if k >= 5 * tau:
        break
checks.close(
    "by Fourier transform, against loops over pairs",
    autocorrelation_time(short, 0.0),
    tau,
    atol=1e-10,
)
for ratio in (0.5, 0.1):
    chain = langevin(torch.randn(64), lambda x: -x, ratio)
    states = torch.stack(list(islice(chain, 100, 100 + P.chain_length)))
    taus = torch.tensor(
        [autocorrelation_time(part, 0.0) for part in states.split(2, dim=1)]
    )
    checks.unbiased(
        f"autocorrelation time at eta / sigma^2 = {ratio}", taus, (2 - ratio) / ratio
    )

# %% [markdown]
r"""
**A narrow direction dictates the step, a wide one the time it takes; preconditioning makes them equal.**
The step must fit the smallest $\sigma$, and the widest direction then needs of the order of $\sigma_\text{max}^2 / \sigma_\text{min}^2$ steps.
With a matrix $M = L L^\top$ close to the covariance of $p$ the rule

$$
x_{k+1} = x_k + \eta\, M \nabla \log p(x_k) + \sqrt{2 \eta}\, L\, \xi_k
$$ (eq-lan-precondition)

is the plain rule for $z = L^{-1} x$, in which all directions are alike.
So preconditioning is a change of variables, and needs no new sampler: give the old one $E(L z)$.

The test is a Gaussian in ten dimensions, turned at random, with standard deviations from 0.25 to 1.
Each method tunes its step to the acceptance that is best in many dimensions, and the price is counted in evaluations of $E$ or of its gradient: one a step for the random walk, two for MALA.
"""

# %%
DIM = 10
turn, _ = torch.linalg.qr(torch.randn(DIM, DIM))
L = turn * torch.logspace(math.log10(0.25), 0, DIM)  # L L^T is the covariance
widest = turn[:, -1]  # its direction with standard deviation 1


def gaussian(z):
    return z.square().sum(1) / 2


def stretched(x):
    return gaussian(torch.linalg.solve(L, x.T).T)


def tuned(energy, make_move, target, x, size=0.1):
    """Step size at which the share of accepted proposals is `target`, and the last x."""
    for k in range(1, 301):
        x, accepted = next(metropolis(x, energy, make_move(size)))
        size *= math.exp((accepted.double().mean().item() - target) / k**0.5)
    return size, x


# %%
METHODS = {  # energy, move, best acceptance, evaluations a step, back to x
    "random walk": (stretched, random_walk, 0.234, 1, torch.eye(DIM)),
    "MALA": (
        stretched,
        lambda eta: mala(score_of(stretched), eta),
        0.574,
        2,
        torch.eye(DIM),
    ),
    "MALA, preconditioned": (
        gaussian,
        lambda eta: mala(score_of(gaussian), eta),
        0.574,
        2,
        L,
    ),
}
price, along_widest = {}, {}
for name, (target_energy, make_move, target, evaluations, back) in METHODS.items():
    start = torch.randn(32, DIM) @ (torch.eye(DIM) if back is L else L.T)
    size, x = tuned(target_energy, make_move, target, start)
    states = islice(metropolis(x, target_energy, make_move(size)), P.chain_length)
    along = torch.stack([x @ back.T @ widest for x, _ in states])
    taus = torch.tensor(
        [autocorrelation_time(part, 0.0) for part in along.split(2, dim=1)]
    )
    price[name], along_widest[name] = evaluations * taus, along
    print(f"{name}: step {size:.3g}, {price[name].mean():.0f} evaluations a draw")

# %% tags=["check"]
for name, cheaper in (("random walk", "MALA"), ("MALA", "MALA, preconditioned")):
    gain = (price[name] / price[cheaper].mean()).mean()
    checks.at_least(f"{name} over {cheaper}, evaluations for one draw", gain, 1.2)
for name in METHODS:
    checks.unbiased(
        f"{name}: variance along the widest direction, 32 chains",
        along_widest[name].square().mean(0),
        1.0,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Evaluations of the energy or its gradient that one independent draw of the widest coordinate costs, in ten dimensions with standard deviations from 0.25 to 1; a gradient counts as one evaluation. Error bars: one standard error from independent pairs of chains.", "name": "fig-lan-price"}, "image": {"alt": "Three horizontal bars on a logarithmic axis. Random walk is the longest with more than a hundred evaluations, MALA needs somewhat more than half of that, preconditioned MALA less than ten."}}
fig, ax = plt.subplots(figsize=(7.0, 2.2))
means = [taus.mean() for taus in price.values()]
errors = [taus.std() / len(taus) ** 0.5 for taus in price.values()]
ax.barh(list(price), means, xerr=errors, color=plotting.COLOURS[0], height=0.6)
ax.set(xscale="log", xlabel="evaluations for one independent draw", xlim=(1, 1e3))
ax.invert_yaxis()
_ = ax.grid(axis="y", visible=False)

# %% [markdown]
r"""
A Langevin step costs a gradient, and one independent draw takes many steps ({numref}`fig-lan-price`).
So training an energy model by sampling is slow; [the next lecture](energy_models.ipynb) trains by short chains, and [the one after it](noise_contrastive.ipynb) without samples.
"""

# %% [markdown]
r"""
## A posterior from mini-batches

```{margin}
**A common mistake:** "Langevin sampling, also called SGLD", and for "an optimisation algorithm".
SGLD is Langevin sampling of one kind of density, a posterior, with a noisy gradient; and what it returns is a sample.
```

**Stochastic gradient Langevin dynamics is the Langevin rule for the parameters of a model, with the gradient of a mini-batch.**
The posterior of parameters $\theta$ after $N$ data $d_i$ is $p(\theta) \prod_i p(d_i \mid \theta)$ up to a factor.
A mini-batch $B$ of $n$ data, drawn with replacement, gives an unbiased estimate of its score if it is scaled up {cite:p}`welling2011`:

$$
\hat s(\theta) = \nabla_\theta \log p(\theta)
+ \frac{N}{n} \sum_{i \in B} \nabla_\theta \log p(d_i \mid \theta) .
$$ (eq-lan-sgld)

```{margin}
**In the sources.** Oslo, 16 April, *Langevin sampling*.
```

The first example is one where the posterior is known: a straight line through 100 measurements with Gaussian errors of known size, and a Gaussian prior of width 1.
In the language of the laboratory: a force against an extension, that is, a spring constant and an offset.
"""

# %%
N, n, SIGMA, PRIOR = 100, 10, 0.5, 1.0
TRUTH = torch.tensor([1.5, 0.8])  # offset and slope


def measure(num):
    """Extensions with a column of ones, and forces with errors."""
    extension = 2 * torch.rand(num)
    design = torch.stack([torch.ones(num), extension], 1)
    return design, design @ TRUTH + SIGMA * torch.randn(num)


design, force = measure(N)
precision = design.T @ design / SIGMA**2 + torch.eye(2) / PRIOR**2
posterior_mean = torch.linalg.solve(precision, design.T @ force / SIGMA**2)
posterior_cov = torch.linalg.inv(precision)


def log_posterior(theta):
    """Up to a constant, for theta (num_chains, 2)."""
    residual = force - theta @ design.T
    return -residual.square().sum(1) / (2 * SIGMA**2) - theta.square().sum(1) / (
        2 * PRIOR**2
    )


def minibatch_score(theta):
    """An unbiased estimate of the score; each chain draws its own mini-batch."""
    rows = torch.randint(N, (len(theta), n))
    residual = force[rows] - (design[rows] @ theta[:, :, None]).squeeze(2)
    pull = (residual[:, :, None] * design[rows]).sum(1) / SIGMA**2
    return (N / n) * pull - theta / PRIOR**2


# %% tags=["check"]
some = posterior_mean + 0.2 * torch.randn(5, 2)
full_score = score_of(lambda theta: -log_posterior(theta))
checks.close(
    "score of the posterior, against its Gaussian form",
    full_score(some),
    -(some - posterior_mean) @ precision,
    atol=1e-10,
)
checks.unbiased(
    "score of a mini-batch",
    minibatch_score(some[0].expand(100_000, 2)),
    full_score(some[:1])[0],
)

# %% [markdown]
r"""
**The noise of the mini-batches widens the answer, and by how much can be computed.**
In one dimension, with precision $\lambda$ and a gradient noise of variance $V$, one step turns the variance $v$ into $(1 - \eta \lambda)^2 v + \eta^2 V + 2 \eta$, so that

$$
v_\infty = \frac{2 + \eta V}{2 \lambda - \eta \lambda^2} .
$$ (eq-lan-sgld-variance)

For small steps this is $1/\lambda$: the noise that we add has variance $2 \eta$, that of the mini-batch only $\eta^2 V$.
But $V$ grows as $N^2 / n$, and the step must be small against $2 / V$ and not only against $2 / \lambda$.

In the regression the noise itself depends on $\theta$.
Its covariance is quadratic in the deviation from the posterior mean, whose average is zero, so that the mean of this covariance needs $C$ alone and $C$ still solves a linear equation.
With $\Lambda$ the precision, $u_i$ the gradient of datum $i$ at the posterior mean, $D_i$ the deviation of its second derivative from the mean one, and $\mathrm{Cov}$ taken over data,

$$
\begin{aligned}
C &= (I - \eta \Lambda)\, C\, (I - \eta \Lambda) + 2 \eta I \\
&\quad + \frac{\eta^2 N^2}{n} \Bigl( \mathrm{Cov}(u) + \frac{1}{N} \sum_i D_i C D_i \Bigr) .
\end{aligned}
$$ (eq-lan-sgld-covariance)
"""

# %%
u = (force - design @ posterior_mean)[:, None] * design / SIGMA**2
D = design[:, :, None] * design[:, None] / SIGMA**2
D = D - D.mean(0)


def step_of_covariance(C, eta, n=n):
    """The right-hand side of the equation; n = inf is Langevin with all data."""
    B = torch.eye(2) - eta * precision
    noise = torch.cov(u.T, correction=0) + (D @ C @ D).mean(0)
    return B @ C @ B + 2 * eta * torch.eye(2) + eta**2 * N**2 / n * noise


def stationary_covariance(eta, n=n):
    C = posterior_cov
    for _ in range(3_000):
        C = step_of_covariance(C, eta, n)
    return C


def area_ratio(C):
    """Area of the ellipse of C over that of the posterior."""
    return (C.det() / posterior_cov.det()).sqrt().item()


def posterior_draws(num):
    return posterior_mean + torch.randn(num, 2) @ torch.linalg.cholesky(posterior_cov).T


SGLD_ETAS = (4e-4, 1e-4)
sgld = {
    eta: after(
        int(0.08 / eta), langevin(posterior_draws(P.sgld_chains), minibatch_score, eta)
    )
    for eta in SGLD_ETAS
}

# %% tags=["check"]
# Four points with mean zero and covariance C, and all gradients of single data there.
C = torch.tensor([[0.5, 0.1], [0.1, 0.3]])
corners = 2**0.5 * torch.linalg.cholesky(C).T
around = torch.cat([corners, -corners])
theta = posterior_mean + around
single = (force - theta @ design.T)[:, :, None] * design / SIGMA**2
moved = around + 1e-3 * (N * single.mean(1) - theta / PRIOR**2)
scatter = single - single.mean(1, keepdim=True)
checks.close(
    "covariance after one step of 0.001, against all pairs of a point and a datum",
    step_of_covariance(C, 1e-3),
    moved.T @ moved / 4
    + 1e-6 * N**2 / n * torch.einsum("pki,pkj->ij", scatter, scatter) / (4 * N)
    + 2e-3 * torch.eye(2),
    atol=1e-12,
)

# %% tags=["check"]
x = after(
    60, langevin(torch.randn(P.num_chains), lambda x: -x + 2 * torch.randn_like(x), 0.2)
)
checks.unbiased("one dimension, V = 4, step 0.2: 2.8 / 1.8", x.square(), 2.8 / 1.8)
for eta, theta in sgld.items():
    deviation = theta - posterior_mean
    C = stationary_covariance(eta)
    checks.unbiased(f"SGLD, step {eta}: mean", deviation, torch.zeros(2))
    checks.unbiased(
        f"SGLD, step {eta}: covariance", deviation[:, :, None] * deviation[:, None], C
    )
    without = area_ratio(stationary_covariance(eta, n=math.inf))
    print(f"step {eta}: area over that of the posterior {area_ratio(C):.3f}")
    print(f"    with the gradient of all data {without:.3f}")
all_data = stationary_covariance(SGLD_ETAS[0], n=math.inf)
closed_form = 2 * torch.linalg.inv(2 * precision - SGLD_ETAS[0] * precision @ precision)
checks.close(
    "all data: 2 / (2 Lambda - eta Lambda^2)", all_data, closed_form, atol=1e-12
)
checks.ordered(
    "area over that of the posterior",
    {
        "posterior": 1.0,
        "all data": area_ratio(all_data),
        "mini-batches": area_ratio(stationary_covariance(SGLD_ETAS[0])),
    },
)

# %% [markdown]
r"""
With steps that shrink, both errors die and the posterior itself is reached: the steps must add up to infinity, so that the start is forgotten, and go to zero, so that by {eq}`eq-lan-sgld-variance` the excess is too.
{cite:t}`welling2011` ask in addition that the sum of their squares be finite.
The usual choice is $\eta_k = \eta_0\, (1 + k / k_0)^{-\gamma}$ with $1/2 < \gamma \le 1$.
The covariance after any number of steps follows from the same recursion.
Half of the chains start far on one side of the posterior, half on the other.
"""

# %%
decreasing = [4e-4 * (1 + k / 20) ** -0.6 for k in range(2_000)]
far = torch.full((2_000, 2), 2.0)
far[::2] = -2.0
theta, C = posterior_mean + far, torch.full((2, 2), 4.0)
for eta in decreasing:
    theta = after(1, langevin(theta, minibatch_score, eta))
    C = step_of_covariance(C, eta)
print(f"area over that of the posterior {area_ratio(C):.3f}")

# %% tags=["check"]
deviation = theta - posterior_mean
checks.unbiased("decreasing steps: mean", deviation, torch.zeros(2))
checks.unbiased(
    "decreasing steps: second moments around the posterior mean",
    deviation[:, :, None] * deviation[:, None],
    C,
)
checks.ordered(
    "area over that of the posterior, decreasing steps and the smaller constant one",
    {"decreasing": area_ratio(C), "constant": area_ratio(stationary_covariance(1e-4))},
)
checks.at_most("what is left of both errors", abs(area_ratio(C) - 1), 0.1)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the measurements, and the lines of twenty SGLD chains. Middle and right: offset and slope of 800 chains with a constant step (dots), the covariance that the theory predicts for them (solid) and the exact posterior (dashed), both at two standard deviations, which hold 86 % in two dimensions. Cross: the true values.", "name": "fig-lan-sgld"}, "image": {"alt": "Three panels. A hundred scattered points with a narrow fan of rising lines through them. Then two tilted clouds of dots: at the large step the cloud fills a solid ellipse that is clearly wider than the dashed one inside; at a quarter of the step the solid ellipse is only a little larger."}}
def ellipse(cov):
    """Points two standard deviations from the mean."""
    angle = torch.linspace(0, 2 * math.pi, 200)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    return posterior_mean + 2 * circle @ torch.linalg.cholesky(cov).T


fig, (left, *axes) = plt.subplots(1, 3, figsize=(7.6, 3.2))
left.plot(design[:, 1], force, ".", color="black", markersize=4)
ends = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
left.plot(
    ends[:, 1], ends @ sgld[1e-4][:20].T, color=plotting.COLOURS[5], linewidth=0.8
)
left.set(xlabel="extension", ylabel="force")
for ax, eta in zip(axes, SGLD_ETAS, strict=True):
    ax.plot(*sgld[eta][:800].T, ".", color=plotting.COLOURS[5], markersize=2.5)
    cov = stationary_covariance(eta)
    ax.plot(*ellipse(cov).T, color=plotting.COLOURS[0], label=f"SGLD, {eta:.4f}")
    ax.plot(*ellipse(posterior_cov).T, "k--", label="posterior")
    ax.plot(*TRUTH, "x", color=plotting.COLOURS[1], markersize=9, markeredgewidth=3)
    (left_end, bottom), (right_end, top) = (
        posterior_mean + side * 4.5 * posterior_cov.diag().sqrt() for side in (-1, 1)
    )
    ax.set(xlabel="offset", xlim=(left_end, right_end), ylim=(bottom, top))
    ax.legend(loc="upper right", fontsize=9)
_ = axes[0].set(ylabel="slope")

# %% [markdown]
r"""
What is a posterior for?
For predictions with error bars: the density of a new measurement is the mean of $p(d \mid \theta)$ over the posterior.
On new measurements we compare this mean over SGLD's chains with the exact predictive density, which is a Gaussian.
They differ by less than a hundredth of a nat; which of them is ahead depends on the data that were drawn.
"""

# %%
new_design, new_force = measure(4_000)
chains = sgld[SGLD_ETAS[1]][:1_000]
by_chain = log_normal(new_force[:, None], new_design @ chains.T, SIGMA**2)
log_density = torch.logsumexp(by_chain, 1) - math.log(len(chains))

spread = SIGMA**2 + ((new_design @ posterior_cov) * new_design).sum(1)
predictive = torch.distributions.Normal(new_design @ posterior_mean, spread.sqrt())
exact_log_density = predictive.log_prob(new_force)

run.record(
    "sgld_heldout_log_density",
    log_density.mean(),
    unit="nats per measurement",
    standard_error=log_density.std() / len(log_density) ** 0.5,
    protocol=f"straight line, {N} measurements, mean predictive density over 1,000 SGLD "
    f"chains with eta = {SGLD_ETAS[1]} and mini-batches of {n}, 4,000 new measurements",
)
exact = run.record(
    "exact_heldout_log_density",
    exact_log_density.mean(),
    unit="nats per measurement",
    standard_error=exact_log_density.std() / len(log_density) ** 0.5,
    protocol="the same, with the exact posterior",
)

# %% tags=["check"]
checks.close("SGLD against the exact posterior", log_density.mean(), exact, atol=0.01)
gain = exact_log_density - log_normal(new_force, new_design @ TRUTH, SIGMA**2)
# Over data sets the loss against the truth is chi-squared with 2 degrees of freedom
# over 2 N; that is above 28 once in a million. Nobody gains but by luck.
checks.at_least("exact prediction minus the truth", gain.mean(), -28 / (2 * N))
luck = 5 * gain.std() / len(gain) ** 0.5
checks.at_most("exact prediction minus the truth", gain.mean(), luck)

# %% [markdown]
r"""
## Which gradient is which

```{margin}
**In the sources.** Oslo, 16 April, *Code example of Langevin Sampling*; CS236 notes, *Score matching optimization*.
```

**The gradient that moves a sample and the gradient that teaches a model are two things, and only the second has two phases, a mean over data and one over the model.**
For a model $p_\theta(x) = e^{-E_\theta(x)} / Z(\theta)$

$$
\begin{aligned}
\nabla_x \log p_\theta(x) &= -\nabla_x E_\theta(x), \\
\nabla_\theta \log p_\theta(x) &= -\nabla_\theta E_\theta(x) + \mathbb{E}_{x' \sim p_\theta} \nabla_\theta E_\theta(x') .
\end{aligned}
$$ (eq-lan-two-gradients)

| | $\nabla_x \log p_\theta$ | $\nabla_\theta \log p_\theta$ |
|---|---|---|
| what it moves | a sample, parameters fixed | the parameters, data fixed |
| $Z(\theta)$ | drops out: it does not depend on $x$ | gives the negative phase |
| needs samples of the model | no | yes |
| used by | Langevin, MALA | contrastive divergence, maximum likelihood |

```{margin}
**A common mistake:** "the score loses $Z$ because $Z$ does not depend on $\theta$".
It does depend on $\theta$; it does not depend on $x$.
```

SGLD is the case where the two meet: there the "sample" is $\theta$, and the data are fixed.

The example is a family of double wells, $E_\theta(x) = x^4/4 - \theta x^2/2$, whose $Z(\theta)$ is an integral on a line.
"""


# %%
def quartic(x, theta):
    return x**4 / 4 - theta * x**2 / 2


def quartic_log_prob(theta):
    """Normalised on the line."""
    return (
        -quartic(line, theta) - torch.logsumexp(-quartic(line, theta), 0) - math.log(dx)
    )


THETA = 1.5
inner = line.abs() < 3
x, _ = after(
    300,
    metropolis(
        torch.randn(P.num_particles, 1),
        lambda x: quartic(x[:, 0], THETA),
        mala(score_of(lambda x: quartic(x[:, 0], THETA)), 0.1),
    ),
)
negative_phase = (
    -x[:, 0].square() / 2
)  # gradient of E in theta, at samples of the model

# %% tags=["check"]
log_p = quartic_log_prob(THETA)
checks.close(
    "gradient in x: no Z",
    derivative(log_p)[inner],
    score_of(lambda x: quartic(x, THETA))(line[inner]),
    atol=1e-4,  # central differences: dx^2 / 6 times third derivatives of about 20
)
h = 1e-4
by_differences = (quartic_log_prob(THETA + h) - quartic_log_prob(THETA - h)) / (2 * h)
mean_over_model = -(log_p.exp() * line**2 / 2).sum() * dx
checks.close(
    "gradient in theta: both phases",
    (line**2 / 2 + mean_over_model)[inner],
    by_differences[inner],
    atol=1e-7,
)
checks.unbiased("negative phase by MALA", negative_phase, mean_over_model)
shifted = quartic(line, THETA) + 7 * THETA  # a function of theta alone, added to E
checks.close(
    "adding 7 theta to the energy changes no probability",
    -shifted - torch.logsumexp(-shifted, 0) - math.log(dx),
    log_p,
    atol=1e-12,
)

# %% [markdown]
r"""
## Where Langevin sampling fails

```{margin}
**In the sources.** CS236 notes, *Generating samples*, the last points.
```

**The unadjusted chain diverges where the energy is steeper than a parabola, and every chain waits long in front of a barrier.**

The step $-\eta\, x^3$ of the energy $x^4/4$ overshoots as soon as $\eta x^2 > 2$, and lands further out than it came from.
The noise gets there in the end at any step size; how soon depends steeply on $\eta$.
MALA refuses such a step.
From the bulk of the density that makes it exact; from far out it refuses nearly every step and stays where it is; only the share of accepted steps tells it.
"""


# %%
def quartic_energy(x):
    return x[:, 0] ** 4 / 4


def cubic_pull(x):
    return -(x**3)


lost = {}
for eta in (0.1, 0.2, 0.3):
    x = after(2_000, langevin(torch.randn(1_000, 1), cubic_pull, eta))
    lost[eta] = 1 - x.isfinite().double().mean()
    print(f"step {eta}: {lost[eta]:.1%} of the unadjusted chains are lost")
bulk, _ = after(
    200,
    metropolis(torch.randn(P.num_particles, 1), quartic_energy, mala(cubic_pull, 0.1)),
)
far_out = torch.full((1_000, 1), 1.1 * math.sqrt(2 / 0.1))
far_chain = metropolis(far_out, quartic_energy, mala(cubic_pull, 0.1))
stuck, _ = after(200, far_chain)
_, accepted = next(far_chain)

# %% tags=["check"]
beyond = after(12, langevin(far_out, cubic_pull, 0.1))
checks.true(
    "ULA, far out: no chain is finite after 12 steps", not beyond.isfinite().any()
)
checks.at_least("ULA from the bulk, step 0.3: share that is lost", lost[0.3], 0.9)
checks.at_least("ULA from the bulk, step 0.2: share that is lost", lost[0.2], 0.01)
quartic_law = torch.softmax(-(line**4) / 4, 0)
checks.unbiased(
    "MALA from the bulk: mean of x^2", bulk[:, 0].square(), quartic_law @ line**2
)
checks.at_least(
    "MALA from far out: share stuck", (stuck == far_out).double().mean(), 0.95
)
checks.at_most("MALA from far out: accepted steps", accepted.double().mean(), 0.05)

# %% [markdown]
r"""
The barrier is worse, because nothing looks wrong.
Take two Gaussian wells at $\pm b$ with $\sigma = 1$, and let $t(x)$ be the mean time until a particle from $x < 0$ first comes to zero.
A time $\mathrm{d}t$ later the particle stands elsewhere and has $\mathrm{d}t$ less to wait, $t(x) = \mathrm{d}t + \mathbb{E}\, t(x + \mathrm{d}x)$; with the mean change {eq}`eq-lan-generator` of $g = t$ this is

$$
t' \nabla \log p + t'' = -1, \qquad t(0) = 0 .
$$

On a line, with no particle lost at $-\infty$, two integrals solve it {cite:p}`haenggi1990`:

$$
t(-b) = \int_{-b}^{0} \frac{1}{p(y)} \int_{-\infty}^{y} p(z)\, \mathrm{d}z\, \mathrm{d}y
\;\approx\; \frac{\pi^{3/2}}{\sqrt{8}}\; \frac{e^{b^2/2}}{b} .
$$ (eq-lan-passage)

For large $b$ the inner integral is one half and $1/p = \sqrt{2 \pi}\, e^{b^2/2} / \cosh(b y)$ near the top of the barrier, which gives the second form: the time grows exponentially with the height of the barrier.
For the discrete chain the mean number of steps solves a linear equation with the transition matrix of the left half.
It comes out longer, because a chain can jump over zero and back between two looks; the known correction is a wall that stands $0.5826 \sqrt{2 \eta}$ further away {cite:p}`broadie1997`.
"""


# %%
def log_two_wells(x, b):
    return torch.logaddexp(log_normal(x, -b, 1.0), log_normal(x, b, 1.0)) - math.log(2)


def two_wells_score(x, b):
    return -x + b * torch.tanh(b * x)


def passage_time(b, wall=0.0):
    """The double integral up to `wall`, by sums from the left end of the line."""
    p = log_two_wells(line, b).exp()
    inner = torch.cumsum(p, 0) * dx
    between = (line >= -b) & (line <= wall)
    return ((inner / p)[between].sum() * dx).item()


def passage_time_of_chain(b, eta):
    """eta times the mean number of Langevin steps from -b to a place above zero."""
    half = torch.arange(0.01, 10.0, 0.02).flip(0).neg()  # grid points left of zero
    mean = half + eta * two_wells_score(half, b)
    K = torch.exp(log_normal(half, mean[:, None], 2 * eta)) * 0.02
    steps = torch.linalg.solve(torch.eye(len(half)) - K, torch.ones(len(half)))
    return eta * steps[(half + b).abs().argmin()].item()


WELLS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
exact_times = [passage_time(b) for b in WELLS]
chain_times = [passage_time_of_chain(b, 0.02) for b in WELLS]
for b, exact, found in zip(WELLS, exact_times, chain_times, strict=True):
    print(f"b = {b}: {exact:.1f} for the diffusion, {found:.1f} for the chain")

# %% tags=["check"]
# The correction holds up to terms of the order eta.
wall = 0.5826 * math.sqrt(2 * 0.02)
for b, found in zip(WELLS, chain_times, strict=True):
    checks.close(f"b = {b}: chain, wall moved", found, passage_time(b, wall), rtol=0.02)
for b in (4.0, 6.0):
    limit = math.pi**1.5 / 8**0.5 * math.exp(b**2 / 2) / b
    # The next term of the expansion is of the order 1/b^2.
    ratio = passage_time(b) / limit
    checks.close(f"b = {b}: diffusion, over its limit", ratio, 1, atol=2 / b**2)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean time until a particle from one of two wells comes to the top of the barrier between them, which is at the distance b. Line: double integral. Points: discrete chain with step 0.02, exact. Dashed: the limit for high barriers.", "name": "fig-lan-passage"}, "image": {"alt": "Time on a logarithmic axis against b from one and a half to four. A line rises from about four to more than a thousand; points lie a little above it. A dashed line starts close to it, runs below it from b = 2 on, and comes closer again to the right."}}
fig, ax = plt.subplots()
fine = torch.linspace(1.5, 4, 26)
ax.semilogy(fine, [passage_time(b.item()) for b in fine], label="diffusion")
ax.semilogy(WELLS, chain_times, "o", color=plotting.COLOURS[1], label="chain")
limit = math.pi**1.5 / 8**0.5 * torch.exp(fine**2 / 2) / fine
ax.semilogy(fine, limit, "k--", linewidth=1, label="limit")
ax.set(xlabel="b", ylabel="mean time until x = 0")
_ = ax.legend()

# %% [markdown]
r"""
What does a run that is too short look like?
MALA in the left of two wells at $b = 6$, 64 chains of 1,000 steps:
"""


# %%
def far_wells(x):
    return -log_two_wells(x[:, 0], 6.0)


x = torch.randn(64, 1) - 6
states = islice(metropolis(x, far_wells, mala(score_of(far_wells), 1.0)), 1_000)
positions = torch.stack([x[:, 0] for x, _ in states])
tau_inside = autocorrelation_time(positions, positions.mean())
print(
    f"mean {positions.mean():.3f}, variance {positions.var():.3f}, tau {tau_inside:.1f}"
)

# %% tags=["check"]
by_chain = positions.mean(0)
checks.unbiased("mean of the chains: that of the left well", by_chain, -6.0)
checks.unbiased(
    "variance: that of the left well", (positions + 6).square().mean(0), 1.0
)
checks.at_least(
    "true variance, both wells, over the measured one", 37 / positions.var(), 30
)
checks.at_most("autocorrelation time that the chains claim", tau_inside, 10)

# %% [markdown]
r"""
The right mean and variance of one well, a short autocorrelation time, and half of the distribution missing: nothing in the run says so.
The weights of the wells are then those of the starting points.
The law is right, the waiting time is the trouble; annealed importance sampling, in [the RBM lecture](rbm.ipynb), avoids it by walking through a sequence of flatter densities.
"""

# %% [markdown]
r"""
## Exercises

```{exercise-start} Which temperature is it?
:label: ex-lan-temperature
```
A rule with drift $a\,\eta$ and noise variance $c\,\eta$ samples a power of $p$ for small steps.
Write `exponent(a, c)`, that power.
What would the rule of physics with temperature $T$ be?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def exponent(a, c):
    return None


# %% tags=["check"]
def check_exponent(answer):
    if answer(1.0, 2.0) is None:
        return print("not yet")
    for a, c in ((1.0, 2.0), (1.0, 1.0), (0.5, 3.0)):
        law = stationary(step_kernel(double_well_score, 0.01, a, c))
        claimed = normalised(answer(a, c) * log_double_well(grid))
        # The error of the step is of the order eta times the curvature, 0.01 / 0.36.
        checks.at_most(f"a = {a}, c = {c}: distance", distance(law, claimed), 0.03)
    return print("right")


check_exponent(exponent)

# %% [markdown]
r"""
````{solution-start} ex-lan-temperature
:class: dropdown
````
"""


# %% tags=["solution"]
def exponent(a, c):
    return 2 * a / c


check_exponent(exponent)

# %% [markdown]
r"""
With $\eta' = c\, \eta / 2$ the noise is $\sqrt{2 \eta'}$ and the drift is $\eta' \cdot (2a/c) \nabla \log p$, which is the score of $p^{2a/c}$.
Physics has $p^{1/T}$: drift $\eta \nabla \log p$, noise $\sqrt{2 T \eta}$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Another verdict
:label: ex-lan-barker
```
Accept a move with the probability

$$
A(x \to y) = \frac{f(y)\, q(x \mid y)}{f(x)\, q(y \mid x) + f(y)\, q(x \mid y)} .
$$

Write `barker_kernel(f, q)` in the way of `metropolis_kernel`.
Is $p$ stationary, and which of the two verdicts is better?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def barker_kernel(f, q):
    return None


# %% tags=["check"]
def check_barker(answer):
    K = answer(f, q)
    if K is None:
        return print("not yet")
    by_rule = metropolis_kernel(f, q)
    forward, back = f[:, None] * q, (f[:, None] * q).T
    off = ~torch.eye(5, dtype=bool)
    checks.close("rows sum to one", K.sum(1), torch.ones(5), atol=1e-14)
    checks.close(
        "detailed balance", p_five[:, None] * K, (p_five[:, None] * K).T, atol=1e-15
    )
    checks.close(
        "probability to move", K[off], (q * back / (forward + back))[off], atol=1e-15
    )
    checks.at_least("Metropolis moves more often, by", (by_rule - K)[off], 0.0)
    return print("right")


check_barker(barker_kernel)

# %% [markdown]
r"""
````{solution-start} ex-lan-barker
:class: dropdown
````
"""


# %% tags=["solution"]
def barker_kernel(f, q):
    forward = f[:, None] * q
    K = q * forward.T / (forward + forward.T)
    K.fill_diagonal_(0)
    return K + torch.diag(1 - K.sum(1))


check_barker(barker_kernel)

# %% [markdown]
r"""
The flow $f(x)\, q(y \mid x)\, A$ is a product over a sum, symmetric in $x$ and $y$: detailed balance holds, and many other verdicts have it too.
For every pair Metropolis moves at least as often, since $\min(u, v) \ge uv / (u + v)$; in a long stationary run its means then have no larger variance {cite:p}`peskun1973`.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} How small may a mini-batch be?
:label: ex-lan-batch
```
SGLD samples a parameter with posterior precision $\lambda$, from $N$ data whose single gradients have the standard deviation $g$ around their mean.
Write `smallest_batch(eta, lam, N, g, excess)`: the smallest $n$ for which the stationary variance is at most $(1 + \text{excess}) / \lambda$, or `None` if no $n$ will do.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def smallest_batch(eta, lam, N, g, excess):
    return "not yet"


# %% tags=["check"]
def check_batch(answer):
    case = dict(eta=1e-3, lam=100.0, N=1_000, g=0.3, excess=0.2)
    if answer(**case) == "not yet":
        return print("not yet")

    def variance(n, eta, lam, N, g, **_):
        V, v = N**2 * g**2 / n, 1 / lam
        for _ in range(10_000):
            v = (1 - eta * lam) ** 2 * v + eta**2 * V + 2 * eta
        return v

    for other in ({}, dict(eta=2e-4), dict(N=3_000, excess=0.5)):
        now = case | other
        n, allowed = answer(**now), (1 + now["excess"]) / now["lam"]
        checks.true("a whole number is found", n is not None and n >= 1 and n == int(n))
        checks.at_most(f"variance with n = {n}", variance(n, **now), allowed)
        if n > 1:
            checks.at_least(f"with n = {n - 1}", variance(n - 1, **now), allowed)
    checks.true(
        "no batch helps a step that is too large by itself",
        answer(**(case | dict(eta=1e-2, excess=0.2))) is None,
    )
    return print("right")


check_batch(smallest_batch)

# %% [markdown]
r"""
````{solution-start} ex-lan-batch
:class: dropdown
````
"""


# %% tags=["solution"]
def smallest_batch(eta, lam, N, g, excess):
    allowed_V = ((1 + excess) * (2 - eta * lam) - 2) / eta
    return math.ceil(N**2 * g**2 / allowed_V) if allowed_V > 0 else None


check_batch(smallest_batch)

# %% [markdown]
r"""
The sum of $n$ gradients, scaled by $N/n$, has the variance $V = N^2 g^2 / n$; insert it into {eq}`eq-lan-sgld-variance` and solve for $n$.
The step alone already costs $1 / (1 - \eta\lambda/2)$: if that is more than allowed, even all data in each batch are too few.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Waiting at a barrier
:label: ex-lan-passage
```
Write `first_passages(b, eta, num_chains)`: start all chains at $-b$, in the left of the two wells of {numref}`fig-lan-passage`, take Langevin steps with `two_wells_score`, and return for each chain the time (steps times $\eta$) at which it first stood above zero.
The mean must be that of `passage_time_of_chain`.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def first_passages(b, eta, num_chains):
    return None


# %% tags=["check"]
def check_passages(answer):
    if answer(2.0, 0.1, 2) is None:
        return print("not yet")
    for b in (1.5, 2.0):
        times = answer(b, 0.1, P.num_passages)
        checks.unbiased(f"b = {b}: mean time", times, passage_time_of_chain(b, 0.1))
    # A low barrier is crossed at once by many: their time is one step.
    start = torch.tensor(-0.1)
    drift = start + 0.1 * two_wells_score(start, 0.1)
    at_once = torch.as_tensor(answer(0.1, 0.1, P.num_passages)) < 0.15
    share = torch.special.ndtr(drift / math.sqrt(0.2))
    checks.unbiased("b = 0.1: share with the time of one step", 1.0 * at_once, share)
    return print("right")


check_passages(first_passages)

# %% [markdown]
r"""
````{solution-start} ex-lan-passage
:class: dropdown
````
"""


# %% tags=["solution"]
def first_passages(b, eta, num_chains):
    chain = langevin(
        torch.full((num_chains,), -b), lambda x: two_wells_score(x, b), eta
    )
    times, step = torch.full((num_chains,), math.nan), 0
    while times.isnan().any():
        x, step = next(chain), step + 1
        times[times.isnan() & (x > 0)] = step * eta
    return times


check_passages(first_passages)

# %% [markdown]
r"""
The passage times are nearly exponentially distributed: a particle that has not crossed yet has no memory of how long it tried.
So their standard deviation is close to their mean, and a mean to one per cent needs ten thousand crossings.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. {eq}`eq-lan-acceptance` leaves $p$ as it is, because {eq}`eq-lan-detailed-balance` is symmetric; on a table that is true to the last digit.
2. {eq}`eq-lan-ula` follows the score with noise; on a Gaussian its variance is $1/(1 - \eta/2)$, and with half the noise it samples $p^2$ ({numref}`fig-lan-squared`).
3. MALA is the same step with a verdict, and its stationary law has no error of the step size.
4. SGLD is the same step with a noisy gradient, and {eq}`eq-lan-sgld-covariance` gives its covariance.
5. A chain of $S$ steps is worth $S / \tau$ draws ({numref}`fig-lan-price`), as long as it has crossed all barriers ({numref}`fig-lan-passage`).
6. {eq}`eq-lan-two-gradients`: one gradient without $Z$, one with two phases.

The recorded numbers stand on the [results page](../book/results.md).

**What comes next:** [deep energy models](energy_models.ipynb), in which the energy is a neural network, trained by short Langevin chains; then [a classifier](noise_contrastive.ipynb) that needs none.

**Reading:** {cite:t}`roberts1996` for when the chain converges at all; {cite:t}`welling2011` for SGLD; {cite:t}`sokal1997` for autocorrelation times, from a physicist; {cite:t}`haenggi1990` for rates over barriers.
What the lecture notes get wrong is listed on the [errata page](../book/errata.md).
"""

# %%
run.finish()

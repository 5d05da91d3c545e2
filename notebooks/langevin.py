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

1. turn any proposal into an exact sampler by the rule of Metropolis and Hastings, and prove it on a table;
2. draw from a density that is known up to a factor by following its gradient with noise, and say in closed form how wrong the result is for a given step size;
3. remove that error with one more line;
4. sample the posterior of a Bayesian regression from mini-batches, and predict the excess variance that they cause;
5. measure a chain: how many independent draws it is worth, and what each of them cost;
6. keep two gradients apart: the one that moves a sample and the one that teaches a model.

- **You need** Gaussian integrals, gradients, a little about Markov chains; [Boltzmann machines](boltzmann_machines.ipynb) for the two phases.
- **Sources:** {cite:t}`metropolis1953`, {cite:t}`hastings1970`, {cite:t}`roberts1996`, {cite:t}`welling2011`; {cite:t}`haenggi1990` for the physics of crossing a barrier.
- **Time:** a page to read in an hour; it computes for about half a minute on two cores.
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
from itertools import islice

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import torch

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_chains": (20_000, 200_000, 1_000_000),  # independent, for each variance
    "num_particles": (5_000, 20_000, 100_000),  # in the landscape
    "chain_length": (3_000, 10_000, 40_000),  # where effective samples are counted
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
**Where to go is told by the *score*, the gradient of the log-density in $x$, and $Z$ has no part in it:**

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
Following the score leads to the nearest maximum, and stops there.
That is optimisation: all points of a well end at one place.
A sample is a cloud.
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
    "largest distance to the top of the hill",
    (climbed - tops[which_well(climbed)]).norm(dim=1),
    1e-6,
)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: 600 points after following the score uphill; all of them sit on three spots. Right: 600 points that follow the density. Lines of equal energy, one unit of $k_B T$ apart.", "name": "fig-lan-problem"}, "image": {"alt": "Two panels with the same contour lines around three wells. On the left three single dots, one in each well. On the right three clouds of dots that fill the wells, the cloud at the lower left being the densest."}}
def contours(ax):
    """Lines of equal energy, one unit apart."""
    side = torch.linspace(-3.8, 3.8, 120)
    grid = torch.cartesian_prod(side, side)
    heights = energy(grid).reshape(120, 120).T
    levels = heights.min() + torch.arange(0.5, 7)
    ax.contour(side, side, heights, levels, colors="grey", linewidths=0.7)
    ax.set(aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.4, 3.8), xticks=[], yticks=[])
    ax.grid(False)


fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.7), sharey=True)
for ax, cloud in zip(axes, (climbed, wanted), strict=True):
    contours(ax)
    ax.plot(*cloud.T, ".", color=plotting.COLOURS[1], markersize=4)

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $f(x)$, $E(x) = -\log f(x)$ | `energy` | density without its factor, energy in units of $k_B T$ |
| $s(x)$ | `score` | $\nabla_x \log p(x)$ |
| $q(y \mid x)$ | `move` | proposal: from $x$ to $y$ |
| $K(x \to y)$ | `K` | kernel: probability to be at $y$ after one step from $x$ |
| $\eta$ | `step_size` | step size of Langevin |
| $\xi$ | `noise` | independent standard normal numbers |
| $\tau$ | `tau` | integrated autocorrelation time, in steps |
"""

# %% [markdown]
r"""
## Propose, compare, accept

**Any proposal becomes an exact sampler if each move is accepted with the right probability.**
{cite:t}`metropolis1953` propose $y$ from $q(y \mid x)$, go there with the probability

$$
A(x \to y) = \min\left(1, \frac{f(y)\, q(x \mid y)}{f(x)\, q(y \mid x)}\right)
$$ (eq-lan-acceptance)

and stay where they are otherwise; the factor with $q$, for proposals that prefer a direction, is due to {cite:t}`hastings1970`.
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
**Watch for** "worse moves are accepted now and then, to explore".
How often is no matter of taste: any other probability samples another density.
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
\mathrm{d}x = \nabla \log p(x)\, \mathrm{d}t + \sqrt{2}\, \mathrm{d}w .
$$ (eq-lan-sde)

What one particle does is random; how the density $\rho_t$ of many of them changes is not.
It obeys the *Fokker-Planck equation*, in which the drift carries density along and the noise lets it diffuse:

$$
\begin{aligned}
\partial_t \rho_t &= -\nabla \cdot (\rho_t \nabla \log p) + \nabla^2 \rho_t \\
&= \nabla \cdot \Bigl( \rho_t \nabla \log \frac{\rho_t}{p} \Bigr) .
\end{aligned}
$$ (eq-lan-fokker-planck)

The second line uses $\nabla \rho = \rho \nabla \log \rho$.
Two things can be read off it.
For $\rho_t = p$ nothing changes, because the bracket is zero: $p$ is stationary, and with any other factor than $\sqrt{2}$ it would not be.
And for every other density the Kullback-Leibler divergence falls, as one integration by parts shows:

$$
\begin{aligned}
\frac{\mathrm{d}}{\mathrm{d}t}\, \mathrm{KL}(\rho_t \,\|\, p)
&= \int \partial_t \rho_t\, \log \frac{\rho_t}{p}\, \mathrm{d}x \\
&= -\int \rho_t\, \Bigl| \nabla \log \frac{\rho_t}{p} \Bigr|^2 \mathrm{d}x .
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


def fokker_planck(rho, log_p):
    """Time derivative of the density rho on the line, drift and diffusion."""
    return -derivative(rho * derivative(log_p)) + derivative(derivative(rho))


# %% tags=["check"]
m, v = 1.0, 0.5
rho = torch.exp(log_normal(line, m, v))
rate = fokker_planck(rho, log_normal(line, 0.0, 1.0))
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
log_ratio = rho.log() - log_p
kl_rate = (fokker_planck(rho, log_p) * log_ratio).sum() * dx
fisher = (rho * derivative(log_ratio) ** 2).sum() * dx
checks.close("double well: rate of the KL divergence", kl_rate, -fisher, rtol=1e-4)

# %% [markdown]
r"""
## The unadjusted Langevin algorithm

**A step of length $\eta$ in time is a step uphill and a random kick of variance $2 \eta$:**

$$
x_{k+1} = x_k + \eta\, \nabla \log p(x_k) + \sqrt{2 \eta}\; \xi_k, \qquad \xi_k \sim N(0, I) .
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
Watch two times in the film: first the cloud fills its well, which takes about one unit of time; much later it has found the other wells, and their shares settle at what the weights say.
"""


# %% tags=["plot", "hide-input"]
def frame(x, text):
    """One picture of the film: particles, and the share of each well."""
    fig, ax = plt.subplots(figsize=(4.6, 4.6), dpi=80)
    contours(ax)
    ax.plot(*x.T, ".", color=plotting.COLOURS[1], markersize=4)
    for k, centre in enumerate(CENTRES):
        ax.annotate(
            f"{(which_well(x) == k).double().mean():.0%}",
            centre + torch.tensor([0.0, 1.35]),
            ha="center",
            bbox=dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1),
        )
    return fig


chain = langevin(CENTRES[2].expand(500, 2), score, 0.01)
times, frames, passed = [0.0], [frame(CENTRES[2:], "")], 0
for step in (5, 10, 20, 40, 70, *range(100, 400, 50), *range(400, 3_001, 200)):
    x, passed = after(step - passed, chain), step
    times.append(step / 100)
    frames.append(frame(x, ""))
plotting.film(
    frames,
    labels=[f"time {t:.2f}" for t in times],
    alt="500 points start as one point in the upper well of a landscape with three "
    "wells. They spread in that well within a few frames. Over the following frames "
    "more and more of them appear in the two lower wells, until about half are at the "
    "lower left, three in ten at the lower right and two in ten above.",
    caption="500 particles of the unadjusted Langevin algorithm with step size 0.01, "
    "and the share of each well. The wells weigh 50 %, 30 % and 20 %.",
    width=460,
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
**Watch for** the third rule; it stands in lecture notes.
Do not test it on a Gaussian with $\eta = 1$: there it gives the variance 1 by accident.
```

The first two are the same rule with another name for the step, right up to an error of order $\eta$.
The third is wrong at every step size but one: half the noise is missing.
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
    for eta in ETAS:
        v = variance_after(2_000, eta, a, c)
        checks.close(f"{name}, step {eta}: recursion", v, closed_form(eta), rtol=1e-12)
        checks.unbiased(
            f"{name}, step {eta}: simulation", measured[name][eta].square(), v
        )

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
ax.set(xlabel=r"step size $\eta$", ylabel="variance", ylim=(0, 3))
_ = ax.legend(loc="upper left")

# %% [markdown]
r"""
The number of this section, by the sampler itself and not by the recursion: how far the measured variance is from $1/(1 - \eta/2)$, in standard errors.
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
A density with two wells shows the damage: squaring turns the weights 4 : 1 into 16 : 1.

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
    "weight of the left well in p^2", p_squared[heavy].sum(), 16 / 17, rtol=1e-3
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

**The theorem that Langevin sampling is right needs two limits at once: $\eta \to 0$, and $K \eta \to \infty$ for $K$ steps.**
From one point, $v_0 = 0$, the Gaussian has after $K$ steps the variance

$$
v_K = \frac{1 - (1 - \eta)^{2K}{1 - \eta/2} .
$$ (eq-lan-variance-after)

The denominator is the error of the step, the numerator what the start has left behind.
With a fixed number of steps one of them is traded for the other.
"""


# %%
def variance_from_zero(K, eta):
    return (1 - (1 - eta) ** (2 * K)) / (1 - eta / 2)


# %% tags=["check"]
for K, eta in ((7, 0.3), (50, 0.02)):
    checks.close(
        f"variance after {K} steps of {eta}",
        variance_from_zero(K, eta),
        variance_after(K, eta, 1, 2, v=0.0),
        rtol=1e-12,
    )
K = 10**6
both, only_small = variance_from_zero(K, K**-0.5), variance_from_zero(K, 1 / K**2)
checks.close("eta = 1/sqrt(K): error of a million steps", both, 1, atol=1e-3)
checks.close("eta = 1/K^2: variance after a million steps", only_small, 0, atol=1e-5)
checks.close("eta = 0.2: the same", variance_from_zero(K, 0.2), 1 / 0.9, rtol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Error of the variance after K steps from one point, exact, against the step size. On the left the chain has not arrived, on the right the steps are too coarse.", "name": "fig-lan-budget"}, "image": {"alt": "Three V-shaped curves on logarithmic axes, for ten, a hundred and a thousand steps. Each falls to a sharp minimum and rises again along a common line; the more steps, the further left and the lower the minimum."}}
fig, ax = plt.subplots()
eta_axis = torch.logspace(-4, -0.05, 400)
for K in (10, 100, 1_000):
    ax.loglog(eta_axis, (variance_from_zero(K, eta_axis) - 1).abs(), label=f"K = {K:,}")
ax.set(xlabel=r"step size $\eta$", ylabel="error of the variance", ylim=(1e-4, 2))
_ = ax.legend(loc="lower left")

# %% [markdown]
r"""
## One more line makes it exact

**A Langevin step is a proposal; with the rule of Metropolis and Hastings it samples $p$ at every step size.**
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
x, y = torch.randn(2, 1000, 1)
for eta in (0.1, 0.5, 1.0):
    move = mala(parabola_score, eta)
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
side = torch.linspace(-6, 6, 1_201)
plane = torch.cartesian_prod(side, side)
mass = normalised(-energy(plane))
shares = torch.stack([mass[which_well(plane) == k].sum() for k in range(3)])
inside = torch.nn.functional.one_hot(which_well(x), 3).double()
checks.unbiased("shares of the three wells", inside, shares)
checks.unbiased(
    "second moments of the cloud",
    x[:, :, None] * x[:, None],
    torch.einsum("n,ni,nj->ij", mass, plane, plane),
)

# %% [markdown]
r"""
Exactness has a price: rejected proposals stand still, and the best step size is a compromise.
In many dimensions the best acceptance is about 0.57 for MALA and 0.23 for a random walk {cite:p}`roberts1998,roberts1997`.
"""

# %% [markdown]
r"""
## What a chain is worth

**Successive states are alike, so that $N$ of them are worth fewer independent draws.**
With $\rho_k$, the correlation of states $k$ steps apart, the variance of a mean over the chain is larger by the *integrated autocorrelation time*

$$
\tau = 1 + 2 \sum_{k \ge 1} \rho_k,
\qquad
N_\text{eff} = \frac{N}{\tau} ,
$$ (eq-lan-ess)

and $N_\text{eff}$ is the *effective sample size*.
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

The test is a Gaussian in ten dimensions, turned at random, with standard deviations from 0.2 to 1.
Each method tunes its own step to its best acceptance, and the price is counted in evaluations of $E$ or of its gradient: one a step for the random walk, two for MALA.
"""

# %%
DIM = 10
turn, _ = torch.linalg.qr(torch.randn(DIM, DIM))
L = turn * torch.logspace(math.log10(0.2), 0, DIM)  # L L^T is the covariance
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

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Evaluations of the energy or its gradient that one independent draw costs, in ten dimensions with standard deviations from 0.2 to 1. Error bars: one standard error from independent pairs of chains.", "name": "fig-lan-price"}, "image": {"alt": "Three horizontal bars on a logarithmic axis. Random walk is the longest with about two hundred evaluations, MALA about half of it, preconditioned MALA less than ten."}}
fig, ax = plt.subplots(figsize=(7.0, 2.2))
means = [taus.mean() for taus in price.values()]
errors = [taus.std() / len(taus) ** 0.5 for taus in price.values()]
ax.barh(list(price), means, xerr=errors, color=plotting.COLOURS[0], height=0.6)
ax.set(xscale="log", xlabel="evaluations for one independent draw", xlim=(1, 1e3))
ax.invert_yaxis()
_ = ax.grid(axis="y", visible=False)

# %% [markdown]
r"""
Langevin steps are dear: each needs a gradient, and still many of them make one draw.
That is why the training of energy models by sampling is slow, and why [the next lecture](energy_models.ipynb) looks for objectives that need no samples.
"""

# %% [markdown]
r"""
## A posterior from mini-batches

```{margin}
**Watch for** "Langevin sampling, also called SGLD", and for "an optimisation algorithm".
SGLD is Langevin sampling of one kind of density, a posterior, with a noisy gradient; and what it returns is a sample.
```

**Stochastic gradient Langevin dynamics is the Langevin rule for the parameters of a model, with the gradient of a mini-batch.**
The posterior of parameters $\theta$ after $N$ data $d_i$ is $p(\theta) \prod_i p(d_i \mid \theta)$ up to a factor.
A mini-batch $B$ of $n$ data, drawn with replacement, gives an unbiased estimate of its score if it is scaled up {cite:p}`welling2011`:

$$
\hat s(\theta) = \nabla_\theta \log p(\theta)
+ \frac{N}{n} \sum_{i \in B} \nabla_\theta \log p(d_i \mid \theta) .
$$ (eq-lan-sgld)

The first example is one where the posterior is known: a straight line through 100 measurements with Gaussian errors of known size, and a wide Gaussian prior.
In the language of the laboratory: a spring constant and an offset.
"""

# %%
N, n, SIGMA, PRIOR = 100, 10, 0.5, 10.0


def measure(num):
    """Extensions with a column of ones, and forces with errors."""
    extension = 2 * torch.rand(num)
    design = torch.stack([torch.ones(num), extension], 1)
    return design, design @ torch.tensor([1.5, 0.8]) + SIGMA * torch.randn(num)


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
    minibatch_score(some[0].expand(20_000, 2)),
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
Its contribution is quadratic in $\theta$ and the step is linear, so that the stationary covariance still solves a linear equation.
With $\Lambda$ the precision, $u_i$ the gradient of datum $i$ at the posterior mean, $D_i$ the deviation of its second derivative from the mean one, and $\mathrm{Cov}$ and the mean over data,

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


def step_of_covariance(C, eta):
    """The right-hand side of the equation: covariance after one SGLD step."""
    B = torch.eye(2) - eta * precision
    noise = torch.cov(u.T, correction=0) + (D @ C @ D).mean(0)
    return B @ C @ B + 2 * eta * torch.eye(2) + eta**2 * N**2 / n * noise


def stationary_covariance(eta):
    C = posterior_cov
    for _ in range(3_000):
        C = step_of_covariance(C, eta)
    return C


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
    growth = (C.det() / posterior_cov.det()).sqrt()
    print(f"area of the ellipse over that of the posterior: {growth:.3f}")

# %% [markdown]
r"""
With steps that shrink, both errors die and the whole posterior is reached: the steps must add up to infinity, so that the start is forgotten, and their squares must not, so that the noise of the mini-batches is.
The usual choice is $\eta_k = a\, (b + k)^{-\gamma}$ with $1/2 < \gamma \le 1$ {cite:p}`welling2011`.
The covariance after any number of steps follows from the same recursion.
"""

# %%
decreasing = [4e-4 * (1 + k / 20) ** -0.9 for k in range(1_500)]
theta, C = posterior_mean + torch.zeros(2_000, 2), torch.zeros(2, 2)
for eta in decreasing:
    theta = after(1, langevin(theta, minibatch_score, eta))
    C = step_of_covariance(C, eta)

# %% tags=["check"]
deviation = theta - posterior_mean
checks.unbiased(
    "decreasing steps: covariance of the chains",
    deviation[:, :, None] * deviation[:, None],
    C,
)
growth = (C.det() / posterior_cov.det()).sqrt()
checks.close("decreasing steps: area over that of the posterior", growth, 1, atol=0.05)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Offset and slope of the straight line. Dots: SGLD with a constant step, one dot from each of 800 chains. Solid: covariance that the theory predicts for SGLD. Dashed: exact posterior. Both ellipses are drawn at two standard deviations.", "name": "fig-lan-sgld"}, "image": {"alt": "Two panels with tilted clouds of dots. On the left, at the large step, the cloud fills a solid ellipse that is clearly wider than a dashed one inside. On the right, at a quarter of the step, the solid ellipse is only a little larger than the dashed one."}}
def ellipse(cov):
    """Points two standard deviations from the mean."""
    angle = torch.linspace(0, 2 * math.pi, 200)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    return posterior_mean + 2 * circle @ torch.linalg.cholesky(cov).T


fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharex=True, sharey=True)
for ax, eta in zip(axes, SGLD_ETAS, strict=True):
    ax.plot(*sgld[eta][:800].T, ".", color=plotting.COLOURS[5], markersize=2.5)
    ax.plot(
        *ellipse(stationary_covariance(eta)).T,
        color=plotting.COLOURS[0],
        label=rf"SGLD, $\eta$ = {eta:.0e}",
    )
    ax.plot(*ellipse(posterior_cov).T, "k--", label="posterior")
    ax.set(xlabel="offset")
    ax.legend(loc="upper right", fontsize=9)
_ = axes[0].set(ylabel="slope")

# %% [markdown]
r"""
What is a posterior for?
For predictions that know how uncertain they are: the density of a new measurement is the mean of $p(d \mid \theta)$ over the posterior.
On new measurements we compare this mean over SGLD's chains with the exact predictive density, which is a Gaussian.
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
difference = log_density - exact_log_density
run.record(
    "sgld_heldout_minus_exact",
    difference.mean(),
    unit="nats per measurement",
    standard_error=difference.std() / len(difference) ** 0.5,
    protocol="the same, minus the exact predictive density of the posterior",
)
# %% tags=["check"]
checks.at_most("loss by SGLD in nats per measurement", difference.mean().abs(), 0.01)
entropy = 0.5 * math.log(2 * math.pi * math.e * SIGMA**2)
# The log-density of the truth itself has the variance 1/2.
checks.at_most(
    "the exact predictive density, minus that of the truth on average",
    exact_log_density.mean() + entropy,
    5 * (0.5 / len(new_force)) ** 0.5,
)

# %% [markdown]
r"""
## Which gradient is which

**The gradient that moves a sample and the gradient that teaches a model are two things, and only the second has phases.**
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
**Watch for** "the score loses $Z$ because $Z$ does not depend on $\theta$".
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

**It explodes where the energy is steeper than a parabola, and it waits for ages in front of a barrier.**

The step $-\eta\, x^3$ of the energy $x^4/4$ overshoots as soon as $\eta x^2 > 2$, and lands further out than it came from.
No step size is safe, because the noise will get there in the end.
MALA refuses such a step and stays finite.
"""

# %% tags=["check"]
start = torch.full((1_000, 1), 1.1 * math.sqrt(2 / 0.1))
exploded = after(12, langevin(start, lambda x: -(x**3), 0.1))
checks.true(
    "ULA, far out: every chain is infinite or no number after 12 steps",
    not bool(exploded.isfinite().any()),
)
safe, _ = after(
    2_000,
    metropolis(start, lambda x: quartic(x[:, 0], 0.0), mala(lambda x: -(x**3), 0.1)),
)
checks.true("MALA from the same place is finite", bool(safe.isfinite().all()))

# %% [markdown]
r"""
The barrier is worse, because nothing looks wrong.
Take two Gaussian wells at $\pm a$ with $\sigma = 1$, and let $t(x)$ be the mean time until a particle from $x < 0$ first comes to zero.
It solves $\nabla \log p \cdot t' + t'' = -1$, from {eq}`eq-lan-fokker-planck`, and on a line two integrals give it {cite:p}`haenggi1990`:

$$
t(-a) = \int_{-a}^{0} \frac{1}{p(y)} \int_{-\infty}^{y} p(z)\, \mathrm{d}z\, \mathrm{d}y .
$$ (eq-lan-passage)

The inner integral is about one half, and $1/p$ is largest on top of the barrier, where it is $\sqrt{2 \pi}\, e^{a^2/2}$: the time grows as $e^{a^2/2}$.
For the discrete chain the mean number of steps solves a linear equation with the transition matrix of the left half.
It comes out a little longer, because a chain can jump over zero and back between two looks; the known correction is a wall that stands $0.5826 \sqrt{2 \eta}$ further away {cite:p}`broadie1997`.
"""


# %%
def log_two_wells(x, a):
    return torch.logaddexp(log_normal(x, -a, 1.0), log_normal(x, a, 1.0)) - math.log(2)


def two_wells_score(x, a):
    return -x + a * torch.tanh(a * x)


def passage_time(a, wall=0.0):
    """The double integral up to `wall`, by sums from the left end of the line."""
    p = log_two_wells(line, a).exp()
    inner = torch.cumsum(p, 0) * dx
    between = (line >= -a) & (line <= wall)
    return ((inner / p)[between].sum() * dx).item()


def passage_time_of_chain(a, eta):
    """eta times the mean number of Langevin steps from -a to a place above zero."""
    half = torch.arange(0.01, 10.0, 0.02).flip(0).neg()  # grid points left of zero
    mean = half + eta * two_wells_score(half, a)
    K = torch.exp(log_normal(half, mean[:, None], 2 * eta)) * 0.02
    steps = torch.linalg.solve(torch.eye(len(half)) - K, torch.ones(len(half)))
    return eta * steps[(half + a).abs().argmin()].item()


WELLS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
exact_times = [passage_time(a) for a in WELLS]
chain_times = [passage_time_of_chain(a, 0.02) for a in WELLS]

# %% tags=["check"]
# A chain looks only at its steps: it sees the wall 0.5826 sqrt(2 eta) further away, up to
# terms of the order eta.
wall = 0.5826 * math.sqrt(2 * 0.02)
for a, found in zip(WELLS, chain_times, strict=True):
    checks.close(f"a = {a}: chain", found, passage_time(a, wall), rtol=0.02)
growth = math.log(exact_times[-1] / exact_times[-2])
checks.close(
    "growth of the logarithm from a = 3.5 to a = 4, against the difference of a^2/2",
    growth,
    (4**2 - 3.5**2) / 2,
    rtol=0.1,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean time to the top of the barrier between two wells at distance a from it, in the units of the Langevin equation. Line: double integral. Points: discrete chain with step 0.02, exact. Dashed: the exponential of half of a squared, times the value at a = 4 over its own.", "name": "fig-lan-passage"}, "image": {"alt": "Passage time on a logarithmic axis against a from one and a half to four. Points lie on a rising curve from about three to several thousand, which becomes parallel to a dashed line."}}
fig, ax = plt.subplots()
fine = [1.5 + 0.1 * k for k in range(26)]
ax.semilogy(fine, [passage_time(a) for a in fine], label="diffusion")
ax.semilogy(WELLS, chain_times, "o", color=plotting.COLOURS[1], label="chain")
barrier = [exact_times[-1] * math.exp((a**2 - 16) / 2) for a in fine]
ax.semilogy(fine, barrier, "k--", linewidth=1, label=r"$\propto e^{a^2/2}$")
ax.set(xlabel="a", ylabel="mean time to zero")
_ = ax.legend()

# %% [markdown]
r"""
At $a = 4$ a particle sees its own well for thousands of units of time, although it forgets where in the well it started within one.
A run that is too short by a factor of a hundred shows a perfect Gaussian and no warning.
The weights of the wells are then those of the starting points and not those of $p$: the law is right, the waiting time is the trouble.
Later lectures heat the landscape, so that the barriers melt, and cool it slowly.
"""

# %% [markdown]
r"""
## Exercises

```{exercise-start} Which temperature is it?
:label: ex-lan-temperature
```
A rule with drift $a\,\eta$ and noise variance $c\,\eta$ samples $p^\gamma$ for small steps.
Write `exponent(a, c)`, the number $\gamma$.
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
For every pair Metropolis moves at least as often, since $\min(u, v) \ge uv / (u + v)$; a chain that stands still less forgets faster.
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
Write `first_passages(a, eta, num_chains)`: start all chains at $-a$ between the two wells of {numref}`fig-lan-passage`, take Langevin steps with `two_wells_score`, and return for each chain the time (steps times $\eta$) at which it first stood above zero.
The mean must be that of `passage_time_of_chain`.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def first_passages(a, eta, num_chains):
    return None


# %% tags=["check"]
def check_passages(answer):
    if answer(2.0, 0.1, 2) is None:
        return print("not yet")
    for a in (1.5, 2.0):
        times = answer(a, 0.1, P.num_passages)
        checks.unbiased(f"a = {a}: mean time", times, passage_time_of_chain(a, 0.1))
    return print("right")


check_passages(first_passages)

# %% [markdown]
r"""
````{solution-start} ex-lan-passage
:class: dropdown
````
"""


# %% tags=["solution"]
def first_passages(a, eta, num_chains):
    chain = langevin(
        torch.full((num_chains,), -a), lambda x: two_wells_score(x, a), eta
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

1. {eq}`eq-lan-acceptance` makes any proposal exact, because {eq}`eq-lan-detailed-balance` is symmetric; on a table that is true to the last digit.
2. {eq}`eq-lan-ula` follows the score with noise; on a Gaussian its variance is $1/(1 - \eta/2)$, and with half the noise it samples $p^2$ ({numref}`fig-lan-squared`).
3. MALA is the same step with a verdict, and has no error of the step size.
4. SGLD is the same step with a noisy gradient, and {eq}`eq-lan-sgld-covariance` gives its covariance.
5. A chain of $N$ steps is worth $N / \tau$ draws ({numref}`fig-lan-price`), as long as it has crossed all barriers ({numref}`fig-lan-passage`).
6. {eq}`eq-lan-two-gradients`: one gradient without $Z$, one with two phases.

The recorded numbers stand on the [results page](../book/results.md).

**What comes next:** [deep energy models](energy_models.ipynb), in which the energy is a neural network and the negative phase is made of short Langevin chains.

**Reading:** {cite:t}`roberts1996` for when the chain converges at all; {cite:t}`welling2011` for SGLD; {cite:t}`sokal1997` for autocorrelation times, from a physicist; {cite:t}`haenggi1990` for rates over barriers.
The rule of the sources and its correction stand on the [errata page](../book/errata.md).
"""

# %%
run.finish()

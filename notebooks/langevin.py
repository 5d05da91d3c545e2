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

Let a particle slide down an energy $E$, kick it at random at each step, and in the long run it is found everywhere as often as $e^{-E}/Z$ says, although nothing ever computes $Z$.
Energy models and score-based diffusion models draw their samples this way; you will learn why it works, how wrong a finite step makes it, and what it costs.

```{opening} fig-lan-film
500 particles that started at one point in the smallest of three wells. Play it: they fill that well at once; the others must wait.
```

At the end of this lecture you will be able to

1. draw from a density that is known up to a factor by following its gradient with noise, and prove that this works;
2. say in closed form, for a Gaussian, how wrong the result is for a given step size, and remove the error with an accept/reject step;
3. measure how many independent draws a chain is worth, and what each of them costs;
4. sample the posterior of a Bayesian regression from mini-batches, and predict the excess variance that they cause;
5. keep two gradients apart, the one that moves a sample and the one that teaches a model, and say when to distrust a chain.

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
from functools import partial
from itertools import islice, pairwise

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import torch

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_chains": (10_000, 200_000, 1_000_000),  # independent, for each variance
    "num_particles": (2_000, 20_000, 100_000),  # in the landscape
    "num_steps": (200, 200, 400),  # until a chain has forgotten its start
    "film_every": (6, 1, 1),  # pictures of the film
    "chain_length": (2_500, 6_000, 20_000),  # where effective samples are counted
    "sgld_chains": (2_000, 10_000, 100_000),
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
Our example is a landscape with three wells, about three units apart, or, in the language of physics, an energy $E(x) = -\log f(x)$ in units of $k_B T$.
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

Automatic differentiation gives it for any energy; as the energy of one row does not depend on the others, the gradient of the sum has in each row the gradient of that row.
"""


# %% tags=["twin:dgm.samplers.score_of", "method"]
def score_of(energy):
    def score(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        return -gradient

    return score


# %% [markdown]
r"""
Following the score uphill in $p$, which is downhill in $E$, is optimisation: all points of a basin end at one spot, the maximum of $p$ there ({numref}`fig-lan-problem`, left).
**A sample is a cloud, and the score alone does not make one.**
"""

# %%
score = score_of(energy)
climbed = 7 * torch.rand(600, 2) - 3.5
for _ in range(2_000):
    climbed = climbed + 0.01 * score(climbed)

component = torch.multinomial(WEIGHTS, P.num_particles, replacement=True)
wanted = CENTRES[component] + WIDTH * torch.randn(P.num_particles, 2)


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


fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.4), sharey=True)
for ax, cloud, size in zip(axes, (climbed, wanted[:600]), (11, 4), strict=True):
    contours(ax)
    ax.plot(*cloud.T, ".", color=plotting.COLOURS[1], markersize=size)

# %% tags=["check"]
x = 2 * torch.randn(50, 2)
exponents = -torch.cdist(x, CENTRES).square() / (2 * WIDTH**2)
pull = torch.softmax(WEIGHTS.log() + exponents, 1)  # of each well at each point
by_hand = (pull @ CENTRES - x) / WIDTH**2
checks.close("score by autograd = pull of the wells", score(x), by_hand, atol=1e-12)
scaled = score_of(lambda x: energy(x) - math.log(17))(x)
checks.close("17 f(x) has the score of f(x)", scaled, score(x), atol=1e-14)
checks.at_most("where the climb ends the score is zero", score(climbed).abs(), 1e-6)
tops = torch.stack([climbed[which_well(climbed) == k].mean(0) for k in range(3)])
apart = (climbed - tops[which_well(climbed)]).norm(dim=1)
checks.at_most("all points of a basin end at one spot, distance", apart, 1e-6)
plane = torch.cartesian_prod(*[torch.linspace(-6, 6, 601)] * 2)
mass = torch.softmax(-energy(plane), 0)  # of each point of a grid


def counted(x):
    """One row for each particle, with a 1 in the column of its well."""
    return torch.nn.functional.one_hot(which_well(x), 3).double()


shares = mass @ counted(plane)
# A hundredth of a well lies nearer to another centre.
checks.close("the wells weigh 50, 30 and 20 %", shares, [0.5, 0.3, 0.2], atol=0.01)
distances = torch.pdist(CENTRES)
checks.close("and stand three units apart", distances, [3.1] * 3, atol=0.11)

# %% [markdown]
r"""
```{dropdown} A one-minute question: does temperature move the three spots?
No: $p^{1/T}$ has its maxima where $p$ has them.
But the width of the clouds and the shares of the wells depend on it.
```

## Langevin: downhill with noise

```{margin}
**In the sources.** Oslo, 16 April, *More on the SGLD*; CS236 notes, *Energy based models* and *Generating samples*.
```

**A step of length $\eta$ in time is a step along the score and a random kick of variance $2 \eta$:**

$$
\begin{aligned} x_{k+1} &= x_k + \eta\, \nabla \log p(x_k) + \sqrt{2 \eta}\; \xi_k, \\
\xi_k &\sim N(0, I) . \end{aligned}
$$ (eq-lan-ula)

This is the *unadjusted Langevin algorithm*, ULA: every step is taken, and none is rejected.

```{figure} ../figures/lan_step.svg
:name: fig-lan-step
:alt: Circles of equal energy around a low place. From a point x k outside of them an arrow, the drift eta s of x k, leads straight towards the low place. Around its tip lies a shaded disc, the kick of variance 2 eta. A dashed arrow from the tip leads somewhere in the disc, to the point x k plus 1.
:width: 500px

One step: the drift leads downhill, the kick anywhere.
```

The chain is a Python generator, which hands out one state after the other.
"""


# %% tags=["twin:dgm.samplers.langevin", "method"]
@torch.no_grad()
def langevin(x, score, step_size, *, generator=None):
    while True:
        noise = torch.randn(
            x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        x = x + step_size * score(x) + math.sqrt(2 * step_size) * noise
        yield x


# %%
def after(steps, chain):
    """The state of a chain after so many steps."""
    return next(islice(chain, steps - 1, None))


start = CENTRES[2].expand(P.num_particles, 2)  # all in the smallest well
chain = langevin(start, score, 0.02)
early, middle, late = after(50, chain), after(450, chain), after(1_000, chain)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "500 particles of the unadjusted Langevin algorithm with step size 0.01, and the share of each well, which weigh 50 %, 30 % and 20 %. The time between pictures grows from 0.03 to 2.6 units.", "name": "fig-lan-film"}}
FILM_STEPS = (2, 5, 10, 20, 40, 70, *range(100, 400, 75), *range(400, 3_001, 260))
FILM_STEPS = FILM_STEPS[:: P.film_every]


def film_frames():
    """Yields a picture of the particles after each of these steps from one point."""
    chain = langevin(CENTRES[2].expand(500, 2), score, 0.01)
    for before, now in pairwise((0, *FILM_STEPS)):
        x = after(now - before, chain)
        fig, ax = plt.subplots(figsize=(4.6, 4.2), dpi=80)
        contours(ax)
        ax.plot(*x.T, ".", color=plotting.COLOURS[1], markersize=5)
        ax.set(xlim=(-4.0, 4.0), ylim=(-3.3, 3.9))
        for k, (across, up) in enumerate(CENTRES):
            share = f"{(which_well(x) == k).double().mean():.0%}"
            box = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1)
            ax.annotate(share, (across, up + 1.35), ha="center", bbox=box)
        yield fig


plotting.film(
    film_frames(),
    labels=[f"time {step / 100:.2f}" for step in FILM_STEPS],
    alt="500 points start close together in the upper well of three and fill it within a "
    "few frames. More and more of them appear in the two lower wells, until about half are "
    "at the lower left, three in ten at the lower right and two in ten above.",
    width=400,
)

# %% [markdown]
r"""
**There are two times here.**
Within about one unit the cloud fills its well; after ten units the shares of the wells are still on their way.
"""

# %% tags=["check"]
where = torch.tensor([0.3, -0.8])
once = after(1, langevin(where.expand(100_000, 2), score, 0.1))
kick = once - where - 0.1 * score(where[None])
checks.unbiased("one step moves the mean by eta s(x)", kick, torch.zeros(2))
squares, exact = kick[:, :, None] * kick[:, None], 0.2 * torch.eye(2)
checks.unbiased("and adds the variance 2 eta in each direction", squares, exact)
own_well = early[which_well(early) == 2]
checks.at_least("time 1: share in the first well", len(own_well) / len(early), 0.8)
ratio = own_well[:, 0].var() / WIDTH**2
checks.close("time 1: variance across it, over its final value", ratio, 1, atol=0.2)
still = counted(middle).mean(0)[2] - shares[2]
checks.at_least("time 10: share of the first well, above its weight", still, 0.1)
# The law itself is off by a share of about eta / 2 WIDTH^2 = 0.028.
slack = 0.028 + 5 * 0.5 / len(late) ** 0.5
checks.close("time 30: shares of the wells", counted(late).mean(0), shares, atol=slack)

# %% [markdown]
r"""
Why does it work?
For small steps this is the motion of a particle in a viscous fluid, which slides down the energy and is kicked by the molecules.
In units where friction and temperature are one, it obeys the *overdamped Langevin equation*

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
\begin{aligned} \partial_t p_t &= -\nabla \cdot (p_t \nabla \log p) + \nabla^2 p_t \\
&= \nabla \cdot \Bigl( p_t \nabla \log \frac{p_t}{p} \Bigr) . \end{aligned}
$$ (eq-lan-fokker-planck)

The second line uses $\nabla p_t = p_t \nabla \log p_t$.
**For $p_t = p$ the bracket is zero and nothing changes: $p$ is stationary, and with any other factor than $\sqrt{2}$ it would not be.**
For every other density the Kullback-Leibler divergence falls; the term $\int \partial_t p_t = 0$ drops out, and one more integration by parts gives

$$
\begin{aligned} &\frac{\mathrm{d}}{\mathrm{d}t}\, \mathrm{KL}(p_t \,\|\, p)
= \int \partial_t p_t\, \log \frac{p_t}{p}\, \mathrm{d}x \\
&\quad = -\int p_t\, \Bigl| \nabla \log \frac{p_t}{p} \Bigr|^2 \mathrm{d}x . \end{aligned}
$$ (eq-lan-kl-rate)

On a line these integrals are sums over a fine grid, and we check them there.
"""

# %% tags=["hide-input"]
# A line, and on it a Gaussian and a density with two wells
line = torch.linspace(-9, 9, 9_001)
dx = (line[1] - line[0]).item()


def log_normal(x, mean, variance):
    variance = torch.as_tensor(variance)
    return -((x - mean) ** 2) / (2 * variance) - 0.5 * torch.log(2 * math.pi * variance)


def log_double_well(x):
    """0.8 N(-1.5, 0.6^2) + 0.2 N(1.5, 0.6^2), normalised."""
    left, right = log_normal(x, -1.5, 0.36), log_normal(x, 1.5, 0.36)
    return torch.logaddexp(left + math.log(0.8), right + math.log(0.2))


# %% tags=["check"]
def derivative(values):
    """By central differences, with an error of the order dx^2."""
    return torch.gradient(values, spacing=dx)[0]


def fokker_planck(p_t, log_p):
    """Time derivative of the density p_t on the line: drift and diffusion."""
    return -derivative(p_t * derivative(log_p)) + derivative(derivative(p_t))


p_t, log_p = torch.exp(log_normal(line, 1.0, 0.5)), log_double_well(line)
rate = fokker_planck(p_t, log_normal(line, 0.0, 1.0))
slope = (line * rate).sum() * dx
spread = (line**2 * rate).sum() * dx - 2 * slope
checks.close("parabola: a Gaussian's mean relaxes, dm/dt = -m", slope, -1, atol=1e-9)
checks.close("and its variance, dv/dt = 2 (1 - v)", spread, 1, atol=1e-9)
checks.normalised("the double well is a density", log_p + math.log(dx))
left = log_p[line < 0].exp().sum() * dx
checks.close("its left well holds 0.8, but for the overlap", left, 0.8, atol=0.01)
# Differences with dx = 0.002 err by dx^2 times fourth derivatives of up to 1e2 here.
change = fokker_planck(log_p.exp(), log_p).abs()
checks.at_most("double well: p is stationary", change, 1e-3)
log_ratio = p_t.log() - log_p
kl_rate = (fokker_planck(p_t, log_p) * log_ratio).sum() * dx
fisher = (p_t * derivative(log_ratio) ** 2).sum() * dx
checks.close("double well: rate of the KL divergence", kl_rate, -fisher, rtol=1e-4)

# %% [markdown]
r"""
```{dropdown} A one-minute question: drift alone, kicks alone: what then?
By the drift alone they end on the three spots of {numref}`fig-lan-problem`.
By the kicks alone they spread for ever: $\partial_t p_t = \nabla^2 p_t$, the heat equation.
```

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
The third has half the noise, and for this density it is right at a single step size.
"""


# %%
def stationary_variance(eta, a, c):
    return c * eta / (1 - (1 - a * eta) ** 2)


def two_starts():
    """Half of the chains at 0, half of them five times too wide."""
    half = P.num_chains // 2
    return torch.cat([torch.zeros(half), 5 * torch.randn(half)])


def simulate(eta, a, c):
    """Independent chains, one number from each, long after they forgot their start."""
    x = two_starts()
    for _ in range(P.num_steps):
        x = x - a * eta * x + math.sqrt(c * eta) * torch.randn_like(x)
    return x


RULES = {  # drift a, noise c
    "drift 1, noise 2": (1.0, 2.0),
    "drift 1/2, noise 1": (0.5, 1.0),
    "drift 1, noise 1": (1.0, 1.0),
}
ETAS = torch.tensor([0.1, 0.5, 1.0, 1.5])
measured = {
    name: torch.stack([simulate(eta, *rule) for eta in ETAS], 1)
    for name, rule in RULES.items()
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Variance of what three rules sample when the target has variance 1. Lines: closed form. Points: simulation; its error is smaller than a point.", "name": "fig-lan-rules"}, "image": {"alt": "Variance against step size from 0 to 1.6. Two curves start at one and rise, one of them twice as fast. The third starts at one half and crosses the line at one where the step size is one. Points lie on all three curves."}}
fig, ax = plt.subplots(figsize=(7.0, 2.6))
eta_axis = torch.linspace(0.01, 1.6, 100)
above = dict(xytext=(6, -4), textcoords="offset points")
for (name, rule), colour in zip(RULES.items(), plotting.COLOURS, strict=False):
    curve = stationary_variance(eta_axis, *rule)
    ax.plot(eta_axis, curve, color=colour)
    ax.annotate(name, (1.6, curve[-1]), color=colour, **above)
    ax.plot(ETAS, measured[name].square().mean(0), "o", color=colour)
ax.axhline(1.0, color="black", linestyle="--", linewidth=1)
ax.annotate("target", (2.05, 1.0), (-4, -13), textcoords="offset points", ha="right")
_ = ax.set(xlabel=r"step size $\eta$", ylabel="variance", ylim=(0, 5.2), xlim=(0, 2.05))

# %% tags=["check"]
in_the_table = (1 / (1 - ETAS / 2), 1 / (1 - ETAS / 4), 1 / (2 - ETAS))
for (name, (a, c)), exact in zip(RULES.items(), in_the_table, strict=True):
    formula = stationary_variance(ETAS, a, c)
    checks.close(f"{name}: the table is right", formula, exact, rtol=1e-14)
    step = (1 - a * ETAS) ** 2 * exact + c * ETAS
    checks.close(f"{name}: a step keeps this variance", step, exact, rtol=1e-14)
    squares = measured[name].square()
    checks.unbiased(f"{name}: simulation from two starts", squares, exact)
    inside, share = (squares < exact).double(), torch.full((4,), math.erf(0.5**0.5))
    checks.unbiased(f"{name}: 68 % within a standard deviation", inside, share)
x = after(60, langevin(two_starts(), lambda x: -x, 0.5))
checks.unbiased("ULA forgets where it starts: variance 4/3", x.square(), 1 / (1 - 0.25))

# %% [markdown]
r"""
**Half the noise is half the temperature: for small steps the third rule samples $p^2$, for every $p$ whose square has a finite integral.**
With $\eta' = \eta / 2$ it reads $x + \eta'\, \nabla \log p^2 + \sqrt{2 \eta'}\, \xi$: the correct rule for the density $p(x)^2 / Z'$.
A Gaussian only becomes narrower.
Two wells show the damage: as long as they are equally wide and hardly overlap, squaring turns the weights 4 : 1 into 16 : 1.

On a line we need no simulation.
One step is a matrix of transition probabilities between grid points, and its stationary law is the exact answer, step-size error included.
"""

# %%
grid = torch.linspace(-5, 5, 501)
double_well_score = score_of(lambda x: -log_double_well(x))


def step_kernel(score, eta, a, c):
    """K[i, j] of the rule with drift a and noise c, between the points of the grid."""
    mean = grid + a * eta * score(grid)
    return torch.softmax(-((grid - mean[:, None]) ** 2) / (2 * c * eta), 1)


def stationary(K):
    """The p with p K = p: these equations, the last of them replaced by sum p = 1."""
    A = K.T - torch.eye(len(K))
    A[-1] = 1
    return torch.linalg.solve(A, torch.eye(len(K))[-1])


# %% tags=["hide-input"]
# Stationary laws of both rules at two step sizes, and the targets, on the grid
def distance(p, q):
    """Total variation distance of two distributions."""
    return 0.5 * (p - q).abs().sum().item()


targets = {c: torch.softmax(2 / c * log_double_well(grid), 0) for c in (1.0, 2.0)}
laws = {
    (c, eta): stationary(step_kernel(double_well_score, eta, 1.0, c))
    for c in (1.0, 2.0)
    for eta in (0.02, 0.01)
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact stationary laws of two rules at step size 0.01 (lines) on a density with two wells of weights 0.8 and 0.2, and the densities that they sample (dots).", "name": "fig-lan-squared"}, "image": {"alt": "Two peaked curves over x. One has a tall left and a clearly visible right peak. The other is narrower and taller on the left and almost absent on the right. Dots of p lie on the first, dots of p squared on the second."}}
fig, ax = plt.subplots(figsize=(7.0, 2.4))
spacing = (grid[1] - grid[0]).item()
for c, name, place, colour in (
    (2.0, "noise 2: $p$", (1.95, 0.17), plotting.COLOURS[0]),
    (1.0, "noise 1: $p^2$", (-1.05, 0.62), plotting.COLOURS[1]),
):
    ax.plot(grid, laws[c, 0.01] / spacing, color=colour)
    ax.plot(grid[::8], targets[c][::8] / spacing, "o", color=colour, markersize=4)
    ax.annotate(name, place, color=colour)
_ = ax.set(xlabel="x", ylabel="density", xlim=(-4, 4))

# %% tags=["check"]
for c, name in ((1.0, "noise 1 samples p^2"), (2.0, "noise 2 samples p")):
    larger, smaller = (distance(laws[c, eta], targets[c]) for eta in (0.02, 0.01))
    checks.at_most(f"{name}: distance at step size 0.01", smaller, 0.02)
    # Of the order eta, so halved with eta, up to the next order, some per cent.
    ratio = larger / smaller
    checks.close(f"{name}: error at 0.02 over error at 0.01", ratio, 2, rtol=0.1)
away = distance(laws[1.0, 0.01], targets[2.0])
checks.at_least("noise 1: distance to p", away, 0.1)
weight = targets[1.0][grid < 0].sum()
checks.close("left well in p^2, but for the overlap", weight, 16 / 17, rtol=1e-3)

# %% [markdown]
r"""
The error falls in proportion to $\eta$, but small steps cost more of them: on $N(0, 1)$ the start is forgotten as $(1 - \eta)^k$.
So a chain of $k$ steps comes to $p$ only if $\eta \to 0$ and $k \eta \to \infty$ together ({ref}`ex-lan-budget`).

```{dropdown} A one-minute question: can samples of the third rule be saved?
Not by rescaling: they follow $p^2$, in which small wells are almost empty.
Give each of them the weight $1/p(x)$, and a few points stand for a whole well: their effective number is small.
```

## An accept/reject step makes it exact

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

```{figure} ../figures/lan_accept.svg
:name: fig-lan-accept
:alt: From a circle x an arrow, propose q of y given x, leads to a circle y, and on to a diamond with the question whether a uniform random number u is below A. Yes leads to y, no back to x. Below stand x and y with an arrow from each to the other and the words, as much flows there as back, the minimum of f of x q of y given x and f of y q of x given y.
:width: 540px

One step of Metropolis and Hastings, and why it keeps $p$.
```

Why it works is one line.
For $x \ne y$ the flow of probability from $x$ to $y$ is

$$
\begin{aligned} f(x)\, K(x \to y) &= f(x)\, q(y \mid x)\, A(x \to y) \\
&= \min\bigl(f(x)\, q(y \mid x),\; f(y)\, q(x \mid y)\bigr), \end{aligned}
$$ (eq-lan-detailed-balance)

which is symmetric in $x$ and $y$.
What flows there flows back: this is *detailed balance*, and summed over $x$ it says that $p$ is stationary.
From any start the chain then comes to $p$ if its moves can lead everywhere and it does not cycle with a fixed period; staying at $x$ now and then prevents that.

```{margin}
**A common mistake:** "worse moves are accepted now and then, to explore".
How often is no matter of taste: a probability that does not balance the flows samples another density.
```

With five states all of this is a table, on which both claims are checked, and the mistake too: worse moves accepted with a fixed probability lead elsewhere.
"""


# %%
def metropolis_kernel(f, q):
    """K[i, j] of states 0, 1, ...: f of shape (n,), proposals q of shape (n, n)."""
    K = torch.minimum(q, (f * q.T) / f[:, None])  # q A
    K.fill_diagonal_(0)
    return K + torch.diag(1 - K.sum(1))


f = torch.tensor([1.0, 4.0, 2.0, 8.0, 3.0])
q = torch.softmax(torch.randn(5, 5), 1)  # a proposal with preferences
K = metropolis_kernel(f, q)

# %% tags=["check"]
p_five = f / f.sum()
flow = p_five[:, None] * K
checks.close("five states: flow there = flow back", flow, flow.T, atol=1e-16)
checks.close("p is stationary", p_five @ K, p_five, atol=1e-15)
checks.close("no Z: K for 17 f = K", metropolis_kernel(17 * f, q), K, atol=1e-15)
by_rule = metropolis_kernel(f, torch.full((5, 5), 0.2))
checks.close("the chain comes to p", stationary(by_rule), p_five, atol=1e-12)
by_taste = 0.2 * torch.where(f > f[:, None], 1.0, 0.1)
by_taste = by_taste + torch.diag(1 - by_taste.sum(1))
away = distance(stationary(by_taste), p_five)
checks.at_least("worse moves with probability 0.1: distance to p", away, 0.1)
forward = f[:, None] * q
barker = q * forward.T / (forward + forward.T)
flow = p_five[:, None] * barker
checks.close("Barker's rule balances the flows too", flow, flow.T, atol=1e-16)
off = ~torch.eye(5, dtype=bool)
checks.at_least("and moves less often, by", (K - barker)[off], 0.0)

# %% [markdown]
r"""
The same rule for points in space, many chains side by side.
A move returns the proposals $y$ and $\log q(x \mid y) - \log q(y \mid x)$; for a random walk this difference is zero.
"""


# %% tags=["method"]
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
**A Langevin step is a proposal too; accepted or rejected by this rule, its stationary law is $p$ at every step size.**
That is MALA, the Metropolis-adjusted Langevin algorithm: the *smart Monte Carlo* of {cite:t}`rossky1978`, proposed to statisticians by {cite:t}`besag1994`, named and analysed by {cite:t}`roberts1996`.
The proposal prefers the uphill direction in $p$, so that the factor of Hastings is needed:

$$
\log q(y \mid x) = -\frac{\lVert y - x - \eta\, s(x) \rVert^2}{4 \eta} + \text{const} .
$$ (eq-lan-mala)
"""


# %% tags=["method"]
def mala(score, step_size):
    def log_q(y, x):
        drift = step_size * score(x)
        return -(y - x - drift).square().sum(1) / (4 * step_size)

    def move(x):
        y = after(1, langevin(x, score, step_size))
        return y, log_q(x, y) - log_q(y, x)

    return move


# %% tags=["hide-input"]
# MALA on N(0, 1) with the step sizes of above, from both starts
def parabola(x):
    return x.square().squeeze(1) / 2


adjusted = {}
for eta in ETAS.tolist():
    chain = metropolis(two_starts()[:, None], parabola, mala(lambda x: -x, eta))
    adjusted[eta] = after(P.num_steps, chain)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The target is N(0, 1). Left: variance of the samples, without the accept/reject step (line: closed form) and with it (points). Right: the price, the share of proposals that are accepted.", "name": "fig-lan-mala"}, "image": {"alt": "Two panels against the step size from 0 to 1.6. Left: a curve, ULA, rises from one to four, points, MALA, stay at one. Right: points that fall from one at the smallest step to about six tenths at the largest."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.3))
left.plot(eta_axis, stationary_variance(eta_axis, 1.0, 2.0))
left.annotate("ULA", (0.95, 2.6), color=plotting.COLOURS[0])
variances = [x.square().mean() for x, _ in adjusted.values()]
left.plot(ETAS, variances, "o", color=plotting.COLOURS[1])
left.annotate("MALA", (1.2, 1.25), color=plotting.COLOURS[1])
left.set(xlabel=r"step size $\eta$", ylabel="variance", ylim=(0, 4.4))
rates = [accepted.double().mean() for _, accepted in adjusted.values()]
right.plot(ETAS, rates, "o-", color=plotting.COLOURS[1])
right.set(ylabel="accepted", ylim=(0, 1.05), xlim=(0, 1.6))
_ = right.set(xlabel=r"step size $\eta$")


# %% tags=["check"]
def acceptance_by_quadrature(eta):
    """Mean of min(1, exp(-eta (y^2 - x^2) / 4)) over x ~ N(0, 1) and the proposal."""
    u = torch.linspace(-8, 8, 801)
    weight = torch.softmax(-(u**2) / 2, 0)
    y = (1 - eta) * u[:, None] + math.sqrt(2 * eta) * u
    return weight @ torch.exp(-eta * (y**2 - u[:, None] ** 2) / 4).clamp(max=1) @ weight


for eta, (x, _) in adjusted.items():
    name = f"MALA, step {eta}"
    checks.unbiased(f"{name}: variance 1, from two starts", x.square(), [1.0])
    move, x = mala(lambda x: -x, eta), torch.randn(P.num_chains, 1)
    y, log_q_ratio = move(x)
    log_ratio = parabola(x) - parabola(y) + log_q_ratio
    by_hand = -eta * (y**2 - x**2)[:, 0] / 4
    checks.close(f"{name}: log A by hand", log_ratio, by_hand, atol=1e-12)
    _, accepted = next(metropolis(x, parabola, move))
    exact = acceptance_by_quadrature(eta)
    checks.unbiased(f"{name}: share accepted", accepted.double(), exact)
x, _ = after(P.num_steps, metropolis(wanted, energy, mala(score, 0.15)))
checks.unbiased("MALA in the landscape: shares of the wells", counted(x), shares)
squares = x[:, :, None] * x[:, None]
exact = torch.einsum("n,ni,nj->ij", mass, plane, plane)
checks.unbiased("and second moments of the cloud", squares, exact)

# %% [markdown]
r"""
Exactness has a price: the chain stands still when a proposal is rejected, and the best step size is a compromise.
For densities that are products of many like factors the best acceptance tends, with their number, to 0.234 for a random walk {cite:p}`roberts1997` and to 0.574 for MALA {cite:p}`roberts1998`.

```{dropdown} A one-minute question: is this the only probability that is exact?
No: {cite:t}`barker1965` takes $f(y)\, q(x \mid y)$ over the sum of both flows, which is symmetric too.
Metropolis moves at least as often, as $\min(u, v) \ge uv / (u + v)$; in a long stationary run its means have no larger variance {cite:p}`peskun1973`.
```

## What a chain is worth

**Successive states are alike, so that $S$ of them are worth fewer than $S$ independent draws.**
With $\rho_k$, the correlation of states $k$ steps apart, the variance of a mean over a long chain is that of independent draws times the *integrated autocorrelation time*

$$
\tau = 1 + 2 \sum_{k \ge 1} \rho_k,
\qquad
S_\text{eff} = \frac{S}{\tau} ,
$$ (eq-lan-ess)

and $S_\text{eff}$ is the *effective sample size*.
(Where correlations are negative, $\tau$ can fall below 1.)
The sum can't be taken to the end, because there the estimates of $\rho_k$ are noise around zero.
It is cut at the first $k \ge c\, \tau_k$, where $\tau_k$ is the sum so far: the rule of {cite:t}`sokal1997`, whose $\tau$ is half of ours, with the $c = 5$ of {cite:t}`goodman2009`; an exponential decay has then fallen to $e^{-10}$.
"""


# %%
def autocorrelation_time(chains, mean):
    """tau in steps, of stationary chains (num_steps, num_chains), pooled over chains."""
    num_steps = len(chains)
    spectrum = torch.fft.rfft(chains - mean, n=2 * num_steps, dim=0).abs().square()
    covariance = torch.fft.irfft(spectrum, dim=0)[:num_steps].mean(1)
    covariance = covariance / torch.arange(num_steps, 0, -1)  # pairs k steps apart
    tau = 2 * torch.cumsum(covariance / covariance[0], 0) - 1
    long_enough = torch.arange(num_steps) >= 5 * tau
    if not long_enough.any():
        raise ValueError(f"chains of {num_steps} steps are too short for their tau")
    return tau[long_enough][0].item()


# %% tags=["check"]
white = torch.randn(41, 3)
short = white[1:] + white[:-1]
products = [(short[k:] * short[: 40 - k]).mean().item() for k in range(40)]
sums = [1 + 2 * sum(products[1 : k + 1]) / products[0] for k in range(40)]
first = next(tau for k, tau in enumerate(sums) if k >= 5 * tau)
found = autocorrelation_time(short, 0.0)
checks.close(
    "tau by Fourier transform = by products of pairs", found, first, atol=1e-10
)
for ratio in (0.5, 0.1):
    chain = langevin(torch.randn(64), lambda x: -x, ratio)
    states = torch.stack(list(islice(chain, 100, 100 + P.chain_length)))
    taus = [autocorrelation_time(part, 0.0) for part in states.split(2, dim=1)]
    name = f"eta / sigma^2 = {ratio}: tau = 2 sigma^2 / eta - 1"
    checks.unbiased(name, torch.tensor(taus), 2 / ratio - 1)

# %% [markdown]
r"""
For Langevin steps on $N(0, \sigma^2)$ we know the answer: $\rho_k = (1 - \eta / \sigma^2)^k$ is a geometric series, and $\tau = 2 \sigma^2 / \eta - 1$.

**A narrow direction dictates the step, a wide one the time it takes; preconditioning makes them equal.**
The step must fit the smallest $\sigma$, and the widest direction then needs of the order of $\sigma_\text{max}^2 / \sigma_\text{min}^2$ steps.
With a matrix $M = L L^\top$ close to the covariance of $p$ the rule

$$
x_{k+1} = x_k + \eta\, M \nabla \log p(x_k) + \sqrt{2 \eta}\, L\, \xi_k
$$ (eq-lan-precondition)

is the plain rule for $z = L^{-1} x$, in which all directions are alike.
So preconditioning is a change of variables, and needs no new sampler: give the old one $E(L z)$.

The test is a Gaussian in ten dimensions, turned at random, with standard deviations from 0.25 to 1.
It is no product of many like factors: that each method tunes its step to 0.234 or 0.574 is a rule of thumb.
The price is counted in evaluations of $E$ or of its gradient, one a step for the random walk, two for MALA, which keeps those at $x$ from the step before.
"""

# %%
DIM = 10
turn, _ = torch.linalg.qr(torch.randn(DIM, DIM))
L = turn * torch.logspace(math.log10(0.25), 0, DIM)  # L L^T is the covariance
to_z = torch.linalg.inv(L).T


def gaussian(z):
    return z.square().sum(1) / 2


def stretched(x):
    return gaussian(x @ to_z)


def tuned(energy, make_move, target, x, size=0.1):
    """Step size at which the share of accepted proposals is `target`, and the last x."""
    for k in range(1, 201):
        x, accepted = next(metropolis(x, energy, make_move(size)))
        size *= math.exp((accepted.double().mean().item() - target) / k**0.5)
    return size, x


# %% tags=["hide-input"]
# Three samplers on it: evaluations for one independent draw of the widest coordinate
same = torch.eye(DIM)
SAMPLERS = {  # energy, move, target, evaluations a step, back to x
    "random walk": (stretched, random_walk, 0.234, 1, same),
    "MALA": (stretched, partial(mala, score_of(stretched)), 0.574, 2, same),
    "MALA, preconditioned": (gaussian, partial(mala, score_of(gaussian)), 0.574, 2, L),
}
price, means, along_widest = {}, {}, {}
for name, (target_energy, make_move, target, evaluations, back) in SAMPLERS.items():
    x = torch.randn(256, DIM) @ (same if back is L else L.T)
    size, x = tuned(target_energy, make_move, target, x)
    states = islice(metropolis(x, target_energy, make_move(size)), P.chain_length)
    along = torch.stack([x @ back.T @ turn[:, -1] for x, _ in states])
    groups = along.reshape(len(along), 16, 16).unbind(1)
    taus = [autocorrelation_time(part, 0.0) for part in groups]
    price[name], along_widest[name] = evaluations * torch.tensor(taus), along
    means[name] = run.record(
        "evaluations_per_draw_" + name.replace(",", "").replace(" ", "_").lower(),
        price[name].mean(),
        unit="evaluations",
        standard_error=price[name].std() / len(taus) ** 0.5,
        protocol=f"{name}, tuned to the acceptance {target}; Gaussian in {DIM} dimensions, "
        "standard deviations 0.25 to 1; tau of the widest coordinate times evaluations a "
        f"step, 16 groups of 16 chains of {P.chain_length:,} steps",
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Evaluations of the energy or its gradient that one independent draw of the widest coordinate costs, in ten dimensions with standard deviations from 0.25 to 1. Error bars: one standard error from independent groups of chains.", "name": "fig-lan-price"}, "image": {"alt": "Three horizontal bars on a logarithmic axis. Random walk is the longest with more than a hundred evaluations, MALA needs somewhat more than half of that, preconditioned MALA less than ten."}}
fig, ax = plt.subplots(figsize=(7.0, 1.8))
errors = [values.std() / len(values) ** 0.5 for values in price.values()]
bars = ax.barh(list(means), list(means.values()), xerr=errors, height=0.6)
ax.bar_label(bars, fmt="%.0f", padding=8)
ax.set(xscale="log", xlabel="evaluations for one independent draw", xlim=(1, 1e3))
ax.invert_yaxis()
_ = ax.grid(axis="y", visible=False)

# %% tags=["check"]
inside = random_walk(0.3)(torch.zeros(10_000, 1))[0].abs() < 0.3
checks.unbiased("random walk: 68 % within its scale", inside.double(), share[:1])
checks.ordered("evaluations for a draw", dict(reversed(means.items())))
checks.at_most("guard: evaluations of MALA, preconditioned", min(means.values()), 10)
checks.at_most("guard: of the random walk", means["random walk"], 250)
for name, along in along_widest.items():
    checks.unbiased(f"{name}: widest variance", along.square().mean(0), 1.0)

# %% [markdown]
r"""
One independent draw takes many gradients, even in ten dimensions.
So training an energy model by sampling is slow; [the next lecture](energy_models.ipynb) trains by short chains, and [the one after it](noise_contrastive.ipynb) without samples.

```{dropdown} A one-minute question: tau is 100; how long a chain is enough?
For the mean to one per cent of the standard deviation: $10^4$ independent draws, so $10^6$ steps.
```

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

```{figure} ../figures/lan_sgld.svg
:name: fig-lan-sgld-step
:alt: Twenty-four small squares, N data, of which five are filled, the mini-batch of n. An arrow leads to a box, N over n times the sum of the n gradients, plus that of the prior. Its result, s hat of theta, leads to a second box, Langevin step, theta plus eta s hat plus the root of 2 eta times xi. Out of it comes theta, and an arrow back says, the new theta meets new data.
:width: 560px

One step of SGLD.
```

Our example is one where the posterior is known: a straight line through 100 measurements with Gaussian errors of known size, and a Gaussian prior of width 2.
In the laboratory: a force against an extension between 0 and 2, that is, an offset and a spring constant.
"""

# %%
N, n, SIGMA, PRIOR = 100, 10, 0.5, 2.0
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


# %% tags=["method"]
def minibatch_score(theta):
    """An unbiased estimate of the score; each chain draws its own mini-batch."""
    rows = torch.randint(N, (len(theta), n))
    residual = force[rows] - (design[rows] @ theta[:, :, None]).squeeze(2)
    pull = (residual[:, :, None] * design[rows]).sum(1) / SIGMA**2
    return (N / n) * pull - theta / PRIOR**2


# %% tags=["check"]
def minus_log_posterior(theta):
    errors = (force - theta @ design.T).square().sum(1) / SIGMA**2
    return 0.5 * (errors + theta.square().sum(1) / PRIOR**2)


some = posterior_mean + 0.2 * torch.randn(5, 2)
checks.at_most("extensions are between 0 and 2", design[:, 1], 2)
found, exact = score_of(minus_log_posterior)(some), (posterior_mean - some) @ precision
checks.close("the posterior is the Gaussian", found, exact, atol=1e-10)
draws = minibatch_score(some[0].expand(100_000, 2))
checks.unbiased("score of a mini-batch", draws, exact[0])

# %% [markdown]
r"""
**The noise of the mini-batches widens the answer, and by how much can be computed.**
In one dimension, with precision $\lambda$ and a gradient noise of variance $V$, one step turns the variance $v$ into $(1 - \eta \lambda)^2 v + \eta^2 V + 2 \eta$, so that

$$
v_\infty = \frac{2 + \eta V}{2 \lambda - \eta \lambda^2} .
$$ (eq-lan-sgld-variance)

For small steps this is $1/\lambda$: the noise that we add has variance $2 \eta$, that of the mini-batch only $\eta^2 V$.
But $V$ grows as $N^2 / n$, and the step must be small against $2 / V$ and not only against $2 / \lambda$.

With steps that shrink both errors vanish: the steps must add up to infinity, so that the start is forgotten, and go to zero.
{cite:t}`welling2011` ask in addition that the sum of their squares be finite.
The usual choice is $\eta_k = \eta_0\, (1 + k / k_0)^{-\gamma}$ with $1/2 < \gamma \le 1$; ours has $\gamma = 0.6$.
All chains start far from the posterior, half of them on each side.
"""

# %%
SCHEDULES = {
    "step 0.0004": [4e-4] * 300,
    "step 0.0001": [1e-4] * 1_200,
    "decreasing steps": [4e-4 * (1 + k / 20) ** -0.6 for k in range(2_000)],
}
far = 2 * torch.ones(P.sgld_chains, 2)
far[::2] *= -1
clouds, areas = {}, {}  # areas of ellipses, over that of the posterior
for name, etas in SCHEDULES.items():
    theta = posterior_mean + far
    for eta in etas:
        theta = next(langevin(theta, minibatch_score, eta))
    clouds[name] = theta
    areas[name] = (torch.cov(theta.T).det() / posterior_cov.det()).sqrt().item()


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the measurements, and the lines of twenty SGLD chains. Middle and right: offset and slope of 800 chains with a constant and with a decreasing step. Ellipses at two standard deviations, which hold 86 % in two dimensions: of the chains (solid) and of the exact posterior (dashed), and the ratio of their areas. Cross: the true values.", "name": "fig-lan-sgld"}, "image": {"alt": "Three panels. A hundred scattered points with a narrow fan of rising lines through them. Then two tilted clouds of dots: at the constant step the cloud fills a solid ellipse that is clearly wider than the dashed one inside; with the decreasing step the two ellipses nearly agree."}}
def ellipse(cov):
    """Points two standard deviations from the mean."""
    angle = torch.linspace(0, 2 * math.pi, 200)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    return posterior_mean + 2 * circle @ torch.linalg.cholesky(cov).T


fig, (left, *axes) = plt.subplots(1, 3, figsize=(7.6, 2.7))
left.plot(design[:, 1], force, ".", color="black", markersize=4)
ends = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
lines = ends @ clouds["decreasing steps"][:20].T
left.plot(ends[:, 1], lines, color=plotting.COLOURS[1], linewidth=0.8)
left.set(xlabel="extension", ylabel="force")
far = 4.5 * posterior_cov.diag().sqrt()
x_ends, y_ends = torch.stack([posterior_mean - far, posterior_mean + far], 1)
for ax, name in zip(axes, ("step 0.0004", "decreasing steps"), strict=True):
    theta = clouds[name]
    ax.plot(*theta[:800].T, ".", color=plotting.COLOURS[1], markersize=2.5, alpha=0.6)
    ax.plot(*ellipse(torch.cov(theta.T)).T, color=plotting.COLOURS[0])
    ax.plot(*ellipse(posterior_cov).T, "k--")
    ax.plot(*TRUTH, "kx", markersize=8, markeredgewidth=2)
    words = f"{name}\narea × {areas[name]:.2f}"
    ax.annotate(words, (0.97, 0.97), xycoords="axes fraction", ha="right", va="top")
    ax.set(xlabel="offset", xlim=x_ends, ylim=y_ends)
_ = axes[0].set(ylabel="slope")

# %% tags=["check"]
noisy = langevin(torch.randn(P.num_chains), lambda x: -x + 2 * torch.randn_like(x), 0.2)
squares = after(60, noisy).square()
checks.unbiased("one dimension, V = 4, step 0.2: 2.8 / 1.8", squares, 2.8 / 1.8)
u = (force - design @ posterior_mean)[:, None] * design / SIGMA**2
H = design[:, :, None] * design[:, None] / SIGMA**2
D = H - H.mean(0)


def covariance_after(etas):
    """From the start of the chains; the gradient of datum i is u_i - D_i (theta - mean)."""
    C = torch.full((2, 2), 4.0)
    for eta in etas:
        B = torch.eye(2) - eta * precision
        noise = N**2 / n * (torch.cov(u.T, correction=0) + (D @ C @ D).mean(0))
        C = B @ C @ B + 2 * eta * torch.eye(2) + eta**2 * noise
    return C


for name, theta in clouds.items():
    deviation, exact = theta - posterior_mean, covariance_after(SCHEDULES[name])
    checks.unbiased(f"{name}: mean", deviation, torch.zeros(2))
    squares = deviation[:, :, None] * deviation[:, None]
    checks.unbiased(f"{name}: covariance as computed", squares, exact)
    area = (exact.det() / posterior_cov.det()).sqrt()
    checks.close(f"{name}: area", areas[name], area, rtol=5 / len(theta) ** 0.5)
checks.ordered("area", {"posterior": 1.0, **dict(sorted(areas.items()))})

# %% [markdown]
r"""
What is a posterior for?
For predictions with error bars: the density of a new measurement is the mean of $p(d \mid \theta)$ over the posterior.
On 4,000 new measurements the mean over 1,000 SGLD chains and the exact predictive density differ by less than a hundredth of a nat.
"""

# %% tags=["hide-input"]
# Both densities on new measurements, recorded
new_design, new_force = measure(4_000)
chains = clouds["step 0.0001"][:1_000]
by_chain = log_normal(new_force[:, None], new_design @ chains.T, SIGMA**2)
spread = SIGMA**2 + ((new_design @ posterior_cov) * new_design).sum(1)
log_density = {
    "sgld": torch.logsumexp(by_chain, 1) - math.log(len(chains)),
    "exact": log_normal(new_force, new_design @ posterior_mean, spread),
}
recorded = {}
for name, values in log_density.items():
    recorded[name] = run.record(
        f"{name}_heldout_log_density",
        values.mean(),
        unit="nats per measurement",
        standard_error=values.std() / len(values) ** 0.5,
        protocol=f"straight line, {N} measurements, 4,000 new ones, mean predictive density "
        f"over 1,000 SGLD chains with eta = 0.0001, mini-batches of {n}; exact: integrated",
    )

# %% tags=["check"]
sgld, exact = recorded["sgld"], recorded["exact"]
checks.close("prediction by SGLD = by the exact posterior", sgld, exact, atol=0.01)

# %% [markdown]
r"""
```{dropdown} A one-minute question: what does SGLD return without the kick?
Stochastic gradient descent: it ends near the maximum of the posterior, and the width of its cloud is set by the step size and the mini-batches, not by the posterior.
```

## Which gradient is which

```{margin}
**In the sources.** Oslo, 16 April, *Code example of Langevin Sampling*; CS236 notes, *Score matching optimization*.
```

**The gradient that moves a sample and the gradient that teaches a model are two things, and only the second has two phases, a mean over data and one over the model.**
For a model $p_\theta(x) = e^{-E_\theta(x)} / Z(\theta)$

$$
\begin{aligned} \nabla_x \log p_\theta(x) &= -\nabla_x E_\theta(x), \\
\nabla_\theta \log p_\theta(x) &= -\nabla_\theta E_\theta(x) + \mathbb{E}_{x' \sim p_\theta} \nabla_\theta E_\theta(x') . \end{aligned}
$$ (eq-lan-two-gradients)

```{figure} ../figures/lan_gradients.svg
:name: fig-lan-gradients
:alt: Two curves of energy with two wells each. On the left, gradient in x, moves a sample, a dot slides down the curve, which stands still. On the right, gradient in theta, moves the curve, it is pulled down where a dot of data lies, in the right well, and pushed up where a sample lies, in the left one.
:width: 560px

The first gradient moves points on a fixed landscape, the second moves the landscape.
```

The first needs no samples of the model and drives Langevin and MALA; the second needs them, in its negative phase, and drives contrastive divergence and maximum likelihood.

```{margin}
**A common mistake:** "the score loses $Z$ because $Z$ does not depend on $\theta$".
It does depend on $\theta$; it does not depend on $x$.
```

SGLD is the case where the two meet: there the "sample" is $\theta$, and the data are fixed.
The other meeting is training: the first gradient draws the samples that the second needs, here for $E_\theta(x) = x^4/4 - \theta x^2/2$.
"""


# %%
def quartic(x, theta=1.5):
    """Energies of points (num_points, 1)."""
    return (x**4 / 4 - theta * x**2 / 2).squeeze(1)


x = torch.randn(P.num_particles, 1)
x, _ = after(P.num_steps, metropolis(x, quartic, mala(score_of(quartic), 0.1)))
negative_phase = -x[:, 0].square() / 2  # gradient of E in theta, at samples


# %% tags=["check"]
def log_of(energies):
    """log p on the line, where Z is a sum."""
    return -energies - torch.logsumexp(-energies, 0) - math.log(dx)


column, inner, h = line[:, None], line.abs() < 3, 1e-4
log_p = log_of(quartic(column))
found = score_of(quartic)(column)[inner, 0]
# Central differences err by dx^2 / 6 times third derivatives of about 20.
checks.close("gradient in x: no Z", found, derivative(log_p)[inner], atol=1e-4)
below, above = (log_of(quartic(column, 1.5 + sign * h)) for sign in (-1, 1))
model_mean = -(log_p.exp() * line**2 / 2).sum() * dx
found, exact = line**2 / 2 + model_mean, (above - below) / (2 * h)
checks.close("gradient in theta: both phases", found[inner], exact[inner], atol=1e-7)
checks.unbiased("negative phase by MALA", negative_phase, model_mean)
shifted = log_of(quartic(column) + 7 * 1.5)
checks.close("7 theta added to E changes no probability", shifted, log_p, atol=1e-12)

# %% [markdown]
r"""
```{dropdown} A one-minute question: add $7 \theta$ to the energy; what changes?
In the first gradient nothing; in the second both phases, by $-7$ and $+7$, which cancel.
No probability has changed.
```

## Where Langevin sampling fails

```{margin}
**In the sources.** CS236 notes, *Generating samples*, the last points.
```

**The unadjusted chain diverges where the energy is steeper than a parabola.**
The step $-\eta\, x^3$ of the energy $x^4/4$ overshoots as soon as $\eta x^2 > 2$, and lands further out than it came from.
The noise gets there in the end at any step size; how soon depends steeply on $\eta$.
MALA rejects such steps.
From the bulk of the density that makes it exact; from far out it rejects nearly all of them and stays where it is, and only the share of accepted steps tells.
"""


# %% tags=["hide-input"]
# Chains on the energy x^4 / 4 that start in the bulk, and far out
def steep(x):
    return (x**4).squeeze(1) / 4


steep_score = score_of(steep)
lost, bulk = {}, torch.randn(P.num_particles, 1)
for eta in (0.1, 0.2, 0.3):
    x = after(2_000, langevin(bulk, steep_score, eta))
    lost[eta] = (~x.isfinite()).double().mean().item()
move = mala(steep_score, 0.1)
x, _ = after(P.num_steps, metropolis(bulk, steep, move))
far_out = torch.full_like(bulk, 1.1 * math.sqrt(2 / 0.1))
stuck, accepted = after(P.num_steps, metropolis(far_out, steep, move))
stayed = (stuck == far_out).double().mean().item()
rows = {f"ULA, step {eta}, lost after 2,000": f"{lost[eta]:.1%}" for eta in lost}
rows[f"MALA from far out, still there after {P.num_steps}"] = f"{stayed:.1%}"
plotting.table(rows, columns=("chains on the energy x⁴/4", "share"))

# %% tags=["check"]
beyond = after(12, langevin(far_out, steep_score, 0.1))
checks.true("ULA from far out: all lost in 12 steps", not beyond.isfinite().any())
checks.close("ULA from the bulk, step 0.3: share that is lost", lost[0.3], 1, atol=0.1)
checks.at_least("ULA from the bulk, step 0.2: share that is lost", lost[0.2], 0.01)
checks.at_most("step 0.1: fewer", lost[0.1], lost[0.2])
exact = (torch.softmax(-(line**4) / 4, 0) @ line**2).reshape(1)
checks.unbiased("MALA from the bulk: mean of x^2", x.square(), exact)
checks.close("MALA from far out: stuck", stayed, 1, atol=0.05)
checks.at_most("MALA from far out: accepted steps", accepted.double().mean(), 0.05)

# %% [markdown]
r"""
**Every chain waits long in front of a barrier, and nothing looks wrong.**
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

For large $b$ the inner integral is one half and $1/p = \sqrt{2 \pi}\, e^{b^2/2} / \cosh(b y)$ near the top of the barrier, which gives the second form: the time grows exponentially with the height of the barrier, about $b^2/2$.
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


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: one Langevin chain each for three distances b of the wells, over 200 units of time. Right: mean time until a particle from the left well comes to the top of the barrier. Line: double integral. Dashed: its limit for high barriers.", "name": "fig-lan-passage"}, "image": {"alt": "Left: three noisy traces over time. For b = 2 the trace jumps often between minus two and two, for b = 3 seldom, for b = 4 hardly ever or not at all. Right: time on a logarithmic axis against b from one and a half to four. A line rises from about four to more than a thousand; a dashed line runs a little below it."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.8), width_ratios=(3, 2))
distances = torch.tensor([2.0, 3.0, 4.0])
chain = langevin(-distances, lambda x: two_wells_score(x, distances), 0.05)
traces = torch.stack(list(islice(chain, 4_000)))
for i, trace in enumerate(traces.T):
    times = 0.05 * torch.arange(len(trace))
    left.plot(times, trace - 14 * i, color=plotting.COLOURS[1], linewidth=0.5)
left.set(xlabel="time", yticks=(0, -14, -28), yticklabels=("b = 2", "b = 3", "b = 4"))
fine = torch.linspace(1.5, 4, 26)
right.semilogy(fine, [passage_time(b.item()) for b in fine])
limit = math.pi**1.5 / 8**0.5 * torch.exp(fine**2 / 2) / fine
right.semilogy(fine, limit, "k--", linewidth=1)
_ = right.set(xlabel="b", ylabel="mean time until x = 0")

# %% tags=["check"]
exact = score_of(lambda x: -log_two_wells(x, 2.0))(line)
checks.close("score of two wells", two_wells_score(line, 2.0), exact, atol=1e-12)
for b in (4.0, 6.0):
    # The next term of the expansion is of the order 1/b^2.
    ratio = passage_time(b) / (math.pi**1.5 / 8**0.5 * math.exp(b**2 / 2) / b)
    checks.close(f"b = {b}: passage time, over its limit", ratio, 1, atol=2 / b**2)

# %% [markdown]
r"""
What does a run that is too short look like?
MALA in the left of two wells at $b = 6$, 64 chains of 1,000 steps:
"""


# %% tags=["hide-input"]
# What the chains say of themselves, and what is true
def far_wells(x):
    return -log_two_wells(x[:, 0], 6.0)


states = metropolis(torch.randn(64, 1) - 6, far_wells, mala(score_of(far_wells), 1.0))
positions = torch.stack([x[:, 0] for x, _ in islice(states, 1_000)])
mean, variance = positions.mean().item(), positions.var().item()
tau_inside = autocorrelation_time(positions, mean)
rows = {
    "mean": (mean, "0"),
    "variance": (variance, "37"),
    "autocorrelation time, steps": (tau_inside, "some 10⁷"),
}
plotting.table(rows, columns=("two wells at ±6", "by the chains", "true"))

# %% tags=["check"]
checks.true("64 chains of 1,000 steps", positions.shape == (1_000, 64))
error = 5 * (10 / positions.numel()) ** 0.5  # for tau up to 10
checks.close("mean of the chains: left well", mean, -6, atol=error)
checks.close("their variance: left well", variance, 1, atol=2**0.5 * error)
both = (log_two_wells(2 * line, 6.0).exp() * (2 * line) ** 2).sum() * 2 * dx
checks.close("true variance, both wells", both, 37, rtol=1e-6)
checks.at_most("autocorrelation time that the chains claim", tau_inside, 10)
checks.close("waiting at b = 6: some 10^7", math.log10(passage_time(6.0)), 7, atol=0.5)

# %% [markdown]
r"""
The right mean and variance of one well, a short autocorrelation time, and half of the distribution missing: nothing in the run says so.
The weights of the wells are then those of the starting points.
Walking there through flatter densities helps: tempering, or the noise scales of [score matching](score_matching.ipynb).
It is no guarantee; in [the RBM lecture](rbm.ipynb) annealed importance sampling misses half of $Z$ and claims a small error.

```{dropdown} A one-minute question: chains from 64 starts agree: all well?
It is good news only if starts lie in all wells: chains that agree have forgotten where they started.
Of a well that no chain has seen they say nothing.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- {eq}`eq-lan-ula`: the score, and a kick of variance $2 \eta$; with half of it the samples follow $p^2$
- {eq}`eq-lan-acceptance`: the probability that makes any proposal exact
- {eq}`eq-lan-two-gradients`: one gradient without $Z$, one with two phases

**What it can do**

- **Likelihood:** none; it needs $p$ up to a factor, and never finds $Z$.
- **Sampling:** $\tau$ steps for an independent draw; the error is of order $\eta$, or none with accept/reject.
- **Latent code:** none; SGLD samples parameters.
- **What fails:** barriers, where the waiting time grows as $e^{\Delta E}$ and the chain does not notice; steep energies, where ULA diverges.
```
"""

# %% [markdown]
r"""
## Exercises

```{exercise-start} Which temperature is it? (easy)
:label: ex-lan-temperature
```
A rule with drift $a\,\eta$ and noise variance $c\,\eta$ samples a power of $p$ for small steps.
Write `exponent(a, c)`, that power; the reward is a picture of what three rules make of the double well.
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
    _, ax = plt.subplots(figsize=(7.0, 2.4))
    for a, c in ((1.0, 2.0), (1.0, 1.0), (0.5, 3.0)):
        power = answer(a, c)
        law = stationary(step_kernel(double_well_score, 0.01, a, c))
        claimed = torch.softmax(power * log_double_well(grid), 0)
        # The error of the step is of the order eta times the curvature, 0.01 / 0.36.
        checks.at_most(f"a = {a}, c = {c}: distance", distance(law, claimed), 0.03)
        ax.plot(grid, law / spacing, label=f"a = {a:g}, c = {c:g}: power {power:.3g}")
    ax.set(xlabel="x", ylabel="density")
    ax.legend()
    return print("right")


check_exponent(exponent)

# %% [markdown]
r"""
````{solution-start} ex-lan-temperature
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Three curves with two peaks over x: the lower the power, the wider the peaks and the higher the hill and the small peak on the right."}}
def exponent(a, c):
    return 2 * a / c


check_exponent(exponent)

# %% [markdown]
r"""
With $\eta' = c\, \eta / 2$ the noise is $\sqrt{2 \eta'}$ and the drift is $\eta' \cdot (2a/c) \nabla \log p$, which is the score of $p^{2a/c}$.
Physics has $p^{1/T}$: drift $\eta \nabla \log p$, noise $\sqrt{2 T \eta}$.
````{solution-end}
````

```{margin}
**In the sources.** CS236 notes, *Generating samples*: step size to zero, number of steps to infinity.
```

```{exercise-start} A budget of steps (medium)
:label: ex-lan-budget
```
ULA on $N(0, 1)$ starts at the point $x_0 = 2$.
Write `law_after(k, eta)`: mean and variance of the Gaussian after $k$ steps.
The check draws how far that law is from the target for 10, 100 and 1,000 steps: which step size is best, and what must $\eta$ and $k \eta$ do for the distance to vanish?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def law_after(k, eta):
    return None


# %% tags=["check"]
def kl_to_target(mean, variance):
    """KL(N(mean, variance) || N(0, 1)) in nats."""
    return 0.5 * (variance + mean**2 - 1 - torch.log(torch.as_tensor(variance)))


def check_budget(answer):
    if answer(7, 0.3) is None:
        return print("not yet")
    for k, eta in ((7, 0.3), (50, 0.02)):
        law = torch.tensor([2.0, 0.0])  # mean and variance, step by step
        for _ in range(k):
            law = law * torch.tensor([1 - eta, (1 - eta) ** 2])
            law[1] += 2 * eta
        checks.close(f"law after {k} steps of {eta}", answer(k, eta), law, rtol=1e-12)
    million = [kl_to_target(*answer(10**6, eta)) for eta in (1e-3, 1e-12, 0.2)]
    checks.at_most("KL, a million steps of 1/sqrt(k)", million[0], 1e-6)
    checks.at_least("KL, a million steps of 1/k^2: not arrived", million[1], 1)
    wide = kl_to_target(0.0, 1 / 0.9)
    checks.close("of 0.2: too wide for ever", million[2], wide, rtol=1e-12)
    _, ax = plt.subplots(figsize=(7.0, 2.8))
    eta_axis = torch.logspace(-4, -0.05, 400)
    for k in (10, 100, 1_000):
        ax.loglog(eta_axis, kl_to_target(*answer(k, eta_axis)), label=f"k = {k:,}")
    ax.set(xlabel=r"step size $\eta$", ylabel="KL (nats)", ylim=(1e-6, 10))
    ax.legend(loc="lower left")
    return print("right")


check_budget(law_after)

# %% [markdown]
r"""
````{solution-start} ex-lan-budget
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Three valleys on logarithmic axes, for ten, a hundred and a thousand steps. Each falls from left to a minimum and rises again along a common line; the more steps, the further left and the lower the minimum."}}
def law_after(k, eta):
    return 2 * (1 - eta) ** k, (1 - (1 - eta) ** (2 * k)) / (1 - eta / 2)


check_budget(law_after)

# %% [markdown]
r"""
What the start has left behind is in the mean and in the numerator, the error of the step is the denominator:

$$
m_k = (1 - \eta)^k\, x_0,
\qquad
v_k = \frac{1 - (1 - \eta)^{2k}}{1 - \eta/2} .
$$

With a fixed number of steps one error is traded for the other; both vanish if $\eta \to 0$ and $k\, \eta \to \infty$.
````{solution-end}
````

```{exercise-start} Waiting at a barrier (hard)
:label: ex-lan-passage
```
Write `first_passages(b, eta, num_chains)`: start all chains at $-b$, in the left of the two wells of {numref}`fig-lan-passage`, take Langevin steps with `two_wells_score`, and return for each chain the time (steps times $\eta$) at which it first stood above zero.
The check compares the mean with an exact one for the same steps, and draws how the times are distributed: which law is it?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def first_passages(b, eta, num_chains):
    return None


# %% tags=["check"]
def passage_time_of_chain(b, eta):
    """eta times the mean number of Langevin steps from -b to above zero."""
    half = torch.arange(0.01, 10.0, 0.02).flip(0).neg()  # grid points left of zero
    mean = half + eta * two_wells_score(half, b)
    K = torch.exp(log_normal(half, mean[:, None], 2 * eta)) * 0.02
    steps = torch.linalg.solve(torch.eye(len(half)) - K, torch.ones(len(half)))
    return eta * steps[(half + b).abs().argmin()].item()


def check_passages(answer):
    if answer(2.0, 0.1, 2) is None:
        return print("not yet")
    for b in (1.5, 2.0):
        times = torch.as_tensor(answer(b, 0.1, P.num_passages))
        checks.unbiased(f"b = {b}: mean time", times, passage_time_of_chain(b, 0.1))
    quickest = torch.as_tensor(answer(0.1, 0.1, P.num_passages)).min()
    checks.close("low barrier: the quickest need one step", quickest, 0.1, atol=1e-12)
    moved = passage_time(2.0, wall=0.5826 * math.sqrt(2 * 0.02))
    # The correction holds up to terms of the order eta.
    exact = passage_time_of_chain(2.0, 0.02)
    checks.close("chain = diffusion with the wall moved", moved, exact, rtol=0.02)
    _, ax = plt.subplots(figsize=(7.0, 2.4))
    ax.hist(times, bins=40, density=True, log=True, color=plotting.COLOURS[1])
    t = torch.linspace(0, times.max().item(), 50)
    ax.plot(t, torch.exp(-t / times.mean()) / times.mean(), "k--", label="exponential")
    ax.set(xlabel="time until x = 0, for b = 2", ylabel="density")
    ax.legend()
    return print("right")


check_passages(first_passages)

# %% [markdown]
r"""
````{solution-start} ex-lan-passage
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A histogram of passage times on a logarithmic axis falls along a dashed straight line; at the longest times single crossings stand alone."}}
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
The chain takes longer than {eq}`eq-lan-passage` says, because it can jump over zero and back between two time steps.
The known correction is a wall that stands $0.5826 \sqrt{2 \eta}$ further away {cite:p}`broadie1997`.
````{solution-end}
````

## Further

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $f(x)$, $E(x) = -\log f(x)$ | `energy` | density without its factor, energy in units of $k_B T$ |
| $s(x)$, $\eta$, $\xi$ | `score`, `step_size`, `noise` | $\nabla_x \log p(x)$, step size, independent standard normal numbers |
| $q(y \mid x)$, $K(x \to y)$ | `move`, `K` | proposal; probability, or density, to be at $y$ after one step from $x$ |
| $v$, $v_\infty$ | `stationary_variance` | variance, that of the stationary law |
| $\rho_k$, $\tau$ | `tau` | correlation $k$ steps apart, integrated autocorrelation time in steps |
| $N$, $n$ | `N`, `n` | number of data, size of a mini-batch |
| $\lambda$, $V$ | `precision` | precision of a posterior, variance of a gradient's noise |

## Reading

**What comes next:** [deep energy models](energy_models.ipynb), in which the energy is a neural network, trained by short Langevin chains; then [a classifier](noise_contrastive.ipynb) that needs none.

**Reading:** {cite:t}`goodfellow2016`, sections 17.3 and 17.5, for Markov chains and why they mix slowly, and 18.1 for the two phases; {cite:t}`roberts1996` for when the chain converges at all; {cite:t}`welling2011` for SGLD, with [Lyndon Duong's notes](https://www.lyndonduong.com/sgmcmc/), to which the Oslo lectures point; {cite:t}`sokal1997`, section 3, for autocorrelation times, from a physicist; {cite:t}`haenggi1990` for rates over barriers.
What the lecture notes get wrong is listed on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

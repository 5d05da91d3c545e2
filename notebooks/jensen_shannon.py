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
# The Jensen-Shannon derivation, vanishing gradients and mode collapse

At the end of this lecture you will be able to

1. derive the best discriminator, and show that a GAN with it minimises the Jensen-Shannon divergence;
2. read the same divergence as the information that a sample carries about where it comes from, and measure it with a classifier;
3. compute what each of the two generator losses really descends, and predict when its gradient vanishes;
4. say which players of a game spiral outwards, which orbit and which converge, from two eigenvalues;
5. make a generator collapse on a ring of eight Gaussians, name the cause, and tell a cure from a placebo with a control that was never trained.

- **You need** [a GAN on MNIST](gan_mnist.ipynb) for what the two networks do; expectations as integrals, the chain rule, eigenvalues of a 2 x 2 matrix, some PyTorch.
- **Sources:** {cite:t}`goodfellow2014`, {cite:t}`arjovsky2017a`, {cite:t}`lin1991`, {cite:t}`mescheder2018`, {cite:t}`metz2017`.
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
from dgm.models.gan import discriminator_loss, generator_loss

import matplotlib.pyplot as plt
import numpy as np
import sympy
import torch
import torch.nn.functional as F
from scipy.stats import ncx2
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_draws": (20_000, 200_000, 1_000_000),  # of Monte Carlo estimates
    "num_tables": (300, 3_000, 3_000),  # random triples for the triangle inequality
    "line_steps": (30, 1_000, 4_000),  # of the discriminator on the line
    "plane_steps": (20, 800, 800),  # of the discriminators in the plane
    "num_networks": (2, 8, 64),  # independent networks, trained side by side
    "ring_steps": (40, 2_000, 2_000),  # of each GAN on the ring
}

# %%
run = dgm.start("jensen_shannon", parameters=PARAMETERS)
P = run.parameters

# %% [markdown]
r"""
## The problem in one picture

A generator turns noise $z$ into data $x = G(z)$.
Its samples have some density $p_g$, which nobody writes down; the data have a density $p_r$, which nobody knows.
A discriminator $D(x)$, the probability that $x$ is real, looks at both kinds of samples.
Can its answers alone pull $p_g$ onto $p_r$?
On a line, where we know both densities, everything in this question is an integral that we compute to twelve digits.
"""


# %%
def log_normal(x, mean=0.0, std=1.0):
    mean = torch.as_tensor(mean, dtype=torch.float64)
    std = torch.as_tensor(std, dtype=torch.float64)
    return -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)


def log_mixture(log_p, log_q, share=0.5):
    """log(share p + (1 - share) q)."""
    return torch.logaddexp(log_p + math.log(share), log_q + math.log(1 - share))


x = torch.linspace(-25, 25, 10_001, dtype=torch.float64)
dx = (x[1] - x[0]).item()


def integral(values):
    """Trapezoidal rule: for smooth functions that vanish at both ends."""
    return values.sum(-1) * dx


log_p_r = log_mixture(log_normal(x, -1.5, 0.6), log_normal(x, 1.5, 0.6), share=0.6)
log_p_g = log_normal(x, 0.7, 1.4)

# %% tags=["check"]
checks.close("integral of p_r", integral(log_p_r.exp()), 1, atol=1e-12)
checks.close("integral of p_g", integral(log_p_g.exp()), 1, atol=1e-12)
checks.close("mean of p_g", integral(log_p_g.exp() * x), 0.7, atol=1e-12)
variance = integral(log_p_g.exp() * (x - 0.7) ** 2)
checks.close("variance of p_g", variance, 1.4**2, atol=1e-12)
checks.close("mean of p_r", integral(log_p_r.exp() * x), -0.3, atol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Data density, density of the generator, and the best discriminator between them: above one half where data are the more probable.", "name": "fig-js-problem"}, "image": {"alt": "A blue curve with a high bump left and a lower one right, an orange bell over both, and a green curve between zero and one that is high where blue exceeds orange and low where orange exceeds blue; it crosses one half where the two are equal."}}
fig, ax = plt.subplots()
near = x.abs() < 5
ax.plot(x[near], log_p_r.exp()[near], label=r"data $p_r$")
ax.plot(x[near], log_p_g.exp()[near], label=r"generator $p_g$")
best = torch.sigmoid(log_p_r - log_p_g)
ax.plot(x[near], best[near], label=r"best discriminator $D^*$")
plotting.reference_line(ax, 0.5, "1/2")
ax.set(xlabel="x", ylabel="density; probability", ylim=(0, 1.02))
_ = ax.legend(loc="upper right")

# %% [markdown]
r"""
We use these symbols:

| symbol | in code | meaning |
|---|---|---|
| $p_r$, $p_g$, $m = \frac12 (p_r + p_g)$ | `log_p_r`, `log_p_g`, `log_m` | densities of data ($p_r$ is also written $p_\text{data}$) and of generated samples, and their mixture |
| $G(z)$, $z \sim \mathcal{N}(0, I)$ | `generator` | the generator and its noise |
| $D(x) = \sigma(\ell(x))$ | `logits` are $\ell$ | probability that $x$ is **real** |
| $L(G, D)$ | `value` | value of the game, in nats |
| $\psi$ | `psi` | a parameter of the generator |
"""

# %% [markdown]
r"""
## Four ways to compare two densities

```{margin}
**In the sources.** Borisyak, *Fitting Distributions*; CS236 notes, *GAN architecture/objective*.
```

The relative entropy KL, [the measure of maximum likelihood](divergences.ipynb), has two directions, which differ; their sum is the third way; the fourth is the one that a GAN minimises.

**The Jensen-Shannon divergence is the mean relative entropy of two densities with respect to their mixture.**

$$
\begin{aligned}
\mathrm{KL}(p \,\Vert\, q) &= \int p(x) \log \frac{p(x)}{q(x)}\, dx, \\
\mathrm{JS}(p, q) &= \tfrac12 \mathrm{KL}(p \,\Vert\, m) + \tfrac12 \mathrm{KL}(q \,\Vert\, m), \\
m &= \tfrac12 (p + q) .
\end{aligned}
$$ (eq-js-definition)

It is symmetric, zero only for $p = q$, and never above $\log 2$, because $m \ge p / 2$ {cite:p}`lin1991`.
"""


# %%
def kl(log_p, log_q):
    return integral(log_p.exp() * (log_p - log_q))


def jensen_shannon(log_p, log_q):
    log_m = log_mixture(log_p, log_q)
    return 0.5 * kl(log_p, log_m) + 0.5 * kl(log_q, log_m)


def jeffreys(log_p, log_q):
    return kl(log_p, log_q) + kl(log_q, log_p)


zero, one = log_normal(x, 0.0), log_normal(x, 1.0)
js_01, jeffreys_01 = jensen_shannon(zero, one), jeffreys(zero, one)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "JS, the symmetric form of KL".
The symmetric sum is Jeffreys' divergence, and it has no upper bound.
```

The Gaussians $\mathcal{N}(0, 1)$ and $\mathcal{N}(1, 1)$ have a Jeffreys divergence of 1.000 and a Jensen-Shannon divergence of 0.111.
We check the code against closed forms: the relative entropy of two Gaussians; the entropies, since $\mathrm{JS} = \mathcal{H}[m] - \frac12 \mathcal{H}[p] - \frac12 \mathcal{H}[q]$; and the limit of small shifts $d$, where $\mathrm{JS} \to d^2 / 8$.
"""

# %% tags=["check"]
wide = log_normal(x, 1.0, 2.0)
closed_form = math.log(2) + (1 + 1) / (2 * 4) - 0.5  # log(s_q / s_p) + ...
checks.close("KL(N(0,1) || N(1,4))", kl(zero, wide), closed_form, atol=1e-12)
checks.close("Jeffreys of N(0,1) and N(1,1)", jeffreys_01, 1.0, atol=1e-12)
checks.close("JS of N(0,1) and N(1,1), to three digits", js_01, 0.111, atol=5e-4)
log_m = log_mixture(zero, wide)
entropy_of_m = -integral(log_m.exp() * log_m)
half_entropies = 0.5 * math.log(2 * math.pi * math.e) + 0.5 * math.log(2)
checks.close(
    "JS by entropies",
    jensen_shannon(zero, wide),
    entropy_of_m - half_entropies,
    atol=1e-12,
)
shifted = log_normal(x, 0.01)
# The next term of the series is of relative size d^2.
checks.close(
    "JS / d^2 at d = 0.01", jensen_shannon(zero, shifted) / 1e-4, 1 / 8, rtol=1e-3
)
checks.close(
    "JS is symmetric",
    jensen_shannon(wide, zero),
    jensen_shannon(zero, wide),
    atol=1e-15,
)
far = jensen_shannon(zero, log_normal(x, 12.0))
checks.ordered("JS and its bound", {"JS": far, "log 2": math.log(2)}, slack=1e-12)

# %% [markdown]
r"""
### A divergence whose root is a distance

```{margin}
**A common mistake:** "Jensen-Shannon distance" for JS itself.
Only its square root obeys the triangle inequality.
```

A distance obeys the triangle inequality $d(p, r) \le d(p, q) + d(q, r)$.
**$\sqrt{\mathrm{JS}}$ does, JS does not.**
Random tables of four probabilities, three at a time, show both: no triple breaks the rule for the root, and many do for JS.
"""


# %%
def js_of_tables(p, q):
    m = (p + q) / 2
    return 0.5 * (p * (p / m).log() + q * (q / m).log()).sum(-1)


triples = torch.distributions.Dirichlet(torch.full((4,), 0.5).double()).sample(
    (3, P.num_tables)
)
triples = triples.clamp(min=1e-12)
a, b, c = triples / triples.sum(-1, keepdim=True)
sides = torch.stack([js_of_tables(a, b), js_of_tables(b, c), js_of_tables(a, c)])

# %% tags=["check"]


def broken(lengths):
    """Triples in which one side is longer than the two others together."""
    longest = lengths.max(0).values
    return (longest > lengths.sum(0) - longest + 1e-12).sum().item()


checks.close("triples whose square roots break the triangle", broken(sides.sqrt()), 0)
checks.at_least(
    "triples that break it without the root", broken(sides), P.num_tables / 20
)
checks.at_most("largest JS", sides.max(), math.log(2))

# %% [markdown]
r"""
### Which density comes first matters

```{margin}
**A common mistake:** a log-likelihood that is said to be minimised.
It is maximised: $\frac1N \sum_i \log p(x_i)$ estimates minus the KL term that depends on the model.
```

Maximum likelihood maximises $\mathbb{E}_{p_r} \log p$, which minimises $\mathrm{KL}(p_r \,\Vert\, p)$: wherever there are data, the model must put probability, and it covers all modes.
Turned round, $\mathrm{KL}(p \,\Vert\, p_r)$ forbids the model to be where no data are, and it selects a mode.
We fit one Gaussian to two peaks, at $\pm 3$ with standard deviation 0.7, by minimising each divergence.
JS, from this start, selects the peak as well ({numref}`fig-js-fits`).
"""


# %%
two_peaks = log_mixture(log_normal(x, -3, 0.7), log_normal(x, 3, 0.7))


def fit(divergence, mean=2.0, std=1.0):
    """Mean and standard deviation of the Gaussian that minimises divergence(log p)."""
    theta = torch.tensor([mean, math.log(std)], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=200,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        loss = divergence(log_normal(x, theta[0], theta[1].exp()))
        loss.backward()
        return loss

    optimizer.step(closure)
    return theta[0].item(), theta[1].exp().item()


fits = {
    r"KL$(p_r \Vert p)$": fit(lambda log_p: kl(two_peaks, log_p)),
    r"KL$(p \Vert p_r)$": fit(lambda log_p: kl(log_p, two_peaks)),
    "JS": fit(lambda log_p: jensen_shannon(two_peaks, log_p)),
}
forward, reverse, by_js = fits.values()

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One Gaussian fitted to two peaks, from the same start right of the centre: by the relative entropy of the data with respect to the model, by that of the model with respect to the data, and by the Jensen-Shannon divergence. The last two nearly coincide.", "name": "fig-js-fits"}, "image": {"alt": "Two equal grey peaks at minus three and three. A blue flat bell covers both; an orange dashed bell twice as high as the peaks sits on the right one; the green one lies on it."}}
fig, ax = plt.subplots()
near = x.abs() < 9
ax.fill_between(x[near], two_peaks.exp()[near], color="0.8", label=r"data $p_r$")
for (label, (mean, std)), style in zip(fits.items(), ("-", "--", "-."), strict=True):
    ax.plot(x[near], log_normal(x, mean, std).exp()[near], style, label=label)
ax.set(xlabel="x", ylabel="density")
_ = ax.legend(loc="upper left")

# %% tags=["check"]
moments = [0.0, math.sqrt(9 + 0.49)]
checks.close(
    "forward KL finds mean and standard deviation of the data",
    forward,
    moments,
    atol=1e-6,
)
checks.close("that standard deviation, to two digits", forward[1], 3.08, atol=5e-3)
# The other peak is the nearer one beyond 4.3 standard deviations: 1e-5 of the mass,
# where the logarithm of their ratio grows by 6 / 0.49 = 12.2 for a unit of x.
checks.close("reverse KL finds one peak", reverse, [3.0, 0.7], atol=1e-3)
checks.close("JS, from this start, finds the same peak", by_js[0], 3.0, atol=0.1)
slope_of_js = torch.tensor(by_js, requires_grad=True, dtype=torch.float64)
jensen_shannon(two_peaks, log_normal(x, *slope_of_js)).backward()
checks.close("gradient of JS there", slope_of_js.grad, [0.0, 0.0], atol=1e-6)

# %% [markdown]
r"""
## The value of the game

```{margin}
**In the sources.** Oslo, 7 May, *Optimization part* to *What does the loss function quantify?*: this section and the next two.
```

**A GAN never evaluates $p_g$: it needs two averages over samples.**
The discriminator wants $\log D$ large on data and $\log(1 - D)$ large on generated samples; the generator wants the opposite {cite:p}`goodfellow2014`:

$$
\begin{aligned}
L(G, D) &= \mathbb{E}_{x \sim p_r} \log D(x) \\
&\quad + \mathbb{E}_{z} \log\bigl(1 - D(G(z))\bigr), \\
&\min_G \max_D L(G, D) .
\end{aligned}
$$ (eq-js-game)

The second mean is over the noise.
By the *law of the unconscious statistician* it equals a mean over $p_g$, whatever the dimension of $z$ and even if many $z$ give the same $x$:

$$
\mathbb{E}_{z}\, f(G(z)) = \int p_g(x)\, f(x)\, dx .
$$ (eq-js-lotus)

In code the logits $\ell$ of $D = \sigma(\ell)$ are used, with $\log D = -\mathrm{softplus}(-\ell) = \log \sigma(\ell)$ and $\log(1 - D) = -\mathrm{softplus}(\ell) = \log \sigma(-\ell)$.

```{margin}
**A common mistake:** PyTorch's `softplus` in twelve-digit work: above 20 it is a straight line, off by up to $2 \times 10^{-9}$.
`logsigmoid` is exact, and we use it here.
```
"""


# %%
def log_d(logits):
    return F.logsigmoid(logits)


def log_one_minus_d(logits):
    return F.logsigmoid(-logits)


def value(log_p_r, log_p_g, logits):
    """L(G, D) by quadrature, for logits on the grid x."""
    on_data = log_p_r.exp() * log_d(logits)
    on_generated = log_p_g.exp() * log_one_minus_d(logits)
    return integral(on_data + on_generated)


# %% [markdown]
r"""
Two-dimensional noise and $G(z) = |z|$ make a test: many $z$ share one $x$, and $p_g(x) = x e^{-x^2/2}$ is Rayleigh's density.
"""

# %% tags=["check"]
some_logits = 0.5 - 0.8 * x  # an arbitrary discriminator
probs = torch.sigmoid(some_logits)
central = x.abs() < 5
checks.close("log D", log_d(some_logits)[central], probs[central].log(), atol=1e-12)
checks.close(
    "log(1 - D)",
    log_one_minus_d(some_logits)[central],
    (1 - probs[central]).log(),
    atol=1e-12,
)
checks.close("log(1 - D) at a logit of 30", log_one_minus_d(torch.tensor(30.0)), -30.0)
beyond = torch.tensor(20.5, dtype=torch.float64)
off = -log_one_minus_d(beyond) - F.softplus(beyond)
checks.close("what softplus leaves out at 20.5", off, math.exp(-20.5), rtol=1e-5)
z = torch.randn(P.num_draws, 2, dtype=torch.float64)
over_noise = log_one_minus_d(0.5 - 0.8 * z.norm(dim=1))
rayleigh = torch.where(x > 0, x * torch.exp(-(x**2) / 2), 0.0)
over_x = integral(rayleigh * log_one_minus_d(some_logits))
checks.unbiased("mean over z in the plane, integral over x", over_noise, over_x)
draws = torch.from_numpy(run.rng.standard_normal((2, P.num_draws)))
per_pair = log_d(0.5 - 0.8 * draws[0]) + log_one_minus_d(0.5 - 0.8 * (1 + draws[1]))
checks.unbiased("L(G, D) from samples", per_pair, value(zero, one, some_logits))

# %% [markdown]
r"""
## The best discriminator

**The best answer is the share of real density at $x$.**
Nothing couples the values of $D$ at different points, so $L = \int [\,p_r \log D + p_g \log(1 - D)\,]\, dx$ is maximised point by point.
With $A = p_r(x)$, $B = p_g(x)$ and $y = D(x)$,

$$
\begin{aligned}
f(y) &= A \log y + B \log(1 - y), \\
f'(y) &= \frac{A}{y} - \frac{B}{1 - y} = \frac{A - (A + B)\, y}{y\, (1 - y)}, \\
f''(y) &= -\frac{A}{y^2} - \frac{B}{(1 - y)^2} < 0,
\end{aligned}
$$ (eq-js-calculus)

so that the one zero of $f'$ is the maximum, with the curvature $-(A + B)^3 / (A B)$:

$$
\begin{aligned}
D^*(x) &= \frac{p_r(x)}{p_r(x) + p_g(x)} \\
&= \sigma\bigl(\log p_r(x) - \log p_g(x)\bigr) .
\end{aligned}
$$ (eq-js-best)

The best logit is the log-ratio of the densities.
Where neither density has any mass, $D^*$ is not defined, and no sample ever asks for it.
"""

# %% tags=["check"]
A, B, y = sympy.symbols("A B y", positive=True)
f = A * sympy.log(y) + B * sympy.log(1 - y)
slope = sympy.diff(f, y)
(y_best,) = sympy.solve(slope, y)
curvature = sympy.diff(f, y, 2).subs(y, y_best)
zero_of = {
    "f' as in the text": slope - (A - (A + B) * y) / (y * (1 - y)),
    "the best y is A/(A+B)": y_best - A / (A + B),
    "curvature there is -(A+B)^3/(AB)": curvature + (A + B) ** 3 / (A * B),
}
for claim, expression in zero_of.items():
    checks.true(f"sympy: {claim}", sympy.simplify(expression) == 0)


# %%
def best_logits(log_p_r, log_p_g):
    """Logits of D*."""
    return log_p_r - log_p_g


# %% [markdown]
r"""
What does a discriminator lose that is not the best?
Inserting $A = (A + B) D^*$ and $B = (A + B)(1 - D^*)$ gives the loss exactly, a relative entropy of two coins at every $x$:

$$
\begin{aligned}
L(G, D) &= L(G, D^*) - 2 \int m(x)\, \mathrm{kl}(x)\, dx, \\
\mathrm{kl} &= D^* \log \frac{D^*}{D} + (1 - D^*) \log \frac{1 - D^*}{1 - D} .
\end{aligned}
$$ (eq-js-gap)
"""


# %%
def discriminator_gap(log_p_r, log_p_g, logits):
    """L(G, D*) - L(G, D) by the second line of the equation."""
    best = best_logits(log_p_r, log_p_g)
    coins = torch.sigmoid(best) * (log_d(best) - log_d(logits))
    coins += torch.sigmoid(-best) * (log_one_minus_d(best) - log_one_minus_d(logits))
    return 2 * integral(log_mixture(log_p_r, log_p_g).exp() * coins)


# %% tags=["check"]
best = best_logits(log_p_r, log_p_g)
p_r, p_g = log_p_r.exp(), log_p_g.exp()
checks.close(
    "sigmoid of the log-ratio", torch.sigmoid(best), p_r / (p_r + p_g), atol=1e-12
)
best_value = value(log_p_r, log_p_g, best)
for logits, name in (
    (some_logits, "a logistic line"),
    (best + torch.sin(3 * x), "D* with ripples"),
):
    loss = best_value - value(log_p_r, log_p_g, logits)
    checks.at_least(f"{name}: what it loses", loss, 0)
    checks.close(
        f"{name}: the loss",
        discriminator_gap(log_p_r, log_p_g, logits),
        loss,
        atol=1e-12,
    )

# %% [markdown]
r"""
## The identity

**With the best discriminator the value of the game is twice the Jensen-Shannon divergence, minus $2 \log 2$.**
Insert {eq}`eq-js-best`, and write $p_r + p_g$ as $2 m$:

$$
\begin{aligned}
L(G, D^*) &= \int p_r \log \frac{p_r}{2 m}\, dx + \int p_g \log \frac{p_g}{2 m}\, dx \\
&= 2\, \mathrm{JS}(p_r, p_g) - 2 \log 2 .
\end{aligned}
$$ (eq-js-identity)

```{margin}
**A common mistake:** "the loss of a GAN measures similarity".
It measures *dis*similarity, and only for the best discriminator and for the loss $\log(1 - D)$.
```

So the best generator has $p_g = p_r$, where $D^* = \frac12$ everywhere and $L = -2 \log 2 = -1.386$.
With {eq}`eq-js-gap`, every other discriminator gives a lower bound: $\mathrm{JS} \ge \frac12 L(G, D) + \log 2$.

The two sides are computed by different routes.
The left side is the value of the game as a GAN sees it, a mean over data and a mean over *noise*, with generator $G(z) = \psi + z$; the right side is the definition {eq}`eq-js-definition`, an integral over $x$.
"""


# %%
z_grid = torch.linspace(-12, 12, 4_801, dtype=torch.float64)
weights = log_normal(z_grid).exp() * (z_grid[1] - z_grid[0])  # of a mean over the noise


def value_over_noise(psi):
    """L(G, D*) for data N(0, 1) and G(z) = psi + z."""
    generated = psi + z_grid

    def logits(points):
        return log_normal(points) - log_normal(points, psi)

    return weights @ log_d(logits(z_grid)) + weights @ log_one_minus_d(
        logits(generated)
    )


separations = (0.0, 0.5, 2.0, 6.0)
errors = [
    value_over_noise(psi)
    - (2 * jensen_shannon(zero, log_normal(x, psi)) - 2 * math.log(2))
    for psi in separations
]
identity_error = run.record(
    "identity_max_error",
    max(abs(error) for error in errors),
    unit="nats",
    protocol="largest |L(G, D*) - (2 JS - 2 log 2)| over N(0, 1) against N(psi, "
    "1) for psi = 0, "
    "0.5, 2, 6: the left side by quadrature over data and noise, the right side over x",
)

# %% tags=["check"]
checks.at_most("error of the identity at four separations", identity_error, 1e-8)
checks.close("L at p_g = p_r", value_over_noise(0.0), -2 * math.log(2), atol=1e-12)
checks.close(
    "the identity for the two densities of the first picture",
    best_value,
    2 * jensen_shannon(log_p_r, log_p_g) - 2 * math.log(2),
    atol=1e-12,
)

# %% [markdown]
r"""
## The same number is information

```{margin}
**In the sources.** Borisyak, *Approximating JS distance*.
```

**JS is the information, in nats, that one sample gives about where it comes from.**
Toss a fair coin $Y$; draw $X$ from $p_r$ for $Y = 1$ and from $p_g$ for $Y = 0$.
Then $X \sim m$ and $p(Y = 1 \mid x) = D^*(x)$, and the mutual information is

$$
\begin{aligned}
I(X; Y) &= \mathcal{H}[Y] - \mathcal{H}[Y \mid X] \\
&= \log 2 - \mathbb{E}_{x \sim m}\, h\bigl(D^*(x)\bigr) = \mathrm{JS}(p_r, p_g),
\end{aligned}
$$ (eq-js-information)

with $h(y) = -y \log y - (1 - y) \log(1 - y)$.
The mean of $h(D^*)$ is the smallest cross-entropy that any classifier can reach on balanced examples:

$$
\begin{aligned}
\mathrm{JS} &= \log 2 - \min_D \mathrm{CE}(D), \\
\mathrm{CE}(D) &= -\tfrac12 L(G, D) .
\end{aligned}
$$ (eq-js-classifier)

A classifier is a meter for JS, and it always reads too low.
For two Gaussians of equal width $\ell^*$ is a straight line, so logistic regression, two numbers, is enough to reach the minimum.
"""


# %%
def best_line(psi, newton_steps=12):
    """Smallest cross-entropy of logits a + b x, data N(0, 1) against N(psi, 1)."""
    log_p, log_q = log_normal(x), log_normal(x, psi)
    ab = torch.zeros(2, dtype=torch.float64)
    basis = torch.stack([torch.ones_like(x), x])
    for _ in range(newton_steps):
        d = torch.sigmoid(ab @ basis)
        gradient = integral(basis * (log_q.exp() * d - log_p.exp() * (1 - d))) / 2
        curvature = (
            (basis * log_mixture(log_p, log_q).exp() * d * (1 - d)) @ basis.T * dx
        )
        ab = ab - torch.linalg.solve(curvature, gradient)
    return -value(log_p, log_q, ab @ basis) / 2, ab


psis = torch.linspace(-3, 3, 25, dtype=torch.float64)
cross_entropies = torch.stack([best_line(psi)[0] for psi in psis])

# %% tags=["check"]
log_m, d_best = log_mixture(log_p_r, log_p_g), torch.sigmoid(best)
js = jensen_shannon(log_p_r, log_p_g)
coin_entropy = -(d_best * log_d(best) + (1 - d_best) * log_one_minus_d(best))
checks.close(
    "H[Y] - H[Y|X]", math.log(2) - integral(log_m.exp() * coin_entropy), js, atol=1e-12
)
joint = torch.stack([log_p_r, log_p_g]) + math.log(0.5)
product = log_m + math.log(0.5)
checks.close("KL of joint and product", kl(joint, product).sum(), js, atol=1e-12)
for psi in (0.5, 1.5, 3.0):
    ce, ab = best_line(psi)
    js_psi = jensen_shannon(zero, log_normal(x, psi))
    checks.close(
        f"psi = {psi}: log 2 - CE of the line", math.log(2) - ce, js_psi, atol=1e-12
    )
    checks.close(f"psi = {psi}: the line", ab, [psi**2 / 2, -psi], atol=1e-9)
best_psi = psis[cross_entropies.argmax()]
checks.close(
    "the generator that the classifier finds hardest", best_psi, 0.0, atol=1e-12
)

# %% [markdown]
r"""
Minimising JS over the generator is therefore maximising, over the generator, the smallest error of a classifier: the outer loop of {numref}`fig-js-outer`.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Smallest cross-entropy that logistic regression reaches between data N(0, 1) and samples of N(psi, 1), one fit for each point. The line is log 2 - JS.", "name": "fig-js-outer"}, "image": {"alt": "A bell-shaped row of points over psi from minus three to three, lying on a curve. The top at psi equal to zero touches the dashed line log 2."}}
fig, ax = plt.subplots()
fine = torch.linspace(-3, 3, 121, dtype=torch.float64)
js_curve = torch.stack([jensen_shannon(zero, log_normal(x, psi)) for psi in fine])
ax.plot(fine, math.log(2) - js_curve, color="0.6", label=r"$\log 2 - \mathrm{JS}$")
ax.plot(psis, cross_entropies, "o", label="logistic regression")
ax.set(
    xlabel=r"mean $\psi$ of the generator",
    ylabel="cross-entropy (nats)",
    ylim=(0, 0.78),
)
plotting.reference_line(ax, math.log(2), "log 2")
_ = ax.legend(loc="lower center")

# %% [markdown]
r"""
## The generator's gradient

```{margin}
**In the sources.** Borisyak, *Generator training*.
```

**At the best discriminator, the gradient of JS is found while $D^*$ is held fixed.**
$D^*$ depends on the generator, so should we not differentiate through it?
By the *envelope theorem* the dependence does not count, because the derivative of $L$ with respect to $D$ is zero at its maximum:

$$
\begin{aligned}
\frac{d}{d\psi}\, 2\, \mathrm{JS} &= \frac{d}{d\psi} \max_D L(G_\psi, D) \\
&= \frac{\partial}{\partial \psi}\, \mathbb{E}_z \log\bigl(1 - D(G_\psi(z))\bigr) \Big|_{D = D^*} .
\end{aligned}
$$ (eq-js-envelope)

For data $\mathcal{N}(0, 1)$, $G(z) = \psi + z$ and $\psi = 1$ both sides are 0.398.

```{margin}
**A common mistake:** the sign.
A step along *plus* this gradient moves the generator away from the data.
```

The slope is positive: the generator is right of the data, and a step to the right would increase JS.
The generator *descends* $\mathbb{E}_z \log(1 - D)$.
"""


# %%
def slope_with_d_fixed(psi, objective):
    """d/dpsi of the mean over z of objective(logits), D* held where psi is."""
    moving = torch.tensor(psi, dtype=torch.float64, requires_grad=True)
    generated = moving + z_grid
    logits = log_normal(generated) - log_normal(generated, psi)
    (weights @ objective(logits)).backward()
    return moving.grad.item()


def slope_of(divergence, psi):
    """d/dpsi of divergence(log p_r, log p_g), through everything."""
    moving = torch.tensor(psi, dtype=torch.float64, requires_grad=True)
    divergence(zero, log_normal(x, moving)).backward()
    return moving.grad.item()


fixed, through = (
    slope_with_d_fixed(1.0, log_one_minus_d),
    2 * slope_of(jensen_shannon, 1.0),
)

# %% tags=["check"]
checks.close(
    "d(2 JS)/dpsi, D* fixed, against through everything", fixed, through, atol=1e-12
)
checks.close("its value, to three digits", fixed, 0.398, atol=5e-4)


def two_js(psi):
    return 2 * jensen_shannon(zero, log_normal(x, float(psi))).item()


checks.gradient("and by differences", two_js, 1.0, through, atol=1e-9)
step = 0.1 * fixed
moves = {
    "downhill": two_js(1 - step),
    "no step": two_js(1.0),
    "uphill": two_js(1 + step),
}
checks.ordered("2 JS after a step", moves)

# %% [markdown]
r"""
```{margin}
**A common mistake:** $-1/(1 - D)$ in the gradient of the discriminator's loss $-\frac12 L$.
The two minus signs cancel: $+\frac12\, \mathbb{E}_z \bigl[\frac{1}{1 - D} \frac{\partial D}{\partial G} \frac{\partial G}{\partial \psi}\bigr]$.
```

Written out with the chain rule, with $D' = D (1 - D)\, \ell'$ for a discriminator $\sigma(\ell)$,

$$
\begin{aligned}
\nabla_\psi L &= -\mathbb{E}_z \Bigl[\frac{D'(G(z))}{1 - D(G(z))}\, \nabla_\psi G(z)\Bigr] \\
&= -\mathbb{E}_z \bigl[ D(G(z))\, \ell'(G(z))\, \nabla_\psi G(z) \bigr] .
\end{aligned}
$$ (eq-js-chain)

The factor $D(G(z))$ will matter: where the discriminator is sure that a sample is generated, nothing is left.
"""

# %% tags=["check"]
psi = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
at = psi + z_grid
logits = 0.4 - 0.9 * at + 0.2 * torch.sin(at)  # some discriminator
(by_autograd,) = torch.autograd.grad(weights @ log_one_minus_d(logits), psi)
d, slope_of_logits = torch.sigmoid(logits), -0.9 + 0.2 * torch.cos(at)
d_prime = d * (1 - d) * slope_of_logits
first_line = -(weights @ (d_prime / (1 - d)))
checks.close("first line, against autograd", first_line, by_autograd, atol=1e-12)
checks.close("second line", -(weights @ (d * slope_of_logits)), by_autograd, atol=1e-12)
again = psi + z_grid
logits = 0.4 - 0.9 * again + 0.2 * torch.sin(again)
loss_of_d = -0.5 * (weights @ log_one_minus_d(logits))
(slope_of_loss,) = torch.autograd.grad(loss_of_d, psi)
by_margin = 0.5 * (weights @ (d_prime / (1 - d)))
checks.close("slope of -L/2, the sign is plus", slope_of_loss, by_margin, atol=1e-12)

# %% [markdown]
r"""
### The theory as a film

`descend` is the algorithm of the theory: at each step the discriminator is the best one, then it is held fixed for one step of the generator.
The generator is $G(z) = \mu + s z$, all means are integrals.
With `frozen=True` the discriminator stays what it was at the first step; we need that below.
"""


# %%
def descend(log_density, mean, std, *, steps, rate=0.1, objective, frozen=False):
    """Yields (mean, std) of the generator, the start included."""
    theta = torch.tensor([mean, math.log(std)], dtype=torch.float64)
    judged = theta.clone()  # the generator that D* was made for
    for _ in range(steps):
        yield theta[0].item(), theta[1].exp().item()
        judged = judged if frozen else theta.clone()
        theta.requires_grad_(True)
        points = theta[0] + theta[1].exp() * z_grid
        logits = log_density(points) - log_normal(points, judged[0], judged[1].exp())
        (gradient,) = torch.autograd.grad(weights @ objective(logits), theta)
        theta = theta.detach() - rate * gradient
    yield theta[0].item(), theta[1].exp().item()


def bimodal(points):
    left, right = log_normal(points, -1.0, 0.6), log_normal(points, 1.0, 0.6)
    return log_mixture(left, right)


saturating = log_one_minus_d  # the generator descends log(1 - D)
path = list(descend(bimodal, 4.0, 0.5, steps=250, rate=0.3, objective=saturating))
js_path = [jensen_shannon(bimodal(x), log_normal(x, *point)).item() for point in path]

# %% tags=["check"]
moments = torch.tensor(path[-1])
by_fit = torch.tensor(
    fit(lambda log_p: jensen_shannon(bimodal(x), log_p), mean=0.5, std=1.0)
)
checks.close("mean and standard deviation at the end", moments, by_fit, atol=1e-3)
checks.at_most("largest rise of JS in any step", np.diff(js_path).max(), 1e-12)
checks.at_least("JS at the start", js_path[0], 0.98 * math.log(2))
checks.close("mean and std after ten steps", path[10], path[0], atol=0.15)
checks.at_least("mean after 30 steps, of 4 at first", path[30][0], 2.5)
checks.at_least("std after 30 steps, of 0.5 at first", path[30][1], 2.5)

# %% tags=["hide-input"]
shown = [0, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100, 150, 250]
line = torch.linspace(-4, 6.5, 400, dtype=torch.float64)


def theory_frame(step):
    mean, std = path[step]
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    ax.plot(line, bimodal(line).exp(), label="data")
    ax.plot(line, log_normal(line, mean, std).exp(), label="generator")
    d_line = torch.sigmoid(bimodal(line) - log_normal(line, mean, std))
    ax.plot(line, d_line, label=r"$D^*$")
    points = mean + std * torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)
    points.requires_grad_(True)
    logits = bimodal(points) - log_normal(points, mean, std)
    (pull,) = torch.autograd.grad(-log_one_minus_d(logits).sum(), points)
    at = points.detach()
    ax.quiver(
        at,
        0 * at - 0.1,
        pull,
        0 * pull,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.007,
    )
    ax.set(xlabel=f"x      (JS = {js_path[step]:.4f})", ylabel="density; probability")
    ax.set(xlim=(-4, 6.5), ylim=(-0.2, 1.45), yticks=(0, 0.5, 1))
    ax.legend(loc="upper right", ncol=2)
    return fig


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A Gaussian generator that starts far from the data, against the best discriminator. Arrows: where each sample is pulled, minus the gradient of log(1 - D*). At first the arrows are too short to be seen; then they pull it apart while it is still far from the data, and at last they move it there. One Gaussian cannot have two peaks, so that JS ends above zero.", "name": "fig-js-film"}}
plotting.film(
    map(theory_frame, shown),
    labels=[f"step {step}" for step in shown],
    alt="A narrow orange bell right of two blue bumps. For ten steps it hardly "
    "changes. Then it becomes wide and flat, moves left, and narrows until it lies "
    "over both bumps; the green discriminator ends with a dip where the bell is and two humps beside it.",
)

# %% [markdown]
r"""
The first ten steps change mean and standard deviation by less than 0.15, although JS starts within two per cent of $\log 2$, its largest value.
Then the side that is nearer to the data is pulled over: after thirty steps the generator is five times as wide, and still far from the data.
Why so wrong a generator is pulled so little is the subject of the section on disjoint supports.

### A discriminator that has to be trained

In practice $D$ is a network, trained by ascent of a mini-batch mean of $\log D(x) + \log(1 - D(G(z)))$.
That is the whole algorithm for a fixed generator, and {eq}`eq-js-gap` says how far it has come.
The networks of this lecture come several at a time, side by side in one tensor product: an experiment with one network proves little.
"""


# %% tags=["twin:dgm.models.mlps.MLPs"]
class MLPs(nn.Module):
    """Inputs (num_networks, batch_size, sizes[0]), outputs (..., sizes[-1])."""

    def __init__(self, num_networks, sizes, *, slope=0.0):
        super().__init__()
        self.slope = slope
        pairs = list(pairwise(sizes))
        # He's variance for layers before an activation; the last layer is linear.
        gains = [2.0 / (1 + slope**2)] * (len(pairs) - 1) + [1.0]
        self.W = nn.ParameterList(
            (gain / n_in) ** 0.5 * torch.randn(num_networks, n_in, n_out)
            for gain, (n_in, n_out) in zip(gains, pairs, strict=True)
        )
        self.b = nn.ParameterList(torch.zeros(num_networks, 1, n) for n in sizes[1:])

    def features(self, h):
        for W, b in zip(self.W[:-1], self.b[:-1], strict=True):
            h = F.leaky_relu(torch.baddbmm(b, h, W), self.slope)
        return h

    def forward(self, h):
        return torch.baddbmm(self.b[-1], self.features(h), self.W[-1])


# %% [markdown]
r"""
The activation is a ReLU, or a leaky one with `slope` for negative arguments.
The losses of the [lecture on MNIST](gan_mnist.ipynb), one number for each pair of samples, are imported; the mean over a batch is minus $L(G, D)$, one number for each network.
"""


# %%
def game_loss(logits_real, logits_generated):
    """Minus L(G, D), one number for each network."""
    return discriminator_loss(logits_real, logits_generated).mean((1, 2))


# %%
def draw_real(num):
    left = torch.rand(num) < 0.6
    return torch.where(left, -1.5, 1.5) + 0.6 * torch.randn(num)


def trained_on_the_line(steps, batch_size=256):
    """Logits on the grid before and after training; the last layer starts at zero."""
    discriminator = MLPs(1, (1, 64, 64, 1)).to(run.device)
    nn.init.zeros_(discriminator.W[-1])
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=2e-3)
    for step in range(steps + 1):
        if step in (0, steps):
            with torch.no_grad():
                points = x.to(run.device, torch.float32)[None, :, None]
                yield dgm.float64(discriminator(points)[0, :, 0])
        real = draw_real(batch_size)[None, :, None].to(run.device)
        generated = (0.7 + 1.4 * torch.randn(1, batch_size, 1)).to(run.device)
        loss = game_loss(discriminator(real), discriminator(generated)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


untrained, trained = trained_on_the_line(P.line_steps)
gaps = [
    discriminator_gap(log_p_r, log_p_g, logits).item()
    for logits in (untrained, trained)
]
_ = run.record(
    "discriminator_gap",
    gaps[1],
    unit="nats",
    protocol="L(G, D*) - L(G, D) by quadrature, D a network with 2 x 64 hidden "
    "units after "
    f"{P.line_steps:,} steps of 256 + 256 samples, data and generator of the "
    "first picture",
)

# %% tags=["check"]
torch.manual_seed(run.seed)
pair = MLPs(2, (2, 5, 5, 1), slope=0.2).double()
for bias in pair.b:
    nn.init.normal_(bias)
inputs, layers = (
    torch.randn(2, 7, 2, dtype=torch.float64),
    zip(pair.W, pair.b, strict=True),
)
(W_1, b_1), (W_2, b_2), (W_3, b_3) = ((W[1], b[1]) for W, b in layers)


def leaky(u):
    return torch.where(u > 0, u, 0.2 * u)


alone = leaky(leaky(inputs[1] @ W_1 + b_1) @ W_2 + b_2) @ W_3 + b_3
checks.close("the second of two networks, by hand", pair(inputs)[1], alone, atol=1e-12)
zero_slope = MLPs(1, (2, 5, 1)).double()
by_relu = F.relu(inputs[:1] @ zero_slope.W[0])
checks.close("slope 0: a ReLU", zero_slope.features(inputs[:1]), by_relu, atol=1e-12)
many = MLPs(500, (4, 16, 1), slope=0.5)
squares = [W.double().square().flatten() for W in many.W]
checks.unbiased("variance of the first weights", squares[0], 2 / 1.25 / 4)
checks.unbiased("variance of the last weights", squares[1], 1 / 16)

# %% tags=["check"]
loss_at_half = game_loss(torch.zeros(2, 7, 1), torch.zeros(2, 7, 1))
checks.close("loss of D = 1/2", loss_at_half, [2 * math.log(2)] * 2, rtol=1e-6)
sure = game_loss(torch.full((1, 7, 1), 9.0), torch.full((1, 7, 1), -9.0))
checks.close(
    "loss of a D that is sure and right",
    sure,
    [2 * math.log1p(math.exp(-9))],
    rtol=1e-4,
)
both = torch.tensor([[[1.0]], [[-2.0]]], dtype=torch.float64)
by_hand = -log_d(both[0]) - log_one_minus_d(both[1])
checks.close("loss at logits 1, -2", game_loss(*both[:, None]), by_hand[0], atol=1e-12)
for logits in (untrained, trained):
    loss = best_value - value(log_p_r, log_p_g, logits)
    checks.close(
        "gap to the best discriminator",
        discriminator_gap(log_p_r, log_p_g, logits),
        loss,
        atol=1e-10,
    )
checks.close("the untrained answer", torch.sigmoid(untrained), torch.full_like(x, 0.5))
for psi in (0.0, 3.0):
    half = value(zero, log_normal(x, psi), untrained)
    checks.close(f"psi = {psi}: L of D = 1/2", half, -2 * math.log(2), atol=1e-12)
if run.profile != "smoke":
    checks.at_most("what is left of the gap after training", gaps[1] / gaps[0], 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: a discriminator before and after training, and the best one. Right: the same as a calibration curve, the share of real examples among all points to which the trained network gives about the same probability (ten classes, of which the empty ones are left out; exact).", "name": "fig-js-calibration"}, "image": {"alt": "Left: the trained curve follows the wavy best one where there are points, and leaves it at the left end, where there are none; the untrained curve is flat at one half. Right: points near the diagonal from zero to one."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), width_ratios=(1.5, 1))
near = x.abs() < 5
left.plot(x[near], torch.sigmoid(best)[near], color="black", label=r"$D^*$")
left.plot(
    x[near],
    torch.sigmoid(trained)[near],
    "--",
    color=plotting.COLOURS[1],
    label="trained",
)
left.plot(
    x[near],
    torch.sigmoid(untrained)[near],
    ":",
    color=plotting.COLOURS[0],
    label="untrained",
)
left.set(xlabel="x", ylabel="D(x)", ylim=(0, 1.45), yticks=(0, 0.5, 1))
left.legend(loc="upper right", ncol=2, columnspacing=1)
classes = (torch.sigmoid(trained) * 10).long().clamp(0, 9)
real_mass = torch.stack([integral(log_p_r.exp() * (classes == k)) for k in range(10)])
all_mass = torch.stack(
    [integral((log_p_r.exp() + log_p_g.exp()) * (classes == k)) for k in range(10)]
)
said = torch.stack(
    [integral((p_r + p_g) * torch.sigmoid(trained) * (classes == k)) for k in range(10)]
)
seen = all_mass > 1e-3
right.plot([0, 1], [0, 1], "k--", linewidth=1)
right.plot(
    (said / all_mass)[seen],
    (real_mass / all_mass)[seen],
    "o",
    color=plotting.COLOURS[1],
)
right.set(xlabel="D says", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
_ = right.set_ylabel("share of real")

# %% [markdown]
r"""
**An answer of 1/2 everywhere is no reason to stop.**
The network of {numref}`fig-js-calibration` started with zeros in its last layer: untrained, it says 1/2 everywhere, with $L = -2 \log 2$ whatever the two densities are.
Only $D^* = \frac12$ means $p_g = p_r$, so "stop when the discriminator says 1/2" is no rule: first train a fresh discriminator against the frozen generator, then look.

## Two losses for the generator

**The loss that is used in practice is not the one of the theory.**
Early in training the discriminator is sure: $D(G(z)) = \sigma(\ell)$ with $\ell$ far below zero.
The derivatives of the two losses with respect to that logit are

$$
\begin{aligned}
\text{saturating:} \quad & \frac{d}{d\ell} \log(1 - D) = -D, \\
\text{non-saturating:} \quad & \frac{d}{d\ell} \bigl(-\log D\bigr) = -(1 - D) .
\end{aligned}
$$ (eq-js-two-losses)

Both are descended, both push the logit up.
At $\ell = -10$ the first has a slope of $-4.5 \times 10^{-5}$, the second of $-0.99995$.
"""


# %%
def non_saturating(logits):
    """-log D: the generator descends it; `generator_loss`, but exact in the tails."""
    return -log_d(logits)


def slope_in_logit(objective, logit):
    logit = torch.as_tensor(logit, dtype=torch.float64).clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(objective(logit).sum(), logit)
    return slope


# %% [markdown]
r"""
```{margin}
**A common mistake:** "descend the log of the misclassified": to *descend* $\log D$ lowers $D$.
```
"""

# %% tags=["check"]
logit_axis = torch.linspace(-12, 12, 97, dtype=torch.float64)
d = torch.sigmoid(logit_axis)
checks.close(
    "slope of the saturating loss",
    slope_in_logit(saturating, logit_axis),
    -d,
    atol=1e-14,
)
checks.close(
    "slope of the non-saturating loss",
    slope_in_logit(non_saturating, logit_axis),
    d - 1,
    atol=1e-14,
)
checks.close(
    "non-saturating is generator_loss",
    non_saturating(logit_axis),
    generator_loss(logit_axis),
    atol=1e-14,
)
checks.close(
    "saturating at -10", slope_in_logit(saturating, -10.0), -4.54e-5, rtol=1e-3
)
checks.close(
    "non-saturating at -10", slope_in_logit(non_saturating, -10.0), -0.99995, atol=1e-5
)
logit, step = torch.tensor(-1.0, dtype=torch.float64), 0.4
d_after = {
    "down log D": torch.sigmoid(logit - step * slope_in_logit(log_d, -1.0)),
    "before": torch.sigmoid(logit),
    "down log(1 - D)": torch.sigmoid(logit - step * slope_in_logit(saturating, -1.0)),
    "down -log D": torch.sigmoid(logit - step * slope_in_logit(non_saturating, -1.0)),
}
checks.ordered("D of a generated sample after one step", d_after)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Size of the derivative of the two generator losses with respect to the logit of a generated sample. Left of the middle, the discriminator knows that the sample is generated.", "name": "fig-js-two-losses"}, "image": {"alt": "Two S-shaped curves that mirror each other. The saturating one falls to zero on the left, the non-saturating one is near one there; they cross at one half for a logit of zero."}}
fig, ax = plt.subplots()
ax.plot(logit_axis, -slope_in_logit(saturating, logit_axis), label="saturating, $D$")
ax.plot(
    logit_axis,
    -slope_in_logit(non_saturating, logit_axis),
    "--",
    label="non-saturating, $1 - D$",
)
ax.set(xlabel=r"logit $\ell$ of a generated sample", ylabel="size of the derivative")
plotting.reference_line(ax, 0.5, "1/2")
_ = ax.legend(loc="center right", bbox_to_anchor=(1, 0.72))

# %% [markdown]
r"""
```{margin}
**A common mistake:** "the same thing with better gradients".
The fixed point of the game is the same; what is descended on the way is not.
```

The two losses give the samples complementary weights, $D$ and $1 - D$, so their gradients at $D^*$ are those of different functions {cite:p}`arjovsky2017a`:

$$
\begin{aligned}
\nabla_\psi\, \mathbb{E}_z \log(1 - D^*) &= \nabla_\psi\, 2\, \mathrm{JS}(p_r, p_g), \\
\nabla_\psi\, \mathbb{E}_z \bigl[-\log D^*\bigr] &= \nabla_\psi \bigl[\mathrm{KL}(p_g \,\Vert\, p_r) \\
&\qquad\quad - 2\, \mathrm{JS}(p_r, p_g)\bigr] ,
\end{aligned}
$$ (eq-js-non-saturating)

with $D^*$ held fixed on the left sides.
The second line is the gradient of $\mathbb{E}_z[-\ell^*]$ minus the first line, because $-\log D = -\ell - \log(1 - D)$; and $-\ell^* = \log (p_g / p_r)$ is the logarithm in the reverse KL.
It contains the reverse KL, which selects modes, and JS with the *wrong* sign.
Nor is the game a zero-sum one: what one player gains is not what the other loses.
"""


# %%
def theorem(log_p_r, log_p_g):
    return kl(log_p_g, log_p_r) - 2 * jensen_shannon(log_p_r, log_p_g)


# %% tags=["check"]
for psi in (0.5, 1.0, 4.0):
    slope = slope_with_d_fixed(psi, non_saturating)
    checks.close(f"psi = {psi}: slope at D*", slope, slope_of(theorem, psi), atol=1e-10)
at_equality = [slope_with_d_fixed(0.0, f) for f in (saturating, non_saturating)]
checks.close("both slopes at p_g = p_r", at_equality, [0.0, 0.0], atol=1e-12)
slopes = {
    "non-saturating": slope_with_d_fixed(1.0, non_saturating),
    "saturating": slope_with_d_fixed(1.0, saturating),
}
checks.close(
    "non-saturating slope at psi = 1 is 1 - 0.398",
    slopes["non-saturating"],
    1 - 0.398,
    atol=5e-4,
)
reward_g = -(
    weights @ non_saturating(best_logits(log_normal(z_grid + 1), log_normal(z_grid)))
)
reward_d = value_over_noise(1.0)
checks.at_least("sum of the two rewards, not zero", abs(reward_g + reward_d), 0.1)

# %% [markdown]
r"""
## Disjoint supports

```{margin}
**In the sources.** Borisyak, *Vanishing gradients*.
```

**Where the densities do not overlap, JS is $\log 2$ whatever their distance, and the theory's gradient is zero.**
With no overlap $D^*$ is 1 on the data and 0 on the samples, and $L(G, D^*) = 0$.
For two Gaussians at a distance $d$ the value is never quite zero, but it is pinned there {cite:p}`arjovsky2017a`: from $h(y) \le 2 \log 2 \sqrt{y (1 - y)}$ follows

$$
-2 \log 2\; e^{-d^2 / 8} \le L(G, D^*) \le 0 .
$$ (eq-js-pinned)

The distance over which mass has to be moved has no such ceiling; the [lecture on variants](gan_variants.ipynb) compares the two on shifted boxes, and builds a GAN on the distance.
"""

# %%
distances = torch.linspace(0, 10, 101, dtype=torch.float64)
values = torch.stack([value_over_noise(d) for d in distances])
slopes_saturating = torch.tensor(
    [slope_with_d_fixed(d.item(), saturating) for d in distances]
)
slopes_other = torch.tensor(
    [slope_with_d_fixed(d.item(), non_saturating) for d in distances]
)

# %% tags=["check"]
bound = 2 * math.log(2) * torch.exp(-(distances**2) / 8)
checks.at_most("L(G, D*) at distances from 0 to 10", values, 1e-12)
checks.at_most("minus L(G, D*) - bound", -values - bound, 1e-12)
checks.at_most("saturating slope at d = 8", slopes_saturating[80], 1e-3)
checks.close(
    "non-saturating slope at d = 8, almost d", slopes_other[80], 8.0, atol=1e-3
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Value of the game with the best discriminator (left), and slopes of the two generator losses there (right, logarithmic), against the distance of two unit Gaussians.", "name": "fig-js-pinned"}, "image": {"alt": "Left: a curve that rises from minus 1.39 at distance zero and is flat at zero from a distance of six on. Right: the saturating slope rises to a maximum near a distance of two and then falls by many orders of magnitude; the non-saturating slope grows steadily."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
left.plot(distances, values)
plotting.reference_line(left, 0.0, "0: told apart", side="left")
plotting.reference_line(left, -2 * math.log(2), "-2 log 2: equal")
left.set(xlabel="distance d", ylabel=r"$L(G, D^*)$ (nats)", ylim=(-1.55, 0.2))
right.semilogy(distances[1:], slopes_saturating[1:], label="saturating")
right.semilogy(distances[1:], slopes_other[1:], "--", label="non-saturating")
right.set(xlabel="distance d", ylabel="slope (nats)", ylim=(1e-6, 100))
_ = right.legend(loc="lower left")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Move the generator away. Left: the two densities and the best discriminator, which turns from a flat line into a cliff. Right: the value of the game, and its slope, which is all that the saturating generator feels.", "name": "fig-js-slider"}}
chosen = [0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10]
line = torch.linspace(-4, 14, 500, dtype=torch.float64)


def pinned_frame(d):
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3), width_ratios=(1.6, 1))
    left.plot(line, log_normal(line).exp(), label="data")
    left.plot(line, log_normal(line, d).exp(), label="generator")
    left.plot(
        line, torch.sigmoid(log_normal(line) - log_normal(line, d)), label=r"$D^*$"
    )
    left.set(xlabel="x", ylabel="density; probability", ylim=(0, 1.05))
    left.legend(loc="upper right")
    right.plot(distances, values)
    right.plot(d, value_over_noise(d), "o", color="black")
    plotting.reference_line(right, 0.0, "0", side="left")
    slope = slope_with_d_fixed(float(d), saturating)
    right.set(
        xlabel=f"distance d\n(slope {slope:.1e})", ylabel="L (nats)", ylim=(-1.5, 0.2)
    )
    return fig


plotting.slider(
    [f"d = {d}" for d in chosen],
    map(pinned_frame, chosen),
    alt="Two bell curves that move apart while the discriminator between them "
    "becomes a step. A "
    "point climbs a curve from minus 1.39 to zero and stays there; the printed "
    "slope first grows "
    "and then falls to nothing.",
)

# %% [markdown]
r"""
### The gradient dies while the discriminator learns

A network is never $D^*$, but it gets there step by step, and on the way the generator's gradient dies.
Here are two narrow Gaussians in the plane, three units apart with standard deviation 0.3: supports that are disjoint for all that a sample can tell.
The generator is fixed; discriminators learn, several at a time, each with its own start and its own samples.
We measure the mean length of $\nabla_x \log(1 - D(x)) = -D\, \nabla_x \ell$ at generated samples, and that of $\nabla_x \log D$ for comparison.

Two repairs keep the discriminator from being so sure:

- **instance noise** {cite:p}`sonderby2017`: add $\varepsilon \sim \mathcal{N}(0, \sigma^2 I)$ to data *and* samples, everywhere, and lower $\sigma$ slowly; both densities are widened, they overlap, and $p_r * \mathcal{N} = p_g * \mathcal{N}$ still means $p_r = p_g$;
- **a gradient penalty on the data**, called $R_1$ {cite:p}`mescheder2018`: add $\frac{\gamma}{2}\, \mathbb{E}_{p_r} \lVert \nabla_x \ell(x) \rVert^2$ to the loss of the discriminator; steep cliffs become expensive.

The [lecture on variants](gan_variants.ipynb) derives both, {eq}`eq-variants-noise` and {eq}`eq-variants-r1`; here we watch them work.
"""


# %%
def gradient_penalty(discriminator, real):
    """Half the mean squared length of the logit's gradient, one number a network."""
    real = real.detach().requires_grad_(True)
    logits = discriminator(real)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return 0.5 * slope.square().sum(-1).mean(-1)


def loss_of_discriminator(discriminator, real, generated, gamma=0.0):
    loss = game_loss(discriminator(real), discriminator(generated))
    return loss + gamma * gradient_penalty(discriminator, real) if gamma else loss


def generator_pull(discriminator, points, objective):
    """Minus the gradient of the generator's loss with respect to its samples."""
    points = points.detach().requires_grad_(True)
    loss = objective(discriminator(points)).sum()
    return -torch.autograd.grad(loss, points)[0]


# %%
def falling(noise, step, steps):
    """From `noise` in a straight line to zero after four fifths of the steps."""
    return noise * max(0.0, 1 - step / (0.8 * steps))


def noisy(sigma, *batches):
    """The same noise level for all batches, data and samples."""
    return [batch + sigma * torch.randn_like(batch) for batch in batches]


def blob(centre, num, batch_size):
    draws = 0.3 * torch.randn(num, batch_size, 2, device=run.device)
    return draws + torch.tensor([centre, 0.0], device=run.device)


def look(discriminator, generated):
    """D on the raster, some samples and their pulls, for the first network."""
    with torch.no_grad():
        shown = raster.expand(P.num_networks, -1, -1)
        picture = torch.sigmoid(discriminator(shown))[0].cpu()
    pull = generator_pull(discriminator, generated, saturating)
    return picture, generated[0].cpu(), pull[0].cpu()


# %%
def in_the_plane(*, noise=0.0, annealed=False, gamma=0.0, batch_size=64):
    """Trains discriminators; returns lengths of both pulls, and three pictures."""
    discriminator = MLPs(P.num_networks, (2, 64, 64, 1)).to(run.device)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3)
    lengths, pictures = {}, {}
    for step in range(P.plane_steps + 1):
        sigma = falling(noise, step, P.plane_steps) if annealed else noise
        blobs = [blob(centre, P.num_networks, batch_size) for centre in (-1.5, 1.5)]
        real, generated = noisy(sigma, *blobs)
        if step in recorded_steps:
            pulls = [
                generator_pull(discriminator, generated, f)
                for f in (saturating, non_saturating)
            ]
            lengths[step] = [pull.norm(dim=-1).mean(-1).cpu() for pull in pulls]
        if step in snapshots:
            pictures[step] = look(discriminator, generated)
        loss = loss_of_discriminator(discriminator, real, generated, gamma)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return lengths, pictures


# %%
ticks = torch.linspace(-3, 3, 61)
columns, rows = torch.meshgrid(ticks, ticks[15:46], indexing="xy")
raster = torch.stack([columns, rows], -1).reshape(1, -1, 2).to(run.device)
recorded_steps = sorted({round(P.plane_steps ** (k / 24)) for k in range(25)})
snapshots = [recorded_steps[k] for k in (0, len(recorded_steps) // 2, -1)]
plain, pictures = in_the_plane()
with_noise, _ = in_the_plane(noise=1.0)
noise_falls, pictures_noise = in_the_plane(noise=1.0, annealed=True)
with_penalty, pictures_penalty = in_the_plane(gamma=10.0)


def lengths_of(history, which=0):
    """Median over the networks at each step; 0: saturating, 1: non-saturating."""
    return torch.stack([lengths[which].median() for lengths in history.values()])


# %% tags=["check"]
probe = torch.randn(2, 7, 2, dtype=torch.float64)
pair = MLPs(2, (2, 1)).double()  # no hidden layer: the slope of the logit is W
lengths = pair.W[0].squeeze(-1).square().sum(-1)
checks.close(
    "penalty of two linear discriminators",
    gradient_penalty(pair, probe),
    lengths / 2,
    atol=1e-12,
)
by_hand = game_loss(pair(probe), pair(probe + 1)) + 3 * lengths / 2
with_gamma = loss_of_discriminator(pair, probe, probe + 1, gamma=3.0)
checks.close("loss of the discriminator, gamma = 3", with_gamma, by_hand, atol=1e-12)
D_probe = torch.sigmoid(pair(probe))
checks.close(
    "pull of the saturating loss is D grad(logit)",
    generator_pull(pair, probe, saturating),
    D_probe * pair.W[0].transpose(1, 2),
    atol=1e-12,
)
checks.close(
    "pull of the other is (1 - D) grad(logit)",
    generator_pull(pair, probe, non_saturating),
    (1 - D_probe) * pair.W[0].transpose(1, 2),
    atol=1e-12,
)

# %% [markdown]
r"""
With noise of variance $\sigma^2$ the best discriminator has a logit that is a straight line with the slope $3 / (0.09 + \sigma^2)$, so that the mean pull of {numref}`fig-js-dying` with noise that stays has an exact reference.
A network of finite size after a finite training is not the best one; we allow 20 per cent for that, and for the samples.
"""

# %%
slope = 3 / 1.09
at_generated = weights @ torch.sigmoid(-slope * (1.5 + 1.09**0.5 * z_grid))
pull_with_noise = slope * at_generated.item()
late_pulls = [
    pulls[0] for step, pulls in with_noise.items() if step > P.plane_steps / 8
]
measured_pull = torch.stack(late_pulls).mean()
penalty_over_plain = lengths_of(with_penalty)[-1] / lengths_of(plain)[-1]
_ = run.record(
    "pull_with_penalty_over_plain",
    penalty_over_plain,
    unit="1",
    protocol="ratio of the lengths of the saturating gradient, with and without a "
    f"gradient penalty of weight 10, after {P.plane_steps:,} steps; median over the "
    "networks",
)
_ = run.record(
    "pull_with_noise_over_exact",
    measured_pull / pull_with_noise,
    unit="1",
    protocol="length of the saturating gradient with instance noise of std 1, mean "
    f"over the networks and the recorded steps after step {P.plane_steps // 8}, over "
    "its exact value at the best discriminator",
)

# %% tags=["check"]
at_centre = torch.tensor([1.5, 0.0], dtype=torch.float64)
spots = noisy(1.0, *[blob(1.5, 100, 400) for _ in range(2)])
for which, spot in zip(("data", "samples"), spots, strict=True):
    spread = (spot.cpu().double() - at_centre).square().mean(1)
    checks.unbiased(f"variance of noisy {which}", spread, [1.09, 1.09])
fallen = [falling(0.5, step, 100) for step in (0, 40, 80, 100)]
checks.close("noise at 0, 40, 80, 100 steps of 100", fallen, [0.5, 0.25, 0, 0])
if run.profile != "smoke":
    # Bounds with a margin to what several seeds gave, of eight networks each.
    curves = (plain, with_noise, noise_falls, with_penalty)
    dead, noise_end, fall_end, penalty_end = (lengths_of(c)[-1] for c in curves)
    checks.at_least(
        "plain: largest pull over the last", lengths_of(plain).max() / dead, 100
    )
    checks.at_least(
        "non-saturating over saturating", lengths_of(plain, 1)[-1] / dead, 100
    )
    checks.close("pull with noise", measured_pull, pull_with_noise, rtol=0.2)
    checks.at_least("noise that stays, over noise that falls", noise_end / fall_end, 30)
    checks.at_least("with penalty over without", penalty_over_plain, 3)
    falls = lengths_of(with_penalty).max() / penalty_end
    checks.at_least("penalty: largest pull over the last", falls, 10)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Length of the generator's gradient with respect to its samples while the discriminators learn, two Gaussians without overlap: mean over the samples, median over the networks. The dashed line is the exact value for the best discriminator with instance noise.", "name": "fig-js-dying"}, "image": {"alt": "Four curves against the step, both axes logarithmic. The saturating one falls by orders of magnitude. The non-saturating one rises. The one with constant instance noise settles at the dashed line; the one whose noise falls leaves it and drops; the one with a gradient penalty falls too, but less far than without."}}
fig, ax = plt.subplots(figsize=(7, 3.7))
curves = (
    (plain, 0, "-", "saturating"),
    (plain, 1, "--", "non-saturating"),
    (with_noise, 0, "-", "saturating, noise stays"),
    (noise_falls, 0, ":", "saturating, noise falls"),
    (with_penalty, 0, "-.", "saturating, gradient penalty"),
)
for history, which, style, label in curves:
    ax.loglog(list(history), lengths_of(history, which), style, label=label)
plotting.reference_line(ax, pull_with_noise, "best D with noise")
ax.set(xlabel="steps of the discriminator", ylabel="length (nats per unit)")
_ = ax.legend(loc="lower left")

# %% [markdown]
r"""
Noise keeps the gradient alive for as long as it is there: while it stays, the pull lies within a fifth of its exact value, and when it has fallen to zero, the pull dies as well.
It has to fall so slowly that the generator arrives in time; here the generator stands still.
With the penalty the gradient ends more than three times as long as without (how much, is recorded), but it falls as well, at least tenfold.
{numref}`fig-js-heat` shows the three discriminators.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One discriminator early, in the middle and at the end of its training: D(x) from 0 (dark) to 1 (light), generated samples, and the pull of the saturating loss on them, one scale for all. Upper row: plain; middle: instance noise that falls to zero; lower: gradient penalty. Circles: data at two standard deviations, without noise.", "name": "fig-js-heat"}, "image": {"alt": "Nine heat maps of a plane, at the end light left and dark right. In each row the first map has no order yet, the second changes gradually from light to dark, and the last has a cliff in the middle. With noise the samples are scattered until the noise is gone. At the end no row has arrows that can be seen."}}
fig, axes = plt.subplots(3, 3, figsize=(7.4, 4.6), sharex=True, sharey=True)
films = {"plain": pictures, "noise falls": pictures_noise, "penalty": pictures_penalty}
for row, (name, film) in zip(axes, films.items(), strict=True):
    for ax, (step, (picture, points, pull)) in zip(row, film.items(), strict=False):
        image = picture.reshape(31, 61)
        mesh = ax.pcolormesh(ticks, ticks[15:46], image, vmin=0, vmax=1, cmap="cividis")
        some = slice(0, 14)
        ax.quiver(
            *points[some].T,
            *pull[some].T,
            color="white",
            angles="xy",
            scale_units="xy",
            scale=0.4,
            width=0.01,
        )
        ax.plot(*points[some].T, "o", color="white", markersize=2)
        ax.add_patch(plt.Circle((-1.5, 0), 0.6, fill=False, color="black"))
        ax.text(-2.8, 1.0, f"step {step}", fontsize=8, bbox={"color": "white"})
        ax.set(xlim=(-3, 3), ylim=(-1.5, 1.5), aspect="equal")
        ax.grid(visible=False)
    row[0].set_ylabel(name)
for ax in axes[-1]:
    ax.set_xlabel("first coordinate")
_ = fig.colorbar(mesh, ax=axes, label="D(x)", shrink=0.6)

# %% [markdown]
r"""
## Games need not converge

```{margin}
**In the sources.** Oslo, 30 April, *Zero-sum game* to *Design of GANs*.
```

**Two players who follow their gradients may circle for ever.**
The smallest example is $v(a, b) = a\, b$: one player descends in $a$, the other ascends in $b$, and the saddle at the origin is the only equilibrium.
With the step size $\eta$, one round is a matrix:

$$
\begin{aligned}
\text{simultaneous:} \quad &
\begin{pmatrix} 1 & -\eta \\ \eta & 1 \end{pmatrix},
\quad |\lambda| = \sqrt{1 + \eta^2}, \\
\text{alternating:} \quad &
\begin{pmatrix} 1 & -\eta \\ \eta & 1 - \eta^2 \end{pmatrix},
\quad |\lambda| = 1 \text{ for } \eta < 2 .
\end{aligned}
$$ (eq-js-rounds)

At $\eta = 0.1$ the simultaneous players leave the equilibrium by a factor 1.00499 a round.
The alternating ones orbit: the determinant is 1, and smaller steps do not help.
A penalty $\frac{\gamma}{2} b^2$ on the discriminator and $\frac{\gamma}{2} a^2$ on the generator multiplies each player's own value by $1 - \eta \gamma$, and $|\lambda|^2 = (1 - \eta \gamma)^2 + \eta^2$ for simultaneous steps: below 1 for moderate $\gamma$.
"""


# %%
def bilinear_round(a, b, eta, *, alternating=False, gamma=0.0):
    """One round of min over a, max over b of a b + gamma/2 (a^2 - b^2)."""
    new_a = a - eta * (b + gamma * a)
    seen = new_a if alternating else a
    return new_a, b + eta * (seen - gamma * b)


def round_matrix(eta, **kwargs):
    rounds = [bilinear_round(a, b, eta, **kwargs) for a, b in ((1.0, 0.0), (0.0, 1.0))]
    return np.array(rounds).T


def modulus(eta, **kwargs):
    """Largest modulus of the eigenvalues of a round."""
    return np.abs(np.linalg.eigvals(round_matrix(eta, **kwargs))).max()


players = {
    "simultaneous": {},
    "alternating": {"alternating": True},
    "with a penalty": {"gamma": 0.3},
}
orbits = {}
for name, kwargs in players.items():
    orbit = [(1.0, 0.0)]
    for _ in range(150):
        orbit.append(bilinear_round(*orbit[-1], 0.1, **kwargs))
    orbits[name] = np.array(orbit)

# %% tags=["check"]
eta = 0.1
checks.close(
    "one round, simultaneous", round_matrix(eta), [[1, -eta], [eta, 1]], atol=1e-15
)
by_text = [[1, -eta], [eta, 1 - eta**2]]
checks.close(
    "one round, alternating", round_matrix(eta, alternating=True), by_text, atol=1e-15
)
checks.close("simultaneous: |lambda|", modulus(eta), 1.00499, atol=5e-6)
for eta in (0.1, 0.5, 1.0, 1.9):
    checks.close(
        f"eta = {eta}: simultaneous", modulus(eta), math.sqrt(1 + eta**2), rtol=1e-12
    )
    checks.close(
        f"eta = {eta}: alternating", modulus(eta, alternating=True), 1.0, rtol=1e-7
    )
checks.at_least("eta = 2.1: alternating", modulus(2.1, alternating=True), 1.1)
damped = math.sqrt((1 - 0.1 * 0.3) ** 2 + 0.1**2)
checks.close("with a penalty: |lambda|", modulus(0.1, gamma=0.3), damped, rtol=1e-12)
radius = np.hypot(*orbits["simultaneous"][-1])
checks.close("distance after 150 rounds", radius, (1 + 0.1**2) ** 75, rtol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "150 rounds of the bilinear game with step size 0.1, from the black point. The cross is the equilibrium, a saddle of v = a b: no hill and no valley.", "name": "fig-js-orbits"}, "image": {"alt": "A plane shaded by the value of the game, high in two opposite quadrants and low in the two others. On it three curves from one point: a spiral outwards, a closed ring, and a spiral inwards to the centre."}}
fig, ax = plt.subplots(figsize=(5.6, 4.4))
side = np.linspace(-3.6, 3.6, 121)
saddle = ax.contourf(
    side,
    side,
    np.outer(side, side),
    levels=np.linspace(-3, 3, 13),
    cmap="coolwarm",
    alpha=0.5,
    extend="both",
)
fig.colorbar(saddle, ax=ax, label="value v of the game")
for (name, orbit), style in zip(orbits.items(), ("-", "--", "-."), strict=True):
    ax.plot(*orbit.T, style, label=name)
ax.plot(1, 0, "o", color="black")
ax.plot(0, 0, "x", color="black")
ax.set(xlabel="a (descends)", ylabel="b (ascends)", aspect="equal", ylim=(-2.2, 3.6))
ax.set_xlim(-2.4, 2.4)
_ = ax.legend(loc="upper left")

# %% [markdown]
r"""
```{margin}
**A common mistake:** "convex in the parameters of the generator, hence convergent".
$\max_D L$ is convex in the *density* $p_g$, as a maximum of linear functions; it is not convex in $\psi$.
```

### How many steps for the discriminator?

A GAN has both: the theory says *let the discriminator get to its optimum*, the vanishing gradient says *not too near*.
The one-dimensional GAN, with $G(z) = \psi + z$ and $\ell(x) = b_0 + b_1 x$, shows the first half without noise, because every mean is an integral.
`num_steps_d` is the number of ascents of the discriminator for each descent of the generator.
"""


# %%
def train_line(num_steps_d, *, psi=2.0, rate_d=0.3, rate_g=0.3, num_rounds=120):
    """psi after each round; rows of `basis` belong to the two weights of the logit."""
    b, path = torch.zeros(2, dtype=torch.float64), [psi]
    basis_real = torch.stack([torch.ones_like(z_grid), z_grid])
    for _ in range(num_rounds):
        basis_generated = torch.stack([torch.ones_like(z_grid), psi + z_grid])
        for _ in range(num_steps_d):
            d_real, d_generated = (
                torch.sigmoid(b @ basis_real),
                torch.sigmoid(b @ basis_generated),
            )
            ascent = basis_real @ (weights * (1 - d_real)) - basis_generated @ (
                weights * d_generated
            )
            b = b + rate_d * ascent
        d_generated = torch.sigmoid(b @ basis_generated)
        psi = psi + rate_g * (weights @ d_generated * b[1]).item()  # down log(1 - D)
        path.append(psi)
    return np.array(path)


line_paths = {num: train_line(num) for num in (1, 5, 20)}
exact_path = [2.0]
for _ in range(120):
    exact_path.append(
        exact_path[-1] - 0.3 * slope_with_d_fixed(exact_path[-1], saturating)
    )

# %% tags=["check"]
distance = {num: np.abs(path - exact_path).max() for num, path in line_paths.items()}
order = {f"{num} steps": distance[num] for num in (20, 5, 1)}
checks.ordered("distance to the path with the best discriminator", order)
checks.at_most("one step: the lowest psi, behind the data", line_paths[1].min(), -0.1)
checks.at_least("20 steps: the lowest psi", line_paths[20].min(), 0)
over = {f"{num} steps": line_paths[num].min() for num in (1, 5)}
checks.ordered("the lowest psi", over)
crossings = (np.diff(np.sign(line_paths[1])) != 0).sum()
checks.at_least("one step: times that psi crosses the data", crossings, 3)
checks.ordered(
    "psi of the exact path", {"last": exact_path[-1], "first": exact_path[0]}
)
parts = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.1, 0.2, 0.7]).double()
shares = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
along_mixtures = js_of_tables(parts[0], shares * parts[0] + (1 - shares) * parts[1])
checks.at_least(
    "JS along mixtures: least second difference", np.diff(along_mixtures, 2), 0
)
checks.at_most("L along psi: least second difference", np.diff(values, 2).min(), -1e-3)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean of the generator in the one-dimensional GAN, for 1, 5 and 20 steps of the discriminator in each round, and with the best discriminator (dashed). The data are at zero.", "name": "fig-js-inner"}, "image": {"alt": "Four curves that start at two. With one step the curve swings through zero and back several times; with five it does not overshoot; with twenty it lies near the dashed curve, which falls to zero without crossing it."}}
fig, ax = plt.subplots()
for num, path in line_paths.items():
    ax.plot(path, label=f"{num} step{'s' * (num > 1)}")
ax.plot(exact_path, "k--", linewidth=1, label=r"$D^*$")
plotting.reference_line(ax, 0.0, "data")
ax.set(xlabel="round", ylabel=r"mean $\psi$ of the generator")
_ = ax.legend(loc="upper right")

# %% [markdown]
r"""
## Why generators collapse

```{margin}
**In the sources.** Borisyak, *Mode collapse* and *Generator collapse*; CS236 notes, *GAN architecture/objective*, the last points: this section and the next.
```

**Against a discriminator that stands still, the best generator is a single point.**
For fixed $D$ the generator's term is linear in $p_g$, and a mean is largest if all mass sits where the function is largest:

$$
\mathbb{E}_{x \sim p_g} \log D(x) \;\le\; \max_x \log D(x) .
$$ (eq-js-point)

So could a fixed rule replace $D$ at first, or a good discriminator be trained once, frozen, and the generator be trained alone?
We try, with the data $\mathcal{N}(0, 1)$, a generator that starts as $\mathcal{N}(1, 2^2)$, and the best discriminator between these two: first frozen, then following the generator.
"""

# %%
tries = {}
for frozen in (True, False):
    tries[frozen] = np.array(
        list(
            descend(
                log_normal, 1.0, 2.0, steps=400, objective=non_saturating, frozen=frozen
            )
        )
    )
# D* between N(0, 1) and N(1, 4) has its largest logit, -x^2/2 + (x - 1)^2/8, at -1/3.
peak = -1 / 3

# %% tags=["check"]
logits = best_logits(zero, log_normal(x, 1.0, 2.0))
checks.close(
    "where the frozen discriminator is highest", x[logits.argmax()], peak, atol=dx
)
checks.close("frozen: mean after 400 steps", tries[True][-1, 0], peak, atol=1e-3)
checks.at_most(
    "frozen: standard deviation, where that of the data is 1", tries[True][-1, 1], 0.25
)
checks.at_most(
    "frozen: its largest rise after step 100", np.diff(tries[True][100:, 1]).max(), 0
)
checks.close("following: mean and std", tries[False][-1], [0.0, 1.0], atol=1e-3)
points = {"following": tries[False][-1], "start": (1.0, 2.0), "frozen": tries[True][-1]}
js_of = {
    name: jensen_shannon(zero, log_normal(x, *point)) for name, point in points.items()
}
checks.ordered("JS at the end", js_of)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Standard deviation of a generator trained against a frozen discriminator, and against one that follows it. Dashed: that of the data.", "name": "fig-js-frozen"}, "image": {"alt": "Two curves that start at two. The frozen one falls towards zero, the following one settles at one."}}
fig, ax = plt.subplots()
ax.plot(tries[True][:, 1], label="frozen discriminator")
ax.plot(tries[False][:, 1], "--", label="discriminator that follows")
plotting.reference_line(ax, 1.0, "data")
ax.set(
    xlabel="step of the generator", ylabel="standard deviation of $p_g$", ylim=(0, 2.05)
)
_ = ax.legend(loc="upper right")

# %% [markdown]
r"""
```{margin}
**A common mistake:** "the discriminator collapses to one image".
It is the generator that does.
```

Frozen, even a perfect judge of yesterday's samples makes the generator collapse onto its maximum, and JS ends *higher* than it began.
The discriminator must follow: it is the motion of $D$, and not its judgement, that keeps the generator spread out.
Where it follows too slowly, the generator runs to the present maximum, the discriminator learns to say no there, and the generator runs to the next one: *mode collapse*, with the generator hunting from mode to mode.

## Eight Gaussians on a ring

**We starve the discriminator of speed and watch.**
Data are eight narrow Gaussians on a circle; generator and discriminator have two hidden layers of 64 units, noise is two-dimensional, and Adam trains both with the non-saturating loss, $2 \times 64$ samples a step.
The generator has the learning rate $10^{-3}$, the discriminator ten times less.
The standard deviation of a mode is 0.05, on a circle of radius 1; the [lecture on variants](gan_variants.ipynb) has a ring with narrower modes, so that its numbers and these cannot be compared.
A *mode is found* if a sample lies within three standard deviations of it; the *quality* is the share of samples that lie so near to any mode.
"""


# %% tags=["twin:dgm.sample_quality.modes_and_quality"]
def modes_and_quality(samples, means, std):
    distance, nearest = torch.cdist(samples, means).min(-1)
    near = distance <= 3 * std
    return len(nearest[near].unique()), near.cpu().double().mean().item()


# %% [markdown]
r"""
To find a mode costs one stray sample in 500.
So we count, besides, the modes that are *covered*: at least a quarter of a mode's fair share of all samples, which is $500 / 8$, must lie within three standard deviations of it.
A **control** tells what the numbers are worth: a generator that was never trained and gives a Gaussian cloud, with the covariance $(\frac12 + 0.05^2)\, I$ of the data.
"""


# %%
def covered_modes(samples, means, std, share=0.25):
    """Modes that have at least this share of len(samples) / len(means) near them."""
    distance, nearest = torch.cdist(samples, means).min(-1)
    counts = torch.bincount(nearest[distance <= 3 * std], minlength=len(means))
    return (counts >= share * len(samples) / len(means)).sum().item()


# %%
ring = dgm.data.ring_of_gaussians(8, radius=1.0, std=0.05)
ring_means = torch.tensor(ring.means, dtype=torch.float32, device=run.device)


def ring_batch(num_networks, batch_size):
    draws = ring.sample(num_networks * batch_size, rng=run.rng).astype(np.float32)
    return torch.from_numpy(draws).reshape(num_networks, batch_size, 2).to(run.device)


# %% tags=["check"]
exact_samples = torch.from_numpy(ring.sample(P.num_draws, rng=run.rng))
exact_means = torch.from_numpy(ring.means)
exact = exact_samples, exact_means
found, quality = modes_and_quality(*exact, ring.std)
inside = 1 - math.exp(-4.5)  # Rayleigh's distribution at three
error = math.sqrt(inside * (1 - inside) / P.num_draws)
checks.close("modes of the data", found, 8)
checks.unbiased("quality of the data", quality, inside, standard_error=error)
moved = exact_means[[0, 1, 1, 5]] + torch.tensor([0.0, 2.99 * ring.std])
moved[3] *= 2.0
checks.close(
    "three points near two modes, one astray",
    modes_and_quality(moved, exact_means, ring.std),
    [2, 0.75],
)
checks.close("modes that the data cover", covered_modes(*exact, ring.std), 8)
# A fair share of 32 points in 8 modes is 4, and a quarter of it one point.
repeated = exact_means[[0] * 29 + [1, 2, 2]]
checks.close(
    "modes with one of 32 points", covered_modes(repeated, exact_means, ring.std), 3
)
repeated = exact_means[[0] * 61 + [1, 2, 2]]
checks.close(
    "modes with two of 64 points", covered_modes(repeated, exact_means, ring.std), 2
)
away = repeated + torch.tensor([0.0, 3.01 * ring.std])
checks.close("all moved away", covered_modes(away, exact_means, ring.std), 0)

# %% [markdown]
r"""
Four cures are tried on the same networks:

- *equal rates*: the discriminator learns as fast as the generator;
- *instance noise*: $\sigma$ falls from 0.3 to 0 over the first four fifths of the training;
- *gradient penalty*: $\gamma = 0.1$;
- *feature matching* {cite:p}`salimans2016`: the generator descends, in addition, $\lVert \mathbb{E}_{p_r} h(x) - \mathbb{E}_z h(G(z)) \rVert^2$, where $h$ is the last hidden layer of the discriminator. A point can maximise $D$, but a point cannot have the mean features of eight modes; see {eq}`eq-variants-fm`. A feature that one has chosen oneself can instead be given to the discriminator as a further input.
"""


# %%
def feature_gap(discriminator, real, generated):
    """Squared distance of the mean features, one number for each network."""
    mean_real = discriminator.features(real).mean(1).detach()
    mean_generated = discriminator.features(generated).mean(1)
    return (mean_real - mean_generated).square().sum(-1)


def loss_of_generator(discriminator, real, generated, matching=0.0):
    loss = generator_loss(discriminator(generated)).mean((1, 2))
    return (
        loss + matching * feature_gap(discriminator, real, generated)
        if matching
        else loss
    )


# %% [markdown]
r"""
```{margin}
**A common mistake:** means over a mini-batch in a squared distance.
For equal distributions its expectation is $\mathrm{tr}\, C\, (\frac1n + \frac1m)$, with $C$ the covariance of the features, not zero; the [lecture on variants](gan_variants.ipynb) measures it.
```

The step is the algorithm that everyone uses: one ascent for the discriminator, with samples that are detached from the generator, then one descent for the generator.
"""


# %%
def train_ring(*, rate_d=1e-4, noise=0.0, gamma=0.0, matching=0.0, batch_size=64):
    """Yields (step, generator, discriminator) of num_networks independent GANs."""
    num = P.num_networks
    generator = MLPs(num, (2, 64, 64, 2)).to(run.device)
    discriminator = MLPs(num, (2, 64, 64, 1)).to(run.device)
    adam_g = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=rate_d, betas=(0.5, 0.999))
    for step in range(1, P.ring_steps + 1):
        generated = generator(torch.randn(num, batch_size, 2, device=run.device))
        sigma = falling(noise, step, P.ring_steps)
        real, generated = noisy(sigma, ring_batch(num, batch_size), generated)

        fake = generated.detach()
        loss_d = loss_of_discriminator(discriminator, real, fake, gamma)
        adam_d.zero_grad()
        loss_d.sum().backward()
        adam_d.step()

        loss_g = loss_of_generator(discriminator, real, generated, matching)
        adam_g.zero_grad()
        loss_g.sum().backward()
        adam_g.step()
        yield step, generator, discriminator


# %%
cures = {
    "none": {},
    "equal rates": {"rate_d": 1e-3},
    "instance noise": {"noise": 0.3},
    "gradient penalty": {"gamma": 0.1},
    "feature matching": {"matching": 1.0},
}
looked_at = [round(P.ring_steps * k / 40) for k in range(1, 41)]


# %%
def follow(name, kwargs):
    """At the steps of `looked_at`: samples (times, networks, 500, 2); how sure D is.

    This is the mean of D(real) - D(generated), shape (times, networks).
    """
    states, sure = [], []
    steps = dgm.progress(train_ring(**kwargs), f"ring, {name}", total=P.ring_steps)
    for step, generator, discriminator in steps:
        if step in looked_at:
            noise = torch.randn(P.num_networks, 500, 2, device=run.device)
            with torch.no_grad():
                states.append(generator(noise))
                points = ring_batch(P.num_networks, 500), states[-1]
                d_real, d_generated = (torch.sigmoid(discriminator(p)) for p in points)
            sure.append((d_real - d_generated).mean((1, 2)).cpu())
    return torch.stack(states), torch.stack(sure).numpy()


def scores(samples):
    """Modes found, quality, modes covered: shape (times, networks, 3)."""
    rows = [
        [
            (
                *modes_and_quality(s, ring_means, ring.std),
                covered_modes(s, ring_means, ring.std),
            )
            for s in state
        ]
        for state in samples
    ]
    return np.array(rows)


# %%
runs = {name: follow(name, kwargs) for name, kwargs in cures.items()}
histories = {name: states for name, (states, _) in runs.items()}
sureness = {name: sure for name, (_, sure) in runs.items()}
cloud_std = math.sqrt(0.5 + ring.std**2)
histories["control: a cloud"] = cloud_std * torch.randn_like(histories["none"])
scored = {name: scores(samples) for name, samples in histories.items()}
# Means over the second half of the training: found, quality, covered.
late = {name: table[len(table) // 2 :].mean(0) for name, table in scored.items()}

print("mean over the second half       found   quality   covered")
for name, table in late.items():
    found, quality, covered = table.mean(0)
    print(f"{name:28} {found:8.2f} {quality:9.3f} {covered:9.2f}")
at_the_end = {name: table[-1].mean(0) for name, table in scored.items()}

# %% tags=["check"]
pair = MLPs(2, (2, 5, 1)).double()
left, right = torch.randn(2, 2, 6, 2, dtype=torch.float64)
checks.close("features of the same points", feature_gap(pair, left, left), [0.0, 0.0])
means = [pair.features(points)[1].mean(0) for points in (left, right)]
by_hand = (means[0] - means[1]) @ (means[0] - means[1])
checks.close(
    "feature gap of the second network",
    feature_gap(pair, left, right)[1],
    by_hand,
    atol=1e-12,
)
by_hand = F.softplus(-pair(right)).mean((1, 2)) + 2 * feature_gap(pair, left, right)
with_matching = loss_of_generator(pair, left, right, matching=2.0)
checks.close("loss of the generator, weight 2", with_matching, by_hand, atol=1e-8)
state, first_steps = run.rng.bit_generator.state, {}
for name, kwargs in cures.items():
    torch.manual_seed(run.seed)
    run.rng.bit_generator.state = state
    *_, (_, generator, _) = islice(train_ring(**kwargs), 3)
    first_steps[name] = generator.W[-1].detach()
for name in list(cures)[1:]:
    same = torch.equal(first_steps[name], first_steps["none"])
    checks.true(f"{name}: the training differs from that without a cure", not same)

# %% tags=["check"]
in_a_disc = ncx2.cdf((3 * ring.std / cloud_std) ** 2, 2, 1 / cloud_std**2)
of_cloud = scored["control: a cloud"].reshape(-1, 3)
checks.unbiased("quality of the cloud", of_cloud[:, 1], 8 * in_a_disc)
by_theory = 8 * (1 - (1 - in_a_disc) ** 500)
checks.unbiased("modes that the cloud finds", of_cloud[:, 0], by_theory)
checks.at_least("which is nearly all", by_theory, 7.8)
checks.at_most("modes that the cloud covers", of_cloud[:, 2].mean(), 0.1)


# %%
covered = {name: table[:, 2].mean() for name, table in late.items()}
found = {name: table[:, 0].mean() for name, table in late.items()}
second_half = slice(len(looked_at) // 2, None)


def ever_covered(states):
    """Modes that one network covers at one time or another; states (times, 500, 2)."""
    hit = torch.zeros(8, dtype=torch.bool, device=states.device)
    for samples in states:
        distance, nearest = torch.cdist(samples, ring_means).min(-1)
        near = nearest[distance <= 3 * ring.std]
        hit |= torch.bincount(near, minlength=8) >= 0.25 * len(samples) / 8
    return hit.sum().item()


ever = {
    name: np.mean(
        [ever_covered(h) for h in histories[name][second_half].transpose(0, 1)]
    )
    for name in ("none", "control: a cloud")
}
for name, number in ever.items():
    print(f"{name}: {number:.2f} modes covered at some time")
not_sure = {name: np.abs(s[second_half]).mean() for name, s in sureness.items()}
for name, number in not_sure.items():
    print(f"{name}: mean |D(real) - D(generated)| {number:.3f}")

# %% tags=["check"]
if run.profile != "smoke":
    # Bounds for the mean of eight networks.
    for name in ("none", "instance noise", "gradient penalty"):
        checks.at_most(f"{name}: modes covered at a time", covered[name], 2)
    checks.at_most("feature matching: modes covered", covered["feature matching"], 0.5)
    checks.at_most("no cure: modes found at a time", found["none"], 4.5)
    checks.at_least("no cure: modes covered at some time", ever["none"], 6)
    checks.at_most("the cloud: modes covered at some time", ever["control: a cloud"], 1)
    checks.at_least("equal rates: modes covered", covered["equal rates"], 4.5)
    end = at_the_end["equal rates"]
    checks.at_least("equal rates: modes covered at the end", end[2], 5.5)
    checks.at_least("equal rates: quality at the end", end[1], 0.5)
    checks.at_least("feature matching: modes found", found["feature matching"], 7)
    end = at_the_end["feature matching"]
    checks.at_most("feature matching: quality at the end", end[1], 0.25)
    for name in ("none", "instance noise", "gradient penalty"):
        checks.at_most(f"{name}: |D(real) - D(generated)|", not_sure[name], 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Modes found, by one of 500 samples at least (left), and modes covered, by a quarter of the fair share at least (right), during the training; mean over the networks, without a cure and with each of the four. Black: the control, a Gaussian cloud that was never trained.", "name": "fig-js-modes"}, "image": {"alt": "Two panels with six curves between zero and eight modes. Left: equal rates, feature matching and the black control lie near eight, the three others near three. Right: only equal rates rises towards eight; feature matching and the control lie at zero, the three others near one."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.4), sharey=True)
styles = ("-", "-", "--", ":", "-.")
order = (
    "equal rates",
    "none",
    "feature matching",
    "instance noise",
    "gradient penalty",
)
for ax, column, what in zip(axes, (0, 2), ("found", "covered"), strict=True):
    for name, style in zip(order, styles, strict=True):
        ax.plot(looked_at, scored[name][..., column].mean(1), style, label=name)
    control = scored["control: a cloud"][..., column].mean(1)
    ax.plot(looked_at, control, "k--", linewidth=1, label="control")
    ax.set(xlabel="step", ylabel=f"modes {what}", ylim=(-0.2, 8.3))
lines, labels = ax.get_legend_handles_labels()
_ = fig.legend(lines, labels, loc="outside upper center", ncol=3, fontsize=9)

# %%
for name in histories:
    short = name.replace("control: a ", "control_").replace(" ", "_")
    protocol = (
        f"{P.num_networks} independent GANs, {P.ring_steps:,} steps of 64 + 64, "
        "ring of eight "
        f"Gaussians of std 0.05 on the unit circle, 500 samples; cure: {name}"
    )
    kinds = {"modes": (0, "at least one sample"), "covered": (2, "1/4 of the share")}
    for kind, (column, meaning) in kinds.items():
        run.record(
            f"{kind}_{short}",
            late[name][:, column].mean(),
            unit="modes",
            standard_error=late[name][:, column].std(ddof=1) / P.num_networks**0.5,
            protocol=f"modes with {meaning} within 3 std, mean over the "
            f"second half of the training; {protocol}",
        )
    final = scored[name][-1, :, 1]
    run.record(
        f"quality_{short}",
        final.mean(),
        unit="1",
        standard_error=final.std(ddof=1) / P.num_networks**0.5,
        protocol=f"share within 3 std of a mode after the last step; {protocol}",
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Samples (blue) of the first of the generators, fixed seed, not chosen; grey: the modes. Left: without a cure, the samples hunt around the ring. Middle: equal learning rates. Right: feature matching.", "name": "fig-js-ring-film"}}


def ring_frame(k):
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 3.0), sharey=True)
    for ax, name in zip(axes, ("none", "equal rates", "feature matching"), strict=True):
        ax.plot(*ring.means.T, "o", color="0.75", markersize=13)
        ax.plot(
            *histories[name][k, 0, :300].T.cpu(),
            ".",
            color=plotting.COLOURS[0],
            markersize=3,
        )
        found, _, covered = scored[name][k, 0]
        ax.set(
            xlim=(-1.7, 1.7),
            ylim=(-1.7, 1.7),
            aspect="equal",
            xlabel=f"{name}\nfound {found:.0f}, covered {covered:.0f}",
        )
    return fig


film_steps = [0, 1, 2, 4, 6, 8, 11, 14, 18, 22, 26, 30, 34, 39]
plotting.film(
    map(ring_frame, film_steps),
    labels=[f"step {looked_at[k]}" for k in film_steps],
    alt="Three square plots with eight grey discs on a circle. On the left the "
    "blue samples form "
    "a few threads that jump between discs; in the middle they gather on all "
    "discs; on the "
    "right they form a wide cloud over all discs.",
)

# %% [markdown]
r"""
What you should see: without a cure at most two modes are covered at a time, on the average, and other ones later: over the time a network covers most of the eight.
Most of its samples are on the way, on threads between the modes.
Equal rates are the one cure of the four: at the end the generators cover more than five modes, and more than half of the samples lie near a mode; the recorded numbers say how many.
Feature matching finds nearly all modes and covers next to none, just like the control, which was never trained: it asks for the right *means* of the features, and a wide cloud can have them.
By the modes found alone, feature matching would have been a cure, and so would the cloud: without a control the number says nothing.
Instance noise and the gradient penalty cover at most two modes as well: they repair a discriminator that is too sure, and here its mean answers to data and to samples differ by less than 0.1, in all three runs.
Each was tried at one strength, against this one handicap.
**A cure works against the disease it is for**: ask first whether the generator's gradient is small ({numref}`fig-js-dying`) or whether its target moves.
The [next lecture](gan_variants.ipynb) compares the variants at their best on equal terms.
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.

```{exercise-start} More data than samples
:label: ex-js-share
```
A discriminator is trained on batches in which a share $\pi$ of the examples is real, so that it maximises $\pi\, \mathbb{E}_{p_r} \log D + (1 - \pi)\, \mathbb{E}_{p_g} \log(1 - D)$.
Derive its optimum as in {eq}`eq-js-calculus`, and show that it is a maximum.
Write `best_logits_with_share(log_p_r, log_p_g, share)`, its logits.
What does $D = \frac12$ mean now?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def best_logits_with_share(log_p_r, log_p_g, share):
    return None


# %% tags=["check"]
def check_share(answer):
    if answer(log_p_r, log_p_g, 0.5) is None:
        return print("not yet")
    checks.close(
        "share 1/2", answer(log_p_r, log_p_g, 0.5), log_p_r - log_p_g, atol=1e-12
    )
    near = x.abs() < 6
    for share in (0.2, 0.9):
        logits = answer(log_p_r, log_p_g, share)[near].clone().requires_grad_(True)
        on_data = share * log_p_r.exp()[near] * log_d(logits)
        on_generated = (1 - share) * log_p_g.exp()[near] * log_one_minus_d(logits)
        (slope,) = torch.autograd.grad((on_data + on_generated).sum(), logits)
        checks.close(
            f"share {share}: slope of the objective", slope, 0 * slope, atol=1e-12
        )
    return print("right")


check_share(best_logits_with_share)

# %% [markdown]
r"""
````{solution-start} ex-js-share
:class: dropdown
````
"""


# %% tags=["solution"]
def best_logits_with_share(log_p_r, log_p_g, share):
    return log_p_r - log_p_g + math.log(share / (1 - share))


check_share(best_logits_with_share)

# %% [markdown]
r"""
Replace $A$ by $\pi p_r$ and $B$ by $(1 - \pi) p_g$: from $A / y = B / (1 - y)$ follows $y = A / (A + B)$, and $f'' = -A / y^2 - B / (1 - y)^2$ is negative for all $y$.
The logit is shifted by $\log \frac{\pi}{1 - \pi}$, Bayes' rule with another prior; $D = \frac12$ means that $\pi p_r = (1 - \pi) p_g$, and the densities differ.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} JS as mutual information
:label: ex-js-information
```
Let $Y$ be 1 with probability $\pi$, and $X$ be drawn from the table $p$ for $Y = 1$, from $q$ for $Y = 0$.
Expand $I(X; Y)$ into relative entropies with respect to the mixture.
Write `mutual_information(p, q, share)` in nats for probability tables of shape (n,).
```{exercise-end}
```
"""


# %% tags=["exercise"]
def mutual_information(p, q, share):
    return None


# %% tags=["check"]
def check_information(answer):
    p, q = a[0], b[0]
    if answer(p, q, 0.5) is None:
        return print("not yet")
    checks.close("share 1/2 is JS", answer(p, q, 0.5), js_of_tables(p, q), atol=1e-12)
    joint = torch.stack([0.3 * p, 0.7 * q])
    product = joint.sum(1, keepdim=True) * joint.sum(0)
    exact = (joint * (joint / product).log()).sum()
    checks.close(
        "share 0.3, from the joint table", answer(p, q, 0.3), exact, atol=1e-12
    )
    return print("right")


check_information(mutual_information)

# %% [markdown]
r"""
````{solution-start} ex-js-information
:class: dropdown
````
"""


# %% tags=["solution"]
def mutual_information(p, q, share):
    m = share * p + (1 - share) * q
    return share * (p * (p / m).log()).sum() + (1 - share) * (q * (q / m).log()).sum()


check_information(mutual_information)

# %% [markdown]
r"""
$I(X; Y) = \mathbb{E}_{y} \mathrm{KL}(p(x \mid y) \,\Vert\, p(x))$, and $p(x)$ is the mixture: for $\pi = \frac12$ this is {eq}`eq-js-definition` word for word.
It is at most $\mathcal{H}[Y]$, which is $\log 2$ for a fair coin: the bound of JS says that one sample tells at most the coin.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A gradient in the tail
:label: ex-js-tail
```
A generator $G(z) = \psi + z$ stands at distance $\psi$ from the data $\mathcal{N}(0, 1)$ and meets the best discriminator.
Write `generator_slopes(psi)`, the pair of slopes in $\psi$ at $D^*$, saturating and non-saturating, as closed expressions in means over $z$ (use `weights` and `z_grid`, no automatic differentiation).
At a logit of $-10$, how many times larger is the non-saturating one?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def generator_slopes(psi):
    return None


# %% tags=["check"]
def check_slopes(answer):
    if answer(1.0) is None:
        return print("not yet")
    for psi in (0.5, 1.0, 5.0):
        exact = [slope_with_d_fixed(psi, f) for f in (saturating, non_saturating)]
        checks.close(f"psi = {psi}", torch.stack(list(answer(psi))), exact, atol=1e-10)
    return print("right")


check_slopes(generator_slopes)

# %% [markdown]
r"""
````{solution-start} ex-js-tail
:class: dropdown
````
"""


# %% tags=["solution"]
def generator_slopes(psi):
    d = torch.sigmoid(psi**2 / 2 - psi * (psi + z_grid))  # logit psi^2/2 - psi x
    return psi * (weights @ d), psi * (weights @ (1 - d))


check_slopes(generator_slopes)

# %% [markdown]
r"""
The logit has the slope $-\psi$ in $x$, so {eq}`eq-js-two-losses` gives $\psi\, \mathbb{E} D$ and $\psi\, \mathbb{E}(1 - D)$; their sum is $\psi$.
At a logit of $-10$ the derivatives are $-4.5 \times 10^{-5}$ and $-0.99995$: their ratio is $e^{10}$, about 22,000.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Look ahead
:label: ex-js-lookahead
```
The *extragradient* method takes a trial step for both players of $v = a b$, and then steps from the old point with the gradients at the trial point.
Write `lookahead_round(a, b, eta)`.
Find $|\lambda|$ by hand: for which $\eta$ does it converge?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def lookahead_round(a, b, eta):
    return None


# %% tags=["check"]
def check_lookahead(answer):
    if answer(1.0, 0.0, 0.1) is None:
        return print("not yet")
    for eta in (0.1, 0.9, 1.0, 1.1):
        matrix = np.array([answer(1.0, 0.0, eta), answer(0.0, 1.0, eta)]).T
        moduli = np.abs(np.linalg.eigvals(matrix))
        checks.close(
            f"eta = {eta}", moduli, [math.sqrt(1 - eta**2 + eta**4)] * 2, atol=1e-12
        )
    checks.close("a after one round", answer(1.0, 0.0, 0.1)[0], 0.99, atol=1e-12)
    checks.close("b after one round", answer(1.0, 0.0, 0.1)[1], 0.1, atol=1e-12)
    return print("right")


check_lookahead(lookahead_round)

# %% [markdown]
r"""
````{solution-start} ex-js-lookahead
:class: dropdown
````
"""


# %% tags=["solution"]
def lookahead_round(a, b, eta):
    trial_a, trial_b = a - eta * b, b + eta * a
    return a - eta * trial_b, b + eta * trial_a


check_lookahead(lookahead_round)

# %% [markdown]
r"""
One round is $1 - \eta^2 \pm i \eta$, so $|\lambda|^2 = (1 - \eta^2)^2 + \eta^2 = 1 - \eta^2 + \eta^4$, below 1 for $\eta < 1$.
Simultaneous steps have $\sqrt{1 + \eta^2}$, alternating ones 1: it takes either a penalty or a look ahead to fall inwards.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. The best discriminator is {eq}`eq-js-best`, a worse one costs {eq}`eq-js-gap`, and $L(G, D^*) = 2\,\mathrm{JS} - 2 \log 2$ holds to at least eight digits by two routes.
2. JS is $\log 2$ minus the smallest cross-entropy, {eq}`eq-js-classifier`, and the information of one sample, {eq}`eq-js-information`.
3. The saturating loss descends JS and dies as the densities separate ({numref}`fig-js-pinned`); the non-saturating one follows {eq}`eq-js-non-saturating`.
4. Eigenvalues of one round decide, {eq}`eq-js-rounds`: outwards, orbit, inwards.
5. A generator collapses onto the maximum of a discriminator that does not follow ({numref}`fig-js-frozen`); on the ring equal rates cure it; feature matching does no more than an untrained control, noise and penalty no more than no cure, at the strengths tried ({numref}`fig-js-modes`).

**What comes next:** [one ring, one grid, many variants](gan_variants.ipynb); then [labels and images](gan_conditional.ipynb).

**Reading:** {cite:t}`goodfellow2014`, section 4, for the theorem; {cite:t}`arjovsky2017a` for supports and the non-saturating gradient; {cite:t}`mescheder2018` for eigenvalues; {cite:t}`metz2017` for the hunt around the ring.
The places where the sources of this book differ are on the [errata page](../book/errata.md).
"""

# %%
run.finish()

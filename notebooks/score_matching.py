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
# Score matching and annealed Langevin

At the end of this lecture you will be able to

1. say what the score knows about a density, and what it cannot see;
2. fit a density whose normaliser nobody knows: by implicit, sliced and denoising score matching, with the identities that make the three one;
3. denoise a measurement with the score, by Tweedie's formula, and say how certain the result is;
4. tell a score from an arbitrary vector field;
5. sample with a learned score, name the three ways in which that can fail, and repair the weights of far modes with noise of many sizes.

- **You need** [Langevin sampling](langevin.ipynb) for the sampler, Gaussian integrals, integration by parts, some PyTorch.
- **Sources:** {cite:t}`hyvarinen2005`, {cite:t}`vincent2011`, {cite:t}`song2020sliced`, {cite:t}`efron2011`, {cite:t}`song2019`.
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
import time
from itertools import islice, pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.models.mixture import GaussianMixture
from dgm.samplers import langevin, score_of

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_data": (5_000, 50_000, 50_000),
    "num_draws": (20_000, 100_000, 1_000_000),  # where a mean is compared
    "num_fits": (60, 300, 2_000),  # of a flow, each to data of its own
    "single_steps": (100, 1_500, 10_000),  # training with one noise scale
    "num_steps": (150, 4_000, 40_000),  # training with many
    "num_particles": (300, 4_000, 40_000),  # that follow the learned score
    "num_exact": (1_000, 10_000, 100_000),  # that follow the exact score
}

# %%
run = dgm.start("score_matching", parameters=PARAMETERS)
P = run.parameters
# Identities are checked in double precision on the CPU; networks train in single.
torch.set_default_dtype(torch.float64)

# %% [markdown]
r"""
## The problem in one picture

Eight points of ten come from the left cloud of {numref}`fig-sm-problem`, two from the right one.
The arrows are the score of their density, the gradient of its logarithm.
This lecture learns the arrows from the points, and gets new points back from the arrows.
The example is a mixture of Gaussians because everything about it is known: its score, its score after noise has been added, and the best denoiser.
`GaussianMixture` holds these formulas, and we check them before we rely on them.
Its method `diffused(scale, std)` is the law of `scale` times a datum plus noise of size `std`.
Here nothing is shrunk, and the scale is 1.0 everywhere; diffusion models will need it.
"""

# %%
mixture = GaussianMixture(
    torch.tensor([0.8, 0.2]), torch.tensor([[-4.0, 0.0], [4.0, 0.0]]), 1.0
)


def plane(across=8.0, up=4.0, num=41):
    """Grid points of the plane, shape (num * num, 2)."""
    return torch.cartesian_prod(
        torch.linspace(-across, across, num), torch.linspace(-up, up, num)
    )


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A thousand points of the density, and its score (arrows; drawn is the square root of their length). The arrows point to the nearer cloud and say almost nothing about how many points are in it: only the place of the border between the clouds knows.", "name": "fig-sm-problem"}, "image": {"alt": "Two round clouds of dots side by side, the left one four times as dense. Arrows everywhere point towards the centre of the nearer cloud. Both sides look alike, but the border between them lies a little to the right of the middle."}}
fig, ax = plt.subplots(figsize=(7.0, 3.6))
ax.plot(*mixture.sample(1_000).T, ".", color=plotting.COLOURS[5], markersize=3)
spots = torch.cartesian_prod(
    torch.linspace(-7.5, 7.5, 21), torch.linspace(-3.5, 3.5, 9)
)
arrows = mixture.score(spots)
arrows = arrows / arrows.norm(dim=1, keepdim=True).sqrt()
ax.quiver(*spots.T, *arrows.T, color=plotting.COLOURS[1], width=0.003, scale=50)
_ = ax.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", xlim=(-8.3, 8.3))

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $s(x) = \nabla_x \log p(x)$ | `score` | the score; $s_\theta$ of a model ($s$ alone in the integration by parts), $s_\sigma$ of $p_\sigma$ |
| $J = \nabla s$, $\nabla \cdot s = \mathrm{tr}\, J$ | `divergence` | Jacobian of the score, and its trace |
| $F(p \,\Vert\, q)$ | `fisher` | Fisher divergence |
| $\mathcal{L}(\theta)$, $\mathcal{L}_\sigma(\theta)$ | `implicit_loss`, `dsm_loss` | objective of implicit, of denoising score matching |
| $\sigma$, $p_\sigma$ | `std`, `diffused` | size of the noise; density of $\tilde x = x + \sigma \epsilon$ |
| $f_\theta$, $Z(\theta)$, $d$ | `log_z`, `dim` | log-density but for a constant, its normaliser; number of dimensions |
| $\epsilon$ | `noise` | noise in a datum, standard normal |
| $\xi$ | | fresh noise of a Langevin step, standard normal |
| $\sigma_1 > \dots > \sigma_L$ | `STDS` | noise scales |
| $\lambda(\sigma)$ | | weight of a noise scale in the loss |
| $\eta$, $\eta_i$ | `step_size`, `ETAS` | step size of Langevin; at scale $\sigma_i$ |
| $\kappa$ | | second eigenvalue of the matrix of a step |
| $L$ | `NUM_SCALES` | number of noise scales ($\mathcal{L}$ is an objective) |
| $A$, $C$ | `A`, `covariance` | inverse covariance and covariance of a Gaussian |
| $A$, $\gamma$ | `TURN`, `gamma` | from {eq}`eq-sm-solenoidal` on: an antisymmetric matrix, and how much of it is added |
| $G$, $c$ | `G`, `c` | matrix and constant vector of {eq}`eq-sm-linear`; modes at $\pm c$ are another $c$ |
| $o_b$ | `objective` | what a method minimises, for one datum, of a model with the parameter $b$ |
| $v$, $S$ | `v`, `S` | direction of a slice, symmetric part of $J$; from {eq}`eq-sm-turned-variance` on $v$ is a variance |
"""

# %% [markdown]
r"""
## The score

```{margin}
**In the sources.** CS236 notes, *Score matching optimization*: this section and the next two.
```

**The score is the gradient of $\log p$ in $x$, and it does not know the normaliser.**
With $p_\theta(x) = e^{f_\theta(x)} / Z(\theta)$,

$$
s_\theta(x) = \nabla_x \log p_\theta(x) = \nabla_x f_\theta(x) - \underbrace{\nabla_x \log Z(\theta)}_{0} .
$$ (eq-sm-score)

```{margin}
**A common mistake:** "$\log Z$ drops out because it does not depend on $\theta$".
It does; it does not depend on $x$.
```

For a mixture each component pulls to its centre, and the pulls are weighted with the probability that $x$ comes from it:

$$
s(x) = \sum_k p(k \mid x)\, \frac{\mu_k - x}{\sigma_k^2} .
$$ (eq-sm-mixture)

What drops out in $x$ matters in $\theta$.
For $f_A(x) = -\frac{1}{2} x^\top A x$ in $d$ dimensions

$$
\log Z = \tfrac{d}{2} \log 2\pi - \tfrac{1}{2} \log \det A ,
$$

with the gradient $-\frac{1}{2} A^{-1}$ in $A$.
Maximum likelihood needs this gradient in each step; a fit of the score needs it nowhere, and that is its use.
"""

# %% tags=["check"]
points = 3 * torch.randn(200, 2)
share = mixture.weights.log() - torch.cdist(points, mixture.means).square() / 2
share = torch.softmax(share, 1)
checks.close(
    "score of the mixture, against the pulls of its components",
    mixture.score(points),
    share @ mixture.means - points,
    atol=1e-12,
)
checks.close(
    "and against automatic differentiation",
    mixture.score(points),
    score_of(lambda x: -mixture.log_prob(x))(points),
    atol=1e-12,
)
checks.close(
    "the border of the clouds, where both pull alike, is at (log 4) / 8",
    mixture.responsibilities(torch.tensor([[math.log(4) / 8, 1.0]]))[0],
    torch.full((2,), 0.5),
    atol=1e-12,
)
A = torch.tensor([[2.0, 0.6], [0.6, 1.0]], requires_grad=True)
log_z = math.log(2 * math.pi) - 0.5 * torch.logdet(A)
(in_theta,) = torch.autograd.grad(log_z, A)
checks.close(
    "log Z depends on theta", in_theta, -torch.linalg.inv(A.detach()) / 2, atol=1e-12
)
normal = torch.distributions.MultivariateNormal(torch.zeros(2), precision_matrix=A)
checks.close(
    "but not on x: score of the normalised Gaussian, against that of f alone",
    score_of(lambda x: -normal.log_prob(x))(points),
    -points @ A,
    atol=1e-12,
)

# %% [markdown]
r"""
On a line the score gives the density back.
Integrated, it is $\log p$ up to a constant, and the constant is fixed because probabilities add up to one.
We do this on a grid, where integrals are sums.
For functions that are smooth and vanish at both ends, such a sum is as exact as the numbers in it.
"""

# %%
line = torch.linspace(-20, 20, 8_001)
dx = (line[1] - line[0]).item()


def integral(values):
    return values.sum().item() * dx


def two_modes(weight, centre, std=1.0):
    """weight N(-centre, std^2) + (1 - weight) N(centre, std^2), on the line."""
    return GaussianMixture(
        torch.tensor([weight, 1 - weight]), torch.tensor([[-centre], [centre]]), std
    )


wells = two_modes(0.8, 1.5, 0.6)  # the data of the next sections
p_line = wells.log_prob(line[:, None]).exp()
slope = wells.score(line[:, None])[:, 0]
climb = torch.cumulative_trapezoid(slope, dx=dx)
climb = torch.cat([torch.zeros(1), climb])

# %% tags=["check"]
checks.close("integral of p", integral(p_line), 1.0, atol=1e-12)
log_z = torch.logsumexp(climb, 0) + math.log(dx)
# The trapezoidal rule errs by dx^2 / 12 times the change of the slope of the score.
checks.close(
    "log p from the score alone",
    climb - log_z,
    wells.log_prob(line[:, None]),
    atol=1e-4,
)
checks.close("mean of the score", integral(p_line * slope), 0.0, atol=1e-12)

# %% [markdown]
r"""
## The Fisher divergence

**Two densities are compared by the mean squared distance of their scores:**

$$
F(p \,\Vert\, q) = \tfrac{1}{2}\, \mathbb{E}_p \bigl| \nabla \log p(x) - \nabla \log q(x) \bigr|^2 .
$$ (eq-sm-fisher)

It is never negative.
It also says how fast Langevin motion brings $p$ to $q$.
That motion follows the score of $q$ and is kicked at random, in steps of length $\eta$ ({eq}`eq-lan-ula` of [the Langevin lecture](langevin.ipynb)):

$$
x \;\to\; x + \eta\, \nabla \log q(x) + \sqrt{2 \eta}\; \xi ,
\qquad \xi \sim N(0, I) .
$$ (eq-sm-langevin)

For small steps the time is $t = k \eta$ after $k$ of them, and the Kullback-Leibler divergence falls by twice $F$ per unit of it, {eq}`eq-lan-kl-rate`:

$$
\frac{\mathrm{d}}{\mathrm{d}t}\, \mathrm{KL}(p_t \,\Vert\, q) = -2\, F(p_t \,\Vert\, q) .
$$ (eq-sm-kl-rate)

Between $N(m_1, v_1)$ and $N(m_2, v_2)$ the difference of the scores is linear in $x$, so that

$$
2 F = v_1 \Bigl( \frac{1}{v_2} - \frac{1}{v_1} \Bigr)^2 + \frac{(m_1 - m_2)^2}{v_2^2} .
$$ (eq-sm-fisher-gaussians)

```{margin}
**A common mistake:** "equal scores, equal densities: one to one".
The path of integration from one mode to the other must run where $p$ is positive.
```

If $F = 0$ then the scores agree wherever $p > 0$, and $\log p - \log q$ is constant *on each connected piece* of that region.
If it is in one piece, $p = q$.
If it is in two, each piece has a constant of its own, and **the relative weights of the pieces are invisible**.
Two modes that are merely far apart come close to that.
Take weights 0.8 and 0.2 in $p$, 0.2 and 0.8 in $q$ ({numref}`fig-sm-blind`).
The Kullback-Leibler divergence tends to $0.6 \log 4$; the Fisher divergence tends to zero, because the scores differ only between the modes, where nobody is.
"""


# %%
def fisher(p, q):
    """F(p || q) on the line."""
    x = line[:, None]
    gap = (p.score(x) - q.score(x)).square().sum(1)
    return 0.5 * integral(p.log_prob(x).exp() * gap)


def kl(p, q):
    x = line[:, None]
    log_p = p.log_prob(x)
    return integral(log_p.exp() * (log_p - q.log_prob(x)))


def gaussian(mean, std):
    return GaussianMixture(torch.ones(1), torch.tensor([[mean]]), std)


unit = gaussian(0.0, 1.0)
centres = torch.linspace(0.1, 8, 60).tolist()
blind = [fisher(two_modes(0.8, c), two_modes(0.2, c)) for c in centres]
sees = [kl(two_modes(0.8, c), two_modes(0.2, c)) for c in centres]

# %% tags=["check"]
checks.close(
    "Fisher divergence of N(0.3, 0.5) and N(-0.4, 2)",
    fisher(gaussian(0.3, 0.5**0.5), gaussian(-0.4, 2**0.5)),
    0.5 * (0.5 * (1 / 2 - 1 / 0.5) ** 2 + 0.7**2 / 2**2),
    atol=1e-9,
)
# Towards N(0, 1) a mean falls as exp(-t) and a variance less one as exp(-2 t).
later, earlier = (
    kl(gaussian(0.3 * math.exp(-t), (1 - 0.5 * math.exp(-2 * t)) ** 0.5), unit)
    for t in (1e-3, -1e-3)
)
# Central differences err by 1e-6 / 6 times a third derivative of order ten.
checks.close(
    "from N(0.3, 0.5) to N(0, 1): rate of KL, against -2 F",
    (later - earlier) / 2e-3,
    -2 * fisher(gaussian(0.3, 0.5**0.5), unit),
    atol=1e-5,
)
checks.close("modes at -8 and 8: KL", sees[-1], 0.6 * math.log(4), atol=1e-6)
checks.at_most("modes at -8 and 8: Fisher divergence", blind[-1], 1e-12)
highest = max(range(60), key=blind.__getitem__)
# Half a step of the distances, 7.9 / 59.
checks.close("distance of the largest", centres[highest], 1.15, atol=0.07)
overlap = fisher(two_modes(0.8, 1.0), two_modes(0.2, 1.0))
checks.at_least("modes at -1 and 1: Fisher divergence", overlap, 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Two densities with the same two modes and exchanged weights, 0.8 and 0.2 against 0.2 and 0.8. Modes have width 1 and stand at plus and minus the distance on the axis. From a distance of about one on, the further apart they are the less the Fisher divergence sees.", "name": "fig-sm-blind"}, "image": {"alt": "Two curves on a logarithmic axis. The KL divergence rises and from a distance of two on lies along a dashed line just below one. The Fisher divergence rises to a few tenths at a distance of about one, where the modes overlap, and then falls more and more steeply, below one part in a million million."}}
fig, ax = plt.subplots()
ax.semilogy(centres, sees, label="KL (nats)")
ax.semilogy(centres, blind, label="Fisher")
plotting.reference_line(ax, 0.6 * math.log(4), r"$0.6\,\log 4$")
ax.set(xlabel="distance of a mode from 0", ylabel="divergence", ylim=(1e-14, 10))
_ = ax.legend(loc="lower left")

# %% [markdown]
r"""
## Implicit score matching

**The score of the data is not needed: an integration by parts removes it.**
Expand the square, with $s$ the score of the model and $s_\text{data}$ that of the data:

$$
F = \tfrac{1}{2}\, \mathbb{E} |s|^2 - \mathbb{E}\,[s \cdot s_\text{data}] + \tfrac{1}{2}\, \mathbb{E} |s_\text{data}|^2 .
$$

The last term does not depend on the model.
The middle term does, and in it $p_\text{data}$ times its score is the gradient $\nabla p_\text{data}$, since $(\log p)' = p' / p$.
In one dimension

$$
\begin{aligned}
\mathbb{E}\,[s\, s_\text{data}] &= \int s\, p_\text{data}'\, \mathrm{d}x \\
&= \bigl[ p_\text{data}\, s \bigr] - \int p_\text{data}\, s'\, \mathrm{d}x ,
\end{aligned}
$$ (eq-sm-parts)

and in more dimensions the same is done along each axis.
If the boundary term is zero, then {cite:p}`hyvarinen2005`

$$
\begin{aligned}
F(p_\text{data} \,\Vert\, p_\theta) &= \mathcal{L}(\theta) + \tfrac{1}{2}\, \mathbb{E} |s_\text{data}|^2 , \\
\mathcal{L}(\theta) &= \mathbb{E} \bigl[ \tfrac{1}{2} |s_\theta(x)|^2 + \nabla \cdot s_\theta(x) \bigr] .
\end{aligned}
$$ (eq-sm-implicit)

$\mathcal{L}$ is a mean over data, without $Z$ and without samples of the model.
The first term wants a flat density, the second one that curves down at the data.
"""


# %% tags=["twin:dgm.scores.divergence"]
def divergence(score, x):
    """tr of the Jacobian at each row of x: one backward pass for each dimension."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        s = score(x)
        total = 0.0
        for i in range(x.shape[1]):
            (row,) = torch.autograd.grad(s[:, i].sum(), x, create_graph=True)
            total = total + row[:, i]
    return total


# %%
def implicit_loss(score, x):
    """|s|^2 / 2 + div s, one number per example."""
    return 0.5 * score(x).square().sum(1) + divergence(score, x)


MODELS = {  # three scores on the line
    "Gaussian": lambda x: -(x - 0.3) / 2,
    "quartic": lambda x: 1.5 * x - x**3,
    "parabola and sine": lambda x: -x + torch.sin(2 * x),
}

# %% [markdown]
r"""
Three models, one data density with two wells: the difference of $F$ and $\mathcal{L}$ must be the same number, half the mean square of the score of the data.
"""

# %% tags=["check"]
draws = wells.sample(P.num_draws)
half_square = 0.5 * integral(p_line * slope**2)
for name, s in MODELS.items():
    s_line = s(line)
    prime = divergence(s, line[:, None]).detach()
    checks.close(
        f"{name}: E[s s_data] = -E[s']",
        integral(p_line * s_line * slope),
        -integral(p_line * prime),
        atol=1e-9,
    )
    distance = 0.5 * integral(p_line * (s_line - slope) ** 2)
    implicit = integral(p_line * implicit_loss(s, line[:, None]).detach())
    checks.close(f"{name}: F - L", distance - implicit, half_square, atol=1e-9)
    checks.unbiased(
        f"{name}: L as a mean over data", implicit_loss(s, draws).detach(), implicit
    )
jacobian = torch.func.vmap(torch.func.jacrev(lambda x: mixture.score(x[None])[0]))
checks.close(
    "divergence in the plane, against the trace of the whole Jacobian",
    divergence(mixture.score, points),
    jacobian(points).diagonal(dim1=1, dim2=2).sum(1),
    atol=1e-12,
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** the condition "$p_\text{data} \to 0$ at infinity".
What must vanish is $p_\text{data}\, s_\theta$, on the whole boundary.
```

The boundary term has teeth.
Waiting times have the density $e^{-x}$ on $x > 0$, a model of them is $r\, e^{-r x}$ with the score $-r$.
Then $\mathcal{L} = \frac{1}{2} r^2$ has its minimum at $r = 0$, and the truth is $r = 1$.
At $x = 0$ the density jumps, and $[p_\text{data}\, s] = 0 - 1 \cdot (-r) = r$ is what is missing.
{ref}`ex-sm-boundary` repairs it.
"""

# %% tags=["check"]
# Nodes and weights for means over the density exp(-x).
waits, weights = map(torch.from_numpy, np.polynomial.laguerre.laggauss(40))


def exponential_terms(score):
    """Fisher divergence, L, and the boundary term of data from exp(-x)."""
    fisher_term = 0.5 * weights @ (score(waits) + 1) ** 2
    implicit_term = weights @ implicit_loss(score, waits[:, None]).detach()
    return fisher_term, implicit_term, -score(torch.zeros(1))[0]


objectives = {}
for name, s in (
    ("rate 0", lambda x: -0.0 * x),
    ("rate 1, the truth", lambda x: -1.0 + 0.0 * x),
    ("rate 2", lambda x: -2.0 + 0.0 * x),
    ("half a parabola", lambda x: 0.7 - 0.4 * x),
):
    distance, implicit, boundary = exponential_terms(s)
    checks.close(
        f"waiting times, {name}: F = L - [p s] + 1/2",
        distance,
        implicit - boundary + 0.5,
        atol=1e-10,
    )
    print(f"    F = {distance:.3f}, L = {implicit:.3f}")
    objectives[name] = implicit
del objectives["half a parabola"]
checks.ordered("without the boundary term L prefers the wrong rate", objectives)
checks.at_least(
    "L of the truth, above that of rate 0",
    objectives["rate 1, the truth"] - objectives["rate 0"],
    0.5 - 1e-10,
)

# %% [markdown]
r"""
## A density without its normaliser, fitted

**Where the score is linear in the parameters, score matching is a system of linear equations.**
Let $f_\theta(x) = \theta \cdot \phi(x)$ with functions $\phi_k$, as for every exponential family.
Then $s = \sum_k \theta_k \nabla \phi_k$, and $\mathcal{L}$ is a parabola in $\theta$ with its minimum where

$$
\sum_l \underbrace{\mathbb{E} \bigl[ \nabla \phi_k \cdot \nabla \phi_l \bigr]}_{G_{kl}}\, \theta_l + \underbrace{\mathbb{E} \bigl[ \nabla^2 \phi_k \bigr]}_{c_k} = 0 .
$$ (eq-sm-linear)

For $\phi = (x, x^2, x^3, x^4)$ nobody has $Z(\theta)$ in closed form, and nobody needs it.
For a Gaussian, $s = -A (x - m)$, the answer is $A = C^{-1}$ with $C$ the covariance of the data: the same as by maximum likelihood.
"""


# %%
def quartic_equation(x, weight):
    """G and c for exp(theta . (x, x^2, x^3, x^4)), from points x with weights."""
    powers = torch.arange(1, 5)
    slopes = powers * x[:, None] ** (powers - 1)
    curvatures = powers * (powers - 1) * x[:, None] ** (powers - 2).clamp(min=0)
    return (slopes * weight[:, None]).T @ slopes, weight @ curvatures


def fit_quartic(x, weight):
    G, c = quartic_equation(x, weight)
    return torch.linalg.solve(G, -c)


truth = torch.tensor([0.2, 1.0, -0.1, -0.5])
inner = line[line.abs() < 6]
p_quartic = torch.softmax(inner[:, None] ** torch.arange(1, 5) @ truth, 0)

tilted = torch.randn(P.num_data, 3) @ torch.randn(3, 3) + torch.tensor([1.0, 0.0, -2.0])
mean, covariance = tilted.mean(0), torch.cov(tilted.T, correction=0)


def gaussian_loss(A):
    return implicit_loss(lambda x: -(x - mean) @ A, tilted).mean()


# %% tags=["check"]
checks.close(
    "four parameters from the density", fit_quartic(inner, p_quartic), truth, atol=1e-8
)
# The solution of an equation with noise in it is biased; G theta + c is not.
sampled = inner[torch.multinomial(p_quartic, 64 * 10_000, True)]
left_side = []
for x in sampled.split(10_000):
    G, c = quartic_equation(x, torch.full_like(x, 1 / len(x)))
    left_side.append(G @ truth + c)
checks.unbiased(
    "G theta + c of 64 samples of 10,000, at the truth",
    torch.stack(left_side),
    torch.zeros(4),
)
everything = torch.full_like(sampled, 1 / len(sampled))
by_all = fit_quartic(sampled, everything).tolist()
print("theta from all of them:", ", ".join(f"{number:.4f}" for number in by_all))
A = torch.linalg.inv(covariance).requires_grad_(True)
(gradient,) = torch.autograd.grad(gaussian_loss(A), A)
# A sum over the data rounds to about 1e-16 times the largest of the terms.
checks.close(
    "gradient of L at the inverse covariance", gradient, torch.zeros(3, 3), atol=1e-9
)
A = covariance.clone().requires_grad_(True)
(gradient,) = torch.autograd.grad(gaussian_loss(A), A)
checks.at_least("and elsewhere", gradient.norm(), 0.1)

# %% [markdown]
r"""
Models with a known density, autoregressive ones and flows, can be trained in this way as well, since their score comes by automatic differentiation.
It costs precision.
Take a flow with one parameter, $z = \sinh(b\, \mathrm{arsinh}\, x)$ with $z \sim N(0, 1)$ and

$$
\begin{aligned}
\log p_b(x) &= -\tfrac{1}{2} z^2 - \tfrac{1}{2} \log 2 \pi + \log \frac{\mathrm{d}z}{\mathrm{d}x} , \\
\frac{\mathrm{d}z}{\mathrm{d}x} &= \frac{b \cosh(b\, \mathrm{arsinh}\, x)}{\sqrt{1 + x^2}} .
\end{aligned}
$$ (eq-sm-flow)

Both methods minimise a mean of some $o_b(x)$ over $n$ data, and both are consistent.
The variance of such an estimate tends to

$$
\frac{1}{n}\, \frac{\mathbb{E} \bigl[ (\partial_b o_b)^2 \bigr]}{\mathbb{E} \bigl[ \partial_b^2 o_b \bigr]^2} ,
$$ (eq-sm-efficiency)

and none can be below that of maximum likelihood.
"""


# %%
def derivative(values, variable):
    """Row by row: the value of one row depends on the variable of that row alone."""
    return torch.autograd.grad(values.sum(), variable, create_graph=True)[0]


def flow_log_prob(x, b):
    u = torch.asinh(x)
    log_slope = b.log() + torch.cosh(b * u).log() - 0.5 * torch.log1p(x**2)
    return -0.5 * torch.sinh(b * u) ** 2 - 0.5 * math.log(2 * math.pi) + log_slope


def derivatives_in_b(method, x, b):
    """First and second derivative in b of the objective of each datum."""
    x, b = x.detach().requires_grad_(True), b.detach().requires_grad_(True)
    log_p = flow_log_prob(x, b)
    if method == "maximum likelihood":
        objective = -log_p
    else:
        s = derivative(log_p, x)
        objective = 0.5 * s**2 + derivative(s, x)
    first = derivative(objective, b)
    return first.detach(), derivative(first, b).detach()


TRUE_B, SIZE = 0.7, 1_000
z = line[line.abs() < 12]
p_z = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
x_of_z = torch.sinh(torch.asinh(z) / TRUE_B)
data_sets = torch.sinh(torch.asinh(torch.randn(P.num_fits, SIZE)) / TRUE_B)
predicted, fitted = {}, {}
for method in ("maximum likelihood", "score matching"):
    first, second = derivatives_in_b(method, x_of_z, torch.full_like(z, TRUE_B))
    predicted[method] = integral(p_z * first**2) / integral(p_z * second) ** 2
    b = torch.full((P.num_fits, 1), TRUE_B)
    for _ in range(6):  # Newton's method, for all data sets at once
        first, second = derivatives_in_b(method, data_sets, b.expand_as(data_sets))
        b = b - first.mean(1, keepdim=True) / second.mean(1, keepdim=True)
    fitted[method] = b[:, 0]
    print(f"{method}: n times the variance of b, predicted {predicted[method]:.3f}")

# %% tags=["check"]
by_library = torch.distributions.Normal(0.0, 1.0).log_prob(z)
u = x_of_z.clone().requires_grad_(True)
z_of_x = torch.sinh(TRUE_B * torch.asinh(u))
checks.close(
    "density of the flow, against the change of variables by autograd",
    flow_log_prob(x_of_z, torch.full_like(z, TRUE_B)),
    by_library + derivative(z_of_x, u).log().detach(),
    atol=1e-10,
)
for method, b in fitted.items():
    # The next order in 1 / n is some per cent, below the error of a few hundred fits.
    checks.unbiased(
        f"{method}: n times the squared error of b",
        SIZE * (b - TRUE_B) ** 2,
        predicted[method],
    )
checks.ordered("n times the variance of b", predicted)

# %% [markdown]
r"""
## What the divergence costs

```{margin}
**A common mistake:** "score matching needs the Hessian".
It needs the trace of it; the trouble is that automatic differentiation gives no trace without the rows.
```

**The trace of the Jacobian takes as many backward passes as there are dimensions; a random direction takes one.**
For any $v$ with $\mathbb{E}[v v^\top] = I$

$$
\mathbb{E}_v\, \bigl[ v^\top J\, v \bigr] = \mathrm{tr}\, \bigl( J\, \mathbb{E}[v v^\top] \bigr) = \mathrm{tr}\, J ,
$$ (eq-sm-trace)

and $v^\top J = \nabla_x (v \cdot s)$ is the gradient of one number.
Look at both scores along $v$ only, and the Fisher divergence is the *sliced* one {cite:p}`song2020sliced`,

$$
\begin{aligned}
F &= \tfrac{1}{2}\, \mathbb{E}_{x, v} \bigl[ (v \cdot s_\theta - v \cdot s_\text{data})^2 \bigr] , \\
\mathcal{L}(\theta) &= \mathbb{E}_{x, v} \bigl[ \tfrac{1}{2} (v \cdot s_\theta)^2 + v^\top J\, v \bigr] ,
\end{aligned}
$$ (eq-sm-sliced)

the same numbers as before, because $\mathbb{E}_v (v \cdot s)^2 = |s|^2$.
Since $|s|^2$ costs nothing, we put it in place of $(v \cdot s)^2$, as in the form of the same paper "with variance reduction".
The price of a random direction is variance.
Only the symmetric part $S = \frac{1}{2} (J + J^\top)$ enters $v^\top J v$, and

$$
\begin{aligned}
\mathrm{Var} &= 2 \sum_{i, j} S_{ij}^2 && v \text{ normal}, \\
\mathrm{Var} &= 2 \sum_{i \ne j} S_{ij}^2 && v_i = \pm 1 .
\end{aligned}
$$ (eq-sm-trace-variance)

Random signs are never worse, and exact if $S$ is diagonal.

```{margin}
**A common mistake:** "sliced score matching solves a problem in one dimension".
The score keeps all its dimensions; it is only looked at along one direction at a time.
```
"""


# %%
def sliced_divergence(score, x, v):
    """v^T J v at each row of x: one backward pass."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        (pulled,) = torch.autograd.grad((v * score(x)).sum(), x, create_graph=True)
    return (pulled * v).sum(1)


# %%
def sliced_loss(score, x, v):
    return 0.5 * score(x).square().sum(1) + sliced_divergence(score, x, v)


def small_network(dim, hidden_dim=64):
    layers = nn.Linear(dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, dim)
    return nn.Sequential(*layers).requires_grad_(False)


free = small_network(6)
spot = torch.randn(6)
J = torch.func.jacrev(free)(spot)
S = (J + J.T) / 2
many = spot.expand(P.num_draws, 6)
normal_v = torch.randn_like(many)
sign_v = torch.randint(0, 2, many.shape) * 2.0 - 1.0

# %% tags=["check"]
variances = {"normal": 2 * S.square().sum()}
variances["signs"] = variances["normal"] - 2 * S.diagonal().square().sum()
for name, v in (("normal", normal_v), ("signs", sign_v)):
    estimates = sliced_divergence(free, many, v).detach()
    checks.unbiased(f"{name}: v^T J v", estimates, J.trace())
    checks.unbiased(
        f"{name}: variance", (estimates - J.trace()).square(), variances[name]
    )
checks.close(
    "divergence, 6 passes", divergence(free, spot[None])[0], J.trace(), atol=1e-12
)
few = mixture.sample(P.num_draws)
v = torch.randn_like(few)
wider = mixture.diffused(1.0, 1.0).score  # a wrong model of the mixture
gap = wider(few) - mixture.score(few)
checks.unbiased(
    "sliced Fisher divergence, minus the whole",
    ((v * gap).sum(1).square() - gap.square().sum(1)) / 2,
    0.0,
)
along = 0.5 * (v * wider(few)).sum(1).square() + sliced_divergence(wider, few, v)
checks.unbiased(
    "sliced loss, both terms along v, minus L",
    (along - implicit_loss(wider, few)).detach(),
    0.0,
)
s = MODELS["quartic"]
checks.close(
    "on a line with signs the slice is the whole",
    sliced_loss(s, draws, torch.ones_like(draws)),
    implicit_loss(s, draws),
    atol=1e-12,
)

# %% [markdown]
r"""
```{margin}
**In the sources.** CS236 notes, *Score based (diffusion) models*: Jacobians, and sliced score matching.
```

How much dearer is exact?
The clock is no check: times depend on the machine.
At the left end of {numref}`fig-sm-cost` both lines show what a call costs before it computes anything.
To the right the exact divergence should take $d$ times as long as the sliced one: a slope greater by one.
Both bend upwards at the end, because a pass through a wider network takes longer too.
"""

# %%
dims = (2, 8, 32, 128) if run.profile == "smoke" else (2, 8, 32, 128, 512)


def milliseconds(work, *arguments):
    """Of the fastest of four calls: others may use the machine too."""
    times = []
    for _ in range(4):
        started = time.perf_counter()
        work(*arguments)
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


cost = {"exact, d passes": [], "sliced, one pass": []}
for dim in dims:
    wide, x = small_network(dim), torch.randn(32, dim)
    cost["exact, d passes"].append(milliseconds(divergence, wide, x))
    cost["sliced, one pass"].append(milliseconds(sliced_divergence, wide, x, x))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Time for the divergence of a network at 32 points, against the number of dimensions, as measured in this run.", "name": "fig-sm-cost"}, "image": {"alt": "Two lines on logarithmic axes. The exact divergence rises steeply and ever more so with the number of dimensions; the sliced one is nearly level at first and rises a little at the end."}}
fig, ax = plt.subplots()
for name, values in cost.items():
    ax.loglog(dims, values, "o-", label=name)
ax.set(xlabel="dimensions d", ylabel="time (ms)", xticks=dims, xticklabels=dims)
_ = ax.legend()

# %% [markdown]
r"""
## Denoising score matching

```{margin}
**In the sources.** CS236 notes, *Score based (diffusion) models*: denoising score matching.
```

**Add noise to a datum and predict the noise: on average this is the score of the noisy density, and no derivative of the network in $x$ is needed {cite:p}`vincent2011`.**
Let $\tilde x = x + \sigma \epsilon$, with the density

$$
p_\sigma(\tilde x) = \int p(x)\, N(\tilde x; x, \sigma^2 I)\, \mathrm{d}x .
$$

The score of the kernel is known,

$$
\nabla_{\tilde x} \log N(\tilde x; x, \sigma^2 I) = -\frac{\tilde x - x}{\sigma^2} = -\frac{\epsilon}{\sigma} .
$$

Its mean over the $x$ that may have led to $\tilde x$ is the score that we want.
Write $\nabla N = N\, \nabla \log N$; then $p(x)\, N / p_\sigma(\tilde x)$ is the density of $x$ given $\tilde x$:

$$
\begin{aligned}
\nabla \log p_\sigma(\tilde x) &= \frac{1}{p_\sigma(\tilde x)} \int p(x)\, \nabla_{\tilde x} N(\tilde x; x, \sigma^2 I)\, \mathrm{d}x \\
&= \mathbb{E} \Bigl[ -\frac{\epsilon}{\sigma} \,\Big|\, \tilde x \Bigr] .
\end{aligned}
$$ (eq-sm-conditional)

A least-squares fit learns a conditional mean.
So in

$$
\begin{aligned}
\mathcal{L}_\sigma(\theta) &= \tfrac{1}{2}\, \mathbb{E}_{x, \epsilon} \Bigl| s_\theta(x + \sigma \epsilon) + \frac{\epsilon}{\sigma} \Bigr|^2 \\
&= F(p_\sigma \,\Vert\, p_\theta) + \underbrace{\tfrac{1}{2} \Bigl( \frac{d}{\sigma^2} - \mathbb{E}_{p_\sigma} |s_\sigma|^2 \Bigr)}_{\text{floor, without } \theta}
\end{aligned}
$$ (eq-sm-denoising)

the cross terms of both squares agree by {eq}`eq-sm-conditional`, and what is left is the mean square of the target minus that of its conditional mean.
Here $F(p_\sigma \,\Vert\, p_\theta)$ is written for a model with a density; only its score enters, and any field $s_\theta$ may stand there.

```{margin}
**A common mistake:** "one fits data plus noise instead of data, which is good enough for small noise".
What is learned is exactly $\nabla \log p_\sigma$; and small noise is where the target is worst.
```
"""


# %%
def dsm_objective(score, data, std):
    """The denoising loss by quadrature over x and noise, for data on the line."""
    x, noise = torch.linspace(-7, 7, 281), torch.linspace(-9, 9, 181)
    p_x = torch.softmax(data.log_prob(x[:, None]), 0)
    p_noise = torch.softmax(-0.5 * noise**2, 0)
    noisy = x[:, None] + std * noise
    error = (score(noisy) + noise / std).square()
    return 0.5 * (p_x @ error @ p_noise).item()


def dsm_floor(data, std):
    """What no score can go below."""
    blurred, x = data.diffused(1.0, std), (1 + std) * line[:, None]
    square = blurred.score(x).square().sum(1)
    mean_square = (1 + std) * integral(blurred.log_prob(x).exp() * square)
    return 0.5 * (1 / std**2 - mean_square)


def on_line(density):
    """Its score as a function of arrays of any shape."""
    return lambda x: density.score(x.reshape(-1, 1)).reshape(x.shape)


# %% tags=["check"]
for std in (0.3, 1.0):
    blurred = wells.diffused(1.0, std)
    p_blurred = blurred.log_prob(line[:, None]).exp()
    s_blurred = blurred.score(line[:, None])[:, 0]
    for name, s in MODELS.items():
        distance = 0.5 * integral(p_blurred * (s(line) - s_blurred) ** 2)
        checks.close(
            f"noise {std}, {name}: loss - F(p_sigma)",
            dsm_objective(s, wells, std) - distance,
            dsm_floor(wells, std),
            atol=1e-9,
        )
    best = dsm_objective(on_line(blurred), wells, std)
    checks.close(
        f"noise {std}: loss of the score of p_sigma is the floor",
        best,
        dsm_floor(wells, std),
        atol=1e-9,
    )
    of_p = dsm_objective(on_line(wells), wells, std)
    checks.at_least(f"noise {std}: loss of the score of p, above it", of_p - best, 0.01)

# %% [markdown]
r"""
For data from $N(0, 1)$ the score of $p_\sigma$ is $-\tilde x / (1 + \sigma^2)$, and the floor is

$$
\frac{1}{2} \Bigl( \frac{1}{\sigma^2} - \frac{1}{1 + \sigma^2} \Bigr) .
$$

It grows without limit as $\sigma \to 0$ ({numref}`fig-sm-floor`): the target $-\epsilon/\sigma$ is then nearly all noise, and a batch says little about its mean.
A loss over many $\sigma$ would be a loss of the smallest one.
With the weight $\lambda(\sigma) = \sigma^2$ the target has the size one at every scale: $\sigma s_\theta$ predicts $-\epsilon$,

$$
\sigma^2 \cdot \tfrac{1}{2} \Bigl| s_\theta + \frac{\epsilon}{\sigma} \Bigr|^2 = \tfrac{1}{2} \bigl| \sigma s_\theta + \epsilon \bigr|^2 ,
$$ (eq-sm-weight)

and the floor is at most $d/2$.
"""

# %%
sigmas = torch.logspace(-2, 1, 40).tolist()
floors = torch.tensor([dsm_floor(unit, std) for std in sigmas])

# %% tags=["check"]
closed_form = torch.tensor([0.5 * (1 / s**2 - 1 / (1 + s**2)) for s in sigmas])
checks.close("floor for N(0, 1), 40 scales", floors, closed_form, rtol=1e-8)
checks.close("floor at sigma = 0.5", dsm_floor(unit, 0.5), 1.6, atol=1e-9)
checks.close("floor at sigma = 0.01", dsm_floor(unit, 0.01), 4999.50005, rtol=1e-8)
weighted = torch.tensor(sigmas) ** 2 * floors
checks.close("weighted floor at sigma = 1", dsm_floor(unit, 1.0), 0.25, atol=1e-9)
checks.at_most("weighted floor, all scales", weighted, 0.5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The part of the denoising loss that nothing can remove, for data from N(0, 1), without and with the weight $\\sigma^2$.", "name": "fig-sm-floor"}, "image": {"alt": "On logarithmic axes the unweighted floor falls in a straight line from five thousand at sigma 0.01 to below one at sigma one and further. The weighted one is level at one half, bends down from about 0.3 on and is half as high at one."}}
fig, ax = plt.subplots()
ax.loglog(sigmas, floors, label="floor")
ax.loglog(sigmas, weighted, label=r"floor times $\sigma^2$")
plotting.reference_line(ax, 0.5, "1/2")
ax.set(xlabel=r"size of the noise $\sigma$", ylabel="floor of the loss")
_ = ax.legend()

# %% [markdown]
r"""
## Tweedie's formula

**The score of the noisy density is the best denoiser.**
Since $x = \tilde x - \sigma \epsilon$, equation {eq}`eq-sm-conditional` read for $x$ says {cite:p}`efron2011`

$$
\mathbb{E} [x \mid \tilde x] = \tilde x + \sigma^2\, \nabla \log p_\sigma(\tilde x) .
$$ (eq-sm-tweedie)

No prior stands on the right: whoever has many noisy measurements knows $p_\sigma$, and thereby the posterior mean of each, without ever having seen a clean one ({numref}`fig-sm-tweedie`).
"""


# %%
def posterior_moment(data, noisy, std, power):
    """E[x^power | noisy], by Bayes' rule and quadrature."""
    log_joint = data.log_prob(line[:, None]) - (noisy[:, None] - line) ** 2 / (
        2 * std**2
    )
    return torch.softmax(log_joint, 1) @ line**power


measured = torch.linspace(-5, 5, 201)
denoised = {}
for std in (0.3, 1.0, 3.0):
    s_noisy = wells.diffused(1.0, std).score(measured[:, None])[:, 0]
    denoised[std] = measured + std**2 * s_noisy

# %% tags=["check"]
for std, values in denoised.items():
    checks.close(
        f"noise {std}: Tweedie, against the posterior mean",
        values,
        posterior_moment(wells, measured, std, 1),
        atol=1e-8,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Posterior mean of a datum from two wells, given the noisy value, for three sizes of the noise. The wells stand at -1.5 with weight 0.8 and at 1.5 with weight 0.2, both of width 0.6. Without noise it would be the diagonal; with much noise it is near the mean of the data, -0.9.", "name": "fig-sm-tweedie"}, "image": {"alt": "Three rising curves. With noise 0.3 the curve is steepest between the wells and crosses the diagonal there; further out it rises a little less steeply than the diagonal and leaves it on both sides. With noise 1 it goes from well to well and rises slowly outside. With noise 3 it is the flattest, from below minus one to just above zero."}}
fig, ax = plt.subplots()
for std, values in denoised.items():
    ax.plot(measured, values, label=rf"$\sigma$ = {std}")
ax.plot(measured, measured, "k--", linewidth=1, label="diagonal")
ax.set(
    xlabel=r"measured $\tilde x$", ylabel=r"$\mathrm{E}[x \mid \tilde x]$", ylim=(-4, 4)
)
_ = ax.legend()

# %% [markdown]
r"""
A denoised sample is not a sample.
Of data from $N(0, 1)$ the noisy values have the variance $1 + \sigma^2$, and their posterior means have $1 / (1 + \sigma^2)$: too wide before, too narrow after.
So "sample from $p_\sigma$ and denoise afterwards" needs a $\sigma$ that is small against the structure of the data.
"""

# %% tags=["check"]
std = 0.8
noisy = torch.randn(P.num_draws) + std * torch.randn(P.num_draws)
clean = noisy + std**2 * unit.diffused(1.0, std).score(noisy[:, None])[:, 0]
checks.unbiased("variance of the noisy values", noisy**2, 1 + std**2)
checks.unbiased("variance of the denoised values", clean**2, 1 / (1 + std**2))

# %% [markdown]
r"""
## A network that learns the score

**The network sees a noisy point and the size of the noise, and predicts minus the noise over $\sigma$.**
The input is scaled to a size of order one, the output divided by $\sigma$, so that the layers in between work with numbers of order one at all scales.
With one scale in the list this is denoising score matching; with many it is the *noise-conditional score network* of {cite:t}`song2019`.
"""


# %%
class ScoreNetwork(nn.Module):
    def __init__(self, dim, hidden_dim=128, data_size=4.0):
        super().__init__()
        self.data_size = data_size
        self.layers = nn.Sequential(
            *(nn.Linear(dim + 1, hidden_dim), nn.SiLU()),
            *(nn.Linear(hidden_dim, hidden_dim), nn.SiLU()),
            *(nn.Linear(hidden_dim, hidden_dim), nn.SiLU()),
            nn.Linear(hidden_dim, dim),
        )

    def forward(self, x, std):
        std = torch.as_tensor(std, dtype=x.dtype, device=x.device).expand(len(x), 1)
        scaled = x / (self.data_size**2 + std**2).sqrt()
        return self.layers(torch.cat([scaled, std.log()], 1)) / std


def dsm_loss(score, x, std, noise):
    """|sigma s(x + sigma noise, sigma) + noise|^2 / 2, one number per example."""
    return 0.5 * (std * score(x + std * noise, std) + noise).square().sum(1)


# %%
def train(
    network,
    loss_of,
    data,
    stds,
    num_steps,
    *,
    batch_size=512,
    rate=2e-3,
    optimiser=None,
    done=0,
):
    """Yields the mean loss of each batch; the rate falls to zero."""
    optimiser = optimiser or torch.optim.Adam(network.parameters())
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / num_steps)
        rows = torch.randint(len(data), (batch_size,), device=data.device)
        scale = torch.randint(len(stds), (batch_size, 1), device=data.device)
        noise = torch.randn_like(data[rows])
        loss = loss_of(network, data[rows], stds[scale], noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()


# %% [markdown]
r"""
Before it trains anything, the loop is watched: what it hands to the loss, and its learning rate.
Where the gradient is always one, a step of Adam is minus the rate, so that the weight itself tells it.
"""

# %% tags=["check"]
seen_by_loss = []


def watching_loss(network, x, std, noise):
    seen_by_loss.append((network.weight.item(), x, std, noise))
    return network.weight * torch.ones(len(x))


lever = nn.Linear(1, 1, bias=False)
rows, three = torch.randn(50, 3), torch.tensor([4.0, 2.0, 1.0])
for _ in train(lever, watching_loss, rows, three, 4, batch_size=3_000):
    pass
weights_seen, x, std, noise = zip(*seen_by_loss, strict=True)
x, std, noise = torch.cat(x), torch.cat(std), torch.cat(noise)
checks.close(
    "training: every x is a datum", torch.cdist(x, rows).amin(1).max(), 0, atol=1e-6
)
as_often = torch.full((3,), 1 / 3)
checks.unbiased("training: scales equally often", (std == three) * 1.0, as_often)
checks.unbiased("training: mean of the noise", noise, torch.zeros(3))
checks.unbiased(
    "training: its covariance", noise[:, :, None] * noise[:, None], torch.eye(3)
)
checks.close(
    "training: learning rate of the first steps of four",
    [a - b for a, b in pairwise(weights_seen)],
    [2e-3, 1.5e-3, 1e-3],
    rtol=1e-6,
)

# %% tags=["check"]
constant = ScoreNetwork(2).requires_grad_(False)
constant.layers[-1].weight.zero_()
constant.layers[-1].bias.fill_(1.0)
stds = torch.tensor([[0.5], [4.0]])
checks.close(
    "network: what the layers return is divided by sigma",
    constant(torch.randn(2, 2), stds),
    (1 / stds).expand(2, 2),
    atol=1e-12,
)

# %% [markdown]
r"""
The first network knows one scale, $\sigma = 0.4$, which blurs the clouds of {numref}`fig-sm-problem` only a little: their width grows from 1 to 1.08.
The floor of its loss is known, since the score of the blurred mixture is.
The two coordinates are independent: the first is a mixture on the line, the second is $N(0, 1)$.
"""

# %%
SMALL = 0.4
data = mixture.sample(P.num_data).to(run.device, torch.float32)
across = two_modes(0.8, 4.0)  # the law of the first coordinate


def weighted_floor(std):
    """The lowest mean of `dsm_loss` at one scale."""
    return std**2 * (dsm_floor(across, std) + dsm_floor(unit, std))


def exact_score(x, std):
    return mixture.diffused(1.0, float(std)).score(x)


# %%
def trained(stds, num_steps, loss_of=dsm_loss, checkpoints=None):
    network = ScoreNetwork(2).to(run.device, torch.float32)
    scales = torch.tensor(stds, device=run.device, dtype=torch.float32)
    settings, losses = dict(optimiser=torch.optim.Adam(network.parameters())), []
    steps = resumed(
        checkpoints,
        "score network",
        num_steps,
        dict(network=network, losses=losses, **settings),
        lambda done: train(
            network, loss_of, data, scales, num_steps, done=done, **settings
        ),
    )
    for loss in steps:
        losses.append(loss)
    return network.requires_grad_(False), losses


started = time.perf_counter()
single, _ = trained([SMALL], P.single_steps)
denoising_seconds = time.perf_counter() - started


@torch.no_grad()
def learned(network, x, std):
    """The network's score for points in double precision on the CPU."""
    return network(x.to(run.device, torch.float32), std).cpu().double()


# %%
test = mixture.sample(P.num_draws)  # new points, and their noise
noise = torch.randn_like(test)
noisy = test + SMALL * noise

# %% tags=["check"]
for std in (SMALL, 3.0):
    checks.unbiased(
        f"noise {std}: loss of the exact score, against the floor",
        dsm_loss(exact_score, test, std, noise),
        weighted_floor(std),
    )
excess = dsm_loss(
    lambda x, std: learned(single, x, std), test, SMALL, noise
) - dsm_loss(exact_score, test, SMALL, noise)
gap = learned(single, noisy, SMALL) - exact_score(noisy, SMALL)
distance = 0.5 * SMALL**2 * gap.square().sum(1)
checks.unbiased(
    "loss of the network above that of the exact score, minus its Fisher divergence",
    excess - distance,
    0.0,
)
if run.profile != "smoke":
    # The score 0 has the loss 1, so that 1 - floor is all that can be learned.
    missing = distance.mean() / (1 - weighted_floor(SMALL))
    checks.at_most("share of the score that is not learned", missing, 0.03)
    gap = mixture.score(noisy) - exact_score(noisy, SMALL)
    of_p = 0.5 * SMALL**2 * gap.square().sum(1).mean()
    checks.at_most("nearer than the score of p", distance.mean(), of_p)

# %% [markdown]
r"""
Sliced score matching on the noisy points learns the same field without being told which noise was added: {eq}`eq-sm-denoising` and {eq}`eq-sm-implicit` are the same Fisher divergence but for a constant.
Its loss needs a gradient in $x$ inside the gradient in $\theta$.
The minimum of the weighted loss is known here too: it is

$$
-\tfrac{1}{2}\, \sigma^2\, \mathbb{E} |s_\sigma|^2 ,
$$

which by {eq}`eq-sm-denoising` is the weighted floor minus $d/2$.
Both losses are noisy: by the target $-\epsilon/\sigma$ in one, by the slices, {eq}`eq-sm-trace-variance`, in the other.
One run of each, as here, does not say which comes nearer in the same number of steps.
It does say what the second gradient costs: the times are those of this run.
"""


# %%
def noisy_sliced_loss(score, x, std, noise):
    """sigma^2 times the sliced loss at x + sigma noise, one number per example."""
    noisy = x + std * noise
    signs = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1
    loss = sliced_loss(lambda y: score(y, std), noisy, signs)
    return torch.as_tensor(std).reshape(-1) ** 2 * loss


started = time.perf_counter()
by_slices, _ = trained([SMALL], P.single_steps, noisy_sliced_loss)
sliced_seconds = time.perf_counter() - started
print(f"training, denoising: {denoising_seconds:.1f} s")
print(f"training, sliced:    {sliced_seconds:.1f} s")
gap = learned(by_slices, noisy, SMALL) - exact_score(noisy, SMALL)
sliced_distance = 0.5 * SMALL**2 * gap.square().sum(1)
print(f"sigma^2 times Fisher divergence, denoising: {distance.mean():.5f}")
print(f"sigma^2 times Fisher divergence, sliced:    {sliced_distance.mean():.5f}")

# %% tags=["check"]
checks.unbiased(
    "sliced loss of the exact score, against weighted floor - d / 2",
    noisy_sliced_loss(exact_score, test, SMALL, noise).detach(),
    weighted_floor(SMALL) - 1.0,
)
if run.profile != "smoke":
    missing = sliced_distance.mean() / (1 - weighted_floor(SMALL))
    checks.at_most("sliced: share of the score not learned", missing, 0.03)

# %% [markdown]
r"""
## Which vector fields are scores

```{margin}
**In the sources.** CS236 notes, *Score based (diffusion) models*: an open point about constraints.
```

**A network can return any vectors; the gradient of a log-density cannot be any field.**
A field $s_\theta$ that is fitted by the Fisher divergence is called a *score-based model*; models with a density are such models too, through the gradient of it, but not every field is the gradient of something.
Five conditions, each with a check on this page:

1. it is *conservative*: $\partial_i s_j = \partial_j s_i$, a symmetric Jacobian, no curl;
2. it points *inward* strongly enough: $\int e^f$ must be finite;
3. at a *boundary* $p_\text{data}\, s_\theta$ must vanish, or {eq}`eq-sm-implicit` has another term;
4. the *support* must be connected, or the weights of its pieces are lost;
5. the data must fill the space: on a *manifold* there is no density, and no score.

*Not* needed are positivity and a normaliser, since $e^f$ is positive and $Z$ drops out.

```{margin}
**A common mistake:** "unlike a density, a score need not satisfy any constraint".
It need not be positive or normalised; it must be a gradient, and of the right kind.
```

Conditions 3 and 4 are shown above, with the waiting times and with {numref}`fig-sm-blind`; 1, 2 and 5 follow.
That no normaliser is needed is shown above too: the score of $f$ alone was that of the normalised density.
To these comes one of economy: $s_\theta$, and for {eq}`eq-sm-implicit` its divergence, must be cheap.

**The curl.**
An antisymmetric matrix $A$ turns a score into a field without sources: for any $p$

$$
\nabla \cdot (p\, A s) = p\, \bigl( \mathrm{tr}(A\, \nabla s) + s \cdot A s \bigr) = 0 ,
$$ (eq-sm-solenoidal)

because $\nabla s$ is symmetric and $A$ antisymmetric ({numref}`fig-sm-rotation`).
So the field $s + \gamma A s$, with any number $\gamma$, leaves $p$ stationary under Langevin motion, and is no score.
Every objective above sees it: $\mathcal{L}$ grows by $\frac{1}{2} \gamma^2\, \mathbb{E} |A s|^2$.
The checks of this cell take $\gamma = 1$.
"""


# %%
def rows_of_jacobian(score, x):
    """J[n, i, j] = d s_i / d x_j at each row of x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        s = score(x)
        rows = [
            torch.autograd.grad(s[:, i].sum(), x, retain_graph=True)[0]
            for i in range(x.shape[1])
        ]
    return torch.stack(rows, 1)


def curl(score, x):
    """d s_2 / d x_1 - d s_1 / d x_2, in the plane."""
    J = rows_of_jacobian(score, x)
    return J[:, 1, 0] - J[:, 0, 1]


TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])


def turned(x):
    """A s of the mixture: the score, turned by 90 degrees."""
    return mixture.score(x) @ TURN.T


def with_turn(x):
    return mixture.score(x) + turned(x)


fine = plane(12.0, 8.0, 301)
mass = torch.softmax(mixture.log_prob(fine), 0)  # of each grid point

# %% tags=["check"]
checks.close(
    "curl of the score", curl(mixture.score, points), torch.zeros(200), atol=1e-12
)
checks.at_least("curl of s + A s, largest", curl(with_turn, points).abs().max(), 0.1)
checks.close(
    "sources of p A s, over p",
    divergence(turned, points) + (turned(points) * mixture.score(points)).sum(1),
    torch.zeros(200),
    atol=1e-12,
)
change = implicit_loss(with_turn, fine) - implicit_loss(mixture.score, fine)
checks.close(
    "L(s + A s) - L(s)",
    mass @ change.detach(),
    0.5 * mass @ turned(fine).square().sum(1),
    atol=1e-9,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the score of a Gaussian cloud. Right: the same arrows turned by 90 degrees. They move points around on lines of equal density and change no density.", "name": "fig-sm-rotation"}, "image": {"alt": "Two panels with circles of equal density. On the left arrows point inward from all sides. On the right arrows of the same lengths run around the circles."}}
fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.6), sharey=True)
spots = torch.cartesian_prod(torch.linspace(-2, 2, 9), torch.linspace(-2, 2, 9))
for ax, field in zip(axes, (-spots, -spots @ TURN.T), strict=True):
    for radius in (0.7, 1.4, 2.1):
        ax.add_patch(
            plt.Circle((0, 0), radius, fill=False, color="grey", linewidth=0.7)
        )
    ax.quiver(*spots.T, *field.T, color=plotting.COLOURS[1], width=0.006, scale=28)
    ax.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xlabel="$x_1$")
_ = axes[0].set(ylabel="$x_2$")

# %% [markdown]
r"""
A chain with the turned field on $N(0, I)$, in the plane with $A$ the turn by 90 degrees, is $x \to B x + \sqrt{2 \eta}\, \xi$ with $B = I - \eta (I + \gamma A)$.
Because $A = -A^\top$ and $A A^\top = I$,

$$
B B^\top = \bigl( (1 - \eta)^2 + \eta^2 \gamma^2 \bigr)\, I .
$$

A variance $v$ becomes $v\, ((1 - \eta)^2 + \eta^2 \gamma^2) + 2 \eta$ in a step.
For $\eta\, (1 + \gamma^2) < 2$ the factor is below one, the chain is stable, and the variance that a step leaves as it is becomes

$$
v = \frac{2}{2 - \eta\, (1 + \gamma^2)} ,
$$ (eq-sm-turned-variance)

which tends to 1 with $\eta \to 0$ for every $\gamma$: a stirred cup has the same equilibrium.
"""

# %% tags=["check"]
eta, gamma = 0.05, 2.0
chain = langevin(torch.randn(P.num_exact, 2), lambda x: -x - gamma * x @ TURN.T, eta)
x = next(islice(chain, 200, None))
variance = 2 / (2 - eta * (1 + gamma**2))
checks.unbiased(
    "second moments of the stirred chain",
    x[:, :, None] * x[:, None],
    variance * torch.eye(2),
)

# %% [markdown]
r"""
A free network has some curl, trained or not.
The gradient of a network with one output has none, by construction: $s_\theta = \nabla f_\theta$, at the price of one more backward pass in each step of training and of sampling.
Most programs live with the curl, which is small where there are data, and larger elsewhere ({numref}`fig-sm-curl`).
"""

# %%
potential = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 1))


def gradient_field(x):
    """The gradient of a network with one output, with a graph."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_(True)
        return torch.autograd.grad(potential(x).sum(), x, create_graph=True)[0]


def single_field(x):
    return single(x.float().to(run.device), SMALL)  # a gradient goes back the same way


untrained = small_network(2)
where = plane(8.0, 4.0, 81)
curl_map = curl(single_field, where).cpu().double()

# %% tags=["check"]
stray = curl(gradient_field, points)
checks.close("curl of a gradient network", stray, torch.zeros(200), atol=1e-12)
J = rows_of_jacobian(gradient_field, points)
checks.at_least("while its Jacobian is not zero", J.abs().max(), 1e-2)
checks.at_least("curl of a free network", curl(untrained, points).abs().max(), 1e-2)
at_data = curl(single_field, noisy[:4_000]).abs().mean()
print(f"trained network, mean size of the curl at noisy data: {at_data:.3f}")
depth = mixture.diffused(1.0, SMALL).log_prob(where)
depth = depth.max() - depth  # nats below the top
centre = rows_of_jacobian(mixture.diffused(1.0, SMALL).score, mixture.means)
checks.close(
    "diagonal of the exact Jacobian in the middle of a cloud",
    centre.diagonal(dim1=1, dim2=2),
    torch.full((2, 2), -0.86),
    atol=5e-3,
)
near, off = (curl_map[part].abs().mean() for part in (depth < 2, depth > 8))
print(f"mean size within 2 nats of the top: {near:.3f}, below 8 nats: {off:.3f}")
if run.profile != "smoke":
    checks.at_most("trained network: curl at noisy data", at_data, 0.1)
    checks.ordered("curl", {"within 2 nats of the top": near, "below 8 nats": off})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Curl of the trained free network, $\\partial_1 s_2 - \\partial_2 s_1$. A score has none. Red: counter-clockwise, blue: clockwise; the strongest hundredth of the map is cut off at the ends of the scale. Lines: the density, a factor of 10 between them. For comparison: the diagonal of the Jacobian is -0.86 in the middle of a cloud.", "name": "fig-sm-curl"}, "image": {"alt": "A coloured map of the plane with contour lines around two clouds. Inside the inner contours the colours are pale. Between the clouds and at the edge of the map there are stronger red and blue patches."}}
fig, ax = plt.subplots(figsize=(7.0, 3.6))
sides = torch.linspace(-8, 8, 81), torch.linspace(-4, 4, 81)
limit = curl_map.abs().quantile(0.99).item()
picture = ax.pcolormesh(
    *sides, curl_map.reshape(81, 81).T, cmap="RdBu_r", vmin=-limit, vmax=limit
)
heights = mixture.diffused(1.0, SMALL).log_prob(where).reshape(81, 81).T
levels = heights.max() - math.log(10) * torch.arange(5, 0, -1)
ax.contour(*sides, heights, levels, colors="black", linewidths=0.7, linestyles="solid")
fig.colorbar(picture, ax=ax, label="curl", shrink=0.7)
_ = ax.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")

# %% [markdown]
r"""
**Inward.**
The field $s = 0$ is a gradient, of $f = 0$, and no density on the line has it.
Langevin motion in it is free diffusion, and its variance grows for ever: $\mathrm{Var} = 2 \eta k$ after $k$ steps.
Pointing inward is not enough, it must be strong enough.
The field $s = -a x / (1 + x^2)$ points inward everywhere, and $e^f = (1 + x^2)^{-a/2}$ has a finite integral only for $a > 1$; for $a = 2$ this is Cauchy's density.

**On a manifold.**
Data on a circle in the plane have no density there.
Blurred they have one, and close to the circle its score falls with the slope $-1/\sigma^2$ across it.
At a distance of the order of $\sigma$, where the blurred data are, the arrows that point back have the length $1/\sigma$, and their mean square is $1/\sigma^2$ for each direction that the data do not fill:

$$
\sigma^2\, \mathbb{E} |s_\sigma|^2 \to d - d_\text{data}
\quad (\sigma \to 0) ,
$$ (eq-sm-codimension)

one for the circle.
A Langevin step multiplies the distance from the circle by $1 - \eta/\sigma^2$, so that steps must shrink as $\sigma^2$: the chain is stable only for $\eta < 2 \sigma^2$.
"""

# %%
angles = 2 * math.pi * torch.arange(400) / 400
ring_points = torch.stack([angles.cos(), angles.sin()], 1)
ring = GaussianMixture(torch.full((400,), 1 / 400), ring_points, 1e-9)
RING_STDS = (1.0, 0.4, 0.2, 0.1, 0.05)


def ring_square(std):
    """E|s_sigma|^2 for data on the circle, by quadrature along one ray."""
    radius = torch.linspace(0, 8, 4_001)
    ray = torch.stack([radius, torch.zeros_like(radius)], 1)
    blurred = ring.diffused(1.0, std)
    weight = 2 * math.pi * radius * blurred.log_prob(ray).exp() * 8 / 4_000
    return weight.sum().item(), (weight @ blurred.score(ray).square().sum(1)).item()


ring_squares = [ring_square(std) for std in RING_STDS]

# %% tags=["check"]
free_walk = next(
    islice(langevin(torch.zeros(P.num_draws), torch.zeros_like, 0.1), 49, None)
)
checks.unbiased("s = 0: variance after 50 steps of 0.1", free_walk**2, 10.0)
far = torch.linspace(-40, 40, 8_001)  # x = sinh(far): reaches 10^17
tail = {a: torch.cosh(far) ** (1 - a) for a in (1, 2)}  # e^f dx
checks.close(
    "a = 2: integral of e^f", torch.trapezoid(tail[2], far), math.pi, atol=1e-9
)
checks.close(
    "a = 1: integral of e^f up to x, still growing as 2 arsinh x",
    torch.trapezoid(tail[1], far),
    2 * far[-1],
    rtol=1e-12,
)
totals = torch.tensor([total for total, _ in ring_squares])
checks.close("mass along the ray times 2 pi r", totals, torch.ones(5), atol=1e-5)
codimension = [
    square * std**2 for (_, square), std in zip(ring_squares, RING_STDS, strict=True)
]
# Curvature corrects this by a term of order sigma^2, 0.0025 at the smallest.
checks.close(
    "sigma^2 E|s|^2 at 0.05: unfilled dimensions", codimension[-1], 1, atol=0.005
)
# Across the circle log p is -(r - 1)^2 / 2 sigma^2 - log(r) / 2, up to higher orders:
# sigma^2 times the slope of the score is -1 + sigma^2 / 2.
std = RING_STDS[-1]
across_ring = rows_of_jacobian(ring.diffused(1.0, std).score, ring_points[:1])[0, 0, 0]
checks.close(
    "sigma^2 times the slope of the score across the circle, at 0.05",
    std**2 * across_ring,
    -1 + std**2 / 2,
    atol=5 * std**4,
)
checks.at_least("sigma^2 E|s|^2 at 1: the circle is not seen", codimension[0], 1.2)

# %% [markdown]
r"""
## Sampling with a learned score

```{margin}
**A common mistake:** "without noise the particles collapse to the mean".
They collapse to modes; the gradient is the direction of steepest ascent, and leads to the maximum of a basin.
```

**Following the score leads to modes; with noise it gives samples.**
Without noise the exact score leads every point to the maximum of its basin, as in [the Langevin lecture](langevin.ipynb).
The learned field moves 500 points that start anywhere ({numref}`fig-sm-sampling`), and it leads at least nine of ten to the same two tops, neither of which is the mean of the data.
With the noise of the Langevin rule, {eq}`eq-sm-langevin`, they form clouds.
Each percentage in the figure is of 500 points, and so has a standard error of about two per cent.
"""


# %%
def uniform_start(num):
    """Anywhere in a square that holds both clouds."""
    return 16 * torch.rand(num, 2) - 8


def heavy(x):
    """1 for particles with x_1 < 0: in the left cloud, once there are clouds."""
    return (x[:, 0] < 0).double()


@torch.no_grad()
def ascend(x, score, step_size, num_steps):
    for _ in range(num_steps):
        x = x + step_size * score(x)
    return x


BUDGET, PLAIN_STEP = 1_000, 0.1
start = uniform_start(500).to(run.device, torch.float32)
climbed = ascend(start, single_field, PLAIN_STEP, 300).cpu()
chain = langevin(start, single_field, PLAIN_STEP)
cloud = next(islice(chain, 300, None)).cpu()

# %% tags=["check"]
tops = ascend(uniform_start(200), mixture.score, PLAIN_STEP, 400)
checks.at_most(
    "exact score: slope where the climb ends", mixture.score(tops).abs(), 1e-9
)
checks.at_most(
    "curvature there, largest eigenvalue",
    torch.linalg.eigvalsh(rows_of_jacobian(mixture.score, tops)),
    -0.9,
)
mean = mixture.weights @ mixture.means
checks.at_least("distance from the mean of the data", (tops - mean).norm(dim=1), 1.5)
to_a_top = torch.cdist(climbed.double(), mixture.means).amin(1)
share = (to_a_top < 0.5).double().mean()
print(f"learned field: share within 0.5 of a top: {share:.3f}")
if run.profile != "smoke":
    checks.at_least("learned field: share within 0.5 of a top", share, 0.9)
    # 0.52 with the exact score, from the grid below; 0.7 is eight standard errors up.
    checks.at_most("Langevin: share on the left", heavy(cloud).mean(), 0.7)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Five hundred points that start anywhere in a square (start), follow the learned score without noise (ascent) or with it (Langevin), and as many data. The percentage is the share in the left half; the left cloud weighs 0.8.", "name": "fig-sm-sampling"}, "image": {"alt": "Four square panels. Start: dots all over the square, about half of them on the left. Ascent: two spots on the left and on the right. Langevin: two round clouds in their places, with about half of the points each. Data: the same two clouds, the left one with four fifths of the points."}}
fig, axes = plt.subplots(2, 2, figsize=(6.0, 6.2), sharex=True, sharey=True)
pictures = {
    "start": start.cpu(),
    "ascent": climbed,
    "Langevin": cloud,
    "data": mixture.sample(500),
}
for ax, (name, x) in zip(axes.flat, pictures.items(), strict=True):
    size = 9 if name == "ascent" else 3
    ax.plot(*x.T, ".", color=plotting.COLOURS[0], markersize=size)
    ax.set(aspect="equal", xlim=(-8.4, 8.4), ylim=(-8.4, 11))
    text = f"{name}: {heavy(x).mean():.0%} left"
    ax.annotate(text, (0.5, 0.91), xycoords="axes fraction", ha="center")
for i in range(2):
    axes[i, 0].set(ylabel="$x_2$")
    _ = axes[1, i].set(xlabel="$x_1$")

# %% [markdown]
r"""
The clouds are right and their weights are not: the share on the left stays far below 0.8.
Langevin with a learned score can fail in three ways.
Of the first we show the error of the field, of the second and the third what it does to a chain.

```{margin}
**In the sources.** CS236 notes, *Generating samples*.
```

**First failure: where there are no data, nothing was learned.**
The loss is a mean over $p_\sigma$; a point that is never visited does not enter.
Its error is larger where the density is low ({numref}`fig-sm-low-density`), and the chain starts just there.
Most of the rise is over where the density is lower by eight nats, and data are already rare; beyond that the curve is nearly flat.
"""

# %%
where = plane(10.0, 6.0, 121)
below = mixture.diffused(1.0, SMALL).log_prob(where)
below = below.max() - below  # nats below the top
field_error = (learned(single, where, SMALL) - exact_score(where, SMALL)).norm(dim=1)
edges = torch.arange(0, 22, 2.0)
typical = torch.stack(
    [field_error[(below >= a) & (below < a + 2)].mean() for a in edges[:-1]]
)
print(
    f"mean error in the first and in the last bin: {typical[0]:.3f}, {typical[-1]:.3f}"
)

# %% tags=["check"]
if run.profile != "smoke":
    far = {"at the top": typical[0], "8 nats below": typical[4]}
    checks.ordered("error of the score", far | {"18 nats below": typical[-1]})
    checks.at_least(
        "error at 18 to 20 nats, over that at the top", typical[-1] / typical[0], 3
    )
    rises = {"from 8 on": typical[-1] / typical[4], "to 8": typical[4] / typical[0]}
    checks.ordered("factor by which the error rises", rises)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Error of the learned score at the points of a grid, 121 by 121 with $x_1$ from -10 to 10 and $x_2$ from -6 to 6, against how far the density there lies below its maximum. They are not samples; the bands in the dots are rows of the grid. Line: mean in bins of two nats.", "name": "fig-sm-low-density"}, "image": {"alt": "A cloud of dots on a logarithmic axis. The error is smallest where the density is high. The mean rises over the first eight nats and only little after that."}}
fig, ax = plt.subplots()
ax.semilogy(below, field_error, ".", color=plotting.COLOURS[5], markersize=1.5)
ax.semilogy(edges[:-1] + 1, typical, "o-", color=plotting.COLOURS[1], label="mean")
ax.set(xlabel=r"$\log p_\sigma$ below its maximum (nats)", ylabel="error of the score")
ax.set(xlim=(0, 20), ylim=(1e-3, 20))
_ = ax.legend(loc="lower right")

# %% [markdown]
r"""
```{margin}
**A common mistake:** "Langevin distributes the points equally between the maxima".
The stationary weights are right; before they are reached the weights are those of the start.
```

**Second failure: the weights of far modes are those of the start.**
This is no fault of learning: the exact score does the same, as the passage times of [the Langevin lecture](langevin.ipynb) say.
Here we want numbers without a simulation.
The first coordinate moves by itself, so that its law on a grid is multiplied by a matrix in each step.
The second eigenvalue $\kappa$ of the matrix gives the time to forget the start, $-1 / \log \kappa$ steps.
With modes at $\pm c$ the density between them is lower by a factor of the order of $e^{c^2/2}$, and the time grows like $e^{c^2/2} / c$.
"""

# %%
grid = torch.linspace(-40, 40, 641)


def step_kernel(std, eta, law=across, x=grid):
    """K[i, j]: one Langevin step of the first coordinate, between the grid points."""
    score = law.diffused(1.0, std).score(x[:, None])[:, 0]
    return torch.softmax(-((x - (x + eta * score)[:, None]) ** 2) / (4 * eta), 1)


def steps_to_forget(centre):
    """For modes at -centre and centre, from the second eigenvalue."""
    x = grid[grid.abs() <= 12]
    K = step_kernel(0.0, PLAIN_STEP, two_modes(0.8, centre), x)
    return -1 / torch.linalg.eigvals(K).abs().sort().values[-2].log().item()


def share_left(law):
    """Probability of x_1 < 0; half of the grid point 0 counts."""
    return (law[grid < 0].sum() + 0.5 * law[grid == 0].sum()).item()


STARTS = {  # laws of the first coordinate
    "uniform": ((grid.abs() <= 8) * 1.0 - (grid.abs() == 8) * 0.5) / 128,
    "all right": torch.softmax(-0.5 * (grid - 4) ** 2, 0),
    "true": torch.softmax(across.log_prob(grid[:, None]), 0),
}
K = step_kernel(0.0, PLAIN_STEP)
plain_shares = {}
for name, law in STARTS.items():
    plain_shares[name] = [share_left(law)]
    for _ in range(BUDGET):
        law = law @ K
        plain_shares[name].append(share_left(law))
settled = torch.linalg.matrix_power(K, 2**20)  # row i: the law after a start at i
HALVES = (2.0, 2.5, 3.0, 3.5, 4.0)
forget = torch.tensor([steps_to_forget(c) for c in HALVES])
print("steps to forget the start:", forget.round().tolist())
print({name: round(shares[-1], 3) for name, shares in plain_shares.items()})

# %%
plain = {
    "uniform": uniform_start(P.num_exact),
    "all right": mixture.means[1] + torch.randn(P.num_exact, 2),
}
for name, x in plain.items():
    plain[name] = next(islice(langevin(x, mixture.score, PLAIN_STEP), BUDGET - 1, None))


def record_share(name, x, protocol):
    """Share of the left cloud, with its binomial standard error."""
    share = heavy(x).mean()
    return run.record(
        name,
        share,
        unit="1",
        standard_error=(share * (1 - share) / len(x)).sqrt(),
        protocol=f"{protocol}, {len(x):,} particles; the true weight is 0.8",
    )


plain_record = {
    "uniform": record_share(
        "plain_mode_weight",
        plain["uniform"],
        f"{BUDGET:,} Langevin steps of {PLAIN_STEP}, exact score, uniform start",
    ),
    "all right": record_share(
        "plain_mode_weight_started_right",
        plain["all right"],
        f"{BUDGET:,} Langevin steps of {PLAIN_STEP}, exact score, all particles start "
        "in the right cloud",
    ),
}

# %% tags=["check"]
checks.close("rows of the kernel", K.sum(1), torch.ones(len(grid)), atol=1e-12)
for name, x in plain.items():
    checks.unbiased(
        f"start {name}: share after {BUDGET} steps", heavy(x), plain_shares[name][-1]
    )
checks.close("start true: share stays", plain_shares["true"][-1], 0.8, atol=0.01)
settled_shares = torch.tensor([share_left(law) for law in settled])
checks.close(
    "after a million steps: the share is the same from every start",
    settled_shares,
    settled_shares[320].expand(641),
    atol=1e-6,
)
# The law that the chain settles to is off by a term of order of the step, see langevin.
checks.close("after a million steps: share", settled_shares[320], 0.8, atol=0.02)
squares = torch.tensor(HALVES).square()
growth = forget.log().diff() / (squares / 2).diff()
checks.at_most("slope of log time against c^2 / 2", growth, 1)
checks.at_least("growth of this slope, towards 1", growth.diff(), 0)
# exp(c^2 / 2) / c has the slope 1 - log(4 / 3.5) / (4^2 / 2 - 3.5^2 / 2).
expected = 1 - math.log(4 / 3.5) / (8 - 3.5**2 / 2)
# Corrections are of the order of 1 / c^2.
checks.close("the last slope", growth[-1], expected, atol=1 / 4**2)
checks.at_least("steps to forget, modes at -4 and 4", forget[-1], 10_000)
checks.at_most("start uniform, after the budget", plain_shares["uniform"][-1], 0.65)

# %% [markdown]
r"""
The particles agree with the matrix.
After a thousand steps the chain that started anywhere is nearly where it began, and the chain that started on the right is still there; only who knew the weights beforehand has them.
After a million steps the start is forgotten; the time to forget is more than ten thousand.

**Third failure: data on a manifold.**
Real data, digits for example, fill few of their dimensions, and {eq}`eq-sm-codimension` applies: without noise the score does not exist, with little noise it is steep, and steps must be tiny.
On the circle, blurred with $\sigma = 0.1$, the limit is $2 \sigma^2 = 0.02$.
With a step of $0.1\, \sigma^2$ the particles stay at a distance of about $\sigma$ from the circle; with the step 0.1 of the plain chain the distance grows about ninefold in every step.
"""

# %% tags=["check"]
std = 0.1
ring_score = ring.diffused(1.0, std).score
on_ring = ring_points + std * torch.randn(400, 2)


def from_circle(x):
    """Root mean square distance from the circle."""
    return (x.norm(dim=1) - 1).square().mean().sqrt()


chain = langevin(on_ring, ring_score, 0.1 * std**2)
# 400 distances: 5 / sqrt(800) = 0.18; the finite step adds 0.025, the curve 0.01.
checks.close(
    "circle, step 0.1 sigma^2: distance after 100 steps, over sigma",
    from_circle(next(islice(chain, 99, None))) / std,
    1.0,
    atol=0.22,
)
chain = langevin(on_ring, ring_score, PLAIN_STEP)
distances = torch.stack([from_circle(x) for x in islice(chain, 5)])
# Far outside the score is that of the nearest point of the circle, 1 - 0.1 / 0.01 = -9.
checks.close(
    "circle, step 0.1: growth of the distance in the fifth step",
    distances[4] / distances[3],
    9.0,
    atol=0.1,
)

# %% [markdown]
r"""
## Noise of many sizes

**Much noise joins the modes, little noise sharpens them; a sequence of scales does both.**
One cure is meant for all three failures {cite:p}`song2019`.
With large $\sigma$ the density $p_\sigma$ covers the plane, so that there are data everywhere; it has a single bump, so that chains mix; and it fills all dimensions.
Learn $\nabla \log p_\sigma$ for scales $\sigma_1 > \dots > \sigma_L$ that fall geometrically,

$$
\frac{\sigma_{i+1}}{\sigma_i} = \text{const} ,
$$ (eq-sm-geometric)

from the size of the data down to the finest structure that one wants to keep.
Geometric, because what must be bridged from one scale to the next is a ratio: the divergence of $N(0, \sigma_i^2)$ from $N(0, \sigma_{i+1}^2)$ depends on nothing else.
{numref}`fig-sm-scales` shows how the two peaks join.
"""

# %%
NUM_SCALES, LARGE = 10, 8.0
STDS = torch.logspace(math.log10(LARGE), math.log10(SMALL), NUM_SCALES).tolist()

# %% tags=["check"]
checks.close("largest and smallest", [STDS[0], STDS[-1]], [LARGE, SMALL], rtol=1e-12)
steps_kl = torch.stack(
    [
        torch.distributions.kl_divergence(
            torch.distributions.Normal(0.0, b), torch.distributions.Normal(0.0, a)
        )
        for a, b in pairwise(STDS)
    ]
)
ratio = (SMALL / LARGE) ** (2 / (NUM_SCALES - 1))
checks.close(
    "KL from scale to scale, the same everywhere",
    steps_kl,
    torch.full((NUM_SCALES - 1,), 0.5 * (ratio - 1 - math.log(ratio))),
    atol=1e-12,
)
widest = across.diffused(1.0, LARGE).score(grid[:, None])[:, 0]
checks.close(
    "at the largest scale: number of maxima",
    ((widest[:-1] > 0) & (widest[1:] <= 0)).sum(),
    1,
)
finest = across.diffused(1.0, SMALL).score(grid[:, None])[:, 0]
checks.close("at the smallest", ((finest[:-1] > 0) & (finest[1:] <= 0)).sum(), 2)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Density of the first coordinate after noise of five of the ten scales, the largest and the smallest among them, each drawn to the same height and shifted upwards: two far modes become one bump.", "name": "fig-sm-scales"}, "image": {"alt": "Five curves above each other. The lowest has a tall peak at minus four and a small separate one at plus four. Higher up the peaks widen and merge; the uppermost is one broad bump."}}
fig, ax = plt.subplots()
wide_line = torch.linspace(-30, 30, 1_201)
for i, std in enumerate(STDS[k] for k in (9, 7, 4, 2, 0)):
    curve = across.diffused(1.0, std).log_prob(wide_line[:, None]).exp()
    ax.fill_between(wide_line, i, i + 0.9 * curve / curve.max(), alpha=0.5)
    ax.annotate(rf"$\sigma$ = {std:.2f}", (18.5, i + 0.3))
_ = ax.set(xlabel="$x_1$", yticks=[], xlim=(-30, 30))

# %% [markdown]
r"""
The network and the loop are those of above, with ten scales in the list and the weight $\sigma^2$ of {eq}`eq-sm-weight` ({numref}`fig-sm-training`).
"""

# %%
network, losses = trained(STDS, P.num_steps, checkpoints=run.checkpoints("scales"))
floor = sum(weighted_floor(std) for std in STDS) / NUM_SCALES

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss of the noise-conditional network during training, means over blocks of steps. Dashed: the floor, known here because the exact scores are.", "name": "fig-sm-training"}, "image": {"alt": "A curve that falls steeply at first and then runs along a dashed horizontal line, fluctuating closely around it."}}
fig, ax = plt.subplots()
block = max(1, len(losses) // 80)
means = torch.tensor(losses)[: len(losses) // block * block].reshape(-1, block).mean(1)
ax.plot(block * (torch.arange(len(means)) + 0.5), means)
plotting.reference_line(ax, floor, "floor", side="left")
ax.set(xlabel="step", ylabel="loss, weighted")
_ = ax.set_ylim(0.9 * floor, floor + 4 * (means[len(means) // 8] - floor).abs() + 0.1)

# %% tags=["check"]
# A score of 0 has the loss E|noise|^2 / 2 = 1.
checks.at_most("loss of the last 50 batches", sum(losses[-50:]) / 50, 0.8)

# %% [markdown]
r"""
The loss tells little, because most of it is floor.
The held-out number is its excess over the loss of the exact score with the same noise, which by {eq}`eq-sm-denoising` is the Fisher divergence times $\sigma^2$, in the mean over the scales.
There is no published number for this toy to set beside it.
The last check is the cure of the first failure: at a uniform start the field of the largest scale errs by less, in units of its noise, than that of the single scale.
"""

# %%
held_out = mixture.sample(P.num_draws)
scale = torch.randint(NUM_SCALES, (len(held_out),))
excess, direct = torch.zeros(len(held_out)), torch.zeros(len(held_out))
for i, std in enumerate(STDS):
    x = held_out[scale == i]
    noise = torch.randn_like(x)
    of_network = dsm_loss(lambda x, std: learned(network, x, std), x, std, noise)
    excess[scale == i] = of_network - dsm_loss(exact_score, x, std, noise)
    gap = learned(network, x + std * noise, std) - exact_score(x + std * noise, std)
    direct[scale == i] = 0.5 * std**2 * gap.square().sum(1)
held_out_excess = run.record(
    "ncsn_heldout_excess_loss",
    excess.mean(),
    unit="1",
    standard_error=excess.std() / len(excess) ** 0.5,
    protocol="weighted denoising loss minus that of the exact score, "
    f"{NUM_SCALES} scales from {LARGE:g} to {SMALL:g}, {P.num_steps:,} steps, "
    f"{len(excess):,} new points",
)

# %% tags=["check"]
checks.unbiased("excess minus sigma^2 times Fisher divergence", excess - direct, 0.0)
if run.profile != "smoke":
    missing = direct.mean() / (1 - floor)
    checks.at_most("all scales: share of the score not learned", missing, 0.03)
    # Where chains start, in units of the noise: sigma times the error of the score.
    anywhere = uniform_start(4_000)
    at_start = {}
    for name, field, std in (
        ("ten scales, at the largest", network, LARGE),
        ("one scale", single, SMALL),
    ):
        error = learned(field, anywhere, std) - exact_score(anywhere, std)
        at_start[name] = std * error.norm(dim=1).mean()
    checks.ordered("error at a uniform start", at_start)

# %% [markdown]
r"""
## Annealed Langevin

**Sample at the largest scale, use the result as the start at the next one, and let the steps shrink with $\sigma^2$:**

$$
\eta_i = \eta_L\, \frac{\sigma_i^2}{\sigma_L^2} .
$$ (eq-sm-annealed)

Two reasons.
The root mean square of a coordinate of the score is at most $1/\sigma_i$, because the floor in {eq}`eq-sm-denoising` is not negative.
The kicks are $\sqrt{2 \eta_i} \propto \sigma_i$, and so the drift $\eta_i s$ is at most in a fixed proportion to them, at every scale.
And no slope of the score is below $-1/\sigma_i^2$ ({ref}`ex-sm-variance`), as steep as across a circle: with $\eta_i < 2 \sigma_i^2$ no step jumps past a maximum and ends further from it than it was.
{cite:t}`song2019` write $\alpha_i$ for our $2 \eta_i$, and their $\epsilon$, which is no noise, is $2 \eta_L$.
"""


# %% tags=["twin:dgm.samplers.annealed_langevin"]
@torch.no_grad()
def annealed_langevin(x, score, stds, *, step_size, num_steps, generator=None):
    for std in stds:
        chain = langevin(
            x,
            lambda x, std=std: score(x, std),
            step_size * (std / stds[-1]) ** 2,
            generator=generator,
        )
        for _ in range(num_steps):
            x = next(chain)
        yield x


# %% tags=["check"]
asked = []


def no_score(x, std):
    asked.append(std)
    return torch.zeros_like(x)


lowest = torch.tensor([weighted_floor(std) for std in STDS])
checks.at_least("weighted floor, ten scales", lowest, 0)
steepest = [
    std**2 * divergence(across.diffused(1.0, std).score, grid[:, None]).min()
    for std in STDS
]
checks.at_least("sigma^2 times the slope, ten scales", torch.stack(steepest), -1)
three = [2.0, 1.0, 0.5]
spread = list(
    annealed_langevin(
        torch.zeros(P.num_draws), no_score, three, step_size=0.01, num_steps=3
    )
)
checks.close(
    "noise scale of each step", asked, [2.0] * 3 + [1.0] * 3 + [0.5] * 3, atol=0.0
)
for x, total in zip(spread, (16, 16 + 4, 16 + 4 + 1), strict=True):
    checks.unbiased("score 0: variance of all kicks so far", x**2, 3 * 0.02 * total)

# %% [markdown]
r"""
Each scale gets a hundred steps, so that the thousand evaluations of the score are as many as the plain chain had.
The last step is $\eta_L = 0.1\, \sigma_L^2 = 0.016$, and by {eq}`eq-sm-annealed` the first is $\eta_1 = 0.1 \cdot 8^2 = 6.4$.
The plain chain has the step 0.1 and could not take the large ones: in $x_2$, where its score is $-x_2$, each step multiplies by $1 - \eta$, and from $\eta = 2$ on that is no contraction.
Below that, a larger step forgets the start sooner and settles to a wrong law.
A check below tries four sizes, up to 1.6: from the uniform start none brings the share of the plain chain above 0.71; with 1.6 both starts are forgotten, and the share is 0.58.

The law of the first coordinate is again exact on the grid.
The second coordinate is Gaussian, with a variance $v$ that follows the recursion

$$
v \;\to\; \Bigl( 1 - \frac{\eta_i}{1 + \sigma_i^2} \Bigr)^2 v + 2 \eta_i ,
$$

because its score is $-x_2 / (1 + \sigma_i^2)$.
So the sampler itself can be checked before the learned score comes in.
"""

# %%
PER_SCALE = BUDGET // NUM_SCALES
LAST_STEP = 0.1 * SMALL**2


ETAS = [LAST_STEP * (std / SMALL) ** 2 for std in STDS]


def annealed_shares(stds, etas, law):
    """Probability of x_1 < 0 after each scale, exact on the grid."""
    shares = []
    for std, eta in zip(stds, etas, strict=True):
        K = step_kernel(std, eta)
        for _ in range(PER_SCALE):
            law = law @ K
        shares.append(share_left(law))
    return shares


exact_shares = annealed_shares(STDS, ETAS, STARTS["uniform"])
from_right = annealed_shares(STDS, ETAS, STARTS["all right"])
# What p_sigma itself has there: each cloud is N(-4 or 4, 1 + sigma^2).
beyond = torch.tensor([4 / math.sqrt(1 + std**2) for std in STDS])
own_shares = 0.2 + 0.6 * torch.special.ndtr(beyond)
print("step sizes:", [round(eta, 3) for eta in ETAS])
print("share of p_sigma:", [round(share, 3) for share in own_shares.tolist()])
print("share of chains: ", [round(share, 3) for share in exact_shares])

# %%
settings = dict(step_size=LAST_STEP, num_steps=PER_SCALE)
exact_states = list(
    annealed_langevin(uniform_start(P.num_exact), exact_score, STDS, **settings)
)
start = uniform_start(P.num_particles).to(run.device, torch.float32)
states = [start, *annealed_langevin(start, network, STDS, **settings)]
states = [x.cpu().double() for x in states]
protocol = (
    f"{NUM_SCALES} noise scales from {LARGE:g} to {SMALL:g}, {PER_SCALE} Langevin "
    f"steps at each, the last of {LAST_STEP:.3g}, uniform start"
)
annealed_exact = record_share(
    "annealed_mode_weight_exact_score", exact_states[-1], f"exact score, {protocol}"
)
annealed = record_share(
    "annealed_mode_weight",
    states[-1],
    f"score learned in {P.num_steps:,} steps from {P.num_data:,} points, {protocol}",
)

# %% tags=["check"]
variance = 64 / 3  # of a uniform number from -8 to 8
for i in range(NUM_SCALES):
    for _ in range(PER_SCALE):
        variance = (1 - ETAS[i] / (1 + STDS[i] ** 2)) ** 2 * variance + 2 * ETAS[i]
    x = exact_states[i]
    name = f"scale {STDS[i]:.2f}"
    checks.unbiased(f"{name}: share, against the grid", heavy(x), exact_shares[i])
    checks.unbiased(f"{name}: variance of x_2", x[:, 1] ** 2, variance)
checks.close("exact score: share at the end", exact_shares[-1], 0.790, atol=5e-4)
checks.close("variance of x_2 at the end", variance, 1.178, atol=5e-4)
checks.close("after Tweedie", variance / (1 + SMALL**2) ** 2, 0.8755, atol=1e-3)
settles_to = 2 * LAST_STEP / (1 - (1 - LAST_STEP / 1.16) ** 2)
checks.close("variance that the last step settles to", settles_to, 1.168, atol=5e-4)
if run.profile != "smoke":
    checks.at_least("annealed Langevin with the learned score", annealed, 0.75)
    checks.at_most("annealed Langevin with the learned score", annealed, 0.85)
    checks.at_least(
        "nearer to 0.8 than the plain chain by", annealed - plain_record["uniform"], 0.1
    )

# %% tags=["check"]
by_scale = torch.tensor(exact_shares)
lag = own_shares - by_scale
checks.at_least("chains: below the share of p_sigma at each scale", lag, 0)
checks.at_most("by at most", lag, 0.01)
checks.at_most("in the first three scales", lag[:3], 0.0065)
checks.at_most("the last five: change of it", lag[5:].diff().abs().max(), 7e-4)
checks.at_least("share from scale 8 to 1.5", by_scale[5] - by_scale[0], 0.15)
checks.at_most("and below", by_scale[-1] - by_scale[5], 0.01)
checks.close("shares after a start on the right", from_right, exact_shares, atol=1e-4)
bolder = {}
for eta in (0.4, 0.8, 1.2, 1.6):
    laws = torch.stack([STARTS["uniform"], STARTS["all right"]])
    kernel = step_kernel(0.0, eta)
    for _ in range(BUDGET):
        laws = laws @ kernel
    bolder[eta] = [share_left(law) for law in laws]
    print(f"plain chain, step {eta}: {bolder[eta][0]:.3f}, {bolder[eta][1]:.3f}")
checks.at_most("plain chain, bolder steps", torch.tensor([*bolder.values()]), 0.71)
checks.close("step 1.6: share from both starts", bolder[1.6], [0.58] * 2, atol=5e-3)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Share with $x_1 < 0$ against the number of evaluations of the score. Lines: exact, on the grid. Steps: the same share of $p_\\sigma$ itself, at the scale that the annealed chain is at. Points: particles with the learned score; error bars of one standard error. Dashed: the weight of the left cloud.", "name": "fig-sm-weights"}, "image": {"alt": "Two lines stay nearly level, one a little above one half and one near zero: plain Langevin from two starts. A third, annealed Langevin, rises from one half in the first few hundred evaluations and ends just below the dashed line at 0.8. It lies barely below a stair of ten steps, the share of the noisy density itself; points with error bars lie along it."}}
fig, ax = plt.subplots()
evaluations = PER_SCALE * torch.arange(NUM_SCALES + 1)
labels = {
    "uniform": "plain, started anywhere",
    "all right": "plain, started on the right",
}
for (name, label), colour in zip(labels.items(), plotting.COLOURS[1:], strict=False):
    ax.plot(plain_shares[name], color=colour, label=label)
ax.stairs(own_shares, evaluations, color="grey", baseline=None, label=r"$p_\sigma$")
ax.plot(evaluations, [plain_shares["uniform"][0], *exact_shares], label="annealed")
shares = torch.stack([heavy(x).mean() for x in states])
errors = (shares * (1 - shares) / P.num_particles).sqrt()
ax.errorbar(
    evaluations, shares, errors, fmt="ko", markersize=4, label="annealed, learned"
)
plotting.reference_line(ax, 0.8, "true weight", side="left")
ax.set(xlabel="evaluations of the score", ylabel="share with $x_1 < 0$", ylim=(0, 1))
_ = ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.3), fontsize=9)

# %% [markdown]
r"""
The weights are repaired; the exact law of the annealed chain, on the grid, ends at 0.790, a hundredth below the truth, since chains and steps are finite.
The chain that is beaten even had the exact score.

Most of the rise in the figure is no slow convergence: the target moves.
With noise of size 8 there is no left cloud yet, and $p_\sigma$ itself has only 0.61 of its mass at $x_1 < 0$; the share of a cloud that is on its own side grows as the noise falls.
The chain follows that share and is at every scale at most a hundredth below it.
The start is forgotten from the first scale on: a chain that starts on the right has the same shares.
Below $\sigma = 1.5$ hardly anything crosses any more: the share changes by less than a hundredth, each cloud only sharpens, and what the chain lacks by then it lacks at the end.

What comes out is a sample of $p_{0.4}$, not of $p$.
The variance of $x_2$ ends at 1.178, where $p$ has 1 and $p_{0.4}$ has 1.16: the finite step makes it 1.168, and the rest is left over from the scale before.
A last step by {eq}`eq-sm-tweedie` would make it too small, 0.875.
{numref}`fig-sm-film` is a film of the particles of this run, not chosen, at the end of each scale.
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Annealed Langevin with the learned score, from a uniform start to two clouds: a thousand of the particles at the end of each noise scale; the share on the left is over all of them. At the largest scale some lie outside the frame.", "name": "fig-sm-film"}}
def frame(x):
    """One picture of the film: the first thousand particles."""
    fig, ax = plt.subplots(figsize=(5.6, 4.2), dpi=80)
    ax.plot(*x[:1_000].T, ".", color=plotting.COLOURS[0], markersize=3)
    ax.set(xlim=(-24, 24), ylim=(-18, 18), xlabel="$x_1$", ylabel="$x_2$")
    text = f"{heavy(x).mean():.0%} left"
    ax.annotate(text, (0.03, 0.92), xycoords="axes fraction")
    return fig


plotting.film(
    (frame(x) for x in states),
    labels=["start", *(f"noise {std:.2f}" for std in STDS)],
    alt="Points that fill a square become one broad cloud, which shrinks, parts into "
    "two round clouds side by side and sharpens; four fifths of the points end on the "
    "left.",
    fps=2,
    width=480,
)

# %% [markdown]
r"""
## A failure on purpose

**Annealing from too small a noise, or with steps that are small from the start, repairs little.**
If the modes are apart at $\sigma_1$ already, the first chain has the trouble of the plain one, and the scales below cannot help ({numref}`fig-sm-first-scale`).
But with $\eta_i = 0.1\, \sigma_i^2$, the steps of above, a small $\sigma_1$ also means small steps.
To tell the two apart, a second line has the steps

$$
\eta_i = 0.1\, (1 + \sigma_i^2) ,
$$ (eq-sm-comparable)

a tenth of the variance of a blurred cloud: with little noise these are the 0.1 of the plain chain, and never less.
Where this line is low, the noise is to blame; where only the other one is, the step.
At $\sigma_1 = 1$ the share is 0.61 with the steps of above and 0.69 with comparable ones, where 0.53 is that of the plain chain and 0.8 the truth.
So the step is to blame for a part of that failure, and the noise for the larger one.
From $\sigma_1 = 2$ on the choice between the two rules hardly matters.

The other way round, the ten scales from 8 on with one step size for all of them.
With the 0.1 of the plain chain the share is 0.75: as many evaluations and the same step, so that the scales alone take it from 0.53 to there.
With the 0.016 of the last scale it is 0.61: the chain at the large scales hardly moves.
All of it is on the grid, without a simulation.
"""

# %%
FIRST = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
RULES = {
    r"$0.1\,\sigma^2$": lambda std: LAST_STEP * (std / SMALL) ** 2,
    r"$0.1\,(1 + \sigma^2)$": lambda std: PLAIN_STEP * (1 + std**2),
}
by_first = {name: [] for name in RULES}
for first in FIRST:
    stds = torch.logspace(math.log10(first), math.log10(SMALL), NUM_SCALES).tolist()
    for name, rule in RULES.items():
        etas = [rule(std) for std in stds]
        by_first[name].append(annealed_shares(stds, etas, STARTS["uniform"])[-1])
same_step = {
    eta: annealed_shares(STDS, NUM_SCALES * [eta], STARTS["uniform"])[-1]
    for eta in (LAST_STEP, PLAIN_STEP)
}
print("first scale" + "".join(f"{std:6.1f}" for std in FIRST))
for name, shares in zip(("small steps", "comparable"), by_first.values(), strict=True):
    print(f"{name:11}" + "".join(f"{share:6.3f}" for share in shares))
for eta, share in same_step.items():
    print(f"all steps {eta:.3f}: {share:.3f}")

# %% tags=["check"]
shrinking, comparable = by_first.values()
plain_share = plain_shares["uniform"][-1]
checks.close("plain chain", plain_share, 0.53, atol=5e-3)
checks.at_most("first scale 0.5: share at the end", shrinking[0], 0.65)
checks.at_most("first scale 0.5, comparable steps", comparable[0], 0.65)
tenth = [PLAIN_STEP * across.diffused(1.0, std).stds[0] ** 2 for std in FIRST]
rule = list(RULES.values())[1]
checks.close("comparable steps", [rule(std) for std in FIRST], tenth, atol=1e-12)
checks.close("first scale 1", shrinking[1], 0.61, atol=5e-3)
checks.close("first scale 1, comparable steps", comparable[1], 0.69, atol=5e-3)
checks.ordered(
    "first scale 1: missing because of",
    {"the step": comparable[1] - shrinking[1], "the noise": 0.8 - comparable[1]},
)
checks.close("first scale 8, again", shrinking[-1], exact_shares[-1], atol=1e-12)
checks.close(
    "first scale 2 and more: both rules", shrinking[3:], comparable[3:], atol=0.01
)
checks.close("all steps as the plain chain", same_step[PLAIN_STEP], 0.75, atol=5e-3)
checks.close("all steps as small as the last", same_step[LAST_STEP], 0.61, atol=5e-3)
for name, share in (
    ("first scale 1", shrinking[1]),
    ("small steps", same_step[LAST_STEP]),
):
    order = {"plain": plain_share, name: share}
    checks.ordered("share", order | {"annealed": exact_shares[-1]})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Share with $x_1 < 0$ at the end of annealed Langevin, exact, against the largest noise scale, for two rules of the step size. The modes are 8 apart. Dashed: the true weight of the left cloud; dotted: the plain chain.", "name": "fig-sm-first-scale"}, "image": {"alt": "Two lines, both near one half at a first scale of 0.5, rising until two and level just below the dashed line at 0.8 from there on. The line with the larger steps lies above the other one at small first scales and beside it from two on."}}
fig, ax = plt.subplots()
for name, shares in by_first.items():
    ax.plot(FIRST, shares, "o-", label=f"steps {name}")
plotting.reference_line(ax, 0.8, "true weight")
ax.axhline(plain_share, color="black", linestyle=":", linewidth=1)
ax.annotate("plain chain", (8.0, plain_share - 0.02), ha="right")
ax.set(
    xlabel=r"largest noise scale $\sigma_1$",
    ylabel="share with $x_1 < 0$",
    ylim=(0.45, 0.9),
)
_ = ax.legend(loc="center right")

# %% [markdown]
r"""
Ten scales are few, and two dimensions are very few.
With infinitely many scales the sequence becomes an equation of motion that runs noise backwards: [the lecture on stochastic differential equations](score_sde.ipynb).
With the data shrunk while the noise grows, and a bound on the likelihood, it becomes [a diffusion model](diffusion_derivation.ipynb).
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} Score matching for waiting times
:label: ex-sm-boundary
```
For data on $x > 0$ weigh the distance of the scores with $x^2$ {cite:p}`hyvarinen2007extensions`,

$$
\tfrac{1}{2}\, \mathbb{E} \bigl[ x^2\, (s - s_\text{data})^2 \bigr] .
$$

Integrate by parts, see that the boundary term is gone, put in $s = -r$, and write `rate_of(x)`: the $r$ that minimises the mean over data `x`.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def rate_of(x):
    return None


# %% tags=["check"]
def check_rate(answer):
    if answer(torch.ones(3)) is None:
        return print("not yet")
    quantiles = -torch.log1p(-(torch.arange(1_000_000) + 0.5) / 1_000_000) / 1.7
    checks.close("a million quantiles of rate 1.7", answer(quantiles), 1.7, rtol=1e-3)
    waits = -torch.rand(50, 4_000).log() / 1.7
    checks.unbiased(
        "rate from 50 samples of 4,000", torch.stack([answer(x) for x in waits]), 1.7
    )
    few = torch.tensor([0.5, 1.0, 3.0])
    rates = answer(few) + torch.tensor([-0.01, 0.0, 0.01])
    objective = 0.5 * rates**2 * few.square().mean() - 2 * rates * few.mean()
    checks.true("three waiting times: the minimum is there", objective.argmin() == 1)
    return print("right")


check_rate(rate_of)

# %% [markdown]
r"""
````{solution-start} ex-sm-boundary
:class: dropdown
````
"""


# %% tags=["solution"]
def rate_of(x):
    return 2 * x.mean() / x.square().mean()


check_rate(rate_of)

# %% [markdown]
r"""
The objective is $\mathbb{E}[\frac{1}{2} x^2 s^2 + (x^2 s)']$, and the boundary term $[x^2 p\, s]$ vanishes at 0 because of $x^2$.
For $s = -r$ it is

$$
\tfrac{1}{2} r^2 \langle x^2 \rangle - 2 r \langle x \rangle ,
$$

with its minimum at $2 \langle x \rangle / \langle x^2 \rangle$; with $\langle x \rangle = 1/r$ and $\langle x^2 \rangle = 2/r^2$ that is $r$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} How certain is a denoised value?
:label: ex-sm-variance
```
Differentiate {eq}`eq-sm-tweedie` once more and write `posterior_variance(x, std, score)`: the variance of a datum given its noisy value, for noisy values `x` of shape (n, 1), from the score of $p_\sigma$ alone.
What does the result say about the slope of any score after noise?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def posterior_variance(x, std, score):
    return None


# %% tags=["check"]
def check_variance(answer):
    x = measured[:, None]
    if answer(x, 1.0, wells.diffused(1.0, 1.0).score) is None:
        return print("not yet")
    for std in (0.3, 1.0, 3.0):
        mean, square = (posterior_moment(wells, measured, std, k) for k in (1, 2))
        checks.close(
            f"noise {std}: against Bayes' rule",
            answer(x, std, wells.diffused(1.0, std).score),
            square - mean**2,
            atol=1e-8,
        )
    return print("right")


check_variance(posterior_variance)

# %% [markdown]
r"""
````{solution-start} ex-sm-variance
:class: dropdown
````
"""


# %% tags=["solution"]
def posterior_variance(x, std, score):
    return std**2 * (1 + std**2 * divergence(score, x).detach())


check_variance(posterior_variance)

# %% [markdown]
r"""
Because the mean of $N(\tilde x; x, \sigma^2)$ enters the exponent as $x \tilde x / \sigma^2$,

$$
\frac{\mathrm{d}}{\mathrm{d} \tilde x}\, \mathbb{E}[x \mid \tilde x] = \frac{\mathrm{Var}[x \mid \tilde x]}{\sigma^2} .
$$

A variance is not negative, so that $s_\sigma' \ge -1/\sigma^2$: one more thing that a score after noise must obey, in $d$ dimensions for each eigenvalue of its Jacobian.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} How much noise shows the weights?
:label: ex-sm-weights
```
The two densities of {numref}`fig-sm-blind` with modes at -8 and 8 have a Fisher divergence below $10^{-12}$.
Write `seen(std)`: $\sigma^2 F$ of the two after noise of size `std` has been added to both.
From which $\sigma$ on is it above a hundredth?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def seen(std):
    return None


# %% tags=["check"]
def check_seen(answer):
    if answer(1.0) is None:
        return print("not yet")
    x = torch.linspace(-60, 60, 12_001)
    for std in (1.0, 3.0, 4.0):
        width = 1 + std**2
        log_ratio = 16 * x / width  # log of N(x; 8) / N(x; -8)
        right_p = torch.sigmoid(log_ratio - math.log(4))
        right_q = torch.sigmoid(log_ratio + math.log(4))
        p = 0.8 * torch.exp(-((x + 8) ** 2) / (2 * width))
        p = p + 0.2 * torch.exp(-((x - 8) ** 2) / (2 * width))
        gap = (16 / width * (right_p - right_q)) ** 2
        exact = 0.5 * std**2 * (p @ gap / p.sum())
        # The line of `fisher` ends at 20, where less than 3e-3 of the mass is left.
        checks.close(f"noise {std}", answer(std), exact, rtol=3e-3, atol=1e-12)
    checks.at_most("noise 1", answer(1.0), 1e-5)
    checks.at_most("noise 2.32", answer(2.32), 1e-2)
    checks.at_least("noise 2.34", answer(2.34), 1e-2)
    return print("right")


check_seen(seen)

# %% [markdown]
r"""
````{solution-start} ex-sm-weights
:class: dropdown
````
"""


# %% tags=["solution"]
def seen(std):
    p, q = (two_modes(weight, 8.0).diffused(1.0, std) for weight in (0.8, 0.2))
    return std**2 * fisher(p, q)


check_seen(seen)
print({std: f"{seen(std):.2g}" for std in (1.0, 2.0, 2.5, 3.0, 4.0)})

# %% [markdown]
r"""
From $\sigma = 2.33$ on it is above a hundredth: noise of less than a third of the distance of a mode from the middle is enough.
Then the border between the modes is visited, and there the scores differ.
A network that is trained at that scale learns the weights; one that is trained below it only cannot.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A better ladder of scales
:label: ex-sm-ladder
```
The ladder of {numref}`fig-sm-weights` misses the weight 0.8 by a hundredth.
Halve that with no more than its thousand steps.
Write `ladder()`: a list of triples (scale, step size, number of steps), from first to last, that ends at $\sigma = 0.4$.
The share must be within 0.005 of 0.8 from both starts, and the variance of $x_2$ at most 1.18, as before.
Which scales of the old ladder were of no use?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def ladder():
    return None


# %% tags=["check"]
def check_ladder(answer):
    rungs = answer()
    if rungs is None:
        return print("not yet")
    checks.at_most("steps in all", sum(num_steps for _, _, num_steps in rungs), BUDGET)
    checks.close("last scale", rungs[-1][0], SMALL, rtol=1e-9)
    laws = torch.stack([STARTS["uniform"], STARTS["all right"]])
    variance = 64 / 3
    for std, eta, num_steps in rungs:
        K = step_kernel(std, eta)
        for _ in range(num_steps):
            laws = laws @ K
            variance = (1 - eta / (1 + std**2)) ** 2 * variance + 2 * eta
    shares = [share_left(law) for law in laws]
    checks.close("shares from both starts", shares, [0.8, 0.8], atol=0.005)
    checks.at_most("variance of x_2", variance, 1.18)
    return print("right")


check_ladder(ladder)

# %% [markdown]
r"""
````{solution-start} ex-sm-ladder
:class: dropdown
````
"""


# %% tags=["solution"]
def ladder():
    stds = torch.logspace(math.log10(2.5), math.log10(SMALL), 20).tolist()
    return [(std, 0.2 * std**2, 50) for std in stds]


check_ladder(ladder)
ten = torch.logspace(math.log10(2.5), math.log10(SMALL), NUM_SCALES)
ends = [exact_shares[-1]]
for factor in (0.1, 0.2):
    etas = (factor * ten**2).tolist()
    ends.append(annealed_shares(ten.tolist(), etas, STARTS["uniform"])[-1])
checks.ordered("gains", {"of the step": ends[2] - ends[1], "of 2.5": ends[1] - ends[0]})

# %% [markdown]
r"""
The scales above 2.5 are of no use: at 2.5 the chain already forgets where it started, and their evaluations are better spent where the clouds part.
That gains most; twice the step, with which more particles cross there, gains most of the rest, and twenty scales in place of ten a little.
Steps cannot be much larger, because a step adds about $\eta / 2$ to the variance of a narrow cloud.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Tweedie for photon counts
:label: ex-sm-counts
```
A source of unknown brightness $r$ gives $n$ counts, $n \sim \mathrm{Poisson}(r)$, and $r$ varies from source to source.
As with Gaussian noise, the posterior mean of $r$ needs only the law of the noisy data.
Write `denoise_counts(pmf)`: from $p(0), \dots, p(N)$ of the counts of many sources, $\mathbb{E}[r \mid n]$ for $n = 0, \dots, N - 1$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def denoise_counts(pmf):
    return None


# %% tags=["check"]
def check_counts(answer):
    if answer(torch.ones(3) / 3) is None:
        return print("not yet")
    n = torch.arange(12.0)
    prior, brightness = torch.tensor([0.7, 0.3]), torch.tensor([1.0, 4.0])
    log_poisson = (
        n[:, None] * brightness.log() - brightness - torch.lgamma(n + 1)[:, None]
    )
    joint = prior * log_poisson.exp()
    posterior_mean = joint @ brightness / joint.sum(1)
    checks.close(
        "two kinds of sources", answer(joint.sum(1)), posterior_mean[:-1], rtol=1e-12
    )
    return print("right")


check_counts(denoise_counts)

# %% [markdown]
r"""
````{solution-start} ex-sm-counts
:class: dropdown
````
"""


# %% tags=["solution"]
def denoise_counts(pmf):
    n = torch.arange(len(pmf) - 1)
    return (n + 1) * pmf[1:] / pmf[:-1]


check_counts(denoise_counts)

# %% [markdown]
r"""
For each brightness

$$
r \cdot e^{-r}\, \frac{r^n}{n!} = (n + 1)\, e^{-r}\, \frac{r^{n + 1}}{(n + 1)!} ,
$$

and the mean over $r$ turns this into

$$
\mathbb{E}[r \mid n]\; p(n) = (n + 1)\; p(n + 1) .
$$

This is the formula of Robbins {cite:p}`efron2011`; the ratio of neighbours plays the part of the score.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. The score, {eq}`eq-sm-score`, has no normaliser; the Fisher divergence, {eq}`eq-sm-fisher`, compares densities by it and is blind to the weights of far modes ({numref}`fig-sm-blind`).
2. Implicit, sliced and denoising score matching are {eq}`eq-sm-implicit`, {eq}`eq-sm-sliced` and {eq}`eq-sm-denoising`; on the line they agree to nine decimals.
3. Tweedie's formula {eq}`eq-sm-tweedie` denoises, and its derivative gives the variance, {ref}`ex-sm-variance`.
4. A score is a gradient that points inward strongly enough, of a density that fills the space; a free network has curl ({numref}`fig-sm-curl`).
5. Plain Langevin keeps the weights of its start; annealed Langevin, {eq}`eq-sm-annealed`, repairs them, with the learned score too ({numref}`fig-sm-weights`).

The recorded numbers stand on the [results page](../book/results.md).
Contrastive divergence with one small Langevin step is score matching as well.
With $s_\theta = -\nabla E_\theta$ its mean gradient is

$$
\eta\; \partial_\theta \mathbb{E} \bigl[ \tfrac{1}{2} |s_\theta|^2 + \nabla \cdot s_\theta \bigr] + O(\eta^2) ,
$$

the step times the gradient of {eq}`eq-sm-implicit`: see {eq}`eq-em-score-matching` in [the lecture on energy models](energy_models.ipynb).

**What comes next:** [the derivation of diffusion models](diffusion_derivation.ipynb), where the same denoiser comes out of a bound on the likelihood.

**Reading:** {cite:t}`hyvarinen2005`, section 2, for {eq}`eq-sm-implicit`; {cite:t}`vincent2011`, section 4, for {eq}`eq-sm-denoising`; {cite:t}`song2019`, sections 3 and 4, for the failures and their cure; {cite:t}`song2021` for the view from energy models; {cite:t}`efron2011` for what else Tweedie's formula is good for.
"""

# %%
run.finish()

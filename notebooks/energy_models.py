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
# Deep energy-based models

At the end of this lecture you will be able to

1. turn a neural network into a density, and say when that works;
2. combine models by adding their energies, and clean a picture with ratios of probabilities alone;
3. train an energy by sampling, with short Langevin chains and a replay buffer, and say what happens when the chains are too short and what the penalty is for;
4. prove that contrastive divergence with one small Langevin step is score matching;
5. train an energy without sampling it, by telling data from noise, and get $\log Z$ as a by-product;
6. use an energy to find unusual images, and say how far to trust it.

- **You need** [Langevin sampling](langevin.ipynb) and the two phases of [Boltzmann machines](boltzmann_machines.ipynb); some PyTorch.
- **Sources:** {cite:t}`du2019`, {cite:t}`nijkamp2020`, {cite:t}`gutmann2012`, {cite:t}`gao2020`, {cite:t}`hyvarinen2007`, {cite:t}`hinton2002`.
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
import copy
import math
from itertools import islice

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.samplers import langevin, score_of

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_denoised": (20, 200, 1_000),  # images for the de-noising test
    "ring_steps": (60, 1_500, 6_000),  # of the two-dimensional energy
    "nce_steps": (60, 6_000, 20_000),
    "flow_steps": (40, 1_500, 5_000),
    "image_steps": (20, 1_500, 20_000),  # of the energy of images
    "ablation_steps": (20, 1_500, 5_000),  # of the runs that are meant to fail
    "chain_length": (5, 20, 40),  # Langevin steps for one training step on images
}

# %%
run = dgm.start("energy_models", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## The problem in one picture

The target of the first half of this lecture is a ring of eight Gaussians, because there everything can be checked: its density is known, and integrals over the plane are sums over a grid.
From points like those on the left we want a function like the one on the right.
Points in the plane are too small a matter for a GPU; the images at the end will use one if there is one.
"""

# %%
target = dgm.data.ring_of_gaussians(8, radius=2.0, std=0.3)
ring = torch.from_numpy(target.sample(200_000, rng=run.rng)).float()

side = torch.linspace(-5, 5, 201, dtype=torch.float64)
plane = torch.cartesian_prod(side, side)
cell = 0.05**2  # area that belongs to a grid point
target_log_prob = torch.from_numpy(target.log_prob(plane.numpy()))
plane = plane.float()


def integral(log_values):
    """log of the integral over the grid of exp(log_values), in double precision."""
    return torch.logsumexp(log_values.double(), 0).item() + math.log(cell)


# %% tags=["check"]
checks.close(
    "integral of the target over the grid", integral(target_log_prob), 0, atol=1e-9
)
# Of a point at (2 + a, b) with a, b ~ N(0, 0.3^2): 2 + 0.3^2 / 4 + ...
radius = ring.norm(dim=1)
checks.close("mean radius of the data", radius.mean(), 2 + 0.3**2 / 4, atol=0.005)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: 2,000 data points. Right: the density that they come from, on the square from -3.6 to 3.6. Here and below each density is drawn on its own scale.", "name": "fig-em-problem"}, "image": {"alt": "Two panels. On the left eight clouds of points on a circle. On the right eight dark round spots at the same places on a white ground."}}
def heat_map(ax, log_density):
    """Density on the grid, dark where it is high."""
    picture = log_density.double().exp().reshape(201, 201).T
    ax.imshow(picture, extent=(-5, 5, -5, 5), origin="lower", interpolation="bilinear")
    ax.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(False)


def scatter(ax, points):
    ax.plot(*points.T, ".", color=plotting.COLOURS[0], markersize=2)
    ax.set(aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(False)


fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.4))
scatter(left, ring[:2_000])
_ = heat_map(right, target_log_prob)

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $E_\theta(x)$ | `energy` | a network with one number for each point, in nats |
| $Z(\theta)$ | `log_partition` | its partition function, always as the logarithm |
| $s_\theta(x) = -\nabla_x E_\theta$ | `score_of(energy)` | score |
| $p$, $p_\theta$, $q$ | | data, model, noise |
| $\sigma(a) = 1 / (1 + e^{-a})$ | `torch.sigmoid` | logistic function; $\sigma_1, \sigma_2$ are standard deviations |
| $\eta$, $\xi$ | `step_size` | step size of Langevin, standard normal numbers |
| $\alpha$ | `penalty` | strength of the penalty on large energies |
| $\ell$, $D$ | `logits` | logit and probability that a point is a datum |
| $c$ | `log_z` | $\log Z$ as a parameter that is learned |
"""

# %% [markdown]
r"""
## Any network, if the integral is finite

```{margin}
**In the sources.** CS236 notes, *TL;DR* and *Energy based models*.
```

**Every function $E$ with a finite integral of $e^{-E}$ defines a density, and nothing else is asked of it:**

$$
\begin{aligned}
p_\theta(x) &= \frac{e^{-E_\theta(x)}}{Z(\theta)}, \\
Z(\theta) &= \int e^{-E_\theta(x)}\, \mathrm{d}x .
\end{aligned}
$$ (eq-em-density)

No inverse, no order of the variables, no Jacobian: nothing else restricts the network; the price is $Z$.

```{margin}
**A common mistake:** texts that say that any function can be turned into a probability.
A constant on the whole line can't.
```

The condition is not empty.
A network of the usual kind grows at most linearly and may do so downwards, and then the integral is infinite.
So we add a parabola, which wins in the end in every direction; on images a bounded domain will do the same.

$$
E_\theta(x) = f_\theta(x / \delta) + \frac{|x|^2}{2 w^2}
$$ (eq-em-confined)

Here $w = 2$ is the width of the parabola, and the network sees $x$ in units of the finest detail, $\delta = 0.25$.
"""


# %%
class Energy(nn.Module):
    scale = 1.0  # its unit in nats, and what brings points back into the domain:
    wrap = staticmethod(lambda x: x)  # needed later, for images

    def __init__(self, hidden_dim=64, *, unit=0.25, width=2.0):
        super().__init__()
        # The length of the finest detail, and the width of the parabola.
        self.unit, self.width = unit, width
        self.f = nn.Sequential(
            nn.Linear(2, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 1),
        )

    def forward(self, x):
        confinement = x.square().sum(1) / (2 * self.width**2)
        return self.f(x / self.unit).squeeze(1) + confinement


@torch.no_grad()
def log_partition(energy):
    return integral(-energy(plane))


@torch.no_grad()
def log_partition_on_wide_grid(energy):
    """The same on a square with twice the side, to see what the grid leaves out."""
    wide = torch.cartesian_prod(2 * side, 2 * side).float()
    return integral(-energy(wide)) + math.log(4)


@torch.no_grad()
def kl_from_target(energy):
    """KL(target || model) in nats, by quadrature with the model's own log Z."""
    log_model = -energy(plane).double() - log_partition(energy)
    return (target_log_prob.exp() * (target_log_prob - log_model)).sum().item() * cell


# %% [markdown]
r"""
We test the two integrals on Gaussians, where they are known, and look at what the parabola is for.
"""


# %% tags=["check"]
def parabola(variance):
    return lambda x: x.double().square().sum(1) / (2 * variance)


checks.close(
    "log Z of a parabola", log_partition(parabola(0.5)), math.log(math.pi), rtol=1e-6
)
entropy = -(target_log_prob.exp() * target_log_prob).sum().item() * cell
cross = math.log(2 * math.pi) + (2.0**2 + 2 * 0.3**2) / 2
# The grid ends at five standard deviations, beyond which there is 1e-6 of the Gaussian.
checks.close(
    "KL from the ring to N(0, I)",
    kl_from_target(parabola(1.0)),
    cross - entropy,
    atol=1e-5,
)
fresh = Energy()
outside = 1e4 * torch.randn(1_000, 2)
with torch.no_grad():
    checks.at_least("energy far outside, with the parabola", fresh(outside), 1.0)
    bare = fresh.f(outside / fresh.unit)
checks.at_most("lowest energy far outside, without it", bare.min(), -1.0)

# %% [markdown]
r"""
## Adding energies multiplies densities

```{margin}
**In the sources.** CS236 notes, *Energy based models*: predictions of several models combined.
```

**The sum of two energies is the energy of a *product of experts* {cite:p}`hinton2002`: a point is likely if both experts find it likely.**
Its normaliser is an integral of its own:

$$
\begin{aligned}
p_{12}(x) &= \frac{p_1(x)\, p_2(x)}{\int p_1(x')\, p_2(x')\, \mathrm{d}x'}, \\
Z_{12} &= Z_1 Z_2 \int p_1\, p_2\, \mathrm{d}x .
\end{aligned}
$$ (eq-em-product)

```{margin}
**A common mistake:** "divide by the total volume of all models".
$Z_1 Z_2$ normalises nothing here; the overlap is missing.
```

For two Gaussians the overlap is a Gaussian in the difference of their means, $\int p_1 p_2 = N(\mu_1 - \mu_2;\, 0,\, \sigma_1^2 + \sigma_2^2)$.
"""

# %% tags=["check"]
u = torch.linspace(-20, 20, 40_001, dtype=torch.float64)
du = (u[1] - u[0]).item()
mu, sigma = (0.0, 2.0), (1.0, 1.5)
energies = [(u - m) ** 2 / (2 * s**2) for m, s in zip(mu, sigma, strict=True)]
z_1, z_2 = (torch.exp(-e).sum().item() * du for e in energies)
z_12 = torch.exp(-energies[0] - energies[1]).sum().item() * du
variance = sigma[0] ** 2 + sigma[1] ** 2
overlap = math.exp(-((mu[0] - mu[1]) ** 2) / (2 * variance)) / math.sqrt(
    2 * math.pi * variance
)
checks.close("Z of the product", z_12, z_1 * z_2 * overlap, rtol=1e-11)
checks.at_least("Z_1 Z_2, which is said to be Z_12, over Z_12", z_1 * z_2 / z_12, 8)


# %%
def annulus(x):
    """Expert 1: near the circle of radius 2."""
    return (x.norm(dim=1) - 2) ** 2 / (2 * 0.3**2)


def stripes(x):
    """Expert 2: at heights near a multiple of 2.4, not too far out."""
    wave = 4 * (1 - torch.cos(2 * math.pi * x[:, 1] / 2.4))
    return wave + x.square().sum(1) / (2 * 1.25**2)


def both(x):
    return annulus(x) + stripes(x)


experts = {"circle": annulus, "stripes": stripes, "sum of energies": both}

# %% tags=["check"]
logs = {
    name: -energy(plane) - log_partition(energy) for name, energy in experts.items()
}
wave = 4 * (1 - torch.cos(2 * math.pi * u / 2.4)) + u**2 / (2 * 1.25**2)
by_factors = math.log(
    torch.exp(-wave).sum().item() * du * math.sqrt(2 * math.pi) * 1.25
)
# Beyond the grid, at four standard deviations, there is 1e-4 of the stripes.
checks.close(
    "stripes: log Z, by two integrals on a line",
    log_partition(stripes),
    by_factors,
    atol=2e-4,
)
log_overlap = integral(logs["circle"] + logs["stripes"])
checks.close(
    "log Z of the product, from Z_1, Z_2 and the overlap",
    log_partition(both),
    log_partition(annulus) + log_partition(stripes) + log_overlap,
    atol=1e-5,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Two experts and their product: the third energy is the sum of the first two.", "name": "fig-em-product"}, "image": {"alt": "Three panels: a ring; three short horizontal stripes, the middle one darkest; and the places where ring and stripes meet, a spot at the left, one at the right, and a flat arc at the top and at the bottom."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
for ax, (name, log_density) in zip(axes, logs.items(), strict=True):
    heat_map(ax, log_density)
    ax.set(xlabel=name)

# %% [markdown]
r"""
## Much can be done without $Z$

```{margin}
**In the sources.** CS236 notes, *Energy based models*: comparisons, and image de-noising.
```

**Ratios of probabilities need no $Z$, and many questions ask for no more: which of two pictures is more likely?**
A clean picture $y$ of black and white pixels was damaged: we see $x$, in which each pixel was turned with probability $\epsilon$.
With spins, $\pm 1$ for ink and paper, a *Markov random field* says what pictures are like, and how damage happens {cite:p}`besag1986`:

$$
\begin{aligned}
E(y \mid x) &= -\beta \sum_{\langle i j \rangle} y_i y_j
- h \sum_i x_i y_i, \\
h &= \frac{1}{2} \log \frac{1 - \epsilon}{\epsilon} .
\end{aligned}
$$ (eq-em-mrf)

The first sum runs over neighbours and likes equal ones; it is the Ising model.
The second is minus the log-likelihood of the damage, $\log p(x \mid y)$, up to a constant.
To change one pixel we need only its neighbours: with $m_i = \beta \sum_{j \sim i} y_j + h x_i$ the two values of $y_i$ have the odds $e^{2 m_i}$, so that

$$
p(y_i = 1 \mid \text{all others}) = \sigma(2 m_i) .
$$ (eq-em-mrf-conditional)

Two programs follow.
*Iterated conditional modes* puts each pixel to its more likely value and can only lower the energy.
*Gibbs sampling* draws it; the mean over the draws estimates $2 p(y_i = 1 \mid x) - 1$, whose sign is the more likely value of each pixel by itself.
On a chess-board all white squares can be updated at once, since no two of them are neighbours.
"""


# %%
def field(y, x, beta, h):
    """m_i for pictures (num_images, height, width) of spins; outside there is nothing."""
    padded = F.pad(y, (1, 1, 1, 1))
    neighbours = (
        padded[:, 2:, 1:-1]
        + padded[:, :-2, 1:-1]
        + padded[:, 1:-1, 2:]
        + padded[:, 1:-1, :-2]
    )
    return beta * neighbours + h * x


def mrf_energy(y, x, beta, h):
    pairs = (y[:, 1:] * y[:, :-1]).sum((1, 2)) + (y[:, :, 1:] * y[:, :, :-1]).sum(
        (1, 2)
    )
    return -beta * pairs - h * (x * y).sum((1, 2))


def chess_board(y):
    rows, columns = (torch.arange(n, device=y.device) for n in y.shape[1:])
    white = (rows[:, None] + columns) % 2 == 0
    return white, ~white


def iterated_modes(y, x, beta, h):
    """Yields y after each sweep."""
    while True:
        for squares in chess_board(y):
            m = field(y, x, beta, h)
            y = torch.where(squares & (m != 0), m.sign(), y)
        yield y


def gibbs_spins(y, x, beta, h):
    while True:
        for squares in chess_board(y):
            on = torch.rand_like(y) < torch.sigmoid(2 * field(y, x, beta, h))
            y = torch.where(squares, 2.0 * on - 1, y)
        yield y


# %% [markdown]
r"""
On a 3 x 3 picture all 512 states can be listed: conditionals, marginals by Gibbs sampling, and the claim that iterated modes never go uphill.
"""

# %% tags=["check"]
bits = torch.arange(512)[:, None] >> torch.arange(9) & 1
states = (2.0 * bits - 1).reshape(-1, 3, 3)
observed = (2.0 * (torch.rand(1, 3, 3) < 0.5) - 1).expand(512, -1, -1)
p_states = torch.softmax(-mrf_energy(states, observed, 0.7, 0.4), 0)
by_table = p_states.reshape([2] * 9)  # the last axis belongs to the first pixel
for pixel in (0, 4):
    axis = 8 - pixel
    conditional = by_table.select(axis, 1) / by_table.sum(axis)
    with_pixel_off = bits[:, pixel] == 0
    m = field(states, observed, 0.7, 0.4).reshape(512, 9)[with_pixel_off, pixel]
    checks.close(
        f"pixel {pixel} given the others, against the table",
        torch.sigmoid(2 * m),
        conditional.flatten(),
        atol=1e-6,
    )
start = torch.ones(20_000, 3, 3)
spins = next(islice(gibbs_spins(start, observed[:1], 0.7, 0.4), 60, None))
exact = (p_states[:, None, None] * states).sum(0)
checks.unbiased("means of the nine spins by Gibbs sampling", spins, exact)
after_sweep = next(iterated_modes(states, observed, 0.7, 0.4))
change = mrf_energy(after_sweep, observed, 0.7, 0.4) - mrf_energy(
    states, observed, 0.7, 0.4
)
checks.at_most("change of the energy by a sweep of modes, all 512 starts", change, 1e-6)

# %% [markdown]
r"""
Now digits, with a tenth of the pixels turned.
The strength $\beta$ is chosen on images of the training file; the error rates are on test images.
"""

# %%
FLIPPED = 0.1
H = 0.5 * math.log((1 - FLIPPED) / FLIPPED)


def damaged(part):
    """Clean spins and damaged ones, (num_denoised, 28, 28)."""
    grey = run.data.vectors(part)[: P.num_denoised]
    black = dgm.data.binarise(grey, method="threshold").reshape(-1, 28, 28)
    clean = torch.from_numpy(2 * black - 1)
    turned = torch.rand(clean.shape) < FLIPPED
    return clean, torch.where(turned, -clean, clean)


def restore(x, beta):
    """Iterated modes, and the sign of the mean over 60 Gibbs sweeps after 20."""
    modes = next(islice(iterated_modes(x, x, beta, H), 9, None))
    draws = islice(gibbs_spins(x, x, beta, H), 20, 80)
    return modes, torch.where(sum(draws) > 0, 1.0, -1.0)


def wrong_pixels(y, clean):
    """Share of wrong pixels of each image."""
    return (y != clean).float().mean((1, 2))


# %%
clean, noisy = damaged("valid")
betas = (0.3, 0.5, 0.7, 0.9, 1.2, 1.5)
choice = [
    [wrong_pixels(y, clean).mean() for y in restore(noisy, beta)] for beta in betas
]
best_modes, best_gibbs = (betas[i] for i in torch.tensor(choice).argmin(0).tolist())
for beta, (by_modes, by_gibbs) in zip(betas, choice, strict=True):
    print(f"beta {beta}: wrong pixels {by_modes:.2%} by modes, {by_gibbs:.2%} by Gibbs")

clean, noisy = damaged("test")
modes, means = restore(noisy, best_modes)[0], restore(noisy, best_gibbs)[1]
pixel_errors = {}
for name, y, beta in (
    ("none", noisy, None),
    ("icm", modes, best_modes),
    ("gibbs", means, best_gibbs),
):
    wrong = wrong_pixels(y, clean)
    pixel_errors[name] = run.record(
        f"denoise_{name}_pixel_error",
        wrong.mean(),
        unit="share of pixels",
        standard_error=wrong.std() / len(wrong) ** 0.5,
        protocol=f"{len(wrong)} thresholded test images, {FLIPPED:.0%} of the pixels turned, "
        + (
            f"Ising energy, beta {beta} chosen on training images"
            if beta
            else "as damaged"
        ),
    )

# %% tags=["check"]
alone = torch.ones(1, 1, 1)  # one pixel, no neighbours: Bayes' rule with even odds
checks.close(
    "a pixel that is seen on is on with probability 0.9",
    torch.sigmoid(2 * field(alone, alone, 0.0, H)).item(),
    1 - FLIPPED,
    atol=1e-6,
)
beyond = [restore(noisy, beta)[0] for beta in (1.1 * H, 1.5 * H)]
checks.close("modes: two strengths beyond h, the same pictures", *beyond)
checks.unbiased("share of turned pixels", wrong_pixels(noisy, clean), FLIPPED)
checks.at_most(
    "share of wrong pixels after cleaning",
    [pixel_errors["icm"], pixel_errors["gibbs"]],
    FLIPPED / 2,
)
paired = wrong_pixels(modes, clean) - wrong_pixels(means, clean)
print(
    f"modes minus Gibbs: {paired.mean():.4f} +/- {paired.std() / len(paired) ** 0.5:.4f}"
)
ratio = pixel_errors["icm"] / pixel_errors["gibbs"]
checks.at_most(
    "larger share of wrong pixels over the smaller", max(ratio, 1 / ratio), 1.5
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From top to bottom: clean test images, a tenth of the pixels turned, iterated modes, sign of the mean of 60 Gibbs sweeps.", "name": "fig-em-denoise"}, "image": {"alt": "Four labelled rows of ten black and white digits. The second row is covered with isolated wrong pixels. In the third and fourth row nearly all of them are gone, a few specks remain, most of them near the edges, and some small loops are filled."}}
fig, axes = plt.subplots(4, 1, figsize=(7.0, 3.4))
rows = {"clean": clean, "damaged": noisy, "modes": modes, "Gibbs": means}
for ax, (name, y) in zip(axes, rows.items(), strict=True):
    plotting.image_grid((y[:10] + 1) / 2, columns=10, ax=ax)
    ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")

# %% [markdown]
r"""
A model with one fitted parameter removes most of the wrong pixels, because specks are isolated and strokes are not.
The printed lines give the difference of the two programs, image by image.
For modes the value of $\beta$ matters only while it is small: once it exceeds $h$, a single neighbour outweighs the observation, and the rule, follow the majority of the neighbours and in a tie what was seen, is the same for all $\beta$.
It knows nothing of digits: a network can know more.
"""

# %% [markdown]
r"""
## Learning by sampling

```{margin}
**In the sources.** Oslo, 16 April, *Codes for Energy-based models*, links only; 30 April, *Contrastive optimization*.
```

**Push the energy down on data and up on what the model itself produces; the samples come from a few Langevin steps that continue where earlier ones stopped.**
The gradient of the log-likelihood has the two phases of [Boltzmann machines](boltzmann_machines.ipynb), and automatic differentiation finds both from one number,

$$
L = \langle E_\theta \rangle_\text{data} - \langle E_\theta \rangle_\text{model} ,
$$ (eq-em-contrast)

if the samples are held fixed: $\nabla_\theta L$ is minus the gradient of the mean log-likelihood.
$L$ itself is no loss; it is near zero for a good model and for one that knows nothing.

What {cite:t}`du2019` add to make this work, besides chains that are long enough:

- a **replay buffer**: the end points of all chains are kept, and most chains continue from a random one of them, as in persistent contrastive divergence;
- a few of them, here one in twenty, **start anew** from noise, so that lost particles are replaced;
- a **penalty** $\alpha\, \langle E_\theta^2 \rangle$ on data and samples, which keeps the energies near zero, where nothing else holds them: $L$ does not change when a constant is added;
- a **clipped gradient**, so that one bad batch does no harm.

On the ring we use the first two, on images all four.
"""


# %%
def contrast(energy, x_data, x_model, penalty=0.0):
    """Number whose gradient trains `energy`, and both mean energies, in its own unit."""
    e_data, e_model = energy(x_data), energy(x_model)
    loss = (e_data.mean() - e_model.mean()) / energy.scale
    size = (e_data.square().mean() + e_model.square().mean()) / energy.scale**2
    return loss + penalty * size, e_data.mean().item(), e_model.mean().item()


# %%
def adam_of(energy):
    """Adam without momentum: samples answer to the energy of this step, not of earlier ones."""
    return torch.optim.Adam(energy.parameters(), betas=(0.0, 0.999))


# %%
def train(
    energy,
    x,
    start,
    *,
    num_steps,
    step_size,
    learning_rate,
    chain_length=20,
    batch_size=256,
    penalty=0.0,
    noise=0.0,
    restart=0.05,
    num_kept=8192,
    max_norm=math.inf,
    optimiser=None,
    buffer=None,
    done=0,
):
    """Yields the buffer and the mean energies of data and samples after each step."""
    optimiser = optimiser or adam_of(energy)
    score, buffer = score_of(energy), start(num_kept) if buffer is None else buffer
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        x_data = x[torch.randint(len(x), (batch_size,), device=x.device)]
        x_data = x_data + noise * torch.randn_like(x_data)
        kept = torch.randint(num_kept, (batch_size,), device=x.device)
        anew = torch.rand(batch_size, 1, device=x.device) < restart
        chain = langevin(
            torch.where(anew, start(batch_size), buffer[kept]), score, step_size
        )
        x_model = energy.wrap(next(islice(chain, chain_length - 1, None)))
        buffer[kept] = x_model
        loss, e_data, e_model = contrast(energy, x_data, x_model, penalty)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(energy.parameters(), max_norm)
        optimiser.step()
        yield buffer, e_data, e_model


# %% [markdown]
r"""
Is the gradient of `contrast` the gradient of the likelihood?
With the grid we can form the model mean exactly, and automatic differentiation of $-\langle \log p_\theta \rangle = \langle E \rangle_\text{data} + \log Z$ gives the answer without phases.
"""

# %% tags=["check"]
small = Energy(8).double()
few, grid_64 = ring[:500].double(), plane.double()
weights = torch.softmax(-small(grid_64), 0).detach()  # the model, on the grid


def flat_gradient(value):
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(value, small.parameters())]
    )


nll = small(few).mean() + torch.logsumexp(-small(grid_64), 0)
by_hand = flat_gradient(small(few).mean() - weights @ small(grid_64))
checks.close(
    "phases with the exact model mean, against autograd of log Z",
    by_hand,
    flat_gradient(nll),
    atol=1e-11,
)
draws = grid_64[torch.multinomial(weights, 40_000, replacement=True)]
estimates = [flat_gradient(contrast(small, few, part)[0]) for part in draws.split(400)]
# The last parameter adds a constant to the energy: it has no gradient.
checks.close("gradient of the last bias", by_hand[-1], 0.0, atol=1e-12)
checks.unbiased(
    "gradient of contrast on samples", torch.stack(estimates)[:, :-1], by_hand[:-1]
)
loss, e_data, e_model = contrast(small, few[:2], few[2:4], 0.1)
pair = [small(few[:2]), small(few[2:4])]
by_formula = (
    pair[0].mean() - pair[1].mean() + 0.1 * (pair[0] ** 2 + pair[1] ** 2).mean()
)
checks.close("value with penalty", loss, by_formula, atol=1e-12)
small.scale = 5.0
loss, *_ = contrast(small, few[:2], few[2:4], 0.1)
in_units = [e / 5 for e in pair]
by_formula = in_units[0].mean() - in_units[1].mean()
by_formula += 0.1 * (in_units[0] ** 2 + in_units[1] ** 2).mean()
checks.close("value with penalty, in units of 5 nats", loss, by_formula, atol=1e-12)
small.scale = 1.0

# %% [markdown]
r"""
Is `train` the algorithm that we described?
With an energy of zero the particles of the buffer only diffuse, so that the variance of one particle with many coordinates counts the steps that it has made in all.
With one that is linear in its only parameter, and particles that stand still, the gradient is one in each step, and the parameter moves by the sum of the rates.
"""


# %% tags=["check"]
class Linear(nn.Module):
    """E(x) = theta mean(x); with squared, of the squares."""

    scale, wrap = 1.0, staticmethod(lambda x: x)

    def __init__(self, theta, squared=False):
        super().__init__()
        self.theta, self.squared = nn.Parameter(torch.tensor(theta)), squared

    def forward(self, x):
        return self.theta * (x**2 if self.squared else x).mean(1)


def nowhere(num):
    return torch.zeros(num, 100_000)


few_steps = dict(num_steps=4, chain_length=3, batch_size=1, num_kept=1)
for restart, steps_made in ((0.0, 4 * 3), (1.0, 3)):
    frozen = dict(step_size=0.1, learning_rate=0.0, restart=restart, **few_steps)
    *_, (particles, _, _) = train(Linear(0.0), nowhere(1), nowhere, **frozen)
    checks.unbiased(
        f"restart {restart}: variance of the particle, 0.2 a step",
        particles[0].square(),
        0.2 * steps_made,
    )
moved, still = Linear(0.0), dict(step_size=1e-20, restart=0.0, **few_steps)
list(train(moved, nowhere(1) + 1, nowhere, learning_rate=0.1, **still))
sum_of_rates = 0.1 * (1 + 0.75 + 0.5 + 0.25)
checks.close("theta after four steps", moved.theta, -sum_of_rates, rtol=1e-5)
noisy = train(
    Linear(1.0, squared=True),
    nowhere(1),
    nowhere,
    learning_rate=0.0,
    noise=0.5,
    **still,
)
_, e_data, _ = next(noisy)
checks.unbiased("mean square of noisy data", e_data, 0.25, 0.25 * (2 / 1e5) ** 0.5)

# %% [markdown]
r"""
The parameters keep moving around the optimum, so that we evaluate an average of them with exponential weights and a memory of 400 steps, which moves less: over the last third of the training its divergence from the target is smaller than that of the parameters, on average.
"""


# %%
@torch.no_grad()
def follow(average, energy, share):
    """Move the parameters of `average` towards those of `energy`."""
    for slow, fast in zip(average.parameters(), energy.parameters(), strict=True):
        slow.lerp_(fast, share)


def broad(num):
    """Where new chains start: a Gaussian that covers the ring."""
    return 2 * torch.randn(num, 2)


ring_energy, history = Energy(), []
ring_average = copy.deepcopy(ring_energy)
steps = train(
    ring_energy, ring, broad, num_steps=P.ring_steps, step_size=0.01, learning_rate=3e-3
)
for step, (particles, *_) in enumerate(steps, start=1):
    ring_buffer = particles
    follow(ring_average, ring_energy, 1 / min(step, 400))
    if step % (P.ring_steps // 30) == 0:
        history.append(
            (step, kl_from_target(ring_energy), kl_from_target(ring_average))
        )

ebm_kl = run.record(
    "ebm2d_kl_to_target",
    kl_from_target(ring_average),
    unit="nats",
    protocol="KL(target || model) by quadrature on 201 x 201 points, eight Gaussians at "
    f"radius 2 with sd 0.3, {P.ring_steps:,} steps with 20 Langevin steps of 0.01 each "
    "from a replay buffer, exponential average over 400 steps",
)

# %% tags=["check"]
slow, fast = Linear(1.0), Linear(5.0)
follow(slow, fast, 0.25)
checks.close("a quarter of the way from 1 to 5", slow.theta, 2.0)
checks.at_least("KL divergence", ebm_kl, 0.0)
if run.profile != "smoke":
    checks.at_most("KL from the target to the model", ebm_kl, 0.05)
    _, of_parameters, of_average = np.array(history[-10:]).mean(0)
    last = {"average": of_average, "parameters": of_parameters}
    checks.ordered("mean KL at the last ten of thirty times", last)
    outside = log_partition_on_wide_grid(ring_average) - log_partition(ring_average)
    checks.close("log Z that the grid leaves out", outside, 0.0, atol=1e-3)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: density of the trained energy, with its own $\\log Z$. Middle: the replay buffer at the end. Right: KL divergence from the target by quadrature, of the parameters at 30 times and of their average.", "name": "fig-em-ring"}, "image": {"alt": "Three panels. Eight dark spots on a circle; eight clouds of points at the same places with few points between; two falling curves on a logarithmic axis, a jagged one and a smooth one, which falls from above one to a few hundredths, at the end below the jagged one."}}
fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), width_ratios=(1, 1, 1.3))
with torch.no_grad():
    heat_map(axes[0], -ring_average(plane) - log_partition(ring_average))
scatter(axes[1], ring_buffer[:2_000])
steps, raw, averaged = zip(*history, strict=True)
axes[2].semilogy(steps, raw, label="parameters")
axes[2].semilogy(steps, averaged, label="average")
axes[2].set(xlabel="step", ylabel="KL (nats)")
_ = axes[2].legend()

# %% [markdown]
r"""
## A small step of Langevin is score matching

**If the chains start at the data and take one small step, contrastive divergence minimises the distance between the scores {cite:p}`hyvarinen2007`.**
Let $x' = x - \eta \nabla E(x) + \sqrt{2 \eta}\, \xi$ be one Langevin step from a datum.
For any smooth function $g$, to first order in $\eta$,

$$
\mathbb{E}_\xi\, g(x') = g(x) - \eta\, \nabla g \cdot \nabla E + \eta\, \nabla^2 g + O(\eta^2) .
$$ (eq-em-expansion)

With $g = \partial_\theta E$, and the sample $x'$ held fixed when we differentiate in $\theta$, the expected gradient of the contrast is

$$
\begin{aligned}
&\langle \partial_\theta E(x) \rangle - \langle \partial_\theta E(x') \rangle \\
&\quad = \eta\, \bigl\langle \nabla \partial_\theta E \cdot \nabla E - \nabla^2 \partial_\theta E \bigr\rangle + O(\eta^2) \\
&\quad = \eta\; \partial_\theta \Bigl\langle \tfrac{1}{2} |\nabla E|^2 - \nabla^2 E \Bigr\rangle + O(\eta^2) .
\end{aligned}
$$ (eq-em-score-matching)

The bracket is the objective of *score matching*, $\mathcal{L} = \langle \tfrac{1}{2} |s|^2 + \nabla \cdot s \rangle$ with $s = -\nabla E$.
It is half the mean squared distance of the scores but for a constant: in

$$
\tfrac{1}{2} \bigl\langle |s - \nabla \log p|^2 \bigr\rangle
= \tfrac{1}{2} \bigl\langle |s|^2 \bigr\rangle
- \bigl\langle s \cdot \nabla \log p \bigr\rangle + \text{const}
$$

the middle term is $-\int s \cdot \nabla p = \int p\, \nabla \cdot s$, by parts, if $p\, s$ vanishes far out.
So $\mathcal{L}$ needs neither $Z$ nor samples of the model.

We check it where all means are integrals: a double well $E = x^4/4 - \theta x^2/2$, for which $\mathbb{E}_\xi\, x'^2 = (x + \eta s)^2 + 2 \eta$ is exact.
"""

# %%
THETA = 0.7
p_line = torch.exp(-((u - 0.4) ** 2) / 2) / math.sqrt(2 * math.pi)  # data: N(0.4, 1)


def line_mean(values):
    return (p_line * values).sum().item() * du


def cd_gradient(eta):
    """Expected gradient of the contrast in theta; dE/dtheta = -x^2 / 2."""
    s = -(u**3) + THETA * u
    return line_mean(-(u**2) / 2) - line_mean(-((u + eta * s) ** 2 + 2 * eta) / 2)


def score_matching(theta):
    """J(theta) = mean of s^2 / 2 + s', in one dimension."""
    return line_mean(0.5 * (-(u**3) + theta * u) ** 2 + (-3 * u**2 + theta))


def score_distance(theta):
    """Half the mean squared distance of the scores of model and data."""
    return 0.5 * line_mean((-(u**3) + theta * u + (u - 0.4)) ** 2)


slope = (score_matching(THETA + 1e-4) - score_matching(THETA - 1e-4)) / 2e-4
for eta in (0.1, 0.03, 0.01, 0.001):
    print(f"eta {eta}: CD gradient / eta = {cd_gradient(eta) / eta:.4f}")
print(f"slope of the score matching objective: {slope:.4f}")

# %% tags=["check"]
checks.close(
    "J(0.7) - J(0), against the distances of the scores",
    score_matching(0.7) - score_matching(0.0),
    score_distance(0.7) - score_distance(0.0),
    rtol=1e-10,
)
small_steps = [cd_gradient(eta) / eta for eta in (1e-3, 5e-4)]
# What is left is of the first order in eta: it halves with it, and this removes it.
checks.close(
    "CD gradient / eta for eta -> 0, against the slope of score matching",
    2 * small_steps[1] - small_steps[0],
    slope,
    rtol=1e-6,
)
checks.close(
    "remainder at eta = 0.001 over that at 0.0005",
    (small_steps[0] - slope) / (small_steps[1] - slope),
    2,
    rtol=1e-3,
)

# %% [markdown]
r"""
So contrastive divergence in the limit of small steps learns the score on the data.
$\mathcal{L}$ is a mean over data alone: places where there are none do not enter, and what the energy does there remains open.
Long chains go there.
Score matching, and what to do about its second derivative, is the subject of [a later lecture](score_matching.ipynb).
"""

# %% [markdown]
r"""
## Learning to tell data from noise

```{margin}
**In the sources.** CS236 notes, *Noise contrastive estimation*.
```

**A perfect classifier of data against noise of known density knows the density of the data, normaliser included.**
Mix data with as many points from a noise distribution $q$ that we can sample and evaluate.
By Bayes' rule the probability that a point is a datum is

$$
D(x) = \frac{p(x)}{p(x) + q(x)} = \sigma\bigl(\log p(x) - \log q(x)\bigr) .
$$ (eq-em-posterior)

*Noise-contrastive estimation* {cite:p}`gutmann2012` turns this round: write the classifier with the model,

$$
\ell(x) = -E_\theta(x) - c - \log q(x), \qquad D = \sigma(\ell),
$$ (eq-em-nce-logit)

and minimise the cross-entropy of the two classes in $\theta$ and in the number $c$,

$$
L_\text{NCE} = \bigl\langle -\log \sigma(\ell(x)) \bigr\rangle_{x \sim p}
+ \bigl\langle -\log \sigma(-\ell(x)) \bigr\rangle_{x \sim q} .
$$ (eq-em-nce)

The minimum over all functions $\ell$ is at $\log p - \log q$, wherever there is noise.
If the network is rich enough, $e^{-E_\theta - c}$ therefore becomes $p$ itself, and $c$ becomes $\log Z(\theta)$.
(A constant in $E_\theta$ and $c$ do the same; only their sum is determined, and both sides of the comparison below contain it.)
Maximum likelihood could never learn $c$: it would make it as small as it likes.
Here a model with too much mass takes noise for data, and pays.
"""


# %%
def nce_logits(energy, log_z, noise_log_prob, x):
    return -energy(x) - log_z - noise_log_prob(x)


def nce_loss(data_logits, noise_logits):
    return F.softplus(-data_logits).mean() + F.softplus(noise_logits).mean()


# %% [markdown]
r"""
On a line we know it all: data from $N(0, 1)$, noise from $N(0, 2^2)$, the energy $\theta x^2 / 2$, for which $\log Z = \frac{1}{2} \log (2\pi / \theta)$.
With integrals in place of means the gradient of the loss must vanish at $\theta = 1$, $c = \frac{1}{2} \log 2 \pi = 0.919$, and nowhere near.
With samples the estimate of $c$ must scatter around that value.
"""

# %%
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def wide_log_prob(x):
    """log N(x; 0, 4)."""
    return -(x**2) / 8 - math.log(2) - HALF_LOG_2PI


def line_logits(parameters, x):
    theta, c = parameters
    return nce_logits(lambda x: theta * x**2 / 2, c, wide_log_prob, x)


def fit_on_samples(num):
    """theta and c that minimise the loss on `num` data and `num` points of noise."""
    data, noise = torch.randn(num).double(), 2 * torch.randn(num).double()
    parameters = torch.tensor([0.5, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = nce_loss(line_logits(parameters, data), line_logits(parameters, noise))
        loss.backward()
        return loss

    optimiser.step(closure)
    return parameters.detach()


# %% tags=["check"]
p_data, q_noise = torch.exp(-(u**2) / 2 - HALF_LOG_2PI), torch.exp(wide_log_prob(u))
checks.close(
    "classifier at the truth, against p / (p + q)",
    torch.sigmoid(line_logits((1.0, HALF_LOG_2PI), u)),
    p_data / (p_data + q_noise),
    atol=1e-12,
)


def nce_by_quadrature(parameters):
    logits = line_logits(torch.as_tensor(parameters), u)
    losses = p_data * F.softplus(-logits) + q_noise * F.softplus(logits)
    return losses.sum().item() * du


truth = np.array([1.0, HALF_LOG_2PI])
checks.gradient("NCE at the truth", nce_by_quadrature, truth, np.zeros(2), atol=1e-9)
for shift in ([0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [0.0, -0.1]):
    rise = nce_by_quadrature(truth + shift) - nce_by_quadrature(truth)
    checks.at_least(f"rise of the loss for a shift by {shift}", rise, 1e-4)
# The bias of one estimate is of order 1/num, its scatter of order 1/sqrt(num).
fits = torch.stack([fit_on_samples(4_000) for _ in range(50)])
checks.unbiased("theta and log Z on samples", fits, truth)

# %% [markdown]
r"""
Now the deep energy of the ring, with a broad Gaussian as noise.
No chain is run, and each step is a classification of two batches.
At the end we ask the grid for the true $\log Z$ of the network that was learned, and compare it with $c$.
"""


# %%
def broad_log_prob(x):
    """log N(x; 0, 2^2 I)."""
    return -x.square().sum(1) / 8 - 2 * math.log(2) - 2 * HALF_LOG_2PI


class Normalised(nn.Module):
    """An energy, and its log Z as one more parameter."""

    def __init__(self):
        super().__init__()
        self.energy, self.log_z = Energy(), nn.Parameter(torch.zeros(()))

    def logits(self, noise_log_prob, x):
        return nce_logits(self.energy, self.log_z, noise_log_prob, x)


def train_by_noise(model, num_steps, learning_rate=1e-2, batch_size=1_024):
    """Returns the average of the last parameters."""
    optimiser, average = torch.optim.Adam(model.parameters()), copy.deepcopy(model)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        data, noise = ring[torch.randint(len(ring), (batch_size,))], broad(batch_size)
        loss = nce_loss(
            model.logits(broad_log_prob, data), model.logits(broad_log_prob, noise)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        follow(average, model, 1 / min(step + 1, 400))
    return average


# %%
nce = train_by_noise(Normalised(), P.nce_steps)
protocol = (
    f"eight Gaussians, noise N(0, 4 I), {P.nce_steps:,} steps of 1,024 data and noise"
)
nce_error = run.record(
    "nce_log_z_error",
    abs(nce.log_z.item() - log_partition(nce.energy)),
    unit="nats",
    protocol=f"|learned log Z - log Z of the learned energy by quadrature|, {protocol}",
)
nce_kl = run.record(
    "nce_kl_to_target",
    kl_from_target(nce.energy),
    unit="nats",
    protocol=f"KL(target || model) by quadrature, {protocol}",
)

# %% tags=["check"]
by_library = torch.distributions.Normal(0.0, 2.0).log_prob(ring).sum(1)
checks.close(
    "density of the noise, against torch.distributions",
    broad_log_prob(ring),
    by_library,
    rtol=1e-5,
)
if run.profile != "smoke":
    checks.at_most("error of the learned log Z", nce_error, 0.02)
    checks.at_most("KL from the target to the model by NCE", nce_kl, 0.05)
    outside = log_partition_on_wide_grid(nce.energy) - log_partition(nce.energy)
    checks.close("log Z that the grid leaves out", outside, 0.0, atol=1e-3)
    checks.at_most("KL by NCE over KL by sampling", nce_kl / ebm_kl, 1.0)

# %% [markdown]
r"""
## A noise that learns too

```{margin}
**In the sources.** CS236 notes, *Flow contrastive estimation*; for the flow, *NICE*.
```

**Noise that is easy to tell from data teaches little; a flow can be trained to be mistaken for them.**
In the plane a broad Gaussian overlaps with the data.
In many dimensions it does not: the classifier at the truth is right at once, its loss vanishes, and with it everything that could be learned.
The example is $N(0, I)$ against $N(0, 4 I)$.
"""

# %%
loss_at_truth = {}
for d in (1, 10, 100):
    data, noise = torch.randn(5_000, d).double(), 2 * torch.randn(5_000, d).double()
    logits = [
        (-(x**2) / 2 - HALF_LOG_2PI - wide_log_prob(x)).sum(1) for x in (data, noise)
    ]
    loss_at_truth[d] = nce_loss(*logits).item()
    print(f"dimensions: {d:3}, loss at the truth {loss_at_truth[d]:.1e}")

# %% tags=["check"]
checks.at_most(
    "loss in 100 dimensions over that in one",
    loss_at_truth[100] / loss_at_truth[1],
    1e-4,
)

# %% [markdown]
r"""
*Flow-contrastive estimation* (FCE) {cite:p}`gao2020` makes the noise a *normalising flow* $q_\phi$: a chain of invertible maps whose density is known through their Jacobians.
The energy minimises $L_\text{NCE}$, the flow, which starts from maximum likelihood, maximises it.

The flow here is small; flows have a lecture of their own later.
A *coupling layer* {cite:p}`dinh2017` keeps one coordinate and stretches and shifts the other by amounts that depend on the first, so that it is inverted by hand, and the logarithm of its Jacobian determinant is the logarithm of the stretch.
"""


# %%
class Flow(nn.Module):
    """x = T(z) with z ~ N(0, I) in the plane: coupling layers that take turns."""

    def __init__(self, num_layers=6, hidden_dim=64):
        super().__init__()
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(1, hidden_dim),
                nn.SiLU(),
                nn.Linear(hidden_dim, hidden_dim),
                nn.SiLU(),
                nn.Linear(hidden_dim, 2),
            )
            for _ in range(num_layers)
        )

    def layer(self, k, kept):
        """Logarithm of the stretch, and shift, from the kept coordinate."""
        log_stretch, shift = self.nets[k](kept / 0.25).unbind(1)
        return 2 * torch.tanh(log_stretch / 2), shift

    def forward(self, z):
        columns, log_det = list(z.unbind(1)), 0.0
        for k in range(len(self.nets)):
            log_stretch, shift = self.layer(k, columns[k % 2][:, None])
            columns[1 - k % 2] = columns[1 - k % 2] * log_stretch.exp() + shift
            log_det = log_det + log_stretch
        return torch.stack(columns, 1), log_det

    def inverse(self, x):
        columns, log_det = list(x.unbind(1)), 0.0
        for k in reversed(range(len(self.nets))):
            log_stretch, shift = self.layer(k, columns[k % 2][:, None])
            columns[1 - k % 2] = (columns[1 - k % 2] - shift) * (-log_stretch).exp()
            log_det = log_det - log_stretch
        return torch.stack(columns, 1), log_det

    def log_prob(self, x):
        z, log_det = self.inverse(x)
        return -z.square().sum(1) / 2 - 2 * HALF_LOG_2PI + log_det


# %% tags=["check"]
flow = Flow().double()
for net in flow.nets:  # a new flow is close to the identity: make it do something
    nn.init.normal_(net[-1].weight, std=0.5)
z = torch.randn(200, 2, dtype=torch.float64)
x, log_det = flow(z)
back, log_det_back = flow.inverse(x)
jacobian = torch.stack(
    [
        torch.autograd.functional.jacobian(lambda a: flow(a[None])[0][0], a)
        for a in z[:20]
    ]
)
checks.close("there and back", back, z, atol=1e-8)
checks.close("log det of the way back", log_det_back, -log_det, atol=1e-8)
checks.close(
    "log det, against autograd",
    log_det[:20],
    torch.linalg.slogdet(jacobian).logabsdet,
    atol=1e-9,
)
standard = torch.distributions.MultivariateNormal(
    torch.zeros(2).double(), torch.eye(2).double()
)
checks.close(
    "log-density of T(z)", flow.log_prob(x), standard.log_prob(z) - log_det, atol=1e-8
)


# %%
def train_flow(flow, num_steps, learning_rate=5e-3, batch_size=512):
    """Maximum likelihood, because a flow has a density; returns the average."""
    optimiser, average = torch.optim.Adam(flow.parameters()), copy.deepcopy(flow)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        loss = -flow.log_prob(ring[torch.randint(len(ring), (batch_size,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        follow(average, flow, 1 / min(step + 1, 200))
    return average


# %%
def train_against_flow(model, flow, num_steps, learning_rate=5e-3, batch_size=512):
    """The energy minimises the NCE loss, the flow maximises it; returns both averages."""
    players = (model, flow)
    optimisers = [torch.optim.Adam(player.parameters()) for player in players]
    averages = [copy.deepcopy(player) for player in players]
    for step in range(num_steps):
        data = ring[torch.randint(len(ring), (batch_size,))]
        noise, _ = flow(torch.randn(batch_size, 2))
        loss = nce_loss(
            model.logits(flow.log_prob, data), model.logits(flow.log_prob, noise)
        )
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
            optimiser.zero_grad()
        loss.backward()
        for parameter in flow.parameters():
            parameter.grad.neg_()  # uphill
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        for optimiser, average, player in zip(
            optimisers, averages, players, strict=True
        ):
            optimiser.step()
            follow(average, player, 1 / min(step + 1, 200))
    return averages


# %%
flow_by_likelihood = train_flow(Flow(), P.flow_steps)
fce, fce_flow = train_against_flow(
    Normalised(), copy.deepcopy(flow_by_likelihood), P.flow_steps
)


def negative_log_prob(flow):
    return lambda x: -flow.log_prob(x)


flow_kl = {}
for name, energy, words in (
    (
        "flow_likelihood",
        negative_log_prob(flow_by_likelihood),
        "flow by maximum likelihood",
    ),
    ("fce_flow", negative_log_prob(fce_flow), "flow after flow-contrastive estimation"),
    ("fce", fce.energy, "energy by flow-contrastive estimation"),
):
    flow_kl[name] = run.record(
        f"{name}_kl_to_target",
        kl_from_target(energy),
        unit="nats",
        protocol=f"KL(target || model) by quadrature, eight Gaussians, {words}, "
        f"{P.flow_steps:,} steps",
    )

# %% tags=["check"]
near = (plane.abs() < 2.01).all(1)  # grid points whose cells fill a square
with torch.no_grad():
    x, _ = fce_flow(torch.randn(20_000, 2))
    share = math.exp(integral(fce_flow.log_prob(plane[near])))
checks.close(
    "share of the flow's samples in a square, against the integral of its density",
    (x.abs() < 2.025).all(1).double().mean(),
    share,
    atol=5 * 0.5 / len(x) ** 0.5,
)
if run.profile != "smoke":
    checks.ordered(
        "KL from the target",
        {
            "NCE, Gaussian noise": nce_kl,
            "FCE, energy": flow_kl["fce"],
            "FCE, flow": flow_kl["fce_flow"],
        },
    )
    outside = log_partition_on_wide_grid(fce.energy) - log_partition(fce.energy)
    checks.close(
        "log Z of the energy that the grid leaves out", outside, 0.0, atol=1e-2
    )
    fce_error = abs(fce.log_z.item() - log_partition(fce.energy))
    checks.at_most("error of the learned log Z", fce_error, 0.05)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Densities learned from the same data: noise-contrastive estimation with a Gaussian as noise, a flow by maximum likelihood, and energy and flow of flow-contrastive estimation.", "name": "fig-em-noise"}, "image": {"alt": "Four panels. The two energies show eight separate dark spots on a circle. The two flows show a winding band of uneven darkness along the circle, with bridges between the places of the spots and white slits."}}
fig, axes = plt.subplots(1, 4, figsize=(8.6, 2.5))
shown = {
    "NCE": nce.energy,
    "flow, likelihood": negative_log_prob(flow_by_likelihood),
    "FCE, energy": fce.energy,
    "FCE, flow": negative_log_prob(fce_flow),
}
with torch.no_grad():
    for ax, (name, energy) in zip(axes, shown.items(), strict=True):
        heat_map(ax, -energy(plane) - log_partition(energy))
        ax.set(xlabel=name)

# %% [markdown]
r"""
This small flow bends one Gaussian blob into a band.
Its density is nowhere zero: an invertible map can make gaps that are nearly white, but the blob stays in one piece.
An energy need not be invertible, and its spots are separate: it is better than the flow that taught it.
In the plane, though, the broad Gaussian is noise enough: with it the energy came closer still, after more steps; flows as noise are meant for many dimensions.
Beside the energy that was trained by sampling, both have the advantage that no chain was run.
"""

# %% [markdown]
r"""
## An energy for digits

**The same loop trains a network with one number for each image.**
Three things change.

*The domain.* Grey values lie in $[0, 1]$, and on a bounded set every bounded energy has a finite $Z$.
A wall can be had without touching the sampler: let the particle walk through it and fold the space back, as with mirror images in electrostatics.
With the energy $E(\operatorname{fold}(x))$, Langevin steps in free space are steps between reflecting walls:

$$
\operatorname{fold}(x) = 1 - \bigl|1 - (x \bmod 2)\bigr| .
$$ (eq-em-fold)

*The unit of energy.* Pixels are sharp: data that are known to $0.05$ have a density whose logarithm curves by up to $1 / 0.05^2$ in each of 784 directions, so that energies of images differ by hundreds of nats.
The network gives a number of order one, and 500 times that is the energy in nats.

*The data.* A little Gaussian noise of 0.05 is added to them, for that reason: without it the density would be infinitely sharp, and no step size small enough.
The step is $\eta = 5 \cdot 10^{-4}$, so that the kicks of Langevin, $\sqrt{2 \eta} = 0.03$, are smaller than that noise.
So here Langevin runs at temperature one, for the density that is being learned; programs that use a large step and a much smaller noise sample another, colder one.
"""


# %% tags=["twin:dgm.models.energy.fold"]
def fold(x):
    return 1 - (1 - torch.remainder(x, 2)).abs()


# %% tags=["twin:dgm.models.energy.ImageEnergy"]
class ImageEnergy(nn.Module):
    scale = 500.0  # nats for one unit of the network
    wrap = staticmethod(fold)

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(
            nn.Linear(784, 512),
            nn.SiLU(),
            nn.Linear(512, 256),
            nn.SiLU(),
            nn.Linear(256, 1),
        )

    def forward(self, x):
        return self.scale * self.f(fold(x)).squeeze(1)


# %%
def uniform_noise(num):
    return torch.rand(num, 784, device=run.device)


# %% tags=["check"]
checks.close(
    "fold",
    fold(torch.tensor([-0.3, 0.0, 0.4, 1.0, 1.2, 2.1, -1.7])),
    [0.3, 0.0, 0.4, 1.0, 0.8, 0.1, 0.3],
    atol=1e-6,
)
# Between walls an energy of zero keeps the uniform density, a slope 3 x gives an
# exponential one.
walls = langevin(torch.rand(50_000, 1), lambda x: torch.zeros_like(x), 0.01)
flat = fold(next(islice(walls, 20, None)))
checks.unbiased("no energy: mean", flat[:, 0], 0.5)
checks.unbiased("no energy: second moment", flat[:, 0].square(), 1 / 3)
slope_score = score_of(lambda x: 3 * fold(x).squeeze(1))
tilted = fold(
    next(islice(langevin(torch.rand(50_000, 1), slope_score, 0.001), 1_000, None))
)
mean = 1 / 3 - math.exp(-3) / (1 - math.exp(-3))
checks.close(
    "slope 3: mean, up to an error of order sqrt(eta)", tilted.mean(), mean, atol=0.03
)


# %%
def new_images(name, num_steps, **changes):
    """An energy of images, and the history of both mean energies in its unit."""
    energy = ImageEnergy().to(run.device)
    optimiser, buffer, history = adam_of(energy), uniform_noise(4096), []
    settings = dict(
        num_steps=num_steps,
        step_size=5e-4,
        learning_rate=1e-4,
        chain_length=P.chain_length,
        batch_size=64,
        penalty=1e-3,
        noise=0.05,
        num_kept=4096,
        max_norm=0.1,
        optimiser=optimiser,
        buffer=buffer,
    )
    settings |= changes
    steps = resumed(
        run.checkpoints(name),
        name,
        num_steps,
        dict(energy=energy, optimiser=optimiser, buffer=buffer, history=history),
        lambda done: train(energy, x_train, uniform_noise, done=done, **settings),
    )
    for _, e_data, e_model in steps:
        history.append((e_data / energy.scale, e_model / energy.scale))
    return energy, buffer, history


x_train = torch.from_numpy(run.data.vectors("train")).to(run.device)
image_energy, image_buffer, image_history = new_images("images", P.image_steps)

# %% tags=["check"]
checks.at_least("smallest grey value in the buffer", image_buffer.min(), 0)
checks.at_most("largest grey value in the buffer", image_buffer.max(), 1)

# %% [markdown]
r"""
What you should see in a healthy run: after a short excursion the mean energies of data and samples move together.
The curve does not tell how good the samples are; look at them below.

What happens when the chains are too short, and what does the penalty do then?
With chains of **one step** the samples stay far behind the energy, which is then free to rise at the samples and to fall at the data.
In units of 500 nats the loss is $e_d - e_m + \alpha (e_d^2 + e_m^2)$, with $e_d$ and $e_m$ for data and samples; the **penalty** gives it a minimum at $e_d = -1/2\alpha = -500$ and $e_m = 500$, so that the gap ends near 1,000.
Without it there is no limit; and even in a healthy run nothing holds the level.
(What the clipping is for: put `max_norm=math.inf` and watch for a few hundred steps.)
"""

# %%
ABLATIONS = {
    "chains of one step": dict(chain_length=1),
    "chains of one step, no penalty": dict(chain_length=1, penalty=0.0),
}
ablations = {"all precautions": image_history[: P.ablation_steps]}
for name, changes in ABLATIONS.items():
    ablations[name] = new_images(name, P.ablation_steps, **changes)[2]

# %% tags=["check"]
bias = small.f[-1].bias
for penalty in (0.0, 0.1):
    loss, e_data, e_model = contrast(small, few[:2], few[2:4], penalty)
    (slope_in_level,) = torch.autograd.grad(loss, bias)
    checks.close(
        f"penalty {penalty}: slope of the loss in the level of the energy",
        slope_in_level[0],
        2 * penalty * (e_data + e_model),
        atol=1e-12,
    )
if run.on_mnist and run.profile != "smoke":

    def gap(name):
        """How far samples lie above data, mean of the last 50 steps."""
        last = torch.tensor(ablations[name][-50:])
        return (last[:, 1] - last[:, 0]).mean().item()

    together, apart, free = (gap(name) for name in ablations)
    checks.at_most("gap with all precautions, in units", abs(together), 1)
    checks.at_least("gap, chains of one step", apart, 500)
    checks.at_most("the same, limit 2 * 500 by the penalty", apart, 1_100)
    checks.at_least("gap without penalty: beyond that limit", free, 1_100)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean energy of data (solid) and of samples (dashed; where the two coincide the dashes fill up), in units of 500 nats, with chains of full length, with chains of one step, and with chains of one step and no penalty. The axis is linear between -10 and 10 and logarithmic outside.", "name": "fig-em-ablation"}, "image": {"alt": "Three pairs of curves over training steps. One pair, after a short excursion, stays together near one. In the second the curve of the samples rises to some hundreds and that of the data falls to minus some hundreds. The third pair runs apart much further."}}
fig, ax = plt.subplots(figsize=(7.0, 3.8))
for (name, history), colour in zip(ablations.items(), plotting.COLOURS, strict=False):
    e_data, e_model = zip(*history, strict=True)
    ax.plot(e_data, color=colour, label=name)
    ax.plot(e_model, "--", color=colour)
ax.set_yscale("symlog", linthresh=10)
ax.set(xlabel="step", ylabel="mean energy / 500 nats")
_ = ax.legend(loc="center right", bbox_to_anchor=(1, 0.36), fontsize=9)

# %% [markdown]
r"""
Samples, not chosen: chains that start from uniform noise and run ten times longer than those of the training.
Beside them we run chains that start at test images.
In equilibrium both would have the same mean energy.
"""

# %%
chain = langevin(uniform_noise(40), score_of(image_energy), 5e-4)
frames, labels = [], []
for step in range(1, 10 * P.chain_length + 1):
    x = next(chain)
    if step in (1, 2, 4, 8, 12, 16, 20, 30, 40, 60, 80, 120, 160, 200):
        sheet = plotting.tile(fold(x).reshape(-1, 28, 28).cpu(), columns=10)
        frames.append(sheet)
        labels.append(f"step {step}")
x_test = torch.from_numpy(run.data.vectors("test")).to(run.device)


def with_noise(x):
    """As the training data: Gaussian noise of 0.05, between the walls."""
    return fold(x + 0.05 * torch.randn_like(x))


from_digits = langevin(with_noise(x_test[:40]), score_of(image_energy), 5e-4)
y = next(islice(from_digits, 10 * P.chain_length - 1, None))
with torch.no_grad():
    for name, images in (
        ("test images", with_noise(x_test[:40])),
        ("the same, after the chain", y),
        ("from noise, after the chain", x),
    ):
        e = image_energy(images) / image_energy.scale
        print(f"{name}: mean energy {e.mean():.2f} +/- {e.std() / 40**0.5:.2f} units")
moved = (fold(y) - x_test[:40]).square().sum(1).sqrt().mean()
apart = torch.cdist(x_test[:40], x_test[:40]).sum() / (40 * 39)
print(
    f"distance of the chains from their digits {moved:.1f}, of two digits {apart:.1f}"
)

# %% [markdown]
r"""
Compare the printed lines: where the mean energies differ by several standard errors, the chains have not come to equilibrium, and what they produce depends on where they start {cite:p}`nijkamp2020`.
And if the chains lower the energy of test images, test images are not typical of the model, although the curves of data and samples move together during the training.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Forty Langevin chains from uniform noise: the film begins with the noise.", "name": "fig-em-film"}}
plotting.film(
    frames,
    labels=labels,
    alt="Forty squares of noise. Within about twenty steps each becomes a dark blob, "
    "by about sixty steps a shape of strokes; at the end many of them resemble digits, "
    "some are fragments.",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Upper half: particles of the replay buffer at the end of the training. Lower half: test images with the noise that the training data had.", "name": "fig-em-buffer"}, "image": {"alt": "Two sheets of thirty digits each. Above, shapes of strokes, many of which can be read as digits, some broken, a few grey smears that were restarted not long ago. Below, real digits with faint grey noise."}}
shown = torch.cat([image_buffer[:30], with_noise(x_test[:30])])
_ = plotting.image_grid(shown.cpu(), columns=15)

# %% [markdown]
r"""
## Is this image unusual?

**The energy ranks images by log-density, without $Z$; how well it separates two kinds is the area under the ROC curve.**
That area is the probability that a foreign image has a higher energy than a digit, drawn at random: 1 is perfect, 1/2 is chance, below 1/2 is wrong way round.
It is computed on test images, all with the same noise as the training data.
Its standard error {cite:p}`hanley1982` knows of the images that were drawn, not of other training runs, and takes the two sets as independent, which turned copies of the same images are not.

A number needs a baseline: the negative log-density of one Gaussian with the mean and the covariance of the training images.
"""


# %%
def auroc(e_digits, e_foreign):
    """P(foreign > digit) + P(equal) / 2, and its standard error."""
    n, m = len(e_digits), len(e_foreign)
    labels = np.r_[np.zeros(n), np.ones(m)]
    a = float(roc_auc_score(labels, torch.cat([e_digits, e_foreign]).cpu().numpy()))
    a_inside = min(max(a, 0.5 / (n * m)), 1 - 0.5 / (n * m))  # no error of zero
    q_1, q_2 = a_inside / (2 - a_inside), 2 * a_inside**2 / (1 + a_inside)
    more = (m - 1) * (q_1 - a_inside**2) + (n - 1) * (q_2 - a_inside**2)
    variance = a_inside * (1 - a_inside) + more
    return a, math.sqrt(variance / (n * m))


# %%
turned = torch.rot90(x_test.reshape(-1, 28, 28), 1, (1, 2)).reshape(-1, 784)
permutation = torch.randperm(784, device=run.device)
FOREIGN = {
    "noise": (uniform_noise(len(x_test)), "uniform noise"),
    "rotated": (with_noise(turned), "test images turned by 90 degrees"),
    "upside_down": (with_noise(x_test.flip(1)), "test images turned by 180 degrees"),
    "shuffled": (with_noise(x_test[:, permutation]), "test images, pixels shuffled"),
    "blank": (with_noise(torch.zeros_like(x_test)), "blank paper"),
}
mean = x_train.mean(0)
covariance = torch.cov(x_train.T) + 0.05**2 * torch.eye(784, device=run.device)
factor = torch.linalg.cholesky(torch.linalg.inv(covariance))


def gaussian_energy(x):
    """Half the squared Mahalanobis distance."""
    return ((x - mean) @ factor).square().sum(1) / 2


with torch.no_grad():
    e_test = image_energy(with_noise(x_test))
    e_foreign = {name: image_energy(x) for name, (x, _) in FOREIGN.items()}
areas = {}
for name, (_, words) in FOREIGN.items():
    areas[name], error = auroc(e_test, e_foreign[name])
    run.record(
        f"ebm_mnist_ood_auroc_{name}",
        areas[name],
        unit="1",
        standard_error=error,
        protocol=f"area under the ROC curve of the energy, test images against {words}, "
        f"noise of 0.05 on all but the uniform noise, {P.image_steps:,} training steps",
    )

# %%
g_test = gaussian_energy(with_noise(x_test))
baseline = {
    name: auroc(g_test, gaussian_energy(x))[0] for name, (x, _) in FOREIGN.items()
}
for name, area in areas.items():
    print(f"{name:12} deep energy {area:.3f}, one Gaussian {baseline[name]:.3f}")
_ = run.record(
    "gaussian_mnist_ood_auroc_rotated",
    baseline["rotated"],
    unit="1",
    protocol="the same, with the Mahalanobis distance of one Gaussian as the energy",
)

# %% tags=["check"]
low, high = torch.randn(40), torch.randn(60) + 0.5
pairs = (high > low[:, None]).double().mean()
checks.close("area, against counting pairs", auroc(low, high)[0], pairs, atol=1e-12)
checks.close("separated energies", auroc(low, low + 9)[0], 1.0)
# Exponential energies, for which the formula is exact; 20 digits, 200 foreign images.
draws = torch.tensor(
    [
        auroc(torch.rand(20).log().neg(), 4 * torch.rand(200).log().neg())
        for _ in range(1_000)
    ],
    dtype=torch.float64,
)
checks.unbiased("area for energies four times as large: 4/5", draws[:, 0], 0.8)
a, n, m = 0.8, 20, 200
exact = (
    a * (1 - a) + (m - 1) * (a / (2 - a) - a**2) + (n - 1) * (2 * a**2 / (1 + a) - a**2)
)
checks.unbiased("its squared error", (draws[:, 0] - a) ** 2, exact / (n * m))
checks.close(
    "the claimed error, on average", draws[:, 1].mean(), draws[:, 0].std(), rtol=0.2
)
# %% tags=["check"]
normal = torch.distributions.MultivariateNormal(
    dgm.float64(mean), dgm.float64(covariance)
)
twenty = with_noise(x_test[:20])
log_p = normal.log_prob(dgm.float64(twenty))
checks.close(
    "Gaussian energies of 20 images, relative to the first, against torch.distributions",
    gaussian_energy(twenty) - gaussian_energy(twenty[:1]),
    log_p[0] - log_p,
    atol=0.01,  # single precision of sums of 784 terms, some hundreds in all
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("area for uniform noise", areas["noise"], 0.99)
    checks.at_least("area for digits turned by 90 degrees", areas["rotated"], 0.8)
    checks.at_least("shuffled pixels", areas["shuffled"], 0.95)
    checks.ordered(
        "area", {"upside down": areas["upside_down"], "on the side": areas["rotated"]}
    )
    for name in ("rotated", "upside_down"):
        checks.at_least(
            f"{name}: area, minus that of one Gaussian",
            areas[name] - baseline[name],
            0.02,
        )
    checks.at_least(
        "one Gaussian: noise, shuffled pixels",
        [baseline["noise"], baseline["shuffled"]],
        0.99,
    )
    stranger = (e_test > e_foreign["blank"].median()).double().mean()
    checks.at_least("share of digits with more energy than blank paper", stranger, 0.05)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Energies of test images and of three kinds of foreign ones. Shuffled pixels and uniform noise lie far to the right of this picture. The lowest thousandth of the test images and the highest thousandth of the rotated ones are cut off; the vertical axis is logarithmic.", "name": "fig-em-ood"}, "image": {"alt": "Histograms of energies. Those of blank paper are a narrow peak inside the broad hill of the test images. Digits upside down overlap with the test images too, digits on their side lie further right."}}
fig, ax = plt.subplots()
unit = image_energy.scale
edges = torch.linspace(
    torch.quantile(e_test, 0.001).item() / unit,
    torch.quantile(e_foreign["rotated"], 0.999).item() / unit,
    80,
)
ax.hist(e_test.cpu() / unit, bins=edges, color="black", alpha=0.35, label="test images")
for name in ("blank", "upside_down", "rotated"):
    values = e_foreign[name].cpu() / unit
    label = f"{name.replace('_', ' ')}, area {areas[name]:.2f}"
    ax.hist(values, bins=edges, histtype="step", linewidth=1.6, label=label)
ax.set(xlabel="energy / 500 nats", ylabel="images")
ax.set(yscale="log", ylim=(0.7, None))
_ = ax.legend(fontsize=9)

# %% [markdown]
r"""
One Gaussian alone finds noise and shuffled pixels as well as the network does; on turned digits the network is better.
Turned digits are recognised as unusual most of the time; upside down, where 0, 1 and 8 are digits still, less often.
Blank paper is the warning: to us it is no digit at all, and yet to this energy some of the digits are stranger than it: the area in the legend is the share that are not.
A low energy means a high density, and a high density is not the same as belonging to the data: a simple image can be likely under a model that never drew it.
"""

# %% [markdown]
r"""
## Exercises

```{exercise-start} Or instead of and
:label: ex-em-or
```
Adding energies says "this and that".
Write `either(energy_1, energy_2, log_z_1, log_z_2)`: it returns the energy, as a function of $x$, of the mixture $\frac{1}{2} p_1 + \frac{1}{2} p_2$, normalised, so that its own $\log Z$ is zero.
Why does "or" need the normalisers when "and" does not?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def either(energy_1, energy_2, log_z_1, log_z_2):
    return None


# %% tags=["check"]
def check_either(answer):
    log_z = log_partition(annulus), log_partition(stripes)
    mixture = answer(annulus, stripes, *log_z)
    if mixture is None:
        return print("not yet")
    wanted = 0.5 * logs["circle"].double().exp() + 0.5 * logs["stripes"].double().exp()
    checks.close(
        "density of the mixture", (-mixture(plane)).double().exp(), wanted, atol=1e-5
    )
    checks.close("its log Z", log_partition(mixture), 0.0, atol=1e-5)
    return print("right")


check_either(either)

# %% [markdown]
r"""
````{solution-start} ex-em-or
:class: dropdown
````
"""


# %% tags=["solution"]
def either(energy_1, energy_2, log_z_1, log_z_2):
    def mixture(x):
        log_1, log_2 = -energy_1(x) - log_z_1, -energy_2(x) - log_z_2
        return math.log(2) - torch.logaddexp(log_1, log_2)

    return mixture


check_either(either)

# %% [markdown]
r"""
A sum compares the two densities in absolute terms, so that their scales matter; in a product a wrong scale is a constant factor and falls out with the new $Z$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} More noise than data
:label: ex-em-ratio
```
Let there be $\nu$ points of noise for each datum.
Write `logit_correction(nu)`: what has to be added to $\log p - \log q$ to give the logit of the classifier.
The loss is then the mean over the data plus $\nu$ times the mean over the noise.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def logit_correction(nu):
    return None


# %% tags=["check"]
def check_correction(answer):
    if answer(3) is None:
        return print("not yet")

    def loss(parameters, nu):
        logits = line_logits(torch.as_tensor(parameters), u) + answer(nu)
        losses = p_data * F.softplus(-logits) + nu * q_noise * F.softplus(logits)
        return losses.sum().item() * du

    for nu in (0.5, 3.0):
        at_truth = torch.sigmoid(line_logits(truth, u) + answer(nu))
        checks.close(
            f"nu = {nu}: classifier at the truth",
            at_truth,
            p_data / (p_data + nu * q_noise),
            atol=1e-12,
        )
        checks.gradient(
            f"nu = {nu}: loss at the truth",
            lambda parameters, nu=nu: loss(parameters, nu),
            truth,
            np.zeros(2),
            atol=1e-8,
        )
    return print("right")


check_correction(logit_correction)

# %% [markdown]
r"""
````{solution-start} ex-em-ratio
:class: dropdown
````
"""


# %% tags=["solution"]
def logit_correction(nu):
    return -math.log(nu)


check_correction(logit_correction)

# %% [markdown]
r"""
Bayes' rule with prior odds of $1 : \nu$ gives $D = p / (p + \nu q)$, and its logit is $\log p - \log q - \log \nu$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} What the noise costs
:label: ex-em-variance
```
For $N$ data and $\nu N$ points of noise the estimates of $\theta$ and $c$ scatter, for large $N$, with the covariance $\Sigma / N$ {cite:p}`gutmann2012`,

$$
\begin{aligned}
\Sigma &= I^{-1} - \Bigl(1 + \frac{1}{\nu}\Bigr) I^{-1} m\, m^\top I^{-1}, \\
I &= \textstyle\int w\, p\, g g^\top, \\
m &= \textstyle\int w\, p\, g ,
\end{aligned}
$$

with $w = \nu q / (p + \nu q)$ and $g$ the gradient of $-E_\theta - c$ in $(\theta, c)$.
Write `nce_variance(nu, q)` for the parabola on the line `u` at $\theta = 1$: the variance $\Sigma_{\theta\theta}$ for a noise density `q` given on the grid.
If noise could be had from $p$ itself, what would be the best factor over maximum likelihood, whose $\Sigma_{\theta\theta}$ is 2?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def nce_variance(nu, q):
    return None


# %% tags=["check"]
def check_variance(answer):
    if answer(1.0, q_noise) is None:
        return print("not yet")
    for nu in (1.0, 4.0):
        checks.close(
            f"nu = {nu}, noise from p: (1 + 1/nu) times 2",
            answer(nu, p_data),
            2 * (1 + 1 / nu),
            rtol=1e-9,
        )
    ratio = answer(1.0, q_noise) / answer(1.0, p_data)
    checks.at_most("wide noise over noise from p", ratio, 0.8)
    scatter = 4_000 * (fits[:, 0] - fits[:, 0].mean()) ** 2 * 50 / 49
    checks.unbiased("nu = 1, wide noise: 50 fits", scatter, answer(1.0, q_noise))
    return print("right")


check_variance(nce_variance)

# %% [markdown]
r"""
````{solution-start} ex-em-variance
:class: dropdown
````
"""


# %% tags=["solution"]
def nce_variance(nu, q):
    g = torch.stack([-(u**2) / 2, -torch.ones_like(u)])
    weighted = du * p_data * nu * q / (p_data + nu * q) * g
    inverse, m = torch.linalg.inv(weighted @ g.T), weighted.sum(1)
    return (inverse - (1 + 1 / nu) * torch.outer(inverse @ m, inverse @ m))[0, 0]


check_variance(nce_variance)

# %% [markdown]
r"""
With $q = p$ the weight is a constant, and the result is $1 + 1/\nu$ times the variance of maximum likelihood: 2 for as much noise as data, and 1 only for infinitely much.
And $p$ is not the best noise: the wide Gaussian of this lecture does better, because it says more about the tails.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Score matching by automatic differentiation
:label: ex-em-score
```
Write `score_matching_loss(energy, x)` in the plane: the mean over the rows of $\frac{1}{2} |\nabla E|^2 - \nabla^2 E$, with automatic differentiation.
For a parabola of variance $v$ it is $\langle |x|^2 \rangle / 2 v^2 - 2 / v$; for a network the check takes differences.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def score_matching_loss(energy, x):
    return None


# %% tags=["check"]
def check_score_matching(answer):
    x = torch.randn(4_000, 2, dtype=torch.float64)
    if answer(parabola(0.5), x) is None:
        return print("not yet")
    for v in (0.5, 2.0):
        squared = x.square().sum(1).mean()
        checks.close(
            f"parabola of variance {v}",
            answer(parabola(v), x),
            squared / (2 * v**2) - 2 / v,
            rtol=1e-10,
        )
    bent = answer(small, x[:3])
    h = 1e-4
    total = 0.0
    with torch.no_grad():
        for axis in torch.eye(2, dtype=torch.float64):
            up, down, here = (
                small(x[:3] + h * axis),
                small(x[:3] - h * axis),
                small(x[:3]),
            )
            total += (
                ((up - down) / (2 * h)) ** 2 / 2 - (up + down - 2 * here) / h**2
            ).mean()
    checks.close("a network, against differences", bent, total, rtol=1e-4)
    return print("right")


check_score_matching(score_matching_loss)

# %% [markdown]
r"""
````{solution-start} ex-em-score
:class: dropdown
````
"""


# %% tags=["solution"]
def score_matching_loss(energy, x):
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    laplacian = sum(
        torch.autograd.grad(gradient[:, i].sum(), x, create_graph=True)[0][:, i]
        for i in range(x.shape[1])
    )
    return (gradient.square().sum(1) / 2 - laplacian).mean()


check_score_matching(score_matching_loss)

# %% [markdown]
r"""
The Laplacian takes one more backward pass for each dimension: two here, 784 for a digit.
Denoising and sliced score matching, in [a later lecture](score_matching.ipynb), avoid them {cite:p}`song2021`.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. A network plus a parabola, or a network on a cube, is a density, {eq}`eq-em-confined`; in the plane its $Z$ is a sum over a grid.
2. Adding energies multiplies densities, {eq}`eq-em-product`; ratios alone clean a picture ({numref}`fig-em-denoise`).
3. `train` is the loop for the plane and for images; {numref}`fig-em-ablation` shows what chains of one step do, and where the penalty stops them.
4. One small Langevin step makes contrastive divergence score matching, {eq}`eq-em-score-matching`.
5. Noise-contrastive estimation learns $E$ and $\log Z$ together, {eq}`eq-em-nce`, and a flow can be its noise.
6. The energy tells noise from digits, and not every foreign image ({numref}`fig-em-ood`).

The recorded numbers stand on the [results page](../book/results.md); $\log Z$ of the energy of images is not estimated here.

**What comes next:** models with hidden variables whose likelihood is bounded instead of sampled: the variational autoencoder.

**Reading:** {cite:t}`lecun2006` for the idea in its breadth; {cite:t}`song2021` for ways to train these models; {cite:t}`nijkamp2020` for what short chains do and do not learn; {cite:t}`grathwohl2020` for a classifier that is also an energy; the tutorial of {cite:t}`lippe2024` for a convolutional version.
"""

# %%
run.finish()

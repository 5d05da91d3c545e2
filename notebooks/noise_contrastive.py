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
# Learning to tell data from noise

Train a classifier to tell data from noise whose density you know, and you have trained an energy: no chain is run, and $\log Z$ comes with it as one more parameter.
You will see why, watch it work where $\log Z$ is known, and learn what makes a noise good, up to a noise that learns to imitate the data.

```{opening} fig-nc-film
The density inside a classifier, while it learns to tell a ring of eight Gaussians from a broad one.
```

At the end of this lecture you will be able to

1. prove that the best classifier of data against noise knows the density of the data, normaliser included;
2. train an energy and its $\log Z$ by noise-contrastive estimation;
3. say when a noise teaches nothing, and why the noise that is most like the data need not be the best;
4. set up the game of an energy against a flow, and say what each of them gains;
5. compare three ways to train an energy without chains, by what each needs and what it is blind to.

- **You need** [deep energy models](energy_models.ipynb), and for the last noise [normalising flows](flows.ipynb); some PyTorch.
- **Sources:** {cite:t}`gutmann2012` for the estimator, {cite:t}`gao2020` for the flow, {cite:t}`ceylan2018` for noise beside the data.
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

import dgm
from dgm import checks, plotting
from dgm.models.energy import (
    PlaneEnergy,
    follow,
    grid,
    kl_from,
    let_fall,
    log_partition,
)
from dgm.models.flows import RealNVP, fit

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn.functional import softplus

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "nce_steps": (60, 6_000, 20_000),  # of 1,024 data and as many points of noise
    "flow_steps": (40, 1_500, 5_000),  # of 512 data, for the flow and for the game
}
# Rates of Adam, falling to zero, batches, memories of the averages: of NCE, of the flow.
NCE_RATE, NCE_BATCH, NCE_MEMORY = 1e-2, 1_024, 400
FLOW_RATE, FLOW_BATCH, FLOW_MEMORY = 5e-3, 512, 200
FLOW, FLOW_NORM = dict(num_layers=6, scale=4.0), 1.0  # where its gradient is clipped
START, FITS, FRAMES = (0.5, 0.0), (50, 4_000), 15  # of fits on a line; of the film
NUM_POINTS = 200_000  # on the ring

# %%
run = dgm.start("noise_contrastive", parameters=PARAMETERS)
P = run.parameters

# %% [markdown]
r"""
## The best classifier knows the density

```{margin}
**In the sources.** CS236 notes, *Noise contrastive estimation*.
```

Mix data from $p$ with as many points of a noise $q$ that we can sample and evaluate, and ask of each point whether it is a datum.
By Bayes' rule the probability of that is

$$
D(x) = \frac{p(x)}{p(x) + q(x)} = \sigma\bigl(\log p(x) - \log q(x)\bigr) .
$$ (eq-nc-posterior)

**A perfect classifier of data against noise of known density knows the density of the data, normaliser included: solve for $p$.**
*Noise-contrastive estimation* {cite:p}`gutmann2012` turns this round: write the classifier with the model,

$$
\ell(x) = -E_\theta(x) - c - \log q(x), \qquad D = \sigma(\ell),
$$ (eq-nc-logit)

and minimise the cross-entropy of the two classes in $\theta$ and in the number $c$,

$$
L = \bigl\langle -\log \sigma(\ell(x)) \bigr\rangle_{x \sim p}
+ \bigl\langle -\log \sigma(-\ell(x)) \bigr\rangle_{x \sim q} .
$$ (eq-nc-loss)

```{figure} ../figures/nc_classifier.svg
:name: fig-nc-classifier
:alt: Two boxes on the left, data and noise q, lead to a box, energy and c, whose output is minus E minus c. From it log q is subtracted, which gives the logit, and a sigmoid gives the probability that the point is a datum. A dashed arrow from the loss leads back to the energy and c. The noise stays as it is.
:width: 660px

Noise-contrastive estimation. The only thing that learns is the energy with its constant, inside the classifier.
```

The minimum over all functions $\ell$ is at $\log p - \log q$, wherever there is noise.
If the network is rich enough, $e^{-E_\theta - c}$ therefore becomes $p$ itself, and $c$ becomes $\log Z(\theta)$.
Maximum likelihood could never learn $c$: it would make it as small as it likes.
Here a model with too much mass takes noise for data, and pays.

```{margin}
**A common mistake:** to call this a GAN.
No generator learns here, and unlike a GAN's discriminator the classifier contains a density.
```
"""


# %% tags=["method"]
def nce_logits(energy, log_z, noise_log_prob, x):
    return -energy(x) - log_z - noise_log_prob(x)


def nce_loss(data_logits, noise_logits):
    return softplus(-data_logits).mean() + softplus(noise_logits).mean()


# %% [markdown]
r"""
On a line we know it all: data from $N(0, 1)$, noise from $N(0, 2^2)$, the energy $\theta x^2 / 2$, for which $\log Z = \frac{1}{2} \log (2\pi / \theta)$.
The truth is $\theta = 1$ and $c = \frac{1}{2} \log 2 \pi = 0.919$.
"""


# %%
def normal_log_prob(x, std):
    """log N(x; 0, std^2 I), summed over the last axis."""
    return (-((x / std) ** 2) / 2 - math.log(std) - math.log(2 * math.pi) / 2).sum(-1)


def line_logits(parameters, x):
    theta, c = parameters
    noise_log_prob = normal_log_prob(x[:, None], 2)
    return nce_logits(lambda x: theta * x**2 / 2, c, lambda x: noise_log_prob, x)


def fit_on_samples(num):
    """theta and c that minimise the loss on `num` data and `num` points of noise."""
    data, noise = torch.randn(num).double(), 2 * torch.randn(num).double()

    def loss(parameters):
        return nce_loss(line_logits(parameters, data), line_logits(parameters, noise))

    return torch.from_numpy(minimize(loss, START).x)


u, du = torch.linspace(-20, 20, 40_001, dtype=torch.float64), 0.001
p, q = (normal_log_prob(u[:, None], std).exp() for std in (1, 2))
truth = np.array([1.0, math.log(2 * math.pi) / 2])
fits = torch.stack([fit_on_samples(FITS[1]) for _ in range(FITS[0])])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: densities of data and of noise. Middle: the best classifier, the share of the data at each place. Right: $\\theta$ and $c$ of fifty fits to 4,000 data and 4,000 points of noise; the cross is the truth.", "name": "fig-nc-line"}, "image": {"alt": "Three panels. A high narrow blue and a low wide grey bell; a curve that is two thirds in the middle and falls to zero on both sides; a cloud of orange points around a black cross."}}
fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.6))
for density, colour, name, x in ((p, plotting.COLOURS[0], "data", 0.9), (q, "#8a8f98", "noise", 2.4)):  # fmt: skip
    axes[0].plot(u, density, color=colour)
    axes[0].annotate(name, (x, density[20_000 + round(1_000 * x)]), (5, 3), color=colour, textcoords="offset points")  # fmt: skip
axes[0].set(xlabel="x", ylabel="density", xlim=(-6, 6), ylim=(0, 0.46))
axes[1].plot(u, p / (p + q), color="black")
axes[1].set(xlabel="x", ylabel="D(x)", xlim=(-6, 6), ylim=(0, 1))
axes[2].plot(*fits.T, ".", color=plotting.COLOURS[1])
axes[2].plot(*truth, "k+", markersize=14)
_ = axes[2].set(xlabel=r"$\theta$", ylabel="c")


# %% tags=["check"]
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def loss_by_quadrature(parameters, nu=1.0, shift=0.0):
    logits = line_logits(parameters, u) + shift
    return (p * softplus(-logits) + nu * q * softplus(logits)).sum().item() * du


at_truth = torch.sigmoid(line_logits(truth, u))
checks.close("classifier at the truth = p / (p + q)", at_truth, p / (p + q), atol=1e-12)
moments = [[(f * u**k).sum() * du for k in (0, 2)] for f in (p, q)]
checks.close("integral and variance of data, of noise", moments, [[1, 1], [1, 4]], atol=1e-9)  # fmt: skip
checks.gradient("NCE at the truth", loss_by_quadrature, truth, np.zeros(2), atol=1e-9)
moved = [loss_by_quadrature(truth + 0.1 * np.array(step)) for step in SIDES]
checks.at_least("the loss rises on all sides", min(moved) - loss_by_quadrature(truth), 1e-4)  # fmt: skip
pair = torch.tensor([0.3, -1.0]), torch.tensor([2.0, 0.5])
by_hand = -torch.sigmoid(pair[0]).log().mean() - torch.sigmoid(-pair[1]).log().mean()
checks.close("the loss is a cross-entropy", nce_loss(*pair), by_hand, rtol=1e-6)
# The bias of one estimate is of order 1/num, its scatter of order 1/sqrt(num).
checks.unbiased("theta and log Z on samples", fits, truth)

# %% [markdown]
r"""
```{dropdown} A one-minute question: a constant is added to the energy. What does c do?
It falls by the same constant: only $E_\theta + c$ enters the logit.
That is why $c$ has to be compared with the $\log Z$ of the energy that was learned, and not with a fixed number.
```

## The normaliser as a by-product

**A deep energy learns its own $\log Z$, and a grid confirms it.**
The target is the ring of eight Gaussians of [the last lecture](energy_models.ipynb), the network its `PlaneEnergy`, the noise a broad Gaussian.
Each step is a classification of two batches.
"""

# %%
target = dgm.data.ring_of_gaussians(8, radius=2.0, std=0.3)
ring = torch.from_numpy(target.sample(NUM_POINTS, rng=run.rng)).float()
points, area = grid()  # 201 x 201 points from -5 to 5, and the area of each


def batch(num):
    return ring[torch.randint(len(ring), (num,))]


def broad(num):
    return 2 * torch.randn(num, 2)


def broad_log_prob(x):
    return normal_log_prob(x, 2)


class Normalised(nn.Module):
    """An energy, and its log Z as one more parameter."""

    def __init__(self):
        super().__init__()
        self.energy, self.log_z = PlaneEnergy(), nn.Parameter(torch.zeros(()))

    def logits(self, noise_log_prob, x):
        return nce_logits(self.energy, self.log_z, noise_log_prob, x)


# %% tags=["method"]
def train_by_noise(model, num_steps):
    """Yields the average of the last parameters after each step."""
    optimiser, average = torch.optim.Adam(model.parameters()), copy.deepcopy(model)
    for step in range(1, num_steps + 1):
        let_fall(optimiser, NCE_RATE, step, num_steps)
        data, noise = batch(NCE_BATCH), broad(NCE_BATCH)
        logits = [model.logits(broad_log_prob, x) for x in (data, noise)]
        optimiser.zero_grad()
        nce_loss(*logits).backward()
        optimiser.step()
        follow(average, model, step, NCE_MEMORY)
        yield average


# %% tags=["hide-input"]
# The training, with pictures on the way
shown = set(np.geomspace(1, P.nce_steps, FRAMES).round())
snapshots = {}
for step, nce in enumerate(train_by_noise(Normalised(), P.nce_steps), start=1):
    if step in shown:
        with torch.no_grad():
            snapshots[step] = -nce.energy(points) - nce.log_z
nce_z = log_partition(nce.energy)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The density inside the classifier, $e^{-E - c}$, in the course of the training. Below the picture stands the step, and the integral, which nothing forces to be one.", "name": "fig-nc-film"}}
frames, labels = [], []
for step, log_density in snapshots.items():
    fig, ax = plt.subplots(figsize=(3.6, 3.6))
    plotting.density_map(log_density, ax=ax)
    frames.append(fig)
    mass = log_density.double().exp().sum().item() * area
    labels.append(f"{step:,}: {mass:.2f}")
plotting.film(
    frames,
    labels=labels,
    alt="A pale blob becomes a ring, and the ring falls into eight separate dark spots; "
    "the integral printed beside it comes to one.",
    width=380,
)

# %% tags=["record", "hide-input"]
# The recorded numbers: error of the learned log Z, divergence from the target
protocol = f"eight Gaussians, noise N(0, 4 I), {P.nce_steps:,} steps of 1,024 data and noise"  # fmt: skip
nce_error = run.record(
    "nce_log_z_error",
    abs(nce.log_z.item() - nce_z),
    unit="nats",
    protocol=f"|learned log Z - log Z of the learned energy by quadrature|, {protocol}",
)
nce_kl = run.record(
    "nce_kl_to_target",
    kl_from(target, nce.energy),
    unit="nats",
    protocol=f"KL(target || model) by quadrature, {protocol}",
)
# %% tags=["check"]
neg_log_p = -torch.from_numpy(target.log_prob(ring.numpy()))
checks.unbiased("the data have the entropy of the ring", neg_log_p, 2.4795)
entropy = math.log(2 * math.pi * math.e * 4)
found = -broad_log_prob(broad(20_000)).mean()  # of one point: a variance of 1
checks.unbiased("the noise has the entropy of N(0, 4 I)", found, entropy, 1 / 2e4**0.5)
mass = snapshots[P.nce_steps].double().exp().sum().item() * area
exact = math.exp(nce_z - nce.log_z.item())
checks.close("integral of the last picture = Z exp(-c)", mass, exact, rtol=1e-5)
first = next(train_by_noise(Normalised(), 4)).log_z.abs().item()
checks.close("Adam's first step in c = its rate", first, NCE_RATE, rtol=1e-4)
pair = batch(5_000), broad(5_000)
losses = [
    nce_loss(*(model.logits(broad_log_prob, x) for x in pair)).item()
    for model in (Normalised(), nce)
]
checks.at_least("the training lowers the loss by, nats", losses[0] - losses[1], 0.1)
if run.profile != "smoke":
    checks.at_most("guard: error of the learned log Z", nce_error, 0.02)
    checks.at_most("guard: KL of the ring from the model by NCE", nce_kl, 0.05)
    outside = log_partition(nce.energy, 10.0) - nce_z
    checks.close("log Z that the grid leaves out", outside, 0.0, atol=1e-3)

# %% [markdown]
r"""
```{dropdown} A one-minute question: why does the integral come to one although nothing forces it?
Suppose it is too large by 10 %.
Then $\ell$ is too large by 0.1 everywhere, noise is taken for data too often, and the loss can be lowered by raising $c$.
At the optimum the classifier is calibrated, and a calibrated classifier has the right mass.
```

## Noise that is too easy

**Noise that is easy to tell from the data teaches next to nothing.**
In the plane a broad Gaussian overlaps with the data.
In many dimensions it does not: the classifier at the truth is right at once, its loss vanishes, and with it all gradients.
Take $N(0, I)$ as data and $N(0, 4 I)$ as noise in $d$ dimensions.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss at the truth, over the dimension, for data from a standard normal and noise that is twice as wide. The dashed line, 2 log 2, is the loss of a classifier that only guesses.", "name": "fig-nc-easy"}, "image": {"alt": "Black points that start a little below a dashed line and fall, slowly at first, at a hundred dimensions by many powers of ten."}}
dims, at_truth = (1, 2, 5, 10, 20, 50, 100), []
for d in dims:
    pair = (std * torch.randn(5_000, d).double() for std in (1, 2))
    logits = (normal_log_prob(x, 1) - normal_log_prob(x, 2) for x in pair)
    at_truth.append(nce_loss(*logits).item())
fig, ax = plt.subplots(figsize=(7.0, 2.4))
ax.loglog(dims, at_truth, "ko")
plotting.reference_line(ax, 2 * math.log(2), "guessing", side="left")
_ = ax.set(xlabel="dimension", ylabel="loss at the truth (nats)")

# %% tags=["check"]
checks.at_most("loss, 100 dimensions over one", at_truth[-1] / at_truth[0], 1e-4)
# 5,000 points: the loss of one point has a standard deviation below 1.
exact = loss_by_quadrature(truth)
checks.close("loss in one dimension", at_truth[0], exact, atol=5 * 2 / 5_000**0.5)

# %% [markdown]
r"""
So the noise should be hard to tell from the data.
As hard as possible, then?
No: even the data's own density is not the best noise, and in {ref}`ex-nc-variance` you compute how much a wider one gains, and how much a much narrower one loses.

```{dropdown} A one-minute question: the noise is exactly zero on a part of the plane where there are data. What is learned there?
Nothing but "these are data": the logit can be as large as it likes, and so can the density.
Noise must lie wherever data lie.
```

## A noise that learns too

```{margin}
**In the sources.** CS236 notes, *Flow contrastive estimation*; for the flow, *NICE*.
```

**The hardest noise is trained: a flow that plays against the energy.**
*Flow-contrastive estimation* (FCE) {cite:p}`gao2020` takes as noise a [normalising flow](flows.ipynb) $q_\phi$, which can be sampled and has an exact density.
The energy minimises the loss, the flow, which starts from maximum likelihood, maximises it:

$$
\min_{\theta, c}\, \max_\phi\; L(\theta, c, \phi) .
$$ (eq-nc-game)

```{figure} ../figures/nc_flow.svg
:name: fig-nc-flow
:alt: Noise z enters a flow, which gives points x with a known log q. Data and points of the flow enter the classifier of the energy and c. From the loss one arrow, down, leads to the energy and c, another, up, to the flow.
:width: 660px

Flow-contrastive estimation: as in a GAN two players share one loss, but both have a density.
```

The flow is the `RealNVP` of that lecture, six couplings in the plane; gradients pass through its samples and its density, so that one backward pass serves both players.
"""


# %% tags=["method"]
def train_against_flow(model, flow, num_steps):
    """The energy minimises the NCE loss, the flow maximises it; returns both averages."""
    players = (model, flow)
    optimisers = [torch.optim.Adam(player.parameters()) for player in players]
    averages = [copy.deepcopy(player) for player in players]
    for step in range(1, num_steps + 1):
        data, noise = batch(FLOW_BATCH), flow.sample(FLOW_BATCH)
        logits = [model.logits(flow.log_prob, x) for x in (data, noise)]
        loss = nce_loss(*logits)
        for optimiser in optimisers:
            let_fall(optimiser, FLOW_RATE, step, num_steps)
            optimiser.zero_grad()
        loss.backward()
        for parameter in flow.parameters():
            parameter.grad.neg_()  # uphill
        nn.utils.clip_grad_norm_(flow.parameters(), FLOW_NORM)
        for optimiser, *pair in zip(optimisers, averages, players, strict=True):
            optimiser.step()
            follow(*pair, step, FLOW_MEMORY)
    return averages


# %% tags=["hide-input"]
# The flow by maximum likelihood, and then the game
flow = RealNVP(2, **FLOW)
by_likelihood = copy.deepcopy(flow)
for step, _ in fit(flow, lambda: batch(FLOW_BATCH), P.flow_steps, rate=FLOW_RATE):
    follow(by_likelihood, flow, step, FLOW_MEMORY)
fce, fce_flow = train_against_flow(
    Normalised(), copy.deepcopy(by_likelihood), P.flow_steps
)

# %% tags=["record", "hide-input"]
# The recorded divergences, beside what each model has seen
energies = {
    "flow_likelihood": lambda x: -by_likelihood.log_prob(x),
    "fce_flow": lambda x: -fce_flow.log_prob(x),
    "fce": fce.energy,
}
game = "flow-contrastive estimation"
WORDS = "flow by maximum likelihood", f"flow after {game}", f"energy by {game}"
flow_kl = {}
for (name, energy), words in zip(energies.items(), WORDS, strict=True):
    flow_kl[name] = run.record(
        f"{name}_kl_to_target",
        kl_from(target, energy),
        unit="nats",
        protocol="KL(target || model) by quadrature, eight Gaussians, "
        f"{words}, {P.flow_steps:,} steps of 512 data",
    )
names = "energy, NCE", "flow, likelihood", "flow, game", "energy, game"
values, data = (nce_kl, *flow_kl.values()), P.flow_steps * FLOW_BATCH
seen = (f"{num:,}" for num in (P.nce_steps * NCE_BATCH, data, 2 * data, data))
columns = ("eight Gaussians", "KL (nats)", "data seen")
plotting.table(list(zip(names, values, seen, strict=True)), columns=columns)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Densities learned from the same data: noise-contrastive estimation with a Gaussian as noise, a flow by maximum likelihood, and energy and flow of flow-contrastive estimation.", "name": "fig-nc-noise"}, "image": {"alt": "Four panels. The two energies show eight separate dark spots on a circle. The two flows show a winding band of uneven darkness along the circle, with bridges between the places of the spots and white slits."}}
fig, axes = plt.subplots(1, 4, figsize=(8.6, 2.5))
for ax, name, energy in zip(axes, names, (nce.energy, *energies.values()), strict=True):
    plotting.density_map(-energy(points).detach(), ax=ax).set(xlabel=name)

# %% tags=["check"]
old = Normalised(), RealNVP(2, num_layers=2, scale=4.0)
new = train_against_flow(*copy.deepcopy(old), 1)
first = new[0].log_z.abs().item()
checks.close("Adam's first step in c = its rate", first, FLOW_RATE, rtol=1e-4)
z, data = torch.randn(5_000, 2), batch(5_000)


def loss_of(model, flow):
    x, _ = flow.inverse(z)
    pair = (model.logits(flow.log_prob, part) for part in (data, x))
    return nce_loss(*pair).item()


start = loss_of(*old)
checks.at_most("one step of the energy lowers the loss", loss_of(new[0], old[1]) - start, -1e-3)  # fmt: skip
checks.at_least("one step of the flow raises it", loss_of(old[0], new[1]) - start, 1e-3)
near = (points.abs() < 2.01).all(1)  # grid points whose cells fill a square
with torch.no_grad():
    x = fce_flow.sample(20_000)
    share = fce_flow.log_prob(points[near]).double().exp().sum().item() * area
inside = (x.abs() < 2.025).all(1).double().mean()
checks.close("the flow's samples in a square, by its density", inside, share, atol=5 * 0.5 / 2e4**0.5)  # fmt: skip
if run.profile != "smoke":
    pair = {"energy": flow_kl["fce"], "flow": flow_kl["fce_flow"]}
    checks.ordered("KL from the target, after the game", pair)
    fce_z = log_partition(fce.energy)
    outside, error = log_partition(fce.energy, 10.0) - fce_z, fce.log_z.item() - fce_z
    checks.close("log Z of the energy beyond the grid", outside, 0.0, atol=1e-2)
    checks.close("guard: error of the learned log Z after the game", error, 0.0, atol=0.05)  # fmt: skip

# %% [markdown]
r"""
The flow bends one Gaussian blob into a band, and bridges remain: an invertible map can make gaps that are nearly white, but the blob stays in one piece ([why](flows.ipynb#one-piece-stays-one-piece)).
An energy need not be invertible, so its spots are separate: after the game it is closer to the ring than the flow that taught it.

The flow's own fit hardly gains by the game, and may lose.
In the plane a broad Gaussian is noise enough, and the table is no race: mind how many data each model has seen.
A learning noise is meant for many dimensions, where a fixed one is told from the data at once.

```{dropdown} A one-minute question: the flow has become exactly p. What does the energy still learn?
The density: the best classifier then only guesses, the loss is $2 \log 2$, and yet it is lowest at $e^{-E - c} = p$ alone.
```

## Three ways without chains

**A method may be blind to what it does not sample.**

| | score matching | NCE | flow-contrastive |
|:--|:--|:--|:--|
| compares | slopes, on the data | data and noise | data and samples of a flow |
| needs | second derivatives, or noise on the data | a density to sample and evaluate | a flow, and a game that stays stable |
| $\log Z$ | no | yes | yes |
| weights of far islands | blind to them | seen, if the noise covers them | seen, as far as the flow covers them |
| in many dimensions | works, see [score matching](score_matching.ipynb) | fails if the noise is easy to tell | made for that |

The first two columns are closer than they look: take as noise for each datum a point right beside it, and the classifier performs score matching ({ref}`ex-nc-neighbours`).
The [small Langevin step](energy_models.ipynb#a-small-step-of-langevin-is-score-matching) of the last lecture is the same observation, seen from sampling.

```{admonition} In one card
:class: dgm-card

**Remember**

- $D = p / (p + q) = \sigma(\log p - \log q)$ {eq}`eq-nc-posterior`
- write the logit with the model, $-E_\theta - c - \log q$ {eq}`eq-nc-logit`: then $c \to \log Z$
- the noise may learn: energy down, flow up on one loss {eq}`eq-nc-game`

**What it can do**

- **Likelihood:** yes, with a learned $\log Z$, as good as the classifier.
- **Sampling:** by Langevin from the energy, or from the flow.
- **Latent code:** none in the energy; the flow has one.
- **What fails:** noise that is told from the data at once, as most fixed ones are in many dimensions.
```

## Exercises

```{exercise-start} More noise than data (easy)
:label: ex-nc-ratio
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
    for nu in (0.5, 3.0):
        at_truth = torch.sigmoid(line_logits(truth, u) + answer(nu))
        checks.close(f"nu = {nu}: the share of data", at_truth, p / (p + nu * q), atol=1e-12)  # fmt: skip
        at = [loss_by_quadrature(truth + 0.1 * np.array(step), nu, answer(nu)) for step in ((0, 0), *SIDES)]  # fmt: skip
        checks.at_least(f"nu = {nu}: lowest at the truth", min(at[1:]) - at[0], 1e-4)
    return print("right")


check_correction(logit_correction)

# %% [markdown]
r"""
````{solution-start} ex-nc-ratio
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

```{exercise-start} Noise right beside the data (medium)
:label: ex-nc-neighbours
```
To each datum $x$ belongs a noise point $y = x + \epsilon\, \xi$, and the classifier is shown both and asked which one is the datum {cite:p}`ceylan2018`.
Write `pair_loss(energy, x, y)`, its loss for each pair, from the two energies alone: why do $Z$ and the density of the noise drop out?
The reward: as $\epsilon \to 0$ the loss becomes $\log 2 + \frac{\epsilon^2}{4} \mathcal{L}$, with the score matching objective $\mathcal{L} = \langle \frac{1}{2} E'^2 - E'' \rangle$; the check shows how fast.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def pair_loss(energy, x, y):
    return None


# %% tags=["check"]
def check_pairs(answer):
    def well(x):
        return x**4 / 4 - 0.7 * x**2 / 2

    if answer(well, u, u) is None:
        return print("not yet")
    two = torch.tensor([1.0, 2.0], dtype=torch.float64)
    odds = torch.sigmoid(well(two.flip(0)) - well(two))  # P(x is the datum), by Bayes
    checks.close("minus log P", answer(well, two, two.flip(0)), -odds.log(), atol=1e-12)
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)  # means over xi
    data = torch.exp(-((u - 0.4) ** 2) / 2) / math.sqrt(2 * math.pi) * du
    objective = (data * ((u**3 - 0.7 * u) ** 2 / 2 - (3 * u**2 - 0.7))).sum().item()
    found = []
    for eps in (0.004, 0.002):
        losses = [(data * answer(well, u, u + eps * xi)).sum().item() for xi in nodes]
        excess = weights @ losses / math.sqrt(2 * math.pi) - math.log(2)
        found.append(4 * excess / eps**2)
        print(f"epsilon {eps}: (loss - log 2) 4 / epsilon^2 = {found[-1]:.4f}")
    # What is left is of order epsilon^2, and this removes it.
    limit = (4 * found[1] - found[0]) / 3
    checks.close("its limit = score matching", limit, objective, atol=1e-3)
    return print("right")


check_pairs(pair_loss)

# %% [markdown]
r"""
````{solution-start} ex-nc-neighbours
:class: dropdown
````
"""


# %% tags=["solution"]
def pair_loss(energy, x, y):
    return softplus(energy(x) - energy(y))


check_pairs(pair_loss)

# %% [markdown]
r"""
The pair has the densities $p(x)\, k(y - x)$ or $p(y)\, k(x - y)$, with an even $k$: their ratio is $p(x) / p(y) = e^{E(y) - E(x)}$.
With $\Delta = E(y) - E(x)$ the loss is $\log 2 - \Delta / 2 + \Delta^2 / 8$ and higher, and over $\xi$ the mean of $\Delta$ is $\epsilon^2 E'' / 2$, that of $\Delta^2$ is $\epsilon^2 E'^2$.
````{solution-end}
````

```{exercise-start} What the noise costs (hard)
:label: ex-nc-variance
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
The reward is the curve over the width of the noise: which is the best?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def nce_variance(nu, q):
    return None


# %% tags=["check"]
def check_variance(answer):
    if answer(1.0, q) is None:
        return print("not yet")
    for nu in (1.0, 4.0):
        what = f"nu = {nu}, noise from p: (1 + 1/nu) times 2"
        checks.close(what, answer(nu, p), 2 * (1 + 1 / nu), rtol=1e-9)
    widths = np.array([0.72, 0.8, 0.9, 1, 1.2, 1.5, 1.75, 2, 2.5, 3, 4])
    noises = (normal_log_prob(u[:, None], width).exp() for width in widths)
    ratios = [answer(1.0, noise) / answer(1.0, p) for noise in noises]
    best = widths[np.argmin(ratios)]
    checks.true("the best is neither p nor the widest", 1 < best < 3)
    scatter = 4_000 * (fits[:, 0] - fits[:, 0].mean()) ** 2 * 50 / 49
    checks.unbiased("50 fits scatter as the formula says", scatter, answer(1.0, q))
    _, ax = plt.subplots(figsize=(7.0, 2.4))
    ax.plot(widths, ratios, "o-", color="#8a8f98")
    plotting.reference_line(ax, 1, "noise from p")
    ax.set(xlabel="standard deviation of the noise", ylabel="variance, relative")
    return print("right")


check_variance(nce_variance)

# %% [markdown]
r"""
````{solution-start} ex-nc-variance
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A curve that falls steeply from about three at the left, crosses a dashed line at one where the noise is as wide as the data, is lowest between one and a half and two, and rises slowly to the right."}}
def nce_variance(nu, q):
    g = torch.stack([-(u**2) / 2, -torch.ones_like(u)])
    weighted = du * p * nu * q / (p + nu * q) * g
    inverse, m = torch.linalg.inv(weighted @ g.T), weighted.sum(1)
    return (inverse - (1 + 1 / nu) * torch.outer(inverse @ m, inverse @ m))[0, 0]


check_variance(nce_variance)

# %% [markdown]
r"""
With $q = p$ the weight is a constant, and the result is $1 + 1/\nu$ times the variance of maximum likelihood: 2 for as much noise as data, and 1 only for infinitely much.
And $p$ is not the best noise, as {cite:t}`chehab2022` found: here noise about 1.7 times as wide needs a quarter fewer data, because it says more about the tails.
Wider still is slowly worse, narrower than the data quickly so.
````{solution-end}
````

## Further

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $E_\theta(x)$, $c$ | `energy`, `log_z` | energy in nats, $\log Z$ as a parameter that is learned |
| $p$, $q$, $q_\phi$ | `p`, `q`, `flow` | data, noise, a flow as noise |
| $\sigma(a) = 1 / (1 + e^{-a})$ | `torch.sigmoid` | logistic function |
| $\ell$, $D$ | `logits` | logit and probability that a point is a datum |
| $L$ | `nce_loss` | cross-entropy of the two classes |
| $\nu$, $\epsilon$ | `nu`, `eps` | points of noise for each datum, distance of a neighbour |

## Reading

**What comes next:** models with hidden variables whose likelihood is bounded instead of sampled, beginning with [the ELBO](elbo.ipynb).

**Reading:** {cite:t}`gutmann2012`, sections 2 and 3, for the estimator and its variance; {cite:t}`gao2020` for images; {cite:t}`song2021` for all ways to train an energy side by side; {cite:t}`chehab2022` on the best noise.
The code of the sources is reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

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

A neural network that gives every image one number is almost a density already: all that is missing is a constant.
You will train such a network without ever computing that constant, first in the plane, where each claim can be checked by quadrature, then on digits, and see what its samples and its mistakes look like.

```{opening} fig-em-film
Forty Langevin chains start from uniform noise and run down into the energy that this page trains on digits.
```

At the end of this lecture you will be able to

1. turn a network into a density, and say when that works;
2. train an energy by sampling, with short Langevin chains and a replay buffer, and recognise chains that are too short;
3. prove that contrastive divergence with one small Langevin step is score matching;
4. combine models by adding their energies;
5. use an energy to find unusual images, and say how far to trust it.

- **You need** [Langevin sampling](langevin.ipynb) and the two phases of [Boltzmann machines](boltzmann_machines.ipynb); some PyTorch.
- **Sources:** {cite:t}`du2019` and {cite:t}`nijkamp2020` for the training, {cite:t}`hyvarinen2007` for its small steps, {cite:t}`hinton2002` for products of experts.
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
from dgm.models.energy import follow, grid, kl_from, log_partition, network
from dgm.models.mrf import gibbs_spins, iterated_modes
from dgm.roc import roc_area
from dgm.samplers import langevin, score_of

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.stats import sem
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "ring_steps": (60, 1_500, 6_000),  # of the two-dimensional energy
    "image_steps": (20, 1_500, 20_000),  # of the energy of images
    "ablation_steps": (20, 1_500, 5_000),  # of the runs that are meant to fail
    "chain_length": (5, 20, 40),  # Langevin steps for one training step on images
    "long_chain": (50, 200, 400),  # of the samples that are shown
    "num_denoised": (20, 200, 1_000),  # images for the de-noising test
}
# Settings of `train`, the same in every profile.
RING = dict(chain_length=20, step_size=0.01, batch_size=256, num_kept=8192)
DIGITS = dict(step_size=5e-4, batch_size=64, num_kept=4096, penalty=1e-3, noise=0.05)
RING["learning_rate"], DIGITS["learning_rate"], DIGITS["max_norm"] = 3e-3, 1e-4, 0.1
SHORT = dict(chain_length=1)  # chains that are too short
NUM_POINTS = 200_000  # on the ring
MEMORY, MARKS = 400, 21  # steps that are averaged, times at which the ring is looked at
BETAS, SWEEPS = (0.3, 0.5, 0.7, 0.9, 1.2), (10, 20, 80)  # of the de-noising

# %%
run = dgm.start("energy_models", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## Any network, if the integral is finite

The first target is a ring of eight Gaussians, because there everything can be checked: its density is known, and integrals over the plane are sums over a grid.
From points like those on the left we want a function like the one on the right.
"""

# %%
target = dgm.data.ring_of_gaussians(8, radius=2.0, std=0.3)
ring = torch.from_numpy(target.sample(NUM_POINTS, rng=run.rng)).float()
points, _ = grid()  # 201 x 201 points from -5 to 5, and the area of each

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: 2,000 data points. Right: the density that they come from, dark where it is high, on the square from -3.6 to 3.6. Here and below each density has its own scale.", "name": "fig-em-problem"}, "image": {"alt": "Two panels. On the left eight blue clouds of points on a circle. On the right eight dark round spots at the same places on a white ground."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.0))
plotting.point_cloud(ring[:2_000], ax=left)
_ = plotting.density_map(target.log_prob(points.numpy()), ax=right)

# %% [markdown]
r"""
```{margin}
**In the sources.** CS236 notes, *TL;DR* and *Energy based models*.
```

**Every function $E$ with a finite integral of $e^{-E}$ is the energy of a density:**

$$
\begin{aligned}
p_\theta(x) &= \frac{e^{-E_\theta(x)}}{Z(\theta)}, \\
Z(\theta) &= \int e^{-E_\theta(x)}\, \mathrm{d}x .
\end{aligned}
$$ (eq-em-density)

```{margin}
**A common mistake:** texts that say that any function can be turned into a probability.
A constant on the whole line can't.
```

The network needs no inverse, no order of the variables, no Jacobian; the price is $Z$.
Ours has two hidden layers of smooth units (`network`).

The condition matters.
A network of the usual kind grows at most linearly and may do so downwards, and then the integral is infinite.
So we add a parabola, which wins in the end in every direction:

$$
E_\theta(x) = f_\theta(x / \delta) + \frac{|x|^2}{2 w^2} .
$$ (eq-em-confined)

Here $w = 2$, and the network sees $x$ in units of the finest detail, $\delta = 0.25$.
On images a bounded domain will do the same.

```{figure} ../figures/em_energy.svg
:name: fig-em-energy
:alt: A point x enters a box, network f, and a second box with a small parabola, the confinement. Both outputs meet in a plus sign; from it an arrow leads to the energy E of x, and on to the density, e to the minus E over Z. Below stands that Z is the integral of e to the minus E over all x and is never needed in training.
:width: 640px

The model: a network and a parabola, added.
```

In the plane $\log Z$ is a sum over 201 x 201 points, `log_partition`, and so is the divergence of the target from the model, `kl_from`; the training uses neither.
"""


# %% tags=["twin:dgm.models.energy.PlaneEnergy", "method"]
class PlaneEnergy(nn.Module):
    scale = 1.0  # one unit of the energy, in nats: needed later, for images,
    wrap = staticmethod(lambda x: x)  # as is what brings points back into the domain

    def __init__(self, hidden_dim=64, *, unit=0.25, width=2.0):
        super().__init__()
        self.unit, self.width = unit, width
        self.f = network(2, hidden_dim, hidden_dim, 1)

    def forward(self, x):
        parabola = x.square().sum(1) / (2 * self.width**2)
        return self.f(x / self.unit).squeeze(1) + parabola


# %% tags=["check"]
neg_log_p = -torch.from_numpy(target.log_prob(ring.numpy()))
checks.unbiased("the data have the entropy of the ring, 2.4795 nats", neg_log_p, 2.4795)
fresh, far = PlaneEnergy().double(), 1e4 * torch.randn(1_000, 2).double()
with torch.no_grad():
    alone, parabola = fresh.f(4 * far).squeeze(1), far.square().sum(1) / 8
    checks.close("E = network + |x|^2 / 8", fresh(far), alone + parabola, rtol=1e-12)
    checks.at_most("far out the network alone goes down", alone.min(), -1.0)
    checks.at_least("with the parabola it goes up", fresh(far).min(), 1.0)
    (flat := PlaneEnergy()).f[-1].weight.zero_()
    flat.f[-1].bias.zero_()
# Beyond 12.5, at more than six widths, lies less than 1e-8 of the Gaussian.
exact, found = math.log(8 * math.pi), log_partition(flat, 12.5)
checks.close("a network of zero: Z of a Gaussian, 2 pi w^2", found, exact, atol=1e-6)

# %% [markdown]
r"""
```{dropdown} A one-minute question: two energies differ by 7 everywhere. Which model is better?
Neither: they are the same density.
$Z$ differs by the factor $e^{-7}$ and cancels it.
```

## Learning by sampling

```{margin}
**In the sources.** Oslo, 16 April, *Codes for Energy-based models*, links only; 30 April, *Contrastive optimization*.
```

**Push the energy down on data and up on what the model itself produces.**
The log-likelihood is $-E_\theta(x) - \log Z(\theta)$, and as for [Boltzmann machines](boltzmann_machines.ipynb) the gradient of $\log Z$ is a mean over the model, so that

$$
\begin{aligned}
-\nabla_\theta \langle \log p_\theta \rangle_\text{data}
&= \nabla_\theta L, \\
L &= \langle E_\theta \rangle_\text{data} - \langle E_\theta \rangle_\text{model},
\end{aligned}
$$ (eq-em-contrast)

if the samples of the model are held fixed when we differentiate.
$L$ itself is no loss: it is near zero for a good model and for one that knows nothing.

```{figure} ../figures/em_training.svg
:name: fig-em-training
:alt: On the left, above, a box with data; below, a replay buffer with many old end points. From the buffer, and for one chain in twenty from fresh noise, an arrow leads to a box with twenty Langevin steps, and on to samples. Data and samples lead to the contrast, energy of the data minus energy of the samples, and on to a step of the parameters. A dashed arrow brings the samples back into the buffer.
:width: 660px

One training step. The chains continue where earlier ones stopped.
```

Samples come from Langevin chains, which need only $\nabla_x E$.
What {cite:t}`du2019` add so that a few steps are enough:

- a **replay buffer** keeps the end points of all chains, and most chains continue from a random one of them, as in persistent contrastive divergence;
- a few chains, here one in twenty, **start anew** from noise, so that lost particles are replaced;
- a **penalty** $\alpha\, \langle E_\theta^2 \rangle$ on data and samples keeps the energies near zero, where nothing else holds them: $L$ does not change when a constant is added;
- a **clipped gradient**, so that one bad batch does little harm. Ours is clipped in its norm; their program clips each coordinate, at three of Adam's standard deviations, and has spectral normalisation as well.

On the ring we use the first two, on images all four.
Adam runs without momentum, so that samples answer to the energy of this step and not of earlier ones.
The parameters keep moving around the optimum; we evaluate an average of them with exponential weights and a memory of 400 steps, which moves less.
"""


# %% tags=["twin:dgm.models.energy.contrast", "method"]
def contrast(energy, x_data, x_model, penalty=0.0):
    e_data, e_model = energy(x_data), energy(x_model)
    loss = (e_data.mean() - e_model.mean()) / energy.scale
    size = (e_data.square().mean() + e_model.square().mean()) / energy.scale**2
    return loss + penalty * size, e_data.mean().item(), e_model.mean().item()


# %% tags=["twin:dgm.models.energy.train", "method"]
def train(
    energy, x, start, *, num_steps, chain_length, step_size, learning_rate, batch_size,
    num_kept, penalty=0.0, noise=0.0, restart=0.05, max_norm=math.inf,
    optimiser=None, buffer=None, done=0,
):  # fmt: skip
    optimiser = optimiser or torch.optim.Adam(energy.parameters(), betas=(0.0, 0.999))
    score, buffer = score_of(energy), start(num_kept) if buffer is None else buffer
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        x_data = x[torch.randint(len(x), (batch_size,), device=x.device)]
        x_data = x_data + noise * torch.randn_like(x_data)
        kept = torch.randint(num_kept, (batch_size,), device=x.device)
        anew = torch.rand(batch_size, 1, device=x.device) < restart
        first = torch.where(anew, start(batch_size), buffer[kept])
        chain = langevin(first, score, step_size)
        x_model = energy.wrap(next(islice(chain, chain_length - 1, None)))
        buffer[kept] = x_model
        loss, e_data, e_model = contrast(energy, x_data, x_model, penalty)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(energy.parameters(), max_norm)
        optimiser.step()
        yield buffer, e_data, e_model


# %% tags=["check"]
small = PlaneEnergy(8).double()
few, everywhere = ring[:500].double(), points.double()
weights = torch.softmax(-small(everywhere), 0).detach()  # the model, on the grid


def gradient(value):
    parts = torch.autograd.grad(value, small.parameters())
    return torch.cat([part.flatten() for part in parts])


phases = gradient(small(few).mean() - weights @ small(everywhere))
nll = gradient(small(few).mean() + torch.logsumexp(-small(everywhere), 0))
checks.close("both phases = minus gradient of log p, with its log Z", phases, nll, atol=1e-11)  # fmt: skip
draws = everywhere[torch.multinomial(weights, 40_000, replacement=True)]
estimates = [gradient(contrast(small, few, part)[0]) for part in draws.split(400)]
estimates = torch.stack(estimates)[:, :-1]  # the last parameter only adds a constant
checks.close("a constant has no gradient", phases[-1], 0.0, atol=1e-12)
checks.unbiased("gradient of contrast on samples", estimates, phases[:-1])


# %% tags=["hide-input"]
# The training on the ring
def broad(num):
    """Where new chains start: a Gaussian that covers the ring."""
    return 2 * torch.randn(num, 2)


ring_energy, history = PlaneEnergy(), []
marks = set(np.linspace(0, P.ring_steps, MARKS).round())
ring_average = copy.deepcopy(ring_energy)
steps = train(ring_energy, ring, broad, num_steps=P.ring_steps, **RING)
for step, (particles, *_) in enumerate(steps, start=1):
    ring_buffer = particles
    follow(ring_average, ring_energy, step, MEMORY)
    if step in marks:
        pair = kl_from(target, ring_energy), kl_from(target, ring_average)
        history.append((step, *pair))

# %% tags=["record", "hide-input"]
# The recorded divergence
ebm_kl = run.record(
    "ebm2d_kl_to_target",
    kl_from(target, ring_average),
    unit="nats",
    protocol="KL(target || model) by quadrature on 201 x 201 points, eight Gaussians at "
    f"radius 2 with sd 0.3, {P.ring_steps:,} steps with 20 Langevin steps of 0.01 each "
    "from a replay buffer, exponential average over 400 steps",
)

# %% tags=["check"]
spread = broad(20_000).square()
checks.unbiased("new chains cover the ring: variance 4", spread.flatten(), 4.0)
checks.at_least("KL of the ring from the energy is no less than 0", ebm_kl, 0.0)
if run.profile != "smoke":
    checks.at_most("guard: KL of the ring from the energy", ebm_kl, 0.05)
    _, of_parameters, of_average = np.array(history[-7:]).mean(0)
    last = {"average": of_average, "parameters": of_parameters}
    checks.ordered("guard: mean KL over the last third", last)
    outside = log_partition(ring_average, 10.0) - log_partition(ring_average)
    checks.close("log Z that the grid leaves out", outside, 0.0, atol=1e-3)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: density of the trained energy, with its own $\\log Z$. Middle: the replay buffer at the end. Right: KL divergence of the target from the model, by quadrature, of the parameters at 20 times and of their average.", "name": "fig-em-ring"}, "image": {"alt": "Three panels. Eight dark spots on a circle; eight orange clouds of points at the same places with few points between; two falling curves on a logarithmic axis, a jagged one and a smooth one, which falls from above one to a few hundredths."}}
fig, axes = plt.subplots(1, 3, figsize=(8.4, 2.9), width_ratios=(1, 1, 1.3))
plotting.density_map(-ring_average(points).detach(), ax=axes[0])
plotting.point_cloud(ring_buffer[:2_000], colour=plotting.COLOURS[1], ax=axes[1])
steps, raw, averaged = zip(*history, strict=True)
axes[2].semilogy(steps, raw, color="#8a8f98", label="parameters")
axes[2].semilogy(steps, averaged, color=plotting.COLOURS[1], label="average")
axes[2].set(xlabel="step", ylabel="KL (nats)")
_ = axes[2].legend()

# %% [markdown]
r"""
```{dropdown} A one-minute question: why does the loop never look at the value of the loss?
$L$ is near zero when the network knows nothing and near zero when the samples look like data.
Only its gradient means something.
```

## An energy for digits

**The same loop trains a network with one number for each image.**
Three things change.

*The domain.* Grey values lie in $[0, 1]$, and on a bounded set every bounded energy has a finite $Z$.
A wall needs no other sampler: let the particle walk through it and fold the space back, as with mirror images in electrostatics.
With the energy $E(\operatorname{fold}(x))$, Langevin steps in free space are steps between reflecting walls:

$$
\operatorname{fold}(x) = 1 - \bigl|1 - (x \bmod 2)\bigr| .
$$ (eq-em-fold)

*The unit of energy.* Pixels are sharp: data known to $0.05$ have a density whose logarithm curves by up to $1 / 0.05^2$ in each of 784 directions, so that energies of images differ by hundreds of nats.
The network gives a number of order one, and 500 times that is the energy in nats.

*The data.* They get Gaussian noise of 0.05, for the same reason: without it the density would be infinitely sharp, and no step size small enough.
The step is $\eta = 5 \cdot 10^{-4}$, so that the kicks of Langevin, $\sqrt{2 \eta} = 0.03$, are smaller than that noise.
So Langevin runs here at temperature one, for the density that is being learned; programs that take a large step and a much smaller noise sample a colder one ({ref}`ex-em-cold`).

The film shows forty samples, not chosen: chains that start from uniform noise and run ten times longer than those of the training.
"""


# %% tags=["twin:dgm.models.energy.fold", "twin:dgm.models.energy.ImageEnergy", "method"]
def fold(x):
    return 1 - (1 - torch.remainder(x, 2)).abs()


class ImageEnergy(nn.Module):
    scale = 500.0  # nats for one unit of the network
    wrap = staticmethod(fold)

    def __init__(self):
        super().__init__()
        self.f = network(784, 512, 256, 1)

    def forward(self, x):
        return self.scale * self.f(fold(x)).squeeze(1)


# %% tags=["check"]
inside, outside = [0.3, 0.0, 1.0, 0.8, 0.1, 0.3], [-0.3, 0.0, 1.0, 1.2, 2.1, -1.7]
checks.close("fold: mirrors at 0 and at 1", fold(torch.tensor(outside)), inside, atol=1e-6)  # fmt: skip
# The wave cos(pi x) fits between the walls; diffusion damps it by exp(-pi^2 eta) a step.
walls = langevin(torch.full((50_000,), 0.2).double(), torch.zeros_like, 0.01)
wave = torch.cos(math.pi * fold(next(islice(walls, 4, None))))
exact = math.cos(0.2 * math.pi) * math.exp(-5 * 0.01 * math.pi**2)
checks.unbiased("five steps between reflecting walls: mean of cos(pi x)", wave, exact)


# %% tags=["hide-input"]
# The training on digits, which goes on after an interruption
def uniform_noise(num):
    return torch.rand(num, 784, device=run.device)


def new_images(name, num_steps, **changes):
    """An energy of images, its buffer, and both mean energies in its unit."""
    energy = ImageEnergy().to(run.device)
    optimiser = torch.optim.Adam(energy.parameters(), betas=(0.0, 0.999))
    buffer = uniform_noise(DIGITS["num_kept"])
    state = dict(energy=energy, optimiser=optimiser, buffer=buffer, history=[])
    settings = DIGITS | dict(chain_length=P.chain_length, num_steps=num_steps)
    settings |= dict(optimiser=optimiser, buffer=buffer) | changes

    def go_on(done):
        return train(energy, x_train, uniform_noise, done=done, **settings)

    steps = resumed(run.checkpoints(name), name, num_steps, state, go_on)
    for _, e_data, e_model in steps:
        state["history"].append((e_data / energy.scale, e_model / energy.scale))
    return energy, buffer, state["history"]


x_train = torch.from_numpy(run.data.vectors("train")).to(run.device)
x_test = torch.from_numpy(run.data.vectors("test")).to(run.device)
image_energy, image_buffer, image_history = new_images("images", P.image_steps)


def with_noise(x):
    """As the training data: Gaussian noise of 0.05, between the walls."""
    return fold(x + DIGITS["noise"] * torch.randn_like(x))


# %% tags=["check"]
noise = with_noise(torch.full_like(x_test, 0.5)).flatten() - 0.5
checks.unbiased("noise of 0.05 on digits", noise.square(), 0.05**2)
checks.at_most("energies in units begin near zero", np.abs(image_history[0]).max(), 3)
checks.at_most("the buffer lies between the walls", (image_buffer - 0.5).abs().max(), 0.5)  # fmt: skip

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Forty Langevin chains from uniform noise: the film begins with the noise.", "name": "fig-em-film"}}
chain = langevin(uniform_noise(40), score_of(image_energy), DIGITS["step_size"])
frames, labels = [], []
for step in range(1, P.long_chain + 1):
    from_noise = next(chain)
    if step in (1, 2, 4, 8, 12, 16, 20, 30, 40, 60, 80, 120, 160, 200):
        sheet = fold(from_noise).reshape(-1, 28, 28).cpu()
        frames.append(plotting.tile(sheet, columns=10))
        labels.append(f"step {step}")
plotting.film(
    frames,
    labels=labels,
    alt="Forty squares of noise. Within about twenty steps each becomes a dark blob, "
    "by about sixty steps a shape of strokes; at the end many of them resemble digits, "
    "some are fragments.",
)

# %% [markdown]
r"""
Are these samples of the model?
Start other chains at test images: in equilibrium both kinds would have the same mean energy.
"""

# %% tags=["hide-input"]
# Chains from digits beside chains from noise: mean energies, in units of 500 nats
digits = with_noise(x_test[:40])
chain = langevin(digits, score_of(image_energy), DIGITS["step_size"])
from_digits = next(islice(chain, P.long_chain - 1, None))
names = ("test images", "the same, after the chain", "from noise, after the chain")
rows = []
for name, images in zip(names, (digits, from_digits, from_noise), strict=True):
    e = image_energy.f(fold(images)).detach().squeeze(1)
    rows.append((name, f"{e.mean():.2f}", f"{sem(e.cpu()):.2f}"))
plotting.table(rows, columns=("40 images each", "mean energy", "standard error"))

# %% [markdown]
r"""
Where the lines differ by several standard errors, the chains have not come to equilibrium, and what they produce depends on where they start {cite:p}`nijkamp2020`.
And if the chains lower the energy of test images, test images are not typical of the model, although data and samples had the same mean energy in the training.

```{dropdown} A one-minute question: why a uniform start here, and a Gaussian one in the plane?
Any start will do that covers the domain, and this domain is a cube.
```

## Chains that are too short

**With too short chains the samples lag behind, and the energy runs away: down at the data, up at the samples.**
We train twice more with chains of *one* step, once with the penalty and once without.
In units of 500 nats the loss is $e_d - e_m + \alpha (e_d^2 + e_m^2)$, with $e_d$ for data and $e_m$ for samples: if both were free, the **penalty** would put the minimum at $e_d = -1/2\alpha = -500$ and $e_m = 500$, a gap of 1,000.
Without it there is no limit.
"""

# %% tags=["hide-input"]
# Two trainings that are meant to fail
failing = {"one step": SHORT, "one step, no penalty": SHORT | dict(penalty=0.0)}
ablations = {"full chains": image_history[: P.ablation_steps]}
for name, changes in failing.items():
    ablations[name] = new_images(name, P.ablation_steps, **changes)[2]

# %% tags=["check"]
for penalty in (0.0, 0.1):
    value, e_data, e_model = contrast(small, few[:2], few[2:4], penalty)
    exact, found = 2 * penalty * (e_data + e_model), gradient(value)[-1]
    checks.close(f"penalty {penalty}: slope in the level", found, exact, atol=1e-12)
if run.on_mnist and run.profile != "smoke":

    def gap(name):  # of the samples above the data, mean of the last 50 steps
        e_data, e_model = np.mean(ablations[name][-50:], axis=0)
        return e_model - e_data

    together, apart, free = (gap(name) for name in ablations)
    checks.at_most("gap with full chains, in units", abs(together), 1)
    checks.at_least("guard: gap, chains of one step", apart, 500)
    checks.at_most("the same, limit 2 * 500 by the penalty", apart, 1_100)
    checks.at_least("guard: gap without penalty, beyond that limit", free, 1_100)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean energy of data (solid) and of samples (dashed; where the two coincide the dashes fill up), in units of 500 nats, with chains of full length, with chains of one step, and with chains of one step and no penalty. The axis is linear between -10 and 10 and logarithmic outside.", "name": "fig-em-ablation"}, "image": {"alt": "Three pairs of curves over training steps. One pair, after a short excursion, stays together near one. In the second the curve of the samples rises to some hundreds and that of the data falls to minus some hundreds. The third pair runs apart much further."}}
fig, ax = plt.subplots(figsize=(7.0, 3.4))
for (name, curve), colour in zip(ablations.items(), plotting.COLOURS, strict=False):
    e_data, e_model = zip(*curve, strict=True)
    ax.plot(e_data, color=colour)
    ax.plot(e_model, "--", color=colour)
    ax.annotate(name, (len(curve), e_model[-1]), (6, -3), color=colour, textcoords="offset points")  # fmt: skip
ax.set_yscale("symlog", linthresh=10)
ax.set(xlabel="step", ylabel="mean energy / 500 nats", xlim=(0, 1.35 * len(curve)))
_ = ax.set_xticks(np.linspace(0, len(curve), 4).round())

# %% [markdown]
r"""
In a healthy run the two curves move together after a short excursion; they do not tell how good the samples are.

How near is the healthy run to such a failure?
Nearer than the curves suggest.
Before we settled on these settings, five of thirteen trainings with a learning rate of $3 \cdot 10^{-4}$, three times the present one and the default of the program of {cite:t}`du2019`, ran apart although all precautions were on; at $10^{-4}$ none of nineteen did.
A rate is part of such a result, and one successful run shows little.

```{dropdown} A one-minute question: your gap grows without end. What do you try first?
Longer chains, or a smaller learning rate: both let the samples keep up with the energy.
A larger penalty only puts a ceiling on the failure.
```

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

In {ref}`ex-em-step` you check all this where the means are integrals.

It is a statement about means.
The noise of a single update is of order $\sqrt \eta$, far larger than its mean of order $\eta$: with small steps the signal drowns, and one computes $\mathcal{L}$ instead.
How to avoid its second derivative is the subject of [a later lecture](score_matching.ipynb).

Note also what $\mathcal{L}$ does not see: it is a mean over data alone, so what the energy does where there are none remains open.
Long chains go there.

```{dropdown} A one-minute question: two islands of data, far apart. Can one small step learn how much weight each has?
No.
The score of each island is the same whatever its weight, and the energy between them is not visited.
```

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

So a trained energy can be given a wish afterwards, without another step of training.
Our wish for the ring: to be near the horizontal axis.
Sampling needs no normaliser, only the sum.
"""


# %%
def band(x):
    """The wish: close to the horizontal axis, and not too far out."""
    return x[:, 1].square() / (2 * 0.4**2) + x.square().sum(1) / (2 * 3.0**2)


def both(x):
    return ring_average(x) + band(x)


chain = langevin(broad(2_000), score_of(both), RING["step_size"])
wished = next(islice(chain, 400, None))

# %% tags=["check"]
u, du = torch.linspace(-20, 20, 40_001, dtype=torch.float64), 0.001
energies = u**2 / 2, (u - 2) ** 2 / (2 * 1.5**2)
z_1, z_2, z_12 = (torch.exp(-e).sum().item() * du for e in (*energies, sum(energies)))
variance = 1 + 1.5**2  # the overlap of two Gaussians is N(mu_1 - mu_2; 0, this)
overlap = math.exp(-(2**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
checks.close("Z of the product", z_12, z_1 * z_2 * overlap, rtol=1e-11)
checks.at_least("Z_1 Z_2, which is said to be Z_12, over Z_12", z_1 * z_2 / z_12, 8)
experts = {"trained ring": ring_average, "wish": band, "sum of energies": both}
log_z = {name: log_partition(e) for name, e in experts.items()}
logs = {name: -e(points).detach() - log_z[name] for name, e in experts.items()}
product = logs["trained ring"] + logs["wish"]
exact = log_z["trained ring"] + log_z["wish"] + log_partition(lambda x: -product)
checks.close("log Z of the sum", log_z["sum of energies"], exact, atol=1e-4)
exact = math.log(math.tau) - 0.5 * math.log((1 / 0.4**2 + 1 / 9) / 9)
checks.close("log Z of the wish, a Gaussian", log_partition(band, 18.0), exact, atol=1e-5)  # fmt: skip
height = wished[:, 1].square().mean()  # the ring has 2.1, the wish alone less than 0.16
checks.at_most("sampled points are near the axis: mean square height", height, 0.4)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Two experts and their product: the third energy is the sum of the first two. Right: Langevin samples of the sum, from a network that was trained on the whole ring.", "name": "fig-em-product"}, "image": {"alt": "Four panels: a ring of eight spots; a horizontal band; two spots, at the left and at the right end of the ring; two orange clouds of points at the same places."}}
fig, axes = plt.subplots(1, 4, figsize=(8.6, 2.5))
for ax, (name, log_density) in zip(axes, logs.items(), strict=False):
    plotting.density_map(log_density, ax=ax).set(xlabel=name)
ax = plotting.point_cloud(wished, colour=plotting.COLOURS[1], ax=axes[3])
_ = ax.set(xlabel="sampled")

# %% [markdown]
r"""
```{dropdown} A one-minute question: and with ten experts that each shift the energy by an unknown constant?
The product is the same: each constant is a factor, which falls out with the new $Z$.
A *mixture* of the ten would need all their normalisers ({ref}`ex-em-or`).
```

## Is this image unusual?

**The energy ranks images by density without $Z$; how well it separates two kinds is the area under the ROC curve.**
That area is the probability that a foreign image has a higher energy than a digit, each drawn at random:

$$
A = P\bigl(E(x_\text{foreign}) > E(x_\text{digit})\bigr) .
$$ (eq-em-area)

One is perfect, one half is chance, and below one half the ranking is inverted.
It is computed on test images, with the noise of the training data on all of them.
Its standard error {cite:p}`delong1988` allows for foreign images that are turned copies of the same digits; it knows nothing of other training runs.
"""


# %% tags=["hide-input"]
# Five kinds of foreign images, and the baseline of one Gaussian
turned = torch.rot90(x_test.reshape(-1, 28, 28), 1, (1, 2)).reshape(-1, 784)
permutation = torch.randperm(784, device=run.device)
FOREIGN = {
    "noise": (uniform_noise(len(x_test)), "uniform noise"),
    "rotated": (with_noise(turned), "test images turned by 90 degrees"),
    "upside_down": (with_noise(x_test.flip(1)), "test images turned by 180 degrees"),
    "shuffled": (with_noise(x_test[:, permutation]), "test images, pixels shuffled"),
    "blank": (with_noise(torch.zeros_like(x_test)), "blank paper"),
}
covariance = torch.cov(x_train.T) + 0.05**2 * torch.eye(784, device=run.device)
gaussian = torch.distributions.MultivariateNormal(x_train.mean(0), covariance)
noisy_test = with_noise(x_test)
with torch.no_grad():
    e_test = image_energy(noisy_test)
    e_foreign = {name: image_energy(x) for name, (x, _) in FOREIGN.items()}
g_test = -gaussian.log_prob(noisy_test)
g_areas = {
    k: roc_area(g_test, -gaussian.log_prob(x))[0] for k, (x, _) in FOREIGN.items()
}

# %% tags=["record", "hide-input"]
# The areas, recorded, beside those of one Gaussian with the same mean and covariance
areas = {}
for name, (_, words) in FOREIGN.items():
    areas[name], error = roc_area(e_test, e_foreign[name])
    run.record(
        f"ebm_mnist_ood_auroc_{name}",
        areas[name],
        unit="1",
        standard_error=error or None,
        protocol=f"area under the ROC curve of the energy, test images against {words}, "
        f"noise of 0.05 on all but the uniform noise, {P.image_steps:,} training steps, "
        f"learning rate {DIGITS['learning_rate']:g} to 0, one training",
    )
_ = run.record(
    "gaussian_mnist_ood_auroc_rotated",
    g_areas["rotated"],
    unit="1",
    protocol="the same, with the Mahalanobis distance of one Gaussian as the energy",
)
plotting.table(
    [(words, areas[name], g_areas[name]) for name, (_, words) in FOREIGN.items()],
    columns=("test images against", "deep energy", "one Gaussian"),
)

# %% tags=["check"]
checks.close("turned by 90 degrees: right edge on top", turned[:, :28], x_test[:, 27::28])  # fmt: skip
added = gaussian.variance - x_train.var(0)
checks.close("and its mean", gaussian.mean, x_train.sum(0) / len(x_train), atol=1e-5)
checks.close("one Gaussian: noise in its variances", added, 0 * added + 0.05**2, atol=1e-5)  # fmt: skip
checks.at_least("one Gaussian: area for uniform noise", g_areas["noise"], 0.99)
if run.on_mnist:
    checks.at_least("guard: area for uniform noise", areas["noise"], 0.99)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("guard: area for shuffled pixels", areas["shuffled"], 0.95)
    pair = {"upside down": areas["upside_down"], "on the side": areas["rotated"]}
    checks.ordered("area", pair)
    for name in ("rotated", "upside_down"):
        more = areas[name] - g_areas[name]
        checks.at_least(f"guard: {name}, area above one Gaussian's", more, 0.0)
    checks.at_least("one Gaussian: shuffled pixels", g_areas["shuffled"], 0.99)
    stranger = (e_test > e_foreign["blank"].median()).double().mean()
    checks.at_least("share of digits with more energy than blank paper", stranger, 0.05)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Energies of test images and of three kinds of foreign ones. Shuffled pixels and uniform noise lie far to the right of this picture. The lowest thousandth of the test images and the highest thousandth of the rotated ones are cut off; the vertical axis is logarithmic.", "name": "fig-em-ood"}, "image": {"alt": "Histograms of energies. Those of blank paper are a narrow peak among the test images. Digits upside down overlap with the test images too, digits on their side lie further right."}}
fig, ax = plt.subplots(figsize=(7.0, 3.2))
unit = image_energy.scale
low, high = torch.quantile(e_test, 0.001), torch.quantile(e_foreign["rotated"], 0.999)
edges = torch.linspace(low.item() / unit, high.item() / unit, 80)
ax.hist(e_test.cpu() / unit, bins=edges, color="black", alpha=0.35, label="test images")
for name in ("blank", "upside_down", "rotated"):
    values = e_foreign[name].cpu() / unit
    label = f"{name.replace('_', ' ')}, area {areas[name]:.2f}"
    ax.hist(values, bins=edges, histtype="step", linewidth=1.6, label=label)
ax.set(xlabel="energy / 500 nats", ylabel="images", yscale="log", ylim=(0.7, None))
_ = ax.legend(fontsize=9)

# %% [markdown]
r"""
A number needs a baseline: one Gaussian alone finds noise and shuffled pixels as well as the network does; on turned digits the network is better by a few hundredths, in this build with one seed.
Upside down, where 0, 1 and 8 are digits still, is harder than on the side.
Blank paper is the warning: to us it is no digit at all, and yet to this energy some digits are stranger; the area is the share that are not.
A low energy means a high density, and a high density is not the same as being typical of the data: a simple image can be likely under a model that never drew it {cite:p}`nalisnick2019`.

```{dropdown} A one-minute question: your detector has an area of 0.2 for some kind of images. Is it useless?
No, it is inverted: it finds them *less* unusual than digits.
That is worse than useless as an alarm, and says that typical digits have a higher energy than these images.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- $p = e^{-E} / Z$ for any $E$ with a finite $Z$ {eq}`eq-em-density`: a parabola or a bounded domain sees to it
- the gradient {eq}`eq-em-contrast`: energy down on data, up on samples
- one small Langevin step from the data turns it into score matching {eq}`eq-em-score-matching`

**What it can do**

- **Likelihood:** known up to $Z$; differences and products need no $Z$.
- **Sampling:** Langevin chains, hundreds of network calls for a sample.
- **Latent code:** none.
- **What fails:** chains that are too short let the energy run away, at too high a learning rate as well; low energy is not the same as typical.
```
"""

# %% [markdown]
r"""
## Exercises

```{exercise-start} Or instead of and (easy)
:label: ex-em-or
```
Adding energies says "this and that".
Write `either(energy_1, energy_2, log_z_1, log_z_2)`: it returns the energy, as a function of $x$, of the mixture $\frac{1}{2} p_1 + \frac{1}{2} p_2$, normalised, so that its own $\log Z$ is zero.
Why does "or" need the normalisers when "and" does not?
The reward is a picture.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def either(energy_1, energy_2, log_z_1, log_z_2):
    return None


# %% tags=["check"]
def check_either(answer):
    pair = ring_average, band
    log_z = [log_partition(energy) for energy in pair]
    mixture = answer(*pair, *log_z)
    if mixture is None:
        return print("not yet")
    wanted = (logs["trained ring"].double().exp() + logs["wish"].double().exp()) / 2
    found = (-mixture(points).detach()).double().exp()
    checks.close("density of the mixture", found, wanted, atol=1e-5)
    checks.close("its log Z", log_partition(mixture), 0.0, atol=1e-5)
    change = (answer(*pair, log_z[0], log_z[1] + 2)(points) - mixture(points)).detach()
    checks.at_least("a wrong normaliser: more than a shift", change.std(), 0.05)
    plotting.density_map(-mixture(points).detach())
    return print("right")


check_either(either)

# %% [markdown]
r"""
````{solution-start} ex-em-or
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A ring of eight spots with a pale band across it."}}
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

```{exercise-start} How cold is the published sampler? (easy)
:label: ex-em-cold
```
Programs often take $x' = x - \lambda \nabla E + \omega\, \xi$ with a step $\lambda$ and a noise $\omega$ that are chosen separately.
For small steps this samples $e^{-E / T}$ at some temperature $T$.
Write `temperature(step, noise)`.
The reward: points of the ring at three temperatures, and the temperature of a well-known program.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def temperature(step, noise):
    return None


# %% tags=["check"]
def check_temperature(answer):
    if answer(0.01, 0.1) is None:
        return print("not yet")
    step, noise = 1e-5, 0.003  # in x^2 / 2 a step is x' = (1 - step) x + noise xi
    exact = noise**2 / (1 - (1 - step) ** 2)
    checks.close("T = variance in x^2 / 2", answer(step, noise), exact, rtol=step)
    print(f"step 10, noise 0.005, as in a known tutorial: T = {answer(10, 0.005):.1e}")
    _, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    for ax, noise in zip(axes, (0.14, 0.07, 0.014), strict=True):
        x, score = ring_buffer[:500], score_of(ring_average)
        for _ in range(300):
            x = x + 0.01 * score(x) + noise * torch.randn_like(x)
        plotting.point_cloud(x, colour=plotting.COLOURS[1], ax=ax)
        ax.set(xlabel=f"T = {answer(0.01, noise):.2g}")
    return print("right")


check_temperature(temperature)

# %% [markdown]
r"""
````{solution-start} ex-em-cold
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Three panels of points on the ring: clouds at temperature one, smaller clouds at a quarter, dots at a hundredth."}}
def temperature(step, noise):
    return noise**2 / (2 * step)


check_temperature(temperature)

# %% [markdown]
r"""
Langevin for $E / T$ with step $\eta$ has $\lambda = \eta / T$ and $\omega^2 = 2 \eta$.
A step of 10 with noise of 0.005 {cite:p}`lippe2024` is a temperature of about $10^{-6}$: as good as a descent to a minimum, and no sample of the density whose likelihood the training claims to follow.
````{solution-end}
````

```{exercise-start} One small step, in numbers (medium)
:label: ex-em-step
```
Take the double well $E = x^4/4 - \theta x^2/2$ at $\theta = 0.7$ and data from $N(0.4, 1)$.
Write `cd_gradient(eta)`: the expected gradient in $\theta$ of the contrast between the data and one Langevin step from them, exactly, with `line_mean(values)`, the mean over the data of values at the points `u`.
The reward: a picture of {eq}`eq-em-score-matching` at work.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def cd_gradient(eta):
    return None


# %% tags=["check"]
def line_mean(values):
    return (torch.exp(-((u - 0.4) ** 2) / 2) * values).sum().item() * du / math.tau**0.5


def check_step(answer):
    if answer(0.1) is None:
        return print("not yet")

    def objectives(theta):
        """Score matching, and half the squared distance of the scores."""
        s = -(u**3) + theta * u
        distance = line_mean((s + (u - 0.4)) ** 2) / 2
        return line_mean(s**2 / 2 + (-3 * u**2 + theta)), distance

    pairs = zip(objectives(0.7 + 1e-4), objectives(0.7 - 1e-4), strict=True)
    slope, of_distance = ((up - down) / 2e-4 for up, down in pairs)
    checks.close("score matching = distance of the scores + constant", slope, of_distance, rtol=1e-9)  # fmt: skip
    one, half = answer(1e-3) / 1e-3, answer(5e-4) / 5e-4
    # What is left is of the first order in eta: it halves with it, and this removes it.
    checks.close("CD gradient / eta -> slope of score matching", 2 * half - one, slope, rtol=1e-6)  # fmt: skip
    checks.close("what is left halves with eta", (one - slope) / (half - slope), 2, rtol=1e-3)  # fmt: skip
    # Of one update: <(x'^2 - x^2)^2> / 4 with x' = m + sqrt(2 eta) xi, to first order.
    m, eta = u + 1e-6 * (-(u**3) + 0.7 * u), 1e-6
    square = line_mean((m**2 - u**2 + 2 * eta) ** 2 + 8 * eta * m**2 + 8 * eta**2) / 4
    checks.close("noise of one update: 2 eta <x^2>", square, 2.32 * eta, rtol=1e-4)
    etas = np.geomspace(1e-3, 0.3, 15)
    _, ax = plt.subplots(figsize=(7.0, 2.3))
    ax.semilogx(etas, [answer(eta) / eta for eta in etas], "o", color=plotting.COLOURS[1])  # fmt: skip
    plotting.reference_line(ax, slope, "slope of score matching", side="left")
    ax.set(xlabel=r"step size $\eta$", ylabel=r"CD gradient / $\eta$")
    return print("right")


check_step(cd_gradient)

# %% [markdown]
r"""
````{solution-start} ex-em-step
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Orange points over a logarithmic axis of step sizes. To the right they leave a dashed horizontal line, to the left they lie on it."}}
def cd_gradient(eta):
    drift = u + eta * (-(u**3) + 0.7 * u)
    return line_mean(-(u**2) / 2) - line_mean(-(drift**2 + 2 * eta) / 2)


check_step(cd_gradient)

# %% [markdown]
r"""
$\partial_\theta E = -x^2 / 2$, and over the noise of the step the mean of $x'^2$ is $(x + \eta s)^2 + 2 \eta$, without an approximation.
````{solution-end}
````

## Further

### Cleaning a picture needs no Z

```{margin}
**In the sources.** CS236 notes, *Energy based models*: comparisons, and image de-noising.
```

This unit adds an older use of ratios of probabilities: an energy of one parameter cleans pictures.
Of a clean picture $y$ of black and white pixels we see $x$, in which each pixel was flipped with probability $\epsilon$.
With spins, $\pm 1$ for ink and paper, a *Markov random field* says what pictures are like, and how damage happens {cite:p}`besag1986`:

$$
\begin{aligned}
E(y \mid x) &= -\beta \sum_{\langle i j \rangle} y_i y_j
- h \sum_i x_i y_i, \\
h &= \frac{1}{2} \log \frac{1 - \epsilon}{\epsilon} .
\end{aligned}
$$ (eq-em-mrf)

The first sum runs over neighbours, as in the Ising model; the second is minus the log-likelihood of the damage, up to a constant.
The odds of one pixel, given all others, are $e^{2 m_i}$ with $m_i = \beta \sum_{j \sim i} y_j + h x_i$.
*Iterated conditional modes* {cite:p}`besag1986` gives each pixel its more likely value and never raises the energy; *Gibbs sampling* {cite:p}`geman1984` draws it, and the sign of the mean over the draws is the more likely value of each pixel by itself.
On a checkerboard all white squares are updated at once, since no two of them are neighbours (`dgm.models.mrf`).
"""

# %% tags=["hide-input"]
# Digits with a tenth of the pixels flipped; beta is chosen on images of the training file
FLIPPED, H = 0.1, 0.5 * math.log(9)


def damaged(part):
    grey = run.data.vectors(part)[: P.num_denoised]
    black = dgm.data.binarise(grey, method="threshold").reshape(-1, 28, 28)
    clean = torch.from_numpy(2 * black - 1)
    return clean, torch.where(torch.rand(clean.shape) < FLIPPED, -clean, clean)


def restored(x, beta):
    """Sweeps of modes; the sign of the mean of Gibbs sweeps after the first ones."""
    *_, modes = islice(iterated_modes(x, x, beta, H), SWEEPS[0])
    draws = sum(islice(gibbs_spins(x, x, beta, H), *SWEEPS[1:]))
    return {"icm": modes, "gibbs": torch.where(draws > 0, 1.0, -1.0)}


clean, noisy = damaged("valid")
tried = [restored(noisy, beta) for beta in BETAS]
truth, noisy = damaged("test")
cleaned = {"none": (noisy, "as damaged")}
for name in ("icm", "gibbs"):
    beta = BETAS[int(np.argmin([(y[name] != clean).float().mean() for y in tried]))]
    any_above = ", as any above h" if name == "icm" and beta > H else ""
    words = f"Ising energy, beta {beta}{any_above}, chosen on training images"
    cleaned[name] = restored(noisy, beta)[name], words

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From top to bottom: clean test images, a tenth of the pixels flipped, iterated modes, sign of the mean of 60 Gibbs sweeps.", "name": "fig-em-denoise"}, "image": {"alt": "Four labelled rows of ten black and white digits. The second row is covered with isolated wrong pixels. In the third and fourth row nearly all of them are gone, a few specks remain, and some small loops are filled."}}
fig, axes = plt.subplots(4, 1, figsize=(7.0, 3.4))
pictures = {"clean": truth} | {name: y for name, (y, _) in cleaned.items()}
for ax, (name, y) in zip(axes, pictures.items(), strict=True):
    plotting.image_grid((y[:10] + 1) / 2, columns=10, ax=ax)
    ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")

# %% tags=["record", "hide-input"]
# The shares of wrong pixels, recorded
for name, (y, words) in cleaned.items():
    wrong = (y != truth).float().mean((1, 2))
    run.record(
        f"denoise_{name}_pixel_error",
        wrong.mean(),
        unit="share of pixels",
        standard_error=wrong.std() / len(wrong) ** 0.5,
        protocol=f"{len(wrong)} thresholded test images, {FLIPPED:.0%} of the pixels "
        f"flipped, {words}",
    )

# %% tags=["check"]
checks.close(
    "h: a pixel is right with odds of 9 to 1", math.exp(2 * H), 9.0, rtol=1e-12
)
checks.unbiased("share of flipped pixels", (noisy != truth).float().mean((1, 2)), 0.1)
beyond = [restored(noisy, beta)["icm"] for beta in (1.1 * H, 1.5 * H)]
checks.close("modes: two strengths beyond h, the same pictures", *beyond)
left = [(y != truth).float().mean() for y, words in cleaned.values() if "beta" in words]
checks.at_most("guard: more than half of the damage is gone", left, FLIPPED / 2)

# %% [markdown]
r"""
One parameter removes most of the wrong pixels, because specks are isolated and strokes are not.
For modes $\beta$ matters only while it is small: once it exceeds $h$, a single neighbour outweighs what was seen, and the rule, follow the majority of the neighbours and in a tie what was seen, is the same for all $\beta$.

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $E_\theta(x)$ | `energy` | a network with one number for each point, in nats |
| $Z(\theta)$ | `log_partition` | its partition function, always as the logarithm |
| $f_\theta$, $\delta$, $w$ | `f`, `unit`, `width` | network, its unit of length, width of the parabola |
| $s_\theta(x) = -\nabla_x E_\theta$ | `score_of(energy)` | score |
| $p$, $p_\theta$ | | data, model |
| $\eta$, $\xi$ | `step_size` | step size of Langevin, standard normal numbers |
| $\alpha$, $e_d$, $e_m$ | `penalty`, `e_data`, `e_model` | strength of the penalty, mean energies of data and samples |
| $A$ | `area` | area under the ROC curve |
| $\beta$, $h$, $m_i$ | `beta`, `H`, `mrf.field` | coupling of neighbours, weight of what is seen, half the log odds of a pixel |

## Reading

**What comes next:** [learning to tell data from noise](noise_contrastive.ipynb), which trains an energy without any chain, and $\log Z$ with it.

**Reading:** {cite:t}`lecun2006` for the idea in its breadth; {cite:t}`song2021` for ways to train these models; {cite:t}`nijkamp2020` for what short chains do and do not learn; {cite:t}`grathwohl2020` for a classifier that is also an energy; the tutorial of {cite:t}`lippe2024` for a convolutional version.
The code of the sources is reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

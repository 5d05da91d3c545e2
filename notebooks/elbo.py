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
# From the autoencoder to the ELBO

At the end of this lecture you will be able to

1. say what an autoencoder learns, show that a linear one is principal component analysis, and say why neither can be sampled;
2. compute $p(x)$ of a model with latent variables by sums, by integrals and by sampling, and say how badly sampling from the prior fails;
3. derive $\log p = \text{ELBO} + \mathrm{KL}$ in three ways, and check every line of each derivation;
4. maximise the ELBO, for one data point or with an encoder for all, with gradients that pass through a random draw;
5. tighten the bound with importance weights, and train a small variational autoencoder whose exact likelihood is known.

- **You need** Gaussians with a covariance matrix, Bayes' rule, the Kullback-Leibler divergence (see [the first lecture](divergences.ipynb)), some PyTorch.
- **Sources:** {cite:t}`kingma2014`, {cite:t}`rezende2014`, {cite:t}`burda2016`; longer introductions are {cite:t}`doersch2016` and {cite:t}`luo2022`.
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
import time
from itertools import pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Categorical, MultivariateNormal, Normal
from torch.distributions import kl_divergence as library_kl

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (1_000, 6_000, 20_000),  # for the autoencoder and for PCA
    "ae_epochs": (2, 15, 30),
    "num_prior": (2_000, 20_000, 100_000),  # draws from the prior, for one image
    "num_draws": (40_000, 400_000, 4_000_000),  # of estimates on the exact models
    "curve_steps": (300, 2_000, 5_000),  # of the small variational autoencoder
}

# %%
run = dgm.start("elbo", parameters=PARAMETERS, data="mnist")
P = run.parameters
torch.set_default_dtype(torch.float64)

# %% [markdown]
r"""
## The problem in one picture

A latent variable $z$ is drawn from a simple distribution, here a number from $\mathcal{N}(0, 1)$.
A *decoder* turns $z$ into the mean of a second simple distribution, here a round Gaussian in the plane, and from that we draw the data point $x$:

$$
\begin{aligned}
z &\sim \mathcal{N}(0, 1), \\
x \mid z &\sim \mathcal{N}\bigl(\mu(z), \sigma^2 I\bigr), \\
\mu(z) &= (2 \sin \tfrac{6 z}{5},\; z), \qquad \sigma = 0.2 .
\end{aligned}
$$ (eq-elbo-curve)

Both distributions are Gaussian, and the data are not: all the complexity sits in $\mu$.
"""


# %%
def true_curve(z):
    return torch.stack([2 * torch.sin(1.2 * z), z], dim=-1)


curve_noise = 0.2


def curve_data(num_points):
    z = torch.randn(num_points)
    return true_curve(z) + curve_noise * torch.randn(num_points, 2), z


# %% tags=["check"]
x, z = curve_data(P.num_draws)
checks.unbiased(
    "squared distance of a data point from its mean",
    (x - true_curve(z)).square().sum(-1),
    2 * curve_noise**2,
)
checks.unbiased(
    "mean squares of the two components of x",
    x**2,
    [2 * (1 - math.exp(-2 * 1.2**2)) + curve_noise**2, 1 + curve_noise**2],
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the prior of the latent variable. Right: the curve of means it is bent into, with 600 data points in the colours of their z. One circle is one Gaussian, drawn at two standard deviations.", "name": "fig-elbo-bent"}, "image": {"alt": "Left: a black bell curve over z from minus three to three, and below it points coloured from dark to light along z. Right: a curve like the letter S in the plane, with points scattered closely around it; their colour runs along the curve from bottom to top. Circles on the curve show the width of the Gaussian there."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.8))
grid = torch.linspace(-3, 3, 400)
left.plot(grid, torch.exp(-(grid**2) / 2) / (2 * math.pi) ** 0.5, color="black", lw=1)
left.scatter(z[:600], -0.02 - 0.03 * torch.rand(600), c=z[:600], s=5, cmap="viridis")
left.set(xlabel="latent variable z", ylabel="prior density p(z)")
right.scatter(*x[:600].T, c=z[:600], s=6, cmap="viridis")
right.plot(*true_curve(grid).T, color="black", linewidth=1)
for centre in true_curve(torch.tensor([-1.6, -0.5, 0.5, 1.6])):
    right.add_patch(
        plt.Circle(centre.tolist(), 2 * curve_noise, fill=False, color="black")
    )
right.set(xlabel="data, $x_1$", ylabel="data, $x_2$", aspect="equal")
_ = right.set_ylim(-3, 3)

# %% [markdown]
r"""
Only $x$ is observed.
Two questions make up this lecture.
How probable is a given $x$, which needs an integral over all $z$?
And which $z$ has made it?
The answers depend on each other, and the *evidence lower bound*, ELBO, ties them together.

| symbol | in code | meaning |
|---|---|---|
| $x$, $z$ | `x`, `z` | data, latent variables |
| $p(z)$ | `log_prior` | prior |
| $p_\theta(x \mid z)$ | `log_likelihood` | decoder: a distribution of $x$ for each $z$ |
| $p_\theta(x)$ | `log_prob` | evidence, or likelihood |
| $p_\theta(z \mid x)$ | `posterior` | what $x$ says about $z$, by Bayes' rule |
| $q_\phi(z \mid x)$ | `q` | encoder: our approximation to the posterior |
| $\mathrm{KL}(q \,\Vert\, p)$ | `kl` | $\mathbb{E}_q[\log q - \log p]$, never negative |

Logarithms are natural, and their unit is the *nat*.
The models are so small that all tensors stay on the CPU, in double precision.
"""

# %% [markdown]
r"""
## The autoencoder

```{margin}
**In the sources.** Oslo, 16 April, *The Autoencoder again*.
```

**An autoencoder learns a short code from which its input can be rebuilt.**
An encoder $f$ maps $x$ to the code $h$, a decoder $g$ maps $h$ to $\tilde x$, and the mean squared error over the data is minimised:

$$
\begin{aligned}
h &= f(x), \qquad \tilde x = g(h), \\
C &= \frac{1}{N} \sum_{n=1}^{N} \lVert x_n - g(f(x_n)) \rVert^2 .
\end{aligned}
$$ (eq-elbo-autoencoder)

If $f$ and $g$ are linear and the data have mean zero, the best that can be done is known.
Let $\lambda_1 \ge \lambda_2 \ge \dots$ be the eigenvalues of the covariance $\frac{1}{N} \sum_n x_n x_n^\top$.
With a code of $k$ numbers no $g \circ f$ has a smaller error than the projection on the first $k$ eigenvectors, the principal components:

$$
C_\text{PCA} = \sum_{i > k} \lambda_i .
$$ (eq-elbo-pca)
"""


# %%
def pca(x):
    """Mean, eigenvalues (from large to small) and eigenvectors (as columns)."""
    mean = x.mean(0)
    _, singular_values, directions = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, singular_values**2 / len(x), directions.T


def train_linear_autoencoder(x, code_dim):
    """Minimise the error over encoder and decoder matrices by a quasi-Newton method."""
    f = nn.Parameter(0.3 * torch.randn(x.shape[1], code_dim))
    g = nn.Parameter(0.3 * torch.randn(code_dim, x.shape[1]))
    optimiser = torch.optim.LBFGS(
        [f, g],
        max_iter=2_000,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = (x - x @ f @ g).square().sum(1).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return closure().item(), f.detach(), g.detach()


widths = torch.tensor([3.0, 2.5, 2.0, 1.0, 0.7, 0.5])
cloud = (torch.randn(300, 6) * widths) @ torch.linalg.qr(torch.randn(6, 6))[0]
cloud = cloud - cloud.mean(0)
_, eigenvalues, directions = pca(cloud)
linear_loss, f, g = train_linear_autoencoder(cloud, 3)

# %% [markdown]
r"""
The two subspaces are compared by their principal angles $\vartheta_i$, whose cosines are the singular values of $U^\top V$ for orthonormal bases $U$ and $V$.
A projection that misses the best subspace pays at least $(\lambda_k - \lambda_{k+1}) \sum_i \sin^2 \vartheta_i$.
So an error within a relative $10^{-9}$ of the best also bounds the angles.
"""

# %% tags=["check"]
pca_loss = eigenvalues[3:].sum().item()
tolerance = 1e-9 * pca_loss
checks.close("loss of the linear autoencoder", linear_loss, pca_loss, atol=tolerance)
basis = torch.linalg.qr(g.T)[0]
cosines = torch.linalg.svdvals(basis.T @ directions[:, :3])
gap = (eigenvalues[2] - eigenvalues[3]).item()
checks.at_least(
    "cosines of the principal angles between its decoder and the components",
    cosines,
    math.sqrt(1 - tolerance / gap),
)
checks.close(
    "the encoder followed by the decoder is the projection",
    f @ g,
    directions[:, :3] @ directions[:, :3].T,
    atol=2 * math.sqrt(tolerance / eigenvalues[-1].item()),
)

# %% [markdown]
r"""
Minimising {eq}`eq-elbo-autoencoder` finds the subspace of PCA, but not the components themselves.
For any invertible matrix $A$ the pair $f A$, $A^{-1} g$ has the same error.
Keep this freedom in mind: it is about to cost us the samples.

Now digits and a network that is not linear, with a code of 8 numbers.
"""


# %%
def digits(part, count):
    return torch.from_numpy(run.data.vectors(part)[:count]).double()


x_train, x_test = digits("train", P.num_images), digits("test", 400)
code_dim = 8
encoder = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, code_dim))
decoder = nn.Sequential(nn.Linear(code_dim, 128), nn.ReLU(), nn.Linear(128, 784))
optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
for _ in range(P.ae_epochs):
    for batch in torch.randperm(len(x_train)).split(100):
        rebuilt = decoder(encoder(x_train[batch]))
        loss = (rebuilt - x_train[batch]).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

with torch.no_grad():
    codes = encoder(x_train)
    rebuilt = decoder(encoder(x_test))
autoencoder_error = (rebuilt - x_test).square().sum(1).mean().item()

pixel_mean, variances, components = pca(x_train)
centred = x_test - pixel_mean
projected = centred @ components[:, :code_dim] @ components[:, :code_dim].T
pca_error = (centred - projected).square().sum(1).mean().item()

# %% tags=["check"]
in_training = x_train - pixel_mean
in_training -= in_training @ components[:, :code_dim] @ components[:, :code_dim].T
checks.close(
    "PCA error on the training digits, against the eigenvalues left out",
    in_training.square().sum(1).mean(),
    variances[code_dim:].sum(),
    rtol=1e-10,
)
if run.on_mnist and run.profile != "smoke":
    checks.ordered(
        "squared error of a held-out digit, codes of 8 numbers",
        {"network": autoencoder_error, "PCA": pca_error},
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The hour-glass of an autoencoder: a test digit, the layers of the encoder, the code of 8 numbers, the layers of the decoder, and what is rebuilt.", "name": "fig-elbo-hourglass"}, "image": {"alt": "From left to right: a handwritten digit, a tall bar of 784 units, a lower bar of 128, a small bar of 8, again bars of 128 and 784, and the same digit, a little blurred. The shape is an hour-glass on its side."}}
fig, ax = plt.subplots(figsize=(7.2, 2.8))
heights, places = [1.9, 1.2, 0.45, 1.2, 1.9], [2.4, 3.6, 4.8, 6.0, 7.2]
names = ["784", "128", "8", "128", "784"]
for i, (height, place) in enumerate(zip(heights, places, strict=True)):
    colour = plotting.COLOURS[(0, 0, 1, 2, 2)[i]]
    bar = plt.Rectangle((place - 0.16, -height / 2), 0.32, height, color=colour)
    ax.add_patch(bar)
    ax.annotate(names[i], (place, height / 2 + 0.08), ha="center")
    if i < 4:
        after, there = heights[i + 1] / 2, places[i + 1] - 0.16
        outline = [(place + 0.16, height / 2), (there, after)]
        outline += [(there, -after), (place + 0.16, -height / 2)]
        ax.add_patch(plt.Polygon(outline, color="black", alpha=0.08, linewidth=0))
ax.imshow(x_test[0].reshape(28, 28), extent=(0, 1.8, -0.9, 0.9), vmin=0, vmax=1)
ax.imshow(rebuilt[0].reshape(28, 28), extent=(7.8, 9.6, -0.9, 0.9), vmin=0, vmax=1)
for place, word in ((0.9, "x"), (8.7, r"$\tilde x = g(h)$"), (4.8, "code h = f(x)")):
    ax.annotate(word, (place, -1.25), ha="center")
for place, word in ((3.0, "encoder f"), (6.6, "decoder g")):
    ax.annotate(word, (place, -1.25), ha="center", color="0.3")
ax.set(xlim=(-0.1, 9.7), ylim=(-1.45, 1.3), aspect="equal")
_ = ax.set_axis_off()

# %% [markdown]
r"""
### Why it can't be sampled

**The error of an autoencoder does not say how its codes are distributed.**
Replace $f$ by $A f + b$ and $g(h)$ by $g(A^{-1}(h - b))$: every reconstruction and the error stay as they are, while the codes are moved wherever we like.
So no fixed distribution, such as $\mathcal{N}(0, I)$, can be the right one to draw codes from.
"""

# %%
A, b = torch.randn(code_dim, code_dim) + 3 * torch.eye(code_dim), torch.randn(code_dim)
moved_codes = encoder(x_test) @ A.T + b
rebuilt_from_moved = decoder(torch.linalg.solve(A, (moved_codes - b).T).T)

# %% tags=["check"]
checks.close(
    "reconstructions from moved codes",
    rebuilt_from_moved.detach(),
    rebuilt,
    atol=1e-13 * torch.linalg.cond(A).item() * rebuilt.abs().max().item() * 100,
)
shift = (moved_codes.mean(0) - encoder(x_test).mean(0)).norm()
checks.at_least("though the mean of the codes has moved by", shift, 0.1)


# %% [markdown]
r"""
We try two ways of drawing codes: from $\mathcal{N}(0, I)$, and from a Gaussian with the mean and covariance of the training codes.
How far is what they decode to from any digit?
The yardstick is the squared distance to the nearest training digit, and for comparison the same distance for the decoded codes of test digits.
"""


# %%
def distance_to_training(images):
    return torch.cdist(images, x_train).min(1).values.square()


standard_codes = torch.randn(len(x_test), code_dim)
matched = MultivariateNormal(codes.mean(0), torch.cov(codes.T)).sample((len(x_test),))
with torch.no_grad():
    decoded = {
        "decoded codes of test digits": rebuilt,
        "codes from matched Gaussian": decoder(matched),
        "codes from N(0, I)": decoder(standard_codes),
    }
distances = {name: distance_to_training(images) for name, images in decoded.items()}
typical = distances["decoded codes of test digits"]
excess = {
    name: (distance.mean() - typical.mean()).item()
    / math.sqrt((distance.var() + typical.var()).item() / len(typical))
    for name, distance in distances.items()
}

# %% tags=["check"]
checks.close(
    "distance to the nearest, by the definition, of three images",
    distance_to_training(x_test[:3]),
    (x_test[:3, None] - x_train).square().sum(-1).min(1).values,
    rtol=1e-8,
)
if run.on_mnist and run.profile != "smoke":
    for name in ("codes from matched Gaussian", "codes from N(0, I)"):
        print(f"{name}: mean squared distance {distances[name].mean():.1f}")
        checks.at_least(
            f"more than that of test digits, {typical.mean():.1f}, in standard errors",
            excess[name],
            5,
        )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: test digits, encoded and decoded. Middle: decoded draws from a Gaussian with the mean and covariance of the training codes. Bottom: decoded draws from a standard normal distribution.", "name": "fig-elbo-ae-samples"}, "image": {"alt": "Three rows of twelve pictures. The first row shows readable, slightly blurred digits. The second shows some digits and many strokes that look like mixtures of two. The third shows broken patches of ink that are no digits."}}
fig, ax = plt.subplots(figsize=(7.2, 3.0))
rows = torch.cat([images[:24] for images in decoded.values()])
_ = plotting.image_grid(
    torch.cat([row[:12] for row in rows.split(24)]).clamp(0, 1), columns=12, ax=ax
)

# %% [markdown]
r"""
An autoencoder has no $p(x)$, no $p(z)$, and no sampler.
A variational autoencoder has all three, and shares with it only the shape of the picture.
So we start again, from probability.
"""

# %% [markdown]
r"""
## Latent variables

```{margin}
**In the sources.** Oslo, 16 April, *Mathematics of Variational Autoencoders*; 30 April, *Reminder on VAEs*; Borisyak, *Latent variables revisited*; CS236 notes, *Variational Autoencoders*.
```

**A latent variable model gives $x$ its probability by adding up all the ways in which it can have been made.**
This is the law of total probability, a sum for discrete $z$ and an integral for continuous $z$:

$$
\begin{aligned}
p(x) &= \sum_z p(x \mid z)\, p(z), \\
p(x) &= \int p(x \mid z)\, p(z)\, dz .
\end{aligned}
$$ (eq-elbo-marginal)

A second way avoids the sum.
The chain rule $p(x, z) = p(z \mid x)\, p(x)$ gives

$$
p(x) = \frac{p(x, z)}{p(z \mid x)} \quad \text{for every } z .
$$ (eq-elbo-chain-rule)

The sum is gone, but the posterior $p(z \mid x)$ is needed, whose denominator is that sum.
Everything below is an attempt to have one of the two at a bearable price.

A [mixture of Gaussians](kde_gmm.ipynb) is the oldest example: $z$ is the name of a component, and the posterior is what is known there as the *responsibility*.
"""


# %%
def log_normal(y, mean, variance):
    """log N(y; mean, variance) of numbers."""
    variance = torch.as_tensor(variance)
    return -0.5 * ((y - mean) ** 2 / variance + torch.log(2 * math.pi * variance))


weights = torch.tensor([0.5, 0.3, 0.2])
means, variances_k = torch.tensor([-2.0, 0.0, 2.5]), torch.tensor([0.4, 0.2, 1.0])


def mixture_log_joint(x):
    """log p(x, z) for every z, of shape (len(x), 3)."""
    return weights.log() + log_normal(x[:, None], means, variances_k)


x = torch.linspace(-9, 11, 4_001)
log_joint = mixture_log_joint(x)
log_prob = log_joint.logsumexp(1)
responsibilities = torch.softmax(log_joint, 1)

# %% tags=["check"]
library_mixture = torch.distributions.MixtureSameFamily(
    Categorical(weights), Normal(means, variances_k.sqrt())
)
checks.close(
    "log p(x) by the sum, against torch.distributions",
    log_prob,
    library_mixture.log_prob(x),
    atol=1e-12,
)
checks.normalised("p(x), times the grid spacing", log_prob + math.log(20 / 4_000))
middle = (x > -3) & (x < 4)
checks.close(
    "p(x, z) / p(z|x) is the same for each of the three z",
    (log_joint - responsibilities.log())[middle],
    log_prob[middle, None].expand(-1, 3),
    atol=1e-12,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: a mixture of three Gaussians, the sum over z in black. Bottom: the posterior of z, one line for each component; at every x they add up to one.", "name": "fig-elbo-mixture"}, "image": {"alt": "Top: three coloured bell curves of different height and width, and a black line that is their sum. Bottom: three coloured lines between zero and one; each is near one where its bell dominates, and they cross between the bells."}}
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 4.4), sharex=True)
shown = (x > -5) & (x < 6)
top.plot(x[shown], log_prob[shown].exp(), color="black", label="p(x)")
for k in range(3):
    top.plot(x[shown], log_joint[shown, k].exp(), label=f"p(x, z = {k + 1})")
    bottom.plot(x[shown], responsibilities[shown, k], label=f"p(z = {k + 1} | x)")
top.set(ylabel="density")
bottom.set(xlabel="x", ylabel="posterior")
_ = (top.legend(), bottom.legend())

# %% [markdown]
r"""
The second example is continuous, and it is the reference of this lecture, because every quantity in it is known.
Its posterior follows from completing the square in $-z^2 / 2 - (x - a z)^2 / (2 s^2)$:

$$
\begin{aligned}
z &\sim \mathcal{N}(0, 1), \qquad x \mid z \sim \mathcal{N}(a z, s^2), \\
p(x) &= \mathcal{N}(x;\, 0,\, a^2 + s^2), \\
p(z \mid x) &= \mathcal{N}(z;\, m, v), \\
v &= \frac{1}{1 + a^2 / s^2}, \qquad m = \frac{v\, a\, x}{s^2} .
\end{aligned}
$$ (eq-elbo-toy)

With $a = 1.5$, $s^2 = 0.3$ and the observation $x = 1.2$ we ask for $p(x)$ by the integral and by the chain rule.
"""

# %%
a, s2, x_seen = 1.5, 0.3, 1.2
v = 1 / (1 + a**2 / s2)
m = v * a * x_seen / s2
log_evidence = log_normal(x_seen, 0.0, a**2 + s2)


def toy_log_joint(z):
    return log_normal(x_seen, a * z, s2) + log_normal(z, 0.0, 1.0)


z_grid = torch.linspace(-10, 10, 20_001)
dz = (z_grid[1] - z_grid[0]).item()
by_integral = torch.logsumexp(toy_log_joint(z_grid), 0) + math.log(dz)

# %% tags=["check"]
checks.close("log p(x) by the integral", by_integral, log_evidence, atol=1e-10)
few = torch.linspace(-1, 2, 7)
checks.close(
    "log p(x) by the chain rule, at seven z",
    toy_log_joint(few) - log_normal(few, m, v),
    log_evidence.expand(7),
    atol=1e-12,
)
checks.close("log p(1.2), in nats", log_evidence, -1.66933815, atol=1e-8)
checks.close("p(1.2)", log_evidence.exp(), 0.1884, atol=5e-5)
checks.close("standard deviation of the posterior", v**0.5, 0.343, atol=5e-4)

# %% [markdown]
r"""
### Which prior? Almost any

In one dimension every law can be made from $z \sim \mathcal{N}(0, 1)$.
If $\Phi$ is the distribution function of $z$ and $F$ that of the law we want, then $g(z) = F^{-1}(\Phi(z))$ has this law.
So the prior can be simple, and the decoder gives $z$ its meaning.
With fewer latent than data dimensions the points $g(z)$ of a smooth map form a surface without volume, and so no density: only the noise of the decoder fills the space around it.

There is a price.
Between two islands of data $g$ must rise steeply, $g'(z) = p(z) / p_x(g(z))$, and a network with a bounded slope builds a bridge of samples instead.
The continuous map $g(z) = 3 \tanh(c z)$ puts the fraction $2 \Phi(\operatorname{artanh}(1/3) / c) - 1$ of its samples between $-1$ and $1$, for every finite $c$.
"""

# %%
island_weights, island_means, island_sd = torch.tensor([0.4, 0.6]), (-3.0, 3.0), 0.5
islands = Normal(torch.tensor(island_means), island_sd)
x_grid = torch.linspace(-6, 6, 60_001)
island_cdf = islands.cdf(x_grid[:, None]) @ island_weights
normal = Normal(0.0, 1.0)


def push_forward(z):
    """g(z) = F^-1(Phi(z)), by a table of F."""
    index = torch.searchsorted(island_cdf, normal.cdf(z)).clamp(1, len(x_grid) - 1)
    low, high = island_cdf[index - 1], island_cdf[index]
    share = ((normal.cdf(z) - low) / (high - low)).clamp(0, 1)
    return x_grid[index - 1] + share * (x_grid[index] - x_grid[index - 1])


def box_area(points, side):
    """Area of all boxes of this side that hold a point."""
    index = torch.floor(points / side).long()
    return len((index[:, 0] * 10**7 + index[:, 1]).unique()) * side**2


z = torch.randn(P.num_draws)
pushed = push_forward(z)
slopes = (1.0, 3.0, 10.0)
bridge = {c: 2 * normal.cdf(torch.tensor(math.atanh(1 / 3) / c)) - 1 for c in slopes}

# %% tags=["check"]
checks.unbiased("mean of the pushed samples", pushed, 0.6 * 3 - 0.4 * 3)
checks.unbiased("mean square of the pushed samples", pushed**2, 9 + island_sd**2)
for edge in (-3.0, 0.0, 3.0):
    below = islands.cdf(torch.tensor(edge)) @ island_weights
    checks.unbiased(f"share below {edge:g}", (pushed < edge).double(), below)
for c in slopes:
    on_bridge = ((3 * torch.tanh(c * z)).abs() < 1).double()
    checks.unbiased(f"share on the bridge, slope {3 * c:g}", on_bridge, bridge[c])
curve = true_curve(torch.linspace(-3, 3, 200_001))
variation = curve.diff(dim=0).abs().sum().item()
for side in (0.1, 0.01, 0.001):
    # A piece with no turn hits at most |dx| / side + |dy| / side + 1 boxes.
    covered = box_area(curve, side)
    bound = variation * side + 6 * side**2
    checks.at_most(f"area of the boxes of {side:g} on the bent curve", covered, bound)
noisy = curve_data(20_000)[0]
checks.at_least("with noise, boxes of 0.01", box_area(noisy, 0.01), variation * 0.05)
z_few = torch.tensor([-1.5, -0.8, 0.3, 1.2])
density = islands.log_prob(push_forward(z_few)[:, None]).exp() @ island_weights
checks.close(
    "slope of g, against p(z) / p(g(z))",
    (push_forward(z_few + 1e-3) - push_forward(z_few - 1e-3)) / 2e-3,
    normal.log_prob(z_few).exp() / density,
    rtol=1e-3,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The map from z to two islands of data, and two continuous maps of bounded slope. Right: where their samples fall; only the exact map leaves the strait between the islands empty.", "name": "fig-elbo-islands"}, "image": {"alt": "Left: three rising curves over z. The black one jumps almost vertically from minus two to plus two near z equal to minus a quarter, the coloured ones pass through zero with finite slope. Right: histograms of the samples. The black one has two bumps around minus three and three and is empty between, the coloured ones have samples between the bumps."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4))
z_axis = torch.linspace(-3, 3, 1_201)
left.plot(z_axis, push_forward(z_axis), color="black", label="exact map")
edges = torch.linspace(-5, 5, 61).tolist()
style = {"histtype": "step", "density": True, "linewidth": 1.6}
right.hist(pushed[:40_000], edges, color="black", **style)
for c, colour in ((1.0, plotting.COLOURS[0]), (3.0, plotting.COLOURS[1])):
    left.plot(
        z_axis, 3 * torch.tanh(c * z_axis), color=colour, label=f"slope {3 * c:g}"
    )
    right.hist(3 * torch.tanh(c * z[:40_000]), edges, color=colour, **style)
left.set(xlabel="latent variable z", ylabel="x = g(z)")
right.set(xlabel="x", ylabel="density of samples", yscale="log", ylim=(3e-3, 6))
_ = left.legend()

# %% [markdown]
r"""
### Raising p(x) pulls the decoder to the data

With a Gaussian decoder $\mathcal{N}(f_\theta(z), \sigma^2)$ the likelihood is a smooth function of $\theta$, and its gradient says what learning does:

$$
\nabla_\theta \log p_\theta(x)
= \mathbb{E}_{p_\theta(z \mid x)}\Bigl[ \frac{x - f_\theta(z)}{\sigma^2}\, \nabla_\theta f_\theta(z) \Bigr] .
$$ (eq-elbo-pull)

Every $z$ pulls its own $f(z)$ towards $x$, as strongly as the posterior thinks that this $z$ made $x$.
So some $f(z)$ comes near every data point.
With one latent variable we can afford the integral, and climb $\log p$ itself, without any bound.
"""


# %%
torch.manual_seed(run.seed)
dots = torch.cat([-3 + 0.5 * torch.randn(8), 3 + 0.5 * torch.randn(12)])
dot_width = 0.4
z_mesh = torch.linspace(-5, 5, 401)
mesh_prior = log_normal(z_mesh, 0.0, 1.0) + math.log(10 / 400)
pulled = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))


def mesh_log_joint(decoder, x):
    """log p(x, z) of every x and every z of the mesh, and the means f(z)."""
    f = decoder(z_mesh[:, None])[:, 0]
    return log_normal(x[:, None], f, dot_width**2) + mesh_prior, f


def climb(decoder, x, num_steps):
    """Yields log p(x), its mean over the data, before each step."""
    optimiser = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(num_steps):
        objective = mesh_log_joint(decoder, x)[0].logsumexp(1).mean()
        yield objective.item()
        optimiser.zero_grad()
        (-objective).backward()
        optimiser.step()


def nearest_mean(decoder, x):
    """How far each data point is from the nearest f(z) with |z| < 3."""
    with torch.no_grad():
        f = mesh_log_joint(decoder, x)[1][z_mesh.abs() < 3]
    return (x[:, None] - f).abs().amin(1)


# %% tags=["check"]
log_joint, f = mesh_log_joint(pulled, dots)
by_autograd = torch.autograd.grad(
    log_joint.logsumexp(1).sum(), pulled.parameters(), retain_graph=True
)
shares = torch.softmax(log_joint, 1).detach()
pull = (shares * (dots[:, None] - f.detach()) / dot_width**2).sum(0)
by_formula = torch.autograd.grad((pull * f).sum(), pulled.parameters())
for name, ours, exact in zip(
    ("first weights", "first biases", "last weights", "last bias"),
    by_formula,
    by_autograd,
    strict=True,
):
    checks.close(f"pull on the {name}", ours, exact, atol=1e-9)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: the density of the model; ticks are the data. Bottom: where each z is sent. Gradient ascent on log p(x) moves the means f(z) to the data.", "name": "fig-elbo-ascent"}}
line = torch.linspace(-6, 6, 300)


climber = copy.deepcopy(
    pulled
)  # so that a second run of the cell starts where the first did


def decoder_and_density():
    with torch.no_grad():
        log_joint, f = mesh_log_joint(climber, line)
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(5.6, 4), sharex=True)
    top.plot(line, log_joint.logsumexp(1).exp())
    top.plot(dots, torch.zeros(len(dots)), "|", color="black", markersize=16)
    top.set(ylabel="p(x)", xlim=(-6, 6), ylim=(-0.05, 1.05))
    bottom.plot(f, z_mesh, color=plotting.COLOURS[1])
    bottom.set(xlabel="x", ylabel="z, drawn at x = f(z)", ylim=(-3, 3))
    return fig


first_distance, progress = nearest_mean(pulled, dots).mean(), []
shown = (0, 3, 6, 10, 15, 20, 30, 45, 70, 100, 150, 200, 300, 399)


def frames():
    for step, value in enumerate(climb(climber, dots, 400)):
        if step in shown:
            progress.append((step, value))
            yield decoder_and_density()


plotting.film(
    frames(),
    labels=[f"step {step}" for step in shown],
    alt="A single bump in the middle, far from the ticks, spreads and splits into two "
    "bumps over the two groups of ticks, while the line below bends into two upright "
    "pieces, one under each group, with a nearly level piece between them.",
)

# %% tags=["check"]
checks.at_least("gain in mean log p(x), nats", progress[-1][1] - progress[0][1], 1)
last_distance = nearest_mean(climber, dots)
checks.at_most("mean distance of a datum from a mean", last_distance.mean(), dot_width)
checks.ordered(
    "mean distance", {"after": last_distance.mean(), "before": first_distance}
)
line_wide = torch.linspace(-12, 12, 2_401)
with torch.no_grad():
    total = mesh_log_joint(climber, line_wide)[0].logsumexp(1).exp().sum() * 0.01
checks.close("integral of p(x) after learning", total, 1.0, atol=1e-5)

# %% [markdown]
r"""
### Three decoder heads

**A decoder is a distribution of $x$; only its parameters are a deterministic function of $z$.**
The network's output $f(z)$ enters as the mean of Gaussian pixels, as logits of black and white pixels, or as logits of one of $C$ grey levels:

$$
\begin{aligned}
\log p(x \mid z) &= -\frac{\lVert x - f(z) \rVert^2}{2 \sigma^2} - \frac{d}{2} \log 2 \pi \sigma^2, \\
\log p(x \mid z) &= \sum_i \bigl[ x_i f_i - \log(1 + e^{f_i}) \bigr], \\
\log p(x \mid z) &= \sum_i \Bigl[ f_{i, x_i} - \log \sum_c e^{f_{i, c}} \Bigr] .
\end{aligned}
$$ (eq-elbo-heads)
"""


# %%
def gaussian_head(x, mean, sigma):
    num_pixels = x.shape[-1]
    constant = num_pixels / 2 * math.log(2 * math.pi * sigma**2)
    return -(x - mean).square().sum(-1) / (2 * sigma**2) - constant


def bernoulli_head(x, logits):
    return (x * logits - F.softplus(logits)).sum(-1)


def categorical_head(x, logits):
    chosen = logits.gather(-1, x[..., None]).squeeze(-1)
    return (chosen - logits.logsumexp(-1)).sum(-1)


output = torch.randn(5, 784)
grey, binary = torch.rand(5, 784), torch.bernoulli(torch.full((5, 784), 0.3))
levels, level_logits = torch.randint(4, (5, 784)), torch.randn(5, 784, 4)

# %% tags=["check"]
for name, ours, library in (
    ("Gaussian", gaussian_head(grey, output, 0.7), Normal(output, 0.7).log_prob(grey)),
    (
        "Bernoulli",
        bernoulli_head(binary, output),
        Bernoulli(logits=output).log_prob(binary),
    ),
    (
        "categorical",
        categorical_head(levels, level_logits),
        Categorical(logits=level_logits).log_prob(levels),
    ),
):
    checks.close(f"{name} head, against the library", ours, library.sum(-1), rtol=1e-12)
checks.close(
    "Gaussian head of a perfect reconstruction, 784 pixels, sigma = 1",
    gaussian_head(grey, grey, 1.0)[0],
    -720.45,
    atol=5e-3,
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "the reconstruction term is proportional to the squared error".
The two are related by a negative slope and a constant of hundreds of nats.
The constant depends on $\sigma$, so it matters as soon as $\sigma$ is compared or learned.
```

The Gaussian head is an affine function of the squared error: a perfect reconstruction of 784 pixels at $\sigma = 1$ has $-720.4$ nats, not zero.
What this constant does when $\sigma$ is learned is a topic of [the PyTorch lecture](vae_pytorch.ipynb).
"""

# %% [markdown]
r"""
## Naive Monte Carlo

**The average of $p(x \mid z_k)$ over draws from the prior is an unbiased estimate of $p(x)$, and for images useless.**

$$
\hat p(x) = \frac{1}{K} \sum_{k=1}^{K} p(x \mid z_k),
\qquad z_k \sim p(z) .
$$ (eq-elbo-naive)

```{margin}
**In the sources.** CS236 notes, *VAE optimization*; Borisyak, *VAE training* and *Variational bound*; Oslo, 16 April, *Using the KL divergence*: this section and the next.
```

Why not add all terms?
With 20 binary latent variables the sum has 1,048,576 terms for every data point and every step of training, and each further variable doubles it.
We time it on fair coins $z$ with $x \mid z \sim \mathcal{N}(\sum_i z_i, 0.5^2)$, where the sum over $k + 1$ numbers of heads is the exact value.
"""

# %%
x_coins = 3.3


def coin_sum(k):
    """log p(x) by a sum over all 2^k codes."""
    codes = (torch.arange(2**k)[:, None] >> torch.arange(k)) & 1
    log_likelihood = log_normal(x_coins, codes.sum(1).double(), 0.25)
    return log_likelihood.logsumexp(0) - k * math.log(2)


coin_sums, seconds = {}, {}
coin_sum(10)  # the first call of a function is slow, and not because of its terms
for k in (10, 14, 18):
    start = time.perf_counter()
    coin_sums[k] = coin_sum(k)
    seconds[k] = time.perf_counter() - start
    per_code = seconds[k] / 2**k * 1e9
    print(f"{2**k:7,} terms: {seconds[k]:.4f} s, {per_code:.0f} ns for each term")

# %% tags=["check"]
for k, value in coin_sums.items():
    log_ways = torch.tensor([math.log(math.comb(k, heads)) for heads in range(k + 1)])
    by_heads = log_ways + log_normal(x_coins, torch.arange(k + 1.0), 0.25)
    binomial_sum = by_heads.logsumexp(0) - k * math.log(2)
    checks.close(f"sum over 2^{k} codes", value, binomial_sum, rtol=1e-10)

# %% [markdown]
r"""
Two recipes must not be mixed.
If $z$ is drawn from the prior, average $p(x \mid z)$.
If $z$ is drawn uniformly from its $M$ values, average $M\, p(x, z)$.
The mixture of both, $z$ from the prior and $M\, p(x, z)$ averaged, has the expectation $M \sum_z p(z)\, p(x, z)$, which is another number.
For an integral the first recipe holds as it is: nothing has to be cut into cells.
"""

# %%
prior = torch.tensor([0.10, 0.15, 0.20, 0.25, 0.30])
likelihood = torch.tensor([0.80, 0.40, 0.20, 0.10, 0.05])  # p(x | z) of the seen x
num_values = len(prior)
p_true = (prior * likelihood).sum()
from_prior = torch.multinomial(prior, P.num_draws, replacement=True)
from_uniform = torch.randint(num_values, (P.num_draws,))
recipes = {
    "prior, average p(x|z)": likelihood[from_prior],
    "uniform, average M p(x, z)": num_values * (prior * likelihood)[from_uniform],
    "mixed": num_values * (prior * likelihood)[from_prior],
}

# %% tags=["check"]
checks.close("p(x) by the sum", p_true, 0.22, atol=1e-12)
for name in ("prior, average p(x|z)", "uniform, average M p(x, z)"):
    checks.unbiased(name, recipes[name], p_true)
mixed = num_values * (prior**2 * likelihood).sum()
checks.unbiased(
    "the mixed recipe, against its own expectation", recipes["mixed"], mixed
)
checks.close("which is", mixed, 0.17875, atol=1e-12)
naive = log_normal(x_seen, a * torch.randn(P.num_draws), s2).exp()
checks.unbiased("the integral of the toy, by the first recipe", naive, 0.18837170)

# %% [markdown]
r"""
In one dimension this works.
For images it does not, and with a linear Gaussian decoder we can say by how many nats, because there $p(x)$ is exact.
*Probabilistic PCA* {cite:p}`tipping1999` has

$$
\begin{aligned}
z &\sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(W z + \bar x, \sigma^2 I), \\
p(x) &= \mathcal{N}(x;\, \bar x,\, W W^\top + \sigma^2 I) .
\end{aligned}
$$ (eq-elbo-ppca)

Its maximum likelihood solution is PCA: $\sigma^2$ is the mean of the eigenvalues left out, and column $i$ of $W$ is the $i$-th component times $\sqrt{\lambda_i - \sigma^2}$.
We take $k = 16$.
"""

# %%
latent_dim = 16
noise = variances[latent_dim:].sum() / (784 - latent_dim)  # sigma^2
W = components[:, :latent_dim] * (variances[:latent_dim] - noise).sqrt()
exact = MultivariateNormal(pixel_mean, W @ W.T + noise * torch.eye(784))
image = x_test[0]
log_p_image = exact.log_prob(image)

z = torch.randn(P.num_prior, latent_dim)
log_p_given_z = gaussian_head(image, z @ W.T + pixel_mean, noise.sqrt().item())
naive_estimate = log_p_given_z.logsumexp(0) - math.log(P.num_prior)


def effective_sample_size(log_w):
    """(sum w)^2 / sum w^2: how many equal weights would be as good."""
    return torch.exp(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0))


precision = torch.eye(latent_dim) + W.T @ W / noise  # of the posterior of z
posterior_mean = torch.linalg.solve(precision, W.T @ (image - pixel_mean) / noise)
posterior = MultivariateNormal(posterior_mean, precision_matrix=precision)
at_posterior = posterior.sample((100,))
log_weights = (
    gaussian_head(image, at_posterior @ W.T + pixel_mean, noise.sqrt().item())
    + normal.log_prob(at_posterior).sum(-1)
    - posterior.log_prob(at_posterior)
)

# %% tags=["check"]
model_cov = W @ W.T + noise * torch.eye(784)
checks.close(
    "total variance of the model is that of the data",
    model_cov.trace(),
    variances.sum(),
    rtol=1e-10,
)
along = (components.T @ model_cov @ components).diagonal()[:latent_dim]
checks.close(
    "and so is that along the 16 components", along, variances[:latent_dim], rtol=1e-8
)
checks.close(
    "log p(x) by the chain rule at 100 draws from the posterior, relative to 784 pixels",
    log_weights / 784,
    (log_p_image / 784).expand(100),
    atol=1e-9,
)
checks.close(
    "effective sample size of 7 equal weights",
    effective_sample_size(torch.full((7,), -1e4)),
    7.0,
    rtol=1e-10,
)

# %% tags=["check"]
best_over_k = log_p_given_z.max() - math.log(P.num_prior)
ess = effective_sample_size(log_p_given_z)
checks.ordered(
    "log of the average, between bounds from the best draw",
    {
        "best - log K": best_over_k,
        "estimate": naive_estimate,
        "best - log K + log ESS": best_over_k + ess.log(),
    },
    slack=1e-9,
)
good = gaussian_head(image, at_posterior @ W.T + pixel_mean, noise.sqrt().item())
if run.on_mnist and run.profile != "smoke":
    shortfall = log_p_image - naive_estimate
    checks.at_least("nats by which the naive estimate falls short", shortfall, 20)
    checks.at_most("effective sample size", ess, 3)
    top_two = torch.softmax(log_p_given_z, 0).topk(2).values.sum()
    checks.at_least("share of the weight on the two best draws", top_two, 0.5)
    between = good.min() - log_p_given_z.max()
    checks.at_least("nats between the two groups of draws", between, 20)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Histogram of log p(x|z) of one test digit over draws of z from the prior, and, far to the right, over 100 draws from the posterior. Vertical lines: the exact log p(x) (dashed) and the naive estimate (dotted). The lowest fifth of the draws from the prior is not drawn.", "name": "fig-elbo-naive"}, "image": {"alt": "A wide histogram of thousands of draws from the prior stretches to the left over more than a thousand nats. To its right, across a wide gap, stands a narrow peak of draws from the posterior. The exact value lies close to that peak, the naive estimate at the right end of the wide histogram."}}
fig, ax = plt.subplots(figsize=(7.0, 3.4))
shown = log_p_given_z[log_p_given_z > log_p_given_z.quantile(0.2)]
ax.hist(shown, 60, label="z from the prior", alpha=0.8)
ax.hist(good, 4, label="z from the posterior", alpha=0.8)
for value, name, style in (
    (log_p_image, "exact log p(x)", "--"),
    (naive_estimate, "naive estimate", ":"),
):
    ax.axvline(value.item(), color="black", linestyle=style, linewidth=1.4, label=name)
ax.set(xlabel="log p(x|z) in nats", ylabel="number of draws", yscale="log")
ax.set_ylim(0.7, 30 * P.num_prior**0.7)
_ = ax.legend(loc="upper left", ncols=2)

# %% [markdown]
r"""
One or two draws carry most of the weight.
The logarithm of the average is that of the best draw minus $\log K$, plus at most the logarithm of the effective sample size: the other draws add hardly more than a nat.
The estimate is unbiased all the same.
Its mean is kept up by draws that are so rare that nobody will ever see one.
"""

# %% [markdown]
r"""
## Importance sampling

**Draw $z$ where it matters, and divide by the density it was drawn from.**
For any $q$ that is positive where $p(x, z)$ is,

$$
\begin{aligned}
p(x) &= \int q(z)\, \frac{p(x, z)}{q(z)}\, dz
= \mathbb{E}_q[w(z)], \\
w(z) &= \frac{p(x \mid z)\, p(z)}{q(z)} .
\end{aligned}
$$ (eq-elbo-importance)

```{margin}
**A common mistake:** texts that replace the prior by $q$ and forget the weight: $\mathbb{E}_q[p(x \mid z)]$ is not $p(x)$.
```

The factor $p(z) / q(z)$ is not a detail.
For the reference model and $q = \mathcal{N}(0.8, 0.42^2)$ the average without it has the expectation $\mathcal{N}(x;\, 0.8 a,\, s^2 + 0.42^2 a^2)$.
"""

# %%
q_mean, q_sd = 0.8, 0.42
z = q_mean + q_sd * torch.randn(P.num_draws)
unweighted = log_normal(x_seen, a * z, s2).exp()
weighted = torch.exp(toy_log_joint(z) - log_normal(z, q_mean, q_sd**2))
unweighted_mean = log_normal(x_seen, a * q_mean, s2 + (a * q_sd) ** 2).exp()

# %% tags=["check"]
checks.unbiased("with weights, p(x)", weighted, log_evidence.exp())
checks.unbiased("without weights, its own expectation", unweighted, unweighted_mean)
checks.close("which is not 0.188 but", unweighted_mean, 0.478, atol=5e-4)

# %% [markdown]
r"""
How good is a $q$?
The best is the posterior: then every weight is $p(x)$ itself.
The relative variance of a weight is $\mathbb{E}_q[w^2] / p(x)^2 - 1$, and in the reference model, for $q = \mathcal{N}(m + \delta, u)$ and the posterior $\mathcal{N}(m, v)$,

$$
\begin{aligned}
\frac{\mathbb{E}_q[w^2]}{p(x)^2} &= \int \frac{p(z \mid x)^2}{q(z)}\, dz \\
&= \frac{u}{\sqrt{v (2 u - v)}} \exp\Bigl(\frac{\delta^2}{2 u - v}\Bigr),
\qquad u > \frac{v}{2} .
\end{aligned}
$$ (eq-elbo-weight-variance)

At $u \le v / 2$ the integral diverges: **a $q$ that is too narrow gives weights of infinite variance.**
It is the dangerous side, because a finite sample does not show it: the rare large weights are not in it.
"""


# %%
def second_moment(u, delta):
    """E_q[w^2] / p(x)^2 for q = N(m + delta, u)."""
    u = torch.as_tensor(u)
    return u / (v * (2 * u - v)).sqrt() * torch.exp(delta**2 / (2 * u - v))


def second_moment_by_integral(u, delta):
    log_ratio = 2 * log_normal(z_grid, m, v) - log_normal(z_grid, m + delta, u)
    return log_ratio.exp().sum() * dz


# %% tags=["check"]
for u, delta in ((v, 0.0), (0.7 * v, 0.1), (2 * v, -0.2), (1.0, -m)):
    checks.close(
        f"E[w^2] / p(x)^2 at u / v = {u / v:.3g}, delta = {delta:.2g}",
        second_moment_by_integral(u, delta),
        second_moment(u, delta),
        rtol=1e-9,
    )
window = {  # at u = 0.4 v the integrand grows without end
    half: torch.exp(2 * log_normal(z_grid, m, v) - log_normal(z_grid, m, 0.4 * v))[
        (z_grid - m).abs() < half
    ].sum()
    for half in (2, 4)
}
checks.at_least(
    "a wider window, u = 0.4 v, multiplies the integral", window[4] / window[2], 1e6
)
checks.unbiased(
    "mean of w^2 / p(x)^2 for the q above",
    (weighted / log_evidence.exp()) ** 2,
    second_moment(q_sd**2, q_mean - m),
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Relative variance of one importance weight against the variance u of q, in units of the variance v of the posterior. Dashed: below u = v/2 it is infinite. The dot is the prior as q.", "name": "fig-elbo-weight-variance"}, "image": {"alt": "Two curves on a logarithmic vertical axis. Both shoot up to infinity at one half. The curve for a centred q dips to zero at u equal to v and rises slowly to the right. The curve for a shifted q has a shallow minimum near u equal to one and a half v."}}
fig, ax = plt.subplots(figsize=(6.8, 3.4))
ratio = torch.logspace(math.log10(0.502), 1.1, 800)
for delta, name in ((0.0, "centre right"), (0.5 * v**0.5, "centre off by half a sd")):
    ax.plot(ratio, second_moment(ratio * v, delta) - 1, label=name)
ax.plot([1 / v], [second_moment(1.0, -m) - 1], "o", color="black", label="prior as q")
ax.axvline(0.5, color="black", linestyle="--", linewidth=1)
ax.set(xscale="log", yscale="log", ylim=(1e-3, 30), xlim=(0.4, 13))
ax.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
ax.minorticks_off()
ax.set(
    xlabel="variance of q / variance of the posterior", ylabel="variance of w / p(x)²"
)
_ = ax.legend()

# %% [markdown]
r"""
## The bound

```{margin}
**In the sources.** Oslo, 16 April, *Kullback-Leibler again*; 30 April, *Evidence Lower Bound* to *Analysis*; CS236 notes, *VAE optimization*; Borisyak, *Variational bound*.
```

**The logarithm of $p(x)$ is an expectation under any $q$, plus a divergence that is never negative.**
The expectation is the evidence lower bound:

$$
\mathrm{ELBO}(x; q) = \mathbb{E}_{q(z)}\left[\log \frac{p(x, z)}{q(z)}\right] .
$$ (eq-elbo-elbo)

We derive it in three ways, and compute each line twice.
The first model is discrete, with six values of $z$, so that expectations are sums.
The second is Gaussian with full covariances, $z \in \mathbb{R}^3$ and $x \in \mathbb{R}^4$,

$$
\begin{aligned}
z &\sim \mathcal{N}(0, I), \qquad x \mid z \sim \mathcal{N}(A z + b, R), \\
q(z) &= \mathcal{N}(\mu_q, \Sigma_q),
\end{aligned}
$$ (eq-elbo-linear-gaussian)

where one formula gives all expectations: for $y \sim \mathcal{N}(\mu_y, \Sigma_y)$,

$$
\begin{aligned}
&\mathbb{E}\bigl[\log \mathcal{N}(y; \mu, \Sigma)\bigr]
= -\tfrac{1}{2} \bigl[ k \log 2 \pi + \log \det \Sigma \\
&\quad + \operatorname{tr}(\Sigma^{-1} \Sigma_y) + (\mu_y - \mu)^\top \Sigma^{-1} (\mu_y - \mu) \bigr] .
\end{aligned}
$$ (eq-elbo-expected-log)
"""


# %%
def expected_log_normal(mean, cov, y_mean, y_cov):
    """E[log N(y; mean, cov)] for y ~ N(y_mean, y_cov), in nats."""
    difference = (y_mean - mean)[:, None]
    spread = torch.linalg.solve(cov, y_cov + difference @ difference.T).trace()
    return -0.5 * (len(mean) * math.log(2 * math.pi) + torch.logdet(cov) + spread)


def random_covariance(size):
    root = torch.randn(size, size)
    return root @ root.T / size + 0.3 * torch.eye(size)


A, b, R = torch.randn(4, 3), torch.randn(4), random_covariance(4)
zero, eye = torch.zeros(3), torch.eye(3)
x_point = A @ torch.randn(3) + b + torch.linalg.cholesky(R) @ torch.randn(4)
log_p = MultivariateNormal(b, A @ A.T + R).log_prob(x_point)

# Bayes' rule for Gaussians: precisions add up.
post_cov = torch.linalg.inv(eye + A.T @ torch.linalg.solve(R, A))
post_mean = post_cov @ A.T @ torch.linalg.solve(R, x_point - b)


def gaussian_terms(q_mean, q_cov):
    """E_q of log p(x|z), log p(z), log p(z|x) and log q(z), in closed form."""
    residual_cov = A @ q_cov @ A.T
    return {
        "log p(x|z)": expected_log_normal(x_point, R, A @ q_mean + b, residual_cov),
        "log p(z)": expected_log_normal(zero, eye, q_mean, q_cov),
        "log p(z|x)": expected_log_normal(post_mean, post_cov, q_mean, q_cov),
        "log q(z)": expected_log_normal(q_mean, q_cov, q_mean, q_cov),
    }


# %% [markdown]
r"""
The discrete model is a table, and its terms have the same names.
"""

# %%
log_prior_table = torch.log_softmax(torch.randn(6), 0)
log_like_table = torch.log_softmax(2 * torch.randn(6, 5), 1)[:, 2]  # the seen x is 2
log_joint_table = log_prior_table + log_like_table
log_p_table = log_joint_table.logsumexp(0)
log_post_table = log_joint_table - log_p_table


def discrete_terms(log_q):
    """E_q of the same four logarithms, as sums over z."""
    tables = {
        "log p(x|z)": log_like_table,
        "log p(z)": log_prior_table,
        "log p(z|x)": log_post_table,
        "log q(z)": log_q,
    }
    return {name: (log_q.exp() * table).sum() for name, table in tables.items()}


q_mean, q_cov = torch.randn(3), random_covariance(3)
log_q = torch.log_softmax(torch.randn(6), 0)
both = {
    "Gaussian": (log_p, gaussian_terms(q_mean, q_cov)),
    "discrete": (log_p_table, discrete_terms(log_q)),
}

# %% tags=["check"]
draws = MultivariateNormal(q_mean, q_cov).sample((P.num_draws,))
by_library = {
    "log p(x|z)": MultivariateNormal(draws @ A.T + b, R).log_prob(x_point),
    "log p(z)": MultivariateNormal(zero, eye).log_prob(draws),
    "log p(z|x)": MultivariateNormal(post_mean, post_cov).log_prob(draws),
    "log q(z)": MultivariateNormal(q_mean, q_cov).log_prob(draws),
}
for name, value in both["Gaussian"][1].items():
    checks.unbiased(f"E_q[{name}], Gaussian model", by_library[name], value)
checks.close(
    "posterior: p(x, z) / p(z|x) is p(x) at every draw",
    by_library["log p(x|z)"] + by_library["log p(z)"] - by_library["log p(z|x)"],
    log_p.expand(P.num_draws),
    atol=1e-10,
)

# %% [markdown]
r"""
### First derivation: Jensen's inequality

The logarithm is concave, so the logarithm of a mean is at least the mean of the logarithm.
Applied to the importance weights {eq}`eq-elbo-importance`:

$$
\begin{aligned}
\log p(x) &= \log \mathbb{E}_q\left[\frac{p(x, z)}{q(z)}\right] && (1) \\
&\ge \mathbb{E}_q\left[\log \frac{p(x, z)}{q(z)}\right] && (2) \\
&= \mathrm{ELBO}(x; q) . && (3)
\end{aligned}
$$ (eq-elbo-jensen)

Equality holds if and only if the weight is the same for all $z$.
Then $q(z) \propto p(x, z)$, and $q$ is the posterior.
"""


# %%
def elbo_from(terms):
    """E_q[log p(x, z) - log q(z)], nats."""
    return terms["log p(x|z)"] + terms["log p(z)"] - terms["log q(z)"]


elbos = {name: elbo_from(terms) for name, (_, terms) in both.items()}
weights_table = torch.exp(log_joint_table - log_q)  # w(z) for the six z

# %% tags=["check"]
checks.close(
    "line (1), discrete",
    torch.log((log_q.exp() * weights_table).sum()),
    log_p_table,
    atol=1e-12,
)
checks.close(
    "lines (2) and (3), discrete",
    (log_q.exp() * weights_table.log()).sum(),
    elbos["discrete"],
    atol=1e-12,
)
sampled = by_library["log p(x|z)"] + by_library["log p(z)"] - by_library["log q(z)"]
checks.unbiased("line (2), Gaussian, by draws of q", sampled, elbos["Gaussian"])
for name, (value, _) in both.items():
    checks.ordered(f"{name}", {"ELBO": elbos[name], "log p": value})

# %% [markdown]
r"""
### Second derivation: eight lines, nothing lost

Jensen's inequality does not say how much is lost.
The second derivation does.
Write $p$ for the model and $q$ for $q(z)$:

$$
\begin{aligned}
\log p(x) &= \log p(x) \int q(z)\, dz &&\hspace{-0.8em} (1) \\
&= \int q(z) \log p(x)\, dz &&\hspace{-0.8em} (2) \\
&= \mathbb{E}_q[\log p(x)] &&\hspace{-0.8em} (3) \\
&= \mathbb{E}_q\left[\log \frac{p(x, z)}{p(z \mid x)}\right] &&\hspace{-0.8em} (4) \\
&= \mathbb{E}_q\left[\log \frac{p(x, z)\, q(z)}{p(z \mid x)\, q(z)}\right] &&\hspace{-0.8em} (5) \\
&= \mathbb{E}_q\left[\log \frac{p(x, z)}{q(z)}\right] + \mathbb{E}_q\left[\log \frac{q(z)}{p(z \mid x)}\right] &&\hspace{-0.8em} (6) \\
&= \mathrm{ELBO}(x; q) + \mathrm{KL}\bigl(q \,\Vert\, p(\cdot \mid x)\bigr) &&\hspace{-0.8em} (7) \\
&\ge \mathrm{ELBO}(x; q) . &&\hspace{-0.8em} (8)
\end{aligned}
$$ (eq-elbo-eight-lines)

Line (1) multiplies by one, (4) is the chain rule {eq}`eq-elbo-chain-rule`, (5) multiplies by $q / q$, (6) splits the logarithm, (7) gives names, and (8) uses that a KL divergence is never negative.
"""


# %%
def eight_lines(log_p, total, terms, kl):
    """The right-hand sides of lines (1) to (7), with `total` the integral of q."""
    joint = terms["log p(x|z)"] + terms["log p(z)"]
    posterior, q = terms["log p(z|x)"], terms["log q(z)"]
    return [
        log_p * total,
        total * log_p,
        log_p * 1.0,
        joint - posterior,
        (joint + q) - (posterior + q),
        (joint - q) + (q - posterior),
        elbo_from(terms) + kl,
    ]


kl_gaussian = library_kl(
    MultivariateNormal(q_mean, q_cov), MultivariateNormal(post_mean, post_cov)
)
kl_discrete = F.kl_div(log_post_table, log_q, reduction="sum", log_target=True)
side = torch.linspace(-20, 20, 101)  # the integral of q over a box in three dimensions
box = torch.cartesian_prod(side, side, side)
total_q = MultivariateNormal(q_mean, q_cov).log_prob(box).exp().sum() * 0.4**3
lines = {
    "Gaussian": eight_lines(log_p, total_q, both["Gaussian"][1], kl_gaussian),
    "discrete": eight_lines(
        log_p_table, log_q.exp().sum(), both["discrete"][1], kl_discrete
    ),
}

# %% tags=["check"]
for name, (exact_value, _) in both.items():
    for i, line in enumerate(lines[name], start=1):
        checks.close(f"{name}, line ({i})", line, exact_value, atol=1e-8)
checks.at_least("line (8): the KL that is dropped, Gaussian", kl_gaussian, 1e-3)
checks.at_least("line (8): the KL that is dropped, discrete", kl_discrete, 1e-3)

# %% [markdown]
r"""
### Third derivation: from the divergence, with Bayes' rule

The third route starts from what we want small.

$$
\begin{aligned}
\mathrm{KL}\bigl(q \,\Vert\, p(\cdot \mid x)\bigr)
&= \mathbb{E}_q[\log q(z) - \log p(z \mid x)] && (1) \\
&= \mathbb{E}_q[\log q(z) - \log p(x \mid z) \\
&\qquad\quad - \log p(z)] + \log p(x) , && (2)
\end{aligned}
$$

because by Bayes' rule

$$
\log p(z \mid x) = \log p(x \mid z) + \log p(z) - \log p(x),
$$

and $\log p(x)$ does not depend on $z$.
Sorting the terms gives the central equation of variational autoencoders:

$$
\begin{aligned}
\log p(x) &- \mathrm{KL}\bigl(q \,\Vert\, p(\cdot \mid x)\bigr) \\
&= \underbrace{\mathbb{E}_q[\log p(x \mid z)]}_\text{reconstruction}
- \underbrace{\mathrm{KL}\bigl(q \,\Vert\, p(z)\bigr)}_\text{prior matching} . && (3)
\end{aligned}
$$ (eq-elbo-central)

```{margin}
**A common mistake:** a left side that is called "$\log p(x)$ plus an error term".
The divergence is never negative and is *subtracted*: the right side is a lower bound.
```

On the left stands what we want, on the right what we can compute.
"""

# %% tags=["check"]
kl_to_prior = {
    "Gaussian": library_kl(
        MultivariateNormal(q_mean, q_cov), MultivariateNormal(zero, eye)
    ),
    "discrete": F.kl_div(log_prior_table, log_q, reduction="sum", log_target=True),
}
kl_to_posterior = {"Gaussian": kl_gaussian, "discrete": kl_discrete}
for name, (value, terms) in both.items():
    kl, q_term = kl_to_posterior[name], terms["log q(z)"]
    checks.close(f"{name}, line (1)", q_term - terms["log p(z|x)"], kl, atol=1e-10)
    bayes = q_term - terms["log p(x|z)"] - terms["log p(z)"] + value
    checks.close(f"{name}, line (2)", bayes, kl, atol=1e-10)
    right_side = terms["log p(x|z)"] - kl_to_prior[name]
    checks.close(f"{name}, line (3)", value - kl, right_side, atol=1e-10)
    checks.close(
        f"{name}, the right side is the ELBO", right_side, elbos[name], atol=1e-10
    )

# %% [markdown]
r"""
Back to the digit that draws from the prior missed by many nats ({numref}`fig-elbo-naive`).
Its posterior in {eq}`eq-elbo-ppca` is Gaussian.
Let $q$ have its mean and 1.44 times its covariance, which is wrong by a fifth in each width: the gap is $\frac{16}{2} (0.44 - \log 1.44)$, about 0.6 nats, and 200 draws estimate the bound.
"""

# %%
q_image = MultivariateNormal(posterior.mean, 1.44 * posterior.covariance_matrix)
z_image = q_image.sample((200,))
bound_samples = (
    gaussian_head(image, z_image @ W.T + pixel_mean, noise.sqrt().item())
    + normal.log_prob(z_image).sum(-1)
    - q_image.log_prob(z_image)
)
gap_image = latent_dim / 2 * (0.44 - math.log(1.44))

# %% tags=["check"]
checks.close("gap of the digit, in nats", gap_image, 0.603, atol=5e-4)
by_library = library_kl(q_image, posterior)
checks.close("the same by the library", by_library, gap_image, atol=1e-8)
exact_elbo = log_p_image.item() - gap_image
checks.unbiased("ELBO of the digit, by 200 draws", bound_samples, exact_elbo)
if run.on_mnist and run.profile != "smoke":
    above = bound_samples.mean() - naive_estimate
    checks.at_least("nats above the naive estimate", above, 20)

# %% [markdown]
r"""
The identity holds for every $q$, good or bad.
We take a thousand of them at random and record the largest error.
At the posterior nothing is lost, and more is true: **every single draw returns $\log p(x)$**, without any noise.
"""

# %%
errors, gaps = [], []
for _ in range(1_000):
    trial_mean, trial_cov = 2 * torch.randn(3), random_covariance(3)
    kl = library_kl(
        MultivariateNormal(trial_mean, trial_cov),
        MultivariateNormal(post_mean, post_cov),
    )
    errors.append((log_p - elbo_from(gaussian_terms(trial_mean, trial_cov)) - kl).abs())
    gaps.append(kl)

identity_error = run.record(
    "identity_max_error",
    max(errors),
    unit="nats",
    protocol="largest |log p - ELBO - KL| over 1,000 random Gaussian q, linear Gaussian "
    "model with 3 latent and 4 observed dimensions, float64",
)

# %% tags=["check"]
checks.at_most("largest error of log p = ELBO + KL", identity_error, 1e-10)
checks.at_least("smallest of the thousand gaps", min(gaps), 0.0)
at_best = elbo_from(gaussian_terms(post_mean, post_cov))
checks.close("ELBO at the posterior", at_best, log_p, atol=1e-10)
z = m + v**0.5 * torch.randn(1_000)
log_w = toy_log_joint(z) - log_normal(z, m, v)
checks.close("1,000 draws, each returns", log_w, log_evidence.expand(1_000), atol=1e-10)

# %% [markdown]
r"""
## The bar that never changes height

**Improving $q$ moves nothing but the border between ELBO and KL.**
In the reference model {eq}`eq-elbo-toy` with $q = \mathcal{N}(\mu, \sigma^2)$ the bound is

$$
\begin{aligned}
\mathrm{ELBO} = &-\frac{(x - a \mu)^2 + a^2 \sigma^2}{2 s^2} - \tfrac{1}{2} \log 2 \pi s^2 \\
&- \tfrac{1}{2} \bigl( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \bigr) .
\end{aligned}
$$ (eq-elbo-toy-elbo)

The gap is the divergence from $q$ to the posterior $\mathcal{N}(m, v)$.
With the error of the mean $\delta = \mu - m$ and the ratio of widths $r = \sigma / \sqrt{v}$ it is

$$
\log p(x) - \mathrm{ELBO} = \frac{\delta^2}{2 v} + \tfrac{1}{2} \bigl( r^2 - 1 - \log r^2 \bigr) .
$$ (eq-elbo-toy-gap)

We climb the bound by its gradient in $\mu$ and $\log \sigma$, from a poor start ({numref}`fig-elbo-bars`).
"""


# %%
def toy_elbo(mu, log_sigma, *, x=x_seen, a=a, s2=s2):
    variance = torch.exp(2 * log_sigma)
    squared_error = (x - a * mu) ** 2 + a**2 * variance
    constant = 0.5 * torch.log(2 * math.pi * torch.as_tensor(s2))
    reconstruction = -squared_error / (2 * s2) - constant
    prior_matching = 0.5 * (mu**2 + variance - 1 - 2 * log_sigma)
    return reconstruction - prior_matching


def toy_gap(mu, log_sigma, *, m=m, v=v):
    """KL from q to the posterior: delta^2 / 2v + (r^2 - 1 - log r^2) / 2."""
    r2 = torch.exp(2 * log_sigma) / v
    return (mu - m) ** 2 / (2 * v) + 0.5 * (r2 - 1 - torch.log(r2))


phi = torch.tensor([-0.6, 0.0], requires_grad=True)  # mu and log sigma
path = []
for _ in range(41):
    bound = toy_elbo(*phi)
    path.append((*phi.tolist(), bound.item(), toy_gap(*phi).item()))
    (gradient,) = torch.autograd.grad(bound, phi)
    phi = (phi + 0.05 * gradient).detach().requires_grad_()
path = torch.tensor(path)

# %% tags=["check"]
checks.close(
    "ELBO + KL along the path",
    path[:, 2] + path[:, 3],
    log_evidence.expand(41),
    atol=1e-12,
)
by_library = library_kl(Normal(path[:, 0], path[:, 1].exp()), Normal(m, v**0.5))
checks.close("KL along the path, by the library", path[:, 3], by_library, atol=1e-12)
checks.at_least("the smallest of 40 steps, in nats", path[1:, 2] - path[:-1, 2], 0.0)
checks.at_most("KL at the end, in nats", path[-1, 3], 0.01)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Steps of gradient ascent on the ELBO. The top of every bar is log p(x); the floor of the picture is at -12 nats. Only the border moves.", "name": "fig-elbo-bars"}, "image": {"alt": "Eight stacked bars of equal height that end at the dashed line log p(x). The lower part, the ELBO, grows from step to step; the upper part, the KL divergence, shrinks from about ten nats until it can't be seen."}}
fig, ax = plt.subplots(figsize=(6.8, 3.4))
chosen, floor = [0, 1, 2, 3, 5, 8, 16, 40], -12.0
for place, step in enumerate(chosen):
    bound = path[step, 2].item()
    ax.bar(place, bound - floor, bottom=floor, color=plotting.COLOURS[0])
    ax.bar(place, path[step, 3], bottom=bound, color=plotting.COLOURS[1])
ax.set_xticks(range(len(chosen)), [str(step) for step in chosen])
ax.set(xlabel="step", ylabel="nats", ylim=(floor, -0.4))
plotting.reference_line(ax, log_evidence.item(), "log p(x)")
ax.text(6.0, -7, "ELBO", color="white", ha="center")
_ = ax.annotate("KL", (0, -5), color="white", ha="center")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: ELBO (blue) and KL (orange) add up to log p(x) at every step. Right: q on its way to the posterior.", "name": "fig-elbo-steps"}}
slider_steps = [*range(13), 16, 20, 30, 40]
z_axis = torch.linspace(-3, 3, 400)


def bar_and_densities(step):
    mu, log_sigma, bound, gap = path[step].tolist()
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3), width_ratios=(1, 2.6))
    left.bar(0, bound - floor, bottom=floor, color=plotting.COLOURS[0])
    left.bar(0, gap, bottom=bound, color=plotting.COLOURS[1])
    plotting.reference_line(left, log_evidence.item(), "log p(x)")
    left.set(ylim=(floor, -0.4), xticks=[], ylabel="nats")
    left.set_xlabel(f"ELBO {bound:.2f}\nKL {gap:.2f}")
    right.plot(z_axis, log_normal(z_axis, m, v).exp(), color="black", label="posterior")
    q = log_normal(z_axis, mu, math.exp(2 * log_sigma)).exp()
    right.plot(z_axis, q, color=plotting.COLOURS[1], label="q")
    right.set(xlabel="latent variable z", ylabel="density", ylim=(0, 1.35))
    right.legend(loc="upper left")
    return fig


plotting.slider(
    [f"step {step}" for step in slider_steps],
    (bar_and_densities(step) for step in slider_steps),
    alt="A stacked bar of constant height beside two bell curves. As the steps go on, the "
    "upper part of the bar vanishes and the orange bell moves onto the black one.",
)

# %% [markdown]
r"""
### One draw is enough, on average

Where no closed form is at hand, $\log w(z)$ of a *single* draw from $q$ is an unbiased estimate of the ELBO, and training takes no more than one for each data point: the average over many data points and many steps does the rest.
The better $q$, the less a single draw scatters, because at the posterior $\log w$ is a constant ({numref}`fig-elbo-one-draw`).
"""


# %%
def one_draw(step):
    """log w of independent draws from the q of this step."""
    mu, log_sigma = path[step, :2]
    draws = mu + log_sigma.exp() * torch.randn(P.num_draws)
    return toy_log_joint(draws) - log_normal(draws, mu, (2 * log_sigma).exp())


single = {step: one_draw(step) for step in (3, 8, 16)}

# %% tags=["check"]
checks.unbiased("one-draw estimates of the ELBO, step 0", one_draw(0), path[0, 2])
for step, values in single.items():
    checks.unbiased(f"one-draw estimates, step {step}", values, path[step, 2])
spreads = {f"step {step}": values.std() for step, values in reversed(single.items())}
checks.ordered("standard deviation of one draw, nats", spreads)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One-draw estimates of the ELBO after 3, 8 and 16 steps of the ascent; vertical lines in the same colours: their means. The nearer the mean to log p(x) (dashed), the narrower the histogram. Estimates below -6 nats are not shown; a single estimate may well lie above log p(x), only the mean may not.", "name": "fig-elbo-one-draw"}, "image": {"alt": "Three histograms, all with some estimates to the right of the dashed line. The one after three steps has a long tail to the left; the one after sixteen steps is a narrow spike at the dashed line."}}
fig, ax = plt.subplots(figsize=(6.6, 3.2))
bins = torch.linspace(-6, -0.8, 105).tolist()
for (step, values), colour in zip(single.items(), plotting.COLOURS, strict=False):
    share = 1 / (len(values) * 0.05)
    heights = torch.full_like(values, share)
    ax.hist(
        values,
        bins,
        weights=heights,
        histtype="step",
        color=colour,
        linewidth=1.6,
        label=f"step {step}",
    )
    ax.axvline(path[step, 2], color=colour, linewidth=1)
ax.axvline(log_evidence, color="black", linestyle="--", linewidth=1)
ax.set(xlabel="log w of one draw (nats)", ylabel="density", yscale="log")
_ = ax.legend(loc="upper left")

# %% [markdown]
r"""
### A posterior that is no Gaussian

If the posterior is not in the family of $q$, the gap does not close.
Take $z \sim \mathcal{N}(0, I)$ in the plane and $x \mid z \sim \mathcal{N}(z_2 + z_1^2, 0.3^2)$, and observe $x = 2$: the posterior is a bent ridge.
All integrals are sums over a grid.
We fit a Gaussian with a full covariance, and one with a diagonal covariance ({numref}`fig-elbo-banana`).
"""

# %%
side = torch.linspace(-6, 6, 241)
points = torch.cartesian_prod(side, side)
log_cell = 2 * math.log((side[1] - side[0]).item())
banana_joint = normal.log_prob(points).sum(1) + log_normal(
    2.0, points[:, 1] + points[:, 0] ** 2, 0.3**2
)
banana_log_p = banana_joint.logsumexp(0) + log_cell


def fit_banana(diagonal):
    """Maximise the ELBO over the mean and the Cholesky factor of q."""
    raw = torch.tensor([1.0, 0.5, -0.5, -0.5, 0.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], max_iter=60, line_search_fn="strong_wolfe")

    def q():
        off = torch.zeros(()) if diagonal else raw[4]
        rows = [torch.stack([raw[2].exp(), torch.zeros(())])]
        rows.append(torch.stack([off, raw[3].exp()]))
        return MultivariateNormal(raw[:2], scale_tril=torch.stack(rows))

    def closure():
        optimiser.zero_grad()
        log_q = q().log_prob(points)
        loss = -(torch.exp(log_q + log_cell) * (banana_joint - log_q)).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return q().log_prob(points).detach(), -closure().detach()


fits = {name: fit_banana(name == "diagonal") for name in ("diagonal", "full")}

# The Gaussian with the least KL(p || q) has the mean and covariance of p.
p_banana = torch.exp(banana_joint - banana_log_p + log_cell)
p_mean = p_banana @ points
p_cov = (points - p_mean).T @ (p_banana[:, None] * (points - p_mean))
matched = MultivariateNormal(p_mean, p_cov)
log_qs = {"full": fits["full"][0], "moments": matched.log_prob(points)}

# %% tags=["check"]
log_posterior = banana_joint - banana_log_p
for name, (log_q, bound) in fits.items():
    checks.normalised(f"q, {name}", log_q + log_cell, atol=1e-8)
    kl = (torch.exp(log_q + log_cell) * (log_q - log_posterior)).sum()
    checks.close(f"ELBO + KL, {name}", bound + kl, banana_log_p, atol=1e-7)
    checks.at_least(f"the gap that stays, {name}, in nats", kl, 0.05)
off_axis = (torch.exp(fits["full"][0] + log_cell) * points[:, 0]).sum()
checks.at_least("distance of the full q from the axis of symmetry", off_axis.abs(), 0.5)
two_dim_noise = 0.3**2 + 1  # of x given z_1
direct = log_normal(2.0, z_grid**2, two_dim_noise) + normal.log_prob(z_grid)
checks.close(
    "log p(x), with z_2 integrated out by hand",
    banana_log_p,
    direct.logsumexp(0) + math.log(dz),
    atol=1e-8,
)
checks.ordered(
    "the larger family is at least as good",
    {name: bound for name, (_, bound) in fits.items()} | {"log p": banana_log_p},
    slack=1e-6,
)


# %% tags=["check"]
def grid_kl(log_first, log_second):
    return (torch.exp(log_first + log_cell) * (log_first - log_second)).sum()


checks.at_most("E[z_1] of the posterior, from the axis", p_mean[0].abs(), 1e-8)
kl_q_p = {name: grid_kl(log_qs[name], log_posterior) for name in ("full", "moments")}
checks.ordered("KL(q || p): the q that maximises the ELBO wins", kl_q_p)
kl_p_q = {name: grid_kl(log_posterior, log_qs[name]) for name in ("moments", "full")}
checks.ordered("KL(p || q): the q with the moments of p wins", kl_p_q)
for scale in (0.9, 1.1):
    wrong = MultivariateNormal(p_mean, scale * p_cov).log_prob(points)
    worse = grid_kl(log_posterior, wrong) - kl_p_q["moments"]
    exact_loss = 1 / scale - 1 + math.log(scale)
    checks.close(f"lost with {scale} of the covariance", worse, exact_loss, atol=1e-7)
far_arm = (points[:, 0] * off_axis.sign() < -0.5).double()
shares = {name: torch.exp(log_q + log_cell) @ far_arm for name, log_q in log_qs.items()}
checks.ordered("mass in the arm that the full q leaves out", shares)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The posterior (shaded) and three Gaussian q (lines at one and two standard deviations): the best diagonal one and the best full one for KL(q || p), and on the right the best one for KL(p || q).", "name": "fig-elbo-banana"}, "image": {"alt": "Three panels with the same shaded posterior, an arch open to the bottom. In the first the ellipses of q lie across the top of the arch. In the second they are tilted and fill one arm, and leave the other uncovered. In the third they are wide, cover both arms, and also the empty middle under the arch."}}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 3.1), sharey=True)
panels = {name: log_q for name, (log_q, _) in fits.items()}
panels["moments of p"] = log_qs["moments"]
for ax, (name, log_q) in zip(axes, panels.items(), strict=True):
    shape = (len(side), len(side))
    ax.contourf(
        side, side, log_posterior.exp().reshape(shape).T, levels=12, cmap="Greys"
    )
    q = log_q.exp().reshape(shape).T
    levels = (q.max() * torch.tensor([math.exp(-2.0), math.exp(-0.5)])).tolist()
    ax.contour(side, side, q, levels=levels, colors=[plotting.COLOURS[1]])
    ax.set(xlabel=f"$z_1$ ({name})", xlim=(-2.6, 2.6), ylim=(-3, 2.8))
_ = axes[0].set_ylabel("$z_2$")

# %% [markdown]
r"""
The full Gaussian settles in one arm of the posterior and leaves the other one out.
$\mathrm{KL}(q \,\Vert\, p)$ punishes $q$ wherever it has mass and $p$ has none, and hardly minds what it leaves out.
$\mathrm{KL}(p \,\Vert\, q)$ does the opposite: its best Gaussian has the mean and covariance of $p$, sits on the axis of symmetry, covers both arms, and puts mass where $p$ has none.
Each of the two loses in the direction of the other.
The ELBO decides for the first, because expectations under $q$ can be computed.
"""

# %% [markdown]
r"""
## One q for each data point, or one encoder for all

```{margin}
**In the sources.** CS236 notes, *VAE optimization*, the algorithm and amortisation; Oslo, 16 April, *Inferring the probability*.
```

**Every data point has its own posterior, so it needs its own $q$.**
Over a data set the objective is

$$
\begin{aligned}
&\frac{1}{N} \sum_{n=1}^{N} \mathrm{ELBO}(x_n; q_n) \\
&\quad = \frac{1}{N} \sum_{n=1}^{N} \bigl[ \log p_\theta(x_n) - \mathrm{KL}\bigl(q_n \,\Vert\, p_\theta(\cdot \mid x_n)\bigr) \bigr] .
\end{aligned}
$$ (eq-elbo-data-set)

```{margin}
**A common mistake:** a bracket that closes before the KL: each data point has its own, and it belongs inside the average.
```

Our example is a measurement with an error bar.
The quantity is $z_n \sim \mathcal{N}(0, 1)$, an instrument of unknown gain $\theta$ shows $x_n \sim \mathcal{N}(\theta z_n, s_n^2)$, and the error bar $s_n$ differs from reading to reading, but is known.
All posteriors are known too, which makes it a good test: `toy_elbo` gives the bound of each data point.

*Variational inference, one $q$ for each data point*, alternates between two kinds of parameters.
With $\theta$ fixed, improve every $q_n$; with the $q_n$ fixed, improve $\theta$.
"""

# %%
num_data, true_gain = 200, 1.5
s2_n = torch.exp(torch.randn(num_data)).clamp(0.05, 5.0)  # squared error bars
readings = true_gain * torch.randn(num_data) + s2_n.sqrt() * torch.randn(num_data)

gain = torch.tensor(0.7)
phi_n = torch.zeros(2, num_data)  # mu and log sigma of each q_n
for step in range(3_000):
    phi_n.requires_grad_()
    gain.requires_grad_()
    bound = toy_elbo(*phi_n, x=readings, a=gain, s2=s2_n)
    if step % 5:
        (gradient,) = torch.autograd.grad(bound.sum(), phi_n)
        phi_n = (phi_n + 0.01 * gradient).detach()
    else:
        (gradient,) = torch.autograd.grad(bound.mean(), gain)
        gain = (gain + 0.1 * gradient).detach()
phi_n, gain = phi_n.detach(), gain.detach()


def exact_posteriors(gain):
    variance = 1 / (1 + gain**2 / s2_n)
    return variance * gain * readings / s2_n, variance


def exact_log_prob(gain):
    return log_normal(readings, 0.0, gain**2 + s2_n)


m_n, v_n = exact_posteriors(gain)
gaps = {"one q each": toy_gap(*phi_n, m=m_n, v=v_n)}

# %% [markdown]
r"""
If every $q_n$ reaches its posterior, the bound is tight at the current $\theta$, and has the same derivative there as the likelihood: what lies between them, the KL, is at its minimum, where its derivative vanishes.
So $\theta$ ends at the maximum of the exact likelihood.
It is a generalised EM algorithm: the steps in the $q_n$ close the gap, and those in $\theta$ raise the bound.
"""

# %% tags=["check"]
bound = toy_elbo(*phi_n, x=readings, a=gain, s2=s2_n)
checks.close(
    "objective, against the average of log p - KL",
    bound.mean(),
    (exact_log_prob(gain) - gaps["one q each"]).mean(),
    atol=1e-10,
)
checks.at_most("largest gap, one q each, in nats", gaps["one q each"], 1e-6)
checks.gradient(
    "derivative of the exact mean log-likelihood, where the bound stopped",
    lambda g: exact_log_prob(torch.as_tensor(g)).mean().item(),
    gain,
    0.0,
    atol=1e-3,
)

# %% [markdown]
r"""
With many data points one does not wait for all of them.
*Stochastic variational inference* takes a few at a time:

1. Start with some $\theta$ and some $q_n$ for each data point.
2. Draw a small batch of data points at random.
3. Take a few gradient steps with the $q_n$ of these points, $\theta$ fixed.
4. Take one step with $\theta$, on the mean bound of the batch; go to 2.

The gradient of step 4 is a noisy one, so the steps get smaller.
"""


# %%
def stochastic_vi(num_steps, batch_size=20):
    theta, phi = torch.tensor(0.7), torch.zeros(2, num_data)  # 1.
    for step in range(num_steps):
        rows = torch.randperm(num_data)[:batch_size]  # 2.
        seen, local = {"x": readings[rows], "s2": s2_n[rows]}, phi[:, rows]
        for _ in range(5):  # 3.
            local.requires_grad_()
            bound = toy_elbo(*local, a=theta, **seen)
            (slope,) = torch.autograd.grad(bound.sum(), local)
            local = (local + 0.02 * slope).detach()
        phi[:, rows] = local
        theta.requires_grad_()  # 4.
        bound = toy_elbo(*local, a=theta, **seen).mean()
        (slope,) = torch.autograd.grad(bound, theta)
        theta = (theta + slope / (10 + step / 20)).detach()
    return theta, phi


theta, phi_s = stochastic_vi(2_000)
m_s, v_s = exact_posteriors(theta)

# %% [markdown]
r"""
It ends at the same place, up to noise.
The yardstick is half a nat for the whole data set, $1 / (2 N)$ for each point: by so much the maximum of the likelihood itself moves from sample to sample.
"""

# %% tags=["check"]
checks.at_most(
    "mean log p(x) at the maximum, minus that at the theta of the batches",
    exact_log_prob(gain).mean() - exact_log_prob(theta).mean(),
    1 / (2 * num_data),
)
s_gaps = toy_gap(*phi_s, m=m_s, v=v_s)
checks.at_most("mean gap, in nats", s_gaps.mean(), 1 / (2 * num_data))

# %% [markdown]
r"""
Two numbers for every data point is too much for a million images, and a new image needs a new optimisation.
**Amortised inference** learns one function, the *encoder*, from $x$ to the parameters of $q$.
What it loses against the best $q_n$ in the same family is the *amortisation gap* {cite:p}`cremer2018`.

We train two encoders on the bound, with $\theta$ fixed.
One is linear in $x$, with one $\sigma$ for all, and is not told the error bars.
The other is a small network that sees $x_n$ and $\log s_n^2$.
"""


# %%
class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, x, s2):
        mu = self.layer(x[:, None])[:, 0]
        return mu, self.log_sigma.expand_as(mu)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x, s2):
        return self.layers(torch.stack([x, s2.log()], 1)).unbind(1)


def fit_encoder(encoder):
    """Maximise the mean ELBO over the parameters of the encoder."""
    optimiser = torch.optim.LBFGS(
        encoder.parameters(), max_iter=300, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        q = encoder(readings, s2_n)
        loss = -toy_elbo(*q, x=readings, a=gain, s2=s2_n).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return toy_gap(*encoder(readings, s2_n), m=m_n, v=v_n)


# %%
gaps["network"] = fit_encoder(Network())
linear = Linear()
gaps["linear"] = fit_encoder(linear)

# %% tags=["check"]
checks.ordered(
    "mean gap in nats",
    {name: gaps[name].mean() for name in ("one q each", "network", "linear")},
)
checks.at_most("mean gap of the network, in nats", gaps["network"].mean(), 0.01)
low, high = s2_n.argmin(), s2_n.argmax()
sds = {"precise": v_n[low] ** 0.5, "linear": linear.log_sigma.exp()}
checks.ordered("sd of the posteriors and of q", sds | {"vague": v_n[high] ** 0.5})
slopes_n = gain / (gain**2 + s2_n)
slopes = {"vague": slopes_n[high], "linear": linear.layer.weight.squeeze()}
checks.ordered("slope of the means", slopes | {"precise": slopes_n[low]})
checks.at_least(
    "smallest gap of any data point", torch.cat(list(gaps.values())), -1e-12
)

# %%
amortisation_gap = run.record(
    "amortisation_gap_linear",
    gaps["linear"].mean(),
    unit="nats",
    protocol="200 readings with known error bars, q = N(c x + d, sigma^2) for all, against "
    "the exact posterior of each, which is in the family; gain at maximum likelihood",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The gap of each of 200 data points against its error bar, for an encoder that is linear in x and for a small network that is told the error bar. Gaps below one millionth are drawn at one millionth; with one q each, all of them are.", "name": "fig-elbo-amortised"}, "image": {"alt": "Scatter plot on logarithmic axes. The points of the linear encoder form a V: the gap is small at one middling error bar and rises to about a nat for smaller and for larger ones. Those of the network lie far below."}}
fig, ax = plt.subplots(figsize=(6.8, 3.4))
for name, marker in (("linear", "o"), ("network", "^")):
    ax.scatter(s2_n.sqrt(), gaps[name].clamp(min=1e-6), s=12, marker=marker, label=name)
ax.set(xscale="log", yscale="log", xlabel="error bar $s_n$", ylabel="gap in nats")
ax.set_xticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
ax.minorticks_off()
_ = ax.legend(loc="center right")

# %% [markdown]
r"""
The linear encoder is right for one error bar only.
Where the measurement is more precise its one $\sigma$ is too wide, where it is less precise too narrow, and its slope fits neither.
The network, which is told, loses less than a hundredth of a nat.
The price of amortisation is set by what the encoder can see and express.
"""

# %% [markdown]
r"""
## The divergence between Gaussians

```{margin}
**In the sources.** Oslo, 16 April, *More on the SGD* and *Simplification*; 30 April, *Analytical evaluation*; Borisyak, *Regularization*.
```

**Between two Gaussians the KL divergence is a formula, so it need not be sampled.**
It is the difference of two expectations {eq}`eq-elbo-expected-log`:

$$
\begin{aligned}
&\mathrm{KL}\bigl(\mathcal{N}(\mu_0, \Sigma_0) \,\Vert\, \mathcal{N}(\mu_1, \Sigma_1)\bigr) \\
&= \tfrac{1}{2} \Bigl[ \operatorname{tr}(\Sigma_1^{-1} \Sigma_0)
+ (\mu_1 - \mu_0)^\top \Sigma_1^{-1} (\mu_1 - \mu_0) \\
&\qquad - k + \log \frac{\det \Sigma_1}{\det \Sigma_0} \Bigr] .
\end{aligned}
$$ (eq-elbo-kl-gaussian)

Against the prior $\mathcal{N}(0, I)$, and for a diagonal $\Sigma_0 = \operatorname{diag}(\sigma_i^2)$, it is a sum over the components:

$$
\begin{aligned}
\mathrm{KL}\bigl(q \,\Vert\, \mathcal{N}(0, I)\bigr)
= \tfrac{1}{2} \sum_i \bigl( \mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2 \bigr) .
\end{aligned}
$$ (eq-elbo-kl-diagonal)

Encoders give $\log \sigma_i^2$, called `log_var`, so that no variance can be negative.
"""


# %%
def kl_normal(mean_0, cov_0, mean_1, cov_1):
    """KL(N_0 || N_1) for full covariances, in nats."""
    difference = mean_1 - mean_0
    trace = torch.linalg.solve(cov_1, cov_0).trace()
    distance = difference @ torch.linalg.solve(cov_1, difference)
    log_dets = torch.logdet(cov_1) - torch.logdet(cov_0)
    return 0.5 * (trace + distance - len(mean_0) + log_dets)


def kl_to_standard(mean, log_var):
    """KL(N(mean, diag(exp(log_var))) || N(0, I)), summed over the last axis, nats."""
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)


means_kl = torch.randn(2, 4)
covs_kl = torch.stack([random_covariance(4), random_covariance(4)])
normal_0, normal_1 = (MultivariateNormal(means_kl[i], covs_kl[i]) for i in (0, 1))
standard = MultivariateNormal(torch.zeros(4), torch.eye(4))
general = kl_normal(means_kl[0], covs_kl[0], means_kl[1], covs_kl[1])
full = kl_normal(means_kl[0], covs_kl[0], torch.zeros(4), torch.eye(4))
only_diagonal = kl_to_standard(means_kl[0], covs_kl[0].diagonal().log())

# %% tags=["check"]
checks.close("general, library", general, library_kl(normal_0, normal_1), rtol=1e-10)
checks.close("to N(0, I), library", full, library_kl(normal_0, standard), rtol=1e-10)
draws = normal_0.sample((P.num_draws,))
log_ratio = normal_0.log_prob(draws) - normal_1.log_prob(draws)
checks.unbiased("general, by sampling log(q / p) from q", log_ratio, general)
means_q, log_vars_q = torch.randn(5, 4), torch.randn(5, 4)
by_library = library_kl(Normal(means_q, (0.5 * log_vars_q).exp()), Normal(0.0, 1.0))
checks.close(
    "diagonal, library",
    kl_to_standard(means_q, log_vars_q),
    by_library.sum(1),
    rtol=1e-10,
)
missing = 0.5 * (covs_kl[0].diagonal().log().sum() - torch.logdet(covs_kl[0]))
checks.close(
    "diagonal formula on a full covariance: what is lost",
    full - only_diagonal,
    missing,
    atol=1e-10,
)
checks.at_least("and it is a loss, in nats", missing, 1e-3)
# The divergence has a direction: narrow in wide is cheap, wide in narrow is dear.
zero, one, four = torch.zeros(1), torch.ones(1, 1), 4 * torch.ones(1, 1)
narrow_first = (math.log(4) - 3 / 4) / 2
checks.close(
    "KL(N(0, 1) || N(0, 4))", kl_normal(zero, one, zero, four), narrow_first, atol=1e-12
)
wide_first = (3 - math.log(4)) / 2
checks.close(
    "KL(N(0, 4) || N(0, 1))", kl_normal(zero, four, zero, one), wide_first, atol=1e-12
)

# %% [markdown]
r"""
The diagonal formula on a covariance that is not diagonal is too small, by half of $\log (\prod_i \Sigma_{ii} / \det \Sigma)$, which Hadamard's inequality says is never negative.

### L samples need 1/L

With the KL in closed form only the reconstruction is sampled, with $L$ draws from $q$:

$$
\begin{aligned}
\mathrm{ELBO} &\approx \frac{1}{L} \sum_{l=1}^{L} \log p(x \mid z_l) - \mathrm{KL}\bigl(q \,\Vert\, p(z)\bigr), \\
z_l &\sim q .
\end{aligned}
$$ (eq-elbo-l-samples)

```{margin}
**A common mistake:** a sum over the $L$ samples without $1 / L$.
It maximises $L\, \mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}$, which is $L$ times an objective whose KL term has the weight $\beta = 1 / L$: what is called a $\beta$-VAE.
```

The factor is easily forgotten, and nothing crashes.
On the reference model we maximise the expectation of the sum without it, and read off the width of the best $q$.
"""


# %%
def best_q(num_samples):
    """Maximise L E_q[log p(x|z)] - KL(q || prior): mean and sd of q."""
    phi = torch.zeros(2, requires_grad=True)  # mean and log variance
    optimiser = torch.optim.LBFGS(
        [phi],
        max_iter=200,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        mean, log_var = phi
        prior_matching = kl_to_standard(mean[None], log_var[None])
        reconstruction = toy_elbo(mean, log_var / 2) + prior_matching
        loss = prior_matching - num_samples * reconstruction
        loss.backward()
        return loss

    optimiser.step(closure)
    return phi[0].item(), math.exp(phi[1].item() / 2)


widths_found = {num_samples: best_q(num_samples)[1] for num_samples in (1, 5, 25)}

# %% tags=["check"]
for (num_samples, width), digits_3 in zip(
    widths_found.items(), (0.343, 0.161, 0.073), strict=True
):
    exact_width = (1 + num_samples * a**2 / s2) ** -0.5
    checks.close(f"best sd, L = {num_samples}", width, exact_width, rtol=1e-5)
    checks.close(f"in three digits, L = {num_samples}", width, digits_3, atol=5e-4)

# %% [markdown]
r"""
Only the first is the standard deviation of the posterior.
The others belong to an observation repeated $L$ times, which nobody has made.
"""

# %% [markdown]
r"""
## Gradients through a random draw

```{margin}
**In the sources.** Oslo, 30 April, *Reparameterization trick* to *Deterministic function*; 16 April, *Computing the gradients*.
```

**The gradient with respect to $\theta$ passes into $\mathbb{E}_q$; that with respect to $\phi$ does not, because $\phi$ decides where the draws are.**
There are two ways out.
The *score-function* estimator {cite:p}`williams1992` differentiates the density, with $\nabla q = q \nabla \log q$ under the integral,

$$
\nabla_\phi \mathbb{E}_{q_\phi}[f(z)]
= \mathbb{E}_{q_\phi}\bigl[f(z)\, \nabla_\phi \log q_\phi(z)\bigr] ,
$$ (eq-elbo-score-function)

and needs nothing of $f$ but its value.
The *reparameterised* estimator writes the draw as a smooth function of noise that knows nothing of $\phi$, and differentiates the path:

$$
\begin{aligned}
z &= \mu + \sigma \odot \epsilon, \qquad \epsilon \sim \mathcal{N}(0, I), \\
\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] &= \mathbb{E}_\epsilon\bigl[\nabla_\phi f(\mu + \sigma \odot \epsilon)\bigr] .
\end{aligned}
$$ (eq-elbo-reparameterised)

Every Gaussian is the standard one, stretched by $\sigma$ (not $\sigma^2$) and shifted by $\mu$.
"""

# %% tags=["check"]
stretched = 1.5 + 0.5 * torch.randn(P.num_draws)
checks.unbiased("mean of 1.5 + 0.5 epsilon", stretched, 1.5)
checks.unbiased("its variance", (stretched - 1.5) ** 2, 0.25)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Shift and stretch: thirty draws of standard normal noise (left axis) and what they become (right axis) for mean 1.5 and standard deviation 0.5. The order is kept, and each line moves smoothly with the mean and the width.", "name": "fig-elbo-shift"}, "image": {"alt": "Two vertical axes. Thirty points between minus two and two on the left are joined by lines to points between one half and two and a half on the right. The lines draw closer together and do not cross."}}
fig, ax = plt.subplots(figsize=(5.6, 3.2))
noise_shown = torch.randn(30)
moved = 1.5 + 0.5 * noise_shown
ax.plot([0, 1], torch.stack([noise_shown, moved]), color=plotting.COLOURS[0], lw=0.8)
ax.plot(torch.zeros(30), noise_shown, "o", color="black", markersize=4)
ax.plot(torch.ones(30), moved, "o", color=plotting.COLOURS[1], markersize=4)
ax.set_xticks([0, 1], [r"noise $\epsilon$", r"draw $z = \mu + \sigma \epsilon$"])
_ = ax.set(ylabel="value", xlim=(-0.15, 1.15))

# %%
z_new = torch.randn(400, latent_dim)
x_new = z_new @ W.T + pixel_mean + noise.sqrt() * torch.randn(400, 784)

# %% tags=["check"]
checks.unbiased(
    "squared distance of a sample of the PCA model from the mean",
    (x_new - pixel_mean).square().sum(1),
    variances.sum(),
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Training, twice. Left: z is drawn inside the graph, and the gradient of the reconstruction (red) stops at the draw (dashed). Middle: the draw enters from the side as noise, and the gradient passes to the encoder. Right: after training only prior and decoder are used; the pictures are three draws of the probabilistic PCA above, with the noise of its decoder.", "name": "fig-elbo-graphs"}, "image": {"alt": "Three graphs from bottom to top. In the first, x, encoder, mean and width, a box with a red frame for the draw of z, decoder, reconstruction; red arrows lead down from the reconstruction to this box, and dashed grey ones from there on. In the second, noise epsilon enters from the side and the red arrows lead down to the encoder. In the third, z from the prior leads up to the decoder and to a new x, with three noisy digit-like pictures above it."}}
fig, ax = plt.subplots(figsize=(7.4, 4.6))


def node(place, text, colour="black", style="round,pad=0.3"):
    box = {"boxstyle": style, "fc": "white", "ec": colour, "lw": 1.4}
    ax.text(*place, text, ha="center", va="center", bbox=box, fontsize=10)


def arrow(start, end, colour="black", line="-"):
    style = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "lw": 1.5}
    ax.annotate("", end, start, arrowprops={**style, "shrinkA": 11, "shrinkB": 11})


red, grey_line = "#C00000", "0.55"
column = ["x", "encoder", r"$\mu,\ \sigma$", "z", "decoder", r"$\log p(x \mid z)$"]
for left, blocked in ((0.0, True), (3.0, False)):
    for height, text in enumerate(column):
        drawn = text == "z" and blocked
        text = r"draw $z \sim q$" if drawn else text
        node((left, height), text, red if drawn else "black")
        if height:
            arrow((left - 0.08, height - 1), (left - 0.08, height))
            lost = blocked and height <= 3
            if height > 1:
                line = ("--", grey_line) if lost else ("-", red)
                arrow((left + 0.1, height), (left + 0.1, height - 1), line[1], line[0])
node((4.5, 2.6), r"noise $\epsilon$", plotting.COLOURS[0])
arrow((4.1, 2.68), (3.0, 3.0), plotting.COLOURS[0])
for height, text in ((1, r"$z \sim p(z)$"), (2.3, "decoder"), (3.6, "new x")):
    node((6.1, height), text)
for low, high in ((1, 2.3), (2.3, 3.6)):
    arrow((6.1, low), (6.1, high))
for i in range(3):
    small = ax.inset_axes((5.0 + 0.75 * i, 4.15, 0.7, 0.95), transform=ax.transData)
    small.imshow(x_new[i].reshape(28, 28), vmin=0, vmax=1)
    small.set_axis_off()
for place, text in ((0, "blocked"), (3, "reparameterised"), (6.1, "after training")):
    ax.text(place, -0.75, text, ha="center", fontsize=10, color="0.3")
ax.set(xlim=(-0.9, 7), ylim=(-1, 5.4))
_ = ax.set_axis_off()

# %% [markdown]
r"""
In PyTorch `rsample` is the reparameterised draw, and `sample` cuts the graph.
What if $z$ is cut off by accident?
The loss looks the same and training runs.
But of the gradient with respect to $\phi$ only that of the KL term is left, and it drives every $q$ into the prior: the encoder learns to ignore $x$.
"""

# %%
mu = torch.tensor(0.3, requires_grad=True)
log_sigma = torch.tensor(-0.5, requires_grad=True)


def elbo_gradient(num_draws, *, detach):
    """Mean gradient of sampled reconstruction minus closed KL, in mu and log sigma."""
    q = Normal(mu, log_sigma.exp())
    z = q.sample((num_draws,)) if detach else q.rsample((num_draws,))
    reconstruction = log_normal(x_seen, a * z, s2).mean()
    bound = reconstruction - kl_to_standard(mu[None], 2 * log_sigma[None])
    return torch.stack(torch.autograd.grad(bound, [mu, log_sigma]))


exact_gradient = torch.stack(
    torch.autograd.grad(toy_elbo(mu, log_sigma), [mu, log_sigma])
)
estimates = torch.stack([elbo_gradient(100, detach=False) for _ in range(200)])
gradient_of_kl = torch.stack([mu, torch.exp(2 * log_sigma) - 1]).detach()

# %% tags=["check"]
q = Normal(mu, log_sigma.exp())
checks.true("sample() has no gradient", not q.sample((3,)).requires_grad)
checks.true("rsample() has one", q.rsample((3,)).requires_grad)
checks.unbiased("gradient of the ELBO, reparameterised", estimates, exact_gradient)
checks.gradient(
    "gradient of the closed ELBO, by finite differences",
    lambda p: toy_elbo(*torch.from_numpy(p)).item(),
    torch.stack([mu, log_sigma]),
    exact_gradient,
    atol=1e-7,
)
checks.close(
    "detached: what is left is minus the gradient of the KL",
    elbo_gradient(100, detach=True),
    -gradient_of_kl,
    atol=1e-12,
)

# %% [markdown]
r"""
### Which of the two is less noisy

We compare them where all can be computed: $f(z) = z^2$ and $q = \mathcal{N}(\mu, \sigma^2)$, so that $\mathbb{E}_q[f] = \mu^2 + \sigma^2$ and the derivatives are $2 \mu$ and $2 \sigma$.
One draw gives

$$
\begin{aligned}
\text{reparameterised:}\ &\partial_\mu \to 2 z, && \partial_\sigma \to 2 z\, \epsilon, \\
\text{score function:}\ &\partial_\mu \to z^2 \epsilon / \sigma, && \partial_\sigma \to z^2 (\epsilon^2 - 1) / \sigma .
\end{aligned}
$$ (eq-elbo-two-estimators)

Their variances are Gaussian moments.
For $\mu = \sigma = 1$ they are 4 and 12 for the first estimator, 30 and 136 for the second.
"""


# %%
def gradient_estimates(epsilon, mu, sigma):
    """One-draw estimates of d/dmu and d/dsigma of E[z^2], of shape (num_draws, 2)."""
    z = mu + sigma * epsilon
    path = torch.stack([2 * z, 2 * z * epsilon], 1)
    score = torch.stack([epsilon / sigma, (epsilon**2 - 1) / sigma], 1)
    return {"reparameterised": path, "score function": (z**2)[:, None] * score}


def moments(mu, sigma):
    """Exact mean and variance of the estimates: sums over a fine grid of epsilon."""
    density = normal.log_prob(z_grid).exp()[:, None] * dz
    exact = {}
    for name, value in gradient_estimates(z_grid, mu, sigma).items():
        mean = (density * value).sum(0)
        exact[name] = mean, (density * value**2).sum(0) - mean**2
    return exact


measured = gradient_estimates(torch.randn(P.num_draws), 1.0, 1.0)

# %% tags=["check"]
claimed = {"reparameterised": [4.0, 12.0], "score function": [30.0, 136.0]}
for name, (mean, variance) in moments(1.0, 1.0).items():
    checks.close(f"{name}: exact mean", mean, [2.0, 2.0], atol=1e-9)
    checks.close(f"{name}: exact variance", variance, claimed[name], rtol=1e-9)
    checks.unbiased(f"{name}: measured mean", measured[name], mean)
    squares = (measured[name] - mean) ** 2
    checks.unbiased(f"{name}: measured variance", squares, variance)
for name, (mean, _) in moments(-0.7, 1.8).items():
    checks.close(f"{name}: mean elsewhere", mean, [-1.4, 3.6], atol=1e-9)
path_variance = moments(-0.7, 1.8)["reparameterised"][1][0]
checks.close("reparameterised, d/dmu: 4 sigma^2", path_variance, 4 * 1.8**2, rtol=1e-9)
z = (1.0 + torch.ones(4) * 0.0).requires_grad_()
by_autograd = torch.autograd.grad((z**2).sum(), z)[0]
checks.close("the path derivative 2 z, by autograd", by_autograd, 2 * z, atol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Distribution of one-draw estimates of the derivative with respect to the mean; the exact value 2 is dashed. Both are unbiased.", "name": "fig-elbo-estimators"}, "image": {"alt": "Two histograms. The reparameterised estimates form a bell of standard deviation two around two. Those of the score function pile up in a sharp peak at zero and have long tails, the right one beyond twenty."}}
fig, ax = plt.subplots(figsize=(6.8, 3.2))
edges = torch.linspace(-10, 25, 141).tolist()
for name, values in measured.items():
    ax.hist(
        values[:, 0], edges, histtype="step", density=True, label=name, linewidth=1.6
    )
ax.axvline(2, color="black", linestyle="--", linewidth=1)
ax.set(xlabel=r"estimate of d/d$\mu$", ylabel="density", yscale="log")
ax.set_xlim(-9.8, 24.8)
_ = ax.legend()

# %% [markdown]
r"""
The reparameterised estimator uses the slope of $f$, the other only its value.
Where $z$ is discrete there is no slope, and the score function, with a baseline against its noise ({ref}`ex-elbo-baseline`), is what remains {cite:p}`mohamed2020`.
"""

# %% [markdown]
r"""
## A tighter bound: importance weights

**Average several importance weights before taking the logarithm, and the bound gets tighter.**
The importance-weighted bound {cite:p}`burda2016` with $K$ draws is

$$
\begin{aligned}
\mathcal{L}_K(x) &= \mathbb{E}_{z_1, \dots, z_K \sim q}\Bigl[\log \frac{1}{K} \sum_{k=1}^{K} w(z_k)\Bigr], \\
\mathrm{ELBO} &= \mathcal{L}_1 \le \mathcal{L}_2 \le \dots \le \log p(x) .
\end{aligned}
$$ (eq-elbo-iwae)

The upper end is Jensen's inequality again: the mean of the weights is unbiased for $p(x)$, and the logarithm is concave.
For the order of two neighbours, write the mean of $K$ weights as the mean of its $K$ *leave-one-out* averages, each over $K - 1$ weights:

$$
\begin{aligned}
\log \frac{1}{K} \sum_k w_k
&= \log \frac{1}{K} \sum_{j} \Bigl[ \frac{1}{K - 1} \sum_{k \ne j} w_k \Bigr] \\
&\ge \frac{1}{K} \sum_{j} \log \Bigl[ \frac{1}{K - 1} \sum_{k \ne j} w_k \Bigr] .
\end{aligned}
$$ (eq-elbo-leave-one-out)

The expectation of the left side is $\mathcal{L}_K$, that of every term on the right is $\mathcal{L}_{K-1}$.
In code the logarithms are never left:
"""


# %% tags=["twin:dgm.metrics.iwae_bound"]
def iwae_bound(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


# %% [markdown]
r"""
On the reference model $\mathcal{L}_K$ can be computed without sampling, for every $K$.
From $\log s = \int_0^\infty (e^{-t} - e^{-t s})\, dt / t$ and the independence of the draws,

$$
\begin{aligned}
\mathbb{E}\Bigl[\log \sum_k w_k\Bigr] &= \int_0^\infty \bigl( e^{-t} - M(t)^K \bigr) \frac{dt}{t}, \\
M(t) &= \mathbb{E}_q\bigl[e^{-t\, w(z)}\bigr] .
\end{aligned}
$$ (eq-elbo-iwae-exact)

Two integrals over one variable each, with $t = e^u$.
We take $q = \mathcal{N}(0.8, 0.42^2)$ again.
"""

# %%
q_mean, q_sd = 0.8, 0.42
q_grid = q_mean + q_sd * torch.linspace(-9, 9, 1_501)
q_weight = log_normal(q_grid, q_mean, q_sd**2).exp() * (q_grid[1] - q_grid[0])
log_w_grid = toy_log_joint(q_grid) - log_normal(q_grid, q_mean, q_sd**2)
u_grid = torch.linspace(-40, 40, 2_001)
laplace = torch.exp(-torch.exp(u_grid[:, None] + log_w_grid)) @ q_weight  # M(e^u)


def exact_bound(K):
    """L_K of the reference model, in nats."""
    integrand = torch.exp(-torch.exp(u_grid)) - laplace**K
    return integrand.sum() * (u_grid[1] - u_grid[0]) - math.log(K)


sizes = [1, 2, 8, 64]
num_groups = P.num_draws // 64
draws = q_mean + q_sd * torch.randn(64, num_groups)
log_w = toy_log_joint(draws) - log_normal(draws, q_mean, q_sd**2)
# The same 64 draws give 64 / K estimates of L_K, whose mean is one number per group.
groups = {K: iwae_bound(log_w.reshape(K, 64 // K, num_groups)).mean(0) for K in sizes}

# %%
for K, values in groups.items():
    _ = run.record(
        f"iwae_bound_k{K}",
        values.mean(),
        unit="nats",
        standard_error=values.std() / num_groups**0.5,
        protocol=f"x = 1.2 in the one-dimensional linear Gaussian model, q = N(0.8, 0.42^2), "
        f"K = {K}, {P.num_draws // 64 * 64:,} draws",
    )
_ = run.record(
    "log_likelihood_exact",
    log_evidence,
    unit="nats",
    protocol="log N(1.2; 0, 1.5^2 + 0.3), which the bounds above approach from below",
)

# %% tags=["check"]
log_sigma = torch.tensor(math.log(q_sd))
elbo_closed = toy_elbo(torch.tensor(q_mean), log_sigma)
checks.close("L_1 is the ELBO", exact_bound(1), elbo_closed, atol=1e-8)
coarse = slice(None, None, 2)
pair = torch.logaddexp(log_w_grid[coarse, None], log_w_grid[None, coarse]) - math.log(2)
by_pairs = 4 * q_weight[coarse] @ pair @ q_weight[coarse]
checks.close("L_2, by a double integral", exact_bound(2), by_pairs, atol=1e-8)
for K, values in groups.items():
    checks.unbiased(f"L_{K} by sampling", values, exact_bound(K))
checks.ordered(
    "the exact bounds",
    {f"L_{K}": exact_bound(K) for K in sizes} | {"log p": log_evidence},
)
for fewer, more in pairwise(sizes):
    rise = groups[more] - groups[fewer]
    checks.at_least(f"L_{more} - L_{fewer}, in every group of 64 draws", rise, -1e-12)
    score = rise.mean() / (rise.std() / num_groups**0.5)
    checks.at_least("and on average, in standard errors", score, 5)

# %% [markdown]
r"""
How fast does the gap close?
For large $K$ it is half the relative variance of the mean weight,
$\log p(x) - \mathcal{L}_K \approx \operatorname{Var}[w] / (2 K p(x)^2)$, with the variance from {eq}`eq-elbo-weight-variance`.
For small $K$ this $q$ loses more than that.

The gap at large $K$ is far smaller than the scatter of its estimates.
But the mean weight $\bar w$ of all draws is known to have the expectation $p(x)$, so $\bar w / p(x) - 1$ can be added for nothing.
As $y - 1 \ge \log y$, each estimate is then positive, and at large $K$ nearly all of the noise is gone.
"""

# %%
mean_weight = (log_w - log_evidence).exp().mean(0)  # over p(x), one for each group
gap_samples = {K: mean_weight - 1 + log_evidence - groups[K] for K in sizes}

# %% tags=["check"]
for K in sizes:
    exact_gap = log_evidence - exact_bound(K)
    checks.unbiased(f"gap at K = {K}, with the control", gap_samples[K], exact_gap)
    checks.at_least("smallest of its estimates", gap_samples[K], -1e-12)
noise_left = gap_samples[64].std() / groups[64].std()
checks.at_most("noise at K = 64, with the control over without", noise_left, 0.2)
relative_variance = second_moment(q_sd**2, q_mean - m) - 1
third_moment = (q_weight * (3 * (log_w_grid - log_evidence)).exp()).sum()
skew = third_moment - 3 * relative_variance - 1  # third central moment of w / p
bend = ((skew / 3 - 3 * relative_variance**2 / 4) / 64**2).abs()
checks.close(
    "gap at K = 64, against Var / 2K, up to twice the next order in 1 / K",
    log_evidence - exact_bound(64),
    relative_variance / 128,
    atol=2 * bend.item(),
)
checks.ordered(
    "K times the gap falls towards Var / 2",
    {"Var / 2": relative_variance / 2}
    | {f"K = {K}": K * (log_evidence - exact_bound(K)) for K in reversed(sizes)},
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The gap between log p(x) and the importance-weighted bound against the number of draws: exact (line), by sampling with the mean weight as control (dots, with one standard error), and the rule Var / 2K (dotted).", "name": "fig-elbo-iwae"}, "image": {"alt": "Both axes are logarithmic. The gap falls from about a tenth of a nat at one draw, first faster than the dotted straight line of slope minus one and from above it, then along it. The dots lie on the line."}}
fig, ax = plt.subplots(figsize=(6.6, 3.4))
all_sizes = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
ax.plot(all_sizes, [log_evidence - exact_bound(K) for K in all_sizes], label="exact")
ax.errorbar(
    sizes,
    [gap_samples[K].mean().item() for K in sizes],
    [(gap_samples[K].std() / num_groups**0.5).item() for K in sizes],
    fmt="o",
    color=plotting.COLOURS[1],
    label="by sampling",
)
rule = [relative_variance / (2 * K) for K in all_sizes]
ax.plot(all_sizes, rule, ":", color="black", label="Var / 2K")
ax.set(xscale="log", yscale="log", xlabel="number of draws K", ylabel="gap in nats")
_ = ax.legend()

# %% [markdown]
r"""
## A small variational autoencoder with an exact likelihood

**Now all of it together: encoder, reparameterised draw, decoder, and the ELBO as the only objective.**
The data are the bent curve {eq}`eq-elbo-curve`, the model has one latent dimension, and both maps are networks.
The width $\sigma = 0.2$ of the decoder is taken as known; learning it is a topic of [the PyTorch lecture](vae_pytorch.ipynb).

$$
\begin{aligned}
q_\phi(z \mid x) &= \mathcal{N}\bigl(z;\, \mu_\phi(x), \sigma_\phi^2(x)\bigr), \\
p_\theta(x \mid z) &= \mathcal{N}\bigl(x;\, f_\theta(z), \sigma^2 I\bigr) .
\end{aligned}
$$ (eq-elbo-vae)

For latent spaces of more dimensions the covariance of $q$ is $\operatorname{diag}(\sigma_\phi^2(x))$.
It is called *variational* because $q$ is sought in a family of distributions, and *autoencoder* because encoder and decoder in a row rebuild $x$.
Unlike a Boltzmann machine it needs no Markov chain to be sampled: one draw from the prior, one pass through the decoder.
"""


# %%
class CurveVAE(nn.Module):
    def __init__(self, hidden_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(2, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, 2),
        )
        self.decoder = nn.Sequential(
            nn.Linear(1, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, 2),
        )

    def encode(self, x):
        mean, log_var = self.encoder(x).chunk(2, -1)
        return mean, log_var

    def log_likelihood(self, x, z):
        return gaussian_head(x, self.decoder(z), curve_noise)

    def elbo(self, x, *, kl_weight=1.0):
        mean, log_var = self.encode(x)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        return self.log_likelihood(x, z) - kl_weight * kl_to_standard(mean, log_var)

    def log_weights(self, x, num_samples):
        mean, log_var = self.encode(x)
        z = mean + torch.exp(0.5 * log_var) * torch.randn(num_samples, *mean.shape)
        log_q = log_normal(z, mean, log_var.exp()).sum(-1)
        return self.log_likelihood(x, z) + normal.log_prob(z).sum(-1) - log_q


# %% [markdown]
r"""
One latent dimension means that $\log p_\theta(x)$ is a one-dimensional integral, which we do on a grid.
The model is checked before it is trained, with large random weights, and with a $q$ wider than the prior, so that the weights are bounded.
"""


# %%
@torch.no_grad()
def quadrature_log_prob(model, x):
    """log p(x) by a sum over z, in nats; the error is far below a thousandth."""
    grid = torch.linspace(-7, 7, 4_001)[:, None]
    log_prior = normal.log_prob(grid).sum(1) + math.log(14 / 4_000)
    means = model.decoder(grid)
    chunks = x.split(200)
    return torch.cat(
        [
            (gaussian_head(c[:, None], means, curve_noise) + log_prior).logsumexp(1)
            for c in chunks
        ]
    )


untrained = CurveVAE()
with torch.no_grad():
    for parameter in untrained.parameters():
        parameter.mul_(1.5)
    untrained.encoder[-1].bias[1] = 2.0  # a wide q: weights of finite variance
x_few = curve_data(50)[0]
with torch.no_grad():
    repeated = torch.stack([untrained.elbo(x_few) for _ in range(400)]).mean(1)
    log_w = untrained.log_weights(x_few, 20_000)
    parts = log_w.reshape(100, 200, 50)
    weight_means = (parts - quadrature_log_prob(untrained, x_few)).exp().mean(1)

# %% tags=["check"]
axis = torch.linspace(-6, 6, 81)
plane = torch.cartesian_prod(axis, axis)
checks.normalised(
    "p(x) on a grid in the plane",
    quadrature_log_prob(untrained, plane) + 2 * math.log(0.15),
    atol=1e-6,
)
log_vars = untrained.encode(x_few)[1]
checks.at_least("log-variances of the untrained encoder", log_vars, 0.0)
checks.unbiased("weights: their mean over p(x) is 1", weight_means.mean(1), 1.0)
checks.unbiased(
    "`elbo`, minus the mean logarithm of 20,000 weights of each point",
    repeated.mean() - log_w.mean(),
    0.0,
    ((repeated.var() / 400 + log_w.mean(1).var() / 20_000) ** 0.5).item(),
)


# %%
def train_curve(kl_weight, seed, *, code_scale=1.0):
    torch.manual_seed(seed)
    model = CurveVAE()
    with torch.no_grad():
        model.encoder[-1].weight[0] *= code_scale  # the row that gives the mean
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, P.curve_steps)
    history = []
    parts = dict(vae=model, adam=optimiser, schedule=schedule, history=history)
    checkpoints = run.checkpoints(f"curve-{kl_weight:g}-{seed}-{code_scale:g}")
    for _ in resumed(checkpoints, "VAE of the curve", P.curve_steps, parts):
        x, _ = curve_data(256)
        loss = -model.elbo(x, kl_weight=kl_weight).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append(-loss.item())
    return model, torch.tensor(history)


vae, history = train_curve(1.0, run.seed + 1)


class TrueModel:
    decoder = staticmethod(lambda z: true_curve(z[:, 0]))


x_held_out, _ = curve_data(2_000)
with torch.no_grad():
    exact_held_out = quadrature_log_prob(vae, x_held_out)
    elbo_held_out = torch.stack([vae.elbo(x_held_out) for _ in range(64)]).mean(0)
    iwae_held_out = iwae_bound(vae.log_weights(x_held_out, 64))
true_held_out = quadrature_log_prob(TrueModel, x_held_out)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The ELBO during training, averaged over windows of 1% of the steps. Dashed: the mean log p(x) of the true model, which no model can exceed on average.", "name": "fig-elbo-training"}, "image": {"alt": "A curve rises steeply in the first tenth of the steps and then slowly approaches the dashed line from below."}}
fig, ax = plt.subplots(figsize=(6.8, 3.2))
window = max(1, P.curve_steps // 100)
smooth = history[: len(history) // window * window].reshape(-1, window).mean(1)
ax.plot(window * (torch.arange(len(smooth)) + 0.5), smooth)
plotting.reference_line(ax, true_held_out.mean().item(), "true model")
ax.set(xlabel="training step", ylabel="ELBO in nats")
_ = ax.set_ylim(-6, -1)

# %% [markdown]
r"""
The test is on 2,000 points that were never used for training ({numref}`fig-elbo-training`).
All three numbers are of the same trained model, and the order ELBO, importance-weighted bound, exact likelihood must hold.
Their standard errors come from the scatter of the data and are shared by all three; the differences, point by point, are far more certain, as the last check says.
Above stands the true model: the difference is $\mathrm{KL}(p_\text{true} \,\Vert\, p_\theta)$ on average.
"""

# %% tags=["check"]
for name, lower, upper in (
    ("IWAE - ELBO", elbo_held_out, iwae_held_out),
    ("log p - IWAE", iwae_held_out, exact_held_out),
    ("log p - ELBO", elbo_held_out, exact_held_out),
):
    difference = upper - lower
    error = difference.std() / len(difference) ** 0.5
    checks.at_least(f"{name} + 5 standard errors", difference.mean() + 5 * error, 0.0)
excess = true_held_out - exact_held_out
error = excess.std() / len(excess) ** 0.5
print(f"log p_true - log p: {excess.mean():.4f} +/- {error:.4f} nats")
checks.at_least(
    "its upper end, 5 standard errors above", excess.mean() + 5 * error, 0.0
)
if run.profile != "smoke":
    checks.at_most("its lower end, 5 below", excess.mean() - 5 * error, 0.1)
    checks.at_least(
        "log p - ELBO, in standard errors",
        (exact_held_out - elbo_held_out).mean()
        / ((exact_held_out - elbo_held_out).std() / len(x_held_out) ** 0.5),
        5,
    )

# %%
curve_protocol = (
    f"2,000 held-out points of the bent curve, {P.curve_steps:,} steps of 256"
)
for name, values, how in (
    ("curve_test_elbo", elbo_held_out, "64 draws of the ELBO each"),
    ("curve_test_iwae64", iwae_held_out, "importance-weighted bound with K = 64"),
    ("curve_test_log_likelihood", exact_held_out, "by quadrature over z"),
    ("curve_true_log_likelihood", true_held_out, "of the model that made the data"),
):
    _ = run.record(
        name,
        values.mean(),
        unit="nats",
        standard_error=values.std() / len(values) ** 0.5,
        protocol=f"{how}; {curve_protocol}",
    )

# %% [markdown]
r"""
### One failure on purpose: no prior matching

What does the KL term do?
We train the same model with the weight of the KL set to zero.
Noise in $z$ now only harms the reconstruction, so $\sigma_\phi$ shrinks and the encoder becomes a function: the model is an autoencoder again.
And nothing asks the codes to look like the prior: where they end depends on where they start.
To see it, two models start from the same encoder, whose means are spread twenty times wider than before, and are trained with and without the KL.
(From the narrow start of the first training the codes may stay near the prior by luck; try `code_scale=1.0`.)
"""

# %%
models = {
    f"KL weight {kl_weight}": train_curve(kl_weight, run.seed + 1, code_scale=20.0)[0]
    for kl_weight in (1, 0)
}
codes, relative_sds, samples, fits_held_out = {}, {}, {}, {}
for name, model in models.items():
    with torch.no_grad():
        mean, log_var = model.encode(x_held_out)
        codes[name] = mean[:, 0]
        relative_sds[name] = (0.5 * log_var).exp().median() / mean.std()
        z = torch.randn(600, 1)
        samples[name] = model.decoder(z) + curve_noise * torch.randn(600, 2)
    fits_held_out[name] = quadrature_log_prob(model, x_held_out)

# %% tags=["check"]
checks.ordered(
    "median sd of q, in units of the spread of the codes",
    {name: relative_sds[name] for name in ("KL weight 0", "KL weight 1")},
)
if run.profile != "smoke":
    lost = fits_held_out["KL weight 1"] - fits_held_out["KL weight 0"]
    checks.at_least(
        "log p lost without the KL, in standard errors",
        lost.mean() / (lost.std() / len(lost) ** 0.5),
        5,
    )
    shrinking = relative_sds["KL weight 0"] / relative_sds["KL weight 1"]
    checks.at_most("q is narrower by the factor", shrinking, 0.2)
    reached = (codes["KL weight 0"].abs() < 3).double().mean()
    checks.at_most("without the KL, share of codes with |z| < 3", reached, 0.9)
_ = run.record(
    "curve_test_log_likelihood_without_kl",
    fits_held_out["KL weight 0"].mean(),
    unit="nats",
    standard_error=fits_held_out["KL weight 0"].std() / len(x_held_out) ** 0.5,
    protocol="by quadrature over z; trained with KL weight 0 from an encoder of wide codes; "
    + curve_protocol,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Trained with the KL (top) and without (bottom). Left: codes of held-out data, and the density of the prior. Right: samples from the prior, decoded, on grey data.", "name": "fig-elbo-no-kl"}, "image": {"alt": "Top: the codes follow the bell curve of the prior, and the samples lie on the S of the data. Bottom: the codes spread far wider than the bell curve, and the samples fill only a part of the S."}}
fig, axes = plt.subplots(2, 2, figsize=(7.2, 6.0))
for (left, right), name in zip(axes, models, strict=True):
    width = max(4.0, codes[name].abs().max().item() * 1.05)
    left.hist(codes[name], 60, density=True, alpha=0.7, label="codes")
    line = torch.linspace(-width, width, 600)
    left.plot(line, normal.log_prob(line).exp(), color="black", label="prior")
    left.set(xlabel=f"latent variable z ({name})", ylabel="density")
    left.legend()
    right.scatter(*x_held_out[:1_000].T, s=4, color="0.75")
    right.scatter(*samples[name].T, s=4, color=plotting.COLOURS[1])
    right.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-3, 3), ylim=(-3.6, 3.6))
_ = axes[0, 0].figure.align_labels()

# %% [markdown]
r"""
Without the KL the model is worse ({numref}`fig-elbo-no-kl`).
It puts too little probability on held-out data, because draws from the prior do not reach all of the codes.
The two terms of {eq}`eq-elbo-central` pull against each other, and only their difference is a bound on $\log p(x)$.
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} The best diagonal q
:label: ex-elbo-diagonal
```
The posterior is $\mathcal{N}(m, \Sigma)$ with a full covariance, and $q = \mathcal{N}(\mu, \operatorname{diag}(\sigma_i^2))$.
Find the $q$ with the smallest $\mathrm{KL}(q \,\Vert\, p)$.
Write `best_diagonal(cov)`, which returns its variances, of shape $(k,)$, and the gap that stays, in nats.
Are the variances the diagonal of $\Sigma$?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def best_diagonal(cov):
    return None


# %% tags=["check"]
def check_diagonal(answer):
    if answer(covs_kl[0]) is None:
        return print("not yet")
    for cov in covs_kl:
        log_var = cov.diagonal().log().clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [log_var], max_iter=200, tolerance_grad=1e-11, tolerance_change=1e-16
        )

        def closure(log_var=log_var, optimiser=optimiser, cov=cov):
            optimiser.zero_grad()
            q = MultivariateNormal(torch.zeros(4), log_var.exp().diag())
            loss = library_kl(q, MultivariateNormal(torch.zeros(4), cov))
            loss.backward()
            return loss

        for _ in range(3):
            optimiser.step(closure)
        variances_found, gap_found = answer(cov)
        checks.close("variances", variances_found, log_var.exp(), rtol=1e-5)
        checks.close("gap in nats", gap_found, closure(), atol=1e-9)
    return print("right")


check_diagonal(best_diagonal)

# %% [markdown]
r"""
````{solution-start} ex-elbo-diagonal
:class: dropdown
````
"""


# %% tags=["solution"]
def best_diagonal(cov):
    precision = torch.linalg.inv(cov)
    log_det = torch.logdet(precision)
    return 1 / precision.diagonal(), 0.5 * (precision.diagonal().log().sum() - log_det)


check_diagonal(best_diagonal)

# %% [markdown]
r"""
With $\mu = m$ the divergence is $\frac{1}{2} \sum_i (\Lambda_{ii} \sigma_i^2 - 1 - \log \sigma_i^2) - \frac{1}{2} \log \det \Lambda$, where $\Lambda = \Sigma^{-1}$.
Its derivative vanishes at $\sigma_i^2 = 1 / \Lambda_{ii}$.
This is the variance of $z_i$ when all other components are *known*, and never more than $\Sigma_{ii}$: a diagonal $q$ is too narrow.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} What a sum without 1/L optimises
:label: ex-elbo-beta
```
On the reference model let $q = \mathcal{N}(\mu, \sigma^2)$ maximise $\mathbb{E}_q[\log p(x \mid z)] - \beta\, \mathrm{KL}(q \,\Vert\, p(z))$.
Write `best_beta(beta)`, which returns $\mu$ and $\sigma$ in closed form.
The check compares it with `best_q(1 / beta)`.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def best_beta(beta):
    return None


# %% tags=["check"]
def check_beta(answer):
    if answer(1.0) is None:
        return print("not yet")
    for beta in (0.2, 1.0, 4.0):
        mean, width = best_q(1 / beta)
        checks.close(f"beta = {beta:g}: mean", answer(beta)[0], mean, rtol=1e-5)
        checks.close(f"beta = {beta:g}: sd", answer(beta)[1], width, rtol=1e-5)
    return print("right")


check_beta(best_beta)

# %% [markdown]
r"""
````{solution-start} ex-elbo-beta
:class: dropdown
````
"""


# %% tags=["solution"]
def best_beta(beta):
    variance = 1 / (1 + a**2 / (beta * s2))
    return variance * a * x_seen / (beta * s2), variance**0.5


check_beta(best_beta)

# %% [markdown]
r"""
The objective is $\beta$ times an ELBO with the likelihood $p(x \mid z)^{1 / \beta}$.
For a Gaussian decoder that is a decoder of variance $\beta s^2$, up to a constant.
With $\beta = 1 / L$ the data point counts $L$ times.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A baseline for the score function
:label: ex-elbo-baseline
```
For any constant $c$, $\mathbb{E}_q[(f(z) - c)\, \nabla_\mu \log q(z)]$ is the same gradient, because the mean of the score function is zero.
For $f(z) = z^2$ and $q = \mathcal{N}(\mu, \sigma^2)$ find the $c$ of least variance.
Write `best_baseline(mu, sigma)`, which returns $c$ and the variance that is left.
Is it $\mathbb{E}_q[f]$?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def best_baseline(mu, sigma):
    return None


# %% tags=["check"]
def variance_with_baseline(c, mu, sigma):
    density = normal.log_prob(z_grid).exp() * dz
    value = ((mu + sigma * z_grid) ** 2 - c) * z_grid / sigma
    mean = (density * value).sum()
    return (density * value**2).sum() - mean**2


def check_baseline(answer):
    if answer(1.0, 1.0) is None:
        return print("not yet")
    for mu, sigma in ((1.0, 1.0), (-0.7, 1.8)):
        c, variance = answer(mu, sigma)
        exact_variance = variance_with_baseline(c, mu, sigma)
        checks.close("variance with this baseline", variance, exact_variance, rtol=1e-9)
        beside = [variance_with_baseline(c + h, mu, sigma) for h in (-1e-3, 1e-3)]
        checks.ordered("least", {"here": variance, "nearby": min(beside)})
    return print("right")


check_baseline(best_baseline)

# %% [markdown]
r"""
````{solution-start} ex-elbo-baseline
:class: dropdown
````
"""


# %% tags=["solution"]
def best_baseline(mu, sigma):
    # E[f s^2] / E[s^2] with s = eps / sigma, and moments 1, 3, 15 of eps.
    c = mu**2 + 3 * sigma**2
    second = mu**4 + 18 * mu**2 * sigma**2 + 15 * sigma**4  # E[f^2 eps^2]
    return c, (second - c**2) / sigma**2 - 4 * mu**2


check_baseline(best_baseline)

# %% [markdown]
r"""
Completing the square in $c$ gives $c = \mathbb{E}[f s^2] / \mathbb{E}[s^2]$ with $s = \nabla_\mu \log q$, which is $\mu^2 + 3 \sigma^2$; the mean of $f$ is $\mu^2 + \sigma^2$.
At $\mu = \sigma = 1$ the variance falls from 30 to 14, and the reparameterised estimator has 4.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} One draw fewer
:label: ex-elbo-leave-one-out
```
Write `leave_one_out(log_w)` for `log_w` of shape $(K, N)$, $K \ge 2$: the right side of {eq}`eq-elbo-leave-one-out` for each of the $N$ columns.
It must not leave the logarithms: the check adds $-1000$ to all of them.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def leave_one_out(log_w):
    return None


# %% tags=["check"]
def check_leave_one_out(answer):
    log_w = q_mean + q_sd * torch.randn(3, P.num_draws // 3)
    log_w = toy_log_joint(log_w) - log_normal(log_w, q_mean, q_sd**2)
    if answer(log_w) is None:
        return print("not yet")
    checks.close(
        "shifted logarithms", answer(log_w - 1000) + 1000, answer(log_w), atol=1e-9
    )
    gain_of_one = iwae_bound(log_w) - answer(log_w)
    checks.at_least("smallest gain by the third draw, in nats", gain_of_one, -1e-12)
    checks.unbiased("mean, against the exact L_2", answer(log_w), exact_bound(2))
    return print("right")


check_leave_one_out(leave_one_out)

# %% [markdown]
r"""
````{solution-start} ex-elbo-leave-one-out
:class: dropdown
````
"""


# %% tags=["solution"]
def leave_one_out(log_w):
    others = [
        iwae_bound(torch.cat([log_w[:j], log_w[j + 1 :]])) for j in range(len(log_w))
    ]
    return torch.stack(others).mean(0)


check_leave_one_out(leave_one_out)

# %% [markdown]
r"""
Jensen's inequality holds for every set of draws, not just on average, so no column may be negative.
Equality needs equal leave-one-out averages, that is equal weights: $q$ is the posterior, and one draw was enough.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. A linear autoencoder finds the subspace of PCA, {eq}`eq-elbo-pca`; the error {eq}`eq-elbo-autoencoder` is blind to where the codes lie ({numref}`fig-elbo-ae-samples`).
2. $p(x)$ by a sum, by an integral, by the chain rule {eq}`eq-elbo-chain-rule` and by importance weights {eq}`eq-elbo-importance`; draws from the prior miss it by many nats ({numref}`fig-elbo-naive`).
3. The three derivations are {eq}`eq-elbo-jensen`, {eq}`eq-elbo-eight-lines` and {eq}`eq-elbo-central`; the largest error of the identity is on the [results page](../book/results.md).
4. One $q$ for each data point, or an encoder for all ({numref}`fig-elbo-amortised`), with the gradients {eq}`eq-elbo-reparameterised`.
5. The bound {eq}`eq-elbo-iwae` approaches $\log p(x)$ as one over the number of draws ({numref}`fig-elbo-iwae`), and a variational autoencoder was compared with its exact likelihood.

**What comes next:** [a convolutional variational autoencoder in Keras](vae_keras.ipynb), with digits on a plane; then [decoder noise, importance weights and conditional models in PyTorch](vae_pytorch.ipynb).

**Reading:** {cite:t}`kingma2014`, section 2, for the estimator and the reparameterisation, found at the same time by {cite:t}`rezende2014`; {cite:t}`burda2016` for the importance-weighted bound; {cite:t}`doersch2016` and {cite:t}`luo2022` for slow derivations; {cite:t}`mohamed2020` for gradients through expectations; the four parts of lecture 18 on variational inference of Berkeley's course CS 285, on video, for a lecturer's account; {cite:t}`wainwright2008` for variational inference at large; {cite:t}`goodfellow2016`, chapter 14, for autoencoders.
What differs from the sources is on the [errata page](../book/errata.md).
"""

# %%
run.finish()

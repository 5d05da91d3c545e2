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
# The variational autoencoder in PyTorch

At the end of this lecture you will be able to

1. write a variational autoencoder with `torch.distributions`, and test its bound on a model whose likelihood is known exactly;
2. say what the noise of the decoder does: it is the weight of the KL term, it decides which latent units die, and one learned number is worth hundreds of nats an image;
3. train two published networks, one to its published number in ten epochs, and estimate a test likelihood with importance weights;
4. train by the importance-weighted bound, and say why a tighter bound can teach the encoder less;
5. put a label into both networks, and draw any digit from any code;
6. show in numbers why distances between pixels are a poor judge of images.

- **You need** [From the autoencoder to the ELBO](elbo.ipynb), whose formulas are used here; some PyTorch. [The Keras lecture](vae_keras.ipynb) is about the same model with convolutions and two latent units.
- **Sources:** {cite:t}`kingma2014`, {cite:t}`rezende2014`, {cite:t}`tipping1999`, {cite:t}`burda2016`, {cite:t}`higgins2017`, {cite:t}`lucas2019`, {cite:t}`sohn2015`.
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
from itertools import pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.metrics import iwae_bound

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (1_000, 60_000, 60_000),  # for training, at most
    "noise_epochs": (1, 2, 100),  # of the Gaussian decoders
    "sweep_images": (500, 10_000, 60_000),  # of the sweep over beta
    "sweep_epochs": (1, 4, 20),
    "soft_epochs": (1, 10, 10),  # of the published grey-valued network
    "binary_rate": (5e-3, 5e-3, 1e-3),
    "binary_epochs": (1, 14, 400),  # of the network for black and white images
    "num_samples": (20, 200, 5_000),  # of the importance-weighted test likelihood
    "num_iwae_test": (100, 1_000, 10_000),  # test images for it
    "iwae_samples": (5, 5, 50),  # for training
    "iwae_images": (1_000, 20_000, 50_000),
    "iwae_epochs": (1, 1, 400),
    "label_epochs": (1, 5, 50),  # of the conditional model
}

# %%
run = dgm.start("vae_pytorch", parameters=PARAMETERS, data="mnist")
P = run.parameters


def part_of_data(part):
    """Grey images of a part of the data on the device, (num_images, 784)."""
    images = run.data.vectors(part)[: None if part == "test" else P.num_images]
    return torch.from_numpy(images).to(run.device)


x_train, x_all, x_test = (part_of_data(p) for p in ("train", "train+valid", "test"))


def standard_error(values):
    return (values.std() / len(values) ** 0.5).item()


# %% tags=["check"]
seen, new = ({image.tobytes() for image in x.cpu().numpy()} for x in (x_all, x_test))
checks.at_most("test images that are in the training set", len(seen & new), 0)
checks.at_most("images for training", len(x_all), len(run.data.images))

# %% [markdown]
r"""
## The problem in one picture

A decoder turns a code $z$ into a *distribution* of images.
The first choice that comes to mind, and that of one of the lecture notes behind this book, is a Gaussian of variance one around the network's output.
Look at what this means before anything is trained.
Suppose that the network is perfect, and its output is a test image itself.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "What a perfect decoder draws if its Gaussian noise has the standard deviation 0 (top), 0.2 (middle) and 1 (bottom). Pixels lie between 0 and 1; values beyond are cut off.", "name": "fig-vp-problem"}, "image": {"alt": "Three rows of the same twelve digits: clean; with light grain but easy to read; and drowned in noise so that most can only be guessed."}}
clean = x_test[:12].cpu()
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
rows = torch.cat([(clean + std * noise).clamp(0, 1) for std in (0.0, 0.2, 1.0)])
fig, ax = plt.subplots(figsize=(7.0, 1.9))
_ = plotting.image_grid(rows, columns=12, ax=ax)

# %% [markdown]
r"""
We shall see that this one number does more than spoil samples: it decides how much of the image the code keeps.

| symbol | in code | meaning |
|---|---|---|
| $x$, $z$ | `x`, `z` | image, 784 numbers; code, $d$ numbers |
| $p(z) = \mathcal{N}(0, I)$ | `PRIOR` | prior of the codes |
| $q_\phi(z \mid x)$ | `posterior(x)` | encoder: a Gaussian with mean $\mu_\phi(x)$ and standard deviations $\sigma_\phi(x)$ |
| $p_\theta(x \mid z)$ | `likelihood(z)` | decoder: a distribution of images |
| $\sigma$ | `std` | standard deviation of the Gaussian decoder |
| $\beta$ | `beta` | weight of the KL term |
| $w$ | `log_w` | importance weight $p_\theta(x, z) / q_\phi(z \mid x)$ |
| $K$ | `num_samples` | number of samples of $z$ for an image |
"""

# %% [markdown]
r"""
## The model in forty lines

```{margin}
**In the sources.** Oslo, 16 April, *Code in PyTorch for VAEs*; CS236 notes, *VAE optimization summary*.
```

**A variational autoencoder is two networks and two distributions, and its objective is a difference of two numbers for each image:**

$$
\begin{aligned}
\mathrm{ELBO}(x) &= \mathbb{E}_{q_\phi(z \mid x)}\bigl[\log p_\theta(x \mid z)\bigr] \\
&\quad - \mathrm{KL}\bigl(q_\phi(z \mid x) \,\Vert\, p(z)\bigr) .
\end{aligned}
$$ (eq-vp-elbo)

The first term is estimated with one sample of $z$, drawn as $\mu_\phi + \sigma_\phi \epsilon$ so that gradients reach $\phi$ (`rsample`); the second has a closed form, which `torch.distributions` knows.
We shall also need the logarithms of the importance weights of several samples, $z_1, \dots, z_K$ from $q_\phi(z \mid x)$:

$$
\log w_k = \log p_\theta(x \mid z_k) + \log p(z_k) - \log q_\phi(z_k \mid x) .
$$ (eq-vp-weights)

The last layer of the decoder gives numbers without bounds; the `head` makes a distribution of them.
"""


# %% tags=["twin:dgm.models.vae.mlp"]
def mlp(*sizes, activation=nn.ReLU):
    layers = []
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), activation()]
    return nn.Sequential(*layers[:-1])


# %% tags=["twin:dgm.models.vae.VAE"]
PRIOR = Normal(0.0, 1.0)


class VAE(nn.Module):
    def __init__(self, encoder, decoder, head):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def posterior(self, x):
        mean, log_std = self.encoder(x).chunk(2, dim=-1)
        return Normal(mean, log_std.exp(), validate_args=False)

    def likelihood(self, z):
        return self.head(self.decoder(z))

    def terms(self, x):
        q = self.posterior(x)
        reconstruction = self.likelihood(q.rsample()).log_prob(x).sum(-1)
        return reconstruction, kl_divergence(q, PRIOR).sum(-1)

    def elbo(self, x, *, beta=1.0):
        reconstruction, kl = self.terms(x)
        return reconstruction - beta * kl

    def log_weights(self, x, num_samples):
        q = self.posterior(x)
        z = q.rsample((num_samples,))
        log_joint = self.likelihood(z).log_prob(x).sum(-1) + PRIOR.log_prob(z).sum(-1)
        return log_joint - q.log_prob(z).sum(-1)


# %% tags=["twin:dgm.models.vae.GaussianHead"]
class GaussianHead(nn.Module):
    def __init__(self, std, *, learn=False):
        super().__init__()
        log_std = torch.full((), math.log(std))
        self.log_std = nn.Parameter(log_std, requires_grad=learn)

    def forward(self, mean):
        return Normal(mean, self.log_std.exp().expand_as(mean), validate_args=False)


# %% tags=["twin:dgm.models.vae.bernoulli_head"]
def bernoulli_head(logits):
    return Bernoulli(logits=logits, validate_args=False)


# %% [markdown]
r"""
`validate_args=False` saves time, and it lets `Bernoulli.log_prob` take grey values, of which more below.
The loop is the same for all models of this lecture: the images lie on the device, and each epoch goes through a new permutation of them.
"""


# %% tags=["twin:dgm.models.vae.train"]
def train(
    model,
    loss,
    num_images,
    epochs,
    *,
    rate=1e-3,
    batch_size=128,
    decay=False,
    optimiser=None,
    done=0,
):
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    optimiser = optimiser or torch.optim.Adam(parameters, fused=True)
    num_batches = math.ceil(num_images / batch_size)
    for epoch in range(done, epochs):
        total = torch.zeros((), device=device)
        order = torch.randperm(num_images, device=device)
        for batch, rows in enumerate(order.split(batch_size)):
            part = (epoch + batch / num_batches) / epochs
            lowered = (1 + math.cos(math.pi * part)) / 2 if decay else 1
            optimiser.param_groups[0]["lr"] = rate * lowered
            value = loss(rows).mean()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            total += value.detach() * len(rows)
        yield (total / num_images).item()


# %%
def fit(name, model, loss, num_images, epochs, **settings):
    """Mean loss of each epoch; with progress, and in `full` with checkpoints."""
    optimiser, history = torch.optim.Adam(model.parameters(), fused=True), []
    settings |= dict(optimiser=optimiser)
    steps = resumed(
        run.checkpoints(name),
        f"{name}, epochs",
        epochs,
        dict(model=model, optimiser=optimiser, history=history),
        lambda done: train(model, loss, num_images, epochs, done=done, **settings),
    )
    for mean_loss in steps:
        history.append(mean_loss)
    return history


# %% [markdown]
r"""
## A model whose likelihood is known

**With a linear decoder of fixed noise everything can be computed: this is *probabilistic PCA* {cite:p}`tipping1999`, and it is the test bench for all that follows.**

$$
\begin{aligned}
p(x \mid z) &= \mathcal{N}(W z + m,\; \sigma^2 I), \\
p(x) &= \mathcal{N}(m,\; W W^\top + \sigma^2 I), \\
p(z \mid x) &= \mathcal{N}\bigl(M^{-1} W^\top (x - m),\; \sigma^2 M^{-1}\bigr), \\
M &= W^\top W + \sigma^2 I .
\end{aligned}
$$ (eq-vp-ppca)

Let $\lambda_1 \geq \lambda_2 \geq \dots$ be the eigenvalues of the covariance of the data and $u_i$ its eigenvectors.
For given $\sigma^2$ the likelihood of the data is largest if $m$ is their mean and the columns of $W$ are

$$
w_i = \sqrt{\max(\lambda_i - \sigma^2,\, 0)}\; u_i .
$$ (eq-vp-ppca-w)

Two things follow that we shall meet again in networks.
A direction whose variance is below $\sigma^2$ gets the column zero: the model leaves it to the noise.
And the best $\sigma^2$ is the mean of the eigenvalues that were dropped, $\lambda_{d+1}, \dots, \lambda_{784}$.

The columns are orthogonal, so $M$ is diagonal, and a diagonal Gaussian encoder can be *exact*.
That is what `linear_vae` builds, out of the same class as the deep models.
"""


# %%
class Moments:
    """Mean, eigenvalues (descending) and eigenvectors of the covariance of the data."""

    def __init__(self, x):
        x = x.cpu().double()
        self.mean = x.mean(0)
        covariance = (x - self.mean).T @ (x - self.mean) / len(x)
        values, vectors = torch.linalg.eigh(covariance)
        self.values, self.vectors = values.flip(0).clamp(min=0), vectors.flip(1)


def ppca_weights(moments, latent_dim, variance):
    excess = (moments.values[:latent_dim] - variance).clamp(min=0)
    return moments.vectors[:, :latent_dim] * excess.sqrt()


def ppca_log_prob(moments, latent_dim, variance, x):
    """log p(x): the components of x along the eigenvectors are independent Gaussians."""
    variances = torch.full_like(moments.values, variance)
    variances[:latent_dim] = moments.values[:latent_dim].clamp(min=variance)
    y = (x.cpu().double() - moments.mean) @ moments.vectors
    return Normal(0.0, variances.sqrt()).log_prob(y).sum(-1)


# %%
@torch.no_grad()
def linear_vae(moments, latent_dim, variance):
    """A VAE with linear networks whose encoder is the exact posterior."""
    W = ppca_weights(moments, latent_dim, variance)
    inverse_M = 1 / (W.square().sum(0) + variance)
    encoder, decoder = nn.Linear(len(W), 2 * latent_dim), nn.Linear(latent_dim, len(W))
    vae = VAE(encoder, decoder, GaussianHead(variance**0.5)).double()
    to_mean = inverse_M[:, None] * W.T
    encoder.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
    log_std = (variance * inverse_M).log() / 2
    encoder.bias.copy_(torch.cat([-to_mean @ moments.mean, log_std]))
    decoder.weight.copy_(W)
    decoder.bias.copy_(moments.mean)
    # Once more, now in double precision.
    vae.head.log_std.fill_(math.log(variance) / 2)
    return vae


moments = Moments(x_all)

# %% [markdown]
r"""
We check $p(x)$ against PyTorch's multivariate normal on 6-dimensional data, and that {eq}`eq-vp-ppca-w` is a maximum: the gradient of the likelihood is zero there, and no nearby $W$ is better.
"""

# %% tags=["check"]
small_x = torch.randn(50, 6).double() @ torch.randn(6, 6).double()
small = Moments(small_x)
variance = small.values[3:].mean().item()
W = ppca_weights(small, 3, variance).requires_grad_()


def small_log_prob(W, variance):
    covariance = W @ W.T + variance * torch.eye(6, dtype=torch.float64)
    return MultivariateNormal(small.mean, covariance).log_prob(small_x)


checks.close(
    "log p(x) of probabilistic PCA",
    ppca_log_prob(small, 3, variance, small_x),
    small_log_prob(W, variance),
    atol=1e-10,
)
(slope,) = torch.autograd.grad(small_log_prob(W, variance).mean(), W)
checks.close("gradient at the closed form", slope, 0 * slope, atol=1e-10)
best = small_log_prob(W, variance).mean()
for size in (0.01, 0.3):
    nearby = [
        small_log_prob(W + size * torch.randn_like(W), variance).mean()
        for _ in range(100)
    ]
    checks.at_most(f"other W, {size} away", torch.stack(nearby), best)
others = [
    small_log_prob(ppca_weights(small, 3, v), v).mean()
    for v in (0.8 * variance, 1.25 * variance)
]
checks.at_most("other variances", torch.stack(others), best)

# %% [markdown]
r"""
Now the class.
With the exact posterior as encoder the weight {eq}`eq-vp-weights` is $p(x)$ itself, whatever $z$ is: each sample gives the same number, to rounding.
One misplaced sign, a forgotten $\log q$, a variance in place of a standard deviation, and it does not.
The two terms of the ELBO vary with $z$, but their expectations are known too:
$\mathbb{E}_q \log p(x \mid z)$ needs only the mean and the variance of $z$.
"""

# %% tags=["check"]
exact_vae = linear_vae(moments, 8, variance := moments.values[8:].mean().item())
x_few = x_test[:50].cpu().double()
exact = ppca_log_prob(moments, 8, variance, x_few)
with torch.no_grad():
    log_w = exact_vae.log_weights(x_few, 20)
    draws = [exact_vae.terms(x_few) for _ in range(400)]
    q = exact_vae.posterior(x_few)
    residual = (x_few - exact_vae.decoder(q.mean)).square().sum(-1)
    spread = q.variance @ exact_vae.decoder.weight.square().sum(0)
# Hundreds of nats, sums of 784 terms in double precision: about 1e-11.
checks.close("log w of twenty samples", log_w, exact.expand(20, -1), atol=1e-8)
kl = draws[0][1]
by_hand = (q.mean**2 + q.variance - 1 - q.variance.log()).sum(-1) / 2
checks.close("KL term", kl, by_hand, atol=1e-10)
expected = -392 * math.log(2 * math.pi * variance) - (residual + spread) / (
    2 * variance
)
checks.close("ELBO of the exact encoder", expected - kl, exact, atol=1e-8)
checks.unbiased(
    "reconstruction term, one sample each", torch.stack([d[0] for d in draws]), expected
)

# %% [markdown]
r"""
Bounds of other encoders must lie below.
We make the encoder worse on purpose, once with standard deviations that are too large and once with shifted means, and look at the order ELBO $\leq$ importance-weighted bound $\leq \log p$ and at the size of the gap, which is $\mathrm{KL}(q \,\Vert\, p(z \mid x))$, a sum over eight units:
$\delta^2 / (2 v) + (r^2 - 1 - \log r^2) / 2$ for a unit whose mean is off by $\delta$ and whose variance is $r^2 v$ instead of $v$.
"""

# %% tags=["check"]
worse = linear_vae(moments, 8, variance)
with torch.no_grad():
    worse.encoder.bias[8:] += 0.2  # log r
    worse.encoder.bias[:8] += 0.1  # delta
    bounds = [worse.elbo(x_few) for _ in range(400)]
    tighter = [iwae_bound(worse.log_weights(x_few, 5)) for _ in range(400)]
r2 = math.exp(0.4)
gap = (0.1**2 / (2 * q.variance[0]) + (r2 - 1 - math.log(r2)) / 2).sum()
checks.unbiased("ELBO of a worse encoder", torch.stack(bounds), exact - gap)
means = {
    name: torch.stack(values).mean()
    for name, values in {"ELBO": bounds, "5 samples": tighter}.items()
}
checks.ordered("bounds", means | {"log p": exact.mean()})
# %% [markdown]
r"""
## What the noise of the decoder decides

```{margin}
**In the sources.** Oslo, 16 April, *VAEs versus autoencoders* and *Are VAEs just modified autoencoders?*
```

**For a Gaussian decoder with fixed $\sigma$, the variance $\sigma^2$ is the weight of the KL term:**

$$
\begin{aligned}
\sigma^2\, \mathrm{ELBO} &= -\tfrac{1}{2}\, \mathbb{E}_q \lVert x - f(z) \rVert^2
- \sigma^2\, \mathrm{KL} \\
&\quad - 392\, \sigma^2 \log(2 \pi \sigma^2) .
\end{aligned}
$$ (eq-vp-beta)

Here $f(z)$ is the mean that the decoder gives, and 392 is half the number of pixels.
The last term depends on no network.
So to maximise the ELBO is to minimise half the squared error plus $\beta = \sigma^2$ times KL, the objective of a *$\beta$-VAE* {cite:p}`higgins2017` with unit noise.

```{margin}
**A common mistake:** the statement that a VAE has no parameter like the penalty of a sparse autoencoder.
$\sigma^2$ is one.
```

For digits between 0 and 1 the pixels have a mean variance near 0.07; a decoder of variance one says that nearly all of it is noise.
Before any training, {eq}`eq-vp-ppca-w` tells how many directions of the data a linear decoder can afford to keep: those with $\lambda_i > \sigma^2$.
"""


# %%
def num_kept(variance):
    return int((moments.values > variance).sum())


# %% tags=["check"]
checks.at_most("mean variance of a pixel", moments.values.sum() / 784, 0.1)
kept = {variance: num_kept(variance) for variance in (1.0, 0.25, 0.1, 0.05, 0.03)}
print("directions above the noise:", kept)
# The columns of W say the same.
for variance, number in kept.items():
    W = ppca_weights(moments, 784, variance)
    checks.close(
        f"non-zero columns at variance {variance}", (W.norm(dim=0) > 0).sum(), number
    )
if run.on_mnist and run.profile != "smoke":
    checks.close("directions above unit variance", kept[1.0], 12)
    too_much = 1 / moments.values[8:].mean()
    checks.close("one over the best variance, for 8 units", too_much, 26, atol=0.5)

# %%
test_ppca = {}
best_variance = moments.values[8:].mean().item()
for name, variance in {"unit": 1.0, "best": best_variance}.items():
    log_prob = ppca_log_prob(moments, 8, variance, x_test)
    test_ppca[name] = log_prob.mean().item()
    run.record(
        f"ppca_log_likelihood_{name}_variance",
        log_prob.mean(),
        unit="nats",
        protocol="probabilistic PCA with 8 latent units on grey values in [0, 1], "
        "exact log density of 10,000 test images, fitted to "
        f"{len(x_all):,} training images, decoder variance {variance:.4f}",
        standard_error=standard_error(log_prob),
    )

# %% tags=["check"]
checks.at_least(
    "nats an image that the best variance is worth, linear decoder",
    test_ppca["best"] - test_ppca["unit"],
    500,
)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Eigenvalues of the covariance of the digits (points), in descending order. A linear decoder with noise of variance 1 keeps the directions above the upper dashed line; with the variance that is best for 8 latent units, many more lie above the noise, as the lower line shows: eight units are too few for it.", "name": "fig-vp-eigenvalues"}, "image": {"alt": "Points fall steeply on two logarithmic axes, from about five for the first eigenvalue. Twelve of them lie above a dashed line at one, and more than a hundred above a dashed line near 0.04."}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
ax.loglog(range(1, 301), moments.values[:300], ".", markersize=4)
plotting.reference_line(ax, 1.0, "variance 1")
plotting.reference_line(ax, best_variance, "best for 8 units", side="left")
_ = ax.set(xlabel="number of the direction", ylabel="variance of the data along it")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact mean log-likelihood of the test images under probabilistic PCA with 2, 8 and 32 latent units, against the variance of the decoder. Points: the variance that fits the training images best, the mean of the eigenvalues left out.", "name": "fig-vp-variance"}, "image": {"alt": "Three curves over a logarithmic axis of variances. Each rises to a maximum, between 0.01 and 0.1, where its point lies, and then falls together with the others to the same value of about minus 740 nats at variance one."}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
sweep_variances = torch.logspace(-2.3, 0.2, 40).tolist()
for units, colour in zip((2, 8, 32), plotting.COLOURS, strict=False):
    best = moments.values[units:].mean().item()
    for variances, style in ((sweep_variances, "-"), ([best], "o")):
        values = [
            ppca_log_prob(moments, units, v, x_test[:2_000]).mean() for v in variances
        ]
        label = f"{units} units" if style == "-" else None
        ax.semilogx(variances, values, style, color=colour, label=label)
ax.set(xlabel="variance of the decoder", ylabel="nats an image", ylim=(-900, 500))
_ = ax.legend()

# %% [markdown]
r"""
Equation {eq}`eq-vp-beta` holds sample by sample: with the same $\epsilon$, $\sigma^2$ times the gradient of the ELBO equals the gradient of the $\beta$-objective, to rounding.
"""


# %% tags=["check"]
def gradients(vae, objective):
    torch.manual_seed(1)
    parameters = [*vae.encoder.parameters(), *vae.decoder.parameters()]
    return torch.cat(
        [g.flatten() for g in torch.autograd.grad(objective(vae).sum(), parameters)]
    )


def squared_error_objective(vae, beta):
    q = vae.posterior(x_few)
    error = (x_few - vae.decoder(q.rsample())).square().sum(-1)
    return -error / 2 - beta * kl_divergence(q, PRIOR).sum(-1)


some_vae = VAE(mlp(784, 20, 6), mlp(3, 20, 784), GaussianHead(0.3)).double()
some_std = some_vae.head.log_std.exp().item()
checks.close(
    "gradients of the two objectives",
    some_std**2 * gradients(some_vae, lambda vae: vae.elbo(x_few)),
    gradients(some_vae, lambda vae: squared_error_objective(vae, some_std**2)),
    rtol=1e-9,
    atol=1e-9,
)

# %% [markdown]
r"""
## One learned number

The lecture notes' network has 784 - 512 - 512 - 8 units in the encoder and 8 - 512 - 784 in the decoder, with a hyperbolic tangent at the end, for grey values between $-\frac12$ and $\frac12$; its noise has variance one.
We train it as it is, and once more with a single change: $\log \sigma$ is a parameter that is learned with the rest.

```{margin}
**A common mistake:** a decoder $\mathcal{N}(f(z), 1)$ on pixels that vary by a quarter.
Its objective weighs the KL term too much, by one over the best variance: 26 times for the linear decoder above, and more for the network below.
```
"""


# %%
def gaussian_vae(std, *, learn):
    torch.manual_seed(run.seed)
    decoder = nn.Sequential(*mlp(8, 512, 784), nn.Tanh())
    vae = VAE(mlp(784, 512, 512, 16), decoder, GaussianHead(std, learn=learn))
    return vae.to(run.device)


gaussian = {
    "unit": gaussian_vae(1.0, learn=False),
    "learned": gaussian_vae(0.25, learn=True),
}
centred_all, centred_test = x_all - 0.5, x_test - 0.5
for name, vae in gaussian.items():
    _ = fit(
        f"Gaussian decoder, {name}",
        vae,
        lambda rows, vae=vae: -vae.elbo(centred_all[rows]),
        len(x_all),
        P.noise_epochs,
    )


@torch.no_grad()
def collapse(vae, x):
    """KL of each unit, mean over images, and how many units have more than 0.01 nats."""
    kl = kl_divergence(vae.posterior(x), PRIOR).mean(0)
    return kl, int((kl > 0.01).sum())


# %%
gaussian_elbo = {}
for name, vae in gaussian.items():
    with torch.no_grad():
        elbo = vae.elbo(centred_test)
        kl, num_active = collapse(vae, centred_test)
    gaussian_elbo[name] = elbo.mean().item()
    std = vae.head.log_std.exp().item()
    print(f"{name}: std {std:.3f}, KL {kl.sum():.2f} nats, {num_active} units in use")
    run.record(
        f"elbo_gaussian_{name}_variance",
        elbo.mean(),
        unit="nats",
        protocol="784-512-512-8-512-784, Gaussian decoder with standard deviation "
        f"{std:.3f} ({name}), {P.noise_epochs} epochs of {len(x_all):,} images, "
        "ELBO of 10,000 test images, one sample of z each",
        standard_error=standard_error(elbo),
    )

# %% [markdown]
r"""
For given networks the best $\sigma^2$ is the mean squared error of a pixel ({ref}`ex-vp-variance`), so the learned value can be checked against the reconstructions.
And both models can be compared with the linear one of the same size, whose likelihood is exact.
A part of the gain needs no training at all: put the best variance into the network that was trained with unit variance.
The rest is what its code has lost.
"""

# %% tags=["check"]
with torch.no_grad():
    vae = gaussian["learned"]
    z = vae.posterior(centred_all[:10_000]).rsample()
    error = (centred_all[:10_000] - vae.decoder(z)).square().mean().item()
learned_variance = vae.head.log_std.exp().item() ** 2
print(f"learned variance {learned_variance:.4f}, mean squared error {error:.4f}")
with torch.no_grad():
    # The network of unit variance, with its best variance put in afterwards.
    vae = copy.deepcopy(gaussian["unit"])
    z = vae.posterior(centred_all[:10_000]).rsample()
    best = (centred_all[:10_000] - vae.decoder(z)).square().mean()
    vae.head.log_std.fill_(best.log() / 2)
    afterwards = vae.elbo(centred_test).mean().item()
gain = gaussian_elbo["learned"] - gaussian_elbo["unit"]
print(
    f"{afterwards - gaussian_elbo['unit']:.0f} of {gain:.0f} nats without new training"
)
if run.on_mnist and run.profile != "smoke":
    checks.ordered(
        "ELBO",
        {
            "unit variance": gaussian_elbo["unit"],
            "best variance afterwards": afterwards,
            "learned with the rest": gaussian_elbo["learned"],
        },
    )
    checks.close("learned variance", learned_variance, error, rtol=0.1)
    checks.at_least(
        "nats an image that one learned number is worth",
        gaussian_elbo["learned"] - gaussian_elbo["unit"],
        800,
    )
    checks.at_least(
        "learned noise, nats above probabilistic PCA with the best variance",
        gaussian_elbo["learned"] - test_ppca["best"],
        0,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve codes from the prior, drawn by the decoder with unit variance (upper two rows: its mean, then an image from its distribution) and by the decoder with the learned variance (lower two rows, the same). Nothing is selected.", "name": "fig-vp-noise"}, "image": {"alt": "Four rows of twelve pictures. First row: smooth, blurred digits. Second row: nothing but grey noise, with a trace of a digit at most. Third row: clearer strokes, and several pictures between two digits. Fourth row: the same pictures with light grain."}}
rows = []
codes = torch.randn(12, 8, generator=torch.Generator().manual_seed(1)).to(run.device)
with torch.no_grad():
    for vae in gaussian.values():
        p = vae.likelihood(codes)
        rows += [p.mean, p.sample()]
fig, ax = plt.subplots(figsize=(7.0, 2.5))
pictures = (torch.cat(rows) + 0.5).clamp(0, 1).cpu()
_ = plotting.image_grid(pictures, columns=12, ax=ax)
# %% [markdown]
r"""
The means of the first decoder are smooth, those of the second sharper and now and then no digit.
Its codes carry more, as the KL terms above say, and a draw from the prior meets more places that no image has used.

## The weight of the KL term

```{margin}
**In the sources.** Oslo, 30 April, *Decoder and encoder*: what the second term prevents.
```

**The KL term is a price for information: at $\beta = 0$ the encoder forgets to be uncertain, and for large $\beta$ unit after unit falls back to the prior and carries nothing.**
The second is called *posterior collapse*; {eq}`eq-vp-ppca-w` has shown it without any training {cite:p}`lucas2019`.
We train one small network with four values of $\beta$, on grey values with a Bernoulli decoder, and look at the encoder's mean standard deviation, at the KL term and at the number of units in use: those with more than 0.01 nats.
"""

# %%
sweep = {}
for beta in (0.0, 1.0, 4.0, 16.0):
    torch.manual_seed(run.seed)
    vae = VAE(mlp(784, 200, 40), mlp(20, 200, 784), bernoulli_head).to(run.device)
    x_sweep = x_all[: P.sweep_images]
    _ = fit(
        f"beta {beta:g}",
        vae,
        lambda rows, vae=vae, x=x_sweep, beta=beta: -vae.elbo(x[rows], beta=beta),
        len(x_sweep),
        P.sweep_epochs,
        rate=3e-3,
        batch_size=64,
    )
    with torch.no_grad():
        reconstruction, kl = vae.terms(x_test)
        std = vae.posterior(x_test).stddev.mean().item()
    num_active = collapse(vae, x_test)[1]
    sweep[beta] = (vae, reconstruction.mean(), kl.mean(), std, num_active)
    print(
        f"beta {beta:4}: reconstruction {reconstruction.mean():.1f}, "
        f"KL {kl.mean():.1f} nats, mean std {std:.3f}, {num_active} units in use"
    )

# %% tags=["check"]
betas = sorted(sweep)
for place, name, descending in (
    (1, "reconstruction term", True),
    (2, "KL term", True),
    (3, "mean standard deviation of the encoder", False),
):
    if run.profile == "smoke":
        break
    order = betas[::-1] if descending else betas
    checks.ordered(name, {f"beta {beta}": sweep[beta][place] for beta in order})
if run.on_mnist and run.profile != "smoke":
    checks.at_most("mean standard deviation without the KL term", sweep[0.0][3], 0.3)
    checks.at_most("units in use at beta 16", sweep[16.0][4], 10)
    checks.close("units in use without the KL term", sweep[0.0][4], 20)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Sixteen codes from the prior, decoded (pixel probabilities). From top to bottom beta = 0, 1, 4, 16, with the number of units in use behind the colon. Without the KL term the decoder has never seen such codes: a failure on purpose.", "name": "fig-vp-beta"}, "image": {"alt": "Four rows of sixteen pictures. Top: broken patches of strokes that are no digits. Second: mostly digits, some unclear. Third: smooth digits of fewer kinds. Bottom: nearly the same blurred blob in every picture."}}
codes = torch.randn(16, 20, generator=torch.Generator().manual_seed(2)).to(run.device)
fig, axes = plt.subplots(4, 1, figsize=(7.2, 2.2))
for ax, (beta, row) in zip(axes, sweep.items(), strict=True):
    vae, num_active = row[0], row[-1]
    with torch.no_grad():
        pictures = vae.likelihood(codes).probs.cpu()
    plotting.image_grid(pictures, columns=16, ax=ax)
    ax.text(-8, 14, f"$\\beta$ = {beta:g}: {num_active}", ha="right", va="center")

# %% [markdown]
r"""
## Grey values under a Bernoulli decoder

```{margin}
**In the sources.** Borisyak, *Reconstruction error*, the second formula.
```

**A much copied program of PyTorch's examples gives grey values to a Bernoulli decoder and adds up the binary cross-entropy.**
With $\pi = \operatorname{sigmoid}(f(z))$ the reconstruction term is

$$
\sum_i x_i \log \pi_i + (1 - x_i) \log (1 - \pi_i) ,
$$ (eq-vp-bernoulli)

with a sum over all 784 pixels and no mean.
For grey $x$ this is no log-likelihood of anything, and even a perfect reconstruction costs the entropy of the grey values; [the Keras lecture](vae_keras.ipynb) measures that floor.
We call minus the ELBO with such targets *soft-BCE* and keep it apart from likelihoods.
As a yardstick for our loop it is good: the program prints 105.59 after ten epochs of 60,000 images at batch 128, with 784 - 400 - 20 - 400 - 784 units {cite:p}`pytorchexamples`.
"""

# %%
torch.manual_seed(run.seed)
soft = VAE(mlp(784, 400, 40), mlp(20, 400, 784), bernoulli_head).to(run.device)
soft_history = fit(
    "grey VAE", soft, lambda rows: -soft.elbo(x_all[rows]), len(x_all), P.soft_epochs
)
with torch.no_grad():
    soft_test = torch.stack([-soft.elbo(x_test) for _ in range(5)]).mean(0)
soft_total = run.record(
    "soft_bce_test_total_z20",
    soft_test.mean(),
    unit="nats",
    protocol=f"784-400-20-400-784, ReLU, Adam 1e-3, batch 128, {P.soft_epochs} epochs "
    f"of {len(x_all):,} grey images; soft-BCE of 10,000 grey test images, five samples "
    "of z each",
    standard_error=standard_error(soft_test),
    published=105.59,
    source="pytorch/examples, vae: test loss after 10 epochs",
)

# %% tags=["check"]
with torch.no_grad():
    z = soft.posterior(x_test[:20]).rsample()
    logits = soft.decoder(z)
    entropy = F.binary_cross_entropy_with_logits(
        logits, x_test[:20], reduction="none"
    ).sum(1)
    # Sums of 784 numbers below 20 in single precision.
    checks.close(
        "reconstruction term, against PyTorch's cross-entropy",
        -soft.likelihood(z).log_prob(x_test[:20]).sum(-1),
        entropy,
        rtol=1e-5,
    )
if run.on_mnist and run.profile != "smoke":
    checks.at_most("soft-BCE of the test images", soft_total, 107.0)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Test images (top), their reconstructions from one sample of the code (middle), and pixel probabilities for codes from the prior (bottom). Nothing is selected.", "name": "fig-vp-soft"}, "image": {"alt": "Three rows of fourteen digits. The middle row repeats the top row, slightly smoother. The bottom row has digits that are mostly clear, a few between two digits."}}
codes = torch.randn(14, 20, generator=torch.Generator().manual_seed(3)).to(run.device)
with torch.no_grad():
    back = soft.likelihood(soft.posterior(x_test[:14]).rsample()).probs
    drawn = soft.likelihood(codes).probs
fig, ax = plt.subplots(figsize=(7.2, 1.7))
_ = plotting.image_grid(torch.cat([x_test[:14], back, drawn]).cpu(), columns=14, ax=ax)

# %% [markdown]
r"""
## A likelihood: black and white images

**For a likelihood the pixels must be 0 or 1.**
As in the publications cited below, every pixel is drawn anew with its grey value as probability each time that an image is used: *dynamic binarisation*.
The network is that of {cite:t}`burda2016` with one layer of latent units: 784 - 200 - 200 - 50 and back, with hyperbolic tangents, trained on the first 50,000 images.
Two things help in a short training: the last biases start at the logits of the mean image, and the rate falls to zero along a cosine.
"""


# %%
def binarised(x):
    return (torch.rand_like(x) < x).to(x.dtype)


def new_binary_vae():
    torch.manual_seed(run.seed)
    vae = VAE(
        mlp(784, 200, 200, 100, activation=nn.Tanh),
        mlp(50, 200, 200, 784, activation=nn.Tanh),
        bernoulli_head,
    ).to(run.device)
    mean_image = x_train.mean(0).clamp(1e-3, 1 - 1e-3)
    vae.decoder[-1].bias.data = mean_image.logit()
    return vae


binary = new_binary_vae()
binary_history = fit(
    "binary VAE",
    binary,
    lambda rows: -binary.elbo(binarised(x_train[rows])),
    len(x_train),
    P.binary_epochs,
    rate=P.binary_rate,
    decay=True,
)

# %% tags=["check"]
torch.manual_seed(run.seed + 1)
b_test = binarised(x_test)
checks.unbiased(
    "ink of the binarised test images, minus that of the grey ones",
    (b_test - x_test).mean(1),
    0.0,
)
checks.true("each pixel is 0 or 1", bool(((b_test == 0) | (b_test == 1)).all()))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Minus the ELBO of the training images during each epoch. Dashed: independent pixels with the right means.", "name": "fig-vp-training"}, "image": {"alt": "A falling curve with points, steep in the first three epochs and flat at the end, far below a dashed line near 206 nats."}}
pixel_means = x_train.mean(0).clamp(1e-6, 1 - 1e-6)
independent = Bernoulli(pixel_means).entropy().sum().item()
fig, ax = plt.subplots(figsize=(6.4, 3.2))
ax.plot(range(1, P.binary_epochs + 1), binary_history, ".-")
plotting.reference_line(ax, independent, "independent pixels")
_ = ax.set(xlabel="epoch", ylabel="-ELBO (nats an image)")

# %% [markdown]
r"""
## The test likelihood by importance weights

**The ELBO is only a bound; with $K$ samples the bound {cite:p}`burda2016`**

$$
\mathcal{L}_K(x) = \mathbb{E} \log \frac{1}{K} \sum_{k=1}^{K} w_k \leq \log p_\theta(x)
$$ (eq-vp-iwae)

**closes in on the likelihood.**
[The ELBO lecture](elbo.ipynb) proves that it rises with $K$; here it turns a trained network's bound into a number that can be compared with other models.
On average the number is an underestimate: a small $K$ makes a model look worse than it is.
The weights are computed in slices, because 200 samples of 1,000 images are many.
"""


# %%
@torch.no_grad()
def bound_of(vae, x, num_samples, at_once=4_000):
    """The K-sample bound, one number per image, and the share of samples that count."""
    bounds, shares = [], []
    for part in x.split(max(1, at_once // num_samples)):
        log_w = vae.log_weights(part, num_samples)
        bounds.append(iwae_bound(log_w))
        shares.append(1 / log_w.softmax(0).square().sum(0) / num_samples)
    return torch.cat(bounds), torch.cat(shares)


def nested_bounds(log_w, sizes):
    """Bounds from groups of the same samples, one row for each size."""
    return torch.stack(
        [
            iwae_bound(log_w.unflatten(0, (-1, size)).transpose(0, 1)).mean(0)
            for size in sizes
        ]
    )


# %%
subset = torch.randperm(len(x_test), generator=torch.Generator().manual_seed(2024))[
    : P.num_iwae_test
].to(run.device)
with torch.no_grad():
    elbo_test = binary.elbo(b_test)
likelihood_test, share = bound_of(binary, b_test[subset], P.num_samples)
print(f"samples that count: {share.mean() * P.num_samples:.1f} of {P.num_samples}")
network = (
    f"784-200-200-50, tanh, {P.binary_epochs} epochs of {len(x_train):,} dynamically "
    "binarised images, Adam with cosine decay, batch 128"
)
elbo_mean = run.record(
    "elbo_test",
    elbo_test.mean(),
    unit="nats",
    protocol=f"{network}; 10,000 binarised test images, one sample of z each",
    standard_error=standard_error(elbo_test),
)
likelihood_mean = run.record(
    "log_likelihood_iwae_test",
    likelihood_test.mean(),
    unit="nats",
    protocol=f"{network}; bound with {P.num_samples} samples, {len(subset):,} random "
    "test images, binarised",
    standard_error=standard_error(likelihood_test),
    published=-86.76,
    source="Burda et al. 2016: VAE, one layer, 1 sample, 3,280 epochs",
)

# %% tags=["check"]
sizes = [s for s in (1, 2, 5, 10, 20, 50, 100, 200) if P.num_samples % s == 0]
few = b_test[subset][:100]
with torch.no_grad():
    nested = nested_bounds(binary.log_weights(few, sizes[-1]), sizes)
# Group means of the same samples: by Jensen's inequality they rise for every image.
checks.at_least("rise of the bound from size to size", nested.diff(dim=0), -1e-3)
exact_few = ppca_log_prob(moments, 8, best_variance, x_few[:20])
worse_bound, _ = bound_of(worse, x_few[:20], 5_000)
# The second moment of w / p(x) is known, so the error of a mean of 5,000 is too.
second_moment = (r2 / math.sqrt(2 * r2 - 1)) ** 8 * torch.exp(
    (0.1**2 / q.variance[0]).sum() / (2 * r2 - 1)
)
checks.close(
    "bound with 5,000 samples, on the model that is known",
    worse_bound,
    exact_few,
    atol=5 * (second_moment.item() / 5_000) ** 0.5,
)
if run.on_mnist and run.profile == "quick":
    checks.at_least("ELBO of the test images", elbo_mean, -101.0)
    checks.at_least("importance-weighted test likelihood", likelihood_mean, -97.5)
if run.on_mnist and run.profile == "full":
    checks.at_least("importance-weighted test likelihood", likelihood_mean, -86.8)

# %% [markdown]
r"""
The published $-86.76$ took 3,280 epochs and 5,000 samples; the profile `full` comes nearer to both.
"Samples that count" is the effective sample size of [the ELBO lecture](elbo.ipynb): of 200 weights a few carry nearly all, and {numref}`fig-vp-bound` still rises at its right end.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The importance-weighted bound of the first 100 test images with K samples; all points use the same samples. The recorded numbers are means over many more images. The band is one standard error of the mean over the images; it says how far the whole curve might shift with other images, and nothing about its shape.", "name": "fig-vp-bound"}, "image": {"alt": "A curve on a logarithmic horizontal axis from 1 to 200 samples rises steeply at first and then ever more slowly, by nearly five nats in all."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
nested = nested.cpu()
spread = nested.std(1) / nested.shape[1] ** 0.5
ax.semilogx(sizes, nested.mean(1), ".-")
ax.fill_between(sizes, nested.mean(1) - spread, nested.mean(1) + spread, alpha=0.2)
_ = ax.set(xlabel="number of samples K", ylabel="bound (nats an image)")
# %% [markdown]
r"""
## Training by the tighter bound

**The bound {eq}`eq-vp-iwae` can be the objective itself: an *importance-weighted autoencoder*.**
Its gradient is a weighted mean of the gradients of the single samples,

$$
\begin{aligned}
\nabla \mathcal{L}_K &= \mathbb{E} \sum_k \tilde w_k\, \nabla \log w_k, \\
\tilde w_k &= \frac{w_k}{\sum_l w_l},
\end{aligned}
$$ (eq-vp-iwae-gradient)

where the shares $\tilde w_k$ are numbers: no gradient flows through them.
Automatic differentiation of $\log \sum_k w_k$ gives the same, and we check it.

For the decoder more samples are better.
For the encoder they are not: as the bound closes, its dependence on $q$ fades like $1/K$ and the noise only like $1/\sqrt{K}$, so that the signal drowns {cite:p}`rainforth2018`.
The cure is to leave out a term whose expectation can be had another way.
With the parameters of $q$ stopped in $\log q$ (but not in $z$), the encoder's gradient is {cite:p}`tucker2019`

$$
\nabla_\phi \mathcal{L}_K = \mathbb{E} \sum_k \tilde w_k^2\,
\frac{\partial \log w_k}{\partial z_k}\, \nabla_\phi z_k .
$$ (eq-vp-dreg)

In the program the square comes from a hook: what flows back through $z_k$ is multiplied once more by $\tilde w_k$.
"""


# %%
def iwae_loss(vae, x, num_samples):
    return -iwae_bound(vae.log_weights(x, num_samples))


def dreg_loss(vae, x, num_samples):
    """Its value is not minus the bound; its gradient is."""
    q = vae.posterior(x)
    z = q.rsample((num_samples,))
    stopped = Normal(q.mean.detach(), q.stddev.detach(), validate_args=False)
    log_joint = vae.likelihood(z).log_prob(x).sum(-1) + PRIOR.log_prob(z).sum(-1)
    log_w = log_joint - stopped.log_prob(z).sum(-1)
    share = log_w.softmax(0).detach()
    if z.requires_grad:
        z.register_hook(lambda gradient: share[..., None] * gradient)
    return -(share * log_w).sum(0)


# %% [markdown]
r"""
The test bench is again linear: $x = 1$, $z \sim \mathcal{N}(0, 1)$, $p(x \mid z) = \mathcal{N}(z, 1)$, and $q$ is a Gaussian beside the posterior.
We give each of 20,000 copies of $x$ its own encoder parameters, so that one call of `backward` yields 20,000 independent gradients, and measure their *signal-to-noise ratio*, mean over standard deviation.
"""


# %%
class OwnParameters(nn.Module):
    """An encoder without a network: a row of parameters for each image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x):
        return self.rows


def encoder_gradients(loss, num_samples, num_copies=20_000):
    """One gradient with respect to the mean of q for each copy."""
    torch.manual_seed(3)
    rows = torch.tensor([0.6, -0.3], dtype=torch.float64).repeat(num_copies, 1)
    decoder = nn.Linear(1, 1).double().requires_grad_(False)
    decoder.weight.fill_(1.0), decoder.bias.fill_(0.0)
    head = GaussianHead(1.0).double()
    vae = VAE(OwnParameters(rows), decoder, head)
    loss(
        vae, torch.ones(num_copies, 1, dtype=torch.float64), num_samples
    ).sum().backward()
    return vae.encoder.rows.grad[:, 0]


sample_sizes = (1, 4, 16, 64)
gradients_of = {
    name: [encoder_gradients(loss, size) for size in sample_sizes]
    for name, loss in {
        "autodiff": iwae_loss,
        "doubly reparameterised": dreg_loss,
    }.items()
}
# Both have the same expectation; the quieter one knows it better.
means = [g.mean().abs() for g in gradients_of["doubly reparameterised"]]
signal = {
    name: [(m / g.std()).item() for m, g in zip(means, values, strict=True)]
    for name, values in gradients_of.items()
}


# %% tags=["check"]
def by_shares(vae, x, num_samples):
    log_w = vae.log_weights(x, num_samples)
    return -(log_w.softmax(0).detach() * log_w).sum(0)


checks.close(
    "gradient by shares, and by automatic differentiation",
    encoder_gradients(by_shares, 16, 1_000),
    encoder_gradients(iwae_loss, 16, 1_000),
    rtol=1e-9,
    atol=1e-12,
)
of_decoder = []
for loss in (iwae_loss, dreg_loss):
    torch.manual_seed(4)
    values = loss(worse, x_few, 5).sum()
    of_decoder.append(torch.autograd.grad(values, worse.decoder.weight)[0])
checks.close("gradient for the decoder, both losses", *of_decoder, rtol=1e-9, atol=1e-6)
# One sample is the ELBO: slope in the mean m of q, with x = 1: x - 2 m.
for name, values in gradients_of.items():
    checks.unbiased(f"{name}, K = 1: slope of -ELBO", values[0], -(1 - 2 * 0.6))
for size, *pair in zip(sample_sizes, *gradients_of.values(), strict=True):
    checks.unbiased(
        f"difference of the two estimators, K = {size}", pair[0] - pair[1], 0.0
    )
# Asymptotic laws: what is left out is of order 1 / 16.
for name, factor in {"autodiff": 1 / 2, "doubly reparameterised": 2}.items():
    ratios = signal[name]
    checks.close(
        f"{name}: signal-to-noise, K = 64 over K = 16",
        ratios[3] / ratios[2],
        factor,
        rtol=0.1,
    )
    named = {f"K = {k}": r for k, r in zip(sample_sizes, ratios, strict=True)}
    growing = named if factor > 1 else dict(reversed(named.items()))
    checks.ordered(f"{name}: signal-to-noise ratio", growing)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Signal-to-noise ratio of the encoder's gradient with K samples, two estimators of the same gradient. Dashed: powers -1/2 and 1/2 of K through the last points.", "name": "fig-vp-snr"}, "image": {"alt": "Two lines on double logarithmic axes. One, autodiff, falls with the number of samples along a dashed line of slope minus one half. The other, doubly reparameterised, rises along one of slope one half."}}
fig, ax = plt.subplots(figsize=(6.4, 3.2))
for (name, ratios), marker, power in zip(
    signal.items(), "os", (-0.5, 0.5), strict=True
):
    ax.loglog(sample_sizes, ratios, marker + "-", label=name)
    guide = [ratios[-1] * (s / sample_sizes[-1]) ** power for s in sample_sizes]
    ax.loglog(sample_sizes, guide, "k--", linewidth=1)
ax.set(xlabel="number of samples K", ylabel="signal-to-noise ratio")
_ = ax.legend()

# %% [markdown]
r"""
Now on the digits.
In the `full` profile a second network is trained from the start with 50 samples, as in the publication.
In `quick` three copies of the network above go once more through 20,000 images: with one sample, with five, and with five and the second estimator.
Compare them with one another, on the same test images: a mean of differences has a much smaller error than the difference of two means.
"""


# %%
def trained_with(name, loss):
    """A network trained by `loss`: from the start in `full`, else continued."""
    if run.profile == "full":
        vae, rate = new_binary_vae(), P.binary_rate
    else:
        vae, rate = copy.deepcopy(binary), 5e-4
    torch.manual_seed(run.seed + 2)
    _ = fit(
        name,
        vae,
        lambda rows: loss(vae, binarised(x_train[rows]), P.iwae_samples),
        min(len(x_train), P.iwae_images),
        P.iwae_epochs,
        rate=rate,
        decay=True,
    )
    return vae


# %%
losses = {"iwae": iwae_loss}
if run.profile != "full":
    losses = {
        "elbo": lambda vae, x, _: -vae.elbo(x),
        "iwae": iwae_loss,
        "dreg": dreg_loss,
    }
continued = {name: trained_with(name, loss) for name, loss in losses.items()}
test_bounds = {}
for name, vae in continued.items():
    torch.manual_seed(run.seed + 3)
    test_bounds[name], _ = bound_of(vae, b_test[subset], P.num_samples)
    active = collapse(vae, x_test)[1]
    print(f"{name}: {test_bounds[name].mean():.2f} nats, {active} of 50 units in use")
iwae_mean = run.record(
    "log_likelihood_iwae_test_iwae" + str(P.iwae_samples),
    test_bounds["iwae"].mean(),
    unit="nats",
    protocol=f"{network if run.profile != 'full' else '784-200-200-50'}, "
    + ("then " if run.profile != "full" else "")
    + f"{P.iwae_epochs} epoch(s) of {P.iwae_images:,} images by the bound with "
    f"{P.iwae_samples} samples; bound with "
    f"{P.num_samples} samples, {len(subset):,} random test images, binarised",
    standard_error=standard_error(test_bounds["iwae"]),
    published=-84.78 if P.iwae_samples == 50 else -85.54,
    source=f"Burda et al. 2016: IWAE, one layer, {P.iwae_samples} samples, 3,280 epochs",
)

# %% tags=["check"]
if run.profile == "quick":
    paired = test_bounds["iwae"] - test_bounds["elbo"]
    print(
        f"IWAE minus ELBO training: {paired.mean():.2f} +/- {standard_error(paired):.2f}"
    )
if run.on_mnist and run.profile == "quick":
    checks.at_least(
        "nats by which training by the bound with five samples is better, "
        "less five standard errors",
        paired.mean() - 5 * standard_error(paired),
        0,
    )
if run.on_mnist and run.profile == "full":
    checks.at_least("test likelihood, trained by IWAE", iwae_mean, -84.9)
    checks.at_least("gain over the ELBO", iwae_mean - likelihood_mean, 1.4)

# %% [markdown]
r"""
## A label in both networks

```{margin}
**In the sources.** Borisyak, *Conditional VAE*, a picture; Oslo, 16 April, the slide after *And applying Bayes rule*.
```

**If a label $y$ is known, the model can be told it: $p_\theta(x \mid z, y)$, and an encoder $q_\phi(z \mid x, y)$.**
The derivation of the bound is the old one with $y$ behind every bar:

$$
\begin{aligned}
\log p(x \mid y) &= \mathbb{E}_q\bigl[\log p(x \mid z, y)\bigr] \\
&\quad - \mathrm{KL}\bigl(q(z \mid x, y) \,\Vert\, p(z \mid y)\bigr) \\
&\quad + \mathrm{KL}\bigl(q(z \mid x, y) \,\Vert\, p(z \mid x, y)\bigr) .
\end{aligned}
$$ (eq-vp-conditional)

The derivation begins with Bayes' rule, averaged over any $q$:

$$
\begin{aligned}
&\mathbb{E}_q \log p(x \mid z, y) \\
&\quad = \mathbb{E}_q \bigl[ \log p(z \mid x, y) - \log p(z \mid y) + \log p(x \mid y) \bigr] .
\end{aligned}
$$ (eq-vp-conditional-bayes)

```{margin}
**A common mistake:** lines with $x$ and $y$ in the middle of a derivation for $x$ alone.
They are right, and belong here.
```

We check both on a table of random probabilities for three variables with 3, 4 and 5 values.
"""

# %% tags=["check"]
table = torch.rand(3, 4, 5, dtype=torch.float64)  # x, y, z
table /= table.sum()
p_y, p_yz, p_xy = table.sum((0, 2)), table.sum(0), table.sum(2)
log_x_given_zy = (table / p_yz).log()
log_z_given_y = (p_yz / p_y[:, None]).log()
log_z_given_xy = (table / p_xy[..., None]).log()
log_x_given_y = (p_xy / p_y).log()
any_q = torch.rand(3, 4, 5, dtype=torch.float64)
any_q /= any_q.sum(2, keepdim=True)
reconstruction = (any_q * log_x_given_zy).sum(2)
checks.close(
    "Bayes' rule, averaged over q",
    reconstruction,
    (any_q * (log_z_given_xy - log_z_given_y + log_x_given_y[..., None])).sum(2),
    atol=1e-12,
)
to_prior = (any_q * (any_q.log() - log_z_given_y)).sum(2)
to_posterior = (any_q * (any_q.log() - log_z_given_xy)).sum(2)
checks.close(
    "log p(x | y) = reconstruction - KL to the prior + KL to the posterior",
    reconstruction - to_prior + to_posterior,
    log_x_given_y,
    atol=1e-12,
)
checks.at_least("the gap", to_posterior, 0)

# %% [markdown]
r"""
In the networks $y$ is a row of ten numbers, nine of them zero, that is appended to $x$ and to $z$; the prior stays $\mathcal{N}(0, I)$ for every label {cite:p}`sohn2015`.
The code has five units only.
A larger one has room to carry the label as well, and then the decoder may follow the code instead of the label.
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The conditional model. The label enters encoder and decoder, so the code need not carry it. After training the left half is put away: a code from the prior, a label of one's choice.", "name": "fig-vp-conditional"}, "image": {"alt": "A row of boxes joined by arrows: image x, encoder, code z, decoder, new image. A box with the label y stands below, and arrows lead from it up to the encoder and to the decoder."}}
fig, ax = plt.subplots(figsize=(6.8, 1.9))
frame = dict(boxstyle="round,pad=0.4", facecolor="#eef3f8", edgecolor="0.4")
names = ("image $x$", "encoder", "code $z$", "decoder", "new $x$")
places = dict(zip(names, ((0.06 + 0.22 * i, 0.78) for i in range(5)), strict=True))
places["label $y$"] = (0.5, 0.12)
drawn = {
    name: ax.text(*place, name, ha="center", va="center", bbox=frame)
    for name, place in places.items()
}
pairs = [*pairwise(names), ("label $y$", "encoder"), ("label $y$", "decoder")]
for start, end in pairs:
    patches = dict(
        patchA=drawn[start].get_bbox_patch(), patchB=drawn[end].get_bbox_patch()
    )
    arrow = dict(arrowstyle="->", color="0.4", shrinkA=0, shrinkB=0, **patches)
    ax.annotate("", places[end], places[start], arrowprops=arrow)
ax.set(xlim=(-0.03, 1.03), ylim=(0, 1))
_ = ax.set_axis_off()


# %%
class ConditionalVAE(VAE):
    def terms(self, x, y):
        q = self.posterior(torch.cat([x, y], -1))
        p = self.likelihood(torch.cat([q.rsample(), y], -1))
        return p.log_prob(x).sum(-1), kl_divergence(q, PRIOR).sum(-1)

    def elbo(self, x, y):
        reconstruction, kl = self.terms(x, y)
        return reconstruction - kl

    def decode(self, z, y):
        return self.likelihood(torch.cat([z, y], -1)).probs


def one_hot(labels):
    labels = torch.tensor(labels, dtype=torch.long)
    return F.one_hot(labels, 10).float().to(run.device)


y_all, y_test = one_hot(run.data.labels[: len(x_all)]), one_hot(run.data.test_labels)
torch.manual_seed(run.seed)
conditional = ConditionalVAE(
    mlp(794, 256, 10), mlp(15, 256, 256, 784), bernoulli_head
).to(run.device)
_ = fit(
    "conditional VAE",
    conditional,
    lambda rows: -conditional.elbo(x_all[rows], y_all[rows]),
    len(x_all),
    P.label_epochs,
    rate=3e-3,
    decay=True,
)

# %%
torch.manual_seed(run.seed)
plain = VAE(mlp(784, 256, 10), mlp(5, 256, 256, 784), bernoulli_head).to(run.device)
_ = fit(
    "VAE without labels",
    plain,
    lambda rows: -plain.elbo(x_all[rows]),
    len(x_all),
    P.label_epochs,
    rate=3e-3,
    decay=True,
)

# %% [markdown]
r"""
Two numbers test it.
A classifier, trained on real digits, must read the label that was asked for from images drawn with random codes.
And the code should carry less of the label than that of the same network without labels: we train that one too, and see how well a linear classifier reads the digit from the means $\mu_\phi$ of either.
"""


# %%
def new_judge(network, x, labels):
    """A classifier trained by cross-entropy."""
    network = network.to(run.device)
    targets = labels.argmax(1)
    epochs = 2 if run.profile != "smoke" else 20
    *_, _ = train(
        network,
        lambda rows: F.cross_entropy(network(x[rows]), targets[rows], reduction="none"),
        len(x),
        epochs,
        rate=3e-3,
    )
    return network


@torch.no_grad()
def accuracy(network, x, labels):
    return (network(x).argmax(1) == labels.argmax(1)).float().mean().item()


@torch.no_grad()
def code_means(vae, *inputs):
    return vae.posterior(torch.cat(inputs, -1)).mean


# %%
judge = new_judge(mlp(784, 128, 10), x_all, y_all)
asked = one_hot([i % 10 for i in range(2_000)])
with torch.no_grad():
    drawn = conditional.decode(torch.randn(2_000, 5, device=run.device), asked)
obeyed = accuracy(judge, drawn, asked)
readable = {}
for name, inputs in {"plain": (x_all,), "conditional": (x_all, y_all)}.items():
    vae = plain if name == "plain" else conditional
    means = code_means(vae, *inputs)
    reader = new_judge(nn.Linear(means.shape[1], 10), means, y_all)
    test_inputs = (x_test,) if name == "plain" else (x_test, y_test)
    readable[name] = accuracy(reader, code_means(vae, *test_inputs), y_test)
run.record(
    "conditional_label_accuracy",
    obeyed,
    unit="1",
    protocol="share of 2,000 images (pixel probabilities), drawn by the conditional VAE "
    f"after {P.label_epochs} epochs, that a 784-128-10 classifier gives the label asked "
    "for",
    standard_error=(obeyed * (1 - obeyed) / 2_000) ** 0.5,
)
print(f"judge on test images: {accuracy(judge, x_test, y_test):.3f}")
print("labels read from the codes:", {k: round(v, 3) for k, v in readable.items()})

# %% tags=["check"]
torch.manual_seed(5)
with torch.no_grad():
    terms = conditional.terms(x_test[:20], y_test[:20])
    torch.manual_seed(5)
    q = conditional.posterior(torch.cat([x_test[:20], y_test[:20]], 1))
    z = q.mean + q.stddev * torch.randn_like(q.mean)
    probs = conditional.decode(z, y_test[:20])
by_hand = -F.binary_cross_entropy(probs, x_test[:20], reduction="none").sum(1)
checks.close("the label enters twice: reconstruction", terms[0], by_hand, rtol=1e-4)
same_code = torch.randn(200, 5, device=run.device).repeat_interleave(10, 0)
with torch.no_grad():
    ink = conditional.decode(same_code, one_hot(range(10)).repeat(200, 1)).sum(1)
correlations = torch.corrcoef(ink.reshape(200, 10).T)
alike = correlations[~torch.eye(10, dtype=torch.bool, device=run.device)].mean()
print(f"ink of two digits from the same code: mean correlation {alike:.2f}")
if run.on_mnist and run.profile != "smoke":
    # Five standard errors of a correlation of 200 independent pairs.
    checks.at_least("correlation of ink along a row", alike, 5 / 197**0.5)
    checks.at_least("the judge on test images", accuracy(judge, x_test, y_test), 0.95)
    checks.at_least("images with the label asked for", obeyed, 0.8)
    checks.at_least(
        "accuracy from codes, without labels minus with labels",
        readable["plain"] - readable["conditional"],
        0.3,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Ten codes (rows) and ten labels (columns). Pixel probabilities, nothing selected.", "name": "fig-vp-sheet"}, "image": {"alt": "A square of ten by ten digits. Column by column the digits 0 to 9; in each row they are alike in boldness and slant."}}
styles = torch.randn(10, 5, generator=torch.Generator().manual_seed(4)).to(run.device)
with torch.no_grad():
    sheet = conditional.decode(
        styles.repeat_interleave(10, 0), one_hot(range(10)).repeat(10, 1)
    )
fig, ax = plt.subplots(figsize=(5.0, 5.0))
_ = plotting.image_grid(sheet.cpu(), columns=10, ax=ax)

# %% [markdown]
r"""
## Arithmetic with codes

```{margin}
**In the sources.** Oslo, 30 April, *After training*: latent vectors that are edited.
```

**Directions in the space of codes can have a meaning, if one is looked for with labels or measurements.**
We take the ink of an image, the sum of its pixels, as a measure of the stroke.
Among the training images of the digit 7 the mean code of the quarter with most ink, minus that of the quarter with least, is a direction: "bolder, for a 7".
Added to the codes of test images it must raise the ink, and most of the pictures must still be read as a 7.
"""


# %%
def bolder_direction(digit):
    chosen = x_all[y_all[:, digit] == 1]
    order = chosen.sum(1).argsort()
    means = code_means(soft, chosen)
    quarter = max(1, len(chosen) // 4)
    return means[order[-quarter:]].mean(0) - means[order[:quarter]].mean(0)


steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
sevens = x_test[y_test[:, 7] == 1]
with torch.no_grad():
    codes = code_means(soft, sevens)
    edited = {t: soft.likelihood(codes + t * bolder_direction(7)).probs for t in steps}
ink = {t: images.sum(1).mean().item() for t, images in edited.items()}
still_seven = torch.eye(10, device=run.device)[[7]].expand(len(sevens), -1)
kept = {t: accuracy(judge, images, still_seven) for t, images in edited.items()}
print("share still read as a 7:", {t: round(v, 3) for t, v in kept.items()})

# %% tags=["check"]
if run.profile != "smoke":
    checks.ordered("mean ink", {f"{t:+}": ink[t] for t in steps})
if run.on_mnist and run.profile != "smoke":
    checks.at_least("share still read as a 7, for each step", list(kept.values()), 0.7)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Eight test images of a 7, reconstructed from edited codes: from -1 (top) to +1 (bottom) times the direction towards more ink; the middle row is not edited.", "name": "fig-vp-bolder"}, "image": {"alt": "Five rows of eight sevens. From top to bottom the strokes become bolder, while slant and shape of each seven stay."}}
fig, ax = plt.subplots(figsize=(5.2, 3.4))
pictures = torch.cat([images[:8] for images in edited.values()])
_ = plotting.image_grid(pictures.cpu(), columns=8, ax=ax)

# %% [markdown]
r"""
## Why distances between pixels are a poor judge

```{margin}
**In the sources.** Borisyak, *Limitations*, in the part on variational autoencoders.
```

**A Gaussian decoder measures an image by the squared distance of its pixels, and so does every mean squared error; it finds a digit that moved by two pixels worse than another digit.**
We damage test images in two ways and give mean squared distances, summed over the pixels: a patch of 4 x 4 is erased in the middle; the image is moved to the right by 1, 2 and 3 pixels.
Beside them stands the distance to the nearest training image *of another digit*.
"""


# %%
def shifted(x, num_pixels):
    images = x.reshape(-1, 28, 28)
    return F.pad(images, (num_pixels, 0))[..., :28].flatten(1)


def erased(x):
    images = x.reshape(-1, 28, 28).clone()
    images[:, 12:16, 12:16] = 0
    return images.flatten(1)


def squared_distance(a, b):
    return (a - b).square().sum(-1)


damage = {"4 x 4 erased": squared_distance(erased(x_test), x_test)}
for n in (1, 2, 3):
    damage[f"moved by {n}"] = squared_distance(shifted(x_test, n), x_test)
chosen = x_test[:1_000]
nearest = torch.cat(
    [
        torch.cdist(x, x_all).masked_fill(y @ y_all.T > 0, torch.inf).argmin(1)
        for x, y in zip(chosen.split(100), y_test[:1_000].split(100), strict=True)
    ]
)
damage["another digit"] = squared_distance(x_all[nearest], chosen)
for name, values in damage.items():
    run.record(
        "squared_distance_" + name.replace("4 x 4 ", "").replace(" ", "_"),
        values.mean(),
        unit="1",
        protocol=f"mean over {len(values):,} test images of the sum over pixels of "
        f"squared differences, grey values in [0, 1]: {name}",
        standard_error=standard_error(values),
    )

# %% tags=["check"]
white = shifted(torch.ones(1, 784), 2).reshape(28, 28)
checks.close("columns that come in are paper", white[:, :3].sum(0), [0, 0, 28])
checks.close(
    "a shift keeps what it does not push out",
    shifted(torch.arange(784.0)[None], 1).reshape(28, 28)[:, 1:],
    torch.arange(784.0).reshape(28, 28)[:, :-1],
)
if run.on_mnist and run.profile != "smoke":
    checks.ordered(
        "squared distance",
        {
            name: damage[name].mean()
            for name in (
                "4 x 4 erased",
                "moved by 1",
                "another digit",
                "moved by 2",
                "moved by 3",
            )
        },
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Test images, the same with a patch erased, moved by two pixels, and the nearest training image of another digit; above each picture its squared distance to the one at the left.", "name": "fig-vp-distance"}, "image": {"alt": "Three rows of four digits: the original, the same with a small hole, the same moved to the right, and a digit of another kind with a similar outline. The numbers show that the moved digit is the farthest away."}}
fig, axes = plt.subplots(3, 4, figsize=(5.6, 4.6))
# The first three whose middle is not empty.
hit = (damage["4 x 4 erased"] > 3).nonzero().flatten()[:3].tolist()
for row, i in zip(axes, hit, strict=True):
    original = chosen[i : i + 1]
    pictures = [
        original,
        erased(original),
        shifted(original, 2),
        x_all[nearest[i]][None],
    ]
    for ax, picture in zip(row, pictures, strict=True):
        plotting.image_grid(picture.cpu(), columns=1, ax=ax)
        distance = squared_distance(picture, original).item()
        ax.annotate(
            f"{distance:.0f}", (0.5, 1.02), xycoords="axes fraction", ha="center"
        )

# %% [markdown]
r"""
So to a Gaussian decoder a digit in the wrong place is a worse error than a wrong digit.
Distances between features that ignore small moves, such as those of a classifier, are the usual cure; {ref}`ex-vp-metric` builds a simpler one.

## Exercises

```{exercise-start} The best variance
:label: ex-vp-variance
```
The networks are given, and only $\sigma$ may change.
Write `best_std(vae, x)`, which maximises the mean ELBO over $\sigma$; draw one sample of $z$ for each image, with `torch.manual_seed(0)`.
Differentiate $-\lVert x - f \rVert^2 / (2 \sigma^2) - 392 \log \sigma^2$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def best_std(vae, x):
    return None


# %% tags=["check"]
def check_best_std(answer):
    vae, x = copy.deepcopy(gaussian["unit"]), centred_test[:500]
    std = answer(vae, x)
    if std is None:
        return print("not yet")
    values = {}
    for factor in (0.9, 1.0, 1.1):
        vae.head.log_std.data.fill_(math.log(factor * float(std)))
        torch.manual_seed(0)
        values[factor] = vae.elbo(x).mean().item()
    checks.at_least("nats lost at 0.9 times your value", values[1.0] - values[0.9], 1)
    checks.at_least("nats lost at 1.1 times your value", values[1.0] - values[1.1], 1)
    return print("right")


check_best_std(best_std)

# %% [markdown]
r"""
````{solution-start} ex-vp-variance
:class: dropdown
````
"""


# %% tags=["solution"]
@torch.no_grad()
def best_std(vae, x):
    torch.manual_seed(0)
    z = vae.posterior(x).rsample()
    return (x - vae.decoder(z)).square().mean().sqrt().item()


check_best_std(best_std)

# %% [markdown]
r"""
The derivative with respect to $\sigma^2$ is $\lVert x - f \rVert^2 / (2 \sigma^4) - 392 / \sigma^2$; it is zero at $\sigma^2 = \lVert x - f \rVert^2 / 784$, averaged over the images: the mean squared error of a pixel.
The KL term does not depend on $\sigma$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A gradient without noise
:label: ex-vp-landing
```
At the exact posterior the ELBO cannot be improved, yet its gradient for the encoder, estimated with samples of $\log w$, still scatters around zero.
Write `landing_loss(vae, x)`, minus $\log w$ of one sample, with the parameters of $q$ stopped in $\log q$ and not in $z$ {cite:p}`roeder2017`.
What is its gradient at the exact posterior?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def landing_loss(vae, x):
    return None


# %% tags=["check"]
def encoder_gradient(vae, loss):
    vae.zero_grad()
    loss.sum().backward()
    return torch.cat([p.grad.flatten() for p in vae.encoder.parameters()])


def check_landing(answer):
    if answer(exact_vae, x_few) is None:
        return print("not yet")
    noisy = encoder_gradient(exact_vae, -exact_vae.log_weights(x_few, 1)[0])
    checks.at_least("largest component, ordinary gradient", noisy.abs().max(), 1.0)
    quiet = encoder_gradient(exact_vae, answer(exact_vae, x_few))
    checks.at_most("largest component, your gradient", quiet.abs(), 1e-8)
    draws = [encoder_gradient(worse, answer(worse, x_few)) for _ in range(200)]
    usual = [
        encoder_gradient(worse, -worse.log_weights(x_few, 1)[0]) for _ in range(200)
    ]
    difference = torch.stack(draws) - torch.stack(usual)
    # Biases of the means and of the log standard deviations, whose noise is largest.
    checks.unbiased(
        "your gradient minus the usual one", difference[:, -16:], [0.0] * 16
    )
    return print("right")


check_landing(landing_loss)

# %% [markdown]
r"""
````{solution-start} ex-vp-landing
:class: dropdown
````
"""


# %% tags=["solution"]
def landing_loss(vae, x):
    q = vae.posterior(x)
    z = q.rsample()
    stopped = Normal(q.mean.detach(), q.stddev.detach())
    log_joint = vae.likelihood(z).log_prob(x).sum(-1) + PRIOR.log_prob(z).sum(-1)
    return -(log_joint - stopped.log_prob(z).sum(-1))


check_landing(landing_loss)

# %% [markdown]
r"""
What is left out is $\nabla_\phi \log q_\phi(z)$ at fixed $z$, whose expectation under $q$ is zero: it is the gradient of $\int q$.
At the exact posterior $\log w = \log p(x)$ for every $z$; so its derivative along $z$ is zero, and with it the whole gradient, for each sample.
Equation {eq}`eq-vp-dreg` is the same idea for several samples.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A distance that forgives a small move
:label: ex-vp-metric
```
Write `forgiving(a, b)`, one number for each pair of images of shape (num_images, 784), in which an image moved by two pixels is nearer than the nearest training image of another digit.
The squared distance may stay; let one of the two images move.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def forgiving(a, b):
    return None


# %% tags=["check"]
def check_forgiving(answer):
    if answer(chosen, chosen) is None:
        return print("not yet")
    checks.close("distance of an image to itself", answer(chosen, chosen).sum(), 0.0)
    moved = answer(shifted(chosen, 2), chosen).mean().item()
    other = answer(x_all[nearest], chosen).mean().item()
    print(f"moved by 2: {moved:.4g}, another digit: {other:.4g}")
    checks.at_most("ratio of the two", moved / other, 1.0)
    return print("right")


check_forgiving(forgiving)

# %% [markdown]
r"""
````{solution-start} ex-vp-metric
:class: dropdown
````
"""


# %% tags=["solution"]
def forgiving(a, b, reach=2):
    images = F.pad(a.reshape(-1, 28, 28), (reach,) * 4)
    steps = range(2 * reach + 1)
    moved = [images[:, i : i + 28, j : j + 28].flatten(1) for i in steps for j in steps]
    return torch.stack([squared_distance(m, b) for m in moved]).min(0).values


check_forgiving(forgiving)

# %% [markdown]
r"""
The smallest distance over all moves by up to two pixels, in any direction.
A digit that was moved by two finds its way back, and pays only for what was pushed out of the picture; another digit stays another digit.
The measure knows one nuisance by name, and no other: turned, slanted or bolder digits are as far as before.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A classifier out of a generator
:label: ex-vp-classifier
```
By Bayes' rule $p(y \mid x) \propto p(x \mid y)\, p(y)$, and the conditional model bounds $\log p(x \mid y)$ for each $y$.
(For grey pixels the bound is minus the soft-BCE, which is all that is needed to compare labels.)
Write `classify(x)`, the label with the largest bound for each row of `x`, all labels equally likely before.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def classify(x):
    return None


# %% tags=["check"]
class KnownBounds:
    """Stands in for the network: ten pixels are the bounds of the ten labels."""

    def elbo(self, x, y):
        return (y * x[:, 300:310]).sum(-1)


def check_classify(answer):
    global conditional
    labels = answer(x_test[:1_000])
    if labels is None:
        return print("not yet")
    kept, conditional = conditional, KnownBounds()
    noise = torch.rand(50, 784, device=run.device)
    try:
        guess = answer(noise)
    finally:
        conditional = kept
    checks.close("the label with the largest bound", guess, noise[:, 300:310].argmax(1))
    right = (labels == y_test[:1_000].argmax(1)).float().mean().item()
    print(f"{right:.3f} of the labels are right")
    if run.on_mnist and run.profile != "smoke":
        checks.at_least("accuracy of the generator as a classifier", right, 0.85)
    return print("right")


check_classify(classify)

# %% [markdown]
r"""
````{solution-start} ex-vp-classifier
:class: dropdown
````
"""


# %% tags=["solution"]
@torch.no_grad()
def classify(x):
    bounds = [
        conditional.elbo(x, one_hot([digit]).expand(len(x), -1)) for digit in range(10)
    ]
    return torch.stack(bounds).argmax(0)


check_classify(classify)

# %% [markdown]
r"""
It was trained to draw, not to tell digits apart, and still it does so much better than chance.
An encoder that is told the wrong label finds a code as well as it can; what is left is the price of the lie.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. `VAE` holds the model and its bound; on probabilistic PCA, {eq}`eq-vp-ppca`, every sample returns the exact likelihood.
2. $\sigma^2$ is $\beta$, {eq}`eq-vp-beta`; {numref}`fig-vp-eigenvalues` tells beforehand what survives, and learning one number changes the pictures of {numref}`fig-vp-noise`.
3. The soft-BCE and the test likelihood stand on the [results page](../book/results.md) beside the published numbers; {numref}`fig-vp-bound` shows what more samples give.
4. Training by {eq}`eq-vp-iwae` is better in nats; {numref}`fig-vp-snr` shows what it does to the encoder, and {eq}`eq-vp-dreg` the cure.
5. {numref}`fig-vp-sheet` has ten digits from each of ten codes; the strokes of a row are alike.
6. A move by two pixels is farther than another digit ({numref}`fig-vp-distance`).

**What comes next:** a model without any likelihood, the generative adversarial network.

**Reading:** {cite:t}`kingma2014` and {cite:t}`rezende2014`, where it began; {cite:t}`kingma2019`, an introduction by the authors; {cite:t}`doersch2016` for the route that one of the sources takes; {cite:t}`burda2016` for importance weights; {cite:t}`rybkin2021` on the learned variance.
The errors of the sources are on the [errata page](../book/errata.md).
"""

# %%
run.finish()

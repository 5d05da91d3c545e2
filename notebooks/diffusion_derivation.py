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
# Diffusion as a hierarchical VAE: the full derivation

At the end of this lecture you will be able to

1. derive the bound of a diffusion model from that of a variational autoencoder, line by line, and check each line on a chain where everything is known;
2. say which step of the usual presentation is wrong, by how much, and what the right one is;
3. compute the posterior $q(x_{t-1} \mid x_t, x_0)$, and one loss in four forms: prediction of the data, of the noise, of the score, of $v$;
4. read the loss as a change of the signal-to-noise ratio, and learn the schedule that makes its estimate least noisy;
5. train the diffusion model of 2015 on binary sequences, and give its bound in bits beside the published one.

- **You need** [the ELBO](elbo.ipynb), conditional Gaussians; [score matching](score_matching.ipynb) for Tweedie's formula.
- **Sources:** {cite:t}`sohldickstein2015`, {cite:t}`ho2020`, {cite:t}`luo2022`, {cite:t}`kingma2021`.
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
from typing import NamedTuple

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.models.mixture import GaussianMixture

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_paths": (20_000, 200_000, 500_000),  # of the one-dimensional chains
    "num_bit_steps": (20, 100, 1_000),  # T of the binary chain
    "train_steps": (150, 4_000, 20_000),
    "batch_size": (256, 512, 1_024),
    "num_sequences": (500, 20_000, 20_000),  # for the bound, each at every t
}

# %%
run = dgm.start("diffusion_derivation", parameters=PARAMETERS)
P = run.parameters
# Chains of one number each, in double precision: nothing here but one network is large.
torch.set_default_dtype(torch.float64)

# %% [markdown]
r"""
## The problem in one picture

```{margin}
**In the sources.** Oslo, 30 April and 7 May, *Diffusion models, basics* and *Problems with probabilistic models*.
```

A **diffusion model** destroys data in many small steps of noise, and learns to undo one step.
The picture shows the first half: a digit $x_0$, and what is left of it as noise is mixed in.
The arrows below, from right to left, are the model.
"""


# %%
def chain(ax, labels, up, down, *, colours=("C0", "C1"), radius=0.2):
    """Nodes in a row; `up` and `down` name the arrows to the right and to the left."""
    for i, label in enumerate(labels):
        ax.add_patch(plt.Circle((i, 0), radius, facecolor="white", edgecolor="black"))
        ax.text(i, 0, label, ha="center", va="center", fontsize=12)
    for i, words in enumerate(zip(up, down, strict=True)):
        for word, colour, side in zip(words, colours, (1, -1), strict=True):
            if word:
                ends = (i + 0.5 - side * 0.4, i + 0.5 + side * 0.4)
                arc(ax, *ends, word, colour, height=0.42 * side)
    ax.set(xlim=(-0.45, len(labels) - 0.55), ylim=(-0.95, 0.95), aspect="equal")
    ax.axis("off")


def arc(ax, start, end, word, colour, *, height, foot=0.15):
    """A bent arrow between two places of the row, its name at the bend."""
    foot = math.copysign(foot, height)
    bend = 2 * (height - foot) / (start - end)
    ax.annotate(
        "",
        (end, foot),
        (start, foot),
        arrowprops=dict(
            arrowstyle="-|>",
            color=colour,
            linewidth=1.6,
            connectionstyle=f"arc3,rad={bend}",
        ),
    )
    height += math.copysign(0.14, height)
    ax.text(
        (start + end) / 2,
        height,
        word,
        color=colour,
        ha="center",
        va="center",
        fontsize=10,
    )


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A handwritten digit on its way to pure noise, and the chain of latent variables. The first picture is $x_0$, the last $x_T$; those between stand at even shares of the way, not at the $t$ of a circle. A picture is $\\cos\\varphi$ times the digit plus $\\sin\\varphi$ times noise, with $\\varphi$ from 0 to a right angle. Blue: q, fixed, adds noise. Orange: p, learned, takes it away.", "name": "fig-dd-chain"}, "image": {"alt": "Seven pictures in a row: a clear digit that turns grey, grainy, and at last into pure noise. Below, six circles named x 0 to x T, joined by blue arrows to the right named q and orange arrows to the left named p."}}
digit = torch.from_numpy(dgm.data.load_digits().vectors("train")[0]).double() * 2 - 1
fig, ax = plt.subplots(figsize=(7.2, 3.2))
names = ["$x_0$", "$x_1$", r"$\cdots$", "$x_t$", r"$\cdots$", "$x_T$"]
chain(ax, names, ["q"] * 5, [r"$p_\theta$"] * 5)
for part in torch.linspace(0, 1, 7):
    angle = part * math.pi / 2
    noisy = angle.cos() * digit + angle.sin() * torch.randn(784)
    picture = (noisy.reshape(28, 28) / 4 + 0.5).clamp(0, 1)
    place = 5 * part.item()
    extent = (place - 0.39, place + 0.39, 0.78, 1.56)
    ax.imshow(picture, extent=extent, vmin=0, vmax=1)
_ = ax.set(xlim=(-0.45, 5.45), ylim=(-0.75, 1.62))
# %% [markdown]
r"""
```{margin}
**A common mistake:** "unlike flows, the latent variable has the dimension of the data", as introductions to diffusion models say.
A flow, an invertible map from noise to data, has latents of that dimension too; the contrast is with variational autoencoders.
And what is *fixed* is the forward process only: the reverse one is learned.
```

We use these symbols, in code with the same names:

| symbol | in code | meaning |
|---|---|---|
| $x_0$, $x_t$ | `x0`, `xt` | data; data after $t = 1, \dots, T$ steps of noise |
| $\beta_t$, $\alpha_t = 1 - \beta_t$ | `betas[t - 1]` | variance added in step $t$; share of variance kept |
| $\bar\alpha_t = \prod_{s \le t} \alpha_s$ | `alphas_cumprod[t]` | kept since the start; $\bar\alpha_0 = 1$ |
| $\epsilon \sim \mathcal{N}(0, I)$ | `noise` | all the noise in $x_t$, as one draw |
| $q$ | `q_sample`, `q_posterior` | the forward process: no parameters |
| $p_\theta$ | | the model: the reverse process |
| $\mathrm{SNR}(t)$, $\lambda$ | `snr`, `lam` | signal-to-noise ratio $\bar\alpha_t / (1 - \bar\alpha_t)$; its logarithm |
| $\mu_q$, $\sigma_q^2(t)$ | `q_posterior` | mean, variance of $q(x_{t-1} \mid x_t, x_0)$ |
| $c_t$, $o_t$, $\tau_t^2$ | `Reverse` | slope, offset, variance of a linear model's step |
| $\hat x_0$, $\hat\epsilon$, $\hat s$, $\hat v$ | `x0_from_noise`, ... | predictions of data, noise, score, $v$ |
| $v$ | `v_of` | a mixture of noise and data, defined where it is used |
| $\mathrm{KL}_t$ | `four_losses` | divergence of step $t$, at one $x_t$ and $x_0$ |
| $a_t$, $b$ | `bit_table`, `BASE` | bits: share kept; probability of a 1 in noise |
| $K$, $\rho$ | `bound_in_bits` | bits: mean bound; share of valid samples |

Some letters serve twice, in sections far apart.
$z$ is a latent variable and later a distance from a maximum; $g$ a gain and later a third derivative; $\beta_t$, for bits, the probability that a bit is drawn anew.
$p$ and $r$ are two densities in the section on products.

Why go such a long way?
A family of densities that one can normalise and sample, such as Gaussians, is stiff; one that bends to any shape, $\phi(x) / Z$ with $\phi = e^{-E}$, has an unknown $Z$, a sum or integral over all states ([Boltzmann machines](boltzmann_machines.ipynb), [energy models](energy_models.ipynb)).
The figure shows both for one density with two humps.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Black: a density with two humps. Left: the Gaussian that fits it best; one knows everything about it. Right: exp(-E) with the energy E = 2x² - log cosh 4x + 1; it bends, but the area under it is Z, here 3.41, and not one. This Z is known by hand; that of a flexible energy is known only by a sum over all states.", "name": "fig-dd-tradeoff"}, "image": {"alt": "Two panels with the same black curve of two humps. Left, one broad bell in orange covers both humps and the valley between them. Right, an orange curve with two humps of the right shape stands well above the black one; divided by Z, dashed, it lies on it."}}
line = torch.linspace(-3, 3, 601)
two_humps = GaussianMixture(torch.ones(2) / 2, torch.tensor([[-1.0], [1.0]]), 0.5)
target = two_humps.log_prob(line[:, None]).exp()
weights = target / target.sum()
fit_mean, fit_var = weights @ line, weights @ (line - weights @ line) ** 2
bell = (-0.5 * (line - fit_mean) ** 2 / fit_var).exp()
bell = bell / (2 * math.pi * fit_var).sqrt()
# Any other constant in place of 1 gives another Z and the same density.
energy = 2 * line**2 - torch.log(torch.cosh(4 * line)) + 1
Z = torch.trapezoid((-energy).exp(), line)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True)
for ax in (left, right):
    ax.plot(line, target, "black", label="data")
    ax.set(xlabel="x")
left.plot(line, bell, "C1", label="Gaussian")
right.plot(line, (-energy).exp(), "C1", label="exp(-E)")
right.plot(line, (-energy).exp() / Z, "--", color="C1", label="exp(-E) / Z")
left.set(ylabel="density", ylim=(None, 2.3))
left.legend(loc="upper left")
_ = right.legend(loc="upper left")


# %% tags=["check"]
def distance(density):
    """KL(data || density) in nats, by a sum over the grid."""
    return (weights * (target / density).log()).sum()


# The humps are sampled as far as three, where 3e-5 of the area is cut off.
checks.close("data = exp(-E) / Z", (-energy).exp() / Z, target, rtol=1e-4)
checks.close("Z, by hand", Z, math.e * math.sqrt(math.pi / 2), rtol=1e-4)
checks.at_least("KL of the data from the best Gaussian, nats", distance(bell), 0.1)

# %% [markdown]
r"""
The way out of {cite:t}`sohldickstein2015` is a chain of many small steps that ends at the data: each step is a Gaussian, normalised by hand, and the flexibility comes from there being many.
How far this promise holds is checked below: what is exact, and what is a bound.
"""

# %% [markdown]
r"""
## A chain of latent variables

```{margin}
**In the sources.** Oslo, 7 May, *Mathematics of diffusion models*, with the first figure after it.
```

**A hierarchical VAE is a VAE whose latent variable has a latent variable.**
It is called **Markovian** if each level sees only the next one: the model goes down, the encoder goes up,

$$
\begin{aligned}
p(x, z_{1:T}) &= p(z_T)\, p(x \mid z_1) \prod_{t=2}^{T} p(z_{t-1} \mid z_t), \\
q(z_{1:T} \mid x) &= q(z_1 \mid x) \prod_{t=2}^{T} q(z_t \mid z_{t-1}) .
\end{aligned}
$$ (eq-dd-hvae)
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A Markovian hierarchical VAE. Blue: the encoder q, from the data x up to the last level. Orange: the model p, which draws the last level first and comes down.", "name": "fig-dd-hvae"}, "image": {"alt": "Five circles in a row: x, z 1, z 2, dots, z T. Blue arrows above lead from each circle to the next on the right, named q of z 1 given x, q of z 2 given z 1 and so on. Orange arrows below lead back to the left, named p of x given z 1, p of z 1 given z 2 and so on. One more orange arrow, named p of z T, enters z T from the right."}}
fig, ax = plt.subplots(figsize=(7.2, 2.4))
names = ["$x$", "$z_1$", "$z_2$", r"$\cdots$", "$z_T$"]
up = ["$q(z_1|x)$", "$q(z_2|z_1)$", "$q(z_3|z_2)$", "$q(z_T|z_{T-1})$"]
down = ["$p(x|z_1)$", "$p(z_1|z_2)$", "$p(z_2|z_3)$", "$p(z_{T-1}|z_T)$"]
chain(ax, names, up, down)
ax.annotate(
    "", (4.2, 0), (4.7, 0), arrowprops=dict(arrowstyle="-|>", color="C1", lw=1.6)
)
ax.text(4.5, 0.16, "$p(z_T)$", color="C1", ha="center", fontsize=10)
_ = ax.set_xlim(-0.45, 4.8)

# %% [markdown]
r"""
```{margin}
The [lecture on the ELBO](elbo.ipynb) derives the same bound for one level, with its gap.
```

The bound is that of any latent variable model, with the whole path $z_{1:T}$ as the latent variable.
Insert $q / q$, read the integral as a mean over $q$, and use that the logarithm is concave (Jensen):

$$
\begin{aligned}
\log p(x) &= \log \int p(x, z_{1:T}) \, dz_{1:T} \\
&= \log \mathbb{E}_{q(z_{1:T} \mid x)} \frac{p(x, z_{1:T})}{q(z_{1:T} \mid x)} \\
&\ge \mathbb{E}_{q(z_{1:T} \mid x)} \log \frac{p(x, z_{1:T})}{q(z_{1:T} \mid x)} .
\end{aligned}
$$ (eq-dd-elbo)

To find the gap, put $p(x, z_{1:T}) = p(z_{1:T} \mid x)\, p(x)$ into the last line.
$\log p(x)$ does not depend on $z$ and leaves the mean, and what remains is

$$
-\mathrm{KL}\bigl(q(z_{1:T} \mid x) \,\Vert\, p(z_{1:T} \mid x)\bigr) .
$$

So the gap is that divergence, and it is zero exactly when the encoder is the posterior.
And nothing is lost by letting the encoder be Markovian: given $z_1$, the model makes $z_2$ independent of $x$; and so on, given $z_t$ everything below it tells nothing more of $z_{t+1}$.
The true posterior is then $p(z_1 \mid x) \prod_{t \ge 2} p(z_t \mid z_{t-1})$, a chain upwards.

```{margin}
The first equality is the definition of the marginal; the second needs $q > 0$ wherever $p(x, z) > 0$.
```

To check it we need a model whose posterior we know: each level a linear function of the next plus Gaussian noise.
One function holds all the Bayesian inference of this lecture.
Let $z \sim \mathcal{N}(m, \sigma_z^2)$ be hidden and $y \mid z \sim \mathcal{N}(g z, \sigma_y^2)$ be seen.
The density of $z$ given $y$ is proportional to the product of the two, as a function of $z$; its logarithm is the sum of the exponents,

$$
\begin{aligned}
&-\frac{(z - m)^2}{2 \sigma_z^2} - \frac{(y - g z)^2}{2 \sigma_y^2} \\
&\quad = -\frac{1}{2} \Bigl(\frac{1}{\sigma_z^2} + \frac{g^2}{\sigma_y^2}\Bigr) z^2
+ \Bigl(\frac{m}{\sigma_z^2} + \frac{g y}{\sigma_y^2}\Bigr) z + \text{const} .
\end{aligned}
$$

A Gaussian of mean $\mu$ and variance $u$ has the exponent $-\frac{(z - \mu)^2}{2 u} = -\frac{z^2}{2 u} + \frac{\mu}{u} z + \text{const}$: the factor of $-\frac{1}{2} z^2$ is $1 / u$, and the factor of $z$, times $u$, is the mean.
So $z \mid y$ is Gaussian with

$$
\begin{aligned}
\text{variance } u &= \Bigl(\frac{1}{\sigma_z^2} + \frac{g^2}{\sigma_y^2}\Bigr)^{-1}, \\
\text{mean } \mu &= u\, \Bigl(\frac{g}{\sigma_y^2}\, y + \frac{m}{\sigma_z^2}\Bigr) .
\end{aligned}
$$ (eq-dd-bayes)
"""


# %%
def log_normal(x, mean, var):
    """log N(x; mean, var) in nats, elementwise."""
    var = torch.as_tensor(var)
    return -0.5 * ((x - mean) ** 2 / var + torch.log(2 * math.pi * var))


def kl_normal(mean_q, var_q, mean_p, var_p):
    """KL(N(mean_q, var_q) || N(mean_p, var_p)) in nats, elementwise."""
    ratio = torch.as_tensor(var_q) / var_p
    return 0.5 * ((mean_q - mean_p) ** 2 / var_p + ratio - 1 - torch.log(ratio))


def bayes(mean, var, gain, noise_var):
    """E[z | y] = slope y + offset, for z ~ N(mean, var), y | z ~ N(gain z, noise_var).

    Returns: slope, offset, variance.
    """
    posterior_var = 1 / (1 / var + gain**2 / noise_var)
    return posterior_var * gain / noise_var, posterior_var * mean / var, posterior_var


# Two levels: z_2 ~ N(0, 1), z_1 | z_2 ~ N(0.8 z_2, 0.5), x | z_1 ~ N(1.5 z_1, 0.2).
var_z1 = 0.8**2 * 1.0 + 0.5
var_x = 1.5**2 * var_z1 + 0.2
encoders = bayes(0.0, var_z1, 1.5, 0.2), bayes(0.0, 1.0, 0.8, 0.5)


def hierarchical_elbo(x, stretch=1.0):
    """A draw of log p(x, z) - log q(z | x) for each x; `stretch` spoils q(z_1 | x)."""
    (slope_1, _, var_1), (slope_2, _, var_2) = encoders
    z1 = stretch * slope_1 * x + var_1**0.5 * torch.randn_like(x)
    z2 = slope_2 * z1 + var_2**0.5 * torch.randn_like(x)
    log_p = log_normal(z2, 0.0, 1.0) + log_normal(z1, 0.8 * z2, 0.5)
    log_p = log_p + log_normal(x, 1.5 * z1, 0.2)
    log_q = log_normal(z1, stretch * slope_1 * x, var_1)
    return log_p - log_q - log_normal(z2, slope_2 * z1, var_2)


# %% [markdown]
r"""
With the exact posterior the *log-ratio itself* is $\log p(x)$, in every draw, because $p(x, z) / q(z \mid x) = p(x)$ when $q$ is the posterior: it does not even vary.
With a spoiled encoder its mean is lower by the Kullback-Leibler divergence, which here sits in the first level alone.
"""

# %% tags=["check"]
z_grid = torch.linspace(-12, 12, 4001)
weight = (log_normal(z_grid, 0.7, 1.3) + log_normal(0.4, 1.5 * z_grid, 0.2)).exp()
weight = weight / weight.sum()
slope, offset, var = bayes(0.7, 1.3, 1.5, 0.2)
mean_on_grid = (weight * z_grid).sum()
checks.close("Bayes: mean", slope * 0.4 + offset, mean_on_grid, atol=1e-12)
var_on_grid = (weight * (z_grid - mean_on_grid) ** 2).sum()
checks.close("Bayes: variance", var, var_on_grid, atol=1e-12)

x = 2 * torch.randn(1000)
checks.close(
    "exact posterior: each draw of the log-ratio is log p(x)",
    hierarchical_elbo(x),
    log_normal(x, 0.0, var_x),
    atol=1e-11,
)
point = torch.tensor(1.2).expand(P.num_paths)
gap = kl_normal(
    0.8 * encoders[0][0] * 1.2, encoders[0][2], encoders[0][0] * 1.2, encoders[0][2]
)
checks.unbiased(
    "spoiled encoder: the ELBO is log p(x) - KL",
    hierarchical_elbo(point, stretch=0.8),
    log_normal(torch.tensor(1.2), 0.0, var_x) - gap,
)
checks.at_least("and that KL, in nats, is not small", gap, 0.1)

# %% [markdown]
r"""
```{margin}
Tolerances of exact checks come from double precision: about sixteen digits, less what a difference of near-equal numbers costs.
```

## Three restrictions make it a diffusion model

**A variational diffusion model is a Markovian hierarchical VAE with an encoder that learns nothing.**

1. All latents have the dimension of the data: write $x_0$ for $x$ and $x_t$ for $z_t$.
2. The encoder is a fixed Gaussian step, shrink and add noise, the same for every component:

$$
q(x_t \mid x_{t-1}) = \mathcal{N}\bigl(x_t;\ \sqrt{\alpha_t}\, x_{t-1},\ (1 - \alpha_t) I\bigr) .
$$ (eq-dd-forward)

3. The $\alpha_t$ are such that $q(x_T \mid x_0)$ is nearly $\mathcal{N}(0, I)$, whatever $x_0$ is; that is the prior $p(x_T)$.

```{margin}
**In the sources.** Oslo, 7 May, the last three figures, from {cite:t}`luo2022`, without text: this section and the next two.
```

Why $\sqrt{\alpha_t}$ and $1 - \alpha_t$: if $x_{t-1}$ has variance 1, so has $x_t$, since $\alpha_t \cdot 1 + 1 - \alpha_t = 1$.
Because the encoder is fixed, the bound {eq}`eq-dd-elbo` is a function of the parameters of $p_\theta$ alone.

We use two schedules.
The linear one {cite:p}`ho2020` has $\beta_t$ from $10^{-4}$ to $0.02$ in 1000 steps; for another $T$ it is scaled so that the total noise is about the same.
The cosine {cite:p}`nichol2021` prescribes $\bar\alpha_t$, and $\beta_t$ follows from $\bar\alpha_t = \alpha_t \bar\alpha_{t-1}$:

$$
\begin{aligned}
\bar\alpha_t &= \frac{f(t)}{f(0)}, \qquad
f(t) = \cos^2 \Bigl( \frac{\pi}{2}\, \frac{t / T + 0.008}{1.008} \Bigr), \\
\beta_t &= \min \Bigl( 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}},\ 0.999 \Bigr) .
\end{aligned}
$$ (eq-dd-cosine)

The offset $0.008$ keeps the first steps from being too small: without it $\beta_1$ would be less than a tenth of what it is.
The cap is needed at $t = T$, where $f$ is zero: $\bar\alpha_T$ would be zero as well, and $x_0$ could not be had from $x_T$ and the noise without dividing by it.
"""


# %% tags=["twin:dgm.models.diffusion.linear_betas"]
def linear_betas(num_steps):
    if num_steps <= 20:
        raise ValueError(
            f"num_steps: expected more than 20, so that beta_T < 1, got {num_steps}"
        )
    scale = 1000 / num_steps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=torch.float64)


# %% tags=["twin:dgm.models.diffusion.cosine_betas"]
def cosine_betas(num_steps, *, offset=0.008, largest=0.999):
    t = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    f = torch.cos(0.5 * math.pi * (t + offset) / (1 + offset)) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


# %% [markdown]
r"""
The table of $\bar\alpha_t$ has $T + 1$ entries and starts with $\bar\alpha_0 = 1$, so that its index is the $t$ of the equations.
The $\beta_t$ start at $t = 1$ and have $T$ entries: $\beta_t$ is `betas[t - 1]`, and no line of code counts otherwise.
"""


# %% tags=["twin:dgm.models.diffusion.alphas_cumprod_of"]
def alphas_cumprod_of(betas):
    return torch.cat([torch.ones_like(betas[:1]), torch.cumprod(1 - betas, dim=0)])


# %% [markdown]
r"""
A batch holds one step $t$ for each of its rows; `at_step` looks a table up and shapes the result so that it multiplies rows.
"""


# %% tags=["twin:dgm.models.diffusion.at_step"]
def at_step(table, t, like):
    values = table.to(like)[t]
    return values.reshape(-1, *[1] * (like.dim() - 1)) if values.dim() else values


# %% [markdown]
r"""
### Any number of steps is one step

Claim: for every $t \ge 1$,

$$
q(x_t \mid x_0) = \mathcal{N}\bigl(x_t;\ \sqrt{\bar\alpha_t}\, x_0,\ (1 - \bar\alpha_t) I\bigr) .
$$ (eq-dd-closed)

By induction.
For $t = 1$ it is {eq}`eq-dd-forward`, as $\bar\alpha_1 = \alpha_1$.
If it holds for $t - 1$, then with independent standard normal $\epsilon'$ and $\epsilon_t$

$$
\begin{aligned}
x_t &= \sqrt{\alpha_t}\, x_{t-1} + \sqrt{1 - \alpha_t}\, \epsilon_t \\
&= \sqrt{\alpha_t \bar\alpha_{t-1}}\, x_0
+ \sqrt{\alpha_t (1 - \bar\alpha_{t-1})}\, \epsilon' + \sqrt{1 - \alpha_t}\, \epsilon_t .
\end{aligned}
$$

The first factor is $\sqrt{\bar\alpha_t}$.
The two noises are independent and Gaussian, so their sum is Gaussian, and its variance is the sum $\alpha_t - \bar\alpha_t + 1 - \alpha_t = 1 - \bar\alpha_t$.
So a sample of $x_t$ costs one draw, whatever $t$:
"""


# %% tags=["twin:dgm.models.diffusion.q_sample"]
def q_sample(x0, t, noise, alphas_cumprod):
    kept = at_step(alphas_cumprod, t, x0)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


# %% [markdown]
r"""
The check composes the steps one after the other, scale and variance, for all $T = 1000$ of them, and compares with what `q_sample` does to $(x_0, \epsilon) = (1, 0)$ and $(0, 1)$.
"""

# %% tags=["check"]
betas, cosine = linear_betas(1000), cosine_betas(1000)
steps = torch.arange(1001)
for name, some_betas in (("linear", betas), ("cosine", cosine)):
    scale, variance = [1.0], [0.0]
    for beta in some_betas.tolist():
        scale.append(math.sqrt(1 - beta) * scale[-1])
        variance.append((1 - beta) * variance[-1] + beta)
    table = alphas_cumprod_of(some_betas)
    one, zero = torch.ones(1001), torch.zeros(1001)
    of_data, of_noise = (
        q_sample(one, steps, zero, table),
        q_sample(zero, steps, one, table),
    )
    checks.close(f"{name}: scale of x_0, all t", of_data, scale, atol=1e-12)
    checks.close(f"{name}: variance of the noise", of_noise**2, variance, atol=1e-12)
checks.close("linear, T = 1000: ends", betas[[0, -1]], [1e-4, 0.02], rtol=1e-12)
ends = linear_betas(250)[[0, -1]]
checks.close(
    "linear, T = 250: ends are four times that", ends, [4e-4, 0.08], rtol=1e-12
)
f = [math.cos(math.pi / 2 * (s / 1000 + 0.008) / 1.008) ** 2 for s in range(1000)]
checks.close(
    "cosine: alpha-bar of t < T is f(t) / f(0)",
    alphas_cumprod_of(cosine)[:-1],
    torch.tensor(f) / f[0],
    rtol=1e-10,
)
checks.at_most("cosine: largest beta", cosine, 0.999)
without = cosine_betas(1000, offset=0.0)[0] / cosine[0]
checks.at_most("cosine: first beta without the offset, over it", without, 0.1)
capped = (torch.tensor(f[1:]) / torch.tensor(f[:-1]) < 1 - 0.999).any().item()
checks.true("cosine: the cap acts at t = T alone", not capped and cosine[-1] == 0.999)
# %% tags=["check"]
batch = q_sample(
    torch.ones(3, 2, 2), torch.tensor([0, 7, 1000]), torch.zeros(3, 2, 2), table
)
expected = table[[0, 7, 1000]].sqrt()
linear = alphas_cumprod_of(betas)
late = (linear / (1 - linear) < 0.01).sum()
checks.close("linear: steps with a signal-to-noise ratio below 0.01", late, 326, atol=0)
crossings = [(alphas_cumprod_of(b) > 0.5).sum().item() - 1 for b in (betas, cosine)]
checks.close("last t at which signal exceeds noise", crossings, [259, 496], atol=0)
checks.close("each row has its own t", batch[:, 1, 0], expected, atol=1e-15)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Two schedules with 1000 steps, linear in blue and cosine in orange. Left: what is kept of the variance of the data. Right: signal-to-noise ratio; the linear schedule spends its last 326 steps below one hundredth. The cosine schedule leaves the frame at the end: its last value is 2.4e-9.", "name": "fig-dd-schedules"}, "image": {"alt": "Left, two curves fall from one to zero, the blue linear schedule early and the orange cosine schedule late. Right, the same as signal-to-noise ratios on a logarithmic axis, from ten thousand and more down to below one ten-thousandth; both cross one, the linear schedule near step 260 and the cosine near 500, and the cosine drops out of the frame at the last steps."}}
alphas_cumprod = alphas_cumprod_of(betas)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2))
for name, table in (("linear", alphas_cumprod), ("cosine", alphas_cumprod_of(cosine))):
    left.plot(table, label=name)
    right.semilogy(range(1, 1001), table[1:] / (1 - table[1:]), label=name)
left.set(xlabel="step t", ylabel=r"$\bar\alpha_t$")
left.legend()
right.set(xlabel="step t", ylabel="SNR(t)", ylim=(1e-6, 1e5))
_ = plotting.reference_line(right, 1.0, "signal = noise")
# %% [markdown]
r"""
Is the third restriction met?
The distance of $q(x_T \mid x_0)$ from the prior is a Kullback-Leibler divergence of two Gaussians.
In general that is

$$
\begin{aligned}
&\mathrm{KL}\bigl(\mathcal{N}(\mu_1, \sigma_1^2) \,\Vert\, \mathcal{N}(\mu_2, \sigma_2^2)\bigr) \\
&\quad = \frac{1}{2} \Bigl( \frac{(\mu_1 - \mu_2)^2}{\sigma_2^2} + \frac{\sigma_1^2}{\sigma_2^2} - 1 - \log \frac{\sigma_1^2}{\sigma_2^2} \Bigr),
\end{aligned}
$$ (eq-dd-kl)

and with $\mu_1 = \sqrt{\bar\alpha_T}\, x_0$, $\sigma_1^2 = 1 - \bar\alpha_T$, $\mu_2 = 0$, $\sigma_2^2 = 1$, for each component

$$
\tfrac{1}{2} \bigl( \bar\alpha_T x_0^2 - \bar\alpha_T - \log(1 - \bar\alpha_T) \bigr) .
$$ (eq-dd-prior)

At $x_0 = 1$ that is $2.0 \times 10^{-5}$ nats for the linear schedule and $1.2 \times 10^{-9}$ for the cosine.
It is a cost for each component, small beside the other terms, and one without parameters.
"""

# %% tags=["check"]
kept_T = alphas_cumprod[-1]
prior_kl = kl_normal(kept_T.sqrt(), 1 - kept_T, 0.0, 1.0)
by_formula = 0.5 * (kept_T * 1.0 - kept_T - torch.log1p(-kept_T))
checks.close("prior KL for each component, x_0 = 1", prior_kl, by_formula, atol=1e-15)
checks.close("prior KL, to two digits", prior_kl, 2.0e-5, atol=0.05e-5)
last = alphas_cumprod_of(cosine)[-1]
checks.close("cosine: SNR at T", last / (1 - last), 2.4e-9, atol=0.05e-9)
prior_kl = 0.5 * (last * 1.0 - last - torch.log1p(-last))
checks.close("cosine: prior KL, x_0 = 1", prior_kl, 1.2e-9, atol=0.05e-9)

# %% [markdown]
r"""
## The first bound, and the step that is wrong

**Write the bound as a sum over steps: a reconstruction, a prior term, and one term for each step between.**
Insert the chain into {eq}`eq-dd-elbo`.
Take the factor $t = 1$ out of the model's product and the factor $t = T$ out of the encoder's.
The model's factors that are left have $t = 2, \dots, T$; call their $t$ now $t + 1$, so that both products run over $t = 1, \dots, T - 1$ and their factors can be paired:

$$
\begin{aligned}
&\frac{p(x_{0:T})}{q(x_{1:T} \mid x_0)}
= \frac{p(x_T) \prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t)}{\prod_{t=1}^{T} q(x_t \mid x_{t-1})} \\
&\quad = p_\theta(x_0 \mid x_1) \cdot \frac{p(x_T)}{q(x_T \mid x_{T-1})}
\cdot \prod_{t=1}^{T-1} \frac{p_\theta(x_t \mid x_{t+1})}{q(x_t \mid x_{t-1})} .
\end{aligned}
$$ (eq-dd-regroup)

The logarithm of the product is a sum, and the mean over $q(x_{1:T} \mid x_0)$ of a term that contains only some of the $x_t$ is a mean over those:

$$
\begin{aligned}
\mathrm{ELBO}(x_0)
&= \mathbb{E}_{q(x_1 \mid x_0)} \log p_\theta(x_0 \mid x_1) \\
&\quad + \mathbb{E}_{q(x_{T-1}, x_T \mid x_0)} \log \frac{p(x_T)}{q(x_T \mid x_{T-1})} \\
&\quad + \sum_{t=1}^{T-1} \mathbb{E}_{q(x_{t-1}, x_t, x_{t+1} \mid x_0)} \log \frac{p_\theta(x_t \mid x_{t+1})}{q(x_t \mid x_{t-1})} .
\end{aligned}
$$ (eq-dd-first)

The three lines are called **reconstruction**, **prior matching** and **consistency**: at every $x_t$ two arrows meet, one of the encoder and one of the model.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A consistency term. The step of the encoder (blue) and the step of the model (orange) end in the same variable. The grey arrow is not part of the term, but $x_{t+1}$ was made from $x_t$ by it: the two are dependent.", "name": "fig-dd-consistency"}, "image": {"alt": "Three circles in a row, x t minus 1, x t, x t plus 1. A blue arrow named q leads from the left one to the middle one, an orange arrow named p theta from the right one to the middle one. A grey arrow leads from the middle one to the right one: q of x t plus 1 given x t."}}
fig, ax = plt.subplots(figsize=(5.2, 2.3))
names = ["$x_{t-1}$", "$x_t$", "$x_{t+1}$"]
chain(
    ax, names, ["$q(x_t|x_{t-1})$", ""], ["", r"$p_\theta(x_t|x_{t+1})$"], radius=0.24
)
_ = arc(ax, 1.1, 1.9, "$q(x_{t+1}|x_t)$", "grey", height=0.42)
# %% [markdown]
r"""
### A chain on which each line is a number

For Gaussian data in one dimension and a model with linear steps,

$$
p_\theta(x_{t-1} \mid x_t) = \mathcal{N}(x_{t-1};\ c_t x_t + o_t,\ \tau_t^2),
$$ (eq-dd-linear-model)

all the $x_t$ are jointly Gaussian, and every term above is the mean of the logarithm of a Gaussian density, so of a square, exact from means and covariances: the mean of a square is the square of the mean plus the variance.
From {eq}`eq-dd-closed`, $\mathbb{E}\, x_t = \sqrt{\bar\alpha_t}\, \mathbb{E}\, x_0$ and $\mathrm{Var}(x_t) = \bar\alpha_t \mathrm{Var}(x_0) + 1 - \bar\alpha_t$.
The same induction, begun at $x_s$, gives $x_t = \sqrt{\bar\alpha_t / \bar\alpha_s}\, x_s$ plus noise that is independent of $x_s$, for $s \le t$; so $\mathrm{Cov}(x_s, x_t) = \sqrt{\bar\alpha_t / \bar\alpha_s}\, \mathrm{Var}(x_s)$.
The *exact reverse* is Bayes' rule {eq}`eq-dd-bayes` applied to each step, from $q(x_T)$ on.
One step at a time is enough, because a Markov chain is one backwards as well: given $x_t$, what came before it is independent of what comes after.
So with $x_0$ drawn from the data the law of a whole path can be read in both directions,

$$
\begin{aligned}
q(x_{0:T}) &= q(x_0)\, q(x_{1:T} \mid x_0) \\
&= q(x_T) \prod_{t=1}^{T} q(x_{t-1} \mid x_t) .
\end{aligned}
$$ (eq-dd-both-ways)

If the second line is the model $p(x_{0:T})$, divide by $q(x_{1:T} \mid x_0)$: the ratio inside the bound is $q(x_0)$, the density of the data, on every path.

A second, imperfect model has its slopes off by a fifth and its variances off by a half.
"""


# %%
class Reverse(NamedTuple):
    """p(x_{t-1} | x_t) = N(slope[t] x_t + offset[t], var[t]); entry 0 is not used."""

    slope: torch.Tensor
    offset: torch.Tensor
    var: torch.Tensor
    end_mean: torch.Tensor  # of p(x_T)
    end_var: torch.Tensor


def forward_moments(mean0, var0, alphas_cumprod):
    """Mean and covariance matrix of (x_0, ..., x_T), for x_0 ~ N(mean0, var0)."""
    var = alphas_cumprod * var0 + 1 - alphas_cumprod
    t = torch.arange(len(alphas_cumprod))
    early, late = torch.minimum(t[:, None], t), torch.maximum(t[:, None], t)
    shrunk = (alphas_cumprod[late] / alphas_cumprod[early]).sqrt()
    return alphas_cumprod.sqrt() * mean0, shrunk * var[early]


def exact_reverse(mean0, var0, betas):
    """The forward process of data N(mean0, var0) reversed in time, from q(x_T) on."""
    mean, cov = forward_moments(mean0, var0, alphas_cumprod_of(betas))
    var = cov.diagonal()
    kernels = bayes(mean[:-1], var[:-1], (1 - betas).sqrt(), betas)
    unused = torch.full((1,), torch.nan)
    return Reverse(*(torch.cat([unused, k]) for k in kernels), mean[-1], var[-1])


def expected_log_normal(mean, cov, i, j, slope, offset, var):
    """E log N(x_i; slope x_j + offset, var) for jointly Gaussian x: exact."""
    off = mean[i] - slope * mean[j] - offset
    spread = cov[i, i] - 2 * slope * cov[i, j] + slope**2 * cov[j, j]
    return -0.5 * ((off**2 + spread) / var + torch.log(2 * math.pi * var))


# %%
mean0, var0 = torch.tensor(0.5), torch.tensor(0.3)
short = cosine_betas(20)
right_model = exact_reverse(mean0, var0, short)
wrong_model = right_model._replace(
    slope=0.8 * right_model.slope, var=1.5 * right_model.var
)


# %%
def first_terms(x0, model, betas, var0=0.0):
    """The three lines of the first ELBO at x_0: two numbers and one for each t < T.

    With `var0`, their means over x_0 ~ N(x0, var0).
    """
    T, t = len(betas), torch.arange(1, len(betas))
    mean, cov = forward_moments(x0, var0, alphas_cumprod_of(betas))

    def log_p(i):  # E log p(x_i | x_{i+1})
        kernel = model.slope[i + 1], model.offset[i + 1], model.var[i + 1]
        return expected_log_normal(mean, cov, i, i + 1, *kernel)

    def log_q(i):  # E log q(x_i | x_{i-1})
        beta = betas[i - 1]
        return expected_log_normal(mean, cov, i, i - 1, (1 - beta).sqrt(), 0.0, beta)

    log_end = expected_log_normal(mean, cov, T, T, 0.0, model.end_mean, model.end_var)
    return log_p(0), log_end - log_q(T), log_p(t) - log_q(t)


# %%
def forward_paths(x0, betas):
    """Paths from the starts x0, step by step, shape (num_paths, T + 1)."""
    x = [x0]
    for beta in betas:
        x.append((1 - beta).sqrt() * x[-1] + beta.sqrt() * torch.randn_like(x0))
    return torch.stack(x, dim=1)


def path_terms(x, model, betas):
    """Each path's log p(x_{t-1} | x_t), log q(x_t | x_{t-1}), t >= 1, and log p(x_T)."""
    before, after = x[:, :-1], x[:, 1:]
    log_p = log_normal(
        before, model.slope[1:] * after + model.offset[1:], model.var[1:]
    )
    log_q = log_normal(after, (1 - betas).sqrt() * before, betas)
    return log_p, log_q, log_normal(x[:, -1], model.end_mean, model.end_var)


start = torch.tensor(1.3)
paths = forward_paths(start.expand(P.num_paths), short)
log_p, log_q, log_end = path_terms(paths, wrong_model, short)

# %% [markdown]
r"""
Three checks: the covariances against simulated paths; the regrouped sum {eq}`eq-dd-regroup` against the plain log-ratio, path by path; the exact terms against means over paths.
"""

# %% tags=["check"]
mean, cov = forward_moments(start, 0.0, alphas_cumprod_of(short))
centred = paths - mean
checks.unbiased("means of the x_t, given x_0", paths[:, 1:], mean[1:])
products = centred[:, [1, 3, 19]] * centred[:, [4, 9, 20]]
checks.unbiased("covariances", products, cov[[1, 3, 19], [4, 9, 20]])

plain = log_end + log_p.sum(1) - log_q.sum(1)
consistency = log_p[:, 1:] - log_q[:, :-1]  # p(x_t | x_{t+1}) over q(x_t | x_{t-1})
regrouped = log_p[:, 0] + (log_end - log_q[:, -1]) + consistency.sum(1)
checks.close("regrouped log-ratio, path by path", regrouped, plain, atol=1e-10)

reconstruction, prior, exact_consistency = first_terms(start, wrong_model, short)
checks.unbiased("reconstruction", log_p[:, 0], reconstruction)
checks.unbiased("prior matching", log_end - log_q[:, -1], prior)
checks.unbiased("consistency, t = 1 ... T - 1", consistency, exact_consistency)

# %% [markdown]
r"""
### The step that is wrong

```{margin}
**A common mistake:** the consistency term written as minus the mean KL divergence of $q(x_t \mid x_{t-1})$ from $p_\theta(x_t \mid x_{t+1})$.
It stands in {cite:t}`luo2022`, otherwise a clear derivation, and in notes that follow it.
```

The prior term may be written as a divergence.
Its mean is over two variables,

$$
q(x_{T-1}, x_T \mid x_0) = q(x_{T-1} \mid x_0)\, q(x_T \mid x_{T-1}),
$$

and the second has exactly the law that stands in the denominator, so that

$$
\begin{aligned}
&\mathbb{E}_{q(x_{T-1}, x_T \mid x_0)} \log \frac{p(x_T)}{q(x_T \mid x_{T-1})} \\
&\quad = - \mathbb{E}_{q(x_{T-1} \mid x_0)} \mathrm{KL}\bigl(q(x_T \mid x_{T-1}) \,\Vert\, p(x_T)\bigr) .
\end{aligned}
$$

It is tempting to do the same with the consistency term,

$$
\begin{aligned}
&- \mathbb{E}_{q(x_{t-1}, x_{t+1} \mid x_0)} \mathrm{KL}\bigl(q(x_t \mid x_{t-1}) \,\Vert\, p_\theta(x_t \mid x_{t+1})\bigr), \\
&\text{which is wrong.}
\end{aligned}
$$ (eq-dd-flawed)

The divergence averages over $x_t \sim q(x_t \mid x_{t-1})$ *with $x_{t+1}$ held fixed*, as if the two were independent given $x_{t-1}$.
They are not: $x_{t+1}$ is made from $x_t$.
What the product rule gives is a mean over the two outer variables of a mean over the inner one.
In the inner one $x_0$ may be dropped, because given $x_{t-1}$ nothing later looks at $x_0$:

$$
\mathbb{E}_{q(x_{t-1}, x_{t+1} \mid x_0)}\ \mathbb{E}_{q(x_t \mid x_{t-1},\, x_{t+1})}
\log \frac{p_\theta(x_t \mid x_{t+1})}{q(x_t \mid x_{t-1})},
$$ (eq-dd-consistency)

and here the law of the inner mean is not the one in the denominator: this is no divergence, and it may even be positive.
In one dimension we can say how wrong {eq}`eq-dd-flawed` is.
Both readings have the same law of the pair $(x_{t-1}, x_t)$ and the same law of the pair $(x_{t-1}, x_{t+1})$; only $x_t$ and $x_{t+1}$ together differ.
So $\log q(x_t \mid x_{t-1})$ has the same mean in both, and of $\log p_\theta$, which is $-(x_t - c\, x_{t+1} - o)^2 / 2 \tau^2$ plus a constant, all terms but one: the product $+ c\, x_t x_{t+1} / \tau^2$.
Given $x_{t-1}$, the mean of the product is the product of the means plus the covariance, and independence loses the covariance.
That is $\sqrt{\alpha_{t+1}} (1 - \alpha_t)$, because $x_{t+1} = \sqrt{\alpha_{t+1}}\, x_t$ plus independent noise, and $x_t$ has the variance $1 - \alpha_t$ given $x_{t-1}$.
So

$$
\text{right} - \text{flawed} = \frac{c_{t+1} \sqrt{\alpha_{t+1}}\, (1 - \alpha_t)}{\tau_{t+1}^2} .
$$ (eq-dd-flaw)

For every model that is any good the slope $c$ is positive, so the flawed term is too low.
And what it loses grows with $c$: its best slope is too small.
"""


# %%
def flawed_term(x0, t, model, betas, var0=0.0):
    """Minus the expected KL, x_{t-1} and x_{t+1} from q given x_0: exact."""
    mean, cov = forward_moments(x0, var0, alphas_cumprod_of(betas))
    keep, beta = (1 - betas[t - 1]).sqrt(), betas[t - 1]
    slope, offset, var = model.slope[t + 1], model.offset[t + 1], model.var[t + 1]
    # The KL at the mean values, and what the spread of its two means adds.
    at_means = kl_normal(keep * mean[t - 1], beta, slope * mean[t + 1] + offset, var)
    spread = keep**2 * cov[t - 1, t - 1] + slope**2 * cov[t + 1, t + 1]
    spread = spread - 2 * keep * slope * cov[t - 1, t + 1]
    return -(at_means + 0.5 * spread / var)


t = 8
flawed, correct = flawed_term(start, t, wrong_model, short), exact_consistency[t - 1]
lost = wrong_model.slope[t + 1] * (1 - short[t]).sqrt() * short[t - 1]
lost = lost / wrong_model.var[t + 1]

# Both by simulation: the flawed law draws x_t anew from x_{t-1}, and keeps x_{t+1}.
before, at, after = paths[:, t - 1], paths[:, t], paths[:, t + 1]
keep, beta = (1 - short[t - 1]).sqrt(), short[t - 1]
anew = keep * before + beta.sqrt() * torch.randn_like(before)
kernel_mean = wrong_model.slope[t + 1] * after + wrong_model.offset[t + 1]
right_draws, flawed_draws = (
    log_normal(x, kernel_mean, wrong_model.var[t + 1])
    - log_normal(x, keep * before, beta)
    for x in (at, anew)
)

# %% tags=["check"]
checks.unbiased("consistency term, t = 8: the expectation", right_draws, correct)
checks.unbiased("consistency term, t = 8: read as a divergence", flawed_draws, flawed)
checks.close("right minus flawed", correct - flawed, lost, atol=1e-12)
checks.at_least("it is no rounding error: nats in one step", correct - flawed, 0.1)
elbo_first = reconstruction + prior + exact_consistency.sum()
flawed_all = [flawed_term(start, t, wrong_model, short) for t in range(1, 20)]
elbo_flawed = reconstruction + prior + torch.stack(flawed_all).sum()
names = {"with divergences": elbo_flawed, "ELBO": elbo_first}
checks.ordered("the bound, summed over all steps", names)

# A step of much noise before one of little: minus a divergence could not be positive.
uneven = torch.tensor([0.6, 0.1, 0.9])
_, _, positive = first_terms(start, exact_reverse(mean0, var0, uneven), uneven)
checks.at_least("a consistency term may be positive", positive[0], 0.1)

# %% [markdown]
r"""
The flawed sum lies below the ELBO.
That alone would do no harm: a lower function may have its top at the same model.
This one has not, and a program that follows it ends at a model that is not the reverse process.
The figure shows it with the mean over the data: as a function of the slope of one kernel, the right term is largest at 0.856, the slope of the exact reverse, the flawed one at 0.729.
The difference can be had by hand: the mean of $-(x_t - c\, x_{t+1} - o)^2 / 2 \tau^2$ is a parabola in $c$ with the second derivative $-\mathbb{E}[x_{t+1}^2] / \tau^2$.
Taking a line of slope $\sqrt{\alpha_{t+1}} (1 - \alpha_t) / \tau^2$ away moves its top towards smaller $c$ by $\sqrt{\alpha_{t+1}} (1 - \alpha_t) / \mathbb{E}[x_{t+1}^2]$.
"""


# %%
def with_slope(slope, t=8):
    """The exact reverse with the slope of p(x_t | x_{t+1}) replaced."""
    slopes = right_model.slope.clone()
    slopes[t + 1] = slope
    return right_model._replace(slope=slopes)


slopes = torch.linspace(0.2, 1.4, 121)
models = [with_slope(slope) for slope in slopes]
right_curve, flawed_curve = (
    torch.stack(values)
    for values in (
        [first_terms(mean0, model, short, var0)[2][7] for model in models],
        [flawed_term(mean0, 8, model, short, var0) for model in models],
    )
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The consistency term at t = 8, averaged over the data, against the slope of the model's step, everything else exact. Blue: the expectation, which is right. Orange: the flawed divergence. Dashed: the slope of the exact reverse process. Points: the maxima, at 0.86 and 0.73.", "name": "fig-dd-flaw"}, "image": {"alt": "Two parabolas that open downwards. The blue one, the expectation, has its top on the dashed vertical line, the slope of the exact reverse; the orange one, the divergence, is lower and has its top at a smaller slope."}}
fig, ax = plt.subplots()
curves = {"expectation (right)": right_curve, "divergence (flawed)": flawed_curve}
for name, curve in curves.items():
    (line,) = ax.plot(slopes, curve, label=name)
    ax.plot(slopes[curve.argmax()], curve.max(), "o", color=line.get_color())
ax.axvline(right_model.slope[9], color="black", linestyle="--", linewidth=1)
ax.set(xlabel="slope of the model's step", ylabel="consistency term (nats)")
_ = ax.legend()


# %% tags=["check"]
def top(curve):
    """Where a parabola, known at three slopes, is largest."""
    at = [0, 60, 120]
    fit = torch.linalg.solve(torch.vander(slopes[at], 3), curve[at])
    return -fit[1] / (2 * fit[0])


mean, cov = forward_moments(mean0, var0, alphas_cumprod_of(short))
second_moment = cov[9, 9] + mean[9] ** 2
lost = (1 - short[8]).sqrt() * short[7] / second_moment
exact_slope = right_model.slope[9]
checks.close("right: best slope", top(right_curve), exact_slope, rtol=1e-9)
checks.close("flawed: best slope", top(flawed_curve), exact_slope - lost, rtol=1e-9)
both = torch.stack([top(right_curve), top(flawed_curve)])
checks.close("both, to three digits", both, [0.856, 0.729], atol=5e-4)

# %% [markdown]
r"""
## The second bound

**Condition the encoder on $x_0$, and its steps turn round.**
Given $x_{t-1}$, the step to $x_t$ does not look at $x_0$, so we may write it as a condition for free, and then use Bayes' rule. For $t \ge 2$,

$$
\begin{aligned}
q(x_t \mid x_{t-1}) &= q(x_t \mid x_{t-1}, x_0) \\
&= \frac{q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} .
\end{aligned}
$$ (eq-dd-trick)

(At $t = 1$ there is nothing to turn: $x_{t-1}$ is $x_0$ itself.)
In the product over $t$ the marginals telescope: each $q(x_t \mid x_0)$ with $2 \le t < T$ stands once above (in factor $t$) and once below (in factor $t + 1$); the one below in factor $2$, $q(x_1 \mid x_0)$, cancels the first factor; the one above in factor $T$ stays,

$$
\begin{aligned}
&\prod_{t=1}^{T} q(x_t \mid x_{t-1}) \\
&\quad = q(x_1 \mid x_0) \prod_{t=2}^{T} \frac{q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} \\
&\quad = q(x_T \mid x_0) \prod_{t=2}^{T} q(x_{t-1} \mid x_t, x_0) .
\end{aligned}
$$ (eq-dd-telescope)

This is a second factorisation of the same encoder, from $x_T$ down.
Divide the model by it: $p(x_T)$ stands over $q(x_T \mid x_0)$, each $p_\theta(x_{t-1} \mid x_t)$ with $t \ge 2$ over $q(x_{t-1} \mid x_t, x_0)$, and $p_\theta(x_0 \mid x_1)$ alone.
Take the logarithm and the mean:

$$
\begin{aligned}
&\mathrm{ELBO}(x_0) = \mathbb{E}_{q(x_1 \mid x_0)} \log p_\theta(x_0 \mid x_1) \\
&- \mathrm{KL}\bigl(q(x_T \mid x_0) \,\Vert\, p(x_T)\bigr) \\
&- \sum_{t=2}^{T} \mathbb{E}_{q(x_t \mid x_0)}
\mathrm{KL}\bigl(q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta(x_{t-1} \mid x_t)\bigr) .
\end{aligned}
$$ (eq-dd-second)

This time reading the mean as a divergence is right, because

$$
q(x_{t-1}, x_t \mid x_0) = q(x_t \mid x_0)\, q(x_{t-1} \mid x_t, x_0) :
$$

with $x_t$ held fixed the law of $x_{t-1}$ is the one in the denominator, and the numerator knows of $x_t$ only.
The last line holds the **denoising matching** terms.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A denoising matching term. The encoder, told the data (green), and the model (orange) both step from $x_t$ to the one before. The two green arrows are one law, $q(x_{t-1} \\mid x_t, x_0)$: it looks at both ends, the model at $x_t$ alone.", "name": "fig-dd-matching"}, "image": {"alt": "Four circles: x 0, dots, x t minus 1, x t. An orange arrow p theta leads below from x t to x t minus 1, a short green arrow above does the same, and a long green arc from x 0 ends at the same place: the two together are q given x t and x 0."}}
fig, ax = plt.subplots(figsize=(6.0, 2.7))
names = ["$x_0$", r"$\cdots$", "$x_{t-1}$", "$x_t$"]
chain(ax, names, [""] * 3, ["", "", r"$p_\theta(x_{t-1}|x_t)$"], radius=0.24)
arc(ax, 2.9, 2.15, "", "C2", height=0.5, foot=0.2)
arc(ax, 0.05, 1.95, "$q(x_{t-1}|x_t, x_0)$", "C2", height=0.75, foot=0.24)
_ = ax.set_ylim(-0.95, 1.2)


# %%
def posterior_of(x0, betas):
    """Slopes, offsets and variances of q(x_{t-1} | x_t, x_0), t = 2 ... T, by Bayes."""
    kept = alphas_cumprod_of(betas)[1:-1]  # of x_{t-1}
    return bayes(kept.sqrt() * x0, 1 - kept, (1 - betas[1:]).sqrt(), betas[1:])


def second_terms(x0, model, betas):
    """The three lines of the second ELBO at x_0: two numbers, one for each t > 1."""
    mean, cov = forward_moments(x0, 0.0, alphas_cumprod_of(betas))
    kernel = model.slope[1], model.offset[1], model.var[1]
    reconstruction = expected_log_normal(mean, cov, 0, 1, *kernel)
    prior = -kl_normal(mean[-1], cov[-1, -1], model.end_mean, model.end_var)
    slope, offset, var = posterior_of(x0, betas)
    xt, spread = mean[2:], cov.diagonal()[2:]
    at_mean = kl_normal(
        slope * xt + offset, var, model.slope[2:] * xt + model.offset[2:], model.var[2:]
    )
    # The means differ by a linear function of x_t, whose spread adds to its square.
    added = 0.5 * (slope - model.slope[2:]) ** 2 * spread / model.var[2:]
    return reconstruction, prior, -(at_mean + added)


# %% [markdown]
r"""
Line by line again: {eq}`eq-dd-trick` at simulated points; {eq}`eq-dd-telescope` path by path; both bounds, exact.
And with the exact reverse process the bound is $\log p(x_0)$, by {eq}`eq-dd-both-ways`.
"""

# %% tags=["check"]
mean, cov = forward_moments(start, 0.0, alphas_cumprod_of(short))
slope, offset, var = posterior_of(start, short)
log_turned = log_normal(paths[:, 1:-1], slope * paths[:, 2:] + offset, var)
log_marginal = log_normal(paths[:, 1:], mean[1:], cov.diagonal()[1:])
checks.close(
    "Bayes' rule given x_0, t = 2 ... T",
    log_q[:, 1:],
    log_turned + log_marginal[:, 1:] - log_marginal[:, :-1],
    atol=1e-10,
)
checks.close(
    "telescoped product, path by path",
    log_marginal[:, -1] + log_turned.sum(1),
    log_q.sum(1),
    atol=1e-10,
)
for name, model in (("exact", right_model), ("imperfect", wrong_model)):
    first, second = first_terms(start, model, short), second_terms(start, model, short)
    first, second = (a + b + c.sum() for a, b, c in (first, second))
    checks.close(f"{name} reverse: both bounds agree", second, first, atol=1e-11)
turned = log_p[:, 1:] - log_turned
checks.unbiased("denoising terms", turned, second_terms(start, wrong_model, short)[2])
log_data = log_normal(start, mean0, var0)
elbo = sum(term.sum() for term in second_terms(start, right_model, short))
checks.close("exact reverse: ELBO = log p(x_0)", elbo, log_data, atol=1e-11)

# %% [markdown]
r"""
### Which of the two is less noisy

Training does not sum over all $t$: a step uses one random $t$ for each example and multiplies by the number of terms.
"The second bound has the lower variance" is then true, here at the exact reverse by a wide margin.
It is not true of the sum over a whole path.
With the exact reverse, the log-ratio of *every* path is $\log p(x_0)$ by {eq}`eq-dd-both-ways`, as it was for two levels.
So the first form has no variance at all, while the sum of the divergences still depends on the $x_t$.
"""


# %%
def one_of(terms):
    """One random column of each row, times the number of columns: estimates the sum."""
    pick = torch.randint(terms.shape[1], (len(terms), 1))
    return terms.shape[1] * terms.gather(1, pick)[:, 0]


def estimates(x, x0, model, betas):
    """Path sums and one-random-t estimates of both bounds, (num_paths,) each."""
    log_p, log_q, log_end = path_terms(x, model, betas)
    slope, offset, var = posterior_of(x0, betas)
    divergence = kl_normal(
        slope * x[:, 2:] + offset,
        var,
        model.slope[2:] * x[:, 2:] + model.offset[2:],
        model.var[2:],
    )
    _, prior, _ = second_terms(x0, model, betas)
    common = log_p[:, 0]
    first = log_p[:, 1:] - log_q[:, :-1]
    ends = log_end - log_q[:, -1]
    return {
        "first, one t": common + ends + one_of(first),
        "second, one t": common + prior - one_of(divergence),
        "first, all t": common + ends + first.sum(1),
        "second, all t": common + prior - divergence.sum(1),
    }


spreads = {}
for num_steps in (20, 200):
    some_betas = cosine_betas(num_steps)
    model = exact_reverse(mean0, var0, some_betas)
    some_paths = forward_paths(start.expand(P.num_paths // 10), some_betas)
    found = estimates(some_paths, start, model, some_betas)
    spreads[num_steps] = {name: value.std().item() for name, value in found.items()}
    for name, value in spreads[num_steps].items():
        print(f"T = {num_steps:3}, {name:13}: standard deviation {value:.3g} nats")

# %% tags=["check"]
checks.close("terms of one: the sum", one_of(torch.ones(9, 19)), torch.full((9,), 19.0))
terms = torch.arange(5.0).expand(P.num_paths, 5)
checks.unbiased("one random term, times five", one_of(terms), 10.0)
for num_steps, spread in spreads.items():
    ratio = spread["first, one t"] / spread["second, one t"]
    checks.at_least(f"T = {num_steps}: one t, first over second", ratio, 2.5)
    checks.at_most(f"T = {num_steps}: all t, first", spread["first, all t"], 1e-9)
    checks.at_least(f"T = {num_steps}: all t, second", spread["second, all t"], 0.1)
for name, value in found.items():
    if name != "first, all t":
        checks.unbiased(f"mean of the estimate: {name}", value, log_data)
noisiest = found["first, one t"]
error = noisiest.std() / len(noisiest) ** 0.5 / log_data.abs()
checks.at_least("first, one t: standard error over the mean", error, 0.5)
growth = {
    form: spreads[200][f"{form}, one t"] / spreads[20][f"{form}, one t"]
    for form in ("second", "first")
}
checks.ordered("growth of the noise from T = 20 to 200", {"none": 1.0, **growth})
log_p, log_q, _ = path_terms(some_paths, model, some_betas)
signs = (log_p[:, 1:] - log_q[:, :-1]).sign()
checks.at_least(
    "consistency terms of each sign: share", (signs > 0).double().mean(), 0.1
)
checks.at_least("and of the other", (signs < 0).double().mean(), 0.1)


# %%
def moments_of_divergences(num_steps):
    """E KL and E KL^2 of each t = 2 ... T, over x_t given x_0, at the exact reverse."""
    betas = cosine_betas(num_steps)
    model, kept = exact_reverse(mean0, var0, betas), alphas_cumprod_of(betas)[2:]
    slope, offset, var = posterior_of(start, betas)
    ratio = var / model.var[2:]
    # The difference of the means, over the model's deviation, is N(m, s2).
    m = (slope - model.slope[2:]) * kept.sqrt() * start + offset - model.offset[2:]
    m = m / model.var[2:].sqrt()
    s2 = (slope - model.slope[2:]) ** 2 * (1 - kept) / model.var[2:]
    fixed = 0.5 * (ratio - 1 - torch.log(ratio))
    square, fourth = m**2 + s2, m**4 + 6 * m**2 * s2 + 3 * s2**2
    return fixed + square / 2, fixed**2 + fixed * square + fourth / 4


moments = {T: moments_of_divergences(T) for T in (20, 200, 2000)}
for T, (mean, mean_square) in moments.items():
    print(
        f"T = {T:4}, sum over t: E KL {mean.sum():.3f}, E KL^2 {mean_square.sum():.3f}"
    )

# %% tags=["check"]
mean, mean_square = moments[20]
exact = -second_terms(start, right_model, short)[2]
checks.close("mean divergences, T = 20", mean, exact, atol=1e-12)
log_p, _, _ = path_terms(paths, right_model, short)
slope, offset, var = posterior_of(start, short)
divergence = kl_normal(
    slope * paths[:, 2:] + offset,
    var,
    right_model.slope[2:] * paths[:, 2:] + right_model.offset[2:],
    right_model.var[2:],
)
checks.unbiased("mean squares of the divergences", divergence**2, mean_square)
sums = [mean.sum() for mean, _ in moments.values()]
checks.close(
    "sums, T = 20, 200, 2000", torch.stack(sums), [2.37, 4.10, 5.37], atol=0.005
)
squares = [square.sum() for _, square in moments.values()]
rounded = [1.43, 1.14, 0.72]
checks.close("sums of squares", torch.stack(squares), rounded, atol=0.005)
first_three = moments[200][0][:3]
checks.close("T = 200: t = 2, 3, 4", first_three, [0.45, 0.29, 0.22], atol=0.005)
checks.ordered(
    "mean divergence of a step",
    {f"T = {T}": mean.mean() for T, (mean, _) in reversed(moments.items())},
)

# %% [markdown]
r"""
The noise of both estimates grows with $T$, that of the first faster.
Its mean, with one $t$, is so uncertain that the check above says little of it: one standard error is at least half of the number.

*The first form.*
Each consistency term is the logarithm of a ratio of two Gaussian densities at a random place.
That is half the difference of two squares of the size of one, and half the logarithm of the ratio of the variances, which vanishes with the step.
The squares do not: the term is of the size of one and of either sign, however small the step is.
The estimate multiplies one such term by the number of terms, so its noise grows like $T$.

*The second form.*
A divergence is never negative, and the mean over the steps shrinks as $T$ grows.
But the divergences sit at the clean end, 0.45, 0.29 and 0.22 nats at $t = 2, 3, 4$ for $T = 200$, and a random $t$ seldom hits that end.
Their sum even grows, 2.37, 4.10 and 5.37 nats for $T = 20$, 200 and 2000, as the first steps become smaller and more of them are close to the data.
The sum of their mean squares does not grow: 1.43, 1.14 and 0.72.
An estimate that draws one of $T - 1$ terms and multiplies it by $T - 1$ has $T - 1$ times that sum as its second moment, so its noise grows no faster than $\sqrt{T}$.

The second form is the one that is trained, for this reason.

## The posterior of one step

**Given the data, the way back is a Gaussian with a known mean and variance.**
Bayes' rule {eq}`eq-dd-bayes` with the prior $q(x_{t-1} \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_{t-1}}\, x_0, 1 - \bar\alpha_{t-1})$, the gain $\sqrt{\alpha_t}$ and the noise $1 - \alpha_t$ gives the precision, the inverse of the variance,

$$
\begin{aligned}
\frac{1}{\sigma_q^2(t)} &= \frac{1}{1 - \bar\alpha_{t-1}} + \frac{\alpha_t}{1 - \alpha_t} \\
&= \frac{1 - \alpha_t + \alpha_t - \bar\alpha_t}{(1 - \alpha_t)(1 - \bar\alpha_{t-1})},
\end{aligned}
$$

as $\alpha_t \bar\alpha_{t-1} = \bar\alpha_t$, so that

$$
\sigma_q^2(t) = \frac{(1 - \alpha_t)(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} .
$$ (eq-dd-posterior-var)

The mean is this variance times the two pulls; in the second line the variance is inserted and one factor of each pull cancels,

$$
\begin{aligned}
\mu_q(x_t, x_0) &= \sigma_q^2(t) \Bigl( \frac{\sqrt{\alpha_t}}{1 - \alpha_t}\, x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1 - \bar\alpha_{t-1}}\, x_0 \Bigr) \\
&= \frac{\sqrt{\alpha_t} (1 - \bar\alpha_{t-1})\, x_t + \sqrt{\bar\alpha_{t-1}} (1 - \alpha_t)\, x_0}{1 - \bar\alpha_t} .
\end{aligned}
$$ (eq-dd-posterior-mean)

At $t = 1$ the variance is zero and the mean is $x_0$: who knows the data need not guess.
"""


# %% tags=["twin:dgm.models.diffusion.q_posterior"]
def q_posterior(x0, xt, t, alphas_cumprod):
    kept, kept_before = (
        at_step(alphas_cumprod, t, x0),
        at_step(alphas_cumprod, t - 1, x0),
    )
    alpha = kept / kept_before
    beta = 1 - alpha
    mean = (alpha.sqrt() * (1 - kept_before) * xt + kept_before.sqrt() * beta * x0) / (
        1 - kept
    )
    return mean, beta * (1 - kept_before) / (1 - kept)


# %% [markdown]
r"""
We check it against the definition: on a fine grid of $x_{t-1}$, the product of the step $q(x_t \mid x_{t-1})$ and of $q(x_{t-1} \mid x_0)$, divided by its sum.
A sum over an even grid is exact to double precision for a Gaussian that the grid resolves.
"""


# %%
def posterior_on_grid(x0, xt, t, betas):
    """Mean, variance, grid and density of x_{t-1} given x_t and x_0, by sums."""
    kept_before = torch.prod(1 - betas[: t - 1])
    prior_mean, prior_std = kept_before.sqrt() * x0, (1 - kept_before).sqrt()
    reach = torch.linspace(-12, 12, 40_001)
    grid = prior_mean + prior_std * reach
    beta = betas[t - 1]
    log_joint = log_normal(xt, (1 - beta).sqrt() * grid, beta)
    log_joint = log_joint + log_normal(grid, prior_mean, prior_std**2)
    weights = torch.softmax(log_joint, 0)
    mean = weights @ grid
    return mean, weights @ (grid - mean) ** 2, grid, weights / (grid[1] - grid[0])


# %% tags=["check"]
x0 = torch.tensor(1.3)
for t in (2, 10, 300, 1000):
    xt = q_sample(x0, t, torch.tensor(-0.8), alphas_cumprod)
    mean, var = q_posterior(x0, xt, t, alphas_cumprod)
    grid_mean, grid_var, _, _ = posterior_on_grid(x0, xt, t, betas)
    # 1 - alpha, with alpha rounded, has a relative error of about 2e-16 / beta.
    lost = 1e-12 + 1e-15 / betas[t - 1].item()
    checks.close(f"posterior mean, t = {t}", mean, grid_mean, atol=lost)
    checks.close(f"posterior variance, t = {t}", var, grid_var, rtol=lost)
mean, var = q_posterior(x0, xt, 1, alphas_cumprod)
checks.close("t = 1: mean x_0", mean, x0, atol=1e-14)
checks.close("t = 1: no variance", var, 0.0, atol=1e-14)
steps = torch.arange(2, 1001)
_, variances = q_posterior(torch.zeros(999), torch.zeros(999), steps, alphas_cumprod)
checks.at_most("posterior variance over beta, t = 2 ... T", variances / betas[1:], 1)
checks.close("to three digits, at t = 2", (variances / betas[1:])[0], 0.455, atol=5e-4)
late = (variances / betas[1:])[98:]
checks.at_least("posterior variance over beta, t = 100 ... T", late, 0.98)
of_normal = exact_reverse(torch.tensor(0.0), torch.tensor(1.0), betas).var[1:]
checks.close(
    "data N(0, 1): variance of the step back is beta", of_normal, betas, rtol=1e-11
)
of_narrow = exact_reverse(mean0, var0, betas).var[2:]
checks.at_least(
    "data of variance 0.3: best variance over sigma_q^2", of_narrow / variances, 1
)
checks.at_most(
    "data of variance 0.3: best variance over beta", of_narrow / betas[1:], 1
)
# And by the equation of the next section, with the conditional variance of x_0.
kept, kept_before = alphas_cumprod[2:], alphas_cumprod[1:-1]
doubt = bayes(mean0, var0, kept.sqrt(), 1 - kept)[2]
by_formula = variances + kept_before * betas[1:] ** 2 / (1 - kept) ** 2 * doubt
checks.close("best variance, t = 2 ... T", by_formula, of_narrow, rtol=1e-10)

# %% [markdown]
r"""
The posterior variance is below $\beta_t$.
The latter is the variance of $x_{t-1}$ given $x_t$ alone if the data are $\mathcal{N}(0, 1)$: then $x_{t-1}$ has variance 1 as well, and {eq}`eq-dd-bayes` with the gain $\sqrt{\alpha_t}$ and the noise $1 - \alpha_t$ gives $(1 + \alpha_t / (1 - \alpha_t))^{-1} = \beta_t$.
At large $t$ the two are nearly equal, at small $t$ they are not, and there a sampler that takes one for the other adds the wrong noise.

### The same mean in three forms

Put $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$, which is {eq}`eq-dd-closed` solved for $x_0$, into {eq}`eq-dd-posterior-mean`.
Use $\sqrt{\bar\alpha_{t-1} / \bar\alpha_t} = 1 / \sqrt{\alpha_t}$, and $\alpha_t (1 - \bar\alpha_{t-1}) = \alpha_t - \bar\alpha_t$ over the common denominator; the factor of $x_t$ becomes

$$
\begin{aligned}
&\frac{\sqrt{\alpha_t} (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} + \frac{1 - \alpha_t}{(1 - \bar\alpha_t) \sqrt{\alpha_t}} \\
&\quad = \frac{\alpha_t - \bar\alpha_t + 1 - \alpha_t}{(1 - \bar\alpha_t) \sqrt{\alpha_t}} = \frac{1}{\sqrt{\alpha_t}},
\end{aligned}
$$

and that of $\epsilon$

$$
-\frac{1 - \alpha_t}{1 - \bar\alpha_t} \frac{\sqrt{1 - \bar\alpha_t}}{\sqrt{\alpha_t}}
= -\frac{1 - \alpha_t}{\sqrt{\alpha_t} \sqrt{1 - \bar\alpha_t}} :
$$

this is the first line of {eq}`eq-dd-three-means`.
For the second, the derivative of the exponent of {eq}`eq-dd-closed` is

$$
\begin{aligned}
\nabla_{x_t} \log q(x_t \mid x_0)
&= -\frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{1 - \bar\alpha_t} \\
&= -\frac{\epsilon}{\sqrt{1 - \bar\alpha_t}} .
\end{aligned}
$$ (eq-dd-score-of-q)

So

$$
\begin{aligned}
\mu_q &= \frac{1}{\sqrt{\alpha_t}} \Bigl( x_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon \Bigr) \\
&= \frac{1}{\sqrt{\alpha_t}} \bigl( x_t + (1 - \alpha_t)\, \nabla_{x_t} \log q(x_t \mid x_0) \bigr) .
\end{aligned}
$$ (eq-dd-three-means)

There is a fourth quantity to predict, $v = \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0$ {cite:p}`salimans2022`.
With an angle, $\sqrt{\bar\alpha_t} = \cos\varphi$ and $\sqrt{1 - \bar\alpha_t} = \sin\varphi$,

$$
\begin{aligned}
x_t &= \cos\varphi\; x_0 + \sin\varphi\; \epsilon, \\
v &= -\sin\varphi\; x_0 + \cos\varphi\; \epsilon :
\end{aligned}
$$

the pair $(x_t, v)$ is the pair $(x_0, \epsilon)$ turned by $\varphi$.
Turned back, $x_0 = \cos\varphi\; x_t - \sin\varphi\; v$, which divides by nothing.
"""


# %% tags=["twin:dgm.models.diffusion.x0_from_noise"]
def x0_from_noise(xt, noise, t, alphas_cumprod):
    kept = at_step(alphas_cumprod, t, xt)
    return (xt - (1 - kept).sqrt() * noise) / kept.sqrt()


# %% tags=["twin:dgm.models.diffusion.noise_of"]
def noise_of(xt, x0, t, alphas_cumprod):
    kept = at_step(alphas_cumprod, t, xt)
    return (xt - kept.sqrt() * x0) / (1 - kept).sqrt()


# %% tags=["twin:dgm.models.diffusion.v_of"]
def v_of(x0, noise, t, alphas_cumprod):
    kept = at_step(alphas_cumprod, t, x0)
    return kept.sqrt() * noise - (1 - kept).sqrt() * x0


# %% tags=["twin:dgm.models.diffusion.x0_from_v"]
def x0_from_v(xt, v, t, alphas_cumprod):
    kept = at_step(alphas_cumprod, t, xt)
    return kept.sqrt() * xt - (1 - kept).sqrt() * v


# %% tags=["check"]
t = torch.randint(2, 1001, (500,))
x0, noise = torch.randn(2, 500, 8)
xt = q_sample(x0, t, noise, alphas_cumprod)
# Dividing by sqrt(alpha-bar) = 0.006 or sqrt(1 - alpha-bar) = 0.01 costs two digits,
# and rounding 1 - alpha-bar four.
found = x0_from_noise(xt, noise, t, alphas_cumprod)
checks.close("x_0 from the noise", found, x0, atol=1e-11)
checks.close("noise from x_0", noise_of(xt, x0, t, alphas_cumprod), noise, atol=1e-11)
v = v_of(x0, noise, t, alphas_cumprod)
checks.close("x_0 from v", x0_from_v(xt, v, t, alphas_cumprod), x0, atol=1e-13)
lengths = (x0**2 + noise**2, xt**2 + v**2)
checks.close("(x_t, v) is (x_0, noise), turned: same length", *lengths, atol=1e-12)

x = xt.clone().requires_grad_(True)
kept = alphas_cumprod[t][:, None]
log_q_t = log_normal(x, kept.sqrt() * x0, 1 - kept).sum()
(score,) = torch.autograd.grad(log_q_t, x)
checks.close(
    "score of q(x_t | x_0), by autograd", score, -noise / (1 - kept).sqrt(), rtol=1e-9
)
mean, _ = q_posterior(x0, xt, t, alphas_cumprod)
beta = betas[t - 1][:, None]
from_noise = (xt - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()
from_score = (xt + beta * score) / (1 - beta).sqrt()
checks.close("mean from the noise", from_noise, mean, atol=1e-11)
checks.close("mean from the score", from_score, mean, atol=1e-11)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One denoising term, t = 60 of 1000 of the linear schedule. Green: q of the step before, told the data; points, by sums on a grid, line, the closed form. Orange: a model whose prediction of the data is off, with the same variance.", "name": "fig-dd-posterior"}, "image": {"alt": "Two bell curves of equal width next to each other. Points lie on the green one, the posterior; the orange one, the model, is shifted to the left. A vertical dashed line marks x t between the two tops."}}
x0, xt, t = torch.tensor(1.3), torch.tensor(0.7), 60
_, _, grid, density = posterior_on_grid(x0, xt, t, betas)
line = torch.linspace(0.3, 1.1, 400)
fig, ax = plt.subplots()
mean, var = q_posterior(x0, xt, t, alphas_cumprod)
ax.plot(line, log_normal(line, mean, var).exp(), "C2", label="$q(x_{t-1}|x_t, x_0)$")
inside = (grid > 0.3) & (grid < 1.1)
ax.plot(grid[inside][::60], density[inside][::60], ".", color="C2")
mean, _ = q_posterior(torch.tensor(-0.7), xt, t, alphas_cumprod)
ax.plot(line, log_normal(line, mean, var).exp(), "C1", label=r"$p_\theta(x_{t-1}|x_t)$")
ax.axvline(xt, color="black", linestyle="--", linewidth=1)
ax.annotate("$x_t$", (xt, 0.5), xytext=(4, 0), textcoords="offset points")
ax.set(xlabel="$x_{t-1}$", ylabel="density")
_ = ax.legend(loc="upper right")
# %% [markdown]
r"""
## One loss in four forms

**Give the model the same variance as the posterior, and each divergence is a weighted squared error: of the data, of the noise, of the score or of $v$.**
The chains with numbers so far had one component.
Data are vectors, but {eq}`eq-dd-forward` gives each component its own noise: given $x_0$ the components are independent, and {eq}`eq-dd-posterior-var` and {eq}`eq-dd-posterior-mean` hold for each of them: $q(x_{t-1} \mid x_t, x_0) = \mathcal{N}(\mu_q, \sigma_q^2 I)$.
For $t \ge 2$ the model is chosen to match, with a network in the mean and nothing else,

$$
p_\theta(x_{t-1} \mid x_t) = \mathcal{N}\bigl(x_{t-1};\ \mu_\theta(x_t, t),\ \sigma_q^2(t)\, I\bigr) .
$$ (eq-dd-model-step)

Write $\mathrm{KL}_t$ for the divergence of step $t$ at one $x_0$ and one $x_t$, without the mean over $x_t$ that the bound takes of it.
The logarithm of a density of independent components is a sum, so the divergence is the sum of those of the components.
In {eq}`eq-dd-kl` the ratio of the variances is 1 and its logarithm 0, and what is left is

$$
\begin{aligned}
\mathrm{KL}_t &= \mathrm{KL}\bigl(q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta(x_{t-1} \mid x_t)\bigr) \\
&= \frac{\lVert \mu_q - \mu_\theta \rVert^2}{2 \sigma_q^2} .
\end{aligned}
$$ (eq-dd-kl-t)

The variance is a choice and not a consequence: $\sigma_q^2$ is that for one known $x_0$, and the model knows $x_t$ only.
With the best mean, the best variance is the mean square of $x_{t-1}$ around it, for each component: what is left when $x_0$ is known, and what the doubt about $x_0$ adds through its factor in {eq}`eq-dd-posterior-mean`,

$$
\sigma_q^2 + \frac{\bar\alpha_{t-1} (1 - \alpha_t)^2}{(1 - \bar\alpha_t)^2}\, \mathbb{E}\, \mathrm{Var}(x_0 \mid x_t) .
$$ (eq-dd-best-variance)

It is at least $\sigma_q^2$.
And it is at most $\beta_t$, for components of variance at most 1.
The mean of the conditional variance is the error of the best guess of $x_0$, and so at most that of the best linear guess.
The latter depends on means and variances only, so it is that of Gaussian data: by {eq}`eq-dd-bayes`, $1 - \bar\alpha_t$ for variance 1 and less for less.
Inserted, that gives

$$
\frac{1 - \alpha_t}{1 - \bar\alpha_t} \bigl(1 - \bar\alpha_{t-1} + \bar\alpha_{t-1} (1 - \alpha_t)\bigr) = 1 - \alpha_t = \beta_t,
$$

as the bracket is $1 - \bar\alpha_t$.

The model knows $x_t$, so its mean is best written as {eq}`eq-dd-posterior-mean` with a prediction $\hat x_0 = \hat x_\theta(x_t, t)$ in place of $x_0$.
Whatever the network puts out, one prediction makes the three others, for the given $x_t$:

$$
\begin{aligned}
\hat\epsilon &= \frac{x_t - \sqrt{\bar\alpha_t}\, \hat x_0}{\sqrt{1 - \bar\alpha_t}}, \qquad
\hat s = -\frac{\hat\epsilon}{\sqrt{1 - \bar\alpha_t}}, \\
\hat v &= \sqrt{\bar\alpha_t}\, \hat\epsilon - \sqrt{1 - \bar\alpha_t}\, \hat x_0 .
\end{aligned}
$$ (eq-dd-predictions)

The truth, $x_0$, $\epsilon$, $\nabla \log q(x_t \mid x_0)$ and $v$, obeys the same relations with the same $x_t$.
Take differences, and $x_t$ cancels: from {eq}`eq-dd-posterior-mean` $\mu_q - \mu_\theta$ is $\sqrt{\bar\alpha_{t-1}} (1 - \alpha_t) / (1 - \bar\alpha_t)$ times $x_0 - \hat x_0$, the first line below; from {eq}`eq-dd-three-means` it is a factor times $\hat\epsilon - \epsilon$ or $\nabla \log q - \hat s$, the second and third; and $\hat x_0 - x_0 = -\sqrt{1 - \bar\alpha_t}\, (\hat v - v)$, as in `x0_from_v`, turns the first into the fourth.
This is for $t \ge 2$.
At $t = 1$, where $\sigma_q = 0$, the bound has no divergence but the reconstruction $\log p_\theta(x_0 \mid x_1)$, and the model needs a density of its own: for numbers a Gaussian about $\hat x_\theta(x_1, 1)$ with a variance above zero, such as $\beta_1$; for pixels of 256 values the share of that Gaussian that falls to each value.

$$
\begin{aligned}
\mathrm{KL}_t
&= \frac{1}{2 \sigma_q^2} \frac{\bar\alpha_{t-1} (1 - \alpha_t)^2}{(1 - \bar\alpha_t)^2}\, \lVert \hat x_0 - x_0 \rVert^2 \\
&= \frac{1}{2 \sigma_q^2} \frac{(1 - \alpha_t)^2}{\alpha_t (1 - \bar\alpha_t)}\, \lVert \hat\epsilon - \epsilon \rVert^2 \\
&= \frac{1}{2 \sigma_q^2} \frac{(1 - \alpha_t)^2}{\alpha_t}\, \lVert \hat s - \nabla_{x_t} \log q(x_t \mid x_0) \rVert^2 \\
&= \frac{1}{2 \sigma_q^2} \frac{\bar\alpha_{t-1} (1 - \alpha_t)^2}{1 - \bar\alpha_t}\, \lVert \hat v - v \rVert^2 .
\end{aligned}
$$ (eq-dd-four-losses)

The best prediction under any of the weights is the mean of the target given $x_t$: of all numbers $c$, the mean has the least $\mathbb{E} (c - Y)^2 = (c - \mathbb{E} Y)^2 + \mathrm{Var}(Y)$, and a weight that depends on $t$ alone does not move the minimum.
For the data that is $\mathbb{E}[x_0 \mid x_t]$; for the score it is $\nabla_{x_t} \log q(x_t)$, the score of the *noised data*: this is [denoising score matching](score_matching.ipynb).
Tweedie's formula

$$
\mathbb{E}[x_0 \mid x_t] = \frac{x_t + (1 - \bar\alpha_t)\, \nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}
$$

says that both are one function; that lecture proves and checks it.
"""


# %%
def four_losses(x0, noise, wrong_noise, t, alphas_cumprod):
    """KL_t from the means, and its four forms, one number for each example; t >= 2."""
    xt = q_sample(x0, t, noise, alphas_cumprod)
    wrong_x0 = x0_from_noise(xt, wrong_noise, t, alphas_cumprod)
    mean, var = q_posterior(x0, xt, t, alphas_cumprod)
    wrong_mean, _ = q_posterior(wrong_x0, xt, t, alphas_cumprod)

    kept, kept_before = alphas_cumprod[t], alphas_cumprod[t - 1]
    alpha = kept / kept_before
    common = (1 - alpha) ** 2 / (2 * var.flatten())
    std = (1 - kept).sqrt()[:, None]
    v, wrong_v = (
        v_of(a, b, t, alphas_cumprod) for a, b in ((x0, noise), (wrong_x0, wrong_noise))
    )

    def squared(a, b):
        return (a - b).square().sum(1)

    return {
        "means": squared(mean, wrong_mean) / (2 * var.flatten()),
        "x_0": common * kept_before / (1 - kept) ** 2 * squared(x0, wrong_x0),
        "noise": common / (alpha * (1 - kept)) * squared(noise, wrong_noise),
        "score": common / alpha * squared(-noise / std, -wrong_noise / std),
        "v": common * kept_before / (1 - kept) * squared(v, wrong_v),
    }


t = torch.arange(2, 1001).repeat(4)
x0, noise, wrong_noise = torch.randn(3, len(t), 16)
losses = four_losses(x0, noise, wrong_noise, t, alphas_cumprod)
for name, loss in losses.items():
    print(f"t = {t[498]}, by the {name:5}: {loss[498]:.8f} nats")

# %% tags=["check"]
reference = kl_normal(
    q_posterior(x0, q_sample(x0, t, noise, alphas_cumprod), t, alphas_cumprod)[0],
    variances[t - 2][:, None],
    (
        q_sample(x0, t, noise, alphas_cumprod)
        - betas[t - 1][:, None] * wrong_noise / (1 - alphas_cumprod[t][:, None]).sqrt()
    )
    / (1 - betas[t - 1][:, None]).sqrt(),
    variances[t - 2][:, None],
).sum(1)
for name, loss in losses.items():
    # 1 - alpha = 1e-4 is rounded at 1e-16: a relative error of 1e-12, a few times over.
    checks.close(f"{name}, all t: the divergence", loss, reference, rtol=1e-10)
spread = torch.stack([losses[name] for name in ("x_0", "noise", "score", "v")])
difference = run.record(
    "parameterisation_max_difference",
    (spread.amax(0) - spread.amin(0)).max(),
    unit="nats",
    protocol="largest difference of KL_t of an example between the x_0, noise, score "
    "and v forms, 4 random examples of 16 numbers at every t = 2 ... 1000, "
    "linear schedule",
)
checks.at_most("largest difference between the forms", difference, 1e-10)

# %% [markdown]
r"""
## The loss is a change of the signal-to-noise ratio

**With $\mathrm{SNR}(t) = \bar\alpha_t / (1 - \bar\alpha_t)$ the weight of the data form is half of what a step takes away.**
Insert {eq}`eq-dd-posterior-var` into the first line of {eq}`eq-dd-four-losses`, then use $\bar\alpha_{t-1} \alpha_t = \bar\alpha_t$, then add and subtract $\bar\alpha_t \bar\alpha_{t-1}$ above the line, then divide each product by what it shares with the denominator:

$$
\begin{aligned}
&\frac{\bar\alpha_{t-1} (1 - \alpha_t)^2}{2 \sigma_q^2 (1 - \bar\alpha_t)^2}
= \frac{1}{2} \frac{\bar\alpha_{t-1} (1 - \alpha_t)}{(1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)} \\
&\quad = \frac{1}{2} \frac{\bar\alpha_{t-1} - \bar\alpha_t}{(1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)} \\
&\quad = \frac{1}{2} \frac{\bar\alpha_{t-1} (1 - \bar\alpha_t) - \bar\alpha_t (1 - \bar\alpha_{t-1})}{(1 - \bar\alpha_{t-1})(1 - \bar\alpha_t)} \\
&\quad = \frac{1}{2} \bigl( \mathrm{SNR}(t - 1) - \mathrm{SNR}(t) \bigr) .
\end{aligned}
$$ (eq-dd-snr)

By {eq}`eq-dd-predictions`, $\hat\epsilon - \epsilon = -\sqrt{\bar\alpha_t}\, (\hat x_0 - x_0) / \sqrt{1 - \bar\alpha_t}$, so that $\lVert \hat\epsilon - \epsilon \rVert^2 = \mathrm{SNR}(t)\, \lVert \hat x_0 - x_0 \rVert^2$, and the weight in the noise form is $\frac{1}{2} (\mathrm{SNR}(t-1) / \mathrm{SNR}(t) - 1)$.
The **simple loss** of {cite:t}`ho2020` drops it,

$$
\begin{aligned}
L_\text{simple} &= \mathbb{E}_{t,\, x_0,\, \epsilon}\, \lVert \hat\epsilon_\theta(x_t, t) - \epsilon \rVert^2, \\
x_t &= \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,
\end{aligned}
$$ (eq-dd-simple)

with $t$ uniform on $1, \dots, T$, so that every step counts alike and $t = 1$ stands for the reconstruction.
It is no bound; it is the bound, re-weighted: it takes weight from the cleanest steps, and with the cosine schedule from the last ones as well.
Here no network learns it; [the lecture on digits](diffusion_mnist.ipynb) trains one and draws samples.
"""

# %% tags=["check"]
t = torch.arange(2, 1001)
snr = alphas_cumprod / (1 - alphas_cumprod)
kept, kept_before = alphas_cumprod[t], alphas_cumprod[t - 1]
alpha = 1 - betas[t - 1]
data_weight = kept_before * (1 - alpha) ** 2 / (2 * variances * (1 - kept) ** 2)
# Neighbouring SNRs differ by about one part in a hundred or more: that costs two
# digits, rounding 1 - alpha-bar = 1e-4 another four.
by_snr = 0.5 * (snr[t - 1] - snr[t])
checks.close("weight of the data form, all 999 steps", data_weight, by_snr, rtol=1e-10)
noise_weight = (1 - alpha) ** 2 / (2 * variances * alpha * (1 - kept))
by_ratio = 0.5 * (snr[t - 1] / snr[t] - 1)
checks.close("weight of the noise form", noise_weight, by_ratio, rtol=1e-10)
bound_weights = {}
for name, some_betas in (("linear", betas), ("cosine", cosine)):
    ratio = alphas_cumprod_of(some_betas)
    ratio = ratio / (1 - ratio)
    bound_weights[name] = 0.5 * (ratio[1:-1] / ratio[2:] - 1)
checks.close("as in the figure", bound_weights["linear"], noise_weight, rtol=1e-10)
for name, weights in bound_weights.items():
    first, last = (weights[[0, -1]] / weights.median()).tolist()
    checks.at_least(f"{name}: weight of t = 2 over the median", first, 50)
    if name == "cosine":
        checks.at_least(f"{name}: weight of t = T over the median", last, 1e5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Weights of the squared error of the noise in the bound, over their median, for two schedules with 1000 steps: linear in blue, cosine in orange. Dashed: the simple loss, which weighs all steps alike.", "name": "fig-dd-weights"}, "image": {"alt": "Two curves on a logarithmic axis against the step. Both start high, at the cleanest steps, about a hundred times the dashed line at one, and come down to it within a fifth of the steps. The blue linear schedule stays near one from there on; the orange cosine schedule rises steeply again at the last steps, to a hundred thousand."}}
fig, ax = plt.subplots()
for name, weights in bound_weights.items():
    ax.semilogy(range(2, 1001), weights / weights.median(), label=name)
ax.set(xlabel="step t", ylabel="weight, over its median")
ax.axhline(1.0, color="black", linestyle="--", linewidth=1)
ax.annotate("simple loss", (500, 1.0), xytext=(0, -20), textcoords="offset points")
ax.set_ylim(0.1, None)
_ = ax.legend(loc="upper center")
# %% [markdown]
r"""
### Many steps: the path does not matter

Let $T \to \infty$, with the two ends of the chain of divergences held fixed.
The sum runs over $t = 2, \dots, T$, as in {eq}`eq-dd-second`, so the signal-to-noise ratio falls from $\mathrm{SNR}_\text{first} = \mathrm{SNR}(1)$ at the clean end to $\mathrm{SNR}_\text{last} = \mathrm{SNR}(T)$ at the noisy one.
($\mathrm{SNR}(0)$ is infinite; $t = 1$ is the reconstruction, and no part of the sum.)
The sum of what each step takes away, times the error there, becomes an integral over the SNR, and with $\lambda = \log \mathrm{SNR}$ and $d\,\mathrm{SNR} = e^\lambda d\lambda$ one over the log-SNR,

$$
\begin{aligned}
&\tfrac{1}{2} \sum_{t=2}^{T} \bigl( \mathrm{SNR}(t-1) - \mathrm{SNR}(t) \bigr)\, \mathbb{E} \lVert \hat x_0 - x_0 \rVert^2 \\
&\quad \to \frac{1}{2} \int_{\mathrm{SNR}_\text{last}}^{\mathrm{SNR}_\text{first}} \mathbb{E} \lVert \hat x_0 - x_0 \rVert^2 \, d\,\mathrm{SNR} \\
&\quad = \frac{1}{2} \int_{\lambda_\text{last}}^{\lambda_\text{first}} e^\lambda\, \mathbb{E} \lVert \hat x_0 - x_0 \rVert^2 \, d\lambda .
\end{aligned}
$$ (eq-dd-continuous)

$x_t / \sqrt{\bar\alpha_t}$ is $x_0$ plus noise of variance $1 / \mathrm{SNR}$, so the error of a prediction made from that and from $\lambda$, as the best one is, depends on the step through $\lambda$ only.
The rest of the bound, the reconstruction and the prior term, looks at one end each.
So in the limit **the bound depends on the two ends of the schedule and not on the way between** {cite:p}`kingma2021`.
For Gaussian data $\mathcal{N}(m, \sigma_0^2)$ and the best prediction the error is the posterior variance, {eq}`eq-dd-bayes` with gain 1 and noise $1 / \mathrm{SNR}$: $(1 / \sigma_0^2 + \mathrm{SNR})^{-1}$.
Its antiderivative is $\log (1 / \sigma_0^2 + \mathrm{SNR})$, and the integral is $\frac{1}{2} \log \frac{1 + \sigma_0^2\, \mathrm{SNR}_\text{first}}{1 + \sigma_0^2\, \mathrm{SNR}_\text{last}}$.
For finite $T$ the sum takes the error at $x_t$, at the lower SNR of each step, where it is larger: an upper sum.
An upper sum falls when its grid is refined, as from 10 to 100 to 1000 steps below, where each grid contains the one before.
"""


# %%
def diffusion_loss(lambdas, error):
    """The sum before its limit, for falling log-SNRs; error is E |x0_hat - x0|^2."""
    snr = lambdas.exp()
    return 0.5 * ((snr[:-1] - snr[1:]) * error(lambdas[1:])).sum()


def gaussian_error(lambdas, s2=0.3):
    return 1 / (1 / s2 + lambdas.exp())


log_snr_ends = torch.tensor([6.0, -6.0])
s = torch.linspace(0, 1, 200_001)
ways = {
    "straight in log-SNR": lambda s: log_snr_ends[0] - 12 * s,
    "cosine": lambda s: -2 * torch.log(torch.tan(a_0 + (a_1 - a_0) * s)),
    "slow, then fast": lambda s: log_snr_ends[0] - 12 * s**2,
}
# The angle whose cotangent squared is the SNR, at both ends.
a_0, a_1 = torch.atan(torch.exp(-log_snr_ends / 2))
limit = 0.5 * torch.log(
    (1 + 0.3 * log_snr_ends[0].exp()) / (1 + 0.3 * log_snr_ends[1].exp())
)


# %% tags=["check"]
for name, way in ways.items():
    checks.close(f"{name}: ends", way(s)[[0, -1]], log_snr_ends, atol=1e-9)
    fine, half = (diffusion_loss(way(points), gaussian_error) for points in (s, s[::2]))
    # An upper sum of N steps errs by c / N: twice the fine one minus the coarse one is
    # free of that. The steps of log-SNR are below 4e-4, and what is left is of second
    # order in them.
    checks.close(f"{name}: the integral", 2 * fine - half, limit, atol=1e-6)
coarse = {
    f"T = {n}": diffusion_loss(
        ways["cosine"](torch.linspace(0, 1, n + 1)), gaussian_error
    )
    for n in (10, 100, 1000)
}
falling = {"limit": limit, **dict(reversed(coarse.items()))}
checks.ordered("more steps, lower loss", falling)

# %% [markdown]
r"""
### Learning the schedule

If the bound does not depend on the way, what is there to learn?
The noise of its estimate: draw one random time $s$, uniform in $[0, 1]$, for each example, and write $h = \frac{1}{2} e^{\lambda} \lVert \hat x_0 - x_0 \rVert^2$.
Then $d\lambda = \lambda'(s)\, ds$ makes $-\lambda'(s)\, h$ an estimate of {eq}`eq-dd-continuous`; its mean is fixed, and its second moment is

$$
\begin{aligned}
&\int_0^1 \lambda'(s)^2\, \mathbb{E}[h^2]_{\lambda(s)}\, ds \\
&\quad \ge \Bigl( \int_0^1 |\lambda'(s)| \sqrt{\mathbb{E}[h^2]_{\lambda(s)}}\, ds \Bigr)^2 \\
&\quad = \Bigl( \int_{\lambda_\text{last}}^{\lambda_\text{first}} \sqrt{\mathbb{E}[h^2]_\lambda}\ d\lambda \Bigr)^2 .
\end{aligned}
$$ (eq-dd-second-moment)

The inequality says that the mean of a square is at least the square of the mean, here over $s$; it is an equality where $|\lambda'| \sqrt{\mathbb{E}[h^2]}$ is the same at all times.
The last line does not know the schedule.
So **spend time where the loss is large**.
{cite:t}`kingma2021` learn a monotone network for $\lambda$ by following the gradient of the variance, and its two ends, which do change the bound, by following the bound.
Here the ends stay, and the lengths of 40 straight pieces are learned, as a softmax, which keeps them positive and their sum fixed.
The data are a mixture of three Gaussians, whose best prediction is known, so that $\mathbb{E}[h^2]$ is a sum over a grid and the right side of {eq}`eq-dd-second-moment` a number to reach.
"""

# %%
toy = GaussianMixture(
    torch.tensor([0.5, 0.3, 0.2]),
    torch.tensor([[-1.2], [0.4], [1.6]]),
    torch.tensor([0.1, 0.2, 0.1]),
)
normal_grid = torch.linspace(-6, 6, 61)
normal_weights = torch.softmax(-0.5 * normal_grid**2, 0)


def moments_of_loss(lam, law=toy):
    """E[h] and E[h^2] at log-SNR lam: sums over component, x_0 and noise."""
    kept = torch.sigmoid(lam)
    x0 = law.means + law.stds[:, None] * normal_grid
    xt = kept.sqrt() * x0[:, :, None] + (1 - kept).sqrt() * normal_grid
    guess = law.denoised(xt.reshape(-1, 1), kept.sqrt(), (1 - kept).sqrt())
    h = 0.5 * lam.exp() * (guess.reshape(xt.shape) - x0[:, :, None]) ** 2
    weights = law.weights[:, None, None] * normal_weights[:, None] * normal_weights
    return (weights * h).sum(), (weights * h**2).sum()


knots = torch.linspace(*log_snr_ends, 241)
table_h, table_h2 = torch.tensor([moments_of_loss(lam) for lam in knots]).T
step = (knots[0] - knots[1]).item()
bound_of_loss = torch.trapezoid(table_h, dx=step)
least_second_moment = torch.trapezoid(table_h2.sqrt(), dx=step) ** 2


def look_up(table, lam):
    """The table at log-SNRs `lam`, linear between its knots; keeps the gradient."""
    place = ((knots[0] - lam) / step).clamp(0, len(knots) - 1 - 1e-9)
    left = place.detach().floor().long()
    return table[left] + (place - left) * (table[left + 1] - table[left])


# %%
def along(lengths, points=20):
    """Log-SNRs inside pieces of equal time, of these lengths; |lambda'| of each."""
    starts = log_snr_ends[0] - torch.cumsum(lengths, 0) + lengths
    inside = (torch.arange(points) + 0.5) / points
    lam = starts[:, None] - lengths[:, None] * inside
    return lam, lengths[:, None] * len(lengths)


def second_moment(lengths):
    """Integral of lambda'^2 E[h^2] over time."""
    lam, speed = along(lengths)
    return (speed**2 * look_up(table_h2, lam)).mean()


def mean_loss(lengths):
    """Integral of |lambda'| E[h]: the bound, which must not depend on the pieces."""
    lam, speed = along(lengths)
    return (speed * look_up(table_h, lam)).mean()


# %%
num_pieces = 40
logits = torch.zeros(num_pieces, requires_grad=True)
optimizer = torch.optim.Adam([logits], lr=0.05)
history = []
for _ in range(400):
    lengths = 12 * torch.softmax(logits, 0)
    loss = second_moment(lengths)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
learned = 12 * torch.softmax(logits.detach(), 0)
a = a_0 + (a_1 - a_0) * torch.linspace(0, 1, num_pieces + 1)
cosine_lengths = 2 * torch.log(torch.tan(a)).diff()
straight = torch.full((num_pieces,), 12 / num_pieces)
variances_of = {
    name: (second_moment(lengths) - bound_of_loss**2).item()
    for name, lengths in (
        ("straight", straight),
        ("cosine", cosine_lengths),
        ("learned", learned),
    )
}
print({name: round(value, 3) for name, value in variances_of.items()})

# %% tags=["check"]
for name, lengths in (
    ("straight", straight),
    ("cosine", cosine_lengths),
    ("learned", learned),
):
    # The midpoint rule on pieces of a linear interpolation.
    checks.close(
        f"{name}: the bound stays", mean_loss(lengths), bound_of_loss, rtol=1e-3
    )
# Gaussian data: h is half of SNR times v, times the square of a standard normal number,
# with v the posterior variance; cutting normals at six costs less than 1e-6.
gaussian = GaussianMixture(torch.ones(1), torch.full((1, 1), 0.5), 0.3**0.5)
for lam in torch.tensor([-3.0, 0.0, 4.0]):
    factor = 0.5 * lam.exp() * gaussian_error(lam)
    found = torch.stack(moments_of_loss(lam, gaussian))
    known = torch.stack([factor, 3 * factor**2])
    checks.close(f"Gaussian data, log-SNR {lam}: E[h], E[h^2]", found, known, rtol=1e-6)
# %% tags=["check"]
squared_bound = (bound_of_loss**2).item()
least = least_second_moment.item()
checks.ordered(
    "second moments of the estimate",
    {
        "mean squared": squared_bound,
        "least": least,
        "learned": variances_of["learned"] + squared_bound,
        "straight": variances_of["straight"] + squared_bound,
        "cosine": variances_of["cosine"] + squared_bound,
    },
    slack=1e-3 * least,
)
checks.at_most("learned, over the least possible", history[-1] / least, 1.02)
rounded = torch.tensor([26.3, 41.0, 15.0, 14.8])
found = torch.tensor([*variances_of.values(), least - squared_bound])
checks.close("variances, as in the text", found, rounded, atol=0.05)
edge = log_snr_ends[1] + learned[-1]
checks.close("learned: where the last piece begins", edge, -2.6, atol=0.05)
loss_there = look_up(table_h2, edge).sqrt() / look_up(table_h2, log_snr_ends[1]).sqrt()
checks.at_least("root of E[h^2]: there, over the end", loss_there, 20)
information = 0.5 * (gaussian_error(knots) * knots.exp())
checks.close(
    "trapezoidal rule on these knots, Gaussian data",
    torch.trapezoid(information, dx=step),
    limit,
    rtol=1e-4,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Three ways from little to much noise: straight in blue, cosine in orange, learned in green. Left: log-SNR against time. Right: the root mean square of one estimate along the way, |lambda'| times the root of E[h squared]. The learned way makes it flat, close to the level that the inequality allows (dashed), up to its last piece.", "name": "fig-dd-learned"}, "image": {"alt": "Left, three falling curves of log-SNR against time: a blue straight line, an orange cosine that is steep at both ends, and a green learned one that stays long at high log-SNR and drops at the end. Right, the orange cosine has a high peak at the start; the blue straight way begins high, dips, has a hump at one third and falls to zero; the green learned way is flat, just above the dashed reference, and drops only at the very end."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.3))
time = torch.arange(num_pieces + 1) / num_pieces
for name, lengths in (
    ("straight", straight),
    ("cosine", cosine_lengths),
    ("learned", learned),
):
    lam = log_snr_ends[0] - torch.cat([torch.zeros(1), torch.cumsum(lengths, 0)])
    left.plot(time, lam, label=name)
    middle = 0.5 * (lam[1:] + lam[:-1])
    noise_level = lengths * num_pieces * look_up(table_h2, middle).sqrt()
    right.plot(0.5 * (time[1:] + time[:-1]), noise_level, label=name)
left.set(xlabel="time s", ylabel=r"log-SNR $\lambda$")
left.legend()
right.set(xlabel="time s", ylabel="root mean square (nats)", ylim=(0, None))
_ = plotting.reference_line(right, least**0.5, "least")

# %% [markdown]
r"""
The learned way is within two per cent of the least second moment that any way can have, and the bound has not moved.
What an estimate has of noise is the variance, the second moment less the square of the mean: 26.3 for the straight way, 41.0 for the cosine, 15.0 for the learned one, and 14.8 at least.
The learned curve falls off at the end because its last piece must reach from a log-SNR of about $-2.6$ to $-6$.
Along it the root of $\mathbb{E}[h^2]$ falls to less than a twentieth, and a piece has only one speed; so little is left there that it hardly matters.

## Four promises, tested

```{margin}
**In the sources.** Oslo, 30 April and 7 May, *Diffusion models* to *Diffusion learning*.
```

{cite:t}`sohldickstein2015` introduce diffusion models with four promises: that they are flexible, that samples from them are exact, that the likelihood is cheap to have, and that one can multiply by another distribution.
Each is true of one thing and untrue of another.
The first section below tests the first two: each step is a Gaussian, whatever the network in its mean can do, and sampling the steps is exact for the model and not for the data.
The second section is about the likelihood, the third about products.

### A Gaussian is the right kernel only for small steps

```{margin}
**A common mistake:** "exact sampling" without its object.
Running the chain backwards samples *the model* exactly; the model's Gaussian steps are those of the data process only as $\beta \to 0$.
```

**The true reverse step is a Gaussian in the limit of small steps, and we know how fast the rest dies.**
Backwards, Bayes' rule gives $q(x_{t-1} \mid x_t) \propto q(x_{t-1})\, q(x_t \mid x_{t-1})$.
As a function of $x_{t-1}$ the second factor has the exponent $-(x_t - \sqrt{\alpha_t}\, x_{t-1})^2 / 2 \beta_t$: a Gaussian window about $x_t / \sqrt{\alpha_t}$ with the variance $\omega = \beta_t / \alpha_t$.
So the kernel is the density of the noised data, seen through that window.

How far is the kernel from a Gaussian?
The Gaussian to compare with is the nearest.
In $\mathrm{KL}(q \,\Vert\, \mathcal{N}(\mu, u))$ only the mean of $-\log \mathcal{N}(x; \mu, u)$ depends on $\mu$ and $u$; it is $\frac{1}{2} \bigl( \mathbb{E}_q (x - \mu)^2 / u + \log u \bigr)$ plus a constant, least at the mean and variance of $q$.
So the best Gaussian has the mean and the variance of the kernel.

Expand the logarithm of the kernel about its top, with $z$ the distance from there; this asks of the data no more than that $\log q(x_{t-1})$ has a few derivatives.
The constant drops out in the normalisation.
There is no slope: at the top, that of $\log q$ and that of the window cancel.
The second derivatives add to $-1 / \sigma^2 = (\log q)'' - 1 / \omega$: a Gaussian with a variance $\sigma^2 \approx \omega$.
The first trace of anything else is the third derivative $g = (\log q)'''$, a factor $e^{g z^3 / 6} \approx 1 + g z^3 / 6$.
With $z = \sigma \xi$ and the Hermite polynomial $\mathrm{He}_3(\xi) = \xi^3 - 3 \xi$ it is

$$
1 + \frac{g \sigma^3}{6} \bigl( \mathrm{He}_3(\xi) + 3 \xi \bigr) .
$$

(The fourth derivative comes with $z^4$, so with $\sigma^4$ in place of $\sigma^3$; its square adds to the divergence at the order $\omega^4$ and is left out.)
The part with $\xi$ shifts the mean, and the best Gaussian shifts with it.
What is left is a density $\mathcal{N} \cdot (1 + \delta)$ with $\delta = g \sigma^3\, \mathrm{He}_3(\xi) / 6$.
Under $\mathcal{N}(0, 1)$ the mean of $\mathrm{He}_3$ times $1$, $\xi$ or $\xi^2$ is zero.
So the density integrates to one, $\mathbb{E}\, \delta = 0$, and its mean and variance are those of the Gaussian, as they should be.
Further,

$$
\mathbb{E}\, \mathrm{He}_3^2 = \mathbb{E}[\xi^6 - 6 \xi^4 + 9 \xi^2] = 15 - 18 + 9 = 6 .
$$

The divergence of such a density from $\mathcal{N}$ is, with $\log(1 + \delta) \approx \delta - \frac{1}{2} \delta^2$,

$$
\begin{aligned}
\mathbb{E}_{\mathcal{N}} (1 + \delta) \log (1 + \delta)
&\approx \mathbb{E}_{\mathcal{N}} \bigl( \delta + \tfrac{1}{2} \delta^2 \bigr) \\
&= \tfrac{1}{2} \mathbb{E}_{\mathcal{N}}\, \delta^2
= \frac{1}{2} \cdot \frac{g^2 \sigma^6}{36} \cdot 6 .
\end{aligned}
$$

With $\sigma^2 \approx \omega$, and the mean over $x_t$, whose law tends to that of $x_{t-1}$,

$$
\begin{aligned}
&\mathbb{E}\, \mathrm{KL}\bigl(q(x_{t-1} \mid x_t) \,\Vert\, \text{best Gaussian}\bigr) \\
&\quad \approx \frac{\omega^3}{12}\, \mathbb{E} \bigl[ (\log q)'''(x)^2 \bigr] .
\end{aligned}
$$ (eq-dd-gaussianity)

With $T$ steps of $\beta \sim 1 / T$ the sum is of the order $T \cdot T^{-3} = T^{-2}$: this is why many small steps are worth their price.
"""

# %%
two_bumps = GaussianMixture(torch.ones(2) / 2, torch.tensor([[-1.0], [1.0]]), 0.5)
y = torch.linspace(-5, 5, 4001)
log_p_y = two_bumps.log_prob(y[:, None])


def reverse_kernel(xt, beta, law=two_bumps, y=y):
    """q(x_{t-1} | x_t) on the grid y, a column for each x_t; log q(x_t)."""
    log_joint = log_normal(xt, (1 - beta) ** 0.5 * y[:, None], beta)
    log_joint = log_joint + law.log_prob(y[:, None])[:, None]
    log_q = torch.logsumexp(log_joint, 0) + (y[1] - y[0]).log()
    return torch.softmax(log_joint, 0), log_q


def non_gaussianity(beta, law=two_bumps, y=y):
    """E KL(q(x_{t-1} | x_t) || the Gaussian with its mean and variance), by sums."""
    xt = y[::10]
    kernel, log_q = reverse_kernel(xt, beta, law, y)
    mean = y @ kernel
    var = (kernel * (y[:, None] - mean) ** 2).sum(0)
    entropy = -torch.xlogy(kernel, kernel).sum(0) + (y[1] - y[0]).log()
    divergence = 0.5 * torch.log(2 * math.pi * math.e * var) - entropy
    return (torch.softmax(log_q, 0) * divergence).sum().item()


def summed_kl(num_steps):
    """The sum over T equal steps that shrink the data by 1 / e in all."""
    total, beta = 0.0, 1 - math.exp(-1 / num_steps)
    for t in range(num_steps):
        kept = math.exp(-t / num_steps)
        law = two_bumps.diffused(kept**0.5, (1 - kept) ** 0.5) if t else two_bumps
        total += non_gaussianity(beta, law, torch.linspace(-6, 6, 961))
    return total


# %%
x = y.clone().requires_grad_(True)
derivative = two_bumps.log_prob(x[:, None])
for _ in range(3):
    (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
third = (torch.softmax(log_p_y, 0) * derivative.detach() ** 2).sum().item()


def predicted(beta):
    return (beta / (1 - beta)) ** 3 * third / 12


some = [0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005]
kernel_kl = [non_gaussianity(beta) for beta in some]

# %% tags=["check"]
some_xt = y[1000:3001:100]
kernel, log_q = reverse_kernel(some_xt, 0.5)
scales = 0.5**0.5, 0.5**0.5
by_formula = two_bumps.diffused(*scales).log_prob(some_xt[:, None])
checks.close("law of x_t, by sums", log_q, by_formula, atol=1e-9)
by_formula = two_bumps.denoised(some_xt[:, None], *scales)[:, 0]
checks.close("mean of the kernel, by sums", y @ kernel, by_formula, atol=1e-9)
checks.ordered(
    "smaller step, smaller distance",
    {f"beta {b}": k for b, k in zip(some[::-1], kernel_kl[::-1], strict=True)},
)
ratios = [non_gaussianity(beta) / predicted(beta) for beta in (0.01, 0.005, 0.0025)]
# The ratio is 1 + c beta + O(beta^2): halving beta halves what is missing, and twice
# the finer minus the coarser is 1 up to the square of it.
missing = abs(ratios[1] - 1)
checks.close(
    "KL over its prediction, beta to 0", 2 * ratios[2] - ratios[1], 1.0, atol=missing**2
)
sums = [summed_kl(num_steps) for num_steps in (20, 40, 80)]
fall = [sums[0] / sums[1], sums[1] / sums[2]]
print(f"twice the steps: the sum falls by {fall[0]:.3f}, then {fall[1]:.3f}")
# Of order T^-2 the factor is 4 (1 + c / T + ...): twice the finer minus the coarser
# is free of c, and nearer to 4 than the finer.
checks.close(
    "twice the steps: factor, T to infinity",
    2 * fall[1] - fall[0],
    4.0,
    atol=4 - fall[1],
)
checks.close(
    "the first correction is linear in beta",
    (ratios[0] - 1) / (ratios[1] - 1),
    2.0,
    atol=4 * missing,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the true reverse kernel of data with two bumps for a large step (blue) and a small one (orange), at $x_t = 0.2$ (lines), and the Gaussian with its mean and variance (dashed, in the same colour). Right: their distance, averaged over $x_t$; dashed: the prediction for small steps.", "name": "fig-dd-kernel"}, "image": {"alt": "Left, for the large step a blue curve with two humps and a dashed bell that fits it badly; for the small step a narrow orange bell with the dashed one on top of it. Right, on double logarithmic axes for small beta the points lie on a dashed line of slope three; from a few hundredths on they stay below it, and level off near 0.2."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.3))
for beta, colour in ((0.7, "C0"), (0.05, "C1")):
    kernel = reverse_kernel(torch.tensor([0.2]), beta)[0][:, 0]
    mean = y @ kernel
    var = kernel @ (y - mean) ** 2
    left.plot(y, kernel / (y[1] - y[0]), color=colour, label=rf"$\beta$ = {beta}")
    left.plot(y, log_normal(y, mean, var).exp(), "--", color=colour, linewidth=1.2)
left.set(xlabel="$x_{t-1}$", ylabel="density", xlim=(-2.6, 2.6))
left.legend()
right.loglog(some, kernel_kl, "o")
small = torch.tensor(some[3:])
right.loglog(small, predicted(small), "--", color="black", linewidth=1)
_ = right.set(xlabel=r"$\beta$", ylabel="KL to the best Gaussian (nats)")
# %% [markdown]
r"""
### The joint density is analytic, the likelihood is a bound

```{margin}
**A common mistake:** "the full chain can be analytically evaluated", said of diffusion models as if it were of their likelihood.
```

**What one can evaluate for every model is the density of a whole path; the density of the data is an integral over paths.**
The gap of the bound is the divergence between the two laws of the path given $x_0$,

$$
\begin{aligned}
&\log p_\theta(x_0) - \mathrm{ELBO}(x_0) \\
&\quad = \mathrm{KL}\bigl(q(x_{1:T} \mid x_0) \,\Vert\, p_\theta(x_{1:T} \mid x_0)\bigr) .
\end{aligned}
$$ (eq-dd-gap)

Our linear chain is an exception in which the marginal is known, because means and covariances can be followed down: so the gap of an imperfect model can be computed twice.
At one $x_0$ the gap is the divergence {eq}`eq-dd-gap`; its mean over the data needs no more than three values of $x_0$, as the divergence of two Gaussians is quadratic in $x_0$ and the rule of Gauss and Hermite with three points is exact for that.
In general one has the bound, from $T$ calls of the network, or an exact likelihood by [the differential equation of the flow](score_sde.ipynb), which is the likelihood of another model.
"""


# %%
def model_moments(model):
    """Mean and covariance of (x_0, ..., x_T) under the model, from x_T down."""
    T = len(model.slope) - 1
    mean, cov = torch.zeros(T + 1), torch.zeros(T + 1, T + 1)
    mean[T], cov[T, T] = model.end_mean, model.end_var
    for t in range(T, 0, -1):
        mean[t - 1] = model.slope[t] * mean[t] + model.offset[t]
        cov[t - 1, t:] = cov[t:, t - 1] = model.slope[t] * cov[t, t:]
        cov[t - 1, t - 1] = model.slope[t] ** 2 * cov[t, t] + model.var[t]
    return mean, cov


def gap_by_paths(x0, model, betas):
    """KL(q(x_1 ... x_T | x_0) || p(x_1 ... x_T | x_0)), both multivariate Gaussians."""
    mean, cov = model_moments(model)
    pull = cov[1:, 0] / cov[0, 0]
    mean_p = mean[1:] + pull * (x0 - mean[0])
    cov_p = cov[1:, 1:] - pull[:, None] * cov[0, 1:]
    mean_q, cov_q = forward_moments(x0, 0.0, alphas_cumprod_of(betas))
    normal = torch.distributions.MultivariateNormal
    q, p = normal(mean_q[1:], cov_q[1:, 1:]), normal(mean_p, cov_p)
    return torch.distributions.kl_divergence(q, p)


gentle = right_model._replace(slope=0.97 * right_model.slope, var=1.1 * right_model.var)
for name, model in (
    ("exact", right_model),
    ("gentle", gentle),
    ("imperfect", wrong_model),
):
    mean, cov = model_moments(model)
    elbo = sum(term.sum() for term in second_terms(start, model, short))
    log_likelihood = log_normal(start, mean[0], cov[0, 0])
    print(f"{name:9}: log p(x_0) = {log_likelihood:.4f}, ELBO = {elbo:.4f} nats")

# %% tags=["check"]
for name, model in (("gentle", gentle), ("imperfect", wrong_model)):
    mean, cov = model_moments(model)
    elbo = sum(term.sum() for term in second_terms(start, model, short))
    gap = log_normal(start, mean[0], cov[0, 0]) - elbo
    checks.close(
        f"{name}: gap of the bound", gap, gap_by_paths(start, model, short), atol=1e-9
    )
    checks.at_least(f"{name}: gap", gap, 0.01)
    mean_elbo = sum(term.sum() for term in first_terms(mean0, model, short, var0))
    mean_log = expected_log_normal(
        mean0[None], var0[None, None], 0, 0, 0.0, mean[0], cov[0, 0]
    )
    nodes = mean0 + (3 * var0).sqrt() * torch.tensor([-1.0, 0.0, 1.0])
    gaps = torch.stack([gap_by_paths(x0, model, short) for x0 in nodes])
    mean_gap = torch.tensor([1.0, 4.0, 1.0]) / 6 @ gaps
    print(f"{name}: E log p(x_0) = {mean_log:.3f}, E ELBO = {mean_elbo:.3f} nats")
    checks.close(f"{name}: mean gap", mean_log - mean_elbo, mean_gap, atol=1e-9)
mean, cov = model_moments(right_model)
forward = forward_moments(mean0, var0, alphas_cumprod_of(short))
checks.close(
    "exact reverse: the covariances of the forward chain", cov, forward[1], atol=1e-12
)
checks.close("exact reverse: its means", mean, forward[0], atol=1e-12)

# %% [markdown]
r"""
### Multiplying by another distribution

```{margin}
**A common mistake:** guidance, the usual way to steer samples towards a class, explained as sampling from a product of two densities.
```

**To sample $p(x)\, r(x) / Z$ it is not enough to add the scores of the two at every noise level.**
At $t = 0$ the score of a product is the sum of the scores.
At $t > 0$ what is wanted is the score of the *noised product*, and noising is an integral: the noised product is not the product of the noised.
Take $p = \mathcal{N}(0, 1)$ and $r = \mathcal{N}(2, 1)$.
Their product is $\mathcal{N}(1, \frac{1}{2})$; at $\bar\alpha_t = \frac{1}{2}$ its noised version has the variance $\frac{1}{2} \cdot \frac{1}{2} + \frac{1}{2} = 0.75$.
Each factor, noised, keeps the variance 1, and the sum of their scores is that of a variance $0.5$.
"""

# %% tags=["check"]
p, r, product = (
    GaussianMixture(torch.ones(1), torch.full((1, 1), m), s)
    for m, s in ((0.0, 1.0), (2.0, 1.0), (1.0, 0.5**0.5))
)
points = torch.tensor([[-1.0], [2.0]])
summed = p.score(points) + r.score(points)
checks.close("t = 0: scores add", summed, product.score(points), atol=1e-14)
noised = [law.diffused(0.5**0.5, 0.5**0.5) for law in (p, r, product)]


def variance_of(score):  # of a Gaussian, from the slope of its score
    return -(points[1, 0] - points[0, 0]) / (score[1, 0] - score[0, 0])


summed = noised[0].score(points) + noised[1].score(points)
checks.close(
    "noised product: variance", variance_of(noised[2].score(points)), 0.75, atol=1e-14
)
checks.close(
    "summed scores of the noised: variance", variance_of(summed), 0.5, atol=1e-14
)

# %% [markdown]
r"""
**Guidance** forms such a sum on purpose, of $p(x \mid y)^{1 + w}\, p(x)^{-w}$: what that samples is measured in [the lecture on digits](diffusion_mnist.ipynb).
"""

# %% [markdown]
r"""
## The diffusion model of 2015: a binary heartbeat

**Nothing in the second bound is Gaussian: with bits in place of numbers the same derivation gives the model of 2015.**
The data of {cite:t}`sohldickstein2015` are sequences of 20 bits with a pulse every five; the phase of the pulse is uniform.
There are five such sequences, each with probability $1/5$: no model can have a mean log-likelihood above $-\log_2 5 = -2.3219$ bits.

The forward step keeps each bit with probability $1 - \beta_t$ and otherwise draws it anew, a 1 with probability $b = 0.2$:

$$
q(x_{t} = 1 \mid x_{t-1}) = (1 - \beta_t)\, x_{t-1} + b\, \beta_t .
$$ (eq-dd-bit-forward)

(Here and up to {eq}`eq-dd-bit-posterior`, $x_t$ is one bit of the sequence; then it is the sequence again, and $x_{t, i}$ its bit $i$.)

A bit survives all $t$ steps with probability $a_t = \prod_{s \le t} (1 - \beta_s)$; once redrawn it is a coin with $b$, and stays one if it is redrawn again, so that $q(x_t = 1 \mid x_0) = a_t x_0 + b (1 - a_t)$.
We take the schedule of 2015, $\beta_t = 1 / (T - t + 1)$, for which $1 - \beta_s = (T - s) / (T - s + 1)$ and the product telescopes to $a_t = 1 - t / T$: the same share of the bits is lost in each step, and at $T$ all.
Then $q(x_T \mid x_0)$ is independent coins with $b$; that is the prior $p(x_T)$, and the prior term is zero.

Given $x_0$ the bits go their ways independently, and each has two states, so Bayes' rule is a quotient for each bit,

$$
\begin{aligned}
&q(x_{t-1} = 1 \mid x_t, x_0) \\
&\quad = \frac{q(x_{t-1} = 1 \mid x_0)\, q(x_t \mid x_{t-1} = 1)}{\sum_{k = 0, 1} q(x_{t-1} = k \mid x_0)\, q(x_t \mid x_{t-1} = k)} .
\end{aligned}
$$ (eq-dd-bit-posterior)

The network sees the noisy sequence and $t$, and gives for each bit a probability $\pi_i$ that $x_{0, i} = 1$.
The model's step draws the bits independently, and for each averages the posterior over the two values of $x_{0, i}$,

$$
\begin{aligned}
&p_\theta(x_{t-1, i} = 1 \mid x_t) \\
&\quad = \pi_i\, q(x_{t-1, i} = 1 \mid x_{t, i}, x_{0, i} = 1) \\
&\quad + (1 - \pi_i)\, q(x_{t-1, i} = 1 \mid x_{t, i}, x_{0, i} = 0) .
\end{aligned}
$$ (eq-dd-bit-model)

The bound is {eq}`eq-dd-second`, with divergences of coins: of two products, the divergence is the sum over the bits.
The mean of the bound over the data, in bits, is called $K$.
At $t = 1$ the posterior is the data bit itself and the divergence is $-\log p_\theta(x_0 \mid x_1)$, so that one formula serves for all $t$.
"""

# %%
LENGTH, PERIOD, BASE = 20, 5, 0.2
pulses = (torch.arange(LENGTH) % PERIOD == torch.arange(PERIOD)[:, None]).double()


def bit_table(num_steps):
    """a_0 ... a_T of the schedule beta_t = 1 / (T - t + 1)."""
    return 1 - torch.arange(num_steps + 1) / num_steps


def bit_sample(x0, t, table):
    """A draw of q(x_t | x_0)."""
    kept = at_step(table, t, x0)
    return torch.bernoulli(kept * x0 + BASE * (1 - kept))


def bit_posterior(x0, xt, t, table):
    """q(x_{t-1} = 1 | x_t, x_0) of each bit."""
    kept_before = at_step(table, t - 1, x0)
    keep = at_step(table, t, x0) / kept_before  # 1 - beta_t

    def likelihood(k):  # q(x_t | x_{t-1} = k)
        on = keep * k + BASE * (1 - keep)
        return xt * on + (1 - xt) * (1 - on)

    before = kept_before * x0 + BASE * (1 - kept_before)
    on, off = before * likelihood(1.0), (1 - before) * likelihood(0.0)
    return on / (on + off)


# %%
def bit_step(probs, xt, t, table):
    """p(x_{t-1} = 1 | x_t) of each bit, from the probabilities of the data bits."""
    one, zero = torch.ones_like(xt), torch.zeros_like(xt)
    if_on, if_off = bit_posterior(one, xt, t, table), bit_posterior(zero, xt, t, table)
    return probs * if_on + (1 - probs) * if_off


def bit_divergence(probs, x0, xt, t, table):
    """KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) in nats, one for each row."""
    q, p = bit_posterior(x0, xt, t, table), bit_step(probs, xt, t, table)
    on, off = torch.xlogy(q, q) - torch.xlogy(q, p), torch.xlogy(1 - q, 1 - q)
    return (on + off - torch.xlogy(1 - q, 1 - p)).sum(1)


# %% [markdown]
r"""
On sequences of 4 bits with period 2, all 16 states can be listed, and each step is a matrix.
There the bound has to agree with the first form {eq}`eq-dd-first`, summed over all pairs of states, and to stay below the exact log-likelihood, a product of matrices.
The denoiser of this test is wrong on purpose.
"""


# %%
def listed_chain(num_steps=5, num_bits=4):
    """Both bounds and log p of x_0 = 0101 for a wrong denoiser, by listing states."""
    table = bit_table(num_steps)
    rows = torch.arange(2**num_bits)
    states = ((rows[:, None] >> torch.arange(num_bits)) & 1).double()
    x0 = states[10]

    def log_table(on):  # log-probability of each state, for each row of probabilities
        return torch.xlogy(states, on[:, None]).sum(2) + torch.xlogy(
            1 - states, 1 - on[:, None]
        ).sum(2)

    law = F.one_hot(torch.tensor(10), len(states)).double()  # q(x_{t-1} | x_0)
    model, first, second = torch.eye(len(states)), 0.0, 0.0
    for t in range(1, num_steps + 1):
        keep = table[t] / table[t - 1]
        log_q = log_table(keep * states + BASE * (1 - keep))
        probs = torch.sigmoid(3 * states - 2 + 0.4 * states.roll(1, dims=1))
        log_p = log_table(bit_step(probs, states, t, table))  # rows x_t
        pairs = law[:, None] * log_q.exp()
        first = first + (pairs * (log_p.T - log_q).masked_fill(pairs == 0, 0)).sum()
        law = pairs.sum(0)
        together = bit_divergence(probs, x0.expand_as(states), states, t, table)
        second = second - law @ together
        model = log_p.exp() @ model  # p(x_0 | x_t)
        closed = log_table((table[t] * x0 + BASE * (1 - table[t]))[None]).exp()[0]
        checks.close(f"q(x_{t} | x_0), composed", law, closed, atol=1e-14)
    log_prior = log_table(torch.full((1, num_bits), BASE))[0]
    first = first + law @ log_prior
    return first, second, (log_prior.exp() @ model)[10].log(), model


# %% tags=["check"]
first, second, log_likelihood, model = listed_chain()
checks.close("bits: both bounds agree", second, first, atol=1e-12)
checks.ordered("bits", {"ELBO": second, "log p": log_likelihood, "0": 0.0})
checks.close(
    "bits: p(x_0 | x_T) is normalised", model.sum(1), torch.ones(16), atol=1e-12
)

betas_2015 = 1 / (P.num_bit_steps - torch.arange(P.num_bit_steps))
survive = torch.cumprod(1 - betas_2015, 0)
checks.close("a_t = 1 - t / T", bit_table(P.num_bit_steps)[1:], survive, atol=1e-12)
entropy = -(BASE * math.log2(BASE) + (1 - BASE) * math.log2(1 - BASE))
checks.close(
    "bits of 20 independent coins, as in 2015", LENGTH * entropy, 14.438, atol=1e-3
)
checks.close("share of pulses in the data", pulses.mean(), BASE, atol=1e-15)

# %% [markdown]
r"""
```{margin}
The table of equations in the paper's appendix prints a base rate of 0.5.
The section on this experiment says 0.2, and so does its number for independent coins, 14.438 bits.
```

### What the best network could do

The model treats the bits as independent *within one step*, which they are not.
The best that it can do is known.
The divergence of a law $q$ of several bits from a product splits, as the logarithm of the product is a sum: with the marginals $q_i$ of $q$,

$$
\mathrm{KL}\Bigl(q \,\Big\Vert\, \prod_i p_i\Bigr) = \mathrm{KL}\Bigl(q \,\Big\Vert\, \prod_i q_i\Bigr) + \sum_i \mathrm{KL}(q_i \,\Vert\, p_i) .
$$

So the best product is that of the true marginals.
And given its own data bit, $x_{t-1, i}$ depends on $x_{t, i}$ alone, so that {eq}`eq-dd-bit-model` is the true law of the single bit, given $x_t$, if $\pi_i = q(x_{0, i} = 1 \mid x_t)$.
With five phases that is Bayes' rule over five cases, and its bound is the reference for the network: what it lacks to $-\log_2 5$ is the price of finitely many steps.
"""


# %%
def exact_bits(xt, t, table):
    """q(x_0 = 1 | x_t) of each bit: Bayes' rule over the five phases."""
    kept = at_step(table, t, xt)[:, :, None] if torch.is_tensor(t) else table[t]
    on = (kept * pulses.T + BASE * (1 - kept)).clamp(0, 1)  # (..., LENGTH, PERIOD)
    x = xt[:, :, None]
    log_phase = (torch.xlogy(x, on) + torch.xlogy(1 - x, 1 - on)).sum(1)
    return torch.softmax(log_phase, 1) @ pulses


@torch.no_grad()
def bound_in_bits(denoiser, table, num_sequences):
    """The bound K for `num_sequences` draws of the data, one noised copy at every t."""
    x0 = pulses[torch.randint(PERIOD, (num_sequences,))]
    total = torch.zeros(num_sequences)
    for t in range(1, len(table)):
        xt = bit_sample(x0, t, table)
        total -= bit_divergence(denoiser(xt, t, table), x0, xt, t, table)
    return total / math.log(2)


optimum = -math.log2(PERIOD)
table = bit_table(P.num_bit_steps)
best = bound_in_bits(exact_bits, table, P.num_sequences)
best_error = (best.std() / len(best) ** 0.5).item()
print(
    f"exact denoiser, T = {P.num_bit_steps}: "
    f"{best.mean():.4f} +/- {best_error:.4f} bits"
)

# %% tags=["check"]
checks.at_most("a bound stays below the optimum", best.mean(), optimum + 3 * best_error)


def coins(xt, t, table):
    """q(x_0 = 1 | x_t) if the data were independent coins: the chain, reversed."""
    kept = at_step(table, t, xt)
    on, off = kept + BASE * (1 - kept), BASE * (1 - kept)  # q(x_t = 1 | x_0 = 1 and 0)
    if_on, if_off = (xt * p + (1 - xt) * (1 - p) for p in (on, off))
    return BASE * if_on / (BASE * if_on + (1 - BASE) * if_off)


# The exact reverse of coins is a model of coins: its bound is their log-probability.
of_coins = bound_in_bits(coins, bit_table(5), 4_000)
checks.unbiased("bound of the model of independent coins", of_coins, -LENGTH * entropy)
few = bound_in_bits(exact_bits, bit_table(5), P.num_sequences)
checks.at_most("with 5 steps it is far below", few.mean(), best.mean().item() - 0.2)
listed = torch.stack([bit_sample(pulses[[k]], 3, bit_table(5))[0] for k in range(5)])
likelihood = torch.stack(
    [
        torch.where(listed == 1, 0.4 * p + 0.12, 1 - 0.4 * p - 0.12).prod(1)
        for p in pulses
    ],
    1,
)
by_hand = likelihood / likelihood.sum(1, keepdim=True) @ pulses
checks.close(
    "exact denoiser, by hand", exact_bits(listed, 3, bit_table(5)), by_hand, atol=1e-12
)

# %% [markdown]
r"""
### The network

A perceptron with two hidden layers of 128 units sees the 20 bits and $a_t$, as itself and through a few sines and cosines, and gives 20 logits.
It is told nothing of pulses or phases.
One step of training draws a batch of sequences and a random $t$ for each, and follows the gradient of the bound: $T$ times the divergence.
"""


# %%
class BitNetwork(nn.Module):
    """Probabilities that the data bits are 1, from noisy bits (num_rows, 20) and t."""

    def __init__(self, width=128, num_waves=4):
        super().__init__()
        self.num_waves = num_waves
        self.layers = nn.Sequential(
            nn.Linear(LENGTH + 1 + 2 * num_waves, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, LENGTH),
        ).float()

    def forward(self, xt, t, table):
        kept = at_step(table, t, xt).expand(len(xt), 1)
        angles = math.pi * kept * torch.arange(1, self.num_waves + 1)
        # Bits with a mean of about zero.
        inputs = torch.cat([5 * xt - 1, kept, angles.sin(), angles.cos()], 1)
        probs = torch.sigmoid(self.layers(inputs.float()).double())
        # A network that is sure must stay able to learn: 0 log 0 has no derivative.
        return probs.clamp(1e-7, 1 - 1e-7)


# %%
def random_times(num_rows, num_steps):
    """One t of 1 ... T for each row, all alike."""
    return torch.randint(1, num_steps + 1, (num_rows,))


def train(network, table, steps, batch_size, learning_rate=1e-2):
    """Estimates of minus the bound in bits, one for every step."""
    optimizer = torch.optim.Adam(network.parameters(), learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.1
    )
    T, losses = len(table) - 1, []
    parts = dict(network=network, adam=optimizer, schedule=schedule, losses=losses)
    for _ in resumed(run.checkpoints("heartbeat"), "heartbeat", steps, parts):
        x0 = pulses[torch.randint(PERIOD, (batch_size,))]
        t = random_times(batch_size, T)
        xt = bit_sample(x0, t, table)
        loss = T * bit_divergence(network(xt, t, table), x0, xt, t, table).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item() / math.log(2))
    return torch.tensor(losses)


# %%
network = BitNetwork()
losses = train(network, table, P.train_steps, P.batch_size)
bits = bound_in_bits(network, table, P.num_sequences)
bits_error = (bits.std() / len(bits) ** 0.5).item()
protocol = (
    f"{P.num_sequences:,} sequences of 20 bits, each at all t, T = {P.num_bit_steps}, "
    "base rate 0.2, perceptron 2 x 128"
)
heartbeat = run.record(
    "heartbeat_bound_bits",
    bits.mean(),
    unit="bits per sequence",
    standard_error=bits_error,
    protocol=protocol + f", {P.train_steps:,} steps of {P.batch_size} sequences",
    published=-2.414,
    source="Sohl-Dickstein et al. 2015: T = 2000",
)
_ = run.record(
    "heartbeat_bound_exact_denoiser_bits",
    best.mean(),
    unit="bits per sequence",
    standard_error=best_error,
    protocol=protocol.rpartition(",")[0] + ", Bayes' rule in place of the network",
)

# %% tags=["check"]
drawn = F.one_hot(random_times(5_000, 5), 7).double()
checks.unbiased("times: shares of t = 1 ... 5", drawn[:, 1:6], torch.full((5,), 0.2))
checks.close("times: no other", drawn[:, 1:6].sum(1), torch.ones(5_000), atol=0)
checks.at_most("a bound stays below the optimum", heartbeat, optimum + 3 * bits_error)
both = math.hypot(bits_error, best_error)
checks.at_most(
    "and below the best of its kind", heartbeat, best.mean().item() + 5 * both
)
if run.profile != "smoke":
    # In the last twentieth the learning rate has all but gone: what training estimates
    # is then minus the bound.
    end = losses[-P.train_steps // 20 :]
    checks.unbiased(
        "loss at the end of training, plus K",
        end.mean() + heartbeat,
        0.0,
        standard_error=math.hypot((end.std() / len(end) ** 0.5).item(), bits_error),
    )
if run.profile == "quick":
    checks.at_least("bound in bits, T = 100", heartbeat, -2.41)
    # The exact denoiser, from 200,000 sequences: -2.370, standard error 0.0011.
    both = math.hypot(best_error, 0.0011)
    checks.unbiased("exact denoiser, T = 100", best.mean(), -2.370, standard_error=both)
    lacks = {"the network": -2.370 - heartbeat, "100 steps": optimum + 2.370}
    checks.ordered("bits that the bound lacks", lacks)
if run.profile == "full":
    checks.at_least("bound in bits, T = 1000", heartbeat, -2.345)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Minus the bound during training, means of 1/40 of the steps. Dashed: $\\log_2 5 = 2.32$ bits, the entropy of the data, which no bound can beat.", "name": "fig-dd-training"}, "image": {"alt": "A curve comes in from above the frame, falls steeply at first, and then comes down slowly towards a dashed line, the entropy of the data."}}
fig, ax = plt.subplots()
pieces = losses[: len(losses) // 40 * 40].reshape(40, -1)
centres = (torch.arange(40) + 0.5) * pieces.shape[1]
ax.plot(centres, pieces.mean(1))
ax.set(xlabel="step", ylabel="minus the bound (bits)", ylim=(2.0, 3.6))
ax.axhline(-optimum, color="black", linestyle="--", linewidth=1)
place = dict(xycoords=("axes fraction", "data"), textcoords="offset points", ha="right")
_ = ax.annotate("entropy of the data", (0.995, -optimum), xytext=(0, -14), **place)
# %% [markdown]
r"""
The bound of 2015 is $-2.414$ bits, with $T = 2000$.
Ours, in the profile `quick` with $T = 100$, is above $-2.41$; the line `heartbeat_bound_bits` above has the number and its error.
This is not like with like, as neither the number of steps nor the network is the same.
What can be compared is ours with the best that its $T$ allows: with the exact denoiser in place of the network, 100 steps give $-2.370$ bits.
So most of what ours lacks to $-2.322$ is the price of few steps, and not the network's.

### Samples

Start from coins with $p = 0.2$ and draw each step from {eq}`eq-dd-bit-model`.
At $t = 1$ the step is a draw from $p_\theta(x_0 \mid x_1)$, which is part of the model: with bits there is no separate noise that one could leave out.
"""


# %%
@torch.no_grad()
def bit_chain(network, table, num_sequences):
    """Yields x_T, x_{T-1}, ..., x_0."""
    x = torch.bernoulli(torch.full((num_sequences, LENGTH), BASE))
    yield x
    for t in range(len(table) - 1, 0, -1):
        x = torch.bernoulli(bit_step(network(x, t, table), x, t, table).clamp(0, 1))
        yield x


num_samples = min(P.num_sequences, 2_000)
chain_of_bits = list(bit_chain(network, table, num_samples))
samples = chain_of_bits[-1]


def share_valid(x):
    """Share of rows that are one of the five sequences, and its standard error."""
    num_valid = (x[:, None] == pulses).all(2).any(1).sum().item()
    # One row added on each side: a share of one is not known without error.
    cautious = (num_valid + 1) / (len(x) + 2)
    return num_valid / len(x), (cautious * (1 - cautious) / len(x)) ** 0.5


share, error = share_valid(samples)
_ = run.record(
    "heartbeat_valid_share",
    share,
    unit="1",
    standard_error=error,
    protocol=f"share of {num_samples:,} samples with one pulse every five bits, "
    f"T = {P.num_bit_steps}",
)

# %% tags=["check"]
exact_share, exact_error = share_valid(
    list(bit_chain(exact_bits, table, num_samples))[-1]
)
least = 2 ** (best.mean().item() - 5 * best_error - optimum)
upper = exact_share + 5 * exact_error
checks.at_least("valid share + 5 s.e., exact denoiser", upper, least)
least = 2 ** (heartbeat - 5 * bits_error - optimum)
checks.at_least("valid share + 5 s.e., network", share + 5 * error, least)

# A phase that never came counts once: then the frequency is an upper estimate.
counts = (samples[:, None] == pulses).all(2).sum(0).clamp(min=1)
log_likelihood = (counts / num_samples).log2().mean().item()
# The derivative of log2 f is 1 / (f log 2), the variance of f at most f / num_samples.
error = (1 / counts).sum().sqrt().item() / PERIOD / math.log(2)
bounds = {
    "bound - 5 s.e.": heartbeat - 5 * bits_error,
    "log-likelihood + 5 s.e.": log_likelihood + 5 * error,
}
checks.ordered("bits, from the frequencies of the five sequences", bounds)
print(f"log-likelihood from frequencies: {log_likelihood:.4f} +/- {error:.4f} bits")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve chains, first of a fixed seed, from coins (left) to samples (right). Each row of a panel is one sequence of 20 bits, black for 1.", "name": "fig-dd-heartbeats"}, "image": {"alt": "Four panels with twelve rows of twenty bits. On the left the dark bits are scattered; to the right they order themselves, and in the last panel nearly every row has a dark bit at every fifth place, with different phases."}}
T = P.num_bit_steps
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.2))
for ax, done in zip(axes, (0, T // 2, (4 * T) // 5, T), strict=True):
    ax.imshow(chain_of_bits[done][:12], aspect="auto")
    ax.set(xlabel=f"t = {T - done}", xticks=[], yticks=[])
    ax.grid(False)
# %% [markdown]
r"""
The bound and the samples belong together.
A model that gives the five sequences together the probability $\rho$ has a mean log-likelihood of at most $\log_2 (\rho / 5)$, as the mean of logarithms is at most the logarithm of the mean.
$K$ is below that, so that the share of valid samples, $\rho$, is at least $2^{K + \log_2 5}$: the first two checks above.
The last one takes the log-likelihood from the frequencies of the five sequences among the samples, which only such tiny data allow.
All three add five standard errors (s.e.) to the upper side and take as many from the lower one: a line may show a share above one, or a log-likelihood above $-\log_2 5$, where the estimate itself is not.
Compare it with $K$: the difference is {eq}`eq-dd-gap`, and a model may be better than its bound.
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} Any linear chain in one step
:label: ex-dd-composition
```
Let each step be $x_t = g_t x_{t-1} + \sqrt{w_t}\, \epsilon_t$ with any gains and variances.
Write `closed_form(gains, noise_vars)`: the scale and the variance of $x_T$ given $x_0$, from two tensors of length $T$, without a loop over $t$.
The steps of this lecture are one case; gains of one with growing noise, as in [score matching](score_matching.ipynb), are another.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def closed_form(gains, noise_vars):
    return None


# %% tags=["check"]
def check_composition(answer):
    gains, noise_vars = (1 - short).sqrt(), short
    if answer(gains, noise_vars) is None:
        return print("not yet")
    scale, variance = answer(gains, noise_vars)
    kept = alphas_cumprod_of(short)[-1]
    checks.close("variance preserving: scale", scale, kept.sqrt(), atol=1e-12)
    checks.close("variance preserving: variance", variance, 1 - kept, atol=1e-12)
    gains, noise_vars = torch.tensor([0.5, 2.0, -1.0]), torch.tensor([1.0, 0.1, 0.3])
    scale, variance = answer(gains, noise_vars)
    checks.close("three uneven steps: scale", scale, -1.0, atol=1e-12)
    # ((0 * 0.25 + 1) * 4 + 0.1) * 1 + 0.3
    checks.close("three uneven steps: variance", variance, 4.4, atol=1e-12)
    return print("right")


check_composition(closed_form)

# %% [markdown]
r"""
````{solution-start} ex-dd-composition
:class: dropdown
````
"""


# %% tags=["solution"]
def closed_form(gains, noise_vars):
    after = torch.flip(torch.cumprod(torch.flip(gains, [0]), 0), [0])  # g_t ... g_T
    # What the noise of step t still meets.
    later = torch.cat([after[1:], torch.ones(1)])
    return after[0], (later**2 * noise_vars).sum()


check_composition(closed_form)

# %% [markdown]
r"""
By induction: $x_T = (\prod_t g_t)\, x_0 + \sum_t (\prod_{s > t} g_s) \sqrt{w_t}\, \epsilon_t$, and variances of independent terms add.
With $g_t^2 = \alpha_t$ and $w_t = 1 - \alpha_t$ the sum telescopes to $1 - \bar\alpha_T$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Complete the square between two neighbours
:label: ex-dd-neighbours
```
The right form of the consistency term, {eq}`eq-dd-consistency`, has a mean over $q(x_t \mid x_{t-1}, x_{t+1})$.
Write `between(before, after, t, betas)`: its mean and variance, for $1 \le t < T$.
Average over it, in place of $q(x_t \mid x_{t-1})$, and keep $q(x_t \mid x_{t-1})$ in the denominator: the check finds the right number.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def between(before, after, t, betas):
    return None


# %% tags=["check"]
def check_between(answer):
    before, after, t = paths[:, 7], paths[:, 9], 8
    if answer(before, after, t, short) is None:
        return print("not yet")
    mean, var = answer(before, after, t, short)
    checks.unbiased("x_t minus its mean given the neighbours", paths[:, t] - mean, 0.0)
    checks.unbiased("its variance", (paths[:, t] - mean) ** 2, float(var))
    kernel_mean = wrong_model.slope[t + 1] * after + wrong_model.offset[t + 1]
    draws = mean + var**0.5 * torch.randn_like(mean)
    log_ratio = log_normal(draws, kernel_mean, wrong_model.var[t + 1]) - log_normal(
        draws, (1 - short[t - 1]).sqrt() * before, short[t - 1]
    )
    checks.unbiased("the consistency term", log_ratio, exact_consistency[t - 1])
    return print("right")


check_between(between)

# %% [markdown]
r"""
````{solution-start} ex-dd-neighbours
:class: dropdown
````
"""


# %% tags=["solution"]
def between(before, after, t, betas):
    beta, beta_next = betas[t - 1], betas[t]
    precision = 1 / beta + (1 - beta_next) / beta_next
    pull = (1 - beta).sqrt() * before / beta + (
        1 - beta_next
    ).sqrt() * after / beta_next
    return pull / precision, 1 / precision


check_between(between)

# %% [markdown]
r"""
The exponent is

$$
-\frac{(x_t - \sqrt{\alpha_t} x_{t-1})^2}{2 (1 - \alpha_t)} - \frac{(x_{t+1} - \sqrt{\alpha_{t+1}} x_t)^2}{2 (1 - \alpha_{t+1})} :
$$

precisions add, and each neighbour pulls with its own.
The flawed form averages over $q(x_t \mid x_{t-1})$, and so leaves the second neighbour out of the law of $x_t$.
The denominator of the logarithm is $q(x_t \mid x_{t-1})$ in both.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} The weight of v
:label: ex-dd-v-weight
```
Write `v_weight(snr_before, snr)`: the factor of $\lVert \hat v - v \rVert^2$ in $\mathrm{KL}_t$, from $\mathrm{SNR}(t - 1)$ and $\mathrm{SNR}(t)$ alone.
For a short step of log-SNR, $d\lambda$, what are the weights of data, noise and $v$, and what happens to each at the two ends of the chain?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def v_weight(snr_before, snr):
    return None


# %% tags=["check"]
def check_v_weight(answer):
    t = torch.arange(2, 1001)
    if answer(snr[t - 1], snr[t]) is None:
        return print("not yet")
    x0, noise, wrong_noise = torch.randn(3, len(t), 16)
    xt = q_sample(x0, t, noise, alphas_cumprod)
    wrong_x0 = x0_from_noise(xt, wrong_noise, t, alphas_cumprod)
    v = v_of(x0, noise, t, alphas_cumprod)
    wrong_v = v_of(wrong_x0, wrong_noise, t, alphas_cumprod)
    checks.close(
        "KL_t, t = 2 ... T",
        answer(snr[t - 1], snr[t]) * (v - wrong_v).square().sum(1),
        four_losses(x0, noise, wrong_noise, t, alphas_cumprod)["means"],
        rtol=1e-9,
    )
    return print("right")


check_v_weight(v_weight)

# %% [markdown]
r"""
````{solution-start} ex-dd-v-weight
:class: dropdown
````
"""


# %% tags=["solution"]
def v_weight(snr_before, snr):
    return 0.5 * (snr_before - snr) / (1 + snr)


check_v_weight(v_weight)

# %% [markdown]
r"""
$\lVert \hat x_0 - x_0 \rVert^2 = (1 - \bar\alpha_t)\, \lVert \hat v - v \rVert^2$ and $1 - \bar\alpha_t = 1 / (1 + \mathrm{SNR})$.
With $\mathrm{SNR}(t-1) - \mathrm{SNR}(t) = \mathrm{SNR}\, d\lambda$ the weights of data, noise and $v$ are $\frac{1}{2} d\lambda$ times $\mathrm{SNR}$, $1$ and $\mathrm{SNR} / (1 + \mathrm{SNR}) = \bar\alpha_t$.
That of the data explodes at the clean end.
That of the noise does not, but to make a picture of a predicted noise one divides by $\sqrt{\bar\alpha_t}$, which fails at the noisy end.
For $v$ the factor $\bar\alpha_t$ is at most one, and `x0_from_v` divides by nothing.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} When does the first bound not vary?
:label: ex-dd-zero-variance
```
Write `spread(model)`: the standard deviation over `paths` of the log-ratio of a whole path, $\log p(x_{0:T}) - \log q(x_{1:T} \mid x_0)$.
Compare the exact reverse, the imperfect model, and the exact kernels started from $p(x_T) = \mathcal{N}(1, 1)$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def spread(model):
    return None


# %% tags=["check"]
def check_spread(answer):
    if answer(right_model) is None:
        return print("not yet")
    checks.at_most("exact reverse", answer(right_model), 1e-10)
    checks.at_least("imperfect", answer(wrong_model), 1.0)
    shifted = right_model._replace(
        end_mean=torch.tensor(1.0), end_var=torch.tensor(1.0)
    )
    # The ratio changes by log N(x_T; 1, 1) - log q(x_T): a x_T^2 + b x_T + constant.
    a = 0.5 / right_model.end_var - 0.5
    b = 1 - right_model.end_mean / right_model.end_var
    mean, cov = forward_moments(start, 0.0, alphas_cumprod_of(short))
    mean, var = mean[-1], cov[-1, -1]
    exact = ((2 * a * mean + b) ** 2 * var + 2 * a**2 * var**2).sqrt().item()
    # a is tiny, so that the ratio is nearly Gaussian: the error of its deviation.
    error = exact * (0.5 / len(paths)) ** 0.5
    checks.close("another p(x_T)", answer(shifted), exact, atol=5 * error)
    return print("right")


check_spread(spread)

# %% [markdown]
r"""
````{solution-start} ex-dd-zero-variance
:class: dropdown
````
"""


# %% tags=["solution"]
def spread(model):
    log_p, log_q, log_end = path_terms(paths, model, short)
    return (log_end + log_p.sum(1) - log_q.sum(1)).std().item()


check_spread(spread)

# %% [markdown]
r"""
The log-ratio is

$$
\log p(x_0) + \log p(x_{1:T} \mid x_0) - \log q(x_{1:T} \mid x_0) :
$$

it is constant exactly if the model's posterior over paths is $q$, which needs the exact kernels *and* the exact law at the end.
Then one path gives the likelihood; otherwise the variance is a measure of how far the model is from that.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. The bound: {eq}`eq-dd-elbo`, regrouped in {eq}`eq-dd-regroup`, turned round in {eq}`eq-dd-telescope`, is {eq}`eq-dd-second`; each of its divergences is {eq}`eq-dd-four-losses`, with the weight {eq}`eq-dd-snr`; on a linear chain each line is a number.
2. The consistency term is an expectation and no divergence; what the flawed reading loses is {eq}`eq-dd-flaw` ({numref}`fig-dd-flaw`).
3. The posterior is {eq}`eq-dd-posterior-var` and {eq}`eq-dd-posterior-mean`; data, noise, score and $v$ give one loss, {eq}`eq-dd-four-losses`.
4. Its weight is half the loss of signal-to-noise ratio, {eq}`eq-dd-snr`; the schedule changes the noise of the estimate and not the bound ({numref}`fig-dd-learned`).
5. The bound of the binary chain stands on the [results page](../book/results.md) beside the published one.

**What comes next:** [a diffusion model of digits](diffusion_mnist.ipynb), with its samplers and guidance; then [the limit of infinitely many steps](score_sde.ipynb), where the chain becomes a differential equation and the likelihood exact.

**Reading:** {cite:t}`luo2022` for the derivation in one notation, with the consistency term to be read as in {eq}`eq-dd-first`; {cite:t}`kingma2021` for the schedule; {cite:t}`ho2020` for the simple loss.
"""

# %%
run.finish()

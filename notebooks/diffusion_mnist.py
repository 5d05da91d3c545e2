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
# A diffusion model on MNIST: DDPM, DDIM, guidance, in-painting

At the end of this lecture you will be able to

1. train a diffusion model in a few lines, and say how far its loss is from the smallest possible one;
2. sample it with random steps (DDPM) and without (DDIM), and say which step must not add noise, and which variance is right when;
3. read a small U-Net, and train it on MNIST until it beats the book's GAN on the same scores;
4. steer it with a label, and say what guidance samples and what it does not;
5. bound its likelihood in bits per dimension, and fill in missing pixels.

- **You need** [the derivation](diffusion_derivation.ipynb): the forward process, its posterior, and the prediction of $x_0$, noise or $v$. [The GAN lecture](gan_mnist.ipynb) explains the scores.
- **Sources:** {cite:t}`ho2020`; {cite:t}`nichol2021`; {cite:t}`song2021ddim`; {cite:t}`salimans2022`; {cite:t}`ho2022guidance`; {cite:t}`lugmayr2022`.
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
from dgm import checks, classifier, plotting, sample_quality
from dgm.checkpoints import resumed
from dgm.models import diffusion
from dgm.models.mixture import GaussianMixture
from dgm.models.unet import mixed_precision
from dgm.runtime import recorded

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "roll_steps": (300, 4_000, 10_000),  # of training, in two dimensions
    "num_roll": (500, 4_000, 20_000),  # samples in two dimensions
    "num_steps": (24, 250, 1_000),  # T, on MNIST
    "width": (8, 32, 64),  # channels of the U-Net at 14 x 14
    "train_steps": (12, 2_000, 40_000),
    "batch_size": (64, 128, 256),
    "decay": (0.8, 0.995, 0.9995),  # of the averaged weights
    "num_fd": (50, 500, 10_000),  # images for a Fréchet distance
    "num_samples": (100, 2_000, 10_000),  # of DDIM with 20 steps
    "num_bound": (20, 500, 10_000),  # test images for the likelihood bound
    "num_inpaint": (10, 150, 1_000),  # test images to be completed
}

# %%
run = dgm.start("diffusion_mnist", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## The problem in one picture

```{margin}
**In the sources.** Oslo, 30 April and 7 May, *Diffusion models, basics*.
```

To make a digit out of noise, guess what digit the noise hides, take a small step towards the guess, and guess again.
**All that is ever learned is a denoiser**: a function that sees a noised image $x_t$, knows how much noise there is, and predicts the clean one.

If the training images were all images there are, the best guess would be their mean, each weighted with the probability that it is the one behind $x_t$.
{numref}`fig-dm-problem` shows this guess for a test image.
With nothing but noise it is a blur, the mean of all digits; with less noise it takes sides, at times for the wrong digit; with little it is a training image, and not the test image.
A network has to do better than that: it must denoise images that it has never seen.
"""

# %%
x_train = 2 * torch.from_numpy(run.data.vectors("train")).to(run.device) - 1
x_train = x_train.view(-1, 1, 28, 28)
x_test = 2 * torch.from_numpy(run.data.vectors("test")).to(run.device) - 1
x_test = x_test.view(-1, 1, 28, 28)
cosine = diffusion.alphas_cumprod_of(diffusion.cosine_betas(1_000))


def mean_of_training_images(xt, t):
    """E[x_0 | x_t], were the training images all there is."""
    kept = cosine[t].item()
    distances = (xt.flatten() - kept**0.5 * x_train.flatten(1)).square().sum(1)
    weights = torch.softmax(-distances / (2 * (1 - kept)), dim=0)
    return (weights @ x_train.flatten(1)).view(28, 28), weights.max()


static = torch.randn(x_test[:1].shape, generator=run.generator(0), device=run.device)
shown = (100, 300, 500, 700, 850, 1_000)
noised = {t: diffusion.q_sample(x_test[:1], t, static, cosine) for t in shown}
guesses = {t: mean_of_training_images(xt, t) for t, xt in noised.items()}

# %% tags=["check"]
checks.at_least("t = 100: weight of one image", guesses[100][1], 0.99)
overall = x_train.mean(0)[0]
away = (mean_of_training_images(static, 1_000)[0] - overall).abs().mean()
# At T = 1000 the cosine schedule leaves 5e-5 of the amplitude.
checks.at_most("t = 1000: distance from the mean of all", away, 0.01)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: a test image at six times; above it $t / T$. Bottom: the mean of the training images, each weighted with the probability that it is behind the noised one.", "name": "fig-dm-problem"}, "image": {"alt": "Two rows of six pictures. Top: one digit under more and more noise. Bottom: on the left sharp digits, on the right a blur that no longer depends on the digit."}}
fig, axes = plt.subplots(2, 6, figsize=(7.4, 2.7))
for (above, below), t in zip(axes.T, shown, strict=True):
    above.imshow(-noised[t][0, 0].cpu(), cmap="gray", vmin=-2, vmax=2)
    below.imshow(-guesses[t][0].cpu(), cmap="gray", vmin=-1, vmax=1)
    above.set_axis_off()
    below.set_axis_off()
    above.set_title(f"{t / 1_000:g}", fontsize=11)

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $x_0$, $x_t$ | `x0`, `xt` | data; data after $t$ noising steps |
| $\epsilon$ | `noise` | standard normal numbers, of the shape of $x_0$ |
| $t = 1 \ldots T$ | `t`, `num_steps` | step; 1 is the least noise |
| $\beta_t$, $\alpha_t = 1 - \beta_t$ | `betas` | variance that step $t$ adds; what it keeps of the variance |
| $\bar\alpha_t = \prod_{s \le t} \alpha_s$ | `alphas_cumprod[t]` | what is kept of the variance of the data after $t$ steps; $\bar\alpha_0 = 1$ |
| $\hat x_0(x_t, t)$ | `denoiser(xt, t)` | prediction of $x_0$ |
| $\hat\epsilon$, $\hat v$ | | predictions of the noise, of $v$ |
| $\theta$, $\bar\theta$ | `network`, `average` | weights; their moving average |
| $v$ | `v` | a mixture of noise and data, defined below, that the network on MNIST predicts |
| $\mu_t$, $\sigma_t^2$ | `q_posterior` | mean and variance of $q(x_{t-1} \mid x_t, x_0)$ |
| $\tilde\sigma$, $\eta$ | `eta` | noise that DDIM adds in a step; its share of DDPM's |
| $\xi$ | `xi` | fresh noise of a step back |
| $\lambda$ | `P.decay` | decay of the moving average |
| $y$, $w$ | `labels`, `weight` | label of an image; weight of the guidance |
| $\varnothing$ | `NOT_TOLD` | in the place of a label: not told |
| $\pi_w$ | `tilted(w)` | the density that guidance seems to sample |
| $\mathrm{SNR}_t$ | | signal to noise, $\bar\alpha_t / (1 - \bar\alpha_t)$ |
| $m$ | `mask` | 1 where a pixel is known |

Networks see the time as $t / T$, from 0 to 1, so that they do not depend on how many steps there are.

From [the derivation](diffusion_derivation.ipynb) we need four facts:

$$
\begin{aligned}
x_t &= \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \\
q(x_{t-1} \mid x_t, x_0) &= \mathcal{N}\bigl(\mu_t(x_t, x_0),\, \sigma_t^2 I\bigr), \\
\sigma_t^2 &= \beta_t\, \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}, \\
\hat x_0 &= \frac{x_t - \sqrt{1 - \bar\alpha_t}\, \hat\epsilon}{\sqrt{\bar\alpha_t}},
\end{aligned}
$$ (eq-dm-facts)

in code `q_sample`, `q_posterior` and `x0_from_noise` of `dgm.models.diffusion`.

## Two dimensions first

In two dimensions everything can be seen, and here is a target of which everything is known: a spiral of 40 small Gaussians.
Noised, it is still a mixture of Gaussians, so that the best possible denoiser, $\mathbb{E}[x_0 \mid x_t]$, has a closed form.
"""

# %%
turns = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 40, dtype=torch.float64)
centres = torch.stack([turns * turns.cos(), turns * turns.sin()], dim=1) / 7.5
roll = GaussianMixture(torch.full((40,), 1 / 40, dtype=torch.float64), centres, 0.1)
T2 = 100
linear = diffusion.alphas_cumprod_of(diffusion.linear_betas(T2))


def exact(x, t):
    """E[x_0 | x_t] of the spiral: the best denoiser there is."""
    kept = linear[t].item()
    return roll.denoised(x, kept**0.5, (1 - kept) ** 0.5)


# %% [markdown]
r"""
### The loss

**A network $\hat\epsilon(x_t, t)$ learns the noise that was added, with the squared error and nothing else** {cite:p}`ho2020`:

$$
L = \mathbb{E}_{x_0,\, t,\, \epsilon}\, \bigl\lVert \epsilon - \hat\epsilon\bigl(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,\; t\bigr) \bigr\rVert^2,
$$ (eq-dm-simple)

with $t$ uniform on $1 \ldots T$.
It is the bound on the likelihood with the weights left out.
The last layer of the network starts at zero, so the first loss is $\mathbb{E}\, \epsilon^2 = 1$ per dimension.

A squared error has a floor.
The best prediction is the conditional mean $\epsilon^*(x_t, t) = \mathbb{E}[\epsilon \mid x_t]$, and for any other one

$$
L = L^* + \mathbb{E}\, \lVert \hat\epsilon - \epsilon^* \rVert^2 ,
$$ (eq-dm-floor)

since the rest of $\epsilon$ is noise that nothing can predict.
The floor $L^*$ is far from zero: at late times nearly all of $x_t$ is noise and it is easy to predict; at early times it is hidden in the spread of the data.
"""


# %%
class NoisePredictor(nn.Module):
    """Noise in two dimensions from x_t and t: an MLP, zero at first."""

    def waves(self, inputs, frequencies):
        """Sines and cosines, with which a network can draw finer than with the inputs."""
        angles = inputs[:, :, None] * torch.tensor(frequencies, device=inputs.device)
        return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)

    def __init__(self, hidden_dim=128):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2 + 12 + 8, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
        )
        self.head = nn.Linear(hidden_dim, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x, t):
        time = torch.as_tensor(t / T2, device=x.device).to(x).expand(len(x))[:, None]
        times = self.waves(math.pi * time, [0.5, 1.0, 2.0, 4.0])
        places = self.waves(x, [1.0, 2.0, 4.0])
        return self.head(self.body(torch.cat([x, places, times], dim=1)))


def noise_loss(predictor, x0, t, noise, alphas_cumprod):
    """Squared error of the predicted noise, one number for each example."""
    xt = diffusion.q_sample(x0, t, noise, alphas_cumprod)
    return (noise - predictor(xt, t)).square().sum(1)


# %% [markdown]
r"""
The training loop draws data, times and noise, all on the device.
"""


# %%
def roll_times(num_examples):
    """Steps from 1 to T, all equally likely."""
    return torch.randint(1, T2 + 1, (num_examples,), device=run.device)


def train_on_roll(predictor, num_steps, batch_size=512):
    """Yields the loss of each step."""
    optimiser = torch.optim.Adam(predictor.parameters(), lr=4e-3, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    data = roll.sample(50_000).float().to(run.device)
    for _ in range(num_steps):
        x0 = data[torch.randint(len(data), (batch_size,), device=run.device)]
        t = roll_times(batch_size)
        loss = noise_loss(predictor, x0, t, torch.randn_like(x0), linear).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        decay.step()
        yield loss.detach()


predictor = NoisePredictor().to(run.device)
untrained = copy.deepcopy(predictor).cpu()
steps = train_on_roll(predictor, P.roll_steps)
losses = torch.stack(list(dgm.progress(steps, "spiral", total=P.roll_steps))).cpu()

# %% [markdown]
r"""
The check estimates the floor with the exact denoiser on fresh data, and the excess in two ways, {eq}`eq-dm-floor`.
"""

# %% tags=["check"]
g = torch.Generator().manual_seed(1)
x0 = roll.sample(20_000, generator=g)
t = torch.randint(1, T2 + 1, (len(x0),), generator=g)
noise = torch.randn(x0.shape, generator=g, dtype=x0.dtype)
kept = linear[t].double()
xt = kept.sqrt()[:, None] * x0 + (1 - kept).sqrt()[:, None] * noise
facts = diffusion.q_sample(x0, t, noise, linear)
checks.close("x_t, by hand and by the library", facts, xt, atol=1e-12)
best = torch.empty_like(x0)
for step in range(1, T2 + 1):
    rows = t == step
    best[rows] = diffusion.noise_of(xt[rows], exact(xt[rows], step), step, linear)
by_network = copy.deepcopy(predictor).cpu()
with torch.no_grad():
    guess = by_network(xt.float(), t).double()
    loss = noise_loss(
        lambda x, t: by_network(x.float(), t).double(), x0, t, noise, linear
    )
    start = noise_loss(untrained, x0.float(), t, noise.float(), linear).double()
floor = (noise - best).square().sum(1)
excess = (guess - best).square().sum(1)
many = roll_times(100 * T2)
checks.close("first and last time", [many.min(), many.max()], [1, T2])
checks.unbiased("loss before training", start, 2.0)
checks.unbiased("loss - floor - excess", loss - floor - excess, 0.0)
print(f"loss {loss.mean():.3f}, floor {floor.mean():.3f}, excess {excess.mean():.4f}")
if run.profile != "smoke":
    checks.at_most("excess over floor", excess.mean() / floor.mean(), 0.05)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss while training, mean over 50 steps. Dashed: the floor, the loss of the exact denoiser.", "name": "fig-dm-roll-loss"}, "image": {"alt": "A curve that falls steeply at the start and then flattens just above a dashed horizontal line."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
smooth = losses[: len(losses) // 50 * 50].view(-1, 50).mean(1)
ax.plot(50 * torch.arange(1, len(smooth) + 1), smooth)
_ = plotting.reference_line(ax, floor.mean().item(), "floor")
_ = ax.set(xlabel="step", ylabel="squared error of the noise", ylim=(0, None))

# %% [markdown]
r"""
### Sampling: DDPM

**To sample, start with noise and take the reverse steps one after the other**, with the prediction in the place of $x_0$:

$$
\begin{aligned}
x_T &\sim \mathcal{N}(0, I), \\
x_{t-1} &= \mu_t\bigl(x_t,\, \hat x_0(x_t, t)\bigr) + \sigma_t\, \xi_t, \qquad \xi_t \sim \mathcal{N}(0, I).
\end{aligned}
$$ (eq-dm-ddpm)

Since $\sigma_1 = 0$, the last step adds no noise: it returns the prediction $\hat x_0(x_1, 1)$.
"""


# %% tags=["twin:dgm.samplers.ddpm"]
@torch.no_grad()
def ddpm(x, denoiser, alphas_cumprod, *, generator=None):
    for t in range(len(alphas_cumprod) - 1, 0, -1):
        mean, variance = diffusion.q_posterior(denoiser(x, t), x, t, alphas_cumprod)
        xi = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        x = mean + variance.sqrt() * xi
        yield x


# %%
def from_noise(predictor, alphas_cumprod):
    """A denoiser from a network that predicts the noise."""

    def denoiser(x, t):
        return diffusion.x0_from_noise(x, predictor(x, t), t, alphas_cumprod)

    return denoiser


def normal(*shape, offset=0, dtype=torch.float32):
    """Noise with a seed of its own, to start samplers from."""
    source = run.generator(offset)
    return torch.randn(shape, generator=source, device=run.device, dtype=dtype)


start = normal(P.num_roll, 2, offset=1)
denoiser = from_noise(predictor, linear)
path = [start, *ddpm(start, denoiser, linear, generator=run.generator(2))]
learned = path[-1].cpu().double()
*_, ideal = ddpm(start.cpu().double(), exact, linear, generator=g)

# %% tags=["plot"] mystnb={"figure": {"caption": "Samples on their way from noise to the spiral. Press play. Little is to be seen for most of the way: the shape of the data is decided at the end.", "name": "fig-dm-spiral-film"}}
frames = [0, 20, 40, 55, 65, 75, 80, 85, 90, 93, 96, 98, 100]


def draw_frames():
    for i in frames:
        fig, ax = plt.subplots(figsize=(4.0, 4.0))
        ax.scatter(*path[i][:2_000].cpu().T, s=2, color=plotting.COLOURS[0])
        ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xlabel="$x_1$", ylabel="$x_2$")
        yield fig


plotting.film(
    draw_frames(),
    alt=(
        "A film of a cloud of points: a round normal cloud at first, which contracts "
        "and, in the last tenth of the steps, condenses to a thin spiral."
    ),
    labels=[f"t = {T2 - i}" for i in frames],
    width=400,
)

# %% [markdown]
r"""
Two scores, which have a known value here.
A *good* sample lies within three standard deviations of one of the 40 centres; of the samples of a two-dimensional Gaussian a share $1 - e^{-9/2} = 0.989$ does, and where neighbours overlap a little more.
And the median of $\log p$, the true log density, over the samples.
"""

# %% tags=["check"]
truth = roll.sample(P.num_roll, generator=g)
quality, median_log_prob = {}, {}
for name, samples in (("truth", truth), ("exact", ideal), ("learned", learned)):
    modes, quality[name] = sample_quality.modes_and_quality(samples, centres, 0.1)
    median_log_prob[name] = roll.log_prob(samples).median().item()
    print(
        f"{name:8} centres found {modes:2d} of 40, good {quality[name]:.3f}, "
        f"median log p {median_log_prob[name]:.2f} nats"
    )
    if run.profile != "smoke" or name != "learned":
        checks.close(f"{name}: centres found", modes, 40)
_ = run.record(
    "spiral_quality",
    quality["learned"],
    unit="1",
    protocol=(
        f"share of {P.num_roll:,} DDPM samples (T = {T2}) within 3 standard deviations "
        f"of a centre; true {quality['truth']:.3f}"
    ),
    standard_error=(quality["learned"] * (1 - quality["learned"]) / P.num_roll) ** 0.5,
)
if run.profile != "smoke":
    checks.at_least("share of good samples, learned", quality["learned"], 0.9)
    row = {"learned": quality["learned"], "truth": quality["truth"]}
    checks.ordered("share of good samples", row)
five_se = 5 * (0.989 * 0.011 / P.num_roll) ** 0.5
checks.at_least("share of good samples, truth", quality["truth"], 0.989 - five_se)
if run.profile != "smoke":
    names = ("truth", "exact")
    checks.ordered("median log p", {name: median_log_prob[name] for name in names})
off = (path[-1] - denoiser(path[-2], 1)).abs().max()
checks.at_most("last state minus the prediction", off, 1e-5)

# %% [markdown]
r"""
The learned denoiser leaves some points between the arms of the spiral: fewer of its samples are good than of true ones.
The samples of the exact denoiser have a *higher* log density than true ones.
That is no virtue: they are too close to the centres.
The next section says why.

### Which variance?

The variance of $q(x_{t-1} \mid x_t, x_0)$ is $\sigma_t^2$, which presumes that $x_0$ is known.
It is not; it is predicted, and its spread is forgotten.
The true variance of $q(x_{t-1} \mid x_t)$ is larger; on average over $x_t$,

$$
\sigma_t^2 \;\leq\; \mathbb{E} \operatorname{Var}(x_{t-1} \mid x_t) \;\leq\; \beta_t
$$ (eq-dm-variances)

for data of variance at most 1, with equality on the left if the data are a single point, and on the right if they are $\mathcal{N}(0, I)$ {cite:p}`ho2020`.
So $\sigma_t^2$ makes samples too narrow, and $\beta_t$ too wide, unless $T$ is large.

For $x_0 \sim \mathcal{N}(0, s^2)$ everything is linear: $\hat x_0 = \sqrt{\bar\alpha_t}\, s^2 x_t / (\bar\alpha_t s^2 + 1 - \bar\alpha_t)$, one step is $x_{t-1} = a_t x_t + \text{noise}$, and the variance of the chain follows a recursion that starts at 1 and can be iterated exactly.
"""


# %%
def gaussian_denoiser(variance, alphas_cumprod):
    """E[x_0 | x_t] for data from N(0, variance)."""

    def denoiser(x, t):
        kept = alphas_cumprod[t].to(x)
        return kept.sqrt() * variance / (kept * variance + 1 - kept) * x

    return denoiser


def variance_of_chain(variance, alphas_cumprod, choice):
    """Variance of x_0 at the end of the chain, for data from N(0, variance)."""
    denoiser = gaussian_denoiser(variance, alphas_cumprod)
    one, result = torch.ones((), dtype=torch.float64), 1.0
    for t in range(len(alphas_cumprod) - 1, 0, -1):
        slope, posterior = diffusion.q_posterior(
            denoiser(one, t), one, t, alphas_cumprod
        )
        beta = 1 - alphas_cumprod[t] / alphas_cumprod[t - 1]
        added = {"posterior": posterior, "beta": beta}[choice]
        result = (slope**2 * result + added).item()
    return result


# %% tags=["check"]
for s2 in (0.0, 0.25, 1.0):
    before, now = (linear[t] * s2 + 1 - linear[t] for t in (29, 30))
    alpha = linear[30] / linear[29]
    # Both are Gaussian: the variance that x_30 does not explain.
    true_variance = before - alpha * before**2 / now
    _, posterior = diffusion.q_posterior(torch.ones(1), torch.ones(1), 30, linear)
    row = {"posterior": posterior, "true": true_variance, "beta": 1 - alpha}
    checks.ordered(f"variances at t = 30, s^2 = {s2}", row, slack=1e-7)
for std in (1.0, 0.5, 0.1):
    for T in (50, 100, 1_000):
        table = diffusion.alphas_cumprod_of(diffusion.linear_betas(T))
        row = [variance_of_chain(std**2, table, kind) for kind in ("posterior", "beta")]
        values = {"posterior": row[0], "data": std**2, "beta": row[1]}
        checks.ordered(f"variance, std {std}, T = {T}", values, slack=1e-12)
unit = variance_of_chain(1.0, linear, "beta")
checks.close("beta is exact for N(0, 1)", unit, 1.0, atol=1e-12)
point = variance_of_chain(0.0, linear, "posterior")
checks.close("the posterior's is exact for a point", point, 0.0, atol=1e-30)
x = torch.randn(200_000, 1, generator=g, dtype=torch.float64)
*_, end = ddpm(x, gaussian_denoiser(0.25, linear), linear, generator=g)
expected = variance_of_chain(0.25, linear, "posterior")
checks.unbiased("variance of samples, std 0.5", end.square().flatten(), expected)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Variance of the samples over that of the data, for Gaussian data of three standard deviations $s$ and the exact denoiser, against the number of steps. Full lines with dots: noise of variance $\\sigma_t^2$. Dotted, with squares: $\\beta_t$; at $s = 1$ they lie on the black dashed line, which is the truth. Linear schedule.", "name": "fig-dm-variance"}, "image": {"alt": "Full lines below one, and dotted lines at or above one, which all approach one as the number of steps grows; the lines for the smallest standard deviation are the furthest away."}}
fig, ax = plt.subplots(figsize=(7.0, 3.2))
many = [50, 100, 200, 500, 1_000]
tables = [diffusion.alphas_cumprod_of(diffusion.linear_betas(T)) for T in many]
for i, std in enumerate((1.0, 0.5, 0.1)):
    for kind, style in (("posterior", "o-"), ("beta", "s:")):
        ratio = [variance_of_chain(std**2, table, kind) / std**2 for table in tables]
        label = f"$s = {std:g}$" if kind == "posterior" else None
        ax.semilogx(many, ratio, style, color=plotting.COLOURS[i], label=label, ms=4)
_ = plotting.reference_line(ax, 1.0, "data")
ax.set(xlabel="$T$", ylabel="variance / variance of the data", ylim=(0.3, 1.8))
ax.set_xticks(many, [f"{T:,}" for T in many])
ax.minorticks_off()
_ = ax.legend()

# %% [markdown]
r"""
{numref}`fig-dm-variance`: details that are small against 1 suffer most, and only more steps help.
We take $\sigma_t^2$, as the library diffusers does by default: with it the last step adds no noise, and the bound on the likelihood keeps the simple form that we use below.
One may also learn a value between the two {cite:p}`nichol2021`.

### Sampling: DDIM

**The loss only knows the distribution of each $x_t$ given $x_0$, not how the steps hang together; any chain with the same $q(x_t \mid x_0)$ may be reversed with the same network** {cite:p}`song2021ddim`.
One family of them, from step $t$ to any earlier step $s$, with a free $\tilde\sigma$:

$$
x_s = \sqrt{\bar\alpha_s}\, \hat x_0 + \sqrt{1 - \bar\alpha_s - \tilde\sigma^2}\; \hat\epsilon + \tilde\sigma\, \xi .
$$ (eq-dm-ddim)

If $\hat x_0$ and $\hat\epsilon$ are the true ones, then given $x_0$ the mean of $x_s$ is $\sqrt{\bar\alpha_s}\, x_0$ and its variance $(1 - \bar\alpha_s - \tilde\sigma^2) + \tilde\sigma^2 = 1 - \bar\alpha_s$, whatever $\tilde\sigma$ is.
One writes

$$
\tilde\sigma^2 = \eta^2\, \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t} \Bigl(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\Bigr).
$$ (eq-dm-eta)

With $\eta = 1$ and $s = t - 1$ this is DDPM, with $\tilde\sigma = \sigma_t$.
With $\eta = 0$ there is no randomness after the start: the sample is a function of $x_T$.
"""


# %% tags=["twin:dgm.samplers.ddim"]
@torch.no_grad()
def ddim(x, denoiser, alphas_cumprod, steps, *, eta=0.0, generator=None):
    for t, s in zip(steps, [*steps[1:], 0], strict=True):
        x0 = denoiser(x, t)
        kept_t, kept_s = alphas_cumprod[t].to(x), alphas_cumprod[s].to(x)
        variance = eta**2 * (1 - kept_s) / (1 - kept_t) * (1 - kept_t / kept_s)
        noise = diffusion.noise_of(x, x0, t, alphas_cumprod)
        x = kept_s.sqrt() * x0 + (1 - kept_s - variance).clamp(min=0).sqrt() * noise
        if eta > 0:
            xi = torch.randn(
                x.shape, generator=generator, device=x.device, dtype=x.dtype
            )
            x = x + variance.sqrt() * xi
        yield x


# %%
def few_steps(num_steps, num_few):
    """`num_few` steps from num_steps down, evenly spaced; the step to 0 comes last."""
    return [round(num_steps * (num_few - i) / num_few) for i in range(num_few)]


# %% [markdown]
r"""
The first check gives DDIM the true $x_0$ as its denoiser, and looks at the marginals.
The second takes Gaussian data, where each step multiplies $x$ by a number: with $\eta = 0$ the standard deviation of the result approaches that of the data, and the error halves when the steps are doubled, as for any method of first order.
"""

# %% tags=["check"]
x0 = torch.full((100_000, 1), 0.7, dtype=torch.float64)
xi = torch.randn(x0.shape, generator=g, dtype=torch.float64)
x = diffusion.q_sample(x0, T2, xi, linear)
steps = few_steps(T2, 5)
for eta in (0.0, 0.5, 1.0):
    states = ddim(x, lambda x, t: x0, linear, steps, eta=eta, generator=g)
    for s, state in zip([*steps[1:], 0], states, strict=True):
        rest = state - linear[s].sqrt() * x0
        if s in (40, 20):
            what = f"eta {eta}, s = {s}"
            checks.unbiased(f"{what}, mean", rest, [0.0])
            checks.unbiased(f"{what}, variance", rest.square(), (1 - linear[s])[None])
    checks.close(f"eta {eta}: ends at x_0", state, x0, atol=1e-12)
fixed = x0[:1].expand(100_000, 1) + 0.5
state = next(ddim(fixed, lambda x, t: x0, linear, steps, eta=0.5, generator=g))
kept_t, kept_s = linear[steps[0]], linear[steps[1]]
added = 0.25 * (1 - kept_s) / (1 - kept_t) * (1 - kept_t / kept_s)
checks.unbiased("eta 0.5: noise added", (state - state.mean()).square(), added[None])
noise_kept = ddim(x, lambda x, t: x0, linear, steps)
same = diffusion.q_sample(x0, steps[1], xi, linear)
checks.close("eta 0: the noise stays the same", next(noise_kept), same, atol=1e-12)
fine = diffusion.alphas_cumprod_of(diffusion.cosine_betas(1_000))
one, errors = torch.ones(1, dtype=torch.float64), []
for num_few in (25, 50, 100, 200):
    route = few_steps(1_000, num_few)
    *_, end = ddim(one, gaussian_denoiser(0.25, fine), fine, route)
    errors.append(abs(end.item() / 0.5 - 1))
print("relative error of the standard deviation:", *(f"{e:.4f}" for e in errors))
ratios = [a / b for a, b in pairwise(errors)]
checks.close("errors, ratio when the steps double", ratios, [2, 2, 2], atol=0.3)
first, second = (torch.Generator().manual_seed(1) for _ in range(2))
*_, a = ddpm(xi[:9], gaussian_denoiser(0.25, linear), linear, generator=first)
route, settings = few_steps(T2, T2), {"eta": 1.0, "generator": second}
*_, b = ddim(xi[:9], gaussian_denoiser(0.25, linear), linear, route, **settings)
checks.close("eta = 1 with all steps is DDPM", a, b, atol=1e-10)

# %%
roll_by_steps = {}
for eta in (0.0, 1.0):
    for num_few in (5, 10, 20, 50, 100):
        route = few_steps(T2, num_few)
        settings = {"eta": eta, "generator": run.generator(3)}
        *_, samples = ddim(start, denoiser, linear, route, **settings)
        good = sample_quality.modes_and_quality(samples.cpu().double(), centres, 0.1)
        roll_by_steps[eta, num_few] = good[1]

# %% tags=["check"]
if run.profile != "smoke":
    checks.at_least(
        "20 steps over 100", roll_by_steps[0.0, 20] / roll_by_steps[0.0, 100], 0.9
    )
    apart = [
        abs(roll_by_steps[0.0, n] - roll_by_steps[1.0, n]) for n in (10, 20, 50, 100)
    ]
    checks.at_most("with and without noise, difference", apart, 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Share of good samples of the learned denoiser, against the number of steps. Dashed: samples of the spiral itself.", "name": "fig-dm-roll-steps"}, "image": {"alt": "Two rising curves that lie close together and end near the dashed line."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
for eta, label in ((0.0, r"$\eta = 0$, DDIM"), (1.0, r"$\eta = 1$, DDPM")):
    points = [(n, good) for (e, n), good in roll_by_steps.items() if e == eta]
    ax.semilogx(*zip(*points, strict=True), "o-", label=label)
_ = plotting.reference_line(ax, quality["truth"], "spiral", side="left")
ax.set(xlabel="steps", ylabel="share of good samples", ylim=(0, 1.1))
ax.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
_ = ax.legend()

# %% [markdown]
r"""
In two dimensions the two are close, and twenty steps do nearly as well as a hundred.

## MNIST

### What the network predicts, and when

For images we change two things.
The *cosine schedule* {cite:p}`nichol2021` spends fewer steps where next to nothing of the image is left.
And the network predicts $v$ {cite:p}`salimans2022`:

$$
\begin{aligned}
v &= \sqrt{\bar\alpha_t}\, \epsilon - \sqrt{1 - \bar\alpha_t}\, x_0, \\
\hat x_0 &= \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, \hat v .
\end{aligned}
$$ (eq-dm-v)

To get $\hat x_0$ from a predicted noise one divides by $\sqrt{\bar\alpha_t}$, which is nearly zero at late times; from $v$ one divides by nothing.
The loss is the mean squared error of $v$ over pixels, times and noise.
In terms of the image it is

$$
\lVert v - \hat v \rVert^2 = \frac{\lVert x_0 - \hat x_0 \rVert^2}{1 - \bar\alpha_t} .
$$ (eq-dm-v-weight)
"""

# %%
T = P.num_steps
alphas_cumprod = diffusion.alphas_cumprod_of(diffusion.cosine_betas(T))
y_train = torch.tensor(run.data.labels[: len(x_train)], device=run.device).long()
y_test = torch.tensor(run.data.test_labels, device=run.device).long()

# %% tags=["check"]
few, t = dgm.float64(x_train[:50]), torch.randint(1, T + 1, (50,))
noise, wrong = torch.randn_like(few), torch.randn_like(few)
xt = diffusion.q_sample(few, t, noise, alphas_cumprod)
v = diffusion.v_of(few, noise, t, alphas_cumprod)
back = diffusion.x0_from_v(xt, v, t, alphas_cumprod)
checks.close("x_0 from v", back, few, atol=1e-10)
off = diffusion.x0_from_v(xt, v + wrong, t, alphas_cumprod) - few
lost = (1 - alphas_cumprod[t]).view(-1, 1, 1, 1)
checks.close("error in x_0 and in v", off.square() / lost, wrong.square(), rtol=1e-8)
left_over = alphas_cumprod[-1].sqrt().item()
print(f"left of the image at T: {left_over:.1e} of its amplitude")
checks.at_most("left at T", left_over, 0.01)

# %% [markdown]
r"""
### The U-Net

The prediction has the size of the image, and it needs two things: detail from nearby pixels, and an idea of the whole.
**A U-Net computes on a fine and on a coarse grid, and passes the fine one around the coarse one** {cite:p}`ronneberger2015`.
Ours is small.
The image of $28 \times 28$ is first folded into $14 \times 14$ with four channels, which loses nothing and leaves a quarter of the places to compute at; the coarse grid is $7 \times 7$.

{numref}`fig-dm-unet` shows the whole; its part is the *residual block*: two convolutions whose result is added to the input.
Between them the condition, which carries the time and the label, shifts every channel.
The second convolution starts at zero, so that a block starts as its shortcut: the identity, or a $1 \times 1$ convolution where the number of channels changes.
"""


# %% tags=["twin:dgm.models.unet.ResidualBlock"]
class ResidualBlock(nn.Module):
    def __init__(self, num_in, num_out, condition_dim):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, num_in)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, padding=1)
        self.shift = nn.Linear(condition_dim, num_out)
        self.norm2 = nn.GroupNorm(8, num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1)
        self.skip = (
            nn.Identity() if num_in == num_out else nn.Conv2d(num_in, num_out, 1)
        )
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x, condition):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.shift(condition)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The network, from left to right. Boxes: residual blocks, each told the time and the label, with their number of channels. In the upper row the grid has $14 \\times 14$ places, in the lower row $7 \\times 7$. The arc carries the fine grid around the coarse one; where it arrives, the channels of both are put together.", "name": "fig-dm-unet"}, "image": {"alt": "A drawing in the shape of a U. Upper left: the image is folded, and passes a block on the fine grid. An arrow leads down to two blocks on the coarse grid, another one up again to the last block on the fine grid, and out to the prediction of v. A dashed arc joins the first block directly to the last one."}}
fig, ax = plt.subplots(figsize=(5.4, 2.7))
places = {"fine, $W$": (2.2, 2), "merge, $W$": (6.4, 2)}
places |= {"coarse, $2W$": (3.2, 0.5), "coarse, $2W$ ": (5.5, 0.5)}
places |= {"$x_t$": (0.4, 2), r"$\hat v$": (8.55, 2)}
for name, (x, y) in places.items():
    box = dict(boxstyle="round", facecolor="white", edgecolor=plotting.COLOURS[0])
    ax.text(x, y, name, ha="center", va="center", fontsize=12, bbox=box)
for (x, y), (to_x, to_y), words in (
    ((0.7, 2), (1.55, 2), "fold"),
    ((2.3, 1.7), (3.1, 0.85), "down"),
    ((4.1, 0.5), (4.6, 0.5), ""),
    ((5.5, 0.85), (6.3, 1.7), "up"),
    ((7.2, 2), (8.3, 2), "unfold"),
):
    arrow = dict(arrowstyle="-|>", color="black", lw=1.4)
    ax.annotate("", (to_x, to_y), (x, y), arrowprops=arrow)
    shift = {"down": -0.65, "up": 0.55}.get(words, 0)
    ax.text((x + to_x) / 2 + shift, (y + to_y) / 2 + 0.12, words, ha="center")
around = dict(arrowstyle="-|>", color=plotting.COLOURS[1], lw=1.6, ls="--")
around["connectionstyle"] = "arc3,rad=-0.35"
ax.annotate("", (6.3, 2.3), (2.3, 2.3), arrowprops=around)
ax.set(xlim=(-0.1, 9.0), ylim=(0.0, 3.1))
_ = ax.set_axis_off()

# %% [markdown]
r"""
The time enters as 32 cosines and 32 sines of different frequency: a number alone would be hard to tell from its neighbours.
The label enters as a learned vector; there is an eleventh one that means "not told", for later.
"""


# %% tags=["twin:dgm.models.unet.time_features"]
def time_features(time, num_features):
    frequencies = torch.logspace(0, 3, num_features // 2, device=time.device)
    angles = time[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


# %% tags=["twin:dgm.models.unet.UNet"]
class UNet(nn.Module):
    def __init__(self, width, *, num_classes=10, condition_dim=128):
        super().__init__()
        self.num_classes = num_classes
        self.of_time = nn.Sequential(
            nn.Linear(64, condition_dim),
            nn.SiLU(),
            nn.Linear(condition_dim, condition_dim),
        )
        self.of_label = nn.Embedding(num_classes + 1, condition_dim)
        self.enter = nn.Conv2d(4, width, 3, padding=1)
        self.fine = ResidualBlock(width, width, condition_dim)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse1 = ResidualBlock(2 * width, 2 * width, condition_dim)
        self.coarse2 = ResidualBlock(2 * width, 2 * width, condition_dim)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        # What was put around the coarse grid comes back here, as half of the channels.
        self.merge = ResidualBlock(2 * width, width, condition_dim)
        self.leave = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 4, 3, padding=1)
        )
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, xt, time, labels):
        condition = F.silu(
            self.of_time(time_features(time, 64)) + self.of_label(labels)
        )
        # width x 14 x 14 on the fine grid, 2 width x 7 x 7 on the coarse one.
        fine = self.fine(self.enter(F.pixel_unshuffle(xt, 2)), condition)
        h = self.coarse1(self.down(fine), condition)
        h = self.up(self.coarse2(h, condition))
        # Back on the fine grid: 2 width x 14 x 14 enter, 4 x 14 x 14 leave.
        h = self.merge(torch.cat([h, fine], dim=1), condition)
        return F.pixel_shuffle(self.leave(h), 2)


# %%
torch.manual_seed(run.seed)
network = UNet(P.width).to(run.device)
NOT_TOLD = network.num_classes

# %% tags=["check"]
time = torch.linspace(0, 1, 50, device=run.device)
labels = torch.full((50,), NOT_TOLD, device=run.device)
with torch.no_grad():
    first = network(x_train[:50], time, labels)
checks.close("the network starts at zero", first, torch.zeros_like(first))
folded = F.pixel_unshuffle(few, 2)
checks.close("shape when folded", list(folded.shape), [50, 4, 14, 14])
checks.close("folding loses nothing", F.pixel_shuffle(folded, 2), few)
W, C = P.width, 128
block = [
    2 * a + 9 * a * b + b + C * b + b + 2 * b + 9 * b * b + b + (a * b + b) * (a != b)
    for a, b in ((W, W), (2 * W, 2 * W), (2 * W, 2 * W), (2 * W, W))
]
rest = (
    65 * C
    + (C + 1) * C
    + 11 * C
    + 37 * W
    + 2 * (8 * W * W)
    + 3 * W
    + 2 * W
    + 36 * W
    + 4
)
count = sum(p.numel() for p in network.parameters())
checks.close("parameters, by hand", count, sum(block) + rest)
distinct = torch.cdist(time_features(time, 64), time_features(time, 64))
checks.at_least("distance of two times", distinct[~torch.eye(50, dtype=bool)].min(), 1)

# %% [markdown]
r"""
### Training

Each batch spreads its times evenly over $1 \ldots T$, one in each stretch of $T$ / batch size: the loss is the same on average, and fluctuates less from batch to batch.
One label in ten is replaced by "not told".
Adam with a constant rate keeps the weights moving; **the weights that we use are their moving average**,

$$
\bar\theta \leftarrow \lambda\, \bar\theta + (1 - \lambda)\, \theta ,
$$ (eq-dm-average)

with $\lambda = 0.995$ in the profile `quick`, an average over some 200 steps.
Convolutions compute in 16-bit floating point, bfloat16, where the machine has instructions for it: `mixed_precision` looks.
`resumed` shows the progress; in the profile `full` it also keeps checkpoints, so that an interrupted training goes on where it was.
"""


# %%
def spread_times(batch_size):
    """Steps from 1 to T, one in each of batch_size equal stretches, all equally likely."""
    offsets = torch.rand(batch_size, device=run.device)
    places = (torch.arange(batch_size, device=run.device) + offsets) / batch_size
    return (places * T).long().clamp(max=T - 1) + 1


def v_loss(network, x0, labels, t, noise):
    """Mean over pixels of the squared error of v, one number for each image."""
    xt = diffusion.q_sample(x0, t, noise, alphas_cumprod)
    v = diffusion.v_of(x0, noise, t, alphas_cumprod)
    with mixed_precision(run.device):
        guess = network(xt, t / T, labels)
    return (v - guess.float()).square().mean((1, 2, 3))


def drop(labels):
    """Labels, of which one in ten is replaced by "not told"."""
    return torch.where(
        torch.rand(labels.shape, device=run.device) < 0.1, NOT_TOLD, labels
    )


def train(network, average, optimiser, num_steps, done=0):
    """Yields the number of each step, its loss, and one weight after it."""
    for step in range(done, num_steps):
        rows = torch.randint(len(x_train), (P.batch_size,), device=run.device)
        x0, t = x_train[rows], spread_times(P.batch_size)
        labels, noise = drop(y_train[rows]), torch.randn_like(x0)
        loss = v_loss(network, x0, labels, t, noise).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        average.update_parameters(network)
        yield step, loss.detach(), network.enter.weight[0, 0, 0, 0].detach()


# %%
average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(P.decay))
optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
losses, one_weight = torch.zeros(2, P.train_steps, device=run.device)
steps = resumed(
    run.checkpoints("unet"),
    "U-Net",
    P.train_steps,
    dict(
        network=network,
        average=average,
        optimiser=optimiser,
        losses=losses,
        one_weight=one_weight,
    ),
    lambda done: train(network, average, optimiser, P.train_steps, done),
)
for step, loss, weight in steps:
    losses[step], one_weight[step] = loss, weight
losses, one_weight = losses.cpu(), one_weight.cpu()
average = average.module.eval().requires_grad_(False)
_ = network.eval()

# %% [markdown]
r"""
To what can we compare the loss?
A network that always says 0 has the loss $\mathbb{E}\, v^2 = \bar\alpha_t + (1 - \bar\alpha_t)\, \mathbb{E}\, x_0^2$.
The best *linear* denoiser has a closed form, too.
With the eigenvalues $\lambda_i$ of the covariance of the images, the best linear guess of $x_0$ leaves $\lambda_i (1 - \bar\alpha_t) / (\bar\alpha_t \lambda_i + 1 - \bar\alpha_t)$ in direction $i$, and with {eq}`eq-dm-v-weight`

$$
L_\text{linear} = \frac{1}{784} \sum_i \frac{\lambda_i}{\bar\alpha_t \lambda_i + 1 - \bar\alpha_t} .
$$ (eq-dm-linear)

Whatever the network gains below that line is what images have beyond their covariance.
"""

# %%
kept = alphas_cumprod[1:]
flat = x_train.view(len(x_train), -1)
spread, fan = torch.linalg.eigh(dgm.float64(flat.T.cov()))
spread = spread.clamp(min=0)
linear_loss = (spread / (kept[:, None] * spread + 1 - kept[:, None])).mean(1)
zero_loss = kept + (1 - kept) * x_train.square().mean().item()


@torch.no_grad()
def held_out_loss(network):
    """v-loss of 2,000 test images at their times, not told their labels."""
    noise = normal(*held_out.shape, offset=4)
    labels = torch.full_like(held_out_times, NOT_TOLD)
    return dgm.float64(v_loss(network, held_out, labels, held_out_times, noise))


held_out = x_test[:2_000]
held_out_times = spread_times(len(held_out))
on_test, on_test_last = held_out_loss(average), held_out_loss(network)


# %% tags=["check"]
print(f"loss on test images {on_test.mean():.4f}, of the best linear denoiser", end=" ")
print(f"{linear_loss.mean():.4f}, of the answer zero {zero_loss.mean():.4f}")
powers = P.decay ** torch.arange(len(one_weight) - 1, -1, -1).double()
powers[1:] *= 1 - P.decay
mean_weight = (powers * dgm.float64(one_weight)).sum()
found = average.enter.weight[0, 0, 0, 0]
# float32 rounds each addition, to 1e-8 of so small a number; an early error is forgotten.
checks.close("one averaged weight", found, mean_weight, atol=1e-5)
checks.at_least("its distance from the last", (found - one_weight[-1]).abs(), 3e-5)
many = torch.stack([spread_times(P.batch_size) for _ in range(400)])
quarters = [T * i // 4 for i in range(5)]
shares, exact_shares = [], []
for low, high in pairwise(quarters):
    shares.append(dgm.float64((many > low) & (many <= high)).mean().item())
    exact_shares.append((high - low) / T)
# A batch misses a share by at most one example at each end: standard deviation below 1 / batch size.
tolerance = 5 / P.batch_size / 400**0.5
checks.close("times are even", shares, exact_shares, atol=tolerance)
uniform = torch.randint(1, T + 1, many.shape, device=run.device)
row = [linear_loss[times.cpu() - 1].mean(1).std().item() for times in (many, uniform)]
checks.at_most("fluctuation, spread over uniform times", row[0] / row[1], 0.5)
checks.close("first and last time", [many.min(), many.max()], [1, T])
x0, noise = x_train[:2_000], torch.randn_like(x_train[:2_000])
t_half = torch.full((len(x0),), T // 2, device=run.device)
centre, half = dgm.float64(flat.mean(0)), alphas_cumprod[T // 2].item()
xt = dgm.float64(diffusion.q_sample(x0, t_half, noise, alphas_cumprod).flatten(1))
gain = half**0.5 * spread / (half * spread + 1 - half)
guess = centre + (((xt - half**0.5 * centre) @ fan) * gain) @ fan.T
left = (guess - x0.cpu().flatten(1)).square().mean(1) / (1 - half)
# The covariance is that of all training images, the loss that of 2,000 of them.
checks.unbiased("linear denoiser at T/2", left, linear_loss[T // 2 - 1].item())
if run.profile != "smoke":
    checks.at_most(
        "loss over the linear one's", on_test.mean() / linear_loss.mean(), 0.75
    )
    checks.ordered(
        "loss", {"average": on_test.mean(), "last step": on_test_last.mean()}
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: loss while training, mean over 1 % of the steps. Dashed: the best linear denoiser. Right: loss on test images against time, with its standard error; data are at the left end.", "name": "fig-dm-loss"}, "image": {"alt": "Left: a curve that falls below a dashed line early and flattens. Right: two curves that are high at the two ends of the time axis; the network's runs below the linear denoiser's for most of the way."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
width = max(1, len(losses) // 100)
smooth = losses[: len(losses) // width * width].view(-1, width).mean(1)
left.plot(width * torch.arange(1, len(smooth) + 1), smooth)
_ = plotting.reference_line(left, linear_loss.mean().item(), "linear")
left.set(xlabel="step", ylabel="squared error of $v$ per pixel", ylim=(0, 0.6))
bins = 12
edges = torch.arange(bins) * T / bins
which = torch.bucketize(dgm.float64(held_out_times), edges.double()) - 1
parts = [on_test[which == i] for i in range(bins)]
means = [part.mean() for part in parts]
bars = [part.std() / len(part) ** 0.5 for part in parts]
middles = (torch.arange(bins) + 0.5) / bins
right.errorbar(middles, means, bars, fmt="o-", ms=4, label="network")
times = torch.arange(1, T + 1) / T
right.plot(times, linear_loss, "--", color="black", label="linear")
right.set(xlabel="time $t / T$", ylabel="squared error of $v$", ylim=(0, None))
_ = right.legend()

# %% [markdown]
r"""
**What you should see.** The loss passes the linear denoiser early and then falls slowly.
(While it trains the network is told the label of nine images in ten, which the linear denoiser is not; in the right panel nobody is told.)
Over time it is high at both ends: near the data, $v$ is nearly the noise, which hides in the finest detail; near pure noise, $v$ is nearly minus the image, which nobody can guess.

### From noise to digits

The denoiser clips its prediction to the range of pixels: no image lies outside, and an error at an early step is not carried on.
(The noise that goes with a clipped prediction is computed from it.)
"""


# %%
@torch.no_grad()
def predict_v(network, x, t, labels):
    """Prediction of v for images at one step t."""
    time = torch.full((len(x),), t / T, device=x.device)
    with mixed_precision(x.device):
        return network(x, time, labels).float()


def denoiser_of(network, labels):
    """Prediction of x_0 for images of the given labels."""

    def denoiser(x, t):
        v = predict_v(network, x, t, labels)
        return diffusion.x0_from_v(x, v, t, alphas_cumprod).clamp(-1, 1)

    return denoiser


film_labels = torch.arange(20, device=run.device) % 10
denoise = denoiser_of(average, film_labels)
x = normal(20, 1, 28, 28, offset=5)
chain = [x, *ddpm(x, denoise, alphas_cumprod, generator=run.generator(6))]

# %% tags=["check"]
labels = y_test[:20]
t = torch.full((20,), max(1, T // 3), device=run.device)
noise = normal(20, 1, 28, 28, offset=12)
xt = diffusion.q_sample(x_test[:20], t, noise, alphas_cumprod)
v = diffusion.v_of(x_test[:20], noise, t, alphas_cumprod)
by_hand = (v - predict_v(average, xt, int(t[0]), labels)).square().mean((1, 2, 3))
with torch.no_grad():
    ours = v_loss(average, x_test[:20], labels, t, noise)
checks.close("sampler and training call the network alike", by_hand, ours, rtol=1e-5)
checks.at_most("predictions are clipped", denoise(10 * x, T).abs(), 1.0)
dropped = drop(torch.zeros(20_000, dtype=torch.long, device=run.device)) == NOT_TOLD
checks.unbiased("labels not told", dgm.float64(dropped), 0.1)

# %% tags=["plot"] mystnb={"figure": {"caption": "Twenty samples. Left: the state of the chain, clipped for display. Right: what the network takes the clean image to be. The network is told to make two of each digit, and does not always succeed. Its guess starts from a blur, and decides step by step.", "name": "fig-dm-film"}}
shown = sorted({T - round(T * i / 16) for i in range(17)}, reverse=True)


def film_frames():
    for t in shown:
        x = chain[T - t]
        guess = denoise(x, t) if t else x
        sheets = [
            plotting.tile((1 + a[:, 0].cpu().clamp(-1, 1)) / 2, columns=5)
            for a in (x, guess)
        ]
        gap = torch.full((len(sheets[0]), 6), 0.15).numpy()
        yield torch.cat(
            [torch.as_tensor(a) for a in (sheets[0], gap, sheets[1])], 1
        ).numpy()


plotting.film(
    film_frames(),
    alt=(
        "A film in two halves. Left: twenty images that are noise at first and become "
        "digits. Right: the prediction of the clean images: a blur at first, then digits "
        "whose strokes change and settle."
    ),
    labels=[f"t = {t} of {T}" for t in shown],
)

# %% [markdown]
r"""
### What a pixel looks at

The gradient of one predicted pixel with respect to all the pixels of the noisy image shows what the prediction depends on.
The mean distance below is weighted with its square.
"""


# %%
def dependence(t, num_images=32):
    """Mean square of the derivative of the central predicted pixel by each pixel."""
    x0 = x_test[:num_images]
    xt = diffusion.q_sample(x0, t, normal(*x0.shape, offset=7), alphas_cumprod)
    xt.requires_grad_(True)
    time = torch.full((len(x0),), t / T, device=run.device)
    labels = torch.full((len(x0),), NOT_TOLD, device=run.device)
    guess = diffusion.x0_from_v(xt, average(xt, time, labels), t, alphas_cumprod)
    (gradient,) = torch.autograd.grad(guess[:, 0, 14, 14].sum(), xt)
    return gradient.square().mean((0, 1)).cpu()


reach = [max(1, round(T * share)) for share in (0.05, 0.3, 0.6, 0.9)]
maps = [dependence(t) for t in reach]
rows, columns = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
distance = ((rows - 14) ** 2 + (columns - 14) ** 2).sqrt()
radius = [((m * distance).sum() / m.sum()).item() for m in maps]
print("mean distance in pixels:", *(f"{r:.1f}" for r in radius))

# %% tags=["check"]
if run.profile != "smoke":
    row = {f"t = {t}": r for t, r in zip(reach, radius, strict=True)}
    checks.ordered("mean distance", row)
    share = maps[0][12:17, 12:17].sum() / maps[0].sum()
    checks.at_least("share within two pixels, little noise", share, 0.9)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "What the prediction of the central pixel depends on, at four times: root mean square of the derivative over 32 test images, each picture scaled to its largest value (black).", "name": "fig-dm-reach"}, "image": {"alt": "Four pictures. At the earliest time one dark spot in the centre; at later times the spot widens to a dark core with a grey halo of several pixels."}}
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.2))
for ax, t, m in zip(axes, reach, maps, strict=True):
    ax.imshow(-(m / m.max()).sqrt(), cmap="gray")
    ax.set_axis_off()
    ax.set_title(f"$t / T = {t / T:.2f}$", fontsize=11)

# %% [markdown]
r"""
With little noise a pixel is read off where it stands, and from its neighbours.
With much noise places further away have a say.

## How good are the samples?

The yardsticks are those of [the GAN lecture](gan_mnist.ipynb), so that the numbers can be laid side by side.
Labels are drawn from the training set; images are clipped to the range of pixels and rounded to 8 bits, as files are.

```{margin}
**A common mistake:** samples with exactly as many of each label: a stratified sample has less spread than a random one, and a better Fréchet distance for free.
```
"""


# %%
def in_parts(sampler, num_samples, offset, part=500):
    """Images in [0, 1] and labels, a part at a time so that the memory suffices."""
    source, images, told = run.generator(offset), [], []
    for count in torch.arange(num_samples).split(part):
        rows = torch.randint(
            len(y_train), (len(count),), generator=source, device=run.device
        )
        shape = (len(count), 1, 28, 28)
        x = torch.randn(shape, generator=source, device=run.device)
        *_, end = sampler(x, y_train[rows], source)
        images.append(sample_quality.as_eight_bit((1 + end.flatten(1)) / 2))
        told.append(y_train[rows])
    return torch.cat(images), torch.cat(told)


def by_ddpm(network):
    def sampler(x, labels, source):
        return ddpm(x, denoiser_of(network, labels), alphas_cumprod, generator=source)

    return sampler


def by_ddim(network, num_few, eta=0.0):
    def sampler(x, labels, source):
        route = few_steps(T, min(num_few, T))
        settings = {"eta": eta, "generator": source}
        return ddim(x, denoiser_of(network, labels), alphas_cumprod, route, **settings)

    return sampler


# %%
sets, told, calls = {}, {}, {}
for name, sampler, count in (
    (f"DDPM, {T} steps", by_ddpm(average), P.num_fd),
    ("DDIM, 50 steps", by_ddim(average, 50), P.num_fd),
    ("DDIM, 20 steps", by_ddim(average, 20), P.num_samples),
    ("DDIM, 10 steps", by_ddim(average, 10), P.num_fd),
    ("DDIM, 5 steps", by_ddim(average, 5), P.num_fd),
    ("DDPM, 10 of the steps", by_ddim(average, 10, eta=1.0), P.num_fd),
    ("weights of the last step", by_ddim(network, 20), P.num_fd),
):
    before = run.seconds
    sets[name], told[name] = in_parts(sampler, count, offset=8)
    each = (run.seconds - before) / count
    print(f"{name:23}{count:7,} images{1_000 * each:7.1f} ms each")
    calls[name] = each
first, *_ = sets

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Samples, the first twelve of each set, not chosen. All rows start from the same noise, with the same labels, which stand at the bottom; the last row is DDIM with 20 steps and the weights that the training ended with.", "name": "fig-dm-samples"}, "image": {"alt": "Rows of twelve digits. The rows of DDIM show the same digits, almost the same strokes with 50, 20 and 10 steps, smoother with 5. The row of DDPM shows other drawings of digits."}}
fig, axes = plt.subplots(len(sets), 1, figsize=(7.0, 0.85 * len(sets)))
for ax, (name, images) in zip(axes, sets.items(), strict=True):
    _ = plotting.image_grid(images[:12].cpu(), columns=12, ax=ax)
    ax.set_title(name, fontsize=10, loc="left", pad=2)
for i, label in enumerate(told[first][:12].tolist()):
    axes[-1].text(16 + 30 * i, 34, f"{label}", ha="center", va="top")
_ = axes[-1].text(-4, 34, "told", ha="right", va="top")

# %% tags=["check"]
a, b = sets["DDIM, 50 steps"], sets["DDIM, 20 steps"][: P.num_fd]
same = (a - b).norm(dim=1).mean() / (a - a.roll(1, 0)).norm(dim=1).mean()
if run.on_mnist and run.profile != "smoke":
    checks.at_most("50 or 20 steps, over two different samples", same, 0.5)

# %% [markdown]
r"""
DDIM draws no noise after its start, so the number of steps changes the drawing only a little.
**What you should see.** Most are digits, and some are not, or not the digit that was asked for: guidance, below, mends the second.

### Fréchet distance, labels, confidence

The distance between features of our classifier, as a ratio to that of training and test images.
At 500 images, most of the distance of two *equal* distributions is its own bias, which shrinks like one over the number of images; so a ratio can fall below 1 where a model is a little too regular.
With 2,000 images it is a stricter test, and the ratio is larger; we record both.
"""

# %%
judge = classifier.load(run.device)
shuffle = torch.randperm(len(x_test), generator=torch.Generator().manual_seed(0))
real = (1 + x_test.flatten(1)[shuffle.to(run.device)]) / 2
training_images = (1 + x_train.flatten(1)) / 2


@torch.no_grad()
def features(images):
    parts = [judge.features(part) for part in images.split(2_000)]
    return dgm.float64(torch.cat(parts))


real_features, train_features = features(real), features(training_images[: len(real)])


def mean_distance(a, num_images, num_blocks=10):
    """Mean over pairs of disjoint blocks, and its standard error over the blocks of a."""
    blocks = list(a.split(num_images))[: max(1, min(num_blocks, len(a) // num_images))]
    others = list(real_features.split(num_images))[
        : min(num_blocks, len(real) // num_images)
    ]
    values = torch.tensor(
        [[sample_quality.frechet_distance(a, b) for b in others] for a in blocks]
    )
    error = (
        values.mean(1).std().item() / len(blocks) ** 0.5 if len(blocks) > 1 else None
    )
    return values.mean().item(), error


floor, _ = mean_distance(train_features, P.num_fd, 4)
ratios = {}
for name, images in sets.items():
    value, error = mean_distance(features(images), P.num_fd, 4)
    ratios[name] = value / floor, error and error / floor
    print(f"{name:24} Fréchet ratio {value / floor:.2f}")
large = min(P.num_samples, len(real), len(train_features))
strict = mean_distance(features(sets["DDIM, 20 steps"]), large)[0]
strict /= mean_distance(train_features, large, 4)[0]
print(f"DDIM, 20 steps, {large:,} images: Fréchet ratio {strict:.2f}")

# %%
with torch.no_grad():
    labelled = {name: judge(images).softmax(1) for name, images in sets.items()}
    labelled["test images"] = judge(real).softmax(1)
sure = {name: dgm.float64(p.max(1).values) for name, p in labelled.items()}
agreement = {
    name: dgm.float64(labelled[name].argmax(1) == told[name]).mean().item()
    for name in sets
}
print(" " * 23 + "confidence  label as told")
for name in labelled:
    print(f"{name:23}{sure[name].mean():10.4f}", end="")
    print(f"{agreement[name]:15.3f}" if name in agreement else "")

# %% tags=["check"]
fd_protocol = (
    f"64 features of our classifier, {P.num_fd:,} samples with labels drawn from the "
    f"training set against {P.num_fd:,} test images, over training against test"
)
for suffix, name in (
    ("", first),
    ("_ddim50", "DDIM, 50 steps"),
    ("_ddim20", "DDIM, 20 steps"),
    ("_ddim10", "DDIM, 10 steps"),
    ("_ddpm10", "DDPM, 10 of the steps"),
    ("_last_step", "weights of the last step"),
):
    value, error = ratios[name]
    words = f"{name}; {fd_protocol}"
    name = f"classifier_fd_ratio{suffix}"
    _ = run.record(name, value, unit="1", protocol=words, standard_error=error)
words = f"DDIM, 20 steps; the same with {large:,} images on each side"
_ = run.record("classifier_fd_ratio_ddim20_large", strict, unit="1", protocol=words)
for suffix, name in (
    ("", first),
    ("_ddim20", "DDIM, 20 steps"),
    ("_test", "test images"),
):
    p, error = sure[name].mean(), sure[name].std() / len(sure[name]) ** 0.5
    words = (
        f"mean top probability of our classifier, {len(sure[name]):,} images, {name}"
    )
    name = f"classifier_confidence{suffix}"
    _ = run.record(name, p, unit="1", protocol=words, standard_error=error)

# %% [markdown]
r"""
The GAN's numbers are read from its results file, if that lecture has run in the same profile.
"""

# %% tags=["check"]
gan = {name: m["value"] for name, m in recorded("gan_mnist").items()}
fd = {name: value for name, (value, _) in ratios.items()}
few = "DDIM, 20 steps"
if not gan:
    print("the GAN's numbers: not run in this profile")
else:
    print(f"GAN: Fréchet ratio {gan['classifier_fd_ratio']:.2f}", end=", ")
    print(f"confidence {gan['classifier_confidence']:.4f}")
if run.on_mnist and run.profile != "smoke":
    rows = {"all steps with noise": fd[first], "without": fd["DDIM, 50 steps"]}
    checks.ordered("Fréchet ratio", rows)
    rows = {"with noise": fd["DDPM, 10 of the steps"], "without": fd["DDIM, 10 steps"]}
    checks.ordered("ten steps", rows)
    checks.at_least("the classifier is sure", sure[first].mean(), 0.9)
    rows = {f"{P.num_fd}": fd[few], f"{large:,}": strict}
    checks.ordered("Fréchet ratio, number of images", rows)
    rows = {n: agreement[f"DDIM, {n} steps"] for n in (50, 5)}
    checks.ordered("label as told, 50 and 5 steps", rows)
    rows = {n: fd[f"DDIM, {n} steps"] for n in (50, 5)}
    checks.ordered("Fréchet ratio, 50 and 5 steps", rows)
    gain = fd[few] / fd["weights of the last step"]
    checks.at_most("Fréchet ratio, average over last weights", gain, 1.25)
    for name in (first, few) if gan else ():
        ratio = fd[name] / gan["classifier_fd_ratio"]
        checks.at_most(f"{name}: ratio over the GAN's", ratio, 0.5)
        rows = {"GAN": gan["classifier_confidence"], name: sure[name].mean()}
        checks.ordered("confidence", rows)

if run.on_mnist and run.profile == "full":
    checks.at_most("DDPM", fd[first], 3)
    checks.at_most("DDIM, 20 steps", fd[few], 4)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Fréchet ratio against the number of network calls for a sample: DDIM, and DDPM with ten of the steps and with all. Dashed: training images.", "name": "fig-dm-steps"}, "image": {"alt": "The ratio of DDIM falls from five to ten calls and changes less from there on. Two squares for DDPM lie lower, one at ten calls, one at the right end."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
by_steps = [(n, fd[f"DDIM, {n} steps"]) for n in (5, 10, 20, 50)]
ax.semilogx(*zip(*by_steps, strict=True), "o-", label="DDIM")
ax.plot([10, T], [fd["DDPM, 10 of the steps"], fd[first]], "s", label="DDPM")
_ = plotting.reference_line(ax, 1.0, "training images", side="left")
ax.set(xlabel="network calls", ylabel="Fréchet ratio", ylim=(0, None))
ax.set_xticks([5, 10, 20, 50, T], ["5", "10", "20", "50", str(T)])
ax.minorticks_off()
_ = ax.legend()

# %% [markdown]
r"""
**What you should see.** DDIM gains little beyond ten or twenty steps.
By this score DDPM is better here, even with ten of the steps; a likely reason is that fresh noise washes out part of the errors that the network made before.
(For the networks of {cite:t}`song2021ddim` it is the other way round at few steps; the order depends on the network, and on the score.)
The stricter test, with more images, gives a larger ratio: at 500 images the bias of both distances hides much of the difference.

The scores do not always agree.
With five steps of DDIM more samples show the label they were told than with fifty, and the Fréchet distance is worse.
And the samples of the last weights may score as well as those of the moving average, or much worse: where the last steps left them is luck.
Change the seed, and look at the row "weights of the last step".

### The rest of the board

Maximum mean discrepancy, a classifier that is trained to tell samples from test images, the distance to the nearest training image, and Parzen windows.
"""


# %%
def parzen_score(samples):
    """Mean and standard error of the Parzen log-likelihood of the test images."""
    choose = torch.from_numpy(run.data.vectors("valid")[:1_000]).to(run.device)
    widths = torch.logspace(-1, 0, 10).tolist()
    score = sample_quality.parzen_log_prob
    means = [score(choose, samples, std).mean().item() for std in widths]
    values = dgm.float64(score(real, samples, widths[means.index(max(means))]))
    return values.mean().item(), values.std().item() / len(values) ** 0.5


def nearest(images):
    """Squared distance of each image to the nearest training image."""
    return sample_quality.squared_distances(images, training_images).min(1).values


samples = sets["DDIM, 20 steps"]
order = torch.randperm(len(training_images), generator=torch.Generator().manual_seed(0))
some = order[: len(samples)].to(run.device)
half = dgm.float64(real[: len(samples)])
bandwidth = sample_quality.median_distance(half)
near_real = nearest(real[:500])
scores = {}
for name, x in (("samples", samples), ("training images", training_images[some])):
    scores[name] = {
        "mmd2": sample_quality.mmd2_unbiased(dgm.float64(x), half, bandwidth),
        "told": sample_quality.two_sample_accuracy(real[: len(samples)], x),
        "parzen": parzen_score(x),
        "too near": dgm.float64(nearest(x[:500]) < near_real.quantile(0.01))
        .mean()
        .item(),
    }
    row = scores[name]
    print(
        f"{name}: MMD^2 {row['mmd2']:.5f}, told from test {row['told'][0]:.3f},",
        end="\n    ",
    )
    print(f"Parzen {row['parzen'][0]:.1f} nats, too near {row['too near']:.3f}")
if gan:
    print(f"GAN: MMD^2 {gan['mmd2_unbiased_fake_vs_real']:.5f}")

# %% tags=["check"]
ours, count = scores["samples"], f"{len(samples):,}"
words = (
    f"U-statistic, {count} samples of DDIM-20 against {count} test images in [0, 1], "
    "Gaussian kernel of the median distance"
)
_ = run.record("mmd2_unbiased_ddim20", ours["mmd2"], unit="1", protocol=words)
told_right, error = ours["told"]
words = (
    f"fresh discriminator, held-out half of {count} samples of DDIM-20 and test images"
)
_ = run.record(
    "two_sample_accuracy", told_right, unit="1", protocol=words, standard_error=error
)
value, error = ours["parzen"]
_ = run.record(
    "parzen_log_likelihood",
    value,
    unit="nats",
    protocol=(
        f"{count} samples of DDIM-20, width from logspace(-1, 0, 10) on 1,000 of the "
        f"last 10,000 training images, {len(real):,} test images"
    ),
    standard_error=error,
    published=219.7 if len(samples) == 10_000 else None,
    source="Sohl-Dickstein et al. 2015: 317 bits, 10,000 samples",
)
if run.on_mnist and run.profile == "full":
    checks.at_least("Parzen", value, 219.7)
checks.close("reciting is seen", scores["training images"]["too near"], 1.0)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("samples too near to training images", ours["too near"], 0.1)
    row = {name: row["mmd2"] for name, row in scores.items()}
    checks.ordered("MMD^2", dict(reversed(row.items())))
    row = {name: row["parzen"][0] for name, row in scores.items()}
    checks.ordered("Parzen", row)
    checks.at_most("told from test images", told_right, 0.65)
if gan and run.on_mnist and run.profile != "smoke":
    mmd = {"diffusion": ours["mmd2"], "GAN": gan["mmd2_unbiased_fake_vs_real"]}
    checks.ordered("MMD^2", mmd)

# %% [markdown]
r"""
**What you should see.** The mean discrepancy is above that of training images, and below the GAN's.
A fresh classifier does little better than a coin: with so few images it learns little, so this is a weak test.
(The GAN lecture trains the classifier that tells samples from test images on 5,000 of each, so that its number is not to be compared with this one.)
*Too near* is the share of 500 images that lie nearer to a training image than all but 1 % of the test images do: the model does not recite.
The Parzen number grows with the number of samples; it can be compared with the published one only at 10,000, in the profile `full`.

## Guidance

### Towards a label

A sample should look like its label.
**Classifier-free guidance takes the prediction with the label, and pushes it further away from the prediction without** {cite:p}`ho2022guidance`:

$$
\hat v_w = (1 + w)\, \hat v(x_t, t, y) - w\, \hat v(x_t, t, \varnothing) .
$$ (eq-dm-guidance)

The same holds for $\hat x_0$, $\hat\epsilon$ and the score: for given $x_t$ each of them is a factor times $\hat v$ plus a term that does not depend on the prediction, and since $(1 + w) - w = 1$ that term comes out once.
$w = 0$ is the model with the label, $w = -1$ the one without.
(Some programs call $1 + w$ the scale; then 1 is the model with the label.)
"""


# %%
def guided(network, labels, weight):
    """Denoiser with classifier-free guidance."""
    nothing = torch.full_like(labels, NOT_TOLD)

    def denoiser(x, t):
        v = (1 + weight) * predict_v(network, x, t, labels)
        v = v - weight * predict_v(network, x, t, nothing)
        return diffusion.x0_from_v(x, v, t, alphas_cumprod).clamp(-1, 1)

    return denoiser


def by_guidance(weight):
    def sampler(x, labels, source):
        route = few_steps(T, 20)
        return ddim(x, guided(average, labels, weight), alphas_cumprod, route)

    return sampler


weights = (0, 1, 4)
guided_sets = {w: in_parts(by_guidance(w), P.num_fd, offset=8) for w in weights}
steered = {}
for w, (images, labels) in guided_sets.items():
    with torch.no_grad():
        p = judge(images).softmax(1)
    right = dgm.float64(p.argmax(1) == labels).mean().item()
    ratio = mean_distance(features(images), P.num_fd, 4)[0] / floor
    steered[w] = right, p.max(1).values.mean().item(), ratio
    print(f"w = {w}: label as told {right:.3f}, confidence", end=" ")
    print(f"{steered[w][1]:.4f},\n       Fréchet ratio {ratio:.2f}")

# %% tags=["check"]
x, y = normal(8, 1, 28, 28, offset=9), torch.arange(8, device=run.device)
with_label = denoiser_of(average, y)(x, T // 2)
without = denoiser_of(average, torch.full_like(y, NOT_TOLD))(x, T // 2)
checks.close("w = 0: with the label", guided(average, y, 0)(x, T // 2), with_label)
checks.close("w = -1: without", guided(average, y, -1)(x, T // 2), without)
v_y, v_free = (
    predict_v(average, x, T // 2, a) for a in (y, torch.full_like(y, NOT_TOLD))
)
twice = diffusion.x0_from_v(x, v_y + (v_y - v_free), T // 2, alphas_cumprod).clamp(
    -1, 1
)
x0_y, x0_free = (
    diffusion.x0_from_v(x, v, T // 2, alphas_cumprod) for v in (v_y, v_free)
)
combined = (3 * x0_y - 2 * x0_free).clamp(-1, 1)
checks.close("w = 2 by x_0", guided(average, y, 2)(x, T // 2), combined, atol=1e-5)
checks.close("w = 1: as far again", guided(average, y, 1)(x, T // 2), twice, atol=1e-5)

# %% tags=["check"]
right = steered[1][0]
_ = run.record(
    "classifier_label_agreement",
    right,
    unit="1",
    protocol=(
        f"share of {P.num_fd:,} class-conditional samples, DDIM with 20 steps and "
        "guidance w = 1, to which our classifier gives their label"
    ),
    standard_error=(right * (1 - right) / P.num_fd) ** 0.5,
)
free = agreement["DDIM, 20 steps"]
_ = run.record(
    "classifier_label_agreement_unguided",
    free,
    unit="1",
    protocol=f"the same for {P.num_samples:,} samples without guidance, w = 0",
    standard_error=(free * (1 - free) / P.num_samples) ** 0.5,
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("label as told", right, 0.85)
    checks.ordered(
        "label as told", {f"w = {w}": row[0] for w, row in steered.items()}, slack=0.01
    )
    checks.ordered("Fréchet ratio", {"w = 0": steered[0][2], "w = 4": steered[4][2]})
    within = {
        w: sum(features(images)[y == k].var(0).sum() for k in range(10)) / 10
        for w, (images, y) in guided_sets.items()
    }
    checks.ordered("variance within a label", {"w = 4": within[4], "w = 0": within[0]})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The same noise and the same labels with guidance of three weights.", "name": "fig-dm-guided"}, "image": {"alt": "Three rows of fourteen digits. Each column keeps its digit; from the first row to the last the digits become plainer."}}
fig, axes = plt.subplots(3, 1, figsize=(7.0, 2.6))
for ax, (w, (images, _)) in zip(axes, guided_sets.items(), strict=True):
    _ = plotting.image_grid(images[:14].cpu(), columns=14, ax=ax)
    ax.set_title(f"w = {w}", fontsize=10, loc="left", pad=2)

# %% [markdown]
r"""
Guidance buys the label: the classifier finds more of what it was told.
A little of it may also lower the Fréchet distance.
With a large weight one pays with variety: the samples of a label crowd together, and the Fréchet distance grows.

### What guidance does not sample

```{margin}
**In the sources.** Oslo, 30 April and 7 May, *Diffusion models*, the third feature.
```

It looks as if one sampled a tilted density.
At $t = 0$ the guided score is indeed the score of

$$
\pi_w(x) \;\propto\; p(x \mid y)^{1 + w}\, p(x)^{-w} \;\propto\; p(x \mid y)\, p(y \mid x)^w .
$$ (eq-dm-tilted)

**But at later times it is not the score of the noised $\pi_w$, so the chain does not end in $\pi_w$**: the product of noised densities is not the noised product.
Two Gaussian classes at $\pm 1$ show it, with exact denoisers and an exact $\pi_w$.
"""

# %%
one_class = GaussianMixture(torch.ones(1).double(), torch.tensor([[1.0]]).double(), 0.6)
half = torch.tensor([0.5, 0.5], dtype=torch.float64)
both = GaussianMixture(half, torch.tensor([[1.0], [-1.0]]).double(), 0.6)


def exact_guided(w):
    def denoiser(x, t):
        scales = fine[t].sqrt().item(), (1 - fine[t]).sqrt().item()
        towards, free = one_class.denoised(x, *scales), both.denoised(x, *scales)
        return (1 + w) * towards - w * free

    return denoiser


line = torch.linspace(-8, 8, 4_001, dtype=torch.float64)[:, None]


def tilted(w):
    """Density of pi_w on the line, and its mean and standard deviation."""
    p = ((1 + w) * one_class.log_prob(line) - w * both.log_prob(line)).exp()
    p = p / torch.trapezoid(p, line[:, 0])
    mean = torch.trapezoid(p * line[:, 0], line[:, 0])
    spread = torch.trapezoid(p * (line[:, 0] - mean) ** 2, line[:, 0])
    return p, mean.item(), spread.sqrt().item()


levels = (torch.arange(2_000, dtype=torch.float64) + 0.5) / 2_000
start = torch.special.ndtri(levels)[:, None]
route = few_steps(1_000, 500)
moved = {}
for w in (0, 1, 4):
    *_, moved[w] = ddim(start, exact_guided(w), fine, route)
    _, mean, std = tilted(w)
    print(f"w = {w}: tilted density {mean:.2f} +/- {std:.2f}, ", end="")
    print(f"guided samples {moved[w].mean():.2f} +/- {moved[w].std():.2f}")

# %% tags=["check"]
x = line[::500]
w = 2.0
log_pi = torch.log(tilted(w)[0])
step = (line[1] - line[0]).item()
slope = (log_pi[501:-1:500] - log_pi[499:-3:500])[: len(x) - 2] / (2 * step)
guided_score = (1 + w) * one_class.score(x) - w * both.score(x)
checks.close("score at t = 0", guided_score[1:-1, 0], slope, rtol=1e-3, atol=1e-3)
p, _, _ = tilted(w)
kept = 0.5
noisy = torch.tensor([[1.5]], dtype=torch.float64)
weight = p * torch.exp(-0.5 * (noisy - kept**0.5 * line)[:, 0] ** 2 / (1 - kept))
best = torch.trapezoid(weight * line[:, 0], line[:, 0]) / torch.trapezoid(
    weight, line[:, 0]
)
of_tilted = (kept**0.5 * best - noisy.item()) / (1 - kept)
of_guided = (1 + w) * one_class.diffused(kept**0.5, (1 - kept) ** 0.5).score(noisy)
of_guided = of_guided - w * both.diffused(kept**0.5, (1 - kept) ** 0.5).score(noisy)
print(f"at kept variance 0.5, x = 1.5: {of_tilted:.3f}, guided {of_guided.item():.3f}")
checks.at_least("guided score pushes further", of_guided.item() - of_tilted.item(), 0.1)
# DDIM with 500 steps is first order: its error for a Gaussian of this width is below 1 %.
checks.close(
    "w = 0: mean and std", [moved[0].mean(), moved[0].std()], [1.0, 0.6], atol=0.01
)
for w, mean_off, std_off in ((1, 0.31, 0.11), (4, 0.83, 0.17)):
    _, mean, std = tilted(w)
    off = [moved[w].mean() - mean, std - moved[w].std()]
    checks.close(
        f"w = {w}: mean too far, std too small by", off, [mean_off, std_off], atol=0.01
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Two Gaussian classes with exact denoisers, guidance towards the right one. Filled: density of the guided samples. Line: the tilted density $\\pi_w$. Dashed: the class itself.", "name": "fig-dm-tilted"}, "image": {"alt": "Three panels. For w = 0 all three agree. For w = 1 and w = 4 the filled histogram is narrower than the line and lies further to the right."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.6), sharey=True)
for ax, w in zip(axes, (0, 1, 4), strict=True):
    ax.hist(moved[w].flatten(), bins=40, density=True, alpha=0.4, label="guided")
    ax.plot(line, tilted(w)[0], label=r"$\pi_w$")
    ax.plot(line, one_class.log_prob(line).exp(), "--", color="black", label="class")
    ax.set(xlabel="$x$", xlim=(-1.5, 3.5))
    ax.set_title(f"w = {w}", fontsize=11)
axes[0].set_ylabel("density")
_ = axes[2].legend(fontsize=9)

# %% [markdown]
r"""
So guidance is a useful knob, and not a posterior: here the guided samples are further out and narrower than Bayes' rule says.

## In-painting

```{margin}
**In the sources.** CS236 notes, *Intro*: inverse problems.
```

A model of images can complete one.
**Run the reverse chain, and after each step put the known pixels in, noised to the level of that step:**

$$
x_{t-1} \leftarrow m \odot \underbrace{q_\text{sample}(x_0^\text{known}, t - 1)}_{\text{noised}} + (1 - m) \odot x_{t-1},
$$ (eq-dm-inpaint)

with $m = 1$ where pixels are known.
The trouble: when the unknown part takes its step, it does not know what the known part will look like with less noise, and when that comes, it is too late.
The remedy is to go back and forth: noise $x_{t-1}$ again by one forward step and repeat, so that the two parts can come to terms {cite:p}`lugmayr2022`.
"""


# %%
@torch.no_grad()
def inpaint(x, denoiser, known, mask, table, steps, *, repeats=1, generator=None):
    """x_0 that has the known pixels where mask is true; steps fall from T, 0 comes last."""

    def random():
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    for t, s in zip(steps, [*steps[1:], 0], strict=True):
        rest = [t, s] if s else [t]
        for turn in range(repeats if s else 1):
            # One step of ddim with all its noise is one of ddpm, and may jump from t to s.
            chain = ddim(x, denoiser, table, rest, eta=1.0, generator=generator)
            seen = diffusion.q_sample(known, s, random(), table)
            x = torch.where(mask, seen, next(chain))
            if turn < repeats - 1 and s:
                alpha = table[t].to(x) / table[s].to(x)
                x = alpha.sqrt() * x + (1 - alpha).sqrt() * random()
    return x


# %% [markdown]
r"""
In two dimensions the truth is known.
Two Gaussians at $\pm(1.2, 0.8)$; the second coordinate is observed to be 0.3; what is the first?
By Bayes' rule it belongs to the right-hand Gaussian with probability 0.98.
"""

# %%
places = torch.tensor([[1.2, 0.8], [-1.2, -0.8]], dtype=torch.float64)
pair = GaussianMixture(half, places, 0.35)
short = diffusion.alphas_cumprod_of(diffusion.cosine_betas(T2))


def pair_denoiser(x, t):
    return pair.denoised(x, short[t].sqrt().item(), (1 - short[t]).sqrt().item())


observed, mask = torch.tensor([0.0, 0.3]).double(), torch.tensor([False, True])
nearer = -0.5 * ((observed[1] - places[:, 1]) / 0.35).square()
true_share = nearer.softmax(0)[0].item()
route, found = few_steps(T2, T2), {}
for repeats in (1, 5, 20):
    x = torch.randn(1_000, 2, generator=g, dtype=torch.float64)
    settings = {"repeats": repeats, "generator": g}
    x = inpaint(x, pair_denoiser, observed, mask, short, route, **settings)
    found[repeats] = (x[:, 0] > 0).double().mean().item()
    print(f"{repeats:2d} times each step: {found[repeats]:.3f} on the right", end=", ")
    print(f"true {true_share:.3f}")

# %% tags=["check"]
checks.close("probability by Bayes' rule", true_share, 0.98, atol=5e-3)
x = torch.randn(9, 2, generator=g, dtype=torch.float64)
end = inpaint(x, pair_denoiser, observed, mask, short, [1], repeats=5, generator=g)
predicted = pair_denoiser(x, 1)[:, 0]
checks.close("the last step is taken once", end[:, 0], predicted, atol=1e-12)
asked = []


def listening(x, t):
    """Denoiser of data at 0, which notes the variance of what it is given."""
    asked.append(((1 - short[t]).item(), x[:, 0].var().item()))
    return torch.zeros_like(x)


x = torch.randn(20_000, 2, generator=g, dtype=torch.float64)
settings = {"repeats": 3, "generator": g}
_ = inpaint(x, listening, observed, mask, short, few_steps(T2, 5), **settings)
for expected, found_variance in asked:
    # A sample variance of 20,000 normal numbers has the relative error 0.01.
    checks.close("noise at each turn", found_variance, expected, rtol=0.05)
checks.close(
    "the known coordinate is kept", end[:, 1], observed[1].expand(9), atol=1e-12
)
checks.at_most("plain in-painting", found[1], 0.75)
row = {f"{repeats} times": share for repeats, share in found.items()}
checks.ordered("share on the right", {**row, "Bayes": true_share})

# %% [markdown]
r"""
The plain method is badly wrong: less than three quarters, where 0.98 is true.
Repeating helps, and is still not exact.

Now digits: the lower half of test images is taken away, and the network, told no label, draws it.
Only 50 of the steps are taken.
The classifier says how often the completed digit is still the digit it was.
(An upper half does not always say which digit it is: a 4 and a 9 may begin alike.)
"""

# %%
whole = x_test[: P.num_inpaint]
mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool, device=run.device)
mask[:, :, :14] = True
free_labels = torch.full((len(whole),), NOT_TOLD, device=run.device)
completed, kept_digit = {}, {}
for repeats in (1, 5):
    source = run.generator(10)
    x = torch.randn(whole.shape, generator=source, device=run.device)
    settings = {"repeats": repeats, "generator": source}
    denoise, route = denoiser_of(average, free_labels), few_steps(T, min(50, T))
    x = inpaint(x, denoise, whole, mask, alphas_cumprod, route, **settings)
    completed[repeats] = (1 + x.clamp(-1, 1).flatten(1)) / 2
    with torch.no_grad():
        guess = judge(completed[repeats]).argmax(1)
    kept_digit[repeats] = dgm.float64(guess == y_test[: len(whole)]).mean().item()
halved = torch.where(mask, whole, -1.0)
with torch.no_grad():
    guess = judge((1 + halved.flatten(1)) / 2).argmax(1)
kept_digit[0] = dgm.float64(guess == y_test[: len(whole)]).mean().item()
print(f"digit recognised: upper half alone {kept_digit[0]:.2f}, completed", end=" ")
print(f"{kept_digit[1]:.2f}, with five turns {kept_digit[5]:.2f}")

# %% tags=["check"]
upper = mask.expand_as(whole).flatten(1)
pixels = ((1 + whole) / 2).flatten(1)
checks.close("known pixels are kept", completed[5][upper], pixels[upper], atol=1e-6)
_ = run.record(
    "inpainting_label_agreement",
    kept_digit[5],
    unit="1",
    protocol=(
        f"share of {len(whole):,} test images whose lower half was drawn anew (50 "
        "steps, 5 turns each) and which our classifier gives their label; upper half "
        f"alone {kept_digit[0]:.2f}"
    ),
    standard_error=(kept_digit[5] * (1 - kept_digit[5]) / len(whole)) ** 0.5,
)
if run.on_mnist and run.profile != "smoke":
    checks.ordered(
        "recognised", {"upper half": kept_digit[0], "five turns": kept_digit[5]}
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "First row: what is known of fourteen test images. Second: completed in one pass. Third: with five turns at each step. Fourth: the test images themselves.", "name": "fig-dm-inpaint"}, "image": {"alt": "Four rows of fourteen images. The upper halves agree in all rows; the lower halves of the second and third row are new, and some make other digits than those in the last row."}}
pictures = [(1 + halved.flatten(1)) / 2, completed[1], completed[5], pixels]
num_shown = min(14, len(whole))
fig, ax = plt.subplots(figsize=(7.0, 2.2))
sheet = torch.cat([p[:num_shown] for p in pictures]).cpu()
_ = plotting.image_grid(sheet, columns=num_shown, ax=ax)

# %% [markdown]
r"""
With the lower half drawn by the model, more digits are recognised than from the upper half alone.
What the turns add cannot be told from so few images, where a share is known to a few hundredths; that they help is seen in two dimensions, above.

## A bound in bits per dimension

The derivation gives a lower bound on the log probability of an image whose pixels are whole numbers from 0 to 255.
Its negative, in bits and for each pixel, is a number of bits with which one could store the image:

$$
\begin{aligned}
L = &\; \underbrace{\mathrm{KL}\bigl(q(x_T \mid x_0) \,\|\, \mathcal{N}(0, I)\bigr)}_{\text{prior}}
+ \sum_{t=2}^{T} L_t \\
&- \underbrace{\mathbb{E} \log p(x_0 \mid x_1)}_{\text{decoder}}, \\
L_t = &\; \tfrac{1}{2} \bigl(\mathrm{SNR}_{t-1} - \mathrm{SNR}_t\bigr)\, \mathbb{E}\, \lVert x_0 - \hat x_0(x_t, t) \rVert^2,
\end{aligned}
$$ (eq-dm-bound)

with $\mathrm{SNR}_t = \bar\alpha_t / (1 - \bar\alpha_t)$; bits per dimension are $L / (784 \log 2)$.
"""


# %%
def kl_term(denoiser, x0, t, table, generator=None):
    """L_t of the bound in nats, one number for each example."""
    noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
    xt = diffusion.q_sample(x0, t, noise, table)
    kept, kept_before = table[t].item(), table[t - 1].item()
    gained = kept_before / (1 - kept_before) - kept / (1 - kept)
    return 0.5 * gained * (x0 - denoiser(xt, t)).flatten(1).square().sum(1)


def prior_term(x0, table):
    """KL(q(x_T | x_0) || N(0, I)) in nats, one number for each example."""
    kept = table[-1].to(x0)
    return 0.5 * (kept * x0.flatten(1).square() - kept - (1 - kept).log()).sum(1)


def strided_terms(denoiser, x0, table, stride):
    """L_t of every stride-th step, times stride: shape (T + 1, num_examples), zeros between.

    Example i is asked for the steps t with t = i modulo stride; over examples in random
    order the mean of the sum over t is unbiased.
    """
    terms = torch.zeros(len(table), len(x0), dtype=torch.float64)
    for t in range(2, len(table)):
        rows = torch.arange(t % stride, len(x0), stride)
        terms[t, rows] = stride * dgm.float64(kl_term(denoiser, x0[rows], t, table))
    return terms


# %% [markdown]
r"""
First on one-dimensional Gaussian data, where the density of the model is known, a Gaussian whose variance comes from the recursion above, and the decoder is a Gaussian, too.
A bound must lie below the log-likelihood of the model, and that below the negative entropy of the data.
"""

# %% tags=["check"]
Normal = torch.distributions.Normal
oracle, x0 = (
    gaussian_denoiser(0.25, linear),
    torch.full((50, 1), 0.4, dtype=torch.float64),
)
for t in (2, 30, T2):
    first, second = (torch.Generator().manual_seed(t) for _ in range(2))
    noise = torch.randn(x0.shape, generator=first, dtype=x0.dtype)
    xt = diffusion.q_sample(x0, t, noise, linear)
    true_mean, variance = diffusion.q_posterior(x0, xt, t, linear)
    mean, _ = diffusion.q_posterior(oracle(xt, t), xt, t, linear)
    q_step, p_step = Normal(true_mean, variance.sqrt()), Normal(mean, variance.sqrt())
    library = torch.distributions.kl_divergence(q_step, p_step).sum(1)
    ours = kl_term(oracle, x0, t, linear, generator=second)
    checks.close(f"KL of step {t}", ours, library, rtol=1e-9)
x0 = 0.5 * torch.randn(20_000, 1, generator=g, dtype=torch.float64)
terms = strided_terms(oracle, x0, linear, 10).sum(0)
kept, before = linear[2:], linear[1:-1]
left = 0.25 * (1 - kept) / (0.25 * kept + 1 - kept)
snr_steps = before / (1 - before) - kept / (1 - kept)
checks.unbiased("all steps, every tenth asked", terms, 0.5 * (snr_steps * left).sum())
x0 = x0[:50]
last = Normal(linear[-1].sqrt() * x0, (1 - linear[-1]).sqrt())
library = torch.distributions.kl_divergence(last, Normal(0.0, 1.0)).sum(1)
checks.close("KL of the prior", prior_term(x0, linear), library, atol=1e-12)

# %% tags=["check"]
for T1 in (100, 1_000):
    table = diffusion.alphas_cumprod_of(diffusion.linear_betas(T1))
    oracle = gaussian_denoiser(0.25, table)
    x0 = 0.5 * torch.randn(1_000, 1, generator=g, dtype=torch.float64)
    bound = -prior_term(x0, table)
    for t in range(2, T1 + 1):
        bound = bound - kl_term(oracle, x0, t, table, generator=g)
    x1 = diffusion.q_sample(x0, 1, torch.randn(x0.shape, generator=g).double(), table)
    kept = table[1].item()
    decoder_std = (0.25 * (1 - kept) / (0.25 * kept + 1 - kept)) ** 0.5
    decoder = Normal(oracle(x1, 1), decoder_std)
    bound = bound + decoder.log_prob(x0)[:, 0]
    model_variance = variance_of_chain(0.25, table, "posterior") + decoder_std**2
    model = Normal(0.0, model_variance**0.5)
    exact_value = model.log_prob(x0)[:, 0]
    entropy = -0.5 * math.log(2 * math.pi * 0.25) - 0.5
    error = (bound - exact_value).std().item() / len(x0) ** 0.5
    expected = -0.5 * (math.log(2 * math.pi * model_variance) + 0.25 / model_variance)
    gap = (exact_value - bound).mean().item()
    print(f"T = {T1}: gap of the bound {gap:.4f} +/- {error:.4f} nats")
    values = {"bound": expected - gap, "model": expected, "data": entropy}
    checks.ordered(f"T = {T1}, nats", values, slack=5 * error)

# %% [markdown]
r"""
Now the digits.
The decoder has to give a probability to each of the 256 grey values of a pixel.
Ours is a table, filled by counting on training images: how often did a pixel have the value $k$ where the prediction from $x_1$, rounded, was $j$?
Each image needs all $T$ terms; we take every tenth for each, a different tenth for different images, which is unbiased over images.
"""

# %%
free_label = torch.full((1,), NOT_TOLD, device=run.device)


def free_denoiser(x, t):
    return denoiser_of(average, free_label.expand(len(x)))(x, t)


def grey(x):
    """Whole grey values from 0 to 255."""
    return ((x + 1) * 127.5).round().long().clamp(0, 255)


def first_guess(x0):
    """Grey values of x_0 as predicted from x_1."""
    x1 = diffusion.q_sample(x0, 1, torch.randn_like(x0), alphas_cumprod)
    return grey(free_denoiser(x1, 1))


counted = x_train[: 10 * P.num_bound][:20_000]
pairs = torch.cat([256 * first_guess(x) + grey(x) for x in counted.split(500)])
counts = dgm.float64(torch.bincount(pairs.flatten(), minlength=256**2)).view(256, 256)
log_table = ((counts + 0.01) / (counts + 0.01).sum(1, keepdim=True)).log()

x0 = x_test[shuffle[: P.num_bound].to(run.device)]
terms = strided_terms(free_denoiser, x0, alphas_cumprod, 10)
parts = {"prior": prior_term(dgm.float64(x0), alphas_cumprod), "steps": terms.sum(0)}
guess = first_guess(x0)
parts["decoder"] = -log_table[guess.cpu(), grey(x0).cpu()].flatten(1).sum(1)
bits = {name: nats / (784 * math.log(2)) for name, nats in parts.items()}
total = sum(bits.values())
plain = counts.sum(0) + 0.01
plain_bits = -(plain / plain.sum()).log()[grey(x0).cpu()].mean() / math.log(2)
for name, value in bits.items():
    print(f"{name:8} {value.mean():.3f} bits per dimension")
print(f"one histogram for all pixels: {plain_bits:.3f} bits per dimension")

# %% tags=["check"]
checks.normalised("a row of the table", log_table[17].cpu())
checks.close(
    "grey values come back",
    grey(x0).flatten(1) / 255,
    (x0.flatten(1) + 1) / 2,
    atol=1e-6,
)
checks.at_most("prior, bits per dimension", bits["prior"], 0.01)
_ = run.record(
    "bits_per_dim_bound",
    total.mean(),
    unit="bits per dimension",
    protocol=(
        f"upper bound, T = {T}, 8-bit pixels, labels not told; {len(x0):,} test images, "
        f"every 10th step for each; decoder: a table counted on {len(counted):,} "
        "training images"
    ),
    standard_error=total.std() / len(x0) ** 0.5,
)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("bound over one histogram", total.mean() / plain_bits, 0.9)
    checks.at_most(
        "decoder over one histogram", bits["decoder"].mean() / plain_bits, 0.5
    )
    early = (terms[: T // 10].sum(0) + parts["decoder"]).mean() / sum(
        parts.values()
    ).mean()
    checks.at_least("share of decoder and first tenth of the steps", early, 0.5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Bits per dimension that the steps up to $t$ cost together, on top of the decoder's.", "name": "fig-dm-bits"}, "image": {"alt": "A curve that starts at the decoder's share, rises most steeply at the left, and flattens to the right."}}
fig, ax = plt.subplots(figsize=(7.0, 2.8))
per_step = terms.mean(1).cpu() / (784 * math.log(2))
ax.plot(torch.arange(T + 1) / T, bits["decoder"].mean().cpu() + per_step.cumsum(0))
_ = plotting.reference_line(ax, bits["decoder"].mean().item(), "decoder")
_ = ax.set(xlabel="time $t / T$", ylabel="bits per dimension", ylim=(0, None))

# %% [markdown]
r"""
A RealNVP, a flow that is trained for likelihood, reaches 1.06 bits per dimension {cite:p}`kobyzev2021`.
Few steps cost bits, too: above, with the exact denoiser, the bound was loose by a nat with 100 steps and by half a nat with 1,000.
And our network was trained with weights that serve the eye; most of the bits go to the decoder and to the first tenth of the steps, where only the finest detail is at stake.

## One failure on purpose

What if the schedule stops before the image is gone?
Then the chain starts from noise where the network expects the shadow of a digit.
Here the chain starts at $t = 0.5\, T$, with pure noise, as if the schedule ended there.
"""

# %%
half_way = [t for t in few_steps(T, 40) if t <= 0.5 * T]
labels = torch.arange(200, device=run.device) % 10
x = normal(200, 1, 28, 28, offset=11)
*_, broken = ddim(x, denoiser_of(average, labels), alphas_cumprod, half_way)
broken = (1 + broken.flatten(1)) / 2
with torch.no_grad():
    p = judge(broken).softmax(1)
right = dgm.float64(p.argmax(1) == labels).mean().item()
left_there = alphas_cumprod[T // 2].sqrt().item()
print(f"left of the amplitude at the start {left_there:.2f}; label as told {right:.2f}")

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    checks.at_most("label as told, over the sound chain's", right / free, 0.8)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Samples of a chain that starts with noise where 70 % of the amplitude should be left.", "name": "fig-dm-broken"}, "image": {"alt": "Two rows of fourteen images with scattered strokes and fragments."}}
fig, ax = plt.subplots(figsize=(7.0, 1.2))
_ = plotting.image_grid(broken[:28].cpu(), columns=14, ax=ax)

# %% [markdown]
r"""
## Exercises

```{exercise-start} A schedule of your own
:label: ex-dm-schedule
```
The linear schedule of {cite:t}`ho2020` goes from $10^{-4}$ to 0.02 in 1,000 steps.
Used with 100 steps it leaves $\bar\alpha_{100} = 0.36$.
Write `my_betas(num_steps)`, a tensor in double precision that never falls, with $0 < \beta_t \le 0.999$ and $\bar\alpha_T < 10^{-3}$, for every `num_steps` from 50 to 1,000.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def my_betas(num_steps):
    return None


# %% tags=["check"]
def check_my_betas(answer):
    if answer(100) is None:
        return print("not yet")
    for num_steps in (50, 100, 333, 1_000):
        betas = torch.as_tensor(answer(num_steps))
        checks.true("double precision", betas.dtype == torch.float64)
        checks.close("number of steps", len(betas), num_steps)
        checks.at_least("smallest beta", betas, 1e-12)
        checks.at_least(
            "change from step to step, but for rounding", betas.diff(), -1e-12
        )
        checks.at_most("largest beta", betas, 0.999)
        left = torch.cumprod(1 - betas, 0)[-1].item()
        checks.at_most(f"alpha-bar at T = {num_steps}", left, 1e-3)
    return print("right")


unscaled = torch.linspace(1e-4, 0.02, 100, dtype=torch.float64)
checks.close("the original with 100 steps", (1 - unscaled).prod(), 0.364, atol=5e-4)
check_my_betas(my_betas)

# %% [markdown]
r"""
````{solution-start} ex-dm-schedule
:class: dropdown
````
"""


# %% tags=["solution"]
def my_betas(num_steps):
    scale = 1_000 / num_steps
    return torch.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=torch.float64)


check_my_betas(my_betas)

# %% [markdown]
r"""
$\log \bar\alpha_T = \sum_t \log(1 - \beta_t) \lesssim -\sum_t \beta_t$, and the sum of the $\beta_t$ is to stay the same, about 10.
````{solution-end}
````

```{exercise-start} From an image back to noise
:label: ex-dm-invert
```
With $\eta = 0$ each step of {eq}`eq-dm-ddim` is a function, and one can also go from a small $t$ to a larger $s$.
Write `invert(x, denoiser, table, steps)`, where `table` holds $\bar\alpha_0, \dots, \bar\alpha_T$, which takes $x_0$ and rising steps $t_1 < t_2 < \dots < T$, and returns $x_T$.
The noise has to be predicted at the step that you go to, where there is no $x$ yet: give the denoiser the $x$ that you have.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def invert(x, denoiser, table, steps):
    return None


# %% tags=["check"]
def check_invert(answer):
    oracle = gaussian_denoiser(0.25, fine)
    x0 = torch.tensor([[-0.7], [0.2], [1.0]], dtype=torch.float64)
    if answer(x0, oracle, fine, [500, 1_000]) is None:
        return print("not yet")
    route = few_steps(1_000, 1_000)
    x_T = answer(x0, oracle, fine, route[::-1])
    # The noise of a point of N(0, 0.25) is the point in units of 0.5; both ways are first order in 1 / steps.
    checks.close("noise", x_T, x0 / 0.5, rtol=0.01)
    *_, again = ddim(x_T, oracle, fine, route)
    checks.close("and back", again, x0, rtol=0.02)
    return print("right")


check_invert(invert)

# %% [markdown]
r"""
````{solution-start} ex-dm-invert
:class: dropdown
````
"""


# %% tags=["solution"]
def invert(x, denoiser, table, steps):
    t = 0
    for s in steps:
        noise = diffusion.noise_of(x, denoiser(x, s), s, table)
        x0 = diffusion.x0_from_noise(x, noise, t, table)
        x = diffusion.q_sample(x0, s, noise, table)
        t = s
    return x


check_invert(invert)

# %% [markdown]
r"""
````{solution-end}
````

```{exercise-start} Guidance between two Gaussians
:label: ex-dm-tilted
```
Let $p(x \mid y) = \mathcal{N}(m, a)$ and $p(x) = \mathcal{N}(0, b)$, with variances $a < b$.
Write `tilted_gaussian(m, a, b, w)`: mean and variance of $\pi_w$ in {eq}`eq-dm-tilted`.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def tilted_gaussian(m, a, b, w):
    return None


# %% tags=["check"]
def check_tilted_gaussian(answer):
    if answer(1.0, 0.25, 1.0, 2.0) is None:
        return print("not yet")
    x = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    for m, a, b, w in ((1.0, 0.25, 1.0, 2.0), (0.5, 0.5, 2.0, 0.3)):
        log_pi = -0.5 * (1 + w) * (x - m) ** 2 / a + 0.5 * w * x**2 / b
        p = log_pi.exp() / torch.trapezoid(log_pi.exp(), x)
        mean = torch.trapezoid(p * x, x).item()
        variance = torch.trapezoid(p * (x - mean) ** 2, x).item()
        # Some roundings of single precision, 6e-8 each, in numbers of size one.
        checks.close(
            "mean and variance", answer(m, a, b, w), (mean, variance), atol=1e-6
        )
    return print("right")


check_tilted_gaussian(tilted_gaussian)

# %% [markdown]
r"""
````{solution-start} ex-dm-tilted
:class: dropdown
````
"""


# %% tags=["solution"]
def tilted_gaussian(m, a, b, w):
    precision = (1 + w) / a - w / b
    return (1 + w) * m / a / precision, 1 / precision


check_tilted_gaussian(tilted_gaussian)

# %% [markdown]
r"""
Precisions add with the weights $1 + w$ and $-w$.
The variance falls with $w$, and the mean moves beyond $m$ only as far as $m\, (1 + w) / (1 + w - w a / b)$.
````{solution-end}
````

## What you can compute now

1. The loss {eq}`eq-dm-simple` and its floor {eq}`eq-dm-floor`: in two dimensions the excess was measured in two ways.
2. DDPM {eq}`eq-dm-ddpm` and DDIM {eq}`eq-dm-ddim`; the last step adds no noise; $\sigma_t^2$ makes Gaussians too narrow and $\beta_t$ too wide, {numref}`fig-dm-variance`.
3. A U-Net of two grids, with the moving average {eq}`eq-dm-average`; its samples have a lower Fréchet ratio than those of the GAN, and the classifier is surer of them.
4. Guidance {eq}`eq-dm-guidance`, and that it does not sample {eq}`eq-dm-tilted`.
5. The bound {eq}`eq-dm-bound` in bits per dimension, and in-painting {eq}`eq-dm-inpaint`, with what it gets wrong.

[The next lecture](score_sde.ipynb) makes the steps infinitely small: DDIM becomes an ordinary differential equation, and the likelihood exact.
"""

# %%
_ = run.record(
    "milliseconds_per_sample_ddim20",
    1_000 * calls["DDIM, 20 steps"],
    unit="milliseconds",
    protocol=f"DDIM with 20 steps, {P.num_samples:,} images in parts of 500, on this device, class label, no guidance",
)
run.finish()

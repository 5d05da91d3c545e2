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
# A GAN on MNIST, and how to score it

At the end of this lecture you will be able to

1. build a generator and a discriminator, count their parameters, and say what both losses are before the first step;
2. write a training step that moves one network at a time, and test it;
3. read the curves of a GAN: what $\log 2$ and $1/2$ mean there, and why $1/2$ is no proof of anything;
4. score samples without a likelihood: maximum mean discrepancy with a permutation test, a classifier that tells two samples apart, nearest neighbours, Parzen windows, and a Fréchet distance;
5. say what each score cannot see, and why one of them calls real digits worse than noise.

- **You need** some PyTorch. [The variational autoencoder](vae_pytorch.ipynb) helps for comparison; nothing of it is used.
- **Sources:** {cite:t}`goodfellow2014`; {cite:t}`raschka2022`, chapter 17, whose networks and settings are used; {cite:t}`gretton2012`; {cite:t}`theis2016`; {cite:t}`heusel2017`.
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
import shutil
import tempfile
from itertools import pairwise

import dgm
from dgm import checks, classifier, plotting
from dgm.checkpoints import resumed
from dgm.data import fetch_mnist

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.patches import FancyArrowPatch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision import datasets, transforms, utils

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (1_000, 60_000, 60_000),  # for training, at most
    "epochs": (2, 20, 100),
    "latent_dim": (20, 20, 20),
    "hidden_dim": (100, 100, 100),
    "batch_size": (64, 64, 64),
    "decay": (0.9995, 0.9995, 0.9995),  # of the averaged weights
    "num_mmd": (200, 2_000, 2_000),  # images on either side
    "num_permutations": (99, 199, 999),
    "num_fd": (100, 500, 10_000),  # images for the Fréchet distance
    "num_parzen": (500, 10_000, 10_000),  # samples that carry the windows
    "num_neighbours": (50, 1_000, 1_000),  # samples whose neighbours we look for
}

# %%
run = dgm.start("gan_mnist", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## The problem in one picture

```{margin}
**In the sources.** Oslo, 30 April, *What is a generator network?*; 7 May, *Labeling the networks*; Borisyak, *Types of generative models*, second slide.
```

Until now a model had a density $p_\theta(x)$, known, bounded or known up to a constant.
A *generator* has none.
It is a function that turns random numbers $z$ into data, $x = G(z)$, and that is all.
Samples are easy to have; the probability of a given $x$ is not to be had at all.
(A Boltzmann machine makes samples out of noise, too, but with a Markov chain, and no derivative of the sample with respect to the noise or the weights comes with it. A generator of this kind is one differentiable function.)
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A generator in two dimensions. Left: codes, uniform in a square. Right: the same points after a fixed function; it bends the square into an open ring. The colour is $z_1$, so that one sees who went where.", "name": "fig-gm-push"}, "image": {"alt": "Left: a square filled evenly with points whose colour changes from left to right. Right: the same points form a ring; the colour changes around the ring, and the points are denser at its inner edge."}}
codes = 2 * torch.rand(3_000, 2, generator=torch.Generator().manual_seed(0)) - 1
radius, angle = 2 + codes[:, 1], 3 * codes[:, 0]
bent = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3), gridspec_kw={"wspace": 0.25})
for ax, points, name in zip(axes, (codes, bent), "zx", strict=True):
    ax.scatter(*points.T, c=codes[:, 0], s=4, cmap="viridis")
    ax.set(xlabel=f"${name}_1$", ylabel=f"${name}_2$", aspect="equal")
fig.text(0.505, 0.62, "$G$", ha="center", fontsize=14)
_ = fig.add_artist(
    FancyArrowPatch((0.475, 0.58), (0.535, 0.58), arrowstyle="-|>", mutation_scale=15)
)

# %% [markdown]
r"""
How does one train such a thing?
With a critic, the *discriminator* $D$, which looks at one image at a time and says how probable it finds that the image is real.
The generator learns from what the critic would have liked better {cite:p}`goodfellow2014`.

| symbol | in code | meaning |
|---|---|---|
| $x$ | `x` | image, 784 numbers in $[-1, 1]$ |
| $z$ | `z` | code, 20 numbers |
| $G(z)$ | `generator(z)` | generated image, a *fake* |
| $D(x)$ | `discriminator(x).sigmoid()` | probability that $x$ is real, as the discriminator sees it |
| $\ell(x)$ | `discriminator(x)` | logit of $D$, $\log \frac{D}{1 - D}$: the discriminator returns it |
| $J_D$, $J_G$ | `discriminator_loss`, `generator_loss` | losses, both to be minimised |
| $A_i$, $a_i$, $B$, $b$, $b_0$ | | weights and biases of the two networks |
| $m$ | | mask of the dropout: 0 or 2 |
| $p_r$, $p_g$ | | distribution of the data (also written $p_\text{data}$), of the fakes |
| $k(x, y)$ | `gaussian_kernel` | similarity of two images |

## The data, as torchvision gives them

```{margin}
**In the sources.** Oslo, 30 April, *Setting up the GAN* to *Defining the training set*: this section and the next.
```

Most programs open MNIST with torchvision, and so do we, once.
Its transform first maps bytes to $[0, 1]$, then subtracts 0.5 and divides by 0.5: the pixels of a real image run from $-1$, paper, to $1$, ink.
The generator ends in a $\tanh$, which has the same range.
**Whoever compares real with generated images must have both in the same range**; we shall see what happens otherwise.
"""

# %%
to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])


def part_of_data(part):
    """Images on the device, (num_images, 784), from -1 to 1."""
    return 2 * torch.from_numpy(run.data.vectors(part)).to(run.device) - 1


x_train = part_of_data("train+valid")[: P.num_images]
x_test = part_of_data("test")

# %% [markdown]
r"""
The check reads the same files through torchvision, in a folder of their own because it unpacks them.
`make_grid` of torchvision puts images side by side.
"""

# %% tags=["check"]
checks.close("smallest pixel, largest pixel", [x_train.min(), x_train.max()], [-1, 1])
if run.on_mnist:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(fetch_mnist(), f"{folder}/MNIST/raw")
        mnist = datasets.MNIST(folder, transform=to_range, download=True)
    theirs = torch.stack([mnist[i][0].flatten() for i in range(1_000)])
    checks.close("our pixels are torchvision's", x_train[:1_000], theirs, atol=1e-6)
    checks.close("labels too", run.data.labels[:1_000], mnist.targets[:1_000])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Real digits, put together by `make_grid`.", "name": "fig-gm-real"}, "image": {"alt": "Four rows of sixteen handwritten digits."}}
sheet = utils.make_grid(x_train[:64].cpu().view(-1, 1, 28, 28), nrow=16, pad_value=-1)
fig, ax = plt.subplots(figsize=(7.0, 1.9))
ax.imshow(sheet[0])
_ = ax.set_axis_off()

# %% [markdown]
r"""
## Two networks

**Generator and discriminator are two ordinary networks with one hidden layer of 100 units each** {cite:p}`raschka2022`:

$$
\begin{aligned}
G(z) &= \tanh\bigl(A_2\, \rho(A_1 z + a_1) + a_2\bigr), \\
\operatorname{logit} D(x) &= b^\top \bigl(m \odot \rho(B x)\bigr) + b_0 .
\end{aligned}
$$ (eq-gm-networks)

Here $\rho$ is the leaky ReLU, $\max(u, 0.01\, u)$, and $m$ is *dropout*: during training each hidden unit of the discriminator is set to zero with probability 1/2, else doubled.
The hidden layers of the discriminator have no biases.
The functions take any number of hidden layers; each has its own dropout.

```{margin}
**A common mistake:** layers that are added by name in a loop, with the same name: the second `dropout` takes the place of the first, and a deep discriminator has one.
```
"""


# %% tags=["twin:dgm.models.gan.make_generator"]
def make_generator(latent_dim, hidden_dim, *, num_hidden=1):
    layers = []
    sizes = [latent_dim, *num_hidden * [hidden_dim]]
    for num_inputs, num_outputs in pairwise(sizes):
        layers += [nn.Linear(num_inputs, num_outputs), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 784), nn.Tanh())


# %% tags=["twin:dgm.models.gan.make_discriminator"]
def make_discriminator(hidden_dim, *, num_hidden=1):
    layers = []
    sizes = [784, *num_hidden * [hidden_dim]]
    for num_inputs, num_outputs in pairwise(sizes):
        linear = nn.Linear(num_inputs, num_outputs, bias=False)
        layers += [linear, nn.LeakyReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1), nn.Flatten(0))


# %%
generator = make_generator(P.latent_dim, P.hidden_dim).to(run.device)
discriminator = make_discriminator(P.hidden_dim).to(run.device)


def num_parameters(network):
    return sum(p.numel() for p in network.parameters())


# %% tags=["check"]
checks.close("parameters of the generator", num_parameters(generator), 81_284)
checks.close("of the discriminator", num_parameters(discriminator), 78_501)
deep = make_discriminator(100, num_hidden=3)
num_dropouts = sum(isinstance(layer, nn.Dropout) for layer in deep)
checks.close("dropouts of three hidden layers", num_dropouts, 3)
by_name = nn.Sequential()
for _ in range(3):
    by_name.add_module("dropout", nn.Dropout(0.5))
checks.close("dropouts left, if all have one name", len(by_name), 1)
A1, a1, A2, a2, B, b, b0 = (*generator.parameters(), *discriminator.parameters())


def rho(u):
    return torch.where(u > 0, u, 0.01 * u)


z = torch.rand(5, P.latent_dim, device=run.device)
by_hand = torch.tanh(rho(z @ A1.T + a1) @ A2.T + a2)
checks.close("the formula of G", generator(z), by_hand, atol=1e-5)
by_hand = (rho(x_train[:5] @ B.T) @ b.T + b0).flatten()
discriminator.eval()
checks.close("of the logit, no dropout", discriminator(x_train[:5]), by_hand, atol=1e-5)
_ = discriminator.train()

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The two networks, read from the program: layers, sizes and numbers of parameters.", "name": "fig-gm-layers"}, "image": {"alt": "Two rows of boxes. Generator: 20 numbers, linear layer to 100 with 2,100 parameters, leaky ReLU, linear layer to 784 with 79,184 parameters, tanh, an image. Discriminator: an image, linear layer from 784 to 100 with 78,400 parameters, leaky ReLU, dropout, linear layer to 1 with 101 parameters, a logit."}}


def describe(layer):
    if isinstance(layer, nn.Linear):
        count = num_parameters(layer)
        return f"linear\n{layer.in_features} to {layer.out_features}\n{count:,}"
    words = {nn.LeakyReLU: "leaky\nReLU", nn.Tanh: "tanh", nn.Dropout: "dropout\n1/2"}
    return words[type(layer)]


fig, axes = plt.subplots(2, 1, figsize=(7.0, 2.9))
networks = {"G": ("z", generator, "$G(z)$"), "D": ("x", discriminator, "logit")}
for ax, (name, (start, network, end)) in zip(axes, networks.items(), strict=True):
    layers = [describe(layer) for layer in network if not isinstance(layer, nn.Flatten)]
    for i, text in enumerate([start, *layers, end]):
        box = i in range(1, len(layers) + 1)
        edge = plotting.COLOURS[name == "D"] if box else "none"
        style = {"boxstyle": "round", "facecolor": "white", "edgecolor": edge}
        ax.text(i, 0, text, ha="center", va="center", bbox=style, fontsize=10)
        if i:
            arrow = {"arrowstyle": "->", "color": "0.4"}
            ax.annotate("", (i - 0.42, 0), (i - 0.6, 0), arrowprops=arrow)
    ax.text(-0.55, 0, f"${name}$", ha="center", va="center", fontsize=15)
    ax.set(xlim=(-0.7, 6.4), ylim=(-1, 1))
    ax.set_axis_off()

# %% [markdown]
r"""
The codes need a distribution, and any will do that is easy to draw from.
Most programs take $\mathcal{N}(0, I)$; this one takes numbers that are uniform in $[-1, 1]$, as the published one does.
"""


# %% tags=["twin:dgm.models.gan.sample_codes"]
def sample_codes(num_codes, latent_dim, *, kind="uniform", device="cpu"):
    if kind == "uniform":
        return 2 * torch.rand(num_codes, latent_dim, device=device) - 1
    if kind == "normal":
        return torch.randn(num_codes, latent_dim, device=device)
    raise ValueError(f"kind: expected 'uniform' or 'normal', got {kind!r}")


def codes_of(num_codes):
    return sample_codes(num_codes, P.latent_dim, device=run.device)


# %% [markdown]
r"""
An image has 784 numbers and a code 20.
So the images that a generator can make form a surface of at most 20 dimensions in a space of 784, however long it is trained, and almost every image lies beside it.
There $p_g(x) = 0$, and on it the density is infinite: **for such a generator a likelihood does not exist.**
The rank of the Jacobian shows the dimension.
"""

# %% tags=["check"]
double = dgm.float64(generator)  # on the CPU: Apple's GPUs have no double precision
code = dgm.float64(codes_of(1)[0])
jacobian = torch.func.jacrev(double)(code)
rank = torch.linalg.matrix_rank(jacobian).item()
checks.close("shape of the Jacobian of G", list(jacobian.shape), [784, P.latent_dim])
checks.close("dimensions of the surface", rank, P.latent_dim)
uniform = sample_codes(10_000, 2).double()
checks.unbiased("mean of the uniform codes", uniform, [0.0, 0.0])
checks.unbiased("their variance", uniform.square(), [1 / 3, 1 / 3])
checks.unbiased("of the others", sample_codes(10_000, 1, kind="normal").square(), [1.0])
try:
    sample_codes(1, 2, kind="cauchy")
    message = ""
except ValueError as error:
    message = str(error)
checks.true(f"another kind is refused ({message})", "expected 'uniform'" in message)

# %% [markdown]
r"""
## Two losses

```{margin}
**In the sources.** Oslo, 30 April, *Training the GAN* and *More references*.
```

**The discriminator does logistic regression: real images have the label 1, fakes the label 0.**
Its loss is the cross-entropy, for one image of each kind

$$
\begin{aligned}
J_D &= -\log D(x) - \log\bigl(1 - D(G(z))\bigr) \\
&= \operatorname{softplus}(-\ell) + \operatorname{softplus}(\ell'),
\end{aligned}
$$ (eq-gm-d-loss)

with the logits $\ell$ of the real image and $\ell'$ of the fake, and $\operatorname{softplus}(u) = \log(1 + e^u)$.
**The generator wants its fakes to be called real:**

$$
J_G = -\log D(G(z)) = \operatorname{softplus}(-\ell') .
$$ (eq-gm-g-loss)

This is the *non-saturating* loss.
It is not minus the loss of the discriminator, so the two do not play a zero-sum game; [the Jensen-Shannon lecture](jensen_shannon.ipynb) says what the difference is and why everybody takes this one.
"""


# %% tags=["twin:dgm.models.gan.discriminator_loss"]
def discriminator_loss(real_logits, fake_logits):
    return F.softplus(-real_logits) + F.softplus(fake_logits)


# %% tags=["twin:dgm.models.gan.generator_loss"]
def generator_loss(fake_logits):
    return F.softplus(-fake_logits)


# %% [markdown]
r"""
Two checks: against PyTorch's cross-entropy with labels, and the derivatives with respect to the logits,

$$
\begin{aligned}
\frac{\partial J_D}{\partial \ell} &= -(1 - D(x)), \\
\frac{\partial J_D}{\partial \ell'} &= D(G(z)), \\
\frac{\partial J_G}{\partial \ell'} &= -(1 - D(G(z))) .
\end{aligned}
$$ (eq-gm-gradients)
"""

# %% tags=["check"]
s = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
t = s.detach().flip(0).clone().requires_grad_()
one, zero = torch.ones_like(s), torch.zeros_like(s)
bce = F.binary_cross_entropy_with_logits
theirs = bce(s, one, reduction="none") + bce(t, zero, reduction="none")
checks.close("loss of D", discriminator_loss(s, t), theirs, atol=1e-12)
labels_real = bce(t, one, reduction="none")
checks.close("loss of G", generator_loss(t), labels_real, atol=1e-12)
for_real, for_fake = torch.autograd.grad(discriminator_loss(s, t).sum(), (s, t))
(for_generator,) = torch.autograd.grad(generator_loss(t).sum(), t)
checks.close("slope of D's loss, real", for_real, -(1 - s.sigmoid()), atol=1e-12)
checks.close("slope of D's loss, fake", for_fake, t.sigmoid(), atol=1e-12)
checks.close("slope of G's loss", for_generator, -(1 - t.sigmoid()), atol=1e-12)

# %% [markdown]
r"""
Why logits?
In single precision a sigmoid is exactly 1 from about 17 on.
A loss that is computed from it has no gradient there; PyTorch's `BCELoss` also cuts it off at 100.
The discriminator that is most wrong would then learn nothing.

```{margin}
**A common mistake:** a network that ends in a sigmoid, followed by `BCELoss`.
```
"""

# %% tags=["check"]
sure = torch.tensor([20.0], requires_grad=True)
clipped = nn.BCELoss()(sure.sigmoid(), torch.zeros(1))
(slope,) = torch.autograd.grad(clipped, sure)
checks.close("BCELoss of a fake at logit 20", clipped.item(), 100.0)
checks.close("its slope", slope.item(), 0.0)
(slope,) = torch.autograd.grad(F.softplus(sure).sum(), sure)
checks.close("with logits: slope", slope.item(), 1.0, atol=1e-6)

# %% [markdown]
r"""
**Before the first step both networks know nothing, $D$ is near 1/2 everywhere, and each term of the losses is near $\log 2 = 0.693$.**
How near depends on the dice that chose the weights.
The last layer is as likely to have a weight as its negative, so over fresh networks the mean of $D$ is exactly 1/2; and $\operatorname{softplus}(\ell) = \log 2 + \ell / 2 + \ell^2 / 8 - \dots$ gives the means of the losses.
"""


# %%
@torch.no_grad()
def judged(network, images):
    """Logits with dropout off."""
    network.eval()
    logits = network(images)
    network.train()
    return logits


fresh_real = judged(discriminator, x_train[:500])
fresh_fake = judged(discriminator, generator(codes_of(500)))

# %% tags=["check"]
again = judged(discriminator, x_train[:500])
checks.close("dropout is off: twice the same", again, fresh_real, atol=1e-6)
with torch.no_grad():
    changed = (discriminator(x_train[:500]) - fresh_real).abs().max()
checks.at_least("dropout is on again: largest change", changed, 1e-3)
rows = []
for _ in range(60):
    G, D = make_generator(P.latent_dim, P.hidden_dim), make_discriminator(P.hidden_dim)
    G, D = G.to(run.device), D.to(run.device)
    with torch.no_grad():
        real, fake = (
            dgm.float64(judged(D, i)) for i in (x_train[:200], G(codes_of(200)))
        )
    shift = (real.square().mean() + fake.square().mean()).item() / 8
    loss = discriminator_loss(real, fake).mean().item() - shift
    rows.append([real.sigmoid().mean().item(), fake.sigmoid().mean().item(), loss])
rows = torch.tensor(rows)
exact = [0.5, 0.5, 2 * math.log(2)]
checks.unbiased("D(x), D(G(z)), loss of D without its square term", rows, exact)
spread = rows[:, 0].std().item()
print(f"D(x) of 60 fresh networks: {rows[:, 0].mean():.3f}, spread {spread:.3f}")

# %% [markdown]
r"""
Keep this in mind: a discriminator that was never trained says about 1/2, too.
"Stop when $D$ is 1/2" is what a perfect generator implies, and it is not enough to conclude that the generator is perfect.

```{margin}
**A common mistake:** the advice to stop training when the discriminator says 1/2 everywhere.
```

## One step of each

**In every mini-batch the discriminator makes one step, then the generator.**
The fakes for the step of $D$ are made without a graph: $D$ learns from them, and the generator is not touched.
In the step of $G$ the discriminator's weights need no gradient, but the gradient passes *through* it to the fake image.
Each step has its own codes.

```{margin}
**In the sources.** Oslo, 30 April, *Maximizing reward* and *More on training*; Borisyak, *Adversarial Training*; CS236 notes, *GAN architecture/objective*.
```
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A step: two passes for the discriminator, one for the generator. Frozen networks are grey; the red arrow is the way of the gradient, and the label is what the logit is trained towards.", "name": "fig-gm-lanes"}, "image": {"alt": "Three rows. Step of D, real: an image enters D, label 1. Step of D, fake: codes enter a grey G, its fake enters D, label 0. Step of G: codes enter G, its fake enters a grey D, label 1. Red arrows run backwards from the label to the network that learns: to D in the first two rows, through the grey D to G in the third."}}
lanes = [
    ("D, real", ["x", "D"], "label 1", {"D"}),
    ("D, fake", ["z", "G", "G(z)", "D"], "label 0", {"D"}),
    ("G", ["z", "G", "G(z)", "D"], "label 1", {"G"}),
]
place = {"z": 0, "G": 1, "G(z)": 2, "x": 2, "D": 3}
fig, ax = plt.subplots(figsize=(7.0, 2.9))
for row, (title, nodes, label, learning) in enumerate(lanes):
    y = -row
    ax.text(-0.5, y, f"step of {title}", ha="right", va="center")
    for node in [*nodes, label]:
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none"}
        if node in "GD":
            colour = plotting.COLOURS[node == "D"]
            box["edgecolor"] = colour if node in learning else "0.7"
            box["facecolor"] = "white" if node in learning else "0.9"
        text = node if node == label else f"${node}$"
        ax.text(place.get(node, 4), y, text, ha="center", va="center", bbox=box)
    for left in [place[node] for node in nodes]:
        ends = (left + 0.25, y), (left + 0.72, y)
        ax.add_patch(FancyArrowPatch(*ends, arrowstyle="->", mutation_scale=10))
    ends = (3.9, y - 0.22), (place[min(learning)] + 0.05, y - 0.3)
    style = "arc3,rad=-0.12"
    red = FancyArrowPatch(
        *ends, arrowstyle="->", mutation_scale=10, color="red", connectionstyle=style
    )
    ax.add_patch(red)
ax.set(xlim=(-2.2, 4.6), ylim=(-2.7, 0.5))
_ = ax.set_axis_off()


# %% tags=["twin:dgm.models.gan.step"]
def step(generator, discriminator, g_optimiser, d_optimiser, x, z):
    z_for_d, z_for_g = z.split(len(x))

    discriminator.requires_grad_(True)
    with torch.no_grad():
        fakes = generator(z_for_d)
    real, fake = discriminator(torch.cat([x, fakes])).split(len(x))
    d_loss = discriminator_loss(real, fake).mean()
    d_optimiser.zero_grad()
    d_loss.backward()
    d_optimiser.step()

    discriminator.requires_grad_(False)
    g_loss = generator_loss(discriminator(generator(z_for_g))).mean()
    g_optimiser.zero_grad()
    g_loss.backward()
    g_optimiser.step()
    probs = torch.stack([real.sigmoid().mean(), fake.sigmoid().mean()])
    return torch.cat([torch.stack([g_loss, d_loss]), probs]).detach()


# %% [markdown]
r"""
The check does the same step in the longest way: labels, PyTorch's cross-entropy, a pass through $G$ for each network, and updates written by hand.
It must give the same weights.
Dropout is off, so that both see the same discriminator, and the optimiser is plain gradient descent.

```{margin}
**A common mistake:** fakes that keep their graph in the step of $D$ (no `detach`, no `no_grad`).
Then the backward pass also goes through $G$ for nothing, and leaves a gradient there.
```
"""

# %% tags=["check"]
batch, z = x_train[:64], codes_of(128)
ours = [copy.deepcopy(network).eval() for network in (generator, discriminator)]
optimisers = [torch.optim.SGD(network.parameters(), lr=0.1) for network in ours]
_ = step(*ours, *optimisers, batch, z)

G, D = (copy.deepcopy(network).eval() for network in (generator, discriminator))
ones, zeros = torch.ones(64, device=run.device), torch.zeros(64, device=run.device)
loss = bce(D(batch), ones) + bce(D(G(z[:64]).detach()), zeros)
steps = torch.autograd.grad(loss, list(D.parameters()))
with torch.no_grad():
    for parameter, slope in zip(D.parameters(), steps, strict=True):
        parameter -= 0.1 * slope
steps = torch.autograd.grad(bce(D(G(z[64:])), ones), list(G.parameters()))
with torch.no_grad():
    for parameter, slope in zip(G.parameters(), steps, strict=True):
        parameter -= 0.1 * slope
kept = copy.deepcopy(networks["G"][1])
(-discriminator_loss(D(batch), D(kept(z[:64]))).mean()).backward()
left = nn.utils.parameters_to_vector(p.grad for p in kept.parameters()).norm()
checks.at_least("graph kept: gradient left behind in G", left, 1e-3)
for name, mine, theirs in zip("GD", ours, (G, D), strict=True):
    mine, theirs = (
        nn.utils.parameters_to_vector(n.parameters()) for n in (mine, theirs)
    )
    moved = (
        mine - nn.utils.parameters_to_vector(networks[name][1].parameters())
    ).norm()
    checks.close(f"{name}: step by hand, moved {moved:.3f}", mine, theirs, atol=1e-6)

# %% [markdown]
r"""
What is it that reaches the generator?
For one hidden layer in each network the chain rule is short, and worth writing out once.
Let $e = \partial J / \partial \ell$ be the slope of the loss in a logit, {eq}`eq-gm-gradients`, and $m'$ the slopes of the leaky ReLU in the hidden units of $D$, times the mask of the dropout.
Then

$$
\begin{aligned}
\frac{\partial J_D}{\partial B} &= \sum e\, (b \odot m')\, x^\top , \\
\frac{\partial J_G}{\partial G(z)} &= e\, B^\top (b \odot m') ,
\end{aligned}
$$ (eq-gm-backprop)

the first summed over real images and fakes.
**The discriminator tells the generator a direction in image space**, $B^\top (b \odot m')$, the same for a good and a bad fake with the same hidden units on; $e = -(1 - D)$ says how urgent it is.
The slope of the $\tanh$ and the layers of $G$ take it from there.
`step_by_hand` does the whole step with these formulas: matrix products and no graph, which is faster.
A leaky ReLU is its slope times its argument, $\rho(u) = \rho'(u)\, u$.
"""


# %% tags=["twin:dgm.models.gan.step_by_hand"]
@torch.no_grad()
def step_by_hand(generator, discriminator, g_optimiser, d_optimiser, x, z):
    (A1, a1, A2, a2), (B, b, b0) = generator.parameters(), discriminator.parameters()
    z_for_d, z_for_g = z.split(len(x))

    def judge(images):
        u = images @ B.T
        slopes = torch.where(u > 0, 1.0, 0.01)
        if discriminator.training:
            slopes *= torch.randint(2, u.shape, dtype=u.dtype, device=u.device).mul_(2)
        hidden = u * slopes
        return hidden, b * slopes, torch.addmm(b0, hidden, b.T)

    images = torch.cat([x, generator(z_for_d)])
    hidden, to_u, logits = judge(images)
    real, fake = logits.split(len(x))
    d_loss = discriminator_loss(real, fake).mean()
    probs = torch.stack([real.sigmoid(), fake.sigmoid()])
    errors = torch.cat([probs[0] - 1, probs[1]]).div_(len(x))
    B.grad, b.grad = to_u.mul_(errors).T @ images, errors.T @ hidden
    b0.grad = errors.sum(0)
    d_optimiser.step()

    u = torch.addmm(a1, z_for_g, A1.T)
    slopes = torch.where(u > 0, 1.0, 0.01)
    hidden = u * slopes
    fakes = torch.addmm(a2, hidden, A2.T).tanh_()
    _, to_u, logits = judge(fakes)
    errors = logits.sigmoid().sub_(1).div_(len(x))
    pull = (to_u.mul_(errors) @ B).mul_(1 - fakes.square())
    back = (pull @ A2).mul_(slopes)
    A2.grad, a2.grad = pull.T @ hidden, pull.sum(0)
    A1.grad, a1.grad = back.T @ z_for_g, back.sum(0)
    g_optimiser.step()
    losses = torch.stack([generator_loss(logits).mean(), d_loss])
    return torch.cat([losses, probs.mean((1, 2))])


# %% tags=["check"]
ends = []
for one_step in (step, step_by_hand):
    pair = [dgm.float64(n).eval() for n in (generator, discriminator)]
    optimisers = [torch.optim.SGD(n.parameters(), lr=0.1) for n in pair]
    said = one_step(*pair, *optimisers, dgm.float64(batch), dgm.float64(z))
    weights = [nn.utils.parameters_to_vector(n.parameters()) for n in pair]
    ends.append((said, *weights))
# Single precision holds the slope 0.01 of the leaky ReLU to 2e-8 only.
for name, mine, theirs in zip(("report", "G", "D"), *ends, strict=True):
    checks.close(f"by hand and by autograd: {name}", mine, theirs, atol=1e-8)
# With b = 0 the logits do not see the mask, and the mean of b's gradient is exact.
D = copy.deepcopy(discriminator)
D[-2].weight.data.zero_()
still = [torch.optim.SGD(n.parameters(), lr=0.0) for n in (generator, D)]
slopes = []
for training in [False] + 400 * [True]:
    _ = step_by_hand(generator, D.train(training), *still, batch, z)
    slopes.append(dgm.float64(D[-2].weight.grad[0, :5]))
checks.unbiased("gradients under dropout", torch.stack(slopes[1:]), slopes[0])
off = torch.stack([s.eq(0).double().mean() for s in slopes[1:]]).mean()
checks.at_most("units that were never on in a batch", off, 1e-3)

# %% [markdown]
r"""
## Training

```{margin}
**In the sources.** Oslo, 30 April, *More on training*, the second listing, and *Visualizing*.
```

Adam for both networks, with its usual rate of $10^{-3}$; batches of 64, of which the last, incomplete one is dropped.
The images lie on the device as one tensor, and each epoch takes a new permutation of its rows.
`train` yields after each epoch, so that the loop below can measure and draw.

The two networks chase each other, and the generator never comes to rest.
**So we also keep an average of its weights over the last steps**, some 2,000 of them, two epochs, which takes no part in the training:

$$
\bar\theta \leftarrow \lambda\, \bar\theta + (1 - \lambda)\, \theta, \qquad \lambda = 0.9995 .
$$ (eq-gm-average)

PyTorch has it, as `AveragedModel`; `average` below is one.
"""


# %% tags=["twin:dgm.models.gan.adams"]
def adams(*networks):
    return [
        torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        for network in networks
    ]


# %% tags=["twin:dgm.models.gan.train"]
def train(
    generator,
    discriminator,
    images,
    epochs,
    *,
    codes,
    batch_size=64,
    average=None,
    one_step=step,
    optimisers=None,
):
    optimisers = optimisers or adams(generator, discriminator)
    num_batches = len(images) // batch_size
    for _ in range(epochs):
        order = torch.randperm(len(images), device=images.device)
        batches = order[: num_batches * batch_size].view(num_batches, batch_size)
        total = torch.zeros(4, device=images.device)
        for rows in batches:
            z = codes(2 * batch_size)
            total += one_step(generator, discriminator, *optimisers, images[rows], z)
            if average is not None:
                average.update_parameters(generator)
        discriminator.requires_grad_(True)
        yield (total / num_batches).tolist()


# %% [markdown]
r"""
What the loop says about $D$ is measured while $D$ learns, and with dropout on.
So we also measure losses and probabilities after each epoch, with dropout off (`eval`), on 2,000 training images and 2,000 fakes.

```{margin}
**A common mistake:** $D(x)$ and $D(G(z))$ logged in the middle of training, with dropout on.
```
"""


# %%
def measure(x):
    """Loss of G, loss of D, mean D(x), mean D(G(z)), accuracy of D; dropout off."""
    with torch.no_grad():
        fakes = generator(codes_of(len(x)))
    real, fake = (judged(discriminator, images) for images in (x, fakes))
    losses = generator_loss(fake).mean(), discriminator_loss(real, fake).mean()
    right = torch.cat([real > 0, fake < 0]).float().mean()
    probs = real.sigmoid().mean(), fake.sigmoid().mean()
    return torch.stack([*losses, *probs, right]).tolist()


average = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(P.decay))
settings = {"codes": codes_of, "batch_size": P.batch_size, "average": average}
settings["one_step"] = step_by_hand
fixed_codes = codes_of(64)
history, watched, sheets, kept = [], [measure(x_train[:2_000])], [], []
untrained = copy.deepcopy(generator)
after_one = copy.deepcopy(generator)
with torch.no_grad():
    sheets.append(generator(fixed_codes))
optimisers = adams(generator, discriminator)
parts = {"G": generator, "D": discriminator, "average": average, "G1": after_one}
parts |= {"adam G": optimisers[0], "adam D": optimisers[1]}
parts |= {"curves": history, "watched": watched, "sheets": sheets, "kept": kept}
settings |= {"optimisers": optimisers}
epochs = resumed(
    run.checkpoints("gan"),
    "GAN, epochs",
    P.epochs,
    parts,
    lambda done: train(generator, discriminator, x_train, P.epochs - done, **settings),
)
for losses in epochs:
    history.append(losses)
    watched.append(measure(x_train[:2_000]))
    with torch.no_grad():
        sheets.append(generator(fixed_codes))
        kept.append(generator(codes_of(500)))
    if len(history) == 1:
        after_one.load_state_dict(generator.state_dict())

# %% tags=["check"]
steps = torch.randn(6, 3, dtype=torch.float64)
walker = nn.Linear(3, 1, bias=False).double()
slow = AveragedModel(walker, multi_avg_fn=get_ema_multi_avg_fn(0.8))
for place in steps:
    walker.weight.data.copy_(place)
    slow.update_parameters(walker)
# The first place starts the average.
weights = 0.2 * 0.8 ** torch.arange(5, -1, -1, dtype=torch.float64)
weights[0] = 0.8**5
checks.close("weights of an average", weights.sum(), 1.0, atol=1e-12)
checks.close("average", slow.module.weight[0], weights @ steps, atol=1e-12)

# %%
g_loss, d_loss, d_real, d_fake = (list(curve) for curve in zip(*history, strict=True))
protocol = f"after {P.epochs} epochs; 2,000 images, dropout off"
notebook = "Raschka et al. 2022, chapter 17: epoch 100, dropout on, mean over the epoch"
_ = run.record(
    "d_real_final",
    watched[-1][2],
    unit="1",
    protocol=f"mean D(x) of training images {protocol}",
    published=0.549,
    source=notebook,
)
_ = run.record(
    "d_fake_final",
    watched[-1][3],
    unit="1",
    protocol=f"mean D(G(z)) {protocol}",
    published=0.452,
    source=notebook,
)
for name, curve, published in (
    ("d_real_while_training", d_real, 0.549),
    ("d_fake_while_training", d_fake, 0.452),
    ("g_loss_final", g_loss, 0.862),
    ("d_loss_final", d_loss, 1.288),
):
    _ = run.record(
        name,
        curve[-1],
        unit="1" if "while" in name else "nats",
        protocol=f"mean over epoch {P.epochs}, dropout on",
        published=published,
        source=notebook,
    )

_ = run.record(
    "d_accuracy_final",
    watched[-1][4],
    unit="1",
    protocol=f"share that D tells right, training images and fakes, {protocol}",
)

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    of_g, of_d = torch.tensor(watched)[2:, :2].mean(0)  # before, after epoch 1, 2, ...
    around = {"half of D's loss": of_d / 2, "log 2": math.log(2), "G's loss": of_g}
    checks.ordered("means from the second epoch on", around)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: losses; that of the discriminator, a sum of two terms, is halved. Right: mean of $D$ for real images and for fakes. Lines: measured after each epoch with dropout off. Dots: logged while training with dropout on, mean of the epoch.", "name": "fig-gm-curves"}, "image": {"alt": "Left: from the second epoch on the generator's loss lies above log 2, half the discriminator's loss below it, and both wander. Right: D of real images wanders above one half and D of fakes below it, each at a distance of about a tenth. Apart from the first, the dots lie near the lines."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
epochs = range(1, P.epochs + 1)
dots = {0: g_loss, 1: [loss / 2 for loss in d_loss], 2: d_real, 3: d_fake}
names = ("generator", "discriminator / 2", "real", "fake")
for i, (name, logged) in enumerate(zip(names, dots.values(), strict=True)):
    ax, colour = (left, right)[i // 2], plotting.COLOURS[i % 2]
    curve = [values[i] / (2 if i == 1 else 1) for values in watched]
    ax.plot(range(P.epochs + 1), curve, color=colour, label=name)
    ax.plot(epochs, logged, ".", color=colour)
_ = plotting.reference_line(left, math.log(2), r"$\log 2$")
left.set(xlabel="epoch", ylabel="loss [nats]", ylim=(0.2, 1.7))
left.legend(loc="upper right")
_ = plotting.reference_line(right, 0.5, "1/2", side="left")
right.set(xlabel="epoch", ylabel="mean of $D$", ylim=(0, 1))
_ = right.legend()

# %% [markdown]
r"""
**What you should see.** The curves on the right part within two epochs and then wander, $D(x)$ above 1/2 and $D(G(z))$ below it; neither comes to rest.
On average from the second epoch on, the generator's loss lies above $\log 2$ and half of the discriminator's below it.
(The published curves stand at 0.549 and 0.452 after 100 epochs.)
Each network is measured against the other one, and both get better; so **the loss of a GAN does not tell how good the samples are.**
The sheets below still improve when the losses hardly move, and {numref}`fig-gm-flat` will put a number to it.
"""

# %% tags=["plot"] mystnb={"figure": {"caption": "Images from 64 fixed codes before the training and after up to twenty of its epochs.", "name": "fig-gm-film"}}
shown = sorted({round(i * (len(sheets) - 1) / 20) for i in range(21)})
plotting.film(
    [
        plotting.tile(
            (1 + sheets[i].cpu().view(-1, 28, 28)) / 2, columns=16, background=0.15
        )
        for i in shown
    ],
    alt="A film of 64 generated images: grey noise at first, blobs in the middle of the picture after one epoch, then strokes, and digits that become sharper and at times change from one digit into another.",
    labels=[f"after epoch {i}" for i in shown],
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The first twelve of the fixed codes, before training, after one epoch, and later; the epoch stands at the left.", "name": "fig-gm-epochs"}, "image": {"alt": "Rows of twelve images. Top: noise. Then blobs; the last rows show digits, some with ragged strokes."}}
marks = sorted({0, 1, 2, 4, 8, 16, len(sheets) - 1} & set(range(len(sheets))))
fig, axes = plt.subplots(len(marks), 1, figsize=(7.0, 0.62 * len(marks)), squeeze=False)
for ax, epoch in zip(axes.flat, marks, strict=True):
    _ = plotting.image_grid((1 + sheets[epoch][:12].cpu()) / 2, columns=12, ax=ax)
    ax.text(-8, 14, str(epoch), ha="right", va="center")

# %% [markdown]
r"""
## Does the discriminator mean what it says?

**A discriminator is *calibrated* if, among the images to which it gives the probability 0.7, seventy per cent are real.**
The best possible discriminator for a given generator is calibrated.
We ask the trained one about test images, which it has not seen, and as many fakes; dropout is off.
First a check of the tool: labels that are drawn with given probabilities must come out calibrated.
"""


# %%
def reliability(probs, is_real, num_bins=10):
    """For each bin of the probabilities: their mean, the share of reals, its error."""
    bins = (probs * num_bins).long().clamp(max=num_bins - 1)
    rows = []
    for i in range(num_bins):
        inside = bins == i
        if inside.sum() >= 200:
            share = is_real[inside].mean().item()
            error = math.sqrt(max(share * (1 - share), 1e-3) / inside.sum().item())
            rows.append((probs[inside].mean().item(), share, error))
    return torch.tensor(rows, dtype=torch.float64)


with torch.no_grad():
    seen_by_d = torch.cat([x_test, generator(codes_of(len(x_test)))])
probs = dgm.float64(judged(discriminator, seen_by_d).sigmoid())
is_real = (torch.arange(len(probs)) < len(x_test)).double()
measured = reliability(probs, is_real)

# %% tags=["check"]
said = torch.rand(20_000, dtype=torch.float64)
table = reliability(said, (torch.rand_like(said) < said).double())
checks.close("bins", len(table), 10)
off = (table[:, 1] - table[:, 0]).abs() / table[:, 2]
checks.at_most("furthest from calibrated, in standard errors", off, 5)

# %% tags=["check"]
mean, share, error = measured.T
checks.at_least(
    "test images are called real more often", is_real @ probs, (1 - is_real) @ probs
)
if run.on_mnist and run.profile == "quick":
    # Five standard errors beyond the diagonal, on either side.
    beyond = (share - mean) / error
    checks.at_least("last bin: share above mean, in standard errors", beyond[-1], 5)
    checks.at_most("first bin: below", beyond[0], -5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: how often an image is real, against the probability that the trained discriminator gave it; bars, most of them smaller than their points, are one standard error, the dashed line is a calibrated discriminator. Right: how often each probability is given, for test images and for fakes.", "name": "fig-gm-calibration"}, "image": {"alt": "Left: the points rise with the probability, near the diagonal in the middle. Right: two overlapping humps, the one of fakes to the left of the one of test images."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.2))
left.plot([0, 1], [0, 1], "k--", linewidth=1)
left.errorbar(measured[:, 0], measured[:, 1], measured[:, 2], fmt="o", markersize=4)
left.set(xlabel="mean of $D$ in the bin", ylabel="share of real images")
bins = torch.linspace(0, 1, 31)
for label, name in ((1.0, "test images"), (0.0, "fakes")):
    values = probs[is_real == label].cpu()
    right.hist(
        values, bins=bins, histtype="step", density=True, linewidth=1.8, label=name
    )
right.set(xlabel="$D$", ylabel="density")
_ = right.legend()

# %% [markdown]
r"""
The points on the left are steeper than the diagonal: this discriminator is more cautious than it need be.
An image to which it gives 0.75 is real in more than three of four cases.
The humps on the right overlap: on a single image it is often at a loss, although you can tell the two kinds apart at a glance.
A discriminator inside a GAN is never trained to the end; a fresh one, trained on its own, will do far better.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "What the discriminator says: six test images and six fakes of the last step, the first of each, and above each the probability that it is real in the eyes of $D$.", "name": "fig-gm-verdicts"}, "image": {"alt": "Two rows of six pictures with a number between 0 and 1 above each: digits from the test file and ragged fakes; the numbers of both kinds lie on either side of one half."}}
shown = [*range(6), *range(len(x_test), len(x_test) + 6)]
fig, axes = plt.subplots(2, 6, figsize=(6.4, 2.7))
for ax, i in zip(axes.flat, shown, strict=True):
    _ = plotting.image_grid((1 + seen_by_d[i : i + 1].cpu()) / 2, columns=1, ax=ax)
    where = {"xy": (0.5, 1.03), "xycoords": "axes fraction", "ha": "center"}
    _ = ax.annotate(f"{probs[i].item():.2f}", **where)

# %% [markdown]
r"""
## How good are the samples?

```{margin}
**In the sources.** Oslo, 30 April, *Calculating scores*; CS236 notes, *GANs*, two-sample tests; Borisyak, *Kernel Density Estimation*, for Parzen windows.
```

There is no likelihood to report.
What remains is to compare two sets of images, generated and real, and there are many ways to do so.
Each is blind to something; so we apply all of them to the same sets:

- other test images: what a perfect generator would give;
- training images, *memorised*: a "generator" that recites its training set;
- our generator after training: its average, {eq}`eq-gm-average`, and its weights after the *last* step;
- the generator after one epoch, and before the first;
- noise: each pixel an independent uniform number.

All images are put into one range, $[0, 1]$, and rounded to 8 bits, as the real ones are.
"""


# %% tags=["twin:dgm.sample_quality.as_eight_bit"]
def as_eight_bit(images):
    return (images.clamp(0, 1) * 255).round() / 255


# %%
def from_generator(network, num_samples):
    with torch.no_grad():
        return as_eight_bit((1 + network(codes_of(num_samples))) / 2)


order = torch.randperm(len(x_test), generator=run.generator(1), device=run.device)
real = as_eight_bit((1 + x_test[order]) / 2)
train_images = as_eight_bit((1 + x_train) / 2)
num_samples = min(P.num_parzen, len(real), len(train_images), run.data.num_train)
# The images that will choose the width of the Parzen windows are not recited.
num_rows = min(len(train_images), run.data.num_train)
rows = torch.randperm(num_rows, generator=run.generator(2), device=run.device)
sets = {
    "test images": real.roll(len(real) // 2, 0)[:num_samples],
    "memorised": train_images[rows[:num_samples]],
    "averaged": from_generator(average, num_samples),
    "last step": from_generator(generator, num_samples),
    "one epoch": from_generator(after_one, num_samples),
    "untrained": from_generator(untrained, num_samples),
    "noise": as_eight_bit(torch.rand(num_samples, 784, device=run.device)),
}
scores = {name: {} for name in sets}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The first twelve images of each set, not chosen.", "name": "fig-gm-sets"}, "image": {"alt": "Seven rows of twelve images: test images, memorised images, both clean digits; fakes of the averaged generator, soft digits, some of them broken; fakes of the last step, the same with ragged edges and black specks; grey blobs after one epoch; even grey noise before training; and coarse black and white noise."}}
fig, ax = plt.subplots(figsize=(7.0, 3.6))
pictures = torch.cat([images[:12] for images in sets.values()])
_ = plotting.image_grid(pictures.cpu(), columns=12, ax=ax)
for i, name in enumerate(sets):
    _ = ax.text(-8, 14 + 30 * i, name, ha="right", va="center")

# %% tags=["check"]
greys = [
    from_generator(lambda z, grey=grey: torch.full((len(z), 784), grey), 1).max()
    for grey in (-1.0, 0.0, 1.0)
]
checks.close("tanh of -1, 0, 1", torch.stack(greys), [0, 128 / 255, 1], atol=1e-6)
clipped = as_eight_bit(torch.tensor([-0.2, 0.5, 1.3]))
checks.close("clipped and rounded", clipped, [0, 128 / 255, 1], atol=1e-6)
checks.close(
    "any number of codes", list(from_generator(generator, 10).shape), [10, 784]
)
checks.close("8 bits keep what is a byte", real, (1 + x_test[order]) / 2, atol=1e-6)
for name, images in sets.items():
    steps = images * 255
    checks.at_most(f"{name}: distance from a byte", (steps - steps.round()).abs(), 1e-4)
    checks.true(f"{name}: from 0 to 1", bool(((images >= 0) & (images <= 1)).all()))

# %% [markdown]
r"""
### Maximum mean discrepancy

**If two distributions are equal, a pair of images from one is on average as similar as a pair from the other, and as a mixed pair.**
With a kernel $k$ for the similarity, the squared *maximum mean discrepancy* {cite:p}`gretton2012` is

$$
\begin{aligned}
\mathrm{MMD}^2 &= \mathbb{E}\, k(x, x') + \mathbb{E}\, k(y, y') - 2\, \mathbb{E}\, k(x, y), \\
k(x, y) &= \exp\left(-\frac{\lVert x - y \rVert^2}{2 h^2}\right),
\end{aligned}
$$ (eq-gm-mmd)

with independent $x, x'$ from the first and $y, y'$ from the second.
It is zero if and only if the distributions are equal, for this kernel and any width $h$.
From $n$ and $m$ samples the unbiased estimate leaves out the pairs of an image with itself:

$$
\begin{aligned}
\widehat{\mathrm{MMD}}{}^2 &= \frac{1}{n (n - 1)} \sum_{i \neq j} k(x_i, x_j) \\
&\quad + \frac{1}{m (m - 1)} \sum_{i \neq j} k(y_i, y_j) \\
&\quad - \frac{2}{n m} \sum_{i, j} k(x_i, y_j) .
\end{aligned}
$$ (eq-gm-mmd-unbiased)

It can be negative, and must be: an estimate of zero that is never negative is not unbiased.
For $h$ we take the median distance between real images.
"""


# %% tags=["twin:dgm.sample_quality.squared_distances"]
def squared_distances(x, y):
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return squares.clamp(min=0)


# %% tags=["twin:dgm.sample_quality.median_distance"]
def median_distance(x):
    rows, columns = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    return squared_distances(x, x)[rows, columns].median().sqrt().item()


# %% tags=["twin:dgm.sample_quality.mmd2_unbiased"]
def gaussian_kernel(x, y, bandwidth):
    return torch.exp(-squared_distances(x, y) / (2 * bandwidth**2))


def mmd2_unbiased(x, y, bandwidth):
    within = 0
    for a in (x, y):
        k = gaussian_kernel(a, a, bandwidth)
        within += (k.sum() - k.trace()) / (len(a) * (len(a) - 1))
    return (within - 2 * gaussian_kernel(x, y, bandwidth).mean()).item()


# %% [markdown]
r"""
For Gaussians on a line everything is known: with $x \sim \mathcal{N}(0, 1)$ and $y \sim \mathcal{N}(\mu, 1)$,

$$
\mathrm{MMD}^2 = \frac{2 h}{\sqrt{h^2 + 2}} \left(1 - e^{-\mu^2 / (2 (h^2 + 2))}\right) .
$$ (eq-gm-mmd-gauss)

If the pairs of an image with itself are kept, each adds $k = 1$, and the estimate is too large.
For equal distributions its mean is exactly

$$
\bigl(1 - \mathbb{E}\, k(x, x')\bigr) \left(\frac{1}{n} + \frac{1}{m}\right) > 0 .
$$ (eq-gm-mmd-bias)
"""

# %% tags=["check"]
corners = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
checks.close("median of 1, 2 and 3", median_distance(corners), 2.0)
h, draws = 0.8, 600
pairs = torch.randn(draws, 2, 20, 1, dtype=torch.float64)
apart = [mmd2_unbiased(x, y + 1.5, h) for x, y in pairs]
exact = 2 * h / math.sqrt(h**2 + 2) * (1 - math.exp(-(1.5**2) / (2 * (h**2 + 2))))
checks.unbiased("MMD^2 of two Gaussians", apart, exact)
equal = [mmd2_unbiased(x, y, h) for x, y in pairs]
checks.unbiased("MMD^2 of equal ones", equal, 0.0)


def mmd2_biased(x, y, bandwidth):
    within = sum(gaussian_kernel(a, a, bandwidth).mean() for a in (x, y))
    return (within - 2 * gaussian_kernel(x, y, bandwidth).mean()).item()


bias = (1 - h / math.sqrt(h**2 + 2)) * (1 / 20 + 1 / 20)
checks.unbiased("with the diagonal", [mmd2_biased(x, y, h) for x, y in pairs], bias)
checks.close(
    "symmetric, and blind to a common shift",
    [mmd2_unbiased(y + 3, x + 3, h) for x, y in pairs[:5]],
    equal[:5],
    atol=1e-12,
)

# %% [markdown]
r"""
How large is large?
A *permutation test* answers without any assumption.
If the two sets come from one distribution, it does not matter which image is in which set; so shuffle them, and compute the estimate for each shuffle.
The *p-value* is the share of divisions that give at least as much as the real one does, itself included: $(1 + \#) / (1 + N)$ for $N$ shuffles.
To reject when $p \leq \alpha$ is wrong in at most a share $\alpha$ of the cases in which nothing is different: $\alpha$ is the *error of the first kind* that one accepts, not the threshold for the MMD itself.
Not to reject although something is different is the *error of the second kind*; more samples make it rarer.

```{margin}
**A common mistake:** the rule "reject if the statistic exceeds $\alpha$".
The threshold $c_\alpha$ depends on the data; $\alpha$ is a probability.
```

The smallest p-value that $N$ shuffles can give is $1 / (1 + N)$, whatever the difference.
The matrix of all similarities is computed once; a shuffle only sums other entries of it.
"""


# %% tags=["twin:dgm.sample_quality.permutation_test"]
def permutation_test(x, y, bandwidth, num_permutations, *, generator=None):
    pooled, n, m = torch.cat([x, y]), len(x), len(y)
    k = gaussian_kernel(pooled, pooled, bandwidth).fill_diagonal_(0)
    first = torch.zeros(num_permutations + 1, n + m, dtype=k.dtype, device=k.device)
    first[0, :n] = 1
    for row in first[1:]:
        chosen = torch.randperm(n + m, generator=generator, device=k.device)[:n]
        row[chosen] = 1
    to_first = first @ k
    xx = (to_first * first).sum(1)
    xy = to_first.sum(1) - xx
    yy = k.sum() - xx - 2 * xy
    values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    observed, null = values[0], values[1:]
    p_value = (1 + (null >= observed).sum().item()) / (1 + num_permutations)
    return observed.item(), p_value, null.std().item()


# %% tags=["check"]
x, y = pairs[0]
tested = permutation_test(x, y + 1, h, 99)
checks.close("same estimate", tested[0], mmd2_unbiased(x, y + 1, h), atol=1e-12)
far = permutation_test(x, y + 100, h, 49)[1]
checks.close("p-value of sets far apart", far, 1 / 50, atol=1e-12)
p_values = [permutation_test(x, y, h, 19)[1] for x, y in pairs[:400]]
rejected = torch.tensor([float(p <= 0.1) for p in p_values])
checks.unbiased("rejected at 0.1, nothing different", rejected, 0.1)
found = torch.tensor([permutation_test(x, y + 1, h, 19)[1] for x, y in pairs[:100]])
checks.at_least("rejected at 0.1, shifted by 1", (found <= 0.1).double().mean(), 0.5)
spread = torch.tensor([permutation_test(x, y, h, 99)[2] for x, y in pairs[:50]])
ratio = spread.mean() / torch.tensor(equal).std()
checks.close("spread of the shuffles / of new samples", ratio, 1.0, atol=0.2)

# %% [markdown]
r"""
The last check says that the spread of the shuffles is the standard error of the estimate when nothing differs.
(The spread of 600 estimates is itself known to three per cent, and that of 50 means to a few; 20 per cent is a wide margin.)
Now the images, in double precision.
"""

# %%
num_mmd = min(P.num_mmd, num_samples // 2, len(real) // 2)
first_half = dgm.float64(real[:num_mmd])
bandwidth = median_distance(first_half)
for name, images in sets.items():
    value, p_value, error = permutation_test(
        first_half,
        dgm.float64(images[:num_mmd]),
        bandwidth,
        P.num_permutations,
        generator=torch.Generator().manual_seed(run.seed + 3),
    )
    scores[name] |= {"mmd2": value, "p": p_value, "mmd2_error": error}
    print(f"{name:12} MMD^2 {value:10.6f}, shuffles +/- {error:.6f}, p = {p_value:.3f}")

# %% tags=["check"]
mmd_protocol = f"U-statistic, {num_mmd:,} against {num_mmd:,} images in [0, 1], Gaussian kernel of the median distance"
perfect, trained = scores["test images"], scores["averaged"]
_ = run.record(
    "mmd2_unbiased_real_vs_real",
    perfect["mmd2"],
    unit="1",
    protocol=mmd_protocol,
    standard_error=perfect["mmd2_error"],
)
# The shuffles give the error where nothing differs; here it comes from disjoint blocks.
blocks = (dgm.float64(images).split(num_mmd) for images in (real, sets["averaged"]))
pairs_of_blocks = [
    pair for pair in zip(*blocks, strict=False) if len(pair[1]) == num_mmd
]
spread = torch.tensor([mmd2_unbiased(*pair, bandwidth) for pair in pairs_of_blocks])
_ = run.record(
    "mmd2_unbiased_fake_vs_real",
    trained["mmd2"],
    unit="1",
    protocol=mmd_protocol,
    standard_error=spread.std(),
)
checks.unbiased("real against real", perfect["mmd2"], 0.0, perfect["mmd2_error"])
if run.on_mnist and run.profile != "smoke":
    gained = scores["untrained"]["mmd2"] / trained["mmd2"]
    checks.at_least("MMD^2 of the untrained generator / of ours", gained, 10)

# %% [markdown]
r"""
### The score that prefers noise to digits

The Oslo lecture notes compute a score of the same family for 64 fakes, and it is worth a look, because three things go wrong at once.
Its fakes are in $[0, 1]$ and its real images in $[-1, 1]$; it keeps the diagonal; and it takes the square root.
Let us feed it with *real digits* in place of fakes.
"""


# %%
def printed_score(fakes, reals):
    """Biased MMD; the width is the mean squared distance of the reals, zeros included."""
    width = squared_distances(reals, reals).mean().sqrt().item()
    return math.sqrt(max(mmd2_biased(fakes, reals, width), 0))


reals = dgm.float64(2 * real[:num_mmd] - 1)
others = dgm.float64(sets["test images"][:64])
empty = -torch.ones(64, 784, dtype=torch.float64)
printed = {
    "real digits, same range": printed_score(2 * others - 1, reals),
    "real digits, in [0, 1]": printed_score(others, reals),
    "noise from -1 to 1": printed_score(2 * dgm.float64(sets["noise"][:64]) - 1, reals),
    "empty sheets, all -1": printed_score(empty, reals),
}
for name, value in printed.items():
    print(f"{name:26} {value:.3f}")
width = squared_distances(reals, reals).mean().sqrt().item()
floor = math.sqrt(
    (1 - gaussian_kernel(reals, reals, width).mean().item()) * (1 / 64 + 1 / len(reals))
)
print(f"expected of a perfect generator: about {floor:.3f}")

# %% tags=["check"]
if run.on_mnist:
    checks.ordered(
        "score, smaller is better",
        {
            "same range": printed["real digits, same range"],
            "empty sheets": printed["empty sheets, all -1"],
            "noise": printed["noise from -1 to 1"],
            "real digits in [0, 1]": printed["real digits, in [0, 1]"],
        },
    )
    paper = dgm.float64(real.eq(0)).mean().item()
    checks.close("share of the pixels that are paper", paper, 0.81, atol=0.01)
    # Perfect fakes: 30 times 64 test images against 200 others, with the root undone.
    draws = dgm.float64(real[: 30 * 264]).view(30, 264, 784)
    squares = [mmd2_biased(d[:64], d[64:], width / 2) for d in draws]
    alike = gaussian_kernel(
        dgm.float64(real[:2_000]), dgm.float64(real[-2_000:]), width / 2
    )
    bias = (1 - alike.mean().item()) * (1 / 64 + 1 / 200)
    checks.unbiased("square of the score of perfect fakes", squares, bias)

# %% [markdown]
r"""
Real digits come out last, behind noise, and behind empty paper.
In $[0, 1]$ the paper of a digit is 0, and in $[-1, 1]$ it is $-1$: four fifths of the pixels are off by one, which no stroke can make good.
And in the right range the score of perfect samples is not zero but the root of {eq}`eq-gm-mmd-bias`: **a score needs its value for real data beside it.**

```{margin}
**A common mistake:** images in different ranges, the diagonal in the mean, and a score without the score of real data beside it.
```

### A classifier as a test

**If some classifier tells real from fake better than a coin on images it has not seen, the distributions differ.**
For the best classifier there is an exact statement: with equally many of both kinds its accuracy is

$$
\tfrac{1}{2} \bigl(1 + \mathrm{TV}(p, q)\bigr), \qquad
\mathrm{TV} = \tfrac{1}{2} \int \lvert p - q \rvert ,
$$ (eq-gm-c2st)

since it chooses at each $x$ the larger of $p$ and $q$, and $\max(p, q) = \frac{1}{2} (p + q + \lvert p - q \rvert)$.
Two Gaussians of unit variance at distance $\mu$ have $\mathrm{TV} = 2 \Phi(\mu / 2) - 1$, and the accuracy is $\Phi(\mu / 2)$.
"""

# %% tags=["check"]
grid = torch.linspace(-12, 14, 20_001, dtype=torch.float64)
normal = torch.distributions.Normal(0.0, 1.0)
p, q = normal.log_prob(grid).exp(), normal.log_prob(grid - 1.5).exp()
tv = torch.trapezoid((p - q).abs(), grid).item() / 2
phi = normal.cdf(torch.tensor(0.75, dtype=torch.float64)).item()
checks.close("best accuracy", (1 + tv) / 2, phi, atol=1e-6)
draws = torch.randn(2, 20_000, dtype=torch.float64)
right = torch.cat([(draws[0] < 0.75).double(), (draws[1] + 1.5 > 0.75).double()])
checks.unbiased("threshold half-way: share right", right, phi)

# %% [markdown]
r"""
Fakes that fill 20 dimensions of 784 have $\mathrm{TV} = 1$ with any data that do not lie on the very same surface: in principle they can always be told.
So an accuracy below 1 is a statement about the classifier that we train, not about TV.

On images the classifier is a fresh discriminator of the architecture above, trained on half of the images and judged on the other half.
Its accuracy is a lower bound, on average, of {eq}`eq-gm-c2st`; so it can only prove that the sets differ.
"""


# %% tags=["twin:dgm.sample_quality.two_sample_accuracy"]
def two_sample_accuracy(x, y, *, epochs=10, batch_size=64, seed=0):
    torch.manual_seed(seed)
    judge = make_discriminator(100).to(x.device)
    optimiser = torch.optim.Adam(judge.parameters(), lr=1e-3, fused=True)
    half = min(len(x), len(y)) // 2
    x, y = 2 * x[: 2 * half] - 1, 2 * y[: 2 * half] - 1
    for _ in range(epochs):
        for rows in torch.randperm(half, device=x.device).split(batch_size):
            pair = judge(torch.cat([x[rows], y[rows]]))
            loss = discriminator_loss(*pair.split(len(rows))).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    judge.eval()
    with torch.no_grad():
        right = torch.cat([judge(x[half:]) > 0, judge(y[half:]) < 0])
    share = right.cpu().double().mean().item()
    return share, math.sqrt(share * (1 - share) / len(right))


# %%
for name, images in sets.items():
    share, error = two_sample_accuracy(real[: len(real) // 2], images[: len(real) // 2])
    scores[name] |= {"accuracy": share, "accuracy_error": error}
    print(f"{name:12} told from test images in {share:.3f} of the cases")

# %% tags=["check"]
perfect = scores["test images"]
checks.unbiased(
    "real against real", perfect["accuracy"], 0.5, perfect["accuracy_error"]
)
own = ((probs > 0.5) == (is_real > 0.5)).double().mean().item()
print(f"the discriminator of the GAN itself tells {own:.3f} of its last fakes")
if run.on_mnist and run.profile != "smoke":
    both = {"its own": own, "a fresh one": scores["last step"]["accuracy"]}
    checks.ordered("share told right", both)
_ = run.record(
    "two_sample_accuracy",
    scores["averaged"]["accuracy"],
    unit="1",
    protocol=f"fresh discriminator, held-out half of {len(real) // 2:,} fakes and as many test images",
    standard_error=scores["averaged"]["accuracy_error"],
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("our fakes, seen through", scores["averaged"]["accuracy"], 0.6)

# %% [markdown]
r"""
### Nearest neighbours: has it memorised?

A generator that recites training images does very well in both tests: its images *are* real.
(The tests above see a difference, a small one: training and test images were written by different people.)
**What gives a memoriser away is the distance to the training set: its images lie much nearer to it than new real images do.**
"""


# %%
def nearest_training_image(images, chunk=500):
    """Squared distance and row of the nearest training image of each image."""
    found = [
        squared_distances(part, train_images).min(1) for part in images.split(chunk)
    ]
    return [torch.cat(column) for column in zip(*found, strict=True)]


neighbours = {}
for name, images in sets.items():
    neighbours[name] = nearest_training_image(images[: P.num_neighbours])
    scores[name]["neighbour"] = neighbours[name][0].median().item()
usual = neighbours["test images"][0]
closer = {name: (d < usual.quantile(0.01)) for name, (d, _) in neighbours.items()}
for name, near in closer.items():
    share = dgm.float64(near).mean().item()
    print(f"{name:12} {share:6.1%} nearer than all but 1 % of the test images")

# %% tags=["check"]
few = sets["averaged"][:3]
by_hand = ((few[:, None] - train_images[None, :200]) ** 2).sum(-1)
distances = squared_distances(few, train_images[:200])
checks.close("squared distances", distances, by_hand, atol=1e-3)
checks.at_most("memorised: distance", neighbours["memorised"][0], 1e-3)
checks.close(
    "memorised: all too near", dgm.float64(closer["memorised"]).mean().item(), 1.0
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: the first fourteen images of the trained generator, not chosen. Bottom: the nearest training image of each.", "name": "fig-gm-neighbours"}, "image": {"alt": "Two rows of images. The lower row shows clean digits, most of the same kind and slant as the generated image above, and none of them identical to it."}}
pictures = torch.cat(
    [sets["averaged"][:14], train_images[neighbours["averaged"][1][:14]]]
)
fig, ax = plt.subplots(figsize=(7.0, 1.2))
_ = plotting.image_grid(pictures.cpu(), columns=14, ax=ax)

# %% [markdown]
r"""
The squared distance forgives nothing that moves ([the VAE lecture](vae_pytorch.ipynb) measures that), so an image can be a copy and look far away; the test finds exact reciting only.

### Parzen windows, and why they are no longer used

**Put a Gaussian of width $\sigma$ on each of many samples, and call the mixture a density:**

$$
\log \hat p(x) = \log \frac{1}{n} \sum_{j=1}^{n} \mathcal{N}(x;\, G(z_j), \sigma^2 I) .
$$ (eq-gm-parzen)

The first papers on GANs reported the mean of this over test images, with $\sigma$ chosen on other images.
The number is a proper log-likelihood, that of a mixture of 10,000 Gaussians.
It is not the likelihood of the generator, which has none.
"""


# %% tags=["twin:dgm.sample_quality.parzen_log_prob"]
def parzen_log_prob(x, samples, std, *, chunk=500):
    constant = math.log(len(samples)) + x.shape[1] / 2 * math.log(2 * math.pi * std**2)
    exponents = (
        -squared_distances(part, samples) / (2 * std**2) for part in x.split(chunk)
    )
    return torch.cat([torch.logsumexp(e, 1) for e in exponents]) - constant


# %%
choose = as_eight_bit(
    torch.from_numpy(run.data.vectors("valid")[:1_000]).to(run.device)
)
widths = torch.logspace(-1, 0, 10).tolist()


def parzen_score(samples):
    """Mean log-density of the test images, standard error and width in use."""
    values = [parzen_log_prob(choose, samples, std).mean().item() for std in widths]
    std = widths[max(range(len(widths)), key=values.__getitem__)]
    log_prob = dgm.float64(parzen_log_prob(real, samples, std))
    return log_prob.mean().item(), (log_prob.std() / len(real) ** 0.5).item(), std


for name in ("memorised", "averaged", "last step", "one epoch", "untrained"):
    value, error, std = parzen_score(sets[name])
    scores[name] |= {"parzen": value, "parzen_error": error}
    print(f"{name:12} {value:8.1f} +/- {error:.1f} nats at width {std:.3f}")

# %% tags=["check"]
from sklearn.neighbors import KernelDensity

points = torch.randn(40, 3, dtype=torch.float64)
library = (
    KernelDensity(bandwidth=0.4).fit(points.numpy()).score_samples(points[:7].numpy())
)
mine = parzen_log_prob(points[:7], points, 0.4, chunk=3)
checks.close("log density, scikit-learn's", mine, library, atol=1e-10)
line = torch.linspace(-9, 9, 4_001, dtype=torch.float64)[:, None]
density = parzen_log_prob(line, points[:, :1], 0.4).exp()
total = torch.trapezoid(density, line[:, 0]).item()
checks.close("integral on a line", total, 1.0, atol=1e-9)

# %% [markdown]
r"""
**For more and more samples the estimate becomes exact if the width goes to zero, but not too fast: $n \sigma^d$ must grow.**
That is, up to a factor, the number of samples within a width; where it stays small the estimate stays noisy.
For standard normal samples on the line mean and variance of $\hat p(0)$ are exact:

$$
\begin{aligned}
\mathbb{E}\, \hat p(0) &= \mathcal{N}(0;\, 0, 1 + \sigma^2), \\
\operatorname{Var} \hat p(0) &= \frac{1}{n} \Bigl( \frac{\mathcal{N}(0;\, 0, 1 + \sigma^2 / 2)}{2 \sqrt{\pi}\, \sigma} - \bigl(\mathbb{E}\, \hat p(0)\bigr)^2 \Bigr).
\end{aligned}
$$ (eq-gm-parzen-moments)

With $\sigma = n^{-1/5}$ the spread falls; with $\sigma = 1 / n$ it stays at a third, however many samples there are, and the value to be found is 0.4.
Nor is the estimate cheap: even a tree that finds neighbours at once must sum over them, and within the width $n^{-1/5}$ there are about $n^{4/5}$.
"""


# %% tags=["check"]
def parzen_moments(n, std):
    """Mean and variance of the Parzen density at 0 of n standard normal samples."""
    mean = (2 * math.pi * (1 + std**2)) ** -0.5
    square = (2 * math.pi * (1 + std**2 / 2)) ** -0.5 / (2 * math.pi**0.5 * std)
    return mean, (square - mean**2) / n


source = torch.Generator().manual_seed(run.seed)
origin = torch.zeros(1, 1, dtype=torch.float64)
rules = {"n^(-1/5)": lambda n: n**-0.2, "1 / n": lambda n: 1 / n}
for rule, width in rules.items():
    draws = torch.randn(1_000, 200, 1, generator=source, dtype=torch.float64)
    found = torch.cat([parzen_log_prob(origin, x, width(200)) for x in draws]).exp()
    mean, variance = parzen_moments(200, width(200))
    checks.unbiased(f"width {rule}: mean", found, mean)
    checks.unbiased(f"width {rule}: variance", (found - mean).square(), variance)
    many = (10**3, 10**4, 10**5, 10**6)
    stds = {f"n = {n:,}": parzen_moments(n, width(n))[1] ** 0.5 for n in many}
    print(
        f"width {rule}:", *(f"\n  {name:13} spread {s:.4f}" for name, s in stds.items())
    )
    if rule == "1 / n":
        checks.close("spread stays", list(stds.values()), [0.335] * 4, atol=2e-3)
    else:
        checks.ordered("spread falls", dict(reversed(stds.items())))
x = torch.randn(10**5, generator=source, dtype=torch.float64).abs()
for n in (10**3, 10**5):
    near = (x[:n] < n**-0.2).double()
    share = math.erf(n**-0.2 / 2**0.5)
    checks.unbiased(f"share within the width, n = {n:,}", near, share)
    checks.close("times n^(1/5)", share * n**0.2, (2 / math.pi) ** 0.5, rtol=0.02)

# %% tags=["check"]
parzen_protocol = f"{num_samples:,} samples, width from logspace(-1, 0, 10) on 1,000 of the last 10,000 training images, {len(real):,} test images"
_ = run.record(
    "parzen_training_images",
    scores["memorised"]["parzen"],
    unit="nats",
    protocol=f"training images as samples; {parzen_protocol}",
    standard_error=scores["memorised"]["parzen_error"],
    published=241.9,
    source="Sohl-Dickstein et al. 2015, appendix: 349 bits for the training data",
)
_ = run.record(
    "parzen_log_likelihood",
    scores["averaged"]["parzen"],
    unit="nats",
    protocol=parzen_protocol,
    standard_error=scores["averaged"]["parzen_error"],
    published=225,
    source="Goodfellow et al. 2014, table 1, with larger networks and 10,000 test images",
)
if run.on_mnist and run.profile != "smoke":
    off = scores["memorised"]["parzen"] - 241.9
    checks.at_most("training images: nats from the published value", abs(off), 4)

# %% [markdown]
r"""
Now the trap.
As many *averages* of training images do better than training images: the centres of $k$-means.
They are blurred, and some are two digits in one; but a Gaussian window likes to sit in the middle of things.
"""


# %%
def centres(images, num_centres, rounds=10):
    """Lloyd's algorithm, from randomly chosen images."""
    means = images[:num_centres].clone()
    for _ in range(rounds):
        nearest = squared_distances(images, means).argmin(1)
        member = F.one_hot(nearest, num_centres).to(images.dtype)
        count = member.sum(0)[:, None]
        means = torch.where(count > 0, member.T @ images / count.clamp(min=1), means)
    return means


num_centres = num_samples // 20
blurred = centres(sets["memorised"], num_centres)
parzen_real = parzen_score(sets["memorised"][:num_centres])[0]
parzen_blurred = parzen_score(blurred)[0]
print(f"{num_centres} training images:      {parzen_real:8.1f} nats")
print(f"{num_centres} centres of {num_samples:,}: {parzen_blurred:8.1f} nats")

# %% tags=["check"]
label = "Parzen score"
checks.ordered(label, {"real images": parzen_real, "blurred means": parzen_blurred})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: training images. Bottom: the centres of k-means that started there; they have the higher Parzen score.", "name": "fig-gm-parzen"}, "image": {"alt": "Top: fourteen sharp digits. Bottom: fourteen digits that are blurred, some of them two digits in one."}}
pictures = torch.cat([sets["memorised"][:14], blurred[:14]])
fig, ax = plt.subplots(figsize=(7.0, 1.2))
_ = plotting.image_grid(pictures.cpu(), columns=14, ax=ax)

# %% [markdown]
r"""
### A Fréchet distance between features

Distances between pixels know nothing of digits.
**So compare *features*: the values in the last hidden layer of a classifier, 64 numbers for an image.**
Fit a Gaussian to the features of each set, and take the Fréchet distance of the two {cite:p}`heusel2017`:

$$
\begin{aligned}
d^2 = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\Bigl( & C_1 + C_2 \\
& - 2\, \bigl(C_1^{1/2} C_2\, C_1^{1/2}\bigr)^{1/2} \Bigr) .
\end{aligned}
$$ (eq-gm-frechet)

The literature uses a network that was trained on a million photographs; ours is small, was trained on the first 50,000 digits, and comes with the book.
The values of two classifiers cannot be compared with one another.
"""


# %% tags=["twin:dgm.sample_quality.frechet_distance"]
def frechet_distance(a, b):
    a, b = a.cpu().double(), b.cpu().double()
    values, vectors = torch.linalg.eigh(a.T.cov())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    inner = torch.linalg.eigvalsh(root @ b.T.cov() @ root).clamp(min=0)
    traces = a.var(0).sum() + b.var(0).sum()
    return (
        (a.mean(0) - b.mean(0)).square().sum() + traces - 2 * inner.sqrt().sum()
    ).item()


# %% tags=["check"]
from scipy.linalg import sqrtm

a = torch.randn(300, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
b = 1 + torch.randn(200, 5, dtype=torch.float64)
product = sqrtm(a.T.cov().numpy() @ b.T.cov().numpy()).real
library = (a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum()
library = library - 2 * product.trace()
checks.close("scipy's matrix root", frechet_distance(a, b), library, rtol=1e-9)
checks.close("of a set from itself", frechet_distance(a, a), 0.0, atol=1e-9)
checks.close("symmetric", frechet_distance(a, b), frechet_distance(b, a), rtol=1e-9)
shift = torch.tensor([3.0, 0, 0, 0, 4.0], dtype=torch.float64)
checks.close("of a shift by 5", frechet_distance(a, a + shift), 25.0, rtol=1e-9)
halves = torch.randn(500, 2, 40, 5, dtype=torch.float64)
first_term = (halves.mean(2)[:, 0] - halves.mean(2)[:, 1]).square().sum(1)
checks.unbiased("first term, equal distributions", first_term, 5 * (1 / 40 + 1 / 40))
stretched = a.mean(0) + 2 * (a - a.mean(0))
spread = a.var(0).sum()
checks.close("stretched by 2", frechet_distance(a, stretched), spread, rtol=1e-9)

# %% [markdown]
r"""
The distance between two finite sets from one distribution is not zero; its first term alone has the mean $\operatorname{tr} C\, (1/n + 1/m)$.
So a distance means something only beside that of two real sets of the same size, and we report the *ratio*: fakes against test images over training images against test images.
A perfect generator scores about 1.
"""

# %%
judge = classifier.load(run.device)


@torch.no_grad()
def features(images):
    return dgm.float64(judge.features(images))


num_blocks = max(1, min(10, num_samples // P.num_fd))
real_blocks = features(real).split(P.num_fd)[:num_blocks]


def mean_distance(images):
    """Mean over disjoint blocks of test images, each beside a block of images."""
    blocks = features(images[: num_blocks * P.num_fd]).split(P.num_fd)
    pairs = zip(blocks, real_blocks, strict=True)
    values = torch.tensor([frechet_distance(a, b) for a, b in pairs])
    error = values.std().item() / num_blocks**0.5 if num_blocks > 1 else None
    return values.mean().item(), error


floor, _ = mean_distance(sets["memorised"])
for name, images in sets.items():
    value, error = mean_distance(images)
    error = error and error / floor
    scores[name] |= {"frechet": value / floor, "frechet_error": error}
    print(f"{name:12} {value:9.2f}, ratio {value / floor:8.2f}")

# %% tags=["check"]
fd_protocol = f"64 features of our classifier, {P.num_fd:,} against {P.num_fd:,} images, mean of {num_blocks} disjoint blocks"
for name, of_set, words in (
    ("classifier_fd_ratio", "averaged", "fakes of the averaged generator"),
    ("classifier_fd_ratio_last_step", "last step", "fakes without averaging"),
    ("classifier_fd_ratio_untrained", "untrained", "fakes before training"),
):
    _ = run.record(
        name,
        scores[of_set]["frechet"],
        unit="1",
        protocol=f"{words} against test over training against test; {fd_protocol}",
        standard_error=scores[of_set]["frechet_error"],
    )
if run.on_mnist and run.profile != "smoke":
    gained = scores["averaged"]["frechet"] / scores["untrained"]["frechet"]
    checks.at_most("ratio, trained over untrained", gained, 0.2)
    row = {name: scores[name]["frechet"] for name in ("averaged", "last step")}
    checks.ordered("averaging helps", row)

# %% [markdown]
r"""
Now the promise about the loss: the Fréchet ratio after each epoch, from 500 fakes, beside the loss of the discriminator.
"""

# %%
by_epoch = []
for fakes in kept:
    block = features(as_eight_bit((1 + fakes) / 2))
    by_epoch.append(frechet_distance(block, features(real[:500])) / floor)

# %% tags=["check"]
if run.on_mnist and run.profile == "quick":
    better = by_epoch[3] / by_epoch[-1]
    checks.at_least("Fréchet ratio after epoch 4 / at the end", better, 1.25)
    off = abs(d_loss[-1] / d_loss[3] - 1)
    checks.at_most("change of the loss in that time", off, 0.15)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss of the discriminator, the sum of its two terms, while training (left axis), and Fréchet ratio of the fakes, which is 1 for real images (right axis, logarithmic), for each epoch.", "name": "fig-gm-flat"}, "image": {"alt": "The loss rises in the first epochs and changes little from then on. The Fréchet ratio falls steeply in the first epochs, then slowly and with ups and downs."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
ax.plot(epochs, d_loss, color=plotting.COLOURS[0])
ax.set(xlabel="epoch", ylim=(0, 1.6))
ax.xaxis.get_major_locator().set_params(integer=True)
ax.set_ylabel("loss [nats]", color=plotting.COLOURS[0])
twin = ax.twinx()
twin.semilogy(epochs, by_epoch, color=plotting.COLOURS[1])
twin.set_ylabel("Fréchet ratio", color=plotting.COLOURS[1])
twin.spines["right"].set_visible(True)
twin.grid(visible=False)
_ = twin.set_ylim(1, 100)

# %% [markdown]
r"""
The same classifier tells how sure it is of its label, and which labels it gives.
Half the sum of the differences between the two kinds of bars in {numref}`fig-gm-labels` is the total variation between them.
A generator that has dropped a digit, or makes too many of one, shows it here.
"""

# %%
with torch.no_grad():
    labelled = {name: judge(images).softmax(1) for name, images in sets.items()}
confidence = {name: dgm.float64(p.max(1).values) for name, p in labelled.items()}
for name in ("averaged", "test images"):
    values = confidence[name]
    _ = run.record(
        "classifier_confidence" + ("" if name == "averaged" else "_test"),
        values.mean(),
        unit="1",
        protocol=f"mean top probability of our classifier on {len(values):,} images, {name}",
        standard_error=values.std() / len(values) ** 0.5,
    )
shares = {
    name: dgm.float64(torch.bincount(p.argmax(1), minlength=10)) / len(p)
    for name, p in labelled.items()
}
imbalance = (shares["averaged"] - shares["test images"]).abs().sum().item() / 2
_ = run.record(
    "label_total_variation",
    imbalance,
    unit="1",
    protocol="total variation distance between the labels of fakes and of test images",
)

# %% tags=["check"]
labels = torch.tensor(run.data.test_labels, device=run.device)[order].long()
right = dgm.float64(judge(real).argmax(1) == labels).mean().item()
print(f"the classifier is right on {right:.4f} of the test images")
if run.on_mnist:
    checks.at_least("accuracy of the classifier", right, 0.99)
halves = [
    dgm.float64(torch.bincount(p.argmax(1), minlength=10)) / len(p)
    for p in labelled["test images"].chunk(2)
]
usual_imbalance = (halves[0] - halves[1]).abs().sum().item() / 2
print(f"imbalance {imbalance:.3f}, between two halves of real {usual_imbalance:.3f}")
if run.on_mnist and run.profile == "quick":
    ratio = imbalance / usual_imbalance
    checks.at_least("imbalance over that of two real halves", ratio, 2)
for name, share in shares.items():
    checks.close(f"{name}: shares of the labels", share.sum(), 1.0, atol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Share of each digit, as the classifier labels them.", "name": "fig-gm-labels"}, "image": {"alt": "Bars for the ten digits in pairs. Test images have about a tenth of each; the generator makes clearly more of some digits and fewer of others."}}
fig, ax = plt.subplots(figsize=(7.0, 2.8))
places = torch.arange(10)
for i, name in enumerate(("test images", "averaged")):
    ax.bar(places + 0.4 * i - 0.2, shares[name].cpu(), 0.38, label=name)
ax.set(xlabel="label", ylabel="share", xticks=places.tolist())
_ = ax.legend()

# %% [markdown]
r"""
### Likelihood and looks are different things

Would a likelihood settle the matter?
It would not {cite:p}`theis2016`.
**A model can have nearly the best likelihood and make garbage 99 times in 100**:

$$
q = \tfrac{1}{100}\, p + \tfrac{99}{100}\, r
\;\Rightarrow\;
\mathbb{E}_p \log q \;\geq\; \mathbb{E}_p \log p - \log 100 .
$$ (eq-gm-looks)

The price of all that garbage is at most 4.6 nats an image, and exactly that if nothing of it looks like data; models of digits differ by tens of nats.
**And a model can make perfect samples and have the worst likelihood**: Parzen windows around the training images, with $\sigma \to 0$, recite them, and give test images nothing.
"""

# %% tags=["check"]
p = normal.log_prob(grid).exp()
r = normal.log_prob((grid - 8) / 0.5).exp() / 0.5
garbage = torch.log(p / 100 + 99 / 100 * r)
price = torch.trapezoid(p * (p.clamp(min=1e-300).log() - garbage), grid).item()
# p has a share of 1e-7 beyond 5.2 standard deviations, where garbage begins.
checks.close("price in nats", price, math.log(100), atol=1e-5)
narrow = {}
for std in (0.1, 0.05, 0.02):
    log_prob = parzen_log_prob(real[:500], sets["memorised"], std)
    narrow[f"width {std}"] = log_prob.mean().item()
checks.ordered("test images, in nats", dict(reversed(narrow.items())))
loss = narrow["width 0.1"] - narrow["width 0.02"]
checks.at_least("nats lost by perfect samples", loss, 1_000)

# %% [markdown]
r"""
## The board

All scores of all sets.
The first row is what to compare with: it is what real images get.
(Parzen windows on test images would be scored by themselves, so that there is no value.)
MMD$^2$ is multiplied by 1,000, the Fréchet column is the ratio, the next one the median squared distance to the nearest training image, and Parzen windows score in nats.
"""

# %%
columns = {
    "mmd2": ("MMD^2", lambda s: f"{1000 * s['mmd2']:.2f}"),
    "p": ("p", lambda s: f"{s['p']:.3f}"),
    "accuracy": ("accur.", lambda s: f"{s['accuracy']:.3f}"),
    "frechet": ("Frechet", lambda s: f"{s['frechet']:.1f}"),
    "neighbour": ("dist.^2", lambda s: f"{s['neighbour']:.1f}"),
    "parzen": ("Parzen", lambda s: f"{s['parzen']:.1f}" if "parzen" in s else "-"),
}
print(" " * 11 + "".join(f"{title:>8}" for title, _ in columns.values()))
for name, row in scores.items():
    cells = (show(row) for _, show in columns.values())
    print(f"{name:11}" + "".join(f"{cell:>8}" for cell in cells))

# %% tags=["check"]
if run.on_mnist and run.profile == "quick":
    for score in ("mmd2", "accuracy", "frechet", "neighbour"):
        order = ("test images", "averaged", "last step", "untrained")
        checks.ordered(score, {name: scores[name][score] for name in order})
    row = {
        name: scores[name]["parzen"] for name in ("untrained", "averaged", "memorised")
    }
    checks.ordered("Parzen", row)
    least = scores["averaged"]["mmd2"] / scores["memorised"]["mmd2"]
    checks.at_least("MMD^2, averaged over memorised", least, 3)
    row = {name: scores[name]["accuracy"] for name in ("memorised", "averaged")}
    checks.ordered("accuracy", row)
    row = {name: scores[name]["frechet"] for name in ("noise", "one epoch")}
    checks.ordered("Fréchet ratio", row)
    row = {name: scores[name]["mmd2"] for name in ("noise", "untrained")}
    checks.ordered("MMD^2", row)

# %% [markdown]
r"""
**What you should see.** MMD, Fréchet ratio and distance put our generators between real images and the untrained network, and the average before the last step.
None takes them for real.
The row *memorised* is the failure to watch for: MMD and the classifier notice a little, far less than they notice of our fakes, and Parzen likes it best.
Only the distance to the nearest training image, which is zero, says at once what it is.
The accuracy is close to 1 for all fakes but those of the average: a test that sees through everything ranks nothing.
And each score has its oddity: the Fréchet ratio prefers noise to the blobs after one epoch, MMD prefers noise to the untrained generator.
The average of the weights has lost most of the specks that the last step has, {numref}`fig-gm-sets`.

| score | needs | blind to |
|---|---|---|
| MMD | a kernel, a width | what the kernel does not resolve; memorising |
| classifier | training it | what this classifier does not find; memorising |
| neighbours | the training set | copies that were moved or bent |
| Parzen | a width | nearly everything: blur beats digits |
| Fréchet | a network for features | all beyond mean and covariance; what the features ignore; memorising |

How fast is all this?
A sample costs one pass through a small network.
"""

# %%
import time

seconds = []
for _ in range(5):
    started = time.perf_counter()
    from_generator(generator, 10_000)
    seconds.append(time.perf_counter() - started)
_ = run.record(
    "microseconds_per_sample",
    1e6 * min(seconds) / 10_000,
    unit="microseconds",
    protocol="10,000 samples in one pass with rounding to 8 bits, best of 5",
)

# %% [markdown]
r"""
## Exercises

```{exercise-start} How large is the bias?
:label: ex-gm-bias
```
Write `predicted_bias(x, y, bandwidth)`: an estimate of the mean of the biased $\mathrm{MMD}^2$ for two samples `x` and `y` of one distribution, without knowing the distribution.
Estimate $\mathbb{E}\, k(x, x')$ in {eq}`eq-gm-mmd-bias` without bias.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def predicted_bias(x, y, bandwidth):
    return None


# %% tags=["check"]
def check_predicted_bias(answer):
    if answer(*pairs[0], h) is None:
        return print("not yet")
    found = [answer(x, y[:10], h) for x, y in pairs[:300]]
    bias = (1 - h / math.sqrt(h**2 + 2)) * (1 / 20 + 1 / 10)
    checks.unbiased("your bias, 20 and 10 points", [float(b) for b in found], bias)
    return print("right")


check_predicted_bias(predicted_bias)

# %% [markdown]
r"""
````{solution-start} ex-gm-bias
:class: dropdown
````
"""


# %% tags=["solution"]
def predicted_bias(x, y, bandwidth):
    k = gaussian_kernel(x, y, bandwidth).mean().item()
    return (1 - k) * (1 / len(x) + 1 / len(y))


check_predicted_bias(predicted_bias)

# %% [markdown]
r"""
Pairs of one image from each set are independent, and never an image with itself, so the mean over them is unbiased.
With the pairs inside one set, the diagonal must be left out.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A score in the right range
:label: ex-gm-range
```
Repair `printed_score`: write `repaired(fakes, reals)`, which takes both kinds of images in $[0, 1]$, says so with a `ValueError` if one of them is not, and returns an unbiased $\mathrm{MMD}^2$ with the median distance of the reals.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def repaired(fakes, reals):
    return None


# %% tags=["check"]
def check_repaired(answer):
    reals, others = dgm.float64(real[:60]), dgm.float64(sets["test images"][:60])
    value = answer(others, reals)
    if value is None:
        return print("not yet")
    checks.close(
        "unbiased",
        value,
        mmd2_unbiased(others, reals, median_distance(reals)),
        atol=1e-12,
    )
    for name, pair in {
        "fakes": (2 * others - 1, reals),
        "reals": (others, 2 * reals - 1),
    }.items():
        try:
            answer(*pair)
            refused = False
        except ValueError:
            refused = True
        checks.true(f"{name} from -1 to 1 are refused", refused)
    return print("right")


check_repaired(repaired)

# %% [markdown]
r"""
````{solution-start} ex-gm-range
:class: dropdown
````
"""


# %% tags=["solution"]
def repaired(fakes, reals):
    for name, images in (("fakes", fakes), ("reals", reals)):
        low, high = images.min().item(), images.max().item()
        if low < 0 or high > 1:
            raise ValueError(f"{name}: expected 0 to 1, got {low:.2f} to {high:.2f}")
    return mmd2_unbiased(fakes, reals, median_distance(reals))


check_repaired(repaired)

# %% [markdown]
r"""
The check of the range is the part that saves an afternoon.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} What is left behind
:label: ex-gm-detach
```
Suppose that the fakes in the step of $D$ keep their graph, and somebody forgets `zero_grad` before the step of $G$.
Write `left_behind(generator, discriminator, x, z)`: the gradient, as one vector, that the backward pass of the loss of $D$, {eq}`eq-gm-d-loss`, leaves in the parameters of the generator.
What would the generator learn from it?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def left_behind(generator, discriminator, x, z):
    return None


# %% tags=["check"]
def check_left_behind(answer):
    G, D = (copy.deepcopy(n).eval() for n in (generator, discriminator))
    x, z = x_train[:64], codes_of(64)
    vector = answer(G, D, x, z)
    if vector is None:
        return print("not yet")
    slopes = torch.autograd.grad(F.softplus(D(G(z))).mean(), list(G.parameters()))
    exact = nn.utils.parameters_to_vector(slopes)
    checks.close("what is left behind", vector, exact, atol=1e-6)
    before = D(G(z)).sigmoid().mean().item()
    G.zero_grad()
    start = nn.utils.parameters_to_vector(G.parameters()).detach()
    step_length = 0.01 / exact.norm()
    nn.utils.vector_to_parameters(start - step_length * vector, G.parameters())
    after = D(G(z)).sigmoid().mean().item()
    checks.ordered("D(G(z))", {"after a step with it": after, "before": before})
    return print("right")


check_left_behind(left_behind)

# %% [markdown]
r"""
````{solution-start} ex-gm-detach
:class: dropdown
````
"""


# %% tags=["solution"]
def left_behind(generator, discriminator, x, z):
    generator.zero_grad()
    logits = discriminator(torch.cat([x, generator(z)]))
    discriminator_loss(*logits.split(len(x))).mean().backward()
    return nn.utils.parameters_to_vector(p.grad for p in generator.parameters())


check_left_behind(left_behind)

# %% [markdown]
r"""
The real images do not depend on $G$; what is left is the gradient of $-\log(1 - D(G(z)))$.
A descent along it makes the fakes *easier* to recognise: the generator would help its opponent.
The printed program is saved by the `zero_grad` that follows; all that it loses is the time of a backward pass through $G$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A generator that cheats
:label: ex-gm-cheat
```
Find a "generator" that recites training images and is not found out by the nearest-neighbour test: write `disguise(images)`, which changes each image a little, such that its label stays the same, and its nearest training image is no nearer than that of a new digit.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def disguise(images):
    return None


# %% tags=["check"]
def check_disguise(answer):
    recited = sets["memorised"][: P.num_neighbours]
    images = answer(recited)
    if images is None:
        return print("not yet")
    distance = nearest_training_image(images)[0].median().item()
    usual_distance = usual.median().item()
    checks.at_least("distance over that of test images", distance / usual_distance, 1)
    with torch.no_grad():
        same = dgm.float64(judge(images).argmax(1) == judge(recited).argmax(1)).mean()
    if run.on_mnist:
        checks.at_least("same label", same, 0.8)
    return print("right")


check_disguise(disguise)

# %% [markdown]
r"""
````{solution-start} ex-gm-cheat
:class: dropdown
````
"""


# %% tags=["solution"]
def disguise(images):
    return images.view(-1, 28, 28).roll(2, dims=2).flatten(1)


check_disguise(disguise)

# %% [markdown]
r"""
Moved by two pixels to the side, a copy is farther from its original than most new digits are from the training set.
A test with features that forgive such a move would be the next step, and then a copy that is bent.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. `num_parameters` gives 81,284 and 78,501; before training the mean of $D$ is 1/2 over fresh networks, and the losses are near $\log 2$.
2. `step` is the algorithm; it agrees with the step that was written by hand, {eq}`eq-gm-d-loss` and {eq}`eq-gm-g-loss`.
3. The curves of {numref}`fig-gm-curves` wander on either side of $\log 2$ and $1/2$, and the samples get better while the loss hardly changes, {numref}`fig-gm-flat`.
4. The board has five scores, with the value of real images beside each, {eq}`eq-gm-mmd-unbiased`, {eq}`eq-gm-c2st`, {eq}`eq-gm-parzen`, {eq}`eq-gm-frechet`.
5. Real digits in the wrong range score worse than noise; a reciter beats our generator in every score, and one distance finds it out, until it moves the digits a little ({ref}`ex-gm-cheat`).

**What comes next:** what the two players really minimise, in [the Jensen-Shannon lecture](jensen_shannon.ipynb).

**Reading:** {cite:t}`goodfellow2014`, where it began, six pages; {cite:t}`goodfellow2017`, the tutorial; {cite:t}`goodfellow2016`, section 20.10.4 on GANs and 20.14 on scores; {cite:t}`theis2016` and {cite:t}`borji2019` on evaluation; {cite:t}`gretton2012` on two-sample tests; {cite:t}`lopezpaz2017` on classifiers as tests.
The errors of the sources are on the [errata page](../book/errata.md).
"""

# %%
run.finish()

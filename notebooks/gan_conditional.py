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
# Conditional and convolutional GANs, and maps between domains

At the end of this lecture you will be able to

1. compute the shapes of a convolutional generator, and say why a transposed convolution is a transpose;
2. put a label into both networks of a GAN, say what the optimal discriminator then is, and show what goes wrong when one network does not see it;
3. turn the discriminator into a classifier that learns from unlabelled points;
4. invert a generator with a discriminator of pairs (BiGAN), and say why a cycle that closes does not make a map right (CycleGAN);
5. translate edges into digits, fill in missing halves, take a ground away, and say what a pixel loss alone does to such pictures.

- **You need** [a GAN on MNIST](gan_mnist.ipynb) for the two networks, and [the Jensen-Shannon lecture](jensen_shannon.ipynb) for the optimal discriminator; some PyTorch.
- **Sources:** {cite:t}`radford2016`, {cite:t}`mirza2014`, {cite:t}`odena2017`, {cite:t}`salimans2016`, {cite:t}`donahue2017`, {cite:t}`dumoulin2017`, {cite:t}`zhu2017`, {cite:t}`isola2017`.
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
from copy import deepcopy
from itertools import permutations

import dgm
from dgm import checks, classifier, plotting
from dgm.checkpoints import resumed
from dgm.models.gan import discriminator_loss, generator_loss
from dgm.models.mlps import MLPs

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (1_000, 60_000, 60_000),  # for training, at most
    "digit_steps": (5, 1_200, 20_000),  # of the conditional GAN
    "blind_steps": (5, 400, 4_000),  # of the one whose discriminator sees no label
    "num_samples": (100, 5_000, 10_000),  # that the classifier judges
    "num_starts": (2, 8, 8),  # of BiGAN and CycleGAN, trained side by side
    "few_starts": (4, 32, 32),  # of the semi-supervised toy
    "few_steps": (5, 1_200, 4_000),
    "inverse_steps": (5, 1_500, 10_000),  # of BiGAN
    "cycle_steps": (5, 1_200, 4_000),  # of CycleGAN
    "pair_steps": (5, 500, 10_000),  # of pix2pix
}

# %%
run = dgm.start("gan_conditional", parameters=PARAMETERS, data="mnist")
P = run.parameters


def on_device(part, labels):
    """Images in [-1, 1], shape (num_images, 1, 28, 28), and their labels."""
    images = torch.from_numpy(run.data.vectors(part)).reshape(-1, 1, 28, 28)
    return (2 * images - 1).to(run.device), torch.tensor(labels).long().to(run.device)


x_train, y_train = on_device("train+valid", run.data.labels)
x_test, y_test = on_device("test", run.data.test_labels)
x_train, y_train = x_train[: P.num_images], y_train[: P.num_images]

# %% [markdown]
r"""
## The problem in one picture

```{margin}
**In the sources.** Oslo, 30 April, *Applications of GANs*; Borisyak, *Applications*.
```

A generator turns noise into *some* digit.
Mostly one wants a particular one: the digit of a given class, the digit with these edges, the digit whose upper half is known, the digit without the ground it was drawn on.
Each is a *condition* $c$, and what is wanted are samples of $p_r(x \mid c)$, where $p_r$ is the distribution of the data.
"""


# %%
def halved(images):
    """From [-1, 1] at 28 x 28 to [0, 1] at 14 x 14, by means of 2 x 2 pixels."""
    return (F.avg_pool2d(images, 2) + 1) / 2


def edges(x):
    """The paper that touches ink: a maximum over 3 x 3 pixels minus the pixel."""
    ink = (x > 0.5).float()
    return F.max_pool2d(ink, 3, stride=1, padding=1) - ink


def upper_half(x):
    kept = x.clone()
    kept[..., x.shape[-2] // 2 :, :] = 0
    return kept


def stripes(num_images, size):
    """New plane waves of random direction and phase, grey values in [0, 0.6]."""
    grid = torch.linspace(-1, 1, size)
    angle, phase = 2 * math.pi * torch.rand(2, num_images, 1, 1, 1)
    wave = 9 * (torch.cos(angle) * grid + torch.sin(angle) * grid[:, None]) + phase
    return (0.3 + 0.3 * torch.sin(wave)).to(run.device)


def on_texture(x, texture):
    """Ink covers the ground: x is the mask."""
    return x + (1 - x) * texture


def textured(x):
    return on_texture(x, stripes(len(x), x.shape[-1]))


# %% tags=["check"]
dot = torch.zeros(1, 1, 5, 5)
dot[..., 2, 2] = 1.0
ring = torch.zeros(5, 5)
ring[1:4, 1:4] = 1.0
ring[2, 2] = 0.0
checks.close("edges of a single dot: its eight neighbours", edges(dot)[0, 0], ring)
checks.close("the upper half of ones: pixels left", upper_half(1 + 0 * dot).sum(), 10.0)
greys = [halved(torch.full((1, 1, 2, 2), value)).item() for value in (-1.0, 0.5, 1.0)]
checks.close("paper, three quarters, ink, at half the size", greys, [0.0, 0.75, 1.0])
ground = stripes(3, 5)
checks.at_most("texture, distance of its grey from 0.3", (ground - 0.3).abs(), 0.3001)
checks.at_least("another call, other waves", (stripes(3, 5) - ground).abs().max(), 0.01)
checks.close(
    "where there is ink, no texture is seen",
    on_texture(dot, ground.cpu())[0, 0, 2, 2],
    1.0,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Three conditions and what is wanted, at 14 x 14 pixels. From top: edges, upper half, digit on a texture, the digit itself.", "name": "fig-cg-problem"}, "image": {"alt": "Four rows of twelve small pictures: outlines of digits; their upper halves; digits on wavy stripes of many directions; and the digits themselves."}}
small = halved(x_test[:12])
rows = torch.cat([edges(small), upper_half(small), textured(small), small])
fig, ax = plt.subplots(figsize=(7.0, 2.5))
_ = plotting.image_grid(rows[:, 0].cpu(), columns=12, ax=ax)

# %% [markdown]
r"""
Many of the uses of GANs that lectures list are such conditional problems.
The last column says where this page has the smallest version of the same idea.

| application | architecture | reading | smallest version here |
|---|---|---|---|
| image generation | transposed convolutions (DCGAN) | {cite:t}`radford2016` | {numref}`fig-cg-sheet` |
| text to image | the text, as a vector, in both networks | {cite:t}`reed2016` | the label in both networks |
| face ageing | the age as a label, and a search for the code of a face | {cite:t}`antipov2017` | one code, ten labels; the encoder of BiGAN |
| image to image, with pairs | pix2pix | {cite:t}`isola2017` | {numref}`fig-cg-pix` |
| image to image, without pairs | CycleGAN | {cite:t}`zhu2017` | {numref}`fig-cg-cycle` |
| video | transposed convolutions in space and time | {cite:t}`vondrick2016` | the shape formula, one axis more |
| high resolution | layers added during training | {cite:t}`karras2018` | each transposed convolution doubles the side |
| missing parts of images | an encoder and decoder with a discriminator | {cite:t}`pathak2016` | {numref}`fig-cg-paint` |

And the labels: how many there are decides which objective one writes.

| labels | objective | here |
|---|---|---|
| none (unsupervised) | $D(x)$ | [a GAN on MNIST](gan_mnist.ipynb), BiGAN, CycleGAN |
| for all examples (supervised) | $D(x \mid y)$ | conditional GAN, pix2pix |
| for a few (semi-supervised) | $K$ classes and one for "generated" | the toy with eight labels |

We use these symbols:

| symbol | in code | meaning |
|---|---|---|
| $x$, $z$ | `x`, `z` | image or point; latent variables |
| $p_r$, $p_g$ | `p_x_y`, `g_x_y` | distribution of the data (also written $p_\text{data}$), and of the generated examples |
| $y$, $c$ | `y`, `condition` | label, one of $K$; any condition |
| $G(z, y)$ | `generator(z, y)` | generated image |
| $D(x \mid y)$ | sigmoid of the logit that `discriminator(x, y)` gives | probability that $x$ is real |
| $E(x)$ | `encoder` | code that an encoder finds for $x$ |
| $k$, $s$, $p$ | `kernel_size`, `stride`, `padding` | of a convolution |
| $H$ | `size` | pixels along one side |
"""

# %% [markdown]
r"""
## A transposed convolution is a transpose

**A convolution of stride $s$ is a matrix whose rows are one row, moved by $s$ each time, and a transposed convolution is its transpose.**
Along one axis the convolution takes $H'$ numbers to $H$,

$$
\begin{aligned}
(C x)_o &= \sum_{j=0}^{k-1} w_j\, x_{o s - p + j}, \\
H &= \Bigl\lfloor \frac{H' + 2p - k}{s} \Bigr\rfloor + 1 ,
\end{aligned}
$$ (eq-cg-conv)

where $x$ is zero outside its range.
Its transpose takes $H$ numbers back to $H'$.
Without the rounding we can solve for $H'$, and this is the formula of every convolutional generator {cite:p}`dumoulin2016`:

$$
\begin{aligned}
(C^\top y)_i &= \sum_o w_{i + p - o s}\, y_o, \\
H' &= (H - 1)\, s - 2 p + k .
\end{aligned}
$$ (eq-cg-transposed)

```{margin}
**A common mistake:** the name "deconvolution".
The transpose is not the inverse: $C^\top C$ is not the identity.
```

The rounding loses $r = (H' + 2p - k) \bmod s$: up to $s$ different sizes $H'$ give the same $H$.
`output_padding` is that $r$, and adds to $H'$.
"""


# %%
def conv_size(size, kernel_size, stride, padding):
    return (size + 2 * padding - kernel_size) // stride + 1


def transposed_size(size, kernel_size, stride, padding, output_padding=0):
    return (size - 1) * stride - 2 * padding + kernel_size + output_padding


def conv_matrix(weight, size, stride, padding):
    """C of the convolution above, for an input of `size` numbers along one axis."""
    matrix = weight.new_zeros(conv_size(size, len(weight), stride, padding), size)
    for o in range(len(matrix)):
        for j in range(len(weight)):
            i = o * stride - padding + j
            if 0 <= i < size:
                matrix[o, i] = weight[j]
    return matrix


# %% [markdown]
r"""
We compare with PyTorch for all sizes, strides and paddings of a small range: the matrix, its transpose, the shapes, and in two dimensions the identity that defines a transpose, $\langle C x, y \rangle = \langle x, C^\top y \rangle$.
"""

# %% tags=["check"]
difference, shapes, count = 0.0, [], 0
for k, s, p, size in [
    (k, s, p, n)
    for k in (2, 3, 4, 5)
    for s in (1, 2, 3)
    for p in (0, 1)
    for n in (6, 7, 8)
]:
    w, x = torch.randn(k).double(), torch.randn(size).double()
    C = conv_matrix(w, size, s, p)
    y = torch.randn(len(C)).double()
    rest = (size + 2 * p - k) % s
    forward = F.conv1d(x[None, None], w[None, None], stride=s, padding=p)[0, 0]
    back = F.conv_transpose1d(
        y[None, None], w[None, None], stride=s, padding=p, output_padding=rest
    )[0, 0]
    difference = max(difference, (C @ x - forward).abs().max().item())
    difference = max(difference, (C.T @ y - back).abs().max().item())
    shapes.append(transposed_size(len(C), k, s, p, rest) - size)
    count += 1
checks.close(
    f"matrix and transpose, {count} cases, against PyTorch", difference, 0.0, atol=1e-13
)
checks.close("size from the transposed formula, minus true size", shapes, [0] * count)

conv_options = {"stride": 2, "padding": 1}
weight = torch.randn(16, 3, 4, 4).double()
image, y = torch.randn(2, 3, 14, 14).double(), torch.randn(2, 16, 7, 7).double()
left = (F.conv2d(image, weight, **conv_options) * y).sum()
right = (image * F.conv_transpose2d(y, weight, **conv_options)).sum()
checks.close(
    "<C x, y> = <x, C^T y> in two dimensions", left, right, rtol=1e-11, atol=1e-11
)
gram = conv_matrix(torch.ones(4).double(), 8, 2, 1)
checks.at_least(
    "distance of C^T C from the identity", (gram.T @ gram - torch.eye(8)).abs().max(), 1
)
path = [transposed_size(7, 4, 2, 1), transposed_size(14, 4, 2, 1)]
checks.close("kernel 4, stride 2, padding 1, from 7", path, [14, 28])

# %% [markdown]
r"""
So kernel 4, stride 2 and padding 1 double the side exactly, and two such layers lead from 7 to 28.
Kernel 3 with stride 2 has a blemish: neighbouring outputs are sums of different numbers of terms, two and one in turn, along each axis.
Such a layer draws a checkerboard before it has learned anything {cite:p}`odena2016`.
**Away from the border the overlap is even exactly if $s$ divides $k$:** output $i$ gets one term for each $j < k$ with $j \equiv i + p$ modulo $s$.
"""

# %% tags=["check"]
one, even_found, divides = torch.ones(1, 1, 30).double(), [], []
for k, s in [(k, s) for k in range(1, 9) for s in range(1, 5)]:
    terms = F.conv_transpose1d(one, torch.ones(1, 1, k).double(), stride=s)[0, 0]
    inside = terms[k : 30 * s - s]
    even_found.append(bool((inside == inside[0]).all()))
    divides.append(k % s == 0)
checks.close("even overlap exactly if s divides k", even_found, divides)
three = F.conv_transpose1d(one, torch.ones(1, 1, 3).double(), stride=2)[0, 0, 4:8]
checks.close("terms with kernel 3, stride 2", three, [2.0, 1.0, 2.0, 1.0])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "How many terms each output of a transposed convolution of stride 2 sums. Left: kernel 3, a checkerboard. Right: kernel 4, even away from the border.", "name": "fig-cg-overlap"}, "image": {"alt": "Two square maps of numbers. On the left a regular pattern of ones, twos and fours; on the right fours everywhere but for a border of ones and twos."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2))
for ax, k in zip(axes, (3, 4), strict=True):
    terms = F.conv_transpose2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, k, k), stride=2)
    ax.imshow(terms[0, 0], cmap="Blues", vmin=0, vmax=5)
    for i, j in torch.cartesian_prod(*[torch.arange(len(terms[0, 0]))] * 2).tolist():
        colour = "white" if terms[0, 0, i, j] > 3 else "black"
        style = {"ha": "center", "va": "center", "color": colour, "fontsize": 8}
        ax.text(j, i, f"{terms[0, 0, i, j]:.0f}", **style)
    _ = ax.set(xticks=[], yticks=[], xlabel=f"kernel {k}, stride 2")

# %% [markdown]
r"""
## Batch normalisation, and its trap

**Batch normalisation gives each channel mean 0 and variance 1 over the batch, and then a learned scale and shift** {cite:p}`ioffe2015`:

$$
\hat h_n = \frac{h_n - \bar h}{\sqrt{\operatorname{var}(h) + \epsilon}} .
$$ (eq-cg-bn)

For the generator this is a cure for a bad initial scale: multiply all weights before it by 7 and nothing changes, but the gradient in them is 7 times smaller, so that too large weights slow themselves down.
For the discriminator it has a price.
The logit of one image now depends on the others in its batch.
If real and generated images go through in two batches, as is the custom, a linear layer with batch normalisation behind it removes a brightness or contrast that is wrong for the *whole* batch: a discriminator that begins with such a layer cannot see it.
If they go through in one batch, the logit of a real image depends on the generated ones, and the discriminator is no function of one image at all.
This is why the discriminator below has no batch normalisation.
{cite:t}`radford2016` leave it out of the first layer only, and out of the last layer of the generator: with a first layer as it is, the discriminator sees brightness and contrast again.
"""

# %% tags=["check"]
torch.manual_seed(run.seed)
norm = nn.BatchNorm1d(5, eps=1e-12).double()
W, h = torch.randn(5, 9).double().requires_grad_(), torch.randn(64, 9).double()
target = torch.randn(64, 5).double()


def normalised_output(scale):
    (g,) = torch.autograd.grad((norm(h @ (scale * W).T) * target).sum(), W)
    return norm(h @ (scale * W).T), g / scale  # gradient in the weights scale * W


(out, gradient), (out_7, gradient_7) = normalised_output(1.0), normalised_output(7.0)
by_hand = (h @ W.T - (h @ W.T).mean(0)) / (h @ W.T).var(0, unbiased=False).sqrt()
checks.close("batch normalisation, by hand", out, by_hand, atol=1e-10)
checks.close("weights times 7: the same output", out_7, out, atol=1e-10)
checks.close(
    "weights times 7: gradient in them, times 7", 7 * gradient_7, gradient, atol=1e-8
)

# %% tags=["check"]
judge = nn.Sequential(
    nn.Linear(9, 5), nn.BatchNorm1d(5, eps=1e-12), nn.ReLU(), nn.Linear(5, 1)
)
judge = judge.double().requires_grad_(False)
fake = 3 * h + 5  # every image too bright and with too much contrast
checks.close(
    "two batches: logits of wrong brightness and contrast",
    judge(fake),
    judge(h),
    atol=1e-8,
)
plain = nn.Sequential(nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 5), *judge[1:])
plain = plain.double().requires_grad_(False)
seen = (plain(fake) - plain(h)).abs().max()
checks.at_least("first layer without it: two batches differ by", seen, 0.01)
together = judge(torch.cat([h, fake]))
checks.at_least(
    "one batch: they differ by", (together[:64] - together[64:]).abs().max(), 0.01
)
checks.at_least(
    "and those of the real ones move", (together[:64] - judge(h)).abs().max(), 0.1
)

# %% [markdown]
r"""
## The label in both networks

```{margin}
**In the sources.** Oslo, 7 May, *Which data?*; 30 April, *Readings*, a link to a program.
```

**A conditional GAN plays one game for each label, with shared weights** {cite:p}`mirza2014`:

$$
\begin{aligned}
V(G, D) = \sum_y p(y) \Bigl\{
&\mathbb{E}_{p_r(x \mid y)} \log D(x \mid y) \\
&+ \mathbb{E}_{p_g(x \mid y)} \log\bigl(1 - D(x \mid y)\bigr) \Bigr\} .
\end{aligned}
$$ (eq-cg-value)

Each bracket is the game of [the Jensen-Shannon lecture](jensen_shannon.ipynb), so we know its best discriminator and its value,

$$
\begin{aligned}
D^*(x \mid y) &= \frac{p_r(x \mid y)}{p_r(x \mid y) + p_g(x \mid y)}, \\
V(G, D^*) &= -2 \log 2 + 2 \sum_y p(y)\, \mathrm{JS}_y, \\
\mathrm{JS}_y &= \mathrm{JS}\bigl(p_r(\cdot \mid y), p_g(\cdot \mid y)\bigr) .
\end{aligned}
$$ (eq-cg-optimal)

What if only the generator sees the label?
Then $D$ compares the mixtures $p_r(x) = \sum_y p(y)\, p_r(x \mid y)$ and $p_g(x) = \sum_y p(y)\, p_g(x \mid y)$, and a generator that draws a 3 when asked for a 7, and a 7 when asked for a 3, is as good as any: nothing in the game gives the labels their meaning.
If the labels are equally frequent, *every* permutation of them is optimal.
So is a generator that ignores the label and draws from the mixture whatever it is asked for.
We list all of this on a table with three labels and six values of $x$.
"""


# %%
def jensen_shannon(p, q):
    """JS of the rows, in nats; a probability may be 0."""
    m = ((p + q) / 2).clamp_min(1e-300)
    return (torch.xlogy(p, p / m) + torch.xlogy(q, q / m)).sum(-1) / 2


def value(p_joint, g_joint, logits):
    """V of joint tables p(y) p_r(x|y) and p(y) p_g(x|y)."""
    return -(p_joint * F.softplus(-logits) + g_joint * F.softplus(logits)).sum()


# %% tags=["check"]
torch.manual_seed(run.seed + 1)
p_y = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
p_x_y, g_x_y = torch.randn(2, 3, 6).double().mul(1.5).softmax(-1)
p_joint, g_joint = p_y[:, None] * p_x_y, p_y[:, None] * g_x_y
logits = (p_x_y.log() - g_x_y.log()).requires_grad_()
checks.close(
    "D* of the conditional game",
    torch.sigmoid(logits),
    p_x_y / (p_x_y + g_x_y),
    atol=1e-14,
)
(slope,) = torch.autograd.grad(value(p_joint, g_joint, logits), logits)
checks.close("slope of V at D*", slope, torch.zeros(3, 6), atol=1e-15)
expected = 2 * (p_y * jensen_shannon(p_x_y, g_x_y)).sum() - 2 * math.log(2)
checks.close("value at D*", value(p_joint, g_joint, logits), expected, atol=1e-13)
elsewhere = [
    value(p_joint, g_joint, logits + 0.3 * torch.randn(3, 6)) for _ in range(20)
]
checks.at_most("any other D, minus D*", torch.stack(elsewhere) - expected, 0.0)

even = torch.full((3, 1), 1 / 3, dtype=torch.float64)
for swapped in permutations(range(3)):
    g_swapped = p_x_y[list(swapped)]
    blind = 2 * jensen_shannon((even * p_x_y).sum(0), (even * g_swapped).sum(0))
    seeing = 2 * jensen_shannon(p_x_y, g_swapped).mean()
    checks.close(f"order {swapped}, JS that a blind D sees", blind, 0.0, atol=1e-14)
    if swapped == (0, 1, 2):
        checks.close("the right order, with labels in D", seeing, 0.0, atol=1e-14)
    else:
        checks.at_least(f"order {swapped}, with labels in D", seeing, 0.01)
ignoring = (even * p_x_y).sum(0).expand(3, 6)
blind = 2 * jensen_shannon((even * p_x_y).sum(0), (even * ignoring).sum(0))
checks.close("label ignored, JS that a blind D sees", blind, 0.0, atol=1e-14)

# %% [markdown]
r"""
## A convolutional conditional GAN on MNIST

The generator takes $z$ and the label as a vector with a single 1, makes 32 pictures of 7 x 7 of them, and doubles the side twice.
Its last layer is a $\tanh$, so images live in $[-1, 1]$.
The discriminator runs the same way back, and ends with *one logit for each label*, of which the one asked for is taken: $\operatorname{logit} D(x \mid y) = a_y \cdot h(x) + b_y$ with features $h$ {cite:p}`miyatokoyama2018`.
With `sees_label=False` it has a single logit, and is blind.
"""


# %%
class Generator(nn.Module):
    def __init__(self, latent_dim=32, channels=32):
        super().__init__()
        self.latent_dim = latent_dim
        half = channels // 2
        self.net = nn.Sequential(
            nn.Linear(latent_dim + 10, channels * 7 * 7, bias=False),
            nn.Unflatten(1, (channels, 7, 7)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, half, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.ConvTranspose2d(half, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z, y):
        return self.net(torch.cat([z, F.one_hot(y, 10).to(z)], 1))


class Discriminator(nn.Module):
    def __init__(self, channels=32, sees_label=True):
        super().__init__()
        self.sees_label = sees_label
        self.features = nn.Sequential(
            nn.Conv2d(1, channels // 2, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels // 2, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.head = nn.Linear(channels * 7 * 7, 10 if sees_label else 1)

    def forward(self, x, y):
        logits = self.head(self.features(x))
        return logits.gather(1, y[:, None])[:, 0] if self.sees_label else logits[:, 0]


# %% tags=["check"]
torch.manual_seed(run.seed)
G, D = Generator(), Discriminator()
z, y = torch.randn(20, 32), torch.arange(20) % 10
sizes = [
    layer.shape[-1]
    for layer in (G(z, y), G.net[:3](torch.cat([z, F.one_hot(y, 10)], 1)))
]
checks.close("side of the image, and of the first pictures", sizes, [28, 7])
G.eval()
wanted = (D.features(G(z, y)) * D.head.weight[y]).sum(1) + D.head.bias[y]
checks.close("logit of D: the row of the label", D(G(z, y), y), wanted, atol=1e-5)
turned = (y + 1) % 10
checks.at_least(
    "another label, another image", (G(z, y) - G(z, turned)).abs().max(), 1e-3
)
image = G(z, y)
checks.at_least(
    "another label, another logit", (D(image, y) - D(image, turned)).abs().max(), 1e-3
)
blind = Discriminator(sees_label=False)
checks.close("blind: the same logit", blind(image, y), blind(image, turned))
alone = G(z[:4], y[:4])
checks.close("trained statistics: an image alone", alone, image[:4], atol=1e-5)
G.train()
moved = (G(z, y)[:4] - G(z[:4], y[:4])).abs().max()
checks.at_least("batch statistics: an image depends on its batch", moved, 1e-3)

# %% [markdown]
r"""
The last two checks are the trap of batch normalisation once more: while it trains, the generator is a function of the whole batch; call `eval()` before you sample.

The step and the two losses are those of [a GAN on MNIST](gan_mnist.ipynb), with the label handed to both networks.
Generated images get the labels of the batch of real ones, so that both sides have the same $p(y)$.
"""


# %%
def adam(*networks, rate):
    parameters = [p for network in networks for p in network.parameters()]
    return torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.99), fused=True)


def descend(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def train_digits(name, generator, discriminator, losses, batch_size=64, **watched):
    """Yields the number of each step; puts both losses, in nats, in a row of `losses`.

    `watched` is what the loop around it keeps, for the checkpoints.
    """
    g_adam, d_adam = adam(generator, rate=2e-3), adam(discriminator, rate=1e-3)
    parts = dict(g=generator, d=discriminator, g_adam=g_adam, d_adam=d_adam)
    parts |= dict(losses=losses, **watched)
    for step in resumed(run.checkpoints(name), name, len(losses), parts):
        rows = torch.randint(len(x_train), (batch_size,), device=run.device)
        x, y = x_train[rows], y_train[rows]
        z = torch.randn(batch_size, generator.latent_dim, device=run.device)
        fake = generator(z, y)
        real_logits, fake_logits = discriminator(x, y), discriminator(fake.detach(), y)
        d_loss = discriminator_loss(real_logits, fake_logits).mean()
        descend(d_adam, d_loss)
        discriminator.requires_grad_(False)
        g_loss = generator_loss(discriminator(fake, y)).mean()
        descend(g_adam, g_loss)
        discriminator.requires_grad_(True)
        losses[step] = torch.stack([d_loss.detach(), g_loss.detach()])
        yield step


# %%
torch.manual_seed(run.seed)
generator, discriminator = Generator().to(run.device), Discriminator().to(run.device)
early_generator = deepcopy(generator)  # to compare with the blind one below
losses = torch.zeros(P.digit_steps, 2, device=run.device)
networks = generator, discriminator
for step in train_digits("conditional GAN", *networks, losses, early=early_generator):
    if step + 1 == P.blind_steps:
        early_generator.load_state_dict(generator.state_dict())
losses = losses.cpu()

blind_generator = Generator().to(run.device)
blind_discriminator = Discriminator(sees_label=False).to(run.device)
networks = blind_generator, blind_discriminator
blind_losses = torch.zeros(P.blind_steps, 2, device=run.device)
for _ in train_digits("blind discriminator", *networks, blind_losses):
    pass

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Losses of the conditional GAN, each a mean over 20 steps. Dashed: their values where D is 1/2 everywhere.", "name": "fig-cg-losses"}, "image": {"alt": "Two noisy curves over the training step, that of the discriminator a little below the dashed line at two log two, that of the generator above the dashed line at log two."}}
width = min(20, len(losses))
smooth = losses[: len(losses) // width * width].reshape(-1, width, 2).mean(1)
steps = width * (1 + torch.arange(len(smooth)))
fig, ax = plt.subplots(figsize=(6.4, 3.0))
ax.plot(steps, smooth[:, 0], label="discriminator")
ax.plot(steps, smooth[:, 1], label="generator")
plotting.reference_line(ax, 2 * math.log(2), "2 log 2")
plotting.reference_line(ax, math.log(2), "log 2")
ax.set(xlabel="step", ylabel="loss (nats)", ylim=(0, 3))
_ = ax.legend(loc="upper center", ncols=2)

# %% [markdown]
r"""
As with every GAN the curves say that the game is not lost, and little about quality.
So we ask a classifier that has nothing to do with the game: to how many images, generated for a label, does it give that label?
Its own accuracy on test images is the yardstick; a generator can lie above it by drawing easy digits only.
"""


# %%
@torch.no_grad()
def digits(generator, num_images):
    """Images for the labels 0, 1, ..., 9, 0, ... and those labels."""
    generator.eval()
    y = torch.arange(num_images, device=run.device) % 10
    z = torch.randn(num_images, generator.latent_dim, device=run.device)
    return torch.cat(
        [generator(*part) for part in zip(z.split(500), y.split(500), strict=True)]
    ), y


# %%
judge = classifier.load(run.device)


def agreement(images, y):
    """Share of images that the classifier labels y, and its standard error."""
    share = dgm.float64(judge((images + 1) / 2).argmax(1) == y).mean().item()
    return share, math.sqrt(share * (1 - share) / len(y))


samples, labels = digits(generator, P.num_samples)
blind_samples, _ = digits(blind_generator, P.num_samples)
protocol = (
    f"{len(x_train):,} training images, batches of 64; {P.num_samples:,} samples, "
)
protocol += "equal numbers of each label, judged by the classifier of dgm"
found = {}
for name, images, y, how in (
    ("classifier_test_accuracy", x_test, y_test, "all test images, classifier of dgm"),
    (
        "classifier_label_agreement",
        samples,
        labels,
        f"{P.digit_steps:,} steps, {protocol}",
    ),
    (
        "blind_label_agreement",
        blind_samples,
        labels,
        f"blind D, {P.blind_steps} steps, {protocol}",
    ),
):
    found[name], error = agreement(images, y)
    run.record(name, found[name], unit="1", protocol=how, standard_error=error)

# %% tags=["check"]
checks.close(
    "labels asked for, how often each", labels.bincount(), [P.num_samples // 10] * 10
)
by_count = [
    int(judge((x[None] + 1) / 2).argmax() == k) for k, x in enumerate(samples[:10])
]
share, error = agreement(samples[:10], labels[:10])
checks.close("agreement, image by image", share, sum(by_count) / 10)
checks.close(
    "its standard error", error, math.sqrt(share - share**2) / math.sqrt(10), rtol=1e-12
)
if run.on_mnist:
    test_accuracy = found["classifier_test_accuracy"]
    checks.at_least("accuracy of the classifier on test images", test_accuracy, 0.98)
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "label agreement, D sees the label", found["classifier_label_agreement"], 0.9
    )
    checks.at_most("label agreement, D is blind", found["blind_label_agreement"], 0.2)

# %% [markdown]
r"""
The failure was on purpose: the blind discriminator leaves the generator free to give the labels any meaning.
An agreement of 0.1 is that of chance, but a generator with ten clear classes in a wrong order might have it, too.
So we measure whether the label means anything at all: the variance of a pixel over the labels at a fixed code, over its variance over the codes at a fixed label.
"""


# %%
def sheet(network, z):
    """Every code with every label, shape (label, code, 28, 28)."""
    network.eval()
    y = torch.arange(10, device=run.device).repeat_interleave(len(z))
    with torch.no_grad():
        return network(z.repeat(10, 1), y).unflatten(0, (10, len(z)))[:, :, 0]


def label_effect(sheets):
    """Variance over the labels over variance over the codes, means over the rest."""
    return (sheets.var(0).mean() / sheets.var(1).mean()).item()


z = torch.randn(50, 32, generator=torch.Generator().manual_seed(run.seed))
z = z.to(run.device)
networks = {"seeing": early_generator, "blind": blind_generator}
effect = {name: label_effect(sheet(network, z)) for name, network in networks.items()}
for name, number in effect.items():
    run.record(
        f"label_effect_{name}",
        number,
        unit="1",
        protocol="variance over the labels / variance over the codes, pixels of "
        f"50 codes x 10 labels, {P.blind_steps} steps, D {name}",
    )

# %% tags=["check"]
two = torch.tensor([0.0, 3.0])[:, None] + torch.tensor([0.0, 1.0])
checks.close("labels 3 apart, codes 1 apart", label_effect(two[..., None, None]), 9.0)
part = sheet(generator, z)[7, 3]
one_by_one = generator(z[3:4], torch.tensor([7], device=run.device))[0, 0]
checks.close("row 7, column 3 of the sheet", part, one_by_one, atol=1e-5)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("effect of the label, D is blind", effect["blind"], 0.1)
    checks.at_least("effect of the label, D sees it", effect["seeing"], 0.5)

# %% [markdown]
r"""
After the same number of steps the variance over the labels is more than half of that over the codes for the seeing pair, and less than a tenth of it for the blind one.
Of the many optima of the blind game this training has found the laziest: it ignores the label.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One code a column, one label a row. Left: the label is in both networks. Right: the discriminator is blind to it, after fewer steps, so the shapes are coarser, too.", "name": "fig-cg-sheet"}, "image": {"alt": "Two sheets of ten by ten digits. On the left each row holds one digit from 0 to 9 in ten handwritings, a column has about the same thickness and slant. On the right all ten rows are nearly the same row of coarse shapes: the label changes nothing."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.7))
for ax, network in zip(axes, (generator, blind_generator), strict=True):
    images = (sheet(network, z[:10]).flatten(0, 1).cpu() + 1) / 2
    _ = plotting.image_grid(images, columns=10, ax=ax)

# %% [markdown]
r"""
Look down a column: what of the handwriting stays while the label changes?
Compare with the sheet of the conditional autoencoder of [the PyTorch lecture](vae_pytorch.ipynb).
No equation asks for a common hand; what there is comes from the shared weights.

Has the generator learned its training images by heart?
As in [a GAN on MNIST](gan_mnist.ipynb), we compare the distance of each sample from its nearest training image with that of *test* images: a copy would be much nearer.
The test can accuse, not acquit: blur and noise make distances larger, too.
"""


# %%
def nearest(images):
    """Row of the nearest training image, and its root mean square distance."""
    flat = images.flatten(1)
    found = [torch.cdist(part, x_train.flatten(1)).min(1) for part in flat.split(100)]
    distance = torch.cat([f.values for f in found]) / flat.shape[1] ** 0.5
    return torch.cat([f.indices for f in found]), distance


near, near_distance = nearest(samples[:100])
_, test_distance = nearest(x_test[:100])
for name, distance in (("sample", near_distance), ("test", test_distance)):
    run.record(
        f"nearest_training_distance_{name}",
        distance.mean(),
        unit="grey values in [-1, 1]",
        standard_error=distance.std() / len(distance) ** 0.5,
        protocol=f"root mean square over pixels, 100 images, {len(x_train):,} training images",
    )

# %% tags=["check"]
same, itself = nearest(x_train[:5])
checks.at_most("distance of a training image from the nearest", itself, 1e-2)
checks.close("and that is itself", x_train[same], x_train[:5])
brute = (samples[3] - x_train).square().mean((1, 2, 3)).min().sqrt()
checks.close(
    "nearest distance of one sample, by brute force", near_distance[3], brute, rtol=1e-3
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "samples, nearest distance over that of test images",
        near_distance.mean() / test_distance.mean(),
        0.5,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Top: the first twenty samples. Bottom: the training image nearest to each.", "name": "fig-cg-nearest"}, "image": {"alt": "Two rows of twenty digits, 0 to 9 twice. Below each sample stands a training image of a similar shape, but with other details."}}
fig, ax = plt.subplots(figsize=(7.2, 1.1))
rows = torch.cat([samples[:20], x_train[near[:20]]])[:, 0].cpu()
_ = plotting.image_grid((rows + 1) / 2, columns=20, ax=ax)

# %% [markdown]
r"""
## A discriminator that classifies

```{margin}
**In the sources.** Oslo, 7 May, *Which data?*: labelled and unlabelled data together.
```

There are two more ways to tell the discriminator about labels: let it *say* the label instead of being told.

**An auxiliary classifier pulls the generator away from the data.**
The AC-GAN {cite:p}`odena2017` adds $-\log q(y \mid x)$ to the losses of both networks, where $q$ is a second head of $D$.
Take the best $q$, that is $p_r(y \mid x)$, and a generator that is already perfect.
The Jensen-Shannon term, of the mixtures $p_r(x)$ and $p_g(x)$, since this $D$ is not told the label, has slope zero there: it is at its minimum.
The added term has not: moving samples from places where two classes overlap to places where they do not lowers it.
So the minimum of the sum lies elsewhere, at samples that are too typical of their class.
The conditional game of {eq}`eq-cg-optimal` has no such pull.
"""

# %% tags=["check"]
p_joint = p_y[:, None] * p_x_y
log_q = (p_joint / p_joint.sum(0)).log()  # the best classifier
typical = p_x_y * log_q.exp() ** 4
typical = typical / typical.sum(1, keepdim=True)


def both_terms(share):
    """JS and auxiliary term of a generator moved by `share` towards typical samples."""
    g = (1 - share) * p_x_y + share * typical
    g_joint = p_y[:, None] * g
    js = jensen_shannon(p_joint.sum(0), g_joint.sum(0))
    return js, -(g_joint * log_q).sum()


js, auxiliary = both_terms(0.0)
moved_js, moved_auxiliary = both_terms(1e-3)
checks.close("JS of the perfect generator", js, 0.0, atol=1e-15)
shift = (p_y[:, None] * typical).sum(0) - p_joint.sum(0)
leading = 1e-3**2 * (shift**2 / p_joint.sum(0)).sum() / 8  # no first order
checks.close("change of JS: of second order", moved_js, leading, rtol=0.01)
checks.at_most(
    "change of the auxiliary term, over the step",
    (moved_auxiliary - auxiliary) / 1e-3,
    -0.01,
)
checks.at_most("change of the sum", moved_js + moved_auxiliary - js - auxiliary, 0.0)

# %% [markdown]
r"""
**With one class more, "generated", the discriminator is a classifier that can use unlabelled points** {cite:p}`salimans2016`.
A softmax over $K + 1$ logits does not change when the same number is added to all, so we may set the last logit to 0.
With $Z(x) = \sum_{k=1}^{K} e^{\ell_k(x)}$,

$$
\begin{aligned}
D(x) &= 1 - p(K{+}1 \mid x) = \frac{Z(x)}{Z(x) + 1}, \\
\operatorname{logit} D(x) &= \log Z(x), \\
p(k \mid x, k \le K) &= \frac{e^{\ell_k(x)}}{Z(x)} .
\end{aligned}
$$ (eq-cg-semi)

Labelled points train the last line by cross-entropy; unlabelled and generated points train the second line.
What can an unlabelled point teach a classifier?
The gradient of its loss is

$$
\frac{\partial}{\partial \ell_k} \bigl(-\log D\bigr) = -\bigl(1 - D\bigr)\, \frac{e^{\ell_k}}{Z} :
$$ (eq-cg-semi-gradient)

it raises every logit in proportion to its present probability, so that the class in the lead gains most, right or wrong.
This works along a stretch of data, and the generated points hold the logits down in the gaps between.
"""


# %%
def real_logit(class_logits):
    """logit D = log Z, from K class logits."""
    return class_logits.logsumexp(-1)


# %% tags=["check"]
ell = torch.randn(50, 3).double().mul(2).requires_grad_()
with_extra = torch.cat([ell, torch.zeros(50, 1).double()], 1).softmax(1)
checks.close(
    "1 - p(K + 1 | x), against sigmoid(log Z)",
    1 - with_extra[:, 3],
    torch.sigmoid(real_logit(ell)),
    atol=1e-14,
)
Z = ell.exp().sum(1)
checks.close("D = Z / (Z + 1)", torch.sigmoid(real_logit(ell)), Z / (Z + 1), atol=1e-14)
kept = with_extra[:, :3] / with_extra[:, :3].sum(1, keepdim=True)
checks.close("class given that it is real", kept, ell.softmax(1), atol=1e-14)
(slope,) = torch.autograd.grad(F.softplus(-real_logit(ell)).sum(), ell)
formula = -(1 - Z / (Z + 1))[:, None] * ell.softmax(1)
checks.close("gradient of the unlabelled loss", slope, formula, atol=1e-14)
leader = ell.argmax(1, keepdim=True)
lead = -slope.gather(1, leader) + slope  # what the leader gains on each class
checks.at_least("a step down the gradient: growth of every lead", lead, 0.0)

# %% [markdown]
r"""
On a toy one start of the random numbers is an anecdote.
So we train every toy of this page from several starts at once, with the networks side by side of [the Jensen-Shannon lecture](jensen_shannon.ipynb): the first index of every weight, and of every batch, is the start.
A loss is a mean over the starts; times their number, each start gets the gradient that it would have alone.
"""


# %%
def side_by_side(num_starts, *sizes, scale=1.0):
    """Networks whose weights start at `scale` times their usual size."""
    networks = MLPs(num_starts, sizes, slope=0.2)
    with torch.no_grad():
        for W in networks.W:
            W.mul_(scale)
    return networks.to(run.device)


def standard_error(values):
    return values.std() / len(values) ** 0.5


def moons(batch_size, std=0.08):
    """Two half circles, one label each, for every start."""
    shape = P.few_starts, batch_size
    angle = math.pi * torch.rand(shape, device=run.device)
    y = torch.randint(2, shape, device=run.device)
    x = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    x = torch.where(y[..., None] == 0, x, x.new_tensor([1.0, 0.5]) - x)
    return x + std * torch.randn_like(x), y


# %% tags=["check"]
networks = side_by_side(2, 2, 5, 3)
x = torch.randn(2, 7, 2, device=run.device)
hidden = x[1] @ networks.W[0][1]  # the biases start at zero
alone = torch.where(hidden > 0, hidden, 0.2 * hidden) @ networks.W[1][1]
checks.close("the second network, alone", networks(x)[1], alone, atol=1e-5)
x, y = moons(4000, std=0.0)
radius = torch.where(
    y == 0, x.norm(dim=-1), (x - x.new_tensor([1.0, 0.5])).norm(dim=-1)
)
checks.close("radius of the half circles", radius, torch.ones_like(radius), atol=1e-5)
side = torch.where(y == 0, x[..., 1], 0.5 - x[..., 1])
checks.at_least("and each is a half", side, -1e-5)

# %% [markdown]
r"""
The toy: two half moons, with four labelled points in each, and as many unlabelled points as we like.
We train the same network with and without the unlabelled term, from the same labelled points.
"""


# %%
def few_labels(per_class=4):
    """`per_class` labelled points of each moon, for every start."""
    x, y = moons(400)
    rows = [
        torch.cat([(y_s == k).nonzero()[:per_class, 0] for k in (0, 1)]) for y_s in y
    ]
    points = torch.stack([x_s[row] for x_s, row in zip(x, rows, strict=True)])
    return points, torch.arange(2, device=run.device).repeat_interleave(per_class)


def train_few(name, x_few, y_few, num_steps, use_unlabelled, batch_size=64):
    """K logits for each start, by cross-entropy and, if wanted, the two other terms."""
    d, g = (side_by_side(P.few_starts, n, 64, 64, 2) for n in (2, 8))
    d_adam, g_adam = adam(d, rate=2e-3), adam(g, rate=2e-3)
    targets = y_few.repeat(P.few_starts)
    parts = dict(d=d, g=g, d_adam=d_adam, g_adam=g_adam)
    for _ in resumed(run.checkpoints(name), name, num_steps, parts):
        loss = F.cross_entropy(d(x_few).flatten(0, 1), targets)
        if use_unlabelled:
            fake = g(torch.randn(P.few_starts, batch_size, 8, device=run.device))
            real = real_logit(d(moons(batch_size)[0]))
            loss = loss + discriminator_loss(real, real_logit(d(fake.detach()))).mean()
        descend(d_adam, P.few_starts * loss)
        if use_unlabelled:
            g_loss = generator_loss(real_logit(d(fake))).mean()
            descend(g_adam, P.few_starts * g_loss)
    return d


# %%
torch.manual_seed(run.seed)
x_few, y_few = few_labels()
labelled = x_few, y_few, P.few_steps
supervised = train_few("supervised", *labelled, use_unlabelled=False)
semi = train_few("semi-supervised", *labelled, use_unlabelled=True)
x_new, y_new = moons(2000)
accuracies = {}
for name, network in (("supervised", supervised), ("semi_supervised", semi)):
    with torch.no_grad():
        right = network(x_new).argmax(-1) == y_new
    accuracies[name] = dgm.float64(right).mean(1)  # one number a start
    run.record(
        f"moons_{name}_accuracy",
        accuracies[name].mean(),
        unit="1",
        standard_error=standard_error(accuracies[name]),
        protocol=f"8 labelled points, {P.few_steps:,} steps, mean over {P.few_starts} starts, 2,000 new points each",
    )
gain = accuracies["semi_supervised"] - accuracies["supervised"]  # paired, by start
_ = run.record(
    "moons_gain_of_unlabelled",
    gain.mean(),
    unit="1",
    standard_error=standard_error(gain),
    protocol=f"difference of the two accuracies, {P.few_starts} starts",
)

# %% tags=["check"]
checks.close("labelled points of each class", y_few.bincount(), [4, 4])
below = torch.where(y_few == 0, x_few[..., 1], 0.5 - x_few[..., 1])
checks.at_least("each on its half circle, up to noise of 5 std", below, -0.4)
with torch.no_grad():
    fitted = dgm.float64(supervised(x_few).argmax(-1) == y_few).mean()
if run.profile != "smoke":
    checks.at_least("labelled points that are fitted", fitted, 0.95)
    in_errors = gain.mean() / standard_error(gain)
    checks.at_least("gain of the unlabelled points, in standard errors", in_errors, 3)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Accuracy on new points, without and with unlabelled points. A line is a start, with the same eight labelled points at both ends.", "name": "fig-cg-semi"}, "image": {"alt": "Lines between two columns of dots. Most lines rise to the right, some of them by much; others are about flat."}}
fig, ax = plt.subplots(figsize=(5.6, 3.2))
pairs = torch.stack(list(accuracies.values())).cpu()
ax.plot([0, 1], pairs, color=plotting.COLOURS[0], marker="o", alpha=0.7)
ax.set(xticks=[0, 1], xlim=(-0.3, 1.3), ylabel="accuracy on new points")
_ = ax.set_xticklabels(["labelled points only", "with unlabelled points"])

# %% [markdown]
r"""
**Over the starts the unlabelled points help, by more than three standard errors of the paired difference.**
The help is uneven, as {eq}`eq-cg-semi-gradient` lets us expect: it carries the class in the lead along the moon, and where the eight points put the wrong one in the lead, an unlabelled point widens that lead.
{cite:t}`dai2017` show that what helps most is a generator that is *bad*, one that fills the gaps between the classes; one that matched the data would leave the classifier nothing to learn from.
"""

# %% [markdown]
r"""
## BiGAN: a discriminator of pairs

```{margin}
**In the sources.** Borisyak, *Summary*, one line.
```

**A GAN gets an encoder if its discriminator looks at pairs $(x, z)$** {cite:p}`donahue2017,dumoulin2017`.
From the data come pairs $(x, E(x))$, from the generator pairs $(G(z), z)$:

$$
\begin{aligned}
V(G, E, D) &= \mathbb{E}_{p_r(x)} \log D(x, E(x)) \\
&\quad + \mathbb{E}_{p(z)} \log\bigl(1 - D(G(z), z)\bigr) .
\end{aligned}
$$ (eq-cg-bigan)

This is the old game on pairs, and its value at the best $D$ is $2\, \mathrm{JS}(p_E, p_G) - 2 \log 2$ with the two joint distributions.
The minimum $-2 \log 2$ is reached where they are the same; and then almost every $x$ is one that $G$ draws from $E(x)$: **$E$ inverts $G$**, without a reconstruction error in the objective.
We list all maps between four codes and four points, equally probable: $4^4$ generators times $4^4$ encoders.
"""

# %% tags=["check"]
maps = torch.cartesian_prod(*[torch.arange(4)] * 4)  # row: image of 0, 1, 2, 3
cells = torch.eye(4).double()[maps] / 4  # (256, 4, 4): 1/4 at (n, map(n))
joint_e, joint_g = cells.flatten(1), cells.transpose(1, 2).flatten(1)  # index x, then z
js = jensen_shannon(joint_e[:, None], joint_g[None])  # encoder, generator
best = js < 1e-12
inverts = (
    maps[None, :, :].expand(256, -1, -1).gather(2, maps[:, None].expand(-1, 256, -1))
)
inverts = (inverts == torch.arange(4)).all(-1)  # G(E(x)) = x for all x
checks.close("pairs of maps at the minimum: the permutations", best.sum(), 24)
checks.close("at the minimum exactly where G(E(x)) = x", best, inverts)
D_best = joint_e[5] / (joint_e[5] + joint_g[77]).clamp_min(1e-9)
V = torch.xlogy(joint_e[5], D_best) + torch.xlogy(joint_g[77], 1 - D_best)
checks.close("value at D*", V.sum(), 2 * js[5, 77] - 2 * math.log(2), atol=1e-12)

# %% [markdown]
r"""
There are 24 best answers, one for each order of the codes: the game says that $E$ and $G$ belong together, not which code means what.

Now with networks.
The data lie along a banana, $x = (a, \frac{1}{2} a^2 - \frac{1}{2} + 0.3\, b)$ with $a$ and $b$ standard Gaussian, so that a perfect generator exists.
$G$ and $E$ are on one side: both gain when $D$ mistakes one kind of pair for the other.
All weights start at half their usual size, a setting found by trial.
"""


# %%
def banana(batch_size):
    a, b = torch.randn(2, P.num_starts, batch_size, device=run.device)
    return torch.stack([a, a**2 / 2 - 0.5 + 0.3 * b], -1)


def train_inverse(num_steps, batch_size=128, rate=1e-3):
    """Generator and encoder for each start; the rate falls to zero."""
    sizes = (2, 64, 64, 2), (2, 64, 64, 2), (4, 128, 128, 1)
    g, encoder, d = (side_by_side(P.num_starts, *n, scale=0.5) for n in sizes)
    d_adam, ge_adam = adam(d, rate=rate), adam(g, encoder, rate=rate)
    parts = dict(g=g, encoder=encoder, d=d, d_adam=d_adam, ge_adam=ge_adam)
    for step in resumed(run.checkpoints("BiGAN"), "BiGAN", num_steps, parts):
        for optimiser in (d_adam, ge_adam):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / num_steps)
        x = banana(batch_size)
        z = torch.randn_like(x)
        real, fake = torch.cat([x, encoder(x)], -1), torch.cat([g(z), z], -1)
        d_loss = discriminator_loss(d(real.detach()), d(fake.detach())).mean()
        descend(d_adam, P.num_starts * d_loss)
        # The same two terms with exchanged roles: non-saturating for both networks.
        ge_loss = discriminator_loss(d(fake), d(real)).mean()
        descend(ge_adam, P.num_starts * ge_loss)
    return g, encoder


# %%
torch.manual_seed(run.seed)
inverse_g, inverse_e = train_inverse(P.inverse_steps)
x = banana(2000)
with torch.no_grad():
    again = inverse_g(inverse_e(x))


def relative_error(again, x):
    """Error over spread, root mean squares of each start: 1 for the mean of x."""
    spread = x - x.mean(1, keepdim=True)
    return (
        (again - x).square().sum(-1).mean(1) / spread.square().sum(-1).mean(1)
    ).sqrt()


errors = relative_error(again, x)
_ = run.record(
    "bigan_reconstruction_error",
    errors.median(),
    unit="spread of the data",
    protocol=f"root mean square, median of {P.num_starts} starts, {P.inverse_steps:,} steps",
)

# %% tags=["check"]
checks.close(
    "the mean as reconstruction",
    relative_error(0 * x + x.mean(1, keepdim=True), x),
    torch.ones(P.num_starts),
    atol=1e-5,
)
checks.close(
    "half way to the mean",
    relative_error((x + x.mean(1, keepdim=True)) / 2, x),
    0.5 * torch.ones(P.num_starts),
    atol=1e-5,
)
few = x[:, :50]
squares = [relative_error(few.roll(shift, 1), few) ** 2 for shift in range(50)]
every_partner = torch.stack(squares).mean(0)
checks.close(
    "square of the error of a random partner",
    every_partner,
    0 * every_partner + 2,
    rtol=1e-4,
)
checks.unbiased("mean height of the banana", x[..., 1].reshape(-1, 20).mean(1), 0.0)
checks.unbiased(
    "mean of the height times (a^2 - 1)",
    (x[..., 1] * (x[..., 0] ** 2 - 1)).reshape(-1, 20).mean(1),
    1.0,
)
if run.profile != "smoke":
    checks.at_most("median reconstruction error over the spread", errors.median(), 0.7)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The start with the median error: data (blue) joined to their reconstruction G(E(x)) (orange).", "name": "fig-cg-bigan"}, "image": {"alt": "Points along a parabola. Short lines join each blue point to an orange one nearby, on the same arc."}}
middle = errors.argsort()[len(errors) // 2]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
start, end = x[middle, :150].cpu(), again[middle, :150].cpu()
ax.plot(*torch.stack([start, end]).permute(2, 0, 1), color="0.7", linewidth=0.8)
ax.plot(*start.T, ".", label="x")
ax.plot(*end.T, ".", label="G(E(x))")
ax.set(
    xlabel="first coordinate",
    ylabel="second coordinate",
    xlim=(-3.2, 3.2),
    ylim=(-2, 5),
)
_ = ax.legend()

# %% [markdown]
r"""
Nothing in the loss measures the lines in this picture, and yet most of them are short: the mean of the data as an answer for every point has the error 1, a random point of the data as an answer $\sqrt 2$, and the check allows the median start 0.7.
They are not zero, and nothing in the game asks for that after a finite time of training.
"""

# %% [markdown]
r"""
## CycleGAN: a cycle that closes can be the wrong one

```{margin}
**In the sources.** Borisyak, *Summary*, one line.
```

With two piles of pictures and no pairs one trains two generators, $F: A \to B$ and $B \to A$, each with a discriminator that knows its pile, and adds a *cycle loss* {cite:p}`zhu2017`:

$$
\begin{aligned}
\mathcal{L}_\text{cycle} &= \mathbb{E}_{p(a)} \lVert F_{BA}(F_{AB}(a)) - a \rVert_1 / \dim a \\
&\quad + \mathbb{E}_{p(b)} \lVert F_{AB}(F_{BA}(b)) - b \rVert_1 / \dim b .
\end{aligned}
$$ (eq-cg-cycle)

**The cycle loss is zero for every map and its inverse; neither it nor the discriminators say which map.**
If $S$ is a symmetry of the cloud $A$, then $F_{AB} S$ with the inverse $S^{-1} F_{BA}$ is as good as $F_{AB}$ with $F_{BA}$ when the cycle closes: both cycles stay closed, and the discriminators see the same two clouds.
A cloud of four equal blobs at the corners of a square has eight rotations and reflections, and all 24 permutations of the blobs when any map is allowed.
"""


# %%
def cycle_loss(forward, backward, a, b):
    """Mean absolute error of both cycles, per coordinate."""
    return (backward(forward(a)) - a).abs().mean() + (
        forward(backward(b)) - b
    ).abs().mean()


def rotation(degrees):
    angle = math.radians(degrees)
    rows = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return torch.tensor(rows, dtype=torch.float64)


# %% tags=["check"]
corners = torch.tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]]).double()
turn, mirror = rotation(30), torch.diag(torch.tensor([1.0, -1.0]).double())
target = corners @ turn.T
candidates = [
    rotation(d) @ m for d in range(0, 360, 5) for m in (torch.eye(2).double(), mirror)
]


def same_cloud(p, q):
    """Largest distance of a point of p from the nearest of q."""
    return (
        torch.cdist(p, q, compute_mode="donot_use_mm_for_euclid_dist")
        .min(1)
        .values.max()
    )


perfect = []
for S in candidates:
    forward, backward = (lambda a, M=turn @ S: a @ M.T), (lambda b, M=turn @ S: b @ M)
    if cycle_loss(forward, backward, corners, target) < 1e-12:
        perfect.append(same_cloud(forward(corners), target) < 1e-12)
checks.close("linear maps whose cycle closes", len(perfect), len(candidates))
checks.close("and that map the cloud onto its partner", sum(perfect), 8)
shrunk = cycle_loss(lambda a: 2 * a, lambda b: 0.25 * b, corners, corners)
checks.close("cycle loss of a factor of 2 and one of 1/4", shrunk, 1.0, atol=1e-12)

# %% [markdown]
r"""
Take away the symmetry, then: three blobs at the corners of a triangle with three different sides, with the shares 0.5, 0.3 and 0.2.
The pile $B$ is the same cloud, turned by 70 degrees, with other points.
Now only one rigid map is right.
But a network is not a rigid map: it can bend, and merge and split blobs, as long as it can undo what it did.
A map that sends whole blobs to wrong corners gives them the wrong shares.
The best discriminator would see that, though the price is low: $2\, \mathrm{JS}$ of the shares, between 0.02 and 0.13 nats.
"""

# %% tags=["check"]
shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
prices = []
for order in list(permutations(range(3)))[1:]:
    moved = shares[list(order)]
    both = (shares + moved) / 2
    prices.append(sum((p * (p / both).log()).sum().item() for p in (shares, moved)))
checks.close(
    "2 JS, least and most wrong", [min(prices), max(prices)], [0.02, 0.13], atol=5e-3
)


# %%
centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]) - torch.tensor(
    [1 / 3, 2 / 3]
)
centres = centres.to(run.device)
shares = torch.tensor([0.5, 0.3, 0.2], device=run.device)
turned = rotation(70).float().to(run.device)


def pile(batch_size):
    """Points of A for every start; those of B are `pile(n) @ turned.T`."""
    which = torch.multinomial(shares, P.num_starts * batch_size, replacement=True)
    points = centres[which] + 0.15 * torch.randn(len(which), 2, device=run.device)
    return points.reshape(P.num_starts, batch_size, 2)


def train_cycle(num_steps, weight=10.0, batch_size=128):
    """Generators A to B and B to A of each start."""
    to_b, to_a = (side_by_side(P.num_starts, 2, 64, 64, 2) for _ in range(2))
    d_a, d_b = (side_by_side(P.num_starts, 2, 64, 64, 1) for _ in range(2))
    g_adam, d_adam = adam(to_b, to_a, rate=1e-3), adam(d_a, d_b, rate=1e-3)
    parts = dict(to_b=to_b, to_a=to_a, d_a=d_a, d_b=d_b, g_adam=g_adam, d_adam=d_adam)
    for _ in resumed(run.checkpoints("CycleGAN"), "CycleGAN", num_steps, parts):
        a, b = pile(batch_size), pile(batch_size) @ turned.T
        fake_a, fake_b = to_a(b), to_b(a)
        d_loss = discriminator_loss(d_a(a), d_a(fake_a.detach()))
        d_loss = d_loss + discriminator_loss(d_b(b), d_b(fake_b.detach()))
        descend(d_adam, P.num_starts * d_loss.mean())
        g_loss = generator_loss(d_a(fake_a)) + generator_loss(d_b(fake_b))
        g_loss = g_loss.mean() + weight * cycle_loss(to_b, to_a, a, b)
        descend(g_adam, P.num_starts * g_loss)
    return to_b, to_a


# %%
torch.manual_seed(run.seed)
to_b, to_a = train_cycle(P.cycle_steps)
a = pile(2000)
with torch.no_grad():
    found_b = to_b(a)
    cycle_error = (to_a(found_b) - a).square().sum(-1).mean(1).sqrt()
map_error = (found_b - a @ turned.T).square().sum(-1).mean(1).sqrt()
is_right = map_error < 0.5  # half of the shortest distance between two blobs

# %% tags=["check"]
checks.close("shares of the blobs add up to", shares.sum(), 1.0, atol=1e-6)
sides = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
checks.close(
    "sides of the triangle", sides[[0, 0, 1], [1, 2, 2]], [1, 2, 5**0.5], rtol=1e-6
)
mean_a = pile(20_000)[0].reshape(50, 400, 2).mean(1)
checks.unbiased("mean of the cloud A", mean_a, (shares[:, None] * centres).sum(0))
checks.close(
    "rotation by 90 degrees",
    rotation(90) @ torch.tensor([1.0, 0.0]).double(),
    [0.0, 1.0],
    atol=1e-12,
)
exact = cycle_loss(lambda p: p @ turned.T, lambda p: p @ turned, a, a @ turned.T)
checks.close("cycle loss of the true rotation", exact, 0.0, atol=1e-6)
if run.profile != "smoke":
    checks.at_most("largest cycle error of all starts", cycle_error.max(), 0.3)
    checks.at_most("starts with the right map", is_right.sum(), P.num_starts - 1)

# %%
run.record(
    "cycle_error",
    cycle_error.mean(),
    unit="1",
    standard_error=standard_error(cycle_error),
    protocol=f"root mean square distance, mean over {P.num_starts} starts, {P.cycle_steps:,} steps",
)
_ = run.record(
    "cycle_starts_with_right_map",
    dgm.float64(is_right).mean(),
    unit="1",
    protocol=f"share of {P.num_starts} starts whose map is within 0.5 of the rotation",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Each dot is one start: how well its cycle closes, and how far its map is from the rotation by 70 degrees. Below: the maps of the best (left) and of the worst start; dots are the images of the three blobs, in three colours; a black cross with a letter of the same colour stands where each belongs.", "name": "fig-cg-cycle"}, "image": {"alt": "Above, dots whose cycle errors are all small, while their distance from the rotation ranges from nearly zero to almost two. Below, two clouds of three blobs at the same places; in the right one the colours are at other corners than in the left one."}}
fig = plt.figure(figsize=(6.4, 5.4))
upper, lower = fig.subfigures(2, 1, height_ratios=(1, 1.3))
ax = upper.subplots()
ax.plot(cycle_error.cpu(), map_error.cpu(), "o", alpha=0.7, clip_on=False)
plotting.reference_line(ax, 0.5, "right map below this line")
ax.set(xlim=(0, max(0.1, 1.1 * cycle_error.max().item())), ylim=(0, None))
ax.set(xlabel="cycle error (distance)", ylabel="map error (distance)")
blob = torch.cdist(a, centres.expand(P.num_starts, -1, -1)).argmin(-1)
ends = {"best start": map_error.argmin(), "worst start": map_error.argmax()}
for ax, (title, s) in zip(lower.subplots(1, 2), ends.items(), strict=True):
    for k, colour in enumerate(plotting.COLOURS[:3]):
        ax.plot(
            *found_b[s, :400][blob[s, :400] == k].T.cpu(),
            ".",
            markersize=4,
            color=colour,
        )
        ax.plot(
            *(centres @ turned.T)[k].cpu(),
            "x",
            markersize=11,
            markeredgewidth=3,
            color="black",
            zorder=5,
        )
        place = (
            (centres @ turned.T)[k] + torch.tensor([0.35, 0.2], device=run.device)
        ).tolist()
        ax.text(*place, f"{'ABC'[k]}", color=colour, fontsize=13, weight="bold")
    _ = ax.set(xlim=(-2.6, 2.0), ylim=(-1.6, 1.8), aspect="equal", xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)

# %% [markdown]
r"""
Every cycle closes, and many of the maps are wrong: whole blobs land at the letter of another.
For these the objective is not quite silent, the shares are wrong; but the reward for putting them right is small.
The recorded share of right starts says how often luck was enough; the check that not all are right is meant, and a training that passes them all would change this page.
Something else has to choose the map: {cite:t}`zhu2017` add for some tasks an *identity loss*, $\lVert F_{AB}(b) - b \rVert_1$ on the pile $B$, which helps where the right map changes little, and would mislead here.
A cycle loss is a statement about a *pair* of maps; what a map should mean must come from pairs of data, or from the network.
"""

# %% [markdown]
r"""
## pix2pix: pairs, a pixel loss and a discriminator

```{margin}
**In the sources.** Borisyak, *Applications*, two pictures.
```

**With pairs $(c, x)$ a network could simply be trained to predict $x$; what it then draws is the mean or the median of all answers, and that is none of them.**
For each pixel

$$
\begin{aligned}
\arg\min_m \mathbb{E}\bigl[(x - m)^2 \mid c\bigr] &= \mathbb{E}[x \mid c], \\
\arg\min_m \mathbb{E}\bigl[|x - m| \mid c\bigr] &= \operatorname{median}(x \mid c) .
\end{aligned}
$$ (eq-cg-pixel)

Where a stroke may run here or there, the mean is a grey smear, and the median is paper if each place has ink in less than half of the cases.
A sampler of $p(x \mid c)$ pays for its sharpness: with $x'$ an independent draw,

$$
\mathbb{E}\bigl[(x - x')^2 \mid c\bigr] = 2 \operatorname{var}(x \mid c) .
$$ (eq-cg-twice)

**A perfect sampler has exactly twice the squared error of the best predictor**, so that this error cannot tell us that it is better.
We check on a table: three strokes of two pixels, with probabilities 0.4, 0.3 and 0.3.
"""

# %% tags=["check"]
answers = torch.eye(3).repeat_interleave(2, 1).double()  # 3 pictures of 6 pixels
probs = torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64)
greys = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
squared = (probs[:, None] * (answers - greys) ** 2).sum(1)  # (grey, pixel)
absolute = (probs[:, None] * (answers - greys).abs()).sum(1)
checks.close(
    "best grey for L2: the mean",
    greys[squared.argmin(0), 0, 0],
    probs @ answers,
    atol=5e-4,
)
checks.close(
    "best grey for L1: paper, everywhere", greys[absolute.argmin(0), 0, 0], [0.0] * 6
)
own = (answers[:, None] - answers[None]).square()
sampler = (probs[:, None, None] * probs[None, :, None] * own).sum((0, 1))
best_squared = (probs[:, None] * (answers - probs @ answers) ** 2).sum(0)
checks.close(
    "sampler, over best predictor, squared error",
    sampler / best_squared,
    [2.0] * 6,
    atol=1e-12,
)

# %% [markdown]
r"""
pix2pix {cite:p}`isola2017` adds to the pixel loss a conditional GAN whose discriminator sees the pair,

$$
\begin{aligned}
\mathcal{L}_G = \mathbb{E}\bigl[ &-\log D\bigl(c, G(c, z)\bigr) \\
&+ \lambda\, \lVert x - G(c, z) \rVert_1 / \dim x \bigr] .
\end{aligned}
$$ (eq-cg-pix)

Its generator is an encoder and decoder with a *skip*: the condition goes to the last layer as well, so that the network need not remember what it can see.
Its discriminator gives a map of logits, one for each *patch*: local sharpness is a local matter.
Ours works on 14 x 14 pixels in $[0, 1]$, with a sigmoid at the end, and gets noise as a second channel.
"""


# %%
class Translator(nn.Module):
    """G(c, z): two channels of 14 x 14 to one in [0, 1]."""

    def __init__(self, channels=12):
        super().__init__()
        twice = 2 * channels
        self.body = nn.Sequential(
            nn.Conv2d(2, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, twice, 4, stride=2, padding=1),
            nn.BatchNorm2d(twice),
            nn.ReLU(),
            nn.Conv2d(twice, twice, 3, padding=1),
            nn.BatchNorm2d(twice),
            nn.ReLU(),
            nn.ConvTranspose2d(twice, channels, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.last = nn.Conv2d(channels + 2, 1, 3, padding=1)

    def forward(self, condition, z):
        h = torch.cat([condition, z], 1)
        return torch.sigmoid(self.last(torch.cat([self.body(h), h], 1)))


def patch_discriminator(channels=12):
    """Pair (c, x) as two channels to a 7 x 7 map of logits."""
    return nn.Sequential(
        nn.Conv2d(2, channels, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * channels, 1, 3, padding=1),
    )


def pair_logits(d, condition, x):
    return d(torch.cat([condition, x], 1))


# %% [markdown]
r"""
How much of the picture does one logit see?
Back-propagate from one of the 49, and look where the gradient is not zero: the kernels add up to a square of $4 + 2 \cdot 2 + 2 \cdot 2 = 12$ pixels, since one step in the 7 x 7 map is two in the picture.
"""

# %% tags=["check"]
pair = torch.randn(
    1, 2, 34, 34, requires_grad=True
)  # larger, so that no border cuts it
patches = patch_discriminator()
logit_map = patches(pair)
checks.close(
    "logits for a picture of 14 x 14", patches(pair[..., :14, :14])[0, 0].shape, [7, 7]
)
(seen,) = torch.autograd.grad(logit_map[0, 0, 8, 8], pair)
rows = seen.abs().sum((0, 1, 3)).nonzero()
checks.close(
    "pixels that one logit sees, along a side", rows.max() - rows.min() + 1, 12
)
checks.at_least(
    "gradient in the condition, in the picture", seen.abs().sum((0, 2, 3)), 1e-6
)
condition, other = torch.rand(2, 3, 1, 14, 14)
with torch.no_grad():
    shift = pair_logits(patches, condition, other) - pair_logits(patches, other, other)
    swap = pair_logits(patches, condition, other) - pair_logits(
        patches, condition, condition
    )
checks.at_least("another condition, other logits", shift.abs().max(), 1e-4)
checks.at_least("another picture, other logits", swap.abs().max(), 1e-4)
checks.close(
    "shape of a translation", Translator()(condition, condition).shape, [3, 1, 14, 14]
)

# %%
digits_14, test_14 = halved(x_train), halved(x_test)


def pix_loss(fake, x, fake_logits, weight=5.0):
    """Non-saturating loss over all patches plus weight times the L1 error."""
    return generator_loss(fake_logits).mean() + weight * (x - fake).abs().mean()


def train_pairs(condition_of, num_steps, adversarial, batch_size=64):
    """G trained on pairs: as pix2pix, or by the squared error alone."""
    torch.manual_seed(run.seed)
    g, d = Translator().to(run.device), patch_discriminator().to(run.device)
    g_adam, d_adam = adam(g, rate=2e-3), adam(d, rate=2e-3)
    name = f"{condition_of.__name__}, {'pix2pix' if adversarial else 'squared error'}"
    parts = dict(g=g, d=d, g_adam=g_adam, d_adam=d_adam)
    for _ in resumed(run.checkpoints(name), name, num_steps, parts):
        rows = torch.randint(len(digits_14), (batch_size,), device=run.device)
        x = digits_14[rows]
        c = condition_of(x)
        fake = g(c, torch.randn_like(c))
        if adversarial:
            real_logits = pair_logits(d, c, x)
            fake_logits = pair_logits(d, c, fake.detach())
            descend(d_adam, discriminator_loss(real_logits, fake_logits).mean())
            loss = pix_loss(fake, x, pair_logits(d, c, fake))
        else:
            loss = (x - fake).square().mean()
        descend(g_adam, loss)
    return g.eval()


edge_g = train_pairs(edges, P.pair_steps, adversarial=True)
edge_mean = train_pairs(edges, P.pair_steps, adversarial=False)
half_g = train_pairs(upper_half, P.pair_steps, adversarial=True)
half_mean = train_pairs(upper_half, P.pair_steps, adversarial=False)
ground_mean = train_pairs(textured, P.pair_steps // 2, adversarial=False)

# %% [markdown]
r"""
```{margin}
**A common mistake:** generators that ignore their noise: with a pixel loss beside it, $z$ has little to say.
Two draws of a perfect sampler for one condition are as far apart as a draw and the truth; two draws of ours hardly differ, as the check of the spread below says: this network is nearly a function of its condition.
```

Edges all but fix the digit, so there is little to average, and the two networks draw more alike than where half of the digit is missing.
The lower half of a digit is not fixed by the upper one: this is *in-painting*, a conditional generation like the others, with the known pixels as the condition.
Ink at 14 x 14 is mostly white or black; we measure the share of *grey* pixels, between 0.1 and 0.9, in the half that was missing.
"""


# %%
@torch.no_grad()
def translate(g, condition_of, draw=0):
    """One draw for each of the first 2,000 test images at 14 x 14."""
    c = condition_of(test_14[:2000])
    noise = torch.Generator().manual_seed(run.seed + draw)
    return g(c, torch.randn(c.shape, generator=noise).to(run.device))


def grey_share(x):
    """Share of grey pixels in the lower half, one number per image."""
    lower = x[..., x.shape[-2] // 2 :, :]
    return dgm.float64((lower > 0.1) & (lower < 0.9)).mean((1, 2, 3))


# %%
painted = {
    "truth": test_14[:2000],
    "squared_error": translate(half_mean, upper_half),
    "pix2pix": translate(half_g, upper_half),
}
grey = {name: grey_share(images) for name, images in painted.items()}
how = f"missing lower half, {P.pair_steps} steps, "
how += f"first {len(test_14[:2000]):,} test images, 14 x 14"
for name, values in grey.items():
    run.record(
        f"grey_share_{name}",
        values.mean(),
        unit="1",
        standard_error=standard_error(values),
        protocol=how,
    )
mse = {
    name: (images - painted["truth"])[..., 7:, :].square().mean((1, 2, 3))
    for name, images in painted.items()
}
run.record(
    "inpainting_squared_error_ratio",
    mse["pix2pix"].mean() / mse["squared_error"].mean(),
    unit="1",
    protocol=f"pix2pix over least squares, {how}; 2 for a perfect sampler over a perfect mean",
)
apart = painted["pix2pix"] - translate(half_g, upper_half, draw=1)
spread = apart[..., 7:, :].square().mean() / mse["pix2pix"].mean()
_ = run.record(
    "inpainting_spread_of_draws",
    spread,
    unit="1",
    protocol=f"squared distance of two draws for one condition over squared error, {how}; 1 for a perfect sampler",
)

# %% tags=["check"]
half_grey = (
    torch.tensor([0.05, 0.95, 0.95, 0.3]).repeat_interleave(7)[:, None].expand(28, 3)
)
checks.close(
    "grey share of four bands, lower two: 0.95, 0.3",
    grey_share(half_grey[None, None]),
    [0.5],
)
a = torch.tensor([0.2, -0.4]).double()
off = pix_loss(torch.tensor([0.1]).double(), torch.tensor([0.4]).double(), a)
same = translate(half_g, upper_half)
checks.close("the same noise: the same draw", same, painted["pix2pix"], atol=1e-6)
checks.close(
    "pix2pix loss, error 0.3, weight 5",
    off,
    1.5 - torch.sigmoid(a).log().mean(),
    atol=1e-7,
)
if run.on_mnist and run.profile != "smoke":
    fewer = (grey["pix2pix"].mean() / grey["squared_error"].mean()).item()
    checks.at_most("share of grey, pix2pix over least squares", fewer, 0.8)
    checks.at_most("spread of draws, 1 for a perfect sampler", spread, 0.2)
    drawn = {name: translate(g, edges) for name, g in (("g", edge_g), ("m", edge_mean))}
    of_edges = (drawn["m"] - painted["truth"]).square().mean()
    of_halves = (painted["squared_error"] - painted["truth"]).square().mean()
    checks.ordered("least squares", {"edges": of_edges, "halves": of_halves})
    of_edges = (drawn["g"] - drawn["m"]).square().mean()
    of_halves = (painted["pix2pix"] - painted["squared_error"]).square().mean()
    checks.ordered("two networks apart", {"edges": of_edges, "halves": of_halves})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "In-painting of test digits. From top: what is known, least squares alone, pix2pix, the truth.", "name": "fig-cg-paint"}, "image": {"alt": "Four rows of sixteen digits. In the second row the lower halves are grey smears, in the third they are darker strokes and specks, some of them broken, some ending in another digit than the truth in the fourth row."}}
fig, ax = plt.subplots(figsize=(7.2, 1.9))
rows = [
    upper_half(test_14),
    *(painted[n] for n in ("squared_error", "pix2pix", "truth")),
]
_ = plotting.image_grid(torch.cat([r[:16, 0].cpu() for r in rows]), columns=16, ax=ax)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Edges to digits. From top: edges of test digits, least squares alone, pix2pix, the truth.", "name": "fig-cg-pix"}, "image": {"alt": "Four rows of sixteen pictures: outlines, and below them digits that fill the outlines, nearly alike in the three rows."}}
fig, ax = plt.subplots(figsize=(7.2, 1.9))
rows = [
    edges(test_14[:16]),
    translate(edge_mean, edges),
    translate(edge_g, edges),
    test_14,
]
_ = plotting.image_grid(torch.cat([r[:16, 0].cpu() for r in rows]), columns=16, ax=ax)

# %% [markdown]
r"""
The halves that pix2pix draws have fewer grey pixels than those of least squares, and their squared error is larger: {eq}`eq-cg-twice` asks for a factor of two from a perfect sampler.
Ours is no sampler: its draws for one condition hardly differ. It decides for one answer, and a decision between paper and ink can cost as much as a draw.
Some of its digits have darker strokes, and wrong ones: where an invention does harm, a grey smear is the more honest answer.

The last task of {numref}`fig-cg-problem`: the digit without its ground.
The network sees new waves in every batch, so it cannot learn them by heart.
For each pixel the picture $x + (1 - x)\, t$ gives one number for two unknown greys, that of the digit and that of the ground; knowledge of what digits and waves look like must decide.
"""

# %%
noisy = textured(test_14[:2000])
removed = translate(ground_mean, lambda x: noisy)
ground_mse = (removed - test_14[:2000]).square().mean((1, 2, 3))
before_mse = (noisy - test_14[:2000]).square().mean((1, 2, 3))
_ = run.record(
    "ground_squared_error_ratio",
    ground_mse.mean() / before_mse.mean(),
    unit="1",
    protocol="squared error after removal of the ground over that before, "
    f"{P.pair_steps // 2} steps of least squares, first {len(noisy):,} test images",
)

# %% tags=["check"]
checks.at_least("a ground only adds ink", noisy - test_14[:2000], -1e-6)
if run.on_mnist and run.profile != "smoke":
    ratio = ground_mse.mean() / before_mse.mean()
    checks.at_most("squared error, after over before", ratio, 0.25)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The ground removed. From top: test digits on waves, what least squares makes of them, the truth.", "name": "fig-cg-ground"}, "image": {"alt": "Three rows of sixteen pictures: digits on wavy stripes; the same digits on white, a little soft; the digits themselves."}}
fig, ax = plt.subplots(figsize=(7.2, 1.45))
rows = torch.cat([r[:16, 0].cpu() for r in (noisy, removed, test_14)])
_ = plotting.image_grid(rows, columns=16, ax=ax)

# %% [markdown]
r"""
## Exercises

```{exercise-start} Double, triple, and so on
:label: ex-cg-padding
```
Write `padding_for(kernel_size, stride)`: the smallest `padding` and the `output_padding` below the stride, as a pair, such that a transposed convolution multiplies every size by the stride exactly.
When is an `output_padding` needed?
The kernel is at least as large as the stride, and the stride at least 2.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def padding_for(kernel_size, stride):
    return None


# %% tags=["check"]
def check_padding(answer):
    if answer(4, 2) is None:
        return print("not yet")
    found, smallest = [], []
    for kernel_size, stride in [(k, s) for s in (2, 3, 4) for k in range(s, 9)]:
        padding, extra = answer(kernel_size, stride)
        layer = nn.ConvTranspose1d(
            1, 1, kernel_size, stride, padding=padding, output_padding=extra
        )
        found += [layer(torch.zeros(1, 1, n)).shape[-1] / n - stride for n in (7, 10)]
        # One less padding would need two less of the output padding.
        smallest.append(padding == 0 or extra < 2)
    checks.close("factor minus stride, every case", found, [0.0] * len(found))
    checks.true("no smaller padding would do", all(smallest))
    return print("right")


check_padding(padding_for)

# %% [markdown]
r"""
````{solution-start} ex-cg-padding
:class: dropdown
````
"""


# %% tags=["solution"]
def padding_for(kernel_size, stride):
    padding = (kernel_size - stride + 1) // 2
    return padding, 2 * padding - (kernel_size - stride)


check_padding(padding_for)

# %% [markdown]
r"""
With {eq}`eq-cg-transposed`, $(H - 1) s - 2p + k + r = H s$ means $2p - r = k - s$.
If $k - s$ is even, $r = 0$ will do; if it is odd, $r = 1$: kernel 3 with stride 2 needs it, kernel 4 does not.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} One logit too many
:label: ex-cg-extra
```
Someone has trained the semi-supervised discriminator with $K + 1$ free logits, the last one for "generated".
Write `without_extra(logits)`: from shape (n, K + 1) to the K logits of {eq}`eq-cg-semi` that give the same probabilities.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def without_extra(logits):
    return None


# %% tags=["check"]
def check_extra(answer):
    full = torch.randn(20, 5, generator=torch.Generator().manual_seed(3)).double()
    if answer(full) is None:
        return print("not yet")
    short = answer(full)
    checks.close("shape", short.shape, [20, 4])
    D = torch.sigmoid(real_logit(short))
    probs = torch.cat([D[:, None] * short.softmax(1), 1 - D[:, None]], 1)
    checks.close("all five probabilities", probs, full.softmax(1), atol=1e-14)
    return print("right")


check_extra(without_extra)

# %% [markdown]
r"""
````{solution-start} ex-cg-extra
:class: dropdown
````
"""


# %% tags=["solution"]
def without_extra(logits):
    return logits[:, :-1] - logits[:, -1:]


check_extra(without_extra)

# %% [markdown]
r"""
A softmax sees differences only, so the last logit can be subtracted from all, itself included.
Taking the first $K$ logits as they are keeps the classes but changes $D$.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} How many rigid maps?
:label: ex-cg-symmetries
```
A rigid map of a cloud of equal blobs onto itself is a permutation of the centres that keeps all distances.
Write `symmetries(points)`: how many there are, for centres of shape (n, 2).
What does this say about CycleGAN on a square, a hexagon, and on the triangle of the lecture?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def symmetries(points):
    return None


# %% tags=["check"]
def check_symmetries(answer):
    if answer(corners) is None:
        return print("not yet")
    angle = torch.arange(6).double() * math.pi / 3
    hexagon = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    checks.close("square", answer(corners), 8)
    checks.close("hexagon", answer(hexagon), 12)
    checks.close("triangle of the lecture", answer(dgm.float64(centres)), 1)
    return print("right")


check_symmetries(symmetries)

# %% [markdown]
r"""
````{solution-start} ex-cg-symmetries
:class: dropdown
````
"""


# %% tags=["solution"]
def symmetries(points):
    d = (points[:, None] - points[None]).norm(dim=-1)
    orders = [list(order) for order in permutations(range(len(points)))]
    return sum(bool((d[o][:, o] - d).abs().max() < 1e-6) for o in orders)


check_symmetries(symmetries)

# %% [markdown]
r"""
A regular polygon with $n$ corners has $n$ rotations and $n$ reflections: so many different maps are perfect in the eyes of CycleGAN.
For the triangle there is one, and the training above still missed it from some starts, because networks are not rigid.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Take the ground away
:label: ex-cg-ground
```
In the third row of {numref}`fig-cg-problem` the picture is $x + (1 - x)\, t$ with a texture $t < 1$.
Write `remove(picture, texture)`, which gives $x$ exactly when the texture is known.
What does a network have to learn when it is not?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def remove(picture, texture):
    return None


# %% tags=["check"]
def check_remove(answer):
    x, texture = test_14[:50], stripes(50, 14)
    picture = on_texture(x, texture)
    if answer(picture, texture) is None:
        return print("not yet")
    checks.close(
        "the digit, from picture and texture", answer(picture, texture), x, atol=1e-5
    )
    return print("right")


check_remove(remove)

# %% [markdown]
r"""
````{solution-start} ex-cg-ground
:class: dropdown
````
"""


# %% tags=["solution"]
def remove(picture, texture):
    return (picture - texture) / (1 - texture)


check_remove(remove)

# %% [markdown]
r"""
Without $t$ there is one equation for two unknown greys in each pixel, and this is why the network of {numref}`fig-cg-ground` had to learn what digits and waves look like.
Give it other grounds than waves, and look at what it takes for ink.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. Shapes follow from {eq}`eq-cg-transposed`; a transposed convolution is $C^\top$, and its overlap is even exactly if $s$ divides $k$ ({numref}`fig-cg-overlap`).
2. With the label in both networks the value is a mean of Jensen-Shannon divergences, {eq}`eq-cg-optimal`; with a blind discriminator every order of equally frequent labels is optimal, and so is ignoring them ({numref}`fig-cg-sheet`).
3. $K$ class logits make a discriminator, {eq}`eq-cg-semi`; unlabelled points help it on the moons ({numref}`fig-cg-semi`), by how much is recorded on the [results page](../book/results.md).
4. At the optimum of {eq}`eq-cg-bigan` the encoder inverts the generator; a cycle that closes, {eq}`eq-cg-cycle`, leaves the map open ({numref}`fig-cg-cycle`).
5. A pixel loss draws means or medians, {eq}`eq-cg-pixel`; a discriminator makes strokes crisp ({numref}`fig-cg-paint`) and raises the squared error, by a factor of 2 for a perfect sampler, {eq}`eq-cg-twice`.

**Reading:** {cite:t}`goodfellow2016`, section 20.10.4, for the place of GANs among generative models; {cite:t}`raschka2022`, chapter 17, for a convolutional GAN built step by step in PyTorch (the code is in the repository `rasbt/machine-learning-book`); {cite:t}`babcock2021`, chapter 6, for conditional GANs; {cite:t}`isola2017` for pictures of every task in the first table.
Where the lecture notes behind this page are imprecise stands on the [errata page](../book/errata.md).
"""

# %%
run.finish()

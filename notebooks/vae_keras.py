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
# A convolutional VAE in Keras

At the end of this lecture you will be able to

1. say what the number is that Keras prints for a VAE on grey images, and what the smallest possible value is;
2. write the sampling layer, the two networks and the loss so that the same code runs on TensorFlow, JAX and PyTorch, and check a training step against finite differences;
3. train a VAE with two latent variables with `fit`, and give its loss on test images with a standard error;
4. draw the plane of digits so that equal areas of the picture are equal shares of the prior, and say how much of the prior the digits cover;
5. save the model, load it with every weight as it was, and go on training;
6. recognise a collapsed posterior, and one line of code that causes it.

- **You need** [the lecture on the ELBO](elbo.ipynb), whose bound is used here and not derived again; some Keras.
- **Sources:** {cite:t}`kingma2014`, {cite:t}`rezende2014`, the VAE example of Keras {cite:p}`chollet2020`, {cite:t}`loaiza2019`.
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
import os
import subprocess
import sys
import tempfile
from statistics import NormalDist

for name, value in (
    ("KERAS_BACKEND", "tensorflow"),  # or jax, or torch
    (
        "TF_CPP_MIN_LOG_LEVEL",
        "3",
    ),  # no messages of TensorFlow's start, nor that there is no GPU
    ("NVIDIA_TF32_OVERRIDE", "0"),  # products in full on a GPU
):
    os.environ.setdefault(name, value)

# %% tags=["imports", "remove-output"]
import dgm
from dgm import checks, plotting

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers, ops

backend = keras.backend.backend()
if backend == "tensorflow":
    tensorflow = sys.modules["tensorflow"]
    tensorflow.config.list_physical_devices()  # its messages about GPUs end here
    tensorflow.get_logger().setLevel("ERROR")
to_numpy = ops.convert_to_numpy

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (2_048, 60_000, 60_000),
    "num_test": (1_000, 10_000, 10_000),
    "decoder_widths": ((16, 8), (64, 32), (64, 32)),  # channels; as published: 64, 32
    "epochs": (1, 3, 30),
    "rate": (6e-3, 6e-3, 1e-3),
    "constant_rate": (False, False, True),  # else a warm-up and a cosine
    "start_log_var": (-4.0, -4.0, None),  # of the codes before training; None: Keras's
    "num_draws": (2, 3, 10),  # of z for each test image
    "failure_images": (1_024, 12_800, 12_800),
    "failure_epochs": (1, 2, 5),
}

# %%
run = dgm.start("vae_keras", parameters=PARAMETERS, data="mnist")
P = run.parameters
print(f"Keras {keras.__version__} on {backend}")
# TensorFlow's compiler XLA made these networks slower on our CPU.
jit = False if backend == "tensorflow" and run.device == "cpu" else "auto"

# %% [markdown]
r"""
## The problem in one picture

**A variational autoencoder (VAE) squeezes an image of 784 pixels through a few numbers with noise on them, and is trained on the sum of two costs in nats: what the code says, and what it leaves out.**
Here the few numbers are two, so that a sheet of paper can show every picture that the model can draw.
The best-known program for this is the VAE example of Keras {cite:p}`chollet2020`; after 30 epochs it prints a loss of 146.95.
Is that a log-likelihood?
Would zero be perfect?
Would the number be the same on images that the program hasn't seen?
We write the program anew, and answer.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The model of this lecture. The encoder turns an image into the mean and the variance of two latent variables; noise makes a code of them, and the decoder makes logits of 784 pixels from it. The loss has two parts, in nats.", "name": "fig-vk-problem"}, "image": {"alt": "A diagram. In the upper row an arrow leads from the image x to the encoder and from there to the mean and the log-variance. An arrow goes down to the code z, which also receives noise. In the lower row z goes to the decoder and on to the logits. Between x and the logits stands soft-BCE, beside mean and variance stands KL."}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
boxes = {
    "x": (0.09, 0.85, "image x\n28 x 28"),
    "encoder": (0.42, 0.85, "encoder"),
    "q": (0.76, 0.85, "mean $\\mu$\nlog-variance"),
    "z": (0.76, 0.12, "$z = \\mu + \\sigma \\epsilon$\n2 numbers"),
    "noise": (0.97, 0.48, "noise $\\epsilon$"),
    "decoder": (0.42, 0.12, "decoder"),
    "logits": (0.09, 0.12, "logits a\n28 x 28"),
}
frame = dict(boxstyle="round,pad=0.5", facecolor="#eef3f8", edgecolor="0.4")
drawn = {
    name: ax.text(x, y, text, ha="center", va="center", bbox=frame)
    for name, (x, y, text) in boxes.items()
}
pairs = ("x encoder", "encoder q", "q z", "noise z", "z decoder", "decoder logits")
for start, end in (pair.split() for pair in pairs):
    # From box to box: the patches cut the arrow off where the frames begin.
    arrow = dict(
        arrowstyle="->",
        color="0.4",
        shrinkA=0,
        shrinkB=0,
        patchA=drawn[start].get_bbox_patch(),
        patchB=drawn[end].get_bbox_patch(),
    )
    ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=arrow)
red = plotting.COLOURS[1]
ax.annotate("", (0.09, 0.7), (0.09, 0.27), arrowprops=dict(arrowstyle="<->", color=red))
ax.text(0.115, 0.485, "soft-BCE", color=red, va="center")
ax.text(0.93, 0.85, "KL", color=red, va="center")
ax.set(xlim=(-0.03, 1.05), ylim=(0, 1))
_ = ax.set_axis_off()

# %% [markdown]
r"""
| symbol | in code | meaning |
|---|---|---|
| $x \in [0, 1]^{784}$ | `x` | an image, ink is 1 |
| $z \in \mathbb{R}^2$ | `z` | code: the latent variables, with the prior $\mathcal{N}(0, I)$ |
| $\mu, \log \sigma^2$ | `z_mean`, `z_log_var` | what the encoder says: $q_\phi(z \mid x) = \mathcal{N}(\mu, \operatorname{diag} \sigma^2)$ |
| $\epsilon$ | `noise` | standard Gaussian numbers, two for each image |
| $a$, $p = \operatorname{sigmoid}(a)$ | `logits`, `probs` | what the decoder says |
| $\beta$ | `beta` | weight of the KL term; 1 for a VAE |

As in [the Keras lecture on the RBM](rbm_keras.ipynb), nothing below imports TensorFlow, JAX or PyTorch by name: set `KERAS_BACKEND` before the first `import keras` and the same cells run on another backend.
`dgm.start` has set the seeds of Python, NumPy and the backend; a program that doesn't prints another loss in each run.

The images are split before anything else is done with them.
The published program joins training and test file and trains on all 70,000 images, so that none is left to say how the model does on new ones.
We train on the 60,000 of the training file, and keep the test file for the numbers that we report.
The rates above were chosen by trainings on the first 50,000 images, judged on the other 10,000 of the training file.
"""


# %%
def images(part):
    """Grey images in [0, 1], float32 of shape (num_images, 28, 28, 1)."""
    return run.data.vectors(part).reshape(-1, 28, 28, 1)


x_train, x_test = images("train+valid")[: P.num_images], images("test")[: P.num_test]
y_test = run.data.test_labels[: P.num_test]

# %% tags=["check"]
seen, new = ({image.tobytes() for image in part} for part in (x_train, x_test))
# Byte by byte: no image of MNIST's test file is in its training file.
copies = len(seen & new)
checks.at_most("test images that are in the training set", copies, 0)
checks.at_most("training images", len(x_train), len(run.data.images))
checks.close("range of the grey values", [x_test.min(), x_test.max()], [0, 1])

# %% [markdown]
r"""
## What the loss measures

```{margin}
**In the sources.** Oslo, 16 April, *Code examples using Keras*: the reconstruction loss; Borisyak, *Reconstruction error*.
```

**The reconstruction term of the published program is a cross-entropy with grey targets, "soft-BCE" for short; it is no log-likelihood, and its best value isn't zero.**
For one pixel with the grey value $x$ and the prediction $p = \sigma(a)$ it is

$$
\begin{aligned}
\ell(x, p) &= -x \log p - (1 - x) \log(1 - p) \\
&= \log(1 + e^a) - x\, a ,
\end{aligned}
$$ (eq-vk-soft-bce)

and for an image it is the sum over its pixels.
For a pixel that is black or white, $-\ell$ is the log-probability of a Bernoulli variable.
For a grey one, the smallest value is at $p = x$, and there it is the entropy $\mathcal{H}(x) = \ell(x, x)$, which is zero at $x = 0$ and $x = 1$ only.
So a perfect decoder gets the entropy of the pixels, and no model can get less.
"""


# %%
def pixel_loss(x, p):
    """Soft-BCE of each pixel in nats; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ink, paper = x * np.log(p), (1 - x) * np.log1p(-p)
    return -np.where(x == 0, 0, ink) - np.where(x == 1, 0, paper)


grey_test = images("test").astype(np.float64)
floors = pixel_loss(grey_test, grey_test).sum((1, 2, 3))
ink_of_pixels = x_train.mean(0, dtype=np.float64)
blind = pixel_loss(x_test, np.clip(ink_of_pixels, 1e-4, 1 - 1e-4)).sum((1, 2, 3)).mean()

# %% tags=["check"]
at = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
p = np.linspace(0, 1, 1001)[1:-1]
losses = pixel_loss(at[:, None], p)
checks.close("targets with the best p", p[losses.argmin(1)], at, atol=1.001e-3)
exact = [-0.2 * math.log(0.2) - 0.8 * math.log(0.8), math.log(2)]
checks.close("entropy of x = 0.2 and 0.5", pixel_loss(at, at)[1:3], exact, rtol=1e-12)
checks.close("entropy of black and of white", pixel_loss(at, at)[[0, 4]], [0, 0])
logits = np.log(p / (1 - p))
by_logits = np.logaddexp(0, logits) - at[:, None] * logits
checks.close("the form with logits", by_logits, losses, atol=1e-12)

# %%
floor = run.record(
    "soft_bce_floor_test",
    floors.mean(),
    unit="nats",
    standard_error=floors.std() / math.sqrt(len(floors)),
    protocol="mean pixel entropy of the grey test images, all of the test file",
)
if run.on_mnist:
    checks.close("floor of the published loss, to a tenth", floor, 45.5, atol=0.05)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Soft-BCE of one pixel for three targets x. The minimum (point) is at p = x; its height (dashed: the entropy as a function of p) is zero only for a black or a white pixel.", "name": "fig-vk-soft-bce"}, "image": {"alt": "Three curves over the prediction p. The one for x = 0 begins at zero and rises. The one for x = 0.2 has its minimum 0.5 at p = 0.2, the one for x = 0.5 has its minimum 0.69 at p = 0.5. The minima lie on a dashed arch."}}
fig, ax = plt.subplots(figsize=(6.4, 3.3))
fine = np.linspace(0.001, 0.999, 500)
ax.plot(fine, pixel_loss(fine, fine), "k--", linewidth=1)
for target, colour, marker in zip(
    (0.0, 0.2, 0.5), plotting.COLOURS, "os^", strict=False
):
    ax.plot(fine, pixel_loss(target, fine), color=colour, label=f"x = {target:g}")
    ax.plot(target, pixel_loss(target, target + 0.0), marker, color=colour)
ax.set(xlabel="prediction p", ylabel="loss of a pixel (nats)", ylim=(-0.05, 2.2))
_ = ax.legend()

# %% [markdown]
r"""
The second reason why the number is no likelihood: a density of a grey value must integrate to one, and $e^{-\ell}$ doesn't.
Its integral is

$$
\int_0^1 p^x (1 - p)^{1 - x}\, dx
= \frac{2 p - 1}{\log p - \log(1 - p)} \le \frac12 ,
$$ (eq-vk-integral)

with $\tfrac12$ at $p = \tfrac12$.
Divided by it, the Bernoulli becomes the *continuous Bernoulli* of {cite:t}`loaiza2019`, a density on $[0, 1]$.
The normaliser adds at least $\log 2$ for each pixel to the log-density, $784 \log 2 = 543$ nats for an image, and it depends on $p$, so that the two losses have different minima.
For a pixel $x = 0.2$ the soft-BCE is least at $p = 0.2$; minus the log-density is least where the mean of the density is $0.2$, and that is at $p = 0.008$.
Grey images can thus be modelled in three honest ways: binarise them, as [the PyTorch lecture](vae_pytorch.ipynb) does, normalise the density, or say "soft-BCE" with every number.
To compare with the published program we do the last.
"""


# %%
def bernoulli_integral(p):
    """Integral of p^x (1 - p)^(1 - x) over x from 0 to 1."""
    return (2 * p - 1) / (np.log(p) - np.log1p(-p))


# %% tags=["check"]
nodes, weights = np.polynomial.legendre.leggauss(40)
x_nodes, weights = (nodes + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
p = np.array([0.01, 0.2, 0.49, 0.7, 0.999])
by_quadrature = np.exp(-pixel_loss(x_nodes, p[:, None])) @ weights
checks.close("integral", bernoulli_integral(p), by_quadrature, rtol=1e-12)
checks.at_most("its values", by_quadrature, 0.5)
checks.close("784 pixels, nats", 784 * math.log(2), 543, atol=0.5)
p = np.arange(1, 5000) / 10_000
minus_log_density = pixel_loss(0.2, p) + np.log(bernoulli_integral(p))
best = p[minus_log_density.argmin()]
checks.close("x = 0.2: best p of the density", best, 0.008, atol=5e-4)
density = np.exp(-pixel_loss(x_nodes, best)) / bernoulli_integral(best)
# The mean changes by at most (1/12) / (p (1 - p)) per unit of p; half a step is 5e-5.
checks.close("there the mean is", (density * x_nodes) @ weights, 0.2, atol=6e-4)

# %% [markdown]
r"""
In code we hand over logits, never probabilities.
`ops.binary_crossentropy` gives one number for each pixel, and we sum over all axes but the first.
"""


# %%
def tensor(array):
    """On the device, in single precision."""
    return ops.convert_to_tensor(array, dtype="float32")


# %% tags=["twin:dgm.models.keras_vae.soft_bce"]
def soft_bce(x, logits):
    pixels = ops.binary_crossentropy(x, logits, from_logits=True)
    return ops.sum(pixels, axis=tuple(range(1, len(x.shape))))


# %% [markdown]
r"""
```{margin}
**A common mistake:** `keras.losses.binary_crossentropy` on images.
It returns the *mean* over the last axis, the channels: with one channel nothing changes, with three the reconstruction term is divided by 3.
```

The published program uses `keras.losses.binary_crossentropy` with probabilities.
That is the same number for one channel and moderate logits.
For three channels, CIFAR say, it is a third of it; and where a logit is large, the probability is cut off at $10^{-7}$ from 0 and 1, and the loss at $-\log 10^{-7} = 16.1$, whatever the logit says.
(Keras on TensorFlow looks for the logits behind a sigmoid and takes those where it finds them; it can't where probabilities come as numbers.)
"""

# %% tags=["check"]
for num_channels in (1, 3):
    shape = (5, 4, 4, num_channels)
    x = run.rng.random(shape, dtype=np.float32)
    logits = run.rng.normal(0, 3, shape).astype(np.float32)
    ours = to_numpy(soft_bce(tensor(x), tensor(logits)))
    exact = (np.logaddexp(0, logits.astype(float)) - x * logits.astype(float)).sum(
        (1, 2, 3)
    )
    checks.close(f"{num_channels} channel(s), against NumPy", ours, exact, rtol=1e-5)
    printed = keras.losses.binary_crossentropy(x, ops.sigmoid(logits))
    printed = to_numpy(ops.sum(printed, axis=(1, 2)))
    checks.close(
        f"the printed form, times {num_channels}",
        num_channels * printed,
        ours,
        rtol=1e-4,
    )
far = ops.convert_to_tensor(np.array([[-40.0]], np.float32))
white = ops.ones((1, 1))
numbers = tensor(to_numpy(ops.sigmoid(far)))  # no trace of the logits is left
cut = keras.losses.binary_crossentropy(white, numbers)
checks.close(
    "x = 1 at the logit -40, with logits", soft_bce(white, far), [40], rtol=1e-6
)
checks.close("with probabilities", cut, [-math.log(1e-7)], atol=1e-3)

# %% [markdown]
r"""
## Codes with noise, and what they cost

```{margin}
**In the sources.** Oslo, 16 April, *Code examples using Keras*: sampling layer, encoder and decoder, for this section and the next.
```

**A code is drawn by adding noise to a mean, with the noise made outside: so the draw has a derivative with respect to mean and variance.**

$$
z = \mu + \sigma \odot \epsilon,
\qquad
\sigma = e^{\frac12 \log \sigma^2},
\qquad
\epsilon \sim \mathcal{N}(0, I) .
$$ (eq-vk-sampling)

The noise comes from `keras.random` with a `SeedGenerator`, which has a state and moves it at every call.
For checks the noise can be handed over.
Dropout is switched off when `training` is false; this layer isn't, because the mean over $z$ belongs to the loss that we test, not only to the training.
"""


# %% tags=["twin:dgm.models.keras_vae.Sampling"]
@keras.saving.register_keras_serializable(package="dgm")
class Sampling(keras.layers.Layer):
    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.numbers = keras.random.SeedGenerator(seed)

    def call(self, z_mean, z_log_var, noise=None):
        if noise is None:
            noise = keras.random.normal(ops.shape(z_mean), seed=self.numbers)
        return z_mean + ops.exp(0.5 * z_log_var) * noise

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


# %%
def next_noise(sampling, shape):
    """The numbers that the layer will draw next; its state stays as it is."""
    numbers = keras.random.SeedGenerator(0)
    numbers.state.assign(to_numpy(sampling.numbers.state))
    return to_numpy(keras.random.normal(shape, seed=numbers))


# %% tags=["check"]
sampling = Sampling(run.seed + 1)
mean, variance = np.array([1.0, -2.0]), np.array([9.0, 0.25])
z_mean = tensor(np.tile(mean, (100_000, 1)))
z_log_var = tensor(np.tile(np.log(variance), (100_000, 1)))
noise = next_noise(sampling, (100_000, 2))
z, again = (to_numpy(sampling(z_mean, z_log_var)) for _ in range(2))
checks.unbiased("mean of the codes", z, mean)
checks.unbiased("their variance", (z - mean) ** 2, variance)
checks.unbiased("their covariance", (z - mean).prod(1), 0.0)
handed = sampling(z_mean, z_log_var, noise)
checks.close("with the noise handed over, the same codes", handed, z)
correlation = np.corrcoef(z[:, 0], again[:, 0])[0, 1]
bound = 5 / math.sqrt(len(z))  # of the correlation of independent numbers
checks.at_most("two calls: their correlation", abs(correlation), bound)

# %% [markdown]
r"""
A $q(z \mid x)$ that says much about its image must differ from the prior, and how much it differs is the second part of the loss.
For Gaussians it has a closed form:

$$
\begin{aligned}
\mathrm{KL}(q \,\Vert\, p)
&= \int q(z) \log \frac{q(z)}{p(z)}\, dz \\
&= \frac12 \sum_k \bigl(\mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2\bigr) .
\end{aligned}
$$ (eq-vk-kl)
"""


# %% tags=["twin:dgm.models.keras_vae.kl_to_prior"]
def kl_to_prior(z_mean, z_log_var):
    terms = ops.square(z_mean) + ops.exp(z_log_var) - 1 - z_log_var
    return 0.5 * ops.sum(terms, axis=-1)


# %% tags=["check"]
line = np.arange(-20, 20, 0.001)


def kl_by_integral(mean, variance):
    """The integral on a fine grid, for one latent variable."""
    log_q = -0.5 * ((line - mean) ** 2 / variance + math.log(2 * math.pi * variance))
    log_p = -0.5 * (line**2 + math.log(2 * math.pi))
    return (np.exp(log_q) * (log_q - log_p)).sum() * 0.001


codes = np.array([[1.0, -2.0], [0.0, 0.3]]), np.array([[2.0, 0.25], [1.0, 0.01]])
by_integral = [
    sum(kl_by_integral(m, v) for m, v in zip(means, variances, strict=True))
    for means, variances in zip(*codes, strict=True)
]
kl = kl_to_prior(tensor(codes[0]), tensor(np.log(codes[1])))
checks.close("KL, against the integral", kl, by_integral, rtol=1e-6)
zero = tensor(np.zeros((1, 2)))
checks.close("the prior itself costs nothing", kl_to_prior(zero, zero), [0])

# %% [markdown]
r"""
## Two networks

**The encoder halves the image twice with convolutions of stride 2; the decoder doubles it twice with their transposes.**
A convolution with stride 2 is a matrix that maps 28 x 28 to 14 x 14 numbers; a *transposed convolution* applies the transposed matrix and leads back to 28 x 28.
So for a kernel with one input channel $\langle K x, y \rangle = \langle x, K^\top y \rangle$ for all $x$ and $y$, which we check.
The layers are those of the published program, but for the last: it gives logits.
The sigmoid is for pictures only.

One thing is added.
Keras's initial weights give every code a variance near 1, so that the decoder gets mostly noise at first.
`start_log_var` lets the encoder begin with $\log \sigma^2 = -4$ for every image, and raise the noise where that pays.
"""


# %% tags=["twin:dgm.models.keras_vae.build_encoder", "twin:dgm.models.keras_vae.build_decoder"]
def build_encoder(latent_dim, start_log_var=None):
    relu, start = {"activation": "relu"}, {}
    if start_log_var is not None:
        constant = keras.initializers.Constant(start_log_var)
        start = {"kernel_initializer": "zeros", "bias_initializer": constant}
    x = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 3, strides=2, padding="same", **relu)(x)
    h = layers.Conv2D(64, 3, strides=2, padding="same", **relu)(h)
    h = layers.Dense(16, **relu)(layers.Flatten()(h))
    z_mean = layers.Dense(latent_dim, name="z_mean")(h)
    z_log_var = layers.Dense(latent_dim, name="z_log_var", **start)(h)
    return keras.Model(x, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim, widths):
    relu = {"activation": "relu"}
    z = keras.Input((latent_dim,))
    h = layers.Dense(7 * 7 * widths[0], **relu)(z)
    h = layers.Reshape((7, 7, widths[0]))(h)
    for width in widths:
        h = layers.Conv2DTranspose(width, 3, strides=2, padding="same", **relu)(h)
    logits = layers.Conv2DTranspose(1, 3, padding="same")(h)
    return keras.Model(z, logits, name="decoder")


# %% tags=["check"]
encoder, decoder = build_encoder(2), build_decoder(2, (64, 32))
checks.close("parameters of the encoder", encoder.count_params(), 69_076)
checks.close("of the published decoder", decoder.count_params(), 65_089)
shapes = [layer.output.shape[1:3] for layer in encoder.layers[1:3]]
checks.true("28 x 28 becomes 14 x 14, then 7 x 7", shapes == [(14, 14), (7, 7)])
checks.true("the decoder ends at 28 x 28", decoder.output_shape[1:] == (28, 28, 1))
some = tensor(x_test[:9])
first = build_encoder(2, start_log_var=-4.0)(some)[1]
checks.close("log-variances at the start", first, np.full((9, 2), -4.0))
kernel = tensor(run.rng.normal(size=(3, 3, 1, 4)))
x, y = (tensor(run.rng.normal(size=size)) for size in ((1, 28, 28, 1), (1, 14, 14, 4)))
step = dict(strides=2, padding="same")
forth = ops.sum(ops.conv(x, kernel, **step) * y)
back = ops.sum(x * ops.conv_transpose(y, kernel, **step))
# Two sums of about 7,000 products each, in single precision.
checks.close("<K x, y> - <x, K^T y>", to_numpy(forth - back), 0.0, atol=0.01)
logits = to_numpy(decoder(tensor(run.rng.normal(0, 9, (200, 2)))))
checks.at_most("smallest output: logits have a sign", logits.min(), -1e-6)

# %% [markdown]
r"""
## The loss as a method

```{margin}
**In the sources.** Oslo, 16 April, *Code examples using Keras*: the class `VAE`, and its training, for this section and the next.
```

**In Keras 3 the objective belongs in `compute_loss`: it is written with `keras.ops`, and `fit`, `evaluate` and the gradient of each backend come from it.**
The loss of a batch is the mean over its $N$ images of two sums,

$$
\begin{aligned}
L &= \frac1N \sum_n \Bigl[ \sum_i \ell(x_{ni}, p_{ni}) + \beta\, \mathrm{KL}_n \Bigr], \\
p_n &= \operatorname{sigmoid}\bigl(\text{decoder}(z_n)\bigr), \\
z_n &= \mu_n + \sigma_n \odot \epsilon_n ,
\end{aligned}
$$ (eq-vk-loss)

and with $\beta = 1$ it is minus the ELBO, but for what was said about grey pixels.

```{margin}
**A common mistake:** a custom `train_step`.
With `tf.GradientTape` in it the model runs on one backend only; and a class with a `train_step` and no `call` can at best be trained.
```

The published class has a `train_step` made of TensorFlow, and nothing else.
With `call`, `compute_loss` and `get_config` the model can also be called, evaluated, used for predictions, and saved.
Metrics that are attributes are found by Keras, set back at each epoch, and averaged over all images, also when the last batch is smaller.
"""


# %% tags=["twin:dgm.models.keras_vae.VAE"]
@keras.saving.register_keras_serializable(package="dgm")
class VAE(keras.Model):
    def __init__(self, encoder, decoder, *, beta=1.0, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.beta, self.seed = beta, seed
        self.sampling = Sampling(seed)
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")
        self.kl_tracker = keras.metrics.Mean(name="kl")

    def call(self, x, noise=None):
        z_mean, z_log_var = self.encoder(x)
        z = self.sampling(z_mean, z_log_var, noise)
        return self.decoder(z), z_mean, z_log_var

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        logits, z_mean, z_log_var = y_pred
        reconstruction, kl = soft_bce(x, logits), kl_to_prior(z_mean, z_log_var)
        self.reconstruction_tracker.update_state(reconstruction)
        self.kl_tracker.update_state(kl)
        return ops.mean(reconstruction + self.beta * kl)

    def get_config(self):
        networks = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in ("encoder", "decoder")
        }
        rest = {"beta": self.beta, "seed": self.seed}
        return {**super().get_config(), **networks, **rest}

    @classmethod
    def from_config(cls, config):
        for name in ("encoder", "decoder"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


# %% [markdown]
r"""
We check a whole training step, from the images to the new weights, on a model that is small enough for finite differences: images of 2 x 2 pixels, one dense layer in each network.
With plain gradient descent and the rate 1, one step changes the weights by minus the gradient.
The other side is NumPy in double precision, with the probabilities written out, and with the noise that the layer is about to draw.
"""


# %%
def tiny_vae(**kwargs):
    """Images of 2 x 2 pixels, two latent variables, affine networks; large weights."""
    x, z = keras.Input((2, 2, 1)), keras.Input((2,))
    h = layers.Flatten()(x)
    encoder = keras.Model(x, [layers.Dense(2)(h), layers.Dense(2)(h)])
    decoder = keras.Model(z, layers.Reshape((2, 2, 1))(layers.Dense(4)(z)))
    vae = VAE(encoder, decoder, **kwargs)
    rng = np.random.default_rng(5)
    for weight in vae.trainable_variables:
        weight.assign(rng.normal(size=weight.shape))
    return vae


def weights_of(model):
    return np.concatenate([to_numpy(w).ravel() for w in model.trainable_variables])


def numpy_losses(theta, x, noise):
    """Reconstruction and KL of each image by `tiny_vae`, in double precision."""
    cuts = np.cumsum([8, 2, 8, 2, 8])
    A, a, B, b, C, c = np.split(np.asarray(theta, float), cuts)
    x = x.reshape(-1, 4).astype(float)
    mean, variance = x @ A.reshape(4, 2) + a, np.exp(x @ B.reshape(4, 2) + b)
    z = mean + np.sqrt(variance) * noise
    p = 1 / (1 + np.exp(-(z @ C.reshape(2, 4) + c)))
    reconstruction = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1)
    return reconstruction, 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1)


# %% tags=["check"]
x_tiny = run.rng.random((6, 2, 2, 1), dtype=np.float32)
for beta in (1.0, 3.0):
    tiny = tiny_vae(beta=beta, seed=run.seed + 2)
    tiny.compile(keras.optimizers.SGD(1.0), jit_compile=jit)
    before, noise = weights_of(tiny), next_noise(tiny.sampling, (6, 2))
    found = tiny.train_on_batch(x_tiny, return_dict=True)
    exact = [part.mean() for part in numpy_losses(before, x_tiny, noise)]
    checks.close(
        f"beta = {beta:g}: reconstruction, KL and loss, against NumPy",
        [found["reconstruction"], found["kl"], found["loss"]],
        [*exact, exact[0] + beta * exact[1]],
        rtol=1e-5,
    )

    def loss(theta, noise=noise, beta=beta):
        reconstruction, kl = numpy_losses(theta, x_tiny, noise)
        return (reconstruction + beta * kl).mean()

    # A weight of up to 50 after the step has the rounding 4e-6.
    step = before.astype(float) - weights_of(tiny)
    checks.gradient("minus the step", loss, before, step, atol=2e-5)

# %% [markdown]
r"""
A test loss must not depend on how the images are cut into batches, and `evaluate` and `predict` must run on a model as it is.
A class with a `train_step` and no `call`, as the published one, can do neither.
On TensorFlow it can still be trained, so that nothing seems to be missing.
"""

# %% tags=["check"]
tiny = tiny_vae(seed=run.seed + 3)
tiny.compile(keras.optimizers.SGD(1.0), jit_compile=jit)
x_tiny = run.rng.random((10, 2, 2, 1), dtype=np.float32)
twin = Sampling(run.seed + 3)  # the same seed, so the same numbers
noise = np.concatenate([to_numpy(twin(*[ops.zeros((n, 2))] * 2)) for n in (4, 4, 2)])
found = tiny.evaluate(x_tiny, batch_size=4, verbose=0, return_dict=True)
exact = [part.mean() for part in numpy_losses(weights_of(tiny), x_tiny, noise)]
checks.close(
    "evaluate in batches of 4, 4 and 2: mean over the 10 images",
    [found["reconstruction"], found["kl"], found["loss"]],
    [*exact, sum(exact)],
    rtol=1e-5,
)
logits, z_mean, _ = tiny.predict(x_tiny, verbose=0)
checks.true("predict gives logits and means", logits.shape == x_tiny.shape)
checks.close("means", z_mean, tiny.encoder(tensor(x_tiny))[0], atol=1e-5)


# %% tags=["check"]
class WithoutCall(keras.Model):
    def train_step(self, data):
        return {"loss": ops.zeros(())}


for name, act in (
    ("called", lambda model: model(x_tiny)),
    ("used for predictions", lambda model: model.predict(x_tiny, verbose=0)),
    ("evaluated", lambda model: model.evaluate(x_tiny, verbose=0)),
):
    without_call = WithoutCall()
    without_call.compile(keras.optimizers.SGD(1.0), jit_compile=jit)
    try:
        act(without_call)
        refused = False
    except (NotImplementedError, RuntimeError) as error:
        # Keras refuses with NotImplementedError. On PyTorch `evaluate` first builds the
        # model by calling it and says so with a RuntimeError; any other one is a fault.
        refused = "call()" in str(error) or "build" in str(error)
    checks.true(f"a model without `call` can't be {name}", refused)
if backend == "tensorflow":
    losses = without_call.fit(x_tiny, verbose=0).history["loss"]
    checks.close("but it can be trained: epochs done", len(losses), 1)

# %% [markdown]
r"""
## Training

**`fit` does the training; what is left to choose is the learning rate, and how much noise the codes begin with.**
The published run has the constant rate $10^{-3}$ for 30 epochs.
We take six times that rate, reached by a linear warm-up over the first quarter of the steps and brought down to zero by a cosine, and a few epochs then do most of the work; the profile `full` of this lecture has the published settings.
`fit` reports means since the beginning of the epoch; `Curve` turns them into means over windows of some steps.

```{margin}
**A common mistake:** to count on `fit` for a new order of the images in each epoch.
With TensorFlow, and once a seed has been set, every epoch brings the same batches.
```

`fit` also shuffles the images, and a check below says how: since we have set a seed, the order is drawn once and used in every epoch.
We leave it as it is; a loop of one's own can shuffle anew, as in [the RBM in Keras](rbm_keras.ipynb).
"""


# %% tags=["check"]
class Batches(keras.Model):
    def train_step(self, x):
        return {"sum": ops.sum(x)}


if backend == "tensorflow":
    model, sums = Batches(), []
    model.compile(keras.optimizers.SGD(1.0), jit_compile=jit)
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: sums.append(float(logs["sum"]))
    )
    powers = 2.0 ** np.arange(16, dtype=np.float32)[:, None]  # a sum tells which
    model.fit(powers, batch_size=2, epochs=3, callbacks=[watch], verbose=0)
    first, *later = np.reshape(sums, (3, 8))
    checks.close("the first epoch takes each image once", first.sum(), 2**16 - 1)
    in_order = powers.reshape(8, 2).sum(1)
    checks.at_least("and shuffles: batches out of place", (first != in_order).sum(), 1)
    checks.close("the other epochs repeat its batches", later, [first, first])


# %%
class Curve(keras.callbacks.Callback):
    """Rows [step, reconstruction, kl]: means over the last `window` steps."""

    def __init__(self, window):
        super().__init__()
        self.window, self.rows, self.done, self.step = window, [], 0, 0

    def on_train_begin(self, logs=None):
        total, self.step = self.params["epochs"], self.done * self.params["steps"]
        left = range(self.done, total)
        self.shown = dgm.progress(left, "VAE, epochs", total=total, done=self.done)

    def on_train_end(self, logs=None):
        next(self.shown, None)

    def on_epoch_begin(self, epoch, logs=None):
        next(self.shown)
        self.sums = np.zeros(2)  # Keras begins new means too

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if (batch + 1) % self.window == 0:
            means = np.array([float(logs[name]) for name in ("reconstruction", "kl")])
            sums = (batch + 1) * means
            new = (sums - self.sums) / self.window
            self.rows.append([self.step, *new.tolist()])
            self.sums = sums


def warm_up_and_cosine(rate, num_steps):
    """From rate / 10 up to `rate` in a quarter of the steps, then down to 0."""
    quarter = num_steps // 4
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, num_steps - quarter, warmup_target=rate, warmup_steps=quarter
    )


# %%
def train(
    name,
    x,
    seed,
    *,
    epochs,
    rate,
    widths,
    start_log_var=None,
    beta=1.0,
    constant=False,
    batch_size=128,
):
    """A trained VAE with two latent variables, and the rows of its curve."""
    encoder, decoder = build_encoder(2, start_log_var), build_decoder(2, widths)
    vae = VAE(encoder, decoder, beta=beta, seed=seed)
    num_steps = epochs * math.ceil(len(x) / batch_size)
    schedule = rate if constant else warm_up_and_cosine(rate, num_steps)
    vae.compile(keras.optimizers.Adam(schedule), jit_compile=jit)
    curve = Curve(window=4 if run.profile == "smoke" else 20)
    callbacks, checkpoints = [curve], run.checkpoints(name)
    if checkpoints:  # in the profile `full`
        vae.optimizer.build(vae.trainable_variables)
        numbers = vae.sampling.numbers.state
        variables = [*vae.weights, *vae.optimizer.variables, numbers]
        parts = {str(i): variable for i, variable in enumerate(variables)}
        parts["rows"] = curve.rows
        curve.done = checkpoints.restore(parts)
        callbacks.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, _: checkpoints.keep(epoch + 1, parts)
            )
        )
    options = dict(batch_size=batch_size, epochs=epochs, initial_epoch=curve.done)
    vae.fit(x, callbacks=callbacks, verbose=0, **options)
    return vae, np.array(curve.rows)


# %% tags=["check"]
schedule = warm_up_and_cosine(0.5, 80)
rates = [float(to_numpy(schedule(step))) for step in (0, 10, 20, 50, 80)]
by_hand = [0.05, 0.275, 0.5, 0.25, 0.0]
checks.close("rates: start, half-way up, top, half-way down", rates, by_hand, atol=1e-6)
tiny, curve = tiny_vae(seed=run.seed + 4), Curve(window=2)
tiny.compile(keras.optimizers.Adam(0.01), jit_compile=jit)
x_tiny = run.rng.random((40, 2, 2, 1), dtype=np.float32)
options = dict(batch_size=5, epochs=3, verbose=0)
history = tiny.fit(x_tiny, callbacks=[curve], **options).history
rows = np.array(curve.rows)
epoch_means = rows[:, 1:].reshape(3, 4, 2).mean(1)
by_keras = np.stack([history["reconstruction"], history["kl"]], 1)
checks.close("windows, averaged over each epoch", epoch_means, by_keras, rtol=1e-5)
checks.close("their steps", rows[:, 0], np.arange(2, 25, 2))

# %%
vae, curve = train(
    "vae",
    x_train,
    run.seed,
    epochs=P.epochs,
    rate=P.rate,
    widths=P.decoder_widths,
    constant=P.constant_rate,
    start_log_var=P.start_log_var,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Training loss (means over 20 steps) and its reconstruction part; the KL part is the gap between the two, and is drawn below. Dashed: the floor of the loss, the loss of one picture of pixel means for all images, and the published loss after 30 epochs, an average over training and test images.", "name": "fig-vk-training"}, "image": {"alt": "Two panels over the epoch. In the upper one two curves fall together, steeply at first and then slowly, past a dashed line near 206 nats towards one at 147, far above a third line at 45. In the lower one the KL has a peak at the start, falls, and rises to about six nats."}}
fig, (top, bottom) = plt.subplots(
    2, 1, figsize=(6.4, 4.6), sharex=True, height_ratios=(3, 1)
)
epoch = curve[:, 0] / math.ceil(len(x_train) / 128)
top.plot(epoch, curve[:, 1:].sum(1), label="loss")
top.plot(epoch, curve[:, 1], label="reconstruction", linestyle=":")
plotting.reference_line(top, floor, "floor", side="left")
plotting.reference_line(top, blind, "pixel means")
if run.on_mnist:
    plotting.reference_line(top, 146.95, "published", side="left")
top.set(ylabel="nats per image", ylim=(30, 290))
top.legend(loc="upper right")
bottom.plot(epoch, curve[:, 2], color=plotting.COLOURS[2])
_ = bottom.set(xlabel="epoch", ylabel="KL (nats)", ylim=(0, None))

# %% [markdown]
r"""
## The loss on new images

**A number for a paper: on images that were not trained on, with its standard error, and with a word for what it is.**
`predict` gives logits, means and log-variances, with fresh noise at each call; NumPy makes the losses of single images from them, in double precision.
The mean over several draws of $z$ for each image estimates the mean over $q_\phi$ in the ELBO.
"""


# %%
def image_losses(vae, x, num_draws):
    """Reconstruction and KL in nats, (2, num_images), averaged over draws of z."""
    total = np.zeros((2, len(x)))
    for _ in range(num_draws):
        logits, z_mean, z_log_var = (
            part.astype(np.float64) for part in vae.predict(x, 1000, verbose=0)
        )
        total[0] += (np.logaddexp(0, logits) - x * logits).sum((1, 2, 3))
        total[1] += 0.5 * (z_mean**2 + np.exp(z_log_var) - 1 - z_log_var).sum(1)
    return total / num_draws


reconstruction, kl = image_losses(vae, x_test, P.num_draws)
on_train = image_losses(vae, x_train[: P.num_test], 1).sum(0)

# %%
images_used = f"{len(x_test):,} test images, {P.num_draws} draws of z each"
protocol = (
    f"2 latent variables, grey targets, {len(x_train):,} training images, "
    f"{P.epochs} epoch(s); mean over {images_used}"
)
for name, part in (
    ("total", reconstruction + kl),
    ("reconstruction", reconstruction),
    ("kl", kl),
):
    run.record(
        f"soft_bce_test_{name}",
        part.mean(),
        unit="nats",
        standard_error=part.std() / math.sqrt(len(part)),
        protocol=protocol,
    )
_ = run.record(
    "soft_bce_train_total",
    on_train.mean(),
    unit="nats",
    standard_error=on_train.std() / math.sqrt(len(on_train)),
    protocol=f"the same on the first {len(on_train):,} training images, one draw of z; "
    "published: 70,000 images, 30 epochs, mean over the last epoch while training",
    published=146.95,
    source="keras.io/examples/generative/vae, 30th epoch",
)

# %% tags=["check"]
total = reconstruction + kl
found = vae.evaluate(x_test, batch_size=1000, verbose=0, return_dict=True)
# The draws of z differ: their spread is less than that of the images.
error = total.std() / math.sqrt(len(total))
checks.unbiased("evaluate, with other draws of z", found["loss"], total.mean(), error)
checks.close("its KL, without any draw", found["kl"], kl.mean(), rtol=1e-4)
margin = reconstruction - floors[: len(x_test)]
checks.at_least("every image: reconstruction minus its pixel entropy", margin, 0)
checks.at_least("every image: KL", kl, 0)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("soft-BCE of the test images, nats", total.mean(), 172)

# %% [markdown]
r"""
So zero is not perfect, 45.5 is; nearly a third of the published loss is a property of the data, and no training takes it away.

```{margin}
**A common mistake:** a loss that is computed with $z = \mu$.
It is lower, and it is not a bound on anything.
```

Codes have noise on them in the test too.
If one feeds the decoder with the mean, the number gets better and loses its meaning: the KL is the price of codes with noise, and the reconstruction would be that of codes without.
"""

# %%
z_mean_test, z_log_var_test = vae.encoder.predict(x_test, batch_size=1000, verbose=0)


def decode(z):
    """Pictures of the decoder: probabilities of shape (num_codes, 28, 28)."""
    logits = vae.decoder.predict(np.asarray(z, np.float32), batch_size=500, verbose=0)
    return to_numpy(ops.sigmoid(logits[..., 0]))


at_mean = decode(z_mean_test)
loss_at_mean = pixel_loss(x_test[..., 0], np.clip(at_mean, 1e-9, 1 - 1e-7)).sum((1, 2))

# %% tags=["check"]
some = decode(z_mean_test[:5])
by_hand = 1 / (1 + np.exp(-to_numpy(vae.decoder(z_mean_test[:5]))[..., 0]))
checks.close("pictures: the sigmoid of the logits", some, by_hand, atol=1e-5)
if run.on_mnist and run.profile != "smoke":
    saved = reconstruction - loss_at_mean
    error = saved.std() / math.sqrt(len(saved))
    print(f"saved by mean codes: {saved.mean():.2f} +/- {error:.2f} nats")
    checks.at_least("the same, in standard errors", saved.mean() / error, 5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The first test images (upper rows) and what the decoder makes of their mean codes (lower rows).", "name": "fig-vk-reconstruction"}, "image": {"alt": "Four rows of ten pictures: test digits, and below each a smoother digit, mostly of the same kind; some become another one, a 4 a 9 for instance."}}
rows = np.stack([x_test[:20, ..., 0], at_mean[:20]]).reshape(2, 2, 10, 28, 28)
rows = rows.transpose(1, 0, 2, 3, 4).reshape(-1, 28, 28)
_, ax = plt.subplots(figsize=(6.4, 2.8))
_ = plotting.image_grid(rows, columns=10, ax=ax)

# %% [markdown]
r"""
Two numbers do not suffice for every digit, and the decoder answers with what is probable near that code.

## The plane of digits

```{margin}
**In the sources.** Oslo, 16 April, *Code examples using Keras*: the grid of sampled digits.
```

**On axes of equal probability, equal areas of the picture are equal shares of the prior.**
With two latent variables one can look at the decoder as a whole: decode the points of a grid and lay the pictures side by side.
The published program takes equally spaced values between -1 and 1.
The square $[-1, 1]^2$ holds

$$
\bigl(\Phi(1) - \Phi(-1)\bigr)^2 = 0.466
$$ (eq-vk-square)

of the prior's probability, so more than half of what the model generates isn't shown.
We take quantiles of the prior instead: with $u$ equally spaced between 0.025 and 0.975, and $z = \Phi^{-1}(u)$ on both axes, the grid spans $0.95^2 = 90\,\%$ of the prior.
"""


# %%
def quantile_axis(num, tail=0.025):
    """Values of z with equal probability between neighbours, from `tail` to 1 - it."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(u) for u in np.linspace(tail, 1 - tail, num)])


def plane(axis):
    """Codes (num^2, 2), row by row from the top: z_1 grows rightwards, z_2 upwards."""
    z_1, z_2 = np.meshgrid(axis, axis[::-1])
    return np.stack([z_1, z_2], -1).reshape(-1, 2)


axis = quantile_axis(20)
pictures = decode(plane(axis))
prior_draws = run.rng.normal(size=(100_000, 2))
in_square = (np.abs(prior_draws) <= 1).all(1)
mass = run.record(
    "prior_mass_in_square",
    math.erf(1 / math.sqrt(2)) ** 2,
    unit="1",
    protocol="probability of the square [-1, 1]^2 under the prior in two dimensions, "
    "by the error function",
)

# %% tags=["check"]
checks.close("share of the prior in [-1, 1]^2", mass, 0.466, atol=5e-4)
checks.unbiased("the same, counted", in_square.astype(float), mass)
shares = np.diff([0.5 * (1 + math.erf(z / math.sqrt(2))) for z in axis])
checks.close("probability between neighbours", shares, np.full(19, 0.05), atol=1e-9)
codes = plane(axis)
corners = codes[[0, 19, 380, 399]]
checks.close(
    "corners: top left, top right, bottom left, bottom right",
    np.sign(corners),
    [[-1, 1], [1, 1], [-1, -1], [1, -1]],
)
alone = decode(codes[[27]])[0]  # second row, eighth column
checks.close("the picture there", alone, pictures[27], atol=1e-5)
checks.close("its code", codes[27], [axis[7], axis[18]])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The decoder over the plane of codes, 20 by 20 points, on quantiles of the prior. Axes: the values of the two latent variables. The frame is the square from -1 to 1, all that a grid with equal steps between -1 and 1 would show.", "name": "fig-vk-plane"}, "image": {"alt": "A sheet of four hundred digits that change smoothly from place to place, with regions of ones, sevens, zeros, sixes and others. A frame in the middle takes in about seven tenths of the width and of the height."}}
fig, ax = plt.subplots(figsize=(6.4, 6.4))
sheet = plotting.tile(pictures, columns=20, padding=0)
ax.imshow(sheet, vmin=0, vmax=1)
places = [14 + 28 * i for i in range(20)]
shown = [0, 5, 14, 19]
ax.set_xticks([places[i] for i in shown], [f"{axis[i]:.2f}" for i in shown])
ax.set_yticks([places[19 - i] for i in shown], [f"{axis[i]:.2f}" for i in shown])
low, high = (
    14 + 28 * 19 * (NormalDist().cdf(edge) - 0.025) / 0.95 for edge in (-1.0, 1.0)
)
frame = plt.Rectangle((low, low), high - low, high - low, fill=False)
frame.set(edgecolor=plotting.COLOURS[1], linewidth=2)
ax.add_patch(frame)
ax.grid(False)
_ = ax.set(xlabel="$z_1$", ylabel="$z_2$")

# %% [markdown]
r"""
All codes went through one call of `predict`.
The published program calls it once for each picture, 900 times; what that costs depends on the machine and on the backend, so the ratio is printed.
"""

# %%
started = run.seconds
decode(codes)
batched = run.seconds - started
started = run.seconds
for code in codes[:10]:
    decode(code[None])
one_by_one = (run.seconds - started) * len(codes) / 10
print(f"{backend}: one call per picture takes {one_by_one / batched:.0f} times as long")

# %% [markdown]
r"""
## Where the images lie, and where the prior is

```{margin}
**In the sources.** Oslo, 16 April, *Code examples using Keras*: the clusters of digit classes.
```

**The KL term pulls each code towards the prior; whether all codes together fill the prior is another question, and it decides what samples look like.**
The codes of all images together have the density

$$
q(z) = \frac1N \sum_n \mathcal{N}\bigl(z \mid \mu_n, \operatorname{diag} \sigma_n^2\bigr) ,
$$ (eq-vk-aggregate)

the *aggregate posterior*.
Its covariance has two parts, the spread of the means and the mean of the variances:

$$
\operatorname{Cov}[z] = \operatorname{Cov}_n[\mu_n]
+ \frac1N \sum_n \operatorname{diag} \sigma_n^2 .
$$ (eq-vk-covariance)

Where $q(z)$ is much smaller than the prior $p(z)$, the decoder has hardly been trained, and the prior sends it codes all the same.
We count the share of the prior with $q(z) < p(z) / 10$, on 50 x 50 cells of equal prior probability.
"""


# %%
def aggregate(z, mean, variance):
    """q(z) at each code of z: the mean of the Gaussians of all images."""
    density = np.empty(len(z))
    for i, point in enumerate(z):
        exponent = -0.5 * ((point - mean) ** 2 / variance).sum(1)
        volume = 2 * math.pi * np.sqrt(variance.prod(1))
        density[i] = (np.exp(exponent) / volume).mean()
    return density


def prior_density(z):
    return np.exp(-0.5 * (z**2).sum(1)) / (2 * math.pi)


mean = z_mean_test.astype(np.float64)
variance = np.exp(z_log_var_test.astype(np.float64))
covariance = np.cov(mean.T, ddof=0) + np.diag(variance.mean(0))
cells = plane(quantile_axis(50, tail=0.01))  # the centres of 50 x 50 cells
ratio = aggregate(cells, mean, variance) / prior_density(cells)
uncovered = run.record(
    "prior_mass_uncovered",
    (ratio < 0.1).mean(),
    unit="1",
    protocol="share of the prior where the aggregate posterior of "
    f"{len(x_test):,} test images is below a tenth of the prior, 50 x 50 cells",
)
print("mean of the aggregate posterior", mean.mean(0).round(2))
print("covariance", covariance.round(2).tolist())

# %% tags=["check"]
# Numbers with the mean 0 and the variance 1, all four pairs: an exact average.
signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
drawn = (mean + np.sqrt(variance) * signs[:, None]).reshape(-1, 2)
checks.close(
    "covariance of the codes", np.cov(drawn.T, ddof=0), covariance, rtol=1e-6, atol=1e-9
)
grid = plane(np.arange(-12, 12, 0.2))
wide = np.array([[1.0, -1.0], [0.0, 2.0]]), np.array([[0.5, 1.0], [2.0, 0.25]])
masses = aggregate(grid, *wide) * 0.2**2
checks.close("integral of q", masses.sum(), 1.0, atol=1e-9)
checks.close("its mean", masses @ grid, [0.5, 0.5], atol=1e-9)
as_prior = aggregate(cells, np.zeros((1, 2)), np.ones((1, 2)))
checks.close(
    "if q is the prior: the ratio",
    as_prior / prior_density(cells),
    np.ones(2500),
    rtol=1e-9,
)
edges = [0.5 * (1 + math.erf(z / math.sqrt(2))) for z in np.unique(cells)]
checks.close("centres of the cells", edges, (np.arange(50) + 0.5) / 50, atol=1e-9)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Upper: mean codes of test images, coloured by label; circles: one and two standard deviations of the prior. Lower: the aggregate posterior over the prior, as a logarithm with base 10, on quantiles of the prior; dark blue is a hole.", "name": "fig-vk-clusters"}, "image": {"alt": "Above, a cloud of points in ten colours; ones and zeros have regions of their own, others such as 4, 7 and 9 overlap; the cloud does not fill the circles evenly. Below, a map of the same plane with warm patches where codes are and blue regions without any."}}
fig, (upper, lower) = plt.subplots(2, 1, figsize=(6.0, 9.6), layout="compressed")
colours = plt.get_cmap("tab10").colors
for label in range(10):
    of_label = z_mean_test[y_test == label]
    upper.plot(*of_label.T, ".", markersize=2, color=colours[label], label=label)
upper.legend(
    loc="center left", bbox_to_anchor=(1, 0.5), markerscale=6, handletextpad=0.1
)
for radius in (1, 2):
    upper.add_patch(plt.Circle((0, 0), radius, fill=False, zorder=3))
upper.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
picture = lower.imshow(
    np.log10(np.maximum(ratio, 1e-3)).reshape(50, 50),
    cmap="RdBu_r",
    vmin=-2,
    vmax=2,
    extent=(0, 1, 0, 1),
)
lower.set(xlabel="quantile of $z_1$", ylabel="quantile of $z_2$")
lower.grid(False)
_ = fig.colorbar(picture, ax=lower, label="$\\log_{10}\\ q(z) / p(z)$", shrink=0.8)

# %% [markdown]
r"""
The labels were never shown to the model: that some digits have a region of their own is found from the pixels alone.
Digits that look alike share one.
The KL term punishes codes far from the origin, one image at a time; it says little about a region that stays empty, and after a short training a good part of the prior does.

Samples of the model come from the prior, $z \sim \mathcal{N}(0, I)$ and then the decoder.
A share as large as `prior_mass_uncovered` above falls where hardly any images are.
Are those worse?
We draw 1,000 codes from the prior, take the distance of each picture to the nearest of 10,000 training images, and compare its mean over the codes with $q(z) < p(z) / 10$ to its mean over the others: the former lie farther away.
"""


# %%
def distance_to_nearest(pictures, images):
    """Euclidean distance of each picture to the nearest image."""
    a, b = (part.reshape(len(part), -1).astype(float) for part in (pictures, images))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares.min(1), 0))


samples = decode(run.rng.normal(size=(40, 2)))
drawn = np.random.default_rng(run.seed + 10).normal(size=(1000, 2))
without = aggregate(drawn, mean, variance) / prior_density(drawn) < 0.1
distances = distance_to_nearest(decode(drawn), x_train[:10_000])

# %% tags=["check"]
pixels = np.random.default_rng(run.seed + 11).random((7, 28, 28))
by_hand = [min(np.linalg.norm(a - b) for b in pixels[3:]) for a in pixels[:3]]
found = distance_to_nearest(pixels[:3], pixels[3:])
checks.close("distance to the nearest", found, by_hand, rtol=1e-9)
if run.on_mnist and run.profile != "smoke":
    few, many = distances[without], distances[~without]
    print(f"codes with few images: {few.mean():.2f}, the others: {many.mean():.2f}")
    error = math.sqrt(few.var(ddof=1) / len(few) + many.var(ddof=1) / len(many))
    farther = (few.mean() - many.mean()) / error
    checks.at_least("farther from the images, in standard errors", farther, 5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Forty samples of the model, as they came: codes from the prior, and the pixel probabilities that the decoder gives.", "name": "fig-vk-samples"}, "image": {"alt": "Forty smooth pictures. Many are digits that one can name; some are blends of two, and some are fragments."}}
_, ax = plt.subplots(figsize=(6.4, 3.6))
_ = plotting.image_grid(samples, columns=10, ax=ax)

# %% [markdown]
r"""
## Between two images, and along a direction

```{margin}
**In the sources.** Oslo, 30 April, *After training*: latent vectors that are edited.
```

**Half-way between two codes the decoder draws one shape; half-way between their two pictures lie two faint ones.**
Two faint shapes are grey where only one of them has ink, and a grey pixel has more entropy than a black or a white one.
So we compare the pixel entropies of the two middles, for 200 pairs of test images: that of the blend of two pictures is the larger one.
(The pictures at the ends are those that the decoder makes of the two codes.
A blend of the test images themselves is less grey than either, since their pixels are nearly black or white and those of the decoder are not.)
"""


# %%
def line_between(a, b, num):
    """`num` equally spaced points from a to b, both included."""
    t = np.linspace(0, 1, num)[:, None]
    return (1 - t) * a + t * b


start, end = (int((y_test == label).argmax()) for label in (7, 0))
way = line_between(z_mean_test[start], z_mean_test[end], 9)
of_codes = decode(way)
of_pixels = line_between(at_mean[start].ravel(), at_mean[end].ravel(), 9)

pairs = np.random.default_rng(run.seed + 12).permutation(len(x_test))[:400]
one, other = pairs.reshape(2, 200)
middles = {
    "codes": decode((z_mean_test[one] + z_mean_test[other]) / 2),
    "pictures": (at_mean[one] + at_mean[other]) / 2,
    "images": (x_test[one, ..., 0] + x_test[other, ..., 0]) / 2,
}
grey = {
    name: pixel_loss(p.astype(float), p.astype(float)).sum((1, 2))
    for name, p in middles.items()
}
for name, entropy in grey.items():
    print(f"half-way between two {name}: pixel entropy {entropy.mean():.0f} nats")

# %% tags=["check"]
checks.close("the way begins and ends at", way[[0, -1]], z_mean_test[[start, end]])
steps = np.diff(way, axis=0)
checks.close("its steps are equal", steps, np.tile(steps.mean(0), (8, 1)), atol=1e-5)
checks.close(
    "pictures at its ends", of_codes[[0, -1]], at_mean[[start, end]], atol=1e-5
)
middle = decode(line_between(z_mean_test[one[0]], z_mean_test[other[0]], 3))[1]
checks.close("the first middle", middles["codes"][0], middle, atol=1e-5)
if run.on_mnist and run.profile != "smoke":
    for more, less in (("pictures", "codes"), ("codes", "images")):
        excess = grey[more] - grey[less]  # independent pairs
        ratio_to_error = excess.mean() / (excess.std(ddof=1) / math.sqrt(200))
        what = f"greyer between {more} than {less}, in standard errors"
        checks.at_least(what, ratio_to_error, 5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From the first seven of the test images to the first zero. Upper row: decoded points of the line between their codes. Lower row: the line between the two pictures.", "name": "fig-vk-between"}, "image": {"alt": "Two rows of nine pictures from a seven to a zero. In the upper row each picture is one shape that changes; in the lower row the seven fades while the zero appears over it."}}
both = np.concatenate([of_codes, of_pixels.reshape(-1, 28, 28)])
_, ax = plt.subplots(figsize=(6.4, 1.8))
_ = plotting.image_grid(both, columns=9, ax=ax)

# %% [markdown]
r"""
The film of {numref}`fig-vk-film` walks once around the prior, on the circle with radius 1.5.
"""

# %% tags=["plot"] mystnb={"figure": {"caption": "The decoder along the circle of radius 1.5 around the origin. Where the circle crosses the region without codes the pictures fall apart.", "name": "fig-vk-film"}}
angles = np.arange(0, 360, 10)
turn = np.radians(angles)
walk = decode(1.5 * np.stack([np.cos(turn), np.sin(turn)], 1))
plotting.film(
    walk,
    labels=[f"{angle} degrees" for angle in angles],
    alt="A digit that changes its shape, through several kinds of digits and some broken shapes, and returns.",
    width=380,
)

# %% [markdown]
r"""
A direction in the plane can have a meaning of its own.
For the ones we take the *slant*: how many columns the stroke moves to the right when it goes up by one row, by a least-squares line through the ink.
The difference of two mean codes, that of the half which leans more and that of the half which leans less, is a direction along which we can tilt a one.
Labels and slant are used to *find* the direction; the model was trained without.
"""


# %%
def slant(pictures):
    """Columns to the right for each row upwards, of shape (num_pictures,)."""
    up, right = 13.5 - np.arange(28)[:, None], np.arange(28) - 13.5
    ink = pictures / pictures.sum((1, 2), keepdims=True)
    row, column = ((ink * place).sum((1, 2)) for place in (up, right))
    variance = (ink * up**2).sum((1, 2)) - row**2
    return ((ink * up * right).sum((1, 2)) - row * column) / variance


ones = y_test == 1
lean = slant(x_test[ones, ..., 0])
leaning = lean > np.median(lean)
halves = [z_mean_test[ones][part].mean(0) for part in (~leaning, leaning)]
tilted = decode(line_between(*halves, 5))
print("slant of the pictures, left to right:", slant(tilted).round(2))

# %% tags=["check"]
diagonal = np.zeros((3, 28, 28))
diagonal[0, 2:23, 4:25] = np.eye(21)[::-1]  # up and to the right, off the centre
diagonal[1, 2:23, 4:25] = np.eye(21)  # up and to the left
diagonal[2, 5:20, 9] = 1  # upright
checks.close("slant of three lines", slant(diagonal), [1, -1, 0], atol=1e-9)
if run.on_mnist and run.profile != "smoke":
    more = slant(tilted)[-1] - slant(tilted)[0]
    checks.at_least("slant at one end minus that at the other", more, 0)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From the mean code of the ones that lean less to that of the ones that lean more.", "name": "fig-vk-slant"}, "image": {"alt": "Five ones in a row; from left to right they lean more to the right."}}
_, ax = plt.subplots(figsize=(5.0, 1.3))
_ = plotting.image_grid(tilted, columns=5, ax=ax)

# %% [markdown]
r"""
The slant, and the ink (the sum of the pixels), can be taken of each of the four hundred pictures of {numref}`fig-vk-plane`.
For other digits than ones, the line through the ink needn't be a stroke: a seven with a long bar has a slant to the left.
Both measures change smoothly over the plane: two neighbours on it differ by less than half as much as two points at random, and none of this was told to the model.
"""

# %%
measures = {
    "ink": pictures.sum((1, 2)).reshape(20, 20),
    "slant": slant(pictures).reshape(20, 20),
}

# %% tags=["check"]
# Fourth row from the top, sixteenth column.
there = decode([[axis[15], axis[16]]])
checks.close("ink there", measures["ink"][3, 15], there.sum(), rtol=1e-4)
checks.close("slant there", measures["slant"][3, 15], slant(there)[0], atol=1e-4)
if run.on_mnist and run.profile != "smoke":
    for name, values in measures.items():
        at_random = np.abs(values.ravel()[:, None] - values.ravel()).mean()
        for direction, number in (("across", 1), ("up", 0)):
            step = np.abs(np.diff(values, axis=number)).mean()
            what = f"{name}, one step {direction} over two points at random"
            checks.at_most(what, step / at_random, 0.5)
    checks.at_most("smallest slant: to the left", measures["slant"].min(), 0)
    checks.at_least("largest slant: to the right", measures["slant"].max(), 0)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Ink of the pictures of the plane (left, sum of the pixels) and their slant (right, columns to the right for each row up). The points are those of the sheet of digits above.", "name": "fig-vk-maps"}, "image": {"alt": "Two maps of the plane of codes. The left one has dark regions, where the pictures have much ink, and light ones, where they have little. The right one has a region of positive and a region of negative slant with a smooth border."}}
fig, axes = plt.subplots(1, 2, figsize=(6.0, 3.9), layout="compressed")
labels = {"ink": "ink (sum of the pixels)", "slant": "slant (columns per row)"}
shown = [0, 4, 15, 19]
for ax, (name, values) in zip(axes, measures.items(), strict=True):
    limits = {} if name == "ink" else dict(vmin=-1, vmax=1, cmap="RdBu_r")
    picture = ax.imshow(values, **limits)
    fig.colorbar(picture, ax=ax, label=labels[name], orientation="horizontal")
    ax.set_xticks(shown, [f"{axis[i]:.1f}" for i in shown])
    ax.set_yticks([19 - i for i in shown], [f"{axis[i]:.1f}" for i in shown])
    ax.grid(False)
    ax.set(xlabel="$z_1$")
_ = axes[0].set(ylabel="$z_2$")

# %% [markdown]
r"""
## Saving, loading, going on

**A `.keras` file holds the configuration, the weights and the state of the optimiser: a loaded model gives the same numbers, and the optimiser goes on where it stopped.**
`get_config` of our class stores the two networks as configurations, and `from_config` builds them again.
What the file doesn't hold is the state of the `SeedGenerator`: a loaded model begins again with the first random numbers of its seed.
Below we set that state by hand, and compare a step of both with that of a third model, which has the same weights and a new optimiser.

The decoder alone is made of Keras's own layers, so that another program can load it and generate, without our class.
"""

# %%
program = """
import sys, keras, numpy as np
decoder = keras.saving.load_model(sys.argv[1] + "/decoder.keras")
codes = np.load(sys.argv[1] + "/codes.npy")
np.save(sys.argv[1] + "/logits.npy", decoder.predict(codes, verbose=0))
"""
codes = plane(quantile_axis(5)).astype(np.float32)
with tempfile.TemporaryDirectory() as folder:
    vae.save(f"{folder}/vae.keras")
    loaded = keras.saving.load_model(f"{folder}/vae.keras")
    vae.decoder.save(f"{folder}/decoder.keras")
    np.save(f"{folder}/codes.npy", codes)
    if run.profile != "smoke":  # starting Keras takes some seconds
        command = [sys.executable, "-c", program, folder]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert other.returncode == 0, other.stderr[-2_000:]
        elsewhere = np.load(f"{folder}/logits.npy")
state = to_numpy(vae.sampling.numbers.state)
state_of_loaded = to_numpy(loaded.sampling.numbers.state)

# %% tags=["check"]
checks.true("it is another object", loaded.decoder is not vae.decoder)
checks.close("weights after loading", weights_of(loaded), weights_of(vae))
exact = 0.0 if run.device == "cpu" else 1e-4  # on a GPU the order of sums may differ
fixed = [model(tensor(x_test[:50]), np.ones((50, 2), "f")) for model in (vae, loaded)]
for name, ours, theirs in zip(
    ("logits", "means", "log-variances"), *fixed, strict=True
):
    checks.close(f"{name} by the loaded model", theirs, ours, atol=exact)
checks.true(
    "the state of the random numbers is not in the file", state[1] > state_of_loaded[1]
)
fresh = to_numpy(Sampling(vae.seed).numbers.state)
checks.close("the loaded one is that of a new layer", state_of_loaded, fresh)
if run.profile != "smoke":
    here = vae.decoder.predict(codes, verbose=0)
    # Threads may add the products in another order.
    checks.close("logits in another process", elsewhere, here, rtol=1e-5, atol=1e-4)

# %%
young = tiny_vae(seed=run.seed + 5)
young.compile(keras.optimizers.Adam(0.01), jit_compile=jit)
options = dict(epochs=3, batch_size=10, verbose=0)
young.fit(x_tiny, **options)
with tempfile.TemporaryDirectory() as folder:
    young.save(f"{folder}/young.keras")
    again, reset = (keras.saving.load_model(f"{folder}/young.keras") for _ in range(2))
reset.compile(keras.optimizers.Adam(0.01), jit_compile=jit)
state = to_numpy(young.sampling.numbers.state)
reports = []
for model in (young, again, reset):
    model.sampling.numbers.state.assign(state)
    reports.append(model.train_on_batch(x_tiny, return_dict=True)["loss"])

# %% tags=["check"]
checks.close("one step more: loss", reports[1], reports[0], atol=exact)
checks.close("and weights", weights_of(again), weights_of(young), atol=exact)
copy = VAE.from_config(tiny_vae(beta=3.0, seed=7).get_config())
checks.close(
    "beta and seed from a configuration", [copy.beta, copy.sampling.seed], [3, 7]
)
apart = np.abs(weights_of(reset) - weights_of(young)).max()
checks.at_least("with a new optimiser: difference of the weights", apart, 1e-4)

# %% [markdown]
r"""
## What goes wrong when the pixels are averaged

```{margin}
**A common mistake:** `mean` over pixels beside a KL that is a sum.
Loss functions of libraries take means unless they are told otherwise.
```

**Take the mean over the pixels in place of their sum, and the model learns nothing about $x$: this is called posterior collapse.**
It looks like a change of units, but the KL term doesn't change with it:

$$
\frac1D \sum_{i=1}^{D} \ell(x_i, p_i) + \mathrm{KL}
= \frac1D \Bigl[ \sum_{i=1}^{D} \ell(x_i, p_i) + D\, \mathrm{KL} \Bigr] .
$$ (eq-vk-mean)

So it is $\beta = D = 784$ in {eq}`eq-vk-loss`, and a nat of information about the image must save 784 nats of reconstruction to pay.
The best answer is a code that is pure noise, $q_\phi(z \mid x) = p(z)$ for every image.
What $\beta$ does between 1 and 784 is a topic of [the PyTorch lecture](vae_pytorch.ipynb).
"""

# %% tags=["check"]
tiny = tiny_vae(beta=4.0, seed=run.seed + 6)  # D = 4 pixels
tiny.compile(keras.optimizers.SGD(1.0), jit_compile=jit)
before, noise = weights_of(tiny), next_noise(tiny.sampling, (6, 2))
tiny.train_on_batch(x_tiny[:6])


def mean_loss(theta):
    """The loss with the mean over the pixels."""
    reconstruction, kl = numpy_losses(theta, x_tiny[:6], noise)
    return (reconstruction / 4 + kl).mean()


step = (before.astype(float) - weights_of(tiny)) / 4
checks.gradient(
    "mean over pixels, against beta = D", mean_loss, before, step, atol=2e-5
)

# %%
collapsed, _ = train(
    "collapsed",
    x_train[: P.failure_images],
    run.seed,
    epochs=P.failure_epochs,
    rate=6e-3,
    widths=P.decoder_widths,
    beta=784.0,
)
of_collapsed = collapsed.encoder.predict(x_test, batch_size=1000, verbose=0)
collapsed_kl = to_numpy(kl_to_prior(*(tensor(part) for part in of_collapsed)))
collapsed_sd = np.exp(0.5 * of_collapsed[1]).mean()
few = plane(quantile_axis(6))
grids = [decode(few)]
logits = collapsed.decoder.predict(few.astype(np.float32), verbose=0)
grids.append(to_numpy(ops.sigmoid(logits[..., 0])))
spreads = [grid.std(0).mean() for grid in grids]  # of a pixel over the plane

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    checks.at_most("KL of the collapsed model, nats", collapsed_kl.mean(), 0.05)
    checks.close("its standard deviations", collapsed_sd, 1.0, atol=0.1)
    checks.at_most("its pictures vary less, by a factor", spreads[1] / spreads[0], 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Decoders at the same 36 codes. Left: the model trained above. Right: trained on a part of the images with the mean over the pixels in place of the sum, which is beta = 784.", "name": "fig-vk-failure"}, "image": {"alt": "Two grids of thirty-six pictures. On the left digits of many kinds. On the right the same blurred shape thirty-six times."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.3))
for ax, grid in zip(axes, grids, strict=True):
    plotting.image_grid(grid, columns=6, ax=ax)
_ = fig.set_facecolor("white")

# %% [markdown]
r"""
The loss alone does not show it; the KL part does.
So watch the two parts apart, as in {numref}`fig-vk-training`.

## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} Black and white targets
:label: ex-vk-binary
```
Draw each pixel once from a Bernoulli variable with the grey value as its probability, and use the draw as the target.
Write `binary_loss(x, p, rng)`: the loss of each image, shape `(num_images,)`, for grey images `x` and probabilities `p` of shape `(num_images, num_pixels)`, with one fresh draw from `rng.random`.
What is its mean over many draws, and what is its floor?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def binary_loss(x, p, rng):
    return None


# %% tags=["check"]
def check_binary(answer):
    rng = np.random.default_rng(run.seed + 7)
    x, p = rng.random((3, 50)), rng.uniform(0.05, 0.95, (3, 50))
    if answer(x, p, rng) is None:
        return print("not yet")
    draws = np.stack([answer(x, p, rng) for _ in range(2000)])
    checks.unbiased("mean over draws: soft-BCE", draws, pixel_loss(x, p).sum(1))
    spread = (np.log(p / (1 - p)) ** 2 * x * (1 - x)).sum(1)
    squares = (draws - pixel_loss(x, p).sum(1)) ** 2
    checks.unbiased("variance over draws", squares, spread)
    target = (rng.random((3, 50)) < x) * 1.0
    near = np.clip(target, 1e-9, 1 - 1e-9)  # a decoder that knows the target
    checks.close(
        "floor, when p is the target", answer(target, near, rng), np.zeros(3), atol=1e-6
    )
    return print("right")


check_binary(binary_loss)

# %% [markdown]
r"""
````{solution-start} ex-vk-binary
:class: dropdown
````
"""


# %% tags=["solution"]
def binary_loss(x, p, rng):
    target = rng.random(x.shape) < x
    return -np.where(target, np.log(p), np.log1p(-p)).sum(1)


check_binary(binary_loss)

# %% [markdown]
r"""
The loss is linear in the target, so its mean over the draws is the soft-BCE: for a decoder that can't know the draw nothing changes on average.
But now it is the negative log-probability of a binary image, and the floor of each draw is zero.
The 45.5 nats have not gone: they are the noise that was added by drawing, and a model with a larger code could spend KL to describe it.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Three channels
:label: ex-vk-channels
```
Write `colour_bce(x, logits)`, the soft-BCE of each image for any number of channels, shape `(num_images, height, width, num_channels)`, by `keras.losses.binary_crossentropy`, which takes the mean over the channels.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def colour_bce(x, logits):
    return None


# %% tags=["check"]
def check_channels(answer):
    rng = np.random.default_rng(run.seed + 8)
    for num_channels in (1, 3, 4):
        shape = (2, 5, 6, num_channels)
        x, logits = tensor(rng.random(shape)), tensor(rng.normal(0, 20, shape))
        found = answer(x, logits)
        if found is None:
            return print("not yet")
        exact = soft_bce(x, logits)
        checks.close(f"{num_channels} channel(s)", found, exact, rtol=1e-5)
    return print("right")


check_channels(colour_bce)

# %% [markdown]
r"""
````{solution-start} ex-vk-channels
:class: dropdown
````
"""


# %% tags=["solution"]
def colour_bce(x, logits):
    pixels = keras.losses.binary_crossentropy(x, logits, from_logits=True)
    return ops.sum(pixels, axis=(1, 2)) * x.shape[-1]


check_channels(colour_bce)

# %% [markdown]
r"""
The logits of the check are large, so that a solution with probabilities, which are cut off, fails.
Without the factor a VAE for colour images has $\beta = 3$, a mild form of {eq}`eq-vk-mean`.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} A square for a share
:label: ex-vk-square
```
Write `half_width(share, latent_dim)`: the $a$ for which the cube $[-a, a]^k$ holds a given share of the prior in $k = $ `latent_dim` dimensions.
How wide must it be for 90 % in 2 and in 20 dimensions, and what does $[-1, 1]^{20}$ hold?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def half_width(share, latent_dim):
    return None


# %% tags=["check"]
def check_square(answer):
    if answer(0.5, 2) is None:
        return print("not yet")
    checks.close("the square of 46.6 %", answer(mass, 2), 1.0, atol=1e-9)
    checks.close("68.27 % on a line", answer(math.erf(0.5**0.5), 1), 1.0, atol=1e-9)
    rng = np.random.default_rng(run.seed + 9)
    inside = (np.abs(rng.normal(size=(50_000, 20))) <= answer(0.9, 20)).all(1)
    checks.unbiased("90 % in 20 dimensions, counted", inside.astype(float), 0.9)
    return print("right")


check_square(half_width)

# %% [markdown]
r"""
````{solution-start} ex-vk-square
:class: dropdown
````
"""


# %% tags=["solution"]
def half_width(share, latent_dim):
    on_each_axis = share ** (1 / latent_dim)
    return NormalDist().inv_cdf((1 + on_each_axis) / 2)


check_square(half_width)
checks.close(
    "90 % in 2 and 20 dimensions",
    [half_width(0.9, 2), half_width(0.9, 20)],
    [1.95, 2.79],
    atol=0.005,
)
checks.close("share of [-1, 1]^20", math.erf(0.5**0.5) ** 20, 4.8e-4, atol=1e-5)

# %% [markdown]
r"""
The axes are independent, so each must hold the $k$-th root of the share.
In 20 dimensions the cube $[-1, 1]^{20}$ holds 0.05 % of the prior: a sheet of pictures from it shows the model where it is never used.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Is it over-fitted?
:label: ex-vk-gap
```
Write `gap(train_losses, test_losses)`: the mean test loss minus the mean training loss, and its standard error, from the losses of single images.
Then look at the trained model: is the gap larger than chance?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def gap(train_losses, test_losses):
    return None


# %% tags=["check"]
def check_gap(answer):
    a, b = np.array([1.0, 2.0, 3.0, 6.0]), np.array([5.0, 7.0])
    if answer(a, b) is None:
        return print("not yet")
    difference, error = answer(a, b)
    checks.close("difference", difference, 3.0, rtol=1e-12)
    # The variances, with n - 1, are 14/3 and 2.
    checks.close("standard error", error, math.sqrt(14 / 12 + 1), rtol=1e-12)
    return print("right")


check_gap(gap)

# %% [markdown]
r"""
````{solution-start} ex-vk-gap
:class: dropdown
````
"""


# %% tags=["solution"]
def gap(train_losses, test_losses):
    difference = test_losses.mean() - train_losses.mean()
    variances = [part.var(ddof=1) / len(part) for part in (train_losses, test_losses)]
    return difference, math.sqrt(sum(variances))


check_gap(gap)
difference, error = gap(on_train, reconstruction + kl)
print(f"test minus training loss: {difference:.2f} +/- {error:.2f} nats")

# %% [markdown]
r"""
The variances of independent means add.
A gap of a few standard errors can come from the model or from the images: one of the two sets may be harder, whatever was trained on.
Only the split at the top of the lecture makes the question possible.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. The number is a soft-BCE plus a KL: its floor is the pixel entropy, 45.5 nats, {eq}`eq-vk-soft-bce`, and without the normaliser {eq}`eq-vk-integral` it is no likelihood.
2. `Sampling`, `soft_bce`, `kl_to_prior` and `compute_loss` are {eq}`eq-vk-sampling` to {eq}`eq-vk-loss` in `keras.ops`; one training step agrees with finite differences.
   Start the lecture with `KERAS_BACKEND=jax` or `KERAS_BACKEND=torch`: the same checks are made there.
3. The loss on test images stands on the [results page](../book/results.md), with its protocol; the training is {numref}`fig-vk-training`.
4. {numref}`fig-vk-plane` is drawn on quantiles, and {numref}`fig-vk-clusters` shows where the prior has no images.
5. The file gives back weights and optimiser, and not the random numbers.
6. A mean over pixels is $\beta = 784$, {eq}`eq-vk-mean`, and {numref}`fig-vk-failure` is what it learns.

**What comes next:** [the same model in PyTorch](vae_pytorch.ipynb), with binary targets, more latent variables, and a noise that is learned.

**Reading:** {cite:t}`kingma2014` and {cite:t}`rezende2014` for the method; {cite:t}`loaiza2019` for grey pixels; {cite:t}`chollet2020` for the program. Two more programs to compare with: *Building autoencoders in Keras* on the blog of Keras, and the convolutional variational autoencoder among TensorFlow's tutorials.
What differs from the sources stands on the [errata page](../book/errata.md).
"""

# %%
run.finish()

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
# Autoregressive models: one pixel at a time

Predict each pixel from the pixels before it, and multiply the probabilities: the result is a density of images that is exact, and a way to draw new ones.
You will build four such models, prove that none of them looks ahead, and rank in nats the three that learn digits.

```{opening} fig-ar-film
Left: a MADE, trained on this page, draws digits from the top to the bottom. Right: what each pixel costs in bits. Watch where the bits are.
```

At the end of this lecture you will be able to

1. turn classifiers into a normalised density by the chain rule, and check its sum over all states;
2. build the recursion of NADE, the masks of MADE and the masked convolutions of PixelCNN, and prove by gradients that no pixel sees a later one;
3. recognise a model that looks ahead, by an entropy that no honest loss can pass;
4. say which pixels a PixelCNN can't see, and how many they are;
5. draw images with and without a cache, and complete them along the order.

- **You need** logistic regression and its cross-entropy, the entropy of a distribution, some PyTorch.
- **Sources:** {cite:t}`neal1992` and {cite:t}`frey1996` for the logistic model; {cite:t}`bengio2000` for hidden units; {cite:t}`larochelle2011`, {cite:t}`germain2015` and {cite:t}`oord2016pixel` for NADE, MADE and PixelCNN; {cite:t}`uria2016` for a longer introduction.
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
import time
from itertools import pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.models.rbm import all_states

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import logsigmoid

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (2_000, 50_000, 50_000),
    "num_test": (500, 10_000, 10_000),
    "fvsbn_epochs": (1, 3, 10),
    "made_hidden": (60, 500, 8_000),
    "made_epochs": (1, 4, 100),
    "made_rate": (8e-3, 8e-3, 5e-4),
    "pixelcnn_channels": (4, 16, 64),
    "pixelcnn_layers": (2, 5, 12),
    "pixelcnn_images": (500, 16_000, 50_000),
    "pixelcnn_epochs": (1, 1, 100),
    "pixelcnn_batch": (25, 25, 100),
    "pixelcnn_rate": (8e-3, 8e-3, 2e-3),
}

# %%
run = dgm.start("autoregressive", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## Classifiers make a density

```{margin}
**In the sources.** CS236 notes, *Autoregressive models*.
```

**The chain rule holds for every distribution and every order of the pixels; nothing is assumed to be independent.**
Number the $n$ pixels of a black and white image in *raster order*, row by row, and write $x_{<i}$ for the pixels before $x_i$:

$$
p(x) = \prod_{i=1}^{n} p(x_i \mid x_{<i}) .
$$ (eq-ar-chain)

Each factor is a question with two answers, ink or paper, and a classifier answers it with one number, a logit $\ell_i(x_{<i})$: ink, $x_i = 1$, has the probability $\sigma(\ell_i) = 1 / (1 + e^{-\ell_i})$, paper $1 - \sigma(\ell_i) = \sigma(-\ell_i)$.
So

$$
\log p(x) = \sum_{i=1}^{n} \log \sigma\bigl((2 x_i - 1)\, \ell_i(x_{<i})\bigr) .
$$ (eq-ar-log-prob)

```{figure} ../figures/ar_chain.svg
:name: fig-ar-chain
:alt: A grid of eight by eight pixels that shows the upper half of a seven; one pixel is orange, the pixels after it are dashed and empty. An arrow leads from the grid to a box, a classifier for pixel i, from there to p of x i equals one given the pixels before, one number. A coin decides, and an arrow leads back to the orange pixel: then the next pixel.
:width: 640px

An autoregressive model: one classifier for each pixel, which sees the pixels before it. To draw an image, toss one coin after the other.
```

The sum over all images is 1, whatever the classifiers are: sum over $x_n$ first, which occurs in the last factor only, then over $x_{n-1}$, and so on.
There is no partition function, and the negative log-likelihood is the sum of the cross-entropies of $n$ classifications, in *nats*, since the logarithm is the natural one.

```{margin}
**A common mistake:** $\log(p + 10^{-7})$, to be safe from $\log 0$.
Then nothing is normalised any more; $\log \sigma$ of a logit needs no such help.
```
"""


# %% tags=["twin:dgm.models.autoregressive.log_prob", "method"]
def log_prob(model, x):
    return logsigmoid((2 * x - 1) * model(x)).sum(-1)


# %% tags=["check"]
states = all_states(10)


def wild(x):
    """Logits that jump about: the sine of the square of the number before."""
    past = (x * 2 ** torch.arange(10)).cumsum(-1) - x * 2 ** torch.arange(10)
    return 5 * torch.sin(past**2 + torch.arange(10))


checks.normalised(
    "any function of the past: sum over 1,024 images", log_prob(wild, states)
)
padded = (torch.sigmoid((2 * states - 1) * wild(states)) + 1e-7).log().sum(1)
checks.close(
    "log(p + 1e-7): sum over 1,024 images",
    padded.exp().sum(),
    (1 + 2e-7) ** 10,
    rtol=1e-12,
)
by_torch = torch.distributions.Bernoulli(logits=wild(states)).log_prob(states).sum(1)
checks.close(
    "log p, against torch.distributions", log_prob(wild, states), by_torch, atol=1e-12
)
# %% tags=["check"]
# A source that is known: ten spins of +-1 on a ring, weight exp(0.7 s s') a bond.
spins = 2 * states - 1
ring = torch.softmax(0.7 * (spins * spins.roll(1, dims=1)).sum(1), 0)
entropy = -(ring @ ring.log())


def chain_rule(probs, given):
    """Sum of the conditional entropies H(x_i | given(i)) under `probs`, in nats."""
    total = 0.0
    for i in range(10):
        for columns, sign in (([*given(i), i], 1), (list(given(i)), -1)):
            places = states[:, columns] @ 2.0 ** torch.arange(
                len(columns), dtype=probs.dtype
            )
            marginal = torch.zeros(2**10, dtype=probs.dtype).index_add_(
                0, places.long(), probs
            )
            total -= sign * torch.xlogy(marginal, marginal).sum()
    return total


checks.close(
    "ring: entropy by the chain rule", chain_rule(ring, range), entropy, atol=1e-12
)
markov = chain_rule(ring, lambda i: range(max(i - 1, 0), i))
checks.at_least(
    "given the last pixel alone, nats that are lost", markov - entropy, 0.01
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** $p(x_i \mid x_{i-1})$ in place of $p(x_i \mid x_{<i})$.
That is a Markov chain, one model among many.
```

This factorisation is what large language models share with the models below; their classifier is a transformer, and their symbols are parts of words.

The data: each image is made black and white with its grey value as the probability of ink, once for all (*static*) or anew each time it is used (*dynamic*).
The two give different likelihoods, and we say which.
Our own coin flips set a floor: no model can predict them, so on average no negative log-likelihood lies below their entropy.
"""

# %%
x_grey, test_grey = (
    torch.from_numpy(run.data.vectors(part)[:number]).to(run.device)
    for part, number in (("train", P.num_images), ("test", P.num_test))
)
x_train, x_test = torch.bernoulli(x_grey), torch.bernoulli(test_grey)
pixel_mean = x_grey.mean(0).clamp(1 / len(x_grey), 1 - 1 / len(x_grey))
floor = torch.distributions.Bernoulli(probs=test_grey).entropy().sum(1).mean().item()
print(f"floor: {floor:.1f} nats")

# %% tags=["check"]
grey = torch.distributions.Bernoulli(probs=test_grey)
checks.unbiased(
    "no model predicts the flips: log p under the grey values, plus their entropy",
    grey.log_prob(x_test).sum(1) + grey.entropy().sum(1),
    0.0,
)
g = dgm.float64(test_grey)
by_hand = -(torch.xlogy(g, g) + torch.xlogy(1 - g, 1 - g)).sum(1).mean()
# Single precision, 784 terms; torch keeps each probability 1.2e-7 away from 0 and 1.
tolerance = dict(rtol=784 * 6e-8, atol=784 * 1.2e-7)
checks.close("floor: entropy of the flips, in nats", floor, by_hand, **tolerance)
if run.on_mnist and run.profile != "smoke":
    checks.close("the floor of all test images", floor, 45.5, atol=0.05)

# %% [markdown]
r"""
```{dropdown} A one-minute question: how large is a table of p(x_i | x_<i) for all pixels?
$\sum_i 2^{i-1} = 2^{784} - 1$ numbers, as large as that of $p(x)$ itself.
The chain rule saves nothing; the classifiers do, because they have few parameters.
```

## FVSBN: a logistic regression for each pixel

**The simplest classifier is linear in the pixels before.**
It makes the *fully visible sigmoid belief network*:

$$
\ell_i = b_i + \sum_{j < i} W_{ij}\, (x_j - \bar x_j) .
$$ (eq-ar-fvsbn)

All logits are one product with a strictly lower triangular matrix.
The means $\bar x_j$ of the data change only what $b_i$ stands for, the logit at an average past; they are there for training, as in [the centred RBM](rbm.ipynb).
"""


# %% tags=["twin:dgm.models.autoregressive.FVSBN", "method"]
class FVSBN(nn.Module):
    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)
        self.W = nn.Parameter(mean.new_zeros(len(mean), len(mean)))
        self.b = nn.Parameter(torch.logit(mean))

    def forward(self, x):
        return self.b + (x - self.mean) @ self.W.tril(-1).T


# %% [markdown]
r"""
```{margin}
**A common mistake:** "$n^2$ parameters".
Pixel $i$ has $i - 1$ weights and a bias, $n(n+1)/2$ in all: 307,720.
```

Training is stochastic gradient descent on the mean negative log-likelihood of a batch, an unbiased estimate of that of the data.
All models below share this loop; `bernoulli` redraws grey images in each epoch, and leaves black and white ones as they are.
"""


# %% tags=["method"]
def train(model, images, epochs, rate, *, batch_size=100, optimiser=None, done=0):
    """Adam, at a rate that falls to zero; yields the mean loss of an epoch, in nats."""
    optimiser = optimiser or torch.optim.Adam(model.parameters(), fused=True)
    num_batches = math.ceil(len(images) / batch_size)
    for epoch in range(done, epochs):
        total = torch.zeros((), device=images.device)
        shuffled = torch.randperm(len(images), device=images.device)
        for batch, rows in enumerate(shuffled.split(batch_size)):
            part = (epoch + batch / num_batches) / epochs
            optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * part)) / 2
            loss = -log_prob(model, torch.bernoulli(images[rows])).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(rows)
        yield (total / len(images)).item()


# %% tags=["hide-input"]
# The driver of all trainings, and what measures a trained model
def fit(name, model, images, epochs, rate, **settings):
    """Mean loss of each epoch; with progress, and in `full` with checkpoints."""
    optimiser, history = torch.optim.Adam(model.parameters(), fused=True), []
    settings |= dict(optimiser=optimiser)
    steps = resumed(
        run.checkpoints(name),
        f"{name}, epochs",
        epochs,
        dict(model=model, optimiser=optimiser, history=history),
        lambda done: train(model, images, epochs, rate, done=done, **settings),
    )
    for mean_loss in steps:
        history.append(mean_loss)
    return history


@torch.no_grad()
def measure(model, x):
    """Negative log-likelihood of each row of x, in nats."""
    return -torch.cat([log_prob(model, part) for part in x.split(500)])


def standard_error(x):
    return (x.std() / len(x) ** 0.5).item()


# %%
fvsbn = FVSBN(pixel_mean).to(run.device)
fit("FVSBN", fvsbn, x_train, P.fvsbn_epochs, rate=1.5e-2)
fvsbn_nll = measure(fvsbn, x_test)

# %% tags=["hide-input"]
# The recorded number
fvsbn_test_nll = run.record(
    "fvsbn_test_nll",
    fvsbn_nll.mean(),
    unit="nats",
    standard_error=standard_error(fvsbn_nll),
    protocol="centred logistic regressions, Adam 1.5e-2 to 0, batch 100, "
    f"{P.fvsbn_epochs} epochs, static stochastic binarisation, {len(x_train):,} "
    f"training images, {len(x_test):,} test images, exact",
)
fvsbn_train_nll = measure(fvsbn, x_train[: 2 * len(x_test)]).mean().item()


# %% tags=["check"]
class Witness(nn.Module):
    """Four pixels, independent; it notes the images and the rates that it is given."""

    def __init__(self):
        super().__init__()
        self.b, self.seen, self.rates = nn.Parameter(torch.zeros(4)), [], []

    def forward(self, x):
        self.seen.append(x)
        self.rates.append(adam.param_groups[0]["lr"])
        return self.b.expand_as(x)


witness, greys = Witness(), torch.tensor([0.0, 0.2, 0.7, 1.0])
adam = torch.optim.Adam(witness.parameters())
with torch.random.fork_rng(devices=[]):
    list(train(witness, greys.repeat(5_000, 1), 2, 0.1, optimiser=adam))
once, again = torch.cat(witness.seen).double().chunk(2)
checks.at_most("trained on ink and paper, nothing between", once * (1 - once), 0)
checks.unbiased("ink as often as the grey says", once[:, 1:3], greys[1:3])
anew = (once != again).double().mean(0)[1:3]
checks.at_least("tossed anew in each epoch: share that changes", anew, 0.2)
checks.close("the rate starts whole", witness.rates[0], 0.1)
ends_at = 0.1 * math.sin(math.pi / 200) ** 2  # a hundredth of the way before the end
checks.close("and falls to zero", witness.rates[-1], ends_at, rtol=1e-9)
checks.close(
    "standard error of the mean of 0, 1, ..., 99",
    standard_error(torch.arange(100.0)),
    math.sqrt(101 / 12),
    rtol=1e-6,
)
# %% tags=["check"]
ten = FVSBN(torch.full((10,), 0.3, dtype=torch.float64))
log_prob(ten, states).sum().backward()
count = int(ten.W.grad.count_nonzero()) + len(ten.b)
checks.close("FVSBN of 10 pixels: parameters with a gradient", count, 10 * 11 / 2)
checks.close("FVSBN: weights below the diagonal and biases", 784 * 785 / 2, 307_720)
checks.at_most("and no other is ever changed", fvsbn.W.detach().triu().abs().max(), 0)
# XOR: two fair coins, and a third pixel that says whether they differ.  The loss is
# convex in W and b, so where its gradient is zero it is least.
xor = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64)
coins = FVSBN(torch.full((3,), 0.5, dtype=torch.float64))
loss = -log_prob(coins, xor).mean()
loss.backward()
checks.close(
    "XOR: gradient of FVSBN at W = 0", coins.W.grad, torch.zeros(3, 3), atol=1e-15
)
checks.close("XOR: gradient in b, too", coins.b.grad, torch.zeros(3), atol=1e-15)
checks.close(
    "XOR: best loss of FVSBN is three coins", loss, 3 * math.log(2), atol=1e-14
)
independent = -torch.distributions.Bernoulli(probs=pixel_mean).log_prob(x_test).sum(1)
gain = independent.mean() - fvsbn_test_nll
checks.at_least("FVSBN: nats that it gains on independent pixels", gain, 10)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("FVSBN: test NLL, static", fvsbn_test_nll, 99.0)
    gap = fvsbn_test_nll - fvsbn_train_nll
    checks.at_least("FVSBN: nats by which the test images are worse", gap, 0.3)

# %% [markdown]
r"""
```{margin}
**In the sources.** CS236 notes, *Autoregressive models*: "the results are not great".
```

How good is it?
On the test images it is worse than on those it was trained on, by more than 0.3 nats in this build and on 5 seeds: 307,720 weights begin to learn the training images by heart.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: test images. Right: samples of FVSBN, not chosen.", "name": "fig-ar-fvsbn"}, "image": {"alt": "Two grids of twenty-four black and white pictures. On the left handwritten digits. On the right broken strokes and loose dots of the right thickness and in the right places, of which a few are digits."}}
x = torch.zeros(24, 784, device=run.device)
with torch.no_grad():
    for i in range(784):
        x[:, i] = torch.bernoulli(torch.sigmoid(fvsbn(x)[:, i]))
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 1.7))
plotting.image_grid(x_test[:24].cpu(), columns=8, ax=left)
_ = plotting.image_grid(x.cpu(), columns=8, ax=right)

# %% [markdown]
r"""
Locally these are strokes; globally few are digits.
A linear logit can say "ink here makes ink there likely", but not "ink here *or* there, not both".

```{dropdown} A one-minute question: on which source of three pixels does FVSBN fail completely?
Two fair coins, and a third pixel that says whether they differ.
Given either coin alone the third pixel is still fair, so the best linear logit is zero: the loss stays at $3 \log 2$, where the entropy is $2 \log 2$.
```

## NADE: hidden units that are shared

**Hidden units can say that, and those of one pixel serve the next, because only one input is new.**
With enough of them a network represents any function of finitely many bits; whether training finds it is another question.
A network of its own for each pixel, with 500 hidden units, would need 154,252,784 parameters.
The *neural autoregressive distribution estimator* {cite:p}`larochelle2011` lets all of them share the weights $W$ from the pixels and the biases $c$ of the hidden units; its own are only the weights $V_i$ and the bias $b_i$ of the logit:

$$
\begin{aligned}
\ell_i &= b_i + V_i \cdot \sigma(a_i), \\
a_1 &= c, \qquad a_{i+1} = a_i + W_{:,i}\, x_i .
\end{aligned}
$$ (eq-ar-nade)

```{figure} ../figures/ar_nade.svg
:name: fig-ar-nade
:alt: Boxes a one, a two, a three in a row, joined by arrows from left to right; the first comes from c. From each box an arrow leads up to the probability of a pixel and on to a circle with the pixel. From each circle an arrow leads down to the next horizontal arrow, with the words plus W one x one, plus W two x two, and so on.
:width: 620px

NADE: the input $a_i$ of the hidden units is carried from pixel to pixel.
```

The recursion computes all logits with $O(n H)$ operations for $H$ hidden units; each sum done anew would take $O(n^2 H)$.
"""


# %% tags=["twin:dgm.models.autoregressive.NADE", "method"]
class NADE(nn.Module):
    def __init__(self, num_inputs, num_hidden, *, std=0.01):
        super().__init__()
        self.W = nn.Parameter(std * torch.randn(num_hidden, num_inputs))
        self.V = nn.Parameter(std * torch.randn(num_inputs, num_hidden))
        self.b = nn.Parameter(torch.zeros(num_inputs))
        self.c = nn.Parameter(torch.zeros(num_hidden))

    def forward(self, x):
        a, logits = self.c.expand(*x.shape[:-1], -1), []
        for i in range(x.shape[-1]):
            logits.append(self.b[i] + torch.sigmoid(a) @ self.V[i])
            a = a + x[..., i, None] * self.W[:, i]
        return torch.stack(logits, -1)


# %% tags=["check"]
nade = NADE(10, 8, std=1.0).double().requires_grad_(False)
nn.init.normal_(nade.b)
nn.init.normal_(nade.c)
checks.normalised("NADE: sum over 1,024 images", log_prob(nade, states), atol=1e-10)
direct = torch.stack(
    [
        nade.b[i] + torch.sigmoid(nade.c + states[:, :i] @ nade.W[:, :i].T) @ nade.V[i]
        for i in range(10)
    ],
    dim=1,
)
checks.close("recursion = each sum done anew", nade(states), direct, atol=1e-12)
by_hand = NADE(3, 2).double().requires_grad_(False)  # pixel 3: one of the two, not both
by_hand.W.copy_(40 * torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))
by_hand.c.copy_(torch.tensor([-20.0, -60.0]))  # on from one, and from two pixels
by_hand.V.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.0], [40.0, -40.0]]))
by_hand.b.copy_(torch.tensor([0.0, 0.0, -20.0]))
loss = -log_prob(by_hand, xor).mean()
checks.close(
    "XOR: two hidden units reach the entropy", loss, 2 * math.log(2), atol=1e-6
)
sizes = [sum(p.numel() for p in m.parameters()) for m in (fvsbn, NADE(784, 500))]
checks.close("NADE: parameters with 500 hidden units", sizes[1], 785_284)
own = sum((i - 1) * 500 + 500 + 500 + 1 for i in range(1, 785))
checks.close("a network of its own for each pixel", own, 154_252_784)

# %% [markdown]
r"""
```{dropdown} A one-minute question: the hidden units of NADE are real numbers, those of an RBM are random bits. What does that change?
Nothing has to be summed over: given the earlier pixels the hidden units are known, so that $p(x)$ is exact.
NADE arose as an approximation to the conditionals of an RBM.
```

## MADE: all conditionals in one pass

NADE goes from pixel to pixel even when the whole image is known.
**MADE {cite:p}`germain2015` takes an ordinary network and deletes each connection along which a pixel could learn of a later one.**

Give each pixel its position in the order, from 1 to $n$, and each hidden unit a *degree* $m$ between 1 and $n - 1$: it may know the first $m$ pixels of the order.
A connection is kept

$$
\begin{aligned}
\text{into hidden unit } k:&\quad m(k) \geq m(j), \\
\text{into the logit at position } d:&\quad d > m(j),
\end{aligned}
$$ (eq-ar-masks)

where $m(j)$ is the degree of the unit it comes from, or the position of the pixel.
Along a path the degrees never fall and the last step is strict: what arrives at $d$ started before $d$.

```{figure} ../figures/ar_made.svg
:name: fig-ar-made
:alt: Three rows of circles with numbers. The lower row, three pixels with the positions two, three and one. The middle row, four hidden units with the degrees one, two, one, two. The upper row, three logits with positions two, three, one. Orange lines join circles where the rule allows it, dotted grey lines are deleted. No line leaves the pixel with position three, none enters the logit with position one.
:width: 640px

A MADE for the order $x_3, x_1, x_2$. The numbers are positions and degrees; dotted connections are deleted.
```
"""


# %% tags=["twin:dgm.models.autoregressive.made_masks", "method"]
def made_masks(degrees):
    masks = [later[:, None] >= earlier for earlier, later in pairwise(degrees)]
    return [*masks, degrees[0][:, None] > degrees[-1]]


# %% tags=["twin:dgm.models.autoregressive.MaskedLinear", "method"]
class MaskedLinear(nn.Linear):
    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight.dtype))

    def forward(self, x):
        return functional.linear(x, self.mask * self.weight, self.bias)


# %% [markdown]
r"""
Degrees are spread evenly, so that $n - 1$ hidden units or more lose no permitted connection.
With fewer, direct connections from pixels to logits, which alone would be FVSBN, still link each pixel to all later ones.
"""


# %% tags=["twin:dgm.models.autoregressive.MADE", "method"]
class MADE(nn.Module):
    def __init__(self, order, hidden_sizes):
        super().__init__()
        num_inputs = len(order)
        position = torch.empty_like(order)
        position[order] = torch.arange(1, num_inputs + 1)
        degrees = [position]
        for size in hidden_sizes:
            degrees.append(1 + torch.arange(size) * (num_inputs - 1) // size)
        self.layers = nn.ModuleList(MaskedLinear(mask) for mask in made_masks(degrees))
        self.direct = MaskedLinear(position[:, None] > position)
        self.register_buffer("order", order)

    def forward(self, x):
        h = x
        for layer in self.layers[:-1]:
            h = torch.relu(layer(h))
        return self.layers[-1](h) + self.direct(x)


# %% [markdown]
r"""
```{margin}
**A common mistake:** `order` says which pixel comes $k$-th, `position` where pixel $i$ stands.
They are inverse permutations, and the same in raster order: test with a random one.
```

Is it true that no pixel sees a later one?
The proof is the matrix of derivatives $\partial \ell_i / \partial x_j$, rows and columns sorted *by the order used*: above and on the diagonal each entry must be exactly zero, below it each must differ from zero.
The first half is honesty; the second says that no permitted dependence was lost.
(Behind a hard threshold all derivatives vanish: there, flip $x_j$ and see whether $\ell_i$ moves.)
"""


# %%
def dependence(model, images):
    """Largest |d logit_i / d x_j| over some images, shape (n, n)."""
    jacobian = torch.autograd.functional.jacobian
    return torch.stack([jacobian(model, x) for x in images]).abs().amax(0)


def by_order(matrix, order):
    """Rows and columns in the order of the model; what must vanish, what must not."""
    matrix = matrix[order][:, order]
    return matrix.triu(), matrix[torch.ones_like(matrix).tril(-1).bool()]


def random_made(order, hidden_sizes):
    """A small MADE with large weights: small ones hide mistakes."""
    model = MADE(order, hidden_sizes).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


order = torch.randperm(10)
made = random_made(order, [20, 15])
paths = made.layers[2].mask @ made.layers[1].mask @ made.layers[0].mask
sensitivity = dependence(made, states[::16])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A MADE with random order and two hidden layers. Left: its three masks, pixels and units sorted by degree; filled is kept. Right: what each logit depends on, by gradients, sorted by the order used: strictly below the diagonal, and all of it.", "name": "fig-ar-masks"}, "image": {"alt": "Four matrices of squares. The first three are staircases: filled below a diagonal of steps. The fourth is a full triangle strictly below the diagonal, in orange, with an empty diagonal and nothing above."}}
rank = torch.argsort(order)
panels = (
    ("pixels to hidden", made.layers[0].mask[:, order]),
    ("hidden to hidden", made.layers[1].mask),
    ("hidden to logits", made.layers[2].mask[order]),
    (r"$\partial \ell_i / \partial x_j \neq 0$", sensitivity[order][:, order] > 0),
)
fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.5))
for ax, (name, matrix), colour in zip(
    axes, panels, ["Blues"] * 3 + ["Oranges"], strict=True
):
    ax.imshow(matrix, cmap=colour, vmin=0, vmax=1.4, aspect="auto")
    ax.set(xticks=[], yticks=[], xlabel=name)
    ax.spines[:].set_visible(True)
    ax.grid(visible=False)

# %% tags=["check"]
futures, sums = {}, {}
fvsbn_10 = FVSBN(torch.full((10,), 0.3, dtype=torch.float64))
nn.init.normal_(fvsbn_10.W)
raster = torch.arange(10)
for name, model, its_order in (
    ("FVSBN", fvsbn_10, raster),
    ("NADE", nade, raster),
    ("MADE", made, order),
):
    future, past = by_order(dependence(model, states[::17]), its_order)
    futures[name] = future.max().item()
    checks.at_most(f"{name}: gradient of a logit in later pixels", futures[name], 0)
    checks.at_least(f"{name}: smallest gradient in an earlier pixel", past.min(), 1e-9)
    sums[name] = abs(log_prob(model, states).exp().sum().item() - 1)
    checks.at_most(f"{name}: |sum over 1,024 images - 1|", sums[name], 1e-10)
future, past = by_order(paths, order)
checks.at_most("MADE: paths through hidden units from later pixels", future.max(), 0)
checks.at_least("MADE: paths from each earlier pixel", past.min(), 1)

# %% [markdown]
r"""
The order changes nothing else: the sum over all images is 1 for this random one, too.
Now a large MADE in raster order, on digits whose binarisation is redrawn in each epoch.
"""

# %%
made_784 = MADE(torch.arange(784), [P.made_hidden])
with torch.no_grad():
    made_784.direct.bias.copy_(torch.logit(pixel_mean.cpu()))  # independent pixels
made_784.to(run.device)
fit("MADE", made_784, x_grey, P.made_epochs, P.made_rate)
made_nll = measure(made_784, x_test)

# %% tags=["hide-input"]
# The recorded number, beside the published one
made_test_nll = run.record(
    "made_test_nll",
    made_nll.mean(),
    unit="nats",
    standard_error=standard_error(made_nll),
    protocol=f"{P.made_hidden} hidden ReLUs and direct connections, raster order, Adam "
    f"{P.made_rate:g} to 0, {P.made_epochs} epochs, batch 100, dynamic stochastic "
    f"binarisation, {len(x_grey):,} training images, {len(x_test):,} test images",
    published=84.87,
    source="pytorch-generative, MADE with 8,000 hidden units, dynamic binarisation",
)

# %% [markdown]
r"""
Where are the nats?
The term of each pixel in {eq}`eq-ar-log-prob`, divided by $-\log 2$, is the number of bits that this pixel costs a coder which knows the model.
**The bits sit where ink begins or ends; inside a stroke and on empty paper the next pixel is nearly certain.**
"""


# %%
@torch.no_grad()
def bits(model, x):
    """-log2 p(x_i | x_<i) of each pixel."""
    return -logsigmoid((2 * x - 1) * model(x)) / math.log(2)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Six test images, and what each of their pixels costs under MADE, in bits: the darker, the more. Below: the sum.", "name": "fig-ar-bits"}, "image": {"alt": "A row of six digits, and below it the same digits as maps of bits: orange outlines that are darkest where a stroke begins on a row or ends, pale inside the strokes and on the paper around."}}
fig, axes = plt.subplots(2, 6, figsize=(7.4, 2.9))
six = x_test[:6]
for (above, below), image, cost in zip(
    axes.T, six.cpu(), bits(made_784, six).cpu(), strict=True
):
    above.imshow(image.reshape(28, 28), vmin=0, vmax=1)
    below.imshow(cost.reshape(28, 28), cmap="Oranges", vmin=0, vmax=4)
    below.set_xlabel(f"{cost.sum():.0f} bits")
    for ax in (above, below):
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)

# %% tags=["check"]
edge = x_test.clone().reshape(-1, 28, 28)
grid = torch.nn.functional.pad(edge, (1, 1, 1, 0))
neighbours = (grid[:, 1:, :-2], grid[:, :-1, 1:-1])  # left and above
at_edge = sum((edge != other).float() for other in neighbours).clamp(max=1).flatten(1)
cost = torch.cat([bits(made_784, part) for part in x_test.split(500)])
share = (cost * at_edge).sum() / cost.sum()
nats = dgm.float64(cost).sum(1) * math.log(2)
# Single precision: 784 terms, rounded to 6e-8 of sums of some hundred nats.
checks.close(
    "bits of the pixels, summed: log p", nats, dgm.float64(made_nll), rtol=784 * 6e-8
)
if run.on_mnist and run.profile != "smoke":
    checks.at_most("MADE: test NLL, dynamic", made_test_nll, 92.0)
    checks.at_most(
        "pixels unlike the one on the left or above, share", at_edge.mean(), 0.15
    )
    checks.at_least("guard: their share of all bits", share, 0.6)

# %% [markdown]
r"""
```{dropdown} A one-minute question: MADE with two hidden layers, all degrees equal to 1. What is left of it?
Every hidden unit knows the first pixel only.
Beside the direct connections, each logit is a function of that one pixel: the sum over all images is still 1, and the model is poor.
A check of honesty alone would not notice.
```
"""

# %% [markdown]
r"""
## A model that looks ahead

What if a mask is wrong?
Let one diagonal too many through, so that each pixel sees itself.
The program runs, and its loss falls faster than ever.
**An honest loss can't fall below the entropy of the source; one that does belongs to no density.**
By Gibbs' inequality, for every normalised $p$,

$$
-\sum_x p_\text{data}(x) \log p(x) \;\geq\; -\sum_x p_\text{data}(x) \log p_\text{data}(x) .
$$ (eq-ar-gibbs)

The test needs no look at the code, only a source whose entropy is known, and fresh draws from it: images that come again and again can be learned by heart, and on them an honest loss has no such floor.
Ours is a ring of ten Ising spins, neighbours coupled by $K = 0.7$, with 1,024 states; for digits we have the floor of the coin flips, which are tossed anew in each batch.
"""


# %%
def losses(model, images, weights, steps, rate):
    """Cross-entropy before each step of Adam, on `images()` with weights."""
    optimiser, curve = torch.optim.Adam(model.parameters(), rate), []
    for _ in range(steps):
        loss = -(weights @ log_prob(model, images()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        curve.append(loss.item())
    return curve


def batch():
    return torch.bernoulli(
        x_grey[torch.randint(len(x_grey), (100,), device=run.device)]
    )


curves, leaky_sum = {}, 0.0
for name, diagonal in (("honest", 0), ("looks ahead", 1)):
    small = MADE(raster, [20]).double()
    large = MADE(torch.arange(784), [60]).to(run.device)
    for model in (small, large):
        model.direct.mask.fill_diagonal_(diagonal)  # the fault
    curves["ring", name] = losses(small, lambda: states, ring, 150, rate=0.05)
    even = torch.full((100,), 0.01, device=run.device)
    curves["digits", name] = losses(large, batch, even, 150, rate=0.05)
    leaky_sum = log_prob(small, states).exp().sum().item()
print(f"sum of the 'probabilities' of the model that looks ahead: {leaky_sum:.0f}")

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Loss of two MADEs, one with a mask that lets each pixel see itself. Left: the ring of spins, all states at once, with its entropy. Right: batches of digits, with the floor of the coin flips.", "name": "fig-ar-leak"}, "image": {"alt": "Two panels with two falling curves each and a dashed horizontal line. In both panels the curve of the honest model stays above the line, and the curve of the model that looks ahead crosses it and goes on falling."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.0))
lines = (("ring", entropy.item(), "entropy"), ("digits", floor, "floor"))
names = (("honest", plotting.COLOURS[1]), ("looks ahead", plotting.COLOURS[3]))
for ax, (source, level, words) in zip(axes, lines, strict=True):
    for name, colour in names:
        curve = curves[source, name]
        ax.plot(curve, color=colour)
        at = {"textcoords": "offset points", "color": colour}
        ax.annotate(name, (50, curve[50]), (4, 8), **at)
    plotting.reference_line(ax, level, f"{words}, {level:.1f}")
    ax.set(xlabel="step", ylabel=f"loss, {source} (nats)")
axes[1].set(yscale="log", yticks=[20, 50, 100, 200, 500])
axes[1].minorticks_off()
_ = axes[1].set_yticklabels([20, 50, 100, 200, 500])

# %% tags=["check"]
honest, leaky = (
    torch.tensor(curves["ring", name]) for name in ("honest", "looks ahead")
)
checks.at_least(
    "ring, honest: loss - entropy at every step", honest.min() - entropy, -1e-12
)
checks.at_most("ring, honest: loss - entropy at the end", honest[-1] - entropy, 0.01)
checks.at_most("ring, looks ahead: loss - entropy at the end", leaky[-1] - entropy, -1)
checks.at_least("its 'probabilities' of 1,024 states: sum", leaky_sum, 2)
ends = {
    name: sum(curves["digits", name][-20:]) / 20 for name in ("honest", "looks ahead")
}
checks.at_least(
    "digits, honest: loss of the last 20 steps, over the floor",
    ends["honest"] / floor,
    1,
)
checks.at_most("digits, looks ahead: over the floor", ends["looks ahead"] / floor, 0.9)
future, _ = by_order(dependence(small, states[::17]), raster)
checks.at_least(
    "the gradients find it too: derivative of a logit in its pixel", future.max(), 0.1
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** to hide the future in an attention layer with the number -10,000 in place of $-\infty$.
A network can learn logits below it.
```

The same two tests, gradients and entropy, find other leaks, too: a mask of the wrong type, a shortcut around the first layer, an order that was meant for another axis.
A loss above the floor is no proof of honesty, but a gradient in a later pixel is proof of the contrary, at any loss.

```{dropdown} A one-minute question: your model reaches 44 nats on binarised MNIST test images. Do you publish?
First look for the leak: the flips alone cost 45.5 nats on average, and no model can predict them.
```

## PixelCNN: the same question everywhere

MADE has weights of its own for every place, although a stroke looks the same everywhere.
**PixelCNN {cite:p}`oord2016pixel` asks the same question at each pixel: a convolution whose kernel is cut off at the centre.**
Of a kernel with offsets $(u, v)$, rows down and columns to the right, keep

$$
\begin{aligned}
\text{type A, first layer:}&\quad u < 0, \ \text{ or } u = 0 \text{ and } v < 0, \\
\text{type B, all others:}&\quad u < 0, \ \text{ or } u = 0 \text{ and } v \leq 0 .
\end{aligned}
$$ (eq-ar-kernel)

```{figure} ../figures/ar_pixelcnn.svg
:name: fig-ar-pixelcnn
:alt: Two kernels of three by three. Type A: ones in the upper row and at the left of the centre, zeros elsewhere. Type B: the same with a one in the centre. On the right what five layers see of the pixels above: all on the left, and on the right a staircase that goes up at forty-five degrees; a grey wedge under it is the blind spot.
:width: 640px

The masks of a PixelCNN, and what a stack of five layers of 3 x 3 sees.
```
"""


# %% tags=["twin:dgm.models.autoregressive.MaskedConv2d", "method"]
class MaskedConv2d(nn.Conv2d):
    def __init__(self, in_channels, out_channels, size, *, centre):
        super().__init__(in_channels, out_channels, size, padding=size // 2)
        mask = torch.zeros(size, size)
        mask[: size // 2] = 1
        mask[size // 2, : size // 2 + centre] = 1
        self.register_buffer("mask", mask)

    def forward(self, x):
        weight = self.mask * self.weight
        return functional.conv2d(x, weight, self.bias, padding=self.padding)


# %% tags=["twin:dgm.models.autoregressive.PixelCNN", "method"]
class PixelCNN(nn.Module):
    def __init__(self, channels, num_layers):
        super().__init__()
        self.first = MaskedConv2d(1, channels, 7, centre=False)
        self.hidden = nn.ModuleList(
            MaskedConv2d(channels, channels, 3, centre=True) for _ in range(num_layers)
        )
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        side = math.isqrt(x.shape[-1])
        h = self.first(x.reshape(-1, 1, side, side))
        for layer in self.hidden:
            h = h + layer(torch.relu(h))
        return self.last(torch.relu(h)).reshape(x.shape)


# %% [markdown]
r"""
The shortcuts $h + \dots$ start after the first layer: one around it would hand each pixel to itself.

But look at the drawing again.
A layer steps to the right only by going up, one column for one row, so what lies further to the right than it lies above never arrives: a *blind spot*.
With equal weights, the gradient of one logit counts the paths from each pixel, and shows it.
"""


# %%
def paths_to_centre(depth):
    """Gradient of the centre of a stack with equal weights: it counts paths."""
    x = torch.zeros(1, 1, 2 * depth + 1, 2 * depth + 1, dtype=torch.float64)
    h = x.requires_grad_()
    for layer in range(depth):
        convolution = MaskedConv2d(1, 1, 3, centre=layer > 0).double()
        nn.init.ones_(convolution.weight)
        h = convolution(h)
    (gradient,) = torch.autograd.grad(h[0, 0, depth, depth], x)
    return gradient[0, 0]


depths = (2, 5, 14)
fields = {depth: paths_to_centre(depth) for depth in depths}


def blind(field):
    """Unseen pixels among those that come before the centre, and how many those are."""
    before = field.flatten()[: field.numel() // 2]
    return (before == 0).sum().item(), len(before)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "What the centre pixel (orange) depends on after 2, 5 and 14 layers of 3 x 3, by gradients: blue is seen, grey is earlier and not seen.", "name": "fig-ar-blind"}, "image": {"alt": "Three squares. In each the upper half is blue but for a grey triangle at the right above the centre row; the lower half is white. The share of grey grows from one twelfth to more than a fifth."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
for ax, (depth, field) in zip(axes, fields.items(), strict=True):
    picture = torch.ones(*field.shape, 3)
    earlier = torch.arange(field.numel()).reshape(field.shape) < field.numel() // 2
    picture[earlier & (field == 0)] = torch.tensor([0.60, 0.62, 0.64])
    picture[field > 0] = torch.tensor([0.0, 0.45, 0.70])
    picture[depth, depth] = torch.tensor([0.84, 0.37, 0.0])
    ax.imshow(picture)
    unseen, total = blind(field)
    ax.set(xticks=[], yticks=[], xlabel=f"{depth} layers: {unseen} of {total} unseen")
    ax.spines[:].set_visible(True)
    ax.grid(visible=False)

# %% tags=["check"]
for depth, field in fields.items():
    up = depth - torch.arange(2 * depth + 1)[:, None]
    right = torch.arange(2 * depth + 1) - depth
    expected = ((up > 0) & (right <= up)) | ((up == 0) & (right < 0))
    checks.true(
        f"{depth} layers: seen is what is up, at most as far to the right",
        bool(((field > 0) == expected).all()),
    )
    checks.close(
        f"{depth} layers: pixels in the blind spot",
        blind(field)[0],
        depth * (depth - 1) / 2,
    )
checks.close(
    "14 layers: share of the past that is not seen",
    blind(fields[14])[0] / blind(fields[14])[1],
    91 / 420,
)
# %% tags=["check"]
pixelcnn_9 = PixelCNN(8, 2).double()
nine = all_states(9)
future, past = by_order(dependence(pixelcnn_9, nine[::17]), torch.arange(9))
futures["PixelCNN"] = future.max().item()
sums["PixelCNN"] = abs(log_prob(pixelcnn_9, nine).exp().sum().item() - 1)
checks.at_most("PixelCNN on 3 x 3: gradient in later pixels", futures["PixelCNN"], 0)
checks.at_least(
    "PixelCNN on 3 x 3: smallest gradient in an earlier pixel", past.min(), 1e-9
)
checks.at_most("PixelCNN: |sum over 512 images of 3 x 3 - 1|", sums["PixelCNN"], 1e-10)
peeking = nn.Sequential(MaskedConv2d(1, 1, 3, centre=False), nn.ReLU()).double()
jacobian = torch.autograd.functional.jacobian(
    lambda x: x + peeking(x.reshape(1, 1, 3, 3)).reshape(9), nine[7]
)
checks.close(
    "a shortcut around the first layer: each pixel sees itself",
    jacobian.diagonal(),
    torch.ones(9),
)
# %% tags=["hide-input"]
# The two errors that must vanish, recorded
normalisation_error = run.record(
    "normalisation_max_error",
    max(sums.values()),
    unit="1",
    protocol="largest |sum of p - 1| over all images, random weights, float64: FVSBN, "
    "NADE, MADE with random order (2^10), PixelCNN (2^9 of 3 x 3)",
)
future_gradient = run.record(
    "future_gradient_max",
    max(futures.values()),
    unit="1",
    protocol="largest |d logit_i / d x_j| with j not before i in the order, random "
    "weights, float64: FVSBN, NADE, MADE with random order and two hidden layers, "
    "PixelCNN on 3 x 3",
)

# %% tags=["check"]
checks.at_most("largest |sum of p - 1| of the four models", normalisation_error, 1e-10)
checks.at_most("largest gradient in a later pixel, of the four", future_gradient, 0)

# %% [markdown]
r"""
Of the 420 earlier pixels in reach of 14 layers, 91 are unseen; with more layers the share goes to a quarter ({ref}`ex-ar-blind`).
The model is still a density, and exact; it only decides with less knowledge than it could.
The 7 x 7 kernel of our first layer moves the edge of the wedge by two columns, and does not close it.
The *gated PixelCNN* {cite:p}`oord2016gated` closes the gap with two stacks, one for the rows above and one for the row itself ({ref}`ex-ar-stacks`).
"""

# %%
pixelcnn = PixelCNN(P.pixelcnn_channels, P.pixelcnn_layers).to(run.device)
fit(
    "PixelCNN",
    pixelcnn,
    x_grey[: P.pixelcnn_images],
    P.pixelcnn_epochs,
    P.pixelcnn_rate,
    batch_size=P.pixelcnn_batch,
)
pixelcnn_nll = measure(pixelcnn, x_test)

# %% tags=["hide-input"]
# The recorded number, beside the published one
pixelcnn_test_nll = run.record(
    "pixelcnn_test_nll",
    pixelcnn_nll.mean(),
    unit="nats",
    standard_error=standard_error(pixelcnn_nll),
    protocol=f"{P.pixelcnn_channels} channels, 7 x 7 and {P.pixelcnn_layers} layers of "
    f"3 x 3, Adam {P.pixelcnn_rate:g} to 0, {P.pixelcnn_epochs} epochs, batch "
    f"{P.pixelcnn_batch}, dynamic stochastic binarisation, first "
    f"{P.pixelcnn_images:,} training images, {len(x_test):,} test images",
    published=81.45,
    source="pytorch-generative, PixelCNN, dynamic binarisation",
)
# %% tags=["hide-input"]
# All models in one table
weights = [784 * 785 // 2]
for model in (made_784, pixelcnn):
    masks = {m: m.mask for m in model.modules() if hasattr(m, "mask")}
    masked = sum(
        int((1 - mask).sum()) * m.weight.numel() // mask.numel()
        for m, mask in masks.items()
    )
    weights.append(sum(p.numel() for p in model.parameters()) - masked)
rows = [("independent pixels", 784, independent.mean(), "")]
for name, number, nll, published in (
    ("FVSBN, static", weights[0], fvsbn_nll, ""),
    ("MADE, dynamic", weights[1], made_nll, "84.87 (8,000 hidden)"),
    ("PixelCNN, dynamic", weights[2], pixelcnn_nll, "81.45"),
):
    rows.append((name, number, nll.mean(), published))
plotting.table(
    [
        (name, number, f"{nll:.1f}", f"{nll / math.log(2) / 8:.1f}", published)
        for name, number, nll, published in rows
    ],
    columns=(
        "",
        "free parameters",
        "test NLL, nats",
        "bytes an image",
        "published, nats",
    ),
)

# %% tags=["check"]
for name, model, number in zip(
    ("MADE", "PixelCNN"), (made_784, pixelcnn), weights[1:], strict=True
):
    layers = [m for m in model.modules() if hasattr(m, "mask")]
    kept = sum(int(m.mask.expand_as(m.weight).sum()) for m in layers)
    unmasked = set(model.parameters()) - {m.weight for m in layers}
    kept += sum(p.numel() for p in unmasked)
    checks.close(f"{name}: weights that are kept, and biases", number, kept)
images = x_test[:100].clone().requires_grad_()
pixelcnn(images)[:, 20 * 28 + 14].sum().backward()
seen = images.grad.abs().amax(0).reshape(28, 28).nonzero().cpu()
up, right = 20 - seen[:, 0], seen[:, 1] - 14
checks.close("PixelCNN: rows up that a pixel sees", up.max(), 3 + P.pixelcnn_layers)
checks.close("and columns to the right, over rows up", (right - up)[up > 0].max(), 2)
if run.on_mnist and run.profile == "quick":
    checks.at_most(
        "guard: PixelCNN after one epoch of 16,000 images", pixelcnn_test_nll, 100
    )
if run.on_mnist and run.profile == "full":
    checks.at_most("MADE with 8,000 hidden units: test NLL", made_test_nll, 85.5)
    checks.at_most("PixelCNN: test NLL", pixelcnn_test_nll, 82.5)
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "nats by which MADE is better than FVSBN", fvsbn_test_nll - made_test_nll, 5
    )
    checks.at_most(
        "weights of PixelCNN, over those of MADE", weights[2] / weights[1], 0.1
    )

# %% [markdown]
r"""
In this build, and on 5 seeds, MADE is better than FVSBN by more than five nats, which need not be due to its hidden units: the two differ in their binarisation, too.
PixelCNN has less than a tenth of MADE's weights, and in `quick` it is trained on fewer images.
The published values are those of long trainings {cite:p}`hotaj2020`.

## Drawing, with and without a cache

**The density of an image takes one pass of the network; drawing an image takes $n$ passes, one after the other.**
No parallel machine helps within one image: pixel $i$ waits for pixel $i - 1$.
"""


# %% tags=["twin:dgm.models.autoregressive.sample", "method"]
@torch.no_grad()
def sample(model, x, order, uniform):
    for i in order.tolist():
        logits = model(x)[:, i]
        x[:, i] = (uniform[:, i] < torch.sigmoid(logits)).to(x.dtype)
        yield x


# %% [markdown]
r"""
But most of a pass is a repetition of the one before.
NADE's recursion {eq}`eq-ar-nade` is the cure: keep the input $a$ of the hidden units, and let each new pixel add its column of weights.
For MADE with one hidden layer that is a *cache*, and an image costs about as much as one pass.
"""


# %% tags=["twin:dgm.models.autoregressive.sample_cached", "method"]
@torch.no_grad()
def sample_cached(made, uniform):
    first, last = made.layers
    W, V, D = (layer.mask * layer.weight for layer in (first, last, made.direct))
    x, a = torch.zeros_like(uniform), first.bias.expand(len(uniform), -1)
    for i in made.order.tolist():
        logits = last.bias[i] + torch.relu(a) @ V[i] + made.direct.bias[i] + x @ D[i]
        x[:, i] = (uniform[:, i] < torch.sigmoid(logits)).to(x.dtype)
        a = a + x[:, i, None] * W[:, i]
    return x


# %% tags=["hide-input"]
# Seconds for the density of 16 images, and for drawing 16 with and without a cache
uniform = torch.rand(16, 784, device=run.device)
order_784 = torch.arange(784)


def seconds(work):
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


_, dense = seconds(lambda: measure(made_784, uniform.round()))
(*_, slow), naive = seconds(
    lambda: list(sample(made_784, torch.zeros_like(uniform), order_784, uniform))
)
fast, cached = seconds(lambda: sample_cached(made_784, uniform))
plotting.table(
    {
        "density, one pass": (1, f"{dense:.3f}"),
        "drawing, a pass a pixel": (784, f"{naive:.2f}"),
        "drawing, with a cache": ("about 1", f"{cached:.2f}"),
    },
    columns=("16 images, MADE", "passes", "seconds"),
)

# %% tags=["check"]
made_6 = random_made(torch.randperm(6), [12])
six_states = all_states(6)
u = torch.rand(100_000, 6, dtype=torch.float64)
*_, drawn = sample(made_6, torch.zeros_like(u), made_6.order, u)
checks.close(
    "with equal random numbers: cache = pass a pixel", sample_cached(made_6, u), drawn
)


def counts(images):
    """How often each of the 64 states was drawn."""
    return torch.bincount(
        (images @ 2.0 ** torch.arange(6, dtype=torch.float64)).long(), minlength=64
    )


def deviations(observed, probs):
    """In standard errors, where 25 are expected, and 25 others."""
    total = observed.sum()
    often = (probs * total > 25) & ((1 - probs) * total > 25)
    return (
        ((observed - probs * total) / (total * probs * (1 - probs)).sqrt())[often]
        .abs()
        .max()
    )


probs = log_prob(made_6, six_states).detach().exp()
checks.at_most(
    "what is drawn has the density p: 64 states, in standard errors",
    deviations(counts(drawn), probs),
    5,
)
if run.profile != "smoke":
    checks.at_least("guard: the cache saves a factor of", naive / cached, 3)

# %% tags=["hide-input"]
# Sixteen digits of the PixelCNN, a pass for each pixel
pixelcnn_uniform = torch.rand(16, 784, device=run.device)
start = torch.zeros_like(pixelcnn_uniform)
*_, pixelcnn_samples = sample(pixelcnn, start, order_784, pixelcnn_uniform)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Sixteen samples of each model, not chosen.", "name": "fig-ar-samples"}, "image": {"alt": "Two grids of sixteen black and white pictures. Above, by MADE, rough digits, about half of them readable. Below, by PixelCNN, cleaner strokes that seldom make a digit."}}
fig, axes = plt.subplots(2, 1, figsize=(7.0, 4.0))
for ax, name, images in zip(
    axes, ("MADE", "PixelCNN"), (fast, pixelcnn_samples), strict=True
):
    plotting.image_grid(images.cpu(), columns=8, ax=ax)
    ax.set_title(name, fontsize=10)

# %% [markdown]
r"""
Which strokes are smoother, and which digits hold together?
MADE has weights of its own for every place.
In `quick` the PixelCNN has seen fewer images; above a pixel it sees three rows for the first layer and one for each other, and it does not know where in the image it is, except near the border.

Once more the digits of MADE, row by row, with their price:
"""


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Eight digits drawn by MADE, and the bits that each pixel cost; below, the mean number of bits a digit. The first frame is the last row, then it starts from the top.", "name": "fig-ar-film"}}
def drawing(images, cost, row):
    """Left the digits so far, right the bits so far."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 1.8))
    so_far = (torch.arange(784) < 28 * row).float()
    plotting.image_grid(images * so_far, columns=4, ax=left)
    maps = (cost * so_far).reshape(-1, 28, 28)
    colours = plt.get_cmap("Oranges").with_extremes(under="0.85")
    sheet = plotting.tile(maps, columns=4, background=-1)  # grey between the maps
    right.imshow(sheet, cmap=colours, vmin=0, vmax=4)
    right.set_axis_off()
    return fig


eight_digits, costs = fast[:8].cpu(), bits(made_784, fast[:8]).cpu()
shown = [28, *range(4, 26)]  # a film opens on its first frame: the finished digits
spent = [costs[:, : 28 * row].sum(1).mean() for row in shown]
labels = [
    f"row {row}: {bits_so_far:.0f} bits"
    for row, bits_so_far in zip(shown, spent, strict=True)
]
plotting.film(
    (drawing(eight_digits, costs, row) for row in shown),
    labels=labels,
    width=680,
    alt="On the left eight digits that appear from the top to the bottom, row by row. "
    "On the right maps of bits, orange on white, that appear with them: dark where a "
    "stroke begins on a row and at its ends.",
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: why does the same trick save less for PixelCNN?
A new pixel changes the hidden units in the whole area that sees it, which grows from layer to layer.
One can cache row by row and keep what does not change, but each pixel still costs a pass over that neighbourhood.
```

## Other orders, and missing pixels

**Every order gives a valid model, and a different one.**
The exact conditionals of one $p$ multiply to $p$ in every order; those of a limited classifier do not.
Here is FVSBN again, trained in the same way, from the bottom to the top and in a random order: on 5 seeds each differs from raster order by less than two nats, and by many standard errors.
Models in $R$ orders can be averaged,

$$
\bar p(x) = \frac{1}{R} \sum_{r=1}^{R} p_r(x),
$$ (eq-ar-ensemble)

the probabilities of *whole images*, which is a density again, and here better than each of the three.
"""

# %%
shuffled = torch.randperm(784, device=run.device)
orders = {
    "backwards": torch.arange(784).flip(0).to(run.device),
    "random order": shuffled,
}
models, nlls = {}, {"raster order": fvsbn_nll}
for name, other in orders.items():
    models[name] = FVSBN(pixel_mean[other]).to(run.device)
    fit(name, models[name], x_train[:, other], P.fvsbn_epochs, rate=1.5e-2)
    nlls[name] = measure(models[name], x_test[:, other])
together = torch.stack(list(nlls.values()))
nlls["average of the three"] = math.log(3) - torch.logsumexp(-together, 0)

# %% tags=["hide-input"]
# The table of orders
plotting.table(
    {
        name: (
            f"{nll.mean():.1f}",
            f"{(nll - fvsbn_nll).mean():+.1f}",
            f"{standard_error(nll - fvsbn_nll):.2f}",
        )
        for name, nll in nlls.items()
    },
    columns=("FVSBN, test images", "nats", "against raster order", "standard error"),
)

# %% tags=["check"]
trio = [random_made(torch.randperm(8), [16]) for _ in range(3)]
eight = all_states(8)
log_ps = torch.stack([log_prob(model, eight) for model in trio])
average = torch.logsumexp(log_ps, 0) - math.log(3)
checks.normalised("average of probabilities over three orders: sum over 256", average)
pair = FVSBN(torch.full((2,), 0.5, dtype=torch.float64)).requires_grad_(False)
pair.W[1, 0] = 2 * math.log(9)  # two pixels that agree with probability 0.9
both, two = all_states(2), (lambda x: (pair(x) + pair(x.flip(-1)).flip(-1)) / 2)
agree = log_prob(pair, both).exp()[[0, 3]].sum()
checks.close("two pixels agree with probability", agree, 0.9, atol=1e-14)
of_logits = log_prob(two, both).exp().sum()
checks.close(
    "average of the logits of both orders: sum over 4", of_logits, 1.25, atol=1e-14
)
checks.at_most(
    "average of p, never below the mean of log p",
    (log_ps.mean(0) - average).max(),
    1e-12,
)
first, *others = dgm.float64(together)
exact = first - ((1 + sum((first - nll).exp() for nll in others)) / 3).log()
found = dgm.float64(nlls["average of the three"])
checks.close("average over orders: minus log of the mean of p", found, exact, rtol=1e-5)
for name in orders:
    gain = independent.mean() - nlls[name].mean()
    checks.at_least(f"{name}: nats that it gains on independent pixels", gain, 10)
if run.on_mnist and run.profile != "smoke":
    for name in orders:
        lost = nlls[name] - fvsbn_nll
        error = standard_error(lost)
        unlike = abs(lost.mean().item()) / error
        checks.at_least(f"guard: {name} differs, standard errors", unlike, 5)
        checks.at_most(f"guard: {name} differs, nats", unlike * error, 2)
    best = min(nll.mean().item() for name, nll in nlls.items() if "average" not in name)
    checks.at_most(
        "the average is better than the best order, nats",
        nlls["average of the three"].mean() - best,
        0,
    )

# %% [markdown]
r"""
```{margin}
**A common mistake:** to average the *logits* of different orders, pixel by pixel.
Each pixel then sees others that see it.
For two pixels that agree with probability 0.9, the "probabilities" sum to 1.25.
```

**Missing pixels can be drawn from the exact conditional, if in the order they come after all that is known.**
Then $p(x_\text{missing} \mid x_\text{known})$ is the product of the last factors of {eq}`eq-ar-chain`: start `sample` there.
If the known pixels come last, the same program runs and ignores them.
The true conditional would need a sum over all completions, here $2^{392}$.
The remedy is a model in another order.
"""

# %%
uniform = torch.rand(8, 784, device=run.device)
truth, half = x_test[:8], order_784[392:]
rows = {"test images": truth}
*_, rows["upper half given"] = sample(made_784, truth.clone(), half, uniform)
*_, blind_to_it = sample(made_784, truth.clone(), order_784[:392], uniform)
rows["lower half given, raster order"] = blind_to_it
*_, upwards = sample(models["backwards"], truth.flip(1), half, uniform)
rows["lower half given, backwards"] = upwards.flip(1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From top to bottom: test images; lower halves drawn by MADE, given the upper; upper halves drawn by the same MADE, which does not see the lower; upper halves drawn by FVSBN in backward order, given the lower.", "name": "fig-ar-inpaint"}, "image": {"alt": "Four rows of eight pictures. In the second row the lower halves continue the strokes of the upper halves. In the third row upper halves and lower halves do not fit: strokes end at the middle line. In the fourth row they meet again, with rougher strokes above."}}
fig, ax = plt.subplots(figsize=(7.0, 3.5))
_ = plotting.image_grid(torch.cat(list(rows.values())).cpu(), columns=8, ax=ax)

# %% tags=["check"]
checks.close("half of the pixels is drawn", len(half), 784 / 2)
for name, kept in (
    ("upper half given", order_784[:392]),
    ("lower half given, backwards", half),
):
    checks.close(f"{name}: it stays", rows[name][:, kept], truth[:, kept])
    changed = (rows[name] != truth).any(1).float().mean()
    checks.at_least(f"{name}: the other half is drawn, share of images", changed, 0.5)
six_order, known = made_6.order, made_6.order[:3]
start = six_states[[37]].repeat(100_000, 1)
u = torch.rand(100_000, 6, dtype=torch.float64)
*_, found = sample(made_6, start.clone(), six_order[3:], u)
fits = (six_states[:, known] == six_states[37, known]).all(1)
checks.at_most(
    "along the order: frequencies by Bayes' rule, in standard errors",
    deviations(counts(found), probs * fits / (probs @ fits.double())),
    5,
)
start = torch.tensor([[0.0, 1.0]], dtype=torch.float64).repeat(100_000, 1)
*_, found = sample(pair, start, torch.tensor([0]), u)
first = found[:, 0]
checks.unbiased("against the order: drawn as if nothing were given", first, 0.5)
second = log_prob(pair, both).exp()[2:]  # of (0, 1) and (1, 1)
checks.close("in truth, by Bayes' rule", second[1] / second.sum(), 0.9, atol=1e-14)

# %% [markdown]
r"""
```{admonition} In one card
:class: dgm-card

**Remember**

- $\log p(x) = \sum_i \log p(x_i \mid x_{<i})$, exact and normalised for any classifiers {eq}`eq-ar-log-prob`
- the masks {eq}`eq-ar-masks`: degrees never fall along a path, and the last step is strict
- on fresh draws no honest loss lies below the entropy of the source {eq}`eq-ar-gibbs`

**What it can do**

- **Likelihood:** exact, one pass.
- **Sampling:** one pixel after the other; a cache saves the repetitions, not the waiting.
- **Latent code:** none; hidden units are features.
- **What fails:** whatever is asked against the order; a wrong mask, silently, with an excellent loss; the blind spot of masked convolutions.
```
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} How large is the blind spot? (easy)
:label: ex-ar-blind
```
Of a stack of $L$ masked 3 x 3 layers, take all earlier pixels at most $L$ rows up and at most $L$ columns to the left or right.
Write `blind_share(depth)`, the share of them that the stack can't see, as a formula.
What does it tend to, and why?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def blind_share(depth):
    return None


# %% tags=["check"]
def check_blind(answer):
    if answer(5) is None:
        return print("not yet")
    for depth in (1, 2, 5, 14):
        unseen, total = blind(paths_to_centre(depth))
        name = f"{depth} layers: share of the past that is not seen, by gradients"
        checks.close(name, answer(depth), unseen / total, atol=1e-12)
    checks.close("a million layers", answer(10**6), 0.25, atol=1e-5)
    return print("right")


check_blind(blind_share)

# %% [markdown]
r"""
````{solution-start} ex-ar-blind
:class: dropdown
````
"""


# %% tags=["solution"]
def blind_share(depth):
    return (depth - 1) / (4 * (depth + 1))


check_blind(blind_share)

# %% [markdown]
r"""
$k$ rows up, the $L - k$ pixels furthest to the right are unseen: $L(L-1)/2$ in all, of $L(2L+1) + L = 2L(L+1)$.
In the limit it is the wedge between the diagonal and the row itself, 45 degrees of the 180 above: a quarter.
````{solution-end}
````

```{exercise-start} Colder digits (easy)
:label: ex-ar-temperature
```
Language models are often sampled at a *temperature* $T$: each logit is divided by $T$.
Write `tempered(model, T)`, a model (a function from `x` to logits) that does this.
Is what it draws the distribution of physics at this temperature, $p(x)^{1/T} / Z$?
The check tells, on a small MADE; the reward is a picture of digits at $T = 1$ and $T = 0.6$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def tempered(model, T):
    return None


# %% tags=["check"]
def show_tempered(answer):
    _, axes = plt.subplots(1, 2, figsize=(7.4, 1.2))
    for ax, T in zip(axes, (1.0, 0.6), strict=True):
        start = torch.zeros(8, 784, device=run.device)
        *_, x = sample(answer(made_784, T), start, order_784, uniform)
        plotting.image_grid(x.cpu(), columns=8, ax=ax)
        ax.set_title(f"T = {T:g}", fontsize=10)


def check_tempered(answer):
    if answer(made, 2.0) is None:
        return print("not yet")
    cold = log_prob(answer(made, 0.5), states).detach()
    checks.close(
        "T = 0.5: logits are doubled", answer(made, 0.5)(states), 2 * made(states)
    )
    checks.normalised("product of tempered conditionals", cold)
    boltzmann = torch.log_softmax(2 * log_prob(made, states).detach(), 0)
    kl = (cold.exp() * (cold - boltzmann)).sum()
    checks.at_least("which is not p^2 / Z: KL divergence, in nats", kl, 1e-4)
    show_tempered(answer)
    return print("right")


check_tempered(tempered)

# %% [markdown]
r"""
````{solution-start} ex-ar-temperature
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Two rows of eight digits. At temperature 1 rough digits with gaps and loose dots, at 0.6 fewer dots and less ink; some images are nearly empty."}}
def tempered(model, T):
    return lambda x: model(x) / T


check_tempered(tempered)

# %% [markdown]
r"""
It is another distribution.
$p^{1/T} / Z$ weighs a first pixel by all that may follow it; dividing the logits tempers each choice alone, as if nothing came after.
Look at the colder digits: at the start of an image paper is the likely answer for every pixel, and some never begin.
````{solution-end}
````

```{exercise-start} Which magnets does FVSBN draw exactly? (medium)
:label: ex-ar-magnets
```
In the Ising model $p \propto \exp(K \sum s_i s_j)$ over neighbours, the conditional of one spin given *all* others has a linear logit.
But a spin that is drawn in turn knows only those before it.
Write `misfit(log_p)`: `log_p` holds $\log p$ of all rows of `all_states(n)`; take the exact logits of $p(x_i = 1 \mid x_{<i})$ for every past, fit them by least squares with a constant and the pixels before, and return the largest error of all.
The check tries it on a chain, the ring, and a torus of 3 x 3.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def misfit(log_p):
    return None


# %% tags=["check"]
def magnet(num_spins, bonds, K=0.4407):
    s = 2 * all_states(num_spins) - 1
    return torch.log_softmax(K * sum(s[:, i] * s[:, j] for i, j in bonds), 0)


def check_misfit(answer):
    if answer(ring.log()) is None:
        return print("not yet")
    s = 2 * all_states(3) - 1
    triple = torch.log_softmax(0.3 * s.prod(1), 0)  # logit of the third: 0.6 s_1 s_2
    checks.close("three spins that multiply", answer(triple), 0.6, atol=1e-10)
    linear = log_prob(fvsbn_10, states).detach()
    checks.at_most("an FVSBN itself", answer(linear), 1e-9)
    chain = magnet(9, [(i, i + 1) for i in range(8)])
    checks.at_most("open chain of 9", answer(chain), 1e-10)
    checks.at_most("ring of 10", answer(ring.log()), 1e-10)
    places = [(3 * r + c, 3 * r + (c + 1) % 3) for r in range(3) for c in range(3)]
    places += [(3 * r + c, 3 * ((r + 1) % 3) + c) for r in range(3) for c in range(3)]
    torus = answer(magnet(9, places))
    print(f"torus of 3 x 3 at the critical coupling: {torus:.3f}")
    checks.at_least("torus of 3 x 3: FVSBN is not exact", torus, 0.01)
    return print("right")


check_misfit(misfit)

# %% [markdown]
r"""
````{solution-start} ex-ar-magnets
:class: dropdown
````
"""


# %% tags=["solution"]
def misfit(log_p):
    worst = 0.0
    for i in range(round(math.log2(len(log_p)))):
        joint = log_p.exp().reshape(-1, 2, 2**i).sum(0)  # p(x_i, x_<i)
        logits = joint[1].log() - joint[0].log()
        past = torch.cat([torch.ones(2**i, 1, dtype=log_p.dtype), all_states(i)], 1)
        fitted = past @ torch.linalg.lstsq(past, logits[:, None]).solution
        worst = max(worst, (logits - fitted[:, 0]).abs().max().item())
    return worst


check_misfit(misfit)

# %% [markdown]
r"""
Flipping all spins changes no probability, so each logit is an odd function of the spins before.
On the chain it depends on one of them, on the ring on two, the last one and the first; an odd function of two spins is linear.
On the torus three and more spins matter, and the product of three is odd, too.
Networks that draw magnets spin by spin are an active field {cite:p}`wu2019`.
````{solution-end}
````

```{exercise-start} Two stacks without a blind spot (hard)
:label: ex-ar-stacks
```
Write a class `TwoStacks(depth)`, a network from images of shape (number, side * side) to logits of that shape.
One stack of convolutions runs over whole rows, and its results are used one row further down; the other runs along the row and sees the pixels on the left.
The logit in the centre of an image of $2L + 1$ by $2L + 1$ pixels must depend on *every* earlier pixel, and on no other.
```{exercise-end}
```
"""


# %% tags=["exercise"]
class TwoStacks(nn.Module):
    def __init__(self, depth):
        super().__init__()

    def forward(self, x):
        return None


# %% tags=["check"]
def check_stacks(answer):
    if answer(3)(torch.zeros(1, 49)) is None:
        return print("not yet")
    images = torch.bernoulli(torch.full((20, 49), 0.5, dtype=torch.float64))
    matrix = dependence(answer(3).double(), images)
    checks.at_most("no gradient in later pixels", matrix.triu().max(), 0)
    checks.at_least(
        "the centre sees all 24 earlier pixels", matrix[24, :24].min(), 1e-12
    )
    log_p = log_prob(answer(2).double(), nine)
    checks.normalised("sum over 512 images of 3 x 3", log_p, atol=1e-10)
    return print("right")


check_stacks(TwoStacks)

# %% [markdown]
r"""
````{solution-start} ex-ar-stacks
:class: dropdown
````
"""


# %% tags=["solution"]
class TwoStacks(nn.Module):
    def __init__(self, depth, channels=8):
        super().__init__()
        sizes = list(pairwise([1, *[channels] * depth]))
        self.rows = nn.ModuleList(nn.Conv2d(a, b, (2, 3)) for a, b in sizes)
        self.left = nn.ModuleList(nn.Conv2d(a, b, (1, 2)) for a, b in sizes)
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        side = math.isqrt(x.shape[-1])
        above = left = x.reshape(-1, 1, side, side)
        left = functional.pad(left, (1, -1))  # without the pixel itself
        for over_rows, along in zip(self.rows, self.left, strict=True):
            above = torch.tanh(over_rows(functional.pad(above, (1, 1, 1, 0))))
            one_down = functional.pad(above, (0, 0, 1, -1))
            left = torch.tanh(along(functional.pad(left, (1, 0))) + one_down)
        return self.last(left).reshape(x.shape)


check_stacks(TwoStacks)

# %% [markdown]
r"""
`above` at a pixel knows its own row up to the right, which includes the future; moved one row down it is the past alone.
The convolution along the row starts from an image that is moved by one pixel, and its kernel ends at its own place.
This is the skeleton of the gated PixelCNN {cite:p}`oord2016gated`.
````{solution-end}
````

## Further

### Real numbers: RNADE

This unit shows that nothing but the last layer is tied to black and white.
For real $x_i$ the network gives the parameters of a density; RNADE {cite:p}`uria2013` takes a mixture of Gaussians, with weights, means and standard deviations that depend on $x_{<i}$.
**The weights must depend on the past as much as the means do.**
For a mixture of two Gaussians in the plane, everything about $p(x_2 \mid x_1)$ is known:
"""

# %%
weights_2 = torch.tensor([0.3, 0.7], dtype=torch.float64)
means_2 = torch.tensor([[-1.5, 1.0], [1.0, -0.5]], dtype=torch.float64)
covs = torch.tensor([[[1.0, 0.6], [0.6, 0.8]], [[0.5, -0.2], [-0.2, 0.4]]]).double()


def mixture_parameters(x_1):
    """Weights, means, standard deviations of p(x_2 | x_1), shape (number, 2)."""
    var, cov = covs[:, 0, 0], covs[:, 0, 1]
    first = torch.distributions.Normal(means_2[:, 0], var.sqrt())
    weights = torch.softmax(weights_2.log() + first.log_prob(x_1[:, None]), 1)
    means = means_2[:, 1] + cov / var * (x_1[:, None] - means_2[:, 0])
    return weights, means, (covs[:, 1, 1] - cov**2 / var).sqrt().expand_as(means)


# %% tags=["check"]
D = torch.distributions
joint = D.MixtureSameFamily(
    D.Categorical(weights_2), D.MultivariateNormal(means_2, covs)
)
points = joint.sample((500,))
w, m, s = mixture_parameters(points[:, 0])
checks.close("the weights sum to 1", w.sum(1), torch.ones(500), atol=1e-14)
first = D.MixtureSameFamily(
    D.Categorical(weights_2), D.Normal(means_2[:, 0], covs[:, 0, 0].sqrt())
)
second = D.MixtureSameFamily(D.Categorical(w), D.Normal(m, s))
checks.close(
    "chain rule with mixtures: log p(x_1) + log p(x_2 | x_1) = log p(x_1, x_2)",
    first.log_prob(points[:, 0]) + second.log_prob(points[:, 1]),
    joint.log_prob(points),
    atol=1e-11,
)
w_left, w_right = mixture_parameters(torch.tensor([-2.0, 2.0], dtype=torch.float64))[0]
checks.at_least(
    "weights at x_1 = -2 and 2 differ by", (w_left - w_right).abs().max(), 0.5
)
equal = D.MixtureSameFamily(D.Categorical(torch.full_like(w, 0.5)), D.Normal(m, s))
lost = second.log_prob(points[:, 1]) - equal.log_prob(points[:, 1])
checks.at_least(
    "equal weights lose, in standard errors", lost.mean() / standard_error(lost), 5
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** a *uniform* mixture; and an exponential *distribution* where a standard deviation must be positive.
What one needs is an exponential *function*, or `softplus`, as the last step of the network.
```

A network has to learn such parameters; to keep the standard deviations positive, its last step is an exponential or `softplus`.

### Features without a latent code

This unit is about the claim that autoregressive models can't learn features.
They have no latent variable, but they have hidden units.
We take those of MADE for whole images and predict the label from them by linear least squares, beside the hidden units of an untrained MADE, and the pixels.
"""


# %%
@torch.no_grad()
def accuracy(features, number=10_000):
    """Share of right labels on test images, by ridge regression on features."""
    labels = [
        torch.from_numpy(y.astype("int64"))
        for y in (run.data.labels, run.data.test_labels)
    ]
    train, test = (
        functional.pad(features(x).cpu().double(), (0, 1), value=1.0)
        for x in (x_train[:number], x_test)
    )
    targets = functional.one_hot(labels[0][: len(train)], 10).double()
    ridge = 10 * torch.eye(train.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(train.T @ train + ridge, train.T @ targets)
    return (
        ((test @ solution).argmax(1) == labels[1][: len(test)]).double().mean().item()
    )


untrained = MADE(torch.arange(784), [P.made_hidden]).to(run.device)
accuracies = {
    "pixels": accuracy(lambda x: x),
    "hidden units of an untrained MADE": accuracy(
        lambda x: torch.relu(untrained.layers[0](x))
    ),
    "hidden units of the trained MADE": accuracy(
        lambda x: torch.relu(made_784.layers[0](x))
    ),
}
plotting.table(accuracies, columns=("linear classifier on", "accuracy"), digits=3)

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    *_, before, after = accuracies.values()
    checks.at_least("guard: accuracy that training adds", after - before, 0.005)

# %% [markdown]
r"""
The labels were never used in training.
The hidden units of language models are used in the same way.

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $x \in \{0, 1\}^n$, $x_{<i}$ | `x` | image as a vector of $n$ pixels; the pixels before pixel $i$ in the order |
| $\ell_i(x_{<i})$ | `logits` | logit of $p(x_i = 1 \mid x_{<i})$ |
| $W_{ij}$, $b_i$, $\bar x_j$ | `W`, `b`, `mean` | weights and biases of FVSBN, means of the data |
| $a_i$, $c$, $V_i$ | `a`, `c`, `V` | input of NADE's $H$ hidden units before pixel $i$, their biases, weights to the logit |
| $m(k)$ | `degrees` | degree of a hidden unit of MADE: how many pixels it may know |
| $(u, v)$ | `mask` | offset in a kernel: rows down, columns to the right |
| $L$ | `depth` | number of 3 x 3 layers |

## Reading


**What comes next:** the same idea for [sequences](sequences.ipynb), with recurrence and attention, and for real numbers [as a flow](flows.ipynb).

**Reading:** {cite:t}`uria2016` for NADE and its relatives, deep and convolutional; {cite:t}`oord2016pixel` and {cite:t}`salimans2017` for images in colour; {cite:t}`wu2019` for the use in statistical mechanics.
The statements of the sources are reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

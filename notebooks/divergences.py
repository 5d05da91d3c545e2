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
# What a generative model is: counting, likelihood, bits

A generative model gives every possible image a probability: so it can draw new images, say how surprising a given one is, and compress it.
A table of counts is already such a model; you will build it, measure it in nats and in bits, and have the number that every later model of this book must beat.

```{opening} fig-div-film
First what is to be drawn, then what tables of counts draw when each pixel knows none, one, two, up to fourteen of the others. The bars are what a test image costs.
```

At the end of this lecture you will be able to

1. count the parameters of any factorisation of $p(x)$, and say which independence each saving assumes;
2. show that maximum likelihood, the smallest divergence from the data and the shortest code are one problem, and solve it by counting;
3. find the best of all $784^{782}$ trees of pixels, and see a larger table over-fit;
4. compress a digit with a model to within two bits of $-\log_2 p(x)$, and get it back bit for bit;
5. compute six divergences for one pair of distributions, say which explode and which go flat, and estimate one from samples.

- **You need** probabilities, conditional probabilities, logarithms and NumPy.
- **Sources:** {cite:t}`shannon1948` for information, {cite:t}`chow1968` for the tree, {cite:t}`krichevsky1981` for the counts, {cite:t}`kullback1951` for the divergence; {cite:t}`mackay2003` for a longer introduction.
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
import bz2
import lzma
import math
import zlib
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, product

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection
from scipy import optimize, spatial, special, stats

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (6_000, 60_000, 60_000),  # of each part of the data, at most
    "num_coded": (10, 2_000, 10_000),  # test images that the coder takes
}

# %%
run = dgm.start("divergences", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## A probability for every image

```{margin}
**In the sources.** CS236 notes, *Intro* and *Probabilistic background and model assumptions*; Borisyak, *Generative models*.
```

To draw a picture from a description is the inverse of describing a picture.
A *statistical* generative model goes both ways: it is a function from an image $x$ to one number, $p(x)$, and a way to sample from it.
It is made of data, here handwritten digits, and of prior knowledge, here which pixels may depend on which.

MNIST {cite:p}`lecun1998` has 50,000 images for training in the usual split, 10,000 for validation and 10,000 for the test.
We make each of the 784 pixels 0 or 1 once, with its grey value as the probability of a 1.
A likelihood depends on this choice, so we state it with every number.
"""


# %%
def binary(part):
    """Images of a part of the data, black and white, of shape (num_images, 784)."""
    grey = run.data.vectors(part)[: P.num_images]
    return dgm.data.binarise(grey, method="stochastic", rng=run.rng).astype(np.uint8)


x_train, x_test = binary("train"), binary("test")

# %% [markdown]
r"""
**A table of the probabilities of all images needs $2^n - 1$ numbers for $n$ pixels.**
From 266 pixels on these are more than $10^{80}$, about the number of atoms in the visible universe; ours have 784.

The chain rule writes the table as a product, $p(x) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$.
It holds for every distribution and assumes nothing, so it saves nothing: pixel $i$ has one probability for each of the $2^{i-1}$ pasts, and $1 + 2 + 4 + \dots + 2^{n-1} = 2^n - 1$.
**Each saving is an assumption:** given a few *parents* among the pixels before it, in some order, a pixel does not depend on the others before it,

$$
\begin{aligned}
p(x) &= \prod_{i=1}^{n} p\bigl(x_i \mid x_{\mathrm{pa}(i)}\bigr), \\
\text{parameters} &: \; \sum_{i=1}^{n} 2^{|\mathrm{pa}(i)|} .
\end{aligned}
$$ (eq-div-network)

An arrow from each parent to its child makes a graph; if the arrows close no cycle, the product is normalised whatever the conditional tables are, and is called a *Bayesian network*.

```{figure} ../figures/divergences_networks.svg
:name: fig-div-networks
:alt: Four small graphs of nine circles. Independent, no arrows, n parameters. Chain, each circle points to the next, 2 n minus 1. Tree, arrows branch from one root, 2 n minus 1. Neighbours, arrows reach one pixel from four earlier ones, at most 16 n.
:width: 620px

Bayesian networks of pixels: an arrow leads from a parent to its child.
```

Independent pixels need $n$ numbers, a chain $2n - 1$, a tree as many; with the left and the upper neighbour as parents it is about $4n$.
"""


# %% tags=["twin:dgm.models.counts.neighbours"]
def neighbours(offsets, height=28, width=28):
    return [
        tuple(
            (row + down) * width + column + right
            for down, right in offsets
            if 0 <= row + down < height and 0 <= column + right < width
        )
        for row in range(height)
        for column in range(width)
    ]


# %% [markdown]
r"""
For each pixel the model counts, in every state of the parents, the *context*, how often the pixel was 0 and how often 1.
To sample, it visits parents before their children (*ancestral sampling*).
Why counts are the right estimate, and what the `pseudo_count` is for, comes next.
"""


# %% tags=["twin:dgm.models.counts.CountTable", "method"]
class CountTable:
    def __init__(self, x, parents, *, pseudo_count=0.5):
        self.parents = parents
        self.counts, self.log_probs = [], []
        for cell, given in zip(self.cells(x), parents, strict=True):
            counts = np.bincount(cell, minlength=2 ** (len(given) + 1)).reshape(-1, 2)
            weights = counts + pseudo_count
            total = weights.sum(1, keepdims=True)
            probs = np.divide(
                weights, total, out=np.full(weights.shape, 0.5), where=total > 0
            )
            with np.errstate(divide="ignore"):
                self.log_probs.append(np.log(probs))
            self.counts.append(counts)

    def cells(self, x):
        columns = np.ascontiguousarray(x.T, dtype=np.uint8)
        for i, given in enumerate(self.parents):
            cell = np.zeros(len(x), dtype=np.int32)
            for j in (*given, i):
                cell = 2 * cell + columns[j]
            yield cell

    def num_parameters(self):
        return sum(2 ** len(given) for given in self.parents)

    def log_prob(self, x):
        tables = zip(self.log_probs, self.cells(x), strict=True)
        return sum(table.ravel()[cell] for table, cell in tables)

    def sample(self, num_samples, *, rng):
        uniform = rng.random((num_samples, len(self.parents)))
        x = np.zeros(uniform.shape, dtype=np.uint8)
        for i in TopologicalSorter(dict(enumerate(self.parents))).static_order():
            context = np.zeros(num_samples, dtype=np.int32)
            for j in self.parents[i]:
                context = 2 * context + x[:, j]
            x[:, i] = uniform[:, i] < np.exp(self.log_probs[i][context, 1])
        return x


# %% [markdown]
r"""
On a few pixels all images can be listed, and each claim is a finite sum.
We take a patch of twelve pixels from the middle of the digits: 4,096 images.
"""

# %%
PATCH = [28 * row + column for row in (12, 13, 14) for column in (12, 13, 14, 15)]
patch = x_train[:, PATCH]
states = np.array(list(product((0, 1), repeat=12)), dtype=np.uint8)  # all 4,096
p_data = np.bincount(patch @ 2 ** np.arange(12)[::-1], minlength=4096) / len(patch)

# %% tags=["check"]
for n in range(3, 11):
    past = [tuple(range(i)) for i in range(n)]  # the chain rule
    line = [(i - 1,) if i else () for i in range(n)]  # a Markov chain
    sizes = [sum(2 ** len(given) for given in network) for network in (past, line)]
    checks.close(
        f"parameters, {n} pixels: 2^n - 1 and 2n - 1", sizes, [2**n - 1, 2 * n - 1]
    )
checks.true("265 pixels: fewer than 10^80 images, 266: more", 2**265 < 10**80 < 2**266)
all_earlier = CountTable(patch, [tuple(range(i)) for i in range(12)], pseudo_count=0)
seen = p_data > 0
checks.close(
    "the chain rule gives back any table: log p of all patches that came",
    all_earlier.log_prob(states[seen]),
    np.log(p_data[seen]),
    atol=12 * 11 * 2.3e-16,  # twelve logarithms, at most eleven nats in sum, rounded
)
parents = [
    (1, 3),
    (),
    (1, 0),
    (),
    (2, 5),
    (3,),
    *[(i - 1, i - 5) for i in range(6, 12)],
]
network = CountTable(patch[:50], parents)  # few images: no entry near 0 or 1
exact = np.exp(network.log_prob(states))
checks.normalised("a network without cycles", network.log_prob(states), atol=1e-12)
drawn = network.sample(100_000, rng=run.rng)
pairs = [(i, j) for i in range(12) for j in range(i, 12)]
moments = np.stack([states[:, i] & states[:, j] for i, j in pairs], 1)
means = np.stack([drawn[:, i] & drawn[:, j] for i, j in pairs], 1).mean(0)
expected = exact @ moments
errors = (means - expected) / np.sqrt(expected * (1 - expected) / len(drawn))
checks.at_most("samples: means of x_i and x_i x_j, in standard errors", abs(errors), 5)

# %% [markdown]
r"""
```{margin}
**A common mistake:** to call a chain, $p(x_i \mid x_{i-1})$, the autoregressive model, or to say that autoregressive models rest on conditional independence.
The chain rule conditions on the whole past and assumes nothing.
```

```{dropdown} A one-minute question: how many parameters has a chain in which each pixel looks back at two?
$1 + 2 + 4 (n - 2) = 4n - 5$: the first pixel has no parent, the second has one.
```

## The best table is a table of counts

```{margin}
**In the sources.** CS236 notes, *Maximum likelihood learning*; Oslo, 16 April, *Kullback-Leibler relative entropy*; Borisyak, *Fitting distributions*.
```

Learning needs three things: a family of distributions, a measure of how far one is from the data, and a way to find the nearest.

```{figure} ../figures/divergences_learning.svg
:name: fig-div-learning
:alt: A long curve, marked 1, a family. Above it a point, the data. A dashed line, marked 2, a measure, KL, leads from the data down to the nearest point of the curve, the best model. Arrows, marked 3, a search, go along the curve from a far point to that one.
:width: 560px

What learning needs.
```

The family is {eq}`eq-div-network`.
The measure is the **relative entropy** of {cite:t}`kullback1951`,

$$
\begin{aligned}
\mathrm{KL}(p_\text{data} \Vert p)
&= \sum_x p_\text{data}(x) \log \frac{p_\text{data}(x)}{p(x)} \\
&= \underbrace{- \sum_x p_\text{data}(x) \log p(x)}_{\text{cross-entropy}}
\;-\; \mathcal{H}[p_\text{data}] .
\end{aligned}
$$ (eq-div-kl)

The entropy $\mathcal{H}[p_\text{data}]$ does not depend on the model.
**So the smallest divergence is the smallest cross-entropy, which is the largest mean log-likelihood**; and the mean of $-\log p$ over $N$ images from $p_\text{data}$ that were not used to fit $p$ is an unbiased estimate of the cross-entropy, with an error that falls as $1 / \sqrt N$.
It is called the *negative log-likelihood*, in nats, because the logarithm is the natural one; divided by $\log 2$ it is in bits.

```{margin}
**Common mistakes:** to drop the weight $p_\text{data}(x)$ and sum $\log p(x)$ over "all possible $x$", which is largest for a uniform $p$; to call KL a distance; to take it for Shannon's entropy; and the sign of the cross-entropy.
```
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One pixel that is on in a share f of the images, and a model that says θ. Cross-entropy and divergence differ by the entropy at every θ, and are lowest at θ = f, the share that was counted. The sum of log p over both states, without the weights of the data, is best at 1/2 whatever the data are.", "name": "fig-div-pixel"}, "image": {"alt": "Three curves over theta. The orange one, the cross-entropy, and the black one below it, the divergence, are parallel and have their minimum at the same dotted line, where the black one touches zero. The grey one has its minimum at one half."}}
on = x_train.mean(0)
pixel = abs(on - 0.2).argmin()
f, theta = on[pixel], np.linspace(0.02, 0.95, 400)
cross_entropy = -f * np.log(theta) - (1 - f) * np.log(1 - theta)
entropy = -f * np.log(f) - (1 - f) * np.log(1 - f)
unweighted = -(np.log(theta) + np.log(1 - theta)) / 2
fig, ax = plt.subplots(figsize=(7.0, 2.6))
curves = {
    "cross-entropy": (cross_entropy, plotting.COLOURS[1], 0.72, "right", 3),
    "KL": (cross_entropy - entropy, "black", 0.64, "left", -12),
    "unweighted": (unweighted, "grey", 0.3, "left", 4),
}
for name, (curve, colour, at, side, up) in curves.items():
    ax.plot(theta, curve, color=colour)
    place = {
        "xytext": (-8 if side == "right" else 8, up),
        "textcoords": "offset points",
    }
    ax.annotate(name, (at, np.interp(at, theta, curve)), **place, color=colour, ha=side)
ax.axvline(f, color="black", linewidth=1, linestyle=":")
ax.annotate(f"f = {f:.2f}", (f, 1.6), (6, 0), textcoords="offset points")
_ = ax.set(xlabel="θ", ylabel="nats", ylim=(0, 1.8), xlim=(0, 1))

# %% [markdown]
r"""
To fit a network, the shares of the training images stand in for $p_\text{data}$, and the mean log-likelihood is a sum over the entries of all tables.
With $n_{iub}$ images in which the parents of pixel $i$ are in context $u$ and the pixel is $b$,

$$
\langle \log p \rangle_\text{data} = \frac{1}{N} \sum_{i, u, b} n_{iub} \log \theta_{iub} .
$$

A Lagrange multiplier $\lambda_{iu}$ for each constraint $\sum_b \theta_{iub} = 1$ gives $n_{iub} / \theta_{iub} = \lambda_{iu}$, and summing over $b$ fixes it: **the best table is the table of relative frequencies.**
It has a flaw.
A pixel that was never on in the training set is then impossible, and a test image that has it gets $\log p = -\infty$.
{cite:t}`krichevsky1981` add $a = \frac12$ to each count, as if every context had come once more, half with a 0 and half with a 1,

$$
\theta_{iub} = \frac{n_{iub} + a}{n_{iu0} + n_{iu1} + 2a} .
$$ (eq-div-counts)
"""

# %% tags=["check"]
line = [(i - 1,) if i else () for i in range(12)]
fitted, N = CountTable(patch, line, pseudo_count=0), len(patch)


def split(logits):
    """The logits of each pixel: one for the first, two for each other."""
    return np.split(logits, range(1, 23, 2))


def mean_log_prob(logits):
    """Mean log-likelihood of the patches under the chain with these logits."""
    pairs = zip(fitted.counts, split(logits), strict=True)
    return (
        sum((n * special.log_expit(np.stack([-z, z], 1))).sum() for n, z in pairs) / N
    )


point = run.rng.normal(size=23)
excess = np.concatenate(  # images in which a pixel is on, less those expected
    [
        n[:, 1] - n.sum(1) / (1 + np.exp(-z))
        for n, z in zip(fitted.counts, split(point), strict=True)
    ]
)
checks.gradient(
    "derivative in a logit = count - expected count, over N, so zero at the count",
    mean_log_prob,
    point,
    excess / N,
    atol=1e-8,
)

# %% tags=["check"]
best = np.concatenate([table[:, 1] - table[:, 0] for table in fitted.log_probs])
log_p, average = fitted.log_prob(states[seen]), fitted.log_prob(patch).mean()
checks.close(
    "the sum over tables = the mean of log p", mean_log_prob(best), average, rtol=1e-12
)
others = [mean_log_prob(best + run.rng.normal(size=23)) for _ in range(1000)]
checks.at_most("1,000 other tables are worse", np.array(others) - average, 0)
H = -(p_data[seen] @ np.log(p_data[seen]))
checks.close(
    "KL = cross-entropy - entropy",
    (p_data[seen] * (np.log(p_data[seen]) - log_p)).sum(),
    -average - H,
    atol=1e-11,
)
draws = patch[run.rng.integers(len(patch), size=(1000, 100))].reshape(-1, 12)
means = -fitted.log_prob(draws).reshape(1000, 100).mean(1)
checks.unbiased("the mean over images estimates the cross-entropy", means, -average)
spread = means.std() * 10 / fitted.log_prob(patch).std()  # 10 = sqrt(100)
checks.close("its error is sigma / sqrt(N): ratio", spread, 1.0, atol=5 / 2000**0.5)

# %% tags=["check"]
grey = run.data.vectors("test").astype(float)
coin_flips = (special.entr(grey) + special.entr(1 - grey)).sum(1)  # H(x | grey)
floor = coin_flips[: len(x_test)]
log_p_grey = (special.xlogy(x_test, grey[: len(x_test)])).sum(1)
log_p_grey += (special.xlogy(1.0 - x_test, 1 - grey[: len(x_test)])).sum(1)
checks.unbiased(
    "given the grey values: mean of -log p = entropy", -log_p_grey - floor, 0.0
)
if run.on_mnist:
    checks.close(
        "entropy of the coin flips, 45.5 nats", coin_flips.mean(), 45.5, atol=0.05
    )

# %% [markdown]
r"""
How low can it go?
Our own coin flips decided the grey pixels, and no model can predict a coin: on average the cross-entropy of the test images is at least the entropy of the flips, 45.5 nats.

```{dropdown} A one-minute question: why is KL never negative?
$\log t \leq t - 1$, so $\sum p \log (q / p)$, which is $-\mathrm{KL}(p \Vert q)$, is at most $\sum p\, (q / p - 1) \leq 0$.
Equality needs $q = p$.
```

## The best tree

**If each pixel may have one parent, which one?**
With relative frequencies the negative log-likelihood of a tree on its training data splits into two sums, over pixels and over edges {cite:p}`chow1968`,

$$
-\langle \log p \rangle_\text{data} = \sum_i \mathcal{H}[x_i] - \! \sum_{i - j} I(x_i; x_j),
$$ (eq-div-tree)

where the *mutual information* $I(x_i; x_j) = \mathcal{H}[x_i] + \mathcal{H}[x_j] - \mathcal{H}[x_i, x_j]$ is what one pixel tells about the other, the KL divergence of their joint table from the product of its marginals.
The first sum is the cost of independent pixels.
So the best tree is the one whose edges have the most mutual information: a *maximum spanning tree*, which a greedy algorithm finds among all $784^{782}$.
All pair tables come from one matrix product, and Prim's algorithm always adds the pixel with the strongest edge to the tree so far.
"""


# %% tags=["twin:dgm.models.counts.mutual_information"]
def mutual_information(x):
    x = x.astype(np.float32)
    both = (x.T @ x).astype(np.float64)
    on = np.diag(both)
    joint = np.stack(
        [both, on[:, None] - both, on - both, len(x) - on[:, None] - on + both]
    )
    joint = joint / len(x)
    entropy = -(joint * np.log(np.where(joint > 0, joint, 1))).sum(0)
    alone = np.diag(entropy)
    return alone[:, None] + alone - entropy


# %% tags=["twin:dgm.models.counts.maximum_spanning_tree"]
def maximum_spanning_tree(weights, root=0):
    parents = [()] * len(weights)
    best, link = weights[root].copy(), np.full(len(weights), root)
    outside = np.arange(len(weights)) != root
    while outside.any():
        i = int(np.where(outside, best, -np.inf).argmax())
        parents[i] = (int(link[i]),)
        outside[i] = False
        closer = weights[i] > best
        best[closer], link[closer] = weights[i][closer], i
    return parents


# %%
information = mutual_information(x_train)
chow_liu = maximum_spanning_tree(information)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The tree of Chow and Liu over the grid of pixels: a line joins a pixel to its parent, darker for more mutual information; lines of less than 0.005 nats, most of them at the empty border, are left out. Nothing told the algorithm that pixels lie in a plane.", "name": "fig-div-tree"}, "image": {"alt": "Short lines along rows and columns of a grid, like the corridors of a maze, fill a disc: dark in the middle, pale towards the rim."}}
fig, ax = plt.subplots(figsize=(4.6, 3.8))
edges = [(i, given[0]) for i, given in enumerate(chow_liu) if given]
strong = [(i, j) for i, j in edges if information[i, j] > 0.005]
ends = np.array([[(k % 28, k // 28) for k in edge] for edge in strong])
lines = LineCollection(ends, cmap="YlOrBr", linewidths=2.2)
lines.set_array([information[edge] for edge in strong])
lines.set_clim(-0.06, None)  # pale, but not white
ax.add_collection(lines)
fig.colorbar(lines, shrink=0.7, label="nats").ax.set_ylim(bottom=0)
ax.set(xlim=(2, 26), ylim=(27, 2), aspect="equal")
_ = ax.set_axis_off()


# %% tags=["check"]
def train_nll(parents, x):
    return -CountTable(x, parents, pseudo_count=0).log_prob(x).mean()


split_nll = np.trace(information) - sum(information[i, j] for i, j in edges)
checks.close(
    "the tree on its training data = entropies - mutual information of the edges",
    train_nll(chow_liu, x_train),
    split_nll,
    rtol=1e-11,
)
turned = maximum_spanning_tree(information, root=400)
checks.close(
    "another root, the same likelihood",
    train_nll(turned, x_train),
    split_nll,
    rtol=1e-11,
)
touching = (abs(np.diff(ends, axis=1)) <= 1).all((1, 2)).mean()
if run.on_mnist:
    share = "guard: share of the edges drawn that join touching pixels"
    checks.at_least(share, touching, 0.95)
six, every = patch[:2000, [0, 1, 2, 4, 5, 6]], []
for choice in product(range(6), repeat=5):
    parents = [(), *[(j,) for j in choice]]
    try:
        TopologicalSorter(dict(enumerate(parents))).prepare()
    except CycleError:
        continue
    every.append(train_nll(parents, six))
checks.close("trees of six pixels: 6^4", len(every), 6**4)
best_of_six = maximum_spanning_tree(mutual_information(six))
checks.close(
    "Chow and Liu's is the best", train_nll(best_of_six, six), min(every), rtol=1e-12
)

# %% [markdown]
r"""
On MNIST nearly all edges that carry information join pixels that touch: ink goes on next door.

```{dropdown} A one-minute question: which way should the arrows of the tree point?
It does not matter.
$p(x_i)\, p(x_j \mid x_i)$ and $p(x_j)\, p(x_i \mid x_j)$ are the same table, so every root gives the same likelihood.
```

## More neighbours, until it over-fits

**The more of its past a pixel may look at, the more there is to count.**
We take the nearest of the earlier pixels, left of it and in the rows above: two, four, six, ten, fourteen.
{cite:t}`langdon1981` compressed black-and-white faxes with such a *template* and a code behind it.
"""

# %%
TEMPLATE = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2)]
TEMPLATE += [(-1, 2), (-2, -1), (-2, 1), (0, -3), (-2, -2), (-2, 2), (-3, 0)]
networks = {
    "independent": [()] * 784,
    "chain": [(i - 1,) if i else () for i in range(784)],
    "tree": chow_liu,
} | {str(k): neighbours(TEMPLATE[:k]) for k in (2, 4, 6, 10, 14)}

# %% tags=["hide-input", "remove-output"]
# All eight tables, fitted and measured; the numbers are recorded
tables, nll, ladder = {}, {}, {}
for name, parents in networks.items():
    tables[name] = table = CountTable(x_train, parents)
    nll[name] = -table.log_prob(x_test)
    ladder[name] = (
        table.num_parameters(),
        -table.log_prob(x_train).mean(),
        run.record(
            f"count_table_{name}_test_nll",
            nll[name].mean(),
            unit="nats",
            standard_error=nll[name].std() / len(x_test) ** 0.5,
            protocol=f"{name}{' neighbours' * name.isdecimal()}, pseudo-count 1/2, "
            f"{len(x_train):,} training images, static stochastic binarisation, "
            f"all {len(x_test):,} test images",
        ),
    )
worse = nll["14"] - nll["10"]
over_fit = run.record(
    "count_table_14_minus_10_test_nll",
    worse.mean(),
    unit="nats",
    standard_error=worse.std() / len(x_test) ** 0.5,
    protocol="14 less 10 past neighbours, mean and standard error of the pairs",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Test images, and samples of each table from the same random numbers, with the mean negative log-likelihood of a test image.", "name": "fig-div-film"}}
titles = [f"{name} neighbours" if name.isdecimal() else name for name in tables]


def frame(name):
    """A sheet of images beside the bars of all tables, this one's in colour."""
    fig, (sheet, bars) = plt.subplots(1, 2, figsize=(7.4, 3.3), width_ratios=(1, 0.9))
    rng = np.random.default_rng(run.seed + 3)  # the same numbers for each table
    images = tables[name].sample(30, rng=rng) if name else x_test[:30]
    plotting.image_grid(images, columns=6, ax=sheet)
    costs = [values.mean() for values in nll.values()]
    colours = [plotting.COLOURS[1] if other == name else "#c8c8c8" for other in nll]
    bars.barh(range(len(costs)), costs, color=colours, height=0.7)
    for i, cost in enumerate(costs):
        bars.text(cost + 4, i, f"{cost:.1f}", va="center")
    bars.set_yticks(range(len(titles)), titles)
    bars.set(xlim=(0, 250), ylim=(7.6, -0.6), xlabel="nats for a test image")
    bars.grid(visible=False)
    return fig


plotting.film(
    (frame(name) for name in [None, *tables]),
    labels=["test images", *titles],
    fps=0.7,
    width=660,
    alt="Handwritten digits; then samples of eight tables: clouds of dots, broken "
    "horizontal strokes, and from four neighbours on strokes that bend and close like "
    "parts of digits. Those of fourteen neighbours turn to noise in places. Bars beside "
    "them, from 206 down to 97 nats and up again to 99.",
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "a deep enough network can approximate any function", hence learn it.
Continuous functions on a bounded set can be approximated, with enough *width*; whether a finite data set leads there is another question, as these two curves show.
```

Independent pixels draw fog.
With two neighbours there are strokes, with ten there are pieces of digits.
No template sees more than four rows, so that no sample is planned as a whole.

**What a table can represent and what it learns are two things.**
Fourteen neighbours contain ten as a special case, and fit the training images better.
On test images they are worse: ten million numbers are counted in 50,000 images, and most contexts never came.
There the table says 1/2, and a sample that strays into such a context turns to noise.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean negative log-likelihood of each table on training and test images, over its number of parameters. Dashed: two published networks that look further back, on another draw of the same binarisation.", "name": "fig-div-ladder"}, "image": {"alt": "Two curves that fall together from 206 nats at a thousand parameters to about 100 at fifty thousand. Then the blue one, training, goes on falling, and the orange one, test, turns upwards at the last point. Dashed lines below at 88.3 and 81.3 nats."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
sizes, train_values, test_values = zip(*ladder.values(), strict=True)
for values, colour in ((train_values, 0), (test_values, 1)):
    ax.plot(sizes[3:], values[3:], "o-", color=plotting.COLOURS[colour])
    ax.plot(sizes[:3], values[:3], "o", color=plotting.COLOURS[colour])
style, short = {"textcoords": "offset points"}, [*titles[:4], *list(tables)[4:]]
ax.annotate(
    "test", (sizes[-1], test_values[-1]), (-36, 8), color=plotting.COLOURS[1], **style
)
here = (sizes[-2], train_values[-2])
ax.annotate("training", here, (2, -17), color=plotting.COLOURS[0], **style)
for title, size, value in zip(short, sizes, test_values, strict=True):
    ax.annotate(title, (size, value), (8, 7), fontsize=10, **style)
for published, name in ((88.33, "NADE"), (81.30, "PixelCNN")):
    plotting.reference_line(ax, published, f"{name} {published:.1f}", side="left")
ax.set(xlabel="parameters", ylabel="nats", xscale="log", yscale="log")
ax.set(xlim=(600, 4e7), ylim=(77, 222))
_ = ax.set_yticks([80, 100, 120, 150, 200], [80, 100, 120, 150, 200], minor=False)
_ = ax.minorticks_off()

# %% tags=["check"]
sizes = [size for size, *_ in ladder.values()]
exact = [784, 1567, 1567, 3025, 11_611, 44_415, 666_419, 9_984_503]
checks.close("parameters of the eight tables", sizes, exact)
left_and_above = [28 * 5 + 6, 28 * 4 + 7]
checks.close(
    "two neighbours of row 5, column 7", networks["2"][28 * 5 + 7], left_and_above
)
nested = [train_nll(neighbours(TEMPLATE[:k], 3, 4), patch) for k in range(11)]
checks.at_most("one parent more never costs on training data", np.diff(nested), 1e-12)
better = nll["independent"] - nll["10"]
checks.at_least("ten neighbours: gain in every image but few", np.mean(better > 0), 0.9)
came = sum(np.count_nonzero(n.sum(1)) for n in tables["14"].counts)
checks.at_most("share of the contexts that came", came / ladder["14"][0], 0.1)
error = worse.std() / len(worse) ** 0.5
if run.on_mnist:
    checks.at_least(
        "14 neighbours are worse, in paired standard errors", over_fit / error, 5
    )
    checks.at_most("and better in training", ladder["14"][1] - ladder["10"][1], -3)
if run.on_mnist and run.profile != "smoke":
    for name, value in {"10": 97.2, "tree": 134.9, "independent": 205.8}.items():
        # Another draw of the pixels of the same images moves these by about 0.2 nats.
        atol = 1.0 if value > 200 else 0.8
        checks.close(f"{name}: {value} nats", nll[name].mean(), value, atol=atol)
    for name, value in {"chain": 145.4, "2": 118.7, "4": 104.2, "6": 101.7}.items():
        checks.close(f"guard: {name}, {value} nats", nll[name].mean(), value, atol=0.8)
    rng = np.random.default_rng(run.seed + 3)
    ink = tables["14"].sample(1000, rng=rng).mean() / x_test.mean()
    checks.at_least("guard: noise in its samples, ink over that of the data", ink, 1.1)

# %% [markdown]
r"""
The two published models have far more of the past as parents, NADE all of it, and a network in place of each table {cite:p}`uria2016,oord2016pixel`; [the lecture after next](autoregressive.ipynb) builds such models.

```{dropdown} A one-minute question: how many of the contexts of fourteen neighbours can 50,000 images visit?
They make $784 \cdot 50{,}000 = 39$ million visits, four for each of the ten million contexts.
But neighbours mostly agree, and nine in ten contexts never come.
```

## A likelihood is the length of a code

```{margin}
**In the sources.** Borisyak, *Applications*: data compression; CS236 notes, *Intro*: how likely it is that the data came from this model.
```

What does a nat buy?
Let a code give every image a string of $L(x)$ bits, such that no string is the start of another, so that strings can follow one another without commas.
Kraft's inequality says which lengths are possible: exactly those with

$$
\sum_x 2^{-L(x)} \leq 1 .
$$ (eq-div-kraft)

So $2^{-L(x)}$ is a model, up to a normaliser, and by {eq}`eq-div-kl` no code is shorter on average than $\mathcal{H}[p_\text{data}] / \log 2$ bits.
**In the other direction, every model is a code of $-\log_2 p(x)$ bits, and fewer than two more.**
Give each image an interval of $[0, 1)$ as long as its probability.
The first $L(x)$ binary digits of the middle of the interval name it:

$$
L(x) = \bigl\lceil -\log_2 p(x) \bigr\rceil + 1 .
$$ (eq-div-code)

The intervals are found pixel by pixel: the left part of the present interval for a 0, the right part for a 1, in the ratio of $p(x_i = 0 \mid x_{\mathrm{pa}(i)})$ to $p(x_i = 1 \mid x_{\mathrm{pa}(i)})$.
The decoder has the parents by then, because a template takes them from the earlier pixels.
This is *arithmetic coding* {cite:p}`rissanen1976,witten1987`.

```{figure} ../figures/divergences_coder.svg
:name: fig-div-coder
:alt: Four bars, one under another. The first is the interval from 0 to 1, cut into a part for pixel 0 and one for pixel 1. The chosen part is stretched over the next bar and cut again. The last part is short; its middle is marked, and its first binary digits are the code.
:width: 540px

Arithmetic coding of three pixels, 0, 1, 1: each pixel keeps its part of the interval. The code is the beginning of the binary fraction in the middle.
```

The estimates {eq}`eq-div-counts` are ratios of whole numbers, $(2n_b + 1) / (2n_0 + 2n_1 + 2)$, and Python's integers have no largest.
So the coder is exact.
"""


# %%
def odds(table, i, x):
    """Whole numbers in the ratio p(x_i = 0) : p(x_i = 1), given the pixels before i."""
    context = 0
    for j in table.parents[i]:
        context = 2 * context + int(x[j])
    zero, one = table.counts[i][context].tolist()
    return 2 * zero + 1, 2 * one + 1


def code_length(width, total):
    """The bits of a code word for the probability width / total."""
    return (-(-total // width) - 1).bit_length() + 1


# %% tags=["method"]
def encode(table, x):
    """A string of bits: the beginning of the middle of [low, low + width) / total."""
    low, width, total = 0, 1, 1
    for i, pixel in enumerate(x):
        zero, one = odds(table, i, x)
        low = low * (zero + one) + (zero * width if pixel else 0)
        width = width * (one if pixel else zero)
        total = total * (zero + one)
    length = code_length(width, total)
    return f"{((2 * low + width) << length) // (2 * total):0{length}b}"


# %%
def decode(table, bits):
    """The image whose code begins the string, and the number of bits it took."""
    value, scale = int(bits, 2), len(bits)  # the string is the number value / 2^scale
    low, width, total = 0, 1, 1
    x = np.zeros(len(table.parents), dtype=np.uint8)
    for i in range(len(x)):
        zero, one = odds(table, i, x)
        low, total = low * (zero + one), total * (zero + one)
        border = low + zero * width
        x[i] = value * total >= border << scale
        low, width = (border, width * one) if x[i] else (low, width * zero)
    return x, code_length(width, total)


# %%
table = tables["10"]
codes = [encode(table, x) for x in x_test[: P.num_coded]]

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A test image, its code under the table of ten neighbours (black is 1, row by row), and what the decoder makes of it.", "name": "fig-div-barcode"}, "image": {"alt": "A digit, an arrow, a small field of random-looking black and white squares, an arrow, and the same digit."}}
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.3))
bits = np.array([int(bit) for bit in codes[0]])
field = np.full(16 * math.ceil(len(bits) / 16), 0.25)
field[: len(bits)] = bits
pictures = (x_test[0].reshape(28, 28), field.reshape(-1, 16))
pictures += (decode(table, codes[0])[0].reshape(28, 28),)
names = ("784 pixels", f"{len(bits)} bits, {math.ceil(len(bits) / 8)} bytes", "decoded")
for ax, picture, name in zip(axes, pictures, names, strict=True):
    ax.imshow(picture, vmin=0, vmax=1, extent=(0, 1, 0, 1))
    ax.set(xticks=[], yticks=[], xlabel=name)
    ax.grid(visible=False)
    ax.spines[:].set_visible(True)

# %% tags=["hide-input", "remove-output"]
# Bits beyond -log2 p, and what the compressors of the library need, recorded
bits_of = -table.log_prob(x_test) / math.log(2)
excess = np.array([len(code) for code in codes]) - bits_of[: P.num_coded]
protocol = (
    f"exact arithmetic code less -log2 p, {P.num_coded:,} test images, table of ten"
)
for name, value in (("min", excess.min()), ("max", excess.max())):
    run.record(f"coder_excess_bits_{name}", value, unit="bits", protocol=protocol)
packed = np.packbits(x_test, axis=1).tobytes()
compressed = {
    "zlib": zlib.compress(packed, 9),
    "lzma": lzma.compress(packed, preset=9),
    "bz2": bz2.compress(packed, 9),
}
compressors = {
    name: run.record(
        f"{name}_bits_per_image",
        8 * len(file) / len(x_test),
        unit="bits",
        protocol=f"all {len(x_test):,} test images, packed, in one file, highest level",
    )
    for name, file in compressed.items()
}

# %% tags=["hide-input"]
# The table
rows = {
    "one bit a pixel": 784.0,
    **compressors,
    "table of ten, trained": bits_of.mean(),
}
plotting.table(rows, columns=("", "bits for an image"), digits=4)

# %% tags=["check"]
decoded = [decode(table, code) for code in codes]
checks.true(
    f"{P.num_coded:,} images come back bit for bit",
    all((x == image).all() for (x, _), image in zip(decoded, x_test, strict=False)),
)
checks.true(
    "the decoder knows where each code ends",
    [length for _, length in decoded] == [len(code) for code in codes],
)
stream, found = "".join(codes[:10]), []
while stream:
    image, length = decode(table, stream)
    stream = stream[length:]
    found.append(image)
checks.close("ten codes in one string, without commas", np.array(found), x_test[:10])
checks.at_least("bits beyond -log2 p: more than 1", excess, 1)
checks.at_most("and less than 2", excess, 2)

# %% tags=["check"]
small = CountTable(patch, line)
words = [encode(small, x) for x in states]
back = np.array([decode(small, word)[0] for word in words])
checks.close("all 4,096 patches come back", back, states)
words = sorted(words)
checks.at_most(
    "Kraft's sum over 4,096 codes", sum(2.0 ** -len(word) for word in words), 1
)
starts = sum(b.startswith(a) for a, b in pairwise(words))
checks.close("codes that begin another", starts, 0)
totals = [3 * 2**k + shift for k in (3, 60, 400) for shift in (-1, 0, 1)]
checks.true(
    "L - 1 is the first k with 2^-k at most p, also beyond floating point",
    all(
        3 * 2 ** (code_length(3, total) - 2)
        < total
        <= 3 * 2 ** (code_length(3, total) - 1)
        for total in totals
    ),
)
checks.close(
    "bits of the code, less the nats of the ladder over log 2",
    bits_of - nll["10"] / math.log(2),
    np.zeros(len(bits_of)),
    atol=1e-10,
)
if run.on_mnist:
    checks.at_most("bits, over those of bz2", bits_of.mean() / compressors["bz2"], 0.8)

# %% [markdown]
r"""
The comparison flatters the table: the compressors have never seen a digit, and 666,419 numbers were not sent.
({ref}`ex-div-universal` sends everything, and still wins.)

**A short code does not mean a typical image.**
Mirrored digits, which the table never saw, need more bits on average than digits, and fog needs far more: the likelihood can serve as an alarm.
But blank paper needs fewer bits than every digit.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Code lengths under the table of ten neighbours: test digits, the same digits mirrored, and samples of independent pixels. Dashed: blank paper.", "name": "fig-div-lengths"}, "image": {"alt": "Three hills over the number of bits. Blue, digits, around 140; green, mirrored digits, a little to the right and overlapping; grey, fog, far to the right around 460. A dashed line near ten, left of all."}}
mirrored = x_test.reshape(-1, 28, 28)[:, :, ::-1].reshape(-1, 784)
fog = tables["independent"].sample(2000, rng=run.rng)
blank = -table.log_prob(np.zeros((1, 784), dtype=np.uint8))[0] / math.log(2)
lengths = {
    "digits": bits_of,
    "mirrored digits": -table.log_prob(mirrored) / math.log(2),
}
lengths["fog"] = -table.log_prob(fog) / math.log(2)
fig, ax = plt.subplots(figsize=(7.0, 2.7))
places = {  # colour, bits, side
    "digits": (plotting.COLOURS[0], 102, "right"),
    "mirrored digits": (plotting.COLOURS[2], 204, "left"),
    "fog": ("grey", 508, "left"),
}
for name, (colour, at, side) in places.items():
    height, edge = np.histogram(lengths[name], bins=np.arange(0, 700, 8), density=True)
    ax.stairs(height, edge, color=colour, linewidth=1.8)
    ax.annotate(name, (at, height[at // 8]), color=colour, ha=side)
ax.axvline(blank, color="black", linestyle="--", linewidth=1)
ax.annotate("blank paper", (blank, 0.0105), (5, 0), textcoords="offset points")
_ = ax.set(xlabel="bits", yticks=[], xlim=(0, 620))

# %% tags=["check"]
checks.at_most("bits of blank paper: below every test image", blank - bits_of.min(), 0)
checks.at_most("and yet few samples are blank", 2**-blank, 0.05)
apart = lengths["mirrored digits"] - bits_of
error = apart.std() / len(apart) ** 0.5
checks.at_least(
    "mirrored digits cost more, in standard errors", apart.mean() / error, 5
)
checks.at_least(
    "fog costs more than nine digits in ten",
    lengths["fog"].mean() - np.quantile(bits_of, 0.9),
    0,
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: if blank paper is so probable, why is it so rare among the samples?
There is one blank image, with a probability of about one in a thousand, and there are astronomically many digits with a far smaller one each.
Samples are *typical*: $-\log p$ is near its mean, the entropy, and not near its minimum.
```
"""

# %% [markdown]
r"""
## A label is one more variable

```{margin}
**In the sources.** CS236 notes, *Generative vs discriminative models*, and naive Bayes before it.
```

An image comes with a label $y$, and a joint table of both has two factorisations, $p(y)\, p(x \mid y) = p(x)\, p(y \mid x)$.

```{figure} ../figures/divergences_label.svg
:name: fig-div-label
:alt: Two graphs. On the left, generative, a circle y at the top points to five circles x below. On the right, discriminative, the five circles x point to the circle y.
:width: 480px

The same joint distribution, two directions: from the label to the pixels, and from the pixels to the label.
```

From $y$ to $x$ the model can draw an image of a given label: it is *generative*.
**Bayes' rule turns it round, and makes it a classifier.**
The simplest has independent pixels given the label, and is called *naive Bayes*:

$$
\begin{aligned}
p(x, y) &= p(y) \prod_i p(x_i \mid y), \\
p(y \mid x) &= \frac{p(x, y)}{\sum_{y'} p(x, y')} .
\end{aligned}
$$ (eq-div-bayes)

That is one table for each digit, and $10 \cdot 784 + 9 = 7{,}849$ numbers.
"""

# %%
y_train = run.data.labels[: len(x_train)].astype(int)
y_test = run.data.test_labels[: len(x_test)].astype(int)


def class_tables(parents):
    """One table for each digit."""
    return [CountTable(x_train[y_train == digit], parents) for digit in range(10)]


# %%
log_prior = np.log(np.bincount(y_train) / len(y_train))


def log_joint(tables, x):
    """log p(x, y) of shape (num_images, 10)."""
    return log_prior + np.stack([table.log_prob(x) for table in tables], 1)


naive_bayes = class_tables(networks["independent"])
log_p_xy = log_joint(naive_bayes, x_test)
log_p_x = special.logsumexp(log_p_xy, 1)
guess = log_p_xy.argmax(1)

# %% tags=["hide-input", "remove-output"]
# Its two numbers, recorded: as a classifier and as a model of images
right = guess == y_test
protocol = "independent pixels given the label, all test images"
accuracy = run.record(
    "naive_bayes_accuracy",
    right.mean(),
    standard_error=right.std() / len(right) ** 0.5,
    unit="1",
    protocol=protocol,
)
bayes_nll = run.record(
    "naive_bayes_test_nll",
    -log_p_x.mean(),
    standard_error=log_p_x.std() / len(log_p_x) ** 0.5,
    unit="nats",
    protocol=protocol,
)

# %% [markdown]
r"""
It gets about 84 % of the test digits right, and as a model of images, summed over the labels, it needs 171 nats: 35 fewer than independent pixels, and more than a chain.

**The posterior of naive Bayes is a logistic regression.**
$\log p(x, y)$ is linear in the pixels, $b_y + w_y \cdot x$, so that $p(y \mid x)$ is a softmax of ten linear functions.
The same holds for Gaussian classes with equal covariance; with unequal ones quadratic terms stay.
If only $p(y \mid x)$ is wanted, one can fit these linear functions directly, which is *discriminative*, and assumes nothing more about the pixels {cite:p}`ng2001`.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: two samples of naive Bayes for each label. Right: the weights of its log-odds of 4 against 9; ink on red speaks for 4, ink on blue for 9.", "name": "fig-div-bayes"}, "image": {"alt": "On the left two rows of ten clouds of dots, each in the rough shape of one digit. On the right a square with a blue bar at the top, where a nine is closed, and red beside it, where a four has its arms."}}
fig, (left, right_panel) = plt.subplots(
    1, 2, figsize=(7.4, 2.2), width_ratios=(2.9, 1), layout="constrained"
)
drawn = [table.sample(2, rng=run.rng) for table in naive_bayes]
plotting.image_grid(np.concatenate(np.stack(drawn, 1)), columns=10, ax=left)
w = np.array([[t[0, 1] - t[0, 0] for t in table.log_probs] for table in naive_bayes])
b = np.array([sum(t[0, 0] for t in table.log_probs) for table in naive_bayes])
weights = (w[4] - w[9]).reshape(1, 28, 28)
_ = plotting.image_grid(weights, columns=1, ax=right_panel, symmetric=True, limit=3)

# %% tags=["check"]
posterior = special.softmax(log_p_xy, 1)
linear = special.softmax(log_prior + b + x_test @ w.T, 1)
checks.close(
    "posterior of naive Bayes = softmax of linear functions",
    posterior,
    linear,
    atol=1e-9,
)

# %% tags=["check"]
spread = np.array([[2.0, 0.6], [0.6, 1.0]])
means, points = np.array([[0.0, 0.0], [1.0, -0.5]]), run.rng.normal(size=(50, 2))


def log_odds(second):
    """Of class 1 against class 0, with covariance `second` in class 1."""
    pair = (
        stats.multivariate_normal(means[0], spread),
        stats.multivariate_normal(means[1], second),
    )
    return pair[1].logpdf(points) - pair[0].logpdf(points)


slope = np.linalg.solve(spread, means[1] - means[0])
straight = points @ slope - means.sum(0) @ slope / 2
checks.close(
    "Gaussian classes, equal covariance: linear log-odds",
    log_odds(spread),
    straight,
    atol=1e-12,
)
square = ((points @ np.linalg.inv(spread)) * points).sum(1) / 4
square += (points @ slope) / 2 - means[1] @ slope / 4 - math.log(2)
checks.close(
    "covariance doubled in one class: a quadratic term",
    log_odds(2 * spread),
    square,
    atol=1e-12,
)

# %% tags=["check"]
two = np.stack([y_train >= 5, x_train[:, 406]], 1)
directions = [
    CountTable(two, given, pseudo_count=0) for given in ([(), (0,)], [(1,), ()])
]
grid = np.array(list(product((0, 1), repeat=2)))
checks.close(
    "from y to x, from x to y: the same joint table",
    *[table.log_prob(grid) for table in directions],
    atol=1e-14,
)
checks.at_least("naive Bayes: more often right than wrong", accuracy, 0.5)
if run.on_mnist and run.profile != "smoke":
    checks.close("naive Bayes: accuracy", accuracy, 0.84, atol=0.01)
    checks.close("naive Bayes: nats", bayes_nll, 170.9, atol=1.0)

# %% [markdown]
r"""
```{dropdown} A one-minute question: how can 171 nats be both better than independent pixels and worse than the tree?
To name the label costs at most $\log 10 = 2.3$ nats, and then hundreds of pixels are each a little cheaper.
What ties a pixel to the next one, the stroke, it does not know.
```

## Six ways to compare two distributions

```{margin}
**In the sources.** Borisyak, *Generative models*: $P(X) \approx P(X')$; Oslo, 16 April, *Kullback-Leibler relative entropy*.
```

"The model is close to the data": in which sense?
KL has a rival for each purpose:

$$
\begin{aligned}
\mathrm{JS} &= \tfrac12 \mathrm{KL}(p \Vert m) + \tfrac12 \mathrm{KL}(q \Vert m), \\
\mathrm{TV} &= \tfrac12 \textstyle\sum |p - q|, \\
H^2 &= \tfrac12 \textstyle\sum (\sqrt p - \sqrt q)^2, \\
\chi^2 &= \textstyle\sum (p - q)^2 / q, \\
W_1 &= \textstyle\int |F - G|\, dx,
\end{aligned}
$$ (eq-div-six)

the divergence of Jensen and Shannon, with $m = \frac12 (p + q)$, the *total variation*, the squared Hellinger distance, $\chi^2$, and the Wasserstein distance, the work to move $p$ onto $q$.
On a line it is an integral over the cumulative distributions $F$ and $G$; in more dimensions it is a search for the best plan.
"""


# %% tags=["twin:dgm.divergences.kl"]
def kl(p, q):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0).sum(-1)


# %% tags=["twin:dgm.divergences.jensen_shannon", "twin:dgm.divergences.total_variation", "twin:dgm.divergences.squared_hellinger", "twin:dgm.divergences.chi_squared", "twin:dgm.divergences.wasserstein_1d"]
def jensen_shannon(p, q):
    mixture = (p + q) / 2
    return (kl(p, mixture) + kl(q, mixture)) / 2


def total_variation(p, q):
    return np.abs(p - q).sum(-1) / 2


def squared_hellinger(p, q):
    return ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1) / 2


def chi_squared(p, q):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == q, 0, (p - q) ** 2 / q).sum(-1)


def wasserstein_1d(p, q, spacing=1.0):
    return np.abs(np.cumsum(p - q, axis=-1)).sum(-1) * spacing


# %% [markdown]
r"""
A density on a fine grid, times the spacing, is a table.
**Pull two Gaussians apart: some divergences explode, some go flat, one is proportional to the distance.**
"""

# %%
x, spacing = np.linspace(-20, 20, 4_001, retstep=True)


def gaussian(mean, std=1.0):
    """N(mean, std^2) as a table on the grid."""
    return stats.norm(mean, std).pdf(x) * spacing


measures = {
    "KL": kl,
    "Jensen-Shannon": jensen_shannon,
    "total variation": total_variation,
    "squared Hellinger": squared_hellinger,
    "chi squared": chi_squared,
    "W1": lambda p, q: wasserstein_1d(p, q, spacing),
}
shifts = np.linspace(0, 6, 61)
curves = {
    name: np.array([measure(gaussian(0), gaussian(shift)) for shift in shifts])
    for name, measure in measures.items()
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Six divergences of N(0, 1) and N(μ, 1). KL and chi squared explode, three are bounded and go flat, and with them the slope that a model could learn from; W1 is μ itself.", "name": "fig-div-six"}, "image": {"alt": "Six curves from zero over the distance of the means. Chi squared shoots up first, KL follows as a parabola, W1 is a straight line. Total variation, squared Hellinger and Jensen-Shannon bend and flatten at 1, 1 and 0.69."}}
fig, ax = plt.subplots(figsize=(7.0, 2.6))
places = {
    "KL": (2.45, 3.0, (7, -4)),
    "Jensen-Shannon": (4.6, None, (0, -14)),
    "total variation": (3.5, None, (0, 7)),
    "squared Hellinger": (2.3, None, (8, -11)),
    "chi squared": (1.27, 4.0, (-5, 0)),
    "W1": (4.1, None, (-8, 4)),
}
for (name, curve), colour in zip(curves.items(), plotting.COLOURS, strict=True):
    colour = "black" if name == "KL" else colour
    ax.plot(shifts, curve, color=colour)
    where, height, shift = places[name]
    height = np.interp(where, shifts, curve) if height is None else height
    ax.annotate(
        name,
        (where, height),
        shift,
        color=colour,
        textcoords="offset points",
        ha="right" if name in ("chi squared", "W1") else "left",
    )
_ = ax.set(xlabel="distance μ of the means", ylim=(0, 4.6), xlim=(0, 6))

# %% tags=["check"]
exact = {
    "KL": shifts**2 / 2,
    "total variation": special.erf(shifts / 8**0.5),
    "squared Hellinger": -np.expm1(-(shifts**2) / 8),
    "chi squared": np.expm1(shifts**2),
    "W1": shifts,
}
for name, values in exact.items():
    # Sums of smooth functions are exact to rounding.  |p - q| has a kink, where
    # the slope jumps by at most 0.5: an error of at most 0.5 / 12 spacing^2.
    kink = spacing**2 / 24 if name == "total variation" else 0
    checks.close(
        f"{name} of N(0, 1) and N(mu, 1)",
        curves[name],
        values,
        rtol=1e-9,
        atol=1e-12 + kink,
    )
checks.close("JS at mu = 1", curves["Jensen-Shannon"][10], 0.1114214822, atol=1e-9)
far = jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
checks.close(
    "JS of disjoint distributions = log 2, no square root", far, math.log(2), rtol=1e-15
)

# %% tags=["check"]
p, q = run.rng.dirichlet(np.ones(6), size=(2, 10_000))
for name, measure in measures.items():
    checks.at_least(f"{name} of 10,000 pairs of tables", measure(p, q), 0)
    checks.close(
        f"{name} of a table and itself", measure(p, p), 0 * measure(p, p), atol=1e-15
    )
log_q, target = torch.tensor(q).log(), torch.tensor(p)
library = torch.nn.functional.kl_div(log_q, target, reduction="none").sum(1)
checks.close("torch's kl_div(log q, p) is KL(p || q)", library, kl(p, q), atol=1e-12)
roots = spatial.distance.jensenshannon(p, q, axis=1)
checks.close(
    "scipy's jensenshannon is a root", roots**2, jensen_shannon(p, q), atol=1e-12
)
checks.close("KL, against scipy", kl(p, q), stats.entropy(p, q, axis=1), rtol=1e-9)
pearson = [stats.chisquare(p[i], q[i]).statistic for i in range(100)]
checks.close(
    "chi squared: Pearson's, q is expected",
    chi_squared(p, q)[:100],
    pearson,
    rtol=1e-10,
)
tv, there = total_variation(p, q), kl(p, q)
checks.at_most("Pinsker: TV at most sqrt(KL / 2)", tv - np.sqrt(there / 2), 0)
checks.at_most(
    "Bretagnolle and Huber: TV at most sqrt(1 - exp(-KL))",
    tv - np.sqrt(-np.expm1(-there)),
    0,
)

# %% [markdown]
r"""
**No processing makes two distributions easier to tell apart.**
Send $x$ through a channel, a table $T(y \mid x)$, from both $p$ and $q$: five of the six, all but $W_1$, cannot grow.
This *data-processing inequality* holds for every divergence of the form $\sum q\, f(p / q)$ with a convex $f$.
$W_1$ is not of that form: a channel may carry points further apart.

Each has its use: bounded ones for classifiers, $W_1$ where supports do not meet, KL where likelihoods are added.
For KL is **additive**, and splits as the chain rule does,

$$
\begin{aligned}
\mathrm{KL}(p_{xy} \Vert q_{xy}) &= \mathrm{KL}(p_x \Vert q_x) \\
&\quad + \bigl\langle \mathrm{KL}(p_{y \mid x} \Vert q_{y \mid x}) \bigr\rangle_{p_x} .
\end{aligned}
$$ (eq-div-chain)

"""

# %% tags=["check"]
channels = run.rng.dirichlet(np.full(6, 0.3), size=(10_000, 6))  # rows T(. | x)
after_p, after_q = ((r[:, None] @ channels)[:, 0] for r in (p, q))
order = run.rng.permutation(6)
for name in list(measures)[:5]:
    before = measures[name](p, q)
    grown = measures[name](after_p, after_q) - before
    checks.at_most(f"{name} does not grow in a channel", grown, 1e-12)
    turned = measures[name](p[:, order], q[:, order])
    checks.close(f"{name}: a permutation changes nothing", turned, before, rtol=1e-10)
grown = wasserstein_1d(after_p, after_q) - wasserstein_1d(p, q)
checks.at_least("W1 can grow", grown.max(), 0.1)
joint_p, joint_q = run.rng.dirichlet(np.ones(12), size=2).reshape(2, 3, 4)
margins = joint_p.sum(1), joint_q.sum(1)
rows = [
    joint / margin[:, None]
    for joint, margin in zip((joint_p, joint_q), margins, strict=True)
]
checks.close(
    "chain rule of KL",
    kl(joint_p.ravel(), joint_q.ravel()),
    kl(*margins) + margins[0] @ kl(*rows),
    atol=1e-14,
)
product_p, product_q = (
    np.outer(a[0], b[0]).ravel() for a, b in ((p, p[1:]), (q, q[1:]))
)
checks.close(
    "independent parts: KL adds up",
    kl(product_p, product_q),
    kl(p, q)[:2].sum(),
    rtol=1e-12,
)

# %% [markdown]
r"""
**KL is no distance: its two directions ask different questions.**
$\mathrm{KL}(p_\text{data} \Vert p)$ is infinite when the model excludes something that happens, so a model fitted by it covers everything.
$\mathrm{KL}(p \Vert p_\text{data})$ is infinite when the model does something that never happens, so such a model keeps to what is safe.
We fit one Gaussian to two peaks by each; the first fit is known, it has the mean and the variance of the data.
"""


# %%
def both_fits(gap, std=0.7):
    """The two peaks at -gap and gap, and the best Gaussian by KL in each direction."""
    peaks = (gaussian(-gap, std) + gaussian(gap, std)) / 2
    forward = (0.0, math.hypot(gap, std))

    def reverse_kl(parameters):
        mean, log_std = parameters
        return kl(gaussian(mean, math.exp(log_std)), peaks)

    starts = [(gap, math.log(std)), (0.0, math.log(forward[1]))]
    options = {"xatol": 1e-7, "fatol": 1e-13}
    found = [
        optimize.minimize(reverse_kl, start, method="Nelder-Mead", options=options)
        for start in starts
    ]
    mean, log_std = min(found, key=lambda fit: fit.fun).x
    return peaks, forward, (mean, math.exp(log_std))


gaps = np.arange(0, 4.01, 0.5)
fits = [both_fits(gap) for gap in gaps]


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One Gaussian for two peaks (blue), fitted by KL of the data with respect to the model (orange, covers both) and in the other direction (dashed, keeps both while they overlap, and from ±2 on takes one). Move the slider: it opens the gap.", "name": "fig-div-directions"}}
def fit_frame(gap, peaks, forward, reverse):
    fig, ax = plt.subplots(figsize=(7.0, 3.0))
    ax.fill_between(x, peaks / spacing, color=plotting.COLOURS[0], alpha=0.3, lw=0)
    for (mean, std), style, name in (
        (forward, "-", "KL(data ‖ model)"),
        (reverse, "--", "KL(model ‖ data)"),
    ):
        label = f"{name}: mean {mean:.2f}, std {std:.2f}"
        curve = gaussian(mean, std) / spacing
        ax.plot(x, curve, style, color=plotting.COLOURS[1], label=label)
    ax.set(xlim=(-7, 7), ylim=(0, 0.85), yticks=[], xlabel="x")
    ax.legend(loc="upper left", ncols=1)
    return fig


plotting.slider(
    [f"peaks at ±{gap:g}" for gap in gaps],
    (fit_frame(gap, *fit) for gap, fit in zip(gaps, fits, strict=True)),
    alt="A blue density with one peak that splits into two. A solid orange bell widens "
    "and covers both, also the empty middle; a dashed one stays narrow and sits on one.",
    width=600,
)

# %% tags=["check"]
peaks, forward, (mean, std) = fits[6]
checks.close("forward, peaks at 3: N(0, 9.49)", forward[1] ** 2, 9.49, atol=1e-12)
moments = [(peaks * x).sum(), (peaks * x**2).sum()]
checks.close("forward: mean and variance of the data", moments, [0, 9.49], atol=1e-9)
checks.gradient(
    "and there the derivatives of KL(data || model) vanish",
    lambda at: kl(peaks, gaussian(at[0], math.exp(at[1]))),
    np.array([0.0, math.log(forward[1])]),
    np.zeros(2),
    atol=1e-8,
)
checks.close("reverse, peaks at 3: one of them", [mean, std], [3.0, 0.7], atol=0.005)
between = [found[2][0] for found in fits[3:5]]
checks.close(
    "reverse, peaks at 1.5 and at 2: the mean between them, then near one",
    between,
    [0.0, 2.0],
    atol=0.05,
)
checks.gradient(
    "and there the derivatives of KL(model || data) vanish",
    lambda at: kl(gaussian(at[0], math.exp(at[1])), peaks),
    np.array([mean, math.log(std)]),
    np.zeros(2),
    atol=1e-5,
)
two_of_four, uniform = np.array([0.5, 0.5, 0, 0]), np.full(4, 0.25)
directions = [kl(two_of_four, uniform), kl(uniform, two_of_four)]
checks.close(
    "half the states: log 2, and infinite",
    directions,
    [math.log(2), math.inf],
    rtol=1e-15,
)

# %% [markdown]
r"""
```{margin}
**Common mistakes:** `torch.nn.functional.kl_div(a, b)` is $\mathrm{KL}(b \Vert e^a)$: the logarithm first, the target second; and scipy's `jensenshannon` is the square root.
```

```{dropdown} A one-minute question: p is uniform on two of four states, u on all four. What is KL in each direction?
$\mathrm{KL}(p \Vert u) = \log 2$, and $\mathrm{KL}(u \Vert p) = \infty$: $u$ visits states that $p$ excludes.
```

## Estimating the divergence from samples

Sums over all states are rare; usually we have samples and can evaluate both densities.
With $x$ from $p$ and $r = q(x) / p(x)$, where $p$ excludes nothing that $q$ can do, there are three estimates of $\mathrm{KL}(p \Vert q)$ {cite:p}`schulman2020`,

$$
\begin{aligned}
k_1 &= -\log r, \\
k_2 &= \tfrac12 (\log r)^2, \\
k_3 &= r - 1 - \log r .
\end{aligned}
$$ (eq-div-estimates)

$k_1$ is the definition, and half of its values may have the wrong sign.
$k_2$ is positive and biased.
**$k_3$ is unbiased, since $\langle r \rangle = 1$, and never negative, since $\log r \leq r - 1$.**
It is the estimate to use when $p$ and $q$ are close, as two stages of one training are.
"""


# %% tags=["twin:dgm.divergences.kl_terms"]
def kl_terms(log_p, log_q):
    log_r = log_q - log_p
    return {"k1": -log_r, "k2": log_r**2 / 2, "k3": np.expm1(log_r) - log_r}


# %%
def estimates(mu, num_samples=200_000):
    """The three for KL(N(0, 1) || N(mu, 1)) = mu^2 / 2, one value a sample."""
    sample = run.rng.normal(size=num_samples)
    return kl_terms(stats.norm(0).logpdf(sample), stats.norm(mu).logpdf(sample))


def exact_deviations(mu):
    """Of one term of each, for these two Gaussians."""
    k2 = np.sqrt(mu**4 / 2 + mu**6 / 4)
    return {"k1": mu, "k2": k2, "k3": np.sqrt(np.expm1(mu**2) - mu**2)}


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Standard deviation of one term of each estimate, over the divergence itself, for N(0, 1) and N(μ, 1). Lines: exact. Points: 200,000 samples. Close together k3 wins by far; far apart its weights explode.", "name": "fig-div-estimates"}, "image": {"alt": "Three curves on logarithmic axes. k1 falls as a straight line from 40. k2 and k3 are flat near 1.4 for close distributions; beyond a distance of one, k3 turns sharply upwards and crosses k1, k2 rises slowly."}}
fig, ax = plt.subplots(figsize=(7.0, 3.2))
distances = np.geomspace(0.05, 3, 60)
places = {"k1": (0.1, (8, 4)), "k2": (2.6, (-10, -14)), "k3": (2.2, (-24, 0))}
for (name, (at, shift)), colour in zip(places.items(), plotting.COLOURS, strict=False):
    relative = exact_deviations(distances)[name] / (distances**2 / 2)
    ax.plot(distances, relative, color=colour)
    for mu in (0.05, 0.1, 0.2, 0.5, 1.0, 1.5):
        measured = estimates(mu)[name].std() / (mu**2 / 2)
        ax.plot(mu, measured, "o", color=colour, markersize=5)
    y = np.interp(at, distances, relative)
    ax.annotate(name, (at, y), shift, color=colour, textcoords="offset points")
ax.set(xlabel="distance μ of the means", ylabel="deviation / divergence")
_ = ax.set(xscale="log", yscale="log", ylim=(0.8, 60))

# %% tags=["check"]
for mu in (0.2, 1.0):
    means = {"k1": mu**2 / 2, "k2": (mu**2 + mu**4 / 4) / 2, "k3": mu**2 / 2}
    for name, terms in estimates(mu).items():
        checks.unbiased(f"mean of {name} at distance {mu:g}", terms, means[name])
        squares, variance = (terms - means[name]) ** 2, exact_deviations(mu)[name] ** 2
        checks.unbiased(f"variance of {name} at distance {mu:g}", squares, variance)
    checks.at_least("k3 is never negative", terms, 0)

# %% [markdown]
r"""
**Two histograms are not enough.**
Without densities one is tempted to count the samples of both in the same bins.
An empty bin of $q$ makes KL infinite; a small $\epsilon$ in each empty bin makes it finite, and then $\epsilon$ decides:
"""

# %% tags=["hide-input"]
# KL of two histograms of 1,000 samples each, with epsilon in the empty bins of q
bins = np.linspace(-4, 5, 51)
h_p, h_q = (
    np.histogram(run.rng.normal(mean, 1, 1000), bins)[0] / 1000 for mean in (-0.5, 1.5)
)


def histogram_kl(epsilon):
    """KL(p || q) of the two histograms."""
    return kl(h_p, np.where(h_q > 0, h_q, epsilon))


rows = {f"{epsilon:g}": histogram_kl(epsilon) for epsilon in (1e-3, 1e-6, 1e-9, 0.0)}
plotting.table(rows | {"exact": 2.0}, columns=("ε", "KL"))

# %% tags=["check"]
lost = h_p[h_q == 0].sum()  # the share of p in bins that q never hit
halved = histogram_kl(0.5e-6) - histogram_kl(1e-6)
checks.close(
    "halving epsilon adds that share times log 2", halved, lost * math.log(2), rtol=1e-9
)
checks.at_least("which is not small: share", lost, 0.02)

# %% [markdown]
r"""
For images even the entropy of the data is unknown, and so is KL itself.
What can be measured is the difference of two models, and that is why this book reports nats, and not divergences.

```{dropdown} A one-minute question: a model has a test log-likelihood of -97 nats on thresholded digits, another one -98 on digits drawn from their grey values. Which is better?
It can't be said.
The two data sets have different entropies, so the numbers differ by more than the models.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- $p(x) = \prod_i p(x_i \mid x_{\mathrm{pa}(i)})$, {eq}`eq-div-network`: each missing arrow is an assumption
- cross-entropy = $\mathcal{H}[p_\text{data}] + \mathrm{KL}(p_\text{data} \Vert p)$, {eq}`eq-div-kl`: likelihood, divergence and code length are one measure
- $L(x) = \lceil -\log_2 p(x) \rceil + 1$, {eq}`eq-div-code`: a model is a code, and a code is a model

**What a table of counts can do**

- **Likelihood:** exact, by looking up 784 numbers. Ten neighbours: 97.2 nats, the number to beat.
- **Sampling:** exact, one pixel after another.
- **Latent code:** none; with a label in front, ten classes.
- **What fails:** the table doubles with each parent, and over-fits before it sees a whole digit.
```
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} The counts by gradient ascent (easy)
:label: ex-div-sgd
```
Networks have no formula for their best parameters and climb the likelihood step by step.
Do it for independent pixels, where the summit is known.
Write `ascend(logits, batch, rate)`: the logits after one step of size `rate` up the mean log-likelihood of `batch`, images of shape (num_images, num_pixels).
The reward is a picture: the likelihood of 500 such steps, beside that of the counts.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def ascend(logits, batch, rate):
    return None


# %% tags=["check"]
def check_ascend(answer):
    start = run.rng.normal(size=12)
    if (after := answer(start, patch[:50], 1.0)) is None:
        return print("not yet")

    def mean_log_prob(z, images):
        signs = 2.0 * images - 1
        return special.log_expit(signs * z).sum(1).mean()

    claim = "the step is the gradient of the mean log-likelihood"
    checks.gradient(
        claim, lambda z: mean_log_prob(z, patch[:50]), start, after - start, atol=1e-8
    )
    logits, curve = np.zeros(784), []
    for step in range(500):
        rows = run.rng.integers(len(x_train), size=100)
        logits = answer(logits, x_train[rows], 8 * (1 - step / 500))
        if step % 10 == 9:
            curve.append(-mean_log_prob(logits, x_test[:1000]))
    _, ax = plt.subplots(figsize=(7.0, 2.6))
    ax.plot(range(10, 501, 10), curve, color=plotting.COLOURS[1])
    plotting.reference_line(ax, nll["independent"][:1000].mean(), "the counts")
    ax.set(xlabel="step", ylabel="nats")
    return print("right")


check_ascend(ascend)

# %% [markdown]
r"""
````{solution-start} ex-div-sgd
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A jagged curve that falls by some eight nats and becomes smoother, until it meets the dashed line of the counts."}}
def ascend(logits, batch, rate):
    return logits + rate * (batch.mean(0) - 1 / (1 + np.exp(-logits)))


check_ascend(ascend)

# %% [markdown]
r"""
The gradient in a logit is the mean of the data less that of the model.
A batch of 100 gives it with an error, which the falling rate averages away; this is the loop with which most models of this book are trained.
````{solution-end}
````

```{exercise-start} The worst tree (easy)
:label: ex-div-worst
```
How much of the gain of Chow and Liu's tree comes from choosing well?
Write `worst_tree(information)`: the parents of the spanning tree with the *lowest* likelihood.
Guess its nats before you look.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def worst_tree(information):
    return None


# %% tags=["check"]
def check_worst(answer):
    if (found := answer(mutual_information(six))) is None:
        return print("not yet")
    TopologicalSorter(dict(enumerate(found))).prepare()  # refuses a cycle
    counts = sorted(len(given) for given in found)
    checks.close("one root, five pixels with one parent", counts, [0, 1, 1, 1, 1, 1])
    checks.close(
        "the worst of 1,296 trees", train_nll(found, six), max(every), rtol=1e-12
    )
    cost = -CountTable(x_train, answer(information)).log_prob(x_test).mean()
    best, none = nll["tree"].mean(), nll["independent"].mean()
    print(f"best tree {best:.1f}, worst tree {cost:.1f}, no tree {none:.1f} nats")
    return print("right")


check_worst(worst_tree)

# %% [markdown]
r"""
````{solution-start} ex-div-worst
:class: dropdown
````
"""


# %% tags=["solution"]
def worst_tree(information):
    return maximum_spanning_tree(-information)


check_worst(worst_tree)

# %% [markdown]
r"""
Each pixel hangs on one that tells it nothing, such as a corner that is always empty, and the tree is as good as none.
````{solution-end}
````

```{exercise-start} Better tables, better classifier (medium)
:label: ex-div-classes
```
Bayes' rule turns any model of $p(x \mid y)$ into a classifier.
Write `classify(parents)` that fits one table for each digit with these parents, and returns the predicted labels of `x_test` and $\log p(x)$ of each test image, summed over the labels.
The reward: samples of each digit, from six neighbours.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def classify(parents):
    return None


# %% tags=["check"]
def check_classify(answer):
    if (found := answer(networks["independent"])) is None:
        return print("not yet")
    labels, log_p = found
    checks.close("labels of naive Bayes", labels, guess)
    checks.close("its log p(x)", log_p, log_p_x, atol=1e-9)
    labels, log_p = answer(networks["6"])
    share, nats = (labels == y_test).mean(), -log_p.mean()
    print(f"six neighbours: {share:.1%} right, {nats:.1f} nats")
    if run.on_mnist:
        checks.at_least("more right than naive Bayes", share - right.mean(), 0.05)
        gain = log_p + nll["10"]
        error = gain.std() / len(gain) ** 0.5
        fewer = "nats fewer than ten without labels, in standard errors"
        checks.at_least(fewer, gain.mean() / error, 5)
    drawn = [table.sample(3, rng=run.rng) for table in class_tables(networks["6"])]
    plotting.image_grid(np.concatenate(np.stack(drawn, 1)), columns=10)
    return print("right")


check_classify(classify)

# %% [markdown]
r"""
````{solution-start} ex-div-classes
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Three rows of ten black and white pictures, columns from zero to nine: most look like rough versions of their digit."}}
def classify(parents):
    log_p = log_joint(class_tables(parents), x_test)
    return log_p.argmax(1), special.logsumexp(log_p, 1)


check_classify(classify)

# %% [markdown]
r"""
One label more is worth more nats than four neighbours more: it is the only thing here that knows of the whole digit.
Hidden variables, of which nobody gives the value, are the subject of many later lectures.
````{solution-end}
````

```{exercise-start} Send the table as well (medium)
:label: ex-div-universal
```
Sender and receiver start with empty tables.
Each pixel is coded with the counts so far, $p(b) = (n_b + \frac12) / (n_0 + n_1 + 1)$ in its context, and then counted by both.
Nothing else is sent.
Write `universal_bits(x, parents)`: the bits that all images `x` take together, without a loop over images.
(The product of all these factors depends on the final counts only, and $\Gamma(t + 1) = t\, \Gamma(t)$.)
```{exercise-end}
```
"""


# %% tags=["exercise"]
def universal_bits(x, parents):
    return None


# %% tags=["check"]
def check_universal(answer):
    some, template = patch[:40], neighbours(TEMPLATE[:2], 3, 4)
    if (found := answer(some, template)) is None:
        return print("not yet")
    one_by_one = sum(
        -CountTable(some[:n], template).log_prob(some[n : n + 1])[0] for n in range(40)
    )
    checks.close(
        "bits of 40 patches, one by one", found, one_by_one / math.log(2), rtol=1e-11
    )
    column = x_train[:, [pixel]]
    best = len(column) * entropy / math.log(2)
    extra = answer(column, [()]) - best
    half_a_log = 0.5 * math.log2(len(column))
    checks.at_least(
        "one parameter costs about log2(N) / 2 bits: more than", extra, half_a_log - 1
    )
    checks.at_most("and at most one bit more", extra, half_a_log + 1)
    bits = {
        name: answer(x_test, networks[name]) / len(x_test) for name in ("2", "6", "10")
    }
    rows = {f"{name} neighbours": value for name, value in bits.items()}
    print(
        plotting.table(compressors | rows, columns=("", "bits for an image"), digits=4)
    )
    if run.on_mnist and run.profile != "smoke":
        checks.at_most("six neighbours, over bz2", bits["6"] / compressors["bz2"], 0.8)
        checks.at_most("10,000 images: six less ten", bits["6"] - bits["10"], -1)
        six_all, ten_all = (
            answer(x_train, networks[k]) / len(x_train) for k in ("6", "10")
        )
        checks.at_least("50,000 images: six less ten", six_all - ten_all, 1)
    return print("right")


check_universal(universal_bits)

# %% [markdown]
r"""
````{solution-start} ex-div-universal
:class: dropdown
````
"""


# %% tags=["solution"]
def universal_bits(x, parents):
    nats = 0.0
    for counts in CountTable(x, parents).counts:
        nats += special.gammaln(counts.sum(1) + 1).sum()
        nats -= (special.gammaln(counts + 0.5) - special.gammaln(0.5)).sum()
    return nats / math.log(2)


check_universal(universal_bits)

# %% [markdown]
r"""
Each parameter costs about $\frac12 \log_2 N_u$ bits, the price of learning it, with $N_u$ the number of times its context came.
So with 10,000 images six neighbours are better than ten; with 50,000 ten win.
````{solution-end}
````

```{exercise-start} Bits back (hard)
:label: ex-div-bits-back
```
To send a patch with a mixture, $p(x) = \sum_y p(y)\, p(x \mid y)$, one might choose a label and send both, $-\log_2 p(x, y)$ bits: too many.
*Bits-back coding* {cite:p}`hinton1993,townsend2019` gets the excess back: the label is not chosen, it is *read* from the bits that are to be sent anyway.
The bits are a stack, one large integer.
The cell below has `label_push(state, weights, y)` and `label_pop(state, weights)`, for labels with probabilities proportional to `weights`, and `image_push(state, table, x)` and `image_pop(state, table)`; each pop undoes the push.
Write `send(state, x)`: pop a label by the posterior, push the patch given it, push the label by the prior.
What does a patch cost?
```{exercise-end}
```
"""


# %% tags=["hide-input"]
# A stack of symbols in one integer, and the mixture of ten tables for the patch
def push(state, start, size, total):
    """Push the symbol that owns start, ..., start + size - 1 of total numbers."""
    return state // size * total + start + state % size


def pop(state, start, size, total):
    """Undo that push."""
    return state // total * size + state % total - start


def shares(weights):
    """Ten whole numbers, about in the ratio of the weights, none zero, 2^16 in sum."""
    sizes = 1 + np.floor(weights / weights.sum() * (2**16 - 10)).astype(int)
    sizes[sizes.argmax()] += 2**16 - sizes.sum()
    return sizes.tolist(), [0, *np.cumsum(sizes).tolist()]


def label_push(state, weights, y):
    sizes, starts = shares(weights)
    return push(state, starts[y], sizes[y], 2**16)


def label_pop(state, weights):
    sizes, starts = shares(weights)
    y = next(y for y in range(10) if state % 2**16 < starts[y + 1])
    return pop(state, starts[y], sizes[y], 2**16), y


def image_push(state, table, x):
    for i in reversed(range(len(x))):  # the last pixel first: it is popped last
        zero, one = odds(table, i, x)
        state = push(state, *((zero, one) if x[i] else (0, zero)), zero + one)
    return state


# %% tags=["hide-input"]
# Its other half, and the weights
def image_pop(state, table):
    x = np.zeros(len(table.parents), dtype=np.uint8)
    for i in range(len(x)):
        zero, one = odds(table, i, x)
        x[i] = state % (zero + one) >= zero
        state = pop(state, *((zero, one) if x[i] else (0, zero)), zero + one)
    return state, x


patch_tables = [CountTable(patch[y_train == y], line) for y in range(10)]
prior = np.exp(log_prior)


def posterior_weights(x):
    """p(y | x), up to a factor, of one patch."""
    return np.exp(log_joint(patch_tables, x[None])[0])


# %% tags=["exercise"]
def send(state, x):
    return None


# %% tags=["check"]
def receive(state):
    state, y = label_pop(state, prior)
    state, x = image_pop(state, patch_tables[y])
    return label_push(state, posterior_weights(x), y), x


def check_send(answer):
    message = int.from_bytes(run.rng.bytes(500), "big") + (1 << 4000)
    if answer(message, patch[0]) is None:
        return print("not yet")
    images, state = patch[:200], message
    for x in images:
        state = answer(state, x)
    net = math.log2(state) - math.log2(message)
    for x in reversed(images):
        state, found = receive(state)
        checks.close("a patch comes back", found, x) if (found != x).any() else None
    checks.true("the message comes back, bit for bit", state == message)
    joint = log_joint(patch_tables, images)
    log_p = special.logsumexp(joint, 1)
    # Rounding to 2^-16: on average 10 / 2^16 nats a label at most, twice a patch.
    # A label with a posterior below 2^-16 costs more: one run in 500 meets one.
    slack = 5 * 200 * 2 * 10 / 2**16 / math.log(2)
    checks.close(
        "bits of 200 patches = -log2 p(x)", net, -log_p.sum() / math.log(2), atol=slack
    )
    chosen = -joint.max(1).mean() / math.log(2)
    print(f"{net / 200:.2f} bits a patch; with the best label sent {chosen:.2f}")
    return print("right")


check_send(send)

# %% [markdown]
r"""
````{solution-start} ex-div-bits-back
:class: dropdown
````
"""


# %% tags=["solution"]
def send(state, x):
    state, y = label_pop(state, posterior_weights(x))
    state = image_push(state, patch_tables[y], x)
    return label_push(state, prior, y)


check_send(send)

# %% [markdown]
r"""
The pop shortens the stack by $-\log_2 p(y \mid x)$ bits, the pushes lengthen it by $-\log_2 p(x, y)$: the difference is $-\log_2 p(x)$, whatever label was read.
With another $q(y \mid x)$ in place of the posterior the mean cost is higher, by $\mathrm{KL}(q \Vert p(y \mid x))$: it is minus the ELBO, the bound of [the next but one part](elbo.ipynb).
````{solution-end}
````

## Further

### Which divergence is used where

This unit is a map: it says which of these measures each family of models in this book makes small.

| family | what becomes small | how |
|:--|:--|:--|
| tables, autoregressive models, flows | $\mathrm{KL}(p_\text{data} \Vert p)$ | the likelihood is exact |
| [energies](boltzmann_machines.ipynb) | the same | its gradient needs samples of the model |
| [latent variables](elbo.ipynb) | an upper bound on it | minus the ELBO |
| [adversaries](jensen_shannon.ipynb) | Jensen-Shannon, other $f$, $W_1$ | from samples alone, by a second network |
| [scores and diffusion](score_matching.ipynb) | mean square of a difference of gradients | the normaliser drops out |

### Explaining away

This unit shows what an arrow can do that no undirected line can.
An alarm $a$ has two possible causes, a burglar $b$ and an earthquake $e$, which are independent.
**Given their common effect, they are not:** once the alarm rings, hearing of the earthquake makes the burglar improbable again.
"""

# %%
p_b, p_e = 0.01, 0.02
rings = np.array([[0.001, 0.3], [0.9, 0.95]])  # p(alarm | b, e)
joint = np.outer([1 - p_b, p_b], [1 - p_e, p_e]) * rings  # p(b, e, alarm)
given_alarm = joint[1].sum() / joint.sum()
given_both = joint[1, 1] / joint[:, 1].sum()
plotting.table(
    {"at first": p_b, "alarm": given_alarm, "alarm and earthquake": given_both},
    columns=("given", "p(burglar)"),
    digits=2,
)

# %% tags=["check"]
checks.at_least("the alarm makes a burglar probable", given_alarm, 0.3)
checks.at_most("the earthquake explains it away", given_both, 0.1)
table = np.stack([joint, np.outer([1 - p_b, p_b], [1 - p_e, p_e]) - joint])
causes = table.sum(0)
checks.close(
    "without the alarm the causes are independent",
    causes,
    np.outer(causes.sum(1), causes.sum(0)),
    atol=1e-15,
)

# %% [markdown]
r"""
To turn such a graph into one without arrows, one must join the parents of each child by a line (*moralise* it), which forgets that they were independent.

### What KL means: large deviations

This unit gives the divergence a meaning without models.
Draw $n$ coins that are on with probability $q$.
The probability $P$ that a share $p > q$ or more is on falls exponentially, and the rate is the divergence of a coin with $p$ from one with $q$ (a case of Sanov's theorem {cite:p}`cover2006`):

$$
-\tfrac1n \log P = \mathrm{KL}(p \Vert q) + \frac{\log n}{2n} + O\Bigl(\frac1n\Bigr) .
$$ (eq-div-sanov)
"""

# %%
sizes = np.array([100, 1_000, 10_000, 100_000])
rate = kl(np.array([0.6, 0.4]), np.array([0.5, 0.5]))
tails = [stats.binom(n, 0.5).logpmf(np.arange(6 * n // 10, n + 1)) for n in sizes]
exponents = -np.array([special.logsumexp(tail) for tail in tails]) / sizes
plotting.table(
    [
        (f"n = {n:,}", value, value - math.log(n) / 2 / n, rate)
        for n, value in zip(sizes, exponents, strict=True)
    ],
    columns=("60 % heads of a fair coin", "exact rate", "less log n / 2n", "KL"),
    digits=5,
)

# %% tags=["check"]
left = (exponents - rate) * sizes - np.log(sizes) / 2
# Stirling's formula for the first term, then a geometric series, ratio 0.4 / 0.6;
# its terms fall a little faster, which is about 20 / n.
constant = math.log(2 * math.pi * 0.6 * 0.4) / 2 + math.log(1 - 2 / 3)
checks.close(
    "what is left tends to a constant", left[-1], constant, atol=100 / sizes[-1]
)
checks.at_most("as 1 / n: the difference, times n", abs(left - constant) * sizes, 100)

# %% [markdown]
r"""
### Projections, and balls that are not round

This unit shows the geometry behind maximum likelihood.
For a family such as the independent pixels, let $q^*$ be the member with the means of the data, which is the one of maximum likelihood.
For every other member $q$ a theorem of Pythagoras holds, with divergences in place of squares {cite:p}`csiszar1975`:

$$
\begin{aligned}
\mathrm{KL}(p_\text{data} \Vert q) &= \mathrm{KL}(p_\text{data} \Vert q^*) \\
&\quad + \mathrm{KL}(q^* \Vert q) .
\end{aligned}
$$ (eq-div-pythagoras)

But exchange the arguments and the "distance" is another one: on three states the points at equal divergence *from* a centre and *to* it make different curves.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "All distributions on three states; the corners are certain. Curves of equal divergence, KL(p, centre) on the left and KL(centre, p) on the right, at the same six levels.", "name": "fig-div-balls"}, "image": {"alt": "Two triangles with curves around the same point. On the left the outer curves end at the sides of the triangle, on the right they bend away from the sides and never touch them."}}
corners = np.array([[0, 0], [1, 0], [0.5, 0.866]])
centre, ticks = np.array([0.5, 0.3, 0.2]), np.linspace(0.001, 0.999, 500)
a, c = np.meshgrid(ticks, ticks)
points3 = np.stack([1 - a - c, a, c], -1)
inside = points3.min(-1) > 0
points3 = np.where(inside[..., None], points3, np.nan)
plane = points3 @ corners
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
for ax, values, name in zip(
    axes,
    (kl(points3, centre), kl(centre, points3)),
    ("KL(p ‖ centre)", "KL(centre ‖ p)"),
    strict=True,
):
    across, up = a + c / 2, c * 0.866
    values = np.where(inside, values, np.nan)
    ax.contour(
        across, up, values, levels=[0.02, 0.08, 0.18, 0.32, 0.5, 0.7], cmap="copper"
    )
    ax.fill(*corners.T, facecolor="none", edgecolor="black")
    ax.plot(*(centre @ corners), "o", color="black")
    ax.set(aspect="equal", xlabel=name, xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)

# %% tags=["check"]
star = np.exp(CountTable(patch, [()] * 12, pseudo_count=0).log_prob(states))
for _ in range(3):
    other = run.rng.uniform(0.1, 0.9, 12)
    member = np.prod(np.where(states == 1, other, 1 - other), 1)
    checks.close(
        "Pythagoras: KL to any member = KL to the nearest + the rest",
        kl(p_data, member),
        kl(p_data, star) + kl(star, member),
        rtol=1e-12,
    )
ends, middle = np.array([1.0, 0.0, 0.0]), centre
directions = [kl(ends, middle), kl(middle, ends)]
checks.close(
    "at a corner: finite in one direction only",
    directions,
    [-math.log(0.5), math.inf],
    rtol=1e-12,
)

# %% [markdown]
r"""
### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $x \in \{0, 1\}^n$ | `x` | an image, $n = 784$ pixels in rows |
| $\mathrm{pa}(i)$ | `parents[i]` | the pixels that $x_i$ may depend on |
| $n_{iub}$, $\theta_{iub}$ | `counts`, `log_probs` | images with context $u$ and pixel $b$; estimated probability |
| $a$ | `pseudo_count` | added to each count, 1/2 |
| $\mathcal{H}$, $I(x_i; x_j)$ | `information` | entropy, mutual information, in nats |
| $L(x)$ | `code_length` | bits of the code of $x$ |
| $y$, $w_y$, $b_y$ | `y_test`, `w`, `b` | label; weights of its logistic regression |
| $p$, $q$, $m$ | `p`, `q`, `mixture` | two distributions and their mean |
| $F$, $G$ | `np.cumsum` | cumulative distributions of $p$ and $q$ |
| $r$ | `log_r` | $q(x) / p(x)$ at a sample of $p$ |
| $T(y \mid x)$ | `channels` | a channel: probabilities of the output |

## Reading

**What comes next:** smoother densities with [kernels and mixtures](kde_gmm.ipynb), then [networks in place of the tables](autoregressive.ipynb); [Boltzmann machines](boltzmann_machines.ipynb), where the product of conditionals gives way to an energy; [the ELBO](elbo.ipynb), with hidden variables.

**Reading:** {cite:t}`cover2006`, chapters 2, 5, 11 and 13, for codes, entropy and large deviations; {cite:t}`mackay2003`, chapters 4 to 6, for the same with pictures; {cite:t}`theis2016` for what a likelihood does not say about samples; {cite:t}`schulman2020` for the three estimates.
What the sources say differently is on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

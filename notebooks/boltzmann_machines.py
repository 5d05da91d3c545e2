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
# Boltzmann machines and the gradient of log Z

Give every state an energy, and low energies become high probabilities; learning then has two forces, one that pulls towards the data and one that pushes away from what the model itself produces.
Here the machine is so small that every sum can be done, so you will see exactly what these forces are, what sampling makes of them, and where the standard shortcuts go wrong.

```{opening} fig-bm-film
A machine learns three bits. Blue: the data push up. Orange: the model pushes down. Where the two cancel, learning ends.
```

At the end of this lecture you will be able to

1. turn an energy into a probability, and say which questions need no normaliser $Z$;
2. derive the gradient of $\log Z$ and of the likelihood with its two phases, and evaluate every line of the derivation;
3. compute $Z$ of a small machine in three ways, and predict the size at which that takes longer than the age of the universe;
4. say why learning minimises a divergence, and when it can end in a false maximum;
5. predict the error of a gradient that is estimated by Gibbs sampling, and the exact bias of contrastive divergence.

- **You need** probability with sums over states, the sigmoid $\sigma(a) = 1/(1 + e^{-a})$, derivatives, eigenvalues, NumPy.
- **Sources:** {cite:t}`ackley1985` for the machine and its learning rule, {cite:t}`smolensky1986` for the restricted one, {cite:t}`geman1984` for Gibbs sampling, {cite:t}`wainwright2008` for exponential families, {cite:t}`hinton2002` for contrastive divergence.
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
from itertools import combinations, islice, repeat

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import numpy as np

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "max_units": (16, 20, 22),  # of the machines whose enumeration is timed
    "num_chains": (
        50_000,
        200_000,
        1_000_000,
    ),  # one or two sweeps each, against a kernel
    "num_repetitions": (200, 400, 1_000),  # independent estimates of the gradient
    "chain_length": (1_024, 4_096, 16_384),  # sweeps behind the longest of them
    "ascent_steps": (20_000, 30_000, 100_000),  # of exact gradient ascent
}

# %%
run = dgm.start("boltzmann_machines", parameters=PARAMETERS)
P = run.parameters
rng = run.rng

# %% [markdown]
r"""
## An energy is a probability up to a factor

A model of data gives every $x$ a number $p(x) \ge 0$, and these numbers must sum or integrate to one.
The first demand is easy: take any function $E(x)$, the **energy**, and use $e^{-E(x)}$.
The second couples all $x$ to each other: raising $p$ in one place means lowering it elsewhere.

$$
\begin{aligned}
p_\theta(x) &= \frac{f_\theta(x)}{Z(\theta)}, \qquad
f_\theta(x) = e^{-E_\theta(x)}, \\
Z(\theta) &= \int f_\theta(x)\, dx
\quad\text{or}\quad \sum_x f_\theta(x) .
\end{aligned}
$$ (eq-bm-model)

The number $Z$ is the **partition function**.
It depends on the parameters $\theta$ and not on $x$, and this whole lecture is about it.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: an energy, and the same one unit higher. Middle: the weights exp(-E), two curves with different areas Z. Right: divided by their areas they are one density.", "name": "fig-bm-problem"}, "image": {"alt": "Three panels. Two parallel curves with two valleys each; two curves with two hills of different height; and one single curve with two hills, on which a dashed one lies."}}
x = np.linspace(-3, 3, 2001)
width = x[1] - x[0]
well = 2 * (x**2 - 1) ** 2 + 0.5 * x  # two valleys of unequal depth
z_low, z_high = (np.exp(-E).sum() * width for E in (well, well + 1))
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.4))
for E, z, line, colour in (
    (well, z_low, "-", plotting.COLOURS[0]),
    (well + 1, z_high, "--", plotting.COLOURS[1]),
):
    for ax, curve in zip(axes, (E, np.exp(-E), np.exp(-E) / z), strict=True):
        ax.plot(x, curve, line, color=colour)
    height = 1.5 if line == "-" else 1.15
    axes[1].text(0, height, f"Z = {z:.2f}", color=colour, ha="center")
for ax, label in zip(
    axes, ("energy E(x)", "weight exp(-E)", "density p(x)"), strict=True
):
    ax.set(xlabel="x", ylabel=label, xlim=(-2, 2))
_ = axes[0].set_ylim(-1, 5)

# %% [markdown]
r"""
The two energies are different functions and the same model.

```{margin}
**In the sources.** CS236 notes, *Energy based models*, first half; Borisyak, *Types of generative models*.
```

**There are three ways to live with $Z$: know it, never need it, or count, estimate or bound it.**
Gaussians and many other exponential families know it in closed form, and mixtures, autoregressive models and flows have $Z = 1$ by construction; one draws from them directly.
The price is a restricted $f$.
Boltzmann machines, and energies made of neural networks, allow any $f$.
For small ones we count $Z$; for large ones we look for questions that do not need it.

```{margin}
**A common mistake:** the sentence that explicit densities are known only up to a constant and need a Markov chain.
That is so for energies alone.
Such boxes name slips found in lecture notes; all of them stand on the [errata page](../book/errata.md).
```

Not every function can be made a probability: on an unbounded space $e^{-E}$ needs a finite integral.
On the real line $E(x) = 0$ has none, nor has $E(x) = \frac12 \log(1 + x^2)$, which grows, but too slowly.
On a finite set of states this worry is gone.
"""


# %% tags=["check"]
checks.close("one more unit of energy: log Z", np.log(z_low / z_high), 1.0, atol=1e-12)


def integral(energy, L, num_points=400_001):
    x = np.linspace(-L, L, num_points)
    return np.exp(-energy(x)).sum() * (x[1] - x[0])


growth = [  # what doubling L adds to the integral from -L to L
    integral(energy, 800) - integral(energy, 400)
    for energy in (np.square, np.zeros_like, lambda x: 0.5 * np.log1p(x**2))
]
checks.close("E = x^2: doubling L adds nothing to Z", growth[0], 0.0, atol=1e-9)
checks.close("E = 0: it adds 2 L", growth[1], 800.0, rtol=1e-4)
# The integral is 2 arsinh(L), which grows by 2 log 2 with every doubling.
checks.close("E = log(1 + x^2)/2: 2 log 2", growth[2], 2 * math.log(2), atol=1e-4)
u = np.linspace(-34, 34, 6801)
bumps = [np.exp(-((u - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (-2, 3)]
mixture = (0.3 * bumps[0] + 0.7 * bumps[1]).sum() * (u[1] - u[0])
checks.close("a mixture needs no other Z than 1", mixture, 1.0, atol=1e-12)
inputs = np.indices((2,) * 10).reshape(10, -1).T - 0.5  # all 1,024 of a small network
weights = np.sin(np.arange(320.0)).reshape(20, 16)
scores = np.exp(np.tanh(inputs @ weights[:10]) @ weights[10:].T / 4)
softmax = scores / scores.sum(1, keepdims=True)
checks.close("softmax: sum over outputs", softmax.sum(1), np.ones(1_024), atol=1e-12)
checks.at_least("softmax: sum over all inputs, not 1", softmax.sum(0), 2)

# %% [markdown]
r"""
```{dropdown} A one-minute question: a classifier ends in a softmax layer, which normalises. Is it a model of its input images?
No: it normalises over its outputs, for one input at a time.
A density must be normalised over all inputs.
Summed over the 1,024 inputs of a small network, each output gives far more than 1.
```

**A Boltzmann machine is a set of binary units with one energy for each pair and one for each unit.**
With units $s_i \in \{0, 1\}$, a symmetric matrix $J$ of couplings with a zero diagonal, and biases $a$,

$$
\begin{aligned}
E(s) &= -\sum_i a_i s_i - \sum_{i < j} J_{ij} s_i s_j \\
&= -a \cdot s - \tfrac12 s^\top J s, \\
p_T(s) &= \frac{e^{-E(s) / T}}{Z_T} .
\end{aligned}
$$ (eq-bm-machine)

The factor one half is there because the double sum meets each pair twice.
Machines that learn have the **temperature** $T = 1$: it only rescales $a$ and $J$.
The ratio of two probabilities is the **Boltzmann factor**, in which $Z$ cancels (in physics $T$ stands for $k_B T$):

$$
\frac{p_T(s)}{p_T(s')} = e^{-(E(s) - E(s')) / T} .
$$ (eq-bm-ratio)
"""


# %%
def all_states(num_units):
    """All 2^num_units rows of zeros and ones; row r has the digits of r, low first."""
    rows = np.arange(2**num_units)
    return (rows[:, None] >> np.arange(num_units) & 1).astype(float)


def energy(s, a, J):
    return -s @ a - 0.5 * np.einsum("...i,ij,...j->...", s, J, s)


def log_sum_exp(log_weights):
    top = log_weights.max()
    return top + np.log(np.exp(log_weights - top).sum())


def boltzmann(E, T=1.0):
    """Probabilities of all states from the vector of all energies."""
    return np.exp(-E / T - log_sum_exp(-E / T))


# %%
four_units = all_states(4)
a, J = np.array([0.5, -1.0, -1.0, 0.2]), np.zeros((4, 4))
J[np.triu_indices(4, 1)] = 2.0, 1.0, -2.0, -1.0, 1.0, 1.5
J = J + J.T
E = energy(four_units, a, J)

# %% tags=["check"]
by_pairs = [
    -sum(a[i] * s[i] for i in range(4))
    - sum(J[i, j] * s[i] * s[j] for i, j in combinations(range(4), 2))
    for s in four_units
]
checks.close("the energy, against a loop over units and pairs", E, by_pairs, atol=1e-12)
for T in (0.5, 1.0, 3.0):
    p_T = boltzmann(E, T)
    checks.normalised(f"T = {T}: p sums to 1", np.log(p_T))
    log_ratios, gaps = np.log(p_T[:, None] / p_T), E[:, None] - E
    checks.close(f"T = {T}: log ratios, without Z", log_ratios, -gaps / T, atol=1e-10)
alike, allowed = np.full(16, 1 / 16), math.expm1(np.ptp(E) / 1e3) / 16
checks.close("T = 1000: all states alike", boltzmann(E, 1e3), alike, atol=allowed)
gap = np.sort(E)[1] - E.min()
others = np.delete(boltzmann(E, gap / 20), E.argmin()).sum()
checks.at_most("T = gap / 20: all states but the lowest", others, 15 * math.exp(-20))

# %% [markdown]
r"""
## Visible and hidden units

```{margin}
**In the sources.** Oslo, 30 April, *Energy models* to *Partition function*: this section and the next two.
```

**Hidden units are summed out: what they leave behind is a free energy of the visible ones.**
Divide the units into $D$ visible ones, $x$, which are data, and $H$ hidden ones, $h$, which nothing observes:

$$
\begin{aligned}
f(x, h) &= e^{-E(x, h)}, \qquad Z = \sum_x \sum_h f(x, h), \\
p(x) &= \frac{f(x)}{Z}, \qquad f(x) = \sum_h f(x, h), \\
p(h) &= \frac{1}{Z} \sum_x f(x, h) .
\end{aligned}
$$ (eq-bm-marginals)

```{margin}
**A common mistake:** $f(x)$ and $p(x)$ confused: one is the other divided by $Z$.
And the sums run over $2^D$ *configurations* $x$ and $2^H$ configurations $h$, not over the components of one.
```

```{figure} ../figures/bm_graph.svg
:name: fig-bm-graph
:alt: Two graphs of three visible and four hidden circles. On the left, the general machine, all pairs of circles are joined by lines. On the right, the restricted machine, lines join each visible circle to each hidden one, and no two circles of one row.
:width: 560px

Left: in a general Boltzmann machine any two units may be coupled. Right: in a restricted one only units of different layers are.
```

In a **restricted** machine {cite:p}`smolensky1986` a matrix $W$ couples the layers, and nothing couples units of one layer.
Given $x$, the exponent is then linear in $h$, so $p(h \mid x)$ is a product, and the sum over $h$ is a product of sums of two terms:

$$
\begin{aligned}
E(x, h) &= -b \cdot x - c \cdot h - x^\top W h, \\
\log f(x) &= b \cdot x + \sum_j \operatorname{softplus}\bigl(c_j + (x^\top W)_j\bigr), \\
F(x) &= -\log f(x), \qquad p(x) = e^{-F(x)} / Z,
\end{aligned}
$$ (eq-bm-free-energy)

with $\operatorname{softplus}(a) = \log(1 + e^a)$.
From here on all parameters are one vector $\theta = (W, b, c)$.
"""


# %%
def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softplus(a):
    return np.logaddexp(0, a)  # log(e^0 + e^a), without overflow


def unpack(theta, D):
    """theta = (W, b, c) in one vector; H follows from its length, D H + D + H."""
    H = (len(theta) - D) // (D + 1)
    W, b, c = np.split(theta, [D * H, D * H + D])
    return W.reshape(D, H), b, c


def log_f(x, theta):
    """-F(x), one number for each row of `x`."""
    W, b, c = unpack(theta, x.shape[-1])
    return x @ b + softplus(c + x @ W).sum(-1)


# %%
D, H = 3, 4
X, all_h = all_states(D), all_states(H)
W = np.array([[0.2, -0.5, -0.4, -2.4], [1.8, 1.1, -0.3, 0.8], [0.3, -0.6, 1.0, -0.3]])
b, c = np.array([-0.3, -0.8, 0.5]), np.array([-0.1, 0.5, -0.6, 0.1])
theta_0 = np.concatenate([W.ravel(), b, c])


def probabilities(theta):
    """p(x) of all states: F is the energy of a machine of visible units alone."""
    return boltzmann(-log_f(X, theta))


# %% [markdown]
r"""
This machine of 3 + 4 units will learn below.
The name *free energy* is meant literally, mean energy minus entropy $\mathcal{H}$ of the hidden units at given $x$:

$$
F(x) = \langle E(x, h) \rangle_{p(h \mid x)} - \mathcal{H}\bigl[p(h \mid x)\bigr] .
$$ (eq-bm-energy-entropy)

The entropy depends on $x$, so $F$ may not be replaced by the mean energy, nor by the lowest one.
"""


# %% tags=["check"]
def as_general(W, b, c):
    """Biases and couplings of the restricted machine, seen as a general one."""
    zeros_x, zeros_h = np.zeros((len(b), len(b))), np.zeros((len(c), len(c)))
    return np.concatenate([b, c]), np.block([[zeros_x, W], [W.T, zeros_h]])


def joint_table(a, J, D):
    """f(x, h): a row for each x, a column for each h."""
    s = all_states(len(a))  # the visible units are the low digits of the row number
    return np.exp(-energy(s, a, J)).reshape(-1, 2**D).T


joint = joint_table(*as_general(W, b, c), D)
p_0 = probabilities(theta_0)
F, f = -log_f(X, theta_0), joint.sum(1)
checks.close("free energy = minus log of the sum over h", F, -np.log(f), atol=1e-12)
checks.close("p(x), against the joint table", p_0, f / f.sum(), atol=1e-12)
p_h = joint / joint.sum(1, keepdims=True)  # p(h|x), a row for each x
hidden_entropy, mean_energy = -(p_h * np.log(p_h)).sum(1), -(p_h * np.log(joint)).sum(1)
name = "free energy = mean energy minus entropy"
checks.close(name, F, mean_energy - hidden_entropy, atol=1e-12)
checks.at_least("the entropy differs from x to x by, nats", np.ptp(hidden_entropy), 0.1)
above = -np.log(joint.max(1)) - F
checks.at_least("lowest energy minus F differs by, nats", np.ptp(above), 0.1)


def farthest_from_product(table):
    """Largest difference between p(h|x) and the product of its marginals, over all x."""
    p, h = table / table.sum(1, keepdims=True), all_states(int(np.log2(table.shape[1])))
    on = (p @ h)[:, None]
    return np.abs(p - np.prod(np.where(h == 1, on, 1 - on), axis=2)).max()


checks.at_most("restricted: p(h|x) is a product", farthest_from_product(joint), 1e-13)
general = farthest_from_product(joint_table(a, J, 2))
checks.at_least("general: p(h|x) is none, largest difference", general, 0.01)

# %% [markdown]
r"""
```{dropdown} A one-minute question: physicists let a hidden unit be -1 or +1. What is log f(x) then?
The sum over $h_j$ has the terms $e^{\pm a_j}$ with $a_j = c_j + (x^\top W)_j$, so $2 \cosh a_j$ takes the place of $1 + e^{a_j}$, and $p(h_j = +1 \mid x) = \sigma(2 a_j)$.
```

## Two phases

```{margin}
**In the sources.** Oslo, 30 April, *Optimization problem* to *Final expression*, and *Contrastive optimization*.
```

**Data push the probability up where they are; the model's own samples push it down where the model is.**
This is the goal of the lecture: with $p_\text{data}$ for the frequencies of the data, the gradient of the mean log-likelihood is

$$
\begin{aligned}
\nabla \langle \log p \rangle_\text{data}
&= \underbrace{\langle \nabla \log f \rangle_\text{data}}_{\text{positive phase}}
- \underbrace{\langle \nabla \log f \rangle_p}_{\text{negative phase}} \\
&= \sum_x \bigl(p_\text{data}(x) - p(x)\bigr)\, \nabla \log f(x) .
\end{aligned}
$$ (eq-bm-phases)

```{margin}
**A common mistake:** texts in which one samples from the model in the *positive* phase.
There the mean is over the data (and over $p(h \mid x)$, which is the $\hat h$ of {eq}`eq-bm-grad-log-f`); samples of the model are needed in the negative phase.
```

If you minimise $-\log p$, both signs flip; learning that lives on such a difference is called *contrastive*.

```{figure} ../figures/bm_learning.svg
:name: fig-bm-learning
:alt: Boxes joined by arrows. Data feed the positive phase, a mean of grad log f. One of three boxes feeds the negative phase: all states, exact; a long chain, noisy; CD-k, biased. Positive phase minus negative phase is a step of theta, and a dashed arrow leads from the step back to the negative phase, new samples.
:width: 560px

One step of learning. All methods share the positive phase; they differ in how they get the negative one: exactly in this section and the next two, then by a long chain, then by CD-k.
```

It takes two steps.
**The units of one configuration depend on each other; the data points do not, and each brings its own $1 / Z$.**
A likelihood assumes that whole configurations $x^{(1)}, \dots, x^{(N)}$ are drawn independently from one $p(x)$, which is no product over its units:

$$
\begin{aligned}
p(\text{data}) &= \prod_{n=1}^{N} \frac{f(x^{(n)})}{Z}
= Z^{-N} \prod_{n=1}^{N} f(x^{(n)}), \\
\log p(\text{data}) &= \sum_{n=1}^{N} \log f(x^{(n)}) - N \log Z .
\end{aligned}
$$ (eq-bm-likelihood)

```{margin}
**A common mistake:** $Z$ pulled out of the product *once*.
The result is no probability, and its gradient weighs the model too little by a factor $N$.
```

**The gradient of $\log Z$ is the mean of $\nabla \log f$ over the model.**

$$
\begin{aligned}
\nabla \log Z
&= \frac{\nabla Z}{Z} && (a) \\
&= \frac{1}{Z} \sum_x \nabla f(x) && (b) \\
&= \frac{1}{Z} \sum_x f(x)\, \nabla \log f(x) && (c) \\
&= \sum_x p(x)\, \nabla \log f(x) && (d) \\
&= \langle \nabla \log f \rangle_{p} . && (e)
\end{aligned}
$$ (eq-bm-grad-log-z)

Line (a) is the derivative of a logarithm; (b) exchanges gradient and sum; (c) writes $f = e^{\log f}$; (d) is the definition of $p$, and (e) that of a mean.

```{margin}
**A common mistake:** "$\nabla \log Z$ is the expectation value of $\log f$".
The left side has as many components as there are parameters, the right side is one number.
```

Divide {eq}`eq-bm-likelihood` by $N$, differentiate, and {eq}`eq-bm-phases` is there.
For a restricted machine $\nabla \log f$ is known: with $\hat h_j = p(h_j = 1 \mid x) = \sigma(c_j + (x^\top W)_j)$,

$$
\frac{\partial \log f}{\partial W_{ij}} = x_i \hat h_j,
\qquad
\frac{\partial \log f}{\partial b_i} = x_i,
\qquad
\frac{\partial \log f}{\partial c_j} = \hat h_j .
$$ (eq-bm-grad-log-f)
"""


# %% tags=["method"]
def grad_log_f(x, theta):
    """A row of len(theta) derivatives for each row of `x`."""
    W, _, c = unpack(theta, x.shape[-1])
    h_hat = sigmoid(c + x @ W)
    by_W = x[:, :, None] * h_hat[:, None, :]
    return np.hstack([by_W.reshape(len(x), -1), x, h_hat])


def likelihood_gradient(theta, p_data):
    """Positive minus negative phase, exactly."""
    G = grad_log_f(X, theta)
    return p_data @ G - probabilities(theta) @ G


# %% tags=["check"]
def differences(function, theta, step=1e-5):
    """Central differences of a number or an array; the parameters are the last axis."""
    columns = [
        (function(theta + shift) - function(theta - shift)) / (2 * step)
        for shift in step * np.eye(len(theta))
    ]
    return np.stack(columns, -1)


def log_z(theta):
    return log_sum_exp(log_f(X, theta))


f, G = np.exp(log_f(X, theta_0)), grad_log_f(X, theta_0)
left_side = differences(log_z, theta_0)
of_f = differences(lambda t: np.exp(log_f(X, t)), theta_0)
lines = {
    "a, differences of Z, over Z": differences(
        lambda t: np.exp(log_f(X, t)).sum(), theta_0
    )
    / f.sum(),
    "b, sum of differences of f, over Z": of_f.sum(0) / f.sum(),
    "c, sum of f times grad log f, over Z": f @ G / f.sum(),
    "d, sum of p times grad log f": p_0 @ G,
}
of_log_f = differences(lambda t: log_f(X, t), theta_0)
checks.close("grad log f, against differences", G, of_log_f, atol=1e-8)
for name, value in lines.items():
    checks.close(f"line {name}, against the left side", value, left_side, atol=1e-8)
_ = run.record(
    "grad_log_z_max_error",
    np.abs(p_0 @ G - left_side).max(),
    unit="nats per unit of the parameter",
    protocol="3 + 4 units, all 19 parameters: exact expectation of grad log f, "
    "minus central differences of log Z with a step of 1e-5",
)

# %% tags=["check"]
states = [0, 3, 3, 5, 0, 6, 3, 5, 3, 1]  # ten data points, by the number of the state
ten, p_ten = X[states], np.bincount(states, minlength=8) / 10


def log_likelihood(theta, data):
    return log_f(data, theta).sum() - len(data) * log_z(theta)


name, product = "log-likelihood = log of a product of probabilities", p_0[states].prod()
checks.close(name, log_likelihood(theta_0, ten), np.log(product), atol=1e-10)
checks.gradient(
    "gradient of log p of ten points, in W, b and c",
    lambda t: log_likelihood(t, ten),
    theta_0,
    10 * likelihood_gradient(theta_0, p_ten),
    atol=1e-8,
)
pairs = log_f(X, theta_0)[:, None] + log_f(X, theta_0)  # of all data sets of two points
checks.normalised("two points, Z twice, all data sets", pairs - 2 * log_z(theta_0))
once_only = log_sum_exp((pairs - log_z(theta_0)).ravel())
name = "Z once only: log of the sum over all data sets"
checks.close(name, once_only, log_z(theta_0), atol=1e-12)
too_high = log_f(ten, theta_0).sum() - log_z(theta_0)
checks.at_least('ten points with Z once only: log of the "probability"', too_high, 0.0)
mean = p_0 @ X
product = np.prod(np.where(X == 1, mean, 1 - mean), axis=1)
name = "KL of p(x) from the product of its units' marginals, nats"
checks.at_least(name, p_0 @ np.log(p_0 / product), 1e-3)
checks.at_least("and the marginals differ: spread of the means", np.ptp(mean), 0.1)

# %% [markdown]
r"""
Something to learn: three bits, of which an even number is on 19 times as often as an odd number, times a factor for each bit that is on.
Such a *parity* is a dependence that no pair of bits shows: without those factors all covariances are zero.
With all states in a table, learning is plain ascent along {eq}`eq-bm-phases`.
"""

# %%
parity = (-1.0) ** X.sum(1)
p_data = np.exp(X @ [0.8, 0.0, -0.6]) * (1 + 0.9 * parity)
p_data /= p_data.sum()


def climb(theta, gradient_of, rate=0.5):
    """Gradient ascent: theta after 1, 2, 3, ... steps."""
    while True:
        theta = theta + rate * gradient_of(theta)
        yield theta


# %% tags=["hide-input"]
# Learning: the parameters at some sixty steps, evenly spaced in their logarithm
looks = {round(P.ascent_steps ** (i / 60)) for i in range(61)} | {30, 300, 1_000}


def learn(theta, gradient_of):
    """theta after each of `looks`; the last one is trained."""
    path = islice(climb(theta, gradient_of), P.ascent_steps)
    return {step: now for step, now in enumerate(path, 1) if step in looks}


def kl(p, q):
    """KL(p || q) in nats; states with p = 0 contribute nothing."""
    seen = p > 0
    return p[seen] @ np.log(p[seen] / q[seen])


def frequencies(x):
    """How often each state occurs among the rows of `x`, as a fraction."""
    return np.bincount((x @ [1, 2, 4]).astype(int), minlength=8) / len(x)


learned = learn(theta_0, lambda t: likelihood_gradient(t, p_data))
trained = learned[P.ascent_steps]
curve = {step: kl(p_data, probabilities(t)) for step, t in learned.items()}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The machine with 3 + 4 units learns by exact gradient ascent: the two forces of the gradient on each of its eight states. Dots: what is left of them, data minus model. Their divergence (KL) is the subject of a section below.", "name": "fig-bm-film"}}
bits = ["".join(str(int(unit)) for unit in state) for state in X]
fig, ax = plt.subplots(figsize=(6.4, 3.0))
ax.bar(bits, p_data, color=plotting.COLOURS[0])
model = ax.bar(bits, -p_data, color=plotting.COLOURS[1])
(rest,) = ax.plot(bits, 0 * p_data, "o", color="black", markersize=6)
ax.axhline(0, color="black", linewidth=1)
ax.text(5, 0.33, "data push up", color=plotting.COLOURS[0], ha="center")
ax.text(4, -0.42, "model pushes down", color=plotting.COLOURS[1], ha="center")
words = ax.text(0.02, 0.03, "", transform=ax.transAxes)
ax.set(ylim=(-0.5, 0.5), xlabel="state x", ylabel="weight in the gradient")


def forces(step):
    """One frame: the two phases at a step."""
    p = probabilities(learned[step] if step else theta_0)
    for bar, height in zip(model, -p, strict=True):
        bar.set_height(height)
    rest.set_ydata(p_data - p)
    words.set_text(f"KL = {kl(p_data, p):.3f}")
    return fig


shown = [0, *(step for step in sorted(learned)[::2] if step < 6_000)]
plotting.film(
    map(forces, shown),
    labels=[f"step {step:,}" for step in shown],
    alt="Eight blue bars point up and stay. Orange bars point down, at first of quite other "
    "lengths; step by step they become mirror images of the blue ones, and the dots that "
    "show the difference sink to the line of zero.",
)

# %% tags=["check"]
for step, error in ((30, 0.05), (1_000, 0.01)):
    of_bits = np.abs((probabilities(learned[step]) - p_data) @ X)
    checks.at_most(f"step {step}: error of the means of the bits", of_bits, error)
of_parity = {step: probabilities(learned[step]) @ parity for step in (30, 1_000)}
checks.at_most("step 30: mean of the parity, 0.9 in the data", of_parity[30], 0.1)
checks.at_least("step 1,000: the same", of_parity[1_000], 0.5)
first = probabilities(theta_0 + 0.5 * likelihood_gradient(theta_0, p_data))
raised = (p_0 > p_data) & (first > p_0)
checks.at_least("states with too much that the first step raises", raised.sum(), 1)

# %% [markdown]
r"""
In thirty steps the machine learns how often each bit is on; the parity, which no pair shows, takes about a thousand.
The forces act on $\log f$, and states share parameters: the first step even raises states that have too much already.

```{dropdown} A one-minute question: has a machine with zero gradient learned its data?
It has the right means of $x_i \hat h_j$, $x_i$ and $\hat h_j$, and may be wrong in everything else; it may even stand at a saddle.
And a unit that is on in all data drives its bias to infinity: then there is no maximum at finite $\theta$.
```
"""

# %% [markdown]
r"""
## The price of Z

```{margin}
**In the sources.** Oslo, 30 April, *Partition function*.
```

**The same $Z$ is a sum of $2^{D + H}$, of $2^D$ or of $2^H$ terms.**
In a restricted machine the sum over one layer, at given other layer, is a product:

$$
\begin{aligned}
Z &= \sum_x \sum_h e^{b \cdot x + c \cdot h + x^\top W h} \\
&= \sum_x e^{b \cdot x} \prod_j \bigl(1 + e^{c_j + (x^\top W)_j}\bigr) \\
&= \sum_h e^{c \cdot h} \prod_i \bigl(1 + e^{b_i + (W h)_i}\bigr) .
\end{aligned}
$$ (eq-bm-three)
"""

# %%
theta_swapped = np.concatenate([W.T.ravel(), c, b])  # the layers exchanged
joint_energies = -(X @ b[:, None] + all_h @ c + X @ W @ all_h.T)
three_ways = [
    log_sum_exp(-joint_energies.ravel()),
    log_sum_exp(log_f(X, theta_0)),
    log_sum_exp(log_f(all_h, theta_swapped)),
]

# %% tags=["check"]
for name, value in zip(("joint", "over x", "over h"), three_ways, strict=True):
    exact = np.log(joint.sum())  # of the general machine with two empty blocks
    checks.close(f"log Z, sum {name}", value, exact, atol=1e-12)
p_h, exact = boltzmann(-log_f(all_h, theta_swapped)), joint.sum(0) / joint.sum()
checks.close("p(h), against the joint table", p_h, exact, atol=1e-12)
_ = run.record(
    "log_z_agreement",
    np.ptp(three_ways),
    unit="nats",
    protocol="3 + 4 units: largest minus smallest of three sums",
)

# %% [markdown]
r"""
Of the two short sums one takes the shorter, with $2^{\min(D, H)}$ terms; for continuous $x$ a grid with $g$ points along each of $d$ axes has $g^d$.
How long does that take?
We measure small machines, and continue the times.
"""


# %% tags=["hide-input"]
# Timing the joint sum, the short one, and a grid for a Gaussian
def log_z_joint(theta, D):
    W, b, c = unpack(theta, D)
    X, H = all_states(D), all_states(len(c))
    log_joint = (X @ b)[:, None] + H @ c + np.einsum("xj,hj->xh", X @ W, H)
    return log_sum_exp(log_joint), log_joint.size


def log_z_short(theta, D):
    X = all_states(D)
    return log_sum_exp(log_f(X, theta)), len(X)


def log_z_grid(d):
    """log of the integral of a Gaussian's exp(-x^T C^-1 x / 2), 15 points an axis."""
    axis = np.linspace(-7, 7, 15)
    grid = np.stack(np.meshgrid(*[axis] * d), -1).reshape(-1, d)
    C = 0.3 + 0.7 * np.eye(d)
    f = np.exp(-0.5 * np.einsum("ni,ij,nj->n", grid, np.linalg.inv(C), grid))
    return np.log(f.sum()), len(f)


def timed(function, *arguments, repeats=5):
    """What the function returns, and the seconds of its fastest run."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(*arguments)
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


units = np.arange(4, P.max_units + 11, 2)  # for the joint sum up to max_units only
machines = {n: rng.normal(size=(n // 2) ** 2 + n) for n in units}
joint_runs = [
    timed(log_z_joint, t, n // 2) for n, t in machines.items() if n <= P.max_units
]
short_runs = [timed(log_z_short, t, n // 2) for n, t in machines.items()]
grid_runs = [timed(log_z_grid, d) for d in range(1, 6)]

# %% tags=["hide-input"]
# How many units take how long, at the measured seconds per term
DAY, UNIVERSE = 86_400.0, 4.35e17  # seconds
per_state = run.record(
    "seconds_per_joint_state",
    joint_runs[-1][1] / 2**P.max_units,
    unit="seconds",
    protocol=f"joint sum, {P.max_units // 2} + {P.max_units // 2} units, best of 5",
)
per_term = short_runs[-1][1] / 2 ** (P.max_units // 2 + 5)
limits = {
    name: (
        math.floor(math.log2(seconds / per_state)),
        2 * math.floor(math.log2(seconds / per_term)),
    )
    for name, seconds in (("one day", DAY), ("the age of the universe", UNIVERSE))
}
plotting.table(limits, columns=("units D + H, D = H, in", "joint sum", "short sum"))

# %% tags=["check"]
slow, fast = ([value for (value, _), _ in runs] for runs in (joint_runs, short_runs))
what = f"log Z of 4 to {P.max_units} units, by both sums"
checks.close(what, fast[: len(slow)], slow, rtol=1e-12)
terms = [[number for (_, number), _ in runs] for runs in (joint_runs, short_runs)]
checks.close("terms of the joint sums", terms[0], 2 ** units[: len(joint_runs)])
checks.close("terms of the short ones", terms[1], 2 ** (units // 2))
d = np.arange(1, 6)
exact = 0.5 * (d * math.log(2 * math.pi) + np.log(0.7 ** (d - 1) * (0.7 + 0.3 * d)))
# A grid of spacing 1 errs by its first Fourier terms, 2 d exp(-2 pi^2).
by_grid, allowed = (
    [value for (value, _), _ in grid_runs],
    20 * math.exp(-2 * math.pi**2),
)
checks.close("a Gaussian in 1 to 5 dimensions, by grids", by_grid, exact, atol=allowed)
points = [number for (_, number), _ in grid_runs]
checks.close("points of the grids", points, 15**d)
name = "units whose joint sum takes the age of the universe"
checks.at_most(name, limits["the age of the universe"][0], 99)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Seconds to compute Z. Left: of a restricted machine with equal layers, by the joint sum and by the shorter one; dashed: continued at the seconds per term of the last point. Right: by a grid of 15 points an axis, against the dimension.", "name": "fig-bm-cost"}, "image": {"alt": "Two panels with logarithmic time. Left: two rows of points, at first flat, where the time is that of calling the functions, then rising; from the last point of each a straight line goes on. The line of the joint sum passes the age of the universe before a hundred units, that of the short sum has half its slope. Right: five points, for one to five dimensions, the last ones rising steeply."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.7), width_ratios=(1.7, 1))
for runs, exponent, label, end in (
    (joint_runs, 1.0, r"$2^{D+H}$", (57, 1e8)),
    (short_runs, 0.5, r"$2^{\min(D,H)}$", (70, 1e-3)),
):
    reached = units[: len(runs)]
    (points,) = left.semilogy(reached, [seconds for _, seconds in runs], "o")
    further = np.array([reached[-1], 100])
    times = runs[-1][1] * 2.0 ** (exponent * (further - reached[-1]))
    left.semilogy(further, times, "--", color=points.get_color())
    left.text(*end, label, color=points.get_color())
plotting.reference_line(left, DAY, "one day", side="left")
plotting.reference_line(left, UNIVERSE, "age of the universe", side="left")
left.set(xlabel="units D + H", ylabel="seconds", xlim=(0, 100), ylim=(1e-6, 1e21))
seconds = [seconds for _, seconds in grid_runs]
right.semilogy(range(1, 6), seconds, "o", color=plotting.COLOURS[2])
_ = right.set(xlabel="dimension d of a grid", ylabel="seconds", xticks=range(1, 6))

# %% [markdown]
r"""
**Each unit doubles the time: a hundred units by the joint sum would take longer than the universe is old.**
(Memory ends first: a table for 43 units has 70 terabytes. One would add up in blocks, in about the same time.)

```{dropdown} A one-minute question: MNIST has 784 pixels. How many hidden units may an RBM have if Z is to be exact?
As many as a sum of $2^H$ terms allows: with 16 hidden units it has 65,536, with 500 it is out of reach.
[The RBM lecture](rbm.ipynb) trains both.
```

## Learning exactly

```{margin}
**In the sources.** Oslo, 16 April, *Kullback-Leibler relative entropy* to *Maximizing log-likelihood*; CS236 notes, *Maximum likelihood learning*.
```

**To maximise the likelihood is to minimise the Kullback-Leibler divergence from the data to the model.**
This **relative entropy** is

$$
\begin{aligned}
\mathrm{KL}(p_\text{data} \,\|\, p)
&= \sum_x p_\text{data}(x) \log \frac{p_\text{data}(x)}{p(x)} \\
&= \underbrace{\langle \log p_\text{data} \rangle_\text{data}}_{-\mathcal{H}[p_\text{data}]}
- \langle \log p \rangle_\text{data} \\
&= \langle \log p_\text{data} \rangle_\text{data} + \langle F \rangle_\text{data} + \log Z .
\end{aligned}
$$ (eq-bm-kl)

```{margin}
**A common mistake:** three slips: relative entropy called Shannon entropy, which is $\mathcal{H}$ alone; an energy in place of the free energy $F$; and the sign of the second term, which is *minus* the mean log-likelihood.
```

Shannon's entropy $\mathcal{H}[p_\text{data}]$ does not depend on $\theta$, so the divergence and the mean log-likelihood have a constant sum.

What do hidden units buy?
Three machines learn the noisy parity: one with four hidden units, one with a single one, and a fully visible one with a coupling for each pair.
The log-likelihood of the last is concave: its $\log f = \theta \cdot t(x)$ is linear in $\theta$, with $t$ all $x_i$ and $x_i x_j$, and only $\log Z$ is curved,

$$
\nabla \log Z = \langle t \rangle_p, \qquad
\nabla^2 \langle \log p \rangle_\text{data} = -\nabla^2 \log Z = -\operatorname{Cov}_p(t, t) .
$$ (eq-bm-hessian)

At its maximum, model and data agree in the means of $t$ and in nothing else, and what remains is a difference of entropies:

$$
\mathrm{KL}(p_\text{data} \,\|\, p) = \mathcal{H}[p] - \mathcal{H}[p_\text{data}] .
$$ (eq-bm-entropies)
"""

# %%
both_on = np.column_stack([X[:, i] * X[:, j] for i, j in combinations(range(3), 2)])
t = np.hstack([X, both_on])  # x_i and x_i x_j of all states


def visible_gradient(theta):
    return (p_data - boltzmann(-t @ theta)) @ t


# %% tags=["hide-input"]
# Learning with the other machines, the single hidden unit from two starts
def entropy(p):
    return -p[p > 0] @ np.log(p[p > 0])


def exact_gradient(theta):
    return likelihood_gradient(theta, p_data)


visible = {
    s: boltzmann(-t @ v) for s, v in learn(np.zeros(6), visible_gradient).items()
}
starts = ((1.5, 1.5, -1.5), (1.0, -1.5, 1.5))
one_hidden = [learn(np.array([*w, 0, 0, 0, -2.0]), exact_gradient) for w in starts]
models = {
    "fully visible": visible,
    "4 hidden": {s: probabilities(v) for s, v in learned.items()},
    "1 hidden": {s: probabilities(v) for s, v in one_hidden[0].items()},
    "1 hidden, other start": {s: probabilities(v) for s, v in one_hidden[1].items()},
}
ends = {name: q[P.ascent_steps] for name, q in models.items()}
for key, name in (
    ("visible", "fully visible"),
    ("restricted_4", "4 hidden"),
    ("restricted_1", "1 hidden"),
):
    run.record(
        f"kl_{key}",
        max(kl(p_data, ends[name]), 0.0),  # rounding can make it -1e-16
        unit="nats",
        protocol="KL(data || model), noisy parity of three bits, exact gradient, "
        f"{P.ascent_steps:,} steps of rate 0.5"
        + ", and still falling slowly: it depends on their number"
        * (name == "1 hidden"),
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Learning the noisy parity of three bits by exact gradients. Left: divergence from the data. Right: the seven moments of data and models; the visible machine has the first six right and the last one wrong.", "name": "fig-bm-training"}, "image": {"alt": "Left: four curves on logarithmic axes. The visible machine stops at about 0.4 nats, the machine with one hidden unit lower, at two different heights for two starts, and that with four hidden units falls steeply out of the picture. Right: bars for seven moments of the data. The crosses of four hidden units are on all of them, the circles of the visible machine on all but the last, the triangles of one hidden unit on the first three."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.8), width_ratios=(1.2, 1))
colours = (*plotting.COLOURS[2:3], *plotting.COLOURS[1:2], *plotting.COLOURS[3:4] * 2)
moments_of = np.column_stack([t, X.prod(1)])  # 3 + 3 + 1
bars = [str(i) for i in (1, 2, 3, 12, 13, 23, 123)]
right.bar(bars, p_data @ moments_of, color=plotting.COLOURS[0], alpha=0.4)
for (name, models_at), colour, marker in zip(
    models.items(), colours, "oxv ", strict=True
):
    divergence = np.maximum([kl(p_data, q) for q in models_at.values()], 1e-12)
    style = ":" if "other" in name else "-"
    left.loglog(list(models_at), divergence, style, color=colour, label=name)
    right.plot(
        bars, ends[name] @ moments_of, marker, color=colour, markerfacecolor="none"
    )
left.set(xlabel="gradient steps", ylabel="KL(data || model), nats", ylim=(8e-3, 4))
left.legend(fontsize=9, loc="lower left")
_ = right.set(ylabel="probability that all are on", xlabel="units")

# %% tags=["check"]
mean_log_p = [p_data @ np.log(q) for q in models["4 hidden"].values()]
name = "KL + mean log-likelihood, all along the learning: minus the entropy of the data"
total, constant = np.add(mean_log_p, list(curve.values())), -entropy(p_data)
checks.close(name, total, np.full(len(curve), constant), atol=1e-12)
parts = -entropy(p_data) + p_data @ -log_f(X, theta_0) + log_z(theta_0)
checks.close("KL = <log p_data> + <F> + log Z", parts, kl(p_data, p_0), atol=1e-12)
checks.gradient(
    "gradient of KL = minus that of the mean log-likelihood",
    lambda t: kl(p_data, probabilities(t)),
    theta_0,
    -exact_gradient(theta_0),
    atol=1e-8,
)
_ = run.record(
    "kl_identity_error",
    abs(parts - kl(p_data, p_0)),
    unit="nats",
    protocol="3 + 4 units: <log p_data> + <F> + log Z, minus the sum over states",
)
no_factors = (1 + 0.9 * parity) / 8
covariance = np.cov(X.T, aweights=no_factors, ddof=0)
checks.close("parity alone: no covariances", covariance, np.eye(3) / 4, atol=1e-14)
of_parity = math.log(2) - entropy(np.array([0.05, 0.95]))
from_independent = kl(no_factors, np.full(8, 1 / 8))
name = "parity alone: KL from independent bits = log 2 - H(0.05)"
checks.close(name, from_independent, of_parity, atol=1e-12)
moved = np.array([0.3, -0.2, 0.5, 1.0, -1.0, 0.4])
p_moved = boltzmann(-t @ moved)
name = "visible: second derivatives of the mean log-likelihood = minus a covariance"
covariance = np.cov(t.T, aweights=p_moved, ddof=0)
checks.close(name, differences(visible_gradient, moved), -covariance, atol=1e-8)
q = ends["fully visible"]
name = "visible: means of x_i and x_i x_j agree with the data"
checks.close(name, q @ t, p_data @ t, atol=1e-9)
name = "visible: what remains is the difference of the entropies"
checks.close(name, kl(p_data, q), entropy(q) - entropy(p_data), atol=1e-8)
checks.close("visible: KL left, nats", kl(p_data, q), 0.40, atol=5e-3)
checks.at_most("4 hidden units: KL left", kl(p_data, ends["4 hidden"]), 1e-6)

# %% [markdown]
r"""
The visible machine stops 0.40 nats above the data, where {eq}`eq-bm-entropies` says; no training can help it, because what is missing is not in its moments.
One hidden unit brings part of the missing dependence, four bring all of it.

**With hidden units the likelihood need not be concave, and a maximum may be a false one.**
From another start the same machine with one hidden unit ends at a divergence that is 0.09 nats larger, a local maximum of the likelihood (with some weights at infinity, so that it is approached slowly).
"""


# %% tags=["check"]
# One hidden unit mixes two products of independent units.  In the probabilities of that
# mixture expectation-maximisation climbs the same likelihood, and reaches infinite weights.
def mixture_of(theta):
    """p(h = 1), and p(x_i = 1 | h) as a row for each h."""
    W, b, c = unpack(theta, 3)
    on = sigmoid(np.array([b, b + W[:, 0]]))
    return sigmoid(c[0] + softplus(b + W[:, 0]).sum() - softplus(b).sum()), on


def climb_by_em(share, on, steps=5_000):
    """The KL of the mixture after each step."""
    for _ in range(steps):
        rows = np.prod(np.where(X == 1, on[:, None], 1 - on[:, None]), axis=2)
        parts = np.array([1 - share, share])[:, None] * rows
        yield kl(p_data, parts.sum(0))
        posterior = p_data * parts / parts.sum(0)
        share, on = posterior[1].sum(), posterior @ X / posterior.sum(1, keepdims=True)


alike = next(islice(climb(np.zeros(19), exact_gradient), 2_999, None))
spread = np.ptp(unpack(alike, 3)[0], axis=1)
checks.close("4 hidden units from zero stay alike", spread, np.zeros(3), atol=1e-9)
left = kl(p_data, probabilities(alike))
checks.at_least("and leave at least the KL of one, nats", left, 0.25)
summits = []
for ascent in one_hidden:
    share, on = mixture_of(ascent[P.ascent_steps])
    *_, before, now = climb_by_em(share, on)
    checks.close("one hidden unit: the climb has ended", now, before, atol=1e-12)
    for shift in (0.05, -0.05):
        aside = np.clip(on + shift * np.array([[1, -1, 1], [-1, 1, 1]]), 0.02, 0.98)
        *_, back = climb_by_em(share + shift / 2, aside)
        checks.close("pushed aside, it comes back", back, now, atol=1e-9)
    summits.append(now)
checks.close("KL at the two maxima, nats", summits, [0.273, 0.362], atol=5e-4)
left = [kl(p_data, ends[name]) for name in list(models)[2:]]
checks.close("where gradient ascent has got", left, summits, atol=1e-3)

# %% [markdown]
r"""
```{dropdown} A one-minute question: why does the machine with four hidden units not start at zero?
There all hidden units are alike and get the same gradient, so they stay alike, four copies of one unit.
(Zero is a fair start for the visible machine, whose likelihood is concave.)
```

## Gibbs sampling

```{margin}
**In the sources.** Oslo, 30 April, the end of *Final expression*.
```

**A unit is resampled from its conditional probability given all others; no $Z$ is needed for that.**
Switching unit $i$ on lowers the energy {eq}`eq-bm-machine` by its local field $a_i + \sum_j J_{ij} s_j$, so

$$
p(s_i = 1 \mid \text{all other units}) = \sigma\Bigl(a_i + \sum_j J_{ij} s_j\Bigr) .
$$ (eq-bm-site)

To a physicist this update is the **heat bath**, or Glauber dynamics {cite:p}`glauber1963`; a *sweep* of it over all units is one of **Gibbs sampling** {cite:p}`geman1984`.
In a restricted machine the units of a layer do not feel each other, and a layer is resampled at once: *block* Gibbs sampling, $x \to h \to x$, with

$$
\begin{aligned}
p(h_j = 1 \mid x) &= \sigma\bigl(c_j + (x^\top W)_j\bigr), \\
p(x_i = 1 \mid h) &= \sigma\bigl(b_i + (W h)_i\bigr).
\end{aligned}
$$ (eq-bm-block)

```{figure} ../figures/bm_gibbs.svg
:name: fig-bm-gibbs
:alt: On the left the heat bath. Three neighbours send their states over couplings to unit i; its local field goes through a sigmoid, and a coin with that probability decides the new state. On the right block Gibbs sampling: a row of visible units, an arrow up to the hidden units, an arrow down to new visible units, and so on; up and down is one sweep.
:width: 620px

Left: the heat bath resamples one unit from its local field. Right: in a restricted machine a whole layer is resampled at once.
```
"""


# %% tags=["method"]
def gibbs_units(s, a, J):
    """Sweeps of single units, in order; many chains, one a row."""
    s = s.copy()
    while True:
        for i in range(len(a)):
            s[:, i] = rng.random(len(s)) < sigmoid(a[i] + s @ J[i])
        yield s.copy()


def gibbs_block(x, theta):
    """Sweeps x -> h -> x of a restricted machine; many chains, one a row."""
    W, b, c = unpack(theta, x.shape[-1])
    while True:
        h_on = sigmoid(c + x @ W)
        h = (rng.random(h_on.shape) < h_on).astype(float)
        x_on = sigmoid(b + h @ W.T)
        x = (rng.random(x_on.shape) < x_on).astype(float)
        yield x


# %% [markdown]
r"""
On a small machine a sweep is a matrix, the **kernel** of its transition probabilities, computed without random numbers.
For the block sweep it is $K(x \to x') = \sum_h p(h \mid x)\, p(x' \mid h)$.
"""


# %%
def block_kernel(theta):
    """K[x, x'] of the sweep x -> h -> x'."""
    W, b, c = unpack(theta, X.shape[1])
    h = all_states(len(c))
    joint = np.exp((X @ b)[:, None] + h @ c + X @ W @ h.T)
    h_given_x = joint / joint.sum(1, keepdims=True)
    x_given_h = joint / joint.sum(0, keepdims=True)
    return h_given_x @ x_given_h.T


def unit_kernel(i, a, J):
    """K[r, q]: unit i of state r is resampled, all others stay."""
    s = all_states(len(a))
    on = sigmoid(a[i] + s @ J[i])
    r, bit = np.arange(len(s)), 1 << i
    K = np.zeros((len(s), len(s)))
    K[r, r | bit] = on
    K[r, r & ~bit] = 1 - on
    return K


# %% [markdown]
r"""
Two properties count.
A distribution $p$ is **stationary** for a kernel if a step turns $p$ into $p$.
The kernel is **reversible** if even the flow $p(x)\, K(x \to x')$ equals the flow back.
Resampling one unit is reversible, and so is the block sweep as a kernel of $x$ alone, because $x \to h \to x$ reads the same backwards; for a sweep over units 1, 2, 3, ... $p$ is stationary, but the sweep is not reversible.

How fast is the start forgotten?
A reversible kernel has real eigenvalues, and those of the block sweep are never negative: $K$, made symmetric, is a matrix times its transpose.
The largest is 1 and belongs to $p$; in the long run the distance to $p$ shrinks by the second, $\lambda_2$, in each sweep.
"""

# %% tags=["hide-input"]
# Total variation distance after k sweeps from 000, at four stages of learning
stages = {
    "at the start": theta_0,
    "after 300 steps": learned[300],
    "after 1,000": learned[1_000],
    "trained": trained,
}
kernels = {name: block_kernel(at) for name, at in stages.items()}
ks = np.arange(1, 41)


def second_eigenvalue(kernel):
    return np.sort(np.abs(np.linalg.eigvals(kernel)))[-2]


def distances(kernel, p):
    """Total variation, sum |q - p| / 2, after each of `ks` sweeps from the first state."""
    rows = [np.linalg.matrix_power(kernel, k)[0] for k in ks]
    return np.array([0.5 * np.abs(q - p).sum() for q in rows])


lambda_2 = {name: second_eigenvalue(K) for name, K in kernels.items()}
mixing = {
    name: distances(kernels[name], probabilities(stages[name])) for name in stages
}
chains = islice(gibbs_block(np.zeros((5_000, 3)), trained), 1_000)
samples = {k: x for k, x in enumerate(chains, 1) if k in (1, 10, 1_000)}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: distance (total variation) of block Gibbs chains from the model after k sweeps from 000, at four stages of learning; dashed: powers of the second eigenvalue. Right: 5,000 chains of the trained machine after 1, 10 and 1,000 sweeps (markers), and the data (bars).", "name": "fig-bm-mixing"}, "image": {"alt": "Left: four rows of points on a logarithmic axis that follow straight dashed lines downwards, steeply at the start of learning, less so at each later stage, and hardly at all for the trained machine. Right: eight bars, four of them high. After one sweep nearly all chains are still at 000, after ten most of them; after a thousand the markers lie on the tops of the bars."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.0), width_ratios=(1.15, 1))
shades = plt.colormaps["Oranges"](np.linspace(0.45, 1.0, 4))
labels = ((1, 3e-8, "left"), (19, 2e-5, "left"), (40, 1e-3, "right"), (40, 1, "right"))
for (name, distance), colour, (*at, side) in zip(
    mixing.items(), shades, labels, strict=True
):
    last = np.flatnonzero(distance > 1e-7)[-1]
    left.semilogy(ks[: last + 1], distance[: last + 1], "o", markersize=3, color=colour)
    line = distance[last] * lambda_2[name] ** (ks[: last + 1] - ks[last])
    left.semilogy(ks[: last + 1], line, "--", color=colour, linewidth=1)
    words = rf"{name}, $\lambda_2$ = {lambda_2[name]:.2f}"
    left.text(*at, words, color=colour, fontsize=10, ha=side)
left.set(xlabel="sweeps k", ylabel="distance", ylim=(1e-8, 9), xlim=(0, 42))
right.bar(bits, p_data, color=plotting.COLOURS[0], alpha=0.4)
for (k, x), marker in zip(samples.items(), "xvo", strict=True):
    label = f"{k:,} sweep{'s' * (k > 1)}"
    shade = plotting.COLOURS[1]
    right.plot(
        bits, frequencies(x), marker, label=label, color=shade, markerfacecolor="none"
    )
right.set(xlabel="state x", ylabel="frequency")
right.tick_params(axis="x", labelrotation=45)
_ = right.legend(fontsize=9)


# %% tags=["check"]
def asymmetry(p, K):
    """Largest difference between a flow and the flow back."""
    flow = p[:, None] * K
    return np.abs(flow - flow.T).max()


K, p_4 = kernels["after 300 steps"], boltzmann(E)
p_300 = probabilities(learned[300])
checks.close("block sweep: p(x) stays", p_300 @ K, p_300, atol=1e-14)
checks.close("block sweep: reversible", asymmetry(p_300, K), 0.0, atol=1e-14)
values = np.concatenate([np.linalg.eigvals(K).real for K in kernels.values()])
checks.at_least("block sweep: no eigenvalue is negative", values, -1e-12)
unit_kernels = [unit_kernel(i, a, J) for i in range(4)]
flows = [asymmetry(p_4, K) for K in unit_kernels]
checks.close("one unit: reversible", flows, np.zeros(4), atol=1e-14)
sweep = np.linalg.multi_dot(unit_kernels)
checks.close("sweep over units: p(s) stays", p_4 @ sweep, p_4, atol=1e-14)
checks.at_least("sweep over units: not reversible", asymmetry(p_4, sweep), 1e-3)


def moments(s):
    """Each unit, and each product of two, for each row of `s`."""
    products = [s[:, i] * s[:, j] for i, j in combinations(range(s.shape[1]), 2)]
    return np.column_stack([s, *products])


for name, states, kernel, sampler in (
    ("block", X, K, lambda s: gibbs_block(s, learned[300])),
    ("single units", four_units, sweep, lambda s: gibbs_units(s, a, J)),
):
    for sweeps in (1, 2):
        start = np.repeat(states[[5]], P.num_chains, axis=0)
        after = next(islice(sampler(start), sweeps - 1, None))
        exact = np.linalg.matrix_power(kernel, sweeps)[5] @ moments(states)
        # On and off in at least 25 chains each: their means are Gaussian.
        rarest = P.num_chains * min(exact.min(), 1 - exact.max())
        checks.at_least(f"{name}: chains of the rarest moment", rarest, 25)
        what = f"{name}, {sweeps} sweep(s) of the sampler, against the kernel: moments"
        checks.unbiased(what, moments(after), exact)

# %% tags=["check"]
checks.ordered("learning slows sampling down: second eigenvalues", lambda_2)
stated = [lambda_2["at the start"], lambda_2["trained"]]
checks.close("at the start and trained", stated, [0.23, 0.98], atol=5e-3)
for name in ("after 300 steps", "after 1,000"):
    # The third eigenvalue's share is below 1e-2 of the second's by then.
    decay = mixing[name][39] / mixing[name][38]
    checks.close(f"{name}: decay of the distance", decay, lambda_2[name], rtol=1e-2)
K = kernels["trained"]
for k in (10, 1_000):
    exact = np.linalg.matrix_power(K, k)[0] @ moments(X)
    checks.unbiased(f"trained, {k:,} sweeps: moments", moments(samples[k]), exact)
still = np.linalg.matrix_power(K, 10)[0, 0]
checks.at_least("chains still at 000 after 10 sweeps, exact", still, 0.5)
checks.at_most("probability of 000 in the data", p_data[0], 0.3)

# %% [markdown]
r"""
**This machine is harder to sample after learning than before.**
At the start $\lambda_2 = 0.23$, after training 0.98: ten sweeps after a start at 000 more than half of the chains are still there.
The states with an even number of ones are separated by states of low probability, which is what was to be learned.

```{dropdown} A one-minute question: p is stationary for a kernel that never moves. What else must a sampler have?
It must be able to reach every state from every other.
Gibbs sampling can, since every conditional probability is positive; how long it takes is another question.
```

## The gradient of log Z, by sampling

**A chain of $S$ sweeps gives $\nabla \log Z$ with an error that falls as $1 / \sqrt{S}$, and the chain's memory says with which factor.**
For a machine of useful size the negative phase is an average of $\nabla \log f$ along a chain.
Were the states independent, its mean squared error would be $V / S$, with $V$ the variance of $\nabla \log f$ summed over its components.
In a chain neighbours are alike; for large $S$

$$
\begin{aligned}
\Bigl\langle \bigl| \widehat{\nabla \log Z} - \nabla \log Z \bigr|^2 \Bigr\rangle
&\approx \frac{\tau V}{S}, \\
\tau &= \frac{1}{V} \sum_{r:\, \lambda_r < 1} w_r \frac{1 + \lambda_r}{1 - \lambda_r} .
\end{aligned}
$$ (eq-bm-error)

Here $\lambda_r$ are the eigenvalues of the kernel and $w_r$ is the part of $V$ carried by the eigenvector $r$, $\sum_r w_r = V$; the eigenvalue 1 carries none.
$\tau$ is the **integrated autocorrelation time**: so many sweeps are worth one independent draw.
(It is $1 + 2 \sum_k \rho_k$ with the correlations $\rho_k$ after $k$ sweeps; {cite:t}`sokal1997` calls half of it so.)
"""


# %%
def spectrum(K, p, g):
    """Eigenvalues of a reversible kernel, rising; the part of the variance of g in each."""
    root = np.sqrt(p)
    symmetric = root[:, None] * K / root  # the same eigenvalues
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    return values, ((vectors.T @ (root[:, None] * (g - p @ g))) ** 2).sum(1)


theta, K = stages["after 1,000"], kernels["after 1,000"]
p, G = probabilities(theta), grad_log_f(X, theta)
values, carried = spectrum(K, p, G)
slow, V = values[:-1], carried.sum()  # all but the eigenvalue 1
tau = carried[:-1] @ ((1 + slow) / (1 - slow)) / V

# %% tags=["hide-input"]
# Many chains at once: their errors after 64, 256, ... sweeps, measured and predicted
lengths = 4 ** np.arange(3, round(math.log(P.chain_length, 4)) + 1)


def squared_error(S):
    """Exact mean squared error of an average over S sweeps of a chain that starts from p."""
    ends = 2 * slow * (1 - slow**S) / (1 - slow) ** 2
    return carried[:-1] @ (S * (1 + slow) / (1 - slow) - ends) / S**2


def running_gradients(chain, theta, lengths):
    """Averages of grad log f along each chain, after each of `lengths` sweeps."""
    total = 0
    for sweeps, x in enumerate(islice(chain, int(lengths[-1])), 1):
        total = total + grad_log_f(x, theta)
        if sweeps in lengths:
            yield total / sweeps


chain = gibbs_block(np.zeros((P.num_repetitions, D)), theta)
burned_in = next(islice(chain, 199, None))
estimates = np.array(list(running_gradients(chain, theta, lengths)))
measured = ((estimates - p @ G) ** 2).sum(-1)  # shape (lengths, repetitions)
predicted = np.array([squared_error(int(S)) for S in lengths])

# %% tags=["check"]
checks.close("integrated autocorrelation time, about 14", tau, 14, atol=0.5)
checks.at_most("what is left of the start after 200 sweeps", slow[-1] ** 200, 1e-9)
checks.unbiased("the chains after that burn-in", moments(burned_in), p @ moments(X))
still = np.array(list(running_gradients(repeat(X), theta, [2, 5])))
checks.close("averages along chains that stand still", still, [G, G], atol=1e-12)
centred = G - p @ G
lag = [  # covariance after k sweeps with the state now, summed over components
    p @ (centred * (np.linalg.matrix_power(K, k) @ centred)).sum(1) for k in range(5)
]
checks.close("the parts of the eigenvectors add up to V", V, lag[0], rtol=1e-12)
checks.close("the eigenvalue 1 carries none", carried[-1], 0.0, atol=1e-12)
by_pairs = sum(lag[abs(i - j)] for i in range(5) for j in range(5)) / 25
name = "error of 5 sweeps, against the sum over 25 pairs"
checks.close(name, squared_error(5), by_pairs, rtol=1e-12)
ratios = (measured / predicted[:, None]).T
name = "squared error, measured over predicted, each length"
checks.unbiased(name, ratios, np.ones(len(lengths)))
far = 10**6
limit = far * squared_error(far) / V
checks.close("tau is the limit of S error / V", limit, tau, rtol=tau / far)
batches = measured.reshape(len(lengths), 20, -1).mean(-1)
slopes = np.polyfit(np.log(lengths), 0.5 * np.log(batches), 1)[0]
exact_slope = np.polyfit(np.log(lengths), 0.5 * np.log(predicted), 1)[0]
checks.unbiased("slope of log error against log S, 20 batches", slopes, exact_slope)

# %% tags=["hide-input"]
# Two recorded numbers
run.record(
    "gibbs_error_slope",
    slopes.mean(),
    unit="1",
    standard_error=slopes.std(ddof=1) / 20**0.5,
    protocol="3 + 4 units after 1,000 steps of learning: log error of grad log Z against "
    f"log sweeps, 64 to {lengths[-1]:,}, {P.num_repetitions} block Gibbs chains in 20 "
    "batches",
)
_ = run.record(
    "gibbs_sweeps_per_independent_draw",
    tau,
    unit="sweeps",
    protocol="3 + 4 units after 1,000 steps of learning: integrated autocorrelation time "
    "of grad log f, from the spectrum of block Gibbs",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Error of grad log Z, estimated by block Gibbs sampling, against the number of sweeps, for the machine after 1,000 steps of learning. Points: root mean square over independent chains. Line: exact prediction. Dashed: independent draws.", "name": "fig-bm-gradient-error"}, "image": {"alt": "Points on a falling straight line in a plot with two logarithmic axes; a dashed line parallel to it lies below."}}
fig, ax = plt.subplots(figsize=(7.0, 2.2))
ax.loglog(lengths, np.sqrt(predicted), color="black")
ax.loglog(lengths, np.sqrt(measured.mean(1)), "o", color=plotting.COLOURS[1])
ax.loglog(lengths, np.sqrt(V / lengths), "k--", linewidth=1)
middle = lengths[len(lengths) // 2]
for height, words in (
    (np.sqrt(tau * V / middle), "a chain: predicted, measured"),
    (np.sqrt(V / middle), "independent draws"),
):
    ax.annotate(words, (middle, height), (6, 6), textcoords="offset points")
ax.set(xlabel="sweeps S", ylabel="error of the gradient", ylim=(0.02, 1))
ax.set_yticks([0.03, 0.1, 0.3, 1], labels=["0.03", "0.1", "0.3", "1"], minor=False)
_ = ax.yaxis.set_minor_formatter("")

# %% [markdown]
r"""
Here $\tau$ is about 14; four times the work buys half the error.
What is left of the start is another matter: it is a wrong mean, which no averaging removes, so the first sweeps are thrown away, the *burn-in*.

```{dropdown} A one-minute question: learning takes many steps. Must each of them have an accurate gradient?
No: noise averages out over the steps if the learning rate falls.
A bias does not, whatever the rate; so a biased gradient is the worse evil, and the subject of the next section.
```

## Contrastive divergence, and its exact bias

```{margin}
**In the sources.** CS236 notes, *Energy based models*, the contrastive divergence algorithm.
```

**Samples of the model give an unbiased gradient; contrastive divergence uses other samples, and its bias is known exactly.**
To run a chain to equilibrium for each step of learning is too expensive.
CD-k {cite:p}`hinton2002` starts it at the data and stops after $k$ sweeps, so that its negative phase ({numref}`fig-bm-learning`) is a mean over $p_k = p_\text{data} K^k$ in place of $p$:

$$
\begin{aligned}
\langle \text{CD-}k \rangle
&= \sum_x \bigl(p_\text{data} - p_k\bigr)(x)\, \nabla \log f(x), \\
\text{bias} &= \sum_x \bigl(p - p_k\bigr)(x)\, \nabla \log f(x) .
\end{aligned}
$$ (eq-bm-cd)

```{margin}
**A common mistake:** proofs that contrastive divergence is unbiased.
They assume that the negative samples come from $p$.
```
"""


# %% tags=["method"]
def expected_cd(theta, p_data, k):
    """The mean of the CD-k update over all its random numbers."""
    after = p_data @ np.linalg.matrix_power(block_kernel(theta), k)
    return (p_data - after) @ grad_log_f(X, theta)


# %% tags=["hide-input"]
# The bias of CD-k as a fraction of the gradient, at three stages of learning
bias = {}
for name in list(stages)[:3]:
    exact = likelihood_gradient(stages[name], p_data)
    cd = np.array([expected_cd(stages[name], p_data, k) for k in ks])
    bias[name] = np.linalg.norm(cd - exact, axis=1) / np.linalg.norm(exact)
_ = run.record(
    "cd1_relative_bias",
    bias["after 1,000"][0],
    unit="1",
    protocol="3 + 4 units after 1,000 steps of learning the noisy parity: "
    "|E[CD-1] - gradient| / |gradient|, exact",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Length of the bias of CD-k over the length of the exact gradient, at three stages of learning (points). Dashed: powers of the second eigenvalue.", "name": "fig-bm-cd-bias"}, "image": {"alt": "Three rows of points on a logarithmic axis against the number of sweeps. At the start of learning they fall steeply, after 300 steps less so, and after 1,000 steps they need forty sweeps to fall below one hundredth; all end on straight dashed lines."}}
fig, ax = plt.subplots(figsize=(7.0, 2.4))
for (name, length), colour in zip(bias.items(), shades, strict=False):
    last = np.flatnonzero(length > 1e-6)[-1]
    ax.semilogy(ks[: last + 1], length[: last + 1], "o", markersize=4, color=colour)
    line = length[last] * lambda_2[name] ** (ks[: last + 1] - ks[last])
    ax.semilogy(ks[: last + 1], line, "--", color=colour, linewidth=1)
    at = (ks[last], length[last])
    ax.annotate(name, at, (6, 2), textcoords="offset points", color=colour)
_ = ax.set(xlabel="sweeps k", ylabel="bias / gradient", ylim=(1e-6, 2), xlim=(0, 49))

# %% [markdown]
r"""
The bias dies at the pace at which the chain forgets, as $\lambda_2^k$.
As learning slows the chain down, longer runs are needed: at the start CD-1 errs by 18 % of the gradient, after 1,000 steps by 57 %, and there even ten sweeps leave 20 %.

In particular it vanishes where $p_\text{data} = p$ and nothing is left to learn: a machine that can represent its data has a fixed point where it should be.
One that cannot may have its fixed point elsewhere {cite:p}`carreira2005`.
We take data without a pattern and three visible units that share one hidden unit, without biases: three weights for seven free probabilities.
"""

# %% tags=["hide-input"]
# The fixed points of the gradient and of expected CD-1, from the same start
rough = boltzmann(-np.array([0.3, -0.3, 1.3, 0.2, -1.1, 0.7, 2.6, 1.9]))
weights_only = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


def fixed_point(field):
    """Where ascent along a field of the three weights ends."""
    start = np.array([-0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    path = climb(start, lambda t: weights_only * field(t), rate=1.0)
    return next(islice(path, 4_999, None))


true_point = fixed_point(lambda t: likelihood_gradient(t, rough))
cd_point = fixed_point(lambda t: expected_cd(t, rough, 1))
rows = {
    name: (*point[:3], kl(rough, probabilities(point)))
    for name, point in (("exact gradient", true_point), ("CD-1", cd_point))
}
kl_lost = rows["CD-1"][3] - rows["exact gradient"][3]
_ = run.record(
    "cd1_kl_lost",
    kl_lost,
    unit="nats",
    protocol="3 + 1 units without biases: KL at the fixed point of expected CD-1, "
    "minus KL at that of the exact gradient",
)
cells = {
    name: [f"{v:.3f}" for v in row[:3]] + [f"{row[3]:.6f}"]
    for name, row in rows.items()
}
plotting.table(cells, columns=("fixed point of", "w1", "w2", "w3", "KL, nats"))

# %% tags=["check"]
theta = stages["after 300 steps"]
G = grad_log_f(X, theta)
x_data = np.repeat(X, np.round(p_data * P.num_chains).astype(int), axis=0)
counts = np.round(p_data * P.num_chains) / len(x_data)
for k in (1, 2):
    negative = grad_log_f(next(islice(gibbs_block(x_data, theta), k - 1, None)), theta)
    # The chains start at fixed states, whose spread is in the standard error, not the mean.
    name = f"CD-{k} by sampling, a chain from each data point"
    checks.unbiased(name, counts @ G - negative, expected_cd(theta, counts, k))
K = block_kernel(theta)
exact = (p_data - p_data @ K @ K @ K) @ G
checks.close("CD-3, sweep by sweep", expected_cd(theta, p_data, 3), exact, atol=1e-12)
for name in ("after 300 steps", "after 1,000"):
    ratio = bias[name][39] / bias[name][38]
    checks.close(f"{name}: bias of CD-40 over CD-39", ratio, lambda_2[name], rtol=1e-2)
stated = [bias["at the start"][0], *bias["after 1,000"][[0, 9]]]
checks.close("bias / gradient as stated", stated, [0.18, 0.57, 0.20], atol=5e-3)
p = probabilities(theta)
on_itself = expected_cd(theta, p, 1)
checks.close("CD-1 on data that are the model", on_itself, 0 * theta, atol=1e-14)
for what, field in (
    ("CD-1, its expected update", expected_cd(cd_point, rough, 1)),
    ("the gradient, itself", likelihood_gradient(true_point, rough)),
):
    checks.close(f"fixed point of {what}: zero", field[:3], np.zeros(3), atol=1e-12)
there = np.abs(likelihood_gradient(cd_point, rough)[:3]).max()
checks.at_least("but the gradient there, largest component", there, 1e-3)
checks.close("nats lost by CD-1", kl_lost, 9.4e-5, atol=5e-7)

# %% [markdown]
r"""
The two fixed points differ; here CD-1 loses no more than $10^{-4}$ nats.
The [RBM lecture](rbm.ipynb) shows what becomes of CD-1 on digits, and what persistent chains do about it.

```{dropdown} A one-minute question: CD-1 starts at the data. Which mistakes of a model can it not see?
Probability far from all data: no chain of one sweep gets there, so nothing pushes it down.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- $p = f / Z$; ratios and samplers need no $Z$
- $\nabla \log Z = \langle \nabla \log f \rangle_p$, {eq}`eq-bm-grad-log-z`
- the two phases {eq}`eq-bm-phases`: $\nabla \langle \log p \rangle_\text{data} = \langle \nabla \log f \rangle_\text{data} - \langle \nabla \log f \rangle_p$

**What it can do**

- **Likelihood:** up to $Z$; exact where $2^{\min(D, H)}$ terms can be summed.
- **Sampling:** Gibbs chains; $\tau$ sweeps are worth one independent draw, and learning makes $\tau$ grow.
- **Latent code:** the hidden units, binary; $p(h \mid x)$ is a product in a restricted machine.
- **What fails:** couplings without hidden units miss the parity of three bits by 0.40 nats; with hidden units there are false maxima; CD-k is biased as $\lambda_2^k$.
```
"""

# %% [markdown]
r"""
## Exercises

Each has a cell to fill in, a check that answers "not yet", "right", or says what is wrong, and a folded solution.

```{exercise-start} A mean of log f, or of its gradient? (easy)
:label: ex-bm-two-states
```
The smallest machine has one unit and one parameter, $f = (1, e^\theta)$.
Write `two_states(theta)`, which returns the pair $d \log Z / d\theta$ and $\langle \log f \rangle_p$, both as closed formulas.
The reward is a picture of both: at which $\theta$ would somebody who confuses them notice nothing?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def two_states(theta):
    return None


# %% tags=["check"]
def check_two_states(answer):
    if answer(1.0) is None:
        return print("not yet")
    for value in (-2.0, 0.5, 1.0, 3.0):
        f = np.array([1.0, math.exp(value)])
        slope, mean = answer(value)
        checks.gradient(
            f"theta = {value}: d log Z",
            lambda t: np.log(1 + np.exp(t)),
            np.array(value),
            slope,
            atol=1e-8,
        )
        exact = f @ np.log(f) / f.sum()
        checks.close(f"theta = {value}: mean of log f", mean, exact, atol=1e-12)
    line = np.linspace(-4, 3, 141)
    _, ax = plt.subplots(figsize=(6.0, 2.4))
    for curve, label in zip(
        np.array([answer(float(v)) for v in line]).T,
        ("slope of log Z", "mean of log f"),
        strict=True,
    ):
        ax.plot(line, curve, label=label)
    ax.set(xlabel="theta")
    ax.legend()
    return print("right")


check_two_states(two_states)

# %% [markdown]
r"""
````{solution-start} ex-bm-two-states
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Two curves over theta. The slope of log Z is a sigmoid; the mean of log f is below zero for negative theta, and crosses the sigmoid at theta = 1 only."}}
def two_states(theta):
    return sigmoid(theta), theta * sigmoid(theta)


check_two_states(two_states)

# %% [markdown]
r"""
$Z = 1 + e^\theta$, and $\log f = (0, \theta)$ has the derivative $(0, 1)$.
The mean of the derivative is $\sigma(\theta)$, the mean of $\log f$ itself is $\theta\, \sigma(\theta)$.
They are equal at $\theta = 1$ alone: a test at $\theta = 1$ finds nothing wrong.
````{solution-end}
````

```{exercise-start} Cool a magnet (medium)
:label: ex-bm-magnet
```
A magnet is a Boltzmann machine on a square grid: $J = 1$ between neighbours, across the border too, and $a = -2$, so that flipping all units changes no energy.
Colour the grid like a checkerboard: no two units of one colour are neighbours, so that all of a colour can be resampled at once, like a layer.
Write `heat_bath(s, T, rng)`: one sweep, first one colour, then the other, by {eq}`eq-bm-site` with the field divided by $T$; `s` has the shape `(..., rows, columns)`.
The reward is a magnet at three temperatures.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def heat_bath(s, T, rng):
    return None


# %% tags=["check"]
def check_heat_bath(answer):
    draw = np.random.default_rng(run.seed)
    s = draw.integers(0, 2, (2_000, 4, 4)).astype(float)
    if answer(s.copy(), 1.0, draw) is None:
        return print("not yet")
    a = np.full(16, -2.0)
    J = np.zeros((4, 4, 4, 4))
    for i, j in np.ndindex(4, 4):
        for k, m in ((i, (j + 1) % 4), ((i + 1) % 4, j)):
            J[i, j, k, m] += 1
            J[k, m, i, j] += 1
    J = J.reshape(16, 16)
    every = all_states(16)
    energies = energy(every, a, J)
    for T in (1.0, 2.0):
        for _ in range(60):
            s = answer(s, T, draw)
        checks.true("zeros and ones", bool(np.isin(s, (0, 1)).all()))
        exact = boltzmann(energies, T) @ energies
        found = energy(s.reshape(-1, 16), a, J)
        checks.unbiased(f"T = {T}: mean energy of 4 x 4 units, exact", found, exact)
    _, axes = plt.subplots(1, 3, figsize=(7.0, 2.6))
    for ax, T in zip(axes, (1.0, 0.6, 0.3), strict=True):
        s = draw.integers(0, 2, (64, 64)).astype(float)
        for _ in range(150):
            s = answer(s, T, draw)
        ax.imshow(s)
        ax.set_axis_off()
        ax.set_title(f"T = {T}", fontsize=10)
    return print("right")


check_heat_bath(heat_bath)

# %% [markdown]
r"""
````{solution-start} ex-bm-magnet
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Three squares of black and white units. At the highest temperature they are mixed, at the middle one there are clusters of all sizes, at the lowest large domains of one colour."}}
def heat_bath(s, T, rng):
    rows, columns = np.indices(s.shape[-2:])
    for colour in (0, 1):
        field = (
            sum(np.roll(s, shift, axis) for axis in (-1, -2) for shift in (-1, 1)) - 2
        )
        new = rng.random(s.shape) < sigmoid(field / T)
        s = np.where((rows + columns) % 2 == colour, new, s)
    return s


check_heat_bath(heat_bath)

# %% [markdown]
r"""
In physics' spins $\pm 1$ the coupling is $1/4$, so an infinite magnet orders below $T = 1 / (2 \log(1 + \sqrt 2)) = 0.57$ {cite:p}`onsager1944`.
Cold, the domains grow slowly: the chain is far from equilibrium for a long time, like that of the trained machine.
````{solution-end}
````

```{exercise-start} Five machines whose Z is known (medium)
:label: ex-bm-families
```
Exponential families have the form $p = g(x)\, e^{\theta \cdot t(x)} / Z(\theta)$.
Write `closed_forms()`: a dictionary from these names to functions $\log Z(\theta)$, with `math.lgamma` where you need it.

| name | $x$ | $g(x)$ | $t(x)$ |
|:--|:--|:--|:--|
| normal | real | 1 | $x, x^2$ |
| exponential | positive | 1 | $x$ |
| gamma | positive | 1 | $\log x, x$ |
| beta | between 0 and 1 | 1 | $\log x, \log(1 - x)$ |
| Poisson | 0, 1, 2, ... | $1 / x!$ | $x$ |

The reward: without further work the slope of your $\log Z$ is the mean of $t$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def closed_forms():
    return None


# %% tags=["check"]
def check_families(answer):
    if answer() is None:
        return print("not yet")
    u = np.linspace(-34, 34, 6801)  # the half-line is x = e^u, the interval sigma(u)
    du, up, counts = u[1] - u[0], np.exp(u), np.arange(150.0)
    inside, outside = np.log(sigmoid(u)), np.log(sigmoid(-u))
    factorial = np.exp([math.lgamma(k + 1) for k in counts])
    families = {  # g(x) dx at the points, the rows of t(x), theta
        "normal": (du + 0 * u, (u, u**2), (0.7, -0.3)),
        "exponential": (up * du, (up,), (-1.7,)),
        "gamma": (up * du, (u, up), (1.5, -2.0)),
        "beta": (np.exp(inside + outside) * du, (inside, outside), (1.5, 0.3)),
        "Poisson": (1 / factorial, (counts,), (math.log(3.7),)),
    }
    for name, (base, t, theta) in families.items():
        log_z, t, theta = answer()[name], np.array(t), np.array(theta)
        f = base * np.exp(theta @ t)
        what = f"{name}: log Z by quadrature"
        checks.close(what, float(log_z(theta)), np.log(f.sum()), atol=1e-12)
        what = f"{name}: mean of t(x) = slope of log Z"
        checks.gradient(what, log_z, theta, t @ f / f.sum(), atol=1e-8)
    return print("right")


check_families(closed_forms)

# %% [markdown]
r"""
````{solution-start} ex-bm-families
:class: dropdown
````
"""


# %% tags=["solution"]
def closed_forms():
    gamma = math.lgamma
    return {
        "normal": lambda t: -(t[0] ** 2) / (4 * t[1]) + 0.5 * math.log(-math.pi / t[1]),
        "exponential": lambda t: -math.log(-t[0]),
        "gamma": lambda t: gamma(t[0] + 1) - (t[0] + 1) * math.log(-t[1]),
        "beta": lambda t: gamma(t[0] + 1) + gamma(t[1] + 1) - gamma(t[0] + t[1] + 2),
        "Poisson": lambda t: math.exp(t[0]),
    }


check_families(closed_forms)

# %% [markdown]
r"""
A fully visible Boltzmann machine is a sixth member, with $t$ all $x_i$ and $x_i x_j$; the theorem holds for it too, but no closed form of its $Z$ is known.
````{solution-end}
````

```{exercise-start} Not concave (medium)
:label: ex-bm-concave
```
Find for a restricted machine another parameter vector that gives the same $p(x)$ for every $x$: write `twin_of(theta)`, for three visible units.
The check walks from the trained machine to your twin and draws the mean log-likelihood on the way.
A concave function could not be lower there than at both ends.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def twin_of(theta):
    return None


# %% tags=["check"]
def check_twin(answer):
    twin = answer(trained.copy())
    if twin is None:
        return print("not yet")
    checks.at_least("distance of the two machines", np.abs(twin - trained).max(), 0.1)
    same = probabilities(trained)
    checks.close("the same probabilities", probabilities(twin), same, atol=1e-12)
    way = np.linspace(0, 1, 101)
    on_the_way = [(1 - w) * trained + w * twin for w in way]
    height = np.array([p_data @ np.log(probabilities(theta)) for theta in on_the_way])
    checks.at_least("nats by which the way leads down", height[0] - height.min(), 0.001)
    _, ax = plt.subplots(figsize=(6.0, 2.2))
    ax.plot(way, height, color=plotting.COLOURS[1])
    ax.set(xlabel="from the machine (0) to its twin (1)", ylabel="mean log p, nats")
    return print("right")


check_twin(twin_of)

# %% [markdown]
r"""
````{solution-start} ex-bm-concave
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Curves that start and end at the same height and sag in between."}}
def twin_of(theta):
    W, b, c = unpack(theta, 3)
    order = [1, 0, 2, 3]  # the first two hidden units change places
    return np.concatenate([W[:, order].ravel(), b, c[order]])


def inverted(theta):
    W, b, c = unpack(theta, 3)
    sign = np.array([-1, 1, 1, 1])  # the first hidden unit: h -> 1 - h
    return np.concatenate([(W * sign).ravel(), b + W[:, 0], c * sign])


check_twin(twin_of)
check_twin(inverted)

# %% [markdown]
r"""
Hidden units have no names: any permutation of them gives the same $p(x)$, which makes up to $H!$ copies of every maximum.
Nor has on or off a name: inverting a hidden unit, $h_j \to 1 - h_j$, changes the sign of its weights and its bias, adds its old weights to $b$, and makes $2^H$ times as many.
````{solution-end}
````

```{exercise-start} Which sweep forgets fastest? (hard)
:label: ex-bm-metropolis
```
Ratios are all that a sampler needs.
The algorithm of {cite:t}`metropolis1953` proposes to flip one unit, chosen at random, and accepts with probability $\min(1, p(s') / p(s))$, its accept/reject step.
Write `metropolis(E)`: the matrix of transition probabilities of one proposal, from the energies of all states in the order of `all_states`.
The reward: its second eigenvalue over 7 proposals, beside those of heat baths with a *systematic scan* (units in order) and a *random scan* (7 units drawn at random), on the 3 + 4 units after 1,000 steps of learning.
Which two will be equal?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def metropolis(E):
    return None


# %% tags=["check"]
def check_metropolis(answer):
    if (K := answer(E)) is None:
        return print("not yet")
    p = boltzmann(E)
    checks.close("rows sum to 1", np.sum(K, axis=1), np.ones(16), atol=1e-14)
    checks.close("p stays", p @ K, p, atol=1e-14)
    checks.close("reversible", asymmetry(p, K), 0.0, atol=1e-14)
    checks.close("energies + 100: the same matrix", answer(E + 100), K, atol=1e-12)
    # Where a flip goes down in energy it is always accepted: once in four proposals.
    down = [
        K[r, r ^ (1 << i)]
        for r in range(16)
        for i in range(4)
        if E[r ^ (1 << i)] < E[r]
    ]
    checks.close("downhill always", down, np.full(len(down), 0.25), atol=1e-14)
    a_7, J_7 = as_general(*unpack(stages["after 1,000"], 3))
    units = [unit_kernel(i, a_7, J_7) for i in range(7)]
    hops = answer(energy(all_states(7), a_7, J_7))
    found = {
        "block": kernels["after 1,000"],
        "systematic scan": np.linalg.multi_dot(units),
        "random scan": np.linalg.matrix_power(np.mean(units, axis=0), 7),
        "Metropolis, random scan": np.linalg.matrix_power(hops, 7),
    }
    found = {name: second_eigenvalue(kernel) for name, kernel in found.items()}
    pair = found["systematic scan"], found["block"]
    checks.close("systematic scan = block", *pair, atol=1e-9)
    print("right")
    return plotting.table(found, columns=("sweep", "second eigenvalue"), digits=4)


check_metropolis(metropolis)

# %% [markdown]
r"""
````{solution-start} ex-bm-metropolis
:class: dropdown
````
"""


# %% tags=["solution"]
def metropolis(E):
    num_units = int(math.log2(len(E)))
    K = np.zeros((len(E), len(E)))
    for r in range(len(E)):
        for i in range(num_units):
            q = r ^ (1 << i)  # unit i flipped
            K[r, q] = min(1, math.exp(E[r] - E[q])) / num_units
        K[r, r] = 1 - K[r].sum()
    return K


check_metropolis(metropolis)

# %% [markdown]
r"""
Without couplings inside a layer, resampling its units one after the other *is* resampling the layer, so the systematic scan has the $\lambda_2$ of the block sweep.
A random scan costs as much and, here, forgets more slowly: it visits some units twice and others not at all.
(A product of different kernels need not be reversible, and may have complex eigenvalues; then their modulus counts.)
````{solution-end}
````

## Further

### A map with two summits

This unit draws a whole likelihood, and shows that a zero gradient may belong to a saddle.
With hidden units $-E = \theta \cdot t(x, h)$ is linear in $\theta$, $\log f$ is the logarithm of a sum, and the Hessian is a difference of two covariances, of which either may win:

$$
\nabla^2 \langle \log p \rangle_\text{data}
= \bigl\langle \operatorname{Cov}_{p(h \mid x)}(t, t) \bigr\rangle_\text{data}
- \operatorname{Cov}_{p(x, h)}(t, t) .
$$ (eq-bm-hessian-hidden)

Two machines with three visible units have two parameters each.
The first is fully visible, with one bias $b$ and one coupling $J$ for all.
The second has one hidden unit, and biases such that flipping all units changes no energy:

$$
E(x, h) = -\bigl(h - \tfrac12\bigr)\, a(x),
\qquad
a(x) = w_1 \bigl(x_1 - \tfrac12\bigr) + w_2 (x_2 + x_3 - 1) .
$$ (eq-bm-flip)

Changing the sign of both weights changes nothing that can be observed.
The data of each machine are those of the machine itself at known parameters, so that the maxima are known.
"""

# %% tags=["hide-input"]
# The two machines with two parameters
t_visible = np.column_stack([X.sum(1), both_on.sum(1)])
half = np.column_stack(
    [X[:, 0] - 0.5, X[:, 1] + X[:, 2] - 1]
)  # a(x) = half @ (w_1, w_2)


def log_f_visible(theta):
    return theta @ t_visible.T


def log_f_hidden(theta):
    return np.logaddexp(theta @ half.T / 2, -theta @ half.T / 2)


def mean_log_likelihood(log_f_of, theta, p_data):
    """<log p> over the data, for one theta or a grid of them."""
    log_f_all = log_f_of(theta)
    return log_f_all @ p_data - np.log(np.exp(log_f_all).sum(-1))


def hidden_hessian(theta, p_data):
    """The difference of the two covariances of t(x, h) = (h - 1/2) half(x)."""
    on = sigmoid(half @ theta)  # p(h = 1 | x)
    given_x = (half.T * (p_data * on * (1 - on))) @ half
    p = boltzmann(-log_f_hidden(theta))
    t_joint = np.concatenate([half / 2, -half / 2])
    weights = np.concatenate([p * on, p * (1 - on)])
    return given_x - np.cov(t_joint.T, aweights=weights, ddof=0)


best = {log_f_visible: np.array([-1.0, 1.2]), log_f_hidden: np.array([4.0, 3.0])}
own_data = {model: boltzmann(-model(theta)) for model, theta in best.items()}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean log-likelihood minus its maximum, in nats. Left: fully visible, concave, one maximum (star). Right: with one hidden unit, two maxima of equal height (stars); the cross is a saddle, where the gradient is zero and the likelihood is not maximal.", "name": "fig-bm-surface"}, "image": {"alt": "Two maps with contour lines. The left one has closed curves around a single star. The right one has two stars, at opposite points, each in a region of its own, with a cross in the middle between them."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3))
names = (("bias b", "coupling J"), ("weight w1", "weight w2"))
levels = [-3, -1, -0.6, -0.4, -0.3, -0.2, -0.1, -0.03, 0]
blues = plt.colormaps["Blues_r"](np.linspace(0.1, 1, len(levels)))  # even steps
thin = {"colors": "black", "linewidths": 0.5, "linestyles": "solid"}
for ax, model, reach, (across, up) in zip(axes, best, (5, 9), names, strict=True):
    axis = np.linspace(-reach, reach, 161)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    below = mean_log_likelihood(model, grid, own_data[model])
    below -= mean_log_likelihood(model, best[model], own_data[model])
    filled = ax.contourf(axis, axis, below, levels, colors=blues, extend="min")
    ax.contour(axis, axis, below, levels, **thin)
    for sign in (1,) if model is log_f_visible else (1, -1):
        ax.plot(*(sign * best[model]), "*", color=plotting.COLOURS[1], markersize=13)
    ax.set(xlabel=across, ylabel=up)
    ax.grid(visible=False)
axes[1].plot(0, 0, "x", color="black", markersize=9, markeredgewidth=2)
label = "mean log-likelihood minus\nits maximum (nats)"
_ = fig.colorbar(filled, ax=axes, label=label, ticks=levels)


# %% tags=["check"]
def own_likelihood(theta):
    return mean_log_likelihood(log_f_hidden, theta, own_data[log_f_hidden])


def hessian(theta, step=1e-4):
    return differences(lambda t: differences(own_likelihood, t, step), theta, step)


some = np.array([1.0, -2.0])
exact = np.log(sum(np.exp((h - 0.5) * half @ some) for h in (0, 1)))
name = "one hidden unit: log f, against the sum over h"
checks.close(name, log_f_hidden(some), exact, atol=1e-12)
summit, zero = best[log_f_hidden], np.zeros(2)
for theta_2 in (some, zero, summit):
    # Second differences err by about 1e-16 / step^2 = 1e-8, times a few.
    exact = hidden_hessian(theta_2, own_data[log_f_hidden])
    name = f"Hessian at {theta_2} = a difference of covariances"
    checks.close(name, hessian(theta_2), exact, atol=5e-7)
for theta_2 in (zero, summit, -summit):
    slope = differences(own_likelihood, theta_2)
    checks.close(f"one hidden unit, {theta_2}: zero gradient", slope, zero, atol=1e-9)
top, bottom, middle = map(own_likelihood, (summit, -summit, zero))
checks.close("the two maxima are equally high", top, bottom, atol=1e-12)
checks.at_least("and higher than the point half-way, nats", top - middle, 0.1)
falling, rising = np.linalg.eigvalsh(hidden_hessian(zero, own_data[log_f_hidden]))
checks.at_least("Hessian half-way: one eigenvalue", rising, 0.01)
checks.at_most("and the other: a saddle", falling, -0.01)

# %% [markdown]
r"""
### Hot and cold

This unit turns the knob $T$ of {eq}`eq-bm-machine`, and finds thermodynamics in the slope of $\log Z$.
Move the slider: hot machines find all states alike, cold ones only the lowest.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The 16 states of the four units, by rising energy.", "name": "fig-bm-cooling"}}
temperatures = [20, 10, 5, 3, 2, 1.5, 1, 0.7, 0.5, 0.3, 0.1, 0.05]


def bars(T):
    fig, ax = plt.subplots(figsize=(6.0, 2.3))
    ax.bar(range(16), boltzmann(E, T)[np.argsort(E)], color=plotting.COLOURS[1])
    ax.set(ylim=(0, 1.08), xlabel="state, by rising energy", ylabel="probability")
    ax.set_xticks([])
    plotting.reference_line(ax, 1 / 16, "1/16")
    return fig


plotting.slider(
    [f"T = {T}" for T in temperatures],
    map(bars, temperatures),
    alt="Sixteen bars. At high temperature all are near one sixteenth; as it falls, "
    "the bars of high energy vanish and at last a single bar near one is left.",
)

# %% [markdown]
r"""
With $\beta = 1 / T$ in front of the energy, $\nabla \log f$ is $-E$, and {eq}`eq-bm-grad-log-z` gives the mean energy; once more, its variance:

$$
\frac{d \log Z}{d \beta} = -\langle E \rangle,
\qquad
\frac{d^2 \log Z}{d \beta^2} = \langle E^2 \rangle - \langle E \rangle^2 .
$$ (eq-bm-beta)
"""

# %% tags=["check"]
beta, p_beta = np.array(1.3), boltzmann(E, 1 / 1.3)
mean, variance = p_beta @ E, p_beta @ (E - p_beta @ E) ** 2
for what, function, slope in (
    ("d log Z / d beta = minus the mean energy", lambda b: log_sum_exp(-b * E), -mean),
    ("once more: the variance", lambda b: -boltzmann(E, 1 / b) @ E, variance),
):
    checks.gradient(what, function, beta, slope, atol=1e-8)

# %% [markdown]
r"""
### What a finite sample costs

This unit asks for the likelihood of *other* draws, as one must where the data are a sample and not a known distribution.
The machine with 4 hidden units learns from 300 draws; its mean log-probability of 10,000 new ones is an unbiased estimate of the sum over states weighted with the true probabilities.
"""

# %%
few = X[rng.choice(8, size=300, p=p_data)]
new = X[rng.choice(8, size=10_000, p=p_data)]
seen = frequencies(few)
ascent = climb(theta_0, lambda t: likelihood_gradient(t, seen))
from_few = next(islice(ascent, 4_999, None))
held_out = log_f(new, from_few) - log_sum_exp(log_f(X, from_few))

# %% tags=["hide-input"]
# The recorded number, and what bounds it
run.record(
    "held_out_log_likelihood",
    held_out.mean(),
    unit="nats",
    standard_error=held_out.std(ddof=1) / len(held_out) ** 0.5,
    protocol="noisy parity of three bits: 3 + 4 units, 5,000 steps of the exact gradient on "
    "300 draws, mean of 10,000 others",
)
means = p_data @ X
independent = np.prod(np.where(X == 1, means, 1 - means), axis=1)
found = {
    "independent bits": p_data @ np.log(independent),
    "learned from 300 draws": p_data @ np.log(probabilities(from_few)),
    "minus the entropy of the source": -entropy(p_data),
}
plotting.table(
    found, columns=("mean log-likelihood of new draws", "nats, exact"), digits=4
)

# %% tags=["check"]
exact = found["learned from 300 draws"]
checks.unbiased("held-out log-likelihood, against its exact mean", held_out, exact)
cost = -entropy(p_data) - found["learned from 300 draws"]
checks.at_most("guard: nats that the finite sample costs", cost, 0.1)
checks.at_least("and no model can gain", cost, 0.0)

# %% [markdown]
r"""
### Symbols

What each letter stands for, and what it is called in the code.
[The RBM lecture](rbm.ipynb) writes $v$ for $x$ and $T$ for $K$.

| symbol | in code | meaning |
|---|---|---|
| $x \in \{0, 1\}^D$ | `x`, all of them `X` | visible units: one configuration, one data point |
| $h \in \{0, 1\}^H$ | `h`, all of them `all_h` | hidden units |
| $W, b, c$; $\theta$ | `W, b, c`; `theta` | weights, visible and hidden biases; all of them in one vector |
| $s$; $a, J$; $T$ | `s`; `a, J`; `T` | units, biases and couplings of a general machine; temperature |
| $N$; $x^{(n)}$ | `data` | number of data points; one of them |
| $f(x, h)$, $f(x)$ | `joint`, `log_f` | unnormalised probability of a pair, and summed over $h$ |
| $Z$ | `log_z` | partition function, always as its logarithm |
| $F(x) = -\log f(x)$ | `-log_f` | free energy |
| $K$; $\lambda_r$, $\lambda_2$ | `block_kernel`; `values`, `lambda_2` | kernel of a chain; its eigenvalues, the second largest |
| $V$, $w_r$, $\tau$ | `V`, `carried`, `tau` | variance of $\nabla \log f$, its part in an eigenvector, integrated autocorrelation time |

## Reading

**What comes next:** the restricted machine with 784 visible units, where $Z$ is out of reach: [restricted Boltzmann machines on MNIST](rbm.ipynb).

**Reading:** {cite:t}`goodfellow2016`, sections 18.1, 18.2 and 20.1, 20.2; {cite:t}`ackley1985` for the original derivation; {cite:t}`wainwright2008` for $\log Z$ as a convex function; {cite:t}`fischer2014` for restricted machines; {cite:t}`carreira2005` for the fixed points of contrastive divergence; {cite:t}`sutskever2010` for why it follows no gradient; {cite:t}`lippe2024` for the same two phases with a network as the energy.
What is wrong in the sources stands on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

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

At the end of this lecture you will be able to

1. turn an energy into a probability, say which energies allow it, and say which questions need no normaliser;
2. compute the partition function of a small Boltzmann machine in three ways that agree to twelve digits, and predict the number of units at which that takes a day, or the age of the universe;
3. derive the gradient of $\log Z$ line by line, with every line evaluated, and turn it into the gradient of a likelihood with its two phases;
4. say when that likelihood has no false maximum, and how it is tied to the Kullback-Leibler divergence;
5. estimate the gradient by Gibbs sampling with a predicted error, learn with the exact one, and give the exact bias of contrastive divergence.

- **You need** probability with sums over states, the sigmoid $\sigma(a) = 1/(1 + e^{-a})$, derivatives, eigenvalues, Markov chains, NumPy.
- **Words:** a *nat* is the unit of information with natural logarithms; *quadrature* is an integral as a sum; a *kernel* is a matrix of transition probabilities; the *burn-in* is the part of a chain thrown away.
- **Sources:** {cite:t}`ackley1985` for the machine and its learning rule, {cite:t}`geman1984` for Gibbs sampling, {cite:t}`wainwright2008` for exponential families, {cite:t}`hinton2002` for contrastive divergence.
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
from itertools import combinations, islice, repeat

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import numpy as np

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "max_units": (16, 20, 22),  # of the machines whose enumeration is timed
    "num_chains": (50_000, 200_000, 1_000_000),  # one sweep each, against the kernel
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
## The problem in one picture

A model of data must give a number $p(x) \ge 0$ to every $x$, and these numbers must sum or integrate to one.
The first demand is easy: take any function $E(x)$, the **energy**, and use $e^{-E(x)}$.
The second couples all $x$ to each other: who raises $p$ in one place must lower it elsewhere.

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

After each claim a cell of `checks` compares what was computed with what must be so, prints one line for each comparison, and stops the lecture where one fails.
`run.record` writes a number, with how it was obtained, to the [results page](../book/results.md).
"""


# %%
def double_well(x, offset=0.0):
    """An energy with two valleys of unequal depth, in units of k_B T."""
    return 2 * (x**2 - 1) ** 2 + 0.5 * x + offset


x = np.linspace(-3, 3, 2001)
width = x[1] - x[0]
f_low, f_high = np.exp(-double_well(x)), np.exp(-double_well(x, offset=1.0))
z_low, z_high = f_low.sum() * width, f_high.sum() * width

# %% tags=["check"]
checks.close(
    "one more unit of energy everywhere: log Z", np.log(z_low / z_high), 1.0, atol=1e-12
)
checks.close("and the same probabilities", f_high / z_high, f_low / z_low, atol=1e-12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: an energy, and the same one unit higher. Middle: the weights exp(-E), two curves with different areas Z. Right: divided by their areas they are one density.", "name": "fig-bm-problem"}, "image": {"alt": "Three panels. Two parallel curves with two valleys each; two curves with two hills of different height; and one single curve with two hills, on which a dashed one lies."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
for ax, low, high, label in zip(
    axes,
    (double_well(x), f_low, f_low / z_low),
    (double_well(x, 1.0), f_high, f_high / z_high),
    ("energy E(x)", "weight exp(-E)", "density p(x)"),
    strict=True,
):
    ax.plot(x, low)
    ax.plot(x, high, "--")
    ax.set(xlabel="x", ylabel=label, xlim=(-2, 2))
axes[0].set_ylim(-1, 5)
axes[1].text(0, 1.5, f"Z = {z_low:.2f}", color=plotting.COLOURS[0])
_ = axes[1].text(0, 1.25, f"Z = {z_high:.2f}", color=plotting.COLOURS[1])

# %% [markdown]
r"""
The two energies are different functions and the same model.
We use these symbols:

| symbol | in code | meaning |
|---|---|---|
| $x \in \{0, 1\}^M$ | `x`, all of them `X` | visible units: one configuration, one data point |
| $h \in \{0, 1\}^N$ | `h`, all of them `H` | hidden units |
| $s = (x, h)$ | `s` | all $D = M + N$ units together |
| $W, b, c$; $\theta$ | `W, b, c`; `theta` | weights, visible and hidden biases; all of them in one vector |
| $a, J$; $T$ | `a, J`; `T` | biases and couplings of a general machine; temperature |
| $n$; $x^{(m)}$ | `n`; `data` | number of data points; one of them |
| $f(x, h)$, $f(x)$ | `joint`, `log_f` | unnormalised probability of a pair, and summed over $h$ |
| $Z$ | `log_z` | partition function, always as its logarithm |
| $F(x) = -\log f(x)$ | `-log_f` | free energy |
| $K$; $\lambda_r$; $\tau$ | `block`, ...; `values`; `tau` | kernel of a chain; its eigenvalues; sweeps worth one independent draw |

The next lecture writes $v$, $D$, $H$ for $x$, $M$, $N$, and elsewhere in the book $n$ is the index of a data point ([notation](../book/notation.md)).

## Two roads

```{margin}
**In the sources.** CS236 notes, *Energy based models*, first half; Borisyak, *Types of generative models*.
```

**Either choose $f$ so that $Z$ is known in closed form, or arrange never to compute it.**
Some introductions start on the first road, with the Gaussian, and go on along the second without saying so.
Many families of the first road are *exponential families* {cite:p}`wainwright2008`,

$$
p_\theta(x) = \frac{g(x)\, e^{\theta \cdot t(x)}}{Z(\theta)},
\qquad
\nabla \log Z(\theta) = \langle t(x) \rangle_{p_\theta} .
$$ (eq-bm-family)

The second half is the equation of this lecture, met early: the slope of $\log Z$ is a mean over the model.
It holds for every member; a $Z$ in closed form is no consequence of the first half.
Boltzmann machines without hidden units are members too, and theirs is not known.
We test five members whose $Z$ is.
One sum of weights does all integrals: the half-line and the unit interval are the real line $u$ in other coordinates, $x = e^u$ and $x = \sigma(u)$.
"""


# %%
def sigmoid(a):
    return 1 / (1 + np.exp(-a))


u = np.linspace(-34, 34, 6801)
du = u[1] - u[0]
positive, between, counts = np.exp(u), sigmoid(u), np.arange(150.0)
factorial = np.exp([math.lgamma(k + 1) for k in counts])

# For each family: g(x) dx at the points, the rows of t(x), theta, log Z in closed form.
families = {
    "normal": (
        du + 0 * u,
        (u, u**2),
        (0.7, -0.3),
        lambda t: -(t[0] ** 2) / (4 * t[1]) + 0.5 * np.log(-np.pi / t[1]),
    ),
    "exponential": (positive * du, (positive,), (-1.7,), lambda t: -np.log(-t[0])),
    "gamma": (
        positive * du,
        (u, positive),
        (1.5, -2.0),
        lambda t: math.lgamma(t[0] + 1) - (t[0] + 1) * np.log(-t[1]),
    ),
    "beta": (
        between * sigmoid(-u) * du,
        (np.log(between), np.log(sigmoid(-u))),
        (1.5, 0.3),
        lambda t: (
            math.lgamma(t[0] + 1) + math.lgamma(t[1] + 1) - math.lgamma(t[0] + t[1] + 2)
        ),
    ),
    "Poisson": (1 / factorial, (counts,), (math.log(3.7),), lambda t: np.exp(t[0])),
}

# %% tags=["check"]
for name, (base, t, theta, log_z_closed) in families.items():
    t, theta = np.array(t), np.array(theta)
    f = base * np.exp(theta @ t)
    checks.close(
        f"{name}: log Z by quadrature", np.log(f.sum()), log_z_closed(theta), atol=1e-12
    )
    checks.gradient(
        f"{name}: mean of t(x) is the gradient of log Z",
        log_z_closed,
        theta,
        t @ f / f.sum(),
        atol=1e-8,
    )
bumps = [
    np.exp(-((u - centre) ** 2) / 2) / math.sqrt(2 * math.pi) for centre in (-2, 3)
]
mixture = 0.3 * bumps[0] + 0.7 * bumps[1]
checks.close("a mixture needs no other Z than 1", mixture.sum() * du, 1.0, atol=1e-12)

# %% [markdown]
r"""
```{margin}
**A common mistake:** the sentence that explicit densities are known only up to a constant and need a Markov chain.
That is the second road alone: on the first one, densities are normalised and samples are drawn directly.
Such boxes name slips found in lecture notes; all of them stand on the [errata page](../book/errata.md).
```

Mixtures, kernel density estimates, autoregressive models and flows are on this road too: their $Z$ is one by construction, as the last check shows for a mixture, and one draws from them without a chain.
The price is a restricted $f$.
Boltzmann machines, and energies made of neural networks, take the second road: any $f$, and a $Z$ that one must work around.

Two shortcuts do not exist.
A **softmax** layer at the end of a network does normalise, but over its *outputs*, for one input at a time.
A density has to be normalised over all *inputs*.
We sum over both, for a network with ten binary inputs: a distribution of the inputs would have the sum 1.
"""

# %%
inputs = np.indices((2,) * 10).reshape(10, -1).T - 0.5  # all 1,024 of them
logits = np.tanh(inputs @ rng.normal(size=(10, 16))) @ rng.normal(size=(16, 10)) / 4
softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

# %% tags=["check"]
checks.close(
    "sum over the outputs, each input", softmax.sum(1), np.ones(1_024), atol=1e-12
)
checks.at_least("sum over all inputs, smallest of ten outputs", softmax.sum(0), 2)

# %% [markdown]
r"""
And not every function can be made a probability: on an unbounded space $e^{-E}$ needs a finite integral.
The flat $E(x) = 0$ has none on the real line, nor has $E(x) = \frac12 \log(1 + x^2)$, which grows, but too slowly.
We integrate from $-L$ to $L$ and double $L$.
A partition function that exists stops growing.
"""


# %%
def integral(energy, L, num_points=400_001):
    x = np.linspace(-L, L, num_points)
    return np.exp(-energy(x)).sum() * (x[1] - x[0])


energies = {
    "x^2/2": lambda x: x**2 / 2,
    "0": lambda x: 0 * x,
    "log(1 + x^2)/2": lambda x: 0.5 * np.log1p(x**2),
}
growth = {
    name: integral(energy, 800) - integral(energy, 400)
    for name, energy in energies.items()
}

# %% tags=["check"]
checks.close("E = x^2/2: what doubling L adds to Z", growth["x^2/2"], 0.0, atol=1e-9)
checks.close("E = 0: it adds 2 L", growth["0"], 800.0, rtol=1e-4)
# The integral is 2 arsinh(L), which grows by 2 log 2 with every doubling.
slow = growth["log(1 + x^2)/2"]
checks.close("E = log(1 + x^2)/2: it adds 2 log 2", slow, 2 * math.log(2), atol=1e-4)

# %% [markdown]
r"""
On a finite set of states, such as all settings of $D$ binary units, every sum is finite and this worry is gone.

## The Boltzmann factor and the temperature

**A Boltzmann machine is a set of binary units with one energy for each pair and one for each unit.**
With $D$ units $s \in \{0, 1\}^D$, a symmetric matrix $J$ of couplings with a zero diagonal, and biases $a$,

$$
\begin{aligned}
E(s) &= -\sum_i a_i s_i - \sum_{i < j} J_{ij} s_i s_j \\
&= -a \cdot s - \tfrac12 s^\top J s, \\
p_T(s) &= \frac{e^{-E(s) / T}}{Z_T} .
\end{aligned}
$$ (eq-bm-machine)

The factor one half is there because the double sum meets each pair twice.
$T$ is the **temperature**; machines that learn have $T = 1$, because $T$ only rescales $a$ and $J$.
In physics the exponent is $-E / k_B T$, and the ratio of the probabilities of two states is the **Boltzmann factor**,

$$
\frac{p_T(s)}{p_T(s')} = e^{-(E(s) - E(s')) / T} .
$$ (eq-bm-ratio)

Ratios need no $Z$: it cancels.
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


four_units = all_states(4)
a = np.array([0.5, -1.0, -1.0, 0.2])
J = np.zeros((4, 4))
J[0, 1:], J[1, 2:], J[2, 3] = (2.0, 1.0, -2.0), (-1.0, 1.0), 1.5
J = J + J.T
E = energy(four_units, a, J)
lowest = E.argmin()

# %% tags=["check"]
by_pairs = [
    -sum(a[i] * s[i] for i in range(4))
    - sum(J[i, j] * s[i] * s[j] for i, j in combinations(range(4), 2))
    for s in four_units
]
checks.close("the energy, against a loop over units and pairs", E, by_pairs, atol=1e-12)
for T in (0.5, 1.0, 3.0):
    p_T = boltzmann(E, T)
    checks.normalised(f"T = {T}", np.log(p_T))
    checks.close(
        f"T = {T}: log ratios of all pairs of states, without Z",
        np.log(p_T[:, None] / p_T[None, :]),
        -(E[:, None] - E[None, :]) / T,
        atol=1e-10,
    )
alike, allowed = np.full(16, 1 / 16), math.expm1(np.ptp(E) / 1e3) / 16
checks.close("T = 1000: all states alike", boltzmann(E, 1e3), alike, atol=allowed)
gap = np.sort(E)[1] - E[lowest]
others = np.delete(boltzmann(E, gap / 20), lowest).sum()
checks.at_most("T = gap / 20: all states but the lowest", others, 15 * math.exp(-20))

# %% [markdown]
r"""
Move the slider: at high $T$ all states are equally probable, at low $T$ only the lowest.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The 16 states of four units, from hot to cold; dashed: all alike.", "name": "fig-bm-cooling"}}
temperatures = [20, 10, 5, 3, 2, 1.5, 1, 0.7, 0.5, 0.3, 0.1, 0.05]


def bars(T):
    fig, ax = plt.subplots(figsize=(5.6, 2.9), dpi=90)
    ax.bar(range(16), boltzmann(E, T)[np.argsort(E)], color=plotting.COLOURS[0])
    ax.set(
        ylim=(0, 1.08),
        xlabel="state, by rising energy",
        ylabel="probability",
        xticks=[],
    )
    plotting.reference_line(ax, 1 / 16, "1/16")
    return fig


plotting.slider(
    [f"T = {T}" for T in temperatures],
    [bars(T) for T in temperatures],
    alt="Sixteen bars. At high temperature all are near one sixteenth; as it falls, "
    "the bars of high energy vanish and at last a single bar near one is left.",
)

# %% [markdown]
r"""
The derivatives of $\log Z$ give the thermodynamic means.
With $\beta = 1 / T$, the first is minus the mean energy, the second the variance of the energy.
We shall meet this pair again, with the parameters of the machine in place of $\beta$:

$$
\frac{d \log Z}{d \beta} = -\langle E \rangle,
\qquad
\frac{d^2 \log Z}{d \beta^2} = \langle E^2 \rangle - \langle E \rangle^2 .
$$ (eq-bm-beta)

Ratios are also all that a sampler needs.
The algorithm of {cite:t}`metropolis1953` proposes to flip one unit, chosen at random, and accepts with probability $\min(1, p(s') / p(s))$.
We write down its whole matrix of transition probabilities: $Z$ does not occur in it.
"""


# %%
def metropolis(E):
    """K[r, q], the probability to go from state r to state q in one proposal."""
    num_units = int(math.log2(len(E)))
    K = np.zeros((len(E), len(E)))
    for r in range(len(E)):
        for i in range(num_units):
            q = r ^ (1 << i)  # unit i flipped
            K[r, q] = min(1, np.exp(E[r] - E[q])) / num_units
        K[r, r] = 1 - K[r].sum()
    return K


# %% tags=["check"]
beta = np.array(1.3)
p_beta = boltzmann(E, 1 / beta)
mean_energy = p_beta @ E
checks.gradient(
    "d log Z / d beta is minus the mean energy",
    lambda beta: log_sum_exp(-beta * E),
    beta,
    -mean_energy,
    atol=1e-8,
)
checks.gradient(
    "its derivative is the variance of the energy",
    lambda beta: -boltzmann(E, 1 / beta) @ E,
    beta,
    p_beta @ (E - mean_energy) ** 2,
    atol=1e-8,
)
K, p = metropolis(E), boltzmann(E)
checks.at_least("smallest entry of the Metropolis matrix", K, 0)
checks.close("it leaves p as it is", p @ K, p, atol=1e-14)
from_corner = np.eye(16)[lowest] @ np.linalg.matrix_power(K, 10_000)
checks.close("and leads to p from the lowest state", from_corner, p, atol=1e-9)
checks.close(
    "100 units of energy more: the same matrix", metropolis(E + 100), K, atol=1e-12
)

# %% [markdown]
r"""
## Visible and hidden units

```{margin}
**In the sources.** Oslo, 30 April, *Energy models* to *Partition function*: this section and the next three.
```

Now divide the units into $M$ visible ones, $x$, which are data, and $N$ hidden ones, $h$, which nobody observes.
The model of the data is what remains when $h$ is summed out,

$$
\begin{aligned}
f(x, h) &= e^{-E(x, h)}, \qquad Z = \sum_x \sum_h f(x, h), \\
p(x, h) &= f(x, h) / Z, \\
p(x) &= \frac{f(x)}{Z}, \qquad f(x) = \sum_h f(x, h), \\
p(h) &= \frac{1}{Z} \sum_x f(x, h) .
\end{aligned}
$$ (eq-bm-marginals)

```{margin}
**A common mistake:** $f(x)$ and $p(x)$: one is the other divided by $Z$.
And the sums run over $2^M$ *configurations* $x$ and $2^N$ configurations $h$, not over the components of one.
```

In a *general* machine every unit may be coupled to every other.
A **restricted** machine has no coupling inside a layer; what is left is a matrix $W$ of shape $(M, N)$ between them,

$$
E(x, h) = -b \cdot x - c \cdot h - x^\top W h .
$$ (eq-bm-restricted)

Restriction buys factorisation: given $x$, the exponent is linear in $h$, so that $p(h \mid x)$ is a product of one factor per hidden unit.
In a general machine it is not.
The measure of "not a product" is the **total correlation**, the divergence between a distribution and the product of its marginals,

$$
\mathrm{KL}\Bigl(p \,\Big\|\, \prod_i p_i\Bigr)
= \sum_s p(s) \log \frac{p(s)}{\prod_i p_i(s_i)} .
$$ (eq-bm-total-correlation)
"""


# %%
def total_correlation(p, s):
    """KL(p || product of its marginals), in nats; `s` holds the states as rows."""
    on = p @ s
    product = np.prod(np.where(s == 1, on, 1 - on), axis=1)
    return p @ np.log(p / product)


def as_general(W, b, c):
    """Biases and couplings of the restricted machine, seen as a general one."""
    zeros_x, zeros_h = np.zeros((len(b), len(b))), np.zeros((len(c), len(c)))
    return np.concatenate([b, c]), np.block([[zeros_x, W], [W.T, zeros_h]])


def joint_table(a, J, M):
    """f(x, h) of a general machine: a row for each x, a column for each h."""
    s = all_states(len(a))  # the visible units are the low digits of the row number
    return np.exp(-energy(s, a, J)).reshape(-1, 2**M).T


M, N = 4, 3
X, H = all_states(M), all_states(N)
# The machines and data are the same in every profile; a cell below that draws copies the
# generator first, and draws the same when it runs twice.
fixed_rng = np.random.default_rng(17)
W = fixed_rng.normal(scale=2.0, size=(M, N))
# These biases keep every unit from being nearly always on or off.
b = fixed_rng.normal(scale=0.5, size=M) - W.sum(1) / 2
c = fixed_rng.normal(scale=0.5, size=N) - W.sum(0) / 2
joint = np.exp(X @ b[:, None] + H @ c + X @ W @ H.T)  # f(x, h), shape (16, 8)

a_general, J_general = as_general(W, b, c)
extra = np.triu(fixed_rng.normal(scale=1.5, size=(M + N, M + N)), 1)
extra[:M, M:] = 0  # W stays
J_full = J_general + extra + extra.T  # with couplings inside the layers
joint_general = joint_table(a_general, J_full, M)

# %% tags=["check"]
checks.close(
    "restricted machine, as a general one with two empty blocks",
    joint_table(a_general, J_general, M),
    joint,
    rtol=1e-12,
)


def hidden_correlation(table):
    """Total correlation of p(h|x), for each x."""
    return [total_correlation(row / row.sum(), H) for row in table]


checks.close(
    "restricted: p(h|x) is a product",
    hidden_correlation(joint),
    np.zeros(16),
    atol=1e-13,
)
checks.close("general: between the layers the same W", J_full[:M, M:], W)
checks.at_least(
    "general: it is not; largest total correlation, nats",
    max(hidden_correlation(joint_general)),
    0.01,
)

# %% [markdown]
r"""
## Units are dependent, data points are not

**The units of one configuration are neither independent nor identically distributed; the data points are both.**
A machine whose units were independent would have no couplings and nothing to learn but $M$ means.
What a likelihood assumes is that whole configurations $x^{(1)}, \dots, x^{(n)}$ are drawn independently from one $p(x)$:

$$
p(x) \ne \prod_{i=1}^{M} p_i(x_i),
\qquad
p(\text{data}) = \prod_{m=1}^{n} p(x^{(m)}) .
$$ (eq-bm-iid)

On the small machine the sums over states say it exactly, and 100,000 exact draws show it.
"""

# %%
p_x = joint.sum(1) / joint.sum()
units_mean = p_x @ X
units_covariance = (X - units_mean).T @ np.diag(p_x) @ (X - units_mean)

draws = X[rng.choice(len(X), size=100_000, p=p_x)]
centred = draws - units_mean
same_point = np.einsum("ni,nj->nij", centred, centred)
next_point = np.einsum("ni,nj->nij", centred[:-1:2], centred[1::2])  # disjoint pairs

# %% tags=["check"]
correlation_x = total_correlation(p_x, X)
entropies = -(
    units_mean * np.log(units_mean) + (1 - units_mean) * np.log(1 - units_mean)
)
checks.close(
    "total correlation: sum of the unit entropies minus the joint entropy",
    correlation_x,
    entropies.sum() + p_x @ np.log(p_x),
    atol=1e-12,
)
checks.at_least("total correlation of the visible units, nats", correlation_x, 0.01)
checks.at_least(
    "spread of the unit means: not identically distributed", np.ptp(units_mean), 0.1
)
uncoupled = boltzmann(-(X @ b))
checks.close(
    "without couplings it is zero", total_correlation(uncoupled, X), 0.0, atol=1e-13
)
checks.unbiased("covariances of units, from the draws", same_point, units_covariance)
checks.unbiased("of a data point with the next one", next_point, np.zeros((M, M)))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Correlation coefficients from 100,000 exact draws. Left: between the units of one data point. Right: between the units of a data point and those of the next.", "name": "fig-bm-iid"}, "image": {"alt": "Two four by four tables of numbers. The left one has ones on the diagonal and clearly coloured positive and negative entries beside it; in the right one no entry is further from zero than chance allows."}}
fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.1))
spread = centred.std(0)
for ax, products, label in zip(
    axes,
    (same_point, next_point),
    ("unit j, same point", "unit j, next point"),
    strict=True,
):
    table = products.mean(0) / np.outer(spread, spread)
    ax.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.grid(False)
    ticks = {"xticks": range(M), "yticks": range(M)}
    names = {"xticklabels": range(1, M + 1), "yticklabels": range(1, M + 1)}
    ax.set(xlabel=label, ylabel="unit i", **ticks, **names)
    for (i, j), value in np.ndenumerate(table):
        colour = "white" if abs(value) > 0.6 else "black"
        ax.text(
            j,
            i,
            f"{value + 0.0:.2f}".replace("-0.00", "0.00"),
            ha="center",
            va="center",
            color=colour,
        )

# %% [markdown]
r"""
## The partition function three ways

**The same $Z$ is a sum of $2^{M + N}$, of $2^M$ or of $2^N$ terms.**
Because the exponent of a restricted machine is linear in $h$ for given $x$, the sum over all $h$ is a product of sums with two terms, and likewise for $x$:

$$
\begin{aligned}
Z &= \sum_x \sum_h e^{b \cdot x + c \cdot h + x^\top W h} \\
&= \sum_x e^{b \cdot x} \prod_j \bigl(1 + e^{c_j + (x^\top W)_j}\bigr) \\
&= \sum_h e^{c \cdot h} \prod_i \bigl(1 + e^{b_i + (W h)_i}\bigr) .
\end{aligned}
$$ (eq-bm-three)

The terms of the last two lines are the unnormalised marginals.
With $\operatorname{softplus}(a) = \log(1 + e^a)$,

$$
\begin{aligned}
\log f(x) &= b \cdot x + \sum_j \operatorname{softplus}\bigl(c_j + (x^\top W)_j\bigr) \\
&= -F(x), \\
p(x) &= e^{-F(x)} / Z .
\end{aligned}
$$ (eq-bm-free-energy)

$F$ is the **free energy**; the same formula with the layers exchanged gives $p(h)$.
From here on all parameters are one vector $\theta$, so that a gradient is one vector too.
"""


# %%
def softplus(a):
    return np.logaddexp(0, a)  # log(e^0 + e^a), without overflow


def unpack(theta, M):
    """theta = (W, b, c) in one vector; N follows from the length M N + M + N."""
    N = (len(theta) - M) // (M + 1)
    return theta[: M * N].reshape(M, N), theta[M * N : M * N + M], theta[M * N + M :]


def pack(W, b, c):
    return np.concatenate([W.ravel(), b, c])


def log_f(x, theta):
    """-F(x), one number for each row of `x`."""
    W, b, c = unpack(theta, x.shape[-1])
    return x @ b + softplus(c + x @ W).sum(-1)


def probabilities(theta, x=X):
    """p(x) of all states, which `x` must list."""
    return np.exp(log_f(x, theta) - log_sum_exp(log_f(x, theta)))


theta = pack(W, b, c)
theta_swapped = pack(W.T, c, b)  # the same machine, with the layers exchanged
log_z = log_sum_exp(log_f(X, theta))
three_ways = [np.log(joint.sum()), log_z, log_sum_exp(log_f(H, theta_swapped))]

# %% tags=["check"]
for name, value in zip(
    ("joint sum", "h analytic", "x analytic"), three_ways, strict=True
):
    checks.close(
        f"log Z, {name}",
        value,
        np.log(joint_table(a_general, J_general, M).sum()),
        atol=1e-12,
    )
checks.close(
    "p(x), against the joint table",
    probabilities(theta),
    joint.sum(1) / joint.sum(),
    atol=1e-12,
)
checks.close(
    "p(h), against the joint table",
    probabilities(theta_swapped, H),
    joint.sum(0) / joint.sum(),
    atol=1e-12,
)
checks.close("free energy", -log_f(X, theta), -np.log(joint.sum(1)), atol=1e-12)
_ = run.record(
    "log_z_agreement",
    np.ptp(three_ways),
    unit="nats",
    protocol="4 + 3 units, weights of size 2: largest minus smallest of three sums",
)

# %% [markdown]
r"""
The name *free energy* is meant literally: it is mean energy minus entropy, of the hidden units at given $x$,

$$
F(x) = \langle E(x, h) \rangle_{p(h \mid x)} - \mathcal{H}\bigl[p(h \mid x)\bigr] .
$$ (eq-bm-energy-entropy)

So $F$ may not be replaced by an energy.
From the mean one it differs by an entropy, from the lowest, $E_0(x)$, by $\log \sum_h e^{E_0(x) - E(x, h)}$, and both differences depend on $x$.
"""

# %% tags=["check"]
p_h_given_x = joint / joint.sum(1, keepdims=True)
hidden_entropy = -(p_h_given_x * np.log(p_h_given_x)).sum(1)
mean_energy_x = -(p_h_given_x * np.log(joint)).sum(1)
checks.close(
    "free energy is mean energy minus entropy",
    -log_f(X, theta),
    mean_energy_x - hidden_entropy,
    atol=1e-12,
)
checks.at_least("the entropy differs from x to x by, nats", np.ptp(hidden_entropy), 0.1)
from_lowest = -np.log(joint.max(1)) + log_f(X, theta)
excited = np.log((joint / joint.max(1, keepdims=True)).sum(1))
checks.close("lowest energy minus free energy", from_lowest, excited, atol=1e-12)
checks.at_least("it differs from x to x by, nats", np.ptp(from_lowest), 0.1)

# %% [markdown]
r"""
## The price

$M$ and $N$ count units; the states are finite in number, but their number doubles with every unit.
The analytic sum helps by half of the exponent or more: of the two short sums one takes the shorter, with $2^{\min(M, N)}$ terms.
`log_z_short` sums over $x$; where $N < M$ it must be given the machine with its layers exchanged.
For continuous $x$ a grid with $g$ points along each axis has $g^d$ points.
We measure both, and continue the times to the size at which nobody waits for the result.
"""


# %%
def log_z_joint(theta, M):
    W, b, c = unpack(theta, M)
    X, H = all_states(M), all_states(len(c))
    coupling = np.einsum("xj,hj->xh", X @ W, H)
    log_joint = (X @ b)[:, None] + H @ c + coupling
    return log_sum_exp(log_joint), log_joint.size


def log_z_short(theta, M):
    X = all_states(M)
    return log_sum_exp(log_f(X, theta)), len(X)


def log_z_grid(d, num_points=15, coupling=0.3):
    """log of the integral of exp(-x^T C^-1 x / 2), C = 1 with `coupling` beside it."""
    axis = np.linspace(-7, 7, num_points)
    grid = np.stack(np.meshgrid(*[axis] * d), -1).reshape(-1, d)
    C = np.full((d, d), coupling) + (1 - coupling) * np.eye(d)
    f = np.exp(-0.5 * np.einsum("ni,ij,nj->n", grid, np.linalg.inv(C), grid))
    exact = 0.5 * (d * math.log(2 * math.pi) + np.linalg.slogdet(C)[1])
    return np.log(f.sum()) + d * math.log(axis[1] - axis[0]), len(f), exact


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

# %% tags=["check"]
for n, ((slow, _), _), ((fast, _), _) in zip(
    units, joint_runs, short_runs, strict=False
):
    checks.close(f"{n} units: log Z by both sums", fast, slow, rtol=1e-12)
joint_terms, short_terms = (
    [r[0][1] for r in runs] for runs in (joint_runs, short_runs)
)
checks.close("terms of the joint sums", joint_terms, 2 ** units[: len(joint_runs)])
checks.close("terms of the short ones", short_terms, 2 ** (units // 2))
for d, ((estimate, points, exact), _) in enumerate(grid_runs, 1):
    # The error of the grid is its first Fourier terms: 2 d exp(-2 pi^2) for spacing 1.
    error = 2 * d * math.exp(-2 * math.pi**2)
    checks.close(
        f"{d} dimensions, {points:,} points: log Z", estimate, exact, atol=2 * error
    )

# %% tags=["check"]
DAY, UNIVERSE = 86_400.0, 4.35e17  # seconds
per_state = joint_runs[-1][1] / 2**P.max_units
per_term = short_runs[-1][1] / 2 ** (P.max_units // 2 + 5)
limits = {}  # units that take at most that long, at the measured seconds per term
for name, seconds in (("one day", DAY), ("the age of the universe", UNIVERSE)):
    limits[name] = math.floor(math.log2(seconds / per_state))
    short_limit = 2 * math.floor(math.log2(seconds / per_term))
    print(
        f"{name}: {limits[name]} units by the joint sum, {short_limit} by the short one"
    )

checks.at_most(
    "universe: units by the joint sum", limits["the age of the universe"], 99
)
_ = run.record(
    "seconds_per_joint_state",
    per_state,
    unit="seconds",
    protocol=f"joint sum, {P.max_units // 2} + {P.max_units // 2} units, best of 5",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Seconds to compute Z. Left: of a restricted machine with equal layers, against the number of units, by the joint sum and by the shorter one; dashed continuations assume the seconds per term of the last point. Right: by a grid of 15 points an axis, against the dimension.", "name": "fig-bm-cost"}, "image": {"alt": "Two panels with logarithmic time. Left: two rows of points, at first flat, where the time is that of calling the functions, then rising; from the last point of each a straight line goes on. The line of the joint sum passes the age of the universe before a hundred units, that of the short sum has half its slope. Right: five points, for one to five dimensions, the first two nearly level, the last ones rising steeply."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.6), width_ratios=(1.5, 1))
for runs, exponent, label, colour in (
    (joint_runs, 1.0, r"joint, $2^{M+N}$", plotting.COLOURS[0]),
    (short_runs, 0.5, r"short, $2^{\min(M,N)}$", plotting.COLOURS[1]),
):
    reached = units[: len(runs)]
    left.semilogy(
        reached, [seconds for _, seconds in runs], "o", color=colour, label=label
    )
    further = np.array([reached[-1], 100])
    left.semilogy(
        further,
        runs[-1][1] * 2.0 ** (exponent * (further - reached[-1])),
        "--",
        color=colour,
    )
plotting.reference_line(left, DAY, "one day", side="left")
plotting.reference_line(left, UNIVERSE, "age of the universe", side="left")
left.set(xlabel="units M + N", ylabel="seconds", xlim=(0, 100))
left.legend(loc="lower right")
right.semilogy(
    range(1, 6), [seconds for _, seconds in grid_runs], "o", color=plotting.COLOURS[2]
)
_ = right.set(xlabel="dimension d", ylabel="seconds", xticks=range(1, 6))

# %% [markdown]
r"""
For the digits of [the RBM lecture](rbm.ipynb), 784 + 500 units are out of reach, but 784 + 16 are not, because the short sum has $2^{16}$ terms.

## The likelihood has $n$ normalisers

```{margin}
**In the sources.** Oslo, 30 April, *Optimization problem* to *Optimizing the logarithm instead*.
```

**Each of the $n$ data points brings its own $1 / Z$.**

$$
\begin{aligned}
p(\text{data}) &= \prod_{m=1}^{n} \frac{f(x^{(m)})}{Z}
= Z^{-n} \prod_{m=1}^{n} f(x^{(m)}), \\
\log p(\text{data}) &= \sum_{m=1}^{n} \log f(x^{(m)}) - n \log Z .
\end{aligned}
$$ (eq-bm-likelihood)

```{margin}
**A common mistake:** $Z$ pulled out of the product *once*.
The result is no probability, and its gradient weighs the model too little by a factor $n$.
```

The test is the one that every probability must pass: sum over all data sets that could have been.
There are $16^2$ data sets of two points.
"""

# %%
n = 10
data_rng = copy.deepcopy(fixed_rng)
data = X[data_rng.choice(len(X), size=n, p=p_x)]


def log_likelihood(theta, data):
    return log_f(data, theta).sum() - len(data) * log_sum_exp(log_f(X, theta))


# %% tags=["check"]
log_f_pairs = log_f(X, theta)[:, None] + log_f(X, theta)[None, :]
checks.normalised("two points, Z twice, all data sets", log_f_pairs - 2 * log_z)
once_only = log_sum_exp((log_f_pairs - log_z).ravel())
checks.close(
    "Z once only: log of the sum over all data sets", once_only, log_z, atol=1e-12
)
checks.close(
    "log-likelihood, against the product of probabilities",
    log_likelihood(theta, data),
    np.log(np.prod([p_x[(point == X).all(1)] for point in data])),
    atol=1e-10,
)
too_high = log_f(data, theta).sum() - log_z
checks.at_least(
    'ten points with Z once only: logarithm of the "probability"', too_high, 0.0
)

# %% [markdown]
r"""
## The gradient of log Z, line by line

```{margin}
**In the sources.** Oslo, 30 April, *The derivative of the partition function* to *Final expression*.
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

Line (a) is the derivative of a logarithm; (b) exchanges gradient and finite sum; (c) writes $f = e^{\log f}$; (d) is the definition of $p$, and (e) that of a mean.

```{margin}
**A common mistake:** "$\nabla \log Z$ is the expectation value of $\log f$".
The left side has as many components as there are parameters, the right side is one number.
```

For a restricted machine $\nabla \log f$ is known: with $\hat h_j = p(h_j = 1 \mid x) = \sigma(c_j + (x^\top W)_j)$,

$$
\frac{\partial \log f}{\partial W_{ij}} = x_i \hat h_j,
\qquad
\frac{\partial \log f}{\partial b_i} = x_i,
\qquad
\frac{\partial \log f}{\partial c_j} = \hat h_j .
$$ (eq-bm-grad-log-f)

Each line of {eq}`eq-bm-grad-log-z` is a vector of 19 numbers.
We evaluate all of them: the left side, (a) and (b) by differences, without any formula for a derivative; (c) and (d) with {eq}`eq-bm-grad-log-f`; and (e) by averaging over exact draws.
"""


# %%
def grad_log_f(x, theta):
    """A row of len(theta) derivatives for each row of `x`."""
    W, _, c = unpack(theta, x.shape[-1])
    h_hat = sigmoid(c + x @ W)
    return np.hstack(
        [(x[:, :, None] * h_hat[:, None, :]).reshape(len(x), -1), x, h_hat]
    )


def differences(function, theta, step=1e-5):
    """Central differences of a number or an array; the parameters are the last axis."""
    columns = [
        (function(theta + shift) - function(theta - shift)) / (2 * step)
        for shift in step * np.eye(len(theta))
    ]
    return np.stack(columns, -1)


Z, f, G = np.exp(log_z), np.exp(log_f(X, theta)), grad_log_f(X, theta)
left_side = differences(lambda t: log_sum_exp(log_f(X, t)), theta)
differences_of_f = differences(lambda t: np.exp(log_f(X, t)), theta)
expectation = probabilities(theta) @ G
lines = {
    "a, differences of Z, over Z": differences(
        lambda t: np.exp(log_f(X, t)).sum(), theta
    )
    / Z,
    "b, sum of differences of f, over Z": differences_of_f.sum(0) / Z,
    "c, sum of f times grad log f, over Z": f @ G / Z,
    "d, sum of p times grad log f": expectation,
}
draws_of_model = X[rng.choice(len(X), size=P.num_chains, p=probabilities(theta))]

# %% tags=["check"]
checks.close(
    "grad log f(x) at all 16 states, against differences",
    G,
    differences(lambda t: log_f(X, t), theta),
    atol=1e-8,
)
for name, value in lines.items():
    checks.close(f"line {name}, against the left side", value, left_side, atol=1e-8)
checks.unbiased(
    "line e, mean over draws", grad_log_f(draws_of_model, theta), expectation
)
_ = run.record(
    "grad_log_z_max_error",
    np.abs(expectation - left_side).max(),
    unit="nats per unit of the parameter",
    protocol="4 + 3 units, all 19 parameters: exact expectation of grad log f, "
    "minus central differences of log Z with a step of 1e-5",
)

# %% [markdown]
r"""
## Two phases

```{margin}
**In the sources.** Oslo, 30 April, *Expression for the gradients* and *Contrastive optimization*.
```

**Data push the probability up where they are, samples of the model push it down where the model is.**
The gradient of {eq}`eq-bm-likelihood` is

$$
\begin{aligned}
\nabla \log p(\text{data})
&= \underbrace{\sum_{m=1}^{n} \nabla \log f(x^{(m)})}_{\text{positive phase}} \\
&\quad - \underbrace{n\, \langle \nabla \log f \rangle_p}_{\text{negative phase}} .
\end{aligned}
$$ (eq-bm-phases)

```{margin}
**A common mistake:** texts in which one samples from the model in the *positive* phase.
In the positive phase the mean is over the data (and over $p(h \mid x)$, which is the $\hat h$ of {eq}`eq-bm-grad-log-f`); samples of the model are needed in the negative phase.
```

Divided by $n$, with $p_\text{data}$ for the frequencies of the data, this is one line:

$$
\tfrac1n \nabla \log p(\text{data})
= \sum_x \bigl(p_\text{data}(x) - p(x)\bigr)\, \nabla \log f(x) .
$$ (eq-bm-contrast)

Who minimises $-\log p$ has both signs turned round; learning that lives on such a difference is called *contrastive*.
The gradient vanishes when model and data have the same mean of $\nabla \log f$.
"""


# %%
def likelihood_gradient(theta, data):
    """Gradient of log p(data), summed over the data points."""
    negative = probabilities(theta) @ grad_log_f(X, theta)
    return grad_log_f(data, theta).sum(0) - len(data) * negative


def frequencies(data):
    """How often each state of `X` occurs in the data, as a fraction."""
    rows = (data @ 2 ** np.arange(data.shape[1])).astype(int)
    return np.bincount(rows, minlength=2 ** data.shape[1]) / len(data)


p_data = frequencies(data)
# A machine near the one that made the data, but not that one:
start_rng = copy.deepcopy(data_rng)
theta_start = theta + start_rng.normal(scale=0.5, size=len(theta))
p_start, G = probabilities(theta_start), grad_log_f(X, theta_start)
positive_phase, negative_phase = p_data @ G, p_start @ G
gradient = positive_phase - negative_phase

rate = 1.0
push_up, push_down = rate * G @ positive_phase, -rate * G @ negative_phase
p_step = probabilities(theta_start + rate * gradient)

# %% tags=["check"]
checks.gradient(
    "gradient of log p of ten points, in W, b and c",
    lambda t: log_likelihood(t, data),
    theta_start,
    likelihood_gradient(theta_start, data),
    atol=1e-8,
)
checks.close(
    "a tenth of it, as one difference of phases",
    gradient,
    likelihood_gradient(theta_start, data) / n,
    atol=1e-12,
)
checks.gradient(
    "a step along the gradient raises mean log p by rate |gradient|^2",
    lambda r: p_data @ np.log(probabilities(theta_start + r * gradient)),
    np.array(0.0),
    gradient @ gradient,
    atol=1e-8,
)
too_much = p_start > p_data
checks.close(
    "states with too much probability; lowered and raised by the step",
    [
        too_much.sum(),
        (p_step < p_start)[too_much].sum(),
        (p_step > p_start)[too_much].sum(),
    ],
    [13, 4, 9],
)
checks.close(
    "first order: change of log f minus its mean is the change of log p",
    push_up + push_down - p_start @ (push_up + push_down),
    rate
    * differences(
        lambda r: np.log(probabilities(theta_start + r[0] * gradient)), np.zeros(1)
    )[:, 0],
    atol=1e-8,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One step of learning on ten data points. Left: what each phase does to log f of the 16 states; dots mark the states that occur in the data. Right: how far the data are from the model before the step, and what the step does to the probabilities.", "name": "fig-bm-phases"}, "image": {"alt": "Two panels of bars over sixteen states. Left, blue bars upwards and orange bars downwards at every state. Right, two series of bars: in the three states where the data have more probability than the model the step adds some; of the thirteen where they have less it lowers four, two of them clearly, and raises nine a little."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.5))
places = np.arange(len(X))
left.bar(places, push_up, label="positive phase (data)")
left.bar(places, push_down, label="negative phase (model)")
seen = p_data > 0
left.plot(
    places[seen],
    np.zeros(seen.sum()),
    "o",
    color="black",
    markersize=5,
    label="in the data",
)
bits = ["".join(str(int(unit)) for unit in state) for state in X]
left.set(
    ylabel="change of log f(x), nats", ylim=(1.2 * push_down.min(), 1.9 * push_up.max())
)
left.legend(fontsize=9, loc="upper left")
change = p_step - p_start
right.bar(
    places - 0.2, p_data - p_start, 0.4, color=plotting.COLOURS[5], label="data - model"
)
right.bar(
    places + 0.2, change, 0.4, color=plotting.COLOURS[2], label="change by the step"
)
right.axhline(0, color="black", linewidth=1)
right.set(ylabel="probability", ylim=(None, 1.5 * (p_data - p_start).max()))
for ax in (left, right):
    ax.set(xlabel="state x", xticks=places)
    ax.set_xticklabels(bits, rotation=90, fontsize=8)
_ = right.legend(fontsize=9, loc="upper right")

# %% [markdown]
r"""
On the left every state is pushed both ways.
The states share parameters, which is what lets a machine generalise, and with units 0 and 1 no component of $\nabla \log f$ is negative, so that both signs are sure.
On the right is the balance: what some states win others must lose.
Thirteen states have more probability in the model than in the data, and the step lowers only four of them: shared parameters do not move single states.

## One maximum or several

**Without hidden units the log-likelihood is concave, with them it need not be: a zero gradient is then no proof of an optimum.**
Differentiate {eq}`eq-bm-grad-log-z` once more.
In a fully visible machine $\log f = \theta \cdot t(x)$ is linear in $\theta$, the family {eq}`eq-bm-family`, and only $\log Z$ is curved:

$$
\begin{aligned}
\nabla^2 \log Z &= \operatorname{Cov}_p(t, t), \\
\nabla^2 \langle \log p \rangle_\text{data} &= -\operatorname{Cov}_p(t, t) .
\end{aligned}
$$ (eq-bm-hessian)

A covariance has no negative eigenvalue, so that the likelihood nowhere curves upwards and has one value at all its maxima.
A maximum at finite $\theta$ need not exist: a unit that is on in all data drives its bias to infinity.
With hidden units it is $-E = \theta \cdot t(x, h)$ that is linear, $\log f$ is the logarithm of a sum, and the Hessian is a difference of two covariances, of which either may win:

$$
\begin{aligned}
\nabla^2 \langle \log p \rangle_\text{data}
&= \bigl\langle \operatorname{Cov}_{p(h \mid x)}(t, t) \bigr\rangle_\text{data} \\
&\quad - \operatorname{Cov}_{p(x, h)}(t, t) .
\end{aligned}
$$ (eq-bm-hessian-hidden)

We look at two machines with three visible units and two parameters each.
The first is fully visible, with the same bias $b$ for all units and the same coupling $J$ for all pairs: $t = (\sum_i x_i, \sum_{i<j} x_i x_j)$.
The second has one hidden unit, couplings $w_1$ to the first visible unit and $w_2$ to the other two, and biases such that turning all units around changes no energy,

$$
\begin{aligned}
E(x, h) &= -\bigl(h - \tfrac12\bigr) a(x), \\
a(x) &= w_1 \bigl(x_1 - \tfrac12\bigr) + w_2 (x_2 + x_3 - 1), \\
\log f(x) &= \log \bigl(2 \cosh \tfrac12 a(x)\bigr) .
\end{aligned}
$$ (eq-bm-flip)

Changing the sign of both weights changes nothing that can be observed.
The data of each machine are those of the machine itself at known parameters, so that the maxima are known.
"""

# %%
X3 = all_states(3)
pairs = list(combinations(range(3), 2))
t_visible = np.stack([X3.sum(1), sum(X3[:, i] * X3[:, j] for i, j in pairs)], -1)
# a(x) is half @ (w_1, w_2).
half = np.stack([X3[:, 0] - 0.5, X3[:, 1] + X3[:, 2] - 1], -1)


def log_f_visible(theta):
    return theta @ t_visible.T


def log_f_hidden(theta):
    return np.logaddexp(theta @ half.T / 2, -theta @ half.T / 2)


def mean_log_likelihood(log_f_of, theta, p_data):
    """<log p> over the data, for one theta or a grid of them."""
    log_f_all = log_f_of(theta)
    return log_f_all @ p_data - np.log(np.exp(log_f_all).sum(-1))


best = {log_f_visible: np.array([-1.0, 1.2]), log_f_hidden: np.array([4.0, 3.0])}
p_data_of = {model: boltzmann(-model(theta_best)) for model, theta_best in best.items()}


def hessian(log_f_of, theta, step=1e-4):
    def function(t):
        return mean_log_likelihood(log_f_of, t, p_data_of[log_f_of])

    return differences(lambda t: differences(function, t, step), theta, step)


# %%
def covariance(t, p):
    return np.cov(t.T, aweights=p, ddof=0)


def hidden_hessian(theta, p_data):
    """The difference of the two covariances of t(x, h) = (h - 1/2) half(x)."""
    on = sigmoid(half @ theta)  # p(h = 1 | x)
    given_x = (half.T * (p_data * on * (1 - on))) @ half
    p = boltzmann(-log_f_hidden(theta))
    t_joint = np.concatenate([half / 2, -half / 2])
    return given_x - covariance(t_joint, np.concatenate([p * on, p * (1 - on)]))


# %% tags=["check"]
checks.close(
    "one hidden unit: log f, against the sum over h",
    log_f_hidden(np.array([1.0, -2.0])),
    np.log(sum(np.exp((h - 0.5) * half @ [1.0, -2.0]) for h in (0, 1))),
    atol=1e-12,
)
for theta_2 in rng.normal(scale=2, size=(5, 2)):
    # Second differences err by about 1e-16 / step^2 = 1e-8, times a few.
    checks.close(
        "fully visible: Hessian is minus the covariance",
        hessian(log_f_visible, theta_2),
        -covariance(t_visible, boltzmann(-log_f_visible(theta_2))),
        atol=5e-7,
    )
    checks.close(
        "one hidden unit: Hessian is a difference of covariances",
        hessian(log_f_hidden, theta_2),
        hidden_hessian(theta_2, p_data_of[log_f_hidden]),
        atol=5e-7,
    )

# %% tags=["check"]
zero = np.zeros(2)
for theta_2 in (zero, best[log_f_hidden], -best[log_f_hidden]):
    slope = differences(
        lambda t: mean_log_likelihood(log_f_hidden, t, p_data_of[log_f_hidden]), theta_2
    )
    checks.close(f"one hidden unit, {theta_2}: gradient", slope, zero, atol=1e-9)
top, bottom, middle = (
    mean_log_likelihood(log_f_hidden, theta_2, p_data_of[log_f_hidden])
    for theta_2 in (best[log_f_hidden], -best[log_f_hidden], zero)
)
checks.close("the two maxima are equally high", top, bottom, atol=1e-12)
checks.at_least("and higher than the point half-way, nats", top - middle, 0.1)
falling, rising = np.linalg.eigvalsh(hessian(log_f_hidden, zero))
checks.at_least("Hessian half-way: one eigenvalue", rising, 0.01)
checks.at_most("and the other: a saddle", falling, -0.01)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean log-likelihood minus its maximum, in nats. Left: fully visible, concave, one maximum (star). Right: with one hidden unit, two maxima of equal height (stars); the cross is a saddle, where the gradient is zero and the likelihood is not maximal.", "name": "fig-bm-surface"}, "image": {"alt": "Two maps with contour lines. The left one has closed curves around a single star. The right one has two stars, at opposite points, each in a region of its own, with a cross in the middle between them."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.6))
for ax, model, reach, names in zip(
    axes,
    best,
    (5, 9),
    (("bias b", "coupling J"), ("weight w1", "weight w2")),
    strict=True,
):
    axis = np.linspace(-reach, reach, 161)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    below = mean_log_likelihood(model, grid, p_data_of[model])
    below -= mean_log_likelihood(model, best[model], p_data_of[model])
    levels = [-3, -1, -0.6, -0.4, -0.3, -0.2, -0.1, -0.03, 0]
    shades = plt.colormaps["Blues_r"](np.linspace(0.1, 1, len(levels)))  # even steps
    filled = ax.contourf(axis, axis, below, levels, colors=shades, extend="min")
    thin = {"colors": "black", "linewidths": 0.5, "linestyles": "solid"}
    ax.contour(axis, axis, below, levels, **thin)
    for sign in (1,) if model is log_f_visible else (1, -1):
        ax.plot(*(sign * best[model]), "*", color=plotting.COLOURS[1], markersize=13)
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.grid(False)
axes[1].plot(0, 0, "x", color="black", markersize=9, markeredgewidth=2)
label = "mean log-likelihood minus\nits maximum (nats)"
_ = fig.colorbar(filled, ax=axes, label=label, ticks=levels)

# %% [markdown]
r"""
## Likelihood and relative entropy

```{margin}
**In the sources.** Oslo, 16 April, *Kullback-Leibler relative entropy* to *Maximizing log-likelihood*; CS236 notes, *Maximum likelihood learning*.
```

**Maximal likelihood and minimal Kullback-Leibler divergence are the same demand.**
The **relative entropy** of the data with respect to the model is

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

Shannon's entropy $\mathcal{H}[p_\text{data}]$ does not depend on $\theta$.
So divergence and mean log-likelihood have a constant sum, minus that entropy, and where one is lowest the other is highest.
We follow both along a straight line through the parameters; the best factor is 1.2 and not 1, because ten draws are not the machine that made them.
"""


# %%
def kl(p, q):
    """KL(p || q) in nats; states with p = 0 contribute nothing."""
    seen = p > 0
    return p[seen] @ np.log(p[seen] / q[seen])


def entropy(p):
    return -p[p > 0] @ np.log(p[p > 0])


scales = np.linspace(-0.5, 2.0, 101)
kl_line = np.array([kl(p_data, probabilities(scale * theta)) for scale in scales])
ll_line = np.array([log_likelihood(scale * theta, data) / n for scale in scales])

# %% tags=["check"]
parts = (
    -entropy(p_data)
    + p_data @ -log_f(X, theta_start)
    + log_sum_exp(log_f(X, theta_start))
)
kl_start = kl(p_data, p_start)
checks.close("KL = <log p_data> + <F> + log Z", parts, kl_start, atol=1e-12)
checks.close(
    "KL + mean log-likelihood, all along the line",
    kl_line + ll_line,
    np.full(101, -entropy(p_data)),
    atol=1e-12,
)
checks.close("factor with the lowest KL", scales[kl_line.argmin()], 1.2, atol=1e-9)
checks.gradient(
    "gradient of KL is minus that of the mean log-likelihood",
    lambda t: kl(p_data, probabilities(t)),
    theta_start,
    -gradient,
    atol=1e-8,
)
_ = run.record(
    "kl_identity_error",
    abs(parts - kl_start),
    unit="nats",
    protocol="4 + 3 units, ten data points: <log p_data> + <F> + log Z, "
    "minus the sum over states",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Divergence and mean log-likelihood of ten data points, along the line from minus one half to twice the parameters of the machine that made the data. Their sum is minus the entropy of the data, dashed. Dotted: the factor that is best for both.", "name": "fig-bm-kl"}, "image": {"alt": "Two curves that are mirror images: one with a minimum, above zero, the other with a maximum at the same place, where a dotted vertical line stands, and a dashed horizontal line that is their constant sum."}}
fig, ax = plt.subplots(figsize=(7.0, 3.6))
ax.plot(scales, kl_line, label="KL(data || model)")
ax.plot(scales, ll_line, label="mean log-likelihood")
ax.axvline(scales[kl_line.argmin()], color="black", linewidth=1, linestyle=":")
label = "their sum: minus the entropy of the data"
plotting.reference_line(ax, -entropy(p_data), label, side="left")
ax.set(xlabel="factor on all parameters", ylabel="nats")
_ = ax.legend(loc=(0.02, 0.52))

# %% [markdown]
r"""
## Gibbs sampling

**A unit is resampled from its conditional probability, given all others; no $Z$ is needed for that.**
In the general machine {eq}`eq-bm-machine` switching unit $i$ on lowers the energy by its local field $a_i + \sum_j J_{ij} s_j$, so that {cite:p}`geman1984`

$$
p(s_i = 1 \mid \text{all other units}) = \sigma\Bigl(a_i + \sum_j J_{ij} s_j\Bigr) .
$$ (eq-bm-site)

A **sweep** visits all units in turn.
In a restricted machine the units of a layer do not feel each other, and a layer is resampled at once: *block* Gibbs sampling, $x \to h \to x$, with

$$
\begin{aligned}
p(h_j = 1 \mid x) &= \sigma\bigl(c_j + (x^\top W)_j\bigr), \\
p(x_i = 1 \mid h) &= \sigma\bigl(b_i + (W h)_i\bigr).
\end{aligned}
$$ (eq-bm-block)

Both samplers are generators: they hand out the state after each sweep.
"""


# %%
def gibbs_sites(s, a, J):
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
On a small machine each kind of sweep is a matrix of transition probabilities, computed without random numbers.
The block sweep is $K(x \to x') = \sum_h p(h \mid x)\, p(x' \mid h)$; the sweep over single units is a product of one matrix per unit.
Two properties count.
A distribution $p$ is **stationary** for a kernel if a step turns $p$ into $p$; the kernel is **reversible** for $p$ if the flow $p(x) K(x \to x')$ equals the flow back, which is more.
Resampling one unit is reversible.
The block sweep as a kernel of $x$ alone is too, because $x \to h \to x$ reads the same backwards.
On $s = (x, h)$ neither a sweep over units 1, 2, 3, ... nor the block sweep is.
"""


# %%
def block_kernel(joint):
    """K[x, x'] from the table of f(x, h)."""
    h_given_x = joint / joint.sum(1, keepdims=True)
    x_given_h = joint / joint.sum(0, keepdims=True)
    return h_given_x @ x_given_h.T


def site_kernel(i, a, J):
    """K[r, q]: unit i of state r is resampled, all others stay."""
    s = all_states(len(a))
    on = sigmoid(a[i] + s @ J[i])
    r, bit = np.arange(len(s)), 1 << i
    K = np.zeros((len(s), len(s)))
    K[r, r | bit] = on
    K[r, r & ~bit] = 1 - on
    return K


def asymmetry(p, K):
    """Largest difference between a flow and the flow back."""
    flow = p[:, None] * K
    return np.abs(flow - flow.T).max()


p_full = boltzmann(energy(all_states(M + N), a_general, J_full))
sites = [site_kernel(i, a_general, J_full) for i in range(M + N)]
sweep = np.linalg.multi_dot(sites)
block = block_kernel(joint)

# %% tags=["check"]
p_x = probabilities(theta)
checks.close("block sweep: rows sum to 1", block.sum(1), np.ones(16), atol=1e-14)
checks.close("block sweep: p(x) stays", p_x @ block, p_x, atol=1e-14)
checks.close("block sweep: reversible", asymmetry(p_x, block), 0.0, atol=1e-14)
checks.close(
    "one unit of the general machine: reversible",
    [asymmetry(p_full, K) for K in sites],
    np.zeros(7),
    atol=1e-14,
)
checks.close("sweep over units: p(s) stays", p_full @ sweep, p_full, atol=1e-14)
checks.at_least("sweep over units: not reversible", asymmetry(p_full, sweep), 1e-5)
p_joint = boltzmann(energy(all_states(M + N), a_general, J_general))
joint_sites = [site_kernel(i, a_general, J_general) for i in range(M + N)]
h_then_x = np.linalg.multi_dot(joint_sites[M:] + joint_sites[:M])
checks.close("block sweep on (x, h): p stays", p_joint @ h_then_x, p_joint, atol=1e-14)
checks.at_least("but not reversible", asymmetry(p_joint, h_then_x), 1e-5)


# %% tags=["check"]


# One and two sweeps of each sampler from a fixed state, against the row of its kernel.
def moments(s):
    return np.hstack(
        [s] + [s[:, [i]] * s[:, [j]] for i, j in combinations(range(s.shape[1]), 2)]
    )


row = 5
for name, states, kernel, sampler in (
    ("block", X, block, lambda s: gibbs_block(s, theta)),
    (
        "single units",
        all_states(M + N),
        sweep,
        lambda s: gibbs_sites(s, a_general, J_full),
    ),
):
    for sweeps in (1, 2):
        start = np.repeat(states[[row]], P.num_chains, axis=0)
        after = next(islice(sampler(start), sweeps - 1, None))
        exact = np.linalg.matrix_power(kernel, sweeps)[row] @ moments(states)
        checks.unbiased(
            f"{name}, {sweeps} sweep(s) of the sampler: moments", moments(after), exact
        )

# %% [markdown]
r"""
How fast is the start forgotten?
We go on with the restricted machine, and compare three kinds of sweep: by blocks, over the 7 units in turn, and 7 times one unit that is drawn at random.
The distance in **total variation**, $\frac12 \sum_x |q(x) - p(x)|$, shrinks in the long run by the same factor per sweep, the second largest modulus $\lambda_2$ of an eigenvalue of the kernel.
"""

# %%
ks = np.arange(1, 31)


def distances(start, kernel, p):
    """Total variation between p and the distribution after 1, 2, ... steps."""
    q, result = np.eye(len(p))[start], []
    for _ in ks:
        q = q @ kernel
        result.append(0.5 * np.abs(q - p).sum())
    return np.array(result)


def second_eigenvalue(kernel):
    return np.sort(np.abs(np.linalg.eigvals(kernel)))[-2]


kernels = {
    "block": (block, p_x),
    "units in turn": (np.linalg.multi_dot(joint_sites), p_joint),
    "7 units by chance": (
        np.linalg.matrix_power(np.mean(joint_sites, axis=0), 7),
        p_joint,
    ),
}
mixing = {name: distances(0, K, p) for name, (K, p) in kernels.items()}
lambda_2 = {name: second_eigenvalue(K) for name, (K, _) in kernels.items()}

# %% tags=["check"]
checks.ordered(
    "second eigenvalue",
    {"block": lambda_2["block"], "7 by chance": lambda_2["7 units by chance"]},
)
checks.close(
    "total variation is the largest difference in the probability of any event",
    mixing["block"][0],
    np.maximum(block[0] - p_x, 0).sum(),  # the event: all states that q prefers
    atol=1e-14,
)
checks.close(
    "second eigenvalue: units in turn and block are the same",
    lambda_2["units in turn"],
    lambda_2["block"],
    atol=1e-9,
)
for name, distance in mixing.items():
    checks.close(
        f"{name}: decay from sweep 29 to 30",
        distance[29] / distance[28],
        lambda_2[name],
        rtol=1e-2,
    )
    checks.at_most(
        f"{name}: change of the distance from sweep to sweep, largest",
        np.diff(distance),
        1e-12,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Total variation distance to the machine with 4 + 3 units after k sweeps, from all units off, for three kinds of sweep (points). Dashed: powers of the second eigenvalue through the last point.", "name": "fig-bm-mixing"}, "image": {"alt": "Three rows of points on a logarithmic axis that soon follow straight dashed lines downwards."}}
fig, ax = plt.subplots()
for (name, distance), colour in zip(mixing.items(), plotting.COLOURS, strict=False):
    ax.semilogy(
        ks,
        distance,
        "o",
        markersize=4,
        color=colour,
        label=rf"{name}, $\lambda_2$ = {lambda_2[name]:.3f}",
    )
    ax.semilogy(
        ks, distance[-1] * lambda_2[name] ** (ks - 30), "--", color=colour, linewidth=1
    )
ax.set(xlabel="sweeps k", ylabel="total variation distance")
_ = ax.legend()

# %% [markdown]
r"""
Blocks and units in turn have the same $\lambda_2$: without couplings inside a layer, resampling its units one after the other *is* resampling the layer.
In the long run their points differ by a factor only.
That factor is there because the block sweep forgets the hidden units it starts with, and the sweep in turn, which begins with the visible layer, forgets $x$.
Units drawn at random cost as much per sweep and, in the long run, forget more slowly.

## The gradient of log Z, by sampling

**A chain of $S$ sweeps gives $\nabla \log Z$ with an error that falls as $1 / \sqrt{S}$, and the chain's memory says with which factor.**
Average $\nabla \log f$ along a block Gibbs chain.
Were the states independent, the mean squared error would be $V / S$, with $V$ the variance of $\nabla \log f$ summed over its components.
In a chain neighbours are alike; for large $S$

$$
\begin{aligned}
\Bigl\langle \bigl| \widehat{\nabla \log Z} - \nabla \log Z \bigr|^2 \Bigr\rangle
&\approx \frac{\tau V}{S}, \\
\tau &= \frac{1}{V} \sum_{r:\, \lambda_r < 1} w_r \frac{1 + \lambda_r}{1 - \lambda_r} .
\end{aligned}
$$ (eq-bm-error)

Here $\lambda_r$ are the eigenvalues of the kernel and $w_r$ is the part of $V$ carried by the eigenvector $r$, $\sum_r w_r = V$; the sum leaves out the eigenvalue 1, which carries none.
$\tau$ counts the sweeps that are worth one independent draw.
The exact error for every $S$ follows from the covariance after $k$ sweeps, $\sum_r w_r \lambda_r^k$.
"""


# %%
def spectrum(K, p, g):
    """Eigenvalues of a reversible kernel, rising; the part of the variance of g in each."""
    root = np.sqrt(p)
    symmetric = root[:, None] * K / root  # the same eigenvalues
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    return values, ((vectors.T @ (root[:, None] * (g - p @ g))) ** 2).sum(1)


def squared_error(values, carried, num_sweeps):
    """Exact mean squared error of the average over a chain that starts from p."""
    k = np.arange(1, num_sweeps)
    pairs = 2 * ((num_sweeps - k) * values[:, None] ** k).sum(1)
    return carried @ (num_sweeps + pairs) / num_sweeps**2


G = grad_log_f(X, theta)
exact_gradient = p_x @ G
values, carried = spectrum(block, p_x, G)
variance = carried.sum()  # V
lengths = 4 ** np.arange(3, round(math.log(P.chain_length, 4)) + 1)  # 64, 256, ...
predicted = np.array([squared_error(values, carried, S) for S in lengths])
slow = values[:-1]  # all but the eigenvalue 1
tau = carried[:-1] @ ((1 + slow) / (1 - slow)) / variance


def running_gradients(chain, theta, lengths):
    """Averages of grad log f along each chain, after each of `lengths` sweeps."""
    total = 0
    for sweeps, x in enumerate(islice(chain, int(lengths[-1])), 1):
        total = total + grad_log_f(x, theta)
        if sweeps in lengths:
            yield total / sweeps


chain = gibbs_block(np.zeros((P.num_repetitions, M)), theta)
burned_in = next(islice(chain, 199, None))
estimates = np.array(list(running_gradients(chain, theta, lengths)))
measured = ((estimates - exact_gradient) ** 2).sum(-1)  # shape (lengths, repetitions)

# %% tags=["check"]
checks.at_most(
    "what is left of the start after 200 sweeps", lambda_2["block"] ** 200, 1e-12
)
checks.unbiased("the chains after it", moments(burned_in), p_x @ moments(X))
checks.close(
    "averages along chains that stand still",
    np.array(list(running_gradients(repeat(X), theta, [2, 5]))),
    np.stack([G, G]),
    atol=1e-12,
)

# %% tags=["check"]
centred = G - exact_gradient
lag = [  # covariance after k sweeps with the state now, summed over components
    p_x @ (centred * (np.linalg.matrix_power(block, k) @ centred)).sum(1)
    for k in range(5)
]
checks.close("the parts of the eigenvectors add up to V", variance, lag[0], rtol=1e-12)
checks.close("the eigenvalue 1 carries none", carried[-1], 0.0, atol=1e-12)
by_pairs = sum(lag[abs(i - j)] for i in range(5) for j in range(5)) / 25
checks.close(
    "predicted error of 5 sweeps, against the sum over 25 pairs",
    squared_error(values, carried, 5),
    by_pairs,
    rtol=1e-12,
)
checks.unbiased(
    "squared error, measured over predicted, each length",
    (measured / predicted[:, None]).T,
    np.ones(len(lengths)),
)
checks.close(
    "predicted error times S, against tau V",
    lengths[-1] * predicted[-1],
    tau * variance,
    rtol=2 * tau / lengths[-1],
)
batches = measured.reshape(len(lengths), 20, -1).mean(-1)
slopes = np.polyfit(np.log(lengths), 0.5 * np.log(batches), 1)[0]
exact_slope = np.polyfit(np.log(lengths), 0.5 * np.log(predicted), 1)[0]
checks.unbiased("slope of log error against log S, 20 batches", slopes, exact_slope)

# %%
run.record(
    "gibbs_error_slope",
    slopes.mean(),
    unit="1",
    standard_error=slopes.std(ddof=1) / 20**0.5,
    protocol=f"4 + 3 units: log error of grad log Z against log sweeps, 64 to "
    f"{lengths[-1]:,}, {P.num_repetitions} block Gibbs chains in 20 batches",
)
_ = run.record(
    "gibbs_sweeps_per_independent_draw",
    tau,
    unit="sweeps",
    protocol="4 + 3 units: tau of grad log f, from the spectrum of block Gibbs",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Error of grad log Z, estimated by block Gibbs sampling, against the number of sweeps. Points: root mean square over independent chains. Line: exact prediction. Dashed: independent draws.", "name": "fig-bm-gradient-error"}, "image": {"alt": "Points on a falling straight line in a plot with two logarithmic axes; a dashed line parallel to it lies below."}}
fig, ax = plt.subplots(figsize=(7.0, 3.6))
ax.loglog(lengths, np.sqrt(predicted), label="prediction from the kernel")
ax.loglog(
    lengths, np.sqrt(measured.mean(1)), "o", label="measured", color=plotting.COLOURS[1]
)
ax.loglog(
    lengths,
    np.sqrt(variance / lengths),
    "k--",
    linewidth=1,
    label=r"independent draws, $\sqrt{V / S}$",
)
ax.set(
    xlabel="sweeps S", ylabel="error of the gradient,\nnats per unit of the parameter"
)
_ = ax.legend()

# %% [markdown]
r"""
Four times the work buys half the error.
One independent draw costs $\tau$ sweeps: hence the factor $\sqrt{\tau}$ between the two lines.
The noise of training steps averages out over the steps if the learning rate falls; a wrong mean does not, and that is a matter of the burn-in.

## Learning exactly

With all states in a table, {eq}`eq-bm-contrast` is an exact gradient and learning is plain ascent.
The data are three bits: states with an even number of ones have 19 times the weight of those with an odd number, times a factor for each unit that is on.
Parity is a dependence that no pair of units shows: without those factors all covariances are zero.
We train three machines:

- fully visible, with all pairs coupled: 6 parameters;
- restricted, with 4 hidden units: 19 parameters;
- restricted, with 1 hidden unit: 7 parameters, from two different starts.

A fully visible machine can match the means $\langle x_i \rangle$ and $\langle x_i x_j \rangle$, which are the gradient of its $\log Z$, and nothing more.
At the optimum the moments of data and model agree, so that $\langle \log p \rangle_\text{data} = \langle \log p \rangle_p$, and the divergence that remains is a difference of entropies:

$$
\mathrm{KL}(p_\text{data} \,\|\, p) = \mathcal{H}[p] - \mathcal{H}[p_\text{data}] .
$$ (eq-bm-entropies)
"""

# %%
parity = (-1.0) ** X3.sum(1)
target = boltzmann(-X3 @ [0.8, 0.0, -0.6]) * (1 + 0.9 * parity)
target /= target.sum()
t_pairs = np.hstack([X3, np.stack([X3[:, i] * X3[:, j] for i, j in pairs], -1)])


def climb(theta, gradient_of, *, rate):
    """Gradient ascent: theta after 1, 2, 3, ... steps."""
    while True:
        theta = theta + rate * gradient_of(theta)
        yield theta


def visible_gradient(theta):
    return (target - boltzmann(-t_pairs @ theta)) @ t_pairs


def restricted_gradient(theta, p_data=target):
    return (p_data - probabilities(theta, X3)) @ grad_log_f(X3, theta)


# %% tags=["check"]
noisy_parity = (1 + 0.9 * parity) / 8
checks.close(
    "parity alone: covariances",
    np.cov(X3.T, aweights=noisy_parity, ddof=0),
    np.eye(3) / 4,
    atol=1e-14,
)
checks.close(
    "parity alone: total correlation is log 2 - H(0.05)",
    total_correlation(noisy_parity, X3),
    math.log(2) - entropy(np.array([0.05, 0.95])),
    atol=1e-12,
)

# %% [markdown]
r"""
Zero is a fair start for the visible machine, whose likelihood is concave.
The machine with 4 hidden units starts elsewhere, because at zero all of them would be alike and stay so.
The two starts of the machine with one are chosen to end at different heights.
"""

# %%
four_rng = copy.deepcopy(start_rng)
start_four = four_rng.normal(scale=0.5, size=19)
starts_one = [
    np.array([*weights, 0.0, 0.0, 0.0, -2.0])
    for weights in ((1.5, 1.5, -1.5), (1.0, -1.5, 1.5))
]
steps = sorted({round(P.ascent_steps ** (i / 60)) for i in range(61)})


def history(theta, gradient_of, probabilities_of, rate=0.5):
    """KL after each of `steps`, and the last theta."""
    curve = []
    path = climb(theta, gradient_of, rate=rate)
    for step, now in enumerate(islice(path, steps[-1]), 1):
        if step in steps:
            curve.append(kl(target, probabilities_of(now)))
    return np.array(curve), now


def visible_probabilities(theta):
    return boltzmann(-t_pairs @ theta)


def restricted_probabilities(theta):
    return probabilities(theta, X3)


visible = history(np.zeros(6), visible_gradient, visible_probabilities)
restricted = history(start_four, restricted_gradient, restricted_probabilities)
one_hidden, other_start = (
    history(start_one, restricted_gradient, restricted_probabilities)
    for start_one in starts_one
)


# %% tags=["check"]
p_visible, p_restricted = (
    visible_probabilities(visible[1]),
    restricted_probabilities(restricted[1]),
)
p_one = restricted_probabilities(one_hidden[1])
t_all = np.column_stack([t_pairs, X3.prod(1)])  # 3 + 3 + 1 moments
alike = next(
    islice(climb(np.zeros(19), restricted_gradient, rate=0.5), 4_999, None)
)  # few enough steps that rounding does not part them

checks.close(
    "visible: moments up to order two", p_visible @ t_pairs, target @ t_pairs, atol=1e-9
)
checks.close(
    "visible: KL is the difference of the entropies",
    visible[0][-1],
    entropy(p_visible) - entropy(target),
    atol=1e-8,
)
checks.at_least(
    "visible: error of the moment of order three",
    abs((p_visible - target) @ t_all[:, 6]),
    0.05,
)
checks.at_most("KL of the restricted machine, 4 hidden units", restricted[0][-1], 1e-6)
spread = np.ptp(unpack(alike, 3)[0], axis=1)
checks.close("4 hidden from zero: spread of weights", spread, np.zeros(3), atol=1e-9)
kl_alike = kl(target, restricted_probabilities(alike))
checks.at_least("and its KL", kl_alike, 0.25)

# %% tags=["check"]
worse = other_start[0][-1] - one_hidden[0][-1]
checks.at_least("KL of the one with 1 hidden unit", one_hidden[0][-1], 0.25)
checks.close("nats by which its other start ends worse", worse, 0.09, atol=0.005)
for _, theta_one in (one_hidden, other_start):
    left = restricted_gradient(theta_one)
    checks.at_most("1 hidden: gradient left, largest component", np.abs(left), 1e-3)
    # The step moves away from zero: its product with the parameters is positive.
    checks.at_least(
        "but the weights still grow: gradient times theta", left @ theta_one, 1e-5
    )
for name, (curve, _) in (
    ("visible", visible),
    ("4 hidden", restricted),
    ("1 hidden", one_hidden),
):
    checks.at_most(
        f"{name}: change of KL between two looks, largest", np.diff(curve), 1e-12
    )

# %%
for name, (curve, _) in (
    ("visible", visible),
    ("restricted_4", restricted),
    ("restricted_1", one_hidden),
):
    run.record(
        f"kl_{name}",
        max(curve[-1], 0.0),  # rounding can make it -1e-16
        unit="nats",
        protocol="KL(data || model), noisy parity of three bits, exact gradient, "
        f"{steps[-1]:,} steps of rate 0.5"
        + ", and still falling slowly: it depends on their number"
        * (name[-1] == "1"),
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Learning the noisy parity of three bits by exact gradients. Left: divergence from the data. Right: the seven moments of data and models; the visible machine has the first six right and the last one wrong.", "name": "fig-bm-training"}, "image": {"alt": "Left: four curves on logarithmic axes. The visible machine stops at about 0.4 nats, the machine with one hidden unit lower, at two different heights for two starts, and that with four hidden units falls steeply out of the picture. Right: bars for seven moments of the data. The crosses of four hidden units are on all of them, the circles of the visible machine on all but the last, the triangles of one hidden unit on the first three."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.6))
curves = (("visible", visible), ("1 hidden", one_hidden), ("4 hidden", restricted))
for name, (curve, _) in curves:
    left.loglog(steps, np.maximum(curve, 1e-16), label=name)
left.loglog(
    steps, other_start[0], ":", color=plotting.COLOURS[1], label="1 hidden, other start"
)
left.set(xlabel="gradient steps", ylabel="KL(data || model), nats", ylim=(5e-3, 1))
left.legend(fontsize=9, loc="lower left")
places = np.arange(7)
right.bar(places, target @ t_all, color="lightgrey", label="data")
for (name, _), q, marker in zip(
    curves, (p_visible, p_one, p_restricted), "ovx", strict=True
):
    right.plot(places, q @ t_all, marker, label=name, markerfacecolor="none")
right.set(ylabel="probability that all are on", xlabel="units", xticks=places)
right.set_xticklabels(["1", "2", "3", "12", "13", "23", "123"])
_ = right.legend(fontsize=9)

# %% [markdown]
r"""
The visible machine stops where {eq}`eq-bm-entropies` says; no training can help it, because what is missing is not in its moments.
One hidden unit brings part of the missing dependence, four bring all of it.
From the other start the same machine, on the same data, flattens about 0.09 nats higher; the weights go on growing slowly.
This is what a likelihood that is not concave costs.

So far the data were a known distribution.
With a finite sample one has to ask for the likelihood of *other* draws.
We train the machine with 4 hidden units on 300 draws and give its mean log-probability of 10,000 new ones; on this small machine we also know what that must be on average, and that nothing can exceed minus the entropy of the source.
"""

# %%
few_rng = copy.deepcopy(four_rng)
few = X3[few_rng.choice(8, size=300, p=target)]
new = X3[rng.choice(8, size=10_000, p=target)]
learned = history(
    start_four,
    lambda t: restricted_gradient(t, frequencies(few)),
    restricted_probabilities,
)[1]
q = restricted_probabilities(learned)
held_out = log_f(new, learned) - log_sum_exp(log_f(X3, learned))

# %% tags=["check"]
checks.unbiased(
    "held-out log-likelihood, against its exact mean", held_out, target @ np.log(q)
)
checks.ordered(
    "mean log-likelihood of the source",
    {
        "independent bits": -entropy(target) - total_correlation(target, X3),
        "learned from 300": target @ np.log(q),
        "minus the entropy": -entropy(target),
    },
)
_ = run.record(
    "held_out_log_likelihood",
    held_out.mean(),
    unit="nats",
    standard_error=held_out.std(ddof=1) / len(held_out) ** 0.5,
    protocol="noisy parity of three bits: 3 + 4 units, exact gradient on 300 draws, "
    "mean of 10,000 others",
)

# %% [markdown]
r"""
## Samples, and what learning does to them

**This machine is harder to sample after learning than before.**
We draw from the machine with 4 hidden units as one would from a large one: 5,000 block Gibbs chains from all units off, looked at after 1, 10 and 1,000 sweeps.
"""


# %%
def kernel_of(theta, x):
    """The block Gibbs kernel of a restricted machine over the states `x`."""
    W, b, c = unpack(theta, x.shape[1])
    h = all_states(len(c))
    return block_kernel(np.exp((x @ b)[:, None] + h @ c + x @ W @ h.T))


trained = restricted[1]
slowness = {
    "at the start": second_eigenvalue(kernel_of(start_four, X3)),
    "trained": second_eigenvalue(kernel_of(trained, X3)),
}
looks = (1, 10, 1_000)
chains = islice(gibbs_block(np.zeros((5_000, 3)), trained), looks[-1])
samples = {k: x for k, x in enumerate(chains, 1) if k in looks}
after = {k: np.linalg.matrix_power(kernel_of(trained, X3), k)[0] for k in looks}

K, even = kernel_of(trained, X3), X3.sum(1) % 2 == 0
to_odd, from_odd, inside = K[even][:, ~even], K[~even][:, even], K[~even][:, ~even]
# From one even state to another: at once, or by any number of sweeps in odd states.
ways = {"direct": K[even][:, even]}
ways["odd"] = to_odd @ np.linalg.inv(np.eye(4) - inside) @ from_odd
p_even = restricted_probabilities(trained)[even]
flows = {way: p_even @ (Q - np.diag(np.diag(Q))).sum(1) for way, Q in ways.items()}

# %% tags=["check"]
checks.at_most("second eigenvalue at the start", slowness["at the start"], 0.2)
checks.at_least("second eigenvalue of the trained machine", slowness["trained"], 0.95)
for k in looks[1:]:  # after one sweep too few chains have moved for a standard error
    checks.unbiased(
        f"moments after {k} sweeps, against the kernel",
        moments(samples[k]),
        after[k] @ moments(X3),
    )
checks.unbiased(
    "moments of the chains in the end, against the model",
    moments(samples[1_000]),
    restricted_probabilities(trained) @ moments(X3),
)
checks.at_least("chains still at 000 after 10 sweeps, exact", after[10][0], 0.5)
checks.at_most("probability of 000 in the data", target[0], 0.3)
checks.close(
    "chains from even states come back",
    sum(ways.values()).sum(1),
    np.ones(4),
    atol=1e-12,
)
through_odd = flows["odd"] / sum(flows.values())
checks.close(
    "flow between even states: part through odd ones", through_odd, 0.91, atol=0.02
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Frequencies of the eight states in 5,000 chains from all units off, in the trained machine, after 1, 10 and 1,000 sweeps (markers), and the distribution of the data (bars).", "name": "fig-bm-samples"}, "image": {"alt": "Eight bars, four of them high. After one sweep nearly all chains are still at 000, after ten most of them; after a thousand the markers lie on the tops of the bars."}}
fig, ax = plt.subplots()
places = np.arange(8)
ax.bar(places, target, color="lightgrey", label="data")
for (k, x), marker in zip(samples.items(), "xvo", strict=True):
    label = f"{k:,} sweep{'s' * (k > 1)}"
    ax.plot(places, frequencies(x), marker, label=label, markerfacecolor="none")
bits = ["".join(str(int(unit)) for unit in state) for state in X3]
ax.set(xlabel="state x", ylabel="frequency", xticks=places, xticklabels=bits)
_ = ax.legend()

# %% [markdown]
r"""
After ten sweeps most chains are still where they started.
The states with an even number of ones are separated by states of low probability: about 91 % of the flow from one to another goes through these.
The next section says what follows if one does not wait.
"""

# %% [markdown]
r"""
## From exact learning to contrastive divergence

```{margin}
**In the sources.** CS236 notes, *Energy based models*, the contrastive divergence algorithm.
```

**Samples of the model give an unbiased gradient; contrastive divergence uses other samples, and its bias is known exactly.**
For a machine of useful size the mean over the model must come from a chain.
To run it to equilibrium for every step is too dear.
CD-k {cite:p}`hinton2002` starts it at the data and stops after $k$ sweeps, so that its negative phase is a mean over $p_\text{data} K^k$ in place of $p$:

$$
\begin{aligned}
\langle \text{CD-}k \rangle
&= \sum_x \bigl(p_\text{data} - p_k\bigr)(x)\, \nabla \log f(x), \\
\text{bias} &= \sum_x \bigl(p - p_k\bigr)(x)\, \nabla \log f(x), \\
p_k &= p_\text{data} K^k .
\end{aligned}
$$ (eq-bm-cd)

```{margin}
**A common mistake:** proofs that contrastive divergence is unbiased.
They assume that the negative samples come from $p$.
```

The bias is zero in two cases: $k \to \infty$, where it dies as $\lambda_2^k$, and $p_\text{data} = p$, when there is nothing left to learn.
A machine that can represent its data is therefore at rest where it should be.
One that cannot comes to rest somewhere else {cite:p}`carreira2005`.
We show it on three visible units and one hidden unit without biases, so that three weights are all there is to learn.
"""


# %%
def expected_cd(theta, p_data, k, x=X):
    """The mean of the CD-k update over all its random numbers."""
    K = kernel_of(theta, x)
    return (p_data - p_data @ np.linalg.matrix_power(K, k)) @ grad_log_f(x, theta)


G = grad_log_f(X, theta)
exact = (p_data - p_x) @ G
bias = np.array([expected_cd(theta, p_data, k) - exact for k in ks])
bias_length = np.linalg.norm(bias, axis=1) / np.linalg.norm(exact)

# Minus the energies of eight states, chosen without a pattern: none for three weights.
rough = boltzmann(-np.array([0.3, -0.3, 1.3, 0.2, -1.1, 0.7, 2.6, 1.9]))
weights_only = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


def rest(field):
    """Where ascent along a field of the three weights ends, from the same start."""
    # An arbitrary start, the same for both fields.
    start = np.array([-0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    return next(
        islice(climb(start, lambda t: weights_only * field(t), rate=1.0), 4_999, None)
    )


true_rest = rest(lambda t: restricted_gradient(t, rough))
cd_rest = rest(lambda t: expected_cd(t, rough, 1, X3))
kl_lost = kl(rough, restricted_probabilities(cd_rest)) - kl(
    rough, restricted_probabilities(true_rest)
)

# %% tags=["check"]
first = next(gibbs_block(np.repeat(data, P.num_chains // n, axis=0), theta))
negative = grad_log_f(first, theta).reshape(n, -1, len(theta)).mean(0)
checks.unbiased(
    "CD-1 by sampling, one chain from each data point, many times",
    p_data @ G - negative,
    expected_cd(theta, p_data, 1),
)
three_sweeps = p_data @ block @ block @ block
checks.close(
    "bias of CD-3, step by step", bias[2], (p_x - three_sweeps) @ G, atol=1e-12
)
ratio = bias_length[29] / bias_length[28]
checks.close("bias of CD-30 over that of CD-29", ratio, lambda_2["block"], rtol=1e-2)
checks.close("bias of CD-1 over the gradient", bias_length[0], 0.67, atol=0.005)
checks.close(
    "CD-1 with data that are the model",
    expected_cd(theta, p_x, 1),
    0 * theta,
    atol=1e-14,
)
checks.close(
    "rest of CD-1: expected update of the weights",
    expected_cd(cd_rest, rough, 1, X3)[:3],
    np.zeros(3),
    atol=1e-12,
)
checks.close(
    "rest of the gradient: the gradient",
    restricted_gradient(true_rest, rough)[:3],
    np.zeros(3),
    atol=1e-12,
)
checks.at_least(
    "rest of CD-1: the gradient, largest component",
    np.abs(restricted_gradient(cd_rest, rough)[:3]).max(),
    1e-3,
)
checks.close("nats lost by CD-1", kl_lost, 9.4e-5, atol=5e-7)

# %%
run.record(
    "cd1_relative_bias",
    bias_length[0],
    unit="1",
    protocol="4 + 3 units, ten data points: |E[CD-1] - gradient| / |gradient|, exact",
)
_ = run.record(
    "cd1_kl_lost",
    kl_lost,
    unit="nats",
    protocol="3 + 1 units without biases: KL where expected CD-1 rests, "
    "minus KL where the exact gradient rests",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Length of the bias of CD-k over the length of the gradient, exact, on the machine with 4 + 3 units (points). Dashed: the power k of the second eigenvalue, through the last point.", "name": "fig-bm-cd-bias"}, "image": {"alt": "Points on a logarithmic axis fall from above one half to below one hundredth in thirty sweeps, close to a straight dashed line from the first on."}}
fig, ax = plt.subplots(figsize=(7.0, 3.0))
ax.semilogy(ks, bias_length, "o", markersize=4, label="bias of CD-k / gradient")
power = lambda_2["block"] ** (ks - 30.0)
ax.semilogy(ks, bias_length[-1] * power, "k--", linewidth=1, label=r"$\lambda_2^k$")
ax.set(xlabel="sweeps k", ylabel="relative bias")
_ = ax.legend()

# %% [markdown]
r"""
The bias of CD-1 is 0.67 of the gradient here, and it dies no faster than the chain forgets ({numref}`fig-bm-cd-bias`).
At rest, on the three weights, CD-1 loses only $9.4 \times 10^{-5}$ nats; the [RBM lecture](rbm.ipynb) shows what becomes of it with strong couplings and on digits, and what persistent chains do about it.

## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} A mean of log f, or of its gradient?
:label: ex-bm-two-states
```
The smallest machine has one unit and one parameter, $f = (1, e^\theta)$.
Write `two_states(theta)`, which returns the pair $d \log Z / d\theta$ and $\langle \log f \rangle_p$, both as closed formulas.
For which $\theta$ are they equal?
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
    return print("right")


check_two_states(two_states)

# %% [markdown]
r"""
````{solution-start} ex-bm-two-states
:class: dropdown
````
"""


# %% tags=["solution"]
def two_states(theta):
    return sigmoid(theta), theta * sigmoid(theta)


check_two_states(two_states)

# %% [markdown]
r"""
$Z = 1 + e^\theta$, and $\log f = (0, \theta)$ has the derivative $(0, 1)$.
The mean of the derivative is $\sigma(\theta)$, the mean of $\log f$ itself is $\theta\, \sigma(\theta)$.
They are equal at $\theta = 1$ alone: whoever tests only there finds nothing wrong.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} One normaliser is not enough
:label: ex-bm-once
```
The same machine sees $n$ data points, of which $n_1$ are on, $0 < n_1 < n$.
Write `slopes(theta, n_1, n)`, which returns the derivative of $\log p(\text{data})$, and what it would be if $Z$ were taken only once.
Where does ascent along each of the two end?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def slopes(theta, n_1, n):
    return None


# %% tags=["check"]
def check_slopes(answer):
    if answer(0.0, 1, 2) is None:
        return print("not yet")
    for n_1, n in ((3, 10), (9, 12)):
        for value in (-1.0, 0.7):
            for times, slope in zip((n, 1), answer(value, n_1, n), strict=True):
                checks.gradient(
                    f"{n_1} of {n} on, Z {times} times",
                    lambda t, n_1=n_1, times=times: (
                        n_1 * t - times * np.log(1 + np.exp(t))
                    ),
                    np.array(value),
                    slope,
                    atol=1e-8,
                )
        right, _ = answer(math.log(n_1 / (n - n_1)), n_1, n)
        checks.close("zero where p(on) = n_1 / n", right, 0.0, atol=1e-12)
    checks.at_least("Z once: the slope at theta = 30", answer(30.0, 3, 10)[1], 1.0)
    return print("right")


check_slopes(slopes)

# %% [markdown]
r"""
````{solution-start} ex-bm-once
:class: dropdown
````
"""


# %% tags=["solution"]
def slopes(theta, n_1, n):
    return n_1 - n * sigmoid(theta), n_1 - sigmoid(theta)


check_slopes(slopes)

# %% [markdown]
r"""
With $Z^{-n}$ ascent ends where $\sigma(\theta) = n_1 / n$, the frequency in the data.
With $Z$ once the slope is $n_1 - \sigma(\theta) > 0$ for every $\theta$: there is no maximum, and learning never ends.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Hidden spins
:label: ex-bm-spins
```
Physicists let a unit be $-1$ or $+1$.
Keep the energy {eq}`eq-bm-restricted` and $x \in \{0, 1\}^M$, but take $h \in \{-1, +1\}^N$.
Write `spin_machine(x, theta)`, which returns $\log f(x)$, one number for each row, and $p(h_j = +1 \mid x)$, both without a sum over $h$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def spin_machine(x, theta):
    return None


# %% tags=["check"]
def check_spins(answer):
    if answer(X, theta) is None:
        return print("not yet")
    log_f_spin, on = answer(X, theta)
    W, b, c = unpack(theta, M)
    spins = 2 * H - 1
    table = np.exp((X @ b)[:, None] + spins @ c + X @ W @ spins.T)
    exact = table @ H / table.sum(1, keepdims=True)
    log_sum = np.log(table.sum(1))
    checks.close("log f, against the sum over h", log_f_spin, log_sum, atol=1e-12)
    checks.close("p(h = +1 | x), against Bayes' rule", on, exact, atol=1e-12)
    return print("right")


check_spins(spin_machine)

# %% [markdown]
r"""
````{solution-start} ex-bm-spins
:class: dropdown
````
"""


# %% tags=["solution"]
def spin_machine(x, theta):
    W, b, c = unpack(theta, x.shape[1])
    field = c + x @ W
    return x @ b + np.logaddexp(field, -field).sum(1), sigmoid(2 * field)


check_spins(spin_machine)

# %% [markdown]
r"""
The sum over $h$ still factorises, $\sum_{h_j = \pm 1} e^{h_j a_j} = 2 \cosh a_j$ with $a_j = c_j + (x^\top W)_j$.
The two exponents differ by $2 a_j$, hence the factor 2 in the sigmoid.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Not concave
:label: ex-bm-concave
```
Find for the machine `theta` another parameter vector that gives the same $p(x)$ for every $x$.
Write `twin_of(theta)`, which returns it.
The check then looks half-way between the two, with data that follow the machine exactly.
A concave function could not be lower there than at both ends.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def twin_of(theta):
    return None


# %% tags=["check"]
def check_twin(answer):
    twin = answer(theta)
    if twin is None:
        return print("not yet")
    checks.at_least("distance of the two machines", np.abs(twin - theta).max(), 0.1)
    checks.close("the same probabilities", probabilities(twin), p_x, atol=1e-12)
    loss = kl(p_x, probabilities((theta + twin) / 2))
    checks.at_least("nats by which the point half-way is lower", loss, 0.001)
    return print("right")


check_twin(twin_of)

# %% [markdown]
r"""
````{solution-start} ex-bm-concave
:class: dropdown
````
"""


# %% tags=["solution"]
def twin_of(theta):
    W, b, c = unpack(theta, M)
    order = [1, 0, 2]  # the first two hidden units change places
    return pack(W[:, order], b, c[order])


def turned(theta):
    W, b, c = unpack(theta, M)
    sign = np.array([-1, 1, 1])  # the first hidden unit: h -> 1 - h
    return pack(W * sign, b + W[:, 0], c * sign)


check_twin(twin_of)
check_twin(turned)

# %% [markdown]
r"""
Hidden units have no names: any permutation of them gives the same $p(x)$, which makes up to $N!$ copies of every maximum.
Nor has on or off a name: each hidden unit may be turned round, $h_j \to 1 - h_j$, which changes the sign of its weights and its bias and adds its old weights to $b$, and makes $2^N$ times as many.
Half-way between two exchanged copies the units have equal weights and do the same work twice; half-way between two turned ones the unit does nothing.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} The curvature in the hidden biases
:label: ex-bm-curvature
```
Differentiate $\langle \log p \rangle_\text{data}$ twice with respect to the hidden biases $c$.
Write `hessian_in_c(theta, p_data)`, of shape $(N, N)$, from $\hat h$ at the states `X`, the probabilities `probabilities(theta)` and `p_data`, without differences.
Which part of it can be positive?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def hessian_in_c(theta, p_data):
    return None


# %% tags=["check"]
def check_curvature(answer):
    if answer(theta, p_data) is None:
        return print("not yet")
    for point in (theta, theta_start):

        def gradient_in_c(c, point=point):
            moved = np.concatenate([point[:-N], c])
            return ((p_data - probabilities(moved)) @ grad_log_f(X, moved))[-N:]

        numeric = differences(gradient_in_c, point[-N:])
        checks.close("Hessian in c", answer(point, p_data), numeric, atol=1e-8)
    return print("right")


check_curvature(hessian_in_c)

# %% [markdown]
r"""
````{solution-start} ex-bm-curvature
:class: dropdown
````
"""


# %% tags=["solution"]
def hessian_in_c(theta, p_data):
    W, _, c = unpack(theta, M)
    h_hat, p = sigmoid(c + X @ W), probabilities(theta)
    noise = np.diag((p_data - p) @ (h_hat * (1 - h_hat)))  # data minus model
    around = h_hat - p @ h_hat
    return noise - (p[:, None] * around).T @ around


check_curvature(hessian_in_c)

# %% [markdown]
r"""
$\log f$ has the second derivative $\hat h_j (1 - \hat h_j)$, the variance of a hidden unit given $x$, averaged over the data.
$\log Z$ has the full covariance of $h$ under the model, which is the mean of that variance over the model plus the covariance of $\hat h$.
Without hidden units the data term is absent and the Hessian is minus a covariance; with them the data term is positive and can win.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. {eq}`eq-bm-model` turns an energy into a probability if its integral is finite; ratios {eq}`eq-bm-ratio` and sampling need no $Z$.
2. The three sums of {eq}`eq-bm-three` agree, and {numref}`fig-bm-cost` says how long they take.
3. {eq}`eq-bm-grad-log-z` holds line by line; with $n$ normalisers it gives the two phases of {eq}`eq-bm-phases`.
4. Without hidden units {eq}`eq-bm-hessian` excludes false maxima, with them {eq}`eq-bm-hessian-hidden` does not, and {eq}`eq-bm-kl` makes likelihood a divergence.
5. {eq}`eq-bm-error` predicts the error of Gibbs sampling ({numref}`fig-bm-gradient-error`), {eq}`eq-bm-cd` the bias of contrastive divergence ({numref}`fig-bm-cd-bias`), and {numref}`fig-bm-training` shows what exact gradients learn.

**What comes next:** the restricted machine with 784 visible units, where $Z$ is out of reach: [restricted Boltzmann machines on MNIST](rbm.ipynb).

**Reading:** {cite:t}`ackley1985` for the original derivation; {cite:t}`wainwright2008` for $\log Z$ as a convex function; {cite:t}`fischer2014` for restricted machines; {cite:t}`carreira2005` for where contrastive divergence comes to rest; {cite:t}`sutskever2010` for why it follows no gradient.
What is wrong in the sources stands on the [errata page](../book/errata.md).
"""

# %%
run.finish()

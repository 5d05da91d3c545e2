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
# Restricted Boltzmann machines on MNIST

At the end of this lecture you will be able to

1. write down the energy, the free energy and the conditional probabilities of a binary restricted Boltzmann machine, and check each against a sum over all states;
2. derive its learning rule as a difference of two phases, and say exactly how wrong contrastive divergence is;
3. train a machine with 500 hidden units on MNIST in seconds per epoch, without automatic differentiation;
4. give its log-likelihood in nats: exactly for 16 hidden units, by annealed importance sampling for 500;
5. say why centring helps, and show it on digits with black and white exchanged.

- **You need** [Boltzmann machines](boltzmann_machines.ipynb) or probability with sums over states, the sigmoid $\sigma(a) = 1/(1 + e^{-a})$, matrix products, some PyTorch.
- **Sources:** {cite:t}`hinton2002`, {cite:t}`tieleman2008`, {cite:t}`salakhutdinov2008`, {cite:t}`melchior2016`; a longer introduction is {cite:t}`fischer2014`.
- **Time:** a page to read in an hour; it computes for about two minutes on two idle cores.
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
from itertools import islice, pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (12_000, 60_000, 60_000),
    "small_epochs": (5, 15, 50),  # of the machine with 16 hidden units
    "flip_epochs": (1, 5, 5),  # of the four machines that show what centring does
    "num_hidden": (64, 500, 500),  # of the large machine
    "epochs": (2, 10, 300),
    "num_betas": (200, 1_500, 14_500),  # temperatures of AIS
    "gibbs_steps": (100, 1_000, 1_000),  # of fantasies, and before reverse AIS
}

# %%
run = dgm.start("rbm", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## The problem in one picture

MNIST has 60,000 training and 10,000 test images of 28 x 28 grey pixels.
We make each pixel 0 or 1 once, with its grey value as the probability of a 1, and keep that draw: this is the *static stochastic* version of MNIST.
The likelihood of a model depends on such choices, so they belong to every number we give.

The package `dgm` holds what has no equation in this lecture: data, plots, and the checks that stop the run where a claim is wrong.
`run` is this run of the lecture, and `run.record` writes a number with its protocol to the [results page](../book/results.md).
"""


# %%
def binary(part, method):
    """The first images of a part of the data, black and white, on the device."""
    images = dgm.data.binarise(run.data.vectors(part), method=method, rng=run.rng)
    return torch.from_numpy(images[: P.num_images]).to(run.device)


x_train, x_test = binary("train+valid", "stochastic"), binary("test", "stochastic")


def logit_of_mean(x):
    """Logits of the pixel means; a pixel that is never on gets a small probability."""
    return torch.logit(x.mean(0).clamp(1 / len(x), 1 - 1 / len(x)))


def standard_error_of_mean(x):
    return x.std() / len(x) ** 0.5


base_bias = logit_of_mean(x_train)
independent = x_test @ base_bias - F.softplus(base_bias).sum()

# %% tags=["check"]
grey_train, grey_test = (
    torch.from_numpy(run.data.vectors(part)) for part in ("train+valid", "test")
)
excess = (x_train.cpu() - grey_train[: len(x_train)]).mean(1)  # of each image
checks.unbiased(
    "ink of the binarised training images, minus that of the grey ones", excess, 0.0
)
checks.close(
    "pixels that are black or white stay as they are",
    x_test.cpu()[(grey_test % 1) == 0],
    grey_test[(grey_test % 1) == 0],
)
checks.close(
    "standard error of the mean of 50 zeros and 50 ones",
    standard_error_of_mean(torch.arange(100.0) % 2),
    0.5 / 99**0.5,
    rtol=1e-6,
)
by_library = torch.distributions.Bernoulli(logits=base_bias).log_prob(x_test).sum(1)
checks.close(
    "independent pixels, against torch.distributions",
    independent,
    by_library,
    rtol=1e-5,
)

# %% [markdown]
r"""
The simplest model has one probability per pixel and no more.
It is on average right about every pixel and wrong about every digit: what it lacks is dependence.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: binarised test images. Right: samples of the model with independent pixels, whose pixel means are those of the data.", "name": "fig-rbm-problem"}, "image": {"alt": "Two grids of black and white pictures. On the left forty handwritten digits, on the right forty clouds of dots, dense in the middle and empty at the border, none of which looks like a digit."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8))
plotting.image_grid(x_test[:40].cpu(), columns=8, ax=left)
_ = plotting.image_grid(
    torch.bernoulli(torch.sigmoid(base_bias).expand(40, -1)).cpu(), columns=8, ax=right
)
# %%
baseline = run.record(
    "independent_pixels_test_log_likelihood",
    independent.mean(),
    unit="nats",
    standard_error=standard_error_of_mean(independent),
    protocol=f"means of {len(x_train):,} training images, static stochastic binarisation, "
    "all test images",
)
# %% [markdown]
r"""
Each nat above this number is dependence that a model has found.
The end of the road is not zero: even a model that put all its probability on the 10,000 test images would reach only $-\log 10{,}000 = -9.2$ nats.
We use these symbols:

| symbol | in code | meaning |
|---|---|---|
| $v \in \{0, 1\}^{784}$ | `v` | visible units: the pixels |
| $h \in \{0, 1\}^{H}$ | `h` | hidden units |
| $W, b, c$ | `rbm.W`, `rbm.b`, `rbm.c` | weights, visible and hidden biases |
| $E(v, h)$, $F(v)$ | `energy`, `free_energy` | energy, free energy |
| $Z$ | `log_z` | partition function, always as its logarithm |
| $\langle \cdot \rangle_\text{data}$, $\langle \cdot \rangle_\text{model}$ | `weights` | means over data and over the model |
"""

# %% [markdown]
r"""
## An energy without connections inside a layer

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the class `RBM` and its `free_energy`.
```

**A restricted Boltzmann machine lets every pixel talk to every hidden unit, and nothing else.**
Its energy and its probability are

$$
\begin{aligned}
E(v, h) &= -b \cdot v - c \cdot h - v^\top W h, \\
p(v, h) &= \frac{e^{-E(v, h)}}{Z},
\qquad
Z = \sum_{v, h} e^{-E(v, h)} .
\end{aligned}
$$ (eq-rbm-energy)

```{figure} ../figures/rbm_graph.svg
:name: fig-rbm-graph
:alt: Two rows of circles. Every circle of the lower row, the visible units, is joined by a line to every circle of the upper row, the hidden units. No line joins two circles of one row.
:width: 560px

The graph of a restricted Boltzmann machine. Given one row, the units of the other are independent.
```

Because no two hidden units are joined, $e^{-E}$ is a product over the hidden units, and the sum over all $2^H$ hidden states is a product of $H$ sums of two terms:

$$
\begin{aligned}
\sum_h e^{-E(v, h)} &= e^{b \cdot v} \prod_j \sum_{h_j = 0}^{1} e^{h_j (c_j + (v^\top W)_j)} \\
&= e^{b \cdot v} \prod_j \bigl(1 + e^{c_j + (v^\top W)_j}\bigr) .
\end{aligned}
$$

What is left is a *free energy* of $v$ alone, and two conditionals that are products:

$$
\begin{aligned}
F(v) &= -\log \sum_h e^{-E(v, h)} \\
&= -b \cdot v - \sum_j \log\bigl(1 + e^{c_j + (v^\top W)_j}\bigr), \\
p(v) &= \frac{e^{-F(v)}}{Z},
\end{aligned}
$$ (eq-rbm-free-energy)

$$
\begin{aligned}
p(h_j = 1 \mid v) &= \sigma\bigl(c_j + (v^\top W)_j\bigr), \\
p(v_i = 1 \mid h) &= \sigma\bigl(b_i + (W h)_i\bigr).
\end{aligned}
$$ (eq-rbm-conditionals)
"""


# %% tags=["twin:dgm.models.rbm.RBM"]
class RBM(nn.Module):
    def __init__(self, num_visible, num_hidden, *, std=0.01):
        super().__init__()
        self.W = nn.Parameter(std * torch.randn(num_visible, num_hidden))
        self.b = nn.Parameter(torch.zeros(num_visible))
        self.c = nn.Parameter(torch.zeros(num_hidden))

    def energy(self, v, h):
        return -(v @ self.b) - (h @ self.c) - ((v @ self.W) * h).sum(-1)

    def hidden_logits(self, v):
        return self.c + v @ self.W

    def visible_logits(self, h):
        return self.b + h @ self.W.T

    def free_energy(self, v):
        return -(v @ self.b) - F.softplus(self.hidden_logits(v)).sum(-1)


# %% [markdown]
r"""
A machine with 6 visible and 4 hidden units has 64 x 16 states: we can list them all.
On such a machine, in double precision, everything in this lecture is a finite sum, and we check each formula against that sum before we trust it with 784 pixels.
Its weights are large on purpose: small weights hide mistakes.
"""


# %% tags=["twin:dgm.models.rbm.all_states"]
def all_states(num_units, *, device="cpu", dtype=torch.float64):
    rows = torch.arange(2**num_units, device=device)
    return (rows[:, None] >> torch.arange(num_units, device=device) & 1).to(dtype)


# %%
def small_machine(strength, num_visible=6, num_hidden=4):
    """Gaussian weights and biases of standard deviation `strength`, double precision."""
    rbm = RBM(num_visible, num_hidden).double()
    for parameter in rbm.parameters():
        nn.init.normal_(parameter, std=strength)
    return rbm.requires_grad_(False)


tiny = small_machine(1.5)
V, all_h = all_states(6), all_states(4)
joint = torch.exp(-tiny.energy(V[:, None], all_h[None]))  # e^-E of every pair, (64, 16)
log_z = joint.sum().log()
p_v = joint.sum(1) / joint.sum()

# %% [markdown]
r"""
The conditionals follow from the joint table by Bayes' rule, and the free energy by a sum over $h$: three claims, three checks.
"""

# %% tags=["check"]
checks.close(
    "free energy, against the sum over h",
    tiny.free_energy(V),
    -joint.sum(1).log(),
    atol=1e-12,
)
checks.close(
    "p(h|v), against Bayes' rule",
    torch.sigmoid(tiny.hidden_logits(V)),
    joint @ all_h / joint.sum(1)[:, None],
    atol=1e-12,
)
checks.close(
    "p(v|h), against Bayes' rule",
    torch.sigmoid(tiny.visible_logits(all_h)),
    joint.T @ V / joint.sum(0)[:, None],
    atol=1e-12,
)
checks.normalised("exp(-F - log Z)", -tiny.free_energy(V) - log_z)

# %% [markdown]
r"""
```{margin}
**A common mistake:** `x.exp().add(1).log()` in place of `softplus(x)`.
In single precision it is infinite above 88.7 and exactly zero below -17, and its gradient is not a number at 100.
```

`softplus` is $\log(1 + e^a)$, computed without forming $e^a$.
The difference is not cosmetic: at $-20$, a unit that is firmly off, single precision rounds $1 + e^a$ to 1.
"""

# %% tags=["check"]
a = torch.tensor([-20.0, 89.0, 100.0], requires_grad=True)
printed = a.exp().add(1).log()
checks.true(
    "log(1 + exp(a)) in single precision is 0 at -20 and infinite at 89",
    printed[0] == 0 and printed[1].isinf(),
)
(gradient,) = torch.autograd.grad(printed.sum(), a)
checks.true("its gradient at 100 is not a number", gradient[2].isnan())
checks.close(
    "softplus at -20, 89, 100",
    F.softplus(a),
    [math.log1p(math.exp(-20)), 89, 100],
    rtol=1e-6,
)

loud = RBM(6, 4, std=1000.0)  # single precision, inputs of a thousand
checks.true(
    "the free energy of a machine with huge weights is finite",
    bool(loud.free_energy(V.float()).isfinite().all()),
)

# %% [markdown]
r"""
The free energy has a second reading.
Up to the factor $e^{b \cdot v}$ the unnormalised probability is a **product of experts** {cite:p}`hinton2002`,

$$
e^{-F(v)} = e^{b \cdot v} \prod_j \bigl(1 + e^{c_j + (v^\top W)_j}\bigr) :
$$ (eq-rbm-experts)

each hidden unit votes for the images that its weights agree with, by a factor, and has no say (a factor of about one) about the others.
Multiplying votes is what lets 500 simple experts describe one sharp image; a mixture, which adds them, can only be as sharp as its sharpest part.
"""

# %% [markdown]
r"""
## Gibbs sampling: hidden, visible, hidden, visible

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: `v_to_h`, `h_to_v` and `forward`.
```

**One layer given the other is a product, so a whole layer is sampled in one line.**
Alternating the two lines of {eq}`eq-rbm-conditionals` is *block Gibbs sampling*.
If $v$ and $h$ follow $p(v, h)$ they do so after a sweep too, and from any start the chain forgets that start.
"""


# %% tags=["twin:dgm.models.rbm.sample_bernoulli"]
def sample_bernoulli(logits, *, generator=None):
    uniform = torch.rand(
        logits.shape, generator=generator, device=logits.device, dtype=logits.dtype
    )
    return (uniform < torch.sigmoid(logits)).to(logits.dtype)


# %% [markdown]
r"""
The chain is a Python generator: it hands out $v$ after 1, 2, 3, ... sweeps, and who uses it decides when to stop.
Nothing here needs a derivative, so no graph of them is built.
"""


# %% tags=["twin:dgm.models.rbm.gibbs"]
@torch.no_grad()
def gibbs(rbm, v, *, generator=None):
    while True:
        h = sample_bernoulli(rbm.hidden_logits(v), generator=generator)
        v = sample_bernoulli(rbm.visible_logits(h), generator=generator)
        yield v


# %% [markdown]
r"""
On the small machine one sweep is a 64 x 64 matrix of transition probabilities,

$$
T(v \to v') = \sum_h p(h \mid v)\, p(v' \mid h) .
$$ (eq-rbm-transition)

The chain is in *detailed balance* with $p$: the flow $p(v)\, T(v \to v')$ equals the flow back, so that $p$ stays as it is and the eigenvalues of $T$ are real.
How fast the start is forgotten is the second largest of them: the distance to $p$ shrinks by the factor $\lambda_2$ per sweep.
To see what sets it we take a machine in which every visible unit pulls every hidden unit with the same strength $J$, and the biases favour neither 0 nor 1: a small magnet.
For large $J$ nearly all probability sits on "all on" and "all off", and the chain seldom crosses.
"""


# %%
def probabilities(rbm):
    """p(v) for every v in the order of `all_states`."""
    return torch.softmax(-rbm.free_energy(all_states(len(rbm.b))), 0)


def transition_matrix(rbm):
    """T of shape (2^D, 2^D) and its second largest eigenvalue."""
    num_visible, num_hidden = rbm.W.shape
    v, h = all_states(num_visible), all_states(num_hidden)

    def table(logits, states):  # probability of each state, for each row of logits
        return torch.exp(logits @ states.T - F.softplus(logits).sum(-1, keepdim=True))

    T = table(rbm.hidden_logits(v), h) @ table(rbm.visible_logits(h), v)
    root = probabilities(rbm).sqrt()
    # This matrix has the eigenvalues of T, because T is in detailed balance.
    symmetric = root[:, None] * T / root
    return T, torch.linalg.eigvalsh((symmetric + symmetric.T) / 2)[-2].item()


def magnet(J):
    """Equal couplings J, 6 + 4 units; turning all units around changes no energy."""
    rbm = RBM(6, 4).double().requires_grad_(False)
    for parameter, value in zip(rbm.parameters(), (J, -2 * J, -3 * J), strict=True):
        parameter.fill_(value)
    return rbm


magnets = {J: magnet(J) for J in (0.3, 0.8, 1.5)}
T, _ = transition_matrix(tiny)
# Chains that start with all units off, and with v = 101010, which is row 21.
all_off, some_on = torch.eye(64, dtype=torch.float64)[[0, 21]]

# %% tags=["check"]
checks.close("T leaves p(v) as it is", p_v @ T, p_v, atol=1e-14)
checks.close(
    "T is in detailed balance with p(v)",
    p_v[:, None] * T,
    (p_v[:, None] * T).T,
    atol=1e-14,
)

num_chains = 200_000
for sweeps in (1, 2):
    v = next(islice(gibbs(tiny, V[21].expand(num_chains, -1)), sweeps - 1, None))
    counts = torch.bincount(
        (v @ 2.0 ** torch.arange(6, dtype=torch.float64)).long(), minlength=64
    )
    exact = some_on @ torch.linalg.matrix_power(T, sweeps)
    deviation = (counts / num_chains - exact) / (
        exact * (1 - exact) / num_chains
    ).sqrt()
    checks.at_most(
        f"{sweeps} sweep(s) of the sampler, largest of 64 deviations in standard errors",
        deviation.abs(),
        5,
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Total variation distance between the distribution after k sweeps and the model, for three couplings J (points). The chains start with all units off. Dashed: the k-th power of the second eigenvalue, through the fifth point.", "name": "fig-rbm-mixing"}, "image": {"alt": "Three rows of points on a logarithmic axis fall along straight dashed lines: steeply for weak couplings, and hardly at all in twenty sweeps for strong ones."}}
fig, ax = plt.subplots()
ks = range(1, 21)
for (J, rbm), colour in zip(magnets.items(), plotting.COLOURS, strict=False):
    T_J, lambda_2 = transition_matrix(rbm)
    q, distances = all_off, []
    for _ in ks:
        q = q @ T_J
        distances.append(0.5 * (q - probabilities(rbm)).abs().sum().item())
    ax.semilogy(
        ks,
        distances,
        "o",
        color=colour,
        label=rf"J = {J}, $\lambda_2$ = {lambda_2:.3f}",
    )
    ax.semilogy(
        ks,
        [distances[4] * lambda_2 ** (k - 5) for k in ks],
        "--",
        color=colour,
        linewidth=1,
    )
ax.set(
    xlabel="sweeps k",
    ylabel="distance to the model",
    ylim=(1e-9, 2),
    xticks=range(0, 21, 5),
)
_ = ax.legend(loc="lower left")
# %% [markdown]
r"""
The points lie on the lines: after the first sweeps nothing but $\lambda_2$ matters.
For a machine with 784 pixels nobody can compute it.
Keep this picture in mind: every difficulty below is this one.
"""

# %% [markdown]
r"""
## Learning is a difference of two phases

```{margin}
**In the sources.** Oslo, 30 April, *Expression for the gradients* to *Final expression*.
```

**The gradient pushes the free energy down on data and up on what the model itself produces.**
The log-likelihood is $\log p(v) = -F(v) - \log Z$, and the gradient of $\log Z$ is a mean over the model:

$$
\begin{aligned}
\nabla \log Z &= \frac{1}{Z} \sum_v \nabla e^{-F(v)} \\
&= \sum_v \frac{e^{-F(v)}}{Z}\, \bigl(-\nabla F(v)\bigr) = \langle -\nabla F \rangle_\text{model} .
\end{aligned}
$$ (eq-rbm-log-z)

So the mean log-likelihood of the data has the gradient

$$
\begin{aligned}
\nabla \langle \log p \rangle_\text{data}
&= \underbrace{\langle -\nabla F(v) \rangle_\text{data}}_{\text{positive phase}} \\
&\quad - \underbrace{\langle -\nabla F(v) \rangle_\text{model}}_{\text{negative phase}} .
\end{aligned}
$$ (eq-rbm-gradient)

The derivatives are known in closed form: with $\hat h = p(h = 1 \mid v)$,

$$
-\frac{\partial F}{\partial W_{ij}} = v_i \hat h_j,
\qquad
-\frac{\partial F}{\partial b_i} = v_i,
\qquad
-\frac{\partial F}{\partial c_j} = \hat h_j .
$$ (eq-rbm-derivatives)

Both phases are one weighted sum $\sum_n w_n \nabla(-F(v_n))$: weights $+1/N$ on $N$ data, $-1/M$ on $M$ samples of the model.
That is three lines, and no graph of derivatives is built.
"""


# %% tags=["twin:dgm.models.rbm.phase_gradient"]
@torch.no_grad()
def phase_gradient(rbm, v, weights):
    weighted_h = weights[:, None] * torch.sigmoid(rbm.hidden_logits(v))
    return v.T @ weighted_h, weights @ v, weighted_h.sum(0)


# %% [markdown]
r"""
On the small machine the model mean is a sum with the weights $-p(v)$, so that the *exact* gradient is a call of the same function.
It must equal what automatic differentiation finds for $\langle -F \rangle_\text{data} - \log Z$, with $\log Z$ by enumeration.
"""

# %% tags=["check"]
# Something to learn from: mostly few pixels on.
p_data = torch.softmax(torch.randn(64, dtype=torch.float64) - V.sum(1), 0)


def flat(gradient):
    return torch.cat([part.flatten() for part in gradient])


def mean_log_likelihood(rbm):
    return -(p_data @ rbm.free_energy(V)) - torch.logsumexp(-rbm.free_energy(V), 0)


tiny.requires_grad_(True)
by_autograd = flat(
    torch.autograd.grad(mean_log_likelihood(tiny), list(tiny.parameters()))
)
tiny.requires_grad_(False)
checks.close(
    "gradient of the log-likelihood, against autograd",
    flat(phase_gradient(tiny, V, p_data - p_v)),
    by_autograd,
    atol=1e-12,
)

# %% [markdown]
r"""
## Contrastive divergence and how wrong it is

```{margin}
**In the sources.** CS236 notes, *Energy based models*, the contrastive divergence algorithm.
```

**Nobody can sample the negative phase exactly; contrastive divergence starts at the data and takes $k$ sweeps.**
Three ways to get the model samples are in use:

- **CD-1** {cite:p}`hinton2002`: one sweep from the data of this step;
- **CD-k**: $k$ sweeps from the data of this step;
- **PCD**, persistent contrastive divergence {cite:p}`tieleman2008`: never start again; keep the chains while the parameters change slowly under them, so that all sweeps of the training count and not only the last.

On the small machine the distribution after $k$ sweeps is $p_\text{data} T^k$, so that the expected CD-k update is again `phase_gradient`, with the weights $p_\text{data} - p_\text{data} T^k$.
Its bias is the difference to the exact gradient; we give its length as a fraction of the gradient's.
"""


# %%
def expected_cd(rbm, k):
    """Expected CD-k update on `p_data`, all parameters in one vector."""
    T, _ = transition_matrix(rbm)
    return flat(
        phase_gradient(rbm, V, p_data - p_data @ torch.linalg.matrix_power(T, k))
    )


def cd_bias(rbm, k):
    """|E[CD-k] - gradient| / |gradient|."""
    exact = flat(phase_gradient(rbm, V, p_data - probabilities(rbm)))
    return ((expected_cd(rbm, k) - exact).norm() / exact.norm()).item()


biases = {J: [cd_bias(rbm, k) for k in ks] for J, rbm in magnets.items()}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Bias of CD-k as a fraction of the gradient, exact, for three couplings J. Dashed: the k-th power of the second eigenvalue, through the fifth point.", "name": "fig-rbm-bias"}, "image": {"alt": "Three rows of points on a logarithmic axis against k from one to twenty, falling along dashed straight lines, steeply for weak and hardly at all for strong couplings."}}
fig, ax = plt.subplots()
for (J, bias), colour in zip(biases.items(), plotting.COLOURS, strict=False):
    _, lambda_2 = transition_matrix(magnets[J])
    ax.semilogy(
        ks, bias, "o", color=colour, label=rf"J = {J}, $\lambda_2$ = {lambda_2:.3f}"
    )
    ax.semilogy(
        ks, [bias[4] * lambda_2 ** (k - 5) for k in ks], "--", color=colour, linewidth=1
    )
ax.set(
    xlabel="k", ylabel="bias of CD-k / gradient", ylim=(1e-9, 2), xticks=range(0, 21, 5)
)
_ = ax.legend(loc="lower left")
# %% [markdown]
r"""
```{margin}
**A common mistake:** the claim that CD is an unbiased estimate of the gradient.
It is one only when its samples come from the model exactly.
```

The bias of CD-k dies as $\lambda_2^k$, at the same pace at which the chain forgets.
With weak couplings, as at the start of training, CD-1 errs by some ten per cent and CD-10 is exact for every purpose.
With strong couplings ten sweeps help little: the error stays above half of the gradient.
"""

# %% tags=["check"]
checks.at_most(
    "J = 0.3: bias of CD-10 over that of CD-1", biases[0.3][9] / biases[0.3][0], 1e-6
)
checks.at_most("J = 0.3: bias of CD-1 / gradient", biases[0.3][0], 0.2)
checks.at_least("J = 1.5: bias of CD-10 / gradient", biases[1.5][9], 0.5)
for J, rbm in magnets.items():
    _, lambda_2 = transition_matrix(rbm)
    # What is left of the third eigenvalue after eight sweeps is below (0.3)^8 = 7e-5.
    ratio = cd_bias(rbm, 9) / cd_bias(rbm, 8)
    checks.close(f"J = {J}: bias of CD-9 over that of CD-8", ratio, lambda_2, rtol=1e-3)

# %% [markdown]
r"""
## The training loop

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the loop over epochs.
```

**One loop does CD-1, CD-k and PCD: they differ in where the chain starts.**
The data lie on the device as one tensor and are indexed by a permutation.
The learning rate falls linearly to zero, so that at the end the persistent chains can keep up with the parameters.
`centre` is explained below; it changes the direction of the step and not what the machine can represent.
"""


# %% tags=["twin:dgm.models.rbm.centre"]
def centre(gradient, v_offset, h_offset):
    grad_W, grad_b, grad_c = gradient
    grad_W = torch.addr(grad_W, v_offset, grad_c, alpha=-1)  # minus v_offset grad_c^T
    grad_W = torch.addr(grad_W, grad_b, h_offset, alpha=-1)
    return grad_W, grad_b - grad_W @ h_offset, grad_c - v_offset @ grad_W


# %% tags=["twin:dgm.models.rbm.train"]
def train(
    rbm,
    x,
    *,
    epochs,
    batch_size,
    learning_rate,
    final_learning_rate=0.0,
    k=1,
    persistent=True,
    centred=True,
    particles=None,
    done=0,
):
    num_batches = math.ceil(len(x) / batch_size)
    rates = torch.linspace(learning_rate, final_learning_rate, epochs * num_batches + 1)
    rates = iter(rates[done * num_batches :].tolist())
    if particles is None:
        particles = x[torch.randperm(len(x), device=x.device)[:batch_size]]
    chain = gibbs(rbm, particles)
    v_offset, h_offset = x.mean(0), torch.full_like(rbm.c, 0.5)
    for epoch in range(done + 1, epochs + 1):
        if epoch > 1:
            h_offset = torch.sigmoid(rbm.hidden_logits(x[:1000])).mean(0).detach()
        for rows in torch.randperm(len(x), device=x.device).split(batch_size):
            v_data = x[rows]
            if not persistent:
                chain = gibbs(rbm, v_data)
            for _ in range(k):
                v_model = next(chain)
            weights = x.new_full((len(v_data) + len(v_model),), -1 / len(v_model))
            weights[: len(v_data)] = 1 / len(v_data)
            gradient = phase_gradient(rbm, torch.cat([v_data, v_model]), weights)
            if centred:
                gradient = centre(gradient, v_offset, h_offset)
            rate = next(rates)
            with torch.no_grad():
                for parameter, uphill in zip(rbm.parameters(), gradient, strict=True):
                    parameter.add_(uphill, alpha=rate)
        yield epoch, v_data, v_model


# %% [markdown]
r"""
Is it the algorithm that we wrote down?
On the small machine we know what one step must be on average: the exact CD-k update.
And with a learning rate of zero the particles of PCD must turn into samples of the model, wherever they started.
"""


# %% tags=["check"]
def one_step(k):
    """The change of all parameters in one step of CD-k, on 4,000 draws from `p_data`."""
    rbm = RBM(6, 4).double()
    rbm.load_state_dict(tiny.state_dict())
    x = V[torch.multinomial(p_data, 4_000, replacement=True)]
    list(
        train(
            rbm,
            x,
            epochs=1,
            batch_size=4_000,
            learning_rate=1.0,
            k=k,
            persistent=False,
            centred=False,
        )
    )
    return flat(
        [
            new - old
            for new, old in zip(rbm.parameters(), tiny.parameters(), strict=True)
        ]
    ).detach()


for k in (1, 2):
    checks.unbiased(
        f"one step of CD-{k}",
        torch.stack([one_step(k) for _ in range(100)]),
        expected_cd(tiny, k),
    )

# %% tags=["check"]
x = V[torch.multinomial(p_data, 40_000, replacement=True)]
still = dict(epochs=25, batch_size=20_000, learning_rate=0.0)  # 50 steps, no change
*_, (_, _, particles) = train(tiny, x, **still)
checks.unbiased(
    "PCD after 50 steps: means of the pixels are those of the model", particles, p_v @ V
)
*_, (_, _, samples) = train(tiny, x, persistent=False, **still)
checks.unbiased(
    "CD-1 after 50 steps: they are those of one sweep", samples, p_data @ T @ V
)

# %% [markdown]
r"""
With biases of a thousand every unit is fixed, so that whole epochs can be done by hand: five images in batches of two, three epochs, rates 0.9, 0.8, ..., 0.1.
"""

# %% tags=["check"]
frozen = RBM(1, 2).double().requires_grad_(False)
for parameter, value in zip(
    frozen.parameters(), ([[0, 0]], [1e3], [-1e3, 1e3]), strict=True
):
    parameter.copy_(torch.tensor(value))
list(
    train(frozen, torch.zeros(5, 1).double(), epochs=3, batch_size=2, learning_rate=0.9)
)
first_epoch, all_epochs = 0.9 + 0.8 + 0.7, 4.5
by_hand = [first_epoch / 2, -first_epoch / 2, 1e3 - all_epochs, -1e3, 1e3]
checks.close(
    "nine steps: W, b, c",
    nn.utils.parameters_to_vector(frozen.parameters()),
    by_hand,
    rtol=1e-6,
)

# %% [markdown]
r"""
## A machine whose likelihood is known exactly

**With 16 hidden units $Z$ is a sum over 65,536 states, so that the log-likelihood is exact.**
In $Z = \sum_h e^{c \cdot h} \prod_i (1 + e^{b_i + (W h)_i})$ the 784 pixels are summed in closed form; only the smaller layer is listed.
"""


# %% tags=["twin:dgm.models.rbm.exact_log_partition"]
@torch.no_grad()
def exact_log_partition(rbm):
    terms = []
    for h in all_states(len(rbm.c), device=rbm.W.device, dtype=rbm.W.dtype).split(512):
        terms.append(h @ rbm.c + F.softplus(rbm.visible_logits(h)).sum(-1))
    return torch.logsumexp(torch.cat(terms).cpu().double(), 0).item()


# %% tags=["check"]
checks.close(
    "log Z over the hidden states, against log Z over all pairs",
    exact_log_partition(tiny),
    log_z,
    rtol=1e-14,
)
wide = small_machine(1.0, num_hidden=16)
by_visible = torch.logsumexp(-wide.free_energy(V), 0)
checks.close(
    "log Z over 65,536 hidden, against 64 visible states",
    exact_log_partition(wide),
    by_visible,
    rtol=1e-13,
)

# %% [markdown]
r"""
The best-documented small machine is that of {cite:t}`pydeep`: pixels thresholded at one half, 60,000 training images, centred PCD-1 with batches of 100 and a rate of 0.01 for 50 epochs, visible biases that start at the logits of the pixel means.
We keep data and machine and change two things: the rate falls from 0.06 to 0, and each step takes three sweeps, which cost little with so few units.
Every epoch ends with the exact log-likelihood of the 10,000 test images.
"""


# %%
def new_machine(num_hidden, bias):
    rbm = RBM(784, num_hidden)
    with torch.no_grad():
        rbm.b.copy_(bias)
    return rbm.to(run.device).requires_grad_(False)


def exact_log_likelihood(rbm, v):
    return -rbm.free_energy(v) - exact_log_partition(rbm)


black_white, black_white_test = (
    binary("train+valid", "threshold"),
    binary("test", "threshold"),
)
black_white_bias = logit_of_mean(black_white)

published_16 = -142.56  # PyDeep, RBM_MNIST_small
small_rate = 0.06

small = new_machine(16, black_white_bias)
checks.close(
    "thresholded test images", black_white_test.cpu(), (grey_test > 0.5).float()
)
log_p_untrained = exact_log_likelihood(small, black_white_test)
small_curve = [log_p_untrained.mean().item()]
settings = dict(epochs=P.small_epochs, batch_size=100, learning_rate=small_rate, k=3)
particles = black_white[torch.randperm(len(black_white), device=run.device)[:100]]
steps = resumed(
    run.checkpoints("small"),
    "16 hidden units, epochs",
    P.small_epochs,
    dict(rbm=small, curve=small_curve, particles=particles),
    lambda done: train(small, black_white, done=done, particles=particles, **settings),
)
for _, _, v_model in steps:
    particles[: len(v_model)] = v_model
    small_curve.append(exact_log_likelihood(small, black_white_test).mean().item())

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact log-likelihood of the test images after each epoch, 16 hidden units. Dashed: the published value after 50 epochs of centred PCD-1 at a constant learning rate of 0.01.", "name": "fig-rbm-exact"}, "image": {"alt": "A curve that rises steeply from below minus two hundred nats in the first two epochs, crosses the dashed line at minus 142.56, and flattens a few nats above it."}}
fig, ax = plt.subplots()
ax.plot(small_curve, "o-")
if run.on_mnist:
    plotting.reference_line(
        ax, published_16, "published (PCD-1, 50 epochs)", side="left"
    )
_ = ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")
# %%
log_p = exact_log_likelihood(small, black_white_test)
small_log_likelihood = run.record(
    "exact16_test_log_likelihood",
    log_p.mean(),
    unit="nats",
    standard_error=standard_error_of_mean(log_p),
    protocol=f"16 hidden, centred PCD-3, {P.small_epochs} epochs, rate {small_rate} to 0, "
    f"thresholded at 0.5, {len(black_white):,} training images, all test images, exact Z",
    published=published_16,
    source="PyDeep, RBM_MNIST_small: centred PCD-1, 50 epochs",
)

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "exact test log-likelihood, 16 hidden units", small_log_likelihood, -142.0
    )
gain = log_p - log_p_untrained
gain_in_errors = gain.mean() / standard_error_of_mean(gain)
checks.at_least("mean gain by training, in standard errors", gain_in_errors, 5)

# %% [markdown]
r"""
## Why centring helps

**The plain gradient depends on which colour we call 1; the centred one does not.**
Turn every pixel around, $v \to 1 - v$.
The same machine exists with other parameters, $W \to -W$, $b \to -b$, $c \to c + W^\top 1$, and has the same energy up to a constant.
So learning should be exactly as easy, and for the plain gradient it is not:
where $\langle v_i \rangle$ is near one, $W_{ij}$ and $c_j$ push hidden unit $j$ in the same way on every image, and the steps in all these parameters add up.

The cure {cite:p}`melchior2016` is to learn in the parameters of

$$
\begin{aligned}
E(v, h) = &-b \cdot (v - \mu_v) - c \cdot (h - \mu_h) \\
&- (v - \mu_v)^\top W (h - \mu_h),
\end{aligned}
$$

with $\mu_v$ and $\mu_h$ the means of $v$ and $h$ on the data (`train` sets $\mu_h$ to one half and takes it anew on 1,000 images after each epoch).
Back in $W, b, c$ this is the plain gradient with two rank-one corrections,

$$
\begin{aligned}
\Delta_W &= \nabla_W - \mu_v \nabla_c^\top - \nabla_b\, \mu_h^\top, \\
\Delta_b &= \nabla_b - \Delta_W \mu_h, \\
\Delta_c &= \nabla_c - \Delta_W^\top \mu_v,
\end{aligned}
$$ (eq-rbm-centred)

which is the function `centre` above.
Two checks: it is what autograd finds in the centred parameters, and turning all pixels around before the step or after it makes no difference.
"""

# %% tags=["check"]
mu_v, mu_h = p_data @ V, torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
W = tiny.W.clone().requires_grad_()
b_centred, c_centred = (
    (tiny.b + W @ mu_h).detach().requires_grad_(),
    (tiny.c + mu_v @ W).detach().requires_grad_(),
)
# The plain biases, as functions of the centred parameters.
b, c = b_centred - W @ mu_h, c_centred - mu_v @ W
free_energy = -(V @ b) - F.softplus(c + V @ W).sum(-1)
objective = -(p_data @ free_energy) - torch.logsumexp(-free_energy, 0)
grad_W, grad_b, grad_c = torch.autograd.grad(objective, [W, b_centred, c_centred])
centred_step = centre(phase_gradient(tiny, V, p_data - p_v), mu_v, mu_h)
checks.close(
    "centred step, against autograd in the centred parameters",
    flat(centred_step),
    flat([grad_W, grad_b - grad_W @ mu_h, grad_c - mu_v @ grad_W]),
    atol=1e-12,
)


# %%
def turned(rbm):
    """The machine that gives 1 - v the energy of v in `rbm`, up to a constant."""
    other = RBM(*rbm.W.shape).to(rbm.W).requires_grad_(False)
    for new, old in zip(
        other.parameters(), (-rbm.W, -rbm.b, rbm.c + rbm.W.sum(0)), strict=True
    ):
        new.copy_(old)
    return other


def turn_after(step):
    return -step[0], -step[1], step[2] + step[0].sum(0)


# %% tags=["check"]
step_turned = centre(phase_gradient(turned(tiny), 1 - V, p_data - p_v), 1 - mu_v, mu_h)
checks.close(
    "centred: turn then step = step then turn",
    flat(step_turned),
    flat(turn_after(centred_step)),
    atol=1e-12,
)
plain, plain_turned = (
    phase_gradient(tiny, V, p_data - p_v),
    phase_gradient(turned(tiny), 1 - V, p_data - p_v),
)
checks.at_least(
    "plain: largest difference between the two",
    (flat(plain_turned) - flat(turn_after(plain))).abs().max(),
    0.01,
)

# %% [markdown]
r"""
On MNIST most pixels are 0, and the plain gradient works nearly as well.
MNIST with 0 and 1 exchanged is the same problem for a machine and a hard one for its plain gradient.
"""

# %%
flip_curves = {}
for colours in ("as they are", "exchanged"):
    sign = 1 if colours == "as they are" else -1
    x, x_held_out = (v if sign == 1 else 1 - v for v in (black_white, black_white_test))
    for centred in (True, False):
        rbm = new_machine(16, sign * black_white_bias)
        steps = train(
            rbm,
            x,
            epochs=P.flip_epochs,
            batch_size=100,
            learning_rate=0.1,
            centred=centred,
        )
        flip_curves[colours, centred] = [
            exact_log_likelihood(rbm, x_held_out).mean().item() for _ in steps
        ]

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact test log-likelihood of machines with 16 hidden units, 0 and 1 as they are and exchanged, with the centred and with the plain gradient.", "name": "fig-rbm-centring"}, "image": {"alt": "Four curves over epochs. Both centred curves rise together and end highest. The plain curve with the colours as they are ends a few nats lower. The plain curve with the colours exchanged stays tens of nats below and jumps up and down."}}
fig, ax = plt.subplots()
for (colours, centred), curve in flip_curves.items():
    style = "o-" if centred else "s--"
    colour = plotting.COLOURS[0 if colours == "as they are" else 1]
    ax.plot(
        range(1, len(curve) + 1),
        curve,
        style,
        color=colour,
        label=f"{'centred' if centred else 'plain'}, colours {colours}",
    )
ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")
ax.xaxis.get_major_locator().set_params(integer=True)
_ = ax.legend(ncol=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    lost = {
        centred: flip_curves["as they are", centred][-1]
        - flip_curves["exchanged", centred][-1]
        for centred in (True, False)
    }
    checks.at_least(
        "nats that the plain gradient loses by the exchange", lost[False], 10
    )
    checks.at_most("nats that the centred gradient loses or gains", abs(lost[True]), 5)

# %%
centring_gain = run.record(
    "flipped16_centred_minus_plain",
    flip_curves["exchanged", True][-1] - flip_curves["exchanged", False][-1],
    unit="nats",
    protocol=f"exact test log-likelihood on 1 - v, 16 hidden, PCD-1, {P.flip_epochs} epochs, "
    "rate 0.1 to 0, one seed each",
    published=183.36 - 142.09,
    source="PyDeep, RBM_MNIST_small: 50 epochs, rate 0.01",
)
# %% [markdown]
r"""
## Annealed importance sampling

**With 500 hidden units nobody can list the states; $Z$ is measured by walking there from a machine whose $Z$ is known.**
Importance sampling from independent pixels straight to the machine would give weights so uneven that the sum misses most of $Z$; below we try it.
*Annealed* importance sampling {cite:p}`neal2001,salakhutdinov2008` goes in many small steps along

$$
\begin{aligned}
f_\beta(v) &= e^{(1 - \beta)\, b_0 \cdot v + \beta\, b \cdot v} \prod_j \bigl(1 + e^{\beta (c_j + (v^\top W)_j)}\bigr), \\
0 &= \beta_0 < \beta_1 < \dots < \beta_K = 1,
\end{aligned}
$$ (eq-rbm-path)

from independent pixels with the biases $b_0$, where $\log Z_0 = \sum_i \log(1 + e^{b_{0,i}}) + H \log 2$, to the machine.
A physicist reads $\beta$ as an inverse temperature, and the $\beta_k$ are called temperatures.
Each step multiplies the weight $w$ of a chain by $f_{\beta_k}(v) / f_{\beta_{k-1}}(v)$ and then moves $v$ by one Gibbs sweep at the new $\beta$.
The expected weight is exactly $Z / Z_0$, for any number of steps.
"""


# %% tags=["twin:dgm.metrics.ais_log_weights"]
@torch.no_grad()
def ais_log_weights(rbm, v, base_bias, betas, *, generator=None):
    log_w = torch.zeros(len(v), dtype=torch.float64)
    shift = rbm.b - base_bias
    logits = rbm.hidden_logits(v)
    for old, new in pairwise(betas.tolist()):
        steps = F.softplus(new * logits) - F.softplus(old * logits)
        log_w += ((new - old) * (v @ shift) + steps.sum(-1)).cpu()
        h = sample_bernoulli(new * logits, generator=generator)
        v = sample_bernoulli(
            base_bias + new * (shift + h @ rbm.W.T), generator=generator
        )
        logits = rbm.hidden_logits(v)
    return log_w


# %% [markdown]
r"""
The same function walks back.
From exact samples of the machine, with $\beta$ falling from 1 to 0, the expected weight is $Z_0 / Z$.

The two differ in the direction of their error.
The logarithm is concave, so that the log of a mean of few weights is too small on average (Jensen's inequality).
Forward, $\log Z$ therefore comes out too low on average, and the likelihood too *good*; in reverse $\log Z$ comes out too high and the likelihood too *bad*.
One run can err either way by its standard error; two runs that agree from both sides are worth more than either.

How many of the chains count is the *effective sample size* $(\sum w)^2 / \sum w^2$: so many equal weights would be as good.
"""


# %% tags=["twin:dgm.metrics.log_mean_exp"]
def log_mean_exp(log_w):
    return torch.logsumexp(log_w, 0).item() - math.log(len(log_w))


# %% tags=["twin:dgm.metrics.log_partition_from_weights"]
def log_partition_from_weights(rbm, base_bias, log_w, sign):
    log_base = F.softplus(base_bias.cpu().double()).sum().item() + len(
        rbm.c
    ) * math.log(2)
    w = torch.exp(log_w - log_w.max())
    standard_error = (w.std() / w.mean() / math.sqrt(len(w))).item()
    effective_sample_size = (w.sum() ** 2 / (w**2).sum()).item()
    return (
        log_base + sign * log_mean_exp(log_w),
        standard_error,
        effective_sample_size,
    )


# %%
def ais(rbm, base_bias, *, num_betas, num_chains=100, model_samples=None):
    """log Z, standard error, effective sample size; in reverse from `model_samples`."""
    betas = torch.linspace(0, 1, num_betas, dtype=torch.float64)
    if model_samples is None:
        v = sample_bernoulli(base_bias.expand(num_chains, -1))
        return log_partition_from_weights(
            rbm, base_bias, ais_log_weights(rbm, v, base_bias, betas), 1
        )
    log_w = ais_log_weights(rbm, model_samples, base_bias, betas.flip(0))
    return log_partition_from_weights(rbm, base_bias, log_w, -1)


# %% [markdown]
r"""
On an enumerable machine with 12 visible and 8 hidden units both directions must return the exact $Z$ within their standard error, and the mean weight must be unbiased even with a handful of steps.
"""

# %% tags=["check"]
rbm = small_machine(0.7, num_visible=12, num_hidden=8)
exact_log_z, b_0 = exact_log_partition(rbm), torch.randn(12, dtype=torch.float64)
log_ratio = exact_log_z - F.softplus(b_0).sum() - 8 * math.log(2)
from_base = sample_bernoulli(b_0.expand(10_000, -1))
from_model = all_states(12)[
    torch.multinomial(probabilities(rbm), 10_000, replacement=True)
]
for num_betas in (20, 100):
    betas = torch.linspace(0, 1, num_betas)
    log_w, log_w_reverse = (
        ais_log_weights(rbm, from_base, b_0, betas),
        ais_log_weights(rbm, from_model, b_0, betas.flip(0)),
    )
    checks.unbiased(
        f"{num_betas} temperatures, w Z0 / Z", torch.exp(log_w - log_ratio), 1.0
    )
    checks.unbiased(
        f"{num_betas} temperatures, reverse, w Z / Z0",
        torch.exp(log_w_reverse + log_ratio),
        1.0,
    )

# %% tags=["check"]
forward = [ais(rbm, b_0, num_betas=100) for _ in range(30)]
backward = [
    ais(rbm, b_0, num_betas=100, model_samples=v) for v in from_model.split(100)[:30]
]
for name, runs in (("AIS", forward), ("reverse AIS", backward)):
    values, errors, _ = torch.tensor(runs, dtype=torch.float64).T
    checks.unbiased(f"log Z by {name}, 30 runs of 100 chains", values, exact_log_z)
    z_squared = ((values - exact_log_z) / errors).square().mean()
    # Chi-squared with 30 degrees of freedom, over 30: 1 +/- 0.26, below 0.2 once in a million.
    checks.at_least(
        f"{name}: mean square of error / standard error, about 1", z_squared, 0.2
    )
    checks.at_most(f"{name}: the same from above", z_squared, 1 + 5 * 0.26)

# %% tags=["check"]
checks.close(
    "log of the mean of 1, 2, 3",
    log_mean_exp(torch.tensor([1.0, 2.0, 3.0]).log()),
    math.log(2),
    rtol=1e-6,
)
uneven = torch.tensor([3.0, 1.0]).double().log()
_, _, ess = log_partition_from_weights(rbm, b_0, uneven, 1)
checks.close("effective sample size of the weights 3 and 1", ess, 16 / 10, rtol=1e-12)

# %% [markdown]
r"""
Now the trained machine with 16 hidden units, whose $Z$ we know.
It is the last place where the estimate can be compared with the truth.
"""


# %%
log_z_16 = exact_log_partition(small)
direct = ais(small, black_white_bias, num_betas=2)[0]
log_z_ais, error_ais, ess_ais = ais(small, black_white_bias, num_betas=4 * P.num_betas)
print(f"exact {log_z_16:.2f}, AIS {log_z_ais:.2f} +/- {error_ais:.2f}")
print(f"difference in standard errors: {(log_z_ais - log_z_16) / error_ais:.1f}")
print(f"effective sample size {ess_ais:.0f} of 100")

error_16 = run.record(
    "ais_error_exact16",
    abs(log_z_ais - log_z_16),
    unit="nats",
    standard_error=error_ais,
    protocol="|log Z by AIS - exact log Z| of the machine of exact16, "
    f"{4 * P.num_betas:,} evenly spaced temperatures, 100 chains",
    published=abs(309.69 - 310.18),
    source="PyDeep, RBM_MNIST_small",
)
# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    checks.at_most("error of log Z by AIS, 16 hidden units", error_16, 1.0)
    checks.at_least("nats that plain importance sampling misses", log_z_16 - direct, 5)

# %% [markdown]
r"""
One warning belongs to every such number: the standard error is computed from the chains that arrived, and knows nothing of places that none of them found.
The line above says by how many of them this estimate is off.
The magnet of above shows it, with strong couplings and a base that prefers "off".
By symmetry "all on" carries half of $Z$, no chain gets there, and the estimate is wrong by $\log 2 = 0.69$ while its standard error says that all is well.
The expected weight is still right, thanks to a rare chain that gets there and weighs more than all others together.
"""

# %% tags=["check"]
strong = magnet(4.0)
missed, error, _ = ais(
    strong, torch.full((6,), -5.0, dtype=torch.float64), num_betas=100
)
checks.unbiased(
    "nats of log Z that AIS misses, log 2",
    exact_log_partition(strong) - missed,
    math.log(2),
    error,
)
checks.at_most("standard error that it claims", error, 0.05)

# %% [markdown]
r"""
## What to watch during training

```{margin}
**A common mistake:** a "training loss" $F(v) - F(v_1)$ in the output of a program.
CD follows the gradient of no function at all ({ref}`ex-rbm-no-gradient`), so no loss curve exists.
```

**Contrastive divergence has no loss; three numbers are commonly printed in its place, and none of them is the likelihood.**

- $\langle F(v) \rangle - \langle F(v_1) \rangle$ of a batch and its samples: a difference of two numbers that both move with the machine.
- The reconstruction error $\langle |v - v_1|^2 \rangle$ after one sweep from the data: it falls when the machine learns, and also when its chain merely becomes slow.
- The pseudo-likelihood $\sum_i \log p(v_i \mid v_{-i})$, estimated with a few random pixels per image: it asks for one pixel given all others, so that it can't see how whole digits are distributed.
"""


# %%
@torch.no_grad()
def pseudo_log_likelihood(rbm, v, i):
    """784 log p(v_i | all other pixels) for one i per row: unbiased for the sum over i."""
    turned_pixel = v.clone()
    rows = torch.arange(len(v), device=v.device)
    turned_pixel[rows, i] = 1 - v[rows, i]
    return v.shape[1] * F.logsigmoid(rbm.free_energy(turned_pixel) - rbm.free_energy(v))


# %% tags=["check"]
index = torch.arange(64)
for i in (0, 5):
    partner = index ^ (1 << i)  # the state that differs in pixel i alone
    by_table = 6 * torch.log(p_v / (p_v + p_v[partner]))
    checks.close(
        f"pseudo-likelihood of pixel {i}, against the table",
        pseudo_log_likelihood(tiny, V, torch.full((64,), i)),
        by_table,
        atol=1e-11,
    )

# %% [markdown]
r"""
## 500 hidden units

**The same machine, trained by CD-1 and by PCD-1, with the same number of updates.**
Along the way we note the monitors, and the log-likelihood by a short AIS, whose numbers are uncertain by a few nats.
"""


# %%
def watch(rbm, v_data, v_model):
    """Three monitors on 5,000 test images; the log-likelihood of all by a short AIS."""
    sample = x_test[:5000]
    pixels = torch.randint(784, (4, len(sample)), device=run.device)
    pseudo = torch.stack([pseudo_log_likelihood(rbm, sample, i) for i in pixels])
    log_z, _, _ = ais(rbm, base_bias, num_betas=P.num_betas // 3)
    change = (sample - next(gibbs(rbm, sample))).abs().sum(1)
    difference = rbm.free_energy(v_data).mean() - rbm.free_energy(v_model).mean()
    monitors = {
        "F(v) - F(v'), last batch": difference,
        "reconstruction error (pixels)": change.mean(),
        "pseudo-likelihood (nats)": pseudo.mean(),
        "log-likelihood by AIS (nats)": -rbm.free_energy(x_test).mean() - log_z,
    }
    return {name: value.item() for name, value in monitors.items()}


def train_and_watch(name, persistent):
    rbm, history = new_machine(P.num_hidden, base_bias), {}
    particles = x_train[torch.randperm(len(x_train), device=run.device)[:100]]
    settings = dict(epochs=P.epochs, batch_size=100, learning_rate=0.1)
    settings |= dict(persistent=persistent, particles=particles)
    steps = resumed(
        run.checkpoints(name),
        f"{name}, epochs",
        P.epochs,
        dict(rbm=rbm, history=history, particles=particles),
        lambda done: train(rbm, x_train, done=done, **settings),
    )
    for epoch, v_data, v_model in steps:
        particles[: len(v_model)] = v_model
        if epoch % max(1, P.epochs // 5) == 0 or epoch == P.epochs:
            history[epoch] = watch(rbm, v_data, v_model)
    return rbm, particles, history


# %% [markdown]
r"""
Without weights a machine is the model of independent pixels, about which everything is known: the monitors must say so.
"""

# %% tags=["check"]
blank = new_machine(P.num_hidden, base_bias)
blank.W.zero_()
seen = watch(blank, x_test[:1], x_test[1:2])
p, sample = torch.sigmoid(base_bias), x_test[:5000]
# Probability that a pixel comes back changed.
wrong = sample * (1 - p) + (1 - sample) * p
log_right = 784 * torch.log1p(-wrong)
error_pseudo = (log_right.var(1).mean().item() / (4 * len(sample))) ** 0.5
error_pixels = (wrong * (1 - wrong)).sum().item() ** 0.5 / len(sample)
name = "log-likelihood by AIS (nats)"
checks.close("without weights, " + name, seen[name], baseline, rtol=1e-5)
name = "pseudo-likelihood (nats)"
checks.unbiased("without weights, " + name, seen[name], log_right.mean(), error_pseudo)
name = "reconstruction error (pixels)"
checks.unbiased(
    "without weights, " + name, seen[name], wrong.sum(1).mean(), error_pixels
)

# %%
pcd, pcd_particles, pcd_history = train_and_watch("PCD-1", persistent=True)
cd, cd_samples, cd_history = train_and_watch("CD-1", persistent=False)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Three monitors and the log-likelihood of test images estimated by AIS, for the same machine trained by PCD-1 and by CD-1. Only the last one is a likelihood.", "name": "fig-rbm-monitors"}, "image": {"alt": "Four panels over epochs with one curve for PCD-1 and one for CD-1. The free energy difference is negative and jumps. The reconstruction errors fall together. The pseudo-likelihoods cross and scatter. The log-likelihood by AIS rises to about minus 92 for PCD-1 and stays below minus 115 for CD-1."}}
fig, axes = plt.subplots(2, 2, figsize=(7.4, 5.2), sharex=True)
for ax, name in zip(axes.flat, pcd_history[P.epochs], strict=True):
    for label, history in (("PCD-1", pcd_history), ("CD-1", cd_history)):
        ax.plot(
            list(history), [row[name] for row in history.values()], "o-", label=label
        )
    ax.set(ylabel=name)
axes[0, 0].legend()
for ax in axes[1]:
    ax.set(xlabel="epoch")

# %% [markdown]
r"""
What you should see: by the reconstruction error the two machines are alike, and by the likelihood one of them is worse by more than ten nats; both are checked below.
CD-1 makes the neighbourhood of the data right, which is all that one sweep sees; far from the data it has left probability that no sample ever visited.
"""

# %% [markdown]
r"""
Now the number of this lecture, with everything that belongs to it: the temperatures, the chains, the effective sample size, and the second estimate from the other side.
The reverse chains start from the last samples of the training after many more sweeps; these are good samples and no exact ones, so that the reverse number is an estimate and no bound.
"""


# %%
def report(name, algorithm, rbm, samples, **published):
    """Record the test log-likelihood by AIS and by reverse AIS; return both."""
    free_energy = rbm.free_energy(x_test)
    v = next(islice(gibbs(rbm, samples), P.gibbs_steps - 1, None))
    runs = {"AIS": None, f"reverse AIS from samples after {P.gibbs_steps:,} sweeps": v}
    for suffix, (method, start) in zip(("", "_reverse"), runs.items(), strict=True):
        log_z, error, ess = ais(
            rbm, base_bias, num_betas=P.num_betas, model_samples=start
        )
        print(f"{algorithm}: log Z {log_z:.2f}, effective sample size {ess:.0f} of 100")
        yield run.record(
            name + suffix,
            -free_energy.mean() - log_z,
            unit="nats",
            standard_error=math.hypot(standard_error_of_mean(free_energy), error),
            protocol=f"{P.num_hidden} hidden, centred {algorithm}, {P.epochs} epochs, rate 0.1 to 0, "
            f"static stochastic binarisation, {len(x_train):,} training images, all test "
            f"images, {method} with {P.num_betas:,} temperatures, 100 chains",
            **published,
        )


pcd_forward, pcd_reverse = report(
    "rbm500_test_log_likelihood",
    "PCD-1",
    pcd,
    pcd_particles,
    published=-86.34,
    source="Salakhutdinov and Murray 2008: CD-25",
)
cd_forward, cd_reverse = report(
    "rbm500_cd1_test_log_likelihood",
    "CD-1",
    cd,
    cd_samples,
    published=-125.53,
    source="Salakhutdinov and Murray 2008: CD-1",
)

# %% tags=["check"]
checks.at_most(
    "log-probabilities of binary images",
    [pcd_forward, pcd_reverse, cd_forward, cd_reverse],
    0,
)
if run.on_mnist and run.profile != "smoke":
    name = "reconstruction error (pixels)"
    ratio = cd_history[P.epochs][name] / pcd_history[P.epochs][name]
    checks.at_most(
        "relative difference of the reconstruction errors", abs(ratio - 1), 0.1
    )
    checks.at_least("nats by which PCD-1 is better", pcd_forward - cd_forward, 10)
if run.on_mnist and run.profile == "quick":
    checks.at_least("test log-likelihood, 500 hidden units, PCD-1", pcd_forward, -97.0)
if run.on_mnist and run.profile == "full":
    checks.at_least("test log-likelihood, 500 hidden units, PCD-1", pcd_forward, -86.4)
    checks.at_most(
        "difference between the two directions", abs(pcd_forward - pcd_reverse), 1.5
    )

# %% [markdown]
r"""
The published $-86.34$ is that of CD-25; how near 300 epochs of PCD-1 come stands under the full profile on the [results page](../book/results.md).

## What the hidden units look at

Each column of $W$ is a picture: where its expert in {eq}`eq-rbm-experts` votes for ink (red) and against it (blue).
Look for small regions with both colours side by side: an edge, a gap, the end of a stroke.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Weights of the first 60 hidden units after PCD training, one colour scale for all: ink on red raises and ink on blue lowers the probability that the unit is on.", "name": "fig-rbm-filters"}, "image": {"alt": "A grid of sixty small pictures with red and blue spots and short strokes, most of them local and with both colours side by side, on pale and noisy ground."}}
_ = plotting.image_grid(pcd.W.T[:60].cpu(), columns=12, symmetric=True)
# %% [markdown]
r"""
## Fantasies

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the two pictures at its end.
```

**A generative model is judged by what it produces when the data are taken away.**
We start chains from noise, each pixel on with probability one half, and show them after 1, 10 and many sweeps: not the binary $v$, but the smoother $p(v \mid \hat h)$.
Nothing is chosen by hand: these are the first chains of a fixed seed.
"""


# %%
@torch.no_grad()
def fantasies(rbm, num_chains, sweeps):
    """Pixel probabilities after each number of `sweeps`, chains started from noise."""
    chain = gibbs(
        rbm, torch.bernoulli(torch.full((num_chains, 784), 0.5, device=run.device))
    )
    frames = []
    for done in range(1, max(sweeps) + 1):
        v = next(chain)
        if done in sweeps:
            mean = torch.sigmoid(
                rbm.visible_logits(torch.sigmoid(rbm.hidden_logits(v)))
            )
            frames.append(mean.reshape(-1, 28, 28).cpu().numpy())
    return frames


milestones = sorted({1, 10, P.gibbs_steps})
pcd_frames, cd_frames = (fantasies(pcd, 24, milestones), fantasies(cd, 24, milestones))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Chains from noise after 1, 10 and many sweeps (left to right). Top: the machine trained by PCD. Bottom: the one trained by CD-1, which fails.", "name": "fig-rbm-fantasies"}, "image": {"alt": "Two rows of three grids of twenty-four images. After one and ten sweeps both machines show thick broken strokes. After many sweeps the top row, PCD, shows mostly readable digits, some kinds more often than others; the bottom row, CD-1, has lost nearly all its ink."}}
fig, axes = plt.subplots(2, 3, figsize=(7.4, 3.9))
for row, (label, frames) in zip(
    axes, (("PCD-1", pcd_frames), ("CD-1", cd_frames)), strict=True
):
    for ax, sweeps, images in zip(row, milestones, frames, strict=True):
        plotting.image_grid(images, columns=6, ax=ax)
        ax.set_title(f"{label}, {sweeps} sweep{'s' * (sweeps > 1)}", fontsize=10)

# %% [markdown]
r"""
From noise, the chains of the PCD machine find digits.
Those of the CD-1 machine end in a place that one sweep from the data never reached: nearly empty paper.
"""

# %% tags=["check"]
if run.on_mnist and run.profile == "quick":
    ink = x_test.mean().item()
    checks.at_least(
        "ink of the PCD chains, over that of the data", pcd_frames[-1].mean() / ink, 0.5
    )
    checks.at_most(
        "ink of the CD-1 chains, over that of the data", cd_frames[-1].mean() / ink, 0.5
    )

# %% [markdown]
r"""
Press play, or move the slider, and watch single chains: which of them walk from one digit to another, and which stay?
"""

# %% tags=["plot"] mystnb={"figure": {"caption": "Sixteen chains of the machine trained by PCD, from noise; the steps between the frames grow.", "name": "fig-rbm-film"}}
shown = sorted({round(P.gibbs_steps ** (i / 27)) for i in range(28)})
film_frames = [plotting.tile(frame, columns=8) for frame in fantasies(pcd, 16, shown)]
plotting.film(
    film_frames,
    labels=[f"{sweeps} sweep{'s' * (sweeps > 1)}" for sweeps in shown],
    alt="Sixteen pictures that begin as broken strokes, become digits, and turn from one digit into another.",
)

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} Does the gradient need a detach?
:label: ex-rbm-detach
```
Programs for RBMs often call `backward` on $F(v) - F(v_1)$ with $v_1$ computed from the parameters, without detaching $v_1$.
Write `detach_matters(step)`: the largest difference in the gradient with respect to $W$ of $\langle F(v) \rangle - \langle F(v_1) \rangle$ with and without `v_1.detach()`.
Take `rbm = machine_with_gradients()`, a copy of `tiny`, and `v_1 = step(rbm)`; the means are over all 64 states `V`, and both times the same random numbers are to be used (`torch.manual_seed`).
What do you find for binary samples, what for probabilities in their place, and why?
```{exercise-end}
```
"""


# %%
def machine_with_gradients():
    rbm = RBM(6, 4).double()
    rbm.load_state_dict(tiny.state_dict())
    return rbm


def binary_step(rbm):
    h = torch.bernoulli(torch.sigmoid(rbm.hidden_logits(V)))
    return torch.bernoulli(torch.sigmoid(rbm.visible_logits(h)))


def mean_field_step(rbm):
    return torch.sigmoid(rbm.visible_logits(torch.sigmoid(rbm.hidden_logits(V))))


# %% tags=["exercise"]
def detach_matters(step):
    return None


# %% tags=["check"]
def check_detach(answer):
    if answer(binary_step) is None:
        return print("not yet")
    checks.close("binary samples: detaching changes nothing", answer(binary_step), 0.0)
    checks.at_least(
        "probabilities: detaching changes the gradient by",
        answer(mean_field_step),
        0.01,
    )
    return print("right")


check_detach(detach_matters)

# %% [markdown]
r"""
````{solution-start} ex-rbm-detach
:class: dropdown
````
"""


# %% tags=["solution"]
def detach_matters(step):
    gradients = []
    for detach in (False, True):
        rbm = machine_with_gradients()
        torch.manual_seed(run.seed)  # the same samples both times
        v_1 = step(rbm)
        v_1 = v_1.detach() if detach else v_1
        (rbm.free_energy(V).mean() - rbm.free_energy(v_1).mean()).backward()
        gradients.append(rbm.W.grad)
    return (gradients[0] - gradients[1]).abs().max().item()


check_detach(detach_matters)

# %% [markdown]
r"""
A binary sample is a step function of the logits, whose derivative is zero wherever it exists: the graph is there, it costs time, and nothing flows through it.
Probabilities are smooth functions of the parameters, so that without the detach another, wrong, gradient is followed.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} CD-1 follows no gradient
:label: ex-rbm-no-gradient
```
If a vector field is the gradient of a function, its Jacobian is symmetric {cite:p}`sutskever2010`.
Write `asymmetry(field)`: the largest component of the Jacobian minus its transpose at the parameters of `tiny`, by central differences with a step of $10^{-5}$, where `field(rbm)` returns all updates as one vector.
Compare the exact gradient with the expected CD-1 update.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def asymmetry(field):
    return None


# %% tags=["check"]
def exact_field(rbm):
    return flat(phase_gradient(rbm, V, p_data - probabilities(rbm)))


def check_asymmetry(answer):
    if answer(exact_field) is None:
        return print("not yet")
    num_weights = len(exact_field(tiny))
    turn = 3 * torch.ones(num_weights, num_weights, dtype=V.dtype).triu(1)
    known = answer(lambda rbm: turn @ nn.utils.parameters_to_vector(rbm.parameters()))
    checks.close("asymmetry of a known field", known, 3.0, rtol=1e-6)
    checks.at_most("asymmetry of the exact gradient", answer(exact_field), 1e-8)
    checks.at_least("asymmetry of CD-1", answer(lambda rbm: expected_cd(rbm, 1)), 1e-3)
    return print("right")


check_asymmetry(asymmetry)

# %% [markdown]
r"""
````{solution-start} ex-rbm-no-gradient
:class: dropdown
````
"""


# %% tags=["solution"]
def asymmetry(field, step=1e-5):
    rbm = machine_with_gradients().requires_grad_(False)
    theta = nn.utils.parameters_to_vector(rbm.parameters())

    def at(point):
        nn.utils.vector_to_parameters(point, rbm.parameters())
        return field(rbm)

    shifts = step * torch.eye(len(theta), dtype=theta.dtype)
    jacobian = torch.stack(
        [(at(theta + shift) - at(theta - shift)) / (2 * step) for shift in shifts]
    )
    return (jacobian - jacobian.T).abs().max().item()


check_asymmetry(asymmetry)

# %% [markdown]
r"""
The exact field is a gradient, to the accuracy of the differences.
The CD-1 field is not: there is no function that CD-1 climbs, and a "loss" that a program prints for it is something else.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Another path for AIS
:label: ex-rbm-path
```
Temper the weights alone: $f_\beta(v) = \sum_h e^{b \cdot v + c \cdot h + \beta v^\top W h}$.
Write `log_ratio_of(rbm, v, old, new)`, the logarithm of $f_\text{new}(v) / f_\text{old}(v)$ for each row of `v`, without a sum over $h$.
And what is $Z_0$ on this path? (The solution says.)
```{exercise-end}
```
"""


# %% tags=["exercise"]
def log_ratio_of(rbm, v, old, new):
    return None


# %% tags=["check"]
def check_path(answer):
    if answer(tiny, V, 0.3, 0.4) is None:
        return print("not yet")

    def log_f(beta):
        return torch.logsumexp(
            (V @ tiny.b)[:, None] + all_h @ tiny.c + beta * (V @ tiny.W @ all_h.T), 1
        )

    checks.close(
        "log f_0.4 - log f_0.3 for all 64 states",
        answer(tiny, V, 0.3, 0.4),
        log_f(0.4) - log_f(0.3),
        atol=1e-12,
    )
    return print("right")


check_path(log_ratio_of)

# %% [markdown]
r"""
````{solution-start} ex-rbm-path
:class: dropdown
````
"""


# %% tags=["solution"]
def log_ratio_of(rbm, v, old, new):
    field = v @ rbm.W
    return (F.softplus(rbm.c + new * field) - F.softplus(rbm.c + old * field)).sum(-1)


check_path(log_ratio_of)

# %% [markdown]
r"""
The factor $e^{b \cdot v}$ is in both and cancels.
At $\beta = 0$ all units are independent:

$$
\log Z_0 = \sum_i \log(1 + e^{b_i}) + \sum_j \log(1 + e^{c_j}) .
$$

````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Bars and stripes
:label: ex-rbm-bars
```
On a 4 x 4 grid, a pattern of *bars* has each column all on or all off, a pattern of *stripes* each row.
Write `bars_and_stripes()`, the distinct patterns as a tensor of shape (number of patterns, 16), zeros and ones in double precision.
The check trains a machine with 12 hidden units on them.
No model can have a mean log-likelihood above $-\log 30$ here: why 30, and how close does it get?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def bars_and_stripes():
    return None


# %% tags=["check"]
def check_bars(answer):
    patterns = answer()
    if patterns is None:
        return print("not yet")
    patterns = torch.as_tensor(patterns, dtype=torch.float64)
    checks.true("shape (30, 16)", patterns.shape == (30, 16))
    checks.true("zeros and ones", bool(((patterns == 0) | (patterns == 1)).all()))
    patterns = torch.unique(patterns, dim=0)  # their order must not matter below
    checks.close("number of distinct patterns", len(patterns), 30)
    grids = patterns.reshape(-1, 4, 4)
    is_stripe, is_bar = (
        (grids == grids[:, :, :1]).all((1, 2)),
        (grids == grids[:, :1]).all((1, 2)),
    )
    checks.true("each is made of bars or of stripes", bool((is_stripe | is_bar).all()))
    torch.manual_seed(run.seed)
    rbm = RBM(16, 12, std=0.1).double().requires_grad_(False)
    list(
        train(rbm, patterns.repeat(100, 1), epochs=30, batch_size=60, learning_rate=0.2)
    )
    log_likelihood = exact_log_likelihood(rbm, patterns).mean()
    checks.at_most("exact mean log-likelihood", log_likelihood, -math.log(30))
    checks.at_least("exact mean log-likelihood", log_likelihood, -math.log(30) - 1)
    return print("right")


check_bars(bars_and_stripes)

# %% [markdown]
r"""
````{solution-start} ex-rbm-bars
:class: dropdown
````
"""


# %% tags=["solution"]
def bars_and_stripes():
    stripes = all_states(4)[:, :, None].expand(16, 4, 4)
    both = torch.cat([stripes, stripes.transpose(1, 2)])
    return torch.unique(both.reshape(32, 16), dim=0)


check_bars(bars_and_stripes)

# %% [markdown]
r"""
There are 16 patterns of each kind, and all on and all off are both: 30 remain.
By Gibbs' inequality the mean of $\log p$ over 30 equally frequent patterns is largest when each has probability 1/30.
The machine stays half a nat to a nat below: some probability is left between the patterns.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. Energy, free energy and conditionals, {eq}`eq-rbm-energy` to {eq}`eq-rbm-conditionals`, agree with sums over all states to twelve digits.
2. The learning rule is {eq}`eq-rbm-gradient`, from {eq}`eq-rbm-log-z`; the bias of CD-k is known exactly on a small machine and dies as $\lambda_2^k$ ({numref}`fig-rbm-bias`).
3. `train` holds the whole algorithm, CD-1, CD-k and PCD.
4. The recorded numbers stand on the [results page](../book/results.md) beside the published ones.
5. Centring makes the step independent of the names of the colours ({numref}`fig-rbm-centring`).

**What comes next:** [the same machine in Keras](rbm_keras.ipynb); then [Langevin sampling](langevin.ipynb) in place of Gibbs sampling, and [a neural network for the energy](energy_models.ipynb).

**Reading:** {cite:t}`hinton2010` for practical advice; {cite:t}`fischer2014`, sections 3 to 5, for the proofs; {cite:t}`bengio2009` and {cite:t}`hinton2006` for stacks of these machines; {cite:t}`nair2010` for other hidden units.
The code of the sources is critically read on the [errata page](../book/errata.md).
"""

# %%
run.finish()

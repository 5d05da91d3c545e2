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

Two layers of on-off units and one matrix between them are enough to learn what handwritten digits look like, and to draw new ones from noise.
You will train such a machine without automatic differentiation, and measure in nats how good it is: exactly where that is possible, and with an estimate that can fail where it is not.

```{opening} fig-rbm-film
Sixteen Markov chains of the machine that this page trains, from one sweep after pure noise on. Watch strokes become digits.
```

At the end of this lecture you will be able to

1. write down the energy, the free energy and the conditional probabilities of a binary restricted Boltzmann machine, and check each against a sum over all states;
2. derive the learning rule as a difference of two phases, and say, on a small machine exactly, how wrong contrastive divergence is;
3. train a machine with 500 hidden units on MNIST;
4. give its log-likelihood in nats, exactly for 16 hidden units and by annealed importance sampling for 500;
5. say when that estimate is wrong although its error bar is small and both of its directions agree.

- **You need** [Boltzmann machines](boltzmann_machines.ipynb) or probability with sums over states, the sigmoid $\sigma(a) = 1/(1 + e^{-a})$, matrix products, some PyTorch.
- **Sources:** {cite:t}`smolensky1986`, who had the machine first; {cite:t}`hinton2002`, {cite:t}`tieleman2008` and {cite:t}`salakhutdinov2008` for the three algorithms; {cite:t}`fischer2014` for a longer introduction.
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
from torch import nn
from torch.nn.functional import logsigmoid, softplus

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

MNIST {cite:p}`lecun1998` has 60,000 training and 10,000 test images of 28 x 28 grey pixels.
We make each pixel 0 or 1 once, with its grey value as the probability of a 1, and keep that draw: the *static stochastic* version of MNIST, one of several, on which likelihoods depend.
"""


# %% tags=["hide-input"]
# The data, black and white
def binary(part, method="stochastic"):
    """The first images of a part of the data, black and white, on the device."""
    images = dgm.data.binarise(run.data.vectors(part), method=method, rng=run.rng)
    return torch.from_numpy(images[: P.num_images]).to(run.device)


x_train, x_test = binary("train+valid"), binary("test")

# %% [markdown]
r"""
The simplest model has one probability per pixel.
**It is on average right about every pixel and wrong about every digit: what it lacks is dependence.**
"""


# %% tags=["hide-input"]
# Independent pixels: their biases, and the likelihood of each test image
def logit_of_mean(x):
    """Logits of the pixel means; a pixel that is never on gets a small probability."""
    return torch.logit(x.mean(0).clamp(1 / len(x), 1 - 1 / len(x)))


def standard_error(x):
    return x.std() / len(x) ** 0.5


base_bias = logit_of_mean(x_train)
independent = x_test @ base_bias - softplus(base_bias).sum()  # log p of each image

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: binarised test images. Right: samples of the model with independent pixels, whose pixel means are those of the data.", "name": "fig-rbm-problem"}, "image": {"alt": "Two grids of black and white pictures. On the left 32 handwritten digits, on the right 32 clouds of dots, dense in the middle and empty at the border, none of which looks like a digit."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8))
plotting.image_grid(x_test[:32].cpu(), columns=8, ax=left)
_ = plotting.image_grid(
    torch.bernoulli(torch.sigmoid(base_bias).expand(40, -1))[:32].cpu(),
    columns=8,
    ax=right,
)

# %% tags=["hide-input"]
# Two recorded numbers: where a model starts, and what none can pass
baseline = run.record(
    "independent_pixels_test_log_likelihood",
    independent.mean(),
    unit="nats",
    standard_error=standard_error(independent),
    protocol=f"means of {len(x_train):,} training images, static stochastic binarisation, "
    "all test images",
)
grey = torch.from_numpy(run.data.vectors("test"))
coin_flips = torch.distributions.Bernoulli(probs=grey).entropy().sum(1)  # H(x | grey)
ceiling = -run.record(
    "binarisation_entropy_test",
    coin_flips.mean(),
    unit="nats",
    standard_error=standard_error(coin_flips),
    protocol="entropy of the coin flips that binarise a grey image, all test images",
)

# %% tags=["check"]
# Were the pixels drawn with the grey values as probabilities, log p under those
# probabilities has minus the entropy as its mean.
log_p_grey = torch.distributions.Bernoulli(probs=grey).log_prob(x_test.cpu()).sum(1)
checks.unbiased(
    "binarised pixels are on with their grey value as probability",
    log_p_grey + coin_flips,
    0.0,
)
if run.on_mnist:
    checks.close("entropy of the coin flips, 45.5 nats", -ceiling, 45.5, atol=0.05)
    checks.close("independent pixels: -206 nats", baseline, -206, atol=0.5)
numbers = torch.arange(100.0)  # their variance is 100 x 101 / 12
checks.close(
    "standard error of the mean of 0 ... 99",
    standard_error(numbers),
    (100 * 101 / 12) ** 0.5 / 10,
    rtol=1e-6,
)

# %% [markdown]
r"""
The score of a model is the mean of $\log p(v)$ over the test images, in *nats*; independent pixels reach about $-206$, and each nat above it is dependence that a model has found.
Our own coin flips decided the grey pixels, and no model can predict a coin: averaged over the flips, its log-likelihood is at most minus their entropy, $-45.5$ nats on the test images.

```{dropdown} A one-minute question: how many numbers would a table of the probabilities of all images need?
$2^{784} - 1$, more than $10^{236}$.
The machine below has $784 \cdot 500$ weights and 1,284 biases, fewer than 400,000 numbers.
```

## An energy without connections inside a layer

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the class `RBM` and its `free_energy`.
```

**A restricted Boltzmann machine couples every pixel to every hidden unit, and nothing else.**
Visible units $v \in \{0, 1\}^{784}$ are the pixels, hidden units $h \in \{0, 1\}^H$ are detectors that are never observed; $W$ couples the two, $b$ and $c$ are their biases:

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

No two hidden units are joined, so the sum over all $2^H$ hidden states is a product of $H$ sums of two terms.
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


# %% tags=["twin:dgm.models.rbm.RBM", "method"]
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
        return -(v @ self.b) - softplus(self.hidden_logits(v)).sum(-1)


# %% [markdown]
r"""
```{margin}
**A common mistake:** `x.exp().add(1).log()` in place of `softplus(x)`, which is $\log(1 + e^x)$.
In single precision it is infinite above 88.7 and exactly zero below -17.
```

With 6 visible and 4 hidden units there are 64 x 16 states, and we can list them all.
On such a machine every formula of this lecture is a finite sum, and we check it there before we trust it with 784 pixels.
"""


# %% tags=["twin:dgm.models.rbm.all_states"]
def all_states(num_units, *, device="cpu", dtype=torch.float64):
    rows = torch.arange(2**num_units, device=device)
    return (rows[:, None] >> torch.arange(num_units, device=device) & 1).to(dtype)


# %% tags=["hide-input"]
# A machine of 6 + 4 units, and the probabilities of its 64 visible states
def small_machine(strength, num_visible=6, num_hidden=4):
    """Gaussian weights and biases of standard deviation `strength`, double precision."""
    rbm = RBM(num_visible, num_hidden).double()
    for parameter in rbm.parameters():
        nn.init.normal_(parameter, std=strength)
    return rbm.requires_grad_(False)


tiny = small_machine(1.5)  # large weights: small ones hide mistakes
V, all_h = all_states(6), all_states(4)
joint = torch.exp(-tiny.energy(V[:, None], all_h[None]))  # e^-E of every pair, (64, 16)
p_v = joint.sum(1) / joint.sum()

# %% tags=["check"]
checks.close(
    "free energy = minus log of the sum over h",
    tiny.free_energy(V),
    -joint.sum(1).log(),
    atol=1e-12,
)
checks.close(
    "p(h|v) by Bayes' rule",
    torch.sigmoid(tiny.hidden_logits(V)),
    joint @ all_h / joint.sum(1)[:, None],
    atol=1e-12,
)
checks.close(
    "p(v|h) by Bayes' rule",
    torch.sigmoid(tiny.visible_logits(all_h)),
    joint.T @ V / joint.sum(0)[:, None],
    atol=1e-12,
)
checks.normalised("p(v) = exp(-F) / Z", -tiny.free_energy(V) - joint.sum().log())
numbers = torch.cat([parameter.flatten() for parameter in tiny.parameters()])
rms = numbers.square().mean().sqrt()  # of 34 normal numbers: error 1.5 / sqrt(2 x 34)
checks.close("its weights are of size 1.5", rms, 1.5, atol=5 * 1.5 / 68**0.5)
a = torch.tensor([-20.0, 89.0])
naive = a.exp().add(1).log()
checks.true(
    "log(1 + exp(x)) in single precision: 0 at -20, infinite at 89",
    naive[0] == 0 and naive[1].isinf(),
)
checks.close(
    "softplus at -20 and 89", softplus(a), [math.log1p(math.exp(-20)), 89], rtol=1e-6
)

# %% [markdown]
r"""
Read the other way, the free energy makes $p(v)$ a **product of experts** {cite:p}`hinton2002`, $e^{b \cdot v}$ times a factor $1 + e^{c_j + (v^\top W)_j}$ for each hidden unit.
Each hidden unit multiplies the unnormalised probability of images that its weights agree with, and leaves the others alone.
Products can be sharper than each factor; a mixture, which adds its experts, can't be.

```{dropdown} A one-minute question: what does the machine become when all weights are zero?
The model of independent pixels: $F(v) = -b \cdot v$ plus a constant.
Training starts close to there; exactly there all hidden units would get the same gradient, and never differ.
```

## Gibbs sampling: hidden, visible, hidden, visible

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: `v_to_h`, `h_to_v` and `forward`.
```

**One layer given the other is a product, so a whole layer is sampled in one line.**
Alternating the two lines of {eq}`eq-rbm-conditionals` is *block Gibbs sampling*.
If $v$ and $h$ follow $p(v, h)$, they do so after one *sweep*, $h$ given $v$ and then $v$ given $h$, too, and in the long run the chain forgets any start.
"""


# %% tags=["twin:dgm.models.rbm.sample_bernoulli"]
def sample_bernoulli(logits, *, generator=None):
    uniform = torch.rand(
        logits.shape, generator=generator, device=logits.device, dtype=logits.dtype
    )
    return (uniform < torch.sigmoid(logits)).to(logits.dtype)


# %% tags=["twin:dgm.models.rbm.gibbs", "method"]
@torch.no_grad()
def gibbs(rbm, v, *, generator=None):
    while True:
        h = sample_bernoulli(rbm.hidden_logits(v), generator=generator)
        v = sample_bernoulli(rbm.visible_logits(h), generator=generator)
        yield v


# %% [markdown]
r"""
How long does that take?
We watch a small magnet: every visible unit pulls every hidden unit with the same strength $J$, and biases of $-2J$ and $-3J$ make the energy the same when all ten units are flipped.
For large $J$ nearly all probability sits on "all on" and "all off", half on each.
"""


# %% tags=["hide-input"]
# Three magnets
def magnet(J):
    """Equal couplings J, 6 + 4 units; flipping all units changes no energy."""
    rbm = RBM(6, 4).double().requires_grad_(False)
    for parameter, value in zip(rbm.parameters(), (J, -2 * J, -3 * J), strict=True):
        parameter.fill_(value)
    return rbm


magnets = {J: magnet(J) for J in (0.3, 0.8, 1.5)}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One Gibbs chain of the six visible units over 150 sweeps, from left to right, for three couplings J; black is on. The weak magnet forgets at once, the strong one stays where it is for a long time.", "name": "fig-rbm-mixing"}, "image": {"alt": "Three strips of six rows. For the weakest coupling black and white change from column to column. For the middle one there are stretches that are mostly black or mostly white. For the strongest nearly all columns of a long stretch are equal."}}
fig, axes = plt.subplots(3, 1, figsize=(7.0, 1.8), sharex=True)
for ax, (J, rbm) in zip(axes, magnets.items(), strict=True):
    chain = torch.cat(list(islice(gibbs(rbm, V[:1]), 150)))
    ax.imshow(chain.T, aspect="auto")
    ax.set(yticks=[])
    ax.set_ylabel(f"J = {J}", rotation=0, ha="right", va="center")
    ax.grid(visible=False)
_ = axes[-1].set(xlabel="sweep")

# %% [markdown]
r"""
The strong magnet seldom crosses between its two modes, perhaps never in these 150 sweeps.
Digits are modes too, and most of the difficulties below are this slow *mixing*.

## Learning is a difference of two phases

```{margin}
**In the sources.** Oslo, 30 April, *Expression for the gradients* to *Final expression*.
```

**The gradient pushes the free energy down on data, and up on what the model itself produces.**
To maximise the mean log-likelihood is to minimise the divergence $\mathrm{KL}(p_\text{data} \Vert p)$, as for every model of this book.
The log-likelihood is $\log p(v) = -F(v) - \log Z$, and the gradient of $\log Z$ is a mean over the model:

$$
\nabla \log Z = \frac{1}{Z} \sum_v \nabla e^{-F(v)} = \langle -\nabla F \rangle_\text{model} .
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

Both phases are one weighted sum $\sum_n w_n \nabla(-F(v_n))$, weights $+1/N$ on $N$ images, $-1/M$ on $M$ samples of the model: two lines of code, without automatic differentiation.
"""


# %% tags=["twin:dgm.models.rbm.phase_gradient", "method"]
@torch.no_grad()
def phase_gradient(rbm, v, weights):
    weighted_h = weights[:, None] * torch.sigmoid(rbm.hidden_logits(v))
    return v.T @ weighted_h, weights @ v, weighted_h.sum(0)


# %% tags=["check"]
# Something to learn from: mostly few pixels on.
p_data = torch.softmax(torch.randn(64, dtype=torch.float64) - V.sum(1), 0)


def flat(gradient):
    return torch.cat([part.flatten() for part in gradient])


def mean_log_likelihood(rbm):
    return -(p_data @ rbm.free_energy(V)) - torch.logsumexp(-rbm.free_energy(V), 0)


tiny.requires_grad_(True)
by_autograd = torch.autograd.grad(mean_log_likelihood(tiny), list(tiny.parameters()))
tiny.requires_grad_(False)
checks.close(
    "gradient of the exact log-likelihood, against autograd",
    flat(phase_gradient(tiny, V, p_data - p_v)),
    flat(by_autograd),
    atol=1e-12,
)

# %% [markdown]
r"""
**Where all states can be listed, the gradient can be followed as it stands, and the machine learns.**
The small machine gets data of its own, probabilities of its 64 states drawn at random and larger where few pixels are on, and takes 3,000 steps $\theta \leftarrow \theta + \tfrac12 \nabla \langle \log p \rangle_\text{data}$.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The small machine (orange) learns the probabilities of its 64 states in the data (blue) by the exact gradient.", "name": "fig-rbm-exact-gradient"}, "image": {"alt": "Two panels with the same blue curve, which falls over two decades. On the left the orange dots of the machine are scattered and bear no relation to it. On the right, after training, they lie about it."}}
with torch.random.fork_rng(devices=[]):  # what follows draws the same numbers
    pupil = RBM(6, 4).double().requires_grad_(False)
pupil.load_state_dict(tiny.state_dict())
divergence, order = [], p_data.argsort(descending=True)
fig, axes = plt.subplots(1, 2, figsize=(6.4, 1.9), sharey=True)
for step in range(3001):
    log_p = -pupil.free_energy(V)
    log_p -= torch.logsumexp(log_p, 0)
    divergence.append(p_data @ (p_data.log() - log_p))
    if step in (0, 3000):
        ax = axes[step // 3000]
        ax.semilogy(p_data[order], lw=3, color=plotting.COLOURS[0])
        ax.plot(log_p[order].exp(), "o", ms=3, color=plotting.COLOURS[1])
        ax.set(xlabel="state", title=f"{step:,} steps: KL {divergence[-1]:.2f} nats")
    gradient = phase_gradient(pupil, V, p_data - log_p.exp())
    for parameter, uphill in zip(pupil.parameters(), gradient, strict=True):
        parameter += 0.5 * uphill
_ = axes[0].set(ylabel="probability", ylim=(1e-4, 0.3))

# %% tags=["check"]
falls = torch.stack(divergence).diff()
checks.at_most("the divergence falls in each of 3,000 exact steps", falls.max(), 0)
checks.at_most("guard: nats left after them", divergence[-1], 0.5)

# %% [markdown]
r"""
```{dropdown} A one-minute question: when is this gradient zero?
When data and model agree on the means of $v_i \hat h_j$, $v_i$ and $\hat h_j$.
The model may still differ from the data in everything else.
```

## Contrastive divergence, and exactly how wrong it is

```{margin}
**In the sources.** CS236 notes, *Energy based models*, the contrastive divergence algorithm.
```

**The negative phase needs samples of the model; contrastive divergence starts at the data and takes $k$ sweeps.**

```{figure} ../figures/rbm_chain.svg
:name: fig-rbm-chain
:alt: Circles joined by arrows that go up and down between two rows, v zero, h zero, v one, h one, and so on to v k; two arrows are one sweep. A dashed arrow, new data, leads to v zero, under which stands positive phase, lower F here. Under v k stands negative phase, raise F here; a dashed arrow leads on from it with the words, PCD, the next step goes on.
:width: 620px

One step of CD-k. CD starts the chain at the data of each step; PCD takes new data too, but its chain goes on where the last step ended.
```

- **CD-k** {cite:p}`hinton2002`: $k$ sweeps from the data of this step; CD-1 is the cheapest.
- **PCD**, persistent contrastive divergence {cite:p}`tieleman2008`: never start the chain again. The positive phase still takes new data; only the negative phase goes on from its last samples. The parameters change slowly, so that the chain nearly keeps up. (The replay buffer of [deep energy models](energy_models.ipynb) is the same idea, with some chains started again from noise.) In statistics this is Younes's stochastic maximum likelihood {cite:p}`younes1989,younes1999`.

On the small machine, with its data, and on the magnets all of this is a finite sum.
One sweep is a matrix of transition probabilities, $T(v \to v') = \sum_h p(h \mid v)\, p(v' \mid h)$, and after $k$ sweeps from the data the distribution is $p_\text{data} T^k$.
So the *expected* CD-k update is `phase_gradient` again, with other weights:

$$
\langle \text{CD-}k \rangle = \sum_v \bigl(p_\text{data} - p_\text{data} T^k\bigr)(v)\, \bigl(-\nabla F(v)\bigr) .
$$ (eq-rbm-cd)

In the exact gradient $p$ stands in place of $p_\text{data} T^k$; the bias is the difference, $\sum_v (p - p_\text{data} T^k)(v)\, (-\nabla F(v))$.
How fast does it vanish?
$T$ is in *detailed balance* with $p$, $p(v)\, T(v \to v') = p(v')\, T(v' \to v)$, so its eigenvalues are real; none is negative, because $\sqrt{p(v) / p(v')}\; T(v \to v')$, which has the same ones, is $A A^\top$ with $A_{vh} = p(v, h) / \sqrt{p(v)\, p(h)}$.
The largest is 1 and belongs to $p$; after many sweeps what is left of the start shrinks by the second largest, $\lambda_2$, per sweep.
Bounds on the bias are known for large machines too {cite:p}`carreira2005,fischer2014`.
"""


# %%
def probabilities(rbm):
    """p(v) for every v in the order of `all_states`."""
    return torch.softmax(-rbm.free_energy(all_states(len(rbm.b))), 0)


def transition_matrix(rbm):
    """T of shape (2^D, 2^D) and its eigenvalues, the largest first."""
    num_visible, num_hidden = rbm.W.shape
    v, h = all_states(num_visible), all_states(num_hidden)

    def table(logits, states):  # probability of each state, for each row of logits
        return torch.exp(logits @ states.T - softplus(logits).sum(-1, keepdim=True))

    T = table(rbm.hidden_logits(v), h) @ table(rbm.visible_logits(h), v)
    root = probabilities(rbm).sqrt()
    symmetric = root[:, None] * T / root  # has the eigenvalues of T
    return T, torch.linalg.eigvalsh((symmetric + symmetric.T) / 2).flip(0)


def expected_cd(rbm, k):
    """Expected CD-k update on `p_data`, all parameters in one vector."""
    T, _ = transition_matrix(rbm)
    after = p_data @ torch.linalg.matrix_power(T, k)
    return flat(phase_gradient(rbm, V, p_data - after))


def cd_bias(rbm, k):
    """|E[CD-k] - gradient| / |gradient|."""
    exact = flat(phase_gradient(rbm, V, p_data - probabilities(rbm)))
    return ((expected_cd(rbm, k) - exact).norm() / exact.norm()).item()


ks = range(1, 21)
biases = {J: [cd_bias(rbm, k) for k in ks] for J, rbm in magnets.items()}

# %% tags=["check"]
T, eigenvalues = transition_matrix(tiny)
flow = p_v[:, None] * T
checks.close("T is in detailed balance with p(v)", flow, flow.T, atol=1e-14)
checks.close("T leaves p(v) as it is", p_v @ T, p_v, atol=1e-14)
checks.at_least("no eigenvalue of T is negative", eigenvalues.min(), -1e-12)


def worst_pair(v, states, probs):
    """Largest deviation of a mean of v_i or v_i v_j from the exact one, in standard errors.

    Only where 25 zeros and 25 ones are expected: rarer counts are no Gaussians.
    """
    exact = torch.einsum("s,si,sj->ij", probs, states, states)  # v_i on the diagonal
    often = (exact * len(v) > 25) & ((1 - exact) * len(v) > 25)
    deviation = (v.T @ v / len(v) - exact) / (exact * (1 - exact) / len(v)).sqrt()
    return deviation[often].abs().max()


for sweeps in (1, 2):
    v = next(islice(gibbs(tiny, V[21].expand(200_000, -1)), sweeps - 1, None))
    exact = torch.linalg.matrix_power(T, sweeps)[21]
    name = f"{sweeps} sweep(s) of the sampler: means of v_i and v_i v_j, in standard errors"
    checks.at_most(name, worst_pair(v, V, exact), 5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Bias of CD-k as a fraction of the gradient, exact, for three magnets and random data in which mostly few pixels are on. Dashed: the k-th power of the second eigenvalue, through the fifth point.", "name": "fig-rbm-bias"}, "image": {"alt": "Three rows of points on a logarithmic axis against k from one to twenty, falling along dashed straight lines, steeply for weak and hardly at all for strong couplings."}}
fig, ax = plt.subplots(figsize=(7.0, 2.2))
for (J, bias), colour in zip(biases.items(), plotting.COLOURS, strict=False):
    lambda_2 = transition_matrix(magnets[J])[1][1].item()
    line = [bias[4] * lambda_2 ** (k - 5) for k in ks]
    ax.semilogy(ks, bias, "o", color=colour)
    ax.semilogy(ks, line, "--", color=colour, linewidth=1)
    end = next(
        (k for k in ks if line[k - 1] < 1e-8), 20
    )  # where the line leaves the picture
    name = rf"J = {J}, $\lambda_2$ = {lambda_2:.3f}"
    ax.annotate(
        name, (end, line[end - 1]), (8, 6), color=colour, textcoords="offset points"
    )
ax.set(xlabel="k", ylabel="bias of CD-k / gradient", ylim=(1e-9, 2), xlim=(0, 26))
_ = ax.set_xticks(range(0, 21, 5))

# %% [markdown]
r"""
```{margin}
**A common mistake:** the claim that CD is an unbiased estimate of the gradient.
That is guaranteed only when its samples come from the model exactly.
```

The bias of CD-k decays as $\lambda_2^k$, at the pace at which the chain forgets.
At $J = 0.3$ CD-1 errs by some ten per cent, and CD-10 negligibly.
At $J = 1.5$ ten sweeps help little: the error stays above half of the gradient.
"""

# %% tags=["check"]
checks.at_most(
    "J = 0.3: bias of CD-10 over that of CD-1", biases[0.3][9] / biases[0.3][0], 1e-6
)
checks.at_most("J = 0.3: bias of CD-1 / gradient", biases[0.3][0], 0.2)
checks.at_least("J = 0.3: and at least", biases[0.3][0], 0.05)
checks.at_least("J = 1.5: bias of CD-10 / gradient", biases[1.5][9], 0.5)
for J, rbm in magnets.items():
    _, (_, lambda_2, lambda_3, *_) = transition_matrix(rbm)
    # The ratio differs from lambda_2 by the next eigenvalue's share, (lambda_3 / lambda_2)^8,
    # times the ratio of their amplitudes, taken to be at most 10; and by rounding: 34
    # components, each a sum of 64 terms with 1.1e-16 of error.
    last = cd_bias(rbm, 9)
    rounding = 64 * 1.1e-16 * 34**0.5 / last
    checks.close(
        f"J = {J}: bias of CD-9 over that of CD-8 = lambda_2",
        last / cd_bias(rbm, 8),
        lambda_2.item(),
        rtol=10 * (lambda_3 / lambda_2).item() ** 8 + rounding,
    )

# %% [markdown]
r"""
## Training, with the likelihood known exactly

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the loop over epochs.
```

**One loop does CD-1, CD-k and PCD: they differ in where the chain starts.**
The step size falls linearly to zero, so that at the end the persistent chains can keep up with the parameters.

Each step is also *centred*.
The plain step depends on which of the two colours is called 1; a step in the units $v - \mu_v$ and $h - \mu_h$ does not, and is often faster {cite:p}`cho2011,montavon2012`.
Constant offsets describe the same machines; good ones are the means on the data, that of $h$ taken anew each epoch.
Back in $W$, $b$, $c$ this is the plain gradient with two corrections of rank one {cite:p}`melchior2016`:

$$
\begin{aligned}
\Delta_W &= \nabla_W - \mu_v \nabla_c^\top - \nabla_b\, \mu_h^\top, \\
\Delta_b &= \nabla_b - \Delta_W \mu_h, \\
\Delta_c &= \nabla_c - \Delta_W^\top \mu_v .
\end{aligned}
$$ (eq-rbm-centred)
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
    batch_size=100,
    learning_rate=0.1,
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


# %% tags=["check"]
# On average one step must be the exact CD-k update.
def one_step(k):
    """The change of all parameters in one step of CD-k, on 4,000 draws from `p_data`."""
    rbm = RBM(6, 4).double()
    rbm.load_state_dict(tiny.state_dict())
    x = V[torch.multinomial(p_data, 4_000, replacement=True)]
    plain = dict(persistent=False, centred=False, batch_size=4_000)
    list(train(rbm, x, epochs=1, learning_rate=1.0, k=k, **plain))
    pairs = zip(rbm.parameters(), tiny.parameters(), strict=True)
    return flat([new - old for new, old in pairs]).detach()


for k in (1, 2):
    steps = torch.stack([one_step(k) for _ in range(100)])
    checks.unbiased(f"one step of CD-{k}, exact mean", steps, expected_cd(tiny, k))

# %% tags=["check"]
x = V[torch.multinomial(p_data, 40_000, replacement=True)]
still = dict(epochs=25, batch_size=20_000, learning_rate=0.0)  # 50 steps, no change
*_, (_, _, samples) = train(tiny, x, **still)
after = p_data @ torch.linalg.matrix_power(T, 50)
checks.unbiased("PCD at rate 0: after 50 steps, 50 sweeps", samples, after @ V)
left = (after - p_v).abs().sum() / (p_data - p_v).abs().sum()
checks.at_most("which is near the model: distance left, of 1", left, 0.5)
*_, (_, _, samples) = train(tiny, x, persistent=False, **still)
checks.unbiased("CD-1 at rate 0: always one sweep", samples, p_data @ T @ V)
mu_v, mu_h = p_data @ V, torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
W = tiny.W.clone().requires_grad_()
b_centred = (tiny.b + W @ mu_h).detach().requires_grad_()
c_centred = (tiny.c + mu_v @ W).detach().requires_grad_()
# The plain biases, as functions of the centred parameters.
b, c = b_centred - W @ mu_h, c_centred - mu_v @ W
free_energy = -(V @ b) - softplus(c + V @ W).sum(-1)
objective = -(p_data @ free_energy) - torch.logsumexp(-free_energy, 0)
grad_W, grad_b, grad_c = torch.autograd.grad(objective, [W, b_centred, c_centred])
centred_step = centre(phase_gradient(tiny, V, p_data - p_v), mu_v, mu_h)
checks.close(
    "centred step, against autograd in the centred parameters",
    flat(centred_step),
    flat([grad_W, grad_b - grad_W @ mu_h, grad_c - mu_v @ grad_W]),
    atol=1e-12,
)

# %% [markdown]
r"""
Does it learn from digits, too?
Here, as in a published run {cite:p}`pydeep`, pixels are thresholded at one half and not drawn, so the numbers are not to be compared with those of the other machines.
With 16 hidden units $Z = \sum_h e^{c \cdot h} \prod_i (1 + e^{b_i + (W h)_i})$ is a sum over 65,536 hidden states; the 784 pixels are summed in closed form.
So we can watch the likelihood itself.
"""


# %% tags=["twin:dgm.models.rbm.exact_log_partition"]
@torch.no_grad()
def exact_log_partition(rbm):
    terms = []
    for h in all_states(len(rbm.c), device=rbm.W.device, dtype=rbm.W.dtype).split(512):
        terms.append(h @ rbm.c + softplus(rbm.visible_logits(h)).sum(-1))
    return torch.logsumexp(torch.cat(terms).cpu().double(), 0).item()


# %%
def new_machine(num_hidden, bias):
    rbm = RBM(784, num_hidden)
    with torch.no_grad():
        rbm.b.copy_(bias)  # independent pixels: a good place to start
    return rbm.to(run.device).requires_grad_(False)


def exact_log_likelihood(rbm, v):
    return -rbm.free_energy(v) - exact_log_partition(rbm)


black_white = binary("train+valid", "threshold")
black_white_test = binary("test", "threshold")
black_white_bias = logit_of_mean(black_white)

small = new_machine(16, black_white_bias)
small_curve = [exact_log_likelihood(small, black_white_test).mean().item()]
for _ in train(small, black_white, epochs=P.small_epochs, learning_rate=0.06, k=3):
    small_curve.append(exact_log_likelihood(small, black_white_test).mean().item())

# %% tags=["hide-input"]
# The recorded number, beside the published one
published_16 = -142.56  # PyDeep, RBM_MNIST_small
log_p = exact_log_likelihood(small, black_white_test)
small_log_likelihood = run.record(
    "exact16_test_log_likelihood",
    log_p.mean(),
    unit="nats",
    standard_error=standard_error(log_p),
    protocol=f"16 hidden, centred PCD-3, {P.small_epochs} epochs, rate 0.06 to 0, "
    f"thresholded at 0.5, {len(black_white):,} training images, all test images, exact Z",
    published=published_16,
    source="PyDeep, RBM_MNIST_small: centred PCD-1, 50 epochs",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact log-likelihood of the test images after each epoch, 16 hidden units, three sweeps a step, rate 0.06 to 0. Dashed: the published value after 50 epochs of PCD-1 at a constant rate of 0.01.", "name": "fig-rbm-exact"}, "image": {"alt": "A curve that rises steeply from below minus two hundred nats in the first two epochs, crosses the dashed line at minus 142.56, and flattens a few nats above it."}}
fig, ax = plt.subplots(figsize=(7.0, 2.0))
ax.plot(small_curve, "o-")
if run.on_mnist:
    plotting.reference_line(
        ax, published_16, "published (PCD-1, 50 epochs)", side="left"
    )
_ = ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")

# %% tags=["check"]
wide = small_machine(1.0, num_hidden=16)
checks.close(
    "log Z over 65,536 hidden states = log Z over 64 visible ones",
    exact_log_partition(wide),
    torch.logsumexp(-wide.free_energy(V), 0),
    rtol=1e-13,
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "exact test log-likelihood, 16 hidden units: above the published one",
        small_log_likelihood,
        published_16,
    )

# %% [markdown]
r"""
```{dropdown} A one-minute question: what would this curve cost with 500 hidden units?
$2^{500}$ terms.
At a billion terms a second 43 hidden units take two and a half hours, and 100 hidden units forty trillion years.
```

## The likelihood of 500 hidden units: annealed importance sampling

**With 500 hidden units $Z$ is measured by walking to the machine from a model whose $Z$ is known.**
Importance sampling straight from independent pixels would be hopeless: nearly all weight would lie on images that never come up.
*Annealed* importance sampling {cite:p}`neal2001,salakhutdinov2008` goes in many small steps along

$$
\begin{aligned}
f_\beta(v) &= e^{(1 - \beta)\, b_0 \cdot v + \beta\, b \cdot v} \prod_j \bigl(1 + e^{\beta (c_j + (v^\top W)_j)}\bigr), \\
0 &= \beta_0 < \beta_1 < \dots < \beta_K = 1,
\end{aligned}
$$ (eq-rbm-path)

from independent pixels with biases $b_0$, where $\log Z_0 = \sum_i \log(1 + e^{b_{0,i}}) + H \log 2$.
To a physicist $\beta$ is an inverse temperature, and the $\beta_k$ are called temperatures.

```{figure} ../figures/rbm_ais.svg
:name: fig-rbm-ais
:alt: A path of five small pictures from left to right, from scattered dots at beta zero, independent pixels with known Z, to a seven at beta one, the machine. Below stands: each step, multiply the weight, then one Gibbs sweep. An arrow from left to right reads, forward, log Z comes out too low on average. An arrow from right to left reads, reverse, from samples of the machine, too high.
:width: 640px

Annealed importance sampling: each step multiplies the weight of a chain by $f_{\beta_k}(v) / f_{\beta_{k-1}}(v)$, then moves $v$ by one Gibbs sweep at the new temperature.
```

**The expected weight is exactly $Z / Z_0$, for any number of steps.**
For every function $g$, after the step to $\beta_k$,

$$
\langle w\, g(v) \rangle = \frac{1}{Z_0} \sum_v f_{\beta_k}(v)\, g(v) .
$$ (eq-rbm-ais)

This holds at the start, where $w = 1$ and $v$ follows $f_0 / Z_0$.
To multiply the weight by $f_{\beta_{k+1}} / f_{\beta_k}$ is to put $g\, f_{\beta_{k+1}} / f_{\beta_k}$ in place of $g$, which turns the right side into that of $k + 1$.
The sweep $T$ at $\beta_{k+1}$ keeps it: $\sum_v f_{\beta_{k+1}}(v)\, T(v \to v') = f_{\beta_{k+1}}(v')$.
At the end take $g = 1$.
In physics this is Jarzynski's equality {cite:p}`jarzynski1997`: $\log w$ is minus the work done on the chain, and $\langle e^{-\text{work}} \rangle$ gives a free energy however fast one goes.

But the logarithm is concave, so the log of a mean of few weights is too small on average: forward, $\log Z$ tends to come out too low, and the likelihood too *good*.
The same walk can be taken backwards, by the same code {cite:p}`burda2015`, from samples of the machine with $\beta$ falling from 1 to 0.
Its expected weight is $Z_0 / Z$, so the same concavity makes $-\log Z$ too small: $\log Z$ tends to come out too high, and the likelihood too *bad*.
A single run can fall on either side; two that agree are worth more than either.
"""


# %% tags=["twin:dgm.metrics.ais_log_weights", "method"]
@torch.no_grad()
def ais_log_weights(rbm, v, base_bias, betas, *, generator=None):
    log_w = torch.zeros(len(v), dtype=torch.float64)
    shift = rbm.b - base_bias
    logits = rbm.hidden_logits(v)
    for old, new in pairwise(betas.tolist()):
        steps = softplus(new * logits) - softplus(old * logits)
        log_w += ((new - old) * (v @ shift) + steps.sum(-1)).cpu()
        h = sample_bernoulli(new * logits, generator=generator)
        v = sample_bernoulli(
            base_bias + new * (shift + h @ rbm.W.T), generator=generator
        )
        logits = rbm.hidden_logits(v)
    return log_w


# %% tags=["twin:dgm.metrics.log_mean_exp"]
def log_mean_exp(log_w):
    return torch.logsumexp(log_w, 0).item() - math.log(len(log_w))


# %% tags=["twin:dgm.metrics.log_partition_from_weights"]
def log_partition_from_weights(rbm, base_bias, log_w, sign):
    log_base = softplus(base_bias.cpu().double()).sum().item()
    log_base += len(rbm.c) * math.log(2)
    w = torch.exp(log_w - log_w.max())
    standard_error = (w.std() / w.mean() / math.sqrt(len(w))).item()
    effective_sample_size = (w.sum() ** 2 / (w**2).sum()).item()
    log_z = log_base + sign * log_mean_exp(log_w)
    return log_z, standard_error, effective_sample_size


# %% [markdown]
r"""
Beside $\log Z$ and its standard error we look at the *effective sample size* $(\sum w)^2 / \sum w^2$: so many equal weights would be as good.
When it is small, the error bar rests on a few chains and is too narrow.
"""


# %%
def ais(rbm, base_bias, *, num_betas, num_chains=100, model_samples=None):
    """log Z, standard error, effective sample size; in reverse from `model_samples`."""
    betas = torch.linspace(0, 1, num_betas, dtype=torch.float64)
    v = sample_bernoulli(base_bias.expand(num_chains, -1))
    if model_samples is not None:
        v, betas = model_samples, betas.flip(0)
    log_w = ais_log_weights(rbm, v, base_bias, betas)
    sign = 1 if model_samples is None else -1
    return log_partition_from_weights(rbm, base_bias, log_w, sign)


# %% tags=["check"]
rbm = small_machine(0.7, num_visible=12, num_hidden=8)
exact_log_z, b_0 = exact_log_partition(rbm), torch.randn(12, dtype=torch.float64)
log_ratio = exact_log_z - softplus(b_0).sum() - 8 * math.log(2)
from_base = sample_bernoulli(b_0.expand(10_000, -1))
exact_samples = torch.multinomial(probabilities(rbm), 10_000, replacement=True)
from_model = all_states(12)[exact_samples]
for num_betas in (20, 100):
    betas = torch.linspace(0, 1, num_betas)
    w = torch.exp(ais_log_weights(rbm, from_base, b_0, betas) - log_ratio)
    checks.unbiased(f"{num_betas} temperatures: mean weight = Z / Z0", w, 1.0)
    log_w = ais_log_weights(rbm, from_model, b_0, betas.flip(0))
    w = torch.exp(log_w + log_ratio)
    checks.unbiased(f"{num_betas} temperatures, in reverse: Z0 / Z", w, 1.0)
forward = [ais(rbm, b_0, num_betas=100) for _ in range(30)]
starts = from_model.split(100)[:30]
backward = [ais(rbm, b_0, num_betas=100, model_samples=v) for v in starts]
for name, runs in (("AIS", forward), ("reverse AIS", backward)):
    values, errors, _ = torch.tensor(runs, dtype=torch.float64).T
    # The bias of the logarithm, Var(w) / 200, is far below the standard error of 30 runs.
    checks.unbiased(f"log Z by {name}, 30 runs of 100 chains", values, exact_log_z)
    z_squared = ((values - exact_log_z) / errors).square().mean()
    # Chi-squared with 30 degrees of freedom, over 30, at the tails of five standard errors.
    checks.at_least(f"{name}: (error / standard error)^2, about 1", z_squared, 0.186)
    checks.at_most(f"{name}: the same from above", z_squared, 2.86)

# %% [markdown]
r"""
**Where it fails.**
The standard error is computed from the chains that were run, and knows nothing of places that none of them found.
Take the small magnet with strong couplings and a base that prefers "off".
By symmetry "all on" carries half of $Z$; no chain gets there, and the estimate is wrong by $\log 2 = 0.69$ nats while its standard error says that all is well.
Reverse AIS does not help when its samples miss the same half: from chains that sit at "all off" it agrees with the forward estimate, and both are wrong.
(The *expected* weight is still right, thanks to a rare chain that gets there and outweighs all others together.)
"""

# %%
strong, base = magnet(4.0), torch.full((6,), -5.0, dtype=torch.float64)
all_off = next(islice(gibbs(strong, V[:1].expand(100, -1)), 9, None))
exact, failures = exact_log_partition(strong), {}
for direction, start in (("AIS", None), ("reverse AIS", all_off)):
    estimate, error, _ = ais(strong, base, num_betas=100, model_samples=start)
    failures[direction] = missed, error = exact - estimate, error
    print(f"{direction} misses {missed:.3f} nats, and claims +/- {error:.3f}")

# %% tags=["check"]
for direction, (missed, error) in failures.items():
    checks.unbiased(f"nats that {direction} misses: log 2", missed, math.log(2), error)
    checks.at_most(f"the error that {direction} claims", error, 0.05)

# %% [markdown]
r"""
Now the large machine, on the binarised digits: trained by PCD-1 and by CD-1, with the same number of updates, in batches of 100 and at a rate that falls from 0.1 to zero.
Along the way we note what most programs print, the *reconstruction error*: how many pixels change in one sweep from the data.
"""


# %% tags=["hide-input"]
# Training both machines, with a short AIS now and then
@torch.no_grad()
def watch(rbm):
    """Pixels that change in one sweep from test images; log-likelihood by a short AIS."""
    changed = (x_test - next(gibbs(rbm, x_test))).abs().sum(1).mean().item()
    log_z, _, _ = ais(rbm, base_bias, num_betas=P.num_betas // 3)
    return changed, -rbm.free_energy(x_test).mean().item() - log_z


def train_and_watch(name, persistent):
    rbm, history = new_machine(P.num_hidden, base_bias), {}
    particles = x_train[torch.randperm(len(x_train), device=run.device)[:100]]
    settings = dict(epochs=P.epochs, persistent=persistent, particles=particles)
    steps = resumed(
        run.checkpoints(name),
        f"{name}, epochs",
        P.epochs,
        dict(rbm=rbm, history=history, particles=particles),
        lambda done: train(rbm, x_train, done=done, **settings),
    )
    for epoch, _, v_model in steps:
        particles[: len(v_model)] = v_model
        if epoch % max(1, P.epochs // 5) == 0 or epoch == P.epochs:
            history[epoch] = watch(rbm)
    return rbm, particles, history


pcd, pcd_particles, pcd_history = train_and_watch("PCD-1", persistent=True)
cd, cd_samples, cd_history = train_and_watch("CD-1", persistent=False)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The same machine trained by PCD-1 and by CD-1. Left: what programs print. Right: what one wants to know, by a short AIS.", "name": "fig-rbm-monitors"}, "image": {"alt": "Two panels over epochs with one curve for PCD-1 and one for CD-1. On the left the reconstruction errors fall together. On the right the log-likelihood of PCD-1 rises far above that of CD-1."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 1.8))
names = ("pixels that change", "test log-likelihood (nats)")
for i, (ax, name) in enumerate(zip(axes, names, strict=True)):
    for label, history in (("PCD-1", pcd_history), ("CD-1", cd_history)):
        values = [row[i] for row in history.values()]
        ax.plot(list(history), values, "o-", label=label)
    ax.set(xlabel="epoch", ylabel=name)
_ = axes[1].legend()

# %% [markdown]
r"""
**By the reconstruction error the two machines are alike; by the likelihood CD-1 is worse by more than ten nats** (in this build, and on 5 seeds).
CD-1 corrects the neighbourhood of the data, which is all that one sweep sees; nothing in its training takes probability away from places that no sample visits.
There is no loss curve to look at instead: CD-1 follows the gradient of no function ({ref}`ex-rbm-no-gradient`), and a "loss" such as $F(v) - F(v_1)$, with $v_1$ one sweep from $v$, has a value that means nothing.

The numbers of this lecture, from both sides.
Reverse AIS starts from the last samples of the training after many more sweeps; how good they are is not known, so its number is an estimate and no bound.
Look at the effective sample sizes first: where only a few of the 100 chains count, the standard error is too narrow by the rule above, and which of the two directions is higher means nothing.
"""


# %% tags=["hide-input"]
# The likelihoods by AIS and reverse AIS, recorded
PUBLISHED = {"CD-25": -86.34, "CD-1": -125.53}  # Salakhutdinov and Murray 2008


def measure(name, algorithm, rbm, samples, recipe):
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
            standard_error=math.hypot(standard_error(free_energy), error),
            protocol=f"{P.num_hidden} hidden, centred {algorithm}, {P.epochs} epochs, "
            f"rate 0.1 to 0, static stochastic binarisation, {len(x_train):,} training "
            f"images, all test images, {method} with {P.num_betas:,} evenly spaced "
            "temperatures, 100 chains",
            published=None if suffix else PUBLISHED[recipe],
            source=None if suffix else f"Salakhutdinov and Murray 2008: {recipe}",
        )


pcd_forward, pcd_reverse = measure(
    "rbm500_test_log_likelihood", "PCD-1", pcd, pcd_particles, "CD-25"
)
cd_forward, cd_reverse = measure(
    "rbm500_cd1_test_log_likelihood", "CD-1", cd, cd_samples, "CD-1"
)

# %% tags=["hide-input"]
# The table
published = {name: f"{value} ({name})" for name, value in PUBLISHED.items()}
plotting.table(
    {
        "independent pixels": (f"{baseline:.1f}", "", "", ""),
        "CD-1": ("", f"{cd_forward:.1f}", f"{cd_reverse:.1f}", published["CD-1"]),
        "PCD-1": ("", f"{pcd_forward:.1f}", f"{pcd_reverse:.1f}", published["CD-25"]),
        "at most, averaged over the flips": (f"{ceiling:.1f}", "", "", ""),
    },
    columns=("nats, test images", "exact", "AIS", "reverse AIS", "published (AIS)"),
)

# %% tags=["check"]
found = (pcd_forward, pcd_reverse, cd_forward, cd_reverse)
checks.at_most("log-probabilities of binary images: the largest mean", max(found), 0)
checks.true("100 chains", len(pcd_particles) == len(cd_samples) == 100)
if run.on_mnist:
    checks.at_most("the published ones: the largest", max(PUBLISHED.values()), ceiling)
for label, history, last in (
    ("PCD-1", pcd_history, pcd_forward),
    ("CD-1", cd_history, cd_forward),
):
    distance = abs(history[P.epochs][1] - last)
    checks.at_most(f"guard: {label}, end of its curve, off by nats", distance, 10)
if run.on_mnist and run.profile != "smoke":
    ratio = cd_history[P.epochs][0] / pcd_history[P.epochs][0]
    checks.at_most("reconstruction errors, relative difference", abs(ratio - 1), 0.1)
    checks.at_least("nats by which PCD-1 is better", pcd_forward - cd_forward, 10)
    checks.at_least("our CD-1, above the published one", cd_forward, PUBLISHED["CD-1"])
if run.on_mnist and run.profile == "quick":
    checks.at_least("guard: test log-likelihood, PCD-1", pcd_forward, -97.0)
if run.on_mnist and run.profile == "full":
    near = "guard: PCD-1, 1.5 nats below the published value at most"
    checks.at_least(near, pcd_forward, PUBLISHED["CD-25"] - 1.5)
    both = "guard: difference of both directions"
    checks.at_most(both, abs(pcd_forward - pcd_reverse), 1.5)

# %% [markdown]
r"""
The published values are those of {cite:t}`salakhutdinov2008`, with 14,500 temperatures, most of them near $\beta = 1$; their best machine was trained by CD-25, and we set PCD-1 beside it.
After 300 epochs, not the few of this page, and with 14,500 evenly spaced temperatures, our PCD-1 reaches {recorded}`rbm.rbm500_test_log_likelihood`, in reverse {recorded}`rbm.rbm500_test_log_likelihood_reverse`.
Our CD-1 is better than the published one, on 5 seeds of the short training of this page, too: centring was found three years later, and the recipes differ in more than that.

Can AIS be trusted on a machine trained on digits?
With 16 hidden units we can tell, because the exact $\log Z$ stands beside the estimate; for 500 that is encouragement, no proof.
"""

# %% tags=["hide-input"]
# AIS against the exact log Z of the machine with 16 hidden units
log_z_16 = exact_log_partition(small)
direct = ais(small, black_white_bias, num_betas=2)[0]
log_z_ais, error_ais, ess_ais = ais(small, black_white_bias, num_betas=4 * P.num_betas)
print(f"exact {log_z_16:.2f}, AIS {log_z_ais:.2f} +/- {error_ais:.2f}")
error_16 = run.record(
    "ais_error_exact16",
    log_z_ais - log_z_16,
    unit="nats",
    standard_error=error_ais,
    protocol="log Z by AIS minus the exact log Z of the machine of exact16, one run, "
    f"{4 * P.num_betas:,} evenly spaced temperatures, 100 chains",
)

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    checks.at_most("guard: error of log Z by AIS, 16 hidden units", abs(error_16), 1.0)
    checks.at_least(
        "nats that importance sampling in one step misses", log_z_16 - direct, 5
    )

# %% [markdown]
r"""
If the two differ by many standard errors, suspect the failure of the magnet in a mild form: few chains, or none, reach some of the modes.

```{dropdown} A one-minute question: AIS gives -86.2, reverse AIS gives -90. Which do you believe?
Neither.
If the samples that start the way back were exact, the truth would probably lie between them; as it is, take more temperatures and better samples, and see whether the gap closes.
```

## Fantasies

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the two pictures at its end.
```

**Take the data away: what does the machine draw?**
First, what its hidden units look for: their weights are pictures.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Weights of the first 24 hidden units after PCD training, one colour scale for all: ink on red raises and ink on blue lowers the probability that the unit is on. Look for edges, gaps and ends of strokes.", "name": "fig-rbm-filters"}, "image": {"alt": "A grid of twenty-four small pictures with red and blue spots and short strokes, most of them local and with both colours side by side, on pale and noisy ground."}}
_ = plotting.image_grid(pcd.W.T[:24].cpu(), columns=12, symmetric=True)

# %% [markdown]
r"""
We start chains from noise, each pixel on with probability one half, and let them run.
Shown is $\sigma(b + W \hat h)$ at the mean hidden activity, smoother than a binary sample (and no conditional of the model), for the first chains of a fixed seed.
"""


# %%
@torch.no_grad()
def fantasies(rbm, num_chains, sweeps):
    """sigma(b + W h-hat) after each number of `sweeps`, chains started from noise."""
    noise = torch.bernoulli(torch.full((num_chains, 784), 0.5, device=run.device))
    frames = []
    for done, v in enumerate(islice(gibbs(rbm, noise), max(sweeps)), start=1):
        if done in sweeps:
            h_mean = torch.sigmoid(rbm.hidden_logits(v))
            mean = torch.sigmoid(rbm.visible_logits(h_mean))
            frames.append(mean.reshape(-1, 28, 28).cpu().numpy())
    return frames


milestones = sorted({1, 10, P.gibbs_steps})
pcd_frames, cd_frames = fantasies(pcd, 12, milestones), fantasies(cd, 12, milestones)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Chains from noise after 1, 10 and many sweeps (left to right). Top: the machine trained by PCD. Bottom: the one trained by CD-1, which fails.", "name": "fig-rbm-fantasies"}, "image": {"alt": "Two rows of three grids of twelve images. After one and ten sweeps both machines show thick broken strokes. After many sweeps the top row, PCD, shows mostly readable digits, some kinds more often than others; the bottom row, CD-1, has lost most of its ink."}}
fig, axes = plt.subplots(2, 3, figsize=(7.4, 2.8))
for row, (label, frames) in zip(
    axes, (("PCD-1", pcd_frames), ("CD-1", cd_frames)), strict=True
):
    for ax, sweeps, images in zip(row, milestones, frames, strict=True):
        plotting.image_grid(images, columns=4, ax=ax)
        ax.set_title(f"{label}, {sweeps} sweep{'s' * (sweeps > 1)}", fontsize=10)

# %% tags=["check"]
checks.true("after 1, 10 and many sweeps", milestones == [1, 10, P.gibbs_steps])
if run.on_mnist and run.profile == "quick":
    ink = x_test.mean().item()
    pcd_ink, cd_ink = pcd_frames[-1].mean() / ink, cd_frames[-1].mean() / ink
    checks.at_least("ink of the PCD chains, over that of the data", pcd_ink, 0.5)
    checks.at_most("and at most, far from that of noise", pcd_ink, 2)
    checks.at_most("ink of the CD-1 chains, over that of the data", cd_ink, 0.5)
    with torch.random.fork_rng():
        swept = next(gibbs(cd, x_test)).mean(1)
    share = (swept <= cd_ink * ink).double().mean()
    checks.at_most(
        "guard: share of images one sweep from data with so little", share, 0.05
    )

# %% [markdown]
r"""
In this build, and on 5 seeds, the chains of the PCD machine go from noise to digits, and those of the CD-1 machine end with less than half of the data's ink.
Hardly any image that is one sweep away from a digit has so little, so CD-1 never came here to take probability away.
Now watch single chains: which of them walk from one digit to another, and which stay?
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Sixteen chains of the machine trained by PCD, from noise; the steps between the frames grow.", "name": "fig-rbm-film"}}
shown = sorted({round(P.gibbs_steps ** (i / 27)) for i in range(28)})
film_frames = [plotting.tile(frame, columns=8) for frame in fantasies(pcd, 16, shown)]
plotting.film(
    film_frames,
    labels=[f"{sweeps} sweep{'s' * (sweeps > 1)}" for sweeps in shown],
    alt="Sixteen pictures that begin as broken strokes, become digits, "
    "and turn from one digit into another.",
)

# %% [markdown]
r"""
```{admonition} In one card
:class: dgm-card

**Remember**

- $p(v) = e^{-F(v)} / Z$, with the free energy {eq}`eq-rbm-free-energy`
- the gradient {eq}`eq-rbm-gradient`: the mean of $-\nabla F$ on data, minus its mean under the model
- $\langle w \rangle = Z / Z_0$ for the weights of annealed importance sampling

**What it can do**

- **Likelihood:** known up to $Z$; exact to about 20 hidden units, by AIS beyond.
- **Sampling:** Gibbs chains, which mix slowly when the couplings are strong.
- **Latent code:** binary, half a sweep away: $p(h \mid v)$ is a product.
- **What fails:** CD may leave probability far from the data, reconstruction errors do not see it, and AIS may miss a mode without a sign.
```
"""

# %% [markdown]
r"""
## Exercises

Each has, with the code shown, a cell to fill in, a check that answers "not yet", "right", or says what is wrong, and a folded solution.

```{exercise-start} The lower half of a digit (easy)
:label: ex-rbm-complete
```
Cover the lower half of a test image.
What does the machine think was there?
Write `complete(rbm, v, known, sweeps)`: Gibbs sampling of the unknown pixels, where `v` holds images, one a row, and `known` is a mask of pixels (true: given) that must stay as they are.
The reward is a picture: your completions of one image, side by side.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def complete(rbm, v, known, sweeps):
    return None


# %% tags=["check"]
def show_completions(answer, columns=12):
    known = (torch.arange(784, device=run.device) < 392).expand(784)
    truth = x_test[[0]].repeat(columns, 1)
    v = torch.where(known, truth, torch.bernoulli(torch.full_like(truth, 0.5)))
    found = answer(pcd, v, known, P.gibbs_steps)
    pictures = torch.cat([truth[:1], found]).reshape(-1, 28, 28).cpu()
    plotting.image_grid(pictures, columns=columns + 1)


def check_complete(answer):
    known = torch.tensor([True, True, True, False, False, False])
    start = V[[5]].repeat(20_000, 1)  # 101000
    fits = 5 + 8 * torch.arange(8)  # the states 101...; row u has the unknown bits of u
    hop = torch.zeros(8, 8, dtype=V.dtype).index_add_(1, torch.arange(64) // 8, T[fits])
    slowest = torch.linalg.eigvals(hop).abs().sort().values[-2].item()
    # So many that what is left of the start is far below the standard errors.
    sweeps = min(5_000, 5 + math.ceil(math.log(1e-5) / math.log(slowest)))
    if (found := answer(tiny, start.clone(), known, sweeps)) is None:
        return print("not yet")
    checks.true("zeros and ones", bool(((found == 0) | (found == 1)).all()))
    checks.close("given pixels stay", found[:, known], start[:, known])
    exact = p_v[fits] / p_v[fits].sum()  # by Bayes
    name = "means of v_i and v_i v_j by Bayes, in standard errors"
    checks.at_most(name, worst_pair(found[:, 3:], V[fits, 3:], exact), 5)
    show_completions(answer)
    return print("right")


check_complete(complete)

# %% [markdown]
r"""
````{solution-start} ex-rbm-complete
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A row of small pictures of one digit: the test image, then twelve with the same upper half and lower halves drawn by the machine."}}
def complete(rbm, v, known, sweeps):
    given = v.clone()
    for _ in range(sweeps):
        v = torch.where(known, given, next(gibbs(rbm, v)))
    return v


check_complete(complete)

# %% [markdown]
r"""
Given $h$, the pixels are independent, so putting the known ones back after each sweep is a Gibbs step of the conditional distribution.
The first picture is the image itself; the others agree with its upper half and differ below.
````{solution-end}
````

```{exercise-start} Bars and stripes (easy)
:label: ex-rbm-bars
```
A data set whose best likelihood is known {cite:p}`mackay2003`: on a 4 x 4 grid, a pattern of *bars* has each column all on or all off, a pattern of *stripes* each row.
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
    is_stripe = (grids == grids[:, :, :1]).all((1, 2))
    is_bar = (grids == grids[:, :1]).all((1, 2))
    checks.true("each is made of bars or of stripes", bool((is_stripe | is_bar).all()))
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        rbm = RBM(16, 12, std=0.1).double().requires_grad_(False)
        settings = dict(epochs=30, batch_size=60, learning_rate=0.2)
        list(train(rbm, patterns.repeat(100, 1), **settings))
    below = -math.log(30) - exact_log_likelihood(rbm, patterns).mean()
    print(f"the machine stays {below:.2f} nats below the best")
    checks.at_least("nats below the best, Gibbs' inequality", below, 0)
    checks.at_most("guard: nats below the best", below, 1)
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
The machine stays less than a nat below: some probability is left between the patterns, and the 30 do not get equal shares.
````{solution-end}
````

```{exercise-start} Does the gradient need a detach? (medium)
:label: ex-rbm-detach
```
Programs for RBMs often call `backward` on $F(v) - F(v_1)$ with $v_1$ computed from the parameters, without detaching $v_1$.
Write `detach_matters(step)`: the largest difference in the gradient with respect to $W$ of $\langle F(v) \rangle - \langle F(v_1) \rangle$ with and without `v_1.detach()`.
Take `rbm = machine_with_gradients()`, a copy of the small machine `tiny`, and `v_1 = step(rbm)`; the means are over all 64 states `V`, and both times the same random numbers are to be used (`torch.manual_seed`).
What do you find for binary samples, what for probabilities in their place, and why?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def detach_matters(step):
    return None


# %% tags=["check"]
def machine_with_gradients():
    rbm = RBM(6, 4).double()
    rbm.load_state_dict(tiny.state_dict())
    return rbm


def binary_step(rbm):
    h = torch.bernoulli(torch.sigmoid(rbm.hidden_logits(V)))
    return torch.bernoulli(torch.sigmoid(rbm.visible_logits(h)))


def mean_field_step(rbm):
    return torch.sigmoid(rbm.visible_logits(torch.sigmoid(rbm.hidden_logits(V))))


def linear_step(rbm):  # v_1 is the first column of W, so that the answer is known
    return rbm.W[:, 0].expand(64, -1)


def check_detach(answer):
    if (binary_answer := answer(binary_step)) is None:
        return print("not yet")
    v_1 = tiny.W[:, 0]
    known = tiny.b + tiny.W @ torch.sigmoid(tiny.c + v_1 @ tiny.W)  # -dF/dv at v_1
    checks.close("v_1 linear in W", answer(linear_step), known.abs().max(), rtol=1e-9)
    checks.close("binary samples: detaching changes nothing", binary_answer, 0.0)
    difference = answer(mean_field_step)
    checks.at_least("probabilities: detaching changes the gradient", difference, 0.01)
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

```{exercise-start} Another path for AIS (medium)
:label: ex-rbm-path
```
Temper the weights alone: $f_\beta(v) = \sum_h e^{b \cdot v + c \cdot h + \beta v^\top W h}$.
Write `another_path(rbm, v, old, new)`, which returns two things: the logarithm of $f_\text{new}(v) / f_\text{old}(v)$ for each row of `v`, without a sum over $h$, and $\log Z_0$, the logarithm of $\sum_v f_0(v)$.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def another_path(rbm, v, old, new):
    return None


# %% tags=["check"]
def check_path(answer):
    if (found := answer(tiny, V, 0.3, 0.4)) is None:
        return print("not yet")
    log_ratio, log_z_0 = found

    def log_f(beta):
        coupling = beta * (V @ tiny.W @ all_h.T)
        return torch.logsumexp((V @ tiny.b)[:, None] + all_h @ tiny.c + coupling, 1)

    exact = log_f(0.4) - log_f(0.3)
    checks.close("log f_0.4 - log f_0.3 for all states", log_ratio, exact, atol=1e-12)
    checks.close("log Z_0", log_z_0, torch.logsumexp(log_f(0.0), 0), rtol=1e-12)
    return print("right")


check_path(another_path)

# %% [markdown]
r"""
````{solution-start} ex-rbm-path
:class: dropdown
````
"""


# %% tags=["solution"]
def another_path(rbm, v, old, new):
    field = v @ rbm.W
    steps = softplus(rbm.c + new * field) - softplus(rbm.c + old * field)
    return steps.sum(-1), softplus(rbm.b).sum() + softplus(rbm.c).sum()


check_path(another_path)

# %% [markdown]
r"""
The factor $e^{b \cdot v}$ is in both and cancels.
At $\beta = 0$ all units are independent:

$$
\log Z_0 = \sum_i \log(1 + e^{b_i}) + \sum_j \log(1 + e^{c_j}) .
$$

````{solution-end}
````

```{exercise-start} CD-1 follows no gradient (hard)
:label: ex-rbm-no-gradient
```
The Jacobian of a gradient is symmetric, since second derivatives commute; {cite:t}`sutskever2010` used this to show that CD-1 follows no gradient.
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
    before = nn.utils.parameters_to_vector(tiny.parameters()).clone()
    num_weights = len(exact_field(tiny))
    turn = 3 * torch.ones(num_weights, num_weights, dtype=V.dtype).triu(1)
    known = answer(lambda rbm: turn @ nn.utils.parameters_to_vector(rbm.parameters()))
    checks.close("asymmetry of a known field", known, 3.0, rtol=1e-6)
    checks.at_most("asymmetry of the exact gradient", answer(exact_field), 1e-8)
    checks.at_least("asymmetry of CD-1", answer(lambda rbm: expected_cd(rbm, 1)), 1e-3)
    after = nn.utils.parameters_to_vector(tiny.parameters())
    checks.close("`tiny` is as it was", after, before)
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
The CD-1 field is not the gradient of any function, so a "loss" that a program prints for it is something else.
(It may still climb the likelihood for a long time: a step can go uphill without being a gradient.)
````{solution-end}
````

## Further

### Why centring helps

This unit shows what the line `centre` in the training loop is worth.
Flip every pixel, $v \to 1 - v$.
The same machine exists with other parameters, $W \to -W$, $b \to -b$, $c \to c + W^\top 1$, and has the same energy up to a constant.
So learning should be exactly as easy, and for the plain gradient it is not: where $\langle v_i \rangle$ is near one, $W_{ij}$ and $c_j$ push hidden unit $j$ in the same way on every image, and the steps in all these parameters add up.
**Flipping before a centred step or after it makes no difference; for the plain step it does.**
"""


# %%
def flipped(rbm):
    """The machine that gives 1 - v the energy of v in `rbm`, up to a constant."""
    other = RBM(*rbm.W.shape).to(rbm.W).requires_grad_(False)
    values = (-rbm.W, -rbm.b, rbm.c + rbm.W.sum(0))
    for new, old in zip(other.parameters(), values, strict=True):
        new.copy_(old)
    return other


flip_curves = {}
for colours, sign in (("as they are", 1), ("exchanged", -1)):
    x, x_held_out = (v if sign == 1 else 1 - v for v in (black_white, black_white_test))
    for centred in (True, False):
        rbm = new_machine(16, sign * black_white_bias)
        flip_curves[colours, centred] = [
            exact_log_likelihood(rbm, x_held_out).mean().item()
            for _ in train(rbm, x, epochs=P.flip_epochs, centred=centred)
        ]

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact test log-likelihood of machines with 16 hidden units, 0 and 1 as they are and exchanged, with the centred and with the plain gradient.", "name": "fig-rbm-centring"}, "image": {"alt": "Four curves over epochs. Both centred curves rise together and end highest. The plain curve with the colours as they are ends a few nats lower. The plain curve with the colours exchanged stays tens of nats below and jumps up and down."}}
fig, ax = plt.subplots()
for (colours, centred), curve in flip_curves.items():
    style = "o-" if centred else "s--"
    colour = plotting.COLOURS[0 if colours == "as they are" else 1]
    label = f"{'centred' if centred else 'plain'}, colours {colours}"
    ax.plot(range(1, len(curve) + 1), curve, style, color=colour, label=label)
ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")
ax.xaxis.get_major_locator().set_params(integer=True)
_ = ax.legend(ncol=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))

# %% tags=["hide-input"]
# What centring gains with the colours exchanged
centring_gain = run.record(
    "flipped16_centred_minus_plain",
    flip_curves["exchanged", True][-1] - flip_curves["exchanged", False][-1],
    unit="nats",
    protocol=f"exact test log-likelihood on 1 - v, 16 hidden, PCD-1, {P.flip_epochs} epochs, "
    "rate 0.1 to 0, one seed each",
)

# %% tags=["check"]
step_flipped = centre(
    phase_gradient(flipped(tiny), 1 - V, p_data - p_v), 1 - mu_v, mu_h
)


def flip_after(step):
    return flat((-step[0], -step[1], step[2] + step[0].sum(0)))


checks.close(
    "centred: flip then step = step then flip",
    flat(step_flipped),
    flip_after(centred_step),
    atol=1e-12,
)
plain = phase_gradient(tiny, V, p_data - p_v)
plain_flipped = phase_gradient(flipped(tiny), 1 - V, p_data - p_v)
difference = (flat(plain_flipped) - flip_after(plain)).abs().max()
checks.at_least("plain: largest difference between the two", difference, 0.01)
if run.on_mnist and run.profile != "smoke":
    ends = {key: curve[-1] for key, curve in flip_curves.items()}
    plain, centred = (
        ends["as they are", way] - ends["exchanged", way] for way in (False, True)
    )
    checks.at_least("guard: nats that the plain gradient loses by the flip", plain, 10)
    checks.at_most("guard: nats that the centred one loses or gains", abs(centred), 5)

# %% [markdown]
r"""
### Pseudo-likelihood: one pixel at a time

This unit is about a monitor that scikit-learn prints.
The log-*pseudo-likelihood* {cite:p}`besag1975` $\sum_i \log p(v_i \mid v_{-i})$ needs no $Z$, and with unlimited data from a machine of this kind its maximum is the right one, since the conditionals of a positive $p$ determine $p$.
**But it hardly sees the relative weight of modes that lie far apart**: their ratio enters only through the improbable states between them.
Tilt the magnet by a bias of 0.3 on each pixel, as if the data were tilted and the model not:
"""


# %%
def pseudo_log_likelihood(rbm, v):
    """sum_i log p(v_i | all other pixels), for each row of v."""
    total = 0.0
    for i in range(v.shape[1]):
        other = v.clone()
        other[:, i] = 1 - v[:, i]
        total = total + logsigmoid(rbm.free_energy(other) - rbm.free_energy(v))
    return total


rows = []
for J in (0.8, 1.5, 2.5):
    model, tilted = magnet(J), magnet(J)
    tilted.b += 0.3
    q = probabilities(tilted)
    divergence = (q * (q / probabilities(model)).log()).sum().item()
    seen = pseudo_log_likelihood(tilted, V) - pseudo_log_likelihood(model, V)
    rows.append((f"J = {J}", divergence, (q @ seen).item()))
plotting.table(rows, columns=("", "KL, nats", "pseudo-likelihood lost, nats"), digits=2)

# %% tags=["check"]
flips = [torch.arange(64) ^ (1 << i) for i in range(6)]  # states that differ in pixel i
checks.close(
    "pseudo-likelihood, against the table of all states",
    pseudo_log_likelihood(tiny, V),
    sum(torch.log(p_v / (p_v + p_v[flip])) for flip in flips),
    atol=1e-11,
)
_, divergences, lost = zip(*rows, strict=True)
checks.true("with J the divergence grows", list(divergences) == sorted(divergences))
checks.true(
    "with J the pseudo-likelihood that is lost falls", list(lost) == sorted(lost)[::-1]
)
# Two modes with weights e^a / (1 + e^a) and 1 / (1 + e^a), a = 6 x 0.3, against halves.
share = 1 / (1 + math.exp(-1.8))
two_modes = math.log(2) + share * math.log(share) + (1 - share) * math.log(1 - share)
checks.at_most(
    "guard: the divergence, against that of two modes", max(divergences), two_modes
)
checks.at_least("guard: at J = 2.5, nearly", divergences[2], 0.95 * two_modes)
checks.at_least("guard: and the pseudo-likelihood lost, not yet zero", lost[2], 1e-3)

# %% [markdown]
r"""
The stronger the coupling, the more the weights of "all on" and "all off" differ, and the less the pseudo-likelihood says so.

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $v \in \{0, 1\}^{784}$ | `v` | visible units: the pixels |
| $h \in \{0, 1\}^{H}$ | `h` | hidden units |
| $W, b, c$ | `rbm.W`, `rbm.b`, `rbm.c` | weights, visible and hidden biases |
| $E(v, h)$, $F(v)$ | `energy`, `free_energy` | energy, free energy |
| $Z$ | `log_z` | partition function, always as its logarithm |
| $\hat h$, $\mu_v$, $\mu_h$ | `v_offset`, `h_offset` | $p(h = 1 \mid v)$; offsets of the centred step |
| $T$, $\lambda_2$ | `T`, `lambda_2` | transition probabilities of one sweep, their second eigenvalue |
| $\beta$, $f_\beta$, $b_0$, $Z_0$, $w$ | `betas`, `base_bias`, `log_w` | path of AIS, its first model, weight of a chain |
| $\langle \cdot \rangle_\text{data}$, $\langle \cdot \rangle_\text{model}$ | `weights` | means over data and over the model |

## Reading


**What comes next:** [the same machine in Keras](rbm_keras.ipynb); then [Langevin sampling](langevin.ipynb) in place of Gibbs sampling, and [a neural network for the energy](energy_models.ipynb).

**Reading:** {cite:t}`hinton2010` for practical advice; {cite:t}`fischer2014`, sections 3 to 5, for the proofs; {cite:t}`bengio2009` and {cite:t}`hinton2006` for stacks of these machines; {cite:t}`nair2010` for other hidden units.
The code of the sources is reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

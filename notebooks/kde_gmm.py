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
# Kernel density estimation and mixtures

Put a small bump of probability on every data point, and you have a generative model without any training; let a few bumps move to where the data are, and you have a better one.
Both are simple enough for exact statements: you will compute how wrong the first is and how much data it needs, and prove that the training of the second never takes a step down.

```{opening} fig-kde-film
Thirty-six of the hundred components of a mixture, while it is fitted to handwritten digits. All start as the same grey average; no label is ever seen, and there is no step size to choose.
```

At the end of this lecture you will be able to

1. compute the exact error of a kernel density estimate, and choose its width in three ways;
2. say how many points $d$ dimensions need: 19 for two, 842,000 for ten;
3. derive the EM algorithm as coordinate ascent on a lower bound, the ELBO, and check that the bound is the log-likelihood after every E-step;
4. break maximum likelihood with one data point, and mend it with a prior;
5. draw digits from a mixture, and give its likelihood in nats.

- **You need** Gaussian densities in several dimensions, expectation and variance, Bayes' rule, matrix products, some PyTorch.
- **Sources:** M. Borisyak's slides on generative models; {cite:t}`silverman1986` for kernels; {cite:t}`dempster1977` and {cite:t}`neal1998` for EM; {cite:t}`bishop2006`, chapter 9, for a longer introduction to mixtures.
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
from itertools import islice

import dgm
from dgm import checks, plotting
from dgm.models.counts import CountTable, neighbours
from dgm.models.mixture import GaussianMixture as Truth

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Ellipse
from scipy.optimize import minimize_scalar
from torch.nn.functional import one_hot, softplus

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (6_000, 50_000, 50_000),
    "num_components": (
        (10, 20),
        (10, 100),
        (10, 100, 500),
    ),  # of the mixtures of digits
    "em_steps": (8, 30, 100),
    "starts": (8, 20, 20),  # of EM on the same points
    "half_steps": (6, 26, 26),  # of EM in the film
    "gaussian_images": (3_000, 50_000, 50_000),  # for the Gaussian with 784 dimensions
}

# %%
run = dgm.start("kde_gmm", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## A bump on every data point

```{margin}
**In the sources.** Borisyak, *Kernel Density Estimation*.
```

We start with points on a line, drawn from two bell curves of different width, so that the truth is known.
"""


# %%
def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


truth = Truth(tensor([0.6, 0.4]), tensor([[-1.5], [1.5]]), tensor([0.8, 0.3]))
data = truth.sample(200)  # shape (200, 1)

# %% [markdown]
r"""
**A kernel density estimate is the average of small densities, one on each data point.**
In $d$ dimensions, with $N$ points $x_n$, a density $k$ called the *kernel* and a *width* $h$,

$$
\hat p(x) = \frac{1}{N} \sum_{n=1}^{N} \frac{1}{h^d}\, k\!\left(\frac{x - x_n}{h}\right) .
$$ (eq-kde-kde)

(With $u = (x - x_n)/h$ and $dx = h^d\, du$ each term has the integral 1.)
With a Gaussian kernel, which we use throughout, each term is $\mathcal{N}(x; x_n, h^2 I)$.
Then the estimate is a special case of the equation that this lecture is about, a **mixture** of $K$ densities with weights $\pi_k$ that sum to one:

$$
p(x) = \sum_{k=1}^{K} \pi_k\, \mathcal{N}(x; \mu_k, \Sigma_k) .
$$ (eq-kde-mixture)

A kernel density estimate has $K = N$ components, equal weights, $\mu_k = x_k$, $\Sigma_k = h^2 I$, and nothing to learn but $h$.
To sample it, pick a data point and add noise.
"""


# %% tags=["method"]
def log_kernels(x, data, h):
    """log N(x; x_n, h^2 I) for every pair, shape (number of x, N)."""
    squared = (x[:, None] - data).square().sum(2)
    return -squared / (2 * h**2) - data.shape[1] / 2 * math.log(2 * math.pi * h**2)


def kde_log_prob(x, data, h):
    return torch.logsumexp(log_kernels(x, data, h), 1) - math.log(len(data))


def kde_sample(num_samples, data, h):
    picked = data[torch.randint(len(data), (num_samples,))]
    return picked + h * torch.randn_like(picked)


# %% [markdown]
r"""
```{margin}
**A common mistake:** $1/h$ in place of $1/h^d$.
In three dimensions and with $h = 0.3$ the "density" then integrates to 0.09.
```
"""

# %% tags=["check"]
line = torch.linspace(-8, 8, 1_601, dtype=torch.float64)[:, None]  # steps of 0.01
for dim, step in ((1, 0.05), (2, 0.1), (3, 0.15)):
    points = 0.5 * torch.randn(5, dim, dtype=torch.float64)
    side = torch.arange(-4.5, 4.5, step, dtype=torch.float64)
    grid = torch.cartesian_prod(*[side] * dim).reshape(-1, dim)
    # A sum over a grid with steps of h/2 integrates a Gaussian to 1e-30.
    total = kde_log_prob(grid, points, 0.3).exp().sum() * step**dim
    checks.close(f"{dim} dimension(s), h^d: integral", total, 1.0, atol=1e-9)
    u = (grid[:, None] - points) / 0.3
    k = torch.exp(-u.square().sum(2) / 2) / (2 * math.pi) ** (dim / 2)
    wrong = k.mean(1).sum() / 0.3 * step**dim  # 1/h in place of 1/h^d
    checks.close(f"{dim} dimension(s), h: integral", wrong, 0.3 ** (dim - 1), atol=1e-9)

from scipy.stats import gaussian_kde

by_scipy = gaussian_kde(data[:, 0], bw_method=0.25 / data.std().item())  # a factor!
checks.close(
    "log density, against SciPy",
    kde_log_prob(line, data, 0.25)[400:1200],
    by_scipy.logpdf(line[400:1200, 0]),
    atol=1e-9,
)
samples = kde_sample(50_000, data, 0.5)
checks.unbiased("samples: mean = that of the data", samples[:, 0], data.mean())
second = data.square().mean() + 0.5**2
checks.unbiased(
    "samples: second moment = that of the data + h^2", samples[:, 0].square(), second
)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Kernels that add up, for growing widths h: 200 data points (blue ticks), every tenth kernel (thin, ten times its height in the sum), the average of all (orange), and the truth (dashed). Grey: a histogram whose bins have the standard deviation of the kernel.", "name": "fig-kde-widths"}}
def draw_widths(h):
    fig, ax = plt.subplots(figsize=(6.4, 2.6))
    bins = torch.arange(-5, 5, h * 12**0.5)
    ax.hist(data[:, 0], bins=bins, density=True, color="0.88")
    kernels = log_kernels(line, data[::10], h).exp() / 20
    ax.plot(line, kernels, color=plotting.COLOURS[0], linewidth=0.6, alpha=0.6)
    ax.plot(line, kde_log_prob(line, data, h).exp(), color=plotting.COLOURS[1])
    ax.plot(line, truth.log_prob(line).exp(), "k--", linewidth=1)
    ax.plot(data, 0 * data - 0.02, "|", color=plotting.COLOURS[0], markersize=7)
    ax.set(xlim=(-4.5, 3), ylim=(-0.05, 0.8), xlabel="x", ylabel="density")
    return fig


WIDTHS = (0.03, 0.06, 0.1, 0.15, 0.22, 0.33, 0.5, 0.7, 1.0)
plotting.slider(
    [f"h = {h}" for h in WIDTHS],
    map(draw_widths, WIDTHS),
    alt="Curves over a row of ticks. With a small width the estimate is a forest of "
    "spikes, at a medium one it has the two humps of the truth, at a large one it is a "
    "single broad hill. The histogram behind it changes in the same way, in steps.",
)

# %% [markdown]
r"""
A small $h$ follows every point, a large one wipes out the truth.
The histogram has the same problem, and jumps.

```{dropdown} A one-minute question: what are the samples of an estimate with a very small width?
The data, over and over again, with a little noise.
A kernel density estimate keeps the whole training set, and with a small $h$ it only copies it.
```

## How wrong is it? Bias and variance

**The width trades bias for variance, and for Gaussian kernels both are known exactly.**
Draw many data sets from $p$.
The *mean* estimate is the truth, blurred with the kernel, $\mathbb{E}\, \hat p = p * \mathcal{N}(0, h^2 I)$, where $*$ is convolution: a bias that grows with $h$ and that no amount of data removes.
The *variance* comes from few points under each kernel, and falls as $1 / (N h^d)$.
Their sum, squared error integrated over $x$ and averaged over data sets, is the **mean integrated squared error**

$$
\mathrm{MISE}(h) = \underbrace{S_{2} - 2 S_{1} + S_{0}}_{\text{bias}^2}
+ \underbrace{\frac{(4 \pi h^2)^{-d/2} - S_{2}}{N}}_{\text{variance}} .
$$ (eq-kde-mise)

For a true density that is itself a mixture with weights $w_i$, means $m_i$ and variances $s_i^2$ all three integrals are finite sums {cite:p}`marron1992`:

$$
\begin{aligned}
S_a &= \int \bigl(p * \mathcal{N}(0, a h^2 I)\bigr)(x)\; p(x)\; dx \\
&= \sum_{i,j} w_i w_j\, \mathcal{N}\bigl(m_i - m_j;\, 0,\, (s_i^2 + s_j^2 + a h^2) I\bigr) .
\end{aligned}
$$ (eq-kde-overlap)
"""


# %%
def overlap(p, blur):
    """S_a of a mixture p, for blur = a h^2."""
    squared = (p.means[:, None] - p.means).square().sum(2)
    variance = p.stds[:, None] ** 2 + p.stds**2 + blur
    density = torch.exp(-squared / (2 * variance))
    density = density / (2 * math.pi * variance) ** (p.means.shape[1] / 2)
    return (p.weights @ density @ p.weights).item()


def mise(p, h, num_points):
    """Integrated squared bias and integrated variance."""
    bias_squared = overlap(p, 2 * h**2) - 2 * overlap(p, h**2) + overlap(p, 0)
    kernel_norm = (4 * math.pi * h**2) ** (-p.means.shape[1] / 2)
    return bias_squared, (kernel_norm - overlap(p, 2 * h**2)) / num_points


def best_width(p, num_points):
    found = minimize_scalar(
        lambda log_h: math.log(sum(mise(p, math.exp(log_h), num_points))),
        bounds=(math.log(1e-3), math.log(3)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(found.x)


# %% tags=["check"]
h, dx = 0.35, 0.01
blurred = truth.diffused(1.0, h).log_prob(line).exp()
p_line = truth.log_prob(line).exp()
# k^2 is N(0, h^2 / 2) over (4 pi h^2)^(1/2), so E k^2 is a blurred truth as well.
squares = (
    truth.diffused(1.0, h / 2**0.5).log_prob(line).exp() / (4 * math.pi * h**2) ** 0.5
)
bias_squared, variance = mise(truth, h, 200)
integral = (
    (blurred - p_line).square().sum() * dx,
    (squares - blurred.square()).sum() * dx / 200,
)
checks.close(
    "integrated squared bias, against quadrature", bias_squared, integral[0], rtol=1e-9
)
checks.close(
    "integrated variance, against quadrature", variance, integral[1], rtol=1e-9
)
grid = line[::10]
estimates = torch.stack(
    [kde_log_prob(grid, truth.sample(50), h).exp() for _ in range(2_000)]
)
checks.unbiased(
    "mean estimate = blurred truth", estimates[:, 40:121:8], blurred[::10][40:121:8]
)
errors = (estimates - p_line[::10]).square().sum(1) * 10 * dx
checks.unbiased("mean integrated squared error", errors, sum(mise(truth, h, 50)))

# %% [markdown]
r"""
For a truth that is $\mathcal{N}(0, 1)$ and 400 points the best width is 0.330.
How does it change with the number of points?
"""

# %% tags=["hide-input"]
# The best width for a standard normal density, and what Silverman's rule makes of it
normal = Truth(tensor([1.0]), tensor([[0.0]]), 1.0)
best = {n: best_width(normal, n) for n in (100, 400, 1_000, 10_000, 100_000)}
rule = {n: (4 / (3 * n)) ** 0.2 for n in best}
plotting.table(
    [
        (
            n,
            f"{best[n]:.4f}",
            f"{rule[n]:.4f}",
            sum(mise(normal, best[n], n)),
            sum(mise(normal, rule[n], n)),
        )
        for n in best
    ],
    columns=("points", "best width", "rule of thumb", "MISE, best", "MISE, rule"),
    digits=4,
)

# %% tags=["check"]
known = [0.4454, 0.3302, 0.2724, 0.1695, 0.1064]
checks.close("best widths for a normal density", list(best.values()), known, atol=1e-4)
# Rounded to four digits, the table's own.
checks.close(
    "least error, 400 points", sum(mise(normal, best[400], 400)), 2.018e-3, atol=5e-7
)
checks.close(
    "error of the rule, 400 points",
    sum(mise(normal, rule[400], 400)),
    2.023e-3,
    atol=5e-7,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: squared bias, variance and their sum for 200 points from the two humps, exact, against the width h. Right: the error against the number of points, for the best width (orange), a fixed one, and h = 1/N (grey).", "name": "fig-kde-mise"}, "image": {"alt": "Left: the squared bias rises with the width, the variance falls, and their sum has a minimum between 0.15 and 0.2. Right, on logarithmic axes: with the best width the error falls along a nearly straight line; with a fixed width it falls and then levels off; with the width one over N it stays near 0.28 for ever."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.6))
widths = torch.logspace(-1.3, 0, 60).tolist()
parts = [mise(truth, h, 200) for h in widths]
left.plot(widths, [b for b, _ in parts], color=plotting.COLOURS[0])
left.plot(widths, [v for _, v in parts], color=plotting.COLOURS[2])
left.plot(widths, [b + v for b, v in parts], color=plotting.COLOURS[1])
left.axvline(best_width(truth, 200), color="black", linestyle="--", linewidth=1)
left.set(
    xscale="log", ylim=(0, 0.12), xlabel="width h", ylabel="integrated squared error"
)
left.set_xticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
left.minorticks_off()
for x, y, name, colour in (
    (0.42, 0.006, "variance", 2),
    (0.56, 0.02, "bias²", 0),
    (0.07, 0.03, "sum", 1),
):
    left.text(x, y, name, color=plotting.COLOURS[colour])
counts = torch.logspace(1, 6, 40).tolist()
choices = {
    "best h": (lambda n: best_width(truth, n), plotting.COLOURS[1], 1.5e-4),
    "h = 0.3": (lambda n: 0.3, plotting.COLOURS[5], 3.4e-3),
    "h = 1/N": (lambda n: 1 / n, "grey", 0.36),
}
for name, (choose, colour, y) in choices.items():
    right.plot(counts, [sum(mise(truth, choose(n), n)) for n in counts], color=colour)
    right.text(4e3 if y < 1e-3 else 1e6, y, name, color=colour, ha="right")
_ = right.set(
    xscale="log", yscale="log", xlabel="points N", ylabel="MISE", ylim=(1e-5, 1)
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "for $N \to \infty$ and $h \to 0$ the estimate becomes right".
It also needs $N h^d \to \infty$, ever more points under each kernel.
```

With the best width the error falls as $N^{-4/(d+4)}$, which in one dimension is $N^{-4/5}$.
Letting $h$ go to zero is not enough: for $h = 1/N$ the bias vanishes, but each kernel holds one point or so, and the error stays at $1/(2 \sqrt\pi) = 0.282$ for ever.
"""

# %% tags=["check"]
checks.close(
    "h = 1/N, a billion points: MISE",
    sum(mise(truth, 1e-9, 1e9)),
    0.5 / math.pi**0.5,
    rtol=1e-8,
)
fewer, more = best_width(normal, 1e11), best_width(normal, 1e12)
ratio = sum(mise(normal, more, 1e12)) / sum(mise(normal, fewer, 1e11))
# The next term of the variance, -S_2 / N, is smaller than the first by about h.
checks.close(
    "best width: ten times the points, error times 10^(-4/5)",
    ratio,
    10**-0.8,
    rtol=fewer,
)

# %% [markdown]
r"""
## Choosing the width from data

In practice $p$ is unknown.
**Three rules: pretend that the data are Gaussian, or let each point judge the estimate that the others make, by likelihood or by squared error.**

- *Silverman's rule of thumb* is the width that is nearly best for a Gaussian of the same standard deviation $\hat\sigma$: $h = \hat\sigma\, \bigl(4 / ((d + 2) N)\bigr)^{1/(d+4)}$.
- *Leave one out, likelihood:* maximise $\sum_n \log \hat p_{-n}(x_n)$, where $\hat p_{-n}$ is made from all points but $x_n$.
- *Leave one out, least squares:* minimise $\int \hat p^2 dx - \frac{2}{N} \sum_n \hat p_{-n}(x_n)$, whose expectation is $\mathrm{MISE}(h) - \int p^2 dx$, for every $h$ {cite:p}`rudemo1982`.
"""


# %%
def silverman(data):
    num_points, dim = data.shape
    return data.std(0).mean().item() * (4 / ((dim + 2) * num_points)) ** (1 / (dim + 4))


def leave_one_out(data, h):
    """log of the estimate at each point, made from all others."""
    log_k = log_kernels(data, data, h).fill_diagonal_(-torch.inf)
    return torch.logsumexp(log_k, 1) - math.log(len(data) - 1)


def least_squares(data, h):
    square = log_kernels(data, data, 2**0.5 * h).exp().mean()  # integral of p-hat^2
    return square - 2 * leave_one_out(data, h).exp().mean()


# %%
grid_of_widths = torch.logspace(-1.7, 0.2, 80).tolist()
likelihood = tensor([leave_one_out(data, h).mean() for h in grid_of_widths])
with_itself = tensor([kde_log_prob(data, data, h).mean() for h in grid_of_widths])
squares = tensor([least_squares(data, h) for h in grid_of_widths])
chosen = {
    "Silverman's rule": silverman(data),
    "likelihood": grid_of_widths[likelihood.argmax()],
    "least squares": grid_of_widths[squares.argmin()],
    "best on average": best_width(truth, len(data)),
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: mean log-likelihood of the data by their own estimate (grey), and when each point is left out (orange). Right: the estimate with Silverman's width and with that of the likelihood, and the truth (dashed).", "name": "fig-kde-choice"}, "image": {"alt": "Left: the grey curve rises without bound as the width goes to zero; the orange one has a broad maximum near a quarter and falls on both sides. Right: with Silverman's width the estimate is a low hill with two broad humps; with the width chosen by likelihood it follows the two humps of the truth, with a few wiggles."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.6))
left.plot(grid_of_widths, with_itself, color="grey")
left.plot(grid_of_widths, likelihood, color=plotting.COLOURS[1])
left.text(0.024, -0.6, "with itself", color="grey")
left.text(0.035, -2.35, "left out", color=plotting.COLOURS[1])
left.set(
    xscale="log", ylim=(-2.5, -0.4), xlabel="width h", ylabel="log p per point (nats)"
)
left.set_xticks([0.02, 0.1, 0.5], ["0.02", "0.1", "0.5"])
left.minorticks_off()
for name, colour, x, y in (
    ("Silverman's rule", 3, -4.3, 0.32),
    ("likelihood", 1, -1.0, 0.4),
):
    right.plot(
        line,
        kde_log_prob(line, data, chosen[name]).exp(),
        color=plotting.COLOURS[colour],
    )
    right.text(x, y, name.replace("'s ", "'s\n"), color=plotting.COLOURS[colour])
right.plot(line, p_line, "k--", linewidth=1)
_ = right.set(xlim=(-4.5, 3.2), xlabel="x", ylabel="density")

# %% [markdown]
r"""
Judged by their own estimate, the data always want a width of zero; left out, they don't.
Silverman's rule takes the distance between the humps for the width of one, and flattens both: on average over data sets the error at its width is more than four times the least.

```{margin}
**A common mistake:** to hand a width from one library to another.
In SciPy `bw_method` is a *factor* on the standard deviation; in scikit-learn `bandwidth` is $h$ itself, and its `"silverman"` leaves $\hat\sigma$ out.
```
"""

# %% tags=["check"]
brute = [
    kde_log_prob(data[[n]], torch.cat([data[:n], data[n + 1 :]]), 0.2).item()
    for n in range(200)
]
checks.close(
    "leave one out = each estimate made anew",
    leave_one_out(data, 0.2),
    brute,
    atol=1e-12,
)
square = kde_log_prob(line, data, 0.2).exp().square().sum() * dx
expected = square - 2 * tensor(brute).exp().mean()
checks.close(
    "least squares, against quadrature", least_squares(data, 0.2), expected, atol=1e-9
)
draws = tensor([least_squares(truth.sample(60), 0.3) for _ in range(2_000)])
exact = sum(mise(truth, 0.3, 60)) - overlap(truth, 0)
checks.unbiased("least squares: mean = MISE less the integral of p^2", draws, exact)
checks.true(
    "the data with themselves: best at the smallest width", with_itself.argmax() == 0
)
least = sum(mise(truth, chosen["best on average"], 200))
error = {name: sum(mise(truth, h, 200)) / least for name, h in chosen.items()}
checks.at_least("error at Silverman's width / the least", error["Silverman's rule"], 4)
others = max(error["likelihood"], error["least squares"])
checks.at_most("guard: error at the widths of the other two / the least", others, 3)


# %% tags=["check"]
from sklearn.neighbors import KernelDensity

checks.close(
    "data 20 times as wide: Silverman's width 20 times",
    silverman(20 * data),
    20 * silverman(data),
    rtol=1e-12,
)
by_scipy = gaussian_kde(data[:, 0], bw_method="silverman")
checks.close(
    "SciPy: factor times standard deviation",
    by_scipy.factor * data.std(),
    silverman(data),
    rtol=1e-12,
)
by_sklearn = [
    KernelDensity(bandwidth="silverman").fit(a * data.numpy()).bandwidth_
    for a in (1, 20)
]
checks.close(
    "scikit-learn: its width does not scale", by_sklearn[1], by_sklearn[0], rtol=1e-12
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: you measure in millimetres instead of metres. What must a rule for $h$ do?
Give a width 1,000 times as large.
A density that is stretched by $a$ in $d$ dimensions is divided by $a^d$; a rule that does not scale describes other data in other units.
```

## What dimension costs

**In ten dimensions a kernel density estimate needs almost a million points for what a handful does in one.**
Ask for little: at the origin, where a standard normal density is largest, a relative root mean square error below one third, $\mathbb{E} (\hat p(0) - p(0))^2 / p(0)^2 < 0.1$.
Bias and variance at the origin are Gaussian integrals again, and $N$ comes out in closed form for each $h$:

$$
N(h) = \frac{(2 h^2 + h^4)^{-d/2} - (1 + h^2)^{-d}}{0.1 - \bigl((1 + h^2)^{-d/2} - 1\bigr)^2} .
$$ (eq-kde-points)

The best $h$ needs the fewest points.
"""


# %%
def points_needed(dim, error=0.1):
    """The fewest points for a relative squared error at the origin, and their width."""
    h = torch.logspace(-2, 0.5, 200_000, dtype=torch.float64)
    bias = (1 + h**2) ** (-dim / 2) - 1
    variance = (2 * h**2 + h**4) ** (-dim / 2) - (1 + h**2) ** -dim  # times N
    num_points = variance / (error - bias**2)
    num_points[bias**2 >= error] = torch.inf  # no number of points is enough
    best = num_points.argmin()
    return num_points[best].item(), h[best].item()


PRINTED = (19, 67, 223, 768, 2_790, 10_700, 43_700, 187_000, 842_000)
SILVERMAN = dict(
    zip(range(2, 11), PRINTED, strict=True)
)  # his table, 2 to 10 dimensions
needed = {dim: points_needed(dim) for dim in range(1, 13)}

# %% tags=["hide-input"]
# The table of Silverman (1986), which has whole points, to three digits
table_error = run.record(
    "silverman_table_max_relative_error",
    max(abs(math.ceil(needed[dim][0]) / n - 1) for dim, n in SILVERMAN.items()),
    unit="1",
    protocol="fewest points for a relative mean square error of 0.1 at the origin, "
    "standard normal density, Gaussian kernel, rounded up, against Silverman's "
    "Table 4.2, 2 to 10 dimensions: the largest relative difference",
)


def everywhere(dim, error=0.1):
    """The same for MISE relative to the integral of p^2, all x."""
    p, found = Truth(tensor([1.0]), torch.zeros(1, dim, dtype=torch.float64), 1.0), []
    for h in torch.logspace(-1, 0, 150).tolist():
        bias_squared, variance = mise(p, h, 1)
        if (room := error * overlap(p, 0) - bias_squared) > 0:
            found.append(variance / room)
    return min(found)


all_over = {dim: everywhere(dim) for dim in range(1, 13)}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Points needed for a relative squared error of 0.1 of a Gaussian in d dimensions: at the origin (orange) with Silverman's table (black), and on average over all x (blue).", "name": "fig-kde-curse"}, "image": {"alt": "Two rising, nearly straight lines on a logarithmic axis, from fewer than ten points in one dimension to about one million in ten and more than ten million in twelve. Black circles lie on the lower one."}}
fig, ax = plt.subplots(figsize=(6.6, 2.5))
ax.semilogy(list(needed), [n for n, _ in needed.values()], color=plotting.COLOURS[1])
ax.semilogy(list(all_over), list(all_over.values()), color=plotting.COLOURS[0])
ax.plot(list(SILVERMAN), list(SILVERMAN.values()), "o", color="black", fillstyle="none")
ax.text(5.3, 4.5e3, "all x", color=plotting.COLOURS[0], ha="right")
ax.text(6.6, 2.2e3, "at the origin", color=plotting.COLOURS[1])
ax.annotate("Silverman 1986", (9, 187_000), (9.2, 2.5e4))
_ = ax.set(xlabel="dimensions d", ylabel="points needed", xticks=range(1, 13))

# %% tags=["check"]
checks.at_most("Silverman's table, largest relative difference", table_error, 0.01)
rounded = [float(f"{math.ceil(needed[dim][0]):.3g}") for dim in range(1, 11)]
checks.close("rounded up, then to three digits: his table", rounded, [4, *PRINTED])
known = {1: 7.8, 2: 34, 3: 115, 5: 1_310, 7: 18_500, 10: 1.47e6}
checks.close(
    "points for all x, for six values of d",
    [all_over[d] for d in known],
    list(known.values()),
    rtol=0.01,
)
checks.at_least("fifty dimensions: points", points_needed(50)[0], 1e40)
steps = [needed[d + 1][0] / needed[d][0] for d in range(2, 12)]
checks.at_least(
    "one more dimension, from 2 to 12: times as many points, least", min(steps), 3
)
checks.at_most(
    "one more dimension, from 2 to 12: times as many points, most", max(steps), 5
)
second = needed[2][0] / needed[1][0]
checks.close("the second dimension: times as many points", second, 6, atol=0.5)
n, h = needed[2]
origin = torch.zeros(1, 2, dtype=torch.float64)
sets = torch.randn(20_000, math.ceil(n), 2, dtype=torch.float64)
relative = (
    torch.stack([kde_log_prob(origin, x, h).exp()[0] for x in sets]) * 2 * math.pi
)
# 19 points in place of 18.3: the variance is smaller by that.
bias = 1 / (1 + h**2) - 1
exact = bias**2 + (0.1 - bias**2) * n / math.ceil(n)
checks.unbiased(
    "two dimensions, 19 points: relative squared error", (relative - 1).square(), exact
)
inside = math.ceil(needed[10][0]) * torch.special.gammainc(
    tensor(5.0), tensor(needed[10][1] ** 2 / 2)
)
checks.at_most("ten dimensions: points expected within h of the origin", inside, 0.01)

# %% [markdown]
r"""
The table of {cite:t}`silverman1986` comes out within the rounding of its digits.
Each dimension beyond the second costs a factor between three and five, the second costs six.
In ten dimensions the best width is so small that not one of the 842,000 points is expected within $h$ of the origin: the estimate is made of the tails of its kernels.
In fifty it needs more than $10^{40}$ points, and digits have 784.
As a score of samples a kernel density estimate of digits is [known to mislead](gan_mnist.ipynb#parzen-windows-and-why-they-are-no-longer-used).
More data will not help; better assumptions may.

```{dropdown} A one-minute question: why does a grid, a histogram in ten dimensions, do no better?
With only four bins for each variable there are $4^{10}$, more than a million bins, and each needs several points.
```

## A few bumps that move: mixtures

```{margin}
**In the sources.** Borisyak, *Gaussian Mixtures*; CS236 notes, *Latent variable models*.
```

**A mixture replaces $N$ fixed bumps by $K$ that are learned, and so explains each point by a hidden choice.**
Read {eq}`eq-kde-mixture` as a story: first a component $z$ is picked with probability $\pi_z$, then $x$ is drawn from $\mathcal{N}(\mu_z, \Sigma_z)$, and $z$ is forgotten.
So $z$ is a *latent variable*, a factor of variation such as which digit, or how slanted it is.

```{figure} ../figures/kde_gmm_graph.svg
:name: fig-kde-graph
:alt: Two drawings. On the left, a row of small equal circles, the data points, each picked with probability one over N; from the one that is picked an arrow, add noise of covariance h squared times I, leads to x. On the right, three circles of different size, the components, picked with probability pi of z; an arrow labelled with the Gaussian of mean mu of z and covariance Sigma of z leads to x, and a dashed arrow leads back from x to the components, labelled p of z given x.
:width: 580px

Two ways to draw a point. Left: a kernel density estimate picks a data point. Right: a mixture picks a component; from $x$ back to the components go the responsibilities.
```

By Bayes' rule the **responsibility** of component $k$ for $x$ is

$$
r_k(x) = p(z = k \mid x) = \frac{\pi_k\, \mathcal{N}(x; \mu_k, \Sigma_k)}{\sum_j \pi_j\, \mathcal{N}(x; \mu_j, \Sigma_j)} .
$$ (eq-kde-responsibilities)

All of it follows from the logarithm of the *joint*, $\log p(x, z = k)$: its log-sum-exp over $k$ is $\log p(x)$, its softmax is $r_k(x)$.
"""


# %% tags=["twin:dgm.models.em.log_prob", "twin:dgm.models.em.responsibilities", "method"]
def log_prob(mixture, x):
    return torch.logsumexp(mixture.log_joint(x), 1)


def responsibilities(mixture, x):
    return torch.softmax(mixture.log_joint(x), 1)


# %% [markdown]
r"""
```{margin}
**A common mistake:** `log(exp(a).sum())` for the log-joint $a$.
For a digit it is about $-150$, and in single precision $e^{-150}$ is zero.
Log-sum-exp takes the largest term out first.
```

The method `fit` of the class belongs to the next section.
"""


# %% tags=["twin:dgm.models.em.MixtureOfGaussians", "method"]
class MixtureOfGaussians:
    def __init__(self, weights, means, covariances):
        self.weights, self.means, self.covariances = weights, means, covariances

    def log_joint(self, x):
        terms = []
        for weight, mean, covariance in zip(
            self.weights, self.means, self.covariances, strict=True
        ):
            factor = torch.linalg.cholesky(covariance)
            white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
            log_det = 2 * factor.diagonal().log().sum()
            squared = white.square().sum(0) + len(mean) * math.log(2 * math.pi)
            terms.append(weight.log() - (squared + log_det) / 2)
        return torch.stack(terms, 1)

    def sample(self, num_samples, *, generator=None):
        picked = torch.multinomial(
            self.weights, num_samples, replacement=True, generator=generator
        )
        means, factors = self.means[picked], torch.linalg.cholesky(self.covariances)
        noise = torch.randn(
            means.shape, generator=generator, device=means.device, dtype=means.dtype
        )
        return means + (factors[picked] @ noise[:, :, None])[:, :, 0]

    @classmethod
    def fit(cls, x, r, *, pseudo_count=0.0, pseudo_variance=0.0):
        counts = r.sum(0)  # n_k
        means = r.T @ x / counts[:, None]
        prior = pseudo_count * pseudo_variance * torch.eye(x.shape[1]).to(x)
        covariances = []
        for weight, count, mean in zip(r.T, counts, means, strict=True):
            centred = x - mean
            scatter = (weight[:, None] * centred).T @ centred
            covariances.append((scatter + prior) / (count + pseudo_count))
        return cls(counts / len(x), means, torch.stack(covariances))


# %% tags=["hide-input"]
# A mixture to learn from, and points of it
def pinwheel(num_arms=5):
    """Long Gaussians around a circle, each turned; weights 1 : 2 : 3 : 4 : 5."""
    angles = 2 * math.pi / num_arms * torch.arange(num_arms, dtype=torch.float64)
    turned = angles + math.pi / 3
    along = torch.stack([turned.cos(), turned.sin()], 1)
    covariances = (
        0.03 * torch.eye(2, dtype=torch.float64)
        + 0.7 * along[:, :, None] * along[:, None]
    )
    weights = torch.arange(1.0, num_arms + 1, dtype=torch.float64)
    means = 2 * torch.stack([angles.cos(), angles.sin()], 1)
    return MixtureOfGaussians(weights / weights.sum(), means, covariances)


wheel = pinwheel()
x, x_held_out = wheel.sample(600), wheel.sample(5_000)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "600 points from a mixture of five Gaussians. Left: the truth, with the components as ellipses of two standard deviations. Right: each point in the mixture of colours that its responsibilities say.", "name": "fig-kde-pinwheel"}, "image": {"alt": "Left: blue points in five elongated clouds around a circle, like the arms of a wheel, with a black ellipse around each. Right: the same points in five colours; where two arms touch the colours blend."}}
def ellipses(ax, mixture, **style):
    """Each component as an ellipse of two standard deviations, bold where heavy."""
    for weight, mean, covariance in zip(
        mixture.weights, mixture.means, mixture.covariances, strict=True
    ):
        values, vectors = torch.linalg.eigh(covariance)
        width, height = 4 * values.sqrt()
        angle = math.degrees(math.atan2(vectors[1, 0], vectors[0, 0]))
        look = dict(fill=False, linewidth=1 + 3 * weight.item()) | style
        ax.add_patch(
            Ellipse(mean.tolist(), width.item(), height.item(), angle=angle, **look)
        )


def cloud(ax, x, colours, **style):
    ax.scatter(*x.T, s=5, color=colours, linewidth=0, alpha=0.6)
    ax.set(xlim=(-4.2, 4.2), ylim=(-4, 4), aspect="equal")
    ax.set_axis_off()


PALETTE = torch.tensor(
    [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plotting.COLOURS]
)
fig, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.7))
cloud(left, x, plotting.COLOURS[0])
ellipses(left, wheel, color="black")
blend = responsibilities(wheel, x).float() @ PALETTE[:5]
_ = cloud(right, x, blend.clamp(0, 1).numpy())

# %% tags=["check"]
from scipy.stats import multivariate_normal

parts = zip(wheel.weights, wheel.means, wheel.covariances, strict=True)
joint = torch.stack(
    [w * tensor(multivariate_normal(m, c).pdf(x)) for w, m, c in parts], 1
)
checks.close(
    "density, against SciPy", log_prob(wheel, x), joint.sum(1).log(), atol=1e-11
)
bayes = joint / joint.sum(1, keepdim=True)
checks.close(
    "responsibilities by Bayes' rule", responsibilities(wheel, x), bayes, atol=1e-12
)
side = torch.arange(-7, 7, 0.05, dtype=torch.float64)
grid = torch.cartesian_prod(side, side)
p_grid = log_prob(wheel, grid).exp() * 0.05**2
# The narrowest direction has a deviation of 0.17: steps of 0.05 integrate it to 1e-100.
checks.close("it integrates to one", p_grid.sum(), 1.0, atol=1e-9)

# %% tags=["check"]
few = MixtureOfGaussians(
    wheel.weights / wheel.weights.mean() / 600, wheel.means, wheel.covariances
)
checks.close(
    "with 1/N in place of 1/K: K/N",
    log_prob(few, grid).exp().sum() * 0.05**2,
    5 / 600,
    atol=1e-9,
)
checks.unbiased("samples: mean", x_held_out, p_grid @ grid)
checks.unbiased("samples: mean of x1 x2", x_held_out.prod(1), p_grid @ grid.prod(1))
two = MixtureOfGaussians(tensor([1.0]), tensor([[0.0]]), tensor([[[2.0]]]))
checks.close(
    "covariance 2: standard deviation",
    two.sample(100_000).std(),
    2**0.5,
    atol=5 * 2**0.5 / 200_000**0.5,
)
apart = [
    MixtureOfGaussians(
        tensor(w), tensor([[-50.0], [50.0]]), torch.ones(2, 1, 1).double()
    )
    for w in ([0.9, 0.1], [0.5, 0.5])
]
points = apart[0].means[[0] * 900 + [1] * 100]
gain = (log_prob(apart[0], points) - log_prob(apart[1], points)).mean()
checks.close(
    "900 and 100 points: right weights gain 0.368 nats",
    gain,
    math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1),
    atol=1e-12,
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: 900 points lie in one cluster, 100 in another far away. What do equal weights cost?
The first 900 lose $\log(0.9 / 0.5)$ nats each, the others gain $\log(0.5 / 0.1)$: on average $\log 2 - \mathcal{H}[0.9, 0.1] = 0.368$ nats per point.
```

## EM climbs a bound

Knowing all $z$, we would fit each component to its own points.
Knowing the components, we would know the probabilities of all $z$.
**EM, expectation-maximisation, alternates the two, and never lowers the likelihood: it is coordinate ascent, each half the exact maximum of one and the same bound.**

Take any distribution $q$ over the $K$ components.
Write $p(x) = p(x, k) / p(k \mid x)$, which is the same for each $k$, take logarithms, and average over $q$:

$$
\log p(x) = \underbrace{\sum_k q_k \log \frac{p(x, k)}{q_k}}_{\mathrm{ELBO}(q, \theta)}
+ \underbrace{\sum_k q_k \log \frac{q_k}{p(k \mid x)}}_{\mathrm{KL}(q \,\Vert\, p(z \mid x)) \,\ge\, 0} .
$$ (eq-kde-elbo)

The ELBO, *evidence lower bound*, is never above $\log p(x)$, and equal where $q$ is the posterior {cite:p}`neal1998`.

- **E-step:** maximise over $q$. The posterior closes the gap: $q_{nk} = r_{nk}$, the responsibilities.
- **M-step:** maximise over $\theta = (\pi, \mu, \Sigma)$. What depends on $\theta$ is $\sum_{n,k} r_{nk} \log p(x_n, k)$, a log-likelihood with weights, and its maximum is known:

$$
\begin{aligned}
n_k &= \sum_n r_{nk}, \qquad \pi_k = \frac{n_k}{N}, \qquad \mu_k = \frac{1}{n_k} \sum_n r_{nk}\, x_n, \\
\Sigma_k &= \frac{1}{n_k} \sum_n r_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top .
\end{aligned}
$$ (eq-kde-m-step)

(Set the derivatives to zero; a Lagrange multiplier keeps $\sum_k \pi_k = 1$.)
This is `fit`, without its two keywords.

Put together, with $\theta'$ for the new parameters and all terms summed over the data,

$$
\log p_{\theta'}(x) \;\ge\; \mathrm{ELBO}(r, \theta') \;\ge\; \mathrm{ELBO}(r, \theta) \;=\; \log p_\theta(x) :
$$ (eq-kde-monotone)

a bound, an M-step, an E-step.
The likelihood never falls {cite:p}`dempster1977`.

```{figure} ../figures/kde_gmm_em.svg
:name: fig-kde-em
:alt: Three bars side by side, each made of an orange part, the ELBO, and a grey part on top, the KL divergence; the whole height is log p. In the first bar the grey part is large. An arrow, E-step, leads to the second bar of the same height, all orange. An arrow, M-step, leads to the third, where the orange part is higher than the second bar, and a new grey part stands on top.
:width: 520px

One step of EM. The E-step closes the gap and leaves $\log p$ as it is; the M-step raises the bound, and $\log p$ with it, by at least as much.
```
"""


# %% tags=["twin:dgm.models.em.elbo", "twin:dgm.models.em.em", "method"]
def elbo(mixture, x, q):
    return (q * mixture.log_joint(x) - torch.xlogy(q, q)).sum(1)


def em(mixture, x, **prior):
    while True:
        r = responsibilities(mixture, x)  # E-step
        mixture = mixture.fit(x, r, **prior)  # M-step
        yield mixture


# %% tags=["hide-input"]
# EM from many starts, and what happens in each half step
def start(x, num_components):
    """Equal weights, means at random data points, a third of the covariance of all."""
    weights = torch.full((num_components,), 1 / num_components, dtype=x.dtype)
    means = x[torch.randperm(len(x))[:num_components]]
    return MixtureOfGaussians(
        weights, means, (torch.cov(x.T) / 3).expand(num_components, -1, -1)
    )


def climb(mixture, x, num_steps, **prior):
    """Mixtures; each half step: means of ELBO and log p, their largest difference."""
    mixtures, rows, q = [mixture], [], None
    for new in islice(em(mixture, x, **prior), num_steps):
        q = responsibilities(mixture, x)
        for now in (mixture, new):
            bound, log_p = elbo(now, x, q), log_prob(now, x)
            rows.append(
                (
                    bound.mean().item(),
                    log_p.mean().item(),
                    (bound - log_p).abs().max().item(),
                )
            )
        mixture = new
        mixtures.append(new)
    return mixtures, tensor(rows)


climbs = [climb(start(x, 5), x, 60) for _ in range(P.starts)]
best_climb = max(climbs, key=lambda climb: climb[1][-1, 1])

# %% tags=["hide-input"]
# The recorded number: ELBO against log p after each E-step
em_error = run.record(
    "em_identity_max_error",
    max(rows[::2, 2].max().item() for _, rows in climbs),
    unit="nats",
    protocol=f"largest |ELBO - log p| of a point after an E-step: {P.starts} starts of "
    "60 steps of EM, five Gaussians, 600 points in two dimensions, double precision",
)

# %% tags=["check"]
rows = best_climb[1]
checks.at_most("after each E-step ELBO = log p", em_error, 1e-10)
lowest = min((rows[:, 1] - rows[:, 0]).min().item() for _, rows in climbs)
checks.at_least("ELBO is a lower bound", lowest, -1e-13)
checks.at_least(
    "after the M-step there is a gap: mean KL at the first",
    rows[1, 1] - rows[1, 0],
    1e-3,
)
# Means of 600 numbers of size ten, each with a relative rounding of 1e-16.
steps = torch.cat([rows[2::2, 1] - rows[:-2:2, 1] for _, rows in climbs])
checks.at_least("log-likelihood, smallest change in a step", steps.min(), -1e-13)
gains = torch.cat([rows[1::2, 0] - rows[::2, 0] for _, rows in climbs])
checks.at_least("ELBO, smallest change in an M-step", gains.min(), -1e-13)

# %% tags=["check"]
early, late = best_climb[0][2], best_climb[0][-1]
q = torch.softmax(torch.randn(len(x), 5, dtype=torch.float64), 1)
kl = (q * (q.log() - responsibilities(late, x).log())).sum(1)
checks.close(
    "log p = ELBO + KL for any q", elbo(late, x, q) + kl, log_prob(late, x), atol=1e-12
)
counts = responsibilities(late, x).sum(0)
checks.close(
    "responsibilities sum to the number of points", counts.sum(), 600.0, rtol=1e-13
)
order = [3, 0, 4, 1, 2]
shuffled = MixtureOfGaussians(
    late.weights[order], late.means[order], late.covariances[order]
)
checks.close(
    "the order of the components does not matter",
    log_prob(shuffled, x),
    log_prob(late, x),
    atol=1e-12,
)


def slope(mixture):
    """Largest component of the gradient of the mean log-likelihood."""
    free = [
        v.clone().requires_grad_()
        for v in (mixture.weights.log(), mixture.means, mixture.covariances)
    ]
    model = MixtureOfGaussians(torch.softmax(free[0], 0), free[1], free[2])
    gradients = torch.autograd.grad(log_prob(model, x).mean(), free)
    return max(gradient.abs().max().item() for gradient in gradients)


*_, fixed = islice(em(late, x), 500)
checks.at_least("gradient of log p after two steps", slope(early), 1e-2)
checks.at_most("gradient of log p at the fixed point", slope(fixed), 1e-9)

# %% tags=["check"]
# Two points at -1 and 1, two components at -m and m with variance s: all by hand.
pair, m, s = tensor([[-1.0], [1.0]]), 0.3, 0.2
twin = MixtureOfGaussians(
    tensor([0.5, 0.5]), tensor([[-m], [m]]), s * torch.ones(2, 1, 1).double()
)
after = next(em(twin, pair))
new = math.tanh(m / s)
# A dozen roundings of numbers near one, 1e-16 each.
checks.close(
    "two points, one step: means -tanh(m / s), tanh(m / s)",
    after.means[:, 0],
    [-new, new],
    atol=5e-15,
)
checks.close(
    "two points, one step: variance 1 - tanh^2",
    after.covariances[:, 0, 0],
    [1 - new**2] * 2,
    atol=5e-15,
)
old_mean = (
    1 - new**2 + (new - m) ** 2
)  # the variance around the mean of the step before
wrong = MixtureOfGaussians(
    after.weights, after.means, old_mean * torch.ones(2, 1, 1).double()
)
r = responsibilities(twin, pair)
lost = (elbo(after, pair, r) - elbo(wrong, pair, r)).sum()
checks.at_least("covariance around the old mean: nats of ELBO lost", lost, 0.1)
checks.at_least(
    "two points, one step: nats gained",
    (log_prob(after, pair) - log_prob(twin, pair)).sum(),
    0.1,
)


# %% tags=["check"]
from sklearn.mixture import GaussianMixture as LibraryMixture

first = best_climb[0][0]
library = LibraryMixture(
    5,
    reg_covar=0.0,
    max_iter=10,
    tol=0.0,
    weights_init=first.weights,
    means_init=first.means,
    precisions_init=torch.linalg.inv(first.covariances),
)
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that ten steps did not converge
    library.fit(x)
ours = best_climb[0][10]
checks.close(
    "ten steps, means: those of scikit-learn", ours.means, library.means_, atol=1e-9
)
checks.close(
    "ten steps, covariances", ours.covariances, library.covariances_, atol=1e-9
)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "EM on the pinwheel, half step by half step. Left: points in the colours of their responsibilities, and the components. Right: log p per point (black) and the ELBO (orange); the grey between them is KL.", "name": "fig-kde-em-film"}}
def draw_climb(half):
    mixtures, rows = best_climb
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8), width_ratios=(1, 0.9))
    shown = mixtures[(half + 1) // 2]
    coloured = responsibilities(mixtures[half // 2], x).float() @ PALETTE[:5]
    cloud(left, x, coloured.clamp(0, 1).numpy())
    ellipses(left, shown, color=plotting.COLOURS[1])
    bound, log_p = rows[: half + 1, 0], rows[: half + 1, 1]
    right.fill_between(range(half + 1), bound, log_p, color="0.8", linewidth=0)
    right.plot(log_p, "k-")
    right.plot(bound, "o-", color=plotting.COLOURS[1], markersize=4)
    right.text(12, rows[2, 0], "ELBO", color=plotting.COLOURS[1])
    right.text(1, rows[-1, 1], "log p")
    right.set(
        xlim=(-0.5, 25),
        ylim=(rows[0, 1] - 0.1, rows[-1, 1] + 0.1),
        xlabel="half step",
        ylabel="nats per point",
    )
    return fig


plotting.film(
    map(draw_climb, range(P.half_steps)),
    labels=[
        f"{'M' if half % 2 else 'E'}-step {half // 2 + 1}"
        for half in range(P.half_steps)
    ],
    alt="Five ellipses that begin large and on top of one another move apart and turn, "
    "each onto one arm of the wheel. Beside it the orange bound touches the black "
    "line at every E-step and rises with it at every M-step.",
    fps=2,
    width=640,
)

# %% [markdown]
r"""
Watch the right panel: at each E-step the bound jumps up to $\log p$, at each M-step both rise, and the gap opens again, because the responsibilities are now those of the old parameters.
At a fixed point the bound is at its maximum, since the M-step moves nothing, and the gap at its minimum, zero: neither has a gradient, nor has their sum, the log-likelihood.
But which fixed point?
The likelihood of a mixture has many maxima, not only those in which the components have changed places.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean log-likelihood against the step of EM, one curve for each start on the same 600 points. Dashed: the truth.", "name": "fig-kde-starts"}, "image": {"alt": "Curves that rise, most of them in several waves with flat stretches between. Many end together slightly above the dashed line, others stay on lower plateaus."}}
fig, ax = plt.subplots(figsize=(6.6, 2.4))
for _, rows in climbs:
    ax.plot(rows[::2, 1], color=plotting.COLOURS[1], alpha=0.45, linewidth=1.2)
plotting.reference_line(ax, log_prob(wheel, x).mean().item(), "truth")
_ = ax.set(xlabel="step", ylabel="log p (nats per point)")

# %% tags=["check"]
ends = tensor([rows[-1, 1].item() for _, rows in climbs])
spread = ends.max() - ends.min()
checks.at_least("nats per point between the best and the worst start", spread, 0.02)
over = ends.max() - log_prob(wheel, x).mean()
below = (log_prob(wheel, x_held_out) - log_prob(late, x_held_out)).mean()
if run.profile != "smoke":
    what = "the best start: above the truth, on the points that it was fitted to"
    checks.at_least(what, over, 0)
    checks.at_least("and below it on new points", below, 0)

# %% [markdown]
r"""
**EM finds a local maximum at best; start it several times, and keep the highest.**
Every curve rises in every step, and yet some end on lower plateaus.

```{dropdown} A one-minute question: why is the best fit better than the truth?
It was chosen for these 600 points.
On 5,000 new points of the same kind the truth is better.
```

## Where maximum likelihood breaks

**The likelihood of a Gaussian mixture has no maximum: put one component on one data point, and let it shrink.**
That point gains without bound, $-\log \sigma$ in one dimension, and the other component gives the other points a finite $\log p$.
Densities may exceed one, and a positive $\log p$ is no mistake; but here it says nothing about the data.

The cure is a prior.
With $\nu$ pseudo-observations of variance $\varepsilon$ for each component,

$$
\log p(\theta) = -\frac{\nu}{2} \sum_k \bigl( \log \det \Sigma_k + \varepsilon\, \mathrm{tr}\, \Sigma_k^{-1} \bigr) + \text{const} ,
$$ (eq-kde-prior)

of the form of an inverse Wishart density with $\nu - d - 1$ degrees of freedom, the M-step maximises ELBO plus $\log p(\theta)$.
(Its integral is finite only for $\nu > 2 d$; the maximisation does not need that.)
Only the covariance changes:

$$
\Sigma_k = \frac{\sum_n r_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top + \nu\, \varepsilon\, I}{n_k + \nu} .
$$ (eq-kde-map)

These are the two keywords of `fit`, `pseudo_count` $= \nu$ and `pseudo_variance` $= \varepsilon$.
"""


# %%
few = torch.randn(40, 1, dtype=torch.float64)
sigmas = torch.logspace(-12, 0.5, 200, dtype=torch.float64)


def spike(sigma):
    """Half the weight on a standard normal, half within sigma of the first point."""
    means = torch.stack([torch.zeros(1).double(), few[0]])
    return MixtureOfGaussians(
        tensor([0.5, 0.5]), means, tensor([[[1.0]], [[sigma**2]]])
    )


def log_prior(mixture, pseudo_count, pseudo_variance):
    inverse = torch.linalg.inv(mixture.covariances)
    trace = inverse.diagonal(dim1=1, dim2=2).sum(1)
    log_det = torch.logdet(mixture.covariances)
    return -pseudo_count / 2 * (log_det + pseudo_variance * trace).sum()


spiked = tensor([log_prob(spike(s), few).sum() for s in sigmas])
mended = spiked + tensor([log_prior(spike(s), 2.0, 0.1) for s in sigmas])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: total log-likelihood of 40 points when one component sits on a data point with standard deviation sigma (grey), and with the prior added (orange). Right: the density for sigma = 0.003, and the data.", "name": "fig-kde-spike"}, "image": {"alt": "Left: to the left, as sigma goes to zero, the grey curve rises along a straight line for ever, while the orange curve falls steeply; it has its maximum near one. Right: a low hill over a row of ticks, and a needle that leaves the top of the picture at one tick."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 2.6))
left.plot(sigmas, spiked, color="grey")
left.plot(sigmas, mended, color=plotting.COLOURS[1])
left.text(1e-8, spiked[60] + 3, "likelihood", color="grey")
left.text(
    0.006, spiked.min() - 18, "with the prior", color=plotting.COLOURS[1], ha="right"
)
left.set(
    xscale="log",
    ylim=(spiked.min() - 30, spiked.max() + 5),
    xlabel="sigma",
    ylabel="log-likelihood (nats)",
)
fine = torch.cat(
    [line[:, 0], few[0] + torch.linspace(-0.02, 0.02, 201).double()]
).sort()[0]
right.plot(fine, log_prob(spike(0.003), fine[:, None]).exp(), color=plotting.COLOURS[1])
right.plot(few, 0 * few - 0.04, "|", color=plotting.COLOURS[0])
_ = right.set(xlim=(-3.5, 3.5), ylim=(-0.08, 1.2), xlabel="x", ylabel="density")

# %% tags=["check"]
gain = log_prob(spike(1e-9), few).sum() - log_prob(spike(1e-8), few).sum()
# At its own point the broad component adds a relative sigma at most, 1e-8.
checks.close("sigma / 10: likelihood up by log 10", gain, math.log(10), atol=2e-8)
shared = []
for sigma in (1e-2, 1e-3):
    means, variances = spike(1.0).means, sigma**2 * torch.ones(2, 1, 1).double()
    both = MixtureOfGaussians(tensor([0.5, 0.5]), means, variances)
    shared.append(log_prob(both, few).sum())
lost = shared[0] - shared[1]
checks.at_least("one sigma for both components, / 10: nats lost", lost, 1_000)
checks.true("with the prior: a maximum inside", 0 < mended.argmax() < len(sigmas) - 1)
first, second, third = (float(m.covariances.max()) for m in islice(em(twin, pair), 3))
checks.at_most("EM on two points, second step: variance", second, 1e-3)
checks.close("EM on two points, third step: variance", third, 0.0)
prior = dict(pseudo_count=3.0, pseudo_variance=0.2)
kept = next(islice(em(twin, pair, **prior), 200, None))
checks.at_least("with the prior: variance", kept.covariances.min(), 0.1)


r = responsibilities(early, x)
step = early.fit(x, r, **prior)
covariances = step.covariances.clone().requires_grad_()
model = MixtureOfGaussians(step.weights, step.means, covariances)
objective = elbo(model, x, r).sum() + log_prior(model, **prior)
checks.close(
    "the M-step: gradient of ELBO + log prior",
    torch.autograd.grad(objective, covariances)[0],
    torch.zeros(5, 2, 2),
    atol=1e-9,
)
path = [early, *islice(em(early, x, **prior), 40)]
posterior = tensor([log_prob(m, x).sum() + log_prior(m, **prior) for m in path])
checks.at_least(
    "log-likelihood + log prior, smallest change in a step",
    posterior.diff().min(),
    -1e-9,
)


# %% tags=["check"]
tiny = 1e-4 * x.numpy()  # the same points in other units
by_default = LibraryMixture(5, random_state=0).fit(tiny)
by_hand = LibraryMixture(5, random_state=0, reg_covar=0.0).fit(tiny)
missed = by_hand.score(tiny) - by_default.score(tiny)
checks.at_least(
    "scikit-learn's floor of 1e-6, points 10,000 times as close: nats missed",
    missed,
    1.0,
)

# %% [markdown]
r"""
```{margin}
**Two common mistakes:** covariances around the *old* means, which are too large by the square of the shift; and trust in a library's default floor:
scikit-learn adds `reg_covar` $= 10^{-6}$ to each variance, in the units of the data, whatever these are.
```

EM itself can run into a singularity: on two points, in double precision, the variance is zero after three steps; with the prior it stays above 0.1.

**One covariance for all components is another cure; how many numbers the data can pay for, held-out points say.**
A full covariance has $d (d + 1) / 2$ numbers.
It may be shared, which forbids that one component shrinks alone, or be diagonal, or spherical, $\sigma_k^2 I$, which do not; then each M-step ends with the average over components, weighted with $\pi_k$, or with the diagonal, or with its mean.
"""


# %%
class Shared(MixtureOfGaussians):
    @classmethod
    def fit(cls, x, r, **prior):
        full = MixtureOfGaussians.fit(x, r, **prior)
        shared = torch.einsum("k,kij->ij", full.weights, full.covariances)
        return cls(full.weights, full.means, shared.expand_as(full.covariances))


class Diagonal(MixtureOfGaussians):
    @classmethod
    def fit(cls, x, r, **prior):
        full = MixtureOfGaussians.fit(x, r, **prior)
        variances = full.covariances.diagonal(dim1=1, dim2=2)
        return cls(full.weights, full.means, torch.diag_embed(variances))


class Spherical(MixtureOfGaussians):
    @classmethod
    def fit(cls, x, r, **prior):
        full = MixtureOfGaussians.fit(x, r, **prior)
        variances = full.covariances.diagonal(dim1=1, dim2=2).mean(1)
        eye = torch.eye(x.shape[1]).to(x)
        return cls(full.weights, full.means, variances[:, None, None] * eye)


# %% tags=["hide-input"]
# Counting parameters, and the best of several starts for each shape
def num_parameters(shape, num_components, dim):
    full = dim * (dim + 1) // 2
    each = {"full": full, "diagonal": dim, "spherical": 1, "shared": 0}[shape]
    return (
        num_components * (dim + each) + num_components - 1 + full * (shape == "shared")
    )


def best_of(shape, num_components, num_starts=8):
    """The best of several starts of 80 steps of EM on x, with a weak prior."""
    fits, slight = [], dict(pseudo_count=1.0, pseudo_variance=0.05)
    for _ in range(num_starts):
        first = start(x, num_components)
        first = SHAPES[shape](first.weights, first.means, first.covariances)
        fits.append(next(islice(em(first, x, **slight), 79, None)))
    return max(fits, key=lambda mixture: log_prob(mixture, x).sum())


SHAPES = {
    "full": MixtureOfGaussians,
    "shared": Shared,
    "diagonal": Diagonal,
    "spherical": Spherical,
}

# %% tags=["hide-input"]
# Fits of four shapes with five components, and of full covariances with one to nine
shapes = {shape: best_of(shape, 5, P.starts // 2) for shape in SHAPES}
sizes = {k: best_of("full", k, P.starts // 2) for k in range(1, 10)}


def bic(mixture, shape):
    """Minus twice the log-likelihood, plus log N for each parameter."""
    penalty = math.log(len(x)) * num_parameters(shape, len(mixture.weights), 2)
    return (penalty - 2 * log_prob(mixture, x).sum()).item()


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Four shapes of covariance with five components (above), and the number of components with full covariances (below): log-likelihood per point of the training points (grey), of 5,000 held-out points (orange), and BIC (black, the less the better).", "name": "fig-kde-shapes"}, "image": {"alt": "Above: the five arms with ellipses; full ones follow the arms, shared and spherical ones are circles or nearly, diagonal ones are upright or level. Below: the training likelihood rises with every component; the held-out one rises to five and then falls slowly; BIC is least at five."}}
fig = plt.figure(figsize=(7.4, 4.0))
upper, lower = fig.subfigures(2, 1, height_ratios=(1, 1))
for ax, (shape, mixture) in zip(upper.subplots(1, 4), shapes.items(), strict=True):
    cloud(ax, x, plotting.COLOURS[0])
    ellipses(ax, mixture, color=plotting.COLOURS[1])
    ax.set_title(f"{shape}\nBIC {bic(mixture, shape):,.0f}", fontsize=10)
left, right = lower.subplots(1, 2)
left.plot(
    list(sizes), [log_prob(m, x).mean() for m in sizes.values()], "o-", color="grey"
)
left.plot(
    list(sizes),
    [log_prob(m, x_held_out).mean() for m in sizes.values()],
    "o-",
    color=plotting.COLOURS[1],
)
for points, name, colour, y in (
    (x, "training", "grey", 8),
    (x_held_out, "held out", plotting.COLOURS[1], -16),
):
    end = (9, log_prob(sizes[9], points).mean().item())
    left.annotate(
        name, end, (0, y), color=colour, textcoords="offset points", ha="right"
    )
left.set(xlabel="components K", ylabel="log p (nats per point)", ylim=(-3.8, -2))
right.plot(list(sizes), [bic(m, "full") for m in sizes.values()], "ko-")
_ = right.set(xlabel="components K", ylabel="BIC")

# %% tags=["check"]
counts = [
    num_parameters(shape, 10, 784)
    for shape in ("full", "diagonal", "spherical", "shared")
]
checks.close(
    "numbers for 10 components of a digit", counts, [3_085_049, 15_689, 7_859, 315_569]
)
eye, few_steps = torch.eye(2).double(), dict(reg_covar=0.0, max_iter=10, tol=0.0)
for shape, name, ones in (
    ("full", "full", eye.expand(5, 2, 2)),
    ("shared", "tied", eye),
    ("diagonal", "diag", torch.ones(5, 2)),
    ("spherical", "spherical", torch.ones(5)),
):
    begin = SHAPES[shape](tensor([0.2] * 5), x[:5], eye.expand(5, 2, 2))
    library = LibraryMixture(
        5,
        covariance_type=name,
        weights_init=begin.weights,
        means_init=begin.means,
        precisions_init=ones,
        **few_steps,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = library.fit(x).score_samples(x)
    ours = next(islice(em(begin, x), 9, None))
    what = f"{shape}, ten steps: log density of scikit-learn"
    checks.close(what, log_prob(ours, x), expected, atol=1e-9)
    what = f"{shape}: number of parameters"
    checks.close(what, num_parameters(shape, 5, 2), library._n_parameters())
expected = library.bic(x.numpy())
checks.close("BIC, against scikit-learn", bic(ours, "spherical"), expected, rtol=1e-9)

# %% tags=["check"]
training = tensor([log_prob(m, x).mean() for m in sizes.values()])
held_out = tensor([log_prob(m, x_held_out).mean() for m in sizes.values()])
if run.profile != "smoke":
    checks.at_least(
        "nine components: better on the training points than five",
        training[8] - training[4],
        0,
    )
    checks.at_least(
        "five: better on held-out points than nine", held_out[4] - held_out[8], 0
    )
    checks.close(
        "guard: BIC chooses",
        1 + min(range(9), key=lambda i: bic(sizes[i + 1], "full")),
        5,
    )
    best_shape = min(shapes, key=lambda shape: bic(shapes[shape], shape))
    checks.true("guard: among four shapes BIC chooses full", best_shape == "full")

# %% [markdown]
r"""
The training likelihood rises with every component and chooses nothing; held-out points do.
The Bayesian information criterion, BIC {cite:p}`schwarz1978`, needs none: it is $-2 \log p$ of the $N$ training points plus $\log N$ for each number.

```{dropdown} A one-minute question: ten components for digits with 784 pixels: how many numbers?
3,085,049 with full covariances, 315,569 with a shared one, 15,689 with diagonal and 7,859 with spherical ones.
A full M-step costs $O(N d^2)$ for each component, a diagonal one $O(N d)$.
```

## Digits from a mixture

**For black and white images a component is 784 coins, and EM is the same two lines.**
Each image is binarised once, with its grey values as probabilities, and that draw is kept.
A component has a probability $p_{ki}$ for each pixel; its M-step is the weighted mean of the images, with half a pseudo-count for "on" and for "off", so that no pixel becomes impossible:

$$
\begin{aligned}
\log p(x, k) &= \log \pi_k + \sum_i \log \bigl( p_{ki}^{x_i} (1 - p_{ki})^{1 - x_i} \bigr), \\
p_{ki} &= \frac{\sum_n r_{nk}\, x_{ni} + \tfrac12}{n_k + 1} .
\end{aligned}
$$ (eq-kde-bernoulli)
"""


# %% tags=["twin:dgm.models.em.MixtureOfBernoullis"]
class MixtureOfBernoullis:
    def __init__(self, weights, probs):
        self.weights, self.probs = weights, probs

    def log_joint(self, x):
        logits = torch.logit(self.probs)
        return self.weights.log() + x @ logits.T - softplus(logits).sum(1)

    def sample(self, num_samples, *, generator=None):
        picked = torch.multinomial(
            self.weights, num_samples, replacement=True, generator=generator
        )
        return torch.bernoulli(self.probs[picked], generator=generator)

    @classmethod
    def fit(cls, x, r, *, pseudo_count=0.5):
        counts = r.sum(0)  # n_k
        probs = (r.T @ x + pseudo_count) / (counts[:, None] + 2 * pseudo_count)
        return cls(counts / len(x), probs)


# %%
def binary(part):
    images = dgm.data.binarise(run.data.vectors(part), method="stochastic", rng=run.rng)
    return torch.from_numpy(images).to(run.device)


digits, digits_test = binary("train")[: P.num_images], binary("test")


def fit_digits(num_components):
    """All mixtures on the way; at first the images are dealt out at random."""
    dealt = torch.randint(num_components, (len(digits),), device=run.device)
    first = MixtureOfBernoullis.fit(digits, one_hot(dealt, num_components).float())
    return [first, *islice(em(first, digits), P.em_steps)]


# %% tags=["hide-input"]
# Fits with few and with many components, and what is recorded of them
PUBLISHED = {10: 168.95, 500: 137.64}  # Germain et al. 2015
histories, nll = {}, {}
for num_components in dgm.progress(P.num_components, "mixtures"):
    histories[num_components] = fit_digits(num_components)
    log_p = log_prob(histories[num_components][-1], digits_test)
    nll[num_components] = run.record(
        f"bernoulli_mixture_{num_components}_test_nll",
        -log_p.mean(),
        unit="nats",
        standard_error=log_p.std() / len(log_p) ** 0.5,
        protocol=f"mixture of {num_components} Bernoulli components, {P.em_steps} "
        "steps of EM from a random partition, pseudo-count 1/2, own static stochastic "
        f"binarisation, {len(digits):,} training images, all test images",
        published=PUBLISHED.get(num_components),
        source="Germain et al. 2015, another draw of the binarisation"
        if num_components in PUBLISHED
        else None,
    )
mixture = histories[P.num_components[1]][-1]

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The pixel probabilities of 36 components, those with most weight at the end, after each step of EM.", "name": "fig-kde-film"}}
heaviest = mixture.weights.argsort(descending=True)[:36]
shown = [
    m.probs[heaviest].reshape(-1, 28, 28).cpu().numpy()
    for m in histories[P.num_components[1]][:16]
]
plotting.film(
    [plotting.tile(frame, columns=12) for frame in shown],
    labels=[f"{step} steps of EM" for step in range(len(shown))],
    alt="Small pictures that begin as the same grey blot. Within a few steps shapes "
    "appear in them, and they become blurred digits, each written in another way.",
    fps=3,
    width=640,
)

# %% [markdown]
r"""
At the start the images are dealt out to the components at random, so that all begin as nearly the same picture, the mean of all digits.
Small differences grow, since each image is given to the components that predict it best, and these then predict it better still.
"""

# %% tags=["hide-input"]
# The table: nats per test image, and labels guessed by the component
labels = torch.from_numpy(run.data.labels[: len(digits)].astype("int64"))
labels_test = torch.from_numpy(run.data.test_labels.astype("int64"))


def agreement(model):
    """Components take the label of most of their training images: who agrees?"""
    votes = one_hot(labels, 10).float().T @ responsibilities(model, digits).cpu()
    return (
        (
            votes.argmax(0)[responsibilities(model, digits_test).argmax(1).cpu()]
            == labels_test
        )
        .float()
        .mean()
    )


one = MixtureOfBernoullis.fit(digits, torch.ones(len(digits), 1, device=run.device))
nll[1] = -log_prob(one, digits_test).mean().item()
agreed = {
    k: agreement(history[-1]).item() for k, history in {1: [one], **histories}.items()
}
plotting.table(
    [
        (
            k,
            f"{nll[k]:.1f}",
            f"{agreed[k]:.0%}",
            f"{PUBLISHED[k]}" if k in PUBLISHED and run.on_mnist else "",
        )
        for k in sorted(nll)
    ],
    columns=("components", "nats per test image", "labels guessed", "published, nats"),
)

# %% tags=["check"]
bits = (torch.arange(256)[:, None] >> torch.arange(8) & 1).double()
small = MixtureOfBernoullis(tensor([0.2, 0.3, 0.5]), torch.rand(3, 8).double())
checks.normalised(
    "probabilities of all 256 images of 8 pixels", log_prob(small, bits), atol=1e-12
)
pixels = torch.distributions.Bernoulli(probs=small.probs)
reference = torch.distributions.MixtureSameFamily(
    torch.distributions.Categorical(small.weights),
    torch.distributions.Independent(pixels, 1),
)
checks.close(
    "log p, against torch.distributions",
    log_prob(small, bits),
    reference.log_prob(bits),
    atol=1e-12,
)
drawn = small.sample(100_000)
checks.unbiased(
    "samples: mean of x1 x2",
    drawn[:, 0] * drawn[:, 1],
    log_prob(small, bits).exp() @ (bits[:, 0] * bits[:, 1]),
)
some = drawn[:300]
path = [small, *islice(em(small, some), 30)]
posterior = tensor(
    [
        log_prob(m, some).sum() + (m.probs.log() + (1 - m.probs).log()).sum() / 2
        for m in path
    ]
)
checks.at_least(
    "log-likelihood + log prior, smallest change in a step",
    posterior.diff().min(),
    -1e-10,
)

# %% tags=["check"]
probs = path[1].probs.clone().requires_grad_()
expected = elbo(
    MixtureOfBernoullis(path[1].weights, probs), some, responsibilities(small, some)
).sum()
expected = expected + (probs.log() + (1 - probs).log()).sum() / 2
checks.close(
    "M-step: gradient of ELBO + log prior",
    torch.autograd.grad(expected, probs)[0],
    torch.zeros(3, 8),
    atol=1e-10,
)
gain = agreed[P.num_components[1]] - agreed[1]
checks.at_least("guard: labels guessed, more than by one component", gain, 0.2)
naive = mixture.log_joint(digits_test[:100]).exp().sum(1)
checks.true(
    "exp without log-sum-exp, single precision: zero for most digits",
    (naive == 0).float().mean() > 0.5,
)
if run.on_mnist and run.profile != "smoke":
    checks.close("independent pixels, 205.8 nats", nll[1], 205.8, atol=1.0)
    checks.at_most(
        "10 components: published, for another draw, and half a nat", nll[10], 169.5
    )
    checks.at_most("100 components", nll[100], 139.5)
    checks.at_least("guard: labels guessed by 100 components", agreed[100], 0.75)
if run.on_mnist and run.profile == "full":
    checks.at_most("500 components", nll[500], 137.64 + 0.5)

# %% [markdown]
r"""
A hundred components need less than 140 nats (on 5 seeds), where independent pixels, the mixture with one component, need 206.
No component was told what a digit is, and yet the label that is most frequent in a component is right for more than three images in four.
The published values {cite:p}`germain2015` are for another draw of the binarisation.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: binarised test images, ordered by their ink, one factor of variation among many. Right: samples of a mixture of Bernoulli components, none of them chosen.", "name": "fig-kde-digits"}, "image": {"alt": "Two grids of black and white pictures. On the left handwritten digits with clean strokes; on the right shapes of digits, many of them readable, made of scattered dots as if printed through a sieve."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8))
by_ink = digits_test[:40].sum(1).argsort()
plotting.image_grid(digits_test[by_ink].cpu(), columns=8, ax=left)
_ = plotting.image_grid(mixture.sample(40).cpu(), columns=8, ax=right)

# %% [markdown]
r"""
The shapes are right, the strokes are torn: inside a component pixels are independent.
Can a component know strokes?
**Give it a covariance.**
We shrink the grey images to 14 x 14 and take one M-step, with the responsibilities that we have and with pseudo-observations, for Gaussians with 196 x 196 covariances.
"""


# %%
def small_grey(images):
    """Dequantised and averaged over 2 x 2 pixels, shape (num_images, 196)."""
    grey = dgm.data.dequantise(images, rng=run.rng).reshape(-1, 14, 2, 14, 2)
    return torch.from_numpy(grey.mean((2, 4))).reshape(-1, 196).float()


grey, grey_test = (
    small_grey(run.data.images[: len(digits)]),
    small_grey(run.data.test_images[:2_000]),
)
prior = dict(pseudo_count=50.0, pseudo_variance=0.003)
single = MixtureOfGaussians.fit(grey, torch.ones(len(grey), 1), **prior)
alive = mixture.weights > 1e-3  # a component may have lost all its images
some = MixtureOfBernoullis(mixture.weights[alive], mixture.probs[alive])
many = MixtureOfGaussians.fit(grey, responsibilities(some, digits).cpu(), **prior)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: digits of 14 x 14 pixels. Middle: samples of one Gaussian with their mean and covariance. Right: samples of a mixture of Gaussians, after one M-step.", "name": "fig-kde-gaussians"}, "image": {"alt": "Three grids of small grey pictures: handwritten digits; clouds of strokes without shape; and pictures most of which are readable digits with some noise."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.9))
for ax, images in zip(
    axes, (grey_test[:36], single.sample(36), many.sample(36)), strict=True
):
    plotting.image_grid(images.reshape(-1, 14, 14).clamp(0, 1), columns=6, ax=ax)

# %% tags=["check"]
bytes_ = torch.tensor(run.data.images[:100]).reshape(-1, 28, 28).float()
pooled = torch.nn.functional.avg_pool2d(bytes_, 2).reshape(-1, 196) / 256
what = "14 x 14: means of 2 x 2 bytes, and up to one grey level more"
checks.close(what, grey[:100], pooled + 0.5 / 256, atol=0.5 / 256 + 1e-6)
gain = log_prob(many, grey_test) - log_prob(single, grey_test)
error = gain.std() / len(gain) ** 0.5
if run.on_mnist:
    what = "many Gaussians over one: nats per test image, less five standard errors"
    checks.at_least(what, gain.mean() - 5 * error, 0)

# %% [markdown]
r"""
Now the strokes hold together, and many samples can be read, though no network was trained; {cite:t}`richardson2018` compare such mixtures with GANs on faces.

How good is one Gaussian?
It is where some tables of normalising flows on MNIST begin, in *logit space*: a byte $b$ becomes $s = \lambda + (1 - 2 \lambda)\, (b + u) / 256$ with $u$ uniform and $\lambda = 10^{-6}$, and then $\log \frac{s}{1 - s}$.
"""


# %%
def logit_space(images):
    """Images as points in 784 dimensions, and the log-Jacobian of the map."""
    squeezed = dgm.data.dequantise(images, rng=run.rng).reshape(-1, 784)
    squeezed = 1e-6 + (1 - 2e-6) * torch.from_numpy(squeezed)
    log_jacobian = math.log(1 - 2e-6) - squeezed.log() - torch.log1p(-squeezed)
    return torch.logit(squeezed), log_jacobian.sum(1)


points, _ = logit_space(run.data.images[: run.data.num_train][: P.gaussian_images])
gaussian = MixtureOfGaussians.fit(points, torch.ones(len(points), 1).double())
points_test, log_jacobian = logit_space(run.data.test_images)
log_p = log_prob(gaussian, points_test)

# %% tags=["hide-input"]
# The recorded number, beside the published one, and in bits per pixel
gaussian_ll = run.record(
    "gaussian_logit_test_log_likelihood",
    log_p.mean(),
    unit="nats",
    standard_error=log_p.std() / len(log_p) ** 0.5,
    protocol="density in logit space, lambda 1e-6, without the Jacobian, one Gaussian "
    f"with full covariance fitted to {len(points):,} training images, all test images",
    published=-1366.9,
    source="Papamakarios et al. 2017: Gaussian on MNIST, +/- 1.4 (two standard errors)",
)
bits_per_pixel = 8 - (gaussian_ll + log_jacobian.mean().item()) / (784 * math.log(2))
print(
    f"log-Jacobian {log_jacobian.mean():.1f} nats: {bits_per_pixel:.2f} bits per pixel"
)

# %% tags=["check"]
# d logit(s) / ds = 1 / (s (1 - s)) = exp(softplus(z) + softplus(-z)), z = logit(s)
slope_log = softplus(points_test) + softplus(-points_test)
by_bytes = log_p + (math.log((1 - 2e-6) / 256) + slope_log).sum(1)  # density of b + u
expected = -by_bytes.mean() / (784 * math.log(2))
what = "bits per pixel = minus log2 of the density of a byte"
checks.close(what, bits_per_pixel, expected, rtol=1e-8)
if run.on_mnist:
    # The standard error over the test images is 1.4 nats; the draws of u differ.
    checks.close(
        "log-Jacobian of the test images, 4620.1 nats",
        log_jacobian.mean(),
        4620.1,
        atol=5 * 1.4,
    )
if run.on_mnist and run.profile != "smoke":
    checks.close("one Gaussian, as published", gaussian_ll, -1366.9, atol=4.0)
    # Four nats are 0.007 bits per pixel.
    checks.close("bits per pixel, 2.0", bits_per_pixel, 2.0, atol=0.05)

    table = CountTable(digits.cpu().byte().numpy(), neighbours([(0, -1), (-1, 0)]))
    by_table = -table.log_prob(digits_test.cpu().byte().numpy()).mean()
    checks.at_least(
        "nats by which two neighbours beat 100 components", nll[100] - by_table, 10
    )
    numbers = mixture.probs.numel() + len(mixture.weights) - 1
    both = "numbers in the table, in the mixture"
    checks.close(both, [table.num_parameters(), numbers], [3_025, 78_499])
    print(f"a table with the two neighbours of each pixel: {by_table:.1f} nats")

# %% [markdown]
r"""
```{margin}
**A common mistake:** to compare nats of a density with nats of a probability.
A density in logit space leaves the Jacobian out, here 4,620 nats; a table without $\lambda$ says nothing.
```

The published value {cite:p}`papamakarios2017` is $-1366.9$ nats.
Plus the Jacobian, divided by $784 \log 2$ and taken from the 8 bits of a raw byte, it leaves 2.0 bits per pixel.

On the binary images, [a table](divergences.ipynb) that knows only the left and the upper neighbour of each pixel, 3,025 numbers, is more than ten nats better than our hundred components with 78,499.
**Clusters explain which digit it is; what a pixel does is decided by its neighbours.**

| | kernel density estimate | mixture |
|:--|:--|:--|
| training | none; one width | EM, from several starts |
| numbers kept | all data, $N d$ | $K (d + 1) - 1$ (coins) to $K (d + 1) (d + 2) / 2 - 1$ (full covariances) |
| $\log p(x)$ | exact, $O(N d)$ | exact, $O(K d)$ to $O(K d^2)$ |
| a sample | a data point plus noise | a component, then a Gaussian |
| latent code | which data point | which component |
| fails | many dimensions; copies the data | singular covariances, local maxima, no locality |

```{admonition} In one card
:class: dgm-card

**Remember**

- $p(x) = \sum_k \pi_k\, p(x \mid k)$, with $K = N$ and equal weights for a kernel density estimate {eq}`eq-kde-mixture`
- bias grows with $h$, variance with $1 / (N h^d)$ {eq}`eq-kde-mise`
- $\log p(x) = \mathrm{ELBO} + \mathrm{KL}$ {eq}`eq-kde-elbo`: the E-step closes the gap, the M-step lifts the bound

**What they can do**

- **Likelihood:** exact, a sum over components.
- **Sampling:** direct, two draws.
- **Latent code:** the component; its posterior is known exactly.
- **What fails:** the number of points grows exponentially with dimension; maximum likelihood is singular; images need to know neighbours.
```
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} The lower half of a digit (easy)
:label: ex-kde-complete
```
Show the mixture the upper half of a digit, and let it guess the rest.
Write `expected_digit(mixture, x, known)`, where `x` holds binary images, one a row, and `known` is a mask of pixels that are given: the mean of each pixel given the known ones, $\sum_k p(k \mid x_\text{known})\, p_{ki}$.
No sampling is needed; use only the pixels that are known.
The reward is a picture.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def expected_digit(mixture, x, known):
    return None


# %% tags=["check"]
def check_expected(answer):
    known = torch.tensor([True] * 4 + [False] * 4)
    if (found := answer(small, bits, known)) is None:
        return print("not yet")
    p = log_prob(small, bits).exp()
    same = (bits[:, None, :4] == bits[None, :, :4]).all(
        2
    ).double() * p  # by the table of all images
    checks.close(
        "means by Bayes, unknown pixels",
        found[:, 4:],
        (same @ bits / same.sum(1, keepdim=True))[:, 4:],
        atol=1e-12,
    )
    upper = torch.arange(784, device=run.device) < 392
    means = answer(mixture, digits_test[:10], upper)
    means = torch.where(upper, digits_test[:10], means)
    pictures = torch.stack([digits_test[:10], means]).reshape(-1, 28, 28).cpu()
    plotting.image_grid(pictures, columns=10, ax=plt.subplots(figsize=(7.4, 1.7))[1])
    return print("right")


check_expected(expected_digit)

# %% [markdown]
r"""
````{solution-start} ex-kde-complete
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Two rows of ten pictures: test digits, and below them the same upper halves with soft grey lower halves, many of which continue the digit."}}
def expected_digit(mixture, x, known):
    part = MixtureOfBernoullis(mixture.weights, mixture.probs[:, known])
    return responsibilities(part, x[:, known]) @ mixture.probs


check_expected(expected_digit)

# %% [markdown]
r"""
Inside a component the pixels are independent, so that unknown ones simply drop out of the product: a mixture of the known pixels has the same weights.
Few models answer such questions exactly; most have to sample.
````{solution-end}
````

```{exercise-start} Uphill on a kernel density estimate (medium)
:label: ex-kde-shift
```
The gradient of $\log \hat p$, the *score*, has a simple form for Gaussian kernels: the mean of the data, weighted with what each kernel contributes at $x$, minus $x$, over $h^2$.
Write `mean_shift(x, data, h)`, one step of $x \leftarrow x + h^2\, \nabla \log \hat p(x)$, for all rows of `x`.
Where does it end, and why does it never overshoot?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def mean_shift(x, data, h):
    return None


# %% tags=["check"]
def check_shift(answer):
    begin = 3 * torch.randn(60, 2, dtype=torch.float64)
    if answer(begin, x, 0.4) is None:
        return print("not yet")
    at = begin.clone().requires_grad_()
    score = torch.autograd.grad(kde_log_prob(at, x, 0.4).sum(), at)[0]
    checks.close(
        "one step = h^2 times the score, by autograd",
        answer(begin, x, 0.4) - begin,
        0.4**2 * score,
        atol=1e-12,
    )
    path = [begin]
    for _ in range(200):
        path.append(answer(path[-1], x, 0.4))
    heights = torch.stack([kde_log_prob(points, x, 0.4) for points in path])
    checks.at_least(
        "log p along the paths, smallest change", heights.diff(dim=0).min(), -1e-12
    )
    ax = plt.subplots(figsize=(4.2, 4.0))[1]
    cloud(ax, x, plotting.COLOURS[0])
    ax.plot(
        *torch.stack(path).permute(2, 0, 1), color=plotting.COLOURS[1], linewidth=0.8
    )
    ax.plot(*path[-1].T, "k.")
    return print("right")


check_shift(mean_shift)

# %% [markdown]
r"""
````{solution-start} ex-kde-shift
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Blue points in five clouds; orange paths that come from all sides, follow the clouds and end in a handful of black dots."}}
def mean_shift(x, data, h):
    return torch.softmax(log_kernels(x, data, h), 1) @ data


check_shift(mean_shift)

# %% [markdown]
r"""
It ends at the modes of the estimate, which may serve as clusters {cite:p}`fukunaga1975`.
The step is one of EM, for a mixture whose shape is fixed and which may only move as a whole, so it never goes down.
The same formula is the [perfect score that memorises](score_sde.ipynb#the-perfect-score-memorises): a kernel density estimate is the density of noisy data.
````{solution-end}
````

```{exercise-start} k-means is a limit of EM (medium)
:label: ex-kde-kmeans
```
Fix the covariances at $\sigma^2 I$ and the weights at $1/K$, and let $\sigma \to 0$.
Write `kmeans_step(x, means)`: the limit of one step of EM, new means of shape (K, d).
What do the responsibilities become?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def kmeans_step(x, means):
    return None


# %% tags=["check"]
def check_kmeans(answer):
    begin = x[torch.randperm(len(x))[:5]]
    if (found := answer(x, begin)) is None:
        return print("not yet")
    weights, covariances = (
        tensor([0.2] * 5),
        1e-6 * torch.eye(2).double().expand(5, 2, 2),
    )
    by_em = next(em(MixtureOfGaussians(weights, begin, covariances), x))
    checks.close(
        "one step of EM with a variance of 1e-6: the means",
        found,
        by_em.means,
        atol=1e-9,
    )
    means = begin
    for _ in range(100):
        means = answer(x, means)
    checks.close("a fixed point after 100 steps", answer(x, means), means, atol=1e-12)

    from sklearn.cluster import KMeans

    library = KMeans(5, init=begin.numpy(), n_init=1, algorithm="lloyd", tol=0).fit(x)
    checks.close(
        "the centres of scikit-learn", means, library.cluster_centers_, atol=1e-9
    )
    return print("right")


check_kmeans(kmeans_step)

# %% [markdown]
r"""
````{solution-start} ex-kde-kmeans
:class: dropdown
````
"""


# %% tags=["solution"]
def kmeans_step(x, means):
    nearest = torch.cdist(x, means).argmin(1)
    return torch.stack([x[nearest == k].mean(0) for k in range(len(means))])


check_kmeans(kmeans_step)

# %% [markdown]
r"""
The responsibilities become zeros and ones: each point belongs to the nearest mean alone.
So k-means inherits from EM that it never makes its objective worse, and that it ends in local optima.
````{solution-end}
````

```{exercise-start} How fast is EM? (hard)
:label: ex-kde-rate
```
Near its fixed point EM acts like a linear map, and the error shrinks in each step by its largest eigenvalue: the share of the information that is missing because $z$ is hidden {cite:p}`dempster1977`.
Take two Gaussians in one dimension, variances 1 and weights $\frac12$ known, means $-m$ and $m$ with $m$ unknown.
For unlimited data from $m = m_0$ a step of EM is $m \leftarrow M(m) = \mathbb{E}\bigl[x \tanh(m x)\bigr]$.
Write `rate(m_0)`, the derivative $M'(m_0)$.
What happens as the two come close?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def rate(m_0):
    return None


# %% tags=["check"]
def check_rate(answer):
    if answer(1.0) is None:
        return print("not yet")
    t = torch.linspace(-12, 12, 4_801, dtype=torch.float64)

    def step(
        m, m_0
    ):  # M(m), by a sum that is exact to rounding for what vanishes at both ends
        p = torch.exp(-((t - m_0) ** 2) / 2) / (2 * math.pi) ** 0.5
        return (p * t * torch.tanh(m * t)).sum().item() * 0.005

    for m_0 in (0.5, 1.0, 2.0):
        checks.close(f"m_0 = {m_0} is a fixed point", step(m_0, m_0), m_0, atol=1e-10)
        numeric = (step(m_0 + 1e-4, m_0) - step(m_0 - 1e-4, m_0)) / 2e-4
        checks.close(f"m_0 = {m_0}: rate", answer(m_0), numeric, atol=1e-6)
    separations = torch.linspace(0.1, 3, 30).tolist()
    ax = plt.subplots(figsize=(5.4, 2.6))[1]
    ax.plot(separations, [answer(m) for m in separations], color=plotting.COLOURS[1])
    ax.set(
        xlabel="half the distance of the means, in deviations",
        ylabel="error left after a step",
    )
    return print("right")


check_rate(rate)

# %% [markdown]
r"""
````{solution-start} ex-kde-rate
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A curve that falls from nearly one, when the means are close, to nearly zero at three standard deviations."}}
def rate(m_0):
    t = torch.linspace(-12, 12, 4_801, dtype=torch.float64)
    p = torch.exp(-((t - m_0) ** 2) / 2) / (2 * math.pi) ** 0.5
    return (p * t**2 / torch.cosh(m_0 * t) ** 2).sum().item() * 0.005


check_rate(rate)

# %% [markdown]
r"""
$M'(m) = \mathbb{E}\bigl[x^2 (1 - \tanh^2(m x))\bigr]$, and $x \tanh(m x)$ is even in $x$, so that half of the mixture suffices for the mean.
Far apart, $z$ is as good as seen, and one step is enough; as the means meet, the rate goes to one, and EM crawls.
The expectation of $1 - \tanh^2$ is the posterior variance of the sign $z$: what is not known of it.
````{solution-end}
````

## Further

### Six kernels

This unit shows that the kernel matters little, and what "smooth" means.
**At its best width each common kernel is nearly as good as any other.**
To leading order the least MISE is proportional to $\bigl(\sqrt{\mathrm{Var}\, k}\, \int k^2\bigr)^{4/5}$, and the Epanechnikov kernel has the least {cite:p}`epanechnikov1969`; most others need a few per cent more points for the same error, the exponential one a third more.
"""

# %%
KERNELS = {  # densities on [-1, 1], but the first
    "Gaussian": lambda u: torch.exp(-(u**2) / 2) / (2 * math.pi) ** 0.5,
    "Epanechnikov": lambda u: 0.75 * (1 - u**2).clamp(min=0),
    "box": lambda u: 0.5 * (u.abs() < 1),
    "triangle": lambda u: (1 - u.abs()).clamp(min=0),
    "cosine": lambda u: math.pi / 4 * torch.cos(math.pi * u / 2) * (u.abs() < 1),
    "exponential": lambda u: torch.exp(-u.abs()) / 2,
}
du = 1e-3
u = torch.arange(-40, 40, du, dtype=torch.float64) + du / 2
cost = {}
for name, kernel in KERNELS.items():
    k = kernel(u)
    cost[name] = ((k * u**2).sum() * du).sqrt().item() * (k**2).sum().item() * du
more_points = {name: value / cost["Epanechnikov"] for name, value in cost.items()}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Six kernels with variance one, their formulas up to a factor, and how many times as many points each needs as the Epanechnikov kernel for the same error.", "name": "fig-kde-kernels"}, "image": {"alt": "Six small panels with a bell curve, a parabola that ends abruptly, a box, a triangle, a cosine arch, and a peaked exponential, with factors between 1.00 and 1.32."}}
FORMULAS = {  # up to a factor
    "Gaussian": r"$e^{-u^2/2}$",
    "Epanechnikov": r"$1 - u^2$",
    "box": r"$1$",
    "triangle": r"$1 - |u|$",
    "cosine": r"$\cos(\pi u / 2)$",
    "exponential": r"$e^{-|u|}$",
}
fig, axes = plt.subplots(2, 3, figsize=(7.2, 3.6), sharex=True, sharey=True)
for ax, (name, kernel) in zip(axes.flat, KERNELS.items(), strict=True):
    sd = ((kernel(u) * u**2).sum() * du).sqrt()
    at = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
    ax.plot(at, sd * kernel(at * sd), color=plotting.COLOURS[0])
    ax.set_title(f"{name}, {more_points[name]:.2f}", fontsize=10)
    ax.text(-3.4, 0.6, FORMULAS[name], fontsize=10)

# %% tags=["check"]
known = {
    "Gaussian": 1.0513,
    "Epanechnikov": 1.0,
    "box": 1.0758,
    "triangle": 1.0143,
    "cosine": 1.0005,
    "exponential": 1.3176,
}
for name, kernel in KERNELS.items():
    checks.close(f"{name}: integral", kernel(u).sum() * du, 1.0, atol=1e-6)
    checks.close(
        f"{name}: points, over those of Epanechnikov's",
        more_points[name],
        known[name],
        atol=1e-4,
    )
edge = KERNELS["Epanechnikov"](tensor([1 - 1e-6, 1.0, 1 + 1e-6]))
checks.close(
    "Epanechnikov: slope on both sides of its edge",
    edge.diff() / 1e-6,
    [-1.5, 0.0],
    atol=1e-5,
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** to call the estimate with Epanechnikov kernels smooth.
It is continuous; its slope jumps from $-1.5$ to 0 at the edge of each kernel.
```

The width decides, the kernel hardly matters.
What a kernel of finite extent saves is time, and that is the next unit.

### What an evaluation costs

This unit counts kernels, then times covariances.
With Gaussian kernels each point contributes, $O(N d)$.
With kernels of radius $h$ only the points within $h$ do; a tree finds the first of them in $O(\log N)$, but all of them must be added up.
**Their number is $N$ times the mass of the ball: it grows with $N$ at a fixed width, and as $N^{4/(d+4)}$ at the best.**
"""

# %%
from scipy.spatial import cKDTree
from scipy.stats import chi2

rows = []
for num_points in (1_000, 10_000, 100_000):
    plane = torch.randn(num_points, 2, dtype=torch.float64)
    found = [
        len(cKDTree(plane).query_ball_point([0.0, 0.0], h))
        for h in (0.5, num_points ** (-1 / 6))
    ]
    mass = [chi2.cdf(h**2, 2) for h in (0.5, num_points ** (-1 / 6))]
    rows.append(
        (num_points, found[0], num_points * mass[0], found[1], num_points * mass[1])
    )
plotting.table(
    rows,
    columns=("points", "within 0.5", "expected", "within N^(-1/6)", "expected"),
    digits=4,
)

# %% tags=["check"]
for num_points, fixed, fixed_mean, best, best_mean in rows:
    for count, mean in ((fixed, fixed_mean), (best, best_mean)):
        deviation = (mean * (1 - mean / num_points)) ** 0.5  # binomial
        checks.unbiased(
            f"{num_points:,} points: neighbours of the origin",
            float(count),
            mean,
            deviation,
        )
growth = math.log(rows[-1][4] / rows[0][4]) / math.log(100)
# 1 - exp(-h^2 / 2) is h^2 / 2 less a relative h^2 / 4, at most 0.025: 0.006 here.
checks.close("best width: neighbours grow as N^(2/3)", growth, 2 / 3, atol=0.006)

# %% [markdown]
r"""
In higher dimensions the best width leaves ever fewer neighbours, until the ball at the centre of the data is empty: the price is then paid in error, not in time.
A mixture has no such choice: a point pays $O(d^2)$ for each component with a full covariance, and $O(d)$ for a diagonal one.
"""

# %% tags=["hide-input"]
# Neighbours of the origin among 100,000 points, and microseconds a point and component
import time


def full(x, precision):  # twice the exponent
    return ((x @ precision) * x).sum(1)


def diagonal(x, variances):
    return (x.square() / variances).sum(1)


def microseconds(evaluate, x, spread):
    """The fastest of five runs, a point."""
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        evaluate(x, spread)
        spent.append(1e6 * (time.perf_counter() - started) / len(x))
    return min(spent)


costs = []
for d in (2, 5, 10, 64, 256):
    within = 1e5 * chi2.cdf(1e5 ** (-2 / (d + 4)), d)
    x, variances = torch.randn(5_000, d), torch.linspace(1, 2, d)
    precision = torch.diag(1 / variances)
    spent = microseconds(full, x, precision), microseconds(diagonal, x, variances)
    costs.append((d, within, *spent))
plotting.table(
    [(d, f"{n:,.1f}", f"{a:.2f}", f"{b:.2f}") for d, n, a, b in costs],
    columns=(
        "d",
        "points within the best width",
        "full covariance, microseconds",
        "diagonal, microseconds",
    ),
)

# %% tags=["check"]
checks.at_most("ten dimensions: points within the best width", costs[2][1], 1)
# d products in single precision, each good to 6e-8, of size about d.
tolerance = 256 * 6e-8
checks.close(
    "one exponent, both ways",
    full(x, precision),
    diagonal(x, variances),
    rtol=tolerance,
    atol=tolerance,
)

# %% [markdown]
r"""
```{margin}
**A common mistake:** "evaluation at a point costs $O(\log N)$".
That is the cost of finding one neighbour.
```

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $x_n$, $N$, $d$ | `data`, `x` | data points, their number, their dimension |
| $\hat p$, $k$, $h$ | `kde_log_prob`, `h` | kernel density estimate, kernel, width |
| $w_i$, $m_i$, $s_i$ | `truth` | weights, means, standard deviations of a known truth |
| $S_a$ | `overlap` | integral of the truth times the truth blurred with variance $a h^2$ |
| $K$, $\pi_k$, $\mu_k$, $\Sigma_k$ | `weights`, `means`, `covariances` | components of a mixture: number, weights, means, covariances |
| $z$, $r_k(x)$, $r_{nk}$ | `responsibilities` | component of a point; its posterior |
| $n_k$ | `counts` | sum of the responsibilities of a component |
| $q_k$ | `q` | any distribution over components |
| $\nu$, $\varepsilon$ | `pseudo_count`, `pseudo_variance` | pseudo-observations of the prior, and their variance |
| $p_{ki}$ | `probs` | probability that pixel $i$ is on in component $k$ |

## Reading

**What comes next:** [models that know neighbours](autoregressive.ipynb); [Boltzmann machines](boltzmann_machines.ipynb), whose density is known up to a constant; and [the ELBO](elbo.ipynb) again, with infinitely many components.

**Reading:** {cite:t}`silverman1986`, chapters 3 and 4; {cite:t}`bishop2006`, chapter 9; {cite:t}`neal1998` for EM as coordinate ascent, and what it allows; {cite:t}`scott2015` for dimensions above one; {cite:t}`richardson2018` for mixtures of images in colour.
The slides of the sources are reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

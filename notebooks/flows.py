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
# Normalising flows: densities by a change of variables

Bend noise with a map that can be undone, keep account of how much it stretches, and you have a model that draws samples in one pass and gives the exact density of every point.
You will build seven such maps, test each against automatic differentiation, and learn what a likelihood in nats says about digits, and what it hides.

```{opening} fig-flows-film
The plane, bent layer by layer by the flow that this page trains: a round Gaussian becomes a ring of eight.
```

At the end of this lecture you will be able to

1. state the change of variables in one and in many dimensions, and say which test a wrong map passes and which one stops it;
2. build planar, NICE, RealNVP, MAF and IAF layers, and say which direction of each is fast;
3. say before the training how good a flow can become: it can't beat the entropy of the data;
4. turn a density in nats into bits per dimension, and see why 1,980 nats are a poor score;
5. name two reasons why an image of high density need not look like the data.

- **You need** the Gaussian in many dimensions, determinants, the divergence $\mathrm{KL}(p \Vert q)$, some PyTorch. Masked networks are used as [the lecture on autoregressive models](autoregressive.ipynb) built them.
- **Sources:** {cite:t}`tabak2010`, who had the idea; {cite:t}`rezende2015`, {cite:t}`dinh2015,dinh2017` and {cite:t}`papamakarios2017` for the layers; {cite:t}`papamakarios2021` for the whole subject.
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
from itertools import pairwise

import dgm
from dgm import checks, plotting
from dgm.checkpoints import resumed
from dgm.models.autoregressive import MaskedLinear, made_masks

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "ring_steps": (40, 1_500, 6_000),
    "num_images": (2_000, 50_000, 50_000),
    "maf_layers": (2, 3, 5),
    "maf_hidden": (16, 128, 1_024),
    "maf_steps": (10, 700, 15_000),  # of 200 images each
}

# %%
run = dgm.start("flows", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## A density pays for the area

```{margin}
**In the sources.** CS236 notes, *Normalizing flows* to *Change of variables*; Borisyak, *Types of generative models*, sampling procedure.
```

A program that draws from a density is easy to make: take noise $z \sim \mathcal{N}(0, I)$ and push it through a map, $x = f(z)$.
Which density does $x$ have?
Here is a smooth map of the plane.
"""


# %%
def bend(z):
    """A map of the plane that can be undone: first b is stretched and shifted, then a."""
    a, b = z.unbind(-1)
    b = b * torch.exp(0.5 * torch.sin(a)) + 0.2 * a**2
    a = a * torch.exp(0.5 * torch.sin(b)) + 0.3 * b
    return torch.stack([a, b], -1)


def jacobians(function, x):
    """Derivatives of the output, in rows, by the input, in columns, at each row of x."""
    return torch.func.vmap(torch.func.jacrev(lambda a: function(a[None])[0]))(x)


# %% tags=["check"]
# The area of a bent cell by Green's theorem, the integral of (a db - b da) / 2 along its
# edge; against the integral of |det| over the cell. Gauss-Legendre with 30 nodes is exact
# to rounding for functions as smooth as these.
nodes, gauss_weights = (
    torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(30)
)
square = torch.cartesian_prod(nodes, nodes) / 2
square_weights = torch.outer(gauss_weights, gauss_weights).flatten() / 4


def bent_area(corner):
    """Area of the image of the unit square around a point, from its edge alone."""
    total = 0.0
    for k in range(4):  # the edges, counter-clockwise
        turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double().matrix_power(k)
        along = torch.tensor([1.0, 0.0], dtype=torch.float64) @ turn
        edge = torch.stack([nodes / 2, torch.full_like(nodes, -0.5)], 1) @ turn + corner
        x, dx = bend(edge), jacobians(bend, edge) @ along / 2
        total += gauss_weights @ (x[:, 0] * dx[:, 1] - x[:, 1] * dx[:, 0]) / 2
    return total


centres = torch.cartesian_prod(*2 * [torch.arange(-1.5, 2, dtype=torch.float64)])
by_edge = torch.stack([bent_area(corner) for corner in centres])
area_factor = torch.stack(
    [
        jacobians(bend, square + corner).det().abs() @ square_weights
        for corner in centres
    ]
)
checks.close(
    "area of a bent cell = integral of the determinant over the cell",
    area_factor,
    by_edge,
    atol=1e-12,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: noise on a square grid, whose cells have the area 1. Right: the same points after the map. The numbers are the areas of the bent cells: where a cell has twice the area, its points lie half as dense as before.", "name": "fig-flows-area"}, "image": {"alt": "Two panels. Left, a square grid of sixteen cells with a round cloud of grey points. Right, the same grid bent into a curved shape with orange points; a number is printed on each bent cell, from one half where the cells are small and the points dense to two and a half where they are large."}}
fig, axes = plt.subplots(
    1,
    2,
    figsize=(5.2, 3.3),
    width_ratios=(2, 3),
    sharey=True,  # one scale for both
)
cloud = torch.randn(1_200, 2, dtype=torch.float64)
cloud = cloud[(cloud.abs() < 2).all(1)]
ticks = torch.linspace(-2, 2, 101, dtype=torch.float64)
for ax, function, colour in zip(
    axes, (lambda z: z, bend), ("#8a8f98", plotting.COLOURS[1]), strict=True
):
    ax.plot(*function(cloud).T, ".", color=colour, markersize=2, alpha=0.6)
    for line in torch.arange(-2, 3).double():
        for way in (1, -1):
            strip = torch.stack([line.expand(101), ticks][::way], 1)
            ax.plot(*function(strip).T, color="0.35", linewidth=0.8)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
for corner, area in zip(bend(centres), area_factor, strict=True):
    axes[1].annotate(f"{area:.1f}", corner, ha="center", va="center")

# %% [markdown]
r"""
A bent cell holds the same points as the square that it was, on the area that is printed on it.

**Probability is carried along: what the map stretches becomes thin.**
Let $h = f^{-1}$ be the way back, from data to noise.
Then, with $p_z$ the density of the noise,

$$
\log p(x) = \log p_z(h(x)) + \log \left\lvert \det \frac{\partial h}{\partial x} \right\rvert .
$$ (eq-flows-change)

In one dimension the determinant is the derivative $h'(x)$.
Take $f(z) = e^z$, so that $h(x) = \log x$: the density of $x$ is $p_z(\log x) / x$, the log-normal one.
Without the factor $1/x$ it would integrate to $\langle f'(z) \rangle = \sqrt{e} = 1.65$, and would be no density at all.

```{dropdown} The proof, by small cubes
Cut the space of $z$ into small cubes of volume $\delta$.
Inside one of them $f$ is nearly linear, and maps the cube to a parallelepiped of volume $\delta\, \lvert \det \partial f / \partial z \rvert$: that is what a determinant is.
The probability of the cube, $p_z(z)\, \delta$, is now that of the parallelepiped, $p(x)\, \delta\, \lvert \det \partial f / \partial z \rvert$.
So $p(x) = p_z(z) / \lvert \det \partial f / \partial z \rvert$, and the matrix of $h$ is the inverse of that of $f$, $1 / \det \partial f / \partial z = \det \partial h / \partial x$.
The errors of "nearly" vanish with $\delta$; {numref}`fig-flows-area` compares both sides on cells that are not small.
```

Three consequences carry the rest of this lecture.

- **A chain adds.** Of layers $h = h_K \circ \dots \circ h_1$ the determinants multiply, so that with $x_k = h_k(x_{k-1})$, $x_0 = x$ and $x_K = z$

$$
\log p(x) = \log p_z(z) + \sum_{k=1}^K \log \left\lvert \det \frac{\partial h_k}{\partial x_{k-1}} \right\rvert .
$$ (eq-flows-chain)

- **A linear map makes a Gaussian.** For $x = \mu + L z$ the formula is the density of $\mathcal{N}(\mu, L L^\top)$, whose normaliser contains $\log \lvert \det L \rvert$. In $d$ dimensions a determinant costs some $d^3$ operations; of a triangular matrix it is the product of the diagonal.
- **Maximum likelihood makes the data normal.** The Jacobians cancel in a ratio of densities, so that $\mathrm{KL}(p_\text{data} \Vert p)$ is, to the last digit, the divergence of the data's own noise $h(x)$ from $\mathcal{N}(0, I)$. Hence the name.
"""


# %% tags=["twin:dgm.models.flows.Whitening"]
class Whitening(nn.Module):
    def __init__(self, mean, covariance):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("L", torch.linalg.cholesky(covariance))

    def forward(self, x):
        z = torch.linalg.solve_triangular(self.L, (x - self.mean).T, upper=False).T
        return z, -self.L.diagonal().log().sum().expand(len(x))

    def inverse(self, z):
        x = self.mean + z @ self.L.T
        return x, self.L.diagonal().log().sum().expand(len(z))


# %% [markdown]
r"""
Mind the direction: here and below a layer is called with data and returns noise, $z$ and $\log \lvert \det \partial z / \partial x \rvert$, so that the sign in {eq}`eq-flows-change` is plus.
"""


# %% tags=["check"]
def normal_density(x, mean=0.0, std=1.0):
    return math.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def over_half_line(function):
    """Integral over x > 0, in pieces, since the log-normal density has a long tail."""
    edges = np.exp(np.arange(-9, 10))
    exact = dict(epsabs=1e-13, epsrel=1e-13)
    return sum(quad(function, a, b, **exact)[0] for a, b in pairwise(edges))


# Beyond e^9 and below e^-9 lies less than 2e-15 of what follows; 18 pieces, each to 1e-13.
checks.close(
    "exp of noise: its density has integral 1",
    over_half_line(lambda x: normal_density(math.log(x)) / x),
    1.0,
    atol=1e-11,
)
checks.close(
    "without the Jacobian: root of e, 1.65",
    over_half_line(lambda x: normal_density(math.log(x))),
    math.exp(0.5),
    atol=1e-11,
)


def kl_of_logs(x, mean=0.7, std=0.6):
    """Integrand of the divergence between exp of N(mean, std^2) and exp of N(0, 1)."""
    p, q = normal_density(math.log(x), mean, std) / x, normal_density(math.log(x)) / x
    return p * math.log(p / q) if p else 0.0


kl_of_noise = -math.log(0.6) + (0.6**2 + 0.7**2 - 1) / 2
checks.close(
    "KL between data and model = KL between their noises",
    over_half_line(kl_of_logs),
    kl_of_noise,
    atol=1e-11,
)

# %% tags=["check"]
mean, root = torch.randn(4).double(), torch.randn(4, 4).double()
covariance = root @ root.T + torch.eye(4).double()
x = torch.randn(50, 4).double()
z, log_det = Whitening(mean, covariance)(x)
gaussian = torch.distributions.MultivariateNormal(mean, covariance)
standard = torch.distributions.Normal(0.0, 1.0)
checks.close(
    "linear map: the multivariate normal density",
    standard.log_prob(z).sum(1) + log_det,
    gaussian.log_prob(x),
    atol=1e-12,
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: has this lecture compressed anything?
No. An invertible map keeps the dimension, $z$ has as many components as $x$.
A VAE may have fewer latent variables than pixels, a flow can't.
```

## Two questions for every layer

**What remains is to find layers that can be undone, and whose determinant is cheap.**
Every layer below has to answer two questions: does its log-determinant agree with automatic differentiation, and does its inverse lead back?
"""


# %%
def first_output(layer):
    """The layer without its log-determinant."""
    return lambda x: layer(x)[0]


def layer_errors(layer, x):
    """Largest error of the log-determinants, against autograd, and of the inverse."""
    (z, log_det), size = layer(x), x[0].numel()
    back, log_det_back = layer.inverse(z)
    J = jacobians(first_output(layer), x).reshape(len(x), size, size)
    exact = torch.linalg.slogdet(J).logabsdet
    det_errors = (log_det - exact).abs(), (log_det_back + exact).abs()
    return torch.cat(det_errors).max().item(), (back - x).abs().max().item()


# %% [markdown]
r"""
A small one first: the *planar* layer {cite:p}`rezende2015` moves all points along one vector $u$, by an amount that depends on one direction $w$:

$$
\begin{aligned}
z &= x + u \tanh(w \cdot x + b), \\
\det \frac{\partial z}{\partial x} &= 1 + w \cdot u\, \bigl(1 - \tanh^2(w \cdot x + b)\bigr) .
\end{aligned}
$$ (eq-flows-planar)

In $d$ dimensions the determinant costs only $d$ operations, since the Jacobian is the identity plus a matrix of rank one.
Where $w \cdot u < -1$ it changes its sign: the map *folds*, and different points have the same $z$.
The cure is to use another $u$, moved along $w$ so that $w \cdot \hat u > -1$:

$$
\hat u = u + \bigl(\log(1 + e^{w \cdot u}) - 1 - w \cdot u\bigr) \frac{w}{\lvert w \rvert^2} .
$$ (eq-flows-unfold)
"""


# %% tags=["twin:dgm.models.flows.Planar"]
class Planar(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.u, self.w = nn.Parameter(torch.randn(dim)), nn.Parameter(torch.randn(dim))
        self.b = nn.Parameter(torch.randn(()))

    def direction(self):
        product = self.w @ self.u
        return self.u + (F.softplus(product) - 1 - product) * self.w / (self.w @ self.w)

    def forward(self, x):
        u = self.direction()
        bend = torch.tanh(x @ self.w + self.b)
        return x + bend[:, None] * u, (1 + self.w @ u * (1 - bend**2)).abs().log()

    def inverse(self, z):
        u = self.direction()
        slope, goal = self.w @ u, z @ self.w
        low, high = goal - slope.abs(), goal + slope.abs()
        for _ in range(100):
            middle = (low + high) / 2
            too_low = middle + slope * torch.tanh(middle + self.b) < goal
            low, high = (
                torch.where(too_low, middle, low),
                torch.where(too_low, high, middle),
            )
        x = z - torch.tanh(low + self.b)[:, None] * u
        return x, -self(x)[1]


# %% [markdown]
r"""
Several public programs divide by $\lvert w \rvert$ in place of $\lvert w \rvert^2$.
What would notice?
"""


# %%
class Misprinted(Planar):
    def direction(self):
        product = self.w @ self.u
        return self.u + (F.softplus(product) - 1 - product) * self.w / self.w.norm()


# %% tags=["hide-input"]
# Both maps with u = (-10, 2), w = (0.5, 0) and b = 0, and the integrals over the plane
def planar(kind):
    layer = kind(2).double().requires_grad_(False)
    values = [-10.0, 2.0], [0.5, 0.0], 0.0
    for parameter, value in zip(layer.parameters(), values, strict=True):
        parameter.copy_(torch.tensor(value))
    return layer


def integral(log_prob, reach=14.0, num=561):
    """Integral of exp(log_prob) over a square, by the trapezoidal rule."""
    side = torch.linspace(-reach, reach, num, dtype=torch.float64)
    values = log_prob(torch.cartesian_prod(side, side)).exp()
    return (values.sum() * (side[1] - side[0]) ** 2).item()


def log_density(layer):
    """log p of a single layer, by the change of variables."""
    return lambda x: standard.log_prob(layer(x)[0]).sum(1) + layer(x)[1]


right, misprinted = planar(Planar), planar(Misprinted)
masses = {
    name: integral(log_density(layer))
    for name, layer in (("right", right), ("misprinted", misprinted))
}
print({name: round(mass, 4) for name, mass in masses.items()})

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the map along w. The right one (orange) takes each value once, the misprinted one (black) takes those between the dotted lines three times. Right: what the misprinted map makes of straight lines in the plane (grey): they double back, and the plane is folded like a cloth.", "name": "fig-flows-fold"}, "image": {"alt": "Left panel: an orange curve that always rises and a black curve that rises, falls and rises again between two dotted lines. Right panel: three grey horizontal lines, and three black ones that run to the right, back to the left and to the right again."}}
fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.7))
a = torch.linspace(-4, 4, 401, dtype=torch.float64)
for layer, colour, name in (
    (right, plotting.COLOURS[1], "right"),
    (misprinted, "black", "misprinted"),
):
    slope = layer.w @ layer.direction()
    axes[0].plot(a, a + slope * torch.tanh(a), color=colour)
    place = (1.2, 2.2) if name == "right" else (0.2, -2.3)
    axes[0].annotate(name, place, color=colour)
turning = torch.atanh((1 + 1 / slope).sqrt())
fold = (turning + slope * torch.tanh(turning)).abs()
for level in (-fold, fold):
    axes[0].axhline(level, color="black", linestyle=":", linewidth=1)
axes[0].set(xlabel=r"$w \cdot x$", ylabel=r"$w \cdot z$")
ticks = torch.linspace(-7, 7, 201, dtype=torch.float64)
for line in torch.linspace(-5, 5, 3, dtype=torch.float64):
    strip = torch.stack([ticks, line.expand(201)], 1)
    axes[1].plot(*strip.T, color="0.75", linewidth=1)
    axes[1].plot(*misprinted(strip)[0].T, color="black")
_ = axes[1].set(
    xlabel="first component", ylabel="second", xlim=(-4, 4), ylim=(-8.5, 8.5)
)

# %% [markdown]
r"""
**The misprint passes the comparison with autograd: the formula for the determinant is right wherever one looks.**
It is the map that folds, and its "density" integrates to 2.98, the mean number of points that share a value of $z$.
The integral over the plane gives it away.
Check three things, then: log-determinant, inverse, and, on a case of two dimensions, the integral.
"""

# %% tags=["check"]
x = torch.randn(200, 2, dtype=torch.float64)
J = jacobians(first_output(misprinted), x)
checks.close(
    "misprinted: the log-determinant agrees with autograd",
    misprinted(x)[1],
    torch.linalg.slogdet(J).logabsdet,
    atol=1e-12,
)
checks.close(
    "w . u with the right cure", right.w @ right.direction(), -0.99328, atol=1e-5
)
checks.close("misprinted", misprinted.w @ misprinted.direction(), -2.99664, atol=1e-5)
back = misprinted.inverse(misprinted(x)[0])[0]
checks.at_least(
    "misprinted: the inverse leads elsewhere, by up to", (back - x).abs().max(), 1.0
)
# Trapezoids are exact to rounding for an analytic density that vanishes at the edge; the
# folded one has kinks where the determinant is zero, and an error of about step^2.
checks.close("right cure: integral over the plane", masses["right"], 1.0, atol=1e-9)
three = math.erf(
    fold.item() / 0.5 / math.sqrt(2)
)  # probability of a z with three points
checks.close(
    "misprinted: integral = mean number of points for one z",
    masses["misprinted"],
    1 + 2 * three,
    atol=0.05**2,
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: does the comparison of x with the inverse of z notice the misprint?
It does where a fold was hit: the inverse finds one of three points, and often not the one that it came from.
But the planar layer is mostly used without an inverse, which has no closed form.
```
"""

# %% [markdown]
r"""
## Couplings: NICE and RealNVP

```{margin}
**In the sources.** CS236 notes, *NICE*.
```

**Keep half of the components, and let a network say how the other half is stretched and shifted.**

```{figure} ../figures/flows_coupling.svg
:name: fig-flows-coupling
:alt: Two rows of boxes. The kept half of x, x a, goes straight through and becomes z a. It also enters a network, whose outputs s and t act on the other half, x b, which is multiplied by e to the s and shifted by t and becomes z b. Below stands: back, subtract t, divide by exp s; the network has the same input.
:width: 460px

A coupling layer. The network itself is never inverted.
```

With $x_a$ the part that is kept, $x_b$ the rest and $\odot$ the product component by component,

$$
\begin{aligned}
z_a &= x_a, \\
z_b &= x_b \odot e^{s(x_a)} + t(x_a), \\
\log \left\lvert \det \frac{\partial z}{\partial x} \right\rvert &= \sum_i s_i(x_a) .
\end{aligned}
$$ (eq-flows-coupling)

The Jacobian is triangular, whatever the network does.
Without the stretch, $s = 0$, this is NICE {cite:p}`dinh2015`; with it, RealNVP {cite:p}`dinh2017`.
The next layer keeps the other half.
In code a mask holds the kept half; $s$ and $t$ are zero there, so that one line does for both halves.
"""


# %% tags=["twin:dgm.models.flows.Coupling", "method"]
class Coupling(nn.Module):
    def __init__(self, mask, hidden_dim=64, *, bound=3.0, scale=1.0):
        super().__init__()
        dim = len(mask)
        self.register_buffer("mask", mask)
        self.bound, self.scale = bound, scale
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 2 * dim),
        )
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def stretch_and_shift(self, x):
        s, t = self.net(self.scale * self.mask * x).chunk(2, dim=1)
        s = self.bound * torch.tanh(s / self.bound) if self.bound else 0 * s
        free = 1 - self.mask
        return free * s, free * t

    def forward(self, x):
        s, t = self.stretch_and_shift(x)
        return x * s.exp() + t, s.sum(1)

    def inverse(self, z):
        s, t = self.stretch_and_shift(z)  # what is kept is the same in x and z
        return (z - t) * (-s).exp(), -s.sum(1)


# %% [markdown]
r"""
The hyperbolic tangent bounds the stretch, $\lvert s \rvert \leq 3$: without a bound one wild step can blow up a training.
A bound of 0 gives NICE.
`scale` multiplies what the network sees, so that a small network can vary fast.
The last weights start at zero, and the layer as the identity.
A flow is a chain {eq}`eq-flows-chain`, called like a layer.
"""


# %% tags=["twin:dgm.models.flows.Flow", "method"]
class Flow(nn.Module):
    def __init__(self, dim, layers):
        super().__init__()
        self.dim, self.layers = dim, nn.ModuleList(layers)

    def forward(self, x):
        total = 0.0
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z):
        total = 0.0
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z)
            total = total + log_det
        return z, total

    def log_prob(self, x):
        z, log_det = self(x)
        return -0.5 * (z**2 + math.log(2 * math.pi)).sum(1) + log_det

    def sample(self, num_samples, *, generator=None):
        like = next(self.parameters())
        z = torch.randn(
            num_samples,
            self.dim,
            generator=generator,
            device=like.device,
            dtype=like.dtype,
        )
        return self.inverse(z)[0]


# %% tags=["twin:dgm.models.flows.RealNVP"]
class RealNVP(Flow):
    def __init__(self, dim, *, num_layers=8, hidden_dim=64, bound=3.0, scale=1.0):
        masks = [(torch.arange(dim) + k) % 2.0 for k in range(num_layers)]
        super().__init__(
            dim,
            (Coupling(mask, hidden_dim, bound=bound, scale=scale) for mask in masks),
        )


# %% [markdown]
r"""
```{margin}
**A common mistake:** "the Jacobian of NICE is 1".
Its *determinant* is 1; the matrix is triangular and far from the identity.
```

A chain of NICE layers keeps every volume, so that its authors add one last layer that multiplies each component by a number of its own.

Maximum likelihood is one line of loss, for this flow and for all that follow.
"""


# %% tags=["twin:dgm.models.flows.fit", "method"]
def fit(flow, batch, num_steps, *, rate, optimiser=None, done=0):
    optimiser = optimiser or torch.optim.Adam(flow.parameters(), fused=True)
    for step in range(done, num_steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / num_steps)
        loss = -flow.log_prob(batch()).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        yield step + 1, -loss.item()


# %% tags=["check"]
def shaken(layer, std=0.3):
    """A copy in double precision with random parameters: a new layer is too tame a test."""
    layer = dgm.float64(layer).requires_grad_(False)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=std)
    return layer


half = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0])
x = torch.randn(50, 5, dtype=torch.float64)
nice = shaken(Coupling(half, bound=0.0))
J = jacobians(first_output(nice), x)
checks.close("NICE: the determinant is 1", J.det(), torch.ones(50), atol=1e-12)
off_diagonal = (J - torch.eye(5).double()).abs().max()
checks.at_least("NICE: the Jacobian is not", off_diagonal, 0.1)
checks.close("NICE: what is kept", nice(x)[0][:, half > 0], x[:, half > 0])
flow = shaken(RealNVP(2, num_layers=4), 0.12)
checks.close(
    "RealNVP: integral over the plane", integral(flow.log_prob), 1.0, atol=1e-6
)

# %% [markdown]
r"""
The target is the ring of eight Gaussians of [the energy models](energy_models.ipynb), whose density is known.
**Before the training we know how good the flow can become**: for every model $q$ of data with the density $p$ and the entropy $\mathcal{H}[p] = -\langle \log p(x) \rangle_p$

$$
\langle \log q(x) \rangle_p = -\mathcal{H}[p] - \mathrm{KL}(p \,\Vert\, q) \leq -\mathcal{H}[p] .
$$ (eq-flows-entropy)

The ring has $\mathcal{H} = 2.480$ nats.
A mean log-likelihood on new points that lies above $-2.480$ by many standard errors is a bug; this is the cheapest test of any density model with a known target.
"""

# %%
target = dgm.data.ring_of_gaussians(8, radius=2.0, std=0.3)
ring, ring_test = (
    torch.from_numpy(target.sample(num, rng=run.rng)).float()
    for num in (100_000, 20_000)
)


def ring_batch():
    return ring[torch.randint(len(ring), (512,))]


flow = RealNVP(2, num_layers=10, scale=4.0)
history = [value for _, value in fit(flow, ring_batch, P.ring_steps, rate=5e-3)]
flow = dgm.float64(flow).requires_grad_(False)

# %% tags=["hide-input"]
# The entropy and the divergence from the target, by quadrature, recorded
side = torch.linspace(-5, 5, 401, dtype=torch.float64)
plane, cell = torch.cartesian_prod(side, side), (side[1] - side[0]).item() ** 2
log_p = torch.from_numpy(target.log_prob(plane.numpy()))
log_q = flow.log_prob(plane)
entropy = -(log_p.exp() * log_p).sum().item() * cell
ring_kl = run.record(
    "realnvp_ring_kl",
    (log_p.exp() * (log_p - log_q)).sum() * cell,
    unit="nats",
    protocol="KL(target || model) by quadrature, eight Gaussians, 10 couplings, "
    f"{P.ring_steps:,} steps of 512 points",
)

# %% tags=["check"]
checks.close("entropy of the ring", entropy, 2.4795, atol=1e-4)
on_new_points = flow.log_prob(ring_test.double())
standard_error = on_new_points.std().item() / len(on_new_points) ** 0.5
checks.at_most(
    "no better than the entropy: mean log q on new points + entropy, less 5 errors",
    on_new_points.mean() + entropy - 5 * standard_error,
    0.0,
)
of_noise = -math.log(2 * math.pi) - (4 + 2 * 0.3**2) / 2  # <log N(x; 0, I)>
checks.at_least(
    "better than the noise itself: mean log q", on_new_points.mean(), of_noise
)
checks.close(
    "mean of log q under p, by quadrature = - entropy - KL",
    (log_p.exp() * log_q).sum().item() * cell,
    -entropy - ring_kl,
    rtol=1e-9,
)
if (
    run.profile != "smoke"
):  # the tails of a flow of forty steps are too heavy for a mean
    checks.unbiased(
        "mean log q on new points = - entropy - KL",
        on_new_points.mean(),
        -entropy - ring_kl,
        standard_error,
    )
    checks.at_most("standard error of that mean", standard_error, 0.02)
    checks.at_most("KL of the ring from the flow", ring_kl, 0.12)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean log-likelihood of the batches, smoothed over 20 steps. The dashed line, minus the entropy of the target, is the best that any model can reach; what is left is the divergence.", "name": "fig-flows-curve"}, "image": {"alt": "An orange curve that rises fast in the first hundred steps and then slowly, and stays below a dashed line at minus 2.48."}}
fig, ax = plt.subplots(figsize=(5.2, 2.4))
width = min(20, len(history))
smooth = np.convolve(history, np.ones(width) / width, mode="valid")
ax.plot(np.arange(len(smooth)) + width, smooth, color=plotting.COLOURS[1])
plotting.reference_line(ax, -entropy, "minus the entropy")
_ = ax.set(
    xlabel="step",
    ylabel="log-likelihood (nats)",
    ylim=(-3.6, -2.3),
    xlim=(0, P.ring_steps),
)

# %% [markdown]
r"""
The curve rises steeply at first, and then it creeps.
The film runs the ten layers backwards, from noise to data.
Between two layers every point moves on a straight line; each frame is an invertible map, too, because a coupling that goes part of the way still stretches by a positive factor.
"""


# %% tags=["hide-input"]
# The stations of points on their way from noise to data
def stations(z):
    """The points after each layer on the way from noise to data, `z` first."""
    found = [z]
    for layer in reversed(flow.layers):
        found.append(layer.inverse(found[-1])[0])
    return torch.stack(found)


ticks = torch.linspace(-3, 3, 301, dtype=torch.float64)
strips = torch.stack(
    [
        torch.stack([line.expand(301), ticks][::way], 1)
        for way in (1, -1)
        for line in torch.linspace(-3, 3, 9).double()
    ]
)
cloud = torch.randn(500, 2, dtype=torch.float64)
paths = [stations(points) for points in (cloud, strips.reshape(-1, 2))]
moments = [(k, part / 2) for k in range(10) for part in range(2)] + [(9, 1.0)]


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From noise to the ring: a grid and five hundred points, carried through the layers of the trained flow. Black circles: two standard deviations around the eight centres of the target.", "name": "fig-flows-film"}}
def frame(points, strips):
    fig, ax = plt.subplots(figsize=(4.0, 4.0))
    ax.plot(*strips.reshape(-1, 301, 2).permute(2, 1, 0), color="0.55", linewidth=0.6)
    ax.plot(*points.T, ".", color=plotting.COLOURS[1], markersize=3, alpha=0.7)
    for centre in target.means:
        ax.add_patch(plt.Circle(centre, 0.6, fill=False, color="black", linewidth=0.8))
    ax.set(xlim=(-3.4, 3.4), ylim=(-3.4, 3.4), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return fig


plotting.film(
    (
        frame(*(path[k].lerp(path[k + 1], part) for path in paths))
        for k, part in moments
    ),
    labels=[f"layer {k + part:.2g} of 10" for k, part in moments],
    alt="A square grid with a round cloud of points is sheared and stretched by one "
    "layer after the other, until the points lie in eight spots on a circle and the "
    "grid is drawn out thin between them.",
    width=390,
)

# %% [markdown]
r"""
```{dropdown} A one-minute question: a colleague reports a mean log-likelihood of -2.40 on 20,000 new points of this ring. What do you say?
That there is a mistake: no model can do better than $-2.480$, and the standard error of such a mean is below 0.02.
Likely ones are a forgotten or doubled Jacobian, or a map that folds.
```

## One piece stays one piece

**A continuous map can't tear the noise apart: between separate islands of data a bridge remains.**
In one dimension everything about it is known.
The best map is $h(x) = \Phi^{-1}(F(x))$, with $F$ and $\Phi$ the distribution functions of the data and of the noise: it leaves no divergence at all.
For two islands $\mathcal{N}(\pm a, \sigma^2)$ its inverse, the map from noise to data, has in the middle the slope

$$
f'(0) = \frac{p_z(0)}{p(0)} = \sigma\, e^{a^2 / 2 \sigma^2} .
$$ (eq-flows-bridge)

At a distance of $2a = 4$ with $\sigma = 1/2$ the slope is 1,490 already; a network with less slope leaves more probability on the bridge.
On the way back the slope is the inverse, and whatever lies on the bridge is crushed together.
"""

# %%
normal = torch.distributions.Normal(0.0, 1.0)


def to_noise(x, a, std):
    """h(x) for two islands, equal in weight."""
    return normal.icdf((normal.cdf((x - a) / std) + normal.cdf((x + a) / std)) / 2)


# %% tags=["check"]
for a in (1.0, 1.5, 2.0):
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(to_noise(x, a, 0.5), x)
    checks.close(
        f"islands at {a:g} and -{a:g}: slope of the exact map in the middle",
        1 / slope,
        0.5 * math.exp(a**2 / (2 * 0.25)),
        rtol=1e-9,
    )
if run.profile != "smoke":
    centre = torch.zeros(1, 2, dtype=torch.float64)
    in_the_hole = flow.log_prob(centre).item() - target.log_prob(centre.numpy()).item()
    checks.at_least("guard: log of flow over target, in the hole", in_the_hole, 5)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the exact map from noise to two islands of standard deviation 1/2, at distances of 2, 3 and 4, with its slope in the middle. Then the target and the trained flow; each shade is a factor of ten in density, white is below a millionth. The flow has bridges, and its hole is not empty.", "name": "fig-flows-bridge"}, "image": {"alt": "Left panel: three rising curves, steep in the middle, the more so the further the islands are apart. Middle panel: a ring of eight dark spots with a white hole and white surroundings. Right panel: a ring with eight dark spots, ragged at its edge, whose hole is shaded."}}
fig, axes = plt.subplots(1, 3, figsize=(5.2, 2.2), width_ratios=(1.15, 1, 1))
x = torch.linspace(-3.5, 3.5, 1_401, dtype=torch.float64)
for a, colour in zip((1.0, 1.5, 2.0), ("#E69F00", "#D55E00", "#8c3c00"), strict=True):
    axes[0].plot(to_noise(x, a, 0.5), x, color=colour)
    slope = 0.5 * math.exp(2 * a**2)
    axes[0].annotate(f"slope {slope:,.0f}", (0.3, 2 * a - 4.8), color=colour)
axes[0].set(xlabel="noise $z$", ylabel="data $x$", xlim=(-3, 3.2), ylim=(-3.4, 3.4))
for ax, values, name, shades in (
    (axes[1], log_p, "target", "Greys"),
    (axes[2], log_q, "flow", "Oranges"),
):
    picture = values.reshape(401, 401).T / math.log(10)
    picture = np.ma.masked_less(picture.numpy(), -6)
    ax.contourf(side, side, picture, levels=np.arange(-6, 1), cmap=shades, vmin=-7)
    ax.set(xlim=(-3.4, 3.4), ylim=(-3.4, 3.4), aspect="equal", xticks=[], yticks=[])
    ax.set_xlabel(name)
    ax.grid(visible=False)

# %% [markdown]
r"""
The ring adds a hole: a disc of noise can't become an annulus, so that the flow has to fill the hole thinly, or to tear the ring at some place and leave a thin seam.
A smaller divergence needs thinner bridges and steeper slopes, without end.
Energies, mixtures and flows with more than one piece {cite:p}`cornish2020` have no such bridge.

## Autoregressive flows: MAF and IAF

**A Gaussian whose mean and width depend on what came before is one layer of a flow.**
Write the $i$th component as $x_i = m_i + e^{s_i} z_i$ with noise $z_i$, where $m_i$ and $s_i$ are functions of $x_{<i}$, the components before.
Solved for the noise,

$$
\begin{aligned}
z_i &= \bigl(x_i - m_i(x_{<i})\bigr)\, e^{-s_i(x_{<i})}, \\
\log \left\lvert \det \frac{\partial z}{\partial x} \right\rvert &= -\sum_i s_i(x_{<i}) .
\end{aligned}
$$ (eq-flows-maf)

```{figure} ../figures/flows_maf.svg
:name: fig-flows-maf
:alt: Two pictures of three circles x above three circles z. Left, density: all x are known; each z gets an arrow from the x above it and from all x before; one pass of the network. Right, sample: each x gets an arrow from the z below it and from all x before, so that each x waits for others; d passes, one after the other.
:width: 460px

One layer, two directions. MAF is fast from data to noise; IAF uses the same layer the other way round.
```

[The masks of MADE](autoregressive.ipynb) {cite:p}`germain2015` give all $m_i$ and $s_i$ in one pass of one network (`made_masks` and `MaskedLinear` are those of that lecture): a hidden unit with the number $k$ sees components up to $k$, and output $i$ sees hidden units below $i$.
"""


# %% tags=["twin:dgm.models.flows.MAFLayer", "method"]
class MAFLayer(nn.Module):
    def __init__(self, dim, hidden_dim, *, reverse=False):
        super().__init__()
        place = torch.arange(dim).flip(0) if reverse else torch.arange(dim)
        last_seen = torch.arange(hidden_dim) * (dim - 1) // hidden_dim
        sees, tells = made_masks([place, last_seen])
        self.register_buffer("place", place)
        self.net = nn.Sequential(
            MaskedLinear(sees), nn.ReLU(), MaskedLinear(tells.repeat(2, 1))
        )
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x):
        m, s = self.net(x).chunk(2, dim=1)
        return (x - m) * (-s).exp(), -s.sum(1)

    def inverse(self, z):
        x = torch.zeros_like(z)
        for turn in range(z.shape[1]):
            m, s = self.net(x).chunk(2, dim=1)
            x = torch.where(self.place == turn, m + z * s.exp(), x)
        return x, self.net(x).chunk(2, dim=1)[1].sum(1)


# %% tags=["twin:dgm.models.flows.MAF"]
class MAF(Flow):
    def __init__(self, dim, *, num_layers=5, hidden_dim=128):
        super().__init__(
            dim,
            (MAFLayer(dim, hidden_dim, reverse=k % 2 == 1) for k in range(num_layers)),
        )


# %% [markdown]
r"""
A masked autoregressive flow, **MAF** {cite:p}`papamakarios2017`, stacks such layers and reverses the order from one to the next.
Its density takes one pass; a sample takes one pass for each component.
An inverse autoregressive flow, **IAF** {cite:p}`kingma2016`, is the same layer with the ends exchanged: fast to sample, and slow for the density of a point that it has not made itself.
So data call for MAF, and a variational posterior, which only scores its own samples, for IAF.
"""


# %%
class IAF(nn.Module):
    """An autoregressive layer with data and noise exchanged."""

    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.layer = MAFLayer(dim, hidden_dim)

    def forward(self, x):
        return self.layer.inverse(x)

    def inverse(self, z):
        return self.layer.forward(z)


# %% [markdown]
r"""
```{margin}
**In the sources.** CS236 notes: autoregressive models as flows, "details of this argument are omitted".
```

With linear means and constant widths the layer is an old acquaintance: {eq}`eq-flows-maf` is then a triangular matrix, and $x$ is one Gaussian with the inverse of that matrix as its Cholesky factor, as in `Whitening`.

Images have channels, and a coupling can keep half of those.
Between couplings Glow {cite:p}`kingma2018` mixes the channels of each pixel with a matrix $W$, a *1 x 1 convolution*.
The same matrix acts on all $H B$ pixels of an image of height $H$ and breadth $B$, so that $\log \lvert \det \rvert = H B \log \lvert \det W \rvert$.
"""


# %%
class Convolution1x1(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.W = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)

    def forward(self, x):  # shape (num_images, channels, height, breadth)
        num_images, _, height, breadth = x.shape
        log_det = height * breadth * torch.linalg.slogdet(self.W).logabsdet
        return torch.einsum("ij,njhb->nihb", self.W, x), log_det.expand(num_images)

    def inverse(self, z):
        x = torch.einsum("ij,njhb->nihb", torch.linalg.inv(self.W), z)
        return x, -self(x)[1]


# %% tags=["hide-input"]
# Every layer answers the two questions: the largest errors, recorded
x, images = torch.randn(50, 6).double(), torch.randn(20, 3, 4, 5).double()
half, root = (torch.arange(6) % 2).float(), torch.randn(6, 6).double()
gaussian = Whitening(torch.randn(6).double(), root @ root.T + torch.eye(6).double())
layers = {
    "linear": (gaussian, "triangular", "1 / 1"),
    "planar": (shaken(Planar(6), 0.7), "rank one", "1 / a search"),
    "NICE": (shaken(Coupling(half, bound=0.0)), "triangular", "1 / 1"),
    "RealNVP, 4 layers": (
        shaken(RealNVP(6, num_layers=4), 0.15),
        "triangular",
        "1 / 1",
    ),
    "MAF, 3 layers": (
        shaken(MAF(6, num_layers=3, hidden_dim=30), 0.15),
        "triangular",
        "1 / d",
    ),
    "IAF": (shaken(IAF(6, 30)), "triangular", "d / 1"),
    "1 x 1 convolution": (shaken(Convolution1x1(3)), "blocks", "1 / 1"),
}
errors = {
    name: layer_errors(layer, images if name[0] == "1" else x)
    for name, (layer, *_) in layers.items()
}
found = torch.tensor(list(errors.values()), dtype=torch.float64).amax(0)
protocol = "over all layers, in double precision, 50 points"
det_error = run.record(
    "log_det_max_error",
    found[0],
    unit="nats",
    protocol=f"largest error of a log-determinant, against autograd, {protocol}",
)
inverse_error = run.record(
    "inverse_max_error",
    found[1],
    unit="1",
    protocol=f"largest error of a component of the inverse, {protocol}",
)

# %% tags=["hide-input"]
# The layers side by side
plotting.table(
    {
        name: (*words, determinant, f"{max(errors[name]):.0e}")
        for (name, (_, *words)), determinant in zip(
            layers.items(), ("d", "d", "none", "d", "d", "d", "c³"), strict=True
        )
    }
    | {
        "residual (see Further)": ("full", "1 / iterated", "d a term", ""),
        "MintNet (see Further)": ("triangular", "1 / iterated", "d", ""),
    },
    columns=(
        "layer",
        "Jacobian",
        "passes, density / sample",
        "operations for its determinant",
        "largest error",
    ),
)

# %% tags=["check"]
checks.at_most("log-determinant of every layer, against autograd", det_error, 1e-10)
checks.at_most("inverse of every layer leads back", inverse_error, 1e-10)
for name, layer in (
    ("planar", shaken(Planar(2), 0.7)),
    ("NICE", shaken(Coupling(half[:2], bound=0.0))),
    ("RealNVP", shaken(RealNVP(2, num_layers=4), 0.12)),
    ("MAF", shaken(MAF(2, num_layers=3, hidden_dim=30), 0.15)),
):
    # A ReLU has kinks, and trapezoids an error of about step^2 there.
    atol = 0.05**2 if name == "MAF" else 1e-6
    log_prob = Flow(2, [layer]).log_prob
    checks.close(f"{name}: integral over the plane", integral(log_prob), 1.0, atol=atol)

# %% tags=["check"]
for reverse in (False, True):
    layer = shaken(MAFLayer(6, 30, reverse=reverse))
    J = jacobians(first_output(layer), x)
    J = J.flip(1, 2) if reverse else J
    name = "MAF" + ", reversed" * reverse
    checks.close(f"{name}: no z sees a later x", J.triu(1), 0 * J, atol=0.0)
    used = J.abs().amax(0)[torch.ones(6, 6).tril() > 0]
    checks.at_least(f"{name}: and every z sees all before", used, 1e-6)
for name in ("RealNVP, 4 layers", "MAF, 3 layers"):
    J = jacobians(first_output(layers[name][0]), x)
    checks.at_least(f"{name}: every z depends on every x", J.abs().amax(0), 1e-6)
passes = []
layer.net.register_forward_hook(lambda *_: passes.append(1))
z, _ = layer(x)
checks.close("passes for a density of MAF", len(passes), 1)
layer.inverse(z)
checks.close("passes for a sample, and one for its log-determinant", len(passes) - 1, 7)
iaf, passes = copy.deepcopy(layers["IAF"][0]), []
iaf.layer.net.register_forward_hook(lambda *_: passes.append(1))
iaf.inverse(x)
checks.close("passes for a sample of IAF", len(passes), 1)
iaf(x)
checks.close(
    "passes for a density of IAF, with its log-determinant", len(passes) - 1, 7
)
earlier = gaussian.L @ gaussian.L.T
conditional = [  # variance of x_i given all before, by Schur's complement
    earlier[i, i] - earlier[i, :i] @ torch.linalg.solve(earlier[:i, :i], earlier[:i, i])
    for i in range(1, 6)
]
checks.close(
    "linear: the squared diagonal of L is the conditional variance",
    gaussian.L.diagonal()[1:] ** 2,
    torch.stack(conditional),
    rtol=1e-10,
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Which component of the noise (row) depends on which component of the data (column): Jacobians of single layers in eight dimensions, by autograd; the last is MAF in the reversed order. White is exactly zero.", "name": "fig-flows-jacobians"}, "image": {"alt": "Five small square matrices. Planar: all entries filled. NICE and RealNVP: the diagonal and a block below it. MAF: the lower triangle. MAF in reversed order: the upper triangle."}}
first_half = (torch.arange(8) < 4).float()
shown = {
    "planar": Planar(8),
    "NICE": Coupling(first_half, bound=0.0),
    "RealNVP": Coupling(first_half),
    "MAF": MAFLayer(8, 40),
    "MAF, reversed": MAFLayer(8, 40, reverse=True),
}
fig, axes = plt.subplots(1, 5, figsize=(5.2, 1.4))
for ax, (name, layer) in zip(axes, shown.items(), strict=True):
    layer = shaken(layer, 0.4)
    J = jacobians(first_output(layer), torch.randn(1, 8).double())[0]
    ink = torch.where(J == 0, torch.nan, J.abs().sqrt())
    ax.imshow(ink, cmap="Oranges", vmin=-0.5, vmax=1)
    ax.set(xticks=[], yticks=[], xlabel=name.split(", ")[-1])
    ax.grid(visible=False)

# %% [markdown]
r"""
The errors in the table are those of rounding.
Most layers share one trick, a triangular Jacobian; MAF uses the whole triangle, a coupling only a block of it.
That makes MAF the most flexible of them for one pass of a network, and its samples the slowest.

```{dropdown} A one-minute question: why reverse the order between the layers?
In one order the last component never helps to predict the first.
Two layers with opposite orders let each component act on every other one; a chain in one order stays triangular.
```

## Digits: from a density to bits

Pixels are whole numbers $n$ from 0 to 255.
A density has no business there: a flow could put thin spikes on the 256 values, and raise its likelihood without limit.
So the data are *dequantised*: $x = (n + u) / 256$, with $u$ uniform on $[0, 1)$ for every pixel.
The probability of an image is then the integral of the density over a small cube, and by Jensen's inequality {cite:p}`theis2016`

$$
\begin{aligned}
\log P(n) &= \log \int_{[0, 1]^{784}} p\Bigl(\frac{n + u}{256}\Bigr) \frac{\mathrm{d}u}{256^{784}} \\
&\geq \bigl\langle \log p(x) \bigr\rangle_u - 784 \log 256 .
\end{aligned}
$$ (eq-flows-dequantise)

**A density in nats becomes a code length when one subtracts what the pixels are worth**, $\log_2 256 = 8$ bits each:

$$
\text{bits per pixel} = 8 - \frac{\log p(x)}{784 \log 2} .
$$ (eq-flows-bits)

By {eq}`eq-flows-dequantise` its mean is an upper bound: the best code is shorter.

Flows are more at ease with unbounded variables, so one takes the logit of the pixels, $y = \operatorname{logit}(\lambda + (1 - 2 \lambda)\, x)$ with $\lambda = 10^{-6}$ {cite:p}`papamakarios2017`.
That is one more layer, with a Jacobian of its own.
Published tables in logit space leave it out, and are of no use without the value of $\lambda$.
"""

# %%
LAMBDA = 1e-6


def dequantised(pixels):
    noise = torch.rand(pixels.shape, device=pixels.device)
    return (pixels + noise) / 256


def to_logit(x):
    return torch.logit(LAMBDA + (1 - 2 * LAMBDA) * x)


def log_jacobian(x):
    """log |det dy/dx| of `to_logit`, for each image."""
    inner = LAMBDA + (1 - 2 * LAMBDA) * x
    return (math.log(1 - 2 * LAMBDA) - inner.log() - (1 - inner).log()).sum(1)


def bits_per_pixel(log_prob_x):
    return 8 - log_prob_x / (784 * math.log(2))


# %% [markdown]
r"""
The simplest model in logit space is one Gaussian with a full covariance.
Our flow starts *from it*: its first layer is the Gaussian, fixed, and the MAF layers on top begin as the identity.
Whatever it learns is what a Gaussian can't say.
The noise $u$ is drawn anew for every batch.
"""

# %%
pixels, pixels_valid, pixels_test = (
    torch.from_numpy(part.reshape(-1, 784).copy())
    for part in (
        run.data.images[: run.data.num_train][: P.num_images],
        run.data.images[run.data.num_train :][:2_000],
        run.data.test_images,
    )
)
y = to_logit(dequantised(pixels))
gaussian = Flow(784, [Whitening(y.mean(0).double(), torch.cov(y.T).double())])
maf = MAF(784, num_layers=P.maf_layers, hidden_dim=P.maf_hidden)
digit_flow = Flow(784, [*copy.deepcopy(gaussian).float().layers, *maf.layers])
digit_flow.to(run.device)
pixels_there = pixels.to(run.device)


def batch():
    rows = torch.randint(len(pixels_there), (200,), device=run.device)
    return to_logit(dequantised(pixels_there[rows]))


# %% tags=["hide-input"]
# Training; the flow that is best on validation images is kept
@torch.no_grad()
def log_likelihoods(flow, y):
    """log p of each row, in logit space, a thousand at a time; in double precision."""
    y = y.to(next(flow.parameters(), y))
    return dgm.float64(torch.cat([flow.log_prob(part) for part in y.split(1_000)]))


y_valid = to_logit(dequantised(pixels_valid))
optimiser = torch.optim.Adam(digit_flow.parameters(), fused=True)
best, valid_curve = copy.deepcopy(digit_flow), {}
steps = resumed(
    run.checkpoints("maf"),
    "MAF, steps",
    P.maf_steps,
    dict(flow=digit_flow, best=best, optimiser=optimiser, curve=valid_curve),
    lambda done: fit(
        digit_flow, batch, P.maf_steps, rate=2e-3, optimiser=optimiser, done=done
    ),
)
valid_curve[0] = log_likelihoods(digit_flow, y_valid).mean().item()
for step, _ in steps:
    if step % max(1, P.maf_steps // 10) == 0:
        valid_curve[step] = log_likelihoods(digit_flow, y_valid).mean().item()
        if valid_curve[step] == max(valid_curve.values()):
            best.load_state_dict(digit_flow.state_dict())

# %% tags=["hide-input"]
# The numbers of the test images, recorded
x_test = torch.from_numpy(dgm.data.dequantise(pixels_test.numpy(), rng=run.rng))
y_test, jacobian = to_logit(x_test), log_jacobian(x_test)
test_log_p = {
    "gaussian": log_likelihoods(gaussian, y_test),
    "maf": log_likelihoods(best, y_test),
}
PUBLISHED = {"gaussian": -1366.9, "maf": -1300.5}  # Papamakarios et al. 2017
protocol = f"lambda 1e-6, {len(pixels):,} training images, all test images"
words = {
    "gaussian": "one Gaussian with full covariance, logit space",
    "maf": f"the Gaussian and {P.maf_layers} MAF layers of {P.maf_hidden} hidden units, "
    f"{P.maf_steps:,} steps of 200 images, noise drawn anew, logit space",
}
log_likelihood, bits = {}, {}
for name, values in test_log_p.items():
    log_likelihood[name] = run.record(
        f"{name}_logit_test_log_likelihood",
        values.mean(),
        unit="nats",
        standard_error=values.std() / len(values) ** 0.5,
        protocol=f"{words[name]}, {protocol}",
        published=PUBLISHED[name],
        source="Papamakarios, Pavlakou and Murray 2017"
        + (", MAF(5)" if name == "maf" else ""),
    )
    per_pixel = bits_per_pixel(values + jacobian)
    bits[name] = run.record(
        f"{name}_bits_per_pixel",
        per_pixel.mean(),
        unit="bits",
        standard_error=per_pixel.std() / len(values) ** 0.5,
        protocol=f"bound by dequantisation, one draw of the noise, {words[name]}, {protocol}",
    )

# %% tags=["check"]
y_few = to_logit(x_test[:5])
by_autograd = torch.func.vmap(torch.func.vmap(torch.func.grad(to_logit)))(x_test[:5])
checks.close(
    "Jacobian of the logit, against autograd",
    jacobian[:5],
    by_autograd.log().sum(1),
    rtol=1e-12,
)
# A density that rises linearly, 2 x, on four grey levels: P(n) = (2 n + 1) / 16.
for n in range(4):
    exact = math.log((2 * n + 1) / 16)
    mean_log = quad(lambda x: math.log(2 * x), n / 4, (n + 1) / 4)[0] * 4 - math.log(4)
    checks.ordered(
        f"level {n} of 4: bound by dequantisation, exact",
        {"bound": mean_log, "log P": exact},
    )
known = torch.tensor([0.0, 784 * math.log(256), 1980.5], dtype=torch.float64)
checks.close(
    "bits of a uniform density, of pixels known to one level, of NICE",
    bits_per_pixel(known),
    [8.0, 0.0, 4.3556],
    atol=1e-4,
)
whites = dequantised(torch.full((200_000,), 255, dtype=torch.uint8))
checks.at_most("dequantised pixels stay in [0, 1]", whites, 1.0)
checks.at_least("and the whitest level is the last 1/256", whites, 255 / 256)

# %% tags=["check"]
for name, value in bits.items():
    checks.at_most(f"{name}: bits per pixel, fewer than a uniform density's", value, 8)
    checks.at_least(f"{name}: bits per pixel, more than none", value, 0)
kept = log_likelihoods(best, y_valid).mean().item()
checks.at_least("the flow that is kept, less the Gaussian", kept - valid_curve[0], 0)
# One image as a whole, with a determinant of 784 x 784 and no sum of logarithms.  In
# single precision the flow sums 784 terms of some ten nats, each rounded to 6e-8.
whole = dgm.float64(copy.deepcopy(best)).requires_grad_(False)
image = x_test[:1].double()
J = jacobians(lambda x: whole(to_logit(x))[0], image)[0]
by_one_determinant = (
    standard.log_prob(whole(to_logit(image))[0]).sum()
    + torch.linalg.slogdet(J).logabsdet
)
checks.close(
    "log p of the pixels of one digit, by one determinant",
    test_log_p["maf"][0] + jacobian[0],
    by_one_determinant,
    atol=0.1,
)

# %% tags=["check"]
if run.on_mnist:
    blank_share = (pixels == 0).double().mean(0)
    checks.at_least(
        "pixels that are blank in 99 of 100 images", (blank_share > 0.99).sum(), 200
    )
if run.on_mnist and run.profile != "smoke":
    checks.close(
        "mean Jacobian of the logit, 4620.1 nats", jacobian.mean(), 4620.1, atol=4
    )
    checks.close(
        "the Gaussian, beside the published one",
        log_likelihood["gaussian"],
        -1366.9,
        atol=4,
    )
    gain = test_log_p["maf"] - test_log_p["gaussian"]
    least = gain.mean() - 5 * gain.std() / len(gain) ** 0.5
    checks.at_least("MAF above the Gaussian, less 5 standard errors", least, 0)
    checks.at_least("MAF above the published Gaussian", log_likelihood["maf"], -1366.9)
if run.on_mnist and run.profile == "quick":
    checks.at_least("guard: MAF", log_likelihood["maf"], -1345)
if run.on_mnist and run.profile == "full":
    checks.at_least(
        "MAF, 10 nats below the published one at most", log_likelihood["maf"], -1310
    )

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Bits per pixel of MNIST; fewer is better. Orange: ours, measured. Black: published densities, turned into bits by the equation above. Grey: published in bits; these are convolutional networks.", "name": "fig-flows-bits"}, "image": {"alt": "A horizontal scale from half a bit to four and a half. From the right: NICE at 4.36, MADE at 2.04, our Gaussian near 2.01, our MAF a little below it, MAF with five layers at 1.89, then RealNVP 1.06, Glow 1.05 and FFJORD 0.99."}}
J = 4620.1  # mean Jacobian of the logit on the test images
published_bits = {
    name: 8 - nats / (784 * math.log(2))
    for name, nats in (("NICE", 1980.5), ("MADE", J - 1380.8), ("MAF(5)", J - 1300.5))
}
scale = [(name, value, "black") for name, value in published_bits.items()]
scale += [("RealNVP", 1.06, "0.5"), ("Glow", 1.05, "0.5"), ("FFJORD", 0.99, "0.5")]
scale += [
    (name, bits[key], plotting.COLOURS[1])
    for name, key in (("our Gaussian", "gaussian"), ("our MAF", "maf"))
]
fig, ax = plt.subplots(figsize=(5.2, 2.7))
for row, (name, value, colour) in enumerate(sorted(scale, key=lambda entry: entry[1])):
    ax.plot([0, value], [row, row], color=colour, linewidth=3, alpha=0.5)
    ax.plot(value, row, "o", color=colour)
    ax.annotate(f"{name}, {value:.2f}", (value + 0.1, row), va="center", color=colour)
ax.set(xlabel="bits per pixel", yticks=[], xlim=(0, 6.2))
_ = ax.spines["left"].set_visible(False)

# %% [markdown]
r"""
**NICE's 1,980 nats {cite:p}`dinh2015` look splendid and are the worst score in the picture.**
They are a log-density of $x \in [0, 1]^{784}$, where a large positive number is easy: a model that only knows which pixels are nearly always blank has hundreds of those, each known to one level in 256, at $\log 256 = 5.5$ nats apiece.

And one Gaussian is a strong opponent.
The published MADE, with $-1380.8$ nats in logit space, loses to the Gaussian's $-1366.9$; five layers of MAF win, with $-1300.5$ {cite:p}`papamakarios2017`.
Ours wins in this short run (and on 5 seeds), too, as it started there.
Convolutions are worth more than all of this: the grey rows are from the survey {cite:p}`kobyzev2021`.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Samples, the first ones of a fixed seed, of the Gaussian (top) and of the flow (bottom), from the same noise.", "name": "fig-flows-samples"}, "image": {"alt": "Two rows of twelve images of blots and strokes. Those below have the shapes of those above, with more connected strokes; a few could be digits."}}
with torch.no_grad():
    z = torch.randn(12, 784)
    drawn = [
        dgm.float64(model.inverse(z.to(next(model.parameters(), y_test)))[0])
        for model in (gaussian, best)
    ]
fig, axes = plt.subplots(2, 1, figsize=(7.4, 1.5))
for ax, y in zip(axes, drawn, strict=True):
    plotting.image_grid(torch.sigmoid(y), columns=12, ax=ax)

# %% [markdown]
r"""
The same noise gives related pictures in both rows: the flow has started from the Gaussian.
A sample takes a pass for each of the 784 pixels, in each layer, one after the other; a density takes one.

## What a likelihood does not detect

**A high density does not mean "looks like the data".**
{cite:t}`nalisnick2019` found that flows trained on one set of images give higher likelihoods to another.
Ours has seen nothing but digits.
Here is the density that it gives to some other images, and the share of the test digits above which that lies.
"""

# %% tags=["hide-input"]
# Log-densities of images that are no digits, in both coordinates
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(run.seed)
    first = pixels_test[:1_000]
    foreign = {
        "test digits": first,
        "blank paper": torch.zeros_like(first),
        "faint digits, 1/8 of the ink": first // 8,
        "mean of all digits": pixels.float().mean(0).to(torch.uint8).expand(1_000, -1),
        "digits, pixels shuffled": first[:, torch.randperm(784)],
    }
    x_foreign = {name: dequantised(part).double() for name, part in foreign.items()}
of_logits = {name: log_likelihoods(best, to_logit(x)) for name, x in x_foreign.items()}
of_pixels = {name: of_logits[name] + log_jacobian(x) for name, x in x_foreign.items()}


def above(densities, name):
    """Share of test digits that an image of this kind is more probable than, on average."""
    return (densities["test digits"] < densities[name].mean()).double().mean().item()


plotting.table(
    {
        name: (
            f"{of_pixels[name].mean():,.0f}",
            f"{above(of_pixels, name):.0%}",
            f"{of_logits[name].mean():,.0f}",
            f"{above(of_logits, name):.0%}",
        )
        for name in foreign
    },
    columns=("1,000 images", "log p, pixels", "above", "log p, logits", "above"),
)

# %% tags=["check"]
four = {"test digits": torch.arange(4.0), "other": torch.tensor([1.0, 4.0])}
checks.close("denser than three of four", above(four, "other"), 0.75)
change = (of_pixels["blank paper"] - of_logits["blank paper"])[:2]
by_autograd = torch.func.vmap(torch.func.vmap(torch.func.grad(to_logit)))(
    x_foreign["blank paper"][:2]
)
checks.close(
    "the two columns differ by the Jacobian, by autograd",
    change,
    by_autograd.log().sum(1),
    rtol=1e-12,
)
if run.on_mnist and run.profile != "smoke":
    blank = run.record(
        "blank_above_digits",
        above(of_pixels, "blank paper"),
        unit="1",
        protocol="share of the first 1,000 test digits whose log-density in pixel space is "
        "below the mean of blank paper, MAF",
    )
    checks.at_least("blank paper: denser than so many digits", blank, 0.9)
    faint = above(of_pixels, "faint digits, 1/8 of the ink")
    checks.at_least("faint digits: denser than so many digits", faint, 0.5)
    checks.at_least(
        "mean digit, in logits: above so many digits",
        above(of_logits, "mean of all digits"),
        0.9,
    )
    checks.at_most(
        "mean digit, in pixels: above so many",
        above(of_pixels, "mean of all digits"),
        0.1,
    )
    shuffled = above(of_pixels, "digits, pixels shuffled")
    checks.at_most("shuffled digits: above so many", shuffled, 0.1)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Log-densities of the flow, for pixels (left) and for their logits (right): test digits (blue), blank paper (black) and the mean of all digits (grey). The same model, the same images; only the coordinates differ.", "name": "fig-flows-foreign"}, "image": {"alt": "Two panels with histograms. Left: the digits form a broad blue hump, the blank paper a narrow black one far to the right of it, the mean digit a grey one far to the left. Right: blue in the middle or left, the black and the grey one to the right of it."}}
fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.4))
for ax, densities, words in (
    (axes[0], of_pixels, "log p, pixels (nats)"),
    (axes[1], of_logits, "log p, logits (nats)"),
):
    for height, (name, label, colour) in enumerate(
        (
            ("test digits", "digits", plotting.COLOURS[0]),
            ("blank paper", "blank", "black"),
            ("mean of all digits", "mean", "0.45"),
        )
    ):
        values = densities[name].numpy()
        ax.hist(values, bins=25, color=colour, alpha=0.7)
        place = (np.median(values), 225 - 26 * height)
        ax.annotate(label, place, color=colour, ha="center")
    ax.set(xlabel=words, yticks=[], ylim=(0, 250))
    ax.margins(x=0.16)
    ax.locator_params(axis="x", nbins=3)
    ax.spines["left"].set_visible(False)

# %% [markdown]
r"""
Blank paper, which the model has never seen, is denser than nearly all digits, and faint digits are denser than most (on 5 seeds).
Each dark pixel of a digit costs some certainty; white ones are nearly free.
The most probable image of a fair model need not be a typical one: of a biased coin's long sequences, "all heads" is the most probable, and never comes up.

**And the order depends on the coordinates.**
The mean of all digits is a grey blur.
As pixels it is less dense than nearly every digit, as logits denser: the two columns of the table differ by the Jacobian of {eq}`eq-flows-change`, which is different for every image.
Under a change of variables a density changes, and with a suitable one any point can have any rank {cite:p}`lelan2021`.
Differences of log-likelihood between *models* on the same data have no such freedom: there the Jacobian cancels.

```{dropdown} A one-minute question: would a perfect density of digits call blank paper improbable?
Not necessarily.
If there is one digit in a million with hardly any ink, its probability may sit in a tiny volume, and the density there be the largest of all.
Probability is density times volume, and a threshold on a density forgets the volume.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- {eq}`eq-flows-change`: $\log p(x) = \log p_z(h(x)) + \log \lvert \det \partial h / \partial x \rvert$; in a chain the logarithms add
- {eq}`eq-flows-entropy`: no model has a mean log-likelihood above minus the entropy of the data
- {eq}`eq-flows-bits`: bits per pixel $= 8 - \log p(x) / (784 \log 2)$

**What it can do**

- **Likelihood:** exact; one pass for couplings and MAF, $d$ passes for IAF.
- **Sampling:** exact and independent; one pass for couplings and IAF, $d$ passes for MAF.
- **Latent code:** as many numbers as the data have, without loss.
- **What fails:** maps that fold unseen; islands stay joined by bridges; a high density does not mean a typical image.
```
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} Two points, one value (easy)
:label: ex-flows-square
```
Let $x = z^2$ with $z \sim \mathcal{N}(0, 1)$.
Two points have the same $x$, and nothing can be undone; still $x$ has a density.
Write `square_density(x)`, a tensor of densities for a tensor of positive $x$.
The reward is a picture: your density over a histogram of squares.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def square_density(x):
    return None


# %% tags=["check"]
def show_squares(answer):
    _, ax = plt.subplots(figsize=(4.8, 2.3))
    squares = torch.randn(20_000) ** 2
    ax.hist(squares.numpy(), bins=60, range=(0, 6), density=True, color="#8a8f98")
    x = torch.linspace(0.02, 6, 300)
    ax.plot(x, answer(x), color=plotting.COLOURS[1])
    ax.set(xlabel="$x = z^2$", ylabel="density", ylim=(0, 2))


def check_square(answer):
    x = torch.tensor([0.01, 0.3, 1.0, 2.5, 7.0], dtype=torch.float64)
    if (found := answer(x)) is None:
        return print("not yet")
    chi_squared = torch.distributions.Chi2(torch.tensor(1.0).double())
    ratio = found / chi_squared.log_prob(x).exp()
    if (ratio - 0.5).abs().max() < 1e-6:
        print("half of it is missing: which other z has this square?")
    checks.close("density of a square, over chi-squared's", ratio, [1.0] * 5, rtol=1e-9)
    show_squares(answer)
    return print("right")


check_square(square_density)

# %% [markdown]
r"""
````{solution-start} ex-flows-square
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A grey histogram that falls steeply from zero, and an orange curve that follows it."}}
def square_density(x):
    z = x.sqrt()
    one = torch.exp(-(z**2) / 2) / (2 * math.pi) ** 0.5 / (2 * z)  # |dx/dz| = 2 |z|
    return 2 * one  # z and -z


check_square(square_density)

# %% [markdown]
r"""
For a map that is not invertible, between spaces of equal dimension, the density is a sum over all points with the same value, $p(x) = \sum_{f(z) = x} p_z(z) / \lvert \det \partial f / \partial z \rvert$, wherever none of these determinants is zero.
With one of the two points it integrates to 1/2.
````{solution-end}
````

```{exercise-start} What is the stretch worth? (medium)
:label: ex-flows-nice
```
Build NICE for the plane: additive couplings, and one last layer that multiplies each component.
Write that layer, `Scale(dim)`, with a parameter `log_scale` of shape `(dim,)`, `forward(x)` and `inverse(z)`, each of which returns the points and one log-determinant per row.
The check trains a chain with it on the ring; how many nats is NICE behind, and by which factor does it multiply every area?
```{exercise-end}
```
"""


# %% tags=["exercise"]
class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return None

    def inverse(self, z):
        return None


# %% tags=["check"]
def train_nice(answer):
    """Ten additive couplings and the answer's layer, trained on the ring."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        masks = [torch.tensor([1.0, 0.0]).roll(k) for k in range(10)]
        layers = [Coupling(mask, bound=0.0, scale=4.0) for mask in masks]
        nice = Flow(2, [*layers, answer(2)])
        list(fit(nice, ring_batch, P.ring_steps // 3, rate=5e-3))
    return dgm.float64(nice).requires_grad_(False)


def check_scale(answer):
    x = torch.randn(20, 3, dtype=torch.float64)
    if answer(3)(x) is None:
        return print("not yet")
    layer = shaken(answer(3))
    checks.true("one log-determinant per row", layer(x)[1].shape == (20,))
    for name, error in zip(
        ("log-determinant", "inverse"), layer_errors(layer, x), strict=True
    ):
        checks.at_most(f"error of the {name}", error, 1e-10)
    nice = train_nice(answer)
    log_nice = nice.log_prob(plane)
    lost = ((log_p - log_nice) * log_p.exp()).sum() * cell - ring_kl
    print(f"NICE, after a third of the steps: {lost:.2f} nats behind RealNVP")
    area = nice.inverse(torch.zeros(1, 2).double())[1].exp().item()
    print(f"every area is multiplied by {area:.2f}")
    ax = plt.subplots(figsize=(2.8, 2.8))[1]
    ax.imshow(log_nice.exp().reshape(401, 401).T, cmap="Oranges", origin="lower")
    ax.set(xlim=(64, 336), ylim=(64, 336), xticks=[], yticks=[])
    ax.grid(visible=False)
    return print("right")


check_scale(Scale)

# %% [markdown]
r"""
````{solution-start} ex-flows-nice
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "The density of the trained NICE flow: orange blots along a ring, less clearly separated than those of the target."}}
class Scale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse(self, z):
        return z / self.log_scale.exp(), -self.log_scale.sum().expand(len(z))


check_scale(Scale)

# %% [markdown]
r"""
Additive couplings keep areas, so that the model has the values of the noise's density, up to one factor, each on an equal area; it can only move them about.
In two dimensions that is no obstacle: eight Gaussians that hardly overlap, with the variance $0.09$, have the levels and areas of a single one with the variance $8 \cdot 0.09 = 0.72$.
The best factor is $e^{\mathcal{H}} / 2 \pi e = 0.70$ for perfect couplings, and larger for others, because of all densities with the same mean square the Gaussian has the largest entropy.
````{solution-end}
````

```{exercise-start} Typical or likely? (medium)
:label: ex-flows-typical
```
If an image came from the model, its noise would be $z \sim \mathcal{N}(0, I)$, and $\lvert z \rvert^2$ would be near $d = 784$, not near 0, where the density is highest.
Write `typicality(z)`: for *one set* of noise vectors, one a row, the mean of $\lvert z \rvert^2$ minus its expected value, in standard errors of that mean under the model.
What does it say of the images of the last section?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def typicality(z):
    return None


# %% tags=["check"]
def check_typicality(answer):
    z = torch.ones(8, 50, dtype=torch.float64) * 1.1
    if (found := answer(z)) is None:
        return print("not yet")
    # |z|^2 has the mean d and the variance 2 d.
    exact = 50 * (1.1**2 - 1) / math.sqrt(2 * 50 / 8)
    checks.close("eight vectors of ones, times 1.1", found, exact, rtol=1e-12)
    scores = {}
    for name, x in x_foreign.items():
        y = to_logit(x[:100]).to(next(best.parameters()))
        with torch.no_grad():
            scores[name] = float(answer(dgm.float64(best(y)[0])))
        print(f"{name:28} {scores[name]:8.0f}")
    if run.on_mnist and run.profile != "smoke":
        checks.at_most("blank paper: too near", scores["blank paper"], -5)
        shuffled = scores["digits, pixels shuffled"]
        checks.at_least("shuffled digits: too far", shuffled, 5)
    return print("right")


check_typicality(typicality)

# %% [markdown]
r"""
````{solution-start} ex-flows-typical
:class: dropdown
````
"""


# %% tags=["solution"]
def typicality(z):
    num, dim = z.shape
    return ((z**2).sum(1).mean() - dim) / math.sqrt(2 * dim / num)


check_typicality(typicality)

# %% [markdown]
r"""
Blank paper lies too near to the origin, shuffled digits far too far out: a test from two sides sees both {cite:p}`nalisnick2019typicality`.
It says nothing of single images, though, and the test digits themselves are only about typical: the model is not yet their density.
````{solution-end}
````

```{exercise-start} A determinant of rank m (hard)
:label: ex-flows-sylvester
```
A planar layer bends along one direction.
The *Sylvester* layer {cite:p}`vandenberg2018` $z = x + A \tanh(B x + b)$ bends along $m$ of them, with $A$ of shape $(d, m)$ and $B$ of shape $(m, d)$.
Its Jacobian is $I + A \operatorname{diag}(h') B$, a matrix of $d \times d$.
Write `sylvester_log_det(A, B, slope)`, where `slope` holds the numbers $h'$, with a determinant of an $m \times m$ matrix only, for $d$ in the thousands.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def sylvester_log_det(A, B, slope):
    return None


# %% tags=["check"]
def check_sylvester(answer):
    A, B = torch.randn(300, 4).double() / 10, torch.randn(4, 300).double() / 10
    slope = torch.rand(4).double()
    if answer(A, B, slope) is None:
        return print("not yet")
    full = torch.linalg.slogdet(torch.eye(300).double() + A @ torch.diag(slope) @ B)
    checks.close(
        "against the large matrix", answer(A, B, slope), full.logabsdet, atol=1e-10
    )
    # A matrix of this size would have 10^10 entries.
    long = torch.full((100_000, 1), 0.01, dtype=torch.float64)
    found = answer(long, long.T, torch.ones(1).double())
    checks.close("100,000 dimensions, one direction", found, math.log(11), rtol=1e-9)
    return print("right")


check_sylvester(sylvester_log_det)

# %% [markdown]
r"""
````{solution-start} ex-flows-sylvester
:class: dropdown
````
"""


# %% tags=["solution"]
def sylvester_log_det(A, B, slope):
    small = torch.eye(len(slope)).to(A) + slope[:, None] * (B @ A)
    return torch.linalg.slogdet(small).logabsdet


check_sylvester(sylvester_log_det)

# %% [markdown]
r"""
Sylvester's identity, $\det(I_d + U V) = \det(I_m + V U)$, with $U = A$ and $V = \operatorname{diag}(h') B$.
With $m = 1$ it is the matrix determinant lemma of {eq}`eq-flows-planar`.
````{solution-end}
````

## Further

### Residual flows: a power series for the determinant

This unit adds layers without any pattern of zeros: *invertible residual networks* {cite:p}`behrmann2019`.
If $g$ is a contraction, with all $\lvert g(a) - g(b) \rvert \leq L \lvert a - b \rvert$ and $L < 1$, then $z = x + g(x)$ can be undone by iterating $x \leftarrow z - g(x)$, and with $J = \partial g / \partial x$

$$
\log \det (I + J) = \sum_{k=1}^{\infty} \frac{(-1)^{k+1}}{k} \operatorname{tr} J^k .
$$ (eq-flows-series)

Cut off after $K$ terms, the series errs by at most $d\, L^{K+1} / \bigl((K + 1)(1 - L)\bigr)$; the error does not average out, the likelihood is *biased*, which a random number of terms can mend {cite:p}`chen2019`.
MintNet {cite:p}`song2019mintnet` gets triangular Jacobians from masked convolutions instead.
"""

# %%
W_1, W_2 = torch.randn(20, 6).double(), torch.randn(6, 20).double()
LIPSCHITZ = 0.7
W_1, W_2 = (LIPSCHITZ**0.5 * W / torch.linalg.matrix_norm(W, 2) for W in (W_1, W_2))


def residual(x):
    return torch.tanh(x @ W_1.T) @ W_2.T


x = torch.randn(10, 6, dtype=torch.float64)
J = jacobians(residual, x)
powers = [torch.linalg.matrix_power(J, k) for k in range(1, 61)]
terms = [
    (-1) ** (k + 1) * power.diagonal(dim1=1, dim2=2).sum(1) / k
    for k, power in enumerate(powers, start=1)
]
partial_sums = torch.stack(terms).cumsum(0)
exact = torch.linalg.slogdet(torch.eye(6).double() + J).logabsdet
series_errors = (partial_sums - exact).abs().amax(1)

# %% tags=["check"]
K = torch.arange(1, 61)
bound = 6 * LIPSCHITZ ** (K + 1) / ((K + 1) * (1 - LIPSCHITZ))
checks.at_most("error of K terms, over its bound", series_errors[:40] / bound[:40], 1.0)
checks.at_most("error of 60 terms", series_errors[-1], 1e-8)
back = z = x + residual(x)
for _ in range(100):  # the error shrinks by 0.7 a step
    back = z - residual(back)
checks.close("inverse by iteration", back, x, atol=1e-13)

# %% [markdown]
r"""
### Infinitely many layers

This unit makes the layers infinitely thin.
With $z = x + \delta\, u(x)$ and $\delta \to 0$ only the first term of {eq}`eq-flows-series` is left, $\log \det = \delta \operatorname{tr} \partial u / \partial x$, and a sum over layers becomes an integral over time {cite:p}`chen2018,grathwohl2019`.
A trace costs less than a determinant, and any network will do for $u$.
[The lecture on SDEs](score_sde.ipynb) works with such flows; here is the case in which both sides are known.
"""

# %%
A = 0.5 * torch.randn(6, 6).double()
steps = 2 ** torch.arange(4, 11)
layered = torch.stack(
    [n * torch.linalg.slogdet(torch.eye(6).double() + A / n).logabsdet for n in steps]
)

# %% tags=["check"]
exact = torch.linalg.slogdet(torch.linalg.matrix_exp(A)).logabsdet
checks.close("linear flow, exp(A): log det = trace of A", exact, A.trace(), atol=1e-12)
# The second term of the series, - tr(A^2) / 2n, is what n layers lack; the third, times
# n, is tr(A^3) / 3n, here with n = 1,024.
missing = (layered - A.trace())[-1] * steps[-1]
checks.close(
    "n layers: what they lack, times n",
    missing,
    -(A @ A).trace() / 2,
    rtol=0.05,
    atol=0.01,
)

# %% [markdown]
r"""
### Statistics of the batch

This unit is about layers that standardise their inputs.
Batch normalisation between couplings, as in RealNVP and MAF, has a determinant too; but while it uses the mean and the variance of the *present batch*, the density of a point depends on its neighbours, and a test set can be scored in a way that no single image could.
Glow's *actnorm* takes the statistics of the first batch only, as the start of parameters that are trained: then it is an ordinary linear layer.
(Glow also *squeezes* 2 x 2 pixels into four channels, and sends half of the channels to the noise early; neither changes a volume.)
"""

# %%
norm = nn.BatchNorm1d(2, affine=False).double()


def log_prob_after(norm, x):
    """log p(x) of one layer of batch normalisation."""
    variance = x.var(0, unbiased=False) if norm.training else norm.running_var
    log_det = -0.5 * (variance + norm.eps).log().sum()
    return standard.log_prob(norm(x)).sum(1) + log_det


point = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
neighbours = torch.randn(50, 2, dtype=torch.float64)
batches = [torch.cat([point, spread * neighbours]) for spread in (1, 3)]
depends = {}
for training in (True, False):
    norm.train(training)
    values = [log_prob_after(norm, batch)[0].item() for batch in batches]
    depends[training] = abs(values[0] - values[1])

# %% tags=["check"]
checks.at_least(
    "statistics of the batch: log p of a point moves by", depends[True], 0.1
)
checks.close("kept statistics: it does not move", depends[False], 0.0, atol=1e-14)

# %% [markdown]
r"""
### From one digit to another

This unit shows what the noise of a flow is good for as a code.
Every image has a $z$ of its own, and the way back is exact; a path from one $z$ to another is a path through images.
There is no compression in it, and nothing makes a direction of $z$ mean anything.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "From one test digit to another: top, along an arc in the noise, on which its length stays typical; bottom, along a straight line in the pixels.", "name": "fig-flows-between"}, "image": {"alt": "Two rows of nine images with the same digits at both ends. The top row passes through sharp blots and strokes, the bottom row through a cross-fade of the two digits."}}
ends = x_test[[0, 2]]
weights = torch.linspace(0, 1, 9).double()[:, None]
with torch.no_grad():
    z = best(to_logit(ends).to(next(best.parameters())))[0]
    share = weights.to(z)
    between = (1 - share).sqrt() * z[:1] + share.sqrt() * z[1:]
    curve = torch.sigmoid(dgm.float64(best.inverse(between)[0]))
fig, axes = plt.subplots(2, 1, figsize=(7.4, 1.9))
fade = (1 - weights) * ends[:1] + weights * ends[1:]
for ax, images in zip(axes, (curve, fade), strict=True):
    plotting.image_grid(images, columns=9, ax=ax)

# %% tags=["check"]
there_and_back = (curve[[0, -1]] - (LAMBDA + (1 - 2 * LAMBDA) * ends)).abs().max()
checks.at_most("both ends come back, in grey values of 1", there_and_back, 0.01)

# %% [markdown]
r"""
### A flow as a fast Monte Carlo

This unit adds a use in physics: independent proposals for a density that is known up to its normaliser {cite:p}`noe2019,albergo2019`.
Draw from the flow, in one pass and without a chain, and weight each sample by $w = p(x) / q(x)$: means are then those of $p$, however rough the flow.
The mean weight is the ratio of the normalisers, and the effective sample size says how good the flow is.
"""

# %%
proposals = flow.sample(20_000)
log_w = torch.from_numpy(target.log_prob(proposals.numpy())) - flow.log_prob(proposals)
w = log_w.exp()
effective = (w.sum() ** 2 / (w**2).sum() / len(w)).item()
print(f"effective sample size: {effective:.2f} of each sample")

# %% tags=["check"]
checks.unbiased("mean weight = ratio of the normalisers, 1", w, 1.0)
squared_radius = w * (proposals**2).sum(1)
checks.unbiased("weighted mean of the squared radius", squared_radius, 4 + 2 * 0.3**2)

# %% [markdown]
r"""
The other use replaces a slow simulator whose density nobody can write down.
Here a particle makes 500 short steps and is scattered by a small random angle before each; we want where it comes to rest, in units of the whole path.
The mean depth is known, $\frac{1}{500} \sum_{t=1}^{500} e^{-0.06^2 t / 2}$, so the flow can be judged.
**An event costs two random numbers in place of five hundred, and its errors have no error bar.**
Without $p(x)$ there are no weights that could correct the flow; more events make the statistical error small, and leave the other one.
(Other tasks of this kind that the sources name are the translation of images, which [conditional GANs](gan_conditional.ipynb) learn, and pivoting, which frees a classifier of a nuisance parameter.)
"""


# %%
def scattered(num_events, num_steps=500, std=0.06):
    """Depth and sideways place of the end points, shape (num_events, 2)."""
    angle = (std * torch.randn(num_events, num_steps)).cumsum(1)
    return torch.stack([angle.cos().mean(1), angle.sin().mean(1)], 1)


events = scattered(20_000)
centre, width = events.mean(0), events.std(0)
fast = RealNVP(2)
_ = list(
    fit(
        fast,
        lambda: ((events - centre) / width)[torch.randint(len(events), (512,))],
        P.ring_steps // 4,
        rate=5e-3,
    )
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "End points of 2,000 scattered particles, by 500 steps each (blue) and by the flow that learned from them (orange).", "name": "fig-flows-scattered"}, "image": {"alt": "Two panels with clouds of points of the same shape, a bow that is open to the left: most points lie far to the right near the axis, the others along two arms that bend back above and below."}}
with torch.no_grad(), torch.random.fork_rng(devices=[]):
    imitated = fast.sample(20_000) * width + centre
fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.6), sharex=True, sharey=True)
for ax, points, colour in zip(
    axes, (events, imitated), plotting.COLOURS[:2], strict=True
):
    ax.plot(*points[:2_000].T, ".", ms=2, color=colour)
    ax.set(xlabel="depth", xlim=(-0.6, 1.1), ylim=(-1.1, 1.1))
_ = axes[0].set(ylabel="sideways")

# %% tags=["check"]
mean_depth = torch.exp(-(0.06**2) * torch.arange(1, 501) / 2).mean().item()
checks.unbiased("mean depth, simulated", events[:, 0].double(), mean_depth)
if run.profile != "smoke":
    checks.close(
        "guard: mean depth by the flow",
        imitated[:, 0].mean().item(),
        mean_depth,
        atol=0.03,
    )

# %% [markdown]
r"""
### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $x$, $z$ | `x`, `z` | data, noise from $\mathcal{N}(0, I)$ |
| $f$, $h$ | `inverse`, `forward` | map from noise to data, from data to noise, $h = f^{-1}$ |
| $\det \partial h / \partial x$ | `log_det` | Jacobian determinant, as the logarithm of its absolute value |
| $u$, $\hat u$, $w$, $b$ | `u`, `direction()`, `w`, `b` | vectors and bias of a planar layer |
| $x_a$, $x_b$ | `mask` | components that a coupling keeps, that it changes |
| $s$, $t$ | `s`, `t` | logarithm of the stretch, shift |
| $m_i$, $s_i$ | `m`, `s` | mean and log standard deviation of $x_i$ given all before it |
| $\mathcal{H}[p]$ | `entropy` | entropy of the data, in nats |
| $n$, $u$, $\lambda$, $y$ | `pixels`, `noise`, `LAMBDA`, `y` | grey level, dequantising noise, margin of the logit, logit of a pixel |
| $W$ | `W` | matrix of a 1 x 1 convolution |
| $L$, $J$ | `LIPSCHITZ`, `J` | Lipschitz constant and Jacobian of a residual layer |

## Reading

**What comes next:** the models that never compute a normaliser begin with [Boltzmann machines](boltzmann_machines.ipynb); flows return as a [noise that learns](noise_contrastive.ipynb) and as [ODEs](score_sde.ipynb).

**Reading:** {cite:t}`papamakarios2021` and {cite:t}`kobyzev2021` are the reviews; {cite:t}`papamakarios2017`, section 3, for the kinship of MAF, IAF and RealNVP; {cite:t}`theis2016` for what likelihoods do not say; and the lecture on film that the sources begin with, [Introduction to Normalizing Flows](https://www.youtube.com/watch?v=u3vVyFVU_lI).
The code of the sources is reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

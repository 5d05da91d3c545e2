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
# The restricted Boltzmann machine in Keras

At the end of this lecture you will be able to

1. write a model with an energy as a Keras layer whose code is the same for TensorFlow, JAX and PyTorch;
2. train it by contrastive divergence without automatic differentiation, `compile` or `fit`, and say why;
3. show that one update equals that of another framework to $10^{-6}$, by handing over the random numbers;
4. give the exact log-likelihood of the trained machine, and save and load it without losing a bit;
5. recognise a sampler whose random numbers repeat.

- **You need** [the lecture on restricted Boltzmann machines](rbm.ipynb), whose formulas are used here and not derived again; some Keras.
- **Sources:** {cite:t}`hinton2002`, {cite:t}`tieleman2008`, {cite:t}`melchior2016`, and the documentation of Keras 3.
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
from itertools import islice

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
from dgm.checkpoints import resumed

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

backend = keras.backend.backend()
if backend == "tensorflow":
    tensorflow = sys.modules["tensorflow"]
    tensorflow.config.list_physical_devices()  # its messages about GPUs end here
    # Nor warnings when a step is compiled again: a check counts how often that happens.
    tensorflow.get_logger().setLevel("ERROR")

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (12_000, 60_000, 60_000),
    "epochs": (3, 15, 50),
    "num_seeds": (2, 4, 4),  # of the short trainings that compare seeds
    "seed_epochs": (1, 3, 3),
    "num_chains": (20_000, 100_000, 100_000),  # of the small machines
    "gibbs_steps": (100, 1_000, 1_000),  # of the fantasies
}

# %%
run = dgm.start("rbm_keras", parameters=PARAMETERS, data="mnist")
P = run.parameters
print(f"Keras {keras.__version__} on {backend}")

# %% [markdown]
r"""
## The problem in one picture

Two programs that train the same model, each with its own random numbers, end at two different machines.
So do two runs of *one* program with two seeds: after three epochs their likelihoods scatter with a standard deviation of some tenths of a nat, as a check below shows, and a fault that costs less cannot be seen in a likelihood.
**Two programs are the same algorithm when the same numbers in give the same numbers out**, and the random numbers are among the numbers that go in.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The experiment of this lecture. PyTorch draws all numbers and makes one update; Keras gets the same numbers and must arrive at the same weights.", "name": "fig-rbmk-problem"}, "image": {"alt": "A diagram of three boxes. At the top left PyTorch, in a process of its own, draws weights, batch and uniform numbers and makes one update. An arrow hands these arrays to the box at the top right, Keras in this process, which makes one update. Arrows labelled new weights lead from both to a box below: equal to one part in a million?"}}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
boxes = {
    "torch": (
        0.16,
        0.78,
        "PyTorch\n(another process)\ndraws all numbers,\nmakes one update",
    ),
    "keras": (0.86, 0.78, "Keras\n(this process)\nmakes one update"),
    "end": (0.51, 0.12, "equal to $10^{-6}$ ?"),
}
frame = dict(boxstyle="round,pad=0.6", facecolor="#eef3f8", edgecolor="0.4")
drawn = {
    name: ax.text(x, y, text, ha="center", va="center", bbox=frame)
    for name, (x, y, text) in boxes.items()
}
for start, end in (("torch", "keras"), ("torch", "end"), ("keras", "end")):
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
ax.text(0.525, 0.82, "weights, batch,\nuniform numbers", ha="center", va="bottom")
ax.text(0.21, 0.36, "new weights", ha="center")
ax.text(0.81, 0.36, "new weights", ha="center")
ax.set(xlim=(-0.05, 1.05), ylim=(0, 1))
_ = ax.set_axis_off()

# %% [markdown]
r"""
The two programs need two processes.
In one process, importing TensorFlow first and then PyTorch with torchvision can abort the Python interpreter: we saw it with TensorFlow 2.21, PyTorch 2.15 and torchvision 0.29.
So this lecture imports neither by name, except where `compiled`, below, needs its backend.
It imports Keras, and Keras loads *one* backend, named by the environment variable `KERAS_BACKEND` before the first `import keras`.
The tests of the book run the whole lecture with `KERAS_BACKEND=torch` as well, and with `jax` where it is installed; so can you.

The symbols are those of [the RBM lecture](rbm.ipynb):

| symbol | in code | meaning |
|---|---|---|
| $v \in \{0, 1\}^D$ | `v` | visible units: the pixels |
| $h \in \{0, 1\}^H$ | `h` | hidden units |
| $W, b, c$ | `rbm.W`, `rbm.b`, `rbm.c` | weights, visible and hidden biases |
| $F(v)$ | `free_energy` | free energy, $p(v) = e^{-F(v)} / Z$ |
| $u$ | `u_h`, `u_v` | uniform numbers in $[0, 1)$, one for each unit of a layer |
| $\epsilon$ | `rate` | learning rate |
"""

# %% [markdown]
r"""
## The energy as a layer

```{margin}
**In the sources.** Oslo, 16 April, *RBM using TensorFlow and Keras*: a link to chapter 4 of the book by Babcock and Bali.
```

**A Keras layer is a set of weights and functions of them; nothing says that it must be a step from one layer of a network to the next.**
Here the functions are

$$
\begin{aligned}
E(v, h) &= -b \cdot v - c \cdot h - v^\top W h, \\
F(v) &= -b \cdot v - \sum_j \log\bigl(1 + e^{c_j + (v^\top W)_j}\bigr), \\
p(h_j = 1 \mid v) &= \sigma\bigl(c_j + (v^\top W)_j\bigr), \\
p(v_i = 1 \mid h) &= \sigma\bigl(b_i + (W h)_i\bigr).
\end{aligned}
$$ (eq-rbmk-energy)

`add_weight` makes the parameters.
We call them not trainable: in Keras *trainable* means that an optimiser moves the weight along a gradient, and here nobody does.
The PyTorch backend then builds no graph of derivatives.
`call` is what the layer does as a part of a `keras.Model`; `get_config` says how to build it again.
"""


# %%
class EnergyLayer(keras.layers.Layer):
    def __init__(self, num_visible, num_hidden, *, std=0.01, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.config = dict(
            num_visible=num_visible, num_hidden=num_hidden, std=std, seed=seed
        )

        def weight(name, shape, start="zeros"):
            return self.add_weight(
                shape=shape, initializer=start, trainable=False, name=name
            )

        normal = keras.initializers.RandomNormal(stddev=std, seed=seed)
        self.W = weight("W", (num_visible, num_hidden), normal)
        self.b, self.c = weight("b", (num_visible,)), weight("c", (num_hidden,))

    def energy(self, v, h):
        pair = ops.sum(ops.matmul(v, self.W) * h, axis=-1)
        return -ops.matmul(v, self.b) - ops.matmul(h, self.c) - pair

    def hidden_logits(self, v):
        return self.c + ops.matmul(v, self.W)

    def visible_logits(self, h):
        return self.b + ops.matmul(h, ops.transpose(self.W))

    def free_energy(self, v):
        experts = ops.sum(ops.softplus(self.hidden_logits(v)), axis=-1)
        return -ops.matmul(v, self.b) - experts

    def call(self, v):
        return self.free_energy(v)

    def get_config(self):
        return {**super().get_config(), **self.config}


# %% [markdown]
r"""
```{margin}
**A common mistake:** `tf.nn`, `tf.random` or `torch.` inside a layer.
One such call ties the layer to one backend.
```

Every function is one of `keras.ops`, which follows NumPy and calls the backend:

| `keras.ops` | TensorFlow | PyTorch | JAX |
|---|---|---|---|
| `matmul` | `tf.matmul` | `torch.matmul` | `jnp.matmul` |
| `softplus` | `tf.nn.softplus` | `F.softplus` | `jax.nn.softplus` |
| `sum(x, axis=)` | `tf.reduce_sum` | `torch.sum(x, dim=)` | `jnp.sum` |
| `take(x, rows, axis=0)` | `tf.gather` | `torch.index_select` | `jnp.take` |
| `convert_to_numpy` | `.numpy()` | `.detach().cpu().numpy()` | `np.asarray` |

The names hide differences that are easy to meet: the operator `@` between a matrix and a vector is a product in PyTorch and JAX and an error in TensorFlow, so we write `ops.matmul`.
A check below tests this for the backend that runs, and the other two are tested when the lecture runs on them.

We check the layer on a machine that can be listed, 6 visible and 4 hidden units.
The exact side of each check is NumPy in double precision and uses no function of Keras.
The layer stays in single precision, because in Keras 3.15 only TensorFlow keeps the promise of double precision.
With PyTorch, `ops.mean` of double numbers is computed in single precision and then called double; with JAX, double numbers become single when they enter, unless JAX is told otherwise.
With both we found the mean of 0.1, 0.2 and 0.4 wrong by $2 \cdot 10^{-8}$, and no error with TensorFlow; the last line below repeats this for the backend that runs.
So the tolerances below are a few roundings, $2^{-24}$ of a number up to about 30 each: $10^{-5}$.
Arrays enter through `ops.convert_to_tensor` with the type in words, because every backend has its own idea of what to do with NumPy's double numbers.
"""


# %%
def all_states(num_units, rows=None):
    """Binary vectors, the bits of each row number, lowest first; default: all."""
    rows = np.arange(2**num_units) if rows is None else rows
    return (rows[:, None] >> np.arange(num_units) & 1).astype(np.float64)


def machine(kind, W, b, c):
    """A machine of class `kind` with these parameters."""
    rbm = kind(*W.shape)
    for weight, value in zip((rbm.W, rbm.b, rbm.c), (W, b, c), strict=True):
        weight.assign(value)
    return rbm


def log_sum_exp(a):
    return a.max() + np.log(np.exp(a - a.max()).sum())


def tensor(array):
    """On the device, in single precision."""
    return ops.convert_to_tensor(array, dtype="float32")


to_numpy = ops.convert_to_numpy
V, all_h = all_states(6), all_states(4)
# Large weights on purpose: small ones hide mistakes.
tiny_W, tiny_b, tiny_c = (run.rng.normal(0, 1.5, size) for size in ((6, 4), 6, 4))
tiny = machine(EnergyLayer, tiny_W, tiny_b, tiny_c)
energies = -((V @ tiny_b)[:, None] + all_h @ tiny_c + V @ tiny_W @ all_h.T)
joint = np.exp(-energies)  # e^-E of every pair of states, (64, 16)
log_z = np.log(joint.sum())
p_v = joint.sum(1) / joint.sum()

# %% tags=["check"]
checks.close(
    "energy of all 1,024 pairs, against NumPy",
    tiny.energy(tensor(V[:, None]), tensor(all_h[None])),
    energies,
    atol=1e-5,
)
checks.close(
    "free energy, against the sum over h",
    tiny.free_energy(tensor(V)),
    -np.log(joint.sum(1)),
    atol=1e-5,
)
checks.close(
    "p(h|v), against Bayes' rule",
    ops.sigmoid(tiny.hidden_logits(tensor(V))),
    joint @ all_h / joint.sum(1)[:, None],
    atol=1e-5,
)
checks.close(
    "p(v|h), against Bayes' rule",
    ops.sigmoid(tiny.visible_logits(tensor(all_h))),
    joint.T @ V / joint.sum(0)[:, None],
    atol=1e-5,
)
checks.normalised("exp(-F - log Z)", -to_numpy(tiny(tensor(V))) - log_z, atol=1e-5)

# %% tags=["check"]
at = np.array([-20.0, 0.0, 100.0], np.float32)
checks.close(
    "softplus in single precision at -20, 0, 100",
    ops.softplus(ops.convert_to_tensor(at)),
    [math.log1p(math.exp(-20)), math.log(2), 100],
    rtol=1e-6,
)
# The draws of an initialiser: 200,000 of them, so the variance has error sqrt(2/N).
draws = to_numpy(EnergyLayer(500, 400, std=0.02).W)
checks.unbiased("mean of the first weights", draws.ravel(), 0.0)
checks.unbiased("their squares, over std^2", (draws / 0.02).ravel() ** 2, 1.0)

try:
    tensor(V) @ tensor(tiny_b)
    outcome = "a product"
except Exception:  # the backends raise different kinds
    outcome = "an error"
expected = "an error" if backend == "tensorflow" else "a product"
checks.true(f"{backend}: matrix @ vector is {expected}", outcome == expected)

tenths = np.array([0.1, 0.2, 0.4])
mean = ops.mean(ops.convert_to_tensor(tenths, dtype="float64"))
error = abs(float(to_numpy(mean)) - tenths.mean())
print(f"{backend}: ops.mean of double numbers errs by {error:.0e}")

# %% [markdown]
r"""
## Random numbers are an argument

**A function that draws its own random numbers can be compared with nothing; a function that receives them is a formula.**
A unit is on when its uniform number is below its probability, so that one sweep of block Gibbs sampling is

$$
\begin{aligned}
h_j &= \bigl[\, u^h_j < p(h_j = 1 \mid v) \,\bigr], \\
v'_i &= \bigl[\, u^v_i < p(v_i = 1 \mid h) \,\bigr],
\end{aligned}
$$ (eq-rbmk-sweep)

where the bracket is 1 when its claim is true and 0 otherwise.
The numbers come from `keras.random`, which runs on every backend, with a `SeedGenerator` as its `seed`: an object that holds a state and moves it at every call.
Its numbers are the same in every run of one backend; between backends they differ, which is one more reason to pass them on.
"""


# %%
def bernoulli(logits, uniform):
    """1 where the uniform number is below sigmoid(logit), else 0."""
    return ops.cast(uniform < ops.sigmoid(logits), logits.dtype)


def sweep(rbm, v, u_h, u_v):
    """One sweep of block Gibbs sampling: h from v, then v from h."""
    h = bernoulli(rbm.hidden_logits(v), u_h)
    return bernoulli(rbm.visible_logits(h), u_v)


def draw_uniforms(rbm, num_rows, k, seed):
    """The uniform numbers of k sweeps: k pairs for the hidden, the visible units."""
    num_visible, num_hidden = rbm.W.shape
    u = keras.random.uniform(
        (k, num_rows, num_hidden + num_visible), seed=seed, dtype=rbm.W.dtype
    )
    return [(u[i, :, :num_hidden], u[i, :, num_hidden:]) for i in range(k)]


def gibbs(rbm, v, seed):
    """Yields v after 1, 2, 3, ... sweeps."""
    while True:
        ((u_h, u_v),) = draw_uniforms(rbm, len(v), 1, seed)
        v = sweep(rbm, v, u_h, u_v)
        yield v


# %% [markdown]
r"""
On the small machine one sweep has a table of transition probabilities, $T(v \to v') = \sum_h p(h \mid v)\, p(v' \mid h)$, called $K$ in [the Boltzmann machine lecture](boltzmann_machines.ipynb).
We start all chains at one state and count where they are after one and after two sweeps.
"""

# %%
T = (joint / joint.sum(1)[:, None]) @ (joint / joint.sum(0)).T  # (64, 64)


def frequencies(v):
    """How often each of the 64 states occurs among the rows of v."""
    rows = (to_numpy(v) @ 2 ** np.arange(6)).astype(int)
    return np.bincount(rows, minlength=64) / len(rows)


def deviations(seed, sweeps):
    """Counts after this many sweeps, minus the exact ones, in standard errors.

    Two results: one for each state that is often met, one for all others together.
    """
    start = tensor(np.repeat(V[21:22], P.num_chains, axis=0))
    v = next(islice(gibbs(tiny, start, seed), sweeps - 1, None))
    found, exact = frequencies(v), np.linalg.matrix_power(T, sweeps)[21]
    often = exact * P.num_chains > 25  # rarer states: counts are not Gaussian
    error = np.sqrt(exact * (1 - exact) / P.num_chains)
    rare = exact[~often].sum() * P.num_chains
    above = found[~often].sum() * P.num_chains - rare
    return np.abs(found - exact)[often] / error[often], above / math.sqrt(rare + 1)


# %% tags=["check"]
checks.close("T leaves p(v) as it is", p_v @ T, p_v, atol=1e-14)
seeds = keras.random.SeedGenerator(run.seed)
for sweeps in (1, 2):
    each, others = deviations(seeds, sweeps)
    checks.at_most(
        f"sweeps: {sweeps}; deviations of {len(each)} states in standard errors",
        each,
        5,
    )
    checks.at_most(
        "chains in the other states, above expectation, in standard errors", others, 5
    )

# %% [markdown]
r"""
## One update, by hand

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the same algorithm, by automatic differentiation.
```

**Contrastive divergence is a closed formula: no loss, no derivatives, no optimiser.**
With $\hat h(v) = p(h = 1 \mid v)$, data $v$ and the states $v'$ that $k$ sweeps lead to, the step is

$$
\begin{aligned}
\Delta_W &= \langle v\, \hat h(v)^\top \rangle - \langle v'\, \hat h(v')^\top \rangle, \\
\Delta_b &= \langle v \rangle - \langle v' \rangle, \\
\Delta_c &= \langle \hat h(v) \rangle - \langle \hat h(v') \rangle, \\
\theta &\leftarrow \theta + \epsilon\, \Delta_\theta .
\end{aligned}
$$ (eq-rbmk-update)

The sweeps start at the data for CD-k, contrastive divergence with $k$ sweeps.
For PCD-k, *persistent* contrastive divergence, they start where those of the last step ended; the states that are kept from step to step are called **particles**.
The centred step corrects this one by the means $\mu_v$ and $\mu_h$ of the two layers, called **offsets**, as in [the RBM lecture](rbm.ipynb):

$$
\begin{aligned}
\Delta'_W &= \Delta_W - \mu_v \Delta_c^\top - \Delta_b\, \mu_h^\top, \\
\Delta'_b &= \Delta_b - \Delta'_W \mu_h, \\
\Delta'_c &= \Delta_c - \Delta_W'^\top \mu_v .
\end{aligned}
$$ (eq-rbmk-centred)

The usual places for a training step in Keras do not fit.
`compile` and `fit` want a loss, and CD has none.
Overriding `train_step` is possible, but its arguments and its way of changing weights differ from backend to backend: JAX hands all state in and wants all of it back.
A method that computes the new weights and assigns them runs everywhere: `cd_update` is {eq}`eq-rbmk-update`, and `centre` is {eq}`eq-rbmk-centred`.
"""


# %%
def centre(step, v_offset, h_offset):
    step_W, step_b, step_c = step
    step_W = step_W - ops.outer(v_offset, step_c) - ops.outer(step_b, h_offset)
    return (
        step_W,
        step_b - ops.matmul(step_W, h_offset),
        step_c - ops.matmul(v_offset, step_W),
    )


@keras.saving.register_keras_serializable(package="rbm_keras")
class RBM(EnergyLayer):
    def phase(self, v):
        """Mean over the rows of -dF/dW, -dF/db, -dF/dc."""
        h = ops.sigmoid(self.hidden_logits(v))
        pairs = ops.matmul(ops.transpose(v), h) / v.shape[0]
        return pairs, ops.mean(v, axis=0), ops.mean(h, axis=0)

    def cd_update(self, v_data, v_start, uniforms, rate, offsets=None):
        """One step in place; returns the states at the end of the sweeps.

        CD-k: `v_start` is `v_data`.  PCD: it is what the last call returned.
        """
        v_model = v_start
        for u_h, u_v in uniforms:
            v_model = sweep(self, v_model, u_h, u_v)
        up, down = self.phase(v_data), self.phase(v_model)
        step = [plus - minus for plus, minus in zip(up, down, strict=True)]
        if offsets is not None:
            step = centre(step, *offsets)
        for weight, change in zip((self.W, self.b, self.c), step, strict=True):
            weight.assign_add(rate * change)
        return v_model


# %% [markdown]
r"""
Without automatic differentiation, how do we know that `phase` is a gradient?
By central differences: the parameters are moved one by one, and the free energy answers.
And on average a step on data with the distribution $p_\text{data}$ must be the step in which every mean is a sum over the 64 states: weights $p_\text{data}$ for the data, $p_\text{data} T^k$ for the samples.
"""


# %%
def parameters(rbm):
    """W, b and c as one NumPy vector."""
    return np.concatenate([to_numpy(w).ravel() for w in (rbm.W, rbm.b, rbm.c)])


def free_energy_at(theta, v):
    """F(v) of the machine with these 34 parameters: NumPy, by the sum over h."""
    W, b, c = theta[:24].reshape(6, 4), theta[24:30], theta[30:]
    return -np.log(np.exp((v @ b)[:, None] + all_h @ c + v @ W @ all_h.T).sum(1))


p_data = np.exp(run.rng.normal(size=64) - V.sum(1))  # mostly few pixels on
p_data /= p_data.sum()
tiny = machine(RBM, tiny_W, tiny_b, tiny_c)
h_hat = joint @ all_h / joint.sum(1)[:, None]  # p(h = 1 | v) by Bayes' rule


def expected_step(weights):
    """The step of CD whose means are sums over all states with these weights."""
    return np.concatenate(
        [(V.T * weights @ h_hat).ravel(), weights @ V, weights @ h_hat]
    )


# %% tags=["check"]
rows = V[[3, 21, 62]]
checks.gradient(
    "phase, against central differences of the mean of -F",
    lambda theta: -free_energy_at(theta, rows).mean(),
    np.concatenate([tiny_W.ravel(), tiny_b, tiny_c]),
    np.concatenate([to_numpy(part).ravel() for part in tiny.phase(tensor(rows))]),
    atol=1e-5,
)
seeds = keras.random.SeedGenerator(run.seed + 1)
for k in (1, 2):
    steps = []
    for _ in range(100):
        rbm = machine(RBM, tiny_W, tiny_b, tiny_c)
        v = tensor(V[run.rng.choice(64, size=2_000, p=p_data)])
        rbm.cd_update(v, v, draw_uniforms(rbm, len(v), k, seeds), 1.0)
        steps.append(parameters(rbm) - parameters(tiny))
    exact = expected_step(p_data - p_data @ np.linalg.matrix_power(T, k))
    checks.unbiased(f"one step of CD-{k}, 100 batches", steps, exact)

# %% [markdown]
r"""
## The same numbers as PyTorch

**Given the same weights, batch and uniform numbers, Keras and PyTorch make the same step.**
The script below runs in a process of its own.
It makes the machine of the RBM lecture with 784 visible and 16 hidden units, takes a step of CD-1, of CD-2, and of centred PCD-2, and saves everything.
The random numbers are those that `gibbs` drew: the generator is set back to its seed and draws them once more.
The data have 10 rows and the particles 12, so that a mean over the wrong number of rows is seen.
"""

# %%
torch_script = """
import sys
from itertools import islice
import numpy as np
import torch
from dgm.models.rbm import RBM, centre, gibbs, phase_gradient

torch.manual_seed(0)
v_data, v_start = ((torch.rand(n, 784) < 0.15).float() for n in (10, 12))
offsets = v_data.mean(0), torch.rand(16)
saved = {"v_data": v_data, "v_start": v_start}
saved |= {"v_offset": offsets[0], "h_offset": offsets[1]}
runs = {"CD-1": (v_data, 1), "CD-2": (v_data, 2), "PCD-2 centred": (v_start, 2)}
for run, (start, k) in runs.items():
    torch.manual_seed(1)
    rbm = RBM(784, 16, std=0.1).requires_grad_(False)
    rbm.b.normal_(-2)
    rbm.c.normal_()
    saved |= {f"old {name}": w.clone() for name, w in rbm.named_parameters()}
    generator = torch.Generator().manual_seed(3)
    v_model = next(islice(gibbs(rbm, start, generator=generator), k - 1, None))
    generator.manual_seed(3)
    for i in range(k):
        for layer, size in (("h", 16), ("v", 784)):
            u = torch.rand(len(start), size, generator=generator)
            saved[f"{run} u_{layer} {i}"] = u
    parts = [v.new_full((len(v),), s / len(v)) for v, s in ((v_data, 1), (v_model, -1))]
    step = phase_gradient(rbm, torch.cat([v_data, v_model]), torch.cat(parts))
    if "centred" in run:
        step = centre(step, *offsets)
    for (name, w), change in zip(rbm.named_parameters(), step, strict=True):
        saved[f"{run} {name}"] = w + 0.1 * change
    saved[f"{run} v_model"] = v_model
np.savez(sys.argv[1], **{name: value.numpy() for name, value in saved.items()})
"""


# %%
with tempfile.TemporaryDirectory() as folder:
    file = f"{folder}/torch.npz"
    subprocess.run([sys.executable, "-c", torch_script, file], check=True)
    with np.load(file) as archive:
        torch_says = dict(archive)
given = {name: ops.convert_to_tensor(array) for name, array in torch_says.items()}


def machine_of_torch():
    """The machine before its update, in single precision as in PyTorch."""
    rbm = RBM(784, 16)
    for weight, name in ((rbm.W, "old W"), (rbm.b, "old b"), (rbm.c, "old c")):
        weight.assign(given[name])
    return rbm


def uniforms_of_torch(case, k):
    return [tuple(given[f"{case} u_{layer} {i}"] for layer in "hv") for i in range(k)]


# %% [markdown]
r"""
The samples at the end of the $k$ sweeps are compared first, and exactly: they are zeros and ones.
Two programs that add 784 numbers in different order may differ by about $10^{-7}$ in a probability, and a uniform number that lies between the two turns a unit around.
The three steps compare $8{,}000 + 16{,}000 + 19{,}200 = 43{,}200$ uniform numbers with their probabilities, the 8,000 of CD-1 being also the first of CD-2.
So a difference of $10^{-7}$ turns a unit around in fewer than one of 200 such experiments, because $43{,}200 \cdot 10^{-7} < 1/200$.
When it happens it should not be mistaken for a fault: the first checks say how near the nearest uniform number is, and how much the probabilities err in single precision.
"""

# %% tags=["check"]
cases = {"CD-1": ("v_data", 1), "CD-2": ("v_data", 2), "PCD-2 centred": ("v_start", 2)}
distances, errors, count = [], [], 0
double_W, double_b, double_c = (torch_says[f"old {n}"].astype(float) for n in "Wbc")
for case, (start, k) in cases.items():
    before, v = machine_of_torch(), given[start]
    for u_h, u_v in uniforms_of_torch(case, k):
        logits_h = before.hidden_logits(v)
        h = bernoulli(logits_h, u_h)
        logits_v = before.visible_logits(h)
        in_double = (
            double_c + to_numpy(v) @ double_W,
            double_b + to_numpy(h) @ double_W.T,
        )
        for u, a, exact in zip(
            (u_h, u_v), (logits_h, logits_v), in_double, strict=True
        ):
            p = to_numpy(ops.sigmoid(a))
            distances.append(np.abs(to_numpy(u) - p).min())
            errors.append(np.abs(p - 1 / (1 + np.exp(-exact))).max())
            count += p.size
        v = sweep(before, v, u_h, u_v)
checks.close("uniform numbers compared", count, 43_200)
checks.at_least("their distances from the probabilities", distances, 1e-6)
checks.at_most("errors of the probabilities, against double precision", errors, 1e-6)

# %% tags=["check"]
differences, torch_steps = {}, {}
for case, (start, k) in cases.items():
    rbm = machine_of_torch()
    offsets = (given["v_offset"], given["h_offset"])
    v_model = rbm.cd_update(
        given["v_data"],
        given[start],
        uniforms_of_torch(case, k),
        0.1,
        offsets if "centred" in case else None,
    )
    checks.close(f"{case}: samples", v_model, torch_says[f"{case} v_model"])
    for name in "Wbc":
        new = to_numpy(getattr(rbm, name))
        torch_steps[case, name] = (
            torch_says[f"{case} {name}"] - torch_says[f"old {name}"]
        )
        differences[case, name] = new - torch_says[f"{case} {name}"]
        checks.at_most(
            f"{case}: largest difference in {name}",
            np.abs(differences[case, name]),
            1e-6,
        )
# %%
max_difference = run.record(
    "keras_torch_update_max_difference",
    max(np.abs(difference).max() for difference in differences.values()),
    unit="1",
    protocol="largest difference of a parameter after one step in Keras and in "
    "PyTorch, 784 visible and 16 hidden units, CD-1, CD-2 and centred PCD-2, rate 0.1, "
    "single precision",
)

# %% tags=["check"]
smallest_step = min(np.abs(step).max() for step in torch_steps.values())
checks.at_least("largest change by a step, for comparison", smallest_step, 1e-2)

# %% [markdown]
r"""
A difference of $10^{-6}$ would say little if the step itself were as small.
The last check says that in each of the three steps the largest change of $W$, of $b$ and of $c$ is above 0.01, which is ten thousand times the limit.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "The change of each parameter by one step of centred PCD-2 (horizontal), and the difference between Keras and PyTorch after it (vertical, in millionths). Dashed: the limit of the check. The points lie in rows because a difference is a whole number of last binary digits, $2^{-23}$ or 0.12 millionths for a parameter between 1 and 2 and less for smaller ones.", "name": "fig-rbmk-difference"}, "image": {"alt": "Three panels, for W, b and c, with points in horizontal rows around zero, far inside two dashed lines at plus and minus one millionth. The differences of W are the smallest, the steps of b and c the longest."}}
fig, axes = plt.subplots(1, 3, figsize=(7.0, 3.2), sharey=True, layout="constrained")
for ax, name, marker, colour in zip(axes, "Wbc", "os^", plotting.COLOURS, strict=False):
    ax.plot(
        torch_steps["PCD-2 centred", name].ravel(),
        1e6 * differences["PCD-2 centred", name].ravel(),
        marker,
        markersize=3,
        color=colour,
    )
    plotting.reference_line(ax, 1, "limit" if ax is axes[0] else "", side="left")
    plotting.reference_line(ax, -1, "", side="left")
    ax.set(xlabel=f"change of {name}", ylim=(-1.4, 1.4))
_ = axes[0].set_ylabel(r"Keras $-$ PyTorch ($10^{-6}$)")

# %% [markdown]
r"""
## A loop of our own

**The loop draws numbers and rows; the update computes.**
The images lie on the device as one tensor, and a permutation of row numbers gives the batches.
The learning rate falls linearly.
The visible offset is the mean of the training images; the hidden offset is one half at first and is taken anew after each epoch, as the mean of $\hat h$ over the first 1,000 images, as in the RBM lecture.

One thing is worth a helper.
Called as it is, the update is a row of small operations, each started from Python.
TensorFlow and JAX can compile it into one program.
This is the only place of the method that knows the backend: TensorFlow compiles a method that assigns; JAX compiles pure functions only, so we hand the weights in and take the new ones out; PyTorch runs it as it is.
"""


# %%
def compiled(rbm):
    """`rbm.cd_update`, compiled where the backend compiles; the same arguments."""
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(rbm.cd_update)
    if backend == "jax":
        import jax

        weights = (rbm.W, rbm.b, rbm.c)

        @jax.jit
        def pure(values, *arguments):
            mapping = list(zip(weights, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                v_model = rbm.cd_update(*arguments)
            return [scope.get_current_value(weight) for weight in weights], v_model

        def update(*arguments):
            values, v_model = pure([weight.value for weight in weights], *arguments)
            for weight, value in zip(weights, values, strict=True):
                weight.assign(value)
            return v_model

        return update
    return rbm.cd_update


# %% [markdown]
r"""
```{margin}
**A common mistake:** a learning rate that is a Python number.
TensorFlow's compiler takes it for a constant and compiles the step again for each new value.
Its warning of that is switched off at the top of this lecture; a check counts instead.
```

The rate is a tensor for the same reason for which the uniform numbers are: it changes from call to call.
"""


# %%
def permutation(num, seed):
    return to_numpy(keras.random.shuffle(ops.arange(num), seed=seed))


# %%
def train(
    rbm,
    x,
    seed,
    *,
    epochs,
    batch_size,
    rate,
    final_rate=0.0,
    k=1,
    persistent=True,
    centred=True,
    particles=None,
    done=0,
):
    """Yields (epoch, v_data, v_model) after each epoch of PCD-k, or of CD-k."""
    update, dtype = compiled(rbm), rbm.W.dtype
    num_batches = math.ceil(len(x) / batch_size)
    # One rate for each step; the last number, `final_rate`, comes after the last step.
    rates = np.linspace(rate, final_rate, epochs * num_batches + 1)
    rates = iter(rates[done * num_batches :])
    v_offset, h_offset = ops.mean(x, axis=0), ops.full(rbm.c.shape, 0.5, dtype=dtype)
    if particles is None:
        particles = ops.take(x, permutation(len(x), seed)[:batch_size], axis=0)
    v_model = ops.convert_to_tensor(particles, dtype=dtype)
    for epoch in range(done + 1, epochs + 1):
        if epoch > 1:
            h_offset = ops.mean(ops.sigmoid(rbm.hidden_logits(x[:1000])), axis=0)
        order = permutation(len(x), seed)
        for first in range(0, len(x), batch_size):
            v_data = ops.take(x, order[first : first + batch_size], axis=0)
            v_start = v_model if persistent else v_data
            v_model = update(
                v_data,
                v_start,
                draw_uniforms(rbm, len(v_start), k, seed),
                ops.convert_to_tensor(next(rates), dtype=dtype),
                (v_offset, h_offset) if centred else None,
            )
        yield epoch, v_data, v_model


# %% [markdown]
r"""
Three checks of the loop: the compiled update is the update; with a rate of zero the particles of PCD become samples of the machine, wherever they start; and with biases of a hundred, where every unit is fixed, whole epochs can be done by hand.
"""

# %% tags=["check"]
plain, fast = (machine(RBM, tiny_W, tiny_b, tiny_c) for _ in range(2))
uniforms = draw_uniforms(tiny, 64, 2, keras.random.SeedGenerator(run.seed + 2))
v_data, v_start, v_offset, h_offset, rate = (
    tensor(a) for a in (V[:50], V, V[5] / 2, all_h[3], 0.3)
)
for update in (plain.cd_update, compiled(fast)):
    for _ in range(3):
        update(v_data, v_start, uniforms, rate, (v_offset, h_offset))
checks.close(
    "three compiled steps, against three plain ones",
    parameters(fast),
    parameters(plain),
    atol=1e-5,
)
moved = np.abs(parameters(plain) - parameters(tiny)).max()
checks.at_least("largest change by these steps", moved, 0.1)
if backend == "tensorflow":
    for kind, rates in (
        ("Python", (0.1, 0.2, 0.3)),
        ("tensor", tensor([0.1, 0.2, 0.3])),
    ):
        update = compiled(fast)
        for rate in rates:
            update(v_data, v_start, uniforms, rate, None)
        count = update.experimental_get_tracing_count()
        programs = 3 if kind == "Python" else 1
        checks.close(f"programs for three rates, {kind} numbers", count, programs)

# %% tags=["check"]
x = tensor(V[run.rng.choice(64, size=20_000, p=p_data)])
still = dict(epochs=25, batch_size=10_000, rate=0.0)  # 50 steps without a change
*_, (_, _, particles) = train(tiny, x, seeds, **still)
checks.unbiased("PCD after 50 steps: pixels of the model", particles, p_v @ V)
for k in (1, 2):
    *_, (_, _, samples) = train(tiny, x, seeds, persistent=False, k=k, **still)
    exact = p_data @ np.linalg.matrix_power(T, k) @ V
    checks.unbiased(f"CD-{k} after 50 steps: pixels, sweeps: {k}", samples, exact)

# %% tags=["check"]
frozen = machine(RBM, np.zeros((1, 2)), np.array([100]), np.array([-100, 100]))
grey = tensor(np.full((5, 1), 0.5))
list(train(frozen, grey, seeds, epochs=3, batch_size=2, rate=0.9))
# Rates 0.9, 0.8, ..., 0.1; the hidden offset is 1/2 in the first epoch, then exact.
first_epoch, all_epochs = 0.9 + 0.8 + 0.7, 4.5
step_W, step_c = first_epoch / 4, first_epoch / 8
by_hand = [step_W, -step_W, 100 - all_epochs / 2, -100 - step_c, 100 + step_c]
checks.close("nine steps: W, b, c", parameters(frozen), by_hand, atol=1e-4)

# All units always on: b moves by the sum of (v - 1) over the images of an epoch.
images = run.rng.normal(size=(7, 3))
frozen = machine(RBM, np.zeros((3, 1)), np.full(3, 100), np.array([100]))
list(
    train(
        frozen,
        tensor(images),
        seeds,
        epochs=2,
        batch_size=1,
        rate=0.1,
        final_rate=0.1,
        centred=False,
    )
)
checks.close(
    "two epochs use each image twice",
    parameters(frozen)[3:6],
    100 + 2 * 0.1 * (images - 1).sum(0),
    atol=1e-4,
)

# %% [markdown]
r"""
## What goes wrong with a fixed seed

```{margin}
**A common mistake:** `seed=42` inside a function that is called again and again.
The state of a `SeedGenerator` moves on, a number stays what it is.
```

**`keras.random.uniform(shape, seed=42)` returns the same numbers at every call.**
That is by design: a number is a seed, not a generator.
In a sampler it is a fault that raises no error.
"""

# %% tags=["check"]
first, second = (keras.random.uniform((1000,), seed=42) for _ in range(2))
checks.close("a number as the seed: two calls, the same numbers", first, second)
one, other = keras.random.SeedGenerator(42), keras.random.SeedGenerator(42)
first, second = (to_numpy(keras.random.uniform((1000,), seed=one)) for _ in range(2))
correlation = np.corrcoef(first, second)[0, 1]  # of 1,000 pairs: 0 +/- 0.03
checks.at_most("a generator: correlation of two calls", abs(correlation), 5 / 1000**0.5)
checks.close(
    "another generator with the same seed repeats the first call",
    keras.random.uniform((1000,), seed=other),
    first,
)

# %% [markdown]
r"""
With the numbers fixed, {eq}`eq-rbmk-sweep` is no longer a random step but a *function* of $v$, the same at every sweep, and a chain can only run into a cycle.
We watch it in the small magnet of the RBM lecture: all weights equal to $J > 0$, biases that favour neither 0 nor 1.
There a unit that is switched on can only help to switch on others.
So a chain that starts with all units off can only gain units, and after at most 6 sweeps it stands still, for ever.
Its distance to the model falls once, from 0.44 to 0.30 in the second sweep, and is flat from then on, while the last chains come to rest.
Many such chains, each with numbers of its own, do not follow $p(v)$ either: those that should have come back have stayed.
"""

# %%
J = 0.8
magnet = machine(RBM, np.full((6, 4), J), np.full(6, -2 * J), np.full(4, -3 * J))
energies = to_numpy(magnet.energy(tensor(V[:, None]), tensor(all_h[None])))
table = np.exp(-energies)
magnet_p = table.sum(1) / table.sum()
magnet_T = (table / table.sum(1)[:, None]) @ (table / table.sum(0)).T
num_sweeps = 30


def follow(seed):
    """Distance to the model and share of chains that moved, after each sweep."""
    v = tensor(np.zeros((P.num_chains, 6)))
    distances, moved = [], []
    for new in islice(gibbs(magnet, v, seed), num_sweeps):
        distances.append(0.5 * np.abs(frequencies(new) - magnet_p).sum())
        moved.append((to_numpy(new) != to_numpy(v)).any(1).mean())
        v = new
    return np.array(distances), np.array(moved)


repeated, moved_repeated = follow(42)
fresh, moved_fresh = follow(keras.random.SeedGenerator(42))
exact_q, exact_distance = np.eye(64)[0], []
for _ in range(num_sweeps):
    exact_q = exact_q @ magnet_T
    exact_distance.append(0.5 * np.abs(exact_q - magnet_p).sum())
# Mean distance of independent draws: |Gaussian| has the mean sqrt(2 / pi) of its width.
widths = np.sqrt(magnet_p * (1 - magnet_p) / P.num_chains)
noise = 0.5 * math.sqrt(2 / math.pi) * widths.sum()

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Total variation distance between many chains and the model, with fresh uniform numbers at each sweep and with the same ones. Line: the exact distance. Dashed: what independent draws from the model would show.", "name": "fig-rbmk-failure"}, "image": {"alt": "On a logarithmic axis one row of points falls along a line down to a dashed level of noise. The other row falls once, from 0.44 to 0.30, and is flat from the second sweep on."}}
fig, ax = plt.subplots()
sweeps = np.arange(1, num_sweeps + 1)
ax.semilogy(
    sweeps, exact_distance, color=plotting.COLOURS[0], linewidth=1, label="exact"
)
ax.semilogy(sweeps, fresh, "o", color=plotting.COLOURS[0], label="SeedGenerator")
ax.semilogy(sweeps, repeated, "s", color=plotting.COLOURS[1], label="seed = 42")
plotting.reference_line(ax, noise, "noise of the draws", side="left")
ax.set(xlabel="sweeps", ylabel="distance to the model", ylim=(noise / 3, 1))
_ = ax.legend(loc="center right")

# %% tags=["check"]
checks.close(
    "magnet: turning all units around changes no probability",
    magnet_p,
    magnet_p[::-1],
    atol=1e-6,
)
checks.close(
    "repeated numbers: chains that move after 6 sweeps",
    moved_repeated[6:],
    np.zeros(num_sweeps - 6),
)
checks.at_least("repeated numbers: distance to the model", repeated, 0.25)
fall = repeated[0] - repeated[1], abs(repeated[1:] - repeated[1]).max()
checks.at_least(
    "repeated numbers: fall of the distance in the second sweep", fall[0], 0.1
)
checks.at_most("repeated numbers: change of the distance afterwards", fall[1], 0.02)
checks.at_least(
    "fresh numbers: share of the chains that move, last sweep", moved_fresh[-1], 0.2
)
# The draws of one chain move the distance by at most 1/N, so that its standard
# deviation is at most 1/(2 sqrt(N)); noise adds at most `noise` to its mean.
spread = 0.5 / math.sqrt(P.num_chains)
checks.at_most(
    "fresh numbers: distance to the model after 30 sweeps",
    fresh[-1],
    exact_distance[-1] + noise + 5 * spread,
)
checks.at_most(
    "repeated numbers: distance after one sweep, minus the exact one",
    abs(repeated[0] - exact_distance[0]),
    noise + 5 * spread,
)

# %% [markdown]
r"""
Note what would not have caught it: the first sweep is right, so a check of single sweeps passes, as the last line says.
It is the *second* sweep that is wrong, and for that reason the check of the sampler above counts states after two.
Here is that check once more, on the machine and the start of above, with `seed=42` in place of the generator: it passes after one sweep and fails after two.
"""

# %% tags=["check"]
for sweeps in (1, 2):
    each, others = deviations(42, sweeps)
    check = (checks.at_most, checks.at_least)[sweeps - 1]
    check(
        f"seed = 42, sweeps: {sweeps}; largest deviation in standard errors",
        each.max(),
        (5, 15)[sweeps - 1],
    )

# %% [markdown]
r"""
## A machine whose likelihood is known exactly

**With 16 hidden units, $\log Z$ is a sum over 65,536 states, and the log-likelihood is a number and not an estimate.**
The visible units are summed in closed form for each state of the hidden ones:

$$
Z = \sum_h e^{c \cdot h} \prod_i \bigl(1 + e^{b_i + (W h)_i}\bigr).
$$ (eq-rbmk-log-z)

We take 4,096 hidden states at a time.
The terms are computed in the precision of the machine, and their logarithms are added in double precision.
"""


# %%
def exact_log_partition(rbm, chunk=4096):
    num_states, terms = 2 ** rbm.c.shape[0], []
    for first in range(0, num_states, chunk):
        rows = np.arange(first, min(first + chunk, num_states))
        h = ops.convert_to_tensor(all_states(rbm.c.shape[0], rows), dtype=rbm.c.dtype)
        visible = ops.sum(ops.softplus(rbm.visible_logits(h)), axis=-1)
        terms.append(to_numpy(ops.matmul(h, rbm.c) + visible))
    return log_sum_exp(np.concatenate(terms).astype(np.float64))


def exact_log_prob(rbm, v):
    """log p(v) in nats, one number for each row."""
    return -to_numpy(rbm.free_energy(v)).astype(np.float64) - exact_log_partition(rbm)


# %% tags=["check"]
for chunk in (4096, 3):
    checks.close(
        f"log Z over the hidden states, {chunk} at a time",
        exact_log_partition(tiny, chunk),
        log_z,
        rtol=1e-6,
    )
checks.normalised("log p of all 64 states", exact_log_prob(tiny, tensor(V)), atol=1e-5)
wide = machine(RBM, *(run.rng.normal(size=size) for size in ((6, 16), 6, 16)))
by_visible = log_sum_exp(-to_numpy(wide.free_energy(tensor(V))))
checks.close(
    "log Z over 65,536 hidden, against 64 visible states",
    exact_log_partition(wide),
    by_visible,
    rtol=1e-6,
)

# %% [markdown]
r"""
The task is that of {cite:t}`pydeep`, as in [the RBM lecture](rbm.ipynb): MNIST with pixels thresholded at one half, 60,000 training images, 16 hidden units, visible biases that start at the logits of the pixel means.
Rates and sweeps are those of that lecture too: centred PCD-3 with batches of 100 and a rate that falls from 0.06 to 0, for 15 epochs.
The published value, $-142.56$ nats, is that of another training: centred PCD-1 with a constant rate of 0.01, for 50 epochs.
It is a landmark, not a value to be reproduced.
"""


# %%
def thresholded(part):
    images = dgm.data.binarise(run.data.vectors(part), method="threshold")
    return ops.convert_to_tensor(images[: P.num_images])


def standard_error_of_mean(x):
    return x.std(ddof=1) / len(x) ** 0.5


x_train, x_test = thresholded("train+valid"), thresholded("test")
mean = to_numpy(x_train).mean(0).clip(1 / len(x_train), 1 - 1 / len(x_train))
base_bias = np.log(mean / (1 - mean))
independent = (to_numpy(x_test) @ base_bias - np.log1p(np.exp(base_bias)).sum()).mean()

# %% tags=["check"]
grey_test = run.data.vectors("test")[: len(x_test)]
checks.close("thresholded test images", x_test, grey_test > 0.5)
pixels_on = to_numpy(x_test).astype(bool)
checks.close(
    "independent pixels, against the probability of each pixel",
    independent,
    np.log(np.where(pixels_on, mean, 1 - mean)).sum(1).mean(),
    rtol=1e-6,
)
checks.close(
    "standard error of the mean of 50 zeros and 50 ones",
    standard_error_of_mean(np.arange(100) % 2),
    0.5 / 99**0.5,
    rtol=1e-12,
)

# %%
rate = 0.06
rbm = RBM(784, 16, seed=run.seed)
rbm.b.assign(base_bias)
log_p_untrained = exact_log_prob(rbm, x_test)
curve = [float(log_p_untrained.mean())]
seeds = keras.random.SeedGenerator(run.seed + 3)
settings = dict(epochs=P.epochs, batch_size=100, rate=rate, k=3)
kept = {}  # the particles, for the checkpoints
variables = dict(W=rbm.W, b=rbm.b, c=rbm.c, seeds=seeds.state)
epochs = resumed(
    run.checkpoints("small"),
    "16 hidden units, epochs",
    P.epochs,
    variables | dict(curve=curve, kept=kept),
    lambda done: train(rbm, x_train, seeds, done=done, **kept, **settings),
)
for _, _, v_model in epochs:
    kept["particles"] = to_numpy(v_model)
    curve.append(float(exact_log_prob(rbm, x_test).mean()))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact log-likelihood of the test images after each epoch, 16 hidden units, trained in Keras. Dashed: the model with independent pixels, and the published value of another training, centred PCD-1 for 50 epochs.", "name": "fig-rbmk-curve"}, "image": {"alt": "A curve that starts at the dashed line of independent pixels, a little above minus 210 nats, rises steeply in the first epochs, and flattens above the second dashed line, the published value at minus 142.56."}}
published_16 = -142.56  # PyDeep, RBM_MNIST_small
fig, ax = plt.subplots()
ax.plot(curve, "o-")
plotting.reference_line(ax, independent, "independent pixels")
if run.on_mnist:
    plotting.reference_line(
        ax, published_16, "published (PCD-1, 50 epochs)", side="left"
    )
ax.xaxis.get_major_locator().set_params(integer=True)
_ = ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")
# %%
log_p = exact_log_prob(rbm, x_test)
log_likelihood = run.record(
    "keras_exact16_test_log_likelihood",
    log_p.mean(),
    unit="nats",
    standard_error=standard_error_of_mean(log_p),
    protocol=f"Keras, 16 hidden, centred PCD-3, {P.epochs} epochs, rate {rate} to 0, "
    f"thresholded at 0.5, {len(x_train):,} training images, {len(x_test):,} test "
    "images, exact Z",
    published=published_16,
    source="PyDeep, RBM_MNIST_small: centred PCD-1, 50 epochs",
)

# %% tags=["check"]
gain = log_p - log_p_untrained
checks.at_least(
    "mean gain by training, in standard errors",
    gain.mean() / standard_error_of_mean(gain),
    5,
)
checks.at_most("log-probabilities of binary images", log_p, 0)
W, b, c = (to_numpy(w).astype(np.float64) for w in (rbm.W, rbm.b, rbm.c))
chunks = np.split(all_states(16), 32)
in_double = log_sum_exp(
    np.concatenate([h @ c + np.logaddexp(0, b + h @ W.T).sum(1) for h in chunks])
)
checks.close(
    "log Z in single precision, against NumPy in double",
    exact_log_partition(rbm),
    in_double,
    atol=1e-3,
)
if run.on_mnist and run.profile != "smoke":
    checks.at_least(
        "exact test log-likelihood, 16 hidden units", log_likelihood, -142.0
    )

# %% [markdown]
r"""
The run in [the RBM lecture](rbm.ipynb) has the same settings and other random numbers: both results stand on the [results page](../book/results.md).
The standard error there is over test images, and it is no measure of their difference, because both use the same test images.
What counts is how far seeds move the result.
We train more machines, for three epochs each, with nothing different but the seed.
"""

# %%
short = []
for seed in range(run.seed + 10, run.seed + 10 + P.num_seeds):
    other = RBM(784, 16, seed=seed)
    other.b.assign(base_bias)
    numbers = keras.random.SeedGenerator(seed)
    list(train(other, x_train, numbers, **settings | {"epochs": P.seed_epochs}))
    short.append(exact_log_prob(other, x_test).mean())
print("test log-likelihoods:", ", ".join(f"{value:.2f}" for value in short))
seed_spread = run.record(
    "keras_exact16_seed_spread",
    np.std(short, ddof=1),
    unit="nats",
    protocol="standard deviation of the exact test log-likelihood over "
    f"{P.num_seeds} seeds, 16 hidden, centred PCD-3, {P.seed_epochs} epochs, "
    f"rate {rate} to 0",
)

# %% tags=["check"]
checks.at_least("least difference between two seeds", np.diff(np.sort(short)), 1e-4)
if run.on_mnist and run.profile != "smoke":
    checks.at_least("standard deviation over seeds", seed_spread, 0.1)
    checks.at_most("the same from above", seed_spread, 1.0)

# %% [markdown]
r"""
So after three epochs the random numbers alone move the result by some tenths of a nat, as a standard deviation, and two results that differ by so little are no sign of a fault and no proof that there is none.

Each hidden unit has a picture, its column of $W$: where it votes for ink (red) and against it (blue).
Compare with the filters of the large machine in [the RBM lecture](rbm.ipynb): with 16 units in place of 500, each has to serve a large part of the digit.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Weights of all 16 hidden units, on one colour scale whose ends are the 99.5th percentile of their sizes. A weight is the change of the log-odds of the unit by one pixel of ink: ink on red raises and ink on blue lowers the probability that the unit is on.", "name": "fig-rbmk-filters"}, "image": {"alt": "Two rows of eight pictures with large red and blue regions, arcs and strokes as wide as a digit, most of them with both colours."}}
fig, ax = plt.subplots(figsize=(7.0, 1.9))
plotting.image_grid(to_numpy(rbm.W).T, columns=8, symmetric=True, ax=ax)
_ = fig.colorbar(ax.images[0], ax=ax, label="weight (log-odds)", pad=0.02)

# %% [markdown]
r"""
We start chains from noise, for a fixed seed, and show not the binary $v$ but the smoother $\sigma(b + W \hat h(v))$.
This is a picture and not a conditional of the model: $\hat h$ holds probabilities, and $p(v \mid h)$ is defined for zeros and ones.
Sixteen bits are few for a digit: expect outlines, and chains that stay for long where the noise has dropped them.
The pictures at 10 sweeps are nearly those at 1, and a check says how much more they change later.
"""


# %%
def fantasies(rbm, num_chains, milestones, seed):
    """Pixel probabilities after each number of sweeps, for chains from noise."""
    noise = keras.random.uniform((num_chains, 784), seed=seed)
    chain, frames = gibbs(rbm, ops.cast(noise < 0.5, "float32"), seed), []
    for done in range(1, max(milestones) + 1):
        v = next(chain)
        if done in milestones:
            h = ops.sigmoid(rbm.hidden_logits(v))
            frames.append(to_numpy(ops.sigmoid(rbm.visible_logits(h))))
    return frames


milestones = (1, 10, P.gibbs_steps)
frames = fantasies(rbm, 24, milestones, keras.random.SeedGenerator(run.seed + 4))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Test images, and chains of the trained machine from noise after 1, 10 and many sweeps. Shown is $\\sigma(b + W \\hat h(v))$, the next layer of pixel probabilities if the hidden units are replaced by their probabilities.", "name": "fig-rbmk-fantasies"}, "image": {"alt": "Four grids of twenty-four pictures. The first shows black and white digits. The three others show grey and soft shapes; those after 10 sweeps are nearly those after 1, and after many sweeps they resemble digits: loops, strokes, and blends of two."}}
fig, axes = plt.subplots(2, 2, figsize=(6.0, 5.0))
labels = ["test images"] + [f"{n} sweep{'s' * (n > 1)}" for n in milestones]
for ax, label, images in zip(
    axes.flat, labels, [to_numpy(x_test[:24]), *frames], strict=True
):
    plotting.image_grid(images, columns=6, ax=ax)
    ax.set_title(label, fontsize=10)

# %% tags=["check"]
if run.on_mnist and run.profile != "smoke":
    ink = frames[-1].mean() / to_numpy(x_test).mean()
    checks.at_least("ink of the fantasies, over that of the test images", ink, 0.5)
    checks.at_most("the same from above", ink, 2.0)
    early, late = (np.abs(images - frames[0]).mean() for images in frames[1:])
    checks.at_least(
        "change of the pictures in 1,000 sweeps, over that in 10", late / early, 2
    )

# %% [markdown]
r"""
## The layer in a model

**What a layer promises to Keras is little: weights made by `add_weight`, a `call`, a `get_config`; saving, loading and counting then come for free.**
Inside a `keras.Model` the machine maps an image to its free energy.
The file holds the numbers of `get_config` and the weights; `register_keras_serializable` above tells Keras which class they belong to.
"""

# %%
pixels = keras.Input((784,))
model = keras.Model(pixels, rbm(pixels))
with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/rbm.keras")
    loaded = keras.saving.load_model(f"{folder}/rbm.keras", compile=False)
again = loaded.layers[-1]

# %% tags=["check"]
checks.close("number of parameters", model.count_params(), 784 * 16 + 784 + 16)
checks.close("weights after loading", parameters(again), parameters(rbm))
checks.true("and the configuration", again.get_config() == rbm.get_config())
checks.true("they are other weights", again.W is not rbm.W)
checks.close(
    "free energies by the loaded model",
    ops.reshape(loaded(x_test[:100]), (-1,)),
    rbm.free_energy(x_test[:100]),
    rtol=1e-6,
)
odd = RBM(5, 3, std=0.5, seed=7)
checks.close(
    "a machine made again from its configuration starts with the same weights",
    parameters(RBM.from_config(odd.get_config())),
    parameters(odd),
)
fresh_machine = RBM.from_config(rbm.get_config())
checks.at_least(
    "a trained one does not: difference of the weights",
    np.abs(parameters(fresh_machine) - parameters(rbm)).max(),
    0.1,
)

# %% [markdown]
r"""
The last check is a warning: `get_config` knows shapes and seeds and no weights.

How much does compiling bring?
The ratio depends on the machine and on the backend, so it is printed and not asserted; under PyTorch, where nothing is compiled here, it is about one.
"""


# %%
def seconds_per_step(update, num_steps=50):
    numbers = keras.random.SeedGenerator(0)
    v, rate = x_train[:100], ops.convert_to_tensor(0.0)
    uniforms = draw_uniforms(rbm, 100, 3, numbers)
    for step in range(num_steps + 5):
        if step == 5:  # compiled and warm
            started = run.seconds
        v_model = update(v, v, uniforms, rate, None)
    to_numpy(v_model)  # wait for the last step
    return (run.seconds - started) / num_steps


before = parameters(rbm)
plain, fast = seconds_per_step(rbm.cd_update), seconds_per_step(compiled(rbm))
print(f"{backend}: a plain step takes {plain / fast:.1f} compiled ones")
checks.close("at a rate of zero no parameter has moved", parameters(rbm), before)

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} A tensor that cannot be written to
:label: ex-rbmk-pixel
```
The pseudo-likelihood of pixel $i$ asks for one pixel given all others, $\log p(v_i \mid v_{-i}) = \log \sigma\bigl(F(\tilde v) - F(v)\bigr)$, where $\tilde v$ is $v$ with pixel $i$ turned around.
In NumPy and PyTorch one would copy $v$ and assign to a column; tensors of TensorFlow and JAX can't be assigned to.
Write `log_prob_of_pixel(rbm, v, i)` for one pixel number `i`, one value for each row of `v`, with functions of `keras.ops` alone.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def log_prob_of_pixel(rbm, v, i):
    return None


# %% tags=["check"]
def check_pixel(answer):
    v = tensor(V)
    if answer(tiny, v, 0) is None:
        return print("not yet")
    for i in (0, 5):
        partner = np.arange(64) ^ (1 << i)  # the state that differs in pixel i alone
        checks.close(
            f"pixel {i}, against the table",
            answer(tiny, v, i),
            np.log(p_v / (p_v + p_v[partner])),
            atol=1e-4,
        )
    return print("right")


check_pixel(log_prob_of_pixel)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-pixel
:class: dropdown
````
"""


# %% tags=["solution"]
def log_prob_of_pixel(rbm, v, i):
    turn = ops.one_hot(i, rbm.b.shape[0], dtype=rbm.b.dtype)
    turned = ops.abs(v - turn)  # |v - 1| = 1 - v in column i, v elsewhere
    return ops.log_sigmoid(rbm.free_energy(turned) - rbm.free_energy(v))


check_pixel(log_prob_of_pixel)

# %% [markdown]
r"""
A row of zeros with a single one takes the place of the assignment, and it broadcasts over the batch.
For one pixel number for each row, `i` may be a vector: `one_hot` then gives a matrix, and nothing else changes.
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} The update as a loss
:label: ex-rbmk-loss
```
Programs with automatic differentiation write CD as a loss and let an optimiser *descend* it.
Write `cd_loss(rbm, v_data, v_model)`, a single number whose gradient, times minus one, is the step of {eq}`eq-rbmk-update`, for given states `v_model` at the end of the sweeps.
Where would `ops.stop_gradient` stand, and does it change anything here?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def cd_loss(rbm, v_data, v_model):
    return None


# %% tags=["check"]
def check_loss(answer):
    v_data, v_start = tensor(V[[1, 21, 40]]), tensor(V[10:50])
    if answer(tiny, v_data, v_start) is None:
        return print("not yet")
    moved, shifted = (machine(RBM, tiny_W, tiny_b, tiny_c) for _ in range(2))
    uniforms = draw_uniforms(tiny, 40, 2, keras.random.SeedGenerator(0))
    v_model = moved.cd_update(v_data, v_start, uniforms, 1.0)

    def minus_loss(theta):
        for weight, part in zip(
            (shifted.W, shifted.b, shifted.c), np.split(theta, [24, 30]), strict=True
        ):
            weight.assign(part.reshape(weight.shape))
        return -float(to_numpy(answer(shifted, v_data, v_model)))

    # A loss of up to 30 has the rounding 2e-6: over twice the step that is 1e-4.
    checks.gradient(
        "the step, against central differences of minus the loss",
        minus_loss,
        parameters(tiny),
        parameters(moved) - parameters(tiny),
        step=0.02,
        atol=1e-3,
    )
    return print("right")


check_loss(cd_loss)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-loss
:class: dropdown
````
"""


# %% tags=["solution"]
def cd_loss(rbm, v_data, v_model):
    v_model = ops.stop_gradient(v_model)
    return ops.mean(rbm.free_energy(v_data)) - ops.mean(rbm.free_energy(v_model))


check_loss(cd_loss)

# %% [markdown]
r"""
`v_model` is made from the parameters, and the formula holds it fixed: that is what `stop_gradient` says.
For binary samples it changes nothing, because a comparison with a uniform number has no derivative; with probabilities in their place another step would follow.
The value of this loss says nothing about learning: see the monitors in [the RBM lecture](rbm.ipynb).
````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Visible units with real values
:label: ex-rbmk-gaussian
```
For real $v$ take the energy $E(v, h) = \tfrac12 |v - b|^2 - c \cdot h - v^\top W h$.
Write its free energy `gaussian_free_energy(rbm, v)` with `keras.ops`, for the weights of an `RBM`.
The check sums over $h$, and integrates $e^{-F}$ over a plane.
What is $p(v \mid h)$, and what is $Z$?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def gaussian_free_energy(rbm, v):
    return None


# %% tags=["check"]
def check_gaussian(answer):
    W, b, c = (
        np.array([[1.0, -0.5, 0.3], [0.8, 1.2, -1.0]]),
        np.array([0.4, -0.7]),
        np.ones(3),
    )
    rbm, h = machine(RBM, W, b, c), all_states(3)
    line = np.arange(-10, 10, 0.125)
    v = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    found = answer(rbm, tensor(v))
    if found is None:
        return print("not yet")
    found = to_numpy(found).astype(np.float64)
    minus_energies = h @ c + v @ W @ h.T - 0.5 * ((v - b) ** 2).sum(1)[:, None]
    by_sum = -np.logaddexp.reduce(minus_energies, axis=1)
    checks.close("free energy, against the sum over h", found, by_sum, atol=3e-4)
    # Each hidden state leaves a Gaussian: the sum over a fine grid is its integral.
    log_z = log_sum_exp(h @ c + h @ W.T @ b + 0.5 * ((h @ W.T) ** 2).sum(1))
    by_grid = log_sum_exp(-found) + 2 * math.log(0.125)
    checks.close("log Z on the grid", by_grid, log_z + math.log(2 * math.pi), atol=1e-5)
    return print("right")


check_gaussian(gaussian_free_energy)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-gaussian
:class: dropdown
````
"""


# %% tags=["solution"]
def gaussian_free_energy(rbm, v):
    well = 0.5 * ops.sum(ops.square(v - rbm.b), axis=-1)
    return well - ops.sum(ops.softplus(rbm.hidden_logits(v)), axis=-1)


check_gaussian(gaussian_free_energy)

# %% [markdown]
r"""
Only the term of $v$ alone has changed: a parabola in place of a line.
Completing the square, $p(v \mid h)$ is a Gaussian with mean $b + W h$ and variance one, so the model is a mixture of $2^H$ Gaussians with

$$
\begin{aligned}
Z &= (2 \pi)^{D/2} \sum_h e^{a(h)}, \\
a(h) &= c \cdot h + b \cdot W h + \tfrac12 |W h|^2 .
\end{aligned}
$$

````{solution-end}
````
"""

# %% [markdown]
r"""
```{exercise-start} Particles that are saved too
:label: ex-rbmk-chain
```
Training by PCD that is interrupted should go on with the particles that it had.
Write a class `PersistentRBM(RBM)` with one more argument, `num_chains`, whose particles are a weight `chain` of shape `(num_chains, num_visible)`, zeros at first, and a method `pcd_update(v_data, uniforms, rate)` that takes one step from them and keeps the new ones.
```{exercise-end}
```
"""

# %% tags=["exercise"]
PersistentRBM = None


# %% tags=["check"]
def check_chain(answer):
    if answer is None:
        return print("not yet")
    rbm = answer(6, 4, num_chains=8, std=1.0)
    checks.close("particles at first", rbm.chain, np.zeros((8, 6)))
    same = machine(RBM, *(to_numpy(w) for w in (rbm.W, rbm.b, rbm.c)))
    numbers, v_model = keras.random.SeedGenerator(1), tensor(np.zeros((8, 6)))
    for k in (1, 2):
        uniforms = draw_uniforms(rbm, 8, k, numbers)
        rbm.pcd_update(tensor(V[20:30]), uniforms, 0.5)
        v_model = same.cd_update(tensor(V[20:30]), v_model, uniforms, 0.5)
    checks.close("particles after two steps", rbm.chain, v_model)
    checks.close("parameters after two steps", parameters(rbm), parameters(same))
    pixels = keras.Input((6,))
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/machine.keras"
        keras.Model(pixels, rbm(pixels)).save(file)
        names = {"PersistentRBM": answer}
        loaded = keras.saving.load_model(file, custom_objects=names, compile=False)
    checks.at_least("units of the particles that are on", ops.sum(v_model), 1)
    checks.close("particles after loading", loaded.layers[-1].chain, v_model)
    return print("right")


check_chain(PersistentRBM)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-chain
:class: dropdown
````
"""


# %% tags=["solution"]
@keras.saving.register_keras_serializable(package="rbm_keras")
class PersistentRBM(RBM):
    def __init__(self, num_visible, num_hidden, *, num_chains, **kwargs):
        super().__init__(num_visible, num_hidden, **kwargs)
        self.config["num_chains"] = num_chains
        self.chain = self.add_weight(
            shape=(num_chains, num_visible),
            initializer="zeros",
            trainable=False,
            name="chain",
        )

    def pcd_update(self, v_data, uniforms, rate):
        v_start = ops.convert_to_tensor(self.chain)
        self.chain.assign(self.cd_update(v_data, v_start, uniforms, rate))


check_chain(PersistentRBM)

# %% [markdown]
r"""
Whatever `add_weight` makes is saved with the model, so the particles are.
To go on exactly where training stopped one needs the state of the `SeedGenerator` and the place in the schedule of the rate too.
````{solution-end}
````
"""

# %% [markdown]
r"""
## What you can compute now

1. `EnergyLayer` and `RBM` use `keras.ops` alone, and agree with sums over all states, {eq}`eq-rbmk-energy`.
   Start the lecture with `KERAS_BACKEND=jax` or `KERAS_BACKEND=torch`: the same checks are made there.
2. `cd_update` is {eq}`eq-rbmk-update`, a closed formula, and `train` a loop around it.
3. With the weights, the batch and the uniform numbers handed over, Keras and PyTorch make the same step to $10^{-6}$ ({numref}`fig-rbmk-difference`).
4. The log-likelihood is exact by {eq}`eq-rbmk-log-z`, and the file of the model holds every weight.
5. A number as a seed repeats its random numbers, and a chain that repeats them stands still ({numref}`fig-rbmk-failure`).

**What comes next:** neural networks in place of $W$, and Langevin dynamics in place of Gibbs sampling.

**Reading:** {cite:t}`hinton2002` and {cite:t}`tieleman2008` for CD and PCD; {cite:t}`melchior2016` for centring.
What differs from the sources stands on the [errata page](../book/errata.md).
"""

# %%
run.finish()

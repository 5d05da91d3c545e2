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

Two programs that draw random numbers never print the same result, so how could you know that they are the same algorithm?
You will write the machine of the RBM lecture as a layer that runs on TensorFlow, JAX and PyTorch, and show that its training step is that of another program to one part in a million, with one idea: random numbers are an argument.

```{opening} fig-rbmk-film
Eighteen Markov chains that start from test images, twice. Left: new random numbers in every sweep. Right: `seed=42` inside the sampler. No error is raised, and after two or three sweeps nothing moves any more.
```

At the end of this lecture you will be able to

1. write a model with an energy as a Keras layer whose code is the same for TensorFlow, JAX and PyTorch;
2. make a function of a sampler by handing its random numbers over, and count whether it samples the right distribution;
3. show that one training step equals that of another framework to $10^{-6}$, and see a learning rate that is wrong by a thousandth;
4. train without automatic differentiation or `fit`, and save the machine without losing a bit;
5. recognise a sampler whose random numbers repeat, and say which test sees it.

- **You need** [the lecture on restricted Boltzmann machines](rbm.ipynb), whose formulas are used here and not derived again; some Keras.
- **Sources:** {cite:t}`hinton2002` and {cite:t}`tieleman2008` for the algorithms, {cite:t}`melchior2016` for the centred step, {cite:t}`pydeep` for a published value; the documentation of Keras 3 on [random seeds](https://keras.io/api/random/seed_generator/).
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
from functools import partial
from itertools import islice

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or jax, or torch
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no messages of TensorFlow's start
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # products in full on a GPU

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
    tensorflow.get_logger().setLevel("ERROR")  # a check counts what it would warn of

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_images": (12_000, 60_000, 60_000),
    "epochs": (2, 15, 50),
    "num_chains": (20_000, 100_000, 100_000),  # of the small machines
    "film_sweeps": (40, 300, 300),
}

# %%
run = dgm.start("rbm_keras", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## Two programs, one algorithm?

In [the RBM lecture](rbm.ipynb) a machine with 16 hidden units gives a test image {recorded}`rbm.exact16_test_log_likelihood` nats on average, after 50 epochs in PyTorch.
Write the program again in Keras: it draws other random numbers, takes other steps, and ends at another machine with another likelihood.
Say it differs by half a nat.
Is that a fault, or luck?
The likelihood can't tell, for two seeds of *one* program differ too.

**Two programs are the same algorithm when the same numbers in give the same numbers out, and the random numbers are among those that go in.**

```{figure} ../figures/rbmk_experiment.svg
:name: fig-rbmk-experiment
:alt: A box, the same numbers: weights, batch of images, uniform numbers u. Arrows lead from it to two boxes, PyTorch makes one step, and Keras makes one step. From both an arrow, new weights, leads to a last box: equal to one millionth?
:width: 640px

The experiment of this lecture: no averages, no seeds, one step.
```

The two programs run in two processes.
Keras loads *one* backend, the one that the environment variable `KERAS_BACKEND` names before the first `import keras`; the default of this page is TensorFlow.
(In one process, importing TensorFlow first and PyTorch second can abort Python.)
The method below names no backend at all, so start the page with `jax` or `torch` if you like: the same checks are made there.

```{dropdown} A one-minute question: two runs give -137.1 and -136.9, each with a standard error of 0.4 over the same test images. Do they differ?
The error bar does not say.
It tells how the mean would change with *other* test images, and both runs share theirs.
What would help is the spread over seeds, and that takes many trainings.
```

## The energy is a layer

```{margin}
**In the sources.** Oslo, 16 April, *RBM using TensorFlow and Keras*: a link to chapter 4 of {cite:t}`babcock2021`.
```

**A Keras layer is a set of weights and functions of them; nothing says that it must be a step from one layer of a network to the next.**
Here the functions are those of [the RBM lecture](rbm.ipynb):

$$
\begin{aligned}
E(v, h) &= -b \cdot v - c \cdot h - v^\top W h, \\
F(v) &= -b \cdot v - \sum_j \log\bigl(1 + e^{c_j + (v^\top W)_j}\bigr), \\
p(h_j = 1 \mid v) &= \sigma\bigl(c_j + (v^\top W)_j\bigr), \\
p(v_i = 1 \mid h) &= \sigma\bigl(b_i + (W h)_i\bigr).
\end{aligned}
$$ (eq-rbmk-energy)

`add_weight` makes the parameters.
We call them not trainable: in Keras that word means that an optimiser may move a weight along a gradient, and here we shall move them ourselves.
`call` is what the layer does inside a `keras.Model`, and `get_config` says how to build it again.
"""


# %% tags=["method"]
@keras.saving.register_keras_serializable(package="rbm_keras")
class RBM(keras.layers.Layer):
    def __init__(self, num_visible, num_hidden, *, std=0.01, seed=0, **kwargs):
        super().__init__(**kwargs)
        sizes = dict(num_visible=num_visible, num_hidden=num_hidden)
        self.config = dict(**sizes, std=std, seed=seed)
        normal = keras.initializers.RandomNormal(stddev=std, seed=seed)
        fixed = partial(self.add_weight, trainable=False)
        self.W = fixed((num_visible, num_hidden), normal, name="W")
        self.b = fixed((num_visible,), "zeros", name="b")
        self.c = fixed((num_hidden,), "zeros", name="c")

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

Every function is one of `keras.ops`, which follows NumPy and calls the backend.
The names hide differences that are easy to meet: `@` between a matrix and a vector is a product in PyTorch and JAX and an error in TensorFlow, so we write `ops.matmul`.

As in the RBM lecture we test on a machine with 6 visible and 4 hidden units, whose 64 x 16 states can be listed, and with large weights, because small ones hide mistakes.
The exact side of each check is NumPy in double precision, and uses no function of Keras.
Keras computes in single precision: the tolerance of $10^{-5}$ is a few roundings, $2^{-24}$ each, of numbers up to about 30.
"""


# %% tags=["hide-input"]
# A small machine, and its probabilities by sums over all states, in NumPy
def all_states(num_units):
    """All binary vectors: the bits of each row number, the lowest first."""
    return (np.arange(2**num_units)[:, None] >> np.arange(num_units) & 1).astype(float)


def machine(W, b, c, kind=RBM):
    """A machine with these parameters."""
    rbm = kind(*W.shape)
    for weight, value in zip((rbm.W, rbm.b, rbm.c), (W, b, c), strict=True):
        weight.assign(value)
    return rbm


def parameters(rbm):
    """W, b and c as one NumPy vector."""
    return np.concatenate([to_numpy(w).ravel() for w in (rbm.W, rbm.b, rbm.c)])


def tensor(array):
    return ops.convert_to_tensor(array, dtype="float32")


def weights_of_pairs(W, b, c):
    """e^-E of every pair of states, shape (2^D, 2^H)."""
    v, h = all_states(len(b)), all_states(len(c))
    return np.exp((v @ b)[:, None] + h @ c + v @ W @ h.T)


def exactly(joint):
    """p(v), p(h|v) and p(v|h) from the weights of all pairs."""
    h_given_v = joint / joint.sum(1, keepdims=True)
    return joint.sum(1) / joint.sum(), h_given_v, (joint / joint.sum(0)).T


to_numpy = ops.convert_to_numpy
V, all_h = all_states(6), all_states(4)
theta = [run.rng.normal(0, 1.5, size) for size in ((6, 4), 6, 4)]
tiny, joint = machine(*theta), weights_of_pairs(*theta)
p_v, h_given_v, v_given_h = exactly(joint)

# %% tags=["check"]
found = tiny.energy(tensor(V[:, None]), tensor(all_h[None]))
checks.close("energy of all 1,024 pairs of states", found, -np.log(joint), atol=1e-5)
found, exact = tiny.free_energy(tensor(V)), -np.log(joint.sum(1))
checks.close("free energy = minus log of the sum over h", found, exact, atol=1e-5)
found = ops.sigmoid(tiny.hidden_logits(tensor(V)))
checks.close("p(h|v) by Bayes' rule", found, h_given_v @ all_h, atol=1e-5)
found = ops.sigmoid(tiny.visible_logits(tensor(all_h)))
checks.close("p(v|h) by Bayes' rule", found, v_given_h @ V, atol=1e-5)
log_p = -to_numpy(tiny(tensor(V))) - np.log(joint.sum())
checks.normalised("p(v) = exp(-F) / Z", log_p, atol=1e-5)
checks.true("Keras counts no weight as trainable", not tiny.trainable_variables)
squares = to_numpy(RBM(500, 400, std=0.02).W).ravel() ** 2
checks.unbiased("variance of the first weights = std^2", squares, 0.02**2)
try:
    tensor(V) @ tensor(theta[1])
    outcome = "a product"
except Exception:  # the backends raise different kinds
    outcome = "an error"
expected = "an error" if backend == "tensorflow" else "a product"
checks.true(f"{backend}: matrix @ vector is {expected}", outcome == expected)

# %% [markdown]
r"""
```{dropdown} A one-minute question: the layer has no activation and no gradient. What makes it a layer?
That it keeps its weights where Keras finds them, through `add_weight`, and has a `call`.
```

## Random numbers are an argument

**A function that draws its own random numbers can be compared with nothing; a function that receives them is a formula.**
A unit is on when its uniform number is below its probability, so one sweep of block Gibbs sampling is

$$
\begin{aligned}
h_j &= \bigl[\, u^h_j < p(h_j = 1 \mid v) \,\bigr], \\
v'_i &= \bigl[\, u^v_i < p(v_i = 1 \mid h) \,\bigr],
\end{aligned}
$$ (eq-rbmk-sweep)

where the bracket is 1 when its claim is true and 0 otherwise.

```{figure} ../figures/rbmk_sweep.svg
:name: fig-rbmk-sweep
:alt: A chain from left to right, from v through a square, u less than p, to h, and through a second square to v prime. From above, u h and u v lead into the squares, with the words, one uniform number for each unit, handed in.
:width: 620px

One sweep as a function of $v$ and of the numbers $u^h$, $u^v$.
```

All randomness now sits in one function, `draw_uniforms`.
Its numbers come from `keras.random`, which runs on every backend.
The `seed` is a `SeedGenerator`, an object that holds a state and moves it at every call.
"""


# %% tags=["method"]
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
    size = (k, num_rows, num_hidden + num_visible)
    u = keras.random.uniform(size, seed=seed)
    return [(u[i, :, :num_hidden], u[i, :, num_hidden:]) for i in range(k)]


def gibbs(rbm, v, seed):
    """Yields v after 1, 2, 3, ... sweeps."""
    while True:
        ((u_h, u_v),) = draw_uniforms(rbm, len(v), 1, seed)
        v = sweep(rbm, v, u_h, u_v)
        yield v


# %% [markdown]
r"""
Is it the right random step?
On the small machine a sweep has a table of transition probabilities, $T(v \to v') = \sum_h p(h \mid v)\, p(v' \mid h)$.
We start many chains at one state, and count where they are after one sweep and after two.
"""


# %% tags=["hide-input"]
# Frequencies of the states, minus the exact probabilities, in standard errors
def frequencies(v):
    """How often each of the 64 states occurs among the rows of v."""
    rows = (to_numpy(v) @ 2 ** np.arange(6)).astype(int)
    return np.bincount(rows, minlength=64) / len(rows)


def deviations(found, exact):
    """Frequencies minus probabilities, in standard errors; rare states count as one."""
    rare = exact * P.num_chains < 25
    found, exact = (np.append(a[~rare], a[rare].sum()) for a in (found, exact))
    error = np.sqrt(exact * P.num_chains + 1) / P.num_chains  # of a Poisson count, + 1
    return np.abs(found - exact) / error


T = h_given_v @ v_given_h  # (64, 64)


def after(sweeps, seed):
    """The `deviations` of chains of `tiny` that were started at state 21."""
    start = tensor(np.repeat(V[21:22], P.num_chains, axis=0))
    v = next(islice(gibbs(tiny, start, seed), sweeps - 1, None))
    return deviations(frequencies(v), np.linalg.matrix_power(T, sweeps)[21])


# %% tags=["check"]
checks.close("T leaves p(v) as it is", p_v @ T, p_v, atol=1e-14)
seeds = keras.random.SeedGenerator(run.seed)
for sweeps in (1, 2):
    name = f"frequencies after {sweeps} sweep(s), exact ones, in standard errors"
    checks.at_most(name, after(sweeps, seeds), 5)

# %% [markdown]
r"""
```{dropdown} A one-minute question: would the same seed give the same chain on two backends?
No.
A seed names a place in a stream of numbers, and each backend has a stream of its own.
Only the numbers themselves can be handed from one to the other.
```

## One step, by hand

```{margin}
**In the sources.** Oslo, 16 April, *Code for RBMs using PyTorch*: the same algorithm, by automatic differentiation.
```

**A step of contrastive divergence is a closed formula.**
With $\hat h(v) = p(h = 1 \mid v)$, data $v$, the states $v'$ at the end of $k$ sweeps, and the learning rate $\epsilon$ it is

$$
\begin{aligned}
\Delta_W &= \langle v\, \hat h(v)^\top \rangle - \langle v'\, \hat h(v')^\top \rangle, \\
\Delta_b &= \langle v \rangle - \langle v' \rangle, \\
\Delta_c &= \langle \hat h(v) \rangle - \langle \hat h(v') \rangle, \\
\theta &\leftarrow \theta + \epsilon\, \Delta_\theta .
\end{aligned}
$$ (eq-rbmk-update)

```{figure} ../figures/rbmk_step.svg
:name: fig-rbmk-step
:alt: Two rows that end in one box, new W, b, c. Above, data v go into a box, phase, with an arrow marked plus. Below, a start goes through a box, k sweeps, into which the numbers u lead, to v prime and into a box, phase, with an arrow marked minus.
:width: 640px

`cd_update` as a function of the data, of the start of the sweeps, and of the numbers $u$.
```

For CD-k the sweeps start at the data, for PCD-k at the *particles*, the states where those of the last step ended.
`centre` corrects the step by the means of both layers, the *offsets*; [the RBM lecture](rbm.ipynb) says why.
"""


# %% tags=["method"]
def phase(rbm, v):
    """Mean over the rows of -dF/dW, -dF/db, -dF/dc."""
    h = ops.sigmoid(rbm.hidden_logits(v))
    pairs = ops.matmul(ops.transpose(v), h) / v.shape[0]
    return pairs, ops.mean(v, axis=0), ops.mean(h, axis=0)


def centre(step, v_offset, h_offset):
    step_W, step_b, step_c = step
    step_W = step_W - ops.outer(v_offset, step_c) - ops.outer(step_b, h_offset)
    step_b = step_b - ops.matmul(step_W, h_offset)
    return step_W, step_b, step_c - ops.matmul(v_offset, step_W)


def cd_update(rbm, v_data, v_start, uniforms, rate, offsets=None):
    """One step in place; returns the states at the end of the sweeps."""
    v_model = v_start
    for u_h, u_v in uniforms:
        v_model = sweep(rbm, v_model, u_h, u_v)
    up, down = phase(rbm, v_data), phase(rbm, v_model)
    step = [plus - minus for plus, minus in zip(up, down, strict=True)]
    if offsets is not None:
        step = centre(step, *offsets)
    for weight, change in zip((rbm.W, rbm.b, rbm.c), step, strict=True):
        weight.assign_add(rate * change)
    return v_model


# %% [markdown]
r"""
Why not `compile` and `fit`?
They descend a loss, and there is one whose gradient is this step; {ref}`ex-rbmk-loss` trains with it.
But its value measures nothing and its minimum is nothing that we look for, so a loss would only be a detour.
The other road, a `train_step` of one's own, is different code for each backend.
A function that computes new weights and assigns them runs on all three.

Two checks stand in for automatic differentiation: central differences of the free energy for `phase`, and exact means for the step.
On average over batches drawn from a distribution $p_\text{data}$ the step must be the one whose means are sums over the 64 states, with the weights $p_\text{data}$ for $v$ and $p_\text{data} T^k$ for $v'$.
"""

# %% tags=["check"]
p_data = np.exp(run.rng.normal(size=64) - V.sum(1))  # mostly few pixels on
p_data /= p_data.sum()
h_hat = h_given_v @ all_h


def minus_free_energy(parameters):
    """Mean of -F over three states, by the sum over h, for 34 parameters."""
    W, b, c = np.split(parameters, [24, 30])
    return np.log(weights_of_pairs(W.reshape(6, 4), b, c).sum(1))[[3, 21, 62]].mean()


start = np.concatenate([part.ravel() for part in theta])
found = [to_numpy(part).ravel() for part in phase(tiny, tensor(V[[3, 21, 62]]))]
name = "phase = gradient of the mean of -F, by central differences"
checks.gradient(name, minus_free_energy, start, np.concatenate(found), atol=1e-5)
seeds = keras.random.SeedGenerator(run.seed + 1)
for k in (1, 2):
    steps = []
    for _ in range(60):
        rbm = machine(*theta)
        v = tensor(V[run.rng.choice(64, size=4_000, p=p_data)])
        cd_update(rbm, v, v, draw_uniforms(rbm, len(v), k, seeds), 1.0)
        steps.append(parameters(rbm) - parameters(tiny))
    weights = p_data - p_data @ np.linalg.matrix_power(T, k)
    exact = [(V.T * weights @ h_hat).ravel(), weights @ V, weights @ h_hat]
    checks.unbiased(f"mean step of CD-{k}, 60 batches", steps, np.concatenate(exact))

# %% [markdown]
r"""
```{dropdown} A one-minute question: the sweeps sample h, so why does the step use the probabilities?
In $F$ the hidden units are summed out, and its derivative is $v \hat h^\top$ with probabilities.
Samples would have the same mean, and more noise.
```
"""

# %% [markdown]
r"""
## The same numbers as PyTorch

**Given the same weights, images and uniform numbers, Keras and PyTorch make the same step.**
NumPy draws everything: a machine with 784 visible and 16 hidden units, 10 images as data and 12 as particles (so that a mean over the wrong number of rows is seen), and the uniform numbers for a step of CD-1, of CD-2 and of centred PCD-2.

One thing could spoil the comparison.
Two programs that add 784 numbers in another order differ by about $10^{-7}$ in a probability, and a uniform number just between the two flips a unit.
But the numbers are ours to choose: any that comes closer than $10^{-5}$ to its probability is moved away.
Then the samples must agree *exactly*.
"""

# %% tags=["hide-input"]
# NumPy draws the numbers of the three steps, none near its probability
CASES = {"CD-1": ("v_data", 1), "CD-2": ("v_data", 2), "PCD-2 centred": ("v_start", 2)}
rng, sizes = np.random.default_rng(run.seed), dict(W=(784, 16), b=784, c=16)
given = {name: rng.normal(size=size) for name, size in sizes.items()}
given["W"], given["b"] = given["W"] / 10, given["b"] - 2
for name, num_rows in (("v_data", 10), ("v_start", 12)):
    given[name] = (rng.uniform(size=(num_rows, 784)) < 0.15).astype(float)
given |= {"v_offset": given["v_data"].mean(0), "h_offset": rng.uniform(size=16)}
given = {name: array.astype(np.float32) for name, array in given.items()}


def sweeps_in_numpy(v, k):
    """Uniform numbers of k sweeps, none near its probability; v at their end."""
    uniforms = []
    for _ in range(k):
        for W, bias in ((given["W"], given["c"]), (given["W"].T, given["b"])):
            p = 1 / (1 + np.exp(-(v @ W.astype(float) + bias)))
            u = rng.uniform(size=p.shape)
            u = np.where(np.abs(u - p) < 1e-5, p + 2e-5, u)
            v = (u < p).astype(float)
            uniforms.append(u.astype(np.float32))
    return uniforms, v


samples = {}
for case, (start, k) in CASES.items():
    uniforms, samples[case] = sweeps_in_numpy(given[start], k)
    given |= {f"{case} u {i}": u for i, u in enumerate(uniforms)}

# %% [markdown]
r"""
PyTorch runs the functions of the RBM lecture, in a process of its own.
Its sampler does not take the numbers as an argument, so the script puts a function that hands out ours in the place of `torch.rand`.
"""

# %% tags=["hide-input"]
# The other program: the same three steps in PyTorch
torch_script = """
import sys
from itertools import islice
import numpy as np
import torch
from dgm.models.rbm import RBM, centre, gibbs, phase_gradient

given = {name: torch.from_numpy(a) for name, a in np.load(sys.argv[1]).items()}
cases = {"CD-1": ("v_data", 1), "CD-2": ("v_data", 2), "PCD-2 centred": ("v_start", 2)}
new = {}
for case, (start, k) in cases.items():
    rbm = RBM(784, 16).requires_grad_(False)
    for name, weight in rbm.named_parameters():
        weight.copy_(given[name])
    numbers = iter([given[f"{case} u {i}"] for i in range(2 * k)])
    torch.rand = lambda *shape, **options: next(numbers)
    v_data, v_model = given["v_data"], next(islice(gibbs(rbm, given[start]), k - 1, None))
    weights = [v.new_full((len(v),), s / len(v)) for v, s in ((v_data, 1), (v_model, -1))]
    step = phase_gradient(rbm, torch.cat([v_data, v_model]), torch.cat(weights))
    if "centred" in case:
        step = centre(step, given["v_offset"], given["h_offset"])
    parts = [w + 0.05 * d for w, d in zip(rbm.parameters(), step, strict=True)]
    new[case] = torch.cat([part.flatten() for part in parts])
    new[f"{case} samples"] = v_model
np.savez(sys.argv[2], **{name: value.numpy() for name, value in new.items()})
"""
with tempfile.TemporaryDirectory() as folder:
    files = [f"{folder}/given.npz", f"{folder}/torch.npz"]
    np.savez(files[0], **given)
    subprocess.run([sys.executable, "-c", torch_script, *files], check=True)
    with np.load(files[1]) as archive:
        torch_says = dict(archive)


# %%
def arguments(case):
    """What `cd_update` gets for this case."""
    start, k = CASES[case]
    u = [tensor(given[f"{case} u {i}"]) for i in range(2 * k)]
    offsets = tensor(given["v_offset"]), tensor(given["h_offset"])
    return dict(
        v_data=tensor(given["v_data"]),
        v_start=tensor(given[start]),
        uniforms=list(zip(u[::2], u[1::2], strict=True)),
        rate=0.05,
        offsets=offsets if "centred" in case else None,
    )


def step_in_keras(**numbers):
    """All parameters after one step from the given ones, and the samples."""
    rbm = machine(given["W"], given["b"], given["c"])
    v_model = cd_update(rbm, **numbers)
    return parameters(rbm), to_numpy(v_model)


old = np.concatenate([given[name].ravel() for name in "Wbc"])
keras_says = {case: step_in_keras(**arguments(case)) for case in CASES}
differences = {case: new - torch_says[case] for case, (new, _) in keras_says.items()}
plotting.table(
    {
        case: (np.abs(torch_says[case] - old).max(), np.abs(differences[case]).max())
        for case in CASES
    },
    columns=("a step of", "largest change", "largest Keras minus PyTorch"),
    digits=2,
)


# %% tags=["check"]
def by_name(theta):
    """One vector of all parameters, cut into W, b and c."""
    return np.split(theta, [784 * 16, 784 * 17])


for case in CASES:
    checks.close(f"{case}: samples of Keras", keras_says[case][1], samples[case])
    samples_torch = torch_says[f"{case} samples"]
    checks.close(f"{case}: samples of PyTorch", samples_torch, samples[case])
    name = f"{case}: parameters of Keras and PyTorch after the step"
    checks.at_most(name, np.abs(differences[case]), 1e-6)
    changes = [np.abs(part).max() for part in by_name(torch_says[case] - old)]
    checks.at_least(f"{case}: largest change of W, of b, of c", changes, 5e-3)

# %% tags=["hide-input"]
# The recorded number
_ = run.record(
    "keras_torch_update_max_difference",
    max(np.abs(difference).max() for difference in differences.values()),
    unit="1",
    protocol="largest difference of a parameter after one step in Keras and in "
    "PyTorch, 784 visible and 16 hidden units, CD-1, CD-2 and centred PCD-2, rate 0.05, "
    "single precision",
)

# %% [markdown]
r"""
The steps are large and the differences are roundings.
Would a fault be seen?
We plant four, by calling the same function with wrong arguments.
"""

# %%
right = arguments("PCD-2 centred")
faults = {
    "none": {},
    "rate 0.05005 instead of 0.05": {"rate": 0.05005},
    "the two sweeps exchanged": {"uniforms": right["uniforms"][::-1]},
    "one sweep instead of two": {"uniforms": right["uniforms"][:1]},
    "not centred": {"offsets": None},
}
seen = {
    name: np.abs(step_in_keras(**right | fault)[0] - torch_says["PCD-2 centred"]).max()
    for name, fault in faults.items()
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "One step of centred PCD-2. Left: each parameter, its change by the step and the difference between Keras and PyTorch after it; many lie in rows, because they are whole numbers of last binary digits. Right: the largest difference with a fault planted in Keras. Dashed: the limit of the checks.", "name": "fig-rbmk-difference"}, "image": {"alt": "Left: points of three colours, W, b and c, in horizontal rows around zero, between two dashed lines at plus and minus one millionth. Right: five bars on a logarithmic axis; the one without a fault ends below the dashed limit, the four others hundreds to a million times above it."}}
fig, (left, right_ax) = plt.subplots(1, 2, figsize=(7.4, 3.0), width_ratios=(1, 1.1))
vectors = torch_says["PCD-2 centred"] - old, 1e6 * differences["PCD-2 centred"]
for name, x, y in zip("Wbc", *map(by_name, vectors), strict=True):
    left.plot(x, y, ".", markersize=4, label=name)
for limit in (-1, 1):
    left.axhline(limit, color="black", linestyle="--", linewidth=1)
left.set(xlabel="change by the step", ylabel=r"Keras $-$ PyTorch ($10^{-6}$)")
left.legend(ncol=3, loc="upper center", bbox_to_anchor=(0.5, 1.17), handletextpad=0)
names = list(seen)[::-1]
colours = [plotting.COLOURS[name != "none"] for name in names]
right_ax.barh(names, [seen[name] for name in names], left=1e-8, color=colours)
right_ax.axvline(1e-6, color="black", linestyle="--", linewidth=1)
_ = right_ax.set(xscale="log", xlim=(1e-8, 3), xlabel="largest difference, by fault")

# %% tags=["check"]
found = [value for name, value in seen.items() if name != "none"]
checks.at_least(
    "each planted fault: difference, over the limit", min(found) / 1e-6, 100
)
checks.close(
    "and without a fault", seen["none"], np.abs(differences["PCD-2 centred"]).max()
)

# %% [markdown]
r"""
A learning rate that is wrong by a thousandth will hardly show in a likelihood; here it stands more than a hundred times above the limit.

```{dropdown} A one-minute question: both programs have the same fault. Does the experiment see it?
No.
Equality says that two programs do the same, and not that they do the right thing.
For that there are the sums over all states of the sections before.
```

## A loop, and the exact likelihood

**The loop draws numbers and picks rows; the step computes.**
The rate falls linearly, the hidden offset is taken anew each epoch, and everything else is as in the RBM lecture.
Called as it is, a step is a row of small operations, each started from Python; TensorFlow can compile them into one program, and `compiled` lets it.
"""


# %% tags=["hide-input"]
# Compile the step where the backend compiles functions that assign
def compiled(rbm):
    """`cd_update` of this machine; the arguments after `rbm`."""
    step = partial(cd_update, rbm)
    return tensorflow.function(step) if backend == "tensorflow" else step


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
    """Yields (v_data, v_model) after each epoch of PCD-k, or of CD-k."""
    update, num_batches = compiled(rbm), math.ceil(len(x) / batch_size)
    # One rate for each step; the last number, `final_rate`, comes after the last step.
    rates = np.linspace(rate, final_rate, epochs * num_batches + 1)
    rates = iter(rates[done * num_batches :])
    v_offset, h_offset = ops.mean(x, axis=0), ops.full(rbm.c.shape, 0.5)
    if particles is None:
        particles = to_numpy(x)[permutation(len(x), seed)[:batch_size]]
    v_model = tensor(particles)
    for epoch in range(done, epochs):
        if epoch > 0:
            h_offset = ops.mean(ops.sigmoid(rbm.hidden_logits(x[:1000])), axis=0)
        order = permutation(len(x), seed)
        for first in range(0, len(x), batch_size):
            v_data = ops.take(x, order[first : first + batch_size], axis=0)
            v_start = v_model if persistent else v_data
            v_model = update(
                v_data,
                v_start,
                draw_uniforms(rbm, len(v_start), k, seed),
                tensor(next(rates)),
                (v_offset, h_offset) if centred else None,
            )
        yield v_data, v_model


# %% tags=["check"]
plain, fast = machine(*theta), machine(*theta)
uniforms = draw_uniforms(tiny, 64, 2, keras.random.SeedGenerator(run.seed + 2))
arrays = V[:50], V, V[5] / 2, all_h[3], 0.3
v_data, v_start, v_offset, h_offset, rate = map(tensor, arrays)
for update in (partial(cd_update, plain), compiled(fast)):
    for _ in range(3):
        update(v_data, v_start, uniforms, rate, (v_offset, h_offset))
name = "three compiled steps = three plain ones"
checks.close(name, parameters(fast), parameters(plain), atol=1e-5)
if backend == "tensorflow":
    kinds = {"Python": (0.1, 0.2, 0.3), "tensor": tensor([0.1, 0.2, 0.3])}
    for (kind, rates), programs in zip(kinds.items(), (3, 1), strict=True):
        update = compiled(fast)
        for rate in rates:
            update(v_data, v_start, uniforms, rate, None)
        count = update.experimental_get_tracing_count()
        checks.close(f"programs for three rates, {kind} numbers", count, programs)

# %% tags=["check"]
x = tensor(V[run.rng.choice(64, size=20_000, p=p_data)])
still = dict(epochs=25, batch_size=10_000, rate=0.0)  # 50 steps without a change
*_, (_, particles) = train(tiny, x, seeds, **still)
exact = p_data @ np.linalg.matrix_power(T, 50) @ V
checks.unbiased("PCD at rate 0: after 50 steps, 50 sweeps", particles, exact)
for k in (1, 2):
    *_, (_, samples_k) = train(tiny, x, seeds, persistent=False, k=k, **still)
    exact = p_data @ np.linalg.matrix_power(T, k) @ V
    checks.unbiased(f"CD-{k} at rate 0: always {k} sweep(s)", samples_k, exact)
# With biases of 100 every unit is fixed, and whole epochs can be done by hand.
frozen = machine(np.zeros((1, 2)), np.array([100]), np.array([-100, 100]))
grey = tensor(np.full((5, 1), 0.5))
list(train(frozen, grey, seeds, epochs=3, batch_size=2, rate=0.9))
# Rates 0.9, 0.8, ..., 0.1; the hidden offset is 1/2 in the first epoch, then exact.
step_W, step_b, step_c = (0.9 + 0.8 + 0.7) / 4, 4.5 / 2, (0.9 + 0.8 + 0.7) / 8
by_hand = [step_W, -step_W, 100 - step_b, -100 - step_c, 100 + step_c]
checks.close("nine steps with falling rates", parameters(frozen), by_hand, atol=1e-4)
frozen.b.assign([100])
list(train(frozen, grey, seeds, epochs=3, batch_size=2, rate=0.9, done=1))
moved = 100 - to_numpy(frozen.b)[0]
checks.close("resumed after one epoch: the last six steps", moved, 2.1 / 2, atol=1e-4)
grey = V[:7, :3] / 3
frozen = machine(np.zeros((3, 1)), np.full(3, 100), np.array([100]))
settings = dict(epochs=2, batch_size=1, rate=0.1, final_rate=0.1, centred=False)
list(train(frozen, tensor(grey), seeds, **settings))
exact = 100 + 2 * 0.1 * (grey - 1).sum(0)
found = parameters(frozen)[3:6]
checks.close("two epochs use each image twice", found, exact, atol=1e-4)

# %% [markdown]
r"""
```{margin}
**A common mistake:** a learning rate that is a Python number.
TensorFlow takes it for a constant, and compiles the step again for each new value.
```

The rate is a tensor for the same reason for which the uniform numbers are: it changes from call to call.

The task is that of {cite:t}`pydeep`, as in the RBM lecture: MNIST with pixels thresholded at one half, 16 hidden units, visible biases that start at the logits of the pixel means.
With so few hidden units $Z$ is a sum over 65,536 states, and what we watch is the likelihood itself:

$$
Z = \sum_h e^{c \cdot h} \prod_i \bigl(1 + e^{b_i + (W h)_i}\bigr) .
$$ (eq-rbmk-log-z)
"""


# %% tags=["hide-input"]
# The exact log Z, 4,096 hidden states at a time, and log p(v)
def exact_log_partition(rbm, chunk=4096):
    states, terms = all_states(rbm.c.shape[0]), []
    for first in range(0, len(states), chunk):
        h = tensor(states[first : first + chunk])
        visible = ops.sum(ops.softplus(rbm.visible_logits(h)), axis=-1)
        terms.append(to_numpy(ops.matmul(h, rbm.c) + visible))
    return np.logaddexp.reduce(np.concatenate(terms).astype(np.float64))


def exact_log_prob(rbm, v):
    """log p(v) in nats, one number for each row."""
    return -to_numpy(rbm.free_energy(v)).astype(np.float64) - exact_log_partition(rbm)


# %% tags=["check"]
found, exact = exact_log_partition(tiny, chunk=3), np.log(joint.sum())
checks.close("log Z, three hidden states at a time", found, exact, rtol=1e-6)
checks.normalised("log p of all 64 states", exact_log_prob(tiny, tensor(V)), atol=1e-5)


# %%
def thresholded(part):
    images = dgm.data.binarise(run.data.vectors(part), method="threshold")
    return ops.convert_to_tensor(images[: P.num_images])


def new_machine(seed, num_hidden=16):
    rbm = RBM(784, num_hidden, seed=seed)
    rbm.b.assign(base_bias)  # independent pixels
    return rbm


x_train, x_test = thresholded("train+valid"), thresholded("test")
mean = to_numpy(x_train).mean(0).clip(1 / len(x_train))  # no pixel is always on
base_bias = np.log(mean / (1 - mean))
settings = dict(epochs=P.epochs, batch_size=100, rate=0.06, k=3)

# %% tags=["hide-input"]
# The training, which can be interrupted, and the likelihood after each epoch
rbm, seeds = new_machine(run.seed), keras.random.SeedGenerator(run.seed + 3)
curve, kept = [float(exact_log_prob(rbm, x_test).mean())], {}  # the particles
variables = dict(W=rbm.W, b=rbm.b, c=rbm.c, seeds=seeds.state, curve=curve, kept=kept)
epochs = resumed(
    run.checkpoints("small"),
    "16 hidden units, epochs",
    P.epochs,
    variables,
    lambda done: train(rbm, x_train, seeds, done=done, **kept, **settings),
)
for _, v_model in epochs:
    kept["particles"] = to_numpy(v_model)
    curve.append(float(exact_log_prob(rbm, x_test).mean()))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Exact log-likelihood of the test images after each epoch, 16 hidden units. Dashed: the published value of another training, centred PCD-1 at a constant rate of 0.01 for 50 epochs.", "name": "fig-rbmk-curve"}, "image": {"alt": "A curve that starts a little above minus 210 nats, rises steeply in the first epochs, and flattens above a dashed line at minus 142.56."}}
published_16 = -142.56  # PyDeep, RBM_MNIST_small
fig, ax = plt.subplots(figsize=(7.0, 2.4))
ax.plot(curve, "o-", color=plotting.COLOURS[1])
ax.annotate("independent pixels", (0, curve[0]), (9, -3), textcoords="offset points")
if run.on_mnist:
    plotting.reference_line(ax, published_16, "published", side="left")
ax.xaxis.get_major_locator().set_params(integer=True)
_ = ax.set(xlabel="epoch", ylabel="test log-likelihood (nats)")

# %% tags=["hide-input"]
# The recorded number, beside the published one
log_p = exact_log_prob(rbm, x_test)
error = log_p.std(ddof=1) / len(log_p) ** 0.5
log_likelihood = run.record(
    "keras_exact16_test_log_likelihood",
    log_p.mean(),
    unit="nats",
    standard_error=error,
    protocol=f"Keras, 16 hidden, centred PCD-{settings['k']}, {P.epochs} epochs, rate "
    f"{settings['rate']} to 0, thresholded at 0.5, {len(x_train):,} training images, "
    "all test images, exact Z",
    published=published_16,
    source="PyDeep, RBM_MNIST_small: centred PCD-1, 50 epochs",
)

# %% tags=["check"]
recipe = settings["batch_size"], settings["rate"], settings["k"]
checks.true("batches of 100, rate 0.06, PCD-3, as for rbm", recipe == (100, 0.06, 3))
exact = np.log(np.where(to_numpy(x_test) > 0, mean, 1 - mean)).sum(1).mean()
# The first weights, of 0.01, add 16 terms of about (v W)^2 / 8 = 0.01 / 8.
checks.close("the start = independent pixels", curve[0], exact, atol=0.1)
checks.at_least("which is better than fair coins", curve[0], -784 * math.log(2))
checks.close("the recorded number = the end of the curve", log_likelihood, curve[-1])
squares, n = ((log_p - log_p.mean()) ** 2).sum(), len(log_p)
checks.close("its standard error", error, math.sqrt(squares / (n - 1) / n), rtol=1e-9)
W, b, c = (to_numpy(w).astype(np.float64) for w in (rbm.W, rbm.b, rbm.c))
W, c, h = W[:, :12], c[:12], all_states(12)
exact = np.logaddexp.reduce(h @ c + np.logaddexp(0, b + h @ W.T).sum(1))
found = exact_log_partition(machine(W, b, c))
checks.close("log Z with 12 units, NumPy in double precision", found, exact, atol=1e-3)
if run.on_mnist:
    checks.at_least("nats that training gains", curve[-1] - curve[0], 5)
if run.on_mnist and run.profile != "smoke":
    name = "exact test log-likelihood: above the published one"
    checks.at_least(name, log_likelihood, published_16)
others = [new_machine(seed, num_hidden=8) for seed in (0, 1)]
for seed, other in enumerate(others):
    numbers = keras.random.SeedGenerator(seed)
    list(train(other, x_train[:5_000], numbers, **settings | {"epochs": 1}))
apart = np.ptp([exact_log_prob(other, x_test).mean() for other in others])
checks.at_least("nats between two seeds of the same program", apart, 1e-3)

# %% [markdown]
r"""
The machine starts as a model of independent pixels and leaves the published value behind; that is the value of another training, a landmark and no value to reproduce.
The run of the RBM lecture has the same settings as this one and other random numbers; the [results page](../book/results.md) has both.

```{dropdown} A one-minute question: a machine is trained for an hour, and the update has a fault. Which of the two experiments finds it, and how long does it take?
The comparison of one step, in a second, if the other program is right.
The training, after an hour, and only if the fault costs more nats than a change of seed.
```

## Saved and loaded

**What a layer promises to Keras is little, and saving, loading and counting come for free.**
Inside a `keras.Model` the machine maps an image to its free energy.
The file holds the numbers of `get_config` and the weights; `register_keras_serializable` tells Keras which class they belong to.
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
name = "each weight after loading, to the last bit"
checks.close(name, parameters(again), parameters(rbm))
checks.true("and the configuration", again.get_config() == rbm.get_config())
found, exact = ops.ravel(loaded(x_test[:100])), rbm.free_energy(x_test[:100])
checks.close("free energies by the loaded model", found, exact, rtol=1e-6)
odd, fresh = (RBM.from_config(m.get_config()) for m in (RBM(5, 3, std=9, seed=7), rbm))
name = "a configuration gives the weights of the start"
checks.close(name, parameters(odd), parameters(RBM(5, 3, std=9, seed=7)))
moved = np.abs(parameters(fresh) - parameters(rbm)).max()
checks.at_least("and not those after training: largest difference", moved, 0.1)

# %% [markdown]
r"""
```{dropdown} A one-minute question: what does a machine made from the configuration of a trained one know?
`RBM.from_config(rbm.get_config())` is a machine of the same size with the weights of the *start*: a configuration knows shapes and seeds, and no weights.
```

## What goes wrong with a fixed seed

```{margin}
**A common mistake:** `seed=42` inside a function that is called again and again.
The state of a `SeedGenerator` moves on, a number stays what it is.
```

**`keras.random.uniform(shape, seed=42)` returns the same numbers at every call.**
That is by design: a number is a seed, not a generator.
In a sampler it is a fault that raises no error.
With the numbers fixed, {eq}`eq-rbmk-sweep` is no random step any more but a *function* of $v$, the same at every sweep, and a chain can only run into a cycle.

We watch it in a small magnet: all weights equal to $J > 0$, with biases that favour neither 0 nor 1.
There a unit that is switched on can only help to switch on others.
So a chain that starts with all units off can only gain units, and after at most six sweeps it stands still, for ever.
"""

# %%
J = 0.8
equal = np.full((6, 4), J), np.full(6, -2 * J), np.full(4, -3 * J)
magnet = machine(*equal)
magnet_p, magnet_h, magnet_v = exactly(weights_of_pairs(*equal))
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
fresh, _ = follow(keras.random.SeedGenerator(42))

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Total variation distance between many chains and the model, with new uniform numbers in each sweep and with the same ones. Line: the exact distance. Dashed: what independent draws from the model would show.", "name": "fig-rbmk-failure"}, "image": {"alt": "On a logarithmic axis one row of points falls along a line down to a dashed level of noise. The other row falls once, from 0.44 to 0.30, and is flat from the second sweep on."}}
sweeps = np.arange(1, num_sweeps + 1)
exact_q = [np.linalg.matrix_power(magnet_h @ magnet_v, n)[0] for n in sweeps]
exact_distance = 0.5 * np.abs(exact_q - magnet_p).sum(1)
# Mean distance of independent draws: |Gaussian| has the mean sqrt(2 / pi) of its width.
widths = np.sqrt(magnet_p * (1 - magnet_p) / P.num_chains)
noise = 0.5 * math.sqrt(2 / math.pi) * widths.sum()
fig, ax = plt.subplots(figsize=(7.0, 2.9))
blue, orange = plotting.COLOURS[:2]
ax.semilogy(sweeps, exact_distance, color=blue, linewidth=1)
ax.semilogy(sweeps, fresh, "o", markersize=5, color=blue)
ax.semilogy(sweeps, repeated, "s", markersize=5, color=orange)
ax.axhline(noise, color="black", linestyle="--", linewidth=1)
for name, height, colour, up in (
    ("seed = 42", repeated[-1], orange, 0),
    ("SeedGenerator", noise, blue, 9),
    ("noise of the draws", noise, "black", -9),
):
    place = dict(textcoords="offset points", va="center", color=colour)
    ax.annotate(name, (num_sweeps, height), (8, up), **place)
ax.set(xlabel="sweeps", ylabel="distance to the model")
_ = ax.set(ylim=(noise / 3, 1), xlim=(0, 1.36 * num_sweeps), xticks=range(0, 31, 5))

# %% tags=["check"]
first, second = (keras.random.uniform((1000,), seed=42) for _ in range(2))
checks.close("a number as the seed: two calls, the same numbers", first, second)
one, other = keras.random.SeedGenerator(42), keras.random.SeedGenerator(42)
first, second = (to_numpy(keras.random.uniform((1000,), seed=one)) for _ in range(2))
apart = np.abs(first - second).mean()  # 1/3 for independent numbers
checks.at_least("a generator: two calls, other numbers, mean difference", apart, 0.25)
repeats = keras.random.uniform((1000,), seed=other)
name = "another generator with the same seed repeats the first call"
checks.close(name, repeats, first)
checks.close("magnet: flipping all changes no p", magnet_p, magnet_p[::-1], atol=1e-12)
checks.at_most("repeated numbers: moves after 6 sweeps", moved_repeated[6:], 0)
checks.at_least("repeated numbers: distance to the model", repeated, 0.25)
change = abs(repeated[1:] - repeated[1]).max() / (repeated[0] - repeated[1])
checks.at_most("repeated numbers: later changes, over the first fall", change, 0.15)
# The draws of one chain move the distance by at most 1/N, so that its standard
# deviation is at most 1/(2 sqrt(N)); noise adds at most `noise` to its mean.
bound = noise + 5 * 0.5 / math.sqrt(P.num_chains)
off = fresh[-1] - exact_distance[-1]
checks.at_most("new numbers: distance after 30 sweeps, minus the exact one", off, bound)
for kind, values in (("new", fresh), ("repeated", repeated)):
    name = f"{kind} numbers: distance after one sweep, minus the exact one"
    checks.at_most(name, abs(values[0] - exact_distance[0]), bound)

# %% [markdown]
r"""
With repeated numbers the distance falls once, in the second sweep, and is flat from then on: chains that should have come back have stayed.

**The first sweep is right, so a test of single sweeps passes.**
That is why the sampler above was tested after two sweeps as well.
Here is that test, whose limit is 5, with `seed=42` in the place of the generator:
"""

# %% tags=["hide-input"]
# The test of the sampler, with a seed that is a number
worst = {sweeps: after(sweeps, 42).max() for sweeps in (1, 2)}
rows = {str(sweeps): value for sweeps, value in worst.items()}
plotting.table(rows, columns=("sweeps", "largest deviation, standard errors"), digits=2)

# %% tags=["check"]
checks.at_most("seed = 42: largest deviation after one sweep", worst[1], 5)
checks.at_least("seed = 42: after two sweeps", worst[2], 10)

# %% [markdown]
r"""
The machine of digits suffers in the same way.
Both blocks start from the same test images; the only difference is the `seed` of `gibbs`.
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Chains of the trained machine, from test images: the binary pixels. Left: a `SeedGenerator`. Right: `seed=42`. The steps between the frames grow.", "name": "fig-rbmk-film"}}
shown = [0, *sorted({round(P.film_sweeps ** (i / 23)) for i in range(24)})]


def chains(seed, num=18):
    steps = islice(gibbs(rbm, x_test[:num], seed), max(shown))
    states = [to_numpy(v) for v in (x_test[:num], *steps)]
    return [states[n] for n in shown]


fresh_chains, repeated_chains = chains(keras.random.SeedGenerator(42)), chains(42)
frames = []
for pair in zip(fresh_chains, repeated_chains, strict=True):
    tiles = [plotting.tile(v.reshape(-1, 28, 28), columns=6) for v in pair]
    frames.append(np.hstack([tiles[0], np.zeros((len(tiles[0]), 24)), tiles[1]]))
plotting.film(
    frames,
    labels=[f"{n} sweep{'s' * (n != 1)}" for n in shown],
    alt="Two blocks of eighteen digits. In the left block the pixels of each picture keep changing. "
    "In the right block every picture stands still after a few sweeps.",
)

# %% tags=["check"]
moved = [(c[-1] != c[-2]).any(1).mean() for c in (fresh_chains, repeated_chains)]
checks.at_least("left: share of chains that differ in the last two frames", moved[0], 1)
checks.at_most("guard: right: the same", moved[1], 0.2)

# %% [markdown]
r"""
```{dropdown} A one-minute question: the right block looks like digits. Which picture of it would have told you?
No single one.
After one sweep both blocks are fair draws; only the next sweeps, in which nothing changes, tell them apart.
```

```{admonition} In one card
:class: dgm-card

**Remember**

- $h_j = [\,u^h_j < p(h_j = 1 \mid v)\,]$: a sampler is a function of its random numbers, {eq}`eq-rbmk-sweep`
- $\Delta_W = \langle v \hat h^\top \rangle_\text{data} - \langle v' \hat h'^\top \rangle_\text{sweeps}$: the step is a closed formula, {eq}`eq-rbmk-update`
- same numbers in, same numbers out, to a few roundings: the test that two programs are one algorithm

**What it can do**

- **Likelihood:** exact with 16 hidden units, by a sum over 65,536 states.
- **Sampling:** Gibbs chains, on any backend of Keras.
- **Latent code:** binary, $p(h \mid v)$ is a product.
- **What fails:** a seed that is a number. The first sweep is right, and all others repeat it.
```
"""

# %% [markdown]
r"""
## Exercises

Each has a cell to fill in, a check that answers "not yet", "right", or says what is wrong, and a folded solution.

```{exercise-start} Visible units with real values (easy)
:label: ex-rbmk-gaussian
```
For real $v$ take the energy $E(v, h) = \tfrac12 |v - b|^2 - c \cdot h - v^\top W h$.
Write its free energy `gaussian_free_energy(rbm, v)` with `keras.ops`, for the weights of an `RBM`.
The check sums over $h$, integrates $e^{-F}$ over a plane, and draws the density.
How many Gaussians is it made of, and what is $Z$?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def gaussian_free_energy(rbm, v):
    return None


# %% tags=["check"]
def check_gaussian(answer):
    W = np.array([[3.0, -0.5, 0.3], [0.8, 2.2, -3.0]])
    b, c = np.array([0.4, -0.7]), np.array([-4.0, -1.0, -5.0])
    line, h = np.arange(-10, 10, 0.125), all_states(3)
    v = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    if (found := answer(machine(W, b, c), tensor(v))) is None:
        return print("not yet")
    found = to_numpy(found).astype(np.float64)
    minus_energies = h @ c + v @ W @ h.T - 0.5 * ((v - b) ** 2).sum(1)[:, None]
    by_sum = -np.logaddexp.reduce(minus_energies, axis=1)
    checks.close("free energy = minus log of the sum over h", found, by_sum, atol=3e-4)
    # Each hidden state leaves a Gaussian: the sum over a fine grid is its integral.
    log_z = np.logaddexp.reduce(h @ c + h @ W.T @ b + 0.5 * ((h @ W.T) ** 2).sum(1))
    by_grid = np.logaddexp.reduce(-found) + 2 * math.log(0.125)
    checks.close("log Z on the grid", by_grid, log_z + math.log(2 * math.pi), atol=1e-4)
    _, ax = plt.subplots(figsize=(3.6, 3.2))
    density = np.exp(-found - by_grid).reshape(160, 160)
    ax.contourf(line, line, density, 12, cmap="Blues")
    ax.set(xlabel="$v_1$", ylabel="$v_2$", xlim=(-4, 6), ylim=(-6, 5))
    return print("right")


check_gaussian(gaussian_free_energy)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-gaussian
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Contours of a density on a plane with several round hills of different height at the corners of skewed boxes."}}
def gaussian_free_energy(rbm, v):
    well = 0.5 * ops.sum(ops.square(v - rbm.b), axis=-1)
    return well - ops.sum(ops.softplus(rbm.hidden_logits(v)), axis=-1)


check_gaussian(gaussian_free_energy)

# %% [markdown]
r"""
Only the term of $v$ alone has changed: a parabola in place of a line.
Completing the square, $p(v \mid h)$ is a Gaussian with mean $b + W h$ and variance one, so the model is a mixture of $2^H$ Gaussians whose centres are tied, with

$$
\begin{aligned}
Z &= (2 \pi)^{D/2} \sum_h e^{a(h)}, \\
a(h) &= c \cdot h + b \cdot W h + \tfrac12 |W h|^2 .
\end{aligned}
$$

````{solution-end}
````

```{exercise-start} Training with fit after all (medium)
:label: ex-rbmk-loss
```
Write `cd_loss(rbm, v_data, v_model)`, a single number whose gradient, times minus one, is the step of {eq}`eq-rbmk-update` with $v'$ held fixed, however `v_model` was made.
The check overrides `compute_loss` with it, lets `fit` take one step, and compares: first with the binary samples of a sweep, then with probabilities in their place.
Where does `ops.stop_gradient` stand, and in which of the two cases is it needed?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def cd_loss(rbm, v_data, v_model):
    return None


# %% tags=["check"]
class TrainableRBM(RBM):
    def add_weight(self, *shape_and_start, trainable, name):
        return super().add_weight(*shape_and_start, name=name)


class Fitted(keras.Model):
    def __init__(self, rbm, loss, move):
        super().__init__()
        self.rbm, self.cd_loss, self.move = rbm, loss, move

    def call(self, v):
        return self.rbm(v)

    def compute_loss(self, x, *_, **__):
        return self.cd_loss(self.rbm, x, self.move(self.rbm, x))


def mean_field(rbm, v):
    return ops.sigmoid(rbm.visible_logits(ops.sigmoid(rbm.hidden_logits(v))))


def check_loss(answer):
    v = tensor(V[10:50])
    if answer(tiny, v, v) is None:
        return print("not yet")
    ((u_h, u_v),) = draw_uniforms(tiny, 40, 1, keras.random.SeedGenerator(0))
    one_sweep = partial(sweep, u_h=u_h, u_v=u_v)
    for name, move in (("binary samples", one_sweep), ("probabilities", mean_field)):
        by_hand = machine(*theta)
        cd_update(by_hand, v, move(tiny, v), [], 0.1)  # no more sweeps
        model = Fitted(machine(*theta, kind=TrainableRBM), answer, move)
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        model.fit(to_numpy(v), batch_size=40, shuffle=False, verbose=0)
        found, exact = parameters(model.rbm), parameters(by_hand)
        checks.close(f"{name}: one step of fit = cd_update", found, exact, atol=1e-5)
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
The formula holds $v'$ fixed, and `stop_gradient` says so.
For binary samples it changes nothing, because a comparison with a uniform number has no derivative; with probabilities the step would be another one without it.
So `fit` can train the machine, but the loss that it prints says nothing about learning: see the monitors of [the RBM lecture](rbm.ipynb).
````{solution-end}
````

```{exercise-start} The same numbers on purpose: exact samples (hard)
:label: ex-rbmk-exact
```
Repeated numbers *in time* are a fault.
The same numbers in *two chains* are a tool: they give samples that follow $p$ exactly, without a burn-in to guess {cite:p}`propp1996`.
Run two chains of the magnet with the same numbers, one from "all off" and one from "all on".
Any other start stays between the two, so where they meet, all starts have met.
Let the chains start ever earlier and end *now*: if the sweeps from time $-n$ to now bring both to one state, that state is an exact sample; if not, start at $-2n$ and use *the same numbers again* for the sweeps from $-n$ on.
Write `exact_samples(rbm, draw)`: `draw(k)` gives the numbers of `k` new sweeps, as a list of pairs `(u_h, u_v)` with a row for each sample.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def exact_samples(rbm, draw):
    return None


# %% tags=["check"]
def check_exact(answer):
    drawn, numbers = [], keras.random.SeedGenerator(run.seed + 7)

    def draw(k):
        drawn.append(draw_uniforms(magnet, P.num_chains, k, numbers))
        return drawn[-1]

    if (found := answer(magnet, draw)) is None:
        return print("not yet")
    in_time = [pair for block in drawn[::-1] for pair in block]  # the newest is first
    for name, start in (("off", np.zeros), ("on", np.ones)):
        v = tensor(start((P.num_chains, 6)))
        for u_h, u_v in in_time:
            v = sweep(magnet, v, u_h, u_v)
        checks.close(f"the chains from all {name}, the first numbers last", found, v)
    name = "frequencies of the states, in standard errors"
    checks.at_most(name, deviations(frequencies(found), magnet_p), 5)
    print(f"{len(in_time)} sweeps were enough for all {P.num_chains:,} samples")
    return print("right")


check_exact(exact_samples)

# %% [markdown]
r"""
````{solution-start} ex-rbmk-exact
:class: dropdown
````
"""


# %% tags=["solution"]
def exact_samples(rbm, draw):
    uniforms = draw(1)
    while True:
        low = ops.zeros((len(uniforms[0][0]), rbm.b.shape[0]))
        high = ops.ones_like(low)
        for u_h, u_v in uniforms:
            low, high = sweep(rbm, low, u_h, u_v), sweep(rbm, high, u_h, u_v)
        if to_numpy(low == high).all():
            return low
        uniforms = draw(len(uniforms)) + uniforms  # earlier sweeps come first


check_exact(exact_samples)

# %% [markdown]
r"""
A chain that had been running for ever would have passed time $-n$ in *some* state, and from there the same numbers lead to the one state that all starts lead to: so that state is a sample of the chain that has run for ever.
Running forward until the chains meet would not do: the moment of meeting depends on the states, and a sample taken then is biased.
The weights must not be negative, because only then do all chains stay between those from "all off" and from "all on".
````{solution-end}
````

## Further

### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $v \in \{0, 1\}^D$, $h \in \{0, 1\}^H$ | `v`, `h` | visible units (the pixels), hidden units |
| $W, b, c$ | `rbm.W`, `rbm.b`, `rbm.c` | weights, visible and hidden biases; together $\theta$ |
| $F(v)$ | `free_energy` | free energy, $p(v) = e^{-F(v)} / Z$ |
| $u^h$, $u^v$ | `u_h`, `u_v` | uniform numbers in $[0, 1)$, one for each unit of a layer |
| $v'$, $\hat h$ | `v_model`, `ops.sigmoid(rbm.hidden_logits(v))` | states after the sweeps, probabilities of the hidden units |
| $\epsilon$, $T$ | `rate`, `T` | learning rate, transition probabilities of one sweep |

## Reading

**What comes next:** [Langevin sampling](langevin.ipynb) in place of Gibbs sampling, and [neural networks in place of $W$](energy_models.ipynb).

**Reading:** {cite:t}`hinton2002` and {cite:t}`tieleman2008` for CD and PCD; {cite:t}`melchior2016` for centring; {cite:t}`propp1996` for exact samples; {cite:t}`babcock2021`, chapter 4, for an RBM in TensorFlow whose steps come from automatic differentiation.
What differs from the sources stands on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

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
# Recurrence and attention: sequences of known entropy

A language model is an autoregressive model whose conditionals share one network.
You will write the two networks that are used most, a state that is carried along and attention that looks back, and judge them on sources whose entropy is known: no honest loss can pass that line, and a loss that does has seen the future.

```{opening} fig-seq-film
One layer of attention learns that the second half of a sequence repeats the first. Watch the loss fall to the dashed line, the entropy of the source, while the attention matrix becomes a shifted diagonal.
```

At the end of this lecture you will be able to

1. compute the entropy of a source, and read a loss as that entropy plus a divergence;
2. write a gated recurrent network, and say how far back its gradient reaches;
3. write causal attention, and prove by gradients that no place sees what it has to predict;
4. find a leak from the loss alone;
5. sample with a cache of keys and values, and say what it saves.

- **You need** the chain rule of [autoregressive models](autoregressive.ipynb), the divergence $\mathrm{KL}$, some PyTorch.
- **Sources:** {cite:t}`shannon1951`, who let people guess the next letter of a text; {cite:t}`hochreiter1997` and {cite:t}`cho2014` for gates; {cite:t}`bahdanau2015` and {cite:t}`vaswani2017` for attention.
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

import dgm
from dgm import checks, plotting

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

# %% tags=["parameters"]
PARAMETERS = {  # smoke, quick, full
    "num_test": (200, 4_000, 20_000),  # sequences that an excess is measured on
    "copy_attention_steps": (20, 500, 2_000),
    "copy_gru_steps": (10, 1_200, 6_000),
    "markov_attention_steps": (10, 800, 3_000),
    "markov_gru_steps": (10, 400, 2_000),
    "leak_steps": (60, 150, 150),
    "coin_steps": (10, 300, 2_000),
    "digit_images": (60, 200, 50_000),
    "digit_width": (16, 16, 128),
    "digit_blocks": (1, 1, 4),
    "digit_epochs": (1, 1, 30),
    "row_steps": (5, 600, 6_000),
}

# %%
run = dgm.start("sequences", parameters=PARAMETERS, data="mnist")
P = run.parameters

# %% [markdown]
r"""
## A source whose entropy is known

The entropy of English is known only roughly, so we can't say how good a language model could be.
We make our own text, 32 bits at a time, from two sources:

- **copy**: 16 fair bits, then the same 16 again;
- **Markov**: each bit depends on the three before it, by a table of eight probabilities.
"""


# %%
LENGTH = 32
p_one = [0.95, 0.3, 0.6, 0.1, 0.2, 0.85, 0.9, 0.4]  # after 000, 001, ..., 111
p_one = torch.tensor(p_one, dtype=torch.float64)


def copy_source(num_sequences):
    half = torch.randint(2, (num_sequences, LENGTH // 2))
    return torch.cat([half, half], 1)


def contexts(x):
    """The number 4a + 2b + c of each three neighbours abc, shape (num_sequences, n - 2)."""
    return 4 * x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]


T = torch.zeros(8, 8, dtype=torch.float64)  # from one context to the next
for abc in range(8):
    T[abc, 2 * abc % 8] = 1 - p_one[abc]
    T[abc, 2 * abc % 8 + 1] = p_one[abc]
stationary = torch.matrix_power(T, 1_000)[0]


def markov_source(num_sequences, length=LENGTH):
    abc = torch.multinomial(stationary, num_sequences, replacement=True)
    bits = [abc // 4, abc // 2 % 2, abc % 2]
    while len(bits) < length:
        bits.append(torch.bernoulli(p_one[abc]).long())
        abc = 2 * abc % 8 + bits[-1]
    return torch.stack(bits, 1)


def markov_log_prob(x):
    c = contexts(x.cpu())
    p = p_one[c[:, :-1]]
    steps = torch.where(x.cpu()[:, 3:] == 1, p, 1 - p).log()
    return stationary[c[:, 0]].log() + steps.sum(1)


# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve sequences of each source, a row each; black is 1. In the copy source the right half repeats the left, which a look at a few neighbours does not show.", "name": "fig-seq-sources"}, "image": {"alt": "Two panels of twelve rows of 32 black and white cells. The left panel looks like noise, but its right half equals its left half. The right panel has short stretches that recur, such as alternating pairs."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.5))
for ax, name, source in zip(
    axes, ("copy", "Markov"), (copy_source, markov_source), strict=True
):
    ax.imshow(source(12), aspect="auto")
    ax.set(xlabel="place in the sequence", yticks=[], ylabel=name)
    ax.grid(visible=False)

# %% [markdown]
r"""
A model assigns probabilities by the chain rule,

$$
q(x) = \prod_{i=1}^{n} q(x_i \mid x_{<i}),
\qquad x_{<i} = (x_1, \dots, x_{i-1}),
$$ (eq-seq-chain)

and it is trained by the *cross-entropy*, the mean of $-\log q(x)$ over the source $p$.
**A loss is the entropy of the source plus how wrong the model is**:

$$
\langle -\log q(x) \rangle_p = \mathcal{H}[p] + \mathrm{KL}(p \Vert q) \geq \mathcal{H}[p] .
$$ (eq-seq-excess)

The divergence is the *excess*, what the model loses.
(Call a model *honest* if each conditional is computed from $x_{<i}$ alone: then $q$ sums to 1, and the inequality holds.)
The entropies are exact: $16 \log 2 = 11.09$ nats for a copied sequence, and $\mathcal{H}[p(x_1, x_2, x_3)] + 29 h$ for the Markov source with its *entropy rate*

$$
h = - \sum_{abc} \pi(abc) \sum_{x} p(x \mid abc) \log p(x \mid abc) ,
$$ (eq-seq-rate)

where $\pi$ is the stationary distribution of the last three bits.
In bits divide by $\log 2$; the *perplexity* $e^{h}$ says among how many equally likely symbols one would have to guess.

What if a model sees only the last $m$ bits?
Then it can do no better than the entropy of a bit given the $m$ bits before it, $h_m$, a ladder that falls to $h$ at $m = 3$.
For the copy source the ladder is flat: as long as fewer than 16 bits are seen, the second half looks as random as the first.
"""


# %%
def entropy(p):
    """In nats, of the last axis; 0 log 0 is 0."""
    return -torch.special.xlogy(p, p).sum(-1)


def memory_ladder(most):
    """h_0, h_1, ...: entropy of a bit of the Markov source given the m bits before it."""
    joint = stationary
    for _ in range(most - 2):  # probabilities of all blocks of most + 1 bits
        p = p_one[torch.arange(len(joint)) % 8]
        joint = torch.stack([joint * (1 - p), joint * p], 1).flatten()
    blocks = [entropy(joint.reshape(-1, 2**m).sum(0)) for m in range(most + 2)]
    return torch.stack(blocks).diff()


ladder = memory_ladder(5)
rate = stationary @ entropy(torch.stack([p_one, 1 - p_one], 1))
COPY_ENTROPY = LENGTH / 2 * math.log(2)
MARKOV_ENTROPY = (entropy(stationary) + (LENGTH - 3) * rate).item()
rows = [
    ("copy", COPY_ENTROPY / LENGTH),
    *[(f"Markov, memory of {m}", ladder[m].item()) for m in range(4)],
]
plotting.table(
    [(name, h, h / math.log(2), math.exp(h)) for name, h in rows],
    columns=("entropy of a symbol", "nats", "bits", "perplexity"),
    digits=4,
)

# %% tags=["check"]
eight = torch.cartesian_prod(*[torch.arange(2)] * 8)  # all 256 sequences of 8 bits
log_p = markov_log_prob(eight)
checks.normalised("Markov source: p(x) over all 256 sequences of 8", log_p)
checks.close("pi is stationary", stationary @ T, stationary, atol=1e-14)
checks.close(
    "entropy of 8 bits = entropy of the first three + 5 h",
    entropy(log_p.exp()),
    entropy(stationary) + 5 * rate,
    atol=1e-12,
)
for length in (4, 8):  # the drawn bits have the entropy that is claimed
    checks.unbiased(
        f"{length} drawn bits: mean of log p = minus the entropy",
        markov_log_prob(markov_source(20_000, length)),
        -(entropy(stationary) + (length - 3) * rate),
    )
drawn = F.one_hot(contexts(markov_source(20_000))[:, -1], 8).double()[:, 1:]
checks.unbiased("the last three of 32 bits follow pi", drawn, stationary[1:])
checks.close("three bits of memory are enough", ladder[3:], rate.expand(3), atol=1e-12)
checks.true("the ladder falls, by 0.04 at least", (-ladder[:4].diff() > 0.04).all())
four = torch.cartesian_prod(*[torch.arange(2)] * 4)
short = torch.cat([four, four], 1)  # a copy source with halves of four bits, listed
for memory, left in ((3, math.log(2)), (4, 0.0)):
    codes = [
        short[:, i - memory : i + 1] @ 2 ** torch.arange(memory + 1)
        for i in range(4, 8)
    ]
    counts = torch.stack(
        [torch.bincount(code, minlength=2 ** (memory + 1)) for code in codes]
    )
    pasts = counts.reshape(4, 2, -1).sum(1)
    name = f"copied 4 bits: nats left of a bit after {memory} bits"
    found = entropy(counts / 16) - entropy(pasts / 16)
    checks.close(name, found, [left] * 4, atol=1e-6)
x = copy_source(20_000)
checks.true("the second half repeats the first", (x[:, 16:] == x[:, :16]).all())
checks.unbiased("the bits of a half are fair", x[:, :16].double(), [0.5] * 16)

# %% [markdown]
r"""
```{dropdown} A one-minute question: a model of the copy source has a loss of 10.8 nats on fresh sequences. Is it excellent?
It is impossible.
The entropy is 11.09 nats, and no distribution over the sequences has a smaller loss.
Look for the place where the program lets the model see what it predicts.
```

## A state that is carried along

```{margin}
**In the sources.** CS236 notes, *Relation to other architectures*.

The GRU below has the form of `torch.nn.GRU`; in the published one $r$ acts on $h$ before $U_c$ does.
```

**A recurrent network puts all it knows of the past into one vector, and uses the same weights at every step**:

$$
h_i = f_\theta(h_{i-1}, x_{i-1}),
\qquad
q(x_i \mid x_{<i}) = \mathrm{softmax}(W h_i + b)_{x_i} .
$$ (eq-seq-recurrence)

```{figure} ../figures/seq_recurrence.svg
:name: fig-seq-recurrence
:alt: A chain of four orange circles, the states h one to h four, joined by arrows from left to right. Below them are what each reads, start, x one, x two, x three; above them what each predicts, x one to x four. Each arrow between states carries the same letter f.
:width: 620px

A recurrent network, unrolled. State $h_i$ has read the symbols *before* $x_i$, and predicts $x_i$: inputs are shifted by one.
```

So the number of parameters does not depend on the length, and one step costs the same at any place {cite:p}`elman1990`.
The step of a *gated recurrent unit* (GRU) {cite:p}`cho2014` computes a candidate $c$; one gate, $z$, says how much of the old state stays, the other, $r$, how much of it the candidate sees:

$$
\begin{aligned}
r &= \sigma(W_r e + U_r h + b_r), \\
z &= \sigma(W_z e + U_z h + b_z), \\
c &= \tanh(W_c e + b_c + r \odot (U_c h + b_c')), \\
h' &= (1 - z) \odot c + z \odot h ,
\end{aligned}
$$ (eq-seq-gru)

with $e$ the vector of the symbol that was read, $h$ and $h'$ the state before and after, $\sigma(a) = 1 / (1 + e^{-a})$ and $\odot$ for products number by number.
Where $z$ is near 1 the state stays as it is: that is its memory.
"""


# %% tags=["method"]
class GRU(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.of_input = nn.Linear(width, 3 * hidden)
        self.of_state = nn.Linear(hidden, 3 * hidden)

    def step(self, from_input, h):
        r, z, c = from_input.chunk(3, -1)
        r_h, z_h, c_h = self.of_state(h).chunk(3, -1)
        z = torch.sigmoid(z + z_h)
        c = torch.tanh(c + torch.sigmoid(r + r_h) * c_h)
        return (1 - z) * c + z * h

    def forward(self, e, past=None):
        from_input = self.of_input(e)  # of all places at once: it needs no state
        h = e.new_zeros(len(e), self.of_state.in_features) if past is None else past
        states = []
        for i in range(e.shape[1]):
            h = self.step(from_input[:, i], h)
            states.append(h)
        return torch.stack(states, 1), h


# %% [markdown]
r"""
Around it stands what every sequence model shares: vectors for symbols, the shift by one, a read-out, the chain rule.
The part between, the `core`, is exchanged below.
"""


# %% tags=["method"]
class SequenceModel(nn.Module):
    def __init__(self, core, num_symbols, width, hidden=None):
        super().__init__()
        self.embed = nn.Embedding(num_symbols, width)
        self.start = nn.Parameter(torch.randn(1, 1, width))
        self.core = core
        self.read = nn.Linear(hidden or width, num_symbols)

    def logits(self, e):
        start = self.start.expand(len(e), 1, -1)
        h, _ = self.core(torch.cat([start, e[:, :-1]], 1))  # place i reads symbol i - 1
        return self.read(h)

    def log_probs(self, x):
        log_q = F.log_softmax(self.logits(self.embed(x)), -1)
        return log_q.gather(-1, x[..., None]).squeeze(-1)  # of each symbol

    def log_prob(self, x):
        return self.log_probs(x).sum(-1)


# %% tags=["check"]
gru, library = GRU(5, 7).double(), nn.GRU(5, 7, batch_first=True).double()
with torch.no_grad():
    gru.of_input.weight.copy_(library.weight_ih_l0)
    gru.of_input.bias.copy_(library.bias_ih_l0)
    gru.of_state.weight.copy_(library.weight_hh_l0)
    gru.of_state.bias.copy_(library.bias_hh_l0)
e, h_0 = torch.randn(3, 9, 5).double(), torch.randn(3, 7).double()
checks.close(
    "our GRU = torch.nn.GRU", gru(e, h_0)[0], library(e, h_0[None])[0], atol=1e-12
)
first, past = gru(e[:, :4])
checks.close(
    "carried on from a state = all at once",
    torch.cat([first, gru(e[:, 4:], past)[0]], 1),
    gru(e)[0],
    atol=1e-12,
)

# %% [markdown]
r"""
The training is the same for every model of this lecture: fresh sequences at every step, Adam {cite:p}`kingma2015`, a step size that rises at first and then falls to zero, gradients clipped to norm 1.
Since the true $p(x)$ is known, the excess is measured as the mean of $\log p(x) - \log q(x)$ on fresh sequences: once $q$ is near $p$, what varies from one sequence to the next cancels.
"""


# %% tags=["method"]
def train(model, source, steps, *, batch_size=128, learning_rate=1e-2):
    optimiser = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    for step in range(1, steps + 1):
        fade = (1 + math.cos(math.pi * step / steps)) / 2
        optimiser.param_groups[0]["lr"] = learning_rate * min(step / 50, 1) * fade
        loss = -model.log_prob(source(batch_size).to(run.device)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        yield step, loss.item()


# %%
def copy_log_prob(x):
    return torch.full((len(x),), -COPY_ENTROPY, dtype=torch.float64)


@torch.no_grad()
def log_ratios(model, source, source_log_prob):
    """log p(x) - log q(x) for fresh sequences of the source: their mean is the excess."""
    x = source(P.num_test)
    log_q = torch.cat([model.log_prob(part.to(run.device)) for part in x.split(1_000)])
    return source_log_prob(x) - dgm.float64(log_q)


def standard_error(x):
    return (x.std() / len(x) ** 0.5).item()


# %% tags=["hide-input"]
# A GRU with 32 state variables learns the Markov source
torch.manual_seed(run.seed)
markov_gru = SequenceModel(GRU(32, 32), 2, 32).to(run.device)
steps = train(markov_gru, markov_source, P.markov_gru_steps)
markov_losses = [
    loss for _, loss in dgm.progress(steps, "GRU, Markov", total=P.markov_gru_steps)
]
markov_gru_ratios = log_ratios(markov_gru, markov_source, markov_log_prob)
markov_gru_excess = run.record(
    "markov_source_gru_excess",
    markov_gru_ratios.mean() / LENGTH,
    unit="nats per symbol",
    standard_error=standard_error(markov_gru_ratios) / LENGTH,
    protocol="mean of log p - log q over fresh sequences of 32 bits of the order-3 source, "
    f"GRU with 32 state variables, {P.markov_gru_steps:,} steps of 128 sequences",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Training loss per symbol of the GRU on the Markov source, over steps on a logarithmic axis. Dashed: the best that can be done from the last m bits.", "name": "fig-seq-ladder"}, "image": {"alt": "A noisy curve that falls, on a logarithmic axis of steps, past dashed lines for a memory of zero, one and two bits, and stays on the lowest dashed line, a memory of three bits."}}
fig, ax = plt.subplots()
losses = torch.tensor(markov_losses) / LENGTH
ax.semilogx(range(1, len(losses) + 1), losses, color=plotting.COLOURS[1])
for m in range(4):
    # As the first three bits have a shorter past, the line of 32 bits is a bit higher.
    best = torch.cat([ladder[: min(m, 3)], ladder[m].expand(LENGTH - m)]).mean()
    label = f"memory of {m}" if m < 3 else "memory of 3: the entropy"
    plotting.reference_line(ax, best.item(), label, side="left")
_ = ax.set(xlabel="training step", ylabel="loss (nats per symbol)", ylim=(0.4, 0.75))

# %% tags=["check"]
if run.profile != "smoke":
    checks.at_most("GRU on the Markov source, nats per symbol", markov_gru_excess, 2e-3)
name = "excess of a sequence = 32 times that of a symbol"
checks.close(name, LENGTH * markov_gru_excess, markov_gru_ratios.mean(), rtol=1e-12)
one = standard_error(torch.tensor([0.0, 2.0]))
checks.close("standard error of 0 and 2", one, 1.0, rtol=1e-6)
torch.manual_seed(run.seed)
little, ones = SequenceModel(GRU(4, 4), 2, 4), torch.ones(2, 2).long()
little.to(run.device)
for _ in train(little, lambda _: ones, 3, learning_rate=0.0):
    pass
used = torch.cat([part.grad.flatten() for part in little.parameters()])
little.zero_grad()
(-little.log_prob(ones.to(run.device)).mean()).backward()
nn.utils.clip_grad_norm_(little.parameters(), 1.0)
found = torch.cat([part.grad.flatten() for part in little.parameters()])
# Single precision: sums of some ten numbers of size 1.
checks.close("each step takes the gradient of one batch alone", used, found, atol=1e-5)
falling = [loss for _, loss in train(little, lambda _: ones, 40)]
checks.at_least("training descends, nats", falling[0] - falling[-1], 0.01)

# %% [markdown]
r"""
The loss comes down the ladder and ends on the entropy.
Three bits are a short past.

```{dropdown} A one-minute question: how many parameters would a table of q(x | past) have that sees the last m bits, and how many has the GRU?
$2^m$, one probability for each past.
The GRU has some 6,500 for any length: it pays with an assumption, that one smooth map $f_\theta$ will do for all places.
```

## How far back a gradient reaches

**The influence of a symbol on a later state is a product of one Jacobian a step, and such products tend to grow or shrink exponentially** {cite:p}`bengio1994,pascanu2013`:

$$
\frac{\partial h_n}{\partial e_{n-k}} = J_n J_{n-1} \cdots J_{n-k+1} \frac{\partial h_{n-k}}{\partial e_{n-k}},
\qquad
J_i = \frac{\partial h_i}{\partial h_{i-1}} ,
$$ (eq-seq-jacobian)

with $e_i$ the vector that place $i$ reads, that of $x_{i-1}$.
In the plain network $h_i = \tanh(W e_i + U h_{i-1} + b)$ each Jacobian is $\mathrm{diag}(1 - h_i^2)\, U$, and $\lVert J_i \rVert \leq \lVert U \rVert$: where $\lVert U \rVert = 0.9$ (the largest singular value) the gradient falls at least as fast as $0.9^k$.
A GRU has a path with the factor $z$ at each step: 1/2 when its weights are small, near 1 when its bias $b_z$ is large.
"""


# %%
class PlainRNN(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.of_input = nn.Linear(width, hidden)
        self.of_state = nn.Linear(hidden, hidden, bias=False)

    def forward(self, e, past=None):
        h = e.new_zeros(len(e), self.of_state.in_features) if past is None else past
        states = []
        for i in range(e.shape[1]):
            h = torch.tanh(self.of_input(e[:, i]) + self.of_state(h))
            states.append(h)
        return torch.stack(states, 1), h


def reach(core, length=LENGTH, num_sequences=16):
    """Norm of d h_n / d e_(n-k) for k = 0, 1, ..., a mean over random inputs."""
    e = torch.randn(num_sequences, length, 32).double().requires_grad_()
    last = dgm.float64(core)(e)[0][:, -1]
    rows = [torch.autograd.grad(h.sum(), e, retain_graph=True)[0] for h in last.T]
    return torch.stack(rows).square().sum((0, 3)).sqrt().mean(0).flip(0)


plain, gated, slow = PlainRNN(32, 32), GRU(32, 32), GRU(32, 32)
with torch.no_grad():
    nn.init.orthogonal_(plain.of_state.weight, gain=0.9)
    slow.of_input.bias[32:64] = 4.0  # z = 0.98
reaches = {"plain, norm 0.9": plain, "GRU": gated, "GRU, gate at 0.98": slow}
reaches = {name: reach(core) for name, core in reaches.items()}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Size of the derivative of the last state with respect to the input k places before, for untrained networks with 32 state variables. Dashed: 0.9 to the power k.", "name": "fig-seq-reach"}, "image": {"alt": "Three falling curves on a logarithmic axis against the distance k from zero to thirty-one. The curves of the plain network and of the GRU fall steeply, that of the GRU with its gate near one hardly falls."}}
fig, ax = plt.subplots()
k = torch.arange(LENGTH)
for (name, size), colour in zip(reaches.items(), plotting.COLOURS, strict=False):
    ax.semilogy(k, size, color=colour)
    where = {"GRU": 9, "plain, norm 0.9": 24}.get(name, 18)
    offset = (6, 4) if "plain" in name else (-4, -18)
    ax.annotate(
        name, (where, size[where]), offset, color=colour, textcoords="offset points"
    )
ax.semilogy(k, reaches["plain, norm 0.9"][0] * 0.9**k, "--", color="black", linewidth=1)
_ = ax.set(xlabel="distance k", ylabel="norm of the derivative", ylim=(1e-9, 20))

# %% tags=["check"]
bound = 0.9 ** k.double() * plain.of_input.weight.norm().item()
checks.at_most(
    "plain network: derivative over 0.9^k |W|", reaches["plain, norm 0.9"] / bound, 1
)
kept = {name: (size[15] / size[0]).item() for name, size in reaches.items()}
checks.at_most("GRU: what is left after 15 steps", kept["GRU"], 1e-2)
checks.at_least("gate at 0.98: what is left", kept["GRU, gate at 0.98"], 0.3)
linear, e_0 = (
    1.1 * nn.init.orthogonal_(torch.empty(8, 8).double()),
    torch.eye(8).double(),
)
checks.close(
    "without the tanh, norm 1.1: it grows as 1.1^k",
    torch.linalg.matrix_norm(torch.linalg.matrix_power(linear, 30) @ e_0, 2),
    1.1**30,
    rtol=1e-12,
)
e = torch.randn(4, 12, 32).requires_grad_()
_, past = plain(e[:, :6])
h, _ = plain(e[:, 6:], past.detach())
(gradient,) = torch.autograd.grad(h[:, -1].sum(), e)
checks.close("a detached state: gradient beyond the cut", gradient[:, :6], 0 * e[:, :6])
checks.at_least(
    "and within it, every place", gradient[:, 6:].abs().amax((0, 2)).min(), 1e-9
)

# %% [markdown]
r"""
In a GRU with the usual random start, less than a hundredth of the gradient is left after 15 steps.
A bias $b_z$ that keeps the gate near 1 at the start is one cure; LSTMs {cite:p}`hochreiter1997` were invented as another: in their original form one only adds to the state.
Often one also cuts on purpose: in *truncated* backpropagation the state is detached every so many steps, and beyond the cut the gradient is exactly zero, although the state may still carry information.

```{dropdown} A one-minute question: a gate stands at z = 0.98 all the time. After how many steps is half of the gradient left on its path?
After $\log 2 / (-\log 0.98) = 34$ steps.
```

The copy source needs 15 steps back.
32 state variables are enough for it: a shift register needs 16, and {ref}`ex-seq-register` builds one.
Can a GRU find it?
"""

# %% tags=["hide-input"]
# A GRU with 32 state variables learns the copy source
torch.manual_seed(run.seed)
copy_gru = SequenceModel(GRU(32, 32), 2, 32).to(run.device)
steps = train(copy_gru, copy_source, P.copy_gru_steps, learning_rate=5e-3)
copy_gru_losses = [
    loss for _, loss in dgm.progress(steps, "GRU, copy", total=P.copy_gru_steps)
]
copy_gru_ratios = log_ratios(copy_gru, copy_source, copy_log_prob)
copy_gru_excess = run.record(
    "copy_source_gru_excess",
    copy_gru_ratios.mean(),
    unit="nats",
    standard_error=standard_error(copy_gru_ratios),
    protocol="mean loss over fresh sequences, 16 fair bits and the same again, minus "
    f"16 log 2, GRU with 32 state variables, {P.copy_gru_steps:,} steps of 128 sequences",
)

# %% [markdown]
r"""
With one seed it is still nats above the entropy after more than a thousand steps, and the loss goes on falling: a state of this size is enough, it is the learning that is slow.

## Attention: every place looks back

```{margin}
**In the sources.** CS236 notes, *Relation to other architectures*: the last two lines on RNNs.

**A common mistake:** to call a transformer a recurrent network with attention.
It carries no state from place to place.
```

**Attention joins any two places in one step**, with no product for a gradient to shrink in.
Each place $i$ asks a *query* $q_i$, each place offers a *key* $k_j$ and a *value* $v_j$, all three linear maps of its vector to $d$ dimensions; it takes a weighted mean of the values, where a match of query and key gives weight {cite:p}`bahdanau2015,vaswani2017`:

$$
A_{ij} = \mathrm{softmax}_j \Bigl( \frac{q_i \cdot k_j}{\sqrt d} + M_{ij} \Bigr),
\qquad
y_i = \sum_j A_{ij} v_j ,
$$ (eq-seq-attention)

$$
M_{ij} = 0 \ \text{ for } j \leq i, \qquad M_{ij} = -\infty \ \text{ for } j > i .
$$ (eq-seq-mask)

The *causal mask* $M$ forbids the future; since place $i$ reads $x_{i-1}$ (the inputs are shifted), it may look at itself.
For independent numbers of mean 0 and variance 1 the factor $1 / \sqrt d$ gives scores of variance 1, so that the softmax starts soft.
"""


# %% tags=["twin:dgm.models.attention.attention", "method"]
def attention(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores.masked_fill(~mask, -math.inf), dim=-1)
    return weights @ v, weights


# %% tags=["check"]
q, k, v = torch.randn(3, 4, 2, 10, 6).double()
mask = torch.ones(10, 10, dtype=torch.bool).tril()
y, A = attention(q, k, v, mask)
library = F.scaled_dot_product_attention(q, k, v, is_causal=True)
checks.close("attention = torch's scaled_dot_product_attention", y, library, atol=1e-12)
checks.close("each row of A sums to 1", A.sum(-1), torch.ones(4, 2, 10), atol=1e-14)
checks.close("A is exactly 0 for the future", A.triu(1), torch.zeros_like(A))
q, k = torch.randn(2, 20_000, 64).double()
checks.unbiased("q.k / sqrt(d): variance 1", (q * k).sum(-1).square() / 64, 1.0)

# %% [markdown]
r"""
```{figure} ../figures/seq_attention.svg
:name: fig-seq-attention
:alt: Left, a causal attention layer. Four places in a row read start, x one, x two and x three; each later place is joined by lines to itself and to all places before it, none to a place after it. Right, a block, a column of boxes with two bypasses, norm and attention added to the input, norm and two-layer network added to that.
:width: 640px

Causal attention (left), and the block that is stacked (right). Attention moves vectors between places, the small network works at each place alone.
```

A *transformer* stacks blocks of such a layer and a small network, each normalising what it reads and added to what comes in {cite:p}`xiong2020`.
Several *heads* run side by side, each with its share of the dimensions (which is then its $d$), so that a place can look at several others at once.
For a generator of sequences one more thing is useful: `past`, the keys and values of places that were computed before.
"""


# %% tags=["twin:dgm.models.attention.Attention", "method"]
class Attention(nn.Module):
    def __init__(self, width, num_heads=1, *, causal=True):
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, h, past=None):
        batch, new, width = h.shape
        parts = self.qkv(h).view(batch, new, 3, self.num_heads, -1)
        # Each of shape (batch, heads, places, width / heads).
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        place = torch.arange(k.shape[2], device=h.device)
        mask = place <= place[-new:, None]
        if not self.causal:
            mask = torch.ones_like(mask)
        y, weights = attention(q, k, v, mask)
        self.weights = weights.detach()  # for pictures
        return self.out(y.transpose(1, 2).reshape(batch, new, width)), (k, v)


# %% tags=["twin:dgm.models.attention.Block", "method"]
class Block(nn.Module):
    def __init__(self, width, num_heads=1, *, causal=True):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, causal=causal)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h, past=None):
        moved, past = self.attention(self.norm1(h), past)
        h = h + moved
        return h + self.mlp(self.norm2(h)), past


# %% [markdown]
r"""
**Without positions attention can't tell the order: the past is a bag.**
Exchange two earlier symbols, and every sum of one layer has the same terms.
So each place adds a vector of its own, $p_i$, to its input; we take waves, cosines and sines of the place at many frequencies {cite:p}`vaswani2017`.
A shift by $k$ places rotates each pair of a cosine and a sine by a fixed angle, $p_{i+k} = R_k\, p_i$, so that one matrix of queries and keys says "15 places back" for all places at once.
Many later models rotate queries and keys themselves {cite:p}`su2024`.
"""


# %% tags=["twin:dgm.models.attention.position_waves", "method"]
def position_waves(length, width):
    frequencies = torch.logspace(math.log10(3), -math.log10(length), width // 2)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


# %% tags=["method"]
class Transformer(nn.Module):
    def __init__(self, positions, num_blocks=1, num_heads=1, *, causal=True):
        super().__init__()
        self.register_buffer("positions", positions)
        width = positions.shape[1]
        blocks = [Block(width, num_heads, causal=causal) for _ in range(num_blocks)]
        self.blocks, self.norm = nn.ModuleList(blocks), nn.LayerNorm(width)

    def forward(self, e, past=None):
        past = past or [None] * len(self.blocks)
        done = 0 if past[0] is None else past[0][0].shape[2]
        h, now = e + self.positions[done : done + e.shape[1]], []
        for block, before in zip(self.blocks, past, strict=True):
            h, keys_values = block(h, before)
            now.append(keys_values)
        return self.norm(h), now


def attention_model(num_symbols=2, *, positions=None, **settings):
    positions = position_waves(LENGTH, 32) if positions is None else positions
    core = Transformer(positions, **settings)
    return SequenceModel(core, num_symbols, positions.shape[1])


# %% tags=["check"]
waves = position_waves(40, 8).double()
angles = 7 * torch.logspace(math.log10(3), -math.log10(40), 4).double()
turn = torch.cat(
    [
        torch.cat([angles.cos().diag(), -angles.sin().diag()], 1),
        torch.cat([angles.sin().diag(), angles.cos().diag()], 1),
    ]
)
# Angles in single precision: up to 40 radians times 6e-8, and as much again.
checks.close(
    "a shift by 7 places is one rotation", waves[:-7] @ turn.T, waves[7:], atol=2e-5
)
bag = torch.tensor([4, 2, 0, 5, 1, 3, 6])  # the last place, which asks, stays last
e = torch.randn(3, 7, 16).double()
flat = torch.zeros(7, 16)
one, two = (Transformer(flat, blocks, 2).double() for blocks in (1, 2))
checks.close(
    "one block without positions: the past is a bag",
    one(e[:, bag])[0][:, -1],
    one(e)[0][:, -1],
    atol=1e-12,
)
told = Transformer(position_waves(7, 16), 1, 2).double()
for name, core in (("with waves", told), ("two causal blocks", two)):
    moved = (core(e[:, bag])[0] - core(e)[0])[:, -1].abs().max()
    checks.at_least(f"{name}: the order matters", moved, 1e-6)
far = reach(Transformer(position_waves(LENGTH, 32)))
checks.at_least(
    "attention: derivative at distance 15, over that at 1", far[15] / far[1], 0.1
)
core = Transformer(position_waves(9, 16), 2, 4).double()
e = torch.randn(3, 9, 16).double()
first, past = core(e[:, :4])
second = torch.cat([core(e[:, 4:6], past)[0], core(e[:, 6:], core(e[:, :6])[1])[0]], 1)
carried = torch.cat([first, second], 1)
checks.close("past keys and values = all at once", carried, core(e)[0], atol=1e-12)

# %% [markdown]
r"""
(Two causal blocks can tell the order without positions {cite:p}`haviv2022`: in the first, each place has seen a different past.)

**The proof that no place peeks is a matrix of gradients.**
Logit $i$ may depend on the vector of symbol $j$ only for $j < i$, and for untrained weights it must depend on each of these.
"Before" means before *in the order used*: a model may read the symbols in any order, and a check that assumes the usual one accuses an honest model.
"""


# %%
class InOrder:
    """A sequence model that reads and predicts the symbols x[order[0]], x[order[1]], ..."""

    def __init__(self, model, order):
        self.model, self.order, self.embed = model, order, model.embed

    def logits(self, e):
        logits = self.model.logits(e[:, self.order])
        return logits[:, self.order.argsort()]  # back to where the symbols stand


def dependence(model, x):
    """Largest |d logits_i / d vector of symbol j|: row i, column j."""
    e = model.embed(x).detach().requires_grad_()
    logits = model.logits(e)
    rows = [
        [torch.autograd.grad(z.sum(), e, retain_graph=True)[0] for z in logits[:, i].T]
        for i in range(x.shape[1])
    ]
    return torch.stack([torch.stack(row) for row in rows]).abs().amax((1, 2, 4))


x = copy_source(16)[:, 10:22]  # twelve symbols
order = torch.tensor([3, 7, 0, 10, 5, 1, 11, 8, 2, 6, 9, 4])
torch.manual_seed(run.seed)
settings = dict(positions=position_waves(12, 32), num_blocks=2, num_heads=4)
honest = attention_model(**settings).double()
blind = attention_model(**settings, causal=False).double()
matrices = {
    "causal": dependence(honest, x),
    "causal, another order": dependence(InOrder(honest, order), x),
    "no mask": dependence(blind, x),
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Which logit (row) depends on which symbol (column), on a logarithmic scale; white is exactly zero. Middle: the same honest model reads the symbols in a random order; sorted in that order it is the left panel again.", "name": "fig-seq-dependence"}, "image": {"alt": "Three square matrices. The left one is filled strictly below the diagonal. The middle one has filled and white cells scattered over the square. The right one is filled everywhere but in its last column."}}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.7))
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    shown = torch.where(matrix > 0, matrix.clamp_min(1e-6).log10() + 7, 0.0)
    ax.imshow(shown, vmin=0, vmax=8, cmap="Oranges")
    ax.set(xlabel=f"symbol\n{name}", ylabel="logit" if name == "causal" else "")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)

# %% tags=["hide-input"]
# The largest gradient from the future, recorded: in the usual order and in a random one
future = torch.ones(12, 12, dtype=torch.bool).triu()
in_order = matrices["causal, another order"][order][:, order]
future_gradient = run.record(
    "attention_future_gradient_max",
    torch.stack([matrices["causal"][future], in_order[future]]).max(),
    unit="1",
    protocol="largest derivative of a logit with respect to the vector of a symbol that is "
    "not before it in the order used, two causal blocks, random weights, double precision, "
    "12 symbols in the usual and in a random order",
)

# %% tags=["check"]
checks.close(
    "attention: gradient from the future, in the order used", future_gradient, 0.0
)
for name, matrix in (("usual", matrices["causal"]), ("random", in_order)):
    checks.at_least(
        f"{name} order: smallest allowed entry", matrix[~future].min(), 1e-9
    )
recurrent = dependence(SequenceModel(GRU(32, 32), 2, 32).double(), x)
checks.close("GRU: gradient from the future", recurrent[future], 0 * recurrent[future])
checks.at_least("GRU: smallest allowed entry", recurrent[~future].min(), 1e-12)
wrong = matrices["causal, another order"][future].max()
checks.at_least("judged in the usual order, an honest model is accused", wrong, 1e-6)
seen = matrices["no mask"][
    :, :-1
]  # the last symbol is never read, because of the shift
checks.at_least("no mask: every logit sees every symbol but the last", seen.min(), 1e-9)

# %% [markdown]
r"""
A second proof needs no gradient: an honest model is a distribution, and the probabilities of all $2^8$ sequences of 8 bits sum to 1.
"""

# %% tags=["hide-input"]
# Sums over all sequences of 8 bits, for models with large random weights
totals = {}
for name, core in (
    ("attention", Transformer(position_waves(LENGTH, 32), 2, 4)),
    ("GRU", GRU(32, 32)),
):
    model = SequenceModel(core, 2, 32).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # small weights hide mistakes
    totals[name] = model.log_prob(eight).exp().sum().item()
normalisation_error = run.record(
    "attention_normalisation_max_error",
    max(abs(total - 1) for total in totals.values()),
    unit="1",
    protocol="|sum over all 2^8 sequences of q(x) - 1|, the larger of a causal attention "
    "model with two blocks and a GRU, random weights, double precision",
)

# %% tags=["check"]
checks.at_most(
    "sum of q(x) over all 256 sequences, minus 1", normalisation_error, 1e-10
)
spread = model.log_prob(eight)
checks.at_least("and q is far from uniform, nats", spread.max() - spread.min(), 1)

# %% [markdown]
r"""
```{dropdown} A one-minute question: the mask is applied after the softmax, by setting A to zero for the future. What goes wrong?
Two things.
The rows no longer sum to 1, and each remaining weight still contains the scores of the future in its denominator: the gradient from the future isn't zero.
```

## The copy rule, found

**One layer with one head and 32 dimensions finds the rule in some hundred steps.**
"""

# %% tags=["hide-input"]
# One layer of attention learns the copy source; matrix and loss are kept for the film
torch.manual_seed(run.seed)
copy_attention = attention_model().to(run.device)
shown, copy_losses, film_matrices = copy_source(200).to(run.device), [], []
film_steps = {round(P.copy_attention_steps ** (i / 21)) for i in range(22)}
steps = train(copy_attention, copy_source, P.copy_attention_steps)
for step, loss in dgm.progress(steps, "attention", total=P.copy_attention_steps):
    copy_losses.append(loss)
    if step in film_steps:
        with torch.no_grad():
            copy_attention.log_prob(shown)
        A = copy_attention.core.blocks[0].attention.weights
        film_matrices.append((step, A.mean((0, 1)).cpu()))
copy_attention_ratios = log_ratios(copy_attention, copy_source, copy_log_prob)
copy_attention_excess = run.record(
    "copy_source_attention_excess",
    copy_attention_ratios.mean(),
    unit="nats",
    standard_error=standard_error(copy_attention_ratios),
    protocol="mean loss over fresh sequences, 16 fair bits and the same again, minus "
    "16 log 2, one block with one head and 32 dimensions, "
    f"{P.copy_attention_steps:,} steps of 128 sequences",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Left: the loss in nats per sequence, on a logarithmic axis of steps; dashed, the entropy of the source. Right: the attention matrix, a mean over 200 sequences; row i is where the place looks that predicts symbol i, white 0 and dark 1.", "name": "fig-seq-film"}}


def film_frame(step, matrix):
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.0), width_ratios=(1.1, 1))
    left.semilogx(range(1, step + 1), copy_losses[:step], color=plotting.COLOURS[1])
    left.plot(step, copy_losses[step - 1], "o", color=plotting.COLOURS[1])
    left.axhline(COPY_ENTROPY, color="black", linestyle="--", linewidth=1)
    left.text(1.1, COPY_ENTROPY - 0.3, "entropy 16 log 2", va="top")
    left.set(xlim=(0.9, len(copy_losses) * 1.2), ylim=(8, 25), xlabel="training step")
    left.set(ylabel="loss (nats)")
    right.imshow(matrix, vmin=0, vmax=1, cmap="Oranges")
    right.set(xlabel="place that is read", ylabel="symbol that is predicted")
    right.grid(visible=False)
    return fig


plotting.film(
    (film_frame(*pair) for pair in film_matrices),
    labels=[f"step {step:,}" for step, _ in film_matrices],
    alt="Left, a loss curve that begins near 24 nats, stays near 22 for a while, and falls to a dashed "
    "line at 11.09. Right, a triangle of pale cells, in whose lower half a dark diagonal "
    "appears, fifteen places from the main one.",
)

# %% [markdown]
r"""
The lower half of the matrix becomes a diagonal, shifted by 15 places: to predict $x_i$ the network looks at the place that has read $x_{i-16}$.
Nothing of this was built in, but that positions are waves.
Where does the GRU lose its nats?
"""

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Mean loss of each symbol of the copy source, for attention and for the GRU. Dashed: log 2 in the first half, 0 in the second, which is the source itself.", "name": "fig-seq-places"}, "image": {"alt": "Two curves over the 32 places. In the first half both lie on the dashed line at log 2. In the second half the curve of attention lies at zero, that of the GRU above it."}}
fig, ax = plt.subplots()
truth = [math.log(2)] * 16 + [0.0] * 16
ax.step(range(1, 33), truth, "--", where="mid", color="black", linewidth=1)
x = copy_source(2_000).to(run.device)
places = {}
for name, model, colour in (("GRU", copy_gru, 0), ("attention", copy_attention, 1)):
    with torch.no_grad():
        places[name] = -model.log_probs(x).mean(0).cpu()
    colour = plotting.COLOURS[colour]
    ax.plot(range(1, 33), places[name], "o-", color=colour, markersize=4)
    height = places[name][24].item() + 0.04
    ax.annotate(name, (25, height), color=colour, ha="center")
_ = ax.set(xlabel="symbol", ylabel="loss (nats)", ylim=(-0.05, 0.85))

# %% tags=["hide-input"]
# Attention with four heads learns the Markov source
torch.manual_seed(run.seed)
markov_attention = attention_model(num_heads=4).to(run.device)
steps = train(markov_attention, markov_source, P.markov_attention_steps)
for _ in dgm.progress(steps, "attention, Markov", total=P.markov_attention_steps):
    pass
markov_attention_ratios = log_ratios(markov_attention, markov_source, markov_log_prob)
markov_attention_excess = run.record(
    "markov_source_attention_excess",
    markov_attention_ratios.mean() / LENGTH,
    unit="nats per symbol",
    standard_error=standard_error(markov_attention_ratios) / LENGTH,
    protocol="mean of log p - log q over fresh sequences of 32 bits of the order-3 source, "
    "one block with four heads and 32 dimensions, "
    f"{P.markov_attention_steps:,} steps of 128 sequences",
)

# %% tags=["hide-input"]
# The table: what each model loses
excesses = {
    "copy": (copy_gru_excess / LENGTH, copy_attention_excess / LENGTH),
    "Markov": (markov_gru_excess, markov_attention_excess),
}
plotting.table(
    {name: [f"{loss:.5f}" for loss in found] for name, found in excesses.items()},
    columns=("excess, nats per symbol", "GRU", "attention"),
)

# %% tags=["check"]
if run.profile != "smoke":
    checks.at_most(
        "copy source: nats that attention loses", copy_attention_excess, 0.05
    )
    near = A.mean((0, 1))[16:].diagonal(1).min()
    checks.at_least("guard: weight on the place 15 back, at least", near, 0.3)
    name = "Markov source: nats per symbol that attention loses"
    checks.at_most(name, markov_attention_excess, 2e-3)
if run.profile == "quick":
    checks.at_least(
        "guard: nats that the GRU loses on the copy source", copy_gru_excess, 1
    )
    late = sum(copy_gru_losses[-50:]) / 50
    earlier = sum(copy_gru_losses[-400:-350]) / 50
    checks.at_least("and its loss still falls", earlier - late, 0.05)
    lost = places["GRU"]
    first, last = lost[16:20].mean(), lost[28:].mean()
    checks.at_least("guard: it loses the first bits, not the last", first - last, 0.1)
if run.profile == "full":
    checks.at_most(
        "guard: with 6,000 steps the GRU finds the rule", copy_gru_excess, 0.5
    )

# %% [markdown]
r"""
The GRU remembers the last of the 16 bits better than the first ones.
On the Markov source, where three bits of memory are enough, both are near the entropy.
(All of this with one seed.)
Each architecture is good at what its wiring makes short: the recent past for a recurrence, any single place for attention.

```{dropdown} A one-minute question: the shift is 16 symbols. Why does the diagonal lie 15 places from the main one?
The place that predicts $x_i$ has read $x_{i-1}$.
The place that has read $x_{i-16}$ is the one that predicts $x_{i-15}$: 15 places before.
```

## A leak falls below the entropy

**A network that can see its target will use it, and then its loss passes the line.**
Three leaks are common: a forgotten mask, a forgotten shift, and a mask of -10,000 in place of $-\infty$.
We train the first two on the copy source.
"""


# %%
class Unshifted(SequenceModel):
    def logits(self, e):
        return self.read(self.core(e)[0])  # place i reads symbol i itself


torch.manual_seed(run.seed)
leaks = {
    "no mask": attention_model(causal=False).to(run.device),
    "no shift": Unshifted(Transformer(position_waves(LENGTH, 32)), 2, 32).to(
        run.device
    ),
}
leak_losses = {
    name: [loss for _, loss in train(model, copy_source, P.leak_steps)]
    for name, model in leaks.items()
}

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Training loss of an honest model and of two that leak. Dashed: the entropy, which no honest loss can pass.", "name": "fig-seq-leak"}, "image": {"alt": "Three curves over training steps. Two of them, no mask and no shift, drop through the dashed line at 11.09 nats towards zero within the first hundred steps. The third, the honest model, falls to the line and stays on it."}}
fig, ax = plt.subplots()
curves = {"honest": copy_losses, **leak_losses}
for (name, curve), colour in zip(curves.items(), (1, 3, 2), strict=True):
    colour = plotting.COLOURS[colour]
    ax.plot(curve, color=colour)
    place = {"honest": (70, 14), "no mask": (75, 5), "no shift": (18, 2)}[name]
    ax.annotate(name, place, color=colour)
plotting.reference_line(ax, COPY_ENTROPY, "entropy of the source")
_ = ax.set(xlabel="training step", ylabel="loss (nats)", xlim=(0, 160), ylim=(0, 24))

# %% [markdown]
r"""
Their samples would be worthless: while sampling there is no future to look at.

How sure can one be, on a finite test set?
For an honest model $\langle q(x) / p(x) \rangle_p = \sum_x q(x) \leq 1$ (the sum runs where $p > 0$), and for $N$ independent test sequences the means multiply.
By Markov's inequality, whatever the model is,

$$
\Pr \Bigl[ \sum_{n=1}^{N} \log \frac{q(x_n)}{p(x_n)} \geq 15 \Bigr] \leq e^{-15} \approx 3 \cdot 10^{-7} ,
$$ (eq-seq-alarm)

as rare as five standard errors of a Gaussian.
**A loss that is fifteen nats below that of $p$ itself, summed over all test sequences, proves a leak**; for the copy source $p$ loses the entropy on each sequence, and two sequences are enough.

How far can a leak go?
What a leaking network calls $q$ sums to some $Z$, above 1 if its loss passes the line.
Since $q / Z$ is a distribution, its loss is at least the entropy, and so

$$
\langle -\log q \rangle_p \geq \mathcal{H}[p] - \log Z .
$$ (eq-seq-leak)
"""

# %% tags=["check"]
for name, ratios in (
    ("copy, attention", copy_attention_ratios),
    ("copy, GRU", copy_gru_ratios),
    ("Markov, attention", markov_attention_ratios),
    ("Markov, GRU", markov_gru_ratios),
):
    checks.at_most(f"{name}, honest: nats below the entropy", -ratios.sum(), 15)
one = markov_attention_ratios.mean() / LENGTH
checks.close("excess of attention, a symbol", markov_attention_excess, one, rtol=1e-12)
for name, model in leaks.items():
    learned = name == "no shift" or run.profile != "smoke"  # the other one needs longer
    if learned:
        below = -log_ratios(model, copy_source, copy_log_prob).sum()
        checks.at_least(f"{name}: nats below the entropy, all sequences", below, 15)
        one = below / P.num_test
        checks.at_least(f"{name}: nats below the entropy, one sequence", one, 7.5)
    log_q = dgm.float64(model).log_prob(eight)  # the first 8 bits are fair
    log_z = torch.logsumexp(log_q, 0).item()
    if learned:
        checks.at_least(f"{name}: log of the sum of all q(x)", log_z, 0.1)
    checks.ordered(
        f"{name}: loss at least entropy - log Z",
        {"entropy - log Z": 8 * math.log(2) - log_z, "loss": -log_q.mean()},
        slack=1e-12,
    )
    matrix = dependence(dgm.float64(model), copy_source(4))
    checks.at_least(f"{name}: gradient from the future", matrix.triu().max(), 1e-3)

# %% [markdown]
r"""
The third leak is the meanest, since no check of an untrained network sees it.
With a mask of -10,000 the weight of the future is $e^{-10000}$, which is exactly zero in single and in double precision; until the network learns scores below -10,000, and then the masked places have the *largest* ones.
This was met in practice: training and validation loss near zero, and samples of no use {cite:p}`mingpt75`.
"""


# %%
def attention_1e4(q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1)
    return weights @ v, weights


q = torch.ones(1, 8, 4).double()
mask = torch.ones(8, 8, dtype=torch.bool).tril()
rows = []
for size in (1, 50, 70, 75):
    k = -size * q * size  # every allowed score is -2 size^2
    future_weights = [
        f(q, k, q, mask)[1].triu(1).sum().item() for f in (attention_1e4, attention)
    ]
    rows.append((f"{-2 * size**2:,}", *future_weights))
plotting.table(
    rows,
    columns=("allowed scores", "future's weight, mask -1e4", "mask -inf"),
    digits=3,
)

# %% tags=["check"]
_, finite, infinite = zip(*rows, strict=True)
checks.close("mask -1e4, scores above: no weight on the future", finite[:2], [0.0, 0.0])
# Seven of eight places have a future; its weight is all there is.
checks.close("scores below -1e4: all weight on the future", finite[3], 7.0, atol=1e-9)
checks.close("mask -inf: none, whatever the scores", infinite, [0.0] * 4)

# %% [markdown]
r"""
```{dropdown} A one-minute question: your loss is above the entropy. Does that prove that nothing leaks?
No.
A leak that the network hasn't found yet, or uses a little, may hide in the excess.
Falling below the line proves a leak; only gradients, for weights that hide nothing, prove that there is none.
```

## Sampling: one symbol at a time

**All conditionals of a given sequence are computed at once; a new sequence is drawn symbol by symbol.**
Training on true pasts, side by side, is called *teacher forcing* {cite:p}`williams1989`.
While sampling, each new symbol asks about all the old ones, whose keys and values have not changed: keep them.

```{figure} ../figures/seq_cache.svg
:name: fig-seq-cache
:alt: Two rows of small squares that grow by one per step. Upper row, without a cache, all squares of each step are orange, computed anew; the count is 1, 2, 3, 4. Lower row, with a cache, one square of each step is orange and the others are grey, kept; the count is 1 each time.
:width: 600px

Places computed per step of sampling, without a cache and with one.
```
"""


# %% tags=["method"]
@torch.no_grad()
def sample(model, num_samples, length, *, temperature=1.0, cached=True, generator=None):
    e, past, symbols = model.start.expand(num_samples, 1, -1), None, []
    log_q, read = 0.0, e
    for _ in range(length):
        h, past = model.core(read, past)
        logits = model.read(h[:, -1]) / temperature
        log_probs = F.log_softmax(logits, -1)
        chosen = torch.multinomial(log_probs.exp(), 1, generator=generator)
        log_q = log_q + log_probs.gather(1, chosen).squeeze(1)
        symbols.append(chosen)
        new = model.embed(chosen)
        e = torch.cat([e, new], 1)
        read, past = (new, past) if cached else (e, None)
    return torch.cat(symbols, 1), log_q


# %% tags=["hide-input"]
# The same random numbers with and without the cache, counting places
rows, drawn = [], {}
for name, model in (("GRU", copy_gru), ("attention", copy_attention)):
    exact = dgm.float64(model)
    for cached in (False, True):
        count = []
        core = (
            exact.core.of_input if name == "GRU" else exact.core.blocks[0].attention.qkv
        )
        counter = core.register_forward_hook(
            lambda _, e, __, count=count: count.append(e[0].shape[1])
        )
        generator = torch.Generator().manual_seed(run.seed)
        drawn[name, cached] = sample(
            exact, 500, LENGTH, cached=cached, generator=generator
        )
        counter.remove()
        rows.append((f"{name}, {'with' if cached else 'without'} a cache", sum(count)))
plotting.table(rows, columns=("sampling 32 symbols", "places computed"))

# %% tags=["check"]
for name, model in (("GRU", copy_gru), ("attention", copy_attention)):
    (x, log_q), (again, _) = drawn[name, True], drawn[name, False]
    checks.true(
        f"{name}: the same symbols with and without the cache", (x == again).all()
    )
    checks.close(
        f"{name}: log q summed while sampling = log_prob of the sample",
        log_q,
        dgm.float64(model).log_prob(x),
        atol=1e-9,
    )
costs = dict(rows)
checks.close(
    "places: n with a cache, n(n + 1)/2 without",
    [costs["attention, with a cache"], costs["attention, without a cache"]],
    [LENGTH, LENGTH * (LENGTH + 1) // 2],
)
model = dgm.float64(markov_attention)  # does it draw from the q that it claims?
p_eight = model.log_prob(eight).exp()
x, _ = sample(model, 40_000, 8)
counts = torch.bincount((x * 2 ** torch.arange(7, -1, -1)).sum(1), minlength=256)
often = p_eight > 1e-3
error = (p_eight * (1 - p_eight) / 40_000).sqrt()
deviation = ((counts / 40_000 - p_eight) / error)[often].abs().max()
# Up to 256 counts of 40 or more: one of them passes six once in 60,000 runs.
checks.at_most("drawn 8 bits follow q, in standard errors", deviation, 6)

# %% [markdown]
r"""
(Each new place still looks at all old keys: some $n^2 / 2$ scores that the mask allows, $n^3 / 6$ without the cache.)

**Does free running go astray where teacher forcing looked fine?**
The network now reads its own symbols, mistakes included; this *exposure* to its own mistakes {cite:p}`bengio2015` is often blamed for bad samples.
But the excess bounds what can happen.
As above, $q$ of all sequences with $p > 0$ is a mean, and by Jensen's inequality, for the copy source,

$$
q(\text{second half} = \text{first half}) = \Bigl\langle \frac{q(x)}{p(x)} \Bigr\rangle_p \geq e^{-\mathrm{KL}(p \Vert q)} .
$$ (eq-seq-free)
"""

# %% tags=["hide-input"]
# Free-running samples of both models
free = {}
for name, model in (("GRU", copy_gru), ("attention", copy_attention)):
    x = sample(model, P.num_test, LENGTH)[0].cpu()
    free[name] = x, (x[:, 16:] == x[:, :16])

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Twelve free-running samples of each model, a row each; in the right half, orange where a bit is not the copy of that in the left half.", "name": "fig-seq-samples"}, "image": {"alt": "Two panels of twelve rows of 32 cells. Left, the GRU: most rows have orange cells in their right half. Right, attention: no or nearly no orange cell."}}
fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.5))
for ax, (name, (x, right)) in zip(axes, free.items(), strict=True):
    grey = 1 - 0.85 * x[:12].float()
    picture = torch.stack([grey] * 3, -1)
    picture[:, 16:][~right[:12]] = torch.tensor([0.84, 0.37, 0.0])
    ax.imshow(picture, aspect="auto")
    ax.set(xlabel="place in the sequence", yticks=[], ylabel=name)
    ax.grid(visible=False)

# %% tags=["check"]
excesses = {"GRU": copy_gru_ratios, "attention": copy_attention_ratios}
for name, (_, right) in free.items():
    valid = right.all(1).double()
    share = valid.mean().item()
    lowest = math.exp(-(excesses[name].mean() + 5 * standard_error(excesses[name])))
    error = math.sqrt(max(lowest * (1 - lowest), 1e-12) / len(valid))
    checks.at_least(
        f"{name}: share of true copies, at least exp(-KL)", share, lowest - 5 * error
    )

# %% [markdown]
r"""
An excess of 0.01 nats means that at least 99 of 100 free-running samples obey the rule; here free running can be bad only where the loss is.

Sampling often uses logits divided by a *temperature* $T$.
At $T \to 0$ the most probable symbol is taken each time.
It is a temperature for each symbol, not for the sequence: $q(x)^{1/T}$, normalised over sequences, is another distribution, since a symbol with a good continuation is worth more than its own probability says.

```{dropdown} A one-minute question: with a cache, sampling 32 symbols computes 32 places, as many as one training sequence. Why is training still much faster?
In training all 32 places are computed side by side, in one pass; in sampling each must wait for the one before.
```
"""

# %% tags=["check"]
log_p = markov_log_prob(eight)
whole = torch.softmax(log_p / 0.5, 0)  # the sequence at temperature 1/2
prefixes = [
    log_p.reshape(2**i, -1).logsumexp(1) for i in range(9)
]  # log p of i symbols
steps = [
    torch.log_softmax((prefixes[i + 1].reshape(-1, 2) - prefixes[i][:, None]) / 0.5, 1)
    for i in range(8)
]
each = sum(s.flatten().repeat_interleave(2 ** (7 - i)) for i, s in enumerate(steps))
checks.normalised("each symbol at temperature 1/2: a distribution", each)
distance = (whole - each.exp()).abs().sum() / 2
checks.at_least("total variation to the sequence at temperature 1/2", distance, 0.05)
x, _ = sample(dgm.float64(markov_attention), 100, LENGTH, temperature=1e-6)
checks.close("temperature near 0: all samples are one", x, x[:1].expand(100, -1))

# %% [markdown]
r"""
```{admonition} In one card
:class: dgm-card

**Remember**

- the loss is $\mathcal{H}[p] + \mathrm{KL}(p \Vert q)$ {eq}`eq-seq-excess`: with $p$ known, what is lost is known
- recurrence {eq}`eq-seq-recurrence`: one state, and gradients that are products {eq}`eq-seq-jacobian`
- attention {eq}`eq-seq-attention` with the mask $-\infty$ {eq}`eq-seq-mask`, and inputs that are shifted by one

**What it can do**

- **Likelihood:** exact, all conditionals at once.
- **Sampling:** symbol by symbol; one place a step with a cache.
- **Latent code:** none, but states and attention weights can be looked at.
- **What fails:** gradients that vanish over a long recurrence; any leak, which makes the loss look better than is possible.
```
"""

# %% [markdown]
r"""
## Exercises

Each exercise has a cell to fill in and a check that answers "not yet", "right", or says what is wrong.
The solutions are folded away; they run with the book and pass the same checks.

```{exercise-start} No two ones in a row (easy)
:label: ex-seq-golden
```
Write `entropy_rate(table)`, in nats per symbol: `table` has $2^m$ entries, the probability of a 1 after each block of $m$ bits in binary order, in double precision, with $m \geq 1$.
Then try a source that never writes two ones in a row, $m = 1$ with the table $(a, 0)$: the check draws your rate against $a$.
Where is it largest, and do you know the number?
```{exercise-end}
```
"""


# %% tags=["exercise"]
def entropy_rate(table):
    return None


# %% tags=["check"]
def check_entropy_rate(answer):
    if answer(p_one) is None:
        return print("not yet")
    checks.close("the source of this lecture", float(answer(p_one)), rate, rtol=1e-9)
    fair = torch.full((4,), 0.5, dtype=torch.float64)
    checks.close("fair bits: log 2", float(answer(fair)), math.log(2), rtol=1e-9)
    a = torch.linspace(0.01, 0.99, 197, dtype=torch.float64)
    rates = [float(answer(torch.stack([p, 0 * p]))) for p in a]
    golden = (1 + math.sqrt(5)) / 2
    # At most half a step of 0.005 from the maximum, where the curvature is 3.07: 0.96e-5.
    checks.close(
        "largest rate: log of the golden ratio", max(rates), math.log(golden), atol=1e-5
    )
    best = a[torch.tensor(rates).argmax()]  # on a grid with steps of 0.005
    checks.close("where: 1 / golden ratio squared", best, 1 / golden**2, atol=0.005)
    _, ax = plt.subplots(figsize=(7.0, 2.6))
    ax.plot(a, rates)
    ax.axvline(1 / golden**2, color="black", linestyle="--", linewidth=1)
    place = (1 / golden**2, 0.05)
    ax.annotate("1 / golden ratio squared", place, (6, 0), textcoords="offset points")
    ax.set(xlabel="probability a of a 1 after a 0", ylabel="nats per symbol")
    return print("right")


check_entropy_rate(entropy_rate)

# %% [markdown]
r"""
````{solution-start} ex-seq-golden
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "A curve of the entropy rate that rises from near zero to 0.48 where a is 0.382, marked by a dashed line, and falls again."}}
def entropy_rate(table):
    size = len(table)
    T = torch.zeros(size, size, dtype=torch.float64)
    for past in range(size):
        T[past, 2 * past % size] += 1 - table[past]
        T[past, (2 * past + 1) % size] += table[past]
    pi = torch.matrix_power(T, 10_000)[0]
    return pi @ entropy(torch.stack([table, 1 - table], 1))


check_entropy_rate(entropy_rate)

# %% [markdown]
r"""
The number of sequences of $n$ bits without two ones in a row is a Fibonacci number, which grows as the golden ratio to the power $n$; the source that uses all of them equally has the largest rate.
````{solution-end}
````

```{exercise-start} A recurrent network that copies, by hand (medium)
:label: ex-seq-register
```
Is a state of 16 numbers enough for the copy source?
Write `register()`, which returns `U`, `w` and `u` in double precision, of shapes (16, 16), (16,) and (16,), for the *linear* network $h_i = U h_{i-1} + w s_{i-1}$ with $h_0 = 0$, where $s = 0$ for the start and $s = \pm 1$ for a bit 1 or 0; the logit of $x_i = 1$ is $u \cdot h_i$.
The reward is its excess.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def register():
    return None


# %% tags=["check"]
def check_register(answer):
    if (found := answer()) is None:
        return print("not yet")
    U, w, u = (torch.as_tensor(part, dtype=torch.float64) for part in found)
    checks.true("shapes", (U.shape, w.shape, u.shape) == ((16, 16), (16,), (16,)))
    x = copy_source(1_000)
    s = 2.0 * x.double() - 1
    h, log_q = torch.zeros(1_000, 16).double(), 0.0
    for i in range(LENGTH):
        h = h @ U.T + (s[:, [i - 1]] * w if i else 0)
        log_q = log_q + F.logsigmoid(s[:, i] * (h @ u))
    excess = -log_q.mean() - COPY_ENTROPY
    checks.at_most("excess of the register, nats", excess, 1e-6)
    checks.at_least("and it does not cheat", excess, -1e-12)
    return print("right")


check_register(register)

# %% [markdown]
r"""
````{solution-start} ex-seq-register
:class: dropdown
````
"""


# %% tags=["solution"]
def register():
    U = torch.diag(torch.ones(15).double(), -1)  # each cell hands its bit to the next
    w, u = torch.zeros(16).double(), torch.zeros(16).double()
    w[0], u[15] = 1.0, 40.0
    return U, w, u


check_register(register)

# %% [markdown]
r"""
In the first half the last cell is empty, so that the logit is 0: a fair bit.
In the second half it holds the bit of 16 places before.
So the 32 state variables of the GRU are not what it lacks; it lacks a gradient that says so.
````{solution-end}
````

```{exercise-start} Find the leak (medium)
:label: ex-seq-leak
```
Write `first_leak(model, x)`: change one symbol $x_j$ at a time in the sequence `x` of shape (1, n), compare `model.log_probs`, and return the first pair $(i, j)$ with $j > i$, counted from 0, for which the probability of $x_i$ changes by more than $10^{-9}$, in the order $i = 0, 1, \dots$, then $j$; an empty tuple, `()`, if there is none.
The check has four models; one computes statistics over the whole sequence, a leak that no mask stops.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def first_leak(model, x):
    return None


# %% tags=["check"]
class Standardised(SequenceModel):
    def logits(self, e):
        return super().logits((e - e.mean(1, keepdim=True)) / e.std(1, keepdim=True))


class OneTooFar(SequenceModel):
    """Place 3 reads symbol 5 where it should read symbol 2, counted from 0."""

    def logits(self, e):
        return super().logits(torch.cat([e[:, :2], e[:, 5:6], e[:, 3:]], 1))


def check_first_leak(answer):
    torch.manual_seed(run.seed)
    cores = [Transformer(position_waves(8, 16), 1, 2, causal=c) for c in (True, False)]
    kinds = (SequenceModel, cores[0]), (SequenceModel, cores[1])
    kinds += (Standardised, cores[0]), (OneTooFar, cores[0])
    models = [kind(core, 2, 16).double() for kind, core in kinds]
    x = eight[[77]]
    with torch.no_grad():
        found = [answer(model, x) for model in models]
    if any(pair is None for pair in found):
        return print("not yet")
    for name, pair, right in zip(
        ("honest", "no mask", "standardised over the sequence", "one too far"),
        found,
        ((), (0, 1), (1, 2), (3, 5)),
        strict=True,
    ):
        checks.true(f"{name}: {right or 'no leak'}", tuple(pair) == right)
    return print("right")


check_first_leak(first_leak)

# %% [markdown]
r"""
````{solution-start} ex-seq-leak
:class: dropdown
````
"""


# %% tags=["solution"]
def first_leak(model, x):
    before = model.log_probs(x)
    num = x.shape[1]
    changes = torch.zeros(num, num)
    for j in range(num):
        other = x.clone()
        other[:, j] = 1 - x[:, j]
        changes[:, j] = (model.log_probs(other) - before).abs()[0]
    for i in range(num):
        for j in range(i + 1, num):
            if changes[i, j] > 1e-9:
                return (i, j)
    return ()


check_first_leak(first_leak)

# %% [markdown]
r"""
Unlike gradients this works for any program, also for one that can't be differentiated.
It does not see a place that reads its own target, $j = i$: then the probabilities of both values of $x_i$ do not sum to 1.
Statistics over the sequence let every place but the first see the future: batch normalisation over time is a leak of this kind.
````{solution-end}
````

```{exercise-start} The copy rule without training (hard)
:label: ex-seq-by-hand
```
With waves as positions one matrix says "15 places back".
Write `fifteen_back(length, width)`, the matrix $B$ for which $p_i^\top B\, p_j$, with $p$ the rows of `position_waves(length, width)`, depends on $i - j$ only and is largest at $i - j = 15$; double precision.
The reward is the attention matrix that it makes, beside the learned one.
```{exercise-end}
```
"""


# %% tags=["exercise"]
def fifteen_back(length, width):
    return None


# %% tags=["check"]
def check_fifteen_back(answer):
    if (B := answer(LENGTH, 32)) is None:
        return print("not yet")
    waves = position_waves(LENGTH, 32).double()
    scores = waves @ torch.as_tensor(B, dtype=torch.float64) @ waves.T
    diagonals = [scores.diagonal(-k) for k in range(LENGTH)]
    spread = max((d.max() - d.min()).item() for d in diagonals)
    # Waves in single precision: their angles err by up to 96 x 6e-8, each of 16 pairs.
    checks.at_most(
        "depends on i - j only", spread, 2e-4 * max(1.0, scores.abs().max().item())
    )
    heights = torch.stack([d.mean() for d in diagonals])
    checks.close("largest at i - j =", heights.argmax(), 15)
    future = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    scores = scores * 40 / heights.max()
    A = torch.softmax(scores.masked_fill(future, -math.inf), 1)
    checks.at_least("weight on 15 back", A[15:].diagonal().min(), 0.9)
    _, axes = plt.subplots(1, 2, figsize=(6.4, 3.0))
    for ax, matrix, name in zip(
        axes, (A, film_matrices[-1][1]), ("by hand", "learned"), strict=True
    ):
        ax.imshow(matrix, vmin=0, vmax=1, cmap="Oranges")
        ax.set(xlabel=name, xticks=[], yticks=[])
        ax.grid(visible=False)
    return print("right")


check_fifteen_back(fifteen_back)

# %% [markdown]
r"""
````{solution-start} ex-seq-by-hand
:class: dropdown
````
"""


# %% tags=["solution"] mystnb={"image": {"alt": "Two attention matrices side by side, by hand and learned. Both have a dark diagonal fifteen places below the main one."}}
def fifteen_back(length, width):
    frequencies = torch.logspace(
        math.log10(3), -math.log10(length), width // 2
    ).double()
    cos, sin = (15 * frequencies).cos().diag(), (15 * frequencies).sin().diag()
    return torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)])


check_fifteen_back(fifteen_back)

# %% [markdown]
r"""
$B$ rotates every pair of $p_j$ by the angle of 15 places, so that $p_i^\top B\, p_j = \sum_\omega \cos(\omega (i - j - 15))$: all waves are in phase at $i - j = 15$ only, as in a wave packet.
In the upper half of the matrix no place is 15 back, and what is read tells nothing about the next bit: there the two matrices may differ.
````{solution-end}
````

## Further

### A coin of unknown bias: learning without a change of weights

This unit adds a source from which one learns *while reading*, and the link to universal codes.
For each sequence a coin is made, with a bias $\theta$ that is uniform between 0 and 1, and tossed 32 times.
After $k$ ones in $n$ tosses the best prediction is Laplace's rule, and it is exact:

$$
p(x_{n+1} = 1 \mid x_{\leq n}) = \frac{k + 1}{n + 2},
\qquad
p(x) = \frac{1}{(n + 1) \binom{n}{k}} .
$$ (eq-seq-laplace)

No coin in hindsight beats this by more than $\log (n + 1)$ nats, whatever the sequence: such a code is called *universal* {cite:p}`krichevsky1981`.
**A trained network follows the rule: its weights stay, and it estimates the bias inside the sequence.**
One block *without positions* will do, since the order of the tosses says nothing: here the past is a bag.
"""


# %%
def coin_source(num_sequences):
    bias = torch.rand(num_sequences, 1)
    return (torch.rand(num_sequences, LENGTH) < bias).long()


def coin_log_prob(x):
    k, n = x.cpu().double().sum(1), x.shape[1]
    return torch.lgamma(k + 1) + torch.lgamma(n - k + 1) - math.lgamma(n + 2)


torch.manual_seed(run.seed)
coin_model = attention_model(positions=torch.zeros(LENGTH, 32)).to(run.device)
for _ in train(coin_model, coin_source, P.coin_steps):
    pass
coin_ratios = log_ratios(coin_model, coin_source, coin_log_prob)
coin_excess = run.record(
    "coin_source_attention_excess",
    coin_ratios.mean(),
    unit="nats",
    standard_error=standard_error(coin_ratios),
    protocol="mean of log p - log q over fresh sequences of 32 tosses of a coin with "
    "uniform bias, one block with one head, no positions, "
    f"{P.coin_steps:,} steps of 128 sequences",
)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "Probability of a 1 as a sequence is read, for three coins: the trained network (orange) and Laplace's rule (black, dashed).", "name": "fig-seq-coin"}, "image": {"alt": "Three pairs of curves over 32 tosses. All begin at one half; one pair rises, one stays in the middle, one falls. Orange and dashed black curves lie close together."}}
fig, ax = plt.subplots()
torch.manual_seed(run.seed + 1)
tosses = (torch.rand(3, LENGTH) < torch.tensor([[0.9], [0.5], [0.1]])).long()
with torch.no_grad():
    logits = coin_model.logits(coin_model.embed(tosses.to(run.device)))
network = torch.softmax(logits, -1)[..., 1].cpu()
before = torch.arange(LENGTH)
laplace = (tosses.cumsum(1) - tosses + 1) / (before + 2)
for ours, rule in zip(network, laplace, strict=True):
    ax.plot(before, ours, color=plotting.COLOURS[1])
    ax.plot(before, rule, "--", color="black", linewidth=1)
_ = ax.set(xlabel="tosses that were read", ylabel="probability of a 1", ylim=(0, 1))

# %% tags=["check"]
log_p = coin_log_prob(eight)
checks.normalised("Laplace's rule: p(x) over all 256 sequences", log_p)
k, before = eight.cumsum(1) - eight, torch.arange(8)
rule = torch.where(eight == 1, k + 1, before - k + 1).double() / (before + 2)
checks.close("p(x) = product of Laplace's rule", log_p, rule.log().sum(1), atol=1e-12)
ones = eight.double().sum(1) / 8
hindsight = -8 * entropy(torch.stack([ones, 1 - ones], 1))
checks.at_most(
    "nats lost to the best coin in hindsight", hindsight - log_p, math.log(9) + 1e-12
)
checks.close(
    "with equality for a run of ones",
    (hindsight - log_p).max(),
    math.log(9),
    rtol=1e-12,
)
checks.at_most("network, honest: nats below the entropy", -coin_ratios.sum(), 15)
if run.profile != "smoke":
    checks.at_most("guard: nats that the network loses", coin_excess, 0.1)

# %% [markdown]
r"""
### Digits as 196 symbols

This unit adds real data: a binarised digit is cut into 14 x 14 blocks of 2 x 2 pixels, each one of 16 symbols, and read row by row.
Model and training are those above; only the numbers are larger.
In the short profiles the two networks are tiny and see a few images, so that the code runs; the profile `full` trains them.
"""


# %%
def blocks_of(images):
    """Binary images (num, 784) as symbols 0 ... 15, shape (num, 196)."""
    bits = images.reshape(-1, 14, 2, 14, 2).permute(0, 1, 3, 2, 4).reshape(-1, 196, 4)
    return (bits.long() * torch.tensor([8, 4, 2, 1], device=bits.device)).sum(-1)


def images_of(blocks):
    """The inverse of `blocks_of`."""
    bits = blocks[..., None] // torch.tensor([8, 4, 2, 1], device=blocks.device) % 2
    grid = bits.reshape(-1, 14, 14, 2, 2).permute(0, 1, 3, 2, 4)
    return grid.reshape(-1, 784).float()


grey = torch.from_numpy(run.data.vectors("train"))[: P.digit_images].to(run.device)
test_images = dgm.data.binarise(
    run.data.vectors("test"), method="stochastic", rng=run.rng
)
digits = torch.from_numpy(test_images)[: P.digit_images].to(run.device)
positions = position_waves(196, P.digit_width)

# %% tags=["plot", "hide-input"] mystnb={"figure": {"caption": "A binarised digit, and the same digit as 196 symbols of 16 kinds, each in a shade of its own.", "name": "fig-seq-digit"}, "image": {"alt": "Left, a black and white digit of 28 by 28 pixels. Right, the same shape on a coarser grid of 14 by 14 cells in several shades."}}
fig, axes = plt.subplots(1, 2, figsize=(6.0, 3.0))
axes[0].imshow(digits[0].reshape(28, 28).cpu())
axes[1].imshow(blocks_of(digits[:1]).reshape(14, 14).cpu(), cmap="Blues")
for ax, name in zip(axes, ("784 pixels", "196 symbols"), strict=True):
    ax.set(xticks=[], yticks=[], xlabel=name)
    ax.grid(visible=False)

# %% tags=["hide-input"]
# Both networks for the digits, and their source
heads = max(1, P.digit_width // 32)
settings = dict(positions=positions, num_blocks=P.digit_blocks, num_heads=heads)
digit_gru = GRU(P.digit_width, 2 * P.digit_width)
digit_models = {
    "attention": attention_model(16, **settings),
    "gru": SequenceModel(digit_gru, 16, P.digit_width, 2 * P.digit_width),
}
steps_per_epoch = math.ceil(len(grey) / 128)


def digit_source(batch_size):
    """Blocks of random training images, binarised anew each time."""
    rows = torch.randint(len(grey), (batch_size,), device=grey.device)
    return blocks_of(torch.bernoulli(grey[rows]))


# %% tags=["hide-input"]
# Training on digits; test losses are recorded in the profile full
digit_nll = {}
for name, model in digit_models.items():
    model.to(run.device)
    epochs = P.digit_epochs if name == "attention" else max(1, P.digit_epochs // 6)
    steps = train(model, digit_source, epochs * steps_per_epoch, learning_rate=2e-3)
    for _ in dgm.progress(steps, f"{name}, digits", total=epochs * steps_per_epoch):
        pass
    with torch.no_grad():
        nll = torch.cat(
            [-model.log_prob(blocks_of(part)) for part in digits.split(250)]
        )
    digit_nll[name] = nll.mean().item()
    if run.profile == "full":
        run.record(
            f"digits_{name}_test_nll",
            nll.mean(),
            unit="nats",
            standard_error=standard_error(nll),
            protocol="2 x 2 blocks of pixels as 196 symbols, training images binarised anew "
            f"at each step, {epochs} epochs of {len(grey):,} images, {P.digit_width} "
            f"dimensions; all {len(digits):,} test images, static stochastic binarisation",
        )

# %% tags=["check"]
checks.close("blocks and back", images_of(blocks_of(digits)), digits)
if run.profile != "full":  # where many are drawn from few
    many = torch.unique(digit_source(4 * len(grey)), dim=0)
    share = len(many) / len(grey)
    checks.at_least(
        "binarised anew: different digits from each training digit", share, 2
    )
given = (digits <= grey[: len(digits)].ceil()).all(1).float().mean()
checks.at_most("test digits that training digits in their rows could give", given, 0.1)
corner = torch.zeros(1, 784)
corner[0, [1, 28]] = 1  # right above, left below
checks.close("bits of a block, row by row: 0110", blocks_of(corner)[0, 0], 6)
for name, model in digit_models.items():
    x, log_q = sample(model, 2, 196)
    checks.true(f"{name}: samples are images", images_of(x).shape == (2, 784))
    # A sum of 196 logarithms in single precision, each of a few nats.
    checks.close(f"{name}: log q of samples", log_q, model.log_prob(x), atol=2e-2)
if run.on_mnist and run.profile == "full":
    # The count table of ten neighbours in the lecture on divergences has 97.2 nats.
    checks.at_most("test loss of attention, nats", digit_nll["attention"], 97.2)

# %% [markdown]
r"""
### A digit in 28 rows

This unit shows what recurrence does on real data: the state is carried from row to row, 28 steps in place of 784.
Inside a row each pixel sees the state and the pixels on its left, by a triangular matrix, as in [FVSBN](autoregressive.ipynb).
"""


# %%
class RowByRow(nn.Module):
    """log p(image): a GRU reads rows; its state and the pixels on the left predict a row."""

    def __init__(self, width):
        super().__init__()
        self.gru = GRU(28, width)
        self.out, self.W = nn.Linear(width, 28), nn.Parameter(torch.zeros(28, 28))

    def logits(self, images):
        rows = images.reshape(-1, 28, 28)
        states, _ = self.gru(F.pad(rows, (0, 0, 1, 0))[:, :-1])  # row t sees rows < t
        return self.out(states) + rows @ self.W.triu(1)  # pixel j sees pixels i < j

    def log_prob(self, images):
        losses = F.binary_cross_entropy_with_logits(
            self.logits(images), images.reshape(-1, 28, 28), reduction="none"
        )
        return -losses.sum((1, 2))


def digits_anew(batch_size):
    rows = torch.randint(len(all_grey), (batch_size,))
    return torch.bernoulli(all_grey[rows])


all_grey = torch.from_numpy(run.data.vectors("train"))
by_rows = RowByRow(64).to(run.device)
for _ in train(by_rows, digits_anew, P.row_steps, learning_rate=5e-3):
    pass
shown = torch.from_numpy(test_images[: P.num_test]).to(run.device)
with torch.no_grad():
    row_nll = -by_rows.log_prob(shown)
print(f"{row_nll.mean():.1f} +/- {standard_error(row_nll):.1f} nats")

# %% tags=["check"]
probe, pixel = RowByRow(8).double(), 12 * 28 + 9
nn.init.normal_(probe.W)  # trained, it stays zero where pixels are always blank
x = torch.rand(1, 784, dtype=torch.float64).requires_grad_()
reached = torch.autograd.grad(probe.logits(x).flatten()[pixel], x)[0][0]
checks.at_most("row by row: gradient in later pixels", reached[pixel:].abs().max(), 0)
checks.true("and in all earlier ones", bool((reached[:pixel] != 0).all()))
if run.on_mnist and run.profile != "smoke":
    # The count table of two neighbours in the lecture on divergences has 118.7 nats.
    checks.at_most("test loss row by row, nats", row_nll.mean(), 118.7)

# %% [markdown]
r"""
### Symbols

What each letter stands for, and what it is called in the code.

| symbol | in code | meaning |
|---|---|---|
| $x_i$, $x_{<i}$ | `x` | symbol $i$ of a sequence, all symbols before it |
| $p$, $q$ | `..._log_prob`, `model.log_prob` | source, model |
| $\mathcal{H}[p]$, $h$, $h_m$ | `COPY_ENTROPY`, `rate`, `ladder` | entropy of a sequence, of a symbol given its past, given $m$ symbols |
| $\pi$ | `stationary` | probabilities of three bits in a row |
| $e$, $h_i$ | `e`, `h` | vector of a symbol; state, or vector at a place, that predicts symbol $i$ |
| $r$, $z$, $c$ | `r`, `z`, `c` | reset gate, update gate, candidate of the GRU |
| $J_i$ | | Jacobian of one step of the state |
| $q_i$, $k_j$, $v_j$ | `q`, `k`, `v` | query, key, value |
| $A_{ij}$, $M_{ij}$ | `weights`, `mask` | attention weight of place $j$ for place $i$; 0 or $-\infty$ |
| $p_i$, $R_k$ | `position_waves`, `turn` | waves of place $i$; rotation by $k$ places |
| $Z$ | `log_z` | sum of what a leaking network calls $q$ |
| $T$ | `temperature` | divides the logits |

## Reading


**What comes next:** [normalising flows](flows.ipynb), where the factors of the chain rule become maps of numbers.

**Reading:** {cite:t}`vaswani2017`, section 3; {cite:t}`pascanu2013` for gradients through time; {cite:t}`chen2020` for transformers on pixels.
The code of the sources is reviewed critically on the [errata page](../book/errata.md).
"""

# %% tags=["hide-input"]
# The end of the run
run.finish()

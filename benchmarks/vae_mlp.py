"""VAE of the lecture notes, 784-512-512-8 and 8-512-784, unit Gaussian noise, batch 128: one epoch of 60,000 images.

Textbook: a `DataLoader` with `ToTensor` and `Normalize`, Adam as it comes, distributions that validate arguments,
`item()` of every batch.  Ours: `dgm.models.vae.train`, the twin of the lecture's loop, images resident, fused Adam.
Both make the same products and the same objective.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from textbook_data import torchvision_mnist
from torch import nn
from torch.distributions import Normal, kl_divergence
from torchvision import transforms

from dgm.data import load_digits
from dgm.models.vae import VAE, GaussianHead, mlp, train

NAME = "vae_mlp"
BATCH_SIZE = 128


class TextbookVAE(nn.Module):
    """The model as a first program would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_1, self.hidden_2 = nn.Linear(784, 512), nn.Linear(512, 512)
        self.mean, self.log_std = nn.Linear(512, 8), nn.Linear(512, 8)
        self.up, self.out = nn.Linear(8, 512), nn.Linear(512, 784)

    def forward(self, x: torch.Tensor) -> tuple[Normal, Normal]:
        """p(x | z) and q(z | x)."""
        hidden = torch.relu(self.hidden_2(torch.relu(self.hidden_1(x))))
        q = Normal(self.mean(hidden), torch.exp(self.log_std(hidden)))
        mean = torch.tanh(self.out(torch.relu(self.up(q.rsample()))))
        return Normal(mean, torch.ones_like(mean)), q


def epochs() -> tuple[Callable[[], None], Callable[[], None], float]:
    """One epoch of our loop, one of the textbook's, and the floating-point operations of the products in ours."""
    torch.manual_seed(0)
    from_minus_half = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 1)])
    dataset = torchvision_mnist(from_minus_half)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    images = torch.from_numpy(load_digits().vectors("train+valid")) - 0.5
    decoder = nn.Sequential(*mlp(8, 512, 784), nn.Tanh())
    ours, theirs = VAE(mlp(784, 512, 512, 16), decoder, GaussianHead(1.0)), TextbookVAE()
    optimiser = torch.optim.Adam(theirs.parameters(), 1e-3)

    def our_epoch() -> None:
        list(train(ours, lambda rows: -ours.elbo(images[rows]), len(images), 1, batch_size=BATCH_SIZE))

    def textbook_epoch() -> None:
        for batch, _ in loader:
            x = batch.view(-1, 784)
            optimiser.zero_grad()
            p, q = theirs(x)
            log_likelihood = p.log_prob(x).sum(-1).mean()
            kl = kl_divergence(q, Normal(0, 1.0)).sum(-1).mean()
            loss = kl - log_likelihood
            loss.backward()
            optimiser.step()
            loss.item()

    # Per image and weight: once forwards, twice backwards; no gradient with respect to the image.
    first, others = 784 * 512, 512 * 512 + 512 * 16 + 8 * 512 + 512 * 784
    flops = 2 * (2 * first + 3 * others) * len(images)
    return our_epoch, textbook_epoch, flops

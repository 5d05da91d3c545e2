"""Langevin steps on the energy of MNIST images, batch 64: 50 chains of 20 steps.

Textbook: the loop that programs after Du and Mordatch print, with `requires_grad` on the images, `backward` on the sum
of the energies, frozen parameters, noise and gradient added in place, walls by clamping.  Ours: `dgm.samplers.langevin`
with `score_of`, the twins of the lectures, walls by folding.  Both make the same number of network calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import torch

from dgm.models.energy import ImageEnergy, fold
from dgm.samplers import langevin, score_of

NAME = "energy_langevin"
BATCH_SIZE, NUM_CHAINS, NUM_STEPS, STEP_SIZE = 64, 50, 20, 5e-4


def epochs() -> tuple[Callable[[], None], Callable[[], None], float]:
    """Our chains, the textbook's, and the floating-point operations of the products in ours."""
    torch.manual_seed(0)
    energy = ImageEnergy()
    score = score_of(energy)

    def our_chains() -> None:
        for _ in range(NUM_CHAINS):
            chain = langevin(torch.rand(BATCH_SIZE, 784), score, STEP_SIZE)
            fold(next(islice(chain, NUM_STEPS - 1, None)))

    def textbook_chains() -> None:
        for parameter in energy.parameters():
            parameter.requires_grad = False
        for _ in range(NUM_CHAINS):
            images = torch.rand(BATCH_SIZE, 784, requires_grad=True)
            noise = torch.empty(BATCH_SIZE, 784)
            for _ in range(NUM_STEPS):
                noise.normal_(0, math.sqrt(2 * STEP_SIZE))
                images.data.add_(noise)
                images.data.clamp_(0, 1)
                energy(images).sum().backward()
                images.data.add_(images.grad, alpha=-STEP_SIZE)
                images.grad.zero_()
                images.data.clamp_(0, 1)
        for parameter in energy.parameters():
            parameter.requires_grad = True

    # Per image: both hidden layers forwards, and the same backwards to the image.
    flops = 2 * 2 * (784 * 512 + 512 * 256) * BATCH_SIZE * NUM_STEPS * NUM_CHAINS
    return our_chains, textbook_chains, flops

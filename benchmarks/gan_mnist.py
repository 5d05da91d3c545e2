"""GAN of the lecture notes, generator 20-100-784 and discriminator 784-100-1, batch 64: one epoch of 60,000 images.

Textbook: the loop of Raschka et al. 2022, chapter 17: a `DataLoader` with `ToTensor` and `Normalize`, a sigmoid and
`BCELoss`, a pass for each kind of image, fakes that are not detached, `item()` of every batch.  Ours:
`dgm.models.gan.train` with `step_by_hand`, twins of the lecture's.  Both make the same updates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from textbook_data import torchvision_mnist
from torch import nn
from torchvision import transforms

from dgm.data import load_digits
from dgm.models.gan import make_discriminator, make_generator, sample_codes, step_by_hand, train

NAME = "gan_mnist"
BATCH_SIZE = 64


def epochs() -> tuple[Callable[[], None], Callable[[], None], float]:
    """One epoch of our loop, one of the textbook's, and the floating-point operations of the products in ours."""
    torch.manual_seed(0)
    to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    dataset = torchvision_mnist(to_range)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    images = 2 * torch.from_numpy(load_digits().vectors("train+valid")) - 1
    ours = make_generator(20, 100), make_discriminator(100)
    generator = make_generator(20, 100)
    discriminator = nn.Sequential(*list(make_discriminator(100))[:-1], nn.Sigmoid())
    g_optimiser = torch.optim.Adam(generator.parameters())
    d_optimiser = torch.optim.Adam(discriminator.parameters())
    loss_function = nn.BCELoss()

    def codes(num_codes: int) -> torch.Tensor:
        return sample_codes(num_codes, 20)

    def our_epoch() -> None:
        list(train(*ours, images, 1, codes=codes, batch_size=BATCH_SIZE, one_step=step_by_hand))

    def train_discriminator(x: torch.Tensor) -> None:
        discriminator.zero_grad()
        real = discriminator(x)
        real_loss = loss_function(real, torch.ones(len(x), 1))
        fake = discriminator(generator(sample_codes(len(x), 20)))
        loss = real_loss + loss_function(fake, torch.zeros(len(x), 1))
        loss.backward()
        d_optimiser.step()
        loss.item(), real.detach().mean(), fake.detach().mean()

    def train_generator(x: torch.Tensor) -> None:
        generator.zero_grad()
        fake = discriminator(generator(sample_codes(len(x), 20)))
        loss = loss_function(fake, torch.ones(len(x), 1))
        loss.backward()
        g_optimiser.step()
        loss.item()

    def textbook_epoch() -> None:
        for batch, _ in loader:
            x = batch.view(-1, 784)
            train_discriminator(x)
            train_generator(x)

    # Per image of a batch: D forwards on three, its weights backwards on two, its input backwards on one; the last
    # layer of G, of the same size, forwards on two, backwards on one.
    flops = 2 * (784 * 100 * (3 + 2 + 1) + 784 * 100 * (2 + 2)) * len(images)
    return our_epoch, textbook_epoch, flops

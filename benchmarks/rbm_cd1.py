"""RBM, CD-1, 784 visible and 500 hidden units, batch 64: one epoch of 60,000 images.

Textbook: a `DataLoader` with `ToTensor`, the chain inside automatic differentiation, the gradient of F(v) - F(v1) by
`backward`, plain SGD.  Ours: `dgm.models.rbm.train`, the twin of the lecture's loop, without centring and with a
constant rate, on pixels that are drawn anew at the start of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from textbook_data import torchvision_mnist
from torch import nn

from dgm.data import load_digits
from dgm.models.rbm import RBM, train

NAME = "rbm_cd1"
BATCH_SIZE, LEARNING_RATE = 64, 0.1


class TextbookRBM(nn.Module):
    """The machine as a first program would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(500, 784))
        self.visible_bias = nn.Parameter(torch.zeros(784))
        self.hidden_bias = nn.Parameter(torch.zeros(500))

    def draw(self, probability: torch.Tensor) -> torch.Tensor:
        """Zeros and ones by the sign of a difference: what the lecture notes do."""
        return torch.relu(torch.sign(probability - torch.rand(probability.size())))

    def up(self, v: torch.Tensor) -> torch.Tensor:
        """Sample the hidden units."""
        return self.draw(torch.sigmoid(nn.functional.linear(v, self.weight, self.hidden_bias)))

    def down(self, h: torch.Tensor) -> torch.Tensor:
        """Sample the visible units."""
        return self.draw(torch.sigmoid(nn.functional.linear(h, self.weight.t(), self.visible_bias)))

    def free_energy(self, v: torch.Tensor) -> torch.Tensor:
        """Mean free energy of a batch."""
        hidden = nn.functional.linear(v, self.weight, self.hidden_bias)
        return -(v @ self.visible_bias + hidden.exp().add(1).log().sum(1)).mean()


def epochs() -> tuple[Callable[[], None], Callable[[], None], float]:
    """One epoch of our loop, one of the textbook's, and the floating-point operations of the products in ours."""
    torch.manual_seed(0)
    dataset = torchvision_mnist(torchvision.transforms.ToTensor())
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    images = torch.from_numpy(load_digits().vectors("train+valid"))
    ours, theirs = RBM(784, 500), TextbookRBM()
    optimiser = torch.optim.SGD(theirs.parameters(), LEARNING_RATE)

    x = torch.empty_like(images)

    def our_epoch() -> None:
        torch.lt(x.uniform_(), images, out=x)
        rates = {"learning_rate": LEARNING_RATE, "final_learning_rate": LEARNING_RATE}
        list(train(ours, x, epochs=1, batch_size=BATCH_SIZE, persistent=False, centred=False, **rates))

    def textbook_epoch() -> None:
        for batch, _ in loader:
            v = batch.view(-1, 784).bernoulli()
            v_1 = theirs.down(theirs.up(v))
            theirs.up(v_1)  # each sweep of the notes ends with hidden units that CD-1 never uses
            loss = theirs.free_energy(v) - theirs.free_energy(v_1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    # Per image: h and v of the chain, hidden probabilities of data and sample, and two outer products.
    flops = 6 * 2 * 784 * 500 * len(images)
    return our_epoch, textbook_epoch, flops

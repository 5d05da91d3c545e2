"""Draw the picture of the README and the front page: `python figures/fantasies.py` writes fantasies.png (a minute).

Digits that a restricted Boltzmann machine produces from noise, trained and sampled as in the lecture `rbm`.
"""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dgm.data import binarise, load_digits
from dgm.models.rbm import RBM, gibbs, train
from dgm.plotting import tile

ROWS, COLUMNS, SCALE = 3, 14, 2


def draw() -> Image.Image:
    """Pixel probabilities of chains after 1,000 sweeps; the first of a fixed seed, none chosen."""
    torch.manual_seed(0)
    digits = load_digits()
    if digits.warning:
        raise SystemExit(digits.warning)
    images = binarise(digits.vectors("train+valid"), method="stochastic", rng=np.random.default_rng(0))
    x = torch.from_numpy(images)
    rbm = RBM(784, 500).requires_grad_(False)
    rbm.b.copy_(torch.logit(x.mean(0).clamp(1 / len(x), 1 - 1 / len(x))))
    for epoch, _, _ in train(rbm, x, epochs=12, batch_size=100, learning_rate=0.1):
        print(f"epoch {epoch}")
    noise = torch.bernoulli(torch.full((ROWS * COLUMNS, 784), 0.5))
    v = next(islice(gibbs(rbm, noise), 999, None))
    means = torch.sigmoid(rbm.visible_logits(torch.sigmoid(rbm.hidden_logits(v))))
    ink = tile(means.reshape(-1, 28, 28).numpy(), columns=COLUMNS, padding=4)
    picture = Image.fromarray((255 * (1 - ink)).astype(np.uint8))
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("fantasies.png"), optimize=True)

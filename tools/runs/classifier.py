"""Train the classifier that judges samples, and write its weights with `python -m tools.runs.classifier`.

It learns from the first 50,000 images of the training file.  Weights are kept in half precision; the accuracies it
prints are those of what was saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from dgm.classifier import WEIGHTS, Classifier, load
from dgm.data import load_digits

BATCH_SIZE = 128


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images moved by the same random number of pixels, at most 2 in each direction: cheap augmentation."""
    down, right = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return images.view(-1, 28, 28).roll((down, right), (-2, -1)).flatten(1)


def train(x: Tensor, y: Tensor, *, epochs: int, seed: int) -> Classifier:
    """Minimise the cross-entropy by Adam, with a rate that falls to zero."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    classifier = Classifier()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    num_steps = epochs * (len(x) // BATCH_SIZE + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=num_steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).split(BATCH_SIZE):
            loss = F.cross_entropy(classifier(shifted(x[rows], generator)), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1}: cross-entropy {total / len(x):.4f} nats")
    return classifier


def main() -> None:
    """Train, save, load again, print the accuracies of what was saved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    digits = load_digits()
    if digits.warning:
        raise SystemExit(f"expected MNIST, got: {digits.warning}")

    def part(name: str) -> tuple[Tensor, Tensor]:
        rows = {"train": slice(50_000), "valid": slice(50_000, None), "test": slice(None)}[name]
        labels = digits.test_labels if name == "test" else digits.labels
        return torch.tensor(digits.vectors(name)), torch.tensor(labels[rows], dtype=torch.long)

    classifier = train(*part("train"), epochs=options.epochs, seed=options.seed)
    save_file({name: weight.half() for name, weight in classifier.state_dict().items()}, options.output)
    classifier = load(path=options.output)
    for name in ("train", "valid", "test"):
        x, y = part(name)
        print(f"{name}: accuracy {(classifier(x).argmax(-1) == y).float().mean().item():.4f}")
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Our own small MNIST classifier, whose features and labels judge samples.  PyTorch.

`tools/runs/classifier.py` trained the weights beside this file.  Its features mean nothing outside this book: compare
distances in them with one another, never with published ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["NUM_FEATURES", "WEIGHTS", "Classifier", "load"]

NUM_FEATURES = 64
WEIGHTS = Path(__file__).with_name("classifier.safetensors")


class Classifier(nn.Module):
    """Logits of the ten digits, from two convolutions of stride 2 and one hidden layer, whose values are the features.

    Images have shape (num_images, 784) or (num_images, 1, 28, 28), with values from 0, background, to 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, NUM_FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(NUM_FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """Values of the hidden layer, shape (num_images, NUM_FEATURES), none negative.

        Raises:
            ValueError: another shape, or pixels outside [0, 1].
        """
        if images.shape[1:] not in ((784,), (1, 28, 28)):
            raise ValueError(f"images: expected shape (num_images, 784 or 1, 28, 28), got {tuple(images.shape)}")
        if len(images) and not bool(((images >= 0) & (images <= 1)).all()):
            low, high = images.min().item(), images.max().item()
            raise ValueError(f"images: expected pixels from 0 to 1, got {low:.3g} to {high:.3g}")
        return self.body(images.reshape(-1, 1, 28, 28))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (num_images, 10)."""
        return self.head(self.features(images))


def load(device: str | torch.device = "cpu", *, path: Path = WEIGHTS) -> Classifier:
    """The trained classifier in eval mode, its parameters frozen: gradients reach images, not weights.

    Raises:
        ValueError: the file holds no weights, or those of another network.
    """
    classifier = Classifier()
    try:
        weights = load_file(path)
        classifier.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: expected the weights of a Classifier: {error}") from error
    return classifier.requires_grad_(False).eval().to(device)

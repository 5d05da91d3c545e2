"""A small U-Net for 28 x 28 images, with a time and a label.  PyTorch.  Taught in the lecture `diffusion_mnist`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResidualBlock", "UNet", "mixed_precision", "time_features"]


def time_features(time: Tensor, num_features: int) -> Tensor:
    """Cosines and sines of time at frequencies from 1 to 1000 radians, evenly spaced on a logarithmic scale.

    Args:
        time: from 0, data, to 1, noise, shape (num_examples,).
        num_features: even.

    Returns:
        Shape (num_examples, num_features).
    """
    frequencies = torch.logspace(0, 3, num_features // 2, device=time.device)
    angles = time[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResidualBlock(nn.Module):
    """x + f(x, c): two 3 x 3 convolutions, between which a linear map of the condition c shifts every channel.

    The second convolution starts at zero, so that the block starts as the identity (or, where the number of channels
    changes, as a 1 x 1 convolution).

    Args:
        num_in: channels of the input, a multiple of 8.
        num_out: channels of the output, a multiple of 8.
        condition_dim: numbers in the condition of one example.
    """

    def __init__(self, num_in: int, num_out: int, condition_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, num_in)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, padding=1)
        self.shift = nn.Linear(condition_dim, num_out)
        self.norm2 = nn.GroupNorm(8, num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1)
        self.skip = nn.Identity() if num_in == num_out else nn.Conv2d(num_in, num_out, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, num_in, height, width) and (n, condition_dim) to (n, num_out, height, width)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.shift(condition)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class UNet(nn.Module):
    """Prediction from a noised image, its time and its label, of the shape of the image; 0 before training.

    The image of 28 x 28 is folded to 14 x 14 with 4 channels, halved once more to 7 x 7, and brought back; what
    the finer grid knows goes around the coarser one.

    Args:
        width: channels at 14 x 14, a multiple of 8; twice as many at 7 x 7.
        num_classes: labels 0 ... num_classes - 1; the label num_classes means "not told".
        condition_dim: numbers that carry time and label.
    """

    def __init__(self, width: int, *, num_classes: int = 10, condition_dim: int = 128) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.of_time = nn.Sequential(nn.Linear(64, condition_dim), nn.SiLU(), nn.Linear(condition_dim, condition_dim))
        self.of_label = nn.Embedding(num_classes + 1, condition_dim)
        self.enter = nn.Conv2d(4, width, 3, padding=1)
        self.fine = ResidualBlock(width, width, condition_dim)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse1 = ResidualBlock(2 * width, 2 * width, condition_dim)
        self.coarse2 = ResidualBlock(2 * width, 2 * width, condition_dim)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge = ResidualBlock(2 * width, width, condition_dim)
        self.leave = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 4, 3, padding=1))
        nn.init.zeros_(self.leave[-1].weight)
        nn.init.zeros_(self.leave[-1].bias)

    def forward(self, xt: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """(n, 1, 28, 28), time in [0, 1] of shape (n,), whole labels of shape (n,); to (n, 1, 28, 28)."""
        condition = F.silu(self.of_time(time_features(time, 64)) + self.of_label(labels))
        fine = self.fine(self.enter(F.pixel_unshuffle(xt, 2)), condition)
        h = self.coarse1(self.down(fine), condition)
        h = self.up(self.coarse2(h, condition))
        h = self.merge(torch.cat([h, fine], dim=1), condition)
        return F.pixel_shuffle(self.leave(h), 2)


def mixed_precision(device: str | torch.device) -> torch.autocast:
    """A context in which convolutions compute in bfloat16, where the device has instructions for it; else no change.

    bfloat16 keeps 8 bits of the mantissa and the exponent of float32.  Weights, sums and what follows stay float32.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        # Older versions of torch do not tell; without instructions bfloat16 is emulated, and slower.
        capabilities = getattr(torch.cpu, "get_capabilities", dict)() if kind == "cpu" else {}
        fast = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.autocast(kind, torch.bfloat16, enabled=fast)

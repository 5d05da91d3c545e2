"""MNIST as textbook programs open it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets import MNIST

from dgm.data import fetch_mnist


def torchvision_mnist(transform: Callable) -> MNIST:
    """The training images in a folder of their own, because torchvision unpacks the files beside themselves."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    shutil.copytree(fetch_mnist(), Path(folder) / "MNIST" / "raw")
    return MNIST(folder, transform=transform, download=True)

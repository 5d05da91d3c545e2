"""Data as NumPy arrays: MNIST where it can be had, an embedded substitute where not, and 2-D toys.  No framework."""

from __future__ import annotations

import gzip
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgm._download import DataError, MirrorsFailed, fetch, sha256
from dgm._toys import GaussianMixture, grid_of_gaussians, ring_of_gaussians

__all__ = [
    "DataError",
    "Digits",
    "GaussianMixture",
    "MirrorsFailed",
    "binarise",
    "dequantise",
    "fetch_mnist",
    "grid_of_gaussians",
    "load_digits",
    "read_idx",
    "ring_of_gaussians",
]

# The first is where torchvision looks too; the second is kept by the Common Visual Data Foundation.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FILES = {  # name: SHA-256 of the official compressed file
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


@dataclass(frozen=True)
class Digits:
    """Images of handwritten digits.

    Attributes:
        name: `MNIST` or `digits` (the embedded substitute).
        images: the official training file, uint8 of shape (num_images, 28, 28), 0 is paper and 255 is ink.
        labels: uint8 of shape (num_images,).
        test_images, test_labels: the official test file; for the last number of a lecture only.
        num_train: how many of `images` are for training where a lecture needs images for choices: the rest.
        warning: what a reader must know of these data, empty for MNIST.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_train: int
    warning: str = ""

    def vectors(self, part: str) -> np.ndarray:
        """Grey values in [0, 1], float32 of shape (num_images, 784).

        Args:
            part: `train` (the first 50,000 of MNIST), `valid` (the last 10,000 of the training file), `train+valid`
                (all 60,000) or `test`.

        Raises:
            ValueError: an unknown part.
        """
        parts = {
            "train": self.images[: self.num_train],
            "valid": self.images[self.num_train :],
            "train+valid": self.images,
            "test": self.test_images,
        }
        if part not in parts:
            raise ValueError(f"part: expected one of {', '.join(parts)}, got {part!r}")
        return parts[part].reshape(-1, 28 * 28).astype(np.float32) / 255


def data_folder() -> Path:
    """Where data live: `DGM_DATA`, else the user's cache folder."""
    if named := os.environ.get("DGM_DATA"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path  # not pooch's, whose import brings tqdm's warning into the page

    return user_cache_path("dgm")


def fetch_mnist(folder: str | Path | None = None, *, mirrors: tuple[str, ...] = MIRRORS, timeout: float = 20) -> Path:
    """Make sure that the four official MNIST files lie, verified, in `folder/MNIST/raw`, and return that folder.

    This is torchvision's layout: `torchvision.datasets.MNIST(folder, download=True)` opens the same files.  A file
    whose checksum is right is used as it is and never written to; any other is replaced in one step.

    Args:
        folder: default `DGM_DATA`, else the user's cache folder.
        mirrors: addresses that a file name is appended to, tried in order.
        timeout: seconds to wait for a mirror's next bytes.

    Raises:
        MirrorsFailed: no mirror gave the right file; the message has each one's reason.
        DataError: the folder can't be written to, or is `MNIST` or `MNIST/raw` itself.
    """
    folder = Path(folder or data_folder()).expanduser()
    raw = folder / "MNIST" / "raw"
    for inner, above in ((folder, folder.parent.parent), (folder / "raw", folder.parent)):
        if inner.parts[-2:] == ("MNIST", "raw") and all((inner / name).is_file() for name in FILES):
            raise DataError(f"expected a folder that has the data in MNIST/raw, got {folder}: set DGM_DATA to {above}")
    for name, digest in FILES.items():
        if sha256(raw / name) != digest:
            fetch(raw / name, digest, [mirror + name for mirror in mirrors], timeout=timeout)
    return raw


def load_digits(folder: str | Path | None = None, *, mirrors: tuple[str, ...] = MIRRORS, timeout: float = 20) -> Digits:
    """MNIST, or scikit-learn's embedded digits where no mirror can be reached; `warning` then says so, loudly.

    Where `DGM_DATASET` names one of the two, that one is taken and nothing is downloaded: the build of the book decides
    once, and its kernels must not decide again.

    Args: as of `fetch_mnist`.

    Raises:
        DataError: the folder can't be written to, or `DGM_DATASET` asks for MNIST and the folder has none.
        ValueError: `DGM_DATASET` names no data set.
    """
    wanted = os.environ.get("DGM_DATASET")
    if wanted not in (None, "", "MNIST", "digits"):
        raise ValueError(f"DGM_DATASET: expected MNIST or digits, got {wanted!r}")
    if wanted == "digits":
        return _embedded_digits("DGM_DATASET asks for them.")
    try:
        if wanted:
            mirrors = ()
        raw = fetch_mnist(folder, mirrors=mirrors, timeout=timeout)
    except MirrorsFailed as error:
        if wanted:
            raise
        return _embedded_digits(str(error))
    arrays = [read_idx(raw / name) for name in FILES]
    return Digits("MNIST", *arrays, num_train=50_000)


def read_idx(path: str | Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes: magic number 0x0000080d with d dimensions, their sizes, the bytes.

    Raises:
        DataError: the file is not what its header says.
    """
    try:
        content = gzip.decompress(Path(path).read_bytes())
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise DataError(f"{path}: expected a gzipped IDX file, got {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{path}: expected the IDX magic number 00 00 08, got {content[:3].hex(' ')!r}")
    num_dims = content[3]
    start = 4 + 4 * num_dims
    shape = struct.unpack(f">{num_dims}I", content[4:start]) if len(content) >= start else ()
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path}: expected {shape} bytes, got {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _embedded_digits(reason: str) -> Digits:
    """scikit-learn's 1,797 digits of 8x8, enlarged to 20x20 and centred in 28x28 as MNIST's are."""
    from PIL import Image
    from sklearn.datasets import load_digits as load_8x8

    small = load_8x8()
    grey = np.clip(small.images * (255 / 16), 0, 255).astype(np.uint8)
    images = np.zeros((len(grey), 28, 28), np.uint8)
    for image, digit in zip(images, grey, strict=True):
        image[4:24, 4:24] = Image.fromarray(digit).resize((20, 20), Image.Resampling.BICUBIC)
    warning = (
        "*** NOT MNIST ***  No MNIST files were found and none could be downloaded, so this run uses scikit-learn's\n"
        f"{len(images):,} embedded digits, enlarged from 8x8.  Exact checks hold; published numbers do not apply.\n"
        f"{reason}"
    )
    labels = small.target.astype(np.uint8)
    return Digits("digits", images[:1297], labels[:1297], images[1297:], labels[1297:], num_train=1097, warning=warning)


def _check_grey(images: np.ndarray) -> np.ndarray:
    """`images` as float32 grey values in [0, 1], from bytes or from such floats."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images: expected uint8, or floats in [0, 1], got {images.dtype}")
    if images.size and not (np.min(images) >= 0 and np.max(images) <= 1):  # false for NaN too
        raise ValueError(f"images: expected grey values in [0, 1], got [{np.min(images)}, {np.max(images)}]")
    return images.astype(np.float32)


def binarise(images: np.ndarray, *, method: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """Black and white images, float32 of the same shape, each pixel 0 or 1.

    Which method was used changes a log-likelihood by tens of nats: state it with every number.

    Args:
        images: uint8, or floats in [0, 1].
        method: `stochastic`, a pixel is 1 with its grey value as probability (needs `rng`), or `threshold`, a pixel is
            1 when its grey value exceeds 0.5.
        rng: for `stochastic`.

    Raises:
        ValueError: an unknown method, no `rng` where one is needed, wrong dtype, values outside [0, 1] or NaN.
    """
    grey = _check_grey(images)
    if method == "threshold":
        return (grey > 0.5).astype(np.float32)
    if method != "stochastic":
        raise ValueError(f"method: expected 'stochastic' or 'threshold', got {method!r}")
    if rng is None:
        raise ValueError("rng: expected a numpy.random.Generator for stochastic binarisation, got None")
    return (rng.random(grey.shape, dtype=np.float32) < grey).astype(np.float32)


def dequantise(images: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """(x + u) / 256 with u uniform on [0, 1): bytes as a density on [0, 1), float64 of the same shape.

    Dividing by 255 instead would let values exceed 1.

    Raises:
        ValueError: `images` are no bytes.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"images: expected uint8, got {images.dtype}")
    return (images + rng.random(images.shape)) / 256

"""Plots, films and tables: arrays in, `Axes` out.  No model calls, no `plt.show`, no titles: captions do that."""

from __future__ import annotations

import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from dgm._film import Film, film, slider
from dgm._table import Table, table

__all__ = [
    "COLOURS",
    "Film",
    "Table",
    "apply_style",
    "density_map",
    "film",
    "image_grid",
    "point_cloud",
    "reference_line",
    "slider",
    "table",
    "tile",
]

# Okabe and Ito's colours, told apart by readers with any colour vision; black is left for reference lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def apply_style() -> None:
    """One look for every figure of the book: matplotlib's own defaults, whatever a matplotlibrc says, and ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that matplotlib means to give up
        plt.rcdefaults()
    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.figsize": (7.0, 3.4),
            "font.size": 11,
            "grid.alpha": 0.25,
            "image.cmap": "gray_r",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


def tile(images: Any, *, columns: int, padding: int = 2, background: float = 0.0) -> np.ndarray:
    """One picture from many: `images` of shape (num_images, height, width) row by row, `columns` to a row.

    Raises:
        ValueError: no images, a wrong number of dimensions, NaN, or `columns` below 1.
    """
    images = np.asarray(images)
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images: expected (num_images, height, width) with at least one image, got {images.shape}")
    if np.isnan(images).any():
        raise ValueError(f"images: expected numbers, got {int(np.isnan(images).sum())} NaN")
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    num_images, height, width = images.shape
    rows = -(-num_images // columns)
    sheet = np.full((rows * (height + padding) - padding, columns * (width + padding) - padding), background)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + padding), (i % columns) * (width + padding)
        sheet[top : top + height, left : left + width] = image
    return sheet


def image_grid(
    images: Any, *, columns: int, ax: Axes | None = None, symmetric: bool = False, limit: float | None = None
) -> Axes:
    """Draw many small pictures side by side.

    Args:
        images: of shape (num_images, height, width), or (num_images, 784) for digits; grey values in [0, 1], ink is 1.
        columns: pictures to a row.
        ax: where to draw; default a new figure.
        symmetric: for weights of both signs: blue is negative, white is zero, red is positive.
        limit: the value of full colour, with `symmetric`; default the 99.5th percentile of |images|.

    Raises:
        ValueError: see `tile`.
    """
    images = np.asarray(images)
    if images.ndim == 2 and images.shape[1] == 784:
        images = images.reshape(-1, 28, 28)
    sheet = tile(images, columns=columns, background=0.0 if symmetric else 0.15)
    ax = ax or plt.subplots()[1]
    if symmetric:
        limit = limit or float(np.percentile(np.abs(images), 99.5)) or 1.0  # all zero: white
        ax.imshow(sheet, cmap="RdBu_r", vmin=-limit, vmax=limit)
    else:
        ax.imshow(sheet, vmin=0, vmax=1)
    ax.set_axis_off()
    return ax


def _plane(ax: Axes | None, view: float) -> Axes:
    """Axes for a square of the plane around the origin, without ticks and frame."""
    ax = ax or plt.subplots()[1]
    ax.set(aspect="equal", xlim=(-view, view), ylim=(-view, view), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return ax


def density_map(log_density: Any, *, half_width: float = 5.0, view: float = 3.6, ax: Axes | None = None) -> Axes:
    """A density in the plane, dark where it is high; it has a scale of its own, and need not be normalised.

    Args:
        log_density: at the points of a square grid around the origin, the first coordinate slow, in one vector.
        half_width: of the square that the grid covers.
        view: half the width of what is shown.
        ax: where to draw; default a new figure.

    Raises:
        ValueError: the length is no square.
    """
    values = np.asarray(log_density, dtype=float)
    side = round(values.size**0.5)
    if values.ndim != 1 or side**2 != values.size:
        raise ValueError(f"log_density: expected a vector with a square number of entries, got {values.shape}")
    picture = np.exp(values - values.max()).reshape(side, side).T
    edge = half_width * (1 + 1 / (side - 1)) if side > 1 else half_width
    ax = _plane(ax, view)
    ax.imshow(picture, extent=(-edge, edge, -edge, edge), origin="lower", interpolation="bilinear")
    ax.set(xlim=(-view, view), ylim=(-view, view))
    return ax


def point_cloud(points: Any, *, colour: str = COLOURS[0], view: float = 3.6, ax: Axes | None = None) -> Axes:
    """Points in the plane, of shape (num_points, 2), on the same square as `density_map`."""
    ax = _plane(ax, view)
    ax.plot(*np.asarray(points).T, ".", color=colour, markersize=2)
    return ax


def reference_line(ax: Axes, value: float, label: str, *, side: str = "right") -> Axes:
    """A dashed black line at `value` with its name on it: the entropy, a baseline, log 2, ...

    Raises:
        ValueError: `side` is neither `left` nor `right`.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: expected 'left' or 'right', got {side!r}")
    ax.axhline(value, color="black", linestyle="--", linewidth=1)
    inwards = -1 if side == "right" else 1
    place = {"xycoords": ("axes fraction", "data"), "xytext": (5 * inwards, 4), "textcoords": "offset points"}
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}  # lines of the grid run behind it
    ax.annotate(label, (side == "right", value), **place, ha=side, bbox=ground)
    return ax

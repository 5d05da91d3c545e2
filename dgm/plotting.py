"""Plots of the book: arrays in, `Axes` out.  No model calls, no `plt.show`, no titles: captions stand in the page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by readers with any colour vision; black is left for reference lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MAX_FILM_BYTES = 1_000_000


def apply_style() -> None:
    """One look for every figure of the book."""
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


def reference_line(ax: Axes, value: float, label: str, *, side: str = "right") -> Axes:
    """A dashed black line at `value` with its name on it: the entropy, a baseline, log 2, ...

    Raises:
        ValueError: `side` is neither `left` nor `right`.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side: expected 'left' or 'right', got {side!r}")
    ax.axhline(value, color="black", linestyle="--", linewidth=1)
    where = (0.995 if side == "right" else 0.005, value)
    ax.annotate(label, where, xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", ha=side)
    return ax


class Film:
    """Pictures that a reader steps through: plays in the static page, in Jupyter and in Colab, silent in a script.

    Frames stand in the page as data, so that no other host is asked; without JavaScript the last frame is seen.
    """

    def __init__(self, frames: Sequence[Any], *, alt: str, labels: Sequence[str], fps: float, width: int) -> None:
        if not len(frames):
            raise ValueError("frames: expected at least one, got none")
        if not alt.strip():
            raise ValueError("alt: expected a description of the film for readers who can't see it, got nothing")
        if len(labels) != len(frames):
            raise ValueError(f"labels: expected one a frame, {len(frames)}, got {len(labels)}")
        if not fps > 0:
            raise ValueError(f"fps: expected a positive number of frames a second, got {fps}")
        self.frames = [_data_uri(frame) for frame in frames]
        self.alt, self.labels, self.fps, self.width = alt, list(labels), fps, width
        size = len(self._repr_html_().encode())
        if size > MAX_FILM_BYTES:
            raise ValueError(f"frames: expected at most {MAX_FILM_BYTES:,} bytes, got {size:,}: fewer or smaller")

    def __repr__(self) -> str:
        return f"<film of {len(self.frames)} frames: {self.alt}>"

    def _repr_html_(self) -> str:
        name = "film-" + hashlib.sha256("".join([*self.frames, *self.labels]).encode()).hexdigest()[:12]
        last = len(self.frames) - 1
        return _FILM.format(
            name=name,
            alt=html.escape(self.alt),
            first=self.frames[last],
            last=last,
            width=self.width,
            label=html.escape(self.labels[last]),
            # A tag inside a string could end the script.
            frames=json.dumps(self.frames),
            labels=json.dumps(self.labels).replace("<", "\\u003c"),
            delay=round(1000 / self.fps),
        )


def film(
    frames: Sequence[Any], *, alt: str, labels: Sequence[str] | None = None, fps: float = 4, width: int = 560
) -> Film:
    """A film with a play button and a slider.

    Args:
        frames: arrays of shape (height, width) with grey values in [0, 1], ink is 1; or figures.
        alt: what is to be seen, in words.
        labels: a short text for each frame; default its number.
        fps: frames a second.
        width: of the picture on the page, in pixels; on a phone it shrinks.

    Raises:
        ValueError: no frames, no alt text, wrong number of labels, more than 1 MB.
    """
    labels = [f"frame {i + 1} of {len(frames)}" for i in range(len(frames))] if labels is None else labels
    return Film(frames, alt=alt, labels=labels, fps=fps, width=width)


def slider(values: Sequence[Any], frames: Sequence[Any], *, alt: str, width: int = 560) -> Film:
    """A picture for each value of a parameter, chosen with a slider.  Arguments and errors as of `film`."""
    return Film(frames, alt=alt, labels=[str(value) for value in values], fps=2, width=width)


def _data_uri(frame: Any) -> str:
    """One frame as a PNG inside an address."""
    buffer = io.BytesIO()
    if hasattr(frame, "savefig"):
        frame.savefig(buffer, format="png")
        plt.close(frame)
    else:
        from PIL import Image

        grey = np.asarray(frame, dtype=float)
        if grey.ndim != 2 or np.isnan(grey).any():
            raise ValueError(f"frame: expected grey values of shape (height, width) without NaN, got {grey.shape}")
        ink = np.clip(grey, 0, 1) * 255
        Image.fromarray((255 - ink).astype(np.uint8)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# Plain elements, so that a page needs no library: an image, a button, a slider and a text.
_FILM = """\
<div class="dgm-film" id="{name}" style="max-width:{width}px">
<img alt="{alt}" src="{first}" style="width:100%;image-rendering:pixelated;display:block">
<div style="display:flex;gap:.6em;align-items:center;margin-top:.4em">
<button type="button" aria-label="play or pause" style="min-width:2.6em;min-height:2.2em">&#9654;</button>
<input type="range" min="0" max="{last}" value="{last}" aria-label="frame" style="flex:1">
<output style="min-width:9em">{label}</output>
</div>
<script>
(function () {{
  const box = document.getElementById("{name}"), frames = {frames}, labels = {labels};
  const picture = box.querySelector("img"), button = box.querySelector("button");
  const bar = box.querySelector("input"), text = box.querySelector("output");
  let timer = null;
  function show(i) {{ picture.src = frames[i]; bar.value = i; text.textContent = labels[i]; }}
  function stop() {{ clearInterval(timer); timer = null; button.innerHTML = "&#9654;"; }}
  function step() {{ const i = Number(bar.value) + 1; if (i > {last}) stop(); else show(i); }}
  bar.oninput = function () {{ stop(); show(Number(bar.value)); }};
  button.onclick = function () {{
    if (timer) {{ stop(); return; }}
    if (Number(bar.value) >= {last}) show(0);
    button.innerHTML = "&#10074;&#10074;";
    timer = setInterval(step, {delay});
  }};
}})();
</script>
</div>"""

"""Films and sliders for a page without a kernel; `dgm.plotting` offers them."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

MAX_FILM_BYTES = 1_000_000


class Film:
    """Pictures that a reader steps through: plays in the static page, in Jupyter and in Colab, silent in a script.

    Frames stand in the page as data, so that no other host is asked.  A film opens on its first frame; without
    JavaScript, in print for example, the last one is seen, which is what most films are about.
    """

    def __init__(
        self, frames: Iterable[Any], *, alt: str, labels: Sequence[str] | None, fps: float, width: int
    ) -> None:
        pictures = [_data_uri(frame, width) for frame in frames]
        frames = [uri for uri, _ in pictures]
        labels = [f"frame {i + 1} of {len(frames)}" for i in range(len(frames))] if labels is None else labels
        if not frames:
            raise ValueError("frames: expected at least one, got none")
        if not alt.strip():
            raise ValueError("alt: expected a description of the film for readers who can't see it, got nothing")
        if len(labels) != len(frames):
            raise ValueError(f"labels: expected one a frame, {len(frames)}, got {len(labels)}")
        if not fps > 0:
            raise ValueError(f"fps: expected a positive number of frames a second, got {fps}")
        self.frames = frames
        self.alt, self.labels, self.fps, self.width = alt, list(labels), fps, width
        # Few large pixels stay sharp when they are enlarged; a drawing with letters has to be smoothed.
        self.rendering = "auto" if any(drawn for _, drawn in pictures) else "pixelated"
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
            rendering=self.rendering,
            width=self.width,
            label=html.escape(self.labels[last]),
            # A tag inside a string could end the script.
            frames=json.dumps(self.frames),
            labels=json.dumps(self.labels).replace("<", "\\u003c"),
            delay=round(1000 / self.fps),
        )


def film(
    frames: Iterable[Any],
    *,
    alt: str,
    labels: Sequence[str] | None = None,
    fps: float = 4,
    width: int = 560,
) -> Film:
    """A film with a play button and a slider.

    Args:
        frames: arrays of shape (height, width) with grey values in [0, 1], ink is 1; or figures, each of which is
            closed before the next one is asked for.
        alt: what is to be seen, in words.
        labels: a short text for each frame; default its number.
        fps: frames a second.
        width: of the picture on the page, in pixels; on a phone it shrinks.

    Raises:
        ValueError: no frames, no alt text, wrong number of labels, more than 1 MB.
    """
    return Film(frames, alt=alt, labels=labels, fps=fps, width=width)


def slider(values: Sequence[Any], frames: Iterable[Any], *, alt: str, width: int = 560) -> Film:
    """A picture for each value of a parameter, chosen with a slider.  Arguments and errors as of `film`."""
    labels = [str(value) for value in values]
    return Film(frames, alt=alt, labels=labels, fps=2, width=width)


def _data_uri(frame: Any, width: int) -> tuple[str, bool]:
    """One frame as a PNG inside an address, and whether it was drawn: a figure."""
    from PIL import Image

    buffer = io.BytesIO()
    drawn = hasattr(frame, "savefig")
    if drawn:
        picture = io.BytesIO()
        # A quarter more pixels than the page shows, so that letters are sharp on a phone, too.
        frame.savefig(picture, format="png", dpi=1.25 * width / frame.get_figwidth())
        plt.close(frame)
        # A drawing has few colours: with a palette of 64 it takes a third of the bytes and looks the same.
        Image.open(picture).convert("RGB").quantize(64).save(buffer, format="PNG", optimize=True)
    else:
        grey = np.asarray(frame, dtype=float)
        if grey.ndim != 2 or np.isnan(grey).any():
            raise ValueError(f"frame: expected grey values of shape (height, width) without NaN, got {grey.shape}")
        ink = np.clip(grey, 0, 1) * 255
        Image.fromarray((255 - ink).astype(np.uint8)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), drawn


# Plain elements, so that a page needs no library: an image, a button, a slider and a text.  The script finds the box
# it stands in, so that a film can be shown twice; Jupyter hides where a script stands, there the id finds it.  With
# `dgmWire` a copy of the box, on the first screen of a page, plays the same frames.
_FILM = """\
<div class="dgm-film" id="{name}" style="max-width:{width}px;margin:1em auto">
<img alt="{alt}" src="{first}" style="width:100%;image-rendering:{rendering};display:block">
<div style="display:flex;gap:.6em;align-items:center;margin-top:.4em">
<button type="button" aria-label="play or pause" style="min-width:2.6em;min-height:2.2em">&#9654;</button>
<input type="range" min="0" max="{last}" value="{last}" aria-label="frame" aria-valuetext="{label}" style="flex:1">
<output style="min-width:9em">{label}</output>
</div>
<script>
(function () {{
  const here = document.currentScript, frames = {frames}, labels = {labels};
  const box = here ? here.closest(".dgm-film") : document.getElementById("{name}");
  function wire(box) {{
    const picture = box.querySelector("img"), button = box.querySelector("button");
    const bar = box.querySelector("input"), text = box.querySelector("output");
    let timer = null;
    function show(i) {{ picture.src = frames[i]; bar.value = i; text.textContent = labels[i];
      bar.setAttribute("aria-valuetext", labels[i]); }}
    function stop() {{ clearInterval(timer); timer = null; button.innerHTML = "&#9654;"; }}
    function step() {{ const i = Number(bar.value) + 1; if (i > {last}) stop(); else show(i); }}
    bar.oninput = function () {{ stop(); show(Number(bar.value)); }};
    button.onclick = function () {{
      if (timer) {{ stop(); return; }}
      if (Number(bar.value) >= {last}) show(0);
      button.innerHTML = "&#10074;&#10074;";
      timer = setInterval(step, {delay});
    }};
    show(0);
  }}
  box.dgmWire = wire;
  wire(box);
}})();
</script>
</div>"""

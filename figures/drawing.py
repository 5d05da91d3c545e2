"""What the drawings of the book share: colours with meanings, boxes, arrows, a file.

A colour is that of the page where the drawing stands in it, light or dark, and a fixed one where it is a file of its
own, in Colab and on slides.  Data are blue, the model is orange, the truth black, noise grey.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

INK, MUTED, PAPER = (
    "var(--pst-color-text-base, #1f2328)",
    "var(--pst-color-text-muted, #59636e)",
    "var(--dgm-paper, #fff)",
)
UNIT = "var(--dgm-unit, #fff)"  # covers the lines behind it
DATA, MODEL, NOISE = "var(--dgm-data, #0072B2)", "var(--dgm-model, #D55E00)", "var(--dgm-noise, #8a8f98)"


def text(
    x: float, y: float, words: str, *, size: int = 17, colour: str = INK, anchor: str = "middle", style: str = ""
) -> str:
    """A line of text; `_` before a letter lowers it, as in `v_0`, and `*` around a word slants it."""
    parts = []
    for i, piece in enumerate(escape(words).split("_")):
        if i == 0:
            parts.append(piece)
            continue
        parts.append(f'<tspan font-size="{0.7 * size:g}" dy="{0.25 * size:g}">{piece[0]}</tspan>')
        parts.append(f'<tspan dy="{-0.25 * size:g}">{piece[1:]}</tspan>' if piece[1:] else "")
    style = f' style="{style}"' if style else ""
    where = f'x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{style}'
    return f"<text {where}>{''.join(parts)}</text>"


def circle(x: float, y: float, words: str, colour: str, *, radius: float = 24) -> str:
    """A unit or a variable with its symbol."""
    ring = f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{UNIT}" stroke="{colour}" stroke-width="3"/>'
    return ring + text(x, y + 6, words, size=19, style="font-style:italic")


def arrow(
    x1: float, y1: float, x2: float, y2: float, *, colour: str = MUTED, dashed: bool = False, bend: float = 0
) -> str:
    """An arrow, straight or bent: `bend` moves its middle down."""
    dash = ' stroke-dasharray="6 5"' if dashed else ""
    path = f"M{x1:g} {y1:g} Q{(x1 + x2) / 2:g} {(y1 + y2) / 2 + 2 * bend:g} {x2:g} {y2:g}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash} marker-end="url(#tip)"/>'


def words_box(x: float, y: float, width: float, words: tuple[str, ...], colour: str) -> list[str]:
    """A box with rounded corners and lines of words in its middle; 50 high for one line, 24 more for each other."""
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{26 + 24 * len(words)}" rx="8" '
    parts = [f'{frame}fill="{UNIT}" stroke="{colour}" stroke-width="3"/>']
    return parts + [text(x + width / 2, y + 31 + 24 * i, line, size=18) for i, line in enumerate(words)]


def svg(width: int, height: int, parts: list[str]) -> str:
    """The drawing as a file."""
    tip = (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{MUTED}"/></marker></defs>'
    )
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    paper = f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>'
    return "\n".join([start, tip, paper, *parts, "</svg>"]) + "\n"


def write(script: str, drawing: str) -> None:
    """Beside the script, under its name."""
    Path(script).with_suffix(".svg").write_text(drawing, encoding="utf-8")

"""Draw one step of learning with its two phases: `python figures/bm_learning.py` writes bm_learning.svg."""

from drawing import DATA, INK, MODEL, MUTED, UNIT, arrow, svg, text, write


def box(x: float, y: float, width: float, words: tuple[str, ...], colour: str) -> list[str]:
    """A box with a heading and lines under it."""
    size = f'width="{width:g}" height="{22 + 25 * len(words)}"'
    parts = [f'<rect x="{x:g}" y="{y:g}" {size} rx="8" fill="{UNIT}" stroke="{colour}" stroke-width="3"/>']
    parts.append(text(x + width / 2, y + 29, words[0], size=19, colour=colour))
    return parts + [text(x + width / 2, y + 29 + 25 * i, line, size=18) for i, line in enumerate(words[1:], 1)]


def draw() -> str:
    """Data and three kinds of samples, two phases, a step."""
    parts = box(12, 24, 196, ("data",), DATA)
    for y, words in ((92, ("all states", "exact")), (176, ("a long chain", "noisy")), (260, ("CD-k", "biased"))):
        parts += box(12, y, 196, words, MODEL)
    parts += box(290, 12, 186, ("positive phase", "mean of ∇ log f"), DATA)
    parts += box(290, 176, 186, ("negative phase", "mean of ∇ log f"), MODEL)
    parts += [arrow(212, 48, 286, 48), arrow(212, 128, 286, 194), arrow(212, 212, 286, 212), arrow(212, 296, 286, 230)]
    parts.append(text(252, 326, "one of these", size=18, colour=MUTED, anchor="start"))
    parts += box(556, 90, 112, ("step", "of θ"), INK)
    parts += [arrow(480, 50, 556, 102), text(534, 56, "+", size=26, colour=DATA)]
    parts += [arrow(480, 210, 556, 148), text(536, 206, "-", size=30, colour=MODEL)]
    parts.append(arrow(612, 165, 383, 252, dashed=True, bend=62))
    parts.append(text(560, 300, "new samples", size=18, colour=MUTED))
    return svg(684, 346, parts)


if __name__ == "__main__":
    write(__file__, draw())

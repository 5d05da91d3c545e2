"""Draw a small MADE with the degrees of its units: `python figures/ar_made.py` writes ar_made.svg."""

from drawing import DATA, MODEL, MUTED, NOISE, circle, svg, text, write

# Positions in the order of the three pixels x_1, x_2, x_3: x_3 comes first, then x_1, then x_2.
PIXELS, HIDDEN = (2, 3, 1), (1, 2, 1, 2)
X_PIXELS, X_HIDDEN, Y = (220, 340, 460), (160, 280, 400, 520), (232, 138, 44)


def line(x1: float, y1: float, x2: float, y2: float, allowed: bool) -> str:
    """A weight that may differ from zero, or a dotted one that is masked."""
    look = (
        f'stroke="{MODEL}" stroke-width="2"'
        if allowed
        else f'stroke="{NOISE}" stroke-width="1.5" stroke-dasharray="2 5"'
    )
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {look}/>'


def draw() -> str:
    """Lines first, circles over them; a number in a circle is the degree."""
    parts = []
    for allowed in (False, True):
        for x, m in zip(X_HIDDEN, HIDDEN, strict=True):
            for x_pixel, position in zip(X_PIXELS, PIXELS, strict=True):
                if (m >= position) == allowed:
                    parts.append(line(x_pixel, Y[0], x, Y[1], allowed))
                if (position > m) == allowed:
                    parts.append(line(x, Y[1], x_pixel, Y[2], allowed))
    parts += [circle(x, Y[1], str(m), MODEL, radius=20) for x, m in zip(X_HIDDEN, HIDDEN, strict=True)]
    for i, (x, position) in enumerate(zip(X_PIXELS, PIXELS, strict=True), 1):
        parts.append(circle(x, Y[0], str(position), DATA, radius=20))
        parts.append(circle(x, Y[2], str(position), MODEL, radius=20))
        parts.append(text(x, Y[0] + 44, f"x_{i}", size=19, style="font-style:italic"))
        parts.append(text(x, Y[2] - 28, f"logit of x_{i}", size=17))
    for y, words in ((Y[0], "position"), (Y[1], "degree"), (Y[2], "position")):
        parts.append(text(22, y + 6, words, size=18, anchor="start", colour=MUTED))
    parts += [
        text(546, Y[0] - 40, "to higher or equal", size=17, colour=MUTED, anchor="start"),
        text(546, Y[2] + 52, "to higher only", size=17, colour=MUTED, anchor="start"),
    ]
    return svg(710, 290, parts)


if __name__ == "__main__":
    write(__file__, draw())

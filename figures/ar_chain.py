"""Draw the chain rule on an image: `python figures/ar_chain.py` writes ar_chain.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, svg, text, write

# A seven, of which the first rows are drawn already; the pixel at (4, 4) is next.
SEVEN = ("........", ".######.", ".....##.", "....##..", "...##...", "...##...", "..##....", "........")
ROW, COLUMN, SIDE, LEFT, TOP = 4, 4, 26, 30, 34


def pixels() -> list[str]:
    """The grid: the past in blue, the next pixel in orange, the future empty and dashed."""
    parts = []
    for i, line in enumerate(SEVEN):
        for j, mark in enumerate(line):
            now = 8 * i + j - (8 * ROW + COLUMN)
            fill = DATA if now < 0 and mark == "#" else MODEL if now == 0 else UNIT
            dash = ' stroke-dasharray="3 3"' if now > 0 else ""
            where = f'x="{LEFT + SIDE * j}" y="{TOP + SIDE * i}" width="{SIDE - 3}" height="{SIDE - 3}"'
            parts.append(f'<rect {where} fill="{fill}" stroke="{NOISE}"{dash}/>')
    return parts


def draw() -> str:
    """The grid, a box for the classifier, and what comes out of it."""
    parts = pixels()
    y = TOP + SIDE * ROW + SIDE / 2
    back = f"M520 {y + 68:g} Q350 {y + 92:g} {LEFT + SIDE * COLUMN + SIDE} {y + 6:g}"
    back = f'<path d="{back}" fill="none" stroke="{MODEL}" stroke-width="2" marker-end="url(#tip)"/>'
    parts += [
        text(134, 24, "the pixels before it", size=18, colour=DATA),
        text(134, 266, "empty: not drawn yet", size=17, colour=MUTED),
        arrow(246, 80, 318, 104),
        f'<rect x="322" y="70" width="150" height="80" rx="8" fill="{UNIT}" stroke="{MODEL}" stroke-width="3"/>',
        text(397, 104, "a classifier", size=17),
        text(397, 130, "for pixel i", size=17),
        arrow(476, 110, 536, 110),
        text(542, 106, "p(x_i = 1 | before)", size=18, anchor="start", style="font-style:italic"),
        text(542, 130, "one number", size=17, colour=MUTED, anchor="start"),
        arrow(600, 146, 600, 192, colour=INK),
        text(600, 214, "a coin decides", size=18, colour=INK),
        back,
        text(372, 244, "then the next pixel", size=17, colour=MUTED),
    ]
    return svg(710, 280, parts)


if __name__ == "__main__":
    write(__file__, draw())

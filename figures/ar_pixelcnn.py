"""Draw the masks of a PixelCNN and its blind spot: `python figures/ar_pixelcnn.py` writes ar_pixelcnn.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, svg, text, write


def cell(x: float, y: float, side: float, colour: str, words: str = "") -> str:
    """One square, with a number in it."""
    where = f'x="{x:g}" y="{y:g}" width="{side - 2:g}" height="{side - 2:g}"'
    square = f'<rect {where} fill="{colour}" stroke="{NOISE}"/>'
    return square + (text(x + side / 2 - 1, y + side / 2 + 6, words, size=18, colour=INK) if words else "")


def mask(x: float, y: float, centre: int, title: str) -> list[str]:
    """Three by three, with the kept weights as ones."""
    parts = [text(x + 60, y - 14, title, size=18)]
    for i in range(3):
        for j in range(3):
            kept = 3 * i + j < 4 + centre
            parts.append(cell(x + 40 * j, y + 40 * i, 40, UNIT, "1" if kept else "0"))
            if (i, j) == (1, 1):
                frame = f'x="{x + 39}" y="{y + 39}" width="40" height="40"'
                parts.append(f'<rect {frame} fill="none" stroke="{MODEL}" stroke-width="3"/>')
    return parts


def field(x: float, y: float, depth: int, side: float) -> list[str]:
    """What a stack of `depth` layers of 3 x 3 sees: up k rows and at most k to the right."""
    parts = []
    for up in range(depth, -1, -1):
        for right in range(-depth, depth + 1):
            if up == 0 and right > 0:
                colour = UNIT
            elif up == 0 and right == 0:
                colour = MODEL
            else:
                colour = DATA if right <= up else NOISE
            parts.append(cell(x + side * (right + depth), y + side * (depth - up), side, colour))
    return parts


def draw() -> str:
    """Type A, type B, and the wedge that no depth can see."""
    parts = mask(24, 62, 0, "type A: first layer")
    parts += mask(206, 62, 1, "type B: all others")
    parts += [
        text(84, 212, "no centre: it is", size=17, colour=MUTED),
        text(84, 231, "the pixel itself", size=17, colour=MUTED),
        text(266, 212, "centre: it holds", size=17, colour=MUTED),
        text(266, 231, "earlier pixels only", size=17, colour=MUTED),
    ]
    parts += field(400, 62, 5, 26)
    parts += [
        text(543, 48, "five layers deep", size=18),
        text(400, 240, "seen", size=18, colour=DATA, anchor="start"),
        text(528, 240, "next pixel", size=18, colour=MODEL),
        text(686, 240, "blind spot", size=18, colour=MUTED, anchor="end"),
    ]
    return svg(710, 256, parts)


if __name__ == "__main__":
    write(__file__, draw())

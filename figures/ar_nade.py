"""Draw the recursion of NADE: `python figures/ar_nade.py` writes ar_nade.svg."""

from drawing import DATA, MODEL, MUTED, UNIT, arrow, circle, svg, text, write

X = (130, 330, 530)


def box(x: float, y: float, words: str, colour: str) -> str:
    """Hidden units, many at once."""
    where = f'x="{x - 34}" y="{y - 19}" width="68" height="38" rx="7"'
    frame = f'<rect {where} fill="{UNIT}" stroke="{colour}" stroke-width="3"/>'
    return frame + text(x, y + 6, words, size=19, style="font-style:italic")


def draw() -> str:
    """Three pixels: the input of the hidden units is carried on, each pixel adds its column of W."""
    parts = [text(34, 167, "c", size=19, style="font-style:italic"), arrow(46, 161, X[0] - 38, 161)]
    for i, x in enumerate(X, 1):
        parts += [
            box(x, 161, f"a_{i}", MODEL),
            arrow(x, 138, x, 108),
            text(x + 10, 129, "\N{GREEK SMALL LETTER SIGMA}, V, b", size=17, colour=MUTED, anchor="start"),
            text(x, 94, f"p(x_{i} = 1 | before)", size=18),
            arrow(x, 72, x, 62),
            circle(x, 38, f"x_{i}", DATA, radius=21),
        ]
    for i, (left, right) in enumerate(((X[0], X[1]), (X[1], X[2]), (X[2], X[2] + 160)), 1):
        parts.append(arrow(left + 38, 161, right - 38, 161))
        parts.append(
            f'<path d="M{left + 22} 42 C{left + 130} 52 {left + 96} 110 {left + 98} 154" fill="none" '
            f'stroke="{DATA}" stroke-width="2" marker-end="url(#tip)"/>'
        )
        parts.append(text(left + 98, 188, f"+ W_{i} x_{i}", size=18, colour=DATA))
    parts.append(text(X[2] + 138, 166, ". . .", size=18, colour=MUTED))
    return svg(700, 205, parts)


if __name__ == "__main__":
    write(__file__, draw())

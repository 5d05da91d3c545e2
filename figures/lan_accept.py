"""Draw a step of Metropolis and Hastings: `python figures/lan_accept.py` writes lan_accept.svg."""

from drawing import DATA, INK, MODEL, MUTED, UNIT, arrow, circle, svg, text, write

Y = 92


def draw() -> str:
    """From x to a proposal, a comparison with a random number, and two ways on; below, the two flows."""
    parts = [circle(60, Y, "x", MODEL), circle(250, Y, "y", DATA)]
    parts += [arrow(88, Y, 222, Y), text(155, Y - 14, "propose", size=16), text(155, Y + 26, "q(y | x)", size=16)]
    parts.append(arrow(278, Y, 336, Y))
    parts.append(f'<path d="M420 {Y - 46} L504 {Y} L420 {Y + 46} L336 {Y} z" fill="{UNIT}" stroke="{INK}"/>')
    parts.append(text(420, Y + 6, "u < A ?", size=17))
    parts.append(text(420, Y + 70, "u uniform on [0, 1]", size=15, colour=MUTED))
    parts += [arrow(504, Y, 590, 52, colour=INK), arrow(504, Y, 590, 134, colour=INK)]
    parts += [text(540, 56, "yes", size=15, colour=MUTED), text(540, 140, "no", size=15, colour=MUTED)]
    parts += [circle(620, 48, "y", DATA), circle(620, 140, "x", MODEL)]
    parts += [circle(200, 230, "x", MODEL), circle(500, 230, "y", DATA)]
    parts += [
        arrow(228, 222, 472, 222, colour=INK),
        arrow(472, 240, 228, 240, colour=INK),
        text(350, 212, "as much flows there as back:", size=15, colour=MUTED),
        text(350, 266, "min( f(x) q(y | x),  f(y) q(x | y) )", size=17),
    ]
    return svg(680, 286, parts)


if __name__ == "__main__":
    write(__file__, draw())

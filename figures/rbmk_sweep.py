"""Draw a Gibbs sweep whose random numbers are arguments: `python figures/rbmk_sweep.py` writes rbmk_sweep.svg."""

from drawing import DATA, MODEL, MUTED, NOISE, arrow, circle, svg, text, write

ROW, ABOVE = 162, 60


def gate(x: float) -> list[str]:
    """A square where numbers are compared with probabilities."""
    frame = f'x="{x - 26:g}" y="{ROW - 26}" width="52" height="52" rx="6"'
    return [f'<rect {frame} fill="none" stroke="{MUTED}" stroke-width="2"/>', text(x, ROW + 7, "u < p", size=16)]


def draw() -> str:
    """From left to right: v, a comparison, h, a comparison, the new v; the numbers come from above."""
    parts = [circle(70, ROW, "v", DATA), circle(350, ROW, "h", MODEL), circle(630, ROW, "v'", MODEL)]
    for x, layer in ((210, "h"), (490, "v")):
        parts += gate(x)
        parts += [circle(x, ABOVE, f"u_{layer}", NOISE), arrow(x, ABOVE + 26, x, ROW - 28)]
    for left, right in ((96, 182), (238, 324), (376, 462), (518, 604)):
        parts.append(arrow(left, ROW, right, ROW))
    parts += [
        text(139, ROW - 12, "p(h | v)", size=15, colour=MUTED),
        text(419, ROW - 12, "p(v | h)", size=15, colour=MUTED),
    ]
    parts.append(text(350, 20, "one uniform number for each unit, handed in", size=15, colour=MUTED))
    parts.append(
        text(350, 228, "the same v and the same u give the same v', in every framework", size=16, colour=MUTED)
    )
    return svg(700, 248, parts)


if __name__ == "__main__":
    write(__file__, draw())
